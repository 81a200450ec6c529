package remote_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/agents/remote"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

const (
	token    = "a-token"
	patience = 2 * time.Minute
)

// subject is a server that has to conform: an agent "sentiment" with the capability
// sentiment.score.
type subject struct {
	url string
	// calls tells of each call that came to an end: over is false when the caller had gone.
	calls <-chan endedCall
}

type endedCall struct {
	requestID, traceParent string
	over                   bool
}

// subjects are started with the time that each call takes.
var subjects = map[string]func(t *testing.T, delay time.Duration) subject{
	"Go helper":    startGo,
	"Node example": startNode,
}

// startGo serves an agent of this process with the helper.
func startGo(t *testing.T, delay time.Duration) subject {
	calls := make(chan endedCall, 100)
	h := agent.Handler(agent.New("sentiment", agent.Capability{
		Name:        "sentiment.score",
		Description: "Sentiment of headlines.",
		Args:        json.RawMessage(`{"type": "object", "required": ["headlines"]}`),
		Result:      json.RawMessage(`{"type": "object", "required": ["score"]}`),
		Purity:      agent.Pure,
		Timeout:     5 * time.Second,
		Run: func(ctx context.Context, req agent.Request) (agent.Result, error) {
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return agent.Result{}, ctx.Err()
			}
			var args struct {
				Headlines []string `json:"headlines"`
			}
			if err := agent.DecodeArgs(req, &args); err != nil {
				return agent.Result{}, agent.InvalidArgs(err)
			}
			return agent.Result{
				Value:   map[string]any{"score": scoreOf(strings.Join(args.Headlines, " "))},
				Sources: []agent.Source{{Name: "wordlist:dawsos-example-1"}},
			}, nil
		},
	}), agent.HandlerOptions{Token: token, Version: "1.0.0"})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if r.URL.Path == "/run" {
			calls <- endedCall{r.Header.Get("X-Request-Id"), r.Header.Get("Traceparent"), r.Context().Err() == nil}
		}
	}))
	t.Cleanup(server.Close)
	return subject{url: server.URL, calls: calls}
}

func scoreOf(text string) *float64 {
	words := map[string]float64{"profit": 1, "rises": 1, "weak": -1}
	n, sum := 0, 0.0
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return r < 'a' || r > 'z' }) {
		if weight := words[word]; weight != 0 {
			n, sum = n+1, sum+weight
		}
	}
	if n == 0 {
		return nil
	}
	return new(sum / float64(n))
}

// startNode runs the example of the documentation.
func startNode(t *testing.T, delay time.Duration) subject {
	node, err := exec.LookPath("node")
	require.NoError(t, err, "the tests need Node 18.17 or later (Debian: nodejs)")
	cmd := exec.Command(node, "../../../docs/examples/remote-agent/agent.mjs")
	cmd.Env = []string{
		"PORT=0", "AGENT_TOKEN=" + token, "AGENT_DELAY_MS=" + strconv.FormatInt(delay.Milliseconds(), 10),
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	addresses, calls := make(chan string, 1), make(chan endedCall, 100)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var line struct {
				Listening   string `json:"listening"`
				RequestID   string `json:"request_id"`
				TraceParent string `json:"traceparent"`
				Status      any    `json:"status"`
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Errorf("the agent's output is not JSON: %s", lines.Text())
			}
			if line.Listening != "" {
				addresses <- line.Listening
			} else {
				calls <- endedCall{line.RequestID, line.TraceParent, line.Status != "gone"}
			}
		}
	}()
	t.Cleanup(func() {
		// It ends by itself when asked to.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		<-read
		err := cmd.Wait()
		kill.Stop()
		if err != nil {
			t.Errorf("the agent did not stop well: %v\n%s", err, stderr)
		}
	})
	return subject{url: await(t, addresses), calls: calls}
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "waited in vain")
		panic("not reached")
	}
}

// newClient is the client that production uses.
func newClient(t *testing.T, provider *sdktrace.TracerProvider) *http.Client {
	t.Helper()
	if provider == nil {
		provider = sdktrace.NewTracerProvider()
	}
	client := outbound.NewClient(outbound.Options{
		Policy: outbound.Policy{AllowPrivate: true}, TracerProvider: provider, Propagator: propagation.TraceContext{},
	})
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func newAgent(t *testing.T, o remote.Options) *remote.Agent {
	t.Helper()
	if o.Name == "" {
		o.Name = "sentiment"
	}
	if o.Client == nil {
		o.Client = newClient(t, nil)
	}
	a, err := remote.New(o)
	require.NoError(t, err)
	return a
}

// discovered returns the agent and its capability sentiment.score.
func discovered(t *testing.T, o remote.Options) (*remote.Agent, agent.Capability) {
	t.Helper()
	a := newAgent(t, o)
	changed, err := a.Discover(t.Context())
	require.NoError(t, err)
	require.True(t, changed)
	return a, a.Capabilities()[0]
}

var day = time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC)

func request(args string) agent.Request {
	dec := json.NewDecoder(strings.NewReader(args))
	dec.UseNumber()
	req := agent.Request{Capability: "sentiment.score", Context: agent.Context{
		RequestID: "request-1", TenantID: "tenant", Asof: day, PricingPack: agent.Pack{ID: "pack", Date: day, Revision: 1, Hash: "h"},
	}}
	if err := dec.Decode(&req.Args); err != nil {
		panic(err)
	}
	return req
}

const headlines = `{"headlines": ["Profit rises, outlook weak"]}`

// TestConformance is what every server of the protocol has to do, seen through the client.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, start := range subjects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, check := range map[string]func(t *testing.T, s subject){
				"listing": func(t *testing.T, s subject) {
					a, c := discovered(t, remote.Options{URL: s.url, Token: token})
					require.Equal(t, "1.0.0", a.Version())
					require.Equal(t, "sentiment.score", c.Name)
					require.NotEmpty(t, c.Description)
					require.Equal(t, agent.Pure, c.Purity)
					require.Equal(t, agent.Low, c.Cost)
					require.Equal(t, 5*time.Second, c.Timeout)
					_, err := schema.Compile(c.Args)
					require.NoError(t, err)
					_, err = schema.Compile(c.Result)
					require.NoError(t, err)

					changed, err := a.Discover(t.Context())
					require.NoError(t, err)
					require.False(t, changed, "it is the same list")
				},
				"run": func(t *testing.T, s subject) {
					_, c := discovered(t, remote.Options{URL: s.url, Token: token})
					for range 2 {
						result, err := c.Run(t.Context(), request(headlines))
						require.NoError(t, err)
						require.Equal(t, []agent.Source{{Name: "wordlist:dawsos-example-1"}}, result.Sources)
						var value struct {
							Score float64 `json:"score"`
						}
						require.IsType(t, json.RawMessage{}, result.Value)
						require.NoError(t, json.Unmarshal(result.Value.(json.RawMessage), &value))
						require.InDelta(t, 1.0/3, value.Score, 1e-15)
						require.Equal(t, "request-1", await(t, s.calls).requestID)
					}
				},
				"null": func(t *testing.T, s subject) {
					_, c := discovered(t, remote.Options{URL: s.url, Token: token})
					result, err := c.Run(t.Context(), request(`{"headlines": ["Supply of updates"]}`))
					require.NoError(t, err)
					require.Contains(t, string(result.Value.(json.RawMessage)), `"score":null`)
				},
				"wrong arguments": func(t *testing.T, s subject) {
					_, c := discovered(t, remote.Options{URL: s.url, Token: token})
					_, err := c.Run(t.Context(), request(`{"headlines": "Profit"}`))
					require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
					require.Contains(t, fault.Detail(err), "agent sentiment: ")
					require.Equal(t, "/args/headlines", problemOf(t, err).Fields[0].Pointer)
				},
				"wrong token": func(t *testing.T, s subject) {
					for _, wrong := range []string{"", "another"} {
						_, err := newAgent(t, remote.Options{URL: s.url, Token: wrong}).Discover(t.Context())
						require.Equal(t, fault.Internal, fault.CodeOf(err))
						require.EqualError(t, err, "agent sentiment refuses the token that it is called with: status 401")
					}
				},
				"another name": func(t *testing.T, s subject) {
					_, err := newAgent(t, remote.Options{Name: "news", URL: s.url, Token: token}).Discover(t.Context())
					require.EqualError(t, err, `the list of agent news can't be used: it is named "sentiment" there, and "news" here`)
				},
				"below a path": func(t *testing.T, s subject) {
					_, err := newAgent(t, remote.Options{URL: s.url + "/somewhere", Token: token}).Discover(t.Context())
					require.EqualError(t, err, "agent sentiment does not serve the protocol at its address: status 404")
				},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					check(t, start(t, 0))
				})
			}
			t.Run("trace", func(t *testing.T) {
				t.Parallel()
				testTrace(t, start(t, 0))
			})
			t.Run("time is up", func(t *testing.T) {
				t.Parallel()
				testTimeout(t, start(t, time.Minute))
			})
			t.Run("the caller leaves", func(t *testing.T) {
				t.Parallel()
				testCancel(t, start(t, time.Minute))
			})
			t.Run("documents", func(t *testing.T) {
				t.Parallel()
				testDocuments(t, start(t, 0))
			})
		})
	}
}

func problemOf(t *testing.T, err error) *fault.Error {
	t.Helper()
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	return e
}

// The server sees the trace, and the span of the call says where it went.
func testTrace(t *testing.T, s subject) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	_, c := discovered(t, remote.Options{URL: s.url + "?key=secret", Token: token, Client: newClient(t, provider)})

	ctx, span := provider.Tracer("").Start(t.Context(), "agent sentiment/sentiment.score")
	_, err := c.Run(ctx, request(headlines))
	require.NoError(t, err)
	span.End()
	require.Contains(t, await(t, s.calls).traceParent, span.SpanContext().TraceID().String())

	ended := spans.Ended()
	outer := ended[len(ended)-1]
	require.Equal(t, "agent sentiment/sentiment.score", outer.Name())
	require.Len(t, outer.Attributes(), 1)
	require.Equal(t, "dawsos.remote.url", string(outer.Attributes()[0].Key))
	require.Equal(t, s.url+"/run", outer.Attributes()[0].Value.AsString(), "without the query")
	require.Equal(t, outer.SpanContext().SpanID(), ended[len(ended)-2].Parent().SpanID(), "the client's span lies below")
}

// The server ends a call whose time is up. Nobody else would here: the capability lists a longer
// timeout than it is told.
func testTimeout(t *testing.T, s subject) {
	body, err := json.Marshal(agent.NewCall(request(headlines)))
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/run", bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Timeout-Ms", "50")
	status, contentType, answer := exchange(t, req)
	require.Equal(t, http.StatusGatewayTimeout, status)
	require.Equal(t, "application/problem+json", contentType)
	require.Contains(t, answer, `"code":"timeout"`)
}

// A caller that leaves takes the call with it.
func testCancel(t *testing.T, s subject) {
	_, c := discovered(t, remote.Options{URL: s.url, Token: token})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { leave() }})
	_, err := c.Run(ctx, request(headlines))
	require.Equal(t, fault.Canceled, fault.CodeOf(err), "%v", err)
	require.False(t, await(t, s.calls).over, "the server knows, long before the call's own end")
}

func exchange(t *testing.T, req *http.Request) (status int, contentType, body string) {
	t.Helper()
	resp, err := newClient(t, nil).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(all)
}

// Every document that is exchanged fits the OpenAPI description.
func testDocuments(t *testing.T, s subject) {
	body, err := json.Marshal(agent.NewCall(request(headlines)))
	require.NoError(t, err)
	requireFits(t, "Call", string(body))
	withPortfolio := request(headlines)
	withPortfolio.Context.Portfolio = &agent.Portfolio{ID: "p", BaseCurrency: "CHF", LedgerVersion: "v", LedgerSeq: 1}
	body, err = json.Marshal(agent.NewCall(withPortfolio))
	require.NoError(t, err)
	requireFits(t, "Call", string(body))

	for name, tc := range map[string]struct {
		method, path, token, body string
		status                    int
		contentType, schema       string
		contains                  string
	}{
		"listing":         {"GET", "/capabilities", token, "", 200, "application/json", "Listing", "sentiment.score"},
		"answer":          {"POST", "/run", token, string(body), 200, "application/json", "Answer", "0.333"},
		"no token":        {"POST", "/run", "", string(body), 401, "application/problem+json", "Problem", "token"},
		"no token, list":  {"GET", "/capabilities", "", "", 401, "application/problem+json", "Problem", "token"},
		"no JSON":         {"POST", "/run", token, "{", 400, "application/problem+json", "Problem", "no call"},
		"no call":         {"POST", "/run", token, "{}", 400, "application/problem+json", "Problem", "no call"},
		"wrong arguments": {"POST", "/run", token, strings.Replace(string(body), `["Profit rises, outlook weak"]`, "1", 1), 422, "application/problem+json", "Problem", `"code":"invalid"`},
		"unknown":         {"POST", "/run", token, strings.Replace(string(body), "sentiment.score", "sentiment.guess", 1), 404, "application/problem+json", "Problem", `"code":"unknown_capability"`},
		"too large":       {"POST", "/run", token, `{"capability": "` + strings.Repeat("x", 9<<20) + `"}`, 413, "application/problem+json", "Problem", `"code":"invalid"`},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, s.url+tc.path, strings.NewReader(tc.body))
			require.NoError(t, err)
			if tc.token != "" {
				req.Header.Set("Authorization", "Bearer "+tc.token)
			}
			req.Header.Set("Content-Type", "application/json")
			status, contentType, answer := exchange(t, req)
			require.Equal(t, tc.status, status, answer)
			require.Equal(t, tc.contentType, contentType)
			require.Contains(t, answer, tc.contains)
			requireFits(t, tc.schema, answer)
		})
	}
}

// requireFits checks a document against a schema of the protocol.
func requireFits(t *testing.T, name, document string) {
	t.Helper()
	var protocol map[string]any
	require.NoError(t, yaml.Unmarshal(agent.Protocol, &protocol))
	protocol["$ref"] = "#/components/schemas/" + name
	raw, err := json.Marshal(protocol)
	require.NoError(t, err)
	compiled, err := schema.Compile(raw)
	require.NoError(t, err)
	dec := json.NewDecoder(strings.NewReader(document))
	dec.UseNumber()
	var value any
	require.NoError(t, dec.Decode(&value))
	require.Empty(t, schema.Violations(compiled, "", value), document)
}
