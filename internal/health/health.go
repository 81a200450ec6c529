// Package health makes the processes of a system known to each other, so that whoever looks at one sees all:
// each says every few seconds, in the database, that it is there and whether it is ready.
package health

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// Every is how often a process is heard.
	Every = 5 * time.Second
	// Silence is after how long without a word a process counts as gone.
	Silence = 3 * Every
)

// Process is one process, as it says of itself.
type Process struct {
	ID        uuid.UUID // of version 7
	Role      string    // api or worker
	Host      string
	PID       int
	Version   string
	Commit    string
	StartedAt time.Time
	HeardAt   time.Time
	StoppedAt *time.Time // when it said that it stops
	Reason    string     // why it is not ready; "" when it is
	Running   bool       // heard within Silence, and not stopped
}

// State is how the process is, in a word: ready, unready, stopped, or gone without one.
func (p Process) State() string {
	switch {
	case p.StoppedAt != nil:
		return "stopped"
	case !p.Running:
		return "gone"
	case p.Reason != "":
		return "unready"
	default:
		return "ready"
	}
}

// Database is the server behind everything.
type Database struct {
	Version        string // PostgreSQL's
	Schema         int64  // the last migration that was applied
	Bytes          int64
	Connections    int // of all clients of the server, as far as they can be seen
	MaxConnections int
}

// Number is the version without what a distribution says of its build.
func (d Database) Number() string {
	number, _, _ := strings.Cut(d.Version, " ")
	return number
}

// Minute is what happened in one.
type Minute struct {
	At        time.Time
	Delivered int
	Failed    int // attempts
}

// Count is how often something happened.
type Count struct {
	Number int
	More   bool // there was more than is counted
}

// Add counts what happened in one more minute, MaxMinute of it at the most, and returns how much it counted.
func (c *Count) Add(n int64) int {
	counted := int(min(n, MaxMinute))
	c.Number += counted
	c.More = c.More || n > MaxMinute
	return counted
}

// Hour is the last hour by the database's clock: from Since until Until, both whole minutes, of which the last
// is under way.
type Hour struct {
	Since, Until time.Time
	Delivered    Count
	Failed       Count // attempts to deliver
	Runs         Count // of patterns
	FailedRuns   Count
	Minutes      []Minute // in order; those in which nothing was delivered and nothing failed are missing
}

// MaxMinute is how much of one kind is counted of a minute: it bounds what looking costs.
const MaxMinute = 5_000

// Registry keeps what processes say.
type Registry interface {
	// Beat records that a process is there.
	Beat(ctx context.Context, p Process) error
	// StopProcess records that it stops.
	StopProcess(ctx context.Context, id uuid.UUID) error
	// PruneProcesses forgets those that have not been heard for long.
	PruneProcesses(ctx context.Context) error
}

// Heart beats for a process until Stop. A database that is away is tried again at the next beat: nothing waits
// for it.
type Heart struct {
	registry Registry
	process  Process
	ready    func(context.Context) string
	log      *slog.Logger
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

// Start begins to beat. ready says why the process is not ready, "" when it is.
func Start(registry Registry, p Process, ready func(context.Context) string, log *slog.Logger) *Heart {
	ctx, cancel := context.WithCancel(context.Background())
	h := &Heart{registry: registry, process: p, ready: ready, log: log, cancel: cancel}
	h.done.Go(func() { h.beat(ctx) })
	return h
}

func (h *Heart) beat(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	silent := false
	for n := 0; ; n++ {
		err := h.once(ctx, n)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !silent { // once, not every five seconds of an outage
			h.log.WarnContext(ctx, "this process can't be heard by the others", "err", err)
		}
		silent = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// pruneEach is every how many beats the old rows of all processes go.
const pruneEach = 720

func (h *Heart) once(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, Every)
	defer cancel()
	p := h.process
	p.Reason = h.ready(ctx)
	if err := h.registry.Beat(ctx, p); err != nil {
		return err
	}
	if n%pruneEach == 0 {
		return h.registry.PruneProcesses(ctx)
	}
	return nil
}

// Stop ends the beats and says that the process stops, if there is time for it.
func (h *Heart) Stop(ctx context.Context) error {
	h.cancel()
	h.done.Wait()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := h.registry.StopProcess(ctx, h.process.ID); err != nil {
		h.log.WarnContext(ctx, "the others can't be told that this process stops", "err", err)
	}
	return nil
}
