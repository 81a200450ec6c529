package breakers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Book keeps changes.
type Book interface {
	// RecordBreakerChanges writes changes and the states that they lead to, those of a tenant all or none;
	// what is there already stays as it is.
	RecordBreakerChanges(ctx context.Context, changes []Change) error
	// BreakersOn returns all breakers that processes of a role on a host have recorded.
	BreakersOn(ctx context.Context, role, host string) ([]Standing, error)
}

const (
	// maxQueue bounds what is held in memory while the database is away: some megabytes at the most.
	maxQueue = 5000
	maxBatch = 100

	writeTimeout = 5 * time.Second // of one attempt
	// A write that finds the database away is tried again after retryWait, and after twice as long each
	// time, up to maxRetryWait.
	retryWait    = 100 * time.Millisecond
	maxRetryWait = 5 * time.Second
	// stopTime bounds the last writes: nobody waits longer for a history at the end of a process.
	stopTime = 3 * time.Second
)

// RecorderOptions are what a Recorder needs.
type RecorderOptions struct {
	Process Process
	// Alive reports whether a process of this host runs. What processes have left that don't is recorded
	// as gone.
	Alive func(pid int) bool
	// Unavailable reports whether a failure is the database being away, which passes.
	Unavailable func(error) bool
	Log         *slog.Logger
}

// Recorder writes changes down in the background: whoever changes a breaker waits for nothing. Changes
// that can't be written are lost, and their number is in the log.
//
// A recorder works until Stop.
type Recorder struct {
	RecorderOptions
	book Book

	life     context.Context //nolint:containedctx // ends when Stop's time is over: what is not written then is lost
	die      context.CancelFunc
	stopping chan struct{}
	done     chan struct{} // closed when the writer has ended
	queue    chan Change

	mu      sync.Mutex
	stopped bool
	lost    int               // found no room in the queue, and not in the log yet
	last    map[breaker]State // of all breakers that have changed
}

type breaker struct {
	tenantID string
	kind     Kind
	name     string
}

// NewRecorder returns a recorder that writes into a book.
func NewRecorder(b Book, o RecorderOptions) *Recorder {
	r := &Recorder{
		RecorderOptions: o, book: b, stopping: make(chan struct{}), done: make(chan struct{}),
		queue: make(chan Change, maxQueue), last: map[breaker]State{},
	}
	r.life, r.die = context.WithCancel(context.Background())
	go r.work()
	return r
}

// Add takes a change, whose ID and Process it sets. It never waits for the database or the log.
func (r *Recorder) Add(c Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	if c.To == Gone {
		delete(r.last, breaker{c.TenantID, c.Kind, c.Name})
	} else {
		r.last[breaker{c.TenantID, c.Kind, c.Name}] = c.To
	}
	select {
	case r.queue <- r.complete(c):
	default:
		r.lost++
	}
}

func (r *Recorder) complete(c Change) Change {
	c.ID, c.Process = uuid.Must(uuid.NewV7()), r.Process
	if utf8.RuneCountInString(c.Reason) > MaxReason {
		c.Reason = string([]rune(c.Reason)[:MaxReason-1]) + "…"
	}
	return c
}

// Stop writes what is held, with this process's breakers as gone, and ends the recorder. Changes that come
// later are passed over.
func (r *Recorder) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	r.mu.Lock()
	if !r.stopped {
		r.stopped = true
		close(r.stopping)
	}
	r.mu.Unlock()
	defer r.die()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
	}
	r.die()
	<-r.done // nothing it does outlasts its context
	return fmt.Errorf("changes of circuit breakers were not all written: %w", ctx.Err())
}

func (r *Recorder) work() {
	defer close(r.done)
	r.bury()
	for {
		select {
		case c := <-r.queue:
			r.write(r.fill([]Change{c}))
		case <-r.stopping: // nobody adds any more
			rest := r.fill(nil)
			for ; len(rest) == maxBatch; rest = r.fill(nil) {
				r.write(rest)
			}
			r.write(append(rest, r.farewell()...))
			return
		}
	}
}

// fill takes what is in the queue, up to a batch.
func (r *Recorder) fill(batch []Change) []Change {
	for len(batch) < maxBatch {
		select {
		case c := <-r.queue:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// farewell says of all breakers that they end with the process.
func (r *Recorder) farewell() []Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	var changes []Change
	for b, state := range r.last {
		changes = append(changes, r.complete(Change{
			TenantID: b.tenantID, Kind: b.kind, Name: b.name, From: state, To: Gone, At: time.Now(), Reason: "The process has stopped.",
		}))
	}
	return changes
}

// bury records as gone what earlier processes of this host left without a farewell. One with this
// process's own id is an earlier one: nothing has been written yet.
func (r *Recorder) bury() {
	var found []Standing
	err := r.insist(func(ctx context.Context) (err error) {
		found, err = r.book.BreakersOn(ctx, r.Process.Role, r.Process.Host)
		return err
	})
	if err != nil {
		r.Log.WarnContext(r.life, "circuit breakers of earlier processes were not looked up", "err", err)
		return
	}
	var gone []Change
	for _, s := range found {
		if s.Process.PID != r.Process.PID && r.Alive(s.Process.PID) {
			continue
		}
		c := r.complete(Change{
			TenantID: s.TenantID, Kind: s.Kind, Name: s.Name, From: s.State, To: Gone, At: time.Now(),
			Reason: "The process had ended without saying so; the next one on its host noticed.",
		})
		c.Process = s.Process
		gone = append(gone, c)
	}
	r.write(gone)
}

// write writes changes, and says in the log what was lost.
func (r *Recorder) write(changes []Change) {
	var err error
	if len(changes) > 0 {
		err = r.insist(func(ctx context.Context) error { return r.book.RecordBreakerChanges(ctx, changes) })
	}
	if err != nil {
		r.Log.ErrorContext(r.life, "changes of circuit breakers not recorded", "count", len(changes), "err", err)
	}
	r.mu.Lock()
	lost := r.lost
	r.lost = 0
	r.mu.Unlock()
	if lost > 0 {
		r.Log.ErrorContext(r.life, "changes of circuit breakers not recorded: there was no room to hold them", "count", lost)
	}
}

// insist tries again for as long as the database is away, but for once when the process stops.
func (r *Recorder) insist(try func(ctx context.Context) error) error {
	for wait := retryWait; ; wait = min(2*wait, maxRetryWait) {
		ctx, cancel := context.WithTimeout(r.life, writeTimeout)
		err := try(ctx)
		cancel()
		if err == nil || !r.Unavailable(err) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.stopping:
			timer.Stop()
			return err
		}
	}
}
