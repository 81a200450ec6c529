package capability

import "github.com/shopspring/decimal"

// The decimals of the money in answers.
const (
	AmountPlaces = 6 // of a line
	TotalPlaces  = 2 // of a sum over lines
)

// Amount rounds to the decimals of a line's amount.
func Amount(d decimal.NullDecimal) decimal.NullDecimal {
	d.Decimal = d.Decimal.Round(AmountPlaces)
	return d
}

// Total writes a sum with its decimals, zeros included.
func Total(d decimal.Decimal) *string {
	s := d.StringFixed(TotalPlaces)
	return &s
}
