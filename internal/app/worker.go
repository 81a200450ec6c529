package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/store/migrate"
)

// RunWorker retries deliveries until ctx ends.
func RunWorker(ctx context.Context, args []string, getenv func(string) string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown arguments %q; worker takes none", args)
	}
	p, err := start(ctx, config.Worker, getenv)
	if err != nil {
		return err
	}
	if err := p.startWorker(ctx); err != nil {
		if ctx.Err() != nil { // told to stop while waiting for the database
			err = nil
		}
		return errors.Join(err, p.stop(ctx))
	}
	return errors.Join(p.wait(ctx), p.stop(ctx))
}

func (p *process) startWorker(ctx context.Context) error {
	client, err := p.worker(agents.NewMetrics(p.tel.Registry))
	if err != nil {
		return err
	}
	// Probes and metrics first: a worker that waits for its database says so.
	if err := p.serve(ctx, "worker", p.cfg.WorkerAddr, p.mux(), p.cfg.RequestTimeout, p.cfg.RequestTimeout); err != nil {
		return err
	}
	return p.startRiver(ctx, client)
}

// schemaReady reports whether the database answers with a current schema.
func (p *process) schemaReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return migrate.Check(ctx, p.pool)
}
