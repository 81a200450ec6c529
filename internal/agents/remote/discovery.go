package remote

import (
	"context"
	"sync"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

const (
	// startPatience is how long the start of the process waits for a list.
	startPatience = 2 * time.Second
	// listPatience is how long a list may take afterwards.
	listPatience = 10 * time.Second
	// firstRetry is the pause after the first failure; each further one doubles it, up to the
	// agent's refresh.
	firstRetry = time.Second
)

// Discovery keeps the capabilities of remote agents up to date: Once at the start, then Run.
type Discovery struct {
	watches []*watch
}

// watch is one agent's part. Only one goroutine at a time works on it.
type watch struct {
	agent    *Agent
	register func(agent.Agent) error
	report   func(name string, err error)

	registered bool // the present list is registered
	failures   int  // in a row
	reported   bool // something has been reported
	last       string
}

// NewDiscovery returns a discovery for agents. register is called with an agent whose list has
// changed, and again after a failure of its own. report is told, once for each change, that an
// agent can be used (nil) or why not: it can't be reached, its list is wrong, register refused it.
// Both are called from several goroutines, for one agent by one at a time.
func NewDiscovery(agents []*Agent, register func(agent.Agent) error, report func(name string, err error)) *Discovery {
	d := &Discovery{watches: make([]*watch, len(agents))}
	for i, a := range agents {
		d.watches[i] = &watch{agent: a, register: register, report: report}
	}
	return d
}

// Once asks all agents for their lists, side by side, and returns when each has answered or had two
// seconds. Agents that don't answer are reported, and no reason not to go on.
func (d *Discovery) Once(ctx context.Context) {
	var wg sync.WaitGroup
	for _, w := range d.watches {
		wg.Go(func() { w.look(ctx, startPatience) })
	}
	wg.Wait()
}

// Run asks each agent again at its Refresh until ctx ends, and one that failed sooner: after a second,
// then after twice as long each time.
func (d *Discovery) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, w := range d.watches {
		wg.Go(func() {
			timer := time.NewTimer(w.pause())
			defer timer.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-timer.C:
				}
				w.look(ctx, listPatience)
				timer.Reset(w.pause())
			}
		})
	}
	wg.Wait()
}

// look asks for the list once.
func (w *watch) look(ctx context.Context, patience time.Duration) {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	changed, err := w.agent.Discover(asking)
	if ctx.Err() != nil { // we are being stopped: that says nothing about the agent
		return
	}
	if changed {
		w.registered = false
	}
	if err == nil && !w.registered {
		if err = w.register(w.agent); err != nil {
			err = fault.New(fault.Internal, "agent %s can't be used: %v", w.agent.Name(), err)
		}
		w.registered = err == nil
	}
	if err == nil {
		w.failures = 0
	} else {
		w.failures++
	}
	w.tell(err)
}

// tell reports err unless the same was reported last. Texts for callers are compared: the others
// hold port numbers, which differ each time.
func (w *watch) tell(err error) {
	text := ""
	if err != nil {
		text = string(fault.CodeOf(err)) + fault.Detail(err)
	}
	if w.reported && text == w.last {
		return
	}
	w.reported, w.last = true, text
	w.report(w.agent.Name(), err)
}

func (w *watch) pause() time.Duration {
	switch {
	case !w.reported: // never asked
		return 0
	case w.failures == 0:
		return w.agent.refresh
	}
	return min(w.agent.refresh, firstRetry<<min(w.failures-1, 20))
}
