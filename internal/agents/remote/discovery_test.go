package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/remote"
	"github.com/dawsos/dawsos/pkg/agent"
)

// world is what a discovery sees and does. Its service is down while body is "".
type world struct {
	mu     sync.Mutex
	body   string
	silent bool // it takes connections and says nothing
	asked  int
	refuse error // what register answers
	log    []string
	start  time.Time
}

func newWorld() *world { return &world{start: time.Now()} }

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) client() *http.Client {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		w.mu.Lock()
		body, silent := w.body, w.silent
		w.asked++
		n := w.asked
		w.mu.Unlock()
		if silent {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		if body == "" { // with a text that differs each time
			return nil, fmt.Errorf("connect from port %d: connection refused", n)
		}
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1}, nil
	})}
}

type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *world) register(a agent.Agent) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf("%v register %d", time.Since(w.start), len(a.Capabilities())))
	return w.refuse
}

func (w *world) report(name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf("%v %s: %v", time.Since(w.start), name, err))
}

// takeLog returns what has happened since the last time.
func (w *world) takeLog() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	return log
}

// pass lets time go by, and what is due then happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a := newAgent(t, remote.Options{URL: "http://localhost", Client: w.client(), Refresh: 10 * time.Second})
		d := remote.NewDiscovery([]*remote.Agent{a}, w.register, w.report)
		d.Once(t.Context())
		require.Equal(t, []string{"0s sentiment: agent sentiment can't be reached: connect from port 1: connection refused"}, w.takeLog())

		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx) })
		// Asked again after 1, 2, 4, 8, 10, 10 s: at 1, 3, 7, 15, 25, 35.
		pass(24500 * time.Millisecond) // half a second off what is due
		require.Empty(t, w.takeLog(), "the same failure is reported once")
		require.Equal(t, 5, w.asked)
		w.change(func() { w.body = list(scoring) })
		pass(2 * time.Second)
		require.Equal(t, []string{"25s register 1", "25s sentiment: <nil>"}, w.takeLog())

		// Every ten seconds from then on: nothing new, a longer list, a wrong one, none.
		pass(10 * time.Second)
		require.Empty(t, w.takeLog())
		w.change(func() { w.body = list(scoring, `{"name": "sentiment.words"}`) })
		pass(10 * time.Second)
		require.Equal(t, []string{"45s register 2"}, w.takeLog())
		w.change(func() { w.body = "no list" })
		pass(10 * time.Second)
		require.Equal(t, []string{"55s sentiment: the list of agent sentiment can't be used: invalid character 'o' in literal null (expecting 'u')"}, w.takeLog())
		w.change(func() { w.body = "" })
		pass(2 * time.Second)
		require.Equal(t, []string{"58s sentiment: agent sentiment can't be reached: connect from port 11: connection refused"}, w.takeLog(),
			"another failure is news")
		require.Len(t, a.Capabilities(), 2, "and what is known stays")

		// Back with the same list: registered it is already.
		w.change(func() { w.body = list(scoring, `{"name": "sentiment.words"}`) })
		pass(4 * time.Second)
		require.Equal(t, []string{"1m2s sentiment: <nil>"}, w.takeLog())

		stop()
		running.Wait()
		require.Empty(t, w.takeLog(), "being stopped is no news of the agent")
	})
}

// A list that could not be registered, because another agent has one of the names, is tried again.
func TestDiscoveryRegistersAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.body, w.refuse = list(scoring), errors.New("taken")
		a := newAgent(t, remote.Options{URL: "http://localhost", Client: w.client(), Refresh: time.Minute})
		d := remote.NewDiscovery([]*remote.Agent{a}, w.register, w.report)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx) }) // without Once: it asks at once itself
		synctest.Wait()
		require.Equal(t, []string{"0s register 1", "0s sentiment: agent sentiment can't be used: taken"}, w.takeLog())
		pass(1500 * time.Millisecond)
		require.Equal(t, []string{"1s register 1"}, w.takeLog())
		w.change(func() { w.refuse = nil })
		pass(2 * time.Second)
		require.Equal(t, []string{"3s register 1", "3s sentiment: <nil>"}, w.takeLog())
		stop()
		running.Wait()
	})
}

// The start waits for two seconds at the most, whatever the number of agents that say nothing.
func TestDiscoveryOnceIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.silent = true
		var agents []*remote.Agent
		for _, name := range []string{"a", "b", "c"} {
			agents = append(agents, newAgent(t, remote.Options{Name: name, URL: "http://localhost", Client: w.client()}))
		}
		remote.NewDiscovery(agents, w.register, w.report).Once(t.Context())
		require.ElementsMatch(t, []string{
			"2s a: agent a did not list its capabilities in time: ask agent a: context deadline exceeded",
			"2s b: agent b did not list its capabilities in time: ask agent b: context deadline exceeded",
			"2s c: agent c did not list its capabilities in time: ask agent c: context deadline exceeded",
		}, w.takeLog())

		// A process that is stopped meanwhile does not wait.
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		before := time.Now()
		remote.NewDiscovery(agents, w.register, w.report).Once(ctx)
		require.Equal(t, time.Second, time.Since(before))
		require.Empty(t, w.takeLog())
	})
}
