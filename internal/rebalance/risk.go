package rebalance

import (
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Risk is the daily returns in base currency that risk is measured by, all of the same days.
type Risk struct {
	Returns map[string][]float64 // by the symbol of a line or a balance
	// Reference is what tracking error is measured against: the benchmark's returns, or those of the
	// portfolio as it was.
	Reference []float64
}

// Portfolio returns what a book would have earned each day at its present weights.
func (r *Risk) Portfolio(b Book) ([]float64, error) {
	total, _ := b.Value()
	if !total.IsPositive() {
		return nil, errNoCapital
	}
	nav := total.InexactFloat64()
	sum := make([]float64, len(r.Reference))
	add := func(symbol string, weight float64) error {
		if weight == 0 {
			return nil
		}
		x, ok := r.Returns[symbol]
		if !ok || len(x) != len(sum) {
			return portfolio.Short("returns", "there are no daily returns of %s", symbol)
		}
		for t := range sum {
			sum[t] += weight * x[t]
		}
		return nil
	}
	for _, l := range b.Lines {
		if err := add(l.Symbol, l.Value().InexactFloat64()/nav); err != nil {
			return nil, err
		}
	}
	for _, c := range b.Cash {
		// In the currency that returns are measured in, a balance earns nothing.
		if c.Currency == b.Base {
			continue
		}
		if err := add(c.Symbol, c.Amount.Mul(c.FX).InexactFloat64()/nav); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// Volatility returns the yearly standard deviation of a book's returns: sqrt(w'Cw) with the sample
// covariance C (Markowitz, Portfolio Selection, The Journal of Finance 7(1), 1952).
func (r *Risk) Volatility(b Book) (float64, error) {
	x, err := r.Portfolio(b)
	if err != nil {
		return 0, err
	}
	return portfolio.Volatility(x)
}

// TrackingError returns the yearly standard deviation of a book's returns less the reference's (Grinold
// and Kahn 2000).
func (r *Risk) TrackingError(b Book) (float64, error) {
	x, err := r.Portfolio(b)
	if err != nil {
		return 0, err
	}
	return portfolio.TrackingError(x, r.Reference)
}

// aimAtMinimumVariance sets the targets of the securities that are held long: they keep their common
// weight, and share it so that the variance is least, none below zero or above the limit.
func (s *solver) aimAtMinimumVariance(maxPosition float64) error {
	var lines []int
	var budget float64
	for i, w := range s.weights {
		if w > 0 {
			lines = append(lines, i)
			budget += w
		}
	}
	refuse := func(reason string) error {
		s.plan.NotApplied = append(s.plan.NotApplied, Note{Rule: MinimumVariance, Reason: reason})
		return nil
	}
	switch {
	case s.RiskErr != nil:
		return refuse(s.RiskErr.Error())
	case len(lines) < 2:
		return refuse("it takes two securities that are held")
	case len(lines) > maxVarianceLines:
		return refuse("there are more securities than it can take")
	case float64(len(lines))*maxPosition < budget:
		return refuse("the limit on positions leaves no room for the weight that is held")
	}
	data := mat.NewDense(len(s.Risk.Reference), len(lines), nil)
	for j, i := range lines {
		x, ok := s.Risk.Returns[s.Book.Lines[i].Symbol]
		if !ok {
			return refuse("there are no daily returns of " + s.Book.Lines[i].Symbol)
		}
		data.SetCol(j, x)
	}
	covariance := mat.NewSymDense(len(lines), nil)
	stat.CovarianceMatrix(covariance, data, nil)
	weights := MinimumVarianceWeights(covariance, budget, maxPosition)
	for j, i := range lines {
		s.fixed[i] = true
		s.set(i, weights[j], MinimumVariance)
	}
	return nil
}

const (
	maxVarianceLines = 200
	maxSteps         = 20_000
)

// MinimumVarianceWeights returns the weights between 0 and most that sum to budget and have the least
// variance under a covariance matrix (Markowitz 1952), by projected gradients: from equal weights,
// steps of 1/L (L the largest eigenvalue's bound) projected onto the weights that are allowed, until
// they move no further. Feasible when n x most >= budget.
func MinimumVarianceWeights(covariance mat.Symmetric, budget, most float64) []float64 {
	n := covariance.SymmetricDim()
	w := make([]float64, n)
	for i := range w {
		w[i] = budget / float64(n)
	}
	// Gershgorin: no eigenvalue is above the largest sum of a row's magnitudes.
	var bound float64
	for i := range n {
		var sum float64
		for j := range n {
			sum += math.Abs(covariance.At(i, j))
		}
		bound = max(bound, sum)
	}
	if bound == 0 {
		return w
	}
	// Accelerated (Beck and Teboulle, SIAM J. Imaging Sciences 2(1), 2009): plain steps crawl when one
	// security is far calmer than the others.
	y, momentum := append([]float64(nil), w...), 1.0
	var g mat.VecDense
	for range maxSteps {
		g.MulVec(covariance, mat.NewVecDense(n, y))
		next := make([]float64, n)
		for i := range next {
			next[i] = y[i] - g.AtVec(i)/bound
		}
		project(next, budget, most)
		following := (1 + math.Sqrt(1+4*momentum*momentum)) / 2
		var moved, uphill float64
		for i := range next {
			step := next[i] - w[i]
			moved = max(moved, math.Abs(step))
			uphill += (y[i] - next[i]) * step
		}
		if uphill > 0 { // it overshot: start the acceleration anew
			following = 1
		}
		for i := range next {
			y[i] = next[i] + (momentum-1)/following*(next[i]-w[i])
			if following == 1 {
				y[i] = next[i]
			}
		}
		w, momentum = next, following
		if moved < 1e-13 {
			break
		}
	}
	return w
}

// project moves x to the nearest point with 0 <= x_i <= most and sum budget: x_i - t, clipped, with t
// found by bisection.
func project(x []float64, budget, most float64) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range x {
		low, high = min(low, v-most), max(high, v)
	}
	sum := func(t float64) float64 {
		var total float64
		for _, v := range x {
			total += min(max(v-t, 0), most)
		}
		return total
	}
	for range 100 {
		if t := (low + high) / 2; sum(t) > budget {
			low = t
		} else {
			high = t
		}
	}
	t := (low + high) / 2
	for i, v := range x {
		x[i] = min(max(v-t, 0), most)
	}
}
