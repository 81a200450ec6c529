package runs

import "time"

// Insights is what the recorded runs of a period say about how fast patterns and their steps are.
type Insights struct {
	Since, Until time.Time // the period, in whole minutes of the database's clock: started at or after, and before
	Of           Sample    // the runs behind Patterns, Periods and Slowest
	StepsOf      Sample    // the runs behind Steps
	Patterns     []PatternFigures
	Periods      []PeriodFigures // in order of time; one in which nothing ran is missing
	PeriodLength time.Duration
	Slowest      []SlowRun // the slowest first
	Steps        []StepFigures
}

// Sample is the newest runs of a period, as many as can be looked at.
type Sample struct {
	Runs  int
	Since time.Time // all runs of the period that started at or after it
	Whole bool      // it is the whole period
}

// Spread is how long things took.
type Spread struct {
	Median time.Duration
	P95    time.Duration // the 95th percentile, interpolated
}

// PatternFigures is how the runs of a pattern went.
type PatternFigures struct {
	PatternID    string
	Runs, Failed int
	Took         Spread
	Slowest      time.Duration
}

// PeriodFigures is how the runs went that started within a part of the period.
type PeriodFigures struct {
	Began        time.Time
	Runs, Failed int
	Took         Spread
}

// StepFigures is how the calls of a pattern's step went. Steps of a pattern that a step ran are not calls of
// their own: their time is in the step's.
type StepFigures struct {
	PatternID, Step, Capability    string
	Calls, Cached, Skipped, Failed int
	Took                           *Spread // of calls that did work, neither cached nor skipped; nil when none did
}

// SlowRun is a run that took long.
type SlowRun struct {
	ID, PatternID string
	StartedAt     time.Time
	Outcome       Outcome
	Took          time.Duration
}

// Steps counts the steps of a run by how they ended.
type Steps struct{ All, Cached, Skipped int }
