package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"syscall"
	"time"

	"github.com/dawsos/dawsos/internal/devpg/child"
)

const readyPoll = 50 * time.Millisecond

// supervisor runs the parts of the system as processes of their own and stops them together.
type supervisor struct {
	console *console
	// grace is how long a part may take to stop before it is killed.
	grace time.Duration
	parts []*part
	// failed carries the first part that ended without being asked to.
	failed   chan error
	stopping chan struct{}
}

type part struct {
	name    string
	process *child.Process
	output  *stream
}

func newSupervisor(c *console, grace time.Duration) *supervisor {
	return &supervisor{console: c, grace: grace, failed: make(chan error, 1), stopping: make(chan struct{})}
}

// start runs a part, its output going to the console under its name.
func (s *supervisor) start(name string, cmd *exec.Cmd) error {
	output := s.console.stream(name)
	cmd.Stdout, cmd.Stderr = output, output
	process, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p := &part{name: name, process: process, output: output}
	s.parts = append(s.parts, p)
	s.watch(process.Done(), func() error {
		return fmt.Errorf("%s ended by itself with %s%s", name, ending(process.Err()), output.tail())
	})
	return nil
}

// watch reports cause as the failure when done closes before stop is called.
func (s *supervisor) watch(done <-chan struct{}, cause func() error) {
	go func() {
		<-done
		select {
		case <-s.stopping:
			return
		default:
		}
		select {
		case s.failed <- cause():
		default: // another part ended first; this one may well have followed it
		}
	}()
}

// ready waits until url answers 200. It ends early when a part dies.
func (s *supervisor) ready(ctx context.Context, name, url string, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s was not ready after %s", name, limit))
	defer cancel()
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	last := errors.New("it did not answer")
	for {
		answered, err := probe(ctx, url)
		if answered {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w", context.Cause(ctx), url, last)
		case <-ticker.C:
		}
	}
}

func probe(ctx context.Context, url string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("it answers %s", response.Status)
	}
	return true, nil
}

// signal passes a signal on to a part.
func (s *supervisor) signal(name string, sig syscall.Signal) {
	for _, p := range s.parts {
		if p.name == name {
			p.process.Signal(sig)
		}
	}
}

// stop asks all parts to stop and waits until they have. Those that take longer than the grace, or
// that are still there when force closes, are killed. The error names them, and those that ended
// with a failure. It is called once.
func (s *supervisor) stop(force <-chan struct{}) error {
	close(s.stopping)
	asked := make([]*part, 0, len(s.parts))
	for _, p := range s.parts {
		select {
		case <-p.process.Done(): // ended before; why is known already
		default:
			p.process.Signal(syscall.SIGTERM)
			asked = append(asked, p)
		}
	}
	timer := time.NewTimer(s.grace)
	defer timer.Stop()
	late := timer.C
	var errs []error
	for _, p := range asked {
		select {
		case <-p.process.Done():
			if err := p.process.Err(); err != nil {
				errs = append(errs, fmt.Errorf("%s stopped with %s%s", p.name, ending(err), p.output.tail()))
			}
			continue
		case <-force:
			errs = append(errs, fmt.Errorf("%s was killed before it had stopped, as asked", p.name))
		case <-late:
			errs = append(errs, fmt.Errorf("%s did not stop within %s and was killed", p.name, s.grace))
			late = closed // the others have had as long
		}
		p.process.Kill()
		<-p.process.Done()
	}
	return errors.Join(errs...)
}

// closed is a timer's channel that has fired for good.
var closed = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// ending says how a process ended.
func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}
