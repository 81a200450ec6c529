package app

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// poolCollector reads the pool's own statistics at the scrape.
type poolCollector struct {
	stat                              func() *pgxpool.Stat
	connections, limit, waits, waited *prometheus.Desc
}

func newPoolCollector(stat func() *pgxpool.Stat) *poolCollector {
	return &poolCollector{
		stat: stat,
		connections: prometheus.NewDesc("dawsos_database_pool_connections",
			"Connections of this process to the database, by state: acquired (in use), idle, constructing.", []string{"state"}, nil),
		limit: prometheus.NewDesc("dawsos_database_pool_max_connections",
			"Connections that this process has to the database at most, DATABASE_POOL_MAX.", nil, nil),
		waits: prometheus.NewDesc("dawsos_database_pool_waits_total",
			"Times that a connection was wanted and none was idle.", nil, nil),
		waited: prometheus.NewDesc("dawsos_database_pool_wait_seconds_total",
			"Time spent waiting for a connection when none was idle.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.connections, c.limit, c.waits, c.waited} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stat()
	for state, n := range map[string]int32{"acquired": s.AcquiredConns(), "idle": s.IdleConns(), "constructing": s.ConstructingConns()} {
		ch <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(n), state)
	}
	ch <- prometheus.MustNewConstMetric(c.limit, prometheus.GaugeValue, float64(s.MaxConns()))
	ch <- prometheus.MustNewConstMetric(c.waits, prometheus.CounterValue, float64(s.EmptyAcquireCount()))
	ch <- prometheus.MustNewConstMetric(c.waited, prometheus.CounterValue, s.EmptyAcquireWaitTime().Seconds())
}
