//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/observability"
	"github.com/dawsos/dawsos/pkg/api"
)

// watched is a system with the real observability stack around it.
type watched struct {
	*system
	stack     *observability.Stack
	options   observability.Options
	portfolio uuid.UUID
}

// newWatched starts everything. Only a server that would have to be installed may be missing: then the
// test is skipped, by name. One that can't be built is a failure.
func newWatched(t *testing.T, env ...string) *watched {
	t.Helper()
	module, err := filepath.Abs(root)
	require.NoError(t, err)
	programs, err := observability.Locate(t.Context(), module, func(step string) { fmt.Fprintln(os.Stderr, step) })
	require.NoError(t, err)
	require.NotEmpty(t, programs.Jaeger, "%v", errors.Join(programs.Missing...))
	require.NotEmpty(t, programs.Collector, "%v", errors.Join(programs.Missing...))
	if len(programs.Missing) > 0 {
		t.Skipf("NOT tested with the real stack: %v", errors.Join(programs.Missing...))
	}
	databaseURL, portfolio := loaded(t)
	w := &watched{system: prepare(t, databaseURL, env...), portfolio: portfolio}
	w.options = observability.Options{
		Root: module, Dir: t.TempDir(), API: w.apiAddr, Worker: w.workerAddr, DatabaseURL: databaseURL,
		APIKey: newKey(t, databaseURL, auth.Service), Environment: "development", Programs: programs, LogRecords: true,
	}
	w.stack, err = observability.Start(t.Context(), w.options)
	require.NoError(t, err)
	running := w.stack
	t.Cleanup(func() {
		require.NoError(t, running.Stop(nil))
		if t.Failed() {
			logs, err := filepath.Glob(filepath.Join(w.options.Dir, "logs", "*.log"))
			require.NoError(t, err)
			for _, path := range logs {
				log, err := os.ReadFile(path)
				require.NoError(t, err)
				t.Logf("end of %s:\n%s", filepath.Base(path), log[max(0, len(log)-1000):])
			}
		}
	})
	w.env = append(w.env, "OTLP_ENDPOINT="+w.stack.Addresses.CollectorGRPC)
	w.startAPI()
	w.startWorker()
	return w
}

// ask decodes what one of the servers answers.
func ask(ctx context.Context, address string, v any) error {
	body, err := get(ctx, address)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), v)
}

// jaegerTrace returns the spans that Jaeger has of a trace.
func (w *watched) jaegerTrace(ctx context.Context, trace string) ([]span, error) {
	var answer struct {
		Data []struct {
			Spans []struct {
				SpanID, OperationName, ProcessID string
				References                       []struct{ RefType, SpanID string }
			}
			Processes map[string]struct{ ServiceName string }
		}
	}
	if err := ask(ctx, "http://"+w.stack.Addresses.JaegerUI+"/api/traces/"+trace, &answer); err != nil {
		return nil, err
	}
	var spans []span
	for _, data := range answer.Data {
		for _, s := range data.Spans {
			one := span{service: data.Processes[s.ProcessID].ServiceName, trace: trace, id: s.SpanID, name: s.OperationName}
			for _, r := range s.References {
				if r.RefType == "CHILD_OF" {
					one.parent = r.SpanID
				}
			}
			spans = append(spans, one)
		}
	}
	return spans, nil
}

// arrives waits until Jaeger has a chain of spans of a trace, each the child of the one before; a name
// matches its prefix. Spans are stored one by one: the last to end, the request's, may be there before
// those below it.
func (w *watched) arrives(trace string, names ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%q of trace %s is in Jaeger", names, trace), func(ctx context.Context) error {
		spans, err := w.jaegerTrace(ctx, trace)
		if err != nil {
			return err
		}
		return hasPath(spans, names...)
	})
}

// operations are the names of a service's spans that Jaeger has.
func (w *watched) operations(ctx context.Context, service string) ([]string, error) {
	var answer struct{ Data []string }
	err := ask(ctx, "http://"+w.stack.Addresses.JaegerUI+"/api/services/"+service+"/operations", &answer)
	return answer.Data, err
}

// positive waits until a PromQL query has a result, and all of it is above zero.
func (w *watched) positive(query string) {
	w.t.Helper()
	w.eventually(query, func(ctx context.Context) error {
		var answer struct {
			Data struct {
				Result []struct {
					Metric map[string]string
					Value  [2]any
				}
			}
		}
		if err := ask(ctx, "http://"+w.stack.Addresses.Prometheus+"/api/v1/query?query="+url.QueryEscape(query), &answer); err != nil {
			return err
		}
		if len(answer.Data.Result) == 0 {
			return errors.New("no result")
		}
		for _, r := range answer.Data.Result {
			value, err := strconv.ParseFloat(r.Value[1].(string), 64)
			if err != nil {
				return err
			}
			if !(value > 0) {
				return fmt.Errorf("%v is %v", r.Metric, value)
			}
		}
		return nil
	})
}

// execute runs the pattern and returns the trace's id.
func (w *watched) execute() string {
	w.t.Helper()
	answer, err := w.client.ExecutePatternWithResponse(w.t.Context(), "portfolio_overview", nil, api.ExecuteRequest{
		Inputs: new(json.RawMessage(fmt.Sprintf(`{"portfolio_id": %q}`, w.portfolio))),
	})
	require.NoError(w.t, err)
	require.Equal(w.t, http.StatusOK, answer.StatusCode(), string(answer.Body))
	return answer.JSON200.Trace.TraceId
}

// TestObservabilityStack starts the real collector, Jaeger, Prometheus and Alertmanager with the shipped
// files around both processes, and follows what these tell to where an operator would read it.
func TestObservabilityStack(t *testing.T) {
	t.Parallel()
	w := newWatched(t, "RETRY_SCHEDULE=1s,1s")
	began := time.Now()
	for _, addr := range []string{w.apiAddr, w.workerAddr} {
		for _, probe := range []string{"/healthz", "/readyz", "/metrics"} {
			_, err := get(t.Context(), "http://"+addr+probe)
			require.NoError(t, err)
		}
	}

	run := w.execute()
	r := newReceiver(t, func(n int) int {
		if n == 1 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	delivered := w.deliver("nav", r.URL)
	history := w.becomes(delivered.JSON200.EventId, api.ChannelHistoryStateDelivered)
	require.Len(t, history.Attempts, 2)
	delivery := *history.Attempts[0].TraceId
	require.Equal(t, delivery, *history.Attempts[1].TraceId)

	// From the request through pattern, step and agent to SQL.
	const request = "dawsos-api: POST /v1/patterns/{id}/execute"
	for _, step := range []string{
		"step 0 ledger.positions", "step 1 pricing.apply_pack", "step 2 metrics.compute_twr", "step 3 attribution.currency", "step 4 metrics.history",
	} {
		w.arrives(run, request, "dawsos-api: pattern portfolio_overview", "dawsos-api: "+step,
			"dawsos-api: agent financial_analyst/", "dawsos-api: sql ")
	}

	// From the request through the dead letter and its retry, by the other process, to the receiver.
	const posted = "dawsos-api: POST /v1/deliveries"
	w.arrives(delivery, posted, "dawsos-api: deliver webhook", "dawsos-api: HTTP POST")
	w.arrives(delivery, posted, "dawsos-worker: job retry_delivery", "dawsos-worker: deliver webhook", "dawsos-worker: HTTP POST")
	w.arrives(delivery, posted, "dawsos-worker: job retry_delivery", "dawsos-worker: sql RecordRetryDelivered")
	for _, one := range r.all() {
		require.Contains(t, one.traceParent, delivery)
	}

	w.requireNoProbes()
	w.requireTargets("dawsos-backend", "dawsos-worker", "prometheus", "alertmanager", "otel-collector", "otel-exporter", "postgres-exporter")
	w.requireExemplar("api_latency_bucket", "/v1/patterns/{id}/execute", began)

	// Names that rules rely on: with _total and units, which the collector's own lose when asked the wrong way.
	w.positive(`otelcol_receiver_accepted_spans_total{job="otel-collector",transport="grpc"}`)
	w.positive(`otelcol_receiver_accepted_log_records_total{job="otel-collector",transport="grpc"}`)
	w.positive(`otelcol_exporter_sent_spans_total{job="otel-collector",exporter="otlp_grpc/jaeger"}`)
	w.positive(`traces_span_metrics_calls_total{service_name="dawsos-api",span_name="POST /v1/patterns/{id}/execute"}`)
	w.positive(`traces_span_metrics_duration_seconds_count{service_name="dawsos-worker",span_name="job retry_delivery"}`)
	w.positive(`up{job="jaeger"}`)
	w.positive(`pg_up`)
	w.positive(`dawsos_log_records_total{outcome="exported"}`)
	w.positive(`dawsos_trace_spans_total{outcome="exported"}`)

	// Every process's log is where its traces are, under the same ids.
	w.eventually("the request's log line is at the collector", func(context.Context) error {
		log, err := os.ReadFile(w.stack.Log("otel-collector"))
		if err != nil {
			return err
		}
		for record := range strings.SplitSeq(string(log), "LogRecord #") {
			if strings.Contains(record, "Trace ID: "+run) && strings.Contains(record, "Body: Str(request)") {
				return nil
			}
		}
		return errors.New("no record of a request with the trace's id")
	})
	w.eventually("Alertmanager has been told of an alert", func(ctx context.Context) error {
		var alerts []struct{ Labels map[string]string }
		if err := ask(ctx, "http://"+w.stack.Addresses.Alertmanager+"/api/v2/alerts", &alerts); err != nil {
			return err
		}
		for _, a := range alerts {
			if a.Labels["alertname"] == "Watchdog" {
				return nil
			}
		}
		return fmt.Errorf("has %v", alerts)
	})
	select {
	case err := <-w.stack.Failed():
		require.NoError(t, err)
	default:
	}
	w.requireKept(run, request)
}

// requireNoProbes sends the collector the spans of a proxy that reports its probes too.
func (w *watched) requireNoProbes() {
	w.t.Helper()
	ctx := w.t.Context()
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(w.stack.Addresses.CollectorGRPC), otlptracegrpc.WithInsecure())
	require.NoError(w.t, err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "proxy"))))
	for name, attributes := range map[string][]attribute.KeyValue{
		"probe by path":   {attribute.String("url.path", "/healthz")},
		"probe by route":  {attribute.String("http.route", "/readyz")},
		"probe by target": {attribute.String("http.target", "/metrics?name=up")},
		"probe by gRPC":   {attribute.String("rpc.service", "grpc.health.v1.Health")},
		"request":         {attribute.String("url.path", "/v1/agents")},
		"nearly a probe":  {attribute.String("url.path", "/v1/healthz")},
	} {
		_, span := provider.Tracer("proxy").Start(ctx, name, oteltrace.WithAttributes(attributes...), oteltrace.WithSpanKind(oteltrace.SpanKindServer))
		span.End()
	}
	require.NoError(w.t, provider.Shutdown(ctx)) // all in one batch
	w.eventually("what is no probe arrives", func(ctx context.Context) error {
		names, err := w.operations(ctx, "proxy")
		if err != nil {
			return err
		}
		if slices.Sort(names); !slices.Equal(names, []string{"nearly a probe", "request"}) {
			return fmt.Errorf("has %q", names)
		}
		return nil
	})
	for _, service := range []string{"dawsos-api", "dawsos-worker"} {
		names, err := w.operations(ctx, service)
		require.NoError(w.t, err)
		require.NotEmpty(w.t, names)
		for _, name := range names {
			require.NotRegexp(w.t, `/(healthz|readyz|metrics)$`, name, service)
		}
	}
}

// requireTargets waits until Prometheus has scraped each job's one target, and no other.
func (w *watched) requireTargets(jobs ...string) {
	w.t.Helper()
	w.eventually("every target is up", func(ctx context.Context) error {
		var answer struct {
			Data struct {
				ActiveTargets []struct {
					Labels            map[string]string
					Health, LastError string
				}
			}
		}
		if err := ask(ctx, "http://"+w.stack.Addresses.Prometheus+"/api/v1/targets?state=active", &answer); err != nil {
			return err
		}
		var got []string
		for _, target := range answer.Data.ActiveTargets {
			if target.Health != "up" {
				return fmt.Errorf("%s is %s: %s", target.Labels["job"], target.Health, target.LastError)
			}
			got = append(got, target.Labels["job"])
		}
		slices.Sort(got)
		if slices.Sort(jobs); !slices.Equal(got, jobs) {
			return fmt.Errorf("scraped are %q", got)
		}
		return nil
	})
}

// requireExemplar reads an exemplar as Grafana does, and follows it to its trace.
func (w *watched) requireExemplar(family, endpoint string, since time.Time) {
	w.t.Helper()
	query := url.Values{
		"query": {fmt.Sprintf("%s{endpoint=%q}", family, endpoint)},
		"start": {strconv.FormatInt(since.Unix(), 10)}, "end": {strconv.FormatInt(time.Now().Add(patience).Unix(), 10)},
	}
	var trace string
	w.eventually("Prometheus has an exemplar of "+family, func(ctx context.Context) error {
		var answer struct {
			Data []struct {
				Exemplars []struct{ Labels map[string]string }
			}
		}
		if err := ask(ctx, "http://"+w.stack.Addresses.Prometheus+"/api/v1/query_exemplars?"+query.Encode(), &answer); err != nil {
			return err
		}
		for _, series := range answer.Data {
			for _, e := range series.Exemplars {
				trace = e.Labels["trace_id"]
				return nil
			}
		}
		return errors.New("no exemplar")
	})
	w.arrives(trace, "dawsos-api: POST "+endpoint)
}

// requireKept restarts Jaeger over the same folder: traces outlive it.
func (w *watched) requireKept(trace, name string) {
	w.t.Helper()
	require.NoError(w.t, w.stack.Stop(nil))
	o := w.options
	o.Programs = observability.Programs{Jaeger: o.Programs.Jaeger}
	again, err := observability.Start(w.t.Context(), o)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, again.Stop(nil)) })
	w.stack = again
	w.arrives(trace, name)
}
