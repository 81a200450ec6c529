package alerts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/fault"
)

const portfolioID = "9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81"

var now = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

func condition(t *testing.T, s string) alerts.Condition {
	t.Helper()
	c, err := alerts.ParseCondition([]byte(s), "/condition")
	require.NoError(t, err)
	return c
}

func number(s string) alerts.Value {
	return alerts.Value{Value: decimal.RequireFromString(s), Asof: now}
}

// pointers returns which fields an error is about.
func pointers(t *testing.T, err error) []string {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, fault.Invalid, f.Code)
	list := []string{}
	for _, field := range f.Fields {
		list = append(list, field.Pointer)
	}
	return list
}

func TestConditionsAreReadAndWritten(t *testing.T) {
	t.Parallel()
	tests := []struct{ given, written, words string }{
		{
			`{"type":"macro","entity":"VIX","op":">","value":30}`,
			`{"type":"macro","entity":"VIX","metric":"level","op":">","value":30}`, "VIX > 30",
		},
		{
			`{"type":"metric","portfolio_id":"` + strings.ToUpper(portfolioID) + `","metric":"twr_1y","op":"<=","value":-5e-2}`,
			`{"type":"metric","portfolio_id":"` + portfolioID + `","metric":"twr_1y","op":"<=","value":-0.05}`,
			"portfolio " + portfolioID + " twr_1y <= -0.05",
		},
		{
			`{"type":"rating","symbol":"NESN","metric":"moat_score","op":"<","value":10}`,
			`{"type":"rating","symbol":"NESN","metric":"moat_score","op":"<","value":10}`, "NESN moat_score < 10",
		},
		{
			`{"type":"price","symbol":"SBI","metric":"close","op":"==","value":123456789012345.678901}`,
			`{"type":"price","symbol":"SBI","metric":"close","op":"==","value":123456789012345.678901}`,
			"SBI close == 123456789012345.678901",
		},
		{
			`{"type":"news_sentiment","symbol":"SBI","op":"!=","value":0}`,
			`{"type":"news_sentiment","symbol":"SBI","metric":"sentiment","op":"!=","value":0}`, "SBI sentiment != 0",
		},
		{
			`{"type":"drawdown_limit","portfolio_id":"` + portfolioID + `"}`,
			`{"type":"drawdown_limit","portfolio_id":"` + portfolioID + `","limit":0.2}`,
			"portfolio " + portfolioID + " drawdown >= 0.2",
		},
		{
			`{"type":"dar_breach","portfolio_id":"` + portfolioID + `","level":null}`,
			`{"type":"dar_breach","portfolio_id":"` + portfolioID + `","level":0.15}`,
			"portfolio " + portfolioID + " dar_95_1y >= 0.15",
		},
		{`{"type":"regime_shift"}`, `{"type":"regime_shift","confidence":0.9}`, "regime shift_confidence >= 0.9"},
		{
			`{"all":[{"not":{"type":"regime_shift","confidence":1}},{"any":[{"type":"macro","entity":"A","op":"<","value":1}]}]}`,
			`{"all":[{"not":{"type":"regime_shift","confidence":1}},{"any":[{"type":"macro","entity":"A","metric":"level","op":"<","value":1}]}]}`,
			"all of (not (regime shift_confidence >= 1); any of (A < 1))",
		},
	}
	for _, tt := range tests {
		c := condition(t, tt.given)
		written, err := c.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, tt.written, string(written))
		require.Equal(t, tt.words, c.String())
	}
}

func nested(depth int) string {
	return strings.Repeat(`{"not":`, depth) + `{"type":"regime_shift"}` + strings.Repeat("}", depth)
}

func many(n int) string {
	return `{"any":[` + strings.TrimSuffix(strings.Repeat(`{"type":"regime_shift"},`, n), ",") + `]}`
}

func TestWhatIsWrongWithAConditionIsNamed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, given string
		pointers    []string
		says        string
	}{
		{"no object", `[]`, []string{"/condition"}, "object"},
		{"no type", `{}`, []string{"/condition/type"}, "macro"},
		{"a slip in the type", `{"type":"marco"}`, []string{"/condition/type"}, `did you mean "macro"`},
		{"everything missing", `{"type":"price"}`, []string{"/condition/symbol", "/condition/metric", "/condition/op", "/condition/value"}, ""},
		{"a slip in a field", `{"type":"macro","entitty":"A","op":">","value":1}`, []string{"/condition/entitty", "/condition/entity"}, `did you mean "entity"`},
		{"a field of another type", `{"type":"regime_shift","value":1}`, []string{"/condition/value"}, "confidence"},
		{"a field twice", `{"type":"macro","entity":"A","entity":"B","op":">","value":1}`, []string{"/condition/entity"}, "twice"},
		{"a slip in the metric", `{"type":"price","symbol":"A","metric":"clos","op":">","value":1}`, []string{"/condition/metric"}, `did you mean "close"`},
		{"a metric of another type", `{"type":"price","symbol":"A","metric":"twr_1y","op":">","value":1}`, []string{"/condition/metric"}, "change_pct"},
		{"no such operator", `{"type":"macro","entity":"A","op":"=","value":1}`, []string{"/condition/op"}, ">="},
		{"a text for a number", `{"type":"macro","entity":"A","op":">","value":"1"}`, []string{"/condition/value"}, "number"},
		{"a number without end", `{"type":"macro","entity":"A","op":">","value":1e999999999}`, []string{"/condition/value"}, "number"},
		{"a number without end that is 0", `{"type":"macro","entity":"A","op":">","value":0e-999999999}`, []string{"/condition/value"}, "number"},
		{"a rating beyond 10", `{"type":"rating","symbol":"A","metric":"moat_score","op":">","value":10.1}`, []string{"/condition/value"}, "0 to 10"},
		{"sentiment beyond 1", `{"type":"news_sentiment","symbol":"A","op":">","value":-1.01}`, []string{"/condition/value"}, "-1 to 1"},
		{"a limit beyond 0.4", `{"type":"drawdown_limit","portfolio_id":"` + portfolioID + `","limit":0.41}`, []string{"/condition/limit"}, "0.1 to 0.4"},
		{"a level below 0.05", `{"type":"dar_breach","portfolio_id":"` + portfolioID + `","level":0.04}`, []string{"/condition/level"}, "0.05 to 0.5"},
		{"no portfolio's id", `{"type":"drawdown_limit","portfolio_id":"mine"}`, []string{"/condition/portfolio_id"}, "UUID"},
		{"control characters", `{"type":"macro","entity":"A\u0000","op":">","value":1}`, []string{"/condition/entity"}, "control"},
		{"an empty list", `{"all":[]}`, []string{"/condition/all"}, "1 to 32"},
		{"more beside a list", `{"all":[{"type":"regime_shift"}],"any":[]}`, []string{"/condition/any"}, "no such field"},
		{"deep within", `{"all":[{"type":"regime_shift"},{"not":{"any":[{"type":"regime_shift","confidence":2}]}}]}`, []string{"/condition/all/1/not/any/0/confidence"}, "0 to 1"},
		{"too deep", nested(9), []string{"/condition" + strings.Repeat("/not", 9)}, "8 times"},
		{"too many", `{"all":[` + many(20) + `,` + many(13) + `]}`, []string{"/condition"}, "33 values"},
		{"unknown in any escape", `{"type":"regime_shift","a/b~c":1}`, []string{"/condition/a~1b~0c"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := alerts.ParseCondition([]byte(tt.given), "/condition")
			require.Equal(t, tt.pointers, pointers(t, err), "%v", err)
			require.ErrorContains(t, err, tt.says)
		})
	}
	condition(t, nested(8))
	condition(t, `{"all":[`+many(20)+`,`+many(12)+`]}`)
}

// leafOf returns a leaf that is met, not met or unknown, as values says.
func leafOf(truth alerts.Truth) string {
	return fmt.Sprintf(`{"type":"macro","entity":%q,"op":">","value":0.1}`, truth)
}

var logicValues = alerts.Values{
	{Source: alerts.MacroSeries, Subject: "met", Metric: "level"}:     number("0.2"),
	{Source: alerts.MacroSeries, Subject: "not_met", Metric: "level"}: number("0.1"),
	{Source: alerts.MacroSeries, Subject: "unknown", Metric: "level"}: {Unknown: "there is no such series"},
}

// The tables of Kleene's logic, all nine of each.
func TestLogicHasThreeValues(t *testing.T) {
	t.Parallel()
	const met, not, unknown = alerts.Met, alerts.NotMet, alerts.Unknown
	tests := []struct{ a, b, all, any alerts.Truth }{
		{met, met, met, met},
		{met, not, not, met},
		{met, unknown, unknown, met},
		{not, met, not, met},
		{not, not, not, not},
		{not, unknown, not, unknown},
		{unknown, met, unknown, met},
		{unknown, not, not, unknown},
		{unknown, unknown, unknown, unknown},
	}
	for _, tt := range tests {
		both := leafOf(tt.a) + "," + leafOf(tt.b)
		require.Equal(t, tt.all, alerts.Evaluate(condition(t, `{"all":[`+both+`]}`), logicValues).Met, "%s and %s", tt.a, tt.b)
		require.Equal(t, tt.any, alerts.Evaluate(condition(t, `{"any":[`+both+`]}`), logicValues).Met, "%s or %s", tt.a, tt.b)
	}
	for truth, opposite := range map[alerts.Truth]alerts.Truth{met: not, not: met, unknown: unknown} {
		require.Equal(t, opposite, alerts.Evaluate(condition(t, `{"not":`+leafOf(truth)+`}`), logicValues).Met)
	}
}

func TestOperators(t *testing.T) {
	t.Parallel()
	values := alerts.Values{{Source: alerts.MacroSeries, Subject: "A", Metric: "level"}: number("0.30")}
	for op, met := range map[string][3]bool{ // against 0.2, 0.3 and 0.4
		">": {true, false, false}, "<": {false, false, true}, ">=": {true, true, false},
		"<=": {false, true, true}, "==": {false, true, false}, "!=": {true, false, true},
	} {
		for i, threshold := range []string{"0.2", "0.3", "0.4"} {
			c := condition(t, fmt.Sprintf(`{"type":"macro","entity":"A","op":%q,"value":%s}`, op, threshold))
			require.Equal(t, met[i], alerts.Evaluate(c, values).Met == alerts.Met, "0.30 %s %s", op, threshold)
		}
	}
}

func TestUnknownIsReportedWithItsReason(t *testing.T) {
	t.Parallel()
	c := condition(t, `{"any":[`+leafOf(alerts.Unknown)+`,`+leafOf(alerts.NotMet)+`,`+leafOf(alerts.Met)+`,{"type":"regime_shift"}]}`)
	r := alerts.Evaluate(c, logicValues)
	require.Equal(t, alerts.Met, r.Met)
	require.Equal(t, []alerts.Missing{
		{Pointer: "/condition/any/0", Type: alerts.Macro, Subject: "unknown", Metric: "level", Reason: "there is no such series"},
		{Pointer: "/condition/any/3", Type: alerts.RegimeShift, Metric: "shift_confidence", Reason: "it was not looked up"},
	}, r.Missing)
	require.Len(t, r.Observed, 2)
	lead, ok := r.Lead()
	require.True(t, ok)
	require.Equal(t, "met", lead.Subject, "what is met speaks for the rule")

	require.Equal(t, []alerts.Key{
		{Source: alerts.MacroSeries, Subject: "unknown", Metric: "level"},
		{Source: alerts.MacroSeries, Subject: "not_met", Metric: "level"},
		{Source: alerts.MacroSeries, Subject: "met", Metric: "level"},
		{Source: alerts.Regimes, Metric: "shift_confidence"},
	}, alerts.Needs(c))
	require.Len(t, alerts.Needs(condition(t, many(20))), 1, "each value once")

	nothing := alerts.Evaluate(c, nil)
	require.Equal(t, alerts.Unknown, nothing.Met)
	_, ok = nothing.Lead()
	require.False(t, ok)
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	type expect = alerts.Decision
	tests := []struct {
		name     string
		rule     alerts.Rule
		met      alerts.Truth
		decision expect
	}{
		{"met at first", alerts.Rule{State: alerts.OK, Cooldown: day}, alerts.Met, expect{Fire: true, Reason: alerts.Fires, State: alerts.Firing}},
		{"not met", alerts.Rule{State: alerts.OK}, alerts.NotMet, expect{Reason: alerts.IsNotMet, State: alerts.OK}},
		{"no longer met", alerts.Rule{State: alerts.Firing}, alerts.NotMet, expect{Reason: alerts.IsNotMet, State: alerts.OK}},
		{"unknown", alerts.Rule{State: alerts.OK}, alerts.Unknown, expect{Reason: alerts.IsUnknown, State: alerts.OK}},
		{"unknown does not end a firing", alerts.Rule{State: alerts.Firing}, alerts.Unknown, expect{Reason: alerts.IsUnknown, State: alerts.Firing}},
		{"within the cooldown", alerts.Rule{State: alerts.OK, Cooldown: day, LastFiredAt: now.Add(-day + time.Second)}, alerts.Met, expect{Reason: alerts.IsCoolingDown, State: alerts.Firing, CooldownLeft: time.Second}},
		{"after the cooldown", alerts.Rule{State: alerts.Firing, Cooldown: day, LastFiredAt: now.Add(-day)}, alerts.Met, expect{Fire: true, Reason: alerts.Fires, State: alerts.Firing}},
		{"without a cooldown", alerts.Rule{State: alerts.Firing, LastFiredAt: now}, alerts.Met, expect{Fire: true, Reason: alerts.Fires, State: alerts.Firing}},
		{"snoozed", alerts.Rule{State: alerts.Snoozed, SnoozedUntil: now.Add(1)}, alerts.Met, expect{Reason: alerts.IsSnoozed, State: alerts.Snoozed, SnoozedUntil: now.Add(1)}},
		{"snoozed and not met", alerts.Rule{State: alerts.Snoozed, SnoozedUntil: now.Add(1)}, alerts.NotMet, expect{Reason: alerts.IsNotMet, State: alerts.Snoozed, SnoozedUntil: now.Add(1)}},
		{"the end of a snooze", alerts.Rule{State: alerts.Snoozed, SnoozedUntil: now}, alerts.Met, expect{Fire: true, Reason: alerts.Fires, State: alerts.Firing}},
		{"the end of a snooze, unknown", alerts.Rule{State: alerts.Snoozed, SnoozedUntil: now}, alerts.Unknown, expect{Reason: alerts.IsUnknown, State: alerts.OK}},
		{"acknowledged", alerts.Rule{State: alerts.Acknowledged}, alerts.Met, expect{Reason: alerts.IsAcknowledged, State: alerts.Acknowledged}},
		{"acknowledged and over", alerts.Rule{State: alerts.Acknowledged}, alerts.NotMet, expect{Reason: alerts.IsNotMet, State: alerts.OK}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.rule.Active = true
			require.Equal(t, tt.decision, alerts.Decide(tt.rule, alerts.Result{Met: tt.met}, now))
			tt.rule.Active = false
			inactive := alerts.Decide(tt.rule, alerts.Result{Met: tt.met}, now)
			require.False(t, inactive.Fire)
			require.Equal(t, alerts.IsInactive, inactive.Reason)
		})
	}
}

const leaf = `{"type":"macro","entity":"VIX","op":">","value":30}`

func TestRulesHaveDefaults(t *testing.T) {
	t.Parallel()
	r, err := alerts.ParseRule([]byte(`{"user_id":"ada","name":"Fear","condition":` + leaf + `}`))
	require.NoError(t, err)
	require.Equal(t, alerts.Rule{
		UserID: "ada", Name: "Fear", Condition: condition(t, leaf), Severity: alerts.Warning,
		Title: "{{name}}", Message: "{{condition}}. Observed: {{observed}}.", Cooldown: 24 * time.Hour,
		Channels: alerts.Channels{Inapp: true}, Active: true,
	}, r)
}

func TestChannelsOfRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, fields string
		channels     alerts.Channels
		wrong        string // pointer
	}{
		{"old: mail too", `"notify_email":true`, alerts.Channels{Inapp: true, Email: &alerts.Email{To: []string{"ada@example.com"}}}, ""},
		{"old: mail alone", `"notify_email":true,"notify_inapp":false`, alerts.Channels{Email: &alerts.Email{To: []string{"ada@example.com"}}}, ""},
		{"old: nothing", `"notify_inapp":false`, alerts.Channels{}, "/channels"},
		{"null is none given", `"channels":null,"notify_email":true`, alerts.Channels{Inapp: true, Email: &alerts.Email{To: []string{"ada@example.com"}}}, ""},
		{"new before old", `"channels":{"destination":["ops"]},"notify_email":true`, alerts.Channels{Destination: []string{"ops"}}, ""},
		{"one address", `"channels":{"email":{"to":"b@example.com"}}`, alerts.Channels{Email: &alerts.Email{To: []string{"b@example.com"}}}, ""},
		{"a webhook", `"channels":{"webhook":{"url":"http://localhost/x"}}`, alerts.Channels{Webhook: &alerts.Webhook{URL: "http://localhost/x"}}, ""},
		{"nothing on", `"channels":{"inapp":false}`, alerts.Channels{}, "/channels"},
		{"unknown", `"channels":{"inap":true}`, alerts.Channels{}, "/channels/inap"},
		{"no address", `"channels":{"email":{"to":["Ada <a@example.com>"]}}`, alerts.Channels{}, "/channels/email/to/0"},
		{"twice", `"channels":{"destination":["a","a"]}`, alerts.Channels{}, "/channels/destination/1"},
		{"fallback", `"fallback":{}`, alerts.Channels{}, "/fallback"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := alerts.ParseRule([]byte(`{"user_id":"ada@example.com","name":"n","condition":` + leaf + `,` + tt.fields + `}`))
			if tt.wrong != "" {
				require.Contains(t, pointers(t, err), tt.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.channels, r.Channels)
		})
	}
	_, err := alerts.ParseRule([]byte(`{"user_id":"ada","name":"n","notify_email":true,"condition":` + leaf + `}`))
	require.Equal(t, []string{"/notify_email"}, pointers(t, err), "ada is no address")
}

func TestWhatIsWrongWithARuleIsNamed(t *testing.T) {
	t.Parallel()
	_, err := alerts.ParseRule([]byte(`{"cooldown_hours":8761,"severity":"urgent","titel":"x","message":"{{valu}} {{","ttl_seconds":0.5,"active":1}`))
	require.Equal(t, []string{
		"/titel", "/user_id", "/name", "/cooldown_hours", "/ttl_seconds", "/active", "/condition", "/severity", "/message", "/message",
	}, pointers(t, err))
	require.ErrorContains(t, err, `did you mean "title"`)
	require.ErrorContains(t, err, `did you mean "value"`)
	_, err = alerts.ParseRule([]byte(`{"user_id":"a","name":"n","type":"price","condition":` + leaf + `}`))
	require.Equal(t, []string{"/type"}, pointers(t, err))
	_, err = alerts.ParseRule([]byte(`{"user_id":"a","name":"n","title":"a\nb","condition":` + leaf + `}`))
	require.Equal(t, []string{"/title"}, pointers(t, err), "a title is one line")
	_, err = alerts.ParseRule([]byte(`{"name":"` + strings.Repeat("x", alerts.MaxRuleSize) + `"}`))
	require.Equal(t, fault.TooLarge, fault.CodeOf(err))
}

func TestMergeChangesWhatIsGiven(t *testing.T) {
	t.Parallel()
	r, err := alerts.ParseRule([]byte(`{
		"user_id":"ada@example.com","name":"Fear","condition":` + leaf + `,"severity":"critical","ttl_seconds":60,
		"channels":{"inapp":true,"webhook":{"url":"http://localhost/x?token=1"}},"fallback":{"destination":["ops"]},"cooldown_hours":1}`))
	require.NoError(t, err)
	value := decimal.NewFromInt(31)
	r.State, r.LastFiredAt, r.LastEvaluatedAt, r.LastValue, r.Revision = alerts.Firing, now, now, &value, 4

	merged, err := alerts.Merge(r, []byte(`{}`))
	require.NoError(t, err)
	require.Equal(t, r, merged)

	merged, err = alerts.Merge(r, []byte(`{"name":"Panic","severity":null,"ttl_seconds":null,"notify_email":true,"notify_inapp":false}`))
	require.NoError(t, err)
	expected := r
	expected.Name, expected.Severity, expected.TTL = "Panic", alerts.Warning, 0
	expected.Channels = alerts.Channels{Webhook: r.Channels.Webhook, Email: &alerts.Email{To: []string{"ada@example.com"}}}
	require.Equal(t, expected, merged)

	merged, err = alerts.Merge(r, []byte(`{"condition":{"type":"macro","entity":"VIX","op":">","value":40}}`))
	require.NoError(t, err)
	require.Equal(t, alerts.OK, merged.State, "another condition begins anew")
	require.Nil(t, merged.LastValue)
	require.Equal(t, now, merged.LastFiredAt, "its cooldown goes on")

	merged, err = alerts.Merge(r, []byte(`{"active":false}`))
	require.NoError(t, err)
	require.Equal(t, alerts.OK, merged.State)

	for patch, pointer := range map[string]string{
		`{"nam":"x"}`: "/nam", `{"condition":{"type":"x"}}`: "/condition/type", `{"user_id":null}`: "/user_id",
		`{"channels":null,"notify_inapp":false}`: "/channels", `{"notify_email":1}`: "/notify_email", `[]`: "",
	} {
		_, err := alerts.Merge(r, []byte(patch))
		require.Equal(t, []string{pointer}, pointers(t, err), patch)
	}
}

func TestSignalsAreInTheRulesWords(t *testing.T) {
	t.Parallel()
	r, err := alerts.ParseRule([]byte(`{"user_id":"ada","name":"{{value}}","condition":` + leaf + `,
		"title":"{{ severity }}: {{symbol}} {{op}} {{threshold}}","message":"{{name}} {{value}} {{asof}}\n{{observed}}"}`))
	require.NoError(t, err)
	result := alerts.Evaluate(r.Condition, alerts.Values{{Source: alerts.MacroSeries, Subject: "VIX", Metric: "level"}: number("31.20")})
	s, err := alerts.NewSignal(r, result, now)
	require.NoError(t, err)
	require.Equal(t, "warning: VIX > 30", s.Title)
	require.Equal(t, "{{value}} 31.2 2026-03-02\nVIX was 31.2 on 2026-03-02", s.Message, "what is put in is not looked at again")
	require.JSONEq(t, `{
		"rule_id": "00000000-0000-0000-0000-000000000000", "name": "{{value}}", "type": "macro",
		"condition": {"type":"macro","entity":"VIX","metric":"level","op":">","value":30},
		"observed": [{"type":"macro","subject":"VIX","metric":"level","op":">","threshold":30,"value":31.2,"asof":"2026-03-02","met":true}]
	}`, string(s.Data))

	s, err = alerts.NewSignal(r, alerts.Evaluate(r.Condition, nil), now)
	require.NoError(t, err)
	require.Equal(t, "warning: unknown unknown unknown", s.Title)

	for _, p := range alerts.Placeholders() {
		_, err := alerts.ParseRule([]byte(`{"user_id":"ada","name":"n","condition":` + leaf + `,"title":"{{` + p.Name + `}}"}`))
		require.NoError(t, err)
	}
}

func TestOccasionIsTheDayInUTC(t *testing.T) {
	t.Parallel()
	late := time.Date(2026, 12, 31, 23, 30, 0, 0, time.FixedZone("EST", -5*3600))
	day, end, ok := alerts.Signal{Rule: alerts.Rule{Cooldown: 24 * time.Hour}, At: late}.Occasion()
	require.True(t, ok)
	require.Equal(t, "2027-01-01", day)
	require.Equal(t, time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC), end)
	_, _, ok = alerts.Signal{Rule: alerts.Rule{Cooldown: 23 * time.Hour}, At: late}.Occasion()
	require.False(t, ok)
}

// What is read is written so that it reads the same, and without values nothing ever fires.
func FuzzCondition(f *testing.F) {
	f.Add([]byte(leaf))
	f.Add([]byte(nested(3)))
	f.Add([]byte(many(3)))
	f.Add([]byte(`{"type":"rating","symbol":"A","metric":"moat_score","op":"!=","value":1e-3}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := alerts.ParseCondition(raw, "/condition")
		if err != nil {
			for _, p := range pointers(t, err) {
				require.True(t, strings.HasPrefix(p, "/condition"), p)
			}
			return
		}
		written, err := c.MarshalJSON()
		require.NoError(t, err)
		require.True(t, json.Valid(written), "%s", written)
		again, err := alerts.ParseCondition(written, "/condition")
		require.NoError(t, err)
		twice, err := again.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, string(written), string(twice))
		require.Equal(t, c.String(), again.String())

		nothing := alerts.Evaluate(c, nil)
		require.Equal(t, alerts.Unknown, nothing.Met)
		require.NotEmpty(t, nothing.Missing)
		values := alerts.Values{}
		for _, k := range alerts.Needs(c) {
			values[k] = number("0.5")
		}
		known := alerts.Evaluate(c, values)
		require.NotEqual(t, alerts.Unknown, known.Met)
		require.Empty(t, known.Missing, "Needs names everything")
	})
}

// A rule that was merged with nothing is the rule.
func FuzzRule(f *testing.F) {
	f.Add([]byte(`{"user_id":"ada","name":"n","condition":` + leaf + `}`))
	f.Add([]byte(`{"user_id":"a@b.c","name":"n","notify_email":true,"title":"{{value}}","condition":` + nested(1) + `,"fallback":{"inapp":true}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := alerts.ParseRule(raw)
		if err != nil {
			return
		}
		merged, err := alerts.Merge(r, []byte(`{}`))
		require.NoError(t, err)
		require.Equal(t, r.Condition.String(), merged.Condition.String())
		merged.Condition = r.Condition
		require.Equal(t, r, merged)
		_, err = alerts.NewSignal(r, alerts.Evaluate(r.Condition, nil), now)
		require.NoError(t, err)
	})
}
