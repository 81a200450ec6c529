package analyst

import (
	"context"
	"math"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// varConfidence is the confidence of var_95 and es_95.
const varConfidence = 0.95

// performance is the answer of metrics.compute_twr.
type performance struct {
	Currency          string                    `json:"currency"`
	TWR               *float64                  `json:"twr"`
	TWRAnnualized     *float64                  `json:"twr_annualized"`
	TWRSinceInception *float64                  `json:"twr_since_inception"`
	MWRWindow         *float64                  `json:"mwr_window"`          // a year
	MWRSinceInception *float64                  `json:"mwr_since_inception"` // a year
	Volatility        *float64                  `json:"volatility"`
	SharpeRatio       *float64                  `json:"sharpe_ratio"`
	SortinoRatio      *float64                  `json:"sortino_ratio"`
	RiskFree          riskFree                  `json:"risk_free"`
	MaxDrawdown       *float64                  `json:"max_drawdown"`
	MaxDrawdownTrough *string                   `json:"max_drawdown_trough"`
	VaR95             *float64                  `json:"var_95"`
	ES95              *float64                  `json:"es_95"`
	Benchmark         benchmarkMeasure          `json:"benchmark"`
	Window            *capability.Window        `json:"window"`
	Insufficient      []capability.Insufficient `json:"insufficient_data"`
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

func (a *Analyst) computeTWR(ctx context.Context, req agent.Request) (agent.Result, error) {
	s, annual, err := a.decodeRated(ctx, req)
	if err != nil {
		return agent.Result{}, err
	}
	m := measurement{span: s, out: performance{Currency: s.Portfolio.BaseCurrency}}
	m.sinceInception()
	m.withinWindow(func(w portfolio.Window) (rf []float64, err error) {
		rf, m.out.RiskFree, err = a.riskFree(s.History, annual, w)
		return rf, err
	})
	return s.answer(&m.out.Insufficient, &m.out)
}

// measurement is one answer in the making.
type measurement struct {
	*span

	out performance
}

func (m *measurement) sinceInception() {
	m.out.TWRSinceInception = m.gaps.Field("twr_since_inception").Number(func() (float64, error) {
		w, err := m.History.All()
		if err != nil {
			return 0, err
		}
		r, err := m.History.Returns(w)
		return portfolio.Compound(r), err
	}())
	m.out.MWRSinceInception = m.gaps.Field("mwr_since_inception").Number(m.History.MoneyWeightedSinceInception())
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

// withinWindow fills in what is measured over the span's window.
func (m *measurement) withinWindow(riskFree func(portfolio.Window) ([]float64, error)) {
	if m.Portfolio.Benchmark != "" {
		m.out.Benchmark.Symbol = &m.Portfolio.Benchmark
	} else {
		m.gaps.Note(capability.NoBenchmark(), "benchmark.symbol")
	}
	w, err := m.window, m.err
	if err != nil {
		m.gaps.Note(err, returnFields...)
		m.gaps.Note(err, excessFields...)
		m.gaps.Note(err, "mwr_window", "risk_free", "benchmark.return")
		m.gaps.Note(err, relativeFields...)
	}
	m.out.Window = m.describe()
	if err != nil {
		return
	}
	m.out.MWRWindow = m.gaps.Field("mwr_window").Number(m.History.MoneyWeighted(w))

	r, rErr := m.History.Returns(w)
	if rErr != nil {
		m.gaps.Note(rErr, returnFields...)
	} else {
		m.alone(r, w)
	}
	rf, rfErr := riskFree(w)
	if rfErr != nil {
		m.gaps.Note(rfErr, "risk_free")
	}
	switch {
	case rErr != nil:
		m.gaps.Note(rErr, excessFields...)
	case rfErr != nil:
		m.gaps.Note(rfErr, excessFields...)
	default:
		m.out.SharpeRatio = m.gaps.Field("sharpe_ratio").Number(portfolio.Sharpe(r, rf))
		m.out.SortinoRatio = m.gaps.Field("sortino_ratio").Number(portfolio.Sortino(r, rf))
	}

	b, bErr := m.BenchmarkReturns(w)
	m.out.Benchmark.Return = m.gaps.Field("benchmark.return").Number(portfolio.Compound(b), bErr)
	switch {
	case bErr != nil:
		m.gaps.Note(bErr, relativeFields...)
	case rErr != nil:
		m.gaps.Note(rErr, relativeFields...)
	default:
		m.relative(r, b, rf, rfErr)
	}
}

// alone measures the returns by themselves.
func (m *measurement) alone(r []float64, w portfolio.Window) {
	out, g := &m.out, m.gaps
	total := portfolio.Compound(r)
	out.TWR = g.Field("twr").Number(total, nil)
	out.TWRAnnualized = g.Field("twr_annualized").Number(portfolio.Annualize(total, len(r)))
	out.Volatility = g.Field("volatility").Number(portfolio.Volatility(r))
	depth, trough := portfolio.MaxDrawdown(r)
	out.MaxDrawdown = g.Field("max_drawdown").Number(depth, nil)
	if trough >= 0 {
		out.MaxDrawdownTrough = date(m.History.Days[w.Start+1+trough])
	} else {
		g.Note(portfolio.Short("drawdown", "the value never fell within the window"), "max_drawdown_trough")
	}
	valueAtRisk, shortfall := portfolio.ValueAtRisk(r, varConfidence)
	out.VaR95 = g.Field("var_95").Number(valueAtRisk, nil)
	out.ES95 = g.Field("es_95").Number(shortfall, nil)
}

// relative measures the returns against the benchmark's.
func (m *measurement) relative(r, b, rf []float64, rfErr error) {
	out, g := &m.out.Benchmark, m.gaps
	out.Beta = g.Field("benchmark.beta").Number(portfolio.Beta(r, b))
	if rfErr != nil {
		g.Note(rfErr, "benchmark.alpha")
	} else {
		out.Alpha = g.Field("benchmark.alpha").Number(portfolio.Alpha(r, b, rf))
	}
	out.Correlation = g.Field("benchmark.correlation").Number(portfolio.Correlation(r, b))
	out.TrackingError = g.Field("benchmark.tracking_error").Number(portfolio.TrackingError(r, b))
	out.InformationRatio = g.Field("benchmark.information_ratio").Number(portfolio.InformationRatio(r, b))
}

// riskFree returns the daily risk-free returns of the window and says where they come from.
func (a *Analyst) riskFree(h *portfolio.History, annual *float64, w portfolio.Window) ([]float64, riskFree, error) {
	if annual != nil {
		source := "input"
		rf := make([]float64, w.Len())
		for i := range rf {
			rf[i] = *annual / portfolio.YearDays
		}
		return rf, riskFree{Source: &source, Annual: annual}, nil
	}
	if a.opts.RiskFreeSeries == "" {
		return nil, riskFree{}, portfolio.Short("risk_free_annual", "no rate was given and no series of risk-free returns is configured")
	}
	rf, err := h.MacroValues(a.opts.RiskFreeSeries, w)
	if err != nil {
		return nil, riskFree{}, err
	}
	source, mean := "macro:"+a.opts.RiskFreeSeries, portfolio.MeanPerYear(rf)
	return rf, riskFree{Source: &source, Annual: &mean}, nil
}

// riskFreeRate checks a rate that the caller fixes, and names the macro series to read without one.
func (a *Analyst) riskFreeRate(annual *float64) (macro []string, err error) {
	switch {
	case annual != nil && math.Abs(*annual) >= 1:
		return nil, fault.InvalidField("/args/risk_free_annual", "%v is not a yearly rate as a fraction between -1 and 1", *annual)
	case annual == nil && a.opts.RiskFreeSeries != "":
		return []string{a.opts.RiskFreeSeries}, nil
	}
	return nil, nil
}
