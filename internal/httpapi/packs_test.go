package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/pkg/api"
)

type packPage struct {
	Items      []api.PricingPack `json:"items"`
	NextCursor *string           `json:"next_cursor"`
}

func (s *site) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := s.pool.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func TestPricingPacks(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	var page packPage
	s.get(t, "/v1/pricing-packs?limit=2&from=2007-05-01&to=2007-05-04").into(&page)
	require.Len(t, page.Items, 2)
	require.Equal(t, "2007-05-04", page.Items[0].Date)
	require.Equal(t, "fresh", page.Items[0].State)
	require.NotNil(t, page.NextCursor)
	var next packPage
	s.get(t, "/v1/pricing-packs?limit=2&from=2007-05-01&to=2007-05-04&cursor="+*page.NextCursor).into(&next)
	require.NotEmpty(t, next.Items)
	require.Less(t, next.Items[0].Date, page.Items[1].Date)
	s.get(t, "/v1/pricing-packs?state=error").into(&page)
	require.Empty(t, page.Items)
	s.get(t, "/v1/pricing-packs?state=ripe").invalid("/query/state")
	s.get(t, "/v1/pricing-packs?from=yesterday").invalid("/query/from")

	var pack api.PricingPack
	s.get(t, "/v1/pricing-packs/"+next.Items[0].Id.String()).into(&pack)
	require.Equal(t, next.Items[0], pack)
	s.get(t, "/v1/pricing-packs/00000000-0000-0000-0000-000000000000").problem(404, fault.NotFound)
}

func TestPricingPacksAreAskedFor(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	const target = "/v1/pricing-packs"
	var build api.PackBuild
	a := s.do(t, http.MethodPost, target, nil)
	require.Equal(t, http.StatusOK, a.status, "all days have one")
	a.into(&build)
	require.Equal(t, api.PackBuild{}, build)
	a = s.post(t, target, map[string]string{"date": "2007-05-06"})
	a.invalid("/date")
	require.Contains(t, string(a.body), "closes are from 2000-01-03 to 2007-05-08, next to it 2007-05-04 and 2007-05-07")
	s.post(t, target, map[string]string{"date": "2030-01-01"}).invalid("/date")
	s.post(t, target, map[string]string{"day": "2007-05-08"}).invalid("/day")

	s.exec(t, `DELETE FROM pricing_packs WHERE date >= '2007-05-07'`)
	a = s.post(t, target, map[string]string{"date": "2007-05-08", "reason": "gone"})
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	a.into(&build)
	require.Equal(t, 1, build.Made)
	require.Equal(t, "warming", build.Pack.State)
	require.Equal(t, target+"/"+build.Pack.Id.String(), a.header.Get("Location"))
	again := s.post(t, target, map[string]string{"date": "2007-05-08"})
	require.Equal(t, http.StatusOK, again.status, "it is there")
	require.Equal(t, []string{"api pricing_pack.build gone"}, s.trail(t, "subject=pricing_pack"))

	// What would serve is not ready, and says so.
	execute := "/v1/patterns/portfolio_overview/execute"
	inputs := map[string]string{"portfolio_id": sample.PortfolioID()}
	refused := s.post(t, execute, map[string]any{"inputs": inputs, "asof": "2007-05-08"})
	refused.problem(503, fault.PackNotFresh)
	require.Equal(t, "30", refused.header.Get("Retry-After"))
	var p api.Problem
	refused.into(&p)
	require.Equal(t, []any{build.Pack.Id, "2007-05-08", "warming"}, []any{p.PricingPack.Id, p.PricingPack.Date, p.PricingPack.State})
	require.Nil(t, p.PricingPack.EstimatedReady)

	// With orders behind it there is an estimate.
	s.exec(t, `INSERT INTO job_runs (id, job, trigger, chain, status, started_at, ended_at) VALUES
		(gen_random_uuid(), 'build_packs', 'schedule', '0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a', 'succeeded', now() - interval '2 hours', now() - interval '2 hours'),
		(gen_random_uuid(), 'mark_fresh', 'chain', '0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a', 'succeeded', now() - interval '1 hour', now() - interval '1 hour')`)
	refused = s.post(t, execute, map[string]any{"inputs": inputs, "asof": "2007-05-08"})
	var timed api.Problem
	refused.into(&timed)
	require.NotNil(t, timed.PricingPack.EstimatedReady, "an order waits to begin, and the last took an hour")
	require.WithinDuration(t, time.Now().Add(time.Hour), *timed.PricingPack.EstimatedReady, time.Minute)
	require.InDelta(t, 3600, *timed.RetryAfterSeconds, 60)

	// Whoever takes any pack, and whoever names no day, is served.
	require.Equal(t, http.StatusOK, s.post(t, execute, map[string]any{"inputs": inputs, "asof": "2007-05-08", "require_fresh": false}).status)
	a = s.post(t, execute, map[string]any{"inputs": inputs})
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, string(a.body), `"asof":"2007-05-04"`)

	a = s.do(t, http.MethodPost, target, nil)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.Equal(t, target+"?state=warming", a.header.Get("Location"))
	var rest api.PackBuild
	a.into(&rest)
	require.Equal(t, []any{1, "2007-05-07", "2007-05-07"}, []any{rest.Made, *rest.FirstDate, *rest.LastDate})

	s.exec(t, `UPDATE pricing_packs SET state = 'error', reason = 'off by 3' WHERE date = '2007-05-08'`)
	refused = s.post(t, execute, map[string]any{"inputs": inputs, "asof": "2007-05-08"})
	refused.problem(503, fault.PackNotFresh)
	require.Empty(t, refused.header.Get("Retry-After"), "waiting does not help")
	require.Contains(t, string(refused.body), `"reason":"off by 3"`)
	require.Equal(t, http.StatusAccepted, s.post(t, target, map[string]string{"date": "2007-05-08"}).status, "another try")
}

func TestJobRunsArePaged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.exec(t, `INSERT INTO job_runs (id, job, trigger, status, started_at, ended_at, error, detail)
		SELECT ('01958a3c-7a1e-7bb0-9d3c-0000000000' || lpad(n::text, 2, '0'))::uuid, 'backup', 'schedule', 'failed', now(), now(), 'no room', '{"n": 1}'
		FROM generate_series(1, 5) AS n`)
	type page struct {
		Items      []api.JobRun `json:"items"`
		NextCursor *string      `json:"next_cursor"`
	}
	var first, second page
	s.get(t, "/v1/jobs/backup/runs?limit=3").into(&first)
	require.Len(t, first.Items, 3)
	require.True(t, strings.HasSuffix(first.Items[0].Id.String(), "05"), "newest first")
	require.Equal(t, "no room", *first.Items[0].Error)
	s.get(t, "/v1/jobs/backup/runs?limit=3&cursor="+*first.NextCursor).into(&second)
	require.Len(t, second.Items, 2)
	require.Nil(t, second.NextCursor)
	s.get(t, "/v1/jobs/retry_delivery/runs").problem(404, fault.NotFound)
	s.get(t, "/v1/jobs/backup/runs?cursor=x").invalid("/query/cursor")

	var jobs struct {
		Items []api.PeriodicJob `json:"items"`
	}
	s.get(t, "/v1/jobs").into(&jobs)
	for _, j := range jobs.Items {
		switch j.Name {
		case "backup":
			require.Equal(t, api.PeriodicJobStateFailed, j.State)
			require.Len(t, j.Runs, 5)
			require.Nil(t, j.LastSuccessAt)
			require.Equal(t, "evaluate_alerts", *j.After)
		case "evaluate_alerts":
			require.Equal(t, "1m0s", j.Schedule)
			require.InDelta(t, 60, *j.IntervalSeconds, 0)
		case "build_packs":
			require.Equal(t, "off", j.Schedule)
			require.Nil(t, j.NextAt)
			require.Nil(t, j.After)
		}
	}
}
