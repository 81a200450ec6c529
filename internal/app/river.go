package app

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store"
)

func newRiver(pool *pgxpool.Pool, c *river.Config) (*river.Client[pgx.Tx], error) {
	client, err := river.NewClient(riverpgxv5.New(pool), c)
	if err != nil {
		return nil, fmt.Errorf("river: %w", err)
	}
	return client, nil
}

func middleware(tracer trace.Tracer) []rivertype.Middleware {
	return []rivertype.Middleware{jobs.NewTracing(tracer)}
}

const (
	upkeepWorkers = 2
	// nightlyWorkers is one: the jobs of an order follow each other, and two orders at once would do the
	// same work twice.
	nightlyWorkers = 1
	// How soon a waiting job is looked for. Fetches are 10 ms apart at the least, which is
	// what lets 100 workers do more than 1,000 jobs a second.
	fetchCooldown = 10 * time.Millisecond
	fetchPoll     = 500 * time.Millisecond
	// rescueMargin is how long after a job's own time limit River takes its worker for dead.
	rescueMargin = 30 * time.Second
)

// worker returns the River client that works everything there is.
func (p *process) worker(metrics *agents.Metrics) (*river.Client[pgx.Tx], error) {
	inserter, err := p.inserter()
	if err != nil {
		return nil, err
	}
	deliveries := store.NewDeliveries(p.pool, inserter, p.tel.Log, time.Now)
	options, err := p.deliveryOptions(deliveries, metrics)
	if err != nil {
		return nil, err
	}
	metrics.Init(delivery.RetryAgent, delivery.RetryCapability)
	for _, c := range options.Channels {
		metrics.Init(delivery.FirstAttemptAgent, delivery.Capability(c.Name()))
	}

	workers := river.NewWorkers()
	service := delivery.NewService(deliveries, options)
	river.AddWorker(workers, jobs.NewDeliverWorker(service, deliveries, p.cfg.DeliveryTimeout, time.Now))
	river.AddWorker(workers, jobs.NewRetryWorker(delivery.NewRetrier(options), deliveries, p.cfg.DeliveryTimeout, time.Now))
	river.AddWorker(workers, jobs.NewOperationWorker(deliveries, p.tel.Registry, time.Now))
	river.AddWorker(workers, jobs.NewReconcileWorker(deliveries, p.cfg.DeliveryTimeout, p.tel.Log, time.Now))

	db := store.New(p.pool, store.Options{})
	recorder, err := p.nightly(workers, inserter)
	if err != nil {
		return nil, err
	}
	p.fetching(workers, inserter)
	_, evaluator := p.alerting(db, deliveries, service, options.Destinations)
	river.AddWorker(workers, jobs.NewEvaluateWorker(evaluator))

	river.AddWorker(workers, jobs.NewPruneRunsWorker(
		db, p.cfg.RunRetention, p.tel.Registry, p.tel.Log, time.Now))

	river.AddWorker(workers, jobs.NewAuditDeliveriesWorker(deliveries, p.tel.Registry, p.tel.Log, time.Now))
	river.AddWorker(workers, jobs.NewPruneEventsWorker(deliveries, p.cfg.DeliveryRetention, p.tel.Registry, p.tel.Log, time.Now))
	river.AddWorker(workers, jobs.NewPruneRecordsWorker(deliveries, db, jobs.RecordRetention{
		Operations: p.cfg.OperationRetention, ReadNotifications: p.cfg.NotificationRetention,
		UnreadNotifications: p.cfg.NotificationUnreadRetention, Audit: p.cfg.AuditRetention,
		JobRuns: p.cfg.JobRunRetention, Metrics: p.cfg.MetricsRetention, BreakerChanges: breakerRetention,
	}, p.tel.Registry, p.tel.Log, time.Now))
	p.tel.Registry.MustRegister(delivery.NewLedgerCollector(deliveries, channelNames(options.Channels), p.tel.Log, time.Now))

	jobTimeout := jobs.RetryTimeout(p.cfg.DeliveryTimeout)
	return newRiver(p.pool, &river.Config{
		Workers: workers,
		Queues: map[string]river.QueueConfig{
			jobs.QueueDelivery: {MaxWorkers: p.cfg.WorkerConcurrency},
			jobs.QueueUpkeep:   {MaxWorkers: upkeepWorkers},
			jobs.QueueNightly:  {MaxWorkers: nightlyWorkers},
			jobs.QueueBackup:   {MaxWorkers: 1},
			jobs.QueueFetch:    {MaxWorkers: 1},
		},
		PeriodicJobs: jobs.RiverPeriodics(p.periodics()),
		// A job is nothing that an operator has to look for: what he sees stands in our tables. Done
		// periodic jobs are kept for their last run to be shown, and discarded ones for a week.
		CompletedJobRetentionPeriod: 24 * time.Hour,
		CancelledJobRetentionPeriod: 24 * time.Hour,
		DiscardedJobRetentionPeriod: 7 * 24 * time.Hour,
		JobTimeout:                  jobTimeout,
		RescueStuckJobsAfter:        jobTimeout + rescueMargin,
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           fetchPoll,
		// Running attempts may finish; what is left is handed back in time for the rest to stop.
		SoftStopTimeout:   p.cfg.ShutdownGrace / 2,
		ReindexerSchedule: reindexing{&p.reindexes},
		Logger:            p.riverLog(),
		Middleware:        append(middleware(p.tracer), recorder),
	})
}

// startRiver starts working once the database is there and its schema is current.
func (p *process) startRiver(ctx context.Context, client *river.Client[pgx.Tx]) error {
	for waiting := false; ; waiting = true {
		err := p.schemaReady(ctx)
		if err == nil {
			break
		}
		if !waiting {
			p.tel.Log.WarnContext(ctx, "waiting for the database before working", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(schemaCheckEvery):
		}
	}
	p.reindexes.Store(mayReindex(ctx, p.pool))
	p.reseal(ctx)
	p.catchUp(ctx)
	// Not ctx: its end must not cancel running jobs. Stop does what is to be done, in order.
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start river: %w", err)
	}
	p.onStop("river", func(ctx context.Context) error { return client.Stop(ctx) })
	p.tel.Log.InfoContext(ctx, "working", "concurrency", p.cfg.WorkerConcurrency, "retry_schedule", p.cfg.RetrySchedule.String())
	return nil
}

// reindexing is when River rebuilds its indexes: at midnight, as it does by itself, where it may.
type reindexing struct{ may *atomic.Bool }

// Next implements river.PeriodicSchedule.
func (r reindexing) Next(t time.Time) time.Time {
	if !r.may.Load() {
		return t.AddDate(100, 0, 0)
	}
	return t.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
}

// mayReindex reports whether the worker's role can have the right to rebuild indexes that it does not own,
// which PostgreSQL has since version 17.
func mayReindex(ctx context.Context, pool *pgxpool.Pool) bool {
	var may bool
	err := pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::integer >= 170000`).Scan(&may)
	return err == nil && may
}

func channelNames(channels []delivery.Channel) []string {
	names := make([]string, len(channels))
	for i, c := range channels {
		names[i] = c.Name()
	}
	return names
}
