package optimizer

import (
	"context"
	"encoding/json"
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

// impactAnalysis is the answer of optimizer.analyze_impact.
type impactAnalysis struct {
	Currency      string                    `json:"currency"`
	TotalValue    moneyBeforeAfter          `json:"total_value"`
	Cash          moneyBeforeAfter          `json:"cash"`
	Turnover      *float64                  `json:"turnover"`
	Cost          *string                   `json:"cost"`
	Volatility    beforeAfter               `json:"volatility"`
	TrackingError beforeAfter               `json:"tracking_error"`
	Reference     string                    `json:"tracking_error_reference"`
	HHI           beforeAfter               `json:"hhi_with_cash"`
	Largest       beforeAfter               `json:"largest_weight"` // of a security
	Weights       []weightChange            `json:"weights"`
	Sectors       []sectorChange            `json:"sectors"`
	Conversions   []conversion              `json:"conversions"`
	Window        *capability.Window        `json:"window"`
	Insufficient  []capability.Insufficient `json:"insufficient_data"`
}

type moneyBeforeAfter struct {
	Before *string `json:"before"`
	After  *string `json:"after"`
}

type weightChange struct {
	Symbol string  `json:"symbol"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

type sectorChange struct {
	Sector string  `json:"sector"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

// givenTrade is what is read of a trade that optimizer.propose_trades proposes, which has more fields.
type givenTrade struct {
	Symbol   string              `json:"symbol"`
	Side     rebalance.Side      `json:"side"`
	Quantity decimal.NullDecimal `json:"quantity"`
	Cost     decimal.NullDecimal `json:"cost"`
}

func readTrades(raw json.RawMessage) ([]givenTrade, error) {
	if capability.Absent(raw) {
		return nil, nil
	}
	var all []givenTrade
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fault.InvalidField("/args/trades", "they are no trades as optimizer.propose_trades answers them")
	}
	if len(all) > maxTrades {
		return nil, fault.InvalidField("/args/trades", "there are %d, more than %d", len(all), maxTrades)
	}
	for i, t := range all {
		at := func(member string) string { return fmt.Sprintf("/args/trades/%d/%s", i, member) }
		switch {
		case t.Symbol == "":
			return nil, fault.InvalidField(at("symbol"), "it is missing")
		case t.Side != rebalance.Buy && t.Side != rebalance.Sell:
			return nil, fault.InvalidField(at("side"), "%q is neither BUY nor SELL", t.Side)
		case !t.Quantity.Valid || !t.Quantity.Decimal.IsPositive():
			return nil, fault.InvalidField(at("quantity"), "it is not a positive number")
		case t.Cost.Valid && t.Cost.Decimal.IsNegative():
			return nil, fault.InvalidField(at("cost"), "%s is negative", t.Cost.Decimal)
		}
	}
	return all, nil
}

func (o *Optimizer) impact(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID *string         `json:"portfolio_id"`
		PackID      string          `json:"pack_id"`
		Positions   json.RawMessage `json:"positions"`
		Cash        json.RawMessage `json:"cash"`
		Trades      json.RawMessage `json:"trades"`
	}
	if err := capability.DecodeForPack(req, &args, &args.PackID); err != nil {
		return agent.Result{}, err
	}
	positions, err := readPositions(args.Positions)
	if err != nil {
		return agent.Result{}, err
	}
	given, err := readTrades(args.Trades)
	if err != nil {
		return agent.Result{}, err
	}
	id := ""
	switch {
	case args.PortfolioID != nil:
		id = *args.PortfolioID
	case req.Context.Portfolio != nil:
		id = req.Context.Portfolio.ID
	}
	var symbols []string
	for _, t := range given {
		symbols = append(symbols, t.Symbol)
	}
	slices.Sort(symbols)
	d, err := o.open(ctx, req, id, positions, args.Cash, slices.Compact(symbols))
	if err != nil {
		return agent.Result{}, err
	}
	trades, err := d.settle(given, o.tables.Rules.Limits)
	if err != nil {
		return agent.Result{}, err
	}
	after, converted := d.book.Apply(trades)

	answer := impactAnalysis{
		Currency: d.book.Base, Reference: d.refer, Weights: []weightChange{}, Sectors: []sectorChange{}, Conversions: []conversion{},
	}
	g := capability.NewGaps()
	var warnings []string
	noBook := d.valued()
	if noBook != nil {
		g.Note(noBook, "total_value", "cash", "turnover", "cost", "hhi_with_cash", "largest_weight", "weights", "sectors")
	} else {
		answer.Conversions = conversions(converted)
		answer.compare(g, d.book, after, trades)
		for _, c := range after.Cash {
			if c.Amount.IsNegative() {
				warnings = append(warnings, fmt.Sprintf("The trades leave %s %s overdrawn.", c.Amount.Neg().StringFixed(capability.TotalPlaces), c.Currency))
			}
		}
	}
	answer.Volatility, answer.TrackingError = d.measure(g, d.book, after, noBook)
	answer.Window = d.window(g)
	if g.Err() != nil {
		return agent.Result{}, fmt.Errorf("impact of trades on portfolio %s: %w", d.Portfolio.ID, g.Err())
	}
	answer.Insufficient = g.List
	return agent.Result{Value: answer, Warnings: warnings, Sources: capability.Sources(d.Dossier, d.panel, o.tables.Rules.Source)}, nil
}

var errSpent = portfolio.Short("capital", "the net asset value after the trades is not positive, weights need a positive one")

// valued returns why the book has no value that weights could be taken of.
func (d *desk) valued() error {
	if d.short != nil {
		return d.short
	}
	if total, _ := d.book.Value(); !total.IsPositive() {
		return portfolio.Short("capital", "the net asset value is not positive, weights need a positive one")
	}
	return nil
}

// settle prices trades. What is sold must be held.
func (d *desk) settle(given []givenTrade, limits rebalance.Limits) ([]rebalance.Trade, error) {
	if d.short != nil {
		return nil, nil
	}
	held := map[string]decimal.Decimal{}
	trades := make([]rebalance.Trade, len(given))
	for i, t := range given {
		at := func(member string) string { return fmt.Sprintf("/args/trades/%d/%s", i, member) }
		j := slices.IndexFunc(d.book.Lines, func(l rebalance.Line) bool { return l.Symbol == t.Symbol })
		if j < 0 {
			return nil, fault.InvalidField(at("symbol"), "%q is not a security with a price in %s", t.Symbol, d.book.Base)
		}
		l := d.book.Lines[j]
		left, ok := held[t.Symbol]
		if !ok {
			left = l.Quantity
		}
		quantity := t.Quantity.Decimal
		if t.Side == rebalance.Sell {
			if quantity.GreaterThan(left) {
				return nil, fault.InvalidField(at("quantity"), "%s are sold of %s, %s are held", quantity, t.Symbol, left)
			}
			held[t.Symbol] = left.Sub(quantity)
		} else {
			held[t.Symbol] = left.Add(quantity)
		}
		trades[i] = rebalance.Trade{
			Symbol: t.Symbol, Side: t.Side, Quantity: quantity, Price: l.Price, Currency: l.Currency, FX: l.FX,
			Value: quantity.Mul(l.Price).Mul(l.FX),
		}
		trades[i].Cost = limits.Cost(trades[i].Value)
		if t.Cost.Valid {
			trades[i].Cost = t.Cost.Decimal
		}
	}
	return trades, nil
}

func (a *impactAnalysis) compare(g *capability.Gaps, before, after rebalance.Book, trades []rebalance.Trade) {
	total, cash := before.Value()
	totalAfter, cashAfter := after.Value()
	a.TotalValue = moneyBeforeAfter{capability.Total(total), capability.Total(totalAfter)}
	a.Cash = moneyBeforeAfter{capability.Total(cash), capability.Total(cashAfter)}
	gross, cost := decimal.Zero, decimal.Zero
	for _, t := range trades {
		gross, cost = gross.Add(t.Value), cost.Add(t.Cost)
	}
	a.Turnover = g.Field("turnover").Number(gross.DivRound(total, 18).InexactFloat64(), nil)
	a.Cost = capability.Total(cost)

	if !totalAfter.IsPositive() {
		g.Note(errSpent, "hhi_with_cash", "largest_weight", "weights", "sectors")
		return
	}
	was, is := weights(before), weights(after)
	symbols := map[string]bool{}
	for symbol := range was {
		symbols[symbol] = true
	}
	for symbol := range is {
		symbols[symbol] = true
	}
	for _, symbol := range slices.Sorted(maps.Keys(symbols)) {
		if was[symbol] != 0 || is[symbol] != 0 {
			a.Weights = append(a.Weights, weightChange{symbol, was[symbol], is[symbol]})
		}
	}
	sectors := map[string]*sectorChange{}
	var largestBefore, largestAfter float64
	for _, l := range after.Lines {
		s := sectors[l.Sector]
		if s == nil {
			s = &sectorChange{Sector: l.Sector}
			sectors[l.Sector] = s
		}
		s.Before, s.After = s.Before+was[l.Symbol], s.After+is[l.Symbol]
		largestBefore, largestAfter = max(largestBefore, was[l.Symbol]), max(largestAfter, is[l.Symbol])
	}
	for _, name := range slices.Sorted(maps.Keys(sectors)) {
		a.Sectors = append(a.Sectors, *sectors[name])
	}
	var hhiBefore, hhiAfter float64
	for _, w := range a.Weights {
		hhiBefore, hhiAfter = hhiBefore+w.Before*w.Before, hhiAfter+w.After*w.After
	}
	a.HHI, a.Largest = beforeAfter{&hhiBefore, &hhiAfter}, beforeAfter{&largestBefore, &largestAfter}
}
