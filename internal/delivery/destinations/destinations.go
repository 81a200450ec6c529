// Package destinations manages the named targets of a tenant: it checks them before they are stored,
// makes and rotates the secrets that sign webhooks, and sends test messages.
//
// What is secret goes in and never comes out: an [Entry] holds it because the channels need it, and
// [Entry.Shown] is all that may be told of an address. The one exception is a secret that was made
// here, which its receiver has to learn: it is handed out once, when it is made.
package destinations

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// Entry is a destination as those who manage it know it.
type Entry struct {
	delivery.Destination
	Shown   string   // what may be told of the address
	Secrets []Secret // webhook: sign, newest first; Endpoint.Secrets are those of them that do at present
	// Locked means that this process lacks the key with which the rest was encrypted: Endpoint holds
	// nothing but its ID.
	Locked bool
}

// Secret signs webhooks.
type Secret struct {
	Value string
	Until time.Time // when it stops signing; zero: not before it is replaced
}

// Signing returns the secrets that sign at a time, newest first.
func Signing(secrets []Secret, now time.Time) []string {
	var values []string
	for _, s := range secrets {
		if s.Until.IsZero() || now.Before(s.Until) {
			values = append(values, s.Value)
		}
	}
	return values
}

// Store keeps destinations. Each change is written together with the audit entry that tells of it.
type Store interface {
	// Create adds e, or returns fault.Conflict when its name is taken.
	Create(ctx context.Context, e Entry, a audit.Entry) error
	// Get returns one by name, or fault.NotFound.
	Get(ctx context.Context, tenantID, name string) (Entry, error)
	// List returns up to limit entries whose names follow after, in order of name.
	List(ctx context.Context, tenantID, after string, limit int) ([]Entry, error)
	// Update replaces what has e's name and the revision before e's, or returns fault.Conflict.
	Update(ctx context.Context, e Entry, a audit.Entry) error
	// Delete removes one of a revision, 0 for any, or returns fault.NotFound or fault.Conflict.
	Delete(ctx context.Context, tenantID, name string, revision int, a audit.Entry) error
}

// Options for a Manager.
type Options struct {
	Channels []delivery.Channel
	Timeout  time.Duration // of an attempt, DELIVERY_TIMEOUT; a destination's own can only be shorter
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
}

// Manager changes destinations. It is safe for concurrent use.
type Manager struct {
	Options
	store    Store
	channels map[string]delivery.Channel
}

// NewManager returns a manager of what store keeps.
func NewManager(store Store, o Options) *Manager {
	m := &Manager{Options: o, store: store, channels: make(map[string]delivery.Channel, len(o.Channels))}
	for _, c := range o.Channels {
		m.channels[c.Name()] = c
	}
	if m.Now == nil {
		m.Now = time.Now
	}
	return m
}

// Author is who asks for a change, and why.
type Author struct {
	Actor  string
	Reason string // "" where none was given
}

const (
	webhook = "webhook"
	email   = "email"
	chat    = "chat"

	// attempts is how often a change that names no revision is tried against others' changes.
	attempts = 3
	// secretBytes is the length of a secret that is made here.
	secretBytes = 32
	// maxSecrets bounds the secrets of a destination; the oldest go.
	maxSecrets = 5
	minTimeout = 100 * time.Millisecond
	minRate    = 0.001 // attempts a second
	maxRate    = 10_000.0
	// maxConcurrency bounds the attempts at the same time.
	maxConcurrency = 1000
	// DefaultOverlap is how long a rotated secret goes on signing.
	DefaultOverlap = 24 * time.Hour
	// MaxOverlap bounds that.
	MaxOverlap = 30 * 24 * time.Hour
)

// Draft is a destination that is to be created.
type Draft struct {
	TenantID    string
	Name        string
	Channel     string
	Description string
	Enabled     bool
	URL         string
	To          []string
	Headers     map[string]string
	Secret      string // webhook: "" has one made
	Timeout     time.Duration
	Limits      delivery.Limits
}

// Create stores a destination. made is the secret that was made for a webhook without one.
func (m *Manager) Create(ctx context.Context, d Draft, by Author) (e Entry, made string, err error) {
	if !validName.MatchString(d.Name) {
		return Entry{}, "", fault.InvalidField("/name", "must be 1 to 63 of a-z, 0-9, - and _")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Entry{}, "", err
	}
	now := m.Now().UTC().Truncate(time.Microsecond)
	e = Entry{Destination: delivery.Destination{
		ID: id, TenantID: d.TenantID, Name: d.Name, Channel: d.Channel, Description: d.Description, Enabled: d.Enabled,
		Endpoint: delivery.Endpoint{
			ID: delivery.Target{Destination: d.Name}.Key(), URL: d.URL, To: d.To, Headers: d.Headers,
			Timeout: d.Timeout, Limits: d.Limits,
		},
		Revision: 1, CreatedAt: now, UpdatedAt: now,
	}}
	switch {
	case d.Secret != "":
		e.Secrets = []Secret{{Value: d.Secret}}
	case d.Channel == webhook:
		made = newSecret()
		e.Secrets = []Secret{{Value: made}}
	}
	if err := m.finish(&e, Entry{}); err != nil {
		return Entry{}, "", err
	}
	if err := m.store.Create(ctx, e, m.entry(e, "destination.create", by, map[string]any{"channel": e.Channel})); err != nil {
		return Entry{}, "", err
	}
	return e, made, nil
}

// validName is what names are made of: they stand in paths, in metrics and in message ids.
var validName = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

// Get returns a destination by name, or fault.NotFound.
func (m *Manager) Get(ctx context.Context, tenantID, name string) (Entry, error) {
	return m.store.Get(ctx, tenantID, name)
}

// List returns up to limit destinations whose names follow after, in order of name.
func (m *Manager) List(ctx context.Context, tenantID, after string, limit int) ([]Entry, error) {
	return m.store.List(ctx, tenantID, after, limit)
}

// Patch is a change; nil leaves a field as it is.
type Patch struct {
	Description *string
	Enabled     *bool
	URL         *string
	To          *[]string
	Headers     *map[string]string // all of them: those that are not named go
	Secret      *string            // replaces all secrets at once; see RotateSecret
	Timeout     *time.Duration
	Rate        *float64
	Concurrency *int
}

// Update changes a destination. revision is the one that the change is meant for, 0 for whichever
// there is: another one is fault.Conflict.
func (m *Manager) Update(ctx context.Context, tenantID, name string, revision int, p Patch, by Author) (Entry, error) {
	return m.change(ctx, tenantID, name, revision, "destination.update", by, func(e *Entry) (map[string]any, error) {
		var changed []string
		set(&changed, "description", &e.Description, p.Description)
		set(&changed, "enabled", &e.Enabled, p.Enabled)
		set(&changed, "url", &e.Endpoint.URL, p.URL)
		set(&changed, "to", &e.Endpoint.To, p.To)
		set(&changed, "headers", &e.Endpoint.Headers, p.Headers)
		set(&changed, "timeout_seconds", &e.Endpoint.Timeout, p.Timeout)
		set(&changed, "rate_per_second", &e.Endpoint.Limits.Rate, p.Rate)
		set(&changed, "concurrency", &e.Endpoint.Limits.Concurrency, p.Concurrency)
		if p.Secret != nil {
			e.Secrets = []Secret{{Value: *p.Secret}}
			changed = append(changed, "secret")
		}
		return map[string]any{"changed": notNil(changed)}, nil
	})
}

// set changes a field and notes its name.
func set[T any](changed *[]string, name string, field, to *T) {
	if to != nil {
		*field = *to
		*changed = append(*changed, name)
	}
}

// RotateSecret has a webhook signed with a new secret, and for as long as overlap with the present
// ones too, so that the receiver can change over in its own time. A secret that is not given is made;
// made is then the only time that it is told.
func (m *Manager) RotateSecret(
	ctx context.Context, tenantID, name, given string, overlap time.Duration, by Author,
) (e Entry, made string, err error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Entry{}, "", fault.InvalidField("/overlap_seconds", "must be from 0 to %d", int(MaxOverlap.Seconds()))
	}
	secret := given
	if secret == "" {
		made = newSecret()
		secret = made
	}
	e, err = m.change(ctx, tenantID, name, 0, "destination.rotate_secret", by, func(e *Entry) (map[string]any, error) {
		if e.Channel != webhook {
			return nil, fault.New(fault.Conflict, "%s is of channel %s: only webhooks are signed", e.Name, e.Channel)
		}
		now := m.Now().UTC()
		secrets := []Secret{{Value: secret}}
		for _, s := range e.Secrets {
			if end := now.Add(overlap); s.Until.IsZero() || s.Until.After(end) {
				s.Until = end
			}
			if s.Value != secret && now.Before(s.Until) {
				secrets = append(secrets, s)
			}
		}
		e.Secrets = secrets[:min(len(secrets), maxSecrets)]
		return map[string]any{"overlap_seconds": int64(overlap.Seconds())}, nil
	})
	if err != nil {
		return Entry{}, "", err
	}
	return e, made, nil
}

// Delete removes a destination. Letters that are bound for it become exhausted on their next try.
func (m *Manager) Delete(ctx context.Context, tenantID, name string, revision int, by Author) error {
	e := Entry{Destination: delivery.Destination{TenantID: tenantID, Name: name}}
	return m.store.Delete(ctx, tenantID, name, revision, m.entry(e, "destination.delete", by, nil))
}

// change has edit change the present entry, and stores it.
func (m *Manager) change(
	ctx context.Context, tenantID, name string, revision int, action string, by Author,
	edit func(*Entry) (detail map[string]any, err error),
) (Entry, error) {
	for n := 1; ; n++ {
		e, err := m.store.Get(ctx, tenantID, name)
		switch {
		case err != nil:
			return Entry{}, err
		case revision != 0 && e.Revision != revision:
			return Entry{}, fault.New(fault.Conflict, "destination %s has changed: it is at revision %d", name, e.Revision)
		case e.Locked:
			return Entry{}, locked(name)
		}
		was := e
		detail, err := edit(&e)
		if err != nil {
			return Entry{}, err
		}
		if err := m.finish(&e, was); err != nil {
			return Entry{}, err
		}
		e.Revision++
		e.UpdatedAt = m.Now().UTC().Truncate(time.Microsecond)
		err = m.store.Update(ctx, e, m.entry(e, action, by, detail))
		if fault.CodeOf(err) == fault.Conflict && revision == 0 && n < attempts {
			continue // somebody was faster; the change is for whatever there is
		}
		if err != nil {
			return Entry{}, err
		}
		return e, nil
	}
}

func locked(name string) error {
	return fault.New(fault.Unavailable,
		"destination %s was encrypted with a key that is not in SECRETS_KEY; put it back, or delete the destination and create it again", name)
}

// finish checks what is new of an entry, all of it where it was none before, and derives what follows from the rest.
func (m *Manager) finish(e *Entry, was Entry) error {
	if err := m.check(e, was); err != nil {
		return err
	}
	e.Endpoint.Secrets = Signing(e.Secrets, m.Now())
	e.Shown = shown(e.Channel, e.Endpoint)
	return nil
}

// check finds fields that do not belong to the channel; the channel checks those that do. What stays as it was is
// not checked again: the process's settings may have changed since it was stored, and a destination that they don't
// suit any more is the one to be turned off, or whose secret is to be replaced.
func (m *Manager) check(e *Entry, was Entry) error {
	c, ok := m.channels[e.Channel]
	if !ok || !slices.Contains([]string{webhook, email, chat}, e.Channel) {
		return fault.InvalidField("/channel", "must be one of %s", strings.Join(m.usable(), ", "))
	}
	for _, f := range []struct {
		pointer  string
		given    bool
		channels []string
		required bool
	}{
		{"/url", e.Endpoint.URL != "", []string{webhook, chat}, true},
		{"/to", len(e.Endpoint.To) > 0, []string{email}, true},
		{"/headers", len(e.Endpoint.Headers) > 0, []string{webhook}, false},
		{"/secret", len(e.Secrets) > 0, []string{webhook}, false},
	} {
		belongs := slices.Contains(f.channels, e.Channel)
		if f.given && !belongs {
			return fault.InvalidField(f.pointer, "is not for channel %s", e.Channel)
		}
		if f.required && belongs && !f.given {
			return fault.InvalidField(f.pointer, "is required for channel %s", e.Channel)
		}
	}
	if d := e.Endpoint.Timeout; d != was.Endpoint.Timeout && d != 0 && (d < minTimeout || d > m.Timeout) {
		return fault.InvalidField("/timeout_seconds", "must be 0, or from %g to %g (DELIVERY_TIMEOUT)", minTimeout.Seconds(), m.Timeout.Seconds())
	}
	if r := e.Endpoint.Limits.Rate; r != 0 && !(r >= minRate && r <= maxRate) {
		return fault.InvalidField("/rate_per_second", "must be 0, or from %g to %g", minRate, maxRate)
	}
	if n := e.Endpoint.Limits.Concurrency; n < 0 || n > maxConcurrency {
		return fault.InvalidField("/concurrency", "must be from 0 to %d", maxConcurrency)
	}
	for _, s := range e.Secrets {
		if err := checkSecret(s.Value); err != nil {
			return err
		}
	}
	if was.Revision > 0 && e.Endpoint.URL == was.Endpoint.URL && slices.Equal(e.Endpoint.To, was.Endpoint.To) &&
		maps.Equal(e.Endpoint.Headers, was.Endpoint.Headers) {
		return nil
	}
	endpoint := e.Endpoint
	endpoint.Secrets = Signing(e.Secrets, m.Now())
	return c.CheckEndpoint(endpoint)
}

// usable are the channels that can have destinations.
func (m *Manager) usable() []string {
	var names []string
	for _, name := range []string{webhook, email, chat} {
		if _, ok := m.channels[name]; ok {
			names = append(names, name)
		}
	}
	return names
}

// checkSecret wants what the Standard Webhooks specification does.
func checkSecret(s string) error {
	const least, most = 24, 64
	encoded, ok := strings.CutPrefix(s, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < least || len(key) > most {
		return fault.InvalidField("/secret", "must be whsec_ followed by the base64 of %d to %d random bytes", least, most)
	}
	return nil
}

func newSecret() string {
	key := make([]byte, secretBytes)
	rand.Read(key) // never fails, see its documentation
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// shown is what may be told of an address. Receivers keep tokens in paths and queries, so that of a
// webhook's no more than the host is told; a chat service's host can be the token itself.
func shown(channel string, e delivery.Endpoint) string {
	if channel == email {
		return strings.Join(e.To, ", ")
	}
	u, err := url.Parse(e.URL)
	if err != nil || u.Scheme == "" {
		scheme, _, _ := strings.Cut(e.URL, "://") // the library of chat services reads more than net/url
		return scheme + "://…"
	}
	if channel == chat {
		return u.Scheme + "://…"
	}
	return delivery.ShownURL(e.URL)
}

// entry is what the trail says of a change.
func (m *Manager) entry(e Entry, action string, by Author, detail map[string]any) audit.Entry {
	if detail == nil {
		detail = map[string]any{}
	}
	raw, err := json.Marshal(detail)
	if err != nil { // texts, numbers and lists of texts
		panic(err)
	}
	return audit.Entry{
		TenantID: e.TenantID, At: m.Now().UTC(), Actor: by.Actor, Action: action,
		Subject: "destination", SubjectID: e.Name, Reason: by.Reason, Detail: raw,
	}
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Test makes one attempt with a message that says that it is a test. It is no event: nothing is stored,
// deduplicated or retried, and the destination may be disabled and its breaker open, as finding out
// whether it works is the point.
func (m *Manager) Test(ctx context.Context, tenantID, name string) (delivery.Attempt, error) {
	e, err := m.store.Get(ctx, tenantID, name)
	switch {
	case err != nil:
		return delivery.Attempt{}, err
	case e.Locked:
		return delivery.Attempt{}, locked(name)
	}
	c, ok := m.channels[e.Channel]
	if !ok {
		return delivery.Attempt{}, fault.New(fault.Unavailable, "this process has no channel %s", e.Channel)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return delivery.Attempt{}, err
	}
	a := delivery.Attempt{Number: 1, StartedAt: m.Now().UTC()}
	a.Outcome = m.send(ctx, c, delivery.Delivery{
		Event: delivery.Event{
			ID: id, TenantID: tenantID, Source: delivery.Direct, AlertID: "test", Title: "Test of " + name,
			Message:  "This is a test message to the destination " + name + ". No alert stands behind it.",
			Severity: delivery.Info, Data: json.RawMessage(`{"test":true}`),
			Targets: []delivery.Target{target(e)}, AcceptedAt: a.StartedAt,
		},
		Target: target(e), Endpoint: e.Endpoint, Attempt: 1,
	})
	a.Duration = m.Now().Sub(a.StartedAt)
	m.Log.InfoContext(ctx, "destination tested",
		"destination", name, "event_id", id, "cause", a.Outcome.Cause, "status", a.Outcome.StatusCode, "duration", a.Duration)
	return a, nil
}

// send makes the attempt. What panics in a channel's library ends as it does in a delivery.
func (m *Manager) send(ctx context.Context, c delivery.Channel, d delivery.Delivery) (o delivery.Outcome) {
	ctx, cancel := context.WithTimeout(ctx, min(cmp.Or(d.Endpoint.Timeout, m.Timeout), m.Timeout)) // as a delivery
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			m.Log.ErrorContext(ctx, "channel panicked in a test",
				"channel", c.Name(), "destination", d.Target.Destination, "panic", p, "stack", string(debug.Stack()))
			o = delivery.Outcome{Cause: delivery.Internal, Detail: "the channel failed unexpectedly; the log has the stack"}
		}
	}()
	return c.Send(ctx, d)
}

func target(e Entry) delivery.Target {
	return delivery.Target{Channel: e.Channel, Destination: e.Name}
}
