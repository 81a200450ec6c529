package capability

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// daysFor returns how many calendar days hold n trading days for certain: five in seven, of which
// holidays take fewer than one in twelve.
func daysFor(n int) int { return n*8/5 + 30 }

// Value values what the dossier's portfolio holds on a date at the last prices and rates that were
// read, exactly as booked: what pricing.apply_pack answers for it, without another read.
func (d Dossier) Value(asof time.Time) (portfolio.Valuation, error) {
	h, err := portfolio.HoldingsAt(d.Ledger, d.Securities, asof)
	if err != nil {
		return portfolio.Valuation{}, fmt.Errorf("the ledger of portfolio %s can't be booked: %w", d.Portfolio.ID, err)
	}
	return portfolio.Value(d.Portfolio.BaseCurrency, h, d.Quotes(), d.Series), nil
}

// Quotes returns the last observation of every price and rate that was read.
func (d Dossier) Quotes() portfolio.Quotes {
	// The shortest decimal that reads back as the same float64 is the observation as booked.
	last := func(from map[string]portfolio.Series) map[string]portfolio.Quote {
		quotes := make(map[string]portfolio.Quote, len(from))
		for name, s := range from {
			if n := len(s); n > 0 {
				quotes[name] = portfolio.Quote{Date: s[n-1].Date, Value: decimal.NewFromFloat(s[n-1].Value)}
			}
		}
		return quotes
	}
	return portfolio.Quotes{Prices: last(d.Series.Prices), FX: last(d.Series.FX)}
}

// Panel is the daily returns of securities and currencies over the last valuation days of a
// calendar, whatever the age of the portfolio. It is not safe for concurrent use.
type Panel struct {
	History *portfolio.History
	Window  portfolio.Window

	base string
}

// Market returns the panel of the last n daily returns, or of all there are. The dossier must have
// been opened with Wanted.Returns of n or more.
func (d Dossier) Market(asof time.Time, n int) (*Panel, error) {
	// A balance is valued like a security whose price is 1, which makes its returns those of its
	// currency.
	prices := maps.Clone(d.Series.Prices)
	var first time.Time
	for _, s := range prices {
		if first.IsZero() || s[0].Date.Before(first) {
			first = s[0].Date
		}
	}
	if first.IsZero() {
		return nil, portfolio.Short("prices:"+d.Portfolio.Calendar, "the calendar series has no close on or before %s", asof.Format(time.DateOnly))
	}
	for _, currency := range Currencies(d.Portfolio.BaseCurrency, d.Ledger, d.Securities) {
		prices[CashSymbol(currency)] = portfolio.Series{{Date: first, Value: 1}}
	}
	start := asof.AddDate(0, 0, -daysFor(n))
	if start.Before(first) {
		start = first
	}
	// A history needs something booked to begin with; its own value is not looked at. Splits are what
	// the ledger knows of them.
	booked := []portfolio.Transaction{{
		Date: start, Type: portfolio.Deposit, Currency: d.Portfolio.BaseCurrency, Amount: decimal.NewFromInt(1),
	}}
	for _, t := range d.Ledger {
		if t.Type == portfolio.Split && t.Date.After(start) {
			booked = append(booked, t)
		}
	}
	h, err := portfolio.NewHistory(
		portfolio.Portfolio{BaseCurrency: d.Portfolio.BaseCurrency, Calendar: d.Portfolio.Calendar}, booked, nil, portfolio.SeriesSet{Prices: prices, FX: d.Series.FX, Macro: d.Series.Macro}, asof)
	if err != nil {
		return nil, fmt.Errorf("market data up to %s: %w", asof.Format(time.DateOnly), err)
	}
	w, err := h.Last(n)
	if err != nil {
		return nil, err
	}
	return &Panel{History: h, Window: w, base: d.Portfolio.BaseCurrency}, nil
}

// Security returns a security's daily returns in base currency over the panel's window.
func (p *Panel) Security(s portfolio.Security) ([]float64, error) {
	return p.History.SecurityReturns(s, p.Window)
}

// Cash returns the daily returns in base currency of a balance.
func (p *Panel) Cash(currency string) ([]float64, error) {
	return p.Security(portfolio.Security{Symbol: CashSymbol(currency), Currency: currency})
}

// Pair returns the daily returns of two securities, each in a currency of its own, over the longest
// stretch of the window that both have prices for. It is Shortages when that is shorter than least.
func (p *Panel) Pair(a, b string, least int) (ra, rb []float64, err error) {
	local := func(symbol string, w portfolio.Window) ([]float64, error) {
		// A balance in base currency has no rate: neither has a security that is said to be in it.
		return p.History.SecurityReturns(portfolio.Security{Symbol: symbol, Currency: p.base}, w)
	}
	w := p.Window
	w.Start += sort.Search(w.Len(), func(i int) bool {
		from := portfolio.Window{Start: w.Start + i, End: w.End}
		_, errA := local(a, from)
		_, errB := local(b, from)
		return errA == nil && errB == nil
	})
	if w.Len() < least {
		for _, symbol := range []string{a, b} {
			if _, err = local(symbol, p.Window); err != nil {
				return nil, nil, err
			}
		}
		return nil, nil, portfolio.Short("returns", "an estimate needs %d daily returns, there are %d", least, w.Len())
	}
	if ra, err = local(a, w); err != nil {
		return nil, nil, err
	}
	rb, err = local(b, w)
	return ra, rb, err
}

// Line is a part of a portfolio: a security, or the cash in one currency.
type Line struct {
	Security portfolio.Security // of cash: its symbol is CashSymbol's
	Cash     bool
	Weight   float64
}

// Lines returns the lines of a valuation with their weights: positions by symbol, then cash by
// currency. It is Shortages when the value is not known or not positive.
func Lines(v portfolio.Valuation) ([]Line, error) {
	lines := make([]Line, 0, len(v.Positions)+len(v.Cash))
	for _, p := range v.Positions {
		w, err := v.Weight(p.Value.Decimal)
		if err != nil {
			return nil, err
		}
		lines = append(lines, Line{Security: p.Security, Weight: w})
	}
	for _, c := range v.Cash {
		w, err := v.Weight(c.Value.Decimal)
		if err != nil {
			return nil, err
		}
		lines = append(lines, Line{
			Security: portfolio.Security{Symbol: CashSymbol(c.Currency), Currency: c.Currency}, Cash: true, Weight: w,
		})
	}
	if len(lines) == 0 {
		return nil, portfolio.Short("holdings", "the portfolio holds nothing")
	}
	return lines, nil
}

// Returns returns what the lines would have earned each day of the window at their weights: a
// portfolio that is set back to them every day.
func (p *Panel) Returns(lines []Line) ([]float64, error) {
	total := make([]float64, p.Window.Len())
	for _, l := range lines {
		r, err := p.Security(l.Security)
		if err != nil {
			return nil, err
		}
		for t, x := range r {
			total[t] += l.Weight * x
		}
	}
	return total, nil
}

// Sources lists what a dossier's figures and a panel's were computed from so far, and further names.
func Sources(d Dossier, p *Panel, further ...string) []agent.Source {
	sources := d.Sources()
	if p != nil {
		for _, o := range p.History.Used() {
			if !strings.HasPrefix(o.Name, "prices:"+CashSymbol("")) {
				sources = append(sources, agent.Source{Name: o.Name, Asof: o.Date})
			}
		}
	}
	for _, name := range further {
		sources = append(sources, agent.Source{Name: name})
	}
	slices.SortFunc(sources, func(a, b agent.Source) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.Asof.Compare(a.Asof))
	})
	return slices.CompactFunc(sources, func(a, b agent.Source) bool { return a.Name == b.Name })
}
