package portfolio

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// YearDays is the number of trading days that daily figures are annualised with.
const YearDays = 252

// flat is the spread below which daily returns count as constant. A return is a ratio near 1,
// minus 1, so that a smaller difference is the rounding of that ratio and not a variance.
const flat = 1e-13

func constant(x []float64) bool { return slices.Max(x)-slices.Min(x) <= flat }

// Compound links simple returns: prod(1+r) - 1. Over daily returns it is the time-weighted return.
func Compound(r []float64) float64 {
	w := 1.0
	for _, x := range r {
		w *= 1 + x
	}
	return w - 1
}

// Annualize turns the return of n days into the return a year: (1+total)^(252/n) - 1.
func Annualize(total float64, n int) (float64, error) {
	if total < -1 {
		return 0, Short("capital", "a return of %.4f leaves negative capital, which has no yearly rate", total)
	}
	annual := math.Pow(1+total, YearDays/float64(n)) - 1
	if math.IsInf(annual, 0) {
		return 0, Short("returns", "a return of %.4f in %d days is too large for a yearly rate", total, n)
	}
	return annual, nil
}

// MeanPerYear returns the arithmetic mean of daily figures, times the days of a year.
func MeanPerYear(x []float64) float64 { return stat.Mean(x, nil) * YearDays }

// Volatility returns the sample standard deviation of daily returns, a year.
func Volatility(r []float64) (float64, error) {
	if err := atLeastTwo(r); err != nil {
		return 0, err
	}
	return stat.StdDev(r, nil) * math.Sqrt(YearDays), nil
}

// Sharpe returns the Sharpe ratio, a year: mean over sample standard deviation of the returns
// above the risk-free rate (Sharpe, The Journal of Portfolio Management 21(1), 1994).
func Sharpe(r, riskFree []float64) (float64, error) {
	if err := atLeastTwo(r); err != nil {
		return 0, err
	}
	x := difference(r, riskFree)
	if constant(x) {
		return 0, Short("variance", "the returns above the risk-free rate do not vary")
	}
	mean, sd := stat.MeanStdDev(x, nil)
	return mean / sd * math.Sqrt(YearDays), nil
}

// Sortino returns the Sortino ratio, a year: the mean return above the risk-free rate over the
// root mean square of its negative part, all days counted (Sortino and van der Meer, The Journal
// of Portfolio Management 17(4), 1991).
func Sortino(r, riskFree []float64) (float64, error) {
	x := difference(r, riskFree)
	var squares float64
	for _, d := range x {
		squares += min(d, 0) * min(d, 0)
	}
	downside := math.Sqrt(squares / float64(len(x)))
	if downside <= flat {
		return 0, Short("variance", "no return is below the risk-free rate")
	}
	return stat.Mean(x, nil) / downside * math.Sqrt(YearDays), nil
}

// MaxDrawdown returns the largest fall of the compounded returns below their running maximum,
// which includes the start, as a positive fraction; and the index of the return after which it
// was reached, -1 without any fall (Magdon-Ismail and Atiya, Risk 17(10), 2004).
func MaxDrawdown(r []float64) (depth float64, trough int) {
	trough = -1
	w, peak := 1.0, 1.0
	for i, x := range r {
		w *= 1 + x
		peak = math.Max(peak, w)
		if d := 1 - w/peak; d > depth {
			depth, trough = d, i
		}
	}
	return depth, trough
}

// Quantile interpolates linearly between the order statistics of x (type 7 of Hyndman and Fan,
// The American Statistician 50(4), 1996; the default of R and of spreadsheets). x must not be
// empty and p within [0, 1]. gonum's stat.LinInterp is type 4.
func Quantile(x []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(x))
	h := p * float64(len(sorted)-1)
	// p*(n-1) may miss a whole number by rounding, and with it the observation itself.
	if nearest := math.Round(h); math.Abs(h-nearest) < 1e-9 {
		return sorted[int(nearest)]
	}
	i := int(h)
	return sorted[i] + (h-float64(i))*(sorted[i+1]-sorted[i])
}

// ValueAtRisk returns the historical one-day value at risk and the expected shortfall at a
// confidence such as 0.95, both as positive losses: minus the lower-tail quantile, and minus the
// mean of the returns at or below it (Jorion 2006; Acerbi and Tasche 2002).
func ValueAtRisk(r []float64, confidence float64) (valueAtRisk, expectedShortfall float64) {
	q := Quantile(r, 1-confidence)
	var sum float64
	var n int
	for _, x := range r {
		if x <= q {
			sum += x
			n++
		}
	}
	return -q, -sum / float64(n)
}

// Beta returns the slope of r on b: sample covariance over the variance of b (Sharpe 1964).
func Beta(r, b []float64) (float64, error) {
	if err := varying(b); err != nil {
		return 0, err
	}
	return stat.Covariance(r, b, nil) / stat.Variance(b, nil), nil
}

// Alpha returns Jensen's alpha, a year: 252 times the mean return above the risk-free rate that
// beta does not explain (Jensen 1968).
func Alpha(r, b, riskFree []float64) (float64, error) {
	beta, err := Beta(r, b)
	if err != nil {
		return 0, err
	}
	return MeanPerYear(difference(r, riskFree)) - beta*MeanPerYear(difference(b, riskFree)), nil
}

// Correlation returns Pearson's coefficient.
func Correlation(r, b []float64) (float64, error) {
	if err := varying(b); err != nil {
		return 0, err
	}
	if constant(r) {
		return 0, Short("variance", "the portfolio's returns do not vary")
	}
	return stat.Correlation(r, b, nil), nil
}

// TrackingError returns the sample standard deviation of r - b, a year (Grinold and Kahn 2000).
func TrackingError(r, b []float64) (float64, error) { return Volatility(difference(r, b)) }

// InformationRatio returns the mean of r - b over its tracking error, a year (Grinold and Kahn
// 2000).
func InformationRatio(r, b []float64) (float64, error) {
	x := difference(r, b)
	te, err := Volatility(x)
	if err != nil {
		return 0, err
	}
	if constant(x) {
		return 0, Short("variance", "the returns do not differ from the benchmark's by a varying amount")
	}
	return MeanPerYear(x) / te, nil
}

func atLeastTwo(r []float64) error {
	if len(r) < 2 {
		return Short("returns", "a standard deviation needs two returns, there are %d", len(r))
	}
	return nil
}

func varying(b []float64) error {
	if err := atLeastTwo(b); err != nil {
		return err
	}
	if constant(b) {
		return Short("variance", "the benchmark's returns do not vary")
	}
	return nil
}

// difference returns a - b, element by element.
func difference(a, b []float64) []float64 {
	d := make([]float64, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	return d
}
