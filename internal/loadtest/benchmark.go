package loadtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/dawsos/dawsos/internal/devpg/child"
)

// BenchmarkOptions say how long is measured.
type BenchmarkOptions struct {
	Rounds      int           // of each measurement; ours and the baseline take turns in each
	Round       time.Duration // of load, for each side of a round
	Letters     int           // drained in each round of the drain
	Concurrency int           // requests under way
	// Baseline starts the program that calls ServeBaseline with the address and the database.
	Baseline func(addr, databaseURL string) *exec.Cmd
}

// Side is what one of the two compared did: the median over rounds.
type Side struct {
	Rates []float64 `json:"rates"` // events a second, by round
	Rate  float64   `json:"rate"`  // their median
	P50   float64   `json:"p50_seconds,omitempty"`
	P99   float64   `json:"p99_seconds,omitempty"`

	p50, p99 []float64
}

func (s *Side) add(sent Sent) {
	s.Rates = append(s.Rates, sent.Rate())
	s.p50 = append(s.p50, sent.Latency(0.5).Seconds())
	s.p99 = append(s.p99, sent.Latency(0.99).Seconds())
	s.Rate, s.P50, s.P99 = quantile(s.Rates, 0.5), quantile(s.p50, 0.5), quantile(s.p99, 0.5)
}

// Comparison is one measurement with its baseline.
type Comparison struct {
	Name     string  `json:"name"`
	Against  string  `json:"against"`
	Ours     Side    `json:"ours"`
	Baseline Side    `json:"baseline"`
	Ratio    float64 `json:"ratio"` // ours by the baseline's
	Aim      float64 `json:"aim"`   // of the ratio; 0 for none
	Skipped  string  `json:"skipped,omitempty"`
}

// BenchmarkReport is all of them, from one run.
type BenchmarkReport struct {
	Concurrency int          `json:"concurrency"`
	Rounds      int          `json:"rounds"`
	Comparisons []Comparison `json:"comparisons"`
}

// benchmark is one run.
type benchmark struct {
	place    Place
	options  BenchmarkOptions
	pool     *pgxpool.Pool
	system   *System
	baseline string // the bare program's address
	receiver *Receiver
	report   BenchmarkReport
	runs     int // so that no two loads say the same
}

// The aims of the ratios.
const (
	aimDeliver = 1.0
	aimAccept  = 0.6
	aimFail    = 0.45
	aimDrain   = 0.6
)

// Benchmark measures the API and the worker against bare programs, all of them, the receiver and the
// load on this machine. Ours and the baseline take turns round by round, so that whatever else the
// machine does meets both.
func Benchmark(ctx context.Context, p Place, o BenchmarkOptions) (*BenchmarkReport, error) {
	b := &benchmark{place: p, options: o, report: BenchmarkReport{Concurrency: o.Concurrency, Rounds: o.Rounds}}
	var err error
	if b.receiver, err = NewReceiver(Accepting); err != nil {
		return nil, err
	}
	if err := b.receiver.Up(); err != nil {
		return nil, err
	}
	defer b.receiver.Down()
	if b.pool, err = pgxpool.New(ctx, p.DatabaseURL); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer b.pool.Close()
	if _, err := b.pool.Exec(ctx, baselineTables); err != nil {
		return nil, fmt.Errorf("make the baseline's tables: %w", err)
	}
	stop, err := b.startBaseline(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	// Retries are far off: nothing is sent again but what drain makes due.
	if b.system, err = NewSystem(p, 1, 1, "RETRY_SCHEDULE=24h"); err != nil {
		return nil, err
	}
	defer b.system.Close()
	if err := b.system.Start(ctx); err != nil {
		return nil, err
	}
	for _, measure := range []func(context.Context) error{b.deliver, b.fail, b.drain, b.accept} {
		if err := measure(ctx); err != nil {
			return nil, err
		}
	}
	if crashes := b.system.Crashes(); len(crashes) > 0 {
		return nil, errors.New(strings.Join(crashes, "\n"))
	}
	return &b.report, nil
}

func (b *benchmark) startBaseline(ctx context.Context) (stop func(), err error) {
	if b.baseline, err = freeAddr(); err != nil {
		return nil, err
	}
	process, err := child.Start(b.options.Baseline(b.baseline, b.place.DatabaseURL), syscall.SIGKILL)
	if err != nil {
		return nil, fmt.Errorf("start the baseline: %w", err)
	}
	stop = func() {
		process.Kill()
		<-process.Done()
	}
	readyCtx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := until(readyCtx, readyPoll, func(ctx context.Context) error { return ready(ctx, b.baseline) }); err != nil {
		stop()
		return nil, fmt.Errorf("the baseline was not ready: %w", err)
	}
	return stop, nil
}

// empty gives each measurement the same empty tables.
func (b *benchmark) empty(ctx context.Context) error {
	_, err := b.pool.Exec(ctx, `TRUNCATE alert_events, alert_inflight, alert_attempts, alert_deliveries, alert_dlq, alert_duplicates,
		alert_dedup, alert_accounts, alert_account_changes, river_job,
		baseline.events, baseline.results, baseline.touched, baseline.alert_events, baseline.alert_attempts, baseline.alert_dlq`)
	if err != nil {
		return fmt.Errorf("empty the tables: %w", err)
	}
	b.receiver.Forget()
	// Else one side's round pays for what the other has written.
	if _, err := b.pool.Exec(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	return nil
}

// load runs one side of a round.
func (b *benchmark) load(ctx context.Context, l Load) (Sent, error) {
	b.runs++
	l.Run, l.Concurrency = fmt.Sprintf("bench-%d", b.runs), b.options.Concurrency
	loadCtx := ctx
	if l.Events == 0 {
		var cancel context.CancelFunc
		loadCtx, cancel = context.WithTimeout(ctx, b.options.Round)
		defer cancel()
	}
	sent := l.Send(loadCtx)
	if err := ctx.Err(); err != nil {
		return Sent{}, err
	}
	if failed := sent.Unexpected + sent.Unanswered + sent.Refused; failed > 0 {
		return Sent{}, fmt.Errorf("%d of %d requests to %s failed: %s", failed, failed+len(sent.Acknowledged), l.Targets[0], strings.Join(sent.Problems, "; "))
	}
	return sent, nil
}

// compare has ours and the baseline take turns, one round of each to warm up first.
func (b *benchmark) compare(ctx context.Context, c Comparison, ours, baseline func(context.Context) (Sent, error)) error {
	b.place.Say("%s, against %s", c.Name, c.Against)
	for round := range b.options.Rounds + 1 {
		if err := b.empty(ctx); err != nil {
			return err
		}
		turns := []struct {
			side *Side
			run  func(context.Context) (Sent, error)
		}{{&c.Ours, ours}, {&c.Baseline, baseline}}
		if round%2 == 1 {
			turns[0], turns[1] = turns[1], turns[0]
		}
		for _, turn := range turns {
			sent, err := turn.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			if round > 0 {
				turn.side.add(sent)
			}
		}
	}
	c.Ratio = c.Ours.Rate / c.Baseline.Rate
	b.report.Comparisons = append(b.report.Comparisons, c)
	return nil
}

func (b *benchmark) bareURL(path string) []string { return []string{"http://" + b.baseline + path} }

// deliver measures an event committed, posted, and its outcome committed.
func (b *benchmark) deliver(ctx context.Context) error {
	hook := func(int) string { return b.receiver.URL() }
	return b.compare(ctx, Comparison{
		Name: "durable delivery end to end", Against: "a bare Echo handler: insert, post, insert", Aim: aimDeliver,
	}, func(ctx context.Context) (Sent, error) {
		return b.load(ctx, Load{Targets: b.system.URLs(deliveriesPath), Webhook: hook})
	}, func(ctx context.Context) (Sent, error) {
		return b.load(ctx, Load{Targets: b.bareURL(barePathDeliver), Webhook: hook})
	})
}

// away returns addresses at which nobody listens, a new one for each event: none fails often enough
// for a breaker to spare us the attempt.
func (b *benchmark) away() func(n int) string {
	run := b.runs
	return func(n int) string { return fmt.Sprintf("%s/%d/%d", b.receiver.URL(), run, n) }
}

// fail measures an event whose first attempt is refused, up to the committed dead letter and its job.
// The worker is stopped: it has nothing to do, and in drain it must not begin too early.
func (b *benchmark) fail(ctx context.Context) error {
	if err := b.system.Stop("worker"); err != nil {
		return err
	}
	b.receiver.Down()
	return b.compare(ctx, Comparison{
		Name: "failed delivery", Against: "the same rows by a bare Echo handler, without a job", Aim: aimFail,
	}, func(ctx context.Context) (Sent, error) {
		return b.load(ctx, Load{Targets: b.system.URLs(deliveriesPath), Webhook: b.away()})
	}, func(ctx context.Context) (Sent, error) {
		return b.load(ctx, Load{Targets: b.bareURL(barePathFail), Webhook: b.away()})
	})
}

// drain measures how fast the worker delivers dead letters that are all due.
func (b *benchmark) drain(ctx context.Context) error {
	return b.compare(ctx, Comparison{
		Name: "drain of due dead letters", Against: "River alone with one UPDATE a job", Aim: aimDrain,
	}, b.drainOurs, b.drainRiver)
}

// drainLimit bounds one drain.
const drainLimit = 3 * time.Minute

func (b *benchmark) drainOurs(ctx context.Context) (Sent, error) {
	b.receiver.Down()
	b.receiver.Forget()
	sent, err := b.load(ctx, Load{Targets: b.system.URLs(deliveriesPath), Webhook: b.away(), Events: b.options.Letters})
	if err != nil {
		return Sent{}, err
	}
	for _, due := range []string{
		"UPDATE alert_dlq SET next_retry_at = now() WHERE state = 'pending'",
		"UPDATE river_job SET state = 'available', scheduled_at = now() WHERE kind = 'retry_delivery' AND finalized_at IS NULL",
		"VACUUM ANALYZE alert_dlq", "VACUUM ANALYZE river_job", "CHECKPOINT",
	} {
		if _, err := b.pool.Exec(ctx, due); err != nil {
			return Sent{}, fmt.Errorf("make the letters due: %w", err)
		}
	}
	if err := b.receiver.Up(); err != nil {
		return Sent{}, err
	}
	if err := b.system.Restart(ctx, "worker"); err != nil {
		return Sent{}, err
	}
	empty, err := drained(ctx, b.pool, drainLimit, b.place.Say)
	if err != nil {
		return Sent{}, err
	}
	if !empty {
		return Sent{}, fmt.Errorf("%d letters were not drained after %s", b.options.Letters, drainLimit)
	}
	if err := b.system.Stop("worker"); err != nil {
		return Sent{}, err
	}
	var first, last time.Time
	messages := b.receiver.Messages()
	for _, m := range messages {
		if first.IsZero() || m.AcceptedAt.Before(first) {
			first = m.AcceptedAt
		}
		if m.AcceptedAt.After(last) {
			last = m.AcceptedAt
		}
	}
	if len(messages) != len(sent.Acknowledged) {
		return Sent{}, fmt.Errorf("%d of %d letters arrived", len(messages), len(sent.Acknowledged))
	}
	// Without latencies: those of the load say nothing about the drain.
	return Sent{Acknowledged: make([]Acknowledgement, len(messages)), Elapsed: last.Sub(first)}, nil
}

// touchArgs is the job of the drain's baseline.
type touchArgs struct {
	ID int64 `json:"id"`
}

// Kind implements river.JobArgs.
func (touchArgs) Kind() string { return "bench_touch" }

// touchWorker makes one UPDATE.
type touchWorker struct {
	river.WorkerDefaults[touchArgs]
	pool  *pgxpool.Pool
	left  atomic.Int64
	first atomic.Int64 // Unix nanoseconds of the first job's end
	done  chan struct{}
}

// Work implements river.Worker.
func (w *touchWorker) Work(ctx context.Context, job *river.Job[touchArgs]) error {
	if _, err := w.pool.Exec(ctx, "UPDATE baseline.touched SET touched_at = now() WHERE id = $1", job.Args.ID); err != nil {
		return err
	}
	w.first.CompareAndSwap(0, time.Now().UnixNano())
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
	return nil
}

// As the worker's own.
const (
	drainWorkers  = 100
	drainCooldown = 10 * time.Millisecond
	drainQueue    = "bench"
)

func (b *benchmark) drainRiver(ctx context.Context) (Sent, error) {
	if _, err := b.pool.Exec(ctx, "INSERT INTO baseline.touched (id) SELECT generate_series(1, $1::bigint)", b.options.Letters); err != nil {
		return Sent{}, fmt.Errorf("make rows to touch: %w", err)
	}
	config, err := pgxpool.ParseConfig(b.place.DatabaseURL)
	if err != nil {
		return Sent{}, fmt.Errorf("read the database address: %w", err)
	}
	config.MaxConns = bareConnections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return Sent{}, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	worker := &touchWorker{pool: pool, done: make(chan struct{})}
	worker.left.Store(int64(b.options.Letters))
	workers := river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{drainQueue: {MaxWorkers: drainWorkers}},
		FetchCooldown: drainCooldown, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return Sent{}, fmt.Errorf("make River's client: %w", err)
	}
	jobs := make([]river.InsertManyParams, b.options.Letters)
	for i := range jobs {
		jobs[i] = river.InsertManyParams{Args: touchArgs{int64(i + 1)}, InsertOpts: &river.InsertOpts{Queue: drainQueue}}
	}
	if _, err := client.InsertManyFast(ctx, jobs); err != nil {
		return Sent{}, fmt.Errorf("insert jobs: %w", err)
	}
	for _, statement := range []string{"VACUUM ANALYZE river_job", "CHECKPOINT"} {
		if _, err := b.pool.Exec(ctx, statement); err != nil {
			return Sent{}, fmt.Errorf("settle the tables: %w", err)
		}
	}
	if err := client.Start(ctx); err != nil {
		return Sent{}, fmt.Errorf("start River: %w", err)
	}
	limit, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	var last time.Time
	select {
	case <-worker.done:
		last = time.Now()
	case <-limit.Done():
	}
	stopCtx, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancelStop()
	if err := client.Stop(stopCtx); err != nil {
		return Sent{}, fmt.Errorf("stop River: %w", err)
	}
	if last.IsZero() {
		return Sent{}, fmt.Errorf("the baseline did not drain %d jobs within %s", b.options.Letters, drainLimit)
	}
	return Sent{
		Acknowledged: make([]Acknowledgement, b.options.Letters), Elapsed: last.Sub(time.Unix(0, worker.first.Load())),
	}, nil
}

// accept measures an event committed and answered, before anything is sent. The worker is stopped.
func (b *benchmark) accept(ctx context.Context) error {
	hook := func(int) string { return b.receiver.URL() }
	ours := func(ctx context.Context) (Sent, error) {
		return b.load(ctx, Load{Targets: b.system.URLs(deliveriesPath), Webhook: hook, Async: true})
	}
	c := Comparison{Name: "accept alone", Against: "one committed insert by a bare Echo handler", Aim: aimAccept}
	probe, err := b.load(ctx, Load{Targets: b.system.URLs(deliveriesPath), Webhook: hook, Async: true, Events: 1})
	if err != nil {
		return err
	}
	if status := probe.Acknowledged[0].Status; status != 202 {
		c.Skipped = fmt.Sprintf("the API answers %d to Prefer: respond-async, not 202", status)
		b.report.Comparisons = append(b.report.Comparisons, c)
		return nil
	}
	if err := b.compare(ctx, c, ours, func(ctx context.Context) (Sent, error) {
		return b.load(ctx, Load{Targets: b.bareURL(barePathAccept), Webhook: hook})
	}); err != nil {
		return err
	}
	c.Against, c.Aim = "one committed insert by pgx, without HTTP", 0
	return b.compare(ctx, c, ours, b.insert)
}

// insert is the committed insert without anything around it.
func (b *benchmark) insert(ctx context.Context) (Sent, error) {
	config, err := pgxpool.ParseConfig(b.place.DatabaseURL)
	if err != nil {
		return Sent{}, fmt.Errorf("read the database address: %w", err)
	}
	config.MaxConns = int32(b.options.Concurrency) //nolint:gosec // a handful
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return Sent{}, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	bare := &bare{pool: pool}
	limit, cancel := context.WithTimeout(ctx, b.options.Round)
	defer cancel()
	var (
		mu   sync.Mutex
		sent Sent
		errs []error
		wg   sync.WaitGroup
	)
	started := time.Now()
	for range b.options.Concurrency {
		wg.Go(func() {
			for limit.Err() == nil {
				began := time.Now()
				id, err := uuid.NewV7()
				if err == nil {
					d := newDelivery{AlertID: "load", UserID: "user", Title: "NAV fell", Message: "The NAV of Sample CHF fell by 3 % in a day.", Severity: "warning"}
					err = bare.insert(ctx, d, id, []byte(`{"portfolio": "Sample CHF", "change": -0.03}`))
				}
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					sent.Acknowledged = append(sent.Acknowledged, Acknowledgement{EventID: id, Took: time.Since(began)})
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	sent.Elapsed = time.Since(started)
	return sent, errors.Join(errs...)
}

// String is the table for people.
func (r *BenchmarkReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d concurrent, medians of %d rounds\n", r.Concurrency, r.Rounds)
	for _, c := range r.Comparisons {
		fmt.Fprintf(&b, "\n%s\n  against %s\n", c.Name, c.Against)
		if c.Skipped != "" {
			fmt.Fprintf(&b, "  SKIPPED: %s\n", c.Skipped)
			continue
		}
		for _, side := range []struct {
			name string
			s    Side
		}{{"ours", c.Ours}, {"baseline", c.Baseline}} {
			fmt.Fprintf(&b, "  %-9s %8.0f a second", side.name, side.s.Rate)
			if side.s.P50 > 0 {
				fmt.Fprintf(&b, "   p50 %6.1f ms   p99 %6.1f ms", side.s.P50*1e3, side.s.P99*1e3)
			}
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "  ratio     %8.2f", c.Ratio)
		if c.Aim > 0 {
			fmt.Fprintf(&b, "   aim %.2f", c.Aim)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// OK reports whether the benchmark ran, which it did: how fast is for the reader to judge.
func (r *BenchmarkReport) OK() bool { return true }
