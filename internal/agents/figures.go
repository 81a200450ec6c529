package agents

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Figures are what this process has counted and timed of an agent, for people who look at it. They come
// from the histograms of the metric agent_latency and the counters of agent_invocations_total.
type Figures struct {
	Agent        CallFigures            // of all its capabilities together
	Capabilities map[string]CallFigures // by name
}

// CallFigures count calls and tell how long they took, with their retries and the waits between. Refused
// calls count as failed and took no time.
type CallFigures struct {
	Succeeded, Failed int64
	Timed             int64 // calls that the quantiles are of
	// P50 and P95 are what half of the calls and 95 % of them stay below, within 5 % of the truth or as
	// far as few calls allow; 0 when Timed is.
	P50, P95 time.Duration
	// Since is when the timing began: with the process, or when a histogram that had grown too fine began
	// anew. Zero when Timed is 0.
	Since time.Time
}

// Figures returns what is known of an agent; it is empty for one that there is not.
func (r *Runtime) Figures(agentName string) (Figures, error) {
	f := Figures{Capabilities: map[string]CallFigures{}}
	var all timing
	for name, c := range r.directory.Load().capabilities {
		if c.guard.name != agentName {
			continue
		}
		one, err := c.metrics.read()
		if err != nil {
			return Figures{}, fmt.Errorf("figures of %s: %w", name, err)
		}
		f.Capabilities[name] = one.figures()
		all.add(one)
	}
	f.Agent = all.figures()
	return f, nil
}

// read takes the series' present values.
func (c capabilityMetrics) read() (timing, error) {
	var t timing
	for counter, into := range map[prometheus.Counter]*int64{c.succeeded: &t.succeeded, c.failed: &t.failed} {
		var m dto.Metric
		if err := counter.Write(&m); err != nil {
			return timing{}, err
		}
		*into = int64(m.GetCounter().GetValue())
	}
	histogram, ok := c.latency.(prometheus.Metric)
	if !ok {
		return timing{}, fmt.Errorf("%T can't be read", c.latency)
	}
	var m dto.Metric
	if err := histogram.Write(&m); err != nil {
		return timing{}, err
	}
	h := m.GetHistogram()
	t.timed = int64(h.GetSampleCount()) //nolint:gosec // a count of calls
	if t.timed > 0 {
		t.since = h.GetCreatedTimestamp().AsTime()
		t.buckets = buckets(h)
	}
	return t, nil
}

// bucket counts the calls that took longer than lower seconds and no longer than upper.
type bucket struct {
	lower, upper float64
	count        int64
}

// buckets returns those of a native histogram that hold something. Latencies are not negative.
func buckets(h *dto.Histogram) []bucket {
	base := math.Pow(2, math.Pow(2, -float64(h.GetSchema())))
	var list []bucket
	if n := h.GetZeroCount(); n > 0 {
		list = append(list, bucket{0, h.GetZeroThreshold(), int64(n)}) //nolint:gosec // a count of calls
	}
	deltas := h.GetPositiveDelta()
	index, count := int32(0), int64(0)
	for _, span := range h.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			if count > 0 {
				list = append(list, bucket{math.Pow(base, float64(index-1)), math.Pow(base, float64(index)), count})
			}
			index++
		}
	}
	return list
}

// timing is what series hold, of one capability or of several.
type timing struct {
	succeeded, failed, timed int64
	since                    time.Time
	buckets                  []bucket
}

// add puts another one's calls to t's. Histograms of coarser and finer buckets may meet; those of the
// coarser begin and end where finer ones do.
func (t *timing) add(o timing) {
	t.succeeded += o.succeeded
	t.failed += o.failed
	t.timed += o.timed
	if t.since.IsZero() || (!o.since.IsZero() && o.since.Before(t.since)) {
		t.since = o.since
	}
	t.buckets = append(t.buckets, o.buckets...)
}

func (t timing) figures() CallFigures {
	slices.SortFunc(t.buckets, func(a, b bucket) int { return cmp.Compare(a.upper, b.upper) })
	return CallFigures{
		Succeeded: t.succeeded, Failed: t.failed, Timed: t.timed, Since: t.since,
		P50: t.quantile(0.50), P95: t.quantile(0.95),
	}
}

// quantile finds the bucket that the q-th call lies in, and the place in it as if its calls were spread
// evenly over the logarithm of time, as PromQL's histogram_quantile does.
func (t timing) quantile(q float64) time.Duration {
	rank, below := q*float64(t.timed), 0.0
	for _, b := range t.buckets {
		n := float64(b.count)
		if below+n < rank {
			below += n
			continue
		}
		part := (rank - below) / n
		seconds := b.lower + part*(b.upper-b.lower)
		if b.lower > 0 {
			seconds = b.lower * math.Pow(b.upper/b.lower, part)
		}
		return time.Duration(seconds * float64(time.Second))
	}
	return 0
}
