package macrohound_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/macrohound"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func day(t testing.TB, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	require.NoError(t, err)
	return d
}

func config(t testing.TB) macro.Config {
	t.Helper()
	cfg, err := macro.LoadConfig("../../../configs/analytics")
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
	_, err := sample.Load(t.Context(), pool, "../../../configs/sample", nil)
	require.NoError(t, err)
	return &desk{pool, macrohound.New(store.New(pool, store.Options{}), config(t))}
}

// at returns the circumstances of a run without a portfolio.
func at(asof time.Time) agent.Context {
	return agent.Context{
		TenantID: store.DefaultTenant, Asof: asof,
		PricingPack: agent.Pack{ID: "7d1f0d1e-3c7b-4f0a-9a53-2f1f2c6c9b11", Date: asof, Revision: 1},
	}
}

func run(a agent.Agent, c agent.Context, capability string, args map[string]any) (agent.Result, error) {
	for _, k := range a.Capabilities() {
		if k.Name == capability {
			return k.Run(context.Background(), agent.Request{Capability: capability, Args: args, Context: c})
		}
	}
	return agent.Result{}, fault.New(fault.NotFound, "no capability %s", capability)
}

func jsonOf(t testing.TB, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	require.NoError(t, dec.Decode(&value))
	return value
}

// ask runs a capability twice. Arguments and answer must fit what it declares, and the answer must have
// the same bytes both times.
func ask(t testing.TB, a agent.Agent, c agent.Context, capability string, args map[string]any) (map[string]any, agent.Result) {
	t.Helper()
	if args == nil {
		args = map[string]any{}
	}
	for _, k := range a.Capabilities() {
		if k.Name != capability {
			continue
		}
		require.Equal(t, agent.Pure, k.Purity)
		declared, err := schema.Compile(k.Args)
		require.NoError(t, err)
		require.Empty(t, schema.Violations(declared, "", jsonOf(t, args)), "arguments of %s", capability)
		result, err := run(a, c, capability, args)
		require.NoError(t, err)
		if declared, err = schema.Compile(k.Result); err == nil {
			require.Empty(t, schema.Violations(declared, "", jsonOf(t, result.Value)), "result of %s", capability)
		}
		require.NoError(t, err)
		raw, err := json.Marshal(result)
		require.NoError(t, err)
		again, err := run(a, c, capability, args)
		require.NoError(t, err)
		twice, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(raw), string(twice))
		var answer struct{ Value map[string]any }
		require.NoError(t, json.Unmarshal(raw, &answer))
		return answer.Value, result
	}
	require.Fail(t, "no capability "+capability)
	return nil, agent.Result{}
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
