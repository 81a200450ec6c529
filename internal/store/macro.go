package store

import (
	"context"
	"fmt"
	"time"

	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// MacroCatalog describes the macro series that a cut holds values of, by name in byte order.
func (s *Store) MacroCatalog(ctx context.Context, cut portfolio.Cut) ([]macro.Info, error) {
	rows, err := s.q.MacroCatalog(ctx, cut.TenantID, cut.Date, cut.Revision)
	if err != nil {
		return nil, fmt.Errorf("macro series up to %s: %w", cut.Date.Format(time.DateOnly), err)
	}
	infos := make([]macro.Info, len(rows))
	for i, r := range rows {
		infos[i] = macro.Info{Name: r.Series, Unit: r.Unit, Frequency: macro.Frequency(r.Frequency)}
	}
	return infos, nil
}
