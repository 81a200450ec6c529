package agents

import (
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whatever the agents' file holds, it is refused, or what it says lies within its bounds and reads the same again.
func FuzzConfig(f *testing.F) {
	shipped, err := os.ReadFile("../../configs/agents.yaml")
	require.NoError(f, err)
	f.Add(shipped)
	for _, seed := range []string{
		"", "agents:\n", "agents: {a: {timeout: 1s, retry: {attempts: 3, delay: 10ms, max_delay: 1s}}}\n", "agents: {a: {breaker: {failure_rate: .nan}}}\n",
		"agents: {a: {breaker: {failure_rate: 0.5, min_calls: 10, window: 1m}}}\n", "agents: {a: {timeout: -1s}}\n", "agents: {a: {rate_limit: {calls: 5}}}\n",
		"agents: {a: {remote: {url: 'http://localhost:1'}}}\n", "agents: {a: {}, a: {}}\n", "a: &a [*a]\n", "agents: &x {a: *x}\n", "---\n---\n", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg, err := parseConfig(raw)
		if err != nil {
			return
		}
		for name, a := range cfg.Agents {
			full := a.withDefaults()
			require.GreaterOrEqual(t, full.Timeout, time.Millisecond, name)
			require.LessOrEqual(t, full.Timeout, maxTimeout, name)
			require.LessOrEqual(t, full.Retry.Delay, full.Retry.MaxDelay, name)
			require.False(t, math.IsNaN(full.Breaker.FailureRate), "%s: not a number", name)
		}
		again, err := parseConfig(raw)
		require.NoError(t, err)
		require.Equal(t, cfg, again)
	})
}
