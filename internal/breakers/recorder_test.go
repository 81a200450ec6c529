package breakers

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errAway  = errors.New("the database is away")
	errWrong = errors.New("the database refuses it")
	me       = Process{Role: "api", Host: "here", PID: 7}
)

// memory keeps changes; the real book is tested in internal/store.
type memory struct {
	mu      sync.Mutex
	err     error
	hold    chan struct{} // writes wait for it to close
	changes []Change
	writes  int
	found   []Standing
}

func (m *memory) RecordBreakerChanges(ctx context.Context, changes []Change) error {
	m.mu.Lock()
	hold := m.hold
	m.writes++
	m.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.changes = append(m.changes, changes...)
	}
	return m.err
}

func (m *memory) BreakersOn(_ context.Context, role, host string) ([]Standing, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if role != me.Role || host != me.Host {
		return nil, errWrong
	}
	return m.found, m.err
}

func (m *memory) is(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// told are the changes as text.
func (m *memory) told() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for _, c := range m.changes {
		list = append(list, c.Name+" "+string(c.From)+">"+string(c.To))
	}
	return list
}

func start(m *memory) (*Recorder, *bytes.Buffer) {
	log := &bytes.Buffer{}
	return NewRecorder(m, RecorderOptions{
		Process: me, Alive: func(pid int) bool { return pid == 8 },
		Unavailable: func(err error) bool { return errors.Is(err, errAway) }, Log: slog.New(slog.NewTextHandler(log, nil)),
	}), log
}

func opened(name string) Change {
	return Change{Kind: Agent, Name: name, From: Closed, To: Open, At: time.Now(), Reason: "It failed."}
}

func TestRecorderWritesInOrderAndSaysFarewell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		r, log := start(m)
		r.Add(opened("a"))
		r.Add(Change{TenantID: "default", Kind: Endpoint, Name: "e", From: Closed, To: Open, Reason: strings.Repeat("ü", 1000)})
		r.Add(Change{Kind: Agent, Name: "a", From: Open, To: HalfOpen})
		r.Add(Change{TenantID: "default", Kind: Endpoint, Name: "e", From: Open, To: Gone})
		synctest.Wait()
		require.Equal(t, []string{"a CLOSED>OPEN", "e CLOSED>OPEN", "a OPEN>HALF_OPEN", "e OPEN>GONE"}, m.told(), "without a wait")
		require.NoError(t, r.Stop(t.Context()))
		r.Add(opened("late"))
		require.NoError(t, r.Stop(t.Context()), "again")

		require.Equal(t, "a HALF_OPEN>GONE", m.told()[4])
		require.Len(t, m.told(), 5, "what is gone already is not told again, nor what comes after the end")
		for i, c := range m.changes {
			require.Equal(t, me, c.Process)
			if i > 0 {
				require.Equal(t, 1, slices.Compare(c.ID[:], m.changes[i-1].ID[:]), "ids are in order")
			}
		}
		require.Equal(t, MaxReason, utf8.RuneCountInString(m.changes[1].Reason))
		require.Empty(t, log.String())
	})
}

func TestRecorderWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{err: errAway}
		r, log := start(m)
		begun := time.Now()
		for range 250 {
			r.Add(opened("a"))
		}
		require.Equal(t, begun, time.Now(), "whoever adds waits for nothing")
		<-time.After(time.Hour)
		m.is(nil)
		<-time.After(maxRetryWait)
		synctest.Wait()
		require.Len(t, m.told(), 250)
		require.Equal(t, 3, m.writes, "in batches")
		require.NoError(t, r.Stop(t.Context()))
		require.Empty(t, log.String(), "nothing was lost")
	})
}

func TestRecorderCountsWhatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{err: errWrong}
		r, log := start(m)
		synctest.Wait()
		require.Contains(t, log.String(), "circuit breakers of earlier processes were not looked up")
		r.Add(opened("refused"))
		synctest.Wait()
		require.Contains(t, log.String(), `msg="changes of circuit breakers not recorded" count=1 err="the database refuses it"`)

		m.is(nil)
		hold := make(chan struct{})
		m.hold = hold
		r.Add(opened("a"))
		synctest.Wait() // it is being written
		for range maxQueue + 3 {
			r.Add(opened("b"))
		}
		close(hold)
		synctest.Wait()
		require.Len(t, m.told(), maxQueue+1)
		require.Contains(t, log.String(), "there was no room to hold them\" count=3")
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestRecorderStopsInBoundedTime(t *testing.T) {
	t.Parallel()
	t.Run("the database is away", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			m := &memory{}
			r, log := start(m)
			synctest.Wait()
			m.is(errAway)
			r.Add(opened("a"))
			synctest.Wait()
			begun := time.Now()
			require.NoError(t, r.Stop(t.Context()))
			require.Less(t, time.Since(begun), time.Second)
			require.Contains(t, log.String(), "not recorded")
		})
	})
	t.Run("it does not answer", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			m := &memory{hold: make(chan struct{})}
			r, _ := start(m)
			r.Add(opened("a"))
			synctest.Wait()
			begun := time.Now()
			require.ErrorContains(t, r.Stop(t.Context()), "not all written")
			require.Equal(t, stopTime, time.Since(begun))
		})
	})
}

func TestRecorderBuriesWhatIsLeftOfEarlierProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := func(pid int, name string) Standing {
			return Standing{TenantID: "default", Process: Process{"api", "here", pid}, Kind: Endpoint, Name: name, State: Open}
		}
		m := &memory{found: []Standing{at(7, "of a container's earlier start"), at(8, "of one that runs"), at(9, "of one that was killed")}}
		r, _ := start(m)
		synctest.Wait()
		require.Equal(t, []string{"of a container's earlier start OPEN>GONE", "of one that was killed OPEN>GONE"}, m.told())
		require.Equal(t, 9, m.changes[1].Process.PID)
		require.Equal(t, "default", m.changes[1].TenantID)
		require.NoError(t, r.Stop(t.Context()))
		require.Len(t, m.told(), 2, "they are none of its own")
	})
}
