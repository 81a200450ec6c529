package store

import (
	"context"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Resolve implements patterns.ContextSource: it pins a run to one pricing pack and one version of
// the portfolio's ledger.
func (s *Store) Resolve(ctx context.Context, q patterns.ContextQuery) (agent.Context, error) {
	c := agent.Context{TenantID: q.TenantID, RequestID: q.RequestID}
	if q.PortfolioID != "" {
		p, err := s.Portfolio(ctx, q.TenantID, q.PortfolioID)
		if err != nil {
			return agent.Context{}, err
		}
		c.Portfolio = &agent.Portfolio{
			ID: p.ID, BaseCurrency: p.BaseCurrency, LedgerVersion: p.LedgerVersion, LedgerSeq: p.LedgerSeq,
		}
	}
	pack, state, err := s.PackAsof(ctx, q.TenantID, q.Asof)
	if err != nil {
		return agent.Context{}, err
	}
	if q.RequireFresh && state != PackFresh {
		return agent.Context{}, fault.New(fault.PackNotFresh,
			"pricing pack %s of %s is %s; send require_fresh: false to use it all the same",
			pack.ID, pack.Date.Format(time.DateOnly), state)
	}
	c.PricingPack, c.Asof = pack, pack.Date
	if q.Asof != nil {
		c.Asof = *q.Asof
	}
	return c, nil
}
