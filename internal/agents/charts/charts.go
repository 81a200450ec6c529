// Package charts is the agent charts: it draws other capabilities' answers as Vega-Lite
// specifications that hold their data.
//
// It picks fields and computes nothing; what a chart shows beyond its input's figures (the running
// sum of a waterfall, the total of a currency) is a transform within the specification, which the
// renderer carries out. Input that is missing or null leaves a chart out, with the reason in the
// answer: a drawing never fails a run over data.
package charts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Name is the agent's name in traces, metrics and breaker settings.
const Name = "charts"

// Charts draws. The zero value is ready.
type Charts struct{}

var _ agent.Agent = Charts{}

// New returns the agent.
func New() Charts { return Charts{} }

// Name implements agent.Agent.
func (Charts) Name() string { return Name }

// The capabilities by name, each with the arguments that it takes and what it draws of them.
var drawings = []struct {
	name        string
	description string
	takes       []string
	draw        func(*sheet, inputs)
}{
	{
		"charts.nav_drawdown", "Net asset value, benchmark and drawdown by day, from metrics.history",
		[]string{"history"},
		func(s *sheet, in inputs) { s.history(in.History) },
	},
	{
		"charts.allocation", "Weights by line, and by currency and asset class, from pricing.apply_pack",
		[]string{"valued_positions"},
		func(s *sheet, in inputs) {
			s.allocation(in.ValuedPositions)
			s.allocationBy(in.ValuedPositions, currencies)
			s.allocationBy(in.ValuedPositions, assetClasses)
		},
	},
	{
		"charts.attribution_waterfall", "The return's local, currency, interaction and cost parts as a waterfall, and the parts by line, from attribution.currency",
		[]string{"currency_attr"},
		func(s *sheet, in inputs) {
			s.waterfall(in.CurrencyAttr)
			s.attributionLines(in.CurrencyAttr)
		},
	},
	{
		"charts.factor_exposures", "Factor betas with their 95 % intervals and shares of variance, from risk.compute_factor_exposures",
		[]string{"factor_exposures"},
		func(s *sheet, in inputs) {
			s.betas(in.FactorExposures)
			s.varianceShares(in.FactorExposures)
		},
	},
	{
		"charts.regime_history", "Regimes and their probabilities over time, from macro.get_regime_history",
		[]string{"regime_history"},
		func(s *sheet, in inputs) { s.regimes(in.RegimeHistory) },
	},
	{
		"charts.scenario_deltas", "A scenario's effect on the portfolio and on its lines, from macro.run_scenario",
		[]string{"scenario_result"},
		func(s *sheet, in inputs) {
			s.scenario(in.ScenarioResult)
			s.scenarioLines(in.ScenarioResult)
		},
	},
	{
		"charts.macro_overview", "Regime probabilities, indicators' z-scores, factor betas and drawdown at risk",
		[]string{"regime", "indicators", "factor_exposures", "dar"},
		func(s *sheet, in inputs) {
			s.regime(in.Regime)
			s.indicators(in.Indicators)
			s.betas(in.FactorExposures)
			s.drawdownAtRisk(in.Dar)
		},
	},
	{
		"charts.overview", "Net asset value and drawdown by day, weights by line, and the return's parts as a waterfall",
		[]string{"valued_positions", "currency_attr", "history"},
		func(s *sheet, in inputs) {
			s.history(in.History)
			s.allocation(in.ValuedPositions)
			s.waterfall(in.CurrencyAttr)
		},
	},
}

// Capabilities implements agent.Agent. All are pure: they see nothing but their arguments and the
// run's base currency.
func (Charts) Capabilities() []agent.Capability {
	capabilities := make([]agent.Capability, 0, len(drawings))
	for _, d := range drawings {
		capabilities = append(capabilities, agent.Capability{
			Name: d.name, Description: d.description + ", as Vega-Lite specifications with their data; what can't be drawn is in omitted.",
			Args: arguments(d.takes), Result: json.RawMessage(resultSchema),
			Purity: agent.Pure, Cost: agent.Low,
			Run: func(_ context.Context, req agent.Request) (agent.Result, error) {
				var in inputs
				if err := capability.Decode(req, &in); err != nil {
					return agent.Result{}, err
				}
				s := sheet{Specs: []spec{}, Omitted: []omission{}}
				if p := req.Context.Portfolio; p != nil {
					s.currency = p.BaseCurrency
				}
				d.draw(&s, in)
				if s.err != nil {
					return agent.Result{}, s.err
				}
				return agent.Result{Value: s}, nil
			},
		})
	}
	return capabilities
}

// inputs are the answers that may be drawn, each as it came.
type inputs struct {
	History         json.RawMessage `json:"history"`
	ValuedPositions json.RawMessage `json:"valued_positions"`
	CurrencyAttr    json.RawMessage `json:"currency_attr"`
	FactorExposures json.RawMessage `json:"factor_exposures"`
	RegimeHistory   json.RawMessage `json:"regime_history"`
	ScenarioResult  json.RawMessage `json:"scenario_result"`
	Regime          json.RawMessage `json:"regime"`
	Indicators      json.RawMessage `json:"indicators"`
	Dar             json.RawMessage `json:"dar"`
}

// sheet is an answer in the making.
type sheet struct {
	Specs   []spec     `json:"specs"`
	Omitted []omission `json:"omitted"`

	currency string // the run's base currency, "" when it has none
	err      error  // of input that is not what it is said to be
}

// omission says why a chart is not there.
type omission struct {
	Chart  string `json:"chart"`
	Reason string `json:"reason"`
}

func (s *sheet) omit(chart, format string, args ...any) {
	s.Omitted = append(s.Omitted, omission{Chart: chart, Reason: fmt.Sprintf(format, args...)})
}

// read fills dst from an argument. It reports false when there is nothing to draw: the charts are
// left out, or the argument is not of its kind and the whole call fails.
func (s *sheet) read(argument string, raw json.RawMessage, dst any, charts ...string) bool {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		for _, c := range charts {
			s.omit(c, "there is no %s", argument)
		}
		return false
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		s.err = errors.Join(s.err, invalid(argument, err))
		return false
	}
	return true
}

func invalid(argument string, err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return fault.InvalidField("/args/"+argument+"/"+strings.ReplaceAll(e.Field, ".", "/"), "can't be a JSON %s", e.Value)
	}
	return fault.InvalidField("/args/"+argument, "is not what it is said to be: %v", err)
}

// lacks is the part of an answer that says which of its figures are null.
type lacks struct {
	Insufficient []struct {
		Field   string `json:"field"`
		Missing string `json:"missing"`
		Reason  string `json:"reason"`
	} `json:"insufficient_data"`
}

// why says why a field is null, in the words of the answer that it is from.
func (l lacks) why(field string) string {
	for _, i := range l.Insufficient {
		if i.Field == field || strings.HasPrefix(field, i.Field+".") || strings.HasPrefix(i.Field, field+".") {
			return fmt.Sprintf("%s is null: %s: %s", field, i.Missing, i.Reason)
		}
	}
	for _, i := range l.Insufficient { // nothing is said of the field itself, but of why there is little
		return fmt.Sprintf("%s is empty: %s: %s", field, i.Missing, i.Reason)
	}
	return field + " is empty"
}
