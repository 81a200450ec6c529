package portfolio

import (
	"slices"
	"strings"
	"time"
)

// PriceReturns returns the daily returns of a security's price in its own currency over w, over splits,
// closes carried forward onto the valuation days.
func (h *History) PriceReturns(symbol string, w Window) ([]float64, error) {
	r, err := changes(h.price(symbol), "prices:"+symbol, h.Days, w)
	if len(h.splits[symbol]) > 0 {
		for i := range r {
			r[i] = (1+r[i])*h.SplitFactor(symbol, w.Start+i, w.Start+i+1) - 1
		}
	}
	return r, err
}

// RateReturns returns the daily changes of a rate over w, in units of quote for one unit of base.
func (h *History) RateReturns(base, quote string, w Window) ([]float64, error) {
	name := base + "/" + quote
	c, ok := h.rates[name] // currencies have no slash
	if !ok {
		series, pairs := h.market.Rates(base, quote)
		c = h.align("fx:"+name, series)
		c.used = nil
		for _, pair := range pairs {
			if last, ok := h.market.FX[pair].On(h.Days[len(h.Days)-1]); ok {
				c.used = append(c.used, Observation{Name: "fx:" + pair, Date: last.Date})
			}
		}
		h.rates[name] = c
	}
	return changes(c, "fx:"+name, h.Days, w)
}

// MacroReturns returns a macro series of daily returns over w. What it has for days between two
// valuation days is compounded, and no observation in between counts as no change: what carrying the
// level forward amounts to.
func (h *History) MacroReturns(name string, w Window) ([]float64, error) {
	if _, err := h.MacroValues(name, Window{Start: w.Start - 1, End: w.End}); err != nil {
		return nil, err
	}
	series := h.market.Macro[name]
	next, _ := slices.BinarySearchFunc(series, h.Days[w.Start].AddDate(0, 0, 1), func(p Point, day time.Time) int {
		return p.Date.Compare(day)
	})
	r := make([]float64, w.Len())
	for i := range r {
		level := 1.0
		for ; next < len(series) && !series[next].Date.After(h.Days[w.Start+1+i]); next++ {
			level *= 1 + series[next].Value
		}
		r[i] = level - 1
	}
	return r, nil
}

// changes returns the relative changes of a column over w.
func changes(c *column, name string, days []time.Time, w Window) ([]float64, error) {
	if c.first > w.Start {
		return nil, Short(name, "no observation on or before %s", days[w.Start].Format(time.DateOnly))
	}
	return relativeChanges(c.values[w.Start : w.End+1]), nil
}

func relativeChanges(levels []float64) []float64 {
	r := make([]float64, len(levels)-1)
	for i := range r {
		r[i] = levels[i+1]/levels[i] - 1
	}
	return r
}

// Returns returns the changes from each point to the next, dated as the latter.
func (s Series) Returns() Series {
	if len(s) < 2 {
		return nil
	}
	r := make(Series, len(s)-1)
	for i := range r {
		r[i] = Point{Date: s[i+1].Date, Value: s[i+1].Value/s[i].Value - 1}
	}
	return r
}

// ReturnsOverSplits are the returns of a security's closes over the splits that a ledger books, which must be
// [Effective]: closes from the date of a split on are those of new shares.
func (s Series) ReturnsOverSplits(symbol string, ledger []Transaction) Series {
	r := s.Returns()
	for _, t := range ledger {
		if t.Type != Split || t.Symbol != symbol {
			continue
		}
		i, _ := slices.BinarySearchFunc(r, t.Date, func(p Point, day time.Time) int { return p.Date.Compare(day) })
		if i < len(r) && t.Date.After(s[0].Date) {
			r[i].Value = (1+r[i].Value)*ratioOf(t.Quantity).float() - 1
		}
	}
	return r
}

// Rates returns the rate of base in units of quote on every day on which a pair that it is made of was
// observed, the others carried forward; and those pairs. It is empty when there is no path between the
// two.
func (s SeriesSet) Rates(base, quote string) (rates Series, pairs []string) {
	for legs := range paths(s.FX, base, quote) {
		earlier := s.along(legs)
		if len(rates) > 0 {
			n, _ := slices.BinarySearchFunc(earlier, rates[0].Date, func(p Point, day time.Time) int { return p.Date.Compare(day) })
			earlier = earlier[:n]
		}
		if len(earlier) == 0 {
			continue
		}
		rates = append(earlier, rates...)
		for _, l := range legs {
			if !slices.Contains(pairs, l.pair) {
				pairs = append(pairs, l.pair)
			}
		}
	}
	return rates, pairs
}

// along returns the rate of some legs on every day on which one of them was observed.
func (s SeriesSet) along(legs []leg) Series {
	var days []time.Time
	for _, l := range legs {
		for _, p := range s.FX[l.pair] {
			days = append(days, p.Date)
		}
	}
	slices.SortFunc(days, time.Time.Compare)
	days = slices.CompactFunc(days, time.Time.Equal)
	var rates Series
	next := make([]int, len(legs))
	for _, day := range days {
		value, known := 1.0, true
		for i, l := range legs {
			series := s.FX[l.pair]
			for next[i] < len(series) && !series[next[i]].Date.After(day) {
				next[i]++
			}
			switch {
			case next[i] == 0:
				known = false
			case l.inverse:
				value /= series[next[i]-1].Value
			default:
				value *= series[next[i]-1].Value
			}
		}
		if known {
			rates = append(rates, Point{Date: day, Value: value})
		}
	}
	return rates
}

// SplitPair splits the name of a pair, "USD/CHF".
func SplitPair(pair string) (base, quote string, ok bool) {
	base, quote, ok = strings.Cut(pair, "/")
	return base, quote, ok && isCurrency(base) && isCurrency(quote)
}
