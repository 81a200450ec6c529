package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/dawsos/dawsos/pkg/agent"
)

// An agent in one file: a capability, its schemas, and a server for it.
func Example() {
	words := agent.Capability{
		Name:        "text.words",
		Description: "How many words a text has.",
		Args:        json.RawMessage(`{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}`),
		Result:      json.RawMessage(`{"type": "integer", "minimum": 0}`),
		Purity:      agent.Pure,
		Run: func(_ context.Context, req agent.Request) (agent.Result, error) {
			var args struct {
				Text string `json:"text"`
			}
			if err := agent.DecodeArgs(req, &args); err != nil {
				return agent.Result{}, agent.InvalidArgs(err)
			}
			return agent.Result{Value: len(strings.Fields(args.Text))}, nil
		},
	}
	// A service would serve it with http.ListenAndServe.
	server := httptest.NewServer(agent.Handler(agent.New("text", words), agent.HandlerOptions{Token: "secret"}))
	defer server.Close()

	req, err := http.NewRequest(http.MethodPost, server.URL+"/run", strings.NewReader(`{
		"capability": "text.words", "args": {"text": "stocks fall on weak growth"}, "context": {
			"request_id": "1", "trace_id": "", "tenant_id": "", "user_id": "", "asof": "2007-05-08",
			"pricing_pack": {"id": "", "date": "2007-05-08", "revision": 1, "hash": ""}, "portfolio": null}}`))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(resp.StatusCode, string(answer))
	// Output: 200 {"value":5}
}
