package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// FetchDataArgs asks for the data providers to be asked.
type FetchDataArgs struct{}

// Kind implements river.JobArgs.
func (FetchDataArgs) Kind() string { return "fetch_data" }

// InsertOpts implements river.JobArgsWithInsertOpts. While one is waiting or running there is no second.
// One that fails is not repeated before its time: the services count what they are asked.
func (FetchDataArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: QueueFetch, MaxAttempts: 1,
		UniqueOpts: river.UniqueOpts{ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning,
			rivertype.JobStateRetryable, rivertype.JobStateScheduled,
		}},
	}
}

// fetchTime bounds a round of all providers.
const fetchTime = time.Hour

// FetchDataWorker works FetchDataArgs.
type FetchDataWorker struct {
	river.WorkerDefaults[FetchDataArgs]
	fetch func(ctx context.Context) (detail any, err error)
	off   string
}

// NewFetchDataWorker returns the worker. fetch asks every provider that has a key and imports what they
// answer; its detail goes into the record of the run. off says why nothing is fetched, "" when something is.
func NewFetchDataWorker(fetch func(ctx context.Context) (detail any, err error), off string) *FetchDataWorker {
	return &FetchDataWorker{fetch: fetch, off: off}
}

// Timeout implements river.Worker.
func (*FetchDataWorker) Timeout(*river.Job[FetchDataArgs]) time.Duration { return fetchTime }

// Work fetches.
func (w *FetchDataWorker) Work(ctx context.Context, _ *river.Job[FetchDataArgs]) error {
	if w.off != "" {
		NotesOf(ctx).Skip(w.off)
		return nil
	}
	detail, err := w.fetch(ctx)
	NotesOf(ctx).Detail(detail)
	return err
}
