package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

const (
	portfolioField = "portfolio_id"

	// The two ways to write a condition: comparisons in fields, all or any of which must hold; or JSON,
	// which can be a tree of any shape.
	modeFields = "fields"
	modeJSON   = "json"
	joinAll    = "all"
	joinAny    = "any"

	fallbackPrefix = "fallback-"
)

// ruleForm is the editor of a rule: what was typed, and what is wrong with it.
type ruleForm struct {
	ID         string // "" for a new one
	Revision   int    // that the reader began with
	Present    int    // the revision that somebody else has made meanwhile, 0 for none
	Given      url.Values
	Mode       string
	Join       string
	Rows       []comparisonRow
	Wrong      map[string]string // by field
	Early      bool              // it is still being typed: what is empty is not called wrong
	Problem    string            // what is wrong, where it is no field's
	Trial      *trial
	Portfolios []option // nil when there are too many to choose from
	Types      []typeChoice
	Severities []alerts.Severity
	Words      []alerts.Placeholder
	Main       channelForm
	Fallback   channelForm
}

// comparisonRow is one comparison in fields.
type comparisonRow struct {
	Index   int
	Not     bool
	Type    alerts.Type
	Form    alerts.Comparison
	Subject string
	Metric  string
	Op      string
	Value   string
	pointer string // where it stands in the rule
}

// Number counts rows from 1, for people.
func (r comparisonRow) Number() int { return r.Index + 1 }

// Of names what the row's subject is.
func (r comparisonRow) Of() string {
	return map[string]string{"entity": "Series", portfolioField: "Portfolio", "symbol": "Symbol"}[r.Form.Subject]
}

// Hint says what values are.
func (r comparisonRow) Hint() string {
	var parts []string
	switch r.Type {
	case alerts.Metric:
		parts = append(parts, "Ratios are fractions: 0.25 is 25 %.")
	case alerts.Price:
		parts = append(parts, "A change in percent: −5 is a fall of 5 %.")
	default:
	}
	if r.Form.Least != "" {
		parts = append(parts, "From "+r.Form.Least+" to "+r.Form.Most+".")
	}
	if r.Form.Default != "" {
		parts = append(parts, "Empty: "+r.Form.Default+".")
	}
	return strings.Join(parts, " ")
}

// Chooses reports whether there is more than one metric to choose from.
func (r comparisonRow) Chooses() bool { return r.Form.Op == "" && len(r.Form.Metrics) > 1 }

// Ops are the operators to choose from; none where it is always the same.
func (r comparisonRow) Ops() []option {
	if r.Form.Op != "" {
		return nil
	}
	return opChoices
}

var opChoices = []option{
	{string(alerts.Above), "> above"},
	{string(alerts.Below), "< below"},
	{string(alerts.AtLeast), ">= at least"},
	{string(alerts.AtMost), "<= at most"},
	{string(alerts.Equals), "== equal to"},
	{string(alerts.NotEquals), "!= other than"},
}

// Single reports whether it is the only comparison.
func (f ruleForm) Single() bool { return len(f.Rows) == 1 }

// Full reports whether no more comparisons are allowed.
func (f ruleForm) Full() bool { return len(f.Rows) >= alerts.MaxComparisons }

// channelForm is one set of channels in the form.
type channelForm struct {
	Prefix  string // of its fields' names
	Webhook string // the address there is at present, without what may be secret in it
	Known   []testDestination
	More    bool // there are destinations that are not offered
}

// Value is what stands in a field. An address that may hold a secret is not told again.
func (f ruleForm) Value(name string) string {
	v := f.Given.Get(name)
	if strings.TrimPrefix(name, fallbackPrefix) == "webhook" && addressShown(delivery.Target{URL: v}) != v {
		return ""
	}
	return v
}

// Has tells whether a box is ticked.
func (f ruleForm) Has(name, value string) bool { return slices.Contains(f.Given[name], value) }

// Problems is what to say beside a field.
func (f ruleForm) Problems(name string) string { return f.Wrong[name] }

// IsWrong reports whether a field is wrong, and not just empty so far.
func (f ruleForm) IsWrong(name string) bool {
	return f.Wrong[name] != "" && (!f.Early || f.Given.Get(name) != "")
}

// Fields are the names of all fields that something may be wrong with, in their order.
func (f ruleForm) Fields() []string {
	names := []string{"name", "user_id", "condition"}
	for _, row := range f.Rows {
		for _, part := range []string{"type", "subject", "metric", "op", "value"} {
			names = append(names, fieldOf(part, row.Index))
		}
	}
	names = append(names, "severity", "cooldown_hours", "ttl_seconds", "title", "message")
	for _, prefix := range []string{"", fallbackPrefix} {
		for _, part := range []string{"channels", "webhook", "email", "destination"} {
			names = append(names, prefix+part)
		}
	}
	return append(names, "active", "reason")
}

// Summary lists what is wrong, in the fields' order.
func (f ruleForm) Summary() []fieldProblem {
	var list []fieldProblem
	for _, name := range f.Fields() {
		if f.Wrong[name] != "" {
			list = append(list, fieldProblem{name, f.label(name), f.Wrong[name]})
		}
	}
	return list
}

type fieldProblem struct{ Name, Label, Problem string }

func (f ruleForm) label(name string) string {
	if part, number, ok := strings.Cut(name, "-"); ok && part+"-" != fallbackPrefix {
		n, err := strconv.Atoi(number)
		if err == nil && n < len(f.Rows) {
			if part == "subject" {
				part = f.Rows[n].Of()
			}
			if f.Single() {
				return capital(part)
			}
			return fmt.Sprintf("Comparison %d, %s", n+1, strings.ToLower(part))
		}
	}
	if label, ok := map[string]string{
		"user_id": "User", "cooldown_hours": "Cooldown", "ttl_seconds": "Worth sending for", "webhook": "Webhook", "email": "Mail to",
		"fallback-channels": "Fallback", "fallback-webhook": "Fallback, webhook", "fallback-email": "Fallback, mail to", "fallback-destination": "Fallback, destinations",
		"destination": "Destinations", "reason": "Why",
	}[name]; ok {
		return label
	}
	return capital(words(name))
}

func fieldOf(part string, index int) string { return part + "-" + strconv.Itoa(index) }

// newRow returns a comparison of a type whose choices are those of the type.
func newRow(index int, t alerts.Type) comparisonRow {
	row := comparisonRow{Index: index, Type: t}
	row.Form, _ = alerts.ComparisonOf(t)
	row.fit()
	return row
}

// fit takes back choices that the row's type does not have: those of the type before.
func (r *comparisonRow) fit() {
	if len(r.Form.Metrics) > 0 && !slices.Contains(r.Form.Metrics, r.Metric) {
		r.Metric = r.Form.Metrics[0]
	}
	if r.Form.Op != "" || r.Op == "" {
		r.Op = string(alerts.Above)
	}
}

// readRows reads the comparisons of a posted form.
func readRows(form url.Values) []comparisonRow {
	n, ok := whole(form.Get("rows"), 1, alerts.MaxComparisons)
	if !ok {
		n = 1
	}
	var rows []comparisonRow
	for i := range n {
		row := comparisonRow{
			Index: i, Not: form.Get(fieldOf("not", i)) != "", Type: alerts.Type(form.Get(fieldOf("type", i))),
			Subject: strings.TrimSpace(form.Get(fieldOf("subject", i))), Metric: form.Get(fieldOf("metric", i)),
			Op: form.Get(fieldOf("op", i)), Value: strings.TrimSpace(form.Get(fieldOf("value", i))),
		}
		if row.Type == "" {
			row.Type = alerts.Metric
		}
		row.Form, _ = alerts.ComparisonOf(row.Type)
		row.fit()
		rows = append(rows, row)
	}
	placeRows(rows, form.Get("join"))
	return rows
}

// placeRows numbers rows and says where each stands in the condition that they make.
func placeRows(rows []comparisonRow, join string) {
	for i := range rows {
		rows[i].Index, rows[i].pointer = i, "/condition"
		if len(rows) > 1 {
			rows[i].pointer += "/" + joinOf(join) + "/" + strconv.Itoa(i)
		}
		if rows[i].Not {
			rows[i].pointer += "/not"
		}
	}
}

func joinOf(given string) string {
	if given == joinAny {
		return joinAny
	}
	return joinAll
}

// rowsOf writes a condition in fields; false when it has another shape than they can have.
func rowsOf(c alerts.Condition) (rows []comparisonRow, join string, ok bool) {
	parts := []alerts.Condition{c}
	switch {
	case len(c.All) > 1:
		parts, join = c.All, joinAll
	case len(c.Any) > 1:
		parts, join = c.Any, joinAny
	}
	for i, part := range parts {
		negated := part.Not != nil
		if negated {
			part = *part.Not
		}
		if part.Type == "" {
			return nil, "", false
		}
		row := newRow(i, part.Type)
		row.Not, row.Subject, row.Metric, row.Op, row.Value = negated, part.Subject, part.Metric, string(part.Op), part.Threshold.String()
		rows = append(rows, row)
	}
	placeRows(rows, join)
	return rows, join, true
}

// document is the comparison as it stands in a condition. What is no number is left to the rule's parser
// to refuse with its place.
func (r comparisonRow) document() map[string]any {
	doc := map[string]any{"type": r.Type}
	if r.Form.Subject != "" && r.Subject != "" {
		doc[r.Form.Subject] = r.Subject
	}
	if r.Form.Op == "" {
		doc["metric"], doc["op"] = r.Metric, r.Op
	}
	if r.Value != "" {
		doc[r.Form.Limit] = numberOrText(r.Value)
	}
	if r.Not {
		return map[string]any{"not": doc}
	}
	return doc
}

// numberOrText keeps a number as it was typed; people leave the zero before a point out.
func numberOrText(text string) any {
	digits, negative := strings.CutPrefix(strings.Replace(text, "−", "-", 1), "-")
	if strings.HasPrefix(digits, ".") {
		digits = "0" + digits
	}
	if negative {
		digits = "-" + digits
	}
	if json.Valid([]byte(digits)) && strings.ContainsAny(digits[:1], "-0123456789") {
		return json.Number(digits)
	}
	return text
}

// conditionOf writes the condition that the form says; wrong is what keeps it from being one at all.
func (f *ruleForm) conditionOf() (raw json.RawMessage, wrong string) {
	if f.Mode == modeJSON {
		text := strings.TrimSpace(f.Given.Get("condition"))
		switch {
		case text == "":
			return nil, "A condition is needed."
		case !json.Valid([]byte(text)):
			return nil, "This is no JSON: " + jsonProblem(text) + "."
		}
		return json.RawMessage(text), ""
	}
	var doc any
	if len(f.Rows) == 1 {
		doc = f.Rows[0].document()
	} else {
		parts := make([]map[string]any, len(f.Rows))
		for i, row := range f.Rows {
			parts[i] = row.document()
		}
		doc = map[string]any{f.Join: parts}
	}
	raw, err := plainly(doc)
	if err != nil { // texts and numbers that were read
		return nil, sentence(err.Error())
	}
	return raw, ""
}

// plainly writes operators as they are read: "<" and not "\u003c".
func plainly(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// jsonProblem says where a text ceases to be JSON.
func jsonProblem(text string) string {
	var v any
	err := json.Unmarshal([]byte(text), &v)
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := text[:min(int(s.Offset), len(text))]
		line := strings.Count(before, "\n") + 1
		return fmt.Sprintf("line %d, column %d: %s", line, len(before)-strings.LastIndexByte(before, '\n')-1, s)
	}
	return "it ends too early"
}

func splitList(text string) []string {
	var list []string
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' || r == ';' }) {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// channelsOf writes channels as the form says; base are those of the rule that is edited: a webhook's
// address that nobody types anew stays. It is nil when none is chosen.
func channelsOf(form url.Values, prefix string, base *alerts.Channels) map[string]any {
	channels := map[string]any{}
	if form.Get(prefix+"inapp") != "" {
		channels["inapp"] = true
	}
	switch address := strings.TrimSpace(form.Get(prefix + "webhook")); {
	case address != "":
		channels["webhook"] = map[string]string{"url": address}
	case base != nil && base.Webhook != nil && form.Get(prefix+"webhook_remove") == "":
		channels["webhook"] = map[string]string{"url": base.Webhook.URL}
	}
	if to := splitList(form.Get(prefix + "email")); len(to) > 0 {
		channels["email"] = map[string][]string{"to": to}
	}
	if names := chosenDestinations(form, prefix); len(names) > 0 {
		channels["destination"] = names
	}
	if len(channels) == 0 {
		return nil
	}
	return channels
}

// chosenDestinations are those that are ticked and those that are typed.
func chosenDestinations(form url.Values, prefix string) []string {
	var names []string
	for _, name := range slices.Concat(form[prefix+"destination"], splitList(form.Get(prefix+"destination_more"))) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// document writes what the form says as the API's body has it; everything is in it, so that it replaces a
// stored rule as a whole.
func (f *ruleForm) document(condition json.RawMessage, base *alerts.Rule) ([]byte, error) {
	doc := map[string]any{
		"name": strings.TrimSpace(f.Given.Get("name")), "user_id": strings.TrimSpace(f.Given.Get("user_id")),
		"active": f.Given.Get("active") != "", "condition": condition,
	}
	for _, name := range []string{"severity", "title", "message"} {
		doc[name] = nil
		if v := f.Given.Get(name); strings.TrimSpace(v) != "" {
			doc[name] = strings.ReplaceAll(v, "\r\n", "\n")
		}
	}
	for _, name := range []string{"cooldown_hours", "ttl_seconds"} {
		doc[name] = nil
		if v := strings.TrimSpace(f.Given.Get(name)); v != "" {
			doc[name] = numberOrText(v)
		}
	}
	var main, fallback *alerts.Channels
	if base != nil {
		main, fallback = &base.Channels, base.Fallback
	}
	channels := channelsOf(f.Given, "", main)
	if channels == nil {
		channels = map[string]any{} // null would be the default, the inbox
	}
	doc["channels"] = channels
	doc["fallback"] = nil
	if channels := channelsOf(f.Given, fallbackPrefix, fallback); channels != nil {
		doc["fallback"] = channels
	}
	return plainly(doc)
}

// blame puts what is wrong beside the fields that it is about.
func (f *ruleForm) blame(err error) {
	fields, ok := fieldsOf(err)
	if !ok {
		f.Problem = sentence(fault.Detail(err))
		return
	}
	for _, field := range fields {
		name, text := f.field(field.Pointer, field.Detail)
		if name == "" {
			f.Problem = strings.TrimSpace(f.Problem + " " + sentence(field.Pointer+" "+field.Detail))
			continue
		}
		if strings.HasSuffix(name, "destination") {
			f.Wrong[name] = strings.TrimSpace(f.Wrong[name] + " " + text)
		} else if f.Wrong[name] == "" {
			f.Wrong[name] = text
		}
	}
}

// field returns the form's field for a JSON pointer into the rule, "" when there is none, and what to say
// there.
func (f *ruleForm) field(pointer, detail string) (name, text string) {
	text = sentence(detail)
	if detail == "is missing" || strings.HasPrefix(detail, "is missing;") || strings.HasSuffix(detail, "it has 0") {
		text = "Needed."
	}
	head, rest, _ := strings.Cut(strings.TrimPrefix(pointer, "/"), "/")
	switch head {
	case "condition":
		return f.conditionField(pointer, rest, text)
	case "channels", "fallback":
		prefix := ""
		if head == "fallback" {
			prefix = fallbackPrefix
		}
		part, rest, _ := strings.Cut(rest, "/")
		switch part {
		case "webhook":
			return prefix + part, text
		case "email":
			if i, err := strconv.Atoi(strings.TrimPrefix(rest, "to/")); err == nil {
				if to := splitList(f.Given.Get(prefix + part)); i < len(to) {
					text = "“" + to[i] + "” " + strings.TrimSuffix(detail, ".") + "."
				}
			}
			return prefix + part, text
		case "destination":
			return prefix + part, text
		}
		return prefix + "channels", text
	case "name", "user_id", "severity", "title", "message", "cooldown_hours", "ttl_seconds", "active":
		return head, text
	}
	return "", text
}

func (f *ruleForm) conditionField(pointer, rest, text string) (name, said string) {
	if f.Mode == modeJSON {
		if rest != "" {
			text = "At " + rest + ": " + text
		}
		return "condition", text
	}
	for i, row := range f.Rows {
		part, ok := strings.CutPrefix(pointer, row.pointer+"/")
		if !ok {
			if pointer != row.pointer || len(f.Rows) == 1 && pointer == "/condition" && !row.Not {
				continue
			}
			part = "type"
		}
		switch part {
		case "type", "metric", "op":
			return fieldOf(part, i), text
		case row.Form.Subject:
			return fieldOf("subject", i), text
		case row.Form.Limit:
			return fieldOf("value", i), text
		}
	}
	return "condition", text
}

// maxChoices is how many stored destinations the form offers.
const maxChoices = 100

// fill offers the choices that the form has, with those that the rule has already.
func (c *Console) fill(ctx context.Context, f *ruleForm, base *alerts.Rule) error {
	f.Types, f.Severities, f.Words = typeChoices(), alerts.Severities(), alerts.Placeholders()
	f.Types = slices.DeleteFunc(f.Types, func(t typeChoice) bool { return t.Type == alerts.Compound })
	if slices.ContainsFunc(f.Rows, func(r comparisonRow) bool { return r.Form.Subject == portfolioField }) {
		var err error
		if f.Portfolios, err = c.portfolioOptions(ctx, ""); err != nil {
			return err
		}
	}
	list, err := c.Destinations.List(ctx, auth.Tenant(ctx), "", maxChoices+1)
	if err != nil {
		return err
	}
	f.Main, f.Fallback = channelForm{Prefix: ""}, channelForm{Prefix: fallbackPrefix}
	if base != nil {
		f.Main.Webhook = webhookShown(&base.Channels)
		f.Fallback.Webhook = webhookShown(base.Fallback)
	}
	for _, form := range []*channelForm{&f.Main, &f.Fallback} {
		chosen := chosenDestinations(f.Given, form.Prefix)
		form.More = len(list) > maxChoices
		for _, e := range list[:min(len(list), maxChoices)] {
			form.Known = append(form.Known, testDestination{Name: e.Name, Channel: e.Channel, Enabled: e.Enabled, Chosen: slices.Contains(chosen, e.Name)})
		}
		for _, name := range chosen {
			if !slices.ContainsFunc(form.Known, func(d testDestination) bool { return d.Name == name }) {
				form.Known = append(form.Known, testDestination{Name: name, Enabled: true, Chosen: true})
			}
		}
	}
	return nil
}

func webhookShown(ch *alerts.Channels) string {
	if ch == nil || ch.Webhook == nil {
		return ""
	}
	return addressShown(delivery.Target{URL: ch.Webhook.URL})
}

// Options are a row's portfolios to choose from, with the one that it has.
func (f ruleForm) Options(row comparisonRow) []option {
	if f.Portfolios == nil || row.Subject == "" || slices.ContainsFunc(f.Portfolios, func(o option) bool { return o.Value == row.Subject }) {
		return f.Portfolios
	}
	return append(slices.Clone(f.Portfolios), option{row.Subject, row.Subject})
}

func (c *Console) newRule(w http.ResponseWriter, r *http.Request) error {
	f := ruleForm{
		Mode: modeFields, Join: joinAll, Rows: []comparisonRow{newRow(0, alerts.Metric)}, Wrong: map[string]string{}, Early: true,
		Given: url.Values{
			"severity": {string(alerts.Warning)}, "cooldown_hours": {"24"}, "inapp": {"yes"}, "active": {"yes"},
			"user_id": {strings.ToValidUTF8(r.URL.Query().Get("user_id"), "")},
		},
	}
	placeRows(f.Rows, f.Join)
	if err := c.fill(r.Context(), &f, nil); err != nil {
		return err
	}
	return c.showRuleForm(w, r, http.StatusOK, f)
}

func (c *Console) showRuleForm(w http.ResponseWriter, r *http.Request, status int, f ruleForm) error {
	title := "New alert rule"
	if f.ID != "" {
		title = "Edit " + f.Given.Get("name")
	}
	return c.render(w, r, status, "alert_edit", rulesPath, title, f)
}

func (c *Console) editRule(w http.ResponseWriter, r *http.Request) error {
	rule, err := c.pathRule(r)
	if err != nil {
		return err
	}
	f := ruleForm{ID: rule.ID.String(), Revision: rule.Revision, Wrong: map[string]string{}, Mode: modeFields, Given: url.Values{
		"name": {rule.Name}, "user_id": {rule.UserID}, "severity": {string(rule.Severity)}, "title": {rule.Title}, "message": {rule.Message},
		"cooldown_hours": {strconv.Itoa(int(rule.Cooldown / time.Hour))},
	}}
	var ok bool
	if f.Rows, f.Join, ok = rowsOf(rule.Condition); !ok {
		raw, err := rule.Condition.MarshalJSON()
		if err != nil {
			return err
		}
		f.Mode = modeJSON
		f.Given.Set("condition", pretty(raw))
	}
	f.Join = joinOf(f.Join)
	if rule.TTL > 0 {
		f.Given.Set("ttl_seconds", strconv.Itoa(int(rule.TTL/time.Second)))
	}
	if rule.Active {
		f.Given.Set("active", "yes")
	}
	f.giveChannels("", &rule.Channels)
	f.giveChannels(fallbackPrefix, rule.Fallback)
	if err := c.fill(r.Context(), &f, &rule); err != nil {
		return err
	}
	if f.Trial, err = c.try(r.Context(), rule); err != nil {
		return err
	}
	return c.showRuleForm(w, r, http.StatusOK, f)
}

// giveChannels puts channels into the form, without the address of a webhook.
func (f *ruleForm) giveChannels(prefix string, ch *alerts.Channels) {
	if ch == nil {
		return
	}
	if ch.Inapp {
		f.Given.Set(prefix+"inapp", "yes")
	}
	if ch.Email != nil {
		f.Given.Set(prefix+"email", strings.Join(ch.Email.To, ", "))
	}
	f.Given[prefix+"destination"] = ch.Destination
}

// postedForm reads the editor's form, and the rule that it is about.
func (c *Console) postedForm(r *http.Request) (f ruleForm, base *alerts.Rule, err error) {
	if err := r.ParseForm(); err != nil {
		return f, nil, fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	f = ruleForm{Given: r.PostForm, Mode: modeFields, Join: joinOf(r.PostForm.Get("join")), Wrong: map[string]string{}}
	if r.PostForm.Get("mode") == modeJSON {
		f.Mode = modeJSON
	}
	if f.Mode == modeFields {
		f.Rows = readRows(r.PostForm)
	}
	if id := r.PathValue("id"); id != "" {
		f.ID = id
	} else {
		f.ID = r.PostForm.Get("id") // of a check
	}
	if f.ID == "" {
		return f, nil, c.fill(r.Context(), &f, nil)
	}
	id, err := uuid.Parse(f.ID)
	if err != nil {
		return f, nil, fault.New(fault.NotFound, "there is no alert rule %q", f.ID)
	}
	rule, err := c.Rules.Rule(r.Context(), auth.Tenant(r.Context()), id)
	if err != nil {
		return f, nil, err
	}
	if f.Revision, err = strconv.Atoi(r.PostForm.Get("revision")); err != nil {
		return f, nil, fault.InvalidField("/revision", "is missing")
	}
	return f, &rule, c.fill(r.Context(), &f, &rule)
}

// read makes a rule of the form, and the document of it. The form says what is wrong when ok is false.
func (c *Console) readRule(ctx context.Context, f *ruleForm, base *alerts.Rule) (rule alerts.Rule, doc []byte, ok bool, err error) {
	if problem := reasonProblem(f.Given.Get("reason"), false); problem != "" {
		f.Wrong["reason"] = problem
	}
	condition, wrong := f.conditionOf()
	if wrong != "" {
		f.Wrong["condition"] = wrong
		condition = json.RawMessage("{}") // so that the rest is looked at, too
	}
	if doc, err = f.document(condition, base); err != nil {
		return alerts.Rule{}, nil, false, fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	if base == nil {
		rule, err = alerts.ParseRule(doc)
		rule.TenantID = auth.Tenant(ctx)
	} else {
		rule, err = alerts.Merge(*base, doc)
	}
	if err == nil && len(f.Wrong) == 0 {
		err = c.Evaluator.Check(ctx, rule)
	}
	if err != nil {
		if code := fault.CodeOf(err); code != fault.Invalid && code != fault.TooLarge {
			return alerts.Rule{}, nil, false, err
		}
		f.blame(err)
	}
	return rule, doc, err == nil && len(f.Wrong) == 0, nil
}

// checkRule says what is wrong with what is being typed, and what the rule would do with today's values.
// What a condition comes to is told as soon as the condition is right, whatever the rest is.
func (c *Console) checkRule(w http.ResponseWriter, r *http.Request) error {
	f, base, err := c.postedForm(r)
	if err != nil {
		return err
	}
	f.Early = true
	rule, _, ok, err := c.readRule(r.Context(), &f, base)
	if err != nil {
		return err
	}
	if !ok {
		rule = alerts.Rule{TenantID: auth.Tenant(r.Context()), Active: true, Channels: alerts.Channels{Inapp: true}, State: alerts.OK}
		raw, wrong := f.conditionOf()
		if wrong == "" {
			rule.Condition, err = alerts.ParseCondition(raw, "/condition")
		}
		ok = wrong == "" && err == nil
	}
	if ok {
		t, err := c.Evaluator.Try(r.Context(), rule)
		if err != nil {
			return err
		}
		if len(f.Wrong) > 0 || f.Problem != "" { // of a stand-in, which says nothing to anybody
			t.Problem, t.Signal = "", alerts.Signal{}
		}
		if f.Trial, err = c.tell(r.Context(), t); err != nil {
			return err
		}
	}
	return c.render(w, r, http.StatusOK, "alert_check", rulesPath, "Check of a rule", f)
}

// reshapeRule shows the form with another type's fields, one comparison more or less, or in the other way
// to write a condition; nothing is checked or saved. Without scripts its buttons bring the whole page.
func (c *Console) reshapeRule(w http.ResponseWriter, r *http.Request) error {
	f, base, err := c.postedForm(r)
	if err != nil {
		return err
	}
	f.Early = true
	was := r.PostForm.Get("was")
	switch {
	case f.Mode == modeJSON && was != modeJSON: // what stands in the fields is the beginning
		fields := ruleForm{Mode: modeFields, Join: f.Join, Rows: readRows(f.Given)}
		if raw, wrong := fields.conditionOf(); wrong == "" {
			f.Given.Set("condition", pretty(raw))
		}
	case f.Mode == modeFields && was == modeJSON:
		raw := []byte(strings.TrimSpace(f.Given.Get("condition")))
		parsed, err := alerts.ParseCondition(raw, "/condition")
		rows, join, ok := rowsOf(parsed)
		switch {
		case len(raw) == 0:
		case err != nil:
			f.Mode, f.Rows = modeJSON, nil
			f.Wrong["condition"] = "It must be right before it can be shown in fields."
		case !ok:
			f.Mode, f.Rows = modeJSON, nil
			f.Wrong["condition"] = "It is a tree within a tree, which fields can't show; it can be written as JSON alone."
		default:
			f.Rows, f.Join = rows, joinOf(join)
		}
	case f.Given.Get("add") != "" && len(f.Rows) > 0 && !f.Full():
		f.Rows = append(f.Rows, newRow(len(f.Rows), f.Rows[len(f.Rows)-1].Type))
		placeRows(f.Rows, f.Join)
	default:
		if i, ok := whole(f.Given.Get("remove"), 0, len(f.Rows)-1); ok && len(f.Rows) > 1 {
			f.Rows = slices.Delete(f.Rows, i, i+1)
			placeRows(f.Rows, f.Join)
		}
	}
	if err := c.fill(r.Context(), &f, base); err != nil { // rows may need portfolios now
		return err
	}
	w.Header().Set("HX-Trigger-After-Settle", "rule-reshaped") // the page has it checked anew
	return c.showRuleForm(w, r, http.StatusOK, f)
}

func (c *Console) createRule(w http.ResponseWriter, r *http.Request) error {
	f, _, err := c.postedForm(r)
	if err != nil {
		return err
	}
	rule, _, ok, err := c.readRule(r.Context(), &f, nil)
	if err != nil {
		return err
	}
	if !ok {
		return c.showRuleForm(w, r, http.StatusUnprocessableEntity, f)
	}
	rule, err = c.Rules.CreateRule(r.Context(), rule, c.by(r.Context(), "").Actor)
	if fault.CodeOf(err) == fault.Conflict { // there are too many
		f.Problem = sentence(fault.Detail(err))
		return c.showRuleForm(w, r, http.StatusUnprocessableEntity, f)
	}
	if err != nil {
		return err
	}
	return done(w, r, rulesPath+"/"+rule.ID.String(), "The rule is saved. The next evaluation takes it in.")
}

func (c *Console) updateRule(w http.ResponseWriter, r *http.Request) error {
	f, base, err := c.postedForm(r)
	if err != nil {
		return err
	}
	if over, ok := whole(f.Given.Get("over"), 1, base.Revision); ok { // the reader knows of the other's change
		f.Revision = over
	}
	merged, doc, ok, err := c.readRule(r.Context(), &f, base)
	if err != nil {
		return err
	}
	if f.Revision != base.Revision {
		f.Present, ok = base.Revision, false
	}
	if ok {
		err := c.saveRule(r.Context(), &f, *base, merged, doc)
		if err == nil {
			return done(w, r, rulesPath+"/"+base.ID.String(), "The rule is saved.")
		}
		if fault.CodeOf(err) != fault.Conflict {
			return err
		}
		now, err := c.Rules.Rule(r.Context(), auth.Tenant(r.Context()), base.ID)
		if err != nil {
			return err
		}
		f.Present = now.Revision
	}
	return c.showRuleForm(w, r, http.StatusUnprocessableEntity, f)
}

// saveRule writes a rule that is still at the form's revision.
func (c *Console) saveRule(ctx context.Context, f *ruleForm, before, after alerts.Rule, doc []byte) error {
	detail, err := json.Marshal(map[string][]string{"fields": changedFields(before, after)})
	if err != nil {
		return err
	}
	by := c.by(ctx, strings.TrimSpace(f.Given.Get("reason")))
	entry := audit.Entry{Actor: by.Actor, Action: "rule.update", Reason: by.Reason, Detail: detail}
	_, err = c.Rules.ChangeRule(ctx, auth.Tenant(ctx), before.ID, f.Revision, entry, func(now alerts.Rule) (alerts.Rule, error) {
		return alerts.Merge(now, doc)
	})
	return err
}

// changedFields names the fields in which rules differ, as the API calls them.
func changedFields(a, b alerts.Rule) []string {
	list := []string{}
	for _, field := range []struct {
		name string
		of   func(alerts.Rule) any
	}{
		{"active", func(r alerts.Rule) any { return r.Active }},
		{"channels", func(r alerts.Rule) any { return r.Channels }},
		{"condition", func(r alerts.Rule) any { return r.Condition }},
		{"cooldown_hours", func(r alerts.Rule) any { return r.Cooldown }},
		{"fallback", func(r alerts.Rule) any { return r.Fallback }},
		{"message", func(r alerts.Rule) any { return r.Message }},
		{"name", func(r alerts.Rule) any { return r.Name }},
		{"severity", func(r alerts.Rule) any { return r.Severity }},
		{"title", func(r alerts.Rule) any { return r.Title }},
		{"ttl_seconds", func(r alerts.Rule) any { return r.TTL }},
		{"user_id", func(r alerts.Rule) any { return r.UserID }},
	} {
		before, errBefore := plainly(field.of(a))
		after, errAfter := plainly(field.of(b))
		if errBefore != nil || errAfter != nil || !bytes.Equal(before, after) {
			list = append(list, field.name)
		}
	}
	return list
}
