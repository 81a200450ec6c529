package console

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/fault"
)

// Destinations are the named delivery targets.
type Destinations interface {
	Create(ctx context.Context, d destinations.Draft, by destinations.Author) (e destinations.Entry, made string, err error)
	Get(ctx context.Context, tenantID, name string) (destinations.Entry, error)
	List(ctx context.Context, tenantID, after string, limit int) ([]destinations.Entry, error)
	Update(ctx context.Context, tenantID, name string, revision int, p destinations.Patch, by destinations.Author) (destinations.Entry, error)
	Delete(ctx context.Context, tenantID, name string, revision int, by destinations.Author) error
	RotateSecret(ctx context.Context, tenantID, name, given string, overlap time.Duration, by destinations.Author) (e destinations.Entry, made string, err error)
	Test(ctx context.Context, tenantID, name string) (delivery.Attempt, error)
}

const (
	destinationsPath = "/console/destinations"

	channelWebhook = "webhook"
	channelEmail   = "email"
	channelChat    = "chat"

	// maxDescription bounds what the console takes, in characters, as the API does.
	maxDescription = 500
)

func (c *Console) destinationRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: destinationsPath, Handler: c.destinations},
		{Method: http.MethodPost, Path: destinationsPath, Handler: c.createDestination},
		{Method: http.MethodGet, Path: destinationsPath + "/new", Handler: c.newDestination},
		{Method: http.MethodGet, Path: destinationsPath + "/{name}", Handler: c.destination},
		{Method: http.MethodPost, Path: destinationsPath + "/{name}", Handler: c.changeDestination},
		{Method: http.MethodGet, Path: destinationsPath + "/{name}/edit", Handler: c.editDestination},
		{Method: http.MethodPost, Path: destinationsPath + "/{name}/test", Handler: c.testDestination},
		{Method: http.MethodGet, Path: destinationsPath + "/{name}/rotate", Handler: c.rotation},
		{Method: http.MethodPost, Path: destinationsPath + "/{name}/rotate", Handler: c.rotateSecret},
		{Method: http.MethodGet, Path: destinationsPath + "/{name}/act", Handler: c.destinationAction},
		{Method: http.MethodPost, Path: destinationsPath + "/{name}/act", Handler: c.actOnDestination},
	}
}

func destinationPath(name string) string { return destinationsPath + "/" + url.PathEscape(name) }

// destinationView is a destination as pages show it: nothing in it is secret.
type destinationView struct {
	ID          uuid.UUID
	Name        string
	Path        string
	Channel     string
	Description string
	Enabled     bool
	Locked      bool
	Shown       string
	Headers     []string // names
	HasSecret   bool
	Former      time.Time // until when the former secrets sign, too; zero when none does
	Timeout     time.Duration
	Limits      delivery.Limits
	Revision    int
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Letters     string // address of its open dead letters
	// Breakers are those of all processes that have sent to it and whose breaker has ever opened.
	Breakers []breakers.Standing
}

// Signed reports whether messages are signed with secrets of its own.
func (v destinationView) Signed() bool { return v.Channel == channelWebhook }

// Worst is the state of the breaker that holds back most.
func (v destinationView) Worst() breakers.State {
	for _, state := range []breakers.State{breakers.Open, breakers.HalfOpen} {
		if slices.ContainsFunc(v.Breakers, func(s breakers.Standing) bool { return s.State == state }) {
			return state
		}
	}
	return breakers.Closed
}

// Held is how many processes hold messages back.
func (v destinationView) Held() (n int) {
	for _, s := range v.Breakers {
		if s.State != breakers.Closed {
			n++
		}
	}
	return n
}

// BreakerHistory is the address of what its breakers did.
func (v destinationView) BreakerHistory() string {
	return address(breakersPath, url.Values{"kind": {string(breakers.Endpoint)}, "name": {delivery.Target{Destination: v.Name}.Key()}})
}

func (c *Console) viewDestination(e destinations.Entry, all []breakers.Standing) destinationView {
	v := destinationView{
		ID: e.ID, Name: e.Name, Path: destinationPath(e.Name), Channel: e.Channel, Description: e.Description, Enabled: e.Enabled, Locked: e.Locked,
		Shown: e.Shown, Headers: slices.Sorted(maps.Keys(e.Endpoint.Headers)), HasSecret: len(e.Secrets) > 0, Timeout: e.Endpoint.Timeout,
		Limits: e.Endpoint.Limits, Revision: e.Revision, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
		Letters: address(lettersPath, url.Values{"destination": {e.Name}}),
	}
	if len(e.Secrets) > 1 && c.Now().Before(e.Secrets[1].Until) {
		v.Former = e.Secrets[1].Until
	}
	endpoint := delivery.Target{Destination: e.Name}.Key()
	for _, s := range all {
		if s.Kind == breakers.Endpoint && s.Name == endpoint {
			v.Breakers = append(v.Breakers, s)
		}
	}
	return v
}

// destinationList is the page of many destinations.
type destinationList struct {
	Done         string
	Destinations []destinationView
	Pager        pager
}

func (c *Console) destinations(w http.ResponseWriter, r *http.Request) error {
	var after string
	if err := cursor(r, &after); err != nil {
		return err
	}
	list, err := c.Destinations.List(r.Context(), auth.Tenant(r.Context()), after, pageSize+1) // one more tells of a next page
	if err != nil {
		return err
	}
	var next any
	if len(list) > pageSize {
		list = list[:pageSize]
		next = list[pageSize-1].Name
	}
	page := destinationList{Done: r.URL.Query().Get("done")}
	if page.Pager, err = newPager(r, next); err != nil {
		return err
	}
	states, err := c.Breakers.BreakerStates(r.Context(), auth.Tenant(r.Context()))
	if err != nil {
		return err
	}
	for _, e := range list {
		page.Destinations = append(page.Destinations, c.viewDestination(e, states))
	}
	return c.render(w, r, http.StatusOK, "destinations", destinationsPath, "Destinations", page)
}

// destinationPage is the page of one destination, and what a test of it came to.
type destinationPage struct {
	Done    string
	Of      destinationView
	Test    *destinationTest
	Changes []breakers.Change
}

// destinationTest is a test message's outcome in words.
type destinationTest struct {
	delivery.Attempt
	Words string
}

// shownBreakerChanges is how many of the latest changes of breakers a destination's page shows.
const shownBreakerChanges = 5

func (c *Console) destination(w http.ResponseWriter, r *http.Request) error {
	return c.showDestination(w, r, destinationPage{Done: r.URL.Query().Get("done")})
}

func (c *Console) showDestination(w http.ResponseWriter, r *http.Request, page destinationPage) error {
	e, err := c.Destinations.Get(r.Context(), auth.Tenant(r.Context()), r.PathValue("name"))
	if err != nil {
		return err
	}
	states, err := c.Breakers.BreakerStates(r.Context(), auth.Tenant(r.Context()))
	if err != nil {
		return err
	}
	page.Of = c.viewDestination(e, states)
	f := breakers.Filter{Kind: breakers.Endpoint, Name: delivery.Target{Destination: e.Name}.Key()}
	if page.Changes, err = c.Breakers.BreakerChanges(r.Context(), auth.Tenant(r.Context()), f, uuid.Max, shownBreakerChanges); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "destination", destinationsPath, e.Name, page)
}

// causeWords says what a failed attempt's cause means.
var causeWords = map[delivery.Cause]string{
	delivery.DNS: "the receiver's name does not resolve", delivery.Connect: "the receiver can't be reached",
	delivery.TLS: "no trusted TLS session came about", delivery.Timeout: "the receiver did not answer in time",
	delivery.HTTP4xx: "the receiver refuses the message", delivery.HTTP429: "the receiver asks for fewer messages",
	delivery.HTTP5xx: "the receiver is broken", delivery.SMTP4xx: "the mail server refuses for now",
	delivery.SMTP5xx: "the mail server refuses for good", delivery.Rejected: "the address is not allowed",
	delivery.Payload: "the message can't be written for this channel", delivery.Interrupted: "the attempt was cut short here",
	delivery.Internal: "something failed here, not at the receiver", delivery.BreakerOpen: "it was held back",
}

// testDestination sends a message that says that it is a test, and shows what came of it.
func (c *Console) testDestination(w http.ResponseWriter, r *http.Request) error {
	a, err := c.Destinations.Test(r.Context(), auth.Tenant(r.Context()), r.PathValue("name"))
	if err != nil {
		return err
	}
	t := destinationTest{Attempt: a, Words: "The receiver has taken the test message."}
	if !a.Outcome.Delivered() {
		t.Words = "The test message was not delivered: " + causeWords[a.Outcome.Cause] + "."
	}
	return c.showDestination(w, r, destinationPage{Test: &t})
}

// destinationForm is what was typed of a destination, and what is wrong with it. Secrets, headers and
// addresses of webhooks and chats are not told again.
type destinationForm struct {
	Of       *destinationView // nil for a new one
	Revision int              // that the reader began with
	Present  int              // the revision that somebody else has made meanwhile, 0 for none
	Given    url.Values
	Wrong    map[string]string
	Problem  string
	Again    bool // what may be secret has to be typed again
	Channels []string
}

// Value is what stands in a field.
func (f destinationForm) Value(name string) string {
	switch name {
	case "secret", "headers", "url":
		return ""
	}
	return f.Given.Get(name)
}

// Has tells whether a box is ticked.
func (f destinationForm) Has(name, value string) bool { return slices.Contains(f.Given[name], value) }

// For tells whether fields of a channel belong to the form: all of a new one, those of its channel else.
func (f destinationForm) For(channels ...string) bool {
	return f.Of == nil || slices.Contains(channels, f.Of.Channel)
}

func (f *destinationForm) blame(err error) {
	e, ok := fieldsOf(err)
	if !ok {
		f.Problem = sentence(fault.Detail(err))
		return
	}
	for _, field := range e {
		name, rest, _ := strings.Cut(strings.TrimPrefix(field.Pointer, "/"), "/")
		text := sentence(field.Detail)
		if rest != "" {
			text = sentence(rest + " " + field.Detail)
		}
		switch name {
		case "name", "channel", "url", "to", "headers", "secret", "description", "timeout_seconds", "rate_per_second", "concurrency":
			f.Wrong[name] = strings.TrimSpace(f.Wrong[name] + " " + text)
		default:
			f.Problem = strings.TrimSpace(f.Problem + " " + sentence(field.Pointer+" "+field.Detail))
		}
	}
}

func (c *Console) newDestination(w http.ResponseWriter, r *http.Request) error {
	f := destinationForm{Given: url.Values{"channel": {channelWebhook}, "enabled": {"yes"}}, Wrong: map[string]string{}}
	return c.showDestinationForm(w, r, http.StatusOK, f)
}

func (c *Console) showDestinationForm(w http.ResponseWriter, r *http.Request, status int, f destinationForm) error {
	f.Channels = []string{channelWebhook, channelEmail, channelChat}
	for _, name := range []string{"secret", "headers", "url"} {
		f.Again = f.Again || strings.TrimSpace(f.Given.Get(name)) != ""
	}
	title := "New destination"
	if f.Of != nil {
		title = "Edit " + f.Of.Name
	}
	return c.render(w, r, status, "destination_edit", destinationsPath, title, f)
}

func (c *Console) author(ctx context.Context, reason string) destinations.Author {
	by := c.by(ctx, reason)
	return destinations.Author{Actor: by.Actor, Reason: by.Reason}
}

// readHeaders reads lines of "Name: value".
func readHeaders(text string) (headers map[string]string, problem string) {
	headers = map[string]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Sprintf("Line %d must be a name, a colon and a value.", n)
		}
		headers[name] = strings.TrimSpace(value)
	}
	return headers, ""
}

// number reads a field that may be empty, which is 0.
func (f *destinationForm) number(name string, most float64) float64 {
	text := strings.TrimSpace(f.Given.Get(name))
	if text == "" {
		return 0
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(x) || x < 0 || x > most {
		f.Wrong[name] = fmt.Sprintf("A number from 0 to %g.", most)
		return 0
	}
	return x
}

// whole reads a field that may be empty, which is 0.
func (f *destinationForm) whole(name string, most int) int {
	text := strings.TrimSpace(f.Given.Get(name))
	if text == "" {
		return 0
	}
	n, ok := whole(text, 0, most)
	if !ok {
		f.Wrong[name] = fmt.Sprintf("A whole number from 0 to %d.", most)
	}
	return n
}

// limits that a form can have; what they may be is for the manager to say.
const (
	maxFormSeconds     = 3600
	maxFormRate        = 1e6
	maxFormConcurrency = 1_000_000
)

// readDestinationForm reads what forms of new and of stored destinations have in common.
func readDestinationForm(r *http.Request) (f destinationForm, headers map[string]string, timeout time.Duration, limits delivery.Limits, err error) {
	if err := r.ParseForm(); err != nil {
		return f, nil, 0, limits, fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	f = destinationForm{Given: r.PostForm, Wrong: map[string]string{}}
	headers, problem := readHeaders(f.Given.Get("headers"))
	if problem != "" {
		f.Wrong["headers"] = problem
	}
	if problem := unstorable(f.Given.Get("description"), maxDescription); problem != "" {
		f.Wrong["description"] = problem
	}
	if problem := reasonProblem(strings.TrimSpace(f.Given.Get("reason")), false); problem != "" {
		f.Wrong["reason"] = problem
	}
	timeout = time.Duration(f.number("timeout_seconds", maxFormSeconds) * float64(time.Second)).Round(time.Millisecond)
	limits = delivery.Limits{Rate: f.number("rate_per_second", maxFormRate), Concurrency: f.whole("concurrency", maxFormConcurrency)}
	return f, headers, timeout, limits, nil
}

func (c *Console) createDestination(w http.ResponseWriter, r *http.Request) error {
	f, headers, timeout, limits, err := readDestinationForm(r)
	if err != nil {
		return err
	}
	d := destinations.Draft{
		TenantID: auth.Tenant(r.Context()), Name: strings.TrimSpace(f.Given.Get("name")), Channel: f.Given.Get("channel"), Description: strings.TrimSpace(f.Given.Get("description")),
		Enabled: f.Given.Get("enabled") != "", URL: strings.TrimSpace(f.Given.Get("url")), To: splitList(f.Given.Get("to")), Headers: headers,
		Secret: strings.TrimSpace(f.Given.Get("secret")), Timeout: timeout, Limits: limits,
	}
	if d.Name == reservedName {
		f.Wrong["name"] = "The console has a page of this name; choose another."
	}
	if len(f.Wrong) > 0 {
		return c.showDestinationForm(w, r, http.StatusUnprocessableEntity, f)
	}
	e, made, err := c.Destinations.Create(r.Context(), d, c.author(r.Context(), strings.TrimSpace(f.Given.Get("reason"))))
	switch fault.CodeOf(err) {
	case "":
		if made != "" {
			return c.showSecret(w, r, e, made, "The destination is stored.")
		}
		return done(w, r, destinationPath(e.Name), "The destination is stored. Send a test to see whether it works.")
	case fault.Conflict:
		f.Wrong["name"] = sentence(fault.Detail(err))
	case fault.Invalid:
		f.blame(err)
	default:
		return err
	}
	return c.showDestinationForm(w, r, http.StatusUnprocessableEntity, f)
}

// reservedName is the name whose page would be the form of new destinations.
const reservedName = "new"

// showSecret tells a secret that was made, on the answer to the request that made it and never again.
func (c *Console) showSecret(w http.ResponseWriter, r *http.Request, e destinations.Entry, made, said string) error {
	return c.render(w, r, http.StatusOK, "destination_secret", destinationsPath, "Secret of "+e.Name, map[string]any{
		"Of": c.viewDestination(e, nil), "Secret": made, "Said": said,
	})
}

func (c *Console) editDestination(w http.ResponseWriter, r *http.Request) error {
	e, err := c.Destinations.Get(r.Context(), auth.Tenant(r.Context()), r.PathValue("name"))
	if err != nil {
		return err
	}
	view := c.viewDestination(e, nil)
	f := destinationForm{Of: &view, Revision: e.Revision, Wrong: map[string]string{}, Given: url.Values{
		"description": {e.Description}, "to": {strings.Join(e.Endpoint.To, ", ")},
	}}
	if e.Enabled {
		f.Given.Set("enabled", "yes")
	}
	if e.Endpoint.Timeout > 0 {
		f.Given.Set("timeout_seconds", strconv.FormatFloat(e.Endpoint.Timeout.Seconds(), 'f', -1, 64))
	}
	if e.Endpoint.Limits.Rate > 0 {
		f.Given.Set("rate_per_second", strconv.FormatFloat(e.Endpoint.Limits.Rate, 'f', -1, 64))
	}
	if e.Endpoint.Limits.Concurrency > 0 {
		f.Given.Set("concurrency", strconv.Itoa(e.Endpoint.Limits.Concurrency))
	}
	return c.showDestinationForm(w, r, http.StatusOK, f)
}

// changeDestination stores what the form says. An address that nobody typed stays, and so do headers that
// are neither named nor taken out.
func (c *Console) changeDestination(w http.ResponseWriter, r *http.Request) error {
	f, typed, timeout, limits, err := readDestinationForm(r)
	if err != nil {
		return err
	}
	e, err := c.Destinations.Get(r.Context(), auth.Tenant(r.Context()), r.PathValue("name"))
	if err != nil {
		return err
	}
	view := c.viewDestination(e, nil)
	f.Of = &view
	if f.Revision, err = strconv.Atoi(f.Given.Get("revision")); err != nil {
		return fault.InvalidField("/revision", "is missing")
	}
	p := destinations.Patch{
		Description: new(strings.TrimSpace(f.Given.Get("description"))), Enabled: new(f.Given.Get("enabled") != ""),
		Timeout: &timeout, Rate: &limits.Rate, Concurrency: &limits.Concurrency,
	}
	if u := strings.TrimSpace(f.Given.Get("url")); u != "" && f.For(channelWebhook, channelChat) {
		p.URL = &u
	}
	if f.For(channelEmail) {
		p.To = new(splitList(f.Given.Get("to")))
	}
	if removed := f.Given["header_remove"]; f.For(channelWebhook) && len(removed)+len(typed) > 0 {
		p.Headers = new(otherHeaders(e.Endpoint.Headers, removed, typed))
	}
	if len(f.Wrong) == 0 {
		_, err := c.Destinations.Update(r.Context(), auth.Tenant(r.Context()), e.Name, f.Revision, p, c.author(r.Context(), strings.TrimSpace(f.Given.Get("reason"))))
		switch fault.CodeOf(err) {
		case "":
			return done(w, r, destinationPath(e.Name), "The destination is changed. Send a test to see whether it works.")
		case fault.Conflict:
			if f.Present = e.Revision; f.Present == f.Revision { // it was changed after it was read
				f.Problem = sentence(fault.Detail(err))
			}
		case fault.Invalid:
			f.blame(err)
		default:
			return err
		}
	}
	return c.showDestinationForm(w, r, http.StatusUnprocessableEntity, f)
}

// otherHeaders are present headers without those that are removed, and with those that are typed. Names
// differ by more than case.
func otherHeaders(present map[string]string, removed []string, typed map[string]string) map[string]string {
	headers := maps.Clone(present)
	if headers == nil {
		headers = map[string]string{}
	}
	for _, name := range removed {
		delete(headers, name)
	}
	for name, value := range typed {
		for known := range present {
			if strings.EqualFold(known, name) {
				delete(headers, known)
			}
		}
		headers[name] = value
	}
	return headers
}

// rotationForm is the page on which a secret is rotated.
type rotationForm struct {
	Of      destinationView
	Overlap string // hours
	Own     bool   // the secret is given
	Reason  string
	Wrong   map[string]string
}

func (c *Console) rotation(w http.ResponseWriter, r *http.Request) error {
	f, err := c.newRotation(r)
	if err != nil {
		return err
	}
	f.Overlap = strconv.FormatFloat(destinations.DefaultOverlap.Hours(), 'f', -1, 64)
	return c.askRotation(w, r, http.StatusOK, f)
}

func (c *Console) newRotation(r *http.Request) (rotationForm, error) {
	e, err := c.Destinations.Get(r.Context(), auth.Tenant(r.Context()), r.PathValue("name"))
	if err != nil {
		return rotationForm{}, err
	}
	return rotationForm{Of: c.viewDestination(e, nil), Wrong: map[string]string{}}, nil
}

func (c *Console) askRotation(w http.ResponseWriter, r *http.Request, status int, f rotationForm) error {
	return c.render(w, r, status, "destination_rotate", destinationsPath, "Rotate the secret of "+f.Of.Name, f)
}

// rotateSecret has a webhook signed with a new secret, and for the overlap with the present ones too.
func (c *Console) rotateSecret(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	f, err := c.newRotation(r)
	if err != nil {
		return err
	}
	f.Overlap, f.Own, f.Reason = strings.TrimSpace(r.PostForm.Get("overlap_hours")), r.PostForm.Get("make") == "own", strings.TrimSpace(r.PostForm.Get("reason"))
	most := destinations.MaxOverlap.Hours()
	hours, err := strconv.ParseFloat(f.Overlap, 64)
	if err != nil || !(hours >= 0 && hours <= most) {
		f.Wrong["overlap"] = fmt.Sprintf("A number of hours from 0 to %g.", most)
	}
	if problem := reasonProblem(f.Reason, false); problem != "" {
		f.Wrong["reason"] = problem
	}
	given := ""
	if f.Own {
		if given = strings.TrimSpace(r.PostForm.Get("secret")); given == "" {
			f.Wrong["secret"] = "Give the secret, or have one made."
		}
	}
	if len(f.Wrong) > 0 {
		return c.askRotation(w, r, http.StatusUnprocessableEntity, f)
	}
	overlap := time.Duration(hours * float64(time.Hour)).Round(time.Second)
	e, made, err := c.Destinations.RotateSecret(r.Context(), auth.Tenant(r.Context()), f.Of.Name, given, overlap, c.author(r.Context(), f.Reason))
	if fault.CodeOf(err) == fault.Invalid {
		f.Wrong["secret"] = withoutPointer(err)
		return c.askRotation(w, r, http.StatusUnprocessableEntity, f)
	}
	if err != nil {
		return err
	}
	if made == "" {
		return done(w, r, destinationPath(e.Name), "The secret is rotated.")
	}
	return c.showSecret(w, r, e, made, "The secret is rotated.")
}

// destinationAct is an action on a destination as it is asked for, before it is done.
type destinationAct struct {
	Of     destinationView
	Act    deed
	Reason string
	Dialog bool
	Errors map[string]string
}

var destinationDeeds = []deed{
	{"enable", "Enable", "Messages are sent to it again. What became a dead letter meanwhile can be replayed.", false},
	{"disable", "Disable", "Nothing is sent to it any more: messages for it become exhausted dead letters, which can be replayed once it is enabled again.", true},
	{"delete", "Delete", "It goes for good, with its address and its secrets. Letters that are bound for it become exhausted on their next try, and rules that name it can't hand their messages on.", true},
}

func (c *Console) readDestinationAct(r *http.Request) (destinationAct, error) {
	if err := r.ParseForm(); err != nil {
		return destinationAct{}, fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	e, err := c.Destinations.Get(r.Context(), auth.Tenant(r.Context()), r.PathValue("name"))
	if err != nil {
		return destinationAct{}, err
	}
	i := slices.IndexFunc(destinationDeeds, func(d deed) bool { return d.Name == r.Form.Get("act") })
	if i < 0 {
		return destinationAct{}, fault.InvalidField("/act", "is nothing that can be done to a destination")
	}
	return destinationAct{
		Of: c.viewDestination(e, nil), Act: destinationDeeds[i], Reason: strings.TrimSpace(r.Form.Get("reason")),
		Dialog: r.Header.Get("HX-Target") == "dialog", Errors: map[string]string{},
	}, nil
}

// destinationAction asks before an action is done.
func (c *Console) destinationAction(w http.ResponseWriter, r *http.Request) error {
	a, err := c.readDestinationAct(r)
	if err != nil {
		return err
	}
	return c.askDestinationAct(w, r, http.StatusOK, a)
}

func (c *Console) askDestinationAct(w http.ResponseWriter, r *http.Request, status int, a destinationAct) error {
	return c.render(w, r, status, "destination_act", destinationsPath, a.Act.Verb+" "+a.Of.Name, a)
}

// actOnDestination does what destinationAction has asked for.
func (c *Console) actOnDestination(w http.ResponseWriter, r *http.Request) error {
	a, err := c.readDestinationAct(r)
	if err != nil {
		return err
	}
	if problem := reasonProblem(a.Reason, a.Act.Name == "delete"); problem != "" {
		a.Errors["reason"] = problem
		return c.askDestinationAct(w, r, http.StatusUnprocessableEntity, a)
	}
	if a.Act.Name == "delete" {
		if err := c.Destinations.Delete(r.Context(), auth.Tenant(r.Context()), a.Of.Name, 0, c.author(r.Context(), a.Reason)); err != nil {
			return err
		}
		return done(w, r, destinationsPath, "The destination %s is deleted.", a.Of.Name)
	}
	if _, err := c.Destinations.Update(r.Context(), auth.Tenant(r.Context()), a.Of.Name, 0, destinations.Patch{Enabled: new(a.Act.Name == "enable")}, c.author(r.Context(), a.Reason)); err != nil {
		return err
	}
	return done(w, r, a.Of.Path, "The destination is %sd.", a.Act.Name)
}

// fieldsOf returns the fields that are wrong; false when the failure is of none.
func fieldsOf(err error) ([]fault.Field, bool) {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || len(e.Fields) == 0 {
		return nil, false
	}
	return e.Fields, true
}
