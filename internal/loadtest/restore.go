package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// RestoreOptions say how much there is to be lost.
type RestoreOptions struct {
	Events      int // accepted before the backup
	Concurrency int
	Limit       time.Duration // for each wait: until all is drained, and until the backup is made
}

// RestoreReport is what came of a loss.
type RestoreReport struct {
	Account  Account `json:"account"`
	DataHash string  `json:"data_hash"` // of the pattern, before and after
	Tables   int     `json:"tables"`    // compared row by row
	Rows     int64   `json:"rows"`
	Dump     int64   `json:"dump_bytes"`
	// How long it took, in seconds: the backup with its verification; the documented commands; and from
	// then on until both processes were ready.
	Backup  float64 `json:"backup_seconds"`
	Restore float64 `json:"restore_seconds"`
	Start   float64 `json:"start_seconds"`
}

// restoredName is the database that the documented commands restore into; the one before is databaseName.
const databaseName, restoredName = "dawsos", "dawsos_restored"

// moving are tables that processes write whether or not somebody asks for anything, or that the backup's
// own request is in. The accounts are compared by their balances.
var moving = []string{"processes", "job_runs", "audit_log", "alert_accounts", "alert_account_changes"}

// Restore has a system with sample data accept deliveries and make a backup, drops the database, restores
// it by the very commands that docs/jobs.md has, and starts the processes over it. Every table must hold
// the rows that it held, the accounts must balance, and a pattern must have the same data_hash. The
// database of the place must be named dawsos, as in the commands.
func Restore(ctx context.Context, p Place, o RestoreOptions) (*RestoreReport, error) {
	address, err := url.Parse(p.DatabaseURL)
	if err != nil || address.Path != "/"+databaseName {
		return nil, fmt.Errorf("the database must be named %s, as in the documented commands", databaseName)
	}
	script, err := documented(filepath.Join(p.Root, "docs", "jobs.md"), "### Restoring")
	if err != nil {
		return nil, err
	}
	// One in ten is refused for good, so that there are dead letters too.
	receiver, err := NewReceiver(everyTenth())
	if err != nil {
		return nil, err
	}
	if err := receiver.Up(); err != nil {
		return nil, err
	}
	defer receiver.Down()
	r := &RestoreReport{}
	backups := filepath.Join(p.Logs, "backups")
	settings := []string{
		"RETRY_SCHEDULE=300ms,500ms,1s", "BACKUP_DIR=" + backups, "AUTH_ANONYMOUS=admin",
		// Nothing of their own accord: what is compared must stand still.
		"NIGHTLY_SCHEDULE=off", "BACKUP_SCHEDULE=off", "FETCH_SCHEDULE=off", "ALERT_EVALUATION_INTERVAL=24h",
	}
	before, sent, err := r.before(ctx, p, o, receiver, settings)
	if err != nil {
		return nil, err
	}
	dumps, err := filepath.Glob(filepath.Join(backups, "dawsos-*.dump"))
	if err != nil || len(dumps) != 1 {
		return nil, fmt.Errorf("one dump is expected in %s, there are %v: %w", backups, dumps, errors.Join(err, errors.New("no backup")))
	}
	if info, err := os.Stat(dumps[0]); err == nil {
		r.Dump = info.Size()
	}

	p.Say("backup made in %.1f s; the database is dropped", r.Backup)
	if err := drop(ctx, *address); err != nil {
		return nil, err
	}
	started := time.Now()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script)
	cmd.Dir = p.Root
	cmd.Env = append(os.Environ(), "PATH="+clientPath(), "BACKUP_DIR="+backups, "DATABASE_URL="+p.DatabaseURL)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the documented commands: %w\n%s", err, out)
	}
	r.Restore = time.Since(started).Seconds()

	address.Path = "/" + restoredName
	restored := p
	restored.DatabaseURL = address.String()
	restored.Logs = filepath.Join(p.Logs, "restored")
	if err := os.Mkdir(restored.Logs, 0o700); err != nil {
		return nil, err
	}
	p.Say("restored in %.1f s; starting over it", r.Restore)
	return r, r.after(ctx, restored, before, sent, receiver, settings)
}

// everyTenth refuses about a tenth of the messages for good and takes the others.
func everyTenth() Behaviour {
	fate := Unreliable(Unreliability{Seed: 1, Fail: 0.1})
	return func(messageID string, _ int) Answer {
		if fate(messageID, 0).Status != http.StatusOK {
			return Answer{Status: http.StatusNotFound}
		}
		return Answer{Status: http.StatusOK}
	}
}

// contents is what a database holds: rows and a hash of them all, by table, and the accounts.
type contents struct {
	tables map[string]string
	rows   int64
	books  Books
}

// before runs the system until its backup is made, and ends it.
func (r *RestoreReport) before(ctx context.Context, p Place, o RestoreOptions, receiver *Receiver, settings []string) (contents, Sent, error) {
	pool, err := pgxpool.New(ctx, p.DatabaseURL)
	if err != nil {
		return contents{}, Sent{}, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	system, err := NewSystem(p, 1, 1, settings...)
	if err != nil {
		return contents{}, Sent{}, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return contents{}, Sent{}, err
	}
	load := Load{
		Targets: system.URLs(deliveriesPath), Webhook: func(int) string { return receiver.URL() }, Run: "restore",
		Events: o.Events, Concurrency: o.Concurrency,
	}
	sent := load.Send(ctx)
	if err := ctx.Err(); err != nil {
		return contents{}, Sent{}, err
	}
	p.Say("%d events acknowledged", len(sent.Acknowledged))
	if empty, err := drained(ctx, pool, o.Limit, p.Say); err != nil || !empty {
		return contents{}, Sent{}, errors.Join(fmt.Errorf("not drained after %s", o.Limit), err)
	}
	if r.DataHash, err = patternHash(ctx, system.URLs("")[0]); err != nil {
		return contents{}, Sent{}, err
	}
	found, err := inventory(ctx, pool)
	if err != nil {
		return contents{}, Sent{}, err
	}
	started := time.Now()
	if err := backup(ctx, system.URLs("/v1/jobs/backup")[0], o.Limit); err != nil {
		return contents{}, Sent{}, err
	}
	r.Backup = time.Since(started).Seconds()
	return found, sent, nil
}

// after starts the system over what was restored and compares.
func (r *RestoreReport) after(ctx context.Context, p Place, before contents, sent Sent, receiver *Receiver, settings []string) error {
	pool, err := pgxpool.New(ctx, p.DatabaseURL)
	if err != nil {
		return fmt.Errorf("open the restored database: %w", err)
	}
	defer pool.Close()
	found, err := inventory(ctx, pool)
	if err != nil {
		return err
	}
	system, err := NewSystem(p, 1, 1, settings...)
	if err != nil {
		return err
	}
	defer system.Close()
	started := time.Now()
	if err := system.Start(ctx); err != nil {
		return err
	}
	r.Start = time.Since(started).Seconds()
	hash, err := patternHash(ctx, system.URLs("")[0])
	if err != nil {
		return err
	}
	evidence, err := testify(ctx, pool, sent, receiver)
	if err != nil {
		return err
	}
	r.Account = Settle(evidence)
	r.Tables, r.Rows = len(found.tables), found.rows
	for _, name := range differing(before, found) {
		r.Account.wrong("%s", name)
	}
	if hash != r.DataHash {
		r.Account.wrong("the pattern's data_hash was %s and is %s", r.DataHash, hash)
	}
	for _, crash := range system.Crashes() {
		r.Account.wrong("%s", crash)
	}
	return system.Stop("")
}

// differing names what is not as it was.
func differing(before, after contents) []string {
	var found []string
	for _, name := range slices.Sorted(mapsKeys(before.tables, after.tables)) {
		if before.tables[name] != after.tables[name] {
			found = append(found, fmt.Sprintf("the table %s held %q and holds %q", name, before.tables[name], after.tables[name]))
		}
	}
	for _, account := range slices.Sorted(mapsKeys(before.books, after.books)) {
		if before.books[account] != after.books[account] {
			found = append(found, fmt.Sprintf("the account %s was %d and is %d", account, before.books[account], after.books[account]))
		}
	}
	return found
}

// mapsKeys yields the keys of both, each once.
func mapsKeys[V any, M ~map[string]V](a, b M) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range a {
			if !yield(key) {
				return
			}
		}
		for key := range b {
			if _, both := a[key]; !both && !yield(key) {
				return
			}
		}
	}
}

// inventory reads what a database holds, River's jobs and what moves by itself left out.
func inventory(ctx context.Context, pool *pgxpool.Pool) (contents, error) {
	c := contents{tables: make(map[string]string)}
	rows, err := pool.Query(ctx, `SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'river%'`)
	if err != nil {
		return contents{}, fmt.Errorf("list the tables: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return contents{}, fmt.Errorf("list the tables: %w", err)
	}
	for _, name := range names {
		if slices.Contains(moving, name) {
			continue
		}
		var count int64
		var hash string
		if err := pool.QueryRow(ctx, `SELECT count(*), md5(coalesce(string_agg(h, '' ORDER BY h), '')) FROM (
			SELECT md5(t::text) AS h FROM `+pgx.Identifier{name}.Sanitize()+` AS t) AS hashes`).Scan(&count, &hash); err != nil {
			return contents{}, fmt.Errorf("read the table %s: %w", name, err)
		}
		c.rows += count
		c.tables[name] = fmt.Sprintf("%d rows, %s", count, hash)
	}
	c.books, err = books(ctx, pool)
	return c, err
}

// drop drops the database of an address, whoever is connected.
func drop(ctx context.Context, address url.URL) error {
	name := strings.TrimPrefix(address.Path, "/")
	address.Path = "/postgres"
	conn, err := pgx.Connect(ctx, address.String())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `DROP DATABASE `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`); err != nil {
		return fmt.Errorf("drop the database: %w", err)
	}
	return nil
}

// documented returns the first block of shell commands below a heading of a page.
func documented(file, heading string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the documented commands: %w", err)
	}
	_, rest, ok := strings.Cut(string(raw), "\n"+heading+"\n")
	if !ok {
		return "", fmt.Errorf("%s has no heading %q", file, heading)
	}
	_, rest, _ = strings.Cut(rest, "\n```sh\n")
	script, _, ok := strings.Cut(rest, "\n```\n")
	if !ok {
		return "", fmt.Errorf("%s has no commands below %q", file, heading)
	}
	return script, nil
}

// clientPath is PATH with the folders where Debian keeps PostgreSQL's programs, the newest first, behind it.
func clientPath() string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	slices.Reverse(dirs)
	return strings.Join(append([]string{os.Getenv("PATH")}, dirs...), string(os.PathListSeparator))
}

// ask sends a request to the API and reads its answer.
func ask(ctx context.Context, method, address string, body, answer any) error {
	var raw io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		raw = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, raw)
	if err != nil {
		return err
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, address, resp.Status, text[:min(len(text), 300)])
	}
	return json.Unmarshal(text, answer)
}

// patternHash runs portfolio_overview for the first portfolio and returns the hash of its figures.
func patternHash(ctx context.Context, api string) (string, error) {
	var portfolios struct {
		Items []struct{ ID string }
	}
	if err := ask(ctx, http.MethodGet, api+"/v1/portfolios?limit=1", nil, &portfolios); err != nil {
		return "", err
	}
	if len(portfolios.Items) == 0 {
		return "", errors.New("there is no portfolio: the sample data is missing")
	}
	var answer struct {
		DataHash string `json:"data_hash"`
	}
	inputs := map[string]any{"inputs": map[string]string{"portfolio_id": portfolios.Items[0].ID}}
	// Recorded before the answer, or the record would come in the middle of the comparison.
	if err := ask(ctx, http.MethodPost, api+"/v1/patterns/portfolio_overview/execute?record=true", inputs, &answer); err != nil {
		return "", err
	}
	if answer.DataHash == "" {
		return "", errors.New("the pattern has no data_hash")
	}
	return answer.DataHash, nil
}

// backup starts the worker's backup job and waits for its end.
func backup(ctx context.Context, job string, limit time.Duration) error {
	if err := ask(ctx, http.MethodPost, job+"/run", map[string]string{"reason": "a drill"}, &struct{}{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return until(ctx, drainPoll, func(ctx context.Context) error {
		var runs struct {
			Items []struct{ Status, Error string }
		}
		if err := ask(ctx, http.MethodGet, job+"/runs?limit=1", nil, &runs); err != nil {
			return err
		}
		if len(runs.Items) == 0 || runs.Items[0].Status != "succeeded" {
			return fmt.Errorf("the backup has not succeeded: %+v", runs.Items)
		}
		return nil
	})
}

// String is the report for people.
func (r *RestoreReport) String() string {
	var t table
	t.add("backup", "%.1f s with its verification, %s", r.Backup, mebibytes(r.Dump))
	t.add("restore", "%.1f s by the commands of docs/jobs.md, then %.1f s until both processes were ready", r.Restore, r.Start)
	t.add("compared", "%d rows of %d tables, the accounts, data_hash %.12s", r.Rows, r.Tables, r.DataHash)
	r.Account.write(&t)
	return t.String()
}

// OK reports whether all is as it must be.
func (r *RestoreReport) OK() bool { return r.Account.OK() }
