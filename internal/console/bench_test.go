package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/dawsos/dawsos/internal/sample"
)

// BenchmarkPages is each page over the sample with 100,000 dead letters, 100,000 events that were delivered, and
// 20,000 recorded runs: server time with the connection, and the page's bytes as they are sent.
func BenchmarkPages(b *testing.B) {
	s := newSampleSite(b)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the disk is full", http.StatusInternalServerError)
	}))
	b.Cleanup(receiver.Close)
	s.api(http.MethodPost, "/v1/destinations", fmt.Sprintf(`{"name": "desk", "channel": "webhook", "url": %q}`, receiver.URL), http.StatusCreated)
	var event string
	for _, channels := range []string{`{"inapp": true}`, `{"destination": ["desk"]}`} {
		answer := s.api(http.MethodPost, "/v1/deliveries", fmt.Sprintf(
			`{"alert_id": "nav", "user_id": "ada", "title": "NAV fell", "message": "by 3 %%", "severity": "critical", "channels": %s}`, channels), http.StatusOK)
		event = gjson.Get(answer, "event_id").String()
	}
	portfolio := sample.PortfolioID()
	s.api(http.MethodPost, "/v1/patterns/portfolio_overview/execute?record=true", fmt.Sprintf(`{"inputs": {"portfolio_id": %q}}`, portfolio), http.StatusOK)
	s.multiply(b)

	letter := gjson.Get(s.api(http.MethodGet, "/v1/dlq?limit=1", "", http.StatusOK), "items.0").Map()
	run := gjson.Get(s.api(http.MethodGet, "/v1/runs?limit=1", "", http.StatusOK), "items.0.id").String()
	for _, page := range []struct{ name, path string }{
		{"overview", "/console"},
		{"dlq", "/console/dlq"},
		{"dlq_filtered", "/console/dlq?state=pending&cause=http_5xx&destination=desk"},
		{"dlq_search", "/console/dlq?q=NAV+fell+99"},
		{"dlq_by_cause", "/console/dlq?group=cause"},
		{"dlq_letter", "/console/dlq/" + letter["id"].String()},
		{"dlq_replay_all", "/console/dlq/act?action=replay&state=pending"},
		{"operations", "/console/operations"},
		{"deliveries", "/console/deliveries"},
		{"delivery", "/console/deliveries/" + event},
		{"inbox", "/console/inbox?user=ada"},
		{"alerts", "/console/alerts"},
		{"destinations", "/console/destinations"},
		{"destination", "/console/destinations/desk"},
		{"patterns", "/console/patterns"},
		{"pattern", "/console/patterns/portfolio_overview"},
		{"definition", "/console/patterns/portfolio_overview/definition"},
		{"runs", "/console/runs"},
		{"run", "/console/runs/" + run},
		{"insights", "/console/insights"},
		{"portfolios", "/console/portfolios"},
		{"portfolio", "/console/portfolios/" + portfolio},
		{"imports", "/console/imports"},
		{"packs", "/console/packs"},
		{"jobs", "/console/jobs"},
		{"agents", "/console/agents"},
		{"audit", "/console/audit"},
	} {
		b.Run(page.name, func(b *testing.B) {
			s.t = b
			n := 0
			for b.Loop() {
				r := s.get(page.path, "Accept-Encoding", "identity")
				require.Equal(b, http.StatusOK, r.StatusCode, r.body)
				n = len(r.body)
			}
			b.ReportMetric(float64(n), "page_bytes")
		})
	}
}

// multiply copies what the system itself has written: each copy is a little older and has ids of its own.
func (s *site) multiply(b *testing.B) {
	b.Helper()
	const id = `(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - i * 100), 12, '0') || '7' || substr(md5(i || '%[1]s'), 1, 3) || '8' || substr(md5(i || '%[1]s'), 4, 15))::uuid`
	copies := func(table string, n int, where, changes string) {
		columns, err := s.pool.Query(b.Context(), `SELECT column_name::text FROM information_schema.columns WHERE table_name = $1 AND table_schema = 'public' AND is_generated = 'NEVER' ORDER BY ordinal_position`, table)
		require.NoError(b, err)
		var names []string
		for columns.Next() {
			var name string
			require.NoError(b, columns.Scan(&name))
			names = append(names, name)
		}
		require.NoError(b, columns.Err())
		list, values := "", ""
		for i, name := range names {
			if i > 0 {
				list, values = list+", ", values+", "
			}
			list += `"` + name + `"`
			values += `COALESCE(c."` + name + `", t."` + name + `")`
		}
		_, err = s.pool.Exec(b.Context(), fmt.Sprintf(`INSERT INTO %[1]s (%[2]s) SELECT %[3]s FROM generate_series(1, %[4]d) AS i,
			(SELECT * FROM %[1]s WHERE %[5]s LIMIT 1) AS t, LATERAL (SELECT (jsonb_populate_record(NULL::%[1]s, jsonb_build_object(%[6]s))).*) AS c`,
			table, list, values, n, where, changes))
		require.NoError(b, err, table)
		_, err = s.pool.Exec(b.Context(), "ANALYZE "+table)
		require.NoError(b, err)
	}
	event := fmt.Sprintf(id, "event")
	copies("alert_events", 100_000, "channels::text LIKE '%desk%'", "'id', "+event+", 'title', 'NAV fell ' || i, 'accepted_at', now() - i * interval '0.1 s'")
	copies("alert_dlq", 100_000, "true", "'id', "+fmt.Sprintf(id, "letter")+", 'event_id', "+event+", 'alert_id', 'nav ' || i % 100, 'job_id', -i, 'created_at', now() - i * interval '0.1 s'")
	copies("alert_attempts", 100_000, "outcome = 'failed'", "'event_id', "+event+", 'started_at', now() - i * interval '0.1 s'")
	delivered := fmt.Sprintf(id, "delivered")
	copies("alert_deliveries", 100_000, "true", "'id', "+fmt.Sprintf(id, "delivery")+", 'event_id', "+delivered+", 'delivered_at', now() - i * interval '0.1 s'")
	copies("pattern_runs", 20_000, "true", "'id', "+fmt.Sprintf(id, "run")+", 'started_at', now() - i * interval '4 s'")
}
