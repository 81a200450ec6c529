package portfolio_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

func TestXIRR(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		flows []portfolio.CashFlow
		want  float64
	}{
		{
			// The example in Microsoft's reference of the worksheet function XIRR.
			"Microsoft's reference",
			[]portfolio.CashFlow{
				{day("2008-01-01"), -10000},
				{day("2008-03-01"), 2750},
				{day("2008-10-30"), 4250},
				{day("2009-02-15"), 3250},
				{day("2009-04-01"), 2750},
			},
			0.373362535,
		},
		{"one year", []portfolio.CashFlow{{day("2005-03-01"), -100}, {day("2006-03-01"), 110}}, 0.1},
		{"nothing earned", []portfolio.CashFlow{{day("2005-03-01"), -100}, {day("2006-03-01"), 100}}, 0},
		{"two years lost", []portfolio.CashFlow{{day("2005-03-01"), -100}, {day("2007-03-01"), 25}}, -0.5},
		{"borrowed first", []portfolio.CashFlow{{day("2005-03-01"), 100}, {day("2006-03-01"), -105}}, 0.05},
		{"1 % lost in a day", []portfolio.CashFlow{{day("2005-03-01"), -100}, {day("2005-03-02"), 99}}, math.Pow(0.99, 365) - 1},
		{"5 % in a day", []portfolio.CashFlow{{day("2005-03-01"), -100}, {day("2005-03-02"), 105}}, math.Pow(1.05, 365) - 1},
		{
			// -1, 2.3, -1.32 is zero at 10 % and at 20 %: the one nearer to zero.
			"two rates",
			[]portfolio.CashFlow{{day("2005-03-01"), -1}, {day("2006-03-01"), 2.3}, {day("2007-03-01"), -1.32}},
			0.1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := portfolio.XIRR(tt.flows)
			require.NoError(t, err)
			// Microsoft's result is published to nine decimals and exact to eight.
			require.InDelta(t, tt.want, got, 1e-8*math.Max(1, tt.want))
		})
	}
}

func TestXIRRWithoutARate(t *testing.T) {
	t.Parallel()
	for name, flows := range map[string][]portfolio.CashFlow{
		"none":          nil,
		"only paid":     {{day("2005-03-01"), -100}, {day("2006-03-01"), -5}},
		"all lost":      {{day("2005-03-01"), -100}, {day("2006-03-01"), 0}},
		"same day":      {{day("2005-03-01"), -100}, {day("2005-03-01"), 101}},
		"complex roots": {{day("2005-03-01"), -1}, {day("2006-03-01"), 1}, {day("2007-03-01"), -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := portfolio.XIRR(flows)
			require.ErrorAs(t, err, &portfolio.Shortages{})
		})
	}
}

// Whatever is found makes the present values vanish.
func TestXIRRIsARoot(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		start := day("2000-01-01")
		flows := []portfolio.CashFlow{{start, -1000}}
		for range rng.IntN(20) {
			flows = append(flows, portfolio.CashFlow{start.AddDate(0, 0, 1+rng.IntN(3000)), 400*rng.Float64() - 200})
		}
		flows = append(flows, portfolio.CashFlow{start.AddDate(0, 0, 3001), 3000 * rng.Float64()})
		rate, err := portfolio.XIRR(flows)
		if err != nil {
			continue
		}
		var sum, gross float64
		for _, f := range flows {
			v := f.Amount * math.Pow(1+rate, -f.Date.Sub(start).Hours()/24/365)
			sum += v
			gross += math.Abs(v)
		}
		require.InDelta(t, 0, sum, 1e-9*gross)
	}
}
