package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/roles"
)

// benchmark makes the same request over and over, as many at a time as there are processors.
func benchmark(b *testing.B, s *site, target, body string) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, target, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				b.Errorf("%s: %d %s", target, w.Code, w.Body)
				return
			}
		}
	})
}

// A run of portfolio_overview: six steps, two of them for charts, over two years of the sample portfolio.
func BenchmarkExecute(b *testing.B) {
	s := newSampleSite(b)
	benchmark(b, s, overview, `{"inputs": {"portfolio_id": "`+sample.PortfolioID()+`"}, "asof": "2007-05-08"}`)
}

// A delivery into the inbox: accepted, sent and recorded, three transactions.
func BenchmarkDelivery(b *testing.B) {
	s := newSite(b)
	benchmark(b, s, "/v1/deliveries", `{"alert_id": "a", "user_id": "u", "title": "t", "message": "m", "data": {"n": 1.5}}`)
}

// A delivery to a webhook that takes it at once.
func BenchmarkDeliveryToAWebhook(b *testing.B) {
	s := newSite(b)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	b.Cleanup(receiver.Close)
	require.NotEmpty(b, receiver.URL)
	benchmark(b, s, "/v1/deliveries",
		`{"alert_id": "a", "user_id": "u", "title": "t", "message": "m", "channels": {"webhook": {"url": "`+receiver.URL+`"}}}`)
}

// prepared is an engine whose every run is over before it begins: what is measured with it is the
// HTTP layer alone.
type prepared struct{ answer *patterns.Answer }

func (p prepared) Execute(context.Context, patterns.Request) (*patterns.Answer, error) {
	return p.answer, nil
}

// preparedAnswer is about what a pattern of four cached steps over one portfolio answers.
func preparedAnswer() *patterns.Answer {
	day := time.Date(2026, 3, 2, 9, 30, 0, 123456000, time.UTC)
	a := &patterns.Answer{
		RunID: "01958a3c-7a1e-7bb0-9d3c-2f5a8e6b4c10", PatternID: "portfolio_overview",
		Charts: []json.RawMessage{}, Warnings: []string{},
		Trace: patterns.Trace{
			RequestID: "8f14e45fceea167a5a36dedd4bea2543", PatternID: "portfolio_overview",
			PricingPackID: "7d0f3c0e-6d52-5b0e-8f0d-3c0a52a7b9a1", LedgerVersion: strings.Repeat("ab", 32),
			Asof: "2007-05-08", DurationSeconds: 0.000123, AgentsUsed: []string{"financial_analyst"},
			Sources: []string{"fx:USD/CHF", "ledger:5a9e2e0c-7a0b-5a57-9f0a-6a2d6f0f4c1e", "macro:FF_RF", "prices:LMI", "prices:MPI", "prices:SBI", "prices:SPI", "prices:SII"},
		},
		DataHash: strings.Repeat("cd", 32),
	}
	for i, capability := range []string{"attribution.currency", "ledger.positions", "metrics.compute_twr", "pricing.value_positions"} {
		a.Trace.CapabilitiesUsed = append(a.Trace.CapabilitiesUsed, capability)
		a.Trace.Steps = append(a.Trace.Steps, patterns.StepTrace{
			Index: i, Capability: capability, Agent: "financial_analyst", As: "result_" + strconv.Itoa(i),
			Status: patterns.StatusCached, StartedAt: day, DurationSeconds: 0.0000042,
		})
		a.Trace.Staleness = append(a.Trace.Staleness, patterns.Staleness{
			As: "result_" + strconv.Itoa(i), Capability: capability, Asof: "2007-05-08",
			OldestSource: "macro:FF_RF", OldestAsof: "2007-04-30", AgeDays: 8,
		})
	}
	var positions []map[string]any
	for i := range 12 {
		positions = append(positions, map[string]any{
			"symbol": "SYM" + strconv.Itoa(i), "quantity": "2500", "price": "101.56", "currency": "CHF",
			"value": "253900.00", "weight": 0.08333333333333333, "asof": "2007-05-08",
		})
	}
	data, err := json.Marshal(map[string]any{"valued_positions": map[string]any{"positions": positions, "total_value": "1444808.19"}})
	if err != nil {
		panic(err)
	}
	a.Data = data
	return a
}

// nowhere takes a log.
type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkHTTPLayer is execute over an engine whose answers are there already, against a bare Echo
// handler that reads the body and returns the same bytes. Real connections on loopback, kept alive,
// client and server on the same processors; compare the figures of one run.
func BenchmarkHTTPLayer(b *testing.B) {
	s := newFrontSite(b, func(o *httpapi.Options) {
		o.Patterns = prepared{preparedAnswer()}
		o.Log = slog.New(slog.NewJSONHandler(nowhere{}, nil)) // making the lines is part of the work
	})
	const body = `{"inputs": {"portfolio_id": "5a9e2e0c-7a0b-5a57-9f0a-6a2d6f0f4c1e", "lookback_days": 252}, "asof": "2007-05-08"}`
	answered := s.post(b, overview, body)
	require.Equal(b, http.StatusOK, answered.status, "%s", answered.body)
	b.Run("bare", func(b *testing.B) { benchmarkHTTP(b, bare(answered.body), body) })
	b.Run("execute", func(b *testing.B) { benchmarkHTTP(b, s.handler, body) })
}

// BenchmarkCached is execute of portfolio_overview, all of it cached, over everything that a process
// has: the HTTP layer, the engine, the lookup of pack and ledger version in PostgreSQL for each request,
// and the recording of each run there. PostgreSQL runs on the same processors too.
func BenchmarkCached(b *testing.B) {
	const body = `{"inputs": {"portfolio_id": "` + samplePortfolio + `"}}`
	require.Equal(b, samplePortfolio, sample.PortfolioID())
	handler := func(b *testing.B, record bool) http.Handler {
		return newSampleSite(b, func(o *httpapi.Options) {
			db := o.Runs.(*store.Store)
			options := patterns.Options{Registerer: prometheus.NewRegistry(), CacheBytes: 64 << 20}
			if record {
				recorder := runs.NewRecorder(db, runs.RecorderOptions{Registerer: prometheus.NewRegistry(), Log: o.Log})
				b.Cleanup(func() { require.NoError(b, recorder.Stop(context.Background())) })
				options.Recorder = recorder
			}
			engine, err := patterns.New(definitions(b), o.Agents.(*agents.Runtime), store.NewContexts(db), options)
			require.NoError(b, err)
			o.Patterns, o.Log = engine, slog.New(slog.NewJSONHandler(nowhere{}, nil))
		}).handler
	}
	recorded, unrecorded := handler(b, true), handler(b, false)
	answered := httptest.NewRecorder()
	for range 2 { // the second is the cached one
		answered = httptest.NewRecorder()
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, overview, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		recorded.ServeHTTP(answered, r)
		require.Equal(b, http.StatusOK, answered.Code, "%s", answered.Body)
	}
	require.Contains(b, answered.Body.String(), `"cached"`)
	b.Run("bare", func(b *testing.B) { benchmarkHTTP(b, bare(answered.Body.Bytes()), body) })
	b.Run("execute", func(b *testing.B) { benchmarkHTTP(b, recorded, body) })
	b.Run("execute_unrecorded", func(b *testing.B) { benchmarkHTTP(b, unrecorded, body) })
}

const samplePortfolio = "9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81"

// bare returns an Echo handler that does nothing but answer.
func bare(body []byte) http.Handler {
	e := echo.New()
	e.POST("/v1/patterns/:id/execute", func(c echo.Context) error {
		if _, err := io.ReadAll(c.Request().Body); err != nil {
			return err
		}
		return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, body)
	})
	return e
}

// benchmarkHTTP posts to overview over real connections, kept alive.
func benchmarkHTTP(b *testing.B, handler http.Handler, body string) {
	b.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL+overview, strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			answer, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, err = io.Copy(io.Discard, answer.Body)
			if err := errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
				b.Error(answer.Status, err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkRowLevelSecurity is the same request with the API in its role and with the owner's connections,
// for which policies do not hold. Compare the figures of one run.
func BenchmarkRowLevelSecurity(b *testing.B) {
	address := dbtest.URL(b)
	owner := dbtest.Connect(b, address)
	_, err := sample.Load(b.Context(), owner, "../../configs/sample", nil)
	require.NoError(b, err)
	_, err = owner.Exec(b.Context(), `INSERT INTO alert_dlq (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, alert_data, state, cause,
			error_message, attempts, accepted_at, created_at)
		SELECT gen_random_uuid(), CASE n % 2 WHEN 0 THEN 'default' ELSE 'other' END, gen_random_uuid(), 'webhook', 'webhook', 'a', 'u', '', '{}', 'exhausted', 'connect',
			'refused', 1, now(), now() FROM generate_series(1, 100000) AS n`)
	require.NoError(b, err)
	_, err = owner.Exec(b.Context(), "VACUUM ANALYZE alert_dlq")
	require.NoError(b, err)
	for _, as := range []struct {
		name string
		pool *pgxpool.Pool
	}{{"off", owner}, {"on", dbtest.As(b, address, roles.API)}} {
		s := newSiteOver(b, address, as.pool)
		for _, request := range []struct{ name, method, target, body string }{
			{"dead_letters", http.MethodGet, "/v1/dlq?limit=50", ""},
			{"portfolio", http.MethodGet, "/v1/portfolios/" + sample.PortfolioID(), ""},
			{"portfolio_overview", http.MethodPost, "/v1/patterns/portfolio_overview/execute", fmt.Sprintf(`{"inputs": {"portfolio_id": %q}}`, sample.PortfolioID())},
		} {
			b.Run(request.name+"/"+as.name, func(b *testing.B) {
				for b.Loop() {
					r := httptest.NewRequestWithContext(b.Context(), request.method, request.target, strings.NewReader(request.body))
					r.Header.Set("Content-Type", "application/json")
					w := httptest.NewRecorder()
					s.handler.ServeHTTP(w, r)
					require.Equal(b, http.StatusOK, w.Code, w.Body)
				}
			})
		}
	}
}
