package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store/db"
)

// PackState says how far a pricing pack has come.
type PackState = packs.State

// The states of a pricing pack.
const (
	PackWarming = packs.Warming
	PackFresh   = packs.Fresh
	PackError   = packs.Error
	PackStale   = packs.Stale
)

// PackHash names the content of a pricing pack by SHA-256, in hex. A pack is a cut through
// append-only rows by date and revision, and contentHash chains over every row up to that revision
// (data_revisions.content_hash): the three together determine each row that the pack reads,
// without reading one.
func PackHash(date time.Time, revision int64, contentHash string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "dawsos-pack-v1\n%s\n%d\n%s\n",
		date.Format(time.DateOnly), revision, contentHash))
	return hex.EncodeToString(sum[:])
}

// noPack explains why there is no pack for a run: fault.InsufficientData naming what there is, or a
// packs.NotFreshError about the newest when there are packs and none of them is fresh.
func (s *Store) noPack(ctx context.Context, tenantID string, asof *time.Time) error {
	first, err := s.q.FirstPack(ctx, tenantID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fault.New(fault.InsufficientData, "there is no pricing pack yet: import prices first")
	case err != nil:
		return fmt.Errorf("first pricing pack of tenant %s: %w", tenantID, err)
	case asof == nil:
		newest, err := s.q.NewestPack(ctx, tenantID)
		if err != nil {
			return fmt.Errorf("newest pricing pack of tenant %s: %w", tenantID, err)
		}
		return s.notFresh(ctx, toPack(newest))
	}
	return fault.New(fault.InsufficientData, "no pricing pack on or before %s; the first is %s",
		asof.Format(time.DateOnly), first.Date.Format(time.DateOnly))
}

// defaultWait is after how long to ask again for a pack that is warming, when nothing is known of how long
// that takes.
const defaultWait = 30 * time.Second

// notFresh is why a run that wants fresh data is refused a pack.
func (s *Store) notFresh(ctx context.Context, p packs.Pack) error {
	refused := &packs.NotFreshError{Pack: p}
	if p.State != packs.Warming {
		return refused // waiting does not help
	}
	ready, err := s.estimateReady(ctx, p.TenantID)
	if err != nil {
		return err
	}
	refused.EstimatedReady, refused.RetryAfter = ready, defaultWait
	if ready != nil {
		refused.RetryAfter = max(time.Second, ready.Sub(s.now()))
	}
	return refused
}

// Securities returns the securities with the given symbols that a cut knows, by symbol, with the
// attributes that they had then; unknown symbols are absent. The cut's date does not matter.
func (s *Store) Securities(ctx context.Context, cut portfolio.Cut, symbols []string) (map[string]portfolio.Security, error) {
	// What is no text for PostgreSQL is in no symbol, and would fail the query.
	known := slices.DeleteFunc(slices.Clone(symbols), func(symbol string) bool { return !storable(symbol) })
	rows, err := s.q.SecuritiesBySymbol(ctx, cut.Revision, cut.TenantID, known)
	if err != nil {
		return nil, fmt.Errorf("securities of tenant %s: %w", cut.TenantID, err)
	}
	securities := make(map[string]portfolio.Security, len(rows))
	for _, r := range rows {
		duration, convexity := r.Duration, r.Convexity
		if r.ChangedIn != 0 {
			duration, convexity = r.ChangedDuration, r.ChangedConvexity
		}
		securities[r.Symbol] = portfolio.Security{
			ID: r.ID.String(), Symbol: r.Symbol, Name: r.Name, AssetClass: r.AssetClass,
			Sector: r.Sector, Currency: r.Currency, Role: r.Role,
			Duration: floatOrNil(duration), Convexity: floatOrNil(convexity),
		}
	}
	return securities, nil
}

func floatOrNil(d *decimal.Decimal) *float64 {
	if d == nil {
		return nil
	}
	f := d.InexactFloat64()
	return &f
}

// Quotes returns the last observations that cut holds, exactly as stored: closes of the symbols,
// and rates of every pair with one of the currencies on either side. What has no observation in
// the cut is absent.
func (s *Store) Quotes(ctx context.Context, cut portfolio.Cut, symbols, currencies []string) (portfolio.Quotes, error) {
	prices, err := s.q.LastPrices(ctx, db.LastPricesParams{
		TenantID: cut.TenantID, Asof: cut.Date, Revision: cut.Revision, Symbols: symbols,
	})
	if err != nil {
		return portfolio.Quotes{}, fmt.Errorf("prices on %s: %w", cut.Date.Format(time.DateOnly), err)
	}
	rates, err := s.q.LastRates(ctx, db.LastRatesParams{
		TenantID: cut.TenantID, Asof: cut.Date, Revision: cut.Revision, Currencies: currencies,
	})
	if err != nil {
		return portfolio.Quotes{}, fmt.Errorf("exchange rates on %s: %w", cut.Date.Format(time.DateOnly), err)
	}
	quotes := portfolio.Quotes{
		Prices: make(map[string]portfolio.Quote, len(prices)),
		FX:     make(map[string]portfolio.Quote, len(rates)),
	}
	for _, r := range prices {
		quotes.Prices[r.Symbol] = portfolio.Quote{Date: r.Date, Value: r.Close}
	}
	for _, r := range rates {
		quotes.FX[pair(r.Base, r.Quote)] = portfolio.Quote{Date: r.Date, Value: r.Rate}
	}
	return quotes, nil
}

// Series returns what cut holds of the series that q asks for, each from its last observation on
// or before q.From; without one that early it starts later. A kind of series that q names nothing
// of costs no query.
func (s *Store) Series(ctx context.Context, cut portfolio.Cut, q portfolio.SeriesQuery) (portfolio.SeriesSet, error) {
	from := q.From
	if from.After(cut.Date) {
		from = cut.Date
	}
	var set portfolio.SeriesSet
	if len(q.Symbols) > 0 {
		rows, err := s.q.PriceSeries(ctx, db.PriceSeriesParams{
			TenantID: cut.TenantID, FromDate: from, Asof: cut.Date, Revision: cut.Revision, Symbols: q.Symbols,
		})
		if err != nil {
			return portfolio.SeriesSet{}, fmt.Errorf("price series up to %s: %w", cut.Date.Format(time.DateOnly), err)
		}
		set.Prices = make(map[string]portfolio.Series, len(rows))
		for _, r := range rows {
			set.Prices[r.Symbol] = ascending(r.Days, r.Closes)
		}
	}
	if len(q.Currencies) > 0 {
		rows, err := s.q.RateSeries(ctx, db.RateSeriesParams{
			TenantID: cut.TenantID, FromDate: from, Asof: cut.Date, Revision: cut.Revision, Currencies: q.Currencies,
		})
		if err != nil {
			return portfolio.SeriesSet{}, fmt.Errorf("exchange rate series up to %s: %w", cut.Date.Format(time.DateOnly), err)
		}
		set.FX = make(map[string]portfolio.Series, len(rows))
		for _, r := range rows {
			set.FX[pair(r.Base, r.Quote)] = ascending(r.Days, r.Rates)
		}
	}
	if len(q.Macro) > 0 {
		rows, err := s.q.MacroSeries(ctx, db.MacroSeriesParams{
			TenantID: cut.TenantID, FromDate: from, Asof: cut.Date, Revision: cut.Revision, Names: q.Macro,
		})
		if err != nil {
			return portfolio.SeriesSet{}, fmt.Errorf("macro series up to %s: %w", cut.Date.Format(time.DateOnly), err)
		}
		set.Macro = make(map[string]portfolio.Series, len(rows))
		for _, r := range rows {
			set.Macro[r.Series] = ascending(r.Days, r.Observed)
		}
	}
	return set, nil
}

// ascending builds a series from the arrays of a query, which stand newest first.
func ascending(days []int32, values []float64) portfolio.Series {
	const secondsPerDay = 24 * 60 * 60
	series := make(portfolio.Series, len(days))
	for i, day := range days {
		series[i] = portfolio.Point{Date: time.Unix(int64(day)*secondsPerDay, 0).UTC(), Value: values[i]}
	}
	slices.Reverse(series)
	return series
}

func pair(base, quote string) string { return base + "/" + quote }
