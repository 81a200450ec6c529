package app

import (
	"fmt"
	"time"

	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/agents/macrohound"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/store"
)

// alerting returns where alert rules stand and what evaluates them. Portfolios are measured as the agent
// financial_analyst does and the regime told as by macro_hound, without their breakers: what can't be known
// is unknown.
func (p *process) alerting(
	db *store.Store, deliveries *store.Deliveries, service *delivery.Service, destinations delivery.Destinations,
) (*store.Alerts, *jobs.Evaluator, error) {
	figures := analyst.New(db, db, analyst.Options{RiskFreeSeries: riskFreeSeries})
	economy, err := macro.LoadConfig(p.cfg.AnalyticsDir)
	if err != nil {
		return nil, nil, fmt.Errorf("ANALYTICS_DIR: %w", err)
	}
	rules := store.NewAlerts(p.pool, deliveries, figures, macrohound.New(db, economy), p.tel.Log, time.Now)
	return rules, jobs.NewEvaluator(rules, service, destinations, p.tel.Registry, p.tel.Log, time.Now), nil
}
