package jobs

import (
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/periodic"
)

// Periodic is a job that runs by the clock, within the nightly order, or when asked to. Its name is its
// kind.
type Periodic struct {
	Args        river.JobArgs // without anything in it
	Description string
	Schedule    periodic.Schedule // of its own; the zero Schedule: none
	After       string            // the job of the nightly order that it follows; ""
	Off         string            // why it does nothing here; ""

	within periodic.Schedule // of the nightly order that it is a part of
}

// Name is what the job is called.
func (p Periodic) Name() string { return p.Args.Kind() }

// due is the schedule that a success is expected by: the job's own, else that of the order it is in.
func (p Periodic) due() periodic.Schedule {
	if p.Schedule.Never() {
		return p.within
	}
	return p.Schedule
}

// Schedules says when the jobs that have a setting run. A zero Schedule is never: the job then runs within
// the nightly order and when asked to.
type Schedules struct {
	Evaluate  periodic.Schedule // alert rules
	Nightly   periodic.Schedule // the nightly order, from its first job
	Reconcile periodic.Schedule
	Metrics   periodic.Schedule
	Prewarm   periodic.Schedule
	MarkFresh periodic.Schedule
	Backup    periodic.Schedule
	Fetch     periodic.Schedule // data providers

	BackupOff string // why there are no backups; "" when there are
	FetchOff  string // why no provider is asked; "" when one is
}

// Periodics returns all of them, in order of name. Whoever adds a job that runs by the clock adds it
// here: the worker runs what stands here, operators see it, and its runs are recorded.
func Periodics(s Schedules) []Periodic {
	every := periodic.Every
	all := []Periodic{
		{Args: AuditDeliveriesArgs{}, Description: "Folds the accounts of deliveries and compares them with what is there.", Schedule: every(AuditInterval)},
		{Args: BackupArgs{}, Description: "Dumps the database and verifies the dump by restoring it.", Schedule: s.Backup, Off: s.BackupOff},
		{Args: BuildPacksArgs{}, Description: "Makes the pricing packs of days that have none, checks new ones, and begins the nightly order.", Schedule: s.Nightly},
		{Args: ComputeMetricsArgs{}, Description: "Computes the figures of every portfolio at the newest pack, where they are not known.", Schedule: s.Metrics},
		{Args: EvaluateArgs{}, Description: "Evaluates the active alert rules, and delivers what fires.", Schedule: s.Evaluate},
		{Args: FetchDataArgs{}, Description: "Asks the data providers, and imports what they answer.", Schedule: s.Fetch, Off: s.FetchOff},
		{Args: MarkFreshArgs{}, Description: "Makes fresh the pricing packs that are reconciled.", Schedule: s.MarkFresh},
		{Args: PrewarmArgs{}, Description: "Has the API answer patterns over the newest pack, so that its cache holds them.", Schedule: s.Prewarm},
		{Args: PruneEventsArgs{}, Description: "Deletes events, attempts and deliveries that are past their retention.", Schedule: every(PruneInterval)},
		{Args: PruneRecordsArgs{}, Description: "Deletes operations on dead letters, notifications, audit entries, runs of jobs and figures that are past their retention.", Schedule: every(PruneInterval)},
		{Args: PruneRunsArgs{}, Description: "Deletes recorded pattern runs that are past their retention.", Schedule: every(PruneInterval)},
		{Args: ReconcileArgs{}, Description: "Finds deliveries that an interruption left without an outcome or a job, and queues them again.", Schedule: every(ReconcileInterval)},
		{Args: ReconcilePacksArgs{}, Description: "Values every portfolio at new pricing packs in two ways; where they differ, the pack is in error.", Schedule: s.Reconcile},
	}
	for i := range all {
		if all[i].After = before(all[i].Name()); all[i].After != "" {
			all[i].within = s.Nightly
		}
	}
	return all
}

// RiverPeriodics are the jobs with a schedule as River's client takes them. Those with an interval also run
// as the worker starts.
func RiverPeriodics(all []Periodic) []*river.PeriodicJob {
	var list []*river.PeriodicJob
	for _, p := range all {
		if p.Schedule.Never() || p.Off != "" {
			continue
		}
		list = append(list, river.NewPeriodicJob(p.Schedule,
			func() (river.JobArgs, *river.InsertOpts) { return p.Args, TriggeredBy(periodic.BySchedule) },
			&river.PeriodicJobOpts{RunOnStart: p.Schedule.Interval() > 0}))
	}
	return list
}
