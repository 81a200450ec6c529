package loadtest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dawsos/dawsos/internal/devpg/child"
)

const (
	readyTimeout = 60 * time.Second
	readyPoll    = 50 * time.Millisecond
	// stopTimeout is longer than the programs' own SHUTDOWN_GRACE, set below.
	stopTimeout   = 20 * time.Second
	shutdownGrace = "10s"
	// crashPause is how long a program that ended by itself stays down.
	crashPause = time.Second
)

// Place is what all programs of this package need.
type Place struct {
	// Bin is the folder of the built programs api and worker.
	Bin string
	// Root is the module's folder, for the configuration files.
	Root string
	// DatabaseURL is an empty, migrated database of the run's own.
	DatabaseURL string
	// Server is the PostgreSQL beneath that database, where it may be taken away.
	Server Server
	// Disk is what that database's tables lie on, where it may be filled; NoDisk says why there is none.
	Disk   Disk
	NoDisk string
	// Logs is the folder that the programs' logs go to.
	Logs string
	// Say is told, a line each, what is going on.
	Say func(format string, args ...any)
}

// Server is a PostgreSQL server that can be taken away and given back.
type Server interface {
	// Crash ends it at once, as pg_ctl -m immediate does.
	Crash(context.Context) error
	// Start starts it again, under the same address. One that is up stays so.
	Start(context.Context) error
}

// Disk is a file system of limited size.
type Disk interface {
	// Fill leaves no room on it, Free gives the room back.
	Fill() error
	Free() error
}

// System is a number of APIs and workers over one database.
type System struct {
	place   Place
	members []*member

	mu      sync.Mutex
	crashes []string
}

// member is one API or worker, through all its lives.
type member struct {
	name string // such as api-1
	bin  string
	addr string
	env  []string
	log  *os.File

	mu      sync.Mutex
	process *child.Process
	life    int  // counts starts
	stopped bool // asked to stay down
}

// NewSystem returns a system that has not been started. settings are NAME=value, and win over those
// of this package.
func NewSystem(p Place, apis, workers int, settings ...string) (*System, error) {
	s := &System{place: p}
	for _, kind := range []struct {
		bin, variable string
		count         int
	}{{"api", "API_ADDR", apis}, {"worker", "WORKER_ADDR", workers}} {
		for i := range kind.count {
			addr, err := freeAddr()
			if err != nil {
				return nil, err
			}
			m := &member{name: fmt.Sprintf("%s-%d", kind.bin, i+1), bin: filepath.Join(p.Bin, kind.bin), addr: addr}
			if m.log, err = os.Create(filepath.Join(p.Logs, m.name+".log")); err != nil {
				return nil, fmt.Errorf("make the log of %s: %w", m.name, err)
			}
			// Not the environment of whoever runs this: its settings are another system's.
			m.env = append([]string{
				"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH"), "DATABASE_URL=" + p.DatabaseURL, kind.variable + "=" + addr,
				"WEBHOOK_SECRET=whsec_" + base64.StdEncoding.EncodeToString([]byte("a load test's secret, 32 bytes..")),
				"PATTERNS_DIR=" + filepath.Join(p.Root, "configs/patterns"), "AGENTS_FILE=" + filepath.Join(p.Root, "configs/agents.yaml"),
				"ANALYTICS_DIR=" + filepath.Join(p.Root, "configs/analytics"),
				"WEBHOOK_ALLOW_PRIVATE=true", "AUTH_ANONYMOUS=admin", "LOG_LEVEL=error", "LOG_FORMAT=text", "SHUTDOWN_GRACE=" + shutdownGrace,
			}, settings...)
			s.members = append(s.members, m)
		}
	}
	return s, nil
}

// Start starts all and waits until they are ready.
func (s *System) Start(ctx context.Context) error {
	for _, m := range s.members {
		if err := s.start(m); err != nil {
			return err
		}
	}
	return s.Ready(ctx)
}

// start gives a member its next life, unless it was asked to stay down.
func (s *System) start(m *member) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return s.startLocked(m)
}

func (s *System) startLocked(m *member) error {
	if m.stopped {
		return nil
	}
	cmd := exec.Command(m.bin)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = m.env, s.place.Root, m.log, m.log
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	m.life++
	m.process = process
	go s.watch(m, process, m.life)
	return nil
}

// watch notes a life that ends without having been ended by Kill or Stop, and starts the next.
func (s *System) watch(m *member, process *child.Process, life int) {
	<-process.Done()
	unasked := func() bool { return m.life == life && !m.stopped }
	m.mu.Lock()
	crashed := unasked()
	m.mu.Unlock()
	if !crashed {
		return
	}
	s.mu.Lock()
	s.crashes = append(s.crashes, fmt.Sprintf("%s ended by itself: %v; see %s", m.name, process.Err(), m.log.Name()))
	s.mu.Unlock()
	_ = pause(context.Background(), crashPause)
	m.mu.Lock()
	defer m.mu.Unlock()
	if unasked() { // nobody was faster
		_ = s.startLocked(m) // if it can't be, whoever waits for it will miss it
	}
}

// Kill is kill -9 of the nth process, and its start at once.
func (s *System) Kill(n int) error {
	m := s.members[n]
	m.mu.Lock()
	m.life++ // its end is our doing
	process := m.process
	m.mu.Unlock()
	process.Kill()
	<-process.Done()
	return s.start(m)
}

// Down is kill -9 of the nth process, which stays down until Up.
func (s *System) Down(n int) {
	m := s.members[n]
	m.mu.Lock()
	m.stopped = true
	process := m.process
	m.mu.Unlock()
	process.Kill()
	<-process.Done()
}

// Up starts the nth process again.
func (s *System) Up(n int) error {
	m := s.members[n]
	m.mu.Lock()
	m.stopped = false
	m.mu.Unlock()
	return s.start(m)
}

// PID is the nth process's present id.
func (s *System) PID(n int) int {
	m := s.members[n]
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process.PID()
}

// Pause has the kernel run the nth process no more, until the function that is returned is called.
func (s *System) Pause(n int) (resume func()) {
	m := s.members[n]
	m.mu.Lock()
	process := m.process
	m.mu.Unlock()
	process.Signal(syscall.SIGSTOP)
	return func() { process.Signal(syscall.SIGCONT) }
}

// Size is the number of processes.
func (s *System) Size() int { return len(s.members) }

// Name returns what the nth process is called, such as api-1.
func (s *System) Name(n int) string { return s.members[n].name }

// URLs returns the address of a path at every API.
func (s *System) URLs(path string) []string {
	var urls []string
	for _, m := range s.members {
		if strings.HasPrefix(m.name, "api") {
			urls = append(urls, "http://"+m.addr+path)
		}
	}
	return urls
}

// Crashes tells which processes ended by themselves.
func (s *System) Crashes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.crashes)
}

// Ready waits until all processes that are up say that they are ready.
func (s *System) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, m := range s.members {
		if m.down() {
			continue
		}
		if err := until(ctx, readyPoll, func(ctx context.Context) error { return ready(ctx, m.addr) }); err != nil {
			return fmt.Errorf("%s was not ready after %s: %w%s", m.name, readyTimeout, err, crashed(s.Crashes()))
		}
	}
	return nil
}

func crashed(crashes []string) string {
	if len(crashes) == 0 {
		return ""
	}
	return "\n" + crashes[len(crashes)-1]
}

func (m *member) down() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopped
}

func ready(ctx context.Context, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// until repeats check until it passes. When ctx ends first, the error is check's last one.
func until(ctx context.Context, every time.Duration, check func(context.Context) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}

// Stop ends those whose name begins with kind ("" means all) as an operator would, and reports those
// that do not end in time or not well. Their logs are closed with the last.
func (s *System) Stop(kind string) error {
	var asked []*member
	for _, m := range s.members {
		m.mu.Lock()
		if strings.HasPrefix(m.name, kind) && !m.stopped && m.process != nil {
			m.stopped = true
			m.process.Signal(syscall.SIGTERM)
			asked = append(asked, m)
		}
		m.mu.Unlock()
	}
	var errs []error
	late := time.After(stopTimeout)
	for _, m := range asked {
		select {
		case <-m.process.Done():
			if err := m.process.Err(); err != nil {
				errs = append(errs, fmt.Errorf("%s stopped with %w", m.name, err))
			}
		case <-late:
			errs = append(errs, fmt.Errorf("%s did not stop within %s and was killed", m.name, stopTimeout))
			m.process.Kill()
			<-m.process.Done()
		}
	}
	return errors.Join(errs...)
}

// Restart starts those again whose name begins with kind and that Stop has ended.
func (s *System) Restart(ctx context.Context, kind string) error {
	for _, m := range s.members {
		if !strings.HasPrefix(m.name, kind) || !m.down() {
			continue
		}
		m.mu.Lock()
		m.stopped = false
		m.mu.Unlock()
		if err := s.start(m); err != nil {
			return err
		}
	}
	return s.Ready(ctx)
}

// Close ends all processes at once and closes their logs.
func (s *System) Close() {
	for _, m := range s.members {
		m.mu.Lock()
		m.stopped = true
		process := m.process
		m.mu.Unlock()
		if process != nil {
			process.Kill()
			<-process.Done()
		}
		_ = m.log.Close()
	}
}

// Memory returns the resident memory of each process in bytes, in the order of their numbers. Linux
// tells it; elsewhere it is an error.
func (s *System) Memory() ([]int64, error) {
	sizes := make([]int64, len(s.members))
	for i, m := range s.members {
		m.mu.Lock()
		pid := m.process.PID()
		m.mu.Unlock()
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return nil, fmt.Errorf("read the memory of %s: %w", m.name, err)
		}
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
				if err != nil {
					return nil, fmt.Errorf("read the memory of %s: %w", m.name, err)
				}
				sizes[i] = kib << 10
			}
		}
	}
	return sizes, nil
}
