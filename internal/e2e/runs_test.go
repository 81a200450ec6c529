package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/pkg/api"
)

// TestRecordedRunSurvives: a run that was answered with record=true is there after a kill -9, and its
// replay sees what it saw, although the portfolio has changed meanwhile.
func TestRecordedRunSurvives(t *testing.T) {
	t.Parallel()
	databaseURL, portfolio := loaded(t)
	s := prepare(t, databaseURL)
	s.startAPI()
	answer := s.execute(portfolio, true)
	s.api.kill() // at once: what the answer promised must not depend on anything that comes later
	s.startAPI()

	list, err := s.client.ListRunsWithResponse(t.Context(), &api.ListRunsParams{PatternId: new("portfolio_overview")})
	require.NoError(t, err)
	require.NotNil(t, list.JSON200, string(list.Body))
	require.Len(t, list.JSON200.Items, 1)
	require.Equal(t, answer.RunId, list.JSON200.Items[0].Id)
	id := uuid.MustParse(answer.RunId)
	run, err := s.client.GetRunWithResponse(t.Context(), id, nil)
	require.NoError(t, err)
	require.NotNil(t, run.JSON200, string(run.Body))
	require.Equal(t, api.RunOutcomeSuccess, run.JSON200.Outcome)
	require.Equal(t, answer.DataHash, *run.JSON200.DataHash)
	require.JSONEq(t, fmt.Sprintf(`{"portfolio_id": %q, "lookback_days": 252, "from": null, "include_charts": true, "risk_free_annual": null}`, portfolio), string(run.JSON200.Inputs))
	require.Len(t, run.JSON200.Trace.Steps, len(answer.Trace.Steps))

	var deposit api.NewTransactions
	require.NoError(t, deposit.FromNewTransaction(api.NewTransaction{
		Type: api.DEPOSIT, Date: answer.Trace.Asof, Amount: new("1000"), Currency: new(run.JSON200.Context.Portfolio.BaseCurrency),
	}))
	booked, err := s.client.BookTransactionsWithResponse(t.Context(), portfolio, nil, deposit)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, booked.StatusCode(), string(booked.Body))
	require.NotEqual(t, answer.DataHash, s.execute(portfolio, false).DataHash, "a new run sees the deposit")

	replay, err := s.client.ReplayRunWithResponse(t.Context(), id, api.ReplayRequest{})
	require.NoError(t, err)
	require.NotNil(t, replay.JSON200, string(replay.Body))
	require.True(t, replay.JSON200.Identical, string(replay.Body))
	require.False(t, replay.JSON200.DefinitionChanged)
	require.Equal(t, answer.DataHash, *replay.JSON200.DataHash)
	require.JSONEq(t, string(answer.Data), string(replay.JSON200.Replayed.Data))
}

// TestStopWritesQueuedRuns: on Ctrl-C, runs that have been answered and are not yet recorded are not
// lost. A lock on their table keeps them from being recorded until the process has been told to stop.
func TestStopWritesQueuedRuns(t *testing.T) {
	t.Parallel()
	databaseURL, portfolio := loaded(t)
	s := prepare(t, databaseURL)
	s.startAPI()
	pool := dbtest.Connect(t, databaseURL)
	lock, err := pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) })
	_, err = lock.Exec(t.Context(), `LOCK TABLE pattern_runs IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)

	const runs = 60
	ids := make(map[string]bool)
	for range runs {
		ids[s.execute(portfolio, false).RunId] = true
	}
	require.Len(t, ids, runs)
	s.hasMetrics("all of them are held", map[string]int{"dawsos_run_queue_length": runs, "dawsos_runs_recorded_total": 0})
	s.api.interrupt()
	s.eventually("it stops", func(context.Context) error {
		if !strings.Contains(s.api.log.String(), "stopping") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	require.NoError(t, lock.Rollback(t.Context()))
	require.Equal(t, 0, s.api.exitCode())

	rows, err := pool.Query(t.Context(), `SELECT id::text FROM pattern_runs`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id string
		require.NoError(t, rows.Scan(&id))
		require.True(t, ids[id], "run %s is there once", id)
		delete(ids, id)
	}
	require.NoError(t, rows.Err())
	require.Empty(t, ids, "lost")
}

// TestOldRunsArePruned: the worker deletes runs past RUN_RETENTION as it starts, and no others.
func TestOldRunsArePruned(t *testing.T) {
	t.Parallel()
	databaseURL, portfolio := loaded(t)
	s := prepare(t, databaseURL, "RUN_RETENTION=48h")
	s.startAPI()
	kept := s.execute(portfolio, true).RunId
	pool := dbtest.Connect(t, databaseURL)
	// Copies of it, one an hour back from an hour ago: the 48th is past retention.
	const copies, old = 100, 53
	tag, err := pool.Exec(t.Context(), `
		INSERT INTO pattern_runs
		SELECT (json_populate_record(r, json_build_object('id', gen_random_uuid(), 'started_at', r.started_at - n * interval '1 hour'))).*
		FROM pattern_runs r, generate_series(1, $1) n`, copies)
	require.NoError(t, err)
	require.Equal(t, int64(copies), tag.RowsAffected())

	s.startWorker()
	s.eventually("old runs are gone", func(ctx context.Context) error {
		var past, all int
		err := pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE started_at < now() - interval '48 hours'), count(*) FROM pattern_runs`).Scan(&past, &all)
		if err == nil && (past > 0 || all != 1+copies-old) {
			err = fmt.Errorf("%d are left, of %d", past, all)
		}
		return err
	})
	run, err := s.client.GetRunWithResponse(t.Context(), uuid.MustParse(kept), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, run.StatusCode(), string(run.Body))
	s.eventually("the metric tells", func(context.Context) error {
		if n := s.metric(s.workerAddr, "dawsos_runs_pruned_total"); n != fmt.Sprint(old) {
			return fmt.Errorf("%q", n)
		}
		return nil
	})
}

// execute runs the overview of a portfolio.
func (s *system) execute(portfolio uuid.UUID, record bool) api.ExecuteAnswer {
	s.t.Helper()
	r, err := s.client.ExecutePatternWithResponse(s.t.Context(), "portfolio_overview", &api.ExecutePatternParams{Record: &record},
		api.ExecuteRequest{Inputs: new(json.RawMessage(fmt.Sprintf(`{"portfolio_id": %q}`, portfolio)))})
	require.NoError(s.t, err)
	require.NotNil(s.t, r.JSON200, string(r.Body))
	return *r.JSON200
}
