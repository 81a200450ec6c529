package loadtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
)

const (
	// answerTimeout bounds a request: longer than the API's own REQUEST_TIMEOUT.
	answerTimeout = 40 * time.Second
	// refusedPause is how long a sender that found nobody listening waits.
	refusedPause = 20 * time.Millisecond
	// againPause is how long one that persists waits before it posts an event again.
	againPause = 100 * time.Millisecond
	// maxAnswer bounds the answer to a request.
	maxAnswer = 64 << 10
	// maxEvents bounds one load, and with it what is remembered of it.
	maxEvents = maxMessages
	// keptProblems is how many unexpected answers are kept for the report.
	keptProblems = 5
)

// Load posts events to the API.
type Load struct {
	// Targets are the addresses posted to in turn, such as http://127.0.0.1:8000/v1/deliveries.
	Targets []string
	// Webhook is where the nth event (from 0) is to go.
	Webhook func(n int) string
	// Run is part of every event, so that none says what another run's said.
	Run string
	// Events is how many; 0 means as many as fit before the context ends, 1,000,000 at most.
	Events int
	// Concurrency is how many requests are under way at the same time. Required.
	Concurrency int
	// Rate is how many events a second are due; 0 means each as soon as there is room. A request's
	// latency counts from when its event was due, waiting for room included.
	Rate float64
	// Async asks for an answer before anything is sent.
	Async bool
	// Asks tells, when it is set, which events do so besides.
	Asks func(n int) bool
	// Persist is how long an event whose request failed is posted again, under the same
	// Idempotency-Key and to the next target; 0 means that none is, and that there is no key.
	Persist time.Duration
	// Timeout bounds a request. Default: more than the API's own.
	Timeout time.Duration
	// Acknowledged, when it is set, is told of each as it comes, by several goroutines.
	Acknowledged func(Acknowledgement)
}

// Acknowledgement is an event that the API has answered for.
type Acknowledgement struct {
	EventID uuid.UUID
	Status  int // 200 or 202
	Took    time.Duration
	Number  int       // of the event, from 0
	Target  int       // which one has answered
	Posted  time.Time // when it was posted for the first time
}

// Sent is what came of a load.
type Sent struct {
	Acknowledged []Acknowledgement
	// Unanswered are requests without a whole answer: nobody knows whether they were taken on.
	Unanswered int
	// Refused are requests that found nobody listening, or were answered with 429, 503 or 504.
	Refused int
	// Unexpected are all other answers; Problems holds the first few.
	Unexpected int
	Problems   []string
	// GivenUp are events that were posted again for as long as Persist says, without an answer to
	// the end.
	GivenUp int
	// Elapsed is from the first request to the last answer.
	Elapsed time.Duration
}

// Rate is how many events were acknowledged a second.
func (s Sent) Rate() float64 { return float64(len(s.Acknowledged)) / s.Elapsed.Seconds() }

// Latency returns the quantile q (0 to 1) of the acknowledged requests' durations; 0 without any.
func (s Sent) Latency(q float64) time.Duration {
	took := make([]time.Duration, len(s.Acknowledged))
	for i, a := range s.Acknowledged {
		took[i] = a.Took
	}
	return quantile(took, q)
}

// quantile returns the smallest value that at least the part q of all values do not exceed.
func quantile[T int | int64 | time.Duration | float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	values = slices.Clone(values)
	slices.Sort(values)
	rank := int(math.Ceil(q*float64(len(values)))) - 1
	return values[min(max(rank, 0), len(values)-1)]
}

// Send posts the events. When ctx ends, no further event is begun; those under way are still
// answered.
func (l Load) Send(ctx context.Context) Sent {
	transport := &http.Transport{MaxIdleConnsPerHost: l.Concurrency, MaxConnsPerHost: l.Concurrency}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: cmp.Or(l.Timeout, answerTimeout)}
	limit := l.Events
	if limit == 0 {
		limit = maxEvents
	}
	var (
		mu   sync.Mutex
		sent Sent
		next int
		wg   sync.WaitGroup
	)
	started := time.Now()
	due := func(n int) time.Time {
		if l.Rate == 0 {
			return time.Now()
		}
		return started.Add(time.Duration(float64(n) / l.Rate * float64(time.Second)))
	}
	for range l.Concurrency {
		wg.Go(func() {
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				if n >= limit || ctx.Err() != nil {
					return
				}
				at := due(n)
				if pause(ctx, time.Until(at)) != nil {
					return
				}
				// What has begun is awaited: a request broken off by us would say nothing about the API.
				whole := context.WithoutCancel(ctx)
				begun := time.Now()
				for try := 0; ; try++ {
					ack, err := l.post(whole, client, n, n+try)
					ack.Took, ack.Posted = time.Since(at), begun
					mu.Lock()
					refused := sent.add(ack, err)
					mu.Unlock()
					if err == nil && l.Acknowledged != nil {
						l.Acknowledged(ack)
					}
					if err == nil || l.Persist == 0 {
						if refused && pause(ctx, refusedPause) != nil {
							return
						}
						break
					}
					if time.Since(begun) > l.Persist || !again(err) {
						mu.Lock()
						sent.GivenUp++
						mu.Unlock()
						break
					}
					_ = pause(whole, againPause)
				}
			}
		})
	}
	wg.Wait()
	sent.Elapsed = time.Since(started)
	return sent
}

// errRefused is a request that was surely not served.
var errRefused = errors.New("refused")

// add counts a request. It reports whether it was refused.
func (s *Sent) add(ack Acknowledgement, err error) (refused bool) {
	unexpected, isUnexpected := errors.AsType[*unexpectedError](err)
	switch {
	case err == nil:
		s.Acknowledged = append(s.Acknowledged, ack)
	case errors.Is(err, errRefused):
		s.Refused++
		return true
	case isUnexpected:
		s.Unexpected++
		if len(s.Problems) < keptProblems {
			s.Problems = append(s.Problems, unexpected.Error())
		}
	default:
		s.Unanswered++
	}
	return false
}

// again tells whether the same request may have another answer: not one that the API finds wrong.
func again(err error) bool {
	unexpected, ok := errors.AsType[*unexpectedError](err)
	return !ok || unexpected.status >= http.StatusInternalServerError
}

// unexpectedError is an answer that the API should not have given.
type unexpectedError struct {
	status int
	body   []byte
}

func (e *unexpectedError) Error() string {
	return fmt.Sprintf("answered %d: %s", e.status, bytes.TrimSpace(e.body[:min(len(e.body), 300)]))
}

// newDelivery is the body of POST /v1/deliveries.
type newDelivery struct {
	AlertID  string         `json:"alert_id"`
	UserID   string         `json:"user_id"`
	Title    string         `json:"title"`
	Message  string         `json:"message"`
	Severity string         `json:"severity"`
	Data     map[string]any `json:"data"`
	Channels struct {
		Webhook struct {
			URL string `json:"url"`
		} `json:"webhook"`
	} `json:"channels"`
}

// body returns the nth event's request.
func (l Load) body(n int) ([]byte, error) {
	d := newDelivery{
		AlertID: "load-" + l.Run, UserID: fmt.Sprintf("user-%d", n%100), Title: fmt.Sprintf("NAV fell, %s/%d", l.Run, n),
		Message: "The NAV of Sample CHF fell by 3 % in a day.", Severity: "warning",
		Data: map[string]any{"portfolio": "Sample CHF", "change": -0.03, "number": n},
	}
	d.Channels.Webhook.URL = l.Webhook(n)
	return json.Marshal(d)
}

// post posts the nth event to the target whose turn it is.
func (l Load) post(ctx context.Context, client *http.Client, n, turn int) (Acknowledgement, error) {
	body, err := l.body(n)
	if err != nil {
		return Acknowledgement{}, err
	}
	target := turn % len(l.Targets)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.Targets[target], bytes.NewReader(body))
	if err != nil {
		return Acknowledgement{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if l.Persist > 0 {
		req.Header.Set("Idempotency-Key", fmt.Sprintf("%s/%d", l.Run, n))
	}
	if l.Async || l.Asks != nil && l.Asks(n) {
		req.Header.Set("Prefer", "respond-async")
	}
	resp, err := client.Do(req)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED) {
			err = errRefused
		}
		return Acknowledgement{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Acknowledgement{}, fmt.Errorf("read the answer: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted:
		var receipt struct {
			EventID uuid.UUID `json:"event_id"`
		}
		if err := json.Unmarshal(answer, &receipt); err != nil || receipt.EventID == uuid.Nil {
			return Acknowledgement{}, &unexpectedError{resp.StatusCode, answer}
		}
		return Acknowledgement{EventID: receipt.EventID, Status: resp.StatusCode, Number: n, Target: target}, nil
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Acknowledgement{}, errRefused
	default:
		return Acknowledgement{}, &unexpectedError{resp.StatusCode, answer}
	}
}
