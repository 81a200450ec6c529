package app

import (
	"cmp"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/dbtest"
)

var update = flag.Bool("update", false, "write docs/reference/metrics.md from the registries of both processes")

// family is a metric as the processes that export it describe it.
type family struct {
	name, help, kind string
	labels           []string
	processes        []string
}

// TestMetricsReference keeps docs/reference/metrics.md equal to what the registries of the two processes
// hold once they are wired as they are in production; -update writes it. It is what rules and dashboards
// are checked against.
func TestMetricsReference(t *testing.T) {
	databaseURL := dbtest.URL(t)
	families := map[string]*family{}
	for _, role := range []config.Role{config.API, config.Worker} {
		p := startForMetrics(t, role, databaseURL)
		describe(t, families, role, p.tel.Registry)
		require.NoError(t, p.stop(context.WithoutCancel(t.Context())))
	}
	want := reference(t, families)

	path := filepath.Join("..", "..", "docs", "reference", "metrics.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "run: go test ./internal/app -run TestMetricsReference -update")
}

// startForMetrics starts a process with all that has metrics: tracing is on, and it has attempted to deliver to a
// destination. Neither that nor the collector is there: the worker retries what the API could
// not deliver, and spans are lost.
func startForMetrics(t *testing.T, role config.Role, databaseURL string) *process {
	t.Helper()
	addr := freeAddr(t)
	env := map[string]string{
		"DATABASE_URL": databaseURL, "API_ADDR": addr, "WORKER_ADDR": addr, "LOG_LEVEL": "error", "AUTH_ANONYMOUS": "admin",
		"OTLP_ENDPOINT": "http://127.0.0.1:1", "SECRETS_KEY": base64.StdEncoding.EncodeToString(make([]byte, 32)), "DELIVERY_TIMEOUT": "1s", "RETRY_SCHEDULE": "1s,1h",
		"PATTERNS_DIR": filepath.Join("..", "..", "configs", "patterns"), "AGENTS_FILE": filepath.Join("..", "..", "configs", "agents.yaml"),
		"ANALYTICS_DIR": filepath.Join("..", "..", "configs", "analytics"),
	}
	getenv := func(name string) string { return env[name] }
	p, err := start(t.Context(), role, getenv)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.shutdown() }) // where the test failed before it stopped the process
	if role == config.Worker {
		require.NoError(t, p.startWorker(t.Context()))
		require.Eventually(t, func() bool {
			n, err := testutil.GatherAndCount(p.tel.Registry, "dawsos_destination_breaker_state")
			return err == nil && n > 0
		}, time.Minute, 100*time.Millisecond, "the worker retries")
		return p
	}
	require.NoError(t, p.startAPI(t.Context(), getenv))
	post(t, http.StatusCreated, "http://"+addr+"/v1/destinations", `{"name": "desk", "channel": "webhook", "url": "http://127.0.0.1:1"}`)
	post(t, http.StatusOK, "http://"+addr+"/v1/deliveries", `{"alert_id": "a", "user_id": "u", "title": "t", "message": "m", "channels": {"destination": ["desk"]}}`)
	return p
}

func post(t *testing.T, status int, url, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, status, resp.StatusCode, "%s", url)
}

// desc reads what a descriptor prints, which is all that it tells.
var desc = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), unit: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// constLabel is one of a descriptor's constant labels, as it prints them.
var constLabel = regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)

// describe adds what a process registered: names, labels and help from the descriptors, which are there
// before any series, types from the series.
func describe(t *testing.T, families map[string]*family, role config.Role, reg *prometheus.Registry) {
	t.Helper()
	gathered, err := reg.Gather()
	require.NoError(t, err)
	kinds := map[string]string{}
	for _, f := range gathered {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		reg.Describe(descs)
		close(descs)
	}()
	var described []family
	for d := range descs {
		m := desc.FindStringSubmatch(d.String())
		require.NotNil(t, m, "unknown form of a descriptor: %s", d)
		var f family
		f.name, err = strconv.Unquote(m[1])
		require.NoError(t, err)
		f.help, err = strconv.Unquote(m[2])
		require.NoError(t, err)
		for _, l := range constLabel.FindAllStringSubmatch(m[3], -1) {
			f.labels = append(f.labels, l[1])
		}
		if m[4] != "" {
			f.labels = append(f.labels, strings.Split(m[4], ",")...)
		}
		if f.kind = kinds[f.name]; f.kind != "" { // else registered, and of no use in this process
			f.processes = []string{string(role)}
		}
		described = append(described, f)
	}
	for _, f := range described {
		known, ok := families[f.name]
		if !ok {
			families[f.name] = &f
			continue
		}
		require.Equal(t, known.help, f.help, "%s is one thing in both processes", f.name)
		require.Equal(t, known.labels, f.labels, "%s has the same labels in both processes", f.name)
		known.kind = cmp.Or(known.kind, f.kind)
		known.processes = append(known.processes, f.processes...)
	}
}

// reference writes the page.
func reference(t *testing.T, families map[string]*family) string {
	t.Helper()
	var own, others strings.Builder
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := families[name]
		require.NotEmpty(t, f.kind, "%s has no series in any process: the test must bring one about to know its type", name)
		slices.Sort(f.processes)
		b := &own
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "promhttp_") {
			b = &others
		}
		labels := make([]string, len(f.labels))
		for i, l := range f.labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", name, f.kind, strings.Join(labels, ", "),
			strings.Join(slices.Compact(f.processes), ", "), strings.ReplaceAll(f.help, "|", `\|`))
	}
	const head = "| metric | type | labels | process | what |\n|---|---|---|---|---|\n"
	return `# Metrics

<!-- Written from the registries of both processes by
     go test ./internal/app -run TestMetricsReference -update -->

What ` + "`/metrics`" + ` of the API (` + "`:8000`" + `) and of the worker (` + "`:8001`" + `) can export. A histogram is the series
` + "`_bucket`, `_sum` and `_count`" + `. Series exist at 0 from the start where their labels are known then; those of a destination
come with the first attempt at it, and those of traces with ` + "`OTLP_ENDPOINT`" + `. [Operations](../operations.md#metrics) says what
the labels' values mean.

## DawsOS

` + head + own.String() + `
## Go's runtime, the process, and the page itself

` + head + others.String()
}
