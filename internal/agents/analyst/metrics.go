package analyst

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// named is the answer of metrics.compute.
type named struct {
	Metric       string                    `json:"metric"`
	Value        *float64                  `json:"value"`
	Currency     string                    `json:"currency"`
	Asof         *string                   `json:"asof"` // the last valuation day
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

func (a *Analyst) compute(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID string `json:"portfolio_id"`
		PackID      string `json:"pack_id"`
		Metric      string `json:"metric"`
	}
	if err := capability.DecodeForPack(req, &args, &args.PackID); err != nil {
		return agent.Result{}, err
	}
	names := portfolio.FigureNames()
	if !slices.Contains(names, args.Metric) {
		return agent.Result{}, fault.InvalidField("/args/metric", "%q is not one of %s", args.Metric, strings.Join(names, ", "))
	}
	macro, err := a.riskFreeRate(nil)
	if err != nil {
		return agent.Result{}, err
	}
	d, err := a.open(ctx, req, args.PortfolioID, macro...)
	if err != nil {
		return agent.Result{}, err
	}
	g := capability.NewGaps()
	f, _ := d.History.Figure(args.Metric, a.relative(d))
	answer := named{Metric: args.Metric, Currency: d.Portfolio.BaseCurrency, Value: g.Field("value").Number(f.Value, f.Err)}
	if f.Asof.IsZero() {
		_, err := d.History.All() // says what there is not
		g.Note(err, "asof")
	} else {
		answer.Asof = date(f.Asof)
	}
	if g.Err() != nil {
		return agent.Result{}, fmt.Errorf("%s of portfolio %s: %w", args.Metric, d.Portfolio.ID, g.Err())
	}
	answer.Insufficient = g.List
	return agent.Result{Value: answer, Sources: d.Sources()}, nil
}

// sharpe is the answer of metrics.compute_sharpe.
type sharpe struct {
	SharpeRatio  *float64                  `json:"sharpe_ratio"`
	ExcessReturn *float64                  `json:"excess_return"` // mean above the rate, a year
	Volatility   *float64                  `json:"volatility"`    // of the returns above the rate, a year
	RiskFree     riskFree                  `json:"risk_free"`
	Window       *capability.Window        `json:"window"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

func (a *Analyst) computeSharpe(ctx context.Context, req agent.Request) (agent.Result, error) {
	s, annual, err := a.decodeRated(ctx, req)
	if err != nil {
		return agent.Result{}, err
	}
	g := s.gaps
	answer := sharpe{Window: s.describe()}
	fields := []string{"sharpe_ratio", "excess_return", "volatility"}
	err = s.err
	var r, rf []float64
	if err == nil {
		rf, answer.RiskFree, err = a.riskFree(s.History, annual, s.window)
	}
	if err != nil {
		g.Note(err, "risk_free")
	} else {
		r, err = s.History.Returns(s.window)
	}
	if err != nil {
		g.Note(err, fields...)
	} else {
		excess := make([]float64, len(r))
		for i := range r {
			excess[i] = r[i] - rf[i]
		}
		answer.SharpeRatio = g.Field("sharpe_ratio").Number(portfolio.Sharpe(r, rf))
		answer.ExcessReturn = g.Field("excess_return").Number(portfolio.MeanPerYear(excess), nil)
		answer.Volatility = g.Field("volatility").Number(portfolio.Volatility(excess))
	}
	return s.answer(&answer.Insufficient, &answer)
}

// history is the answer of metrics.history. Its lists are as long as Days: the window's start and the
// days of its returns.
type history struct {
	Currency  string     `json:"currency"`
	Days      []string   `json:"days"`
	NAV       []float64  `json:"nav"`      // base currency
	Returns   []*float64 `json:"returns"`  // the first day has none
	Index     []float64  `json:"index"`    // compounded returns; 1 on the first day
	Drawdown  []float64  `json:"drawdown"` // below the running maximum since the first day; positive
	Benchmark []float64  `json:"benchmark"`

	BenchmarkSymbol *string                   `json:"benchmark_symbol"`
	Window          *capability.Window        `json:"window"`
	Insufficient    []capability.Insufficient `json:"insufficient_data"`
}

func (a *Analyst) history(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID  string `json:"portfolio_id"`
		PackID       string `json:"pack_id"`
		LookbackDays *int   `json:"lookback_days"`
	}
	if err := capability.DecodeForPack(req, &args, &args.PackID); err != nil {
		return agent.Result{}, err
	}
	s, err := a.openSpan(ctx, req, args.PortfolioID, args.LookbackDays, capability.Wanted{})
	if err != nil {
		return agent.Result{}, err
	}
	h, w, g := s.History, s.window, s.gaps
	answer := history{Currency: s.Portfolio.BaseCurrency, Days: []string{}, Window: s.describe()}
	if symbol := s.Portfolio.Benchmark; symbol != "" {
		answer.BenchmarkSymbol = &symbol
	} else {
		g.Note(capability.NoBenchmark(), "benchmark_symbol")
	}
	if s.err != nil {
		g.Note(s.err, "nav", "returns", "index", "drawdown", "benchmark")
		return s.answer(&answer.Insufficient, &answer)
	}
	for _, d := range h.Days[w.Start : w.End+1] {
		answer.Days = append(answer.Days, d.Format(time.DateOnly))
	}
	if err := h.Missing(w); err != nil {
		g.Note(err, "nav")
	} else {
		answer.NAV = h.NAV[w.Start : w.End+1]
	}
	if r, err := h.Returns(w); err != nil {
		g.Note(err, "returns", "index", "drawdown")
	} else {
		answer.Returns = make([]*float64, 1, len(r)+1)
		for i := range r {
			answer.Returns = append(answer.Returns, &r[i])
		}
		answer.Index = index(r)
		answer.Drawdown = append([]float64{0}, portfolio.Drawdowns(r)...)
	}
	if b, err := s.BenchmarkReturns(w); err != nil {
		g.Note(err, "benchmark")
	} else {
		answer.Benchmark = index(b)
	}
	return s.answer(&answer.Insufficient, &answer)
}

// index compounds returns from 1.
func index(r []float64) []float64 {
	levels := make([]float64, len(r)+1)
	levels[0] = 1
	for i, x := range r {
		levels[i+1] = levels[i] * (1 + x)
	}
	return levels
}

// span is a dossier with the window that an answer is about, and the answer's gaps.
type span struct {
	capability.Dossier

	window   portfolio.Window
	err      error // why there is no window
	gaps     *capability.Gaps
	warnings []string
}

// openSpan reads the run's portfolio with its past, and finds the last days returns.
func (a *Analyst) openSpan(ctx context.Context, req agent.Request, id string, days *int, wanted capability.Wanted) (*span, error) {
	n, err := capability.Lookback(days)
	if err != nil {
		return nil, err
	}
	d, err := capability.Open(ctx, a.ledger, a.market, req, id, wanted)
	if err != nil {
		return nil, err
	}
	s := &span{Dossier: d, gaps: capability.NewGaps()}
	s.window, s.err = d.History.Last(n)
	if s.err == nil {
		s.warnings = capability.Shorter(d.History, s.window, n)
	}
	return s, nil
}

// decodeRated reads the arguments of a capability that measures the last returns against the risk-free
// rate, which the caller may fix, and what it needs.
func (a *Analyst) decodeRated(ctx context.Context, req agent.Request) (s *span, annual *float64, err error) {
	var args struct {
		PortfolioID    string   `json:"portfolio_id"`
		PackID         string   `json:"pack_id"`
		LookbackDays   *int     `json:"lookback_days"`
		RiskFreeAnnual *float64 `json:"risk_free_annual"`
	}
	if err := capability.DecodeForPack(req, &args, &args.PackID); err != nil {
		return nil, nil, err
	}
	macro, err := a.riskFreeRate(args.RiskFreeAnnual)
	if err != nil {
		return nil, nil, err
	}
	s, err = a.openSpan(ctx, req, args.PortfolioID, args.LookbackDays, capability.Wanted{Macro: macro})
	return s, args.RiskFreeAnnual, err
}

// describe returns the window for an answer, or notes why there is none.
func (s *span) describe() *capability.Window {
	if s.err != nil {
		s.gaps.Note(s.err, "window")
		return nil
	}
	return capability.Describe(s.History, s.window)
}

// answer puts the gaps into their place in value and returns it.
func (s *span) answer(insufficient *[]capability.Insufficient, value any) (agent.Result, error) {
	if s.gaps.Err() != nil {
		return agent.Result{}, fmt.Errorf("measuring portfolio %s: %w", s.Portfolio.ID, s.gaps.Err())
	}
	*insufficient = s.gaps.List
	return agent.Result{Value: value, Sources: s.Sources(), Warnings: s.warnings}, nil
}
