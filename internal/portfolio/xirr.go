package portfolio

import (
	"math"
	"time"
)

// CashFlow is money received (positive) or paid (negative) on a day.
type CashFlow struct {
	Date   time.Time
	Amount float64
}

// XIRR returns the yearly rate i at which the flows' present values, actual/365, sum to zero:
// sum of a_k (1+i)^(-d_k/365) = 0 (Bacon 2008, chapter 3; GIPS 2020). When there are several such
// rates it is the one nearest to zero on a logarithmic scale; when there is none, the error
// is Shortages.
func XIRR(flows []CashFlow) (float64, error) {
	if len(flows) == 0 {
		return 0, Short("flows", "there are no cash flows")
	}
	years := make([]float64, len(flows))
	var paid, received bool
	for i, f := range flows {
		years[i] = f.Date.Sub(flows[0].Date).Hours() / 24 / 365
		paid = paid || f.Amount < 0
		received = received || f.Amount > 0
	}
	if !paid || !received {
		return 0, Short("flows", "an internal rate of return needs money paid and money received")
	}

	// In d = ln(1+i) the domain is the whole line. Present values are scaled by the largest
	// discount factor, which moves no root and keeps the sum from overflowing.
	value := func(d float64) float64 {
		largest := math.Inf(-1)
		for _, y := range years {
			largest = math.Max(largest, -d*y)
		}
		var sum float64
		for i, f := range flows {
			sum += f.Amount * math.Exp(-d*years[i]-largest)
		}
		return sum
	}
	const (
		firstStep = 1.0 / 64
		limit     = 600 // e^600 is still a number, and no rate that anyone has earned
	)
	if value(0) == 0 {
		return 0, nil
	}
	for near, far := 0.0, firstStep; near < limit; near, far = far, 2*far {
		for _, sign := range []float64{1, -1} {
			a, b := sign*near, sign*far
			if math.Signbit(value(a)) != math.Signbit(value(b)) {
				return math.Expm1(bisect(value, a, b)), nil
			}
		}
	}
	return 0, Short("flows", "no rate of return makes the present values of the cash flows sum to zero")
}

// bisect returns a root between a and b, where f differs in sign, to the last bit.
func bisect(f func(float64) float64, a, b float64) float64 {
	negative := math.Signbit(f(a))
	for {
		mid := a + (b-a)/2
		if mid == a || mid == b {
			return mid
		}
		if math.Signbit(f(mid)) == negative {
			a = mid
		} else {
			b = mid
		}
	}
}
