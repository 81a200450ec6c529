package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Runs keeps what was run.
type Runs interface {
	Run(ctx context.Context, tenantID, id string) (patterns.Run, error)
	Runs(ctx context.Context, tenantID string, f runs.Filter, behind runs.Cursor, limit int) ([]patterns.Run, *runs.Cursor, error)
	// RunSteps counts the steps of runs by their ids; runs without any are left out.
	RunSteps(ctx context.Context, tenantID string, ids []string) (map[string]runs.Steps, error)
}

// Replayer runs again what was recorded.
type Replayer interface {
	Replay(ctx context.Context, tenantID, requestID, id string) (runs.Replay, error)
}

const runsPath = "/console/runs"

func (c *Console) runRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: runsPath, Handler: c.runList},
		{Method: http.MethodGet, Path: runsPath + "/compare", Handler: c.compareRuns},
		{Method: http.MethodGet, Path: runsPath + "/{id}", Handler: c.recordedRun},
		{Method: http.MethodPost, Path: runsPath + "/{id}/replay", Handler: c.replayRun},
	}
}

// runRow is a run in the list.
type runRow struct {
	patterns.Run
	Outcome   runs.Outcome
	Portfolio string     // its name, "" when the run is about none
	Steps     runs.Steps // all zero when it has none
}

func (c *Console) runList(w http.ResponseWriter, r *http.Request) error {
	filter, form, err := c.runFilter(r)
	if err != nil {
		return err
	}
	data := map[string]any{"Form": form, "Filtered": form.filtered(), "Live": !r.URL.Query().Has("cursor")}
	if form.wrong() {
		return c.render(w, r, http.StatusUnprocessableEntity, "runs", runsPath, "Runs", data)
	}
	var behind runs.Cursor
	if err := cursor(r, &behind); err != nil {
		return err
	}
	list, next, err := c.Runs.Runs(r.Context(), auth.Tenant(r.Context()), filter, behind, pageSize)
	if err != nil {
		return err
	}
	ids := make([]string, len(list))
	for i, run := range list {
		ids[i] = run.ID
	}
	steps, err := c.Runs.RunSteps(r.Context(), auth.Tenant(r.Context()), ids)
	if err != nil {
		return err
	}
	rows := make([]runRow, len(list))
	for i, run := range list {
		rows[i] = runRow{Run: run, Outcome: runs.OutcomeOf(run), Portfolio: form.portfolioName(run), Steps: steps[run.ID]}
	}
	var place any
	if next != nil {
		place = next
	}
	data["Rows"] = rows
	if data["Pager"], err = newPager(r, place); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "runs", runsPath, "Runs", data)
}

// runForm is the filter of the list as it was given, and what can be chosen.
type runForm struct {
	Pattern, Portfolio, Outcome, Since, Until control
	Patterns, Portfolios                      []option
	names                                     map[string]string // of portfolios
}

func (f runForm) controls() []control {
	return []control{f.Pattern, f.Portfolio, f.Outcome, f.Since, f.Until}
}

func (f runForm) filtered() bool {
	return slices.ContainsFunc(f.controls(), func(k control) bool { return k.Value != "" })
}

func (f runForm) wrong() bool {
	return slices.ContainsFunc(f.controls(), func(k control) bool { return k.Problem != "" })
}

func (f runForm) portfolioName(run patterns.Run) string {
	if run.Context.Portfolio == nil {
		return ""
	}
	return cmp.Or(f.names[run.Context.Portfolio.ID], short(run.Context.Portfolio.ID))
}

// runFilter reads the filter out of the address.
func (c *Console) runFilter(r *http.Request) (runs.Filter, runForm, error) {
	q := r.URL.Query()
	field := func(name, label string) control {
		return control{Name: name, Kind: "text", Label: label, Value: strings.TrimSpace(q.Get(name))}
	}
	form := runForm{
		Pattern: field("pattern_id", "Pattern"), Portfolio: field("portfolio_id", "Portfolio"), Outcome: field("outcome", "Outcome"),
		Since: field("since", "Started from, UTC"), Until: field("until", "Started before, UTC"), names: map[string]string{},
	}
	filter := runs.Filter{PatternID: form.Pattern.Value}

	form.Pattern.Kind, form.Pattern.Options = "select", []option{{"", "all"}}
	known := form.Pattern.Value == ""
	for _, d := range c.Catalog.Definitions() {
		form.Pattern.Options = append(form.Pattern.Options, option{d.ID, d.Name})
		known = known || d.ID == form.Pattern.Value
	}
	if !known { // runs outlast their definitions
		form.Pattern.Options = append(form.Pattern.Options, option{form.Pattern.Value, form.Pattern.Value})
	}

	form.Outcome.Kind = "select"
	form.Outcome.Options = []option{{"", "all"}, {string(runs.Success), "success"}, {string(runs.Error), "error"}}
	switch o := runs.Outcome(form.Outcome.Value); o {
	case "", runs.Success, runs.Error:
		filter.Outcome = o
	default:
		form.Outcome.Problem = "Must be success or error."
	}

	list, more, err := c.Portfolios.Portfolios(r.Context(), auth.Tenant(r.Context()), portfolio.Cursor{}, mostOptions)
	if err != nil {
		return runs.Filter{}, runForm{}, err
	}
	for _, p := range list {
		form.names[p.ID] = p.Name
	}
	if v := form.Portfolio.Value; v != "" {
		if id, err := uuid.Parse(v); err != nil {
			form.Portfolio.Problem = "Must be the id of a portfolio, a UUID."
		} else {
			filter.PortfolioID = id.String()
		}
	}
	if more == nil && form.Portfolio.Problem == "" { // with more the id is typed
		form.Portfolio.Kind, form.Portfolio.Options = "select", []option{{"", "all"}}
		for _, p := range list {
			form.Portfolio.Options = append(form.Portfolio.Options, option{p.ID, p.Name + " (" + p.BaseCurrency + ")"})
		}
		if id := filter.PortfolioID; id != "" && form.names[id] == "" {
			form.Portfolio.Options = append(form.Portfolio.Options, option{id, id})
		}
		form.Portfolio.Value = filter.PortfolioID
	}

	filter.Since, form.Since = readMinute(form.Since)
	filter.Until, form.Until = readMinute(form.Until)
	return filter, form, nil
}

// minute writes a moment for a filter's address.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999") }

func readMinute(field control) (time.Time, control) {
	field.Kind = "datetime-local"
	if field.Value == "" {
		return time.Time{}, field
	}
	if t, ok := timeOfField(field.Value); ok {
		field.Value = t.Format(localTime) // what browsers show; of seconds only when there are any
		if t.Second() != 0 || t.Nanosecond() != 0 {
			field.Value = t.Format("2006-01-02T15:04:05.999")
		}
		return t, field
	}
	field.Kind, field.Problem = "text", "Must be a time such as 2026-11-30T05:45."
	return time.Time{}, field
}

// inputRow is an input of a run: texts as they are, else JSON.
type inputRow struct{ Name, Value string }

// notGiven is how an input shows that was left out, by the caller and by the pattern's defaults.
const notGiven = "not given"

func inputRows(inputs map[string]any) []inputRow {
	rows := make([]inputRow, 0, len(inputs))
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		row := inputRow{name, notGiven}
		switch v := inputs[name].(type) {
		case nil:
		case string:
			row.Value = v
		default:
			row.Value = text(v)
		}
		rows = append(rows, row)
	}
	return rows
}

// earlierRuns is how many runs before it a run's page offers for comparison.
const earlierRuns = 20

func (c *Console) recordedRun(w http.ResponseWriter, r *http.Request) error {
	run, err := c.Runs.Run(r.Context(), auth.Tenant(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	earlier, _, err := c.Runs.Runs(r.Context(), auth.Tenant(r.Context()), runs.Filter{PatternID: run.PatternID},
		runs.Cursor{StartedAt: run.StartedAt, ID: run.ID}, earlierRuns)
	if err != nil {
		return err
	}
	now, err := c.again(r.Context(), run)
	if err != nil {
		return err
	}
	var options []option
	for _, e := range earlier {
		options = append(options, option{e.ID, runLine(e)})
	}
	title := c.patternName(run.PatternID)
	return c.render(w, r, http.StatusOK, "recorded_run", runsPath, title+", recorded run", map[string]any{
		"Run": run, "Title": title, "Outcome": runs.OutcomeOf(run), "Inputs": inputRows(run.Inputs), "TraceID": traceOfRun(run),
		"Earlier": control{Name: "a", Kind: "select", Label: "Compare with an earlier run of this pattern", Options: options},
		"Again":   now, "Form": c.filledForm(run), "Served": c.served(run.PatternID),
	})
}

// traceOfRun is the id of a run's trace, which only one of the two places may have.
func traceOfRun(run patterns.Run) string { return cmp.Or(run.Context.TraceID, run.Trace.TraceID) }

// runLine names a run in a list of choices.
func runLine(run patterns.Run) string {
	line := fmt.Sprintf("%s, as of %s, %s, %s", run.StartedAt.UTC().Format("2006-01-02 15:04:05"),
		run.Context.Asof.Format(time.DateOnly), runs.OutcomeOf(run), duration(run.Duration))
	if run.Context.Portfolio != nil {
		line += ", portfolio " + short(run.Context.Portfolio.ID)
	}
	return line
}

func (c *Console) served(patternID string) bool {
	_, err := c.Catalog.Definition(patternID)
	return err == nil
}

// patternName is what a pattern is called, its id when it is no longer served.
func (c *Console) patternName(id string) string {
	if d, err := c.Catalog.Definition(id); err == nil {
		return d.Name
	}
	return id
}

// longestForm bounds the address of a form that is filled in: servers refuse longer ones.
const longestForm = 4000

// filledForm is the address of the pattern's form with a run's inputs, "" when they don't fit into one.
func (c *Console) filledForm(run patterns.Run) string {
	d, err := c.Catalog.Definition(run.PatternID)
	if err != nil {
		return ""
	}
	q := url.Values{asofField: {run.Context.Asof.Format(time.DateOnly)}}
	if !run.RequireFresh {
		q.Set(staleField, "yes")
	}
	for name, v := range run.Inputs {
		if _, known := d.Inputs[name]; !known || v == nil {
			continue
		}
		if s, ok := v.(string); ok {
			q.Set(name, s)
		} else {
			q.Set(name, text(v))
		}
	}
	if to := address(patternsPath+"/"+url.PathEscape(run.PatternID), q); len(to) <= longestForm {
		return to
	}
	return ""
}

// outcomeNow is what a recorded run's question yields today.
type outcomeNow struct {
	Result *result // nil when there is none to show
	Why    string  // why there is none, a sentence
	Same   bool    // it has the hash that was recorded
	// DefinitionChanged says that the pattern is no longer what it was.
	DefinitionChanged bool
}

// againFor bounds how long a page waits for a result that it shows.
const againFor = 10 * time.Second

// again answers a recorded run's question once more, over the same data: history keeps what a run was asked
// and the hash of what it answered, not the answer. Results that are in the cache serve. Nothing is recorded,
// and only what depends on nothing but that data is asked: looking at a run must change nothing. The error is
// one that no page can do with.
func (c *Console) again(ctx context.Context, run patterns.Run) (outcomeNow, error) {
	if runs.OutcomeOf(run) == runs.Error {
		return outcomeNow{Why: "The run failed, so it has no result."}, nil
	}
	d, err := c.Catalog.Definition(run.PatternID)
	if fault.CodeOf(err) == fault.NotFound {
		return outcomeNow{Why: fmt.Sprintf("The result is not kept, only its hash, and the pattern %s that would give it again is no longer served.", run.PatternID)}, nil
	}
	if err != nil {
		return outcomeNow{}, err
	}
	hash, err := c.Catalog.DefinitionHash(run.PatternID)
	if err != nil {
		return outcomeNow{}, err
	}
	now := outcomeNow{DefinitionChanged: hash != run.DefinitionHash}
	used := slices.Clone(run.Trace.CapabilitiesUsed)
	for _, s := range d.Steps {
		used = append(used, s.Capability)
	}
	if moving := c.notPure(used); len(moving) > 0 {
		now.Why = "The result is not kept, only its hash. Replay the run to get one: it is not shown unasked, since " +
			strings.Join(moving, ", ") + " may answer otherwise by now, cost something or change something."
		return now, nil
	}
	limited, cancel := context.WithTimeout(ctx, againFor)
	defer cancel()
	request := patterns.Request{
		TenantID: auth.Tenant(ctx), UserID: run.UserID, PatternID: run.PatternID, Inputs: run.Inputs,
		Asof: &run.Context.Asof, PackID: run.Context.PricingPack.ID, Unrecorded: true,
	}
	if p := run.Context.Portfolio; p != nil {
		request.LedgerVersion = p.LedgerVersion
	}
	answer, err := c.Patterns.Execute(limited, request)
	switch {
	case err == nil:
	case ctx.Err() != nil || c.Unavailable(err):
		return outcomeNow{}, err
	case errors.Is(limited.Err(), context.DeadlineExceeded):
		now.Why = fmt.Sprintf("The result is not kept, only its hash, and to compute it again takes longer than %s. Replay the run to wait for it.", duration(againFor))
		return now, nil
	case fault.CodeOf(err) == fault.Internal:
		return outcomeNow{}, err
	default:
		now.Why = "The result is not kept, only its hash, and it can't be computed again: " + fault.Detail(err) + "."
		return now, nil
	}
	shown, err := newResult(answer, d)
	if err != nil {
		return outcomeNow{}, err
	}
	shown.RunID, shown.Trace = run.ID, run.Trace
	now.Result, now.Same = &shown, answer.DataHash == run.DataHash
	return now, nil
}

// notPure returns those of some capabilities whose answers depend on more than the data that a run names,
// sorted. What nobody declares is among them.
func (c *Console) notPure(names []string) []string {
	pure := map[string]bool{}
	for _, a := range c.Agents.States() {
		for _, k := range a.Capabilities {
			pure[k.Name] = k.Purity == agent.Pure
		}
	}
	var moving []string
	for _, name := range names {
		if !pure[name] {
			moving = append(moving, name)
		}
	}
	slices.Sort(moving)
	return slices.Compact(moving)
}

func (c *Console) replayRun(w http.ResponseWriter, r *http.Request) error {
	replay, err := c.Replayer.Replay(r.Context(), auth.Tenant(r.Context()), w.Header().Get("X-Request-Id"), r.PathValue("id"))
	if err != nil {
		return err
	}
	run := replay.Recorded
	title := c.patternName(run.PatternID)
	data := map[string]any{
		"Run": run, "Title": title, "Outcome": runs.OutcomeOf(run), "Identical": replay.Identical,
		"DefinitionChanged": replay.DefinitionChanged,
	}
	if replay.Err != nil {
		code := fault.CodeOf(replay.Err)
		if c.Unavailable(replay.Err) || code == fault.Internal && replay.Recorded.ErrorCode != fault.Internal {
			return replay.Err // ours, not the run's
		}
		data["Problem"] = Problem{Detail: fault.Detail(replay.Err), Code: string(code)}
		if trace, ok := patterns.TraceOf(replay.Err); ok {
			data["Trace"] = trace
		}
		return c.render(w, r, http.StatusOK, "replayed_run", runsPath, title+", replayed", data)
	}
	data["Answer"], data["Trace"] = replay.Answer, replay.Answer.Trace
	if !replay.Identical && runs.OutcomeOf(run) == runs.Success {
		// The answer of then is there as long as it is in the cache, from which the replay took nothing.
		then, err := c.again(r.Context(), run)
		if err != nil {
			return err
		}
		if then.Same {
			found, err := compareJSON(then.Result.Data, replay.Answer.Data)
			if err != nil {
				return err
			}
			data["Comparison"] = found
		}
	}
	if d, err := c.Catalog.Definition(run.PatternID); err == nil {
		shown, err := newResult(replay.Answer, d)
		if err != nil {
			return err
		}
		data["Result"] = shown
	}
	return c.render(w, r, http.StatusOK, "replayed_run", runsPath, title+", replayed", data)
}
