package tables_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/tables"
)

type table struct {
	Size float64 `yaml:"size"`
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"good":            {"size: 2\n", ""},
		"unknown key":     {"size: 2\nsise: 3\n", "sise"},
		"twice":           {"size: 2\nsize: 3\n", "already defined"},
		"second document": {"size: 2\n---\nsize: 3\n", "something follows it"},
		"no document":     {"", "the file is empty"},
		"wrong type":      {"size: large\n", "cannot unmarshal"},
		"too large":       {"size: 2 #" + strings.Repeat("x", 1<<20), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got table
			err := tables.Parse([]byte(tt.text), &got)
			if tt.want != "" {
				require.ErrorContains(t, err, tt.want)
				return
			}
			require.NoError(t, err)
			require.InDelta(t, 2, got.Size, 0)
		})
	}
}

func TestReadNamesTheContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	read := func(text string) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o600))
		var got table
		source, err := tables.Read(dir, "a.yaml", &got)
		require.NoError(t, err)
		require.Regexp(t, `^config:a[.]yaml@[0-9a-f]{12}$`, source)
		return source
	}
	first := read("size: 2\n")
	require.NotEqual(t, first, read("size: 3\n"))
	require.Equal(t, first, read("size: 2\n"))
	_, err := tables.Read(dir, "b.yaml", new(table))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestProblems(t *testing.T) {
	t.Parallel()
	var ps tables.Problems
	require.NoError(t, ps.Err())
	require.NoError(t, ps.In("a.yaml"))
	require.Equal(t, 5, tables.Within(&ps, "five", 5, 5, 5))
	ps.Cited("sources", "somebody", "somebody else")
	require.Empty(t, ps)
	tables.Within(&ps, "z", math.NaN(), 0, 1)
	tables.Within(&ps, "y", 6, 1, 5)
	ps.Cited("x")
	ps.Cited("w", "somebody", " ")
	ps.Add("v", "%w", os.ErrNotExist)
	require.ErrorIs(t, ps.Err(), os.ErrNotExist)
	require.EqualError(t, ps.In("a.yaml"), "a.yaml: v: file does not exist\n"+
		"w: is missing: say where the table comes from\n"+
		"x: is missing: say where the table comes from\n"+
		"y: 6 is not allowed; use 1 to 5\n"+
		"z: NaN is not allowed; use 0 to 1")
}
