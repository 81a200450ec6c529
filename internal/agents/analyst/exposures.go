package analyst

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// factorExposures is the answer of risk.compute_factor_exposures.
type factorExposures struct {
	Alpha         *float64 `json:"alpha"` // a day
	AlphaStdError *float64 `json:"alpha_std_error"`
	AlphaTStat    *float64 `json:"alpha_t_stat"`

	Factors []factorExposure `json:"factors"` // as configured

	RSquared           *float64                  `json:"r_squared"`
	AdjRSquared        *float64                  `json:"adj_r_squared"`
	ResidualVolatility *float64                  `json:"residual_volatility"` // a year
	ResidualStdError   *float64                  `json:"residual_std_error"`  // a day, of the regression
	Window             *capability.Window        `json:"window"`
	Insufficient       []capability.Insufficient `json:"insufficient_data"`
}

type factorExposure struct {
	Name          string      `json:"name"`
	Kind          factor.Kind `json:"kind"`
	Symbol        string      `json:"symbol"`
	Beta          *float64    `json:"beta"`
	StdError      *float64    `json:"std_error"`
	TStat         *float64    `json:"t_stat"`
	VarianceShare *float64    `json:"variance_share"`
}

func (a *Analyst) factorExposures(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID  string `json:"portfolio_id"`
		PackID       string `json:"pack_id"`
		LookbackDays *int   `json:"lookback_days"`
	}
	if err := capability.DecodeForPack(req, &args, &args.PackID); err != nil {
		return agent.Result{}, err
	}
	s, err := a.openFactors(ctx, req, args.PortfolioID, args.LookbackDays)
	if err != nil {
		return agent.Result{}, err
	}
	g := s.gaps
	answer := factorExposures{Window: s.describe(), Factors: []factorExposure{}}
	for _, f := range a.opts.Factors.Factors {
		answer.Factors = append(answer.Factors, factorExposure{Name: f.Name, Kind: f.Kind, Symbol: f.Symbol})
	}
	var fit portfolio.Regression
	err = s.err
	if err == nil {
		fit, err = a.regress(s.Dossier, s.window)
	}
	if err != nil {
		g.Note(err, "alpha", "alpha_std_error", "alpha_t_stat", "factors", "r_squared", "adj_r_squared", "residual_volatility", "residual_std_error")
	} else {
		answer.Alpha, answer.AlphaStdError, answer.AlphaTStat = estimate(g, fit.Alpha, "alpha", "alpha_std_error", "alpha_t_stat")
		for i, e := range fit.Exposures {
			f := &answer.Factors[i]
			field := "factors." + e.Name
			f.Beta, f.StdError, f.TStat = estimate(g, e.Estimate, field+".beta", field+".std_error", field+".t_stat")
			f.VarianceShare = g.Field(field+".variance_share").Number(e.VarianceShare, nil)
		}
		answer.RSquared = g.Field("r_squared").Number(fit.RSquared, nil)
		answer.AdjRSquared = g.Field("adj_r_squared").Number(fit.AdjRSquared, nil)
		answer.ResidualVolatility = g.Field("residual_volatility").Number(fit.ResidualVolatility, nil)
		answer.ResidualStdError = g.Field("residual_std_error").Number(fit.StandardError, nil)
	}
	a.absent(g)
	return a.withModel(s.answer(&answer.Insufficient, &answer))
}

// estimate reports a coefficient. An exact fit has no t statistic.
func estimate(g *capability.Gaps, e portfolio.Estimate, value, stdError, t string) (v, se, ratio *float64) {
	v, se = g.Field(value).Number(e.Value, nil), g.Field(stdError).Number(e.StdError, nil)
	var err error
	if math.IsInf(e.T, 0) || math.IsNaN(e.T) {
		err = portfolio.Short("variance", "the fit leaves no residual")
	}
	return v, se, g.Field(t).Number(e.T, err)
}

// absent notes the factors that the data do not have.
func (a *Analyst) absent(g *capability.Gaps) {
	for _, x := range a.opts.Factors.Absent {
		g.Note(portfolio.Shortages{{Missing: x.Missing, Reason: x.Reason}}, "factors."+x.Name)
	}
}

// withModel adds the model of factors to an answer's sources.
func (a *Analyst) withModel(r agent.Result, err error) (agent.Result, error) {
	if err == nil && a.opts.Factors.Source != "" {
		r.Sources = append(r.Sources, agent.Source{Name: a.opts.Factors.Source})
		slices.SortStableFunc(r.Sources, bySource)
	}
	return r, err
}

// openFactors opens a span with the factors' series.
func (a *Analyst) openFactors(ctx context.Context, req agent.Request, id string, days *int) (*span, error) {
	if days == nil && a.opts.Factors.Window > 0 {
		days = &a.opts.Factors.Window
	}
	var wanted capability.Wanted
	for _, f := range a.opts.Factors.Factors {
		switch f.Kind {
		case factor.Security:
			wanted.Symbols = append(wanted.Symbols, f.Symbol)
		case factor.Macro:
			wanted.Macro = append(wanted.Macro, f.Symbol)
		case factor.FX:
			base, quote, _ := portfolio.SplitPair(f.Symbol)
			wanted.Currencies = append(wanted.Currencies, base, quote)
		}
	}
	return a.openSpan(ctx, req, id, days, wanted)
}

// regress fits the portfolio's returns of a window on the model's factors.
func (a *Analyst) regress(d capability.Dossier, w portfolio.Window) (portfolio.Regression, error) {
	if len(a.opts.Factors.Factors) == 0 {
		return portfolio.Regression{}, noModel()
	}
	r, err := d.History.Returns(w)
	if err != nil {
		return portfolio.Regression{}, err
	}
	factors := make([]portfolio.Factor, len(a.opts.Factors.Factors))
	var missing portfolio.Shortages
	for i, f := range a.opts.Factors.Factors {
		var x []float64
		switch f.Kind {
		case factor.FX:
			base, quote, _ := portfolio.SplitPair(f.Symbol)
			x, err = d.History.RateReturns(base, quote, w)
		case factor.Macro:
			x, err = d.History.MacroReturns(f.Symbol, w)
		default:
			x, err = d.History.PriceReturns(f.Symbol, w)
		}
		if err != nil {
			shortages, ok := errors.AsType[portfolio.Shortages](err)
			if !ok {
				return portfolio.Regression{}, err
			}
			missing = append(missing, shortages...)
		}
		factors[i] = portfolio.Factor{Name: f.Name, Returns: x}
	}
	if missing != nil {
		return portfolio.Regression{}, missing
	}
	return portfolio.Regress(r, factors)
}

// exposureHistory is the answer of risk.get_factor_exposure_history.
type exposureHistory struct {
	History       []datedExposures          `json:"history"` // oldest first
	LookbackWeeks int                       `json:"lookback_weeks"`
	WindowReturns int                       `json:"window_returns"` // daily returns of each regression, unless there are fewer
	Insufficient  []capability.Insufficient `json:"insufficient_data"`
}

type datedExposures struct {
	Date     string       `json:"date"` // the last valuation day of the week's window
	Returns  int          `json:"returns"`
	RSquared float64      `json:"r_squared"`
	Factors  []datedBetas `json:"factors"`
}

type datedBetas struct {
	Name     string  `json:"name"`
	Beta     float64 `json:"beta"`
	StdError float64 `json:"std_error"`
}

func (a *Analyst) factorExposureHistory(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID   string `json:"portfolio_id"`
		LookbackWeeks *int   `json:"lookback_weeks"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	weeks, err := capability.Weeks(args.LookbackWeeks)
	if err != nil {
		return agent.Result{}, err
	}
	s, err := a.openFactors(ctx, req, args.PortfolioID, nil)
	if err != nil {
		return agent.Result{}, err
	}
	s.warnings = nil // each entry says how many returns it has
	answer := exposureHistory{History: []datedExposures{}, LookbackWeeks: weeks, WindowReturns: s.window.Len()}
	if a.opts.Factors.Window > 0 {
		answer.WindowReturns = a.opts.Factors.Window
	}
	if s.err != nil {
		s.gaps.Note(s.err, "history")
	} else {
		answer.roll(a, s, weeks)
	}
	a.absent(s.gaps)
	return a.withModel(s.answer(&answer.Insufficient, &answer))
}

// roll regresses as of each of the weeks up to the span's last day. Each regression is made anew: an
// updated one would drift from it, and saves little (BenchmarkRegress).
func (x *exposureHistory) roll(a *Analyst, s *span, weeks int) {
	var gaps weekGaps
	last := -1
	for back := weeks; back >= 0; back-- {
		end, ok := s.History.DayIndex(s.History.Days[s.window.End].AddDate(0, 0, -7*back))
		if ok && end == last {
			continue // no valuation day within the week
		}
		day := s.History.Days[s.window.End].AddDate(0, 0, -7*back)
		if !ok || end == 0 {
			gaps.add(day, portfolio.Short("returns", "there is no daily return yet"))
			continue
		}
		last = end
		w := portfolio.Window{Start: max(0, end-x.WindowReturns), End: end}
		fit, err := a.regress(s.Dossier, w)
		if err != nil {
			gaps.add(s.History.Days[end], err)
			continue
		}
		entry := datedExposures{
			Date: s.History.Days[end].Format(time.DateOnly), Returns: fit.Returns, RSquared: fit.RSquared,
			Factors: make([]datedBetas, len(fit.Exposures)),
		}
		for i, e := range fit.Exposures {
			entry.Factors[i] = datedBetas{Name: e.Name, Beta: e.Value, StdError: e.StdError}
		}
		x.History = append(x.History, entry)
	}
	gaps.note(s.gaps)
}

// weekGaps collects why weeks are missing, once for each missing input.
type weekGaps struct {
	missing []weekGap
	other   error
}

type weekGap struct {
	name, reason string
	weeks        int
	first, last  time.Time
}

func (g *weekGaps) add(day time.Time, err error) {
	shortages, ok := errors.AsType[portfolio.Shortages](err)
	if !ok {
		g.other = err
		return
	}
	for _, s := range shortages {
		i := slices.IndexFunc(g.missing, func(x weekGap) bool { return x.name == s.Missing })
		if i < 0 {
			i = len(g.missing)
			g.missing = append(g.missing, weekGap{name: s.Missing, first: day})
		}
		g.missing[i].weeks++
		g.missing[i].last, g.missing[i].reason = day, s.Reason
	}
}

func (g *weekGaps) note(gaps *capability.Gaps) {
	if g.other != nil {
		gaps.Note(g.other, "history")
	}
	for _, x := range g.missing {
		gaps.Note(portfolio.Short(x.name, "%d weeks, %s to %s: on the last of them, %s",
			x.weeks, x.first.Format(time.DateOnly), x.last.Format(time.DateOnly), x.reason), "history")
	}
}

func noModel() error { return portfolio.Short("config:"+factor.File, "no factors are configured") }
