package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/store/db"
)

const (
	// insightRuns bounds the runs that insights sum up, and insightTraces those whose steps they do: a
	// trace costs ten times what the rest of a run does.
	insightRuns   = 100_000
	insightTraces = 20_000
	// slowestRuns is how many of the slowest runs insights name.
	slowestRuns = 10
)

// RunSteps counts the steps of runs, by their ids. Runs without any are left out.
func (s *Store) RunSteps(ctx context.Context, tenantID string, ids []string) (map[string]runs.Steps, error) {
	keys := make([]uuid.UUID, len(ids))
	for i, id := range ids {
		var err error
		if keys[i], err = uuid.Parse(id); err != nil {
			return nil, fmt.Errorf("steps of run %q: %w", id, err)
		}
	}
	rows, err := s.q.RunSteps(ctx, tenantID, keys)
	if err != nil {
		return nil, fmt.Errorf("steps of %d runs: %w", len(ids), err)
	}
	steps := make(map[string]runs.Steps, len(rows))
	for _, row := range rows {
		steps[row.ID.String()] = runs.Steps{All: int(row.Steps), Cached: int(row.Cached), Skipped: int(row.Skipped)}
	}
	return steps, nil
}

// Insights sums up a tenant's runs of the time just past: span, in parts of length. It ends with the minute
// that is under way by the database's clock.
func (s *Store) Insights(ctx context.Context, tenantID string, span, length time.Duration) (runs.Insights, error) {
	out := runs.Insights{PeriodLength: length}
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		// One view of the data for all figures. Plans are of a few operators over many rows whose number is
		// known: compiling them takes longer than it saves.
		if _, err := tx.Exec(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SET LOCAL jit = off`); err != nil {
			return err
		}
		q := s.q.WithTx(tx)
		minute, err := q.Minute(ctx)
		if err != nil {
			return err
		}
		out.Until = minute.UTC().Add(time.Minute)
		out.Since = out.Until.Add(-span)
		return insights(ctx, q, tenantID, &out)
	})
	if err != nil {
		return runs.Insights{}, fmt.Errorf("insights of tenant %s: %w", tenantID, err)
	}
	return out, nil
}

func insights(ctx context.Context, q *db.Queries, tenantID string, out *runs.Insights) error {
	var err error
	if out.Of, err = sample(ctx, q, tenantID, out, insightRuns); err != nil {
		return err
	}
	if out.StepsOf, err = sample(ctx, q, tenantID, out, insightTraces); err != nil {
		return err
	}
	byPattern, err := q.PatternFigures(ctx, db.PatternFiguresParams{TenantID: tenantID, Since: out.Since, Until: out.Until, RowLimit: insightRuns})
	if err != nil {
		return fmt.Errorf("by pattern: %w", err)
	}
	for _, row := range byPattern {
		out.Patterns = append(out.Patterns, runs.PatternFigures{
			PatternID: row.PatternID, Runs: int(row.Runs), Failed: int(row.Failed), Took: *spread(row.Percentiles), Slowest: seconds(row.Slowest),
		})
	}
	byTime, err := q.PeriodFigures(ctx, db.PeriodFiguresParams{
		TenantID: tenantID, Since: out.Since, Until: out.Until, RowLimit: insightRuns,
		Length: pgtype.Interval{Microseconds: out.PeriodLength.Microseconds(), Valid: true},
	})
	if err != nil {
		return fmt.Errorf("over time: %w", err)
	}
	for _, row := range byTime {
		out.Periods = append(out.Periods, runs.PeriodFigures{
			Began: row.Began.UTC(), Runs: int(row.Runs), Failed: int(row.Failed), Took: *spread(row.Percentiles),
		})
	}
	slowest, err := q.SlowestRuns(ctx, db.SlowestRunsParams{
		TenantID: tenantID, Since: out.Since, Until: out.Until, RowLimit: insightRuns, Most: slowestRuns,
	})
	if err != nil {
		return fmt.Errorf("the slowest: %w", err)
	}
	for _, row := range slowest {
		out.Slowest = append(out.Slowest, runs.SlowRun{
			ID: row.ID.String(), PatternID: row.PatternID, StartedAt: row.StartedAt.UTC(),
			Outcome: runs.Outcome(row.Outcome), Took: seconds(row.DurationSeconds),
		})
	}
	byStep, err := q.StepFigures(ctx, db.StepFiguresParams{TenantID: tenantID, Since: out.Since, Until: out.Until, RowLimit: insightTraces})
	if err != nil {
		return fmt.Errorf("by step: %w", err)
	}
	for _, row := range byStep {
		out.Steps = append(out.Steps, runs.StepFigures{
			PatternID: row.PatternID, Step: row.Step, Capability: row.Capability,
			Calls: int(row.Calls), Cached: int(row.Cached), Skipped: int(row.Skipped), Failed: int(row.Failed),
			Took: spread(row.Percentiles),
		})
	}
	return nil
}

func sample(ctx context.Context, q *db.Queries, tenantID string, of *runs.Insights, most int32) (runs.Sample, error) {
	row, err := q.CountRuns(ctx, db.CountRunsParams{TenantID: tenantID, Since: of.Since, Until: of.Until, RowLimit: most + 1})
	if err != nil {
		return runs.Sample{}, fmt.Errorf("count: %w", err)
	}
	if row.Runs <= int64(most) {
		return runs.Sample{Runs: int(row.Runs), Since: of.Since, Whole: true}, nil
	}
	row, err = q.CountRuns(ctx, db.CountRunsParams{TenantID: tenantID, Since: of.Since, Until: of.Until, RowLimit: most})
	if err != nil {
		return runs.Sample{}, fmt.Errorf("count: %w", err)
	}
	return runs.Sample{Runs: int(row.Runs), Since: row.Since.UTC()}, nil
}

// spread reads the median and the 95th percentile, in seconds; nil when there were none.
func spread(percentiles []float64) *runs.Spread {
	if len(percentiles) != 2 {
		return nil
	}
	return &runs.Spread{Median: seconds(percentiles[0]), P95: seconds(percentiles[1])}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
