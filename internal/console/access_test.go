package console_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/console"
	"github.com/dawsos/dawsos/internal/store"
)

// newKey makes a key straight in the database.
func (s *site) newKey(tenant string, role auth.Role, user string, scopes ...string) string {
	s.t.Helper()
	db := store.New(s.pool, store.Options{})
	_, err := db.AddTenant(s.t.Context(), tenant)
	require.NoError(s.t, err)
	text, _, err := auth.NewManager(db, nil, time.Now).Create(s.t.Context(), auth.Draft{
		TenantID: tenant, Name: string(role), Role: role, UserID: user, Scopes: scopes, By: "test",
	})
	require.NoError(s.t, err)
	return text
}

// signIn returns the header with the session's cookie.
func (s *site) signIn(key string) []string {
	s.t.Helper()
	answer := s.post("/console/login", url.Values{"credential": {key}, "next": {"/console/patterns"}})
	require.Equal(s.t, http.StatusSeeOther, answer.StatusCode, answer.body)
	require.Equal(s.t, "/console/patterns", answer.Header.Get("Location"))
	cookies := answer.Cookies()
	require.Len(s.t, cookies, 1)
	k := cookies[0]
	require.True(s.t, k.HttpOnly)
	require.Equal(s.t, http.SameSiteLaxMode, k.SameSite)
	require.Equal(s.t, "/console", k.Path)
	require.False(s.t, k.Secure, "this is plain HTTP")
	require.NotContains(s.t, k.Value, key)
	return []string{"Cookie", k.Name + "=" + k.Value}
}

func TestSigningInAndOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "")

	// Who is not known is led to the page for signing in, and nowhere else.
	answer := s.get("/console/dlq?state=pending")
	require.Equal(t, http.StatusSeeOther, answer.StatusCode)
	require.Equal(t, "/console/login?next=%2Fconsole%2Fdlq%3Fstate%3Dpending", answer.Header.Get("Location"))
	require.Equal(t, http.StatusUnauthorized, s.get("/console/live?of=/console/dlq").StatusCode)
	require.Equal(t, http.StatusUnauthorized, s.get("/console/dlq", "HX-Request", "true").StatusCode)
	require.Equal(t, http.StatusUnauthorized, s.post("/console/imports/fx", url.Values{}).StatusCode)
	page := s.get("/console/login")
	require.Equal(t, http.StatusOK, page.StatusCode)
	require.NotContains(t, page.body, "/console/queue", "who is not known sees no navigation")
	require.Equal(t, http.StatusOK, s.get("/console/assets/console.css").StatusCode)

	// What opens nothing.
	for _, wrong := range []string{"", "x", "daws_000000000000_" + strings.Repeat("0", 43), strings.Repeat("x", 10_000)} {
		answer := s.post("/console/login", url.Values{"credential": {wrong}})
		require.Equal(t, http.StatusUnprocessableEntity, answer.StatusCode)
		require.Empty(t, answer.Cookies())
	}
	scoped := s.newKey("default", auth.Admin, "", "patterns:read")
	require.Equal(t, http.StatusUnprocessableEntity, s.post("/console/login", url.Values{"credential": {scoped}}).StatusCode)

	// Nobody is led away.
	key := s.newKey("default", auth.Operator, "")
	for _, away := range []string{"https://example.org/", "//example.org/", "/\\example.org", "/v1/keys", "/console\\..", "javascript:alert(1)"} {
		answer := s.post("/console/login", url.Values{"credential": {key}, "next": {away}})
		require.Equal(t, "/console", answer.Header.Get("Location"), away)
	}

	session := s.signIn(key)
	page = s.get("/console/dlq", session...)
	require.Equal(t, http.StatusOK, page.StatusCode)
	id, _ := auth.KeyID(key)
	require.Contains(t, page.body, "key:"+id)
	require.NotContains(t, page.body, key)
	require.NotContains(t, s.get("/v1/me", session...).body, "operator", "the cookie is no credential of the API")

	// The audit trail names who acted.
	require.Equal(t, http.StatusSeeOther, s.post("/console/logout", url.Values{}, session...).StatusCode)
	require.Equal(t, http.StatusSeeOther, s.get("/console/dlq", session...).StatusCode, "the session is over")

	// A revoked key ends its sessions.
	session = s.signIn(key)
	require.NoError(t, store.New(s.pool, store.Options{}).RevokeKey(t.Context(), "default", id, "test", ""))
	require.Equal(t, http.StatusSeeOther, s.get("/console/dlq", session...).StatusCode)

	// What is kept is no cookie.
	var kept []string
	rows, err := s.pool.Query(t.Context(), "SELECT encode(hash, 'escape') FROM sessions")
	require.NoError(t, err)
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		kept = append(kept, text)
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, kept)
	for _, text := range kept {
		require.NotContains(t, session[1], text)
	}
}

// Who tries credentials at the page is slowed down as at the API; the right ones still open.
func TestManyRefusedSignIns(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "", "RATE_LIMIT", "1000")
	key := s.newKey("default", auth.Operator, "")
	try := func(credential string) response {
		return s.post("/console/login", url.Values{"credential": {credential}})
	}
	limited := 0
	for range 30 {
		switch a := try("daws_000000000000_" + strings.Repeat("0", 43)); a.StatusCode {
		case http.StatusTooManyRequests:
			limited++
			require.NotEmpty(t, a.Header.Get("Retry-After"))
		default:
			require.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
		}
	}
	require.Positive(t, limited)
	require.Equal(t, http.StatusSeeOther, try(key).StatusCode)
}

// Where TLS ends in front, the session's cookie goes nowhere but through it.
func TestSessionsBehindTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "", "TLS_TERMINATED", "true")
	answer := s.post("/console/login", url.Values{"credential": {s.newKey("default", auth.Operator, "")}})
	require.Equal(t, http.StatusSeeOther, answer.StatusCode, answer.body)
	require.Len(t, answer.Cookies(), 1)
	require.True(t, answer.Cookies()[0].Secure)
}

// Each role sees and does in the console what the API lets it.
func TestRolesInTheConsole(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "")
	sessions := map[string][]string{}
	for _, role := range auth.Roles {
		sessions[string(role)] = s.signIn(s.newKey("default", role, ""))
	}
	sessions["acme's admin"] = s.signIn(s.newKey("acme", auth.Admin, ""))
	for path, allowed := range map[string]string{
		"/console":              "admin operator analyst service read-only acme's admin",
		"/console/dlq":          "admin operator read-only acme's admin",
		"/console/deliveries":   "admin operator service read-only acme's admin",
		"/console/alerts":       "admin operator analyst service read-only acme's admin",
		"/console/destinations": "admin operator read-only acme's admin",
		"/console/inbox":        "admin operator analyst service read-only acme's admin",
		"/console/portfolios":   "admin operator analyst service read-only acme's admin",
		"/console/patterns":     "admin operator analyst service read-only acme's admin",
		"/console/runs":         "admin operator analyst service read-only acme's admin",
		"/console/insights":     "admin operator analyst service read-only acme's admin",
		"/console/imports":      "admin operator service acme's admin",
		"/console/packs":        "admin operator analyst service read-only acme's admin",
		"/console/jobs":         "admin operator",
		"/console/agents":       "admin operator analyst service read-only acme's admin",
		"/console/queue/":       "admin operator",
		"/console/audit":        "admin operator acme's admin",
	} {
		for who, session := range sessions {
			want := http.StatusForbidden
			if strings.Contains(" "+allowed+" ", " "+who+" ") {
				want = http.StatusOK
			}
			require.Equal(t, want, s.get(path, session...).StatusCode, "%s for %s", path, who)
			if want == http.StatusForbidden && path != "/console/queue/" {
				// Nor does it come in by way of live.
				require.Contains(t, s.firstEvent(path, session...), "event: trouble", "%s for %s", path, who)
			}
		}
	}
	// Looking is not acting.
	for _, action := range []string{"/console/jobs/build_packs/run", "/console/destinations/new", "/console/dlq/act"} {
		require.Equal(t, http.StatusForbidden, s.post(action, url.Values{}, sessions["read-only"]...).StatusCode, action)
		require.NotEqual(t, http.StatusForbidden, s.post(action, url.Values{}, sessions["operator"]...).StatusCode, action)
	}
}

// The audit trail names who acted in the console.
func TestWhoActs(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "")
	key := s.newKey("default", auth.Operator, "")
	id, _ := auth.KeyID(key)
	session := s.signIn(key)
	require.Less(t, s.post("/console/jobs/evaluate_alerts/run", url.Values{"reason": {"now"}}, session...).StatusCode, 400)
	var entries struct {
		Items []struct{ Actor, Action string }
	}
	require.NoError(t, json.Unmarshal([]byte(s.get("/v1/audit", "Authorization", "Bearer "+key).body), &entries))
	require.Equal(t, "key:"+id, entries.Items[0].Actor)
}

// firstEvent returns the first event of a page's stream.
func (s *site) firstEvent(path string, headers ...string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/console/live?of="+url.QueryEscape(path), http.NoBody)
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.http.Do(r)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	var event strings.Builder
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() && lines.Text() != "" {
		event.WriteString(lines.Text() + "\n")
	}
	return event.String()
}

// actionOf says which operation of the API each action of the console is.
var actionOf = map[string]string{
	"/console/alerts":                       "post /v1/alerts",
	"/console/alerts/check":                 "post /v1/alerts",
	"/console/alerts/form":                  "post /v1/alerts",
	"/console/alerts/evaluate":              "post /v1/alerts/evaluate",
	"/console/alerts/{id}":                  "patch /v1/alerts/{id}",
	"/console/alerts/{id}/act":              "post /v1/alerts/{id}/snooze",
	"/console/deliveries":                   "post /v1/deliveries",
	"/console/destinations":                 "post /v1/destinations",
	"/console/destinations/{name}":          "patch /v1/destinations/{name}",
	"/console/destinations/{name}/act":      "delete /v1/destinations/{name}",
	"/console/destinations/{name}/rotate":   "post /v1/destinations/{name}/rotate-secret",
	"/console/destinations/{name}/test":     "post /v1/destinations/{name}/test",
	"/console/dlq/act":                      "post /v1/dlq/replay",
	"/console/imports/{kind}":               "post /v1/imports/{kind}",
	"/console/inbox/read":                   "post /v1/notifications/read",
	"/console/inbox/{id}/read":              "patch /v1/notifications/{id}/read",
	"/console/jobs/{name}/run":              "post /v1/jobs/{name}/run",
	"/console/operations/{id}/{act}":        "post /v1/dlq/operations/{id}/cancel",
	"/console/packs/build":                  "post /v1/pricing-packs",
	"/console/patterns/{id}/run":            "post /v1/patterns/{id}/execute",
	"/console/portfolios/{id}/transactions": "post /v1/portfolios/{id}/transactions",
	"/console/runs/{id}/replay":             "post /v1/runs/{id}/replay",
}

// TestActionsFollowTheAPI: whoever the API lets do something may do it in the console, and nobody else.
func TestActionsFollowTheAPI(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "")
	var document struct {
		Paths map[string]map[string]struct {
			Roles []auth.Role `json:"x-roles"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(s.get("/openapi.json").body), &document))
	sessions := map[auth.Role][]string{}
	for _, role := range auth.Roles {
		sessions[role] = s.signIn(s.newKey("default", role, ""))
	}
	c, err := console.New(console.Options{})
	require.NoError(t, err)
	defer c.Stop()
	seen := 0
	for _, r := range c.Routes() {
		if r.Method != http.MethodPost || r.Path == "/console/login" || r.Path == "/console/logout" || strings.HasPrefix(r.Path, "/console/queue") {
			continue
		}
		seen++
		method, path, _ := strings.Cut(actionOf[r.Path], " ")
		roles := document.Paths[path][method].Roles
		require.NotEmpty(t, roles, "which operation is %s?", r.Path)
		address := strings.NewReplacer("{id}", uuid.NewString(), "{name}", "nothing", "{kind}", "fx", "{act}", "cancel").Replace(r.Path)
		for role, session := range sessions {
			status := s.post(address, url.Values{}, session...).StatusCode
			require.Equal(t, !slices.Contains(roles, role), status == http.StatusForbidden, "%s for %s: %d", r.Path, role, status)
		}
	}
	require.Len(t, actionOf, seen)
}

// TestScopedKeysInTheConsole: a key for parts of the API opens no page, with a session or without.
func TestScopedKeysInTheConsole(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "")
	whole := []string{"Authorization", "Bearer " + s.newKey("default", auth.Admin, "")}
	scoped := []string{"Authorization", "Bearer " + s.newKey("default", auth.Admin, "", "patterns:read")}
	require.Equal(t, http.StatusOK, s.get("/v1/patterns", scoped...).StatusCode)
	for _, path := range []string{"/console", "/console/dlq", "/console/patterns", "/console/queue/"} {
		require.Equal(t, http.StatusOK, s.get(path, whole...).StatusCode, path)
		require.Equal(t, http.StatusForbidden, s.get(path, scoped...).StatusCode, path)
	}
	run := url.Values{"reason": {"now"}}
	require.Equal(t, http.StatusForbidden, s.post("/console/jobs/evaluate_alerts/run", run, scoped...).StatusCode)
	require.Equal(t, http.StatusSeeOther, s.post("/console/jobs/evaluate_alerts/run", run, whole...).StatusCode)
}

// TestRefusedCallersOfPages: keys tried at the console's pages are limited as those tried at the API.
func TestRefusedCallersOfPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "", "RATE_LIMIT", "1000")
	statuses := map[int]int{}
	for range 40 {
		statuses[s.get("/console/dlq", "Authorization", "Bearer daws_000000000000_"+strings.Repeat("0", 43)).StatusCode]++
	}
	require.Equal(t, 40, statuses[http.StatusUnauthorized]+statuses[http.StatusTooManyRequests], "%v", statuses)
	require.Positive(t, statuses[http.StatusTooManyRequests])
	require.Equal(t, http.StatusSeeOther, s.get("/console/dlq").StatusCode, "who shows nothing is led to the sign-in")
}

// TestOverviewFollowsRoles: what the API keeps from a role stands on no page of its either.
func TestOverviewFollowsRoles(t *testing.T) {
	t.Parallel()
	s := newSite(t, "AUTH_ANONYMOUS", "")
	for role, parts := range map[auth.Role]string{
		auth.Operator: "letters invariant delivered", auth.ReadOnly: "letters invariant delivered", auth.Service: "delivered", auth.Analyst: "",
	} {
		page := s.get("/console", s.signIn(s.newKey("default", role, ""))...)
		require.Equal(t, http.StatusOK, page.StatusCode)
		for part, mark := range map[string]string{"letters": `id="letters"`, "invariant": `id="invariant"`, "delivered": "Delivered, last hour"} {
			require.Equal(t, strings.Contains(parts, part), strings.Contains(page.body, mark), "%s for %s", part, role)
		}
		require.Equal(t, strings.Contains(parts, "letters"), strings.Contains(page.body, `href="/console/dlq`), role)
	}
}
