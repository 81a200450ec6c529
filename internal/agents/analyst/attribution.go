package analyst

import (
	"context"
	"fmt"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// currencyAttribution is the answer of attribution.currency.
type currencyAttribution struct {
	Currency     string                    `json:"currency"`
	Method       string                    `json:"method"` // methodLinked or methodStartHoldings
	TotalReturn  *float64                  `json:"total_return"`
	LocalReturn  *float64                  `json:"local_return"`
	FXReturn     *float64                  `json:"fx_return"`
	Interaction  *float64                  `json:"interaction"`
	Costs        *float64                  `json:"costs"`
	Positions    []contribution            `json:"positions"`
	Window       *capability.Window        `json:"window"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

const (
	methodLinked        = "daily_linked"   // Carino: the parts sum to the time-weighted return
	methodStartHoldings = "start_holdings" // one period: the parts sum to the start holdings' return
)

type contribution struct {
	Symbol        string         `json:"symbol"` // "CASH:USD" for cash
	Kind          portfolio.Kind `json:"kind"`
	Currency      string         `json:"currency"`
	Weight        float64        `json:"weight"` // at the window's start
	AverageWeight float64        `json:"average_weight"`
	Local         float64        `json:"local"`
	FX            float64        `json:"fx"`
	Interaction   float64        `json:"interaction"`
}

func (a *Analyst) attributeCurrency(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID  string  `json:"portfolio_id"`
		PackID       string  `json:"pack_id"`
		LookbackDays *int    `json:"lookback_days"`
		From         *string `json:"from"`
	}
	if err := capability.DecodeForPack(req, &args, &args.PackID); err != nil {
		return agent.Result{}, err
	}
	days, err := capability.Lookback(args.LookbackDays)
	if err != nil {
		return agent.Result{}, err
	}
	from, err := capability.Day(req, "from", args.From)
	if err != nil {
		return agent.Result{}, err
	}
	d, err := a.open(ctx, req, args.PortfolioID)
	if err != nil {
		return agent.Result{}, err
	}

	h := d.History
	answer := currencyAttribution{Currency: d.Portfolio.BaseCurrency, Method: methodLinked, Positions: []contribution{}}
	var w portfolio.Window
	var warnings []string
	attribute := h.AttributeCurrency
	if args.From == nil {
		w, err = h.Last(days)
	} else {
		w, err = h.Since(from)
		answer.Method, attribute = methodStartHoldings, h.AttributeStartHoldings
	}
	g := capability.NewGaps()
	var parts portfolio.CurrencyAttribution
	if err != nil {
		g.Note(err, "window")
	} else {
		answer.Window = capability.Describe(h, w)
		if args.From == nil {
			warnings = capability.Shorter(h, w, days)
		}
		parts, err = attribute(w)
	}
	if err != nil {
		g.Note(err, "total_return", "local_return", "fx_return", "interaction", "costs", "positions")
	} else {
		answer.TotalReturn, answer.LocalReturn, answer.FXReturn = &parts.Total, &parts.Local, &parts.FX
		answer.Interaction, answer.Costs = &parts.Interaction, &parts.Costs
		for _, l := range parts.Lines {
			answer.Positions = append(answer.Positions, contribution{
				Symbol: lineName(l.Kind, l.Symbol, l.Currency), Kind: l.Kind, Currency: l.Currency, Weight: l.Weight, AverageWeight: l.AverageWeight,
				Local: l.Local, FX: l.FX, Interaction: l.Interaction,
			})
		}
	}
	if g.Err() != nil {
		return agent.Result{}, fmt.Errorf("attributing the return of portfolio %s: %w", d.Portfolio.ID, g.Err())
	}
	answer.Insufficient = g.List
	return agent.Result{Value: answer, Sources: d.Sources(), Warnings: warnings}, nil
}
