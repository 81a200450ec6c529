package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/store/db"
)

// namespace makes stable ids: UUIDs of version 5 over names such as "security/SBI".
var namespace = uuid.MustParse("6f1d3c1e-0f0c-5b36-9f0e-8b8f6a1f2d07")

// StableID is the id of what carries a name, the same on every machine: for securities by their
// symbols, so that two databases with the same data have the same ids. Those of the default tenant say
// nothing of it.
func StableID(tenantID, kind, name string) uuid.UUID {
	path := kind + "/" + name
	if tenantID != DefaultTenant {
		path = "tenant/" + tenantID + "/" + path
	}
	return uuid.NewSHA1(namespace, []byte(path))
}

// LockRevisions waits until no other transaction makes a revision of the tenant's data, and keeps
// others from it until tx ends.
func LockRevisions(ctx context.Context, tx pgx.Tx, tenantID string) error {
	return db.New(tx).LockRevisions(ctx, tenantID)
}

// script runs several statements without parameters.
func script(ctx context.Context, tx pgx.Tx, sql string) error {
	return tx.Conn().PgConn().Exec(ctx, sql).Close()
}

// ImportOptions configure Imports.
type ImportOptions struct {
	Now func() time.Time // nil: time.Now
	// Enqueue puts the job in that builds and reconciles the tenant's warming packs, in the import's
	// transaction; nil when nobody does.
	Enqueue func(ctx context.Context, tx pgx.Tx, tenantID string) error
}

// Imports stores what is imported.
type Imports struct {
	pool    *pgxpool.Pool
	now     func() time.Time
	enqueue func(ctx context.Context, tx pgx.Tx, tenantID string) error
}

var _ imports.Store = (*Imports)(nil)

// NewImports returns imports into a database.
func NewImports(pool *pgxpool.Pool, o ImportOptions) *Imports {
	i := &Imports{pool: pool, now: o.Now, enqueue: o.Enqueue}
	if i.now == nil {
		i.now = time.Now
	}
	return i
}

// Import implements [imports.Store].
func (i *Imports) Import(ctx context.Context, r imports.Request) (imports.Summary, error) {
	r.Source = cmp.Or(r.Source, imports.DefaultSource)
	var summary imports.Summary
	err := pgx.BeginFunc(ctx, i.pool, func(tx pgx.Tx) error {
		made := BeginRevision(tx, r.TenantID, r.Source, i.now)
		var err error
		if summary, err = made.Import(ctx, r); err != nil {
			return err
		}
		if summary.Packs, err = made.Seal(ctx, PackWarming); err != nil {
			return err
		}
		if made.number > 0 || made.calendarSet {
			if err := made.audit(ctx, r, summary); err != nil {
				return err
			}
		}
		if summary.Packs.Made > 0 && i.enqueue != nil {
			if err := i.enqueue(ctx, tx, r.TenantID); err != nil {
				return fmt.Errorf("enqueue the pricing packs: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		if fault.CodeOf(err) == fault.Internal {
			err = fmt.Errorf("import %s of tenant %s: %w", r.Kind, r.TenantID, err)
		}
		return imports.Summary{}, err
	}
	return summary, nil
}

// Revision is a revision of a tenant's data in the making: of what one import or several change, in a
// transaction that is the caller's. Later imports see the rows of earlier ones. It holds no resources.
type Revision struct {
	tx       pgx.Tx
	q        *db.Queries
	tenantID string
	source   string
	now      func() time.Time

	number      int64     // 0 until something is inserted or changed
	hash        hash.Hash // over its rows, and the revision before
	rowCount    int64
	calendarSet bool
	every       bool       // all packs are to be cut anew
	from        *time.Time // earliest day of the rows
}

// BeginRevision returns the revision that comes next when its imports have anything to store. source is
// whence the rows come.
func BeginRevision(tx pgx.Tx, tenantID, source string, now func() time.Time) *Revision {
	return &Revision{tx: tx, q: db.New(tx), tenantID: tenantID, source: source, now: now}
}

// Import takes the rows of a file into the revision. The summary counts no packs, and the request's
// tenant and source are the revision's. Errors are those of [imports.Store]; what the file has left
// in the transaction then has to be rolled back.
//
// The first import that was read keeps other transactions from making revisions until this one ends.
func (v *Revision) Import(ctx context.Context, r imports.Request) (imports.Summary, error) {
	steps, ok := importing[r.Kind]
	if !ok {
		return imports.Summary{}, fault.New(fault.NotFound, "there is no import of %q", r.Kind)
	}
	m := &importRun{Revision: v, r: r, importSteps: steps}
	if err := m.run(ctx); err != nil {
		return imports.Summary{}, err
	}
	return m.summary, nil
}

// Seal ends the revision: its packs, in the given state, take the place of older ones. Without changed
// rows there are no packs, unless the calendar was set.
func (v *Revision) Seal(ctx context.Context, packs PackState) (imports.Packs, error) {
	newest, err := v.q.NewestRevision(ctx, v.tenantID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return imports.Packs{}, err
	}
	if v.number > 0 {
		newest.ContentHash = hex.EncodeToString(v.hash.Sum(nil))
		err := v.q.SealRevision(ctx, db.SealRevisionParams{
			TenantID: v.tenantID, Revision: v.number, RowCount: v.rowCount, ContentHash: newest.ContentHash,
		})
		if err != nil {
			return imports.Packs{}, fmt.Errorf("seal revision %d: %w", v.number, err)
		}
	}
	if !v.every && v.from == nil {
		return imports.Packs{}, nil
	}
	return v.cut(ctx, newest, packs)
}

// add makes the revision, when it is not yet, and hashes rows into it. Each query lists rows that start
// with their kind, in an order that depends on the data alone. They are hashed as they stream by, in
// COPY's text format, which escapes what separates fields and rows.
func (v *Revision) add(ctx context.Context, queries []string) error {
	if v.number == 0 {
		newest, err := v.q.NewestRevision(ctx, v.tenantID)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		v.number = newest.Revision + 1
		err = v.q.AddRevision(ctx, db.AddRevisionParams{
			TenantID: v.tenantID, Revision: v.number, Source: v.source, CreatedAt: v.now(),
		})
		if err != nil {
			return fmt.Errorf("revision %d: %w", v.number, err)
		}
		if err := script(ctx, v.tx, `SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1`); err != nil {
			return err
		}
		v.hash = sha256.New()
		fmt.Fprintf(v.hash, "dawsos-revision-v1\n%s\n", newest.ContentHash)
	}
	for _, query := range queries {
		if _, err := v.tx.Conn().PgConn().CopyTo(ctx, v.hash, "COPY ("+query+") TO STDOUT"); err != nil {
			return fmt.Errorf("hash the rows: %w", err)
		}
	}
	return nil
}

// cut makes packs of a revision, and older ones stale: of all dates of the calendar, or of those from
// the earliest of its rows on.
func (v *Revision) cut(ctx context.Context, of db.NewestRevisionRow, state PackState) (imports.Packs, error) {
	var made imports.Packs
	var err error
	made.Stale, err = v.q.StalePacks(ctx, db.StalePacksParams{
		TenantID: v.tenantID, Revision: of.Revision, Every: v.every, FirstDate: deref(v.from),
	})
	if err != nil {
		return made, fmt.Errorf("stale pricing packs: %w", err)
	}
	dates, err := v.q.CalendarDates(ctx, v.tenantID, v.every, deref(v.from))
	if err != nil {
		return made, fmt.Errorf("dates of the calendar: %w", err)
	}
	packs := db.AddPacksParams{
		TenantID: v.tenantID, Revision: of.Revision, State: string(state), CreatedAt: v.now(), Dates: dates,
		Ids: make([]uuid.UUID, len(dates)), Hashes: make([]string, len(dates)),
	}
	for i, date := range dates {
		packs.Ids[i] = StableID(v.tenantID, "pack", fmt.Sprintf("%s/%d", date.Format(time.DateOnly), of.Revision))
		packs.Hashes[i] = PackHash(date, of.Revision, of.ContentHash)
	}
	if made.Made, err = v.q.AddPacks(ctx, packs); err != nil {
		return made, fmt.Errorf("make pricing packs: %w", err)
	}
	return made, nil
}

// audit notes who imported what.
func (v *Revision) audit(ctx context.Context, r imports.Request, s imports.Summary) error {
	detail, err := json.Marshal(map[string]any{
		"kind": r.Kind, "source": s.Source, "rows": s.Rows, "inserted": s.Inserted, "changed": s.Changed,
		"packs_made": s.Packs.Made, "packs_stale": s.Packs.Stale,
	})
	if err != nil {
		return err
	}
	return addAudit(ctx, v.tx, audit.Entry{
		TenantID: v.tenantID, At: v.now(), Actor: r.Actor, Action: "import", Subject: "data_revision",
		SubjectID: fmt.Sprint(s.Revision), Reason: r.Reason, Detail: detail,
	})
}

// importRun is one import into a revision.
type importRun struct {
	*Revision
	importSteps

	r       imports.Request
	rows    *imports.Rows
	known   map[string]imports.Listing // listed securities by symbol
	left    int64                      // rows that were left out
	summary imports.Summary
}

func (m *importRun) run(ctx context.Context) error {
	if err := m.list(ctx); err != nil {
		return err
	}
	// Known before a large file is read; what another import does meanwhile is seen to below.
	if _, err := m.calendar(ctx); err != nil {
		return err
	}
	if err := m.stage(ctx); err != nil {
		return err
	}
	if err := m.q.LockRevisions(ctx, m.tenantID); err != nil {
		return err
	}
	if err := m.check(ctx); err != nil {
		return err
	}
	newCalendar, err := m.calendar(ctx)
	if err != nil {
		return err
	}
	if newCalendar {
		if err := m.q.SetTenantCalendar(ctx, m.r.Calendar, m.tenantID); err != nil {
			return err
		}
		m.calendarSet, m.every = true, true
	}
	if err := m.store(ctx); err != nil {
		return err
	}
	return script(ctx, m.tx, `DROP TABLE import_staged, import_changed, import_series`)
}

// list reads which securities there are. A file's rows are held against it one by one, so that each bad
// one is named as it is read.
func (m *importRun) list(ctx context.Context) error {
	listings, err := m.q.Listings(ctx, m.tenantID)
	if err != nil {
		return err
	}
	m.known = make(map[string]imports.Listing, len(listings))
	for _, l := range listings {
		m.known[l.Symbol] = imports.Listing{ID: l.ID.String(), Currency: l.Currency}
	}
	return nil
}

// calendar checks the calendar that the request names against the tenant's, and reports whether it is
// to be set.
func (m *importRun) calendar(ctx context.Context) (isNew bool, err error) {
	const pointer = "/query/calendar"
	given := m.r.Calendar
	if m.r.Kind != imports.Prices {
		if given != "" {
			return false, fault.InvalidField(pointer, "is for imports of prices only")
		}
		return false, nil
	}
	current, err := m.q.TenantCalendar(ctx, m.tenantID)
	if err != nil {
		return false, orNotFound(err, "there is no tenant %q", m.tenantID)
	}
	switch {
	case current != nil && given != "" && given != *current:
		return false, fault.New(fault.Conflict, "the calendar is %s and can't be changed to %s", *current, given)
	case current != nil:
		return false, nil
	case given == "":
		return false, fault.InvalidField(pointer,
			"is required with the first prices: the symbol whose closes are the valuation days, such as that of an index")
	}
	if _, ok := m.known[given]; !ok {
		return false, fault.InvalidField(pointer, "is the symbol of no listed security; import securities first")
	}
	return true, nil
}

// stage copies the file's rows into a temporary table.
func (m *importRun) stage(ctx context.Context) error {
	err := script(ctx, m.tx, `
		SET LOCAL work_mem = '32MB';
		CREATE TEMPORARY TABLE import_staged (`+m.staged+`, line bigint NOT NULL) ON COMMIT DROP;
		CREATE TEMPORARY TABLE import_changed (`+m.changed+`, existed boolean, first_date date) ON COMMIT DROP;
		CREATE TEMPORARY TABLE import_series (
			series text, unit text, frequency text, origin text, known boolean, line bigint
		) ON COMMIT DROP`)
	if err != nil {
		return fmt.Errorf("create staging tables: %w", err)
	}
	m.rows, err = imports.Open(m.r.Kind, m.r.Format, m.r.Body, imports.Reference{
		Listing: func(symbol string) (imports.Listing, bool) {
			l, ok := m.known[symbol]
			return l, ok
		},
		NewID:  func(symbol string) string { return StableID(m.tenantID, "security", symbol).String() },
		Latest: m.now().UTC().AddDate(0, 0, 1).Format(time.DateOnly),
	})
	if err != nil {
		return err
	}
	from := &copySource{r: m.rows}
	_, err = m.tx.Conn().PgConn().CopyFrom(ctx, from,
		"COPY import_staged ("+strings.Join(imports.Columns(m.r.Kind), ", ")+") FROM STDIN")
	idle := from.stop()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case idle && m.rows.Err() != nil: // is why COPY failed, too
		return m.rows.Err()
	case err != nil:
		return fmt.Errorf("copy the rows: %w", err)
	case m.rows.Count() == 0:
		return fault.New(fault.Invalid, "there are no rows in the body")
	}
	// How many rows there are is what plans need to know; a small sample tells it as well.
	return script(ctx, m.tx, `
		SET LOCAL default_statistics_target = 10;
		ANALYZE import_staged;
		SET LOCAL default_statistics_target TO DEFAULT`)
}

// copySource is what pgx reads in a goroutine of its own, for which it does not wait when the connection
// fails: a client that has stopped to send holds it up.
type copySource struct {
	reading sync.Mutex
	stopped bool
	r       io.Reader
}

func (s *copySource) Read(p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.stopped {
		return 0, io.ErrClosedPipe
	}
	return s.r.Read(p)
}

// stop ends reading. It reports false when a Read goes on, so that what it reads from is not to be
// touched; then COPY has failed.
func (s *copySource) stop() (idle bool) {
	if !s.reading.TryLock() {
		return false
	}
	defer s.reading.Unlock()
	s.stopped = true
	return true
}

// check refuses the file if anything is wrong with its rows: what was found in reading them, and what
// takes all of them to see.
func (m *importRun) check(ctx context.Context) error {
	if m.prepare != "" {
		if _, err := m.tx.Exec(ctx, m.prepare, m.tenantID, m.source); err != nil {
			return fmt.Errorf("prepare checks: %w", err)
		}
	}
	if m.r.Fetched && m.leaveOut != "" {
		if err := m.leaveSome(ctx); err != nil {
			return err
		}
	}
	key, staged := imports.Key(m.r.Kind)
	word := "line"
	if m.r.Format == imports.JSON {
		word = "row"
	}
	checks := append([]string{fmt.Sprintf(`
		SELECT line, '%s' AS "column", '%s ' || first_line || ' has the same %s' AS detail
		FROM (SELECT line, min(line) OVER (PARTITION BY %s) AS first_line FROM import_staged) AS numbered
		WHERE line <> first_line`,
		key[len(key)-1], word, strings.Join(key, ", "), strings.Join(staged, ", "))}, m.checks...)
	rows, err := m.tx.Query(ctx, `
		WITH problems AS (`+strings.Join(checks, " UNION ALL ")+`)
		SELECT line, "column", detail, count(*) OVER (), (SELECT count(DISTINCT line) FROM problems)
		FROM problems
		WHERE $1::text IS NOT NULL AND $2::boolean IS NOT NULL
		ORDER BY line, "column"
		LIMIT `+fmt.Sprint(imports.MostProblems), m.tenantID, m.r.Fetched)
	if err != nil {
		return fmt.Errorf("check the rows: %w", err)
	}
	var more imports.Findings
	more.First, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p imports.Problem, err error) {
		return p, row.Scan(&p.Row, &p.Column, &p.Detail, &more.Total, &more.Rows)
	})
	if err != nil {
		return fmt.Errorf("check the rows: %w", err)
	}
	findings := m.rows.Findings()
	findings.Merge(more)
	if findings.Total > 0 {
		return imports.NewRefusedError(m.r.Format, findings)
	}
	return nil
}

// leaveSome takes out of a fetched file what it can't store and need not be refused for.
func (m *importRun) leaveSome(ctx context.Context) error {
	rows, err := m.tx.Query(ctx, m.leaveOut)
	if err != nil {
		return fmt.Errorf("leave rows out: %w", err)
	}
	var why string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&why, &n}, func() error {
		m.summary.LeftOut, m.left = append(m.summary.LeftOut, why), m.left+n
		return nil
	})
	if err != nil {
		return fmt.Errorf("leave rows out: %w", err)
	}
	return nil
}

// analyzeFrom is from how many rows on a table's statistics are brought up to date at once, so that no
// plan takes it for the small one that it was. Fewer rows are autovacuum's.
const analyzeFrom = 10_000

// store takes the rows that are not as they were into the revision.
func (m *importRun) store(ctx context.Context) error {
	args := []any{m.tenantID}
	if !strings.Contains(m.compare, "$1") {
		args = nil
	}
	if _, err := m.tx.Exec(ctx, m.compare, args...); err != nil {
		return fmt.Errorf("compare the rows: %w", err)
	}
	s := &m.summary
	s.Source, s.Rows = m.source, m.rows.Count()-m.left
	s.FirstDate, s.LastDate = m.rows.Dates()
	var from *time.Time
	err := m.tx.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE NOT existed), count(*) FILTER (WHERE existed), min(first_date) FROM import_changed`).
		Scan(&s.Inserted, &s.Changed, &from)
	if err != nil {
		return fmt.Errorf("count the rows: %w", err)
	}
	changes := s.Inserted + s.Changed
	s.Unchanged = s.Rows - changes
	if changes == 0 {
		s.Revision = m.number
		if m.number == 0 {
			newest, err := m.q.NewestRevision(ctx, m.tenantID)
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			s.Revision = newest.Revision
		}
		return nil
	}
	if err := m.add(ctx, m.canonical); err != nil {
		return err
	}
	s.Revision = m.number
	for _, statement := range m.insert {
		if _, err := m.tx.Exec(ctx, statement, m.tenantID, m.number); err != nil {
			return fmt.Errorf("store the rows: %w", err)
		}
	}
	if changes >= analyzeFrom {
		if _, err := m.tx.Exec(ctx, "CALL analyze_table($1)", m.table); err != nil {
			return fmt.Errorf("analyze %s: %w", m.table, err)
		}
	}
	m.rowCount += changes
	m.every = m.every || m.r.Kind == imports.Securities && s.Changed > 0
	if from != nil && (m.from == nil || from.Before(*m.from)) {
		m.from = from
	}
	return nil
}
