package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/tidwall/gjson"

	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/periodic"
)

// Ending is how a run ended.
type Ending struct {
	State  periodic.State // Succeeded, Failed or Skipped
	Error  string         // why it failed or was skipped
	Detail json.RawMessage
	At     time.Time

	// Next is the job of the nightly order to be put in, nil for none; SkippedJobs those that are recorded
	// as skipped because this one failed.
	Next        river.JobArgs
	SkippedJobs []string
}

// RunBook records runs.
type RunBook interface {
	// BeginRun records that a River job is being worked, and returns the run's id. The same attempt of the
	// same job is the same run.
	BeginRun(ctx context.Context, r periodic.Run, jobID int64) (uuid.UUID, error)
	// EndRun records how a run ended and puts in what follows, in one transaction.
	EndRun(ctx context.Context, r periodic.Run, e Ending) error
}

// Recorder records every run of the periodic jobs, counts it, and puts in the next job of the nightly
// order. It is a middleware of the worker's client; jobs that are not periodic pass through it.
//
// A run whose beginning can't be recorded is made all the same and recorded nowhere, unless it is part of
// a nightly order: what can't be told cannot go on either, and River tries it again.
type Recorder struct {
	river.MiddlewareDefaults
	book     RunBook
	kinds    map[string]bool
	runs     *prometheus.CounterVec
	duration *prometheus.HistogramVec
	log      *slog.Logger
	now      func() time.Time
}

var _ rivertype.WorkerMiddleware = (*Recorder)(nil)

// recordRunTime bounds what recording may take, also while the worker stops.
const recordRunTime = 10 * time.Second

// runStates are the values of the label status.
var runStates = []periodic.State{periodic.Succeeded, periodic.Failed, periodic.Skipped}

// NewRecorder returns the middleware for the jobs of all.
func NewRecorder(b RunBook, all []Periodic, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) *Recorder {
	f := promauto.With(reg)
	r := &Recorder{
		book: b, kinds: map[string]bool{}, log: log, now: now,
		runs: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_job_runs_total", Help: "Runs of periodic jobs that this process made, by how they ended: succeeded, failed, skipped.",
		}, []string{"job", "status"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dawsos_job_duration_seconds", Help: "Time that a run of a periodic job took, however it ended.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10), NativeHistogramBucketFactor: 1.1, // to 44 minutes
		}, []string{"job"}),
	}
	for _, p := range all {
		r.kinds[p.Name()] = true
		r.duration.WithLabelValues(p.Name())
		for _, s := range runStates {
			r.runs.WithLabelValues(p.Name(), string(s))
		}
	}
	return r
}

// Notes is what a worker says of its run.
type Notes struct {
	mu      sync.Mutex
	detail  any
	skipped string
}

type notesKey struct{}

// NotesOf returns the notes of the run that is being made; outside of one, notes that nobody reads.
func NotesOf(ctx context.Context) *Notes {
	if n, ok := ctx.Value(notesKey{}).(*Notes); ok {
		return n
	}
	return &Notes{}
}

// Detail keeps what the run came to, as JSON.
func (n *Notes) Detail(v any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.detail = v
}

// Skip says why the run did not do what it is for. That is no failure.
func (n *Notes) Skip(reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.skipped = reason
}

func (n *Notes) read() (detail json.RawMessage, skipped string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	detail = json.RawMessage("{}")
	if n.detail != nil {
		if raw, err := json.Marshal(n.detail); err == nil {
			detail = raw
		}
	}
	return detail, n.skipped
}

// Work implements rivertype.WorkerMiddleware.
func (r *Recorder) Work(ctx context.Context, job *rivertype.JobRow, next func(context.Context) error) error {
	if !r.kinds[job.Kind] {
		return next(ctx)
	}
	begun := r.now()
	link := linkOf(job.Kind, job.ID, job.EncodedArgs)
	run := periodic.Run{
		Job: job.Kind, TenantID: link.TenantID, Trigger: triggerOf(job, link), Attempt: job.Attempt, StartedAt: begun.UTC(), State: periodic.Running,
	}
	run.Chain, _ = uuid.Parse(link.Chain) // the zero UUID where there is none
	if err := r.begin(ctx, &run, job.ID); err != nil {
		if link.Chain != "" {
			return fmt.Errorf("record the beginning of %s: %w", job.Kind, err)
		}
		r.log.WarnContext(ctx, "the run of a periodic job is not recorded", "job", job.Kind, "err", err)
	}
	notes := &Notes{}
	err := next(context.WithValue(ctx, notesKey{}, notes))
	if isSnooze(err) {
		return err // it goes on, as the same run
	}
	r.duration.WithLabelValues(job.Kind).Observe(r.now().Sub(begun).Seconds())

	e := Ending{State: periodic.Succeeded, At: r.now().UTC()}
	e.Detail, e.Error = notes.read()
	switch {
	case err != nil:
		e.State, e.Error = periodic.Failed, err.Error()
	case e.Error != "":
		e.State = periodic.Skipped
	}
	r.runs.WithLabelValues(job.Kind, string(e.State)).Inc()
	// Not the last word: River makes another attempt, or hands back what a stop has interrupted.
	again := err != nil && (job.Attempt < job.MaxAttempts || ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded))
	if !again {
		e.Next, e.SkippedJobs = follow(job.Kind, link, e.State == periodic.Failed)
	}
	if run.ID == uuid.Nil {
		return err
	}
	if recordErr := r.end(ctx, run, e); recordErr != nil {
		recordErr = fmt.Errorf("record the end of %s: %w", job.Kind, recordErr)
		if link.Chain != "" {
			return errors.Join(err, recordErr)
		}
		r.log.WarnContext(ctx, "the end of a periodic job's run is not recorded", "job", job.Kind, "err", recordErr)
	}
	return err
}

func (r *Recorder) begin(ctx context.Context, run *periodic.Run, jobID int64) (err error) {
	ctx, cancel := context.WithTimeout(ctx, recordRunTime)
	defer cancel()
	run.ID, err = r.book.BeginRun(ctx, *run, jobID)
	return err
}

func (r *Recorder) end(ctx context.Context, run periodic.Run, e Ending) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordRunTime)
	defer cancel()
	return r.book.EndRun(ctx, run, e)
}

// triggerOf tells what put a job in: what it says itself, else its place in a nightly order, else its
// schedule.
func triggerOf(job *rivertype.JobRow, l Link) periodic.Trigger {
	switch t := periodic.Trigger(gjson.GetBytes(job.Metadata, triggerKey).String()); t {
	case periodic.BySchedule, periodic.ByHand, periodic.ByImport, periodic.ByChain:
		return t
	}
	if l.Chain != "" && job.Kind != kindBuild {
		return periodic.ByChain
	}
	return periodic.BySchedule
}

// RunHistory tells how jobs went.
type RunHistory interface {
	// LastSuccesses returns when each job last ended well; jobs that never did are absent.
	LastSuccesses(ctx context.Context, names []string) (map[string]time.Time, error)
	// PackStates counts pricing packs by state.
	PackStates(ctx context.Context) (map[packs.State]int64, error)
}

// RunCollector is a prometheus.Collector of when jobs last succeeded and are next due, and of the states of
// pricing packs. It reads both from the database, at most once in collectFresh, so that a worker which has
// just started, or did not make the run itself, tells the same. What can't be read is absent.
type RunCollector struct {
	history RunHistory
	all     []Periodic
	started time.Time
	log     *slog.Logger
	now     func() time.Time

	mu   sync.Mutex
	read time.Time
	last []prometheus.Metric
}

const (
	collectFresh   = 5 * time.Second
	collectTimeout = 3 * time.Second
)

// NewRunCollector returns the collector for the jobs of all.
func NewRunCollector(h RunHistory, all []Periodic, log *slog.Logger, now func() time.Time) *RunCollector {
	return &RunCollector{history: h, all: all, started: now(), log: log, now: now}
}

var (
	successDesc = prometheus.NewDesc("dawsos_job_last_success_timestamp_seconds",
		"When a periodic job last succeeded, in any process; 0 when no success is recorded.", []string{"job"}, nil)
	dueDesc = prometheus.NewDesc("dawsos_job_due_timestamp_seconds",
		"When a periodic job should next have succeeded: the time that its schedule names after its last success, or after this process's start when there is none. "+
			"Jobs without a schedule, or switched off, have none.", []string{"job"}, nil)
	packsDesc = prometheus.NewDesc("dawsos_pricing_packs", "Pricing packs by state.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (*RunCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{successDesc, dueDesc, packsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *RunCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.IsZero() || c.now().Sub(c.read) >= collectFresh {
		c.last, c.read = c.collect(), c.now()
	}
	for _, m := range c.last {
		ch <- m
	}
}

func (c *RunCollector) collect() []prometheus.Metric {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	names := make([]string, len(c.all))
	for i, p := range c.all {
		names[i] = p.Name()
	}
	successes, err := c.history.LastSuccesses(ctx, names)
	var states map[packs.State]int64
	if err == nil {
		states, err = c.history.PackStates(ctx)
	}
	if err != nil {
		c.log.WarnContext(ctx, "runs of jobs can't be read, their metrics are absent", "err", err)
		return nil
	}
	var metrics []prometheus.Metric
	gauge := func(d *prometheus.Desc, v float64, label string) {
		metrics = append(metrics, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label))
	}
	for _, p := range c.all {
		last, ok := successes[p.Name()]
		if !ok {
			last = c.started
			gauge(successDesc, 0, p.Name())
		} else {
			gauge(successDesc, seconds(last), p.Name())
		}
		if due := p.due().Next(last); !due.IsZero() && p.Off == "" {
			gauge(dueDesc, seconds(due), p.Name())
		}
	}
	for _, s := range packs.States() {
		gauge(packsDesc, float64(states[s]), string(s))
	}
	return metrics
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// CatchUp returns the jobs whose time passed while no worker was there, from when they last began. Jobs
// that run as the worker starts, or have never run, are not among them.
func CatchUp(all []Periodic, lastBegun map[string]time.Time, now time.Time) []Periodic {
	return slices.DeleteFunc(slices.Clone(all), func(p Periodic) bool {
		begun, known := lastBegun[p.Name()]
		return !known || p.Off != "" || p.Schedule.Never() || p.Schedule.Interval() > 0 || p.Schedule.Next(begun).After(now)
	})
}
