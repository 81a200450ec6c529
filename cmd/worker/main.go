// Command worker retries failed deliveries, and is the command line for dead letters.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/dawsos/dawsos/internal/app"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := app.RunWorker(ctx, os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "worker: %v\n", err)
	}
	return app.ExitCode(err)
}
