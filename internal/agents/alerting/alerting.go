// Package alerting is the agent alerts: it proposes alert rules for what other capabilities have
// measured, and stores one when news weigh on a portfolio. Evaluating rules is package jobs' work.
package alerting

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Name is the agent's name in traces, metrics and breaker settings.
const Name = "alerts"

// Rules keeps alert rules.
type Rules interface {
	// AddRule stores a rule under the id that it brings, unless one is there already: that one is
	// returned then, as it is, and added is false.
	AddRule(ctx context.Context, r alerts.Rule, actor string) (stored alerts.Rule, added bool, err error)
}

// Agent proposes and stores rules.
type Agent struct {
	rules   Rules
	presets Presets
}

var _ agent.Agent = (*Agent)(nil)

// New returns an agent that stores in rules what presets say.
func New(rules Rules, presets Presets) *Agent { return &Agent{rules: rules, presets: presets} }

// Name implements agent.Agent.
func (*Agent) Name() string { return Name }

// Capabilities implements agent.Agent. Proposing is declared as reading although it reads nothing: a
// rule names its user, and what is pure may be handed to another one.
func (a *Agent) Capabilities() []agent.Capability {
	return []agent.Capability{
		{
			Name:        "alerts.suggest_presets",
			Description: "Alert rules for measured shifts of the macro regime and of a portfolio's betas, ready for POST /v1/alerts.",
			Args:        json.RawMessage(suggestArgs), Result: json.RawMessage(suggestResult),
			Purity: agent.Reading, Cost: agent.Low,
			Run: a.suggest,
		},
		{
			Name:        "alerts.create_if_threshold",
			Description: "Stores an alert rule on the sentiment of a portfolio's holdings when news weigh on it by a threshold or more, once.",
			Args:        json.RawMessage(createArgs), Result: json.RawMessage(createResult),
			Purity: agent.Effectful, Idempotent: true, Cost: agent.Low,
			Run: a.create,
		},
	}
}

// System is the user that rules belong to when the run has none.
const System = "system"

func user(c agent.Context) string {
	if c.UserID == "" {
		return System
	}
	return c.UserID
}

// ruleBody is a rule as POST /v1/alerts takes it.
type ruleBody struct {
	UserID        string    `json:"user_id"`
	Name          string    `json:"name"`
	Condition     condition `json:"condition"`
	Severity      string    `json:"severity"`
	CooldownHours int       `json:"cooldown_hours"`
}

// condition is a leaf of a condition, or a list of them under "any".
type condition map[string]any

// parse checks a body as the API does.
func (b ruleBody) parse() (alerts.Rule, error) {
	raw, err := json.Marshal(b)
	if err != nil {
		return alerts.Rule{}, err
	}
	return alerts.ParseRule(raw)
}

func (u Urgency) rule(userID, name string, c condition) ruleBody {
	return ruleBody{UserID: userID, Name: name, Condition: c, Severity: u.Severity, CooldownHours: u.CooldownHours}
}

func (p Presets) regimeRule(userID string) ruleBody {
	return p.RegimeShift.rule(userID, "The macro regime changes", condition{
		"type": alerts.RegimeShift, "confidence": p.RegimeShift.Confidence,
	})
}

// priceRule watches for a day on which a factor moves against the portfolio by so many percent.
func (p Presets) priceRule(userID, factor, symbol string, beta, movePct float64) ruleBody {
	op, threshold, verb := alerts.AtMost, -movePct, "falls"
	if beta < 0 {
		op, threshold, verb = alerts.AtLeast, movePct, "rises"
	}
	return p.FactorShift.rule(userID, fmt.Sprintf("%s %s by %s %% in a day", factor, verb, decimalOf(movePct)), condition{
		"type": alerts.Price, "symbol": symbol, "metric": alerts.MetricChangePct, "op": op, "value": json.Number(decimalOf(threshold)),
	})
}

func (p Presets) drawdownRule(userID, portfolioID string) ruleBody {
	return p.FactorShift.rule(userID, "The portfolio is down "+decimalOf(p.FactorShift.DrawdownLimit*100)+" % from its peak", condition{
		"type": alerts.DrawdownLimit, "portfolio_id": portfolioID, "limit": p.FactorShift.DrawdownLimit,
	})
}

// watchedHolding is a holding that news are about.
type watchedHolding struct {
	Symbol string  `json:"symbol"`
	Weight float64 `json:"weight"`
	Impact float64 `json:"impact"`
}

func (p Presets) newsRule(userID string, holdings []watchedHolding) ruleBody {
	var leaves []condition
	var names []string
	for _, h := range holdings {
		op, threshold := alerts.AtMost, -p.NewsImpact.Sentiment
		if h.Weight < 0 {
			op, threshold = alerts.AtLeast, p.NewsImpact.Sentiment
		}
		leaves = append(leaves, condition{"type": alerts.NewsSentiment, "symbol": h.Symbol, "op": op, "value": threshold})
		names = append(names, h.Symbol)
	}
	c := leaves[0]
	if len(leaves) > 1 {
		c = condition{"any": leaves}
	}
	name := "News weigh on " + strings.Join(names, ", ")
	if runes := []rune(name); len(runes) > maxRuleName {
		name = string(runes[:maxRuleName-1]) + "…"
	}
	return p.NewsImpact.rule(userID, name, c)
}

// maxRuleName is how many characters the name of a rule may have.
const maxRuleName = 200

// decimalOf writes a number without exponent, to hundredths.
func decimalOf(x float64) string {
	return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64)
}

type suggestions struct {
	Suggestions  []suggestion              `json:"suggestions"`
	Skipped      []skipped                 `json:"skipped"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type suggestion struct {
	Preset string   `json:"preset"`
	Reason string   `json:"reason"`
	Rule   ruleBody `json:"rule"`
}

type skipped struct {
	Preset string `json:"preset"`
	Reason string `json:"reason"`
}

// The names of presets.
const (
	presetRegime = "regime_shift"
	presetFactor = "factor_shift"
	presetNews   = "news_impact"
)

func (a *Agent) suggest(_ context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		Trends      json.RawMessage `json:"trend_analysis"`
		PortfolioID string          `json:"portfolio_id"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	run, err := capability.Subject(req, args.PortfolioID)
	if err != nil {
		return agent.Result{}, err
	}
	var trends struct {
		Regimes []struct {
			Date       string   `json:"date"`
			From       string   `json:"from"`
			To         string   `json:"to"`
			Confidence *float64 `json:"confidence"`
		} `json:"regime_shifts"`
		Factors []struct {
			Factor string   `json:"factor"`
			Beta   *float64 `json:"beta"`
			Change *float64 `json:"change"`
		} `json:"factor_shifts"`
		Insufficient []capability.Insufficient `json:"insufficient_data"`
	}
	if err := json.Unmarshal(args.Trends, &trends); err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Invalid, "%s: trend_analysis must be what macro.detect_trend_shifts answers", req.Capability)
	}
	answer := suggestions{Suggestions: []suggestion{}, Skipped: []skipped{}, Insufficient: []capability.Insufficient{}}
	for _, i := range trends.Insufficient {
		answer.Insufficient = append(answer.Insufficient, capability.Insufficient{Field: "suggestions", Missing: i.Missing, Reason: i.Reason})
	}
	userID := user(req.Context)
	if n := len(trends.Regimes); n > 0 {
		last := trends.Regimes[n-1]
		reason := fmt.Sprintf("On %s the macro regime changed from %s to %s", last.Date, last.From, last.To)
		if last.Confidence != nil {
			reason += ", with confidence " + decimalOf(*last.Confidence)
		}
		answer.Suggestions = append(answer.Suggestions, suggestion{presetRegime, reason + ".", a.presets.regimeRule(userID)})
	}
	var unpriced []string
	for _, f := range trends.Factors {
		if f.Beta == nil {
			answer.Skipped = append(answer.Skipped, skipped{presetFactor, "The beta to " + f.Factor + " is not known."})
			continue
		}
		symbol, ok := a.presets.FactorShift.Prices[f.Factor]
		if !ok {
			unpriced = append(unpriced, f.Factor)
			continue
		}
		move := 100 * a.presets.FactorShift.Loss / math.Abs(*f.Beta)
		loss := decimalOf(100*a.presets.FactorShift.Loss) + " % of the portfolio"
		if move < a.presets.FactorShift.MinMovePct || !(move <= a.presets.FactorShift.MaxMovePct) {
			answer.Skipped = append(answer.Skipped, skipped{presetFactor, fmt.Sprintf(
				"At a beta of %s, a loss of %s takes a move of %s by %s %%: outside %s to %s %%.",
				decimalOf(*f.Beta), loss, f.Factor, moveWords(move), decimalOf(a.presets.FactorShift.MinMovePct), decimalOf(a.presets.FactorShift.MaxMovePct),
			)})
			continue
		}
		reason := fmt.Sprintf("The beta to %s is now %s", f.Factor, decimalOf(*f.Beta))
		if f.Change != nil {
			reason += ", a change of " + decimalOf(*f.Change)
		}
		reason += fmt.Sprintf(": a day's move of %s %% costs %s.", decimalOf(move), loss)
		answer.Suggestions = append(answer.Suggestions, suggestion{
			presetFactor, reason, a.presets.priceRule(userID, f.Factor, symbol, *f.Beta, math.Round(move*100)/100),
		})
	}
	if len(unpriced) > 0 {
		answer.Suggestions = append(answer.Suggestions, suggestion{
			presetFactor,
			fmt.Sprintf("The beta to %s has shifted; no rule can watch that factor itself, the portfolio's drawdown can be.", strings.Join(unpriced, ", ")),
			a.presets.drawdownRule(userID, run.ID),
		})
	}
	for _, s := range answer.Suggestions {
		if _, err := s.Rule.parse(); err != nil {
			return agent.Result{}, fault.Wrap(err, fault.Invalid, "%s: the shifts make no rule: %v", req.Capability, err)
		}
	}
	return agent.Result{Value: answer, Sources: []agent.Source{{Name: a.presets.Source}}}, nil
}

// moveWords writes a move that may be without bound.
func moveWords(move float64) string {
	if move > 1000 {
		return "more than 1000"
	}
	return decimalOf(move)
}

type createdRule struct {
	Outcome      string                    `json:"outcome"`
	Reason       string                    `json:"reason"`
	RuleID       *string                   `json:"rule_id"`
	Name         *string                   `json:"name"`
	Condition    *string                   `json:"condition"`
	UserID       *string                   `json:"user_id"`
	Impact       *float64                  `json:"impact"`
	Threshold    float64                   `json:"threshold"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

// The outcomes of create_if_threshold.
const (
	outcomeCreated = "created"
	outcomeExists  = "exists"
	outcomeBelow   = "below_threshold"
	outcomeUnknown = "unknown"
)

// namespace is that of the ids of rules, which are made of what a rule is for: UUIDs of version 5.
var namespace = uuid.MustParse("5d0f6a35-37a5-4d5c-9a34-1d6f2f3a7c58")

func (a *Agent) create(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		Impact    json.RawMessage `json:"impact_analysis"`
		Threshold float64         `json:"threshold"`
		Preset    string          `json:"preset"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	if args.Preset != presetNews {
		return agent.Result{}, fault.InvalidField("/args/preset", "there is no preset %q; there is %s", args.Preset, presetNews)
	}
	p := req.Context.Portfolio
	if p == nil {
		return agent.Result{}, fault.New(fault.Invalid, "%s needs a portfolio, the run names none", req.Capability)
	}
	var impact struct {
		Total        *float64                  `json:"total_impact"`
		Holdings     []watchedHolding          `json:"by_symbol"`
		Insufficient []capability.Insufficient `json:"insufficient_data"`
	}
	if err := json.Unmarshal(args.Impact, &impact); err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Invalid, "%s: impact_analysis must be what news.compute_portfolio_impact answers", req.Capability)
	}
	answer := createdRule{Impact: impact.Total, Threshold: args.Threshold, Insufficient: []capability.Insufficient{}}
	sources := []agent.Source{{Name: a.presets.Source}}
	if impact.Total == nil {
		answer.Outcome, answer.Reason = outcomeUnknown, "The impact is not known, so that no rule was stored."
		for _, i := range impact.Insufficient {
			if i.Field == "total_impact" {
				answer.Insufficient = append(answer.Insufficient, capability.Insufficient{Field: "impact", Missing: i.Missing, Reason: i.Reason})
			}
		}
		return agent.Result{Value: answer, Sources: sources}, nil
	}
	// Holdings come greatest impact first.
	holdings := slices.DeleteFunc(slices.Clone(impact.Holdings), func(h watchedHolding) bool { return !(h.Impact > 0) })
	if *impact.Total < args.Threshold || len(holdings) == 0 {
		answer.Outcome = outcomeBelow
		answer.Reason = fmt.Sprintf("The impact is %s, below %s: no rule was stored.", plain(*impact.Total), plain(args.Threshold))
		if len(holdings) == 0 {
			answer.Reason = "No holding is touched by news: no rule was stored."
		}
		return agent.Result{Value: answer, Sources: sources}, nil
	}
	holdings = holdings[:min(len(holdings), a.presets.NewsImpact.MaxSymbols)]
	userID := user(req.Context)
	rule, err := a.presets.newsRule(userID, holdings).parse()
	if err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Invalid, "%s: the impact makes no rule: %v", req.Capability, err)
	}
	// The same run, and a later one about the same, means the same rule.
	key, err := json.Marshal([]string{req.Context.TenantID, userID, p.ID, presetNews, rule.Condition.String()})
	if err != nil {
		return agent.Result{}, err
	}
	rule.TenantID, rule.ID = req.Context.TenantID, uuid.NewSHA1(namespace, key)
	stored, added, err := a.rules.AddRule(ctx, rule, userID)
	if err != nil {
		return agent.Result{}, err
	}
	answer.RuleID, answer.Name, answer.UserID = new(stored.ID.String()), &stored.Name, &stored.UserID
	answer.Condition = new(stored.Condition.String())
	answer.Outcome = outcomeCreated
	answer.Reason = fmt.Sprintf("The impact is %s, at least %s: the rule was stored.", plain(*impact.Total), plain(args.Threshold))
	if !added {
		answer.Outcome = outcomeExists
		answer.Reason = fmt.Sprintf("The impact is %s, at least %s: the rule is there already, and was left as it is.", plain(*impact.Total), plain(args.Threshold))
	}
	return agent.Result{Value: answer, Sources: sources}, nil
}

func plain(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
