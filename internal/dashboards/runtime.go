package dashboards

// queueDepth asks a function, since what jobs are about is not for dashboards to read.
const queueDepth = `SELECT queue, state, jobs FROM queue_depth() ORDER BY queue, state`

func runtime() dashboard {
	const ours = `{job=~"dawsos-.*"}`
	return dashboard{
		file: "runtime.json", uid: runtimeUID, title: titles[runtimeUID], refresh: "30s", from: "now-1h",
		description: "What the processes run on: Go, the job queue, PostgreSQL, and whether telemetry itself arrives.",
		next:        []string{overviewUID, agentsUID, deliveryUID, jobsUID, sloUID},
		panels: []panel{
			{
				kind: stat, title: "Targets Down", unit: count, decimals: cents(0), width: 8, steps: rising(1, 1),
				description: "What Prometheus can't scrape. 0 is normal; while it is more, panels of that target show nothing or the past. Prometheus' page 'Targets' says which and why.",
				queries:     []query{{expr: "count(up) - sum(up)"}},
				links:       []dataLink{to(overviewUID)},
				runbooks:    []string{alertAPIDown, alertWorkerDown, alertProcessDown, alertTargetDown},
			},
			{
				kind: stat, title: "PostgreSQL", unit: times, width: 8, steps: falling(1, 1),
				description: "Whether postgres-exporter reaches the database. DOWN: nothing is accepted or delivered; what was accepted is kept and goes on afterwards.",
				queries:     []query{{expr: "min(pg_up)"}},
				mappings: []mapping{{Type: "value", Options: map[string]mappingResult{
					"0": {Text: "DOWN", Color: "red", Index: 0},
					"1": {Text: "UP", Color: "green", Index: 1},
				}}},
				runbooks: []string{alertPostgresDown},
			},
			{
				kind: stat, title: "Connections Used", unit: share, decimals: cents(0), width: 8, steps: rising(0.7, 0.9),
				description: "Share of PostgreSQL's max_connections in use. Normal is well below 70 %. Near 100 % new connections are refused: see below which state holds them.",
				queries:     []query{{expr: "sum(pg_stat_activity_count) / max(pg_settings_max_connections)"}},
				runbooks:    []string{alertConnections},
			},
			{
				kind: timeSeries, title: "Goroutines", unit: count, steps: plain(),
				description: "Goroutines by process. They follow the load; a line that only ever climbs is a leak.",
				queries:     []query{{expr: "go_goroutines" + ours, legend: "{{job}} {{instance}}", minStep: backend}},
				links:       []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "Memory", unit: binary, steps: plain(),
				description: "What the operating system sees (resident) and what Go's heap holds, by process. Heap is a saw tooth; its lower edge climbing for hours is a leak.",
				queries: []query{
					{expr: "process_resident_memory_bytes" + ours, legend: "{{job}} {{instance}} resident", minStep: backend},
					{expr: "go_memstats_heap_inuse_bytes" + ours, legend: "{{job}} {{instance}} heap", minStep: backend},
				},
				links: []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "Garbage Collection", unit: share, steps: plain(),
				description: "Share of time that each process stood still for garbage collection. Normal is below 0.1 %; more together with latency means too little memory.",
				queries:     []query{{expr: "rate(go_gc_duration_seconds_sum" + ours + "[$__rate_interval])", legend: "{{job}} {{instance}}", minStep: "30s"}},
				links:       []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "CPU", unit: times, steps: plain(),
				description: "Processors that each process keeps busy. At the number that it may use, everything becomes slow at once.",
				queries:     []query{{expr: "rate(process_cpu_seconds_total" + ours + "[$__rate_interval])", legend: "{{job}} {{instance}}", minStep: "30s"}},
				links:       []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "Queue Lag", unit: seconds, steps: rising(30, 300),
				description: "How long the oldest job of each River queue that could be worked has been waiting. Normal is near 0. Rising: the worker is down, or has too little WORKER_CONCURRENCY for the receivers' slowness.",
				queries:     []query{{expr: "max by (queue) (dawsos_queue_lag_seconds)", legend: "{{queue}}"}},
				links:       []dataLink{to(deliveryUID)},
				runbooks:    []string{alertQueueLag},
			},
			{
				kind: table, title: "Queue Depth", unit: count, height: 8, steps: plain(),
				description: "River's unfinished jobs by queue and state, as PostgreSQL has them now; counting ends at 100,000 of each state. " +
					"scheduled are mostly dead letters' next retries. available growing means that the worker can't keep up.",
				queries: []query{{sql: queueDepth}},
				columns: []column{
					{field: "queue", title: "queue"},
					{field: "state", title: "state"},
					{field: "jobs", title: "jobs"},
				},
				runbooks: []string{alertQueueLag},
			},
			{
				kind: timeSeries, title: "Pattern Runs Waiting to Be Recorded", unit: count, steps: plain(),
				description: "Finished pattern runs held in memory until they are written to the history. Near 0 is normal; when it is full, runs are dropped (see 'Telemetry Losses').",
				queries:     []query{{expr: "sum(dawsos_run_queue_length)", legend: "runs", minStep: backend}},
				links:       []dataLink{to(overviewUID)},
				runbooks:    []string{alertRunsDropped},
			},
			{
				kind: timeSeries, title: "Database Pools", unit: share, steps: rising(0.8, 1),
				description: "Share of each process's pool of connections that is in use. At 1 whoever wants one waits: look for slow statements before you raise DATABASE_POOL_MAX.",
				queries:     []query{{expr: `sum by (instance) (dawsos_database_pool_connections{state="acquired"}) / sum by (instance) (dawsos_database_pool_max_connections)`, legend: "{{instance}}"}},
				links:       []dataLink{to(overviewUID)},
				runbooks:    []string{alertConnections},
			},
			{
				kind: timeSeries, title: "Waits for a Connection", unit: seconds, steps: plain(),
				description: "Seconds that callers wait for a connection of their process's pool, all together and each second; 0 is normal. Above 0 requests are slower by it: see the pools.",
				queries:     []query{{expr: `sum by (instance) (rate(dawsos_database_pool_wait_seconds_total[$__rate_interval]))`, legend: "{{instance}}"}},
				links:       []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "Requests That Wait for a Connection", unit: perSec, steps: plain(),
				description: "How often a second a connection was wanted and none of the process's pool was idle; 0 is normal. Often and briefly is a pool that is a little small; " +
					"seldom and long (see the seconds beside it) is one statement that holds everybody up.",
				queries: []query{{expr: "sum by (instance) (rate(dawsos_database_pool_waits_total[$__rate_interval]))", legend: "{{instance}}"}},
				links:   []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "PostgreSQL Connections", unit: count, steps: plain(), stacked: true,
				description: "Connections by state. Many active ones wait for the disk or for locks; 'idle in transaction' that stays is a transaction that somebody forgot.",
				queries:     []query{{expr: "sum by (state) (pg_stat_activity_count)", legend: "{{state}}"}},
				runbooks:    []string{alertConnections},
			},
			{
				kind: timeSeries, title: "PostgreSQL Transactions", unit: perSec, steps: plain(),
				description: "Transactions a second, committed and rolled back, and deadlocks. A few rollbacks are normal; deadlocks are not.",
				queries: []query{
					{expr: rated("pg_stat_database_xact_commit"), legend: "committed"},
					{expr: rated("pg_stat_database_xact_rollback"), legend: "rolled back"},
					{expr: rated("pg_stat_database_deadlocks"), legend: "deadlocks"},
				},
				links: []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "PostgreSQL Reads from Disk", unit: share, steps: plain(),
				description: "Share of pages that were not in PostgreSQL's buffers; 0 when nothing is read. Normal is below a few per cent. More, and latency with it: the data outgrew the memory.",
				queries:     []query{{expr: sumRatio("pg_stat_database_blks_read", "pg_stat_database_blks_hit"), legend: "read"}},
				links:       []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "Database Size", unit: binary, steps: plain(),
				description: "Size of each database on disk. Retention bounds it: a line that climbs without end means that pruning does not keep up.",
				queries:     []query{{expr: `max by (datname) (pg_database_size_bytes{datname!~"template.*"})`, legend: "{{datname}}"}},
				links:       []dataLink{to(deliveryUID)},
				runbooks:    []string{alertDatabaseSize},
			},
			{
				kind: timeSeries, title: "Collector Spans", unit: perSec, steps: plain(),
				description: "Spans a second that the collector took in and handed on to Jaeger. What goes out is less by probes and by sampling; a gap that grows is a queue filling up.",
				queries: []query{
					{expr: "sum(rate(otelcol_receiver_accepted_spans_total{job=\"otel-collector\"}[$__rate_interval])) or vector(0)", legend: "accepted"},
					{expr: "sum(rate(otelcol_exporter_sent_spans_total{job=\"otel-collector\"}[$__rate_interval])) or vector(0)", legend: "sent"},
				},
				runbooks: []string{alertSpansDropped},
			},
			{
				kind: timeSeries, title: "Telemetry Losses", unit: perSec, steps: plain(),
				description: "What was measured and did not arrive, a second: spans and log records that our processes could not hand to the collector, spans that the collector refused or could not hand on, " +
					"pattern runs missing in the history. 0 is normal. Requests don't suffer from it, but traces and history have holes.",
				queries: []query{
					{expr: `sum(rate(dawsos_trace_spans_total{outcome=~"failed|dropped"}[$__rate_interval])) or vector(0)`, legend: "spans not taken by the collector"},
					{expr: `sum(rate(dawsos_log_records_total{outcome=~"failed|dropped"}[$__rate_interval])) or vector(0)`, legend: "log records not taken by the collector"},
					{expr: "sum(rate(otelcol_receiver_refused_spans_total{job=\"otel-collector\"}[$__rate_interval])) or vector(0)", legend: "spans refused by the collector"},
					{expr: "sum(rate(otelcol_exporter_send_failed_spans_total{job=\"otel-collector\"}[$__rate_interval])) or vector(0)", legend: "spans lost behind the collector"},
					{expr: rated("dawsos_runs_dropped_total"), legend: "pattern runs not recorded"},
				},
				runbooks: []string{alertTracesLost, alertSpansRefused, alertSpansDropped, alertRunsDropped},
			},
			{
				kind: timeSeries, title: "Collector Memory", unit: binary, steps: plain(),
				description: "The collector's resident memory. Its memory limiter refuses data from 384 MiB on, and has the garbage collected at 512 MiB.",
				queries:     []query{{expr: "max(otelcol_process_memory_rss_bytes{job=\"otel-collector\"})", legend: "resident"}},
				runbooks:    []string{alertSpansRefused},
			},
			{
				kind: timeSeries, title: "Collector Queue", unit: count, steps: plain(),
				description: "Batches that wait in the collector for Jaeger. Near 0 is normal; a full queue loses what comes next.",
				queries:     []query{{expr: "sum by (exporter) (otelcol_exporter_queue_size{job=\"otel-collector\"})", legend: "{{exporter}}"}},
				runbooks:    []string{alertSpansDropped},
			},
			{
				kind: table, title: "Versions", unit: times, height: 8, steps: plain(),
				description: "Which build each process is. Two versions at once are normal during an upgrade and at no other time; what begins to be slow or to fail with a new one is that one's.",
				queries:     []query{{expr: "dawsos_build_info", minStep: backend, instant: true}},
				columns: []column{
					{field: "process", title: "Process"},
					{field: "instance", title: "Instance"},
					{field: "version", title: "Version"},
					{field: "commit", title: "Commit"},
					{field: "go_version", title: "Go"},
				},
				links: []dataLink{to(overviewUID)},
			},
		},
	}
}
