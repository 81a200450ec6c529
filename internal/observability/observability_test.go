package observability

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = "../.."

func options(t *testing.T) Options {
	t.Helper()
	abs, err := filepath.Abs(root)
	require.NoError(t, err)
	o := Options{
		Root: abs, Dir: t.TempDir(), API: "127.0.0.1:18000", Worker: "127.0.0.1:18001",
		DatabaseURL: "postgres://ada@127.0.0.1/dawsos", Environment: "development",
	}
	require.NoError(t, os.MkdirAll(filepath.Join(o.Dir, "config"), 0o755))
	return o
}

// TestShippedFilesBecomeLocal holds the files below configs/ against the addresses that are known
// here: one that is added there has to be known.
func TestShippedFilesBecomeLocal(t *testing.T) {
	t.Parallel()
	o := options(t)
	var a Addresses
	require.NoError(t, a.claim(t.Context(), false))
	_, err := plan(o, a)
	require.NoError(t, err)

	type file struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
		Receivers []struct {
			Name     string
			Webhooks []struct{ URL string } `yaml:"webhook_configs"`
		}
	}
	read := func(path string) (f file) {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(raw, &f))
		return f
	}
	prometheus := read(filepath.Join(o.Dir, "config", "prometheus.yml"))
	targets := map[string]string{}
	for _, c := range prometheus.ScrapeConfigs {
		require.Len(t, c.StaticConfigs, 1)
		require.Len(t, c.StaticConfigs[0].Targets, 1)
		targets[c.JobName] = c.StaticConfigs[0].Targets[0]
	}
	require.Equal(t, map[string]string{
		"dawsos-backend": o.API, "dawsos-worker": o.Worker, "prometheus": a.Prometheus, "alertmanager": a.Alertmanager,
		"otel-collector": a.CollectorMetrics, "otel-exporter": a.CollectorExporter, "postgres-exporter": a.PostgresExporter,
	}, targets)
	for _, rules := range prometheus.RuleFiles {
		found, err := filepath.Glob(rules)
		require.NoError(t, err)
		require.NotEmpty(t, found, rules)
	}
	for _, r := range read(filepath.Join(o.Dir, "config", "alertmanager.yml")).Receivers {
		for _, w := range r.Webhooks {
			require.Regexp(t, `^http://127\.0\.0\.1:\d+/`, w.URL, r.Name)
		}
	}
}

// TestVariablesAreThoseOfTheFiles holds the variables that collector and Jaeger are given against
// those that their files read: a misspelt one would leave a server on every interface.
func TestVariablesAreThoseOfTheFiles(t *testing.T) {
	t.Parallel()
	o := options(t)
	plans, err := plan(o, Addresses{JaegerMetrics: "127.0.0.1:1", CollectorMetrics: "127.0.0.1:2"})
	require.NoError(t, err)
	variable := regexp.MustCompile(`\$\{env:([A-Z_]+):-`)
	// What the defaults are right for.
	left := map[string][]string{"jaeger": {"JAEGER_RETENTION"}, "otel-collector": {"CLUSTER", "TRACE_SAMPLING_PERCENTAGE"}}
	for _, p := range plans[:2] {
		raw, err := os.ReadFile(p.args[1])
		require.NoError(t, err)
		var read, given []string
		for _, found := range variable.FindAllStringSubmatch(string(raw), -1) {
			read = append(read, found[1])
		}
		require.NotRegexp(t, `\$[A-Z{][^e]`, string(raw), "a variable without env: stays as it is")
		for _, assignment := range p.env {
			name, _, _ := strings.Cut(assignment, "=")
			given = append(given, name)
		}
		given = append(given, left[p.name]...)
		require.Subset(t, given, read, p.name)
		require.Subset(t, read, given, p.name)
	}
}

func TestReplaceAddresses(t *testing.T) {
	t.Parallel()
	known := map[string]string{"backend:8000": "127.0.0.1:18000", "localhost:9090": "127.0.0.1:19090"}
	tests := []struct {
		name, document, want, err string
	}{
		{"a target", "targets: [backend:8000, localhost:9090]", "targets: ['127.0.0.1:18000', '127.0.0.1:19090']\n", ""},
		{"within a URL", "url: http://backend:8000/v1?user_id=ops", "url: http://127.0.0.1:18000/v1?user_id=ops\n", ""},
		{"loopback stays", `url: "http://127.0.0.1:9099/a"`, "url: \"http://127.0.0.1:9099/a\"\n", ""},
		{"comments may say anything", "# see elsewhere:9000\na: 1", "# see elsewhere:9000\na: 1\n", ""},
		{"no address", "for: 5m\nby: 'a: b'\nat: '09:00'", "for: 5m\nby: 'a: b'\nat: '09:00'\n", ""},
		{"a host that is not known", "a: 1\ntargets: [backend:8000, elsewhere:9000]", "", "line 2: nothing here stands for elsewhere:9000"},
		{"a port that is not known", "targets: [backend:8001]", "", "nothing here stands for backend:8001"},
		{"all that are not known", "targets: [a:1000, b:2000]", "", "stands for a:1000\nline 1: nothing here stands for b:2000"},
		{"localhost on another port", "targets: [localhost:9091]", "", "nothing here stands for localhost:9091"},
		{"files", "rule_files: [rules/*.yml, /etc/a.yml]", "rule_files: [/configs/rules/*.yml, /etc/a.yml]\n", ""},
		{"no YAML", "a: [", "", "did not find"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := replaceAddresses([]byte(tt.document), "/configs", known)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
		})
	}
}

func TestClaimGivesEachItsOwn(t *testing.T) {
	t.Parallel()
	var a Addresses
	require.NoError(t, a.claim(t.Context(), false))
	seen := map[string]bool{}
	for field := range a.usual() {
		require.Regexp(t, `^127\.0\.0\.1:\d+$`, *field)
		require.False(t, seen[*field], "%s twice", *field)
		seen[*field] = true
	}
	require.Len(t, seen, 16)
}

// shell is a server made of a script.
func shell(t *testing.T, script string) *server {
	t.Helper()
	path, err := exec.LookPath("sh")
	require.NoError(t, err)
	s, err := launch{name: "otel-collector", program: path, args: []string{"-c", script}, health: "http://127.0.0.1:1/"}.start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(s.process.Kill)
	return s
}

func TestAServerThatEndsNamesItsLog(t *testing.T) {
	t.Parallel()
	s := shell(t, "echo cannot bind; exit 3")
	err := s.ready(t.Context())
	require.ErrorContains(t, err, "otel-collector ended by itself with exit status 3")
	require.ErrorContains(t, err, "cannot bind")
	require.ErrorContains(t, err, s.logFile)
}

func TestStop(t *testing.T) {
	t.Parallel()
	never := make(chan struct{})
	now := make(chan struct{})
	close(now)
	tests := []struct {
		name, script string
		force        <-chan struct{}
		err          string
	}{
		{"one that does not handle the signal", "echo up; exec sleep 60", never, ""},
		{"one that stops", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done", never, ""},
		{"one that stops badly", "trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done", never, "stopped with exit status 4"},
		{"one that is killed", "trap '' TERM; echo up; while :; do sleep 0.05; done", now, "killed before it had stopped, as asked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := shell(t, tt.script)
			require.Eventually(t, func() bool { // the trap is set before
				log, err := os.ReadFile(s.logFile)
				return err == nil && len(log) > 0
			}, 10*time.Second, 10*time.Millisecond)
			err := s.stop(tt.force)
			if tt.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.err)
			}
			require.ErrorIs(t, syscall.Kill(s.process.PID(), 0), syscall.ESRCH)
		})
	}
}

// TestBuildIsKept builds a program of nothing, finds it again, and builds anew once its module differs.
func TestBuildIsKept(t *testing.T) {
	t.Parallel()
	module, cache := t.TempDir(), t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(module, name), []byte(content), 0o600))
	}
	write("go.mod", "module example.org/nothing\n\ngo 1.26\n")
	write("go.sum", "")
	write("main.go", "package main\n\nfunc main() {}\n")
	b := built{name: "nothing", module: module, pkg: "."}
	var said []string
	build := func() (string, error) { return b.build(t.Context(), cache, func(s string) { said = append(said, s) }) }

	first, err := build()
	require.NoError(t, err)
	require.NoError(t, exec.CommandContext(t.Context(), first).Run())
	require.Len(t, said, 2)
	again, err := build()
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Len(t, said, 2, "nothing was built")

	write("main.go", "package main\n\nfunc main() { println() }\n")
	other, err := build()
	require.NoError(t, err)
	require.NotEqual(t, first, other)

	write("main.go", "package main\n\nfunc main() { no }\n")
	_, err = build()
	require.ErrorContains(t, err, "build nothing in "+module)
	require.ErrorContains(t, err, "undefined: no")
	left, err := os.ReadDir(cache)
	require.NoError(t, err)
	require.Len(t, left, 2, "what did not get finished is not left behind")
}

func TestAProgramThatIsMissingIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var path string
	err := installed{&path, []string{"prometheus-alertmanager", "alertmanager"}, "prometheus-alertmanager"}.find()
	require.ErrorContains(t, err, "prometheus-alertmanager is not on PATH: install it")
	require.Empty(t, path)
}
