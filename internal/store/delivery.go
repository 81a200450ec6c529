package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store/db"
)

// Deliveries keeps events, attempts and dead letters, and puts jobs in beside them. What comes at the
// same time is written together: see group.
type Deliveries struct {
	pool  *pgxpool.Pool
	q     *db.Queries
	lists *db.Queries // for statements with optional filters: see planned
	jobs  *river.Client[pgx.Tx]
	log   *slog.Logger
	now   func() time.Time
	// outcome repeats the recording of something that has already happened.
	outcome failsafe.Executor[any]

	accepting      *group[delivery.Acceptance, delivery.Accepted]
	firstDelivered *group[delivery.Verdict, bool]
	firstFailed    *group[delivery.Verdict, recordedLetter]
	retryDelivered *group[retried, bool]
	retryFailed    *group[retried, bool]
	letters        *group[letterJob, *delivery.DeadLetter]
	inFlight       *group[flightJob, *delivery.Event]
}

// NewDeliveries returns the store. inserter may be an insert-only client.
func NewDeliveries(pool *pgxpool.Pool, inserter *river.Client[pgx.Tx], log *slog.Logger, now func() time.Time) *Deliveries {
	// A message that was sent can't be unsent. While the database restarts, keeping its outcome
	// and trying again is what saves the receiver from a repetition; ctx bounds it.
	again := retrypolicy.NewBuilder[any]().
		WithBackoff(50*time.Millisecond, 2*time.Second).WithMaxRetries(-1).
		ReturnLastFailure().Build()
	s := &Deliveries{
		pool: pool, q: db.New(pool), lists: db.New(planned{pool}), jobs: inserter, log: log, now: now,
		outcome: failsafe.With[any](again),
	}
	s.accepting = &group[delivery.Acceptance, delivery.Accepted]{write: s.acceptAll, apart: sameKey}
	s.firstDelivered = &group[delivery.Verdict, bool]{write: s.recordFirstDelivered}
	s.firstFailed = &group[delivery.Verdict, recordedLetter]{write: s.recordFirstFailed}
	s.retryDelivered = &group[retried, bool]{write: s.recordRetryDelivered}
	s.retryFailed = &group[retried, bool]{write: s.recordRetryFailed}
	s.letters = &group[letterJob, *delivery.DeadLetter]{write: s.loadLetters}
	s.inFlight = &group[flightJob, *delivery.Event]{write: s.loadInFlight}
	return s
}

// AddNotification implements inapp.Inbox.
func (s *Deliveries) AddNotification(ctx context.Context, e delivery.Event) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	return s.q.AddNotification(ctx, db.AddNotificationParams{
		ID: id, TenantID: e.TenantID, UserID: e.UserID, EventID: e.ID, AlertID: e.AlertID,
		Title: e.Title, Message: e.Message, Severity: string(e.Severity), Data: e.Data, CreatedAt: e.AcceptedAt,
	})
}

// History returns an event and where it stands on each of its targets.
func (s *Deliveries) History(ctx context.Context, tenantID string, id uuid.UUID) (e delivery.Event, targets []delivery.TargetHistory, err error) {
	// One snapshot: a letter that is delivered between two statements would be in neither place.
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		e, targets, err = s.history(ctx, s.q.WithTx(tx), tenantID, id)
		return err
	})
	return e, targets, err
}

func (*Deliveries) history(ctx context.Context, q *db.Queries, tenantID string, id uuid.UUID) (delivery.Event, []delivery.TargetHistory, error) {
	row, err := q.Event(ctx, tenantID, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return delivery.Event{}, nil, fault.New(fault.NotFound, "no event %s", id)
	}
	if err != nil {
		return delivery.Event{}, nil, fmt.Errorf("event %s: %w", id, err)
	}
	e, err := event(row)
	if err != nil {
		return delivery.Event{}, nil, err
	}
	attempts, err := q.EventAttempts(ctx, tenantID, id)
	if err != nil {
		return delivery.Event{}, nil, fmt.Errorf("attempts of event %s: %w", id, err)
	}
	delivered, err := q.EventDeliveries(ctx, tenantID, id)
	if err != nil {
		return delivery.Event{}, nil, fmt.Errorf("deliveries of event %s: %w", id, err)
	}
	duplicates, err := q.EventDuplicates(ctx, tenantID, id)
	if err != nil {
		return delivery.Event{}, nil, fmt.Errorf("duplicates of event %s: %w", id, err)
	}
	letters, err := q.EventDeadLetters(ctx, tenantID, id)
	if err != nil {
		return delivery.Event{}, nil, fmt.Errorf("dead letters of event %s: %w", id, err)
	}

	targets := make([]delivery.TargetHistory, len(e.Targets))
	byKey := make(map[string]*delivery.TargetHistory, len(e.Targets))
	for i, t := range e.Targets {
		targets[i] = delivery.TargetHistory{Target: t, State: delivery.InFlight}
		byKey[t.Key()] = &targets[i]
	}
	for _, a := range attempts {
		t := byKey[a.Target]
		t.Attempts = append(t.Attempts, attempt(a))
	}
	for _, d := range delivered {
		t := byKey[d.Target]
		t.State, t.DeliveredAt = delivery.Delivered, utc(&d.DeliveredAt)
	}
	for _, d := range duplicates {
		t := byKey[d.Target]
		t.State, t.DuplicateOf = delivery.Duplicate, zeroIfNil(d.OfEventID)
	}
	for _, row := range letters {
		l, err := deadLetter(row)
		if err != nil {
			return delivery.Event{}, nil, err
		}
		t := byKey[row.Target]
		t.State, t.Letter = l.State, &l
	}
	return e, targets, nil
}

// DeadLetters returns up to limit letters that precede before (newest first); uuid.Max starts.
func (s *Deliveries) DeadLetters(ctx context.Context, tenantID string, f delivery.LetterFilter, before uuid.UUID, limit int) ([]delivery.DeadLetter, error) {
	rows, err := s.lists.DeadLetters(ctx, db.DeadLettersParams{
		TenantID: tenantID, Before: before, RowLimit: int32(limit), //nolint:gosec // bounded by the API
		States: statesOf(f), Channel: nilIfZero(f.Channel),
		Target: nilIfZero(targetOf(f.Destination)), AlertID: nilIfZero(f.AlertID), UserID: nilIfZero(f.UserID),
		Cause: nilIfZero(string(f.Cause)), OperationID: nilIfZero(f.OperationID),
		CreatedAfter: nilIfZero(f.CreatedAfter), CreatedBefore: nilIfZero(f.CreatedBefore), Search: nilIfZero(f.Search),
	})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	letters := make([]delivery.DeadLetter, len(rows))
	for i, row := range rows {
		if letters[i], err = deadLetter(row); err != nil {
			return nil, err
		}
	}
	return letters, nil
}

// DeadLetter returns one letter with its attempts.
func (s *Deliveries) DeadLetter(ctx context.Context, tenantID string, id uuid.UUID) (delivery.DeadLetter, []delivery.Attempt, error) {
	row, err := s.q.DeadLetter(ctx, tenantID, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return delivery.DeadLetter{}, nil, fault.New(fault.NotFound, "no dead letter %s; one that was delivered has left the queue", id)
	}
	if err != nil {
		return delivery.DeadLetter{}, nil, fmt.Errorf("dead letter %s: %w", id, err)
	}
	l, err := deadLetter(row)
	if err != nil {
		return delivery.DeadLetter{}, nil, err
	}
	rows, err := s.q.TargetAttempts(ctx, tenantID, l.Event.ID, row.Target)
	if err != nil {
		return delivery.DeadLetter{}, nil, fmt.Errorf("attempts of dead letter %s: %w", id, err)
	}
	attempts := make([]delivery.Attempt, len(rows))
	for i, r := range rows {
		attempts[i] = attempt(r)
	}
	return l, attempts, nil
}

// alertData is the alert_data column: everything needed to send a letter again.
type alertData struct {
	EventID    uuid.UUID         `json:"event_id"`
	AlertID    string            `json:"alert_id"`
	UserID     string            `json:"user_id"`
	Title      string            `json:"title"`
	Message    string            `json:"message"`
	Severity   delivery.Severity `json:"severity"`
	Data       json.RawMessage   `json:"data"`
	Channel    string            `json:"channel"`
	Target     delivery.Target   `json:"target"`
	Source     delivery.Source   `json:"source"`
	AcceptedAt time.Time         `json:"accepted_at"`
}

func deadLetter(r db.AlertDlq) (delivery.DeadLetter, error) {
	var d alertData
	if err := json.Unmarshal(r.AlertData, &d); err != nil {
		return delivery.DeadLetter{}, fmt.Errorf("dead letter %s: alert_data: %w", r.ID, err)
	}
	d.Target.Channel = r.Channel // rows from before there were destinations don't hold it
	l := delivery.DeadLetter{
		ID: r.ID,
		Event: delivery.Event{
			ID: r.EventID, TenantID: r.TenantID, AlertID: r.AlertID, UserID: r.UserID, Title: d.Title,
			Message: d.Message, Severity: d.Severity, Data: d.Data, AcceptedAt: r.AcceptedAt.UTC(),
			Targets: []delivery.Target{d.Target}, TraceParent: zeroIfNil(r.Traceparent),
			Source: d.Source, Subject: zeroIfNil(r.Subject), ExpiresAt: zeroIfNil(utc(r.ExpiresAt)),
		},
		Endpoint: r.Endpoint, HeldBy: delivery.HoldReason(zeroIfNil(r.HeldBy)), OperationID: zeroIfNil(r.OperationID),
		ClosedAt: utc(r.ClosedAt),
		State:    delivery.State(r.State), Cause: delivery.Cause(r.Cause), Error: r.ErrorMessage,
		RetryCount: int(r.RetryCount), Attempts: int(r.Attempts), Interruptions: int(r.Interruptions),
		CreatedAt: r.CreatedAt.UTC(), LastRetryAt: utc(r.LastRetryAt), NextRetryAt: utc(r.NextRetryAt),
		TraceID: zeroIfNil(r.TraceID),
	}
	return l, nil
}

func event(r db.AlertEvent) (delivery.Event, error) {
	targets, err := targetList(r.Channels)
	if err != nil {
		return delivery.Event{}, fmt.Errorf("event %s: channels: %w", r.ID, err)
	}
	fallback, err := targetList(r.Fallback)
	if err != nil {
		return delivery.Event{}, fmt.Errorf("event %s: fallback: %w", r.ID, err)
	}
	return delivery.Event{
		ID: r.ID, TenantID: r.TenantID, Source: delivery.Source(r.Source), AlertID: r.AlertID, UserID: r.UserID, Title: r.Title,
		Message: r.Message, Severity: delivery.Severity(r.Severity), Data: r.Data, Targets: targets, Fallback: fallback,
		AcceptedAt: r.AcceptedAt.UTC(), TraceParent: zeroIfNil(r.Traceparent),
		Subject: zeroIfNil(r.Subject), Resolves: r.Resolves, ExpiresAt: zeroIfNil(utc(r.ExpiresAt)),
	}, nil
}

// targetList reads targets by key, in the order of their keys.
func targetList(stored []byte) ([]delivery.Target, error) {
	if stored == nil {
		return nil, nil
	}
	var targets map[string]delivery.Target
	if err := json.Unmarshal(stored, &targets); err != nil {
		return nil, err
	}
	list := make([]delivery.Target, 0, len(targets))
	for _, key := range slices.Sorted(maps.Keys(targets)) {
		t := targets[key]
		if t.Channel == "" { // a row from before there were destinations
			t.Channel = key
		}
		list = append(list, t)
	}
	return list, nil
}

// targetsByKey is the form in which targets are stored.
func targetsByKey(targets []delivery.Target) (string, error) {
	m := make(map[string]delivery.Target, len(targets))
	for _, t := range targets {
		m[t.Key()] = t
	}
	stored, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode targets: %w", err)
	}
	return string(stored), nil
}

// targetOf returns the key of a destination's target, "" for none.
func targetOf(destination string) string {
	if destination == "" {
		return ""
	}
	return delivery.Target{Destination: destination}.Key()
}

func targetIn(e delivery.Event, key string) delivery.Target {
	for _, t := range e.Targets {
		if t.Key() == key {
			return t
		}
	}
	return delivery.Target{Channel: key}
}

// boundFor returns an event as it is bound for one of its targets: its time to live is none of a
// fallback's.
func boundFor(e delivery.Event, key string) (delivery.Event, delivery.Target) {
	t := targetIn(e, key)
	if t.Fallback {
		e.ExpiresAt = time.Time{}
	}
	return e, t
}

func attempt(r db.AlertAttempt) delivery.Attempt {
	a := delivery.Attempt{
		Number: int(r.Attempt), StartedAt: r.StartedAt.UTC(),
		Duration: time.Duration(r.DurationSeconds * float64(time.Second)),
		Outcome: delivery.Outcome{
			Cause: delivery.Cause(zeroIfNil(r.Cause)), Detail: zeroIfNil(r.Error), Excerpt: zeroIfNil(r.ResponseExcerpt),
			StatusCode: int(zeroIfNil(r.StatusCode)),
		},
		TraceID: zeroIfNil(r.TraceID),
	}
	return a
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}

func nilIfZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func zeroIfNil[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
