// Package portfolio computes what a portfolio holds, is worth and has earned, from its ledger and
// from market data handed to it. It is pure: no database, no clock, no randomness.
//
// Money and quantities are decimals where they are booked or reported; ratios and time series
// are float64. Dates are UTC midnights.
package portfolio

import (
	"time"

	"github.com/shopspring/decimal"
)

// Portfolio identifies one ledger and how it is measured.
type Portfolio struct {
	ID            string // UUID
	Name          string
	BaseCurrency  string // ISO 4217
	Benchmark     string // symbol; "" when none
	Calendar      string // symbol whose closes are the valuation days
	CostMethod    CostMethod
	LedgerSeq     int64  // number of the last transaction
	LedgerVersion string // hash over everything booked, see Genesis and Chain
	CreatedAt     time.Time
}

// Security is something with a price.
type Security struct {
	ID         string // UUID
	Symbol     string
	Name       string
	AssetClass string
	Sector     string
	Currency   string // ISO 4217, of its price
	Role       string // holding or benchmark

	// Of bonds and bond indices: modified duration in years, and convexity. Nil when not known.
	Duration, Convexity *float64
}

// Type is the kind of a transaction.
type Type string

// The kinds of transactions. Only DEPOSIT and WITHDRAWAL are external flows.
const (
	Deposit    Type = "DEPOSIT"    // cash comes in: amount > 0
	Withdrawal Type = "WITHDRAWAL" // cash goes out: amount < 0
	Buy        Type = "BUY"        // quantity of a security for amount < 0 in its currency
	Sell       Type = "SELL"       // quantity of a security for amount > 0 in its currency
	FX         Type = "FX"         // symbol BASE/QUOTE: quantity of BASE received, amount < 0 of QUOTE paid
	Fee        Type = "FEE"        // a cost borne by the portfolio: amount < 0
	Dividend   Type = "DIVIDEND"   // what a security pays out: amount > 0; part of the return
	Split      Type = "SPLIT"      // quantity is the number of new shares for one old share
	Reversal   Type = "REVERSAL"   // undoes another booking, see Reverse
)

// OfSecurity tells whether bookings of this type are about one security.
func (t Type) OfSecurity() bool { return t == Buy || t == Sell || t == Dividend || t == Split }

// Transaction is one booking. Quantity and Price are zero where the type has none; Amount is the
// signed change of cash in Currency.
type Transaction struct {
	ID         string // UUID
	Seq        int64  // 1, 2, 3, ... in booking order within the portfolio
	Date       time.Time
	Type       Type
	Symbol     string // security or, for FX, pair; that of the original for REVERSAL, else ""
	SecurityID string // UUID when the type is OfSecurity, else ""
	Quantity   decimal.Decimal
	Price      decimal.Decimal
	Currency   string
	Amount     decimal.Decimal
	Reverses   string // ID of the booking that a REVERSAL undoes, else ""
}

// Cut selects the market data that a pricing pack holds: rows dated on or before Date, of a
// revision up to Revision, the highest such revision for each date.
type Cut struct {
	TenantID string
	Date     time.Time
	Revision int64
}

// Quote is the last observation on or before a cut's date, exactly as booked.
type Quote struct {
	Date  time.Time
	Value decimal.Decimal
}

// Quotes are last observations: prices by symbol, FX by pair "BASE/QUOTE" (units of QUOTE for one
// BASE).
type Quotes struct {
	Prices map[string]Quote
	FX     map[string]Quote
}

// Point is one observation of a series.
type Point struct {
	Date  time.Time
	Value float64
}

// Series is ordered by date, one point a date.
type Series []Point

// SeriesQuery asks for time series from the last observation on or before From (so that values
// can be carried forward into From) to the cut's date.
type SeriesQuery struct {
	From       time.Time
	Symbols    []string // securities, by symbol
	Currencies []string // every FX pair with one of these on either side
	Macro      []string // macro series, by name
}

// SeriesSet answers a SeriesQuery. A series without a single observation is absent.
type SeriesSet struct {
	Prices map[string]Series // by symbol
	FX     map[string]Series // by pair "BASE/QUOTE"
	Macro  map[string]Series // by name
}

// Cursor is a place in the list of portfolios: behind the one with these values. The zero
// value is the list's start.
type Cursor struct {
	CreatedAt time.Time
	ID        string // UUID
}
