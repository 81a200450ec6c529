package claude_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/claude"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type answer struct {
	Text      string            `json:"text"`
	Sentences []claude.Sentence `json:"sentences"`
	Engine    string            `json:"engine"`
	Model     *string           `json:"model"`
	Reason    *string           `json:"fallback_reason"`
}

// ask asks as the runtime does.
func ask(t *testing.T, a *claude.Agent, name, args string) (answer, agent.Result) {
	t.Helper()
	r, err := agenttest.Call(t, a.Capabilities(), agent.Context{}, name, json.RawMessage(args))
	require.NoError(t, err)
	var got answer
	require.NoError(t, json.Unmarshal(agenttest.Bytes(t, r.Value), &got))
	return got, r
}

const data = `{
	"ratings": {"moat_strength": {"score": 8.15, "components": [
		{"name": "return_on_equity", "value": 0.2213456789, "score": 10},
		{"name": "gross_margin", "value": null, "score": null}
	], "insufficient_data": [{"field": "components.gross_margin.score", "missing": "fundamentals:AAA/gross_margin", "reason": "no figure is stored"}]}},
	"total_value": "1444808.19",
	"prompt": "Is it a good company?"
}`

func plain() *claude.Agent {
	return claude.New(claude.Options{})
}

// TestAnswersStandAtZeroWithoutAModel: what reads them knows "none" from "unknown".
func TestAnswersStandAtZeroWithoutAModel(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	_, r := ask(t, claude.New(claude.Options{Registerer: registry}), "ai.explain", data)
	require.Empty(t, r.Warnings)
	series, err := testutil.GatherAndCount(registry, "dawsos_model_answers_total")
	require.NoError(t, err)
	require.Equal(t, 7, series)
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, m := range families[0].GetMetric() {
		require.Zero(t, m.GetCounter().GetValue())
	}
}

func TestSentencesNameNumbersAndTheirPlaces(t *testing.T) {
	t.Parallel()
	got, r := ask(t, plain(), "ai.explain", data)
	require.Equal(t, []claude.Sentence{
		{Text: "Total value is 1444808.19 (/total_value).", Source: "/total_value"},
		{Text: "Ratings, moat strength: score is 8.15 (/ratings/moat_strength/score).", Source: "/ratings/moat_strength/score"},
		{
			Text:   "Ratings, moat strength, components return_on_equity: score is 10 (/ratings/moat_strength/components/0/score).",
			Source: "/ratings/moat_strength/components/0/score",
		},
		{
			Text:   "Ratings, moat strength, components return_on_equity: value is 0.221346 (/ratings/moat_strength/components/0/value).",
			Source: "/ratings/moat_strength/components/0/value",
		},
		{
			Text: "Missing: fundamentals:AAA/gross_margin, so that there is no components.gross_margin.score; no figure is stored " +
				"(/ratings/moat_strength/insufficient_data/0).",
			Source: "/ratings/moat_strength/insufficient_data/0",
		},
	}, got.Sentences)
	require.Equal(t, "sentences", got.Engine)
	require.Nil(t, got.Model)
	require.Nil(t, got.Reason)
	require.Empty(t, r.Warnings)
	require.True(t, strings.HasPrefix(got.Text, "Total value is 1444808.19 (/total_value). Ratings"))

	same, _ := ask(t, plain(), "claude.explain", data)
	require.Equal(t, got, same)
	short, r := ask(t, plain(), "claude.explain", `{"a": 1, "b": {"c": 2}, "max_sentences": 1}`)
	require.Equal(t, "A is 1 (/a).", short.Text)
	require.Equal(t, []string{"1 more numbers were handed in than are stated."}, r.Warnings)
	none, _ := ask(t, plain(), "claude.summarize", `{"a": null, "b": ["x", true]}`)
	require.Equal(t, "There are no numbers in what was handed in.", none.Text)
	require.Empty(t, none.Sentences)
}

func TestAnalyzeStatesExtremes(t *testing.T) {
	t.Parallel()
	got, _ := ask(t, plain(), "claude.analyze", `{"positions": [
		{"symbol": "SBI", "weight": 0.25, "market_value": "5.0"}, {"symbol": "SPI", "weight": -0.5}, {"symbol": "AA", "weight": 0.75}],
		"returns": [0.01, -0.02, 0.003], "single": [{"x": 1}]}`)
	require.Equal(t, strings.Join([]string{
		"Positions, weight: the largest is 0.75, of AA (/positions/2/weight).",
		"Positions, weight: the smallest is -0.5, of SPI (/positions/1/weight).",
		"Returns: the largest is 0.01, of number 0 (/returns/0).",
		"Returns: the smallest is -0.02, of number 1 (/returns/1).",
	}, " "), got.Text)
	same, _ := ask(t, plain(), "claude.analyze", `{"a": 1}`)
	require.Equal(t, "A is 1 (/a).", same.Text)
}

func TestArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	for _, args := range []map[string]any{{"prompt": 1}, {"max_sentences": "x"}, {"max_sentences": json.Number("0")}, {"max_sentences": json.Number("1.5")}} {
		_, err := plain().Capabilities()[0].Run(t.Context(), agent.Request{Capability: "claude.explain", Args: args})
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", args)
	}
	for _, c := range plain().Capabilities() {
		require.Equal(t, agent.Pure, c.Purity)
	}
}

// server stands in for a model's. It answers what handler says.
type server struct {
	*claude.Agent

	registry *prometheus.Registry
	calls    atomic.Int64
	logged   bytes.Buffer
}

func newServer(t *testing.T, o claude.ChatOptions, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{registry: prometheus.NewRegistry()}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		handler(w, r)
	}))
	t.Cleanup(h.Close)
	o.URL, o.Model, o.Client = h.URL+"/v1/", "tiny", outbound.NewClient(outbound.Options{Policy: outbound.Policy{AllowPrivate: true}})
	t.Cleanup(o.Client.CloseIdleConnections)
	chat, err := claude.NewChat(o)
	require.NoError(t, err)
	s.Agent = claude.New(claude.Options{
		Model: chat, Failures: 2, Delay: time.Hour, Registerer: s.registry, Logger: slog.New(slog.NewTextHandler(&s.logged, nil)),
	})
	return s
}

func (s *server) outcomes(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := s.registry.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue(); v > 0 {
				got[m.GetLabel()[0].GetValue()] = v
			}
		}
	}
	return got
}

// says answers as the documentation of chat completions has it.
func says(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		text, _ := json.Marshal(content)
		fmt.Fprintf(w, `{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "tiny-1",
			"choices": [{"index": 0, "message": {"role": "assistant", "content": %s, "refusal": null}, "logprobs": null, "finish_reason": "stop"}],
			"usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}}`, text)
	}
}

func TestAModelAnswers(t *testing.T) {
	t.Parallel()
	const said = "The moat scores 8.15; the return on equity of 22.1 % earns 10."
	var got struct {
		Model       string
		Temperature *float64
		Stream      bool
		Messages    []struct{ Role, Content string }
	}
	s := newServer(t, claude.ChatOptions{Key: "secret"}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		says(said)(w, r)
	})
	a, r := ask(t, s.Agent, "ai.explain", data)
	require.Equal(t, said, a.Text)
	require.Equal(t, "model", a.Engine)
	require.Equal(t, "tiny", *a.Model)
	require.Nil(t, a.Reason)
	require.Len(t, a.Sentences, 5, "the numbers stay beside it")
	require.Equal(t, []agent.Source{{Name: "model:tiny"}}, r.Sources)
	require.Empty(t, r.Warnings)

	require.Equal(t, "tiny", got.Model)
	require.Zero(t, *got.Temperature)
	require.False(t, got.Stream)
	require.Len(t, got.Messages, 2)
	require.Equal(t, "system", got.Messages[0].Role)
	require.Contains(t, got.Messages[1].Content, "Is it a good company?")
	require.Contains(t, got.Messages[1].Content, `"total_value":"1444808.19"`)
	require.Equal(t, map[string]float64{"answered": 1}, s.outcomes(t))
	for _, c := range s.Capabilities() {
		require.Equal(t, agent.Reading, c.Purity)
	}
}

// Whatever the server does, the sentences are the answer, and say why.
func TestWithoutTheModelThereAreSentences(t *testing.T) {
	t.Parallel()
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		options claude.ChatOptions
		reason  string
		logged  string
		outcome string
	}{
		"a number of its own": {says("The moat scores 9.15."), claude.ChatOptions{}, `the model's answer had a number that is not in the data, "9.15"`, "9.15", "ungrounded"},
		"overloaded": {
			status(429, `{"error": {"message": "Rate limit reached", "type": "requests", "param": null, "code": "rate_limit_exceeded"}}`),
			claude.ChatOptions{},
			"the model's server answered with status 429", "requests: Rate limit reached", "failed",
		},
		"a wrong key": {
			status(401, `{"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}}`),
			claude.ChatOptions{},
			"the model's server answered with status 401", "Incorrect API key", "failed",
		},
		"an error as a text": {status(404, `{"error": "model 'tiny' not found"}`), claude.ChatOptions{}, "the model's server answered with status 404", "not found", "failed"},
		"an error page":      {status(502, `<html>Bad Gateway`), claude.ChatOptions{}, "the model's server answered with status 502", "", "failed"},
		"a redirect":         {status(302, ""), claude.ChatOptions{}, "the model's server answered with status 302", "", "failed"},
		"no JSON":            {status(200, `<html>`), claude.ChatOptions{}, "the model's server answered in a form that is not that of chat completions", "", "failed"},
		"no choice":          {status(200, `{"choices": []}`), claude.ChatOptions{}, "the model's server answered without a choice", "", "failed"},
		"cut off": {
			status(200, `{"choices": [{"message": {"content": "The"}, "finish_reason": "length"}]}`),
			claude.ChatOptions{},
			"the model did not end its answer", "finish_reason length", "failed",
		},
		"refused": {
			status(200, `{"choices": [{"message": {"content": null, "refusal": "No."}, "finish_reason": "stop"}]}`),
			claude.ChatOptions{},
			"the model refused to answer", "", "failed",
		},
		"nothing": {status(200, `{"choices": [{"message": {"content": ""}}]}`), claude.ChatOptions{}, "the model answered nothing", "", "failed"},
		"huge": {
			says(strings.Repeat("word ", 1000)),
			claude.ChatOptions{MaxResponse: 1000},
			"the model's server answered with more than 1000 bytes", "", "failed",
		},
		"long": {says(strings.Repeat("word ", 4000)), claude.ChatOptions{}, "the model answered with more than 16384 bytes", "", "failed"},
		"slow": {
			func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client is gone
				<-r.Context().Done()
			}, claude.ChatOptions{Timeout: 50 * time.Millisecond}, "the model did not answer in time", "", "failed",
		},
		"breaks off": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				_, _ = io.WriteString(w, `{"choices"`)
			}, claude.ChatOptions{}, "the model's server broke off its answer", "", "failed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.options, tt.handler)
			want, _ := ask(t, plain(), "ai.explain", data)
			got, r := ask(t, s.Agent, "ai.explain", data)
			require.Equal(t, want.Text, got.Text)
			require.Equal(t, want.Sentences, got.Sentences)
			require.Equal(t, "sentences", got.Engine)
			require.Equal(t, "tiny", *got.Model)
			require.Equal(t, tt.reason, *got.Reason)
			require.Equal(t, []string{"The explanation is made of sentences without the model: " + tt.reason + "."}, r.Warnings)
			require.Contains(t, s.logged.String(), tt.logged)
			require.Equal(t, map[string]float64{tt.outcome: 1}, s.outcomes(t))
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	s := newServer(t, claude.ChatOptions{}, says("x"))
	h := httptest.NewServer(nil)
	h.Close()
	client := outbound.NewClient(outbound.Options{Policy: outbound.Policy{AllowPrivate: true}})
	chat, err := claude.NewChat(claude.ChatOptions{URL: h.URL, Model: "tiny", Client: client})
	require.NoError(t, err)
	a := claude.New(claude.Options{Model: chat, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(&s.logged, nil))})
	got, _ := ask(t, a, "ai.explain", data)
	require.Equal(t, "the model's server can't be reached", *got.Reason)

	huge := `{"a": 1, "b": "` + strings.Repeat("x", 70_000) + `"}`
	got, _ = ask(t, s.Agent, "ai.explain", huge)
	require.Contains(t, *got.Reason, "the data are larger than the 65536 bytes")
	require.Zero(t, s.calls.Load(), "they are not sent")
}

// A model that keeps failing is left alone; the answers stay.
func TestTheBreakerOfTheModel(t *testing.T) {
	t.Parallel()
	s := newServer(t, claude.ChatOptions{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	for range 5 {
		got, _ := ask(t, s.Agent, "claude.summarize", data)
		require.Equal(t, "sentences", got.Engine)
	}
	require.EqualValues(t, 2, s.calls.Load())
	require.Equal(t, map[string]float64{"failed": 2, "refused": 3}, s.outcomes(t))
	require.Contains(t, s.logged.String(), "circuit breaker of the model changed")

	// What the model says wrong is no failure of its server.
	liar := newServer(t, claude.ChatOptions{}, says("42"))
	for range 5 {
		ask(t, liar.Agent, "claude.summarize", data)
	}
	require.EqualValues(t, 5, liar.calls.Load())
}

// A question that was never asked says nothing of the model: callers in a hurry must not close it to others.
func TestARequestWithoutTimeIsNoFailureOfTheModel(t *testing.T) {
	t.Parallel()
	s := newServer(t, claude.ChatOptions{}, says("Fine."))
	for range 3 { // two failures open the breaker
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond) // less than what sentences are left
		r, err := s.Capabilities()[0].Run(ctx, agent.Request{Capability: "claude.explain", Args: agenttest.Given(t, json.RawMessage(data))})
		cancel()
		require.NoError(t, err)
		require.Equal(t, []string{"The explanation is made of sentences without the model: the request has no time left to ask the model."}, r.Warnings)
	}
	got, _ := ask(t, s.Agent, "ai.explain", data)
	require.Equal(t, "model", got.Engine)
	require.EqualValues(t, 1, s.calls.Load())
	require.Equal(t, map[string]float64{"no_time": 3, "answered": 1}, s.outcomes(t))
}

// A caller that goes away is an end of its request, and says nothing of the model.
func TestACallerThatGoesAway(t *testing.T) {
	t.Parallel()
	started := make(chan struct{}, 10)
	s := newServer(t, claude.ChatOptions{}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		started <- struct{}{}
		<-r.Context().Done()
	})
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-started
			cancel()
		}()
		_, err := s.Capabilities()[0].Run(ctx, agent.Request{Capability: "claude.explain", Args: agenttest.Given(t, json.RawMessage(data))})
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, map[string]float64{"disconnected": 3}, s.outcomes(t))
	require.EqualValues(t, 3, s.calls.Load(), "the breaker has not opened")

	// A deadline that is near leaves time for the sentences.
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	r, err := s.Capabilities()[0].Run(ctx, agent.Request{Capability: "claude.explain", Args: agenttest.Given(t, json.RawMessage(data))})
	require.NoError(t, err)
	require.NotEmpty(t, r.Warnings)
	require.NoError(t, ctx.Err())
}

func TestChatsAreCheckedWhenTheyAreMade(t *testing.T) {
	t.Parallel()
	for _, o := range []claude.ChatOptions{
		{},
		{URL: "ftp://a", Model: "m", Client: http.DefaultClient},
		{URL: "http://u:p@a", Model: "m", Client: http.DefaultClient},
		{URL: "http://a?key=1", Model: "m", Client: http.DefaultClient},
		{URL: "http://a", Client: http.DefaultClient},
		{URL: "http://a", Model: "m"},
	} {
		_, err := claude.NewChat(o)
		require.Error(t, err)
	}
}
