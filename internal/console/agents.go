package console

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Agents knows who answers the steps of patterns.
type Agents interface {
	States() []agents.State // in order of name
	Figures(agentName string) (agents.Figures, error)
}

// Breakers knows the circuit breakers of all processes.
type Breakers interface {
	BreakerStates(ctx context.Context, tenantID string) ([]breakers.Standing, error)
	BreakerChanges(ctx context.Context, tenantID string, f breakers.Filter, before uuid.UUID, limit int) ([]breakers.Change, error)
}

const (
	agentsPath   = "/console/agents"
	breakersPath = "/console/breakers"
)

func (c *Console) agentRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: agentsPath, Handler: c.agents},
		{Method: http.MethodGet, Path: agentsPath + "/{name}", Handler: c.agent},
		{Method: http.MethodGet, Path: breakersPath, Handler: c.breakers},
	}
}

// agentView is an agent as pages show it.
type agentView struct {
	agents.State
	Path  string
	Calls agents.CallFigures
	// Refused calls are among the failed ones of Calls.
	Refused, InFlight int64
	Opens             string    // when the breaker opens, in words
	Until             time.Time // until when an open breaker refuses calls; zero unless it is open
	Abilities         []abilityView
	HasRetries        bool
}

// abilityView is a capability as pages show it.
type abilityView struct {
	agent.Capability
	Calls agents.CallFigures
}

// viewAgent puts together what this process knows of an agent, as far as the caller may see it. Nothing in it
// depends on the clock.
func (c *Console) viewAgent(ctx context.Context, s agents.State) (agentView, error) {
	if caller, _ := auth.From(ctx); !caller.Operates() {
		s = s.For(caller.TenantID)
	}
	f, err := c.Agents.Figures(s.Name)
	if err != nil {
		return agentView{}, err
	}
	v := agentView{
		State: s, Path: agentsPath + "/" + url.PathEscape(s.Name), Calls: f.Agent, Refused: s.Calls.Refused, InFlight: s.Calls.InFlight,
		Opens: opens(s.Breaker.Thresholds), HasRetries: s.Policies.Retry.Attempts > 1,
	}
	if s.Breaker.State == string(breakers.Open) {
		v.Until = s.Breaker.Since.Add(s.Breaker.Thresholds.Delay)
	}
	for _, k := range s.Capabilities {
		k.Purity, k.Cost = cmp.Or(k.Purity, agent.Reading), cmp.Or(k.Cost, agent.Low)
		k.Timeout = cmp.Or(k.Timeout, s.Policies.Timeout)
		v.Abilities = append(v.Abilities, abilityView{k, f.Capabilities[k.Name]})
	}
	return v, nil
}

// opens says at what a breaker opens.
func opens(b agents.BreakerConfig) string {
	if b.FailureRate > 0 {
		return fmt.Sprintf("when %v %% of the calls within %v failed, of at least %d", math.Round(100*b.FailureRate), b.Window, b.MinCalls)
	}
	if b.Failures == 1 {
		return "when a call fails"
	}
	return fmt.Sprintf("when %d calls in a row fail", b.Failures)
}

// agentList is the page of all agents. It asks nothing of the database.
type agentList struct {
	Agents []agentView
	Open   []agentView // whose breakers are not closed
}

func (c *Console) agents(w http.ResponseWriter, r *http.Request) error {
	var page agentList
	for _, s := range c.Agents.States() {
		v, err := c.viewAgent(r.Context(), s)
		if err != nil {
			return err
		}
		page.Agents = append(page.Agents, v)
		if s.Breaker.State != string(breakers.Closed) {
			page.Open = append(page.Open, v)
		}
	}
	return c.render(w, r, http.StatusOK, "agents", agentsPath, "Agents", page)
}

// agentPage is the page of one agent.
type agentPage struct {
	agentView
	Chart   map[string]any // nil when no change is recorded
	Changes []breakers.Change
	History string // address of all changes
}

const (
	chartedChanges = 200 // newest changes that the chart shows
	shownChanges   = 10
)

func (c *Console) agent(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	states := c.Agents.States()
	i := slices.IndexFunc(states, func(s agents.State) bool { return s.Name == name })
	if i < 0 {
		return fault.New(fault.NotFound, "there is no agent %q", name)
	}
	view, err := c.viewAgent(r.Context(), states[i])
	if err != nil {
		return err
	}
	changes, err := c.Breakers.BreakerChanges(r.Context(), auth.Tenant(r.Context()), breakers.Filter{Kind: breakers.Agent, Name: name}, uuid.Max, chartedChanges)
	if err != nil {
		return err
	}
	page := agentPage{
		agentView: view, Chart: breakerChart(name, changes), Changes: changes[:min(len(changes), shownChanges)],
		History: address(breakersPath, url.Values{"kind": {string(breakers.Agent)}, "name": {name}}),
	}
	return c.render(w, r, http.StatusOK, "agent", agentsPath, name, page)
}

// interval is a time that a breaker spent in a state. Its names are those of the chart's data.
type interval struct {
	Process string     `json:"process"`
	State   string     `json:"state"`
	From    time.Time  `json:"from"`
	To      *time.Time `json:"to"` // nil: it lasts
	Reason  string     `json:"reason"`
}

// intervals turns changes, newest first, into the times between them. What was before the first change of
// a process is not known.
func intervals(changes []breakers.Change) []interval {
	var list []interval
	ends := map[breakers.Process]*time.Time{}
	for _, c := range changes {
		if c.To != breakers.Gone {
			list = append(list, interval{Process: c.Process.String(), State: string(c.To), From: c.At, To: ends[c.Process], Reason: c.Reason})
		}
		ends[c.Process] = &c.At
	}
	return list
}

// breakerChart draws states over time, with a line for each process: a bar for each state, whose height
// says what its colour says. Where a state lasts, the browser draws it up to its present time.
func breakerChart(name string, changes []breakers.Change) map[string]any {
	values := intervals(changes)
	if len(values) == 0 {
		return nil
	}
	type m = map[string]any
	states := []breakers.State{breakers.Open, breakers.HalfOpen, breakers.Closed}
	return m{
		"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "name": "breaker-" + name,
		"description": "States of the circuit breaker of " + name + " over time (UTC), one line a process: the higher the bar, the less passes. Before the first recorded change nothing is known.",
		"data":        m{"values": values},
		"width":       "container", "height": m{"step": 34}, "autosize": m{"type": "fit-x", "contains": "padding"},
		"config": m{"background": "transparent", "font": "system-ui, sans-serif", "view": m{"stroke": nil}, "legend": m{"orient": "bottom"}},
		"transform": []m{
			{"calculate": "toDate(datum.from)", "as": "begin"},
			{"calculate": "datum.to === null ? now() : toDate(datum.to)", "as": "end"},
			{"calculate": "datum.state", "as": "level"}, // of its own, or the legend of colours would go with that of sizes
		},
		"mark": m{"type": "bar", "minBandSize": 2},
		"encoding": m{
			"y":     m{"field": "process", "type": "nominal", "sort": nil, "axis": m{"title": nil, "domain": false, "ticks": false, "labelLimit": 220}},
			"x":     m{"field": "begin", "type": "temporal", "scale": m{"type": "utc"}, "axis": m{"title": nil, "grid": false, "tickCount": 6, "labelOverlap": true}},
			"x2":    m{"field": "end"},
			"color": m{"field": "state", "type": "ordinal", "title": "State", "scale": m{"domain": states, "range": []string{"#D55E00", "#E69F00", "#009E73"}}},
			"size":  m{"field": "level", "type": "ordinal", "legend": nil, "scale": m{"domain": states, "range": []int{26, 16, 6}}},
			"tooltip": []m{
				{"field": "state", "title": "State"},
				{"field": "from", "title": "From"},
				{"field": "to", "title": "To"},
				{"field": "reason", "title": "Why"},
			},
		},
	}
}

// breakerView is a breaker or a change of one, with where its owner is shown.
type breakerView struct {
	breakers.Standing
	Owner   string // address of the page about what it guards, "" when it has none
	Changes string // address of its changes
}

type changeView struct {
	breakers.Change
	Owner string
}

// breakerList is the page of all breakers, those of endpoints too.
type breakerList struct {
	Kind, Name, State string
	Kinds             []breakers.Kind
	States            []breakers.State
	Filtered          bool
	Wrong             map[string]string
	Present           []breakerView
	More              int // of Present that are not shown
	Changes           []changeView
	Pager             pager
}

// maxPresent bounds how many present states are shown; those that are not closed come first.
const maxPresent = 200

func (c *Console) breakers(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	page := breakerList{
		Kind: q.Get("kind"), Name: q.Get("name"), State: q.Get("state"), Wrong: map[string]string{},
		Kinds:  []breakers.Kind{breakers.Agent, breakers.Endpoint},
		States: []breakers.State{breakers.Open, breakers.HalfOpen, breakers.Closed},
	}
	page.Filtered = page.Kind != "" || page.Name != "" || page.State != ""
	if page.Kind != "" && !slices.Contains(page.Kinds, breakers.Kind(page.Kind)) {
		page.Wrong["kind"] = "There is no such kind."
	}
	if page.State != "" && !slices.Contains(page.States, breakers.State(page.State)) {
		page.Wrong["state"] = "There is no such state."
	}
	if page.Name != "" && page.Kind == "" {
		page.Wrong["kind"] = "Choose the kind of the breaker with this name."
	}
	if len(page.Wrong) > 0 {
		return c.render(w, r, http.StatusUnprocessableEntity, "breakers", agentsPath, "Circuit breakers", page)
	}
	before := uuid.Max
	if err := cursor(r, &before); err != nil {
		return err
	}
	present, err := c.Breakers.BreakerStates(r.Context(), auth.Tenant(r.Context()))
	if err != nil {
		return err
	}
	page.Present, page.More = presentBreakers(present, page)
	f := breakers.Filter{Kind: breakers.Kind(page.Kind), Name: page.Name, To: breakers.State(page.State)}
	found, err := c.Breakers.BreakerChanges(r.Context(), auth.Tenant(r.Context()), f, before, pageSize+1) // one more tells of a next page
	if err != nil {
		return err
	}
	var next any
	if len(found) > pageSize {
		found = found[:pageSize]
		next = found[pageSize-1].ID
	}
	for _, f := range found {
		page.Changes = append(page.Changes, changeView{f, ownerOf(f.Kind, f.Name)})
	}
	if page.Pager, err = newPager(r, next); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "breakers", agentsPath, "Circuit breakers", page)
}

// presentBreakers picks what the filter chooses, the worst first.
func presentBreakers(all []breakers.Standing, p breakerList) (shown []breakerView, more int) {
	for _, s := range all {
		if (p.Kind == "" || p.Kind == string(s.Kind)) && (p.Name == "" || p.Name == s.Name) && (p.State == "" || p.State == string(s.State)) {
			shown = append(shown, breakerView{
				Standing: s, Owner: ownerOf(s.Kind, s.Name), Changes: address(breakersPath, url.Values{"kind": {string(s.Kind)}, "name": {s.Name}}),
			})
		}
	}
	slices.SortStableFunc(shown, func(a, b breakerView) int {
		return cmp.Compare(slices.Index(p.States, a.State), slices.Index(p.States, b.State))
	})
	return shown[:min(len(shown), maxPresent)], max(0, len(shown)-maxPresent)
}

// ownerOf returns the address of the page about what a breaker guards. Addresses that came with events are
// known by their hash alone.
func ownerOf(k breakers.Kind, name string) string {
	if k == breakers.Agent {
		return agentsPath + "/" + url.PathEscape(name)
	}
	if destination, ok := strings.CutPrefix(name, "destination:"); ok {
		return "/console/destinations/" + url.PathEscape(destination)
	}
	return ""
}
