package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store/db"
)

const (
	// lookTime bounds what counts and groups letters: they may be many, and the filter without an index.
	lookTime = 5 * time.Second
	// sampleSize is how many letters a preview names.
	sampleSize = 10
	// operationStall is how long released letters may wait without any of them being attempted.
	operationStall = time.Minute
)

// storedFilter is the filter column of an operation.
type storedFilter struct {
	State         delivery.State `json:"state,omitempty"`
	Channel       string         `json:"channel,omitempty"`
	Destination   string         `json:"destination,omitempty"`
	AlertID       string         `json:"alert_id,omitempty"`
	UserID        string         `json:"user_id,omitempty"`
	Cause         delivery.Cause `json:"cause,omitempty"`
	Search        string         `json:"search,omitempty"`
	CreatedAfter  time.Time      `json:"created_after,omitzero"`
	CreatedBefore time.Time      `json:"created_before,omitzero"`
	OperationID   uuid.UUID      `json:"operation_id,omitzero"`
}

func toStoredFilter(f delivery.LetterFilter) storedFilter {
	return storedFilter{
		State: f.State, Channel: f.Channel, Destination: f.Destination, AlertID: f.AlertID, UserID: f.UserID, Cause: f.Cause,
		Search: f.Search, CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore, OperationID: f.OperationID,
	}
}

func (f storedFilter) domain() delivery.LetterFilter {
	return delivery.LetterFilter{
		State: f.State, Channel: f.Channel, Destination: f.Destination, AlertID: f.AlertID, UserID: f.UserID, Cause: f.Cause,
		Search: f.Search, CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore, OperationID: f.OperationID,
	}
}

// openStates are those of letters that are in front of the operators.
var openStates = []string{string(delivery.Pending), string(delivery.Exhausted)}

// statesOf returns the states that a filter selects, nil for all.
func statesOf(f delivery.LetterFilter) []string {
	switch {
	case f.State != "":
		return []string{string(f.State)}
	case f.Open:
		return openStates
	default:
		return nil
	}
}

// eligible returns the states whose letters an operation takes on. What was discarded, somebody gave
// up on purpose: it is replayed only where that is asked for.
func eligible(kind delivery.OperationKind, asked delivery.State) ([]string, error) {
	switch {
	case asked == "":
		return openStates, nil
	case asked == delivery.Pending, asked == delivery.Exhausted, asked == delivery.Discarded && kind == delivery.Replay:
		return []string{string(asked)}, nil
	case kind == delivery.Replay:
		return nil, fault.InvalidField("/filter/state", "letters that are %s are not sent any more; replay takes pending, exhausted and discarded", asked)
	default:
		return nil, fault.InvalidField("/filter/state", "letters that are %s are closed already; discard takes pending and exhausted", asked)
	}
}

// matching are the parameters that the queries over an operation's letters share.
func (s *Deliveries) matching(tenantID string, kind delivery.OperationKind, f delivery.LetterFilter) (db.LockLettersParams, error) {
	states, err := eligible(kind, f.State)
	if err != nil {
		return db.LockLettersParams{}, err
	}
	p := db.LockLettersParams{
		TenantID: tenantID, States: states, Channel: nilIfZero(f.Channel), Target: nilIfZero(targetOf(f.Destination)),
		AlertID: nilIfZero(f.AlertID), UserID: nilIfZero(f.UserID), Cause: nilIfZero(string(f.Cause)),
		CreatedAfter: nilIfZero(f.CreatedAfter), CreatedBefore: nilIfZero(f.CreatedBefore), Search: nilIfZero(f.Search),
		OfOperation: nilIfZero(f.OperationID),
	}
	if kind == delivery.Replay {
		p.SendableAt = new(s.now().UTC())
	}
	return p, nil
}

// PreviewOperation returns what a replay or discard would work on, and changes nothing.
func (s *Deliveries) PreviewOperation(ctx context.Context, tenantID string, kind delivery.OperationKind, f delivery.LetterFilter) (delivery.Preview, error) {
	m, err := s.matching(tenantID, kind, f)
	if err != nil {
		return delivery.Preview{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	total, err := countLetters(ctx, s.lists, m, delivery.MaxCounted+1)
	if err != nil {
		return delivery.Preview{}, err
	}
	sample, err := s.lists.SampleLetters(ctx, db.SampleLettersParams{
		TenantID: m.TenantID, States: m.States, SendableAt: m.SendableAt, Channel: m.Channel, Target: m.Target, AlertID: m.AlertID,
		UserID: m.UserID, Cause: m.Cause, CreatedAfter: m.CreatedAfter, CreatedBefore: m.CreatedBefore, Search: m.Search, OfOperation: m.OfOperation,
		RowLimit: sampleSize,
	})
	if err != nil {
		return delivery.Preview{}, tooMany(err, "sample dead letters")
	}
	return delivery.Preview{Total: total, Sample: sample}, nil
}

func countLetters(ctx context.Context, q *db.Queries, m db.LockLettersParams, limit int32) (int, error) {
	n, err := q.CountLetters(ctx, db.CountLettersParams{
		TenantID: m.TenantID, States: m.States, SendableAt: m.SendableAt, Channel: m.Channel, Target: m.Target, AlertID: m.AlertID,
		UserID: m.UserID, Cause: m.Cause, CreatedAfter: m.CreatedAfter, CreatedBefore: m.CreatedBefore, Search: m.Search,
		OfOperation: m.OfOperation, LastID: nilIfZero(m.LastID), OperationID: nilIfZero(m.OperationID), RowLimit: limit,
	})
	return int(n), tooMany(err, "count dead letters")
}

// tooMany says what to do about a look at letters that took too long.
func tooMany(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.Timeout, "looking through the dead letters took more than %s; a filter by state, channel or time makes it less", lookTime)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// StartOperation starts a replay or discard of all letters that match its filter now. o says what is
// wanted; the rest is filled in.
func (s *Deliveries) StartOperation(ctx context.Context, o delivery.Operation) (delivery.Operation, error) {
	m, err := s.matching(o.TenantID, o.Kind, o.Filter)
	if err != nil {
		return delivery.Operation{}, err
	}
	filter, err := json.Marshal(toStoredFilter(o.Filter))
	if err != nil {
		return delivery.Operation{}, err
	}
	counting, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if o.Total, err = countLetters(counting, s.lists, m, delivery.MaxCounted+1); err != nil {
		return delivery.Operation{}, err
	}
	if o.ID, err = uuid.NewV7(); err != nil {
		return delivery.Operation{}, err
	}
	o.State, o.StartedAt, o.By.Reason = delivery.OperationRunning, s.now().UTC().Truncate(time.Microsecond), asStorable(o.By.Reason)
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		job, err := s.operationJob(ctx, tx, o.ID)
		if err != nil {
			return err
		}
		err = s.q.WithTx(tx).AddOperation(ctx, db.AddOperationParams{
			ID: o.ID, TenantID: o.TenantID, Kind: string(o.Kind), Filter: filter, Actor: o.By.Actor, Reason: nilIfZero(o.By.Reason),
			PerSecond: int32(o.PerSecond), StopAfterFailures: int32(o.StopAfterFailures), //nolint:gosec // bounded by the API
			Total: int32(o.Total), LastID: o.ID, StartedAt: o.StartedAt, JobID: job, //nolint:gosec // up to MaxCounted+1
		})
		if err != nil {
			return fmt.Errorf("add operation: %w", err)
		}
		return s.auditOperation(ctx, tx, o, o.By, "operation.start")
	})
	if err != nil {
		return delivery.Operation{}, err
	}
	return o, nil
}

func (s *Deliveries) operationJob(ctx context.Context, tx pgx.Tx, id uuid.UUID) (int64, error) {
	inserted, err := s.jobs.InsertManyTx(ctx, tx, []river.InsertManyParams{{Args: jobs.OperationArgs{OperationID: id}}})
	if err != nil {
		return 0, fmt.Errorf("insert operation job: %w", err)
	}
	return inserted[0].Job.ID, nil
}

func (s *Deliveries) auditOperation(ctx context.Context, tx pgx.Tx, o delivery.Operation, by delivery.By, action string) error {
	detail := struct {
		Kind      delivery.OperationKind `json:"kind"`
		Filter    storedFilter           `json:"filter"`
		Endpoint  string                 `json:"endpoint,omitempty"`
		Total     int                    `json:"total"`
		Released  int                    `json:"released"`
		Delivered int                    `json:"delivered"`
		Failed    int                    `json:"failed"`
	}{o.Kind, toStoredFilter(o.Filter), o.Endpoint, o.Total, o.Released, o.Delivered, o.Failed}
	raw, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	return addAudit(ctx, tx, audit.Entry{
		TenantID: o.TenantID, At: s.now().UTC(), Actor: by.Actor, Action: action, Subject: "operation", SubjectID: o.ID.String(),
		Reason: by.Reason, Detail: raw,
	})
}

// EndpointRecovered implements delivery.Recoveries.
func (s *Deliveries) EndpointRecovered(ctx context.Context, tenantID, endpoint string) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		now := s.now().UTC()
		total, err := q.CountWaitingLetters(ctx, db.CountWaitingLettersParams{
			TenantID: tenantID, Endpoint: endpoint, Now: now, RowLimit: delivery.MaxCounted + 1,
		})
		if err != nil {
			return fmt.Errorf("count waiting letters of %s: %w", endpoint, err)
		}
		if total == 0 {
			return nil
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		added, err := q.AddDrain(ctx, db.AddDrainParams{
			ID: id, TenantID: tenantID, Endpoint: endpoint, Actor: audit.System, PerSecond: delivery.DrainMost,
			StopAfterFailures: delivery.DrainFailures, Total: int32(total), StartedAt: now, //nolint:gosec // up to MaxCounted+1
		})
		if err != nil {
			return fmt.Errorf("add drain of %s: %w", endpoint, err)
		}
		if added == 0 {
			return s.reviveDrain(ctx, tx, tenantID, endpoint)
		}
		job, err := s.operationJob(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := q.SetOperationJob(ctx, job, id); err != nil {
			return err
		}
		return s.auditOperation(ctx, tx, delivery.Operation{
			ID: id, TenantID: tenantID, Kind: delivery.Drain, Endpoint: endpoint, Total: int(total),
		}, delivery.By{Actor: audit.System, Reason: "the endpoint works again"}, "operation.start")
	})
}

// reviveDrain gives the drain that is under way a new job where it has lost its own: nothing else
// would ever drain the endpoint again.
func (s *Deliveries) reviveDrain(ctx context.Context, tx pgx.Tx, tenantID, endpoint string) error {
	q := s.q.WithTx(tx)
	row, err := q.RunningDrain(ctx, tenantID, endpoint)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // it has just ended; what is left has its schedule
	}
	if err != nil {
		return err
	}
	lives, err := q.JobLives(ctx, zeroIfNil(row.JobID))
	if err != nil || lives {
		return err
	}
	job, err := s.operationJob(ctx, tx, row.ID)
	if err != nil {
		return err
	}
	return q.SetOperationJob(ctx, job, row.ID)
}

// Operation returns one operation with its progress.
func (s *Deliveries) Operation(ctx context.Context, tenantID string, id uuid.UUID) (delivery.Operation, error) {
	row, err := s.q.Operation(ctx, tenantID, id)
	if err != nil {
		return delivery.Operation{}, orNotFound(err, "no operation %s", id)
	}
	list, err := withProgress(ctx, s.q, []db.AlertDlqOperation{row})
	if err != nil {
		return delivery.Operation{}, err
	}
	return list[0], nil
}

// Operations returns up to limit operations that precede before (newest first); uuid.Max starts.
func (s *Deliveries) Operations(ctx context.Context, tenantID string, before uuid.UUID, limit int) ([]delivery.Operation, error) {
	rows, err := s.q.Operations(ctx, tenantID, before, int32(limit)) //nolint:gosec // bounded by the API
	if err != nil {
		return nil, fmt.Errorf("list operations: %w", err)
	}
	return withProgress(ctx, s.q, rows)
}

// RunningOperations returns up to limit operations that run, newest first.
func (s *Deliveries) RunningOperations(ctx context.Context, tenantID string, limit int) ([]delivery.Operation, error) {
	rows, err := s.q.RunningOperations(ctx, tenantID, int32(limit)) //nolint:gosec // a small constant
	if err != nil {
		return nil, fmt.Errorf("list operations that run: %w", err)
	}
	return withProgress(ctx, s.q, rows)
}

func withProgress(ctx context.Context, q *db.Queries, rows []db.AlertDlqOperation) ([]delivery.Operation, error) {
	ids := make([]uuid.UUID, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	counts, err := q.OperationProgress(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("progress of operations: %w", err)
	}
	byID := make(map[uuid.UUID]db.OperationProgressRow, len(counts))
	for _, c := range counts {
		byID[c.ID] = c
	}
	list := make([]delivery.Operation, len(rows))
	for i, r := range rows {
		if list[i], err = operation(r, byID[r.ID]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func operation(r db.AlertDlqOperation, c db.OperationProgressRow) (delivery.Operation, error) {
	var f storedFilter
	if err := json.Unmarshal(r.Filter, &f); err != nil {
		return delivery.Operation{}, fmt.Errorf("operation %s: filter: %w", r.ID, err)
	}
	return delivery.Operation{
		ID: r.ID, TenantID: r.TenantID, Kind: delivery.OperationKind(r.Kind), Filter: f.domain(), Endpoint: r.Endpoint,
		By: delivery.By{Actor: r.Actor, Reason: zeroIfNil(r.Reason)}, PerSecond: int(r.PerSecond), StopAfterFailures: int(r.StopAfterFailures),
		State: delivery.OperationState(r.State), StopReason: zeroIfNil(r.StopReason), Total: int(r.Total), Released: int(r.Released),
		Delivered: int(c.Delivered), Failed: int(c.Failed), Waiting: int(c.Waiting), Closed: int(c.Closed),
		StartedAt: r.StartedAt.UTC(), EndedAt: utc(r.EndedAt),
	}, nil
}

// CancelOperation ends an operation. The letters that it has released stay on their schedule.
func (s *Deliveries) CancelOperation(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.Operation, error) {
	return s.changeOperation(ctx, tenantID, id, by, "operation.cancel", func(q *db.Queries, _ pgx.Tx, o delivery.Operation, _ db.AlertDlqOperation, _ int64) error {
		if o.State != delivery.OperationRunning {
			return fault.New(fault.Conflict, "operation %s is %s already", id, o.State)
		}
		reason := "cancelled by " + by.Actor
		if by.Reason != "" {
			reason += ": " + by.Reason
		}
		return q.EndOperation(ctx, db.EndOperationParams{
			ID: id, State: string(delivery.OperationCancelled), StopReason: &reason, EndedAt: s.now().UTC(),
		})
	})
}

// ContinueOperation takes up a stopped or cancelled operation where it ended. Its failures are counted
// anew.
func (s *Deliveries) ContinueOperation(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.Operation, error) {
	return s.changeOperation(ctx, tenantID, id, by, "operation.continue", func(q *db.Queries, tx pgx.Tx, o delivery.Operation, row db.AlertDlqOperation, failures int64) error {
		switch o.State {
		case delivery.OperationDone:
			return fault.New(fault.Conflict, "operation %s is done; start another one", id)
		case delivery.OperationRunning:
			lives, err := q.JobLives(ctx, zeroIfNil(row.JobID))
			if err != nil {
				return err
			}
			if lives {
				return fault.New(fault.Conflict, "operation %s is running", id)
			}
		default:
		}
		if o.Kind == delivery.Drain && o.State != delivery.OperationRunning {
			_, err := q.RunningDrain(ctx, tenantID, o.Endpoint)
			if err == nil {
				return fault.New(fault.Conflict, "another drain of %s is running", o.Endpoint)
			}
			if !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
		}
		job, err := s.operationJob(ctx, tx, id)
		if err != nil {
			return err
		}
		return q.ContinueOperation(ctx, db.ContinueOperationParams{ID: id, JobID: job, FailuresBefore: failures, Now: s.now().UTC()})
	})
}

func (s *Deliveries) changeOperation(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By, action string,
	change func(q *db.Queries, tx pgx.Tx, o delivery.Operation, row db.AlertDlqOperation, failures int64) error,
) (o delivery.Operation, err error) {
	by.Reason = asStorable(by.Reason)
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		row, err := q.LockOperation(ctx, tenantID, id)
		if err != nil {
			return orNotFound(err, "no operation %s", id)
		}
		counts, err := q.OperationProgress(ctx, []uuid.UUID{id})
		if err != nil {
			return fmt.Errorf("progress of operation %s: %w", id, err)
		}
		if o, err = operation(row, counts[0]); err != nil {
			return err
		}
		if err := change(q, tx, o, row, counts[0].Failures); err != nil {
			return err
		}
		if row, err = q.Operation(ctx, tenantID, id); err != nil {
			return err
		}
		if o, err = operation(row, counts[0]); err != nil {
			return err
		}
		return s.auditOperation(ctx, tx, o, by, action)
	})
	return o, err
}

// WorkSlice implements jobs.Operations.
func (s *Deliveries) WorkSlice(ctx context.Context, operationID uuid.UUID, jobID int64) (slice jobs.Slice, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		slice, err = s.workSlice(ctx, tx, operationID, jobID)
		return err
	})
	if err != nil {
		return jobs.Slice{}, err
	}
	return slice, nil
}

func (s *Deliveries) workSlice(ctx context.Context, tx pgx.Tx, operationID uuid.UUID, jobID int64) (jobs.Slice, error) {
	q := s.q.WithTx(tx)
	row, err := q.LockOperationForJob(ctx, operationID, jobID)
	if errors.Is(err, pgx.ErrNoRows) {
		return jobs.Slice{}, nil // ended, or under another job
	}
	if err != nil {
		return jobs.Slice{}, err
	}
	counts, err := q.OperationProgress(ctx, []uuid.UUID{operationID})
	if err != nil {
		return jobs.Slice{}, fmt.Errorf("progress: %w", err)
	}
	o, err := operation(row, counts[0])
	if err != nil {
		return jobs.Slice{}, err
	}
	now := s.now().UTC()
	failures := int(counts[0].Failures - row.FailuresBefore)
	if o.StopAfterFailures > 0 && failures >= o.StopAfterFailures {
		return jobs.Slice{}, s.stopOperation(ctx, tx, o, fmt.Sprintf(
			"%d letters failed, it was to stop after %d", failures, o.StopAfterFailures))
	}

	batch, err := s.nextLetters(ctx, q, o, row, o.Pace(int(row.Slices), o.Waiting), now)
	if err != nil {
		return jobs.Slice{}, err
	}
	if err := s.workLetters(ctx, tx, o, batch.letters, now); err != nil {
		return jobs.Slice{}, err
	}
	n := len(batch.letters)
	o.Released, o.Waiting = o.Released+n, o.Waiting+n
	if o.Kind == delivery.Discard {
		o.Waiting = 0
	}
	if batch.none && o.Waiting == 0 {
		if err := q.AdvanceOperation(ctx, advance(o, row, batch.cursor, row.Progress, row.ProgressAt)); err != nil {
			return jobs.Slice{}, err
		}
		err := q.EndOperation(ctx, db.EndOperationParams{ID: o.ID, State: string(delivery.OperationDone), EndedAt: now})
		if err != nil {
			return jobs.Slice{}, err
		}
		return jobs.Slice{Kind: o.Kind, Released: n}, s.auditOperation(ctx, tx, o, delivery.By{Actor: audit.System}, "operation.done")
	}
	progress, progressAt := row.Progress, row.ProgressAt
	if p := int64(2*o.Released - o.Waiting); p > progress {
		progress, progressAt = p, now
	}
	if err := q.AdvanceOperation(ctx, advance(o, row, batch.cursor, progress, progressAt)); err != nil {
		return jobs.Slice{}, err
	}
	if now.Sub(progressAt) >= operationStall {
		return jobs.Slice{}, s.stopOperation(ctx, tx, o, stalled(o, int(counts[0].Held)))
	}
	return jobs.Slice{Kind: o.Kind, Released: n, More: true}, nil
}

func advance(o delivery.Operation, row db.AlertDlqOperation, cursor uuid.UUID, progress int64, progressAt time.Time) db.AdvanceOperationParams {
	return db.AdvanceOperationParams{
		ID: o.ID, Released: int64(o.Released), CursorID: cursor, Slices: row.Slices + 1, Progress: progress, ProgressAt: progressAt,
	}
}

func stalled(o delivery.Operation, held int) string {
	if o.Waiting == 0 {
		return fmt.Sprintf("no progress for %d s: somebody else is at what is left", int(operationStall.Seconds()))
	}
	reason := fmt.Sprintf("no progress for %d s: %d released letters have not been attempted", int(operationStall.Seconds()), o.Waiting)
	if held > 0 {
		reason += fmt.Sprintf("; %d of them are held back because their endpoint fails", held)
	}
	return reason
}

func (s *Deliveries) stopOperation(ctx context.Context, tx pgx.Tx, o delivery.Operation, why string) error {
	total := strconv.Itoa(o.Total)
	if o.Total > delivery.MaxCounted {
		total = fmt.Sprintf("more than %d", delivery.MaxCounted)
	}
	reason := fmt.Sprintf("%s; of %s letters %d were released, %d of those were delivered, %d failed, %d wait, and %d are left",
		why, total, o.Released, o.Delivered, o.Failed, o.Waiting, o.Remaining())
	err := s.q.WithTx(tx).EndOperation(ctx, db.EndOperationParams{
		ID: o.ID, State: string(delivery.OperationStopped), StopReason: &reason, EndedAt: s.now().UTC(),
	})
	if err != nil {
		return err
	}
	s.log.WarnContext(ctx, "operation on dead letters stopped", "operation_id", o.ID, "kind", o.Kind, "reason", reason)
	return s.auditOperation(ctx, tx, o, delivery.By{Actor: audit.System, Reason: reason}, "operation.stop")
}

// nextBatch are the letters of one slice.
type nextBatch struct {
	letters []db.LockLettersRow
	cursor  uuid.UUID
	none    bool // no letter is left, not even one that was passed over
}

// nextLetters locks up to limit letters that the operation has not had. What is being attempted right
// now is passed over: to send it again would be to send it twice.
func (s *Deliveries) nextLetters(ctx context.Context, q *db.Queries, o delivery.Operation, row db.AlertDlqOperation, limit int, now time.Time) (nextBatch, error) {
	b := nextBatch{cursor: row.CursorID}
	if limit == 0 {
		return b, nil
	}
	found, err := s.lockLetters(ctx, q, o, row, row.CursorID, limit, now)
	if err != nil {
		return nextBatch{}, err
	}
	if len(found) > 0 {
		b.cursor = found[len(found)-1].ID
	}
	if len(found) < limit { // the end of the list: once more from its start, for those passed over
		b.cursor = uuid.Nil
	}
	if len(found) == 0 && row.CursorID == uuid.Nil { // what is locked was not found, and is left all the same
		left, err := s.anyLeft(ctx, q, o, row, now)
		if err != nil {
			return nextBatch{}, err
		}
		b.none = !left
	}
	if b.letters, err = s.withoutRunning(ctx, q, found); err != nil {
		return nextBatch{}, err
	}
	return b, nil
}

func (s *Deliveries) lockLetters(ctx context.Context, q *db.Queries, o delivery.Operation, row db.AlertDlqOperation, behind uuid.UUID, limit int, now time.Time) ([]db.LockLettersRow, error) {
	rowLimit := int32(limit) //nolint:gosec // up to MaxPerSecond
	if o.Kind == delivery.Drain {
		rows, err := q.LockWaitingLetters(ctx, db.LockWaitingLettersParams{
			TenantID: o.TenantID, Endpoint: o.Endpoint, Behind: behind, LastID: row.LastID, OperationID: o.ID, Now: now, RowLimit: rowLimit,
		})
		if err != nil {
			return nil, fmt.Errorf("lock letters: %w", err)
		}
		return answers(rows, func(r db.LockWaitingLettersRow) db.LockLettersRow { return db.LockLettersRow(r) }), nil
	}
	p, err := s.matching(o.TenantID, o.Kind, o.Filter)
	if err != nil {
		return nil, err
	}
	p.Behind, p.LastID, p.OperationID, p.RowLimit = behind, row.LastID, o.ID, rowLimit
	rows, err := q.LockLetters(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("lock letters: %w", err)
	}
	return rows, nil
}

// anyLeft reports whether there is a letter that the operation has not had, whoever is at it.
func (s *Deliveries) anyLeft(ctx context.Context, q *db.Queries, o delivery.Operation, row db.AlertDlqOperation, now time.Time) (bool, error) {
	if o.Kind == delivery.Drain {
		n, err := q.CountWaitingLetters(ctx, db.CountWaitingLettersParams{
			TenantID: o.TenantID, Endpoint: o.Endpoint, Now: now, LastID: &row.LastID, OperationID: &o.ID, RowLimit: 1,
		})
		if err != nil {
			return false, fmt.Errorf("count waiting letters of %s: %w", o.Endpoint, err)
		}
		return n > 0, nil
	}
	p, err := s.matching(o.TenantID, o.Kind, o.Filter)
	if err != nil {
		return false, err
	}
	p.LastID, p.OperationID = row.LastID, o.ID
	n, err := countLetters(ctx, q, p, 1)
	return n > 0, err
}

// withoutRunning drops the waiting jobs of letters, so that nobody begins them, and returns the
// letters that no job is at.
func (*Deliveries) withoutRunning(ctx context.Context, q *db.Queries, letters []db.LockLettersRow) ([]db.LockLettersRow, error) {
	var ids []int64
	for _, l := range letters {
		if l.JobID != nil {
			ids = append(ids, *l.JobID)
		}
	}
	if ids == nil {
		return letters, nil
	}
	if err := q.DropIdleJobs(ctx, ids); err != nil {
		return nil, fmt.Errorf("drop jobs: %w", err)
	}
	running, err := q.RemainingJobs(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("running jobs: %w", err)
	}
	return slices.DeleteFunc(letters, func(l db.LockLettersRow) bool { return l.JobID != nil && slices.Contains(running, *l.JobID) }), nil
}

func (s *Deliveries) workLetters(ctx context.Context, tx pgx.Tx, o delivery.Operation, letters []db.LockLettersRow, now time.Time) error {
	if len(letters) == 0 {
		return nil
	}
	if o.Kind == delivery.Discard {
		ids := answers(letters, func(l db.LockLettersRow) uuid.UUID { return l.ID })
		if _, err := s.q.WithTx(tx).DiscardLetters(ctx, now, &o.ID, ids); err != nil {
			return fmt.Errorf("discard letters: %w", err)
		}
		return nil
	}
	return s.release(ctx, tx, letters, &o.ID, o.Kind == delivery.Replay, now)
}

// release makes letters due within a slice's time, under new jobs: one after the other, for a small
// receiver does not stand all of them at once. restart begins their schedule again.
func (s *Deliveries) release(ctx context.Context, tx pgx.Tx, letters []db.LockLettersRow, operationID *uuid.UUID, restart bool, now time.Time) error {
	p := db.ReleaseLettersParams{OperationID: operationID, Restart: restart}
	retries := make([]river.InsertManyParams, len(letters))
	for i, l := range letters {
		due := now.Add(jobs.OperationSlice * time.Duration(i) / time.Duration(len(letters)))
		p.Ids, p.NextRetryAts = append(p.Ids, l.ID), append(p.NextRetryAts, due)
		retries[i] = s.retryJob(l.ID, due, zeroIfNil(l.Traceparent))
	}
	inserted, err := s.jobs.InsertManyTx(ctx, tx, retries)
	if err != nil {
		return fmt.Errorf("insert retry jobs: %w", err)
	}
	for _, r := range inserted {
		p.JobIds = append(p.JobIds, r.Job.ID)
	}
	if _, err := s.q.WithTx(tx).ReleaseLetters(ctx, p); err != nil {
		return fmt.Errorf("release letters: %w", err)
	}
	return nil
}

// ReplayDeadLetter makes one letter due now, and begins its schedule again. It may be pending,
// exhausted or discarded.
func (s *Deliveries) ReplayDeadLetter(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.DeadLetter, error) {
	return s.changeLetter(ctx, tenantID, id, by, "dead_letter.replay", func(tx pgx.Tx, row db.LockLetterRow, now time.Time) error {
		l := row.AlertDlq
		switch {
		case l.State == string(delivery.Superseded), row.Resolved:
			return fault.New(fault.Conflict, "a later event has ended what dead letter %s is about; sent now, it would say the opposite", id)
		case l.State == string(delivery.Expired), l.ExpiresAt != nil && !l.ExpiresAt.After(now):
			return fault.New(fault.Conflict, "the time to live of dead letter %s ended at %s; deliver the message again if it still matters",
				id, zeroIfNil(l.ExpiresAt).UTC().Format(time.RFC3339))
		}
		letters := []db.LockLettersRow{{ID: l.ID, EventID: l.EventID, Target: l.Target, JobID: l.JobID, Traceparent: l.Traceparent}}
		letters, err := s.withoutRunning(ctx, s.q.WithTx(tx), letters)
		if err != nil {
			return err
		}
		if len(letters) == 0 {
			return fault.New(fault.Conflict, "dead letter %s is being attempted right now", id)
		}
		return s.release(ctx, tx, letters, nil, true, now)
	})
}

// DiscardDeadLetter closes one letter unsent. It may be pending or exhausted. An attempt that is under
// way is not stopped: should it succeed, the letter counts as delivered after all.
func (s *Deliveries) DiscardDeadLetter(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.DeadLetter, error) {
	return s.changeLetter(ctx, tenantID, id, by, "dead_letter.discard", func(tx pgx.Tx, row db.LockLetterRow, now time.Time) error {
		l := row.AlertDlq
		if l.State != string(delivery.Pending) && l.State != string(delivery.Exhausted) {
			return fault.New(fault.Conflict, "dead letter %s is %s already; only pending and exhausted ones can be discarded", id, l.State)
		}
		q := s.q.WithTx(tx)
		if l.JobID != nil {
			if err := q.DropIdleJobs(ctx, []int64{*l.JobID}); err != nil {
				return fmt.Errorf("drop job: %w", err)
			}
		}
		if _, err := q.DiscardLetters(ctx, now, nil, []uuid.UUID{id}); err != nil {
			return fmt.Errorf("discard dead letter %s: %w", id, err)
		}
		return nil
	})
}

func (s *Deliveries) changeLetter(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By, action string,
	change func(tx pgx.Tx, row db.LockLetterRow, now time.Time) error,
) (l delivery.DeadLetter, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		row, err := q.LockLetter(ctx, tenantID, id)
		if err != nil {
			return orNotFound(err, "no dead letter %s; one that was delivered has left the queue", id)
		}
		now := s.now().UTC()
		if err := change(tx, row, now); err != nil {
			return err
		}
		changed, err := q.DeadLetter(ctx, tenantID, id)
		if err != nil {
			return err
		}
		if l, err = deadLetter(changed); err != nil {
			return err
		}
		detail, err := json.Marshal(map[string]string{
			"event_id": row.AlertDlq.EventID.String(), "target": row.AlertDlq.Target, "state_before": row.AlertDlq.State,
		})
		if err != nil {
			return err
		}
		return addAudit(ctx, tx, audit.Entry{
			TenantID: tenantID, At: now, Actor: by.Actor, Action: action, Subject: "dead_letter", SubjectID: id.String(),
			Reason: by.Reason, Detail: detail,
		})
	})
	return l, err
}

// LetterCounts counts the letters that match by state and cause. complete is false when there are more than
// were looked at, delivery.MaxCounted.
func (s *Deliveries) LetterCounts(ctx context.Context, tenantID string, f delivery.LetterFilter) (counts []delivery.LetterCount, complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	rows, err := s.lists.LetterCounts(ctx, db.LetterCountsParams{
		TenantID: tenantID, States: statesOf(f), Channel: nilIfZero(f.Channel), Target: nilIfZero(targetOf(f.Destination)),
		AlertID: nilIfZero(f.AlertID), UserID: nilIfZero(f.UserID), Cause: nilIfZero(string(f.Cause)), OperationID: nilIfZero(f.OperationID),
		CreatedAfter: nilIfZero(f.CreatedAfter), CreatedBefore: nilIfZero(f.CreatedBefore), Search: nilIfZero(f.Search),
		RowLimit: delivery.MaxCounted + 1,
	})
	if err != nil {
		return nil, false, tooMany(err, "count dead letters by cause")
	}
	looked := 0
	for _, r := range rows {
		looked += int(r.Letters)
		counts = append(counts, delivery.LetterCount{
			State: delivery.State(r.State), Cause: delivery.Cause(r.Cause), Letters: int(r.Letters), Oldest: r.Oldest.UTC(),
		})
	}
	return counts, looked <= delivery.MaxCounted, nil
}

// DeadLetterStats tells what is in the queue: the accounts, and open letters in groups.
func (s *Deliveries) DeadLetterStats(ctx context.Context, tenantID string) (delivery.Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	accounts, err := s.q.Accounts(ctx)
	if err != nil {
		return delivery.Stats{}, tooMany(err, "accounts")
	}
	groups, err := s.q.OpenLetterGroups(ctx, tenantID, delivery.MaxCounted)
	if err != nil {
		return delivery.Stats{}, tooMany(err, "group dead letters")
	}
	stats := delivery.Stats{Balances: []delivery.LetterBalance{}}
	for _, a := range accounts {
		switch state := delivery.State(a.Account); state {
		case delivery.Pending, delivery.Exhausted, delivery.Discarded, delivery.Expired, delivery.Superseded:
			if a.TenantID == tenantID && a.Balance != 0 {
				stats.Balances = append(stats.Balances, delivery.LetterBalance{Channel: a.Channel, State: state, Letters: a.Balance})
			}
		default: // what is no dead letter
		}
	}
	slices.SortFunc(stats.Balances, func(a, b delivery.LetterBalance) int {
		return strings.Compare(a.Channel+"\x00"+string(a.State), b.Channel+"\x00"+string(b.State))
	})
	looked := 0
	for _, g := range groups {
		n, oldest := int(g.Letters), g.Oldest.UTC()
		looked += n
		stats.Channels = addGroup(stats.Channels, g.Channel, n, oldest)
		stats.Causes = addGroup(stats.Causes, g.Cause, n, oldest)
		i := slices.IndexFunc(stats.Destinations, func(t delivery.TargetGroup) bool { return t.Target == g.Target })
		if i < 0 { // groups come largest first, so that its first one has the cause that most have
			i = len(stats.Destinations)
			stats.Destinations = append(stats.Destinations, delivery.TargetGroup{
				Target: g.Target, Channel: g.Channel, Cause: delivery.Cause(g.Cause), Oldest: oldest,
			})
		}
		t := &stats.Destinations[i]
		t.Letters += n
		if oldest.Before(t.Oldest) {
			t.Oldest = oldest
		}
	}
	stats.Complete = looked < delivery.MaxCounted
	return stats, nil
}

func addGroup(groups []delivery.LetterGroup, name string, n int, oldest time.Time) []delivery.LetterGroup {
	i := slices.IndexFunc(groups, func(g delivery.LetterGroup) bool { return g.Name == name })
	if i < 0 {
		return append(groups, delivery.LetterGroup{Name: name, Letters: n, Oldest: oldest})
	}
	groups[i].Letters += n
	if oldest.Before(groups[i].Oldest) {
		groups[i].Oldest = oldest
	}
	return groups
}
