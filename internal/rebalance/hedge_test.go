package rebalance_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"

	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/rebalance"
)

// Hull, Options, Futures, and Other Derivatives (8th edition), table 3.2 and example 3.3, an instance of
// Ederington's hedge: changes of the price of jet fuel and of heating oil futures over 15 months. Its
// standard deviations are 0.0263 and 0.0313, the correlation 0.928, the hedge ratio 0.78.
func TestJetFuelHedge(t *testing.T) {
	t.Parallel()
	futures := []float64{0.021, 0.035, -0.046, 0.001, 0.044, -0.029, -0.026, -0.029, 0.048, -0.006, -0.036, -0.011, 0.019, -0.027, 0.029}
	fuel := []float64{0.029, 0.020, -0.044, 0.008, 0.026, -0.019, -0.010, -0.007, 0.043, 0.011, -0.036, -0.018, 0.009, -0.032, 0.023}
	require.InDelta(t, 0.0263, stat.StdDev(fuel, nil), 5e-5)
	require.InDelta(t, 0.0313, stat.StdDev(futures, nil), 5e-5)
	h, err := rebalance.HedgeOf(fuel, futures)
	require.NoError(t, err)
	require.InDelta(t, 0.78, h.Ratio, 0.005)
	require.InDelta(t, 0.928*0.928, h.Effectiveness, 0.001)
}

// The ratio is the slope of a regression, R² its share of the variance, and no other ratio leaves less.
func TestHedgesAreRegressions(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		n := 3 + rng.IntN(300)
		p, x := make([]float64, n), make([]float64, n)
		slope := rng.NormFloat64()
		for i := range p {
			x[i] = 0.01 * rng.NormFloat64()
			p[i] = 0.0003 + slope*x[i] + 0.008*rng.NormFloat64()
		}
		h, err := rebalance.HedgeOf(p, x)
		require.NoError(t, err)
		alpha, b := stat.LinearRegression(x, p, nil, false)
		require.InDelta(t, b, h.Ratio, 1e-9*math.Max(1, math.Abs(b)))
		require.InDelta(t, stat.RSquared(x, p, nil, alpha, b), h.Effectiveness, 1e-9)
		before, after := stat.Variance(p, nil), residual(p, x, h.Ratio)
		require.InDelta(t, h.Effectiveness, 1-after/before, 1e-9)
		require.LessOrEqual(t, after, before*(1+1e-12), "never the wrong way")
		for _, other := range []float64{0, h.Ratio * 0.9, h.Ratio * 1.1, h.Ratio + 0.01, -h.Ratio} {
			require.LessOrEqual(t, after, residual(p, x, other)*(1+1e-12))
		}
	}
	for _, x := range [][]float64{{0.01, 0.01, 0.01}, {0.01}} {
		_, err := rebalance.HedgeOf([]float64{0.01, -0.01, 0.02}[:len(x)], x)
		_, ok := errors.AsType[portfolio.Shortages](err)
		require.True(t, ok)
	}
}

// residual is the variance that is left of p after selling ratio of x.
func residual(p, x []float64, ratio float64) float64 {
	left := make([]float64, len(p))
	for i := range left {
		left[i] = p[i] - ratio*x[i]
	}
	return stat.Variance(left, nil)
}
