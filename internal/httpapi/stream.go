package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
)

const (
	// defaultHeartbeat is well below what proxies allow a silent connection.
	defaultHeartbeat = 15 * time.Second
	// eventTimeout is how long a client may take to make room for what it is sent, besides the time
	// that a slow line needs for it: answers may be large.
	eventTimeout = 10 * time.Second
	slowLine     = 64 << 10 // bytes a second
)

// stream runs a pattern and tells the client what happens while it does. Until the run begins it
// fails like any request; from then on the status is 200, and the last event holds the outcome.
//
// The run goes on in a goroutine of its own. This one writes, and never leaves before the run has
// ended, which a client that is gone or stuck brings about by canceling it.
func (b *byHand) stream(c echo.Context, req patterns.Request) error {
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	queue := newQueue()
	req.OnEvent = queue.push
	ended := make(chan outcome, 1)
	go func() { ended <- b.run(ctx, req) }()

	heartbeat := time.NewTicker(b.heartbeat)
	defer heartbeat.Stop()
	w := newEvents(c)
	for {
		var err error
		select {
		case <-queue.filled:
			err = w.events(queue.take())
		case <-heartbeat.C:
			if w.begun() {
				err = w.comment("heartbeat")
			}
		case o := <-ended:
			happened := queue.take()
			if o.err != nil && !w.begun() && len(happened) == 0 {
				return o.err
			}
			return b.finish(c, w, happened, o)
		}
		if err != nil {
			cancel()
			<-ended
			c.Set(outcomeKey, string(fault.Canceled))
			return nil // there is nobody to tell
		}
		heartbeat.Reset(b.heartbeat)
	}
}

// outcome is what a run came to.
type outcome struct {
	answer *patterns.Answer
	err    error
}

// run executes a pattern where no middleware catches panics.
func (b *byHand) run(ctx context.Context, req patterns.Request) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			o = outcome{err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	answer, err := b.h.Patterns.Execute(ctx, req)
	return outcome{answer, err}
}

// finish writes a stream's last events.
func (b *byHand) finish(c echo.Context, w *events, happened []patterns.Event, o outcome) error {
	name, result := "answer", succeeded
	var data []byte
	if o.err == nil {
		data = appendAnswer(nil, o.answer)
	} else {
		p, _ := b.s.problem(o.err, c)
		name, result, data = "problem", p.Code, b.s.encode(p, c)
	}
	w.buffer(happened)
	w.event(name, data)
	if err := w.send(true); err != nil {
		result = string(fault.Canceled)
	}
	c.Set(outcomeKey, result)
	return nil
}

// queue hands a run's events on without ever holding it up. It grows as needed: a run has a few
// events for each of its steps, whose number is bounded.
type queue struct {
	filled chan struct{} // has an element when there may be events

	mu     sync.Mutex
	events []patterns.Event
}

func newQueue() *queue { return &queue{filled: make(chan struct{}, 1)} }

// push takes an event on. What it points to is copied: it is the engine's.
func (q *queue) push(e patterns.Event) {
	if e.Trace != nil {
		e.Trace = new(*e.Trace)
	}
	if e.Step != nil {
		e.Step = new(*e.Step)
	}
	q.mu.Lock()
	q.events = append(q.events, e)
	q.mu.Unlock()
	select {
	case q.filled <- struct{}{}:
	default: // whoever takes is already called
	}
}

func (q *queue) take() []patterns.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events = nil
	return events
}

// events writes server-sent events (HTML standard, section 9.2).
type events struct {
	response *echo.Response
	control  *http.ResponseController
	id       int
	pending  []byte
}

func newEvents(c echo.Context) *events {
	// Echo's own Flush panics where there is none, and hides the error where there is.
	return &events{response: c.Response(), control: http.NewResponseController(c.Response().Writer)}
}

// begun reports whether anything has been sent, the status with it.
func (w *events) begun() bool { return w.response.Committed }

// events sends what has happened in a run.
func (w *events) events(happened []patterns.Event) error {
	if len(happened) == 0 {
		return nil
	}
	w.buffer(happened)
	return w.send(false)
}

// comment sends a line that clients skip.
func (w *events) comment(text string) error {
	w.pending = append(append(append(w.pending, ": "...), text...), "\n\n"...)
	return w.send(false)
}

// buffer writes what has happened in a run, to be sent with what follows.
func (w *events) buffer(happened []patterns.Event) {
	var data []byte
	for _, e := range happened {
		switch {
		case e.Trace != nil:
			data = appendStarted(data[:0], e.RunID, e.Trace)
		case e.Step != nil:
			data = appendStep(data[:0], e.Step)
		default:
			continue
		}
		w.event(string(e.Type), data)
	}
}

// event writes one event, to be sent with what follows.
func (w *events) event(name string, data []byte) {
	w.id++
	w.pending = strconv.AppendInt(append(w.pending, "id: "...), int64(w.id), 10)
	w.pending = append(append(w.pending, "\nevent: "...), name...)
	for { // JSON is one line, unless whoever wrote the result of a capability put more in it
		end := bytes.IndexAny(data, "\r\n")
		if end < 0 {
			break
		}
		w.pending = append(append(w.pending, "\ndata: "...), data[:end]...)
		data = data[end+1:]
	}
	w.pending = append(append(w.pending, "\ndata: "...), data...)
	w.pending = append(w.pending, "\n\n"...)
}

// send sends what is pending, in bounded time. Between two sends there is no deadline, so that the
// server's, which is about ordinary answers, does not cut the run short; after the last there is,
// for what the server itself still has to send.
func (w *events) send(last bool) error {
	if !w.begun() {
		header := w.response.Header()
		header.Set(echo.HeaderContentType, eventStream)
		header.Set(echo.HeaderCacheControl, "no-store")
		header.Set("X-Accel-Buffering", "no") // nginx would collect events
	}
	needed := time.Duration(len(w.pending)/slowLine) * time.Second
	if err := w.deadline(time.Now().Add(eventTimeout + needed)); err != nil {
		return err
	}
	if _, err := w.response.Write(w.pending); err != nil {
		return err
	}
	w.pending = w.pending[:0]
	if err := w.control.Flush(); err != nil {
		return err
	}
	if last {
		return nil
	}
	return w.deadline(time.Time{})
}

func (w *events) deadline(t time.Time) error {
	if err := w.control.SetWriteDeadline(t); !errors.Is(err, http.ErrNotSupported) { // recorders have none
		return err
	}
	return nil
}
