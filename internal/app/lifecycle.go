package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// lifecycle runs the parts of a process and stops them: in the reverse order of their start, in
// bounded time, all of them even when one fails.
type lifecycle struct {
	log   *slog.Logger
	grace time.Duration
	stops []stop
	died  chan error
	tls   *tls.Config // what servers speak; nil for plain HTTP
}

type stop struct {
	name string
	run  func(ctx context.Context) error
}

func newLifecycle(log *slog.Logger, grace time.Duration) *lifecycle {
	return &lifecycle{log: log, grace: grace, died: make(chan error, 1)}
}

// onStop registers what stops a part that has just been started.
func (l *lifecycle) onStop(name string, run func(ctx context.Context) error) {
	l.stops = append(l.stops, stop{name, run})
}

// fail ends the process: a part it can't do without has died.
func (l *lifecycle) fail(err error) {
	select {
	case l.died <- err:
	default: // the first reason is the one that counts
	}
}

// wait blocks until ctx ends, which is a stop in good order, or a part dies.
func (l *lifecycle) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		l.log.InfoContext(ctx, "stopping: finishing what is running", "grace", l.grace)
		return nil
	case err := <-l.died:
		l.log.ErrorContext(ctx, "stopping: a part died", "err", err)
		return err
	}
}

// shutdown stops every part. The grace period is for all of them together; a part that is reached
// after it gets a context that has ended, and is expected to let go at once.
func (l *lifecycle) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), l.grace)
	defer cancel()
	var errs []error
	for i := len(l.stops) - 1; i >= 0; i-- {
		s := l.stops[i]
		if err := s.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
		}
	}
	l.stops = nil
	return errors.Join(errs...)
}

// mostStreams is how many requests one connection of HTTP/2 may have under way.
const mostStreams = 100

// serve starts an HTTP server, which speaks TLS when the process has a certificate, and registers its
// stop. The listener is opened here, so that an address in use is an error of the start. read bounds a
// client that sends slowly, write the answer with the work behind it and a client that does not read. Each
// of bounds wraps the listener.
func (l *lifecycle) serve(ctx context.Context, name, addr string, handler http.Handler, read, write time.Duration, bounds ...func(net.Listener) net.Listener) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, bound := range bounds {
		listener = bound(listener)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       read,
		WriteTimeout:      write,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: mostStreams},
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelWarn),
	}
	run := server.Serve
	if l.tls != nil {
		server.TLSConfig = l.tls.Clone() // the server adds to it
		run = func(listener net.Listener) error { return server.ServeTLS(listener, "", "") }
	}
	go func() {
		if err := run(listener); !errors.Is(err, http.ErrServerClosed) {
			l.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	l.log.InfoContext(ctx, "listening", "server", name, "addr", listener.Addr().String(), "tls", l.tls != nil)
	l.onStop(name, func(ctx context.Context) error {
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	})
	return nil
}
