package agents

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/outbound"
)

// Config says how each agent is guarded, by the agent's name, and where remote ones are. An agent
// without an entry gets the defaults.
//
// Its file is configs/agents.yaml, whose head describes every key; all of them may be left out.
type Config struct {
	Agents map[string]AgentConfig
}

// AgentConfig guards one agent.
type AgentConfig struct {
	// Timeout bounds one attempt at one capability that declares no timeout of its own; its context
	// ends then. 1ms to 10m; 0 means 10s.
	Timeout time.Duration
	// Retry says whether calls that failed are made again.
	Retry RetryConfig
	// Breaker is the agent's circuit breaker, shared by all its capabilities.
	Breaker BreakerConfig
	// RateLimit bounds how often the agent is called. Nil means as often as anyone asks.
	RateLimit *RateLimitConfig
	// Bulkhead bounds how many calls are under way at the same time. Nil means any number.
	Bulkhead *BulkheadConfig
	// Remote says where the agent is. Nil means that it is part of this process.
	Remote *RemoteConfig
}

// RetryConfig sets how often, and after which waits, a call is made again. Only calls of
// capabilities that are repeatable and don't delegate are, and only after failures that say of
// themselves that they may pass (fault.Unavailable):
//
//   - A panic or another defect fails again, and an error nobody has classified counts as one.
//   - A call that ran into its timeout has used the time that was there, and the agent's too: one
//     more would double the load of an agent that is already slow.
//   - A capability that delegates asks others whose own agents have tried again already.
type RetryConfig struct {
	// Attempts is how often a call is made in total, the first included. 1 to 10; 1 means no
	// retries; 0 means 2, which outlasts a connection that was just cut and never more than doubles
	// the calls of an agent that is down.
	Attempts int
	// Delay is the wait after the first failure; it doubles with each further one, up to MaxDelay,
	// and is spread by 15 % either way. A failure that says when to come back is given that time, or
	// ends the call when it is longer than MaxDelay. 1ms to 1m; 0 means 50ms.
	Delay time.Duration
	// MaxDelay bounds a wait. Delay to 1m; 0 means 1s, or Delay when that is longer.
	MaxDelay time.Duration
}

// BreakerConfig sets when a circuit breaker opens, and when it closes again. Callers' mistakes,
// cancellations and calls that never reached the agent count neither as failures nor as successes.
type BreakerConfig struct {
	// Failures is how many calls in a row must fail to open the breaker. 1 to 1000; 0 means 5, or
	// that FailureRate decides.
	Failures int
	// FailureRate, when not 0, opens the breaker at this share of failed calls within Window, once
	// there were MinCalls. 0.01 to 1, in hundredths. It excludes Failures.
	FailureRate float64
	// MinCalls is how many calls Window must hold before FailureRate counts. 1 to 10000; 0 means 20.
	MinCalls int
	// Window is the sliding time that FailureRate looks at. 1s to 1h; 0 means 60s.
	Window time.Duration
	// Delay is how long an open breaker refuses calls before it lets a trial call through. 1ms to
	// 1h; 0 means 60s.
	Delay time.Duration
	// Successes is how many trial calls in a row must succeed to close the breaker; the first
	// that fails opens it again. 1 to 1000; 0 means 1.
	Successes int
}

// RateLimitConfig bounds how often an agent is called. Time is divided into periods; a call that
// finds its period used up waits for a later one or is refused.
type RateLimitConfig struct {
	// Calls is how many calls one period has room for, at once if need be. 1 to 1000000; required.
	Calls int
	// Per is the length of a period. 1ms to 1h; 0 means 1s.
	Per time.Duration
	// Wait is how long a call may wait for its turn. Up to 1m; 0 refuses at once.
	Wait time.Duration
}

// BulkheadConfig bounds how many calls of an agent are under way at the same time.
type BulkheadConfig struct {
	// Calls is that number. 1 to 10000; required.
	Calls int
	// Wait is how long a call may wait for another one to end. Up to 1m; 0 refuses at once.
	Wait time.Duration
}

// RemoteConfig says where a remote agent is. LoadConfig fills in the defaults.
type RemoteConfig struct {
	// URL is the base address of the agent's service: http or https, without user information,
	// query or fragment, and without a slash at its end. Required.
	URL string
	// TokenEnv names the environment variable that holds the bearer token sent along. "" means none
	// is sent.
	TokenEnv string
	// Refresh is how often the agent is asked what it can do. 1s to 1h; default 30s.
	Refresh time.Duration
	// MaxResponse is how many bytes an answer may have. 1 KiB to 64 MiB; default 16 MiB.
	MaxResponse int64
}

const (
	maxTimeout         = 10 * time.Minute
	defaultRefresh     = 30 * time.Second
	defaultMaxResponse = 16 << 20
)

// withDefaults fills in what is zero.
func (c AgentConfig) withDefaults() AgentConfig {
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Retry.Attempts = cmp.Or(c.Retry.Attempts, 2)
	c.Retry.Delay = cmp.Or(c.Retry.Delay, 50*time.Millisecond)
	c.Retry.MaxDelay = cmp.Or(c.Retry.MaxDelay, max(time.Second, c.Retry.Delay))
	if c.Breaker.FailureRate == 0 {
		c.Breaker.Failures = cmp.Or(c.Breaker.Failures, 5)
	} else {
		c.Breaker.MinCalls = cmp.Or(c.Breaker.MinCalls, 20)
		c.Breaker.Window = cmp.Or(c.Breaker.Window, time.Minute)
	}
	c.Breaker.Delay = cmp.Or(c.Breaker.Delay, time.Minute)
	c.Breaker.Successes = cmp.Or(c.Breaker.Successes, 1)
	if c.RateLimit != nil {
		limit := *c.RateLimit
		limit.Per = cmp.Or(limit.Per, time.Second)
		c.RateLimit = &limit
	}
	return c
}

// configFile is Config as written. Pointers tell what is absent, and takes its default, from what
// is zero, and refused.
type configFile struct {
	Agents map[string]agentFile `yaml:"agents"`
}

type agentFile struct {
	Timeout *time.Duration `yaml:"timeout"`
	Retry   struct {
		Attempts *int           `yaml:"attempts"`
		Delay    *time.Duration `yaml:"delay"`
		MaxDelay *time.Duration `yaml:"max_delay"`
	} `yaml:"retry"`
	Breaker struct {
		Failures    *int           `yaml:"failures"`
		FailureRate *float64       `yaml:"failure_rate"`
		MinCalls    *int           `yaml:"min_calls"`
		Window      *time.Duration `yaml:"window"`
		Delay       *time.Duration `yaml:"delay"`
		Successes   *int           `yaml:"successes"`
	} `yaml:"breaker"`
	RateLimit *struct {
		Calls *int           `yaml:"calls"`
		Per   *time.Duration `yaml:"per"`
		Wait  *time.Duration `yaml:"wait"`
	} `yaml:"rate_limit"`
	Bulkhead *struct {
		Calls *int           `yaml:"calls"`
		Wait  *time.Duration `yaml:"wait"`
	} `yaml:"bulkhead"`
	Remote *struct {
		URL         string         `yaml:"url"`
		TokenEnv    string         `yaml:"token_env"`
		Refresh     *time.Duration `yaml:"refresh"`
		MaxResponse *string        `yaml:"max_response"`
	} `yaml:"remote"`
}

// LoadConfig reads the settings of the agents. Unknown keys, repeated keys and values out of bounds
// are errors; the error names every one of them.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path) //nolint:gosec // AGENTS_FILE, which the operator names
	if err != nil {
		return Config{}, fmt.Errorf("read the agents' settings: %w", err)
	}
	cfg, err := parseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

func parseConfig(data []byte) (Config, error) {
	var file configFile
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil && !errors.Is(err, io.EOF) { // EOF: the file is empty
		return Config{}, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("one YAML document is expected, a second one follows")
	}

	var problems problems
	cfg := Config{Agents: make(map[string]AgentConfig, len(file.Agents))}
	for _, name := range slices.Sorted(maps.Keys(file.Agents)) {
		cfg.Agents[name] = file.Agents[name].config("agents."+name, &problems)
	}
	return cfg, errors.Join(problems...)
}

// config checks what is written at key.
func (f agentFile) config(key string, ps *problems) AgentConfig {
	cfg := AgentConfig{
		Timeout: bounded(ps, key+".timeout", f.Timeout, time.Millisecond, maxTimeout),
		Retry: RetryConfig{
			Attempts: bounded(ps, key+".retry.attempts", f.Retry.Attempts, 1, 10),
			Delay:    bounded(ps, key+".retry.delay", f.Retry.Delay, time.Millisecond, time.Minute),
			MaxDelay: bounded(ps, key+".retry.max_delay", f.Retry.MaxDelay, time.Millisecond, time.Minute),
		},
		Breaker: BreakerConfig{
			Failures:    bounded(ps, key+".breaker.failures", f.Breaker.Failures, 1, 1000),
			FailureRate: bounded(ps, key+".breaker.failure_rate", f.Breaker.FailureRate, 0.01, 1),
			MinCalls:    bounded(ps, key+".breaker.min_calls", f.Breaker.MinCalls, 1, 10_000),
			Window:      bounded(ps, key+".breaker.window", f.Breaker.Window, time.Second, time.Hour),
			Delay:       bounded(ps, key+".breaker.delay", f.Breaker.Delay, time.Millisecond, time.Hour),
			Successes:   bounded(ps, key+".breaker.successes", f.Breaker.Successes, 1, 1000),
		},
	}
	if d := cfg.withDefaults().Retry; d.MaxDelay < d.Delay {
		ps.add(key+".retry.max_delay", "%v is shorter than delay, %v", d.MaxDelay, d.Delay)
	}
	switch b := f.Breaker; {
	case b.FailureRate == nil:
		if b.MinCalls != nil {
			ps.add(key+".breaker.min_calls", "needs failure_rate")
		}
		if b.Window != nil {
			ps.add(key+".breaker.window", "needs failure_rate")
		}
	case b.Failures != nil:
		ps.add(key+".breaker.failure_rate", "excludes failures; use one of them")
	}
	if r := cfg.Breaker.FailureRate; r != math.Round(r*100)/100 {
		ps.add(key+".breaker.failure_rate", "%v is not allowed; use hundredths", r)
	}
	if l := f.RateLimit; l != nil {
		cfg.RateLimit = &RateLimitConfig{
			Calls: needed(ps, key+".rate_limit.calls", l.Calls, 1, 1_000_000),
			Per:   bounded(ps, key+".rate_limit.per", l.Per, time.Millisecond, time.Hour),
			Wait:  bounded(ps, key+".rate_limit.wait", l.Wait, 0, time.Minute),
		}
	}
	if b := f.Bulkhead; b != nil {
		cfg.Bulkhead = &BulkheadConfig{
			Calls: needed(ps, key+".bulkhead.calls", b.Calls, 1, 10_000),
			Wait:  bounded(ps, key+".bulkhead.wait", b.Wait, 0, time.Minute),
		}
	}
	if r := f.Remote; r != nil {
		key += ".remote"
		cfg.Remote = &RemoteConfig{
			URL:         address(ps, key+".url", r.URL),
			TokenEnv:    r.TokenEnv,
			Refresh:     cmp.Or(bounded(ps, key+".refresh", r.Refresh, time.Second, time.Hour), defaultRefresh),
			MaxResponse: cmp.Or(size(ps, key+".max_response", r.MaxResponse, 1<<10, 64<<20), defaultMaxResponse),
		}
		if r.TokenEnv != "" && outbound.InTheClear(r.URL) {
			ps.add(key+".url", "is plain http to another machine, and the token of token_env would cross the network in the clear; use https")
		}
		if r.TokenEnv != "" && !variableName.MatchString(r.TokenEnv) {
			// What is written here may be the token itself: it is not repeated.
			ps.add(key+".token_env", "is not the name of an environment variable; the token itself does not belong here")
		}
	}
	return cfg
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// problems collects what is wrong with a file.
type problems []error

func (ps *problems) add(key, format string, args ...any) {
	*ps = append(*ps, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

// bounded returns *v, or zero when v is absent. A value outside [lowest, highest] is a problem.
func bounded[T int | float64 | time.Duration](ps *problems, key string, v *T, lowest, highest T) T {
	if v == nil {
		return 0
	}
	if allowed := *v >= lowest && *v <= highest; !allowed { // NaN is not either
		ps.add(key, "%v is not allowed; use %v to %v", *v, lowest, highest)
	}
	return *v
}

// needed is bounded for a key that has no default.
func needed(ps *problems, key string, v *int, lowest, highest int) int {
	if v == nil {
		ps.add(key, "is required; use %d to %d", lowest, highest)
	}
	return bounded(ps, key, v, lowest, highest)
}

// address checks a base URL and returns it without the slash at its end. User information is never
// repeated: it is a secret.
func address(ps *problems, key, raw string) string {
	const allowed = "use http or https with a host, such as http://localhost:9000"
	if raw == "" {
		ps.add(key, "is required; %s", allowed)
		return ""
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		ps.add(key, "is no URL; %s", allowed)
		return ""
	case u.User != nil:
		ps.add(key, "must not hold user information; name the variable with the token in token_env")
		return ""
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		ps.add(key, "%q is not allowed; %s", raw, allowed)
	case u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		ps.add(key, "%q is not allowed; leave out query and fragment", raw)
	}
	return strings.TrimRight(raw, "/")
}

// size reads a number of bytes such as 512KiB; it is zero when v is absent.
func size(ps *problems, key string, v *string, lowest, highest int64) int64 {
	if v == nil {
		return 0
	}
	number, unit := *v, int64(0)
	for suffix, bytes := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if n, ok := strings.CutSuffix(*v, suffix); ok {
			number, unit = n, bytes
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || unit == 0 || n < lowest/unit || n > highest/unit || n*unit < lowest {
		ps.add(key, "%q is not allowed; use %dKiB to %dMiB", *v, lowest>>10, highest>>20)
		return 0
	}
	return n * unit
}
