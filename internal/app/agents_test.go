package app

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

// shipped are the agents that are part of the process, over no database.
func shipped(t *testing.T) []agent.Agent {
	t.Helper()
	m, err := loadModels(filepath.Join("..", "..", "configs", "analytics"))
	require.NoError(t, err)
	all, err := builtin(config.Config{}, m, store.New(nil, store.Options{}), nil, "test", agents.Options{Registerer: prometheus.NewRegistry()})
	require.NoError(t, err)
	return append(all, patterns.NewNesting())
}

func TestTablesAreReadAtStart(t *testing.T) {
	t.Parallel()
	_, err := loadModels(t.TempDir())
	require.ErrorContains(t, err, "ANALYTICS_DIR: ")
	for _, name := range []string{
		"regimes.yaml", "factors.yaml", "ratings.yaml", "news.yaml", "presets.yaml", "scenarios.yaml", "rebalance.yaml", "hedges.yaml",
		"providers.yaml",
	} {
		require.ErrorContains(t, err, name)
	}
}

func TestEveryAgentIsConfigured(t *testing.T) {
	t.Parallel()
	settings, err := agents.LoadConfig(filepath.Join("..", "..", "configs", "agents.yaml"))
	require.NoError(t, err)
	var names []string
	for _, a := range shipped(t) {
		names = append(names, a.Name())
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(settings.Agents)), names)
}

// What clients and authors of patterns read of a capability has one form.
func TestDeclarations(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range shipped(t) {
		for _, c := range a.Capabilities() {
			require.False(t, seen[c.Name], c.Name)
			seen[c.Name] = true
			require.Regexp(t, `^[A-Z].*[^.]\.$`, c.Description, c.Name)
			require.NotContains(t, c.Description, ". ", "%s: one sentence", c.Name)
			for which, raw := range map[string]json.RawMessage{"args": c.Args, "result": c.Result} {
				_, err := schema.Compile(raw)
				require.NoError(t, err, "%s: %s", c.Name, which)
			}
			if c.Name == patterns.RunCapability {
				continue // its result is the pattern's
			}
			var result any
			require.NoError(t, json.Unmarshal(c.Result, &result))
			require.Empty(t, open(result, ""), "%s: objects without additionalProperties", c.Name)
			names := properties(result)
			for name, instead := range map[string]string{
				"as_of": "asof", "asof_date": "asof", "pricing_pack_id": "pack_id", "portfolio": "portfolio_id", "ticker": "symbol",
				"insufficient": "insufficient_data", "vol": "volatility", "std": "volatility",
			} {
				require.NotContains(t, names, name, "%s: it is called %s", c.Name, instead)
			}
		}
	}
	require.Greater(t, len(seen), 50)
}

// open returns the paths of objects in a schema that do not say what else may be in them.
func open(v any, path string) []string {
	var found []string
	switch v := v.(type) {
	case map[string]any:
		if v["properties"] != nil && v["additionalProperties"] == nil {
			found = append(found, path)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			found = append(found, open(v[name], path+"/"+name)...)
		}
	case []any:
		for _, item := range v {
			found = append(found, open(item, path+"/-")...)
		}
	}
	return found
}

// properties returns the names of all members that a schema declares.
func properties(v any) []string {
	var names []string
	switch v := v.(type) {
	case map[string]any:
		for name, item := range v {
			if of, is := item.(map[string]any); is && name == "properties" {
				names = slices.AppendSeq(names, maps.Keys(of))
			}
			names = append(names, properties(item)...)
		}
	case []any:
		for _, item := range v {
			names = append(names, properties(item)...)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}
