package rebalance_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/rebalance"
)

const dir = "../../configs/analytics"

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func f(x float64) *float64 { return &x }

var shortage = portfolio.Shortages{{Missing: "returns", Reason: "none"}}

func TestTables(t *testing.T) {
	t.Parallel()
	r, err := rebalance.LoadRules(dir)
	require.NoError(t, err)
	require.Equal(t, rebalance.Limits{
		MaxPositionPct: 20, MinPositionPct: 0.5, MaxSectorPct: 30, MaxTEPct: 5, MaxTurnoverPct: 30,
		MinLotValue: 500, LotSize: 1, CostPerTrade: 5, CostBps: 15,
	}, r.Limits, "the reference's")
	require.Contains(t, r.Source, "config:rebalance.yaml@")
	h, err := rebalance.LoadHedges(dir)
	require.NoError(t, err)
	require.Contains(t, h.Candidates, "SPI")

	for name, tt := range map[string]struct{ file, old, new, want string }{
		"unknown key":   {"rebalance.yaml", "lot_size: 1", "lots: 1", "lots"},
		"negative cost": {"rebalance.yaml", "cost_bps: 15", "cost_bps: -1", "limits.cost_bps: -1 is outside"},
		"no position":   {"rebalance.yaml", "max_position_pct: 20", "max_position_pct: 0", "limits.max_position_pct"},
		"no number":     {"rebalance.yaml", "max_te_pct: 5", "max_te_pct: .nan", "limits.max_te_pct"},
		"min above max": {"rebalance.yaml", "min_position_pct: 0.5", "min_position_pct: 25", "is above max_position_pct"},
		"no source":     {"rebalance.yaml", `source: "Judgement`, `source: "" #`, "source: is missing"},
		"twice":         {"hedges.yaml", "[SPI, SBI", "[SPI, SPI", "each once"},
		"none":          {"hedges.yaml", "[SPI, SBI, SII, USMKT, GOLD, LP25, LP40, LP60]", "[]", "1 to 50 symbols"},
		"percent":       {"hedges.yaml", "min_effectiveness: 0.05", "min_effectiveness: 5", "min_effectiveness"},
		"returns":       {"hedges.yaml", "min_returns: 60", "min_returns: 600", "min_returns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(filepath.Join(dir, tt.file))
			require.NoError(t, err)
			require.Contains(t, string(raw), tt.old)
			own := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(own, tt.file), []byte(strings.Replace(string(raw), tt.old, tt.new, 1)), 0o600))
			if tt.file == rebalance.LimitsFile {
				_, err = rebalance.LoadRules(own)
			} else {
				_, err = rebalance.LoadHedges(own)
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestPoliciesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policies []rebalance.Policy
		pointer  string
	}{
		"type":       {[]rebalance.Policy{{Type: "hope"}}, "/0/type"},
		"no symbol":  {[]rebalance.Policy{{Type: "target_weight", Weight: f(0.1)}}, "/0/symbol"},
		"symbol":     {[]rebalance.Policy{{Type: "max_sector", Symbol: "A", Value: f(0.1)}}, "/0/symbol"},
		"no weight":  {[]rebalance.Policy{{Type: "target_weight", Symbol: "A"}}, "/0/weight"},
		"percent":    {[]rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(20)}}, "/0/weight"},
		"negative":   {[]rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(-0.1)}}, "/0/weight"},
		"no number":  {[]rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(math.NaN())}}, "/0/weight"},
		"both":       {[]rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(0.1), Value: f(0.1)}}, "/0/value"},
		"half":       {[]rebalance.Policy{{Type: "band", Symbol: "A", Min: f(0.1)}}, "/0/max"},
		"upside":     {[]rebalance.Policy{{Type: "band", Symbol: "A", Min: f(0.2), Max: f(0.1)}}, "/0/min"},
		"twice":      {[]rebalance.Policy{{Type: "max_position", Value: f(0.1)}, {Type: "max_position", Value: f(0.2)}}, "/1/type"},
		"above 1":    {[]rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(0.6)}, {Type: "target_weight", Symbol: "B", Weight: f(0.5)}}, "/1/weight"},
		"rating 101": {[]rebalance.Policy{{Type: "min_rating", Value: f(101)}}, "/0/value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := rebalance.CheckPolicies(tt.policies)
			e, ok := errors.AsType[*fault.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, tt.pointer, e.Fields[0].Pointer)
		})
	}
	require.NoError(t, rebalance.CheckPolicies([]rebalance.Policy{
		{Type: "target_weight", Symbol: "A", Weight: f(1)},
		{Type: "band", Symbol: "A", Min: f(0), Max: f(1)},
		{Type: "min_rating", Value: f(60)},
		{Type: "minimum_variance"},
	}))
}

// small is a book of 100,000 francs: 40 % A, 30 % B, both in francs, 20 % C in dollars at 1.25, 5 % each in francs
// and dollars.
func small() rebalance.Book {
	one := decimal.NewFromInt(1)
	return rebalance.Book{
		Base: "CHF",
		Lines: []rebalance.Line{
			{Symbol: "A", Sector: "X", Currency: "CHF", Quantity: dec("400"), Price: dec("100"), FX: one},
			{Symbol: "B", Sector: "X", Currency: "CHF", Quantity: dec("600"), Price: dec("50"), FX: one},
			{Symbol: "C", Sector: "Y", Currency: "USD", Quantity: dec("400"), Price: dec("40"), FX: dec("1.25")},
			{Symbol: "D", Sector: "Y", Currency: "USD", Quantity: decimal.Zero, Price: dec("10"), FX: dec("1.25")},
		},
		Cash: []rebalance.Cash{
			{Symbol: "CASH:CHF", Currency: "CHF", Amount: dec("5000"), FX: one},
			{Symbol: "CASH:USD", Currency: "USD", Amount: dec("4000"), FX: dec("1.25")},
		},
	}
}

func wide() rebalance.Limits {
	return rebalance.Limits{MaxPositionPct: 100, MaxSectorPct: 100, MaxTEPct: 1000, MaxTurnoverPct: 200, LotSize: 1, CostPerTrade: 5, CostBps: 15}
}

func propose(t testing.TB, p rebalance.Problem) rebalance.Plan {
	t.Helper()
	require.NoError(t, rebalance.CheckPolicies(p.Policies))
	if p.Risk == nil && p.RiskErr == nil {
		p.RiskErr = shortage
	}
	plan, err := rebalance.Propose(p)
	require.NoError(t, err)
	return plan
}

func orders(p rebalance.Plan) []string {
	all := []string{}
	for _, t := range p.Trades {
		all = append(all, fmt.Sprintf("%s %s %s", t.Side, t.Quantity, t.Symbol))
	}
	return all
}

// Each by hand from the book of small.
func TestTradesByHand(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policies []rebalance.Policy
		limits   func(*rebalance.Limits)
		ratings  map[string]float64
		want     []string
		binding  []string
	}{
		"nothing to do": {want: []string{}},
		"target down":   {policies: []rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(0.25)}}, want: []string{"SELL 150 A"}},
		"toward zero": { // 150.5 lots
			policies: []rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(0.2495)}}, want: []string{"SELL 150 A"},
		},
		"a new one": { // 5,000 / 12.5
			policies: []rebalance.Policy{{Type: "target_weight", Symbol: "D", Weight: f(0.05)}}, want: []string{"BUY 400 D"},
		},
		"inside the band": {policies: []rebalance.Policy{{Type: "band", Symbol: "A", Min: f(0.35), Max: f(0.45)}}, want: []string{}},
		"above the band":  {policies: []rebalance.Policy{{Type: "band", Symbol: "A", Min: f(0.3), Max: f(0.35)}}, want: []string{"SELL 50 A"}},
		"below the band":  {policies: []rebalance.Policy{{Type: "band", Symbol: "C", Min: f(0.25), Max: f(0.35)}}, want: []string{"BUY 100 C"}},
		"too large":       {policies: []rebalance.Policy{{Type: "max_position", Value: f(0.35)}}, want: []string{"SELL 50 A"}},
		"sector":          {policies: []rebalance.Policy{{Type: "max_sector", Value: f(0.35)}}, want: []string{"SELL 200 A", "SELL 300 B"}},
		"half the turnover": {
			policies: []rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(0.2)}},
			limits:   func(l *rebalance.Limits) { l.MaxTurnoverPct = 10.05 }, want: []string{"SELL 100 A"}, binding: []string{"max_turnover_pct"},
		},
		"too small a trade": {
			policies: []rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(0.396)}},
			limits:   func(l *rebalance.Limits) { l.MinLotValue = 500 }, want: []string{},
		},
		"too small a position": {
			policies: []rebalance.Policy{{Type: "target_weight", Symbol: "C", Weight: f(0.004)}, {Type: "target_weight", Symbol: "D", Weight: f(0.004)}},
			limits:   func(l *rebalance.Limits) { l.MinPositionPct = 0.5 }, want: []string{"SELL 400 C"},
		},
		"lots of ten": {
			policies: []rebalance.Policy{{Type: "target_weight", Symbol: "A", Weight: f(0.255)}},
			limits:   func(l *rebalance.Limits) { l.LotSize = 10 }, want: []string{"SELL 140 A"},
		},
		"bad ratings go": {
			policies: []rebalance.Policy{{Type: "min_rating", Value: f(60)}},
			ratings:  map[string]float64{"A": 75, "B": 59.9, "C": 60}, want: []string{"SELL 600 B"},
		},
		// 20,000 more of C need 10,000 of room: A and B, 70 %, give up a seventh.
		"the others make room": {
			policies: []rebalance.Policy{{Type: "target_weight", Symbol: "C", Weight: f(0.4)}},
			want:     []string{"SELL 57 A", "SELL 85 B", "BUY 397 C"}, binding: []string{"cash"},
		},
		// 10,000 of cash pay for 9,980 and its costs, not for 10,000.
		"cash": {
			policies: []rebalance.Policy{{Type: "target_weight", Symbol: "B", Weight: f(0.4)}, {Type: "band", Symbol: "A", Min: f(0.4), Max: f(0.4)}, {Type: "band", Symbol: "C", Min: f(0.2), Max: f(0.2)}},
			want:     []string{"BUY 199 B"}, binding: []string{"cash"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := wide()
			if tt.limits != nil {
				tt.limits(&limits)
			}
			plan := propose(t, rebalance.Problem{Book: small(), Policies: tt.policies, Limits: limits, Ratings: tt.ratings})
			require.Equal(t, tt.want, orders(plan))
			require.Equal(t, tt.binding, plan.Binding)
			keeps(t, small(), limits, plan)
		})
	}
}

// 100 dollars' worth at 1.25 for 5,000 francs of A: 5 and 15 bp each way, cash by currency.
func TestCostsAndCash(t *testing.T) {
	t.Parallel()
	plan := propose(t, rebalance.Problem{Book: small(), Limits: wide(), Policies: []rebalance.Policy{
		{Type: "target_weight", Symbol: "A", Weight: f(0.39)}, {Type: "target_weight", Symbol: "D", Weight: f(0.1)},
	}})
	require.Equal(t, []string{"SELL 10 A", "BUY 800 D"}, orders(plan))
	require.Equal(t, "6.5", plan.Trades[0].Cost.String())
	require.Equal(t, "20", plan.Trades[1].Cost.String())
	require.Equal(t, "26.5", plan.Cost.String())
	require.InDelta(t, 0.11, plan.Turnover, 1e-15)
	// 4,000 - 8,000 dollars are 4,000 short: 5,000 francs of the 5,000 + 1,000 - 26.50 pay for them.
	require.Len(t, plan.Conversions, 1)
	c := plan.Conversions[0]
	require.Equal(t, "5000 CHF for 4000 USD", fmt.Sprintf("%s %s for %s %s", c.SellAmount, c.Sell, c.BuyAmount, c.Buy))
	require.Equal(t, "973.5", plan.After.Cash[0].Amount.String())
	require.True(t, plan.After.Cash[1].Amount.IsZero())
}

func TestNotApplied(t *testing.T) {
	t.Parallel()
	plan := propose(t, rebalance.Problem{Book: small(), Limits: wide(), Unrated: "no ratings were given", Policies: []rebalance.Policy{
		{Type: "min_rating", Value: f(60)}, {Type: "target_weight", Symbol: "Z", Weight: f(0.1)}, {Type: "minimum_variance"},
	}})
	require.Empty(t, plan.Trades)
	var rules []string
	for _, n := range plan.NotApplied {
		rules = append(rules, n.Rule+" "+n.Symbol)
	}
	require.Equal(t, []string{"minimum_variance ", "target_weight Z", "min_rating "}, rules)

	empty := rebalance.Book{Base: "CHF"}
	_, err := rebalance.Propose(rebalance.Problem{Book: empty, Limits: wide(), RiskErr: shortage})
	_, ok := errors.AsType[portfolio.Shortages](err)
	require.True(t, ok)
}

func returnsOf(rng *rand.Rand, n, days int) [][]float64 {
	all := make([][]float64, n)
	market := make([]float64, days)
	for t := range market {
		market[t] = 0.008 * rng.NormFloat64()
	}
	for i := range all {
		all[i] = make([]float64, days)
		b := rng.Float64() * 2
		for t := range all[i] {
			all[i][t] = b*market[t] + 0.01*rng.NormFloat64()
		}
	}
	return all
}

// Random books, policies and limits: whatever is asked, nothing is sold that is not held, cash does not go
// below zero, turnover and tracking error are kept, and weights sum to 1.
func TestWhatAlwaysHolds(t *testing.T) {
	t.Parallel()
	traded := 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 17))
		currencies := []string{"CHF", "USD", "JPY"}
		rates := map[string]decimal.Decimal{"CHF": decimal.NewFromInt(1), "USD": dec("1.2182"), "JPY": dec("0.010163")}
		book := rebalance.Book{Base: "CHF"}
		n := 1 + rng.IntN(12)
		risk := &rebalance.Risk{Returns: map[string][]float64{}}
		series := returnsOf(rng, n+4, 100)
		risk.Reference = series[n]
		var policies []rebalance.Policy
		ratings := map[string]float64{}
		room := 1.0
		for i := range n {
			c := currencies[rng.IntN(3)]
			l := rebalance.Line{
				Symbol: fmt.Sprintf("S%02d", i), Sector: []string{"", "X", "Y"}[rng.IntN(3)], Currency: c, FX: rates[c],
				Quantity: decimal.New(rng.Int64N(2_000_000), -3), Price: decimal.New(1+rng.Int64N(30_000), -2),
			}
			switch rng.IntN(10) {
			case 0:
				l.Quantity = decimal.Zero
			case 1:
				l.Quantity = l.Quantity.Div(decimal.NewFromInt(10)).Round(3).Neg()
			}
			book.Lines = append(book.Lines, l)
			risk.Returns[l.Symbol] = series[i]
			ratings[l.Symbol] = 100 * rng.Float64()
			switch rng.IntN(4) {
			case 0:
				w := room * rng.Float64()
				room -= w
				policies = append(policies, rebalance.Policy{Type: "target_weight", Symbol: l.Symbol, Weight: &w})
			case 1:
				low := rng.Float64() / 2
				policies = append(policies, rebalance.Policy{Type: "band", Symbol: l.Symbol, Min: &low, Max: f(low + rng.Float64()/2)})
			}
		}
		for i, c := range currencies {
			risk.Returns["CASH:"+c] = series[n+1+i]
			if rng.IntN(3) > 0 {
				amount := decimal.New(rng.Int64N(20_000_000)-2_000_000, -2)
				book.Cash = append(book.Cash, rebalance.Cash{Symbol: "CASH:" + c, Currency: c, Amount: amount, FX: rates[c]})
			}
		}
		slices.SortFunc(book.Cash, func(a, b rebalance.Cash) int { return strings.Compare(a.Currency, b.Currency) })
		if rng.IntN(4) == 0 {
			policies = append(policies, rebalance.Policy{Type: "min_rating", Value: f(50)})
		}
		if rng.IntN(4) == 0 {
			policies = append(policies, rebalance.Policy{Type: "minimum_variance"})
		}
		limits := rebalance.Limits{
			MaxPositionPct: 5 + 95*rng.Float64(), MinPositionPct: 2 * rng.Float64(), MaxSectorPct: 10 + 90*rng.Float64(),
			MaxTEPct: 40 * rng.Float64(), MaxTurnoverPct: 100 * rng.Float64(), MinLotValue: 2000 * rng.Float64(),
			LotSize: []float64{1, 10, 0.001}[rng.IntN(3)], CostPerTrade: 30 * rng.Float64(), CostBps: 100 * rng.Float64(),
		}
		if total, _ := book.Value(); !total.IsPositive() {
			continue
		}
		problem := rebalance.Problem{Book: book, Policies: policies, Limits: limits, Ratings: ratings, Risk: risk}
		plan := propose(t, problem)
		keeps(t, book, limits, plan)
		before, err := risk.TrackingError(book)
		require.NoError(t, err)
		after, err := risk.TrackingError(plan.After)
		require.NoError(t, err)
		require.LessOrEqual(t, after, max(before, limits.MaxTEPct/100)*(1+1e-8), "seed %d", seed)
		require.Equal(t, plan, propose(t, problem), "the same again")
		traded += len(plan.Trades)
	}
	require.Greater(t, traded, 400, "the properties are about something")
}

// keeps requires what holds of every plan.
func keeps(t testing.TB, book rebalance.Book, limits rebalance.Limits, plan rebalance.Plan) {
	t.Helper()
	total, cash := book.Value()
	gross, cost := decimal.Zero, decimal.Zero
	bought := false
	for _, trade := range plan.Trades {
		require.True(t, trade.Quantity.IsPositive())
		i := slices.IndexFunc(book.Lines, func(l rebalance.Line) bool { return l.Symbol == trade.Symbol })
		require.GreaterOrEqual(t, i, 0)
		held := book.Lines[i].Quantity
		if trade.Side == rebalance.Sell {
			require.False(t, bought, "sells stand before buys")
			require.True(t, trade.Quantity.LessThanOrEqual(held), "%s of %s held are sold", trade.Quantity, held)
		}
		bought = bought || trade.Side == rebalance.Buy
		if !trade.Quantity.Equal(held) {
			require.True(t, trade.Quantity.Mod(decimal.NewFromFloat(limits.LotSize)).IsZero(), "whole lots")
		}
		require.False(t, trade.Value.LessThan(decimal.NewFromFloat(limits.MinLotValue)))
		gross, cost = gross.Add(trade.Value), cost.Add(trade.Cost)
	}
	require.True(t, cost.Equal(plan.Cost))
	turnover := gross.Div(total).InexactFloat64()
	require.InDelta(t, turnover, plan.Turnover, 1e-12)
	require.LessOrEqual(t, turnover, limits.MaxTurnoverPct/100*(1+1e-12))

	totalAfter, cashAfter := plan.After.Value()
	cent := dec("0.01")
	require.True(t, cashAfter.Add(cent).GreaterThanOrEqual(decimal.Min(decimal.Zero, cash)), "cash %s -> %s", cash, cashAfter)
	if len(plan.Trades) > 0 && !cashAfter.IsNegative() {
		for _, c := range plan.After.Cash {
			require.True(t, c.Amount.Mul(c.FX).Add(cent).IsPositive(), "%s %s", c.Amount, c.Currency)
		}
	}
	// Conversions take rounding alone; what is gone is the cost.
	require.InDelta(t, total.Sub(cost).InexactFloat64(), totalAfter.InexactFloat64(), 1e-4)
	var weights float64
	for _, l := range plan.After.Lines {
		weights += l.Value().Div(totalAfter).InexactFloat64()
	}
	for _, c := range plan.After.Cash {
		weights += c.Amount.Mul(c.FX).Div(totalAfter).InexactFloat64()
	}
	require.InDelta(t, 1, weights, 1e-9)
}

// Volatility is sqrt(w'Cw): a second way to it.
func TestVolatilityIsTheQuadraticForm(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	book := small()
	series := returnsOf(rng, 5, 252)
	names := []string{"A", "B", "C", "D", "CASH:USD"}
	risk := &rebalance.Risk{Returns: map[string][]float64{}, Reference: make([]float64, 252)}
	data := mat.NewDense(252, 5, nil)
	for i, name := range names {
		risk.Returns[name] = series[i]
		data.SetCol(i, series[i])
	}
	var c mat.SymDense
	stat.CovarianceMatrix(&c, data, nil)
	w := mat.NewVecDense(5, []float64{0.4, 0.3, 0.2, 0, 0.05})
	want := math.Sqrt(mat.Inner(w, &c, w) * 252)
	got, err := risk.Volatility(book)
	require.NoError(t, err)
	require.InDelta(t, want, got, 1e-12)
	te, err := risk.TrackingError(book)
	require.NoError(t, err)
	require.InDelta(t, want, te, 1e-12, "against cash alone")

	delete(risk.Returns, "B")
	_, err = risk.Volatility(book)
	_, ok := errors.AsType[portfolio.Shortages](err)
	require.True(t, ok)
}

// Markowitz: of two assets, w1 = (s2² - s12) / (s1² + s2² - 2 s12); without bounds, w = C⁻¹1 / 1'C⁻¹1.
func TestMinimumVariance(t *testing.T) {
	t.Parallel()
	two := mat.NewSymDense(2, []float64{0.04, 0.006, 0.006, 0.09})
	w := rebalance.MinimumVarianceWeights(two, 1, 1)
	require.InDelta(t, (0.09-0.006)/(0.04+0.09-0.012), w[0], 1e-9)
	require.InDelta(t, 1, w[0]+w[1], 1e-12)
	require.InDelta(t, 0.6, rebalance.MinimumVarianceWeights(two, 1, 0.6)[0], 1e-12, "capped")

	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		n := 2 + rng.IntN(15)
		series := returnsOf(rng, n, 120)
		data := mat.NewDense(120, n, nil)
		for i := range series {
			data.SetCol(i, series[i])
		}
		var c mat.SymDense
		stat.CovarianceMatrix(&c, data, nil)
		budget := 0.2 + 0.8*rng.Float64()
		most := budget * (1/float64(n) + rng.Float64())
		w := rebalance.MinimumVarianceWeights(&c, budget, most)
		var sum float64
		for _, x := range w {
			require.GreaterOrEqual(t, x, 0.0)
			require.LessOrEqual(t, x, most+1e-15)
			sum += x
		}
		require.InDelta(t, budget, sum, 1e-12)
		// Kuhn and Tucker: the slope is one value where a weight is free, no lower at 0, no higher at the cap.
		var g mat.VecDense
		g.MulVec(&c, mat.NewVecDense(n, w))
		level, scale := math.NaN(), mat.Norm(&c, 2)*budget
		for i, x := range w {
			if x > 1e-6 && x < most-1e-6 {
				level = g.AtVec(i)
			}
		}
		for i, x := range w {
			switch {
			case math.IsNaN(level):
			case x <= 1e-6:
				require.GreaterOrEqual(t, g.AtVec(i), level-1e-6*scale)
			case x >= most-1e-6:
				require.LessOrEqual(t, g.AtVec(i), level+1e-6*scale)
			default:
				require.InDelta(t, level, g.AtVec(i), 1e-6*scale, "seed %d", seed)
			}
		}
	}
}
