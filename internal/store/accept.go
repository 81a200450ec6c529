package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store/db"
)

// Accept implements delivery.Journal. One that is a deadlock's victim is made again: acceptances take keys in
// order, but verdicts, discards and what ends a subject give them back in any.
func (s *Deliveries) Accept(ctx context.Context, as []delivery.Acceptance, idem *delivery.Idempotency) ([]delivery.Accepted, *delivery.Earlier, error) {
	for tries := 1; ; tries++ {
		accepted, earlier, err := s.accept(ctx, as, idem)
		if err == nil {
			return accepted, earlier, nil
		}
		if !deadlocked(err) || tries == acceptTries {
			return nil, nil, unstorable(err)
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(time.Duration(tries) * acceptPause):
		}
	}
}

const (
	// acceptTries is how often an acceptance is made that comes to nothing but deadlocks. PostgreSQL takes a
	// second to find one.
	acceptTries = 3
	// acceptPause is left to the other, times the tries: made again at once, an acceptance can have its first key
	// before the one that has been waiting for it, and be in its way again.
	acceptPause = 50 * time.Millisecond
)

// deadlocked reports whether err says that a transaction was rolled back for others that waited for it.
func deadlocked(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "40P01"
}

// accept accepts events. A single one without a key goes along with those of other callers.
func (s *Deliveries) accept(ctx context.Context, as []delivery.Acceptance, idem *delivery.Idempotency) (accepted []delivery.Accepted, earlier *delivery.Earlier, err error) {
	if len(as) == 1 && idem == nil {
		one, err := s.accepting.do(ctx, as[0])
		return []delivery.Accepted{one}, nil, err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		if idem != nil {
			if earlier, err = s.claimKey(ctx, tx, as, *idem); err != nil || earlier != nil {
				return err
			}
		}
		accepted, err = s.AcceptTx(ctx, tx, as)
		return err
	})
	return accepted, earlier, err
}

// claimKey takes the idempotency key, or returns what came of the request that has it.
func (s *Deliveries) claimKey(ctx context.Context, tx pgx.Tx, as []delivery.Acceptance, idem delivery.Idempotency) (*delivery.Earlier, error) {
	ids := make([]uuid.UUID, len(as))
	for i, a := range as {
		ids[i] = a.Event.ID
	}
	row, err := claimKey(ctx, s.q.WithTx(tx), db.ClaimIdempotencyKeyParams{
		TenantID: idem.TenantID, Key: idem.Key, Request: idem.Request, EventIds: ids, Now: s.now().UTC(), ExpiresAt: idem.ExpiresAt,
	})
	return toEarlier(row), err
}

// Earlier implements delivery.Journal.
func (s *Deliveries) Earlier(ctx context.Context, idem delivery.Idempotency) (*delivery.Earlier, error) {
	row, err := usedKey(ctx, s.q, idem.TenantID, idem.Key, idem.Request, s.now().UTC())
	return toEarlier(row), err
}

func toEarlier(row *db.IdempotencyKey) *delivery.Earlier {
	if row == nil {
		return nil
	}
	return &delivery.Earlier{EventIDs: row.EventIds, Answer: row.Answer}
}

// RecordAnswer implements delivery.Journal.
func (s *Deliveries) RecordAnswer(ctx context.Context, idem delivery.Idempotency, answer json.RawMessage) error {
	return s.q.RecordAnswer(ctx, answer, idem.TenantID, idem.Key)
}

// unstorable tells values that PostgreSQL has no form for (NUL characters, lone surrogates, numbers
// beyond its numeric type) from failures of ours.
func unstorable(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pg.Code, dataException) {
		return fault.Wrap(err, fault.Invalid, "the event holds a value that can't be stored: %s", pg.Message)
	}
	return orForbidden(err)
}

// dataException is the class of PostgreSQL's errors about values.
const dataException = "22"

// AcceptTx accepts events in a transaction of the caller's, which commits them with what caused them.
func (s *Deliveries) AcceptTx(ctx context.Context, tx pgx.Tx, as []delivery.Acceptance) ([]delivery.Accepted, error) {
	jobIDs, err := s.insertFirsts(ctx, tx, as)
	if err != nil {
		return nil, err
	}
	q := s.q.WithTx(tx)
	accepted := make([]delivery.Accepted, len(as))
	// Events with the same key can't be in one statement: the first of them goes ahead.
	for rest := indices(len(as)); len(rest) > 0; {
		var now, later []int
		for _, i := range rest {
			if slices.ContainsFunc(now, func(j int) bool { return sameKey(as[j], as[i]) }) {
				later = append(later, i)
			} else {
				now = append(now, i)
			}
		}
		unnamed, err := s.acceptEvents(ctx, q, as, now, jobIDs, accepted)
		if err != nil {
			return nil, err
		}
		if err := nameHolders(ctx, q, unnamed); err != nil {
			return nil, err
		}
		rest = later
	}
	for i, a := range as {
		if err := s.supersede(ctx, q, a.Event, !slices.Contains(accepted[i].Duplicates, uuid.Nil)); err != nil {
			return nil, err
		}
		for j, t := range a.Event.Targets { // nobody makes the first attempt of a duplicate
			job := jobIDs[unit{a.Event.ID, t.Key()}]
			if job == 0 || accepted[i].Duplicates[j] == uuid.Nil {
				continue
			}
			if _, err := s.jobs.JobDeleteTx(ctx, tx, job); err != nil {
				return nil, fmt.Errorf("delete delivery job %d: %w", job, err)
			}
		}
	}
	return accepted, nil
}

// acceptAll is what a group of callers shares. Nothing in it has the same key. Written again, it says what
// came of it the first time.
func (s *Deliveries) acceptAll(ctx context.Context, as []delivery.Acceptance) ([]delivery.Accepted, error) {
	accepted, err := s.acceptNew(ctx, as)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == uniqueViolation {
		before, lookErr := s.acceptedBefore(ctx, as)
		if lookErr != nil || before != nil {
			return before, lookErr
		}
	}
	return accepted, err
}

func (s *Deliveries) acceptNew(ctx context.Context, as []delivery.Acceptance) ([]delivery.Accepted, error) {
	alone := func(a delivery.Acceptance) bool { return a.Later || a.Event.Resolves }
	if !slices.ContainsFunc(as, alone) { // one statement is a transaction of its own
		accepted := make([]delivery.Accepted, len(as))
		unnamed, err := s.acceptEvents(ctx, s.q, as, indices(len(as)), nil, accepted)
		if err != nil {
			return nil, err
		}
		if err := nameHolders(ctx, s.q, unnamed); err != nil { // what is accepted is accepted
			s.log.WarnContext(ctx, "duplicates accepted, the events that they repeat not found out", "count", len(unnamed), "err", err)
		}
		return accepted, nil
	}
	var accepted []delivery.Accepted
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		accepted, err = s.AcceptTx(ctx, tx, as)
		return err
	})
	return accepted, err
}

// acceptedBefore returns what acceptNew returned for as, or would have, had its caller's connection not ended
// after the commit; nil where not all of as are accepted.
func (s *Deliveries) acceptedBefore(ctx context.Context, as []delivery.Acceptance) ([]delivery.Accepted, error) {
	rows, err := s.q.AcceptedBefore(ctx, answers(as, func(a delivery.Acceptance) uuid.UUID { return a.Event.ID }))
	if err != nil {
		return nil, fmt.Errorf("look up accepted events: %w", err)
	}
	events, duplicates := make(map[uuid.UUID]bool, len(as)), make(map[unit]uuid.UUID)
	for _, r := range rows {
		events[r.ID] = true
		if r.Target != nil {
			duplicates[unit{r.ID, *r.Target}] = cmp.Or(zeroIfNil(r.OfEventID), unknownHolder)
		}
	}
	if len(events) < len(as) {
		return nil, nil
	}
	return answers(as, func(a delivery.Acceptance) delivery.Accepted {
		return delivery.Accepted{Duplicates: answers(a.Event.Targets, func(t delivery.Target) uuid.UUID {
			return duplicates[unit{a.Event.ID, t.Key()}]
		})}
	}), nil
}

// uniqueViolation is PostgreSQL's code for a row that is there already.
const uniqueViolation = "23505"

// unknownHolder stands for the event of which another is a duplicate, where it is not known.
var unknownHolder = uuid.Max

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// sameKey reports whether one could be a duplicate of the other.
func sameKey(a, b delivery.Acceptance) bool {
	if a.Event.TenantID != b.Event.TenantID {
		return false
	}
	for _, key := range a.Keys {
		for _, other := range b.Keys {
			if bytes.Equal(key, other) {
				return true
			}
		}
	}
	return false
}

// insertFirsts puts in the jobs of those events whose first attempts are for the worker. It returns
// their ids by event and target.
func (s *Deliveries) insertFirsts(ctx context.Context, tx pgx.Tx, as []delivery.Acceptance) (map[unit]int64, error) {
	var params []river.InsertManyParams
	var units []unit
	for _, a := range as {
		if !a.Later {
			continue
		}
		for _, t := range a.Event.Targets {
			units = append(units, unit{a.Event.ID, t.Key()})
			params = append(params, firstJob(a.Event, t.Key(), time.Time{}))
		}
	}
	if len(params) == 0 {
		return nil, nil
	}
	inserted, err := s.jobs.InsertManyTx(ctx, tx, params)
	if err != nil {
		return nil, fmt.Errorf("insert delivery jobs: %w", err)
	}
	ids := make(map[unit]int64, len(units))
	for i, u := range units {
		ids[u] = inserted[i].Job.ID
	}
	return ids, nil
}

// unit is an event on a target.
type unit struct {
	event  uuid.UUID
	target string
}

func firstJob(e delivery.Event, target string, at time.Time) river.InsertManyParams {
	opts := &river.InsertOpts{ScheduledAt: at}
	if e.TraceParent != "" {
		opts.Metadata = jobs.TraceMetadata(e.TraceParent)
	}
	return river.InsertManyParams{Args: jobs.DeliverArgs{EventID: e.ID, Target: target}, InsertOpts: opts}
}

// wantedUnit is a unit that is to be accepted.
type wantedUnit struct {
	unit
	tenant, channel string
	acceptedAt      time.Time
	key             []byte
	keep            time.Time
	job             int64
	answer          *uuid.UUID // what it is a duplicate of
}

// acceptEvents writes the events of as that are named by index, and fills in their accepted. It returns the
// duplicates whose holders are not known yet.
func (s *Deliveries) acceptEvents(
	ctx context.Context, q *db.Queries, as []delivery.Acceptance, which []int, jobIDs map[unit]int64, accepted []delivery.Accepted,
) (unnamed []wantedUnit, err error) {
	p := db.AcceptEventsParams{Now: s.now().UTC()}
	var units []wantedUnit
	for _, i := range which {
		e := as[i].Event
		channels, err := targetsByKey(e.Targets)
		if err != nil {
			return nil, err
		}
		fallback := ""
		if len(e.Fallback) > 0 {
			if fallback, err = targetsByKey(e.Fallback); err != nil {
				return nil, err
			}
		}
		p.Ids, p.TenantIds, p.AlertIds = append(p.Ids, e.ID), append(p.TenantIds, e.TenantID), append(p.AlertIds, e.AlertID)
		p.UserIds, p.Titles, p.Messages = append(p.UserIds, e.UserID), append(p.Titles, e.Title), append(p.Messages, e.Message)
		p.Severities, p.Datas, p.Channels = append(p.Severities, string(e.Severity)), append(p.Datas, string(e.Data)), append(p.Channels, channels)
		p.Traceparents, p.AcceptedAts = append(p.Traceparents, e.TraceParent), append(p.AcceptedAts, e.AcceptedAt)
		p.Sources, p.Subjects = append(p.Sources, string(e.Source)), append(p.Subjects, e.Subject)
		p.Resolves, p.ExpiresAts, p.Fallbacks = append(p.Resolves, e.Resolves), append(p.ExpiresAts, e.ExpiresAt), append(p.Fallbacks, fallback)
		accepted[i].Duplicates = make([]uuid.UUID, len(e.Targets))
		for j, t := range e.Targets {
			w := wantedUnit{
				unit: unit{e.ID, t.Key()}, tenant: e.TenantID, channel: t.Channel, acceptedAt: e.AcceptedAt,
				key: []byte{}, keep: as[i].KeepUntil, answer: &accepted[i].Duplicates[j],
			}
			w.job = jobIDs[w.unit]
			if as[i].Keys != nil {
				w.key = as[i].Keys[j]
			}
			units = append(units, w)
		}
	}
	slices.SortFunc(units, func(a, b wantedUnit) int { return bytes.Compare(a.key, b.key) })
	byUnit := make(map[unit]wantedUnit, len(units))
	for _, w := range units {
		byUnit[w.unit] = w
		p.UnitEventIds, p.UnitTenantIds = append(p.UnitEventIds, w.event), append(p.UnitTenantIds, w.tenant)
		p.UnitTargets, p.UnitChannels = append(p.UnitTargets, w.target), append(p.UnitChannels, w.channel)
		p.UnitAcceptedAts, p.UnitKeys = append(p.UnitAcceptedAts, w.acceptedAt), append(p.UnitKeys, w.key)
		p.UnitKeepUntils, p.UnitJobs = append(p.UnitKeepUntils, w.keep), append(p.UnitJobs, w.job)
	}
	duplicates, err := q.AcceptEvents(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, d := range duplicates {
		w := byUnit[unit{d.EventID, d.Target}]
		if d.OfEventID != nil {
			*w.answer = *d.OfEventID
			continue
		}
		*w.answer = unknownHolder
		unnamed = append(unnamed, w)
	}
	return unnamed, nil
}

// nameHolders finds out what duplicates are duplicates of.
func nameHolders(ctx context.Context, q *db.Queries, unnamed []wantedUnit) error {
	if len(unnamed) == 0 {
		return nil
	}
	var p db.NameHoldersParams
	byUnit := make(map[unit]wantedUnit, len(unnamed))
	for _, w := range unnamed {
		byUnit[w.unit] = w
		p.EventIds, p.Targets = append(p.EventIds, w.event), append(p.Targets, w.target)
		p.TenantIds, p.Keys = append(p.TenantIds, w.tenant), append(p.Keys, w.key)
	}
	named, err := q.NameHolders(ctx, p)
	if err != nil {
		return err
	}
	for _, n := range named {
		*byUnit[unit{n.EventID, n.Target}].answer = *n.OfEventID
	}
	return nil
}

// supersede closes what is open of a subject that e ends. An event that only repeats another ends
// nothing: it may come late, such as the copy of another member of Alertmanager's cluster.
func (s *Deliveries) supersede(ctx context.Context, q *db.Queries, e delivery.Event, repetition bool) error {
	if !e.Resolves || e.Subject == "" {
		return nil
	}
	if repetition {
		return q.EndsNothing(ctx, e.ID)
	}
	now := s.now().UTC()
	closed, err := q.Supersede(ctx, db.SupersedeParams{Now: &now, TenantID: e.TenantID, Subject: &e.Subject, ResolvedAt: e.AcceptedAt})
	if err != nil {
		return err
	}
	var idle []int64
	for _, l := range closed {
		if l.JobID != nil {
			idle = append(idle, *l.JobID)
		}
		s.log.InfoContext(ctx, "dead letter superseded: a later event ended what it was about",
			"dead_letter_id", l.ID, "event_id", l.EventID, "by_event_id", e.ID)
	}
	if idle == nil {
		return nil
	}
	return q.DropIdleJobs(ctx, idle)
}
