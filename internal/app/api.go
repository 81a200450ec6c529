package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

// riskFreeSeries is the macro series of daily bill returns that the sample data brings.
const riskFreeSeries = "FF_RF"

// RunAPI serves the HTTP API until ctx ends. With the argument "migrate" it migrates instead.
func RunAPI(ctx context.Context, args []string, getenv func(string) string) error {
	switch {
	case len(args) == 1 && args[0] == "migrate":
		return Migrate(ctx, getenv)
	case len(args) > 0:
		return fmt.Errorf("unknown arguments %q; usage: api [migrate]", args)
	}
	p, err := start(ctx, config.API, getenv)
	if err != nil {
		return err
	}
	if err := p.startAPI(ctx); err != nil {
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

func (p *process) startAPI(ctx context.Context) error {
	metrics := agents.NewMetrics(p.tel.Registry)
	db := store.New(p.pool, store.Options{})

	runtime, err := p.agents(db, metrics)
	if err != nil {
		return err
	}
	catalog, problems, err := patterns.LoadDir(p.cfg.PatternsDir, runtime.Capabilities())
	if err != nil {
		return fmt.Errorf("PATTERNS_DIR=%s: %w", p.cfg.PatternsDir, err)
	}
	for _, problem := range problems { // the others serve
		p.tel.Log.ErrorContext(ctx, "pattern not loaded", "err", problem)
	}
	orchestrator, err := patterns.New(catalog, runtime, db, patterns.Options{Registerer: p.tel.Registry, Tracer: p.tracer})
	if err != nil {
		return err
	}

	inserter, err := p.inserter()
	if err != nil {
		return err
	}
	deliveries := store.NewDeliveries(p.pool, inserter, p.tel.Log, time.Now)
	options, err := p.deliveryOptions(deliveries, metrics)
	if err != nil {
		return err
	}
	for _, c := range options.Channels {
		metrics.Init(delivery.FirstAttemptAgent, delivery.Capability(c.Name()))
	}

	handler, err := httpapi.New(httpapi.Options{
		Patterns: orchestrator, Catalog: catalog, Portfolios: db,
		Deliverer: delivery.NewService(deliveries, options), Deliveries: deliveries,
		TenantID: store.DefaultTenant, Unavailable: store.Unavailable, RequestTimeout: p.cfg.RequestTimeout, MaxBodyBytes: p.cfg.MaxBodyBytes,
		Healthz: http.HandlerFunc(p.probes.Healthz), Readyz: http.HandlerFunc(p.probes.Readyz), Metrics: p.tel.MetricsHandler(),
		Registerer: p.tel.Registry, Log: p.tel.Log, Tracer: p.tracer, Now: time.Now,
	})
	if err != nil {
		return err
	}
	// First attempts go on when a request's time is over: they, and the recording of their outcome,
	// have times of their own.
	write := p.cfg.RequestTimeout + 2*p.cfg.DeliveryTimeout
	return p.serve(ctx, "api", p.cfg.APIAddr, handler, p.cfg.RequestTimeout, write)
}

func (p *process) agents(db *store.Store, metrics *agents.Metrics) (*agents.Runtime, error) {
	cfg, err := agents.LoadConfig(p.cfg.AgentsFile)
	if err != nil {
		return nil, fmt.Errorf("AGENTS_FILE: %w", err)
	}
	all := []agent.Agent{
		analyst.New(db, db, analyst.Options{RiskFreeSeries: riskFreeSeries}),
	}
	return agents.New(cfg, all, agents.Options{
		Registerer: p.tel.Registry, Metrics: metrics, Logger: p.tel.Log, Tracer: p.tracer,
	})
}
