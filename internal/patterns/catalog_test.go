package patterns

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// writeFiles puts files into a new directory.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func one(id, capability string) string {
	return `{"id":"` + id + `","name":"P","steps":[{"capability":"` + capability + `","as":"x"}],"outputs":["x"]}`
}

func TestLoadDir(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{
		"a_good.json":    one("good", "a.first"),
		"b_twin.json":    one("good", "a.first"),
		"c_unknown.json": "{\"id\":\"c\",\"name\":\"P\",\n\"steps\":[{\"capability\":\"a.frist\",\"as\":\"x\"}],\"outputs\":[\"x\"]}",
		"d_broken.json":  `{"id":"d",`,
		"e_several.json": strings.Replace(one("E", "a.first"), `"name":"P"`, `"nmae":"P"`, 1),
		"f_big.json":     one("f", "a.first") + strings.Repeat(" ", pattern.MaxSize),
		"g_also.json":    one("also", "a.second"),
		"README.md":      "no pattern",
	})
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder.json"), 0o700))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "h_dangling.json")))

	catalog, err := loadDir(dir, named(capabilities...))
	require.NoError(t, err)
	problems := catalog.problems

	ids := []string{}
	for _, def := range catalog.definitions() {
		ids = append(ids, def.ID)
	}
	require.Equal(t, []string{"also", "good"}, ids)

	var texts []string
	for _, p := range problems {
		texts = append(texts, p.Error())
	}
	require.Equal(t, []string{
		`b_twin.json:1:7: the id "good" is already that of a_good.json`,
		`c_unknown.json:2:24: step x: no agent has the capability "a.frist"; did you mean "a.first"?`,
		`d_broken.json:1:11: the file ends too early`,
		`e_several.json:1:1: "name" is missing`,
		`e_several.json:1:7: /id: "E" is not allowed; use ^[a-z][a-z0-9_]{0,63}$`,
		`e_several.json:1:11: /nmae: unknown key "nmae"; allowed are id, name, steps, outputs, $schema, description, category, version, inputs, output_schemas, charts, display; did you mean "name"?`,
		`f_big.json:1:1: the file has 1048577 bytes, 1048576 are allowed`,
	}, texts[:7])
	require.Len(t, texts, 8)
	require.Contains(t, texts[7], "h_dangling.json: ")

	good, err := catalog.plan("good")
	require.NoError(t, err)
	require.Equal(t, "good", good.definition.ID)
	_, err = catalog.plan("godo")
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.Equal(t, `there is no pattern "godo"; did you mean "good"?`, fault.Detail(err))
}

func TestLoadDirWithoutDirectory(t *testing.T) {
	t.Parallel()
	_, err := loadDir(filepath.Join(t.TempDir(), "absent"), named())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// The agents of the shipped patterns are checked where they are wired; here it is their form and
// their templates.
func TestShippedPatternsCompile(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../configs/patterns/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		def, err := pattern.Parse(data)
		require.NoError(t, err, file)
		require.Equal(t, def.ID+".json", filepath.Base(file))
		var used []string
		for _, s := range def.Steps {
			used = append(used, s.Capability)
		}
		_, problems := newLibrary(named(used...)).compile(file, def)
		for _, p := range problems {
			require.NotEqual(t, Error, p.Severity, p.Error())
		}
	}
}
