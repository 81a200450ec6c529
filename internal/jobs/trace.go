package jobs

import (
	"context"
	"errors"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Tracing carries the trace of whoever inserts a job to whoever works it, in the job's metadata,
// so that an event's whole way is one trace. River's own middleware does not.
type Tracing struct {
	river.MiddlewareDefaults
	tracer trace.Tracer
}

// NewTracing returns the middleware, for inserting and working clients alike.
func NewTracing(tracer trace.Tracer) *Tracing { return &Tracing{tracer: tracer} }

var (
	_ rivertype.JobInsertMiddleware = (*Tracing)(nil)
	_ rivertype.WorkerMiddleware    = (*Tracing)(nil)
)

const traceParentKey = "traceparent"

// InsertMany implements rivertype.JobInsertMiddleware.
func (t *Tracing) InsertMany(ctx context.Context, params []*rivertype.JobInsertParams,
	next func(context.Context) ([]*rivertype.JobInsertResult, error),
) ([]*rivertype.JobInsertResult, error) {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if parent := carrier.Get(traceParentKey); parent != "" {
		for _, p := range params {
			if gjson.GetBytes(p.Metadata, traceParentKey).Exists() {
				continue // set by whoever knows the event's own trace
			}
			metadata, err := sjson.SetBytes(p.Metadata, traceParentKey, parent)
			if err != nil {
				return nil, err
			}
			p.Metadata = metadata
		}
	}
	return next(ctx)
}

// Work implements rivertype.WorkerMiddleware.
func (t *Tracing) Work(ctx context.Context, job *rivertype.JobRow, next func(context.Context) error) error {
	parent := gjson.GetBytes(job.Metadata, traceParentKey).String()
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceParentKey: parent})
	ctx, span := t.tracer.Start(ctx, "job "+job.Kind, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.Int64("river.job_id", job.ID), attribute.String("river.queue", job.Queue)))
	defer span.End()
	err := next(ctx)
	if err != nil && !isSnooze(err) {
		span.RecordError(err)
		span.SetStatus(codes.Error, "the job failed")
	}
	return err
}

// isSnooze tells a job that waits for its next time from one that failed.
func isSnooze(err error) bool {
	var snooze *rivertype.JobSnoozeError
	return errors.As(err, &snooze)
}

// TraceMetadata returns job metadata that continues the given W3C trace.
func TraceMetadata(traceParent string) []byte {
	if traceParent == "" {
		return nil
	}
	metadata, err := sjson.SetBytes([]byte("{}"), traceParentKey, traceParent)
	if err != nil { // a constant key in a constant document
		panic(err)
	}
	return metadata
}
