package patterns

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/dawsos/dawsos/pkg/agent"
)

// A run whose every step is pure is pure as a whole: its answer depends on the definition, the inputs
// and the data that it sees, and on nothing else. Such answers are kept beside the results of their
// steps, so that the same question about the same data costs one look.

// answerKey names the answer of a run.
func (r *run) answerKey() key {
	b := make([]byte, 0, 512)
	b = append(b, "answer\x00"...)
	b = append(append(append(b, r.keyPrefix...), r.program.hash...), 0)
	for i := range r.program.steps {
		b = append(b, r.program.steps[i].declaration[:]...)
	}
	return sha256.Sum256(appendValue(b, r.scope.inputs))
}

// keepable reports whether an answer is what every run with its key would answer. Failures that were
// passed over may not happen again.
func keepable(a *Answer) bool {
	return !slices.ContainsFunc(a.Trace.Steps, func(s StepTrace) bool { return s.Status == StatusError })
}

// kept makes a cache entry of an answer.
func kept(a *Answer) *result {
	r := rawResult(a.Data)
	r.answer = a
	r.size = 2048 + int64(len(a.Data)) + 512*int64(len(a.Trace.Steps))
	for _, c := range a.Charts {
		r.size += int64(len(c))
	}
	for _, w := range slices.Concat(a.Warnings, a.Trace.Sources) {
		r.size += int64(len(w))
	}
	return r
}

// again returns a kept answer as that of a run in other circumstances of the same data.
func (a *Answer) again(c agent.Context, start time.Time, took time.Duration) *Answer {
	now := *a
	now.Trace.RequestID, now.Trace.TraceID, now.Trace.DurationSeconds = c.RequestID, c.TraceID, took.Seconds()
	now.Trace.Steps = slices.Clone(a.Trace.Steps)
	for i := range now.Trace.Steps {
		s := &now.Trace.Steps[i]
		s.StartedAt, s.DurationSeconds = start.UTC(), 0
		if s.Status == StatusSuccess {
			s.Status = StatusCached
		}
	}
	return &now
}
