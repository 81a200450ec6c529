package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/internal/loadtest"
	"github.com/dawsos/dawsos/internal/store/migrate"
)

// baselineCommand is how bench-delivery starts the bare program that it measures against; nobody else
// does.
const baselineCommand = "bench-baseline"

// report is what a program of internal/loadtest says in the end.
type report interface {
	String() string
	// OK reports whether all is as it must be.
	OK() bool
}

// trial is an experiment whose flags have been read.
type trial func(context.Context, loadtest.Place) (report, error)

// experiment is a command that runs API and worker in a place of their own, and harms or measures them.
type experiment struct {
	// flags adds the command's own flags and returns what makes a trial of them once they are read, or
	// says what is wrong with them.
	flags func(*flag.FlagSet) func() (trial, error)
	// limit bounds the whole run: what hangs must not keep CI.
	limit time.Duration
}

// experiments by command.
var experiments = map[string]experiment{
	"chaos":          {chaosFlags, 90 * time.Minute}, // a campaign is as long as one asks for
	"load":           {loadFlags, 30 * time.Minute},
	"bench-delivery": {benchFlags, 30 * time.Minute},
	"fuzz-api":       {fuzzFlags, 2 * time.Hour},
	"soak":           {soakFlags, 6 * time.Hour},
	"bench-size":     {sizeFlags, 15 * time.Minute},
	"drill-restore":  {restoreFlags, 15 * time.Minute},
	"drill-upgrade":  {upgradeFlags, 20 * time.Minute},
}

func chaosFlags(f *flag.FlagSet) func() (trial, error) {
	var o loadtest.ChaosOptions
	campaign := campaignFlags(f)
	f.DurationVar(&o.Duration, "duration", time.Minute, "how long events are posted and processes killed, or other harm is done")
	f.IntVar(&o.Kills, "kills", 30, "how many times a process is killed; 0 to see that nothing is repeated then")
	f.Uint64Var(&o.Seed, "seed", 1, "decides when and whom, and how the receiver fails")
	f.IntVar(&o.APIs, "apis", 1, "number of APIs")
	f.IntVar(&o.Workers, "workers", 1, "number of workers")
	f.Float64Var(&o.Rate, "rate", 150, "events a second")
	f.IntVar(&o.Concurrency, "concurrency", 32, "requests under way at most")
	f.DurationVar(&o.Drain, "drain", 3*time.Minute, "how long what is open may take afterwards")
	return func() (trial, error) {
		if campaign.wanted {
			return campaign.trial(f, o)
		}
		switch {
		case o.APIs < 1 || o.Workers < 1 || o.APIs+o.Workers > 20:
			return nil, errors.New("--apis and --workers: at least one of each and 20 together")
		case o.Kills < 0 || o.Duration <= 0 || o.Rate <= 0 || o.Concurrency < 1 || o.Drain <= 0:
			return nil, errors.New("--kills must not be negative; --duration, --rate, --concurrency and --drain must be positive")
		}
		return func(ctx context.Context, p loadtest.Place) (report, error) {
			return reported(loadtest.Chaos(ctx, p, o))
		}, nil
	}
}

func loadFlags(f *flag.FlagSet) func() (trial, error) {
	var o loadtest.OutageOptions
	scenario := f.String("scenario", outage, "`outage` (a receiver is down, and comes back), failures (a receiver fails the first attempts of each event), replay (dead letters are replayed to a receiver that fails again) or overload (more is asked for than there is room for)")
	f.IntVar(&o.Events, "events", 0, "how many events fail; 0 means 10,000 in an outage or a replay, 5,000 failures")
	f.IntVar(&o.Concurrency, "concurrency", 32, "requests under way at most, for each receiver")
	f.Float64Var(&o.Rate, "rate", 250, "outage: events a second to the receiver that is down")
	f.Float64Var(&o.OtherRate, "other-rate", 50, "outage: events a second to the one that is up")
	f.DurationVar(&o.WarmUp, "warm-up", 15*time.Second, "outage: how long both are up before")
	f.DurationVar(&o.Hold, "hold", 30*time.Second, "outage: how long the receiver stays down after the last event")
	fail := f.Int("fail", 2, "failures: attempts of each event that fail")
	retry := f.Duration("retry", 2*time.Second, "failures: each wait of the retry schedule")
	perSecond := f.Int("per-second", 500, "replay: letters made due a second")
	stopAfter := f.Int("stop-after", 20, "replay: letters that fail until it stops")
	over := overloadFlags(f)
	f.DurationVar(&o.Drain, "drain", 0, "how long what is open may take; 0 means 10 minutes after an outage or for a replay, 15 seconds after failures")
	return func() (trial, error) {
		switch {
		case o.Events < 0 || *fail < 0 || *fail > maxFail || o.Concurrency < 1:
			return nil, fmt.Errorf("--events must not be negative, --concurrency must be positive, --fail from 0 to %d", maxFail)
		case o.Rate <= 0 || o.OtherRate <= 0 || *retry <= 0 || o.WarmUp <= 0 || o.Hold < 0 || o.Drain < 0:
			return nil, errors.New("rates, --retry and --warm-up must be positive, --hold and --drain not negative")
		case *perSecond < 1 || *perSecond > maxPerSecond || *stopAfter < 1:
			return nil, fmt.Errorf("--per-second from 1 to %d, --stop-after must be positive", maxPerSecond)
		}
		switch *scenario {
		case outage:
			o.Events, o.Drain = cmp.Or(o.Events, 10_000), cmp.Or(o.Drain, 10*time.Minute)
			return func(ctx context.Context, p loadtest.Place) (report, error) {
				return reported(loadtest.Outage(ctx, p, o))
			}, nil
		case failures:
			o := loadtest.FailuresOptions{
				Events: cmp.Or(o.Events, 5_000), Fail: *fail, Retry: *retry, Concurrency: o.Concurrency, Drain: cmp.Or(o.Drain, 15*time.Second),
			}
			return func(ctx context.Context, p loadtest.Place) (report, error) {
				return reported(loadtest.Failures(ctx, p, o))
			}, nil
		case replay:
			events := cmp.Or(o.Events, 10_000)
			if least := 10 * *perSecond; events < least {
				return nil, fmt.Errorf("--events: at least %d, ten seconds of the replay, so that it has something left when it stops", least)
			}
			o := loadtest.ReplayOptions{
				Events: events, PerSecond: *perSecond, StopAfter: *stopAfter, FailAgain: events / 2, Concurrency: o.Concurrency,
				Limit: cmp.Or(o.Drain, 10*time.Minute),
			}
			return func(ctx context.Context, p loadtest.Place) (report, error) {
				return reported(loadtest.Replay(ctx, p, o))
			}, nil
		case overload:
			over.Concurrency, over.Drain = o.Concurrency, cmp.Or(o.Drain, 10*time.Minute)
			return overloadTrial(over)
		default:
			return nil, fmt.Errorf("--scenario %q: allowed are %s, %s, %s and %s", *scenario, outage, failures, replay, overload)
		}
	}
}

// The scenarios of load.
const outage, failures, replay, overload = "outage", "failures", "replay", "overload"

// maxPerSecond is the most that the API takes.
const maxPerSecond = 1000

// maxFail leaves room in the retry schedule, which has 20 entries at most.
const maxFail = 15

func benchFlags(f *flag.FlagSet) func() (trial, error) {
	o := loadtest.BenchmarkOptions{Baseline: baseline}
	f.IntVar(&o.Rounds, "rounds", 5, "rounds of each measurement, of which the medians count")
	f.DurationVar(&o.Round, "round", 4*time.Second, "how long each side of a round takes")
	f.IntVar(&o.Letters, "letters", 10_000, "dead letters drained in each round")
	f.IntVar(&o.Concurrency, "concurrency", 32, "requests under way")
	return func() (trial, error) {
		if o.Rounds < 1 || o.Round <= 0 || o.Letters < 2 || o.Concurrency < 1 {
			return nil, errors.New("--rounds, --round and --concurrency must be positive, --letters at least 2")
		}
		return func(ctx context.Context, p loadtest.Place) (report, error) {
			return reported(loadtest.Benchmark(ctx, p, o))
		}, nil
	}
}

func sizeFlags(f *flag.FlagSet) func() (trial, error) {
	var o loadtest.SizeOptions
	f.IntVar(&o.Events, "events", 10_000, "events of each kind")
	f.IntVar(&o.Concurrency, "concurrency", 32, "requests under way")
	f.DurationVar(&o.Limit, "limit", 5*time.Minute, "how long the retries of a kind may take")
	return func() (trial, error) {
		if o.Events < 1 || o.Concurrency < 1 || o.Limit <= 0 {
			return nil, errors.New("--events, --concurrency and --limit must be positive")
		}
		return func(ctx context.Context, p loadtest.Place) (report, error) {
			return reported(loadtest.Size(ctx, p, o))
		}, nil
	}
}

// reported makes a nil pointer with an error no report.
func reported[R report](r R, err error) (report, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

// baseline is this program again, as what the API is measured against.
func baseline(addr, databaseURL string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cmd := exec.Command(self, baselineCommand)
	cmd.Env = []string{"DATABASE_URL=" + databaseURL, "BASELINE_ADDR=" + addr}
	cmd.Stderr = os.Stderr
	return cmd
}

// serveBaseline is that other program.
func serveBaseline(ctx context.Context) int {
	if err := loadtest.ServeBaseline(ctx, os.Getenv("BASELINE_ADDR"), os.Getenv("DATABASE_URL")); err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
		return 1
	}
	return 0
}

// conduct runs the experiment of a command and returns the exit code: 1 when it could not be done, or
// something is not as it must be.
func conduct(ctx context.Context, command string, args []string, out io.Writer) int {
	e := experiments[command]
	flags := flag.NewFlagSet("dev "+command, flag.ContinueOnError)
	file := flags.String("json", "", "also write the report to a `file`, as JSON")
	prepare := e.flags(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "dev: unexpected %q, see go run ./cmd/dev %s --help\n", flags.Arg(0), command)
		return 2
	}
	start, err := prepare()
	if plan, ok := errors.AsType[*plannedError](err); ok {
		fmt.Fprint(out, plan.text)
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
		return 2
	}
	ctx, cancel := context.WithTimeoutCause(ctx, e.limit, fmt.Errorf("%s was not done after %s", command, e.limit))
	defer cancel()
	console := newConsole(out, false)
	err = inPlace(ctx, command, console, func(p loadtest.Place) error {
		r, err := start(ctx, p)
		if err != nil {
			return err
		}
		console.print("\n" + r.String())
		if *file != "" {
			encoded, err := json.MarshalIndent(r, "", "  ")
			if err != nil {
				return fmt.Errorf("encode the report: %w", err)
			}
			if err := os.WriteFile(*file, append(encoded, '\n'), 0o644); err != nil {
				return fmt.Errorf("write the report: %w", err)
			}
		}
		if !r.OK() {
			return fmt.Errorf("%s: not all is as it must be, see the report above", command)
		}
		return nil
	})
	if err != nil {
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			err = errInterrupted
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		}
		fmt.Fprintln(os.Stderr, "dev:", err)
		return 1
	}
	return 0
}

// postgres is a private server that can be crashed and started again.
type postgres struct {
	opts   devpg.Options
	server *devpg.Server
}

// Start starts the server unless it is up, under the address that it had before.
func (p *postgres) Start(ctx context.Context) error {
	if p.server != nil {
		select {
		case <-p.server.Done():
		default:
			return nil
		}
	}
	server, err := devpg.Start(ctx, p.opts)
	if err != nil {
		return err
	}
	p.server = server
	return nil
}

// Crash ends it as pg_ctl -m immediate does.
func (p *postgres) Crash(ctx context.Context) error { return p.server.Crash(ctx) }

func (p *postgres) Stop(ctx context.Context) error { return p.server.Stop(ctx) }

func (p *postgres) URL(database string) string { return p.server.URL(database) }

// maxConnections is enough for ten processes' pools.
const maxConnections = "300"

// inPlace builds the programs and starts a private PostgreSQL in a folder of their own, with all its
// durability, calls do, and removes the folder; after a failure it stays, with the logs.
func inPlace(ctx context.Context, command string, out *console, do func(loadtest.Place) error) (err error) {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "dawsos-"+command+"-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL's account has to pass through
		return fmt.Errorf("open the folder: %w", err)
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			out.say("logs are in %s", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	out.say("building")
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "./cmd/api", "./cmd/worker")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, text)
	}
	server := &postgres{opts: devpg.Options{
		Dir: filepath.Join(dir, "postgres"), Progress: func(step string) { out.say("%s", step) },
		Settings: map[string]string{"max_connections": maxConnections},
	}}
	if err := server.Start(ctx); err != nil {
		return err
	}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseStopTimeout)
		defer cancel()
		err = errors.Join(err, server.Stop(stopCtx))
		if err == nil {
			err = devpg.Remove(filepath.Join(dir, "postgres")) // which may be elsewhere than asked for
		}
	}()
	if err := createDatabase(ctx, server.URL("postgres")); err != nil {
		return err
	}
	url := server.URL(databaseName)
	if _, err := migrate.Up(ctx, url); err != nil {
		return err
	}
	return do(loadtest.Place{Bin: dir, Root: root, DatabaseURL: url, Server: server, NoDisk: "no disk of limited size was asked for", Logs: dir, Say: out.say})
}

// experimentNames lists the commands for messages.
func experimentNames() string {
	return strings.Join(slices.Sorted(maps.Keys(experiments)), ", ")
}
