package delivery

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"

	"github.com/dawsos/dawsos/internal/fault"
)

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

// Submission is what a caller wants delivered, all of it or nothing.
type Submission struct {
	Events []Event
	// List says that the events came as a list: what is wrong with one is pointed to below /items.
	List bool
	// Later leaves the first attempts to the worker: the answer comes as soon as the events are durable.
	Later       bool
	Idempotency *Idempotency // nil without a key; Service sets its ExpiresAt
}

// Receipt is what the caller is told of an accepted event.
type Receipt struct {
	EventID    uuid.UUID
	AcceptedAt time.Time
	Targets    []TargetReceipt // in the order of the event's targets
}

// TargetReceipt is where the event stands on one target.
type TargetReceipt struct {
	Target Target
	// State is InFlight when the first attempt has not been made, or its outcome could not be
	// recorded: the worker or the reconciler takes it from there.
	State        State
	DeadLetterID uuid.UUID // for Pending, Exhausted and Expired
	Cause        Cause     // for Pending, Exhausted and Expired
	NextRetryAt  time.Time // for Pending
	DuplicateOf  uuid.UUID // for Duplicate
}

// Deliver submits one event whose first attempts are made now.
func (s *Service) Deliver(ctx context.Context, e Event) (Receipt, error) {
	receipts, _, err := s.Submit(ctx, Submission{Events: []Event{e}})
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

// Submit accepts events, then tries every target of each once, all at the same time, unless that is
// left for later. An error means that nothing was accepted. A caller that goes away after acceptance
// does not stop the attempts: the events are ours by then. For an idempotency key that was used
// before it returns what came of it then, and no receipts.
func (s *Service) Submit(ctx context.Context, sub Submission) ([]Receipt, *Earlier, error) {
	as := make([]Acceptance, len(sub.Events))
	wrong := make([]error, len(sub.Events))
	for i, e := range sub.Events {
		a, err := s.Prepare(ctx, e)
		if sub.List {
			err = InList(err, i)
		}
		a.Later = sub.Later
		as[i], wrong[i] = a, err
	}
	if err := joined(wrong); err != nil {
		return nil, nil, err
	}
	if sub.Idempotency != nil {
		idem := *sub.Idempotency
		idem.ExpiresAt = s.Now().UTC().Add(idempotencyKept)
		sub.Idempotency = &idem
	}
	accepted, earlier, err := s.journal.Accept(ctx, as, sub.Idempotency)
	if err != nil || earlier != nil {
		return nil, earlier, err
	}
	s.CountDuplicates(as, accepted)

	ctx = context.WithoutCancel(ctx)
	receipts := make([]Receipt, len(as))
	var firsts []func()
	for i, a := range as {
		e := a.Event
		receipts[i] = Receipt{EventID: e.ID, AcceptedAt: e.AcceptedAt, Targets: make([]TargetReceipt, len(e.Targets))}
		for j, t := range e.Targets {
			r := &receipts[i].Targets[j]
			switch of := accepted[i].Duplicates[j]; {
			case of != uuid.Nil:
				*r = TargetReceipt{Target: t, State: Duplicate, DuplicateOf: of}
			case sub.Later:
				*r = TargetReceipt{Target: t, State: InFlight}
			default:
				firsts = append(firsts, func() { *r = s.first(ctx, a.delivery(j)) })
			}
		}
	}
	together(firsts)
	return receipts, nil, nil
}

// together runs all at the same time and returns when they have ended. The last one runs here: most events
// have one target, and a goroutine of its own would cost it more than its share of the work around it.
func together(all []func()) {
	if len(all) == 0 {
		return
	}
	last := len(all) - 1
	var wg sync.WaitGroup
	for _, f := range all[:last] {
		wg.Go(f)
	}
	all[last]()
	wg.Wait()
}

// idempotencyKept is for how long a key gives the first answer again.
const idempotencyKept = 24 * time.Hour

// Prepare checks an event, gives it its id, time and trace, and makes the keys by which repetitions
// are told. Whoever accepts it in a transaction of its own (a rule that fires) starts here.
func (s *Service) Prepare(ctx context.Context, e Event) (Acceptance, error) {
	if err := s.check(ctx, e); err != nil {
		return Acceptance{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Acceptance{}, fmt.Errorf("new event id: %w", err)
	}
	e.Source = cmp.Or(e.Source, Direct)
	e.ID, e.AcceptedAt, e.TraceParent = id, s.Now().UTC().Truncate(time.Microsecond), traceParent(ctx)
	a := Acceptance{Event: e, KeepUntil: e.Dedup.KeepUntil}
	if a.KeepUntil.IsZero() {
		a.KeepUntil = e.AcceptedAt.Add(s.DedupWindow)
	}
	if e.Dedup.Off {
		return a, nil
	}
	a.Keys = make([][]byte, len(e.Targets))
	for i, t := range e.Targets {
		if a.Keys[i], err = dedupKey(e, t); err != nil {
			return Acceptance{}, err
		}
	}
	return a, nil
}

// CountDuplicates counts what was accepted and is not sent because an earlier event says the same.
// Whoever accepts events in a transaction of its own calls it once that is committed.
func (s *Service) CountDuplicates(as []Acceptance, accepted []Accepted) {
	for i, a := range as {
		for j, t := range a.Event.Targets {
			if accepted[i].Duplicates[j] != uuid.Nil {
				s.metrics.duplicates.WithLabelValues(t.Channel).Inc()
			}
		}
	}
}

// dedupKey is the same for events that are repetitions of each other on a target.
func dedupKey(e Event, t Target) ([]byte, error) {
	if e.Dedup.Occasion == "" {
		hash, err := Delivery{Event: e, Target: t}.ContentHash()
		if err != nil {
			return nil, err
		}
		return hex.DecodeString(hash)
	}
	canonical, err := json.Marshal([]string{string(e.Source), e.AlertID, e.UserID, e.Dedup.Occasion, t.Key()})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(canonical)
	return sum[:], nil
}

// InList makes the pointers of a bad field point into the list that the event is in, as its ith item.
func InList(err error, i int) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != fault.Invalid {
		return err
	}
	moved := *f
	moved.Fields = make([]fault.Field, len(f.Fields))
	for j, field := range f.Fields {
		moved.Fields[j] = fault.Field{Pointer: fmt.Sprintf("/items/%d%s", i, field.Pointer), Detail: field.Detail}
	}
	moved.Detail = fmt.Sprintf("item %d: %s", i, f.Detail)
	return &moved
}

// Earlier returns what came of the request that has used an idempotency key, nil when none has. Whoever
// has a key asks before the request is looked at: what it named then need not be there any more. It is
// fault.Invalid when that request was another.
func (s *Service) Earlier(ctx context.Context, idem Idempotency) (*Earlier, error) {
	return s.journal.Earlier(ctx, idem)
}

// RecordAnswer keeps the first answer to an idempotent submission. What could not be kept is told
// from the events' state to whoever comes with the key again.
func (s *Service) RecordAnswer(ctx context.Context, idem Idempotency, answer json.RawMessage) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
	defer cancel()
	if err := s.journal.RecordAnswer(ctx, idem, answer); err != nil {
		s.Log.WarnContext(ctx, "first answer to an idempotent request not kept", "err", err)
	}
}

// FirstLater makes the first attempt of an event that was accepted for later, and records it. The
// verdict is InFlight, and nothing is recorded, when the attempt was cut short or its endpoint's turn
// has not come (Hold): it is to be made again. due is since when it could have been made.
func (s *Service) FirstLater(ctx context.Context, e Event, t Target, due time.Time) (Verdict, error) {
	s.metrics.Queued(t.Channel, s.Now().Sub(due))
	v := s.tryFirst(ctx, Delivery{Event: e, Target: t, Attempt: 1}, 0)
	if v.State == InFlight {
		return v, nil
	}
	_, err := s.record(ctx, v)
	return v, err
}

func (s *Service) first(ctx context.Context, d Delivery) TargetReceipt {
	e, t := d.Event, d.Target
	v := s.tryFirst(ctx, d, firstPatience)
	letter, err := s.record(ctx, v)
	if err != nil {
		s.Log.ErrorContext(ctx, "outcome of a first attempt not recorded, the reconciler will queue it again",
			"event_id", e.ID, "target", t.Key(), "state", v.State, "err", err)
		return TargetReceipt{Target: t, State: InFlight}
	}
	return TargetReceipt{
		Target: t, State: v.State, DeadLetterID: letter,
		Cause: v.Attempt.Outcome.Cause, NextRetryAt: v.NextRetryAt,
	}
}

func (s *Service) tryFirst(ctx context.Context, d Delivery, patience time.Duration) Verdict {
	if expired(d.Event, s.Now()) {
		return Verdict{Delivery: d, State: Expired, DecidedAt: s.Now().UTC()}
	}
	v := s.attempt(ctx, d, 0, patience, FirstAttemptAgent, Capability(d.Target.Channel))
	if v.Hold == nil {
		return v
	}
	// What only waits for its turn stays in flight, for the worker. Behind an open breaker it is a dead
	// letter at once, in front of the operators. But the breaker is this process's: the worker has its
	// own, and may know better by the time at which a failed attempt would have been repeated.
	if v.Hold.Reason != HeldByBreaker {
		v.State, v.Attempt = InFlight, Attempt{}
	} else if wait, more := s.Schedule.Wait(1, s.Rand()); more {
		v.NextRetryAt = earlier(v.NextRetryAt, v.DecidedAt.Add(wait))
	}
	s.tellHold(ctx, v)
	return v
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// record gives the database as long as the attempt had; after that the reconciler finds the row.
func (s *Service) record(ctx context.Context, v Verdict) (uuid.UUID, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
	defer cancel()
	return s.journal.RecordFirst(ctx, v)
}

// firstPatience is how long a first attempt waits for its endpoint's rate and concurrency before it
// is left to the worker: somebody waits for the answer.
const firstPatience = time.Second

// traceParent returns ctx's W3C trace context, "" when there is none.
func traceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}
