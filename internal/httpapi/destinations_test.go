package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/delivery/webhook"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/api"
)

// hidden stands wherever a destination has something secret.
const hidden = "t0ken-of-the-receiver"

func TestDestinationFromCreationToItsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const ops = "/v1/destinations/ops"
	var secrets []string
	var answers strings.Builder
	keep := func(a *answer) *answer {
		answers.Write(a.body)
		return a
	}

	a := s.post(t, "/v1/destinations", map[string]any{
		"name": "ops", "channel": "webhook", "description": "The desk's pager", "url": "https://hooks.example.com/" + hidden + "?k=" + hidden,
		"headers": map[string]string{"X-Key": hidden, "Authorization": "Bearer " + hidden}, "timeout_seconds": 2.5, "rate_per_second": 0.5, "concurrency": 3,
	}, "X-Reason", "a new pager")
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	require.NotContains(t, string(a.body), hidden)
	require.Equal(t, ops, a.header.Get("Location"))
	require.Equal(t, `"1"`, a.header.Get("ETag"))
	created := a.object()
	made, _ := created["secret"].(string)
	require.True(t, strings.HasPrefix(made, "whsec_"))
	secrets = append(secrets, made)
	delete(created, "secret")
	for key, want := range map[string]any{
		"name": "ops", "channel": "webhook", "description": "The desk's pager", "enabled": true, "address": "https://hooks.example.com/…",
		"has_secret": true, "header_names": []any{"Authorization", "X-Key"}, "timeout_seconds": 2.5, "rate_per_second": 0.5,
		"concurrency": 3.0, "locked": false, "revision": 1.0,
	} {
		require.Equal(t, want, created[key], key)
	}
	a = keep(s.get(t, ops))
	require.Equal(t, created, a.object(), "the secret is told once")
	require.Equal(t, `"1"`, a.header.Get("ETag"))
	s.post(t, "/v1/destinations", map[string]any{"name": "ops", "channel": "webhook", "url": "https://example.com"}).problem(409, fault.Conflict)

	a = keep(s.do(t, http.MethodPatch, ops, map[string]any{"enabled": false}, "If-Match", `"1"`))
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, `"2"`, a.header.Get("ETag"))
	require.Equal(t, false, a.object()["enabled"])
	require.InDelta(t, 2.5, a.object()["timeout_seconds"], 0, "what is not named stays")
	s.do(t, http.MethodPatch, ops, map[string]any{"enabled": true}, "If-Match", `"1"`).problem(409, fault.Conflict)
	for _, tag := range []string{"2", `"x"`, `"0"`, `W/"2"`, `"1", "2"`} {
		s.do(t, http.MethodPatch, ops, map[string]any{"enabled": true}, "If-Match", tag).invalid("/header/If-Match")
	}
	a = keep(s.do(t, http.MethodPatch, ops, map[string]any{"timeout_seconds": 0, "rate_per_second": 0, "headers": map[string]string{}}, "If-Match", "*"))
	require.Equal(t, []any{}, a.object()["header_names"])

	a = s.post(t, ops+"/rotate-secret", map[string]any{"overlap_seconds": 3600})
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	rotated, _ := a.object()["secret"].(string)
	require.NotEqual(t, made, rotated)
	secrets = append(secrets, rotated)
	until, err := time.Parse(time.RFC3339, a.object()["former_secret_until"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), until, time.Minute)
	given := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef01234567"))
	secrets = append(secrets, given)
	a = keep(s.post(t, ops+"/rotate-secret", map[string]any{"secret": given}))
	require.NotContains(t, a.object(), "secret")

	keep(s.get(t, "/v1/destinations"))
	s.do(t, http.MethodDelete, ops, nil, "If-Match", `"1"`).problem(409, fault.Conflict)
	require.Equal(t, http.StatusNoContent, s.do(t, http.MethodDelete, ops, nil).status)
	s.get(t, ops).problem(404, fault.NotFound)
	s.do(t, http.MethodDelete, ops, nil).problem(404, fault.NotFound)
	s.do(t, http.MethodPatch, ops, map[string]any{"enabled": true}).problem(404, fault.NotFound)
	s.post(t, ops+"/test", nil).problem(404, fault.NotFound)

	trail, err := s.db.AuditLog(t.Context(), store.DefaultTenant, audit.Filter{Subject: "destination", SubjectID: "ops"}, uuid.Max, 100)
	require.NoError(t, err)
	require.Len(t, trail, 6)
	require.Equal(t, "a new pager", trail[5].Reason)
	for _, e := range trail {
		require.Equal(t, "api", e.Actor)
		answers.WriteString(e.Action)
		answers.Write(e.Detail)
	}
	for _, secret := range append(secrets, hidden) {
		require.NotContains(t, answers.String(), secret)
		require.NotContains(t, s.log.String(), secret)
	}
}

func TestDestinationsAreListedInPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.Equal(t, map[string]any{"items": []any{}, "next_cursor": nil}, s.get(t, "/v1/destinations").object())
	for i := range 5 {
		a := s.post(t, "/v1/destinations", map[string]any{"name": fmt.Sprint("n", 4-i), "channel": "webhook", "url": "https://example.com"})
		require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	}
	var names []string
	pages := 0
	for next := ""; ; pages++ {
		var page struct {
			Items []api.Destination
			Next  *string `json:"next_cursor"`
		}
		s.get(t, "/v1/destinations?limit=2"+next).into(&page)
		for _, d := range page.Items {
			names = append(names, d.Name)
		}
		if page.Next == nil {
			break
		}
		next = "&cursor=" + *page.Next
	}
	require.Equal(t, []string{"n0", "n1", "n2", "n3", "n4"}, names)
	require.Equal(t, 2, pages)
}

func TestWrongDestinations(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	good := map[string]any{"name": "ops", "channel": "webhook", "url": "https://example.com"}
	for pointer, wrong := range map[string][]any{
		"/name":            {"", "Ops", "a b", strings.Repeat("a", 64), "ops\n", 1},
		"/channel":         {"inapp", "pigeon", "email"},
		"/url":             {"", "ftp://example.com/" + hidden, "https://ada:" + hidden + "@example.com", "https://example.com/" + strings.Repeat("a", 2048), hidden},
		"/secret":          {hidden, "whsec_" + hidden},
		"/timeout_seconds": {-1, 0.05, 6, "1"},
		"/rate_per_second": {-1, 0.0001, 10001},
		"/concurrency":     {-1, 1.5, 1001},
		"/description":     {strings.Repeat("a", 501)},
		"/enabled":         {"yes"},
		"/colour":          {"red"},
	} {
		for _, v := range wrong {
			body := map[string]any{}
			for k, v := range good {
				body[k] = v
			}
			body[strings.TrimPrefix(pointer, "/")] = v
			a := s.post(t, "/v1/destinations", body)
			a.invalid(pointer)
			require.NotContains(t, string(a.body), hidden, "a secret came back in an error")
		}
	}
	s.post(t, "/v1/destinations", map[string]any{"name": "ops", "channel": "webhook"}).invalid("/url")
	s.post(t, "/v1/destinations", map[string]any{"name": "ops", "channel": "webhook", "url": "https://example.com", "to": []string{"a@example.com"}}).invalid("/to")
	require.Equal(t, []any{}, s.get(t, "/v1/destinations").object()["items"])
	s.do(t, http.MethodPatch, "/v1/destinations/ops", map[string]any{}).problem(422, fault.Invalid)
	s.get(t, "/v1/destinations/%00").problem(422, fault.Invalid)
	s.get(t, "/v1/destinations/Nope").problem(404, fault.NotFound)
	require.NotContains(t, s.log.String(), hidden)
}

func TestDestinationsWithoutAKey(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	hook, err := webhook.New(http.DefaultClient, "", "test", time.Now)
	require.NoError(t, err)
	s := newSite(t, func(o *httpapi.Options) {
		o.DestinationManager = destinations.NewManager(store.NewDestinations(pool, nil, time.Now), destinations.Options{
			Channels: []delivery.Channel{hook}, Timeout: time.Second, Log: o.Log,
		})
	})
	p := s.post(t, "/v1/destinations", map[string]any{"name": "ops", "channel": "webhook", "url": "https://example.com"}).problem(503, fault.Unavailable)
	require.Contains(t, p.Detail, "SECRETS_KEY is not set")
	require.Equal(t, []any{}, s.get(t, "/v1/destinations").object()["items"])
}

func TestTestMessages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var status atomic.Int64
	status.Store(http.StatusNoContent)
	bodies := make(chan string, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		w.WriteHeader(int(status.Load()))
		if status.Load() != http.StatusNoContent {
			_, _ = io.WriteString(w, "words of the receiver")
		}
	}))
	t.Cleanup(server.Close)
	a := s.post(t, "/v1/destinations", map[string]any{"name": "ops", "channel": "webhook", "enabled": false, "url": server.URL + "/" + hidden})
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)

	a = s.post(t, "/v1/destinations/ops/test", nil)
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, "delivered", a.object()["outcome"])
	require.NotContains(t, a.object(), "cause")
	require.Contains(t, <-bodies, "This is a test message")

	status.Store(http.StatusServiceUnavailable)
	a = s.post(t, "/v1/destinations/ops/test", nil)
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	got := a.object()
	for key, want := range map[string]any{
		"outcome": "failed", "cause": "http_5xx", "status_code": 503.0, "response_excerpt": "words of the receiver",
	} {
		require.Equal(t, want, got[key], key)
	}
	<-bodies

	server.Close()
	a = s.post(t, "/v1/destinations/ops/test", nil)
	require.Equal(t, "connect", a.object()["cause"])
	require.NotContains(t, string(a.body), hidden)

	var events int
	require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT count(*) FROM alert_events`).Scan(&events))
	require.Zero(t, events, "a test is no event")
}

func TestEventsGoToDestinations(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.post(t, "/v1/destinations", map[string]any{"name": "ops", "channel": "webhook", "url": receiver(t, http.StatusNoContent)})
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	send := func(message string) map[string]any {
		a := s.post(t, "/v1/deliveries", map[string]any{
			"alert_id": "a", "user_id": "ada", "title": "t", "message": message, "channels": map[string]any{"destination": []string{"ops"}},
		})
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		return a.object()["channels"].(map[string]any)["destination:ops"].(map[string]any)
	}
	require.Equal(t, "delivered", send("one")["outcome"])
	require.Equal(t, http.StatusOK, s.do(t, http.MethodPatch, "/v1/destinations/ops", map[string]any{"enabled": false}).status)
	off := send("two")
	require.Equal(t, "exhausted", off["outcome"], "a change counts at once")
	require.Equal(t, "rejected", off["cause"])
	require.Equal(t, http.StatusOK, s.do(t, http.MethodPatch, "/v1/destinations/ops", map[string]any{"enabled": true}).status)
	require.Equal(t, "delivered", send("three")["outcome"])
}
