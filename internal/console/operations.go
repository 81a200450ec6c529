package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

const (
	maxReason            = 500 // characters, as the API's
	maxStopAfterFailures = 1_000_000
	shownSample          = 5 // letters of which an action shows more than the id
)

// letterAct is a replay or discard before it happens: of letters that were chosen one by one, or of all that
// match a filter.
type letterAct struct {
	Kind      delivery.OperationKind
	Dialog    bool // inside of a page
	IDs       []string
	Query     []parameter // the filter, to be sent along
	Form      letterForm
	All       bool // the filter leaves nothing out: that has to be said
	Confirmed bool
	Total     int
	More      bool // than Total
	Sample    []letterRow
	Left      int    // letters that left the queue since they were chosen
	Refused   string // why nothing can be done
	Reason    string
	PerSecond string
	StopAfter string
	Back      string
	Errors    map[string]string
}

// actFields are the fields of an action that are no filter.
var actFields = []string{"action", "back", "reason", "per_second", "stop_after_failures", "all"}

// parameter is a hidden field.
type parameter struct{ Name, Value string }

// readLetterAct reads what is to be done, from an address or a form. Wrong filters are errors: no page of
// ours asks for them.
func (c *Console) readLetterAct(r *http.Request) (letterAct, delivery.LetterFilter, []uuid.UUID, error) {
	if err := r.ParseForm(); err != nil {
		return letterAct{}, delivery.LetterFilter{}, nil, fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	a := letterAct{
		Kind: delivery.OperationKind(r.Form.Get("action")), Dialog: r.Header.Get("HX-Target") == "dialog",
		Confirmed: r.PostForm.Get("all") == "true", Reason: strings.TrimSpace(r.PostForm.Get("reason")),
		PerSecond: strconv.Itoa(delivery.DefaultPerSecond), StopAfter: strconv.Itoa(delivery.DefaultStopAfterFailures),
		Back: backTo(r.Form.Get("back")), Errors: map[string]string{},
	}
	if r.PostForm.Has("per_second") {
		a.PerSecond = strings.TrimSpace(r.PostForm.Get("per_second"))
	}
	if r.PostForm.Has("stop_after_failures") {
		a.StopAfter = strings.TrimSpace(r.PostForm.Get("stop_after_failures"))
	}
	fail := func(err error) (letterAct, delivery.LetterFilter, []uuid.UUID, error) {
		return letterAct{}, delivery.LetterFilter{}, nil, err
	}
	if a.Kind != delivery.Replay && a.Kind != delivery.Discard {
		return fail(fault.InvalidField("/action", "must be replay or discard"))
	}
	if r.Form.Get("of") == "selection" || r.Form.Has("id") {
		ids, err := chosen(r.Form["id"])
		if err != nil {
			return fail(err)
		}
		for _, id := range ids {
			a.IDs = append(a.IDs, id.String())
		}
		a.Total = len(ids)
		return a, delivery.LetterFilter{}, ids, nil
	}
	// A filter that is misspelt would select more than is meant.
	for name := range r.Form {
		if !slices.Contains(actFields, name) && !slices.ContainsFunc((&letterForm{}).parameters(), func(p formParameter) bool { return p.name == name }) {
			return fail(fault.InvalidField("/"+name, "is no filter of dead letters"))
		}
	}
	form, filter := readLetterForm(r.Form)
	for name, problem := range form.Errors {
		return fail(fault.InvalidField("/"+name, "%s", problem))
	}
	if form.State == anyState { // of closed letters, an operation takes only those of a state that is named
		form.State = ""
	}
	filter.Open = false // operations take the open ones where no state is named
	a.Form, a.All = form, filter == (delivery.LetterFilter{})
	for name, values := range form.query() {
		a.Query = append(a.Query, parameter{name, values[0]})
	}
	return a, filter, nil, nil
}

// chosen reads the ids of letters that were selected.
func chosen(given []string) ([]uuid.UUID, error) {
	switch {
	case len(given) == 0:
		return nil, fault.InvalidField("/id", "select at least one letter")
	case len(given) > pageSize:
		return nil, fault.InvalidField("/id", "are more than the %d letters of a page; use a filter for more", pageSize)
	}
	var ids []uuid.UUID
	seen := map[uuid.UUID]bool{}
	for _, g := range given {
		id, err := uuid.Parse(g)
		if err != nil {
			return nil, fault.InvalidField("/id", "%q is no letter's id", g)
		}
		if !seen[id] {
			ids, seen[id] = append(ids, id), true
		}
	}
	return ids, nil
}

// backTo is the page to come back to after an action: one of the dead letters'.
func backTo(given string) string {
	u, err := url.ParseRequestURI(given)
	if err != nil || u.IsAbs() || u.Host != "" || u.Path != lettersPath && !strings.HasPrefix(u.Path, lettersPath+"/") {
		return lettersPath
	}
	return u.RequestURI()
}

// letterAction asks before anything happens: how many letters, which, and why.
func (c *Console) letterAction(w http.ResponseWriter, r *http.Request) error {
	a, filter, ids, err := c.readLetterAct(r)
	if err != nil {
		return err
	}
	return c.askLetterAct(w, r, http.StatusOK, a, filter, ids)
}

func (c *Console) askLetterAct(w http.ResponseWriter, r *http.Request, status int, a letterAct, filter delivery.LetterFilter, ids []uuid.UUID) error {
	if ids == nil {
		p, err := c.DeadLetters.PreviewOperation(r.Context(), auth.Tenant(r.Context()), a.Kind, filter)
		if code := fault.CodeOf(err); code == fault.Invalid || code == fault.Timeout && r.Context().Err() == nil {
			a.Refused = withoutPointer(err)
		} else if err != nil {
			return err
		}
		a.Total, a.More, ids = min(p.Total, delivery.MaxCounted), p.Total > delivery.MaxCounted, p.Sample
	}
	if len(ids) > shownSample {
		ids = ids[:shownSample]
	}
	for _, id := range ids {
		l, _, err := c.DeadLetters.DeadLetter(r.Context(), auth.Tenant(r.Context()), id)
		if fault.CodeOf(err) == fault.NotFound {
			a.Left++
			continue
		}
		if err != nil {
			return err
		}
		a.Sample = append(a.Sample, letterRow{l, letterAddress(l)})
	}
	title := "Replay dead letters"
	if a.Kind == delivery.Discard {
		title = "Discard dead letters"
	}
	return c.render(w, r, status, "dlq_act", lettersPath, title, a)
}

// withoutPointer is what is wrong, without where in a request of the API.
func withoutPointer(err error) string {
	detail := fault.Detail(err)
	if strings.HasPrefix(detail, "/") {
		if _, text, ok := strings.Cut(detail, ": "); ok {
			detail = text
		}
	}
	return sentence(detail)
}

// reasonProblem says what is wrong with a reason.
func reasonProblem(reason string, required bool) string {
	switch {
	case reason == "" && required:
		return "Say why: it is kept in the audit trail."
	case !utf8.ValidString(reason):
		return "This is no text."
	case utf8.RuneCountInString(reason) > maxReason:
		return fmt.Sprintf("At most %d characters.", maxReason)
	default:
		return ""
	}
}

// actOnLetters does what letterAction asked about.
func (c *Console) actOnLetters(w http.ResponseWriter, r *http.Request) error {
	a, filter, ids, err := c.readLetterAct(r)
	if err != nil {
		return err
	}
	if problem := reasonProblem(a.Reason, true); problem != "" {
		a.Errors["reason"] = problem
	}
	if ids != nil {
		if len(a.Errors) > 0 {
			return c.askLetterAct(w, r, http.StatusUnprocessableEntity, a, filter, ids)
		}
		return c.actSingly(w, r, a, ids)
	}
	perSecond, ok := whole(a.PerSecond, 1, delivery.MaxPerSecond)
	if !ok {
		a.Errors["per_second"] = fmt.Sprintf("A whole number from 1 to %d.", delivery.MaxPerSecond)
	}
	stopAfter, ok := whole(a.StopAfter, 0, maxStopAfterFailures)
	if !ok {
		a.Errors["stop_after_failures"] = fmt.Sprintf("A whole number from 0 to %d.", maxStopAfterFailures)
	}
	if a.All && !a.Confirmed {
		a.Errors["all"] = "No filter is set: confirm that all open letters are meant."
	}
	if len(a.Errors) > 0 {
		return c.askLetterAct(w, r, http.StatusUnprocessableEntity, a, filter, nil)
	}
	o, err := c.DeadLetters.StartOperation(r.Context(), delivery.Operation{
		TenantID: auth.Tenant(r.Context()), Kind: a.Kind, Filter: filter, By: c.by(r.Context(), a.Reason), PerSecond: perSecond, StopAfterFailures: stopAfter,
	})
	if code := fault.CodeOf(err); code == fault.Invalid || code == fault.Timeout && r.Context().Err() == nil {
		return c.askLetterAct(w, r, http.StatusUnprocessableEntity, a, filter, nil) // which comes upon the same
	}
	if err != nil {
		return err
	}
	return done(w, r, operationsPath+"/"+o.ID.String(), "The %s has started: %s matched at its start.", a.Kind, lettersOf(o.Total))
}

// lettersOf tells a number of letters that may have been counted only so far.
func lettersOf(n int) string {
	switch {
	case n > delivery.MaxCounted:
		return fmt.Sprintf("more than %s letters", count(delivery.MaxCounted))
	case n == 1:
		return "1 letter"
	default:
		return count(n) + " letters"
	}
}

func whole(text string, least, most int) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= least && n <= most
}

// letterOutcome is what became of letters that were acted on one by one.
type letterOutcome struct {
	Kind   delivery.OperationKind
	Dialog bool
	Done   []string // ids
	Failed []failedLetter
	Undo   string
	Back   string
}

type failedLetter struct {
	ID  uuid.UUID
	Why string
}

func (c *Console) actSingly(w http.ResponseWriter, r *http.Request, a letterAct, ids []uuid.UUID) error {
	act := c.DeadLetters.ReplayDeadLetter
	if a.Kind == delivery.Discard {
		act = c.DeadLetters.DiscardDeadLetter
	}
	o := letterOutcome{Kind: a.Kind, Dialog: a.Dialog, Back: a.Back}
	for _, id := range ids {
		_, err := act(r.Context(), auth.Tenant(r.Context()), id, c.by(r.Context(), a.Reason))
		switch code := fault.CodeOf(err); {
		case err == nil:
			c.Released.Add(a.Kind, 1)
			o.Done = append(o.Done, id.String())
		case code == fault.Conflict, code == fault.NotFound:
			o.Failed = append(o.Failed, failedLetter{id, sentence(fault.Detail(err))})
		case len(o.Done) > 0: // what was done must not be lost with the failure
			if c.Unavailable(err) {
				code = fault.Unavailable
			}
			return fault.Wrap(err, code, "It ended with a failure: %s of %d were acted on before, the others as they were or unknown. Look at the list before you go on.",
				lettersOf(len(o.Done)), len(ids))
		default:
			return err
		}
	}
	back := a.Back
	if a.Kind == delivery.Discard && len(o.Done) > 0 {
		back = addParameter(back, "undo", strings.Join(o.Done, ","))
		o.Undo = address(actPath, url.Values{"action": {"replay"}, "id": o.Done, "back": {a.Back}})
	}
	if len(o.Failed) > 0 {
		return c.render(w, r, http.StatusOK, "dlq_outcome", lettersPath, "What was done", o)
	}
	if a.Kind == delivery.Discard {
		return done(w, r, back, "%s discarded.", lettersOf(len(o.Done)))
	}
	return done(w, r, back, "%s due now, with the schedule from its start. What has been sent can't be taken back.", areLetters(len(o.Done)))
}

func areLetters(n int) string {
	if n == 1 {
		return "1 letter is"
	}
	return lettersOf(n) + " are"
}

// addParameter puts one more parameter into an address.
func addParameter(to, name, value string) string {
	separator := "?"
	if strings.Contains(to, "?") {
		separator = "&"
	}
	return to + separator + url.Values{name: {value}}.Encode()
}

// shownOperation is an operation as its pages show it.
type shownOperation struct {
	delivery.Operation
	Letters  string // what it works on, in words
	Matching string // how many letters it started with
	More     bool   // than delivery.MaxCounted
	Bar      int    // of Whole
	Whole    int
	Address  string
}

func showOperation(o delivery.Operation) shownOperation {
	s := shownOperation{Operation: o, More: o.Total > delivery.MaxCounted, Address: operationsPath + "/" + o.ID.String(), Matching: lettersOf(o.Total)}
	if o.Kind == delivery.Drain {
		s.Letters = "letters that wait for " + o.Endpoint
	} else {
		s.Letters = formOf(o.Filter).Words()
	}
	// A replay is through with a letter once it has an outcome, a discard at once.
	s.Bar, s.Whole = o.Released, max(o.Total, o.Released, 1)
	if o.Kind != delivery.Discard {
		s.Bar -= o.Waiting
	}
	if o.State == delivery.OperationDone {
		s.Bar = s.Whole
	}
	return s
}

// Through is how many letters it is through with.
func (s shownOperation) Through() int {
	if s.Kind == delivery.Discard {
		return s.Released
	}
	return s.Released - s.Waiting
}

// LettersIn is where those of its letters are that are still in the queue, in a state or "any".
func (s shownOperation) LettersIn(state string) string {
	return address(lettersPath, url.Values{"operation_id": {s.ID.String()}, "state": {state}})
}

// CanContinue reports whether it can go on where it ended.
func (s shownOperation) CanContinue() bool {
	return s.State == delivery.OperationStopped || s.State == delivery.OperationCancelled
}

// Undo is where a discard is undone: its letters can be replayed.
func (s shownOperation) Undo() string {
	if s.Kind != delivery.Discard || s.Released == 0 {
		return ""
	}
	return address(actPath, url.Values{"action": {"replay"}, "state": {string(delivery.Discarded)}, "operation_id": {s.ID.String()}})
}

// formOf is a filter as the form writes it.
func formOf(f delivery.LetterFilter) letterForm {
	form := letterForm{
		State: string(f.State), Channel: f.Channel, Destination: f.Destination, Cause: string(f.Cause), AlertID: f.AlertID, UserID: f.UserID, Q: f.Search,
	}
	if !f.CreatedAfter.IsZero() {
		form.CreatedAfter = f.CreatedAfter.UTC().Format(formTime)
	}
	if !f.CreatedBefore.IsZero() {
		form.CreatedBefore = f.CreatedBefore.UTC().Format(formTime)
	}
	if f.OperationID != uuid.Nil {
		form.OperationID = f.OperationID.String()
	}
	return form
}

type operationList struct {
	Operations []shownOperation
	Pager      pager
}

// operations lists what was done to many letters.
func (c *Console) operations(w http.ResponseWriter, r *http.Request) error {
	before := uuid.Max
	if err := cursor(r, &before); err != nil {
		return err
	}
	list, err := c.DeadLetters.Operations(r.Context(), auth.Tenant(r.Context()), before, pageSize+1)
	if err != nil {
		return err
	}
	var p operationList
	var next any
	if len(list) > pageSize {
		list = list[:pageSize]
		next = list[pageSize-1].ID
	}
	for _, o := range list {
		p.Operations = append(p.Operations, showOperation(o))
	}
	if p.Pager, err = newPager(r, next); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "operations", lettersPath, "Operations on dead letters", p)
}

// operation shows how far one has got.
func (c *Console) operation(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	o, err := c.DeadLetters.Operation(r.Context(), auth.Tenant(r.Context()), id)
	if err != nil {
		return err
	}
	data := struct {
		Operation shownOperation
		Done      string
	}{showOperation(o), r.URL.Query().Get("done")}
	return c.render(w, r, http.StatusOK, "operation", lettersPath, capital(words(o.Kind))+" of dead letters", data)
}

// capital begins a title.
func capital(text string) string { return strings.TrimSuffix(sentence(text), ".") }

// operationAct is a question about an operation.
type operationAct struct {
	Operation shownOperation
	Act       string // cancel or continue
	Dialog    bool
	Reason    string
	Errors    map[string]string
}

func (c *Console) readOperationAct(r *http.Request) (operationAct, error) {
	act := r.PathValue("act")
	if act != "cancel" && act != "continue" {
		return operationAct{}, fault.New(fault.NotFound, "there is no such page")
	}
	id, err := pathID(r, "id")
	if err != nil {
		return operationAct{}, err
	}
	o, err := c.DeadLetters.Operation(r.Context(), auth.Tenant(r.Context()), id)
	if err != nil {
		return operationAct{}, err
	}
	return operationAct{Operation: showOperation(o), Act: act, Dialog: r.Header.Get("HX-Target") == "dialog", Errors: map[string]string{}}, nil
}

func (c *Console) operationAction(w http.ResponseWriter, r *http.Request) error {
	a, err := c.readOperationAct(r)
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "operation_act", lettersPath, capital(a.Act)+" an operation", a)
}

// actOnOperation cancels or continues one. A cancellation in a hurry needs no reason.
func (c *Console) actOnOperation(w http.ResponseWriter, r *http.Request) error {
	a, err := c.readOperationAct(r)
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	a.Reason = strings.TrimSpace(r.PostForm.Get("reason"))
	if problem := reasonProblem(a.Reason, a.Act == "continue"); problem != "" {
		a.Errors["reason"] = problem
		return c.render(w, r, http.StatusUnprocessableEntity, "operation_act", lettersPath, capital(a.Act)+" an operation", a)
	}
	change, what := c.DeadLetters.CancelOperation, "Cancelled. What it has released stays on its schedule."
	if a.Act == "continue" {
		change, what = c.DeadLetters.ContinueOperation, "It goes on where it ended; failures are counted anew."
	}
	if _, err := change(r.Context(), auth.Tenant(r.Context()), a.Operation.ID, c.by(r.Context(), a.Reason)); err != nil {
		return err
	}
	return done(w, r, a.Operation.Address, "%s", what)
}
