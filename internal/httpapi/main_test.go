package httpapi_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace/noop"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/agents/charts"
	"github.com/dawsos/dawsos/internal/agents/macrohound"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/delivery/inapp"
	"github.com/dawsos/dawsos/internal/delivery/webhook"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/seal"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/roles"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/api"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	maxBody = 64 << 10
	secret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// anyone lets everybody in as an admin of the tenant that the sample belongs to.
var anyone = auth.New(auth.Options{Anonymous: auth.Admin, Registerer: prometheus.NewRegistry()})

// site is the API over a database, wired as internal/app does.
type site struct {
	handler      http.Handler
	pool         *pgxpool.Pool // the owner's
	db           *store.Store  // what a worker reads
	troubled     *troubled
	orchestrator *patterns.Orchestrator
	deliveries   *store.Deliveries // what a worker works on
	sending      delivery.Options  // what a worker sends with
	registry     *prometheus.Registry
	log          *buffer
	document     *document
}

// buffer collects log lines of concurrent requests.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// troubled is an agent whose capabilities go wrong in every way there is, and in none.
type troubled struct {
	met     chan struct{} // where two calls of test.meet wait for each other
	waiting chan struct{} // receives once test.wait has been asked, when anyone listens
	left    chan error    // receives why test.wait was ended
}

func newTroubled() *troubled {
	return &troubled{met: make(chan struct{}), waiting: make(chan struct{}), left: make(chan error, 100)}
}

func (*troubled) Name() string { return "troubled" }

func (a *troubled) Capabilities() []agent.Capability {
	ok := func(context.Context, agent.Request) (agent.Result, error) {
		return agent.Result{Value: map[string]any{"n": 1}}, nil
	}
	echo := func(_ context.Context, r agent.Request) (agent.Result, error) {
		return agent.Result{Value: r.Args, Sources: []agent.Source{{Name: "test:echo", Asof: r.Context.Asof}}}, nil
	}
	return []agent.Capability{
		{Name: "test.ok", Run: ok},
		{Name: "test.echo", Run: echo},
		{Name: "test.pure", Purity: agent.Pure, Run: echo},
		{Name: "test.bounded", Run: ok, Args: json.RawMessage(
			`{"type": "object", "properties": {"n": {"type": "number", "maximum": 10}, "list": {"type": "array", "items": {"type": "string", "maxLength": 3}}}}`)},
		{Name: "test.ledger", Run: func(_ context.Context, r agent.Request) (agent.Result, error) {
			return agent.Result{Value: map[string]any{"version": r.Context.Portfolio.LedgerVersion, "seq": r.Context.Portfolio.LedgerSeq}}, nil
		}},
		{Name: "test.meet", Run: func(ctx context.Context, r agent.Request) (agent.Result, error) {
			select {
			case a.met <- struct{}{}:
			case <-a.met:
			case <-ctx.Done():
				return agent.Result{}, ctx.Err()
			}
			return agent.Result{Value: r.Args}, nil
		}},
		{Name: "test.wait", Run: func(ctx context.Context, _ agent.Request) (agent.Result, error) {
			select {
			case a.waiting <- struct{}{}:
				<-ctx.Done()
			case <-ctx.Done():
			}
			select {
			case a.left <- context.Cause(ctx):
			default: // nobody asks
			}
			return agent.Result{}, ctx.Err()
		}},
		{Name: "test.lack", Run: func(context.Context, agent.Request) (agent.Result, error) {
			return agent.Result{}, fault.New(fault.InsufficientData, "no prices of XYZ")
		}},
		{Name: "test.panic", Run: func(context.Context, agent.Request) (agent.Result, error) { panic("secret of the agent") }},
	}
}

// broken is an agent that always fails, so that its breaker opens.
type broken struct{}

func (broken) Name() string { return "broken" }

func (broken) Capabilities() []agent.Capability {
	return []agent.Capability{{Name: "test.fail", Run: func(context.Context, agent.Request) (agent.Result, error) {
		return agent.Result{}, fmt.Errorf("dial 10.1.2.3: secret of the agent")
	}}}
}

// everything is a definition that uses all of the language, in the form in which the server writes it.
const everything = `{
	"$schema": "https://dawsos.dev/schemas/pattern.json",
	"id": "test_everything", "name": "Test <everything>", "description": "All & more.", "category": "test", "version": "2.0.0",
	"inputs": {
		"n": {"type": "number", "default": 1.25, "minimum": -0.5, "maximum": 9007199254740993, "description": "A number."},
		"kind": {"type": "enum", "values": ["a", "b"], "default": "a"},
		"words": {"type": "array", "items": {"type": "string", "min_length": 1, "max_length": 20}, "min_items": 1, "max_items": 5, "default": ["x", "y", "z"]},
		"shape": {"type": "object", "properties": {"a b": {"type": "integer", "required": true}}},
		"id": {"type": "uuid"}, "day": {"type": "date"}, "on": {"type": "boolean"}
	},
	"steps": [
		{"capability": "test.meet", "args": {"side": "left"}, "as": "left", "description": "Waits for the other.", "timeout": "1m0s"},
		{"capability": "test.meet", "args": {"side": "right"}, "as": "right", "timeout": "1m0s"},
		{"capability": "test.echo", "args": {"n": "{{inputs.n}}", "left": "{{left.side}}", "list": [1.50, null, {"a": "<b>"}]}, "as": "told"},
		{"capability": "test.echo", "args": {"n": "{{inputs.n}}", "left": "{{told.left}}", "list": [1.50, null, {"a": "<b>"}]}, "as": "again"},
		{"capability": "test.pure", "args": {"kind": "{{inputs.kind}}"}, "as": "pure"},
		{"capability": "test.ok", "condition": "inputs.n > 50 && told.left == \"left\"", "as": "skipped"},
		{"capability": "test.lack", "on_error": "continue", "as": "lacking"},
		{"capability": "test.lack", "args": {"n": 1}, "on_error": {"fallback": {"n": "{{inputs.n}}", "none": null}}, "as": "replaced"},
		{"capability": "test.echo", "args": {"word": "{{item}}", "at": "{{index}}"}, "for_each": "{{inputs.words}}", "parallel": 2, "cache": false, "as": "each"},
		{"capability": "test.echo", "args": {"word": "{{item}}"}, "for_each": ["p", 2.50], "as": "listed"},
		{"capability": "pattern.run", "args": {"pattern": "test_ok", "inputs": {"n": "{{inputs.n}}"}}, "as": "within"}
	],
	"outputs": {
		"words": "{{each}}", "again": {"it": "{{again}}", "of": "{{pure.kind}}"}, "text": "n is {{inputs.n}}, not <{{skipped}}>",
		"lacking": "{{lacking}}", "replaced": "{{replaced}}", "right": "{{right}}", "listed": "{{listed}}", "within": "{{within}}"
	},
	"output_schemas": {"words": {"type": "array", "minItems": 1}, "text": true},
	"charts": [{"mark": "bar", "data": {"values": "{{each}}"}}, "{{told.chart}}"],
	"display": {"words": {"title": "Words"}}
}`

// definitions are the real pattern, one that uses all of the language, and one for each trouble; there
// the first step always succeeds.
func definitions(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(id, definition string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, id+".json"), []byte(definition), 0o600))
	}
	overview, err := os.ReadFile("../../configs/patterns/portfolio_overview.json")
	require.NoError(t, err)
	write("portfolio_overview", string(overview))
	write("test_everything", everything)
	write("test_pointed", `{
		"id": "test_pointed", "name": "Test pointed", "inputs": {"n": {"type": "number"}, "words": {"type": "array"}},
		"steps": [{"capability": "test.bounded", "args": {"n": "{{inputs.n}}", "list": "{{inputs.words}}"}, "as": "bounded"}],
		"outputs": ["bounded"]
	}`)
	write("test_ledger", `{
		"id": "test_ledger", "name": "Test ledger", "inputs": {"portfolio_id": {"type": "uuid", "required": true}},
		"steps": [{"capability": "test.ledger", "as": "ledger"}], "outputs": ["ledger"]
	}`)
	for _, what := range []string{"fail", "lack", "ok", "panic", "wait"} {
		write("test_"+what, fmt.Sprintf(`{
			"id": "test_%[1]s", "name": "Test %[1]s", "version": "1.0.0",
			"inputs": {"n": {"type": "number"}, "day": {"type": "date"}, "on": {"type": "boolean"}, "word": {"type": "string"}},
			"steps": [{"capability": "test.ok", "args": {}, "as": "first"}, {"capability": "test.%[1]s", "args": {"n": "{{first.n}}"}, "as": "second"}],
			"outputs": ["second"]
		}`, what))
	}
	return dir
}

// newSampleSite loads the sample data, which takes seconds: tests that only read share one.
func newSampleSite(t testing.TB, change ...func(*httpapi.Options)) *site {
	t.Helper()
	s := newSite(t, change...)
	_, err := sample.Load(t.Context(), s.pool, "../../configs/sample", nil)
	require.NoError(t, err)
	return s
}

// newSite returns an API over an empty database, which it works with in its role.
func newSite(t testing.TB, change ...func(*httpapi.Options)) *site {
	t.Helper()
	address := dbtest.URL(t)
	return newSiteOver(t, address, dbtest.As(t, address, roles.API), change...)
}

// newSiteOver returns an API that works with the connections of pool.
func newSiteOver(t testing.TB, address string, pool *pgxpool.Pool, change ...func(*httpapi.Options)) *site {
	t.Helper()
	s := &site{
		pool: dbtest.Connect(t, address), troubled: newTroubled(), registry: prometheus.NewRegistry(), log: &buffer{}, document: readDocument(t),
	}
	working := dbtest.As(t, address, roles.Worker)
	require.NoError(t, pool.Ping(t.Context())) // no request pays for the first connection
	log := slog.New(slog.NewTextHandler(s.log, nil))
	tracer := noop.NewTracerProvider().Tracer("")
	db := store.New(pool, store.Options{})
	s.db = store.New(working, store.Options{})

	keys := auth.NewStoredKeys(db, time.Now)
	metrics := agents.NewMetrics(s.registry)
	nesting := patterns.NewNesting()
	all := []agent.Agent{analyst.New(db, db, analyst.Options{RiskFreeSeries: "FF_RF"}), charts.New(), nesting, s.troubled, broken{}}
	runtime, err := agents.New(agents.Config{Agents: map[string]agents.AgentConfig{
		"troubled": {Breaker: agents.BreakerConfig{Failures: 1000}}, "broken": {Breaker: agents.BreakerConfig{Failures: 2}},
	}}, all, agents.Options{Registerer: s.registry, Metrics: metrics, Logger: log, Tracer: tracer})
	require.NoError(t, err)
	recorder := runs.NewRecorder(db, runs.RecorderOptions{Registerer: s.registry, Log: log})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, recorder.Stop(ctx))
	})
	s.orchestrator, err = patterns.New(definitions(t), runtime, store.NewContexts(db), patterns.Options{
		Registerer: s.registry, Logger: log, Tracer: tracer, CacheBytes: 1 << 20, Recorder: recorder, Nesting: nesting,
	})
	require.NoError(t, err)
	require.Len(t, s.orchestrator.Definitions(), 9, "all that is in the directory: %s", s.log)

	inserter, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	deliveries := store.NewDeliveries(pool, inserter, log, time.Now)
	s.deliveries = store.NewDeliveries(working, inserter, log, time.Now)
	client := outbound.NewClient(outbound.Options{
		Policy: outbound.Policy{AllowPrivate: true}, Timeout: 5 * time.Second,
		TracerProvider: noop.NewTracerProvider(), Propagator: propagation.TraceContext{},
	})
	t.Cleanup(client.CloseIdleConnections)
	hook, err := webhook.New(client, secret, "test", time.Now)
	require.NoError(t, err)
	box, err := seal.New(base64.StdEncoding.EncodeToString(make([]byte, seal.KeySize)))
	require.NoError(t, err)
	stored := store.NewDestinations(pool, box, time.Now)
	s.sending = delivery.Options{
		Channels: []delivery.Channel{inapp.New(deliveries, log), hook}, Destinations: stored,
		Schedule: delivery.Schedule{Delays: []time.Duration{time.Minute, time.Hour}},
		Timeout:  5 * time.Second, Observer: metrics, Log: log, Tracer: tracer,
		Metrics: delivery.NewMetrics(s.registry), DedupWindow: time.Hour,
	}
	service := delivery.NewService(deliveries, s.sending)
	s.sending.Channels = []delivery.Channel{inapp.New(s.deliveries, log), hook}
	s.sending.Destinations = store.NewDestinations(working, box, time.Now)
	economy, err := macro.LoadConfig("../../configs/analytics")
	require.NoError(t, err)
	rules := store.NewAlerts(pool, deliveries, analyst.New(db, db, analyst.Options{RiskFreeSeries: "FF_RF"}), macrohound.New(db, economy), log, time.Now)
	probe := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	o := httpapi.Options{
		Rules: rules, Evaluator: jobs.NewEvaluator(rules, service, stored, s.registry, log, time.Now),
		Patterns: s.orchestrator, Catalog: s.orchestrator, Validator: s.orchestrator, Agents: runtime,
		Runs: db, Replayer: runs.NewReplayer(db, s.orchestrator), Portfolios: db, Deliverer: service, Deliveries: deliveries,
		Operations: deliveries, AuditLog: db, Released: delivery.NewReleases(s.registry, delivery.ReleasedSingly, delivery.Replay, delivery.Discard),
		Importer: imports.New(store.NewImports(pool, store.ImportOptions{}), s.registry), ImportTimeout: time.Minute, ImportMaxBytes: 1 << 20,
		Packs:        store.NewPacks(pool, inserter, time.Now),
		Jobs:         store.NewPeriodicJobs(deliveries, jobs.Periodics(jobs.Schedules{Evaluate: periodic.Every(time.Minute)})),
		Destinations: stored, DestinationManager: destinations.NewManager(stored, destinations.Options{
			Channels: []delivery.Channel{inapp.New(deliveries, log), hook}, Timeout: 5 * time.Second, Log: log,
		}),
		Notifications: db, AlertmanagerDedupWindow: 5 * time.Minute,
		Unavailable: store.Unavailable, Keys: auth.NewManager(db, keys, time.Now),
		Auth:           auth.New(auth.Options{Keys: keys, Anonymous: auth.Admin, Registerer: prometheus.NewRegistry()}),
		RequestTimeout: 10 * time.Second, MaxBodyBytes: maxBody,
		Healthz: probe, Readyz: probe, Metrics: promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}),
		Registerer: s.registry, Log: log, Tracer: tracer, Now: time.Now,
	}
	for _, c := range change {
		c(&o)
	}
	s.handler, err = httpapi.New(o)
	require.NoError(t, err)
	return s
}

// newFrontSite returns an API with nothing behind it but what change puts there: for tests of the
// HTTP layer itself that need no database.
func newFrontSite(t testing.TB, change ...func(*httpapi.Options)) *site {
	t.Helper()
	s := &site{registry: prometheus.NewRegistry(), log: &buffer{}, document: readDocument(t)}
	probe := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	o := httpapi.Options{
		Unavailable: func(error) bool { return false },
		Auth:        anyone, RequestTimeout: 10 * time.Minute, MaxBodyBytes: maxBody,
		Healthz: probe, Readyz: probe, Metrics: promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}),
		Registerer: s.registry, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		Tracer: noop.NewTracerProvider().Tracer(""), Now: time.Now,
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	s.handler, err = httpapi.New(o)
	require.NoError(t, err)
	return s
}

// answer is what came back.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

// into decodes the body.
func (a *answer) into(v any) {
	a.t.Helper()
	require.NoError(a.t, json.Unmarshal(a.body, v), "%s", a.body)
}

func (a *answer) object() map[string]any {
	a.t.Helper()
	var v map[string]any
	a.into(&v)
	return v
}

// problem requires a failure and returns its document.
func (a *answer) problem(status int, code fault.Code) api.Problem {
	a.t.Helper()
	require.Equal(a.t, status, a.status, "%s", a.body)
	require.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"))
	var p api.Problem
	a.into(&p)
	require.Equal(a.t, status, p.Status)
	require.Equal(a.t, string(code), p.Code)
	require.Equal(a.t, "urn:dawsos:problem:"+string(code), p.Type)
	require.NotEmpty(a.t, p.Title)
	require.NotEmpty(a.t, p.Detail)
	require.Equal(a.t, a.header.Get("X-Request-Id"), p.RequestId)
	return p
}

// invalid requires that exactly the named parts of the request are refused.
func (a *answer) invalid(pointers ...string) {
	a.t.Helper()
	p := a.problem(http.StatusUnprocessableEntity, fault.Invalid)
	got := []string{}
	if p.Errors != nil {
		for _, e := range *p.Errors {
			require.NotEmpty(a.t, e.Detail)
			got = append(got, e.Pointer)
		}
	}
	require.Equal(a.t, pointers, got, "%s", a.body)
}

// do makes a request and holds the answer against the document. A body that is no string, bytes or
// reader is sent as JSON; header is name, value, name, value.
func (s *site) do(t testing.TB, method, target string, body any, header ...string) *answer {
	t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	case io.Reader:
		reader = b
	default:
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		reader = bytes.NewReader(raw)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, "http://api.test/", reader)
	// As it comes over the wire: tests send paths that no client library would build.
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	r.URL, r.RequestURI = u, target
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	a := &answer{t: t, status: w.Code, header: w.Header(), body: w.Body.Bytes()}
	s.document.requireKept(t, method, u.EscapedPath(), a)
	return a
}

func (s *site) get(t testing.TB, target string, header ...string) *answer {
	t.Helper()
	return s.do(t, http.MethodGet, target, nil, header...)
}

func (s *site) post(t testing.TB, target string, body any, header ...string) *answer {
	t.Helper()
	return s.do(t, http.MethodPost, target, body, header...)
}

// document is the OpenAPI document read independently of the server: what it promises of answers.
type document struct {
	root     map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex // the compiler's
}

func readDocument(t testing.TB) *document {
	t.Helper()
	d := &document{compiler: jsonschema.NewCompiler()}
	var tree map[string]any
	require.NoError(t, yaml.Unmarshal(api.Document, &tree))
	raw, err := json.Marshal(tree)
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	d.root = value.(map[string]any)
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	require.NoError(t, d.compiler.AddResource("mem:///promises.json", value))
	return d
}

// operation finds what a path and method promise.
func (d *document) operation(method, path string) (pointer string, op map[string]any) {
	paths := d.root["paths"].(map[string]any)
	for _, template := range slices.Sorted(maps.Keys(paths)) {
		if !fits(template, path) {
			continue
		}
		if op, ok := paths[template].(map[string]any)[strings.ToLower(method)].(map[string]any); ok {
			return "/paths/" + strings.ReplaceAll(template, "/", "~1") + "/" + strings.ToLower(method), op
		}
	}
	return "", nil
}

func fits(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

// requireKept fails the test when an answer is not as the document promises.
func (d *document) requireKept(t testing.TB, method, path string, a *answer) {
	t.Helper()
	at, op := d.operation(method, path)
	if op == nil {
		if strings.HasPrefix(path, "/v1/") && a.status != http.StatusMethodNotAllowed {
			require.Equal(t, http.StatusNotFound, a.status, "an answer of what is not in the document")
		}
		return
	}
	code := strconv.Itoa(a.status)
	responses := op["responses"].(map[string]any)
	if _, ok := responses[code]; !ok {
		require.GreaterOrEqual(t, a.status, 400, "a success that is not in the document")
		code = "default"
	}
	at += "/responses/" + code
	response := responses[code].(map[string]any)
	if ref, ok := response["$ref"].(string); ok {
		at = strings.TrimPrefix(ref, "#")
		response = d.root["components"].(map[string]any)["responses"].(map[string]any)[ref[strings.LastIndex(ref, "/")+1:]].(map[string]any)
	}
	content, ok := response["content"].(map[string]any)
	if !ok {
		require.Empty(t, a.body)
		return
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	require.Contains(t, content, media)
	if media == "text/event-stream" {
		d.requireEventsKept(t, a)
		return
	}
	d.requireFits(t, at+"/content/"+strings.ReplaceAll(media, "/", "~1")+"/schema", a.body)
}

// requireFits fails the test when JSON does not fit the schema at a place of the document.
func (d *document) requireFits(t testing.TB, at string, body []byte) {
	t.Helper()
	d.mu.Lock()
	schema, err := d.compiler.Compile("mem:///promises.json#" + at)
	d.mu.Unlock()
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	require.NoError(t, err, "%s", body)
	require.NoError(t, schema.Validate(value), "%s: %s", at, body)
}

// requireEventsKept holds a whole stream against what the document says of it in words.
func (d *document) requireEventsKept(t testing.TB, a *answer) {
	t.Helper()
	schemas := map[string]string{
		"run_started": "RunStarted", "step_started": "StepStarted", "step_ended": "TraceStep",
		"step_skipped": "TraceStep", "step_failed": "TraceStep", "answer": "ExecuteAnswer", "problem": "Problem",
	}
	events := a.events()
	for i, e := range events {
		require.Equal(t, strconv.Itoa(i+1), e.id)
		require.Contains(t, schemas, e.name)
		d.requireFits(t, "/components/schemas/"+schemas[e.name], []byte(e.data))
		require.Equal(t, i == len(events)-1, e.name == "answer" || e.name == "problem", "one outcome, and it is the last: %s", a.body)
	}
}

// event is one of a stream.
type event struct{ id, name, data string }

// events reads a stream as a client does.
func (a *answer) events() []event {
	a.t.Helper()
	var list []event
	require.True(a.t, strings.HasSuffix(string(a.body), "\n\n"), "it was not cut off: %q", a.body)
	for block := range strings.SplitSeq(strings.TrimSuffix(string(a.body), "\n\n"), "\n\n") {
		if strings.HasPrefix(block, ":") {
			continue
		}
		var e event
		for line := range strings.SplitSeq(block, "\n") {
			field, text, ok := strings.Cut(line, ": ")
			require.True(a.t, ok, "%q", line)
			switch field {
			case "id":
				e.id = text
			case "event":
				e.name = text
			case "data":
				e.data += text + "\n"
			default:
				require.Fail(a.t, "unknown field", "%q", line)
			}
		}
		e.data = strings.TrimSuffix(e.data, "\n")
		list = append(list, e)
	}
	return list
}

// labels returns the values of all metrics' labels, but for those that name an outcome.
func (s *site) labels(t testing.TB) []string {
	t.Helper()
	families, err := s.registry.Gather()
	require.NoError(t, err)
	set := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if name := l.GetName(); name != "status" && name != "method" && name != "state" {
					set[name+"="+l.GetValue()] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
