package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/packs"
)

// PackShelf is where pricing packs stand. A method about a tenant sees that tenant's alone.
type PackShelf interface {
	// Tenants returns one tenant, or all in order when tenantID is "".
	Tenants(ctx context.Context, tenantID string) ([]string, error)
	// Calendar returns the symbol whose closes are the days of packs; "" when there is none yet.
	Calendar(ctx context.Context, tenantID string) (string, error)
	// RetirePacks makes stale what a newer revision has taken the place of.
	RetirePacks(ctx context.Context, tenantID string) (int, error)
	// MakePacks makes the packs that are missing and returns them.
	MakePacks(ctx context.Context, tenantID string) ([]packs.Pack, error)
	// CheckPacks checks the hashes of up to limit new packs.
	CheckPacks(ctx context.Context, tenantID string, limit int) (checked, failed int, err error)
	// UnreconciledPacks returns those that are checked and not reconciled, by revision, then date.
	UnreconciledPacks(ctx context.Context, tenantID string) ([]packs.Pack, error)
	// RecordVerdicts writes down what a reconciliation came to.
	RecordVerdicts(ctx context.Context, tenantID string, list []packs.Verdict) error
	// NewestUsablePack returns the newest pack that is fresh or about to be; false when there is none.
	NewestUsablePack(ctx context.Context, tenantID string) (packs.Pack, bool, error)
	MarkPrewarmed(ctx context.Context, p packs.Pack) error
	// MarkFresh makes fresh what is warming and reconciled.
	MarkFresh(ctx context.Context, tenantID string) (int, error)
}

// checkBatch is how many packs are checked in one transaction.
const checkBatch = 2000

// forTenants calls f for each tenant that a job is about, and adds up what it counts by tenant.
func forTenants[T any](ctx context.Context, shelf PackShelf, l Link, f func(tenantID string) (T, error)) error {
	tenants, err := shelf.Tenants(ctx, l.TenantID)
	if err != nil {
		return err
	}
	reports := map[string]T{}
	defer func() { NotesOf(ctx).Detail(reports) }()
	for _, tenant := range tenants {
		report, err := f(tenant)
		reports[tenant] = report
		if err != nil {
			return fmt.Errorf("tenant %s: %w", tenant, err)
		}
	}
	return nil
}

// BuildPacksWorker works BuildPacksArgs.
type BuildPacksWorker struct {
	river.WorkerDefaults[BuildPacksArgs]
	shelf PackShelf
}

// NewBuildPacksWorker returns the worker.
func NewBuildPacksWorker(s PackShelf) *BuildPacksWorker { return &BuildPacksWorker{shelf: s} }

// Timeout implements river.Worker.
func (*BuildPacksWorker) Timeout(*river.Job[BuildPacksArgs]) time.Duration { return buildTime }

type built struct {
	Retired int `json:"retired"`
	Made    int `json:"made"`
	Checked int `json:"checked"`
	Failed  int `json:"failed"`
}

// Work retires, makes and checks packs.
func (w *BuildPacksWorker) Work(ctx context.Context, job *river.Job[BuildPacksArgs]) error {
	return forTenants(ctx, w.shelf, job.Args.Link, func(tenant string) (b built, err error) {
		if b.Retired, err = w.shelf.RetirePacks(ctx, tenant); err != nil {
			return b, err
		}
		made, err := w.shelf.MakePacks(ctx, tenant)
		if err != nil {
			return b, err
		}
		b.Made = len(made)
		for {
			checked, failed, err := w.shelf.CheckPacks(ctx, tenant, checkBatch)
			b.Checked, b.Failed = b.Checked+checked, b.Failed+failed
			if err != nil || checked < checkBatch {
				return b, err
			}
		}
	})
}

// ReconcilePacksWorker works ReconcilePacksArgs.
type ReconcilePacksWorker struct {
	river.WorkerDefaults[ReconcilePacksArgs]
	shelf  PackShelf
	source packs.Source
	log    *slog.Logger
}

// NewReconcilePacksWorker returns the worker.
func NewReconcilePacksWorker(s PackShelf, source packs.Source, log *slog.Logger) *ReconcilePacksWorker {
	return &ReconcilePacksWorker{shelf: s, source: source, log: log}
}

// Timeout implements river.Worker.
func (*ReconcilePacksWorker) Timeout(*river.Job[ReconcilePacksArgs]) time.Duration {
	return reconcileTime
}

// Work reconciles what is built. Packs that fail are no failure of the job: they are in error, which an
// alert tells of, and the others go on.
func (w *ReconcilePacksWorker) Work(ctx context.Context, job *river.Job[ReconcilePacksArgs]) error {
	return forTenants(ctx, w.shelf, job.Args.Link, func(tenant string) ([]packs.Reconciled, error) {
		reports := []packs.Reconciled{}
		calendar, err := w.shelf.Calendar(ctx, tenant)
		if err != nil || calendar == "" {
			return reports, err
		}
		list, err := w.shelf.UnreconciledPacks(ctx, tenant)
		if err != nil {
			return reports, err
		}
		for _, group := range packs.ByRevision(list) {
			r, err := packs.Reconcile(ctx, w.source, calendar, group)
			if err != nil {
				return reports, err
			}
			reports = append(reports, r)
			for _, v := range r.Verdicts {
				if v.Reason != "" {
					w.log.ErrorContext(ctx, "pricing pack does not reconcile with the ledgers", "tenant_id", tenant, "pack_id", v.Pack.ID,
						"date", v.Pack.Date.Format(time.DateOnly), "reason", v.Reason)
				}
			}
			if err := w.shelf.RecordVerdicts(ctx, tenant, r.Verdicts); err != nil {
				return reports, err
			}
		}
		return reports, nil
	})
}

// ComputeMetricsWorker works ComputeMetricsArgs.
type ComputeMetricsWorker struct {
	river.WorkerDefaults[ComputeMetricsArgs]
	shelf    PackShelf
	source   packs.Source
	store    packs.MetricStore
	measurer packs.Measurer
}

// NewComputeMetricsWorker returns the worker.
func NewComputeMetricsWorker(s PackShelf, source packs.Source, store packs.MetricStore, m packs.Measurer) *ComputeMetricsWorker {
	return &ComputeMetricsWorker{shelf: s, source: source, store: store, measurer: m}
}

// Timeout implements river.Worker.
func (*ComputeMetricsWorker) Timeout(*river.Job[ComputeMetricsArgs]) time.Duration {
	return metricsTime
}

// Work computes what is not known.
func (w *ComputeMetricsWorker) Work(ctx context.Context, job *river.Job[ComputeMetricsArgs]) error {
	return forTenants(ctx, w.shelf, job.Args.Link, func(tenant string) (packs.MetricsReport, error) {
		pack, ok, err := w.shelf.NewestUsablePack(ctx, tenant)
		if err != nil || !ok {
			return packs.MetricsReport{}, err
		}
		r, err := packs.ComputeMetrics(ctx, w.source, w.store, w.measurer, pack)
		if err == nil && r.Failed > 0 {
			err = fault.New(fault.Internal, "%d of %d portfolios can't be measured: %s", r.Failed, r.Portfolios, r.Examples[0])
		}
		return r, err
	})
}

// Prewarmer fills caches.
type Prewarmer interface {
	// Prewarm has patterns answered over a pack for the first of its tenant's portfolios. skipped says why
	// it was not tried, "" when it was.
	Prewarm(ctx context.Context, pack packs.Pack) (report packs.PrewarmReport, skipped string, err error)
}

// PrewarmWorker works PrewarmArgs.
type PrewarmWorker struct {
	river.WorkerDefaults[PrewarmArgs]
	shelf     PackShelf
	prewarmer Prewarmer
	tenantID  string
}

// NewPrewarmWorker returns the worker. tenantID is whose requests the API answers.
func NewPrewarmWorker(s PackShelf, p Prewarmer, tenantID string) *PrewarmWorker {
	return &PrewarmWorker{shelf: s, prewarmer: p, tenantID: tenantID}
}

// Timeout implements river.Worker.
func (*PrewarmWorker) Timeout(*river.Job[PrewarmArgs]) time.Duration { return prewarmTime }

// Work prewarms the newest pack. An API that can't be reached skips the run and does not fail it: that a
// pack is fresh says that its data are right, and a cache only makes the first answers over it faster.
func (w *PrewarmWorker) Work(ctx context.Context, job *river.Job[PrewarmArgs]) error {
	if t := job.Args.TenantID; t != "" && t != w.tenantID {
		NotesOf(ctx).Skip("the API does not answer for tenant " + t)
		return nil
	}
	pack, ok, err := w.shelf.NewestUsablePack(ctx, w.tenantID)
	if err != nil {
		return err
	}
	if !ok {
		// Nothing is to be warmed, which is no failure: where there are no portfolios there never is a pack.
		NotesOf(ctx).Detail(packs.PrewarmReport{})
		return nil
	}
	report, skipped, err := w.prewarmer.Prewarm(ctx, pack)
	NotesOf(ctx).Detail(report)
	if err != nil {
		return err
	}
	if skipped != "" {
		NotesOf(ctx).Skip(skipped)
		return nil
	}
	return w.shelf.MarkPrewarmed(ctx, pack)
}

// MarkFreshWorker works MarkFreshArgs.
type MarkFreshWorker struct {
	river.WorkerDefaults[MarkFreshArgs]
	shelf PackShelf
}

// NewMarkFreshWorker returns the worker.
func NewMarkFreshWorker(s PackShelf) *MarkFreshWorker { return &MarkFreshWorker{shelf: s} }

// Timeout implements river.Worker.
func (*MarkFreshWorker) Timeout(*river.Job[MarkFreshArgs]) time.Duration { return freshTime }

// Work makes fresh what is reconciled.
func (w *MarkFreshWorker) Work(ctx context.Context, job *river.Job[MarkFreshArgs]) error {
	return forTenants(ctx, w.shelf, job.Args.Link, func(tenant string) (map[string]int, error) {
		n, err := w.shelf.MarkFresh(ctx, tenant)
		return map[string]int{"fresh": n}, err
	})
}
