package apifuzz_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/apifuzz"
)

// small is a document with one operation.
const small = `
openapi: 3.1.0
info: {title: small, version: "1"}
paths:
  /v1/things:
    post:
      operationId: createThing
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              additionalProperties: false
              required: [name, size]
              properties:
                name: {type: string, minLength: 1, maxLength: 10, pattern: '^[a-z]{2,5}$'}
                size: {type: integer, minimum: 1, maximum: 9}
      responses:
        "201":
          description: Made.
          content:
            application/json:
              schema: {type: object, required: [id], properties: {id: {type: string}}}
        default: {$ref: "#/components/responses/Problem"}
components:
  responses:
    Problem:
      description: A failure.
      content:
        application/problem+json: {schema: {$ref: "#/components/schemas/Problem"}}
  schemas:
    Problem:
      type: object
      required: [title, status, request_id]
      properties: {title: {type: string}, status: {type: integer}, request_id: {type: string}}
`

// Every check finds what it is there for: an API that errs in one way is told so, and one that does not is not.
func TestChecks(t *testing.T) {
	t.Parallel()
	problem := func(w http.ResponseWriter, status int, detail string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("X-Request-Id", "r1")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"title": "t", "status": %d, "request_id": "r1", "code": "invalid", "detail": %q}`, status, detail)
	}
	made := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, body)
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
	}{
		"refuses all":          {func(w http.ResponseWriter) { problem(w, 422, "no") }, ""},
		"takes all":            {func(w http.ResponseWriter) { made(w, `{"id": "a"}`) }, "answered 201 though the body does not fit the schema"},
		"another body":         {func(w http.ResponseWriter) { made(w, `{"ID": "a"}`) }, "form: the body does not fit the schema"},
		"no JSON":              {func(w http.ResponseWriter) { made(w, `{`) }, "form: the body does not fit the schema"},
		"an error of its own":  {func(w http.ResponseWriter) { problem(w, 500, "no") }, "answered 500 invalid"},
		"503 without a reason": {func(w http.ResponseWriter) { problem(w, 503, "no") }, "answered 503 invalid"},
		"plain text":           {func(w http.ResponseWriter) { http.Error(w, "no", http.StatusBadRequest) }, `form: a failure's content type is "text/plain"`},
		"another status":       {func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) }, "form: status 202 is not in the document"},
		"a stack":              {func(w http.ResponseWriter) { problem(w, 422, "at server.go:12") }, "tells a stack trace"},
		"the driver":           {func(w http.ResponseWriter) { problem(w, 422, "ERROR (SQLSTATE 22021)") }, "tells the database driver"},
		"SQL":                  {func(w http.ResponseWriter) { problem(w, 422, "SELECT a, b FROM t") }, "tells SQL"},
		"a path":               {func(w http.ResponseWriter) { problem(w, 422, "open /root/secret") }, "tells a file's path"},
		"a Go type":            {func(w http.ResponseWriter) { problem(w, 422, "Go struct field Thing.name") }, "tells a Go type"},
		"an inner address":     {func(w http.ResponseWriter) { problem(w, 422, "dial tcp 10.0.0.1:5432") }, "tells an inner address"},
		"no answer":            {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "no answer"},
		"other request ids": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"title": "t", "status": 404, "request_id": "r2"}`)
		}, "request_id is not the header's"},
		"problems without members": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("X-Request-Id", "r1")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"status": 404, "request_id": "r1"}`)
		}, "the problem does not fit its schema"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.answer(w) }))
			t.Cleanup(server.Close)
			r, err := apifuzz.Run(t.Context(), apifuzz.Options{
				Document: []byte(small), URL: server.URL, Receiver: "http://127.0.0.1:1", Seed: 1, Requests: 200,
			})
			require.NoError(t, err)
			if test.want == "" {
				require.True(t, r.OK(), "%s", r)
				require.Equal(t, []string{"createThing"}, r.Unreached())
				return
			}
			var found []string
			for _, f := range r.Findings {
				found = append(found, f.Wrong)
			}
			require.Contains(t, strings.Join(found, "\n"), test.want)
		})
	}
}

// What a request brought itself is no leak.
func TestEchoIsNoLeak(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("X-Request-Id", "r1")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"title": "t", "status": 404, "request_id": "r1", "detail": %q}`, r.URL.Path+r.URL.RawQuery)
	}))
	t.Cleanup(server.Close)
	r, err := apifuzz.Run(t.Context(), apifuzz.Options{Document: []byte(small), URL: server.URL, Receiver: "http://127.0.0.1:1", Seed: 7, Requests: 500})
	require.NoError(t, err)
	require.True(t, r.OK(), "%s", r)
}

// The same seed asks the same of an API that answers the same, one after the other.
func TestSeed(t *testing.T) {
	t.Parallel()
	asked := func(seed uint64) string {
		var b strings.Builder
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(&b, r.Method, r.URL, r.Header.Get("Content-Type"), r.ContentLength)
			http.Error(w, "no", http.StatusBadRequest)
		}))
		defer server.Close()
		_, err := apifuzz.Run(t.Context(), apifuzz.Options{
			Document: []byte(small), URL: server.URL, Receiver: "http://127.0.0.1:1", Seed: seed, Requests: 300, Concurrency: 1,
		})
		require.NoError(t, err)
		return b.String()
	}
	once, again := asked(1), asked(1)
	require.Equal(t, once, again)
	require.NotEqual(t, asked(1), asked(2))
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	require.Empty(t, apifuzz.Trouble("level=INFO msg=request status=200\n"))
	require.Len(t, apifuzz.Trouble("level=ERROR msg=\"request failed\" err=x\nok\npanic: x\nWARNING: DATA RACE\n"), 3)
}
