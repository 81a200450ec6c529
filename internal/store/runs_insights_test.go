package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
)

func TestRunSteps(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	step := func(status patterns.StepStatus) patterns.StepTrace {
		return patterns.StepTrace{As: "s", Capability: "a.b", Status: status, Error: "nothing named \x00 or \\u0000"}
	}
	some := aRun(func(r *patterns.Run) {
		r.Trace.Steps = []patterns.StepTrace{
			step(patterns.StatusCached), step(patterns.StatusCached), step(patterns.StatusSkipped), step(patterns.StatusSuccess), step(patterns.StatusError),
		}
		r.Trace.Steps[3].Steps = []patterns.StepTrace{step(patterns.StatusCached)} // of a pattern that the step ran
	})
	none := aRun(func(r *patterns.Run) { r.Trace.Steps = nil })
	others := aRun(func(r *patterns.Run) { r.TenantID, r.Context.TenantID = "other", "other" })
	insertRuns(t, s, some, none, others)
	got, err := s.RunSteps(t.Context(), "default", []string{some.ID, none.ID, others.ID, uuid.NewString()})
	require.NoError(t, err)
	require.Equal(t, map[string]runs.Steps{some.ID: {All: 5, Cached: 2, Skipped: 1}}, got)
	got, err = s.RunSteps(t.Context(), "default", nil)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = s.RunSteps(t.Context(), "default", []string{"7"})
	require.Error(t, err)
}

func TestInsights(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	var minute time.Time
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT date_trunc('minute', now())`).Scan(&minute))
	minute = minute.UTC()
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	var recorded []patterns.Run
	record := func(pattern string, before time.Duration, took int, change ...func(*patterns.Run)) {
		recorded = append(recorded, aRun(slices.Concat([]func(*patterns.Run){func(r *patterns.Run) {
			r.PatternID, r.StartedAt, r.Duration = pattern, minute.Add(-before), ms(took)
			r.Trace.Steps = []patterns.StepTrace{
				{As: "first", Capability: "a.first", Status: patterns.StatusSuccess, DurationSeconds: float64(took) / 2000},
				{As: "last", Capability: "a.last", Status: patterns.StatusSkipped, Reason: "\x00"},
			}
		}}, change)...))
	}
	for took := 1; took <= 21; took++ { // the median is 11 ms, the 95th percentile 20 ms
		record("p", time.Duration(took)*time.Minute, took)
	}
	record("q", 2*time.Minute, 1000, failed, func(r *patterns.Run) { r.Trace.Steps[0].Status = patterns.StatusError })
	record("q", 2*time.Minute, 3, func(r *patterns.Run) {
		r.Trace.Steps[0].Status = patterns.StatusCached
		r.Trace.Steps = r.Trace.Steps[:1]
	})
	record("none", 2*time.Minute, 0, failed, func(r *patterns.Run) { r.Trace = patterns.Trace{} })
	record("p", 2*time.Hour, 5000)                                                                                // earlier
	record("p", 2*time.Minute, 7000, func(r *patterns.Run) { r.TenantID, r.Context.TenantID = "other", "other" }) // of somebody else
	insertRuns(t, s, recorded...)

	got, err := s.Insights(t.Context(), "default", time.Hour, 10*time.Minute)
	require.NoError(t, err)
	// The clock may have gone on to the next minute, in which the same runs are still in the period.
	require.Contains(t, []time.Time{minute.Add(time.Minute), minute.Add(2 * time.Minute)}, got.Until)
	require.Equal(t, got.Until.Add(-time.Hour), got.Since)
	whole := runs.Sample{Runs: 24, Since: got.Since, Whole: true}
	require.Equal(t, whole, got.Of)
	require.Equal(t, whole, got.StepsOf)
	require.Equal(t, []runs.PatternFigures{
		{PatternID: "none", Runs: 1, Failed: 1},
		{PatternID: "p", Runs: 21, Took: runs.Spread{Median: ms(11), P95: ms(20)}, Slowest: ms(21)},
		{PatternID: "q", Runs: 2, Failed: 1, Took: runs.Spread{Median: 501500 * time.Microsecond, P95: 950150 * time.Microsecond}, Slowest: ms(1000)},
	}, rounded(got.Patterns))
	require.Len(t, got.Slowest, 10)
	require.Equal(t, runs.SlowRun{ID: recorded[21].ID, PatternID: "q", StartedAt: recorded[21].StartedAt, Outcome: runs.Error, Took: ms(1000)}, got.Slowest[0])
	require.Equal(t, recorded[20].ID, got.Slowest[1].ID)
	total, failures := 0, 0
	for i, p := range got.Periods {
		require.Zero(t, p.Began.Sub(got.Since)%(10*time.Minute))
		require.True(t, i == 0 || p.Began.After(got.Periods[i-1].Began))
		total += p.Runs
		failures += p.Failed
	}
	require.Equal(t, 24, total)
	require.Equal(t, 2, failures)

	require.Len(t, got.Steps, 4) // q's second too
	first, last := got.Steps[0], got.Steps[1]
	require.Equal(t, "p first a.first", first.PatternID+" "+first.Step+" "+first.Capability)
	require.Equal(t, 21, first.Calls)
	require.InDelta(t, 5.5e-3, first.Took.Median.Seconds(), 1e-8)
	require.InDelta(t, 10e-3, first.Took.P95.Seconds(), 1e-8)
	require.Equal(t, runs.StepFigures{PatternID: "p", Step: "last", Capability: "a.last", Calls: 21, Skipped: 21}, last)
	require.Equal(t, runs.StepFigures{
		PatternID: "q", Step: "first", Capability: "a.first", Calls: 2, Cached: 1, Failed: 1,
		Took: &runs.Spread{Median: ms(500), P95: ms(500)}, // the one that did work
	}, got.Steps[2])

	empty, err := s.Insights(t.Context(), "nobody", time.Hour, time.Minute)
	require.NoError(t, err)
	require.Equal(t, runs.Sample{Since: empty.Since, Whole: true}, empty.Of)
	require.Empty(t, empty.Patterns)
	require.Empty(t, empty.Steps)
}

// rounded takes away what adding floats leaves behind.
func rounded(list []runs.PatternFigures) []runs.PatternFigures {
	for i := range list {
		p := &list[i]
		p.Took.Median, p.Took.P95, p.Slowest = p.Took.Median.Round(time.Microsecond), p.Took.P95.Round(time.Microsecond), p.Slowest.Round(time.Microsecond)
	}
	return list
}

// With more runs than can be looked at, the newest are, and the answer says since when.
func TestInsightsOfManyRuns(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	const all, traces = 100_010, 20_000
	insertRuns(t, s, aRun())
	exec(t, pool, `
		INSERT INTO pattern_runs
		SELECT gen_random_uuid(), tenant_id, request_id, trace_id, user_id, pattern_id, definition_hash, inputs, asof, require_fresh,
			pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash, portfolio_id, base_currency, ledger_version, ledger_seq,
			date_trunc('minute', now()) - n * interval '10 ms', n, outcome, error_code, error_detail, warnings, data_hash, trace
		FROM pattern_runs, generate_series(1, 100010) AS n`)
	got, err := s.Insights(t.Context(), "default", time.Hour, time.Minute)
	require.NoError(t, err)
	require.Equal(t, runs.Sample{Runs: 100_000, Since: got.Of.Since}, got.Of)
	require.Equal(t, runs.Sample{Runs: traces, Since: got.StepsOf.Since}, got.StepsOf)
	require.Equal(t, (all-10-traces)*10*time.Millisecond, got.StepsOf.Since.Sub(got.Of.Since))
	require.Len(t, got.Patterns, 1)
	require.Equal(t, 100_000, got.Patterns[0].Runs)
	require.Equal(t, 100_000*time.Second, got.Patterns[0].Slowest, "what is older is not counted")
	require.Len(t, got.Steps, 1)
	require.Equal(t, traces, got.Steps[0].Calls)
}
