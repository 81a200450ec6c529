package telemetry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

func setup(t *testing.T, o Options) *Telemetry {
	t.Helper()
	if o.LogOutput == nil {
		o.LogOutput = t.Output()
	}
	tel, err := New(t.Context(), o)
	require.NoError(t, err)
	return tel
}

func scrape(t *testing.T, tel *Telemetry, accept string) (contentType, body string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	return w.Header().Get("Content-Type"), w.Body.String()
}

func TestMetricsOfAProcess(t *testing.T) {
	t.Parallel()

	tel := setup(t, Options{Process: "worker", Version: "1.2.3", Commit: "abc"})
	_, body := scrape(t, tel, "text/plain")

	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	require.NoError(t, err)
	for _, name := range []string{"dawsos_build_info", "go_goroutines", "process_cpu_seconds_total"} {
		require.Contains(t, families, name)
	}
	require.Contains(t, body,
		`dawsos_build_info{commit="abc",go_version="`+runtime.Version()+`",process="worker",version="1.2.3"} 1`+"\n")

	gathered, err := tel.Registry.Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(gathered).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestMetricsCarryExemplarsInOpenMetrics(t *testing.T) {
	t.Parallel()

	tel := setup(t, Options{Process: "api"})
	h := promauto.With(tel.Registry).NewHistogram(prometheus.HistogramOpts{Name: "x_seconds", Help: "X.", Buckets: []float64{1}})
	h.(prometheus.ExemplarObserver).ObserveWithExemplar(0.5, prometheus.Labels{"trace_id": testTraceID})

	contentType, body := scrape(t, tel, "application/openmetrics-text; version=1.0.0")
	require.Contains(t, contentType, "application/openmetrics-text")
	require.Contains(t, body, `x_seconds_bucket{le="1.0"} 1 # {trace_id="`+testTraceID+`"} 0.5`)
	require.True(t, strings.HasSuffix(body, "# EOF\n"))
}

// brokenCollector fails at every scrape.
type brokenCollector struct{ desc *prometheus.Desc }

func (c brokenCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c brokenCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(c.desc, io.ErrUnexpectedEOF)
}

func TestMetricsSurviveABrokenCollector(t *testing.T) {
	t.Parallel()

	var log strings.Builder
	tel := setup(t, Options{Process: "api", LogOutput: &log})
	tel.Registry.MustRegister(brokenCollector{prometheus.NewDesc("broken", "Broken.", nil, nil)})

	_, body := scrape(t, tel, "text/plain")
	require.Contains(t, body, "dawsos_build_info")
	require.Contains(t, log.String(), "unexpected EOF")
}
