package macro_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/portfolio"
)

func measured(t *testing.T, r macro.Reading, name string) macro.Measured {
	t.Helper()
	i := slices.IndexFunc(r.Inputs, func(m macro.Measured) bool { return m.Input == name })
	require.GreaterOrEqual(t, i, 0, "%s on %s: %v", name, r.Asof, r.Gaps)
	return r.Inputs[i]
}

func gap(t *testing.T, r macro.Reading, name string) error {
	t.Helper()
	i := slices.IndexFunc(r.Gaps, func(g macro.Gap) bool { return g.Input == name })
	require.GreaterOrEqual(t, i, 0, "%s is there", name)
	return r.Gaps[i].Err
}

// values returns the points of a series up to a day, by day.
func values(o macro.Observed, until time.Time) map[string]float64 {
	v := map[string]float64{}
	for _, p := range o.Points {
		if !p.Date.After(until) {
			v[p.Date.Format(time.DateOnly)] = p.Value
		}
	}
	return v
}

// plainZ is the z-score of the last of values by its definition.
func plainZ(v []float64) float64 {
	mean := 0.0
	for _, x := range v {
		mean += x / float64(len(v))
	}
	squares := 0.0
	for _, x := range v {
		squares += (x - mean) * (x - mean)
	}
	return (v[len(v)-1] - mean) / math.Sqrt(squares/float64(len(v)-1))
}

// The reading of the sample's as-of date against plain loops over the files' rows.
func TestRegimeOfTheSample(t *testing.T) {
	t.Parallel()
	cfg, panel := config(t), sample(t)
	asof := day(t, "2007-05-08")
	r := detector(t, cfg.Regimes, panel, cfg.Settings).At(asof)

	// Quarters 1997Q2 to 2007Q1, the last one published by 2007-04-10.
	quarters := []time.Time{}
	for d := day(t, "1997-06-30"); !d.After(day(t, "2007-03-31")); d = d.AddDate(0, 0, 1) {
		if d.AddDate(0, 0, 1).Day() == 1 && d.Month()%3 == 0 {
			quarters = append(quarters, d)
		}
	}
	require.Len(t, quarters, 40)
	unrate, cpi := values(panel["US_UNRATE"], asof), values(panel["US_CPI_Q"], asof)
	long, short := values(panel["EA_LTN_10Y"], asof), values(panel["EA_STN_3M"], asof)
	var level, change, inflation, curve []float64
	for _, d := range quarters {
		key, before := d.Format(time.DateOnly), time.Date(d.Year()-1, d.Month()+1, 0, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
		level = append(level, unrate[key])
		change = append(change, unrate[key]-unrate[before])
		inflation = append(inflation, cpi[key]/cpi[before]-1)
		curve = append(curve, long[key]-short[key])
	}
	z := map[string]float64{}
	for name, want := range map[string]struct {
		values []float64
		series string
		known  string
	}{
		"curve":               {curve, "EA_LTN_10Y - EA_STN_3M", "2007-04-07"},
		"unemployment_change": {change, "US_UNRATE", "2007-04-10"},
		"inflation":           {inflation, "US_CPI_Q", "2007-04-25"},
		"unemployment":        {level, "US_UNRATE", "2007-04-10"},
	} {
		m := measured(t, r, name)
		require.Equal(t, want.series, m.Candidate.String(), name)
		require.Equal(t, "2007-03-31", m.Date.Format(time.DateOnly), name)
		require.Equal(t, want.known, m.KnownOn.Format(time.DateOnly), name)
		require.InDelta(t, want.values[39], m.Value, 1e-12, name)
		require.InDelta(t, plainZ(want.values), m.Z, 1e-9, name)
		z[name] = plainZ(want.values)
	}
	require.NotEmpty(t, measured(t, r, "curve").Candidate.Proxy)
	require.Equal(t, portfolio.Shortages{{Missing: "macro:BAA10Y", Reason: "credit_spread: BAA10Y is not in the data"}}, gap(t, r, "credit_spread"))

	// The table of DOMAIN 4 by hand, reweighted over what is there: (min, max, weight) an input.
	none := math.Inf(1)
	table := [][3][3]float64{
		{{0.5, none, 2}, {-none, -0.5, 1.5}, {-none, 0, 1}},
		{{0, 1.5, 1.5}, {-1.5, 0, 1.5}, {-0.5, 0.5, 1}},
		{{-1, 0.5, 2}, {-2, -0.5, 1.5}, {0.5, none, 2}},
		{{-none, -0.5, 2.5}, {0, 1, 1.5}, {-none, 1, 0.5}},
		{{0.5, none, 1}, {1, none, 2.5}, {-none, 0, 1}},
	}
	var scores [5]float64
	sum := 0.0
	for i, rules := range table {
		weights := 0.0
		for k, name := range []string{"curve", "unemployment_change", "inflation"} {
			low, high, weight := rules[k][0], rules[k][1], rules[k][2]
			distance := max(low-z[name], z[name]-high, 0)
			scores[i] += weight * math.Pow(2, -distance)
			weights += weight
		}
		scores[i] /= weights
		sum += scores[i]
	}
	for i := range scores {
		require.InDelta(t, scores[i]/sum, r.Probabilities[i], 1e-9)
	}
	require.Equal(t, cfg.Regimes.States[slices.Index(r.Probabilities, slices.Max(r.Probabilities))].Name, r.State.Name)
	require.InDelta(t, slices.Max(r.Probabilities), r.Confidence(), 0)
}

func TestRuleFit(t *testing.T) {
	t.Parallel()
	half, one := 0.5, 1.0
	for name, tt := range map[string]struct {
		rule macro.Rule
		z    float64
		want float64
	}{
		"within":             {macro.Rule{Above: &half, Below: &one}, 0.7, 1},
		"on the lower bound": {macro.Rule{Above: &half}, 0.5, 1},
		"on the upper bound": {macro.Rule{Below: &one}, 1, 1},
		"one below":          {macro.Rule{Above: &half}, -0.5, 0.5},
		"two above":          {macro.Rule{Below: &one}, 3, 0.25},
		"half above":         {macro.Rule{Above: &half, Below: &one}, 1.5, math.Sqrt2 / 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.InDelta(t, tt.want, tt.rule.Fit(tt.z), 1e-15)
		})
	}
}

// Which candidate serves changes with what was published and how long ago.
func TestCandidates(t *testing.T) {
	t.Parallel()
	cfg, panel := config(t), sample(t)
	d := detector(t, cfg.Regimes, panel, cfg.Settings)
	for asof, want := range map[string]map[string]string{
		"1985-06-15": {"curve": "US_TCM_10Y - US_TCM_1Y", "inflation": "US_CPI_M", "unemployment_change": "US_UNRATE"},
		"1999-11-30": {"curve": "US_TCM_10Y - US_TCM_1Y"}, // published on 1999-10-03
		"1999-12-31": {"curve": "EA_LTN_10Y - EA_STN_3M"},
		"2005-03-20": {"inflation": "US_CPI_M"},
		"2005-05-01": {"inflation": "US_CPI_Q"},
		"2011-01-01": {"unemployment_change": "US_UNEMPLOY / US_POP"},
	} {
		r := d.At(day(t, asof))
		for name, series := range want {
			require.Equal(t, series, measured(t, r, name).Candidate.String(), "%s on %s", name, asof)
		}
	}

	early := d.At(day(t, "1955-01-31"))
	require.Nil(t, early.State)
	require.Nil(t, early.Probabilities)
	require.Zero(t, early.Confidence())
	require.ErrorContains(t, early.Err, "1 of the inputs can be measured, 2 are needed")
	require.ErrorContains(t, early.Err, "macro:T10Y2Y, macro:UNRATE, macro:BAA10Y")
	require.Len(t, early.Inputs, 1)
	require.ErrorContains(t, gap(t, early, "curve"), "US_TCM_10Y - US_TCM_1Y has 21 values in the 10 years up to 1954-12-31, a z-score needs 60")
	require.ErrorContains(t, gap(t, early, "curve"), "EA_LTN_10Y - EA_STN_3M has no value known on 1955-01-31")

	late := d.At(day(t, "2016-06-30"))
	require.Nil(t, late.State)
	require.ErrorContains(t, gap(t, late, "inflation"), "US_CPI_Q ends on 2009-09-30, too old on 2016-06-30")
}

// alter returns a copy of a panel: what of it was published by a day, and after it whatever junk is.
func alter(panel macro.Panel, s macro.Settings, asof time.Time, junk func(portfolio.Point) (portfolio.Point, bool)) macro.Panel {
	altered := macro.Panel{}
	for name, o := range panel {
		var points portfolio.Series
		for _, p := range o.Points {
			if s.Publication.KnownOn(o.Info, p.Date).After(asof) {
				var keep bool
				if p, keep = junk(p); !keep {
					continue
				}
			}
			points = append(points, p)
		}
		altered[name] = macro.Observed{Info: o.Info, Points: points}
	}
	return altered
}

// Nothing that was published later matters, nor anything before what Reach says, and probabilities are
// probabilities.
func TestReadingsLookAtNothingElse(t *testing.T) {
	t.Parallel()
	cfg, panel := config(t), sample(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for name, m := range map[string]macro.Model{"regimes": cfg.Regimes, "short": cfg.ShortTerm, "long": cfg.LongTerm} {
		full := detector(t, m, panel, cfg.Settings)
		told := 0
		for range 60 {
			asof := day(t, "1955-01-01").AddDate(0, 0, rng.IntN(60*365))
			want := full.At(asof)
			cut := detector(t, m, alter(panel, cfg.Settings, asof, func(p portfolio.Point) (portfolio.Point, bool) { return p, false }), cfg.Settings).At(asof)
			other := detector(t, m, alter(panel, cfg.Settings, asof, func(p portfolio.Point) (portfolio.Point, bool) {
				p.Value *= 1 + rng.Float64()
				return p, true
			}), cfg.Settings).At(asof)
			require.Equal(t, want, other, "%s on %s", name, asof)
			same(t, want, cut)

			if years := cfg.Settings.Reach(m); years > 0 {
				from := asof.AddDate(-years, 0, 0)
				short := macro.Panel{}
				for series, o := range panel {
					i := slices.IndexFunc(o.Points, func(p portfolio.Point) bool { return !p.Date.Before(from) })
					if i >= 0 {
						short[series] = macro.Observed{Info: o.Info, Points: o.Points[i:]}
					}
				}
				same(t, want, detector(t, m, short, cfg.Settings).At(asof))
			}
			if want.State == nil {
				require.Error(t, want.Err)
				continue
			}
			told++
			sum := 0.0
			for _, p := range want.Probabilities {
				require.Greater(t, p, 0.0)
				sum += p
			}
			require.InDelta(t, 1, sum, 1e-12)
			require.Len(t, want.Probabilities, len(m.States))
		}
		if name == "long" {
			require.Zero(t, told, "there is no debt in the sample")
		} else {
			require.Greater(t, told, 30, name)
		}
	}
}

// same compares readings but for the words of what is missing.
func same(t *testing.T, want, got macro.Reading) {
	t.Helper()
	require.Equal(t, want.State == nil, got.State == nil)
	if want.State != nil {
		require.Equal(t, want.State.Name, got.State.Name)
	}
	require.Equal(t, want.Probabilities, got.Probabilities)
	require.Equal(t, want.Inputs, got.Inputs)
	require.Len(t, got.Gaps, len(want.Gaps))
}

// quarterly makes a series of quarters that ends with 2007Q1.
func quarterly(t *testing.T, name string, n int, value func(i int) float64) macro.Observed {
	t.Helper()
	o := macro.Observed{Info: macro.Info{Name: name, Unit: "percent", Frequency: macro.Quarterly}}
	for i := range n {
		end := time.Date(2007, time.Month(4-3*(n-1-i)), 0, 0, 0, 0, 0, time.UTC)
		o.Points = append(o.Points, portfolio.Point{Date: end, Value: value(i)})
	}
	require.Equal(t, day(t, "2007-03-31"), o.Points[n-1].Date)
	return o
}

// With debt that runs away from its trend and a rising burden, the long-term cycle is near its top; it
// says which series it lacks while one of the required is away.
func TestLongTermCycleOnceDebtIsThere(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	credit := func(i int) float64 {
		v := 100 + 0.3*float64(i) + math.Sin(float64(i)/9)
		if i > 100 {
			v += 1.5 * float64(i-100)
		}
		return v
	}
	asof := day(t, "2007-10-01") // 2007Q1 of the credit ratio came out on 2007-09-17
	panel := macro.Panel{
		"QUSPAM770A": quarterly(t, "QUSPAM770A", 120, credit),
		"TDSP":       quarterly(t, "TDSP", 120, func(i int) float64 { return 10 + 0.01*float64(i) + math.Max(0, float64(i-105))*0.2 }),
		"US_REALINT": quarterly(t, "US_REALINT", 120, func(i int) float64 { return 1 + math.Sin(float64(i)/5) + math.Max(0, float64(i-112))*0.4 }),
	}
	panel["US_M1"] = quarterly(t, "US_M1", 120, func(i int) float64 { return 1000 * math.Pow(1.012, float64(i)) * (1 + 0.02*math.Sin(float64(i)/4)) })
	s := cfg.Settings
	s.MaxAge = map[macro.Frequency]int{macro.Daily: 14, macro.Weekly: 14, macro.Monthly: 62, macro.Quarterly: 200, macro.Annual: 500}
	r := detector(t, cfg.LongTerm, panel, s).At(asof)
	require.NoError(t, r.Err)
	require.Equal(t, "top", r.State.Name)
	require.Len(t, r.Inputs, 5)
	require.ErrorContains(t, gap(t, r, "credit_spread"), "BAA10Y is not in the data")

	// The gap of the last quarter by the filter over all quarters up to it.
	var y []float64
	for i := range 120 {
		y = append(y, credit(i))
	}
	trend, err := macro.HodrickPrescott(y, 400_000)
	require.NoError(t, err)
	m := measured(t, r, "credit_gap")
	require.InDelta(t, y[119]-trend[119], m.Value, 1e-6)
	require.Greater(t, m.Value, 10.0, "above the Basel Committee's upper threshold")
	var gaps []float64
	for i := 80; i < 120; i++ {
		g, err := macro.OneSidedGap(y[:i+1], 400_000)
		require.NoError(t, err)
		gaps = append(gaps, g)
	}
	require.InDelta(t, plainZ(gaps), m.Z, 1e-6)

	for _, name := range []string{"QUSPAM770A", "TDSP"} {
		rest := macro.Panel{}
		for n, o := range panel {
			if n != name {
				rest[n] = o
			}
		}
		r := detector(t, cfg.LongTerm, rest, s).At(asof)
		require.Nil(t, r.State)
		require.ErrorContains(t, r.Err, "macro:"+name)
	}
}

func TestIndicator(t *testing.T) {
	t.Parallel()
	cfg, panel := config(t), sample(t)
	in, there := cfg.Settings.Indicator(panel["US_PSAVERT"], day(t, "2007-05-30"))
	require.True(t, there)
	require.Equal(t, "2007-03-31", in.Date.Format(time.DateOnly), "April's comes out a day later")
	v := values(panel["US_PSAVERT"], in.Date)
	require.InDelta(t, v["2007-03-31"], in.Value, 0)
	require.NoError(t, in.ChangeErr)
	require.InDelta(t, v["2007-03-31"]-v["2006-03-31"], in.Change1Y, 1e-12)
	var window []float64
	for _, end := range macro.MonthEnds(day(t, "1997-04-01"), in.Date) {
		window = append(window, v[end.Format(time.DateOnly)])
	}
	require.Len(t, window, 120)
	require.NoError(t, in.ZErr)
	require.InDelta(t, plainZ(window), in.Z, 1e-9)

	// This one dates its months by their last trading day: 120 of them are ten years all the same.
	in, there = cfg.Settings.Indicator(panel["US_CFNAI_CUM"], day(t, "2007-05-08"))
	require.True(t, there)
	require.Equal(t, "2007-03-30", in.Date.Format(time.DateOnly))
	var last []float64
	for _, p := range panel["US_CFNAI_CUM"].Points {
		if !p.Date.After(in.Date) {
			last = append(last, p.Value)
		}
	}
	require.NoError(t, in.ZErr)
	require.InDelta(t, plainZ(last[len(last)-120:]), in.Z, 1e-9)

	_, there = cfg.Settings.Indicator(panel["US_INFL_QA"], day(t, "1959-07-01"))
	require.False(t, there, "the first value is a placeholder, the second not yet out")
	in, there = cfg.Settings.Indicator(panel["US_INFL_QA"], day(t, "1959-08-01"))
	require.True(t, there)
	require.Equal(t, "1959-06-30", in.Date.Format(time.DateOnly))
	require.ErrorContains(t, in.ChangeErr, "no value around 1958-06-30")
	require.ErrorContains(t, in.ZErr, "a z-score needs 20")

	flat := quarterly(t, "FLAT", 60, func(int) float64 { return 2 })
	in, there = cfg.Settings.Indicator(flat, day(t, "2007-12-31"))
	require.True(t, there)
	require.ErrorContains(t, in.ZErr, "did not vary")
	require.InDelta(t, 0, in.Change1Y, 0)
}

// A gap in a series is no change over a longer time.
func TestChangesWantTheirDay(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	o := quarterly(t, "X", 60, func(i int) float64 { return float64(i) })
	o.Points = slices.Delete(o.Points, 55, 56) // a year before the last
	in, there := cfg.Settings.Indicator(o, day(t, "2007-12-31"))
	require.True(t, there)
	require.ErrorContains(t, in.ChangeErr, "no value around 2006-03-31")
}

func TestMonthEnds(t *testing.T) {
	t.Parallel()
	var days []string
	for _, d := range macro.MonthEnds(day(t, "2003-12-31"), day(t, "2004-03-30")) {
		days = append(days, d.Format(time.DateOnly))
	}
	require.Equal(t, []string{"2003-12-31", "2004-01-31", "2004-02-29"}, days)
	require.Empty(t, macro.MonthEnds(day(t, "2004-01-01"), day(t, "2003-01-01")))
}

func TestTransformNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"level", "growth_12m", "growth_6m", "change_120m", "credit_gap"} {
		parsed, err := macro.ParseTransform(name)
		require.NoError(t, err)
		require.Equal(t, name, parsed.String())
	}
	for _, name := range []string{"", "growth", "growth_0m", "growth_121m", "change_12", "level_12m", "GROWTH_12m"} {
		_, err := macro.ParseTransform(name)
		require.Error(t, err, name)
	}
}

// Growth is a year's: worked by hand, 6 months at 2 % are (1.02)² - 1 a year.
func TestGrowthOfSixMonths(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	growth, err := macro.ParseTransform("growth_6m")
	require.NoError(t, err)
	zero := 0.0
	m := macro.Model{
		Inputs:    []macro.Input{{Name: "x", Transform: growth, Candidates: []macro.Candidate{{Series: []string{"X"}}}}},
		MinInputs: 1,
		States: []macro.State{
			{Name: "up", Rules: []macro.Rule{{Input: "x", Above: &zero, Weight: 1}}},
			{Name: "down", Rules: []macro.Rule{{Input: "x", Below: &zero, Weight: 1}}},
		},
	}
	panel := macro.Panel{"X": quarterly(t, "X", 40, func(i int) float64 {
		if i == 39 {
			return 102
		}
		return 100
	})}
	r := detector(t, m, panel, cfg.Settings).At(day(t, "2007-07-01"))
	require.InDelta(t, 0.0404, measured(t, r, "x").Value, 1e-12)
	require.Equal(t, "up", r.State.Name)
	// 38 growths, all zero but the last: z = 37/38 a over a / sqrt(38), in any unit a.
	require.InDelta(t, 37/math.Sqrt(38), measured(t, r, "x").Z, 1e-9)
	require.InDelta(t, 1/(1+math.Exp2(-37/math.Sqrt(38))), r.Confidence(), 1e-9)
}

func TestRegimeShifts(t *testing.T) {
	t.Parallel()
	history := []macro.Judged{
		{State: "a", Confidence: 0.5}, {State: "a", Confidence: 0.6}, {}, {State: "b", Confidence: 0.9}, {}, {State: "b", Confidence: 0.7}, {State: "a", Confidence: 0.4},
	}
	for i := range history {
		history[i].Date = day(t, "2007-01-01").AddDate(0, 0, 7*i)
	}
	require.Equal(t, []macro.RegimeShift{
		{Date: history[3].Date, From: "a", To: "b", Confidence: 0.9},
		{Date: history[6].Date, From: "b", To: "a", Confidence: 0.4},
	}, macro.RegimeShifts(history))
	require.Empty(t, macro.RegimeShifts(nil))
	require.Empty(t, macro.RegimeShifts(history[:3]))
}

func TestFactorShifts(t *testing.T) {
	t.Parallel()
	first, middle, last := day(t, "2007-04-10"), day(t, "2007-04-17"), day(t, "2007-05-08")
	history := []macro.Exposures{
		{first, []macro.Exposure{{"SPI", 1, 0.1}, {"SBI", 0.5, 0.1}, {"EXACT", 0.25, 0.125}, {"FLAT", 0, 0}}},
		{middle, []macro.Exposure{{"SPI", 9, 0.1}}},
		{last, []macro.Exposure{{"SPI", 0.75, 0.2}, {"SBI", 0.65, 0.001}, {"EXACT", 0.5, 0.1}, {"FLAT", 1, 0.1}, {"NEW", 1, 0.1}}},
	}
	shifts, lacking := macro.FactorShifts(history, 2)
	require.Len(t, shifts, 1)
	require.Equal(t, "SPI", shifts[0].Factor)
	require.Equal(t, []time.Time{first, last}, []time.Time{shifts[0].From, shifts[0].To})
	require.InDelta(t, -0.25, shifts[0].Change, 1e-15)
	require.InDelta(t, 2.5, shifts[0].StdErrors, 1e-12)
	require.Len(t, lacking, 2)
	require.ErrorContains(t, lacking, "FLAT has no beta with a standard error on 2007-04-10")
	require.ErrorContains(t, lacking, "NEW has no beta")

	_, lacking = macro.FactorShifts(history[:1], 2)
	require.ErrorContains(t, lacking, "it holds 1 estimates, a change needs two")
}
