package analyst

import (
	"context"
	"fmt"

	"github.com/dawsos/dawsos/internal/agents/capability"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Figures returns the portfolio.Figures of the run's portfolio: what alert rules watch. It reads and
// measures as metrics.compute_twr does, with the series of risk-free returns; four reads.
func (a *Analyst) Figures(ctx context.Context, run agent.Context) (map[string]portfolio.Figure, error) {
	if run.Portfolio == nil {
		return nil, fault.New(fault.Invalid, "figures are of a portfolio, the context names none")
	}
	d, err := a.open(ctx, agent.Request{Context: run}, run.Portfolio.ID, a.Macro()...)
	if err != nil {
		return nil, fmt.Errorf("figures of portfolio %s: %w", run.Portfolio.ID, err)
	}
	return a.FiguresOf(d), nil
}

// FiguresOf returns the portfolio.Figures of a portfolio that has been read already, with the series of
// Macro.
func (a *Analyst) FiguresOf(d capability.Dossier) map[string]portfolio.Figure {
	return d.History.Figures(a.relative(d))
}

// relative is what a portfolio is measured against unless the caller says otherwise.
func (a *Analyst) relative(d capability.Dossier) portfolio.Relative {
	return portfolio.Relative{
		Benchmark: d.BenchmarkReturns,
		RiskFree: func(w portfolio.Window) ([]float64, error) {
			rf, _, err := a.riskFree(d.History, nil, w)
			return rf, err
		},
	}
}

// Macro names the macro series that figures are measured with.
func (a *Analyst) Macro() []string {
	if a.opts.RiskFreeSeries == "" {
		return nil
	}
	return []string{a.opts.RiskFreeSeries}
}
