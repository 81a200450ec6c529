package analyst

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// unitPlaces are the decimals of the cost of one share, which may be small: as many as a price is booked with.
const unitPlaces = 12

// heldPositions is the answer of ledger.positions.
type heldPositions struct {
	PortfolioID   string         `json:"portfolio_id"`
	LedgerVersion string         `json:"ledger_version"`
	Asof          string         `json:"asof"`
	BaseCurrency  string         `json:"base_currency"`
	CostMethod    string         `json:"cost_method"` // of the lots
	Positions     []heldPosition `json:"positions"`
	Cash          []heldCash     `json:"cash"`
}

// heldPosition is both what ledger.positions answers and what pricing.apply_pack is asked.
type heldPosition struct {
	Symbol     string          `json:"symbol"`
	SecurityID string          `json:"security_id"`
	Name       string          `json:"name"`
	AssetClass string          `json:"asset_class"`
	Sector     string          `json:"sector"`
	Currency   string          `json:"currency"` // of the price
	Quantity   decimal.Decimal `json:"quantity"`
	// Cost of the open lots; null when they were paid in several currencies.
	Cost         decimal.NullDecimal `json:"cost"`
	CostCurrency *string             `json:"cost_currency"`
	Lots         []heldLot           `json:"lots"`
	Splits       []heldSplit         `json:"splits,omitempty"` // what a price from before them has to be divided by
}

type heldSplit struct {
	Date  string          `json:"date"`
	Ratio decimal.Decimal `json:"ratio"`
}

type heldLot struct {
	Date     string          `json:"date"`
	Quantity decimal.Decimal `json:"quantity"`
	Cost     decimal.Decimal `json:"cost"`
	Currency string          `json:"currency"`
}

type heldCash struct {
	Currency string          `json:"currency"`
	Amount   decimal.Decimal `json:"amount"`
}

func (a *Analyst) positions(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID string  `json:"portfolio_id"`
		Asof        *string `json:"asof"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	run, err := capability.Subject(req, args.PortfolioID)
	if err != nil {
		return agent.Result{}, err
	}
	asof, err := capability.Day(req, "asof", args.Asof)
	if err != nil {
		return agent.Result{}, err
	}
	if asof.IsZero() {
		asof = req.Context.Asof
	}

	p, err := a.ledger.Portfolio(ctx, req.Context.TenantID, run.ID)
	if err != nil {
		return agent.Result{}, err
	}
	ledger, err := a.ledger.Transactions(ctx, req.Context.TenantID, run.ID, run.LedgerSeq, asof)
	if err != nil {
		return agent.Result{}, err
	}
	if ledger, err = portfolio.Effective(ledger); err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", run.ID)
	}
	var securities map[string]portfolio.Security
	if symbols := capability.Traded(ledger); len(symbols) > 0 {
		securities, err = a.market.Securities(ctx, capability.Cut(req.Context), symbols)
		if err != nil {
			return agent.Result{}, err
		}
	}
	h, err := p.CostMethod.HoldingsAt(ledger, securities, asof)
	if err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", run.ID)
	}
	answer := heldPositions{
		PortfolioID: run.ID, LedgerVersion: run.LedgerVersion, BaseCurrency: run.BaseCurrency,
		Asof:       asof.Format(time.DateOnly),
		CostMethod: string(cmp.Or(p.CostMethod, portfolio.FIFO)),
		Positions:  make([]heldPosition, 0, len(h.Positions)),
		Cash:       make([]heldCash, 0, len(h.Cash)),
	}
	for _, p := range h.Positions {
		answer.Positions = append(answer.Positions, describe(p))
	}
	for _, c := range h.Cash {
		answer.Cash = append(answer.Cash, heldCash(c))
	}
	return agent.Result{Value: answer, Sources: []agent.Source{capability.LedgerSource(run.ID)}}, nil
}

func describe(p portfolio.Position) heldPosition {
	d := heldPosition{
		Symbol: p.Security.Symbol, SecurityID: p.Security.ID, Name: p.Security.Name,
		AssetClass: p.Security.AssetClass, Sector: p.Security.Sector, Currency: p.Security.Currency,
		Quantity: p.Quantity(), Lots: make([]heldLot, len(p.Lots)),
	}
	currency := p.Lots[0].Currency
	d.Cost, d.CostCurrency = decimal.NewNullDecimal(decimal.Zero), &currency
	for i, l := range p.Lots {
		d.Lots[i] = heldLot{Date: l.Date.Format(time.DateOnly), Quantity: l.Quantity, Cost: l.Cost, Currency: l.Currency}
		d.Cost.Decimal = d.Cost.Decimal.Add(l.Cost)
		if l.Currency != currency {
			d.Cost.Valid, d.CostCurrency = false, nil
		}
	}
	for _, s := range p.Splits {
		d.Splits = append(d.Splits, heldSplit{Date: s.Date.Format(time.DateOnly), Ratio: s.Ratio})
	}
	return d
}

// valuedPositions is the answer of pricing.apply_pack.
type valuedPositions struct {
	TotalValue    *string                   `json:"total_value"`
	Currency      string                    `json:"currency"`
	Asof          string                    `json:"asof"`
	Positions     []valuedLine              `json:"positions"`
	Cash          []valuedCash              `json:"cash"`
	Unpriced      []unpricedLine            `json:"unpriced"`
	Concentration concentration             `json:"concentration"`
	Insufficient  []capability.Insufficient `json:"insufficient_data"`
}

type valuedLine struct {
	Symbol     string              `json:"symbol"`
	SecurityID string              `json:"security_id"`
	Name       string              `json:"name"`
	AssetClass string              `json:"asset_class"`
	Sector     string              `json:"sector"`
	Quantity   decimal.Decimal     `json:"quantity"`
	Price      decimal.NullDecimal `json:"price"`
	PriceDate  *string             `json:"price_date"`
	Currency   string              `json:"currency"`
	FXRate     decimal.NullDecimal `json:"fx_rate"`
	FXDate     *string             `json:"fx_date"` // null in the base currency

	MarketValue   decimal.NullDecimal `json:"market_value"`
	Weight        *float64            `json:"weight"`
	CostBasis     decimal.NullDecimal `json:"cost_basis"`
	UnrealizedPnL decimal.NullDecimal `json:"unrealized_pnl"`

	// The same in the security's currency.
	MarketValueLocal   decimal.NullDecimal `json:"market_value_local"`
	CostBasisLocal     decimal.NullDecimal `json:"cost_basis_local"`
	UnrealizedPnLLocal decimal.NullDecimal `json:"unrealized_pnl_local"`
}

type valuedCash struct {
	Currency    string              `json:"currency"`
	Amount      decimal.Decimal     `json:"amount"`
	FXRate      decimal.NullDecimal `json:"fx_rate"`
	FXDate      *string             `json:"fx_date"`
	MarketValue decimal.NullDecimal `json:"market_value"`
	Weight      *float64            `json:"weight"`
}

type unpricedLine struct {
	Symbol string `json:"symbol"`
	Reason string `json:"reason"`
}

type concentration struct {
	HHIWithCash   *float64 `json:"hhi_with_cash"`
	HHISecurities *float64 `json:"hhi_securities"`
	EffectiveN    *float64 `json:"effective_n"`
	Top3Weight    *float64 `json:"top3_weight"`
}

func (a *Analyst) applyPack(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		Positions []heldPosition `json:"positions"`
		Cash      []heldCash     `json:"cash"`
		PackID    string         `json:"pack_id"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	// A value without its cash would not be the net asset value: both lists must be there, and
	// may be empty.
	if args.Positions == nil || args.Cash == nil {
		return agent.Result{}, fault.New(fault.Invalid, "%s needs the lists positions and cash", req.Capability)
	}
	if err := capability.SamePack(req, args.PackID); err != nil {
		return agent.Result{}, err
	}
	if req.Context.Portfolio == nil {
		return agent.Result{}, fault.New(fault.Invalid, "%s needs a portfolio, the run names none", req.Capability)
	}
	base := req.Context.Portfolio.BaseCurrency
	h, err := holdings(req, args.Positions, args.Cash)
	if err != nil {
		return agent.Result{}, err
	}

	quotes, past, err := a.readPack(ctx, req, base, h)
	if err != nil {
		return agent.Result{}, err
	}
	v := portfolio.Value(base, h, quotes, past)
	answer, err := reportValuation(v)
	if err != nil {
		return agent.Result{}, err
	}
	answer.Asof = req.Context.Asof.Format(time.DateOnly)
	return agent.Result{Value: answer, Sources: valuationSources(v, quotes)}, nil
}

// holdings reads positions and cash back from arguments.
func holdings(req agent.Request, positions []heldPosition, cash []heldCash) (portfolio.Holdings, error) {
	var h portfolio.Holdings
	for _, p := range positions {
		position := portfolio.Position{
			Security: portfolio.Security{
				ID: p.SecurityID, Symbol: p.Symbol, Name: p.Name,
				AssetClass: p.AssetClass, Sector: p.Sector, Currency: p.Currency,
			},
			Lots: make([]portfolio.Lot, len(p.Lots)),
		}
		for i, l := range p.Lots {
			date, err := time.Parse(time.DateOnly, l.Date)
			if err != nil {
				return h, fault.New(fault.Invalid, "%s: lot date %q of %s is not a date such as 2007-05-08", req.Capability, l.Date, p.Symbol)
			}
			position.Lots[i] = portfolio.Lot{Date: date, Quantity: l.Quantity, Cost: l.Cost, Currency: l.Currency}
		}
		for _, split := range p.Splits {
			date, err := time.Parse(time.DateOnly, split.Date)
			if err != nil || !split.Ratio.IsPositive() {
				return h, fault.New(fault.Invalid, "%s: the split of %s by %s on %q is none", req.Capability, p.Symbol, split.Ratio, split.Date)
			}
			position.Splits = append(position.Splits, portfolio.SplitOn{Date: date, Ratio: split.Ratio})
		}
		if !position.Quantity().Equal(p.Quantity) {
			return h, fault.New(fault.Invalid, "%s: the lots of %s hold %s, its quantity says %s",
				req.Capability, p.Symbol, position.Quantity(), p.Quantity)
		}
		h.Positions = append(h.Positions, position)
	}
	for _, c := range cash {
		h.Cash = append(h.Cash, portfolio.Cash(c))
	}
	return h, nil
}

// readPack reads the last quotes and, where a lot was paid in a foreign currency, the FX history
// since the first such lot: two reads at most.
func (a *Analyst) readPack(ctx context.Context, req agent.Request, base string, h portfolio.Holdings) (quotes portfolio.Quotes, past portfolio.SeriesSet, err error) {
	var symbols []string
	all := []string{base}
	var lotCurrencies []string
	var from time.Time
	for _, p := range h.Positions {
		symbols = append(symbols, p.Security.Symbol)
		all = append(all, p.Security.Currency)
		for _, l := range p.Lots {
			if l.Currency == base && p.Security.Currency == base {
				continue
			}
			lotCurrencies = append(lotCurrencies, l.Currency, p.Security.Currency)
			if from.IsZero() || l.Date.Before(from) {
				from = l.Date
			}
		}
	}
	for _, c := range h.Cash {
		all = append(all, c.Currency)
	}
	if len(symbols)+len(h.Cash) == 0 {
		return quotes, past, nil
	}
	if quotes, err = a.market.Quotes(ctx, capability.Cut(req.Context), unique(symbols), unique(all)); err != nil {
		return quotes, past, err
	}
	if len(lotCurrencies) == 0 {
		return quotes, past, nil
	}
	past, err = a.market.Series(ctx, capability.Cut(req.Context), portfolio.SeriesQuery{
		From: from, Currencies: unique(append(lotCurrencies, base)),
	})
	return quotes, past, err
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func reportValuation(v portfolio.Valuation) (valuedPositions, error) {
	g := capability.NewGaps()
	answer := valuedPositions{
		Currency:  v.Currency,
		Positions: make([]valuedLine, 0, len(v.Positions)),
		Cash:      make([]valuedCash, 0, len(v.Cash)),
		Unpriced:  []unpricedLine{},
	}
	if v.Total.Valid {
		answer.TotalValue = capability.Total(v.Total.Decimal)
	} else {
		g.Note(v.Unpriced, "total_value")
	}
	if len(v.Positions)+len(v.Cash) > 0 {
		if _, err := v.Weight(decimal.Zero); err != nil {
			g.Note(err, "positions.weight", "cash.weight")
		}
	}
	// The reason for missing weights is the same for all lines and noted above.
	weight := func(value decimal.NullDecimal) *float64 {
		w, err := v.Weight(value.Decimal)
		if err != nil {
			return nil
		}
		return &w
	}
	for _, p := range v.Positions {
		s := p.Security
		line := lineOf(p, weight(p.Value))
		answer.Positions = append(answer.Positions, line)
		answer.unpriced(g, s.Symbol, "positions."+s.Symbol+".market_value", p.Unpriced)
		if len(p.Uncosted) > 0 {
			g.Note(p.Uncosted, "positions."+s.Symbol+".cost_basis")
		}
	}
	for _, c := range v.Cash {
		line := valuedCash{
			Currency: c.Currency, Amount: c.Amount.Round(capability.AmountPlaces),
			MarketValue: capability.Amount(c.Value), Weight: weight(c.Value),
		}
		line.FXRate, line.FXDate = rate(c.Rate)
		answer.Cash = append(answer.Cash, line)
		answer.unpriced(g, capability.CashSymbol(c.Currency), "cash."+c.Currency+".market_value", c.Unpriced)
	}
	if c, err := v.Concentration(); err != nil {
		g.Note(err, "concentration")
	} else {
		answer.Concentration = concentration{
			HHIWithCash: &c.WithCash, HHISecurities: &c.Securities, EffectiveN: &c.EffectiveN, Top3Weight: &c.Top3,
		}
	}
	answer.Insufficient = g.List
	return answer, g.Err()
}

// lineOf describes a valued position.
func lineOf(p portfolio.ValuedPosition, weight *float64) valuedLine {
	s := p.Security
	line := valuedLine{
		Symbol: s.Symbol, SecurityID: s.ID, Name: s.Name, AssetClass: s.AssetClass, Sector: s.Sector,
		Currency: s.Currency, Quantity: p.Quantity, Weight: weight,
		MarketValue: capability.Amount(p.Value), CostBasis: capability.Amount(p.Cost), UnrealizedPnL: capability.Amount(minus(p.Value, p.Cost)),
		MarketValueLocal: capability.Amount(p.LocalValue), CostBasisLocal: capability.Amount(p.LocalCost),
		UnrealizedPnLLocal: capability.Amount(minus(p.LocalValue, p.LocalCost)),
	}
	if p.Price != nil {
		line.Price, line.PriceDate = decimal.NewNullDecimal(p.Price.Value), date(p.Price.Date)
	}
	line.FXRate, line.FXDate = rate(p.Rate)
	return line
}

// unpriced lists a line that has no value.
func (v *valuedPositions) unpriced(g *capability.Gaps, symbol, field string, missing portfolio.Shortages) {
	if len(missing) == 0 {
		return
	}
	reasons := make([]string, len(missing))
	for i, s := range missing {
		reasons[i] = s.Missing + ": " + s.Reason
	}
	v.Unpriced = append(v.Unpriced, unpricedLine{Symbol: symbol, Reason: strings.Join(reasons, "; ")})
	g.Note(missing, field)
}

// valuationSources lists the ledgerless inputs of a valuation: each price and pair with its date.
func valuationSources(v portfolio.Valuation, quotes portfolio.Quotes) []agent.Source {
	var sources []agent.Source
	addRate := func(r *portfolio.Rate) {
		if r == nil {
			return
		}
		for _, pair := range r.Pairs {
			sources = append(sources, agent.Source{Name: "fx:" + pair, Asof: quotes.FX[pair].Date})
		}
	}
	for _, p := range v.Positions {
		if p.Price != nil {
			sources = append(sources, agent.Source{Name: "prices:" + p.Security.Symbol, Asof: p.Price.Date})
		}
		addRate(p.Rate)
	}
	for _, c := range v.Cash {
		addRate(c.Rate)
	}
	slices.SortFunc(sources, bySource)
	return slices.Compact(sources)
}

// minus returns a - b, unknown when either is.
func minus(a, b decimal.NullDecimal) decimal.NullDecimal {
	return decimal.NullDecimal{Decimal: a.Decimal.Sub(b.Decimal), Valid: a.Valid && b.Valid}
}

func rate(r *portfolio.Rate) (value decimal.NullDecimal, day *string) {
	if r == nil {
		return value, nil
	}
	if len(r.Pairs) > 0 {
		day = date(r.Date)
	}
	return decimal.NewNullDecimal(r.Value), day
}

func date(d time.Time) *string {
	s := d.Format(time.DateOnly)
	return &s
}
