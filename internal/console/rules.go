package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// Rules keeps alert rules.
type Rules interface {
	CreateRule(ctx context.Context, r alerts.Rule, actor string) (alerts.Rule, error)
	Rule(ctx context.Context, tenantID string, id uuid.UUID) (alerts.Rule, error)
	Rules(ctx context.Context, tenantID string, f alerts.Filter, before uuid.UUID, limit int) ([]alerts.Rule, error)
	// ChangeRule changes a rule that is at a revision, 0 for any.
	ChangeRule(ctx context.Context, tenantID string, id uuid.UUID, revision int, entry audit.Entry,
		change func(alerts.Rule) (alerts.Rule, error)) (alerts.Rule, error)
	DeleteRule(ctx context.Context, tenantID string, id uuid.UUID, revision int, entry audit.Entry) error
}

// RuleEvaluator evaluates alert rules.
type RuleEvaluator interface {
	EvaluateSome(ctx context.Context, tenantID string, ids []uuid.UUID) (alerts.Report, error)
	// Try says what an evaluation would come to, without one.
	Try(ctx context.Context, r alerts.Rule) (alerts.Trial, error)
	// Check reports what is wrong with a rule's channels.
	Check(ctx context.Context, r alerts.Rule) error
}

const (
	rulesPath    = "/console/alerts"
	evaluatePath = rulesPath + "/evaluate"
)

func (c *Console) ruleRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: rulesPath, Handler: c.rules},
		{Method: http.MethodPost, Path: rulesPath, Handler: c.createRule},
		{Method: http.MethodGet, Path: rulesPath + "/new", Handler: c.newRule},
		{Method: http.MethodPost, Path: rulesPath + "/check", Handler: c.checkRule},
		{Method: http.MethodPost, Path: rulesPath + "/form", Handler: c.reshapeRule},
		{Method: http.MethodPost, Path: evaluatePath, Handler: c.evaluateRules},
		{Method: http.MethodGet, Path: rulesPath + "/{id}", Handler: c.rule},
		{Method: http.MethodPost, Path: rulesPath + "/{id}", Handler: c.updateRule},
		{Method: http.MethodGet, Path: rulesPath + "/{id}/edit", Handler: c.editRule},
		{Method: http.MethodGet, Path: rulesPath + "/{id}/try", Handler: c.tryRule},
		{Method: http.MethodGet, Path: rulesPath + "/{id}/act", Handler: c.ruleAction},
		{Method: http.MethodPost, Path: rulesPath + "/{id}/act", Handler: c.actOnRule},
	}
}

// ruleList is the page of many rules.
type ruleList struct {
	Given    map[string]string // the filters as they stand in the address
	Wrong    map[string]string // what is wrong with them
	Filtered bool
	States   []alerts.State
	Types    []typeChoice
	Rules    []ruleView
	Pager    pager
	Address  string // of this part of the list, to come back to
	Done     string

	MayEvaluate bool
}

// ruleView is a rule as pages show it.
type ruleView struct {
	alerts.Rule
	Path     string
	Type     string // in words
	Words    string // the condition, with portfolios by their names
	Value    string // at the last evaluation, "" when it was not known
	Channels []channelView
	Fallback []channelView
}

// channelView is where messages go, without what may be secret in it.
type channelView struct{ Channel, To, Path string }

// typeChoice is a type of condition, in words.
type typeChoice struct {
	Type  alerts.Type
	Words string
}

// typeWords says what conditions of a type watch.
var typeWords = map[alerts.Type]string{
	alerts.Macro: "Macro series", alerts.Metric: "Figure of a portfolio", alerts.Rating: "Rating of a security",
	alerts.Price: "Price of a security", alerts.NewsSentiment: "News sentiment of a security",
	alerts.DrawdownLimit: "Drawdown of a portfolio", alerts.DaRBreach: "Drawdown at risk of a portfolio",
	alerts.RegimeShift: "Shift of the macro regime", alerts.Compound: "Several comparisons",
}

func typeChoices() []typeChoice {
	var list []typeChoice
	for _, t := range alerts.Types() {
		list = append(list, typeChoice{t, typeWords[t]})
	}
	return list
}

func (c *Console) rules(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	page, filter := readRuleFilter(q)
	if len(page.Wrong) > 0 {
		return c.render(w, r, http.StatusUnprocessableEntity, "alerts", rulesPath, "Alert rules", page)
	}
	before := uuid.Max
	if err := cursor(r, &before); err != nil {
		return err
	}
	found, err := c.Rules.Rules(r.Context(), auth.Tenant(r.Context()), filter, before, pageSize+1) // one more tells of a next page
	if err != nil {
		return err
	}
	var next any
	if len(found) > pageSize {
		found = found[:pageSize]
		next = found[pageSize-1].ID
	}
	names := portfolioNames{}
	for _, rule := range found {
		view, err := c.viewRule(r.Context(), rule, names)
		if err != nil {
			return err
		}
		page.Rules = append(page.Rules, view)
	}
	if page.Pager, err = newPager(r, next); err != nil {
		return err
	}
	q.Del("done")
	page.Address = address(rulesPath, q)
	page.MayEvaluate = mayAct(r.Context(), evaluatePath)
	return c.render(w, r, http.StatusOK, "alerts", rulesPath, "Alert rules", page)
}

func readRuleFilter(q url.Values) (ruleList, alerts.Filter) {
	p := ruleList{Given: map[string]string{}, Wrong: map[string]string{}, States: alerts.States(), Types: typeChoices(), Done: q.Get("done")}
	for _, name := range []string{"state", "type", "user_id", "active"} {
		p.Given[name] = strings.TrimSpace(q.Get(name))
		p.Filtered = p.Filtered || p.Given[name] != ""
	}
	f := alerts.Filter{UserID: p.Given["user_id"], State: alerts.State(p.Given["state"]), Type: alerts.Type(p.Given["type"])}
	if f.State != "" && !slices.Contains(alerts.States(), f.State) {
		p.Wrong["state"] = "There is no such state."
	}
	if f.Type != "" && !slices.Contains(alerts.Types(), f.Type) {
		p.Wrong["type"] = "There is no such type."
	}
	if problem := unstorable(f.UserID, maxID); problem != "" {
		p.Wrong["user_id"] = problem
	}
	switch p.Given["active"] {
	case "":
	case "true", "false":
		f.Active = new(p.Given["active"] == "true")
	default:
		p.Wrong["active"] = "This is neither on nor off."
	}
	return p, f
}

// portfolioNames remembers the names that one page has looked up.
type portfolioNames map[string]string

// of returns a portfolio's name, "" where there is no such portfolio.
func (n portfolioNames) of(ctx context.Context, c *Console, id string) (string, error) {
	if name, ok := n[id]; ok {
		return name, nil
	}
	p, err := c.Portfolios.Portfolio(ctx, auth.Tenant(ctx), id)
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return "", err
	}
	n[id] = p.Name
	return p.Name, nil
}

// named returns a condition whose portfolios are called by their names, for people.
func (c *Console) named(ctx context.Context, cond alerts.Condition, names portfolioNames) (alerts.Condition, error) {
	var err error
	switch {
	case cond.All != nil:
		cond.All, err = c.allNamed(ctx, cond.All, names)
	case cond.Any != nil:
		cond.Any, err = c.allNamed(ctx, cond.Any, names)
	case cond.Not != nil:
		var inner alerts.Condition
		inner, err = c.named(ctx, *cond.Not, names)
		cond.Not = &inner
	default:
		cond.Subject, err = c.subject(ctx, cond.Type, cond.Subject, names)
	}
	return cond, err
}

func (c *Console) allNamed(ctx context.Context, parts []alerts.Condition, names portfolioNames) ([]alerts.Condition, error) {
	list := make([]alerts.Condition, len(parts))
	for i, part := range parts {
		var err error
		if list[i], err = c.named(ctx, part, names); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// subject returns what a comparison looks at, a portfolio by its name.
func (c *Console) subject(ctx context.Context, t alerts.Type, subject string, names portfolioNames) (string, error) {
	if form, _ := alerts.ComparisonOf(t); form.Subject != portfolioField {
		return subject, nil
	}
	name, err := names.of(ctx, c, subject)
	if name == "" {
		name = subject
	}
	return name, err
}

func (c *Console) viewRule(ctx context.Context, rule alerts.Rule, names portfolioNames) (ruleView, error) {
	v := ruleView{Rule: rule, Path: rulesPath + "/" + rule.ID.String(), Type: typeWords[rule.Condition.Kind()], Channels: viewChannels(rule.Channels)}
	if rule.Fallback != nil {
		v.Fallback = viewChannels(*rule.Fallback)
	}
	if rule.LastValue != nil {
		v.Value = shortNumber(*rule.LastValue).String()
	}
	condition, err := c.named(ctx, rule.Condition, names)
	v.Words = capital(condition.String())
	return v, err
}

func viewChannels(ch alerts.Channels) []channelView {
	var list []channelView
	if ch.Inapp {
		list = append(list, channelView{Channel: "inbox"})
	}
	if ch.Webhook != nil {
		list = append(list, channelView{Channel: "webhook", To: addressShown(delivery.Target{URL: ch.Webhook.URL})})
	}
	if ch.Email != nil {
		list = append(list, channelView{Channel: "email", To: strings.Join(ch.Email.To, ", ")})
	}
	for _, name := range ch.Destination {
		list = append(list, channelView{Channel: "destination", To: name, Path: destinationPath(name)})
	}
	return list
}

// rulePage is the page of one rule. What it would do now is asked for apart: it takes longer, and changes
// as time passes.
type rulePage struct {
	Done           string
	Rule           ruleView
	MayEvaluate    bool
	Queue, History bool // whether the dead letters, and the deliveries, are the caller's to see
	Firings        []delivery.Summary
	More           bool // there were more firings
}

// shownFirings is how many of a rule's latest firings its page shows.
const shownFirings = 10

func (c *Console) rule(w http.ResponseWriter, r *http.Request) error {
	rule, err := c.pathRule(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	page := rulePage{
		Done: r.URL.Query().Get("done"), MayEvaluate: mayAct(ctx, evaluatePath), Queue: mayLook(ctx, lettersPath), History: mayLook(ctx, deliveriesPath),
	}
	if page.Rule, err = c.viewRule(r.Context(), rule, portfolioNames{}); err != nil {
		return err
	}
	if page.History {
		f := delivery.EventFilter{AlertID: rule.ID.String()}
		if page.Firings, err = c.Deliveries.Summaries(ctx, auth.Tenant(ctx), f, uuid.Max, shownFirings+1); err != nil {
			return err
		}
	}
	if len(page.Firings) > shownFirings {
		page.Firings, page.More = page.Firings[:shownFirings], true
	}
	return c.render(w, r, http.StatusOK, "alert", rulesPath, rule.Name, page)
}

// pathRule returns the rule in a route's path.
func (c *Console) pathRule(r *http.Request) (alerts.Rule, error) {
	id, err := pathID(r, "id")
	if err != nil {
		return alerts.Rule{}, err
	}
	return c.Rules.Rule(r.Context(), auth.Tenant(r.Context()), id)
}

// trial says in words what an evaluation would come to.
type trial struct {
	Verdict string
	Fires   bool
	Lines   []trialLine
	Missing []trialLine
	Title   string // what would be said
	Message string
	NextAt  time.Time // when the cooldown of a rule whose condition is met ends; zero when it does not hold it
	Problem string    // why what it says could not be delivered
}

// trialLine is one value that was looked at, or that is missing.
type trialLine struct {
	Label string // what it is of
	Text  string // "0.182 > 0.25 is false", or why it is missing
	Asof  string
	Met   bool
}

// try says what a rule would do with today's values.
func (c *Console) try(ctx context.Context, rule alerts.Rule) (*trial, error) {
	t, err := c.Evaluator.Try(ctx, rule)
	if err != nil {
		return nil, err
	}
	return c.tell(ctx, t)
}

func (c *Console) tell(ctx context.Context, t alerts.Trial) (*trial, error) {
	names := portfolioNames{}
	told := &trial{Fires: t.Decision.Fire && t.Problem == "", Title: t.Signal.Title, Message: t.Signal.Message}
	if t.Problem != "" {
		told.Problem = sentence(t.Problem)
	}
	for _, o := range t.Result.Observed {
		subject, err := c.subject(ctx, o.Type, o.Subject, names)
		if err != nil {
			return nil, err
		}
		told.Lines = append(told.Lines, trialLine{
			Label: strings.TrimSpace(subject + " " + words(o.Metric)), Asof: o.Asof.Format(time.DateOnly), Met: o.Met,
			Text: fmt.Sprintf("%s %s %s is %t", shortValue(o.Value, o.Threshold), o.Op, o.Threshold, o.Met),
		})
	}
	for _, m := range t.Result.Missing {
		subject, err := c.subject(ctx, m.Type, m.Subject, names)
		if err != nil {
			return nil, err
		}
		told.Missing = append(told.Missing, trialLine{Label: strings.TrimSpace(subject + " " + words(m.Metric)), Text: sentence(m.Reason)})
	}
	told.Verdict = verdict(t, told)
	if t.Decision.Reason == alerts.IsCoolingDown {
		told.NextAt = t.Rule.LastFiredAt.Add(t.Rule.Cooldown)
	}
	return told, nil
}

// valueDigits is how many digits of a value are worth reading.
const valueDigits = 6

// shortNumber leaves out digits that nobody reads.
func shortNumber(d decimal.Decimal) decimal.Decimal {
	places := int32(valueDigits-d.NumDigits()) - d.Exponent() //nolint:gosec // numbers have some dozen digits
	return d.Round(max(places, 0))
}

// shortValue does so where it leaves the value on its side of a threshold.
func shortValue(d, threshold decimal.Decimal) decimal.Decimal {
	if short := shortNumber(d); short.Cmp(threshold) == d.Cmp(threshold) {
		return short
	}
	return d
}

// verdict says whether a rule would fire, and why: "0.182 > 0.25 is false; it would not fire."
func verdict(t alerts.Trial, told *trial) string {
	why := "The condition as a whole is " + map[alerts.Truth]string{alerts.Met: "met", alerts.NotMet: "not met"}[t.Result.Met]
	if t.Rule.Condition.Kind() != alerts.Compound && len(told.Lines) == 1 {
		why = told.Lines[0].Text
	}
	switch t.Decision.Reason {
	case alerts.Fires:
		if t.Problem != "" {
			return why + "; it would fire, but what it says could not be delivered."
		}
		return why + "; it would fire."
	case alerts.IsNotMet:
		return why + "; it would not fire."
	case alerts.IsUnknown:
		return "It is not known whether the condition is met, as a value is missing; it would not fire."
	case alerts.IsInactive:
		return "The rule is switched off; it would not fire."
	case alerts.IsSnoozed:
		return why + ", but the rule is snoozed; it would not fire."
	case alerts.IsAcknowledged:
		return why + ", but somebody has acknowledged it; it would not fire before the condition was no longer met."
	default:
		return why + ", but the rule has fired and is within its cooldown; it would not fire again yet."
	}
}

// tryRule is the dry run of a rule as it is stored.
func (c *Console) tryRule(w http.ResponseWriter, r *http.Request) error {
	rule, err := c.pathRule(r)
	if err != nil {
		return err
	}
	t, err := c.try(r.Context(), rule)
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "alert_try", rulesPath, "Dry run of "+rule.Name, map[string]any{"Rule": rule, "Trial": t})
}

// backToRules is the page to come back to after an action: one of the rules'.
func backToRules(given, otherwise string) string {
	u, err := url.ParseRequestURI(given)
	if err != nil || u.IsAbs() || u.Host != "" || u.Path != rulesPath && !strings.HasPrefix(u.Path, rulesPath+"/") {
		return otherwise
	}
	q := u.Query()
	q.Del("done")
	return address(u.Path, q)
}

// evaluateRules evaluates the rules that a page shows.
func (c *Console) evaluateRules(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	var ids []uuid.UUID
	for _, given := range r.PostForm["id"] {
		id, err := uuid.Parse(given)
		if err != nil {
			return fault.InvalidField("/id", "%q is no rule's id", given)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 || len(ids) > pageSize {
		return fault.InvalidField("/id", "from 1 to %d rules are evaluated at a time", pageSize)
	}
	report, err := c.Evaluator.EvaluateSome(r.Context(), auth.Tenant(r.Context()), ids)
	if err != nil {
		return err
	}
	return done(w, r, backToRules(r.PostForm.Get("back"), rulesPath), "%s", reportWords(report))
}

// reportWords tells what an evaluation came to.
func reportWords(r alerts.Report) string {
	if r.Evaluated == 1 {
		return oneWords(r)
	}
	text := fmt.Sprintf("%d rules were evaluated: %d met, %d not met, %d not known. ", r.Evaluated, r.Results[alerts.Met], r.Results[alerts.NotMet], r.UnknownCount)
	switch r.FiredCount {
	case 0:
		text += "None fired."
	default:
		text += fmt.Sprintf("%d fired.", r.FiredCount)
	}
	if r.RefusedCount > 0 {
		text += fmt.Sprintf(" Of %d the message could not be handed on; the rules say why.", r.RefusedCount)
	}
	if r.Overtaken > 0 {
		text += fmt.Sprintf(" %d were changed or fired by somebody else meanwhile.", r.Overtaken)
	}
	return text
}

func oneWords(r alerts.Report) string {
	switch {
	case len(r.Fired) > 0 && r.Fired[0].Duplicate:
		return "The rule was evaluated and fired; nothing was sent, as the same was delivered before."
	case len(r.Fired) > 0:
		return "The rule was evaluated and fired."
	case len(r.Refused) > 0:
		return "The rule was evaluated and should have fired, but its message could not be handed on: " + sentence(r.Refused[0].Reason)
	case r.Overtaken > 0:
		return "Somebody changed the rule or fired it meanwhile; this evaluation was dropped."
	case len(r.Unknown) > 0:
		return "The rule was evaluated: whether its condition is met is not known. The dry run names what is missing."
	}
	return "The rule was evaluated and did not fire. The dry run says why."
}

// ruleAct is an action on a rule as it is asked for, before it is done.
type ruleAct struct {
	Rule   alerts.Rule
	Act    deed
	Reason string
	For    string // hours to snooze for
	Until  string // or until when, as a browser's field has it
	Back   string
	Dialog bool
	Spans  []option
	Errors map[string]string
	// Refused is why it can't be done; then nothing is asked for.
	Refused string
}

// deed is what can be done to a rule or a destination.
type deed struct {
	Name   string
	Verb   string // what the button says
	Means  string
	Danger bool
}

var ruleDeeds = []deed{
	{"snooze", "Snooze", "It goes on being evaluated but says nothing until its time has come.", false},
	{"wake", "Wake", "Its snooze ends now; the next evaluation finds out how things stand.", false},
	{"acknowledge", "Acknowledge", "It says nothing more until its condition was no longer met.", false},
	{"enable", "Switch on", "It is evaluated again, beginning as ok.", false},
	{"disable", "Switch off", "It is not evaluated any more until it is switched on again.", false},
	{"delete", "Delete", "The rule goes for good. What it has sent stays in the deliveries.", true},
}

var snoozeSpans = []option{{"1", "1 hour"}, {"4", "4 hours"}, {"8", "8 hours"}, {"24", "1 day"}, {"72", "3 days"}, {"168", "1 week"}, {"720", "30 days"}}

// maxSnooze bounds how long a rule is kept quiet.
const maxSnooze = 365 * 24 * time.Hour

func (c *Console) readRuleAct(r *http.Request) (ruleAct, error) {
	if err := r.ParseForm(); err != nil {
		return ruleAct{}, fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	rule, err := c.pathRule(r)
	if err != nil {
		return ruleAct{}, err
	}
	i := slices.IndexFunc(ruleDeeds, func(d deed) bool { return d.Name == r.Form.Get("act") })
	if i < 0 {
		return ruleAct{}, fault.InvalidField("/act", "is nothing that can be done to a rule")
	}
	a := ruleAct{
		Rule: rule, Act: ruleDeeds[i], Reason: strings.TrimSpace(r.Form.Get("reason")), For: r.Form.Get("for"), Until: strings.TrimSpace(r.Form.Get("until")),
		Back: backToRules(r.Form.Get("back"), rulesPath+"/"+rule.ID.String()), Dialog: r.Header.Get("HX-Target") == "dialog",
		Spans: snoozeSpans, Errors: map[string]string{},
	}
	if a.For == "" {
		a.For = "24"
	}
	return a, nil
}

// change is what an action makes of a rule; nil where the rule goes.
func (c *Console) ruleChange(a *ruleAct, entry *audit.Entry) (func(alerts.Rule) (alerts.Rule, error), error) {
	switch a.Act.Name {
	case "snooze":
		until, problem := c.snoozeEnd(a)
		if problem != "" {
			a.Errors["until"] = problem
			return nil, nil //nolint:nilnil // the form says what is wrong
		}
		var err error
		entry.Detail, err = json.Marshal(map[string]time.Time{"until": until})
		return func(rule alerts.Rule) (alerts.Rule, error) { return alerts.Snooze(rule, until), nil }, err
	case "wake":
		return alerts.Wake, nil
	case "acknowledge":
		return alerts.Acknowledge, nil
	case "enable", "disable":
		entry.Action, entry.Detail = "rule.update", json.RawMessage(`{"fields": ["active"]}`)
		patch := fmt.Appendf(nil, `{"active": %t}`, a.Act.Name == "enable")
		return func(rule alerts.Rule) (alerts.Rule, error) { return alerts.Merge(rule, patch) }, nil
	}
	return nil, nil //nolint:nilnil // it is deleted
}

// snoozeEnd reads until when to snooze.
func (c *Console) snoozeEnd(a *ruleAct) (until time.Time, problem string) {
	now := c.Now().UTC()
	if a.Until == "" {
		hours, err := strconv.Atoi(a.For)
		if err != nil || hours < 1 || time.Duration(hours)*time.Hour > maxSnooze {
			return until, "Choose for how long, or give a time."
		}
		return now.Add(time.Duration(hours) * time.Hour).Truncate(time.Second), ""
	}
	until, ok := timeOfField(a.Until)
	switch {
	case !ok:
		return until, "Give a time in UTC, such as 2026-03-02T14:30."
	case !until.After(now) || until.After(now.Add(maxSnooze)):
		return until, "The time must lie in the future, within a year."
	}
	return until, ""
}

// ruleAction asks before an action is done.
func (c *Console) ruleAction(w http.ResponseWriter, r *http.Request) error {
	a, err := c.readRuleAct(r)
	if err != nil {
		return err
	}
	switch a.Act.Name { // what the rule's state excludes is said before anybody types a reason
	case "wake":
		_, err = alerts.Wake(a.Rule)
	case "acknowledge":
		_, err = alerts.Acknowledge(a.Rule)
	}
	if err != nil {
		a.Refused = sentence(fault.Detail(err))
	}
	return c.askRuleAct(w, r, http.StatusOK, a)
}

func (c *Console) askRuleAct(w http.ResponseWriter, r *http.Request, status int, a ruleAct) error {
	return c.render(w, r, status, "alert_act", rulesPath, a.Act.Verb+" "+a.Rule.Name, a)
}

// actOnRule does what ruleAction has asked for.
func (c *Console) actOnRule(w http.ResponseWriter, r *http.Request) error {
	a, err := c.readRuleAct(r)
	if err != nil {
		return err
	}
	if problem := reasonProblem(a.Reason, a.Act.Name == "delete"); problem != "" {
		a.Errors["reason"] = problem
	}
	by := c.by(r.Context(), a.Reason)
	entry := audit.Entry{Actor: by.Actor, Action: "rule." + a.Act.Name, Reason: by.Reason}
	change, err := c.ruleChange(&a, &entry)
	if err != nil {
		return err
	}
	if len(a.Errors) > 0 {
		return c.askRuleAct(w, r, http.StatusUnprocessableEntity, a)
	}
	rule := a.Rule
	if change == nil {
		err = c.Rules.DeleteRule(r.Context(), auth.Tenant(r.Context()), rule.ID, 0, entry)
	} else {
		rule, err = c.Rules.ChangeRule(r.Context(), auth.Tenant(r.Context()), rule.ID, 0, entry, change)
	}
	if fault.CodeOf(err) == fault.Conflict {
		a.Refused = sentence(fault.Detail(err))
		return c.askRuleAct(w, r, http.StatusUnprocessableEntity, a)
	}
	if err != nil {
		return err
	}
	to := a.Back
	if change == nil && strings.HasPrefix(to, rulesPath+"/"+rule.ID.String()) {
		to = rulesPath // its page has gone with it
	}
	return done(w, r, to, "%s", deedDone(a.Act.Name, rule))
}

func deedDone(act string, rule alerts.Rule) string {
	name := "The rule “" + rule.Name + "” "
	switch act {
	case "snooze":
		return name + "is snoozed until " + rule.SnoozedUntil.Format("2006-01-02 15:04") + " UTC."
	case "wake":
		return name + "is awake."
	case "acknowledge":
		return name + "is acknowledged: it is quiet until its condition was no longer met."
	case "enable":
		return name + "is switched on."
	case "disable":
		return name + "is switched off."
	}
	return name + "is deleted."
}
