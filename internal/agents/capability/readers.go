package capability

import (
	"context"
	"time"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Ledger reads what was booked.
type Ledger interface {
	// Portfolio returns fault.NotFound when the tenant has none with this id.
	Portfolio(ctx context.Context, tenantID, id string) (portfolio.Portfolio, error)
	// Transactions returns the bookings numbered up to seq and dated up to asof, in order of date, then seq.
	Transactions(ctx context.Context, tenantID, portfolioID string, seq int64, asof time.Time) ([]portfolio.Transaction, error)
}

// Market reads what a pricing pack holds.
type Market interface {
	// Securities returns the ones that the cut knows, by symbol, with the attributes they had then.
	Securities(ctx context.Context, cut portfolio.Cut, symbols []string) (map[string]portfolio.Security, error)
	// Quotes returns last observations for the symbols and every FX pair with one of the currencies on either side.
	Quotes(ctx context.Context, cut portfolio.Cut, symbols, currencies []string) (portfolio.Quotes, error)
	// Series returns time series from the last observation on or before the query's From to the cut's date.
	Series(ctx context.Context, cut portfolio.Cut, q portfolio.SeriesQuery) (portfolio.SeriesSet, error)
}
