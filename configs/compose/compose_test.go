// Package compose_test holds compose.yaml, what it mounts and the Dockerfile against what is promised of
// them. No container runs here: what the files say is checked by Compose's own library, and what they
// run is run without the container around it.
package compose_test

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/config"
)

// root is the project's folder, compose.yaml's.
const root = "../.."

const observability = "observability"

// secrets are what compose.yaml can't do without, as configs/compose/env.sh makes them.
func secrets() map[string]string {
	return map[string]string{
		"POSTGRES_PASSWORD": "0p", "DATABASE_PASSWORD": "1pw-of-tests", "GRAFANA_ADMIN_PASSWORD": "2p",
		"GRAFANA_DB_PASSWORD": "3p", "EXPORTER_DB_PASSWORD": "4p", "API_DB_PASSWORD": "5pw-of-tests", "WORKER_DB_PASSWORD": "6pw-of-tests",
		"SECRETS_KEY":    "dg4uh1OjoXNaQjuUe1HI2RgA/mtCHzX/JjaQTRqt4M0=",
		"WEBHOOK_SECRET": "whsec_YJ3Ls4nQIOrC/bHBf3jF9vk7FyvhTMxBDLmYKhmDbUo=",
	}
}

func details(t *testing.T, env map[string]string) types.ConfigDetails {
	t.Helper()
	dir, err := filepath.Abs(root)
	require.NoError(t, err)
	return types.ConfigDetails{
		WorkingDir: dir, ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml")}}, Environment: env,
	}
}

func load(t *testing.T, env map[string]string, profiles ...string) *types.Project {
	t.Helper()
	p, err := loader.LoadWithContext(t.Context(), details(t, env), loader.WithProfiles(profiles))
	require.NoError(t, err)
	return p
}

// with adds variables to the secrets.
func with(pairs ...string) map[string]string {
	env := secrets()
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return env
}

func TestServicesAndVolumes(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, []string{"postgres", "migrate", "backend", "worker"}, load(t, secrets()).ServiceNames())

	p := load(t, secrets(), observability)
	require.ElementsMatch(t, []string{
		"postgres", "migrate", "backend", "worker",
		"prometheus", "grafana", "jaeger", "otel-collector", "alertmanager", "postgres-exporter",
		"postgres-logins", "jaeger-volume", // these two end when they are done
	}, p.ServiceNames())
	require.ElementsMatch(t,
		[]string{"postgres_data", "backups", "prometheus_data", "alertmanager_data", "grafana_data", "jaeger_data"},
		slices.Collect(maps.Keys(p.Volumes)))
	require.Contains(t, p.Services["prometheus"].Command, "--storage.tsdb.retention.time=30d")
	require.True(t, p.Networks["database"].Internal)
	for name, s := range p.Services {
		if _, there := s.Networks["database"]; name == "postgres" {
			require.True(t, there)
			require.Len(t, s.Networks, 1, "the database reaches nobody")
			require.Empty(t, s.Ports)
		}
	}
}

// ports of the contract. Each is the same inside and outside.
var ports = map[string][]string{
	"backend": {"8000"}, "worker": {"8001"}, "prometheus": {"9090"}, "grafana": {"3000"},
	"jaeger": {"16686", "4317", "4318"}, "otel-collector": {"4319", "8888", "8889", "13133"},
	"alertmanager": {"9093"}, "postgres-exporter": {"9187"},
}

func TestPorts(t *testing.T) {
	t.Parallel()
	for address, env := range map[string]map[string]string{"127.0.0.1": secrets(), "0.0.0.0": with("BIND_ADDRESS", "0.0.0.0")} {
		for name, s := range load(t, env, observability).Services {
			var got []string
			for _, port := range s.Ports {
				require.Equal(t, address, port.HostIP, name)
				require.Equal(t, fmt.Sprint(port.Target), port.Published, name)
				got = append(got, port.Published)
			}
			require.ElementsMatch(t, ports[name], got, name)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	want := map[string]struct {
		memory types.UnitBytes
		cpus   types.NanoCPUs
	}{
		"prometheus": {2048 * mib, 1}, "grafana": {512 * mib, 0.5}, "jaeger": {1024 * mib, 0.5}, "otel-collector": {512 * mib, 0.5},
	}
	for name, s := range load(t, secrets(), observability).Services {
		require.NotNil(t, s.Deploy, name)
		limits := s.Deploy.Resources.Limits
		require.NotNil(t, limits, name)
		require.Positive(t, limits.MemoryBytes, name)
		require.Positive(t, limits.NanoCPUs, name)
		if w, ok := want[name]; ok {
			require.Equal(t, w.memory, limits.MemoryBytes, name)
			require.InDelta(t, float32(w.cpus), float32(limits.NanoCPUs), 1e-6, name)
		}
		if soft, ok := s.Environment["GOMEMLIMIT"]; ok {
			var n types.UnitBytes
			_, err := fmt.Sscanf(*soft, "%dMiB", &n)
			require.NoError(t, err, name)
			require.Less(t, n*mib, limits.MemoryBytes, name)
		}
	}
}

// oneShots end when they are done.
var oneShots = []string{"migrate", "postgres-logins", "jaeger-volume"}

func TestRights(t *testing.T) {
	t.Parallel()
	for name, s := range load(t, secrets(), observability).Services {
		require.True(t, s.ReadOnly, name)
		require.False(t, s.Privileged, name)
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		require.Contains(t, s.SecurityOpt, "no-new-privileges:true", name)
		require.Equal(t, "10m", s.Logging.Options["max-size"], name)
		require.NotEmpty(t, s.Logging.Options["max-file"], name)
		require.True(t, *s.Init, name)
		require.Regexp(t, `^\d+:\d+$`, s.User, "%s: by number, which needs no look into the image", name)
		if name == "jaeger-volume" { // gives a folder away, which is all it may do, and talks to nobody
			require.Equal(t, []string{"CHOWN"}, s.CapAdd)
			require.Equal(t, "none", s.NetworkMode)
		} else {
			require.NotRegexp(t, `^0:`, s.User, name)
			require.Empty(t, s.CapAdd, name)
		}
		if slices.Contains(oneShots, name) {
			require.Equal(t, "no", s.Restart, name)
		} else {
			require.Equal(t, "unless-stopped", s.Restart, name)
		}
	}
}

// TestMounts: files that are mounted exist, can't be written to, and are not made as empty folders where
// they are missing.
func TestMounts(t *testing.T) {
	t.Parallel()
	binds := 0
	for name, s := range load(t, secrets(), observability).Services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume {
				continue
			}
			binds++
			require.Equal(t, types.VolumeTypeBind, v.Type, "%s: %s", name, v.Target)
			require.True(t, v.ReadOnly, "%s: %s", name, v.Target)
			require.NotNil(t, v.Bind, "%s: %s", name, v.Target)
			require.False(t, bool(v.Bind.CreateHostPath), "%s: %s", name, v.Target)
			info, err := os.Stat(v.Source)
			require.NoError(t, err, "%s mounts it", name)
			if info.IsDir() {
				entries, err := os.ReadDir(v.Source)
				require.NoError(t, err)
				require.NotEmpty(t, entries, v.Source)
			}
			// Containers read it as accounts of their own.
			require.NotZero(t, info.Mode().Perm()&0o004, v.Source)
		}
		// A file that a command names is one that is mounted.
		for _, arg := range slices.Concat(s.Command, s.Entrypoint) {
			_, file, found := strings.Cut(arg, "=/")
			if _, ok := strings.CutSuffix(file, filepath.Ext(file)); !found || !ok || filepath.Ext(file) == "" {
				continue
			}
			require.True(t, mounted(s, "/"+file), "%s: %s is not mounted", name, arg)
		}
	}
	require.Positive(t, binds)
}

// mounted reports whether a file of a service's container is one of the project's.
func mounted(s types.ServiceConfig, file string) bool {
	for _, v := range s.Volumes {
		inside, ok := strings.CutPrefix(file, v.Target)
		if v.Type != types.VolumeTypeBind || !ok {
			continue
		}
		if _, err := os.Stat(filepath.Join(v.Source, inside)); err == nil {
			return true
		}
	}
	return false
}

// TestOrder: what is asked for is there, and works, before who asks for it starts.
func TestOrder(t *testing.T) {
	t.Parallel()
	p := load(t, secrets(), observability)
	for name, s := range p.Services {
		for other, d := range s.DependsOn {
			want := types.ServiceConditionHealthy
			if slices.Contains(oneShots, other) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			require.Equal(t, want, d.Condition, "%s depends on %s", name, other)
		}
		switch {
		case slices.Contains(oneShots, name):
			require.Nil(t, s.HealthCheck, name)
		case name == "otel-collector": // its image holds nothing that could ask
			require.Nil(t, s.HealthCheck, name)
		default:
			require.NotNil(t, s.HealthCheck, name)
			require.Equal(t, "CMD", s.HealthCheck.Test[0], "%s: without a shell", name)
			require.Positive(t, *s.HealthCheck.Interval, name)
			require.Less(t, *s.HealthCheck.Timeout, *s.HealthCheck.Interval, name)
			require.Positive(t, *s.HealthCheck.StartPeriod, name)
		}
	}
	for _, name := range []string{"backend", "worker", "postgres-logins"} {
		require.Contains(t, p.Services[name].DependsOn, "migrate", name)
	}
	require.Contains(t, p.Services["migrate"].DependsOn, "postgres")
	require.Contains(t, p.Services["grafana"].DependsOn, "postgres-logins")
	require.Contains(t, p.Services["postgres-exporter"].DependsOn, "postgres-logins")
	require.Contains(t, p.Services["jaeger"].DependsOn, "jaeger-volume")
}

// pinned is an image whose tag names one release. A digest may follow.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?$`)

// TestImages: releases, not what moves, and docs/deployment.md says where each tag is from.
func TestImages(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "docs", "deployment.md"))
	require.NoError(t, err)
	for name, s := range load(t, secrets(), observability).Services {
		if s.Build != nil {
			target := map[string]string{"migrate": "api", "backend": "api", "worker": "worker"}[name]
			require.NotEmpty(t, target, name)
			require.Equal(t, target, s.Build.Target, name)
			require.Equal(t, map[string]string{"api": "dawsos:dev", "worker": "dawsos-worker:dev"}[target], s.Image, name)
			continue
		}
		require.Regexp(t, pinned, s.Image, name)
		require.Contains(t, string(raw), "| `"+s.Image+"` |", "docs/deployment.md does not tell of %s's", name)
	}
	for _, image := range parseDockerfile(t).bases() {
		require.True(t, pinned.MatchString(image) || strings.Contains(image, "@sha256:"), image)
		require.Contains(t, string(raw), "| `"+image+"` |", "docs/deployment.md does not tell of the Dockerfile's")
	}
}

// TestVariables: what has no default fails with its name and what to do, and .env.example has all of them,
// without a secret in it.
func TestVariables(t *testing.T) {
	t.Parallel()
	for name := range secrets() {
		for _, value := range []*string{nil, new(string)} {
			env := secrets()
			delete(env, name)
			if value != nil {
				env[name] = *value
			}
			_, err := loader.LoadWithContext(t.Context(), details(t, env))
			require.ErrorContains(t, err, name, "without it nothing starts")
			require.ErrorContains(t, err, "configs/compose/env.sh")
		}
	}

	model, err := loader.LoadModelWithContext(t.Context(), details(t, nil), func(o *loader.Options) {
		o.SkipInterpolation, o.SkipValidation, o.SkipNormalization, o.SkipConsistencyCheck = true, true, true, true
		o.Profiles = []string{observability}
	})
	require.NoError(t, err)
	used := template.ExtractVariables(model, template.DefaultPattern)
	example, err := dotenv.Read(filepath.Join(root, ".env.example"))
	require.NoError(t, err)
	require.ElementsMatch(t, slices.Collect(maps.Keys(used)), slices.Collect(maps.Keys(example)))
	for name, v := range used {
		_, secret := secrets()[name]
		require.Equal(t, secret, v.Required, name)
		if secret {
			require.Empty(t, example[name], "%s: no secret is in .env.example", name)
		} else {
			require.Equal(t, v.DefaultValue, example[name], name)
		}
	}

	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	require.NoError(t, err)
	require.Contains(t, string(ignored), "/.env\n")
	require.True(t, readDockerignore(t).matches(".env"), "no image holds the secrets of who built it")
}

// TestSecretsScript: one command makes a .env that compose.yaml and the programs take. It costs nobody one
// that is there.
func TestSecretsScript(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("env.sh")
	require.NoError(t, err)
	run := func(dir string) (raw []byte) {
		cmd := exec.CommandContext(t.Context(), script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		info, err := entries[0].Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		raw, err = os.ReadFile(filepath.Join(dir, ".env"))
		require.NoError(t, err)
		return raw
	}
	dir := t.TempDir()
	first := run(dir)
	require.Equal(t, string(first), string(run(dir)), "a second run changes nothing")
	env, err := dotenv.Parse(bytes.NewReader(first))
	require.NoError(t, err)
	require.ElementsMatch(t, slices.Collect(maps.Keys(secrets())), slices.Collect(maps.Keys(env)))
	other, err := dotenv.Parse(bytes.NewReader(run(t.TempDir())))
	require.NoError(t, err)
	seen := make(map[string]string)
	for name, value := range env {
		require.NotEqual(t, value, other[name], name)
		require.GreaterOrEqual(t, len(value), 44, name)
		require.NotContains(t, seen, value, name)
		seen[value] = name
		if strings.HasSuffix(name, "PASSWORD") {
			require.Regexp(t, `^[0-9a-f]{48}$`, value, name)
		}
	}
	settings(t, load(t, env).Services["backend"], config.API)
}

// settings returns what a service's process makes of its environment.
func settings(t *testing.T, s types.ServiceConfig, role config.Role) config.Config {
	t.Helper()
	cfg, err := config.Load(func(name string) string {
		if v := s.Environment[name]; v != nil {
			return *v
		}
		return ""
	}, role)
	require.NoError(t, err)
	return cfg
}

// TestSettings: API and worker start with what they are given, every setting can be given, and they listen
// where their ports are.
func TestSettings(t *testing.T) {
	t.Parallel()
	p := load(t, secrets())
	for name, role := range map[string]config.Role{"backend": config.API, "worker": config.Worker, "migrate": config.Migrate} {
		s := p.Services[name]
		cfg := settings(t, s, role)
		require.Equal(t, config.Production, cfg.Environment)
		login := map[string]string{"backend": "dawsos_backend:5pw-of-tests", "worker": "dawsos_jobs:6pw-of-tests", "migrate": "dawsos:1pw-of-tests"}[name]
		require.Equal(t, "postgres://"+login+"@postgres:5432/dawsos?sslmode=disable", string(cfg.DatabaseURL))
		if name == "worker" {
			require.Equal(t, "postgres://dawsos:1pw-of-tests@postgres:5432/dawsos?sslmode=disable", string(cfg.BackupDatabaseURL))
		}
		require.Equal(t, ":8000", cfg.APIAddr)
		require.Equal(t, []config.AuthMethod{config.AuthKeys}, cfg.AuthMethods)
		require.True(t, cfg.TLSTerminated)
		require.Empty(t, cfg.MetricsAddr, "Prometheus asks backend:8000")
		require.Equal(t, ":8001", cfg.WorkerAddr)
		require.False(t, cfg.WebhookAllowPrivate)
		require.Greater(t, time.Duration(*s.StopGracePeriod), cfg.ShutdownGrace+4*time.Second, name)
		for secret, value := range secrets() {
			if secret == "API_DB_PASSWORD" && name == "backend" || secret == "WORKER_DB_PASSWORD" && name == "worker" {
				continue
			}
			if secret != "DATABASE_PASSWORD" && secret != "SECRETS_KEY" && secret != "WEBHOOK_SECRET" {
				for variable, v := range s.Environment {
					require.False(t, v != nil && strings.Contains(*v, value), "%s has %s in %s", name, secret, variable)
				}
			}
		}
	}

	raw, err := os.ReadFile(filepath.Join(root, "docs", "configuration.md"))
	require.NoError(t, err)
	documented := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(string(raw), -1)
	require.Greater(t, len(documented), 20)
	env := secrets()
	for _, m := range documented {
		env[m[1]] = "value of " + m[1]
	}
	given := load(t, env)
	for _, service := range []string{"migrate", "backend", "worker"} {
		for _, m := range documented {
			v := given.Services[service].Environment[m[1]]
			switch m[1] {
			case "PATTERNS_DIR", "AGENTS_FILE", "ANALYTICS_DIR": // they are mounted where the defaults are
				require.Nil(t, v, m[1])
			case "API_ADDR", "WORKER_ADDR", "DATABASE_URL": // compose.yaml's to decide
				require.NotContains(t, *v, "value of", m[1])
			case "BACKUP_DATABASE_URL": // it too, for the worker alone
				require.Equal(t, service == "worker", v != nil, service)
			default:
				require.NotNil(t, v, "%s does not pass on %s", service, m[1])
				require.Equal(t, env[m[1]], *v)
			}
		}
	}
}

// TestTracesGoToTheCollector, and can be turned off.
func TestTracesGoToTheCollector(t *testing.T) {
	t.Parallel()
	p := load(t, secrets(), observability)
	for _, name := range []string{"backend", "worker"} {
		require.Equal(t, "http://otel-collector:4319", settings(t, p.Services[name], config.API).OTLPEndpoint)
		require.Empty(t, settings(t, load(t, with("OTLP_ENDPOINT", "")).Services[name], config.API).OTLPEndpoint)
		reachable(t, p, name, "otel-collector:4319")
	}
}

// reachable requires that a service of the project answers others at an address of the contract.
func reachable(t *testing.T, p *types.Project, from, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err, address)
	if host == "localhost" || host == "127.0.0.1" {
		return
	}
	s, ok := p.Services[host]
	require.True(t, ok, "%s asks %s, which is no service", from, address)
	if host == "postgres" {
		require.Equal(t, "5432", port)
	} else if host != "jaeger" || port != "8888" { // Jaeger's own metrics, which only the collector reads
		require.Contains(t, ports[host], port, "%s asks %s", from, address)
	}
	shared := false
	for network := range s.Networks {
		_, both := p.Services[from].Networks[network]
		shared = shared || both
	}
	require.True(t, shared, "%s and %s have no network in common", from, host)
}

// TestAddresses: the mounted files ask for services that there are, at ports that they have.
func TestAddresses(t *testing.T) {
	t.Parallel()
	p := load(t, secrets(), observability)
	raw, err := os.ReadFile(filepath.Join(root, "configs", "prometheus", "prometheus.yml"))
	require.NoError(t, err)
	type static []struct {
		Targets []string `yaml:"targets"`
	}
	var prometheus struct {
		Alerting struct {
			Alertmanagers []struct {
				Static static `yaml:"static_configs"`
			} `yaml:"alertmanagers"`
		} `yaml:"alerting"`
		Scrape []struct {
			Static static `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal(raw, &prometheus))
	asked := 0
	for _, job := range prometheus.Scrape {
		for _, s := range job.Static {
			for _, target := range s.Targets {
				reachable(t, p, "prometheus", target)
				asked++
			}
		}
	}
	require.GreaterOrEqual(t, asked, 7)
	for _, a := range prometheus.Alerting.Alertmanagers {
		for _, s := range a.Static {
			for _, target := range s.Targets {
				reachable(t, p, "prometheus", target)
			}
		}
	}

	for service, dir := range map[string]string{
		"alertmanager": "configs/alertmanager", "otel-collector": "configs/otel",
	} {
		found := 0
		for _, raw := range files(t, filepath.Join(root, dir)) {
			for _, m := range serviceAddress.FindAllStringSubmatch(uncommented(raw), -1) {
				reachable(t, p, service, m[1])
				found++
			}
		}
		require.Positive(t, found, dir)
	}

	// Grafana's and the exporter's come from the environment.
	for service, want := range map[string]int{"grafana": 4, "postgres-exporter": 1} {
		found := 0
		for _, v := range p.Services[service].Environment {
			for _, m := range serviceAddress.FindAllStringSubmatch(" "+*v, -1) {
				reachable(t, p, service, m[1])
				found++
			}
		}
		require.Equal(t, want, found, service)
	}
}

// serviceAddress is an address that a mounted file asks for. Names with a dot are not ours.
var serviceAddress = regexp.MustCompile(`(?:[/:@"\s-])((?:backend|worker|postgres|jaeger|prometheus|grafana|alertmanager|otel-collector|postgres-exporter):\d+)`)

// uncommented leaves out lines that are comments.
func uncommented(text string) string {
	return regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(text, "")
}

// files returns the content of every file below a folder by its path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all[path] = string(raw)
		return err
	}))
	return all
}

// TestMountedFilesVariables: a variable that a mounted file has no default for is set.
func TestMountedFilesVariables(t *testing.T) {
	t.Parallel()
	p := load(t, secrets(), observability)
	for service, c := range map[string]struct {
		dir      string
		variable *regexp.Regexp // its first group is a name, its second a default
	}{
		"otel-collector": {"configs/otel", regexp.MustCompile(`\$\{env:([A-Z0-9_]+)(:-)?`)},
		"jaeger":         {"configs/jaeger", regexp.MustCompile(`\$\{env:([A-Z0-9_]+)(:-)?`)},
		"grafana":        {"configs/grafana/provisioning", regexp.MustCompile(`\$(?:__env)?\{?([A-Z][A-Z0-9_]+)()\}?`)},
	} {
		for path, raw := range files(t, filepath.Join(root, c.dir)) {
			for _, m := range c.variable.FindAllStringSubmatch(uncommented(raw), -1) {
				if m[2] == "" {
					require.NotNil(t, p.Services[service].Environment[m[1]], "%s asks for %s", path, m[1])
				}
			}
		}
	}
}
