package app

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/delivery/gate"
	"github.com/dawsos/dawsos/internal/store"
)

// breakerRetention is how long changes of circuit breakers are kept.
const breakerRetention = 30 * 24 * time.Hour

// recordBreakers starts what writes down the changes of this process's circuit breakers. It stops after
// all that has breakers, and before the pool.
func (p *process) recordBreakers(role config.Role) *breakers.Recorder {
	r := breakers.NewRecorder(store.New(p.pool, store.Options{}), breakers.RecorderOptions{
		Process: breakers.Process{Role: string(role), Host: hostname(), PID: os.Getpid()},
		Alive:   alive, Unavailable: store.Unavailable, Log: p.tel.Log,
	})
	p.onStop("circuit breaker history", r.Stop)
	return r
}

// alive reports whether a process of this host runs, be it another account's.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func (p *process) agentBreakerChanged(c agents.BreakerChange) {
	p.breakers.Add(breakers.Change{
		Kind: breakers.Agent, Name: c.Agent, From: breakers.State(c.From), To: breakers.State(c.To), At: c.At, Reason: c.Reason,
	})
}

func (p *process) endpointBreakerChanged(c gate.Change) {
	to := breakers.Gone
	if c.To != "" {
		to = breakers.State(strings.ToUpper(c.To))
	}
	p.breakers.Add(breakers.Change{
		TenantID: c.TenantID, Kind: breakers.Endpoint, Name: c.Endpoint,
		From: breakers.State(strings.ToUpper(c.From)), To: to, At: c.At, Reason: c.Reason,
	})
}
