package console_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func newID(t *testing.T) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	require.NoError(t, err)
	return id
}

func TestQueue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO river_job (kind, queue, args, max_attempts, state, priority)
		VALUES ('prune_runs', 'upkeep', '{}', 1, 'available', 1)`)
	require.NoError(t, err)

	r := s.get("/console/queue")
	require.Equal(t, http.StatusSeeOther, r.StatusCode)
	require.Equal(t, "/console/queue/", r.Header.Get("Location"))

	for _, page := range []string{"/console/queue/", "/console/queue/jobs", "/console/queue/jobs/1", "/console/queue/queues"} {
		r = s.get(page, "Accept", "text/html")
		require.Equal(t, http.StatusOK, r.StatusCode, page)
		require.Contains(t, r.body, `<div id="root"`)
		policy := r.Header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'; script-src 'self';")
		require.NotContains(t, policy, "unsafe-eval")
		require.NotContains(t, policy, "://")
		require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
	}
	scripts := regexp.MustCompile(`(?:src|href)="([^"]+\.(?:js|css))"`).FindAllStringSubmatch(r.body, -1)
	require.Len(t, scripts, 2)
	for _, script := range scripts {
		require.True(t, strings.HasPrefix(script[1], "/console/queue/assets/"), script[1])
		require.Equal(t, http.StatusOK, s.get(script[1]).StatusCode)
	}
	r = s.get("/console/queue/api/jobs?state=available&limit=20")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, r.body, `"kind":"prune_runs"`)
	require.Equal(t, http.StatusOK, s.get("/console/queue/api/states").StatusCode)
	require.Equal(t, http.StatusOK, s.do(http.MethodHead, "/console/queue/", nil).StatusCode)

	states := func() (state string) {
		require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT state FROM river_job WHERE kind = 'prune_runs'`).Scan(&state))
		return state
	}
	for _, action := range [][2]string{
		{http.MethodPost, "/console/queue/api/jobs/cancel"},
		{http.MethodPost, "/console/queue/api/jobs/delete"},
		{http.MethodPost, "/console/queue/api/jobs/retry"},
		{http.MethodPut, "/console/queue/api/queues/upkeep/pause"},
		{http.MethodPut, "/console/queue/api/queues/upkeep/resume"},
		{http.MethodPatch, "/console/queue/api/queues/upkeep"},
		{http.MethodDelete, "/console/queue/"},
		{http.MethodOptions, "/console/queue/api/jobs/cancel"},
	} {
		r = s.do(action[0], action[1], strings.NewReader(`{"ids": ["1"]}`), "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")
		require.Equal(t, http.StatusForbidden, r.StatusCode, action)
		require.Contains(t, r.body, "The queue is shown for reading only; nothing was changed.")
		require.Equal(t, "text/plain; charset=utf-8", r.Header.Get("Content-Type"), "River's pages show it as it is")
		require.Equal(t, "available", states())
	}
	for _, method := range []string{"TRACE", "PROPFIND"} {
		require.Equal(t, http.StatusMethodNotAllowed, s.do(method, "/console/queue/api/jobs/cancel", nil).StatusCode, method)
	}

	metrics := s.get("/metrics").body
	require.Contains(t, metrics, `api_requests_total{endpoint="/console/queue/*",method="GET",status="200"}`)
	require.NotContains(t, metrics, `endpoint="/console/queue/jobs`)
	require.NotContains(t, s.get("/console/live?of=/console/queue/").Header.Get("Content-Type"), "event-stream", "it is no page of the console's")
}
