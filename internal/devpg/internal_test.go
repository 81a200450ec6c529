package devpg

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMajorOf(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{
		"postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)": 15,
		"postgres (PostgreSQL) 18beta1":                        18,
		"postgres (PostgreSQL 14.2 compatible) 16.1":           16,
		"psql (PostgreSQL) 15.14":                              0,
		"":                                                     0,
	} {
		got, ok := majorOf(version)
		require.Equal(t, want, got, version)
		require.Equal(t, want != 0, ok, version)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	all := []installation{{"/path", 15}, {"/new", 17}, {"/old", 14}, {"/older", 14}}
	for _, c := range []struct {
		name string
		all  []installation
		want int
		dir  string
		err  string
	}{
		{"none", nil, 0, "", errNoBinaries.Error()},
		{"no data: the preferred one", all, 0, "/path", ""},
		{"the data's version", all, 14, "/old", ""},
		{"not there", all, 16, "", "the data in /d was written by PostgreSQL 16, found is 15, 17, 14"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := choose(c.all, "/d", c.want)
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.dir, got.dir)
		})
	}
}

func TestParsePIDFile(t *testing.T) {
	t.Parallel()
	const whole = "123\n/data\n1700000000\n5433\n\n127.0.0.1\n  1234 5\nready   \n"
	for _, c := range []struct {
		name string
		text string
		want pidFile
		ok   bool
	}{
		{"whole", whole, pidFile{123, 5433, true}, true},
		{"starting", strings.Replace(whole, "ready   ", "starting", 1), pidFile{123, 5433, false}, true},
		{"being written", "123\n/data\n17", pidFile{pid: 123}, true},
		{"empty", "", pidFile{}, false},
		{"no number", "x\n", pidFile{}, false},
		{"never signal everything", "-1\n", pidFile{}, false},
		{"bad port", strings.Replace(whole, "5433", "99999", 1), pidFile{pid: 123}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok := parsePIDFile(c.text)
			require.Equal(t, c.ok, ok)
			require.Equal(t, c.want, got)
		})
	}
}

// FuzzParsePIDFile checks what signals depend on: a process id is a real one, and a ready server
// has a port that can be reached.
func FuzzParsePIDFile(f *testing.F) {
	f.Add("123\n/data\n1700000000\n5433\n\n127.0.0.1\n  1234 5\nready   \n")
	f.Add("-1\n\n\n\n\n\n\nready")
	f.Fuzz(func(t *testing.T, text string) {
		file, ok := parsePIDFile(text)
		if ok != (file.pid > 1) {
			t.Fatalf("pid %d, ok %v", file.pid, ok)
		}
		if file.ready && (file.port < 1 || file.port > 65535) {
			t.Fatalf("ready at port %d", file.port)
		}
	})
}

func TestBlockedAt(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	closed := filepath.Join(root, "closed")
	require.NoError(t, os.MkdirAll(filepath.Join(closed, "in"), 0o755))
	require.NoError(t, os.Chmod(closed, 0o700))
	info, err := os.Stat(closed)
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t).Uid
	stranger := &account{uid: owner + 4242, gid: 424242}
	require.False(t, stranger.mayExecute(info))
	require.True(t, (&account{uid: owner}).mayExecute(info), "its owner may")
	require.NotEmpty(t, stranger.blockedAt(filepath.Join(closed, "in")))
	require.Empty(t, stranger.blockedAt("/usr/bin"))
	require.Equal(t, "/usr/nonexistent", stranger.blockedAt("/usr/nonexistent/x"))
}

func TestTailPassesWholeLinesAndKeepsTheLast(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	log := &tail{next: &got}
	require.Equal(t, "it logged nothing", log.String())
	var want strings.Builder
	for i := range 2 * tailLines {
		line := "line " + strconv.Itoa(i)
		want.WriteString(line + "\n")
		_, _ = log.Write([]byte(line[:3]))
		require.False(t, strings.HasSuffix(got.String(), line[:3]))
		_, _ = log.Write([]byte(line[3:] + "\n"))
	}
	_, _ = log.Write([]byte("the end"))
	log.flush()
	require.Equal(t, want.String()+"the end\n", got.String())
	require.Len(t, strings.Split(log.String(), "\n"), tailLines+1)
	require.True(t, strings.HasSuffix(log.String(), "  the end"))
}

func TestInstallUnpacksThePackage(t *testing.T) {
	t.Parallel()
	target := filepath.Join(t.TempDir(), "18")
	archive := pack(t, map[string]string{
		"package/package.json":           "{}",
		"package/native/bin/postgres":    "program",
		"package/native/lib/liba.so.1.2": "library",
		"package/native/pg-symlinks.json": `[{"source":"native/lib/liba.so.1.2","target":"native/lib/liba.so"},
			{"source":"native/bin/postgres","target":"native/bin/postmaster"}]`,
	})
	require.NoError(t, install(bytes.NewReader(archive), target))
	info, err := os.Stat(filepath.Join(target, "bin", "postgres"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode().Perm()&0o111, "npm's archive has no x bit")
	for link, want := range map[string]string{"lib/liba.so": "library", "bin/postmaster": "program"} {
		content, err := os.ReadFile(filepath.Join(target, link))
		require.NoError(t, err)
		require.Equal(t, want, string(content))
	}
	require.NoFileExists(t, filepath.Join(target, "package.json"))

	require.NoError(t, install(bytes.NewReader(archive), target), "another process was faster")
	left, err := os.ReadDir(filepath.Dir(target))
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing temporary stays")
}

func TestInstallStaysInItsFolder(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"file":   {"package/native/../../../out": "x"},
		"broken": {"package/native/pg-symlinks.json": "["},
		"link":   {"package/native/pg-symlinks.json": `[{"source":"native/bin/a","target":"../../out"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			require.Error(t, install(bytes.NewReader(pack(t, files)), filepath.Join(parent, "a", "18")))
			require.NoError(t, os.MkdirAll(filepath.Join(parent, "a"), 0o755))
			require.Error(t, install(bytes.NewReader(pack(t, files)), filepath.Join(parent, "a", "18")))
			require.NoFileExists(t, filepath.Join(parent, "out"))
			left, err := os.ReadDir(filepath.Join(parent, "a"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func pack(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for name, content := range files {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}))
		_, err := archive.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, zipped.Close())
	return out.Bytes()
}

// TestStopsAServerThatWasLeft is what happens where the kernel does not end a server with its
// owner.
func TestStopsAServerThatWasLeft(t *testing.T) {
	t.Parallel()
	parent, err := os.MkdirTemp("", "devpg-test-") //nolint:usetesting // PostgreSQL's account can't enter t.TempDir when root tests
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
	require.NoError(t, os.Chmod(parent, 0o711))
	opts := Options{Dir: filepath.Join(parent, "pg"), Ephemeral: true}
	first, err := Start(t.Context(), opts)
	require.NoError(t, err)
	require.NoError(t, first.Stop(t.Context()))

	p, err := newPlace(opts.Dir, func(string) {})
	require.NoError(t, err)
	found, err := find(t.Context(), p, 0)
	require.NoError(t, err)
	left := p.as(exec.CommandContext(t.Context(), filepath.Join(found.dir, "postgres"), arguments(p, first.port, opts)...))
	require.NoError(t, left.Start())
	require.Eventually(t, func() bool {
		file, ok := readPIDFile(p)
		return ok && file.pid == left.Process.Pid && file.ready
	}, startTimeout, poll)

	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }() // or it would stay as a zombie, which still has its number
	second, err := Start(t.Context(), opts)
	require.NoError(t, err)
	require.NoError(t, <-ended, "it was shut down, not killed")
	require.False(t, second.Joined())
	require.NoError(t, second.Stop(t.Context()))
}
