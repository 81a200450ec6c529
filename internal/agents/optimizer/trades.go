package optimizer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/rebalance"
	"github.com/dawsos/dawsos/pkg/agent"
)

// proposal is the answer of optimizer.propose_trades.
type proposal struct {
	Currency      string                    `json:"currency"`
	TotalValue    *string                   `json:"total_value"`
	Trades        []trade                   `json:"trades"`
	Conversions   []conversion              `json:"conversions"`
	Targets       []target                  `json:"targets"`
	Turnover      *float64                  `json:"turnover"`
	Cost          *string                   `json:"cost"`
	Scale         *float64                  `json:"scale"`
	CashBefore    *string                   `json:"cash_before"`
	CashAfter     *string                   `json:"cash_after"`
	TrackingError beforeAfter               `json:"tracking_error"`
	Reference     string                    `json:"tracking_error_reference"`
	Volatility    beforeAfter               `json:"volatility"`
	Limits        rebalance.Limits          `json:"limits"`
	Binding       []string                  `json:"binding"`
	NotApplied    []note                    `json:"not_applied"`
	Unmet         []note                    `json:"unmet"`
	Window        *capability.Window        `json:"window"`
	Insufficient  []capability.Insufficient `json:"insufficient_data"`
}

type trade struct {
	Symbol       string          `json:"symbol"`
	Side         rebalance.Side  `json:"side"`
	Quantity     decimal.Decimal `json:"quantity"`
	Price        decimal.Decimal `json:"price"`
	Currency     string          `json:"currency"`
	FX           decimal.Decimal `json:"fx_rate"`
	Value        decimal.Decimal `json:"value"`
	Cost         decimal.Decimal `json:"cost"`
	WeightBefore float64         `json:"weight_before"`
	WeightAfter  float64         `json:"weight_after"`
	WeightTarget float64         `json:"weight_target"`
	Reasons      []string        `json:"reasons"`
}

type conversion struct {
	Sell       string          `json:"sell_currency"`
	SellAmount decimal.Decimal `json:"sell_amount"`
	Buy        string          `json:"buy_currency"`
	BuyAmount  decimal.Decimal `json:"buy_amount"`
}

type target struct {
	Symbol  string   `json:"symbol"`
	Weight  float64  `json:"weight"`
	Target  float64  `json:"target"`
	Reasons []string `json:"reasons"`
}

type beforeAfter struct {
	Before *float64 `json:"before"`
	After  *float64 `json:"after"`
}

type note struct {
	Rule   string `json:"rule"`
	Symbol string `json:"symbol"` // "": all; of max_sector, the sector
	Reason string `json:"reason"`
}

func (o *Optimizer) propose(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID string             `json:"portfolio_id"`
		PackID      string             `json:"pack_id"`
		Positions   json.RawMessage    `json:"positions"`
		Cash        json.RawMessage    `json:"cash"`
		Ratings     json.RawMessage    `json:"ratings"`
		Policies    []rebalance.Policy `json:"policies"`
		Constraints json.RawMessage    `json:"constraints"`
	}
	if err := capability.DecodeForPack(req, &args, &args.PackID); err != nil {
		return agent.Result{}, err
	}
	positions, err := readPositions(args.Positions)
	if err != nil {
		return agent.Result{}, err
	}
	if len(args.Policies) > maxPolicies {
		return agent.Result{}, fault.InvalidField("/args/policies", "there are %d, more than %d", len(args.Policies), maxPolicies)
	}
	if err := rebalance.CheckPolicies(args.Policies); err != nil {
		return agent.Result{}, under("/args/policies", err)
	}
	limits, err := o.limits(args.Constraints)
	if err != nil {
		return agent.Result{}, err
	}
	ratings, unrated := readRatings(args.Ratings)
	var symbols []string
	for _, p := range args.Policies {
		if p.Symbol != "" {
			symbols = append(symbols, p.Symbol)
		}
	}
	slices.Sort(symbols)
	d, err := o.open(ctx, req, args.PortfolioID, positions, args.Cash, slices.Compact(symbols))
	if err != nil {
		return agent.Result{}, err
	}
	for i, p := range args.Policies {
		if _, listed := d.Securities[p.Symbol]; p.Symbol != "" && !listed {
			return agent.Result{}, fault.InvalidField(fmt.Sprintf("/args/policies/%d/symbol", i), "%q is not a listed security", p.Symbol)
		}
	}

	answer := proposal{
		Currency: d.book.Base, Reference: d.refer, Limits: limits,
		Trades: []trade{}, Conversions: []conversion{}, Targets: []target{}, Binding: []string{}, NotApplied: []note{}, Unmet: []note{},
	}
	g := capability.NewGaps()
	plan, err := d.plan(rebalance.Problem{
		Book: d.book, Policies: args.Policies, Limits: limits, Ratings: ratings, Unrated: unrated, Risk: d.risk, RiskErr: d.riskErr,
	})
	if err != nil {
		g.Note(err, "trades", "turnover", "cost", "scale", "cash_after")
		plan.After = d.book
	} else {
		answer.Turnover = g.Field("turnover").Number(plan.Turnover, nil)
		answer.Cost, answer.Scale = capability.Total(plan.Cost), &plan.Scale
	}
	d.values(g, &answer.TotalValue, &answer.CashBefore)
	if err == nil {
		_, cash := plan.After.Value()
		answer.CashAfter = capability.Total(cash)
	}
	answer.fill(d.book, plan)
	answer.Volatility, answer.TrackingError = d.measure(g, d.book, plan.After, err)
	answer.Window = d.window(g)
	if g.Err() != nil {
		return agent.Result{}, fmt.Errorf("trades of portfolio %s: %w", d.Portfolio.ID, g.Err())
	}
	answer.Insufficient = g.List
	return agent.Result{Value: answer, Sources: capability.Sources(d.Dossier, d.panel, o.tables.Rules.Source)}, nil
}

// plan proposes trades, if the book can be valued.
func (d *desk) plan(p rebalance.Problem) (rebalance.Plan, error) {
	if d.short != nil {
		return rebalance.Plan{}, d.short
	}
	held := slices.ContainsFunc(p.Book.Lines, func(l rebalance.Line) bool { return !l.Quantity.IsZero() })
	if !held && len(p.Book.Cash) == 0 {
		return rebalance.Plan{}, portfolio.Short("holdings", "the portfolio holds nothing")
	}
	return rebalance.Propose(p)
}

// values states the net asset value and its cash.
func (d *desk) values(g *capability.Gaps, total, cash **string) {
	if d.short != nil {
		g.Note(d.short, "total_value", "cash_before")
		return
	}
	t, c := d.book.Value()
	*total, *cash = capability.Total(t), capability.Total(c)
}

// measure returns volatility and tracking error of two books.
func (d *desk) measure(g *capability.Gaps, before, after rebalance.Book, err error) (volatility, te beforeAfter) {
	if err == nil {
		err = d.riskErr
	}
	one := func(field string, b rebalance.Book, f func(*rebalance.Risk, rebalance.Book) (float64, error)) *float64 {
		if err != nil {
			return g.Field(field).Number(0, err)
		}
		return g.Field(field).Number(f(d.risk, b))
	}
	volatility.Before = one("volatility.before", before, (*rebalance.Risk).Volatility)
	volatility.After = one("volatility.after", after, (*rebalance.Risk).Volatility)
	te.Before = one("tracking_error.before", before, (*rebalance.Risk).TrackingError)
	te.After = one("tracking_error.after", after, (*rebalance.Risk).TrackingError)
	return volatility, te
}

func (d *desk) window(g *capability.Gaps) *capability.Window {
	if d.panel == nil {
		g.Note(d.riskErr, "window")
		return nil
	}
	return capability.Describe(d.panel.History, d.panel.Window)
}

func (p *proposal) fill(book rebalance.Book, plan rebalance.Plan) {
	before, after := weights(book), weights(plan.After)
	targets := map[string]float64{}
	for _, t := range plan.Targets {
		p.Targets = append(p.Targets, target(t))
		targets[t.Symbol] = t.Target
	}
	for _, t := range plan.Trades {
		p.Trades = append(p.Trades, trade{
			Symbol: t.Symbol, Side: t.Side, Quantity: t.Quantity, Price: t.Price, Currency: t.Currency, FX: t.FX,
			Value: t.Value.Round(capability.AmountPlaces), Cost: t.Cost, Reasons: t.Reasons,
			WeightBefore: before[t.Symbol], WeightAfter: after[t.Symbol], WeightTarget: targets[t.Symbol],
		})
	}
	p.Conversions = conversions(plan.Conversions)
	p.Binding = append(p.Binding, plan.Binding...)
	for _, n := range plan.NotApplied {
		p.NotApplied = append(p.NotApplied, note(n))
	}
	for _, n := range plan.Unmet {
		p.Unmet = append(p.Unmet, note(n))
	}
}

func conversions(all []rebalance.Conversion) []conversion {
	out := make([]conversion, len(all))
	for i, c := range all {
		out[i] = conversion{Sell: c.Sell, SellAmount: c.SellAmount, Buy: c.Buy, BuyAmount: c.BuyAmount}
	}
	return out
}

// weights returns each line's and balance's fraction of the net asset value, by symbol.
func weights(b rebalance.Book) map[string]float64 {
	all := map[string]float64{}
	total, _ := b.Value()
	if !total.IsPositive() {
		return all
	}
	fraction := func(d decimal.Decimal) float64 { return d.DivRound(total, 18).InexactFloat64() }
	for _, l := range b.Lines {
		all[l.Symbol] = fraction(l.Value())
	}
	for _, c := range b.Cash {
		all[c.Symbol] = fraction(c.Amount.Mul(c.FX))
	}
	return all
}

// limits returns the table's limits with the caller's in their place.
func (o *Optimizer) limits(raw json.RawMessage) (rebalance.Limits, error) {
	limits := o.tables.Rules.Limits
	if !capability.Absent(raw) {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&limits); err != nil {
			return limits, fault.InvalidField("/args/constraints", "%v", err)
		}
	}
	wrong := limits.Check()
	if len(wrong) == 0 {
		return limits, nil
	}
	name := slices.Sorted(maps.Keys(wrong))[0]
	return limits, fault.InvalidField("/args/constraints/"+name, "%s", wrong[name])
}

// readRatings reads what is needed of an answer of ratings.aggregate, and says why there is nothing.
func readRatings(raw json.RawMessage) (ratings map[string]float64, unrated string) {
	const none = "no ratings were given"
	if capability.Absent(raw) {
		return nil, none
	}
	var given struct {
		Positions []struct {
			Symbol  string   `json:"symbol"`
			Overall *float64 `json:"overall"`
		} `json:"positions"`
	}
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, "the ratings are none as ratings.aggregate answers them"
	}
	ratings = map[string]float64{}
	for _, p := range given.Positions {
		if p.Overall != nil {
			ratings[p.Symbol] = *p.Overall
		}
	}
	if len(ratings) == 0 {
		return nil, "no position has a rating"
	}
	return ratings, ""
}

// under makes pointers point below an argument.
func under(prefix string, err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		for i := range e.Fields {
			e.Fields[i].Pointer = prefix + e.Fields[i].Pointer
		}
	}
	return err
}
