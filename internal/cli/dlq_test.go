package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/cli"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/api"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// refusing is a channel whose receiver refuses for good.
type refusing struct{}

func (refusing) Name() string                               { return "hook" }
func (refusing) Check(delivery.Target) error                { return nil }
func (refusing) CheckEndpoint(delivery.Endpoint) error      { return nil }
func (refusing) Endpoint(delivery.Target) delivery.Endpoint { return delivery.Endpoint{ID: "hook"} }
func (refusing) Send(context.Context, delivery.Delivery) delivery.Outcome {
	return delivery.Outcome{Cause: delivery.HTTP4xx, StatusCode: 410, Detail: "the receiver answered 410", Excerpt: "moved \x1b[31maway"}
}

type unobserved struct{}

func (unobserved) Observe(context.Context, string, string, error, time.Duration) {}

// site is an API with n exhausted letters.
type site struct {
	t       *testing.T
	pool    *pgxpool.Pool
	address string
	letters []string
}

func setup(t *testing.T, n int) *site {
	t.Helper()
	s := &site{t: t, pool: dbtest.New(t)}
	quiet := slog.New(slog.DiscardHandler)
	inserter, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{Logger: quiet})
	require.NoError(t, err)
	deliveries := store.NewDeliveries(s.pool, inserter, quiet, time.Now)
	tracer := noop.NewTracerProvider().Tracer("")
	service := delivery.NewService(deliveries, delivery.Options{
		Channels: []delivery.Channel{refusing{}}, Metrics: delivery.NewMetrics(prometheus.NewRegistry()), DedupWindow: time.Hour,
		Timeout: 5 * time.Second, Observer: unobserved{}, Log: quiet, Tracer: tracer,
	})
	for range n {
		r, err := service.Deliver(t.Context(), delivery.Event{
			TenantID: store.DefaultTenant, AlertID: "nav-drop", UserID: "ada", Title: "NAV fell\x1b[2J", Message: uuid.NewString(),
			Severity: delivery.Warning, Data: json.RawMessage("{}"), Targets: []delivery.Target{{Channel: "hook"}},
		})
		require.NoError(t, err)
		s.letters = append(s.letters, r.Targets[0].DeadLetterID.String())
	}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	handler, err := httpapi.New(httpapi.Options{
		Deliverer: service, Deliveries: deliveries, Operations: deliveries, Jobs: store.NewPeriodicJobs(deliveries, jobs.Periodics(jobs.Schedules{Evaluate: periodic.Every(time.Minute)})), AuditLog: store.New(s.pool, store.Options{}),
		Unavailable: store.Unavailable, Auth: auth.New(auth.Options{Keys: key{}, Registerer: prometheus.NewRegistry()}), RequestTimeout: 10 * time.Second, MaxBodyBytes: 64 << 10,
		Healthz: ok, Readyz: ok, Metrics: ok, Registerer: prometheus.NewRegistry(), Released: delivery.NewReleases(prometheus.NewRegistry(), delivery.ReleasedSingly), Log: quiet, Tracer: tracer, Now: time.Now,
	})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s.address = server.URL
	return s
}

// key is the only one that opens the API.
type key struct{}

func (key) Principal(_ context.Context, text string) (auth.Principal, error) {
	if text != "daws_operator" {
		return auth.Principal{}, fault.New(fault.Unauthenticated, "unknown key")
	}
	return auth.Principal{TenantID: auth.OperatingTenant, Subject: "key:operator", Role: auth.Operator}, nil
}

func (s *site) run(args ...string) (string, error) {
	s.t.Helper()
	var out bytes.Buffer
	err := cli.DLQ(s.t.Context(), args, func(name string) string {
		return map[string]string{"DAWSOS_API": s.address, "DAWSOS_KEY": "daws_operator"}[name]
	}, &out)
	return out.String(), err
}

func (s *site) does(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	require.NoError(s.t, err)
	require.NotContains(s.t, out, "\x1b", "nothing from outside steers the terminal")
	return out
}

func (s *site) count(sql string) int {
	s.t.Helper()
	var n int
	require.NoError(s.t, s.pool.QueryRow(s.t.Context(), sql).Scan(&n))
	return n
}

func TestLookingAtTheQueue(t *testing.T) {
	t.Parallel()
	s := setup(t, 3)
	out := s.does("list", "--state", "exhausted", "--cause", "http_4xx", "--since", "1h", "--search", "NAV")
	for _, id := range s.letters {
		require.Contains(t, out, id)
	}
	require.Contains(t, s.does("list", "--limit", "1"), "more with --cursor ")
	require.NotContains(t, s.does("list", "--until", "2020-01-01T00:00:00Z"), s.letters[0])

	var page struct{ Items []api.DeadLetter }
	require.NoError(t, json.Unmarshal([]byte(s.does("list", "--json")), &page))
	require.Len(t, page.Items, 3)

	out = s.does("show", s.letters[0])
	require.Regexp(t, `why: +http_4xx: the receiver answered 410`, out)
	require.Regexp(t, `next: +nothing by itself`, out)
	require.Regexp(t, `1 +\S+ +\S+ s +failed +410 +the receiver answered 410`, out)

	out = s.does("stats")
	require.Regexp(t, `hook +exhausted +3`, out)
	require.Regexp(t, `http_4xx +3`, out)
	require.Contains(t, s.does("help"), "usage: worker dlq")
	require.Contains(t, s.does("list", "--help"), "usage: worker dlq")
}

func TestActingOnTheQueue(t *testing.T) {
	t.Parallel()
	s := setup(t, 4)
	require.Contains(t, s.does("replay", "--all", "--dry-run"), "4 letters match, nothing was changed")
	require.Zero(t, s.count(`SELECT count(*) FROM audit_log`))

	require.Equal(t, s.letters[0]+" is pending\n"+s.letters[1]+" is pending\n", s.does("replay", s.letters[0], s.letters[1], "--reason", "it is back"))
	require.Equal(t, s.letters[1]+" is discarded\n", s.does("discard", s.letters[1]))
	require.Equal(t, 3, s.count(`SELECT count(*) FROM audit_log WHERE actor = 'key:operator' AND subject = 'dead_letter'`))

	var o api.Operation
	require.NoError(t, json.Unmarshal([]byte(s.does("replay", "--json", "--state", "exhausted", "--per-second", "7", "--stop-after-failures", "0")), &o))
	require.Equal(t, 7, o.PerSecond)
	require.Zero(t, o.StopAfterFailures)
	require.Equal(t, 2, o.Total)
	id := o.Id.String()
	require.Regexp(t, `state: +cancelled\nbecause: +cancelled by key:operator: too \[2Jearly`, s.does("cancel", id, "--reason", "too\n\x1b[2Jearly"))
	require.Regexp(t, `state: +running`, s.does("continue", id))
	require.Regexp(t, `left: +2`, s.does("operations", id))
	require.Contains(t, s.does("discard", "--cause", "http_4xx"), "discard")
	require.Contains(t, s.does("operations"), id)
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	s := setup(t, 1)
	for _, args := range [][]string{
		{},
		{"lost"},
		{"list", "--lost"},
		{"show"},
		{"show", "1"},
		{"show", s.letters[0], s.letters[0]},
		{"replay"},
		{"discard", "1"},
		{"replay", s.letters[0], "--all"},
		{"replay", s.letters[0], "--dry-run"},
		{"list", "--since", "soon"},
		{"list", "--api", "::"},
		// What a command does not read would pass for something that narrows or changes what it does.
		{"discard", "--state", "exhausted", "--limit", "1"},
		{"discard", "--state", "exhausted", "--cursor", "x"},
		{"discard", "--alert-id", ""},
		{"discard", "--all", "--alert-id="},
		{"replay", "--state", "exhausted", "--since", ""},
		{"replay", "--cause", "", "--dry-run"},
		{"replay", s.letters[0], "--per-second", "5"},
		{"replay", s.letters[0], "--stop-after-failures", "5"},
		{"discard", s.letters[0], "--limit", "1"},
		{"list", s.letters[0]},
		{"list", "--limit", "0"},
		{"list", "--channel", ""},
		{"list", "--all"},
		{"list", "--reason", "why"},
		{"show", s.letters[0], "--state", "exhausted"},
		{"stats", "--channel", "email"},
		{"stats", s.letters[0]},
		{"operations", "--state", "running"},
		{"operations", "--limit", "0"},
		{"operations", s.letters[0], "--limit", "1"},
		{"continue", s.letters[0], "--per-second", "5"},
		{"cancel", s.letters[0], "--all"},
	} {
		_, err := s.run(args...)
		var misuse *cli.UsageError
		require.ErrorAs(t, err, &misuse, "%q", args)
	}
	require.Equal(t, 1, s.count(`SELECT count(*) FROM alert_dlq WHERE state = 'exhausted'`))
	_, err := s.run("discard", "--limit", "1")
	require.ErrorContains(t, err, "discard does not take --limit\n")
	_, err = s.run("replay", s.letters[0], "--per-second", "5")
	require.ErrorContains(t, err, "replay does not take --per-second together with ids\n")
	_, err = s.run("discard", "--alert-id", "")
	require.ErrorContains(t, err, "--alert-id is empty")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(other.Close)
	for want, args := range map[string][]string{
		"no dead letter":           {"show", uuid.NewString()},
		"stands alone":             {"replay", "--all", "--channel", "hook"},
		"letters that are expired": {"replay", "--state", "expired"},
		"does not answer":          {"list", "--api", "http://127.0.0.1:1"},
		"is not one of this API's": {"list", "--api", other.URL},
		"(invalid, request ":       {"list", "--state", "lost"},
	} {
		_, err := s.run(args...)
		require.ErrorContains(t, err, want, "%q", args)
		require.NotErrorAs(t, err, new(*cli.UsageError))
		require.NotContains(t, err.Error(), "\n", "one line")
	}
	require.Zero(t, s.count(`SELECT count(*) FROM audit_log`))
}
