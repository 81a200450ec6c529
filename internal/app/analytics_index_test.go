package app

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/telemetry"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// TestAnalyticsIndex holds docs/analytics/README.md against what there is: every capability with its
// agent, every pattern with its inputs and outputs, every table with its keys, and pages that speak of
// the capabilities that they are named for.
func TestAnalyticsIndex(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "docs", "analytics")
	raw, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	page := string(raw)

	t.Run("capabilities", func(t *testing.T) {
		t.Parallel()
		documented := map[string]string{} // agent by capability
		for _, row := range rows(t, page, "| capability | agent |") {
			name := code(t, row[0])
			require.NotContains(t, documented, name, "listed twice")
			documented[name] = code(t, row[1])
			link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]+)?\)`).FindStringSubmatch(row[3])
			require.NotNil(t, link, "%s names its page", name)
			about, err := os.ReadFile(filepath.Join(dir, link[1]))
			require.NoError(t, err)
			require.Contains(t, anchors(string(about)), strings.TrimPrefix(link[2], "#"), "heading of %s in %s", name, link[1])
			require.Regexp(t, "`"+mentions(name)+"`", string(about), "%s speaks of %s", link[1], name)
		}
		declared := map[string]string{}
		for _, a := range shippedAgents(t) {
			for _, c := range a.Capabilities {
				declared[c.Name] = a.Name
			}
		}
		require.Equal(t, declared, documented)
	})

	t.Run("patterns", func(t *testing.T) {
		t.Parallel()
		documented := map[string][2][]string{} // inputs and outputs by pattern
		for _, row := range rows(t, page, "| pattern | inputs") {
			inputs := codes(row[1])
			slices.Sort(inputs)
			documented[code(t, row[0])] = [2][]string{inputs, codes(row[2])}
		}
		files, err := filepath.Glob(filepath.Join("..", "..", "configs", "patterns", "*.json"))
		require.NoError(t, err)
		shipped := map[string][2][]string{}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			d, err := pattern.Parse(raw)
			require.NoError(t, err, file)
			delete(d.Inputs, "portfolio_id")
			shipped[d.ID] = [2][]string{slices.Sorted(maps.Keys(d.Inputs)), d.Outputs.Names()}
		}
		require.Equal(t, shipped, documented)
	})

	t.Run("tables", func(t *testing.T) {
		t.Parallel()
		documented := map[string][]string{} // keys by file
		for _, row := range rows(t, page, "| file | keys |") {
			documented[code(t, row[0])] = codes(row[1])
		}
		files, err := filepath.Glob(filepath.Join("..", "..", "configs", "analytics", "*"))
		require.NoError(t, err)
		shipped := map[string][]string{}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			var document yaml.Node
			require.NoError(t, yaml.Unmarshal(raw, &document), file)
			var keys []string
			for i := 0; i < len(document.Content[0].Content); i += 2 {
				keys = append(keys, document.Content[0].Content[i].Value)
			}
			shipped[filepath.Base(file)] = keys
		}
		require.Equal(t, shipped, documented)
	})
}

// shippedAgents are the agents of an API with the shipped configuration, as GET /v1/agents lists them.
func shippedAgents(t *testing.T) []agents.State {
	t.Helper()
	getenv := func(name string) string {
		return map[string]string{
			"AGENTS_FILE":   filepath.Join("..", "..", "configs", "agents.yaml"),
			"ANALYTICS_DIR": filepath.Join("..", "..", "configs", "analytics"),
			"PATTERNS_DIR":  filepath.Join("..", "..", "configs", "patterns"),
		}[name]
	}
	cfg, err := config.Load(getenv, config.Validate)
	require.NoError(t, err)
	tel, err := telemetry.New(t.Context(), telemetry.Options{Process: "test"})
	require.NoError(t, err)
	m, err := loadModels(cfg.AnalyticsDir)
	require.NoError(t, err)
	c, err := newCrew(t.Context(), cfg, m, getenv, tel, store.New(nil, store.Options{}), agents.Options{
		Registerer: prometheus.NewRegistry(), Metrics: agents.NewMetrics(prometheus.NewRegistry()), Logger: tel.Log,
	})
	require.NoError(t, err)
	return c.runtime.States()
}

// rows returns the cells of the one table whose header begins so.
func rows(t *testing.T, page, header string) [][]string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n"+header)
	require.True(t, found, "the page has a table that begins with %s", header)
	lines := strings.Split(rest, "\n")
	var table [][]string
	for _, line := range lines[2:] { // what is left of the header, and the rule below it
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		table = append(table, cells)
	}
	require.NotEmpty(t, table)
	return table
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// codes returns what stands in backquotes, in order.
func codes(cell string) []string {
	var all []string
	for _, m := range codeSpan.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

func code(t *testing.T, cell string) string {
	t.Helper()
	all := codes(cell)
	require.Len(t, all, 1, cell)
	return all[0]
}

// mentions is a regular expression for a capability's name. Of names that go on in the same way, such as
// scenarios.deleveraging_austerity, a page may write the first in full and of the others the end.
func mentions(name string) string {
	full := regexp.QuoteMeta(name)
	if _, end, found := strings.Cut(name, "deleveraging_"); found {
		return "(" + full + "|_" + regexp.QuoteMeta(end) + ")"
	}
	return full
}

// anchors are the fragments of a page's headings as GitHub makes them, and "" for the page itself.
func anchors(page string) []string {
	all := []string{""}
	for line := range strings.Lines(page) {
		level, title, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || strings.Trim(level, "#") != "" {
			continue
		}
		title = regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(title), "")
		all = append(all, strings.ReplaceAll(title, " ", "-"))
	}
	return all
}
