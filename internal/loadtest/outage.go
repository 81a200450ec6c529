package loadtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// OutageOptions say how long a receiver is away and what is sent meanwhile.
type OutageOptions struct {
	Events      int           // to the receiver that is down
	Rate        float64       // of them, a second
	OtherRate   float64       // of events to the receiver that is up, a second
	WarmUp      time.Duration // how long both receivers are up before
	Hold        time.Duration // how long the receiver stays down after the last event
	Concurrency int           // requests under way at most, for each receiver
	Drain       time.Duration // how long recovery may take
}

// OutageReport is what came of it.
type OutageReport struct {
	Account Account `json:"account"`
	// Before and During are the other receiver's latencies in seconds, with the same load on the first
	// receiver while it was up and while it was down.
	Before    Latencies     `json:"before"`
	During    Latencies     `json:"during"`
	Processes []MemoryCurve `json:"memory"`
	// Drained is from the receiver's return until nothing was open; Rates is how many events it took in
	// each second of it.
	Drained float64 `json:"drain_seconds"`
	Rates   []int   `json:"recovery_rates"`
	// Busiest is how many requests the receiver had under way at the same time after its return.
	Busiest int `json:"recovery_concurrency"`
}

// Latencies are quantiles in seconds of the time from when an event was due to its answer.
type Latencies struct {
	Events int     `json:"events"`
	P50    float64 `json:"p50_seconds"`
	P95    float64 `json:"p95_seconds"`
	P99    float64 `json:"p99_seconds"`
}

func latencies(s Sent) Latencies {
	return Latencies{len(s.Acknowledged), s.Latency(0.5).Seconds(), s.Latency(0.95).Seconds(), s.Latency(0.99).Seconds()}
}

// MemoryCurve is a process's resident memory in bytes over an outage.
type MemoryCurve struct {
	Process string  `json:"process"`
	Samples []int64 `json:"samples"` // one a second, from the outage's begin to its end
}

// Growth is how much more the last tenth of the samples holds than the second tenth, by their
// medians: what a process takes in the first moments is warming up.
func (c MemoryCurve) Growth() int64 {
	tenth := len(c.Samples) / 10
	if tenth == 0 {
		return 0
	}
	return quantile(c.Samples[len(c.Samples)-tenth:], 0.5) - quantile(c.Samples[tenth:2*tenth], 0.5)
}

const (
	// maxGrowth is what counts as flat: the garbage collector's own ups and downs are some MiB.
	maxGrowth = 32 << 20
	// maxSlowdown is how much longer the other receiver's events may take at the median while the
	// first is down; below noise, nothing is said.
	maxSlowdown, noise = 3, 20 * time.Millisecond
)

// outageSchedule has retries come due while the receiver is down, and does not end before it is back.
const outageSchedule = "2s,5s,10s,20s,30s,60s,60s,60s,60s,60s,60s,60s,60s,60s,60s,60s,60s,60s,60s,60s"

// Outage takes a receiver down, sends events to it and to another one that is up, and gives it back.
func Outage(ctx context.Context, p Place, o OutageOptions) (*OutageReport, error) {
	var receivers [2]*Receiver
	for i := range receivers {
		r, err := NewReceiver(Accepting)
		if err != nil {
			return nil, err
		}
		if err := r.Up(); err != nil {
			return nil, err
		}
		defer r.Down()
		receivers[i] = r
	}
	down, other := receivers[0], receivers[1]
	pool, err := pgxpool.New(ctx, p.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	system, err := NewSystem(p, 1, 1, "RETRY_SCHEDULE="+outageSchedule)
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return nil, err
	}
	load := func(r *Receiver, run string, events int, rate float64) Load {
		return Load{
			Targets: system.URLs(deliveriesPath), Webhook: func(int) string { return r.URL() }, Run: run,
			Events: events, Concurrency: o.Concurrency, Rate: rate,
		}
	}

	p.Say("both receivers are up: %g and %g events a second for %s", o.Rate, o.OtherRate, o.WarmUp)
	before := make(chan Sent, 1)
	go func() {
		before <- load(other, "before", int(o.OtherRate*o.WarmUp.Seconds()), o.OtherRate).Send(ctx)
	}()
	warm := load(down, "warm", int(o.Rate*o.WarmUp.Seconds()), o.Rate).Send(ctx)
	calm := <-before

	p.Say("one receiver goes down; %d events to it", o.Events)
	down.Down()
	sampleCtx, stopSampling := context.WithCancel(ctx)
	curves := make(chan []MemoryCurve, 1)
	sampleErr := make(chan error, 1)
	go func() {
		c, err := sampleMemory(sampleCtx, system)
		sampleErr <- err
		curves <- c
	}()
	otherCtx, stopOther := context.WithCancel(ctx)
	during := make(chan Sent, 1)
	go func() { during <- load(other, "during", 0, o.OtherRate).Send(otherCtx) }()
	troubled := load(down, "down", o.Events, o.Rate).Send(ctx)
	p.Say("%d acknowledged; the receiver stays down for another %s", len(troubled.Acknowledged), o.Hold)
	held := pause(ctx, o.Hold)
	stopOther()
	stopSampling()
	calmToo := <-during
	if err := <-sampleErr; err != nil {
		return nil, fmt.Errorf("%w%s", err, crashed(system.Crashes()))
	}
	if held != nil {
		return nil, held
	}
	r := &OutageReport{Before: latencies(calm), During: latencies(calmToo), Processes: <-curves}

	p.Say("the receiver comes back")
	back := time.Now()
	if err := down.Up(); err != nil {
		return nil, err
	}
	empty, err := drained(ctx, pool, o.Drain, p.Say)
	if err != nil {
		return nil, err
	}
	r.Drained = time.Since(back).Seconds()
	r.Rates, r.Busiest = down.Rates(back), down.Busiest()
	evidence, err := testify(ctx, pool, merge(calm, warm, troubled, calmToo), receivers[:]...)
	if err != nil {
		return nil, err
	}
	r.Account = Settle(evidence)
	r.judge(o, empty)
	for _, crash := range system.Crashes() {
		r.Account.wrong("%s", crash)
	}
	if err := system.Stop(""); err != nil {
		r.Account.wrong("%v", err)
	}
	return r, nil
}

// judge says what must not be.
func (r *OutageReport) judge(o OutageOptions, empty bool) {
	if !empty {
		r.Account.wrong("not drained %s after the receiver's return", o.Drain)
	}
	if r.Account.Repeated > 0 {
		r.Account.wrong("%d events were delivered twice without a kill", r.Account.Repeated)
	}
	for _, c := range r.Processes {
		if c.Growth() > maxGrowth {
			r.Account.wrong("%s grew by %s during the outage", c.Process, mebibytes(c.Growth()))
		}
	}
	if slow := r.During.P50; slow > noise.Seconds() && slow > maxSlowdown*r.Before.P50 {
		r.Account.wrong("the other receiver's events took %.0f ms at the median during the outage, %.0f ms before", slow*1e3, r.Before.P50*1e3)
	}
}

// merge puts loads together. Elapsed is the longest.
func merge(all ...Sent) Sent {
	var m Sent
	for _, s := range all {
		m.Acknowledged = append(m.Acknowledged, s.Acknowledged...)
		m.Unanswered += s.Unanswered
		m.Refused += s.Refused
		m.Unexpected += s.Unexpected
		m.Problems = append(m.Problems, s.Problems...)
		m.Elapsed = max(m.Elapsed, s.Elapsed)
	}
	return m
}

// sampleMemory reads the memory of all processes once a second until ctx ends.
func sampleMemory(ctx context.Context, system *System) ([]MemoryCurve, error) {
	curves := make([]MemoryCurve, system.Size())
	for i := range curves {
		curves[i].Process = system.Name(i)
	}
	for {
		sizes, err := system.Memory()
		if err != nil {
			return nil, err
		}
		for i, size := range sizes {
			curves[i].Samples = append(curves[i].Samples, size)
		}
		if pause(ctx, time.Second) != nil {
			return curves, nil
		}
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// String is the report for people.
func (r *OutageReport) String() string {
	var t table
	for _, c := range r.Processes {
		if len(c.Samples) > 0 {
			t.add("memory of "+c.Process, "%s at the outage's begin, %s at its end, %s at most; grown by %s once warm",
				mebibytes(c.Samples[0]), mebibytes(c.Samples[len(c.Samples)-1]), mebibytes(slices.Max(c.Samples)), mebibytes(c.Growth()))
		}
	}
	for _, phase := range []struct {
		name string
		l    Latencies
	}{{"before", r.Before}, {"during", r.During}} {
		t.add("other receiver "+phase.name, "%d events, p50 %.1f ms, p95 %.1f ms, p99 %.1f ms",
			phase.l.Events, phase.l.P50*1e3, phase.l.P95*1e3, phase.l.P99*1e3)
	}
	t.add("recovery", "%.1f s from the receiver's return until nothing was open", r.Drained)
	if len(r.Rates) > 0 {
		peak := slices.Max(r.Rates)
		t.add("most in a second", "%d events, in second %d; at the same time %d", peak, slices.Index(r.Rates, peak), r.Busiest)
		quiet := slices.IndexFunc(r.Rates, func(n int) bool { return n > 0 })
		rates := []string{fmt.Sprintf("from second %d:", quiet)}
		for i, n := range r.Rates[quiet:] {
			if i == shown {
				rates = append(rates, "...")
				break
			}
			rates = append(rates, fmt.Sprint(n))
		}
		t.add("events in each second", "%s", strings.Join(rates, " "))
	}
	r.Account.write(&t)
	return t.String()
}

// OK reports whether all is as it must be.
func (r *OutageReport) OK() bool { return r.Account.OK() }
