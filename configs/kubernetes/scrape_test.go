package kubernetes_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func newReader(raw []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(raw)) }

// The jobs that the scrape names are those that the rules ask for, and Prometheus takes the file.
func TestScrapeConfiguration(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("monitoring", "scrape.yml"))
	require.NoError(t, err)
	rules, err := os.ReadFile(filepath.Join(root, "configs", "prometheus", "rules", "alerts.yml"))
	require.NoError(t, err)
	for pod, job := range map[string]string{"dawsos-api": "dawsos-backend", "dawsos-worker": "dawsos-worker"} {
		require.Contains(t, string(raw), "regex: "+pod+", target_label: job, replacement: "+job+"}")
		require.Contains(t, string(rules), `up{job="`+job+`"}`)
	}

	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not here; .ci/run installs it")
	}
	var jobs []map[string]any
	require.NoError(t, yaml.Unmarshal(raw, &jobs))
	out, err := checked(t, promtool, jobs)
	if strings.Contains(out, "field kubernetes_sd_configs not found") { // Debian's Prometheus is built without
		for _, job := range jobs {
			require.NotEmpty(t, job["kubernetes_sd_configs"])
			delete(job, "kubernetes_sd_configs")
			job["static_configs"] = []any{map[string]any{"targets": []string{"127.0.0.1:1"}}}
		}
		out, err = checked(t, promtool, jobs)
	}
	require.NoError(t, err, "%s", out)
}

// checked is what promtool says of scrape jobs.
func checked(t *testing.T, promtool string, jobs []map[string]any) (string, error) {
	t.Helper()
	raw, err := yaml.Marshal(map[string]any{"scrape_configs": jobs})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	out, err := exec.CommandContext(t.Context(), promtool, "check", "config", file).CombinedOutput()
	return string(out), err
}
