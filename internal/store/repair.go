package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/store/db"
)

const interruptedFirst = "accepted, but the process stopped before the outcome of the first attempt was recorded; it may or may not have been sent"

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
				failed = append(failed, fmt.Errorf("event %s on %s: %w", row.AlertEvent.ID, row.Target, err))
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
	begun := row.AttemptedAt
	if row.JobID == nil { // the API was to make it, at once
		begun = &row.AcceptedAt
	}
	if begun == nil { // its job was lost before it began
		inserted, err := s.jobs.InsertManyTx(ctx, tx, []river.InsertManyParams{firstJob(e, row.Target, time.Time{})})
		if err != nil {
			return fmt.Errorf("insert delivery job: %w", err)
		}
		s.log.WarnContext(ctx, "first attempt had lost its job, scheduled again now", "event_id", e.ID, "target", row.Target)
		_, err = s.q.WithTx(tx).PutOffFirst(ctx, inserted[0].Job.ID, e.ID, row.Target)
		return err
	}
	e, target := boundFor(e, row.Target)
	v := delivery.Verdict{
		Delivery: delivery.Delivery{Event: e, Target: target, Attempt: 1},
		Attempt: delivery.Attempt{
			Number: 1, StartedAt: *begun,
			Outcome: delivery.Outcome{Cause: delivery.Interrupted, Retry: true, Detail: interruptedFirst},
		},
		State: delivery.Pending, NextRetryAt: now, DecidedAt: now,
	}
	letters, err := s.insertLetters(ctx, tx, []delivery.Verdict{v}, "interrupted")
	if err != nil {
		return err
	}
	s.log.WarnContext(ctx, "first attempt interrupted, queued for a retry now",
		"event_id", e.ID, "target", row.Target, "dead_letter_id", letters[0].id)
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
		job, err := s.insertRetry(ctx, tx, s.retryJob(row.ID, now, traceParent))
		if err != nil {
			return err
		}
		s.log.WarnContext(ctx, "dead letter had lost its job, scheduled again now", "dead_letter_id", row.ID, "event_id", row.EventID)
		return q.ReattachOrphan(ctx, &job, row.ID)
	}
	reason := "the worker stopped before the outcome of a retry was recorded; it may or may not have been sent"
	attempt := row.Attempts + 1
	err := q.AddInterruptedAttempt(ctx, db.AddInterruptedAttemptParams{
		EventID: row.EventID, Target: row.Target, Channel: row.Channel, Attempt: attempt, TenantID: row.TenantID,
		StartedAt: *row.AttemptedAt, Error: &reason, OperationID: row.OperationID,
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
		if err := s.useFallbacks(ctx, tx, []uuid.UUID{row.EventID}); err != nil {
			return err
		}
	} else {
		job, err := s.insertRetry(ctx, tx, s.retryJob(row.ID, now, traceParent))
		if err != nil {
			return err
		}
		p.State, p.JobID, p.NextRetryAt = string(delivery.Pending), &job, &now
		s.log.WarnContext(ctx, "retry interrupted, scheduled again now",
			"dead_letter_id", row.ID, "event_id", row.EventID, "interruptions", p.Interruptions)
	}
	return q.RescheduleOrphan(ctx, p)
}

func (s *Deliveries) insertRetry(ctx context.Context, tx pgx.Tx, retry river.InsertManyParams) (int64, error) {
	inserted, err := s.jobs.InsertManyTx(ctx, tx, []river.InsertManyParams{retry})
	if err != nil {
		return 0, fmt.Errorf("insert retry job: %w", err)
	}
	return inserted[0].Job.ID, nil
}
