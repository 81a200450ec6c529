package dashboards

func apiOverview() dashboard {
	return dashboard{
		file: "api_overview.json", uid: overviewUID, title: titles[overviewUID], refresh: "5s", from: "now-1h",
		description: "Requests to the API and the patterns that they run: how many, how fast, how many fail.",
		next:        []string{agentsUID, deliveryUID, sloUID, runtimeUID, jobsUID},
		panels: []panel{
			{
				kind: stat, title: "Request Rate", unit: requests, steps: plain(),
				description: "Requests a second over all endpoints, probes and scrapes not counted. Normal is what your callers make of it; " +
					"a sudden 0 means that nobody reaches the API: see whether it is up and what stands before it.",
				queries:  []query{{expr: rated("api_requests_total"), minStep: backend}},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertAPIDown},
			},
			{
				kind: stat, title: "Error Rate", unit: share, decimals: cents(2), steps: rising(0.001, 0.01),
				description: "Share of requests answered with a 5xx status in the last 5 minutes; 0 when there are none. Normal is below 0.1 %, the objective. " +
					"Above it, find the status below, then a trace of it, then the log lines with its trace id.",
				queries:  []query{{expr: "dawsos:api_errors:ratio_rate5m"}},
				links:    []dataLink{to(sloUID)},
				runbooks: []string{alertErrorBudget},
			},
			{
				kind: stat, title: "P95 Latency", unit: seconds, steps: rising(0.5, 1),
				description: "Nineteen of twenty requests of the last 5 minutes were answered faster than this; 0 when there were none. Normal is below 0.5 s. " +
					"Above it, see which step takes the time below, and whether connections or the processor are short in 'Runtime'.",
				queries:  []query{{expr: "dawsos:api_latency:p95_5m"}},
				links:    []dataLink{to(agentsUID), to(runtimeUID)},
				runbooks: []string{alertLatencyP95},
			},
			{
				kind: stat, title: "Total Pattern Executions", unit: count, decimals: cents(0), steps: plain(),
				description: "Pattern runs that began in the time range, whatever came of them. Requests refused for their inputs are none.",
				queries:     []query{{expr: increased("pattern_executions_total"), minStep: backend, instant: true}},
				links:       []dataLink{to(agentsUID)},
			},
			{
				kind: timeSeries, title: "Request Rate by Status", unit: requests, steps: plain(), stacked: true,
				description: "Requests a second by the status of their answer. 4xx are callers' mistakes; 429 and 503 mean that something protects itself. " +
					"5xx beyond a trickle needs the runbook.",
				queries:  []query{{expr: "status:api_requests:rate5m", legend: "{{status}}"}},
				links:    []dataLink{traces("dawsos-api", "")},
				runbooks: []string{alertErrorBudget},
			},
			{
				kind: timeSeries, title: "API Latency Percentiles", unit: seconds, steps: rising(0.5, 1),
				description: "P50, P95 and P99 of all requests over 5 minutes. Each dot is a request that was traced: a click leads to its trace. " +
					"P99 rising alone is one slow endpoint or pattern; all three together are the database or the machine.",
				queries: []query{
					{expr: "dawsos:api_latency:p50_5m", legend: "P50"},
					{expr: p95("api_latency", ""), legend: "P95", minStep: backend, exemplars: true},
					{expr: "dawsos:api_latency:p99_5m", legend: "P99"},
				},
				links:    []dataLink{to(agentsUID), to(runtimeUID)},
				runbooks: []string{alertLatencyP95, alertLatencyP99},
			},
			{
				kind: timeSeries, title: "Pattern Execution Rate", unit: perSec, steps: plain(),
				description: "Pattern runs a second by pattern and outcome. Errors of one pattern point to its definition or its agent, errors of all to the database.",
				queries: []query{{
					expr: rated("pattern_executions_total", "pattern_id", "status"), legend: "{{pattern_id}} {{status}}", minStep: backend,
				}},
				links: []dataLink{traces("dawsos-api", "pattern ${__field.labels.pattern_id}"), to(agentsUID)},
			},
			{
				kind: timeSeries, title: "Pattern Step Duration", unit: seconds, steps: plain(),
				description: "P95 of each step of each pattern over 5 minutes, 0 where none ran. The highest line is where a slow pattern spends its time; " +
					"its capability's agent is in 'Agent Performance'.",
				queries: []query{{
					expr: "pattern_step:pattern_step_duration:p95_5m", legend: "{{pattern_id}} step {{step_index}} {{capability}}",
				}},
				links: []dataLink{traces("dawsos-api", "pattern ${__field.labels.pattern_id}"), to(agentsUID)},
			},
			{
				kind: stat, title: "Patterns Served", unit: count, decimals: cents(0), steps: plain(),
				description: "Patterns that every API process serves; the least, where processes differ. It changes when files are added to or taken from the pattern directory, and at no other time.",
				queries:     []query{{expr: "min(dawsos_patterns_loaded)", minStep: backend}},
				links:       []dataLink{to(agentsUID)},
				runbooks:    []string{alertPatternFiles},
			},
			{
				kind: stat, title: "Invalid Pattern Files", unit: count, decimals: cents(0), steps: rising(1, 1),
				description: "Files of the pattern directory that can't be served. 0 is normal. What was loaded before stays until the process restarts: mend the file before that, api validate says what is wrong.",
				queries:     []query{{expr: "max(dawsos_pattern_files_invalid)", minStep: backend}},
				links:       []dataLink{to(agentsUID)},
				runbooks:    []string{alertPatternFiles},
			},
			{
				kind: stat, title: "Refused Pattern Reloads", unit: count, decimals: cents(0), steps: rising(1, 10),
				description: "Times in the time range that changed pattern files were not taken over because one has errors or the directory can't be read. The log names file and place.",
				queries:     []query{{expr: increased(`dawsos_pattern_reloads_total{outcome="refused"}`), minStep: backend, instant: true}},
				links:       []dataLink{to(agentsUID)},
				runbooks:    []string{alertPatternFiles},
			},
			{
				kind: stat, title: "Patterns Loaded", unit: "dateTimeFromNow", steps: plain(),
				description: "Since when the patterns that are served have been, in the process that loaded them first. After a change it is as young as the change in every process; one that is older did not see it.",
				queries:     []query{{expr: "min(dawsos_pattern_last_reload_success_timestamp_seconds) * 1000", minStep: backend, instant: true}},
				links:       []dataLink{to(agentsUID)},
				runbooks:    []string{alertPatternFiles},
			},
			{
				kind: timeSeries, title: "Pattern Cache Requests", unit: perSec, steps: plain(),
				description: "Calls of capabilities a second by where their result is from: made before within the run, found in the cache, shared with a call under way, or computed (miss); and results that had to make room. " +
					"Mostly misses are normal after new data. Evictions that go on while misses are many: PATTERN_CACHE_SIZE is too small.",
				queries: []query{
					{expr: rated(`dawsos_pattern_memo_requests_total{outcome="hit"}`), legend: "same run", minStep: backend},
					{expr: rated("dawsos_pattern_cache_requests_total", "outcome"), legend: "cache {{outcome}}", minStep: backend},
					{expr: rated("dawsos_pattern_cache_evictions_total"), legend: "evicted", minStep: backend},
				},
				links: []dataLink{to(runtimeUID), to(agentsUID)},
			},
			{
				kind: timeSeries, title: "Pattern Cache Size", unit: binary, steps: plain(),
				description: "Estimated bytes of the results in each process's cache. It climbs to PATTERN_CACHE_SIZE and stays there; falling at once is a restart.",
				queries:     []query{{expr: "dawsos_pattern_cache_bytes", legend: "{{instance}}", minStep: backend}},
				links:       []dataLink{to(runtimeUID)},
			},
			{
				kind: timeSeries, title: "Callers Refused", unit: requests, steps: plain(),
				description: "Requests a second answered with 401, by what was shown: nothing (missing), an API key, or a token. A trickle is normal: scanners, keys that expired. " +
					"A line that jumps is a program with an old key, who issues tokens with new keys or claims, or somebody who tries.",
				queries:  []query{{expr: rated("dawsos_auth_refused_total", "shown"), legend: "{{shown}}", minStep: backend}},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertCallersRefused},
			},
			{
				kind: timeSeries, title: "Readings of Token Keys", unit: count, steps: plain(),
				description: "Readings within 15 minutes of the keys at AUTH_JWKS_URL that verify tokens, of all processes. One an hour for each process that sees tokens is normal, and none without tokens. " +
					"Failed ones alone: after a day every token is answered with 503.",
				queries:  []query{{expr: "sum by (outcome) (increase(dawsos_auth_key_set_readings_total[15m]))", legend: "{{outcome}}", minStep: backend}},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertTokenKeys},
			},
			{
				kind: timeSeries, title: "Places Taken", unit: share, steps: rising(0.8, 1),
				description: "Share of the places for requests that are taken, of the process where it is greatest, by class. At 1 requests wait for up to half a second, and further ones are shed: " +
					"add processes, or find what makes requests slow, before you raise MAX_CONCURRENT_REQUESTS.",
				queries:  []query{{expr: "max by (class) (dawsos_http_in_flight / dawsos_http_in_flight_max)", legend: "{{class}}", minStep: backend}},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertShed},
			},
			{
				kind: timeSeries, title: "Requests Refused", unit: perSec, steps: plain(),
				description: "Requests a second that were refused: shed with 503 because too many were under way, limited with 429 because their caller sends more than RATE_LIMIT, " +
					"and connections closed because there were MAX_CONNECTIONS. 0 is normal; 429 is the callers' affair, the others are ours.",
				queries: []query{
					{expr: rated("dawsos_http_shed_total", "class", "reason"), legend: "shed {{class}} {{reason}}", minStep: backend},
					{expr: rated("dawsos_rate_limited_total", "by"), legend: "limited {{by}}", minStep: backend},
					{expr: rated("dawsos_http_connections_refused_total"), legend: "connections", minStep: backend},
				},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertShed},
			},
			{
				kind: timeSeries, title: "Connections of Clients", unit: count, steps: plain(),
				description: "Connections that each API process has open, idle ones included. They follow the number of clients; a line that climbs to MAX_CONNECTIONS is clients that open one for each request, or never close any.",
				queries:     []query{{expr: "dawsos_http_connections", legend: "{{instance}}", minStep: backend}},
				links:       []dataLink{to(runtimeUID)},
				runbooks:    []string{alertShed},
			},
		},
	}
}
