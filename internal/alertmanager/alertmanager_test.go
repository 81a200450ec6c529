package alertmanager_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/alertmanager"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// firing is what Alertmanager 0.25 posted for two alerts, one of them over.
const firing = `{
	"receiver": "dawsos", "status": "firing",
	"alerts": [
		{"status": "resolved", "labels": {"alertname": "FeedStale", "feed": "six", "severity": "critical"},
		 "annotations": {"summary": "No prices from six"}, "startsAt": "2026-03-02T09:30:00.5Z", "endsAt": "2026-03-02T10:00:00Z",
		 "generatorURL": "http://prometheus:9090/graph", "fingerprint": "c1b2a3d4e5f60718"},
		{"status": "firing", "labels": {"alertname": "FeedStale", "feed": "ice", "severity": "warning"},
		 "annotations": {"summary": "No prices from ice"}, "startsAt": "2026-03-02T10:31:00+01:00", "endsAt": "0001-01-01T00:00:00Z",
		 "generatorURL": "http://prometheus:9090/graph", "fingerprint": "00b2a3d4e5f60719"}
	],
	"groupLabels": {"alertname": "FeedStale", "cluster": "zrh"}, "commonLabels": {"alertname": "FeedStale", "cluster": "zrh"},
	"commonAnnotations": {}, "externalURL": "http://alertmanager:9093", "version": "4",
	"groupKey": "{}:{alertname=\"FeedStale\", cluster=\"zrh\"}", "truncatedAlerts": 0, "somethingNew": {"a": [1]}
}`

var (
	keepUntil = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	ops       = alertmanager.Destination{
		TenantID: "default", UserID: "ops", Targets: []delivery.Target{{Channel: "webhook", URL: "http://example.org/a"}},
	}
)

// change returns a payload with members changed.
func change(t *testing.T, payload string, changes map[string]any) []byte {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal([]byte(payload), &members))
	for name, value := range changes {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	changed, err := json.Marshal(members)
	require.NoError(t, err)
	return changed
}

func event(t *testing.T, payload []byte, to alertmanager.Destination) delivery.Event {
	t.Helper()
	p, err := alertmanager.Parse(payload)
	require.NoError(t, err)
	e, err := p.Event(to, keepUntil)
	require.NoError(t, err)
	return e
}

func TestEvent(t *testing.T) {
	t.Parallel()
	e := event(t, []byte(firing), ops)
	require.Equal(t, "default", e.TenantID)
	require.Equal(t, delivery.Alertmanager, e.Source)
	require.Equal(t, "FeedStale", e.AlertID)
	require.Equal(t, "ops", e.UserID)
	require.Equal(t, `[FIRING:1] FeedStale {cluster="zrh"}`, e.Title)
	require.Equal(t, `firing {feed="ice", severity="warning"} since 2026-03-02T09:31:00Z: No prices from ice
resolved {feed="six", severity="critical"} until 2026-03-02T10:00:00Z: No prices from six`, e.Message)
	require.Equal(t, delivery.Warning, e.Severity, "of those that fire")
	require.Equal(t, ops.Targets, e.Targets)
	require.Regexp(t, `^alertmanager:[0-9a-f]{64}$`, e.Subject)
	require.False(t, e.Resolves)
	require.Equal(t, keepUntil, e.Dedup.KeepUntil)
	require.JSONEq(t, `{
		"version": "4", "status": "firing", "receiver": "dawsos", "groupKey": "{}:{alertname=\"FeedStale\", cluster=\"zrh\"}",
		"groupLabels": {"alertname": "FeedStale", "cluster": "zrh"}, "commonLabels": {"alertname": "FeedStale", "cluster": "zrh"},
		"commonAnnotations": {}, "externalURL": "http://alertmanager:9093", "truncatedAlerts": 0,
		"alerts": [
			{"status": "resolved", "labels": {"alertname": "FeedStale", "feed": "six", "severity": "critical"},
			 "annotations": {"summary": "No prices from six"}, "startsAt": "2026-03-02T09:30:00.5Z", "endsAt": "2026-03-02T10:00:00Z",
			 "generatorURL": "http://prometheus:9090/graph", "fingerprint": "c1b2a3d4e5f60718"},
			{"status": "firing", "labels": {"alertname": "FeedStale", "feed": "ice", "severity": "warning"},
			 "annotations": {"summary": "No prices from ice"}, "startsAt": "2026-03-02T09:31:00Z",
			 "generatorURL": "http://prometheus:9090/graph", "fingerprint": "00b2a3d4e5f60719"}
		]}`, string(e.Data))

	resolved := event(t, change(t, firing, map[string]any{"status": "resolved"}), ops)
	require.True(t, resolved.Resolves)
	require.Equal(t, e.Subject, resolved.Subject)
	require.Equal(t, `[RESOLVED] FeedStale {cluster="zrh"}`, resolved.Title)
	require.Equal(t, delivery.Critical, resolved.Severity, "none fires: of all")
}

// TestNoLoop: what is about a destination does not go there.
func TestNoLoop(t *testing.T) {
	t.Parallel()
	about := func(destinations ...string) []byte {
		var alerts []map[string]any
		for _, d := range destinations {
			alerts = append(alerts, map[string]any{"status": "firing", "labels": map[string]string{"alertname": "DestinationBreakerOpen", "destination": d}})
		}
		return change(t, firing, map[string]any{"alerts": alerts})
	}
	pager, mail := delivery.Target{Channel: "webhook", Destination: "pager"}, delivery.Target{Channel: "email", Destination: "mail"}
	hook, inbox := delivery.Target{Channel: "webhook", URL: "http://example.org/"}, delivery.Target{Channel: "inapp"}
	for _, tt := range []struct {
		about     []string
		asked, to []delivery.Target
	}{
		{[]string{"pager"}, []delivery.Target{pager, mail, hook}, []delivery.Target{mail, hook}},
		{[]string{"mail", "pager"}, []delivery.Target{pager, mail}, []delivery.Target{inbox}},
		{[]string{"other"}, []delivery.Target{pager, mail}, []delivery.Target{pager, mail}},
		{[]string{""}, []delivery.Target{hook}, []delivery.Target{hook}},
	} {
		e := event(t, about(tt.about...), alertmanager.Destination{TenantID: "default", UserID: "ops", Targets: tt.asked})
		require.Equal(t, tt.to, e.Targets, tt.about)
	}
}

func TestAlertID(t *testing.T) {
	t.Parallel()
	for want, changes := range map[string]map[string]any{
		`dawsos{cluster="zrh"}`:                 {"groupLabels": map[string]any{"cluster": "zrh"}},
		"dawsos":                                {"groupLabels": nil},
		"{}:{}":                                 {"groupLabels": nil, "receiver": "", "groupKey": "{}:{}"},
		strings.Repeat("x", 199) + "…":          {"groupLabels": map[string]any{"alertname": strings.Repeat("x", 201)}},
		strings.Repeat("é", 200):                {"groupLabels": map[string]any{"alertname": strings.Repeat("é", 200)}},
		"zero\uFFFDbyte":                        {"groupLabels": map[string]any{"alertname": "zero\x00byte"}},
		`dawsos{a="1", b="\"two\"", c="three"}`: {"groupLabels": map[string]any{"c": "three", "b": `"two"`, "a": "1"}},
	} {
		require.Equal(t, want, event(t, change(t, firing, changes), ops).AlertID)
	}
}

// What tells a repetition from news.
func TestOccasion(t *testing.T) {
	t.Parallel()
	var alerts []any
	var payload map[string]any
	require.NoError(t, json.Unmarshal([]byte(firing), &payload))
	alerts = payload["alerts"].([]any)
	with := func(member string, value any) []any {
		changed := map[string]any{}
		for k, v := range alerts[1].(map[string]any) {
			changed[k] = v
		}
		if changed[member] = value; value == nil {
			delete(changed, member)
		}
		return []any{alerts[0], changed}
	}
	reversed := []any{alerts[1], alerts[0]}
	elsewhere := ops
	elsewhere.Targets = []delivery.Target{{Channel: "webhook", URL: "http://example.org/b"}}

	occasion := event(t, []byte(firing), ops).Dedup.Occasion
	for name, tt := range map[string]struct {
		changes map[string]any
		to      alertmanager.Destination
		same    bool
	}{
		"a retry":                         {nil, ops, true},
		"from another member":             {map[string]any{"externalURL": "http://other:9093"}, ops, true},
		"in another order":                {map[string]any{"alerts": reversed}, ops, true},
		"with other words":                {map[string]any{"commonAnnotations": map[string]any{"summary": "new"}}, ops, true},
		"the same moment in another zone": {map[string]any{"alerts": with("startsAt", "2026-03-02T11:31:00+02:00")}, ops, true},
		"resolved":                        {map[string]any{"status": "resolved"}, ops, false},
		"another group":                   {map[string]any{"groupKey": "{}:{}"}, ops, false},
		"one is over":                     {map[string]any{"alerts": with("status", "resolved")}, ops, false},
		"one began again":                 {map[string]any{"alerts": with("startsAt", "2026-03-02T12:31:00Z")}, ops, false},
		"another alert":                   {map[string]any{"alerts": with("fingerprint", "1")}, ops, false},
		"no fingerprint":                  {map[string]any{"alerts": with("fingerprint", nil)}, ops, false},
		"one less":                        {map[string]any{"alerts": alerts[:1]}, ops, false},
		"more left out":                   {map[string]any{"truncatedAlerts": 1}, ops, false},
		"elsewhere":                       {nil, elsewhere, false},
	} {
		got := event(t, change(t, firing, tt.changes), tt.to).Dedup.Occasion
		require.Equal(t, tt.same, got == occasion, name)
	}
}

// Thousands of alerts make an event that can be stored and read.
func TestManyAlerts(t *testing.T) {
	t.Parallel()
	var alerts []any
	for i := range 3000 {
		alerts = append(alerts, map[string]any{
			"status": "firing", "startsAt": "2026-03-02T09:30:00Z", "fingerprint": fmt.Sprint(i),
			"labels": map[string]any{"alertname": "A", "n": fmt.Sprint(i)}, "annotations": map[string]any{"summary": strings.Repeat("long ", 100)},
		})
	}
	e := event(t, change(t, firing, map[string]any{"alerts": alerts, "truncatedAlerts": 7}), ops)
	require.Contains(t, e.Title, "[FIRING:3007]")
	require.True(t, strings.HasSuffix(e.Message, "\nand 2987 more"), e.Message)
	require.Equal(t, 20, strings.Count(e.Message, "firing A"))
	var kept alertmanager.Payload
	require.NoError(t, json.Unmarshal(e.Data, &kept))
	require.Less(t, len(e.Data), 80<<10)
	require.Greater(t, len(kept.Alerts), 50)
	require.EqualValues(t, 3007, uint64(len(kept.Alerts))+kept.TruncatedAlerts)
}

func TestLongTexts(t *testing.T) {
	t.Parallel()
	labels := map[string]any{}
	for i := range 100 {
		labels[fmt.Sprintf("label_%02d", i)] = strings.Repeat("<", 300)
	}
	e := event(t, change(t, firing, map[string]any{"commonLabels": labels, "externalURL": "http://" + strings.Repeat("x", 5000)}), ops)
	require.Less(t, len(e.Data), 16<<10)
	var kept struct {
		CommonLabels map[string]string
		ExternalURL  string
		Shortened    bool
	}
	require.NoError(t, json.Unmarshal(e.Data, &kept))
	require.True(t, kept.Shortened)
	require.NotEmpty(t, kept.CommonLabels)
	require.Equal(t, 1024, utf8.RuneCountInString(kept.ExternalURL))
	require.NotContains(t, string(event(t, []byte(firing), ops).Data), "shortened")
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	alert := func(member string, value any) map[string]any {
		a := map[string]any{"status": "firing", "labels": map[string]any{}, "startsAt": "2026-03-02T09:30:00Z"}
		a[member] = value
		return map[string]any{"alerts": []any{a}}
	}
	for name, tt := range map[string]struct {
		changes map[string]any
		pointer string
	}{
		"no version":               {map[string]any{"version": nil}, "/version"},
		"another version":          {map[string]any{"version": "5"}, "/version"},
		"a number for a version":   {map[string]any{"version": 4}, "/version"},
		"no group":                 {map[string]any{"groupKey": nil}, "/groupKey"},
		"no status":                {map[string]any{"status": nil}, "/status"},
		"another status":           {map[string]any{"status": "pending"}, "/status"},
		"no alerts":                {map[string]any{"alerts": nil}, "/alerts"},
		"an empty list of alerts":  {map[string]any{"alerts": []any{}}, "/alerts"},
		"an alert without status":  {alert("status", ""), "/alerts/0/status"},
		"a time that is none":      {alert("startsAt", "yesterday"), "/alerts"},
		"a time too early":         {alert("startsAt", "0000-01-01T00:00:00+10:00"), "/alerts/0/startsAt"},
		"a time too late":          {alert("endsAt", "9999-12-31T23:59:59-10:00"), "/alerts/0/endsAt"},
		"labels that are no texts": {map[string]any{"groupLabels": map[string]any{"a": 1}}, "/groupLabels"},
		"too many left out":        {map[string]any{"truncatedAlerts": 1 << 40}, "/truncatedAlerts"},
		"fewer than none left out": {map[string]any{"truncatedAlerts": -1}, "/truncatedAlerts"},
	} {
		_, err := alertmanager.Parse(change(t, firing, tt.changes))
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%s: %v", name, err)
		f, _ := errors.AsType[*fault.Error](err)
		require.Len(t, f.Fields, 1)
		require.Equal(t, tt.pointer, f.Fields[0].Pointer, name)
	}
	for _, body := range []string{"", "{", "\xff", `{"version": "4"} {}`} {
		_, err := alertmanager.Parse([]byte(body))
		require.Equal(t, fault.Malformed, fault.CodeOf(err), "%q: %v", body, err)
	}
}

// Whatever is taken makes an event that can be stored, whose data is a payload again, and whose
// identity does not depend on the order of the alerts.
func FuzzParse(f *testing.F) {
	f.Add([]byte(firing))
	f.Add([]byte(`{"version":"4","groupKey":"\u0000\ud800","status":"resolved","alerts":[{"status":"resolved","endsAt":"9999-12-31T23:59:59Z","labels":{"\u0000":"<"}}]}`))
	f.Add([]byte(`{"version":"4","groupKey":"g","status":"firing","truncatedAlerts":4294967295,"alerts":[{"status":"firing","startsAt":"0000-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := alertmanager.Parse(body)
		if err != nil {
			code := fault.CodeOf(err)
			require.True(t, code == fault.Malformed || code == fault.Invalid, "%v", err)
			return
		}
		e, err := p.Event(ops, keepUntil)
		require.NoError(t, err)
		for _, text := range []string{e.AlertID, e.Title, e.Message, e.Subject, string(e.Data)} {
			require.True(t, utf8.ValidString(text))
			require.NotContains(t, text, "\x00")
			require.NotEmpty(t, text)
		}
		require.LessOrEqual(t, utf8.RuneCountInString(e.AlertID), 200)
		require.LessOrEqual(t, utf8.RuneCountInString(e.Title), 500)
		require.LessOrEqual(t, utf8.RuneCountInString(e.Message), 20000)
		require.Less(t, len(e.Data), 128<<10)

		again, err := alertmanager.Parse(e.Data)
		require.NoError(t, err)
		require.Equal(t, p.Status, again.Status)
		require.NotContains(t, fmt.Sprintf("%+v", again), "\x00", "jsonb has no form for it")
		require.Equal(t, uint64(len(p.Alerts))+p.TruncatedAlerts, uint64(len(again.Alerts))+again.TruncatedAlerts)

		slices.Reverse(p.Alerts)
		reversed, err := p.Event(ops, keepUntil)
		require.NoError(t, err)
		require.Equal(t, e.Dedup, reversed.Dedup)
		require.Equal(t, e.Severity, reversed.Severity)
	})
}
