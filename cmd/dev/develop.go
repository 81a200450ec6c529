package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/observability"
)

const (
	// stopMargin is what a part gets on top of its own grace period before it is killed.
	stopMargin = 10 * time.Second
	// readyTimeout bounds the start of the API and the worker.
	readyTimeout = 60 * time.Second
	// databaseStopTimeout bounds PostgreSQL's last checkpoint.
	databaseStopTimeout = 20 * time.Second
)

// errInterrupted is why a start does not go on when the user has had enough.
var errInterrupted = errors.New("interrupted")

// service is one of the two programs that make up the system.
type service struct {
	name     string // also its folder below cmd
	variable string // the setting with its address
	address  string
	url      string // where it is reached from this machine
	reloads  bool   // on SIGHUP, which would end the others
}

// develop does what the options ask for until it is done or ctx ends; closing force then cuts the
// stopping short.
func develop(ctx context.Context, force <-chan struct{}, opts options, out *console) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	// Settings name files relative to the module's root, as do the defaults.
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("enter the module's folder: %w", err)
	}
	cfg, err := config.Load(os.Getenv, config.Dev)
	if err != nil {
		return err
	}
	d := &dev{opts: opts, cfg: cfg, out: out, state: filepath.Join(root, ".dawsos")}
	err = d.run(ctx, force)
	if ctx.Err() != nil && errors.Is(err, errInterrupted) {
		return nil
	}
	return err
}

// moduleRoot returns the folder of go.mod, here or above.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module's folder: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod in %s or above: run this inside the project", start)
		}
	}
}

// dev is one run of the program.
type dev struct {
	opts  options
	cfg   config.Config
	out   *console
	state string // folder of everything that is kept between runs
	keys  keys
}

func (d *dev) run(ctx context.Context, force <-chan struct{}) (err error) {
	if err := os.MkdirAll(d.state, 0o755); err != nil { // PostgreSQL's account has to pass through
		return fmt.Errorf("make the folder for private state: %w", err)
	}
	if err := d.checkDatabase(ctx); err != nil {
		return interrupted(ctx, err)
	}
	var services []service
	if d.opts.runs() {
		if services, err = d.services(ctx); err != nil {
			return err
		}
	}

	// Building and the database's start take seconds each the first time: side by side.
	group, startCtx := errgroup.WithContext(ctx)
	var db *database
	group.Go(func() (err error) {
		db, err = d.openDatabase(startCtx)
		if err != nil {
			return err
		}
		return d.prepare(startCtx, db)
	})
	if len(services) > 0 {
		group.Go(func() error { return d.build(startCtx, services) })
	}
	var programs observability.Programs
	if d.opts.command == observabilityCommand {
		group.Go(func() (err error) {
			programs, err = d.locate(startCtx)
			return err
		})
	}
	err = group.Wait()
	if db != nil {
		defer func() { err = errors.Join(err, d.closeDatabase(ctx, force, db)) }()
	}
	if err != nil {
		return interrupted(ctx, err)
	}
	if len(services) == 0 {
		return nil
	}
	var stack *observability.Stack
	if d.opts.command == observabilityCommand {
		if stack, err = d.observe(ctx, services, db, programs); err != nil {
			return interrupted(ctx, err)
		}
		defer func() { err = errors.Join(err, stack.Stop(force)) }() // after the services, whose last spans it takes
	}
	return d.serve(ctx, force, services, db, stack)
}

// interrupted hides the errors that only say that a step was broken off.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// services returns what is to run, having made sure that each can have its address.
func (d *dev) services(ctx context.Context) ([]service, error) {
	all := []service{
		{name: "api", variable: "API_ADDR", address: d.cfg.APIAddr, reloads: true},
		{name: "worker", variable: "WORKER_ADDR", address: d.cfg.WorkerAddr},
	}
	var chosen []service
	for _, s := range all {
		if d.opts.only != "" && d.opts.only != s.name {
			continue
		}
		if err := s.claim(ctx); err != nil {
			return nil, err
		}
		chosen = append(chosen, s)
	}
	return chosen, nil
}

// claim checks that the address is free and completes the service with it: port 0 becomes one that
// is free now.
func (s *service) claim(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.address)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err // the rest of its text is said below
		}
		return fmt.Errorf("%s=%s can't be used by the %s (%w): stop what uses it, or choose another address, such as %s=:%d",
			s.variable, s.address, s.name, err, s.variable, s.otherPort())
	}
	host, _, err := net.SplitHostPort(s.address)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.variable, err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	if err := listener.Close(); err != nil {
		return fmt.Errorf("try the address of the %s: %w", s.name, err)
	}
	s.address = net.JoinHostPort(host, port)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	s.url = "http://" + net.JoinHostPort(host, port)
	return nil
}

// otherPort is a port to suggest in place of one that is taken.
func (s *service) otherPort() int {
	if _, port, err := net.SplitHostPort(s.address); err == nil {
		if n, err := strconv.Atoi(port); err == nil && n < 65_000 {
			return n + 100
		}
	}
	return 8100
}

// build compiles the services.
func (d *dev) build(ctx context.Context, services []service) error {
	bin := filepath.Join(d.state, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("make the folder for programs: %w", err)
	}
	d.out.say("building (the first time this takes a while)")
	started := time.Now()
	args := []string{"build", "-o", bin + string(filepath.Separator)}
	for _, s := range services {
		args = append(args, "./cmd/"+s.name)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	d.out.say("built in %.1f s", time.Since(started).Seconds())
	return nil
}

// serve runs the services until the user stops them or a part ends. stack is nil where there is none.
func (d *dev) serve(ctx context.Context, force <-chan struct{}, services []service, db *database, stack *observability.Stack) (err error) {
	environ, err := d.environ(services, db)
	if err != nil {
		return err
	}
	var stackFailed <-chan error // nil blocks for ever
	if stack != nil {
		stackFailed = stack.Failed()
		environ = append(environ, stackEnviron(stack)...)
	}
	super := newSupervisor(d.out, d.cfg.ShutdownGrace+stopMargin)
	defer func() {
		d.out.say("stopping")
		err = errors.Join(err, super.stop(force))
	}()
	if db.private != nil {
		super.watch(db.private.Done(), func() error { return fmt.Errorf("pg ended: %w", db.private.Err()) })
	}
	for _, s := range services {
		cmd := exec.Command(filepath.Join(d.state, "bin", s.name))
		cmd.Env = environ
		if err := super.start(s.name, cmd); err != nil {
			return err
		}
	}
	for _, s := range services {
		if err := super.ready(ctx, s.name, s.url+"/readyz", readyTimeout); err != nil {
			return interrupted(ctx, err)
		}
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	d.out.print(d.welcome(ctx, services, db))
	if stack != nil {
		d.out.print(describe(stack))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-super.failed:
			return err
		case err := <-stackFailed:
			return err
		case <-again:
			for _, s := range services {
				if s.reloads {
					super.signal(s.name, syscall.SIGHUP) // it says itself what becomes of it
				}
			}
		}
	}
}

// environ is the services' environment: the user's, completed with what this program provides.
func (d *dev) environ(services []service, db *database) ([]string, error) {
	// Of a variable that stands twice, the last counts.
	environ := append(os.Environ(), "DATABASE_URL="+db.url,
		// What this program says and waits for is at API_ADDR and in the clear.
		"METRICS_ADDR=", "TLS_CERT_FILE=", "TLS_KEY_FILE=")
	for _, s := range services {
		environ = append(environ, s.variable+"="+s.address)
	}
	secrets := filepath.Join(d.state, secretsFile)
	if d.cfg.WebhookSecret == "" {
		secret, err := webhookSecret(secrets)
		if err != nil {
			return nil, err
		}
		environ = append(environ, "WEBHOOK_SECRET="+secret)
	}
	if d.cfg.SecretsKey == "" {
		key, err := secretsKey(secrets)
		if err != nil {
			return nil, err
		}
		environ = append(environ, "SECRETS_KEY="+key)
	}
	if d.cfg.APIKey == "" && d.keys.worker != "" {
		environ = append(environ, "API_KEY="+d.keys.worker)
	}
	return environ, nil
}

// closeDatabase stops a private server that this process runs.
func (d *dev) closeDatabase(ctx context.Context, force <-chan struct{}, db *database) error {
	if db.private == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseStopTimeout)
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-force:
			cancel() // PostgreSQL then stops at once, without a checkpoint
		case <-stopped:
		}
	}()
	return db.private.Stop(ctx)
}

// redacted is an address without what must not be shown.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(an address that can't be read)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
