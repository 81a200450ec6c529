package portfolio

import (
	"slices"
	"time"
)

// TotalReturns returns the daily returns of holding a security over w in two parts: in its own currency,
// and of that currency in the base currency. The return in base currency is (1+local)(1+fx) - 1.
func (h *History) TotalReturns(s Security, w Window) (local, fx []float64, err error) {
	price, rate := h.price(s.Symbol), h.rate(s.Currency)
	start := h.Days[w.Start].Format(time.DateOnly)
	var missing Shortages
	if price.first > w.Start {
		missing = append(missing, Shortage{Missing: "prices:" + s.Symbol, Reason: "no observation on or before " + start})
	}
	if rate.first > w.Start {
		missing = append(missing, Shortage{Missing: "fx:" + s.Currency + "/" + h.base, Reason: "no observation on or before " + start})
	}
	if missing != nil {
		return nil, nil, missing
	}
	return relativeChanges(price.values[w.Start : w.End+1]), relativeChanges(rate.values[w.Start : w.End+1]), nil
}

// DayIndex returns the index of the last valuation day on or before a date; false when there is none.
func (h *History) DayIndex(date time.Time) (int, bool) {
	i, found := slices.BinarySearchFunc(h.Days, date, time.Time.Compare)
	if !found {
		i--
	}
	return i, i >= 0
}
