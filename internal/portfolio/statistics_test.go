package portfolio_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"

	"github.com/dawsos/dawsos/internal/portfolio"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		x    []float64
		p    float64
		want float64
	}{
		{"Microsoft's reference of PERCENTILE", []float64{1, 3, 2, 4}, 0.3, 1.9},
		{"R: quantile(c(1, 2, 3, 4), 0.25)", []float64{1, 2, 3, 4}, 0.25, 1.75},
		{"NumPy's reference of percentile", []float64{10, 7, 4, 3, 2, 1}, 0.5, 3.5},
		{"lowest", []float64{5, -1, 3}, 0, -1},
		{"highest", []float64{5, -1, 3}, 1, 5},
		{"single", []float64{7}, 0.05, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before := append([]float64(nil), tt.x...)
			require.InDelta(t, tt.want, portfolio.Quantile(tt.x, tt.p), 1e-12)
			require.Equal(t, before, tt.x, "the argument is left alone")
		})
	}
}

func TestValueAtRisk(t *testing.T) {
	t.Parallel()
	// 21 returns: the 5 % quantile is the second lowest, though 20 * (1 - 0.95) is not quite 1.
	r := make([]float64, 21)
	for i := range r {
		r[i] = float64(i-10) / 100
	}
	v, es := portfolio.ValueAtRisk(r, 0.95)
	require.InDelta(t, 0.09, v, 1e-15)
	require.InDelta(t, 0.095, es, 1e-15)
}

// Rollinger and Hoffman, Sortino: A "Sharper" Ratio (Red Rock Capital, 2013): target 0, mean
// 10 %, downside 2.264 %, ratio 4.417, there without annualisation.
func TestSortinoPublished(t *testing.T) {
	t.Parallel()
	r := []float64{0.17, 0.15, 0.23, -0.05, 0.12, 0.09, 0.13, -0.04}
	got, err := portfolio.Sortino(r, make([]float64, len(r)))
	require.NoError(t, err)
	require.InDelta(t, 4.417, got/math.Sqrt(portfolio.YearDays), 5e-4)
}

func TestSharpe(t *testing.T) {
	t.Parallel()
	// Above the rate: 1 %, 2 %, 3 %; mean 2 %, sample standard deviation 1 %.
	got, err := portfolio.Sharpe([]float64{0.011, 0.022, 0.033}, []float64{0.001, 0.002, 0.003})
	require.NoError(t, err)
	require.InEpsilon(t, 2*math.Sqrt(252), got, 1e-12)
}

func TestMaxDrawdown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		r      []float64
		depth  float64
		trough int
	}{
		{"never", []float64{0.1, 0, 0.2}, 0, -1},
		{"from the start", []float64{-0.1, 0.05}, 0.1, 0},
		{"from the peak", []float64{1, -0.25, 0.1, -0.2, 1}, 1 - 0.75*1.1*0.8, 3},
		{"everything", []float64{-1}, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			depth, trough := portfolio.MaxDrawdown(tt.r)
			require.InDelta(t, tt.depth, depth, 1e-15)
			require.Equal(t, tt.trough, trough)
		})
	}
}

func TestAnnualize(t *testing.T) {
	t.Parallel()
	got, err := portfolio.Annualize(0.21, 504)
	require.NoError(t, err)
	require.InDelta(t, 0.1, got, 1e-15)

	got, err = portfolio.Annualize(-1, 10)
	require.NoError(t, err)
	require.InDelta(t, -1, got, 0)

	for _, total := range []float64{-1.5, 1e300} {
		_, err = portfolio.Annualize(total, 1)
		require.ErrorAs(t, err, &portfolio.Shortages{})
	}
}

// A regression is a second way to beta and correlation.
func TestBenchmarkMeasuresAgainstRegression(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	r, b, rf := make([]float64, 300), make([]float64, 300), make([]float64, 300)
	for i := range r {
		b[i] = rng.NormFloat64() / 100
		rf[i] = 0.0001
		r[i] = rf[i] + 0.0002 + 1.3*(b[i]-rf[i]) + rng.NormFloat64()/500
	}
	alpha, beta := stat.LinearRegression(b, r, nil, false)

	got, err := portfolio.Beta(r, b)
	require.NoError(t, err)
	require.InEpsilon(t, beta, got, 1e-12)

	correlation, err := portfolio.Correlation(r, b)
	require.NoError(t, err)
	require.InEpsilon(t, math.Sqrt(stat.RSquared(b, r, nil, alpha, beta)), correlation, 1e-12)

	jensen, err := portfolio.Alpha(r, b, rf)
	require.NoError(t, err)
	// With a constant rate the intercept differs from alpha by rf (1 - beta).
	require.InEpsilon(t, (alpha-0.0001*(1-beta))*252, jensen, 1e-9)

	te, err := portfolio.TrackingError(r, b)
	require.NoError(t, err)
	ir, err := portfolio.InformationRatio(r, b)
	require.NoError(t, err)
	require.InEpsilon(t, (stat.Mean(r, nil)-stat.Mean(b, nil))*252/te, ir, 1e-9)
}

func TestMeasuresThatDoNotExist(t *testing.T) {
	t.Parallel()
	one, flat, up := []float64{0.01}, []float64{0.01, 0.01, 0.01}, []float64{0.01, 0.02, 0.03}
	zero := make([]float64, 3)
	ratio := func(_ float64, err error) error { return err }
	for name, err := range map[string]error{
		"volatility of one return":    ratio(portfolio.Volatility(one)),
		"sharpe of one return":        ratio(portfolio.Sharpe(one, zero[:1])),
		"sharpe of constant returns":  ratio(portfolio.Sharpe(flat, zero)),
		"sharpe of rounding":          ratio(portfolio.Sharpe([]float64{0.1, 0.1 + 1e-16, 0.1 - 1e-16}, zero)),
		"sortino without a loss":      ratio(portfolio.Sortino(up, zero)),
		"beta of one return":          ratio(portfolio.Beta(one, one)),
		"beta to a flat benchmark":    ratio(portfolio.Beta(up, flat)),
		"alpha to a flat benchmark":   ratio(portfolio.Alpha(up, flat, zero)),
		"correlation of flat returns": ratio(portfolio.Correlation(flat, up)),
		"information of the same":     ratio(portfolio.InformationRatio(up, up)),
		"tracking error of one":       ratio(portfolio.TrackingError(one, one)),
	} {
		require.ErrorAs(t, err, &portfolio.Shortages{}, name)
	}
}
