package portfolio_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// certified is a linear regression of NIST's Statistical Reference Datasets with the values that NIST
// certifies (https://www.itl.nist.gov/div898/strd/lls/lls.shtml).
type certified struct {
	name             string
	rows             [][]float64 // y, x1, x2, ...
	value, stdError  []float64   // of the intercept, then of x1, x2, ...
	residual, square float64     // residual standard deviation, R²
	digits           float64     // relative tolerance
}

var references = []certified{
	{
		name: "Norris", digits: 1e-9,
		rows: [][]float64{
			{0.1, 0.2},
			{338.8, 337.4},
			{118.1, 118.2},
			{888.0, 884.6},
			{9.2, 10.1},
			{228.1, 226.5},
			{668.5, 666.3},
			{998.5, 996.3},
			{449.1, 448.6},
			{778.9, 777.0},
			{559.2, 558.2},
			{0.3, 0.4},
			{0.1, 0.6},
			{778.1, 775.5},
			{668.8, 666.9},
			{339.3, 338.0},
			{448.9, 447.5},
			{10.8, 11.6},
			{557.7, 556.0},
			{228.3, 228.1},
			{998.0, 995.8},
			{888.8, 887.6},
			{119.6, 120.2},
			{0.3, 0.3},
			{0.6, 0.3},
			{557.6, 556.8},
			{339.3, 339.1},
			{888.0, 887.2},
			{998.5, 999.0},
			{778.9, 779.0},
			{10.2, 11.1},
			{117.6, 118.3},
			{228.9, 229.2},
			{668.4, 669.1},
			{449.2, 448.9},
			{0.2, 0.5},
		},
		value:    []float64{-0.262323073774029, 1.00211681802045},
		stdError: []float64{0.232818234301152, 0.429796848199937e-03},
		residual: 0.884796396144373, square: 0.999993745883712,
	},
	{
		// Six factors that are nearly collinear: hard for whoever squares the matrix.
		name: "Longley", digits: 1e-8,
		rows: [][]float64{
			{60323, 83.0, 234289, 2356, 1590, 107608, 1947},
			{61122, 88.5, 259426, 2325, 1456, 108632, 1948},
			{60171, 88.2, 258054, 3682, 1616, 109773, 1949},
			{61187, 89.5, 284599, 3351, 1650, 110929, 1950},
			{63221, 96.2, 328975, 2099, 3099, 112075, 1951},
			{63639, 98.1, 346999, 1932, 3594, 113270, 1952},
			{64989, 99.0, 365385, 1870, 3547, 115094, 1953},
			{63761, 100.0, 363112, 3578, 3350, 116219, 1954},
			{66019, 101.2, 397469, 2904, 3048, 117388, 1955},
			{67857, 104.6, 419180, 2822, 2857, 118734, 1956},
			{68169, 108.4, 442769, 2936, 2798, 120445, 1957},
			{66513, 110.8, 444546, 4681, 2637, 121950, 1958},
			{68655, 112.6, 482704, 3813, 2552, 123366, 1959},
			{69564, 114.2, 502601, 3931, 2514, 125368, 1960},
			{69331, 115.7, 518173, 4806, 2572, 127852, 1961},
			{70551, 116.9, 554894, 4007, 2827, 130081, 1962},
		},
		value: []float64{
			-3482258.63459582, 15.0618722713733, -0.358191792925910e-01, -2.02022980381683, -1.03322686717359,
			-0.511041056535807e-01, 1829.15146461355,
		},
		stdError: []float64{
			890420.383607373, 84.9149257747669, 0.334910077722432e-01, 0.488399681651699, 0.214274163161675,
			0.226073200069370, 455.478499142212,
		},
		residual: 304.854073561965, square: 0.995479004577296,
	},
}

func TestRegressCertified(t *testing.T) {
	t.Parallel()
	for _, tt := range references {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			y := make([]float64, len(tt.rows))
			factors := make([]portfolio.Factor, len(tt.rows[0])-1)
			for i, row := range tt.rows {
				y[i] = row[0]
				for j := range factors {
					factors[j].Name = fmt.Sprint("x", j+1)
					factors[j].Returns = append(factors[j].Returns, row[j+1])
				}
			}
			fit, err := portfolio.Regress(y, factors)
			require.NoError(t, err)
			require.InEpsilon(t, tt.value[0], fit.Alpha.Value, tt.digits)
			require.InEpsilon(t, tt.stdError[0], fit.Alpha.StdError, tt.digits)
			for j, e := range fit.Exposures {
				require.Equal(t, factors[j].Name, e.Name)
				require.InEpsilon(t, tt.value[j+1], e.Value, tt.digits, e.Name)
				require.InEpsilon(t, tt.stdError[j+1], e.StdError, tt.digits, e.Name)
				require.InEpsilon(t, tt.value[j+1]/tt.stdError[j+1], e.T, tt.digits, e.Name)
			}
			require.InEpsilon(t, tt.residual, fit.StandardError, tt.digits)
			require.InEpsilon(t, tt.square, fit.RSquared, tt.digits)
			require.Equal(t, len(y), fit.Returns)
		})
	}
}

// sampleOf is random returns explained by random factors that have something in common.
func sampleOf(rng *rand.Rand, n, k int) (r []float64, factors []portfolio.Factor) {
	r = make([]float64, n)
	factors = make([]portfolio.Factor, k)
	for j := range factors {
		factors[j] = portfolio.Factor{Name: fmt.Sprint("F", j), Returns: make([]float64, n)}
	}
	for i := range r {
		common := 0.01 * rng.NormFloat64()
		r[i] = 0.0002 + 0.004*rng.NormFloat64()
		for j := range factors {
			x := 0.0001*float64(j) + 0.5*common + 0.008*rng.NormFloat64()
			factors[j].Returns[i] = x
			r[i] += (0.8 - 0.4*float64(j)) * x
		}
	}
	return r, factors
}

// The second method: the normal equations (X'X)b = X'y with a column of ones, solved by Cholesky, and
// var(b) = sigma² (X'X)^-1.
func TestRegressAgainstNormalEquations(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 5))
		k := 1 + rng.IntN(6)
		n := k + 2 + rng.IntN(300)
		r, factors := sampleOf(rng, n, k)
		fit, err := portfolio.Regress(r, factors)
		require.NoError(t, err, "seed %d", seed)

		x := mat.NewDense(n, k+1, nil)
		for i := range n {
			x.Set(i, 0, 1)
			for j, f := range factors {
				x.Set(i, j+1, f.Returns[i])
			}
		}
		gram := mat.NewSymDense(k+1, nil)
		gram.SymOuterK(1, x.T())
		var chol mat.Cholesky
		require.True(t, chol.Factorize(gram))
		var xy, b mat.VecDense
		xy.MulVec(x.T(), mat.NewVecDense(n, r))
		require.NoError(t, chol.SolveVecTo(&b, &xy))
		var inverse mat.SymDense
		require.NoError(t, chol.InverseTo(&inverse))
		var fitted mat.VecDense
		fitted.MulVec(x, &b)
		var ssr float64
		for i := range r {
			ssr += (r[i] - fitted.AtVec(i)) * (r[i] - fitted.AtVec(i))
		}
		sigma2 := ssr / float64(n-k-1)

		estimates := []portfolio.Estimate{fit.Alpha}
		for _, e := range fit.Exposures {
			estimates = append(estimates, e.Estimate)
		}
		for j, e := range estimates {
			se := math.Sqrt(sigma2 * inverse.At(j, j))
			require.InDelta(t, b.AtVec(j), e.Value, 1e-9*(1+math.Abs(b.AtVec(j))), "seed %d", seed)
			require.InEpsilon(t, se, e.StdError, 1e-8, "seed %d", seed)
		}
		total := stat.Variance(r, nil) * float64(n-1)
		require.InDelta(t, 1-ssr/total, fit.RSquared, 1e-9)
		require.InDelta(t, 1-(1-fit.RSquared)*float64(n-1)/float64(n-k-1), fit.AdjRSquared, 1e-9)
		require.InEpsilon(t, math.Sqrt(ssr/float64(n-1)*252), fit.ResidualVolatility, 1e-8)
	}
}

func TestRegressIdentities(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 6))
		k := 1 + rng.IntN(5)
		r, factors := sampleOf(rng, 30+rng.IntN(250), k)
		fit, err := portfolio.Regress(r, factors)
		require.NoError(t, err)

		var shares float64
		for j, e := range fit.Exposures {
			shares += e.VarianceShare
			require.InDelta(t, e.Value*stat.Covariance(factors[j].Returns, r, nil)/stat.Variance(r, nil), e.VarianceShare, 1e-12)
		}
		require.InDelta(t, fit.RSquared, shares, 1e-10, "the shares sum to R²")
		volatility, err := portfolio.Volatility(r)
		require.NoError(t, err)
		require.InDelta(t, volatility*volatility*(1-fit.RSquared), fit.ResidualVolatility*fit.ResidualVolatility, 1e-12)

		// Another unit of a factor is another unit of its beta, and an added constant is alpha's.
		scaled := append([]portfolio.Factor(nil), factors...)
		scaled[0].Returns = make([]float64, len(r))
		for i, x := range factors[0].Returns {
			scaled[0].Returns[i] = 100*x + 3
		}
		other, err := portfolio.Regress(r, scaled)
		require.NoError(t, err)
		require.InEpsilon(t, fit.Exposures[0].Value, 100*other.Exposures[0].Value, 1e-8)
		require.InEpsilon(t, fit.Exposures[0].StdError, 100*other.Exposures[0].StdError, 1e-8)
		require.InDelta(t, fit.Alpha.Value, other.Alpha.Value+3*other.Exposures[0].Value, 1e-10)
		require.InEpsilon(t, fit.RSquared, other.RSquared, 1e-8)
	}
}

// One factor is the beta that the figures know.
func TestRegressOnOneFactorIsBeta(t *testing.T) {
	t.Parallel()
	r, factors := sampleOf(rand.New(rand.NewPCG(1, 7)), 252, 1)
	fit, err := portfolio.Regress(r, factors)
	require.NoError(t, err)
	beta, err := portfolio.Beta(r, factors[0].Returns)
	require.NoError(t, err)
	require.InEpsilon(t, beta, fit.Exposures[0].Value, 1e-10)
	correlation, err := portfolio.Correlation(r, factors[0].Returns)
	require.NoError(t, err)
	require.InEpsilon(t, correlation*correlation, fit.RSquared, 1e-10)
}

func TestRegressionsThatCannotBe(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 8))
	r, factors := sampleOf(rng, 60, 3)
	sum := make([]float64, len(r))
	for i := range sum {
		sum[i] = 2*factors[0].Returns[i] - factors[2].Returns[i] + 0.001
	}
	flat := make([]float64, len(r))
	short := func(n int) (all []portfolio.Factor) {
		for _, f := range factors {
			all = append(all, portfolio.Factor{Name: f.Name, Returns: f.Returns[:n]})
		}
		return all
	}
	for name, tt := range map[string]struct {
		r       []float64
		factors []portfolio.Factor
		missing string
		says    string
	}{
		"too few":       {r[:4], short(4), "returns", "needs 5 daily returns, there are 4"},
		"none":          {nil, nil, "returns", "there are 0"},
		"no factor":     {r, nil, "factors", "none"},
		"sum of others": {r, append(short(60), portfolio.Factor{Name: "SUM", Returns: sum}), "factors", "collinear: F0, F2, SUM"},
		"twice":         {r, []portfolio.Factor{factors[0], {Name: "AGAIN", Returns: factors[0].Returns}}, "factors", "collinear: F0, AGAIN"},
		"flat factor":   {r, []portfolio.Factor{factors[0], {Name: "FLAT", Returns: flat}}, "variance", "FLAT do not vary"},
		"flat returns":  {flat, factors, "variance", "portfolio's returns do not vary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := portfolio.Regress(tt.r, tt.factors)
			var shortages portfolio.Shortages
			require.ErrorAs(t, err, &shortages)
			require.Len(t, shortages, 1)
			require.Equal(t, tt.missing, shortages[0].Missing)
			require.Contains(t, shortages[0].Reason, tt.says)
		})
	}
	fit, err := portfolio.Regress(r[:5], short(5))
	require.NoError(t, err, "k + 2 returns are enough")
	require.Equal(t, 5, fit.Returns)
}

// BenchmarkRegress is what one week of a rolled history costs: 252 returns on 4 factors.
func BenchmarkRegress(b *testing.B) {
	r, factors := sampleOf(rand.New(rand.NewPCG(3, 9)), 252, 4)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := portfolio.Regress(r, factors); err != nil {
			b.Fatal(err)
		}
	}
}
