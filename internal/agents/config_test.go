package agents

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	load := func(t *testing.T, text string) (Config, error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "agents.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return LoadConfig(path)
	}

	for name, tc := range map[string]struct {
		text string
		want map[string]AgentConfig
	}{
		"empty":      {text: "", want: map[string]AgentConfig{}},
		"no agents":  {text: "agents:\n", want: map[string]AgentConfig{}},
		"an agent":   {text: "agents: {a: {}}", want: map[string]AgentConfig{"a": {}}},
		"everything": {text: "agents:\n  a:\n    timeout: 1m30s\n    breaker: {failures: 3, delay: 250ms, successes: 2}\n", want: map[string]AgentConfig{"a": {Timeout: 90 * time.Second, Breaker: BreakerConfig{Failures: 3, Delay: 250 * time.Millisecond, Successes: 2}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := load(t, tc.text)
			require.NoError(t, err)
			require.Equal(t, Config{Agents: tc.want}, got)
		})
	}

	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":       {"agents:\n  a:\n    time_out: 1s\n", []string{"agents.yaml: ", "line 3: field time_out not found"}},
		"unknown top key":   {"agent: {}\n", []string{"line 1: field agent not found"}},
		"repeated agent":    {"agents:\n  a: {}\n  a: {}\n", []string{"line 3"}},
		"no duration":       {"agents:\n  a:\n    timeout: soon\n", []string{"line 3"}},
		"no unit":           {"agents:\n  a:\n    timeout: 10\n", []string{"line 3: cannot unmarshal !!int `10` into time.Duration"}},
		"a second document": {"agents: {}\n---\nagents: {}\n", []string{"a second one follows"}},
		"bounds": {
			"agents:\n  b: {breaker: {failures: 0, delay: 2h, successes: 1001}}\n  a: {timeout: 10us}\n",
			[]string{
				"agents.a.timeout: 10µs is not allowed; use 1ms to 10m0s\n",
				"agents.b.breaker.failures: 0 is not allowed; use 1 to 1000\n",
				"agents.b.breaker.delay: 2h0m0s is not allowed; use 1ms to 1h0m0s\n",
				"agents.b.breaker.successes: 1001 is not allowed; use 1 to 1000",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tc.text)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
		})
	}

	_, err := LoadConfig(filepath.Join(t.TempDir(), "absent.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	require.Equal(t, AgentConfig{
		Timeout: 10 * time.Second,
		Breaker: BreakerConfig{Failures: 5, Delay: time.Minute, Successes: 1},
	}, AgentConfig{}.withDefaults())
	set := AgentConfig{Timeout: 1, Breaker: BreakerConfig{Failures: 2, Delay: 3, Successes: 4}}
	require.Equal(t, set, set.withDefaults())
}
