package rebalance

import "github.com/dawsos/dawsos/internal/portfolio"

// Hedge is how far an instrument moves with a portfolio.
type Hedge struct {
	// Ratio is the value of the instrument to sell for each unit of the portfolio's value that leaves
	// the least variance: cov(r_p, r_h) / var(r_h). Negative: to buy.
	Ratio float64
	// Effectiveness is the share of the portfolio's variance that this takes away: R².
	Effectiveness float64
}

// HedgeOf returns the least-variance hedge of returns with an instrument's of the same days (Ederington,
// The Hedging Performance of the New Futures Markets, The Journal of Finance 34(1), 1979).
func HedgeOf(portfolioReturns, instrument []float64) (Hedge, error) {
	ratio, err := portfolio.Beta(portfolioReturns, instrument)
	if err != nil {
		return Hedge{}, err
	}
	r, err := portfolio.Correlation(portfolioReturns, instrument)
	if err != nil {
		return Hedge{}, err
	}
	return Hedge{Ratio: ratio, Effectiveness: r * r}, nil
}
