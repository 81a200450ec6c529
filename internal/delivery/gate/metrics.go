package gate

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dawsos/dawsos/internal/delivery"
)

const (
	// maxNamed bounds the series of single destinations.
	maxNamed = 200
	// destination is how the endpoints of named destinations begin.
	destination = "destination:"
)

// register adds the gate's metrics.
func (g *Gate) register(reg prometheus.Registerer) {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	g.holds = promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_delivery_holds_total",
		Help: "Attempts that were due and not made, by reason (breaker, rate_limit, concurrency). No attempt is used up by them.",
	}, []string{"reason"})
	for _, reason := range []delivery.HoldReason{delivery.HeldByBreaker, delivery.HeldByRate, delivery.HeldByConcurrency} {
		g.holds.WithLabelValues(string(reason))
	}
	reg.MustRegister(&collector{
		gate: g,
		named: prometheus.NewDesc("dawsos_destination_breaker_state",
			"State of a named destination's circuit breaker in this process: 0 closed, 1 open, 2 half-open: the next attempt probes. The first 200 by name.",
			[]string{"destination"}, nil),
		all: prometheus.NewDesc("dawsos_endpoint_breakers",
			"Endpoints whose circuit breaker is in a state in this process, addresses given with events included.",
			[]string{"state"}, nil),
	})
}

// collector reads the breakers at the scrape: what is forgotten has no series left behind.
type collector struct {
	gate       *Gate
	named, all *prometheus.Desc
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.named
	ch <- c.all
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	counts := make(map[state]int, len(states))
	named := make(map[string]state)
	now := c.gate.Now()
	c.gate.mu.Lock()
	for k, e := range c.gate.endpoints {
		present := e.breaker.shown(now)
		counts[present]++
		name, ok := strings.CutPrefix(k.id, destination)
		if !ok {
			continue
		}
		// Tenants may have destinations of one name; what is open shows.
		if was, known := named[name]; !known || worse(present, was) {
			named[name] = present
		}
	}
	c.gate.mu.Unlock()

	for s, label := range states {
		ch <- prometheus.MustNewConstMetric(c.all, prometheus.GaugeValue, float64(counts[s]), label)
	}
	names := make([]string, 0, len(named))
	for name := range named {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names[:min(len(names), maxNamed)] {
		ch <- prometheus.MustNewConstMetric(c.named, prometheus.GaugeValue, float64(named[name]), name)
	}
}

// worse orders open before half-open before closed.
func worse(a, b state) bool {
	order := map[state]int{closed: 0, halfOpen: 1, open: 2}
	return order[a] > order[b]
}
