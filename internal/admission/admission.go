// Package admission decides whether a request is worked on: how many may be under way at the same time
// ([Gate]), how many each caller may send ([Rates]), and how many connections there may be ([Bound]).
//
// What is refused is refused at once and costs little: it is told when to come back, nothing of its body
// is read, and what was let in before goes on at its own pace. All of it is in the memory of the process:
// with n processes a caller may do n times as much.
package admission

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dawsos/dawsos/internal/fault"
)

// Class is a kind of requests with a bound of its own, so that those which take long can't take the
// places of those which don't.
type Class string

// The closed set of classes.
const (
	Ordinary Class = "ordinary" // the API, but for the following
	Runs     Class = "runs"     // patterns: each takes a processor for longer than all else here
	Pages    Class = "pages"    // the console: operators look at it when all else is full
	Files    Class = "files"    // uploads that are read as they come in, for as long as an import may take
	Streams  Class = "streams"  // answers that last: pages kept up to date
)

// Classes are all classes.
var Classes = []Class{Ordinary, Runs, Pages, Files, Streams}

// places says how many requests of each class may be under way when so many ordinary ones may. Too many runs at
// the same time all take so long that agents run into their timeouts, which their breakers take for failures.
func places(ordinary int) map[Class]int {
	return map[Class]int{
		Ordinary: ordinary, Runs: max(ordinary/4, 8), Pages: max(ordinary/4, 8), Files: max(ordinary/8, 8), Streams: max(ordinary, 16),
	}
}

const (
	// maxWait is for how long a request waits for a place. A burst passes in less; when it does not,
	// waiting longer would make everybody slow and help nobody.
	maxWait = 500 * time.Millisecond
	// comeBack is when those that are refused are asked to come back, at the earliest. They are asked to at
	// different times, so that they don't come all at once.
	comeBack, comeBackSpread = time.Second, 2 * time.Second
)

// Why a request is shed, as the metric's label says it.
const (
	queueFull = "queue_full" // as many wait for a place as may
	waited    = "waited"     // it has waited for as long as it may
)

// GateOptions configure a [Gate].
type GateOptions struct {
	// Ordinary is how many requests of that class may be under way. Required. As many may wait for a
	// place, for half a second at most. The other classes have their share of it.
	Ordinary   int
	Registerer prometheus.Registerer
}

// Gate bounds how many requests are under way.
type Gate struct{ classes map[Class]*class }

type class struct {
	places             bulkhead.Bulkhead[any]
	waiting            atomic.Int64
	mayWait            int64
	inFlight           prometheus.Gauge
	shedFull, shedLate prometheus.Counter
}

// NewGate returns a gate that nobody has entered.
func NewGate(o GateOptions) *Gate {
	inFlight := promauto.With(o.Registerer).NewGaugeVec(prometheus.GaugeOpts{
		Name: "dawsos_http_in_flight",
		Help: "Requests under way, by class: ordinary, runs (of patterns), pages (of the console), files (uploads), streams. Probes and scrapes are not counted.",
	}, []string{"class"})
	most := promauto.With(o.Registerer).NewGaugeVec(prometheus.GaugeOpts{
		Name: "dawsos_http_in_flight_max",
		Help: "Requests that may be under way at the same time, by class.",
	}, []string{"class"})
	shed := promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_http_shed_total",
		Help: "Requests answered with 503 because too many are under way, by class and reason: as many wait as may (queue_full), or it has waited for as long as it may (waited).",
	}, []string{"class", "reason"})
	g := &Gate{classes: map[Class]*class{}}
	for name, n := range places(o.Ordinary) {
		most.WithLabelValues(string(name)).Set(float64(n))
		g.classes[name] = &class{
			places: bulkhead.New[any](uint(n)), mayWait: int64(n),
			inFlight: inFlight.WithLabelValues(string(name)),
			shedFull: shed.WithLabelValues(string(name), queueFull), shedLate: shed.WithLabelValues(string(name), waited),
		}
	}
	return g
}

// Enter lets a request in, after a short wait if need be, or refuses it with [fault.Unavailable]. Who was
// let in must leave.
func (g *Gate) Enter(ctx context.Context, of Class) (leave func(), err error) {
	c := g.classes[of]
	if !c.places.TryAcquirePermit() {
		if c.waiting.Add(1) > c.mayWait {
			c.waiting.Add(-1)
			c.shedFull.Inc()
			return nil, full()
		}
		err := c.places.AcquirePermitWithMaxWait(ctx, maxWait)
		c.waiting.Add(-1)
		switch {
		case errors.Is(err, bulkhead.ErrFull):
			c.shedLate.Inc()
			return nil, full()
		case err != nil: // the client has left
			return nil, err
		}
	}
	c.inFlight.Inc()
	return func() {
		c.inFlight.Dec()
		c.places.ReleasePermit()
	}, nil
}

func full() error {
	err := fault.New(fault.Unavailable, "more requests are under way than can be worked on; nothing of this one was done")
	err.RetryAfter = comeBack + rand.N(comeBackSpread) //nolint:gosec // nothing to guess
	return err
}
