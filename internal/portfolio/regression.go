package portfolio

import (
	"math"
	"strings"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// Factor is what returns are explained by: its own returns of the same days.
type Factor struct {
	Name    string
	Returns []float64
}

// Estimate is an estimated coefficient. T is Value over StdError: infinite, or NaN, when the fit is exact.
type Estimate struct {
	Value, StdError, T float64
}

// Exposure is the coefficient of one factor.
type Exposure struct {
	Estimate

	Name string
	// VarianceShare is beta x cov(factor, returns) / var(returns). The shares sum to RSquared.
	VarianceShare float64
}

// Regression is the ordinary least squares fit of daily returns on factors, with an intercept.
type Regression struct {
	Alpha     Estimate // the intercept, a day
	Exposures []Exposure

	RSquared, AdjRSquared float64
	// ResidualVolatility is the sample standard deviation (n - 1) of the residuals, a year, as other
	// volatilities are: its square is (1 - RSquared) times the square of the returns' volatility.
	ResidualVolatility float64
	// StandardError is that of the regression, a day: sqrt(SSR / (n - k - 1)), which the standard
	// errors of the coefficients are made of.
	StandardError float64
	Returns       int // n, the number of daily returns
}

// collinear is the smallest ratio of singular values of the centred and scaled factors at which they
// still count as independent. NIST's Longley, which is known for being hard, has 0.009; factors that
// are sums of each other have 1e-16.
const collinear = 1e-8

// Regress fits r = alpha + sum of beta x factor + residual by ordinary least squares, with classic
// standard errors (Greene, Econometric Analysis, chapters 3 and 4; of returns on factors: Chen, Roll and
// Ross, The Journal of Business 59(3), 1986). All factors must be as long as r.
//
// It solves for deviations from the means, scaled to length 1, by singular values: the square of a
// matrix is never formed, which would double the digits that are lost. Shortages say that there are
// fewer than k + 2 returns, that something does not vary, or which factors are collinear.
func Regress(r []float64, factors []Factor) (Regression, error) {
	n, k := len(r), len(factors)
	if n < k+2 {
		return Regression{}, Short("returns", "a regression on %d factors needs %d daily returns, there are %d", k, k+2, n)
	}
	if k == 0 {
		return Regression{}, Short("factors", "there is none to regress on")
	}
	if constant(r) {
		return Regression{}, Short("variance", "the portfolio's returns do not vary")
	}

	mean := stat.Mean(r, nil)
	y := centred(r, mean)
	means, lengths := make([]float64, k), make([]float64, k)
	z := mat.NewDense(n, k, nil)
	for j, f := range factors {
		if constant(f.Returns) {
			return Regression{}, Short("variance", "the returns of the factor %s do not vary", f.Name)
		}
		means[j] = stat.Mean(f.Returns, nil)
		column := centred(f.Returns, means[j])
		lengths[j] = floats.Norm(column, 2)
		floats.Scale(1/lengths[j], column)
		z.SetCol(j, column)
	}
	var svd mat.SVD
	if !svd.Factorize(z, mat.SVDThin) {
		return Regression{}, Short("factors", "their singular values can't be found")
	}
	s := svd.Values(nil)
	var u, v mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	if s[k-1] < collinear*s[0] {
		return Regression{}, Short("factors", "they are collinear: %s", strings.Join(dependent(&v, factors), ", "))
	}

	// beta = V S^-1 U'y, var(beta) = sigma² V S^-2 V', both of the scaled factors.
	projected := make([]float64, k)
	for i := range projected {
		projected[i] = floats.Dot(mat.Col(nil, i, &u), y) / s[i]
	}
	beta, unexplained := make([]float64, k), y
	for j := range beta {
		for i := range projected {
			beta[j] += v.At(j, i) * projected[i]
		}
		floats.AddScaled(unexplained, -beta[j], mat.Col(nil, j, z))
	}

	ssr := floats.Dot(unexplained, unexplained)
	degrees := float64(n - k - 1)
	sigma := math.Sqrt(ssr / degrees)
	variance := stat.Variance(r, nil)
	total := variance * float64(n-1)
	out := Regression{
		Alpha: Estimate{Value: mean}, Exposures: make([]Exposure, k),
		RSquared: 1 - ssr/total, AdjRSquared: 1 - ssr/degrees/variance,
		ResidualVolatility: math.Sqrt(ssr/float64(n-1)) * math.Sqrt(YearDays),
		StandardError:      sigma, Returns: n,
	}
	// The intercept is the mean of r less what the factors' means explain.
	atMeans := make([]float64, k) // S^-1 V' m, m being the scaled means
	for j, f := range factors {
		var norm float64
		for i := range s {
			norm += v.At(j, i) / s[i] * (v.At(j, i) / s[i])
			atMeans[i] += v.At(j, i) / s[i] * means[j] / lengths[j]
		}
		b := beta[j] / lengths[j]
		out.Alpha.Value -= b * means[j]
		out.Exposures[j] = Exposure{
			Name: f.Name, Estimate: estimate(b, sigma*math.Sqrt(norm)/lengths[j]),
			VarianceShare: b * stat.Covariance(f.Returns, r, nil) / variance,
		}
	}
	out.Alpha = estimate(out.Alpha.Value, sigma*math.Sqrt(1/float64(n)+floats.Dot(atMeans, atMeans)))
	return out, nil
}

func estimate(value, stdError float64) Estimate {
	return Estimate{Value: value, StdError: stdError, T: value / stdError}
}

func centred(x []float64, mean float64) []float64 {
	c := make([]float64, len(x))
	for i := range x {
		c[i] = x[i] - mean
	}
	return c
}

// dependent names the factors whose combination vanishes: those with a part in the last right singular
// vector.
func dependent(v *mat.Dense, factors []Factor) []string {
	const part = 1e-3
	var names []string
	_, k := v.Dims()
	for j, f := range factors {
		if math.Abs(v.At(j, k-1)) > part {
			names = append(names, f.Name)
		}
	}
	return names
}
