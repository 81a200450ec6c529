package portfolio_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

func TestValue(t *testing.T) {
	t.Parallel()
	holdings := portfolio.Holdings{
		Positions: []portfolio.Position{
			{
				Security: portfolio.Security{Symbol: "A", Currency: "USD"},
				Lots: []portfolio.Lot{
					{day("2005-01-03"), dec("10"), dec("1000"), "USD"},
					{day("2005-01-05"), dec("2.5"), dec("300"), "CHF"},
				},
			},
			{
				Security: portfolio.Security{Symbol: "S", Currency: "CHF"},
				Lots:     []portfolio.Lot{{day("2005-01-03"), dec("-1"), dec("-50"), "CHF"}},
			},
		},
		Cash: []portfolio.Cash{{"CHF", dec("123.45")}},
	}
	past := portfolio.SeriesSet{FX: map[string]portfolio.Series{"USD/CHF": {{day("2005-01-03"), 1.1}, {day("2005-01-05"), 1.25}}}}
	quotes := portfolio.Quotes{
		Prices: map[string]portfolio.Quote{"A": {day("2005-01-06"), dec("120")}, "S": {day("2005-01-06"), dec("40")}},
		FX:     map[string]portfolio.Quote{"USD/CHF": {day("2005-01-06"), dec("1.2")}},
	}

	v := portfolio.Value("CHF", holdings, quotes, past)
	require.Empty(t, v.Unpriced)
	a, s := v.Positions[0], v.Positions[1]
	require.Equal(t, "1800", a.Value.Decimal.String())      // 12.5 x 120 x 1.2
	require.Equal(t, "1400", a.Cost.Decimal.String())       // 1000 x 1.1 + 300
	require.Equal(t, "1240", a.LocalCost.Decimal.String())  // 1000 + 300 / 1.25
	require.Equal(t, "1500", a.LocalValue.Decimal.String()) // 12.5 x 120
	require.Equal(t, "-40", s.Value.Decimal.String())       // what closing the short costs
	require.Equal(t, "-50", s.Cost.Decimal.String())        // what opening it brought in
	require.Equal(t, "1883.45", v.Total.Decimal.String())

	c, err := v.Concentration()
	require.NoError(t, err)
	wa, ws, wc := 1800/1883.45, -40/1883.45, 123.45/1883.45
	require.InDelta(t, wa*wa+ws*ws, c.Securities, 1e-14)
	require.InDelta(t, wa*wa+ws*ws+wc*wc, c.WithCash, 1e-14)
	require.InDelta(t, 1/c.WithCash, c.EffectiveN, 1e-14)
	require.InDelta(t, wa+ws, c.Top3, 1e-14)
}

func TestValueNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	holdings := portfolio.Holdings{
		Positions: []portfolio.Position{
			{Security: portfolio.Security{Symbol: "A", Currency: "CHF"}, Lots: []portfolio.Lot{{day("2005-01-03"), dec("1"), dec("1"), "CHF"}}},
			{Security: portfolio.Security{Symbol: "B", Currency: "SEK"}, Lots: []portfolio.Lot{{day("2005-01-03"), dec("1"), dec("1"), "SEK"}}},
		},
		Cash: []portfolio.Cash{{"SEK", dec("5")}},
	}
	quotes := portfolio.Quotes{Prices: map[string]portfolio.Quote{"B": {day("2005-01-06"), dec("120")}}}
	v := portfolio.Value("CHF", holdings, quotes, portfolio.SeriesSet{})

	require.False(t, v.Total.Valid, "a total that leaves something out is no total")
	var missing []string
	for _, s := range v.Unpriced {
		missing = append(missing, s.Missing)
	}
	require.Equal(t, []string{"prices:A", "fx:SEK/CHF"}, missing)
	require.False(t, v.Positions[1].Value.Valid)
	require.True(t, v.Positions[1].LocalValue.Valid)
	require.Equal(t, "fx:SEK/CHF", v.Positions[1].Uncosted[0].Missing)
	require.True(t, v.Positions[1].LocalCost.Valid)
	require.Equal(t, "1", v.Positions[0].Cost.Decimal.String(), "a cost needs no price")
	_, err := v.Concentration()
	require.Equal(t, v.Unpriced, err)
}

func TestWeightsNeedCapital(t *testing.T) {
	t.Parallel()
	for _, amount := range []string{"0", "-100"} {
		v := portfolio.Value("CHF", portfolio.Holdings{Cash: []portfolio.Cash{{"CHF", dec(amount)}}}, portfolio.Quotes{}, portfolio.SeriesSet{})
		require.True(t, v.Total.Valid)
		_, err := v.Weight(decimal.Zero)
		require.ErrorAs(t, err, &portfolio.Shortages{})
	}
	v := portfolio.Value("CHF", portfolio.Holdings{}, portfolio.Quotes{}, portfolio.SeriesSet{})
	require.Equal(t, "0", v.Total.Decimal.String())
	_, err := v.Concentration()
	require.ErrorContains(t, err, "holds nothing")
}
