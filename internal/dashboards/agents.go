package dashboards

// agent is the dashboard's variable. Grafana writes what is chosen, all of them included, as
// alternatives of a regular expression.
func agent() variable {
	return variable{
		Name: "agent", Label: "Agent", Type: "query", Datasource: prometheus,
		Query: variableQuery{QryType: 1, Query: "label_values(agent_invocations_total, agent_name)", RefID: "agent"}, Refresh: 2, Sort: 1,
		Multi: true, IncludeAll: true, Current: chosen{Text: []string{"All"}, Value: []string{"$__all"}},
	}
}

func agentPerformance() dashboard {
	const chosen = `{agent_name=~"$agent"}`
	return dashboard{
		file: "agent_performance.json", uid: agentsUID, title: titles[agentsUID], refresh: "5s", from: "now-1h",
		description: "What agents do, deliveries (alert_delivery) and retries (alert_retry_worker) included: how often, how fast, how many fail.",
		variables:   []variable{agent()},
		next:        []string{overviewUID, deliveryUID, runtimeUID, jobsUID},
		panels: []panel{
			{
				kind: stat, title: "Total Agent Invocations", unit: count, decimals: cents(0), width: 8, steps: plain(),
				description: "Calls of the chosen agents' capabilities in the time range, one a call however often it was retried.",
				queries:     []query{{expr: increased("agent_invocations_total" + chosen), instant: true}},
				links:       []dataLink{to(overviewUID)},
			},
			{
				kind: stat, title: "Agent Error Rate", unit: share, decimals: cents(2), width: 8, steps: rising(0.01, 0.05),
				description: "Share of calls that failed, those that an open breaker refused included; 0 when there are none. Normal is below 1 %. " +
					"Above it, see which agent's breaker is open below and look at its traces.",
				queries:  []query{{expr: ratio(`agent_invocations_total{agent_name=~"$agent",status="error"}`, "agent_invocations_total"+chosen)}},
				links:    []dataLink{to(deliveryUID)},
				runbooks: []string{alertAgentErrors},
			},
			{
				kind: stat, title: "Agent P95 Latency", unit: seconds, width: 8, steps: rising(0.5, 2.5),
				description: "Nineteen of twenty calls of the last 5 minutes took less than this, retries included; 0 when there were none. " +
					"What is normal differs by agent: compare with the lines below.",
				queries: []query{{expr: p95("agent_latency", chosen), exemplars: true}},
				links:   []dataLink{to(overviewUID)},
			},
			{
				kind: timeSeries, title: "Agent Invocation Rate by Agent", unit: perSec, steps: plain(),
				description: "Calls a second by agent. An agent that falls to 0 while others go on is not asked any more: its breaker may be open.",
				queries:     []query{{expr: "agent:agent_invocations:rate5m" + chosen, legend: "{{agent_name}}"}},
				links:       []dataLink{traces("dawsos-api", "")},
			},
			{
				kind: timeSeries, title: "Agent Latency by Agent & Capability (P95)", unit: seconds, steps: plain(),
				description: "P95 over 5 minutes, 0 where nothing was called. Each dot is a call that was traced: a click leads to its trace. " +
					"One capability rising is its own work, all of an agent rising is what it depends on.",
				queries: []query{{
					expr: p95("agent_latency", chosen, "agent_name", "capability"), legend: "{{agent_name}} {{capability}}", exemplars: true,
				}},
				links: []dataLink{traces("dawsos-api", "agent ${__field.labels.agent_name}/${__field.labels.capability}")},
			},
			{
				kind: table, title: "Circuit Breaker Status", unit: times, steps: green(),
				description: "Each agent's breaker in each API process. CLOSED is normal. OPEN: too many calls failed and the agent is left alone for a while; " +
					"HALF_OPEN: the next calls try whether it has recovered. Look at its errors before you restart anything: the breaker closes by itself.",
				queries:  []query{{expr: "circuit_breaker_state" + chosen, minStep: backend, instant: true}},
				mappings: breakerStates(),
				columns: []column{
					{field: "agent_name", title: "Agent"},
					{field: "Value", title: "Breaker", colored: true},
					{field: "instance", title: "Process"},
				},
				links:    []dataLink{to(overviewUID)},
				runbooks: []string{alertBreakerOpen},
			},
			{
				kind: timeSeries, title: "Agent Invocation Rate by Capability", unit: perSec, steps: plain(),
				description: "Calls a second by capability. It says what the load consists of.",
				queries:     []query{{expr: rated("agent_invocations_total"+chosen, "agent_name", "capability"), legend: "{{agent_name}} {{capability}}"}},
				links:       []dataLink{traces("dawsos-api", "agent ${__field.labels.agent_name}/${__field.labels.capability}")},
			},
			{
				kind: timeSeries, title: "Refused Calls and Retries", unit: perSec, steps: plain(),
				description: "Calls a second that one of an agent's policies refused before it was asked (breaker, rate_limit, bulkhead), and attempts after the first. 0 is normal. " +
					"rate_limit and bulkhead are limits of AGENTS_FILE that the load has reached; retries that go on are an agent that is about to fail.",
				queries: []query{
					{expr: rated("dawsos_agent_refusals_total"+chosen, "agent_name", "reason"), legend: "{{agent_name}} {{reason}}", minStep: backend},
					{expr: rated("dawsos_agent_retries_total"+chosen, "agent_name"), legend: "{{agent_name}} retry", minStep: backend},
				},
				links:    []dataLink{to(overviewUID)},
				runbooks: []string{alertAgentErrors, alertBreakerOpen},
			},
			{
				kind: timeSeries, title: "Answers of the Language Model", unit: perSec, steps: plain(),
				description: "Explanations a second that the model of LLM_URL was to give, by what became of it; all 0 without one. Whatever is not answered was given as sentences made of the figures. " +
					"failed: it does not answer; refused: it has failed several times and is left alone for a minute; ungrounded: it named a number that is not in the data.",
				queries:  []query{{expr: rated("dawsos_model_answers_total", "outcome"), legend: "{{outcome}}", minStep: backend}},
				links:    []dataLink{traces("dawsos-api", "agent claude/claude.explain")},
				runbooks: []string{alertModelFailing},
			},
		},
	}
}

// breakerStates name and colour the numbers of circuit_breaker_state.
func breakerStates() []mapping {
	return []mapping{{Type: "value", Options: map[string]mappingResult{
		"0": {Text: "CLOSED", Color: "green", Index: 0},
		"1": {Text: "OPEN", Color: "red", Index: 1},
		"2": {Text: "HALF_OPEN", Color: "orange", Index: 2},
	}}}
}
