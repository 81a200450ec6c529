package devpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dawsos/dawsos/internal/devpg/child"
)

// attempts is how often a start is tried when it failed for a reason that goes away.
const attempts = 3

// transient are parts of the server's last words after which another attempt can succeed: the port
// was taken between choosing and using it; processes of a killed server are still ending.
var transient = []string{"could not bind", "could not create any TCP/IP sockets", "pre-existing shared memory block"}

// start starts the place's server. The caller owns the place.
func start(ctx context.Context, p place, opts Options) (*Server, error) {
	if err := p.privateDir(p.dir); err != nil {
		return nil, err
	}
	if err := stopStale(p); err != nil {
		return nil, err
	}
	want, err := dataVersion(p)
	if err != nil {
		return nil, err
	}
	found, err := find(ctx, p, want)
	if errors.Is(err, errNoBinaries) {
		if err = fetch(ctx, p, opts.Progress); err == nil {
			found, err = find(ctx, p, want) // what does not run on this machine is not found
		}
		if err != nil && want == 0 {
			return startContainer(ctx, p, opts, err)
		}
	}
	if err != nil {
		return nil, err
	}
	password, err := p.password()
	if err != nil {
		return nil, err
	}
	if want == 0 {
		opts.Progress(fmt.Sprintf("creating a PostgreSQL %d database in %s", found.major, p.dir))
		if err := initialise(ctx, p, found, opts.Ephemeral); err != nil {
			return nil, err
		}
	}

	var server *Server
	for range attempts {
		if server, err = launch(ctx, p, found, password, opts); err == nil {
			return server, nil
		}
		if !slices.ContainsFunc(transient, func(s string) bool { return strings.Contains(err.Error(), s) }) {
			break
		}
	}
	return nil, err
}

// initialise creates the data folder. It appears under its name only once it is complete.
func initialise(ctx context.Context, p place, found installation, ephemeral bool) error {
	temp := p.data() + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return fmt.Errorf("remove what an interrupted start left: %w", err)
	}
	args := []string{
		"-D", temp, "-U", User, "--pwfile", p.passwordFile(), "--auth", "scram-sha-256",
		"-E", "UTF8", "--locale", "C", "--no-instructions",
	}
	if ephemeral {
		args = append(args, "--no-sync")
	}
	var out bytes.Buffer
	cmd := p.as(exec.Command(filepath.Join(found.dir, "initdb"), args...))
	cmd.Stdout, cmd.Stderr = &out, &out
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	select {
	case <-process.Done():
	case <-ctx.Done():
		process.Kill() // its helpers too, or they would go on writing
		<-process.Done()
		return fmt.Errorf("create the database: %w", ctx.Err())
	}
	if err := process.Err(); err != nil {
		return fmt.Errorf("create the database with %s: %w\n%s", cmd.Path, err, bytes.TrimSpace(out.Bytes()))
	}
	if err := os.Rename(temp, p.data()); err != nil {
		return fmt.Errorf("put the new database in its place: %w", err)
	}
	return nil
}

// launch runs the server and waits until it accepts connections.
func launch(ctx context.Context, p place, found installation, password string, opts Options) (*Server, error) {
	port, err := freePort(p)
	if err != nil {
		return nil, err
	}
	log := &tail{next: opts.Log}
	cmd := p.as(exec.Command(filepath.Join(found.dir, "postgres"), arguments(p, port, opts)...))
	cmd.Stdout, cmd.Stderr = log, log
	// SIGINT is PostgreSQL's fast shutdown: should this process die, the server ends cleanly.
	process, err := child.Start(cmd, syscall.SIGINT)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	var crash atomic.Bool
	server := serve(p, password, process, log, func(ctx context.Context) error { return shutDown(ctx, process, crash.Load()) })
	server.port = port
	server.crash = func() { crash.Store(true) }
	// As pg_ctl does: the server says in its pid file that it accepts connections.
	ready := func() bool {
		file, ok := readPIDFile(p)
		return ok && file.pid == process.PID() && file.ready
	}
	if err := await(ctx, process, log, startTimeout, ready); err != nil {
		return nil, errors.Join(err, server.Stop(context.WithoutCancel(ctx)))
	}
	if err := p.write(p.portFile(), strconv.Itoa(port)+"\n"); err != nil {
		return nil, errors.Join(err, server.Stop(context.WithoutCancel(ctx)))
	}
	return server, nil
}

// arguments are the server's command line; its configuration file stays as initdb wrote it.
func arguments(p place, port int, opts Options) []string {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": "", // a path of a project may be too long for a socket's
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"log_checkpoints":         "off",
		"max_connections":         "200",
		"timezone":                "UTC",
	}
	if opts.Ephemeral {
		maps.Copy(settings, map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
			"wal_level": "minimal", "max_wal_senders": "0", "autovacuum_naptime": "60s",
		})
	}
	maps.Copy(settings, opts.Settings)
	args := []string{"-D", p.data()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// freePort returns the port of the last run, so that addresses noted elsewhere stay good, or any
// free one.
func freePort(p place) (int, error) {
	if raw, err := os.ReadFile(p.portFile()); err == nil {
		if listener, err := net.Listen("tcp", "127.0.0.1:"+strings.TrimSpace(string(raw))); err == nil {
			return portOf(listener)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port for PostgreSQL: %w", err)
	}
	return portOf(listener)
}

func portOf(listener net.Listener) (int, error) {
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// serve makes a server of a started process.
func serve(p place, password string, process *child.Process, log *tail, stop func(context.Context) error) *Server {
	server := &Server{dir: p.dir, password: password, done: make(chan struct{})}
	asked := make(chan struct{})
	server.stop = func(ctx context.Context) error {
		close(asked)
		err := stop(ctx)
		<-server.done
		return err
	}
	go func() {
		<-process.Done()
		log.flush()
		select {
		case <-asked:
		default:
			server.err = fmt.Errorf("PostgreSQL ended by itself (%s): %s", ending(process.Err()), log)
		}
		close(server.done)
	}()
	return server
}

// await waits until a started server is ready.
func await(ctx context.Context, process *child.Process, log fmt.Stringer, limit time.Duration, ready func() bool) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	deadline := time.After(limit)
	for {
		if ready() {
			return nil
		}
		select {
		case <-process.Done():
			return fmt.Errorf("PostgreSQL did not start (%s): %s", ending(process.Err()), log)
		case <-deadline:
			return fmt.Errorf("PostgreSQL was not ready after %s: %s", limit, log)
		case <-ctx.Done():
			return fmt.Errorf("start PostgreSQL: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// shutDown ends a server: politely unless at once, then without a checkpoint, then by force.
func shutDown(ctx context.Context, process *child.Process, atOnce bool) error {
	for _, step := range []struct {
		signal  syscall.Signal
		timeout time.Duration
	}{{syscall.SIGINT, fastTimeout}, {syscall.SIGQUIT, quitTimeout}} {
		if atOnce && step.signal == syscall.SIGINT {
			continue
		}
		process.Signal(step.signal)
		timer := time.NewTimer(step.timeout)
		select {
		case <-process.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-ctx.Done(): // no time left for this step
			timer.Stop()
			ctx = context.WithoutCancel(ctx) // but the next one gets its own
		}
	}
	process.Kill()
	<-process.Done()
	return errors.New("PostgreSQL did not stop and was killed; it recovers at its next start")
}

// ending says how a process ended.
func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// pidFile is what a running server says about itself.
type pidFile struct {
	pid   int
	port  int
	ready bool
}

// readPIDFile reads postmaster.pid: a line each for pid, data folder, start time, port, socket
// folder, address, shared memory key and status.
func readPIDFile(p place) (pidFile, bool) {
	raw, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	if err != nil {
		return pidFile{}, false
	}
	return parsePIDFile(string(raw))
}

// parsePIDFile also accepts a file that is still being written; it is ready only once all is there.
func parsePIDFile(text string) (pidFile, bool) {
	lines := strings.Split(text, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 {
		return pidFile{}, false
	}
	file := pidFile{pid: pid}
	if len(lines) < 8 {
		return file, true
	}
	port, err := strconv.Atoi(strings.TrimSpace(lines[3]))
	if err != nil || port < 1 || port > 65535 {
		return file, true
	}
	file.port = port
	file.ready = strings.TrimSpace(lines[7]) == "ready"
	return file, true
}

// join connects to the server that another process runs here; false when it is not up (yet, or any
// more).
func join(ctx context.Context, p place) (*Server, bool, error) {
	file, ok := readPIDFile(p)
	if !ok {
		return joinContainer(ctx, p)
	}
	if !file.ready || !isPostmaster(file.pid, p.data()) {
		return nil, false, nil
	}
	password, err := p.password()
	if err != nil {
		return nil, false, err
	}
	server := &Server{dir: p.dir, port: file.port, password: password}
	server.watch(func() bool { return isPostmaster(file.pid, p.data()) })
	return server, true, nil
}

// watch makes a joined server of s: one that is asked now and then whether it is still there.
func (s *Server) watch(alive func() bool) {
	s.joined = true
	s.done = make(chan struct{})
	left := make(chan struct{})
	s.stop = func(context.Context) error {
		close(left)
		<-s.done
		return nil
	}
	go func() {
		defer close(s.done)
		ticker := time.NewTicker(10 * poll)
		defer ticker.Stop()
		for alive() {
			select {
			case <-left:
				return
			case <-ticker.C:
			}
		}
		s.err = errors.New("PostgreSQL was stopped by the process that ran it")
	}()
}

// stopStale ends a server that outlived the process it belonged to, and removes a pid file that a
// crash left and whose number another program may bear by now. The caller owns the place.
func stopStale(p place) error {
	file, ok := readPIDFile(p)
	if !ok {
		return nil
	}
	for _, step := range []struct {
		signal  syscall.Signal
		timeout time.Duration
	}{{syscall.SIGINT, fastTimeout}, {syscall.SIGQUIT, quitTimeout}, {syscall.SIGKILL, quitTimeout}} {
		if !isPostmaster(file.pid, p.data()) {
			break
		}
		if err := syscall.Kill(file.pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the server that was left running in %s: %w", p.dir, err)
		}
		awaitGone(file.pid, p.data(), step.timeout)
	}
	if isPostmaster(file.pid, p.data()) {
		return fmt.Errorf("the server left running in %s (process %d) can't be stopped", p.dir, file.pid)
	}
	if err := os.Remove(filepath.Join(p.data(), "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a stale pid file: %w", err)
	}
	return nil
}

// awaitGone waits until a server that is not our child has ended, at most for limit.
func awaitGone(pid int, data string, limit time.Duration) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	deadline := time.After(limit)
	for isPostmaster(pid, data) {
		select {
		case <-deadline:
			return
		case <-ticker.C:
		}
	}
}

// isPostmaster reports whether the process pid is the server of this data folder. After a reboot
// the number may be anybody's, so its command line has to name the folder.
func isPostmaster(pid int, data string) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	if raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline")); err == nil {
		return bytes.Contains(raw, []byte("\x00-D\x00"+data+"\x00"))
	}
	raw, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && bytes.Contains(raw, []byte(" -D "+data+" "))
}
