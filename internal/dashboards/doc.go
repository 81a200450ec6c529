// Package dashboards is the one source of the project's Grafana dashboards. A dashboard is a list of
// panels in Go; ids, grid, data sources, links and everything else that all of them share come from
// here, so that no file can differ from the others in them.
//
// The files below dashboards/ are generated:
//
//	go generate ./internal/dashboards
//
// What a panel asks can be had without Grafana, with its variables filled in as Grafana does
// (Queries, Query.Interpolate), for tests to ask real servers.
//
// Three habits keep panels true. A quotient has sum() on both sides, or it would divide each status
// by itself. A quotient and a quantile of nothing are no number: they count as 0 as long as the
// series they are made of are there, and are absent when those are. And what many series go into, or
// a long window, is read from a recording rule (configs/prometheus/rules).
package dashboards

//go:generate go run ./generate ../../dashboards
