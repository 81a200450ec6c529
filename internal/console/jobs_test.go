package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// elementText is the text of the element with an id, with single spaces.
func elementText(t *testing.T, r response, id string) string {
	t.Helper()
	for n := range r.tree.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, a := range n.Attr {
			if a.Key == "id" && a.Val == id {
				return response{tree: n}.text()
			}
		}
	}
	require.Fail(t, "no element has the id", id)
	return ""
}

func TestJobsShowWhatTheyAre(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	page := s.get("/console/jobs")
	require.Equal(t, http.StatusOK, page.StatusCode)

	order := elementText(t, page, "nightly")
	previous := -1
	for _, name := range []string{"build packs Makes", "reconcile packs Values", "compute metrics Computes", "prewarm Has", "mark fresh Makes", "evaluate alerts Evaluates", "backup Dumps"} {
		at := strings.Index(order, name)
		require.Greater(t, at, previous, "%s is not in its place of %s", name, order)
		previous = at
	}
	require.Contains(t, order, "backup Dumps the database and verifies the dump by restoring it. off BACKUP_DIR is not set")
	others := elementText(t, page, "others")
	require.Contains(t, others, "no data provider has a key: set FRED_API_KEY, FMP_API_KEY or NEWS_API_KEY")
	require.Contains(t, others, "no run is known")
	require.NotContains(t, page.links(), "/console/jobs/fetch_data/run", "a job that can't run has no button")
	require.Contains(t, page.links(), "/console/jobs/build_packs/run")
}

func TestRunJobByHand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const path = "/console/jobs/build_packs"
	form := s.get(path + "/run")
	require.Equal(t, http.StatusOK, form.StatusCode)
	require.Contains(t, form.text(), "The whole nightly order follows it.")

	long := strings.Repeat("x", 501)
	wrong := s.post(path+"/run", url.Values{"reason": {long}})
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Contains(t, wrong.text(), "at most 500 characters")
	require.Contains(t, wrong.body, long, "what was typed is still there")
	require.Contains(t, wrong.body, `aria-describedby="reason-wrong"`)

	ran := s.post(path+"/run", url.Values{"reason": {"new prices"}})
	require.Equal(t, http.StatusSeeOther, ran.StatusCode)
	page := s.get(ran.Header.Get("Location"))
	require.Contains(t, page.text(), "The job build packs is queued")
	require.Contains(t, elementText(t, page, "job-state"), "It can't be started a second time while it is waiting.")
	require.Contains(t, s.api(http.MethodGet, "/v1/audit?action=job.run", "", http.StatusOK), `"reason":"new prices"`)
	require.Contains(t, s.api(http.MethodGet, "/v1/audit?action=job.run", "", http.StatusOK), `"actor":"console"`)

	again := s.post(path+"/run", nil)
	require.Equal(t, http.StatusConflict, again.StatusCode)
	require.Contains(t, again.text(), "job build_packs waits or runs already")
}

func TestJobThatIsOffSaysWhy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	page := s.get("/console/jobs/fetch_data")
	require.Contains(t, page.text(), "It can't be run by hand: no data provider has a key")
	form := s.get("/console/jobs/fetch_data/run")
	require.Contains(t, form.text(), "It can't run: no data provider has a key")
	require.NotContains(t, form.body, "<form method=\"post\"")
	refused := s.post("/console/jobs/fetch_data/run", nil)
	require.Equal(t, http.StatusConflict, refused.StatusCode)
	require.Contains(t, refused.text(), "job fetch_data is off")
	require.Equal(t, http.StatusNotFound, s.get("/console/jobs/nothing").StatusCode)
	require.Equal(t, http.StatusNotFound, s.get("/console/jobs/nothing/run").StatusCode)
}

func TestJobRunsAreListedByPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.Contains(t, s.get("/console/jobs/prune_runs").text(), "No run is recorded")
	begin := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	for i := range 60 {
		id := uuid.MustParse(fmt.Sprintf("01a22a24-c36f-7000-8000-%012d", i))
		_, err := s.pool.Exec(t.Context(), `INSERT INTO job_runs (id, job, trigger, chain, attempt, status, started_at, ended_at, error, detail)
			VALUES ($1, 'prune_runs', 'schedule', $2, 1, $3, $4::timestamptz, $4::timestamptz + interval '2500 ms', $5, $6)`,
			id, id, map[bool]string{true: "failed", false: "succeeded"}[i == 59], begin.Add(time.Duration(i)*time.Minute),
			map[bool]*string{true: new("disk <full>")}[i == 59], map[bool]string{true: `{}`, false: `{"deleted": 7}`}[i == 59])
		require.NoError(t, err)
	}
	page := s.get("/console/jobs/prune_runs")
	runs := elementText(t, page, "runs")
	require.Contains(t, runs, "2026-03-01 12:59:00 failed schedule 2.5 s 1 disk <full> "+"…00000059")
	require.NotContains(t, page.body, "<full>")
	require.Contains(t, runs, `"deleted": 7`)
	require.Contains(t, runs, "12:10:00")
	require.NotContains(t, runs, "12:09:00")

	var next string
	for _, link := range page.links() {
		if strings.Contains(link, "cursor=") {
			next = link
		}
	}
	require.NotEmpty(t, next)
	rest := s.get(next)
	require.Contains(t, elementText(t, rest, "runs"), "12:09:00")
	require.NotContains(t, elementText(t, rest, "runs"), "12:10:00")
	require.Contains(t, rest.links(), "/console/jobs/prune_runs")
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/jobs/prune_runs?cursor=!").StatusCode)

	list := s.get("/console/jobs")
	require.Contains(t, elementText(t, list, "others"), "failed disk <full>", "the list says why the last run failed")
}
