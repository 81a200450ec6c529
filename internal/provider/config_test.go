package provider_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/provider"
)

func TestConfigIsReadStrictly(t *testing.T) {
	t.Parallel()
	const analyticsDir = "../../configs/analytics"
	c, err := provider.LoadConfig(analyticsDir)
	require.NoError(t, err)
	require.Contains(t, c.FRED.Series, "UNRATE")

	raw, err := os.ReadFile(filepath.Join(analyticsDir, provider.File))
	require.NoError(t, err)
	for name, tt := range map[string]struct{ old, changed, says string }{
		"unknown key":     {"fred:", "fread:", "fread"},
		"no days":         {"\n  days:", "\n  days: 0 #", "providers.yaml: news.days: 0 is not allowed; use 1 to 365"},
		"too many series": {"  series:\n", "  series:\n" + strings.Repeat("    - A\n", 1001), "fred.series: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, string(raw), tt.old)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, provider.File), []byte(strings.Replace(string(raw), tt.old, tt.changed, 1)), 0o600))
			_, err := provider.LoadConfig(dir)
			require.ErrorContains(t, err, tt.says)
		})
	}
	_, err = provider.LoadConfig(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}
