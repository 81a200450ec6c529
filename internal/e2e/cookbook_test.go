package e2e

import (
	"encoding/json"
	"flag"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/pkg/api"
)

var update = flag.Bool("update", false, "write the golden files of the cookbook")

const (
	patternsDoc = "docs/patterns.md"       // below root
	cookbook    = "docs/examples/patterns" // below root; the golden files are in its folder golden
)

// TestCookbook runs the examples of docs/patterns.md over the sample data, in the real API, and holds
// what comes of them against golden files.
func TestCookbook(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	_, err := sample.Load(t.Context(), dbtest.Connect(t, databaseURL), root+"/configs/sample", func(string) {})
	require.NoError(t, err)
	// Results of other runs would show in the steps' statuses, and depend on their order.
	s := prepare(t, databaseURL, "PATTERNS_DIR="+cookbookPatterns(t), "PATTERN_CACHE_SIZE=0")
	s.startAPI()
	list, err := s.client.ListPortfoliosWithResponse(t.Context(), nil)
	require.NoError(t, err)
	portfolio := list.JSON200.Items[0].Id.String()

	tried := make(map[string]bool)
	for _, c := range []struct {
		name, pattern string // the name is the golden file's
		inputs        map[string]any
	}{
		{"holdings", "holdings", nil},
		{"performance", "performance", nil},
		{"performance_lines", "performance", map[string]any{"detail": "lines", "lookback_days": 252, "risk_free_annual": 0.02}},
		{"concentration", "concentration", map[string]any{"from": "2006-12-29"}},
		{"concentration_skipped", "concentration", map[string]any{"from": "2006-12-29", "limit": 0.5}},
		{"concentration_fallback", "concentration", map[string]any{"from": "2008-01-01"}},
		{"windows", "windows", nil},
		{"windows_repeated", "windows", map[string]any{"windows": []int{5, 21, 5}}},
		{"briefing", "briefing", nil},
		{"statement", "statement", nil},
	} {
		tried[c.pattern+".json"] = true
		t.Run(c.name, func(t *testing.T) {
			inputs := map[string]any{"portfolio_id": portfolio}
			for name, value := range c.inputs {
				inputs[name] = value
			}
			raw, err := json.Marshal(inputs)
			require.NoError(t, err)
			r, err := s.client.ExecutePatternWithResponse(t.Context(), c.pattern, nil, api.ExecuteRequest{Inputs: (*json.RawMessage)(&raw)})
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, r.StatusCode(), string(r.Body))
			requireGolden(t, filepath.Join(root, cookbook, "golden", c.name+".json"), r.Body)
		})
	}
	require.ElementsMatch(t, cookbookFiles(t), slices.Collect(maps.Keys(tried)), "every example is run")
}

// TestCookbookIsValid: nothing is wrong with the examples and the README's pattern, not even something
// to be warned of.
func TestCookbookIsValid(t *testing.T) {
	t.Parallel()
	dir := cookbookPatterns(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "```json\n")
	require.True(t, found)
	definition, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "readme.json"), []byte(definition), 0o600))
	p := start(t, "api", []string{
		"PATTERNS_DIR=" + dir, "AGENTS_FILE=" + filepath.Join(root, "configs/agents.yaml"),
		"ANALYTICS_DIR=" + filepath.Join(root, "configs/analytics"),
		"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH"),
	}, "validate")
	require.Equal(t, 0, p.exitCode(), p.log.String())
	require.Equal(t, "errors: 0, warnings: 0\n", p.log.String())
}

// TestCookbookIsShown: the document shows the examples as they are. A block of JSON that names a file
// behind its language is that file.
func TestCookbookIsShown(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, patternsDoc))
	require.NoError(t, err)
	var shown []string
	for i, block := range strings.Split(string(text), "\n```json ") {
		if i == 0 {
			continue // what stands before the first one
		}
		name, rest, _ := strings.Cut(block, "\n")
		content, _, closed := strings.Cut(rest, "\n```")
		require.True(t, closed, name)
		file, err := os.ReadFile(filepath.Join(root, filepath.Dir(patternsDoc), name))
		require.NoError(t, err)
		require.Equal(t, string(file), content+"\n", name)
		shown = append(shown, filepath.Base(name))
	}
	require.ElementsMatch(t, cookbookFiles(t), shown, "every example is shown, once")
}

// cookbookFiles returns the names of the examples.
func cookbookFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, cookbook, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for i, path := range paths {
		paths[i] = filepath.Base(path)
	}
	return paths
}

// cookbookPatterns returns a directory with all real patterns and the examples.
func cookbookPatterns(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(root, "configs/patterns"))))
	for _, name := range cookbookFiles(t) {
		data, err := os.ReadFile(filepath.Join(root, cookbook, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return dir
}

// shownAnswer is what of an answer is the same in every run.
type shownAnswer struct {
	Data     any         `json:"data"`
	Charts   []any       `json:"charts"`
	Warnings []string    `json:"warnings"`
	Steps    []shownStep `json:"steps"`
}

type shownStep struct {
	As     string      `json:"as"`
	Status string      `json:"status"`
	Reason string      `json:"reason,omitempty"`
	Error  string      `json:"error,omitempty"`
	Items  int         `json:"items,omitempty"`
	Steps  []shownStep `json:"steps,omitempty"`
}

// requireGolden compares an answer with a golden file, or writes it with -update.
func requireGolden(t *testing.T, path string, body []byte) {
	t.Helper()
	var answer struct {
		shownAnswer
		Trace struct {
			Steps []shownStep `json:"steps"`
		} `json:"trace"`
	}
	require.NoError(t, json.Unmarshal(body, &answer))
	answer.Steps = answer.Trace.Steps
	raw, err := json.MarshalIndent(answer.shownAnswer, "", "  ")
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(path, append(raw, '\n'), 0o644))
	}
	golden, err := os.ReadFile(path)
	require.NoError(t, err, "go test ./internal/e2e -run TestCookbook -update writes it")
	var want, got any
	require.NoError(t, json.Unmarshal(golden, &want))
	require.NoError(t, json.Unmarshal(raw, &got))
	requireClose(t, "", want, got)
}

// requireClose compares JSON values. Figures may differ in their last digits, as processors fuse
// multiplications with additions or don't; amounts are strings, and don't.
func requireClose(t *testing.T, at string, want, got any) {
	t.Helper()
	const tolerance = 1e-9
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		require.True(t, ok, "%s: %v is no object", at, got)
		require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(object)), at)
		for name := range want {
			requireClose(t, at+"/"+name, want[name], object[name])
		}
	case []any:
		list, ok := got.([]any)
		require.True(t, ok, "%s: %v is no array", at, got)
		require.Len(t, list, len(want), at)
		for i := range want {
			requireClose(t, at+"/"+strconv.Itoa(i), want[i], list[i])
		}
	case float64:
		number, ok := got.(float64)
		require.True(t, ok, "%s: %v is no number", at, got)
		require.InDelta(t, want, number, tolerance*math.Max(1, math.Abs(want)), at)
	default:
		require.Equal(t, want, got, at)
	}
}
