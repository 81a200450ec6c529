package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sort"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/fault"
)

// Observer counts attempts in the metrics that agents share.
type Observer interface {
	Observe(ctx context.Context, agentName, capability string, err error, d time.Duration)
}

// Options for a Service or Retrier.
type Options struct {
	Channels []Channel
	Schedule Schedule
	Timeout  time.Duration // of one attempt, everything included; must be positive
	Observer Observer
	Log      *slog.Logger
	Tracer   trace.Tracer
	Now      func() time.Time // time.Now
	Rand     func() float64   // uniform in [0, 1), safe for concurrent use; rand.Float64
}

// sender makes attempts and judges them. The API makes the first attempt through a Service, the
// worker all others through a Retrier; they differ in the name under which attempts are counted.
type sender struct {
	Options
	channels map[string]Channel
}

func newSender(o Options) *sender {
	s := &sender{Options: o, channels: make(map[string]Channel, len(o.Channels))}
	for _, c := range o.Channels {
		s.channels[c.Name()] = c
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Rand == nil {
		s.Rand = rand.Float64
	}
	return s
}

// names returns the channels' names in order.
func (s *sender) names() []string {
	names := make([]string, 0, len(s.channels))
	for n := range s.channels {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// attempt sends d once, within the timeout. A failure because ctx was canceled is no outcome: this
// process is being stopped, which says nothing about the receiver. Its verdict is InFlight.
func (s *sender) attempt(ctx context.Context, d Delivery, failures int, agentName, capability string) Verdict {
	ctx, span := s.Tracer.Start(ctx, "deliver "+d.Target.Channel, trace.WithAttributes(
		attribute.String("dawsos.event_id", d.Event.ID.String()),
		attribute.String("dawsos.channel", d.Target.Channel),
		attribute.Int("dawsos.attempt", d.Attempt),
	))
	defer span.End()

	a := Attempt{Number: d.Attempt, StartedAt: s.Now().UTC()}
	if sc := span.SpanContext(); sc.HasTraceID() {
		a.TraceID = sc.TraceID().String()
	}
	a.Outcome = s.send(ctx, d)
	a.Duration = s.Now().Sub(a.StartedAt)
	// A deadline is no cancellation: whoever hands in a context that ends too early has a failed
	// attempt, or it would be repeated without end.
	if errors.Is(ctx.Err(), context.Canceled) && !a.Outcome.Delivered() && a.Outcome.StatusCode == 0 {
		a.Outcome = Outcome{Cause: Interrupted, Retry: true, Detail: "this process was stopped in the middle of the attempt"}
		span.SetStatus(codes.Error, a.Outcome.Detail)
		s.Log.InfoContext(ctx, "attempt cut short by the stop of this process",
			"event_id", d.Event.ID, "channel", d.Target.Channel, "attempt", d.Attempt)
		return Verdict{Delivery: d, Attempt: a, State: InFlight, DecidedAt: s.Now().UTC()}
	}
	v := s.Schedule.judge(d, a, failures, s.Now().UTC(), s.Rand())

	var failure error
	if !a.Outcome.Delivered() {
		failure = fmt.Errorf("%s: %s", a.Outcome.Cause, a.Outcome.Detail)
		span.SetStatus(codes.Error, failure.Error())
	}
	span.SetAttributes(attribute.String("dawsos.state", string(v.State)))
	s.Observer.Observe(ctx, agentName, capability, failure, a.Duration)
	s.log(ctx, v)
	return v
}

func (s *sender) send(ctx context.Context, d Delivery) (o Outcome) {
	channel, ok := s.channels[d.Target.Channel]
	if !ok { // a letter of a newer release, during a rollback: it can wait for the roll-forward
		return Outcome{Cause: Internal, Retry: true, Detail: "this process knows no channel " + d.Target.Channel}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.Log.ErrorContext(ctx, "channel panicked",
				"channel", d.Target.Channel, "event_id", d.Event.ID, "panic", p, "stack", string(debug.Stack()))
			o = Outcome{Cause: Internal, Retry: true, Detail: "the channel failed unexpectedly; the log has the stack"}
		}
	}()
	o = channel.Send(ctx, d)
	o.Detail, o.Excerpt = text(o.Detail), text(o.Excerpt)
	return o
}

// maxText bounds what is kept of a receiver's words, in bytes.
const maxText = 1024

// text makes what came from outside fit for a text column: valid UTF-8, no NUL, bounded.
func text(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// log tells operators what happened, to which event, and what happens next.
func (s *sender) log(ctx context.Context, v Verdict) {
	attrs := []any{
		"event_id", v.Delivery.Event.ID, "alert_id", v.Delivery.Event.AlertID,
		"channel", v.Delivery.Target.Channel, "attempt", v.Attempt.Number,
		"duration", v.Attempt.Duration.Round(time.Millisecond),
	}
	o := v.Attempt.Outcome
	if v.State == Delivered {
		s.Log.InfoContext(ctx, "delivered", attrs...)
		return
	}
	attrs = append(attrs, "cause", o.Cause, "err", o.Detail)
	if v.State == Pending {
		s.Log.WarnContext(ctx, "delivery failed, will be retried", append(attrs, "next_retry_at", v.NextRetryAt)...)
		return
	}
	s.Log.ErrorContext(ctx, "delivery failed for good, the dead letter stays until it is replayed or discarded", attrs...)
}

// check validates an event before acceptance.
func (s *sender) check(e Event) error {
	return errors.Join(s.checkTargets(e.Targets), checkData(e.Data))
}

func (s *sender) checkTargets(targets []Target) error {
	if len(targets) == 0 {
		return fault.InvalidField("/channels", "at least one channel must be on: %v", s.names())
	}
	var errs []error
	for _, t := range targets {
		c, ok := s.channels[t.Channel]
		if !ok {
			return fault.InvalidField("/channels/"+t.Channel, "no such channel; there are %v", s.names())
		}
		errs = append(errs, c.Check(t))
	}
	return errors.Join(errs...)
}
