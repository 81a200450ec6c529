package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store/db"
)

// Packs makes pricing packs, reads them, and writes down what the nightly jobs find out.
type Packs struct {
	*Store
	jobs *river.Client[pgx.Tx]
}

// NewPacks returns the store. inserter may be an insert-only client.
func NewPacks(pool *pgxpool.Pool, inserter *river.Client[pgx.Tx], now func() time.Time) *Packs {
	return &Packs{Store: New(pool, Options{Now: now}), jobs: inserter}
}

// EnqueueBuild has the nightly order begin for a tenant once tx is committed. A job that waits already does
// as well: it is kept from beginning until tx ends, and sees what that commits.
func (s *Packs) EnqueueBuild(ctx context.Context, tx pgx.Tx, tenantID string) error {
	return s.enqueueBuild(ctx, tx, tenantID, periodic.ByImport)
}

func (s *Packs) enqueueBuild(ctx context.Context, tx pgx.Tx, tenantID string, trigger periodic.Trigger) error {
	args := jobs.BuildPacksArgs{Link: jobs.Link{TenantID: tenantID}}
	waiting, err := s.q.WithTx(tx).WaitingBuild(ctx, args.Kind(), tenantID)
	if err != nil {
		return fmt.Errorf("look for a waiting build of packs: %w", err)
	}
	if len(waiting) > 0 {
		return nil
	}
	if _, err := s.jobs.InsertTx(ctx, tx, args, jobs.TriggeredBy(trigger)); err != nil {
		return fmt.Errorf("insert the build of packs: %w", err)
	}
	return nil
}

// Tenants returns one tenant, or all in order when tenantID is "".
func (s *Packs) Tenants(ctx context.Context, tenantID string) ([]string, error) {
	tenants, err := s.q.PackTenants(ctx, nilIfZero(tenantID))
	if err != nil {
		return nil, fmt.Errorf("tenants: %w", err)
	}
	return tenants, nil
}

// Calendar returns the symbol whose closes are the tenant's days; "" when it has none yet.
func (s *Packs) Calendar(ctx context.Context, tenantID string) (string, error) {
	calendar, err := s.q.TenantCalendar(ctx, tenantID)
	if err != nil {
		return "", fmt.Errorf("calendar of tenant %s: %w", tenantID, orNotFound(err, "there is no tenant %q", tenantID))
	}
	return deref(calendar), nil
}

// RequestPacks makes what packs are missing, or the one of a day, and has them built. Made tells whether
// anything is to be built: a pack that is there and not in error stays as it is. One in error gets another
// try. A day without a close of the calendar is fault.Invalid and says which there are.
func (s *Packs) RequestPacks(ctx context.Context, tenantID string, day *time.Time, by delivery.By) (list []packs.Pack, made bool, err error) {
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		st := &Packs{Store: s.in(tx), jobs: s.jobs}
		var err error
		if day == nil {
			list, err = st.makePacks(ctx, tenantID, nil)
			made = len(list) > 0
		} else {
			list, made, err = st.requestDay(ctx, tenantID, *day)
		}
		if err != nil || !made {
			return err
		}
		if err := s.enqueueBuild(ctx, tx, tenantID, periodic.ByHand); err != nil {
			return err
		}
		return addAudit(ctx, tx, audit.Entry{
			TenantID: tenantID, At: s.now().UTC(), Actor: by.Actor, Action: "pricing_pack.build", Subject: "pricing_pack",
			SubjectID: list[len(list)-1].ID.String(), Reason: by.Reason,
		})
	})
	return list, made, err
}

func (s *Packs) requestDay(ctx context.Context, tenantID string, day time.Time) (list []packs.Pack, made bool, err error) {
	if list, err = s.makePacks(ctx, tenantID, &day); err != nil || len(list) > 0 {
		return list, true, err
	}
	row, err := s.q.CurrentPack(ctx, tenantID, day)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, s.noClose(ctx, tenantID, day)
	}
	if err != nil {
		return nil, false, fmt.Errorf("pricing pack of %s: %w", day.Format(time.DateOnly), err)
	}
	if packs.State(row.State) == packs.Error {
		if row, err = s.q.RewarmPack(ctx, tenantID, row.ID); err != nil {
			return nil, false, fmt.Errorf("warm pricing pack %s again: %w", row.ID, err)
		}
		made = true
	}
	return []packs.Pack{toPack(row)}, made, nil
}

// noClose says which days there can be packs of.
func (s *Packs) noClose(ctx context.Context, tenantID string, day time.Time) error {
	bounds, err := s.q.CalendarBounds(ctx, tenantID)
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.InvalidField("/date", "there are no closes yet that a pricing pack could be of: import prices first")
	}
	if err != nil {
		return fmt.Errorf("days of tenant %s: %w", tenantID, err)
	}
	near, err := s.q.NeighbourCloses(ctx, day, tenantID)
	if err != nil {
		return fmt.Errorf("closes next to %s: %w", day.Format(time.DateOnly), err)
	}
	text := ""
	for i, d := range near {
		if i > 0 {
			text += " and "
		}
		text += d.Format(time.DateOnly)
	}
	return fault.InvalidField("/date", "%s has no close of %s, the calendar; closes are from %s to %s, next to it %s",
		day.Format(time.DateOnly), bounds.Symbol, bounds.FirstClose.Format(time.DateOnly), bounds.LastClose.Format(time.DateOnly), text)
}

// MakePacks makes warming packs, at the newest revision, for all days with a close of the calendar and no
// pack but stale ones, and returns them in order of date.
func (s *Packs) MakePacks(ctx context.Context, tenantID string) ([]packs.Pack, error) {
	return s.makePacks(ctx, tenantID, nil)
}

func (s *Packs) makePacks(ctx context.Context, tenantID string, day *time.Time) ([]packs.Pack, error) {
	newest, err := s.q.NewestRevision(ctx, tenantID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("newest revision of tenant %s: %w", tenantID, err)
	}
	dates, err := s.q.DatesWithoutPack(ctx, tenantID, day)
	if err != nil {
		return nil, fmt.Errorf("days without a pricing pack: %w", err)
	}
	if len(dates) == 0 {
		return nil, nil
	}
	p := db.InsertWarmingPacksParams{TenantID: tenantID, Dates: dates, Revision: newest.Revision, CreatedAt: s.now().UTC()}
	for _, d := range dates {
		p.Ids = append(p.Ids, s.newID())
		p.Hashes = append(p.Hashes, PackHash(d, newest.Revision, newest.ContentHash))
	}
	rows, err := s.q.InsertWarmingPacks(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("make %d pricing packs: %w", len(dates), err)
	}
	slices.SortFunc(rows, func(a, b db.PricingPack) int { return a.Date.Compare(b.Date) })
	return answers(rows, toPack), nil
}

// RetirePacks makes stale what a newer revision has taken the place of, and returns how many.
func (s *Packs) RetirePacks(ctx context.Context, tenantID string) (int, error) {
	n, err := s.q.RetirePacks(ctx, tenantID)
	if err != nil {
		return 0, fmt.Errorf("retire pricing packs: %w", err)
	}
	return int(n), nil
}

// CheckPacks holds the hashes of up to limit packs that are new against the data that they cut through,
// and returns how many it has looked at and how many of them are in error now.
func (s *Packs) CheckPacks(ctx context.Context, tenantID string, limit int) (checked, failed int, err error) {
	rows, err := s.q.UnbuiltPacks(ctx, tenantID, int32(limit)) //nolint:gosec // a small constant
	if err != nil {
		return 0, 0, fmt.Errorf("pricing packs to be built: %w", err)
	}
	var built []uuid.UUID
	var wrong []packs.Verdict
	for _, r := range rows {
		if r.Hash == PackHash(r.Date, r.Revision, r.ContentHash) {
			built = append(built, r.ID)
			continue
		}
		wrong = append(wrong, packs.Verdict{
			Pack: packs.Pack{ID: r.ID}, Reason: fmt.Sprintf("its hash is not that of its date and revision %d: one of the two was changed", r.Revision),
		})
	}
	if err := s.q.MarkBuilt(ctx, s.now().UTC(), tenantID, built); err != nil {
		return 0, 0, fmt.Errorf("mark %d pricing packs as built: %w", len(built), err)
	}
	return len(rows), len(wrong), s.RecordVerdicts(ctx, tenantID, wrong)
}

// UnreconciledPacks returns the packs that are built and not reconciled, by revision, then date.
func (s *Packs) UnreconciledPacks(ctx context.Context, tenantID string) ([]packs.Pack, error) {
	rows, err := s.q.UnreconciledPacks(ctx, tenantID)
	if err != nil {
		return nil, fmt.Errorf("pricing packs to be reconciled: %w", err)
	}
	return answers(rows, toPack), nil
}

// RecordVerdicts writes down what a reconciliation came to, all of it or nothing. A pack that has become
// stale meanwhile stays so.
func (s *Packs) RecordVerdicts(ctx context.Context, tenantID string, list []packs.Verdict) error {
	if len(list) == 0 {
		return nil
	}
	p := db.RecordVerdictsParams{At: s.now().UTC(), TenantID: tenantID}
	for _, v := range list {
		p.Ids, p.Reasons = append(p.Ids, v.Pack.ID), append(p.Reasons, asStorable(v.Reason))
	}
	if err := s.q.RecordVerdicts(ctx, p); err != nil {
		return fmt.Errorf("record what became of %d pricing packs: %w", len(list), err)
	}
	return nil
}

// NewestUsablePack returns the newest pack that is fresh or about to be; false when there is none.
func (s *Packs) NewestUsablePack(ctx context.Context, tenantID string) (packs.Pack, bool, error) {
	row, err := s.q.NewestUsablePack(ctx, tenantID)
	if errors.Is(err, pgx.ErrNoRows) {
		return packs.Pack{}, false, nil
	}
	if err != nil {
		return packs.Pack{}, false, fmt.Errorf("newest reconciled pricing pack: %w", err)
	}
	return toPack(row), true, nil
}

// MarkPrewarmed records that the API has answers over the pack.
func (s *Packs) MarkPrewarmed(ctx context.Context, p packs.Pack) error {
	if err := s.q.MarkPrewarmed(ctx, s.now().UTC(), p.TenantID, p.ID); err != nil {
		return fmt.Errorf("mark pricing pack %s as prewarmed: %w", p.ID, err)
	}
	return nil
}

// MarkFresh makes fresh what is warming and reconciled, and returns how many.
func (s *Packs) MarkFresh(ctx context.Context, tenantID string) (int, error) {
	n, err := s.q.MarkFresh(ctx, s.now().UTC(), tenantID)
	if err != nil {
		return 0, fmt.Errorf("mark pricing packs as fresh: %w", err)
	}
	return int(n), nil
}

// PricingPack returns one pack, or fault.NotFound.
func (s *Packs) PricingPack(ctx context.Context, tenantID string, id uuid.UUID) (packs.Pack, error) {
	row, err := s.q.Pack(ctx, tenantID, id)
	if err != nil {
		return packs.Pack{}, fmt.Errorf("pricing pack %s: %w", id, orNotFound(err, "there is no pricing pack %s", id))
	}
	return toPack(row), nil
}

// PricingPacks returns up to limit packs behind a cursor, newest first.
func (s *Packs) PricingPacks(ctx context.Context, tenantID string, f packs.Filter, behind packs.Cursor, limit int) ([]packs.Pack, error) {
	before := behind
	if before.Date.IsZero() {
		before = packs.Cursor{Date: endOfTime}
	}
	if next := f.To.AddDate(0, 0, 1); !f.To.IsZero() && next.Before(before.Date) {
		before = packs.Cursor{Date: next} // no revision is below 1
	}
	p := db.PacksInStateParams{
		TenantID: tenantID, State: string(f.State), BeforeDate: before.Date, BeforeRevision: before.Revision, FromDate: f.From,
		MaxRows: int32(limit), //nolint:gosec // bounded by the API
	}
	var rows []db.PricingPack
	var err error
	if f.State != "" {
		rows, err = s.q.PacksInState(ctx, p)
	} else {
		rows, err = s.q.Packs(ctx, db.PacksParams{
			TenantID: p.TenantID, BeforeDate: p.BeforeDate, BeforeRevision: p.BeforeRevision, FromDate: p.FromDate, MaxRows: p.MaxRows,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list pricing packs: %w", err)
	}
	return answers(rows, toPack), nil
}

// PackStates counts the packs of all tenants by state.
func (s *Packs) PackStates(ctx context.Context) (map[packs.State]int64, error) {
	rows, err := s.q.PackStates(ctx)
	if err != nil {
		return nil, fmt.Errorf("count pricing packs: %w", err)
	}
	counts := make(map[packs.State]int64, len(rows))
	for _, r := range rows {
		counts[packs.State(r.State)] = r.Packs
	}
	return counts, nil
}

func toPack(r db.PricingPack) packs.Pack {
	return packs.Pack{
		ID: r.ID, TenantID: r.TenantID, Date: r.Date.UTC(), Revision: r.Revision, Hash: r.Hash, State: packs.State(r.State),
		Reason: deref(r.Reason), CreatedAt: r.CreatedAt.UTC(), BuiltAt: utc(r.BuiltAt), ReconciledAt: utc(r.ReconciledAt),
		PrewarmedAt: utc(r.PrewarmedAt), FreshAt: utc(r.FreshAt),
	}
}

// Ledgers implements packs.Source.
func (s *Store) Ledgers(ctx context.Context, tenantID string, list []portfolio.Portfolio) (map[string][]portfolio.Transaction, error) {
	ids, seqs := make([]uuid.UUID, len(list)), make([]int64, len(list))
	for i, p := range list {
		id, err := uuid.Parse(p.ID)
		if err != nil {
			return nil, fmt.Errorf("portfolio %q: %w", p.ID, err)
		}
		ids[i], seqs[i] = id, p.LedgerSeq
	}
	rows, err := s.q.TransactionsOf(ctx, ids, seqs, tenantID)
	if err != nil {
		return nil, fmt.Errorf("ledgers of %d portfolios: %w", len(list), err)
	}
	ledgers := make(map[string][]portfolio.Transaction, len(list))
	for _, r := range rows {
		id := r.Transaction.PortfolioID.String()
		ledgers[id] = append(ledgers[id], toTransaction(r.Transaction, r.SecurityID))
	}
	return ledgers, nil
}

// FirstBooking implements packs.Source.
func (s *Store) FirstBooking(ctx context.Context, tenantID string) (time.Time, error) {
	date, err := s.q.FirstBooking(ctx, tenantID)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("first booking of tenant %s: %w", tenantID, err)
	}
	return date, nil
}

// KnownMetrics implements packs.MetricStore.
func (s *Packs) KnownMetrics(ctx context.Context, pack packs.Pack, list []portfolio.Portfolio) (map[string]string, error) {
	ids := make([]uuid.UUID, len(list))
	for i, p := range list {
		ids[i] = uuid.MustParse(p.ID) // as they were read
	}
	rows, err := s.q.KnownMetrics(ctx, pack.TenantID, pack.ID, ids)
	if err != nil {
		return nil, fmt.Errorf("known figures of %d portfolios: %w", len(list), err)
	}
	known := make(map[string]string, len(rows))
	for _, r := range rows {
		known[r.PortfolioID.String()] = r.LedgerVersion
	}
	return known, nil
}

// storedFigure is a figure as the table keeps it: a value, or what is missing.
type storedFigure struct {
	Value   *float64 `json:"value,omitempty"`
	Missing string   `json:"missing,omitempty"`
}

// StoreMetrics implements packs.MetricStore.
func (s *Packs) StoreMetrics(ctx context.Context, pack packs.Pack, list []packs.Measured) error {
	if len(list) == 0 {
		return nil
	}
	p := db.StoreMetricsParams{TenantID: pack.TenantID, PackID: pack.ID, ComputedAt: s.now().UTC()}
	for _, m := range list {
		figures := make(map[string]storedFigure, len(m.Figures))
		asof := ""
		for name, f := range m.Figures {
			if f.Err != nil {
				figures[name] = storedFigure{Missing: f.Err.Error()}
			} else {
				figures[name] = storedFigure{Value: &f.Value}
			}
			if !f.Asof.IsZero() {
				asof = f.Asof.Format(time.DateOnly)
			}
		}
		text, err := json.Marshal(figures)
		if err != nil {
			return fmt.Errorf("encode the figures of portfolio %s: %w", m.PortfolioID, err)
		}
		p.PortfolioIds = append(p.PortfolioIds, uuid.MustParse(m.PortfolioID)) // as it was read
		p.LedgerVersions = append(p.LedgerVersions, m.LedgerVersion)
		p.Asofs = append(p.Asofs, asof)
		p.Figures = append(p.Figures, string(text))
	}
	if err := s.q.StoreMetrics(ctx, p); err != nil {
		return fmt.Errorf("store the figures of %d portfolios: %w", len(list), err)
	}
	return nil
}

// metricKey names figures that may be stored.
type metricKey struct {
	portfolioID   uuid.UUID
	packID        uuid.UUID
	ledgerVersion string
}

// storedFigures returns the figures that are stored under the keys, by portfolio id.
func (s *Store) storedFigures(ctx context.Context, tenantID string, keys []metricKey) (map[string]map[string]portfolio.Figure, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	p := db.MetricsParams{TenantID: tenantID}
	for _, k := range keys {
		p.PortfolioIds = append(p.PortfolioIds, k.portfolioID)
		p.PackIds = append(p.PackIds, k.packID)
		p.LedgerVersions = append(p.LedgerVersions, k.ledgerVersion)
	}
	rows, err := s.q.Metrics(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("stored figures of %d portfolios: %w", len(keys), err)
	}
	found := make(map[string]map[string]portfolio.Figure, len(rows))
	for _, r := range rows {
		var stored map[string]storedFigure
		if err := json.Unmarshal(r.Figures, &stored); err != nil {
			return nil, fmt.Errorf("stored figures of portfolio %s: %w", r.PortfolioID, err)
		}
		figures := make(map[string]portfolio.Figure, len(stored))
		for name, f := range stored {
			figure := portfolio.Figure{Asof: deref(r.Asof)}
			if f.Value != nil {
				figure.Value = *f.Value
			} else {
				figure.Err = errors.New(f.Missing)
			}
			figures[name] = figure
		}
		found[r.PortfolioID.String()] = figures
	}
	return found, nil
}

// PruneMetrics deletes up to limit portfolios' figures that were computed before a time, and returns how
// many.
func (s *Store) PruneMetrics(ctx context.Context, computedBefore time.Time, limit int) (int, error) {
	n, err := s.q.PruneMetrics(ctx, computedBefore, int32(limit)) //nolint:gosec // a small constant
	return int(n), err
}
