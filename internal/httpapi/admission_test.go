package httpapi_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/admission"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/console"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// knock is an authenticator that knows whoever is named by the credential "good:" and a name, and an
// admin who shows nothing if there may be one.
type knock struct{ anonymous bool }

func (k knock) Authenticate(r *http.Request) (auth.Principal, error) {
	shown := r.Header.Get("Authorization")
	if name, ok := strings.CutPrefix(shown, "Bearer good:"); ok {
		return auth.Principal{TenantID: "default", Subject: "key:" + name, Role: auth.Admin}, nil
	}
	if shown == "" && k.anonymous {
		return auth.Principal{TenantID: "default", Role: auth.Admin}, nil
	}
	return auth.Principal{}, fault.New(fault.Unauthenticated, "who are you?")
}

// untouched is a body that must not be read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func newRatedSite(t *testing.T, burst int, anonymous bool, now func() time.Time) *site {
	t.Helper()
	return newFrontSite(t, func(o *httpapi.Options) {
		o.Auth = knock{anonymous}
		o.Rates = admission.NewRates(admission.RateOptions{PerSecond: 1, Burst: burst, Now: now, Registerer: o.Registerer})
		o.Patterns = engine(func(context.Context, patterns.Request) (*patterns.Answer, error) {
			return nil, fault.New(fault.NotFound, "nothing here")
		})
	})
}

// Each caller has a rate, is told of it with every answer, and hurts nobody else by exceeding it.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newRatedSite(t, 3, false, func() time.Time { return now })
	ask := func(name string) *answer { return s.post(t, overview, "{}", "Authorization", "Bearer good:"+name) }
	for left := 2; left >= 0; left-- {
		a := ask("a")
		a.problem(http.StatusNotFound, fault.NotFound)
		require.Equal(t, `"caller";q=3;w=3`, a.header.Get("RateLimit-Policy"))
		require.Equal(t, `"caller";r=`+strconv.Itoa(left)+`;t=`+strconv.Itoa(3-left), a.header.Get("RateLimit"))
	}
	a := s.post(t, overview, untouched{t}, "Authorization", "Bearer good:a")
	p := a.problem(http.StatusTooManyRequests, fault.TooManyRequests)
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.Equal(t, 1, *p.RetryAfterSeconds)
	require.Equal(t, `"caller";r=0;t=3`, a.header.Get("RateLimit"))
	require.Equal(t, "close", a.header.Get("Connection"), "or the answer would wait for the body")
	ask("b").problem(http.StatusNotFound, fault.NotFound)
	require.Equal(t, 200, s.get(t, "/metrics").status, "scrapes are not counted")
	require.Empty(t, s.get(t, "/healthz").header.Get("RateLimit"))
	now = now.Add(time.Second)
	ask("a").problem(http.StatusNotFound, fault.NotFound)
	ask("a").problem(http.StatusTooManyRequests, fault.TooManyRequests)
	require.InDelta(t, 2, limited(t, s, "caller"), 0)
}

func limited(t *testing.T, s *site, by string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != "dawsos_rate_limited_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == by {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("dawsos_rate_limited_total has no %s", by)
	return 0
}

// Callers who show nothing, pages and what is not there are counted by address.
func TestRateLimitByAddress(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newRatedSite(t, 3, true, func() time.Time { return now })
	a := s.post(t, overview, "{}")
	a.problem(http.StatusNotFound, fault.NotFound)
	require.Equal(t, `"address";q=3;w=3`, a.header.Get("RateLimit-Policy"))
	require.Equal(t, `"address";r=1;t=2`, s.get(t, "/nowhere").header.Get("RateLimit"))
	require.Equal(t, `"address";r=0;t=3`, s.get(t, "/docs").header.Get("RateLimit"))
	s.get(t, "/openapi.json").problem(http.StatusTooManyRequests, fault.TooManyRequests)
	s.post(t, overview, "{}", "Authorization", "Bearer good:a").problem(http.StatusNotFound, fault.NotFound)
}

// Credentials that are refused are counted more tightly, and those that are right go on.
func TestRefusedCredentials(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newRatedSite(t, 1000, false, func() time.Time { return now })
	for i := range 20 {
		a := s.post(t, overview, untouched{t}, "Authorization", "Bearer bad"+strconv.Itoa(i))
		a.problem(http.StatusUnauthorized, fault.Unauthenticated)
		require.Equal(t, `"refused";q=20;w=20`, a.header.Get("RateLimit-Policy"))
	}
	a := s.post(t, overview, untouched{t}, "Authorization", "Bearer bad")
	a.problem(http.StatusTooManyRequests, fault.TooManyRequests)
	require.Empty(t, a.header.Get("WWW-Authenticate"))
	s.post(t, overview, "{}", "Authorization", "Bearer good:a").problem(http.StatusNotFound, fault.NotFound)
	require.InDelta(t, 1, limited(t, s, "refused"), 0)
}

// later posts to overview while the test goes on.
func (s *site) later(t *testing.T, body io.Reader, header ...string) <-chan *answer {
	t.Helper()
	return s.laterTo(t, overview, body, header...)
}

func (s *site) laterTo(t *testing.T, path string, body io.Reader, header ...string) <-chan *answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	ended := make(chan *answer, 1)
	go func() {
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		ended <- &answer{t: t, status: w.Code, header: w.Header(), body: w.Body.Bytes()}
	}()
	return ended
}

// When all places are taken a request is refused before anything of it is read and before it is known
// whose it is; probes and scrapes, and other classes, go on.
func TestShedding(t *testing.T) {
	t.Parallel()
	running, proceed := make(chan struct{}), make(chan struct{})
	registry := prometheus.NewRegistry()
	s := newFrontSite(t, func(o *httpapi.Options) {
		o.Gate = admission.NewGate(admission.GateOptions{Ordinary: 1, Registerer: registry})
		o.Patterns = engine(func(context.Context, patterns.Request) (*patterns.Answer, error) {
			running <- struct{}{}
			<-proceed
			return nil, fault.New(fault.NotFound, "nothing here")
		})
	})
	const places = 8 // for runs, and in their queue: the least there are
	var ended, refused []<-chan *answer
	for n := range places {
		accept := "application/json"
		if n%2 == 1 {
			accept = "text/event-stream" // takes a place like any other
		}
		ended = append(ended, s.later(t, strings.NewReader("{}"), "Accept", accept))
		<-running
	}
	for range places + 1 { // as many as may wait, and one who finds the queue full
		refused = append(refused, s.later(t, untouched{t}, "Authorization", "nonsense"))
	}
	for _, r := range refused {
		a := <-r
		p := a.problem(http.StatusServiceUnavailable, fault.Unavailable)
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		require.NoError(t, err)
		require.True(t, 1 <= seconds && seconds <= 3, seconds)
		require.Equal(t, seconds, *p.RetryAfterSeconds)
		require.Equal(t, "close", a.header.Get("Connection"), "or the answer would wait for the body")
		require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
	}
	for _, free := range []string{"/healthz", "/readyz", "/metrics"} {
		require.Equal(t, http.StatusOK, s.get(t, free).status, free)
	}
	s.get(t, "/nowhere").problem(http.StatusNotFound, fault.NotFound) // the rest of the API has places of its own
	close(proceed)
	for _, e := range ended {
		(<-e).problem(http.StatusNotFound, fault.NotFound)
	}

	count, err := testutil.GatherAndCount(registry, "dawsos_http_shed_total")
	require.NoError(t, err)
	require.Equal(t, 2*len(admission.Classes), count, "by class and reason")
	require.Contains(t, string(s.get(t, "/metrics").body),
		`api_requests_total{endpoint="/v1/patterns/{id}/execute",method="POST",status="503"} 9`)
	require.Contains(t, string(s.get(t, "/metrics").body), `api_latency_count{endpoint="/v1/patterns/{id}/execute"} 8`, "nothing was done for the others")
	require.NotContains(t, s.log.String(), "status=503")
}

// TestBodiesThatNobodyReads: who announces a body and never sends it keeps no place. A place that was kept would be
// until the request's time is over, 30 s.
func TestBodiesThatNobodyReads(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t, func(o *httpapi.Options) {
		o.Gate = admission.NewGate(admission.GateOptions{Ordinary: 1, Registerer: prometheus.NewRegistry()})
	})
	server := httptest.NewServer(s.handler)
	defer server.Close()
	for range 5 { // more than there are places for
		for _, announced := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = io.WriteString(conn, "GET /openapi.json HTTP/1.1\r\nHost: x\r\n"+announced+"\r\n\r\n")
			require.NoError(t, err)
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, answer.StatusCode)
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Greater(t, len(body), 100_000, "more than is kept back until the request has ended")
		}
	}
	require.Equal(t, http.StatusOK, s.get(t, "/v1/me").status)
}

// thoughtful has one pattern, without inputs.
type thoughtful struct{ console.Catalog }

func (thoughtful) Definition(id string) (*pattern.Definition, error) {
	return &pattern.Definition{ID: id, Name: "Thoughts"}, nil
}

// replays does what a test wants.
type replays func() (runs.Replay, error)

func (r replays) Replay(context.Context, string, string, string) (runs.Replay, error) { return r() }

// Runs are runs, whoever asks for them: those that people begin at the console take the places of the API's,
// as a page or as a stream of what happens, and leave pages and streams theirs.
func TestRunsOfTheConsoleTakePlacesOfRuns(t *testing.T) {
	t.Parallel()
	running, proceed := make(chan struct{}), make(chan struct{})
	run := func() error {
		running <- struct{}{}
		<-proceed
		return fault.New(fault.NotFound, "nothing here")
	}
	s := newFrontSite(t, func(o *httpapi.Options) {
		o.Gate = admission.NewGate(admission.GateOptions{Ordinary: 1, Registerer: prometheus.NewRegistry()})
		o.Patterns = engine(func(context.Context, patterns.Request) (*patterns.Answer, error) { return nil, run() })
		pages, err := console.New(console.Options{
			Auth: knock{anonymous: true}, Catalog: thoughtful{}, Patterns: o.Patterns, Now: time.Now, LiveEvery: time.Hour,
			Replayer: replays(func() (runs.Replay, error) { return runs.Replay{}, run() }), Unavailable: o.Unavailable,
		})
		require.NoError(t, err)
		t.Cleanup(pages.Stop)
		o.Console = pages
	})
	const form = "application/x-www-form-urlencoded"
	var ended []<-chan *answer
	for n := range 8 { // for runs: the least there are
		path := [...]string{"/console/patterns/thoughts/run", "/console/runs/" + runID(n) + "/replay"}[n%2]
		accept := [...]string{"text/html", "text/event-stream"}[n/2%2]
		ended = append(ended, s.laterTo(t, path, strings.NewReader(""), "Content-Type", form, "Accept", accept))
		<-running
	}
	for _, path := range []string{overview, "/console/patterns/thoughts/run", "/console/runs/" + runID(9) + "/replay"} {
		one := s.laterTo(t, path, strings.NewReader("{}"), "Accept", "text/event-stream")
		select {
		case a := <-one:
			require.Equal(t, http.StatusServiceUnavailable, a.status, path)
		case <-running:
			t.Errorf("%s was let in", path)
		}
	}
	require.Equal(t, http.StatusOK, s.get(t, "/console/login").status, "pages have places of their own")
	close(proceed)
	for _, e := range ended {
		require.Equal(t, http.StatusNotFound, (<-e).status)
	}
}

// Every answer tells browsers to take it for nothing but what it is.
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t, func(o *httpapi.Options) { o.HTTPS = true })
	for _, target := range []string{"/v1/patterns/none/nowhere", "/v1/patterns/x/execute", "/nowhere", "/docs", "/openapi.json", "/docs/init.js"} {
		h := s.get(t, target).header
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), target)
		require.Equal(t, "same-origin", h.Get("Referrer-Policy"), target)
		require.Equal(t, "same-origin", h.Get("Cross-Origin-Resource-Policy"), target)
		require.Equal(t, "max-age=31536000", h.Get("Strict-Transport-Security"), target)
		require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'", target)
		require.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'", target)
		if strings.HasPrefix(target, "/v1/") {
			require.Equal(t, "no-store", h.Get("Cache-Control"), target)
		}
		for name := range h {
			require.False(t, strings.HasPrefix(name, "Access-Control-"), name)
		}
	}
	require.Contains(t, s.get(t, "/docs").header.Get("Content-Security-Policy"), "script-src 'self'", "pages have policies of their own")
	require.Empty(t, newFrontSite(t).get(t, "/nowhere").header.Get("Strict-Transport-Security"), "without TLS it would lock browsers out")
}

// No other site's scripts get anything: preflights are refused, and nothing says otherwise.
func TestNoCORS(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t)
	for target, status := range map[string]int{
		overview: http.StatusMethodNotAllowed, "/v1/dlq": http.StatusMethodNotAllowed, "/docs": http.StatusMethodNotAllowed,
		"/nowhere": http.StatusNotFound,
	} {
		a := s.do(t, http.MethodOptions, target, nil, "Origin", "https://evil.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
		require.Equal(t, status, a.status, target)
		for name := range a.header {
			require.False(t, strings.HasPrefix(name, "Access-Control-"), "%s: %s", target, name)
		}
	}
	require.Empty(t, s.get(t, "/openapi.json", "Origin", "https://evil.example").header.Get("Access-Control-Allow-Origin"))
}

// Nothing is built from what a request says its host is.
func TestHostIsNotUsed(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t)
	for _, target := range []string{"/nowhere", "/docs", "/openapi.json", overview} {
		a := s.get(t, target, "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example")
		require.NotContains(t, string(a.body), "evil.example")
		for name, values := range a.header {
			require.NotContains(t, strings.Join(values, " "), "api.test", name) // the requests' Host
			require.NotContains(t, strings.Join(values, " "), "evil.example", name)
		}
		require.NotContains(t, string(a.body), "api.test")
	}
}

func TestMethodsRefused(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t)
	for _, method := range []string{http.MethodTrace, http.MethodConnect, "PROPFIND", "INVENTED"} {
		s.do(t, method, overview, nil, "Cookie", "secret=1").problem(http.StatusMethodNotAllowed, fault.MethodNotAllowed)
		a := s.do(t, method, "/nowhere", nil, "Cookie", "secret=1")
		a.problem(http.StatusNotFound, fault.NotFound)
		require.NotContains(t, string(a.body), "secret=1")
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t, func(o *httpapi.Options) {
		o.Patterns = engine(func(context.Context, patterns.Request) (*patterns.Answer, error) {
			return nil, fault.New(fault.NotFound, "nothing here")
		})
	})
	for _, good := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8"`, "application/json; charset=us-ascii"} {
		s.post(t, overview, "{}", "Content-Type", good).problem(http.StatusNotFound, fault.NotFound)
	}
	for _, bad := range []string{"", "text/plain", "text/json", "application/json; charset=utf-16", "application/json; charset=iso-8859-1", "application/json; =", "application/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/json, text/plain"} {
		s.post(t, overview, "{}", "Content-Type", bad).problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
	}
	const portfolio = "/v1/portfolios/0198b2c4-0000-7000-8000-000000000001/transactions"
	s.post(t, portfolio, untouched{t}, "Content-Type", "text/csv; charset=utf-16").problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
	s.post(t, "/v1/imports/prices", untouched{t}, "Content-Type", "text/csv; charset=utf-16").problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
	s.post(t, "/v1/imports/prices", untouched{t}, "Content-Type", "application/zip").problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
}

// Nothing is decompressed, ever: what was compressed is refused unread, whatever takes it.
func TestContentEncoding(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t)
	for _, target := range []string{overview, "/v1/imports/prices", "/v1/receivers/alertmanager", "/v1/patterns/validate"} {
		for _, coding := range []string{"gzip", "br", "deflate", "zstd", "gzip, identity", "GZIP", "x-invented"} {
			a := s.post(t, target, untouched{t}, "Content-Encoding", coding)
			a.problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
			require.Equal(t, "identity", a.header.Get("Accept-Encoding"), "%s %s", target, coding)
		}
	}
}

// satisfied finds nothing wrong with any definition.
type satisfied struct{}

func (satisfied) Validate([]byte) []patterns.Problem { return nil }

// Bodies are bounded in every way before they are decoded, those too that handlers take as they were sent.
func TestBodyBombs(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t, func(o *httpapi.Options) {
		o.MaxBodyBytes = 4 << 20
		o.Validator = satisfied{}
		o.Patterns = engine(func(context.Context, patterns.Request) (*patterns.Answer, error) {
			t.Error("it was let through")
			return nil, fault.New(fault.NotFound, "nothing here")
		})
	})
	bombs := map[string]struct {
		body   string
		status int
		code   fault.Code
	}{
		"deep":      {`{"inputs":{"a":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + "}}", http.StatusBadRequest, fault.Malformed},
		"wide":      {`{"inputs":{"a":[0` + strings.Repeat(",0", 500_000) + "]}}", http.StatusRequestEntityTooLarge, fault.TooLarge},
		"exponents": {`{"inputs":{"a":[` + strings.Repeat("1e1000000,", 50_000) + "1]}}", http.StatusBadRequest, fault.Malformed},
		"digits":    {`{"inputs":{"a":` + strings.Repeat("9", 100_000) + "}}", http.StatusBadRequest, fault.Malformed},
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.post(t, overview, bomb.body).problem(bomb.status, bomb.code)
			if bomb.code == fault.TooLarge { // deep ones are counted, too
				bomb.body = strings.Replace(bomb.body, "[0", strings.Repeat("[", 1000)+"0", 1)
			}
			for _, raw := range []string{"/v1/receivers/alertmanager", "/v1/patterns/validate"} {
				if a := s.post(t, raw, bomb.body); bomb.code == fault.TooLarge {
					a.problem(bomb.status, bomb.code)
				} else {
					require.Less(t, a.status, http.StatusInternalServerError, "%s: its reader has bounds of its own", raw)
				}
			}
		})
	}
	for name, body := range map[string]string{
		"twice":         `{"inputs":{"a":1,"a":2}}`,
		"twice at all":  `{"require_fresh":true,"inputs":{},"require_fresh":false}`,
		"twice, escape": `{"inputs":{"a":1,"\u0061":2}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := s.post(t, overview, body).problem(http.StatusBadRequest, fault.Malformed)
			require.Contains(t, p.Detail, "stands twice")
		})
	}
}
