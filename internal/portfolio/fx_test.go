package portfolio_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

func TestRate(t *testing.T) {
	t.Parallel()
	on := day("2007-05-08")
	fx := map[string]portfolio.Quote{
		"USD/CHF": {on, decimal.RequireFromString("1.2182")},
		"EUR/USD": {day("2007-05-07"), decimal.RequireFromString("1.3532")},
		"GBP/USD": {on, decimal.RequireFromString("1.9902")},
		"USD/JPY": {on, decimal.RequireFromString("119.89")},
		"CHF/USD": {on, decimal.RequireFromString("0.5")}, // contradicts, and must never be asked
		"XAU/CHF": {on, decimal.RequireFromString("800")},
	}
	for _, tt := range []struct {
		from, to string
		want     float64
		pairs    []string
	}{
		{"CHF", "CHF", 1, nil},
		{"USD", "CHF", 1.2182, []string{"USD/CHF"}},
		{"CHF", "XAU", 1.0 / 800, []string{"XAU/CHF"}},
		{"EUR", "CHF", 1.3532 * 1.2182, []string{"EUR/USD", "USD/CHF"}},
		{"JPY", "CHF", 1.2182 / 119.89, []string{"USD/JPY", "USD/CHF"}},
		{"EUR", "GBP", 1.3532 / 1.9902, []string{"EUR/USD", "GBP/USD"}},
		{"JPY", "EUR", 1 / 119.89 / 1.3532, []string{"USD/JPY", "EUR/USD"}},
	} {
		t.Run(tt.from+" into "+tt.to, func(t *testing.T) {
			t.Parallel()
			r, ok := portfolio.Quotes{FX: fx}.Rate(tt.from, tt.to)
			require.True(t, ok)
			require.InEpsilon(t, tt.want, r.Value.InexactFloat64(), 1e-14)
			require.Equal(t, tt.pairs, r.Pairs)
			if len(tt.pairs) == 2 && tt.pairs[0] == "EUR/USD" {
				require.Equal(t, day("2007-05-07"), r.Date, "the older of two observations")
			}
		})
	}
	// Two pairs at most: EUR and XAU share no currency.
	for _, to := range []string{"XAU", "SEK"} {
		_, ok := portfolio.Quotes{FX: fx}.Rate("EUR", to)
		require.False(t, ok, to)
	}
}

// Of several currencies in between, the first by name is taken: the answer must not depend on the
// order of a map.
func TestRateThroughTheFirstOfSeveral(t *testing.T) {
	t.Parallel()
	fx := map[string]portfolio.Quote{}
	for _, via := range []string{"USD", "AUD", "GBP", "JPY", "NOK", "SEK"} {
		fx["EUR/"+via] = portfolio.Quote{Date: day("2007-05-08"), Value: dec("2")}
		fx[via+"/CHF"] = portfolio.Quote{Date: day("2007-05-08"), Value: dec("3")}
	}
	for range 20 {
		r, ok := portfolio.Quotes{FX: fx}.Rate("EUR", "CHF")
		require.True(t, ok)
		require.Equal(t, []string{"EUR/AUD", "AUD/CHF"}, r.Pairs)
	}
}

func TestRateOn(t *testing.T) {
	t.Parallel()
	set := portfolio.SeriesSet{FX: map[string]portfolio.Series{
		"USD/CHF": {{day("2005-01-03"), 1.15}, {day("2005-01-05"), 1.17}},
		"EUR/USD": {{day("2005-01-04"), 1.33}},
	}}
	for _, tt := range []struct{ on, from, to, want string }{
		{"2005-01-02", "USD", "CHF", ""},
		{"2005-01-03", "USD", "CHF", "1.15"},
		{"2005-01-04", "USD", "CHF", "1.15"},
		{"2005-02-01", "USD", "CHF", "1.17"},
		{"2005-01-03", "EUR", "CHF", ""},
		{"2005-01-04", "EUR", "CHF", "1.5295"},
		{"2005-01-04", "GBP", "CHF", ""},
		{"2005-01-01", "CHF", "CHF", "1"},
	} {
		r, ok := set.RateOn(day(tt.on), tt.from, tt.to)
		require.Equal(t, tt.want != "", ok, tt)
		if ok {
			require.Equal(t, tt.want, r.Value.String(), tt)
		}
	}
}

// A pair that is quoted from some day on has no part in what was computed of the days before: those keep
// the rate that they had without it.
func TestPairQuotedFromSomeDayOn(t *testing.T) {
	t.Parallel()
	cross := portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"CAL": series(3, 1, 4, 1, 5, 1, 6, 1, 7, 1)},
		FX: map[string]portfolio.Series{
			"EUR/USD": {{day("2005-01-03"), 1.25}, {day("2005-01-05"), 1.5}},
			"USD/CHF": {{day("2005-01-03"), 1.2}},
		},
	}
	both := portfolio.SeriesSet{Prices: cross.Prices, FX: map[string]portfolio.Series{
		"EUR/USD": cross.FX["EUR/USD"], "USD/CHF": cross.FX["USD/CHF"], "EUR/CHF": {{day("2005-01-06"), 1.75}},
	}}
	r, ok := both.RateOn(day("2005-01-05"), "EUR", "CHF")
	require.True(t, ok)
	require.Equal(t, "1.8", r.Value.String())
	r, ok = both.RateOn(day("2005-01-07"), "EUR", "CHF")
	require.True(t, ok)
	require.Equal(t, "1.75", r.Value.String())

	rates, pairs := both.Rates("EUR", "CHF")
	require.Len(t, rates, 3)
	for i, want := range (portfolio.Series{{day("2005-01-03"), 1.5}, {day("2005-01-05"), 1.8}, {day("2005-01-06"), 1.75}}) {
		require.Equal(t, want.Date, rates[i].Date)
		require.InEpsilon(t, want.Value, rates[i].Value, 1e-14)
	}
	require.Equal(t, []string{"EUR/CHF", "EUR/USD", "USD/CHF"}, pairs)

	nav := func(market portfolio.SeriesSet) *portfolio.History {
		h, err := portfolio.NewHistory(portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "CAL"},
			[]portfolio.Transaction{cash("2005-01-03", portfolio.Deposit, "EUR", "100")}, nil, market, day("2005-01-07"))
		require.NoError(t, err)
		return h
	}
	h := nav(both)
	require.InDeltaSlice(t, []float64{150, 150, 180, 175, 175}, h.NAV, 1e-9)
	require.Equal(t, nav(cross).NAV[:3], h.NAV[:3])
	require.Equal(t, []portfolio.Observation{
		{Name: "fx:EUR/CHF", Date: day("2005-01-06")},
		{Name: "fx:EUR/USD", Date: day("2005-01-05")},
		{Name: "fx:USD/CHF", Date: day("2005-01-03")},
		{Name: "prices:CAL", Date: day("2005-01-07")},
	}, h.Used())
}
