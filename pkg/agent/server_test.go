package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
)

// call is a body that is complete.
const call = `{"capability": "test.run", "args": {"n": 9007199254740993}, "context": {
	"request_id": "r", "trace_id": "t", "tenant_id": "tenant", "user_id": "", "asof": "2007-05-08",
	"pricing_pack": {"id": "pack", "date": "2007-05-07", "revision": 3, "hash": "h"},
	"portfolio": {"id": "p", "base_currency": "CHF", "ledger_version": "v", "ledger_seq": 4}, "of the future": 1}}`

// handler serves one capability, test.run.
func handler(run func(ctx context.Context, req agent.Request) (agent.Result, error), opts agent.HandlerOptions) http.Handler {
	return agent.Handler(agent.New("test", agent.Capability{Name: "test.run", Run: run}), opts)
}

func post(h http.Handler, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/run", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func nothing(context.Context, agent.Request) (agent.Result, error) { return agent.Result{}, nil }

func TestHandlerHandsOnTheCall(t *testing.T) {
	t.Parallel()
	day := time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC)
	want := agent.Request{
		Capability: "test.run", Args: map[string]any{"n": json.Number("9007199254740993")},
		Context: agent.Context{
			RequestID: "r", TraceID: "t", TenantID: "tenant", Asof: day,
			PricingPack: agent.Pack{ID: "pack", Date: day.AddDate(0, 0, -1), Revision: 3, Hash: "h"},
			Portfolio:   &agent.Portfolio{ID: "p", BaseCurrency: "CHF", LedgerVersion: "v", LedgerSeq: 4},
		},
	}
	h := handler(func(_ context.Context, req agent.Request) (agent.Result, error) {
		if err := errorUnlessEqual(want, req); err != nil {
			return agent.Result{}, agent.NewError(agent.CodeInvalid, "%v", err)
		}
		return agent.Result{
			Value: req.Args["n"], Warnings: []string{"careful"},
			Sources: []agent.Source{{Name: "prices:SBI", Asof: day}, {Name: "list"}},
		}, nil
	}, agent.HandlerOptions{})
	w := post(h, call)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, `{"value":9007199254740993,"sources":[{"name":"prices:SBI","asof":"2007-05-08"},{"name":"list"}],"warnings":["careful"]}`,
		w.Body.String())

	// What is written is what was read.
	again, err := json.Marshal(agent.NewCall(want))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, post(h, string(again)).Code)
}

func errorUnlessEqual(want, got agent.Request) error {
	a, err := json.Marshal(want)
	b, err2 := json.Marshal(got)
	if err == nil && err2 == nil && !bytes.Equal(a, b) {
		return errors.New("got " + string(b))
	}
	return errors.Join(err, err2)
}

func TestHandlerLists(t *testing.T) {
	t.Parallel()
	h := agent.Handler(agent.New("test", agent.Capability{
		Name: "test.run", Description: "Runs.", Args: json.RawMessage(`{"type": "object"}`), Purity: agent.Effectful,
		Idempotent: true, Timeout: 1500 * time.Millisecond, Cost: agent.High, Run: nothing,
	}), agent.HandlerOptions{Version: "1.2", Description: "For tests."})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/capabilities", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.JSONEq(t, `{"protocol": "1", "agent": {"name": "test", "version": "1.2", "description": "For tests."}, "capabilities": [
		{"name": "test.run", "description": "Runs.", "args": {"type": "object"}, "purity": "effect", "idempotent": true,
		 "timeout_seconds": 1.5, "cost": "high"}]}`, w.Body.String())

	w = httptest.NewRecorder()
	agent.Handler(agent.New("none"), agent.HandlerOptions{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/capabilities", nil))
	require.JSONEq(t, `{"protocol": "1", "agent": {"name": "none"}, "capabilities": []}`, w.Body.String())
}

func TestHandlerFailures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err        error
		value      any
		status     int
		body       string
		retryAfter string
		logged     string // "": nothing
	}{
		"invalid": {
			err: agent.InvalidArg("/n", "must be odd"), status: http.StatusUnprocessableEntity,
			body: `{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"/n: must be odd","code":"invalid","errors":[{"pointer":"/args/n","detail":"must be odd"}]}`,
		},
		"wrapped": {
			err:    errors.Join(errors.New("x"), agent.WrapError(errors.New("secret"), agent.CodeNotFound, "there is no SBI")),
			status: http.StatusNotFound,
			body:   `{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no SBI","code":"not_found"}`,
		},
		"unavailable": {
			err:    &agent.Error{Code: agent.CodeUnavailable, Detail: "come back", RetryAfter: 1100 * time.Millisecond},
			status: http.StatusServiceUnavailable, retryAfter: "2",
			body: `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"come back","code":"unavailable"}`,
		},
		"any other": {
			err: errors.New("secret"), status: http.StatusInternalServerError, logged: "secret",
			body: `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"test.run failed; the agent's log says why","code":"internal"}`,
		},
		"a code of its own": {
			err: agent.NewError("teapot", "secret"), status: http.StatusInternalServerError, logged: "secret",
			body: `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"test.run failed; the agent's log says why","code":"internal"}`,
		},
		"internal on purpose": {
			err: agent.WrapError(errors.New("secret"), agent.CodeInternal, "broken"), status: http.StatusInternalServerError, logged: "secret",
			body: `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"broken","code":"internal"}`,
		},
		"no JSON": {
			value: math.NaN(), status: http.StatusInternalServerError, logged: "NaN",
			body: `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"test.run failed; the agent's log says why","code":"internal"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			h := handler(func(context.Context, agent.Request) (agent.Result, error) {
				return agent.Result{Value: tc.value}, tc.err
			}, agent.HandlerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			w := post(h, call)
			require.Equal(t, tc.status, w.Code)
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			require.Equal(t, tc.retryAfter, w.Header().Get("Retry-After"))
			require.Equal(t, tc.body, w.Body.String())
			if tc.logged == "" {
				require.Empty(t, log.String())
			} else {
				require.Contains(t, log.String(), tc.logged)
			}
		})
	}
}

func TestHandlerSurvivesPanics(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := handler(func(context.Context, agent.Request) (agent.Result, error) { panic("secret") },
		agent.HandlerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	w := post(h, call)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Contains(t, w.Body.String(), `"code":"internal"`)
	require.NotContains(t, w.Body.String(), "secret")
	require.Contains(t, log.String(), "panic=secret")
	require.Contains(t, log.String(), "server_test.go", "the stack")
}

func TestHandlerRefuses(t *testing.T) {
	t.Parallel()
	h := handler(nothing, agent.HandlerOptions{MaxBody: 1000})
	for name, tc := range map[string]struct {
		body   string
		header []string
		status int
		want   string
	}{
		"no JSON":            {body: `{`, status: 400, want: "the body is no call"},
		"not an object":      {body: `[]`, status: 400, want: "the body is no call"},
		"something follows":  {body: call + "{}", status: 400, want: "something follows"},
		"garbage follows":    {body: call + "x", status: 400, want: "invalid character"},
		"no capability":      {body: `{"args": {}, "context": {}}`, status: 400, want: "capability is missing"},
		"no arguments":       {body: `{"capability": "test.run", "context": {}}`, status: 400, want: "args is missing"},
		"no context":         {body: `{"capability": "test.run", "args": {}}`, status: 400, want: "context is missing"},
		"no dates":           {body: `{"capability": "test.run", "args": {}, "context": {}}`, status: 400, want: "context.asof"},
		"no pack":            {body: `{"capability": "test.run", "args": {}, "context": {"asof": "2007-05-08"}}`, status: 400, want: "context.pricing_pack.date"},
		"arguments no list":  {body: `{"capability": "test.run", "args": [], "context": {}}`, status: 400, want: "the body is no call"},
		"unknown capability": {body: strings.Replace(call, "test.run", "test.walk", 1), status: 404, want: `"code":"unknown_capability"`},
		"too large":          {body: `{"capability": "` + strings.Repeat("x", 1000) + `"`, status: 413, want: `"code":"invalid"`},
		"too large behind":   {body: call + strings.Repeat(" ", 1000), status: 413, want: `"code":"invalid"`},
		"not said to be":     {body: call, header: []string{"Content-Type", "text/plain"}, status: 415, want: "application/json"},
		"no timeout":         {body: call, header: []string{agent.TimeoutHeader, "soon"}, status: 400, want: "soon"},
		"past timeout":       {body: call, header: []string{agent.TimeoutHeader, "0"}, status: 400, want: "milliseconds"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := post(h, tc.body, tc.header...)
			require.Equal(t, tc.status, w.Code, w.Body)
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			require.Contains(t, strings.ReplaceAll(w.Body.String(), `\"`, ""), tc.want)
		})
	}
	require.Equal(t, http.StatusOK, post(h, call, "Content-Type", "application/json; charset=utf-8").Code)

	// Other paths and methods are not the protocol's: no problem, no code.
	for target, want := range map[string]int{"GET /": 404, "GET /run": 405, "POST /capabilities": 405, "GET /capabilities/x": 404} {
		method, path, _ := strings.Cut(target, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		require.Equal(t, want, w.Code, target)
		require.NotContains(t, w.Body.String(), "code")
	}
}

func TestHandlerChecksTheToken(t *testing.T) {
	t.Parallel()
	h := handler(nothing, agent.HandlerOptions{Token: "right"})
	for header, want := range map[string]int{
		"": 401, "right": 401, "Bearer": 401, "Bearer wrong": 401, "Bearer righ": 401, "Basic right": 401,
		"Bearer right": 200, "bearer right": 200,
	} {
		w := post(h, call, "Authorization", header)
		require.Equal(t, want, w.Code, header)
		list := httptest.NewRequest(http.MethodGet, "/capabilities", nil)
		list.Header.Set("Authorization", header)
		l := httptest.NewRecorder()
		h.ServeHTTP(l, list)
		require.Equal(t, want, l.Code, header)
		if want == http.StatusUnauthorized {
			require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
			require.NotContains(t, w.Body.String(), "right")
		}
	}
}

// The shorter of the caller's time and the capability's own counts.
func TestHandlerKeepsTime(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		own    time.Duration
		header string
		want   time.Duration // 0: no deadline
	}{
		"none":       {},
		"own":        {own: time.Second, want: time.Second},
		"the call's": {header: "1500", want: 1500 * time.Millisecond},
		"shorter":    {own: time.Second, header: "10", want: 10 * time.Millisecond},
		"longer":     {own: time.Second, header: "10000", want: time.Second},
		"absurd":     {header: "9223372036854775807", want: 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := agent.Handler(agent.New("test", agent.Capability{
					Name: "test.run", Timeout: tc.own,
					Run: func(ctx context.Context, _ agent.Request) (agent.Result, error) {
						if tc.want == 0 {
							_, limited := ctx.Deadline()
							return agent.Result{Value: limited}, nil
						}
						<-ctx.Done()
						return agent.Result{}, ctx.Err()
					},
				}), agent.HandlerOptions{})
				start := time.Now()
				var header []string
				if tc.header != "" {
					header = []string{agent.TimeoutHeader, tc.header}
				}
				w := post(h, call, header...)
				require.Equal(t, tc.want, time.Since(start))
				if tc.want == 0 {
					require.Equal(t, `{"value":false}`, w.Body.String())
					return
				}
				require.Equal(t, http.StatusGatewayTimeout, w.Code)
				require.Contains(t, w.Body.String(), `"code":"timeout"`)
			})
		})
	}
}

// Over a real connection: the caller leaves, the capability's context ends.
func TestHandlerNoticesThatTheCallerHasGone(t *testing.T) {
	t.Parallel()
	running, ended := make(chan struct{}), make(chan error, 1)
	server := httptest.NewServer(handler(func(ctx context.Context, _ agent.Request) (agent.Result, error) {
		close(running)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return agent.Result{}, ctx.Err()
	}, agent.HandlerOptions{}))
	t.Cleanup(server.Close)

	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/run", strings.NewReader(call))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	go func() {
		<-running
		leave()
	}()
	resp, err := server.Client().Do(req)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestHandlerWantsGoodAgents(t *testing.T) {
	t.Parallel()
	for name, capabilities := range map[string][]agent.Capability{
		"no function":    {{Name: "a.b"}},
		"twice":          {{Name: "a.b", Run: nothing}, {Name: "a.b", Run: nothing}},
		"schema no JSON": {{Name: "a.b", Run: nothing, Args: json.RawMessage("{")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Panics(t, func() { agent.Handler(agent.New("test", capabilities...), agent.HandlerOptions{}) })
		})
	}
}

func TestInvalidArgs(t *testing.T) {
	t.Parallel()
	var args struct {
		A struct {
			B int `json:"b~/"`
		} `json:"a"`
	}
	err := agent.InvalidArgs(agent.DecodeArgs(agent.Request{Capability: "a.b", Args: map[string]any{"a": map[string]any{"b~/": "x"}}}, &args))
	require.Equal(t, []agent.Field{{Pointer: "/args/a/b~0~1", Detail: "can't be a JSON string"}}, err.Fields)
	require.Equal(t, agent.CodeInvalid, err.Code)

	err = agent.InvalidArgs(agent.DecodeArgs(agent.Request{Capability: "a.b", Args: map[string]any{"z": nil}}, &args))
	require.Equal(t, `arguments of a.b: json: unknown field "z"`, err.Detail)
	require.Empty(t, err.Fields)
}
