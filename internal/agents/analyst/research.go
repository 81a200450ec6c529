package analyst

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Bounds of lists.
const (
	defaultTransactions = 50
	maxTransactions     = 200
	defaultComparables  = 5
	maxComparables      = 50
)

// limit returns how many items a list may have.
func limit(asked *int, fallback, most int) (int, error) {
	if asked == nil {
		return fallback, nil
	}
	if *asked < 1 || *asked > most {
		return 0, fault.InvalidField("/args/limit", "%d is outside 1 to %d", *asked, most)
	}
	return *asked, nil
}

// transactionHistory is the answer of get_transaction_history.
type transactionHistory struct {
	PortfolioID  string   `json:"portfolio_id"`
	SecurityID   string   `json:"security_id"`
	Asof         string   `json:"asof"`
	Transactions []booked `json:"transactions"` // newest first
	Total        int      `json:"total"`        // how many there are, those beyond the limit included
}

type booked struct {
	ID       string              `json:"id"`
	Seq      int64               `json:"seq"`
	Date     string              `json:"date"`
	Type     portfolio.Type      `json:"type"`
	Symbol   string              `json:"symbol"`
	Quantity decimal.NullDecimal `json:"quantity"` // null where the type has none
	Price    decimal.NullDecimal `json:"price"`
	Currency string              `json:"currency"`
	Amount   decimal.Decimal     `json:"amount"`   // change of cash
	Reverses *string             `json:"reverses"` // the booking that a REVERSAL undoes
}

func (a *Analyst) transactions(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID string `json:"portfolio_id"`
		SecurityID  string `json:"security_id"`
		Limit       *int   `json:"limit"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	run, err := capability.Subject(req, args.PortfolioID)
	if err != nil {
		return agent.Result{}, err
	}
	most, err := limit(args.Limit, defaultTransactions, maxTransactions)
	if err != nil {
		return agent.Result{}, err
	}
	c := req.Context
	ledger, err := a.ledger.Transactions(ctx, c.TenantID, run.ID, run.LedgerSeq, c.Asof)
	if err != nil {
		return agent.Result{}, err
	}
	answer := transactionHistory{
		PortfolioID: run.ID, SecurityID: args.SecurityID, Asof: c.Asof.Format(time.DateOnly), Transactions: []booked{},
	}
	// A reversal is about the security of what it undoes, which may be booked anywhere before it.
	own := map[string]bool{}
	for _, t := range ledger {
		if t.Type.OfSecurity() && strings.EqualFold(t.SecurityID, args.SecurityID) {
			own[t.ID] = true
		}
	}
	for _, t := range slices.Backward(ledger) {
		if !own[t.ID] && !own[t.Reverses] {
			continue
		}
		answer.Total++
		if len(answer.Transactions) == most {
			continue
		}
		line := booked{
			ID: t.ID, Seq: t.Seq, Date: t.Date.Format(time.DateOnly), Type: t.Type, Symbol: t.Symbol,
			Quantity: unlessZero(t.Quantity), Price: unlessZero(t.Price), Currency: t.Currency, Amount: t.Amount,
		}
		if t.Reverses != "" {
			line.Reverses = &t.Reverses
		}
		answer.Transactions = append(answer.Transactions, line)
	}
	return agent.Result{Value: &answer, Sources: []agent.Source{capability.LedgerSource(run.ID)}}, nil
}

func unlessZero(d decimal.Decimal) decimal.NullDecimal {
	return decimal.NullDecimal{Decimal: d, Valid: !d.IsZero()}
}

// securityFundamentals is the answer of get_security_fundamentals.
type securityFundamentals struct {
	about

	Fundamentals []fundamental             `json:"fundamentals"` // by provider, then metric
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type fundamental struct {
	Provider  string  `json:"provider"`
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Date      string  `json:"date"`       // from which it was known
	PeriodEnd *string `json:"period_end"` // null when the provider did not say
}

func (a *Analyst) fundamentals(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		SecurityID string `json:"security_id"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	cut := capability.Cut(req.Context)
	s, err := a.market.SecurityByID(ctx, cut, args.SecurityID)
	if err != nil {
		return agent.Result{}, err
	}
	figures, err := a.market.Fundamentals(ctx, cut, s.ID, "")
	if err != nil {
		return agent.Result{}, err
	}
	g := capability.NewGaps()
	answer := securityFundamentals{about: describeSecurity(s), Fundamentals: []fundamental{}}
	var sources []agent.Source
	for _, f := range figures {
		line := fundamental{Provider: f.Provider, Metric: f.Metric, Value: f.Value, Date: f.Date.Format(time.DateOnly)}
		if !f.PeriodEnd.IsZero() {
			line.PeriodEnd = date(f.PeriodEnd)
		}
		answer.Fundamentals = append(answer.Fundamentals, line)
		source := "fundamentals:" + s.Symbol + ":" + f.Provider
		if n := len(sources); n > 0 && sources[n-1].Name == source {
			if f.Date.After(sources[n-1].Asof) {
				sources[n-1].Asof = f.Date
			}
			continue
		}
		sources = append(sources, agent.Source{Name: source, Asof: f.Date})
	}
	if len(figures) == 0 {
		g.Note(portfolio.Short("fundamentals:"+s.Symbol, "no provider's figures are stored that were known by %s", cut.Date.Format(time.DateOnly)), "fundamentals")
	}
	answer.Insufficient = g.List
	return agent.Result{Value: &answer, Sources: sources}, nil
}

// comparablePositions is the answer of get_comparable_positions.
type comparablePositions struct {
	about

	BaseCurrency string                    `json:"base_currency"`
	Return1Y     *float64                  `json:"return_1y"` // of the security itself
	Comparables  []comparable              `json:"comparables"`
	Window       yearWindow                `json:"window"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

// yearWindow is the calendar year up to the run's data; prices are the last ones on or before its days.
type yearWindow struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

type comparable struct {
	about

	Held     bool     `json:"held"`
	Weight   *float64 `json:"weight"`    // null when it is not held
	Return1Y *float64 `json:"return_1y"` // in base currency
}

func (a *Analyst) comparables(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		SecurityID string  `json:"security_id"`
		Sector     *string `json:"sector"`
		Limit      *int    `json:"limit"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	most, err := limit(args.Limit, defaultComparables, maxComparables)
	if err != nil {
		return agent.Result{}, err
	}
	run := req.Context.Portfolio
	if run == nil {
		return agent.Result{}, fault.New(fault.Invalid, "%s needs a portfolio, the run names none", req.Capability)
	}
	sector := ""
	if args.Sector != nil {
		sector = *args.Sector
	}
	b, err := a.openBook(ctx, req, *run, portfolio.FIFO) // quantities are the same whatever the costs
	if err != nil {
		return agent.Result{}, err
	}
	var heldSymbols []string
	for _, p := range b.holdings.Positions {
		heldSymbols = append(heldSymbols, p.Security.Symbol)
	}
	cut := capability.Cut(req.Context)
	own, others, err := a.market.SecuritiesOfSector(ctx, cut, args.SecurityID, sector, heldSymbols, most)
	if err != nil {
		return agent.Result{}, err
	}
	if len(others) > most {
		others = others[:most]
	}

	start := cut.Date.AddDate(-1, 0, 0)
	symbols := append(slices.Clone(heldSymbols), own.Symbol)
	currencies := append(capability.Currencies(run.BaseCurrency, b.ledger, b.securities), own.Currency)
	for _, s := range others {
		symbols, currencies = append(symbols, s.Symbol), append(currencies, s.Currency)
	}
	series, err := a.market.Series(ctx, cut, portfolio.SeriesQuery{From: start, Symbols: unique(symbols), Currencies: unique(currencies)})
	if err != nil {
		return agent.Result{}, err
	}

	g := capability.NewGaps()
	y := year{
		series: series, ledger: b.ledger, base: run.BaseCurrency, start: start, end: cut.Date, used: map[agent.Source]bool{},
	}
	answer := comparablePositions{
		about: describeSecurity(own), BaseCurrency: run.BaseCurrency, Comparables: []comparable{},
		Window: yearWindow{start.Format(time.DateOnly), cut.Date.Format(time.DateOnly)},
	}
	answer.Return1Y = g.Field("return_1y").Number(y.returnOf(own))
	v := portfolio.Value(run.BaseCurrency, b.holdings, newest(series), portfolio.SeriesSet{})
	for _, s := range others {
		c := comparable{about: describeSecurity(s)}
		field := "comparables." + s.Symbol
		c.Return1Y = g.Field(field + ".return_1y").Number(y.returnOf(s))
		for _, p := range v.Positions {
			if p.Security.Symbol == s.Symbol {
				c.Held = true
				c.Weight = g.Field(field + ".weight").Number(v.Weight(p.Value.Decimal))
			}
		}
		if !c.Held {
			g.Note(portfolio.Short("holding", "the portfolio does not hold %s", s.Symbol), field+".weight")
		}
		answer.Comparables = append(answer.Comparables, c)
	}
	if len(others) == 0 {
		reason := "no other security of the sector is known"
		if own.Sector == "" && sector == "" {
			reason = own.Symbol + " has no sector"
		}
		g.Note(portfolio.Short("securities", "%s", reason), "comparables")
	}
	if g.Err() != nil {
		return agent.Result{}, g.Err()
	}
	answer.Insufficient = g.List
	return agent.Result{Value: &answer, Sources: y.sources(run.ID, v, series)}, nil
}

// newest returns the last observations of the series. The shortest decimal that reads back as the same
// float64 is the value as stored.
func newest(set portfolio.SeriesSet) portfolio.Quotes {
	quotes := func(all map[string]portfolio.Series) map[string]portfolio.Quote {
		q := make(map[string]portfolio.Quote, len(all))
		for name, s := range all {
			last := s[len(s)-1]
			q[name] = portfolio.Quote{Date: last.Date, Value: decimal.NewFromFloat(last.Value)}
		}
		return q
	}
	return portfolio.Quotes{Prices: quotes(set.Prices), FX: quotes(set.FX)}
}

// year measures securities over a calendar year.
type year struct {
	series     portfolio.SeriesSet
	ledger     []portfolio.Transaction // knows the splits of what was held
	base       string
	start, end time.Time
	used       map[agent.Source]bool
}

// returnOf returns a security's return in base currency, from the last price on or before the start to
// the last one on or before the end.
func (y *year) returnOf(s portfolio.Security) (float64, error) {
	prices := y.series.Prices[s.Symbol]
	price, err := y.change("prices:"+s.Symbol, prices)
	if err != nil {
		return 0, err
	}
	first, _ := prices.On(y.start)
	last, _ := prices.On(y.end)
	for _, t := range y.ledger {
		if t.Type == portfolio.Split && t.Symbol == s.Symbol && t.Date.After(first.Date) && !t.Date.After(last.Date) {
			price = (1+price)*t.Quantity.InexactFloat64() - 1
		}
	}
	if s.Currency == y.base {
		return price, nil
	}
	rates, pairs := y.series.Rates(s.Currency, y.base)
	rate, err := y.change("fx:"+s.Currency+"/"+y.base, rates)
	if err != nil {
		return 0, err
	}
	for _, pair := range pairs {
		if last, ok := y.series.FX[pair].On(y.end); ok {
			y.used[agent.Source{Name: "fx:" + pair, Asof: last.Date}] = true
		}
	}
	return (1+price)*(1+rate) - 1, nil
}

func (y *year) change(name string, s portfolio.Series) (float64, error) {
	first, ok := s.On(y.start)
	if !ok {
		return 0, portfolio.Short(name, "no observation on or before %s", y.start.Format(time.DateOnly))
	}
	last, _ := s.On(y.end) // there is the first one at least
	if strings.HasPrefix(name, "prices:") {
		y.used[agent.Source{Name: name, Asof: last.Date}] = true
	}
	return last.Value/first.Value - 1, nil
}

// sources lists the ledger, and each price and pair that a return or a weight was computed from.
func (y *year) sources(ledger string, v portfolio.Valuation, series portfolio.SeriesSet) []agent.Source {
	sources := valuationSources(v, newest(series))
	for s := range y.used {
		sources = append(sources, s)
	}
	slices.SortFunc(sources, bySource)
	sources = slices.Compact(sources)
	return append([]agent.Source{capability.LedgerSource(ledger)}, sources...)
}
