package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The dashboards' uids, by which links and bookmarks know them.
const (
	overviewUID = "api-overview"
	agentsUID   = "agent-performance"
	deliveryUID = "alert-delivery"
	sloUID      = "slo"
	runtimeUID  = "runtime"
	jobsUID     = "jobs-data"
)

var titles = map[string]string{
	overviewUID: "API Overview",
	agentsUID:   "Agent Performance",
	deliveryUID: "Alert Delivery & DLQ",
	sloUID:      "Service Level Objectives",
	runtimeUID:  "Runtime",
	jobsUID:     "Jobs & Data",
}

// The alerts whose runbooks panels lead to: docs/runbooks/NAME.md.
const (
	alertAPIDown            = "APIDown"
	alertWorkerDown         = "WorkerDown"
	alertProcessDown        = "ProcessDown"
	alertLatencyP95         = "APILatencyP95High"
	alertLatencyP99         = "APILatencyP99High"
	alertShed               = "RequestsShed"
	alertErrorBudget        = "APIErrorBudgetBurnFast"
	alertLatencyBudget      = "APILatencyBudgetBurn"
	alertDeliveryBudget     = "DeliveryBudgetBurn"
	alertAgentErrors        = "AgentErrorRatioHigh"
	alertBreakerOpen        = "AgentBreakerOpen"
	alertDestinationBreaker = "DestinationBreakerOpen"
	alertDeliveryFailures   = "DeliveryFailureRatioHigh"
	alertDLQGrowing         = "DeadLettersGrowing"
	alertOldestLetter       = "DeadLetterTooOld"
	alertExhausted          = "DeadLettersExhausted"
	alertLedgerDrift        = "DeliveryDrift"
	alertQueueLag           = "DeliveryQueueLagging"
	alertJobMissed          = "JobMissed"
	alertJobFailing         = "JobFailing"
	alertPackError          = "PricingPackError"
	alertPacksWarming       = "PricingPacksWarming"
	alertImportsRefused     = "ImportsRefused"
	alertModelFailing       = "ModelFailing"
	alertCallersRefused     = "CallersRefused"
	alertTokenKeys          = "TokenKeysUnreadable"
	alertPatternFiles       = "PatternFilesInvalid"
	alertEvaluations        = "AlertEvaluationMissing"
	alertSignalsRefused     = "AlertSignalsRefused"
	alertRunsDropped        = "RunsDropped"
	alertPostgresDown       = "PostgreSQLDown"
	alertConnections        = "PostgreSQLConnectionsNearLimit"
	alertDatabaseSize       = "PostgreSQLDatabaseOutgrowing"
	alertTargetDown         = "MonitoringTargetDown"
	alertTracesLost         = "TracesLost"
	alertSpansRefused       = "CollectorRefusingSpans"
	alertSpansDropped       = "CollectorDroppingSpans"
)

// all are the dashboards in the order in which they are read.
func all() []dashboard {
	return []dashboard{apiOverview(), agentPerformance(), alertDelivery(), slo(), runtime(), jobsAndData()}
}

// Files returns the dashboards as Grafana reads them, by file name.
func Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, d := range all() {
		var content bytes.Buffer
		e := json.NewEncoder(&content)
		e.SetEscapeHTML(false) // queries have < and > in them, and people read the files
		e.SetIndent("", "  ")
		if err := e.Encode(d.model()); err != nil {
			return nil, fmt.Errorf("write the dashboard %s: %w", d.uid, err)
		}
		files[d.file] = content.Bytes()
	}
	return files, nil
}
