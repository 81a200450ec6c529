package dashboards

// The queries of PostgreSQL read one tenant, by indexes, and a bounded number of rows: a dashboard
// must not make an outage worse by counting it. What that leaves out is in the panels' descriptions.
const (
	averageRetryCount = `SELECT coalesce(avg(retry_count), 0)::float8 AS retries
FROM (SELECT retry_count FROM alert_dlq
      WHERE tenant_id = 'default' AND state = 'pending'
      ORDER BY id LIMIT 10000) AS oldest`

	// The oldest of those being retried have been retried most; those exhausted all have, and the
	// newest of them matter.
	failedAlerts = `SELECT alert_id, retry_count, error_message, created_at, last_retry_at, state, target
FROM ((SELECT alert_id, retry_count, error_message, created_at, last_retry_at, state, target, id
       FROM alert_dlq WHERE tenant_id = 'default' AND state = 'pending'
       ORDER BY id LIMIT 10000)
      UNION ALL
      (SELECT alert_id, retry_count, error_message, created_at, last_retry_at, state, target, id
       FROM alert_dlq WHERE tenant_id = 'default' AND state = 'exhausted'
       ORDER BY id DESC LIMIT 10000)) AS failed
ORDER BY retry_count DESC, id DESC LIMIT 10`

	// Deliveries have no index by tenant: the newest of all are few enough to look through.
	recentDeliveries = `SELECT delivered_at, alert_id, target, attempts, extract(epoch FROM delivered_at - accepted_at)::float8 AS took, trace_id
FROM (SELECT tenant_id, delivered_at, alert_id, target, attempts, accepted_at, trace_id
      FROM alert_deliveries ORDER BY delivered_at DESC LIMIT 1000) AS newest
WHERE tenant_id = 'default'
ORDER BY delivered_at DESC LIMIT 10`

	backlogByDestination = `SELECT endpoint, count(*) AS waiting
FROM (SELECT endpoint FROM alert_dlq WHERE tenant_id = 'default' AND state = 'pending' LIMIT 100000) AS pending
GROUP BY endpoint ORDER BY waiting DESC, endpoint LIMIT 20`

	timeToExhaustion = `SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (
         ORDER BY extract(epoch FROM coalesce(last_retry_at, created_at) - accepted_at)), 0)::float8 AS seconds
FROM (SELECT last_retry_at, created_at, accepted_at FROM alert_dlq
      WHERE tenant_id = 'default' AND state = 'exhausted'
      ORDER BY id DESC LIMIT 1000) AS newest`
)

func alertDelivery() dashboard {
	return dashboard{
		file: "alert_delivery.json", uid: deliveryUID, title: titles[deliveryUID], refresh: "10s", from: "now-1h",
		description: "Alerts on their way to their receivers, and those that could not be delivered: dead letters, retried by schedule until they are delivered or exhausted.",
		next:        []string{agentsUID, sloUID, runtimeUID, jobsUID, overviewUID},
		panels: []panel{
			{
				kind: stat, title: "Alert Deliveries (5m)", unit: count, decimals: cents(0), steps: plain(),
				description: "Events delivered in the last 5 minutes, one for each target, retries included. 0 is normal where nothing is sent; " +
					"with a failure rate beside it, receivers are down.",
				queries: []query{{expr: `sum(increase(dawsos_delivery_attempts_total{outcome="delivered"}[5m]))`}},
				links:   []dataLink{to(agentsUID, "var-agent=alert_delivery", "var-agent=alert_retry_worker")},
			},
			{
				kind: stat, title: "Alert Delivery Failure Rate", unit: share, decimals: cents(2), steps: rising(0.01, 0.05),
				description: "Share of attempts of the last 5 minutes that failed; 0 when there are none. Failed attempts are retried, so that a few cost time and no alerts. " +
					"Above 5 %, see causes and destinations below.",
				queries:  []query{{expr: "dawsos:delivery_failures:ratio_rate5m"}},
				links:    []dataLink{to(sloUID)},
				runbooks: []string{alertDeliveryFailures},
			},
			{
				kind: stat, title: "DLQ Size (Pending)", unit: count, decimals: cents(0), steps: rising(1, 100),
				description: "Dead letters that are being retried. 0 is normal. They leave by themselves once their receiver is back; what grows for more than an hour needs its receiver mended.",
				queries:     []query{{expr: `sum(max by (channel) (dawsos_dead_letters{state="pending"}))`}},
				links:       []dataLink{to(agentsUID, "var-agent=alert_retry_worker")},
				runbooks:    []string{alertDLQGrowing},
			},
			{
				kind: stat, title: "Average Retry Count", unit: times, decimals: cents(1), steps: rising(1, 3),
				description: "Retries made on average of the dead letters that are being retried, the 10,000 oldest at most; 0 when there are none. " +
					"By default a letter has five: an average near that means that many are about to be exhausted.",
				queries:  []query{{sql: averageRetryCount}},
				runbooks: []string{alertDLQGrowing},
			},
			{
				kind: timeSeries, title: "Alert Delivery Rate", unit: perSec, steps: plain(),
				description: "Attempts a second by channel, first ones and retries, whatever came of them. It follows what is sent; after an outage it shows the retries.",
				queries:     []query{{expr: "channel:delivery_attempts:rate5m", legend: "{{channel}}"}},
				links:       []dataLink{traces("dawsos-api", "deliver ${__field.labels.channel}")},
			},
			{
				kind: timeSeries, title: "Alert Delivery Latency", unit: seconds, steps: plain(),
				description: "P50, P95 and P99 from an event's acceptance to its delivery over 5 minutes, retries and waits included; 0 when nothing was delivered. " +
					"Each dot is a delivery that was traced. " +
					"Minutes or hours are retries that succeeded after an outage. Seconds with an empty DLQ mean that the queue is slow: see 'Runtime'.",
				queries: []query{
					{expr: "dawsos:delivery_latency:p50_5m", legend: "P50"},
					{expr: p95("dawsos_delivery_latency_seconds", ""), legend: "P95", exemplars: true},
					{expr: "dawsos:delivery_latency:p99_5m", legend: "P99"},
				},
				links: []dataLink{to(runtimeUID), traces("dawsos-worker", "")},
			},
			{
				kind: table, title: "Failed Alerts", unit: times, width: 24, steps: plain(),
				description: "The 10 dead letters retried most often, of those being retried and those exhausted (the 10,000 oldest of the former, the 10,000 newest of the latter). " +
					"Empty is normal. The error says what to mend; then replay exhausted letters.",
				queries: []query{{sql: failedAlerts}},
				columns: []column{
					{field: "alert_id", title: "alert_id"},
					{field: "retry_count", title: "retry_count"},
					{field: "error_message", title: "error_message"},
					{field: "created_at", title: "created_at", unit: "dateTimeAsIso"},
					{field: "last_retry_at", title: "last_retry_at", unit: "dateTimeAsIso"},
					{field: "state", title: "state"},
					{field: "target", title: "target"},
				},
				runbooks: []string{alertExhausted},
			},
			{
				kind: table, title: "Recent Successful Deliveries", unit: times, width: 24, steps: plain(),
				description: "The last 10 deliveries, whenever they were. The newest should be as young as your latest alert; the trace leads to how it went.",
				queries:     []query{{sql: recentDeliveries}},
				columns: []column{
					{field: "delivered_at", title: "delivered_at", unit: "dateTimeAsIso"},
					{field: "alert_id", title: "alert_id"},
					{field: "target", title: "target"},
					{field: "attempts", title: "attempts"},
					{field: "took", title: "took", unit: seconds},
					{field: "trace_id", title: "trace_id", link: trace()},
				},
			},
			{
				kind: stat, title: "Oldest Dead Letter", unit: seconds, steps: rising(3600, 86400),
				description: "Age of the oldest dead letter that is being retried or exhausted; 0 when there is none. By default a letter is exhausted after some 39 hours: " +
					"what is older waits for somebody to replay or discard it.",
				queries:  []query{{expr: "max(dawsos_dead_letter_oldest_age_seconds)"}},
				links:    []dataLink{to(agentsUID, "var-agent=alert_retry_worker")},
				runbooks: []string{alertOldestLetter},
			},
			{
				kind: stat, title: "DLQ Size (Exhausted)", unit: count, decimals: cents(0), steps: rising(1, 10),
				description: "Dead letters whose retries are spent or that were refused for good. 0 is normal: each is an alert that somebody did not get. Mend, then replay or discard.",
				queries:     []query{{expr: `sum(max by (channel) (dawsos_dead_letters{state="exhausted"}))`}},
				links:       []dataLink{to(sloUID)},
				runbooks:    []string{alertExhausted},
			},
			{
				kind: stat, title: "Time to Exhaustion", unit: seconds, steps: plain(),
				description: "Median time from acceptance to the last attempt of the 1,000 newest exhausted letters; 0 when there are none. " +
					"Far below the retry schedule's length: receivers refuse letters for good, and retrying would not help them.",
				queries:  []query{{sql: timeToExhaustion}},
				runbooks: []string{alertExhausted},
			},
			{
				kind: stat, title: "Ledger Invariant", unit: count, decimals: cents(0), steps: rising(1, 1),
				description: "Accepted events less those delivered, duplicate, in flight, pending, exhausted, discarded, expired and superseded, and what the latest audit found wrong. " +
					"Always 0. Anything else is an event lost or counted twice: the runbook says how to find it.",
				queries: []query{{
					// Each worker's accounts are of one moment; those of two are not, and events are on their way between them.
					expr: `min(abs(sum by (instance) (dawsos_delivery_account{account="accepted"}) - sum by (instance) (dawsos_delivery_account{account!="accepted"}))) + sum(max by (check) (dawsos_delivery_drift))`,
				}},
				links:    []dataLink{to(runtimeUID)},
				runbooks: []string{alertLedgerDrift},
			},
			{
				kind: timeSeries, title: "Failure Causes", unit: perSec, steps: plain(), stacked: true,
				description: "Failed attempts a second by cause. connect, dns, timeout and http_5xx are the receiver's outage and end with it; " +
					"http_4xx, payload and rejected do not end by waiting.",
				queries:  []query{{expr: rated(`dawsos_delivery_attempts_total{outcome="failed"}`, "cause"), legend: "{{cause}}"}},
				links:    []dataLink{traces("dawsos-worker", "")},
				runbooks: []string{alertDeliveryFailures},
			},
			{
				kind: table, title: "Backlog by Destination", unit: count, height: 8, steps: plain(),
				description: "Where the dead letters that are being retried are bound for, the 20 destinations with most of them; an address given with an event is a hash. " +
					"Counting ends at 100,000 letters. One destination alone is its outage; all of them are ours.",
				queries: []query{{sql: backlogByDestination}},
				columns: []column{
					{field: "endpoint", title: "destination"},
					{field: "waiting", title: "waiting"},
				},
				runbooks: []string{alertDLQGrowing},
			},
			{
				kind: timeSeries, title: "Dead Letters by State", unit: count, steps: plain(), stacked: true,
				description: "Dead letters being retried and exhausted. A hill is an outage and its recovery; steps that stay are letters that wait for you.",
				queries:     []query{{expr: `sum by (state) (max by (channel, state) (dawsos_dead_letters{state=~"pending|exhausted"}))`, legend: "{{state}}"}},
				links:       []dataLink{to(sloUID)},
				runbooks:    []string{alertDLQGrowing, alertExhausted},
			},
			{
				kind: timeSeries, title: "Replays", unit: perSec, steps: plain(),
				description: "Dead letters a second that somebody released: replays and discards, single ones and by filter, and drains of destinations that have recovered. " +
					"0 is normal. A replay that failures follow should be stopped.",
				queries: []query{{expr: rated("dawsos_dead_letters_released_total", "kind", "scope"), legend: "{{kind}} {{scope}}"}},
				links:   []dataLink{to(agentsUID, "var-agent=alert_retry_worker")},
			},
			{
				kind: timeSeries, title: "Destination Breakers", unit: count, steps: plain(),
				description: "Destinations whose breaker is open or half-open, by process. 0 is normal. What is due for an open one waits and uses up no retries.",
				queries: []query{{
					expr: `sum by (job, state) (dawsos_endpoint_breakers{state!="closed"})`, legend: "{{job}} {{state}}",
				}},
				links:    []dataLink{to(agentsUID, "var-agent=alert_delivery")},
				runbooks: []string{alertDestinationBreaker},
			},
			{
				kind: timeSeries, title: "Held Attempts", unit: perSec, steps: plain(),
				description: "Attempts a second that were due and not made, because a breaker is open or a limit of rate or concurrency is reached. They are made later and none is lost.",
				queries:     []query{{expr: rated("dawsos_delivery_holds_total", "reason"), legend: "{{reason}}"}},
				links:       []dataLink{to(runtimeUID)},
			},
			{
				kind: timeSeries, title: "Attempt and Queue Time (P95)", unit: seconds, steps: plain(),
				description: "P95 over 5 minutes of how long one attempt took, from its turn to the receiver's answer, and of how long the worker's attempts waited for their turn; 0 when there were none. " +
					"Attempts near DELIVERY_TIMEOUT are a receiver that hangs; waits without slow attempts mean too little WORKER_CONCURRENCY.",
				queries: []query{
					{expr: p95("dawsos_delivery_attempt_duration_seconds", "", "channel"), legend: "{{channel}} attempt"},
					{expr: p95("dawsos_delivery_queue_seconds", "", "channel"), legend: "{{channel}} wait"},
				},
				links:    []dataLink{traces("dawsos-worker", "deliver ${__field.labels.channel}"), to(runtimeUID)},
				runbooks: []string{alertQueueLag},
			},
			{
				kind: timeSeries, title: "Duplicates", unit: perSec, steps: plain(),
				description: "Events and targets a second that were not sent because an earlier event within DEDUP_WINDOW says the same. A few are normal where senders repeat themselves; " +
					"a rule or a caller that makes nothing else sends too often.",
				queries: []query{{expr: rated("dawsos_delivery_duplicates_total", "channel"), legend: "{{channel}}"}},
				links:   []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "Alert Rule Evaluations", unit: perSec, steps: plain(), stacked: true,
				description: "Evaluations of alert rules a second by result, and those dropped because the rule was changed or fired by another one meanwhile. unknown is a condition whose data are missing: " +
					"POST /v1/alerts/{id}/test names them. Nothing while there are active rules: nobody evaluates.",
				queries: []query{
					{expr: rated("dawsos_alert_evaluations_total", "result"), legend: "{{result}}"},
					{expr: rated("dawsos_alert_evaluations_overtaken_total"), legend: "overtaken"},
				},
				links:    []dataLink{to(jobsUID)},
				runbooks: []string{alertEvaluations},
			},
			{
				kind: timeSeries, title: "Alert Rules Fired", unit: perSec, steps: plain(),
				description: "Firings of alert rules a second whose event was accepted for delivery, by severity, and those that could not be handed on, such as to a destination that is gone. " +
					"A rule that fires at each evaluation lacks a cooldown.",
				queries: []query{
					{expr: rated("dawsos_alert_signals_total", "severity"), legend: "{{severity}}"},
					{expr: rated("dawsos_alert_signals_refused_total"), legend: "not handed on"},
				},
				links:    []dataLink{to(jobsUID)},
				runbooks: []string{alertSignalsRefused},
			},
		},
	}
}
