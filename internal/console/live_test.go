package console_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/console"
	"github.com/dawsos/dawsos/internal/dbtest"
)

// happening is an event of a page's stream.
type happening struct {
	id, event string
	data      struct{ At, HTML, Mark, Detail string }
}

// readHappening reads the next event; ok is false at the stream's end.
func readHappening(t *testing.T, lines *bufio.Scanner) (h happening, ok bool) {
	t.Helper()
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			h.id = value
		case "event":
			h.event = value
		case "data":
			require.NoError(t, json.Unmarshal([]byte(value), &h.data))
		case "": // the event's end
			return h, true
		}
	}
	return happening{}, false
}

// stream is the live stream of a page, as a browser has it open.
type stream struct {
	*http.Response
	t     *testing.T
	lines *bufio.Scanner
}

func (s *site) live(t *testing.T, of, mark string, headers ...string) *stream {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		s.url+"/console/live?"+url.Values{"of": {of}, "mark": {mark}}.Encode(), http.NoBody)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.http.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	return &stream{answer, t, lines}
}

func (s *stream) next() happening {
	s.t.Helper()
	h, ok := readHappening(s.t, s.lines)
	require.True(s.t, ok, "the stream has ended: %v", s.lines.Err())
	return h
}

// until skips events up to the first of a kind. A stream does not last long, so that this ends.
func (s *stream) until(event string) happening {
	s.t.Helper()
	for {
		if h := s.next(); h.event == event {
			return h
		}
	}
}

// A page is told that it was looked at, and what it looks like once something has changed.
func TestLive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	page := s.get("/console/dlq")
	mark := page.Header.Get("Dawsos-Mark")
	require.Regexp(t, "^[0-9a-f]{16}$", mark)
	require.Contains(t, page.body, `data-mark="`+mark+`"`, "the page knows what it shows")

	live := s.live(t, "/console/dlq", mark)
	require.Equal(t, http.StatusOK, live.StatusCode)
	require.Equal(t, "text/event-stream", live.Header.Get("Content-Type"))
	require.Equal(t, "no-store", live.Header.Get("Cache-Control"))
	heard := live.next()
	require.Equal(t, "heard", heard.event)
	require.Equal(t, mark, heard.id)
	require.Empty(t, heard.data.HTML, "what the page has is not sent again")
	at, err := time.Parse(time.RFC3339Nano, heard.data.At)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)

	s.api(http.MethodPost, "/v1/destinations", `{"name": "away", "channel": "webhook", "url": "http://127.0.0.1:1"}`, http.StatusCreated)
	s.send(`"alert_id": "a", "user_id": "ada", "title": "NAV fell", "channels": {"destination": ["away"]}`)
	changed := live.until("changed")
	require.Contains(t, changed.data.HTML, "NAV fell", "the letter has appeared")
	require.NotContains(t, changed.data.HTML, "<html", "the layout stays")
	require.NotEqual(t, mark, changed.data.Mark)
	require.Equal(t, changed.data.Mark, changed.id)
	require.Equal(t, changed.data.Mark, s.get("/console/dlq").Header.Get("Dawsos-Mark"))
	require.Equal(t, "heard", live.next().event)

	// A page that comes back says what it has by its mark, or as browsers do by themselves.
	require.Equal(t, "heard", s.live(t, "/console/dlq", changed.id).next().event)
	require.Equal(t, "changed", s.live(t, "/console/dlq", mark).next().event)
	require.Equal(t, "heard", s.live(t, "/console/dlq", mark, "Last-Event-ID", changed.id).next().event)
	for _, wrong := range []string{"", "none", "0123456789ABCDEF", changed.id + "0", changed.id + "\n\nevent: forged"} {
		h := s.live(t, "/console/dlq", wrong).next()
		require.Equal(t, "changed", h.event, "%q", wrong)
		require.Equal(t, changed.id, h.id, "%q", wrong)
	}
	// The address counts with its filter.
	filtered := s.live(t, "/console/dlq?state=discarded", changed.id).next()
	require.Equal(t, "changed", filtered.event)
	require.NotContains(t, filtered.data.HTML, "NAV fell")
}

// The overview of an idle system stays as it is from one look to the next: what only grows older does not
// change it. Connections and the size of the database are what others do, and the minute passes.
func TestLiveOverviewIsQuiet(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.send(`"alert_id": "a", "user_id": "ada", "title": "NAV fell"`)
	parts := func() map[string]string {
		page := s.get("/console")
		all := map[string]string{}
		for _, id := range []string{"operations", "letters", "invariant", "processes", "packs", "jobs", "agents"} {
			part := page.byID(id)
			require.NotNil(t, part, id)
			require.True(t, hasAttribute(part, "data-live"), "%s keeps up", id)
			var b strings.Builder
			require.NoError(t, html.Render(&b, part))
			all[id] = b.String()
		}
		return all
	}
	require.Eventually(t, func() bool { // it says so the first time while it starts, which may take as long
		var heard bool
		err := s.pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM processes)").Scan(&heard)
		return err == nil && heard
	}, time.Minute, 50*time.Millisecond)
	before := parts()
	var began time.Time
	require.NoError(t, s.pool.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&began))
	require.Eventually(t, func() bool { // the process has said twice that it is there
		var heard bool
		err := s.pool.QueryRow(t.Context(), "SELECT bool_or(heard_at > $1::timestamptz + interval '5 s') FROM processes", began).Scan(&heard)
		return err == nil && heard
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, before, parts())
}

// Only the console's own pages are looked at, and what is asked for never leads to another host.
func TestLiveOfWhat(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, of := range []string{
		"", "console", "/", "/v1/dlq", "/consoles", "/console.html", "//console/dlq", "//evil.example/console/dlq",
		"https://evil.example/console/dlq", "http://127.0.0.1:1/console", "javascript:alert(1)", "\\console\\dlq", "/console\x00",
	} {
		refused := s.get("/console/live?" + url.Values{"of": {of}}.Encode())
		require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode, of)
		require.Contains(t, refused.text(), "must be the address of a page, such as /console/dlq", of)
	}
	for _, of := range []string{"/console/nothing", "/console/../v1/dlq", "/console/live", "/console/queue/", "/console/assets/console.js"} {
		missing := s.get("/console/live?" + url.Values{"of": {of}}.Encode())
		require.Equal(t, http.StatusNotFound, missing.StatusCode, of)
		require.Contains(t, missing.text(), "there is no page", of)
	}
	// A page that is not there says why, and so does one that can't be rendered as asked.
	trouble := s.live(t, "/console/dlq/01a22b43-0000-7000-8000-000000000000", "").next()
	require.Equal(t, "trouble", trouble.event)
	require.NotEmpty(t, trouble.data.Detail)
	require.Empty(t, trouble.data.HTML)
	trouble = s.live(t, "/console/dlq?state=nonsense", "").next()
	require.Equal(t, "trouble", trouble.event)
	require.Equal(t, "This page could not be brought up to date.", trouble.data.Detail)
}

// While the database is away the stream goes on and says so; the page is told as soon as it is back.
func TestLiveWithoutDatabase(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	w, through := newWire(t, databaseURL)
	s := startSite(t, through, dbtest.Connect(t, databaseURL))
	mark := s.get("/console/dlq").Header.Get("Dawsos-Mark")
	live := s.live(t, "/console/dlq", mark)
	require.Equal(t, "heard", live.next().event)
	w.cut()
	trouble := live.until("trouble")
	require.Equal(t, "The database does not answer; this page waits for it.", trouble.data.Detail)
	require.Equal(t, mark, trouble.id, "the page still shows what it did")
	require.Empty(t, trouble.data.HTML)
	w.mend()
	require.Equal(t, mark, live.until("heard").id)
}

// liveHandler is the stream of a console without services: its page to send a message needs none.
func liveHandler(t *testing.T) (*console.Console, console.Handler) {
	t.Helper()
	return liveHandlerEvery(t, 3*time.Second)
}

func liveHandlerEvery(t *testing.T, every time.Duration) (*console.Console, console.Handler) {
	t.Helper()
	c, err := console.New(console.Options{
		Auth: auth.New(auth.Options{Anonymous: auth.Admin, Registerer: prometheus.NewRegistry()}),
		Now:  time.Now, LiveEvery: every, Unavailable: func(error) bool { return false },
	})
	require.NoError(t, err)
	for _, r := range c.Routes() {
		if r.Path == "/console/live" {
			return c, r.Handler
		}
	}
	require.Fail(t, "there is no such route")
	return nil, nil
}

const needsNoService = "/console/destinations/new"

// A stream looks as often as it is told to and ends after 20 s, less than a request may take: the page opens the
// next.
func TestLiveEndsAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, live := liveHandler(t)
		defer c.Stop()
		began := time.Now()
		w := httptest.NewRecorder()
		require.NoError(t, live(w, httptest.NewRequest(http.MethodGet, "/console/live?of="+needsNoService, http.NoBody)))
		require.Equal(t, 20*time.Second, time.Since(began))
		var events []string
		lines := bufio.NewScanner(w.Body)
		lines.Buffer(nil, 1<<20)
		for {
			h, ok := readHappening(t, lines)
			if !ok {
				break
			}
			at, err := time.Parse(time.RFC3339Nano, h.data.At)
			require.NoError(t, err)
			require.Equal(t, time.Duration(len(events))*3*time.Second, at.Sub(began))
			events = append(events, h.event)
		}
		require.Equal(t, "changed"+strings.Repeat(" heard", 6), strings.Join(events, " "))
	})
}

// Streams do not hold up the process's stop, and end with the reader.
func TestLiveStops(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*console.Console, context.CancelFunc){
		"process": func(c *console.Console, _ context.CancelFunc) { c.Stop() },
		"reader":  func(_ *console.Console, leave context.CancelFunc) { leave() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, live := liveHandler(t)
				defer c.Stop()
				began := time.Now()
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				time.AfterFunc(5*time.Second, func() { end(c, leave) })
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/console/live?of="+needsNoService, http.NoBody)
				require.NoError(t, live(httptest.NewRecorder(), r))
				require.Equal(t, 5*time.Second, time.Since(began))
			})
		})
	}
}

// TestLookingIsNoLatency: how long a page is open is no latency of the API, which alerts are about.
func TestLookingIsNoLatency(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.Contains(t, s.firstEvent("/console/destinations/new"), "event: ")
	var metrics string
	require.Eventually(t, func() bool {
		metrics = s.get("/metrics").body
		return strings.Contains(metrics, `api_requests_total{endpoint="/console/live",method="GET",status="200"} 1`)
	}, time.Minute, 10*time.Millisecond)
	require.Contains(t, metrics, `api_latency_count{endpoint="/console/live"} 0`)
}

// pipes is a listener of connections within the process, which a synctest bubble sees through.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { return nil }

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// A pause that is longer than the time to take an event ends no stream: on HTTP/2 a deadline that passes does,
// though nothing waits to be written.
func TestLivePausesOnHTTP2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, live := liveHandlerEvery(t, 7*time.Second)
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		var major atomic.Int64
		server := &http.Server{
			Protocols: protocols,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				major.Store(int64(r.ProtoMajor))
				_ = live(w, r) // what the reader gets tells
			}),
		}
		listener := make(pipes)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		client := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			listener <- far
			return near, nil
		}}
		defer func() {
			client.CloseIdleConnections()
			c.Stop()
			close(listener)
			_ = server.Close()
			require.Error(t, <-served)
		}()

		began := time.Now()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://pipe/console/live?of="+needsNoService, http.NoBody)
		require.NoError(t, err)
		answer, err := client.RoundTrip(r)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.EqualValues(t, 2, major.Load())
		require.Equal(t, 20*time.Second, time.Since(began))
		require.Equal(t, 3, bytes.Count(body, []byte("event: ")), "at 0, 7 and 14 s")
	})
}
