package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/pkg/api"
)

const alertsURL = "/v1/alerts"

// newRule creates one and returns it with its address.
func newRule(t *testing.T, s *site, fields string) (api.AlertRule, string) {
	t.Helper()
	a := s.post(t, alertsURL, `{"user_id":"ada","name":"n",`+fields+`}`)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	var r api.AlertRule
	a.into(&r)
	return r, a.header.Get("Location")
}

const (
	lowSBI  = `"condition":{"type":"price","symbol":"SBI","metric":"close","op":"<","value":1000}`
	highSBI = `"condition":{"type":"price","symbol":"SBI","metric":"close","op":">","value":1000}`
)

func TestAlertRulesFromCreationToDeletion(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	example := s.document.root["paths"].(map[string]any)[alertsURL].(map[string]any)["post"].(map[string]any)
	content := example["requestBody"].(map[string]any)["content"].(map[string]any)["application/json"].(map[string]any)
	require.Equal(t, http.StatusCreated, s.post(t, alertsURL, content["example"]).status, "the document's example works")

	a := s.post(t, alertsURL, `{"user_id":"ada","name":"SBI","severity":null,`+lowSBI+`,
		"channels":{"inapp":true,"webhook":{"url":"http://127.0.0.1:9/hook?token=secret"}}}`)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	require.NotContains(t, string(a.body), "secret", "what is secret in an address is not shown")
	require.Contains(t, string(a.body), `"http://127.0.0.1:9/…"`)
	where, tag := a.header.Get("Location"), a.header.Get("ETag")
	require.Equal(t, `"1"`, tag)
	require.Equal(t, a.object(), s.get(t, where).object())

	patch := func(body string, header ...string) *answer { return s.do(t, http.MethodPatch, where, body, header...) }
	a = patch(`{"name":"SBI is low","cooldown_hours":48}`, "If-Match", tag, "X-Reason", "calmer")
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, `"2"`, a.header.Get("ETag"))
	require.Equal(t, "SBI is low", a.object()["name"])
	patch(`{"name":"late"}`, "If-Match", tag).problem(http.StatusConflict, fault.Conflict)
	patch(`{"name":"x"}`, "If-Match", `"no"`).invalid("/header/If-Match")
	patch(`{"condition":{"type":"price","symbol":"SBI","metric":"clos","op":"<","value":1}}`).invalid("/condition/metric")
	patch(`{"channels":{"destination":["nowhere"]}}`).invalid("/channels/destination/0")
	patch(`{"revision":7}`).invalid("/revision")
	require.Equal(t, http.StatusOK, patch(`{"severity":"critical"}`).status, "whoever does not mind needs no tag")

	gone := s.do(t, http.MethodDelete, where, nil, "If-Match", `"2"`)
	gone.problem(http.StatusConflict, fault.Conflict)
	require.Equal(t, http.StatusNoContent, s.do(t, http.MethodDelete, where, nil, "X-Reason", "sold").status)
	s.get(t, where).problem(http.StatusNotFound, fault.NotFound)
	patch(`{}`).problem(http.StatusNotFound, fault.NotFound)
	s.do(t, http.MethodDelete, where, nil).problem(http.StatusNotFound, fault.NotFound)
	s.post(t, where+"/snooze", `{"duration_seconds":1}`).problem(http.StatusNotFound, fault.NotFound)
	s.post(t, where+"/ack", nil).problem(http.StatusNotFound, fault.NotFound)
	s.post(t, where+"/test", nil).problem(http.StatusNotFound, fault.NotFound)
}

func TestWhatIsWrongWithAnAlertRuleIsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, tt := range []struct {
		name, body string
		pointers   []string
	}{
		{"nothing given", `{}`, []string{"/condition", "/name", "/user_id"}},
		{"an unknown field", `{"user_id":"a","name":"n","titel":"x",` + lowSBI + `}`, []string{"/titel"}},
		{"deep in a condition", `{"user_id":"a","name":"n","condition":{"any":[{"type":"regime_shift"},{"not":{"type":"macro","entity":"A","op":"=>","value":1}}]}}`, []string{"/condition/any/1/not/op"}},
		{"a placeholder", `{"user_id":"a","name":"n","title":"{{valeu}}",` + lowSBI + `}`, []string{"/title"}},
		{"a cooldown", `{"user_id":"a","name":"n","cooldown_hours":9000,` + lowSBI + `}`, []string{"/cooldown_hours"}},
		{"no channel", `{"user_id":"a","name":"n","notify_inapp":false,` + lowSBI + `}`, []string{"/channels"}},
		{"mail to nobody", `{"user_id":"a","name":"n","notify_email":true,` + lowSBI + `}`, []string{"/notify_email"}},
		{"a webhook's scheme", `{"user_id":"a","name":"n","channels":{"webhook":{"url":"ftp://x"}},` + lowSBI + `}`, []string{"/channels/webhook/url"}},
		{"another type", `{"user_id":"a","name":"n","type":"macro",` + lowSBI + `}`, []string{"/type"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := s.post(t, alertsURL, tt.body)
			a.t = t
			a.invalid(tt.pointers...)
		})
	}
	s.get(t, alertsURL+"?state=quiet").invalid("/query/state")
	s.get(t, alertsURL+"?cursor=x").invalid("/query/cursor")
	s.get(t, alertsURL+"/"+uuid.NewString()).problem(http.StatusNotFound, fault.NotFound)
}

func TestAlertRulesAreListedInPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, fields := range []string{lowSBI, lowSBI + `,"active":false`, `"condition":{"type":"regime_shift"}`} {
		newRule(t, s, fields)
	}
	walk := func(query string) int {
		n := 0
		for next := ""; ; {
			var page struct {
				Items []api.AlertRule
				Next  *string `json:"next_cursor"`
			}
			s.get(t, alertsURL+"?limit=1"+query+next).into(&page)
			n += len(page.Items)
			if page.Next == nil {
				return n
			}
			next = "&cursor=" + *page.Next
		}
	}
	require.Equal(t, 3, walk(""))
	require.Equal(t, 1, walk("&active=false"))
	require.Equal(t, 2, walk("&type=price"))
	require.Equal(t, 3, walk("&state=ok&user_id=ada"))
	require.Zero(t, walk("&user_id=bob"))
}

func TestTestingAnAlertRuleSaysWhatItWouldDo(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	trial := func(where string) (out api.AlertTrial) {
		t.Helper()
		a := s.post(t, where+"/test", nil)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		a.into(&out)
		return out
	}
	_, low := newRule(t, s, lowSBI+`,"title":"{{symbol}} at {{value}}"`)
	got := trial(low)
	require.True(t, got.WouldFire)
	require.Equal(t, "fires", got.Reason)
	require.Equal(t, "SBI at "+got.Observed[0].Value.String(), got.Title)
	require.Equal(t, "1000", got.Observed[0].Threshold.String())
	require.True(t, *got.Channels.Inapp)
	require.JSONEq(t, `["condition","name","observed","rule_id","type"]`, keysOf(t, got.Data))

	_, high := newRule(t, s, highSBI)
	got = trial(high)
	require.False(t, got.WouldFire)
	require.Equal(t, "The condition is not met.", got.Explanation)

	_, rating := newRule(t, s, `"condition":{"type":"rating","symbol":"SBI","metric":"moat_score","op":"<","value":5}`)
	got = trial(rating)
	require.Equal(t, "unknown", got.Result)
	require.Contains(t, got.Explanation, "no moat_score of SBI is stored")
	require.Equal(t, "/condition", got.Unknown[0].Pointer)

	// The figures are those of the overview.
	_, risky := newRule(t, s, `"condition":{"all":[
		{"type":"metric","portfolio_id":"`+sample.PortfolioID()+`","metric":"twr_1y","op":">","value":0.1368},
		{"type":"metric","portfolio_id":"`+sample.PortfolioID()+`","metric":"max_drawdown_1y","op":"<=","value":0.056},
		{"type":"metric","portfolio_id":"`+sample.PortfolioID()+`","metric":"nav","op":">","value":0},
		{"not":{"type":"drawdown_limit","portfolio_id":"`+sample.PortfolioID()+`"}},
		{"not":{"type":"dar_breach","portfolio_id":"`+sample.PortfolioID()+`"}}]}`)
	got = trial(risky)
	require.Len(t, got.Observed, 5, "%v", got.Unknown)
	require.Empty(t, got.Problem)
	for _, o := range got.Observed {
		require.NotEmpty(t, o.Value)
	}
}

func keysOf(t *testing.T, object json.RawMessage) string {
	t.Helper()
	var m map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(object, &m))
	names := make([]string, 0, len(m))
	for _, name := range []string{"condition", "name", "observed", "rule_id", "type"} {
		if _, ok := m[name]; ok {
			names = append(names, name)
		}
	}
	require.Len(t, m, len(names))
	raw, err := json.Marshal(names)
	require.NoError(t, err)
	return string(raw)
}

func TestEvaluatingSnoozingAndAcknowledging(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	rule, where := newRule(t, s, lowSBI+`,"cooldown_hours":1`)
	doubtful, _ := newRule(t, s, `"condition":{"type":"rating","symbol":"EMR","metric":"moat_score","op":">","value":5}`)
	newRule(t, s, `"condition":{"type":"regime_shift"}`)

	s.post(t, where+"/ack", nil).problem(http.StatusConflict, fault.Conflict)
	var report api.AlertEvaluation
	a := s.post(t, alertsURL+"/evaluate", `{"ids":["`+rule.Id.String()+`"]}`)
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	a.into(&report)
	require.Equal(t, 1, report.Fired)
	require.Equal(t, rule.Id, report.FiredRules[0].Id)
	event := s.get(t, "/v1/deliveries/"+report.FiredRules[0].EventId.String())
	require.Equal(t, rule.Id.String(), event.object()["alert_id"])

	s.post(t, alertsURL+"/evaluate", nil).into(&report)
	require.Equal(t, 3, report.Evaluated)
	require.Zero(t, report.Fired, "one cools down, and the regime is that of four weeks before")
	require.Equal(t, 1, report.Unknown)
	require.Equal(t, doubtful.Id, report.UnknownRules[0].Id)
	require.Contains(t, report.UnknownRules[0].Unknown[0].Reason, "no moat_score of EMR is stored")
	require.Equal(t, "firing", s.get(t, where).object()["state"])

	require.Equal(t, "acknowledged", s.post(t, where+"/ack", `{"reason":"known"}`).object()["state"])
	require.Equal(t, "acknowledged", s.post(t, where+"/ack", nil).object()["state"], "twice is no error")
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	snoozed := s.post(t, where+"/snooze", map[string]any{"until": until, "reason": "holiday"}).object()
	require.Equal(t, "snoozed", snoozed["state"])
	require.Equal(t, until.Format(time.RFC3339), snoozed["snoozed_until"])
	require.Equal(t, "snoozed", s.post(t, where+"/snooze", `{"duration_seconds":60}`).object()["state"])
	require.Equal(t, "ok", s.post(t, where+"/snooze", `{"duration_seconds":0}`).object()["state"])
	s.post(t, where+"/snooze", `{"duration_seconds":0}`).problem(http.StatusConflict, fault.Conflict)
	s.post(t, where+"/snooze", `{}`).invalid("/until")
	s.post(t, where+"/snooze", map[string]any{"until": until, "duration_seconds": 1}).invalid("/until")
	s.post(t, where+"/snooze", map[string]any{"until": time.Now().Add(-time.Second)}).invalid("/until")
	s.post(t, where+"/snooze", map[string]any{"until": time.Now().AddDate(1, 0, 2)}).invalid("/until")
	s.post(t, alertsURL+"/evaluate", `{"ids":["`+uuid.NewString()+`"]}`).invalid("/ids/0")
}
