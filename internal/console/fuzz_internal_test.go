package console

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/alerts"
)

// Whatever an address asks for, a filter that is not marked as wrong holds only what can be asked of the database.
func FuzzFilters(f *testing.F) {
	for _, seed := range []string{
		"state=open&cause=timeout&q=x", "state=any&created_after=2026-03-02T14:30", "user_id=%00", "alert_id=%ff", "operation_id=x&state=zzz", "active=true&type=macro",
		"rows=3&join=any&not-0=1&type-0=price&subject-0=SBI&op-0=%3C&value-0=1e999", "rows=99999999999999999999", "source=rule&accepted_before=9999-99-99T99:99",
		"subject=dead_letter&actor=" + strings.Repeat("x", 300), "%zz", ";", "created_after=0000-00-00T00:00", "cause=%E2%80%AE",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, _ := url.ParseQuery(query) // what could be read counts, as in a request
		storable := func(s string) { require.True(t, utf8.ValidString(s) && !strings.ContainsRune(s, 0), "%q", s) }

		form, letters := readLetterForm(q)
		if len(form.Errors) == 0 {
			for _, s := range []string{letters.Channel, letters.Destination, letters.AlertID, letters.UserID, letters.Search, string(letters.State), string(letters.Cause)} {
				storable(s)
			}
		}
		rules, ruleFilter := readRuleFilter(q)
		if len(rules.Wrong) == 0 {
			storable(ruleFilter.UserID)
			require.True(t, ruleFilter.State == "" || len(ruleFilter.State) < 20)
		}
		list, events := readDeliveryFilter(q)
		if len(list.Wrong) == 0 {
			storable(events.AlertID)
			storable(events.UserID)
			storable(string(events.Source))
		}
		audit := readAuditFilter(q)
		if len(audit.Wrong) == 0 {
			for _, s := range audit.Given {
				storable(s)
			}
		}
		rows := readRows(q)
		require.NotEmpty(t, rows)
		require.LessOrEqual(t, len(rows), alerts.MaxComparisons)
	})
}

// Headers as they are typed read as the same when they are written out again.
func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{"X-Desk: risk\nAuthorization: Bearer a:b", "a", ":", "a:\n\n b : c ", "a: b\r\nA: c", "\x00: \xff", "é: ü", strings.Repeat("a:b\n", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		headers, problem := readHeaders(text)
		if problem != "" {
			require.Nil(t, headers)
			return
		}
		var b strings.Builder
		for name, value := range headers {
			b.WriteString(name + ": " + value + "\n")
		}
		again, problem := readHeaders(b.String())
		require.Empty(t, problem)
		require.Equal(t, headers, again)
	})
}

// JSON that is shown in its own order is the same JSON.
func FuzzOrdered(f *testing.F) {
	for _, seed := range []string{`{"b": 1, "a": [1.50, null, {"x": "\ud800"}]}`, `[]`, `{}`, `1e400`, `"a"`, `{"a": 1, "a": 2}`, `{`, `[1,`, `]`, "\xff", `{"a" 1}`, `{"a":}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) { // it is asked only for what the database holds
			return
		}
		v, err := decodeOrdered(raw)
		require.NoError(t, err)
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var want any
		require.NoError(t, d.Decode(&want))
		require.Equal(t, want, unordered(v))
	})
}

func unordered(v any) any {
	switch v := v.(type) {
	case object:
		m := map[string]any{}
		for _, each := range v {
			m[each.name] = unordered(each.value)
		}
		return m
	case []any:
		for i := range v {
			v[i] = unordered(v[i])
		}
	}
	return v
}
