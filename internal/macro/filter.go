package macro

import (
	"fmt"

	"gonum.org/v1/gonum/mat"
)

// HodrickPrescott returns the trend of equally spaced values: the t that minimises
// sum (y-t)² + lambda sum (second differences of t)², which solves (I + lambda D'D) t = y
// (Hodrick & Prescott, JMCB 29(1), 1997). Fewer than three values are their own trend.
func HodrickPrescott(y []float64, lambda float64) ([]float64, error) {
	n := len(y)
	trend := make([]float64, n)
	if n < 3 {
		copy(trend, y)
		return trend, nil
	}
	a := mat.NewSymBandDense(n, 2, nil)
	for i := range n {
		a.SetSymBand(i, i, 1)
	}
	// Each second difference (1, -2, 1) adds its outer product.
	difference := [3]float64{1, -2, 1}
	for k := range n - 2 {
		for i := range 3 {
			for j := i; j < 3; j++ {
				a.SetSymBand(k+i, k+j, a.At(k+i, k+j)+lambda*difference[i]*difference[j])
			}
		}
	}
	var factor mat.BandCholesky
	if !factor.Factorize(a) {
		return nil, fmt.Errorf("the system of a Hodrick-Prescott filter with lambda %v over %d values is not positive definite", lambda, n)
	}
	x := mat.NewVecDense(n, trend)
	if err := factor.SolveVecTo(x, mat.NewVecDense(n, y)); err != nil {
		return nil, fmt.Errorf("Hodrick-Prescott filter with lambda %v over %d values: %w", lambda, n, err)
	}
	return trend, nil
}

// OneSidedGap returns the last value less its trend, with the trend filtered from the values up to it
// alone: the credit-to-GDP gap of the Basel Committee (Guidance for national authorities operating the
// countercyclical capital buffer, BCBS 187, December 2010, lambda 400,000 for quarters).
func OneSidedGap(y []float64, lambda float64) (gap float64, err error) {
	trend, err := HodrickPrescott(y, lambda)
	if err != nil || len(y) == 0 {
		return 0, err
	}
	return y[len(y)-1] - trend[len(y)-1], nil
}
