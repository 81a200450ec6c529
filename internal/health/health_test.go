package health

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the database is away")

// memory hears processes; the real registry is tested in internal/store.
type memory struct {
	mu      sync.Mutex
	err     error
	hang    bool // it does not answer
	beats   []Process
	at      []time.Time
	stopped []uuid.UUID
	prunes  int
}

func (m *memory) set(err error, hang bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.hang = err, hang
}

// heard is what was heard so far.
type heard struct {
	beats   []Process
	at      []time.Time
	stopped []uuid.UUID
	prunes  int
}

func (m *memory) heard() heard {
	m.mu.Lock()
	defer m.mu.Unlock()
	return heard{slices.Clone(m.beats), slices.Clone(m.at), slices.Clone(m.stopped), m.prunes}
}

func (m *memory) answer(ctx context.Context, do func()) error {
	m.mu.Lock()
	hang, err := m.hang, m.err
	m.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		do()
	}
	return err
}

func (m *memory) Beat(ctx context.Context, p Process) error {
	return m.answer(ctx, func() { m.beats, m.at = append(m.beats, p), append(m.at, time.Now()) })
}

func (m *memory) StopProcess(ctx context.Context, id uuid.UUID) error {
	return m.answer(ctx, func() { m.stopped = append(m.stopped, id) })
}

func (m *memory) PruneProcesses(ctx context.Context) error {
	return m.answer(ctx, func() { m.prunes++ })
}

func ready(context.Context) string { return "" }

// pass lets time go by in a test's bubble, and everybody do what is due.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A process is heard at once, then every five seconds, and says when it stops.
func TestHeart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, began := &memory{}, time.Now()
		me := Process{ID: uuid.New(), Role: "api", Host: "here", PID: 7}
		const away = "database does not answer"
		var reason atomic.Value
		reason.Store(away)
		h := Start(m, me, func(context.Context) string { return reason.Load().(string) }, slog.New(slog.DiscardHandler))
		synctest.Wait()
		require.Len(t, m.heard().beats, 1)
		require.Equal(t, away, m.heard().beats[0].Reason)
		require.Equal(t, me.ID, m.heard().beats[0].ID)
		require.Empty(t, m.heard().stopped)
		reason.Store("")
		pass(2*Every + time.Second)
		require.Len(t, m.heard().beats, 3)
		require.Empty(t, m.heard().beats[2].Reason, "it is asked anew each time")
		for i, at := range m.heard().at {
			require.Equal(t, time.Duration(i)*Every, at.Sub(began))
		}
		require.NoError(t, h.Stop(t.Context()))
		require.Equal(t, []uuid.UUID{me.ID}, m.heard().stopped)
		pass(2 * Every)
		require.Len(t, m.heard().beats, 3)
	})
}

// An outage is told once, and the process is heard again after it.
func TestHeartWithoutRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := &memory{err: errAway}
		h := Start(m, Process{ID: uuid.New()}, ready, slog.New(slog.NewTextHandler(&log, nil)))
		pass(10 * time.Minute)
		require.Empty(t, m.heard().beats)
		m.set(nil, false)
		pass(Every)
		require.Len(t, m.heard().beats, 1)
		m.set(errAway, false)
		pass(time.Minute)
		require.NoError(t, h.Stop(t.Context()), "that it could not be told is no failure of the stop")
		require.Equal(t, 2, strings.Count(log.String(), "this process can't be heard by the others"), log.String())
		require.Equal(t, 1, strings.Count(log.String(), "the others can't be told that this process stops"), log.String())
	})
}

// A registry that does not answer holds up neither the next beat nor the stop.
func TestHeartOfAHangingRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{hang: true}
		h := Start(m, Process{ID: uuid.New()}, ready, slog.New(slog.DiscardHandler))
		pass(time.Minute + time.Second)
		m.set(nil, false)
		pass(2 * Every)
		require.NotEmpty(t, m.heard().beats)
		m.set(nil, true)
		pass(Every)
		began := time.Now()
		require.NoError(t, h.Stop(t.Context()))
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Empty(t, m.heard().stopped)
	})
}

// Old rows go at the start and every hour, not with each beat.
func TestHeartPrunes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		h := Start(m, Process{ID: uuid.New()}, ready, slog.New(slog.DiscardHandler))
		pass(time.Hour - time.Second)
		require.Equal(t, 1, m.heard().prunes)
		pass(2 * time.Second)
		require.Equal(t, 2, m.heard().prunes)
		require.NoError(t, h.Stop(t.Context()))
	})
}

func TestState(t *testing.T) {
	t.Parallel()
	at := time.Now()
	for want, p := range map[string]Process{
		"ready": {Running: true}, "unready": {Running: true, Reason: "stopping"}, "gone": {Reason: "stopping"}, "stopped": {StoppedAt: &at},
	} {
		require.Equal(t, want, p.State())
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	var c Count
	require.Equal(t, 3, c.Add(3))
	require.Equal(t, MaxMinute, c.Add(MaxMinute))
	require.Equal(t, Count{Number: MaxMinute + 3}, c)
	require.Equal(t, MaxMinute, c.Add(MaxMinute+1))
	require.Equal(t, Count{Number: 2*MaxMinute + 3, More: true}, c)
	require.Zero(t, c.Add(0))
	require.True(t, c.More)
}

func TestNumber(t *testing.T) {
	t.Parallel()
	require.Equal(t, "15.18", Database{Version: "15.18 (Debian 15.18-0+deb12u1)"}.Number())
	require.Equal(t, "18.0", Database{Version: "18.0"}.Number())
}
