package macrohound

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// shifts is the answer of macro.detect_trend_shifts.
type shifts struct {
	RegimeShifts  []regimeShift             `json:"regime_shifts"`  // changes that are sure enough
	RegimeChanges []regimeShift             `json:"regime_changes"` // all changes
	FactorShifts  []factorShift             `json:"factor_shifts"`
	MinConfidence float64                   `json:"min_confidence"`
	MinStdErrors  float64                   `json:"min_std_errors"`
	Insufficient  []capability.Insufficient `json:"insufficient_data"`
}

type regimeShift struct {
	Date       string  `json:"date"`
	From       string  `json:"from"`
	To         string  `json:"to"`
	Confidence float64 `json:"confidence"`
}

type factorShift struct {
	Factor    string  `json:"factor"`
	From      string  `json:"from"`
	To        string  `json:"to"`
	Beta      float64 `json:"beta"` // on the last day
	Change    float64 `json:"change"`
	StdErrors float64 `json:"std_errors"` // the change in standard errors
}

func (h *Hound) trendShifts(_ context.Context, req agent.Request) (agent.Result, error) {
	limits := h.config.Settings.TrendShifts
	var args struct {
		Regimes       json.RawMessage `json:"regime_history"`
		Factors       json.RawMessage `json:"factor_history"`
		MinConfidence *float64        `json:"min_confidence"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	if c := args.MinConfidence; c != nil {
		limits.MinConfidence = *c
	}
	if c := limits.MinConfidence; !(c > 0 && c <= 1) {
		return agent.Result{}, fault.InvalidField("/args/min_confidence", "%v is no probability above 0", c)
	}
	answer := shifts{
		RegimeShifts: []regimeShift{}, RegimeChanges: []regimeShift{}, FactorShifts: []factorShift{},
		MinConfidence: limits.MinConfidence, MinStdErrors: limits.MinStdErrors,
	}
	gaps := capability.NewGaps()
	regimes, err := readRegimes(args.Regimes)
	if err != nil {
		return agent.Result{}, err
	}
	if n := len(slices.DeleteFunc(slices.Clone(regimes), func(j macro.Judged) bool { return j.State == "" })); n < 2 {
		gaps.Note(shortage("regime_history", "it holds %d regimes, a change needs two", n), "regime_shifts", "regime_changes")
	}
	for _, s := range macro.RegimeShifts(regimes) {
		shift := regimeShift{Date: text(s.Date), From: s.From, To: s.To, Confidence: s.Confidence}
		answer.RegimeChanges = append(answer.RegimeChanges, shift)
		if s.Confidence >= limits.MinConfidence {
			answer.RegimeShifts = append(answer.RegimeShifts, shift)
		}
	}
	factors, err := readFactors(args.Factors)
	if err != nil {
		return agent.Result{}, err
	}
	moved, lacking := macro.FactorShifts(factors, limits.MinStdErrors)
	for _, s := range moved {
		answer.FactorShifts = append(answer.FactorShifts, factorShift{
			Factor: s.Factor, From: text(s.From), To: text(s.To), Beta: s.Beta, Change: s.Change, StdErrors: s.StdErrors,
		})
	}
	if len(lacking) > 0 {
		gaps.Note(lacking, "factor_shifts")
	}
	if gaps.Err() != nil {
		return agent.Result{}, gaps.Err()
	}
	answer.Insufficient = gaps.List
	return agent.Result{Value: answer, Sources: configured(h.config.MacroSource).sources()}, nil
}

// readRegimes reads what is needed of an answer of macro.get_regime_history, in order of date.
func readRegimes(raw json.RawMessage) ([]macro.Judged, error) {
	if absent(raw) {
		return nil, nil
	}
	var given struct {
		History []struct {
			Date       string   `json:"date"`
			Regime     *string  `json:"regime"`
			Confidence *float64 `json:"confidence"`
		} `json:"history"`
	}
	const at = "/args/regime_history"
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, fault.InvalidField(at, "it is no answer of macro.get_regime_history")
	}
	if len(given.History) > maxEntries {
		return nil, fault.InvalidField(at+"/history", "it has %d entries, more than %d", len(given.History), maxEntries)
	}
	var history []macro.Judged
	for i, g := range given.History {
		d, err := date(fmt.Sprintf("%s/history/%d/date", at, i), g.Date)
		if err != nil {
			return nil, err
		}
		j := macro.Judged{Date: d}
		if g.Regime != nil && g.Confidence != nil {
			j.State, j.Confidence = *g.Regime, *g.Confidence
		}
		history = append(history, j)
	}
	if !slices.IsSortedFunc(history, func(a, b macro.Judged) int { return a.Date.Compare(b.Date) }) {
		return nil, fault.InvalidField(at+"/history", "it is not in order of date")
	}
	return history, nil
}

// readFactors reads what is needed of an answer of risk.get_factor_exposure_history. Estimates without a
// beta are left out.
func readFactors(raw json.RawMessage) ([]macro.Exposures, error) {
	if absent(raw) {
		return nil, nil
	}
	var given struct {
		History []struct {
			Date    string `json:"date"`
			Factors []struct {
				Name     string   `json:"name"`
				Beta     *float64 `json:"beta"`
				StdError *float64 `json:"std_error"`
			} `json:"factors"`
		} `json:"history"`
	}
	const at = "/args/factor_history"
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, fault.InvalidField(at, "it is no answer of risk.get_factor_exposure_history")
	}
	if len(given.History) > maxEntries {
		return nil, fault.InvalidField(at+"/history", "it has %d entries, more than %d", len(given.History), maxEntries)
	}
	var history []macro.Exposures
	for i, g := range given.History {
		d, err := date(fmt.Sprintf("%s/history/%d/date", at, i), g.Date)
		if err != nil {
			return nil, err
		}
		if len(g.Factors) > maxEntries {
			return nil, fault.InvalidField(fmt.Sprintf("%s/history/%d/factors", at, i), "it has more than %d entries", maxEntries)
		}
		e := macro.Exposures{Date: d}
		for _, f := range g.Factors {
			if f.Beta != nil && f.StdError != nil {
				e.Factors = append(e.Factors, macro.Exposure{Factor: f.Name, Beta: *f.Beta, StdError: *f.StdError})
			}
		}
		if len(e.Factors) > 0 {
			history = append(history, e)
		}
	}
	if !slices.IsSortedFunc(history, func(a, b macro.Exposures) int { return a.Date.Compare(b.Date) }) {
		return nil, fault.InvalidField(at+"/history", "it is not in order of date")
	}
	return history, nil
}

func date(pointer, value string) (time.Time, error) {
	d, err := time.Parse(time.DateOnly, value)
	if err != nil {
		return time.Time{}, fault.InvalidField(pointer, "%q is not a date such as 2007-05-08", value)
	}
	return d, nil
}

// ShiftConfidence is what a rule over the regime watches: the probability of the regime as of a run if it
// is another than defaultWeeks weeks before, 0 if it is the same. It makes the reads of
// macro.get_regime_history. Without a regime on either day it is [portfolio.Shortages].
func (h *Hound) ShiftConfidence(ctx context.Context, run agent.Context) (portfolio.Figure, error) {
	before := run.Asof.AddDate(0, 0, -7*defaultWeeks)
	d, err := h.detector(ctx, run, h.config.Regimes, before)
	if err != nil {
		return portfolio.Figure{}, err
	}
	then, now := d.At(before), d.At(run.Asof)
	for _, r := range []macro.Reading{then, now} {
		if r.State == nil {
			return portfolio.Figure{Err: r.Err}, nil
		}
	}
	f := portfolio.Figure{Asof: run.Asof}
	if now.State.Name != then.State.Name {
		f.Value = now.Confidence()
	}
	return f, nil
}
