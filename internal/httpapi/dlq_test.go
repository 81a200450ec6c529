package httpapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

// fail takes an event on whose webhook answers with a status, and returns the letter's id.
func (s *site) fail(t *testing.T, status int, title string) (event, letter string) {
	t.Helper()
	a := s.post(t, "/v1/deliveries", map[string]any{
		"alert_id": "nav-drop", "user_id": "ada", "title": title, "message": uuid.NewString(),
		"channels": map[string]any{"webhook": map[string]any{"url": receiver(t, status) + "/hook?token=t0ken"}},
	})
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	var r api.DeliveryReceipt
	a.into(&r)
	return r.EventId.String(), r.Channels["webhook"].DeadLetterId.String()
}

func (s *site) trail(t *testing.T, query string) []string {
	t.Helper()
	var page struct {
		Items []api.AuditEntry `json:"items"`
	}
	s.get(t, "/v1/audit?"+query).into(&page)
	list := []string{}
	for _, e := range page.Items {
		reason := ""
		if e.Reason != nil {
			reason = *e.Reason
		}
		list = append(list, e.Actor+" "+e.Action+" "+reason)
	}
	return list
}

func TestDeadLettersForOperators(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	event, gone := s.fail(t, 404, "NAV fell")
	_, waiting := s.fail(t, 503, "FX jumped")

	var page struct {
		Items []api.DeadLetter `json:"items"`
	}
	for query, want := range map[string]int{
		"q=nav%20FELL": 1, "q=ANSWERED": 2, "user_id=ada": 2, "user_id=bob": 0, "destination=ops": 0, "operation_id=" + uuid.NewString(): 0,
		"created_after=" + url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339)):  2,
		"created_before=" + url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339)): 0,
	} {
		s.get(t, "/v1/dlq?"+query).into(&page)
		require.Len(t, page.Items, want, query)
	}

	var detail api.DeadLetterDetail
	s.get(t, "/v1/dlq/"+gone).into(&detail)
	require.Contains(t, detail.Why, "404")
	require.Equal(t, "nothing by itself: mend the cause and replay it, or discard it", detail.Next)
	s.get(t, "/v1/dlq/"+waiting).into(&detail)
	require.Contains(t, detail.Next, "attempt 2 at ")

	a := s.get(t, "/v1/deliveries/"+event+"/explain")
	require.NotContains(t, string(a.body), "t0ken")
	var x api.Explanation
	a.into(&x)
	require.Len(t, x.Timeline, 3, "accepted, attempted, given up: %s", a.body)
	require.Equal(t, gone, x.Targets[0].DeadLetterId.String())
	s.get(t, "/v1/deliveries/"+uuid.NewString()+"/explain").problem(404, fault.NotFound)

	var stats api.DeadLetterStats
	s.get(t, "/v1/dlq/stats").into(&stats)
	require.True(t, stats.Complete)
	require.Equal(t, 2, stats.Channels[0].Letters)
	require.Len(t, stats.Causes, 2)
	require.Equal(t, "webhook", stats.Destinations[0].Target)
	require.Len(t, stats.States, 2)

	a = s.post(t, "/v1/dlq/"+gone+"/replay", map[string]any{"reason": "it is back"}, "X-Client", "cli")
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	a = s.do(t, http.MethodPost, "/v1/dlq/"+gone+"/discard", nil)
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	s.do(t, http.MethodPost, "/v1/dlq/"+gone+"/discard", nil).problem(409, fault.Conflict)
	s.do(t, http.MethodPost, "/v1/dlq/"+uuid.NewString()+"/replay", nil).problem(404, fault.NotFound)
	s.post(t, "/v1/dlq/"+gone+"/replay", map[string]any{"why": "typing error"}).problem(422, fault.Invalid)
	s.do(t, http.MethodPost, "/v1/dlq/"+gone+"/replay", nil, "X-Client", "mallory").problem(422, fault.Invalid)
	require.Equal(t, []string{"api dead_letter.discard ", "cli dead_letter.replay it is back"}, s.trail(t, "subject=dead_letter&subject_id="+gone))
	require.Empty(t, s.trail(t, "actor=system"))
	require.NoError(t, testutil.GatherAndCompare(s.registry, strings.NewReader(`
# HELP dawsos_dead_letters_released_total Dead letters that were made due or discarded, by kind (replay, discard, drain) and by whether each was acted on singly or an operation took it on.
# TYPE dawsos_dead_letters_released_total counter
dawsos_dead_letters_released_total{kind="discard",scope="single"} 1
dawsos_dead_letters_released_total{kind="replay",scope="single"} 1
`), "dawsos_dead_letters_released_total"), "what was refused released nothing")
}

func TestOperationsOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for range 3 {
		s.fail(t, 404, "NAV fell")
	}
	all := map[string]any{"all": true}

	var preview api.OperationPreview
	a := s.post(t, "/v1/dlq/replay", map[string]any{"filter": map[string]any{"state": "exhausted", "search": "nav"}, "dry_run": true})
	require.Equal(t, http.StatusOK, a.status)
	a.into(&preview)
	require.Equal(t, 3, preview.Total)
	require.Len(t, preview.Sample, 3)
	require.Empty(t, s.trail(t, ""))

	for name, body := range map[string]any{
		"/filter":              map[string]any{"filter": map[string]any{"all": false}},
		"/filter/all":          map[string]any{"filter": map[string]any{"all": true, "state": "pending"}},
		"/filter/state":        map[string]any{"filter": map[string]any{"state": "expired"}},
		"/per_second":          map[string]any{"filter": all, "per_second": 1001},
		"/stop_after_failures": map[string]any{"filter": all, "stop_after_failures": -1},
	} {
		s.post(t, "/v1/dlq/replay", body).invalid(name)
	}
	s.post(t, "/v1/dlq/discard", map[string]any{"filter": map[string]any{"state": "discarded"}}).invalid("/filter/state")
	a = s.post(t, "/v1/dlq/replay", map[string]any{"filter": map[string]any{"operation_id": "01958a3c-7a1e-7bb0-9d3c-000000000001"}, "dry_run": true})
	a.into(&preview)
	require.Zero(t, preview.Total, "that operation has taken on none")
	s.post(t, "/v1/dlq/replay", map[string]any{"filter": map[string]any{}}).problem(422, fault.Invalid)
	s.post(t, "/v1/dlq/replay", map[string]any{}).problem(422, fault.Invalid)

	var o api.Operation
	a = s.post(t, "/v1/dlq/replay", map[string]any{"filter": all, "reason": "it is back", "per_second": 2, "stop_after_failures": 0}, "X-Client", "cli")
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	a.into(&o)
	require.Equal(t, 3, o.Remaining)
	require.True(t, *o.Filter.All)
	one := "/v1/dlq/operations/" + o.Id.String()
	s.do(t, http.MethodPost, one+"/continue", nil).problem(409, fault.Conflict)
	s.post(t, one+"/cancel", map[string]any{"reason": "wrong one"}).into(&o)
	require.Equal(t, api.OperationStateCancelled, o.State)
	require.Equal(t, "cancelled by api: wrong one", *o.StopReason)
	a = s.do(t, http.MethodPost, one+"/continue", nil)
	require.Equal(t, http.StatusAccepted, a.status)
	s.get(t, one).into(&o)
	require.Equal(t, api.OperationStateRunning, o.State)
	a = s.post(t, "/v1/dlq/discard", map[string]any{"filter": map[string]any{"cause": "http_4xx"}})
	require.Equal(t, http.StatusAccepted, a.status)

	var page struct {
		Items []api.Operation `json:"items"`
		Next  *string         `json:"next_cursor"`
	}
	s.get(t, "/v1/dlq/operations?limit=1").into(&page)
	require.Equal(t, api.OperationKindDiscard, page.Items[0].Kind)
	s.get(t, "/v1/dlq/operations?limit=1&cursor="+*page.Next).into(&page)
	require.Equal(t, o.Id, page.Items[0].Id)
	require.Nil(t, page.Next)
	s.get(t, "/v1/dlq/operations/"+uuid.NewString()).problem(404, fault.NotFound)
	require.Equal(t, []string{"api operation.continue ", "api operation.cancel wrong one", "cli operation.start it is back"},
		s.trail(t, "subject_id="+o.Id.String()))
	require.Len(t, s.trail(t, "action=operation.start&actor=api"), 1)
	require.Len(t, s.trail(t, "limit=1"), 1)
}

func TestPeriodicJobs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	jobs := func() map[string]api.PeriodicJob {
		var page struct {
			Items []api.PeriodicJob `json:"items"`
		}
		s.get(t, "/v1/jobs").into(&page)
		byName := map[string]api.PeriodicJob{}
		for _, j := range page.Items {
			byName[j.Name] = j
		}
		return byName
	}
	require.Equal(t, api.PeriodicJobStateNever, jobs()["reconcile_deliveries"].State)
	run := "/v1/jobs/reconcile_deliveries/run"
	a := s.post(t, run, map[string]any{"reason": "after the outage"})
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.Equal(t, api.PeriodicJobStateWaiting, jobs()["reconcile_deliveries"].State)
	s.do(t, http.MethodPost, run, nil).problem(409, fault.Conflict)
	s.do(t, http.MethodPost, "/v1/jobs/retry_delivery/run", nil).problem(404, fault.NotFound)
	require.Equal(t, []string{"api job.run after the outage"}, s.trail(t, "subject=job"))

	for _, c := range []struct {
		state string
		want  api.PeriodicJobState
	}{
		{"running", api.PeriodicJobStateRunning}, {"completed", api.PeriodicJobStateSucceeded}, {"discarded", api.PeriodicJobStateFailed},
	} {
		_, err := s.pool.Exec(t.Context(), `
			UPDATE river_job SET state = $1::river_job_state, attempted_at = now(), finalized_at = CASE WHEN $1 <> 'running' THEN now() END`, c.state)
		require.NoError(t, err)
		j := jobs()["reconcile_deliveries"]
		require.Equal(t, c.want, j.State)
		require.NotNil(t, j.LastStartedAt)
		require.WithinDuration(t, time.Now().Add(10*time.Second), *j.NextAt, 10*time.Second)
	}
	a = s.do(t, http.MethodPost, run, nil)
	require.Equal(t, http.StatusAccepted, a.status, "the last one has ended")
}
