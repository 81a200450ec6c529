// Package e2e tests the two binaries as operators run them: real processes, a real PostgreSQL,
// real sockets. What is checked here is what only shows between processes: kills, restarts,
// shutdowns, one trace across all of them.
package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
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

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	_ "github.com/dawsos/dawsos/internal/app" // what is built below: its changes make old results invalid
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/api"
)

// bin holds the binaries under test.
var bin string

func TestMain(m *testing.M) {
	code := func() int {
		var err error
		if bin, err = os.MkdirTemp("", "dawsos-e2e-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		build := exec.Command("go", "build", "-o", bin, "github.com/dawsos/dawsos/cmd/api", "github.com/dawsos/dawsos/cmd/worker")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the binaries: %v\n%s", err, out)
			return 1
		}
		return 0
	}()
	if code != 0 {
		os.Exit(code)
	}
	dbtest.Main(m)
}

// patience bounds every wait: longer than the slowest recovery, which is a killed leader's lease and
// the reconciler's interval together.
const patience = 2 * time.Minute

// secret signs the webhooks of all tests.
var secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("an e2e test's secret of 32 bytes"))

// system is one API and one worker over one database. Either can be killed and started again.
type system struct {
	t           testing.TB
	databaseURL string
	env         []string
	apiAddr     string
	workerAddr  string
	api, worker *proc
	client      *api.ClientWithResponses
}

// newSystem starts both processes and waits until they are ready. env overrides their settings.
func newSystem(t *testing.T, databaseURL string, env ...string) *system {
	t.Helper()
	s := prepare(t, databaseURL, env...)
	s.startAPI()
	s.startWorker()
	return s
}

// newKey makes an API key straight in the database.
func newKey(t testing.TB, databaseURL string, role auth.Role) string {
	t.Helper()
	text, _, err := auth.NewManager(store.New(dbtest.Connect(t, databaseURL), store.Options{}), nil, time.Now).Create(
		t.Context(), auth.Draft{TenantID: auth.OperatingTenant, Name: "test", Role: role, By: "test"})
	require.NoError(t, err)
	return text
}

// prepare returns a system that has not been started.
func prepare(t testing.TB, databaseURL string, env ...string) *system {
	t.Helper()
	s := &system{t: t, databaseURL: databaseURL, apiAddr: freeAddr(t), workerAddr: freeAddr(t)}
	s.env = append([]string{
		"DATABASE_URL=" + databaseURL, "AUTH_ANONYMOUS=admin", "API_ADDR=" + s.apiAddr, "WORKER_ADDR=" + s.workerAddr,
		"WEBHOOK_SECRET=" + secret, "DELIVERY_TIMEOUT=2s", "LOG_LEVEL=debug",
		"PATTERNS_DIR=" + filepath.Join(root, "configs/patterns"), "AGENTS_FILE=" + filepath.Join(root, "configs/agents.yaml"),
		"ANALYTICS_DIR=" + filepath.Join(root, "configs/analytics"),
		"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH"),
	}, env...)
	client, err := api.NewClientWithResponses("http://"+s.apiAddr, api.WithHTTPClient(&http.Client{
		Transport: &http.Transport{DisableKeepAlives: true}, // no goroutines left behind
	}))
	require.NoError(t, err)
	s.client = client
	return s
}

const root = "../.."

func (s *system) startAPI() {
	s.t.Helper()
	s.api = start(s.t, "api", s.env)
	s.ready(s.apiAddr)
}

func (s *system) startWorker() {
	s.t.Helper()
	s.worker = start(s.t, "worker", s.env)
	s.ready(s.workerAddr)
}

func (s *system) ready(addr string) {
	s.t.Helper()
	s.eventually("ready: "+addr, func(ctx context.Context) error {
		_, err := get(ctx, "http://"+addr+"/readyz")
		return err
	})
}

// eventually polls until check passes.
func (s *system) eventually(what string, check func(ctx context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.FailNow(s.t, "waited in vain", "%s: %v", what, err)
		}
	}
}

// metric returns the value of a series as a process exports it, "" when it is not there.
func (s *system) metric(addr, series string) string {
	s.t.Helper()
	page, err := get(s.t.Context(), "http://"+addr+"/metrics")
	require.NoError(s.t, err)
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// deliver posts a message to a webhook and returns the answer.
func (s *system) deliver(alertID, url string) *api.CreateDeliveryResponse {
	s.t.Helper()
	r, err := s.tryDeliver(s.t.Context(), alertID, url)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, r.StatusCode(), string(r.Body))
	return r
}

func (s *system) tryDeliver(ctx context.Context, alertID, url string) (*api.CreateDeliveryResponse, error) {
	body := api.NewDelivery{AlertId: alertID, UserId: "ada", Title: "NAV fell", Message: "by 3 %"}
	body.Channels = &api.Channels{Webhook: &api.WebhookTarget{Url: url}}
	return s.client.CreateDeliveryWithResponse(ctx, nil, body)
}

// history returns the webhook channel of an event.
func (s *system) history(ctx context.Context, event uuid.UUID) (api.ChannelHistory, error) {
	r, err := s.client.GetDeliveryWithResponse(ctx, event)
	if err != nil {
		return api.ChannelHistory{}, err
	}
	if r.JSON200 == nil {
		return api.ChannelHistory{}, fmt.Errorf("event %s: %s: %s", event, r.Status(), r.Body)
	}
	return r.JSON200.Channels["webhook"], nil
}

// becomes waits until an event's webhook is in a state, and returns its history.
func (s *system) becomes(event uuid.UUID, state api.ChannelHistoryState) api.ChannelHistory {
	s.t.Helper()
	var h api.ChannelHistory
	s.eventually(fmt.Sprintf("event %s becomes %s", event, state), func(ctx context.Context) (err error) {
		if h, err = s.history(ctx, event); err == nil && h.State != state {
			err = fmt.Errorf("is %s after %d attempts", h.State, len(h.Attempts))
		}
		return err
	})
	return h
}

// requireAccounted checks the ledger: every accepted event and channel is in exactly one place.
func (s *system) requireAccounted() (accepted, delivered, dead, inflight int) {
	s.t.Helper()
	ctx := s.t.Context()
	conn, err := pgx.Connect(ctx, s.databaseURL)
	require.NoError(s.t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = conn.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM alert_events e, jsonb_object_keys(e.channels)),
		       (SELECT count(*) FROM alert_deliveries), (SELECT count(*) FROM alert_dlq), (SELECT count(*) FROM alert_inflight)`,
	).Scan(&accepted, &delivered, &dead, &inflight)
	require.NoError(s.t, err)
	require.Equal(s.t, accepted, delivered+dead+inflight, "accepted = delivered %d + dead %d + in flight %d", delivered, dead, inflight)
	return accepted, delivered, dead, inflight
}

// loaded returns the address of a database with the sample data, and the id of a portfolio in it.
func loaded(t testing.TB) (databaseURL string, portfolio uuid.UUID) {
	t.Helper()
	databaseURL = dbtest.URL(t)
	pool := dbtest.Connect(t, databaseURL)
	_, err := sample.Load(t.Context(), pool, root+"/configs/sample", func(string) {})
	require.NoError(t, err)
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT id FROM portfolios ORDER BY id LIMIT 1`).Scan(&portfolio))
	return databaseURL, portfolio
}

// patternsDir returns a directory with all real patterns and those given, by file name.
func patternsDir(t testing.TB, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(root, "configs/patterns"))))
	writeFiles(t, dir, more)
	return dir
}

// writeFiles writes files by name into a directory.
func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
}

// agentToken is what remote agents are sent; the API has it in AGENT_TOKEN.
const agentToken = "an-agents-token"

// agentsFile returns a file with the settings of all real agents, and more of the kind.
func agentsFile(t testing.TB, more string) string {
	t.Helper()
	settings, err := os.ReadFile(filepath.Join(root, "configs/agents.yaml"))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "agents.yaml")
	require.NoError(t, os.WriteFile(path, append(bytes.TrimRight(settings, "\n"), "\n"+more+"\n"...), 0o600))
	return path
}

// newDesk serves the agent desk, which is remote to the API but runs in the test, so that tests see
// what it is asked and decide when it answers. It returns the settings that make the API use it.
func newDesk(t *testing.T, capabilities ...agent.Capability) []string {
	t.Helper()
	server := httptest.NewServer(agent.Handler(agent.New("desk", capabilities...), agent.HandlerOptions{
		Token: agentToken, Logger: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(server.Close)
	return []string{
		"AGENTS_FILE=" + agentsFile(t, fmt.Sprintf("  desk: {remote: {url: %q, token_env: AGENT_TOKEN}}", server.URL)),
		"AGENT_TOKEN=" + agentToken,
	}
}

// echo is a capability that answers its arguments.
func echo(name string) agent.Capability {
	return agent.Capability{
		Name: name, Description: "The arguments.", Purity: agent.Reading,
		Run: func(_ context.Context, req agent.Request) (agent.Result, error) {
			return agent.Result{Value: req.Args}, nil
		},
	}
}

// proc is one running program.
type proc struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended
	log  *logBuffer
}

// start runs one of the binaries.
func start(t testing.TB, name string, env []string, args ...string) *proc {
	t.Helper()
	return launch(t, name, exec.Command(filepath.Join(bin, name), args...), env)
}

// startNode runs a program in Node: a file, or what follows --eval.
func startNode(t testing.TB, name string, env []string, args ...string) *proc {
	t.Helper()
	node, err := exec.LookPath("node")
	require.NoError(t, err, "the tests need Node 18.17 or later (Debian: nodejs)")
	return launch(t, name, exec.Command(node, args...), append([]string{"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}, env...))
}

func launch(t testing.TB, name string, cmd *exec.Cmd, env []string) *proc {
	t.Helper()
	p := &proc{t: t, name: name, cmd: cmd, done: make(chan struct{}), log: &logBuffer{}}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %s (pid %d):\n%s", name, p.cmd.Process.Pid, p.log.String())
		}
	})
	return p
}

// kill is kill -9, and waits for the end.
func (p *proc) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// interrupt is Ctrl-C. It does not wait.
func (p *proc) interrupt() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(os.Interrupt))
}

// exitCode waits for the process to end by itself.
func (p *proc) exitCode() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		require.FailNow(p.t, "did not stop", "%s", p.name)
		return -1
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// receiver is the other side of a webhook. It verifies every signature.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	seen []seen
}

type seen struct {
	messageID, traceParent string
	status                 int
}

// newReceiver answers the nth request (from 1) with what answer returns; answer may block.
func newReceiver(t *testing.T, answer func(n int) int) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	r := &receiver{}
	n := 0
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = verifier.Verify(body, req.Header)
		}
		if err != nil {
			t.Errorf("receiver: %v", err)
		}
		r.mu.Lock()
		n++
		turn := n
		r.mu.Unlock()
		status := answer(turn)
		r.mu.Lock()
		r.seen = append(r.seen, seen{req.Header.Get("webhook-id"), req.Header.Get("traceparent"), status})
		r.mu.Unlock()
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]seen(nil), r.seen...)
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + ": " + string(body))
	}
	return string(body), err
}

// freeAddr returns an address on loopback that a process can have, and have again after a restart: its
// port lies below those that systems give to connections, so that none of these takes it meanwhile.
func freeAddr(t testing.TB) string {
	t.Helper()
	const lowest, highest = 20_000, 32_000
	handedOut.Lock()
	defer handedOut.Unlock()
	for range highest - lowest {
		addr := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest))
		if handedOut.addrs[addr] {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, l.Close())
		handedOut.addrs[addr] = true
		return addr
	}
	require.FailNow(t, "no port is free")
	return ""
}

var handedOut = struct {
	sync.Mutex
	addrs map[string]bool
}{addrs: make(map[string]bool)}
