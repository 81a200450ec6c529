package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/riverqueue/river"
)

// AuditDeliveriesArgs asks whether the accounts are right.
type AuditDeliveriesArgs struct{}

// Kind implements river.JobArgs.
func (AuditDeliveriesArgs) Kind() string { return "audit_deliveries" }

// InsertOpts implements river.JobArgsWithInsertOpts. A run that fails is not repeated: the next does
// its work as well.
func (AuditDeliveriesArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueUpkeep, MaxAttempts: 1}
}

const (
	// AuditInterval is how often the accounts are audited.
	AuditInterval = time.Minute
	// auditWindow is how far back each audit looks for events that stand in the wrong place. It
	// overlaps with the audit before, so that an event is looked at several times.
	auditWindow = 10 * time.Minute
	// auditMost bounds what one audit mends, and names in its log line.
	auditMost = 100
)

// Ledger keeps the accounts of deliveries. Each of the audits returns what it found wrong, in words
// that name ids, and has mended it where it could.
type Ledger interface {
	// FoldAccounts adds what has changed to the balances.
	FoldAccounts(ctx context.Context) error
	// AuditAccounts holds the accounts against each other and against the rows that are open.
	AuditAccounts(ctx context.Context) ([]string, error)
	// AuditPlaces looks for events accepted in a stretch of time that stand nowhere or in several places.
	AuditPlaces(ctx context.Context, since, until time.Time, limit int) (nowhere, several []string, err error)
	// DeleteStrayJobs deletes waiting jobs that belong to nothing.
	DeleteStrayJobs(ctx context.Context, createdBefore time.Time, limit int) ([]string, error)
}

// AuditDeliveriesWorker works AuditDeliveriesArgs.
type AuditDeliveriesWorker struct {
	river.WorkerDefaults[AuditDeliveriesArgs]
	ledger Ledger
	drift  *prometheus.GaugeVec // check
	audits *prometheus.CounterVec
	log    *slog.Logger
	now    func() time.Time
}

// The checks of an audit, values of a label.
const (
	checkAccounts = "accounts"
	checkNowhere  = "nowhere"
	checkSeveral  = "several_places"
	checkJobs     = "stray_jobs"
)

// NewAuditDeliveriesWorker returns the worker.
func NewAuditDeliveriesWorker(l Ledger, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) *AuditDeliveriesWorker {
	f := promauto.With(reg)
	w := &AuditDeliveriesWorker{
		ledger: l, log: log, now: now,
		drift: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dawsos_delivery_drift",
			Help: "What the latest audit of this process found wrong, by check: accounts that are not what the rows say, " +
				"events and targets that stand nowhere or in several places, jobs that belong to nothing.",
		}, []string{"check"}),
		audits: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_delivery_audits_total", Help: "Audits of the accounts that this process made, by result: clean, drift, failed.",
		}, []string{"result"}),
	}
	for _, check := range []string{checkAccounts, checkNowhere, checkSeveral, checkJobs} {
		w.drift.WithLabelValues(check)
	}
	for _, result := range []string{"clean", "drift", "failed"} {
		w.audits.WithLabelValues(result)
	}
	return w
}

// Work audits. One check that fails does not keep the others from it.
func (w *AuditDeliveriesWorker) Work(ctx context.Context, _ *river.Job[AuditDeliveriesArgs]) error {
	now := w.now()
	settled := now.Add(-clockSkew) // what is younger may be between two statements' snapshots
	found := map[string][]string{}
	var errs []error
	check := func(name string, list []string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("audit %s: %w", name, err))
			return
		}
		found[name] = list
		w.drift.WithLabelValues(name).Set(float64(len(list)))
	}
	if err := w.ledger.FoldAccounts(ctx); err != nil {
		errs = append(errs, fmt.Errorf("fold accounts: %w", err))
	}
	nowhere, several, err := w.ledger.AuditPlaces(ctx, settled.Add(-auditWindow), settled, auditMost)
	check(checkNowhere, nowhere, err)
	check(checkSeveral, several, err)
	accounts, err := w.ledger.AuditAccounts(ctx)
	check(checkAccounts, accounts, err)
	stray, err := w.ledger.DeleteStrayJobs(ctx, settled, auditMost)
	check(checkJobs, stray, err)

	result := "clean"
	for name, list := range found {
		if len(list) > 0 {
			result = "drift"
			w.log.ErrorContext(ctx, "the audit of deliveries found what must not be, and mended what it could", "check", name, "found", list)
		}
	}
	if len(errs) > 0 {
		result = "failed"
	}
	w.audits.WithLabelValues(result).Inc()
	return errors.Join(errs...)
}

// PruneEventsArgs asks for events to be deleted that are past their retention.
type PruneEventsArgs struct{}

// Kind implements river.JobArgs.
func (PruneEventsArgs) Kind() string { return "prune_events" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (PruneEventsArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueUpkeep, MaxAttempts: 1}
}

// pruneEventsBatch bounds how many events one transaction deletes, each with all that belongs to it.
const pruneEventsBatch = 1000

// EventPruner deletes what is old.
type EventPruner interface {
	// PruneEvents deletes up to limit events that were accepted before a time and of which nothing
	// is open, with their attempts, deliveries and closed dead letters.
	PruneEvents(ctx context.Context, acceptedBefore time.Time, limit int) (int, error)
	// PruneKeys deletes keys of deduplication and idempotency that are no longer kept, up to limit of each.
	PruneKeys(ctx context.Context, expiredBefore time.Time, limit int) (int, error)
}

// PruneEventsWorker works PruneEventsArgs.
type PruneEventsWorker struct {
	river.WorkerDefaults[PruneEventsArgs]
	pruner    EventPruner
	retention time.Duration
	pruned    prometheus.Counter
	log       *slog.Logger
	now       func() time.Time
}

// NewPruneEventsWorker returns the worker, which keeps events for retention.
func NewPruneEventsWorker(p EventPruner, retention time.Duration, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) *PruneEventsWorker {
	return &PruneEventsWorker{
		pruner: p, retention: retention, log: log, now: now,
		pruned: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "dawsos_delivery_events_pruned_total",
			Help: "Events deleted at the end of their retention, with all that belongs to them.",
		}),
	}
}

// Work deletes in short transactions, as PruneRunsWorker does.
func (w *PruneEventsWorker) Work(ctx context.Context, _ *river.Job[PruneEventsArgs]) error {
	begun := w.now()
	before := begun.Add(-w.retention)
	total := 0
	defer func() {
		if total > 0 {
			w.log.InfoContext(ctx, "pruned events", "count", total, "accepted_before", before.UTC())
		}
	}()
	for {
		keys, err := w.pruner.PruneKeys(ctx, begun, pruneBatch)
		if err != nil {
			return fmt.Errorf("prune keys: %w", err)
		}
		n, err := w.pruner.PruneEvents(ctx, before, pruneEventsBatch)
		total += n
		w.pruned.Add(float64(n))
		switch {
		case err != nil:
			return fmt.Errorf("prune events: %w", err)
		case n < pruneEventsBatch && keys < pruneBatch:
			return nil
		case w.now().Sub(begun) >= pruneTime:
			return river.JobSnooze(prunePause)
		}
	}
}
