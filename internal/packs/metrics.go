package packs

import (
	"context"
	"fmt"
	"slices"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// Measurer computes the figures of a portfolio from what was read.
type Measurer interface {
	FiguresOf(d capability.Dossier) map[string]portfolio.Figure
	// Macro names the macro series that it measures with.
	Macro() []string
}

// Measured is the figures of one portfolio over a pack.
type Measured struct {
	PortfolioID   string
	LedgerVersion string
	Figures       map[string]portfolio.Figure
}

// MetricStore keeps figures.
type MetricStore interface {
	// KnownMetrics returns the ledger versions whose figures over a pack are stored, by portfolio id.
	KnownMetrics(ctx context.Context, pack Pack, list []portfolio.Portfolio) (map[string]string, error)
	// StoreMetrics keeps figures over a pack, in one transaction, in place of any over the same pack.
	StoreMetrics(ctx context.Context, pack Pack, list []Measured) error
}

// MetricsReport is what ComputeMetrics came to.
type MetricsReport struct {
	Portfolios int `json:"portfolios"`
	Computed   int `json:"computed"`
	Unchanged  int `json:"unchanged"`        // had figures of this pack and their ledger's version
	Failed     int `json:"failed,omitempty"` // whose ledgers can't be booked
	// Examples says what is wrong with the first of those.
	Examples []string `json:"examples,omitempty"`
}

// ComputeMetrics computes and stores the figures of every portfolio of the pack's tenant that are not
// stored already. A portfolio whose ledger can't be booked is counted and left out.
func ComputeMetrics(ctx context.Context, source Source, store MetricStore, m Measurer, pack Pack) (MetricsReport, error) {
	var report MetricsReport
	l, err := open(ctx, source, pack.Cut(), m.Macro())
	if err != nil {
		return report, err
	}
	unknown := func(ctx context.Context, list []portfolio.Portfolio) ([]portfolio.Portfolio, error) {
		report.Portfolios += len(list)
		known, err := store.KnownMetrics(ctx, pack, list)
		if err != nil {
			return nil, err
		}
		todo := slices.DeleteFunc(slices.Clone(list), func(p portfolio.Portfolio) bool { return known[p.ID] == p.LedgerVersion })
		report.Unchanged += len(list) - len(todo)
		return todo, nil
	}
	err = l.batches(ctx, unknown, func(list []portfolio.Portfolio, ledgers map[string][]portfolio.Transaction) error {
		measured := make([]Measured, 0, len(list))
		for _, p := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			d, err := l.dossier(p, ledgers[p.ID])
			if err != nil {
				report.Failed++
				if len(report.Examples) < maxExamples {
					report.Examples = append(report.Examples, err.Error())
				}
				continue
			}
			measured = append(measured, Measured{PortfolioID: p.ID, LedgerVersion: p.LedgerVersion, Figures: m.FiguresOf(d)})
		}
		report.Computed += len(measured)
		return store.StoreMetrics(ctx, pack, measured)
	})
	if err != nil {
		return report, fmt.Errorf("metrics over the pack of %s: %w", pack.Date.Format("2006-01-02"), err)
	}
	return report, nil
}

// maxExamples bounds what a report names.
const maxExamples = 5

// dossier is what capability.Open would read for a run about the portfolio at the cut.
func (l *library) dossier(p portfolio.Portfolio, ledger []portfolio.Transaction) (capability.Dossier, error) {
	until := ledger[:until(ledger, l.cut.Date)]
	h, err := l.history(p, p.Calendar, until)
	if err != nil {
		return capability.Dossier{}, err
	}
	return capability.Dossier{
		Portfolio: p, Securities: l.securitiesOf(p, until), History: h, Series: l.series, Ledger: until,
	}, nil
}
