package charts_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/agents/charts"
	"github.com/dawsos/dawsos/internal/agents/macrohound"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

var update = flag.Bool("update", false, "write the golden specifications anew")

func TestMain(m *testing.M) { dbtest.Main(m) }

// run asks a capability of an agent about circumstances, through what it declares.
func run(t testing.TB, a agent.Agent, c agent.Context, capability string, args map[string]any) (map[string]any, error) {
	t.Helper()
	require.Equal(t, agent.Pure, agenttest.Capability(t, a.Capabilities(), capability).Purity)
	result, err := agenttest.Call(t, a.Capabilities(), c, capability, args)
	if err != nil {
		return nil, err
	}
	return agenttest.Answer(t, result), nil
}

// draw asks for charts.
func draw(t testing.TB, capability string, args map[string]any) (specs, omitted []map[string]any) {
	t.Helper()
	answer, err := run(t, charts.New(), agent.Context{Portfolio: &agent.Portfolio{BaseCurrency: "CHF"}}, capability, args)
	require.NoError(t, err)
	for _, s := range answer["specs"].([]any) {
		specs = append(specs, s.(map[string]any))
	}
	for _, o := range answer["omitted"].([]any) {
		omitted = append(omitted, o.(map[string]any))
	}
	return specs, omitted
}

var theSample struct {
	once sync.Once
	all  map[string]any
}

// sampleAnswers returns what the charts are drawn from, by argument: answers about the sample
// portfolio, and those in testdata, which have the form of the other agents' answers.
func sampleAnswers(t *testing.T) map[string]any {
	t.Helper()
	theSample.once.Do(func() {
		pool := dbtest.New(t)
		_, err := sample.Load(t.Context(), pool, agenttest.Configs("sample"), nil)
		require.NoError(t, err)
		db := store.New(pool, store.Options{})
		c, err := db.Resolve(t.Context(), patterns.ContextQuery{TenantID: store.DefaultTenant, PortfolioID: sample.PortfolioID(), RequireFresh: true})
		require.NoError(t, err)
		factors, err := factor.Load(agenttest.Configs("analytics"))
		require.NoError(t, err)
		economy, err := macro.LoadConfig(agenttest.Configs("analytics"))
		require.NoError(t, err)
		a, hound := analyst.New(db, db, analyst.Options{RiskFreeSeries: agenttest.RiskFree, Factors: factors}), macrohound.New(db, economy)
		ask := func(capability string, args map[string]any) map[string]any {
			var of agent.Agent = a
			if strings.HasPrefix(capability, "macro.") {
				of = hound
			}
			answer, err := run(t, of, c, capability, args)
			require.NoError(t, err)
			return answer
		}
		window := map[string]any{"portfolio_id": c.Portfolio.ID, "pack_id": c.PricingPack.ID, "lookback_days": 252}
		held := ask("ledger.positions", map[string]any{"portfolio_id": c.Portfolio.ID})
		all := map[string]any{
			"valued_positions": ask("pricing.apply_pack", map[string]any{
				"positions": held["positions"], "cash": held["cash"], "pack_id": c.PricingPack.ID,
			}),
			"currency_attr": ask("attribution.currency", window),
			"history":       ask("metrics.history", window),
			"factor_exposures": ask("risk.compute_factor_exposures", map[string]any{
				"portfolio_id": c.Portfolio.ID, "pack_id": c.PricingPack.ID,
			}),
		}
		all["regime"] = ask("macro.detect_regime", map[string]any{})
		all["regime_history"] = ask("macro.get_regime_history", map[string]any{"lookback_weeks": 52})
		all["indicators"] = ask("macro.get_indicators", map[string]any{})
		files, err := filepath.Glob("testdata/answers/*.json")
		require.NoError(t, err)
		for _, file := range files {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			all[strings.TrimSuffix(filepath.Base(file), ".json")] = agenttest.JSON(t, json.RawMessage(raw))
		}
		theSample.all = all
	})
	require.NotEmpty(t, theSample.all)
	return theSample.all
}

// specsOf draws all that a capability can draw of the sample.
func specsOf(t *testing.T, k agent.Capability) []map[string]any {
	t.Helper()
	args := map[string]any{}
	for _, name := range agenttest.Arguments(t, k) {
		args[name] = sampleAnswers(t)[name]
		require.NotNil(t, args[name], name)
	}
	specs, omitted := draw(t, k.Name, args)
	require.Empty(t, omitted, k.Name)
	require.NotEmpty(t, specs, k.Name)
	return specs
}

// The specifications of the sample are as they were looked at.
func TestGoldenSpecs(t *testing.T) {
	t.Parallel()
	for _, k := range charts.New().Capabilities() {
		for _, s := range specsOf(t, k) {
			raw, err := json.MarshalIndent(s, "", " ")
			require.NoError(t, err)
			path := filepath.Join("testdata/specs", strings.TrimPrefix(k.Name, "charts.")+"."+s["name"].(string)+".json")
			if *update {
				require.NoError(t, os.WriteFile(path, append(raw, '\n'), 0o600))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), string(raw)+"\n", "%s; -update writes it anew", path)
		}
	}
}

// vegaLite is the official schema, from the npm package vega-lite 6.5.0.
var vegaLite = sync.OnceValues(func() (*jsonschema.Schema, error) {
	f, err := os.Open("testdata/vega-lite-schema.json.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	return schema.Compile(raw)
})

// valid requires a specification to fit Vega-Lite's own schema.
func valid(t testing.TB, spec map[string]any) {
	t.Helper()
	s, err := vegaLite()
	require.NoError(t, err)
	require.Empty(t, schema.Violations(s, "", agenttest.JSON(t, spec)), "%v", spec["name"])
}

func TestSpecsFitVegaLite(t *testing.T) {
	t.Parallel()
	for _, k := range charts.New().Capabilities() {
		for _, s := range specsOf(t, k) {
			valid(t, s)
		}
	}
	// The schema tells right from wrong.
	s, err := vegaLite()
	require.NoError(t, err)
	for _, wrong := range []map[string]any{
		{},
		{"mark": "bar"},
		{"mark": "bar", "data": map[string]any{"values": []any{}}, "encoding": map[string]any{"x": map[string]any{"field": 1}}},
		{"mark": "bars", "data": map[string]any{"values": []any{}}},
	} {
		require.NotEmpty(t, schema.Violations(s, "", wrong), "%v", wrong)
	}
}

// Every specification goes through Vega-Lite's compiler without a warning and comes out drawn.
func TestSpecsCompile(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	var all []map[string]any
	for _, k := range charts.New().Capabilities() {
		all = append(all, specsOf(t, k)...)
	}
	cmd := exec.CommandContext(t.Context(), node, "testdata/compile.mjs", "../../console/npm")
	cmd.Stdin = bytes.NewReader(agenttest.Bytes(t, all))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var drawn []struct {
		Name   string
		Marks  int
		Labels []string
	}
	require.NoError(t, json.Unmarshal(out, &drawn))
	require.Len(t, drawn, len(all))
	for i, d := range drawn {
		require.Equal(t, all[i]["name"], d.Name)
		require.Positive(t, d.Marks, d.Name)
		require.Contains(t, d.Labels, all[i]["title"].(map[string]any)["text"], d.Name)
	}
}

func TestSameInputSameBytes(t *testing.T) {
	t.Parallel()
	for _, k := range charts.New().Capabilities() {
		first := agenttest.Bytes(t, specsOf(t, k))
		for range 5 {
			require.Equal(t, string(first), string(agenttest.Bytes(t, specsOf(t, k))))
		}
	}
}

// Each specification says what it is, holds its data and looks the same everywhere.
func TestSpecsAreComplete(t *testing.T) {
	t.Parallel()
	var first []byte
	for _, k := range charts.New().Capabilities() {
		names := map[any]bool{}
		for _, s := range specsOf(t, k) {
			require.NotContains(t, string(agenttest.Bytes(t, s)), `"url"`)
			require.Equal(t, "container", s["width"])
			require.Greater(t, len(s["description"].(string)), 30)
			require.NotEmpty(t, s["title"].(map[string]any)["text"])
			require.NotEmpty(t, s["title"].(map[string]any)["subtitle"])
			require.NotEmpty(t, s["data"].(map[string]any)["values"])
			require.False(t, names[s["name"]], "%s twice", s["name"])
			names[s["name"]] = true
			config := agenttest.Bytes(t, s["config"])
			if first == nil {
				first = config
			}
			require.Equal(t, string(first), string(config))
		}
	}
}

func TestNothingToDraw(t *testing.T) {
	t.Parallel()
	gap := func(field string) []any {
		return []any{map[string]any{"field": field, "missing": "prices:SBI", "reason": "no price by then"}}
	}
	for name, tt := range map[string]struct {
		capability string
		args       map[string]any
		want       []string
	}{
		"left out":       {"charts.overview", nil, []string{"nav: there is no history", "growth: there is no history", "drawdown: there is no history", "allocation: there is no valued_positions", "attribution_waterfall: there is no currency_attr"}},
		"null":           {"charts.regime_history", map[string]any{"regime_history": nil}, []string{"regime_history: there is no regime_history", "regime_probabilities: there is no regime_history"}},
		"a figure short": {"charts.attribution_waterfall", map[string]any{"currency_attr": map[string]any{"local_return": nil, "positions": []any{}, "insufficient_data": gap("local_return")}}, []string{"attribution_waterfall: local_return is null: prices:SBI: no price by then", "attribution_by_line: positions is empty: prices:SBI: no price by then"}},
		"all unpriced": {
			"charts.allocation",
			map[string]any{"valued_positions": map[string]any{"positions": []any{map[string]any{"symbol": "SBI", "weight": nil}}, "cash": []any{}}},
			[]string{"allocation: positions is empty", "allocation_by_currency: positions is empty", "allocation_by_asset_class: positions is empty"},
		},
		"no days":        {"charts.nav_drawdown", map[string]any{"history": map[string]any{"days": []any{}, "nav": []any{}, "insufficient_data": gap("nav")}}, []string{"nav: Net asset value: nav is null: prices:SBI: no price by then", "growth: index is empty: prices:SBI: no price by then", "drawdown: Drawdown: drawdown is empty: prices:SBI: no price by then"}},
		"nothing known":  {"charts.nav_drawdown", map[string]any{"history": map[string]any{"days": []any{"2007-05-08"}, "nav": []any{nil}, "drawdown": []any{nil}, "insufficient_data": []any{}}}, []string{"nav: Net asset value: nav is empty", "growth: index is empty", "drawdown: Drawdown: drawdown is empty"}},
		"no factors":     {"charts.factor_exposures", map[string]any{"factor_exposures": map[string]any{"factors": []any{}, "insufficient_data": gap("factors")}}, []string{"factor_betas: factors is null: prices:SBI: no price by then", "factor_variance: factors is null: prices:SBI: no price by then"}},
		"no regime":      {"charts.macro_overview", map[string]any{"regime": map[string]any{"regime": nil, "probabilities": nil, "insufficient_data": gap("regime")}}, []string{"regime: regime is null: prices:SBI: no price by then", "indicators: there is no indicators", "factor_betas: there is no factor_exposures", "drawdown_at_risk: there is no dar"}},
		"no z-scores":    {"charts.macro_overview", map[string]any{"indicators": map[string]any{"indicators": []any{map[string]any{"series": "X", "z": nil}}}}, []string{"regime: there is no regime", "indicators: indicators is empty", "factor_betas: there is no factor_exposures", "drawdown_at_risk: there is no dar"}},
		"no dar":         {"charts.macro_overview", map[string]any{"dar": map[string]any{"dar": nil, "insufficient_data": gap("dar")}}, []string{"regime: there is no regime", "indicators: there is no indicators", "factor_betas: there is no factor_exposures", "drawdown_at_risk: dar is null: prices:SBI: no price by then"}},
		"no shocked":     {"charts.scenario_deltas", map[string]any{"scenario_result": map[string]any{"base_value": "1.00", "delta": nil, "positions": []any{}}}, []string{"scenario_value: delta is empty", "scenario_deltas: positions is empty"}},
		"empty history":  {"charts.regime_history", map[string]any{"regime_history": map[string]any{"history": []any{}, "insufficient_data": gap("history")}}, []string{"regime_history: history is null: prices:SBI: no price by then", "regime_probabilities: history is null: prices:SBI: no price by then"}},
		"empty holdings": {"charts.allocation", map[string]any{"valued_positions": map[string]any{"positions": []any{}, "cash": []any{}, "insufficient_data": gap("concentration")}}, []string{"allocation: positions is empty: prices:SBI: no price by then", "allocation_by_currency: positions is empty: prices:SBI: no price by then", "allocation_by_asset_class: positions is empty: prices:SBI: no price by then"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			specs, omitted := draw(t, tt.capability, tt.args)
			require.Empty(t, specs)
			var got []string
			for _, o := range omitted {
				got = append(got, fmt.Sprintf("%s: %s", o["chart"], o["reason"]))
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// An answer of another kind is the definition's mistake, and names the place.
func TestWrongInput(t *testing.T) {
	t.Parallel()
	for pointer, tt := range map[string]struct {
		capability string
		args       map[string]any
	}{
		"/args/history/nav":                {"charts.nav_drawdown", map[string]any{"history": map[string]any{"days": []any{"2007-05-08"}, "nav": []any{1, 2}}}},
		"/args/history/days":               {"charts.overview", map[string]any{"history": map[string]any{"days": "2007-05-08"}}},
		"/args/currency_attr/local_return": {"charts.attribution_waterfall", map[string]any{"currency_attr": map[string]any{"local_return": []any{}}}},
		"/args/dar":                        {"charts.macro_overview", map[string]any{"dar": map[string]any{"dar": "a lot"}}},
	} {
		_, err := run(t, charts.New(), agent.Context{}, tt.capability, tt.args)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, pointer, e.Fields[0].Pointer)
	}
}

// Of many days some are picked, the peaks and troughs among them; of many lines the largest.
func TestChartsAreBounded(t *testing.T) {
	t.Parallel()
	var days, nav []any
	for i := range 9000 {
		days = append(days, time.Date(1990, 1, 1+i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly))
		nav = append(nav, 1000+i%7)
	}
	nav[4567], nav[5678], nav[100] = 1, 99999, nil
	specs, omitted := draw(t, "charts.nav_drawdown", map[string]any{"history": map[string]any{"currency": "CHF", "days": days, "nav": nav}})
	require.Len(t, specs, 1)
	require.Len(t, omitted, 2)
	valid(t, specs[0])
	values := specs[0]["data"].(map[string]any)["values"].([]any)
	require.LessOrEqual(t, len(values), 2000)
	require.Greater(t, len(values), 1900)
	var shown []string
	lowest, highest := false, false
	for _, v := range values {
		v := v.(map[string]any)
		shown = append(shown, v["date"].(string))
		lowest, highest = lowest || v["nav"] == json.Number("1"), highest || v["nav"] == json.Number("99999")
	}
	require.True(t, lowest && highest)
	require.IsIncreasing(t, shown)
	require.Equal(t, days[0], shown[0])
	require.Equal(t, days[len(days)-1], shown[len(shown)-1])

	var positions []any
	for i := range 40 {
		positions = append(positions, map[string]any{"symbol": fmt.Sprintf("S%02d", i), "currency": "CHF", "weight": float64(i-20) / 100, "market_value": "1"})
	}
	specs, _ = draw(t, "charts.allocation", map[string]any{"valued_positions": map[string]any{"currency": "CHF", "positions": positions, "cash": []any{}}})
	values = specs[0]["data"].(map[string]any)["values"].([]any)
	require.Len(t, values, 30)
	require.Equal(t, "S00", values[0].(map[string]any)["symbol"], "the largest short is larger than the largest long")
	require.Contains(t, specs[0]["title"].(map[string]any)["subtitle"], "the 30 largest of 40")
	require.Len(t, specs[1]["data"].(map[string]any)["values"], 40, "a total needs all of them")
}

// A short history and one line are charts too.
func TestSmall(t *testing.T) {
	t.Parallel()
	specs, _ := draw(t, "charts.overview", map[string]any{
		"history":          map[string]any{"currency": "CHF", "days": []any{"2005-01-03"}, "nav": []any{1000000}, "drawdown": []any{0}, "index": []any{1}, "benchmark": nil},
		"valued_positions": map[string]any{"currency": "CHF", "positions": []any{}, "cash": []any{map[string]any{"currency": "CHF", "weight": 1, "market_value": "1000000.00"}}},
	})
	require.Len(t, specs, 4)
	for _, s := range specs {
		valid(t, s)
	}
	one := sampleAnswers(t)["regime_history"].(map[string]any)["history"].([]any)[:1]
	specs, omitted := draw(t, "charts.regime_history", map[string]any{"regime_history": map[string]any{"history": one}})
	require.Len(t, specs, 1)
	require.Equal(t, "regime_probabilities", omitted[0]["chart"])
	valid(t, specs[0])
}
