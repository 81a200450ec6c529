package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/seal"
	"github.com/dawsos/dawsos/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// safeBuffer is what the parts of a test write to at once.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		want options
		err  string
	}{
		{"", options{command: "up"}, ""},
		{"--only api --no-sample", options{command: "up", only: "api", noSample: true}, ""},
		{"migrate --reset", options{command: "migrate", reset: true}, ""},
		{"seed", options{command: "seed"}, ""},
		{"observability --no-sample", options{command: "observability", noSample: true}, ""},
		{"observability --only api", options{}, "observability runs the API and the worker: leave --only out"},
		{"--only pg", options{}, `--only "pg": allowed are api and worker`},
		{"sed", options{}, `there is no command "sed": observability, migrate, seed, bench-delivery, bench-size, chaos, drill-restore, drill-upgrade, fuzz-api, load, soak, or none to run everything`},
		{"--reset migrate", options{}, `unexpected "migrate": a command comes before the flags`},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			got, err := parse(strings.Fields(c.args))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestConsoleKeepsLinesWhole(t *testing.T) {
	t.Parallel()
	var out safeBuffer
	c := newConsole(&out, false)
	long := strings.Repeat("x", 200_000)
	api, worker := c.stream("api"), c.stream("worker")
	for _, write := range []struct {
		to   *stream
		text string
	}{
		{api, "one\ntw"}, {worker, "other\r\n"}, {api, "o\n\n"}, {api, long[:70_000]}, {worker, "without an end"}, {api, long[70_000:] + "\n"},
	} {
		n, err := write.to.Write([]byte(write.text))
		require.NoError(t, err)
		require.Len(t, write.text, n)
	}
	c.say("%d%%", 5)
	c.flush()
	require.Equal(t, strings.Join([]string{
		"api    | one", "worker | other", "api    | two", "api    | ", "api    | " + long, "dev    | 5%", "worker | without an end", "",
	}, "\n"), out.String())
}

func TestConsoleColoursOnlyThePrefix(t *testing.T) {
	t.Parallel()
	var out safeBuffer
	_, err := newConsole(&out, true).stream("pg").Write([]byte("LOG: up\n"))
	require.NoError(t, err)
	require.Equal(t, "\x1b[34mpg     | \x1b[0mLOG: up\n", out.String())
}

// FuzzStream checks that however writes cut a text, its lines come out whole and in order.
func FuzzStream(f *testing.F) {
	f.Add("one\ntwo\n\nthree", uint8(3))
	f.Add("\n\n", uint8(1))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		if strings.Contains(text, "\r") {
			return // taken off at the end of a line
		}
		var out safeBuffer
		c := newConsole(&out, false)
		s := c.stream("api")
		for rest := []byte(text); len(rest) > 0; {
			n := min(int(size)+1, len(rest))
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		c.flush()
		var want strings.Builder
		for line := range strings.Lines(text) {
			want.WriteString("api    | " + strings.TrimSuffix(line, "\n") + "\n")
		}
		if out.String() != want.String() {
			t.Fatalf("got %q, want %q", out.String(), want.String())
		}
	})
}

func TestSupervisorReportsThePartThatDies(t *testing.T) {
	t.Parallel()
	var out safeBuffer
	super := newSupervisor(newConsole(&out, false), 10*time.Second)
	require.NoError(t, super.start("api", shell(`trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done`)))
	require.NoError(t, super.start("worker", shell("echo first; echo out of luck >&2; exit 3")))
	err := <-super.failed
	require.EqualError(t, err, "worker ended by itself with exit status 3; its last lines:\n    first\n    out of luck")

	require.Eventually(t, func() bool { return strings.Contains(out.String(), "api    | up\n") }, 10*time.Second, time.Millisecond)
	require.NoError(t, super.stop(nil), "the rest stops in good order")
	require.Contains(t, out.String(), "api    | bye\n")
	require.Contains(t, out.String(), "worker | out of luck\n")
}

func TestSupervisorPassesASignalToOnePart(t *testing.T) {
	t.Parallel()
	var out safeBuffer
	super := newSupervisor(newConsole(&out, false), 10*time.Second)
	const script = `trap 'echo again' HUP; trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done`
	for _, name := range []string{"api", "worker"} {
		require.NoError(t, super.start(name, shell(script)))
	}
	require.Eventually(t, func() bool { return strings.Count(out.String(), "up\n") == 2 }, 10*time.Second, time.Millisecond)
	super.signal("api", syscall.SIGHUP)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "api    | again\n") }, 10*time.Second, time.Millisecond)
	require.NoError(t, super.stop(nil))
	require.NotContains(t, out.String(), "worker | again\n")
}

func TestSupervisorReportsAnEndWithoutFailureToo(t *testing.T) {
	t.Parallel()
	super := newSupervisor(newConsole(&safeBuffer{}, false), time.Second)
	require.NoError(t, super.start("api", shell("exit 0")))
	require.EqualError(t, <-super.failed, "api ended by itself with exit status 0; it wrote nothing")
	require.NoError(t, super.stop(nil))
}

func TestSupervisorKillsWhatDoesNotStop(t *testing.T) {
	t.Parallel()
	const deaf = `trap '' TERM; echo up; while :; do sleep 0.01; done`
	t.Run("after its grace", func(t *testing.T) {
		t.Parallel()
		var out safeBuffer
		super := newSupervisor(newConsole(&out, false), 50*time.Millisecond)
		for _, name := range []string{"api", "worker"} {
			require.NoError(t, super.start(name, shell(deaf)))
		}
		require.Eventually(t, func() bool { return strings.Count(out.String(), "up\n") == 2 }, 10*time.Second, time.Millisecond)
		require.EqualError(t, super.stop(nil),
			"api did not stop within 50ms and was killed\nworker did not stop within 50ms and was killed")
	})
	t.Run("at once when asked again", func(t *testing.T) {
		t.Parallel()
		var out safeBuffer
		super := newSupervisor(newConsole(&out, false), time.Hour)
		require.NoError(t, super.start("api", shell(deaf)))
		require.Eventually(t, func() bool { return strings.Contains(out.String(), "up\n") }, 10*time.Second, time.Millisecond)
		force := make(chan struct{})
		close(force)
		require.EqualError(t, super.stop(force), "api was killed before it had stopped, as asked")
	})
}

func TestSupervisorReportsAFailureWhileStopping(t *testing.T) {
	t.Parallel()
	var out safeBuffer
	super := newSupervisor(newConsole(&out, false), 10*time.Second)
	require.NoError(t, super.start("api", shell(`trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done`)))
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "up\n") }, 10*time.Second, time.Millisecond)
	require.ErrorContains(t, super.stop(nil), "api stopped with exit status 7")
}

func TestSupervisorStartOfNothing(t *testing.T) {
	t.Parallel()
	super := newSupervisor(newConsole(&safeBuffer{}, false), time.Second)
	require.ErrorIs(t, super.start("api", exec.Command("/nonexistent/api")), os.ErrNotExist)
}

func TestReady(t *testing.T) {
	t.Parallel()
	answers := func(codes ...int) *httptest.Server {
		var mu sync.Mutex
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			w.WriteHeader(codes[0])
			codes = codes[min(1, len(codes)-1):]
		}))
		t.Cleanup(server.Close)
		t.Cleanup(http.DefaultClient.CloseIdleConnections)
		return server
	}
	t.Run("once it is", func(t *testing.T) {
		t.Parallel()
		super := newSupervisor(newConsole(&safeBuffer{}, false), time.Second)
		require.NoError(t, super.ready(t.Context(), "api", answers(503, 503, 200).URL, time.Minute))
	})
	t.Run("never", func(t *testing.T) {
		t.Parallel()
		super := newSupervisor(newConsole(&safeBuffer{}, false), time.Second)
		err := super.ready(t.Context(), "api", answers(503).URL, 200*time.Millisecond)
		require.ErrorContains(t, err, "api was not ready after 200ms")
		require.ErrorContains(t, err, "it answers 503 Service Unavailable")
	})
	t.Run("a part dies", func(t *testing.T) {
		t.Parallel()
		super := newSupervisor(newConsole(&safeBuffer{}, false), time.Second)
		require.NoError(t, super.start("api", shell("echo bad setting; exit 1")))
		err := super.ready(t.Context(), "api", answers(503).URL, time.Minute)
		require.ErrorContains(t, err, "api ended by itself with exit status 1; its last lines:\n    bad setting")
		require.NoError(t, super.stop(nil))
	})
}

func TestClaim(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	taken := service{name: "api", variable: "API_ADDR", address: listener.Addr().String()}
	err = taken.claim(t.Context())
	require.ErrorContains(t, err, "API_ADDR="+taken.address+" can't be used by the api (bind: address already in use)")
	require.ErrorContains(t, err, "choose another address, such as API_ADDR=:")
	require.NotContains(t, err.Error(), "\n")

	open := service{name: "worker", variable: "WORKER_ADDR", address: ":0"}
	require.NoError(t, open.claim(t.Context()))
	require.NotEqual(t, ":0", open.address, "the worker has to be told which port was found")
	require.Equal(t, "http://localhost"+open.address, open.url)
}

func TestWebhookSecretIsMadeOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secrets.env")
	require.NoError(t, os.WriteFile(file, []byte("OTHER=kept"), 0o600))
	secret, err := webhookSecret(file)
	require.NoError(t, err)
	_, err = standardwebhooks.NewWebhook(secret)
	require.NoError(t, err, "the library that signs has to accept it")

	again, err := webhookSecret(file)
	require.NoError(t, err)
	require.Equal(t, secret, again)
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "OTHER=kept\nWEBHOOK_SECRET="+secret+"\n", string(raw))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	other, err := webhookSecret(filepath.Join(t.TempDir(), "secrets.env"))
	require.NoError(t, err)
	require.NotEqual(t, secret, other)
}

func TestSecretsKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secrets.env")
	secret, err := webhookSecret(file)
	require.NoError(t, err)
	key, err := secretsKey(file)
	require.NoError(t, err)
	_, err = seal.New(key)
	require.NoError(t, err, "the package that encrypts has to accept it")

	again, err := secretsKey(file)
	require.NoError(t, err)
	require.Equal(t, key, again)
	kept, err := webhookSecret(file)
	require.NoError(t, err)
	require.Equal(t, secret, kept)
}

// Two starts at the same time, of API and worker each by itself, both find nothing: what one of them has made must not
// be lost to the other, with whom destinations would be encrypted by a key that nobody has.
func TestSecretsAreMadeOnceByManyAtATime(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secrets.env")
	var g errgroup.Group
	made := make([]string, 40)
	for i := range made {
		g.Go(func() (err error) {
			made[i], err = keptSecret(file, fmt.Sprintf("SECRET_%d", i/2), "")
			return err
		})
	}
	require.NoError(t, g.Wait())
	for i, secret := range made {
		again, err := keptSecret(file, fmt.Sprintf("SECRET_%d", i/2), "")
		require.NoError(t, err)
		require.Equal(t, again, secret, "of secret %d", i/2)
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	const address = "postgres://u:hunter2@h:1/d"
	err := errors.New("failed to connect to `user=u`:\n\th:1 (10.0.0.1): refused hunter2\n\th:1 (10.0.0.1): refused hunter2")
	require.Equal(t, "failed to connect to `user=u`: h:1 (10.0.0.1): refused [redacted]", oneLine(err, address))
	require.Equal(t, "postgres://h:1/d", redacted(address+"?password=hunter2"))
	require.NotContains(t, redacted("postgres://u:hun%ter2@h"), "hun")
}

func TestTry(t *testing.T) {
	t.Parallel()
	routes := http.NewServeMux()
	routes.HandleFunc("GET /v1/portfolios", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"items": [{"id": "9f81", "name": "Sample CHF"}]}`))
	})
	server := httptest.NewServer(routes)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	require.Equal(t, "curl -s "+server.URL+"/v1/patterns/portfolio_overview/execute"+
		` -H "Authorization: Bearer $DAWSOS_KEY" -H 'content-type: application/json' -d '{"inputs":{"portfolio_id":"9f81"}}'`, try(t.Context(), server.URL, "daws_key"))

	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"items": []}`))
	}))
	defer empty.Close()
	require.Equal(t, "curl -s "+empty.URL+`/v1/patterns -H "Authorization: Bearer $DAWSOS_KEY"`, try(t.Context(), empty.URL, "daws_key"))
}

// TestPrivateDatabase goes through what a start does before the services run, twice, and a reset.
func TestPrivateDatabase(t *testing.T) {
	t.Parallel()
	state, err := os.MkdirTemp("", "dev-test-") //nolint:usetesting // PostgreSQL's account can't enter t.TempDir when root tests
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(state)) })
	require.NoError(t, os.Chmod(state, 0o711)) // PostgreSQL's account has to pass through
	var out safeBuffer
	open := func(reset bool) (*dev, *database) {
		d := &dev{opts: options{command: "migrate", reset: reset}, out: newConsole(&out, false), state: state}
		db, err := d.openDatabase(t.Context())
		require.NoError(t, err)
		require.NoError(t, d.prepare(t.Context(), db))
		return d, db
	}
	tenants := func(db *database) (count int) {
		pool, err := pgxpool.New(t.Context(), db.url)
		require.NoError(t, err)
		defer pool.Close()
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM tenants").Scan(&count))
		return count
	}

	d, db := open(false)
	require.NoError(t, tryConnect(t.Context(), db.url))
	pool, err := pgxpool.New(t.Context(), db.url)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), "INSERT INTO tenants (id) VALUES ('kept')")
	require.NoError(t, err)
	pool.Close()

	joiner, joined := open(false)
	require.Contains(t, out.String(), "joined the private PostgreSQL")
	require.NoError(t, joiner.closeDatabase(t.Context(), nil, joined))
	require.Equal(t, 2, tenants(db), "the one who joined has left, the server stays")
	_, err = (&dev{opts: options{reset: true}, out: newConsole(&out, false), state: state}).openDatabase(t.Context())
	require.ErrorContains(t, err, "in use by another `go run ./cmd/dev`")
	require.NoError(t, d.closeDatabase(t.Context(), nil, db))

	d, db = open(false)
	require.Equal(t, 2, tenants(db), "data is kept between runs")
	require.Contains(t, out.String(), "(0 migrations applied)")
	testKeys(t, d, db.url, &out)
	require.NoError(t, d.closeDatabase(t.Context(), nil, db))

	d, db = open(true)
	require.Equal(t, 1, tenants(db), "--reset wipes it")
	force := make(chan struct{})
	close(force)
	require.NoError(t, d.closeDatabase(t.Context(), force, db), "a second Ctrl-C only costs the checkpoint")
}

// testKeys: what is printed and given to the worker opens the API.
func testKeys(t *testing.T, d *dev, url string, out fmt.Stringer) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	defer pool.Close()
	db := store.New(pool, store.Options{})
	opens := auth.NewStoredKeys(db, time.Now)
	keep := func() keys {
		at := &dev{out: d.out, state: d.state} // as another start
		require.NoError(t, at.keepKeys(t.Context(), url))
		for _, text := range []string{at.keys.developer, at.keys.worker} {
			_, err := opens.Principal(t.Context(), text)
			require.NoError(t, err)
		}
		return at.keys
	}
	var g errgroup.Group
	for range 4 { // none is there yet
		g.Go(func() error { return (&dev{out: d.out, state: d.state}).keepKeys(t.Context(), url) })
	}
	require.NoError(t, g.Wait())
	first := keep()
	require.Equal(t, first, keep())

	id, _ := auth.KeyID(first.developer)
	require.NoError(t, db.RevokeKey(t.Context(), auth.OperatingTenant, id, "test", ""))
	opens.Forget()
	second := keep()
	require.NotEqual(t, first.developer, second.developer)
	require.Equal(t, first.worker, second.worker)
	require.Contains(t, out.String(), "DAWSOS_KEY, the API key "+id+", is revoked: made a new one")

	id, _ = auth.KeyID(first.worker)
	_, err = pool.Exec(t.Context(), "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = $1", id)
	require.NoError(t, err)
	opens.Forget()
	third := keep()
	require.NotEqual(t, second.worker, third.worker)
	require.Equal(t, second.developer, third.developer)
	require.Equal(t, third, keep())
	raw, err := os.ReadFile(filepath.Join(d.state, secretsFile))
	require.NoError(t, err)
	require.Equal(t, "DAWSOS_KEY="+third.developer+"\nAPI_KEY="+third.worker+"\n", string(raw), "the former are gone")
}

func TestOwnDatabaseIsCheckedFirst(t *testing.T) {
	t.Parallel()
	d := &dev{cfg: config.Config{DatabaseURL: "postgres://u:hunter2@127.0.0.1:1/d?sslmode=disable"}}
	err := d.checkDatabase(t.Context())
	require.ErrorContains(t, err, "DATABASE_URL, postgres://127.0.0.1:1/d, can't be used")
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, err.Error(), "\n")

	d.opts.reset = true
	require.ErrorContains(t, d.checkDatabase(t.Context()), "--reset wipes the private database only")
}

func TestModuleRootIsAbove(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(root, "cmd", "dev", "main.go"))
}
