package portfolio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Kind tells securities from cash where both stand in one list.
type Kind string

// The kinds of holdings.
const (
	KindSecurity Kind = "security"
	KindCash     Kind = "cash"
)

// Lot is what is left of one opening trade. A short lot has negative quantity and cost.
type Lot struct {
	Date     time.Time
	Quantity decimal.Decimal
	Cost     decimal.Decimal // paid for Quantity, fees of the trade included; negative: received
	Currency string          // of Cost
}

// Position is the open lots of one security, oldest first. No position is without lots.
type Position struct {
	Security Security
	Lots     []Lot
}

// Quantity returns the sum over the lots; negative for a short position.
func (p Position) Quantity() decimal.Decimal {
	var q decimal.Decimal
	for _, l := range p.Lots {
		q = q.Add(l.Quantity)
	}
	return q
}

// Cash is a balance in one currency; negative when overdrawn.
type Cash struct {
	Currency string
	Amount   decimal.Decimal
}

// Holdings is what a ledger amounts to on one day.
type Holdings struct {
	Positions []Position // by symbol
	Cash      []Cash     // by currency, no zero balances
}

// HoldingsAt books the transactions dated on or before asof. They must be in order of date,
// then number. Trades consume the oldest lots first; a sale beyond what is held opens a short
// lot, which later purchases close.
//
// A security that securities lacks keeps its symbol and id and counts in the currency that it
// was first traded in; valuation then reports it as unpriced.
func HoldingsAt(ledger []Transaction, securities map[string]Security, asof time.Time) (Holdings, error) {
	books := map[string]*lotBook{}
	cash := map[string]decimal.Decimal{}
	for _, t := range ledger {
		if t.Date.After(asof) {
			break
		}
		changes, err := t.changes()
		if err != nil {
			return Holdings{}, err
		}
		for _, c := range changes {
			if c.kind == KindCash {
				cash[c.symbol] = cash[c.symbol].Add(c.quantity)
				continue
			}
			b := books[c.symbol]
			if b == nil {
				b = &lotBook{security: securities[c.symbol]}
				if b.security.Symbol == "" {
					b.security = Security{ID: t.SecurityID, Symbol: t.Symbol, Currency: t.Currency}
				}
				books[c.symbol] = b
			}
			b.trade(t.Date, c.quantity, t.Amount.Neg(), t.Currency)
		}
	}

	var h Holdings
	for _, b := range books {
		if lots := b.lots(); len(lots) > 0 {
			h.Positions = append(h.Positions, Position{Security: b.security, Lots: lots})
		}
	}
	slices.SortFunc(h.Positions, func(a, b Position) int { return cmp.Compare(a.Security.Symbol, b.Security.Symbol) })
	for currency, amount := range cash {
		if !amount.IsZero() {
			h.Cash = append(h.Cash, Cash{Currency: currency, Amount: amount})
		}
	}
	slices.SortFunc(h.Cash, func(a, b Cash) int { return cmp.Compare(a.Currency, b.Currency) })
	return h, nil
}

// change is one effect of a transaction on a quantity held.
type change struct {
	kind     Kind
	symbol   string // security's symbol or cash's currency
	quantity decimal.Decimal
}

// changes translates a booking into changes of holdings. It is the one place that knows what
// each type does.
func (t Transaction) changes() ([]change, error) {
	paid := change{KindCash, t.Currency, t.Amount}
	switch t.Type {
	case Deposit, Withdrawal, Fee:
		return []change{paid}, nil
	case Buy, Sell, FX:
		if !t.Quantity.IsPositive() {
			return nil, fmt.Errorf("transaction %d: %s of quantity %s, which must be positive", t.Seq, t.Type, t.Quantity)
		}
	default:
		return nil, fmt.Errorf("transaction %d: type %q is not one of %s, %s, %s, %s, %s, %s",
			t.Seq, t.Type, Deposit, Withdrawal, Buy, Sell, FX, Fee)
	}
	switch t.Type {
	case Buy:
		return []change{{KindSecurity, t.Symbol, t.Quantity}, paid}, nil
	case Sell:
		return []change{{KindSecurity, t.Symbol, t.Quantity.Neg()}, paid}, nil
	default:
		base, quote, ok := strings.Cut(t.Symbol, "/")
		if !ok || base == "" || quote != t.Currency {
			return nil, fmt.Errorf("transaction %d: FX symbol %q does not pair a currency with the %s paid", t.Seq, t.Symbol, t.Currency)
		}
		return []change{{KindCash, base, t.Quantity}, paid}, nil
	}
}

// external reports whether t moves money over the portfolio's border.
func (t Transaction) external() bool { return t.Type == Deposit || t.Type == Withdrawal }

// costPlaces bounds the decimals of a cost that is split between lots. Amounts are reported to
// 6 decimals, so the split is not visible.
const costPlaces = 12

// lotBook matches the trades of one security first in, first out.
type lotBook struct {
	security Security
	open     []openLot
	head     int // open[:head] is consumed
}

// openLot keeps the opening trade beside what is left, so that a cost is split once from the
// original amounts rather than again and again from rounded ones.
type openLot struct {
	date           time.Time
	currency       string
	left           decimal.Decimal
	opened, amount decimal.Decimal
}

// trade books a signed quantity for a signed amount paid (received when negative).
func (b *lotBook) trade(date time.Time, quantity, amount decimal.Decimal, currency string) {
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

func (b *lotBook) lots() []Lot {
	open := b.open[b.head:]
	lots := make([]Lot, len(open))
	for i, l := range open {
		cost := l.amount
		if !l.left.Equal(l.opened) {
			cost = l.amount.Mul(l.left).DivRound(l.opened, costPlaces)
		}
		lots[i] = Lot{Date: l.date, Quantity: l.left, Cost: cost, Currency: l.currency}
	}
	return lots
}
