package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
)

// Whatever is posted to an agent, it is answered with what the capability gave or with a problem of the protocol,
// and never with a failure of the agent's own.
func FuzzCalls(f *testing.F) {
	handler := agent.Handler(agent.New("echo", agent.Capability{
		Name: "echo.args", Description: "Gives back what it got.", Purity: agent.Pure,
		Run: func(_ context.Context, r agent.Request) (agent.Result, error) {
			return agent.Result{Value: r.Args}, nil
		},
	}), agent.HandlerOptions{MaxBody: 1 << 16, Logger: slog.New(slog.DiscardHandler)})
	for _, seed := range []struct{ media, timeout, body string }{
		{"application/json", "", `{"capability": "echo.args", "args": {"n": 9007199254740993}, "context": {"asof": "2007-05-08", "request_id": "r"}}`},
		{"application/json", "1", `{"capability": "echo.args", "args": {}}`},
		{"application/json", "9999999999999999999", `{"capability": "none"}`},
		{"application/json; charset=utf-8", "-1", `{"capability": "echo.args", "args": null, "context": {"asof": "0000-00-00"}}`},
		{"text/plain", "", "x"},
		{"application/json", "", "{"},
		{"application/json", "", "\xff"},
		{"application/json", "", "[]"},
		{"application/json", "", `{"capability": "echo.args"}{}`},
		{";", "", ""},
	} {
		f.Add(seed.media, seed.timeout, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, media, timeout string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/run", bytes.NewReader(body))
		r.Header.Set("Content-Type", media)
		if timeout != "" {
			r.Header.Set(agent.TimeoutHeader, timeout)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.True(t, json.Valid(w.Body.Bytes()), "%s", w.Body)
		require.Less(t, w.Body.Len(), 8*len(body)+1000)
		if w.Code == http.StatusOK {
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			return
		}
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
		var p agent.Problem
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
		require.Equal(t, w.Code, p.Status)
		if w.Code == http.StatusGatewayTimeout { // a millisecond may be too little
			return
		}
		require.Less(t, w.Code, 500, "%s", w.Body)
	})
}
