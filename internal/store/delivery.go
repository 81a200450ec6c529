package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store/db"
)

// Deliveries keeps events, attempts and dead letters, and puts retry jobs in beside them.
type Deliveries struct {
	pool *pgxpool.Pool
	q    *db.Queries
	jobs *river.Client[pgx.Tx]
	log  *slog.Logger
	now  func() time.Time
	// outcome repeats the recording of something that has already happened.
	outcome failsafe.Executor[any]
}

// NewDeliveries returns the store. inserter may be an insert-only client.
func NewDeliveries(pool *pgxpool.Pool, inserter *river.Client[pgx.Tx], log *slog.Logger, now func() time.Time) *Deliveries {
	// A message that was sent can't be unsent. While the database restarts, keeping its outcome
	// and trying again is what saves the receiver from a repetition; ctx bounds it.
	again := retrypolicy.NewBuilder[any]().
		WithBackoff(50*time.Millisecond, 2*time.Second).WithMaxRetries(-1).
		ReturnLastFailure().Build()
	return &Deliveries{
		pool: pool, q: db.New(pool), jobs: inserter, log: log, now: now,
		outcome: failsafe.With[any](again),
	}
}

// shortWait is up to where River keeps a waiting job among the available ones; a longer wait goes
// through its scheduler, which looks every five seconds. A job whose first wait is shorter is put
// in as available and snoozes itself to the moment (jobs.RetryWorker), so that short schedules
// hold too.
const shortWait = 5 * time.Second

func (s *Deliveries) insertRetry(ctx context.Context, tx pgx.Tx, letter uuid.UUID, at time.Time, traceParent string) (int64, error) {
	opts := &river.InsertOpts{}
	if at.Sub(s.now()) > shortWait {
		opts.ScheduledAt = at
	}
	if traceParent != "" {
		opts.Metadata = jobs.TraceMetadata(traceParent)
	}
	inserted, err := s.jobs.InsertTx(ctx, tx, jobs.RetryArgs{DeadLetterID: letter}, opts)
	if err != nil {
		return 0, fmt.Errorf("insert retry job: %w", err)
	}
	return inserted.Job.ID, nil
}

// Accept implements delivery.Journal.
func (s *Deliveries) Accept(ctx context.Context, e delivery.Event) error {
	channels, err := json.Marshal(targetsByChannel(e.Targets))
	if err != nil {
		return fmt.Errorf("encode targets: %w", err)
	}
	names := make([]string, len(e.Targets))
	for i, t := range e.Targets {
		names[i] = t.Channel
	}
	err = s.q.AcceptEvent(ctx, db.AcceptEventParams{
		ID: e.ID, TenantID: e.TenantID, AlertID: e.AlertID, UserID: e.UserID,
		Title: e.Title, Message: e.Message, Severity: string(e.Severity), Data: e.Data,
		Channels: channels, Traceparent: nilIfZero(e.TraceParent), AcceptedAt: e.AcceptedAt,
		ChannelNames: names,
	})
	// JSON and text that PostgreSQL has no form for: NUL characters, lone surrogates, numbers
	// beyond its numeric type.
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pg.Code, dataException) {
		return fault.Wrap(err, fault.Invalid, "the event holds a value that can't be stored: %s", pg.Message)
	}
	return err
}

// dataException is the class of PostgreSQL's errors about values.
const dataException = "22"

// RecordFirst implements delivery.Journal.
func (s *Deliveries) RecordFirst(ctx context.Context, v delivery.Verdict) (uuid.UUID, error) {
	var letter uuid.UUID
	err := s.outcome.WithContext(ctx).Run(func() (err error) {
		if v.State == delivery.Delivered {
			letter, err = uuid.Nil, s.recordFirstDelivered(ctx, v)
		} else {
			letter, err = s.recordFirstFailed(ctx, v)
		}
		return err
	})
	return letter, err
}

func (s *Deliveries) recordFirstDelivered(ctx context.Context, v delivery.Verdict) error {
	e, t, a := v.Delivery.Event, v.Delivery.Target, v.Attempt
	hash, err := v.Delivery.ContentHash()
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	moved, err := s.q.RecordFirstDelivered(ctx, db.RecordFirstDeliveredParams{
		ID: id, TenantID: e.TenantID, EventID: e.ID, Channel: t.Channel, AlertID: e.AlertID,
		UserID: e.UserID, ContentHash: hash, DeliveryMethods: deliveryMethods(t.Channel),
		AcceptedAt: e.AcceptedAt, DeliveredAt: v.DecidedAt,
		StartedAt: a.StartedAt, DurationSeconds: a.Duration.Seconds(),
		StatusCode: statusCode(a), ResponseExcerpt: nilIfZero(a.Outcome.Excerpt), TraceID: nilIfZero(a.TraceID),
	})
	if err != nil || moved == 1 {
		return err
	}
	// The reconciler took this attempt for interrupted (or an earlier try of this statement went
	// through after all). The message has arrived: no dead letter of it may stay.
	return s.recordLateDelivered(ctx, s.q, id, v)
}

func (s *Deliveries) recordLateDelivered(ctx context.Context, q *db.Queries, id uuid.UUID, v delivery.Verdict) error {
	e, t, a := v.Delivery.Event, v.Delivery.Target, v.Attempt
	late, err := q.RecordLateDelivered(ctx, db.RecordLateDeliveredParams{
		ID: id, EventID: e.ID, Channel: t.Channel, DeliveryMethods: deliveryMethods(t.Channel), DeliveredAt: v.DecidedAt,
		Attempt:   int32(a.Number), //nolint:gosec // bounded by schedule and interruptions
		StartedAt: a.StartedAt, DurationSeconds: a.Duration.Seconds(),
		StatusCode: statusCode(a), ResponseExcerpt: nilIfZero(a.Outcome.Excerpt), TraceID: nilIfZero(a.TraceID),
	})
	if late > 0 {
		s.log.InfoContext(ctx, "an attempt given up for interrupted succeeded; its dead letter is closed",
			"event_id", e.ID, "channel", t.Channel, "attempt", a.Number)
	}
	return err
}

func (s *Deliveries) recordFirstFailed(ctx context.Context, v delivery.Verdict) (uuid.UUID, error) {
	letter, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		return s.insertLetter(ctx, tx, letter, v, "failed", "")
	})
	if errors.Is(err, errNotInFlight) {
		// As above: the letter stands there already, and its retry is under way.
		letter, err = s.q.DeadLetterID(ctx, v.Delivery.Event.ID, v.Delivery.Target.Channel)
		if errors.Is(err, pgx.ErrNoRows) {
			return uuid.Nil, nil // and has been delivered since
		}
	}
	return letter, err
}

var errNotInFlight = errors.New("the event is no longer in flight on this channel")

// insertLetter moves an event and channel from in flight to a new dead letter, with its job.
func (s *Deliveries) insertLetter(ctx context.Context, tx pgx.Tx, id uuid.UUID, v delivery.Verdict, outcome, traceParent string) error {
	e, t, a := v.Delivery.Event, v.Delivery.Target, v.Attempt
	hash, err := v.Delivery.ContentHash()
	if err != nil {
		return err
	}
	data, err := json.Marshal(alertData{
		EventID: e.ID, AlertID: e.AlertID, UserID: e.UserID, Title: e.Title, Message: e.Message,
		Severity: e.Severity, Data: e.Data, Channel: t.Channel, Target: t, AcceptedAt: e.AcceptedAt,
	})
	if err != nil {
		return fmt.Errorf("encode alert data: %w", err)
	}
	p := db.RecordFirstFailedParams{
		ID: id, TenantID: e.TenantID, EventID: e.ID, Channel: t.Channel, AlertID: e.AlertID,
		UserID: e.UserID, ContentHash: hash, AlertData: data, State: string(v.State),
		Cause: string(a.Outcome.Cause), ErrorMessage: a.Outcome.Detail,
		AcceptedAt: e.AcceptedAt, CreatedAt: v.DecidedAt,
		StartedAt: a.StartedAt, DurationSeconds: a.Duration.Seconds(), Outcome: outcome,
		StatusCode: statusCode(a), ResponseExcerpt: nilIfZero(a.Outcome.Excerpt),
		TraceID: nilIfZero(a.TraceID), Traceparent: nilIfZero(e.TraceParent),
	}
	if v.State == delivery.Pending {
		job, err := s.insertRetry(ctx, tx, id, v.NextRetryAt, traceParent)
		if err != nil {
			return err
		}
		p.NextRetryAt, p.JobID = &v.NextRetryAt, &job
	}
	moved, err := s.q.WithTx(tx).RecordFirstFailed(ctx, p)
	if err == nil && moved == 0 {
		return errNotInFlight
	}
	return err
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

// DeadLetterForJob implements jobs.Letters.
func (s *Deliveries) DeadLetterForJob(ctx context.Context, id uuid.UUID, jobID int64) (delivery.DeadLetter, bool, error) {
	row, err := s.q.DeadLetterForJob(ctx, id, jobID)
	if errors.Is(err, pgx.ErrNoRows) {
		return delivery.DeadLetter{}, false, nil
	}
	if err != nil {
		return delivery.DeadLetter{}, false, err
	}
	l, err := deadLetter(row)
	return l, err == nil, err
}

// RecordRetry implements jobs.Letters.
func (s *Deliveries) RecordRetry(ctx context.Context, job *river.Job[jobs.RetryArgs], l delivery.DeadLetter, v delivery.Verdict) error {
	return s.outcome.WithContext(ctx).Run(func() error {
		if v.State == delivery.Pending { // the job goes on: one statement
			return s.recordRetryFailed(ctx, s.q, job.ID, l, v)
		}
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			record := s.recordRetryFailed
			if v.State == delivery.Delivered {
				record = s.recordRetryDelivered
			}
			if err := record(ctx, s.q.WithTx(tx), job.ID, l, v); err != nil {
				return err
			}
			_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
			if errors.Is(err, rivertype.ErrNotFound) { // somebody deleted it; the letter's end does not hang on it
				return nil
			}
			return err
		})
	})
}

func (s *Deliveries) recordRetryDelivered(ctx context.Context, q *db.Queries, jobID int64, l delivery.DeadLetter, v delivery.Verdict) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	a := v.Attempt
	moved, err := q.RecordRetryDelivered(ctx, db.RecordRetryDeliveredParams{
		ID: id, LetterID: l.ID, JobID: jobID, DeliveryMethods: deliveryMethods(l.Target().Channel),
		Attempt: int32(a.Number), DeliveredAt: v.DecidedAt, //nolint:gosec // bounded by schedule and interruptions
		StartedAt: a.StartedAt, DurationSeconds: a.Duration.Seconds(),
		StatusCode: statusCode(a), ResponseExcerpt: nilIfZero(a.Outcome.Excerpt), AttemptTraceID: nilIfZero(a.TraceID),
	})
	if err != nil || moved == 1 {
		return err
	}
	// As with a first attempt: given up, but the message has arrived.
	return s.recordLateDelivered(ctx, q, id, v)
}

// recordRetryFailed leaves alone what is no longer the job's: who took the letter over knows
// better what becomes of it.
func (s *Deliveries) recordRetryFailed(ctx context.Context, q *db.Queries, jobID int64, l delivery.DeadLetter, v delivery.Verdict) error {
	a := v.Attempt
	cause := string(a.Outcome.Cause)
	p := db.RecordRetryFailedParams{
		LetterID: l.ID, JobID: jobID, State: string(v.State),
		Attempt:   int32(a.Number), //nolint:gosec // bounded by schedule and interruptions
		StartedAt: a.StartedAt, DurationSeconds: a.Duration.Seconds(), Cause: &cause,
		ErrorMessage: &a.Outcome.Detail, StatusCode: statusCode(a),
		ResponseExcerpt: nilIfZero(a.Outcome.Excerpt), TraceID: nilIfZero(a.TraceID),
	}
	if v.State == delivery.Pending {
		p.NextRetryAt = &v.NextRetryAt
	}
	_, err := q.RecordRetryFailed(ctx, p)
	return err
}

const interruptedFirst = "accepted, but the API stopped before the outcome of the first attempt was recorded; it may or may not have been sent"

// QueueInterrupted implements jobs.Repairs.
func (s *Deliveries) QueueInterrupted(ctx context.Context, acceptedBefore time.Time, limit int) (int, error) {
	queued := 0
	var failed []error
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := s.q.WithTx(tx).LockInterrupted(ctx, acceptedBefore, int32(limit)) //nolint:gosec // a small constant
		if err != nil {
			return err
		}
		for _, row := range rows {
			err := mend(ctx, tx, func(tx pgx.Tx) error { return s.queueInterrupted(ctx, tx, row) })
			if err != nil {
				failed = append(failed, fmt.Errorf("event %s on %s: %w", row.AlertEvent.ID, row.Channel, err))
			}
		}
		queued = len(rows) - len(failed)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return queued, errors.Join(failed...)
}

// mend changes one row of a batch, or nothing: one that can't be mended must not keep the others
// from it.
func mend(ctx context.Context, batch pgx.Tx, change func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, batch, change) // a savepoint
}

func (s *Deliveries) queueInterrupted(ctx context.Context, tx pgx.Tx, row db.LockInterruptedRow) error {
	e, err := event(row.AlertEvent)
	if err != nil {
		return err
	}
	now := s.now().UTC()
	v := delivery.Verdict{
		Delivery: delivery.Delivery{Event: e, Target: target(e, row.Channel), Attempt: 1},
		Attempt: delivery.Attempt{
			Number: 1, StartedAt: e.AcceptedAt,
			Outcome: delivery.Outcome{Cause: delivery.Interrupted, Retry: true, Detail: interruptedFirst},
		},
		State: delivery.Pending, NextRetryAt: now, DecidedAt: now,
	}
	letter, err := uuid.NewV7()
	if err != nil {
		return err
	}
	if err := s.insertLetter(ctx, tx, letter, v, "interrupted", e.TraceParent); err != nil {
		return err
	}
	s.log.WarnContext(ctx, "first attempt interrupted, queued for a retry now",
		"event_id", e.ID, "channel", row.Channel, "dead_letter_id", letter)
	return nil
}

// RescheduleOrphans implements jobs.Repairs.
func (s *Deliveries) RescheduleOrphans(ctx context.Context, runningBefore time.Time, maxInterruptions, limit int) (int, error) {
	rescheduled := 0
	var failed []error
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		if err := q.OneAtATime(ctx); err != nil {
			return err
		}
		now := s.now().UTC()
		rows, err := q.LockOrphans(ctx, now, runningBefore, int32(limit)) //nolint:gosec // a small constant
		if err != nil {
			return err
		}
		for _, row := range rows {
			err := mend(ctx, tx, func(tx pgx.Tx) error { return s.reschedule(ctx, tx, row, now, maxInterruptions) })
			if err != nil {
				failed = append(failed, fmt.Errorf("dead letter %s: %w", row.ID, err))
			}
		}
		rescheduled = len(rows) - len(failed)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return rescheduled, errors.Join(failed...)
}

func (s *Deliveries) reschedule(ctx context.Context, tx pgx.Tx, row db.LockOrphansRow, now time.Time, maxInterruptions int) error {
	q := s.q.WithTx(tx)
	traceParent := zeroIfNil(row.Traceparent)
	// A job that was last started before the letter was due has only been put off then; whatever
	// it had sent before is recorded.
	if row.AttemptedAt == nil || row.AttemptedAt.Before(*row.NextRetryAt) {
		job, err := s.insertRetry(ctx, tx, row.ID, now, traceParent)
		if err != nil {
			return err
		}
		s.log.WarnContext(ctx, "dead letter had lost its job, scheduled again now", "dead_letter_id", row.ID, "event_id", row.EventID)
		return q.ReattachOrphan(ctx, &job, row.ID)
	}
	reason := "the worker stopped before the outcome of a retry was recorded; it may or may not have been sent"
	attempt := row.Attempts + 1
	err := q.AddInterruptedAttempt(ctx, db.AddInterruptedAttemptParams{
		EventID: row.EventID, Channel: row.Channel, Attempt: attempt, TenantID: row.TenantID,
		StartedAt: *row.AttemptedAt, Error: &reason,
	})
	if err != nil {
		return err
	}
	p := db.RescheduleOrphanParams{
		ID: row.ID, Attempts: attempt, Interruptions: row.Interruptions + 1,
		Cause: string(delivery.Interrupted), ErrorMessage: reason,
	}
	if int(p.Interruptions) >= maxInterruptions {
		p.State = string(delivery.Exhausted)
		s.log.ErrorContext(ctx, "dead letter exhausted: its retries were interrupted too often",
			"dead_letter_id", row.ID, "event_id", row.EventID, "interruptions", p.Interruptions)
	} else {
		job, err := s.insertRetry(ctx, tx, row.ID, now, traceParent)
		if err != nil {
			return err
		}
		p.State, p.JobID, p.NextRetryAt = string(delivery.Pending), &job, &now
		s.log.WarnContext(ctx, "retry interrupted, scheduled again now",
			"dead_letter_id", row.ID, "event_id", row.EventID, "interruptions", p.Interruptions)
	}
	return q.RescheduleOrphan(ctx, p)
}

// History returns an event and where it stands on each of its channels.
func (s *Deliveries) History(ctx context.Context, tenantID string, id uuid.UUID) (e delivery.Event, channels []delivery.ChannelHistory, err error) {
	// One snapshot: a letter that is delivered between two statements would be in neither place.
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		e, channels, err = s.history(ctx, s.q.WithTx(tx), tenantID, id)
		return err
	})
	return e, channels, err
}

func (*Deliveries) history(ctx context.Context, q *db.Queries, tenantID string, id uuid.UUID) (delivery.Event, []delivery.ChannelHistory, error) {
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
	letters, err := q.EventDeadLetters(ctx, tenantID, id)
	if err != nil {
		return delivery.Event{}, nil, fmt.Errorf("dead letters of event %s: %w", id, err)
	}

	channels := make([]delivery.ChannelHistory, len(e.Targets))
	byName := make(map[string]*delivery.ChannelHistory, len(e.Targets))
	for i, t := range e.Targets {
		channels[i] = delivery.ChannelHistory{Channel: t.Channel, State: delivery.InFlight}
		byName[t.Channel] = &channels[i]
	}
	for _, a := range attempts {
		c := byName[a.Channel]
		c.Attempts = append(c.Attempts, attempt(a))
	}
	for _, d := range delivered {
		c := byName[d.Channel]
		c.State, c.DeliveredAt = delivery.Delivered, utc(&d.DeliveredAt)
	}
	for _, row := range letters {
		l, err := deadLetter(row)
		if err != nil {
			return delivery.Event{}, nil, err
		}
		c := byName[row.Channel]
		c.State, c.Letter = l.State, &l
	}
	return e, channels, nil
}

// DeadLetters returns up to limit letters that precede before (newest first); uuid.Max starts.
func (s *Deliveries) DeadLetters(ctx context.Context, tenantID string, f delivery.LetterFilter, before uuid.UUID, limit int) ([]delivery.DeadLetter, error) {
	rows, err := s.q.DeadLetters(ctx, db.DeadLettersParams{
		TenantID: tenantID, Before: before, RowLimit: int32(limit), //nolint:gosec // bounded by the API
		State: nilIfZero(string(f.State)), Channel: nilIfZero(f.Channel),
		AlertID: nilIfZero(f.AlertID), Cause: nilIfZero(string(f.Cause)),
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
	rows, err := s.q.ChannelAttempts(ctx, tenantID, l.Event.ID, row.Channel)
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
	AcceptedAt time.Time         `json:"accepted_at"`
}

func deadLetter(r db.AlertDlq) (delivery.DeadLetter, error) {
	var d alertData
	if err := json.Unmarshal(r.AlertData, &d); err != nil {
		return delivery.DeadLetter{}, fmt.Errorf("dead letter %s: alert_data: %w", r.ID, err)
	}
	d.Target.Channel = r.Channel
	l := delivery.DeadLetter{
		ID: r.ID,
		Event: delivery.Event{
			ID: r.EventID, TenantID: r.TenantID, AlertID: r.AlertID, UserID: r.UserID, Title: d.Title,
			Message: d.Message, Severity: d.Severity, Data: d.Data, AcceptedAt: r.AcceptedAt.UTC(),
			Targets: []delivery.Target{d.Target}, TraceParent: zeroIfNil(r.Traceparent),
		},
		State: delivery.State(r.State), Cause: delivery.Cause(r.Cause), Error: r.ErrorMessage,
		RetryCount: int(r.RetryCount), Attempts: int(r.Attempts), Interruptions: int(r.Interruptions),
		CreatedAt: r.CreatedAt.UTC(), LastRetryAt: utc(r.LastRetryAt), NextRetryAt: utc(r.NextRetryAt),
		TraceID: zeroIfNil(r.TraceID),
	}
	return l, nil
}

func event(r db.AlertEvent) (delivery.Event, error) {
	var targets map[string]delivery.Target
	if err := json.Unmarshal(r.Channels, &targets); err != nil {
		return delivery.Event{}, fmt.Errorf("event %s: channels: %w", r.ID, err)
	}
	e := delivery.Event{
		ID: r.ID, TenantID: r.TenantID, AlertID: r.AlertID, UserID: r.UserID, Title: r.Title,
		Message: r.Message, Severity: delivery.Severity(r.Severity), Data: r.Data,
		AcceptedAt: r.AcceptedAt.UTC(), TraceParent: zeroIfNil(r.Traceparent),
	}
	for channel, t := range targets {
		t.Channel = channel
		e.Targets = append(e.Targets, t)
	}
	sort.Slice(e.Targets, func(i, j int) bool { return e.Targets[i].Channel < e.Targets[j].Channel })
	return e, nil
}

func target(e delivery.Event, channel string) delivery.Target {
	for _, t := range e.Targets {
		if t.Channel == channel {
			return t
		}
	}
	return delivery.Target{Channel: channel}
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

func targetsByChannel(targets []delivery.Target) map[string]delivery.Target {
	m := make(map[string]delivery.Target, len(targets))
	for _, t := range targets {
		m[t.Channel] = t
	}
	return m
}

// deliveryMethods is the delivery_methods column: the channels that an alert_deliveries row is
// about, in the form the dashboards read.
func deliveryMethods(channel string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`[%q]`, channel))
}

func statusCode(a delivery.Attempt) *int32 {
	return nilIfZero(int32(a.Outcome.StatusCode)) //nolint:gosec // an HTTP status
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
