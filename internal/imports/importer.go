package imports

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// mostAtOnce bounds the imports that one process has under way, and with them the database connections
// and the disk for staged rows that they hold. Others wait.
const mostAtOnce = 4

// Importer imports files, some at a time, and counts what became of their rows.
type Importer struct {
	store    Store
	slots    chan struct{}
	rows     *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// The outcomes of rows. A row is rejected when something is wrong with it; the other rows of its file,
// which is then refused as a whole, count as nothing.
const (
	inserted  = "inserted"
	changed   = "changed"
	unchanged = "unchanged"
	rejected  = "rejected"
)

// New returns an importer into s.
func New(s Store, reg prometheus.Registerer) *Importer {
	i := &Importer{
		store: s, slots: make(chan struct{}, mostAtOnce),
		rows: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_import_rows_total",
			Help: "Rows of imported files by kind and outcome: inserted, changed, unchanged, or rejected because something is wrong with them.",
		}, []string{"kind", "outcome"}),
		duration: promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dawsos_import_duration_seconds",
			Help:    "Seconds from the start of an import to its end, refused ones included, by kind.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 120, 300, 600},
		}, []string{"kind"}),
	}
	for _, kind := range Kinds() {
		i.duration.WithLabelValues(string(kind))
		for _, outcome := range []string{inserted, changed, unchanged, rejected} {
			i.rows.WithLabelValues(string(kind), outcome)
		}
	}
	return i
}

// Import imports one file.
func (i *Importer) Import(ctx context.Context, r Request) (Summary, error) {
	select {
	case i.slots <- struct{}{}:
		defer func() { <-i.slots }()
	case <-ctx.Done():
		return Summary{}, ctx.Err()
	}
	start := time.Now()
	s, err := i.store.Import(ctx, r)
	i.duration.WithLabelValues(string(r.Kind)).Observe(time.Since(start).Seconds())
	count := func(outcome string, n int64) {
		i.rows.WithLabelValues(string(r.Kind), outcome).Add(float64(n))
	}
	if err != nil {
		if refused, ok := errors.AsType[*RefusedError](err); ok {
			count(rejected, refused.Rows)
		}
		return Summary{}, err
	}
	count(inserted, s.Inserted)
	count(changed, s.Changed)
	count(unchanged, s.Unchanged)
	return s, nil
}
