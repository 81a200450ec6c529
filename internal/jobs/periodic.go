package jobs

import (
	"time"

	"github.com/riverqueue/river"
)

// Periodic is a job that runs by the clock. Its name is its kind.
type Periodic struct {
	Args        river.JobArgs // without anything in it
	Description string
	Interval    time.Duration
}

// Name is what the job is called.
func (p Periodic) Name() string { return p.Args.Kind() }

// Periodics returns all of them, in order of name. Whoever adds a job that runs by the clock adds it
// here: the worker runs what stands here, and operators see it. Rules are evaluated every evaluate.
func Periodics(evaluate time.Duration) []Periodic {
	return []Periodic{
		{AuditDeliveriesArgs{}, "Folds the accounts of deliveries and compares them with what is there.", AuditInterval},
		{EvaluateArgs{}, "Evaluates the active alert rules, and delivers what fires.", evaluate},
		{PruneEventsArgs{}, "Deletes events, attempts and deliveries that are past their retention.", PruneInterval},
		{PruneRecordsArgs{}, "Deletes operations on dead letters, notifications and audit entries that are past their retention.", PruneInterval},
		{PruneRunsArgs{}, "Deletes recorded pattern runs that are past their retention.", PruneInterval},
		{ReconcileArgs{}, "Finds deliveries that an interruption left without an outcome or a job, and queues them again.", ReconcileInterval},
	}
}

// RiverPeriodics are the jobs as River's client takes them; each also runs as the worker starts.
func RiverPeriodics(all []Periodic) []*river.PeriodicJob {
	var list []*river.PeriodicJob
	for _, p := range all {
		list = append(list, river.NewPeriodicJob(river.PeriodicInterval(p.Interval),
			func() (river.JobArgs, *river.InsertOpts) { return p.Args, nil },
			&river.PeriodicJobOpts{RunOnStart: true}))
	}
	return list
}
