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
