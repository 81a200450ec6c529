package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/dawsos/dawsos/pkg/api"
)

// collector takes spans over OTLP as an OpenTelemetry collector does.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	addr  string
	mu    sync.Mutex
	spans []span
}

type span struct {
	service, trace, id, parent, name string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &collector{addr: l.Addr().String()}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	served := make(chan struct{})
	go func() {
		_ = server.Serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return c
}

func (c *collector) Export(_ context.Context, req *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		service := ""
		for _, a := range r.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range r.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, newSpan(service, s))
			}
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func newSpan(service string, s *tracepb.Span) span {
	return span{
		service: service, name: s.GetName(), trace: hex.EncodeToString(s.GetTraceId()),
		id: hex.EncodeToString(s.GetSpanId()), parent: hex.EncodeToString(s.GetParentSpanId()),
	}
}

// of returns the spans of a trace.
func (c *collector) of(trace string) []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []span
	for _, s := range c.spans {
		if s.trace == trace {
			list = append(list, s)
		}
	}
	return list
}

// requirePath checks that a trace has a chain of spans, each the child of the one before.
// A name matches its prefix.
func requirePath(t *testing.T, spans []span, names ...string) {
	t.Helper()
	require.NoError(t, hasPath(spans, names...))
}

func hasPath(spans []span, names ...string) error {
	parents := []string{""}
	for i, name := range names {
		var next []string
		for _, s := range spans {
			if strings.HasPrefix(s.service+": "+s.name, name) && (i == 0 || slices.Contains(parents, s.parent)) {
				next = append(next, s.id)
			}
		}
		if len(next) == 0 {
			return fmt.Errorf("no %q below %q in %+v", name, names[:i], spans)
		}
		parents = next
	}
	return nil
}

// TestOneTrace follows a delivery from the API request through the dead letter's job to the
// receiver, and a pattern from the request to its SQL: each is one trace.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	databaseURL, portfolio := loaded(t)
	s := newSystem(t, databaseURL, "OTLP_ENDPOINT="+c.addr, "RETRY_SCHEDULE=100ms,100ms")
	r := newReceiver(t, func(n int) int {
		if n == 1 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	delivered := s.deliver("nav", r.URL)
	history := s.becomes(delivered.JSON200.EventId, api.ChannelHistoryStateDelivered)
	require.Len(t, history.Attempts, 2)
	trace := *history.Attempts[0].TraceId
	require.Equal(t, trace, *history.Attempts[1].TraceId, "the retry continues the request's trace")
	for _, one := range r.all() {
		require.Contains(t, one.traceParent, trace, "the receiver is part of it")
	}
	require.Contains(t, s.api.log.String(), "trace_id="+trace, "and so are the logs")
	require.Contains(t, s.worker.log.String(), "trace_id="+trace)

	pattern, err := s.client.ExecutePatternWithResponse(t.Context(), "portfolio_overview", nil, api.ExecuteRequest{
		Inputs: new(json.RawMessage(fmt.Sprintf(`{"portfolio_id": %q}`, portfolio))),
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, pattern.StatusCode(), string(pattern.Body))
	run := pattern.JSON200.Trace.TraceId

	// Spans are sent in batches; the last ones when a process stops.
	s.api.interrupt()
	s.worker.interrupt()
	require.Equal(t, 0, s.api.exitCode())
	require.Equal(t, 0, s.worker.exitCode())

	spans := c.of(trace)
	const request = "dawsos-api: POST /v1/deliveries"
	requirePath(t, spans, request, "dawsos-api: sql AcceptEvent")
	requirePath(t, spans, request, "dawsos-api: deliver webhook", "dawsos-api: HTTP POST")
	requirePath(t, spans, request, "dawsos-worker: job retry_delivery", "dawsos-worker: deliver webhook", "dawsos-worker: HTTP POST")
	requirePath(t, spans, request, "dawsos-worker: job retry_delivery", "dawsos-worker: sql RecordRetryDelivered")

	spans = c.of(run)
	for _, step := range []string{
		"step 0 ledger.positions", "step 1 pricing.apply_pack", "step 2 metrics.compute_twr", "step 3 attribution.currency",
	} {
		requirePath(t, spans, "dawsos-api: POST /v1/patterns/{id}/execute", "dawsos-api: pattern portfolio_overview",
			"dawsos-api: "+step, "dawsos-api: agent financial_analyst/", "dawsos-api: sql ")
	}
}
