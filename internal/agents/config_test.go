package agents

import (
	"fmt"
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
		"empty":     {text: "", want: map[string]AgentConfig{}},
		"no agents": {text: "agents:\n", want: map[string]AgentConfig{}},
		"an agent":  {text: "agents: {a: {}}", want: map[string]AgentConfig{"a": {}}},
		"an agent's policies": {
			text: `agents:
  a:
    timeout: 1m30s
    retry: {attempts: 3, delay: 10ms, max_delay: 2s}
    breaker: {failures: 3, delay: 250ms, successes: 2}
    rate_limit: {calls: 100, per: 1m, wait: 2s}
    bulkhead: {calls: 8, wait: 500ms}
`,
			want: map[string]AgentConfig{"a": {
				Timeout:   90 * time.Second,
				Retry:     RetryConfig{Attempts: 3, Delay: 10 * time.Millisecond, MaxDelay: 2 * time.Second},
				Breaker:   BreakerConfig{Failures: 3, Delay: 250 * time.Millisecond, Successes: 2},
				RateLimit: &RateLimitConfig{Calls: 100, Per: time.Minute, Wait: 2 * time.Second},
				Bulkhead:  &BulkheadConfig{Calls: 8, Wait: 500 * time.Millisecond},
			}},
		},
		"a remote agent by rate": {
			text: `agents:
  a:
    breaker: {failure_rate: 0.29, min_calls: 10, window: 30s}
    rate_limit: {calls: 1}
    remote: {url: "https://agents.example:9000/v1/", token_env: RESEARCH_TOKEN, refresh: 5s, max_response: 512KiB}
`,
			want: map[string]AgentConfig{"a": {
				Breaker:   BreakerConfig{FailureRate: 0.29, MinCalls: 10, Window: 30 * time.Second},
				RateLimit: &RateLimitConfig{Calls: 1},
				Remote: &RemoteConfig{
					URL: "https://agents.example:9000/v1", TokenEnv: "RESEARCH_TOKEN", Refresh: 5 * time.Second, MaxResponse: 512 << 10,
				},
			}},
		},
		"a remote agent by default": {
			text: "agents: {a: {remote: {url: 'http://localhost:9000'}}}",
			want: map[string]AgentConfig{"a": {Remote: &RemoteConfig{
				URL: "http://localhost:9000", Refresh: 30 * time.Second, MaxResponse: 16 << 20,
			}}},
		},
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
		"unknown inner key": {"agents:\n  a:\n    remote: {token: x}\n", []string{"line 3: field token not found"}},
		"unknown top key":   {"agent: {}\n", []string{"line 1: field agent not found"}},
		"repeated agent":    {"agents:\n  a: {}\n  a: {}\n", []string{"line 3"}},
		"no duration":       {"agents:\n  a:\n    timeout: soon\n", []string{"line 3"}},
		"no unit":           {"agents:\n  a:\n    timeout: 10\n", []string{"line 3: cannot unmarshal !!int `10` into time.Duration"}},
		"a second document": {"agents: {}\n---\nagents: {}\n", []string{"a second one follows"}},
		"bounds": {
			`agents:
  b: {breaker: {failures: 0, delay: 2h, successes: 1001}, retry: {attempts: 11, delay: 0s, max_delay: 2m}}
  a: {timeout: 10us, rate_limit: {calls: 0, per: 2h, wait: -1s}, bulkhead: {calls: 10001, wait: 2m}}
  c: {breaker: {failure_rate: 1.5, min_calls: 0, window: 1ms}, remote: {url: "http://a", refresh: 1ms, max_response: 65MiB}}
  d: {breaker: {failure_rate: .nan}}
`,
			[]string{
				"agents.a.timeout: 10µs is not allowed; use 1ms to 10m0s\n",
				"agents.a.rate_limit.calls: 0 is not allowed; use 1 to 1000000\n",
				"agents.a.rate_limit.per: 2h0m0s is not allowed; use 1ms to 1h0m0s\n",
				"agents.a.rate_limit.wait: -1s is not allowed; use 0s to 1m0s\n",
				"agents.a.bulkhead.calls: 10001 is not allowed; use 1 to 10000\n",
				"agents.a.bulkhead.wait: 2m0s is not allowed; use 0s to 1m0s\n",
				"agents.b.breaker.failures: 0 is not allowed; use 1 to 1000\n",
				"agents.b.breaker.delay: 2h0m0s is not allowed; use 1ms to 1h0m0s\n",
				"agents.b.breaker.successes: 1001 is not allowed; use 1 to 1000\n",
				"agents.b.retry.attempts: 11 is not allowed; use 1 to 10\n",
				"agents.b.retry.delay: 0s is not allowed; use 1ms to 1m0s\n",
				"agents.b.retry.max_delay: 2m0s is not allowed; use 1ms to 1m0s\n",
				"agents.c.breaker.failure_rate: 1.5 is not allowed; use 0.01 to 1\n",
				"agents.c.breaker.min_calls: 0 is not allowed; use 1 to 10000\n",
				"agents.c.breaker.window: 1ms is not allowed; use 1s to 1h0m0s\n",
				"agents.c.remote.refresh: 1ms is not allowed; use 1s to 1h0m0s\n",
				`agents.c.remote.max_response: "65MiB" is not allowed; use 1KiB to 64MiB`,
				"agents.d.breaker.failure_rate: NaN is not allowed; use 0.01 to 1",
			},
		},
		"what does not go together": {
			`agents:
  a: {breaker: {failures: 5, failure_rate: 0.5}, retry: {delay: 3s, max_delay: 2s}}
  b: {breaker: {min_calls: 5, window: 10s}}
  c: {breaker: {failure_rate: 0.125}}
`,
			[]string{
				"agents.a.breaker.failure_rate: excludes failures; use one of them\n",
				"agents.a.retry.max_delay: 2s is shorter than delay, 3s\n",
				"agents.b.breaker.min_calls: needs failure_rate\n",
				"agents.b.breaker.window: needs failure_rate\n",
				"agents.c.breaker.failure_rate: 0.125 is not allowed; use hundredths",
			},
		},
		"what must be there": {
			"agents: {a: {rate_limit: {per: 1s}, bulkhead: {}, remote: {}}}",
			[]string{
				"agents.a.rate_limit.calls: is required; use 1 to 1000000\n",
				"agents.a.bulkhead.calls: is required; use 1 to 10000\n",
				"agents.a.remote.url: is required; use http or https with a host",
			},
		},
		"addresses": {
			`agents:
  a: {remote: {url: "ftp://host"}}
  b: {remote: {url: "http://"}}
  c: {remote: {url: "http://host/?x=1"}}
  d: {remote: {url: "http://host/#x"}}
  e: {remote: {url: "http://ho st"}}
  f: {remote: {url: "localhost:9000"}}
`,
			[]string{
				`agents.a.remote.url: "ftp://host" is not allowed; use http or https with a host`,
				`agents.b.remote.url: "http://" is not allowed; use http or https with a host`,
				`agents.c.remote.url: "http://host/?x=1" is not allowed; leave out query and fragment`,
				`agents.d.remote.url: "http://host/#x" is not allowed; leave out query and fragment`,
				"agents.e.remote.url: is no URL; use http or https with a host",
				`agents.f.remote.url: "localhost:9000" is not allowed; use http or https with a host`,
			},
		},
		"sizes": {
			`agents:
  a: {remote: {url: "http://h", max_response: 16}}
  b: {remote: {url: "http://h", max_response: MiB}}
  c: {remote: {url: "http://h", max_response: 0KiB}}
  d: {remote: {url: "http://h", max_response: -1MiB}}
  e: {remote: {url: "http://h", max_response: 9223372036854775807MiB}}
`,
			[]string{
				`agents.a.remote.max_response: "16" is not allowed`, `agents.b.remote.max_response: "MiB" is not allowed`,
				`agents.c.remote.max_response: "0KiB" is not allowed`, `agents.d.remote.max_response: "-1MiB" is not allowed`,
				`agents.e.remote.max_response: "9223372036854775807MiB" is not allowed`,
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

	t.Run("a token does not cross a network in the clear", func(t *testing.T) {
		t.Parallel()
		for url, refused := range map[string]bool{
			"http://research:9000": true, "http://10.0.0.1": true, "https://research:9000": false,
			"http://localhost:9000": false, "http://127.0.0.1:9000/v1": false, "http://[::1]:9000": false,
		} {
			_, err := load(t, fmt.Sprintf(`agents: {a: {remote: {url: %q, token_env: TOKEN}}}`, url))
			if refused {
				require.ErrorContains(t, err, "agents.a.remote.url: is plain http to another machine", url)
			} else {
				require.NoError(t, err, url)
			}
			_, err = load(t, fmt.Sprintf(`agents: {a: {remote: {url: %q}}}`, url))
			require.NoError(t, err, "without a token there is nothing to read: %s", url)
		}
	})

	t.Run("secrets are not repeated", func(t *testing.T) {
		t.Parallel()
		_, err := load(t, `agents: {a: {remote: {url: "http://user:hunter2@host", token_env: "daws_hunter2!"}}}`)
		require.ErrorContains(t, err, "agents.a.remote.url: must not hold user information; name the variable")
		require.ErrorContains(t, err, "agents.a.remote.token_env: is not the name of an environment variable")
		require.NotContains(t, err.Error(), "hunter2")
	})

	_, err := LoadConfig(filepath.Join(t.TempDir(), "absent.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestShippedConfig(t *testing.T) {
	t.Parallel()
	cfg, err := LoadConfig("../../configs/agents.yaml")
	require.NoError(t, err)
	analyst := cfg.Agents["financial_analyst"]
	require.Equal(t, analyst.withDefaults(), AgentConfig{}.withDefaults(), "what is written out there is the default")
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	require.Equal(t, AgentConfig{
		Timeout: 10 * time.Second,
		Retry:   RetryConfig{Attempts: 2, Delay: 50 * time.Millisecond, MaxDelay: time.Second},
		Breaker: BreakerConfig{Failures: 5, Delay: time.Minute, Successes: 1},
	}, AgentConfig{}.withDefaults())
	require.Equal(t,
		BreakerConfig{FailureRate: 0.5, MinCalls: 20, Window: time.Minute, Delay: time.Minute, Successes: 1},
		AgentConfig{Breaker: BreakerConfig{FailureRate: 0.5}}.withDefaults().Breaker)
	require.Equal(t, 3*time.Second, AgentConfig{Retry: RetryConfig{Delay: 3 * time.Second}}.withDefaults().Retry.MaxDelay)

	set := AgentConfig{
		Timeout: 1, Retry: RetryConfig{Attempts: 1, Delay: 2, MaxDelay: 3}, Breaker: BreakerConfig{Failures: 2, Delay: 3, Successes: 4},
		RateLimit: &RateLimitConfig{Calls: 5, Per: 6}, Bulkhead: &BulkheadConfig{Calls: 7},
	}
	require.Equal(t, set, set.withDefaults())
	unset := &RateLimitConfig{Calls: 5}
	require.Equal(t, &RateLimitConfig{Calls: 5, Per: time.Second}, AgentConfig{RateLimit: unset}.withDefaults().RateLimit)
	require.Zero(t, unset.Per, "the settings given are left alone")
}
