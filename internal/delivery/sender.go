package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
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
	Channels     []Channel
	Destinations Destinations
	Gate         Gate       // nil lets everything through
	Recoveries   Recoveries // may be nil without a gate
	Schedule     Schedule
	DedupWindow  time.Duration // for how long the same content is a duplicate
	Metrics      *Metrics
	Timeout      time.Duration // of one attempt, everything included; must be positive
	Observer     Observer
	Log          *slog.Logger
	Tracer       trace.Tracer
	Now          func() time.Time // time.Now
	Rand         func() float64   // uniform in [0, 1), safe for concurrent use; rand.Float64
}

// sender makes attempts and judges them. The API makes the first attempt through a Service, the
// worker all others through a Retrier; they differ in the name under which attempts are counted.
type sender struct {
	Options
	channels map[string]Channel
	metrics  *Metrics
}

func newSender(o Options) *sender {
	s := &sender{Options: o, channels: make(map[string]Channel, len(o.Channels)), metrics: o.Metrics}
	for _, c := range o.Channels {
		s.channels[c.Name()] = c
	}
	s.metrics.init(s.names())
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

// attempt sends d once, within the timeout, unless the gate holds it back: then nothing was sent, and
// the verdict says until when. A failure because ctx was canceled is no outcome: this process is being
// stopped, which says nothing about the receiver. Its verdict is InFlight.
func (s *sender) attempt(
	ctx context.Context, d Delivery, failures int, patience time.Duration, agentName, capability string,
) Verdict {
	ctx, span := s.Tracer.Start(ctx, "deliver "+d.Target.Channel, trace.WithAttributes(
		attribute.String("dawsos.event_id", d.Event.ID.String()),
		attribute.String("dawsos.target", d.Target.Key()),
		attribute.Int("dawsos.attempt", d.Attempt),
	))
	defer span.End()

	a := Attempt{Number: d.Attempt, StartedAt: s.Now().UTC()}
	if sc := span.SpanContext(); sc.HasTraceID() {
		a.TraceID = sc.TraceID().String()
	}
	var unreachable *Outcome
	d.Endpoint, unreachable = s.endpoint(ctx, d)
	switch {
	case unreachable != nil:
		a.Outcome = *unreachable
	case s.Gate == nil:
		a.Outcome = s.send(ctx, d)
	default:
		pass, hold := s.Gate.Enter(ctx, d.Event.TenantID, d.Endpoint, patience)
		if hold != nil {
			span.SetAttributes(attribute.String("dawsos.held_by", string(hold.Reason)))
			return s.held(d, *hold)
		}
		a.StartedAt = s.Now().UTC() // it may have waited
		a.Outcome = s.send(ctx, d)
		if pass.Leave(a.Outcome) {
			s.recovered(ctx, d)
		}
	}
	a.Duration = s.Now().Sub(a.StartedAt)
	// A deadline is no cancellation: whoever hands in a context that ends too early has a failed
	// attempt, or it would be repeated without end.
	if errors.Is(ctx.Err(), context.Canceled) && !a.Outcome.Delivered() && a.Outcome.StatusCode == 0 {
		a.Outcome = Outcome{Cause: Interrupted, Retry: true, Detail: "this process was stopped in the middle of the attempt"}
		span.SetStatus(codes.Error, a.Outcome.Detail)
		s.Log.InfoContext(ctx, "attempt cut short by the stop of this process",
			"event_id", d.Event.ID, "target", d.Target.Key(), "attempt", d.Attempt)
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
	s.metrics.observe(ctx, v)
	s.log(ctx, v)
	return v
}

// endpoint finds out where d goes, or what comes of it when that is nowhere.
func (s *sender) endpoint(ctx context.Context, d Delivery) (Endpoint, *Outcome) {
	if d.Target.Destination == "" {
		if c, ok := s.channels[d.Target.Channel]; ok {
			return c.Endpoint(d.Target), nil
		}
		return Endpoint{ID: d.Target.Key()}, nil // send says that there is no such channel
	}
	dest, err := s.Destinations.Destination(ctx, d.Event.TenantID, d.Target.Destination)
	switch {
	case fault.CodeOf(err) == fault.NotFound:
		return Endpoint{ID: d.Target.Key()}, &Outcome{Cause: Rejected, Detail: "destination " + d.Target.Destination + " no longer exists"}
	case err != nil:
		return Endpoint{ID: d.Target.Key()}, &Outcome{Cause: Internal, Retry: true, Detail: "destination " + d.Target.Destination + " could not be read"}
	case !dest.Enabled:
		return dest.Endpoint, &Outcome{Cause: Rejected, Detail: "destination " + d.Target.Destination + " is disabled; enable it, then replay"}
	}
	return dest.Endpoint, nil
}

// held is the verdict on an attempt that was due and not made: it is due again when the hold ends.
func (s *sender) held(d Delivery, hold Hold) Verdict {
	v := Verdict{
		Delivery: d, Hold: &hold, State: Pending, DecidedAt: s.Now().UTC(),
		NextRetryAt: notAfterExpiry(d.Event, hold.Until.UTC()),
	}
	v.Attempt.Outcome = Outcome{
		Cause: BreakerOpen, Retry: true,
		Detail: "not sent: the endpoint has failed without a break, it is probed before anything else is sent to it",
	}
	return v
}

// recovered has the letters that wait for the endpoint sent. If that can't be stored they still have
// their schedule.
func (s *sender) recovered(ctx context.Context, d Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recoveryTime)
	defer cancel()
	err := s.Recoveries.EndpointRecovered(ctx, d.Event.TenantID, d.Endpoint.ID)
	if err != nil {
		s.Log.ErrorContext(ctx, "an endpoint recovered, but the drain of its dead letters was not started; they are retried on schedule",
			"endpoint", d.Endpoint.ID, "err", err)
		return
	}
	s.Log.InfoContext(ctx, "endpoint recovered, its dead letters are drained", "endpoint", d.Endpoint.ID)
}

// recoveryTime bounds the start of a drain. The attempt that succeeded has not been recorded meanwhile: with
// what recording may take it has to end before the reconciler takes it for interrupted, and sends again.
const recoveryTime = 2 * time.Second

func (s *sender) send(ctx context.Context, d Delivery) (o Outcome) {
	channel, ok := s.channels[d.Target.Channel]
	if !ok { // a letter of a newer release, during a rollback: it can wait for the roll-forward
		return Outcome{Cause: Internal, Retry: true, Detail: "this process knows no channel " + d.Target.Channel}
	}
	// A destination may have less time than DELIVERY_TIMEOUT, never more: jobs and reconciler count on it.
	ctx, cancel := context.WithTimeout(ctx, min(cmp.Or(d.Endpoint.Timeout, s.Timeout), s.Timeout))
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
		"target", v.Delivery.Target.Key(), "attempt", v.Attempt.Number,
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

// maxTargets bounds the targets of one event.
const maxTargets = 20

// check validates an event before acceptance.
func (s *sender) check(ctx context.Context, e Event) error {
	errs := []error{s.checkTargets(ctx, e.TenantID, "/channels", e.Targets), checkData(e.Data)}
	if len(e.Fallback) > 0 {
		errs = append(errs, s.checkTargets(ctx, e.TenantID, "/fallback", e.Fallback))
	}
	seen := make(map[string]bool)
	for _, t := range slices.Concat(e.Targets, e.Fallback) {
		if seen[t.Key()] {
			errs = append(errs, fault.InvalidField("/channels", "%s stands twice", t.Key()))
		}
		seen[t.Key()] = true
	}
	if expired(e, s.Now()) {
		errs = append(errs, fault.InvalidField("/ttl_seconds", "must be above 0"))
	}
	return joined(errs)
}

func (s *sender) checkTargets(ctx context.Context, tenantID, pointer string, targets []Target) error {
	if len(targets) == 0 {
		return fault.InvalidField(pointer, "at least one channel must be on: %v", s.names())
	}
	if len(targets) > maxTargets {
		return fault.InvalidField(pointer, "at most %d channels and destinations", maxTargets)
	}
	var errs []error
	for _, t := range targets {
		c, ok := s.channels[t.Channel]
		switch {
		case !ok:
			errs = append(errs, fault.InvalidField(pointer+"/"+t.Channel, "no such channel; there are %v", s.names()))
		case t.Destination == "":
			errs = append(errs, below(pointer, c.Check(t)))
		default:
			_, err := s.Destinations.Destination(ctx, tenantID, t.Destination)
			if fault.CodeOf(err) == fault.NotFound {
				err = fault.InvalidField(pointer+"/destination", "there is no destination %q", t.Destination)
			}
			errs = append(errs, err)
		}
	}
	return joined(errs)
}

// below has what a channel says of a target below /channels be about the same below pointer.
func below(pointer string, err error) error {
	const channels = "/channels"
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || pointer == channels {
		return err
	}
	moved := *f
	moved.Fields = make([]fault.Field, len(f.Fields))
	for i, field := range f.Fields {
		moved.Fields[i] = field
		if rest, ok := strings.CutPrefix(field.Pointer, channels); ok {
			moved.Fields[i].Pointer = pointer + rest
		}
	}
	moved.Detail = strings.ReplaceAll(f.Detail, channels, pointer)
	return &moved
}

// joined returns all that is wrong as one error. Fields of several are one list.
func joined(errs []error) error {
	var all *fault.Error
	for _, err := range errs {
		f, ok := errors.AsType[*fault.Error](err)
		switch {
		case err == nil:
		case !ok || f.Code != fault.Invalid:
			return err
		case all == nil:
			all = f
		default:
			all = &fault.Error{
				Code: fault.Invalid, Detail: all.Detail + "; " + f.Detail, Fields: slices.Concat(all.Fields, f.Fields),
			}
		}
	}
	if all == nil {
		return nil
	}
	return all
}
