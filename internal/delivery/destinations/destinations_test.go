package destinations_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store in memory that can be slower than others. The real one is tested in
// internal/store.
type memory struct {
	entries map[string]destinations.Entry
	trail   []audit.Entry
	rivals  int // how many updates find that somebody was faster
}

func (m *memory) Create(_ context.Context, e destinations.Entry, a audit.Entry) error {
	if _, ok := m.entries[e.Name]; ok {
		return fault.New(fault.Conflict, "taken")
	}
	m.entries[e.Name] = e
	m.trail = append(m.trail, a)
	return nil
}

func (m *memory) Get(_ context.Context, tenantID, name string) (destinations.Entry, error) {
	e, ok := m.entries[name]
	if !ok || e.TenantID != tenantID {
		return destinations.Entry{}, fault.New(fault.NotFound, "none")
	}
	return e, nil
}

func (m *memory) List(context.Context, string, string, int) ([]destinations.Entry, error) {
	return nil, errors.ErrUnsupported
}

func (m *memory) Update(_ context.Context, e destinations.Entry, a audit.Entry) error {
	if m.rivals > 0 {
		m.rivals--
		rival := m.entries[e.Name]
		rival.Revision++
		m.entries[e.Name] = rival
	}
	if m.entries[e.Name].Revision != e.Revision-1 {
		return fault.New(fault.Conflict, "changed")
	}
	m.entries[e.Name] = e
	m.trail = append(m.trail, a)
	return nil
}

func (m *memory) Delete(_ context.Context, _, name string, _ int, a audit.Entry) error {
	delete(m.entries, name)
	m.trail = append(m.trail, a)
	return nil
}

// channel keeps what it is to send.
type channel struct {
	name  string
	check func(delivery.Endpoint) error
	send  func(context.Context, delivery.Delivery) delivery.Outcome
}

func (c channel) Name() string                             { return c.name }
func (channel) Check(delivery.Target) error                { return errors.ErrUnsupported }
func (channel) Endpoint(delivery.Target) delivery.Endpoint { return delivery.Endpoint{} }

func (c channel) CheckEndpoint(e delivery.Endpoint) error {
	if c.check == nil {
		return nil
	}
	return c.check(e)
}

func (c channel) Send(ctx context.Context, d delivery.Delivery) delivery.Outcome {
	return c.send(ctx, d)
}

const (
	tenant = "default"
	given  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

var author = destinations.Author{Actor: "ada", Reason: "new pager"}

type bundle struct {
	*destinations.Manager
	store *memory
	log   *bytes.Buffer
	now   time.Time
}

func setup(t *testing.T, channels ...delivery.Channel) *bundle {
	t.Helper()
	b := &bundle{
		store: &memory{entries: make(map[string]destinations.Entry)}, log: new(bytes.Buffer),
		now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
	}
	if channels == nil {
		channels = []delivery.Channel{channel{name: "inapp"}, channel{name: "webhook"}, channel{name: "email"}, channel{name: "chat"}}
	}
	b.Manager = destinations.NewManager(b.store, destinations.Options{
		Channels: channels, Timeout: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(b.log, nil)), Now: func() time.Time { return b.now },
	})
	return b
}

func draft(change ...func(*destinations.Draft)) destinations.Draft {
	d := destinations.Draft{
		TenantID: tenant, Name: "ops", Channel: "webhook", Enabled: true, URL: "https://hooks.example.com:8443/t0ken?key=t0ken",
		Headers: map[string]string{"X-Key": "t0ken"}, Timeout: 3 * time.Second, Limits: delivery.Limits{Rate: 2, Concurrency: 1},
	}
	for _, c := range change {
		c(&d)
	}
	return d
}

func TestCreate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, made, err := b.Create(t.Context(), draft(), author)
	require.NoError(t, err)
	require.Equal(t, e, b.store.entries["ops"])
	require.Equal(t, delivery.Endpoint{
		ID: "destination:ops", URL: "https://hooks.example.com:8443/t0ken?key=t0ken", Headers: map[string]string{"X-Key": "t0ken"},
		Secrets: []string{made}, Timeout: 3 * time.Second, Limits: delivery.Limits{Rate: 2, Concurrency: 1},
	}, e.Endpoint)
	require.Equal(t, 1, e.Revision)
	require.Equal(t, "https://hooks.example.com:8443/…", e.Shown)

	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(made, "whsec_"))
	require.NoError(t, err)
	require.Len(t, key, 32)
	_, again, err := b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Name = "ops2" }), author)
	require.NoError(t, err)
	require.NotEqual(t, made, again)

	e, made, err = b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Name, d.Secret = "mine", given }), author)
	require.NoError(t, err)
	require.Empty(t, made, "a secret that was given is told again")
	require.Equal(t, []string{given}, e.Endpoint.Secrets)

	_, made, err = b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Name = "mine" }), author)
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	require.Empty(t, made)
}

func TestWhatIsShown(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://example.com":                            "https://example.com",
		"https://example.com/":                           "https://example.com",
		"http://example.com:9000/hook":                   "http://example.com:9000/…",
		"https://example.com?key=t0ken":                  "https://example.com/…",
		"https://user:t0ken@example.com/hook":            "https://example.com/…",
		"slack://hook:t0ken@webhook":                     "slack://…",
		"teams://group@tenant/t0ken/t0ken":               "teams://…",
		"telegram://110201543:t0ken@telegram?channels=1": "telegram://…",
		"generic+https://t0ken/%zz":                      "generic+https://…",
	} {
		b := setup(t)
		e, _, err := b.Create(t.Context(), draft(func(d *destinations.Draft) {
			d.URL = address
			if !strings.HasPrefix(address, "http") {
				d.Channel, d.Headers = "chat", nil
			}
		}), author)
		require.NoError(t, err)
		require.Equal(t, want, e.Shown)
	}
	b := setup(t)
	e, made, err := b.Create(t.Context(), destinations.Draft{
		TenantID: tenant, Name: "desk", Channel: "email", To: []string{"ada@example.com", "bob@example.com"},
	}, author)
	require.NoError(t, err)
	require.Empty(t, made)
	require.Equal(t, "ada@example.com, bob@example.com", e.Shown)
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	short := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23))
	long := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))
	for _, test := range []struct {
		pointer string
		change  func(*destinations.Draft)
	}{
		{"/name", func(d *destinations.Draft) { d.Name = "" }},
		{"/name", func(d *destinations.Draft) { d.Name = "Ops" }},
		{"/name", func(d *destinations.Draft) { d.Name = "a/b" }},
		{"/name", func(d *destinations.Draft) { d.Name = strings.Repeat("a", 64) }},
		{"/name", func(d *destinations.Draft) { d.Name = "ops\n" }},
		{"/channel", func(d *destinations.Draft) { d.Channel = "inapp" }},
		{"/channel", func(d *destinations.Draft) { d.Channel = "pigeon" }},
		{"/url", func(d *destinations.Draft) { d.URL = "" }},
		{"/url", func(d *destinations.Draft) { d.Channel, d.URL = "chat", "" }},
		{"/url", func(d *destinations.Draft) { d.Channel, d.To = "email", []string{"a@example.com"} }},
		{"/to", func(d *destinations.Draft) { d.To = []string{"a@example.com"} }},
		{"/to", func(d *destinations.Draft) { d.Channel, d.URL = "email", "" }},
		{"/headers", func(d *destinations.Draft) { d.Channel = "chat" }},
		{"/secret", func(d *destinations.Draft) { d.Channel, d.Headers, d.Secret = "chat", nil, given }},
		{"/secret", func(d *destinations.Draft) { d.Secret = "hunter2" }},
		{"/secret", func(d *destinations.Draft) { d.Secret = "whsec_hunter2!" }},
		{"/secret", func(d *destinations.Draft) { d.Secret = strings.TrimPrefix(given, "whsec_") }},
		{"/secret", func(d *destinations.Draft) { d.Secret = short }},
		{"/secret", func(d *destinations.Draft) { d.Secret = long }},
		{"/timeout_seconds", func(d *destinations.Draft) { d.Timeout = 99 * time.Millisecond }},
		{"/timeout_seconds", func(d *destinations.Draft) { d.Timeout = 5*time.Second + 1 }},
		{"/rate_per_second", func(d *destinations.Draft) { d.Limits.Rate = 0.0001 }},
		{"/rate_per_second", func(d *destinations.Draft) { d.Limits.Rate = -1 }},
		{"/rate_per_second", func(d *destinations.Draft) { d.Limits.Rate = 10001 }},
		{"/concurrency", func(d *destinations.Draft) { d.Limits.Concurrency = -1 }},
		{"/concurrency", func(d *destinations.Draft) { d.Limits.Concurrency = 1001 }},
	} {
		b := setup(t)
		_, made, err := b.Create(t.Context(), draft(test.change), author)
		f, ok := errors.AsType[*fault.Error](err)
		require.True(t, ok, "%s: %v", test.pointer, err)
		require.Equal(t, fault.Invalid, f.Code)
		require.Equal(t, test.pointer, f.Fields[0].Pointer)
		require.NotContains(t, f.Error(), "hunter2")
		require.Empty(t, made)
		require.Empty(t, b.store.entries)
		require.Empty(t, b.store.trail)
	}
}

func TestChannelsCheckTheirEndpoints(t *testing.T) {
	t.Parallel()
	var seen delivery.Endpoint
	b := setup(t, channel{name: "webhook", check: func(e delivery.Endpoint) error {
		seen = e
		return fault.InvalidField("/url", "is not for us")
	}})
	_, _, err := b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Secret = given }), author)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.Equal(t, []string{given}, seen.Secrets)
	require.Equal(t, "https://hooks.example.com:8443/t0ken?key=t0ken", seen.URL)

	_, _, err = b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Channel = "chat" }), author)
	require.ErrorContains(t, err, "/channel: must be one of webhook", "a channel that this process lacks")
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before, _, err := b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Secret = given }), author)
	require.NoError(t, err)
	b.now = b.now.Add(time.Hour)

	after, err := b.Update(t.Context(), tenant, "ops", 1, destinations.Patch{Enabled: new(false)}, author)
	require.NoError(t, err)
	want := before
	want.Enabled, want.Revision, want.UpdatedAt = false, 2, b.now
	require.Equal(t, want, after, "what is not named stays")

	after, err = b.Update(t.Context(), tenant, "ops", 0, destinations.Patch{
		Description: new("d"), URL: new("https://example.com"), Headers: new(map[string]string{}), Secret: new("whsec_" + strings.Repeat("AAAA", 10)),
		Timeout: new(time.Duration(0)), Rate: new(0.5), Concurrency: new(7),
	}, author)
	require.NoError(t, err)
	require.Equal(t, "https://example.com", after.Shown)
	require.Equal(t, []string{"whsec_" + strings.Repeat("AAAA", 10)}, after.Endpoint.Secrets, "a secret replaces the one before at once")
	require.Empty(t, after.Endpoint.Headers)
	require.Equal(t, delivery.Limits{Rate: 0.5, Concurrency: 7}, after.Endpoint.Limits)
	require.Equal(t, after, b.store.entries["ops"])

	_, err = b.Update(t.Context(), tenant, "ops", 2, destinations.Patch{Enabled: new(true)}, author)
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	_, err = b.Update(t.Context(), tenant, "ops", 0, destinations.Patch{URL: new("")}, author)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	_, err = b.Update(t.Context(), "other", "ops", 0, destinations.Patch{Enabled: new(true)}, author)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.Equal(t, after, b.store.entries["ops"])
}

// Settings of the process change while destinations stay: one whose timeout is longer than DELIVERY_TIMEOUT is by now,
// or whose mail server is gone, can still be turned off and have its secret rotated. What a change touches is checked.
func TestAChangeIsCheckedForWhatItTouches(t *testing.T) {
	t.Parallel()
	off := fault.InvalidField("/channel", "email is off")
	strict := func(delivery.Endpoint) error { return off }
	b := setup(t, channel{name: "webhook"}, channel{name: "email", check: strict})
	hook, _, err := b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Secret = given }), author)
	require.NoError(t, err)
	hook.Endpoint.Timeout = 10 * time.Second // DELIVERY_TIMEOUT was that
	b.store.entries["ops"] = hook
	mail := hook
	mail.Name, mail.Channel, mail.Secrets = "desk", "email", nil
	mail.Endpoint = delivery.Endpoint{ID: "destination:desk", To: []string{"ada@example.com"}, Timeout: 10 * time.Second}
	b.store.entries["desk"] = mail

	for name, e := range b.store.entries {
		e, err = b.Update(t.Context(), tenant, name, 0, destinations.Patch{
			Description: new("off for now"), Enabled: new(false), Timeout: new(10 * time.Second), Concurrency: new(3), To: new(e.Endpoint.To),
		}, author)
		require.NoError(t, err, name)
		require.False(t, e.Enabled)
		require.Equal(t, 10*time.Second, e.Endpoint.Timeout, "it stays")
	}
	e, made, err := b.RotateSecret(t.Context(), tenant, "ops", "", time.Hour, author)
	require.NoError(t, err)
	require.Equal(t, []string{made, given}, e.Endpoint.Secrets)

	for _, test := range []struct {
		pointer, name string
		patch         destinations.Patch
	}{
		{"/timeout_seconds", "ops", destinations.Patch{Timeout: new(9 * time.Second)}},
		{"/url", "ops", destinations.Patch{URL: new("")}},
		{"/to", "ops", destinations.Patch{To: new([]string{"ada@example.com"})}},
		{"/secret", "ops", destinations.Patch{Secret: new("hunter2")}},
		{"/channel", "desk", destinations.Patch{To: new([]string{"bob@example.com"})}},
	} {
		_, err := b.Update(t.Context(), tenant, test.name, 0, test.patch, author)
		f, ok := errors.AsType[*fault.Error](err)
		require.True(t, ok, "%s: %v", test.pointer, err)
		require.Equal(t, test.pointer, f.Fields[0].Pointer)
	}
}

func TestChangesGetPastOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, err := b.Create(t.Context(), draft(), author)
	require.NoError(t, err)

	b.store.rivals = 2
	e, err := b.Update(t.Context(), tenant, "ops", 0, destinations.Patch{Enabled: new(false)}, author)
	require.NoError(t, err)
	require.Equal(t, 4, e.Revision)

	b.store.rivals = 1
	_, err = b.Update(t.Context(), tenant, "ops", 4, destinations.Patch{Enabled: new(false)}, author)
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "it was meant for one revision")
	b.store.rivals = 100
	_, err = b.Update(t.Context(), tenant, "ops", 0, destinations.Patch{Enabled: new(false)}, author)
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "not for ever")
}

func TestRotateSecret(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, err := b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Secret = given }), author)
	require.NoError(t, err)
	first := b.now

	e, second, err := b.RotateSecret(t.Context(), tenant, "ops", "", time.Hour, author)
	require.NoError(t, err)
	require.Equal(t, []destinations.Secret{{Value: second}, {Value: given, Until: first.Add(time.Hour)}}, e.Secrets)
	require.Equal(t, []string{second, given}, e.Endpoint.Secrets)

	b.now = b.now.Add(30 * time.Minute)
	e, third, err := b.RotateSecret(t.Context(), tenant, "ops", "", time.Hour, author)
	require.NoError(t, err)
	require.Equal(t, []destinations.Secret{
		{Value: third}, {Value: second, Until: b.now.Add(time.Hour)}, {Value: given, Until: first.Add(time.Hour)},
	}, e.Secrets, "an overlap is not made longer by the next one")

	b.now = b.now.Add(45 * time.Minute)
	require.Equal(t, []string{third, second}, destinations.Signing(e.Secrets, b.now))
	e, made, err := b.RotateSecret(t.Context(), tenant, "ops", given, 0, author)
	require.NoError(t, err)
	require.Empty(t, made)
	require.Equal(t, []destinations.Secret{{Value: given}}, e.Secrets, "without an overlap the former are gone")

	for range 10 {
		e, _, err = b.RotateSecret(t.Context(), tenant, "ops", "", time.Hour, author)
		require.NoError(t, err)
	}
	require.Len(t, e.Secrets, 5)

	for _, overlap := range []time.Duration{-1, destinations.MaxOverlap + 1} {
		_, _, err = b.RotateSecret(t.Context(), tenant, "ops", "", overlap, author)
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
	}
	_, made, err = b.RotateSecret(t.Context(), tenant, "ops", "hunter2", time.Hour, author)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.Empty(t, made)
	_, _, err = b.Create(t.Context(), destinations.Draft{TenantID: tenant, Name: "chat", Channel: "chat", URL: "slack://x"}, author)
	require.NoError(t, err)
	_, _, err = b.RotateSecret(t.Context(), tenant, "chat", "", time.Hour, author)
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
}

func TestTrail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, err := b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Secret = given }), author)
	require.NoError(t, err)
	_, err = b.Update(t.Context(), tenant, "ops", 0, destinations.Patch{
		URL: new("https://example.com/t0ken2"), Headers: new(map[string]string{"X-Key": "t0ken2"}), Secret: new(given),
	}, author)
	require.NoError(t, err)
	_, _, err = b.RotateSecret(t.Context(), tenant, "ops", "", time.Hour, author)
	require.NoError(t, err)
	require.NoError(t, b.Delete(t.Context(), tenant, "ops", 0, author))

	var told []string
	for _, a := range b.store.trail {
		require.Equal(t, audit.Entry{
			TenantID: tenant, At: b.now, Actor: "ada", Reason: "new pager", Subject: "destination", SubjectID: "ops",
			Action: a.Action, Detail: a.Detail,
		}, a)
		told = append(told, a.Action+" "+string(a.Detail))
	}
	require.Equal(t, []string{
		`destination.create {"channel":"webhook"}`,
		`destination.update {"changed":["url","headers","secret"]}`,
		`destination.rotate_secret {"overlap_seconds":3600}`,
		`destination.delete {}`,
	}, told)
}

func TestLockedDestinations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.entries["ops"] = destinations.Entry{
		Destination: delivery.Destination{TenantID: tenant, Name: "ops", Channel: "webhook", Revision: 1}, Locked: true,
	}
	_, err := b.Update(t.Context(), tenant, "ops", 0, destinations.Patch{Enabled: new(false)}, author)
	require.Equal(t, fault.Unavailable, fault.CodeOf(err), "what is sealed would be lost")
	_, err = b.Test(t.Context(), tenant, "ops")
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.NoError(t, b.Delete(t.Context(), tenant, "ops", 0, author))
}

func TestTestSend(t *testing.T) {
	t.Parallel()
	var sent delivery.Delivery
	var left time.Duration
	outcome := delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true, StatusCode: 503, Detail: "503", Excerpt: "no"}
	b := setup(t, channel{name: "webhook", send: func(ctx context.Context, d delivery.Delivery) delivery.Outcome {
		deadline, _ := ctx.Deadline()
		sent, left = d, time.Until(deadline)
		return outcome
	}})
	e, _, err := b.Create(t.Context(), draft(func(d *destinations.Draft) { d.Enabled = false }), author)
	require.NoError(t, err)
	a, err := b.Test(t.Context(), tenant, "ops")
	require.NoError(t, err)
	require.Equal(t, outcome, a.Outcome)
	require.Equal(t, e.Endpoint, sent.Endpoint)
	require.Equal(t, delivery.Target{Channel: "webhook", Destination: "ops"}, sent.Target)
	require.Contains(t, sent.Event.Message, "This is a test message")
	require.JSONEq(t, `{"test":true}`, string(sent.Event.Data))
	require.InDelta(t, 3*time.Second, left, float64(time.Second), "its own timeout")
	require.NotContains(t, b.log.String(), "t0ken")
	first := sent.MessageID()
	_, err = b.Test(t.Context(), tenant, "ops")
	require.NoError(t, err)
	require.NotEqual(t, first, sent.MessageID(), "each test is a message of its own")

	panics := setup(t, channel{name: "webhook", send: func(context.Context, delivery.Delivery) delivery.Outcome { panic("t0ken") }})
	maps.Copy(panics.store.entries, b.store.entries)
	a, err = panics.Test(t.Context(), tenant, "ops")
	require.NoError(t, err)
	require.Equal(t, delivery.Internal, a.Outcome.Cause)
	require.NotContains(t, fmt.Sprint(a), "t0ken")
	_, err = b.Test(t.Context(), tenant, "nope")
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}

// FuzzRotation rotates in any order and at any time: the newest secret always signs, no former one
// does for longer than its overlap, and none twice.
func FuzzRotation(f *testing.F) {
	f.Add([]byte{10, 200, 0, 5, 255})
	f.Fuzz(func(t *testing.T, steps []byte) {
		store := &memory{entries: make(map[string]destinations.Entry)}
		now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		m := destinations.NewManager(store, destinations.Options{
			Channels: []delivery.Channel{channel{name: "webhook"}}, Timeout: 5 * time.Second,
			Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		})
		e, newest, err := m.Create(t.Context(), draft(), author)
		require.NoError(t, err)
		ends := map[string]time.Time{}
		for i, step := range steps {
			now = now.Add(time.Duration(step%16) * time.Minute)
			overlap := time.Duration(step/16) * 10 * time.Minute
			var secret string
			if i%3 == 2 {
				secret = fmt.Sprintf("whsec_%s", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{step % 4}, 32)))
			}
			var made string
			e, made, err = m.RotateSecret(t.Context(), tenant, "ops", secret, overlap, author)
			require.NoError(t, err)
			require.Equal(t, secret == "", made != "")
			present := made + secret
			if newest != present {
				ends[newest] = now.Add(overlap)
			}
			for former, end := range ends {
				if end.After(now.Add(overlap)) {
					ends[former] = now.Add(overlap)
				}
			}
			delete(ends, present)
			newest = present
			signing := destinations.Signing(e.Secrets, now)
			require.Equal(t, newest, signing[0])
			seen := map[string]bool{}
			for j, s := range signing {
				require.False(t, seen[s])
				seen[s] = true
				require.True(t, j == 0 || now.Before(ends[s]), "a former secret signs for too long")
			}
		}
		raw, err := json.Marshal(store.trail)
		require.NoError(t, err)
		require.NotContains(t, string(raw), "whsec_")
	})
}
