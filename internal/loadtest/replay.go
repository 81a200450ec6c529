package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	replayPath     = "/v1/dlq/replay"
	operationsPath = "/v1/dlq/operations/"
)

// ReplayOptions say how many dead letters are replayed, and when their receiver fails again.
type ReplayOptions struct {
	Events      int
	PerSecond   int           // letters that the replay makes due a second
	StopAfter   int           // letters that fail until the replay stops
	FailAgain   int           // letters that the receiver takes before it fails again; fewer than Events
	Concurrency int           // requests under way at most
	Limit       time.Duration // how long the replay may take each time that it runs
}

// ReplayReport is what came of it.
type ReplayReport struct {
	Account Account `json:"account"`
	Load    float64 `json:"load_seconds"`
	// Exhausted are the dead letters before the replay.
	Exhausted int `json:"exhausted"`
	// Stopped is the replay once it had stopped and all that it had released had an outcome. The receiver
	// took Taken letters until then, and refused Refused.
	Stopped ReplayPhase `json:"stopped"`
	Taken   int         `json:"taken_until_stopped"`
	Refused int         `json:"refused_until_stopped"`
	// Continued is the same replay, taken up again with the receiver mended.
	Continued ReplayPhase `json:"continued"`
	// Rest is another replay, of what failed under the first.
	Rest ReplayPhase `json:"rest"`
}

// ReplayPhase is how an operation on dead letters stood, and how long it took to get there.
type ReplayPhase struct {
	Seconds   float64         `json:"seconds"`
	Operation LetterOperation `json:"operation"`
}

// LetterOperation is what the API tells of an operation.
type LetterOperation struct {
	ID         uuid.UUID `json:"id"`
	State      string    `json:"state"`
	StopReason string    `json:"stop_reason,omitempty"`
	Total      int       `json:"total"`
	Released   int       `json:"released"`
	Delivered  int       `json:"delivered"`
	Failed     int       `json:"failed"`
	Waiting    int       `json:"waiting"`
	Closed     int       `json:"closed"`
	Elsewhere  int       `json:"elsewhere"`
	Remaining  int       `json:"remaining"`
}

// Refusing takes nothing, for good.
func Refusing(string, int) Answer { return Answer{Status: http.StatusNotFound} }

// takingFirst takes n messages and refuses all others for good.
func takingFirst(n int) Behaviour {
	var taken atomic.Int64
	return func(string, int) Answer {
		if taken.Add(1) <= int64(n) {
			return Answer{Status: http.StatusOK}
		}
		return Answer{Status: http.StatusNotFound}
	}
}

// Replay has a receiver refuse events for good, and replays their dead letters: in the middle the receiver
// fails again, the replay stops, and is continued once the receiver is mended.
func Replay(ctx context.Context, p Place, o ReplayOptions) (*ReplayReport, error) {
	receiver, err := NewReceiver(Refusing)
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
	system, err := NewSystem(p, 1, 1)
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return nil, err
	}
	p.Say("%d events whose receiver refuses them", o.Events)
	sent := Load{
		Targets: system.URLs(deliveriesPath), Webhook: func(int) string { return receiver.URL() }, Run: "replay",
		Events: o.Events, Concurrency: o.Concurrency,
	}.Send(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &ReplayReport{Load: sent.Elapsed.Seconds()}
	err = pool.QueryRow(ctx, `SELECT count(*) FROM alert_dlq WHERE state = 'exhausted'`).Scan(&r.Exhausted)
	if err != nil {
		return nil, fmt.Errorf("count exhausted letters: %w", err)
	}
	desk := operators{client: &http.Client{Timeout: answerTimeout}, url: system.URLs("")[0], limit: o.Limit, say: p.Say}

	p.Say("%d dead letters; the receiver is mended, and fails again after %d", r.Exhausted, o.FailAgain)
	receiver.Behave(takingFirst(o.FailAgain))
	wanted := map[string]any{
		"filter": map[string]any{"state": "exhausted"}, "per_second": o.PerSecond, "stop_after_failures": o.StopAfter, "reason": "the receiver is back",
	}
	if r.Stopped, err = desk.run(ctx, replayPath, wanted); err != nil {
		return nil, err
	}
	for _, m := range receiver.Messages() {
		r.Taken += m.Accepted
		r.Refused += m.Attempts - m.Accepted - 1 // the first attempt was refused before the replay
	}

	p.Say("the replay is %s; the receiver is mended, the replay continued", r.Stopped.Operation.State)
	receiver.Behave(Accepting)
	continued := operationsPath + r.Stopped.Operation.ID.String() + "/continue"
	if r.Continued, err = desk.run(ctx, continued, map[string]any{"reason": "now it really works"}); err != nil {
		return nil, err
	}
	p.Say("the replay is %s; what failed under it is replayed", r.Continued.Operation.State)
	if r.Rest, err = desk.run(ctx, replayPath, wanted); err != nil {
		return nil, err
	}

	evidence, err := testify(ctx, pool, sent, receiver)
	if err != nil {
		return nil, err
	}
	r.Account = Settle(evidence)
	r.judge(o)
	for _, crash := range system.Crashes() {
		r.Account.wrong("%s", crash)
	}
	if err := system.Stop(""); err != nil {
		r.Account.wrong("%v", err)
	}
	return r, nil
}

// operators act on dead letters over HTTP.
type operators struct {
	client *http.Client
	url    string
	limit  time.Duration
	say    func(format string, args ...any)
}

// run starts or continues an operation and waits until it has ended and all that it released has an
// outcome, for limit at most.
func (d operators) run(ctx context.Context, path string, body any) (ReplayPhase, error) {
	begun := time.Now()
	o, err := d.ask(ctx, http.MethodPost, path, body)
	if err != nil {
		return ReplayPhase{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.limit, fmt.Errorf("operation %s was not done after %s", o.ID, d.limit))
	defer cancel()
	told := time.Now()
	for o.State == "running" || o.Waiting > 0 {
		if pause(ctx, drainPoll) != nil {
			return ReplayPhase{}, context.Cause(ctx)
		}
		if o, err = d.ask(ctx, http.MethodGet, operationsPath+o.ID.String(), nil); err != nil {
			return ReplayPhase{}, err
		}
		if time.Since(told) > sayEvery {
			told = time.Now()
			d.say("%d of %d released, %d delivered, %d failed", o.Released, o.Total, o.Delivered, o.Failed)
		}
	}
	return ReplayPhase{Seconds: time.Since(begun).Seconds(), Operation: o}, nil
}

func (d operators) ask(ctx context.Context, method, path string, body any) (o LetterOperation, err error) {
	var sent io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return o, err
		}
		sent = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, sent)
	if err != nil {
		return o, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return o, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return o, fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted {
		return o, fmt.Errorf("%s %s: %w", method, path, &unexpectedError{resp.StatusCode, answer})
	}
	if err := json.Unmarshal(answer, &o); err != nil {
		return o, fmt.Errorf("decode the answer to %s %s: %w", method, path, err)
	}
	return o, nil
}

// judge says what must not be.
func (r *ReplayReport) judge(o ReplayOptions) {
	if r.Exhausted != o.Events {
		r.Account.wrong("%d letters were exhausted before the replay, not %d", r.Exhausted, o.Events)
	}
	for _, phase := range []struct {
		name, state string
		LetterOperation
	}{
		{"the replay", "stopped", r.Stopped.Operation},
		{"the replay, continued,", "done", r.Continued.Operation},
		{"the replay of the rest", "done", r.Rest.Operation},
	} {
		if phase.State != phase.state {
			r.Account.wrong("%s is %s, not %s: %s", phase.name, phase.State, phase.state, phase.StopReason)
		}
		if sum := phase.Delivered + phase.Failed + phase.Waiting + phase.Closed + phase.Elsewhere; sum != phase.Released || phase.Elsewhere+phase.Closed > 0 {
			r.Account.wrong("%s released %d letters, and tells of %d delivered, %d failed, %d closed, %d elsewhere",
				phase.name, phase.Released, phase.Delivered, phase.Failed, phase.Closed, phase.Elsewhere)
		}
	}
	stopped, continued, rest := r.Stopped.Operation, r.Continued.Operation, r.Rest.Operation
	if stopped.Delivered != r.Taken || stopped.Failed != r.Refused {
		r.Account.wrong("the stopped replay tells of %d delivered and %d failed, the receiver took %d and refused %d",
			stopped.Delivered, stopped.Failed, r.Taken, r.Refused)
	}
	// What is outstanding when it fails is two slices' worth, and what a slice adds until that is seen.
	if most := o.FailAgain + 3*o.PerSecond + o.StopAfter; stopped.Released > most || stopped.Remaining == 0 {
		r.Account.wrong("the replay stopped after %d letters, with %d left: it should have spared all beyond %d", stopped.Released, stopped.Remaining, most)
	}
	if continued.Released != r.Exhausted || continued.Failed != stopped.Failed {
		r.Account.wrong("continued, the replay released %d of %d letters, of which %d failed, %d of them before",
			continued.Released, r.Exhausted, continued.Failed, stopped.Failed)
	}
	if rest.Total != stopped.Failed || rest.Delivered != rest.Total {
		r.Account.wrong("%d letters failed, a replay of the rest found %d and delivered %d", stopped.Failed, rest.Total, rest.Delivered)
	}
	if r.Account.DeadLetters > 0 || r.Account.Open > 0 || r.Account.Received != o.Events {
		r.Account.wrong("%d of %d events were received in the end", r.Account.Received, o.Events)
	}
	if r.Account.Repeated > 0 {
		r.Account.wrong("%d events were delivered twice", r.Account.Repeated)
	}
}

// String is the report for people.
func (r *ReplayReport) String() string {
	var t table
	t.add("load", "%.1f s, %d events refused for good", r.Load, r.Exhausted)
	for _, phase := range []struct {
		name string
		p    ReplayPhase
	}{{"replay", r.Stopped}, {"continued", r.Continued}, {"rest", r.Rest}} {
		o := phase.p.Operation
		t.add(phase.name, "%s after %.1f s: of %d letters %d released, %d of those delivered, %d failed, %d waiting, %d left",
			o.State, phase.p.Seconds, o.Total, o.Released, o.Delivered, o.Failed, o.Waiting, o.Remaining)
		if o.StopReason != "" {
			t.add("", "%s", o.StopReason)
		}
	}
	t.add("receiver", "took %d letters and refused %d until the replay had stopped", r.Taken, r.Refused)
	r.Account.write(&t)
	return t.String()
}

// OK reports whether all is as it must be.
func (r *ReplayReport) OK() bool { return r.Account.OK() }
