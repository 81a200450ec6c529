package console_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/sample"
)

// ruleForm is the editor's form of a rule with one comparison, whose fields are given as name and value.
func ruleForm(fields ...string) url.Values {
	form := url.Values{
		"name": {"Restless"}, "user_id": {"ada"}, "severity": {"critical"}, "cooldown_hours": {"6"}, "inapp": {"yes"}, "active": {"yes"},
		"mode": {"fields"}, "rows": {"1"}, "join": {"all"}, "type-0": {"price"}, "subject-0": {"SBI"}, "metric-0": {"close"}, "op-0": {"<"}, "value-0": {"95"},
	}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return form
}

// form is what a browser would send of a page's form: fields with their values, selections and texts.
func (r response) form(id string) url.Values {
	values := url.Values{}
	for n := range r.byID(id).Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		name := attribute(n, "name")
		switch kind := attribute(n, "type"); {
		case name == "":
		case n.Data == "input" && (kind == "checkbox" || kind == "radio") && !hasAttribute(n, "checked"):
		case n.Data == "input":
			values.Add(name, attribute(n, "value"))
		case n.Data == "textarea":
			values.Add(name, strings.TrimPrefix(response{tree: n}.rawText(), "\n"))
		case n.Data == "select":
			chosen, first := "", true
			for o := range n.ChildNodes() {
				if o.Type != html.ElementNode {
					continue
				}
				value := (response{tree: o}).text()
				if hasAttribute(o, "value") {
					value = attribute(o, "value")
				}
				if first || hasAttribute(o, "selected") {
					chosen, first = value, false
				}
			}
			values.Add(name, chosen)
		}
	}
	return values
}

func (r response) rawText() string {
	var b strings.Builder
	for n := range r.tree.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	return b.String()
}

// newRule creates a rule through the API and returns its page's address.
func (s *site) newRule(fields string) string {
	s.t.Helper()
	return "/console/alerts/" + gjson.Get(s.api(http.MethodPost, "/v1/alerts", `{"user_id": "ada", `+fields+`}`, http.StatusCreated), "id").String()
}

const (
	lowSBI  = `"name": "SBI is low", "condition": {"type": "price", "symbol": "SBI", "metric": "close", "op": "<", "value": 95}`
	highSBI = `"name": "SBI is high", "condition": {"type": "price", "symbol": "SBI", "metric": "close", "op": ">", "value": 95}`
)

// follow goes where an answer leads.
func (s *site) follow(r response) response {
	s.t.Helper()
	require.Equal(s.t, http.StatusSeeOther, r.StatusCode, r.text())
	return s.get(r.Header.Get("Location"))
}

// newRuleSite is a sample's site on which rules may use all channels.
func newRuleSite(t *testing.T) *site {
	t.Helper()
	return newSampleSite(t, "WEBHOOK_ALLOW_PRIVATE", "true", "WEBHOOK_SECRET", webhookSecret, "SMTP_URL", "smtp://127.0.0.1:9", "SMTP_FROM", "dawsos@example.com")
}

func TestRulesEmpty(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	page := s.get("/console/alerts")
	require.Contains(t, page.text(), "There are no alert rules yet")
	require.Contains(t, page.links(), "/console/alerts/new")
	require.Nil(t, page.byID("evaluate-shown"), "there is nothing to evaluate")
	require.Contains(t, s.get("/console/alerts?state=firing").text(), "No rule matches this filter")
}

func TestRulesAreListedAndFiltered(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	portfolio := sample.PortfolioID()
	low := s.newRule(lowSBI)
	high := s.newRule(highSBI + `, "channels": {"webhook": {"url": "https://example.com/hook?token=geheim"}}`)
	unknown := s.newRule(`"name": "Moat", "condition": {"type": "rating", "symbol": "EMR", "metric": "moat_score", "op": ">", "value": 5}`)
	tree := s.newRule(fmt.Sprintf(`"name": "Tree", "active": false, "condition": {"any": [{"not": {"type": "drawdown_limit", "portfolio_id": %q}}, {"type": "macro", "entity": "VIX", "op": ">", "value": 30}]}`, portfolio))

	page := s.get("/console/alerts")
	require.Contains(t, page.text(), "Evaluate these 4 rules now")
	rows := page.cells()
	require.Len(t, rows, 4)
	require.Contains(t, rows[0][2], "Any of (not (portfolio Sample CHF drawdown >= 0.2); VIX > 30)")
	require.Contains(t, rows[0][1], "switched off")
	require.Contains(t, rows[2][6], "webhook https://example.com/…")
	require.NotContains(t, page.body, "geheim")
	require.Contains(t, rows[3][0], "SBI is low")
	require.Equal(t, "never", rows[3][4])
	require.Contains(t, rows[3][3], "not yet")

	form := page.form("rules")
	require.Len(t, form["id"], 4)
	form.Set("back", "/console/alerts?user_id=ada")
	after := s.follow(s.post("/console/alerts/evaluate", form))
	require.Contains(t, after.text(), "4 rules were evaluated: 2 met, 1 not met, 1 not known. 1 fired.")
	rows = after.cells()
	require.Contains(t, rows[2][1], "firing")
	require.Equal(t, "96.74", rows[2][3])
	require.Contains(t, rows[1][3], "unknown")
	require.Contains(t, after.links(), "/console/deliveries?alert_id="+strings.TrimPrefix(high, "/console/alerts/"))

	for query, want := range map[string][]string{
		"state=firing": {high}, "state=ok": {tree, unknown, low}, "type=rating": {unknown}, "type=compound": {tree}, "user_id=ada": {tree, unknown, high, low}, "user_id=grace": nil,
		"active=false": {tree}, "active=true&type=price": {high, low},
	} {
		var got []string
		for _, link := range s.get("/console/alerts?" + query).links() {
			if strings.HasPrefix(link, "/console/alerts/0") && !strings.Contains(link, "/act") {
				got = append(got, link)
			}
		}
		require.Equal(t, want, got, query)
	}
	wrong := s.get("/console/alerts?state=loud&type=moon&active=perhaps&user_id=" + strings.Repeat("a", 201))
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.ElementsMatch(t, []string{"f-state", "f-type", "f-active", "f-user_id"}, wrong.invalidFields(t))
	require.Contains(t, wrong.text(), "Nothing is shown")
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/alerts?cursor=x").StatusCode)

	for _, ids := range [][]string{nil, {"x"}, make([]string, 51)} {
		require.Equal(t, http.StatusUnprocessableEntity, s.post("/console/alerts/evaluate", url.Values{"id": ids}).StatusCode)
	}
}

func TestRulesArePaged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.newRule(lowSBI)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO alert_rules SELECT (jsonb_populate_record(r, jsonb_build_object(
		'id', '01a00000-0000-7000-8000-' || lpad(i::text, 12, '0'), 'name', 'Copy ' || i))).* FROM alert_rules AS r, generate_series(1, 120) AS i`)
	require.NoError(t, err)
	var seen []string
	path := "/console/alerts?active=true"
	for pages := 0; path != ""; pages++ {
		require.Less(t, pages, 3)
		page := s.get(path)
		require.LessOrEqual(t, len(page.cells()), 50)
		for _, row := range page.cells() {
			seen = append(seen, row[0])
		}
		path = page.byRel("next")
	}
	require.Len(t, seen, 121)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(seen))), 121)
}

func TestRulePage(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	path := s.newRule(highSBI + `, "cooldown_hours": 24, "channels": {"inapp": true, "webhook": {"url": "https://example.com/hook?token=geheim"}}, "fallback": {"email": {"to": "ops@example.com"}}`)
	id := strings.TrimPrefix(path, "/console/alerts/")
	page := s.get(path)
	requireOrderly(t, page, path)
	for _, text := range []string{"SBI close > 95", "It has sent nothing that is still kept", "ops@example.com", "24.0 h from a firing", "revision 1"} {
		require.Contains(t, page.text(), text)
	}
	require.NotContains(t, page.body, "geheim")
	require.NotContains(t, page.text(), "Acknowledge")
	for _, link := range []string{
		path + "/edit", path + "/try", path + "/act?act=snooze", path + "/act?act=disable", path + "/act?act=delete",
		"/console/audit?subject=rule&subject_id=" + id,
	} {
		require.Contains(t, page.links(), link)
	}
	dry := s.get(path + "/try")
	requireOrderly(t, dry, path+"/try")
	require.Contains(t, dry.text(), "96.74 > 95 is true; it would fire.")
	require.Contains(t, dry.text(), "SBI close: 96.74 > 95 is true as of 2007-05-08")
	require.Zero(t, s.number("SELECT count(*) FROM alert_events"), "a dry run sends nothing")
	fired := s.follow(s.post("/console/alerts/evaluate", url.Values{"id": {id}, "back": {path}}))
	require.Contains(t, fired.text(), "The rule was evaluated and fired.")
	require.Contains(t, fired.text(), "the value was 96.74")
	require.Len(t, fired.cells(), 1)
	require.Contains(t, fired.links(), "/console/dlq?alert_id="+id)
	require.Contains(t, s.get(fired.link(t, "SBI is high")).text(), "SBI is high")
	dry = s.get(path + "/try")
	require.Contains(t, dry.text(), "96.74 > 95 is true, but the rule has fired and is within its cooldown; it would not fire again yet.")
	require.Contains(t, dry.text(), "It may fire again")
	again := s.follow(s.post("/console/alerts/evaluate", url.Values{"id": {id}, "back": {"https://elsewhere.example/"}}))
	require.Equal(t, "/console/alerts", again.Request.URL.Path)
	require.Contains(t, again.text(), "The rule was evaluated and did not fire.")

	s.api(http.MethodPost, "/v1/destinations", `{"name": "desk", "channel": "webhook", "url": "http://127.0.0.1:9/x"}`, http.StatusCreated)
	lost := s.newRule(highSBI + `, "channels": {"destination": ["desk"]}`)
	s.do(http.MethodDelete, "/v1/destinations/desk", nil)
	dry = s.get(lost + "/try")
	require.Contains(t, dry.text(), "96.74 > 95 is true; it would fire, but what it says could not be delivered.")
	require.Contains(t, dry.text(), `there is no destination "desk"`)
	refused := s.follow(s.post("/console/alerts/evaluate", url.Values{"id": {strings.TrimPrefix(lost, "/console/alerts/")}, "back": {lost}}))
	require.Contains(t, refused.text(), "should have fired, but its message could not be handed on")
	require.Contains(t, refused.text(), "Its last firing could not be handed on")

	for _, missing := range []string{"/console/alerts/x", "/console/alerts/01a22121-0000-7000-8000-000000000000"} {
		for _, rest := range []string{"", "/edit", "/try", "/act?act=snooze"} {
			require.Equal(t, http.StatusNotFound, s.get(missing+rest).StatusCode, missing+rest)
		}
	}
}

// What is missing is said with its reason.
func TestDryRunOfWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	path := s.newRule(`"name": "Moat", "condition": {"all": [{"type": "rating", "symbol": "EMR", "metric": "moat_score", "op": ">", "value": 5}, {"type": "price", "symbol": "SBI", "metric": "close", "op": ">", "value": 95}]}`)
	dry := s.get(path + "/try")
	require.Contains(t, dry.text(), "It is not known whether the condition is met, as a value is missing; it would not fire.")
	require.Contains(t, dry.text(), "EMR moat score: No moat_score of EMR is stored.")
	require.Contains(t, dry.text(), "SBI close: 96.74 > 95 is true")
	off := s.newRule(highSBI + `, "active": false`)
	require.Contains(t, s.get(off+"/try").text(), "The rule is switched off; it would not fire.")
}

func TestActOnRules(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	path := s.newRule(highSBI)
	id := strings.TrimPrefix(path, "/console/alerts/")
	act := func(name string, more ...string) response {
		form := url.Values{"act": {name}}
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return s.post(path+"/act", form)
	}
	for _, name := range []string{"snooze", "enable", "disable", "delete"} {
		ask := s.get(path + "/act?act=" + name)
		requireOrderly(t, ask, name)
		require.Contains(t, ask.text(), "SBI is high")
		require.NotNil(t, ask.byID("act-reason"), name)
	}
	for _, name := range []string{"acknowledge", "wake"} {
		require.Contains(t, s.get(path+"/act?act="+name).text(), "The rule is ok", name)
		refused := act(name)
		require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode, name)
		require.Contains(t, refused.text(), "The rule is ok", name)
	}
	require.Equal(t, http.StatusUnprocessableEntity, s.get(path+"/act?act=explode").StatusCode)
	require.Zero(t, s.number("SELECT count(*) FROM audit_log WHERE action <> 'rule.create'"), "asking does nothing")

	require.Contains(t, s.follow(act("snooze", "for", "4", "reason", "a planned sale")).text(), "is snoozed until")
	require.Contains(t, s.get(path).text(), "snoozed until")
	require.Contains(t, s.get("/console/alerts").text(), "Wake …")
	for until, says := range map[string]string{
		"2001-01-01T00:00": "must lie in the future", "soon": "Give a time in UTC", time.Now().AddDate(2, 0, 0).Format("2006-01-02T15:04"): "within a year",
	} {
		wrong := act("snooze", "until", until)
		require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
		require.Equal(t, []string{"act-until"}, wrong.invalidFields(t))
		require.Contains(t, wrong.text(), says)
		require.Equal(t, until, attribute(wrong.byID("act-until"), "value"), "what was typed is kept")
	}
	require.Equal(t, []string{"act-until"}, act("snooze", "for", "100000").invalidFields(t))
	until := time.Now().UTC().Add(48 * time.Hour).Format("2006-01-02T15:04")
	require.Contains(t, s.follow(act("snooze", "until", until)).text(), strings.Replace(until, "T", " ", 1)+" UTC")
	require.Contains(t, s.follow(act("wake")).text(), "is awake")

	s.post("/console/alerts/evaluate", url.Values{"id": {id}})
	require.Contains(t, s.get("/console/alerts?state=firing").text(), "Acknowledge …")
	back := act("acknowledge", "reason", "looking into it", "back", "/console/alerts?type=price")
	require.True(t, strings.HasPrefix(back.Header.Get("Location"), "/console/alerts?"), back.Header)
	require.Contains(t, back.Header.Get("Location"), "type=price")
	require.Contains(t, s.get(path+"/try").text(), "somebody has acknowledged it")

	require.Contains(t, s.follow(act("disable")).text(), "is switched off")
	require.Contains(t, s.get(path).text(), "Switch on …")
	require.Contains(t, s.follow(act("enable")).text(), "is switched on")

	nameless := act("delete")
	require.Equal(t, []string{"act-reason"}, nameless.invalidFields(t))
	require.Equal(t, http.StatusOK, s.get(path).StatusCode)
	gone := s.follow(act("delete", "reason", "not needed", "back", path))
	require.Equal(t, "/console/alerts", gone.Request.URL.Path)
	require.Contains(t, gone.text(), "is deleted")
	require.Equal(t, http.StatusNotFound, s.get(path).StatusCode)
	require.Equal(t, []string{
		`api rule.create`, `console rule.snooze "a planned sale"`, `console rule.snooze`, `console rule.wake`, `console rule.acknowledge "looking into it"`,
		`console rule.update`, `console rule.update`, `console rule.delete "not needed"`,
	}, s.actions())
}

// Every type of rule can be written in fields, is stored as the API would have it, and comes back into the
// same fields.
// Who acts from a part of the list comes back to it: its filter and its place in it are carried along, with and
// without scripts, whatever is in them.
func TestActFromAFilteredList(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	for _, name := range []string{"Firing", "Snoozed", "Calm"} {
		s.newRule(strings.Replace(highSBI, "SBI is high", name, 1))
	}
	for _, statement := range []string{
		`UPDATE alert_rules SET user_id = 'a&b=%41 +?'`,
		`UPDATE alert_rules SET state = 'firing' WHERE name = 'Firing'`,
		`UPDATE alert_rules SET state = 'snoozed', snoozed_until = now() + interval '1 day' WHERE name = 'Snoozed'`,
	} {
		_, err := s.pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	here := "/console/alerts?" + url.Values{"user_id": {"a&b=%41 +?"}, "active": {"true"}}.Encode()
	list := s.get(here)
	require.Len(t, list.cells(), 3)
	requireOrderly(t, list, here)
	acts := 0
	for n := range list.tree.Descendants() {
		to := attribute(n, "hx-get")
		if to == "" {
			continue
		}
		acts++
		require.Equal(t, to, attribute(n, "href"), "the same with scripts and without")
		u, err := url.Parse(to)
		require.NoError(t, err)
		back, err := url.Parse(u.Query().Get("back"))
		require.NoError(t, err)
		require.Equal(t, "a&b=%41 +?", back.Query().Get("user_id"), to)
		require.Equal(t, "true", back.Query().Get("active"), to)
		ask := s.get(to, "HX-Request", "true", "HX-Target", "dialog")
		require.Equal(t, http.StatusOK, ask.StatusCode, to)
		if u.Query().Get("act") == "snooze" {
			did := s.post(u.Path, url.Values{"act": {"snooze"}, "for": {"24"}, "back": {ask.fields().Get("back")}}, "HX-Request", "true", "HX-Target", "dialog")
			require.Equal(t, http.StatusNoContent, did.StatusCode, did.text())
			after := s.get(did.Header.Get("HX-Redirect"))
			require.Contains(t, after.text(), "is snoozed until")
			require.Equal(t, "a&b=%41 +?", after.fields().Get("user_id"))
			require.Len(t, after.cells(), 3)
		}
	}
	require.Equal(t, 4, acts, "two for the one that fires")
}

func TestEveryTypeIsWrittenInFields(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	portfolio := sample.PortfolioID()
	cases := map[alerts.Type]struct {
		fields []string
		want   string
	}{
		alerts.Macro:         {[]string{"subject-0", "VIX", "op-0", ">", "value-0", ".5"}, `{"type":"macro","entity":"VIX","metric":"level","op":">","value":0.5}`},
		alerts.Metric:        {[]string{"subject-0", portfolio, "metric-0", "volatility_1y", "op-0", ">=", "value-0", "0.25"}, `{"type":"metric","portfolio_id":"` + portfolio + `","metric":"volatility_1y","op":">=","value":0.25}`},
		alerts.Rating:        {[]string{"subject-0", "EMR", "metric-0", "moat_score", "op-0", "!=", "value-0", "10"}, `{"type":"rating","symbol":"EMR","metric":"moat_score","op":"!=","value":10}`},
		alerts.Price:         {[]string{"subject-0", "SBI", "metric-0", "change_pct", "op-0", "<", "value-0", "−5"}, `{"type":"price","symbol":"SBI","metric":"change_pct","op":"<","value":-5}`},
		alerts.NewsSentiment: {[]string{"subject-0", "EMR", "op-0", "<=", "value-0", "-0.5"}, `{"type":"news_sentiment","symbol":"EMR","metric":"sentiment","op":"<=","value":-0.5}`},
		alerts.DrawdownLimit: {[]string{"subject-0", portfolio, "value-0", "0.15"}, `{"type":"drawdown_limit","portfolio_id":"` + portfolio + `","limit":0.15}`},
		alerts.DaRBreach:     {[]string{"subject-0", portfolio, "value-0", ""}, `{"type":"dar_breach","portfolio_id":"` + portfolio + `","level":0.15}`},
		alerts.RegimeShift:   {[]string{"subject-0", "", "value-0", "0.4"}, `{"type":"regime_shift","confidence":0.4}`},
		alerts.Compound: {
			[]string{"rows", "2", "join", "any", "type-0", "macro", "subject-0", "VIX", "op-0", ">", "value-0", "30", "type-1", "regime_shift", "not-1", "yes"},
			`{"any":[{"type":"macro","entity":"VIX","metric":"level","op":">","value":30},{"not":{"type":"regime_shift","confidence":0.9}}]}`,
		},
	}
	require.Len(t, cases, len(alerts.Types()))
	for kind, c := range cases {
		fields := c.fields
		if kind != alerts.Compound {
			fields = append([]string{"type-0", string(kind)}, fields...)
		}
		saved := s.post("/console/alerts", ruleForm(append([]string{"name", string(kind)}, fields...)...))
		require.Equal(t, http.StatusSeeOther, saved.StatusCode, "%s: %s", kind, saved.text())
		page, _, _ := strings.Cut(saved.Header.Get("Location"), "?")
		rule := s.api(http.MethodGet, "/v1/alerts/"+strings.TrimPrefix(page, "/console/alerts/"), "", http.StatusOK)
		require.JSONEq(t, c.want, gjson.Get(rule, "condition").Raw, kind)
		require.Equal(t, string(kind), gjson.Get(rule, "type").String())

		edit := s.get(page + "/edit")
		requireOrderly(t, edit, page)
		form := edit.form("rule-form")
		require.Equal(t, http.StatusSeeOther, s.post(page, form).StatusCode, "%s: %v", kind, form)
		again := s.api(http.MethodGet, "/v1/alerts/"+strings.TrimPrefix(page, "/console/alerts/"), "", http.StatusOK)
		for _, same := range []string{"condition", "channels", "severity", "cooldown_hours", "title", "message", "ttl_seconds", "fallback", "active", "name", "user_id"} {
			require.Equal(t, gjson.Get(rule, same).Raw, gjson.Get(again, same).Raw, "%s: %s", kind, same)
		}
	}
	require.Equal(t, len(cases), s.number(`SELECT count(*) FROM audit_log WHERE action = 'rule.update' AND detail = '{"fields": []}'`), "nothing was changed")
}

// What is wrong is said beside its field, for all fields at once, with what was meant; what was typed is kept.
func TestRuleFormWithWrongInput(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	for name, c := range map[string]struct {
		fields []string
		wrong  []string // fields
		says   string
	}{
		"no name":               {[]string{"name", " "}, []string{"f-name"}, "Needed."},
		"no user":               {[]string{"user_id", ""}, []string{"f-user_id"}, "Needed."},
		"no symbol, no value":   {[]string{"subject-0", "", "value-0", ""}, []string{"f-subject-0", "f-value-0"}, "Needed."},
		"a word for a number":   {[]string{"value-0", "much"}, []string{"f-value-0"}, "Must be a number"},
		"a comma":               {[]string{"value-0", "0,25"}, []string{"f-value-0"}, "Must be a number"},
		"out of bounds":         {[]string{"type-0", "rating", "metric-0", "moat_score", "value-0", "11"}, []string{"f-value-0"}, "Must be from 0 to 10."},
		"another operator":      {[]string{"op-0", "=<"}, []string{"f-op-0"}, "Must be one of"},
		"another type":          {[]string{"type-0", "prise"}, []string{"f-type-0"}, `did you mean "price"`},
		"no such portfolio id":  {[]string{"type-0", "metric", "metric-0", "nav", "subject-0", "x"}, []string{"f-subject-0"}, "Must be a UUID."},
		"cooldown":              {[]string{"cooldown_hours", "1.5"}, []string{"f-cooldown_hours"}, "Must be a whole number from 0 to 8760."},
		"time to live":          {[]string{"ttl_seconds", "0"}, []string{"f-ttl_seconds"}, "whole number"},
		"severity":              {[]string{"severity", "loud"}, []string{"f-severity"}, "Must be one of"},
		"placeholder":           {[]string{"title", "{{valeu}}"}, []string{"f-title"}, `did you mean "value"`},
		"message":               {[]string{"message", "{{value"}, []string{"f-message"}, "both pairs of braces"},
		"mail":                  {[]string{"email", "ada@example.com, bob"}, []string{"f-email"}, "“bob” must be a plain mail address"},
		"webhook":               {[]string{"webhook", "ftp://example.com"}, []string{"f-webhook"}, "http"},
		"reason":                {[]string{"reason", strings.Repeat("a", 501)}, nil, "At most 500 characters."},
		"no channel":            {[]string{"inapp", ""}, nil, "At least one channel must be on."},
		"gone destination":      {[]string{"destination", "pager"}, nil, `There is no destination "pager".`},
		"gone fallback":         {[]string{"fallback-destination", "pager"}, nil, `There is no destination "pager".`},
		"second comparison":     {[]string{"rows", "2", "type-1", "price", "subject-1", "EMR", "op-1", ">", "value-1", "x"}, []string{"f-value-1"}, "Comparison 2, value"},
		"negated comparison":    {[]string{"not-0", "yes", "value-0", "x"}, []string{"f-value-0"}, "Must be a number"},
		"JSON":                  {[]string{"mode", "json", "condition", "{\"type\":\n\"price\""}, []string{"f-condition"}, "line 2, column"},
		"JSON with a slip":      {[]string{"mode", "json", "condition", `{"any": [{"type": "price", "symbol": "SBI", "metric": "closed", "op": "<", "value": 1}]}`}, []string{"f-condition"}, `At any/0/metric: Must be one of`},
		"JSON that is missing":  {[]string{"mode", "json", "condition", ""}, []string{"f-condition"}, "A condition is needed."},
		"JSON of another thing": {[]string{"mode", "json", "condition", `[1]`}, []string{"f-condition"}, "JSON object"},
	} {
		form := ruleForm(c.fields...)
		refused := s.post("/console/alerts", form)
		require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode, name)
		require.Contains(t, refused.text(), c.says, name)
		require.ElementsMatch(t, c.wrong, refused.invalidFields(t), name)
		kept := refused.form("rule-form")
		for field, values := range form {
			if field == "reason" || slices.Contains(c.fields, field) && slices.Contains([]string{"op-0", "type-0", "severity"}, field) && len(c.wrong) == 1 && c.wrong[0] == "f-"+field {
				continue // what a selection does not have can't be kept
			}
			if field == "metric-0" && form.Get("type-0") == "prise" || form.Get("mode") == "json" && (strings.HasSuffix(field, "-0") || field == "rows" || field == "join") {
				continue
			}
			if form.Get("type-0") == "prise" && field != "name" {
				continue
			}
			if values[0] == "" {
				require.Empty(t, kept.Get(field), "%s: %s", name, field)
				continue
			}
			require.Equal(t, values, kept[field], "%s: %s", name, field)
		}
	}
	require.Zero(t, s.number("SELECT count(*) FROM alert_rules"))

	secret := s.post("/console/alerts", ruleForm("value-0", "x", "webhook", "https://example.com/hook?token=geheim"))
	require.Equal(t, http.StatusUnprocessableEntity, secret.StatusCode)
	require.NotContains(t, secret.body, "geheim")
}

// While one types the answer holds what is wrong for every field, calls nothing wrong that is only not typed
// yet, and says what the condition comes to as soon as it is right.
func TestRuleCheck(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	check := func(fields ...string) response {
		r := s.post("/console/alerts/check", ruleForm(fields...), "HX-Request", "true")
		require.Equal(t, http.StatusOK, r.StatusCode, r.text())
		return r
	}
	portfolio := sample.PortfolioID()
	fine := check("type-0", "metric", "subject-0", portfolio, "metric-0", "volatility_1y", "op-0", ">", "value-0", "0.25")
	require.Contains(t, fine.text(), "0.0836941 > 0.25 is false; it would not fire.")
	require.Contains(t, fine.text(), "Sample CHF volatility 1y")
	require.Contains(t, fine.text(), "Nothing is wrong with it.")
	require.Contains(t, check("op-0", ">").text(), "96.74 > 95 is true; it would fire.")
	require.Contains(t, check("op-0", ">").text(), "Restless", "what it would say")
	require.Contains(t, check("rows", "2", "type-1", "price", "subject-1", "SBI", "metric-1", "close", "op-1", ">", "value-1", "90", "not-1", "yes").text(), "The condition as a whole is not met; it would not fire.")
	require.Contains(t, check("type-0", "price", "subject-0", "NOPE").text(), "It is not known whether the condition is met")

	early := check("name", "", "user_id", "", "inapp", "")
	require.Contains(t, early.text(), "96.74 < 95 is false; it would not fire.", "the condition is right already")
	require.Contains(t, early.text(), "Before it can be saved:")
	require.Contains(t, early.links(), "#f-name")
	require.NotContains(t, attribute(early.byID("w-name"), "class"), "wrong", "it is not typed yet")
	wrong := check("value-0", "x", "title", "{{nam}}")
	for _, id := range []string{"w-value-0", "w-title"} {
		require.Contains(t, attribute(wrong.byID(id), "class"), "wrong")
		require.Equal(t, "true", attribute(wrong.byID(id), "hx-swap-oob"))
	}
	require.Empty(t, response{tree: wrong.byID("w-name")}.text())
	require.NotContains(t, wrong.text(), "would")
	require.Zero(t, s.number("SELECT count(*) FROM alert_rules"))
	require.Zero(t, s.number("SELECT count(*) FROM alert_events"))

	// Every place that the answer fills is on the page.
	page := s.get("/console/alerts/new")
	form := page.form("rule-form")
	require.NotContains(t, form, "id")
	answer := s.post("/console/alerts/check", form, "HX-Request", "true")
	filled := 0
	for n := range answer.tree.Descendants() {
		if n.Type == html.ElementNode && attribute(n, "hx-swap-oob") != "" && page.byID(attribute(n, "id")) != nil {
			filled++
		}
	}
	require.GreaterOrEqual(t, filled, 15)
}

// The form changes its shape at a button's press, with and without scripts.
func TestRuleFormIsReshaped(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	reshape := func(form url.Values) response {
		r := s.post("/console/alerts/form", form)
		require.Equal(t, http.StatusOK, r.StatusCode, r.text())
		require.Empty(t, r.invalidFields(t))
		return r
	}
	new := s.get("/console/alerts/new?user_id=grace")
	requireOrderly(t, new, "new")
	form := new.form("rule-form")
	require.Equal(t, []string{"metric", "grace"}, []string{form.Get("type-0"), form.Get("user_id")})
	require.Contains(t, form, "metric-0")
	form.Set("type-0", "regime_shift")
	form = reshape(form).form("rule-form")
	for _, gone := range []string{"subject-0", "metric-0", "op-0"} {
		require.NotContains(t, form, gone)
	}
	form.Set("type-0", "price")
	form.Set("value-0", "95")
	page := reshape(form)
	form = page.form("rule-form")
	require.Equal(t, "close", form.Get("metric-0"))
	require.Equal(t, "95", form.Get("value-0"))
	form.Set("subject-0", "SBI")
	form.Set("add", "comparison")
	form = reshape(form).form("rule-form")
	require.Equal(t, []string{"2", "SBI", "price", "all"}, []string{form.Get("rows"), form.Get("subject-0"), form.Get("type-1"), form.Get("join")})
	form.Set("subject-1", "EMR")
	form.Set("value-1", "30")
	form.Set("not-1", "yes")
	form.Set("join", "any")

	inJSON := maps.Clone(form)
	inJSON.Set("mode", "json")
	page = reshape(inJSON)
	inJSON = page.form("rule-form")
	require.JSONEq(t, `{"any": [{"type": "price", "symbol": "SBI", "metric": "close", "op": ">", "value": 95}, {"not": {"type": "price", "symbol": "EMR", "metric": "close", "op": ">", "value": 30}}]}`, inJSON.Get("condition"))
	require.Equal(t, "json", inJSON.Get("was"))
	inJSON.Set("mode", "fields")
	back := reshape(inJSON).form("rule-form")
	for _, field := range []string{"rows", "join", "subject-0", "subject-1", "value-1", "not-1"} {
		require.Equal(t, form.Get(field), back.Get(field), field)
	}

	form.Set("remove", "0")
	form = reshape(form).form("rule-form")
	require.Equal(t, []string{"1", "EMR", "yes"}, []string{form.Get("rows"), form.Get("subject-0"), form.Get("not-0")})

	for condition, says := range map[string]string{
		`{"all": [{"any": [{"type": "regime_shift"}, {"type": "regime_shift"}]}, {"type": "regime_shift"}]}`: "It is a tree within a tree", `{"type": `: "It must be right",
	} {
		stays := s.post("/console/alerts/form", ruleForm("mode", "fields", "was", "json", "condition", condition))
		require.Equal(t, http.StatusOK, stays.StatusCode)
		require.Contains(t, stays.text(), says)
		require.Equal(t, condition, stays.form("rule-form").Get("condition"))
	}
	full := ruleForm("rows", "32", "add", "comparison")
	require.Equal(t, "32", reshape(full).form("rule-form").Get("rows"))
	require.Equal(t, "json", reshape(ruleForm("mode", "json", "was", "json", "add", "comparison", "remove", "0")).form("rule-form").Get("mode"), "which has no comparisons to add to")
	require.Zero(t, s.number("SELECT count(*) FROM alert_rules"))
}

func TestEditRule(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	s.api(http.MethodPost, "/v1/destinations", `{"name": "desk", "channel": "webhook", "url": "http://127.0.0.1:9/x"}`, http.StatusCreated)
	path := s.newRule(highSBI + `, "ttl_seconds": 60, "channels": {"destination": ["desk"], "webhook": {"url": "http://127.0.0.1:9/y?token=geheim"}}, "fallback": {"inapp": true}`)
	api := "/v1/alerts/" + strings.TrimPrefix(path, "/console/alerts/")
	edit := s.get(path + "/edit")
	requireOrderly(t, edit, path)
	require.NotContains(t, edit.body, "geheim")
	require.Contains(t, edit.text(), "empty: as it is, http://127.0.0.1:9/…")
	require.Contains(t, edit.text(), "96.74 > 95 is true; it would fire.")
	form := edit.form("rule-form")
	require.Equal(t, []string{"60", "desk", "yes", ""}, []string{form.Get("ttl_seconds"), form.Get("destination"), form.Get("fallback-inapp"), form.Get("webhook")})

	first := maps.Clone(form)
	first.Set("name", "SBI is very high")
	first.Set("value-0", "96")
	first.Set("ttl_seconds", "")
	first.Del("fallback-inapp")
	first.Set("reason", "too often")
	require.Contains(t, s.follow(s.post(path, first)).text(), "The rule is saved.")
	require.Equal(t, 1, s.number(`SELECT count(*) FROM alert_rules WHERE channels #>> '{webhook,url}' = 'http://127.0.0.1:9/y?token=geheim' AND fallback IS NULL AND ttl_seconds IS NULL AND condition ->> 'value' = '96'`))
	require.Equal(t, 1, s.number(`SELECT count(*) FROM audit_log WHERE actor = 'console' AND action = 'rule.update' AND reason = 'too often' AND detail = '{"fields": ["condition", "fallback", "name", "ttl_seconds"]}'`))

	// Somebody else was faster.
	second := maps.Clone(form)
	second.Set("name", "SBI is far too high")
	late := s.post(path, second)
	require.Equal(t, http.StatusUnprocessableEntity, late.StatusCode)
	require.Contains(t, late.text(), "you began with revision 1, it is at revision 2 now")
	require.Equal(t, "SBI is far too high", late.form("rule-form").Get("name"), "what was typed is kept")
	require.Equal(t, "SBI is very high", gjson.Get(s.api(http.MethodGet, api, "", http.StatusOK), "name").String())
	require.Equal(t, http.StatusUnprocessableEntity, s.post(path, late.form("rule-form")).StatusCode, "it stays so until the reader decides")
	over := late.form("rule-form")
	over.Set("over", "2")
	over.Set("webhook_remove", "yes")
	require.Contains(t, s.follow(s.post(path, over)).text(), "The rule is saved.")
	rule := s.api(http.MethodGet, api, "", http.StatusOK)
	require.Equal(t, []string{"SBI is far too high", "3"}, []string{gjson.Get(rule, "name").String(), gjson.Get(rule, "revision").String()})
	require.False(t, gjson.Get(rule, "channels.webhook").Exists())

	// A tree that fields can't show is edited as JSON.
	tree := s.newRule(`"name": "Tree", "condition": {"all": [{"any": [{"type": "regime_shift"}]}]}`)
	page := s.get(tree + "/edit")
	require.Equal(t, "json", page.form("rule-form").Get("mode"))
	require.JSONEq(t, `{"all": [{"any": [{"type": "regime_shift", "confidence": 0.9}]}]}`, page.form("rule-form").Get("condition"))
	require.Equal(t, http.StatusSeeOther, s.post(tree, page.form("rule-form")).StatusCode)
	require.Equal(t, http.StatusUnprocessableEntity, s.post(tree, ruleForm()).StatusCode, "no revision")
	require.Equal(t, http.StatusNotFound, s.post("/console/alerts/01a22121-0000-7000-8000-000000000000", ruleForm("revision", "1")).StatusCode)
}

// What somebody names becomes no markup.
func TestRulesEscapeWhatTheyShow(t *testing.T) {
	t.Parallel()
	s := newRuleSite(t)
	path := s.newRule(`"name": "<script>alert(1)</script>", "message": "<b>{{value}}</b>", "condition": {"type": "price", "symbol": "<i>x", "metric": "close", "op": ">", "value": 95}`)
	for _, page := range []string{"/console/alerts", path, path + "/edit", path + "/try", path + "/act?act=delete"} {
		r := s.get(page)
		requireOrderly(t, r, page)
		require.NotContains(t, r.body, "<script>alert", page)
		require.NotContains(t, r.body, "<i>x", page)
		require.Contains(t, r.text(), "alert(1)", page)
	}
}
