package portfolio

import (
	"cmp"
	"fmt"
	"maps"
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

// Position is the open lots of one security, oldest first. No position is without lots.
type Position struct {
	Security Security
	Lots     []Lot
	Splits   []SplitOn // up to the day, by date: what an older price has to be divided by
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

// HoldingsAt is [CostMethod.HoldingsAt] with lots matched first in, first out. Quantities and cash are
// the same by either method.
func HoldingsAt(ledger []Transaction, securities map[string]Security, asof time.Time) (Holdings, error) {
	return FIFO.HoldingsAt(ledger, securities, asof)
}

// HoldingsAt books the transactions dated on or before asof. They must be in order of date, then
// number. Sales consume open lots by the method; a sale beyond what is held opens a short lot, which
// later purchases close. A split takes effect before the other bookings of its day.
//
// A security that securities lacks keeps its symbol and id and counts in the currency that it
// was first traded in; valuation then reports it as unpriced.
func (m CostMethod) HoldingsAt(ledger []Transaction, securities map[string]Security, asof time.Time) (Holdings, error) {
	ledger, err := Effective(ledger)
	if err != nil {
		return Holdings{}, err
	}
	type account struct {
		Position
		lotBook
	}
	accounts := map[string]*account{}
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
			a := accounts[c.symbol]
			if a == nil {
				a = &account{Position{Security: securities[c.symbol]}, m.newBook()}
				if a.Security.Symbol == "" {
					a.Security = Security{ID: t.SecurityID, Symbol: t.Symbol, Currency: t.Currency}
				}
				accounts[c.symbol] = a
			}
			if t.Type == Split {
				a.split(c.ratio)
				a.Splits = append(a.Splits, SplitOn{Date: t.Date, Ratio: t.Quantity})
			} else {
				a.trade(t.Date, c.quantity, t.Amount.Neg(), t.Currency)
			}
		}
	}

	var h Holdings
	for _, a := range accounts {
		if a.Lots = a.lots(); len(a.Lots) > 0 {
			h.Positions = append(h.Positions, a.Position)
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

// Effective returns the bookings that count, in the order in which they do: without reversals and
// what they reverse, and with a day's splits before its trades, which are in new shares. The ledger
// must be in order of date, then number, and is not changed. An error means that a reversal is of
// nothing in the ledger.
func Effective(ledger []Transaction) ([]Transaction, error) {
	reversed := map[string]int64{} // numbers of the reversals, by the ID of what they reverse
	splits := false
	for _, t := range ledger {
		splits = splits || t.Type == Split
		if t.Type == Reversal {
			reversed[t.Reverses] = t.Seq
		}
	}
	if len(reversed) == 0 && !splits {
		return ledger, nil
	}
	effective := make([]Transaction, 0, len(ledger))
	for _, t := range ledger {
		if t.Type == Reversal {
			continue
		}
		if _, ok := reversed[t.ID]; ok {
			delete(reversed, t.ID)
			continue
		}
		effective = append(effective, t)
	}
	for _, id := range slices.Sorted(maps.Keys(reversed)) {
		return nil, fmt.Errorf("transaction %d reverses %q, which is not in the ledger", reversed[id], id)
	}
	slices.SortStableFunc(effective, inOrder)
	return effective, nil
}

// inOrder compares by date; within a day splits come first. Bookings that it does not tell apart keep
// the order of their numbers.
func inOrder(a, b Transaction) int {
	rank := func(t Transaction) int {
		if t.Type == Split {
			return 0
		}
		return 1
	}
	return cmp.Or(a.Date.Compare(b.Date), cmp.Compare(rank(a), rank(b)))
}

// change is one effect of a transaction on a quantity held.
type change struct {
	kind     Kind
	symbol   string // security's symbol or cash's currency
	quantity decimal.Decimal
	ratio    ratio // of a SPLIT, which has no quantity: what is held is multiplied
}

// changes translates a booking into changes of holdings. It is the one place that knows what
// each type does.
func (t Transaction) changes() ([]change, error) {
	paid := change{kind: KindCash, symbol: t.Currency, quantity: t.Amount}
	switch t.Type {
	case Deposit, Withdrawal, Fee, Dividend:
		return []change{paid}, nil
	case Buy, Sell, FX, Split:
		if !t.Quantity.IsPositive() {
			return nil, fmt.Errorf("transaction %d: %s of quantity %s, which must be positive", t.Seq, t.Type, t.Quantity)
		}
	default:
		return nil, fmt.Errorf("transaction %d: type %q is none of %s", t.Seq, t.Type, bookable)
	}
	switch t.Type {
	case Buy:
		return []change{{kind: KindSecurity, symbol: t.Symbol, quantity: t.Quantity}, paid}, nil
	case Sell:
		return []change{{kind: KindSecurity, symbol: t.Symbol, quantity: t.Quantity.Neg()}, paid}, nil
	case Split:
		return []change{{kind: KindSecurity, symbol: t.Symbol, ratio: ratioOf(t.Quantity)}}, nil
	default:
		base, quote, ok := strings.Cut(t.Symbol, "/")
		if !ok || base == "" || quote != t.Currency {
			return nil, fmt.Errorf("transaction %d: FX symbol %q does not pair a currency with the %s paid", t.Seq, t.Symbol, t.Currency)
		}
		return []change{{kind: KindCash, symbol: base, quantity: t.Quantity}, paid}, nil
	}
}

// external reports whether t moves money over the portfolio's border.
func (t Transaction) external() bool { return t.Type == Deposit || t.Type == Withdrawal }
