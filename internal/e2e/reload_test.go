package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReloadUnderLoad changes patterns while they are asked for all the time: by editing a file, by
// SIGHUP, by turning a link to another directory. No request fails, a bad change changes nothing, and
// probe and metrics say what happened.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	databaseURL, portfolio := loaded(t)
	place := t.TempDir()
	current := filepath.Join(place, "current") // a link, turned as Kubernetes does for mounted settings
	publish := func(name string, more map[string]string) {
		require.NoError(t, os.Symlink(patternsDir(t, more), filepath.Join(place, name)))
		require.NoError(t, os.Rename(filepath.Join(place, name), current))
	}
	publish("1", map[string]string{"edition.json": edition(1)})
	s := prepare(t, databaseURL, append(newDesk(t, echo("desk.echo")), "PATTERNS_DIR="+current)...)
	s.startAPI()
	served, err := filepath.Glob(filepath.Join(current, "*.json"))
	require.NoError(t, err)

	// Once by itself, once more as the remote agent has told what it can do.
	s.hasMetrics("the agent's capabilities are known", map[string]int{
		`dawsos_pattern_reloads_total{outcome="applied"}`: 2, "dawsos_patterns_loaded": len(served),
	})
	l := newLoad(t, s)
	for range loaders {
		l.run("edition", loadPause, func(n int) string { return fmt.Sprintf(`{"n": %d}`, n) })
	}
	l.run("portfolio_overview", 4*loadPause, func(int) string { return fmt.Sprintf(`{"portfolio_id": %q}`, portfolio) })
	l.watch("http://" + s.apiAddr + "/readyz")
	s.eventually("there is load", l.atLeast("edition", "", 20))
	require.Equal(t, 1, l.edition())

	// A file is written over, as an editor does.
	writeFiles(t, current, map[string]string{"edition.json": edition(2)})
	s.hasMetrics("a change is taken up", map[string]int{
		`dawsos_pattern_reloads_total{outcome="applied"}`: 3, `dawsos_pattern_reloads_total{outcome="refused"}`: 0,
	})
	require.Equal(t, 2, l.edition())

	// A signal alone reloads too.
	before := s.reloadedAt()
	require.NoError(t, s.api.cmd.Process.Signal(syscall.SIGHUP))
	s.hasMetrics("SIGHUP reloads", map[string]int{`dawsos_pattern_reloads_total{outcome="applied"}`: 4})
	at := s.reloadedAt()
	require.Greater(t, at, before)

	// One bad file among good ones: none of them is taken up, be it asked for or not.
	publish("2", map[string]string{
		"edition.json": strings.Replace(edition(3), "desk.echo", "desk.ecko", 1),
		"extra.json":   strings.Replace(edition(3), `"id": "edition"`, `"id": "extra"`, 1),
	})
	refused := map[string]int{
		`dawsos_pattern_reloads_total{outcome="applied"}`: 4, `dawsos_pattern_reloads_total{outcome="refused"}`: 1,
		"dawsos_pattern_files_invalid": 1, "dawsos_patterns_loaded": len(served),
	}
	s.hasMetrics("a bad change is refused", refused)
	require.NoError(t, s.api.cmd.Process.Signal(syscall.SIGHUP))
	refused[`dawsos_pattern_reloads_total{outcome="refused"}`] = 2
	s.hasMetrics("and again on SIGHUP", refused)
	require.InDelta(t, at, s.reloadedAt(), 0, "those that are served are no newer")
	require.Equal(t, 2, l.edition())
	o, err := l.execute("extra", `{"n": 1}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, o.status, o.body)
	ready, err := get(t.Context(), "http://"+s.apiAddr+"/readyz")
	require.NoError(t, err, "it is ready all the same")
	var report struct {
		Status   string
		Warnings []struct{ Check, Error string }
	}
	require.NoError(t, json.Unmarshal([]byte(ready), &report))
	require.Equal(t, "ready", report.Status)
	require.Len(t, report.Warnings, 1)
	require.Equal(t, "patterns", report.Warnings[0].Check)
	require.Contains(t, report.Warnings[0].Error, "edition.json:3:")
	require.Contains(t, report.Warnings[0].Error, `did you mean "desk.echo"?`)
	require.Contains(t, report.Warnings[0].Error, "no change is applied")
	require.Contains(t, s.api.log.String(), "patterns not reloaded")

	// It is mended, and everything is taken up.
	writeFiles(t, current, map[string]string{"edition.json": edition(3)})
	s.hasMetrics("a mended change is taken up", map[string]int{
		`dawsos_pattern_reloads_total{outcome="applied"}`: 5, `dawsos_pattern_reloads_total{outcome="refused"}`: 2,
		"dawsos_pattern_files_invalid": 0, "dawsos_patterns_loaded": len(served) + 1,
	})
	require.Greater(t, s.reloadedAt(), at)
	require.Equal(t, 3, l.edition())
	o, err = l.execute("extra", `{"n": 1}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, o.status, o.body)
	ready, err = get(t.Context(), "http://"+s.apiAddr+"/readyz")
	require.NoError(t, err)
	require.NotContains(t, ready, "warnings")

	s.eventually("there is load to the end", l.atLeast("edition", "", l.count("edition", "")+20))
	outcomes := l.stop()
	seen := make(map[int]int)
	for pattern, list := range outcomes {
		for _, o := range list {
			require.Equal(t, http.StatusOK, o.status, o.body)
			if pattern == "edition" {
				seen[o.edition(t)]++
			}
		}
	}
	t.Logf("answers by edition: %v; others: %d", seen, len(outcomes["portfolio_overview"]))
	require.Equal(t, []int{1, 2, 3}, slices.Sorted(maps.Keys(seen)))
	require.NotEmpty(t, outcomes["portfolio_overview"])
}

// edition is a pattern whose answers tell which edition of it made them.
func edition(n int) string {
	return fmt.Sprintf(`{
  "id": "edition", "name": "Edition", "inputs": {"n": {"type": "integer", "required": true}},
  "steps": [{"capability": "desk.echo", "args": {"edition": %d, "n": "{{inputs.n}}"}, "as": "printed"}],
  "outputs": ["printed"]
}`, n)
}

// edition asks for the edition that is served now.
func (l *load) edition() int {
	l.t.Helper()
	o, err := l.execute("edition", `{"n": 0}`)
	require.NoError(l.t, err)
	require.Equal(l.t, http.StatusOK, o.status, o.body)
	return o.edition(l.t)
}

func (o outcome) edition(t *testing.T) int {
	t.Helper()
	var answer struct {
		Data struct{ Printed struct{ Edition int } }
	}
	require.NoError(t, json.Unmarshal([]byte(o.body), &answer))
	return answer.Data.Printed.Edition
}

// watch asks for a page for as long as the load goes on, which must always be there.
func (l *load) watch(url string) {
	l.repeat(loadPause, func() error {
		_, err := get(l.ctx, url)
		return err
	})
}

// hasMetrics waits until the API's series have these values.
func (s *system) hasMetrics(what string, want map[string]int) {
	s.t.Helper()
	s.eventually(what, func(context.Context) error {
		for series, n := range want {
			if value := s.metric(s.apiAddr, series); value != strconv.Itoa(n) {
				return fmt.Errorf("%s is %q, not %d", series, value, n)
			}
		}
		return nil
	})
}

// reloadedAt is when the patterns that are served were loaded, in seconds.
func (s *system) reloadedAt() float64 {
	s.t.Helper()
	seconds, err := strconv.ParseFloat(s.metric(s.apiAddr, "dawsos_pattern_last_reload_success_timestamp_seconds"), 64)
	require.NoError(s.t, err)
	return seconds
}
