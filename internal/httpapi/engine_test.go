package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// different matches what differs between two runs that are the same.
var different = regexp.MustCompile(`"(run_id|request_id|started_at|duration_seconds)":("[^"]*"|[0-9.e-]+)`)

// A run tells its steps as they go, in an order that fits them, and ends with what the plain answer
// is, byte for byte.
func testTheSameAsAStream(t *testing.T, s *site) {
	t.Helper()
	const target = "/v1/patterns/test_everything/execute"
	const body = `{"inputs": {"n": 3, "kind": "b"}, "asof": "2007-05-08"}`
	require.Equal(t, http.StatusOK, s.post(t, target, body).status) // what can be cached is from now on
	plain := s.post(t, target, body)
	require.Equal(t, http.StatusOK, plain.status, "%s", plain.body)
	a := s.post(t, target, body, "Accept", asEvents)
	events := a.events()

	steps := []string{"left", "right", "told", "again", "pure", "skipped", "lacking", "replaced", "each", "listed", "within"}
	place := map[string]int{} // of "step_started left" in the stream
	ended := map[string]api.TraceStep{}
	for i, e := range events {
		var step api.TraceStep
		if strings.HasPrefix(e.name, "step_") {
			require.NoError(t, json.Unmarshal([]byte(e.data), &step))
			require.Equal(t, steps[step.Index], step.As)
			require.NotContains(t, place, e.name+" "+step.As, "each is told once")
			place[e.name+" "+step.As] = i
			if e.name != "step_started" {
				ended[step.As] = step
			}
		}
	}
	require.Equal(t, "run_started", events[0].name)
	require.Equal(t, "answer", events[len(events)-1].name)
	require.Len(t, events, 1+2*len(steps)-1+1, "a step that is skipped has one event, all others two")
	how := map[string]string{"skipped": "step_skipped", "lacking": "step_failed", "replaced": "step_failed"}
	for _, as := range steps {
		end, ok := how[as]
		if !ok {
			end = "step_ended"
		}
		require.Contains(t, place, end+" "+as)
		if as == "skipped" {
			require.NotContains(t, place, "step_started skipped")
			continue
		}
		require.Less(t, place["step_started "+as], place[end+" "+as])
	}
	// Side by side: both have started before one has ended. They would wait for each other for ever.
	require.Less(t, max(place["step_started left"], place["step_started right"]), min(place["step_ended left"], place["step_ended right"]))
	require.Less(t, place["step_ended left"], place["step_started told"], "it uses the other's result")
	require.Less(t, place["step_ended told"], place["step_started again"])
	require.Equal(t, api.TraceStepStatusCached, ended["again"].Status, "the run has asked for the same already")
	require.Equal(t, api.TraceStepStatusCached, ended["pure"].Status, "an earlier run has")
	require.Equal(t, api.TraceStepStatusSkipped, ended["skipped"].Status)
	require.Contains(t, *ended["skipped"].Reason, "inputs.n > 50")
	require.Equal(t, api.TraceStepStatusError, ended["lacking"].Status)
	require.Equal(t, "no prices of XYZ", *ended["lacking"].Error)
	require.Equal(t, 3, *ended["each"].Items)
	require.Equal(t, 2, *ended["listed"].Items)
	require.Len(t, *ended["within"].Steps, 2)

	var answered api.ExecuteAnswer
	require.NoError(t, json.Unmarshal([]byte(events[len(events)-1].data), &answered))
	for i, step := range answered.Trace.Steps {
		require.Equal(t, ended[steps[i]], step, "the trace holds what was told")
	}
	require.Len(t, answered.Warnings, 3, "%q", answered.Warnings) // two failures and a chart
	require.Len(t, answered.Charts, 1)
	require.Equal(t, `{"words":[{"at":0,"word":"x"},{"at":1,"word":"y"},{"at":2,"word":"z"}],`+
		`"again":{"it":{"left":"left","list":[1.50,null,{"a":"\u003cb\u003e"}],"n":3},"of":"b"},"text":"n is 3, not \u003c\u003e",`+
		`"lacking":null,"replaced":{"n":3,"none":null},"right":{"side":"right"},"listed":[{"word":"p"},{"word":2.50}],"within":{"second":{"n":1}}}`,
		string(answered.Data))

	blank := func(answer []byte) string { return different.ReplaceAllString(string(answer), `"$1":0`) }
	require.Equal(t, blank(plain.body), blank([]byte(events[len(events)-1].data)))
}

// A client that leaves takes its run along: the capability's context ends.
func testAClientLeavesARun(t *testing.T, s *site) {
	t.Helper()
	server := httptest.NewServer(s.handler)
	t.Cleanup(server.Close)
	ask := func(ctx context.Context, accept, id string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/patterns/test_wait/execute", strings.NewReader("{}"))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", accept)
		r.Header.Set("X-Request-Id", id)
		return server.Client().Do(r)
	}

	ctx, leave := context.WithCancel(t.Context())
	streamed, err := ask(ctx, asEvents, "leaves-a-stream")
	require.NoError(t, err, "it has begun")
	<-s.troubled.waiting
	leave()
	require.ErrorIs(t, <-s.troubled.left, context.Canceled)
	rest, err := io.ReadAll(streamed.Body)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, streamed.Body.Close())
	require.NotContains(t, string(rest), "event: answer")
	require.NotContains(t, string(rest), "event: problem")

	ctx, leave = context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		answer, err := ask(ctx, "application/json", "leaves-an-answer")
		if err == nil {
			_ = answer.Body.Close()
		}
		over <- err
	}()
	<-s.troubled.waiting
	leave()
	require.ErrorIs(t, <-s.troubled.left, context.Canceled)
	require.ErrorIs(t, <-over, context.Canceled)

	server.Close() // waits for what is under way
	require.Regexp(t, `level=INFO msg=request request_id=leaves-a-stream .*status=200 .*outcome=canceled`, s.log.String())
	require.Regexp(t, `level=INFO msg=request request_id=leaves-an-answer .*status=499`, s.log.String())
}

// What a capability says of its arguments is told of the inputs that they came from.
func testPointersToInputs(t *testing.T, s *site) {
	t.Helper()
	const target = "/v1/patterns/test_pointed/execute"
	require.Equal(t, http.StatusOK, s.post(t, target, `{"inputs": {"n": 10, "words": ["abc"]}}`).status)
	a := s.post(t, target, `{"inputs": {"n": 11, "words": ["abc", "abcd"]}}`)
	p := a.problem(422, fault.Invalid)
	var pointers []string
	for _, e := range *p.Errors {
		pointers = append(pointers, e.Pointer)
	}
	require.ElementsMatch(t, []string{"/inputs/n", "/inputs/words/1"}, pointers)
	require.Len(t, p.Trace.Steps, 1)
	events := s.post(t, target, `{"inputs": {"n": 11}}`, "Accept", asEvents).events()
	require.Contains(t, events[len(events)-1].data, `"pointer":"/inputs/n"`)
}

// A definition comes out as it went in, and clients can read it.
func testEverything(t *testing.T, s *site) {
	t.Helper()
	a := s.get(t, "/v1/patterns/test_everything")
	require.Equal(t, http.StatusOK, a.status)
	require.JSONEq(t, everything, string(a.body))
	for _, digits := range []string{`9007199254740993`, `1.50`, `2.50`} {
		require.Contains(t, string(a.body), digits, "digits are kept")
	}
	want, err := pattern.Parse([]byte(everything))
	require.NoError(t, err)
	require.Equal(t, want.Outputs.Names(), outputsOf(t, a.body), "in their order")

	server := httptest.NewServer(s.handler)
	t.Cleanup(server.Close)
	client, err := api.NewClientWithResponses(server.URL, api.WithHTTPClient(server.Client()))
	require.NoError(t, err)
	one, err := client.GetPatternWithResponse(t.Context(), "test_everything", nil)
	require.NoError(t, err)
	require.NotNil(t, one.JSON200, "%s", one.Body)
	again, err := json.Marshal(one.JSON200)
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(string(a.body)), string(again), "byte for byte")
	list, err := client.ListPatternsWithResponse(t.Context(), nil)
	require.NoError(t, err)
	require.NotNil(t, list.JSON200, "%s", list.Body)
	for _, d := range list.JSON200.Items {
		if d.ID == "test_everything" {
			again, err := json.Marshal(d)
			require.NoError(t, err)
			require.Equal(t, strings.TrimSpace(string(a.body)), string(again))
			return
		}
	}
	require.Fail(t, "it is not in the list")
}

// outputsOf returns the names of a definition's outputs as they stand in its text.
func outputsOf(t *testing.T, definition []byte) []string {
	t.Helper()
	var d struct{ Outputs pattern.Outputs }
	require.NoError(t, json.Unmarshal(definition, &d))
	return d.Outputs.Names()
}
