package portfolio

// Contribution says which part of the time-weighted return each line has earned.
type Contribution struct {
	Total float64 // the time-weighted return of the window: the lines' contributions and Costs
	Costs float64 // fees, and trades away from the day's close; usually negative
	Lines []LineContribution
}

// LineContribution is one line's part of a return.
type LineContribution struct {
	Kind     Kind
	Symbol   string // for cash: its currency
	Currency string

	Weight        float64 // at the end of the window's first day, in the net asset value
	AverageWeight float64 // mean over the window's days of the weight at their start
	Contribution  float64
	// Return compounds the line's own returns in base currency over the Held days at whose start it was
	// held. It is that of the security: of a short position, what was lost.
	Return float64
	Held   int
}

// Contribute sums for each line its weight at the start of a day times its return of that day, linked
// over the days with Carino's coefficients (Journal of Performance Measurement 3(4), 1999), so that the
// contributions and Costs sum to the time-weighted return of w. What a security pays is part of its
// return. A contribution is the sum of the parts that [History.AttributeCurrency] splits it into.
func (h *History) Contribute(w Window) (Contribution, error) {
	a, err := h.AttributeCurrency(w)
	if err != nil {
		return Contribution{}, err
	}
	c := Contribution{Total: a.Total, Costs: a.Costs, Lines: make([]LineContribution, len(a.Lines))}
	for i, l := range a.Lines {
		c.Lines[i] = LineContribution{
			Kind: l.Kind, Symbol: l.Symbol, Currency: l.Currency,
			Weight: l.Weight, AverageWeight: l.AverageWeight, Contribution: l.Local + l.FX + l.Interaction,
		}
		c.Lines[i].Return, c.Lines[i].Held, err = h.heldReturn(h.line(l.Kind, l.Symbol), w)
		if err != nil {
			return Contribution{}, err
		}
	}
	return c, nil
}

// heldReturn compounds the returns of a line over the days of w at whose start it was held.
func (h *History) heldReturn(l *holding, w Window) (total float64, days int, err error) {
	wealth := 1.0
	l.spans(w.Start, w.End, func(_ float64, from, to int) {
		r, lacks := h.returnsOf(l, Window{Start: from, End: to})
		if lacks != nil {
			err = lacks
			return
		}
		wealth *= 1 + Compound(r.Base())
		days += to - from
	})
	return wealth - 1, days, err
}
