package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// The catalog is what a cut holds: a series whose first value is dated or was learnt later is not in it.
func TestMacroCatalog(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addMacro(t, pool, "default", "b_LATER", "2005-02-28", 1, 1)
	addMacro(t, pool, "default", "RATE", "2005-01-31", 1, 3)
	addMacro(t, pool, "default", "RATE", "2005-02-28", 2, 4)
	addMacro(t, pool, "default", "IMPORTED", "2005-01-31", 2, 5)
	addMacro(t, pool, "other", "THEIRS", "2005-01-31", 1, 6)
	exec(t, pool, `INSERT INTO macro_series (tenant_id, series, unit, frequency, origin)
		VALUES ('default', 'EMPTY', 'index', 'quarterly', 'test')`)
	for name, tt := range map[string]struct {
		day      string
		revision int64
		want     []string
	}{
		"before anything": {"2005-01-30", 3, []string{}},
		"first revision":  {"2005-01-31", 1, []string{"RATE"}},
		"second revision": {"2005-01-31", 2, []string{"IMPORTED", "RATE"}},
		"later day":       {"2005-03-01", 2, []string{"IMPORTED", "RATE", "b_LATER"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			infos, err := s.MacroCatalog(t.Context(), portfolio.Cut{TenantID: "default", Date: date(t, tt.day), Revision: tt.revision})
			require.NoError(t, err)
			want := []macro.Info{}
			for _, n := range tt.want {
				want = append(want, macro.Info{Name: n, Unit: "percent", Frequency: macro.Monthly})
			}
			require.Equal(t, want, infos)
		})
	}
}
