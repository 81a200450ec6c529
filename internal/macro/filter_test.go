package macro_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/dawsos/dawsos/internal/macro"
)

// Stata's trend of US real GDP, 1959Q1 to 2009Q3, lambda 1600, as recorded in the tests of statsmodels
// (statsmodels/tsa/filters/tests/test_filters.py, test_hpfilter). The sample has the same series.
func TestHodrickPrescottAgainstStata(t *testing.T) {
	t.Parallel()
	points := sample(t)["US_REALGDP"].Points
	y := make([]float64, len(points))
	for i, p := range points {
		y[i] = p.Value
	}
	require.Len(t, y, 203)
	trend, err := macro.HodrickPrescott(y, 1600)
	require.NoError(t, err)
	for i, want := range map[int]float64{
		0: 2.670837085155121713e+03, 1: 2.698712467543189177e+03, 2: 2.726612544878045810e+03,
		3: 2.754612067439201837e+03, 4: 2.782816332665780465e+03, 9: 2.932172890264432681e+03,
		20: 3.352680411907625057e+03, 50: 4.501683119246548813e+03, 57: 4.746963034523438182e+03,
		80: 5.650738842182393455e+03,
	} {
		require.InEpsilon(t, want, trend[i], 1e-10, "quarter %d", i)
	}
}

// The banded solution against the full normal equations (I + lambda D'D) t = y.
func TestHodrickPrescottAgainstNormalEquations(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{3, 4, 5, 40, 160} {
		y := make([]float64, n)
		level := 100.0
		for i := range y {
			level += rng.NormFloat64()
			y[i] = level
		}
		const lambda = 400_000
		trend, err := macro.HodrickPrescott(y, lambda)
		require.NoError(t, err)

		d := mat.NewDense(n-2, n, nil)
		for i := range n - 2 {
			d.Set(i, i, 1)
			d.Set(i, i+1, -2)
			d.Set(i, i+2, 1)
		}
		var a mat.Dense
		a.Mul(d.T(), d)
		a.Scale(lambda, &a)
		for i := range n {
			a.Set(i, i, a.At(i, i)+1)
		}
		var want mat.VecDense
		require.NoError(t, want.SolveVec(&a, mat.NewVecDense(n, y)))
		for i := range n {
			require.InEpsilon(t, want.AtVec(i), trend[i], 1e-8, "%d of %d", i, n)
		}

		// The gap is the last value's, and knows nothing later.
		gap, err := macro.OneSidedGap(y, lambda)
		require.NoError(t, err)
		require.InDelta(t, y[n-1]-want.AtVec(n-1), gap, 1e-6)
	}
}

// A straight line has no second differences: it is its own trend, and has no gap.
func TestHodrickPrescottKeepsLines(t *testing.T) {
	t.Parallel()
	for n := range 50 {
		y := make([]float64, n)
		for i := range y {
			y[i] = 50 + 0.7*float64(i)
		}
		trend, err := macro.HodrickPrescott(y, 400_000)
		require.NoError(t, err)
		require.Len(t, trend, n)
		for i := range y {
			require.InDelta(t, y[i], trend[i], 1e-7)
		}
		gap, err := macro.OneSidedGap(y, 400_000)
		require.NoError(t, err)
		require.InDelta(t, 0, gap, 1e-7)
	}
}
