package dashboards

import (
	"fmt"
	"strings"
)

// objective is what we promise, over 30 days.
type objective struct {
	name    string
	rule    string  // of the share that broke the promise, before its window
	budget  float64 // that may break it
	promise string
	missed  string // what to do when the budget is spent
	leads   string // the dashboard that tells more
	runbook string
}

func objectives() []objective {
	return []objective{
		{
			name: "Availability", rule: "slo:api_errors:ratio_rate", budget: 0.001, leads: overviewUID, runbook: alertErrorBudget,
			promise: "99.9 % of requests are answered without a 5xx status",
			missed:  "find the status and endpoint in 'API Overview'",
		},
		{
			name: "Latency", rule: "slo:api_slow:ratio_rate", budget: 0.01, leads: overviewUID, runbook: alertLatencyBudget,
			promise: "99 % of requests are answered within 500 ms",
			missed:  "find the slow step in 'API Overview'",
		},
		{
			name: "Delivery", rule: "slo:delivery_failures:ratio_rate", budget: 0.001, leads: deliveryUID, runbook: alertDeliveryBudget,
			promise: "99.9 % of deliveries that have come to an end were delivered",
			missed:  "find causes and destinations in 'Alert Delivery & DLQ', mend and replay",
		},
	}
}

// burnWindows are those that alerts look at, in pairs: both of a pair high means that the budget goes
// now, and not that it went an hour ago.
var burnWindows = []string{"5m", "30m", "1h", "6h", "3d"}

func slo() dashboard {
	d := dashboard{
		file: "slo.json", uid: sloUID, title: titles[sloUID], refresh: "1m", from: "now-24h",
		description: "What we promise over 30 days, how much of what may go wrong is left, and how fast it is being used up. A system younger than 30 days is judged by what there is.",
		next:        []string{overviewUID, deliveryUID, agentsUID, runtimeUID, jobsUID},
	}
	for _, o := range objectives() {
		var burn []query
		for _, w := range burnWindows {
			burn = append(burn, query{expr: fmt.Sprintf("%s%s / %g", o.rule, w, o.budget), legend: w})
		}
		lower := strings.ToLower(o.name)
		d.panels = append(d.panels,
			panel{
				kind: stat, title: o.name + " (30d)", unit: share, decimals: cents(3), height: 8, width: 5, steps: falling(1-o.budget, 1-o.budget/2),
				description: fmt.Sprintf("What was kept of the objective in the last 30 days: %s. Amber is close to the objective, red below it: %s.", o.promise, o.missed),
				queries:     []query{{expr: "1 - " + o.rule + "30d"}},
				links:       []dataLink{to(o.leads)}, runbooks: []string{o.runbook},
			},
			panel{
				kind: stat, title: o.name + " Error Budget Left (30d)", unit: share, decimals: cents(1), height: 8, width: 5, steps: falling(0, 0.25),
				description: fmt.Sprintf("Of the %s %% that may go wrong in 30 days, how much has not yet; below 0 the objective is missed. With less than a quarter left, put changes off: %s.",
					percent(o.budget), o.missed),
				queries: []query{{expr: fmt.Sprintf("1 - %s30d / %g", o.rule, o.budget)}},
				links:   []dataLink{to(o.leads)}, runbooks: []string{o.runbook},
			},
			panel{
				kind: timeSeries, title: o.name + " Burn Rate", unit: times, width: 14, steps: rising(6, 14.4),
				description: fmt.Sprintf("How many times faster than it may the budget of %s is being used up, by window; at 1 it lasts just 30 days. "+
					"14.4 over an hour and 5 minutes, or 6 over 6 hours and 30 minutes, needs somebody now: %s.", lower, o.missed),
				queries: burn,
				links:   []dataLink{to(o.leads)}, runbooks: []string{o.runbook},
			},
		)
	}
	return d
}

func percent(share float64) string { return fmt.Sprintf("%g", share*100) }
