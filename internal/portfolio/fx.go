package portfolio

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// ratePlaces is the precision of a rate that needs a division. A rate of 1e-6 still has 12
// significant digits, enough for 0.01 of a NAV of ten thousand million.
const ratePlaces = 18

// Rate converts one currency into another: units of the second for one unit of the first.
type Rate struct {
	Value decimal.Decimal
	Date  time.Time // of the older observation it is made of; zero for a currency into itself
	Pairs []string  // the pairs it is made of, in order; none for a currency into itself
}

// leg is one step of a conversion.
type leg struct {
	pair    string
	inverse bool // divide by the pair's rate instead of multiplying
}

// paths yields the ways to convert from into to, best first: the pair itself, its inverse, then two
// pairs that share a currency (in alphabetical order, so that equal data give equal answers). One that
// has no observation on a day leaves it to the next: that a pair is quoted from some day on takes
// nothing from the days before.
func paths[V any](pairs map[string]V, from, to string) iter.Seq[[]leg] {
	return func(yield func([]leg) bool) {
		for _, l := range between(pairs, from, to) {
			if !yield([]leg{l}) {
				return
			}
		}
		var vias []string
		for pair := range pairs {
			base, quote, _ := strings.Cut(pair, "/")
			switch from {
			case base:
				vias = append(vias, quote)
			case quote:
				vias = append(vias, base)
			}
		}
		slices.Sort(vias)
		for _, via := range slices.Compact(vias) {
			for _, first := range between(pairs, from, via) {
				for _, second := range between(pairs, via, to) {
					if !yield([]leg{first, second}) {
						return
					}
				}
			}
		}
	}
}

// between returns the pairs of two currencies.
func between[V any](pairs map[string]V, from, to string) []leg {
	var legs []leg
	if _, ok := pairs[from+"/"+to]; ok {
		legs = append(legs, leg{pair: from + "/" + to})
	}
	if _, ok := pairs[to+"/"+from]; ok {
		legs = append(legs, leg{pair: to + "/" + from, inverse: true})
	}
	return legs
}

// compose multiplies the legs' rates out, dividing once at the end. It returns false when a leg
// has no observation.
func compose(legs []leg, at func(pair string) (Quote, bool)) (Rate, bool) {
	r := Rate{Value: decimal.NewFromInt(1)}
	divisor := decimal.NewFromInt(1)
	for _, l := range legs {
		q, ok := at(l.pair)
		if !ok {
			return Rate{}, false
		}
		if l.inverse {
			divisor = divisor.Mul(q.Value)
		} else {
			r.Value = r.Value.Mul(q.Value)
		}
		if r.Date.IsZero() || q.Date.Before(r.Date) {
			r.Date = q.Date
		}
		r.Pairs = append(r.Pairs, l.pair)
	}
	if !divisor.Equal(decimal.NewFromInt(1)) {
		r.Value = r.Value.DivRound(divisor, ratePlaces)
	}
	return r, true
}

// Rate returns the last known rate from one currency into another.
func (q Quotes) Rate(from, to string) (Rate, bool) {
	if from == to {
		return Rate{Value: decimal.NewFromInt(1)}, true
	}
	for legs := range paths(q.FX, from, to) {
		r, ok := compose(legs, func(pair string) (Quote, bool) {
			quote, ok := q.FX[pair]
			return quote, ok
		})
		if ok {
			return r, true
		}
	}
	return Rate{}, false
}

// RateOn returns the rate from one currency into another on a day, each pair carried forward
// from its last observation on or before it.
func (s SeriesSet) RateOn(day time.Time, from, to string) (Rate, bool) {
	if from == to {
		return Rate{Value: decimal.NewFromInt(1)}, true
	}
	for legs := range paths(s.FX, from, to) {
		r, ok := compose(legs, func(pair string) (Quote, bool) {
			p, ok := s.FX[pair].On(day)
			// The shortest decimal that reads back as the same float64 is the rate as booked.
			return Quote{Date: p.Date, Value: decimal.NewFromFloat(p.Value)}, ok
		})
		if ok {
			return r, true
		}
	}
	return Rate{}, false
}

// On returns the last point on or before day.
func (s Series) On(day time.Time) (Point, bool) {
	i, found := slices.BinarySearchFunc(s, day, func(p Point, day time.Time) int { return p.Date.Compare(day) })
	if found {
		return s[i], true
	}
	if i == 0 {
		return Point{}, false
	}
	return s[i-1], true
}
