package research_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/research"
)

const analyticsDir = "../../configs/analytics"

func model(t testing.TB) research.Model {
	t.Helper()
	m, err := research.LoadModel(analyticsDir)
	require.NoError(t, err)
	return m
}

var known = time.Date(2007, 3, 1, 0, 0, 0, 0, time.UTC)

func company(values map[string]float64) research.Figures {
	var list []research.Fundamental
	for metric, v := range values {
		list = append(list, research.Fundamental{Provider: "fmp", Metric: metric, Date: known, Value: v})
	}
	return research.Latest(list)
}

// scores lists what each component earned, null as -1.
func scores(s research.Score) []float64 {
	list := make([]float64, len(s.Components))
	for i, c := range s.Components {
		list[i] = -1
		if c.Score != nil {
			list[i] = *c.Score
		}
	}
	return list
}

// Each bound of the specification's table, from both sides.
func TestSteps(t *testing.T) {
	t.Parallel()
	up, down := func(x float64) float64 { return math.Nextafter(x, math.Inf(1)) }, func(x float64) float64 { return math.Nextafter(x, math.Inf(-1)) }
	for _, tt := range []struct {
		rating, component string
		metric            string
		scores            map[float64]float64
	}{
		{"dividend_safety", "payout_ratio", "payout_ratio_5y", map[float64]float64{0: 10, down(0.3): 10, 0.3: 7, down(0.5): 7, 0.5: 5, down(0.7): 5, 0.7: 2, 5: 2, -0.1: 2}},
		{"dividend_safety", "fcf_cover", "fcf_dividend_cover", map[float64]float64{up(3): 10, 3: 7, up(2): 7, 2: 5, up(1): 5, 1: 2, -4: 2}},
		{"dividend_safety", "growth_years", "dividend_growth_years", map[float64]float64{20: 10, 19: 9, 10: 9, 9: 7, 5: 7, 4: 5, 0: 5}},
		{"moat_strength", "return_on_equity", "roe_5y", map[float64]float64{up(0.2): 10, 0.2: 8, up(0.15): 8, 0.15: 6, up(0.1): 6, 0.1: 4, -1: 4}},
		{"moat_strength", "gross_margin", "gross_margin", map[float64]float64{up(0.6): 10, 0.6: 8, up(0.4): 8, 0.4: 6, up(0.25): 6, 0.25: 4}},
		{"moat_strength", "intangibles", "intangibles_share", map[float64]float64{up(0.3): 8, 0.3: 6, up(0.15): 6, 0.15: 4}},
		{"moat_strength", "switching_costs", "switching_costs", map[float64]float64{0: 0, 6.5: 6.5, 10: 10, 10.5: -1, -0.5: -1}},
		{"resilience", "debt_to_equity", "debt_to_equity", map[float64]float64{0: 10, down(0.5): 10, 0.5: 8, down(1): 8, 1: 6, down(2): 6, 2: 3, -0.2: 3}},
		{"resilience", "interest_coverage", "interest_coverage", map[float64]float64{up(10): 10, 10: 8, up(5): 8, 5: 6, up(2): 6, 2: 3, -3: 3}},
		{"resilience", "current_ratio", "current_ratio", map[float64]float64{up(2): 10, 2: 8, up(1.5): 8, 1.5: 7, up(1): 7, 1: 4}},
		{"resilience", "margin_stability", "operating_margin_sd", map[float64]float64{0: 10, down(0.02): 10, 0.02: 8, down(0.05): 8, 0.05: 6, down(0.1): 6, 0.1: 4}},
	} {
		d, ok := model(t).Definition(tt.rating)
		require.True(t, ok)
		n := slices.IndexFunc(d.Components, func(c research.Component) bool { return c.Name == tt.component })
		require.GreaterOrEqual(t, n, 0)
		for value, want := range tt.scores {
			s := d.Rate(company(map[string]float64{tt.metric: value}))
			require.InDelta(t, want, scores(s)[n], 1e-12, "%s of %v", tt.component, value)
			if want >= 0 {
				require.InDelta(t, want, *s.Score, 1e-12, "alone it is the whole rating")
				require.InDelta(t, 1.0, s.Components[n].Applied, 1e-12)
				require.InDelta(t, d.Components[n].Weight, s.Coverage, 1e-9)
			} else {
				require.Nil(t, s.Score)
				require.NotEmpty(t, s.Components[n].Reason)
			}
		}
	}
}

func TestNetCashIsAShareOfTheMarketCapitalisation(t *testing.T) {
	t.Parallel()
	d, _ := model(t).Definition("dividend_safety")
	const n = 3
	for share, want := range map[float64]float64{0.21: 10, 0.2: 8, 0.11: 8, 0.1: 6, 0.01: 6, 0: 4, -0.5: 4} {
		for _, cap := range []float64{1e6, 1e12} {
			s := d.Rate(company(map[string]float64{"net_cash": share * cap, "market_cap": cap}))
			require.InDelta(t, want, scores(s)[n], 1e-12, "%v of %v", share, cap)
			require.InDelta(t, share, *s.Components[n].Value, 1e-12)
		}
	}
	for _, figures := range []map[string]float64{
		{"net_cash": 5},
		{"market_cap": 5},
		{"net_cash": 5, "market_cap": 0},
		{"net_cash": 5, "market_cap": -1},
		{"net_cash": 1e300, "market_cap": 1e-300},
	} {
		s := d.Rate(company(figures))
		require.Nil(t, s.Score, "%v", figures)
		require.NotEmpty(t, s.Components[n].Missing)
		require.NotEmpty(t, s.Components[n].Reason)
	}
}

// Losses on negative equity make returns positive, and debt over it makes leverage negative.
func TestNegativeEquityEarnsTheWorst(t *testing.T) {
	t.Parallel()
	m := model(t)
	for _, equity := range []float64{-5, 0} {
		o := m.Rate(company(map[string]float64{"roe_5y": 0.9, "debt_to_equity": 0.1, "total_equity": equity}))
		require.InDelta(t, 4.0, *o.Ratings[1].Score, 1e-12)
		require.InDelta(t, 3.0, *o.Ratings[2].Score, 1e-12)
		require.Contains(t, o.Ratings[1].Components[0].Note, "total_equity is")
		require.Equal(t, "otherwise", o.Ratings[2].Components[0].Step)
	}
	require.InDelta(t, 3.0, *m.Rate(company(map[string]float64{"debt_to_equity": -3})).Ratings[2].Score, 1e-12, "told by the ratio itself")
	require.InDelta(t, 10.0, *m.Rate(company(map[string]float64{"debt_to_equity": 0.1, "total_equity": 5})).Ratings[2].Score, 1e-12)
}

// Worked by hand from the specification's table.
func TestAWholeCompany(t *testing.T) {
	t.Parallel()
	m := model(t)
	o := m.Rate(company(map[string]float64{
		"payout_ratio_5y": 0.4, "fcf_dividend_cover": 2.5, "dividend_growth_years": 12, "net_cash": -3, "market_cap": 100,
		"roe_5y": 0.22, "gross_margin": 0.45, "intangibles_share": 0.2, "switching_costs": 7,
		"debt_to_equity": 0.6, "interest_coverage": 12, "current_ratio": 1.2, "operating_margin_sd": 0.03, "total_equity": 50,
	}))
	dividend := 0.30*7 + 0.35*7 + 0.20*9 + 0.15*4    // 6.95
	moat := 0.35*10 + 0.30*8 + 0.20*6 + 0.15*7       // 8.15
	resilience := 0.40*8 + 0.20*10 + 0.25*7 + 0.15*8 // 8.15
	require.InDelta(t, dividend, *o.Ratings[0].Score, 1e-9)
	require.InDelta(t, moat, *o.Ratings[1].Score, 1e-9)
	require.InDelta(t, resilience, *o.Ratings[2].Score, 1e-9)
	require.InDelta(t, 78.5, *o.Score, 1e-9) // 10 (0.40 8.15 + 0.35 8.15 + 0.25 6.95)
	require.Equal(t, "C", o.Grade)
	require.InDelta(t, 1.0, o.Coverage, 1e-12)

	best := m.Rate(company(map[string]float64{
		"payout_ratio_5y": 0.1, "fcf_dividend_cover": 4, "dividend_growth_years": 25, "net_cash": 30, "market_cap": 100,
		"debt_to_equity": 0.1, "interest_coverage": 20, "current_ratio": 3, "operating_margin_sd": 0.01,
	}))
	require.InDelta(t, 100.0, *best.Score, 1e-12, "the moat has dropped")
	require.Equal(t, "A", best.Grade)
	require.InDelta(t, 0.6, best.Coverage, 1e-9)
	require.Nil(t, best.Ratings[1].Score)
}

func TestMissingComponentsDropAndReweight(t *testing.T) {
	t.Parallel()
	d, _ := model(t).Definition("resilience")
	s := d.Rate(company(map[string]float64{"debt_to_equity": 0.6, "current_ratio": 3}))
	require.InDelta(t, (0.40*8+0.25*10)/0.65, *s.Score, 1e-9)
	require.InDelta(t, 0.65, s.Coverage, 1e-9)
	require.Equal(t, []float64{8, -1, 10, -1}, scores(s))
	require.InDelta(t, 0.40/0.65, s.Components[0].Applied, 1e-9)
	require.Zero(t, s.Components[1].Applied)
	require.Equal(t, "interest_coverage", s.Components[1].Missing)

	nothing := d.Rate(nil)
	require.Nil(t, nothing.Score)
	require.Zero(t, nothing.Coverage)
	require.Nil(t, model(t).Rate(nil).Score)
	require.Empty(t, model(t).Rate(nil).Grade)
}

func TestGrades(t *testing.T) {
	t.Parallel()
	m := model(t)
	for i := range m.Ratings {
		m.Ratings[i].Components = []research.Component{{Name: "x", Metric: "x", Weight: 1, Judged: true, Why: "x"}}
	}
	for score, grade := range map[float64]string{10: "A", 9: "A", 8.9999: "B", 8: "B", 7.99: "C", 7: "C", 6.5: "D", 6: "D", 5.99: "F", 0: "F"} {
		o := m.Rate(company(map[string]float64{"x": score}))
		require.InDelta(t, score*10, *o.Score, 1e-9)
		require.Equal(t, grade, o.Grade, "%v", score)
	}
}

// Over random companies: a rating lies between its worst and best component, applied weights sum to 1,
// and hearing of one more figure that scores above the rating raises it.
func TestRatingsAreMeans(t *testing.T) {
	t.Parallel()
	m := model(t)
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		figures := map[string]float64{}
		for _, metric := range m.Metrics() {
			if r.Float64() < 0.6 {
				figures[metric] = r.Float64()*12 - 1
			}
		}
		o := m.Rate(company(figures))
		for _, s := range o.Ratings {
			low, high, applied := math.Inf(1), math.Inf(-1), 0.0
			for _, c := range s.Components {
				applied += c.Applied
				if c.Score != nil {
					low, high = min(low, *c.Score), max(high, *c.Score)
				} else {
					require.NotEmpty(t, c.Missing)
				}
			}
			if s.Score == nil {
				require.Zero(t, applied)
				continue
			}
			require.InDelta(t, 1, applied, 1e-8)
			require.GreaterOrEqual(t, *s.Score, low-1e-8)
			require.LessOrEqual(t, *s.Score, high+1e-8)
		}
	}
}

func TestLatestIsWhatBecameKnownLast(t *testing.T) {
	t.Parallel()
	at := func(provider string, day int, value float64) research.Fundamental {
		return research.Fundamental{Provider: provider, Metric: "roe_5y", Date: known.AddDate(0, 0, day), Value: value}
	}
	list := []research.Fundamental{at("b", 0, 1), at("a", 1, 2), at("c", 1, 3), at("d", -1, 4)}
	for range 5 {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		require.InDelta(t, 2.0, research.Latest(list)["roe_5y"].Value, 1e-12)
	}
}

func TestAggregateWeighsByValue(t *testing.T) {
	t.Parallel()
	m := model(t)
	good := company(map[string]float64{"roe_5y": 0.3, "debt_to_equity": 0.1, "payout_ratio_5y": 0.1}) // 100
	poor := company(map[string]float64{"roe_5y": 0.3, "debt_to_equity": 3})                           // 10 (0.4 10 + 0.35 3)/0.75
	figures := map[string]research.Figures{"good": good, "poor": poor}
	holding := func(id string, weight *float64) research.Holding {
		return research.Holding{Symbol: strings.ToUpper(id), SecurityID: id, Weight: weight}
	}
	p := m.Aggregate([]research.Holding{
		holding("good", new(0.3)), holding("poor", new(0.1)), holding("none", new(0.4)),
		holding("good", nil), holding("good", new(-0.2)),
	}, figures)
	poorScore := 10 * (0.4*10 + 0.35*3) / 0.75
	require.InDelta(t, poorScore, *p.Holdings[1].Score, 1e-8)
	require.InDelta(t, (0.3*100+0.1*poorScore)/0.4, *p.Score, 1e-8)
	require.InDelta(t, 0.4, p.RatedWeight, 1e-12)
	require.InDelta(t, (0.3*10+0.1*3)/0.4, *p.Ratings[2], 1e-9)
	require.InDelta(t, 10, *p.Ratings[0], 1e-9, "of the one that has it")
	require.NotEmpty(t, p.Grade)
	excluded := []string{}
	for _, h := range p.Holdings {
		excluded = append(excluded, h.Excluded)
	}
	require.Equal(t, []string{"", "", "it has no score", "it has no weight", "it is not held long"}, excluded)

	empty := m.Aggregate(nil, nil)
	require.Nil(t, empty.Score)
	require.Empty(t, empty.Holdings)
	require.Equal(t, []*float64{nil, nil, nil}, empty.Ratings)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"current_ratio", "debt_to_equity", "dividend_growth_years", "fcf_dividend_cover", "gross_margin", "intangibles_share",
		"interest_coverage", "market_cap", "net_cash", "operating_margin_sd", "payout_ratio_5y", "roe_5y", "switching_costs",
		"total_equity",
	}, model(t).Metrics())
}

func TestSettingsAreReadStrictly(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(analyticsDir, research.RatingsFile))
	require.NoError(t, err)
	good := string(raw)
	for name, tt := range map[string]struct{ old, changed, says string }{
		"unknown key":         {"rule: below", "rul: below", "rul"},
		"weights":             {"weight: 0.30\n        rule: below", "weight: 0.31\n        rule: below", "sum to 1.01"},
		"overall":             {"resilience: 0.35", "resilience: 0.36", "overall.weights: sum"},
		"no such rating":      {"  resilience:\n", "  resilence:\n", "there is no such rating"},
		"steps out of order":  {"{limit: 0.50, score: 7}", "{limit: 0.20, score: 7}", "harder to earn"},
		"scores out of order": {"{limit: 0.50, score: 7}", "{limit: 0.50, score: 4}", "above what stands below"},
		"no such rule":        {"rule: at_least", "rule: least", "must be above, at_least or below"},
		"judged with steps":   {"judged: true", "judged: true\n        otherwise: 3", "alone"},
		"twice":               {"name: fcf_cover", "name: payout_ratio", "stands twice"},
		"grades":              {"{grade: F, at_least: 0}", "{grade: F, at_least: 1}", "must begin at 0"},
		"grades out of order": {"at_least: 80", "at_least: 95", "below the one before"},
		"not a number":        {"limit: 0.70", "limit: .nan", "must be a number"},
		"no source":           {"sources:\n      - Novy", "source:\n      - Novy", "source"},
		"a second document":   {"overall:", "{}\n---\noverall:", "one YAML document is expected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, good, tt.old)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, research.RatingsFile), []byte(strings.Replace(good, tt.old, tt.changed, 1)), 0o600))
			_, err := research.LoadModel(dir)
			require.ErrorContains(t, err, tt.says)
		})
	}
	_, err = research.LoadModel(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Regexp(t, `^config:ratings\.yaml@[0-9a-f]{12}$`, model(t).Source)

	s, err := research.LoadNewsSettings(analyticsDir)
	require.NoError(t, err)
	require.Equal(t, 24, s.LookbackHours)
	for bad, says := range map[string]string{
		"":                   "news.yaml: the file is empty",
		"lookback_hours: 24": "max_lookback_hours: 0 is not allowed; use 1 to 8760",
		"lookback_hours: 2\nmax_lookback_hours: 1\nmax_items: 10\n":                        "lookback_hours: 2 is not allowed; use 1 to 1",
		"lookback_hours: 1\nmax_lookback_hours: 1\nmax_items: 10\nmin_impact_threshold: 2": "min_impact_threshold: 2 is not allowed; use 0 to 1",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, research.NewsFile), []byte(bad), 0o600))
		_, err := research.LoadNewsSettings(dir)
		require.ErrorContains(t, err, says, "%q", bad)
	}
}

func TestImpact(t *testing.T) {
	t.Parallel()
	at := time.Date(2007, 5, 8, 10, 0, 0, 0, time.UTC)
	item := func(id string, sentiment *float64, symbols ...string) research.NewsItem {
		return research.NewsItem{ID: id, PublishedAt: at, Title: id, Sentiment: sentiment, Symbols: symbols}
	}
	holdings := []research.Exposure{
		{Symbol: "A", Weight: new(0.5)}, {Symbol: "B", Weight: new(0.2)}, {Symbol: "SHORT", Weight: new(-0.1)}, {Symbol: "DARK"},
	}
	m := research.MeasureImpact([]research.NewsItem{
		item("1", new(-0.8), "A"), item("2", new(0.5), "B", "A", "A", "X"), item("3", new(-1.0), "SHORT"),
		item("4", nil, "A"), item("5", new(0.9), "X"), item("6", new(0.9), "DARK"), item("7", new(0.5), "DARK", "B"),
	}, holdings)
	require.InDelta(t, 0.8*0.5+0.5*0.7+1*0.1+0.5*0.2, *m.Total, 1e-12)
	require.InDelta(t, -0.8*0.5+0.5*0.7+1*0.1+0.5*0.2, *m.Net, 1e-12)
	var ids []string
	var total float64
	for _, i := range m.Items {
		ids = append(ids, i.ID)
	}
	for _, s := range m.Symbols {
		total += s.Impact
	}
	require.Equal(t, []string{"1", "2", "3", "7"}, ids)
	require.InDelta(t, *m.Total, total, 1e-12, "by holding as by item")
	require.Equal(t, "A", m.Symbols[0].Symbol)
	require.InDelta(t, -0.15, m.Symbols[0].Sentiment, 1e-12)
	require.Equal(t, 2, m.Symbols[0].Items)
	require.Equal(t, "4", m.Unjudged[0].ID)
	require.Equal(t, "6", m.Unweighted[0].ID)
	require.Equal(t, 1, m.Elsewhere)

	require.Zero(t, *research.MeasureImpact(nil, holdings).Total, "nothing happened")
	require.Zero(t, *research.MeasureImpact([]research.NewsItem{item("5", new(0.9), "X")}, holdings).Total)
	require.Nil(t, research.MeasureImpact([]research.NewsItem{item("4", nil, "A")}, holdings).Total, "nobody judged it")
	require.Nil(t, research.MeasureImpact([]research.NewsItem{item("6", new(0.9), "DARK")}, holdings).Total)
}

// Over random news: neither the order of holdings nor of items changes what is found, twice the weights
// are twice the impact, and signs never make more of it.
func TestImpactIdentities(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	symbols := []string{"A", "B", "C", "D"}
	for range 300 {
		weights := map[string]float64{}
		var holdings, doubled []research.Exposure
		for _, s := range symbols[:3] {
			weights[s] = r.Float64()*0.6 - 0.2
		}
		for _, s := range slices.Sorted(maps.Keys(weights)) {
			holdings = append(holdings, research.Exposure{Symbol: s, Weight: new(weights[s])})
			doubled = append(doubled, research.Exposure{Symbol: s, Weight: new(2 * weights[s])})
		}
		var items []research.NewsItem
		var want float64
		for i := range r.IntN(10) {
			n := research.NewsItem{ID: string(rune('a' + i)), Sentiment: new(r.Float64()*2 - 1), Symbols: []string{symbols[r.IntN(4)]}}
			want += math.Abs(*n.Sentiment) * math.Abs(weights[n.Symbols[0]])
			items = append(items, n)
		}
		m := research.MeasureImpact(items, holdings)
		require.InDelta(t, want, *m.Total, 1e-12)
		require.InDelta(t, 2**m.Total, *research.MeasureImpact(items, doubled).Total, 1e-12)
		require.LessOrEqual(t, math.Abs(*m.Net), *m.Total+1e-12)
		slices.Reverse(items)
		slices.Reverse(holdings)
		again := research.MeasureImpact(items, holdings)
		require.InDelta(t, *m.Total, *again.Total, 1e-12)
		require.Len(t, again.Items, len(m.Items))
		for i := range m.Items {
			require.Equal(t, m.Items[i].ID, again.Items[i].ID)
		}
	}
}
