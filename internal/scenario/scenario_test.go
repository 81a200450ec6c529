package scenario_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/scenario"
)

const dir = "../../configs/analytics"

func load(t testing.TB) *scenario.Library {
	t.Helper()
	l, err := scenario.Load(dir)
	require.NoError(t, err)
	return l
}

// The table of the project's reference: bp real rates, bp inflation, bp credit, dollar, shares.
func TestLibraryIsTheReferences(t *testing.T) {
	t.Parallel()
	names := []string{"rates_bps", "inflation_bps", "credit_bps", "usd_pct", "equity_pct"}
	want := map[string][5]float64{
		"rates_up": {100, 0, 0, 2, -5}, "rates_down": {-100, 0, 0, -2, 8},
		"usd_up": {0, 0, 0, 5, -2}, "usd_down": {0, 0, 0, -5, 2},
		"cpi_surprise": {50, 100, 25, 0, -8}, "credit_widening": {-50, 0, 200, 0, -15}, "credit_tightening": {0, 0, -50, 0, 5},
		"equity_selloff": {-75, 0, 100, 3, -20}, "equity_rally": {25, 0, -25, 0, 15},
	}
	l := load(t)
	require.Contains(t, l.Origin, "Judgement")
	require.Len(t, l.Scenarios, len(want))
	for _, s := range l.Scenarios {
		var got [5]float64
		for i, name := range names {
			got[i] = s.Shocks[name]
		}
		require.Equal(t, want[s.ID], got, s.ID)
	}
	names = []string{"bonds_pct", "equity_pct", "commodities_pct", "usd_pct"}
	for id, sizes := range map[string][4]float64{
		"money_printing": {-25, 10, 30, -15}, "austerity": {15, -20, -15, 10}, "default": {-30, -50, -40, 20},
	} {
		s, ok := l.Delever(id)
		require.True(t, ok)
		require.Len(t, s.Shocks, 4)
		for i, name := range names {
			require.InDelta(t, sizes[i], s.Shocks[name], 0, "%s %s", id, name)
		}
	}
	require.Equal(t, []string{"SPI", "USMKT"}, l.Symbols())
}

func TestLibrariesThatAreRefused(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(dir + "/" + scenario.File)
	require.NoError(t, err)
	for name, tt := range map[string]struct{ old, new, want string }{
		"unknown key":         {"estimation:", "estimations: 1\nestimation:", "estimations"},
		"no source":           {`source: "Judgement`, `source: "" #`, "source: is missing"},
		"unknown shock":       {"equity_pct: -5", "equities_pct: -5", `no shock "equities_pct"`},
		"out of bounds":       {"rates_bps: 100, usd_pct: 2", "rates_bps: 10000, usd_pct: 2", "rates_bps is 10000"},
		"nought":              {"rates_bps: 100, usd_pct: 2", "rates_bps: 0, usd_pct: 2", "rates_bps is 0"},
		"no number":           {"rates_bps: 100, usd_pct: 2", "rates_bps: .nan, usd_pct: 2", "rates_bps is NaN"},
		"twice":               {"id: usd_down", "id: usd_up", `id "usd_up" stands twice`},
		"no deleveraging":     {"id: austerity", "id: thrift", `"austerity" is missing`},
		"unknown mapping":     {"mapping: duration", "mapping: guess", `mapping "guess"`},
		"classes of none":     {"mapping: duration\n    asset_classes: [bond]", "mapping: duration", "asset_classes belong"},
		"factors elsewhere":   {"mapping: duration", "mapping: duration\n    factors: {CHF: SPI}", "factors belong"},
		"no currency":         {"    currency: USD\n  - name: usd_vs_cad_pct", "  - name: usd_vs_cad_pct", "currency and against belong"},
		"against itself":      {"against: CAD", "against: USD", "against itself"},
		"wrong currency":      {"against: CAD", "against: cad", `"cad" is no currency`},
		"nothing said":        {`missing: "factor:credit"`, `missing: ""`, "missing and reason belong"},
		"unit":                {"unit: bps", "unit: bp", `unit "bp"`},
		"loses more than all": {"min: -90", "min: -100", "above -100 %"},
		"too few returns":     {"min_returns: 60", "min_returns: 2", "min_returns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, string(good), tt.old)
			_, err := scenario.Parse(bytes.Replace(good, []byte(tt.old), []byte(tt.new), 1))
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func FuzzParse(f *testing.F) {
	good, err := os.ReadFile(dir + "/" + scenario.File)
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte("source: x\nshocks: [{name: a}]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := scenario.Parse(raw)
		if err != nil {
			return
		}
		// Every scenario of a library that was taken can be chosen and run.
		for _, s := range l.Scenarios {
			chosen, err := l.Choose(s.ID, nil)
			require.NoError(t, err)
			_, err = l.Run(chosen, "CHF", []scenario.Line{line("A", "equity", "USD", "100")}, beta(1))
			require.NoError(t, err)
		}
	})
}

func TestChoose(t *testing.T) {
	t.Parallel()
	l := load(t)
	for name, tt := range map[string]struct {
		id      string
		own     map[string]float64
		pointer string
	}{
		"nothing":         {"", nil, "/scenario_id"},
		"nothing but 0":   {"", map[string]float64{"rates_bps": 0}, "/scenario_id"},
		"unknown":         {"doom", nil, "/scenario_id"},
		"deleveraging":    {"austerity", nil, "/scenario_id"},
		"unknown shock":   {"", map[string]float64{"rate_bps": 1}, "/custom_shocks/rate_bps"},
		"escaped":         {"", map[string]float64{"a/b~": 1}, "/custom_shocks/a~1b~0"},
		"too large":       {"rates_up", map[string]float64{"rates_bps": 1001}, "/custom_shocks/rates_bps"},
		"no number":       {"", map[string]float64{"rates_bps": math.NaN()}, "/custom_shocks/rates_bps"},
		"worth less than": {"", map[string]float64{"usd_pct": -100}, "/custom_shocks/usd_pct"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := l.Choose(tt.id, tt.own)
			e, ok := errors.AsType[*fault.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, fault.Invalid, e.Code)
			require.Equal(t, tt.pointer, e.Fields[0].Pointer)
		})
	}
	s, err := l.Choose("rates_up", map[string]float64{"equity_pct": -10, "usd_pct": 0})
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"rates_bps": 100, "equity_pct": -10}, s.Shocks)
	again, err := l.Choose("rates_up", nil)
	require.NoError(t, err)
	require.InDelta(t, -5, again.Shocks["equity_pct"], 0, "the library's own is as it was")
}

func line(symbol, class, currency, value string) scenario.Line {
	return scenario.Line{
		Kind: portfolio.KindSecurity, Symbol: symbol, AssetClass: class, Currency: currency,
		Value: decimal.NewNullDecimal(decimal.RequireFromString(value)),
	}
}

func cash(currency, value string) scenario.Line {
	l := line("CASH:"+currency, "", currency, value)
	l.Kind = portfolio.KindCash
	return l
}

func beta(b float64) scenario.Betas {
	return func(string, string) (float64, error) { return b, nil }
}

func run(t testing.TB, base string, own map[string]float64, betas scenario.Betas, lines ...scenario.Line) scenario.Outcome {
	t.Helper()
	l := load(t)
	s, err := l.Choose("", own)
	require.NoError(t, err)
	out, err := l.Run(s, base, lines, betas)
	require.NoError(t, err)
	return out
}

// Fabozzi, Bond Markets, Analysis and Strategies, chapter 4, and Fixed Income Mathematics: a 25-year 6 %
// bond that yields 9 % has a modified duration of 10.62 and a convexity of 182.92; for 200 bp up they
// say -17.58 %, for 200 bp down +24.90 %. Duration and convexity are computed here from the cash flows,
// and the estimate is held against the price itself.
func TestDurationAndConvexity(t *testing.T) {
	t.Parallel()
	price := func(yield float64) (p, duration, convexity float64) {
		y := yield / 2
		for n := 1; n <= 50; n++ {
			flow := 3.0
			if n == 50 {
				flow += 100
			}
			v := flow / math.Pow(1+y, float64(n))
			p += v
			duration += float64(n) * v
			convexity += float64(n*(n+1)) * v
		}
		return p, duration / p / (1 + y) / 2, convexity / p / (1 + y) / (1 + y) / 4
	}
	p, duration, convexity := price(0.09)
	require.InDelta(t, 70.3570, p, 5e-5)
	require.InDelta(t, 10.62, duration, 0.005)
	require.InDelta(t, 182.92, convexity, 0.02, "the book rounds on its way")

	bond := line("BOND", "bond", "CHF", "1000000")
	bond.Duration, bond.Convexity = &duration, &convexity
	for bps, published := range map[float64]float64{200: -0.1758, -200: 0.2490} {
		out := run(t, "CHF", map[string]float64{"rates_bps": bps}, nil, bond)
		got := out.Delta.Decimal.InexactFloat64() / 1e6
		require.InDelta(t, published, got, 1e-4)
		exact, _, _ := price(0.09 + bps*1e-4)
		require.InDelta(t, exact/p-1, got, 0.006, "what the second order leaves out")
	}
	small := run(t, "CHF", map[string]float64{"rates_bps": 1}, nil, bond)
	exact, _, _ := price(0.0901)
	require.InDelta(t, exact/p-1, small.Delta.Decimal.InexactFloat64()/1e6, 1e-8)

	bond.Convexity = nil
	out := run(t, "CHF", map[string]float64{"rates_bps": 200}, nil, bond)
	require.InDelta(t, -0.2124, out.Delta.Decimal.InexactFloat64()/1e6, 1e-4, "duration alone")
	require.Len(t, out.Warnings, 1)
	bond.Duration = nil
	out = run(t, "CHF", map[string]float64{"rates_bps": 200}, nil, bond)
	require.False(t, out.Delta.Valid)
	require.Equal(t, "securities:BOND.duration", out.Unmapped[0].Shortage.Missing)
}

// A balance of x units at a rate is worth x times the rate before and after: nothing is estimated.
func TestCurrenciesAreExact(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		base, shock string
		size        float64
		currency    string
		want        float64 // change of 100
	}{
		"dollars in francs":             {"CHF", "usd_pct", 5, "USD", 5},
		"francs in dollars":             {"USD", "usd_pct", 5, "CHF", 100 * (1/1.05 - 1)},
		"euros in francs":               {"CHF", "usd_pct", 5, "EUR", 0},
		"dollars in dollars":            {"USD", "usd_pct", 5, "USD", 0},
		"US dollars in Canadian":        {"CAD", "usd_vs_cad_pct", 10, "USD", 10},
		"Canadian dollars in US":        {"USD", "usd_vs_cad_pct", 10, "CAD", 100 * (1/1.1 - 1)},
		"Canadian dollars in francs":    {"CHF", "usd_vs_cad_pct", 10, "CAD", 100 * (1/1.1 - 1)},
		"US dollars in francs, of both": {"CHF", "usd_vs_cad_pct", 10, "USD", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := run(t, tt.base, map[string]float64{tt.shock: tt.size}, nil, cash(tt.currency, "100"))
			require.True(t, out.Positions[0].Delta.Valid)
			require.InDelta(t, tt.want, out.Positions[0].Delta.Decimal.InexactFloat64(), 1e-6)
			require.Equal(t, tt.want != 0, out.Delta.Valid, "a shock that reaches nothing is not silently 0")
			if tt.want == 0 {
				require.True(t, strings.HasPrefix(out.Shortages[0].Missing, "exposure:USD"))
			}
		})
	}
}

func TestWhatIsNotMapped(t *testing.T) {
	t.Parallel()
	none := portfolio.Shortages{{Missing: "prices:SPI", Reason: "no observation"}}
	betas := func(symbol, _ string) (float64, error) {
		if symbol == "NEW" {
			return 0, none
		}
		return 2, nil
	}
	out := run(t, "CHF", map[string]float64{"equity_pct": -10, "credit_bps": 50, "usd_pct": 10, "usd_vs_cad_pct": 1}, betas,
		line("GOLD", "commodity", "USD", "50"), line("JP", "equity", "JPY", "10"), line("NEW", "equity", "CHF", "20"),
		line("OLD", "equity", "CHF", "-100"), line("US", "equity", "USD", "100"))
	got := map[string]string{}
	for _, u := range out.Unmapped {
		got[u.Symbol+" "+u.Shock] = u.Shortage.Missing
	}
	require.Equal(t, map[string]string{
		"GOLD ": "scenario:custom", "JP equity_pct": "factor:equity_pct.JPY", "NEW equity_pct": "prices:SPI",
	}, got)
	deltas := map[string]string{}
	for _, p := range out.Positions {
		deltas[p.Symbol] = "null"
		if p.Delta.Valid {
			deltas[p.Symbol] = p.Delta.Decimal.String()
		}
	}
	require.Equal(t, map[string]string{"GOLD": "5", "JP": "null", "NEW": "null", "OLD": "20", "US": "-10"}, deltas)
	require.Equal(t, "15", out.Delta.Decimal.String())
	for _, s := range out.Shocks {
		switch s.Shock.Name {
		case "credit_bps":
			require.Equal(t, "factor:credit", s.Shortage.Missing)
		case "usd_vs_cad_pct":
			require.Equal(t, "exposure:USD/CAD", s.Shortage.Missing)
		default:
			require.True(t, s.Delta.Valid)
		}
	}

	unpriced := line("X", "equity", "CHF", "0")
	unpriced.Value.Valid, unpriced.Unpriced = false, portfolio.Shortages{{Missing: "prices:X", Reason: "none"}}
	out = run(t, "CHF", map[string]float64{"equity_pct": -10}, betas, unpriced, line("OLD", "equity", "CHF", "100"))
	require.False(t, out.Delta.Valid)
	require.Equal(t, portfolio.Shortages{{Missing: "prices:X", Reason: "none"}}, out.Shortages)

	out = run(t, "CHF", map[string]float64{"equity_pct": -10}, betas)
	require.Equal(t, "holdings", out.Shortages[0].Missing)

	out = run(t, "CHF", map[string]float64{"equity_pct": -60}, betas, line("OLD", "equity", "CHF", "100"))
	require.Len(t, out.Warnings, 1, "-120 %% of a long position")

	l := load(t)
	s, err := l.Choose("equity_selloff", nil)
	require.NoError(t, err)
	_, err = l.Run(s, "CHF", []scenario.Line{line("A", "equity", "CHF", "1")}, func(string, string) (float64, error) {
		return 0, errors.New("broken")
	})
	require.ErrorContains(t, err, "broken")
}

// Random books: what a scenario does is the sum over its shocks, over its positions, and what each of its
// shocks does alone; linear shocks scale.
func TestScenariosAddUp(t *testing.T) {
	t.Parallel()
	l := load(t)
	classes := []string{"equity", "bond", "commodity", "real_estate", "multi_asset", "other"}
	currencies := []string{"CHF", "USD", "EUR", "CAD", "JPY"}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		base := currencies[rng.IntN(3)]
		var lines []scenario.Line
		for range 1 + rng.IntN(12) {
			value := decimal.New(rng.Int64N(2e8)-5e7, -2)
			x := line("S", classes[rng.IntN(len(classes))], currencies[rng.IntN(5)], value.String())
			if rng.IntN(2) == 0 {
				d, c := 15*rng.Float64(), 300*rng.Float64()
				x.Duration, x.Convexity = &d, &c
			}
			if rng.IntN(4) == 0 {
				x = cash(x.Currency, value.String())
			}
			lines = append(lines, x)
		}
		slope := rng.NormFloat64()
		all := slices.Concat(l.Scenarios, l.Deleveraging)
		s := all[rng.IntN(len(all))]
		out, err := l.Run(s, base, lines, beta(slope))
		require.NoError(t, err)
		total := decimal.Zero
		for _, p := range out.Positions {
			effects := decimal.Zero
			for _, e := range p.Effects {
				want := p.Value.Decimal.InexactFloat64() * e.Size * e.Sensitivity
				require.InDelta(t, want, e.Delta.InexactFloat64(), 1e-6+1e-12*math.Abs(want))
				effects = effects.Add(e.Delta)
			}
			require.True(t, effects.Equal(p.Delta.Decimal))
			total = total.Add(effects)
		}
		require.True(t, total.Equal(out.Delta.Decimal), "seed %d", seed)
		apart := decimal.Zero
		for name, size := range s.Shocks {
			one, err := l.Run(scenario.Scenario{ID: "one", Shocks: map[string]float64{name: size}}, base, lines, beta(slope))
			require.NoError(t, err)
			apart = apart.Add(one.Delta.Decimal)
			if shock, _ := l.Shock(name); shock.Mapping == scenario.Beta || shock.Mapping == scenario.Class {
				half, err := l.Run(scenario.Scenario{ID: "half", Shocks: map[string]float64{name: size / 2}}, base, lines, beta(slope))
				require.NoError(t, err)
				require.InDelta(t, one.Delta.Decimal.InexactFloat64(), 2*half.Delta.Decimal.InexactFloat64(), 1e-4)
			}
		}
		require.True(t, apart.Equal(out.Delta.Decimal), "seed %d", seed)
	}
}

// Values of 100, 110, 99, 104.5, 88, 110: drawdowns 0, 0.1, 0.05, 0.2, 0, by hand; the type-7 quantile at
// 0.8 of the five is a fifth of the way from 0.1 to 0.2.
func TestDrawdownAtRiskByHand(t *testing.T) {
	t.Parallel()
	values := []float64{100, 110, 99, 104.5, 88, 110}
	r := make([]float64, len(values)-1)
	for i := range r {
		r[i] = values[i+1]/values[i] - 1
	}
	dar, cdar := scenario.DrawdownAtRisk(r, 0.8)
	require.InDelta(t, 0.12, dar, 1e-12)
	require.InDelta(t, 0.2, cdar, 1e-12)
	dar, cdar = scenario.DrawdownAtRisk(r, 0.75)
	require.InDelta(t, 0.1, dar, 1e-12)
	require.InDelta(t, 0.15, cdar, 1e-12, "at or beyond")
}

func TestDrawdownAtRiskIdentities(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 11))
		r := make([]float64, 1+rng.IntN(300))
		for i := range r {
			r[i] = 0.02 * rng.NormFloat64()
		}
		deepest, _ := portfolio.MaxDrawdown(r)
		last := 0.0
		for _, c := range []float64{0.5, 0.8, 0.95, 0.99} {
			dar, cdar := scenario.DrawdownAtRisk(r, c)
			require.GreaterOrEqual(t, dar, last, "rises with confidence")
			require.GreaterOrEqual(t, cdar, dar-1e-15)
			require.LessOrEqual(t, cdar, deepest+1e-15)
			last = dar
		}
		dar, _ := scenario.DrawdownAtRisk(r, 1)
		require.InDelta(t, deepest, dar, 1e-15)
	}
	rising := []float64{0.01, 0.02, 0}
	dar, cdar := scenario.DrawdownAtRisk(rising, 0.95)
	require.Zero(t, dar)
	require.Zero(t, cdar)
}

func TestPhaseScale(t *testing.T) {
	t.Parallel()
	window := []float64{0.01, -0.01, 0.01, -0.01}
	scale, err := scenario.PhaseScale([]float64{0.02, -0.02, 0.02, -0.02}, window, 4)
	require.NoError(t, err)
	require.InDelta(t, 2, scale, 1e-12)
	for name, tt := range map[string]struct{ phase, window []float64 }{
		"too few": {window[:3], window}, "flat": {window, []float64{0, 0}}, "one": {window, window[:1]},
	} {
		_, err = scenario.PhaseScale(tt.phase, tt.window, 4)
		_, ok := errors.AsType[portfolio.Shortages](err)
		require.True(t, ok, name)
	}
}
