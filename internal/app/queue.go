package app

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"riverqueue.com/riverui"
)

// queuePrefix is where the console shows River's own pages.
const queuePrefix = "/console/queue"

// queue starts River's pages about its jobs and queues. They can act on jobs too: it is the console that
// refuses that.
func (p *process) queue(ctx context.Context, client *river.Client[pgx.Tx]) (http.Handler, error) {
	pages, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(client, nil), Logger: p.riverLog(), Prefix: queuePrefix,
	})
	if err != nil {
		return nil, fmt.Errorf("river's pages: %w", err)
	}
	// Not ctx: the pages' counting of jobs in the background ends in order, before the pool.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if err := pages.Start(ctx); err != nil {
		cancel()
		return nil, fmt.Errorf("start river's pages: %w", err)
	}
	p.onStop("river's pages", func(context.Context) error {
		cancel()
		return nil
	})
	return pages, nil
}
