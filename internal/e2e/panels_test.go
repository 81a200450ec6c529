//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dashboards"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/pkg/api"
)

// series is one result of PromQL.
type series struct {
	labels map[string]string
	points []float64
}

// promQL asks Prometheus as Grafana does: for the end of the range only, or for points all through it.
func (w *watched) promQL(ctx context.Context, query string, instant bool, over, step time.Duration) ([]series, error) {
	path, values := "query", url.Values{"query": {query}}
	if now := time.Now(); instant {
		values.Set("time", strconv.FormatInt(now.Unix(), 10))
	} else {
		path = "query_range"
		values.Set("start", strconv.FormatInt(now.Add(-over).Unix(), 10))
		values.Set("end", strconv.FormatInt(now.Unix(), 10))
		values.Set("step", strconv.Itoa(int(step.Seconds())))
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
				Values [][2]any
			}
		}
	}
	if err := ask(ctx, "http://"+w.stack.Addresses.Prometheus+"/api/v1/"+path+"?"+values.Encode(), &answer); err != nil {
		return nil, err
	}
	var all []series
	for _, r := range answer.Data.Result {
		one := series{labels: r.Metric}
		if instant {
			r.Values = [][2]any{r.Value}
		}
		for _, v := range r.Values {
			value, err := strconv.ParseFloat(v[1].(string), 64)
			if err != nil {
				return nil, err
			}
			one.points = append(one.points, value)
		}
		all = append(all, one)
	}
	return all, nil
}

// The time range and the step that panels are asked for here. Prometheus' interval is the data source's.
const (
	panelRange = 2 * time.Minute
	panelStep  = 15 * time.Second
)

// panel asks what one target of a panel asks. No series, or a number that is none, is an error.
func (w *watched) panel(ctx context.Context, q dashboards.Query) ([]series, error) {
	agents, err := w.labelValues(ctx, "agent_invocations_total", "agent_name")
	if err != nil {
		return nil, err
	}
	text, err := q.Interpolate(dashboards.Values{Agents: agents, Range: panelRange, Step: panelStep, Scrape: panelStep})
	if err != nil {
		return nil, err
	}
	found, err := w.promQL(ctx, text, q.Instant, panelRange, panelStep)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no data: %s", text)
	}
	for _, s := range found {
		for _, p := range s.points {
			if math.IsNaN(p) || math.IsInf(p, 0) {
				return nil, fmt.Errorf("%v has %v: %s", s.labels, s.points, text)
			}
		}
	}
	return found, nil
}

func (w *watched) labelValues(ctx context.Context, metric, label string) ([]string, error) {
	var answer struct{ Data []string }
	err := ask(ctx, "http://"+w.stack.Addresses.Prometheus+"/api/v1/label/"+label+"/values?match[]="+metric, &answer)
	return answer.Data, err
}

// requirePanels waits until every panel that asks Prometheus has data, and all of it is finite.
func (w *watched) requirePanels(state string) {
	w.t.Helper()
	asked := 0
	for _, q := range dashboards.Queries() {
		if q.Datasource != "prometheus" {
			continue
		}
		asked++
		w.eventually(fmt.Sprintf("%s: %s of panel %q in %s", state, q.RefID, q.Panel, q.Dashboard), func(ctx context.Context) error {
			_, err := w.panel(ctx, q)
			return err
		})
	}
	w.t.Logf("%s: %d queries of panels have data, all of it finite", state, asked)
	for _, l := range dashboards.Labels() {
		values, err := w.labelValues(w.t.Context(), l.Metric, l.Label)
		require.NoError(w.t, err)
		require.NotEmpty(w.t, values, "%s: $%s of %s", state, l.Name, l.Dashboard)
	}
}

// find returns what a panel asks first.
func find(t testing.TB, dashboard, panel string) dashboards.Query {
	t.Helper()
	for _, q := range dashboards.Queries() {
		if q.Dashboard == dashboard && q.Panel == panel {
			return q
		}
	}
	require.FailNow(t, "no such panel", "%s: %s", dashboard, panel)
	return dashboards.Query{}
}

// TestPanels asks real servers what every panel asks, of a system at rest and of one with all kinds of
// work and failures.
func TestPanels(t *testing.T) {
	t.Parallel()
	w := newWatched(t, "RETRY_SCHEDULE=2s,2s,1h,1h")
	w.requirePanels("at rest")
	for _, q := range []dashboards.Query{
		find(t, "api-overview", "Error Rate"), find(t, "alert-delivery", "DLQ Size (Pending)"),
		find(t, "alert-delivery", "Alert Delivery Failure Rate"), find(t, "alert-delivery", "Ledger Invariant"),
	} {
		found, err := w.panel(t.Context(), q)
		require.NoError(t, err)
		require.Len(t, found, 1, q.Panel)
		require.Zero(t, found[0].points[len(found[0].points)-1], q.Panel)
	}

	well := newReceiver(t, func(int) int { return http.StatusOK })
	failing := newReceiver(t, func(int) int { return http.StatusInternalServerError })
	gone := newReceiver(t, func(int) int { return http.StatusGone })
	for n := range 30 {
		w.execute()
		for name, r := range map[string]*receiver{"well": well, "failing": failing, "gone": gone} {
			w.deliver(fmt.Sprintf("%s-%d", name, n), r.URL) // the same alert twice would be a duplicate, wherever it goes
		}
		_, err := get(t.Context(), "http://"+w.apiAddr+"/v1/patterns/none")
		require.Error(t, err) // 404
	}
	const columns = "symbol,date,close,currency\n"
	require.Equal(t, http.StatusOK, w.importPrices(columns+"SBI,2007-05-09,98.61,CHF\n"))
	require.Equal(t, http.StatusUnprocessableEntity, w.importPrices(columns+"SBI,2007-05-10,none,CHF\nSBI,2007-05-11,none,CHF\n"))
	defer w.keepBusy()() // rates fall to nothing while so many panels are looked at
	w.requirePanels("busy")

	for panel, atLeast := range map[[2]string]float64{
		{"api-overview", "Request Rate"}:                  0.1,
		{"api-overview", "Total Pattern Executions"}:      1,
		{"api-overview", "P95 Latency"}:                   0.0001,
		{"agent-performance", "Total Agent Invocations"}:  1,
		{"agent-performance", "Agent P95 Latency"}:        0.0001,
		{"alert-delivery", "Alert Deliveries (5m)"}:       1,
		{"alert-delivery", "Alert Delivery Failure Rate"}: 0.1,
		{"alert-delivery", "DLQ Size (Pending)"}:          30,
		{"alert-delivery", "DLQ Size (Exhausted)"}:        30,
		{"alert-delivery", "Oldest Dead Letter"}:          1,
		{"jobs-data", "Rejected Rows"}:                    2,
	} {
		w.shows(panel[0], panel[1], func(last float64) bool { return last >= atLeast })
	}
	// The import made a pack, and began the nightly order that makes it fresh.
	for panel, job := range map[string]string{"Last Success": "mark_fresh", "Job Runs": "build_packs", "Mean Time of a Job Run": "compute_metrics"} {
		w.eventually(fmt.Sprintf("panel %q has %s", panel, job), func(ctx context.Context) error {
			found, err := w.panel(ctx, find(t, "jobs-data", panel))
			if err != nil {
				return err
			}
			for _, s := range found {
				if s.labels["job"] == job && s.points[len(s.points)-1] > 0 {
					return nil
				}
			}
			return fmt.Errorf("shows %v", found)
		})
	}
	for _, panel := range []string{"Jobs Late", "Failed Job Runs", "Pricing Packs in Error", "Pricing Packs Not Fresh"} {
		w.shows("jobs-data", panel, func(last float64) bool { return last == 0 })
	}
	// Whatever was done, the ledger adds up.
	w.shows("alert-delivery", "Ledger Invariant", func(last float64) bool { return last == 0 })
}

// keepBusy runs the pattern twice a second until what it returns is called.
func (w *watched) keepBusy() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// What it answers is the other requests' matter.
			_, _ = w.client.ExecutePatternWithResponse(ctx, "portfolio_overview", nil, api.ExecuteRequest{
				Inputs: new(json.RawMessage(fmt.Sprintf(`{"portfolio_id": %q}`, w.portfolio))),
			})
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// importPrices sends a CSV of prices and returns the answer's status.
func (w *watched) importPrices(csv string) int {
	w.t.Helper()
	answer, err := w.client.ImportRowsWithBodyWithResponse(w.t.Context(), "prices", nil, "text/csv", strings.NewReader(csv))
	require.NoError(w.t, err)
	return answer.StatusCode()
}

// shows waits until the last point of a panel's first series is as it should be, and returns it.
func (w *watched) shows(dashboard, panel string, right func(last float64) bool) {
	w.t.Helper()
	q := find(w.t, dashboard, panel)
	var shown []series
	w.eventually(fmt.Sprintf("panel %q", panel), func(ctx context.Context) error {
		found, err := w.panel(ctx, q)
		if err != nil {
			return fmt.Errorf("%w; before that %v", err, shown)
		}
		shown = found
		points := found[0].points
		if last := points[len(points)-1]; !right(last) {
			return fmt.Errorf("shows %v", points)
		}
		return nil
	})
}

// breakage is one thing that breaks, and what shows it.
type breakage struct {
	cause, dashboard, panel, alert string
	shown, fired, resolved         time.Duration // after it broke; the last after it was mended
}

// breakPatience bounds the wait for an alert: the longest takes five minutes of its rule's and as many
// of the rate that it reads.
const breakPatience = 13 * time.Minute

// within is eventually with more patience, and tells how long it took.
func (w *watched) within(since time.Time, what string, check func(ctx context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), breakPatience)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return time.Since(since), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("waited in vain: %s: %w", what, err)
		}
	}
}

// firing reports whether Prometheus has an alert firing.
func (w *watched) firing(ctx context.Context, alert string) (bool, error) {
	found, err := w.promQL(ctx, fmt.Sprintf(`ALERTS{alertname=%q, alertstate="firing"}`, alert), true, 0, 0)
	return len(found) > 0, err
}

// follow waits until a breakage shows, its alert fires, and after mend that it resolves.
func (w *watched) follow(b *breakage, broken time.Time, lit func(series) bool, mend func()) error {
	q := find(w.t, b.dashboard, b.panel)
	var err error
	if b.shown, err = w.within(broken, "panel "+b.panel, func(ctx context.Context) error {
		found, err := w.panel(ctx, q)
		if err != nil {
			return err
		}
		for _, s := range found {
			if lit(s) {
				return nil
			}
		}
		return fmt.Errorf("shows %v", found)
	}); err != nil {
		return err
	}
	if b.fired, err = w.within(broken, b.alert, func(ctx context.Context) error {
		on, err := w.firing(ctx, b.alert)
		if err == nil && !on {
			err = errors.New("does not fire")
		}
		return err
	}); err != nil {
		return err
	}
	mend()
	b.resolved, err = w.within(time.Now(), b.alert+" resolved", func(ctx context.Context) error {
		on, err := w.firing(ctx, b.alert)
		if err == nil && on {
			err = errors.New("still fires")
		}
		return err
	})
	return err
}

func above(limit float64) func(series) bool {
	return func(s series) bool { return s.points[len(s.points)-1] > limit }
}

// repeat does something again and again until the function that it returns is called.
func (w *watched) repeat(pause time.Duration, callers int, do func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	for range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for ctx.Err() == nil {
				do(ctx)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		}()
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range callers {
			<-done
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// TestBreakage breaks an agent, a receiver, the pool and the worker, and measures how long it takes until
// the panel shows it, the alert fires, and resolves once it is mended. It prints the table of
// docs/observability-quickstart.md.
func TestBreakage(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	remote := startRemoteAgent(t, addr, 0)
	w := newWatched(t, "RETRY_SCHEDULE=30s,1h,1h", "DATABASE_POOL_MAX=4", "BREAKER_DELAY=10s",
		"SECRETS_KEY="+base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"PATTERNS_DIR="+patternsDir(t, examplePattern(t)), "AGENTS_FILE="+agentsFile(t, fmt.Sprintf(sentimentSettings, 3, 5*time.Second, addr)),
		"AGENT_TOKEN="+agentToken)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(ctx context.Context, method, path, body string) {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+w.apiAddr+path, strings.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}
	// The receiver is a destination: its breaker has a panel.
	answering := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	up := httptest.NewServer(answering)
	hook := up.URL
	created, err := w.client.CreateDestinationWithResponse(t.Context(), nil, api.NewDestination{Name: "pager", Channel: "webhook", Url: &hook})
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, created.StatusCode(), string(created.Body))
	n := 0
	w.repeat(500*time.Millisecond, 1, func(ctx context.Context) {
		n++
		send(ctx, http.MethodPost, "/v1/deliveries", fmt.Sprintf(
			`{"alert_id": "beat", "user_id": "ada", "title": "Beat %d", "message": "x", "channels": {"destination": ["pager"]}}`, n))
	})
	m := 0
	w.repeat(250*time.Millisecond, 1, func(ctx context.Context) {
		m++
		send(ctx, http.MethodPost, "/v1/patterns/headline_sentiment/execute", fmt.Sprintf(`{"inputs": {"headlines": ["Profit rises for the %dth time"]}}`, m))
	})
	w.eventually("both are asked", func(context.Context) error {
		if w.metric(w.apiAddr, `agent_invocations_total{agent_name="sentiment",capability="sentiment.score",status="success"}`) == "" {
			return errors.New("the agent is not")
		}
		return nil
	})
	w.requireTargets("dawsos-backend", "dawsos-worker", "prometheus", "alertmanager", "otel-collector", "otel-exporter", "postgres-exporter")

	agent := &breakage{cause: "an agent is killed", dashboard: "agent-performance", panel: "Circuit Breaker Status", alert: "AgentBreakerOpen"}
	receiver := &breakage{cause: "a receiver stops", dashboard: "alert-delivery", panel: "DLQ Size (Pending)", alert: "DestinationBreakerOpen"}
	pool := &breakage{cause: "the pool is full", dashboard: "api-overview", panel: "P95 Latency", alert: "APILatencyP95High"}
	worker := &breakage{cause: "the worker stops", dashboard: "runtime", panel: "Targets Down", alert: "WorkerDown"}

	results := make(chan error, 2)
	// The receiver.
	up.Close()
	receiverBroken := time.Now()
	go func() {
		results <- w.follow(receiver, receiverBroken, above(0), func() {
			listener, err := net.Listen("tcp", strings.TrimPrefix(hook, "http://"))
			if err != nil {
				t.Errorf("the receiver can't come back: %v", err)
				return
			}
			again := &httptest.Server{Listener: listener, Config: &http.Server{Handler: answering, ReadHeaderTimeout: time.Second}}
			again.Start()
			t.Cleanup(again.Close)
		})
	}()
	// The pool: one statement after the other holds what callers of another endpoint wait for.
	lock := dbtest.Connect(t, w.databaseURL)
	unlock := w.repeat(50*time.Millisecond, 1, func(ctx context.Context) {
		_ = pgx.BeginFunc(ctx, lock, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "LOCK TABLE portfolios IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(2)")
			return err
		})
	})
	callers := w.repeat(100*time.Millisecond, 12, func(ctx context.Context) { send(ctx, http.MethodGet, "/v1/portfolios", "") })
	poolBroken := time.Now()
	go func() { results <- w.follow(pool, poolBroken, above(0.5), func() { unlock(); callers() }) }()
	// The agent.
	remote.kill()
	require.NoError(t, w.follow(agent, time.Now(), func(s series) bool {
		return s.labels["agent_name"] == "sentiment" && s.labels["state"] == "OPEN"
	}, func() { startRemoteAgent(t, addr, 0) }))
	for range 2 {
		require.NoError(t, <-results)
	}
	// The worker, alone: it exports what the others are seen by.
	w.worker.interrupt()
	require.Zero(t, w.worker.exitCode())
	require.NoError(t, w.follow(worker, time.Now(), above(0), w.startWorker))

	titles := map[string]string{
		"api-overview": "API Overview", "agent-performance": "Agent Performance", "alert-delivery": "Alert Delivery & DLQ", "runtime": "Runtime",
	}
	var table strings.Builder
	table.WriteString("| cause | panel | shown after | alert | fires after | resolves, once mended, after |\n|---|---|---|---|---|---|\n")
	for _, b := range []*breakage{agent, receiver, worker, pool} {
		fmt.Fprintf(&table, "| %s | %s: %s | %.0f s | %s | %.0f s | %.0f s |\n", b.cause, titles[b.dashboard], b.panel, b.shown.Seconds(), b.alert, b.fired.Seconds(), b.resolved.Seconds())
	}
	t.Log("\n" + table.String())
}
