package analyst

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// cycleRiskMap is the answer of risk.overlay_cycle_phases.
type cycleRiskMap struct {
	ShortTerm    *cycleRisk                `json:"short_term"`
	LongTerm     *cycleRisk                `json:"long_term"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

// cycleRisk is how the factors varied in the phase that a cycle is in.
type cycleRisk struct {
	Phase   string        `json:"phase"`
	Label   *string       `json:"label"`
	Start   string        `json:"start"` // the first dated phase: the sample begins there
	End     string        `json:"end"`
	Factors []phaseFactor `json:"factors"` // most amplified first
}

type phaseFactor struct {
	Rank              *int     `json:"rank"`
	Name              string   `json:"name"`
	Beta              *float64 `json:"beta"`
	Amplification     *float64 `json:"amplification"` // volatility in the phase / of the sample
	VolatilityInPhase *float64 `json:"volatility_in_phase"`
	Volatility        *float64 `json:"volatility"`
	// RiskInPhase is |beta| x volatility in the phase: what the factor alone does to the portfolio, a year.
	RiskInPhase  *float64 `json:"risk_in_phase"`
	PhaseReturns int      `json:"phase_returns"` // daily ones
	Returns      int      `json:"returns"`
}

// exposure is what is read of a factor in factor_exposures.
type exposure struct {
	Name string   `json:"name"`
	Beta *float64 `json:"beta"`
}

func (a *Analyst) overlayCyclePhases(ctx context.Context, req agent.Request) (agent.Result, error) {
	// What is not read of the other capabilities' answers may be anything.
	var args struct {
		FactorExposures json.RawMessage `json:"factor_exposures"`
		STDC            json.RawMessage `json:"stdc"`
		LTDC            json.RawMessage `json:"ltdc"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	var exposures struct {
		Factors []exposure `json:"factors"`
	}
	if args.FactorExposures != nil {
		if err := json.Unmarshal(args.FactorExposures, &exposures); err != nil {
			return agent.Result{}, fault.InvalidField("/args/factor_exposures", "it is not what risk.compute_factor_exposures answers: %v", err)
		}
	}
	short, err := capability.ReadCycle("stdc", args.STDC)
	if err != nil {
		return agent.Result{}, err
	}
	long, err := capability.ReadCycle("ltdc", args.LTDC)
	if err != nil {
		return agent.Result{}, err
	}
	g := capability.NewGaps()
	answer := cycleRiskMap{}
	var returns map[string]portfolio.Series
	var sources []agent.Source
	if from, ok := earliest(short, long); ok && len(exposures.Factors) > 0 {
		returns, sources, err = a.factorReturns(ctx, req, from)
		if err != nil {
			return agent.Result{}, err
		}
	}
	answer.ShortTerm = a.overlay(g, "short_term", "cycle:short_term", short, exposures.Factors, returns)
	answer.LongTerm = a.overlay(g, "long_term", "cycle:long_term", long, exposures.Factors, returns)
	a.absent(g)
	if g.Err() != nil {
		return agent.Result{}, g.Err()
	}
	answer.Insufficient = g.List
	return a.withModel(agent.Result{Value: &answer, Sources: sources}, nil)
}

func earliest(cycles ...*capability.Cycle) (from time.Time, ok bool) {
	for _, c := range cycles {
		if c == nil || c.Phase == nil {
			continue
		}
		if since, dated := c.Since(); dated && (!ok || since.Before(from)) {
			from, ok = since, true
		}
	}
	return from, ok
}

// factorReturns reads the model's factors and returns their changes from one of their own observations to
// the next, by name. Those of a security are over the splits that the run's portfolio books, as in the betas.
func (a *Analyst) factorReturns(ctx context.Context, req agent.Request, from time.Time) (map[string]portfolio.Series, []agent.Source, error) {
	q := portfolio.SeriesQuery{From: from.AddDate(0, 0, -1)} // what the first day's change starts from
	for _, f := range a.opts.Factors.Factors {
		switch f.Kind {
		case factor.Security:
			q.Symbols = append(q.Symbols, f.Symbol)
		case factor.Macro:
			q.Macro = append(q.Macro, f.Symbol)
		case factor.FX:
			base, quote, _ := portfolio.SplitPair(f.Symbol)
			q.Currencies = append(q.Currencies, base, quote)
		}
	}
	set, err := a.market.Series(ctx, capability.Cut(req.Context), q)
	if err != nil {
		return nil, nil, err
	}
	returns := map[string]portfolio.Series{}
	var sources []agent.Source
	var ledger []portfolio.Transaction
	if p := req.Context.Portfolio; p != nil && len(q.Symbols) > 0 {
		if ledger, err = a.bookings(ctx, req.Context); err != nil {
			return nil, nil, err
		}
		sources = append(sources, capability.LedgerSource(p.ID))
	}
	used := func(name string, s portfolio.Series) {
		if n := len(s); n > 0 {
			sources = append(sources, agent.Source{Name: name, Asof: s[n-1].Date})
		}
	}
	for _, f := range a.opts.Factors.Factors {
		switch f.Kind {
		case factor.FX:
			base, quote, _ := portfolio.SplitPair(f.Symbol)
			rates, pairs := set.Rates(base, quote)
			returns[f.Name] = rates.Returns()
			for _, pair := range pairs {
				used("fx:"+pair, set.FX[pair])
			}
		case factor.Macro:
			returns[f.Name] = set.Macro[f.Symbol] // it holds returns
			used("macro:"+f.Symbol, set.Macro[f.Symbol])
		default:
			returns[f.Name] = set.Prices[f.Symbol].ReturnsOverSplits(f.Symbol, ledger)
			used("prices:"+f.Symbol, set.Prices[f.Symbol])
		}
	}
	slices.SortFunc(sources, bySource)
	return returns, slices.Compact(sources), nil
}

// bookings reads the ledger of the run's portfolio, without what was reversed.
func (a *Analyst) bookings(ctx context.Context, run agent.Context) ([]portfolio.Transaction, error) {
	ledger, err := a.ledger.Transactions(ctx, run.TenantID, run.Portfolio.ID, run.Portfolio.LedgerSeq, run.Asof)
	if err != nil {
		return nil, err
	}
	if ledger, err = portfolio.Effective(ledger); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", run.Portfolio.ID)
	}
	return ledger, nil
}

// overlay measures the factors within the phase that c is in, against all days since its first dated
// phase.
func (a *Analyst) overlay(g *capability.Gaps, field, missing string, c *capability.Cycle, exposures []exposure, returns map[string]portfolio.Series) *cycleRisk {
	switch {
	case c == nil || c.Phase == nil:
		g.Note(portfolio.Short(missing, "its phase is not known"), field)
		return nil
	case len(c.History) == 0:
		g.Note(portfolio.Short(missing, "its past phases are not known"), field)
		return nil
	case len(a.opts.Factors.Factors) == 0:
		g.Note(noModel(), field)
		return nil
	case len(exposures) == 0:
		g.Note(portfolio.Short("factor_exposures", "there are none"), field)
		return nil
	}
	risk := &cycleRisk{
		Phase: *c.Phase, Label: c.Label, Factors: []phaseFactor{},
		Start: c.History[0].Date, End: c.History[len(c.History)-1].Date,
	}
	if c.Label == nil {
		g.Note(portfolio.Short(missing, "the phase was given without a label"), field+".label")
	}
	for _, e := range exposures {
		where := field + ".factors." + e.Name
		var all, within []float64
		for _, p := range returns[e.Name] {
			phase, ok := c.At(p.Date)
			if !ok {
				continue
			}
			all = append(all, p.Value)
			if phase == *c.Phase {
				within = append(within, p.Value)
			}
		}
		f := phaseFactor{Name: e.Name, Beta: e.Beta, PhaseReturns: len(within), Returns: len(all)}
		if e.Beta == nil {
			g.Note(portfolio.Short("factor_exposures", "the beta to %s is not known", e.Name), where+".beta")
		}
		f.measure(g, where, all, within, a.opts.Factors.PhaseReturns)
		risk.Factors = append(risk.Factors, f)
	}
	slices.SortStableFunc(risk.Factors, func(a, b phaseFactor) int {
		return cmp.Or(-cmp.Compare(orLowest(a.Amplification), orLowest(b.Amplification)), cmp.Compare(a.Name, b.Name))
	})
	for i := range risk.Factors {
		if risk.Factors[i].Amplification == nil {
			g.Note(portfolio.Short("amplification", "what can't be measured is not ranked"),
				field+".factors."+risk.Factors[i].Name+".rank")
			continue
		}
		rank := i + 1
		risk.Factors[i].Rank = &rank
	}
	return risk
}

// measure fills in a factor's volatilities.
func (f *phaseFactor) measure(g *capability.Gaps, where string, all, within []float64, least int) {
	var err error
	switch {
	case len(all) < least:
		err = portfolio.Short("factor:"+f.Name, "%d daily returns are needed, there are %d since the first dated phase", least, len(all))
	case len(within) < least:
		err = portfolio.Short("factor:"+f.Name, "%d daily returns in the phase are needed, there are %d", least, len(within))
	}
	volatility := func(r []float64) (float64, error) {
		if err != nil {
			return 0, err
		}
		return portfolio.Volatility(r)
	}
	f.Volatility = g.Field(where + ".volatility").Number(volatility(all))
	f.VolatilityInPhase = g.Field(where + ".volatility_in_phase").Number(volatility(within))
	if err == nil && *f.Volatility == 0 {
		err = portfolio.Short("variance", "the returns of %s do not vary", f.Name)
	}
	if err != nil {
		g.Note(err, where+".amplification", where+".risk_in_phase")
		return
	}
	f.Amplification = g.Field(where+".amplification").Number(*f.VolatilityInPhase / *f.Volatility, nil)
	if f.Beta == nil {
		g.Note(portfolio.Short("factor_exposures", "the beta to %s is not known", f.Name), where+".risk_in_phase")
		return
	}
	f.RiskInPhase = g.Field(where+".risk_in_phase").Number(math.Abs(*f.Beta)**f.VolatilityInPhase, nil)
}

func orLowest(f *float64) float64 {
	if f == nil {
		return math.Inf(-1)
	}
	return *f
}
