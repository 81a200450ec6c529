package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// send delivers a message through the API and returns its event's id.
func (s *site) send(fields string) string {
	s.t.Helper()
	body := s.api(http.MethodPost, "/v1/deliveries", `{"message": "", `+fields+`}`, http.StatusOK)
	_, rest, ok := strings.Cut(body, `"event_id":"`)
	require.True(s.t, ok, body)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// number returns what a statement counts.
func (s *site) number(query string, args ...any) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.pool.QueryRow(s.t.Context(), query, args...).Scan(&n))
	return n
}

// fields are the values of a page's input fields by name, those of checkboxes if they are checked.
func (r response) fields() url.Values {
	values := url.Values{}
	for n := range r.tree.Descendants() {
		if n.Type != html.ElementNode || n.Data != "input" || attribute(n, "type") == "checkbox" && !hasAttribute(n, "checked") {
			continue
		}
		values.Add(attribute(n, "name"), attribute(n, "value"))
	}
	return values
}

// byID returns the element with an id, nil when there is none.
func (r response) byID(id string) *html.Node {
	for n := range r.tree.Descendants() {
		if n.Type == html.ElementNode && attribute(n, "id") == id {
			return n
		}
	}
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttribute(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// invalidFields are the ids of the fields that a page marks as wrong; each points to what is wrong with it.
func (r response) invalidFields(t *testing.T) []string {
	t.Helper()
	var ids []string
	for n := range r.tree.Descendants() {
		if n.Type == html.ElementNode && attribute(n, "aria-invalid") == "true" {
			ids = append(ids, attribute(n, "id"))
			require.NotNil(t, r.byID(attribute(n, "aria-describedby")), "%s has no message", attribute(n, "id"))
		}
	}
	return ids
}

// receiver is a webhook endpoint that answers with a status and text.
func receiver(t *testing.T, status int, text string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	s := newSite(t, "WEBHOOK_ALLOW_PRIVATE", "true", "WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")

	empty := s.get("/console/deliveries")
	require.Equal(t, http.StatusOK, empty.StatusCode)
	require.Contains(t, empty.text(), "Nothing has been accepted for delivery yet. Send a test message")
	require.Contains(t, empty.links(), "/console/deliveries/new")

	hook := receiver(t, http.StatusGone, "this hook has <moved>")
	failed := s.send(`"alert_id": "nav & drop", "user_id": "ada", "title": "NAV <fell>", "severity": "critical", "data": {"nav": 12.5},
		"channels": {"inapp": true, "webhook": {"url": "` + hook + `/path?token=t0ken"}}`)
	repeated := s.send(`"alert_id": "nav & drop", "user_id": "ada", "title": "NAV <fell>", "severity": "critical", "data": {"nav": 12.5}`)
	other := s.send(`"alert_id": "fx", "user_id": "grace", "title": "Franc rose"`)

	list := s.get("/console/deliveries")
	require.Equal(t, http.StatusOK, list.StatusCode)
	text := list.text()
	require.Less(t, strings.Index(text, "Franc rose"), strings.Index(text, "NAV <fell>"), "newest first")
	require.Contains(t, text, "webhook exhausted http_4xx")
	require.Contains(t, text, "inapp duplicate")
	require.NotContains(t, list.body, "t0ken")
	for _, id := range []string{failed, repeated, other} {
		require.Contains(t, list.links(), "/console/deliveries/"+id)
	}
	var letter string
	require.NoError(t, s.pool.QueryRow(t.Context(), "SELECT id::text FROM alert_dlq").Scan(&letter))
	letter = "/console/dlq/" + letter + "?event=" + failed + "&target=webhook"
	require.Contains(t, list.links(), letter)
	require.Contains(t, list.links(), "/console/deliveries?alert_id=nav%20%26%20drop")

	for query, want := range map[string][]string{
		"alert_id=nav+%26+drop":                  {failed, repeated},
		"user_id=grace":                          {other},
		"user_id=grace&alert_id=fx":              {other},
		"source=direct":                          {failed, repeated, other},
		"source=rule":                            nil,
		"user_id=grace&source=rule":              nil,
		"user_id=nobody":                         nil,
		"accepted_after=2020-01-02T15%3A04":      {failed, repeated, other},
		"accepted_after=2100-01-02T15%3A04%3A05": nil,
		"accepted_before=2020-01-02T15%3A04":     nil,
		"accepted_before=2100-01-02T15%3A04":     {failed, repeated, other},
	} {
		page := s.get("/console/deliveries?" + query)
		require.Equal(t, http.StatusOK, page.StatusCode, query)
		for _, id := range []string{failed, repeated, other} {
			shown := strings.Contains(page.body, "/console/deliveries/"+id)
			require.Equal(t, strings.Contains(strings.Join(want, " "), id), shown, "%s: %s", query, id)
		}
		if want == nil {
			require.Contains(t, page.text(), "No event matches the filter.", query)
		}
	}

	t.Run("one that failed", func(t *testing.T) {
		page := s.get("/console/deliveries/" + failed)
		require.Equal(t, http.StatusOK, page.StatusCode)
		text := page.text()
		require.Contains(t, text, "webhook "+hook+"/… exhausted")
		require.Contains(t, text, "a refusal that a retry does not help against")
		require.Contains(t, text, "nothing by itself: mend the cause and replay it, or discard it")
		require.Contains(t, text, "The receiver answered: this hook has <moved>")
		require.Contains(t, text, "410")
		require.Contains(t, text, "accepted from a caller, for inapp, webhook")
		require.Contains(t, text, `"nav": 12.5`)
		require.NotContains(t, page.body, "t0ken")
		require.NotContains(t, page.body, "<moved>", "what came from outside is escaped")
		require.Contains(t, page.links(), letter)
		require.Contains(t, page.links(), "/console/inbox?user=ada")
		require.NotNil(t, page.byID("delivery"))
		require.True(t, hasAttribute(page.byID("delivery"), "data-live"))
	})
	t.Run("a duplicate", func(t *testing.T) {
		page := s.get("/console/deliveries/" + repeated)
		require.Contains(t, page.text(), "event "+failed+" says the same")
		require.Contains(t, page.links(), "/console/deliveries/"+failed)
		require.Contains(t, page.text(), "No attempt is recorded.")
	})
	t.Run("one that is retried", func(t *testing.T) {
		id := s.send(`"alert_id": "late", "user_id": "ada", "title": "Later", "channels": {"webhook": {"url": "` + receiver(t, http.StatusServiceUnavailable, "busy") +
			`"}}, "fallback": {"inapp": true}`)
		page := s.get("/console/deliveries/" + id)
		require.Regexp(t, `attempt 2 at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(`, page.text())
		require.NotRegexp(t, `attempt 2 at [^(]*, in `, page.text(), "what is left until then changes with time")
		require.Contains(t, page.text(), "Used once, if a target fails for good or expires. It is not in use.")
		require.Equal(t, page.Header.Get("Dawsos-Mark"), s.get("/console/deliveries/"+id).Header.Get("Dawsos-Mark"), "the page stays as it is while nothing happens")
	})
	t.Run("none", func(t *testing.T) {
		for _, id := range []string{uuid.NewString(), "x"} {
			page := s.get("/console/deliveries/" + id)
			require.Equal(t, http.StatusNotFound, page.StatusCode)
			require.Contains(t, page.Header.Get("Content-Type"), "text/html")
		}
	})
	t.Run("wrong filters", func(t *testing.T) {
		for query, field := range map[string]string{
			"source=mail": "source", "accepted_after=yesterday": "accepted_after", "accepted_before=1": "accepted_before",
			"alert_id=%00": "alert_id", "user_id=%ff": "user_id", "alert_id=" + strings.Repeat("x", 201): "alert_id",
		} {
			page := s.get("/console/deliveries?" + query)
			require.Equal(t, http.StatusUnprocessableEntity, page.StatusCode, query)
			require.Equal(t, []string{field}, page.invalidFields(t), query)
		}
		page := s.get("/console/deliveries?cursor=x")
		require.Equal(t, http.StatusUnprocessableEntity, page.StatusCode)
		require.Contains(t, page.text(), "start at its beginning")
	})
}

// Where traces and dashboards are looked at is a setting; without it no page has an address elsewhere.
func TestDeliveryLinks(t *testing.T) {
	t.Parallel()
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, with := range []bool{true, false} {
		var env []string
		if with {
			env = []string{"JAEGER_URL", "http://jaeger.example:16686", "GRAFANA_URL", "http://grafana.example:3000"}
		}
		s := newSite(t, env...)
		id := s.send(`"alert_id": "a", "user_id": "ada", "title": "Traced"`)
		_, err := s.pool.Exec(t.Context(), "UPDATE alert_events SET traceparent = $1", "00-"+traceID+"-00f067aa0ba902b7-01")
		require.NoError(t, err)
		_, err = s.pool.Exec(t.Context(), "UPDATE alert_attempts SET trace_id = $1", traceID)
		require.NoError(t, err)
		page, list := s.get("/console/deliveries/"+id), s.get("/console/deliveries")
		trace, dashboard := "http://jaeger.example:16686/trace/"+traceID, "http://grafana.example:3000/d/alert-delivery"
		require.Equal(t, with, strings.Contains(strings.Join(page.links(), " "), trace))
		require.Equal(t, with, strings.Contains(strings.Join(page.links(), " "), dashboard))
		require.Equal(t, with, strings.Contains(strings.Join(list.links(), " "), dashboard))
		if !with {
			require.Contains(t, page.text(), traceID, "the trace's id is still told")
		}
	}
}

// A letter that is opened from a delivery tells that it has been delivered, once it is.
func TestLetterOfADelivery(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t, "RETRY_SCHEDULE", "1h")
	hook := newEndpoint(t, http.StatusNotFound)
	event := s.deliver(hook, "NAV fell")
	letter := s.letterIDs("exhausted")[0]
	var opened []string
	for _, page := range []string{"/console/deliveries", "/console/deliveries/" + event} {
		for _, link := range s.get(page).links() {
			if strings.HasPrefix(link, "/console/dlq/"+letter) {
				opened = append(opened, link)
			}
		}
	}
	require.Len(t, opened, 2)
	hook.status.Store(http.StatusNoContent)
	s.post("/console/dlq/act", url.Values{"action": {"replay"}, "id": {letter}, "reason": {"the hook is back"}})
	_, err := s.pool.Exec(t.Context(), `DELETE FROM audit_log`) // so that nothing else tells of the letter
	require.NoError(t, err)
	s.work()
	s.becomes("/console/deliveries/"+event, "The receiver has taken it.")
	for _, link := range opened {
		gone := s.get(link)
		require.Equal(t, http.StatusOK, gone.StatusCode, "%s: %s", link, gone.text())
		require.Contains(t, gone.text(), "has left the queue: the receiver has taken it")
	}
}

func TestDeliveriesArePaged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	at := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	for i := range 120 {
		id := uuid.Must(uuid.NewV7())
		accepted := at.Add(time.Duration(i) * time.Second)
		ms := accepted.UnixMilli()
		for b := range 6 {
			id[b] = byte(ms >> (40 - 8*b))
		}
		_, err := s.pool.Exec(t.Context(), `
			INSERT INTO alert_events (id, tenant_id, alert_id, user_id, title, message, severity, data, channels, accepted_at)
			VALUES ($1, 'default', 'a', 'ada', $2, '', 'info', '{}', '{"inapp": {"channel": "inapp"}}', $3)`, id, fmt.Sprintf("number %03d.", i), accepted)
		require.NoError(t, err)
	}
	numbers := func(page response) (first, last string, n int) {
		text := page.text()
		i, j := strings.Index(text, "number "), strings.LastIndex(text, "number ")
		return text[i : i+10], text[j : j+10], strings.Count(text, "number ")
	}
	page := s.get("/console/deliveries?user_id=ada")
	for _, want := range [][]any{{"number 119", "number 070", 50}, {"number 069", "number 020", 50}, {"number 019", "number 000", 20}} {
		first, last, n := numbers(page)
		require.Equal(t, want, []any{first, last, n})
		if address := page.byRel("next"); n == 50 {
			require.Contains(t, address, "user_id=ada")
			page = s.get(address)
		} else {
			require.Empty(t, address)
			require.Contains(t, page.links(), "/console/deliveries?user_id=ada")
		}
	}
	// Times are exact, and hold on every page.
	between := url.Values{"accepted_after": {at.Add(10 * time.Second).Format(time.RFC3339)}, "accepted_before": {at.Add(80 * time.Second).Format("2006-01-02T15:04:05")}}
	page = s.get("/console/deliveries?" + between.Encode())
	first, last, n := numbers(page)
	require.Equal(t, []any{"number 079", "number 030", 50}, []any{first, last, n})
	first, last, n = numbers(s.get(page.byRel("next")))
	require.Equal(t, []any{"number 029", "number 010", 20}, []any{first, last, n})
}

func TestTestMessage(t *testing.T) {
	t.Parallel()
	s := newSite(t, "WEBHOOK_ALLOW_PRIVATE", "true")

	form := s.get("/console/deliveries/new?user=ada")
	require.Equal(t, http.StatusOK, form.StatusCode)
	require.Contains(t, form.text(), "There is no destination yet.")
	require.NotEqual(t, form.fields().Get("key"), s.get("/console/deliveries/new").fields().Get("key"), "each form has a key of its own")

	s.api(http.MethodPost, "/v1/destinations", `{"name": "ops", "channel": "webhook", "url": "`+receiver(t, http.StatusOK, "thanks")+`"}`, http.StatusCreated)
	form = s.get("/console/deliveries/new?user=ada&destination=ops")
	filled := form.fields()
	require.Equal(t, []string{"ops"}, filled["destination"])
	require.Empty(t, filled["inapp"])
	filled.Set("inapp", "true")
	filled.Set("title", "Does it <work>?")
	filled.Set("message", "Two\r\nlines")
	filled.Set("severity", "warning")

	sent := s.post("/console/deliveries", filled)
	require.Equal(t, http.StatusSeeOther, sent.StatusCode, sent.body)
	page := s.get(sent.Header.Get("Location"))
	text := page.text()
	require.Contains(t, text, "The message was taken on, and attempted once on each target.")
	require.Contains(t, text, "Does it <work>?")
	require.Contains(t, text, "destination:ops delivered")
	require.Contains(t, text, `"test": true`)
	require.Contains(t, text, `"sent_by": "console"`)
	require.Contains(t, page.links(), "/console/destinations/ops")
	require.Contains(t, page.links(), "/console/deliveries?alert_id=console-test")
	require.Equal(t, 1, s.number("SELECT count(*) FROM notifications WHERE user_id = 'ada' AND message = E'Two\nlines'"))

	t.Run("twice", func(t *testing.T) {
		again := s.post("/console/deliveries", filled)
		require.Equal(t, http.StatusSeeOther, again.StatusCode)
		was, _, _ := strings.Cut(sent.Header.Get("Location"), "?")
		is, _, _ := strings.Cut(again.Header.Get("Location"), "?")
		require.Equal(t, was, is)
		require.Contains(t, s.get(again.Header.Get("Location")).text(), "This message was sent before, and once only")
		require.Equal(t, 1, s.number("SELECT count(*) FROM alert_events"))
	})
	t.Run("the same words in another form", func(t *testing.T) {
		other := url.Values{}
		for k, v := range filled {
			other[k] = v
		}
		other.Set("key", uuid.NewString())
		require.Equal(t, http.StatusSeeOther, s.post("/console/deliveries", other).StatusCode)
		require.Equal(t, 2, s.number("SELECT count(*) FROM alert_deliveries WHERE target = 'destination:ops'"), "a test is no duplicate")
	})
	t.Run("changed after it was sent", func(t *testing.T) {
		changed := url.Values{}
		for k, v := range filled {
			changed[k] = v
		}
		changed.Set("title", "Something else")
		before := s.number("SELECT count(*) FROM alert_events")
		refused := s.post("/console/deliveries", changed)
		require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode)
		require.Contains(t, refused.text(), "This form was sent before with other words.")
		require.Equal(t, "Something else", refused.fields().Get("title"))
		require.NotEqual(t, changed.Get("key"), refused.fields().Get("key"))
		require.Equal(t, before, s.number("SELECT count(*) FROM alert_events"))
		changed.Set("key", refused.fields().Get("key"))
		require.Equal(t, http.StatusSeeOther, s.post("/console/deliveries", changed).StatusCode)
	})
	t.Run("wrong input", func(t *testing.T) {
		before := s.number("SELECT count(*) FROM alert_events")
		for _, c := range []struct {
			field, value string
			wrong        string
		}{
			{"user", "", "Say whom it is for."},
			{"user", strings.Repeat("x", 201), "at most 200 characters"},
			{"title", "", "Give it a title."},
			{"title", "a\x00b", "a character that can't be stored"},
			{"message", strings.Repeat("x", 20_001), "at most 20 000 characters"},
			{"severity", "loud", "There is no such severity."},
			{"destination", "nowhere", "There is no destination nowhere."},
			{"key", "", "The form came without its key"},
		} {
			given := url.Values{}
			for k, v := range filled {
				given[k] = v
			}
			given.Set("key", uuid.NewString())
			given.Set(c.field, c.value)
			page := s.post("/console/deliveries", given)
			require.Equal(t, http.StatusUnprocessableEntity, page.StatusCode, c.field)
			require.Contains(t, page.text(), c.wrong)
			if c.field != "title" {
				require.Equal(t, "Does it <work>?", page.fields().Get("title"), "what was typed stays")
			}
			if c.field != "key" && c.field != "destination" {
				require.Equal(t, []string{c.field}, page.invalidFields(t))
			}
		}
		none := url.Values{"key": {uuid.NewString()}, "user": {"ada"}, "title": {"t"}, "severity": {"info"}}
		page := s.post("/console/deliveries", none)
		require.Equal(t, http.StatusUnprocessableEntity, page.StatusCode)
		require.Contains(t, page.text(), "Choose the inbox or a destination.")
		require.Equal(t, before, s.number("SELECT count(*) FROM alert_events"))
	})
}
