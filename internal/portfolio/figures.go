package portfolio

import (
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"
)

// Figure is one number about a portfolio, or why it can't be computed.
type Figure struct {
	Value float64
	Asof  time.Time // the last valuation day; zero when there is none
	Err   error     // Shortages
}

// Relative measures a portfolio against something else. Both return the daily returns of a window, or
// Shortages.
type Relative struct {
	Benchmark func(Window) ([]float64, error)
	RiskFree  func(Window) ([]float64, error)
}

// figure computes one number. What it needs more returns for than there are is Shortages: a figure
// that is named after a year is not one of the months since inception.
type figure struct {
	name    string
	compute func(h *History, rel Relative) (float64, error)
}

const (
	threeYears = 3 * YearDays
	fiveYears  = 5 * YearDays
	// darConfidence is the quantile of drawdowns that dar_95_1y names.
	darConfidence = 0.95
)

// figures is what is known by name, in the order of documentation. Ratios are fractions; losses and
// drawdowns are positive.
var figures = []figure{
	{"nav", func(h *History, _ Relative) (float64, error) { return h.lastNAV() }},

	{"twr_1d", total(last(1))},
	{"twr_mtd", total(since(func(d time.Time) time.Time { return firstOf(d.Year(), d.Month()) }))},
	{"twr_qtd", total(since(func(d time.Time) time.Time { return firstOf(d.Year(), (d.Month()-1)/3*3+1) }))},
	{"twr_ytd", total(since(func(d time.Time) time.Time { return firstOf(d.Year(), time.January) }))},
	{"twr_1y", total(last(YearDays))},
	{"twr_3y_ann", perYear(last(threeYears))},
	{"twr_5y_ann", perYear(last(fiveYears))},
	{"twr_inception_ann", perYear((*History).All)},

	{"mwr_ytd", moneyWeighted(since(func(d time.Time) time.Time { return firstOf(d.Year(), time.January) }))},
	{"mwr_1y", moneyWeighted(last(YearDays))},
	{"mwr_3y_ann", moneyWeighted(last(threeYears))},
	{"mwr_5y_ann", moneyWeighted(last(fiveYears))},
	{"mwr_inception_ann", func(h *History, _ Relative) (float64, error) { return h.MoneyWeightedSinceInception() }},

	{"volatility_30d", alone(last(30), Volatility)},
	{"volatility_60d", alone(last(60), Volatility)},
	{"volatility_90d", alone(last(90), Volatility)},
	{"volatility_1y", alone(last(YearDays), Volatility)},
	{"volatility_3y", alone(last(threeYears), Volatility)},

	{"sharpe_30d", excess(last(30), Sharpe)},
	{"sharpe_60d", excess(last(60), Sharpe)},
	{"sharpe_90d", excess(last(90), Sharpe)},
	{"sharpe_1y", excess(last(YearDays), Sharpe)},
	{"sortino_1y", excess(last(YearDays), Sortino)},

	{"max_drawdown_1y", alone(last(YearDays), deepest)},
	{"max_drawdown_3y", alone(last(threeYears), deepest)},
	{"drawdown", alone((*History).All, func(r []float64) (float64, error) {
		d := Drawdowns(r)
		return d[len(d)-1], nil
	})},
	{"dar_95_1y", alone(last(YearDays), func(r []float64) (float64, error) {
		return Quantile(Drawdowns(r), darConfidence), nil
	})},
	{"var_95_1y", alone(last(YearDays), func(r []float64) (float64, error) {
		v, _ := ValueAtRisk(r, darConfidence)
		return v, nil
	})},
	{"es_95_1y", alone(last(YearDays), func(r []float64) (float64, error) {
		_, es := ValueAtRisk(r, darConfidence)
		return es, nil
	})},

	{"alpha_1y", alphaOver(last(YearDays))},
	{"alpha_3y_ann", alphaOver(last(threeYears))},
	{"beta_1y", against(last(YearDays), Beta)},
	{"beta_3y", against(last(threeYears), Beta)},
	{"correlation_1y", against(last(YearDays), Correlation)},
	{"tracking_error_1y", against(last(YearDays), TrackingError)},
	{"information_ratio_1y", against(last(YearDays), InformationRatio)},

	{"win_rate_1y", alone(last(YearDays), func(r []float64) (float64, error) {
		return float64(len(above(r))) / float64(len(r)), nil
	})},
	{"avg_win", alone(last(YearDays), func(r []float64) (float64, error) {
		wins := above(r)
		if len(wins) == 0 {
			return 0, Short("returns", "no day of the last %d gained", len(r))
		}
		return stat.Mean(wins, nil), nil
	})},
	{"avg_loss", alone(last(YearDays), func(r []float64) (float64, error) {
		losses := slices.DeleteFunc(slices.Clone(r), func(x float64) bool { return x >= 0 })
		if len(losses) == 0 {
			return 0, Short("returns", "no day of the last %d lost", len(r))
		}
		return -stat.Mean(losses, nil), nil
	})},
}

// FigureNames returns the names of what Figures computes, in the order of documentation.
func FigureNames() []string {
	names := make([]string, len(figures))
	for i, f := range figures {
		names[i] = f.name
	}
	return names
}

// Figures computes every figure there is, by name: valuing the portfolio is the dear part, and done
// already.
func (h *History) Figures(rel Relative) map[string]Figure {
	all := make(map[string]Figure, len(figures))
	for _, f := range figures {
		all[f.name] = h.figure(f, rel)
	}
	return all
}

// Figure computes the figure of a name; false means that there is no such name.
func (h *History) Figure(name string, rel Relative) (Figure, bool) {
	i := slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
	if i < 0 {
		return Figure{}, false
	}
	return h.figure(figures[i], rel), true
}

func (h *History) figure(f figure, rel Relative) Figure {
	var asof time.Time
	if n := len(h.Days); n > 0 {
		asof = h.Days[n-1]
	}
	v, err := f.compute(h, rel)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = Short("range", "the figure is too large to be a number")
	}
	if err != nil {
		v = 0
	}
	return Figure{Value: v, Asof: asof, Err: err}
}

// Drawdowns returns after each return by which fraction the compounded value lies below its running
// maximum, which includes the start.
func Drawdowns(r []float64) []float64 {
	d := make([]float64, len(r))
	w, peak := 1.0, 1.0
	for i, x := range r {
		w *= 1 + x
		peak = math.Max(peak, w)
		d[i] = 1 - w/peak
	}
	return d
}

// window finds the days that a figure is about.
type window func(*History) (Window, error)

// last is the last n daily returns, and no fewer.
func last(n int) window {
	return func(h *History) (Window, error) {
		w, err := h.Last(n)
		if err == nil && w.Len() < n {
			err = Short("returns", "%d daily returns are needed, the portfolio has %d", n, w.Len())
		}
		return w, err
	}
}

// since is a calendar period to date: it begins with the last valuation day before start, which is
// told from the last valuation day.
func since(start func(time.Time) time.Time) window {
	return func(h *History) (Window, error) {
		w, err := h.All()
		if err != nil {
			return Window{}, err
		}
		return h.Since(start(h.Days[w.End]).AddDate(0, 0, -1))
	}
}

func firstOf(year int, month time.Month) time.Time {
	return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
}

// alone measures the returns by themselves.
func alone(over window, measure func(r []float64) (float64, error)) func(*History, Relative) (float64, error) {
	return func(h *History, _ Relative) (float64, error) {
		w, err := over(h)
		if err != nil {
			return 0, err
		}
		r, err := h.Returns(w)
		if err != nil {
			return 0, err
		}
		return measure(r)
	}
}

func total(over window) func(*History, Relative) (float64, error) {
	return alone(over, func(r []float64) (float64, error) { return Compound(r), nil })
}

func perYear(over window) func(*History, Relative) (float64, error) {
	return alone(over, func(r []float64) (float64, error) { return Annualize(Compound(r), len(r)) })
}

func deepest(r []float64) (float64, error) {
	depth, _ := MaxDrawdown(r)
	return depth, nil
}

func moneyWeighted(over window) func(*History, Relative) (float64, error) {
	return func(h *History, _ Relative) (float64, error) {
		w, err := over(h)
		if err != nil {
			return 0, err
		}
		return h.MoneyWeighted(w)
	}
}

// excess measures the returns above the risk-free rate.
func excess(over window, measure func(r, riskFree []float64) (float64, error)) func(*History, Relative) (float64, error) {
	return func(h *History, rel Relative) (float64, error) {
		w, err := over(h)
		if err != nil {
			return 0, err
		}
		r, err := h.Returns(w)
		if err != nil {
			return 0, err
		}
		rf, err := rel.RiskFree(w)
		if err != nil {
			return 0, err
		}
		return measure(r, rf)
	}
}

// against measures the returns against the benchmark's.
func against(over window, measure func(r, b []float64) (float64, error)) func(*History, Relative) (float64, error) {
	return func(h *History, rel Relative) (float64, error) {
		w, err := over(h)
		if err != nil {
			return 0, err
		}
		r, err := h.Returns(w)
		if err != nil {
			return 0, err
		}
		b, err := rel.Benchmark(w)
		if err != nil {
			return 0, err
		}
		return measure(r, b)
	}
}

func alphaOver(over window) func(*History, Relative) (float64, error) {
	return func(h *History, rel Relative) (float64, error) {
		w, err := over(h)
		if err != nil {
			return 0, err
		}
		rf, err := rel.RiskFree(w)
		if err != nil {
			return 0, err
		}
		return against(over, func(r, b []float64) (float64, error) { return Alpha(r, b, rf) })(h, rel)
	}
}

// lastNAV returns the net asset value on the last valuation day, in base currency.
func (h *History) lastNAV() (float64, error) {
	end := len(h.Days) - 1
	if end < 0 {
		_, err := h.All() // says what there is not
		return 0, err
	}
	if err := h.Missing(Window{Start: end, End: end}); err != nil {
		return 0, err
	}
	return h.NAV[end], nil
}

// above returns the gains among returns.
func above(r []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(r), func(x float64) bool { return x <= 0 })
}
