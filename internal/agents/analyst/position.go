package analyst

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// about names the security that an answer is about.
type about struct {
	Symbol     string `json:"symbol"`
	SecurityID string `json:"security_id"`
	Name       string `json:"name"`
	AssetClass string `json:"asset_class"`
	Sector     string `json:"sector"`
	Currency   string `json:"currency"` // of its price
}

func describeSecurity(s portfolio.Security) about {
	return about{s.Symbol, s.ID, s.Name, s.AssetClass, s.Sector, s.Currency}
}

// security finds a security by its id: in what was read with the ledger when the portfolio has traded
// it, by a read of its own otherwise. [fault.NotFound] when there is none.
func (a *Analyst) security(ctx context.Context, req agent.Request, id string, ledger []portfolio.Transaction, listed map[string]portfolio.Security) (s portfolio.Security, traded bool, err error) {
	for _, t := range ledger {
		if t.SecurityID == "" || !strings.EqualFold(t.SecurityID, id) {
			continue
		}
		if s, ok := listed[t.Symbol]; ok {
			return s, true, nil
		}
		return portfolio.Security{ID: t.SecurityID, Symbol: t.Symbol, Currency: t.Currency}, true, nil
	}
	s, err = a.market.SecurityByID(ctx, capability.Cut(req.Context), id)
	if fault.CodeOf(err) == fault.NotFound {
		err = fault.Wrap(err, fault.NotFound, "%s: there is no security %q", req.Capability, id)
	}
	return s, false, err
}

// neverTraded is why there is nothing to say about a security within a portfolio.
func neverTraded(s portfolio.Security, asof time.Time) error {
	return portfolio.Short("holding", "the portfolio has not traded %s up to %s", s.Symbol, asof.Format(time.DateOnly))
}

// positionDetails is the answer of get_position_details.
type positionDetails struct {
	about

	BaseCurrency string          `json:"base_currency"`
	Asof         string          `json:"asof"`
	Quantity     decimal.Decimal `json:"quantity"`
	// AverageCost is the cost of one unit of what is held, in the security's currency.
	AverageCost      decimal.NullDecimal `json:"average_cost"`
	Price            decimal.NullDecimal `json:"price"`
	PriceDate        *string             `json:"price_date"`
	FXRate           decimal.NullDecimal `json:"fx_rate"`
	FXDate           *string             `json:"fx_date"` // null in the base currency
	MarketValue      decimal.NullDecimal `json:"market_value"`
	Weight           *float64            `json:"weight"`
	CostBasis        decimal.NullDecimal `json:"cost_basis"`
	UnrealizedPnL    decimal.NullDecimal `json:"unrealized_pnl"`
	UnrealizedReturn *float64            `json:"unrealized_return"` // of the cost, in base currency

	// The same in the security's currency.
	MarketValueLocal   decimal.NullDecimal `json:"market_value_local"`
	CostBasisLocal     decimal.NullDecimal `json:"cost_basis_local"`
	UnrealizedPnLLocal decimal.NullDecimal `json:"unrealized_pnl_local"`

	Lots         []heldLot                 `json:"lots"` // oldest first
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

func (a *Analyst) positionDetails(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID string `json:"portfolio_id"`
		SecurityID  string `json:"security_id"`
		PackID      string `json:"pack_id"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	run, err := capability.Subject(req, args.PortfolioID)
	if err != nil {
		return agent.Result{}, err
	}
	if err := capability.SamePack(req, args.PackID); err != nil {
		return agent.Result{}, err
	}
	p, err := a.ledger.Portfolio(ctx, req.Context.TenantID, run.ID)
	if err != nil {
		return agent.Result{}, err
	}
	b, err := a.openBook(ctx, req, run, p.CostMethod)
	if err != nil {
		return agent.Result{}, err
	}
	s, _, err := a.security(ctx, req, args.SecurityID, b.ledger, b.securities)
	if err != nil {
		return agent.Result{}, err
	}

	sources := []agent.Source{capability.LedgerSource(run.ID)}
	answer := positionDetails{
		about: describeSecurity(s), BaseCurrency: run.BaseCurrency, Asof: req.Context.Asof.Format(time.DateOnly), Lots: []heldLot{},
	}
	g := capability.NewGaps()
	held := false
	for _, p := range b.holdings.Positions {
		if !strings.EqualFold(p.Security.ID, s.ID) {
			continue
		}
		held = true
		// The weight needs the value of everything.
		quotes, past, err := a.readPack(ctx, req, run.BaseCurrency, b.holdings)
		if err != nil {
			return agent.Result{}, err
		}
		v := portfolio.Value(run.BaseCurrency, b.holdings, quotes, past)
		answer.fill(g, v, s.ID)
		answer.Lots = describe(p).Lots
		sources = append(sources, valuationSources(v, quotes)...)
	}
	if !held {
		g.Note(portfolio.Short("holding", "nothing of %s is held on %s", s.Symbol, answer.Asof), "average_cost", "price", "price_date", "fx_rate", "fx_date", "market_value", "weight", "cost_basis", "unrealized_pnl",
			"unrealized_return", "market_value_local", "cost_basis_local", "unrealized_pnl_local")
	}
	if g.Err() != nil {
		return agent.Result{}, g.Err()
	}
	answer.Insufficient = g.List
	return agent.Result{Value: &answer, Sources: sources}, nil
}

// fill takes over the line of a security from a valuation.
func (d *positionDetails) fill(g *capability.Gaps, v portfolio.Valuation, id string) {
	for _, p := range v.Positions {
		if !strings.EqualFold(p.Security.ID, id) {
			continue
		}
		weight, err := v.Weight(p.Value.Decimal)
		line := lineOf(p, nil)
		d.Weight = g.Field("weight").Number(weight, err)
		d.Quantity, d.Price, d.PriceDate, d.FXRate, d.FXDate = line.Quantity, line.Price, line.PriceDate, line.FXRate, line.FXDate
		d.MarketValue, d.CostBasis, d.UnrealizedPnL = line.MarketValue, line.CostBasis, line.UnrealizedPnL
		d.MarketValueLocal, d.CostBasisLocal, d.UnrealizedPnLLocal = line.MarketValueLocal, line.CostBasisLocal, line.UnrealizedPnLLocal
		if p.LocalCost.Valid {
			d.AverageCost = decimal.NewNullDecimal(p.LocalCost.Decimal.DivRound(p.Quantity, unitPlaces))
		}
		if p.Price == nil {
			g.Note(p.Unpriced, "price", "price_date")
		}
		if p.Rate == nil {
			g.Note(p.Unpriced, "fx_rate", "fx_date")
		}
		if len(p.Unpriced) > 0 {
			g.Note(p.Unpriced, "market_value", "unrealized_pnl", "unrealized_return")
			if p.Price == nil {
				g.Note(p.Unpriced, "market_value_local", "unrealized_pnl_local")
			}
		}
		if len(p.Uncosted) > 0 {
			g.Note(p.Uncosted, "average_cost", "cost_basis", "cost_basis_local", "unrealized_pnl", "unrealized_pnl_local", "unrealized_return")
		}
		if p.Value.Valid && p.Cost.Valid {
			if cost := p.Cost.Decimal.Abs(); cost.IsZero() {
				g.Note(portfolio.Short("cost", "what is held has cost nothing"), "unrealized_return")
			} else {
				r := p.Value.Decimal.Sub(p.Cost.Decimal).InexactFloat64() / cost.InexactFloat64()
				d.UnrealizedReturn = &r
			}
		}
	}
}

// book is what a ledger amounts to on the run's as-of date.
type book struct {
	ledger     []portfolio.Transaction       // the bookings that count: see portfolio.Effective
	securities map[string]portfolio.Security // traded ones, by symbol
	holdings   portfolio.Holdings
}

// openBook reads the ledger and the securities that it mentions: two reads.
func (a *Analyst) openBook(ctx context.Context, req agent.Request, run agent.Portfolio, method portfolio.CostMethod) (b book, err error) {
	c := req.Context
	if b.ledger, err = a.ledger.Transactions(ctx, c.TenantID, run.ID, run.LedgerSeq, c.Asof); err != nil {
		return b, err
	}
	if b.ledger, err = portfolio.Effective(b.ledger); err != nil {
		return b, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", run.ID)
	}
	if symbols := capability.Traded(b.ledger); len(symbols) > 0 {
		if b.securities, err = a.market.Securities(ctx, capability.Cut(c), symbols); err != nil {
			return b, err
		}
	}
	if b.holdings, err = method.HoldingsAt(b.ledger, b.securities, c.Asof); err != nil {
		return b, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", run.ID)
	}
	return b, nil
}

// position is a span of the portfolio's past with the security that an answer is about.
type position struct {
	*span

	security portfolio.Security
	err      error // why nothing can be said: no window, or the security was never traded
}

// openPosition reads what the capabilities about one security's past need.
func (a *Analyst) openPosition(ctx context.Context, req agent.Request, portfolioID, securityID, packID string, days *int, macro ...string) (*position, error) {
	if err := capability.SamePack(req, packID); err != nil {
		return nil, err
	}
	s, err := a.openSpan(ctx, req, portfolioID, days, capability.Wanted{Macro: macro})
	if err != nil {
		return nil, err
	}
	security, traded, err := a.security(ctx, req, securityID, s.Ledger, s.Securities)
	if err != nil {
		return nil, err
	}
	p := &position{span: s, security: security, err: s.err}
	if p.err == nil && !traded {
		p.err = neverTraded(security, req.Context.Asof)
	}
	return p, nil
}

// positionReturn is the answer of compute_position_return.
type positionReturn struct {
	about

	BaseCurrency          string                    `json:"base_currency"`
	TotalReturn           *float64                  `json:"total_return"`
	TotalReturnAnnualized *float64                  `json:"total_return_annualized"`
	PriceReturn           *float64                  `json:"price_return"` // in base currency, without dividends
	LocalReturn           *float64                  `json:"local_return"` // in the security's currency
	FXReturn              *float64                  `json:"fx_return"`
	Volatility            *float64                  `json:"volatility"`
	SharpeRatio           *float64                  `json:"sharpe_ratio"`
	RiskFree              riskFree                  `json:"risk_free"`
	MaxDrawdown           *float64                  `json:"max_drawdown"`
	MaxDrawdownPeak       *string                   `json:"max_drawdown_peak"`
	MaxDrawdownTrough     *string                   `json:"max_drawdown_trough"`
	RecoveredOn           *string                   `json:"recovered_on"`
	RecoveryDays          *int                      `json:"recovery_days"` // valuation days from trough to recovery
	HeldDays              *int                      `json:"held_days"`     // of the window's returns
	Window                *capability.Window        `json:"window"`
	Insufficient          []capability.Insufficient `json:"insufficient_data"`
}

func (a *Analyst) positionReturn(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID    string   `json:"portfolio_id"`
		SecurityID     string   `json:"security_id"`
		PackID         string   `json:"pack_id"`
		LookbackDays   *int     `json:"lookback_days"`
		RiskFreeAnnual *float64 `json:"risk_free_annual"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	macro, err := a.riskFreeRate(args.RiskFreeAnnual)
	if err != nil {
		return agent.Result{}, err
	}
	p, err := a.openPosition(ctx, req, args.PortfolioID, args.SecurityID, args.PackID, args.LookbackDays, macro...)
	if err != nil {
		return agent.Result{}, err
	}
	g := p.gaps
	answer := positionReturn{about: describeSecurity(p.security), BaseCurrency: p.Portfolio.BaseCurrency, Window: p.describe()}
	var own portfolio.HoldingReturns
	err = p.err
	if err == nil {
		days := p.History.HeldDays(p.security.Symbol, p.window)
		answer.HeldDays = &days
		own, err = p.returns()
	} else {
		g.Note(err, "held_days")
	}
	rf, rfErr := []float64(nil), p.err
	if p.err == nil {
		rf, answer.RiskFree, rfErr = a.riskFree(p.History, args.RiskFreeAnnual, p.window)
	}
	if rfErr != nil {
		g.Note(rfErr, "risk_free", "sharpe_ratio")
	}
	if err != nil {
		g.Note(err, "total_return", "total_return_annualized", "price_return", "local_return", "fx_return", "volatility", "max_drawdown",
			"max_drawdown_peak", "max_drawdown_trough", "recovered_on", "recovery_days")
		if rfErr == nil {
			g.Note(err, "sharpe_ratio")
		}
		return p.answer(&answer.Insufficient, &answer)
	}
	r := own.Base()
	total := portfolio.Compound(r)
	answer.PriceReturn = g.Field("price_return").Number(portfolio.Compound(own.BasePrice()), nil)
	answer.TotalReturn = g.Field("total_return").Number(total, nil)
	answer.TotalReturnAnnualized = g.Field("total_return_annualized").Number(portfolio.Annualize(total, len(r)))
	answer.LocalReturn = g.Field("local_return").Number(portfolio.Compound(own.Local), nil)
	answer.FXReturn = g.Field("fx_return").Number(portfolio.Compound(own.FX), nil)
	answer.Volatility = g.Field("volatility").Number(portfolio.Volatility(r))
	if rfErr == nil {
		answer.SharpeRatio = g.Field("sharpe_ratio").Number(portfolio.Sharpe(r, rf))
	}
	answer.drawdown(p, r)
	return p.answer(&answer.Insufficient, &answer)
}

// drawdown fills in the largest fall and what became of it.
func (x *positionReturn) drawdown(p *position, r []float64) {
	deepest := portfolio.DeepestDrawdown(r)
	x.MaxDrawdown = p.gaps.Field("max_drawdown").Number(deepest.Depth, nil)
	on := func(i int) *string { return date(p.History.Days[p.window.Start+i]) }
	if deepest.Trough == 0 {
		p.gaps.Note(portfolio.Short("drawdown", "the value never fell within the window"),
			"max_drawdown_peak", "max_drawdown_trough", "recovered_on", "recovery_days")
		return
	}
	x.MaxDrawdownPeak, x.MaxDrawdownTrough = on(deepest.Peak), on(deepest.Trough)
	if deepest.Recovered == 0 {
		p.gaps.Note(portfolio.Short("recovery", "the value has not regained its peak of %s within the window", *x.MaxDrawdownPeak), "recovered_on", "recovery_days")
		return
	}
	days := deepest.Recovered - deepest.Trough
	x.RecoveredOn, x.RecoveryDays = on(deepest.Recovered), &days
}

// returns returns the security's daily returns over the window, and warns of dividends that are not in
// them.
func (p *position) returns() (portfolio.HoldingReturns, error) {
	r, err := p.History.HoldingReturns(p.security, p.window)
	for _, day := range r.Unmatched {
		p.warnings = append(p.warnings, fmt.Sprintf("The dividend of %s on %s is not in its return: nothing was held at the start of the day.",
			p.security.Symbol, day.Format(time.DateOnly)))
	}
	return r, err
}

// lineName is how answers call a line.
func lineName(kind portfolio.Kind, symbol, currency string) string {
	if kind == portfolio.KindCash {
		return capability.CashSymbol(currency)
	}
	return symbol
}

// portfolioContribution is the answer of compute_portfolio_contribution.
type portfolioContribution struct {
	about

	// Of the security.
	Weight        *float64 `json:"weight"`
	AverageWeight *float64 `json:"average_weight"`
	Return        *float64 `json:"return"`
	Contribution  *float64 `json:"contribution"`
	HeldDays      *int     `json:"held_days"`

	// Of the portfolio: contributions of all positions and cash, and costs, sum to the total return.
	TotalReturn  *float64                  `json:"total_return"`
	Costs        *float64                  `json:"costs"`
	Positions    []contributionLine        `json:"positions"`
	Window       *capability.Window        `json:"window"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type contributionLine struct {
	Symbol        string         `json:"symbol"` // "CASH:USD" for cash
	Kind          portfolio.Kind `json:"kind"`
	Currency      string         `json:"currency"`
	Weight        float64        `json:"weight"` // at the window's start
	AverageWeight float64        `json:"average_weight"`
	Return        float64        `json:"return"` // over the days held
	Contribution  float64        `json:"contribution"`
	HeldDays      int            `json:"held_days"`
}

func (a *Analyst) contribution(ctx context.Context, req agent.Request) (agent.Result, error) {
	p, err := a.decodePosition(ctx, req)
	if err != nil {
		return agent.Result{}, err
	}
	g := p.gaps
	answer := portfolioContribution{about: describeSecurity(p.security), Window: p.describe(), Positions: []contributionLine{}}
	own := []string{"weight", "average_weight", "return", "contribution", "held_days"}
	var parts portfolio.Contribution
	err = p.span.err
	if err == nil {
		parts, err = p.History.Contribute(p.window)
	}
	if err != nil {
		g.Note(err, "total_return", "costs", "positions")
		g.Note(err, own...)
		return p.answer(&answer.Insufficient, &answer)
	}
	answer.TotalReturn, answer.Costs = g.Field("total_return").Number(parts.Total, nil), g.Field("costs").Number(parts.Costs, nil)
	found := false
	for _, l := range parts.Lines {
		line := contributionLine{
			Symbol: lineName(l.Kind, l.Symbol, l.Currency), Kind: l.Kind, Currency: l.Currency, Weight: l.Weight,
			AverageWeight: l.AverageWeight, Return: l.Return, Contribution: l.Contribution, HeldDays: l.Held,
		}
		answer.Positions = append(answer.Positions, line)
		if l.Kind == portfolio.KindSecurity && l.Symbol == p.security.Symbol {
			found = true
			answer.Weight, answer.AverageWeight, answer.Return = &line.Weight, &line.AverageWeight, &line.Return
			answer.Contribution, answer.HeldDays = &line.Contribution, &line.HeldDays
		}
	}
	if !found {
		g.Note(p.notHeld(), own...)
	}
	return p.answer(&answer.Insufficient, &answer)
}

// decodePosition reads the arguments of a capability about one security's past, and what it needs.
func (a *Analyst) decodePosition(ctx context.Context, req agent.Request) (*position, error) {
	var args struct {
		PortfolioID  string `json:"portfolio_id"`
		SecurityID   string `json:"security_id"`
		PackID       string `json:"pack_id"`
		LookbackDays *int   `json:"lookback_days"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return nil, err
	}
	return a.openPosition(ctx, req, args.PortfolioID, args.SecurityID, args.PackID, args.LookbackDays)
}

// notHeld is why a security has no part in what the portfolio did within the window.
func (p *position) notHeld() error {
	if p.err != nil {
		return p.err
	}
	return portfolio.Short("holding", "nothing of %s was held at the start of a day of the window", p.security.Symbol)
}

// positionCurrency is the answer of compute_position_currency_attribution.
type positionCurrency struct {
	about

	BaseCurrency string `json:"base_currency"`
	// Of the security over the window: local + fx + interaction = total.
	TotalReturn *float64 `json:"total_return"`
	LocalReturn *float64 `json:"local_return"`
	FXReturn    *float64 `json:"fx_return"`
	Interaction *float64 `json:"interaction"`
	// Contribution is what its days within the portfolio added to the portfolio's return, linked (Carino).
	Contribution currencyParts             `json:"contribution"`
	Window       *capability.Window        `json:"window"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type currencyParts struct {
	Weight        *float64 `json:"weight"`
	AverageWeight *float64 `json:"average_weight"`
	Total         *float64 `json:"total"`
	Local         *float64 `json:"local"`
	FX            *float64 `json:"fx"`
	Interaction   *float64 `json:"interaction"`
}

func (a *Analyst) positionCurrency(ctx context.Context, req agent.Request) (agent.Result, error) {
	p, err := a.decodePosition(ctx, req)
	if err != nil {
		return agent.Result{}, err
	}
	g := p.gaps
	answer := positionCurrency{about: describeSecurity(p.security), BaseCurrency: p.Portfolio.BaseCurrency, Window: p.describe()}
	if p.err != nil {
		g.Note(p.err, "total_return", "local_return", "fx_return", "interaction", "contribution")
		return p.answer(&answer.Insufficient, &answer)
	}
	if own, err := p.returns(); err != nil {
		g.Note(err, "total_return", "local_return", "fx_return", "interaction")
	} else {
		// (1+rl)(1+rx) - 1 = rl + rx + rl rx; Ankrim and Hensel 1994.
		rl, rx := portfolio.Compound(own.Local), portfolio.Compound(own.FX)
		answer.LocalReturn = g.Field("local_return").Number(rl, nil)
		answer.FXReturn = g.Field("fx_return").Number(rx, nil)
		answer.Interaction = g.Field("interaction").Number(rl*rx, nil)
		answer.TotalReturn = g.Field("total_return").Number(rl+rx+rl*rx, nil)
	}
	parts, err := p.History.AttributeCurrency(p.window)
	if err != nil {
		g.Note(err, "contribution")
		return p.answer(&answer.Insufficient, &answer)
	}
	found := false
	for _, l := range parts.Lines {
		if l.Kind != portfolio.KindSecurity || l.Symbol != p.security.Symbol {
			continue
		}
		found = true
		total := l.Local + l.FX + l.Interaction
		answer.Contribution = currencyParts{
			Weight: &l.Weight, AverageWeight: &l.AverageWeight, Total: &total, Local: &l.Local, FX: &l.FX, Interaction: &l.Interaction,
		}
	}
	if !found {
		g.Note(p.notHeld(), "contribution")
	}
	return p.answer(&answer.Insufficient, &answer)
}

// positionRisk is the answer of compute_position_risk.
type positionRisk struct {
	about

	// Of the security's daily returns in base currency over the window.
	Volatility *float64 `json:"volatility"`
	VaR95      *float64 `json:"var_95"` // of its own value
	ES95       *float64 `json:"es_95"`
	// Against the portfolio's realised returns of the same days.
	Beta        *float64              `json:"beta"`
	Correlation *float64              `json:"correlation"`
	Benchmark   positionBenchmarkRisk `json:"benchmark"`
	// CurrentHoldings is the same days repriced at the weights of the as-of date, without dividends.
	CurrentHoldings currentRisk               `json:"current_holdings"`
	Window          *capability.Window        `json:"window"`
	Insufficient    []capability.Insufficient `json:"insufficient_data"`
}

type positionBenchmarkRisk struct {
	Symbol      *string  `json:"symbol"`
	Beta        *float64 `json:"beta"`
	Correlation *float64 `json:"correlation"`
}

type currentRisk struct {
	// Of the portfolio at today's weights, as fractions of the net asset value.
	VaR95      *float64 `json:"var_95"`
	ES95       *float64 `json:"es_95"`
	Volatility *float64 `json:"volatility"`
	// Of the security within it.
	Weight         *float64 `json:"weight"`
	Beta           *float64 `json:"beta"`
	Correlation    *float64 `json:"correlation"`
	ComponentVaR95 *float64 `json:"component_var_95"` // weight x beta x var_95
	Share          *float64 `json:"share"`            // of var_95: weight x beta

	Positions []lineRisk `json:"positions"` // all lines; their components sum to var_95
}

type lineRisk struct {
	Symbol         string         `json:"symbol"` // "CASH:USD" for cash
	Kind           portfolio.Kind `json:"kind"`
	Currency       string         `json:"currency"`
	Weight         float64        `json:"weight"`
	Beta           float64        `json:"beta"`
	Correlation    *float64       `json:"correlation"`
	VaR95          float64        `json:"var_95"` // of its own value
	ComponentVaR95 float64        `json:"component_var_95"`
	Share          float64        `json:"share"`
}

func (a *Analyst) positionRisk(ctx context.Context, req agent.Request) (agent.Result, error) {
	p, err := a.decodePosition(ctx, req)
	if err != nil {
		return agent.Result{}, err
	}
	g := p.gaps
	answer := positionRisk{
		about: describeSecurity(p.security), Window: p.describe(), CurrentHoldings: currentRisk{Positions: []lineRisk{}},
	}
	if symbol := p.Portfolio.Benchmark; symbol != "" {
		answer.Benchmark.Symbol = &symbol
	} else {
		g.Note(capability.NoBenchmark(), "benchmark.symbol")
	}
	if p.span.err != nil {
		g.Note(p.err, "volatility", "var_95", "es_95", "beta", "correlation", "benchmark.beta", "benchmark.correlation")
		g.Note(p.err, currentFields...)
		g.Note(p.err, ownCurrentFields...)
		return p.answer(&answer.Insufficient, &answer)
	}
	var r []float64
	err = p.err
	if err == nil {
		var own portfolio.HoldingReturns
		own, err = p.returns()
		r = own.Base()
	}
	if err != nil {
		g.Note(err, "volatility", "var_95", "es_95", "beta", "correlation", "benchmark.beta", "benchmark.correlation")
	} else {
		answer.measure(p, r)
	}
	if err := answer.CurrentHoldings.fill(p, req.Context.Asof); err != nil {
		return agent.Result{}, err
	}
	return p.answer(&answer.Insufficient, &answer)
}

// measure fills in what the security's returns alone, and beside the portfolio's, tell.
func (x *positionRisk) measure(p *position, r []float64) {
	g := p.gaps
	x.Volatility = g.Field("volatility").Number(portfolio.Volatility(r))
	v, es := portfolio.ValueAtRisk(r, varConfidence)
	x.VaR95, x.ES95 = g.Field("var_95").Number(v, nil), g.Field("es_95").Number(es, nil)
	if rp, err := p.History.Returns(p.window); err != nil {
		g.Note(err, "beta", "correlation")
	} else {
		x.Beta = g.Field("beta").Number(portfolio.Beta(r, rp))
		x.Correlation = g.Field("correlation").Number(portfolio.Correlation(r, rp))
	}
	if b, err := p.BenchmarkReturns(p.window); err != nil {
		g.Note(err, "benchmark.beta", "benchmark.correlation")
	} else {
		x.Benchmark.Beta = g.Field("benchmark.beta").Number(portfolio.Beta(r, b))
		x.Benchmark.Correlation = g.Field("benchmark.correlation").Number(portfolio.Correlation(r, b))
	}
}

// The fields of the current holdings: of the portfolio, and of the security in it.
var (
	currentFields = []string{
		"current_holdings.var_95", "current_holdings.es_95", "current_holdings.volatility", "current_holdings.positions",
	}
	ownCurrentFields = []string{
		"current_holdings.weight", "current_holdings.beta", "current_holdings.correlation", "current_holdings.component_var_95",
		"current_holdings.share",
	}
)

func (x *currentRisk) fill(p *position, asof time.Time) error {
	g := p.gaps
	held, err := p.Value(asof)
	if err != nil {
		return err
	}
	risk, err := p.History.CurrentRisk(held, p.window, varConfidence)
	if err != nil {
		g.Note(err, currentFields...)
		g.Note(err, ownCurrentFields...)
		return nil
	}
	x.VaR95, x.ES95 = g.Field("current_holdings.var_95").Number(risk.VaR, nil), g.Field("current_holdings.es_95").Number(risk.ES, nil)
	x.Volatility = g.Field("current_holdings.volatility").Number(portfolio.Volatility(risk.Returns))
	found := false
	for _, l := range risk.Lines {
		name := lineName(l.Kind, l.Symbol, l.Currency)
		line := lineRisk{
			Symbol: name, Kind: l.Kind, Currency: l.Currency, Weight: l.Weight, Beta: l.Beta,
			VaR95: l.VaR, ComponentVaR95: l.Component, Share: l.Weight * l.Beta,
		}
		if math.IsNaN(l.Correlation) {
			err := portfolio.Short("variance", "the returns of %s do not vary", name)
			g.Note(err, "current_holdings.positions."+name+".correlation")
		} else {
			line.Correlation = &l.Correlation
		}
		x.Positions = append(x.Positions, line)
		if l.Kind == portfolio.KindSecurity && l.Symbol == p.security.Symbol {
			found = true
			x.Weight, x.Beta, x.ComponentVaR95, x.Share = &line.Weight, &line.Beta, &line.ComponentVaR95, &line.Share
			if x.Correlation = line.Correlation; x.Correlation == nil {
				g.Note(portfolio.Short("variance", "the returns of %s do not vary", name),
					"current_holdings.correlation")
			}
		}
	}
	if !found {
		err := p.err
		if err == nil {
			err = portfolio.Short("holding", "nothing of %s is held on %s", p.security.Symbol, asof.Format(time.DateOnly))
		}
		g.Note(err, ownCurrentFields...)
	}
	return nil
}
