package runs_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

// engine answers with what a run sees: its inputs and its circumstances.
type engine struct {
	contexts patterns.ContextSource
	hash     string
	gone     bool
	err      error // of every run
	got      patterns.Request
}

func (e *engine) DefinitionHash(id string) (string, error) {
	if e.gone {
		return "", fault.New(fault.NotFound, "there is no pattern %q", id)
	}
	return e.hash, nil
}

func (e *engine) Execute(ctx context.Context, req patterns.Request) (*patterns.Answer, error) {
	a, _, err := e.execute(ctx, req)
	return a, err
}

func (e *engine) execute(ctx context.Context, req patterns.Request) (*patterns.Answer, agent.Context, error) {
	e.got = req
	portfolioID, _ := req.Inputs["portfolio_id"].(string)
	c, err := e.contexts.Resolve(ctx, patterns.ContextQuery{
		TenantID: req.TenantID, PortfolioID: portfolioID, Asof: req.Asof, RequireFresh: req.RequireFresh,
		PackID: req.PackID, LedgerVersion: req.LedgerVersion,
	})
	if err == nil {
		err = e.err
	}
	if err != nil {
		return nil, c, err
	}
	data, err := json.Marshal(map[string]any{"inputs": req.Inputs, "ctx": c.Values()})
	sum := sha256.Sum256(data)
	return &patterns.Answer{PatternID: req.PatternID, Data: data, DataHash: hex.EncodeToString(sum[:])}, c, err
}

// replayed is a database with a portfolio, a pack, and an engine over them.
type replayed struct {
	*runs.Replayer
	store     *store.Store
	engine    *engine
	portfolio portfolio.Portfolio
	exec      func(sql string, args ...any)
}

func setupReplay(t *testing.T) *replayed {
	t.Helper()
	pool := dbtest.New(t)
	r := &replayed{store: store.New(pool, store.Options{})}
	r.exec = func(sql string, args ...any) {
		t.Helper()
		_, err := pool.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
	r.exec(`INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
		VALUES (gen_random_uuid(), 'default', 'CAL', 'C', 'equity', 'Tech', 'CHF', 'holding')`)
	r.exec(`UPDATE tenants SET calendar = 'CAL'`)
	r.exec(`INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash)
		SELECT 'default', n, 'test', 0, 'h' FROM generate_series(1, 2) AS n`)
	r.pack("2005-01-03", 1)
	var err error
	r.portfolio, err = r.store.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{Name: "P", BaseCurrency: "CHF"})
	require.NoError(t, err)
	r.engine = &engine{contexts: store.NewContexts(r.store), hash: "d1"}
	r.Replayer = runs.NewReplayer(r.store, r.engine)
	return r
}

func (r *replayed) pack(day string, revision int) {
	r.exec(`INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state)
		VALUES (gen_random_uuid(), 'default', $1::text::date, $2, 'h', 'fresh')`, day, revision)
}

// record runs the pattern and records how it went, and returns the run's id.
func (r *replayed) record(t *testing.T, inputs map[string]any) string {
	t.Helper()
	answer, c, err := r.engine.execute(t.Context(), patterns.Request{
		TenantID: "default", PatternID: "p", Inputs: inputs, RequireFresh: true,
	})
	recorded := storable(func(run *patterns.Run) {
		run.Inputs, run.Context, run.DefinitionHash, run.UserID, run.RequireFresh = inputs, c, "d1", "ada", true
		if err != nil {
			run.DataHash, run.ErrorCode, run.ErrorDetail = "", fault.CodeOf(err), fault.Detail(err)
		} else {
			run.DataHash = answer.DataHash
		}
	})
	require.NoError(t, r.store.InsertRuns(t.Context(), []patterns.Run{recorded}))
	return recorded.ID
}

func (r *replayed) replay(t *testing.T, id string) runs.Replay {
	t.Helper()
	got, err := r.Replay(t.Context(), "default", "again", id)
	require.NoError(t, err)
	require.Equal(t, id, got.Recorded.ID)
	return got
}

// The world goes on: bookings, newer packs, and the run's own pack is no longer fresh. The replay
// does not see any of it.
func TestReplaySeesWhatTheRunSaw(t *testing.T) {
	t.Parallel()
	r := setupReplay(t)
	inputs := map[string]any{"portfolio_id": r.portfolio.ID, "rate": json.Number("1.50"), "benchmark": nil}
	id := r.record(t, inputs)

	_, _, err := r.store.AppendTransactions(t.Context(), "default", r.portfolio.ID, []portfolio.Transaction{{
		Date: time.Date(2005, 1, 3, 0, 0, 0, 0, time.UTC), Type: portfolio.Deposit, Currency: "CHF",
		Amount: decimal.NewFromInt(100),
	}})
	require.NoError(t, err)
	r.pack("2005-01-03", 2)
	r.pack("2005-01-04", 2)
	r.exec(`UPDATE pricing_packs SET state = 'stale' WHERE revision = 1`)

	got := r.replay(t, id)
	require.NoError(t, got.Err)
	require.True(t, got.Identical, "%s", got.Answer.Data)
	require.False(t, got.DefinitionChanged)
	require.Equal(t, inputs, r.engine.got.Inputs)
	require.Equal(t, "again", r.engine.got.RequestID)
	require.Equal(t, "ada", r.engine.got.UserID)
	require.True(t, r.engine.got.Recompute)
	require.False(t, r.engine.got.RequireFresh)

	later := r.record(t, inputs)
	require.NotEqual(t, got.Recorded.DataHash, r.replay(t, later).Recorded.DataHash, "a new run does see it")
}

func TestReplayTellsWhatIsDifferent(t *testing.T) {
	t.Parallel()
	r := setupReplay(t)
	good := r.record(t, map[string]any{"n": json.Number("1")})
	r.engine.err = fault.New(fault.InsufficientData, "no price")
	failed := r.record(t, map[string]any{})

	for name, c := range map[string]struct {
		id        string
		err       error
		hash      string
		identical bool
	}{
		"a success again":                {good, nil, "d1", true},
		"a success that fails now":       {good, fault.New(fault.InsufficientData, "no price"), "d1", false},
		"a failure again":                {failed, fault.New(fault.InsufficientData, "still no price"), "d1", true},
		"a failure of another kind":      {failed, errors.New("boom"), "d1", false},
		"a failure that succeeds now":    {failed, nil, "d1", false},
		"the same with a new definition": {good, nil, "d2", true},
	} {
		r.engine.err, r.engine.hash = c.err, c.hash
		got := r.replay(t, c.id)
		require.Equal(t, c.identical, got.Identical, name)
		require.Equal(t, c.hash != "d1", got.DefinitionChanged, name)
		require.Equal(t, c.err, got.Err, name)
		require.Equal(t, c.err == nil, got.Answer != nil, name)
	}

	r.engine.err = nil
	r.exec(`UPDATE pattern_runs SET data_hash = 'other' WHERE id = $1`, good)
	require.False(t, r.replay(t, good).Identical, "other data")
}

func TestReplayIsNotPossible(t *testing.T) {
	t.Parallel()
	r := setupReplay(t)
	id := r.record(t, map[string]any{})

	_, err := r.Replay(t.Context(), "other", "again", id)
	require.Equal(t, fault.NotFound, fault.CodeOf(err), "another tenant's")

	r.engine.gone = true
	_, err = r.Replay(t.Context(), "default", "again", id)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.Equal(t, fmt.Sprintf("run %s can't be replayed: its pattern \"p\" is no longer there", id), fault.Detail(err))
	r.engine.gone = false

	r.exec(`DELETE FROM pricing_packs`)
	got := r.replay(t, id)
	require.Equal(t, fault.NotFound, fault.CodeOf(got.Err), "the run could not begin")
	require.Contains(t, fault.Detail(got.Err), "there is no pricing pack")
}

// left is an engine whose caller leaves during the run.
type left struct {
	*engine
	leave context.CancelFunc
}

func (l left) Execute(ctx context.Context, _ patterns.Request) (*patterns.Answer, error) {
	l.leave()
	return nil, ctx.Err()
}

func TestReplayOfACallerWhoLeavesSaysNothing(t *testing.T) {
	t.Parallel()
	r := setupReplay(t)
	id := r.record(t, map[string]any{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := runs.NewReplayer(r.store, left{r.engine, cancel}).Replay(ctx, "default", "again", id)
	require.ErrorIs(t, err, context.Canceled)
}
