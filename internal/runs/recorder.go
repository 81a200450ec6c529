package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
)

// Inserter writes runs.
type Inserter interface {
	// InsertRuns records runs, those of a tenant all or none; those that are there already stay as they are.
	// fault.Invalid says that one of them can't be recorded at all, whatever else that trying again
	// may help.
	InsertRuns(ctx context.Context, recorded []patterns.Run) error
}

const (
	// A batch goes once it has batchRuns runs or batchBytes bytes, once its first run is batchWait
	// old, or as soon as somebody waits for it.
	batchRuns  = 500
	batchBytes = 8 << 20
	batchWait  = 250 * time.Millisecond

	// A batch that fails is tried again after retryWait, and after twice as long each time, up to
	// writeAttempts attempts or until the queue is full: new runs are worth more than old ones that
	// can't be written.
	writeAttempts = 5
	retryWait     = 100 * time.Millisecond
	writeTimeout  = 10 * time.Second // of one attempt
)

// RecorderOptions are what a Recorder needs from its process.
type RecorderOptions struct {
	// Registerer receives the metrics. Required.
	Registerer prometheus.Registerer
	// Log is told when runs are lost: once for a batch, or for a time in which the queue is full.
	// Required.
	Log *slog.Logger
	// MaxRuns and MaxBytes bound what is held in memory, runs that are being written included. Bytes
	// are estimated. 0 means 1,000 runs and 64 MiB.
	MaxRuns  int
	MaxBytes int
}

// Recorder implements patterns.Recorder: it holds runs in a bounded queue, from which one goroutine
// writes them in batches. Runs that find no room are dropped and counted, so that neither a slow
// database nor one that is away ever holds up an answer.
//
// A recorder works until Stop.
type Recorder struct {
	store    Inserter
	log      *slog.Logger
	maxRuns  int
	maxBytes int

	recorded                                  prometheus.Counter
	droppedFull, droppedFailed, droppedOnStop prometheus.Counter

	life context.Context // ends when Stop's time is over: what is not written then is dropped
	die  context.CancelFunc
	done chan struct{} // closed when the writer has ended
	wake chan struct{} // holds one token: there may be a reason to write now

	mu         sync.Mutex
	queue      []*entry // in order of arrival
	queueBytes int      // of queue
	waited     int      // entries of queue that somebody waits for
	writing    int      // runs that the writer has taken and not finished
	writeBytes int      // their size
	waiting    []*entry // for room, in order of arrival; always admitted before newer runs
	full       chan struct{}
	stopping   bool
	lossLogged bool // that the queue is full; until it isn't
}

// entry is a run on its way.
type entry struct {
	run     patterns.Run
	size    int
	since   time.Time  // when it was admitted
	written chan error // receives the outcome, once; nil when nobody waits for it
}

// NewRecorder returns a recorder that writes to store.
func NewRecorder(store Inserter, opts RecorderOptions) *Recorder {
	r := &Recorder{
		store: store, log: opts.Log, maxRuns: opts.MaxRuns, maxBytes: opts.MaxBytes,
		done: make(chan struct{}), wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
	if r.maxRuns == 0 {
		r.maxRuns = 1000
	}
	if r.maxBytes == 0 {
		r.maxBytes = 64 << 20
	}
	factory := promauto.With(opts.Registerer)
	r.recorded = factory.NewCounter(prometheus.CounterOpts{
		Name: "dawsos_runs_recorded_total", Help: "Pattern runs written to the history.",
	})
	dropped := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_runs_dropped_total",
		Help: "Pattern runs that are missing in the history: no room in the queue, not written after all attempts, or left when the process ended.",
	}, []string{"reason"})
	r.droppedFull = dropped.WithLabelValues("queue_full")
	r.droppedFailed = dropped.WithLabelValues("write_failed")
	r.droppedOnStop = dropped.WithLabelValues("shutdown")
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dawsos_run_queue_length", Help: "Pattern runs held in memory until they are written.",
	}, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(len(r.queue) + r.writing)
	})
	r.life, r.die = context.WithCancel(context.Background())
	go r.work()
	return r
}

// Record implements patterns.Recorder. With wait it waits for room, and then until the run is
// durable. Its errors are fault.Unavailable when the run was not recorded in ctx's time, the
// database failed or the process stops, fault.Invalid for a run that can't be stored, and ctx's when
// the caller went away; the run may then be recorded all the same.
//
// The run's maps and slices must not be changed afterwards.
func (r *Recorder) Record(ctx context.Context, run patterns.Run, wait bool) error {
	e := &entry{run: run, size: sizeOf(run)}
	if wait {
		e.written = make(chan error, 1)
	}
	r.mu.Lock()
	switch {
	case r.stopping:
		r.mu.Unlock()
		r.droppedOnStop.Inc()
		if wait {
			return errStopping
		}
		return nil
	case len(r.waiting) == 0 && r.roomFor(e):
		r.admit(e)
	case !wait:
		r.signal(r.full)
		first := !r.lossLogged
		r.lossLogged = true
		r.mu.Unlock()
		r.droppedFull.Inc()
		if first {
			r.log.WarnContext(ctx, "no room to record pattern runs, dropping them", "queue_runs", r.maxRuns, "queue_bytes", r.maxBytes)
		}
		return nil
	default:
		r.signal(r.full)
		r.waiting = append(r.waiting, e)
	}
	r.mu.Unlock()
	if !wait {
		return nil
	}

	select {
	case err := <-e.written:
		return err
	case <-ctx.Done():
	}
	r.mu.Lock()
	if i := slices.Index(r.waiting, e); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
		r.admitWaiting() // a smaller one behind it may fit
		r.mu.Unlock()
		r.droppedFull.Inc()
		return tooLate(ctx.Err(), "there was no room for it in the time that the request had")
	}
	r.mu.Unlock()
	return tooLate(ctx.Err(), "that was not confirmed in the time that the request had")
}

var errStopping = fault.New(fault.Unavailable, "the run was not recorded: the process is stopping")

// tooLate leaves a caller's leaving what it is.
func tooLate(err error, why string) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "the run was not recorded: %s", why)
}

// Stop writes what is held, drops what it has no time for when ctx ends, and ends the recorder.
// Runs that come later are dropped.
func (r *Recorder) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	r.signal(r.wake)
	defer r.die()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
	}
	r.die()
	<-r.done // nothing it does outlasts its context
	return fmt.Errorf("recorded runs were not all written: %w", ctx.Err())
}

// roomFor reports whether e may be held. A run too large for the queue may when it is alone.
func (r *Recorder) roomFor(e *entry) bool {
	held := len(r.queue) + r.writing
	return held == 0 || held < r.maxRuns && r.queueBytes+r.writeBytes+e.size <= r.maxBytes
}

// admit puts e into the queue.
func (r *Recorder) admit(e *entry) {
	e.since = time.Now()
	r.queue = append(r.queue, e)
	r.queueBytes += e.size
	if e.written != nil {
		r.waited++
	}
	if len(r.queue) == 1 || r.ready() {
		r.signal(r.wake)
	}
}

func (r *Recorder) admitWaiting() {
	for len(r.waiting) > 0 && r.roomFor(r.waiting[0]) {
		r.admit(r.waiting[0])
		r.waiting = slices.Delete(r.waiting, 0, 1)
	}
}

// ready reports whether there is a batch to write without waiting for more.
func (r *Recorder) ready() bool {
	return len(r.queue) >= batchRuns || r.queueBytes >= batchBytes || len(r.queue) > 0 && (r.waited > 0 || r.stopping)
}

// signal leaves a token where there is none.
func (*Recorder) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// work writes batches until the recorder stops and nothing is left.
func (r *Recorder) work() {
	defer close(r.done)
	for {
		batch, wait, more := r.take()
		if !more {
			return
		}
		if len(batch) > 0 {
			r.write(batch)
			continue
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-r.wake:
		case <-due:
		}
	}
}

// take returns the next batch when it is time to write it, else how long that is off: 0 for as long
// as nothing comes. At the end there is no more.
func (r *Recorder) take() (batch []*entry, wait time.Duration, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil, 0, !r.stopping
	}
	if !r.ready() {
		if wait = time.Until(r.queue[0].since.Add(batchWait)); wait > 0 {
			return nil, wait, true
		}
	}
	size, n := 0, 0
	for n < min(len(r.queue), batchRuns) && (n == 0 || size+r.queue[n].size <= batchBytes) {
		size += r.queue[n].size
		n++
	}
	batch = slices.Clone(r.queue[:n])
	r.queue = slices.Delete(r.queue, 0, n)
	r.queueBytes -= size
	for _, e := range batch {
		if e.written != nil {
			r.waited--
		}
	}
	r.writing, r.writeBytes = n, size
	return batch, 0, true
}

// write writes a batch, tells those who wait, and makes room.
func (r *Recorder) write(batch []*entry) {
	lost, err := r.save(batch)
	if lost > 0 {
		r.log.ErrorContext(r.life, "pattern runs not recorded", "count", lost, "err", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing, r.writeBytes = 0, 0
	r.lossLogged = r.lossLogged && err != nil
	r.admitWaiting()
}

// save writes runs, halving what holds one that can't be stored until that one is alone. It returns
// how many were lost and why the last of them was.
func (r *Recorder) save(batch []*entry) (lost int, err error) {
	err = r.insert(batch)
	if len(batch) > 1 && fault.CodeOf(err) == fault.Invalid {
		half := len(batch) / 2
		lost1, err1 := r.save(batch[:half])
		lost2, err2 := r.save(batch[half:])
		if err2 == nil {
			err2 = err1
		}
		return lost1 + lost2, err2
	}
	told := err
	switch {
	case err == nil:
		r.recorded.Add(float64(len(batch)))
	case r.life.Err() != nil:
		lost, told = len(batch), errStopping
		r.droppedOnStop.Add(float64(lost))
	default:
		lost = len(batch)
		r.droppedFailed.Add(float64(lost))
		if fault.CodeOf(err) != fault.Invalid {
			told = fault.Wrap(err, fault.Unavailable, "the run was not recorded: the database did not take it")
		}
	}
	for _, e := range batch {
		if e.written != nil {
			e.written <- told
		}
	}
	return lost, err
}

// insert makes attempts at a batch.
func (r *Recorder) insert(batch []*entry) error {
	recorded := make([]patterns.Run, len(batch))
	for i, e := range batch {
		recorded[i] = e.run
	}
	select {
	case <-r.full: // of an earlier time
	default:
	}
	wait := retryWait
	for attempt := 1; ; attempt++ {
		ctx, cancel := context.WithTimeout(r.life, writeTimeout)
		err := r.store.InsertRuns(ctx, recorded)
		cancel()
		if err == nil || fault.CodeOf(err) == fault.Invalid || attempt == writeAttempts {
			return err
		}
		select {
		case <-time.After(wait):
			wait *= 2
		case <-r.full:
			return err
		case <-r.life.Done():
			return err
		}
	}
}

// sizeOf estimates how much memory a run holds.
func sizeOf(r patterns.Run) int {
	const fixed = 1 << 10
	n := fixed + len(r.ErrorDetail) + sizeOfValue(r.Inputs) + sizeOfSteps(r.Trace.Steps) +
		sizeOfTexts(r.Warnings) + sizeOfTexts(r.Trace.AgentsUsed) + sizeOfTexts(r.Trace.CapabilitiesUsed) + sizeOfTexts(r.Trace.Sources)
	for id, version := range r.Trace.LedgerVersions {
		n += 64 + len(id) + len(version)
	}
	for _, s := range r.Trace.Staleness {
		n += 96 + len(s.OldestSource)
	}
	return n
}

func sizeOfSteps(steps []patterns.StepTrace) int {
	n := 0
	for _, s := range steps {
		n += 224 + len(s.Reason) + len(s.Error) + sizeOfSteps(s.Steps)
	}
	return n
}

func sizeOfTexts(texts []string) int {
	n := 0
	for _, s := range texts {
		n += 16 + len(s)
	}
	return n
}

// sizeOfValue is that of a JSON value.
func sizeOfValue(v any) int {
	const header = 16
	switch v := v.(type) {
	case string:
		return header + len(v)
	case json.Number:
		return header + len(v)
	case []any:
		n := header
		for _, item := range v {
			n += sizeOfValue(item)
		}
		return n
	case map[string]any:
		n := header
		for key, item := range v {
			n += 2*header + len(key) + sizeOfValue(item)
		}
		return n
	}
	return header
}
