package portfolio

import (
	"errors"
	"math"
	"slices"

	"github.com/shopspring/decimal"
	"gonum.org/v1/gonum/stat"
)

// CurrentRisk is the risk of what is held now, measured over the days of a window as if it had been held
// at the same weights on all of them.
type CurrentRisk struct {
	Returns []float64 // daily, sum of weight x return
	VaR, ES float64   // of Returns: one day's loss as a fraction of the net asset value, positive
	Lines   []LineRisk
}

// LineRisk is one line's part in it. What depends on a variance that is 0 is NaN.
type LineRisk struct {
	Kind     Kind
	Symbol   string // for cash: its currency
	Currency string

	Weight      float64 // in the net asset value of the valuation
	Beta        float64 // cov(line, Returns) / var(Returns)
	Correlation float64
	VaR         float64 // of the line alone, as a fraction of its own value; positive is a loss of a holder
	Component   float64 // Weight x Beta x VaR of Returns
}

// CurrentRisk reprices the holdings of a valuation over w's days, by prices and rates alone: dividends
// are not in it, since how much was paid for a share is known of the days alone on which some were
// held. The weighted betas sum to 1, and the components to VaR (Litterman, Hot Spots and Hedges, The
// Journal of Portfolio Management, 1996).
func (h *History) CurrentRisk(v Valuation, w Window, confidence float64) (CurrentRisk, error) {
	if _, err := v.Weight(v.Total.Decimal); err != nil { // nothing has one
		return CurrentRisk{}, err
	}
	risk := CurrentRisk{Returns: make([]float64, w.Len())}
	var lines [][]float64
	var lacks []error
	add := func(line LineRisk, value decimal.Decimal, r []float64, err error) {
		if err == nil {
			line.Weight, err = v.Weight(value)
		}
		if err != nil {
			lacks = append(lacks, err)
			return
		}
		risk.Lines, lines = append(risk.Lines, line), append(lines, r)
		for i := range r {
			risk.Returns[i] += line.Weight * r[i]
		}
	}
	for _, p := range v.Positions {
		r, err := h.SecurityReturns(p.Security, w)
		add(LineRisk{Kind: KindSecurity, Symbol: p.Security.Symbol, Currency: p.Security.Currency}, p.Value.Decimal, r, err)
	}
	for _, c := range v.Cash {
		r, err := h.cashReturns(c.Currency, w)
		add(LineRisk{Kind: KindCash, Symbol: c.Currency, Currency: c.Currency}, c.Value.Decimal, r, err)
	}
	if lacks != nil {
		return CurrentRisk{}, allShortages(lacks)
	}
	if err := atLeastTwo(risk.Returns); err != nil {
		return CurrentRisk{}, err
	}
	if constant(risk.Returns) {
		return CurrentRisk{}, Short("variance", "the returns of the current holdings do not vary")
	}
	risk.VaR, risk.ES = ValueAtRisk(risk.Returns, confidence)
	variance := stat.Variance(risk.Returns, nil)
	for i, r := range lines {
		line := &risk.Lines[i]
		line.Beta = stat.Covariance(r, risk.Returns, nil) / variance
		line.Component = line.Weight * line.Beta * risk.VaR
		line.VaR, _ = ValueAtRisk(r, confidence)
		line.Correlation = math.NaN()
		if !constant(r) {
			line.Correlation = stat.Correlation(r, risk.Returns, nil)
		}
	}
	return risk, nil
}

// allShortages joins the shortages of several errors; one that is something else stands for all.
func allShortages(errs []error) error {
	var all Shortages
	for _, err := range errs {
		shortages, ok := errors.AsType[Shortages](err)
		if !ok {
			return err
		}
		for _, s := range shortages {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// Recovery describes the largest drawdown of a series of returns: after how many of them its peak,
// its trough and its recovery were reached. The start is 0; Trough is 0 when the value never fell and
// Recovered is 0 when the peak has not been regained.
type Recovery struct {
	Depth                   float64
	Peak, Trough, Recovered int
}

// DeepestDrawdown returns the largest fall of the compounded returns below their running maximum, which
// includes the start (Magdon-Ismail and Atiya, Risk 17(10), 2004), and when it was made up for.
func DeepestDrawdown(r []float64) Recovery {
	var deepest Recovery
	w, peak, at := 1.0, 1.0, 0
	level := 1.0 // the peak that the deepest drawdown fell from
	for i, x := range r {
		w *= 1 + x
		if deepest.Trough > 0 && deepest.Recovered == 0 && w >= level {
			deepest.Recovered = i + 1
		}
		if w >= peak {
			peak, at = w, i+1
		}
		if d := 1 - w/peak; d > deepest.Depth {
			deepest = Recovery{Depth: d, Peak: at, Trough: i + 1}
			level = peak
		}
	}
	return deepest
}
