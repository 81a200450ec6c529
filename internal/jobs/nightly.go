package jobs

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/periodic"
)

// Link is what a job of the nightly order knows of its place.
type Link struct {
	// Chain names the order that the job is a part of: when it ends, the next one is put in. Empty, the job
	// runs by itself; build_packs then begins an order of its own.
	Chain string `json:"chain,omitempty"`
	// TenantID is whose packs it is about; "" for everybody's.
	TenantID string `json:"tenant_id,omitempty"`
}

// The jobs of the nightly order, by their kinds.
const (
	kindBuild     = "build_packs"
	kindReconcile = "reconcile_packs"
	kindMetrics   = "compute_metrics"
	kindPrewarm   = "prewarm"
	kindFresh     = "mark_fresh"
	kindEvaluate  = "evaluate_alerts"
	kindBackup    = "backup"
)

// nightly is the order of the jobs. Each is put in by the transaction that records the end of the one
// before it:
//
//	build_packs -> reconcile_packs -> compute_metrics -> prewarm -> mark_fresh -> evaluate_alerts -> backup
//
// One that fails for good keeps those after it from running; they are recorded as skipped. Only the backup
// does not depend on any of them: it runs whatever became of the others, and not at all in an order that
// an import began, which is about one tenant's packs.
var nightly = []string{kindBuild, kindReconcile, kindMetrics, kindPrewarm, kindFresh, kindEvaluate, kindBackup}

// NightlyFirst and NightlyFresh are where the order begins and where its packs are fresh.
const (
	NightlyFirst = kindBuild
	NightlyFresh = kindFresh
)

// NightlyDependents are the jobs that do not run when one before them fails.
func NightlyDependents() []string { return slices.Clone(nightly[1 : len(nightly)-1]) }

// NightlyToFresh are the jobs that a warming pack waits for, in their order.
func NightlyToFresh() []string { return slices.Clone(nightly[:slices.Index(nightly, kindFresh)+1]) }

// before returns the job that a job of the nightly order follows; "" when it follows none.
func before(kind string) string {
	if i := slices.Index(nightly, kind); i > 0 {
		return nightly[i-1]
	}
	return ""
}

// nightlyAttempts is how often a job of the order is tried: an interruption or a database that is away for
// a moment must not cost a night.
const nightlyAttempts = 3

func nightlyOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueNightly, MaxAttempts: nightlyAttempts}
}

// BuildPacksArgs asks for the packs of days that have none, and for a check of those that are new.
type BuildPacksArgs struct{ Link }

// ReconcilePacksArgs asks for packs that are built to be reconciled with the ledgers.
type ReconcilePacksArgs struct{ Link }

// ComputeMetricsArgs asks for the figures of all portfolios at the newest pack.
type ComputeMetricsArgs struct{ Link }

// PrewarmArgs asks for the API's cache to be filled with answers over the newest pack.
type PrewarmArgs struct{ Link }

// MarkFreshArgs asks for packs that are reconciled to be fresh.
type MarkFreshArgs struct{ Link }

// BackupArgs asks for a backup of the database.
type BackupArgs struct{ Link }

// Kind implements river.JobArgs.
func (BuildPacksArgs) Kind() string { return kindBuild }

// Kind implements river.JobArgs.
func (ReconcilePacksArgs) Kind() string { return kindReconcile }

// Kind implements river.JobArgs.
func (ComputeMetricsArgs) Kind() string { return kindMetrics }

// Kind implements river.JobArgs.
func (PrewarmArgs) Kind() string { return kindPrewarm }

// Kind implements river.JobArgs.
func (MarkFreshArgs) Kind() string { return kindFresh }

// Kind implements river.JobArgs.
func (BackupArgs) Kind() string { return kindBackup }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (BuildPacksArgs) InsertOpts() river.InsertOpts { return nightlyOpts() }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (ReconcilePacksArgs) InsertOpts() river.InsertOpts { return nightlyOpts() }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (ComputeMetricsArgs) InsertOpts() river.InsertOpts { return nightlyOpts() }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (PrewarmArgs) InsertOpts() river.InsertOpts { return nightlyOpts() }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (MarkFreshArgs) InsertOpts() river.InsertOpts { return nightlyOpts() }

// InsertOpts implements river.JobArgsWithInsertOpts. A dump that failed is not made again at once: it
// costs the server most of all jobs.
func (BackupArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueBackup, MaxAttempts: 1}
}

// linked returns the arguments of a job of the order.
func linked(kind string, l Link) river.JobArgs {
	switch kind {
	case kindBuild:
		return BuildPacksArgs{l}
	case kindReconcile:
		return ReconcilePacksArgs{l}
	case kindMetrics:
		return ComputeMetricsArgs{l}
	case kindPrewarm:
		return PrewarmArgs{l}
	case kindFresh:
		return MarkFreshArgs{l}
	case kindEvaluate:
		return EvaluateArgs{l}
	default:
		return BackupArgs{l}
	}
}

// follow returns what comes after a job of an order that has ended: the job to be put in, nil for none, and
// those that are skipped because it has failed.
func follow(kind string, l Link, failed bool) (next river.JobArgs, skipped []string) {
	i := slices.Index(nightly, kind)
	if i < 0 || l.Chain == "" {
		return nil, nil
	}
	rest := nightly[i+1:]
	if failed && len(rest) > 0 {
		skipped, rest = rest[:len(rest)-1], rest[len(rest)-1:]
	}
	if len(rest) == 0 || rest[0] == kindBackup && l.TenantID != "" {
		return nil, skipped
	}
	return linked(rest[0], l), skipped
}

// linkOf reads the link out of a job's arguments. A build of packs that is in no order begins one, named
// after its River job so that another attempt goes on with the same.
func linkOf(kind string, jobID int64, args []byte) Link {
	var l Link
	if slices.Contains(nightly, kind) {
		_ = json.Unmarshal(args, &l) // what it does not hold is empty
	}
	if kind == kindBuild && l.Chain == "" {
		l.Chain = uuid.NewSHA1(chainNamespace, strconv.AppendInt(nil, jobID, 10)).String()
	}
	return l
}

// chainNamespace makes ids of orders: UUIDs of version 5 over the ids of River's jobs.
var chainNamespace = uuid.MustParse("0f7dbd3c-6d1b-4c86-9d43-3f2c8c9a7a10")

// TriggeredBy returns the insertion options of a job that something other than its schedule starts.
func TriggeredBy(t periodic.Trigger) *river.InsertOpts {
	metadata, _ := json.Marshal(map[string]periodic.Trigger{triggerKey: t}) // texts can be encoded
	return &river.InsertOpts{Metadata: metadata}
}

const triggerKey = "trigger"

// Times that the jobs may take at the most. What is killed in the middle is taken up again after that.
const (
	buildTime     = 10 * time.Minute
	reconcileTime = time.Hour
	metricsTime   = time.Hour
	prewarmTime   = 15 * time.Minute
	freshTime     = 5 * time.Minute
	backupTime    = 4 * time.Hour
)
