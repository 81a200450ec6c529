package release_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// modFile is a go.mod as "go mod edit -json" has it.
type modFile struct {
	Require []struct {
		Path, Version string
		Indirect      bool
	}
	Replace []struct{ Old struct{ Path string } }
	Exclude []struct{ Path string }
}

func readMod(t *testing.T, name string) modFile {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", name)
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err)
	var m modFile
	require.NoError(t, json.Unmarshal(out, &m))
	require.NotEmpty(t, m.Require)
	return m
}

// pseudo is the end of a version that names a commit.
var pseudo = regexp.MustCompile(`[.-]\d{14}-[0-9a-f]{12}(\+incompatible)?$`)

var (
	named    = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\|$")
	untagged = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| ([^|]+) \\|$")
)

// TestDependencies: nothing is replaced, docs/dependencies.md says of every module that go.mod names why it
// is there, and of every version without a tag why it has none, and of nothing that is gone.
func TestDependencies(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"go.mod", "tools.mod", "tools-e2e.mod", "internal/observability/servers/otelcol/go.mod", "internal/observability/servers/jaeger/go.mod",
	} {
		m := readMod(t, name)
		require.Empty(t, m.Replace, name)
		require.Empty(t, m.Exclude, name)
	}
	doc := string(read(t, filepath.Join(root, "docs"), "dependencies.md"))
	var direct, commits []string
	for _, r := range readMod(t, "go.mod").Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
			require.NotRegexp(t, pseudo, r.Version, "%s: a module that we name has a release", r.Path)
		}
		if pseudo.MatchString(r.Version) {
			commits = append(commits, r.Path)
		}
	}
	require.ElementsMatch(t, direct, first(named.FindAllStringSubmatch(doc, -1)), "docs/dependencies.md says why each is there")
	require.ElementsMatch(t, commits, first(untagged.FindAllStringSubmatch(doc, -1)), "docs/dependencies.md says why each has no tag")

	// Who asks for them does.
	cmd := exec.CommandContext(t.Context(), "go", "mod", "graph")
	cmd.Dir = root
	graph, err := cmd.Output()
	require.NoError(t, err)
	for _, m := range untagged.FindAllStringSubmatch(doc, -1) {
		edge := `(?m)^` + regexp.QuoteMeta(m[2]) + `@\S+ ` + regexp.QuoteMeta(m[1]) + `@`
		require.Regexp(t, edge, string(graph), "%s asks for %s", m[2], m[1])
	}
}

func first(matches [][]string) []string {
	var all []string
	for _, m := range matches {
		all = append(all, m[1])
	}
	return all
}
