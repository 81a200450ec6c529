package analyst_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// goldenCase is one entry of golden.json: a portfolio, a question, and what a second, unrelated
// calculation (testdata/independent.py) answers.
type goldenCase struct {
	Name           string   `json:"name"`
	Ledger         string   `json:"ledger"`
	BaseCurrency   string   `json:"base_currency"`
	Benchmark      string   `json:"benchmark"`
	Calendar       string   `json:"calendar"`
	Asof           string   `json:"asof"`
	LookbackDays   int      `json:"lookback_days"`
	RiskFreeAnnual *float64 `json:"risk_free_annual"`
	From           *string  `json:"from"`

	ValuedPositions    map[string]any `json:"valued_positions"`
	PerfMetrics        map[string]any `json:"perf_metrics"`
	CurrencyAttr       map[string]any `json:"currency_attr"`
	CurrencyAttrLinked map[string]any `json:"currency_attr_linked"`
}

func TestAgainstIndependentCalculation(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(testdataDir, "golden.json"))
	require.NoError(t, err)
	var cases []goldenCase
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)

	for _, tt := range cases {
		t.Run(tt.Name, func(t *testing.T) {
			t.Parallel()
			dir := testdataDir
			if tt.Ledger == "demo_transactions.csv" {
				dir = sampleDir
			}
			d := newDesk(t, filepath.Join(dir, tt.Ledger))
			d.Subject.BaseCurrency, d.Subject.Benchmark, d.Subject.Calendar = tt.BaseCurrency, tt.Benchmark, tt.Calendar
			run := d.at(day(t, tt.Asof))

			valued, _ := d.value(t, run)
			for _, p := range valued["positions"].([]any) {
				p := p.(map[string]any)
				p["lots"] = float64(lots(t, d, p["symbol"].(string), tt.Asof))
			}
			agree(t, "valued_positions", tt.ValuedPositions, valued)

			args := over(tt.LookbackDays)
			args["risk_free_annual"] = tt.RiskFreeAnnual
			measured, _ := d.ask(t, run, "metrics.compute_twr", args)
			agree(t, "perf_metrics", tt.PerfMetrics, measured)

			args = over(tt.LookbackDays)
			linked, _ := d.ask(t, run, "attribution.currency", args)
			agree(t, "currency_attr_linked", tt.CurrencyAttrLinked, linked)
			args["from"] = tt.From
			attributed, _ := d.ask(t, run, "attribution.currency", args)
			agree(t, "currency_attr", tt.CurrencyAttr, attributed)
		})
	}
}

// lots counts the open lots of a symbol.
func lots(t *testing.T, d *desk, symbol, asof string) int {
	t.Helper()
	held, _ := d.ask(t, d.at(day(t, asof)), "ledger.positions", map[string]any{"portfolio_id": portfolioID})
	for _, p := range held["positions"].([]any) {
		if p := p.(map[string]any); p["symbol"] == symbol {
			return len(p["lots"].([]any))
		}
	}
	return 0
}

// agree requires everything that want says, to 1e-9 relative; got may say more. Amounts are
// rounded where they are reported, which adds half a unit of their last place.
func agree(t *testing.T, path string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		require.True(t, ok, "%s is no object", path)
		for k, v := range want {
			require.Contains(t, got, k, path)
			agree(t, path+"."+k, v, got[k])
		}
	case []any:
		got, ok := got.([]any)
		require.True(t, ok, "%s is no list", path)
		require.Len(t, got, len(want), path)
		for i, v := range want {
			agree(t, fmt.Sprintf("%s[%d]", path, i), v, got[i])
		}
	case float64:
		require.NotNil(t, got, path)
		tolerance := 1e-9 * math.Abs(want)
		switch got.(type) {
		case string:
			tolerance += 0.5e-6
			if path == "valued_positions.total_value" {
				tolerance = 0.0051
			}
		default:
			tolerance = math.Max(tolerance, 1e-14) // parts that cancel to nothing
		}
		require.InDelta(t, want, float(t, got), tolerance, path)
	default:
		require.Equal(t, want, got, path)
	}
}
