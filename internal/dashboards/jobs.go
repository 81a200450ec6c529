package dashboards

// jobsAndData is about what is made by the clock, and what it is made of.
func jobsAndData() dashboard {
	const sinceEpoch = " * 1000" // Grafana's dates are in milliseconds
	never := []mapping{{Type: "value", Options: map[string]mappingResult{"0": {Text: "never", Color: "orange", Index: 0}}}}
	return dashboard{
		file: "jobs_data.json", uid: jobsUID, title: titles[jobsUID], refresh: "30s", from: "now-24h",
		description: "What the worker does by the clock, the pricing packs that come of it, and the market data that come in: is it done, in time, and are the data right?",
		next:        []string{runtimeUID, overviewUID, deliveryUID, agentsUID, sloUID},
		panels: []panel{
			{
				kind: stat, title: "Jobs Late", unit: count, decimals: cents(0), steps: rising(1, 1),
				description: "Periodic jobs that have not succeeded an hour after they should have by their schedule. 0 is normal; below is which, and GET /v1/jobs says what its last run failed of.",
				queries:     []query{{expr: "sum((time() - max by (job) (dawsos_job_due_timestamp_seconds)) > bool 3600)"}},
				links:       []dataLink{to(runtimeUID)},
				runbooks:    []string{alertJobMissed},
			},
			{
				kind: stat, title: "Failed Job Runs", unit: count, decimals: cents(0), steps: rising(1, 10),
				description: "Runs of periodic jobs that failed in the time range, each attempt of a job counted. One that succeeds at the next attempt needs nobody; below is which failed.",
				queries:     []query{{expr: increased(`dawsos_job_runs_total{status="failed"}`), instant: true}},
				links:       []dataLink{to(runtimeUID)},
				runbooks:    []string{alertJobFailing},
			},
			{
				kind: stat, title: "Pricing Packs in Error", unit: count, decimals: cents(0), steps: rising(1, 1),
				description: "Pricing packs that do not reconcile with the ledgers, or whose hash is not that of their data. 0 is normal: GET /v1/pricing-packs?state=error says why.",
				queries:     []query{{expr: `max(dawsos_pricing_packs{state="error"})`}},
				links:       []dataLink{to(overviewUID)},
				runbooks:    []string{alertPackError},
			},
			{
				kind: stat, title: "Rejected Rows", unit: count, decimals: cents(0), steps: rising(1, 1000),
				description: "Rows of imports in the time range that something was wrong with; their files were refused as a whole. Normal is 0: the answer of the import, or the run of fetch_data, names each row.",
				queries:     []query{{expr: increased(`dawsos_import_rows_total{outcome="rejected"}`), instant: true}},
				links:       []dataLink{to(overviewUID)},
				runbooks:    []string{alertImportsRefused},
			},
			{
				kind: timeSeries, title: "Late Jobs", unit: seconds, steps: rising(600, 3600),
				description: "By how much each periodic job is late: the time since it should have succeeded by its schedule. 0 is normal, minutes while the nightly order is at work. " +
					"A line that climbs is a job that fails or that no worker takes up: GET /v1/jobs says which.",
				queries:  []query{{expr: "clamp_min(time() - max by (job) (dawsos_job_due_timestamp_seconds), 0)", legend: "{{job}}"}},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertJobMissed},
			},
			{
				kind: table, title: "Last Success", unit: "dateTimeFromNow", height: 8, steps: plain(),
				description: "When each periodic job last succeeded, in any process. Compare it with the job's schedule in GET /v1/jobs; 'never' is normal of one that is switched off or that waits for its first time.",
				queries:     []query{{expr: "max by (job) (dawsos_job_last_success_timestamp_seconds)" + sinceEpoch, instant: true}},
				mappings:    never,
				columns: []column{
					{field: "job", title: "Job"},
					{field: "Value", title: "Last success"},
				},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertJobMissed},
			},
			{
				kind: timeSeries, title: "Failed and Skipped Job Runs", unit: perSec, steps: plain(),
				description: "Runs of periodic jobs a second that failed or were skipped. 0 is normal. Jobs of the nightly order are tried three times; what depends on one that fails does not run.",
				queries:     []query{{expr: rated(`dawsos_job_runs_total{status!="succeeded"}`, "job", "status"), legend: "{{job}} {{status}}"}},
				links:       []dataLink{traces("dawsos-worker", "job ${__field.labels.job}")},
				runbooks:    []string{alertJobFailing},
			},
			{
				kind: timeSeries, title: "Time in Jobs", unit: share, steps: plain(), stacked: true,
				description: "Share of the last six hours that workers spent in each periodic job; a run counts once it has ended. A hill after midnight is the nightly order; a job near 1 all day is always at work and falls behind.",
				queries:     []query{{expr: "sum by (job) (rate(dawsos_job_duration_seconds_sum[6h]))", legend: "{{job}}"}},
				links:       []dataLink{traces("dawsos-worker", "job ${__field.labels.job}")},
				runbooks:    []string{alertJobMissed},
			},
			{
				kind: table, title: "Job Runs", unit: count, height: 8, steps: plain(),
				description: "Runs of periodic jobs in the time range by how they ended. skipped: there was nothing to do it with, such as BACKUP_DIR, or a job before it failed; the run's error in GET /v1/jobs says which.",
				queries:     []query{{expr: "round(" + increased("dawsos_job_runs_total", "job", "status") + ")", instant: true}},
				columns: []column{
					{field: "job", title: "Job"},
					{field: "status", title: "Status"},
					{field: "Value", title: "Runs"},
				},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertJobFailing},
			},
			{
				kind: table, title: "Mean Time of a Job Run", unit: seconds, height: 8, steps: plain(),
				description: "How long a run of each periodic job took on average in the time range, however it ended; 0 when there was none. It grows with portfolios and days; all of the nightly order together must fit into the night.",
				queries: []query{{
					expr: increased("dawsos_job_duration_seconds_sum", "job") + " / " + increased("dawsos_job_duration_seconds_count", "job") +
						" >= 0 or 0 * " + increased("dawsos_job_duration_seconds_count", "job"),
					instant: true,
				}},
				columns: []column{
					{field: "job", title: "Job"},
					{field: "Value", title: "Mean time"},
				},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertJobMissed},
			},
			{
				kind: timeSeries, title: "Pricing Packs Not Fresh", unit: count, steps: plain(),
				description: "Pricing packs that are warming or in error. A peak after an import or at night that falls to 0 is normal. In error is what does not reconcile with the ledgers: " +
					"GET /v1/pricing-packs?state=error says why.",
				queries:  []query{{expr: `max by (state) (dawsos_pricing_packs{state=~"warming|error"})`, legend: "{{state}}"}},
				links:    []dataLink{to(overviewUID)},
				runbooks: []string{alertPacksWarming, alertPackError},
			},
			{
				kind: table, title: "Pricing Packs by State", unit: count, height: 8, steps: plain(),
				description: "Pricing packs as they are now. fresh are answered from; stale have been replaced after a correction and are kept for the runs that name them; warming are on their way through the nightly order.",
				queries:     []query{{expr: "max by (state) (dawsos_pricing_packs)", instant: true}},
				columns: []column{
					{field: "state", title: "State"},
					{field: "Value", title: "Packs"},
				},
				links:    []dataLink{to(overviewUID)},
				runbooks: []string{alertPacksWarming, alertPackError},
			},
			{
				kind: timeSeries, title: "Imported Rows", unit: perSec, steps: plain(),
				description: "Rows a second of files and of providers' answers, by kind and what became of them. unchanged alone is a feed that repeats itself; changed makes a new revision and new pricing packs of the days it is about; " +
					"rejected means that whole files were refused.",
				queries:  []query{{expr: rated("dawsos_import_rows_total", "kind", "outcome"), legend: "{{kind}} {{outcome}}"}},
				links:    []dataLink{traces("dawsos-api", "POST /v1/imports/{kind}")},
				runbooks: []string{alertImportsRefused},
			},
			{
				kind: timeSeries, title: "Import Duration (P95)", unit: seconds, steps: plain(),
				description: "Nineteen of twenty imports of a kind in the last 5 minutes took less than this, refused ones included; 0 when there were none. " +
					"Seconds for thousands of rows are normal; near IMPORT_TIMEOUT an import ends with 504, and the file should be sent in parts.",
				queries: []query{{expr: p95("dawsos_import_duration_seconds", "", "kind"), legend: "{{kind}}"}},
				links:   []dataLink{traces("dawsos-api", "POST /v1/imports/{kind}"), to(overviewUID)},
			},
			{
				kind: timeSeries, title: "Pattern Runs Recorded and Deleted", unit: perSec, steps: plain(),
				description: "Pattern runs a second that were written to the history, and that were deleted at the end of RUN_RETENTION. " +
					"Once the history is as old as that, both are alike on average; deleted staying below recorded for weeks means that the database grows.",
				queries: []query{
					{expr: rated("dawsos_runs_recorded_total"), legend: "recorded", minStep: backend},
					{expr: rated("dawsos_runs_pruned_total"), legend: "deleted"},
				},
				links:    []dataLink{to(overviewUID)},
				runbooks: []string{alertRunsDropped, alertDatabaseSize},
			},
			{
				kind: timeSeries, title: "Records Deleted", unit: perSec, steps: plain(),
				description: "Events with all that belongs to them, and other records, a second, deleted because their retention has passed. A peak each hour is normal; " +
					"none for days with a database that grows means that prune_events or prune_records does not succeed.",
				queries: []query{
					{expr: rated("dawsos_delivery_events_pruned_total"), legend: "event"},
					{expr: rated("dawsos_records_pruned_total", "record"), legend: "{{record}}"},
				},
				links:    []dataLink{to(deliveryUID)},
				runbooks: []string{alertDatabaseSize},
			},
		},
	}
}
