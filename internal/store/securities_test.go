package store_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

func symbols(securities []portfolio.Security) []string {
	all := make([]string, len(securities))
	for i, s := range securities {
		all[i] = s.Symbol
	}
	return all
}

func TestSecuritiesOfSector(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	// DDD is listed by revision 2, in which AAA leaves the sector too.
	exec(t, pool, `INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role, revision)
		VALUES (gen_random_uuid(), 'default', 'DDD', 'D', 'equity', 'Tech', 'USD', 'holding', 2),
			(gen_random_uuid(), 'default', 'NON', 'N', 'equity', '', 'USD', 'holding', 1),
			(gen_random_uuid(), 'default', 'NUN', 'N', 'equity', '', 'USD', 'holding', 1)`)
	exec(t, pool, `INSERT INTO security_changes (security_id, tenant_id, revision, name, asset_class, sector, role)
		SELECT id, tenant_id, 2, 'Triple A', 'equity', 'Energy', 'holding' FROM securities WHERE tenant_id = 'default' AND symbol = 'AAA'`)
	id := func(symbol string) string { return securityID(t, pool, "default", symbol) }

	for name, tt := range map[string]struct {
		symbol, sector string
		revision       int64
		preferred      []string
		limit          int
		own            string // its sector
		want           []string
	}{
		"before the change":      {"BBB", "", 1, nil, 5, "Tech", []string{"AAA", "CAL"}},
		"after it":               {"BBB", "", 2, nil, 5, "Tech", []string{"CAL", "DDD"}},
		"its own sector then":    {"AAA", "", 1, nil, 5, "Tech", []string{"BBB", "CAL"}},
		"nobody else there":      {"AAA", "", 3, nil, 5, "Energy", []string{}},
		"another sector":         {"AAA", "Tech", 3, nil, 5, "Energy", []string{"BBB", "CAL", "DDD"}},
		"no such sector":         {"AAA", "Sugar", 3, nil, 5, "Energy", []string{}},
		"preferred":              {"AAA", "Tech", 3, []string{"DDD", "A\x00"}, 5, "Energy", []string{"DDD", "BBB", "CAL"}},
		"limited":                {"AAA", "Tech", 3, []string{"DDD"}, 1, "Energy", []string{"DDD"}},
		"sectorless are no kind": {"NON", "", 3, nil, 5, "", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cut := portfolio.Cut{TenantID: "default", Date: date(t, "2005-01-03"), Revision: tt.revision}
			own, others, err := s.SecuritiesOfSector(t.Context(), cut, id(tt.symbol), tt.sector, tt.preferred, tt.limit)
			require.NoError(t, err)
			require.Equal(t, tt.symbol, own.Symbol)
			require.Equal(t, tt.own, own.Sector)
			require.Equal(t, tt.want, symbols(others))
		})
	}

	cut := portfolio.Cut{TenantID: "default", Date: date(t, "2005-01-03"), Revision: 1}
	for _, unknown := range []string{"mine", uuid.NewString(), id("DDD"), securityID(t, pool, "other", "AAA")} {
		_, _, err := s.SecuritiesOfSector(t.Context(), cut, unknown, "", nil, 5)
		require.Equal(t, fault.NotFound, fault.CodeOf(err), "%s: %v", unknown, err)
	}
	_, _, err := s.SecuritiesOfSector(t.Context(), cut, id("AAA"), "\x00", nil, 5)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}
