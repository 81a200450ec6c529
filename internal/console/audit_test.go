package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	s := newSite(t)

	require.Contains(t, s.get("/console/audit").text(), "Nobody has changed anything yet.")

	s.api(http.MethodPost, "/v1/destinations", `{"name": "ops", "channel": "webhook", "url": "https://example.org/hook?token=t0ken"}`, http.StatusCreated)
	s.api(http.MethodPatch, "/v1/destinations/ops", `{"description": "on call"}`, http.StatusOK)
	require.Equal(t, http.StatusNoContent, s.do(http.MethodDelete, "/v1/destinations/ops", nil, "X-Reason", "nobody reads <it>").StatusCode)

	page := s.get("/console/audit")
	require.Equal(t, http.StatusOK, page.StatusCode)
	text := page.text()
	require.Less(t, strings.Index(text, "destination.delete"), strings.Index(text, "destination.create"), "newest first")
	require.Contains(t, text, "nobody reads <it>")
	require.Contains(t, text, "none given")
	require.Contains(t, text, `{"channel": "webhook"}`)
	require.NotContains(t, page.body, "t0ken")
	require.Contains(t, page.links(), "/console/destinations/ops")
	require.Contains(t, page.links(), "/console/audit?subject=destination&subject_id=ops")
	require.Contains(t, page.links(), "/console/audit?action=destination.create")

	_, err := s.pool.Exec(t.Context(), `
		INSERT INTO audit_log (id, tenant_id, at, actor, action, subject, subject_id, reason, detail)
		SELECT gen_random_uuid(), 'default', now(), 'grace', 'job.run', 'job', 'nightly ' || n % 2, 'because', jsonb_build_object('n', repeat('long ', n)) FROM generate_series(1, 60) AS n`)
	require.NoError(t, err)
	for _, subject := range []string{"data_revision", "dead_letter", "destination", "job", "key", "operation", "pricing_pack", "rule"} {
		require.Contains(t, page.body, `<option value="`+subject+`">`)
	}
	for query, want := range map[string]int{
		"actor=grace":                              50,
		"actor=nobody":                             0,
		"action=destination.update":                1,
		"action=job.run&actor=grace":               50,
		"action=job.run&actor=api":                 0,
		"action=job.run&subject=rule":              0,
		"subject=destination":                      3,
		"subject=job":                              50,
		"subject=job&subject_id=nightly+1":         30,
		"subject_id=nightly+1&actor=grace":         30,
		"subject_id=ops&action=destination.create": 1,
		"subject_id=ops&subject=job":               0,
		"subject=key":                              0,
	} {
		page := s.get("/console/audit?" + query)
		require.Equal(t, http.StatusOK, page.StatusCode, query)
		require.Equal(t, want, strings.Count(page.text(), "all about it"), query)
		if want == 0 {
			require.Contains(t, page.text(), "No entry matches the filter.", query)
		}
		for name, values := range mustQuery(t, query) {
			if name != "subject" {
				require.Equal(t, values[0], page.fields().Get(name), "the filter can be seen")
			}
		}
	}
	page = s.get("/console/audit?actor=grace")
	require.Contains(t, page.links(), "/console/jobs/nightly%201")
	rest := s.get(page.byRel("next"))
	require.Equal(t, 10, strings.Count(rest.text(), "all about it"))
	require.Empty(t, rest.byRel("next"))
	require.Contains(t, page.body+rest.body, `<details id="detail-`, "a long detail is folded")

	wrong := s.get("/console/audit?actor=%00")
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Equal(t, []string{"actor"}, wrong.invalidFields(t))
}

func mustQuery(t *testing.T, query string) url.Values {
	t.Helper()
	q, err := url.ParseQuery(query)
	require.NoError(t, err)
	return q
}
