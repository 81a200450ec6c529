package optimizer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/rebalance"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Bounds of arguments.
const (
	maxPositions = 10_000
	maxTrades    = 10_000
	maxPolicies  = 500
)

// givenPosition is what is read of a position that pricing.apply_pack values, which has more fields.
type givenPosition struct {
	Symbol   string              `json:"symbol"`
	Sector   string              `json:"sector"`
	Currency string              `json:"currency"`
	Quantity decimal.NullDecimal `json:"quantity"`
	Price    decimal.NullDecimal `json:"price"`
	FX       decimal.NullDecimal `json:"fx_rate"`
}

type givenCash struct {
	Currency string              `json:"currency"`
	Amount   decimal.NullDecimal `json:"amount"`
	FX       decimal.NullDecimal `json:"fx_rate"`
}

func readPositions(raw json.RawMessage) ([]givenPosition, error) {
	var all []givenPosition
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fault.InvalidField("/args/positions", "they are no positions as pricing.apply_pack answers them")
	}
	if len(all) > maxPositions {
		return nil, fault.InvalidField("/args/positions", "there are %d, more than %d", len(all), maxPositions)
	}
	seen := map[string]bool{}
	for i, p := range all {
		at := func(member string) string { return fmt.Sprintf("/args/positions/%d/%s", i, member) }
		switch {
		case p.Symbol == "" || seen[p.Symbol]:
			return nil, fault.InvalidField(at("symbol"), "%q is empty or stands twice", p.Symbol)
		case !p.Quantity.Valid:
			return nil, fault.InvalidField(at("quantity"), "it is missing")
		case p.Price.Valid && !p.Price.Decimal.IsPositive():
			return nil, fault.InvalidField(at("price"), "%s is not positive", p.Price.Decimal)
		case p.FX.Valid && !p.FX.Decimal.IsPositive():
			return nil, fault.InvalidField(at("fx_rate"), "%s is not positive", p.FX.Decimal)
		}
		seen[p.Symbol] = true
	}
	return all, nil
}

func readCash(raw json.RawMessage) ([]givenCash, error) {
	var all []givenCash
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fault.InvalidField("/args/cash", "it is no cash as pricing.apply_pack answers it")
	}
	seen := map[string]bool{}
	for i, c := range all {
		at := func(member string) string { return fmt.Sprintf("/args/cash/%d/%s", i, member) }
		switch {
		case len(c.Currency) != 3 || seen[c.Currency]:
			return nil, fault.InvalidField(at("currency"), "%q is no currency or stands twice", c.Currency)
		case !c.Amount.Valid:
			return nil, fault.InvalidField(at("amount"), "it is missing")
		case c.FX.Valid && !c.FX.Decimal.IsPositive():
			return nil, fault.InvalidField(at("fx_rate"), "%s is not positive", c.FX.Decimal)
		}
		seen[c.Currency] = true
	}
	return all, nil
}

// desk is what a proposal or an analysis works on.
type desk struct {
	capability.Dossier

	asof    time.Time
	book    rebalance.Book
	panel   *capability.Panel
	risk    *rebalance.Risk
	riskErr error // Shortages
	refer   string
	short   portfolio.Shortages // why the book can't be valued
}

// open reads the run's portfolio and makes the book of the positions and the cash given, or of the
// ledger's cash when none is given, and of the further symbols, which may be bought.
func (o *Optimizer) open(ctx context.Context, req agent.Request, id string, positions []givenPosition, cash json.RawMessage, further []string) (*desk, error) {
	symbols := slices.Clone(further)
	for _, p := range positions {
		symbols = append(symbols, p.Symbol)
	}
	estimation := o.tables.Rules.Estimation
	dossier, err := capability.Open(ctx, o.ledger, o.market, req, id, capability.Wanted{Symbols: symbols, Returns: estimation.Returns})
	if err != nil {
		return nil, err
	}
	d := &desk{Dossier: dossier, asof: req.Context.Asof}
	d.book.Base = d.Portfolio.BaseCurrency
	d.addPositions(positions)
	quotes := d.Quotes()
	d.addFurther(further, quotes)
	if capability.Absent(cash) {
		err = d.addLedgerCash()
	} else {
		err = d.addCash(cash, quotes)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(d.book.Lines, func(a, b rebalance.Line) int { return cmp.Compare(a.Symbol, b.Symbol) })
	slices.SortFunc(d.book.Cash, func(a, b rebalance.Cash) int { return cmp.Compare(a.Currency, b.Currency) })
	d.risk, d.riskErr = d.measureBy(estimation)
	return d, nil
}

func (d *desk) lacks(missing, reason string) {
	s := portfolio.Shortage{Missing: missing, Reason: reason}
	if !slices.Contains(d.short, s) {
		d.short = append(d.short, s)
	}
}

func (d *desk) addPositions(positions []givenPosition) {
	for _, p := range positions {
		if !p.Price.Valid {
			d.lacks("prices:"+p.Symbol, "the position has no price")
		}
		if !p.FX.Valid {
			d.lacks("fx:"+p.Currency+"/"+d.book.Base, "the position has no rate into base currency")
		}
		if !p.Price.Valid || !p.FX.Valid {
			continue
		}
		d.book.Lines = append(d.book.Lines, rebalance.Line{
			Symbol: p.Symbol, Sector: p.Sector, Currency: p.Currency,
			Quantity: p.Quantity.Decimal, Price: p.Price.Decimal, FX: p.FX.Decimal,
		})
	}
}

// addFurther adds securities that are not held, as far as they have a price.
func (d *desk) addFurther(symbols []string, quotes portfolio.Quotes) {
	for _, symbol := range symbols {
		s, listed := d.Securities[symbol]
		price, priced := quotes.Prices[symbol]
		rate, rated := quotes.Rate(s.Currency, d.book.Base)
		held := slices.ContainsFunc(d.book.Lines, func(l rebalance.Line) bool { return l.Symbol == symbol })
		if held || !listed || !priced || !rated {
			continue
		}
		d.book.Lines = append(d.book.Lines, rebalance.Line{
			Symbol: symbol, Sector: s.Sector, Currency: s.Currency, Price: price.Value, FX: rate.Value,
		})
	}
}

func (d *desk) addCash(raw json.RawMessage, quotes portfolio.Quotes) error {
	given, err := readCash(raw)
	if err != nil {
		return err
	}
	for _, c := range given {
		if !c.FX.Valid {
			rate, ok := quotes.Rate(c.Currency, d.book.Base)
			if !ok {
				d.lacks("fx:"+c.Currency+"/"+d.book.Base, "the balance has no rate into base currency")
				continue
			}
			c.FX = decimal.NewNullDecimal(rate.Value)
		}
		d.book.Cash = append(d.book.Cash, rebalance.Cash{
			Symbol: capability.CashSymbol(c.Currency), Currency: c.Currency, Amount: c.Amount.Decimal, FX: c.FX.Decimal,
		})
	}
	return nil
}

func (d *desk) addLedgerCash() error {
	v, err := d.Value(d.asof)
	if err != nil {
		return err
	}
	for _, c := range v.Cash {
		if c.Rate == nil {
			d.short = append(d.short, c.Unpriced...)
			continue
		}
		d.book.Cash = append(d.book.Cash, rebalance.Cash{
			Symbol: capability.CashSymbol(c.Currency), Currency: c.Currency, Amount: c.Amount, FX: c.Rate.Value,
		})
	}
	return nil
}

// What tracking error is against.
const referHoldings = "current_holdings"

// measureBy reads the returns that risk is measured by.
func (d *desk) measureBy(e rebalance.Estimation) (*rebalance.Risk, error) {
	d.refer = referHoldings
	if d.Portfolio.Benchmark != "" {
		d.refer = "benchmark:" + d.Portfolio.Benchmark
	}
	var err error
	if d.panel, err = d.Market(d.asof, e.Returns); err != nil {
		return nil, err
	}
	n := d.panel.Window.Len()
	if n < e.MinReturns {
		return nil, portfolio.Short("returns", "risk needs %d daily returns, the calendar series has %d", e.MinReturns, n)
	}
	r := &rebalance.Risk{Returns: map[string][]float64{}, Reference: make([]float64, n)}
	for _, l := range d.book.Lines {
		s, listed := d.Securities[l.Symbol]
		if !listed {
			return nil, portfolio.Short("securities:"+l.Symbol, "no such security is listed")
		}
		if r.Returns[l.Symbol], err = d.panel.Security(s); err != nil {
			return nil, err
		}
	}
	for _, c := range d.book.Cash {
		if c.Currency == d.book.Base {
			continue
		}
		if r.Returns[c.Symbol], err = d.panel.Cash(c.Currency); err != nil {
			return nil, err
		}
	}
	// A trade may leave a balance in a currency that has none yet.
	for _, l := range d.book.Lines {
		symbol := capability.CashSymbol(l.Currency)
		if _, ok := r.Returns[symbol]; ok || l.Currency == d.book.Base {
			continue
		}
		if r.Returns[symbol], err = d.panel.Cash(l.Currency); err != nil {
			return nil, err
		}
	}
	if d.Portfolio.Benchmark == "" {
		if r.Reference, err = r.Portfolio(d.book); err != nil {
			return nil, err
		}
		return r, nil
	}
	benchmark, err := d.Benchmark()
	if err != nil {
		return nil, err
	}
	if r.Reference, err = d.panel.Security(benchmark); err != nil {
		return nil, err
	}
	return r, nil
}
