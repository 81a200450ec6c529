package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store/db"
)

// SecuritiesOfSector returns the security with the given id and up to limit others of a sector, "" being
// its own, with the attributes that they had at the cut's revision: first those with the preferred
// symbols, then the rest, each by symbol. A security whose sector is "" has none in common with others.
// It returns [fault.NotFound] when the cut does not know the security. The cut's date does not matter.
func (s *Store) SecuritiesOfSector(
	ctx context.Context, cut portfolio.Cut, id, sector string, preferred []string, limit int,
) (own portfolio.Security, others []portfolio.Security, err error) {
	missing := func(err error) error { return fault.Wrap(err, fault.NotFound, "there is no security %q", id) }
	parsed, err := uuid.Parse(id)
	if err != nil {
		return own, nil, missing(err)
	}
	if !storable(sector) {
		return own, nil, fault.InvalidField("/args/sector", "it is no text that a sector can have")
	}
	rows, err := s.q.SecuritiesOfSector(ctx, db.SecuritiesOfSectorParams{
		TenantID: cut.TenantID, Revision: cut.Revision, ID: parsed, Sector: sector,
		Preferred: slices.DeleteFunc(append([]string{}, preferred...), func(symbol string) bool { return !storable(symbol) }),
		RowLimit:  int32(min(limit, maxFigures) + 1), //nolint:gosec // bounded
	})
	if err != nil {
		return own, nil, fmt.Errorf("securities like %s: %w", id, err)
	}
	for _, r := range rows {
		security := portfolio.Security{
			ID: r.ID.String(), Symbol: r.Symbol, Name: r.Name, AssetClass: r.AssetClass,
			Sector: r.Sector, Currency: r.Currency, Role: r.Role,
		}
		if r.ID == parsed {
			own = security
		} else {
			others = append(others, security)
		}
	}
	if own.ID == "" {
		return own, nil, missing(nil)
	}
	return own, others, nil
}
