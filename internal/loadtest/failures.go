package loadtest

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// FailuresOptions say how many events fail how often.
type FailuresOptions struct {
	Events      int
	Fail        int           // attempts of each event that fail before one succeeds
	Retry       time.Duration // each wait of the schedule
	Concurrency int           // requests under way at most
	Drain       time.Duration // how long all deliveries may take after the load
}

// FailuresReport is what came of it.
type FailuresReport struct {
	Account Account `json:"account"`
	Load    float64 `json:"load_seconds"`
	Rate    float64 `json:"load_rate"`     // events acknowledged a second
	Drained float64 `json:"drain_seconds"` // from the load's end until nothing was open
	// Exact are the events that took as many attempts as they had to; Attempts is the most any took.
	Exact    int `json:"exact"`
	Attempts int `json:"attempts"`
}

// Failures sends events whose receiver fails the first attempts of each. All must arrive, each once.
func Failures(ctx context.Context, p Place, o FailuresOptions) (*FailuresReport, error) {
	receiver, err := NewReceiver(FailingFirst(o.Fail))
	if err != nil {
		return nil, err
	}
	if err := receiver.Up(); err != nil {
		return nil, err
	}
	defer receiver.Down()
	pool, err := pgxpool.New(ctx, p.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	schedule := "RETRY_SCHEDULE=" + o.Retry.String()
	for range max(o.Fail, 4) {
		schedule += "," + o.Retry.String()
	}
	system, err := NewSystem(p, 1, 1, schedule)
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return nil, err
	}
	p.Say("%d events whose receiver fails %d times each; retries after %s", o.Events, o.Fail, o.Retry)
	load := Load{
		Targets: system.URLs(deliveriesPath), Webhook: func(int) string { return receiver.URL() }, Run: "failures",
		Events: o.Events, Concurrency: o.Concurrency,
	}
	sent := load.Send(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.Say("%d acknowledged in %s", len(sent.Acknowledged), seconds(sent.Elapsed))
	ended := time.Now()
	empty, err := drained(ctx, pool, o.Drain, p.Say)
	if err != nil {
		return nil, err
	}
	r := &FailuresReport{Load: sent.Elapsed.Seconds(), Rate: sent.Rate(), Drained: time.Since(ended).Seconds()}
	evidence, err := testify(ctx, pool, sent, receiver)
	if err != nil {
		return nil, err
	}
	r.Account = Settle(evidence)
	for _, m := range evidence.Received {
		r.Attempts = max(r.Attempts, m.Attempts)
		if m.Attempts == o.Fail+1 {
			r.Exact++
		}
	}
	if !empty {
		r.Account.wrong("not drained %s after the end of the load", o.Drain)
	}
	if missing := o.Events - r.Account.Received; missing != 0 {
		r.Account.wrong("%d events are missing", missing)
	}
	if r.Account.Repeated > 0 {
		r.Account.wrong("%d events were delivered twice", r.Account.Repeated)
	}
	for _, crash := range system.Crashes() {
		r.Account.wrong("%s", crash)
	}
	if err := system.Stop(""); err != nil {
		r.Account.wrong("%v", err)
	}
	return r, nil
}

// String is the report for people.
func (r *FailuresReport) String() string {
	var t table
	t.add("load", "%.1f s, %.0f events acknowledged a second", r.Load, r.Rate)
	t.add("drain", "%.1f s from the end of the load until nothing was open", r.Drained)
	t.add("attempts", "%d events took no more than they had to, the most any took was %d", r.Exact, r.Attempts)
	r.Account.write(&t)
	return t.String()
}

// OK reports whether all is as it must be.
func (r *FailuresReport) OK() bool { return r.Account.OK() }
