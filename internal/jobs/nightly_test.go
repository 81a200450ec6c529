package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/backup"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

// dumps is a backup that is made, or fails.
type dumps struct{ err error }

func (d dumps) Run(context.Context) (backup.Report, error) {
	return backup.Report{File: "a.dump"}, d.err
}

// shelf is the store, in which something fails as often as it is told to.
type shelf struct {
	*store.Packs
	failures atomic.Int32
}

func (s *shelf) MarkFresh(ctx context.Context, tenantID string) (int, error) {
	if s.failures.Add(-1) >= 0 {
		return 0, errors.New("boom")
	}
	return s.Packs.MarkFresh(ctx, tenantID)
}

// night is a worker of the nightly order on a database with a calendar of three days.
type night struct {
	t        *testing.T
	pool     *pgxpool.Pool
	shelf    *shelf
	jobs     *store.PeriodicJobs
	all      []jobs.Periodic
	registry *prometheus.Registry
	workers  *river.Workers
	client   *river.Client[pgx.Tx]
	api      *httptest.Server
	asked    atomic.Int32
}

func newNight(t *testing.T) *night {
	t.Helper()
	b := setup(t, answers(arrived))
	n := &night{t: t, pool: b.pool, registry: prometheus.NewRegistry(), workers: river.NewWorkers()}
	n.all = jobs.Periodics(jobs.Schedules{Evaluate: periodic.Every(time.Hour)})
	n.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		var body struct {
			Asof         string `json:"asof"`
			RequireFresh *bool  `json:"require_fresh"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Asof != "2005-01-05" || body.RequireFresh == nil || *body.RequireFresh {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(n.api.Close)
	inserter := b.client(&river.Config{})
	n.shelf = &shelf{Packs: store.NewPacks(b.pool, inserter, time.Now)}
	n.jobs = store.NewPeriodicJobs(b.store, n.all)
	runs := store.NewJobRuns(b.pool, inserter, time.Now)
	figures := analyst.New(n.shelf, n.shelf, analyst.Options{})
	prewarmer := packs.NewPrewarmer(n.shelf, packs.PrewarmOptions{
		APIURL: n.api.URL, Patterns: []string{"portfolio_overview"}, Portfolios: 2, Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	rules := store.NewAlerts(b.pool, b.store, figures, unmeasured{}, b.quiet, time.Now)
	evaluator := jobs.NewEvaluator(rules, b.service, b.options.Destinations, n.registry, b.quiet, time.Now)
	river.AddWorker(n.workers, jobs.NewBuildPacksWorker(n.shelf))
	river.AddWorker(n.workers, jobs.NewReconcilePacksWorker(n.shelf, n.shelf, b.quiet))
	river.AddWorker(n.workers, jobs.NewComputeMetricsWorker(n.shelf, n.shelf, n.shelf, figures))
	river.AddWorker(n.workers, jobs.NewPrewarmWorker(n.shelf, prewarmer, store.DefaultTenant))
	river.AddWorker(n.workers, jobs.NewMarkFreshWorker(n.shelf))
	river.AddWorker(n.workers, jobs.NewEvaluateWorker(evaluator))
	river.AddWorker(n.workers, jobs.NewBackupWorker(dumps{}, ""))
	recorder := jobs.NewRecorder(runs, n.all, n.registry, b.quiet, time.Now)
	var err error
	n.client, err = river.NewClient(riverpgxv5.New(b.pool), &river.Config{
		Workers: n.workers, Logger: b.quiet, Middleware: []rivertype.Middleware{recorder},
		Queues: map[string]river.QueueConfig{
			jobs.QueueNightly: {MaxWorkers: 1}, jobs.QueueBackup: {MaxWorkers: 1}, jobs.QueueUpkeep: {MaxWorkers: 1},
		},
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 50 * time.Millisecond,
		RetryPolicy: atOnce{},
	})
	require.NoError(t, err)

	n.exec(`INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ('default', 1, 'test', 3, 'h1')`)
	n.exec(`INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
		VALUES (gen_random_uuid(), 'default', 'CAL', 'CAL', 'index', 'x', 'CHF', 'benchmark')`)
	n.exec(`UPDATE tenants SET calendar = 'CAL'`)
	n.exec(`INSERT INTO prices (tenant_id, security_id, date, revision, close)
		SELECT 'default', id, d, 1, 100 FROM securities, unnest('{2005-01-03,2005-01-04,2005-01-05}'::date[]) AS d`)
	// Its version is made up: it does not reconcile.
	n.exec(`INSERT INTO portfolios (id, tenant_id, name, base_currency, calendar, ledger_version)
		VALUES ('0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a', 'default', 'p', 'CHF', 'CAL', 'x')`)
	return n
}

var (
	quiet        = slog.New(slog.DiscardHandler)
	portfolioCHF = portfolio.Portfolio{Name: "p", BaseCurrency: "CHF"}
)

// atOnce makes another attempt at once.
type atOnce struct{}

func (atOnce) NextRetry(*rivertype.JobRow) time.Time { return time.Now() }

func (n *night) exec(sql string, args ...any) {
	n.t.Helper()
	_, err := n.pool.Exec(n.t.Context(), sql, args...)
	require.NoError(n.t, err)
}

// work starts the worker, and stops it once the run of a job is recorded as ended as often as given.
func (n *night) work(job string, times int) {
	n.t.Helper()
	require.NoError(n.t, n.client.Start(context.WithoutCancel(n.t.Context())))
	require.Eventually(n.t, func() bool {
		list, err := n.jobs.JobRuns(n.t.Context(), job, uuid.Max, 100)
		require.NoError(n.t, err)
		ended := 0
		for _, r := range list {
			if r.State != periodic.Running {
				ended++
			}
		}
		return ended >= times
	}, patience, 10*time.Millisecond, "%s ends", job)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(n.t, n.client.Stop(ctx))
}

func (n *night) runs(job string) []periodic.Run {
	n.t.Helper()
	list, err := n.jobs.JobRuns(n.t.Context(), job, uuid.Max, 100)
	require.NoError(n.t, err)
	return list
}

func (n *night) states() map[packs.State]int64 {
	n.t.Helper()
	s, err := n.shelf.PackStates(n.t.Context())
	require.NoError(n.t, err)
	return s
}

// genesis puts a portfolio that reconciles in the place of the one that does not.
func (n *night) genesis() {
	n.t.Helper()
	n.exec(`DELETE FROM portfolio_metrics`)
	n.exec(`DELETE FROM portfolios`)
	_, err := n.shelf.CreatePortfolio(n.t.Context(), store.DefaultTenant, portfolioCHF)
	require.NoError(n.t, err)
}

func (n *night) run() {
	n.t.Helper()
	require.NoError(n.t, n.jobs.RunPeriodicJob(n.t.Context(), store.DefaultTenant, "build_packs", delivery.By{Actor: "test"}))
}

var order = []string{"build_packs", "reconcile_packs", "compute_metrics", "prewarm", "mark_fresh", "evaluate_alerts", "backup"}

func TestTheNightlyOrder(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.genesis()
	contexts := store.NewContexts(n.shelf.Store)
	fresh := patterns.ContextQuery{TenantID: store.DefaultTenant, RequireFresh: true}

	n.run()
	list, _, err := n.shelf.RequestPacks(t.Context(), store.DefaultTenant, nil, delivery.By{})
	require.NoError(t, err)
	require.Len(t, list, 3)
	_, err = contexts.Resolve(t.Context(), fresh)
	refused, ok := errors.AsType[*packs.NotFreshError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, packs.Warming, refused.Pack.State)
	require.Nil(t, refused.EstimatedReady)

	n.work("backup", 1)
	require.Equal(t, map[packs.State]int64{packs.Fresh: 3}, n.states())
	got, err := contexts.Resolve(t.Context(), fresh)
	require.NoError(t, err)
	require.Equal(t, "2005-01-05", got.Asof.Format(time.DateOnly))
	require.EqualValues(t, 1, n.asked.Load())

	var before periodic.Run
	for i, job := range order {
		runs := n.runs(job)
		require.Len(t, runs, 1, job)
		r := runs[0]
		require.Equal(t, periodic.Succeeded, r.State, "%s: %s", job, r.Error)
		require.Equal(t, 1, r.Attempt)
		if i == 0 {
			require.Equal(t, periodic.ByHand, r.Trigger)
		} else {
			require.Equal(t, periodic.ByChain, r.Trigger)
			require.Equal(t, before.Chain, r.Chain)
			require.False(t, r.StartedAt.Before(*before.EndedAt), "%s begins when %s has ended", job, before.Job)
		}
		require.InDelta(t, 1, testutil.ToFloat64(counter(t, n.registry, "dawsos_job_runs_total", job, "succeeded")), 0)
		before = r
	}
	newest, _, err := n.shelf.NewestUsablePack(t.Context(), store.DefaultTenant)
	require.NoError(t, err)
	for _, at := range []*time.Time{newest.BuiltAt, newest.ReconciledAt, newest.PrewarmedAt, newest.FreshAt} {
		require.NotNil(t, at)
	}
	require.JSONEq(t, `{"default": {"portfolios": 1, "computed": 1, "unchanged": 0}}`, string(n.runs("compute_metrics")[0].Detail))
}

// counter finds one series, as something that testutil reads.
func counter(t *testing.T, reg *prometheus.Registry, name, job, status string) prometheus.Counter {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "found_total", Help: "Found."})
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if f.GetName() == name && labels["job"] == job && labels["status"] == status {
				c.Add(m.GetCounter().GetValue())
				return c
			}
		}
	}
	require.FailNow(t, "no such series", "%s %s %s", name, job, status)
	return nil
}

func TestAFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.genesis()
	n.shelf.failures.Store(2)
	n.run()
	n.work("backup", 1)
	var states []periodic.State
	for _, r := range n.runs("mark_fresh") {
		states = append(states, r.State)
	}
	require.Equal(t, []periodic.State{periodic.Succeeded, periodic.Failed, periodic.Failed}, states)
	require.Contains(t, n.runs("mark_fresh")[2].Error, "boom")
	require.Len(t, n.runs("evaluate_alerts"), 1)
	require.Equal(t, map[packs.State]int64{packs.Fresh: 3}, n.states())
}

func TestAFailureForGoodSkipsWhatDependsOnIt(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.genesis()
	n.shelf.failures.Store(1000)
	n.run()
	n.work("backup", 1)
	require.Len(t, n.runs("mark_fresh"), 3)
	skipped := n.runs("evaluate_alerts")
	require.Len(t, skipped, 1)
	require.Equal(t, periodic.Skipped, skipped[0].State)
	require.Equal(t, "mark_fresh failed before it", skipped[0].Error)
	require.Equal(t, 0, skipped[0].Attempt)
	require.Equal(t, periodic.Succeeded, n.runs("backup")[0].State, "which depends on none of them")
	require.Equal(t, map[packs.State]int64{packs.Warming: 3}, n.states())
	require.InDelta(t, 3, testutil.ToFloat64(counter(t, n.registry, "dawsos_job_runs_total", "mark_fresh", "failed")), 0)
	list, err := n.jobs.PeriodicJobs(t.Context())
	require.NoError(t, err)
	for _, j := range list {
		if j.Name == "mark_fresh" {
			require.Equal(t, periodic.Failed, j.State)
			require.Nil(t, j.LastSuccessAt)
			require.Len(t, j.Runs, 3)
			require.Equal(t, "prewarm", j.After)
		}
	}
}

func TestAnAPIThatIsAwaySkipsThePrewarming(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.genesis()
	n.api.Close()
	n.run()
	n.work("backup", 1)
	r := n.runs("prewarm")[0]
	require.Equal(t, periodic.Skipped, r.State)
	require.Contains(t, r.Error, "the API at "+n.api.URL+" can't be reached")
	require.Equal(t, map[packs.State]int64{packs.Fresh: 3}, n.states(), "that data are right does not depend on a cache")
	newest, _, err := n.shelf.NewestUsablePack(t.Context(), store.DefaultTenant)
	require.NoError(t, err)
	require.Nil(t, newest.PrewarmedAt)
}

func TestAPackInErrorStaysUntilItIsAskedForAgain(t *testing.T) {
	t.Parallel()
	n := newNight(t) // whose portfolio's version is made up
	n.run()
	n.work("backup", 1)
	require.Equal(t, map[packs.State]int64{packs.Error: 3}, n.states())
	require.Equal(t, periodic.Succeeded, n.runs("reconcile_packs")[0].State)
	require.Equal(t, periodic.Succeeded, n.runs("prewarm")[0].State, "nothing is to be warmed, and none is missed")
	_, err := store.NewContexts(n.shelf.Store).Resolve(t.Context(), patterns.ContextQuery{TenantID: store.DefaultTenant, RequireFresh: true})
	require.Equal(t, fault.PackNotFresh, fault.CodeOf(err))
	refused, ok := errors.AsType[*packs.NotFreshError](err)
	require.True(t, ok)
	require.Contains(t, refused.Pack.Reason, "does not lead to its version")
	require.Zero(t, refused.RetryAfter, "waiting does not help")

	n.genesis()
	on := time.Date(2005, 1, 5, 0, 0, 0, 0, time.UTC)
	list, made, err := n.shelf.RequestPacks(t.Context(), store.DefaultTenant, &on, delivery.By{Actor: "test"})
	require.NoError(t, err)
	require.True(t, made)
	require.Equal(t, packs.Warming, list[0].State)
	require.Empty(t, list[0].Reason)
	n.again()
	n.work("mark_fresh", 2)
	require.Equal(t, map[packs.State]int64{packs.Error: 2, packs.Fresh: 1}, n.states())
	list, made, err = n.shelf.RequestPacks(t.Context(), store.DefaultTenant, &on, delivery.By{Actor: "test"})
	require.NoError(t, err)
	require.False(t, made)
	require.Equal(t, packs.Fresh, list[0].State)
}

// again makes a client that can be started once more.
func (n *night) again() {
	n.t.Helper()
	runs := store.NewJobRuns(n.pool, n.client, time.Now)
	recorder := jobs.NewRecorder(runs, n.all, prometheus.NewRegistry(), quiet, time.Now)
	client, err := river.NewClient(riverpgxv5.New(n.pool), &river.Config{
		Workers: n.workers, Logger: quiet, Middleware: []rivertype.Middleware{recorder},
		Queues: map[string]river.QueueConfig{
			jobs.QueueNightly: {MaxWorkers: 1}, jobs.QueueBackup: {MaxWorkers: 1}, jobs.QueueUpkeep: {MaxWorkers: 1},
		},
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 50 * time.Millisecond,
	})
	require.NoError(n.t, err)
	n.client = client
}

// One build waits for a tenant, however much comes in; and it does not begin before what it is to see is
// committed.
func TestEnqueueBuild(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.genesis()
	ctx := t.Context()
	enqueue := func() {
		require.NoError(t, pgx.BeginFunc(ctx, n.pool, func(tx pgx.Tx) error { return n.shelf.EnqueueBuild(ctx, tx, store.DefaultTenant) }))
	}
	enqueue()
	enqueue()
	waiting := func() (count int) {
		require.NoError(t, n.pool.QueryRow(ctx, `SELECT count(*) FROM river_job WHERE kind = 'build_packs' AND state = 'available'`).Scan(&count))
		return count
	}
	require.Equal(t, 1, waiting())
	require.NoError(t, pgx.BeginFunc(ctx, n.pool, func(tx pgx.Tx) error { return n.shelf.EnqueueBuild(ctx, tx, "other") }))
	require.Equal(t, 2, waiting(), "another tenant's is another")
	n.exec(`DELETE FROM river_job WHERE args ->> 'tenant_id' = 'other'`)

	tx, err := n.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `INSERT INTO prices (tenant_id, security_id, date, revision, close) SELECT 'default', id, '2005-01-06', 1, 101 FROM securities`)
	require.NoError(t, err)
	require.NoError(t, n.shelf.EnqueueBuild(ctx, tx, store.DefaultTenant))
	require.Equal(t, 1, waiting())
	require.NoError(t, n.client.Start(context.WithoutCancel(ctx)))
	// The worker is idle by the time it has done something else.
	_, err = n.client.Insert(ctx, jobs.BackupArgs{}, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(n.runs("backup")) == 1 }, patience, 10*time.Millisecond)
	require.Empty(t, n.runs("build_packs"), "it waits for the transaction")
	require.NoError(t, tx.Commit(ctx))
	require.Eventually(t, func() bool { return n.states()[packs.Fresh] == 4 }, patience, 10*time.Millisecond, "with the day that was committed last")
	stop, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, n.client.Stop(stop))
	r := n.runs("build_packs")[0]
	require.Equal(t, []any{periodic.ByImport, "default"}, []any{r.Trigger, r.TenantID})
	require.Len(t, n.runs("backup"), 1, "an import is no reason for a backup")
}

func TestRunsThatWereCutOffAreFailed(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	runs := store.NewJobRuns(n.pool, nil, time.Now)
	ctx := t.Context()
	begin := func(jobID int64) uuid.UUID {
		id, err := runs.BeginRun(ctx, periodic.Run{Job: "backup", Trigger: periodic.BySchedule, Attempt: 1, StartedAt: time.Now()}, jobID)
		require.NoError(t, err)
		return id
	}
	first := begin(1)
	require.Equal(t, first, begin(1), "the same attempt is the same run")
	begin(2)
	list := n.runs("backup")
	require.Len(t, list, 2)
	require.Equal(t, []periodic.State{periodic.Running, periodic.Failed}, []periodic.State{list[0].State, list[1].State})
	require.Equal(t, "the worker went away in the middle of it", list[1].Error)
}

func TestCatchUp(t *testing.T) {
	t.Parallel()
	nightly, err := periodic.ParseSchedule("22:30")
	require.NoError(t, err)
	all := jobs.Periodics(jobs.Schedules{Evaluate: periodic.Every(time.Minute), Nightly: nightly, Backup: nightly, BackupOff: "no folder"})
	at := func(day, hour int) time.Time { return time.Date(2026, 5, day, hour, 0, 0, 0, time.UTC) }
	names := func(list []jobs.Periodic) (names []string) {
		for _, p := range list {
			names = append(names, p.Name())
		}
		return names
	}
	begun := map[string]time.Time{"build_packs": at(1, 22), "backup": at(1, 22), "evaluate_alerts": at(1, 22), "reconcile_packs": at(1, 22)}
	require.Empty(t, names(jobs.CatchUp(all, begun, at(1, 22))))
	require.Equal(t, []string{"build_packs"}, names(jobs.CatchUp(all, begun, at(1, 23))))
	require.Equal(t, []string{"build_packs"}, names(jobs.CatchUp(all, begun, at(9, 0))))
	require.Empty(t, names(jobs.CatchUp(all, nil, at(9, 0))), "what has never run is not late")

	// In the database it is put in once.
	n := newNight(t)
	n.exec(`INSERT INTO job_runs (id, job, trigger, status, started_at, ended_at)
		VALUES (gen_random_uuid(), 'build_packs', 'schedule', 'succeeded', '2026-01-01', '2026-01-01')`)
	runs := store.NewJobRuns(n.pool, n.client, time.Now)
	late, err := runs.CatchUp(t.Context(), all)
	require.NoError(t, err)
	require.Equal(t, []string{"build_packs"}, late)
	late, err = runs.CatchUp(t.Context(), all)
	require.NoError(t, err)
	require.Empty(t, late)
}

// What was cut off with its worker goes on with the next worker, and is put in once.
func TestPacksThatWereLeftWarmingGoOn(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.genesis()
	ctx := t.Context()
	runs := store.NewJobRuns(n.pool, n.client, time.Now)
	resume := func() []string {
		tenants, err := runs.Resume(ctx)
		require.NoError(t, err)
		return tenants
	}
	require.Empty(t, resume(), "there are no packs")
	_, err := n.shelf.MakePacks(ctx, store.DefaultTenant)
	require.NoError(t, err)

	inserted, err := n.client.Insert(ctx, jobs.ReconcilePacksArgs{Link: jobs.Link{Chain: uuid.NewString()}}, nil)
	require.NoError(t, err)
	require.Empty(t, resume(), "a job of an order waits")
	n.exec(`UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = '{gone}' WHERE id = $1`, inserted.Job.ID)
	require.Equal(t, []string{store.DefaultTenant}, resume())
	require.Empty(t, resume(), "it waits already")

	require.NoError(t, n.client.Start(context.WithoutCancel(ctx)))
	require.Eventually(t, func() bool { return n.states()[packs.Fresh] == 3 }, patience, 10*time.Millisecond)
	stop, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, n.client.Stop(stop))
	require.Empty(t, resume(), "all are fresh")
}

func TestRunCollector(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	nightly, err := periodic.ParseSchedule("30 22 * * *")
	require.NoError(t, err)
	all := jobs.Periodics(jobs.Schedules{Evaluate: periodic.Every(time.Minute), Nightly: nightly, Backup: nightly, BackupOff: "no folder"})
	now := time.Date(2026, 5, 2, 8, 0, 0, 0, time.UTC)
	n.exec(`INSERT INTO job_runs (id, job, trigger, status, started_at, ended_at) VALUES
		(gen_random_uuid(), 'build_packs', 'schedule', 'succeeded', '2026-04-30 22:30+00', '2026-04-30 22:31+00'),
		(gen_random_uuid(), 'build_packs', 'schedule', 'failed', '2026-05-01 22:30+00', '2026-05-01 22:31+00')`)
	_, err = n.shelf.MakePacks(t.Context(), store.DefaultTenant)
	require.NoError(t, err)
	reg := prometheus.NewRegistry()
	reg.MustRegister(jobs.NewRunCollector(store.NewJobRuns(n.pool, nil, time.Now), all, quiet, func() time.Time { return now }))
	families, err := reg.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[strings.TrimPrefix(f.GetName(), "dawsos_")+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	unix := func(text string) float64 {
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		return float64(at.Unix())
	}
	for name, want := range map[string]float64{
		"job_last_success_timestamp_seconds build_packs":     unix("2026-04-30T22:31:00Z"),
		"job_last_success_timestamp_seconds reconcile_packs": 0,
		"job_due_timestamp_seconds build_packs":              unix("2026-05-01T22:30:00Z"), // overdue
		"job_due_timestamp_seconds mark_fresh":               unix("2026-05-02T22:30:00Z"), // never, since the start
		"job_due_timestamp_seconds prune_runs":               unix("2026-05-02T09:00:00Z"),
		"pricing_packs warming":                              3,
		"pricing_packs fresh":                                0,
	} {
		require.InDelta(t, want, values[name], 0.001, name)
	}
	require.NotContains(t, values, "job_due_timestamp_seconds backup", "what is off is never due")
}
