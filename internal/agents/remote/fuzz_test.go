package remote

import (
	"encoding/json"
	"net/http"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
)

// Whatever a service lists, it is refused, or what was understood can be listed again and is
// understood as the same.
func FuzzListing(f *testing.F) {
	for _, seed := range []string{
		`{"protocol": "1", "agent": {"name": "sentiment", "version": "1", "description": "d"}, "capabilities": [
			{"name": "sentiment.score", "description": "x", "args": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"minimum": 1e3}}},
			 "result": true, "purity": "effect", "idempotent": true, "timeout_seconds": 0.3, "cost": "high"}]}`,
		`{"protocol": "1", "agent": {"name": "sentiment"}, "capabilities": [{"name": "a", "args": null, "timeout_seconds": 599.9999999999}]}`,
		`{"protocol": "1", "agent": {"name": "sentiment"}, "capabilities": []}`,
		`{"protocol": "2", "agent": {"name": "sentiment"}, "capabilities": null}`,
		`{"protocol": "1", "agent": {"name": "sentiment"}, "capabilities": [{"name": "a", "args": {"$ref": "#"}, "result": {"pattern": "("}}]}`,
		`{"protocol": "1", "agent": {"name": "sentiment"}, "capabilities": [{"name": "a", "args": {"$dynamicRef": "#x", "$id": "http://a/"}}]}`,
		`[]`, `{`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := parseListing("sentiment", body)
		if err != nil {
			return
		}
		again := agent.NewListing(agent.New("sentiment", l.capabilities...))
		again.Agent.Version, again.Agent.Description = l.version, l.description
		raw, err := json.Marshal(again)
		require.NoError(t, err)
		second, err := parseListing("sentiment", raw)
		require.NoError(t, err, "%s", raw)
		require.Equal(t, l.version, second.version)
		require.Equal(t, l.description, second.description)
		require.Len(t, second.capabilities, len(l.capabilities))
		for i, c := range l.capabilities {
			other := second.capabilities[i]
			for _, schemas := range [][2]*json.RawMessage{{&c.Args, &other.Args}, {&c.Result, &other.Result}} {
				require.Equal(t, *schemas[0] == nil, *schemas[1] == nil)
				if *schemas[0] != nil { // encoding/json escapes <, > and &
					require.JSONEq(t, string(*schemas[0]), string(*schemas[1]))
				}
				*schemas[0], *schemas[1] = nil, nil
			}
			require.Equal(t, c, other)
		}
	})
}

// Whatever a service answers, it is refused, or what was understood can be answered again and is
// understood as the same; its value is JSON.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"value": {"n": 9007199254740993, "s": "<\u00e9>"}, "sources": [{"name": "prices:SBI", "asof": "2007-05-08"}, {"name": "x"}], "warnings": ["a\u0000b", ""]}`,
		`{"value": null}`, `{"value": 1e999, "sources": null, "warnings": null}`, `{"value": "\ud800"}`, `{}`,
		`{"value": 1, "sources": [{"name": "x", "asof": "0000-01-01"}]}`,
		`{"value": 1, "sources": [{"name": "x", "asof": "0001-01-01"}]}`,
		`{"value": 1, "Value": 2}`, `[1]`, `{"value": `, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseAnswer(body)
		if err != nil {
			return
		}
		require.True(t, json.Valid(r.Value.(json.RawMessage)))
		again, err := agent.NewAnswer(r)
		require.NoError(t, err)
		raw, err := json.Marshal(again)
		require.NoError(t, err)
		second, err := parseAnswer(raw)
		require.NoError(t, err, "%s", raw)
		require.Equal(t, r.Sources, second.Sources)
		require.Len(t, second.Warnings, len(r.Warnings))
		for i := range r.Warnings {
			require.Equal(t, r.Warnings[i], second.Warnings[i])
		}
		value, err := json.Marshal(r.Value) // encoding/json escapes <, > and &
		require.NoError(t, err)
		require.Equal(t, string(value), string(second.Value.(json.RawMessage)))
	})
}

// Whatever a service answers a failed call with, what of it reaches the caller is bounded, and is of the protocol.
func FuzzProblem(f *testing.F) {
	for _, seed := range []struct {
		status int
		media  string
		body   string
	}{
		{422, "application/problem+json", `{"status": 422, "code": "invalid", "detail": "no", "errors": [{"pointer": "/a", "detail": "x"}]}`},
		{503, "application/problem+json; charset=utf-8", `{"code": "unavailable"}`},
		{500, "application/problem+json", `{"code": "made_up"}`},
		{200, "application/problem+json", `{"code": "invalid"}`},
		{404, "text/html", "<html>"},
		{400, "application/problem+json", "{"},
		{400, "application/problem+json", "\xff"},
		{400, ";", `{"code": "invalid"}`},
	} {
		f.Add(seed.status, seed.media, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, status int, media string, body []byte) {
		resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {media}}}
		p, ok := parseProblem(resp, body)
		if !ok {
			return
		}
		require.GreaterOrEqual(t, status, 400)
		require.Contains(t, codes, p.Code)
		told := sentence(p.Detail)
		require.True(t, utf8.ValidString(told))
		require.Less(t, len(told), 4*len(p.Detail)+16)
		require.Equal(t, told, sentence(told), "what has been made a sentence is one")
	})
}
