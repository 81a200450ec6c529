package console_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/store"
)

// card is what one of the overview's cards says.
func (r response) card(t *testing.T, heading string) (text string, links []string) {
	t.Helper()
	for n := range r.byID("state").ChildNodes() {
		one := response{tree: n}
		if text := one.text(); n.Type == html.ElementNode && strings.HasPrefix(text, heading+" ") {
			return strings.TrimPrefix(text, heading+" "), one.links()
		}
	}
	require.Fail(t, "there is no such card", heading)
	return "", nil
}

// The overview's figures are those of the database, and each leads to what it counts.
func TestOverview(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	card := func(heading, want string) []string {
		t.Helper()
		text, links := s.get("/console").card(t, heading)
		require.Contains(t, text, want, heading)
		return links
	}
	require.Eventually(t, func() bool { return strings.Contains(s.get("/console").text(), "1 ready") }, time.Minute, 20*time.Millisecond)
	card("API", "1 ready 1 running")
	card("Worker", "none No worker was heard within 15 s: retries and jobs wait")
	card("Database", "answers PostgreSQL ")
	card("Database", fmt.Sprintf("schema %d,", s.number("SELECT max(version_id) FROM goose_db_version WHERE is_applied")))
	card("Open dead letters", "0 Nothing waits.")
	card("Invariant", "nothing yet Nothing has been accepted.")
	card("Delivered, last hour", "0 Since ")
	card("Failed attempts, last hour", "0 No attempt was made")
	card("Runs, last hour", "0 0 failed")
	card("Jobs", "0 failed")
	card("Breakers", "0 not closed of 10 agents")
	empty := s.get("/console")
	require.Contains(t, empty.text(), "Nothing has been accepted yet")
	require.Contains(t, empty.text(), "No dead letter is open")
	require.NotContains(t, empty.body, "<figure", "there is nothing to draw")

	s.api(http.MethodPost, "/v1/destinations", `{"name": "away", "channel": "webhook", "url": "http://127.0.0.1:1"}`, http.StatusCreated)
	s.send(`"alert_id": "a", "user_id": "u", "title": "t", "channels": {"inapp": true, "destination": ["away"]}`)
	card("Open dead letters", "1 The oldest first failed")
	card("Invariant", "holds Accepted is the sum of all places")
	card("Failed attempts, last hour", "1 50.0 % of all attempts") // the minute under way counts
	require.Len(t, card("Delivered, last hour", "1 Since "), 1)
	r := s.get("/console")
	require.Contains(t, response{tree: r.byID("letters")}.text(), "connect 1 0")
	require.Equal(t, []string{
		"/console/dlq?cause=connect", "/console/dlq?cause=connect&state=pending", "/console/dlq?cause=connect&state=exhausted",
		"/console/dlq?state=pending", "/console/dlq?state=exhausted",
	}, response{tree: r.byID("letters")}.links())
	require.Contains(t, response{tree: r.byID("invariant")}.text(), "inapp 1 1 delivered")
	require.Contains(t, response{tree: r.byID("invariant")}.text(), "webhook 1 ")
	figure := r.byID("hour").FirstChild
	for figure.Data != "figure" {
		figure = figure.NextSibling
	}
	drawn := map[string]int64{} // two minutes, if one has just begun
	for _, bar := range gjson.Get(attribute(figure, "data-spec"), "data.values").Array() {
		drawn[bar.Get("what").String()] += bar.Get("number").Int()
	}
	require.Equal(t, map[string]int64{"delivered": 1, "failed": 1}, drawn)
	for _, link := range r.links() {
		switch {
		case strings.HasPrefix(link, "#"):
			require.NotNil(t, r.byID(link[1:]), link)
		case !strings.HasPrefix(link, "/console/queue"):
			require.Equal(t, http.StatusOK, s.get(link).StatusCode, link)
		}
	}
	for link, want := range map[string]int{
		"/console/dlq": 1, "/console/dlq?cause=connect&state=pending": 1, "/console/dlq?cause=connect&state=exhausted": 0,
	} {
		require.Equal(t, want, strings.Count(s.get(link).body, " data-select aria-label="), link)
	}
}

// What needs somebody is told: letters by cause and state, a broken invariant, a job that failed, a pack in error.
func TestOverviewOfTrouble(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	s.api(http.MethodPost, "/v1/destinations", `{"name": "away", "channel": "webhook", "url": "http://127.0.0.1:1"}`, http.StatusCreated)
	for _, alert := range []string{"a", "b", "c"} {
		s.send(`"alert_id": "` + alert + `", "user_id": "u", "title": "t", "channels": {"destination": ["away"]}`)
	}
	for _, statement := range []string{
		`UPDATE alert_dlq SET state = 'exhausted', next_retry_at = NULL, cause = 'timeout', created_at = now() - interval '3 days'
			WHERE id = (SELECT id FROM alert_dlq ORDER BY id LIMIT 1)`,
		`INSERT INTO alert_account_changes (tenant_id, channel, account, change) VALUES ('default', 'webhook', 'accepted', 2)`,
		`INSERT INTO job_runs (id, job, trigger, status, started_at, ended_at, error)
			VALUES ('01a22b43-0000-7000-8000-000000000000', 'build_packs', 'schedule', 'failed', now(), now(), 'the disk is full')`,
		`UPDATE pricing_packs SET state = 'error', reason = 'hash' WHERE id = (SELECT id FROM pricing_packs ORDER BY date DESC LIMIT 1)`,
	} {
		_, err := s.pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	r := s.get("/console")
	text, _ := r.card(t, "Invariant")
	require.Contains(t, text, "broken Accepted is not the sum of all places")
	text, _ = r.card(t, "Jobs")
	require.Contains(t, text, "1 failed")
	text, _ = r.card(t, "Open dead letters")
	require.Contains(t, text, "3 The oldest")
	letters := response{tree: r.byID("letters")}.text()
	require.Contains(t, letters, "connect 2 0")
	require.Contains(t, letters, "timeout 0 1")
	require.Contains(t, letters, "all 2 1")
	require.NotContains(t, letters, "More than")
	require.Contains(t, response{tree: r.byID("invariant")}.text(), "1 exhausted")
	require.Contains(t, response{tree: r.byID("jobs")}.text(), "build packs failed the disk is full")
	require.Contains(t, response{tree: r.byID("packs")}.text(), "1 error")
}

// An operation that runs is shown however many have been started since, and a breaker counts once however many
// processes hold its endpoint.
func TestOverviewOfWhatGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	begin := func(state string) string {
		id := newID(t)
		_, err := s.pool.Exec(t.Context(), `
			INSERT INTO alert_dlq_operations (id, tenant_id, kind, filter, actor, per_second, stop_after_failures, state, total, released, last_id, started_at, progress_at, ended_at)
			VALUES ($1, 'default', 'replay', '{}', 'ada', 50, 20, $2::text, 7, 3, $1, now(), now(), CASE WHEN $2::text <> 'running' THEN now() END)`, id, state)
		require.NoError(t, err)
		return id.String()
	}
	running := begin("running")
	for range 60 {
		begin("done")
	}
	r := s.get("/console")
	require.Contains(t, response{tree: r.byID("operations")}.text(), "replay : 3 of 7 released")
	require.Equal(t, []string{"/console/operations/" + running}, response{tree: r.byID("operations")}.links())

	for pid, name := range map[int]string{1: "destination:desk", 2: "destination:desk", 3: "webhook:0123456789abcdef"} {
		process := breakers.Process{Role: "worker", Host: "w", PID: pid}
		_, err := s.pool.Exec(t.Context(), `INSERT INTO processes (id, role, host, pid, version, commit, started_at, heard_at) VALUES ($1, 'worker', 'w', $2, 'v', '', now(), now())`, newID(t), pid)
		require.NoError(t, err)
		require.NoError(t, store.New(s.pool, store.Options{}).RecordBreakerChanges(t.Context(), []breakers.Change{{
			ID: newID(t), TenantID: "default", Process: process, Kind: breakers.Endpoint, Name: name, From: breakers.Closed, To: breakers.Open, At: time.Now(), Reason: "x",
		}}))
	}
	text, links := s.get("/console").card(t, "Breakers")
	require.Contains(t, text, "2 of endpoints", "in three processes")
	require.Contains(t, links, "/console/breakers?kind=endpoint")
	require.Equal(t, http.StatusOK, s.get("/console/breakers?kind=endpoint").StatusCode)
}

// A process that is not heard any more is gone, one that said so has stopped.
func TestProcesses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO processes (id, role, host, pid, version, commit, started_at, heard_at, stopped_at, reason) VALUES
		(gen_random_uuid(), 'worker', 'lost', 7, 'v1', '', now() - interval '1 hour', now() - interval '16 s', NULL, NULL),
		(gen_random_uuid(), 'worker', 'left', 8, 'v1', '', now() - interval '1 hour', now(), now(), NULL),
		(gen_random_uuid(), 'worker', 'ill', 9, 'v1', '', now() - interval '1 hour', now(), NULL, 'database does not answer')`)
	require.NoError(t, err)
	text := s.get("/console").text()
	require.Contains(t, text, "worker lost 7 gone")
	require.Contains(t, text, "worker left 8 stopped")
	require.Contains(t, text, "worker ill 9 unready database does not answer")
	require.Contains(t, text, "Worker 0 ready 1 running , 1 not heard any more")
}

// A process that ends in good order says so, and the others know.
func TestProcessSaysThatItStops(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	pool := dbtest.Connect(t, databaseURL)
	s := startSite(t, databaseURL, pool)
	state := func(state string) func() bool {
		return func() bool {
			return strings.Count(response{tree: s.get("/console").byID("processes")}.text(), " "+state+" ") == 1
		}
	}
	require.Eventually(t, state("ready"), time.Minute, 20*time.Millisecond)
	t.Run("another one", func(t *testing.T) {
		startSite(t, databaseURL, pool)
		require.Eventually(t, func() bool {
			text, _ := s.get("/console").card(t, "API")
			return strings.HasPrefix(text, "2 ready 2 running")
		}, time.Minute, 20*time.Millisecond)
	}) // its API stops with it
	require.True(t, state("stopped")(), s.get("/console").text())
	text, _ := s.get("/console").card(t, "API")
	require.Equal(t, "1 ready 1 running", text)
}

// Without its database the page says so in plain words.
func TestOverviewWithoutDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.pool.Config().ConnConfig.Copy()
	name := config.Database
	config.Database = "postgres"
	admin, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer admin.Close(context.WithoutCancel(t.Context()))
	_, err = admin.Exec(t.Context(), `ALTER DATABASE "`+name+`" ALLOW_CONNECTIONS false`)
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()`, name)
	require.NoError(t, err)
	for range 3 { // with connections that were lost, then without any
		r := s.get("/console")
		require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
		require.Contains(t, r.text(), "the database can't be reached at the moment")
		require.Contains(t, r.links(), "/console/dlq", "the navigation is still there")
	}
	trouble := s.live(t, "/console", "").next()
	require.Equal(t, "trouble", trouble.event)
	require.Equal(t, "The database does not answer; this page waits for it.", trouble.data.Detail)
	_, err = admin.Exec(t.Context(), `ALTER DATABASE "`+name+`" ALLOW_CONNECTIONS true`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.get("/console").StatusCode == http.StatusOK }, time.Minute, 20*time.Millisecond)
}
