// Package observability runs the observability stack without containers, for development and tests:
// Jaeger, the OpenTelemetry Collector, Alertmanager, the PostgreSQL exporter and Prometheus, as real
// processes on loopback, each with the very file below configs/ that compose.yaml mounts.
//
// Prometheus, Alertmanager and the exporter are those on PATH. Collector and Jaeger are built from the
// modules in servers/, once, into the user's cache folder. Grafana is neither a Go module nor a Debian
// package, so it is not among them.
//
// # Addresses
//
// The files name the services of compose.yaml. Collector and Jaeger read their addresses from
// variables. Prometheus and Alertmanager know none: a copy of their files is made in which each pair
// of host and port is replaced, and a pair that nobody knows is an error.
package observability

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Options say what the stack watches and where it keeps things.
type Options struct {
	// Root is the module's folder, with configs/. Required.
	Root string
	// Dir is the folder for data, logs and the files that are made of configs/. Required.
	Dir string
	// API and Worker are where Prometheus scrapes the two processes, "host:port". They need not run
	// yet. Required.
	API, Worker string
	// DatabaseURL is the PostgreSQL that the exporter reads. Required.
	DatabaseURL string
	// APIKey is what Alertmanager shows to the API.
	APIKey string
	// Environment is "development" or "production"; it names where spans come from that don't say.
	Environment string
	// Programs are what Locate found. Those that are missing are left out.
	Programs Programs
	// UsualPorts has each server on the port that it has in compose.yaml too, unless that is taken.
	// Default: any free one.
	UsualPorts bool
	// LogRecords has the collector write out every log record that it is sent, not only their number.
	LogRecords bool
}

const (
	// startTimeout bounds the time from a server's launch to its readiness.
	startTimeout = 60 * time.Second
	// stopTimeout is how long a server may take to stop before it is killed. The collector sends what
	// it holds meanwhile.
	stopTimeout = 30 * time.Second
	// poll is how often readiness is asked for.
	poll = 100 * time.Millisecond
)

// Addresses are where the servers listen, "127.0.0.1:port".
type Addresses struct {
	Prometheus, Alertmanager, PostgresExporter string

	CollectorGRPC, CollectorHTTP    string // OTLP
	CollectorMetrics                string // its own
	CollectorExporter               string // made of spans, and Jaeger's
	CollectorHealth, CollectorPprof string
	CollectorZpages                 string
	JaegerUI, JaegerQuery           string // HTTP, with the API below /api; gRPC
	JaegerGRPC, JaegerHTTP          string // OTLP
	JaegerMetrics, JaegerHealth     string
}

// usual are the ports of compose.yaml. Jaeger's metrics and health are not published there: those
// here stand beside the collector's.
func (a *Addresses) usual() map[*string]int {
	return map[*string]int{
		&a.Prometheus: 9090, &a.Alertmanager: 9093, &a.PostgresExporter: 9187,
		&a.CollectorGRPC: 4319, &a.CollectorHTTP: 4320, &a.CollectorMetrics: 8888, &a.CollectorExporter: 8889,
		&a.CollectorHealth: 13133, &a.CollectorPprof: 1777, &a.CollectorZpages: 55679,
		&a.JaegerUI: 16686, &a.JaegerQuery: 16685, &a.JaegerGRPC: 4317, &a.JaegerHTTP: 4318,
		&a.JaegerMetrics: 8887, &a.JaegerHealth: 13132,
	}
}

// claim finds an address for each server. All are held until the last is found, so that no two are
// the same.
func (a *Addresses) claim(ctx context.Context, usualPorts bool) error {
	var lc net.ListenConfig
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	listen := func(port int) (string, error) {
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			return "", err
		}
		held = append(held, l)
		return l.Addr().String(), nil
	}
	for field, port := range a.usual() {
		if usualPorts {
			if addr, err := listen(port); err == nil {
				*field = addr
			}
		}
	}
	for field := range a.usual() {
		if *field != "" {
			continue
		}
		addr, err := listen(0)
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		*field = addr
	}
	return nil
}

const loopback = "127.0.0.1"

// Stack is the running servers.
type Stack struct {
	Addresses Addresses

	servers []*server
	failed  chan error
}

// Start starts the servers in order and returns once all are ready. An error names the one that was
// not, with the last lines of its log and the file that has the rest; nothing runs then.
func Start(ctx context.Context, o Options) (_ *Stack, err error) {
	s := &Stack{failed: make(chan error, 1)}
	if err := s.Addresses.claim(ctx, o.UsualPorts); err != nil {
		return nil, err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("resolve the stack's folder: %w", err)
	}
	for _, dir := range []string{"config", "data", "logs"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make the stack's folders: %w", err)
		}
	}
	plans, err := plan(o, s.Addresses)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(ctx.Done()))
		}
	}()
	for _, p := range plans {
		if p.program == "" {
			continue
		}
		started, err := p.start(filepath.Join(o.Dir, "logs"))
		if err != nil {
			return nil, err
		}
		s.servers = append(s.servers, started)
		if err := started.ready(ctx); err != nil {
			return nil, err
		}
	}
	for _, started := range s.servers {
		go func() {
			select {
			case <-started.process.Done():
			case <-started.stopping:
				return
			}
			select {
			case s.failed <- started.endedByItself():
			default: // another one ended first
			}
		}()
	}
	return s, nil
}

// Failed carries why a server ended that was not asked to.
func (s *Stack) Failed() <-chan error { return s.failed }

// Log is the file with a server's output, by its name in compose.yaml; "" when it does not run, or
// after Stop.
func (s *Stack) Log(name string) string {
	for _, started := range s.servers {
		if started.name == name {
			return started.logFile
		}
	}
	return ""
}

// Stop stops the servers, last first, so that each can still pass on what it holds. Those that take
// too long, or that still run when force closes, are killed; the error names them. A second call finds
// nothing to do.
func (s *Stack) Stop(force <-chan struct{}) error {
	var errs []error
	for _, started := range slices.Backward(s.servers) {
		errs = append(errs, started.stop(force))
	}
	s.servers = nil
	return errors.Join(errs...)
}
