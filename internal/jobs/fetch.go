package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/dawsos/dawsos/internal/provider"
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

// Harvest fetches and imports.
type Harvest interface {
	Fetch(ctx context.Context) ([]provider.Report, error)
}

// FetchDataWorker works FetchDataArgs.
type FetchDataWorker struct {
	river.WorkerDefaults[FetchDataArgs]
	harvest Harvest
	off     string
}

// NewFetchDataWorker returns the worker. off says why nothing is fetched, "" when something is.
func NewFetchDataWorker(h Harvest, off string) *FetchDataWorker {
	return &FetchDataWorker{harvest: h, off: off}
}

// Timeout implements river.Worker.
func (*FetchDataWorker) Timeout(*river.Job[FetchDataArgs]) time.Duration { return fetchTime }

// Work asks every provider that has a key.
func (w *FetchDataWorker) Work(ctx context.Context, _ *river.Job[FetchDataArgs]) error {
	if w.off != "" {
		NotesOf(ctx).Skip(w.off)
		return nil
	}
	reports, err := w.harvest.Fetch(ctx)
	NotesOf(ctx).Detail(reports)
	return err
}
