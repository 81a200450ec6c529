package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store/db"
)

// shortWait is up to where River keeps a waiting job among the available ones; a longer wait goes
// through its scheduler, which looks every five seconds. A job whose first wait is shorter is put
// in as available and snoozes itself to the moment (jobs.RetryWorker), so that short schedules
// hold too.
const shortWait = 5 * time.Second

func (s *Deliveries) retryJob(letter uuid.UUID, at time.Time, traceParent string) river.InsertManyParams {
	opts := &river.InsertOpts{}
	if at.Sub(s.now()) > shortWait {
		opts.ScheduledAt = at
	}
	if traceParent != "" {
		opts.Metadata = jobs.TraceMetadata(traceParent)
	}
	return river.InsertManyParams{Args: jobs.RetryArgs{DeadLetterID: letter}, InsertOpts: opts}
}

// RecordFirst implements delivery.Journal.
func (s *Deliveries) RecordFirst(ctx context.Context, v delivery.Verdict) (uuid.UUID, error) {
	var letter uuid.UUID
	err := s.outcome.WithContext(ctx).Run(func() (err error) {
		letter, err = s.recordFirst(ctx, v)
		return err
	})
	return letter, err
}

func (s *Deliveries) recordFirst(ctx context.Context, v delivery.Verdict) (uuid.UUID, error) {
	e, t := v.Delivery.Event, v.Delivery.Target
	switch v.State {
	case delivery.InFlight:
		if v.Hold == nil {
			return uuid.Nil, nil // cut short: the reconciler finds it where it is
		}
		return uuid.Nil, s.putOff(ctx, e, t.Key(), v.NextRetryAt)
	case delivery.Delivered:
		moved, err := s.firstDelivered.do(ctx, v)
		if err != nil || moved {
			return uuid.Nil, err
		}
		// The reconciler took this attempt for interrupted (or an earlier try of this statement went
		// through after all). The message has arrived: no dead letter of it may stay.
		return uuid.Nil, s.recordLateDelivered(ctx, v)
	default:
		recorded, err := s.firstFailed.do(ctx, v)
		if err != nil || recorded.moved {
			return recorded.id, err
		}
		// As above: the letter stands there already, and its retry is under way.
		row, err := s.q.DeadLetterID(ctx, e.ID, t.Key())
		if errors.Is(err, pgx.ErrNoRows) {
			return uuid.Nil, nil // and has been delivered since
		}
		return row.ID, err
	}
}

// putOff leaves a first attempt to the worker, from a time on.
func (s *Deliveries) putOff(ctx context.Context, e delivery.Event, target string, until time.Time) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		inserted, err := s.jobs.InsertManyTx(ctx, tx, []river.InsertManyParams{firstJob(e, target, until)})
		if err != nil {
			return fmt.Errorf("insert delivery job: %w", err)
		}
		_, err = s.q.WithTx(tx).PutOffFirst(ctx, inserted[0].Job.ID, e.ID, target)
		return err
	})
}

// recordFirstDelivered reports for each verdict whether its event was still in flight.
func (s *Deliveries) recordFirstDelivered(ctx context.Context, vs []delivery.Verdict) ([]bool, error) {
	var p db.RecordFirstDeliveredParams
	for _, v := range vs {
		e, t, a := v.Delivery.Event, v.Delivery.Target, v.Attempt
		hash, err := v.Delivery.ContentHash()
		if err != nil {
			return nil, err
		}
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		p.Ids, p.EventIds, p.Targets = append(p.Ids, id), append(p.EventIds, e.ID), append(p.Targets, t.Key())
		p.TenantIds, p.Channels, p.AlertIds = append(p.TenantIds, e.TenantID), append(p.Channels, t.Channel), append(p.AlertIds, e.AlertID)
		p.UserIds, p.ContentHashes = append(p.UserIds, e.UserID), append(p.ContentHashes, hash)
		p.AcceptedAts, p.DeliveredAts = append(p.AcceptedAts, e.AcceptedAt), append(p.DeliveredAts, v.DecidedAt)
		p.StartedAts, p.Durations = append(p.StartedAts, a.StartedAt), append(p.Durations, a.Duration.Seconds())
		p.StatusCodes, p.Excerpts = append(p.StatusCodes, status(a)), append(p.Excerpts, a.Outcome.Excerpt)
		p.TraceIds = append(p.TraceIds, a.TraceID)
	}
	rows, err := s.q.RecordFirstDelivered(ctx, p)
	if err != nil {
		return nil, err
	}
	moved := make(map[unit]bool, len(rows))
	for _, r := range rows {
		moved[unit{r.EventID, r.Target}] = true
	}
	return answers(vs, func(v delivery.Verdict) bool { return moved[unitOf(v)] }), nil
}

func unitOf(v delivery.Verdict) unit { return unit{v.Delivery.Event.ID, v.Delivery.Target.Key()} }

func answers[T, R any](items []T, answer func(T) R) []R {
	list := make([]R, len(items))
	for i, item := range items {
		list[i] = answer(item)
	}
	return list
}

func (s *Deliveries) recordLateDelivered(ctx context.Context, v delivery.Verdict) error {
	a, target := v.Attempt, v.Delivery.Target.Key()
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	late, err := s.q.RecordLateDelivered(ctx, db.RecordLateDeliveredParams{
		ID: id, EventID: v.Delivery.Event.ID, Target: target, DeliveredAt: v.DecidedAt,
		Attempt:   int32(a.Number), //nolint:gosec // bounded by schedule and interruptions
		StartedAt: a.StartedAt, DurationSeconds: a.Duration.Seconds(),
		StatusCode: nilIfZero(status(a)), ResponseExcerpt: nilIfZero(a.Outcome.Excerpt), TraceID: nilIfZero(a.TraceID),
	})
	if late > 0 {
		s.log.InfoContext(ctx, "an attempt given up for interrupted succeeded; its dead letter is closed",
			"event_id", v.Delivery.Event.ID, "target", target, "attempt", a.Number)
	}
	return err
}

// recordedLetter is what became of a first failure.
type recordedLetter struct {
	id    uuid.UUID
	moved bool // false: the event was no longer in flight, and id stands for nothing
}

// recordFirstFailed moves events from in flight to new dead letters, with their jobs.
func (s *Deliveries) recordFirstFailed(ctx context.Context, vs []delivery.Verdict) ([]recordedLetter, error) {
	var recorded []recordedLetter
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		recorded, err = s.insertLetters(ctx, tx, vs, "failed")
		return err
	})
	return recorded, err
}

// insertLetters is recordFirstFailed in a transaction. outcome is that of the attempts: failed or
// interrupted.
func (s *Deliveries) insertLetters(ctx context.Context, tx pgx.Tx, vs []delivery.Verdict, outcome string) ([]recordedLetter, error) {
	var p db.RecordFirstFailedParams
	var retries []river.InsertManyParams
	var pending []int
	for i, v := range vs {
		e, t, a := v.Delivery.Event, v.Delivery.Target, v.Attempt
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		hash, err := v.Delivery.ContentHash()
		if err != nil {
			return nil, err
		}
		data, err := json.Marshal(alertData{
			EventID: e.ID, AlertID: e.AlertID, UserID: e.UserID, Title: e.Title, Message: e.Message, Severity: e.Severity,
			Data: e.Data, Channel: t.Channel, Target: t, Source: e.Source, AcceptedAt: e.AcceptedAt,
		})
		if err != nil {
			return nil, fmt.Errorf("encode alert data: %w", err)
		}
		cause, detail, started, held := a.Outcome.Cause, a.Outcome.Detail, a.StartedAt, delivery.HoldReason("")
		if v.State == delivery.Expired && a.Number == 0 {
			cause, detail = delivery.Timeout, "its time to live was over before it could be sent"
		}
		if v.State == delivery.Superseded {
			cause, detail = delivery.Rejected, "a later event had ended what it was about before it could be sent"
		}
		if started.IsZero() {
			started = v.DecidedAt
		}
		if v.Hold != nil {
			held = v.Hold.Reason
		}
		p.Ids, p.EventIds, p.Targets = append(p.Ids, id), append(p.EventIds, e.ID), append(p.Targets, t.Key())
		p.TenantIds, p.Channels, p.AlertIds = append(p.TenantIds, e.TenantID), append(p.Channels, t.Channel), append(p.AlertIds, e.AlertID)
		p.UserIds, p.ContentHashes, p.AlertDatas = append(p.UserIds, e.UserID), append(p.ContentHashes, hash), append(p.AlertDatas, string(data))
		p.States, p.Causes, p.ErrorMessages = append(p.States, string(v.State)), append(p.Causes, string(cause)), append(p.ErrorMessages, detail)
		p.Attempts = append(p.Attempts, int32(a.Number)) //nolint:gosec // 0 or 1
		p.AcceptedAts, p.DecidedAts, p.StartedAts = append(p.AcceptedAts, e.AcceptedAt), append(p.DecidedAts, v.DecidedAt), append(p.StartedAts, started)
		p.Durations, p.Outcomes = append(p.Durations, a.Duration.Seconds()), append(p.Outcomes, outcome)
		p.StatusCodes, p.Excerpts = append(p.StatusCodes, status(a)), append(p.Excerpts, a.Outcome.Excerpt)
		p.NextRetryAts, p.JobIds = append(p.NextRetryAts, v.NextRetryAt), append(p.JobIds, 0)
		p.TraceIds, p.Traceparents = append(p.TraceIds, a.TraceID), append(p.Traceparents, e.TraceParent)
		p.Endpoints, p.Subjects = append(p.Endpoints, v.Delivery.Endpoint.ID), append(p.Subjects, e.Subject)
		p.ExpiresAts, p.HeldBys = append(p.ExpiresAts, e.ExpiresAt), append(p.HeldBys, string(held))
		if v.State == delivery.Pending {
			pending = append(pending, i)
			retries = append(retries, s.retryJob(id, v.NextRetryAt, e.TraceParent))
		}
	}
	if len(retries) > 0 {
		inserted, err := s.jobs.InsertManyTx(ctx, tx, retries)
		if err != nil {
			return nil, fmt.Errorf("insert retry jobs: %w", err)
		}
		for j, i := range pending {
			p.JobIds[i] = inserted[j].Job.ID
		}
	}
	rows, err := s.q.WithTx(tx).RecordFirstFailed(ctx, p)
	if err != nil {
		return nil, err
	}
	moved := make(map[unit]delivery.State, len(rows))
	for _, r := range rows {
		moved[unit{r.EventID, r.Target}] = delivery.State(r.State)
	}
	recorded := make([]recordedLetter, len(vs))
	var failedForGood []uuid.UUID
	for i, v := range vs {
		state, ok := moved[unitOf(v)]
		if ok {
			recorded[i] = recordedLetter{id: p.Ids[i], moved: true}
		}
		// Where somebody else has moved it, it has another job; what is superseded needs none.
		if p.JobIds[i] != 0 && state != delivery.Pending {
			if _, err := s.jobs.JobDeleteTx(ctx, tx, p.JobIds[i]); err != nil {
				return nil, fmt.Errorf("delete retry job %d: %w", p.JobIds[i], err)
			}
		}
		if (state == delivery.Exhausted || state == delivery.Expired) && len(v.Delivery.Event.Fallback) > 0 {
			failedForGood = append(failedForGood, v.Delivery.Event.ID)
		}
	}
	return recorded, s.useFallbacks(ctx, tx, failedForGood)
}

// useFallbacks puts the fallbacks of events in flight, of those events that have them and have not
// used them.
func (s *Deliveries) useFallbacks(ctx context.Context, tx pgx.Tx, events []uuid.UUID) error {
	if len(events) == 0 {
		return nil
	}
	q := s.q.WithTx(tx)
	rows, err := q.LockFallbacks(ctx, events)
	if err != nil {
		return fmt.Errorf("fallbacks: %w", err)
	}
	for _, r := range rows {
		targets, err := targetList(r.Fallback)
		if err != nil {
			return fmt.Errorf("event %s: fallback: %w", r.ID, err)
		}
		e := delivery.Event{ID: r.ID, TenantID: r.TenantID, AcceptedAt: r.AcceptedAt, TraceParent: zeroIfNil(r.Traceparent)}
		for i := range targets {
			targets[i].Fallback = true
		}
		used, err := targetsByKey(targets)
		if err != nil {
			return fmt.Errorf("event %s: fallback: %w", r.ID, err)
		}
		for _, t := range targets {
			inserted, err := s.jobs.InsertManyTx(ctx, tx, []river.InsertManyParams{firstJob(e, t.Key(), time.Time{})})
			if err != nil {
				return fmt.Errorf("insert delivery job: %w", err)
			}
			err = q.AddInflight(ctx, db.AddInflightParams{
				EventID: e.ID, Target: t.Key(), Channel: t.Channel, TenantID: e.TenantID, AcceptedAt: s.now().UTC(), JobID: inserted[0].Job.ID,
			})
			if err != nil {
				return fmt.Errorf("event %s: fallback %s: %w", e.ID, t.Key(), err)
			}
			s.log.InfoContext(ctx, "a target failed for good, the fallback is tried", "event_id", e.ID, "target", t.Key())
		}
		if err := q.UseFallback(ctx, used, e.ID); err != nil {
			return fmt.Errorf("event %s: fallback: %w", e.ID, err)
		}
	}
	return nil
}

// flightJob names an event and target by the job that may make its first attempt.
type flightJob struct {
	unit
	job int64
}

// InFlightForJob implements jobs.Firsts.
func (s *Deliveries) InFlightForJob(ctx context.Context, eventID uuid.UUID, target string, jobID int64) (delivery.Event, delivery.Target, bool, error) {
	e, err := s.inFlight.do(ctx, flightJob{unit{eventID, target}, jobID})
	if err != nil || e == nil {
		return delivery.Event{}, delivery.Target{}, false, err
	}
	bound, t := boundFor(*e, target)
	return bound, t, true, nil
}

func (s *Deliveries) loadInFlight(ctx context.Context, wanted []flightJob) ([]*delivery.Event, error) {
	ids, events := make([]int64, len(wanted)), make([]uuid.UUID, len(wanted))
	for i, w := range wanted {
		ids[i], events[i] = w.job, w.event
	}
	rows, err := s.q.InflightForJob(ctx, ids, events)
	if err != nil {
		return nil, err
	}
	found := make(map[flightJob]*delivery.Event, len(rows))
	for _, r := range rows {
		e, err := event(r.AlertEvent)
		if err != nil {
			return nil, err
		}
		e.Ended = r.Ended
		found[flightJob{unit{e.ID, r.Target}, zeroIfNil(r.JobID)}] = &e
	}
	return answers(wanted, func(w flightJob) *delivery.Event { return found[w] }), nil
}

// letterJob names a letter by the job that may attempt it.
type letterJob struct {
	letter uuid.UUID
	job    int64
}

// DeadLetterForJob implements jobs.Letters.
func (s *Deliveries) DeadLetterForJob(ctx context.Context, id uuid.UUID, jobID int64) (delivery.DeadLetter, bool, error) {
	l, err := s.letters.do(ctx, letterJob{id, jobID})
	if err != nil || l == nil {
		return delivery.DeadLetter{}, false, err
	}
	return *l, true, nil
}

func (s *Deliveries) loadLetters(ctx context.Context, wanted []letterJob) ([]*delivery.DeadLetter, error) {
	ids, jobIDs := make([]uuid.UUID, len(wanted)), make([]int64, len(wanted))
	for i, w := range wanted {
		ids[i], jobIDs[i] = w.letter, w.job
	}
	rows, err := s.q.DeadLettersForJobs(ctx, ids, jobIDs)
	if err != nil {
		return nil, err
	}
	found := make(map[uuid.UUID]*delivery.DeadLetter, len(rows))
	for _, r := range rows {
		l, err := deadLetter(r.AlertDlq)
		if err != nil {
			return nil, err
		}
		l.Event.Ended = r.Ended
		found[l.ID] = &l
	}
	return answers(wanted, func(w letterJob) *delivery.DeadLetter { return found[w.letter] }), nil
}

// retried is a retry's verdict, with the letter and the job that it is about.
type retried struct {
	job     int64
	letter  delivery.DeadLetter
	verdict delivery.Verdict
}

// RecordRetry implements jobs.Letters.
func (s *Deliveries) RecordRetry(ctx context.Context, jobID int64, l delivery.DeadLetter, v delivery.Verdict) error {
	return s.outcome.WithContext(ctx).Run(func() error {
		r := retried{jobID, l, v}
		switch {
		case v.State == delivery.Delivered:
			moved, err := s.retryDelivered.do(ctx, r)
			if err != nil || moved {
				return err
			}
			// As with a first attempt: given up, but the message has arrived.
			return s.recordLateDelivered(ctx, v)
		case v.Hold != nil:
			held := string(v.Hold.Reason)
			return s.q.HoldLetter(ctx, db.HoldLetterParams{ID: l.ID, JobID: jobID, NextRetryAt: &v.NextRetryAt, HeldBy: &held})
		case v.State == delivery.Superseded, v.State == delivery.Expired && v.Attempt.Number == 0:
			return s.closeLetter(ctx, r)
		default:
			// What is no longer the job's is left alone: who took the letter over knows better what
			// becomes of it.
			_, err := s.retryFailed.do(ctx, r)
			return err
		}
	})
}

// closeLetter closes a letter that was not attempted any more. Where it has expired, its event may have a
// fallback; what is over needs none.
func (s *Deliveries) closeLetter(ctx context.Context, r retried) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		events, err := s.q.WithTx(tx).CloseLetter(ctx, db.CloseLetterParams{
			ID: r.letter.ID, JobID: r.job, State: string(r.verdict.State), Now: &r.verdict.DecidedAt,
		})
		if err != nil || r.verdict.State != delivery.Expired {
			return err
		}
		return s.useFallbacks(ctx, tx, events)
	})
}

func (s *Deliveries) recordRetryDelivered(ctx context.Context, rs []retried) ([]bool, error) {
	var p db.RecordRetryDeliveredParams
	for _, r := range rs {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		a := r.verdict.Attempt
		p.Ids, p.LetterIds, p.JobIds = append(p.Ids, id), append(p.LetterIds, r.letter.ID), append(p.JobIds, r.job)
		p.Attempts = append(p.Attempts, int32(a.Number)) //nolint:gosec // bounded by schedule and interruptions
		p.DeliveredAts, p.StartedAts = append(p.DeliveredAts, r.verdict.DecidedAt), append(p.StartedAts, a.StartedAt)
		p.Durations, p.StatusCodes = append(p.Durations, a.Duration.Seconds()), append(p.StatusCodes, status(a))
		p.Excerpts, p.TraceIds = append(p.Excerpts, a.Outcome.Excerpt), append(p.TraceIds, a.TraceID)
	}
	ids, err := s.q.RecordRetryDelivered(ctx, p)
	return recordedOf(rs, ids), err
}

// recordedOf tells for each retry whether its letter is among ids.
func recordedOf(rs []retried, ids []uuid.UUID) []bool {
	recorded := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		recorded[id] = true
	}
	return answers(rs, func(r retried) bool { return recorded[r.letter.ID] })
}

func (s *Deliveries) recordRetryFailed(ctx context.Context, rs []retried) ([]bool, error) {
	var p db.RecordRetryFailedParams
	forGood := make(map[uuid.UUID]uuid.UUID) // letters that this ends, with their events
	for _, r := range rs {
		v, a := r.verdict, r.verdict.Attempt
		p.LetterIds, p.JobIds, p.States = append(p.LetterIds, r.letter.ID), append(p.JobIds, r.job), append(p.States, string(v.State))
		p.Attempts = append(p.Attempts, int32(a.Number)) //nolint:gosec // bounded by schedule and interruptions
		p.StartedAts, p.Durations = append(p.StartedAts, a.StartedAt), append(p.Durations, a.Duration.Seconds())
		p.Causes, p.ErrorMessages = append(p.Causes, string(a.Outcome.Cause)), append(p.ErrorMessages, a.Outcome.Detail)
		p.StatusCodes, p.Excerpts = append(p.StatusCodes, status(a)), append(p.Excerpts, a.Outcome.Excerpt)
		p.TraceIds, p.Endpoints = append(p.TraceIds, a.TraceID), append(p.Endpoints, v.Delivery.Endpoint.ID)
		p.NextRetryAts, p.DecidedAts = append(p.NextRetryAts, v.NextRetryAt), append(p.DecidedAts, v.DecidedAt)
		if v.State != delivery.Pending {
			forGood[r.letter.ID] = r.letter.Event.ID
		}
	}
	if len(forGood) == 0 {
		ids, err := s.q.RecordRetryFailed(ctx, p)
		return recordedOf(rs, ids), err
	}
	var ids []uuid.UUID
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		if ids, err = s.q.WithTx(tx).RecordRetryFailed(ctx, p); err != nil {
			return err
		}
		var failed []uuid.UUID
		for _, id := range ids { // a letter that was closed meanwhile has not failed
			if event, ok := forGood[id]; ok {
				failed = append(failed, event)
			}
		}
		return s.useFallbacks(ctx, tx, failed)
	})
	return recordedOf(rs, ids), err
}

// status is the status code of an attempt's answer, 0 for none.
func status(a delivery.Attempt) int32 {
	return int32(a.Outcome.StatusCode) //nolint:gosec // an HTTP or SMTP status
}
