package remote_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/remote"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// list is a listing with the given capabilities.
func list(capabilities ...string) string {
	return `{"protocol": "1", "agent": {"name": "sentiment", "mood": "good"}, "of the future": {}, "capabilities": [` +
		strings.Join(capabilities, ",") + `]}`
}

// named is list of an agent that says more of itself.
func named(more string, capabilities ...string) string {
	return strings.Replace(list(capabilities...), `"mood": "good"`, more, 1)
}

const scoring = `{"name": "sentiment.score"}`

// serve answers listings with scoring, and calls with run.
func serve(t *testing.T, run http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /capabilities", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, list(scoring)) })
	mux.HandleFunc("POST /run", run)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func answer(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for key, values := range header {
			w.Header()[key] = values
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func problem(status int, body string, header ...string) http.HandlerFunc {
	h := http.Header{"Content-Type": {"application/problem+json; charset=utf-8"}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return answer(status, h, body)
}

// cutOff sends the beginning of an answer and resets the connection.
func cutOff(w http.ResponseWriter, _ *http.Request) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprint(buffered, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"value\": ")
	_ = buffered.Flush()
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.Close()
}

// What a failure is decides who hears of it, and whether it counts against the agent.
func TestFailures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		run        http.HandlerFunc
		code       fault.Code
		detail     string
		retryAfter time.Duration
		fields     []fault.Field
	}{
		"invalid": {
			run:  problem(422, `{"code": "invalid", "detail": "no", "errors": [{"pointer": "/args/n", "detail": "odd"}], "more": 1}`),
			code: fault.Invalid, detail: "agent sentiment: no", fields: []fault.Field{{Pointer: "/args/n", Detail: "odd"}},
		},
		"not found":         {run: problem(404, `{"code": "not_found", "detail": "no SBI"}`), code: fault.NotFound, detail: "agent sentiment: no SBI"},
		"insufficient data": {run: problem(422, `{"code": "insufficient_data", "detail": "no prices"}`), code: fault.InsufficientData, detail: "agent sentiment: no prices"},
		"timeout":           {run: problem(504, `{"code": "timeout", "detail": "late"}`), code: fault.Timeout, detail: "agent sentiment: late"},
		"internal":          {run: problem(500, `{"code": "internal"}`), code: fault.Internal, detail: "agent sentiment: no reason given"},
		"unknown":           {run: problem(404, `{"code": "unknown_capability", "detail": "gone"}`), code: fault.Unavailable, detail: "agent sentiment: gone"},
		"unavailable": {
			run:  problem(503, `{"code": "unavailable", "detail": "wait\u0000a\nmoment"}`, "Retry-After", "7"),
			code: fault.Unavailable, detail: "agent sentiment: wait a moment", retryAfter: 7 * time.Second,
		},
		"believed up to an hour": {
			run:  problem(503, `{"code": "unavailable", "detail": "x"}`, "Retry-After", "99999999999"),
			code: fault.Unavailable, detail: "agent sentiment: x", retryAfter: time.Hour,
		},
		"long":                {run: problem(500, `{"code": "internal", "detail": "`+strings.Repeat("é", 2000)+`"}`), code: fault.Internal, detail: "agent sentiment: " + strings.Repeat("é", 999) + "…"},
		"code of the future":  {run: problem(503, `{"code": "tired", "detail": "x"}`), code: fault.Unavailable, detail: "agent sentiment is unavailable (503 Service Unavailable)"},
		"problem no JSON":     {run: problem(500, `{`), code: fault.Internal, detail: "agent sentiment answers with status 500 and gives no reason"},
		"problem without one": {run: answer(422, nil, `{"code": "invalid"}`), code: fault.Internal, detail: "agent sentiment answers with status 422 and gives no reason"},
		"a success no 200":    {run: problem(204, ""), code: fault.Internal, detail: "agent sentiment answers with status 204 and gives no reason"},
		"proxy":               {run: answer(502, nil, "<html>"), code: fault.Unavailable, detail: "agent sentiment is unavailable (502 Bad Gateway)"},
		"proxy is late":       {run: answer(504, nil, "<html>"), code: fault.Timeout, detail: "agent sentiment did not answer in time"},
		"too many":            {run: answer(429, http.Header{"Retry-After": {"3"}}, ""), code: fault.Unavailable, detail: "agent sentiment is unavailable (429 Too Many Requests)", retryAfter: 3 * time.Second},
		"token":               {run: answer(403, nil, ""), code: fault.Internal, detail: "agent sentiment refuses the token that it is called with"},
		"redirect":            {run: answer(307, http.Header{"Location": {"/capabilities"}}, ""), code: fault.Internal, detail: "agent sentiment sends elsewhere; redirects are not followed"},
		"nobody there":        {run: hangUp, code: fault.Unavailable, detail: "agent sentiment can't be reached"},
		"reset":               {run: cutOff, code: fault.Unavailable, detail: "agent sentiment broke off its answer"},
		"too large":           {run: answer(200, nil, `{"value": "`+strings.Repeat("x", 5000)+`"}`), code: fault.Internal, detail: "the answer of agent sentiment is larger than 4096 bytes"},
		"too large, unsaid": {run: func(w http.ResponseWriter, _ *http.Request) {
			for range 5 {
				fmt.Fprint(w, strings.Repeat(" ", 1000))
				w.(http.Flusher).Flush()
			}
		}, code: fault.Internal, detail: "the answer of agent sentiment is larger than 4096 bytes"},
		"no JSON":         {run: answer(200, nil, "<html>"), code: fault.Internal, detail: "agent sentiment answers sentiment.score in a form that is not the protocol's"},
		"no value":        {run: answer(200, nil, `{}`), code: fault.Internal, detail: "agent sentiment answers sentiment.score in a form that is not the protocol's"},
		"no date":         {run: answer(200, nil, `{"value": 1, "sources": [{"name": "x", "asof": "today"}]}`), code: fault.Internal, detail: "agent sentiment answers sentiment.score in a form that is not the protocol's"},
		"source unnamed":  {run: answer(200, nil, `{"value": 1, "sources": [{}]}`), code: fault.Internal, detail: "agent sentiment answers sentiment.score in a form that is not the protocol's"},
		"source with NUL": {run: answer(200, nil, `{"value": 1, "sources": [{"name": "\u0000"}]}`), code: fault.Internal, detail: "agent sentiment answers sentiment.score in a form that is not the protocol's"},
		"no UTF-8":        {run: answer(200, nil, "{\"value\": \"\xff\"}"), code: fault.Internal, detail: "agent sentiment answers sentiment.score in a form that is not the protocol's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := discovered(t, remote.Options{URL: serve(t, tc.run) + "?key=secret", MaxResponse: 4096})
			_, err := c.Run(t.Context(), request(headlines))
			require.Error(t, err)
			require.Equal(t, tc.code, fault.CodeOf(err), "%v", err)
			require.Equal(t, tc.detail, fault.Detail(err))
			require.Equal(t, tc.retryAfter, problemOf(t, err).RetryAfter)
			require.Equal(t, tc.fields, problemOf(t, err).Fields)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestRetryAfterAsDate(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(30*time.Second).UTC().Format(http.TimeFormat))
		answer(503, nil, "")(w, r)
	})
	_, c := discovered(t, remote.Options{URL: url})
	_, err := c.Run(t.Context(), request(headlines))
	require.InDelta(t, 30, problemOf(t, err).RetryAfter.Seconds(), 5)
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	_, c := discovered(t, remote.Options{URL: serve(t, answer(200, nil, `{
		"value": { "n" : 9007199254740993.10 , "s": "<\u00e9>" }, "more": 1, "warnings": ["a\tb"],
		"sources": [{"name": "prices:SBI", "asof": "2007-05-08", "more": 1}, {"name": "list", "asof": null}]}`))})
	result, err := c.Run(t.Context(), request(headlines))
	require.NoError(t, err)
	require.Equal(t, agent.Result{
		Value:    json.RawMessage(`{"n":9007199254740993.10,"s":"<\u00e9>"}`),
		Sources:  []agent.Source{{Name: "prices:SBI", Asof: day}, {Name: "list"}},
		Warnings: []string{"a b"},
	}, result)

	_, c = discovered(t, remote.Options{URL: serve(t, answer(200, nil, `{"value": null}`))})
	result, err = c.Run(t.Context(), request(headlines))
	require.NoError(t, err)
	require.Equal(t, agent.Result{Value: json.RawMessage("null")}, result)
}

func TestListings(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 1001 {
		many = append(many, fmt.Sprintf(`{"name": "a.b%d"}`, i))
	}
	for name, tc := range map[string]struct {
		body string
		err  string // after "the list of agent sentiment can't be used: "
	}{
		"none":            {body: list()},
		"many":            {body: list(many[:1000]...)},
		"too many":        {body: list(many...), err: "there are 1001 capabilities, more than 1000"},
		"no JSON":         {body: "<html>", err: "invalid character '<' looking for beginning of value"},
		"another version": {body: strings.Replace(list(), `"1"`, `"2"`, 1), err: `it speaks version "2" of the protocol, this process version "1"`},
		"no version":      {body: `{}`, err: `it speaks version "" of the protocol, this process version "1"`},
		"another agent":   {body: strings.Replace(list(), "sentiment", "news", 1), err: `it is named "news" there, and "sentiment" here`},
		"no list":         {body: `{"protocol": "1", "agent": {"name": "sentiment"}}`, err: "capabilities is missing"},
		"twice":           {body: list(scoring, scoring), err: "sentiment.score is listed twice"},
		"name":            {body: list(`{"name": "Score"}`), err: `capabilities[0]: "Score" is not a name such as sentiment.score`},
		"purity":          {body: list(`{"name": "a.b", "purity": "clean"}`), err: `a.b: purity "clean" is none of pure, read, effect`},
		"cost":            {body: list(`{"name": "a.b", "cost": "free"}`), err: `a.b: cost "free" is none of low, medium, high`},
		"timeout":         {body: list(`{"name": "a.b", "timeout_seconds": 601}`), err: "a.b: timeout_seconds is 601, not between 0.001 and 600"},
		"timeout below":   {body: list(`{"name": "a.b", "timeout_seconds": -1}`), err: "a.b: timeout_seconds is -1, not between 0.001 and 600"},
		"schema":          {body: list(`{"name": "a.b", "args": {"type": "thing"}}`), err: "a.b: args: the schema can't be used"},
		"schema outside":  {body: list(`{"name": "a.b", "result": {"$ref": "http://localhost/x"}}`), err: "a.b: result: the schema can't be used"},
		"schema large":    {body: list(`{"name": "a.b", "args": {"description": "` + strings.Repeat("x", 64<<10) + `"}}`), err: "a.b: args: the schema is larger than 65536 bytes"},
		"talkative":       {body: list(`{"name": "a.b", "description": "` + strings.Repeat("x", 2001) + `"}`), err: "a.b: its description is longer than 2000 characters"},
		"wrong type":      {body: list(`{"name": 1}`), err: "json: cannot unmarshal number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(answer(200, nil, tc.body))
			t.Cleanup(server.Close)
			a := newAgent(t, remote.Options{URL: server.URL})
			changed, err := a.Discover(t.Context())
			require.Equal(t, err == nil, changed)
			if tc.err == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, fault.Internal, fault.CodeOf(err))
			require.ErrorContains(t, err, "the list of agent sentiment can't be used: "+tc.err)
			require.Empty(t, a.Capabilities())
		})
	}
}

// A list that has gone wrong leaves the last good one in place.
func TestDiscoverKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	var body atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body.Load()) }))
	t.Cleanup(server.Close)
	a := newAgent(t, remote.Options{URL: server.URL})
	require.True(t, a.Remote())
	require.Empty(t, a.Capabilities())

	for _, step := range []struct {
		body    string
		changed bool
		fails   bool
		names   []string
	}{
		{body: list(scoring), changed: true, names: []string{"sentiment.score"}},
		{body: list(` { "name" : "sentiment.score", "args": null, "purity": "read", "cost": "low" } `), names: []string{"sentiment.score"}}, // says the same
		{body: "gone wrong", fails: true, names: []string{"sentiment.score"}},
		{body: list(scoring), names: []string{"sentiment.score"}},
		{body: list(scoring, `{"name": "sentiment.words"}`), changed: true, names: []string{"sentiment.score", "sentiment.words"}},
		{body: list(scoring, `{"name": "sentiment.words", "args": true}`), changed: true, names: []string{"sentiment.score", "sentiment.words"}},
		{body: list(scoring, `{"name": "sentiment.words", "args" :  true}`), names: []string{"sentiment.score", "sentiment.words"}},
		{body: named(`"version": "2"`, scoring), changed: true, names: []string{"sentiment.score"}},
		{body: named(`"version": "3"`, scoring), changed: true, names: []string{"sentiment.score"}},
		{body: named(`"version": "3", "description": "By a word list."`, scoring), changed: true, names: []string{"sentiment.score"}},
		{body: named(`"description": "By a word list.", "version": "3"`, scoring), names: []string{"sentiment.score"}},
	} {
		body.Store(step.body)
		changed, err := a.Discover(t.Context())
		require.Equal(t, step.fails, err != nil, "%v", err)
		require.Equal(t, step.changed, changed, step.body)
		var names []string
		for _, c := range a.Capabilities() {
			names = append(names, c.Name)
		}
		require.Equal(t, step.names, names)
	}
}

// What a service is told besides the call.
func TestHeaders(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		answer(200, nil, `{"value": 1}`)(w, r)
	})
	soon, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, tc := range map[string]struct {
		timeout   time.Duration
		ctx       context.Context
		requestID string
		max       string // of the milliseconds; "": not told
	}{
		"nothing":        {ctx: t.Context()},
		"configured":     {ctx: t.Context(), timeout: 1500 * time.Millisecond, max: "1500"},
		"rounded up":     {ctx: t.Context(), timeout: time.Microsecond, max: "1"},
		"deadline":       {ctx: soon, timeout: time.Hour, max: "60000"},
		"no header text": {ctx: t.Context(), requestID: "a\r\nb"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := discovered(t, remote.Options{URL: url, Timeout: tc.timeout, Token: token, UserAgent: "DawsOS/1"})
			req := request(headlines)
			if tc.requestID != "" {
				req.Context.RequestID = tc.requestID
			}
			_, err := c.Run(tc.ctx, req)
			require.NoError(t, err)
			h := await(t, seen)
			require.Equal(t, "Bearer "+token, h.Get("Authorization"))
			require.Equal(t, "DawsOS/1", h.Get("User-Agent"))
			require.Equal(t, "application/json", h.Get("Content-Type"))
			require.NotContains(t, h, "Idempotency-Key")
			if tc.requestID == "" {
				require.Equal(t, "request-1", h.Get("X-Request-Id"))
			} else {
				require.NotContains(t, h, "X-Request-Id")
			}
			ms := h.Get("X-Timeout-Ms")
			require.Len(t, ms, len(tc.max))
			require.LessOrEqual(t, ms, tc.max, "of the same length")
		})
	}
}

// Connections are used again, also after failures, and a call that may be repeated is sent again over
// a new one when the kept one turns out to be closed.
func TestConnections(t *testing.T) {
	t.Parallel()
	var mode, calls atomic.Int32
	modes := []http.HandlerFunc{
		answer(200, nil, `{"value": 1}`),
		problem(422, `{"code": "invalid", "detail": "x"}`),
		answer(500, nil, strings.Repeat("x", 100_000)),
		hangUp,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/capabilities" {
			fmt.Fprint(w, list(scoring, `{"name": "sentiment.post", "purity": "effect"}`))
			return
		}
		calls.Add(1)
		modes[mode.Load()](w, r)
	}))
	t.Cleanup(server.Close)
	a, score := discovered(t, remote.Options{URL: server.URL})
	// ask makes one call and returns for each attempt whether its connection was a kept one.
	ask := func(c agent.Capability, m int32) (kept []bool) {
		mode.Store(m)
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			kept = append(kept, info.Reused)
		}})
		before := calls.Load()
		_, err := c.Run(ctx, request(headlines))
		require.Equal(t, m == 0, err == nil, "%v", err)
		require.Len(t, kept, int(calls.Load()-before))
		return kept
	}

	// On a busy machine net/http may give a connection up, so not each of them is kept.
	const rounds = 20
	for m := range int32(3) {
		n := 0
		for range rounds {
			ask(score, m)
			if ask(score, 0)[0] {
				n++
			}
		}
		require.Greater(t, n, rounds/2, "kept after %d", m)
	}
	again := func(c agent.Capability) bool {
		ask(score, 0)
		return len(ask(c, 3)) > 1
	}
	// Nor does it always find out that trying again is safe.
	repeated := false
	for try := 0; try < rounds && !repeated; try++ {
		repeated = again(score)
	}
	require.True(t, repeated)
	for range 5 {
		require.False(t, again(a.Capabilities()[1]), "an effect must not happen twice")
	}
}

// The client's own timeout is a timeout of the agent; a caller's deadline is the caller's.
func TestSlowAgents(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slowBody := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"value": `)
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}
	url := serve(t, slowBody)
	t.Cleanup(func() { close(release) })

	client := newClient(t, nil)
	client.Timeout = 100 * time.Millisecond
	a := newAgent(t, remote.Options{URL: url, Client: client})
	for len(a.Capabilities()) == 0 && t.Context().Err() == nil { // a busy machine may need more than one try
		_, _ = a.Discover(t.Context())
	}
	_, err := a.Capabilities()[0].Run(t.Context(), request(headlines))
	require.Equal(t, fault.Timeout, fault.CodeOf(err), "%v", err)
	require.Equal(t, "agent sentiment did not answer in time", fault.Detail(err))

	_, c := discovered(t, remote.Options{URL: url})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Run(ctx, request(headlines))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, fault.Timeout, fault.CodeOf(err))
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := remote.Options{Name: "sentiment", URL: "https://localhost/agents?key=1", Client: http.DefaultClient, Token: "t"}
	a, err := remote.New(good)
	require.NoError(t, err)
	require.Equal(t, "https://localhost/agents/run", a.URL())
	for name, change := range map[string]func(o *remote.Options){
		"name":        func(o *remote.Options) { o.Name = "Sentiment!" },
		"no client":   func(o *remote.Options) { o.Client = nil },
		"relative":    func(o *remote.Options) { o.URL = "/secret" },
		"scheme":      func(o *remote.Options) { o.URL = "ftp://localhost/secret" },
		"user":        func(o *remote.Options) { o.URL = "https://secret@localhost" },
		"fragment":    func(o *remote.Options) { o.URL = "https://localhost#secret" },
		"no host":     func(o *remote.Options) { o.URL = "https:///secret" },
		"no URL":      func(o *remote.Options) { o.URL = "http://[secret" },
		"token space": func(o *remote.Options) { o.Token = "secret secret" },
		"token bytes": func(o *remote.Options) { o.Token = "secret\n" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			change(&o)
			_, err := remote.New(o)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}
