package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
)

// Journal is where a Service writes down what it has taken on.
type Journal interface {
	// Accept makes the event and its channels durable. Once it returns nil the event can't be
	// lost: it is delivered, or stands in the dead letter queue.
	Accept(ctx context.Context, e Event) error
	// RecordFirst moves an event and channel from in flight to where v says, dead letter and job
	// in one transaction, and returns the dead letter's id (zero when delivered).
	RecordFirst(ctx context.Context, v Verdict) (uuid.UUID, error)
}

// Names under which attempts are counted in agent_invocations_total and agent_latency.
const (
	FirstAttemptAgent = "alert_delivery" // with Capability(channel)
	RetryAgent        = "alert_retry_worker"
	RetryCapability   = "retry_delivery"
)

// Capability names first attempts on a channel.
func Capability(channel string) string { return "deliver_" + channel }

// Service takes events on and makes their first attempts.
type Service struct {
	*sender
	journal Journal
}

// NewService returns a Service.
func NewService(journal Journal, o Options) *Service {
	return &Service{sender: newSender(o), journal: journal}
}

// Receipt is what the caller is told of an accepted event.
type Receipt struct {
	EventID    uuid.UUID
	AcceptedAt time.Time
	Channels   []ChannelReceipt // in the order of the event's targets
}

// ChannelReceipt is where the event stands on one channel.
type ChannelReceipt struct {
	Channel string
	// State is InFlight when the outcome could not be recorded: the reconciler takes it from there.
	State        State
	DeadLetterID uuid.UUID // for Pending and Exhausted
	Cause        Cause     // for Pending and Exhausted
	NextRetryAt  time.Time // for Pending
}

// Deliver accepts e, whose id and time it sets, then tries every channel once, all at the same
// time. An error means that nothing was accepted. A caller that goes away after acceptance does
// not stop the attempts: the event is ours by then.
func (s *Service) Deliver(ctx context.Context, e Event) (Receipt, error) {
	if err := s.check(e); err != nil {
		return Receipt{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Receipt{}, fmt.Errorf("new event id: %w", err)
	}
	e.ID, e.AcceptedAt, e.TraceParent = id, s.Now().UTC().Truncate(time.Microsecond), traceParent(ctx)
	if err := s.journal.Accept(ctx, e); err != nil {
		return Receipt{}, fmt.Errorf("accept event for alert %q: %w", e.AlertID, err)
	}

	ctx = context.WithoutCancel(ctx)
	receipt := Receipt{EventID: e.ID, AcceptedAt: e.AcceptedAt, Channels: make([]ChannelReceipt, len(e.Targets))}
	var wg sync.WaitGroup
	for i, target := range e.Targets {
		wg.Go(func() { receipt.Channels[i] = s.first(ctx, e, target) })
	}
	wg.Wait()
	return receipt, nil
}

func (s *Service) first(ctx context.Context, e Event, t Target) ChannelReceipt {
	v := s.attempt(ctx, Delivery{Event: e, Target: t, Attempt: 1}, 0, FirstAttemptAgent, Capability(t.Channel))

	// The database gets as long as the attempt had; after that the reconciler finds the row.
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	letter, err := s.journal.RecordFirst(ctx, v)
	if err != nil {
		s.Log.ErrorContext(ctx, "outcome of a first attempt not recorded, the reconciler will queue it again",
			"event_id", e.ID, "channel", t.Channel, "state", v.State, "err", err)
		return ChannelReceipt{Channel: t.Channel, State: InFlight}
	}
	return ChannelReceipt{
		Channel: t.Channel, State: v.State, DeadLetterID: letter,
		Cause: v.Attempt.Outcome.Cause, NextRetryAt: v.NextRetryAt,
	}
}

// traceParent returns ctx's W3C trace context, "" when there is none.
func traceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}
