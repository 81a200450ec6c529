// Package app wires the processes together: it reads the settings, builds every part, starts them
// in order and stops them in reverse. Nothing else imports it but the commands.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/gate"
	"github.com/dawsos/dawsos/internal/health"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/migrate"
	"github.com/dawsos/dawsos/internal/store/roles"
	"github.com/dawsos/dawsos/internal/telemetry"
)

// process is what both binaries are made of.
type process struct {
	*lifecycle
	cfg    config.Config
	models models
	tel    *telemetry.Telemetry
	tracer trace.Tracer
	pool   *pgxpool.Pool
	probes *telemetry.Probes
	// breakers writes down what becomes of this process's circuit breakers.
	breakers *breakers.Recorder
	// reindexes tells that River can rebuild its indexes.
	reindexes atomic.Bool
	// destinations are one for the process: what the API changes, its deliveries see at once.
	destinations *store.Destinations
}

const (
	probeTimeout     = 2 * time.Second
	loginTimeout     = 5 * time.Second
	schemaCheckEvery = time.Second // while the worker waits for the database
	telemetryFlush   = 2 * time.Second
	tracerName       = "github.com/dawsos/dawsos"
)

// start reads settings and tables and builds telemetry, pool and probes.
func start(ctx context.Context, role config.Role, getenv func(string) string) (*process, error) {
	cfg, err := config.Load(getenv, role)
	if err != nil {
		return nil, err
	}
	tables, err := loadModels(cfg.AnalyticsDir)
	if err != nil {
		return nil, err
	}
	version, commit := build()
	tel, err := telemetry.New(ctx, telemetry.Options{
		Process: string(role), Version: version, Commit: commit, Environment: string(cfg.Environment),
		LogOutput: os.Stderr, LogLevel: cfg.LogLevel, LogJSON: cfg.LogFormat == config.LogJSON,
		OTLPEndpoint: cfg.OTLPEndpoint,
	})
	if err != nil {
		return nil, err
	}
	tel.Install()
	p := &process{
		lifecycle: newLifecycle(tel.Log, cfg.ShutdownGrace), cfg: cfg, models: tables, tel: tel,
		tracer: tel.TracerProvider.Tracer(tracerName),
	}
	// Last to stop: what the others do while stopping is still told.
	p.onStop("telemetry", func(context.Context) error {
		ctx, cancel := context.WithTimeout(context.Background(), telemetryFlush)
		defer cancel()
		if err := tel.Shutdown(ctx); err != nil { // spans are lost, work is not
			tel.Log.WarnContext(ctx, "telemetry not flushed", "err", err)
		}
		return nil
	})
	if cfg.TLSCertFile != "" {
		shown, err := loadCertificate(cfg.TLSCertFile, cfg.TLSKeyFile, tel.Log, time.Now)
		if err != nil {
			return nil, errors.Join(err, p.shutdown())
		}
		p.tls = shown.config()
	}
	p.pool, err = openPool(ctx, cfg, role, tel.TracerProvider)
	if err != nil {
		return nil, errors.Join(err, p.shutdown())
	}
	tel.Registry.MustRegister(newPoolCollector(p.pool.Stat))
	p.onStop("database pool", p.closePool)
	if err := p.checkLogin(ctx); err != nil {
		return nil, errors.Join(err, p.shutdown())
	}
	p.breakers = p.recordBreakers(role)
	if p.destinations, err = newDestinations(p.pool, cfg.SecretsKey); err != nil {
		return nil, errors.Join(err, p.shutdown())
	}
	p.probes = telemetry.NewProbes(probeTimeout,
		telemetry.Check{Name: "database", Run: func(ctx context.Context) error {
			err := p.pool.Ping(ctx)
			if refused, ok := errors.AsType[*roles.RefusedError](err); ok {
				return refused
			}
			if err != nil {
				return errors.New("does not answer") // pgx's own text names host and user
			}
			return nil
		}},
		telemetry.Check{Name: "schema", Run: func(ctx context.Context) error {
			err := migrate.Check(ctx, p.pool)
			if _, behind := errors.AsType[*migrate.BehindError](err); err == nil || behind {
				return err
			}
			return errors.New("can't be read")
		}},
	)
	return p, nil
}

// databaseRoles are what the processes are to the database.
var databaseRoles = map[config.Role]roles.Role{config.API: roles.API, config.Worker: roles.Worker}

// checkLogin refuses to start with a login that would see more than its process may. A database that is away
// has its say later: the process is not ready until then.
func (p *process) checkLogin(ctx context.Context) error {
	if p.cfg.Environment != config.Production {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	if refused, ok := errors.AsType[*roles.RefusedError](p.pool.Ping(ctx)); ok && !refused.Passes {
		return fmt.Errorf("DATABASE_URL: %w", refused)
	}
	return nil
}

func openPool(ctx context.Context, cfg config.Config, role config.Role, tracing trace.TracerProvider) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(string(cfg.DatabaseURL))
	if err != nil {
		return nil, errors.New("DATABASE_URL can't be parsed; it must be postgres://user:password@host:port/database")
	}
	pc.MaxConns = int32(cfg.DatabasePoolMax) //nolint:gosec // bounded by its setting
	pc.ConnConfig.ConnectTimeout = 5 * time.Second
	pc.ConnConfig.RuntimeParams["application_name"] = "dawsos-" + string(role)
	roles.Configure(pc, roles.Options{
		Role: databaseRoles[role], Strict: cfg.Environment == config.Production, SessionPooler: cfg.DatabasePooler == config.SessionPooler,
	})
	// Spans are named after sqlc's queries, and made only below a span of ours: River's polling
	// stays out of the traces. Parameters are never recorded.
	pc.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(tracing), otelpgx.WithSpanNameFunc(queryName))
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open database pool: %w", err)
	}
	return pool, nil
}

var sqlcName = regexp.MustCompile(`^-- name: (\w+)`)

// queryName names a statement's span: by its name in sql/queries, else by its first word.
func queryName(sql string) string {
	if m := sqlcName.FindStringSubmatch(sql); m != nil {
		return "sql " + m[1]
	}
	if m := firstWord.FindString(sql); m != "" {
		return "sql " + m
	}
	return "sql"
}

var firstWord = regexp.MustCompile(`[A-Za-z]+`)

// closePool waits for connections to come back, as long as there is time.
func (p *process) closePool(ctx context.Context) error {
	closed := make(chan struct{})
	go func() {
		p.pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return errors.New("connections are still in use")
	}
}

// deliveryOptions are the same for first attempts and retries.
func (p *process) deliveryOptions(deliveries *store.Deliveries, observer *agents.Metrics) (delivery.Options, error) {
	channels, err := p.channels(deliveries)
	if err != nil {
		return delivery.Options{}, err
	}
	return delivery.Options{
		Channels: channels, Destinations: p.destinations,
		Gate: gate.New(gate.Options{
			Failures: p.cfg.BreakerFailures, After: p.cfg.BreakerAfter, Delay: p.cfg.BreakerDelay,
			Timeout: p.cfg.DeliveryTimeout, Registerer: p.tel.Registry, Log: p.tel.Log, OnChange: p.endpointBreakerChanged,
		}),
		Recoveries: deliveries,
		Metrics:    delivery.NewMetrics(p.tel.Registry), DedupWindow: p.cfg.DedupWindow,
		Schedule: delivery.Schedule{Delays: p.cfg.RetrySchedule, Jitter: p.cfg.RetryJitter},
		Timeout:  p.cfg.DeliveryTimeout, Observer: observer, Log: p.tel.Log, Tracer: p.tracer,
	}, nil
}

// riverLog tells River's news from ours, and leaves out its routine: it counts jobs every few
// seconds at level Info.
func (p *process) riverLog() *slog.Logger {
	return slog.New(atLeast{p.tel.Log.With("component", "river").Handler(), slog.LevelWarn})
}

// atLeast passes on records of a level and above.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

func (h atLeast) WithAttrs(a []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(a), h.level}
}

func (h atLeast) WithGroup(g string) slog.Handler { return atLeast{h.Handler.WithGroup(g), h.level} }

// inserter is a River client that only puts jobs in.
func (p *process) inserter() (*river.Client[pgx.Tx], error) {
	return newRiver(p.pool, &river.Config{
		Logger:     p.riverLog(),
		Middleware: middleware(p.tracer),
	})
}

// Migrate brings the database's schema up to date and says what it did.
func Migrate(ctx context.Context, getenv func(string) string) error {
	cfg, err := config.Load(getenv, config.Migrate)
	if err != nil {
		return err
	}
	report, err := migrate.Up(ctx, string(cfg.DatabaseURL))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	slog.InfoContext(ctx, "schema is up to date", "applied", len(report.Applied), "schema", report.Schema, "river", report.River)
	return nil
}

// hostname is what this machine calls itself.
func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return host
}

// beat makes the process known to the others until it stops.
func (p *process) beat(role config.Role) {
	version, commit := build()
	heart := health.Start(store.New(p.pool, store.Options{}), health.Process{
		ID: uuid.Must(uuid.NewV7()), Role: string(role), Host: hostname(), PID: os.Getpid(), Version: version, Commit: commit,
	}, p.probes.Unready, p.tel.Log)
	p.onStop("heartbeat", heart.Stop)
}

// mux serves what every process serves, and asks nobody who is there.
func (p *process) mux() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz", p.probes.Healthz)
	m.HandleFunc("GET /readyz", p.probes.Readyz)
	m.Handle("GET /metrics", p.tel.MetricsHandler())
	return m
}
