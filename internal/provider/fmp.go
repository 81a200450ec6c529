package provider

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// FMP is Financial Modeling Prep (https://site.financialmodelingprep.com/developer/docs/stable): annual
// accounts of companies. The figures that ratings are made of are computed from the accounts of up to five
// years and are known from the day on which the youngest of them was filed.
type FMP struct{ service }

// NewFMP returns the provider. The cheapest paid plan allows 300 requests a minute.
func NewFMP(o Options) *FMP {
	return &FMP{newService("fmp", "https://financialmodelingprep.com", 240, time.Minute, o, keyInHeader("apikey"))}
}

// Name implements Provider.
func (*FMP) Name() string { return "fmp" }

// Kind implements Provider.
func (*FMP) Kind() Kind { return Fundamentals }

const yearsOfAccounts = 5

// accounts is what is read of a year's three statements. Pointers: what a statement lacks is not zero.
type accounts struct {
	Date              string   `json:"date"`       // the period's last day
	FilingDate        string   `json:"filingDate"` // when it became public
	Currency          string   `json:"reportedCurrency"`
	Revenue           *float64 `json:"revenue"`
	GrossProfit       *float64 `json:"grossProfit"`
	OperatingIncome   *float64 `json:"operatingIncome"`
	InterestExpense   *float64 `json:"interestExpense"`
	NetIncome         *float64 `json:"netIncome"`
	CashAndShortTerm  *float64 `json:"cashAndShortTermInvestments"`
	CurrentAssets     *float64 `json:"totalCurrentAssets"`
	CurrentLiability  *float64 `json:"totalCurrentLiabilities"`
	Intangibles       *float64 `json:"goodwillAndIntangibleAssets"`
	TotalAssets       *float64 `json:"totalAssets"`
	Equity            *float64 `json:"totalStockholdersEquity"`
	Debt              *float64 `json:"totalDebt"`
	FreeCashFlow      *float64 `json:"freeCashFlow"`
	CommonDividends   *float64 `json:"commonDividendsPaid"` // negative: paid
	filed, endsPeriod time.Time
}

// Fetch implements Provider. Since is not used: a figure stands on the accounts of five years.
func (f *FMP) Fetch(ctx context.Context, symbols []string, _ time.Time, emit func(Row) error) error {
	for _, symbol := range symbols {
		years, err := f.accounts(ctx, symbol)
		if err != nil {
			return err
		}
		if len(years) == 0 {
			continue // a fund, or a company that the service does not know
		}
		paid, err := f.dividends(ctx, symbol)
		if err != nil {
			return err
		}
		currency, err := f.currency(ctx, symbol)
		if err != nil {
			return err
		}
		known, end := years[0].filed, years[0].endsPeriod
		figures := figuresOf(years, currency)
		if n, ok := growthYears(paid, known); ok {
			figures = append(figures, figure{"dividend_growth_years", n})
		}
		for _, x := range figures {
			if err := emit(f.row(symbol, x, known, end)); err != nil {
				return err
			}
		}
		if err := f.marketCap(ctx, symbol, emit); err != nil {
			return err
		}
	}
	return nil
}

func (f *FMP) row(symbol string, x figure, known, end time.Time) FundamentalRow {
	return FundamentalRow{
		Symbol: symbol, Provider: f.name, Metric: x.metric, Value: x.value,
		Date: known.Format(time.DateOnly), PeriodEnd: end.Format(time.DateOnly),
	}
}

// accounts returns the annual accounts, the youngest first, with all three statements of a year in one.
func (f *FMP) accounts(ctx context.Context, symbol string) ([]accounts, error) {
	query := url.Values{"symbol": {symbol}, "period": {"annual"}, "limit": {strconv.Itoa(yearsOfAccounts)}}
	byDate := map[string]*accounts{}
	for i, statement := range []string{"income-statement", "balance-sheet-statement", "cash-flow-statement"} {
		var list []accounts
		if err := f.get(ctx, symbol, "/stable/"+statement, query, &list); err != nil {
			return nil, err
		}
		for _, a := range list {
			year, known := byDate[a.Date]
			if !known {
				if i > 0 {
					continue // a year without an income statement
				}
				year = &accounts{Date: a.Date}
				byDate[a.Date] = year
			}
			if err := year.take(a); err != nil {
				return nil, &Error{Provider: f.name, Subject: symbol, Detail: fmt.Sprintf("%s of %.20q: %v", statement, a.Date, err)}
			}
		}
	}
	var years []accounts
	for _, year := range byDate {
		years = append(years, *year)
	}
	slices.SortFunc(years, func(a, b accounts) int { return b.endsPeriod.Compare(a.endsPeriod) })
	return years, nil
}

// take adds what another statement of the same year says. A year is known once all of it is filed.
func (a *accounts) take(b accounts) error {
	filed, err := time.Parse(time.DateOnly, b.FilingDate)
	if err != nil {
		return fmt.Errorf("the filing date %.20q is none", b.FilingDate)
	}
	if a.endsPeriod, err = time.Parse(time.DateOnly, b.Date); err != nil {
		return fmt.Errorf("the date is none")
	}
	if filed.After(a.filed) {
		a.filed = filed
	}
	a.Currency = b.Currency
	for _, field := range []struct{ to, from **float64 }{
		{&a.Revenue, &b.Revenue},
		{&a.GrossProfit, &b.GrossProfit},
		{&a.OperatingIncome, &b.OperatingIncome},
		{&a.InterestExpense, &b.InterestExpense},
		{&a.NetIncome, &b.NetIncome},
		{&a.CashAndShortTerm, &b.CashAndShortTerm},
		{&a.CurrentAssets, &b.CurrentAssets},
		{&a.CurrentLiability, &b.CurrentLiability},
		{&a.Intangibles, &b.Intangibles},
		{&a.TotalAssets, &b.TotalAssets},
		{&a.Equity, &b.Equity},
		{&a.Debt, &b.Debt},
		{&a.FreeCashFlow, &b.FreeCashFlow},
		{&a.CommonDividends, &b.CommonDividends},
	} {
		if *field.from != nil {
			*field.to = *field.from
		}
	}
	return nil
}

type figure struct {
	metric string
	value  float64
}

// figuresOf computes what ratings are made of; what the accounts do not allow is left out. Ratios are
// fractions. The definitions are those of docs/analytics/ratings.md. currency is what the market capitalisation
// is in, "" when that is not known.
func figuresOf(years []accounts, currency string) []figure {
	var figures []figure
	add := func(metric string, value float64, ok bool) {
		if ok && !math.IsNaN(value) && !math.IsInf(value, 0) {
			figures = append(figures, figure{metric, value})
		}
	}
	last := years[0]
	dividends, hasDividends := total(years, func(a accounts) *float64 { return a.CommonDividends })
	income, hasIncome := total(years, func(a accounts) *float64 { return a.NetIncome })
	// Without profits over the years there is no share of them that was paid out.
	add("payout_ratio_5y", -dividends/income, hasDividends && hasIncome && income > 0)
	if last.CommonDividends != nil && last.FreeCashFlow != nil && *last.CommonDividends < 0 {
		add("fcf_dividend_cover", *last.FreeCashFlow/-*last.CommonDividends, true)
	}
	// It is measured as a share of the market capitalisation: in another currency it would be off by the rate.
	if last.CashAndShortTerm != nil && last.Debt != nil && currency != "" && last.Currency == currency {
		add("net_cash", *last.CashAndShortTerm-*last.Debt, true)
	}
	add(mean("roe_5y", years, func(a accounts) (float64, bool) {
		if a.NetIncome == nil || a.Equity == nil || *a.Equity <= 0 {
			return 0, false
		}
		return *a.NetIncome / *a.Equity, true
	}))
	add(ratio("gross_margin", last.GrossProfit, last.Revenue))
	add(ratio("intangibles_share", last.Intangibles, last.TotalAssets))
	if last.Equity != nil {
		add("total_equity", *last.Equity, true)
		if *last.Equity > 0 { // with negative equity the ratio would look like little debt
			add(ratio("debt_to_equity", last.Debt, last.Equity))
		}
	}
	add(ratio("interest_coverage", last.OperatingIncome, last.InterestExpense))
	add(ratio("current_ratio", last.CurrentAssets, last.CurrentLiability))
	add(spread("operating_margin_sd", years, func(a accounts) (float64, bool) {
		if a.OperatingIncome == nil || a.Revenue == nil || *a.Revenue <= 0 {
			return 0, false
		}
		return *a.OperatingIncome / *a.Revenue, true
	}))
	return figures
}

func total(years []accounts, of func(accounts) *float64) (sum float64, ok bool) {
	for _, a := range years {
		v := of(a)
		if v == nil {
			return 0, false
		}
		sum += *v
	}
	return sum, true
}

func ratio(metric string, above, below *float64) (string, float64, bool) {
	if above == nil || below == nil || *below <= 0 {
		return metric, 0, false
	}
	return metric, *above / *below, true
}

// leastYears is of how many years an average or a deviation must be.
const leastYears = 3

func mean(metric string, years []accounts, of func(accounts) (float64, bool)) (string, float64, bool) {
	values := valuesOf(years, of)
	if len(values) < leastYears {
		return metric, 0, false
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return metric, sum / float64(len(values)), true
}

// spread is the sample standard deviation.
func spread(metric string, years []accounts, of func(accounts) (float64, bool)) (string, float64, bool) {
	_, average, ok := mean(metric, years, of)
	if !ok {
		return metric, 0, false
	}
	values := valuesOf(years, of)
	sum := 0.0
	for _, v := range values {
		sum += (v - average) * (v - average)
	}
	return metric, math.Sqrt(sum / float64(len(values)-1)), true
}

func valuesOf(years []accounts, of func(accounts) (float64, bool)) []float64 {
	var values []float64
	for _, a := range years {
		if v, ok := of(a); ok {
			values = append(values, v)
		}
	}
	return values
}

type payment struct {
	Date     string  `json:"date"`
	Adjusted float64 `json:"adjDividend"` // for splits
}

func (f *FMP) dividends(ctx context.Context, symbol string) ([]payment, error) {
	var paid []payment
	err := f.get(ctx, symbol, "/stable/dividends", url.Values{"symbol": {symbol}, "limit": {"1000"}}, &paid)
	return paid, err
}

// growthYears counts the calendar years, backwards from the last complete one before a day, in each of
// which more was paid a share than in the year before. A company that never paid has none: 0. Without any
// payment known there is nothing to count.
func growthYears(paid []payment, before time.Time) (float64, bool) {
	byYear := map[int]float64{}
	for _, p := range paid {
		if day, err := time.Parse(time.DateOnly, p.Date); err == nil && day.Before(before) {
			byYear[day.Year()] += p.Adjusted
		}
	}
	if len(byYear) == 0 {
		return 0, false
	}
	n := 0
	// Sums of the same payments may differ in the last bits: what grew by less than a millionth did not.
	for year := before.Year() - 1; byYear[year-1] > 0 && byYear[year] > byYear[year-1]*(1+1e-6); year-- {
		n++
	}
	return float64(n), true
}

// currency returns what a company's listing, and with it its market capitalisation, is in: not what it reports in,
// where shares are listed abroad. "" when the service does not say.
func (f *FMP) currency(ctx context.Context, symbol string) (string, error) {
	var profiles []struct {
		Currency string `json:"currency"`
	}
	err := f.get(ctx, symbol, "/stable/profile", url.Values{"symbol": {symbol}}, &profiles)
	if err != nil || len(profiles) == 0 {
		return "", err
	}
	return profiles[0].Currency, nil
}

// marketCap emits today's, known from today on.
func (f *FMP) marketCap(ctx context.Context, symbol string, emit func(Row) error) error {
	var profiles []struct {
		MarketCap *float64 `json:"marketCap"`
		Date      string   `json:"date"`
	}
	err := f.get(ctx, symbol, "/stable/market-capitalization", url.Values{"symbol": {symbol}}, &profiles)
	if err != nil || len(profiles) == 0 || profiles[0].MarketCap == nil {
		return err
	}
	day, err := time.Parse(time.DateOnly, profiles[0].Date)
	if err != nil {
		return &Error{Provider: f.name, Subject: symbol, Detail: fmt.Sprintf("the date %.20q of its market capitalisation is none", profiles[0].Date)}
	}
	return emit(f.row(symbol, figure{"market_cap", *profiles[0].MarketCap}, day, day))
}
