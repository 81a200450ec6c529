package loadtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ChaosOptions say how much harm is done.
type ChaosOptions struct {
	Duration    time.Duration // of load and kills
	Kills       int           // spread over the duration at random; 0: nothing is killed
	Seed        uint64        // decides when, whom, and how the receiver fails
	APIs        int
	Workers     int
	Rate        float64       // events a second
	Concurrency int           // requests under way at most
	Drain       time.Duration // how long what is open may take after the load
}

// ChaosReport is what came of it.
type ChaosReport struct {
	Account  Account        `json:"account"`
	Seed     uint64         `json:"seed"`
	Duration float64        `json:"duration_seconds"`
	Kills    map[string]int `json:"kills"`         // by process
	Drained  float64        `json:"drain_seconds"` // after the load, until nothing was open
	Periodic []PeriodicJob  `json:"periodic_jobs"`
}

// PeriodicJob tells how often a job ran that is due every so often, whatever the number of workers.
type PeriodicJob struct {
	Kind string `json:"kind"`
	Runs int    `json:"runs"`
	// Shortest is the least time between two runs' insertions in seconds; 0 with fewer than two.
	Shortest float64 `json:"shortest_gap_seconds"`
	Shared   int     `json:"shared"` // runs that more than one worker has taken
}

// chaosSchedule is short, so that a run drains in seconds, and as long in number as settings may be:
// where a third of the attempts fails, nothing comes to its end.
const chaosSchedule = "300ms,1s,1s,2s,2s,3s,3s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s"

// Chaos kills APIs and workers at random while events are posted and a receiver fails a third of the
// time, lets the rest drain and holds the account. Without kills nothing may be repeated either, and
// jobs that are due every so often run once, however many workers there are.
func Chaos(ctx context.Context, p Place, o ChaosOptions) (*ChaosReport, error) {
	// A second is what an attempt may take where processes die, as the reconciler waits that long for
	// the dead. Where none does, an attempt must not be given up that the receiver has just taken.
	timeout, behaviour := "1s", Unreliability{Seed: o.Seed, Fail: 0.31, Hang: 0.02, Within: 30 * time.Millisecond}
	if o.Kills == 0 {
		timeout, behaviour.Fail, behaviour.Hang = "10s", 0.33, 0
	}
	receiver, err := NewReceiver(Unreliable(behaviour))
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
	system, err := NewSystem(p, o.APIs, o.Workers, "RETRY_SCHEDULE="+chaosSchedule, "RETRY_JITTER=0.2", "DELIVERY_TIMEOUT="+timeout)
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return nil, err
	}

	p.Say("%d API and %d worker are up; %g events a second for %s, %d kills, seed %d", o.APIs, o.Workers, o.Rate, o.Duration, o.Kills, o.Seed)
	started := time.Now()
	loadCtx, cancel := context.WithTimeout(ctx, o.Duration)
	defer cancel()
	load := Load{
		Targets: system.URLs(deliveriesPath), Webhook: func(int) string { return receiver.URL() },
		Run: fmt.Sprintf("chaos-%d", o.Seed), Concurrency: o.Concurrency, Rate: o.Rate,
	}
	result := make(chan Sent, 1)
	go func() { result <- load.Send(loadCtx) }()
	kills, killErr := kill(loadCtx, system, o)
	sent := <-result
	if killErr != nil {
		return nil, killErr
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &ChaosReport{Seed: o.Seed, Duration: time.Since(started).Seconds(), Kills: kills}

	p.Say("%d events acknowledged, %d processes killed; waiting for the rest to drain", len(sent.Acknowledged), total(kills))
	if err := system.Ready(ctx); err != nil {
		return nil, err
	}
	ended := time.Now()
	empty, err := drained(ctx, pool, o.Drain, p.Say)
	if err != nil {
		return nil, err
	}
	r.Drained = time.Since(ended).Seconds()
	evidence, err := testify(ctx, pool, sent, receiver)
	if err != nil {
		return nil, err
	}
	r.Account = Settle(evidence)
	if !empty {
		r.Account.wrong("not drained %s after the end of the load", o.Drain)
	}
	if o.Kills == 0 && r.Account.Repeated > 0 {
		r.Account.wrong("%d events were delivered twice without a kill", r.Account.Repeated)
	}
	if r.Periodic, err = periodic(ctx, pool); err != nil {
		return nil, err
	}
	for _, job := range r.Periodic {
		// Workers that started together and each saw to it would do so nearly at the same time. A kill
		// can have the next leader begin with a run of its own.
		if o.Kills == 0 && (job.Runs > 1 && job.Shortest < 1 || job.Shared > 0) {
			r.Account.wrong("the periodic job %s ran more than once when it was due: %+v", job.Kind, job)
		}
	}
	for _, crash := range system.Crashes() {
		r.Account.wrong("%s", crash)
	}
	if err := system.Stop(""); err != nil {
		r.Account.wrong("%v", err)
	}
	return r, nil
}

// deliveriesPath is where events are posted to.
const deliveriesPath = "/v1/deliveries"

// kill kills processes at random times of the load, and returns how often each.
func kill(ctx context.Context, system *System, o ChaosOptions) (map[string]int, error) {
	random := rand.New(rand.NewPCG(o.Seed, 0)) //nolint:gosec // to be repeated by its seed, not to be secret
	times := make([]time.Duration, o.Kills)
	for i := range times {
		times[i] = time.Duration(random.Float64() * float64(o.Duration))
	}
	slices.Sort(times)
	kills := make(map[string]int)
	started := time.Now()
	for _, at := range times {
		victim := random.IntN(system.Size())
		if pause(ctx, at-time.Since(started)) != nil {
			break // the load is over, or the user has had enough
		}
		if err := system.Kill(victim); err != nil {
			return nil, err
		}
		kills[system.Name(victim)]++
	}
	return kills, nil
}

func total(kills map[string]int) int {
	sum := 0
	for _, n := range kills {
		sum += n
	}
	return sum
}

// periodic returns how often each periodic job ran. River marks them.
func periodic(ctx context.Context, q querier) ([]PeriodicJob, error) {
	rows, err := q.Query(ctx, `
		SELECT kind, count(*), coalesce(min(gap), 0), count(*) FILTER (WHERE workers > 1) FROM (
			SELECT kind, cardinality(attempted_by) AS workers,
			       extract(epoch FROM created_at - lag(created_at) OVER (PARTITION BY kind ORDER BY created_at, id))::float8 AS gap
			FROM river_job WHERE metadata @> '{"periodic": true}') AS j
		GROUP BY kind ORDER BY kind`)
	if err != nil {
		return nil, fmt.Errorf("read the periodic jobs: %w", err)
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[PeriodicJob])
	if err != nil {
		return nil, fmt.Errorf("read the periodic jobs: %w", err)
	}
	return jobs, nil
}

// String is the report for people.
func (r *ChaosReport) String() string {
	var t table
	t.add("seed", "%d", r.Seed)
	t.add("duration", "%.1f s, then %.1f s to drain", r.Duration, r.Drained)
	var victims []string
	for _, name := range sortedNames(r.Kills) {
		victims = append(victims, fmt.Sprintf("%s %d times", name, r.Kills[name]))
	}
	t.add("kills", "%s", strings.Join(append([]string{fmt.Sprint(total(r.Kills))}, victims...), ", "))
	for _, job := range r.Periodic {
		if job.Runs > 1 {
			t.add("periodic job", "%s ran %d times, at least %.1f s apart", job.Kind, job.Runs, job.Shortest)
		} else {
			t.add("periodic job", "%s ran once", job.Kind)
		}
	}
	r.Account.write(&t)
	return t.String()
}

// OK reports whether all is as it must be.
func (r *ChaosReport) OK() bool { return r.Account.OK() }
