package devpg_test

import (
	"bufio"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/devpg"
)

// ownerVariable makes the test binary run the server of a folder: it prints the address and waits
// for its end.
const ownerVariable = "DEVPG_TEST_OWNER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerVariable); dir != "" {
		server, err := devpg.Start(context.Background(), devpg.Options{Dir: dir, Ephemeral: true})
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(server.URL("postgres") + "\n")
		<-server.Done()
		os.Exit(3)
	}
	goleak.VerifyTestMain(m)
}

// folder returns one that the server's account can reach, which t.TempDir's is not for root.
func folder(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "devpg-test-") //nolint:usetesting // PostgreSQL's account can't enter t.TempDir when root tests
	require.NoError(t, err)
	require.NoError(t, os.Chmod(parent, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
	return filepath.Join(parent, "pg")
}

func start(t *testing.T, dir string) *devpg.Server {
	t.Helper()
	server, err := devpg.Start(t.Context(), devpg.Options{Dir: dir, Ephemeral: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	return server
}

func query(t *testing.T, address, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	var value string
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&value))
	return value
}

func TestServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, dir)
	address := server.URL("postgres")

	require.False(t, server.Joined())
	require.Equal(t, dir, server.Dir())
	require.Equal(t, "UTF8", query(t, address, "SHOW server_encoding"))
	require.Equal(t, "C", query(t, address, "SELECT datcollate FROM pg_database WHERE datname = 'postgres'"))
	require.Equal(t, "127.0.0.1", query(t, address, "SHOW listen_addresses"))
	require.Equal(t, "off", query(t, address, "SHOW fsync"))

	t.Run("needs its password", func(t *testing.T) {
		u, err := url.Parse(address)
		require.NoError(t, err)
		u.User = url.UserPassword(devpg.User, "guess")
		_, err = pgx.Connect(t.Context(), u.String())
		var refused *pgconn.PgError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "28P01", refused.Code, "wrong password")
	})
	t.Run("keeps its files private", func(t *testing.T) {
		for name, mode := range map[string]os.FileMode{"": 0o700, "data": 0o700, "password": 0o600} {
			info, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode().Perm(), name)
		}
	})
	t.Run("is not root's", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(dir, "data"))
		require.NoError(t, err)
		require.NotZero(t, info.Sys().(*syscall.Stat_t).Uid)
	})
	t.Run("is joined", func(t *testing.T) {
		second, err := devpg.Start(t.Context(), devpg.Options{Dir: dir})
		require.NoError(t, err)
		require.True(t, second.Joined())
		require.Equal(t, address, second.URL("postgres"))
		require.NoError(t, second.Stop(t.Context()))
		require.NoError(t, second.Err())
		require.Equal(t, "1", query(t, address, "SELECT '1'"), "leaving does not stop it")
	})
	t.Run("is not removed while it runs", func(t *testing.T) {
		require.ErrorIs(t, devpg.Remove(dir), devpg.ErrInUse)
	})
}

func TestDataAndAddressOutliveTheServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first := start(t, dir)
	address := first.URL("postgres")
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('yes')")
	require.NoError(t, err)
	require.NoError(t, first.Stop(t.Context()), "open connections don't keep it from stopping")
	require.NoError(t, first.Err())
	require.NoError(t, first.Stop(t.Context()), "stopping twice is harmless")
	require.Error(t, conn.Ping(t.Context()))
	conn.Close(context.Background())

	second := start(t, dir)
	require.Equal(t, address, second.URL("postgres"))
	require.Equal(t, "yes", query(t, address, "SELECT word FROM kept"))
	require.NoError(t, second.Stop(t.Context()))

	require.NoError(t, devpg.Remove(dir))
	require.NoDirExists(t, dir)
	require.NoError(t, devpg.Remove(dir), "nothing there is fine")
}

func TestStartsAtOnceMakeOneServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	servers := make([]*devpg.Server, 4)
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i := range servers {
		wg.Go(func() {
			servers[i], errs[i] = devpg.Start(t.Context(), devpg.Options{Dir: dir, Ephemeral: true})
		})
	}
	wg.Wait()
	owners := 0
	for i, server := range servers {
		require.NoError(t, errs[i])
		require.Equal(t, servers[0].URL("x"), server.URL("x"))
		if !server.Joined() {
			owners++
		}
	}
	require.Equal(t, 1, owners)
	for _, server := range servers {
		if !server.Joined() {
			require.NoError(t, server.Stop(t.Context()))
		}
	}
	for _, server := range servers {
		<-server.Done() // those that joined notice
		require.Equal(t, server.Joined(), server.Err() != nil)
		require.NoError(t, server.Stop(t.Context()))
	}
}

func TestDiesWithItsOwnerAndComesBack(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerVariable+"="+dir)
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, owner.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "1", query(t, strings.TrimSpace(line), "SELECT '1'"))

	joined, err := devpg.Start(t.Context(), devpg.Options{Dir: dir})
	require.NoError(t, err)
	require.True(t, joined.Joined())
	require.NoError(t, owner.Process.Kill())
	require.Error(t, owner.Wait())
	server := start(t, dir) // whether the old one has ended by now or not
	require.False(t, server.Joined())
	require.Equal(t, "1", query(t, server.URL("postgres"), "SELECT '1'"))
	<-joined.Done()
	require.Error(t, joined.Err())
}

func TestReportsADeathWithItsReason(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, dir)
	raw, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	require.NoError(t, err)
	line, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(line)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	<-server.Done()
	require.ErrorContains(t, server.Err(), "signal: killed")
	require.ErrorContains(t, server.Err(), "ready to accept connections", "its last words")

	again := start(t, dir)
	require.Equal(t, "1", query(t, again.URL("postgres"), "SELECT '1'"), "it recovers")
}

func TestStalePIDFileOfAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, start(t, dir).Stop(t.Context()))
	// After a reboot the number that the file names may belong to any program, here to this test.
	stale := strconv.Itoa(os.Getpid()) + "\n" + filepath.Join(dir, "data") + "\n1\n5432\n\n127.0.0.1\n  1 1\nready   \n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), []byte(stale), 0o600))
	require.Equal(t, "1", query(t, start(t, dir).URL("postgres"), "SELECT '1'"))
}

func TestOtherMajorVersion(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, start(t, dir).Stop(t.Context()))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9999\n"), 0o600))
	_, err := devpg.Start(t.Context(), devpg.Options{Dir: dir})
	var wrong *devpg.VersionError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, 9999, wrong.Data)
	require.ErrorContains(t, err, "was written by PostgreSQL 9999, found is")
}

func TestBadSettingIsReportedWithTheServersWords(t *testing.T) {
	t.Parallel()
	_, err := devpg.Start(t.Context(), devpg.Options{
		Dir: folder(t), Ephemeral: true, Settings: map[string]string{"max_connections": "many"},
	})
	require.ErrorContains(t, err, "did not start (exit status 1)")
	require.ErrorContains(t, err, `invalid value for parameter "max_connections"`)
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	dir := folder(t)
	_, err := devpg.Start(ctx, devpg.Options{Dir: dir, Ephemeral: true})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "1", query(t, start(t, dir).URL("postgres"), "SELECT '1'"), "nothing half done is in the way")
}

func TestRefusesAFileInItsPlace(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	_, err := devpg.Start(t.Context(), devpg.Options{Dir: dir})
	require.ErrorContains(t, err, "is not a folder")

	_, err = devpg.Start(t.Context(), devpg.Options{})
	require.ErrorContains(t, err, "no folder given")
}

// TestCrash: what was committed is there after the next start, under the same address; who is connected is cut.
func TestCrash(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first, err := devpg.Start(t.Context(), devpg.Options{Dir: dir})
	require.NoError(t, err)
	address := first.URL("postgres")
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 'kept'::text AS text")
	require.NoError(t, err)

	require.NoError(t, first.Crash(t.Context()))
	<-first.Done()
	require.NoError(t, first.Err(), "it was asked to")
	_, err = conn.Exec(t.Context(), "SELECT 1")
	require.Error(t, err)

	second, err := devpg.Start(t.Context(), devpg.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, second.Stop(context.Background())) })
	require.Equal(t, address, second.URL("postgres"))
	require.Equal(t, "kept", query(t, address, "SELECT text FROM kept"))

	joined, err := devpg.Start(t.Context(), devpg.Options{Dir: dir})
	require.NoError(t, err)
	require.ErrorIs(t, joined.Crash(t.Context()), devpg.ErrNotOwn)
	require.NoError(t, joined.Stop(t.Context()))
}
