package agents

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config says how each agent is guarded, by the agent's name. An agent without an entry gets the
// defaults.
//
// Its file, configs/agents.yaml, looks like this; every key below an agent may be left out:
//
//	agents:
//	  financial_analyst:
//	    timeout: 10s
//	    breaker:
//	      failures: 5
//	      delay: 60s
//	      successes: 1
type Config struct {
	Agents map[string]AgentConfig
}

// AgentConfig guards one agent.
type AgentConfig struct {
	// Timeout bounds one call of one capability; its context ends then. 1ms to 10m; 0 means 10s.
	Timeout time.Duration
	// Breaker is the agent's circuit breaker, shared by all its capabilities.
	Breaker BreakerConfig
}

// BreakerConfig sets when a circuit breaker opens, and when it closes again.
type BreakerConfig struct {
	// Failures is how many calls in a row must fail to open the breaker. Callers' mistakes and
	// cancellations are no failures. 1 to 1000; 0 means 5.
	Failures int
	// Delay is how long an open breaker refuses calls before it lets a trial call through. 1ms to
	// 1h; 0 means 60s.
	Delay time.Duration
	// Successes is how many trial calls in a row must succeed to close the breaker; the first
	// that fails opens it again. 1 to 1000; 0 means 1.
	Successes int
}

// withDefaults fills in what is zero.
func (c AgentConfig) withDefaults() AgentConfig {
	return AgentConfig{
		Timeout: cmp.Or(c.Timeout, 10*time.Second),
		Breaker: BreakerConfig{
			Failures:  cmp.Or(c.Breaker.Failures, 5),
			Delay:     cmp.Or(c.Breaker.Delay, time.Minute),
			Successes: cmp.Or(c.Breaker.Successes, 1),
		},
	}
}

// configFile is Config as written. Pointers tell what is absent, and takes its default, from what
// is zero, and refused.
type configFile struct {
	Agents map[string]struct {
		Timeout *time.Duration `yaml:"timeout"`
		Breaker struct {
			Failures  *int           `yaml:"failures"`
			Delay     *time.Duration `yaml:"delay"`
			Successes *int           `yaml:"successes"`
		} `yaml:"breaker"`
	} `yaml:"agents"`
}

// LoadConfig reads a file of the form shown at Config. Unknown keys, repeated keys and values out
// of bounds are errors; the error names every one of them.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
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

	var problems []error
	cfg := Config{Agents: make(map[string]AgentConfig, len(file.Agents))}
	for _, name := range slices.Sorted(maps.Keys(file.Agents)) {
		a, key := file.Agents[name], "agents."+name
		ac := AgentConfig{
			Timeout: bounded(&problems, key+".timeout", a.Timeout, time.Millisecond, 10*time.Minute),
			Breaker: BreakerConfig{
				Failures:  bounded(&problems, key+".breaker.failures", a.Breaker.Failures, 1, 1000),
				Delay:     bounded(&problems, key+".breaker.delay", a.Breaker.Delay, time.Millisecond, time.Hour),
				Successes: bounded(&problems, key+".breaker.successes", a.Breaker.Successes, 1, 1000),
			},
		}
		cfg.Agents[name] = ac
	}
	return cfg, errors.Join(problems...)
}

// bounded returns *v, or zero when v is absent. A value outside [lowest, highest] is added to
// problems.
func bounded[T int | time.Duration](problems *[]error, key string, v *T, lowest, highest T) T {
	if v == nil {
		return 0
	}
	if *v < lowest || *v > highest {
		*problems = append(*problems, fmt.Errorf("%s: %v is not allowed; use %v to %v", key, *v, lowest, highest))
	}
	return *v
}
