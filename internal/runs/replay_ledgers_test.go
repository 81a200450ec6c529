package runs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

// echo answers with its arguments.
type echo struct{}

func (echo) Name() string { return "echo" }

func (echo) Capabilities() []agent.Capability {
	return []agent.Capability{{Name: "echo.args", Run: func(_ context.Context, req agent.Request) (agent.Result, error) {
		return agent.Result{Value: req.Args}, nil
	}}}
}

// direct records at once.
type direct struct{ store *store.Store }

func (d direct) Record(ctx context.Context, run patterns.Run, _ bool) error {
	return d.store.InsertRuns(ctx, []patterns.Run{run})
}

// setupPatterns is setupReplay with the real engine, over patterns that are text by their files' names.
func setupPatterns(t *testing.T, files map[string]string) (*replayed, *patterns.Orchestrator, string) {
	t.Helper()
	r := setupReplay(t)
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	registry := prometheus.NewRegistry()
	nesting := patterns.NewNesting()
	runtime, err := agents.New(agents.Config{}, []agent.Agent{nesting, echo{}}, agents.Options{Registerer: registry, Metrics: agents.NewMetrics(registry)})
	require.NoError(t, err)
	o, err := patterns.New(dir, runtime, store.NewContexts(r.store), patterns.Options{
		Registerer: registry, Nesting: nesting, Recorder: direct{r.store},
	})
	require.NoError(t, err)
	r.Replayer = runs.NewReplayer(r.store, o)
	return r, o, dir
}

const (
	ledgerPattern = `{"id": "ledger", "name": "P", "inputs": {"portfolio_id": {"type": "uuid", "required": true}},
		"steps": [{"capability": "echo.args", "as": "x", "args": {"v": "{{ctx.ledger_version}}"}}], "outputs": {"v": "{{x.v}}"}}`
	compares = `{"id": "compare", "name": "P", "inputs": {"portfolio_id": {"type": "uuid"}, "other": {"type": "uuid", "required": true}},
		"steps": [{"capability": "pattern.run", "as": "theirs", "args": {"pattern": "ledger", "inputs": {"portfolio_id": "{{inputs.other}}"}}}],
		"outputs": {"theirs": "{{theirs.v}}"}}`
)

// A run may look at other portfolios than its own, through patterns within; what is booked in those later is
// not for a replay either.
func TestReplaySeesOtherLedgersAsTheRunDid(t *testing.T) {
	t.Parallel()
	r, o, _ := setupPatterns(t, map[string]string{"a.json": ledgerPattern, "b.json": compares})
	other, err := r.store.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{Name: "Q", BaseCurrency: "CHF"})
	require.NoError(t, err)
	execute := func() *patterns.Answer {
		answer, err := o.Execute(t.Context(), patterns.Request{
			TenantID: "default", PatternID: "compare", Recorded: true,
			Inputs: map[string]any{"portfolio_id": r.portfolio.ID, "other": other.ID},
		})
		require.NoError(t, err)
		return answer
	}
	answer := execute()
	for _, id := range []string{r.portfolio.ID, other.ID} {
		_, _, err = r.store.AppendTransactions(t.Context(), "default", id, []portfolio.Transaction{{
			Date: time.Date(2005, 1, 3, 0, 0, 0, 0, time.UTC), Type: portfolio.Deposit, Currency: "CHF", Amount: decimal.NewFromInt(100),
		}})
		require.NoError(t, err)
	}
	later := execute()
	require.NotEqual(t, string(answer.Data), string(later.Data), "a new run sees it")

	for _, a := range []*patterns.Answer{answer, later} {
		got := r.replay(t, a.RunID)
		require.NoError(t, got.Err)
		require.True(t, got.Identical, "%s and %s", a.Data, got.Answer.Data)
		require.False(t, got.DefinitionChanged)
		var data struct{ Theirs string }
		require.NoError(t, json.Unmarshal(a.Data, &data))
		require.Equal(t, map[string]string{other.ID: data.Theirs}, got.Recorded.Trace.LedgerVersions)
	}

	// Of a run of before, that has recorded none, the newest is seen.
	r.exec(`UPDATE pattern_runs SET trace = (trace::jsonb - 'ledger_versions')::json`)
	require.False(t, r.replay(t, answer.RunID).Identical)
}

// A pattern is what the patterns are that it names, also those within them.
func TestReplayTellsThatAPatternWithinIsAnotherOne(t *testing.T) {
	t.Parallel()
	const outer = `{"id": "outer", "name": "P", "steps": [{"capability": "pattern.run", "as": "x", "args": {"pattern": "middle"}}], "outputs": {"x": "{{x.x}}"}}`
	const middle = `{"id": "middle", "name": "P", "steps": [{"capability": "pattern.run", "as": "x", "args": {"pattern": "inner"}}], "outputs": {"x": "{{x.x.n}}"}}`
	inner := func(n int) string {
		return fmt.Sprintf(`{"id": "inner", "name": "P", "steps": [{"capability": "echo.args", "as": "x", "args": {"n": %d}}], "outputs": ["x"]}`, n)
	}
	r, o, dir := setupPatterns(t, map[string]string{"a.json": outer, "b.json": middle, "c.json": inner(1)})
	answer, err := o.Execute(t.Context(), patterns.Request{TenantID: "default", PatternID: "outer", Recorded: true})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "z.json"), []byte(ledgerPattern), 0o600))
	require.NoError(t, o.Reload(t.Context()))
	got := r.replay(t, answer.RunID)
	require.True(t, got.Identical)
	require.False(t, got.DefinitionChanged, "one that it does not run is another matter")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.json"), []byte(inner(2)), 0o600))
	require.NoError(t, o.Reload(t.Context()))
	got = r.replay(t, answer.RunID)
	require.False(t, got.Identical)
	require.True(t, got.DefinitionChanged)
}
