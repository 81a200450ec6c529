// Package sample loads the sample market data and the sample portfolio into an empty database.
//
// The folder's README says where the data comes from and under which licences. Everything gets
// the same id on every machine, so that documentation and tests can name it.
package sample

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

const (
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

// analyze brings up to date the statistics of tables that imports leave to autovacuum. Without any, the
// first plans treat them as empty.
const analyze = `ANALYZE securities, macro_series, pricing_packs`

func (l *loader) load(ctx context.Context) error {
	// Small files first: better to know that they can be read before the rest is loaded.
	b, err := l.readBookings()
	if err != nil {
		return err
	}
	l.progress("reading macro.csv")
	macro, err := readMacro(l.dir)
	if err != nil {
		return err
	}
	revision := store.BeginRevision(l.tx, store.DefaultTenant, source, time.Now)
	for _, f := range []struct {
		kind     imports.Kind
		table    string
		calendar string
	}{{imports.Securities, "securities", ""}, {imports.Prices, "prices", calendar}, {imports.FX, "fx_rates", ""}} {
		if err := l.importFile(ctx, revision, f.kind, f.table, f.calendar); err != nil {
			return err
		}
	}
	if err := l.complete(ctx); err != nil {
		return err
	}
	l.progress("storing macro series")
	summary, err := revision.Import(ctx, imports.Request{Kind: imports.Macro, Format: imports.NDJSON, Body: &macro.body})
	if err != nil {
		return macro.refused(err)
	}
	l.tables = append(l.tables, TableRows{"macro_values", summary.Inserted})

	l.progress("making pricing packs")
	// They are fresh: there was no ledger yet that they could fail to reconcile with.
	packs, err := revision.Seal(ctx, store.PackFresh)
	if err != nil {
		return err
	}
	l.tables = append(l.tables, TableRows{"pricing_packs", packs.Made})
	l.progress("booking the sample portfolio")
	if err := l.bookPortfolio(ctx, b); err != nil {
		return err
	}
	_, err = l.tx.Exec(ctx, analyze)
	return err
}

// importFile imports a file as it is.
func (l *loader) importFile(ctx context.Context, revision *store.Revision, kind imports.Kind, table, calendar string) error {
	name := string(kind) + ".csv"
	l.progress("reading " + name)
	f, err := os.Open(filepath.Join(l.dir, name))
	if err != nil {
		return err
	}
	defer f.Close() // read only: nothing can be lost
	summary, err := revision.Import(ctx, imports.Request{Kind: kind, Format: imports.CSV, Body: f, Calendar: calendar})
	if err != nil {
		return fileError(name, err)
	}
	l.tables = append(l.tables, TableRows{table, summary.Inserted})
	return nil
}

// fileError says in a line what is wrong with a file.
func fileError(name string, err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(e.Fields) == 0 {
		return fmt.Errorf("%s: %s", name, e.Detail)
	}
	total := int64(len(e.Fields))
	if refused, ok := errors.AsType[*imports.RefusedError](err); ok {
		total = refused.Total
	}
	return fmt.Errorf("%s, %s%s", name, e.Fields[0].Detail, more(total))
}

// complete fails when prices.csv has not the closes that securities.csv announces: when it was cut off,
// above all.
func (l *loader) complete(ctx context.Context) error {
	announced, err := readTable(l.dir, "securities.csv", securityColumns)
	if err != nil {
		return err
	}
	rows, err := l.tx.Query(ctx, `
		SELECT s.symbol, to_char(min(p.date), 'YYYY-MM-DD'), to_char(max(p.date), 'YYYY-MM-DD')
		FROM securities AS s JOIN prices AS p ON p.security_id = s.id
		WHERE s.tenant_id = $1
		GROUP BY s.symbol`, store.DefaultTenant)
	if err != nil {
		return err
	}
	type closes struct{ first, last string }
	found := map[string]closes{}
	var symbol, first, last string
	if _, err := pgx.ForEachRow(rows, []any{&symbol, &first, &last}, func() error {
		found[symbol] = closes{first, last}
		return nil
	}); err != nil {
		return err
	}
	for i, s := range announced.records {
		if f := found[s[0]]; f != (closes{s[6], s[7]}) {
			return fmt.Errorf("%s, line %d: prices.csv has closes of %s from %s to %s", announced.name, announced.lines[i], s[0], f.first, f.last)
		}
	}
	return nil
}

const bookingsFile = "demo_transactions.csv"

func (l *loader) readBookings() (imports.Bookings, error) {
	f, err := os.Open(filepath.Join(l.dir, bookingsFile))
	if err != nil {
		return imports.Bookings{}, err
	}
	defer f.Close() // read only: nothing can be lost
	b, err := imports.ReadBookings(f)
	if err != nil {
		return imports.Bookings{}, fileError(bookingsFile, err)
	}
	for i := range b.Transactions {
		b.Transactions[i].ID = stableID("transaction", portfolioName+"/"+strconv.Itoa(i+1)).String()
	}
	return b, nil
}

// bookPortfolio opens the sample portfolio and books its ledger the way the API does.
func (l *loader) bookPortfolio(ctx context.Context, b imports.Bookings) error {
	st := store.New(l.tx, store.Options{})
	p, err := st.CreatePortfolio(ctx, store.DefaultTenant, portfolio.Portfolio{
		ID: PortfolioID(), Name: portfolioName, BaseCurrency: "CHF", Benchmark: "LP40", Calendar: calendar,
		// Before any that a user creates, so that it stays the first in every list.
		CreatedAt: time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		return err
	}
	if _, _, err := st.AppendTransactions(ctx, store.DefaultTenant, p.ID, b.Transactions); err != nil {
		return fileError(bookingsFile, b.Refused(err))
	}
	l.tables = append(l.tables, TableRows{"portfolios", 1}, TableRows{"transactions", int64(len(b.Transactions))})
	return nil
}
