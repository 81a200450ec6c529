package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/store/db"
	"github.com/dawsos/dawsos/pkg/agent"
)

// constraintViolation is the class of PostgreSQL's errors about rows that a table does not take.
const constraintViolation = "23"

// InsertRuns records runs, those of a tenant all or none, as nobody may record one for another. A run that
// is there already is left as it is, so that a batch whose fate is unknown can be sent again.
// [fault.Invalid] says that one of the runs can't be stored at all; any other failure may pass.
func (s *Store) InsertRuns(ctx context.Context, recorded []patterns.Run) error {
	var tenants []string // in order of their first run
	rows := make(map[string][]db.InsertRunParams, 1)
	for _, r := range recorded {
		row, err := runRow(r)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "run %q can't be recorded", r.ID)
		}
		if rows[r.TenantID] == nil {
			tenants = append(tenants, r.TenantID)
		}
		rows[r.TenantID] = append(rows[r.TenantID], row)
	}
	for _, tenant := range tenants {
		err := s.insertRuns(auth.With(ctx, auth.System(tenant)), rows[tenant])
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok &&
			(strings.HasPrefix(pg.Code, dataException) || strings.HasPrefix(pg.Code, constraintViolation)) {
			return fault.Wrap(err, fault.Invalid, "a run holds a value that can't be recorded: %s", pg.Message)
		}
		if err != nil {
			return fmt.Errorf("record %d runs: %w", len(rows[tenant]), err)
		}
	}
	return nil
}

// insertRuns records those runs that are not there yet. Not with COPY, which costs half as much: it does not
// go along with row level security.
func (s *Store) insertRuns(ctx context.Context, rows []db.InsertRunParams) error {
	// A transaction of its own, although a batch is one by itself: the batch's is over only when its
	// results are closed, and what goes wrong then the generated code does not tell.
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var failed error
		s.q.WithTx(tx).InsertRun(ctx, rows).Exec(func(_ int, err error) {
			if failed == nil { // what follows the first failure fails for that reason
				failed = err
			}
		})
		return failed
	})
}

func runRow(r patterns.Run) (db.InsertRunParams, error) {
	id, err := uuid.Parse(r.ID)
	if err != nil {
		return db.InsertRunParams{}, fmt.Errorf("id: %w", err)
	}
	pack, err := uuid.Parse(r.Context.PricingPack.ID)
	if err != nil {
		return db.InsertRunParams{}, fmt.Errorf("pricing pack's id: %w", err)
	}
	row := db.InsertRunParams{
		ID: id, TenantID: r.TenantID, RequestID: asStorable(r.RequestID), TraceID: r.Context.TraceID,
		UserID: orNull(asStorable(r.UserID)), PatternID: r.PatternID, DefinitionHash: r.DefinitionHash,
		Asof: r.Context.Asof, RequireFresh: r.RequireFresh,
		PricingPackID: pack, PricingPackDate: r.Context.PricingPack.Date,
		PricingPackRevision: r.Context.PricingPack.Revision, PricingPackHash: r.Context.PricingPack.Hash,
		StartedAt: r.StartedAt, DurationSeconds: r.Duration.Seconds(), Outcome: string(runs.OutcomeOf(r)),
		ErrorCode: orNull(string(r.ErrorCode)), ErrorDetail: orNull(asStorable(r.ErrorDetail)), DataHash: orNull(r.DataHash),
	}
	if p := r.Context.Portfolio; p != nil {
		portfolioID, err := uuid.Parse(p.ID)
		if err != nil {
			return db.InsertRunParams{}, fmt.Errorf("portfolio's id: %w", err)
		}
		row.PortfolioID, row.BaseCurrency = &portfolioID, &p.BaseCurrency
		row.LedgerVersion, row.LedgerSeq = &p.LedgerVersion, &p.LedgerSeq
	}
	for _, part := range []struct {
		name  string
		value any
		at    *[]byte
	}{
		{"inputs", nonNilMap(r.Inputs), &row.Inputs}, {"warnings", nonNil(r.Warnings), &row.Warnings}, {"trace", r.Trace, &row.Trace},
	} {
		if *part.at, err = json.Marshal(part.value); err != nil {
			return db.InsertRunParams{}, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return row, nil
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func nonNilMap(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// Run returns one recorded run, complete: numbers of its inputs are json.Number, its start is kept
// to the microsecond. An id that is none of the tenant's, or no UUID at all, is [fault.NotFound].
func (s *Store) Run(ctx context.Context, tenantID, id string) (patterns.Run, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return patterns.Run{}, fault.Wrap(err, fault.NotFound, "there is no run %q", id)
	}
	row, err := s.q.Run(ctx, tenantID, key)
	if err != nil {
		return patterns.Run{}, fmt.Errorf("run %s: %w", id, orNotFound(err, "there is no run %q; one that has just ended is there in a moment, and at once when it was asked for with record=true", id))
	}
	r, err := toRun(db.RunsRow{
		ID: row.ID, TenantID: row.TenantID, RequestID: row.RequestID, TraceID: row.TraceID, UserID: row.UserID,
		PatternID: row.PatternID, DefinitionHash: row.DefinitionHash, Inputs: row.Inputs, Asof: row.Asof,
		RequireFresh: row.RequireFresh, PricingPackID: row.PricingPackID, PricingPackDate: row.PricingPackDate,
		PricingPackRevision: row.PricingPackRevision, PricingPackHash: row.PricingPackHash,
		PortfolioID: row.PortfolioID, BaseCurrency: row.BaseCurrency, LedgerVersion: row.LedgerVersion, LedgerSeq: row.LedgerSeq,
		StartedAt: row.StartedAt, DurationSeconds: row.DurationSeconds, Outcome: row.Outcome,
		ErrorCode: row.ErrorCode, ErrorDetail: row.ErrorDetail, Warnings: row.Warnings, DataHash: row.DataHash,
	})
	if err == nil {
		err = json.Unmarshal(row.Trace, &r.Trace)
	}
	if err != nil {
		return patterns.Run{}, fmt.Errorf("run %s as recorded: %w", id, err)
	}
	return r, nil
}

// Runs lists up to limit runs that f selects behind a cursor, the latest started first, and the
// cursor that leads on; it is nil at the list's end. Traces are left out, and so are inputs of more
// than some kilobytes, which are then nil: [Store.Run] has them.
func (s *Store) Runs(
	ctx context.Context, tenantID string, f runs.Filter, behind runs.Cursor, limit int,
) ([]patterns.Run, *runs.Cursor, error) {
	rows, err := s.runRows(ctx, tenantID, f, behind, limit+1) // one more tells whether the list goes on
	if err != nil {
		return nil, nil, err
	}
	var next *runs.Cursor
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = &runs.Cursor{StartedAt: last.StartedAt.UTC(), ID: last.ID.String()}
	}
	list := make([]patterns.Run, len(rows))
	for i, row := range rows {
		if list[i], err = toRun(row); err != nil {
			return nil, nil, fmt.Errorf("run %s as recorded: %w", row.ID, err)
		}
	}
	return list, next, nil
}

// runRows asks by the statement whose index answers f.
func (s *Store) runRows(
	ctx context.Context, tenantID string, f runs.Filter, behind runs.Cursor, limit int,
) ([]db.RunsRow, error) {
	p := db.RunsParams{
		TenantID: tenantID, BeforeStart: endOfTime, Since: f.Since, Outcome: orNull(string(f.Outcome)),
		RowLimit: int32(limit), //nolint:gosec // of a page
	}
	if behind.ID != "" {
		var err error
		if p.BeforeID, err = uuid.Parse(behind.ID); err != nil {
			return nil, fault.InvalidField("/query/cursor", "is not a cursor of this list")
		}
		p.BeforeStart = behind.StartedAt
	}
	if !f.Until.IsZero() && !f.Until.After(p.BeforeStart) {
		// No id comes before the zero UUID: a run that started at Until itself is left out.
		p.BeforeStart, p.BeforeID = f.Until, uuid.Nil
	}
	if !storable(f.PatternID) || !storable(string(f.Outcome)) { // that of no run, and would fail the query
		return nil, nil
	}
	rows := []db.RunsRow{}
	switch {
	case f.PortfolioID != "":
		portfolioID, err := uuid.Parse(f.PortfolioID)
		if err != nil {
			return nil, nil //nolint:nilerr // that of no run
		}
		found, err := s.q.RunsOfPortfolio(ctx, db.RunsOfPortfolioParams{
			TenantID: p.TenantID, BeforeStart: p.BeforeStart, BeforeID: p.BeforeID, Since: p.Since,
			PortfolioID: portfolioID, PatternID: orNull(f.PatternID), Outcome: p.Outcome, RowLimit: p.RowLimit,
		})
		if err != nil {
			return nil, fmt.Errorf("runs of portfolio %s of tenant %s: %w", f.PortfolioID, tenantID, err)
		}
		for _, row := range found {
			rows = append(rows, db.RunsRow(row))
		}
	case f.Outcome == runs.Error:
		found, err := s.q.FailedRuns(ctx, db.FailedRunsParams{
			TenantID: p.TenantID, BeforeStart: p.BeforeStart, BeforeID: p.BeforeID, Since: p.Since,
			PatternID: orNull(f.PatternID), RowLimit: p.RowLimit,
		})
		if err != nil {
			return nil, fmt.Errorf("failed runs of tenant %s: %w", tenantID, err)
		}
		for _, row := range found {
			rows = append(rows, db.RunsRow(row))
		}
	case f.PatternID != "":
		found, err := s.q.RunsOfPattern(ctx, db.RunsOfPatternParams{
			TenantID: p.TenantID, BeforeStart: p.BeforeStart, BeforeID: p.BeforeID, Since: p.Since,
			PatternID: f.PatternID, Outcome: p.Outcome, RowLimit: p.RowLimit,
		})
		if err != nil {
			return nil, fmt.Errorf("runs of pattern %s of tenant %s: %w", f.PatternID, tenantID, err)
		}
		for _, row := range found {
			rows = append(rows, db.RunsRow(row))
		}
	default:
		var err error
		if rows, err = s.q.Runs(ctx, p); err != nil {
			return nil, fmt.Errorf("runs of tenant %s: %w", tenantID, err)
		}
	}
	return rows, nil
}

func toRun(row db.RunsRow) (patterns.Run, error) {
	r := patterns.Run{
		ID: row.ID.String(), TenantID: row.TenantID, RequestID: row.RequestID, UserID: deref(row.UserID),
		PatternID: row.PatternID, DefinitionHash: row.DefinitionHash, RequireFresh: row.RequireFresh,
		Context: agent.Context{
			TenantID: row.TenantID, RequestID: row.RequestID, TraceID: row.TraceID, UserID: deref(row.UserID),
			Asof: row.Asof,
			PricingPack: agent.Pack{
				ID: row.PricingPackID.String(), Date: row.PricingPackDate,
				Revision: row.PricingPackRevision, Hash: row.PricingPackHash,
			},
		},
		StartedAt: row.StartedAt.UTC(),
		Duration:  time.Duration(math.Round(row.DurationSeconds * float64(time.Second))),
		DataHash:  deref(row.DataHash), ErrorCode: fault.Code(deref(row.ErrorCode)), ErrorDetail: deref(row.ErrorDetail),
	}
	if row.PortfolioID != nil {
		r.Context.Portfolio = &agent.Portfolio{
			ID: row.PortfolioID.String(), BaseCurrency: deref(row.BaseCurrency),
			LedgerVersion: deref(row.LedgerVersion), LedgerSeq: deref(row.LedgerSeq),
		}
	}
	if err := json.Unmarshal(row.Warnings, &r.Warnings); err != nil {
		return patterns.Run{}, fmt.Errorf("warnings: %w", err)
	}
	if row.Inputs != nil {
		dec := json.NewDecoder(bytes.NewReader(row.Inputs))
		dec.UseNumber()
		if err := dec.Decode(&r.Inputs); err != nil {
			return patterns.Run{}, fmt.Errorf("inputs: %w", err)
		}
	}
	return r, nil
}

// PruneRuns deletes up to limit runs that started before a time, each tenant's oldest first, and
// returns how many it has deleted: fewer than limit when no more are left.
func (s *Store) PruneRuns(ctx context.Context, startedBefore time.Time, limit int) (int, error) {
	n, err := s.q.DeleteRuns(ctx, startedBefore, int32(limit)) //nolint:gosec // of a batch
	if err != nil {
		return 0, fmt.Errorf("delete runs of before %s: %w", startedBefore.Format(time.RFC3339), err)
	}
	return int(n), nil
}
