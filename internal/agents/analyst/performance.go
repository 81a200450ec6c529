package analyst

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// varConfidence is the confidence of var_95 and es_95.
const varConfidence = 0.95

// performance is the answer of metrics.compute_twr.
type performance struct {
	Currency          string           `json:"currency"`
	TWR               *float64         `json:"twr"`
	TWRAnnualized     *float64         `json:"twr_annualized"`
	TWRSinceInception *float64         `json:"twr_since_inception"`
	MWRWindow         *float64         `json:"mwr_window"`          // a year
	MWRSinceInception *float64         `json:"mwr_since_inception"` // a year
	Volatility        *float64         `json:"volatility"`
	SharpeRatio       *float64         `json:"sharpe_ratio"`
	SortinoRatio      *float64         `json:"sortino_ratio"`
	RiskFree          riskFree         `json:"risk_free"`
	MaxDrawdown       *float64         `json:"max_drawdown"`
	MaxDrawdownTrough *string          `json:"max_drawdown_trough"`
	VaR95             *float64         `json:"var_95"`
	ES95              *float64         `json:"es_95"`
	Benchmark         benchmarkMeasure `json:"benchmark"`
	Window            *window          `json:"window"`
	Insufficient      []insufficient   `json:"insufficient_data"`
}

// riskFree says which rate the ratios are measured against.
type riskFree struct {
	Source *string  `json:"source"` // "macro:<series>", or "input" when the caller fixed it
	Annual *float64 `json:"annual"` // 252 times the mean daily rate of the window
}

type benchmarkMeasure struct {
	Symbol           *string  `json:"symbol"`
	Return           *float64 `json:"return"`
	Beta             *float64 `json:"beta"`
	Alpha            *float64 `json:"alpha"` // a year
	Correlation      *float64 `json:"correlation"`
	TrackingError    *float64 `json:"tracking_error"`
	InformationRatio *float64 `json:"information_ratio"`
}

type window struct {
	Start   string `json:"start"` // day of the first valuation
	End     string `json:"end"`
	Returns int    `json:"returns"` // number of daily returns
}

func (a *Analyst) computeTWR(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID    string   `json:"portfolio_id"`
		PackID         string   `json:"pack_id"`
		LookbackDays   *int     `json:"lookback_days"`
		RiskFreeAnnual *float64 `json:"risk_free_annual"`
	}
	if err := decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	if err := samePack(req, args.PackID); err != nil {
		return agent.Result{}, err
	}
	days, err := lookback(args.LookbackDays)
	if err != nil {
		return agent.Result{}, err
	}
	if r := args.RiskFreeAnnual; r != nil && math.Abs(*r) >= 1 {
		return agent.Result{}, fault.InvalidField("/args/risk_free_annual", "%v is not a yearly rate as a fraction between -1 and 1", *r)
	}
	var macro []string
	if args.RiskFreeAnnual == nil && a.opts.RiskFreeSeries != "" {
		macro = append(macro, a.opts.RiskFreeSeries)
	}
	d, err := a.open(ctx, req, args.PortfolioID, macro...)
	if err != nil {
		return agent.Result{}, err
	}

	m := measurement{dossier: d, gaps: newGaps(), answer: performance{Currency: d.portfolio.BaseCurrency}}
	m.sinceInception()
	m.withinWindow(days, func(w portfolio.Window) ([]float64, error) {
		return a.riskFree(&m, args.RiskFreeAnnual, w)
	})
	if m.gaps.err != nil {
		return agent.Result{}, fmt.Errorf("measuring portfolio %s: %w", d.portfolio.ID, m.gaps.err)
	}
	m.answer.Insufficient = m.gaps.list
	return agent.Result{Value: m.answer, Sources: d.sources(), Warnings: m.warnings}, nil
}

// measurement is one answer in the making.
type measurement struct {
	dossier

	gaps     *gaps
	answer   performance
	warnings []string
}

func (m *measurement) sinceInception() {
	m.answer.TWRSinceInception = m.gaps.field("twr_since_inception").number(func() (float64, error) {
		w, err := m.history.All()
		if err != nil {
			return 0, err
		}
		r, err := m.history.Returns(w)
		return portfolio.Compound(r), err
	}())
	m.answer.MWRSinceInception = m.gaps.field("mwr_since_inception").number(m.history.MoneyWeightedSinceInception())
}

// The fields that a window's returns are needed for.
var (
	returnFields = []string{"twr", "twr_annualized", "volatility", "max_drawdown", "max_drawdown_trough", "var_95", "es_95"}
	excessFields = []string{"sharpe_ratio", "sortino_ratio"}
	// benchmark.return needs the benchmark alone.
	relativeFields = []string{
		"benchmark.beta", "benchmark.alpha", "benchmark.correlation", "benchmark.tracking_error", "benchmark.information_ratio",
	}
)

// withinWindow fills in what is measured over the last days returns.
func (m *measurement) withinWindow(days int, riskFree func(portfolio.Window) ([]float64, error)) {
	if m.portfolio.Benchmark != "" {
		m.answer.Benchmark.Symbol = &m.portfolio.Benchmark
	} else {
		m.gaps.note(errNoBenchmark, "benchmark.symbol")
	}
	w, err := m.history.Last(days)
	if err != nil {
		m.gaps.note(err, returnFields...)
		m.gaps.note(err, excessFields...)
		m.gaps.note(err, "mwr_window", "risk_free", "benchmark.return")
		m.gaps.note(err, relativeFields...)
		m.gaps.note(err, "window")
		return
	}
	m.answer.Window = describeWindow(m.history, w)
	m.warnings = append(m.warnings, shorter(m.history, w, days)...)
	m.answer.MWRWindow = m.gaps.field("mwr_window").number(m.history.MoneyWeighted(w))

	r, rErr := m.history.Returns(w)
	if rErr != nil {
		m.gaps.note(rErr, returnFields...)
	} else {
		m.alone(r, w)
	}
	rf, rfErr := riskFree(w)
	if rfErr != nil {
		m.gaps.note(rfErr, "risk_free")
	}
	switch {
	case rErr != nil:
		m.gaps.note(rErr, excessFields...)
	case rfErr != nil:
		m.gaps.note(rfErr, excessFields...)
	default:
		m.answer.SharpeRatio = m.gaps.field("sharpe_ratio").number(portfolio.Sharpe(r, rf))
		m.answer.SortinoRatio = m.gaps.field("sortino_ratio").number(portfolio.Sortino(r, rf))
	}

	b, bErr := m.benchmarkReturns(w)
	m.answer.Benchmark.Return = m.gaps.field("benchmark.return").number(portfolio.Compound(b), bErr)
	switch {
	case bErr != nil:
		m.gaps.note(bErr, relativeFields...)
	case rErr != nil:
		m.gaps.note(rErr, relativeFields...)
	default:
		m.relative(r, b, rf, rfErr)
	}
}

// alone measures the returns by themselves.
func (m *measurement) alone(r []float64, w portfolio.Window) {
	out, g := &m.answer, m.gaps
	total := portfolio.Compound(r)
	out.TWR = g.field("twr").number(total, nil)
	out.TWRAnnualized = g.field("twr_annualized").number(portfolio.Annualize(total, len(r)))
	out.Volatility = g.field("volatility").number(portfolio.Volatility(r))
	depth, trough := portfolio.MaxDrawdown(r)
	out.MaxDrawdown = g.field("max_drawdown").number(depth, nil)
	if trough >= 0 {
		out.MaxDrawdownTrough = date(m.history.Days[w.Start+1+trough])
	} else {
		g.note(portfolio.Shortages{{Missing: "drawdown", Reason: "the value never fell within the window"}}, "max_drawdown_trough")
	}
	valueAtRisk, shortfall := portfolio.ValueAtRisk(r, varConfidence)
	out.VaR95 = g.field("var_95").number(valueAtRisk, nil)
	out.ES95 = g.field("es_95").number(shortfall, nil)
}

// relative measures the returns against the benchmark's.
func (m *measurement) relative(r, b, rf []float64, rfErr error) {
	out, g := &m.answer.Benchmark, m.gaps
	out.Beta = g.field("benchmark.beta").number(portfolio.Beta(r, b))
	if rfErr != nil {
		g.note(rfErr, "benchmark.alpha")
	} else {
		out.Alpha = g.field("benchmark.alpha").number(portfolio.Alpha(r, b, rf))
	}
	out.Correlation = g.field("benchmark.correlation").number(portfolio.Correlation(r, b))
	out.TrackingError = g.field("benchmark.tracking_error").number(portfolio.TrackingError(r, b))
	out.InformationRatio = g.field("benchmark.information_ratio").number(portfolio.InformationRatio(r, b))
}

var errNoBenchmark = portfolio.Shortages{{Missing: "benchmark", Reason: "the portfolio has no benchmark"}}

// benchmarkReturns returns the benchmark's daily returns in the portfolio's base currency.
func (m *measurement) benchmarkReturns(w portfolio.Window) ([]float64, error) {
	switch symbol := m.portfolio.Benchmark; {
	case symbol == "":
		return nil, errNoBenchmark
	case m.benchmark.Symbol == "":
		return nil, portfolio.Shortages{{Missing: "securities:" + symbol, Reason: "the benchmark is not a listed security"}}
	}
	return m.history.SecurityReturns(m.benchmark, w)
}

// riskFree returns the daily risk-free returns of the window and says where they come from.
func (a *Analyst) riskFree(m *measurement, annual *float64, w portfolio.Window) ([]float64, error) {
	if annual != nil {
		source := "input"
		m.answer.RiskFree = riskFree{Source: &source, Annual: annual}
		rf := make([]float64, w.Len())
		for i := range rf {
			rf[i] = *annual / portfolio.YearDays
		}
		return rf, nil
	}
	if a.opts.RiskFreeSeries == "" {
		return nil, portfolio.Shortages{{
			Missing: "risk_free_annual", Reason: "no rate was given and no series of risk-free returns is configured",
		}}
	}
	rf, err := m.history.MacroValues(a.opts.RiskFreeSeries, w)
	if err != nil {
		return nil, err
	}
	source, mean := "macro:"+a.opts.RiskFreeSeries, portfolio.MeanPerYear(rf)
	m.answer.RiskFree = riskFree{Source: &source, Annual: &mean}
	return rf, nil
}

func describeWindow(h *portfolio.History, w portfolio.Window) *window {
	return &window{
		Start:   h.Days[w.Start].Format(time.DateOnly),
		End:     h.Days[w.End].Format(time.DateOnly),
		Returns: w.Len(),
	}
}

// shorter warns when there are fewer returns than asked for.
func shorter(h *portfolio.History, w portfolio.Window, days int) []string {
	if w.Len() >= days {
		return nil
	}
	return []string{fmt.Sprintf("The window holds %d daily returns instead of %d: the portfolio is first valued on %s.",
		w.Len(), days, h.Days[w.Start].Format(time.DateOnly))}
}
