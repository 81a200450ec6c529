package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store/db"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Resolve implements patterns.ContextSource: it pins a run to one pricing pack and one version of
// the portfolio's ledger. What the query does not pin costs one statement, which sees both as of
// the same moment. [Contexts] shares it between requests.
func (s *Store) Resolve(ctx context.Context, q patterns.ContextQuery) (agent.Context, error) {
	if q.PackID != "" || q.LedgerVersion != "" {
		return s.resolvePinned(ctx, q)
	}
	key, err := keyOf(q)
	if err != nil {
		return agent.Context{}, err
	}
	found, err := s.circumstances(ctx, []contextKey{key})
	if err != nil {
		return agent.Context{}, err
	}
	return s.contextOf(ctx, q, found[0])
}

// contextKey is all that the data of an unpinned context hangs on.
type contextKey struct {
	tenantID    string
	portfolioID uuid.UUID // the zero UUID when the query is about no portfolio: its row is not looked at
	asof        time.Time // UTC midnight
	freshOnly   bool      // the newest fresh pack is asked for; asof is endOfTime
}

// endOfTime is after the date of every pack.
var endOfTime = time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC)

func keyOf(q patterns.ContextQuery) (contextKey, error) {
	key := contextKey{tenantID: q.TenantID, asof: endOfTime, freshOnly: q.Asof == nil}
	if q.Asof != nil {
		key.asof = *q.Asof
	}
	if q.PortfolioID != "" {
		var err error
		if key.portfolioID, err = uuid.Parse(q.PortfolioID); err != nil {
			return contextKey{}, fault.Wrap(err, fault.NotFound, "there is no portfolio %q", q.PortfolioID)
		}
	}
	return key, nil
}

// circumstances returns what the database holds for each key, in the keys' order, as of one moment
// after the call.
func (s *Store) circumstances(ctx context.Context, keys []contextKey) ([]db.CircumstancesRow, error) {
	p := db.CircumstancesParams{
		TenantIds: make([]string, len(keys)), PortfolioIds: make([]uuid.UUID, len(keys)),
		Asof: make([]time.Time, len(keys)), FreshOnly: make([]bool, len(keys)),
	}
	for i, k := range keys {
		p.TenantIds[i], p.PortfolioIds[i], p.Asof[i], p.FreshOnly[i] = k.tenantID, k.portfolioID, k.asof, k.freshOnly
	}
	rows, err := s.q.Circumstances(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("portfolios and pricing packs of %d contexts: %w", len(keys), err)
	}
	found := make([]db.CircumstancesRow, len(keys))
	for _, r := range rows {
		found[r.N-1] = r
	}
	return found, nil
}

// contextOf makes a context of what was found for an unpinned query.
func (s *Store) contextOf(ctx context.Context, q patterns.ContextQuery, found db.CircumstancesRow) (agent.Context, error) {
	c := agent.Context{TenantID: q.TenantID, RequestID: q.RequestID}
	if q.PortfolioID != "" {
		if found.LedgerVersion == nil {
			return agent.Context{}, fault.New(fault.NotFound, "there is no portfolio %q", q.PortfolioID)
		}
		c.Portfolio = &agent.Portfolio{
			ID: uuid.MustParse(q.PortfolioID).String(), BaseCurrency: deref(found.BaseCurrency),
			LedgerVersion: *found.LedgerVersion, LedgerSeq: deref(found.LedgerSeq),
		}
	}
	if found.PackID == nil && q.Asof == nil && !q.RequireFresh {
		if err := s.newestOfAny(ctx, q.TenantID, &found); err != nil {
			return agent.Context{}, err
		}
	}
	if found.PackID == nil {
		return agent.Context{}, s.noPack(ctx, q.TenantID, q.Asof)
	}
	c.PricingPack = agent.Pack{
		ID: found.PackID.String(), Date: deref(found.PackDate), Revision: deref(found.PackRevision), Hash: deref(found.PackHash),
	}
	if state := PackState(deref(found.PackState)); q.RequireFresh && state != PackFresh {
		pack, err := s.q.Pack(ctx, q.TenantID, *found.PackID)
		if err != nil {
			return agent.Context{}, fmt.Errorf("pricing pack %s: %w", found.PackID, err)
		}
		if p := toPack(pack); p.State != PackFresh { // else it has become so meanwhile
			return agent.Context{}, s.notFresh(ctx, p)
		}
	}
	c.Asof = c.PricingPack.Date
	if q.Asof != nil {
		c.Asof = *q.Asof
	}
	return c, nil
}

// newestOfAny puts the newest pack of all into found, for a query that takes any and where none is fresh.
func (s *Store) newestOfAny(ctx context.Context, tenantID string, found *db.CircumstancesRow) error {
	p, err := s.q.NewestPack(ctx, tenantID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("newest pricing pack of tenant %s: %w", tenantID, err)
	}
	found.PackID, found.PackDate, found.PackRevision, found.PackHash, found.PackState = &p.ID, &p.Date, &p.Revision, &p.Hash, &p.State
	return nil
}

// resolvePinned finds what a query names instead of what is newest.
func (s *Store) resolvePinned(ctx context.Context, q patterns.ContextQuery) (agent.Context, error) {
	c := agent.Context{TenantID: q.TenantID, RequestID: q.RequestID}
	if q.PackID == "" {
		unpinned := q
		unpinned.LedgerVersion, unpinned.PortfolioID = "", ""
		var err error
		if c, err = s.Resolve(ctx, unpinned); err != nil {
			return agent.Context{}, err
		}
	} else if err := s.pinPack(ctx, q, &c); err != nil {
		return agent.Context{}, err
	}

	if q.PortfolioID == "" {
		if q.LedgerVersion != "" {
			return agent.Context{}, fault.New(fault.Invalid, "a ledger version is given, but no portfolio")
		}
		return c, nil
	}
	p, err := s.Portfolio(ctx, q.TenantID, q.PortfolioID)
	if err != nil {
		return agent.Context{}, err
	}
	version, seq := p.LedgerVersion, p.LedgerSeq
	if q.LedgerVersion != "" {
		version = q.LedgerVersion
		if seq, err = s.ledgerSeq(ctx, q.TenantID, p, version); err != nil {
			return agent.Context{}, err
		}
	}
	c.Portfolio = &agent.Portfolio{ID: p.ID, BaseCurrency: p.BaseCurrency, LedgerVersion: version, LedgerSeq: seq}
	return c, nil
}

// pinPack puts the pack that q names into c, in whatever state it is, and the date to value on.
func (s *Store) pinPack(ctx context.Context, q patterns.ContextQuery, c *agent.Context) error {
	id, err := uuid.Parse(q.PackID)
	if err != nil {
		return fault.Wrap(err, fault.NotFound, "there is no pricing pack %q", q.PackID)
	}
	pack, err := s.q.Pack(ctx, q.TenantID, id)
	if err != nil {
		return fmt.Errorf("pricing pack %s: %w", q.PackID, orNotFound(err, "there is no pricing pack %q", q.PackID))
	}
	c.PricingPack = agent.Pack{ID: pack.ID.String(), Date: pack.Date, Revision: pack.Revision, Hash: pack.Hash}
	c.Asof = pack.Date
	if q.Asof != nil {
		c.Asof = *q.Asof
	}
	if pack.Date.After(c.Asof) {
		return fault.New(fault.Invalid, "pricing pack %s is of %s: a run as of %s would see what was not known then",
			pack.ID, pack.Date.Format(time.DateOnly), c.Asof.Format(time.DateOnly))
	}
	return nil
}

// ledgerSeq returns the number of the last transaction that a version of p's ledger holds.
func (s *Store) ledgerSeq(ctx context.Context, tenantID string, p portfolio.Portfolio, version string) (int64, error) {
	switch version {
	case p.LedgerVersion:
		return p.LedgerSeq, nil
	case portfolio.Genesis(p):
		return 0, nil
	}
	// A text that PostgreSQL has no form for is no version, and would fail the statement.
	if !storable(version) {
		return 0, noLedgerVersion(nil, p, version)
	}
	seq, err := s.q.LedgerSeq(ctx, tenantID, uuid.MustParse(p.ID), version)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, noLedgerVersion(err, p, version)
	}
	if err != nil {
		return 0, fmt.Errorf("version %s of the ledger of portfolio %s: %w", version, p.ID, err)
	}
	return seq, nil
}

func noLedgerVersion(err error, p portfolio.Portfolio, version string) error {
	return fault.Wrap(err, fault.NotFound, "the ledger of portfolio %s has never had the version %q", p.ID, version)
}
