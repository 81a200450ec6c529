// Package prometheus_test checks what Prometheus and Alertmanager are given with their own tools, and
// against what the code exports. It stands beside the files that it is about, and nothing imports it.
package prometheus_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const (
	runbooks     = "../../docs/runbooks"
	reference    = "../../docs/reference/metrics.md"
	dashboards   = "../../dashboards"
	alertmanager = "../alertmanager/alertmanager.yml"
	runbookURL   = "https://github.com/dawsos/dawsos/blob/main/docs/runbooks/"
)

// rule is a recording rule or an alert.
type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

// tool returns a program that Debian has in its package. Without it a test has nothing to say, which CI
// must not take for a pass.
func tool(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		require.FailNow(t, "needs "+name, "Debian: %s", debian)
	}
	t.Skipf("needs %s (Debian: %s)", name, debian)
	return ""
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	require.NoError(t, err, "%s %s:\n%s", program, strings.Join(args, " "), out)
	return string(out)
}

func load(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into), "%s", path)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	require.NoError(t, err)
	return paths
}

// rules returns all rules: alerts by their names, and the rest.
func rules(t *testing.T) (alerts map[string]rule, records []rule) {
	t.Helper()
	alerts = map[string]rule{}
	paths := glob(t, "rules/*.yml")
	require.NotEmpty(t, paths)
	for _, path := range paths {
		var file struct{ Groups []struct{ Rules []rule } }
		load(t, path, &file)
		for _, g := range file.Groups {
			for _, r := range g.Rules {
				if r.Alert == "" {
					records = append(records, r)
					continue
				}
				require.NotContains(t, alerts, r.Alert, "an alert's name is its runbook's")
				alerts[r.Alert] = r
			}
		}
	}
	return alerts, records
}

func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool", "prometheus")
	out := run(t, promtool, "check", "config", "prometheus.yml")
	for _, path := range glob(t, "rules/*.yml") {
		require.Contains(t, out, path, "prometheus.yml loads it")
	}
	for _, path := range glob(t, "tests/*.yml") {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			run(t, promtool, "test", "rules", path)
		})
	}
}

// TestRulesAreTested: a test for each alert that fires and one that does not, and a value for each
// recording rule.
func TestRulesAreTested(t *testing.T) {
	t.Parallel()
	fires, rests, valued := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, path := range glob(t, "tests/*.yml") {
		var file struct {
			Tests []struct {
				Alerts []struct {
					Name     string `yaml:"alertname"`
					Expected []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
				Exprs []struct {
					Expr     string
					Expected []any `yaml:"exp_samples"`
				} `yaml:"promql_expr_test"`
			}
		}
		load(t, path, &file)
		for _, test := range file.Tests {
			for _, a := range test.Alerts {
				if len(a.Expected) > 0 {
					fires[a.Name] = true
				} else {
					rests[a.Name] = true
				}
			}
			for _, e := range test.Exprs {
				for _, s := range selectors(e.Expr) {
					valued[s.name] = valued[s.name] || len(e.Expected) > 0
				}
			}
		}
	}
	alerts, records := rules(t)
	for name, a := range alerts {
		require.True(t, fires[name], "no test in which %s fires", name)
		if a.Expr != "vector(1)" { // a dead man's switch never rests
			require.True(t, rests[name], "no test in which %s does not fire", name)
		}
		delete(fires, name)
		delete(rests, name)
	}
	require.Empty(t, fires, "tests of alerts that there are not")
	require.Empty(t, rests, "tests of alerts that there are not")
	for _, r := range records {
		require.True(t, valued[r.Record], "no test has a value for %s", r.Record)
	}
}

// TestAlerts: each tells what it needs to tell, and has a page that exists.
func TestAlerts(t *testing.T) {
	t.Parallel()
	alerts, _ := rules(t)
	jobs := jobs(t)
	pages := map[string]bool{}
	for _, path := range glob(t, runbooks+"/*.md") {
		pages[strings.TrimSuffix(filepath.Base(path), ".md")] = true
	}
	for name, a := range alerts {
		require.Contains(t, []string{"critical", "warning", "none"}, a.Labels["severity"], name)
		require.NotEmpty(t, a.Annotations["summary"], name)
		require.NotEmpty(t, a.Annotations["description"], name)
		require.Equal(t, runbookURL+name+".md", a.Annotations["runbook_url"], name)
		require.True(t, pages[name], "%s has no page in docs/runbooks", name)
		delete(pages, name)
		for _, m := range regexp.MustCompile(`job=~?"([^"]+)"`).FindAllStringSubmatch(a.Expr, -1) {
			for job := range strings.SplitSeq(m[1], "|") {
				require.Contains(t, jobs, job, "%s reads a job that nobody scrapes", name)
			}
		}
	}
	require.Empty(t, pages, "runbooks of alerts that there are not")
}

// TestRunbooks: all answer the same questions.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	for _, path := range glob(t, runbooks+"/*.md") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, heading := range []string{
			"# " + strings.TrimSuffix(filepath.Base(path), ".md"), "## What users notice", "## First look", "## Likely causes", "## Mend", "## How it resolves",
		} {
			require.Contains(t, string(text), heading+"\n", "%s", path)
		}
	}
}

// jobs returns the jobs that are scraped, by Prometheus or by the collector for it.
func jobs(t *testing.T) []string {
	t.Helper()
	var config struct {
		ScrapeConfigs []struct {
			Job string `yaml:"job_name"`
		} `yaml:"scrape_configs"`
	}
	load(t, "prometheus.yml", &config)
	names := []string{"jaeger"} // the collector's
	for _, c := range config.ScrapeConfigs {
		names = append(names, c.Job)
	}
	return names
}

// exported returns the series that DawsOS can export, with their labels, as the reference has them. A test
// of internal/app keeps that equal to the registries.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(reference)
	require.NoError(t, err)
	series := map[string][]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\| (.*?) \\|")
	label := regexp.MustCompile("`([a-z_]+)`")
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		labels := []string{"job", "instance"} // the scrape's
		for _, l := range label.FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		switch m[2] {
		case "histogram":
			series[m[1]+"_bucket"] = append(labels, "le")
			series[m[1]+"_sum"], series[m[1]+"_count"] = labels, labels
		case "summary":
			series[m[1]] = append(labels, "quantile")
			series[m[1]+"_sum"], series[m[1]+"_count"] = labels, labels
		default:
			series[m[1]] = labels
		}
	}
	require.NotEmpty(t, series)
	return series
}

var (
	ofTheRuntime    = regexp.MustCompile(`^(go|process|promhttp)_`) // what libraries measure, read or not
	partOfHistogram = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// TestMetricsExist: rules and dashboards read what something exports: DawsOS, a recording rule, or one
// of the servers around it by foreign-metrics.yml, which names nothing that nobody reads. And whatever DawsOS
// measures, one of them reads.
func TestMetricsExist(t *testing.T) {
	t.Parallel()
	series := exported(t)
	var foreign map[string][]string
	load(t, "foreign-metrics.yml", &foreign)
	unread := map[string]bool{}
	for job, names := range foreign {
		if job != "" {
			require.Contains(t, jobs(t), job, "foreign-metrics.yml")
		}
		for _, name := range names {
			unread[name] = true
		}
	}
	isForeign := func(name string) bool { _, ok := unread[name]; return ok }

	own := map[string]bool{} // what DawsOS measures, by whether something reads it
	for name := range series {
		if !ofTheRuntime.MatchString(name) {
			own[partOfHistogram.ReplaceAllString(name, "")] = false
		}
	}

	alerts, records := rules(t)
	recorded := map[string]bool{}
	exprs := map[string]string{} // by where they stand
	for _, r := range records {
		recorded[r.Record] = true
		exprs[r.Record] = r.Expr
	}
	for name, a := range alerts {
		exprs[name] = a.Expr
	}
	for where, expr := range panels(t) {
		exprs[where] = expr
	}
	var unknown []string
	for where, expr := range exprs {
		for _, s := range selectors(expr) {
			if recorded[s.name] {
				continue
			}
			if isForeign(s.name) {
				unread[s.name] = false
				continue
			}
			labels, ok := series[s.name]
			if !ok {
				unknown = append(unknown, s.name+" in "+where)
				continue
			}
			own[partOfHistogram.ReplaceAllString(s.name, "")] = true
			for _, l := range s.labels {
				require.Contains(t, labels, l, "%s selects %s by a label that it does not have", where, s.name)
			}
		}
	}
	slices.Sort(unknown)
	require.Empty(t, unknown, "nothing exports these: see docs/reference/metrics.md and foreign-metrics.yml")
	for name, still := range unread {
		require.False(t, still, "foreign-metrics.yml: nothing reads %s", name)
	}
	for name, read := range own {
		require.True(t, read, "no panel and no rule reads %s: show it, or do not measure it", name)
	}
}

// panels returns every PromQL expression of the dashboards: those of panels and annotations, and of
// variables, which ask by label_values.
func panels(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, path := range glob(t, dashboards+"/*.json") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var dashboard any
		require.NoError(t, json.Unmarshal(text, &dashboard), "%s", path)
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				for key, member := range v {
					s, ok := member.(string)
					if ok && (key == "expr" || strings.HasPrefix(s, "label_values(") && strings.Contains(s, ",")) {
						found[filepath.Base(path)+": "+s] = s
					}
					walk(member)
				}
			case []any:
				for _, member := range v {
					walk(member)
				}
			}
		}
		walk(dashboard)
	}
	return found
}

// receivers are who Alertmanager tells, with the addresses of their webhooks.
func receivers(t *testing.T) map[string][]string {
	t.Helper()
	var config struct {
		Receivers []struct {
			Name     string
			Webhooks []struct {
				URL      string
				Resolved bool `yaml:"send_resolved"`
			} `yaml:"webhook_configs"`
		}
	}
	load(t, alertmanager, &config)
	urls := map[string][]string{}
	for _, r := range config.Receivers {
		urls[r.Name] = nil
		for _, w := range r.Webhooks {
			require.True(t, w.Resolved, "%s is told of the end", r.Name)
			urls[r.Name] = append(urls[r.Name], w.URL)
		}
	}
	return urls
}

// TestAlertmanager: whom each alert is told.
func TestAlertmanager(t *testing.T) {
	t.Parallel()
	amtool := tool(t, "amtool", "prometheus-alertmanager")
	run(t, amtool, "check-config", alertmanager)
	routes := func(labels ...string) []string {
		cmd := exec.CommandContext(t.Context(), amtool, append([]string{"config", "routes", "test", "--config.file=" + alertmanager}, labels...)...)
		out, err := cmd.Output() // on the other it warns where amtool has a configuration of its own
		require.NoError(t, err, "%v", labels)
		return strings.Split(strings.TrimSpace(string(out)), ",")
	}
	alerts, _ := rules(t)
	urls := receivers(t)
	for name, a := range alerts {
		labels := []string{"alertname=" + name}
		for k, v := range a.Labels {
			labels = append(labels, k+"="+v)
		}
		want := []string{"dawsos"}
		switch {
		case name == "Watchdog":
			want = []string{"dead-mans-switch"}
		case a.Labels["outside"] == "true":
			want = []string{"outside", "dawsos"}
		}
		require.Equal(t, want, routes(labels...), name)

		// The same alert about a destination must not depend on a destination.
		about := routes(append(labels, "destination=ops-slack")...)
		for _, receiver := range about {
			for _, url := range urls[receiver] {
				require.NotContains(t, url, "destination=", "%s about a destination goes to %s", name, receiver)
			}
		}
		if name != "Watchdog" {
			require.Contains(t, about, "dawsos-inbox", "%s about a destination is told", name)
		}
	}
	// What keeps DawsOS from telling is told by somebody else.
	for _, name := range []string{"APIDown", "WorkerDown", "PostgreSQLDown", "DeliveryDrift", "DeadLettersGrowing", "DeadLettersExhausted", "DeadLetterTooOld"} {
		require.Equal(t, "true", alerts[name].Labels["outside"], name)
	}
	for _, url := range urls["outside"] {
		require.NotContains(t, url, "/v1/receivers/", "outside is outside of DawsOS")
	}
}

// TestInhibitions: what silences and what is silenced exist, and nothing silences itself.
func TestInhibitions(t *testing.T) {
	t.Parallel()
	var config struct {
		Rules []struct {
			Source []string `yaml:"source_matchers"`
			Target []string `yaml:"target_matchers"`
		} `yaml:"inhibit_rules"`
	}
	load(t, alertmanager, &config)
	require.NotEmpty(t, config.Rules)
	alerts, _ := rules(t)
	matching := func(matchers []string) (names []string) {
		for name, a := range alerts {
			if !slices.ContainsFunc(matchers, func(m string) bool { return !matches(t, m, name, a.Labels) }) {
				names = append(names, name)
			}
		}
		return names
	}
	for _, r := range config.Rules {
		sources, targets := matching(r.Source), matching(r.Target)
		require.NotEmpty(t, sources, "%v", r.Source)
		require.NotEmpty(t, targets, "%v", r.Target)
		for _, s := range sources {
			require.NotContains(t, targets, s)
		}
	}
}

var matcher = regexp.MustCompile(`^(\w+) (=~|=) "?([^"]*)"?$`)

func matches(t *testing.T, m, alertname string, labels map[string]string) bool {
	t.Helper()
	p := matcher.FindStringSubmatch(m)
	require.NotNil(t, p, "%s", m)
	value := labels[p[1]]
	if p[1] == "alertname" {
		value = alertname
	}
	if p[2] == "=" {
		return value == p[3]
	}
	return regexp.MustCompile("^(?:" + p[3] + ")$").MatchString(value)
}

// TestNothingElse: a file that is neither loaded nor checked would be taken for one that is.
func TestNothingElse(t *testing.T) {
	t.Parallel()
	known := regexp.MustCompile(`^(prometheus\.yml|foreign-metrics\.yml|[a-z_]+_test\.go|(rules|tests)(/[a-z_]+\.yml)?|\.)$`)
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		require.Regexp(t, known, path)
		return err
	}))
}
