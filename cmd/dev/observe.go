package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/observability"
)

// observabilityCommand runs everything, watched.
const observabilityCommand = "observability"

// locate finds or builds the programs of the stack, and says which can't be had.
func (d *dev) locate(ctx context.Context) (observability.Programs, error) {
	programs, err := observability.Locate(ctx, filepath.Dir(d.state), func(step string) { d.out.say("%s", step) })
	if err != nil {
		return programs, err
	}
	for _, missing := range programs.Missing {
		d.out.say("left out: %v", missing)
	}
	return programs, nil
}

// observe starts the stack around services that are yet to start.
func (d *dev) observe(
	ctx context.Context, services []service, db *database, programs observability.Programs,
) (*observability.Stack, error) {
	started := time.Now()
	o := observability.Options{
		Root: filepath.Dir(d.state), Dir: filepath.Join(d.state, "observability"), DatabaseURL: db.url,
		APIKey: d.keys.worker, Environment: string(d.cfg.Environment), Programs: programs, UsualPorts: true,
	}
	for _, s := range services {
		switch s.name {
		case "api":
			o.API = s.fromHere()
		case "worker":
			o.Worker = s.fromHere()
		}
	}
	stack, err := observability.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	d.out.say("the observability stack is up after %.1f s", time.Since(started).Seconds())
	return stack, nil
}

// fromHere is where another process of this machine reaches the service, without a scheme.
func (s *service) fromHere() string {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(s.url, "http://"))
	if err == nil && host == "localhost" { // may be ::1 first, where nothing need listen
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// stackEnviron makes the services send traces and logs to the collector, where there is one.
func stackEnviron(stack *observability.Stack) []string {
	if stack.Log("otel-collector") == "" {
		return nil
	}
	environ := []string{"OTLP_ENDPOINT=" + stack.Addresses.CollectorGRPC}
	if stack.Addresses.JaegerUI != "" {
		environ = append(environ, "JAEGER_URL=http://"+stack.Addresses.JaegerUI)
	}
	return environ
}

// describe tells where the stack is.
func describe(stack *observability.Stack) string {
	a := stack.Addresses
	var b strings.Builder
	for _, line := range []struct{ name, label, address string }{
		{"prometheus", "Prometheus", "http://" + a.Prometheus},
		{"alertmanager", "Alertmanager", "http://" + a.Alertmanager},
		{"jaeger", "Jaeger", "http://" + a.JaegerUI + " (query API below /api)"},
		{"otel-collector", "collector", "OTLP gRPC " + a.CollectorGRPC + ", HTTP " + a.CollectorHTTP},
		{"otel-collector", "its metrics", "http://" + a.CollectorMetrics + "/metrics, of spans http://" + a.CollectorExporter + "/metrics"},
		{"otel-collector", "its pages", "http://" + a.CollectorZpages + "/debug/pipelinez"},
		{"postgres-exporter", "PostgreSQL's", "http://" + a.PostgresExporter + "/metrics"},
	} {
		if stack.Log(line.name) == "" {
			continue
		}
		fmt.Fprintf(&b, "  %-16s %s\n", line.label, line.address)
	}
	b.WriteString("\nGrafana is neither a Go module nor a Debian package, so it is not among them: compose.yaml has it.\n")
	for _, name := range []string{"jaeger", "otel-collector", "alertmanager", "postgres-exporter", "prometheus"} {
		if log := stack.Log(name); log != "" {
			fmt.Fprintf(&b, "Each keeps its log in %s.\n", filepath.Dir(log))
			break
		}
	}
	b.WriteString("\n")
	return b.String()
}
