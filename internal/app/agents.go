package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/agents/remote"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/telemetry"
	"github.com/dawsos/dawsos/pkg/agent"
)

// remoteTimeout bounds a call of a remote agent whatever its context says: the longest timeout that
// may be configured, and what it takes to say so.
const remoteTimeout = 10*time.Minute + 10*time.Second

// crew is the agents of a process and what keeps the remote ones up to date.
type crew struct {
	runtime   *agents.Runtime
	nesting   *patterns.Nesting
	remotes   []*remote.Agent
	discovery *remote.Discovery
	changed   chan struct{} // a signal that a remote agent's capabilities are others now
}

// newCrew makes all agents. Remote ones have been asked for what they can do when it returns, and may
// have answered.
func newCrew(ctx context.Context, cfg config.Config, m models, getenv func(string) string, tel *telemetry.Telemetry, db *store.Store, opts agents.Options) (*crew, error) {
	settings, err := agents.LoadConfig(cfg.AgentsFile)
	if err != nil {
		return nil, fmt.Errorf("AGENTS_FILE: %w", err)
	}
	c := &crew{nesting: patterns.NewNesting(), changed: make(chan struct{}, 1)}
	version, _ := build()
	client := outbound.NewClient(outbound.Options{
		// An operator has written the address down, and agents live where the process does.
		Policy:  outbound.Policy{AllowPrivate: true},
		Timeout: remoteTimeout, TracerProvider: tel.TracerProvider, Propagator: tel.Propagator,
	})
	all, err := builtin(cfg, m, db, client, "dawsos/"+version, opts)
	if err != nil {
		return nil, err
	}
	all = append(all, c.nesting)
	for _, name := range slices.Sorted(maps.Keys(settings.Agents)) {
		a := settings.Agents[name]
		if a.Remote == nil {
			continue
		}
		token := ""
		if a.Remote.TokenEnv != "" {
			if token = getenv(a.Remote.TokenEnv); token == "" {
				return nil, fmt.Errorf("AGENTS_FILE: agents.%s.remote.token_env: the environment variable %s is not set", name, a.Remote.TokenEnv)
			}
		}
		r, err := remote.New(remote.Options{
			Name: name, URL: a.Remote.URL, Token: token, Client: client, MaxResponse: a.Remote.MaxResponse,
			Refresh: a.Remote.Refresh, Timeout: a.Timeout, UserAgent: "dawsos/" + version,
		})
		if err != nil {
			return nil, fmt.Errorf("AGENTS_FILE: agents.%s.remote: %w", name, err)
		}
		c.remotes = append(c.remotes, r)
		all = append(all, r)
	}
	if c.runtime, err = agents.New(settings, all, opts); err != nil {
		return nil, fmt.Errorf("AGENTS_FILE: %w", err)
	}
	c.discovery = remote.NewDiscovery(c.remotes, c.register, func(name string, err error) {
		c.runtime.SetAvailable(name, err)
		if err != nil {
			opts.Logger.WarnContext(ctx, "remote agent can't be used at the moment", "agent", name, "err", err)
			return
		}
		opts.Logger.InfoContext(ctx, "remote agent is there", "agent", name)
	})
	c.discovery.Once(ctx)
	return c, nil
}

func (c *crew) register(a agent.Agent) error {
	if err := c.runtime.Replace(a); err != nil {
		return err
	}
	select {
	case c.changed <- struct{}{}:
	default: // it is known already
	}
	return nil
}

// watch keeps the remote agents up to date until ctx ends. Patterns are loaded anew when what they can
// be made of has changed.
func (c *crew) watch(ctx context.Context, reload func(ctx context.Context) error) {
	discovering := make(chan struct{})
	go func() {
		c.discovery.Run(ctx)
		close(discovering)
	}()
	for {
		select {
		case <-ctx.Done():
			<-discovering
			return
		case <-c.changed:
			_ = reload(ctx) // it says in the log what became of it
		}
	}
}
