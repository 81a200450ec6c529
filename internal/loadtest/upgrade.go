package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// UpgradeOptions say what is replaced by what, and under which load.
type UpgradeOptions struct {
	// OldBin has the programs of the release before, OldRoot its configuration files. Required.
	OldBin, OldRoot string
	Rate            float64       // events a second
	Concurrency     int           // requests under way at most
	Phase           time.Duration // how long the old run alone, both side by side, and the new alone
	Drain           time.Duration
}

// UpgradeReport is what came of it.
type UpgradeReport struct {
	Account Account `json:"account"`
	// The schema's version before and after the migration, which ran under load.
	SchemaBefore int64   `json:"schema_before"`
	SchemaAfter  int64   `json:"schema_after"`
	Migration    float64 `json:"migration_seconds"`
	Total        float64 `json:"total_seconds"`
	// What was sent to the old alone, to both, and to the new alone.
	Phases  [3]UpgradePhase `json:"phases"`
	Drained float64         `json:"drain_seconds"`
}

// UpgradePhase is the load of one phase.
type UpgradePhase struct {
	Acknowledged int           `json:"acknowledged"`
	Errors       int           `json:"errors"`
	P50          time.Duration `json:"p50_ns"`
	P99          time.Duration `json:"p99_ns"`
}

// upgradeName is the database of the drill: the place's own has the present schema already.
const upgradeName = "dawsos_upgrade"

// Upgrade replaces one API and one worker of an older release by the present ones, over one database and
// without a pause in the load: the old alone, the present migration under its load, the new beside it,
// the old gone. Receivers fail three attempts in ten, so that letters of the old are retried by the new.
// No request may fail, and every event must arrive, once.
func Upgrade(ctx context.Context, p Place, o UpgradeOptions) (*UpgradeReport, error) {
	receiver, err := NewReceiver(Unreliable(Unreliability{Seed: 1, Fail: 0.3, Within: 30 * time.Millisecond}))
	if err != nil {
		return nil, err
	}
	if err := receiver.Up(); err != nil {
		return nil, err
	}
	defer receiver.Down()
	older, newer := p, p
	older.Bin, older.Root = o.OldBin, o.OldRoot
	if newer.DatabaseURL, err = another(ctx, p.DatabaseURL, upgradeName); err != nil {
		return nil, err
	}
	older.DatabaseURL = newer.DatabaseURL
	for dir, place := range map[string]*Place{"old": &older, "new": &newer} {
		place.Logs = filepath.Join(p.Logs, dir+"-logs")
		if err := os.Mkdir(place.Logs, 0o700); err != nil {
			return nil, err
		}
	}
	pool, err := pgxpool.New(ctx, newer.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	settings := []string{
		"RETRY_SCHEDULE=" + chaosSchedule, "RETRY_JITTER=0.2", "AUTH_ANONYMOUS=admin", "SECRETS_KEY=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
	}
	before, err := NewSystem(older, 1, 1, settings...)
	if err != nil {
		return nil, err
	}
	defer before.Close()
	after, err := NewSystem(newer, 1, 1, settings...)
	if err != nil {
		return nil, err
	}
	defer after.Close()

	r := &UpgradeReport{}
	if err := migrateBy(ctx, older); err != nil {
		return nil, err
	}
	if r.SchemaBefore, err = schemaVersion(ctx, pool); err != nil {
		return nil, err
	}
	if err := before.Start(ctx); err != nil {
		return nil, err
	}
	p.Say("the old API and worker are up at schema %d; %g events a second", r.SchemaBefore, o.Rate)

	started := time.Now()
	load := func(n int, targets []string) (end func() Sent) {
		loadCtx, cancel := context.WithCancel(ctx)
		result := make(chan Sent, 1)
		go func() {
			result <- Load{
				Targets: targets, Webhook: func(int) string { return receiver.URL() }, Run: fmt.Sprintf("upgrade-%d", n),
				Concurrency: o.Concurrency, Rate: o.Rate,
			}.Send(loadCtx)
		}()
		return func() Sent { cancel(); return <-result }
	}
	oldURLs, newURLs := before.URLs(deliveriesPath), after.URLs(deliveriesPath)
	end := load(1, oldURLs)
	var all [3]Sent
	// From here on each load begins before the one before it ends: there is no moment without.
	next := func(n int, targets []string) {
		begun := load(n+1, targets)
		all[n-1] = end()
		end = begun
	}
	err = func() error {
		if err := pause(ctx, o.Phase); err != nil {
			return err
		}
		at := time.Now()
		if err := migrateBy(ctx, newer); err != nil {
			return err
		}
		r.Migration = time.Since(at).Seconds()
		if r.SchemaAfter, err = schemaVersion(ctx, pool); err != nil {
			return err
		}
		if err := before.Ready(ctx); err != nil {
			return fmt.Errorf("the old release over the newer schema: %w", err)
		}
		if err := after.Start(ctx); err != nil {
			return err
		}
		p.Say("migrated to schema %d in %.1f s under load; old and new side by side", r.SchemaAfter, r.Migration)
		next(1, append(append([]string{}, oldURLs...), newURLs...))
		if err := pause(ctx, o.Phase); err != nil {
			return err
		}
		// As whatever balances the load does: it sends the old nothing more before they are stopped.
		next(2, newURLs)
		if err := before.Stop(""); err != nil {
			return fmt.Errorf("stop the old release: %w", err)
		}
		p.Say("the old are stopped")
		return pause(ctx, o.Phase)
	}()
	all[2] = end()
	if err != nil {
		return nil, err
	}
	r.Total = time.Since(started).Seconds()
	ended := time.Now()
	empty, err := drained(ctx, pool, o.Drain, p.Say)
	if err != nil {
		return nil, err
	}
	r.Drained = time.Since(ended).Seconds()
	sent := merge(all[:]...)
	evidence, err := testify(ctx, pool, sent, receiver)
	if err != nil {
		return nil, err
	}
	r.Account = Settle(evidence)
	r.judge(all, empty, o)
	for _, system := range []*System{before, after} {
		for _, crash := range system.Crashes() {
			r.Account.wrong("%s", crash)
		}
	}
	if err := after.Stop(""); err != nil {
		r.Account.wrong("%v", err)
	}
	return r, nil
}

// judge adds what an upgrade must not do besides.
func (r *UpgradeReport) judge(all [3]Sent, empty bool, o UpgradeOptions) {
	names := [3]string{"the old alone", "old and new", "the new alone"}
	for i, sent := range all {
		r.Phases[i] = UpgradePhase{
			Acknowledged: len(sent.Acknowledged), Errors: sent.Refused + sent.Unanswered + sent.Unexpected,
			P50: sent.Latency(0.5), P99: sent.Latency(0.99),
		}
		if r.Phases[i].Errors > 0 {
			r.Account.wrong("%d requests failed with %s: %v", r.Phases[i].Errors, names[i], sent.Problems)
		}
		if r.Phases[i].Acknowledged == 0 {
			r.Account.wrong("nothing was accepted by %s", names[i])
		}
	}
	if !empty {
		r.Account.wrong("not drained %s after the end of the load", o.Drain)
	}
	if r.Account.Repeated > 0 {
		r.Account.wrong("%d events were delivered twice", r.Account.Repeated)
	}
	if r.Account.Received != r.Account.Acknowledged {
		r.Account.wrong("%d events were acknowledged and %d arrived", r.Account.Acknowledged, r.Account.Received)
	}
	if r.SchemaAfter < r.SchemaBefore {
		r.Account.wrong("the schema went from %d to %d", r.SchemaBefore, r.SchemaAfter)
	}
}

// another makes a database on the server of an address and returns its address.
func another(ctx context.Context, address, name string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the database's address can't be read")
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("make the database %s: %w", name, err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

// migrateBy runs a release's own `api migrate`.
func migrateBy(ctx context.Context, p Place) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.Bin, "api"), "migrate")
	cmd.Dir = p.Root
	cmd.Env = []string{"DATABASE_URL=" + p.DatabaseURL, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("api migrate of %s: %w\n%s", p.Bin, err, out)
	}
	return nil
}

// schemaVersion is the number of the newest migration.
func schemaVersion(ctx context.Context, q querier) (version int64, err error) {
	if err := q.QueryRow(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&version); err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return version, nil
}

// String is the report for people.
func (r *UpgradeReport) String() string {
	var t table
	t.add("schema", "from %d to %d in %.1f s, under load", r.SchemaBefore, r.SchemaAfter, r.Migration)
	t.add("duration", "%.1f s, then %.1f s to drain", r.Total, r.Drained)
	for i, name := range []string{"old alone", "old and new", "new alone"} {
		ph := r.Phases[i]
		t.add(name, "%d acknowledged, %d errors, p50 %.1f ms, p99 %.1f ms", ph.Acknowledged, ph.Errors,
			float64(ph.P50.Microseconds())/1000, float64(ph.P99.Microseconds())/1000)
	}
	r.Account.write(&t)
	return t.String()
}

// OK reports whether all is as it must be.
func (r *UpgradeReport) OK() bool { return r.Account.OK() }
