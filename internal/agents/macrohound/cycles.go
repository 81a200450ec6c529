package macrohound

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// cycle is the answer about one cycle.
type cycle struct {
	Phase      *string `json:"phase"`
	PhaseLabel *string `json:"phase_label"` // the label, by the name that scenarios know it by
	told

	Inputs       []input                   `json:"inputs"`
	History      []datedPhase              `json:"history,omitzero"` // of the short-term cycle, else nil
	Asof         string                    `json:"asof"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

// datedPhase is the phase at the end of a month, with what was known then.
type datedPhase struct {
	Date  string  `json:"date"`
	Phase *string `json:"phase"`
}

// phaseFields are null without a phase.
var phaseFields = []string{"phase", "phase_label", "label", "confidence", "probabilities"}

func (h *Hound) describe(m macro.Model, r macro.Reading, gaps *capability.Gaps) (cycle, []string) {
	answer := cycle{told: tell(m, r), Asof: text(r.Asof)}
	answer.Phase, answer.PhaseLabel = answer.Name, answer.Label
	untold(r, gaps, phaseFields...)
	inputs, warnings := measured(m, r, gaps)
	answer.Inputs = inputs
	return answer, warnings
}

func (h *Hound) shortTerm(ctx context.Context, req agent.Request) (agent.Result, error) {
	asof, err := readAsof(req)
	if err != nil {
		return agent.Result{}, err
	}
	model, first := h.config.ShortTerm, asof.AddDate(-h.config.HistoryYears, 0, 0)
	d, err := h.detector(ctx, req.Context, model, first)
	if err != nil {
		return agent.Result{}, err
	}
	r, gaps := d.At(asof), capability.NewGaps()
	answer, warnings := h.describe(model, r, gaps)
	u := configured(h.config.CyclesSource, h.config.MacroSource)
	u.readings(r)
	answer.History = []datedPhase{}
	var without portfolio.Shortages
	months := 0
	for _, end := range macro.MonthEnds(first, asof) {
		past := d.At(end)
		phase := tell(model, past).Name
		if phase == nil && len(answer.History) == 0 {
			continue // before the data begins
		}
		if phase == nil {
			without, _ = past.Err.(portfolio.Shortages) //nolint:errorlint // readings hold it bare
			months++
		}
		answer.History = append(answer.History, datedPhase{Date: text(end), Phase: phase})
		u.readings(past)
	}
	switch {
	case len(answer.History) == 0:
		gaps.Note(portfolio.Short("macro", "no month in the %d years up to %s has a phase", h.config.HistoryYears, text(asof)), "history")
	case months > 0:
		gaps.Note(portfolio.Short("macro", "%d of %d months have no phase; the last: %v", months, len(answer.History), without), "history")
	}
	if gaps.Err() != nil {
		return agent.Result{}, gaps.Err()
	}
	answer.Insufficient = gaps.List
	return agent.Result{Value: answer, Sources: u.sources(), Warnings: warnings}, nil
}

func (h *Hound) longTerm(ctx context.Context, req agent.Request) (agent.Result, error) {
	asof, err := readAsof(req)
	if err != nil {
		return agent.Result{}, err
	}
	d, err := h.detector(ctx, req.Context, h.config.LongTerm, asof)
	if err != nil {
		return agent.Result{}, err
	}
	r, gaps := d.At(asof), capability.NewGaps()
	answer, warnings := h.describe(h.config.LongTerm, r, gaps)
	if gaps.Err() != nil {
		return agent.Result{}, gaps.Err()
	}
	answer.Insufficient = gaps.List
	u := configured(h.config.CyclesSource, h.config.MacroSource)
	u.readings(r)
	return agent.Result{Value: answer, Sources: u.sources(), Warnings: warnings}, nil
}

func (h *Hound) empire(_ context.Context, req agent.Request) (agent.Result, error) {
	asof, err := readAsof(req)
	if err != nil {
		return agent.Result{}, err
	}
	var lacking portfolio.Shortages
	for _, e := range h.config.Empire {
		lacking = append(lacking, portfolio.Shortage{Missing: e.Missing, Reason: e.Reason})
	}
	gaps := capability.NewGaps()
	gaps.Note(lacking, "phase")
	return agent.Result{
		Value:   cycle{Inputs: []input{}, Asof: text(asof), Insufficient: gaps.List},
		Sources: configured(h.config.CyclesSource).sources(),
	}, nil
}

// phaseOf is one line of cycles.aggregate_overview.
type phaseOf struct {
	Cycle      string   `json:"cycle"`
	Phase      *string  `json:"phase"`
	Label      *string  `json:"label"`
	Confidence *float64 `json:"confidence"`
	Asof       *string  `json:"asof"`
}

type overview struct {
	Cycles       []phaseOf                 `json:"cycles"`
	Told         int                       `json:"told"` // cycles with a phase
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

func (h *Hound) overview(_ context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		ShortTerm json.RawMessage `json:"stdc"`
		LongTerm  json.RawMessage `json:"ltdc"`
		Empire    json.RawMessage `json:"empire"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	answer := overview{Insufficient: []capability.Insufficient{}}
	for _, c := range []struct {
		argument, name string
		raw            json.RawMessage
	}{{"stdc", "short_term", args.ShortTerm}, {"ltdc", "long_term", args.LongTerm}, {"empire", "empire", args.Empire}} {
		line := phaseOf{Cycle: c.name}
		if capability.Absent(c.raw) {
			answer.Insufficient = append(answer.Insufficient, capability.Insufficient{
				Field: c.name, Missing: c.argument, Reason: "no such cycle was given",
			})
			answer.Cycles = append(answer.Cycles, line)
			continue
		}
		var given struct {
			Phase        *string                   `json:"phase"`
			Label        *string                   `json:"label"`
			Confidence   *float64                  `json:"confidence"`
			Asof         *string                   `json:"asof"`
			Insufficient []capability.Insufficient `json:"insufficient_data"`
		}
		if err := json.Unmarshal(c.raw, &given); err != nil {
			return agent.Result{}, fault.InvalidField("/args/"+c.argument, "it is no answer about a cycle")
		}
		if len(given.Insufficient) > maxEntries {
			return agent.Result{}, fault.InvalidField("/args/"+c.argument+"/insufficient_data", "it has %d entries, more than %d", len(given.Insufficient), maxEntries)
		}
		line.Phase, line.Label, line.Confidence, line.Asof = given.Phase, given.Label, given.Confidence, given.Asof
		if line.Phase != nil {
			answer.Told++
		}
		answer.Cycles = append(answer.Cycles, line)
		for _, i := range given.Insufficient {
			i.Field = c.name + "." + i.Field
			answer.Insufficient = append(answer.Insufficient, i)
		}
	}
	return agent.Result{Value: answer}, nil
}

// maxEntries bounds lists in arguments.
const maxEntries = 1000

func sortedKeys(p macro.Panel) []string { return slices.Sorted(maps.Keys(p)) }
