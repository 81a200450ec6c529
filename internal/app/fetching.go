package app

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/provider"
	"github.com/dawsos/dawsos/internal/store"
)

// providerTimeout bounds one answer of a provider.
const providerTimeout = 30 * time.Second

// fetchOff says why no provider is asked; "" when one is.
func (p *process) fetchOff() string {
	if p.cfg.FREDAPIKey == "" && p.cfg.FMPAPIKey == "" && p.cfg.NewsAPIKey == "" {
		return "no data provider has a key: set FRED_API_KEY, FMP_API_KEY or NEWS_API_KEY"
	}
	return ""
}

// fetching adds the worker that asks the data providers.
func (p *process) fetching(workers *river.Workers, inserter *river.Client[pgx.Tx]) error {
	settings, err := provider.LoadConfig(p.cfg.AnalyticsDir)
	if err != nil {
		return fmt.Errorf("ANALYTICS_DIR: %w", err)
	}
	client := outbound.NewClient(outbound.Options{
		Timeout: providerTimeout, TracerProvider: p.tel.TracerProvider, Propagator: p.tel.Propagator,
	})
	p.onStop("provider client", func(context.Context) error {
		client.CloseIdleConnections()
		return nil
	})
	shelf := store.NewPacks(p.pool, inserter, time.Now)
	importer := imports.New(store.NewImports(p.pool, store.ImportOptions{Enqueue: shelf.EnqueueBuild}), p.tel.Registry)
	keys := provider.Keys{FRED: string(p.cfg.FREDAPIKey), FMP: string(p.cfg.FMPAPIKey), News: string(p.cfg.NewsAPIKey)}
	tasks := settings.Tasks(keys, provider.Options{Client: client})
	harvest := provider.NewHarvest(tasks, importer, store.DefaultTenant, time.Now)
	river.AddWorker(workers, jobs.NewFetchDataWorker(func(ctx context.Context) (any, error) { return harvest.Fetch(ctx) }, p.fetchOff()))
	return nil
}
