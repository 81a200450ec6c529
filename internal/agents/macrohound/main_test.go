package macrohound_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/macrohound"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func day(t testing.TB, s string) time.Time {
	t.Helper()
	return agenttest.Day(t, s)
}

func config(t testing.TB) macro.Config {
	t.Helper()
	cfg, err := macro.LoadConfig(agenttest.Configs("analytics"))
	require.NoError(t, err)
	return cfg
}

// desk is an agent over a database with the sample data.
type desk struct {
	pool  *pgxpool.Pool
	agent *macrohound.Hound
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	pool := dbtest.New(t)
	_, err := sample.Load(t.Context(), pool, agenttest.Configs("sample"), nil)
	require.NoError(t, err)
	return &desk{pool, macrohound.New(store.New(pool, store.Options{}), config(t))}
}

// at returns the circumstances of a run without a portfolio.
func at(asof time.Time) agent.Context {
	return agent.Context{
		TenantID: store.DefaultTenant, Asof: asof,
		PricingPack: agent.Pack{ID: agenttest.PackID, Date: asof, Revision: 1},
	}
}

// run asks a capability without checking what it is asked.
func run(t testing.TB, a agent.Agent, c agent.Context, capability string, args map[string]any) (agent.Result, error) {
	t.Helper()
	k := agenttest.Capability(t, a.Capabilities(), capability)
	return k.Run(t.Context(), agent.Request{Capability: capability, Args: args, Context: c})
}

// ask returns an answer as its JSON with numbers as float64.
func ask(t testing.TB, a agent.Agent, c agent.Context, capability string, args map[string]any) (map[string]any, agent.Result) {
	t.Helper()
	_, result := agenttest.Ask(t, a.Capabilities(), c, capability, args)
	var answer map[string]any
	require.NoError(t, json.Unmarshal(agenttest.Bytes(t, result.Value), &answer))
	return answer, result
}

// lacking returns what insufficient_data says is missing for a field.
func lacking(t testing.TB, answer map[string]any, field string) []string {
	t.Helper()
	var missing []string
	list, ok := answer["insufficient_data"].([]any)
	require.True(t, ok)
	for _, i := range list {
		if i := i.(map[string]any); i["field"] == field {
			missing = append(missing, i["missing"].(string))
		}
	}
	return missing
}
