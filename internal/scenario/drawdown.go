package scenario

import (
	"github.com/dawsos/dawsos/internal/portfolio"
)

// DrawdownAtRisk returns the quantile of the drawdowns after each return, and the mean of those at or
// beyond it (Chekhlov, Uryasev and Zabarankin, International Journal of Theoretical and Applied Finance
// 8(1), 2005). r must not be empty, confidence within (0, 1).
func DrawdownAtRisk(r []float64, confidence float64) (dar, cdar float64) {
	d := portfolio.Drawdowns(r)
	dar = portfolio.Quantile(d, confidence)
	var sum float64
	n := 0
	for _, x := range d {
		if x >= dar {
			sum += x
			n++
		}
	}
	return dar, sum / float64(n)
}

// PhaseScale returns by how much returns were spread in one phase, compared with a window: the ratio of
// their sample standard deviations. Returns that are scaled by it are the window's history at the
// phase's volatility (Hull and White, Incorporating volatility updating into the historical simulation
// method for value-at-risk, Journal of Risk 1(1), 1998). Fewer than least in the phase are Shortages.
func PhaseScale(inPhase, window []float64, least int) (float64, error) {
	if len(inPhase) < least {
		return 0, portfolio.Short("returns", "the portfolio has %d daily returns in the phase, a scale needs %d", len(inPhase), least)
	}
	sd, err := portfolio.Volatility(window)
	if err != nil {
		return 0, err
	}
	if sd == 0 {
		return 0, portfolio.Short("variance", "the window's returns do not vary")
	}
	phase, err := portfolio.Volatility(inPhase)
	if err != nil {
		return 0, err
	}
	return phase / sd, nil
}
