// Package periodic says which jobs the worker runs by the clock, and how they last went.
package periodic

import "time"

// Job is work that the worker does at an interval.
type Job struct {
	Name          string
	Description   string
	Interval      time.Duration
	State         State
	LastStartedAt *time.Time // nil when no run is known, or none has begun
	LastEndedAt   *time.Time // nil while it runs or waits
	NextAt        *time.Time // about; nil when no run is known
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
)
