package console

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// Deliveries knows what became of events.
type Deliveries interface {
	History(ctx context.Context, tenantID string, id uuid.UUID) (delivery.Event, []delivery.TargetHistory, error)
	Summaries(ctx context.Context, tenantID string, f delivery.EventFilter, before uuid.UUID, limit int) ([]delivery.Summary, error)
}

// Deliverer takes messages on and makes their first attempts.
type Deliverer interface {
	Submit(ctx context.Context, s delivery.Submission) ([]delivery.Receipt, *delivery.Earlier, error)
}

const deliveriesPath = "/console/deliveries"

func (c *Console) deliveryRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: deliveriesPath, Handler: c.deliveries},
		{Method: http.MethodPost, Path: deliveriesPath, Handler: c.sendTestMessage},
		{Method: http.MethodGet, Path: deliveriesPath + "/new", Handler: c.newTestMessage},
		{Method: http.MethodGet, Path: deliveriesPath + "/{event_id}", Handler: c.delivery},
	}
}

var deliverySources = []delivery.Source{delivery.Direct, delivery.Rule, delivery.Alertmanager}

// deliveryList is the page of many events.
type deliveryList struct {
	Given    map[string]string // the filters as they stand in the address
	Wrong    map[string]string // what is wrong with them
	Filtered bool
	Sources  []delivery.Source
	Events   []delivery.Summary
	Pager    pager
}

func (c *Console) deliveries(w http.ResponseWriter, r *http.Request) error {
	page, filter := readDeliveryFilter(r.URL.Query())
	if len(page.Wrong) > 0 {
		return c.render(w, r, http.StatusUnprocessableEntity, "deliveries", deliveriesPath, "Deliveries", page)
	}
	before := uuid.Max
	if err := cursor(r, &before); err != nil {
		return err
	}
	found, err := c.Deliveries.Summaries(r.Context(), auth.Tenant(r.Context()), filter, before, pageSize+1) // one more tells of a next page
	if err != nil {
		return err
	}
	var next any
	if len(found) > pageSize {
		found = found[:pageSize]
		next = found[pageSize-1].Event.ID
	}
	page.Events = found
	if page.Pager, err = newPager(r, next); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "deliveries", deliveriesPath, "Deliveries", page)
}

func readDeliveryFilter(q url.Values) (deliveryList, delivery.EventFilter) {
	p := deliveryList{Given: map[string]string{}, Wrong: map[string]string{}, Sources: deliverySources}
	for _, name := range []string{"alert_id", "user_id", "source", "accepted_after", "accepted_before"} {
		p.Given[name] = q.Get(name)
		p.Filtered = p.Filtered || p.Given[name] != ""
		if problem := unstorable(p.Given[name], maxID); problem != "" {
			p.Wrong[name] = problem
		}
	}
	f := delivery.EventFilter{AlertID: p.Given["alert_id"], UserID: p.Given["user_id"], Source: delivery.Source(p.Given["source"])}
	if f.Source != "" && !slices.Contains(deliverySources, f.Source) {
		p.Wrong["source"] = "There is no such source."
	}
	for name, at := range map[string]*time.Time{"accepted_after": &f.AcceptedAfter, "accepted_before": &f.AcceptedBefore} {
		given := p.Given[name]
		if given == "" {
			continue
		}
		parsed, ok := timeOfField(given)
		if !ok {
			p.Wrong[name] = "Give a time in UTC, such as 2026-03-02T14:30."
			continue
		}
		*at, p.Given[name] = parsed, parsed.Format(formTime)
	}
	return p, f
}

const (
	maxID      = 200    // characters of the names of alerts and users, as in the API
	maxTitle   = 500    // characters
	maxMessage = 20_000 // characters
)

// unstorable says what keeps a text from being looked up or kept, "" when nothing does.
func unstorable(text string, most int) string {
	switch {
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return "It holds a character that can't be stored."
	case utf8.RuneCountInString(text) > most:
		return "It may have at most " + count(most) + " characters."
	}
	return ""
}

// deliveryPage is the page of one event.
type deliveryPage struct {
	Done     string
	Event    delivery.Event
	TraceID  string // of the request that was accepted
	Targets  []deliveryTarget
	Timeline []delivery.Line
	Fallback []deliveryTarget // not in use
	Inbox    bool             // it went to the user's inbox
	RuleID   string           // of the alert rule that fired
}

type deliveryTarget struct {
	delivery.TargetHistory
	Standing delivery.Standing
	Address  string // without what is often secret in one
}

func (c *Console) delivery(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "event_id")
	if err != nil {
		return err
	}
	e, histories, err := c.Deliveries.History(r.Context(), auth.Tenant(r.Context()), id)
	if err != nil {
		return err
	}
	x := delivery.Explain(e, histories, time.Time{}) // for any moment: the page only changes when the event's state does
	page := deliveryPage{Done: r.URL.Query().Get("done"), Event: e, TraceID: traceOf(e.TraceParent), Timeline: x.Timeline}
	if _, err := uuid.Parse(e.AlertID); err == nil && e.Source == delivery.Rule {
		page.RuleID = e.AlertID
	}
	for i, h := range histories {
		page.Targets = append(page.Targets, deliveryTarget{TargetHistory: h, Standing: x.Targets[i], Address: addressShown(h.Target)})
		page.Inbox = page.Inbox || h.Target.Channel == inappChannel
	}
	for _, t := range e.Fallback {
		page.Fallback = append(page.Fallback, deliveryTarget{TargetHistory: delivery.TargetHistory{Target: t}, Address: addressShown(t)})
	}
	return c.render(w, r, http.StatusOK, "delivery", deliveriesPath, e.Title, page)
}

const inappChannel = "inapp"

// traceOf returns the trace's id out of a W3C traceparent.
func traceOf(parent string) string {
	if parts := strings.Split(parent, "-"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}

// addressShown tells where a target leads without the parts that often hold secrets; a stored destination's
// page tells of its address.
func addressShown(t delivery.Target) string {
	if t.URL == "" {
		return strings.Join(t.To, ", ")
	}
	return delivery.ShownURL(t.URL)
}

// testAlert is the alert that test messages are about: they are found by it.
const testAlert = "console-test"

// testMessage is the form of a message that shows whether the path to its receivers works.
type testMessage struct {
	User         string
	Title        string
	Message      string
	Severity     delivery.Severity
	Inapp        bool
	Destinations []string
}

// testMessagePage is the form as it is shown.
type testMessagePage struct {
	testMessage
	Key        string // the same however often the form is sent
	Alert      string
	Severities []delivery.Severity
	Known      []testDestination
	More       bool // there are destinations that are not shown
	Wrong      map[string]string
}

type testDestination struct {
	Name    string
	Channel string
	Enabled bool
	Chosen  bool
}

var severities = []delivery.Severity{delivery.Info, delivery.Warning, delivery.Critical}

func (c *Console) newTestMessage(w http.ResponseWriter, r *http.Request) error {
	m := testMessage{
		User: r.URL.Query().Get("user"), Title: "Test message from the console",
		Message: "This is a test. No alert stands behind it.", Severity: delivery.Info, Inapp: true,
	}
	if name := r.URL.Query().Get("destination"); name != "" {
		m.Destinations, m.Inapp = []string{name}, false
	}
	return c.showTestMessage(w, r, http.StatusOK, m, uuid.NewString(), nil)
}

func (c *Console) showTestMessage(w http.ResponseWriter, r *http.Request, status int, m testMessage, key string, wrong map[string]string) error {
	page := testMessagePage{testMessage: m, Key: key, Alert: testAlert, Severities: severities, Wrong: wrong}
	entries, err := c.Destinations.List(r.Context(), auth.Tenant(r.Context()), "", pageSize+1)
	if err != nil {
		return err
	}
	if len(entries) > pageSize {
		entries, page.More = entries[:pageSize], true
	}
	chosen := slices.Clone(m.Destinations)
	for _, e := range entries {
		d := testDestination{Name: e.Name, Channel: e.Channel, Enabled: e.Enabled}
		if i := slices.Index(chosen, e.Name); i >= 0 {
			d.Chosen = true
			chosen = slices.Delete(chosen, i, i+1)
		}
		page.Known = append(page.Known, d)
	}
	for _, name := range chosen { // beyond those shown
		if e, err := c.Destinations.Get(r.Context(), auth.Tenant(r.Context()), name); err == nil {
			page.Known = append(page.Known, testDestination{Name: e.Name, Channel: e.Channel, Enabled: e.Enabled, Chosen: true})
		} else if fault.CodeOf(err) != fault.NotFound {
			return err
		}
	}
	return c.render(w, r, status, "deliveries_new", deliveriesPath, "Send a test message", page)
}

func (c *Console) sendTestMessage(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(err, fault.Invalid, "the form can't be read")
	}
	form := r.PostForm
	m := testMessage{
		User: form.Get("user"), Title: form.Get("title"), Message: strings.ReplaceAll(form.Get("message"), "\r\n", "\n"),
		Severity: delivery.Severity(form.Get("severity")), Inapp: form.Get("inapp") != "", Destinations: form["destination"],
	}
	wrong := m.check()
	key, err := uuid.Parse(form.Get("key"))
	if err != nil {
		key = uuid.New()
		wrong["form"] = "The form came without its key, which keeps it from being delivered twice. It has a new one; send it again."
	}
	again := func() error {
		return c.showTestMessage(w, r, http.StatusUnprocessableEntity, m, key.String(), wrong)
	}
	targets, err := c.testTargets(r.Context(), m, wrong)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return again()
	}
	sub, err := c.testSubmission(r.Context(), m, key, targets)
	if err != nil {
		return err
	}
	receipts, earlier, err := c.Deliverer.Submit(r.Context(), sub)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.Invalid {
		wrong["form"] = f.Detail
		if slices.ContainsFunc(f.Fields, func(f fault.Field) bool { return strings.HasPrefix(f.Pointer, "/header/") }) {
			key = uuid.New()
			wrong["form"] = "This form was sent before with other words. What it says now has not been sent; send it again to do so."
		}
		return again()
	}
	switch {
	case err != nil:
		return err
	case earlier != nil && len(earlier.EventIDs) > 0:
		return done(w, r, deliveriesPath+"/"+earlier.EventIDs[0].String(), "This message was sent before, and once only: this is what became of it.")
	case len(receipts) == 0:
		return fault.New(fault.Internal, "a message was taken on without a receipt")
	}
	return done(w, r, deliveriesPath+"/"+receipts[0].EventID.String(), "The message was taken on, and attempted once on each target.")
}

// check says what is wrong with the form, by field.
func (m testMessage) check() map[string]string {
	wrong := map[string]string{}
	for name, field := range map[string]struct {
		text string
		most int
	}{"user": {m.User, maxID}, "title": {m.Title, maxTitle}, "message": {m.Message, maxMessage}} {
		if problem := unstorable(field.text, field.most); problem != "" {
			wrong[name] = problem
		}
	}
	if m.User == "" {
		wrong["user"] = "Say whom it is for."
	}
	if m.Title == "" {
		wrong["title"] = "Give it a title."
	}
	if !slices.Contains(severities, m.Severity) {
		wrong["severity"] = "There is no such severity."
	}
	if !m.Inapp && len(m.Destinations) == 0 {
		wrong["targets"] = "Choose the inbox or a destination."
	}
	return wrong
}

// testTargets reads where the message goes. What is wrong is added to wrong.
func (c *Console) testTargets(ctx context.Context, m testMessage, wrong map[string]string) ([]delivery.Target, error) {
	var targets []delivery.Target
	if m.Inapp {
		targets = append(targets, delivery.Target{Channel: inappChannel})
	}
	if len(m.Destinations) > pageSize {
		wrong["targets"] = "Choose fewer destinations."
		return nil, nil
	}
	for _, name := range m.Destinations {
		d, err := c.Destinations.Get(ctx, auth.Tenant(ctx), name)
		if fault.CodeOf(err) == fault.NotFound {
			wrong["targets"] = "There is no destination " + name + "."
			continue
		}
		if err != nil {
			return nil, err
		}
		targets = append(targets, delivery.Target{Channel: d.Channel, Destination: d.Name})
	}
	return targets, nil
}

// testSubmission is always sent, even if it says the same as an earlier one; the form's key alone keeps one
// form from being sent twice.
func (c *Console) testSubmission(ctx context.Context, m testMessage, key uuid.UUID, targets []delivery.Target) (delivery.Submission, error) {
	data, err := json.Marshal(map[string]any{"test": true, "sent_by": c.by(ctx, "").Actor})
	if err != nil {
		return delivery.Submission{}, err
	}
	asked, err := json.Marshal(m)
	if err != nil {
		return delivery.Submission{}, err
	}
	hash := sha256.Sum256(append([]byte("console\n"), asked...))
	return delivery.Submission{
		Events: []delivery.Event{{
			TenantID: auth.Tenant(ctx), AlertID: testAlert, UserID: m.User, Title: m.Title, Message: m.Message, Severity: m.Severity,
			Data: data, Targets: targets, Dedup: delivery.Dedup{Off: true},
		}},
		Idempotency: &delivery.Idempotency{TenantID: auth.Tenant(ctx), Key: "console-" + key.String(), Request: hash[:]},
	}, nil
}
