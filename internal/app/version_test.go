package app

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/config"
)

// TestVersion: what a build without a version says. What a release says is tested with its programs, in
// internal/release.
func TestVersion(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, PrintVersion(&out, config.Worker))
	require.Regexp(t, `^worker dev, commit (unknown|[0-9a-f]{40}), go\d\S* \w+/\w+\n$`, out.String())
	require.Contains(t, out.String(), runtime.Version())

	require.True(t, asksForVersion([]string{"version"}))
	require.True(t, asksForVersion([]string{"--version"}))
	require.False(t, asksForVersion(nil))
	require.ErrorContains(t, RunAPI(t.Context(), []string{"version", "x"}, func(string) string { return "" }), "usage: api")
	require.ErrorContains(t, RunWorker(t.Context(), []string{"--version", "x"}, func(string) string { return "" }), "usage: worker")
}
