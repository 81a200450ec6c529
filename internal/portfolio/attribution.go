package portfolio

import (
	"math"
	"time"
)

// CurrencyAttribution splits a portfolio's return in base currency into what prices earned in
// their own currencies, what the currencies themselves earned, and the product of both
// (Ankrim and Hensel, Financial Analysts Journal 50(2), 1994):
// (1+rl)(1+rx) - 1 = rl + rx + rl rx.
type CurrencyAttribution struct {
	Total                  float64
	Local, FX, Interaction float64
	Costs                  float64 // fees, and trades away from the day's close; usually negative
	Lines                  []CurrencyContribution
}

// CurrencyContribution is one line's share in an attribution. Cash has no local return. What a security
// pays is part of its local return, in linked attributions.
type CurrencyContribution struct {
	Kind     Kind
	Symbol   string // for cash: its currency
	Currency string

	Weight        float64 // at the end of the window's first day, in the net asset value
	AverageWeight float64 // mean over the window's days of the weight at their start

	Local, FX, Interaction float64
}

// AttributeStartHoldings attributes over w as one period, as if what was held at its start had
// been held to its end: Total is the return of those holdings' prices and Costs is 0. Dividends are
// not in it: how much was paid depends on what was held since.
func (h *History) AttributeStartHoldings(w Window) (CurrencyAttribution, error) {
	if err := h.startHoldingsMissing(w); err != nil {
		return CurrencyAttribution{}, err
	}
	start := h.NAV[w.Start]
	if start <= 0 {
		return CurrencyAttribution{}, h.noCapital(w.Start, start)
	}
	var a CurrencyAttribution
	var end float64
	for _, l := range h.held {
		l.spans(w.Start, w.Start+1, func(quantity float64, _, _ int) {
			weight := l.valueOn(quantity, w.Start) / start
			local, fx := l.change(w.Start, w.End)
			c := l.contribution(weight)
			c.AverageWeight = weight
			c.add(1, weight, local, fx)
			a.add(c)
			end += l.valueOn(quantity*splitFactor(l.splits, w.Start, w.End), w.End)
		})
	}
	a.Total = end/start - 1
	return a, nil
}

// AttributeCurrency attributes day by day and links the days with Carino's coefficients (Journal
// of Performance Measurement 3(4), 1999), so that Local + FX + Interaction + Costs = Total, the
// time-weighted return of w. A day starts with the holdings at the end of the day before and its
// external flows as cash.
func (h *History) AttributeCurrency(w Window) (CurrencyAttribution, error) {
	returns, err := h.Returns(w)
	if err != nil {
		return CurrencyAttribution{}, err
	}
	if nav := h.NAV[w.Start]; nav <= 0 {
		return CurrencyAttribution{}, h.noCapital(w.Start, nav)
	}
	a := CurrencyAttribution{Total: Compound(returns)}
	links := make([]float64, len(returns)) // Carino's k_t / K
	for i, r := range returns {
		if r <= -1 {
			return CurrencyAttribution{}, Short("capital", "the return of %s is %.4f; days that lose everything cannot be linked",
				h.Days[w.Start+1+i].Format(time.DateOnly), r)
		}
		links[i] = carino(r) / carino(a.Total)
	}

	days := float64(len(returns))
	explained := make([]float64, len(returns))
	flows := h.flowWeights(w)
	for _, l := range h.held {
		c := l.contribution(0)
		held := false
		// What is held at the end of day t earns on day t+1.
		l.spans(w.Start, w.End, func(quantity float64, from, to int) {
			held = true
			if from == w.Start {
				c.Weight = l.valueOn(quantity, w.Start) / h.NAV[w.Start]
			}
			for t := from; t < to; t++ {
				i := t - w.Start
				weight := l.valueOn(quantity, t) / (h.NAV[t] + h.Flows[t+1])
				local, fx := l.change(t, t+1)
				c.AverageWeight += weight / days
				c.add(links[i], weight, local, fx)
				explained[i] += weight * (local + fx + local*fx)
			}
		})
		if weight, ok := flows[l]; ok {
			held = true
			c.AverageWeight += weight / days
		}
		err := h.income(l, w, func(day int, value float64) {
			held = true
			weight := value / (h.NAV[day-1] + h.Flows[day])
			c.pay(links[day-w.Start-1], weight, l.currencyReturn(day-1))
			explained[day-w.Start-1] += weight
		})
		if err != nil {
			return CurrencyAttribution{}, err
		}
		if held {
			a.add(c)
		}
	}
	for i, r := range returns {
		a.Costs += links[i] * (r - explained[i])
	}
	return a, nil
}

// flowWeights sums, for each cash line, the weights of its flows within the capital at the start
// of their days.
func (h *History) flowWeights(w Window) map[*holding]float64 {
	weights := map[*holding]float64{}
	for _, f := range h.flows {
		if f.day > w.Start && f.day <= w.End {
			weights[f.line] += f.amount * f.line.rate.values[f.day] / (h.NAV[f.day-1] + h.Flows[f.day])
		}
	}
	return weights
}

// startHoldingsMissing returns what the valuation at w's start lacks. A series that has a value
// there has one at w's end, carried forward if need be.
func (h *History) startHoldingsMissing(w Window) error {
	return h.Missing(Window{Start: w.Start, End: w.Start})
}

func (h *History) noCapital(day int, nav float64) error {
	return Short("capital", "the net asset value on %s is %.2f, weights need a positive one",
		h.Days[day].Format(time.DateOnly), nav)
}

// carino returns ln(1+r)/r, and its limit 1 at 0.
func carino(r float64) float64 {
	if r == 0 {
		return 1
	}
	return math.Log1p(r) / r
}

// valueOn returns what a quantity is worth on a day, in base currency.
func (l *holding) valueOn(quantity float64, day int) float64 {
	return quantity * l.price.values[day] * l.rate.values[day]
}

// change returns the line's return in its own currency and that of the currency, between two
// days.
func (l *holding) change(from, to int) (local, fx float64) {
	split := 1.0
	if len(l.splits) > 0 {
		split = splitFactor(l.splits, from, to)
	}
	return l.price.values[to]*split/l.price.values[from] - 1, l.rate.values[to]/l.rate.values[from] - 1
}

// currencyReturn returns what the line's currency earned on the day after t for what was held at its
// end: 0 when nothing was.
func (l *holding) currencyReturn(t int) float64 {
	var fx float64
	l.spans(t, t+1, func(float64, int, int) { fx = l.rate.values[t+1]/l.rate.values[t] - 1 })
	return fx
}

func (l *holding) contribution(weight float64) CurrencyContribution {
	return CurrencyContribution{Kind: l.kind, Symbol: l.symbol, Currency: l.currency, Weight: weight}
}

// add counts one period's parts, scaled by its link.
func (c *CurrencyContribution) add(link, weight, local, fx float64) {
	c.Local += link * weight * local
	c.FX += link * weight * fx
	c.Interaction += link * weight * local * fx
}

// pay counts cash that was paid at the end of a day, as a fraction of the capital at its start: what
// it was worth at the currency's rate of the start is local, the rest interaction.
func (c *CurrencyContribution) pay(link, weight, fx float64) {
	local := weight / (1 + fx)
	c.Local += link * local
	c.Interaction += link * (weight - local)
}

func (a *CurrencyAttribution) add(c CurrencyContribution) {
	a.Local += c.Local
	a.FX += c.FX
	a.Interaction += c.Interaction
	a.Lines = append(a.Lines, c)
}
