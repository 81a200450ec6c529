package scenarios

import (
	"context"
	"errors"
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/scenario"
	"github.com/dawsos/dawsos/pkg/agent"
)

// outcome is the answer of macro.run_scenario and of scenarios.deleveraging_*.
type outcome struct {
	ScenarioID string `json:"scenario_id"`
	Name       string `json:"name"`
	Source     string `json:"source"` // of the sizes
	Currency   string `json:"currency"`
	// Phase of the long-term debt cycle that a deleveraging was asked for in.
	Phase         *string                   `json:"ltdc_phase,omitempty"`
	Shocks        []feltShock               `json:"shocks"`
	BaseValue     *string                   `json:"base_value"`
	ShockedValue  *string                   `json:"shocked_value"`
	Delta         *string                   `json:"delta"`
	DeltaPct      *float64                  `json:"delta_pct"`
	Positions     []shockedLine             `json:"positions"`
	Cash          []shockedCash             `json:"cash"`
	Unmapped      []unmappedLine            `json:"unmapped"`
	UnmappedValue *string                   `json:"unmapped_value"` // gross, of the positions in unmapped
	Insufficient  []capability.Insufficient `json:"insufficient_data"`
}

type feltShock struct {
	Shock string              `json:"shock"`
	Value float64             `json:"value"`
	Unit  scenario.Unit       `json:"unit"`
	Size  float64             `json:"size"` // value as a fraction
	Delta decimal.NullDecimal `json:"delta"`
}

type shockedLine struct {
	Symbol     string              `json:"symbol"`
	AssetClass string              `json:"asset_class"`
	Currency   string              `json:"currency"`
	BaseValue  decimal.NullDecimal `json:"base_value"`
	Delta      decimal.NullDecimal `json:"delta"`
	DeltaPct   *float64            `json:"delta_pct"`
	ByShock    []effect            `json:"by_shock"`
}

type shockedCash struct {
	Currency  string              `json:"currency"`
	BaseValue decimal.NullDecimal `json:"base_value"`
	Delta     decimal.NullDecimal `json:"delta"`
	DeltaPct  *float64            `json:"delta_pct"`
	ByShock   []effect            `json:"by_shock"`
}

type effect struct {
	Shock       string          `json:"shock"`
	Size        float64         `json:"size"`
	Sensitivity float64         `json:"sensitivity"`
	Delta       decimal.Decimal `json:"delta"`
}

type unmappedLine struct {
	Symbol      string              `json:"symbol"`
	MarketValue decimal.NullDecimal `json:"market_value"`
	Shock       *string             `json:"shock"` // null: none of the scenario's shocks is about it
	Missing     string              `json:"missing"`
	Reason      string              `json:"reason"`
}

func (d *desk) runScenario(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID  string             `json:"portfolio_id"`
		PackID       string             `json:"pack_id"`
		ScenarioID   *string            `json:"scenario_id"`
		CustomShocks map[string]float64 `json:"custom_shocks"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	id := ""
	if args.ScenarioID != nil {
		id = *args.ScenarioID
	}
	chosen, err := d.library.Choose(id, args.CustomShocks)
	if err != nil {
		return agent.Result{}, underArgs(err)
	}
	return d.run(ctx, req, args.PortfolioID, args.PackID, chosen, nil, nil)
}

// deleverage returns the capability that runs a scenario of deleveraging.
func (d *desk) deleverage(id string) func(context.Context, agent.Request) (agent.Result, error) {
	return func(ctx context.Context, req agent.Request) (agent.Result, error) {
		var args struct {
			PortfolioID string  `json:"portfolio_id"`
			PackID      string  `json:"pack_id"`
			Phase       *string `json:"ltdc_phase"`
		}
		if err := capability.Decode(req, &args); err != nil {
			return agent.Result{}, err
		}
		chosen, ok := d.library.Delever(id)
		if !ok {
			return agent.Result{}, fmt.Errorf("the library has no deleveraging scenario %q", id)
		}
		var warnings []string
		if args.Phase == nil {
			warnings = append(warnings,
				"The phase of the long-term debt cycle isn't known: how likely such a deleveraging is can't be told from here.")
		}
		return d.run(ctx, req, args.PortfolioID, args.PackID, chosen, args.Phase, warnings)
	}
}

// underArgs makes pointers point into the arguments.
func underArgs(err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		for i := range e.Fields {
			e.Fields[i].Pointer = "/args" + e.Fields[i].Pointer
		}
	}
	return err
}

func (d *desk) run(ctx context.Context, req agent.Request, portfolioID, packID string, s scenario.Scenario, phase *string, warnings []string) (agent.Result, error) {
	if err := capability.SamePack(req, packID); err != nil {
		return agent.Result{}, err
	}
	dossier, err := capability.Open(ctx, d.ledger, d.market, req, portfolioID, capability.Wanted{
		Symbols: d.library.Symbols(), Returns: d.library.Estimation.Returns,
	})
	if err != nil {
		return agent.Result{}, err
	}
	v, err := dossier.Value(req.Context.Asof)
	if err != nil {
		return agent.Result{}, err
	}
	panel, noPanel := dossier.Market(req.Context.Asof, d.library.Estimation.Returns)
	out, err := d.library.Run(s, v.Currency, lines(v), func(symbol, factor string) (float64, error) {
		if noPanel != nil {
			return 0, noPanel
		}
		r, f, err := panel.Pair(symbol, factor, d.library.Estimation.MinReturns)
		if err != nil {
			return 0, err
		}
		return portfolio.Beta(r, f)
	})
	if err != nil {
		return agent.Result{}, err
	}
	answer := outcome{
		ScenarioID: s.ID, Name: s.Name, Source: d.library.Origin, Currency: v.Currency, Phase: phase,
		Shocks: []feltShock{}, Positions: []shockedLine{}, Cash: []shockedCash{}, Unmapped: []unmappedLine{},
	}
	if s.ID == scenario.Custom {
		answer.Source = "The caller's shocks"
	}
	if err := answer.fill(v, out); err != nil {
		return agent.Result{}, err
	}
	return agent.Result{
		Value: answer, Warnings: append(warnings, out.Warnings...),
		Sources: capability.Sources(dossier, panel, d.library.Source),
	}, nil
}

func lines(v portfolio.Valuation) []scenario.Line {
	all := make([]scenario.Line, 0, len(v.Positions)+len(v.Cash))
	for _, p := range v.Positions {
		s := p.Security
		all = append(all, scenario.Line{
			Kind: portfolio.KindSecurity, Symbol: s.Symbol, AssetClass: s.AssetClass, Currency: s.Currency,
			Value: p.Value, Unpriced: p.Unpriced, Duration: s.Duration, Convexity: s.Convexity,
		})
	}
	for _, c := range v.Cash {
		all = append(all, scenario.Line{
			Kind: portfolio.KindCash, Symbol: capability.CashSymbol(c.Currency), Currency: c.Currency,
			Value: c.Value, Unpriced: c.Unpriced,
		})
	}
	return all
}

func (o *outcome) fill(v portfolio.Valuation, out scenario.Outcome) error {
	g := capability.NewGaps()
	for _, s := range out.Shocks {
		o.Shocks = append(o.Shocks, feltShock{Shock: s.Shock.Name, Value: s.Value, Unit: s.Shock.Unit, Size: s.Size, Delta: s.Delta})
		if !s.Delta.Valid {
			g.Note(portfolio.Shortages{s.Shortage}, "shocks."+s.Shock.Name+".delta")
		}
	}
	unmapped := map[string]bool{}
	gross := decimal.Zero
	known := true
	for _, u := range out.Unmapped {
		line := unmappedLine{Symbol: u.Symbol, MarketValue: capability.Amount(u.Value), Missing: u.Shortage.Missing, Reason: u.Shortage.Reason}
		if u.Shock != "" {
			line.Shock = &u.Shock
		}
		o.Unmapped = append(o.Unmapped, line)
		if !unmapped[u.Symbol] {
			unmapped[u.Symbol] = true
			gross = gross.Add(u.Value.Decimal.Abs())
			known = known && u.Value.Valid
		}
	}
	if known {
		o.UnmappedValue = capability.Total(gross.Round(capability.TotalPlaces))
	} else {
		g.Note(v.Unpriced, "unmapped_value")
	}
	for _, p := range out.Positions {
		effects := make([]effect, len(p.Effects))
		for i, e := range p.Effects {
			effects[i] = effect(e)
		}
		var pct *float64
		field := "positions." + p.Symbol
		if p.Kind == portfolio.KindCash {
			field = "cash." + p.Currency
		}
		switch {
		case !p.Value.Valid:
			g.Note(p.Unpriced, field+".base_value", field+".delta", field+".delta_pct")
		case !p.Delta.Valid:
			for _, u := range out.Unmapped {
				if u.Symbol == p.Symbol {
					g.Note(portfolio.Shortages{u.Shortage}, field+".delta", field+".delta_pct")
				}
			}
		default:
			// The line's own change: of a short position, its price's.
			var change float64
			for _, e := range p.Effects {
				change += e.Size * e.Sensitivity
			}
			pct = g.Field(field+".delta_pct").Number(change, nil)
		}
		if p.Kind == portfolio.KindCash {
			o.Cash = append(o.Cash, shockedCash{
				Currency: p.Currency, BaseValue: capability.Amount(p.Value), Delta: p.Delta, DeltaPct: pct, ByShock: effects,
			})
			continue
		}
		o.Positions = append(o.Positions, shockedLine{
			Symbol: p.Symbol, AssetClass: p.AssetClass, Currency: p.Currency,
			BaseValue: capability.Amount(p.Value), Delta: p.Delta, DeltaPct: pct, ByShock: effects,
		})
	}
	o.totals(g, v, out)
	o.Insufficient = g.List
	return g.Err()
}

func (o *outcome) totals(g *capability.Gaps, v portfolio.Valuation, out scenario.Outcome) {
	if v.Total.Valid {
		o.BaseValue = capability.Total(v.Total.Decimal.Round(capability.TotalPlaces))
	} else {
		g.Note(v.Unpriced, "base_value")
	}
	if !out.Delta.Valid {
		g.Note(out.Shortages, "delta", "shocked_value", "delta_pct")
		return
	}
	delta := out.Delta.Decimal.Round(capability.TotalPlaces)
	o.Delta = capability.Total(delta)
	o.ShockedValue = capability.Total(v.Total.Decimal.Round(capability.TotalPlaces).Add(delta))
	share, err := v.Weight(out.Delta.Decimal)
	o.DeltaPct = g.Field("delta_pct").Number(share, err)
}
