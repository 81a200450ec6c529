package app

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/agents/alerting"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/agents/charts"
	"github.com/dawsos/dawsos/internal/agents/claude"
	"github.com/dawsos/dawsos/internal/agents/harvester"
	"github.com/dawsos/dawsos/internal/agents/macrohound"
	"github.com/dawsos/dawsos/internal/agents/optimizer"
	"github.com/dawsos/dawsos/internal/agents/ratings"
	"github.com/dawsos/dawsos/internal/agents/reports"
	"github.com/dawsos/dawsos/internal/agents/scenarios"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/rebalance"
	"github.com/dawsos/dawsos/internal/research"
	"github.com/dawsos/dawsos/internal/scenario"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

// riskFreeSeries is the macro series of daily bill returns that the sample data brings.
const riskFreeSeries = "FF_RF"

// models are the tables of ANALYTICS_DIR that the built-in agents compute with.
type models struct {
	economy macro.Config
	factors factor.Model
	ratings research.Model
	news    research.NewsSettings
	presets alerting.Presets
	trades  optimizer.Tables
}

// loadModels reads all of them. What is wrong in a file is named, and ends the start.
func loadModels(dir string) (models, error) {
	var m models
	var errs [8]error
	m.economy, errs[0] = macro.LoadConfig(dir)
	m.factors, errs[1] = factor.Load(dir)
	m.ratings, errs[2] = research.LoadModel(dir)
	m.news, errs[3] = research.LoadNewsSettings(dir)
	m.presets, errs[4] = alerting.LoadPresets(dir)
	m.trades.Library, errs[5] = scenario.Load(dir)
	m.trades.Rules, errs[6] = rebalance.LoadRules(dir)
	m.trades.Hedges, errs[7] = rebalance.LoadHedges(dir)
	if err := errors.Join(errs[:]...); err != nil {
		return models{}, fmt.Errorf("ANALYTICS_DIR: %w", err)
	}
	return m, nil
}

// builtin makes the agents that are part of the process.
func builtin(cfg config.Config, db *store.Store, client *http.Client, userAgent string, opts agents.Options) ([]agent.Agent, error) {
	m, err := loadModels(cfg.AnalyticsDir)
	if err != nil {
		return nil, err
	}
	explaining := claude.Options{Registerer: opts.Registerer, Logger: opts.Logger}
	if cfg.LLMURL != "" {
		explaining.Model, err = claude.NewChat(claude.ChatOptions{
			URL: cfg.LLMURL, Model: cfg.LLMModel, Key: string(cfg.LLMAPIKey), Client: client, Timeout: cfg.LLMTimeout,
			UserAgent: userAgent,
		})
		if err != nil {
			return nil, fmt.Errorf("LLM_URL: %w", err)
		}
	}
	return []agent.Agent{
		analyst.New(db, db, analyst.Options{RiskFreeSeries: riskFreeSeries, Factors: m.factors}),
		macrohound.New(db, m.economy, scenarios.Capabilities(db, db, m.trades.Library)...),
		optimizer.New(db, db, m.trades),
		harvester.New(db, m.news),
		ratings.New(db, m.ratings),
		alerting.New(db, m.presets),
		charts.New(),
		reports.New(),
		claude.New(explaining),
	}, nil
}
