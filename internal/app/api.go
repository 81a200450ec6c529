package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/console"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/telemetry"
)

const apiUsage = "usage: api [migrate | keys ... | healthcheck | version | validate [file or directory ...]]"

// RunAPI serves the HTTP API until ctx ends. With the argument "migrate" it migrates instead, with "keys"
// it makes and ends API keys, with "validate" it checks pattern files, with "healthcheck" it asks the API
// that runs, with "version" it says what it is.
func RunAPI(ctx context.Context, args []string, getenv func(string) string) error {
	if len(args) > 0 {
		switch {
		case args[0] == "validate":
			return Validate(ctx, args[1:], getenv, os.Stdout)
		case args[0] == "keys":
			return ManageKeys(ctx, args[1:], getenv, os.Stdout, os.Stderr)
		case args[0] == "migrate" && len(args) == 1:
			return Migrate(ctx, getenv)
		case args[0] == "healthcheck" && len(args) == 1:
			return Healthcheck(ctx, config.API, getenv)
		case asksForVersion(args):
			return PrintVersion(os.Stdout, config.API)
		}
		return fmt.Errorf("unknown arguments %q; %s", args, apiUsage)
	}
	p, err := start(ctx, config.API, getenv)
	if err != nil {
		return err
	}
	if err := p.startAPI(ctx, getenv); err != nil {
		return errors.Join(err, p.shutdown())
	}
	return errors.Join(p.wait(ctx), p.stop(ctx))
}

// stop makes the process unready before anything of it goes away.
func (p *process) stop(ctx context.Context) error {
	p.probes.Stop()
	err := p.shutdown()
	if err == nil {
		p.tel.Log.InfoContext(ctx, "stopped")
	}
	return err
}

// patternsEvery is how often the pattern directory is looked at for changes.
const patternsEvery = time.Second

func (p *process) startAPI(ctx context.Context, getenv func(string) string) error {
	metrics := agents.NewMetrics(p.tel.Registry)
	db := store.New(p.pool, store.Options{})

	crew, err := newCrew(ctx, p.cfg, p.models, getenv, p.tel, db, agents.Options{
		Registerer: p.tel.Registry, Metrics: metrics, Logger: p.tel.Log, Tracer: p.tracer,
		OnBreakerChange: p.agentBreakerChanged,
	})
	if err != nil {
		return err
	}
	recorder := runs.NewRecorder(db, runs.RecorderOptions{Registerer: p.tel.Registry, Log: p.tel.Log})
	p.onStop("run recorder", recorder.Stop)

	options := patterns.Options{
		Registerer: p.tel.Registry, Logger: p.tel.Log, Parallelism: p.cfg.PatternParallelism,
		CacheBytes: p.cfg.PatternCacheSize, Recorder: recorder, Nesting: crew.nesting,
	}
	if p.cfg.OTLPEndpoint != "" { // spans that nobody takes cost as much as those that somebody does
		options.Tracer = p.tracer
	}
	orchestrator, err := patterns.New(p.cfg.PatternsDir, crew.runtime, store.NewContexts(db), options)
	if err != nil {
		return fmt.Errorf("PATTERNS_DIR=%s: %w", p.cfg.PatternsDir, err)
	}
	p.probes.Note(telemetry.Note{Name: "patterns", Run: orchestrator.Degraded})
	p.watchPatterns(ctx, crew, orchestrator)

	https := p.cfg.TLSTerminated || p.cfg.TLSCertFile != "" // callers come by it
	inserter, err := p.inserter()
	if err != nil {
		return err
	}
	deliveries := store.NewDeliveries(p.pool, inserter, p.tel.Log, time.Now)
	sending, err := p.deliveryOptions(deliveries, metrics)
	if err != nil {
		return err
	}
	for _, c := range sending.Channels {
		metrics.Init(delivery.FirstAttemptAgent, delivery.Capability(c.Name()))
	}

	service := delivery.NewService(deliveries, sending)
	rules, evaluator := p.alerting(db, deliveries, service, sending.Destinations)

	authenticator, keys, err := p.access(db)
	if err != nil {
		return err
	}
	packs := store.NewPacks(p.pool, inserter, time.Now)
	replayer := runs.NewReplayer(db, orchestrator)
	importer := imports.New(store.NewImports(p.pool, store.ImportOptions{Enqueue: packs.EnqueueBuild}), p.tel.Registry)
	periodicJobs := store.NewPeriodicJobs(deliveries, p.periodics())
	manager := destinations.NewManager(p.destinations, destinations.Options{
		Channels: sending.Channels, Timeout: p.cfg.DeliveryTimeout, Log: p.tel.Log,
	})
	released := delivery.NewReleases(p.tel.Registry, delivery.ReleasedSingly, delivery.Replay, delivery.Discard)
	queue, err := p.queue(ctx, inserter)
	if err != nil {
		return err
	}
	rates := p.rates()
	pages, err := console.New(console.Options{
		Auth: authenticator, Sessions: auth.NewSessions(db, authenticator, time.Now), Secure: https,
		Refused: refusedBy(rates), JaegerURL: p.cfg.JaegerURL, GrafanaURL: p.cfg.GrafanaURL,
		DeadLetters: deliveries, Deliveries: deliveries, Deliverer: service, Notifications: db, AuditLog: db, Rules: rules, Evaluator: evaluator,
		Destinations: manager, Patterns: orchestrator, Catalog: orchestrator, Agents: crew.runtime, Runs: db, Replayer: replayer, Insights: db,
		Portfolios: db, Importer: importer, Packs: packs, Jobs: periodicJobs, Health: db, Ledger: deliveries,
		Breakers: db, Queue: queue,
		Status: httpapi.StatusOf, Unavailable: store.Unavailable, Released: released, Now: time.Now,
	})
	if err != nil {
		return err
	}
	var healthz, readyz, metricsHandler http.Handler // nil where they have an address of their own
	if p.cfg.MetricsAddr == "" {
		healthz, readyz, metricsHandler = http.HandlerFunc(p.probes.Healthz), http.HandlerFunc(p.probes.Readyz), p.tel.MetricsHandler()
	}
	handler, err := httpapi.New(httpapi.Options{
		Patterns: orchestrator, Catalog: orchestrator, Validator: orchestrator, Agents: crew.runtime,
		Runs: db, Replayer: replayer, Portfolios: db,
		Operations: deliveries, AuditLog: db, Released: released, Console: pages,
		Jobs: periodicJobs, Packs: packs,
		Destinations: p.destinations, DestinationManager: manager,
		Notifications: db, AlertmanagerDedupWindow: p.cfg.AlertmanagerDedupWindow,
		Deliverer: service, Deliveries: deliveries, Rules: rules, Evaluator: evaluator,
		Importer:      importer,
		ImportTimeout: p.cfg.ImportTimeout, ImportMaxBytes: p.cfg.ImportMaxBytes,
		Gate: p.gate(), Rates: rates, HTTPS: https,
		Auth: authenticator, Keys: keys, Unavailable: store.Unavailable, RequestTimeout: p.cfg.RequestTimeout, MaxBodyBytes: p.cfg.MaxBodyBytes,
		Healthz: healthz, Readyz: readyz, Metrics: metricsHandler,
		Registerer: p.tel.Registry, Log: p.tel.Log, Tracer: p.tracer, Now: time.Now,
	})
	if err != nil {
		return err
	}
	if p.cfg.MetricsAddr != "" {
		if err := p.serve(ctx, "metrics", p.cfg.MetricsAddr, p.mux(), p.cfg.RequestTimeout, p.cfg.RequestTimeout); err != nil {
			return err
		}
	}
	// First attempts go on when a request's time is over: they, and the recording of their outcome,
	// have times of their own.
	write := p.cfg.RequestTimeout + 2*p.cfg.DeliveryTimeout
	if err := p.serve(ctx, "api", p.cfg.APIAddr, handler, p.cfg.RequestTimeout, write, p.boundConnections); err != nil {
		return err
	}
	p.beat(config.API)
	p.onStop("live pages", func(context.Context) error { // before the server, which waits for them
		pages.Stop()
		return nil
	})
	return nil
}

// watchPatterns keeps patterns and remote agents up to date until the process stops.
func (p *process) watchPatterns(ctx context.Context, crew *crew, orchestrator *patterns.Orchestrator) {
	// Not ctx: they go on while requests are finished.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	var watching sync.WaitGroup
	watching.Go(func() { orchestrator.Watch(ctx, patternsEvery, again) })
	watching.Go(func() { crew.watch(ctx, orchestrator.Reload) })
	p.onStop("pattern watch", func(context.Context) error {
		signal.Stop(again)
		cancel()
		watching.Wait()
		return nil
	})
}
