package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// Patterns runs patterns.
type Patterns interface {
	Execute(ctx context.Context, r patterns.Request) (*patterns.Answer, error)
}

// Catalog knows the definitions.
type Catalog interface {
	Definitions() []*pattern.Definition // in order of id
	Definition(id string) (*pattern.Definition, error)
	// Waits returns by step those that it begins after.
	Waits(id string) ([][]int, error)
	// DefinitionHash names the content of a definition.
	DefinitionHash(id string) (string, error)
}

const patternsPath = "/console/patterns"

func (c *Console) patternRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: patternsPath, Handler: c.catalogue},
		{Method: http.MethodGet, Path: patternsPath + "/{id}", Handler: c.pattern},
		{Method: http.MethodPost, Path: patternsPath + "/{id}/run", Handler: c.runPattern},
		{Method: http.MethodGet, Path: patternsPath + "/{id}/definition", Handler: c.definition},
	}
}

type category struct {
	Name     string
	Patterns []*pattern.Definition
}

func (c *Console) catalogue(w http.ResponseWriter, r *http.Request) error {
	search := strings.TrimSpace(r.URL.Query().Get("q"))
	by := map[string][]*pattern.Definition{}
	shown, all := 0, c.Catalog.Definitions()
	for _, d := range all {
		text := strings.ToLower(d.ID + " " + d.Name + " " + d.Description + " " + d.Category)
		if strings.Contains(text, strings.ToLower(search)) {
			by[d.Category] = append(by[d.Category], d)
			shown++
		}
	}
	var list []category
	for _, name := range slices.Sorted(maps.Keys(by)) {
		title := heading(name)
		if name == "" {
			title = "Others"
		}
		list = append(list, category{title, by[name]})
	}
	return c.render(w, r, http.StatusOK, "patterns", patternsPath, "Patterns", map[string]any{
		"Categories": list, "Search": search, "Shown": shown, "All": len(all),
	})
}

// control is the form field of an input.
type control struct {
	Name, Kind, Type string // Kind: select, area, date, number or text
	Label, Hint      string
	Value            string
	Required         bool
	Options          []option
	Problem          string
}

type option struct{ Value, Text string }

// patternForm is the page of a pattern: its form, and what came of it.
type patternForm struct {
	Pattern     *pattern.Definition
	Controls    []control
	Asof        control
	StaleToo    bool
	Problem     *Problem
	Result      *result
	FailedTrace *patterns.Trace
}

const (
	asofField  = "_asof"  // no input's name begins so
	staleField = "_stale" // a pack that is not fresh will do
)

func (c *Console) pattern(w http.ResponseWriter, r *http.Request) error {
	d, err := c.Catalog.Definition(r.PathValue("id"))
	if err != nil {
		return err
	}
	form, err := c.newForm(r.Context(), d, r.URL.Query(), nil)
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "pattern", patternsPath, d.Name, form)
}

// newForm makes the form of a pattern's inputs with what was given, and what was wrong with it by field.
func (c *Console) newForm(ctx context.Context, d *pattern.Definition, given url.Values, wrong map[string]string) (patternForm, error) {
	form := patternForm{Pattern: d, StaleToo: given.Get(staleField) != ""}
	form.Asof = control{Name: asofField, Kind: "date", Label: "As of", Hint: "Empty: the day of the newest fresh pricing pack.", Value: given.Get(asofField), Problem: wrong[asofField]}
	names := slices.SortedFunc(maps.Keys(d.Inputs), func(a, b string) int {
		if d.Inputs[a].Required != d.Inputs[b].Required {
			if d.Inputs[a].Required {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		in := d.Inputs[name]
		f := control{Name: name, Type: string(in.Type), Label: heading(name), Hint: in.Description, Required: in.Required, Problem: wrong[name], Kind: "text"}
		if given.Has(name) {
			f.Value = given.Get(name)
		} else if in.Default != nil {
			f.Value = defaultText(in.Default)
		}
		switch in.Type {
		case pattern.Enum:
			f.Kind = "select"
			for _, v := range in.Values {
				f.Options = append(f.Options, option{v, v})
			}
		case pattern.Boolean:
			f.Kind = "select"
			f.Options = []option{{"true", "yes"}, {"false", "no"}}
		case pattern.Array, pattern.Object:
			f.Kind = "area"
			f.Hint = strings.TrimSpace(f.Hint + " As JSON.")
		case pattern.Date:
			f.Kind = "date"
		case pattern.Integer, pattern.Number:
			f.Kind = "number"
			if bounds := boundsOf(in); bounds != "" {
				f.Hint = strings.TrimSpace(f.Hint + " " + bounds)
			}
		case pattern.UUID:
			if name == "portfolio_id" {
				options, err := c.portfolioOptions(ctx, f.Value)
				if err != nil {
					return patternForm{}, err
				}
				if len(options) > 0 {
					f.Kind, f.Options = "select", options
				}
			}
		}
		if f.Kind == "select" && (!in.Required || f.Value == "") && (in.Default == nil || f.Value == "") {
			f.Options = append([]option{{"", "–"}}, f.Options...)
		}
		if f.Kind == "select" && in.Required && f.Value == "" && len(f.Options) == 2 {
			f.Options = f.Options[1:] // there is only one
		}
		form.Controls = append(form.Controls, f)
	}
	return form, nil
}

func defaultText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	raw, err := json.Marshal(v)
	if err != nil { // it came from JSON
		return fmt.Sprint(v)
	}
	return string(raw)
}

func boundsOf(in pattern.Input) string {
	switch {
	case in.Minimum != "" && in.Maximum != "":
		return fmt.Sprintf("From %s to %s.", in.Minimum, in.Maximum)
	case in.Minimum != "":
		return fmt.Sprintf("At least %s.", in.Minimum)
	case in.Maximum != "":
		return fmt.Sprintf("At most %s.", in.Maximum)
	}
	return ""
}

// mostOptions is how many portfolios a form offers; with more the id is typed.
const mostOptions = 200

func (c *Console) portfolioOptions(ctx context.Context, chosen string) ([]option, error) {
	list, more, err := c.Portfolios.Portfolios(ctx, auth.Tenant(ctx), portfolio.Cursor{}, mostOptions)
	if err != nil || more != nil {
		return nil, err
	}
	var options []option
	known := chosen == ""
	for _, p := range list {
		options = append(options, option{p.ID, p.Name + " (" + p.BaseCurrency + ")"})
		known = known || p.ID == chosen
	}
	if !known {
		options = append(options, option{chosen, chosen})
	}
	return options, nil
}

// request reads the form: what is empty is left to the pattern's default. wrong says by field what can't be
// read; what the values must be is the engine's to say.
func (c *Console) request(ctx context.Context, d *pattern.Definition, form url.Values) (req patterns.Request, wrong map[string]string) {
	wrong = map[string]string{}
	caller, _ := auth.From(ctx)
	req = patterns.Request{
		TenantID: caller.TenantID, UserID: caller.UserID, PatternID: d.ID, RequireFresh: form.Get(staleField) == "", Inputs: map[string]any{},
		Recorded: true, // the page leads to the record
	}
	if day := form.Get(asofField); day != "" {
		asof, err := time.Parse(time.DateOnly, day)
		if err != nil {
			wrong[asofField] = "must be a day, YYYY-MM-DD"
		}
		req.Asof = &asof
	}
	for name, in := range d.Inputs {
		text := strings.TrimSpace(form.Get(name))
		if text == "" {
			continue
		}
		switch in.Type {
		case pattern.Integer, pattern.Number, pattern.Boolean, pattern.Array, pattern.Object:
			v, err := readJSON([]byte(text), in.Type)
			if err != nil {
				wrong[name] = fault.Detail(err)
				continue
			}
			req.Inputs[name] = v
		default:
			req.Inputs[name] = text
		}
	}
	return req, wrong
}

// readJSON reads a field of a form as the API reads a body: within the same bounds, which hold before anything
// is made of the text, and with no member twice.
func readJSON(text []byte, as pattern.Type) (v any, err error) {
	members, err := schema.Measure("the value", text)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()                                             // the digits stay as they were typed
	if err := decoder.Decode(&v); err != nil || !json.Valid(text) { // nothing behind the value
		return nil, fault.New(fault.Malformed, "is no %s in JSON", as)
	}
	if schema.Members(v) != members {
		return nil, fault.New(fault.Malformed, "%s stands twice in the value", schema.Repeated(text))
	}
	return v, nil
}

// runPattern runs a pattern with what the form says: as a stream of what happens for the page's script, as a
// whole page without it.
func (c *Console) runPattern(w http.ResponseWriter, r *http.Request) error {
	d, err := c.Catalog.Definition(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	req, wrong := c.request(r.Context(), d, r.PostForm)
	req.RequestID = w.Header().Get("X-Request-Id")
	if len(wrong) > 0 {
		return c.refused(w, r, d, wrong, "")
	}
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return c.streamRun(w, r, d, req)
	}
	answer, err := c.Patterns.Execute(r.Context(), req)
	if err != nil {
		return c.failedRun(w, r, d, err)
	}
	return c.showResult(w, r, d, answer)
}

// failedRun shows why a run failed: inputs beside their fields, a step's failure with the trace up to it.
func (c *Console) failedRun(w http.ResponseWriter, r *http.Request, d *pattern.Definition, failure error) error {
	trace, began := patterns.TraceOf(failure)
	if f, ok := errors.AsType[*fault.Error](failure); ok && !began && f.Code == fault.Invalid {
		wrong, rest := map[string]string{}, ""
		for _, field := range f.Fields {
			name, _, _ := strings.Cut(strings.TrimPrefix(field.Pointer, "/inputs/"), "/")
			if field.Pointer == "/asof" {
				name = asofField
			}
			if _, known := d.Inputs[name]; !known && name != asofField {
				rest += field.Detail + " "
				continue
			}
			wrong[name] = strings.TrimSpace(wrong[name] + " " + field.Detail)
		}
		return c.refused(w, r, d, wrong, rest)
	}
	code := fault.CodeOf(failure)
	if !began || code == fault.Internal {
		return failure
	}
	form, err := c.formAgain(r, d)
	if err != nil { // why the run failed comes first
		return errors.Join(failure, err)
	}
	form.FailedTrace = &trace
	form.Problem = &Problem{Title: "The run failed", Detail: fault.Detail(failure), Code: string(code)}
	return c.render(w, r, c.Status(code), "pattern", patternsPath, d.Name, form)
}

// formFor bounds how long a form takes that stands beside what came of a run.
const formFor = 5 * time.Second

// formAgain is the form that a run was asked with. Its time is its own: a run may have used up that of the
// request, and what came of it is shown all the same.
func (c *Console) formAgain(r *http.Request, d *pattern.Definition) (patternForm, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), formFor)
	defer cancel()
	return c.newForm(ctx, d, r.PostForm, nil)
}

// refused shows the form again with what is wrong.
func (c *Console) refused(w http.ResponseWriter, r *http.Request, d *pattern.Definition, wrong map[string]string, rest string) error {
	form, err := c.newForm(r.Context(), d, r.PostForm, wrong)
	if err != nil {
		return err
	}
	if rest != "" {
		form.Problem = &Problem{Title: "The request is wrong", Detail: strings.TrimSpace(rest), Code: string(fault.Invalid)}
	}
	return c.render(w, r, http.StatusUnprocessableEntity, "pattern", patternsPath, d.Name, form)
}

// progress is what a page is told of a step.
type progress struct {
	Type     patterns.EventType  `json:"type"`
	Index    int                 `json:"index"`
	As       string              `json:"as"`
	Name     string              `json:"capability"`
	Status   patterns.StepStatus `json:"status,omitempty"`
	Started  time.Time           `json:"started_at"`
	Duration float64             `json:"duration_seconds"`
	Reason   string              `json:"reason,omitempty"`
}

// streamRun tells how a run goes on while it does: an event "step" for each beginning and end, then "done"
// with the page's content as it is without a script.
func (c *Console) streamRun(w http.ResponseWriter, r *http.Request, d *pattern.Definition, req patterns.Request) error {
	steps := make(chan progress, 2*len(d.Steps)+2) // one or two of each: sending never waits
	req.OnEvent = func(e patterns.Event) {
		if e.Step == nil {
			return
		}
		p := progress{
			Type: e.Type, Index: e.Step.Index, As: e.Step.As, Name: e.Step.Capability, Status: e.Step.Status,
			Started: e.Step.StartedAt, Duration: e.Step.DurationSeconds, Reason: e.Step.Reason + e.Step.Error,
		}
		select {
		case steps <- p:
		default:
		}
	}
	type outcome struct {
		answer *patterns.Answer
		err    error
	}
	ended := make(chan outcome, 1)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack()) // no middleware sees it here
			}
			ended <- o
		}()
		o.answer, o.err = c.Patterns.Execute(ctx, req)
	}()

	begun := false
	control := http.NewResponseController(w)
	tell := func(event string, data any) error {
		if !begun {
			h := w.Header()
			h.Set("Content-Type", "text/event-stream")
			h.Set("Cache-Control", "no-store")
			h.Set("X-Accel-Buffering", "no")
			begun = true
		}
		raw, err := json.Marshal(data)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, raw); err != nil {
			return err
		}
		return control.Flush()
	}
	for {
		select {
		case p := <-steps:
			if err := tell("step", p); err != nil {
				cancel()
				<-ended
				return nil //nolint:nilerr // there is nobody to tell
			}
		case o := <-ended:
			for len(steps) > 0 {
				if err := tell("step", <-steps); err != nil {
					return nil //nolint:nilerr // there is nobody to tell
				}
			}
			got := &capture{header: http.Header{}}
			asked := r.Clone(r.Context())
			asked.Header.Set("HX-Request", "true")
			var err error
			if o.err != nil {
				err = c.failedRun(got, asked, d, o.err)
			} else {
				err = c.showResult(got, asked, d, o.answer)
			}
			if err != nil {
				if begun { // the status is sent: the page is told here, and the server has the log
					if lost := tell("failed", map[string]string{"detail": c.detail(err)}); lost != nil {
						err = errors.Join(err, lost)
					}
				}
				return err
			}
			if err := tell("done", map[string]any{"status": got.status, "html": got.body.String()}); err != nil {
				return nil //nolint:nilerr // there is nobody to tell
			}
			return nil
		}
	}
}

func (c *Console) showResult(w http.ResponseWriter, r *http.Request, d *pattern.Definition, answer *patterns.Answer) error {
	form, err := c.formAgain(r, d)
	if err != nil {
		return err
	}
	res, err := newResult(answer, d)
	if err != nil {
		return err
	}
	form.Result = &res
	return c.render(w, r, http.StatusOK, "pattern", patternsPath, d.Name, form)
}

// definition shows what a pattern is made of.
func (c *Console) definition(w http.ResponseWriter, r *http.Request) error {
	d, err := c.Catalog.Definition(r.PathValue("id"))
	if err != nil {
		return err
	}
	waits, err := c.Catalog.Waits(d.ID)
	if err != nil {
		return err
	}
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		return err
	}
	agents := map[string]string{}
	for _, a := range c.Agents.States() {
		for _, capability := range a.Capabilities {
			agents[capability.Name] = a.Name
		}
	}
	return c.render(w, r, http.StatusOK, "definition", patternsPath, d.Name+": definition", map[string]any{
		"Pattern": d, "Graph": newGraph(d, waits), "JSON": raw.String(), "Agents": agents,
	})
}
