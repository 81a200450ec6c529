package portfolio

import (
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// ValuedPosition is a position at a price. Local amounts are in the security's currency, the
// others in the base currency; they are unrounded. What cannot be known is invalid
// (decimal.NullDecimal), with the reason in Unpriced or Uncosted.
type ValuedPosition struct {
	Position

	Quantity decimal.Decimal
	Price    *Quote // of one of today's shares, whatever was split since; nil when the security has none
	Rate     *Rate  // nil when its currency has none

	LocalValue, LocalCost decimal.NullDecimal
	Value, Cost           decimal.NullDecimal

	Unpriced Shortages // why Value is missing
	Uncosted Shortages // why Cost or LocalCost is missing
}

// ValuedCash is a balance in base currency.
type ValuedCash struct {
	Cash

	Rate     *Rate
	Value    decimal.NullDecimal
	Unpriced Shortages
}

// Valuation is holdings at the prices of one moment.
type Valuation struct {
	Currency  string // the base currency
	Positions []ValuedPosition
	Cash      []ValuedCash

	// Total is the net asset value, unrounded. It is invalid as soon as one line has no value:
	// a total that leaves something out is not the net asset value.
	Total    decimal.NullDecimal
	Unpriced Shortages // why Total is missing
}

// Value prices holdings with quotes. Costs are converted at the rate of each lot's trade date,
// taken from past, which is needed for lots that were not paid in the currency asked for.
func Value(base string, h Holdings, quotes Quotes, past SeriesSet) Valuation {
	v := Valuation{
		Currency:  base,
		Positions: make([]ValuedPosition, 0, len(h.Positions)),
		Cash:      make([]ValuedCash, 0, len(h.Cash)),
	}
	total := decimal.Zero
	add := func(value decimal.NullDecimal, missing Shortages) {
		total = total.Add(value.Decimal)
		for _, s := range missing {
			if !slices.Contains(v.Unpriced, s) {
				v.Unpriced = append(v.Unpriced, s)
			}
		}
	}
	for _, p := range h.Positions {
		line := valuePosition(base, p, quotes, past)
		add(line.Value, line.Unpriced)
		v.Positions = append(v.Positions, line)
	}
	for _, c := range h.Cash {
		line := ValuedCash{Cash: c}
		if rate, ok := quotes.Rate(c.Currency, base); ok {
			line.Rate = &rate
			line.Value = decimal.NewNullDecimal(c.Amount.Mul(rate.Value))
		} else {
			line.Unpriced = Shortages{noRate(c.Currency, base)}
		}
		add(line.Value, line.Unpriced)
		v.Cash = append(v.Cash, line)
	}
	if len(v.Unpriced) == 0 {
		v.Total = decimal.NewNullDecimal(total)
	}
	return v
}

func valuePosition(base string, p Position, quotes Quotes, past SeriesSet) ValuedPosition {
	line := ValuedPosition{Position: p, Quantity: p.Quantity()}
	if price, ok := quotes.Prices[p.Security.Symbol]; ok {
		price = adjust(price, p.Splits)
		line.Price = &price
		line.LocalValue = decimal.NewNullDecimal(line.Quantity.Mul(price.Value))
	} else {
		line.Unpriced = append(line.Unpriced, Shortage{
			Missing: "prices:" + p.Security.Symbol, Reason: "no price on or before the pricing pack's date",
		})
	}
	if rate, ok := quotes.Rate(p.Security.Currency, base); ok {
		line.Rate = &rate
		if line.LocalValue.Valid {
			line.Value = decimal.NewNullDecimal(line.LocalValue.Decimal.Mul(rate.Value))
		}
	} else {
		line.Unpriced = append(line.Unpriced, noRate(p.Security.Currency, base))
	}
	line.Cost = cost(p, base, past, &line.Uncosted)
	line.LocalCost = cost(p, p.Security.Currency, past, &line.Uncosted)
	return line
}

// cost returns what the open lots cost in a currency, or adds the rates it lacks to missing.
func cost(p Position, currency string, past SeriesSet, missing *Shortages) decimal.NullDecimal {
	sum := decimal.NewNullDecimal(decimal.Zero)
	for _, l := range p.Lots {
		rate, ok := past.RateOn(l.Date, l.Currency, currency)
		if !ok {
			s := Shortage{
				Missing: "fx:" + l.Currency + "/" + currency,
				Reason:  "no rate on or before the trade date " + l.Date.Format(time.DateOnly),
			}
			if !slices.Contains(*missing, s) {
				*missing = append(*missing, s)
			}
			sum.Valid = false
			continue
		}
		sum.Decimal = sum.Decimal.Add(l.Cost.Mul(rate.Value))
	}
	return sum
}

func noRate(from, to string) Shortage {
	return Shortage{
		Missing: "fx:" + from + "/" + to,
		Reason:  "no direct, inverse or cross rate on or before the pricing pack's date",
	}
}

// Weight returns a base-currency value as a fraction of the total.
func (v Valuation) Weight(value decimal.Decimal) (float64, error) {
	if !v.Total.Valid {
		return 0, v.Unpriced
	}
	if !v.Total.Decimal.IsPositive() {
		return 0, Short("capital", "the net asset value is %s, weights need a positive one", v.Total.Decimal.Round(2))
	}
	return value.DivRound(v.Total.Decimal, ratePlaces).InexactFloat64(), nil
}

// Concentration measures how much of a portfolio depends on few lines.
type Concentration struct {
	// Herfindahl-Hirschman indices: sums of squared weights in the net asset value, over all
	// lines and over the securities alone (not rescaled: the weights are the reported ones).
	WithCash, Securities float64
	EffectiveN           float64 // 1 / WithCash: as many equal lines are as concentrated
	Top3                 float64 // weight of the three largest securities
}

// Concentration returns the concentration of the valued lines. See Rhoades, The
// Herfindahl-Hirschman Index, Federal Reserve Bulletin, March 1993.
func (v Valuation) Concentration() (Concentration, error) {
	if len(v.Positions)+len(v.Cash) == 0 {
		return Concentration{}, Short("holdings", "the portfolio holds nothing")
	}
	var c Concentration
	weights := make([]float64, 0, len(v.Positions))
	for _, p := range v.Positions {
		w, err := v.Weight(p.Value.Decimal)
		if err != nil {
			return Concentration{}, err
		}
		weights = append(weights, w)
		c.Securities += w * w
	}
	c.WithCash = c.Securities
	for _, x := range v.Cash {
		w, err := v.Weight(x.Value.Decimal)
		if err != nil {
			return Concentration{}, err
		}
		c.WithCash += w * w
	}
	c.EffectiveN = 1 / c.WithCash
	slices.Sort(weights)
	for _, w := range weights[max(0, len(weights)-3):] {
		c.Top3 += w
	}
	return c, nil
}
