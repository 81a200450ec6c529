package portfolio

import (
	"slices"
	"time"
)

// HoldingReturns is what a security returned on each day of a window, by source. The return in base
// currency is (1+Local)(1+FX) - 1.
type HoldingReturns struct {
	Local []float64 // in its own currency: the price's change, over splits, and dividends
	Price []float64 // the same without dividends
	FX    []float64 // of its currency in the base currency

	// Unmatched are the days of dividends of which nothing was held at the start: how much was paid for
	// one share is not known, so that they are in none of the above.
	Unmatched []time.Time
}

// Base returns the daily returns in base currency.
func (r HoldingReturns) Base() []float64 { return together(r.Local, r.FX) }

// BasePrice returns the daily returns in base currency without dividends.
func (r HoldingReturns) BasePrice() []float64 { return together(r.Price, r.FX) }

func together(local, fx []float64) []float64 {
	r := make([]float64, len(local))
	for i := range r {
		r[i] = (1+local[i])*(1+fx[i]) - 1
	}
	return r
}

// HoldingReturns returns the daily returns over w of a security with a price, whether held or not on
// those days. What it paid is known from the ledger alone: a dividend counts as its amount for each of
// the shares that were held at the start of its day, and is reinvested.
func (h *History) HoldingReturns(s Security, w Window) (HoldingReturns, error) {
	l := h.line(KindSecurity, s.Symbol)
	if l == nil {
		l = &holding{
			kind: KindSecurity, symbol: s.Symbol, currency: s.Currency, known: true,
			price: h.price(s.Symbol), rate: h.rate(s.Currency), splits: h.splits[s.Symbol],
		}
	}
	return h.returnsOf(l, w)
}

// returnsOf returns the daily returns of a line over w.
func (h *History) returnsOf(l *holding, w Window) (HoldingReturns, error) {
	start := h.Days[w.Start].Format(time.DateOnly)
	var missing Shortages
	if l.kind == KindSecurity && l.price.first > w.Start {
		missing = append(missing, Shortage{Missing: "prices:" + l.symbol, Reason: "no observation on or before " + start})
	}
	if l.rate.first > w.Start {
		missing = append(missing, Shortage{Missing: "fx:" + l.currency + "/" + h.base, Reason: "no observation on or before " + start})
	}
	if missing != nil {
		return HoldingReturns{}, missing
	}
	var paid []float64
	err := h.income(l, w, func(day int, value float64) {
		if paid == nil {
			paid = make([]float64, w.Len())
		}
		paid[day-w.Start-1] += value
	})
	if err != nil {
		return HoldingReturns{}, err
	}

	r := HoldingReturns{Price: make([]float64, w.Len()), FX: make([]float64, w.Len())}
	for i := range r.Price {
		r.Price[i], r.FX[i] = l.change(w.Start+i, w.Start+i+1)
	}
	r.Local = r.Price
	if paid == nil {
		return r, nil
	}
	r.Local = slices.Clone(r.Price)
	matched := make([]bool, len(paid))
	l.spans(w.Start, w.End, func(quantity float64, from, to int) {
		for t := from; t < to; t++ {
			i := t - w.Start
			r.Local[i] += paid[i] / l.rate.values[t+1] / (quantity * l.price.values[t])
			matched[i] = true
		}
	})
	for i, p := range paid {
		if p != 0 && !matched[i] {
			r.Unmatched = append(r.Unmatched, h.Days[w.Start+1+i])
		}
	}
	return r, nil
}

// line returns the holding of a name; nil when there never was one.
func (h *History) line(kind Kind, symbol string) *holding {
	for _, l := range h.held {
		if l.kind == kind && l.symbol == symbol {
			return l
		}
	}
	return nil
}

// HeldDays counts the days of w at whose start a security was held.
func (h *History) HeldDays(symbol string, w Window) int {
	l := h.line(KindSecurity, symbol)
	if l == nil {
		return 0
	}
	days := 0
	l.spans(w.Start, w.End, func(_ float64, from, to int) { days += to - from })
	return days
}

// DayIndex returns the index of the last valuation day on or before a date; false when there is none.
func (h *History) DayIndex(date time.Time) (int, bool) {
	i, found := slices.BinarySearchFunc(h.Days, date, time.Time.Compare)
	if !found {
		i--
	}
	return i, i >= 0
}
