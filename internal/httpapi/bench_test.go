package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/sample"
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

// A run of portfolio_overview: four steps over two years of the sample portfolio.
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
