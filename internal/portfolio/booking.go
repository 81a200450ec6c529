package portfolio

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
)

// Bounds of what can be booked. They leave room for every real ledger and keep a slip of the
// finger, such as the year 20007, out of it.
const (
	maxName          = 200 // characters of a portfolio's name
	maxIntegerDigits = 18
	maxDecimals      = 12
	amountDecimals   = 2 // of an amount that is computed because the booking has none
)

// bookable names the types that Book takes, for messages.
const bookable = "DEPOSIT, WITHDRAWAL, BUY, SELL, FX, FEE, DIVIDEND, SPLIT"

// A split makes at most as many shares of one, or one of as many.
var (
	maxRatio = decimal.NewFromInt(1_000_000)
	minRatio = decimal.New(1, -6)
)

var (
	firstDate = time.Date(1900, time.January, 1, 0, 0, 0, 0, time.UTC)
	lastDate  = time.Date(2200, time.December, 31, 0, 0, 0, 0, time.UTC)
)

// Once names a request to book, so that sending it again does not book again.
type Once struct {
	Key     string // the caller's
	Request []byte // tells other requests with the key from this one: a hash
}

// Receipt is what a request to book has come to.
type Receipt struct {
	Transactions  []Transaction // as booked, in order of number
	LedgerVersion string        // after them
	Repeated      bool          // an earlier request had the key and has booked them
}

// Open checks a portfolio that is about to be created and returns it with the head of its empty
// ledger. The benchmark and the calendar must be among securities; a portfolio without a calendar
// takes the given one, one without a cost method FIFO. Errors are [fault.Invalid] with a pointer for each wrong field.
func Open(p Portfolio, calendar string, securities map[string]Security) (Portfolio, error) {
	var c complaints
	switch n := utf8.RuneCountInString(p.Name); {
	case strings.TrimSpace(p.Name) == "":
		c.add("/name", "is required")
	case !utf8.ValidString(p.Name) || strings.ContainsFunc(p.Name, unicode.IsControl):
		c.add("/name", "has control characters")
	case n > maxName:
		c.add("/name", "has %d characters; at most %d are allowed", n, maxName)
	}
	if !isCurrency(p.BaseCurrency) {
		c.add("/base_currency", notACurrency, p.BaseCurrency)
	}
	if _, ok := securities[p.Benchmark]; p.Benchmark != "" && !ok {
		c.add("/benchmark", "there is no security %q", p.Benchmark)
	}
	p.Calendar = cmp.Or(p.Calendar, calendar)
	if _, ok := securities[p.Calendar]; p.Calendar == "" {
		c.add("/calendar", "is required: no default calendar is set")
	} else if !ok {
		c.add("/calendar", "there is no security %q", p.Calendar)
	}
	p.CostMethod = cmp.Or(p.CostMethod, FIFO)
	if p.CostMethod != FIFO && p.CostMethod != Average {
		c.add("/cost_method", "%q is none of %s, %s", p.CostMethod, FIFO, Average)
	}
	if err := c.err(); err != nil {
		return Portfolio{}, err
	}
	p.LedgerSeq, p.LedgerVersion = 0, Genesis(p)
	return p, nil
}

// Book checks a batch of transactions against each other and against what is booked already, and
// returns them as they are to be booked: dates at UTC midnight, currency, security and amount
// filled in. Seq and ID are left alone. The batch is good as a whole or not at all: errors are
// [fault.Invalid] with a pointer "/<index>/<field>" for each wrong field.
//
// A zero quantity, price or amount means that the transaction has none. BUY, SELL and FX without
// an amount get quantity times price, rounded half up to 2 decimals; with an amount, it stands as
// given, since costs of execution may be in it. securities holds at least the ones that the batch
// names, booked at least every BUY, SELL and SPLIT that counts (see [Effective]) of the symbols that
// the batch sells or splits. A REVERSAL is not booked here: see [Reverse].
//
// Nothing can be sold that is not held: in order of date, then of booking, a day's splits first, no
// sale may take a security below zero, and what is booked late may not take away what a later sale
// needed.
func Book(batch, booked []Transaction, securities map[string]Security) ([]Transaction, error) {
	if len(batch) == 0 {
		return nil, fault.InvalidField("", "at least one transaction is required")
	}
	var c complaints
	out := slices.Clone(batch)
	for i := range out {
		complete(&out[i], securities, func(field, format string, args ...any) {
			c.add(fmt.Sprintf("/%d/%s", i, field), format, args...)
		})
	}
	// Holdings computed from wrong quantities or dates would only produce misleading complaints.
	if err := c.err(); err != nil {
		return nil, err
	}
	oversold(out, booked, &c)
	if err := c.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// complete checks one transaction on its own and fills in what follows from the rest of it.
func complete(t *Transaction, securities map[string]Security, complain func(field, format string, args ...any)) {
	t.Date = time.Date(t.Date.Year(), t.Date.Month(), t.Date.Day(), 0, 0, 0, 0, time.UTC)
	if t.Date.Before(firstDate) || t.Date.After(lastDate) {
		complain("date", "%s is outside %s to %s", t.Date.Format(time.DateOnly),
			firstDate.Format(time.DateOnly), lastDate.Format(time.DateOnly))
	}
	// The digits come first: the product of two numbers such as 1e9999 fills memory for nothing.
	digitsFit := true
	for _, n := range []struct {
		field string
		value decimal.Decimal
	}{{"quantity", t.Quantity}, {"price", t.Price}, {"amount", t.Amount}} {
		if !fits(n.value) {
			digitsFit = false
			complain(n.field, "has too many digits: at most %d before and %d after the point are allowed",
				maxIntegerDigits, maxDecimals)
		}
	}

	t.Reverses = ""
	switch t.Type {
	case Buy, Sell, Dividend, Split:
		t.Currency = cmp.Or(t.Currency, securities[t.Symbol].Currency)
		if s, ok := securities[t.Symbol]; t.Symbol == "" {
			complain("symbol", "is required for %s", t.Type)
		} else if !ok {
			complain("symbol", "there is no security %q", t.Symbol)
		} else if t.SecurityID = s.ID; t.Type != Dividend && t.Currency != s.Currency {
			complain("currency", "is %q, but %s trades in %s", t.Currency, t.Symbol, s.Currency)
		} else if !isCurrency(t.Currency) { // a dividend may be paid in any
			complain("currency", notACurrency, t.Currency)
		}
	case FX:
		t.SecurityID = ""
		base, quote, _ := strings.Cut(t.Symbol, "/")
		t.Currency = cmp.Or(t.Currency, quote)
		if !isCurrency(base) || !isCurrency(quote) || base == quote {
			complain("symbol", "%q is no currency pair such as USD/CHF", t.Symbol)
		} else if t.Currency != quote {
			complain("currency", "is %q, but %s is paid in %s", t.Currency, t.Symbol, quote)
		}
	case Deposit, Withdrawal, Fee:
		t.SecurityID = ""
		if t.Symbol != "" {
			complain("symbol", "must be absent for %s", t.Type)
		}
		if !isCurrency(t.Currency) {
			complain("currency", notACurrency, t.Currency)
		}
	default:
		complain("type", "%q is none of %s", t.Type, bookable)
		return
	}
	if digitsFit {
		completeNumbers(t, complain)
	}
}

// completeNumbers checks the signs that t's type asks for and computes a missing amount.
func completeNumbers(t *Transaction, complain func(field, format string, args ...any)) {
	if t.Type == Split {
		if !t.Price.IsZero() {
			complain("price", "must be absent for %s", t.Type)
		}
		if !t.Amount.IsZero() {
			complain("amount", "must be absent for %s: book cash for fractions as a sale", t.Type)
		}
		switch q := t.Quantity; {
		case q.LessThan(minRatio) || q.GreaterThan(maxRatio):
			complain("quantity", "must be the number of new shares for one old share, from %s to %s", minRatio, maxRatio)
		case q.Equal(decimal.NewFromInt(1)):
			complain("quantity", "a split of one share into one changes nothing")
		}
		return
	}
	traded := t.Type == Buy || t.Type == Sell || t.Type == FX
	sign := -1
	if t.Type == Deposit || t.Type == Sell || t.Type == Dividend {
		sign = 1
	}
	for _, n := range []struct {
		field string
		value decimal.Decimal
	}{{"quantity", t.Quantity}, {"price", t.Price}} {
		if traded && !n.value.IsPositive() {
			complain(n.field, "must be above zero for %s", t.Type)
		}
		if !traded && !n.value.IsZero() {
			complain(n.field, "must be absent for %s", t.Type)
		}
	}
	if traded && t.Amount.IsZero() && t.Quantity.IsPositive() && t.Price.IsPositive() {
		// Round goes half away from zero, which is half up here: the product is positive.
		t.Amount = t.Quantity.Mul(t.Price).Round(amountDecimals)
		switch {
		case t.Amount.IsZero():
			complain("amount", "is required: quantity times price is less than half a hundredth")
		case !fits(t.Amount):
			complain("amount", "quantity times price has more than %d digits before the point", maxIntegerDigits)
		}
		if sign < 0 {
			t.Amount = t.Amount.Neg()
		}
		return
	}
	switch {
	case t.Amount.Sign() == sign:
	case traded && t.Amount.IsZero(): // quantity or price is wrong, and said to be
	case sign > 0:
		complain("amount", "must be above zero for %s", t.Type)
	default:
		complain("amount", "must be below zero for %s", t.Type)
	}
}

// oversold complains about each booking in batch that takes a security below zero, itself or through
// a later sale that is booked already.
func oversold(batch, booked []Transaction, c *complaints) {
	type trade struct {
		Transaction
		index int // in batch; -1 when booked already
	}
	reduced := map[string]bool{}
	for _, t := range batch {
		if t.Type == Sell || t.Type == Split {
			reduced[t.Symbol] = true
		}
	}
	var trades []trade
	collect := func(t Transaction, index int) {
		if movesShares(t) && reduced[t.Symbol] {
			trades = append(trades, trade{t, index})
		}
	}
	for _, t := range booked {
		collect(t, -1)
	}
	for i, t := range batch {
		t.Seq = math.MaxInt64 // after everything booked; the sort keeps the batch's own order
		collect(t, i)
	}
	slices.SortStableFunc(trades, func(a, b trade) int {
		return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), inOrder(a.Transaction, b.Transaction), cmp.Compare(a.Seq, b.Seq))
	})

	details := map[int]string{} // by index in batch
	var held decimal.Decimal
	last := -1 // index of the symbol's latest booking in batch that left less, and was possible by itself
	for i, t := range trades {
		if i == 0 || t.Symbol != trades[i-1].Symbol {
			held, last = decimal.Zero, -1
		}
		after := shares(held, t.Transaction)
		switch {
		case !after.IsNegative() && t.index >= 0 && !fits(after): // splits multiply
			details[t.index] = fmt.Sprintf("makes the holding of %s larger than %d digits", t.Symbol, maxIntegerDigits)
		case !after.IsNegative():
			if t.index >= 0 && after.LessThan(held) {
				last = t.index
			}
			held = after
		case t.index >= 0: // left out, so that later sales are judged by what is really there
			details[t.index] = fmt.Sprintf("sells %s %s, but only %s is held on %s",
				t.Quantity, t.Symbol, held, t.Date.Format(time.DateOnly))
		case last >= 0:
			details[last] = fmt.Sprintf("leaves only %s %s for the sale of %s that is booked on %s",
				held, t.Symbol, t.Quantity, t.Date.Format(time.DateOnly))
			held = decimal.Zero
		}
	}
	for _, index := range slices.Sorted(maps.Keys(details)) {
		c.add(fmt.Sprintf("/%d/quantity", index), "%s", details[index])
	}
}

// movesShares tells whether t changes how much of a security is held.
func movesShares(t Transaction) bool { return t.Type == Buy || t.Type == Sell || t.Type == Split }

// shares returns what is held after t, of which held was before.
func shares(held decimal.Decimal, t Transaction) decimal.Decimal {
	switch t.Type {
	case Buy:
		return held.Add(t.Quantity)
	case Sell:
		return held.Sub(t.Quantity)
	default:
		return ratioOf(t.Quantity).of(held)
	}
}

// Reverse returns the booking that undoes original, dated as it: the two count as if neither had been
// booked (see [Effective]). Seq and ID are left alone. booked holds at least every BUY, SELL and SPLIT
// that counts of original's symbol. A reversal can't be reversed; nor can what a later sale needs. The
// error is [fault.Invalid] and says which.
//
// That nothing is reversed twice is for the caller to see to.
func Reverse(original Transaction, booked []Transaction) (Transaction, error) {
	if original.Type == Reversal {
		return Transaction{}, fault.New(fault.Invalid, "transaction %d is a reversal itself: book anew what it undid", original.Seq)
	}
	if movesShares(original) {
		trades := slices.DeleteFunc(slices.Clone(booked), func(t Transaction) bool {
			return !movesShares(t) || t.Symbol != original.Symbol || t.ID == original.ID
		})
		slices.SortStableFunc(trades, func(a, b Transaction) int { return cmp.Or(inOrder(a, b), cmp.Compare(a.Seq, b.Seq)) })
		var held decimal.Decimal
		for _, t := range trades {
			after := shares(held, t)
			if after.IsNegative() {
				return Transaction{}, fault.New(fault.Invalid,
					"without the %s of %s %s on %s only %s would be held for the sale of %s on %s, transaction %d: reverse that first",
					original.Type, original.Quantity, original.Symbol, original.Date.Format(time.DateOnly),
					held, t.Quantity, t.Date.Format(time.DateOnly), t.Seq)
			}
			held = after
		}
	}
	undo := original
	undo.ID, undo.Seq, undo.SecurityID = "", 0, ""
	undo.Type, undo.Reverses, undo.Amount = Reversal, original.ID, original.Amount.Neg()
	return undo, nil
}

// fits tells whether d, as it is written, stays within the digits that can be booked.
func fits(d decimal.Decimal) bool {
	exponent := int(d.Exponent())
	return exponent >= -maxDecimals && exponent <= maxIntegerDigits && d.NumDigits()+exponent <= maxIntegerDigits
}

const notACurrency = "%q is no currency code: three capital letters such as CHF"

func isCurrency(code string) bool {
	return len(code) == 3 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// complaints collects what is wrong with a request.
type complaints []fault.Field

func (c *complaints) add(pointer, format string, args ...any) {
	*c = append(*c, fault.Field{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}

// err returns nil or one [fault.Invalid] with every field, whose text is about the first.
func (c complaints) err() error {
	if len(c) == 0 {
		return nil
	}
	e := fault.InvalidField(c[0].Pointer, "%s", c[0].Detail)
	if e.Fields = c; len(c) > 1 {
		e.Detail += fmt.Sprintf(" (and %d more)", len(c)-1)
	}
	return e
}
