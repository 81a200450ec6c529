package runs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// table is where a recorder under test writes. What it does is told by fail.
type table struct {
	mu       sync.Mutex
	attempts int
	batches  [][]string // ids, of those that were written
	fail     func(ctx context.Context, attempt int, recorded []patterns.Run) error
}

func (tb *table) InsertRuns(ctx context.Context, recorded []patterns.Run) error {
	tb.mu.Lock()
	tb.attempts++
	n := tb.attempts
	tb.mu.Unlock()
	if tb.fail != nil {
		if err := tb.fail(ctx, n, recorded); err != nil {
			return err
		}
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	batch := []string{}
	for _, r := range recorded {
		batch = append(batch, r.ID)
	}
	tb.batches = append(tb.batches, batch)
	return nil
}

func (tb *table) ids() []string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return slices.Concat(tb.batches...)
}

func (tb *table) sizes() []int {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	sizes := []int{}
	for _, b := range tb.batches {
		sizes = append(sizes, len(b))
	}
	return sizes
}

// takes is a table that needs d for each batch.
func takes(d time.Duration) *table {
	return &table{fail: func(ctx context.Context, _ int, _ []patterns.Run) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

var errAway = errors.New("the database is away")

type bundle struct {
	*runs.Recorder
	t   *testing.T
	reg *prometheus.Registry
	log *bytes.Buffer // read it only when the recorder has nothing to do
}

func setup(t *testing.T, tb runs.Inserter, opts runs.RecorderOptions) *bundle {
	t.Helper()
	b := &bundle{t: t, reg: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	opts.Registerer, opts.Log = b.reg, slog.New(slog.NewTextHandler(b.log, nil))
	b.Recorder = runs.NewRecorder(tb, opts)
	return b
}

func (b *bundle) stop() {
	b.t.Helper()
	require.NoError(b.t, b.Stop(context.Background()))
}

// counts are the recorder's metrics.
type counts struct{ recorded, full, failed, shutdown, queued int }

func (b *bundle) require(c counts) {
	b.t.Helper()
	require.NoError(b.t, testutil.GatherAndCompare(b.reg, strings.NewReader(fmt.Sprintf(`
# HELP dawsos_run_queue_length Pattern runs held in memory until they are written.
# TYPE dawsos_run_queue_length gauge
dawsos_run_queue_length %d
# HELP dawsos_runs_dropped_total Pattern runs that are missing in the history: no room in the queue, not written after all attempts, or left when the process ended.
# TYPE dawsos_runs_dropped_total counter
dawsos_runs_dropped_total{reason="queue_full"} %d
dawsos_runs_dropped_total{reason="shutdown"} %d
dawsos_runs_dropped_total{reason="write_failed"} %d
# HELP dawsos_runs_recorded_total Pattern runs written to the history.
# TYPE dawsos_runs_recorded_total counter
dawsos_runs_recorded_total %d
`, c.queued, c.full, c.shutdown, c.failed, c.recorded))))
}

func (b *bundle) logged() int { return strings.Count(b.log.String(), "\n") }

func run(id string) patterns.Run { return patterns.Run{ID: id} }

// record hands over n runs that nobody waits for.
func (b *bundle) record(ids ...string) {
	b.t.Helper()
	for _, id := range ids {
		require.NoError(b.t, b.Record(b.t.Context(), run(id), false))
	}
}

func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	return ids
}

// recordAndWait begins to record and wait; the error is there once it is closed.
func (b *bundle) recordAndWait(ctx context.Context, r patterns.Run) <-chan error {
	errC := make(chan error, 1)
	go func() {
		errC <- b.Record(ctx, r, true)
		close(errC)
	}()
	synctest.Wait()
	return errC
}

func pending(t *testing.T, errC <-chan error) {
	t.Helper()
	select {
	case err := <-errC:
		require.FailNow(t, "did not wait", "%v", err)
	default:
	}
}

// pass lets a bubble's time go on, and what is due then happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestRunsAreWrittenInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := &table{}
		b := setup(t, tb, runs.RecorderOptions{})
		b.require(counts{})
		ids := numbered(703)
		b.record(ids[:3]...)
		pass(249 * time.Millisecond)
		require.Empty(t, tb.sizes(), "there may be more to come")
		b.require(counts{queued: 3})
		pass(2 * time.Millisecond)
		require.Equal(t, []int{3}, tb.sizes())

		b.record(ids[3:]...)
		synctest.Wait()
		require.Equal(t, []int{3, 500}, tb.sizes(), "a full batch does not wait")
		pass(300 * time.Millisecond)
		require.Equal(t, ids, tb.ids(), "in order")
		b.require(counts{recorded: 703})
		b.stop()
		require.Zero(t, b.logged())
	})
}

func TestWhoWaitsWaitsForTheWriteOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := takes(40 * time.Millisecond)
		b := setup(t, tb, runs.RecorderOptions{})
		b.record("a")
		begun := time.Now()
		require.NoError(t, b.Record(t.Context(), run("b"), true))
		require.Equal(t, 40*time.Millisecond, time.Since(begun))
		require.Equal(t, []string{"a", "b"}, tb.ids())
		b.stop()
	})
}

func TestWithoutRoomRunsAreDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := takes(time.Second)
		b := setup(t, tb, runs.RecorderOptions{MaxRuns: 10})
		begun := time.Now()
		b.record(numbered(100)...)
		require.Zero(t, time.Since(begun), "it never blocks")
		b.require(counts{queued: 10, full: 90})
		require.Equal(t, 1, b.logged(), "once, not ninety times")
		pass(2 * time.Second)
		require.Equal(t, numbered(10), tb.ids())
		b.record(numbered(11)...)
		synctest.Wait()
		require.Equal(t, 2, b.logged(), "it is full again")
		b.stop()
		b.require(counts{recorded: 20, full: 91})
	})
}

func TestTheQueueIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := takes(time.Second)
		b := setup(t, tb, runs.RecorderOptions{MaxBytes: 1 << 20})
		large := func(id string, bytes int) patterns.Run {
			text := strings.Repeat("x", bytes)
			return patterns.Run{ID: id, Inputs: map[string]any{"list": []any{text}}}
		}
		require.NoError(t, b.Record(t.Context(), large("a", 600<<10), false))
		require.NoError(t, b.Record(t.Context(), large("b", 600<<10), false))
		require.NoError(t, b.Record(t.Context(), large("c", 300<<10), false))
		b.require(counts{queued: 2, full: 1})
		pass(2 * time.Second)
		require.NoError(t, b.Record(t.Context(), large("d", 2<<20), false), "alone it may be larger than the bound")
		pass(2 * time.Second)
		require.Equal(t, []string{"a", "c", "d"}, tb.ids())
		b.stop()
	})
}

func TestWhoWaitsWaitsForRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := takes(time.Second)
		b := setup(t, tb, runs.RecorderOptions{MaxRuns: 2})
		b.record("a", "b")
		pass(300 * time.Millisecond) // being written
		soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		leaving, leave := context.WithCancel(t.Context())
		late, left := b.recordAndWait(soon, run("late")), b.recordAndWait(leaving, run("left"))
		third := b.recordAndWait(t.Context(), run("c"))
		pass(200 * time.Millisecond)
		err := <-late
		require.Equal(t, fault.Unavailable, fault.CodeOf(err), "%v", err)
		require.Contains(t, fault.Detail(err), "no room")
		leave()
		require.ErrorIs(t, <-left, context.Canceled)
		pending(t, third)
		b.record("dropped") // who came first goes first
		pass(3 * time.Second)
		require.NoError(t, <-third)
		require.Equal(t, []string{"a", "b", "c"}, tb.ids())
		b.stop()
		b.require(counts{recorded: 3, full: 3})
	})
}

func TestWhoLeavesDuringTheWriteIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := takes(time.Second)
		b := setup(t, tb, runs.RecorderOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err := b.Record(ctx, run("a"), true)
		require.Equal(t, fault.Unavailable, fault.CodeOf(err))
		require.Contains(t, fault.Detail(err), "not confirmed")
		pass(2 * time.Second)
		require.Equal(t, []string{"a"}, tb.ids(), "it is recorded all the same")
		b.stop()
		b.require(counts{recorded: 1})
	})
}

func TestARunWhoseCallerIsGoneIsRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := &table{}
		b := setup(t, tb, runs.RecorderOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, b.Record(ctx, run("a"), false))
		b.stop()
		require.Equal(t, []string{"a"}, tb.ids())
	})
}

func TestAFailedWriteIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := &table{fail: func(_ context.Context, attempt int, _ []patterns.Run) error {
			if attempt < 4 {
				return errAway
			}
			return nil
		}}
		b := setup(t, tb, runs.RecorderOptions{})
		begun := time.Now()
		require.NoError(t, b.Record(t.Context(), run("a"), true))
		require.Equal(t, (100+200+400)*time.Millisecond, time.Since(begun))
		b.stop()
		b.require(counts{recorded: 1})
		require.Zero(t, b.logged(), "nothing was lost")
	})
}

func TestWhatCanNotBeWrittenIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := &table{fail: func(context.Context, int, []patterns.Run) error { return errAway }}
		b := setup(t, tb, runs.RecorderOptions{})
		b.record(numbered(20)...)
		err := b.Record(t.Context(), run("a"), true)
		require.Equal(t, fault.Unavailable, fault.CodeOf(err), "%v", err)
		require.ErrorIs(t, err, errAway)
		require.Equal(t, 5, tb.attempts)
		b.stop()
		b.require(counts{failed: 21})
		require.Equal(t, 1, b.logged(), "once for the batch")
		require.Contains(t, b.log.String(), "count=21")
	})
}

// New runs are worth more than old ones that can't be written.
func TestAFullQueueEndsTheAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := &table{fail: func(context.Context, int, []patterns.Run) error { return errAway }}
		b := setup(t, tb, runs.RecorderOptions{MaxRuns: 4})
		b.record("a", "b")
		pass(260 * time.Millisecond)
		require.Equal(t, 1, tb.attempts)
		b.record("c", "d")
		b.require(counts{queued: 4})
		b.record("dropped")
		synctest.Wait()
		b.require(counts{queued: 2, full: 1, failed: 2})
		tb.mu.Lock()
		tb.fail = nil
		tb.mu.Unlock()
		b.stop()
		require.Equal(t, []string{"c", "d"}, tb.ids())
	})
}

func TestOneBadRunDoesNotTakeTheOthersAlong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad := map[string]bool{"7": true, "123": true, "499": true}
		tb := &table{fail: func(_ context.Context, _ int, recorded []patterns.Run) error {
			for _, r := range recorded {
				if bad[r.ID] {
					return fault.New(fault.Invalid, "run %s can't be stored", r.ID)
				}
			}
			return nil
		}}
		b := setup(t, tb, runs.RecorderOptions{})
		ids := numbered(499)
		b.record(ids...)
		err := b.Record(t.Context(), run("499"), true)
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
		synctest.Wait()
		require.Equal(t, slices.DeleteFunc(ids, func(id string) bool { return bad[id] }), tb.ids())
		require.Less(t, tb.attempts, 70, "found by halving")
		b.stop()
		b.require(counts{recorded: 497, failed: 3})
		require.Equal(t, 1, b.logged())
	})
}

func TestStopWritesWhatIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := takes(10 * time.Millisecond)
		b := setup(t, tb, runs.RecorderOptions{MaxRuns: 600})
		b.record(numbered(600)...)
		waits := b.recordAndWait(t.Context(), run("waits"))
		begun := time.Now()
		b.stop()
		require.Equal(t, 20*time.Millisecond, time.Since(begun), "without waiting for more")
		require.NoError(t, <-waits)
		require.Len(t, tb.ids(), 601)

		b.record("too late")
		err := b.Record(t.Context(), run("too late"), true)
		require.Equal(t, fault.Unavailable, fault.CodeOf(err))
		b.require(counts{recorded: 601, shutdown: 2})
		b.stop() // again
	})
}

func TestStopTakesNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	for name, tb := range map[string]*table{
		"slow": takes(time.Hour),
		"away": {fail: func(context.Context, int, []patterns.Run) error { return errAway }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, tb, runs.RecorderOptions{})
				b.record(numbered(700)...)
				waits := b.recordAndWait(t.Context(), run("waits"))
				ctx, cancel := context.WithTimeout(t.Context(), 350*time.Millisecond)
				defer cancel()
				begun := time.Now()
				require.ErrorIs(t, b.Stop(ctx), context.DeadlineExceeded)
				require.Equal(t, 350*time.Millisecond, time.Since(begun))
				require.Equal(t, fault.Unavailable, fault.CodeOf(<-waits))
				require.Empty(t, tb.ids())
				b.require(counts{shutdown: 701})
			})
		})
	}
}

// Whatever happens, each run is accounted for once.
func TestEveryRunIsAccountedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := &table{fail: func(ctx context.Context, _ int, recorded []patterns.Run) error {
			select {
			case <-time.After(time.Duration(rand.IntN(50)) * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
			switch {
			case rand.IntN(3) == 0:
				return errAway
			case slices.ContainsFunc(recorded, func(r patterns.Run) bool { return strings.HasPrefix(r.ID, "bad") }):
				return fault.New(fault.Invalid, "bad")
			}
			return nil
		}}
		b := setup(t, tb, runs.RecorderOptions{MaxRuns: 30})
		const callers, each = 20, 50
		var wg sync.WaitGroup
		var durable sync.Map
		for caller := range callers {
			wg.Go(func() {
				for i := range each {
					id := fmt.Sprintf("%d-%d", caller, i)
					if rand.IntN(50) == 0 {
						id = "bad-" + id
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(500))*time.Millisecond)
					wait := rand.IntN(3) == 0
					if err := b.Record(ctx, run(id), wait); err == nil && wait {
						durable.Store(id, true)
					}
					cancel()
					<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond)
				}
			})
		}
		wg.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_ = b.Stop(ctx)
		written := tb.ids()
		durable.Range(func(id, _ any) bool {
			require.Contains(t, written, id)
			return true
		})
		metrics, err := b.reg.Gather()
		require.NoError(t, err)
		total := 0.0
		for _, family := range metrics {
			for _, m := range family.Metric {
				if family.GetName() == "dawsos_run_queue_length" {
					require.Zero(t, m.GetGauge().GetValue())
					continue
				}
				total += m.GetCounter().GetValue()
				if family.GetName() == "dawsos_runs_recorded_total" {
					require.InDelta(t, len(written), m.GetCounter().GetValue(), 0)
				}
			}
		}
		require.InDelta(t, callers*each, total, 0)
		slices.Sort(written)
		require.Len(t, slices.Compact(written), len(tb.ids()), "none twice")
	})
}

// storable is a run that the real store takes.
func storable(change func(*patterns.Run)) patterns.Run {
	asof := time.Date(2026, 2, 27, 0, 0, 0, 0, time.UTC)
	r := patterns.Run{
		ID: uuid.Must(uuid.NewV7()).String(), TenantID: "default", PatternID: "p", StartedAt: time.Now().UTC().Truncate(time.Microsecond),
		Context: agent.Context{TenantID: "default", Asof: asof, PricingPack: agent.Pack{ID: uuid.NewString(), Date: asof, Hash: "h"}},
		Inputs:  map[string]any{}, Warnings: []string{}, DataHash: "d",
	}
	if change != nil {
		change(&r)
	}
	return r
}

func TestRecordedRunsAreInTheDatabase(t *testing.T) {
	t.Parallel()
	s := store.New(dbtest.New(t), store.Options{})
	b := setup(t, s, runs.RecorderOptions{})
	good := storable(nil)
	require.NoError(t, b.Record(t.Context(), good, true))
	got, err := s.Run(t.Context(), "default", good.ID)
	require.NoError(t, err)
	require.Equal(t, good, got)

	for range 40 {
		require.NoError(t, b.Record(t.Context(), storable(nil), false))
	}
	require.NoError(t, b.Record(t.Context(), storable(func(r *patterns.Run) { r.PatternID = "\x00" }), false))
	err = b.Record(t.Context(), storable(func(r *patterns.Run) { r.DataHash = "" }), true)
	require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
	require.NoError(t, b.Record(t.Context(), good, true), "again")
	b.stop()
	b.require(counts{recorded: 42, failed: 2})
	list, _, err := s.Runs(t.Context(), "default", runs.Filter{}, runs.Cursor{}, 100)
	require.NoError(t, err)
	require.Len(t, list, 41)
}

func TestWithoutADatabase(t *testing.T) {
	t.Parallel()
	s := store.New(dbtest.Connect(t, "postgres://someone@127.0.0.1:1/nowhere"), store.Options{})
	b := setup(t, s, runs.RecorderOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, fault.Unavailable, fault.CodeOf(b.Record(ctx, storable(nil), true)))
	require.ErrorIs(t, b.Stop(ctx), context.DeadlineExceeded)
	b.require(counts{shutdown: 1})
}

// BenchmarkRecord is what recording costs the request: handing a run of ten steps over.
func BenchmarkRecord(b *testing.B) {
	r := runs.NewRecorder(&table{fail: func(context.Context, int, []patterns.Run) error { return nil }},
		runs.RecorderOptions{Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	one := storable(func(r *patterns.Run) { r.Trace.Steps = make([]patterns.StepTrace, 10) })
	b.ReportAllocs()
	for b.Loop() {
		_ = r.Record(b.Context(), one, false)
	}
	_ = r.Stop(b.Context())
}

// BenchmarkRecordAndStore is how many runs of ten steps a second get through to the database.
func BenchmarkRecordAndStore(b *testing.B) {
	s := store.New(dbtest.New(b), store.Options{})
	r := runs.NewRecorder(s, runs.RecorderOptions{Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	b.ResetTimer()
	b.SetParallelism(300) // they wait for each batch: enough of them to fill it
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			one := storable(func(r *patterns.Run) { r.Trace.Steps = make([]patterns.StepTrace, 10) })
			if err := r.Record(b.Context(), one, true); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	_ = r.Stop(b.Context())
}
