package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/cli"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/store/migrate"
)

// RunWorker retries deliveries until ctx ends. With the argument "dlq" it is the command line for
// dead letters instead, with "healthcheck" it asks the worker that runs, with "version" it says what it is.
func RunWorker(ctx context.Context, args []string, getenv func(string) string) error {
	if len(args) > 0 {
		if args[0] == "dlq" {
			return cli.DLQ(ctx, args[1:], getenv, os.Stdout)
		}
		if args[0] == "healthcheck" && len(args) == 1 {
			return Healthcheck(ctx, config.Worker, getenv)
		}
		if asksForVersion(args) {
			return PrintVersion(os.Stdout, config.Worker)
		}
		return fmt.Errorf("unknown arguments %q; usage: worker [dlq ... | healthcheck | version]", args)
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

// ExitCode is what a process ends with: 0, 1 for what failed, 2 for a wrong use of the command line.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if _, misused := errors.AsType[*cli.UsageError](err); misused {
		return 2
	}
	return 1
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
	p.beat(config.Worker)
	return p.startRiver(ctx, client)
}

// schemaReady reports whether the database answers with a current schema.
func (p *process) schemaReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return migrate.Check(ctx, p.pool)
}
