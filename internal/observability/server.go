package observability

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dawsos/dawsos/internal/devpg/child"
)

// tailBytes is how much of the end of a log an error quotes.
const tailBytes = 2 << 10

// launch is how a server is started.
type launch struct {
	name    string // in compose.yaml
	program string // path; "" when there is none
	args    []string
	env     []string // beside PATH and HOME
	health  string   // answers 200 when it is ready
}

// server is one that runs.
type server struct {
	name     string
	health   string
	logFile  string
	process  *child.Process
	stopping chan struct{}
}

// start runs the program, its output going to a file of the folder that is begun anew.
func (l launch) start(logs string) (*server, error) {
	path := filepath.Join(logs, l.name+".log")
	log, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", l.name, err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(l.program, l.args...)
	// Nothing else of ours: what a variable means to one of them is not what it means to another.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, l.env...)
	cmd.Dir = logs // where those that drop something would not litter the project
	cmd.Stdout, cmd.Stderr = log, log
	process, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	return &server{name: l.name, health: l.health, logFile: path, process: process, stopping: make(chan struct{})}, nil
}

// ready waits until the server answers.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		err := answers(ctx, s.health)
		if err == nil {
			return nil
		}
		select {
		case <-s.process.Done():
			return s.endedByItself()
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready in time: %w%s", s.name, err, s.tail())
		case <-ticker.C:
		}
	}
}

// answers asks once.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	request.Close = true // one that is not ready need not keep a connection
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}

// stop asks the server to stop and waits until it has. One that ended by itself is no error here.
func (s *server) stop(force <-chan struct{}) error {
	close(s.stopping)
	select {
	case <-s.process.Done():
		return nil
	default:
	}
	s.process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	var err error
	select {
	case <-s.process.Done():
		return s.stoppedBadly()
	case <-force:
		err = fmt.Errorf("%s was killed before it had stopped, as asked", s.name)
	case <-timer.C:
		err = fmt.Errorf("%s did not stop within %s and was killed%s", s.name, stopTimeout, s.tail())
	}
	s.process.Kill()
	<-s.process.Done()
	return err
}

// stoppedBadly is the failure with which a server stopped. Not to handle the signal is none: the
// exporter has nothing to put in order.
func (s *server) stoppedBadly() error {
	err := s.process.Err()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGTERM {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s stopped with %w%s", s.name, err, s.tail())
	}
	return nil
}

func (s *server) endedByItself() error {
	ending := "exit status 0"
	if err := s.process.Err(); err != nil {
		ending = err.Error()
	}
	return fmt.Errorf("%s ended by itself with %s%s", s.name, ending, s.tail())
}

// tail quotes the end of the log and says where all of it is.
func (s *server) tail() string {
	raw, err := os.ReadFile(s.logFile)
	if err != nil {
		return "; its log can't be read: " + err.Error()
	}
	if len(raw) > tailBytes {
		raw = raw[len(raw)-tailBytes:]
	}
	if len(raw) == 0 {
		return "; it logged nothing"
	}
	text := strings.ReplaceAll(strings.TrimSpace(strings.ToValidUTF8(string(raw), "")), "\n", "\n  ")
	return "; the end of " + s.logFile + ":\n  " + text
}
