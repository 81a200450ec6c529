package sample

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// createStaging makes the tables that the files are copied into. They inherit column types, NOT
// NULL and CHECK constraints from the tables that the rows end up in, so that what those refuse is
// refused while the line is still known. Beyond the schema, numbers and dates must be finite:
// PostgreSQL counts NaN as greater than zero.
const createStaging = `
	CREATE TEMPORARY TABLE staged_securities (
		LIKE securities INCLUDING CONSTRAINTS, UNIQUE (symbol),
		first_date date NOT NULL, last_date date NOT NULL,
		line bigint GENERATED ALWAYS AS IDENTITY (START 2)
	) ON COMMIT DROP;
	ALTER TABLE staged_securities DROP id, DROP tenant_id, DROP created_at, DROP revision;

	CREATE TEMPORARY TABLE staged_prices (
		LIKE prices INCLUDING CONSTRAINTS, CHECK (close < 'Infinity' AND isfinite(date)),
		symbol text NOT NULL, currency text NOT NULL, UNIQUE (symbol, date),
		line bigint GENERATED ALWAYS AS IDENTITY (START 2)
	) ON COMMIT DROP;
	ALTER TABLE staged_prices DROP tenant_id, DROP security_id, DROP revision;

	CREATE TEMPORARY TABLE staged_fx (
		LIKE fx_rates INCLUDING CONSTRAINTS, CHECK (rate < 'Infinity' AND isfinite(date)),
		CHECK (base <> quote), UNIQUE (base, quote, date)
	) ON COMMIT DROP;
	ALTER TABLE staged_fx DROP tenant_id, DROP revision;

	CREATE TEMPORARY TABLE staged_macro_series (
		LIKE macro_series INCLUDING CONSTRAINTS, UNIQUE (series),
		first_date date NOT NULL, last_date date NOT NULL, rows bigint NOT NULL,
		line bigint GENERATED ALWAYS AS IDENTITY (START 2)
	) ON COMMIT DROP;
	ALTER TABLE staged_macro_series DROP tenant_id;

	CREATE TEMPORARY TABLE staged_macro (
		LIKE macro_values INCLUDING CONSTRAINTS, UNIQUE (series, date),
		CHECK (value > '-Infinity' AND value < 'Infinity' AND isfinite(date)),
		line bigint GENERATED ALWAYS AS IDENTITY (START 2)
	) ON COMMIT DROP;
	ALTER TABLE staged_macro DROP tenant_id, DROP revision;

	CREATE TEMPORARY TABLE staged_factors (
		date date PRIMARY KEY,
		rf double precision NOT NULL CHECK (rf > '-Infinity' AND rf < 'Infinity'),
		mkt_excess double precision NOT NULL CHECK (mkt_excess > '-Infinity' AND mkt_excess < 'Infinity'),
		smb double precision NOT NULL CHECK (smb > '-Infinity' AND smb < 'Infinity'),
		hml double precision NOT NULL CHECK (hml > '-Infinity' AND hml < 'Infinity'),
		CHECK (isfinite(date))
	) ON COMMIT DROP;
`

// files says which columns each file has and which table it is copied into.
var files = []struct {
	name, table, columns string
}{
	{"securities.csv", "staged_securities", "symbol,name,asset_class,sector,currency,role,first_date,last_date"},
	{"prices.csv", "staged_prices", "symbol,date,close,currency"},
	{"fx.csv", "staged_fx", "date,base,quote,rate"},
	{"macro_series.csv", "staged_macro_series", "series,unit,frequency,origin,first_date,last_date,rows"},
	{"macro.csv", "staged_macro", "series,date,value"},
	{"factors.csv", "staged_factors", "date,rf,mkt_excess,smb,hml"},
}

// checks find rows that are fine by themselves but contradict another file. Each query returns
// lines and reasons, or nothing.
var checks = []struct {
	file, query string
}{
	{"prices.csv", `
		SELECT p.line, format('there is no security %s in securities.csv', p.symbol)
		FROM staged_prices AS p
		WHERE NOT EXISTS (SELECT FROM staged_securities AS s WHERE s.symbol = p.symbol)`},
	{"prices.csv", `
		SELECT p.line, format('%s is priced in %s, but securities.csv says %s', p.symbol, p.currency, s.currency)
		FROM staged_prices AS p
		JOIN staged_securities AS s ON s.symbol = p.symbol
		WHERE s.currency <> p.currency`},
	{"securities.csv", `
		SELECT s.line, format('prices.csv has closes of %s from %s to %s', s.symbol, p.first_date, p.last_date)
		FROM staged_securities AS s
		LEFT JOIN (
			SELECT symbol, min(date) AS first_date, max(date) AS last_date FROM staged_prices GROUP BY symbol
		) AS p ON p.symbol = s.symbol
		WHERE (s.first_date, s.last_date) IS DISTINCT FROM (p.first_date, p.last_date)`},
	{"macro.csv", `
		SELECT v.line, format('there is no series %s in macro_series.csv', v.series)
		FROM staged_macro AS v
		WHERE NOT EXISTS (SELECT FROM staged_macro_series AS m WHERE m.series = v.series)`},
	{"macro_series.csv", `
		SELECT m.line, format('macro.csv has %s values of %s from %s to %s',
			coalesce(v.rows, 0), m.series, v.first_date, v.last_date)
		FROM staged_macro_series AS m
		LEFT JOIN (
			SELECT series, count(*) AS rows, min(date) AS first_date, max(date) AS last_date
			FROM staged_macro GROUP BY series
		) AS v ON v.series = m.series
		WHERE (m.rows, m.first_date, m.last_date) IS DISTINCT FROM (v.rows, v.first_date, v.last_date)`},
}

// factorSeries turns the columns of the factor file into macro series like any other.
const factorSeries = `
	INSERT INTO staged_macro (series, date, value)
	SELECT v.series, f.date, v.value
	FROM staged_factors AS f
	CROSS JOIN LATERAL (VALUES
		('FF_RF', f.rf), ('FF_MKT_EXCESS', f.mkt_excess), ('FF_SMB', f.smb), ('FF_HML', f.hml)
	) AS v (series, value);

	INSERT INTO staged_macro_series (series, unit, frequency, origin, first_date, last_date, rows)
	SELECT series, 'simple daily return', 'daily', 'gmm', min(date), max(date), count(*)
	FROM staged_macro
	WHERE series IN ('FF_RF', 'FF_MKT_EXCESS', 'FF_SMB', 'FF_HML')
	GROUP BY series;
`

// stage copies the files into temporary tables and checks them.
func (l *loader) stage(ctx context.Context) error {
	if err := l.script(ctx, createStaging); err != nil {
		return fmt.Errorf("create staging tables: %w", err)
	}
	for _, f := range files {
		l.progress("reading " + f.name)
		if err := l.copyFile(ctx, f.name, f.table, f.columns); err != nil {
			return err
		}
	}
	for _, c := range checks {
		var line int64
		var reason string
		err := l.tx.QueryRow(ctx, c.query+` ORDER BY line LIMIT 1`).Scan(&line, &reason)
		switch {
		case err == nil:
			return fmt.Errorf("%s, line %d: %s", c.file, line, reason)
		case !errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("check %s: %w", c.file, err)
		}
	}
	if err := l.script(ctx, factorSeries); err != nil {
		return fmt.Errorf("factors.csv: %w", err)
	}
	return nil
}

// script runs several statements without parameters.
func (l *loader) script(ctx context.Context, sql string) error {
	return l.tx.Conn().PgConn().Exec(ctx, sql).Close()
}

// copyFile streams one CSV file into its staging table.
func (l *loader) copyFile(ctx context.Context, name, table, columns string) error {
	f, err := os.Open(filepath.Join(l.dir, name))
	if err != nil {
		return err
	}
	defer f.Close() // read only: nothing can be lost
	header, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", name, err)
	}
	if header = strings.TrimSpace(header); header != columns {
		return fmt.Errorf("%s, line 1: the columns are %q, not %q", name, header, columns)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err = l.tx.Conn().PgConn().CopyFrom(ctx, f,
		fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT csv, HEADER)", table, columns))
	return copyError(name, err)
}

// copyPlace finds the line, and the column if it is one column's fault, in the context that
// PostgreSQL gives with an error in COPY.
var copyPlace = regexp.MustCompile(`line (\d+)(?:, column (\w+))?`)

// copyError says in which line of the file PostgreSQL found what.
func copyError(name string, err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	place := copyPlace.FindStringSubmatch(pgErr.Where)
	switch {
	case place == nil:
		return fmt.Errorf("%s: %w", name, err)
	case place[2] != "":
		return fmt.Errorf("%s, line %s, column %s: %w", name, place[1], place[2], err)
	}
	return fmt.Errorf("%s, line %s: %w", name, place[1], err)
}

// canonical lists what the revision's hash covers, as imports of the same rows would.
var canonical = []string{
	`SELECT 'security', symbol, name, asset_class, sector, currency, role
		FROM staged_securities ORDER BY symbol COLLATE "C"`,
	`SELECT 'price', symbol, date, trim_scale(close) FROM staged_prices ORDER BY symbol COLLATE "C", date`,
	`SELECT 'fx', base, quote, date, trim_scale(rate) FROM staged_fx
		ORDER BY base COLLATE "C", quote COLLATE "C", date`,
	`SELECT 'series', series, unit, frequency, origin FROM staged_macro_series ORDER BY series COLLATE "C"`,
	`SELECT 'macro', series, date, value FROM staged_macro ORDER BY series COLLATE "C", date`,
}
