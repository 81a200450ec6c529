package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/pkg/api"
)

// patternRun is a shipped pattern, what it is asked and what of its answer must be known on the sample data.
type patternRun struct {
	inputs  string // %[1]s is the portfolio's id, %[2]s that of a share that it holds
	known   []string
	missing []string // of insufficient_data, anywhere in the answer
	charts  bool
}

// Eight patterns run on the sample data. The others say what is missing; see TestPatternsOfImportedData.
var patternRuns = map[string]patternRun{
	"portfolio_overview": {
		inputs: `{"portfolio_id": %[1]q}`, charts: true,
		known: []string{"perf_metrics/twr", "perf_metrics/volatility", "perf_metrics/benchmark/beta", "currency_attr/total_return", "valued_positions/total_value"},
	},
	"holding_deep_dive": {
		inputs: `{"portfolio_id": %[1]q, "security_id": %[2]q}`,
		known:  []string{"position/quantity", "position_perf/total_return", "contribution", "currency_attr", "risk/beta", "transactions", "comparables"},
	},
	"portfolio_macro_overview": {
		inputs: `{"portfolio_id": %[1]q}`, charts: true,
		known: []string{"regime/regime", "regime/confidence", "factor_exposures/r_squared", "dar/dar", "dar/cdar"},
	},
	"portfolio_scenario_analysis": {
		inputs: `{"portfolio_id": %[1]q, "scenario_id": "equity_selloff"}`, charts: true,
		known: []string{"scenario_result/delta", "scenario_result/shocked_value", "hedge_suggestions"},
	},
	"portfolio_cycle_risk": {
		inputs: `{"portfolio_id": %[1]q}`,
		known:  []string{"stdc/phase", "cycle_risk_map", "dar/dar"}, missing: []string{"macro:"},
	},
	"macro_trend_monitor": {
		inputs: `{"portfolio_id": %[1]q}`, charts: true,
		known: []string{"regime_history/history", "factor_history/history", "trend_analysis", "alert_suggestions"},
	},
	"policy_rebalance": {
		inputs: `{"portfolio_id": %[1]q, "policies": [{"type": "target_weight", "symbol": "SBI", "weight": 0.3}]}`,
		known:  []string{"rebalance_result", "impact"},
	},
	"export_portfolio_report": {
		inputs: `{"portfolio_id": %[1]q}`,
		known:  []string{"pdf_result/content_base64", "pdf_result/sha256"},
	},
	"buffett_checklist":            {inputs: `{"security_id": %[2]q}`, missing: []string{"fundamentals:"}},
	"news_impact_analysis":         {inputs: `{"portfolio_id": %[1]q}`, missing: []string{"news"}},
	"macro_cycles_overview":        {inputs: `{}`, missing: []string{"macro:"}},
	"cycle_deleveraging_scenarios": {inputs: `{"portfolio_id": %[1]q}`, missing: []string{"macro:"}},
}

// TestEveryPattern runs each shipped pattern twice over HTTP, and once more from its record: the bytes are
// the same.
func TestEveryPattern(t *testing.T) {
	t.Parallel()
	databaseURL, portfolio := loaded(t)
	s := prepare(t, databaseURL)
	s.startAPI()
	var security string
	require.NoError(t, dbtest.Connect(t, databaseURL).QueryRow(t.Context(), `SELECT id FROM securities WHERE symbol = 'EMR'`).Scan(&security))

	files, err := filepath.Glob(filepath.Join(root, "configs/patterns/*.json"))
	require.NoError(t, err)
	require.Len(t, files, len(patternRuns), "a shipped pattern is not in patternRuns")
	for _, file := range files {
		id := strings.TrimSuffix(filepath.Base(file), ".json")
		p, listed := patternRuns[id]
		require.True(t, listed, id)
		t.Run(id, func(t *testing.T) {
			inputs := json.RawMessage(fmt.Sprintf(p.inputs+"%[3]s", portfolio, security, ""))
			first := s.run(t, id, inputs)
			again := s.run(t, id, inputs)
			require.Equal(t, string(first.Data), string(again.Data))
			require.Equal(t, first.DataHash, again.DataHash)
			require.Equal(t, first.Charts, again.Charts)

			replay, err := s.client.ReplayRunWithResponse(t.Context(), uuid.MustParse(first.RunId), api.ReplayRequest{})
			require.NoError(t, err)
			require.NotNil(t, replay.JSON200, string(replay.Body))
			require.True(t, replay.JSON200.Identical, "the replay differs")
			require.Equal(t, string(first.Data), string(replay.JSON200.Replayed.Data))

			var data any
			require.NoError(t, json.Unmarshal(first.Data, &data))
			for _, path := range p.known {
				require.NotNil(t, at(data, path), "%s is not known: %.2000s", path, first.Data)
			}
			found := missingIn(data)
			for _, prefix := range p.missing {
				require.True(t, slices.ContainsFunc(found, func(m string) bool { return strings.HasPrefix(m, prefix) }), "%s: %q", prefix, found)
			}
			require.Equal(t, p.charts, len(first.Charts) > 0, "%d charts", len(first.Charts))
			if dir := os.Getenv("PATTERN_ANSWERS"); dir != "" { // to be looked at
				require.NoError(t, os.WriteFile(filepath.Join(dir, id+".json"), []byte(first.Data), 0o600))
			}
		})
	}
}

func (s *system) run(t *testing.T, id string, inputs json.RawMessage) api.ExecuteAnswer {
	t.Helper()
	r, err := s.client.ExecutePatternWithResponse(t.Context(), id, &api.ExecutePatternParams{Record: new(true)}, api.ExecuteRequest{Inputs: &inputs})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, r.StatusCode(), "%.3000s", r.Body)
	return *r.JSON200
}

// at follows a path of member names; nil when it leads nowhere.
func at(v any, path string) any {
	for name := range strings.SplitSeq(path, "/") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// missingIn returns what the insufficient_data anywhere in an answer names.
func missingIn(v any) []string {
	var found []string
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			found = append(found, missingIn(item)...)
		}
	case map[string]any:
		for name, item := range v {
			if name == "insufficient_data" {
				list, _ := item.([]any)
				for _, gap := range list {
					if m, ok := at(gap, "missing").(string); ok {
						found = append(found, m)
					}
				}
			}
			found = append(found, missingIn(item)...)
		}
	}
	return found
}
