package store

import "github.com/dawsos/dawsos/internal/imports"

// importSteps are how the rows of one kind go from the file to where they belong. A file is copied
// into the temporary table import_staged; those of its rows that change anything go to import_changed
// and from there to their revision.
//
// In the statements $1 is the tenant. They stand here and not in sql/queries because sqlc knows no
// temporary tables.
type importSteps struct {
	table   string // the rows' own, for its statistics
	staged  string // definitions of import_staged's columns, but for line
	prepare string // what checks need; $2 is the source
	// leaveOut deletes what a fetched file can't store and need not be refused for, and returns why, and of how
	// many rows; "" when there is no such thing.
	leaveOut string
	// checks are queries for rows that contradict each other or what is stored: line, column, detail. In them
	// $2 says whether the file was fetched.
	checks []string
	// changed defines import_changed's columns, but for: existed, whether the key is stored already,
	// and first_date, the first day on which an answer may now be another.
	changed string
	compare string // fills import_changed
	// insert puts the rows where they belong; $2 is the revision.
	insert []string
	// canonical lists what the revision's hash covers: rows that start with their kind, in an order
	// and a notation that depend on the data alone.
	canonical []string
}

// The canonical queries over prices and the like need no tenant: ids of securities are unique.
var importing = map[imports.Kind]importSteps{
	imports.Securities: {
		table: "securities",
		staged: `id uuid NOT NULL, symbol text NOT NULL, name text NOT NULL, asset_class text NOT NULL,
			sector text NOT NULL, currency text NOT NULL, role text NOT NULL, duration numeric, convexity numeric,
			duration_given boolean NOT NULL, convexity_given boolean NOT NULL`,
		checks: []string{`
			SELECT st.line, 'currency' AS "column",
				format('%s is listed in %s, and a security''s currency never changes', s.symbol, s.currency) AS detail
			FROM import_staged AS st
			JOIN securities AS s ON s.tenant_id = $1 AND s.symbol = st.symbol
			WHERE s.currency <> st.currency`},
		changed: `id uuid, symbol text, name text, asset_class text, sector text, currency text, role text,
			duration numeric, convexity numeric`,
		compare: `
			INSERT INTO import_changed
			SELECT r.id, r.symbol, r.name, r.asset_class, r.sector, r.currency, r.role, r.duration, r.convexity,
				r.listed, NULL
			FROM (
				SELECT coalesce(s.id, st.id) AS id, st.symbol, st.name, st.asset_class, st.sector, st.currency, st.role,
					CASE WHEN st.duration_given THEN st.duration ELSE now.duration END AS duration,
					CASE WHEN st.convexity_given THEN st.convexity ELSE now.convexity END AS convexity,
					s.id IS NOT NULL AS listed, now
				FROM import_staged AS st
				LEFT JOIN securities AS s ON s.tenant_id = $1 AND s.symbol = st.symbol
				LEFT JOIN LATERAL (
					SELECT c.name, c.asset_class, c.sector, c.role, c.duration, c.convexity
					FROM (
						SELECT sc.revision, sc.name, sc.asset_class, sc.sector, sc.role, sc.duration, sc.convexity
						FROM security_changes AS sc
						WHERE sc.security_id = s.id
						UNION ALL
						SELECT s.revision, s.name, s.asset_class, s.sector, s.role, s.duration, s.convexity
					) AS c
					ORDER BY c.revision DESC
					LIMIT 1
				) AS now ON s.id IS NOT NULL
			) AS r
			WHERE NOT r.listed OR (r.name, r.asset_class, r.sector, r.role, r.duration, r.convexity)
				IS DISTINCT FROM ((r.now).name, (r.now).asset_class, (r.now).sector, (r.now).role, (r.now).duration, (r.now).convexity)`,
		insert: []string{`
			INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role, revision, duration, convexity)
			SELECT id, $1, symbol, name, asset_class, sector, currency, role, $2, duration, convexity
			FROM import_changed
			WHERE NOT existed`, `
			INSERT INTO security_changes (security_id, tenant_id, revision, name, asset_class, sector, role, duration, convexity)
			SELECT id, $1, $2, name, asset_class, sector, role, duration, convexity
			FROM import_changed
			WHERE existed`},
		canonical: []string{
			`SELECT 'security', symbol, name, asset_class, sector, currency, role FROM import_changed ORDER BY symbol COLLATE "C"`,
			`SELECT 'duration', symbol, trim_scale(duration), trim_scale(convexity) FROM import_changed
				WHERE duration IS NOT NULL OR convexity IS NOT NULL ORDER BY symbol COLLATE "C"`,
		},
	},
	imports.Prices: {
		table: "prices",
		staged: `security_id uuid NOT NULL, date date NOT NULL, close numeric NOT NULL,
			open numeric, high numeric, low numeric, volume numeric, bar boolean NOT NULL`,
		changed: `security_id uuid, date date, close numeric, open numeric, high numeric, low numeric, volume numeric`,
		// A row without a bar leaves that of the same close alone; beside another close it would be wrong.
		compare: `
			INSERT INTO import_changed
			SELECT st.security_id, st.date, st.close, st.open, st.high, st.low, st.volume, now.close IS NOT NULL, st.date
			FROM import_staged AS st
			LEFT JOIN LATERAL (
				SELECT p.close, p.open, p.high, p.low, p.volume
				FROM prices AS p
				WHERE p.security_id = st.security_id AND p.date = st.date
				ORDER BY p.revision DESC
				LIMIT 1
			) AS now ON true
			WHERE now.close IS DISTINCT FROM st.close
				OR (st.bar AND (now.open, now.high, now.low, now.volume) IS DISTINCT FROM (st.open, st.high, st.low, st.volume))`,
		insert: []string{`
			INSERT INTO prices (tenant_id, security_id, date, revision, close, open, high, low, volume)
			SELECT $1, security_id, date, $2, close, open, high, low, volume
			FROM import_changed
			ORDER BY security_id, date`}, // a series' rows on neighbouring pages
		canonical: []string{
			`SELECT 'price', s.symbol, c.date, trim_scale(c.close) FROM import_changed AS c
				JOIN securities AS s ON s.id = c.security_id ORDER BY s.symbol COLLATE "C", c.date`,
			`SELECT 'bar', s.symbol, c.date, trim_scale(c.open), trim_scale(c.high), trim_scale(c.low), trim_scale(c.volume)
				FROM import_changed AS c JOIN securities AS s ON s.id = c.security_id
				WHERE num_nonnulls(c.open, c.high, c.low, c.volume) > 0 ORDER BY s.symbol COLLATE "C", c.date`,
		},
	},
	imports.FX: {
		table:   "fx_rates",
		staged:  `date date NOT NULL, base text NOT NULL, quote text NOT NULL, rate numeric NOT NULL`,
		changed: `date date, base text, quote text, rate numeric`,
		compare: `
			INSERT INTO import_changed
			SELECT st.date, st.base, st.quote, st.rate, now.rate IS NOT NULL, st.date
			FROM import_staged AS st
			LEFT JOIN LATERAL (
				SELECT f.rate
				FROM fx_rates AS f
				WHERE f.tenant_id = $1 AND f.base = st.base AND f.quote = st.quote AND f.date = st.date
				ORDER BY f.revision DESC
				LIMIT 1
			) AS now ON true
			WHERE now.rate IS DISTINCT FROM st.rate`,
		insert: []string{`
			INSERT INTO fx_rates (tenant_id, base, quote, date, revision, rate)
			SELECT $1, base, quote, date, $2, rate FROM import_changed ORDER BY base, quote, date`},
		canonical: []string{
			`SELECT 'fx', base, quote, date, trim_scale(rate) FROM import_changed
				ORDER BY base COLLATE "C", quote COLLATE "C", date`,
		},
	},
	imports.Macro: {
		table: "macro_values",
		staged: `series text NOT NULL, date date NOT NULL, value double precision NOT NULL,
			unit text, frequency text, origin text`,
		// import_series holds the series of the file as they are stored, or else as the first row that
		// says so declares them.
		prepare: `
			INSERT INTO import_series
			SELECT d.series, coalesce(m.unit, d.unit, ''), coalesce(m.frequency, d.frequency, CASE
					WHEN g.days <= 4 THEN 'daily' WHEN g.days <= 10 THEN 'weekly' WHEN g.days <= 45 THEN 'monthly'
					WHEN g.days <= 135 THEN 'quarterly' WHEN g.days > 135 THEN 'annual' END),
				coalesce(m.origin, d.origin, $2), m.series IS NOT NULL, d.line
			FROM (
				SELECT series, min(line) AS line,
					(array_agg(unit ORDER BY line) FILTER (WHERE unit IS NOT NULL))[1] AS unit,
					(array_agg(frequency ORDER BY line) FILTER (WHERE frequency IS NOT NULL))[1] AS frequency,
					(array_agg(origin ORDER BY line) FILTER (WHERE origin IS NOT NULL))[1] AS origin
				FROM import_staged
				GROUP BY series
			) AS d
			LEFT JOIN macro_series AS m ON m.tenant_id = $1 AND m.series = d.series
			LEFT JOIN (
				SELECT series, percentile_disc(0.5) WITHIN GROUP (ORDER BY days) AS days
				FROM (
					SELECT series, date - lag(date) OVER (PARTITION BY series ORDER BY date) AS days FROM import_staged
				) AS between_dates
				GROUP BY series
			) AS g ON g.series = d.series`,
		leaveOut: `
			WITH contrary AS (
				SELECT s.series, s.frequency AS declared, min(st.frequency) AS given
				FROM import_series AS s
				JOIN import_staged AS st ON st.series = s.series
				WHERE st.frequency <> s.frequency
				GROUP BY s.series, s.frequency
			), undeclared AS (
				DELETE FROM import_series AS s USING contrary AS c WHERE s.series = c.series
			), gone AS (
				DELETE FROM import_staged AS st USING contrary AS c WHERE st.series = c.series RETURNING st.series
			)
			SELECT format('the series %s is declared with %s and comes with %s', c.series, c.declared, c.given), count(*)
			FROM contrary AS c
			JOIN gone AS g ON g.series = c.series
			GROUP BY c.series, c.declared, c.given
			ORDER BY c.series COLLATE "C"`,
		// What is known of a series besides its values has no revision, since runs over old packs show it too: it
		// stays. A provider's unit says which year's money an index is of, and changes with it.
		checks: []string{`
			SELECT st.line, d.name AS "column", format('the series %s is declared with %s', st.series, d.declared) AS detail
			FROM import_staged AS st
			JOIN import_series AS s ON s.series = st.series
			CROSS JOIN LATERAL (VALUES
				('unit', st.unit, s.unit), ('frequency', st.frequency, s.frequency), ('origin', st.origin, s.origin)
			) AS d (name, given, declared)
			WHERE d.given <> d.declared AND (d.name = 'frequency' OR NOT $2::boolean)`, `
			SELECT line, 'frequency',
				format('the series %s is new, and one date does not show its frequency: give it', series)
			FROM import_series
			WHERE frequency IS NULL`},
		changed: `series text, date date, value double precision`,
		compare: `
			INSERT INTO import_changed
			SELECT st.series, st.date, st.value, now.value IS NOT NULL, st.date
			FROM import_staged AS st
			LEFT JOIN LATERAL (
				SELECT v.value
				FROM macro_values AS v
				WHERE v.tenant_id = $1 AND v.series = st.series AND v.date = st.date
				ORDER BY v.revision DESC
				LIMIT 1
			) AS now ON true
			WHERE now.value IS DISTINCT FROM st.value`,
		insert: []string{`
			INSERT INTO macro_series (tenant_id, series, unit, frequency, origin)
			SELECT $1, series, unit, frequency, origin FROM import_series WHERE NOT known AND $2::bigint > 0`, `
			INSERT INTO macro_values (tenant_id, series, date, revision, value)
			SELECT $1, series, date, $2, value FROM import_changed ORDER BY series, date`},
		canonical: []string{
			`SELECT 'series', series, unit, frequency, origin FROM import_series WHERE NOT known ORDER BY series COLLATE "C"`,
			`SELECT 'macro', series, date, value FROM import_changed ORDER BY series COLLATE "C", date`,
		},
	},
	imports.Ratings: {
		table:   "ratings",
		staged:  `security_id uuid NOT NULL, metric text NOT NULL, date date NOT NULL, score numeric NOT NULL, source text NOT NULL`,
		changed: `security_id uuid, metric text, date date, score numeric, source text`,
		compare: `
			INSERT INTO import_changed
			SELECT st.security_id, st.metric, st.date, st.score, st.source, now.score IS NOT NULL, st.date
			FROM import_staged AS st
			LEFT JOIN LATERAL (
				SELECT r.score, r.source
				FROM ratings AS r
				WHERE r.security_id = st.security_id AND r.metric = st.metric AND r.date = st.date
				ORDER BY r.revision DESC
				LIMIT 1
			) AS now ON true
			WHERE (now.score, now.source) IS DISTINCT FROM (st.score, st.source)`,
		insert: []string{`
			INSERT INTO ratings (tenant_id, security_id, metric, date, revision, score, source)
			SELECT $1, security_id, metric, date, $2, score, source FROM import_changed ORDER BY security_id, metric, date`},
		canonical: []string{
			`SELECT 'rating', s.symbol, c.metric, c.date, trim_scale(c.score), c.source FROM import_changed AS c
				JOIN securities AS s ON s.id = c.security_id
				ORDER BY s.symbol COLLATE "C", c.metric COLLATE "C", c.date`,
		},
	},
	imports.Fundamentals: {
		table: "fundamentals",
		staged: `security_id uuid NOT NULL, provider text NOT NULL, metric text NOT NULL, date date NOT NULL,
			period_end date, value double precision NOT NULL`,
		changed: `security_id uuid, provider text, metric text, date date, period_end date, value double precision`,
		compare: `
			INSERT INTO import_changed
			SELECT st.security_id, st.provider, st.metric, st.date, st.period_end, st.value, now.value IS NOT NULL, st.date
			FROM import_staged AS st
			LEFT JOIN LATERAL (
				SELECT f.value, f.period_end
				FROM fundamentals AS f
				WHERE f.security_id = st.security_id AND f.provider = st.provider AND f.metric = st.metric AND f.date = st.date
				ORDER BY f.revision DESC
				LIMIT 1
			) AS now ON true
			WHERE (now.value, now.period_end) IS DISTINCT FROM (st.value, st.period_end)`,
		insert: []string{`
			INSERT INTO fundamentals (tenant_id, security_id, provider, metric, date, revision, period_end, value)
			SELECT $1, security_id, provider, metric, date, $2, period_end, value
			FROM import_changed
			ORDER BY security_id, provider, metric, date`},
		canonical: []string{
			`SELECT 'fundamental', s.symbol, c.provider, c.metric, c.date, c.period_end, c.value FROM import_changed AS c
				JOIN securities AS s ON s.id = c.security_id
				ORDER BY s.symbol COLLATE "C", c.provider COLLATE "C", c.metric COLLATE "C", c.date`,
		},
	},
	imports.News: {
		table: "news",
		staged: `id text NOT NULL, published_at timestamptz NOT NULL, title text NOT NULL, source text NOT NULL,
			url text NOT NULL, sentiment double precision, symbols text NOT NULL`,
		changed: `id text, published_at timestamptz, title text, source text, url text, sentiment double precision, symbols text[]`,
		compare: `
			INSERT INTO import_changed
			SELECT st.id, st.published_at, st.title, st.source, st.url, st.sentiment, st.symbols, now.id IS NOT NULL,
				least((st.published_at AT TIME ZONE 'UTC')::date, now.date)
			FROM (
				SELECT id, published_at, title, source, url, sentiment, string_to_array(symbols, ';') AS symbols FROM import_staged
			) AS st
			LEFT JOIN LATERAL (
				SELECT n.id, n.date, n.published_at, n.title, n.source, n.url, n.sentiment, n.symbols
				FROM news AS n
				WHERE n.tenant_id = $1 AND n.id = st.id
				ORDER BY n.revision DESC
				LIMIT 1
			) AS now ON true
			WHERE (now.published_at, now.title, now.source, now.url, now.sentiment, now.symbols)
				IS DISTINCT FROM (st.published_at, st.title, st.source, st.url, st.sentiment, st.symbols)`,
		insert: []string{`
			INSERT INTO news (tenant_id, id, revision, published_at, date, title, source, url, sentiment, symbols)
			SELECT $1, id, $2, published_at, (published_at AT TIME ZONE 'UTC')::date, title, source, url, sentiment, symbols
			FROM import_changed
			ORDER BY published_at, id`},
		canonical: []string{
			`SELECT 'news', id, published_at AT TIME ZONE 'UTC', title, source, url, sentiment, symbols FROM import_changed
				ORDER BY id COLLATE "C"`,
		},
	},
}
