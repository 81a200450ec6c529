// Package sample loads the sample market data and the sample portfolio into an empty database.
//
// The folder's README says where the data comes from and under which licences. Everything gets
// the same id on every machine, so that documentation and tests can name it.
package sample

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

const (
	revision = 1 // sample data is the first there is, or it is not loaded
	source   = "sample"
	calendar = "SBI" // its closes are the valuation days and get pricing packs

	portfolioName = "Sample CHF"
)

func stableID(kind, name string) uuid.UUID { return store.StableID(store.DefaultTenant, kind, name) }

// PortfolioID is the id of the sample portfolio on every machine.
func PortfolioID() string { return stableID("portfolio", portfolioName).String() }

// Summary tells what Load did.
type Summary struct {
	Loaded   bool   // false: the tenant had market data already, and nothing was changed
	Source   string // of the tenant's first revision: "sample" unless it held other data before
	Tables   []TableRows
	Duration time.Duration
}

// TableRows counts the rows that were loaded into one table.
type TableRows struct {
	Table string
	Rows  int64
}

// String is one line for a log or a terminal.
func (s Summary) String() string {
	if !s.Loaded {
		return fmt.Sprintf("sample data not loaded: there is data already, its first revision from source %q", s.Source)
	}
	parts := make([]string, len(s.Tables))
	for i, t := range s.Tables {
		parts[i] = fmt.Sprintf("%s %d", t.Table, t.Rows)
	}
	return fmt.Sprintf("sample data loaded in %.1f s: %s", s.Duration.Seconds(), strings.Join(parts, ", "))
}

// Load reads the CSV files in dir into the default tenant: all of them or, on any error, nothing.
// A tenant that has market data already is left as it is; of several calls at once one loads and
// the others wait for it. An error about a file names the file, the line and what is wrong with
// it. progress is told what happens next, and may be nil.
func Load(ctx context.Context, pool *pgxpool.Pool, dir string, progress func(string)) (Summary, error) {
	if progress == nil {
		progress = func(string) {}
	}
	start := time.Now()
	var summary Summary
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := store.LockRevisions(ctx, tx, store.DefaultTenant); err != nil {
			return err
		}
		err := tx.QueryRow(ctx,
			`SELECT source FROM data_revisions WHERE tenant_id = $1 ORDER BY revision LIMIT 1`,
			store.DefaultTenant).Scan(&summary.Source)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		l := loader{tx: tx, dir: dir, progress: progress}
		if err := l.load(ctx); err != nil {
			return err
		}
		summary = Summary{Loaded: true, Source: source, Tables: l.tables}
		return nil
	})
	if err != nil {
		return Summary{}, fmt.Errorf("load sample data from %s: %w", dir, err)
	}
	summary.Duration = time.Since(start)
	return summary, nil
}

// loader is one load in one transaction.
type loader struct {
	tx       pgx.Tx
	dir      string
	progress func(string)
	tables   []TableRows
}

func (l *loader) load(ctx context.Context) error {
	// The demo ledger is small: better to know that it can be read before the rest is loaded.
	b, err := readBookings(l.dir)
	if err != nil {
		return err
	}
	if err := l.stage(ctx); err != nil {
		return err
	}
	l.progress("storing securities, prices, exchange rates and macro series")
	hash, err := store.ContentHash(ctx, l.tx, "", canonical)
	if err != nil {
		return err
	}
	if err := l.storeRows(ctx, hash); err != nil {
		return err
	}
	l.progress("making pricing packs")
	if err := l.makePacks(ctx, hash); err != nil {
		return err
	}
	l.progress("booking the sample portfolio")
	if err := l.bookPortfolio(ctx, b); err != nil {
		return err
	}
	// Without statistics the first plans treat the tables as empty.
	_, err = l.tx.Exec(ctx, `ANALYZE securities, prices, fx_rates, macro_series, macro_values, pricing_packs`)
	return err
}

// storeRows moves the staged rows to where they belong, as revision 1.
func (l *loader) storeRows(ctx context.Context, hash string) error {
	symbols, ids, err := l.securityIDs(ctx)
	if err != nil {
		return err
	}
	for _, stmt := range []struct {
		table string
		sql   string
		args  []any
	}{
		{
			"data_revisions", `
			INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash)
			SELECT $1, $2, $3, (SELECT count(*) FROM staged_prices) + (SELECT count(*) FROM staged_fx)
				+ (SELECT count(*) FROM staged_macro), $4`,
			[]any{store.DefaultTenant, revision, source, hash},
		},
		{
			"securities", `
			INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
			SELECT given.id, $1, s.symbol, s.name, s.asset_class, s.sector, s.currency, s.role
			FROM staged_securities AS s
			JOIN unnest($2::text[], $3::uuid[]) AS given (symbol, id) ON given.symbol = s.symbol`,
			[]any{store.DefaultTenant, symbols, ids},
		},
		{"prices", `
			INSERT INTO prices (tenant_id, security_id, date, revision, close)
			SELECT s.tenant_id, s.id, p.date, $2, p.close
			FROM staged_prices AS p
			JOIN securities AS s ON s.tenant_id = $1 AND s.symbol = p.symbol
			ORDER BY s.id, p.date`, // a series' rows on neighbouring pages
			[]any{store.DefaultTenant, revision}},
		{
			"fx_rates", `
			INSERT INTO fx_rates (tenant_id, base, quote, date, revision, rate)
			SELECT $1, base, quote, date, $2, rate FROM staged_fx ORDER BY base, quote, date`,
			[]any{store.DefaultTenant, revision},
		},
		{
			"macro_series", `
			INSERT INTO macro_series (tenant_id, series, unit, frequency, origin)
			SELECT $1, series, unit, frequency, origin FROM staged_macro_series`,
			[]any{store.DefaultTenant},
		},
		{
			"macro_values", `
			INSERT INTO macro_values (tenant_id, series, date, revision, value)
			SELECT $1, series, date, $2, value FROM staged_macro ORDER BY series, date`,
			[]any{store.DefaultTenant, revision},
		},
	} {
		tag, err := l.tx.Exec(ctx, stmt.sql, stmt.args...)
		if err != nil {
			return fmt.Errorf("store %s: %w", stmt.table, err)
		}
		l.tables = append(l.tables, TableRows{stmt.table, tag.RowsAffected()})
	}
	_, err = l.tx.Exec(ctx, `UPDATE tenants SET calendar = $2 WHERE id = $1`, store.DefaultTenant, calendar)
	return err
}

func (l *loader) securityIDs(ctx context.Context) (symbols []string, ids []uuid.UUID, err error) {
	rows, err := l.tx.Query(ctx, `SELECT symbol FROM staged_securities`)
	if err != nil {
		return nil, nil, err
	}
	if symbols, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, nil, err
	}
	for _, symbol := range symbols {
		ids = append(ids, stableID("security", symbol))
	}
	return symbols, ids, nil
}

// makePacks makes one pricing pack for each close of the calendar. They are fresh: there was no
// ledger yet that they could fail to reconcile with.
func (l *loader) makePacks(ctx context.Context, contentHash string) error {
	rows, err := l.tx.Query(ctx, `SELECT date FROM staged_prices WHERE symbol = $1 ORDER BY date`, calendar)
	if err != nil {
		return err
	}
	dates, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	if err != nil {
		return err
	}
	n, err := l.tx.CopyFrom(ctx, pgx.Identifier{"pricing_packs"},
		[]string{"id", "tenant_id", "date", "revision", "hash", "state"},
		pgx.CopyFromSlice(len(dates), func(i int) ([]any, error) {
			return []any{
				stableID("pack", dates[i].Format(time.DateOnly)), store.DefaultTenant, dates[i], revision,
				store.PackHash(dates[i], revision, contentHash), string(store.PackFresh),
			}, nil
		}))
	if err != nil {
		return fmt.Errorf("store pricing packs: %w", err)
	}
	l.tables = append(l.tables, TableRows{"pricing_packs", n})
	return nil
}

// bookPortfolio opens the sample portfolio and books its ledger the way the API does.
func (l *loader) bookPortfolio(ctx context.Context, b bookings) error {
	st := store.New(l.tx, store.Options{})
	p, err := st.CreatePortfolio(ctx, store.DefaultTenant, portfolio.Portfolio{
		ID: PortfolioID(), Name: portfolioName, BaseCurrency: "CHF", Benchmark: "LP40", Calendar: calendar,
		// Before any that a user creates, so that it stays the first in every list.
		CreatedAt: time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		return err
	}
	if _, _, err := st.AppendTransactions(ctx, store.DefaultTenant, p.ID, b.txs); err != nil {
		return b.refused(err)
	}
	l.tables = append(l.tables, TableRows{"portfolios", 1}, TableRows{"transactions", int64(len(b.txs))})
	return nil
}
