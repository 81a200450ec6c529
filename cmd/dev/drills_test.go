package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPreviousRelease: it is found in whatever history there is; a commit that the program named would be gone with
// the next history that is written anew.
func TestPreviousRelease(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"}, args...)...)
		command.Dir = root
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	commit := func(file string) {
		t.Helper()
		path := filepath.Join(root, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		git("add", ".")
		git("commit", "-q", "-m", file)
	}
	subject := func(ref string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), "git", "log", "-1", "--format=%s", ref)
		command.Dir = root
		out, err := command.Output()
		require.NoError(t, err)
		return string(out)
	}
	_, err := previousRelease(t.Context(), root)
	require.ErrorContains(t, err, "--from")
	git("init", "-q")
	commit("sql/migrations/1.sql")
	_, err = previousRelease(t.Context(), root)
	require.ErrorContains(t, err, "--from", "nothing was before it")
	commit("a.go")
	commit("sql/migrations/2.sql")
	commit("b.go")
	ref, err := previousRelease(t.Context(), root)
	require.NoError(t, err)
	require.Equal(t, "a.go\n", subject(ref))
	git("tag", "v1.0.0", "HEAD~1")
	git("tag", "v1.1.0")
	ref, err = previousRelease(t.Context(), root)
	require.NoError(t, err)
	require.Equal(t, "v1.0.0", ref, "the present commit's own is none before it")
}
