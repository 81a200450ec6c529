package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

const (
	remoteAgent = "docs/examples/remote-agent" // below root

	breakerFailures = 3
	breakerDelay    = time.Second

	// loaders ask for the agent at the same time, each at most every loadPause.
	loaders   = 4
	loadPause = 25 * time.Millisecond
)

// TestRemoteAgentKilled kills a remote agent in the middle of load and brings it back: its breaker
// bounds the errors, patterns that don't need it notice nothing, and metrics, log and traces show
// all of it.
func TestRemoteAgentKilled(t *testing.T) {
	t.Parallel()
	databaseURL, portfolio := loaded(t)
	traces := newEventCollector(t)
	addr := freeAddr(t)
	remote := startRemoteAgent(t, addr, 0)
	s := prepare(t, databaseURL, "OTLP_ENDPOINT="+traces.addr, "PATTERNS_DIR="+patternsDir(t, examplePattern(t)),
		"AGENTS_FILE="+agentsFile(t, fmt.Sprintf(sentimentSettings, breakerFailures, breakerDelay, addr)), "AGENT_TOKEN="+agentToken)
	s.startAPI()

	l := newLoad(t, s)
	for range loaders {
		l.run("headline_sentiment", loadPause, func(n int) string {
			return fmt.Sprintf(`{"headlines": ["Profit rises for the %dth time"]}`, n) // no two are the same: nothing is remembered
		})
	}
	l.run("portfolio_overview", 4*loadPause, func(int) string { return fmt.Sprintf(`{"portfolio_id": %q}`, portfolio) })
	states := l.watchBreaker("sentiment")

	s.eventually("the agent answers", l.atLeast("headline_sentiment", "", 20))
	killed := time.Now()
	remote.kill()
	s.eventually("the breaker refuses", l.atLeast("headline_sentiment", "breaker_open", 20))
	s.eventually("a trial has failed", func(context.Context) error {
		if !strings.Contains(s.api.log.String(), "from=HALF_OPEN to=OPEN") {
			return fmt.Errorf("not in the log")
		}
		return nil
	})
	s.eventually("the others go on meanwhile", l.atLeast("portfolio_overview", "", l.count("portfolio_overview", "")+5))

	// It comes back slowly, so that the trial lasts long enough to be seen.
	back := time.Now()
	remote = startRemoteAgent(t, addr, 1500*time.Millisecond)
	s.eventually("the agent answers again", l.atLeast("headline_sentiment", "", l.count("headline_sentiment", "")+5))
	s.eventually("the breaker is closed", func(context.Context) error {
		if seen := states(); seen[len(seen)-1] != "CLOSED 0" {
			return fmt.Errorf("seen: %v", seen)
		}
		return nil
	})
	outage := time.Since(killed)
	outcomes := l.stop()

	// Those that don't need the agent: all well, before, during and after.
	during := 0
	for _, o := range outcomes["portfolio_overview"] {
		require.Equal(t, http.StatusOK, o.status, o.body)
		if o.at.After(killed) && o.at.Before(back) {
			during++
		}
	}
	require.GreaterOrEqual(t, during, 5)

	// Those that do: the agent is asked until the breaker opens, and once for each delay after that.
	var unavailable, refused, answered []outcome
	for _, o := range outcomes["headline_sentiment"] {
		switch o.code {
		case "":
			require.Equal(t, http.StatusOK, o.status, o.body)
			answered = append(answered, o)
		case "unavailable":
			require.Equal(t, http.StatusServiceUnavailable, o.status, o.body)
			unavailable = append(unavailable, o)
		case "breaker_open":
			require.Equal(t, http.StatusServiceUnavailable, o.status, o.body)
			seconds, err := strconv.Atoi(o.retryAfter)
			require.NoError(t, err, "Retry-After")
			require.Positive(t, seconds)
			refused = append(refused, o)
		default:
			require.Fail(t, "no such failure was caused", "%d %s", o.status, o.body)
		}
	}
	t.Logf("in %v of outage: %d answered, %d failed, %d refused, %d unaffected", outage, len(answered), len(unavailable), len(refused), during)
	require.GreaterOrEqual(t, len(unavailable), breakerFailures)
	require.LessOrEqual(t, len(unavailable), breakerFailures+loaders+int(outage/breakerDelay)+1)
	require.Greater(t, len(refused), len(unavailable))

	// The metric: CLOSED, then OPEN with trials in between, then a trial that succeeds.
	seen := states()
	require.Equal(t, []string{"CLOSED 0", "OPEN 1"}, seen[:2], "%v", seen)
	require.Equal(t, []string{"HALF_OPEN 2", "CLOSED 0"}, seen[len(seen)-2:], "%v", seen)
	for _, state := range seen[2 : len(seen)-2] {
		require.NotEqual(t, "CLOSED 0", state, "%v", seen)
	}

	// The trace. Spans are sent in batches; the last ones when the process stops.
	s.api.interrupt()
	require.Equal(t, 0, s.api.exitCode())
	path := []string{
		"dawsos-api: POST /v1/patterns/{id}/execute", "dawsos-api: pattern headline_sentiment",
		"dawsos-api: step 0 sentiment.score", "dawsos-api: agent sentiment/sentiment.score",
	}
	last := answered[len(answered)-1]
	requirePath(t, traces.of(last.traceID), append(slices.Clone(path), "dawsos-api: HTTP POST")...)
	require.Contains(t, remote.log.String(), last.traceID, "the agent is part of it")
	requirePath(t, traces.of(unavailable[0].traceID), append(slices.Clone(path), "dawsos-api: HTTP POST")...)
	requirePath(t, traces.of(refused[0].traceID), path...)
	for _, span := range traces.of(refused[0].traceID) {
		require.NotEqual(t, "HTTP POST", span.name, "nothing is sent while the breaker is open")
	}
	changes := traces.changes()
	for _, change := range []string{"CLOSED OPEN", "OPEN HALF_OPEN", "HALF_OPEN OPEN", "HALF_OPEN CLOSED"} {
		require.Contains(t, changes, change, "%v", changes)
	}
	for change, trace := range changes {
		require.True(t, slices.ContainsFunc(outcomes["headline_sentiment"], func(o outcome) bool { return o.traceID == trace }),
			"%s happened in a request of the load", change)
	}
}

// sentimentSettings configure the example: failures, delay, address.
const sentimentSettings = `  sentiment:
    timeout: 10s
    retry: {attempts: 1}
    breaker: {failures: %d, delay: %v, successes: 1}
    remote: {url: "http://%s", token_env: AGENT_TOKEN, refresh: 1s}`

// examplePattern returns the pattern that the example's README shows, by its file's name.
func examplePattern(t *testing.T) map[string]string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, remoteAgent, "README.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "```json\n")
	require.True(t, found)
	definition, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	return map[string]string{"headline_sentiment.json": definition}
}

// startRemoteAgent runs the example, and waits until it listens.
func startRemoteAgent(t *testing.T, addr string, delay time.Duration) *proc {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	p := startNode(t, "sentiment", []string{
		"PORT=" + port, "AGENT_TOKEN=" + agentToken, "AGENT_DELAY_MS=" + strconv.FormatInt(delay.Milliseconds(), 10),
	}, filepath.Join(root, remoteAgent, "agent.mjs"))
	(&system{t: t}).eventually("the agent listens", func(context.Context) error {
		select {
		case <-p.done:
			require.FailNow(t, "the agent has ended", p.log.String())
		default:
		}
		if !strings.Contains(p.log.String(), addr) {
			return fmt.Errorf("it says: %s", p.log.String())
		}
		return nil
	})
	return p
}

// load runs patterns over and over, and keeps what came of it.
type load struct {
	t       *testing.T
	system  *system
	client  *http.Client
	cancel  context.CancelFunc
	ctx     context.Context // its end is the load's
	running sync.WaitGroup

	mu       sync.Mutex
	sent     int
	outcomes map[string][]outcome // by pattern
}

// outcome is one answer.
type outcome struct {
	at         time.Time // of the answer
	status     int
	code       string // of the problem; "" for an answer
	retryAfter string
	traceID    string
	body       string
}

func newLoad(t *testing.T, s *system) *load {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	l := &load{t: t, system: s, client: &http.Client{Transport: &http.Transport{}}, ctx: ctx, cancel: cancel, outcomes: make(map[string][]outcome)}
	t.Cleanup(func() { l.stop() })
	return l
}

// run executes a pattern again and again until the load is stopped. inputs are told the request's
// number.
func (l *load) run(pattern string, pause time.Duration, inputs func(n int) string) {
	l.repeat(pause, func() error {
		l.mu.Lock()
		l.sent++
		n := l.sent
		l.mu.Unlock()
		o, err := l.execute(pattern, inputs(n))
		if err != nil {
			return fmt.Errorf("%s: %w", pattern, err)
		}
		l.mu.Lock()
		l.outcomes[pattern] = append(l.outcomes[pattern], o)
		l.mu.Unlock()
		return nil
	})
}

// repeat does something again and again until the load is stopped. It must not fail before.
func (l *load) repeat(pause time.Duration, do func() error) {
	l.running.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-l.ctx.Done():
				return
			case <-tick.C:
			}
			if err := do(); l.ctx.Err() == nil && err != nil {
				l.t.Error(err)
				return
			}
		}
	})
}

func (l *load) execute(pattern, inputs string) (outcome, error) {
	req, err := http.NewRequestWithContext(l.ctx, http.MethodPost,
		"http://"+l.system.apiAddr+"/v1/patterns/"+pattern+"/execute", strings.NewReader(`{"inputs": `+inputs+`}`))
	if err != nil {
		return outcome{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return outcome{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return outcome{}, err
	}
	var answer struct {
		Code  string `json:"code"`
		Trace struct {
			TraceID string `json:"trace_id"`
		} `json:"trace"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return outcome{}, fmt.Errorf("%w: %s", err, body)
	}
	return outcome{
		at: time.Now(), status: resp.StatusCode, code: answer.Code, retryAfter: resp.Header.Get("Retry-After"),
		traceID: answer.Trace.TraceID, body: string(body),
	}, nil
}

// stop ends the load and returns what came of it.
func (l *load) stop() map[string][]outcome {
	l.cancel()
	l.running.Wait()
	l.client.CloseIdleConnections()
	return l.outcomes
}

func (l *load) count(pattern, code string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, o := range l.outcomes[pattern] {
		if o.code == code {
			n++
		}
	}
	return n
}

// atLeast is for eventually: a pattern has ended so often with a code.
func (l *load) atLeast(pattern, code string, want int) func(context.Context) error {
	return func(context.Context) error {
		if n := l.count(pattern, code); n < want {
			return fmt.Errorf("%d of %d", n, want)
		}
		return nil
	}
}

// watchBreaker scrapes an agent's circuit_breaker_state while the load goes on, and returns how to get
// its labels and values so far, each change once.
func (l *load) watchBreaker(agent string) func() []string {
	var mu sync.Mutex
	var seen []string
	l.repeat(50*time.Millisecond, func() error {
		page, err := get(l.ctx, "http://"+l.system.apiAddr+"/metrics")
		if err != nil {
			return err
		}
		var series []string
		for line := range strings.Lines(page) {
			if rest, ok := strings.CutPrefix(line, `circuit_breaker_state{agent_name="`+agent+`",state="`); ok {
				state, value, _ := strings.Cut(strings.TrimSpace(rest), `"} `)
				series = append(series, state+" "+value)
			}
		}
		if len(series) != 1 {
			return fmt.Errorf("not one series of the agent: %v", series)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(seen) == 0 || seen[len(seen)-1] != series[0] {
			seen = append(seen, series[0])
		}
		return nil
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

// eventCollector is a collector that also keeps the breakers' changes.
type eventCollector struct {
	*collector
	eventsMu sync.Mutex
	byChange map[string]string // trace id by "FROM TO"; the last one of each
}

func newEventCollector(t *testing.T) *eventCollector {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &eventCollector{collector: &collector{addr: l.Addr().String()}, byChange: make(map[string]string)}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	served := make(chan struct{})
	go func() {
		_ = server.Serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return c
}

func (c *eventCollector) Export(ctx context.Context, req *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.eventsMu.Lock()
	for _, r := range req.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				for _, e := range s.GetEvents() {
					if e.GetName() != "circuit breaker changed" || s.GetName() != "agent sentiment/sentiment.score" {
						continue
					}
					attributes := make(map[string]string)
					for _, a := range e.GetAttributes() {
						attributes[a.GetKey()] = a.GetValue().GetStringValue()
					}
					c.byChange[attributes["from"]+" "+attributes["to"]] = hex.EncodeToString(s.GetTraceId())
				}
			}
		}
	}
	c.eventsMu.Unlock()
	return c.collector.Export(ctx, req)
}

// changes returns the trace of each kind of change.
func (c *eventCollector) changes() map[string]string {
	c.eventsMu.Lock()
	defer c.eventsMu.Unlock()
	return c.byChange
}
