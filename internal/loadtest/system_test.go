package loadtest

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
)

const patience = 60 * time.Second

func TestSystemTellsKillsFromCrashes(t *testing.T) {
	t.Parallel()
	p := place(t)
	s, err := NewSystem(p, 1, 1)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	require.NoError(t, s.Start(t.Context()))
	pool := dbtest.Connect(t, p.DatabaseURL)
	require.Eventually(t, func() bool {
		jobs, err := periodic(t.Context(), pool)
		return err == nil && len(jobs) > 0
	}, patience, 50*time.Millisecond, "River marks periodic jobs as they are looked for")
	require.Equal(t, []string{"api-1", "worker-1"}, []string{s.Name(0), s.Name(1)})
	require.Len(t, s.URLs("/x"), 1)

	kills, err := kill(t.Context(), s, ChaosOptions{Duration: time.Second, Kills: 6, Seed: 3})
	require.NoError(t, err)
	require.Equal(t, 6, total(kills))
	require.Len(t, kills, 2, "both are hit: %v", kills)
	require.NoError(t, s.Ready(t.Context()), "both are back")
	require.Empty(t, s.Crashes())
	sizes, err := s.Memory()
	require.NoError(t, err)
	require.Greater(t, sizes[0], int64(5<<20))
	require.Greater(t, sizes[1], int64(5<<20))

	// An end that nobody asked for is noticed, and mended.
	before := s.members[1].process
	before.Signal(syscall.SIGKILL)
	require.Eventually(t, func() bool { return len(s.Crashes()) == 1 }, patience, 20*time.Millisecond)
	require.Contains(t, s.Crashes()[0], "worker-1 ended by itself: signal: killed")
	require.Eventually(t, func() bool {
		s.members[1].mu.Lock()
		defer s.members[1].mu.Unlock()
		return s.members[1].process != before
	}, patience, 20*time.Millisecond)
	require.NoError(t, s.Ready(t.Context()))

	require.NoError(t, s.Stop("worker"))
	require.Error(t, ready(t.Context(), s.members[1].addr))
	require.NoError(t, ready(t.Context(), s.members[0].addr))
	require.NoError(t, s.Restart(t.Context(), "worker"))
	require.NoError(t, s.Stop(""))
	require.Len(t, s.Crashes(), 1)
}

// TestChaosSmall is two APIs and two workers without kills: nothing is repeated, and what is due every so often
// runs once. A run with kills takes the reconciler's patience longer; .ci/run has one.
func TestChaosSmall(t *testing.T) {
	t.Parallel()
	r, err := Chaos(t.Context(), place(t), ChaosOptions{
		Duration: 2 * time.Second, Seed: 1, APIs: 2, Workers: 2, Rate: 30, Concurrency: 8, Drain: patience,
	})
	require.NoError(t, err)
	require.True(t, r.OK(), r.String())
	require.GreaterOrEqual(t, r.Account.Acknowledged, 10)
	require.Equal(t, r.Account.Acknowledged, r.Account.Received)
	require.Greater(t, r.Account.Attempts, r.Account.Received, "the receiver fails at times")
	require.Contains(t, r.String(), "LOST            0\n")
}

func TestFailuresSmall(t *testing.T) {
	t.Parallel()
	r, err := Failures(t.Context(), place(t), FailuresOptions{
		Events: 40, Fail: 2, Retry: 200 * time.Millisecond, Concurrency: 8, Drain: patience,
	})
	require.NoError(t, err)
	require.True(t, r.OK(), r.String())
	require.Equal(t, []int{40, 40, 120, 3}, []int{r.Account.Received, r.Exact, r.Account.Attempts, r.Attempts})
}

// TestFailuresDetected: a receiver that fails more often than there are retries leaves events missing.
func TestFailuresDetected(t *testing.T) {
	t.Parallel()
	r, err := Failures(t.Context(), place(t), FailuresOptions{
		Events: 3, Fail: 2, Retry: time.Hour, Concurrency: 1, Drain: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	require.False(t, r.OK())
	require.Equal(t, []string{"not drained 100ms after the end of the load", "3 events are missing"}, r.Account.Wrong)
	require.Equal(t, 3, r.Account.Open)
}

func TestOutageSmall(t *testing.T) {
	t.Parallel()
	r, err := Outage(t.Context(), place(t), OutageOptions{
		Events: 60, Rate: 40, OtherRate: 10, WarmUp: time.Second, Hold: time.Second, Concurrency: 8, Drain: patience,
	})
	require.NoError(t, err)
	require.Empty(t, r.Account.Lost, r.String())
	require.Zero(t, r.Account.Open)
	require.Equal(t, r.Account.Acknowledged, r.Account.Received)
	sum := 0
	for _, n := range r.Rates {
		sum += n
	}
	require.Equal(t, 60, sum, "all came after the receiver's return: %v", r.Rates)
	require.Positive(t, r.Busiest)
	require.Len(t, r.Processes, 2)
	require.GreaterOrEqual(t, len(r.Processes[0].Samples), 2)
	require.Contains(t, r.String(), "most in a second")
}

func TestBenchmarkSmall(t *testing.T) {
	t.Parallel()
	r, err := Benchmark(t.Context(), place(t), BenchmarkOptions{
		Rounds: 1, Round: 200 * time.Millisecond, Letters: 50, Concurrency: 4,
		Baseline: func(addr, databaseURL string) *exec.Cmd {
			cmd := exec.CommandContext(context.WithoutCancel(t.Context()), testBinary(t))
			cmd.Env = []string{baselineVariable + "=" + addr, "DATABASE_URL=" + databaseURL}
			return cmd
		},
	})
	require.NoError(t, err)
	require.True(t, r.OK())
	require.GreaterOrEqual(t, len(r.Comparisons), 4)
	for _, c := range r.Comparisons {
		if c.Skipped != "" {
			require.Contains(t, c.Skipped, "respond-async")
			continue
		}
		require.Len(t, c.Ours.Rates, 1)
		require.Positive(t, c.Ours.Rate, c.Name)
		require.Positive(t, c.Baseline.Rate, c.Name)
		require.InDelta(t, c.Ours.Rate/c.Baseline.Rate, c.Ratio, 1e-9)
	}
	require.Equal(t, len(r.Comparisons), strings.Count(r.String(), "against"))
}
