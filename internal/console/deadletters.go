package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// DeadLetters knows dead letters and acts on them.
type DeadLetters interface {
	DeadLetters(ctx context.Context, tenantID string, f delivery.LetterFilter, before uuid.UUID, limit int) ([]delivery.DeadLetter, error)
	DeadLetter(ctx context.Context, tenantID string, id uuid.UUID) (delivery.DeadLetter, []delivery.Attempt, error)
	LetterCounts(ctx context.Context, tenantID string, f delivery.LetterFilter) (counts []delivery.LetterCount, complete bool, err error)
	ReplayDeadLetter(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.DeadLetter, error)
	DiscardDeadLetter(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.DeadLetter, error)
	PreviewOperation(ctx context.Context, tenantID string, kind delivery.OperationKind, f delivery.LetterFilter) (delivery.Preview, error)
	StartOperation(ctx context.Context, o delivery.Operation) (delivery.Operation, error)
	Operation(ctx context.Context, tenantID string, id uuid.UUID) (delivery.Operation, error)
	Operations(ctx context.Context, tenantID string, before uuid.UUID, limit int) ([]delivery.Operation, error)
	RunningOperations(ctx context.Context, tenantID string, limit int) ([]delivery.Operation, error)
	ContinueOperation(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.Operation, error)
	CancelOperation(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.Operation, error)
}

const (
	lettersPath    = "/console/dlq"
	actPath        = "/console/dlq/act"
	operationsPath = "/console/operations"
)

func (c *Console) deadLetterRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: lettersPath, Handler: c.letters},
		{Method: http.MethodGet, Path: actPath, Handler: c.letterAction},
		{Method: http.MethodPost, Path: actPath, Handler: c.actOnLetters},
		{Method: http.MethodGet, Path: lettersPath + "/{id}", Handler: c.letter},
		{Method: http.MethodGet, Path: operationsPath, Handler: c.operations},
		{Method: http.MethodGet, Path: operationsPath + "/{id}", Handler: c.operation},
		{Method: http.MethodGet, Path: operationsPath + "/{id}/{act}", Handler: c.operationAction},
		{Method: http.MethodPost, Path: operationsPath + "/{id}/{act}", Handler: c.actOnOperation},
	}
}

// letterForm is a filter of dead letters as it stands in an address.
type letterForm struct {
	State         string // a state, "any", or "" for those that are open
	Channel       string
	Destination   string
	Cause         string
	AlertID       string
	UserID        string
	Q             string
	CreatedAfter  string
	CreatedBefore string
	OperationID   string
	Errors        map[string]string // by parameter
}

// anyState selects letters in all states.
const anyState = "any"

// letterStates and letterCauses are those that there are.
var (
	letterStates = []delivery.State{delivery.Pending, delivery.Exhausted, delivery.Discarded, delivery.Expired, delivery.Superseded}
	letterCauses = []delivery.Cause{
		delivery.DNS, delivery.Connect, delivery.TLS, delivery.Timeout, delivery.HTTP4xx, delivery.HTTP429, delivery.HTTP5xx,
		delivery.SMTP4xx, delivery.SMTP5xx, delivery.BreakerOpen, delivery.Rejected, delivery.Payload, delivery.Interrupted, delivery.Internal,
	}
	letterChannels = []string{"inapp", "webhook", "email", "chat"}
)

// formParameter is one of a form's values.
type formParameter struct {
	name  string
	value *string
	most  int // characters
}

// parameters are the form's values by their names in an address, in the form's order.
func (f *letterForm) parameters() []formParameter {
	return []formParameter{
		{"state", &f.State, 20},
		{"cause", &f.Cause, 20},
		{"channel", &f.Channel, 50},
		{"destination", &f.Destination, 63},
		{"q", &f.Q, 200},
		{"alert_id", &f.AlertID, 200},
		{"user_id", &f.UserID, 200},
		{"created_after", &f.CreatedAfter, 40},
		{"created_before", &f.CreatedBefore, 40},
		{"operation_id", &f.OperationID, 36},
	}
}

// readLetterForm reads a filter and what it selects. What is wrong stands in the form's Errors.
func readLetterForm(q url.Values) (letterForm, delivery.LetterFilter) {
	f := letterForm{Errors: map[string]string{}}
	for _, p := range f.parameters() {
		*p.value = strings.TrimSpace(q.Get(p.name))
		switch {
		case !utf8.ValidString(*p.value), strings.ContainsRune(*p.value, 0):
			*p.value = ""
			f.Errors[p.name] = "This is no text."
		case utf8.RuneCountInString(*p.value) > p.most:
			f.Errors[p.name] = fmt.Sprintf("At most %d characters.", p.most)
		}
	}
	if f.State == "open" {
		f.State = ""
	}
	selected := delivery.LetterFilter{
		Channel: f.Channel, Destination: f.Destination, AlertID: f.AlertID, UserID: f.UserID, Search: f.Q,
		State: delivery.State(f.State), Cause: delivery.Cause(f.Cause),
	}
	switch f.State {
	case "":
		selected.Open = true
	case anyState:
		selected.State = ""
	default:
		if !slices.Contains(letterStates, selected.State) {
			f.Errors["state"] = "There is no such state."
		}
	}
	if f.Cause != "" && !slices.Contains(letterCauses, selected.Cause) {
		f.Errors["cause"] = "There is no such cause."
	}
	selected.CreatedAfter = f.time("created_after", &f.CreatedAfter)
	selected.CreatedBefore = f.time("created_before", &f.CreatedBefore)
	if f.OperationID != "" {
		id, err := uuid.Parse(f.OperationID)
		if err != nil {
			f.Errors["operation_id"] = "This is not the id of an operation."
		}
		selected.OperationID = id
	}
	return f, selected
}

// time reads a time, in UTC where it does not say otherwise, and writes it as a browser's field wants it.
func (f *letterForm) time(name string, value *string) time.Time {
	if *value == "" {
		return time.Time{}
	}
	if t, ok := timeOfField(*value); ok {
		*value = t.Format(formTime)
		return t
	}
	f.Errors[name] = "A time such as 2026-11-25T10:00."
	return time.Time{}
}

// query is the filter as it stands in an address.
func (f letterForm) query() url.Values {
	q := url.Values{}
	for _, p := range f.parameters() {
		if *p.value != "" {
			q.Set(p.name, *p.value)
		}
	}
	return q
}

// More reports whether one of the filters is in use that the form folds away.
func (f letterForm) More() bool {
	return f.AlertID+f.UserID+f.CreatedAfter+f.CreatedBefore+f.OperationID+
		f.Errors["alert_id"]+f.Errors["user_id"]+f.Errors["created_after"]+f.Errors["created_before"]+f.Errors["operation_id"] != ""
}

// Used reports whether the filter leaves open letters out.
func (f letterForm) Used() bool { return len(f.query()) > 0 }

// Words tells what the filter selects.
func (f letterForm) Words() string {
	state := f.State
	switch state {
	case "":
		state = "open"
	case anyState:
		state = "all"
	}
	text := state + " letters"
	for _, p := range []struct{ value, before, after string }{
		{words(f.Cause), "with the cause ", ""},
		{f.Channel, "on the channel ", ""},
		{f.Destination, "to the destination ", ""},
		{f.AlertID, "of the alert ", ""},
		{f.UserID, "for the user ", ""},
		{f.Q, "with “", "” in title, message or error"},
		{strings.Replace(f.CreatedAfter, "T", " ", 1), "that first failed at or after ", " UTC"},
		{strings.Replace(f.CreatedBefore, "T", " ", 1), "that first failed before ", " UTC"},
		{f.OperationID, "that the operation ", " has taken on"},
	} {
		if p.value != "" {
			text += ", " + p.before + p.value + p.after
		}
	}
	return text
}

// chip leads to a list with one filter changed.
type chip struct {
	Name    string
	Address string
	Current bool
	Letters string // how many, "" where they have not been counted
}

// letterGroup is a cause with its letters.
type letterGroup struct {
	Cause     delivery.Cause
	Letters   int
	Pending   int
	Exhausted int
	Oldest    time.Time
	Address   string
	query     url.Values // of the group
}

// In is where those of its letters are that are in a state.
func (g letterGroup) In(state string) string {
	return address(lettersPath, with(g.query, "state", state))
}

// Act is where something is done to all of its letters.
func (g letterGroup) Act(action string) string { return actOn(action, g.query) }

// actOn is where something is done to all letters that match.
func actOn(action string, filter url.Values) string {
	return address(actPath, with(filter, "action", action))
}

// letterRow is a letter in the list.
type letterRow struct {
	delivery.DeadLetter
	Address string
}

type letterPage struct {
	Form      letterForm
	States    []chip
	Causes    []chip
	Uncounted string // why there are no counts
	Complete  bool
	Total     string // letters that match, "" where they have not been counted
	Grouped   bool
	ListPath  string // without groups
	GroupPath string
	Groups    []letterGroup
	Rows      []letterRow
	Pager     pager
	Replay    string // why what matches can't be replayed, "" when it can
	Discard   string
	Back      string // this page
	Mixed     bool   // letters in all states are shown: what is done to all that match takes those in one, or the open ones
	Done      string
	Undo      string // address of the action that undoes what was done
	AllStates []delivery.State
	AllCauses []delivery.Cause
	Channels  []string
}

// letters is the table of dead letters.
func (c *Console) letters(w http.ResponseWriter, r *http.Request) error {
	given := r.URL.Query()
	form, filter := readLetterForm(given)
	p := letterPage{
		Form: form, Complete: true, Grouped: given.Get("group") == "cause", Done: given.Get("done"),
		AllStates: letterStates, AllCauses: letterCauses, Channels: letterChannels, Mixed: form.State == anyState,
	}
	p.ListPath, p.GroupPath = address(lettersPath, form.query()), address(lettersPath, with(form.query(), "group", "cause"))
	p.Back = p.ListPath
	if p.Grouped {
		p.Back = p.GroupPath
	}
	if len(form.Errors) > 0 {
		return c.render(w, r, http.StatusUnprocessableEntity, "dlq", lettersPath, "Dead letters", p)
	}
	switch filter.State {
	case delivery.Discarded:
		p.Discard = "These letters are discarded already."
	case delivery.Expired, delivery.Superseded:
		p.Replay = "Letters that are " + string(filter.State) + " are not sent any more."
		p.Discard = "These letters are closed already."
	default:
	}
	if undo := undoes(given.Get("undo")); undo != nil {
		p.Undo = address(actPath, url.Values{"action": {"replay"}, "id": undo, "back": {p.Back}})
	}
	if err := c.countLetters(r.Context(), &p, filter); err != nil {
		return err
	}
	if !p.Grouped {
		before := uuid.Max
		if err := cursor(r, &before); err != nil {
			return err
		}
		list, err := c.DeadLetters.DeadLetters(r.Context(), auth.Tenant(r.Context()), filter, before, pageSize+1)
		if err != nil {
			return err
		}
		var next any
		if len(list) > pageSize {
			list = list[:pageSize]
			next = list[pageSize-1].ID
		}
		for _, l := range list {
			p.Rows = append(p.Rows, letterRow{l, letterAddress(l)})
		}
		here := r.Clone(r.Context())
		delete(given, "undo") // is about this once
		here.URL.RawQuery = given.Encode()
		if p.Pager, err = newPager(here, next); err != nil {
			return err
		}
	}
	return c.render(w, r, http.StatusOK, "dlq", lettersPath, "Dead letters", p)
}

// countLetters fills in how many letters there are by state and cause. That the counting took too long is
// no reason not to show the letters.
func (c *Console) countLetters(ctx context.Context, p *letterPage, filter delivery.LetterFilter) error {
	// Every chip of a kind tells how many letters there would be if it were chosen.
	look := filter
	look.Cause = ""
	if filter.State == delivery.Pending || filter.State == delivery.Exhausted {
		look.State, look.Open = "", true
	}
	counts, complete, err := c.DeadLetters.LetterCounts(ctx, auth.Tenant(ctx), look)
	if fault.CodeOf(err) == fault.Timeout && ctx.Err() == nil {
		p.Uncounted = fault.Detail(err)
	} else if err != nil {
		return err
	}
	p.Complete = complete || p.Uncounted != ""
	states, causes := map[delivery.State]int{}, map[delivery.Cause]*letterGroup{}
	total := 0
	for _, n := range counts {
		if filter.Cause == "" || n.Cause == filter.Cause {
			states[n.State] += n.Letters
		}
		if filter.State != "" && n.State != filter.State {
			continue
		}
		if filter.Cause == "" || n.Cause == filter.Cause {
			total += n.Letters
		}
		g := causes[n.Cause]
		if g == nil {
			q := with(p.Form.query(), "cause", string(n.Cause))
			g = &letterGroup{Cause: n.Cause, Oldest: n.Oldest, Address: address(lettersPath, q), query: q}
			causes[n.Cause] = g
		}
		g.Letters += n.Letters
		switch n.State {
		case delivery.Pending:
			g.Pending += n.Letters
		case delivery.Exhausted:
			g.Exhausted += n.Letters
		default:
		}
		if n.Oldest.Before(g.Oldest) {
			g.Oldest = n.Oldest
		}
	}
	for _, g := range causes {
		if filter.Cause == "" || g.Cause == filter.Cause {
			p.Groups = append(p.Groups, *g)
		}
	}
	slices.SortFunc(p.Groups, func(a, b letterGroup) int {
		return cmp.Or(cmp.Compare(b.Letters, a.Letters), cmp.Compare(a.Cause, b.Cause))
	})
	counted := p.Uncounted == "" && complete
	if counted {
		p.Total = count(total)
	}
	p.States = p.stateChips(states, counted, look)
	for _, cause := range letterCauses {
		g, current := causes[cause], p.Form.Cause == string(cause)
		if g == nil && !current {
			continue
		}
		ch := chip{Name: string(cause), Current: current, Address: p.address("cause", string(cause))}
		if current { // once more lets go of it
			ch.Address = p.address("cause", "")
		}
		if counted {
			n := 0
			if g != nil {
				n = g.Letters
			}
			ch.Letters = count(n)
		}
		p.Causes = append(p.Causes, ch)
	}
	return nil
}

// Act is where something is done to all letters that match.
func (p letterPage) Act(action string) string { return actOn(action, p.Form.query()) }

// address is this list's with one filter set, or taken out.
func (p *letterPage) address(name, value string) string {
	q := with(p.Form.query(), name, value)
	if p.Grouped {
		q.Set("group", "cause")
	}
	return address(lettersPath, q)
}

// stateChips lead to the states. look is what was counted; of what lies beyond it nothing is known.
func (p *letterPage) stateChips(letters map[delivery.State]int, counted bool, look delivery.LetterFilter) []chip {
	everywhere := look.State == "" && !look.Open
	all := 0
	for _, n := range letters {
		all += n
	}
	open := letters[delivery.Pending] + letters[delivery.Exhausted]
	made := func(name, state string, known bool, n int) chip {
		ch := chip{Name: name, Address: p.address("state", state), Current: p.Form.State == state}
		if counted && known {
			ch.Letters = count(n)
		}
		return ch
	}
	chips := []chip{made("open", "", look.Open || everywhere, open)}
	for _, s := range letterStates {
		isOpen := s == delivery.Pending || s == delivery.Exhausted
		chips = append(chips, made(string(s), string(s), everywhere || look.Open && isOpen || look.State == s, letters[s]))
	}
	return append(chips, made(anyState, anyState, everywhere, all))
}

// letterAddress is where a letter is shown. It names the event, so that something can be told of a letter
// that has been delivered and left.
func letterAddress(l delivery.DeadLetter) string { return letterOf(l.ID, l.Event.ID, l.Target()) }

func letterOf(id, event uuid.UUID, t delivery.Target) string {
	return address(lettersPath+"/"+id.String(), url.Values{"event": {event.String()}, "target": {t.Key()}})
}

// undoes reads the ids of letters that were just discarded.
func undoes(given string) []string {
	if given == "" {
		return nil
	}
	ids := strings.Split(given, ",")
	if len(ids) > pageSize {
		return nil
	}
	for _, id := range ids {
		if uuid.Validate(id) != nil {
			return nil
		}
	}
	return ids
}

// receiver tells where a target leads, without the parts of an address that often hold secrets.
func receiver(t delivery.Target) string {
	if t.Destination != "" {
		return t.Destination
	}
	return delivery.ShownURL(t.URL)
}

// sentence makes one of a text that Explain has written.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	if word, _, _ := strings.Cut(text, " "); !strings.Contains(word, "_") { // a name such as http_4xx stays
		text = capitalized(text)
	}
	if !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	return text
}

// letterDetail is one letter with all that is known of it.
type letterDetail struct {
	Letter    delivery.DeadLetter
	Attempts  []delivery.Attempt
	Standing  delivery.Standing
	Timeline  []delivery.Line
	Past      bool // the event itself is past its retention
	Targets   int  // of the event
	Rule      string
	Audit     []audit.Entry
	MoreAudit bool
	Replay    string // address of the action, "" where it is not possible
	Discard   string
	Done      string
	Undo      string
}

// letter shows why a letter is not delivered, and what happened to it.
func (c *Console) letter(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	l, attempts, err := c.DeadLetters.DeadLetter(r.Context(), auth.Tenant(r.Context()), id)
	if fault.CodeOf(err) == fault.NotFound {
		return c.letterGone(w, r, id, err)
	}
	if err != nil {
		return err
	}
	d := letterDetail{Letter: l, Attempts: attempts, Standing: delivery.ExplainLetter(l, time.Time{}), Done: r.URL.Query().Get("done")}
	e, targets, err := c.Deliveries.History(r.Context(), auth.Tenant(r.Context()), l.Event.ID)
	switch {
	case fault.CodeOf(err) == fault.NotFound:
		d.Past = true
	case err != nil:
		return err
	default:
		d.Timeline, d.Targets = delivery.Explain(e, targets, time.Time{}).Timeline, len(targets)
	}
	if l.Event.Source == delivery.Rule && uuid.Validate(l.Event.AlertID) == nil {
		d.Rule = "/console/alerts/" + l.Event.AlertID
	}
	const most = 20
	if d.Audit, err = c.AuditLog.AuditLog(r.Context(), auth.Tenant(r.Context()), audit.Filter{Subject: "dead_letter", SubjectID: id.String()}, uuid.Max, most+1); err != nil {
		return err
	}
	if d.MoreAudit = len(d.Audit) > most; d.MoreAudit {
		d.Audit = d.Audit[:most]
	}
	act := func(action string) string {
		return address(actPath, url.Values{"action": {action}, "id": {id.String()}, "back": {letterAddress(l)}})
	}
	switch l.State {
	case delivery.Pending, delivery.Exhausted:
		d.Replay, d.Discard = act("replay"), act("discard")
	case delivery.Discarded:
		d.Replay = act("replay")
	default:
	}
	if undoes(r.URL.Query().Get("undo")) != nil {
		d.Undo = d.Replay
	}
	return c.render(w, r, http.StatusOK, "dlq_letter", lettersPath, cmp.Or(l.Event.Title, "Dead letter"), d)
}

// goneLetter is a letter that has been delivered.
type goneLetter struct {
	ID       uuid.UUID
	Event    delivery.Event
	Target   delivery.Target
	Standing delivery.Standing
	Attempts []delivery.Attempt
	Done     string
}

// letterGone tells that a letter was delivered, if whoever asks says what it was, or somebody has acted on
// it: a delivered letter is in no table. missing is the answer when nothing is known of it.
func (c *Console) letterGone(w http.ResponseWriter, r *http.Request, id uuid.UUID, missing error) error {
	eventID, target := r.URL.Query().Get("event"), r.URL.Query().Get("target")
	if eventID == "" {
		acts, err := c.AuditLog.AuditLog(r.Context(), auth.Tenant(r.Context()), audit.Filter{Subject: "dead_letter", SubjectID: id.String()}, uuid.Max, 1)
		if err != nil {
			return err
		}
		if len(acts) > 0 {
			var of struct {
				EventID string `json:"event_id"`
				Target  string `json:"target"`
			}
			if err := json.Unmarshal(acts[0].Detail, &of); err != nil {
				return fmt.Errorf("audit entry %s: %w", acts[0].ID, err)
			}
			eventID, target = of.EventID, of.Target
		}
	}
	event, err := uuid.Parse(eventID)
	if err != nil {
		return missing
	}
	e, targets, err := c.Deliveries.History(r.Context(), auth.Tenant(r.Context()), event)
	if fault.CodeOf(err) == fault.NotFound {
		return missing
	}
	if err != nil {
		return err
	}
	x := delivery.Explain(e, targets, time.Time{})
	for i, t := range targets {
		if t.Target.Key() == target && t.State == delivery.Delivered {
			g := goneLetter{ID: id, Event: e, Target: t.Target, Standing: x.Targets[i], Attempts: t.Attempts, Done: r.URL.Query().Get("done")}
			return c.render(w, r, http.StatusOK, "dlq_gone", lettersPath, "Delivered: "+e.Title, g)
		}
	}
	return missing
}
