package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// OverloadOptions say how much more is asked for than there is room for.
type OverloadOptions struct {
	Factors     []float64     // multiples of the capacity that are offered, one after the other
	Usual       float64       // the part of the capacity that is the load before and after
	Each        time.Duration // how long each load is offered
	Measure     time.Duration // how long the capacity is measured
	Concurrency int           // requests under way while the capacity is measured
	Drain       time.Duration // how long what is open may take afterwards
	Memory      int64         // bytes that no process may exceed
	// Execute runs a pattern: its path and bodies, taken in turn. Without a path only deliveries are
	// measured.
	Execute       string
	ExecuteBodies [][]byte
	Settings      []string // NAME=value, of the programs
}

// OverloadReport is what came of it.
type OverloadReport struct {
	Targets []OverloadTarget `json:"targets"`
	Account Account          `json:"account"`
}

// OverloadTarget is what came of one endpoint.
type OverloadTarget struct {
	Name     string  `json:"name"`
	Capacity float64 `json:"capacity"` // answered a second with every sender busy
	Phases   []Phase `json:"phases"`
	// Recovery is how many seconds after each overload the usual load was served as before it.
	Recovery []float64 `json:"recovery_seconds"`
}

// Phase is a load offered at a rate, whatever becomes of it.
type Phase struct {
	Name     string      `json:"name"`
	Rate     float64     `json:"offered_rate"`
	Offered  int         `json:"offered"`
	Statuses map[int]int `json:"statuses"` // 0: no whole answer
	// Unsent were due while too many others were under way: they say that the load was not what it was to
	// be.
	Unsent   int       `json:"unsent"`
	Accepted Latencies `json:"accepted"`
	Refused  Latencies `json:"refused"` // answered with 429 or 503
	// Unannounced are refusals without Retry-After.
	Unannounced int `json:"refused_without_retry_after"`
	// Codes are the refusals by the code of their problem.
	Codes    map[string]int   `json:"refusal_codes,omitempty"`
	Memory   map[string]int64 `json:"peak_memory"`
	Problems []string         `json:"problems,omitempty"`

	acknowledged []Acknowledgement
	answers      []timed
	started      time.Time
}

// timed is an answer.
type timed struct {
	due    time.Time
	took   time.Duration
	status int
}

// maxUnderWay bounds the requests of an open loop, and its connections: fewer than the API's MAX_CONNECTIONS, beyond
// which connections are closed rather than requests answered. What is due beyond them is not sent.
const maxUnderWay = 1500

// openLoop offers requests at a rate for a time: each is sent when it is due, whether earlier ones were
// answered or not.
type openLoop struct {
	targets []string
	body    func(n int) ([]byte, error)
	events  bool // answers name an event
}

func (l openLoop) offer(ctx context.Context, name string, rate float64, d time.Duration) *Phase {
	transport := &http.Transport{MaxIdleConnsPerHost: maxUnderWay}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: answerTimeout}
	p := &Phase{Name: name, Rate: rate, Statuses: map[int]int{}, started: time.Now()}
	room := make(chan struct{}, maxUnderWay)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range int(rate * d.Seconds()) {
		due := p.started.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		if pause(ctx, time.Until(due)) != nil {
			break
		}
		p.Offered++
		select {
		case room <- struct{}{}:
		default:
			p.Unsent++
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			answer, status, announced := l.post(context.WithoutCancel(ctx), client, n)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			p.add(timed{due, took, status}, answer, announced, l.events)
		})
	}
	wg.Wait()
	p.Accepted, p.Refused = p.quantiles(func(s int) bool { return s == 200 || s == 202 }), p.quantiles(shed)
	return p
}

func shed(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// post returns the answer's body and status, 0 without a whole answer, and whether it says when to come back.
func (l openLoop) post(ctx context.Context, client *http.Client, n int) (answer []byte, status int, announced bool) {
	body, err := l.body(n)
	if err != nil {
		return []byte(err.Error()), 0, false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.targets[n%len(l.targets)], bytes.NewReader(body))
	if err != nil {
		return []byte(err.Error()), 0, false
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return []byte(err.Error()), 0, false
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return []byte(err.Error()), 0, false
	}
	return answer, resp.StatusCode, resp.Header.Get("Retry-After") != ""
}

func (p *Phase) add(t timed, answer []byte, announced, events bool) {
	p.Statuses[t.status]++
	p.answers = append(p.answers, t)
	switch {
	case t.status == http.StatusOK || t.status == http.StatusAccepted:
		var receipt struct {
			EventID uuid.UUID `json:"event_id"`
		}
		if !events {
			return
		}
		if err := json.Unmarshal(answer, &receipt); err != nil || receipt.EventID == uuid.Nil {
			p.problem(t.status, answer)
			return
		}
		p.acknowledged = append(p.acknowledged, Acknowledgement{EventID: receipt.EventID, Status: t.status, Took: t.took})
	case shed(t.status):
		var problem struct{ Code string }
		if json.Unmarshal(answer, &problem) == nil && problem.Code != "" {
			if p.Codes == nil {
				p.Codes = map[string]int{}
			}
			p.Codes[problem.Code]++
		}
		if !announced {
			p.Unannounced++
		}
	default:
		p.problem(t.status, answer)
	}
}

func (p *Phase) problem(status int, answer []byte) {
	if len(p.Problems) < keptProblems {
		p.Problems = append(p.Problems, fmt.Sprintf("%d: %s", status, bytes.TrimSpace(answer[:min(len(answer), 300)])))
	}
}

func (p *Phase) quantiles(of func(status int) bool) Latencies {
	var took []time.Duration
	for _, a := range p.answers {
		if of(a.status) {
			took = append(took, a.took)
		}
	}
	return Latencies{len(took), quantile(took, 0.5).Seconds(), quantile(took, 0.95).Seconds(), quantile(took, 0.99).Seconds()}
}

// recovered returns how many seconds after its begin a phase is served as the usual load was before: of what is due
// from then on, at most twice the share is refused, and median and 95 % are at most twice as slow. A second by itself
// is not judged: at a few requests a second one of them is slow now and then, before an overload too. Negative: it
// never is.
func (p *Phase) recovered(usual *Phase) float64 {
	bound := func(seconds float64) time.Duration { return max(2*time.Duration(seconds*float64(time.Second)), noise) }
	mayRefuse := 2 * float64(usual.Refused.Events) / float64(max(len(usual.answers), 1))
	last := 0
	for _, a := range p.answers {
		last = max(last, int(a.due.Sub(p.started).Seconds()))
	}
	for second := range last + 1 {
		from := p.started.Add(time.Duration(second) * time.Second)
		var took []time.Duration
		var all, refused, failed float64
		for _, a := range p.answers {
			switch {
			case a.due.Before(from):
				continue
			case a.status == http.StatusOK || a.status == http.StatusAccepted:
				took = append(took, a.took)
			case shed(a.status):
				refused++
			default:
				failed++
			}
			all++
		}
		if failed == 0 && refused <= mayRefuse*all && len(took) > 0 &&
			quantile(took, 0.5) <= bound(usual.Accepted.P50) && quantile(took, 0.95) <= bound(usual.Accepted.P95) {
			return float64(second)
		}
	}
	return -1
}

// Overload measures what the API can take, offers it multiples of that and then the usual load again, and
// holds the account of what it accepted.
func Overload(ctx context.Context, p Place, o OverloadOptions) (*OverloadReport, error) {
	receiver, err := NewReceiver(Accepting)
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
	system, err := NewSystem(p, 1, 1, append([]string{"AUTH_ANONYMOUS=admin", "RETRY_SCHEDULE=1s,2s,5s,5s,5s"}, o.Settings...)...)
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return nil, err
	}
	run := 0
	loops := []struct {
		name string
		loop func() openLoop
	}{{"POST " + deliveriesPath, func() openLoop {
		run++ // so that no message is a duplicate of an earlier load's
		load := Load{Webhook: func(int) string { return receiver.URL() }, Run: fmt.Sprintf("overload-%d", run)}
		return openLoop{targets: system.URLs(deliveriesPath), body: load.body, events: true}
	}}}
	if o.Execute != "" {
		loops = append(loops, struct {
			name string
			loop func() openLoop
		}{"POST " + o.Execute, func() openLoop {
			return openLoop{targets: system.URLs(o.Execute), body: func(n int) ([]byte, error) { return o.ExecuteBodies[n%len(o.ExecuteBodies)], nil }}
		}})
	}
	r := &OverloadReport{}
	var sent Sent
	var wrong []string
	for _, l := range loops {
		target := OverloadTarget{Name: l.name}
		note := func(phase *Phase) {
			target.Phases = append(target.Phases, *phase)
			sent.Acknowledged = append(sent.Acknowledged, phase.acknowledged...)
			for status, n := range phase.Statuses {
				switch {
				case status == 0:
					sent.Unanswered += n
				case shed(status) || status == http.StatusGatewayTimeout:
					sent.Refused += n
				}
			}
			p.Say("%s", phase.line())
		}
		p.Say("%s: measuring the capacity", l.name)
		capacity, err := closedLoop(ctx, system, l.loop(), o.Concurrency, o.Measure)
		if err != nil {
			return nil, err
		}
		note(capacity)
		target.Capacity = capacity.Rate
		offer := func(name string, rate float64, d time.Duration) (*Phase, error) {
			var phase *Phase
			peak, err := peakMemory(ctx, system, func() { phase = l.loop().offer(ctx, name, rate, d) })
			if err != nil {
				return nil, err
			}
			phase.Memory = peak
			note(phase)
			return phase, ctx.Err()
		}
		usual, err := offer("usual load, before", target.Capacity*o.Usual, o.Each)
		if err != nil {
			return nil, err
		}
		for _, factor := range o.Factors {
			if _, err := offer(fmt.Sprintf("%g x capacity", factor), target.Capacity*factor, o.Each); err != nil {
				return nil, err
			}
			after, err := offer("usual load, after", target.Capacity*o.Usual, o.Each)
			if err != nil {
				return nil, err
			}
			recovery := after.recovered(usual)
			target.Recovery = append(target.Recovery, recovery)
			if recovery < 0 {
				wrong = append(wrong, fmt.Sprintf("%s: the usual load was not served as before within %s of %g x the capacity", l.name, o.Each, factor))
			}
		}
		r.Targets = append(r.Targets, target)
	}
	p.Say("waiting for the rest to drain")
	empty, err := drained(ctx, pool, o.Drain, p.Say)
	if err != nil {
		return nil, err
	}
	evidence, err := testify(ctx, pool, sent, receiver)
	if err != nil {
		return nil, err
	}
	r.Account = Settle(evidence)
	if !empty {
		r.Account.wrong("not drained %s after the end of the load", o.Drain)
	}
	r.Account.Wrong = append(r.Account.Wrong, wrong...)
	r.judge(o)
	for _, crash := range system.Crashes() {
		r.Account.wrong("%s", crash)
	}
	if err := system.Stop(""); err != nil {
		r.Account.wrong("%v", err)
	}
	return r, nil
}

// judge says what must not be.
func (r *OverloadReport) judge(o OverloadOptions) {
	for _, t := range r.Targets {
		for _, phase := range t.Phases {
			for _, status := range slices.Sorted(maps.Keys(phase.Statuses)) {
				if status == 0 {
					r.Account.wrong("%s, %s: %d requests were left without an answer: %s", t.Name, phase.Name, phase.Statuses[0], strings.Join(phase.Problems, "; "))
				} else if status != http.StatusOK && status != http.StatusAccepted && !shed(status) {
					r.Account.wrong("%s, %s: %d requests were answered %d: %s", t.Name, phase.Name, phase.Statuses[status], status, strings.Join(phase.Problems, "; "))
				}
			}
			if phase.Unannounced > 0 {
				r.Account.wrong("%s, %s: %d refusals without Retry-After", t.Name, phase.Name, phase.Unannounced)
			}
			if phase.Accepted.Events == 0 {
				r.Account.wrong("%s, %s: nothing was accepted", t.Name, phase.Name)
			}
			for _, process := range sortedNames(phase.Memory) {
				if phase.Memory[process] > o.Memory {
					r.Account.wrong("%s, %s: %s took %s, %s is allowed", t.Name, phase.Name, process, mebibytes(phase.Memory[process]), mebibytes(o.Memory))
				}
			}
		}
	}
}

// closedLoop keeps a number of senders busy for a time, a fifth of which is to warm up. Its rate is what was
// accepted a second.
func closedLoop(ctx context.Context, system *System, l openLoop, senders int, d time.Duration) (*Phase, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: senders}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: answerTimeout}
	p := &Phase{Name: "capacity", Statuses: map[int]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := 0
	begun := time.Now()
	warm := begun.Add(d / 5)
	p.started = warm
	until := begun.Add(d)
	counted := 0
	peak, err := peakMemory(ctx, system, func() {
		for range senders {
			wg.Go(func() {
				for time.Now().Before(until) && ctx.Err() == nil {
					mu.Lock()
					n := next
					next++
					mu.Unlock()
					at := time.Now()
					answer, status, announced := l.post(context.WithoutCancel(ctx), client, n)
					took := time.Since(at)
					mu.Lock()
					p.Offered++
					p.add(timed{at, took, status}, answer, announced, l.events)
					if end := at.Add(took); end.After(warm) && end.Before(until) && (status == http.StatusOK || status == http.StatusAccepted) {
						counted++
					}
					mu.Unlock()
					if shed(status) && pause(ctx, refusedPause) != nil {
						return
					}
				}
			})
		}
		wg.Wait()
	})
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.Memory, p.Rate = peak, float64(counted)/(d-d/5).Seconds()
	p.Accepted, p.Refused = p.quantiles(func(s int) bool { return s == 200 || s == 202 }), p.quantiles(shed)
	if counted == 0 {
		return nil, fmt.Errorf("nothing was accepted: %s", strings.Join(p.Problems, "; "))
	}
	return p, nil
}

// peakMemory does something and returns the most that each process held meanwhile.
func peakMemory(ctx context.Context, system *System, do func()) (map[string]int64, error) {
	sampleCtx, stop := context.WithCancel(ctx)
	defer stop()
	curves := make(chan []MemoryCurve, 1)
	failed := make(chan error, 1)
	go func() {
		c, err := sampleMemory(sampleCtx, system)
		failed <- err
		curves <- c
	}()
	do()
	stop()
	if err := <-failed; err != nil {
		return nil, fmt.Errorf("%w%s", err, crashed(system.Crashes()))
	}
	peaks := map[string]int64{}
	for _, c := range <-curves {
		peaks[c.Process] = slices.Max(c.Samples)
	}
	return peaks, nil
}

// line is a phase in one line.
func (p *Phase) line() string {
	var statuses []string
	for _, status := range slices.Sorted(maps.Keys(p.Statuses)) {
		name := fmt.Sprint(status)
		if status == 0 {
			name = "no answer"
		}
		statuses = append(statuses, fmt.Sprintf("%s: %d", name, p.Statuses[status]))
	}
	for _, code := range sortedNames(p.Codes) {
		statuses = append(statuses, fmt.Sprintf("%s: %d", code, p.Codes[code]))
	}
	if p.Unsent > 0 {
		statuses = append(statuses, fmt.Sprintf("unsent: %d", p.Unsent))
	}
	var memory []string
	for _, process := range sortedNames(p.Memory) {
		memory = append(memory, process+" "+mebibytes(p.Memory[process]))
	}
	return fmt.Sprintf("| %s | %.0f/s | %d | %s | %.0f ms / %.0f ms | %.0f ms / %.0f ms | %s |", p.Name, p.Rate, p.Offered, strings.Join(statuses, ", "),
		p.Accepted.P50*1e3, p.Accepted.P99*1e3, p.Refused.P50*1e3, p.Refused.P99*1e3, strings.Join(memory, ", "))
}

// String is the report for people, its figures as Markdown.
func (r *OverloadReport) String() string {
	var b strings.Builder
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "%s: capacity %.0f a second", t.Name, t.Capacity)
		for _, recovery := range t.Recovery {
			fmt.Fprintf(&b, "; recovered after %.0f s", recovery)
		}
		b.WriteString("\n\n| load | rate | offered | answers | accepted, p50 / p99 | refused, p50 / p99 | memory at most |\n|---|---|---|---|---|---|---|\n")
		for _, phase := range t.Phases {
			b.WriteString(phase.line() + "\n")
		}
		b.WriteString("\n")
	}
	var t table
	r.Account.write(&t)
	return b.String() + t.String()
}

// OK reports whether all is as it must be.
func (r *OverloadReport) OK() bool { return r.Account.OK() }
