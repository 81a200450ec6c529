// Dev runs DawsOS for development with one command: a private PostgreSQL unless DATABASE_URL is
// set, migrations, sample data, then the API and the worker.
//
//	go run ./cmd/dev [--reset] [--only api|worker] [--no-sample]
//	go run ./cmd/dev observability [flags as above]
//	go run ./cmd/dev migrate | seed
//	go run ./cmd/dev chaos | load | soak | fuzz-api | bench-delivery | bench-size | drill-restore | drill-upgrade [--help]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: go run ./cmd/dev [command] [flags]

Without a command it runs the API and the worker until Ctrl-C. SIGHUP makes the API read its
patterns again, as a change of their files does.

commands:
  observability   run everything together with Prometheus, Alertmanager, Jaeger and the OpenTelemetry
                  Collector, see docs/observability-local.md
  migrate         bring the database to the present schema, then end
  seed            migrate and load the sample data, then end

  chaos, load, soak, bench-delivery and fuzz-api run API, worker and PostgreSQL of their own and have flags of
  their own, see docs/chaos.md:
  chaos           kill processes at random under load, and account for every event
  load            take a receiver away, or have it fail, and account for every event
  soak            run at a moderate load, and see whether anything grows
  bench-delivery  measure deliveries against bare programs
  fuzz-api        ask every endpoint right and wrong things, see docs/fuzzing.md
  bench-size      measure what an event costs the database, see docs/sizing.md
  drill-restore   lose the database and restore it by the documented commands, see docs/jobs.md
  drill-upgrade   replace an older release by this one under load, see docs/upgrading.md

  release makes what is published, see docs/releasing.md, and has flags of its own.

flags:
`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, force, stop := signals()
	defer stop()
	if len(args) > 0 {
		if _, ok := experiments[args[0]]; ok {
			return conduct(ctx, args[0], args[1:], os.Stdout)
		}
		if args[0] == baselineCommand {
			return serveBaseline(ctx)
		}
		if args[0] == releaseCommand {
			return makeRelease(ctx, args[1:], os.Stdout)
		}
	}
	opts, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "dev:", err)
		return 2
	}
	out := newConsole(os.Stdout, isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "")
	if err := develop(ctx, force, opts, out); err != nil {
		out.flush()
		fmt.Fprintln(os.Stderr, "dev:", err)
		return 1
	}
	return 0
}

// options are what the command line asks for.
type options struct {
	command  string // "up", "observability", "migrate" or "seed"
	reset    bool   // wipe the private database first
	only     string // "api" or "worker": run just this one
	noSample bool
}

// runs tells whether the API and the worker are wanted, rather than one step that ends.
func (o options) runs() bool { return o.command == "up" || o.command == observabilityCommand }

func parse(args []string) (options, error) {
	opts := options{command: "up"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		opts.command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("dev", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.BoolVar(&opts.reset, "reset", false, "wipe the private database and start afresh")
	flags.StringVar(&opts.only, "only", "", "run only `api` or worker; a private database that runs already is shared")
	flags.BoolVar(&opts.noSample, "no-sample", false, "load no sample data")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	switch opts.command {
	case "up", observabilityCommand, "migrate", "seed":
	default:
		return options{}, fmt.Errorf("there is no command %q: observability, migrate, seed, %s, or none to run everything", opts.command, experimentNames())
	}
	if opts.only != "" && opts.only != "api" && opts.only != "worker" {
		return options{}, fmt.Errorf("--only %q: allowed are api and worker", opts.only)
	}
	if opts.only != "" && opts.command == observabilityCommand {
		return options{}, errors.New("observability runs the API and the worker: leave --only out")
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected %q: a command comes before the flags, see go run ./cmd/dev --help", flags.Arg(0))
	}
	return opts, nil
}

// signals returns a context that ends with the first SIGINT or SIGTERM, and a channel that is
// closed by the second.
func signals() (ctx context.Context, force <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	received := make(chan os.Signal, 2)
	signal.Notify(received, syscall.SIGINT, syscall.SIGTERM)
	forced := make(chan struct{})
	orphaned := orphanedC(ctx)
	go func() {
		select {
		case <-received:
		case <-orphaned:
		}
		cancel()
		<-received
		close(forced)
	}()
	return ctx, forced, func() {
		signal.Stop(received)
		cancel()
	}
}

// orphanedC returns a channel that is closed when `go run` is gone. It ends on SIGTERM without
// passing it on, and would leave this process running unseen.
func orphanedC(ctx context.Context) <-chan struct{} {
	gone := make(chan struct{})
	if exe, err := os.Executable(); err != nil || !strings.Contains(exe, "go-build") {
		return gone // built and started by hand: whoever started it may leave
	}
	parent := os.Getppid()
	go func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if os.Getppid() != parent {
					close(gone)
					return
				}
			}
		}
	}()
	return gone
}

// isTerminal reports whether a person is likely to be looking.
func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
