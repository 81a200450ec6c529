package portfolio

import (
	"time"

	"github.com/shopspring/decimal"
)

// CostMethod says what the shares that are sold have cost, and with that what is left.
type CostMethod string

// The cost methods.
const (
	FIFO CostMethod = "fifo" // first in, first out; the default, which "" is too
	// Average is average cost: every sale takes the same fraction of every open lot, so that what
	// is left has cost the average, in whatever currency it is expressed.
	Average CostMethod = "average"
)

// Lot is what is left of one opening trade. A short lot has negative quantity and cost.
type Lot struct {
	Date     time.Time
	Quantity decimal.Decimal // in the shares of today: splits since Date are in it
	Cost     decimal.Decimal // paid for Quantity, fees of the trade included; negative: received
	Currency string          // of Cost
}

// quantityPlaces and costPlaces bound the decimals of what is split between lots. Quantities are
// booked with as many; amounts are reported to 6 decimals, so that the split of a cost is not
// visible.
const (
	quantityPlaces = maxDecimals
	costPlaces     = 12
)

// lotBook matches the trades of one security.
type lotBook interface {
	// trade books a signed quantity for a signed amount paid (received when negative).
	trade(date time.Time, quantity, amount decimal.Decimal, currency string)
	split(r ratio)
	// lots are the open ones, oldest first. Their quantities sum exactly to what was traded, each split
	// having rounded that sum to quantityPlaces.
	lots() []Lot
}

func (m CostMethod) newBook() lotBook {
	if m == Average {
		return &averageBook{}
	}
	return &fifoBook{}
}

// fifoBook consumes the oldest lot first.
type fifoBook struct {
	open []openLot
	head int // open[:head] is consumed
}

// openLot keeps the opening trade beside what is left, so that a cost is split once from the
// original amounts rather than again and again from rounded ones.
type openLot struct {
	date           time.Time
	currency       string
	left           decimal.Decimal
	opened, amount decimal.Decimal
}

func (l openLot) cost() decimal.Decimal {
	if l.left.Equal(l.opened) {
		return l.amount
	}
	return l.amount.Mul(l.left).DivRound(l.opened, costPlaces)
}

func (b *fifoBook) trade(date time.Time, quantity, amount decimal.Decimal, currency string) {
	left := quantity
	for b.head < len(b.open) && !left.IsZero() && b.open[b.head].left.Sign() != left.Sign() {
		l := &b.open[b.head]
		if l.left.Abs().GreaterThan(left.Abs()) {
			l.left = l.left.Add(left)
			return
		}
		left = left.Add(l.left)
		b.head++
	}
	if left.IsZero() {
		return
	}
	b.open = append(b.open, openLot{date: date, currency: currency, left: left, opened: quantity, amount: amount})
}

func (b *fifoBook) split(r ratio) {
	// Rounding the running sum, not each lot, makes the lots sum to the split of their sum.
	var before, after decimal.Decimal
	kept := b.open[b.head:b.head]
	for _, l := range b.open[b.head:] {
		before = before.Add(l.left)
		sum := r.of(before)
		l.amount = l.cost()
		l.left = sum.Sub(after)
		l.opened, after = l.left, sum
		if !l.left.IsZero() {
			kept = append(kept, l)
		}
	}
	b.open = b.open[:b.head+len(kept)]
}

func (b *fifoBook) lots() []Lot {
	open := b.open[b.head:]
	lots := make([]Lot, len(open))
	for i, l := range open {
		lots[i] = Lot{Date: l.date, Quantity: l.left, Cost: l.cost(), Currency: l.currency}
	}
	return lots
}

// averageBook keeps what has happened since nothing was held, and works out the lots when they are
// asked for: sales that went through all lots at once would cost time in the square of the trades.
type averageBook struct {
	held   decimal.Decimal
	events []poolEvent
}

// poolEvent is one of: a lot that was added (its quantity is not zero), a sale that left left of
// what was held, or a split.
type poolEvent struct {
	added      Lot
	left, held decimal.Decimal
	split      ratio
}

func (b *averageBook) trade(date time.Time, quantity, amount decimal.Decimal, currency string) {
	after := b.held.Add(quantity)
	switch {
	case quantity.IsZero():
	case b.held.Sign()*quantity.Sign() >= 0:
		b.events = append(b.events, poolEvent{added: Lot{Date: date, Quantity: quantity, Cost: amount, Currency: currency}})
	case after.Sign() == b.held.Sign():
		b.events = append(b.events, poolEvent{left: after, held: b.held})
	default: // closed, and what goes beyond opens anew at its own price
		b.events = nil
		if !after.IsZero() {
			cost := amount.Mul(after).DivRound(quantity, costPlaces)
			b.events = append(b.events, poolEvent{added: Lot{Date: date, Quantity: after, Cost: cost, Currency: currency}})
		}
	}
	b.held = after
}

func (b *averageBook) split(r ratio) {
	if b.held = r.of(b.held); b.held.IsZero() {
		b.events = nil
		return
	}
	b.events = append(b.events, poolEvent{split: r})
}

func (b *averageBook) lots() []Lot {
	const places = 30 // of fractions that are multiplied many times
	var lots []Lot
	// Backwards, what is left of a lot is the product of what happened after it.
	quantity, cost := decimal.NewFromInt(1), decimal.NewFromInt(1)
	rest, largest := b.held, -1
	for i := len(b.events) - 1; i >= 0; i-- {
		switch e := b.events[i]; {
		case !e.added.Quantity.IsZero():
			l := e.added
			l.Quantity = l.Quantity.Mul(quantity).Round(quantityPlaces)
			l.Cost = l.Cost.Mul(cost).Round(costPlaces)
			if l.Quantity.IsZero() {
				continue
			}
			if rest = rest.Sub(l.Quantity); largest < 0 || l.Quantity.Abs().GreaterThan(lots[largest].Quantity.Abs()) {
				largest = len(lots)
			}
			lots = append(lots, l)
		case !e.held.IsZero():
			quantity = quantity.Mul(e.left).DivRound(e.held, places)
			cost = cost.Mul(e.left).DivRound(e.held, places)
		default:
			quantity = quantity.Mul(e.split.num).DivRound(e.split.den, places)
		}
	}
	if largest >= 0 {
		lots[largest].Quantity = lots[largest].Quantity.Add(rest) // what rounding has left
	}
	for i, j := 0, len(lots)-1; i < j; i, j = i+1, j-1 {
		lots[i], lots[j] = lots[j], lots[i]
	}
	return lots
}

// ratio is a number of new shares for one old share.
type ratio struct{ num, den decimal.Decimal }

// maxDenominator bounds the fractions that a rounded ratio may stand for.
const maxDenominator = 1000

// ratioOf reads a booked ratio. One with all the decimals that can be booked is the fraction that it
// is rounded from, if there is one with a small denominator: three shares of 0.333333333333 are one.
func ratioOf(booked decimal.Decimal) ratio {
	one := decimal.NewFromInt(1)
	if booked.Exponent() > -maxDecimals {
		return ratio{booked, one}
	}
	for n := int64(2); n <= maxDenominator; n++ {
		den := decimal.NewFromInt(n)
		if num := booked.Mul(den).Round(0); num.DivRound(den, maxDecimals).Equal(booked) {
			return ratio{num, den}
		}
	}
	return ratio{booked, one}
}

// of splits a quantity.
func (r ratio) of(quantity decimal.Decimal) decimal.Decimal {
	return quantity.Mul(r.num).DivRound(r.den, quantityPlaces)
}

// float returns the ratio as the factor of a time series.
func (r ratio) float() float64 { return r.num.InexactFloat64() / r.den.InexactFloat64() }

// SplitOn is a split of a security.
type SplitOn struct {
	Date  time.Time       // prices are those of new shares from this day on
	Ratio decimal.Decimal // new shares for one old share, as booked
}

// adjust expresses a price in the shares of after the splits that it is older than.
func adjust(q Quote, splits []SplitOn) Quote {
	for _, s := range splits {
		if q.Date.Before(s.Date) {
			r := ratioOf(s.Ratio)
			q.Value = q.Value.Mul(r.den).DivRound(r.num, ratePlaces)
		}
	}
	return q
}
