package loadtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// CampaignOptions say how long harm is done, and of which kinds.
type CampaignOptions struct {
	Seed     uint64
	Duration time.Duration // of load and faults; the fault that is under way then is still ended
	Faults   int           // at most; 0: as many as the duration has room for
	Shortest time.Duration // a fault's length at least
	Longest  time.Duration // and at most
	Calm     time.Duration // the longest pause after recovery
	Only     []Kind        // empty: all kinds
	Rate     float64       // events a second
	// Concurrency is how many requests are under way at most.
	Concurrency int
	Drain       time.Duration // how long what is open may take after the load
	Recovery    time.Duration // how long recovery from one fault may take

	// sabotage, for tests, is called when all has drained and before the account.
	sabotage func(context.Context, *field) error
}

// The shape of a campaign.
const campaignAPIs, campaignWorkers, campaignReceivers = 2, 2, 2

// Shape is what the schedule is made for.
func (o CampaignOptions) Shape() Shape {
	return Shape{
		APIs: campaignAPIs, Workers: campaignWorkers, Receivers: campaignReceivers,
		Shortest: o.Shortest, Longest: o.Longest, Calm: o.Calm, Only: o.Only,
	}
}

// maxFaults bounds a schedule.
const maxFaults = 10_000

// Plan is the schedule of a campaign: its first n faults.
func (o CampaignOptions) Plan(n int) []Fault { return Schedule(o.Seed, o.Shape(), n) }

// FaultResult is what came of one fault.
type FaultResult struct {
	Fault string `json:"fault"`
	Kind  Kind   `json:"kind"`
	// Recovery is from the fault's end until events posted after it had arrived on every way and all
	// processes were ready, in seconds.
	Recovery float64 `json:"recovery_seconds"`
	// Arrived and Ready are its two parts.
	Arrived float64 `json:"arrived_seconds"`
	Ready   float64 `json:"ready_seconds"`
}

// CampaignReport is what came of a campaign.
type CampaignReport struct {
	Account  Account         `json:"account"`
	Seed     uint64          `json:"seed"`
	Duration float64         `json:"duration_seconds"`
	Drained  float64         `json:"drain_seconds"`
	Rate     float64         `json:"rate"` // asked for
	GivenUp  int             `json:"given_up"`
	Faults   []FaultResult   `json:"faults"`
	NotRun   map[Kind]string `json:"not_run"` // and why
	Started  time.Time       `json:"started"`
	CPUs     int             `json:"cpus"`
	System   string          `json:"system"`   // operating system and architecture
	Database string          `json:"database"` // PostgreSQL's version
	// Command and Commit are the caller's to fill in.
	Command string `json:"command"`
	Commit  string `json:"commit"`
}

// Settings of the programs in a campaign. A second is what an attempt may take, as the reconciler waits
// that long for the dead; few connections, so that they can be used up.
var campaignSettings = []string{
	"RETRY_SCHEDULE=" + chaosSchedule, "RETRY_JITTER=0.2", "DELIVERY_TIMEOUT=1s", "DATABASE_POOL_MAX=12",
}

const (
	// campaignTimeout is when a caller has had enough and turns to the other API.
	campaignTimeout = 5 * time.Second
	// campaignPersist is how long it goes on: longer than any fault and its recovery together.
	campaignPersist = 2 * time.Minute
	recoveryPoll    = 20 * time.Millisecond
)

// Campaign does harm of every kind, one fault after the other, to two APIs, two workers, their database and
// two receivers while events are posted, measures how long it takes until all is well again, lets the
// rest drain and holds the account.
func Campaign(ctx context.Context, p Place, o CampaignOptions) (*CampaignReport, error) {
	f, done, err := newField(ctx, p, o)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := f.system.Start(ctx); err != nil {
		return nil, err
	}
	r := &CampaignReport{
		Seed: o.Seed, Rate: o.Rate, NotRun: map[Kind]string{}, Started: time.Now().UTC(),
		CPUs: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if err := f.pool.QueryRow(ctx, `SHOW server_version`).Scan(&r.Database); err != nil {
		return nil, fmt.Errorf("ask for PostgreSQL's version: %w", err)
	}

	watch := &recovery{
		ways: func(a Acknowledgement) way { return way{a.Target, receiverOf(a.Number), asks(a.Number)} },
		all:  campaignAPIs * campaignReceivers * 2,
	}
	load := Load{
		Targets: f.system.URLs(deliveriesPath), Webhook: func(n int) string { return "http://" + f.hooks[receiverOf(n)].Addr() + "/hook" },
		Run: fmt.Sprintf("campaign-%d", o.Seed), Concurrency: o.Concurrency, Rate: o.Rate,
		Asks: asks, Persist: campaignPersist, Timeout: campaignTimeout, Acknowledged: watch.note,
	}
	p.Say("%d APIs and %d workers are up; %g events a second for %s, seed %d", campaignAPIs, campaignWorkers, o.Rate, o.Duration, o.Seed)
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan Sent, 1)
	started := time.Now()
	go func() { result <- load.Send(loadCtx) }()
	wrong, failed := f.storm(ctx, o, r, watch, started.Add(o.Duration))
	if failed == nil && o.Faults == 0 {
		_ = pause(ctx, time.Until(started.Add(o.Duration)))
	}
	cancel()
	sent := <-result
	if failed != nil {
		return nil, failed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.Duration = time.Since(started).Seconds()
	r.GivenUp = sent.GivenUp

	p.Say("%d events acknowledged, %d faults; waiting for the rest to drain", len(sent.Acknowledged), len(r.Faults))
	if err := f.system.Ready(ctx); err != nil {
		return nil, err
	}
	ended := time.Now()
	empty, err := drained(ctx, f.pool, o.Drain, p.Say)
	if err != nil {
		return nil, err
	}
	r.Drained = time.Since(ended).Seconds()
	if o.sabotage != nil {
		if err := o.sabotage(ctx, f); err != nil {
			return nil, err
		}
	}
	evidence, err := testify(ctx, f.pool, sent, f.receivers...)
	if err != nil {
		return nil, err
	}
	r.Account = Settle(evidence)
	r.Account.Wrong = append(r.Account.Wrong, wrong...)
	if !empty {
		r.Account.wrong("not drained %s after the end of the load", o.Drain)
	}
	if sent.GivenUp > 0 {
		r.Account.wrong("%d events had no answer for %s, though they were posted again and again", sent.GivenUp, campaignPersist)
	}
	for _, crash := range f.system.Crashes() {
		r.Account.wrong("%s", crash)
	}
	if err := f.system.Stop(""); err != nil {
		r.Account.wrong("%v", err)
	}
	return r, nil
}

// receiverOf and asks say where the nth event goes and whether its caller waits, so that each API (which
// alternates) has them in every combination.
func receiverOf(n int) int { return n / campaignAPIs % campaignReceivers }
func asks(n int) bool      { return n/(campaignAPIs*campaignReceivers)%2 == 1 }

// newField makes what a campaign harms. Nothing of it has been started but the receivers and the links.
func newField(ctx context.Context, p Place, o CampaignOptions) (f *field, done func(), err error) {
	f = &field{place: p, shape: o.Shape(), behaviour: Unreliable(Unreliability{Seed: o.Seed, Fail: 0.05, Within: 20 * time.Millisecond})}
	var closers []func()
	done = func() {
		for _, c := range slices.Backward(closers) {
			c()
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	config, err := pgxpool.ParseConfig(p.DatabaseURL)
	if err != nil {
		return nil, nil, fmt.Errorf("read the database's address: %w", err)
	}
	config.ConnConfig.RuntimeParams["application_name"] = campaignName
	if f.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, nil, fmt.Errorf("open the database: %w", err)
	}
	closers = append(closers, f.pool.Close)
	for i := range campaignReceivers {
		r, err := NewReceiver(f.behaviour)
		if err != nil {
			return nil, nil, err
		}
		if err := r.Up(); err != nil {
			return nil, nil, err
		}
		closers = append(closers, r.Down)
		l, err := newLink(fmt.Sprintf("receiver-%d", i+1), r.addr)
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, l.close)
		f.receivers, f.hooks = append(f.receivers, r), append(f.hooks, l)
	}
	if f.system, err = NewSystem(p, campaignAPIs, campaignWorkers, campaignSettings...); err != nil {
		return nil, nil, err
	}
	closers = append(closers, f.system.Close)
	address, err := url.Parse(p.DatabaseURL)
	if err != nil {
		return nil, nil, fmt.Errorf("read the database's address: %w", err)
	}
	for _, m := range f.system.members {
		l, err := newLink(m.name, address.Host)
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, l.close)
		f.databases = append(f.databases, l)
		through := *address
		through.Host = l.Addr()
		m.env = append(m.env, "DATABASE_URL="+through.String()) // of two, the last one counts
	}
	return f, done, nil
}

// storm does one fault after the other until the time is over, and notes in the report what came of each.
// It returns what must not be.
func (f *field) storm(ctx context.Context, o CampaignOptions, r *CampaignReport, watch *recovery, until time.Time) (wrong []string, err error) {
	for _, fault := range o.Plan(cmp.Or(o.Faults, maxFaults)) {
		if pause(ctx, fault.Calm) != nil || time.Now().After(until) {
			break
		}
		if _, known := r.NotRun[fault.Kind]; known {
			continue
		}
		name := f.shape.Describe(fault)
		end, err := f.harm(ctx, fault)
		if cannot, ok := errors.AsType[*notRunError](err); ok {
			f.place.Say("%s: not run: %s", name, cannot.why)
			r.NotRun[fault.Kind] = cannot.why
			continue
		}
		if err == nil {
			_ = pause(ctx, fault.Lasts)
			err = end(ctx)
		}
		if err != nil {
			return wrong, fmt.Errorf("%s: %w", name, err)
		}
		ended := time.Now()
		watch.begin(ended)
		result := FaultResult{Fault: name, Kind: fault.Kind}
		recovered := f.recovered(ctx, o.Recovery, ended, watch, &result)
		if ctx.Err() != nil {
			break
		}
		if recovered != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", name, recovered))
			f.place.Say("%s: %v", name, recovered)
		} else {
			f.place.Say("%s: recovered in %.2f s (events %.2f s, ready %.2f s)", name, result.Recovery, result.Arrived, result.Ready)
		}
		r.Faults = append(r.Faults, result)
	}
	return wrong, nil
}

// recovered waits until all is well again after a fault that has ended.
func (f *field) recovered(ctx context.Context, limit time.Duration, ended time.Time, watch *recovery, result *FaultResult) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	readyC := make(chan error, 1)
	go func() {
		err := f.system.Ready(ctx)
		result.Ready = time.Since(ended).Seconds()
		readyC <- err
	}()
	err := until(ctx, recoveryPoll, func(context.Context) error {
		last, ok := watch.arrived(func(w way, ack Acknowledgement) (time.Time, bool) {
			return f.receivers[w.receiver].acceptedAt(ack.EventID)
		})
		if !ok {
			return errors.New("not every way is open again")
		}
		result.Arrived = max(last.Sub(ended).Seconds(), 0)
		return nil
	})
	if err := errors.Join(err, <-readyC); err != nil {
		result.Recovery = limit.Seconds()
		return fmt.Errorf("not recovered after %s: %w", limit, err)
	}
	result.Recovery = max(result.Arrived, result.Ready)
	return nil
}

// FaultSummary is what came of all faults of a kind.
type FaultSummary struct {
	Kind                 Kind
	About                string
	Count                int
	Median, Worst, Least float64 // of the recovery, in seconds
	NotRun               string
}

// Summary returns a line for each kind that was done, or could not be.
func (r *CampaignReport) Summary() []FaultSummary {
	var all []FaultSummary
	for _, k := range kinds {
		s := FaultSummary{Kind: k.kind, About: k.about, NotRun: r.NotRun[k.kind]}
		var took []float64
		for _, f := range r.Faults {
			if f.Kind == k.kind {
				took = append(took, f.Recovery)
			}
		}
		if s.Count = len(took); s.Count > 0 {
			s.Median, s.Worst, s.Least = quantile(took, 0.5), slices.Max(took), slices.Min(took)
		} else if s.NotRun == "" {
			continue
		}
		all = append(all, s)
	}
	return all
}

// String is the report for people.
func (r *CampaignReport) String() string {
	var t table
	t.add("seed", "%d", r.Seed)
	t.add("duration", "%.1f s, then %.1f s to drain", r.Duration, r.Drained)
	t.add("faults", "%d", len(r.Faults))
	for _, s := range r.Summary() {
		if s.NotRun != "" {
			t.add(string(s.Kind), "not run: %s", s.NotRun)
			continue
		}
		t.add(string(s.Kind), "%d times, recovered in %.2f s at the median, %.2f s at worst", s.Count, s.Median, s.Worst)
	}
	r.Account.write(&t)
	return t.String()
}

// OK reports whether all is as it must be.
func (r *CampaignReport) OK() bool { return r.Account.OK() }

// The marks in a document between which a report is written.
const reportBegin, reportEnd = "<!-- campaign -->", "<!-- /campaign -->"

// WriteInto returns the document with the report between its marks.
func (r *CampaignReport) WriteInto(document string) (string, error) {
	before, rest, ok := strings.Cut(document, reportBegin)
	_, after, closed := strings.Cut(rest, reportEnd)
	if !ok || !closed {
		return "", fmt.Errorf("the document has no %s and %s to write between", reportBegin, reportEnd)
	}
	return before + reportBegin + "\n" + r.Markdown() + reportEnd + after, nil
}

// Markdown is the report for a document.
func (r *CampaignReport) Markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	a := r.Account
	line("| | |\n|---|---|")
	line("| command | `%s` |", r.Command)
	line("| seed | %d |", r.Seed)
	line("| commit | %s |", cmp.Or(r.Commit, "unknown"))
	line("| when | %s |", r.Started.Format("2006-01-02 15:04 UTC"))
	line("| machine | %d CPUs, %s, PostgreSQL %s; load, receivers, proxies, both APIs, both workers and PostgreSQL share it |", r.CPUs, r.System, r.Database)
	line("| load | %g events a second asked for, half of them with `Prefer: respond-async` |", r.Rate)
	line("| duration | %.1f minutes, then %.1f s to drain |", r.Duration/60, r.Drained)
	line("| faults | %d |", len(r.Faults))
	if r.OK() {
		line("| verdict | all is as it must be |")
	} else {
		line("| verdict | **NOT as it must be**, see below |")
	}
	line("\n| account | events |\n|---|---|")
	line("| accepted (acknowledged to the caller) | %d |", a.Acknowledged)
	line("| accepted in all, by the books | %d |", a.Books[accepted])
	for _, account := range sortedNames(a.Books) {
		if account != accepted {
			line("| of these %s | %d |", strings.ReplaceAll(account, "_", " "), a.Books[account])
		}
	}
	line("| discarded | %d |", a.Books["discarded"])
	line("| received, distinct | %d |", a.Received)
	line("| duplicates: received more than once under one `webhook-id` | %d events, %d repetitions |", a.Repeated, a.Repetitions)
	line("| received under more than one `webhook-id` | %d |", a.Mixed)
	line("| still open | %d |", a.Open)
	line("| requests without an answer, posted again | %d |", a.Unacknowledged)
	line("| requests refused (429, 503, 504, nobody listening), posted again | %d |", a.Refused)
	line("| given up by the caller | %d |", r.GivenUp)
	line("| **lost** | **%d** |", len(a.Lost))
	line("| **drift of the ledger** | **%d** |", a.Books.Drift())
	line("\n| fault | what | times | recovery, median | worst |\n|---|---|---|---|---|")
	for _, s := range r.Summary() {
		if s.NotRun != "" {
			line("| `%s` | %s | not run: %s | | |", s.Kind, s.About, s.NotRun)
			continue
		}
		line("| `%s` | %s | %d | %.2f s | %.2f s |", s.Kind, s.About, s.Count, s.Median, s.Worst)
	}
	for _, list := range []struct {
		name    string
		entries []string
	}{{"Lost", a.Lost}, {"Wrong", a.Wrong}} {
		if len(list.entries) == 0 {
			continue
		}
		line("\n%s:\n", list.name)
		for i, entry := range list.entries {
			if i == shown {
				line("- ... and %d more", len(list.entries)-shown)
				break
			}
			line("- %s", entry)
		}
	}
	return b.String()
}

// unknown are kinds that are none.
func unknown(only []Kind) []Kind {
	return slices.DeleteFunc(slices.Clone(only), func(k Kind) bool { return slices.Contains(Kinds(), k) })
}

// Kinds returns all kinds of faults.
func Kinds() []Kind {
	all := make([]Kind, len(kinds))
	for i, k := range kinds {
		all[i] = k.kind
	}
	return all
}

// Check reports what is wrong with the options.
func (o CampaignOptions) Check() error {
	switch {
	case o.Duration <= 0 || o.Shortest <= 0 || o.Longest < o.Shortest || o.Rate <= 0 || o.Concurrency < 1 || o.Drain <= 0 || o.Recovery <= 0:
		return errors.New("durations, rate and concurrency must be positive, and the longest fault not shorter than the shortest")
	case o.Faults < 0 || o.Faults > maxFaults || o.Calm < 0:
		return fmt.Errorf("faults from 0 to %d, the calm not negative", maxFaults)
	}
	if u := unknown(o.Only); len(u) > 0 {
		return fmt.Errorf("no kind of fault is called %s; there are: %s", u[0], joined(Kinds()))
	}
	return nil
}

func joined(all []Kind) string {
	names := make([]string, len(all))
	for i, k := range all {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}
