package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/app"
)

// endpoint is a receiver of webhooks that answers with a status until it is repaired.
type endpoint struct {
	*httptest.Server
	status   atomic.Int32
	received atomic.Int32
}

func newEndpoint(t *testing.T, status int32) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.status.Store(status)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		e.received.Add(1)
		w.WriteHeader(int(e.status.Load()))
		if e.status.Load() >= 300 {
			fmt.Fprint(w, "<b>no such hook</b>")
		}
	}))
	t.Cleanup(e.Close)
	return e
}

// webhookSecret signs what is sent to webhooks.
var webhookSecret = "whsec_" + strings.Repeat("A", 43) + "="

// newQueueSite is a site that sends to webhooks.
func newQueueSite(t *testing.T, env ...string) *site {
	t.Helper()
	return newSite(t, append([]string{"WEBHOOK_SECRET", webhookSecret}, env...)...)
}

// deliver has a message sent to the endpoint and returns the event's id.
func (s *site) deliver(e *endpoint, title string, more ...string) string {
	s.t.Helper()
	extra := strings.Join(more, "")
	body := fmt.Sprintf(`{"alert_id": "nav", "user_id": "ada", "title": %q, "message": "by 3 percent", "severity": "critical", "data": {"nav": 97.25},
		"channels": {"webhook": {"url": %q}} %s}`, title, e.URL+"/hook?token=hushhush", extra)
	r := s.do(http.MethodPost, "/v1/deliveries", strings.NewReader(body), "Content-Type", "application/json")
	require.Less(s.t, r.StatusCode, 300, r.body)
	var answer struct {
		EventID string `json:"event_id"`
	}
	require.NoError(s.t, json.Unmarshal([]byte(r.body), &answer))
	return answer.EventID
}

// letterIDs are the letters in a state, oldest first.
func (s *site) letterIDs(state string) []string {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), `SELECT id::text FROM alert_dlq WHERE state = $1 ORDER BY id`, state)
	require.NoError(s.t, err)
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		require.NoError(s.t, rows.Scan(&id))
		ids = append(ids, id)
	}
	return ids
}

// work runs the worker beside the site, until the test ends.
func (s *site) work(env ...string) {
	s.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	addr := listener.Addr().String()
	require.NoError(s.t, listener.Close())
	settings := map[string]string{
		"DATABASE_URL": s.pool.Config().ConnString(), "WORKER_ADDR": addr, "LOG_LEVEL": "error", "SECRETS_KEY": strings.Repeat("A", 43) + "=",
		"API_URL": s.url, "WEBHOOK_SECRET": webhookSecret,
		"PATTERNS_DIR": filepath.Join("..", "..", "configs", "patterns"), "AGENTS_FILE": filepath.Join("..", "..", "configs", "agents.yaml"),
		"ANALYTICS_DIR": filepath.Join("..", "..", "configs", "analytics"),
	}
	for i := 0; i < len(env); i += 2 {
		settings[env[i]] = env[i+1]
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.RunWorker(ctx, nil, func(name string) string { return settings[name] }) }()
	s.t.Cleanup(func() {
		cancel()
		require.NoError(s.t, <-ended)
	})
}

// becomes waits until a page says something.
func (s *site) becomes(path, text string) response {
	s.t.Helper()
	var r response
	require.Eventually(s.t, func() bool {
		r = s.get(path)
		return r.StatusCode == http.StatusOK && strings.Contains(r.text(), text)
	}, time.Minute, 100*time.Millisecond, "%s does not come to say %q", path, text)
	return r
}

// actions are the audit trail's, oldest first, with actor, reason and subject.
func (s *site) actions() []string {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), `SELECT concat_ws(' ', actor, action, '"' || reason || '"') FROM audit_log ORDER BY id`)
	require.NoError(s.t, err)
	defer rows.Close()
	var list []string
	for rows.Next() {
		var line string
		require.NoError(s.t, rows.Scan(&line))
		list = append(list, line)
	}
	return list
}

// cells are the texts of the table's body, row by row.
func (r response) cells() [][]string {
	var rows [][]string
	for n := range r.tree.Descendants() {
		if n.Type != html.ElementNode || n.Data != "tr" || n.Parent.Data != "tbody" {
			continue
		}
		var row []string
		for c := range n.ChildNodes() {
			if c.Type == html.ElementNode {
				row = append(row, response{tree: c}.text())
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// link is the address of the link with a text.
func (r response) link(t *testing.T, text string) string {
	t.Helper()
	for n := range r.tree.Descendants() {
		if n.Type == html.ElementNode && n.Data == "a" && (response{tree: n}).text() == text {
			for _, a := range n.Attr {
				if a.Key == "href" {
					return a.Val
				}
			}
		}
	}
	require.Fail(t, "no link", "%q in %s", text, r.text())
	return ""
}

func TestDeadLetterTable(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t, "RETRY_SCHEDULE", "1h")
	empty := s.get("/console/dlq")
	require.Equal(t, http.StatusOK, empty.StatusCode)
	require.Contains(t, empty.text(), "There are no open dead letters")
	require.NotContains(t, empty.text(), "Replay all", "there is nothing to replay")
	require.Contains(t, s.get("/console/dlq?group=cause").text(), "There are no open dead letters")
	require.Contains(t, s.get("/console/operations").text(), "No operation has been started")

	refuses, breaks := newEndpoint(t, http.StatusNotFound), newEndpoint(t, http.StatusServiceUnavailable)
	s.deliver(refuses, "CHF <jumped>")
	s.deliver(breaks, "NAV fell")

	page := s.get("/console/dlq")
	rows := page.cells()
	require.Len(t, rows, 2)
	require.Equal(t, []string{"http 5xx", "NAV fell", "webhook " + breaks.URL + "/…", "pending", "0"}, rows[0][1:6], "the newest first")
	require.NotEqual(t, "–", rows[0][6], "when it is tried next")
	require.Equal(t, []string{"http 4xx", "CHF <jumped>", "webhook " + refuses.URL + "/…", "exhausted", "0", "–"}, rows[1][1:7])
	require.Equal(t, []string{"critical", "nav"}, rows[1][8:])
	require.NotContains(t, page.body, "hushhush", "addresses can hold secrets")
	require.NotContains(t, page.body, "<jumped>")
	for _, text := range []string{"open 2", "pending 1", "exhausted 1", "http 4xx 1", "http 5xx 1", "Replay all 2 …", "Discard all 2 …"} {
		require.Contains(t, page.text(), text)
	}

	for query, want := range map[string][]string{
		"state=pending":                    {"NAV fell"},
		"cause=http_4xx":                   {"CHF <jumped>"},
		"q=chf":                            {"CHF <jumped>"},
		"q=answered+503":                   {"NAV fell"},
		"alert_id=nav&user_id=ada":         {"NAV fell", "CHF <jumped>"},
		"channel=email":                    nil,
		"destination=ops":                  nil,
		"created_after=2000-01-01T00:00":   {"NAV fell", "CHF <jumped>"},
		"created_before=2000-01-01T00:00Z": nil,
		"state=discarded":                  nil,
		"state=any":                        {"NAV fell", "CHF <jumped>"},
		"operation_id=01958a3c-7a1e-7bb0-9d3c-000000000001": nil,
	} {
		found := s.get("/console/dlq?" + query)
		require.Equal(t, http.StatusOK, found.StatusCode, query)
		var titles []string
		for _, row := range found.cells() {
			titles = append(titles, row[2])
		}
		require.Equal(t, want, titles, query)
		if want == nil {
			require.Contains(t, found.text(), "No dead letter matches this filter", query)
		}
	}
	narrowed := s.get(page.link(t, "http 4xx 1"))
	require.Contains(t, narrowed.text(), "Replay all 1 that match …")
	require.Contains(t, narrowed.text(), "http 5xx 1", "what else there is")
	require.Contains(t, narrowed.text(), "pending 0")
	require.Len(t, s.get(narrowed.link(t, "http 4xx 1")).cells(), 2, "once more lets go of it")

	groups := s.get("/console/dlq?group=cause")
	require.Equal(t, [][]string{{"http 4xx", "1", "0", "1"}, {"http 5xx", "1", "1", "0"}}, [][]string{groups.cells()[0][:4], groups.cells()[1][:4]})
	require.Contains(t, groups.links(), "/console/dlq/act?action=replay&cause=http_4xx")
	require.Contains(t, groups.links(), "/console/dlq/act?action=discard&cause=http_5xx")
	require.Len(t, s.get(groups.link(t, "http 5xx")).cells(), 1)

	expired := s.get("/console/dlq?state=expired")
	require.NotContains(t, expired.text(), "Replay all")
}

func TestDeadLetterFiltersThatAreWrong(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t)
	for query, want := range map[string]string{
		"state=gone":                             "There is no such state.",
		"cause=bad+luck":                         "There is no such cause.",
		"created_after=yesterday":                "A time such as 2026-11-25T10:00.",
		"operation_id=7":                         "This is not the id of an operation.",
		"q=%00":                                  "This is no text.",
		"user_id=%ff":                            "This is no text.",
		"destination=" + strings.Repeat("x", 64): "At most 63 characters.",
	} {
		r := s.get("/console/dlq?" + query)
		require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode, query)
		require.Contains(t, r.text(), want, query)
		name, _, _ := strings.Cut(query, "=")
		require.Contains(t, r.body, `aria-invalid="true" aria-describedby="f-`+name+`-wrong"`)
		require.Contains(t, r.text(), "Nothing is shown: a filter above is wrong.")
	}
	require.Contains(t, s.get("/console/dlq?created_after=yesterday").body, `value="yesterday"`, "what was typed")
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/dlq?cursor=x").StatusCode)
	require.Equal(t, http.StatusNotFound, s.get("/console/dlq/7").StatusCode)
	require.Equal(t, http.StatusNotFound, s.get("/console/operations/01958a3c-7a1e-7bb0-9d3c-000000000001").StatusCode)
	for _, query := range []string{"", "?action=burn", "?action=replay&of=selection", "?action=replay&id=7", "?action=replay&state=gone", "?action=replay&cause%3Dtls", "?action=replay&case=tls", "?action=replay" + strings.Repeat("&id=x", 51)} {
		require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/dlq/act"+query).StatusCode, query)
	}
}

func TestDeadLettersByThePage(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t)
	_, err := s.pool.Exec(t.Context(), `
		INSERT INTO alert_dlq (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, alert_data, state, cause, error_message, attempts, accepted_at, created_at)
		SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'default', gen_random_uuid(), 'webhook', 'webhook', 'a', 'u', '',
			jsonb_build_object('title', 'letter ' || n), 'exhausted', 'http_4xx', 'refused', 1, now(), now()
		FROM generate_series(1, 120) AS n`)
	require.NoError(t, err)
	page := s.get("/console/dlq?cause=http_4xx&undo=x")
	require.Len(t, page.cells(), 50)
	require.Equal(t, "letter 120", page.cells()[0][2])
	require.NotContains(t, page.text(), "Newest")
	second := s.get(page.link(t, "Next"))
	require.NotContains(t, page.link(t, "Next"), "undo")
	require.Equal(t, "letter 70", second.cells()[0][2])
	third := s.get(second.link(t, "Next"))
	require.Len(t, third.cells(), 20)
	require.NotContains(t, third.body, `rel="next"`, "this is the end")
	require.Equal(t, "letter 120", s.get(third.link(t, "Newest")).cells()[0][2])
	require.Contains(t, third.text(), "Replay all 120 that match …")
}

func TestDeadLetterPage(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t, "JAEGER_URL", "http://jaeger.test", "GRAFANA_URL", "http://grafana.test", "RETRY_SCHEDULE", "1h")
	refuses := newEndpoint(t, http.StatusNotFound)
	event := s.deliver(refuses, "NAV fell", `, "fallback": {"inapp": true}`)
	id := s.letterIDs("exhausted")[0]
	page := s.get("/console/dlq/" + id)
	require.Equal(t, http.StatusOK, page.StatusCode)
	for _, text := range []string{
		"NAV fell", "exhausted", "critical",
		"a refusal that a retry does not help against.", "Nothing by itself: mend the cause and replay it, or discard it.",
		"Accepted from a caller, for webhook", "Attempt 1,", "<b>no such hook</b>", "404", "by 3 percent", `"nav": 97.25`,
		refuses.URL + "/…", "Nobody has acted on it alone.",
	} {
		require.Contains(t, page.text(), text)
	}
	require.NotContains(t, page.body, "hushhush")
	require.NotContains(t, page.body, "<b>no such")
	links := page.links()
	require.Contains(t, links, "/console/deliveries/"+event)
	require.Contains(t, links, "http://grafana.test/d/alert-delivery")
	require.Contains(t, links, "/console/dlq?cause=http_4xx")
	require.Contains(t, page.text(), "Trace none was recorded", "this process has no tracing")
	again := s.get("/console/dlq/" + id)
	require.Equal(t, page.Header.Get("Dawsos-Mark"), again.Header.Get("Dawsos-Mark"), "time alone changes nothing")

	_, err := s.pool.Exec(t.Context(), `UPDATE alert_dlq SET trace_id = '0af7651916cd43dd8448eb211c80319c'`)
	require.NoError(t, err)
	require.Contains(t, s.get("/console/dlq/"+id).links(), "http://jaeger.test/trace/0af7651916cd43dd8448eb211c80319c")

	gone := s.get("/console/dlq/01958a3c-7a1e-7bb0-9d3c-000000000001?event=" + event + "&target=webhook")
	require.Equal(t, http.StatusNotFound, gone.StatusCode, "what is not delivered is not said to be")
}

// An operation takes open letters unless a state is named, so that all that are shown can't be acted on at once where
// they are in all states; those that are chosen can.
func TestAllStatesAtOnce(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t, "RETRY_SCHEDULE", "1h")
	refuses := newEndpoint(t, http.StatusNotFound)
	for i := range 3 {
		s.deliver(refuses, fmt.Sprintf("letter %d", i))
	}
	s.post("/console/dlq/act", url.Values{"action": {"discard"}, "id": s.letterIDs("exhausted")[:1], "reason": {"known"}})
	require.Contains(t, s.get("/console/dlq").text(), "Replay all 2 …")
	for _, query := range []string{"state=any", "state=any&cause=http_4xx"} {
		list := s.get("/console/dlq?" + query)
		require.Len(t, list.cells(), 3)
		require.Contains(t, list.text(), "Choose a state to act on all that match.")
		require.Contains(t, list.text(), "Replay selected …", "these act on what is chosen")
		require.Contains(t, list.text(), "Discard selected …")
		groups := s.get("/console/dlq?group=cause&" + query)
		require.Contains(t, groups.text(), "Choose a state to act on all that match.")
		require.Equal(t, "3", groups.cells()[0][1])
		for _, link := range append(list.links(), groups.links()...) {
			require.NotContains(t, link, "/console/dlq/act", query)
		}
	}
}

// Letters that are chosen are acted on one by one, with a reason, and what could not be done is said.
func TestChosenLetters(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t, "RETRY_SCHEDULE", "1h")
	refuses := newEndpoint(t, http.StatusNotFound)
	for i := range 3 {
		s.deliver(refuses, fmt.Sprintf("letter %d", i))
	}
	ids := s.letterIDs("exhausted")
	back := "/console/dlq?cause=http_4xx"

	ask := s.get("/console/dlq/act?action=discard&of=selection&id="+ids[0]+"&id="+ids[1]+"&back="+url.QueryEscape(back), "HX-Request", "true", "HX-Target", "dialog")
	require.Equal(t, http.StatusOK, ask.StatusCode)
	require.Contains(t, ask.text(), "Discard 2 letters")
	require.Contains(t, ask.text(), "letter 0")
	require.NotContains(t, ask.body, "<h1", "the page has one")
	require.Contains(t, s.get("/console/dlq/act?action=discard&id="+ids[0]).body, "<h1", "without scripts it is a page")

	form := url.Values{"action": {"discard"}, "id": {ids[0], ids[1], ids[0]}, "back": {back}}
	for reason, want := range map[string]string{"  ": "Say why", strings.Repeat("ä", 501): "At most 500 characters."} {
		form.Set("reason", reason)
		r := s.post("/console/dlq/act", form)
		require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode)
		require.Contains(t, r.text(), want)
		require.Contains(t, r.text(), "Discard 2 letters")
		require.Contains(t, r.body, strings.TrimSpace(reason), "what was typed")
	}
	require.Len(t, s.letterIDs("exhausted"), 3, "nothing has happened yet")
	require.Empty(t, s.actions())

	form.Set("reason", "known, and over")
	r := s.post("/console/dlq/act", form)
	require.Equal(t, http.StatusSeeOther, r.StatusCode)
	require.Equal(t, ids[:2], s.letterIDs("discarded"))
	require.Equal(t, []string{`console dead_letter.discard "known, and over"`, `console dead_letter.discard "known, and over"`}, s.actions())
	after := s.get(r.Header.Get("Location"))
	require.Contains(t, after.text(), "2 letters discarded.")
	require.Len(t, after.cells(), 1, "the list it came from, with its filter")
	require.Contains(t, s.get("/metrics").body, `dawsos_dead_letters_released_total{kind="discard",scope="single"} 2`)

	undo := s.get(after.link(t, "Undo: replay what was discarded"))
	require.Contains(t, undo.text(), "Replay 2 letters")
	require.Contains(t, undo.text(), "What has been sent can't be taken back.")

	// One of the three can't be discarded any more.
	form["id"], form["reason"] = []string{ids[0], ids[2]}, []string{"and the rest"}
	mixed := s.post("/console/dlq/act", form)
	require.Equal(t, http.StatusOK, mixed.StatusCode)
	require.Contains(t, mixed.text(), "1 discarded, 1 not")
	require.Contains(t, mixed.text(), "is discarded already; only pending and exhausted ones can be discarded.")
	require.Contains(t, mixed.link(t, "Undo: replay what was discarded"), ids[2])

	replay := s.post("/console/dlq/act", url.Values{"action": {"replay"}, "id": ids, "reason": {"they matter after all"}, "back": {"//elsewhere.test/"}}, "HX-Request", "true", "HX-Target", "dialog")
	require.Equal(t, http.StatusNoContent, replay.StatusCode)
	to := replay.Header.Get("HX-Redirect")
	require.True(t, strings.HasPrefix(to, "/console/dlq?done="), to)
	require.Contains(t, s.get(to).text(), "3 letters are due now, with the schedule from its start. What has been sent can't be taken back.")
	require.Len(t, s.letterIDs("pending"), 3)
	page := s.get("/console/dlq/" + ids[0])
	require.Contains(t, page.text(), "they matter after all")
	require.Contains(t, page.text(), "dead_letter.replay")
}

// The operator's path: a receiver fails, is repaired, and what matches a filter is replayed.
func TestReplayByFilter(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t)
	hook := newEndpoint(t, http.StatusNotFound)
	for i := range 3 {
		s.deliver(hook, fmt.Sprintf("letter %d", i))
	}
	detail := s.get("/console/dlq").link(t, "letter 0")
	_, err := s.pool.Exec(t.Context(), `UPDATE alert_dlq SET cause = 'tls' WHERE id = $1`, s.letterIDs("exhausted")[2])
	require.NoError(t, err)

	ask := s.get("/console/dlq/act?action=replay&cause=http_4xx")
	for _, text := range []string{"Replay 2 letters", "Open letters, with the cause http 4xx.", "letter 0", "letters that come after its start are not its own"} {
		require.Contains(t, ask.text(), text)
	}
	require.Contains(t, ask.body, `name="per_second" type="number" min="1" max="1000" value="50"`)
	require.Contains(t, ask.body, `value="20"`)
	require.NotContains(t, ask.body, `name="all"`)

	form := url.Values{"action": {"replay"}, "cause": {"http_4xx"}, "reason": {""}, "per_second": {"0"}, "stop_after_failures": {"many"}}
	wrong := s.post("/console/dlq/act", form)
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	for _, text := range []string{"Say why", "A whole number from 1 to 1000.", "A whole number from 0 to 1000000."} {
		require.Contains(t, wrong.text(), text)
	}
	require.Contains(t, wrong.body, `value="many"`)
	require.Empty(t, s.actions())

	hook.status.Store(http.StatusNoContent)
	form["reason"], form["per_second"], form["stop_after_failures"] = []string{"the hook is back"}, []string{"100"}, []string{"5"}
	started := s.post("/console/dlq/act", form)
	require.Equal(t, http.StatusSeeOther, started.StatusCode, started.body)
	address, _, _ := strings.Cut(started.Header.Get("Location"), "?")
	running := s.get(started.Header.Get("Location"))
	for _, text := range []string{"The replay has started: 2 letters matched at its start.", "Replay of 2 letters", "running", "Through with 0 of 2", "the hook is back", "up to 100 letters a second", "5 letters that fail"} {
		require.Contains(t, running.text(), text)
	}
	require.Contains(t, running.body, `<progress id="progress" max="2" value="0">`)
	require.Contains(t, s.get("/console/operations").text(), "Open letters, with the cause http 4xx")

	s.work()
	over := s.becomes(address, "It is done")
	require.Contains(t, over.text(), "Delivered 2")
	require.Contains(t, over.text(), "Through with 2 of 2")
	require.NotContains(t, over.text(), "Cancel …")
	require.EqualValues(t, 3+2, hook.received.Load())
	left := s.get("/console/dlq")
	require.Len(t, left.cells(), 1, "the other cause's")
	gone := s.get(detail)
	require.Equal(t, http.StatusOK, gone.StatusCode)
	require.Contains(t, gone.text(), "has left the queue: the receiver has taken it")
	require.Equal(t, `console operation.start "the hook is back"`, s.actions()[0])
}

// A discard by filter is undone by a replay of what it closed.
func TestDiscardByFilterAndUndo(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t)
	hook := newEndpoint(t, http.StatusNotFound)
	s.deliver(hook, "kept discarded")
	s.post("/console/dlq/act", url.Values{"action": {"discard"}, "id": s.letterIDs("exhausted"), "reason": {"earlier"}})
	s.deliver(hook, "letter")

	form := url.Values{"action": {"discard"}, "reason": {"noise"}, "per_second": {"10"}, "stop_after_failures": {"20"}}
	all := s.post("/console/dlq/act", form)
	require.Equal(t, http.StatusUnprocessableEntity, all.StatusCode)
	require.Contains(t, all.text(), "No filter is set: confirm that all open letters are meant.")
	form.Set("all", "true")
	started := s.post("/console/dlq/act", form)
	require.Equal(t, http.StatusSeeOther, started.StatusCode, started.body)
	address, _, _ := strings.Cut(started.Header.Get("Location"), "?")
	s.work()
	over := s.becomes(address, "It is done")
	require.Contains(t, over.text(), "Discarded 1")
	require.Len(t, s.letterIDs("discarded"), 2)
	undo := s.get(over.link(t, "Undo: replay what was discarded …"))
	require.Contains(t, undo.text(), "Replay 1 letter")

	hook.status.Store(http.StatusNoContent)
	id := strings.TrimPrefix(address, "/console/operations/")
	replay := s.post("/console/dlq/act", url.Values{"action": {"replay"}, "state": {"discarded"}, "operation_id": {id}, "reason": {"undo"}})
	require.Equal(t, http.StatusSeeOther, replay.StatusCode, replay.body)
	address, _, _ = strings.Cut(replay.Header.Get("Location"), "?")
	require.Contains(t, s.becomes(address, "It is done").text(), "Delivered 1")
	require.Len(t, s.letterIDs("discarded"), 1, "what was discarded before stays so")

	refused := s.get("/console/dlq/act?action=replay&state=expired")
	require.Equal(t, http.StatusOK, refused.StatusCode)
	require.Contains(t, refused.text(), "Letters that are expired are not sent any more")
	require.NotContains(t, refused.body, `method="post"`)
	require.Contains(t, s.get("/console/dlq/act?action=replay&cause=dns").text(), "No letter matches any more")
}

func TestAnOperationIsCancelledAndContinued(t *testing.T) {
	t.Parallel()
	s := newQueueSite(t)
	s.deliver(newEndpoint(t, http.StatusNotFound), "letter")
	started := s.post("/console/dlq/act", url.Values{"action": {"replay"}, "cause": {"http_4xx"}, "reason": {"again"}})
	require.Equal(t, http.StatusSeeOther, started.StatusCode, started.body)
	address, _, _ := strings.Cut(started.Header.Get("Location"), "?")
	ask := s.get(s.get(address).link(t, "Cancel …"))
	require.Contains(t, ask.text(), "those that it has released stay on their schedule")
	require.Equal(t, http.StatusNotFound, s.get(address+"/burn").StatusCode)

	cancelled := s.post(address+"/cancel", url.Values{"reason": {"too early"}})
	require.Equal(t, http.StatusSeeOther, cancelled.StatusCode)
	page := s.get(cancelled.Header.Get("Location"))
	require.Contains(t, page.text(), "It was cancelled by console: too early.")
	twice := s.post(address+"/cancel", url.Values{})
	require.Equal(t, http.StatusConflict, twice.StatusCode)
	require.Contains(t, twice.text(), "is cancelled already")

	require.Equal(t, http.StatusUnprocessableEntity, s.post(address+"/continue", url.Values{"reason": {" "}}).StatusCode)
	on := s.post(address+"/continue", url.Values{"reason": {"now it works"}})
	require.Equal(t, http.StatusSeeOther, on.StatusCode)
	require.Contains(t, s.get(on.Header.Get("Location")).text(), "running")
	require.Equal(t, []string{`console operation.start "again"`, `console operation.cancel "too early"`, `console operation.continue "now it works"`}, s.actions())
}
