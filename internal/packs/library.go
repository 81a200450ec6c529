package packs

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// Source is where the portfolios of a tenant and its market data are read from, many at once.
type Source interface {
	capability.Market
	// Portfolios lists up to limit portfolios behind a cursor, and the cursor that leads on; nil at the end.
	Portfolios(ctx context.Context, tenantID string, after portfolio.Cursor, limit int) ([]portfolio.Portfolio, *portfolio.Cursor, error)
	// Ledgers returns the bookings of each portfolio up to its LedgerSeq, by portfolio id, in order of date,
	// then number.
	Ledgers(ctx context.Context, tenantID string, list []portfolio.Portfolio) (map[string][]portfolio.Transaction, error)
	// FirstBooking is the date of the tenant's earliest transaction; the zero time when there is none.
	FirstBooking(ctx context.Context, tenantID string) (time.Time, error)
}

// batchSize is how many portfolios are read together. Their ledgers are in memory at the same time.
const batchSize = 200

// library reads a tenant's portfolios over one cut. Market data are read once, whichever portfolios need
// them: memory holds the tenant's series and the ledgers of one batch, and statements do not grow with
// the number of portfolios but with that of batches.
type library struct {
	source Source
	cut    portfolio.Cut
	from   time.Time
	always []string // symbols that are read whoever needs them

	securities map[string]portfolio.Security
	series     portfolio.SeriesSet
	symbols    map[string]bool // looked up, whether listed or not
	currencies map[string]bool
}

// open returns a library over a cut. macro and symbols name series that are wanted whatever portfolios
// hold.
func open(ctx context.Context, source Source, cut portfolio.Cut, macro []string, symbols ...string) (*library, error) {
	from, err := source.FirstBooking(ctx, cut.TenantID)
	if err != nil {
		return nil, err
	}
	if from.IsZero() {
		from = cut.Date
	}
	l := &library{
		source: source, cut: cut, from: from, always: symbols,
		securities: map[string]portfolio.Security{}, symbols: map[string]bool{}, currencies: map[string]bool{},
		series: portfolio.SeriesSet{Prices: map[string]portfolio.Series{}, FX: map[string]portfolio.Series{}},
	}
	if len(macro) > 0 {
		set, err := source.Series(ctx, cut, portfolio.SeriesQuery{From: from, Macro: macro})
		if err != nil {
			return nil, err
		}
		l.series.Macro = set.Macro
	}
	return l, nil
}

// batches calls f for all portfolios, batchSize at a time, with their whole ledgers, those booked after the
// cut's date included. What they need of the market is read by then.
func (l *library) batches(ctx context.Context, skip func(context.Context, []portfolio.Portfolio) ([]portfolio.Portfolio, error),
	f func(list []portfolio.Portfolio, ledgers map[string][]portfolio.Transaction) error,
) error {
	var after portfolio.Cursor
	for {
		list, next, err := l.source.Portfolios(ctx, l.cut.TenantID, after, batchSize)
		if err != nil {
			return err
		}
		if skip != nil {
			if list, err = skip(ctx, list); err != nil {
				return err
			}
		}
		if len(list) > 0 {
			ledgers, err := l.source.Ledgers(ctx, l.cut.TenantID, list)
			if err != nil {
				return err
			}
			if err := l.fetch(ctx, list, ledgers); err != nil {
				return err
			}
			if err := f(list, ledgers); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		after = *next
	}
}

// fetch reads what the portfolios need of the market and is not there yet.
func (l *library) fetch(ctx context.Context, list []portfolio.Portfolio, ledgers map[string][]portfolio.Transaction) error {
	wanted := map[string]bool{}
	for _, symbol := range l.always {
		if !l.symbols[symbol] {
			wanted[symbol] = true
		}
	}
	for _, p := range list {
		for _, symbol := range append(capability.Traded(ledgers[p.ID]), p.Calendar, p.Benchmark) {
			if symbol != "" && !l.symbols[symbol] {
				wanted[symbol] = true
			}
		}
	}
	symbols := slices.Sorted(maps.Keys(wanted))
	if len(symbols) > 0 {
		securities, err := l.source.Securities(ctx, l.cut, symbols)
		if err != nil {
			return err
		}
		maps.Copy(l.securities, securities)
	}
	money := map[string]bool{}
	for _, p := range list {
		for _, currency := range capability.Currencies(p.BaseCurrency, ledgers[p.ID], l.securitiesOf(p, ledgers[p.ID])) {
			if !l.currencies[currency] {
				money[currency] = true
			}
		}
	}
	currencies := slices.Sorted(maps.Keys(money))
	if len(symbols)+len(currencies) == 0 {
		return nil
	}
	set, err := l.source.Series(ctx, l.cut, portfolio.SeriesQuery{From: l.from, Symbols: symbols, Currencies: currencies})
	if err != nil {
		return err
	}
	maps.Copy(l.series.Prices, set.Prices)
	maps.Copy(l.series.FX, set.FX)
	for _, symbol := range symbols {
		l.symbols[symbol] = true
	}
	for _, currency := range currencies {
		l.currencies[currency] = true
	}
	return nil
}

// securitiesOf are the listed ones of the library that a portfolio is about.
func (l *library) securitiesOf(p portfolio.Portfolio, ledger []portfolio.Transaction) map[string]portfolio.Security {
	own := map[string]portfolio.Security{}
	for _, symbol := range append(capability.Traded(ledger), p.Calendar, p.Benchmark) {
		if s, ok := l.securities[symbol]; ok {
			own[symbol] = s
		}
	}
	return own
}

// history values a portfolio on every day of a calendar up to the cut's date.
func (l *library) history(p portfolio.Portfolio, calendar string, ledger []portfolio.Transaction) (*portfolio.History, error) {
	p.Calendar = calendar
	h, err := portfolio.NewHistory(p, ledger, l.securities, l.series, l.cut.Date)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", p.ID)
	}
	return h, nil
}
