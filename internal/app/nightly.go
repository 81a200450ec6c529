package app

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/backup"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/store"
)

// noBackups is why there are none.
const noBackups = "BACKUP_DIR is not set"

// periodics are the jobs that run by the clock, as the settings want them.
func (p *process) periodics() []jobs.Periodic {
	s := jobs.Schedules{
		Evaluate: periodic.Every(p.cfg.AlertEvaluationInterval),
		Nightly:  p.cfg.NightlySchedule, Reconcile: p.cfg.ReconcileSchedule, Metrics: p.cfg.MetricsSchedule,
		Prewarm: p.cfg.PrewarmSchedule, MarkFresh: p.cfg.MarkFreshSchedule, Backup: p.cfg.BackupSchedule,
		Fetch: p.cfg.FetchSchedule, FetchOff: p.fetchOff(),
	}
	if p.cfg.BackupDir == "" {
		s.BackupOff = noBackups
	}
	return jobs.Periodics(s)
}

// nightly adds the workers of the nightly order, and returns what records the runs of all periodic jobs.
func (p *process) nightly(workers *river.Workers, inserter *river.Client[pgx.Tx]) (*jobs.Recorder, error) {
	all := p.periodics()
	shelf := store.NewPacks(p.pool, inserter, time.Now)
	runs := store.NewJobRuns(p.pool, inserter, time.Now)
	figures := analyst.New(shelf, shelf, analyst.Options{RiskFreeSeries: riskFreeSeries})

	client := outbound.NewClient(outbound.Options{
		// The API's address is an operator's, and in a private network.
		Policy: outbound.Policy{AllowPrivate: true}, Timeout: p.cfg.RequestTimeout + 2*p.cfg.DeliveryTimeout,
		TracerProvider: p.tel.TracerProvider, Propagator: p.tel.Propagator,
	})
	p.onStop("prewarm client", func(context.Context) error {
		client.CloseIdleConnections()
		return nil
	})
	url, err := p.apiURL()
	if err != nil {
		return nil, err
	}
	prewarmer := packs.NewPrewarmer(shelf, packs.PrewarmOptions{
		APIURL: url, Key: string(p.cfg.APIKey), Patterns: p.cfg.PrewarmPatterns, Portfolios: p.cfg.PrewarmPortfolios, Client: client,
	})
	off := ""
	if p.cfg.BackupDir == "" {
		off = noBackups
	}
	dumps := backup.New(backup.Options{
		DatabaseURL: string(cmp.Or(p.cfg.BackupDatabaseURL, p.cfg.DatabaseURL)), Process: p.pool,
		Dir: p.cfg.BackupDir, Keep: p.cfg.BackupKeep, Log: p.tel.Log, Now: time.Now,
	})
	river.AddWorker(workers, jobs.NewBuildPacksWorker(shelf))
	river.AddWorker(workers, jobs.NewReconcilePacksWorker(shelf, shelf, p.tel.Log))
	river.AddWorker(workers, jobs.NewComputeMetricsWorker(shelf, shelf, shelf, figures))
	river.AddWorker(workers, jobs.NewPrewarmWorker(shelf, prewarmer, store.DefaultTenant))
	river.AddWorker(workers, jobs.NewMarkFreshWorker(shelf))
	river.AddWorker(workers, jobs.NewBackupWorker(dumps, off))
	p.tel.Registry.MustRegister(jobs.NewRunCollector(runs, all, p.tel.Log, time.Now))
	return jobs.NewRecorder(runs, all, p.tel.Registry, p.tel.Log, time.Now), nil
}

// apiURL is where the API answers.
func (p *process) apiURL() (string, error) {
	if p.cfg.APIURL != "" {
		return p.cfg.APIURL, nil
	}
	_, port, err := net.SplitHostPort(p.cfg.APIAddr)
	if err != nil {
		return "", err
	}
	scheme := "http"
	if p.cfg.TLSCertFile != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort("127.0.0.1", port), nil
}

// catchUp puts in the jobs whose time passed while no worker was there, and goes on with packs that were
// left warming. A worker that can't is one that begins with the next time.
func (p *process) catchUp(ctx context.Context) {
	inserter, err := p.inserter()
	if err == nil {
		runs := store.NewJobRuns(p.pool, inserter, time.Now)
		var late, tenants []string
		late, err = runs.CatchUp(ctx, p.periodics())
		if len(late) > 0 {
			p.tel.Log.InfoContext(ctx, "jobs that were due while no worker was there begin now", "jobs", late)
		}
		if err == nil {
			tenants, err = runs.Resume(ctx)
		}
		if len(tenants) > 0 {
			p.tel.Log.InfoContext(ctx, "pricing packs were left warming: their nightly order begins again", "tenants", tenants)
		}
	}
	if err != nil {
		p.tel.Log.WarnContext(ctx, "jobs that are late could not be begun", "err", err)
	}
}
