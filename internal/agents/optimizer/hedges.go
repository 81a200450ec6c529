package optimizer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/rebalance"
	"github.com/dawsos/dawsos/internal/scenario"
	"github.com/dawsos/dawsos/pkg/agent"
)

// What a hedge is measured on.
const (
	methodRealised = "realised_returns" // what the portfolio earned
	methodCurrent  = "current_holdings" // what today's weights would have earned
)

const (
	defaultMaxCostBps = 20
	maxScenarios      = 10
)

// hedges is the answer of optimizer.suggest_hedges.
type hedges struct {
	Currency     string                    `json:"currency"`
	ScenarioID   *string                   `json:"scenario_id"`
	Method       string                    `json:"method"`
	MaxCostBps   float64                   `json:"max_cost_bps"`
	Delta        decimal.NullDecimal       `json:"delta"` // of the portfolio in the scenario
	Hedges       []hedge                   `json:"hedges"`
	Excluded     []exclusion               `json:"excluded"`
	Window       *capability.Window        `json:"window"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type hedge struct {
	Symbol        string          `json:"symbol"`
	SecurityID    string          `json:"security_id"`
	Name          string          `json:"name"`
	AssetClass    string          `json:"asset_class"`
	Currency      string          `json:"currency"`
	Held          bool            `json:"held"`
	Action        rebalance.Side  `json:"action"`
	HedgeRatio    float64         `json:"hedge_ratio"`
	Effectiveness float64         `json:"effectiveness"`
	Notional      decimal.Decimal `json:"notional"` // to sell; negative: to buy
	Cost          decimal.Decimal `json:"cost"`
	CostBps       float64         `json:"cost_bps"` // of the net asset value
	ScenarioDelta decimal.Decimal `json:"scenario_delta"`
}

type exclusion struct {
	Symbol string `json:"symbol"`
	Reason string `json:"reason"`
}

// deleveragingHedges is the answer of optimizer.suggest_deleveraging_hedges.
type deleveragingHedges struct {
	Phase        *string                   `json:"ltdc_phase"`
	Scenarios    []deleveragingHedge       `json:"scenarios"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type deleveragingHedge struct {
	Scenario string `json:"scenario"`
	hedges
}

// givenScenario is what is read of an answer of macro.run_scenario, which has more fields.
type givenScenario struct {
	ID     *string             `json:"scenario_id"`
	Delta  decimal.NullDecimal `json:"delta"`
	Shocks []struct {
		Shock string  `json:"shock"`
		Value float64 `json:"value"`
	} `json:"shocks"`

	chosen scenario.Scenario
}

func (o *Optimizer) readScenario(pointer string, raw json.RawMessage) (*givenScenario, error) {
	if capability.Absent(raw) {
		return nil, nil
	}
	var g givenScenario
	if err := json.Unmarshal(raw, &g); err != nil || len(g.Shocks) == 0 {
		return nil, fault.InvalidField(pointer, "it is no answer of macro.run_scenario")
	}
	sizes := map[string]float64{}
	for _, s := range g.Shocks {
		sizes[s.Shock] = s.Value
	}
	var err error
	if g.chosen, err = o.tables.Library.Choose("", sizes); err != nil {
		return nil, fault.InvalidField(pointer+"/shocks", "%s", fault.Detail(err))
	}
	return &g, nil
}

func (o *Optimizer) suggestHedges(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID string          `json:"portfolio_id"`
		PackID      *string         `json:"pack_id"`
		Scenario    json.RawMessage `json:"scenario_result"`
		MaxCostBps  *float64        `json:"max_cost_bps"`
		Method      *string         `json:"method"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	given, err := o.readScenario("/args/scenario_result", args.Scenario)
	if err != nil {
		return agent.Result{}, err
	}
	h, err := o.hedging(ctx, req, args.PortfolioID, args.PackID, args.MaxCostBps, args.Method)
	if err != nil {
		return agent.Result{}, err
	}
	answer, warnings, err := h.suggest(given)
	if err != nil {
		return agent.Result{}, err
	}
	return agent.Result{Value: answer, Warnings: warnings, Sources: h.sources()}, nil
}

func (o *Optimizer) suggestDeleveragingHedges(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID string                     `json:"portfolio_id"`
		PackID      *string                    `json:"pack_id"`
		Scenarios   map[string]json.RawMessage `json:"scenarios"`
		Phase       *string                    `json:"ltdc_phase"`
		MaxCostBps  *float64                   `json:"max_cost_bps"`
		Method      *string                    `json:"method"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	if len(args.Scenarios) == 0 || len(args.Scenarios) > maxScenarios {
		return agent.Result{}, fault.InvalidField("/args/scenarios", "there must be 1 to %d", maxScenarios)
	}
	names := slices.Sorted(maps.Keys(args.Scenarios))
	given := make([]*givenScenario, len(names))
	for i, name := range names {
		var err error
		if given[i], err = o.readScenario("/args/scenarios/"+name, args.Scenarios[name]); err != nil {
			return agent.Result{}, err
		}
	}
	h, err := o.hedging(ctx, req, args.PortfolioID, args.PackID, args.MaxCostBps, args.Method)
	if err != nil {
		return agent.Result{}, err
	}
	answer := deleveragingHedges{Phase: args.Phase, Scenarios: make([]deleveragingHedge, len(names))}
	g := capability.NewGaps()
	var warnings []string
	if args.Phase == nil {
		g.Note(portfolio.Short("ltdc", "the phase of the long-term debt cycle isn't known; hedges don't depend on it"), "ltdc_phase")
	}
	for i, name := range names {
		one, more, err := h.suggest(given[i])
		if err != nil {
			return agent.Result{}, err
		}
		answer.Scenarios[i] = deleveragingHedge{Scenario: name, hedges: one}
		for _, w := range more {
			if w = name + ": " + w; !slices.Contains(warnings, w) {
				warnings = append(warnings, w)
			}
		}
	}
	answer.Insufficient = g.List
	return agent.Result{Value: answer, Warnings: warnings, Sources: h.sources()}, nil
}

// hedging is the suggestions of one run in the making.
type hedging struct {
	*Optimizer
	capability.Dossier

	asof       time.Time
	method     string
	maxCostBps float64
	value      portfolio.Valuation
	panel      *capability.Panel // nil when noPanel says why
	noPanel    error
	window     *capability.Window
	candidates []candidate // by effectiveness, then symbol
	excluded   []exclusion
	err        error // why nothing can be measured; Shortages
	warnings   []string
}

type candidate struct {
	security portfolio.Security
	hedge    rebalance.Hedge
	held     bool
}

// hedging reads, and measures the candidates.
func (o *Optimizer) hedging(ctx context.Context, req agent.Request, id string, packID *string, maxCostBps *float64, method *string) (*hedging, error) {
	if packID != nil {
		if err := capability.SamePack(req, *packID); err != nil {
			return nil, err
		}
	}
	h := &hedging{Optimizer: o, asof: req.Context.Asof, method: methodRealised, maxCostBps: defaultMaxCostBps}
	if maxCostBps != nil {
		if !(*maxCostBps >= 0 && *maxCostBps <= 10_000) {
			return nil, fault.InvalidField("/args/max_cost_bps", "%v is outside 0 to 10000", *maxCostBps)
		}
		h.maxCostBps = *maxCostBps
	}
	if method != nil {
		if *method != methodRealised && *method != methodCurrent {
			return nil, fault.InvalidField("/args/method", "%q is neither %s nor %s", *method, methodRealised, methodCurrent)
		}
		h.method = *method
	}
	table := o.tables.Hedges
	var err error
	h.Dossier, err = capability.Open(ctx, o.ledger, o.market, req, id, capability.Wanted{
		Symbols: append(slices.Clone(table.Candidates), o.tables.Library.Symbols()...),
		Returns: max(table.Returns, o.tables.Library.Estimation.Returns),
	})
	if err != nil {
		return nil, err
	}
	if h.value, err = h.Value(h.asof); err != nil {
		return nil, err
	}
	h.panel, h.noPanel = h.Market(h.asof, table.Returns)
	h.err = h.measure()
	return h, nil
}

// measure fits every candidate to the portfolio's returns.
func (h *hedging) measure() error {
	table := h.tables.Hedges
	lines, err := capability.Lines(h.value)
	if err != nil {
		return err
	}
	var returns []float64
	var over func(portfolio.Security) ([]float64, error)
	if h.method == methodRealised {
		w, err := h.History.Last(table.Returns)
		if err != nil {
			return err
		}
		h.window = capability.Describe(h.History, w)
		h.warnings = capability.Shorter(h.History, w, table.Returns)
		if returns, err = h.History.Returns(w); err != nil {
			return err
		}
		over = func(s portfolio.Security) ([]float64, error) { return h.History.SecurityReturns(s, w) }
	} else {
		if h.noPanel != nil {
			return h.noPanel
		}
		h.window = capability.Describe(h.panel.History, h.panel.Window)
		if returns, err = h.panel.Returns(lines); err != nil {
			return err
		}
		over = h.panel.Security
	}
	if len(returns) < table.MinReturns {
		return portfolio.Short("returns", "a hedge needs %d daily returns, there are %d", table.MinReturns, len(returns))
	}
	for _, symbol := range table.Candidates {
		s, listed := h.Securities[symbol]
		if !listed {
			h.exclude(symbol, "it is not a listed security")
			continue
		}
		r, err := over(s)
		var fit rebalance.Hedge
		if err == nil {
			fit, err = rebalance.HedgeOf(returns, r)
		}
		switch {
		case err != nil:
			h.exclude(symbol, err.Error())
		case fit.Effectiveness < table.MinEffectiveness || fit.Ratio == 0:
			h.exclude(symbol, fmt.Sprintf("it would have taken away %.4f of the variance, less than %v", fit.Effectiveness, table.MinEffectiveness))
		default:
			held := slices.ContainsFunc(lines, func(l capability.Line) bool { return l.Security.Symbol == symbol })
			h.candidates = append(h.candidates, candidate{s, fit, held})
		}
	}
	slices.SortFunc(h.candidates, func(a, b candidate) int {
		return cmp.Or(-cmp.Compare(a.hedge.Effectiveness, b.hedge.Effectiveness), cmp.Compare(a.security.Symbol, b.security.Symbol))
	})
	return nil
}

func (h *hedging) exclude(symbol, reason string) {
	h.excluded = append(h.excluded, exclusion{symbol, reason})
}

// suggest chooses among the candidates those that gain in a scenario and are cheap enough.
func (h *hedging) suggest(s *givenScenario) (hedges, []string, error) {
	answer := hedges{
		Currency: h.Portfolio.BaseCurrency, Method: h.method, MaxCostBps: h.maxCostBps, Hedges: []hedge{},
		Excluded: append([]exclusion{}, h.excluded...), Window: h.window,
	}
	warnings := slices.Clone(h.warnings)
	g := capability.NewGaps()
	if h.window == nil {
		g.Note(h.err, "window")
	}
	noScenario := portfolio.Short("scenario_result", "the scenario's effect on the portfolio isn't known")
	if s == nil {
		g.Note(noScenario, "scenario_id", "delta", "hedges")
	} else {
		answer.ScenarioID, answer.Delta = s.ID, s.Delta
		if s.ID == nil {
			g.Note(noScenario, "scenario_id")
		}
	}
	switch {
	case s == nil:
	case !s.Delta.Valid:
		g.Note(noScenario, "delta", "hedges")
	case h.err != nil:
		g.Note(h.err, "hedges")
	case !s.Delta.Decimal.IsNegative():
		warnings = append(warnings, "The portfolio does not lose in the scenario: there is nothing to hedge.")
	default:
		for _, c := range h.candidates {
			if err := h.consider(&answer, s, c); err != nil {
				return hedges{}, nil, err
			}
		}
	}
	if g.Err() != nil {
		return hedges{}, nil, fmt.Errorf("hedges of portfolio %s: %w", h.Portfolio.ID, g.Err())
	}
	answer.Insufficient = g.List
	return answer, warnings, nil
}

// consider adds a candidate to the hedges or to what is excluded.
func (h *hedging) consider(answer *hedges, s *givenScenario, c candidate) error {
	exclude := func(format string, args ...any) {
		answer.Excluded = append(answer.Excluded, exclusion{c.security.Symbol, fmt.Sprintf(format, args...)})
	}
	nav := h.value.Total.Decimal
	notional := nav.Mul(decimal.NewFromFloat(c.hedge.Ratio)).Round(capability.TotalPlaces)
	out, err := h.tables.Library.Run(s.chosen, h.Portfolio.BaseCurrency, []scenario.Line{{
		Kind: portfolio.KindSecurity, Symbol: c.security.Symbol, AssetClass: c.security.AssetClass, Currency: c.security.Currency,
		Value: decimal.NewNullDecimal(notional.Neg()), Duration: c.security.Duration, Convexity: c.security.Convexity,
	}}, h.betas)
	if err != nil {
		return err
	}
	cost := h.tables.Rules.Limits.Cost(notional.Abs())
	bps := cost.DivRound(nav, 18).Shift(4).InexactFloat64()
	gain := out.Positions[0].Delta
	switch {
	case len(out.Unmapped) > 0:
		exclude("its gain in the scenario can't be computed: %s", out.Unmapped[0].Shortage.Reason)
	case !gain.Valid:
		exclude("its gain in the scenario can't be computed")
	case !gain.Decimal.IsPositive():
		exclude("at its least-variance size it would lose %s in the scenario", gain.Decimal.Neg().StringFixed(capability.TotalPlaces))
	case bps > h.maxCostBps:
		exclude("it would cost %.2f bp of the net asset value, more than %v", bps, h.maxCostBps)
	case len(answer.Hedges) == h.tables.Hedges.MaxSuggestions:
		exclude("there are %d more effective ones", len(answer.Hedges))
	default:
		one := hedge{
			Symbol: c.security.Symbol, SecurityID: c.security.ID, Name: c.security.Name, AssetClass: c.security.AssetClass,
			Currency: c.security.Currency, Held: c.held, Action: rebalance.Sell,
			HedgeRatio: c.hedge.Ratio, Effectiveness: c.hedge.Effectiveness, Notional: notional,
			Cost: cost, CostBps: bps, ScenarioDelta: gain.Decimal.Round(capability.TotalPlaces),
		}
		if c.hedge.Ratio < 0 {
			one.Action = rebalance.Buy
		}
		answer.Hedges = append(answer.Hedges, one)
	}
	return nil
}

// betas estimates as macro.run_scenario does.
func (h *hedging) betas(symbol, factor string) (float64, error) {
	if h.noPanel != nil {
		return 0, h.noPanel
	}
	r, f, err := h.panel.Pair(symbol, factor, h.tables.Library.Estimation.MinReturns)
	if err != nil {
		return 0, err
	}
	return portfolio.Beta(r, f)
}

func (h *hedging) sources() []agent.Source {
	return capability.Sources(h.Dossier, h.panel, h.tables.Hedges.Source, h.tables.Rules.Source, h.tables.Library.Source)
}
