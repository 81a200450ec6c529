// Package periodic says which jobs the worker runs by the clock, how they last went, and when they are
// due.
package periodic

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Job is work that the worker does by a schedule, within the nightly order, or when asked to.
type Job struct {
	Name        string
	Description string
	Schedule    Schedule // the zero Schedule: never by itself
	// After is the job of the nightly order that this one follows; "" when it follows none.
	After string
	// Off says why the job does nothing in this installation; "" when it does.
	Off           string
	State         State
	LastStartedAt *time.Time // nil when no run is known, or none has begun
	LastEndedAt   *time.Time // nil while it runs or waits
	LastSuccessAt *time.Time // when it last ended well; nil when that is not known
	NextAt        *time.Time // nil when it has no schedule
	Runs          []Run      // the last ones, newest first
}

// State is how a job's last run went.
type State string

// The states.
const (
	Never     State = "never" // no run is known
	Waiting   State = "waiting"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Skipped   State = "skipped" // there was a reason not to do it
)

// Trigger is what started a run.
type Trigger string

// The triggers.
const (
	BySchedule Trigger = "schedule"
	ByHand     Trigger = "manual"
	ByChain    Trigger = "chain"  // the job before it in the nightly order ended
	ByImport   Trigger = "import" // data came in
)

// Run is one run of a job.
type Run struct {
	ID        uuid.UUID // of version 7, from when it started
	Job       string
	TenantID  string // "" when it was about all of them
	Trigger   Trigger
	Chain     uuid.UUID // the nightly order that it was a part of; zero when it was in none
	Attempt   int       // from 1; 0 of a run that was skipped without being begun
	State     State     // Running, Succeeded, Failed or Skipped
	StartedAt time.Time
	EndedAt   *time.Time // nil while it runs
	Error     string     // why it failed or was skipped
	Detail    json.RawMessage
}
