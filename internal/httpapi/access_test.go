package httpapi_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
)

var update = flag.Bool("update", false, "write the table of roles into docs/access.md")

// operationAccess is what the document says of who may do something.
type operationAccess struct {
	method, path string
	Roles        []auth.Role `json:"x-roles"`
	Scope        string      `json:"x-scope"`
	Operating    bool        `json:"x-operating-tenant"`
	Summary      string      `json:"summary"`
}

// operations reads them from the document, in its paths' order.
func operations(t testing.TB, d *document) (list []operationAccess) {
	t.Helper()
	for path, methods := range d.root["paths"].(map[string]any) {
		for method, o := range methods.(map[string]any) {
			raw, err := json.Marshal(o)
			require.NoError(t, err)
			a := operationAccess{method: strings.ToUpper(method), path: path}
			require.NoError(t, json.Unmarshal(raw, &a))
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b operationAccess) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method))
	})
	return list
}

// claimed believes what the test claims to be.
type claimed struct{}

func (claimed) Authenticate(r *http.Request) (auth.Principal, error) {
	var p auth.Principal
	if err := json.Unmarshal([]byte(r.Header.Get("X-Test-Principal")), &p); err != nil {
		return p, fault.New(fault.Unauthenticated, "nobody")
	}
	return p, nil
}

func as(t testing.TB, p auth.Principal) []string {
	t.Helper()
	raw, err := json.Marshal(p)
	require.NoError(t, err)
	return []string{"X-Test-Principal", string(raw)}
}

var pathParameter = regexp.MustCompile(`\{[a-z_]+\}`)

// Every cell of the table of operations by role: who is not named is refused, who is named comes as far as
// the operation itself. Requests are wrong in all else, so that nothing happens.
func TestEveryRoleAtEveryOperation(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *httpapi.Options) { o.Auth = claimed{} })
	list := operations(t, s.document)
	require.Greater(t, len(list), 60)
	cells := 0
	for _, o := range list {
		target := pathParameter.ReplaceAllString(o.path, "no-such-thing")
		refused := s.do(t, o.method, target, nil)
		require.Equal(t, http.StatusUnauthorized, refused.status, "%s %s: nobody", o.method, o.path)
		require.Equal(t, `Bearer realm="dawsos"`, refused.header.Get("WWW-Authenticate"))
		for _, role := range auth.Roles {
			cells++
			p := auth.Principal{TenantID: auth.OperatingTenant, Subject: "test", Role: role}
			answer := s.do(t, o.method, target, nil, as(t, p)...)
			allowed := slices.Contains(o.Roles, role)
			if !allowed {
				require.Equal(t, http.StatusForbidden, answer.status, "%s %s as %s", o.method, o.path, role)
				require.Contains(t, string(answer.body), `"code":"forbidden"`)
				continue
			}
			require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError}, answer.status,
				"%s %s as %s: %s", o.method, o.path, role, answer.body)

			p.Scopes = []string{"access:nothing"}
			require.Equal(t, http.StatusForbidden, s.do(t, o.method, target, nil, as(t, p)...).status, "%s %s: a key for something else", o.method, o.path)
			p.Scopes = []string{o.Scope}
			require.NotEqual(t, http.StatusForbidden, s.do(t, o.method, target, nil, as(t, p)...).status, "%s %s: a key for this", o.method, o.path)
			if o.Operating {
				p.TenantID, p.Scopes = "another", nil
				require.Equal(t, http.StatusForbidden, s.do(t, o.method, target, nil, as(t, p)...).status, "%s %s of another tenant", o.method, o.path)
			}
		}
	}
	require.Equal(t, len(list)*len(auth.Roles), cells)
	t.Logf("%d operations, %d cells", len(list), cells)
}

// What the document calls a scope is what keys may be for.
func TestScopesAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	named := map[string]bool{}
	for _, o := range operations(t, d) {
		require.Contains(t, auth.Scopes, o.Scope)
		named[o.Scope] = true
		if o.method == http.MethodGet {
			require.True(t, strings.HasSuffix(o.Scope, ":read"), "%s %s: %s", o.method, o.path, o.Scope)
		}
	}
	for _, scope := range auth.Scopes {
		require.True(t, named[scope], "no operation is of the scope %s", scope)
	}
	schema := d.root["components"].(map[string]any)["schemas"].(map[string]any)["Scope"].(map[string]any)["enum"].([]any)
	require.Len(t, schema, len(auth.Scopes))
}

const tableBegin, tableEnd = "<!-- roles -->", "<!-- /roles -->"

// docs/access.md shows the table of the document; -update writes it.
func TestAccessTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("\n| operation | scope | " + "admin | operator | analyst | service | read-only |\n|---|---|---|---|---|---|---|\n")
	for _, o := range operations(t, readDocument(t)) {
		note := ""
		if o.Operating {
			note = " (tenant `default`)"
		}
		fmt.Fprintf(&b, "| `%s %s`%s | `%s` |", o.method, o.path, note, o.Scope)
		for _, role := range auth.Roles {
			if slices.Contains(o.Roles, role) {
				b.WriteString(" yes |")
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteString("\n")
	}
	const file = "../../docs/access.md"
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(raw), tableBegin)
	require.True(t, ok)
	table, behind, ok := strings.Cut(rest, tableEnd)
	require.True(t, ok)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+tableBegin+b.String()+tableEnd+behind), 0o600))
		return
	}
	require.Equal(t, b.String(), table, "run: go test ./internal/httpapi -run TestAccessTable -update")
}

func bearer(key string) []string { return []string{"Authorization", "Bearer " + key} }

func TestKeysFromCreationToRevocation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var made struct {
		Key     string
		Details struct {
			ID, Name, Role, State string
			Scopes                []string
			ExpiresAt             *time.Time `json:"expires_at"`
			CreatedBy             string     `json:"created_by"`
			LastUsedAt            *time.Time `json:"last_used_at"`
			RotatedFrom           string     `json:"rotated_from"`
		}
	}
	answer := s.post(t, "/v1/keys", map[string]any{"name": "boss", "role": "admin"})
	require.Equal(t, http.StatusCreated, answer.status, string(answer.body))
	require.NoError(t, json.Unmarshal(answer.body, &made))
	boss := made.Key
	require.Equal(t, "/v1/keys/"+made.Details.ID, answer.header.Get("Location"))

	me := s.get(t, "/v1/me", bearer(boss)...)
	require.JSONEq(t, `{"tenant_id":"default","subject":"key:`+made.Details.ID+`","role":"admin"}`, string(me.body))

	// A key for a part of the API.
	answer = s.post(t, "/v1/keys", map[string]any{
		"name": "ci", "role": "service", "scopes": []string{"patterns:read"}, "expires_in_seconds": 3600,
	}, bearer(boss)...)
	require.Equal(t, http.StatusCreated, answer.status, string(answer.body))
	require.NoError(t, json.Unmarshal(answer.body, &made))
	ci, id := made.Key, made.Details.ID
	require.Equal(t, "service", made.Details.Role)
	require.Contains(t, made.Details.CreatedBy, "key:")
	require.Equal(t, http.StatusOK, s.get(t, "/v1/patterns", bearer(ci)...).status)
	require.Equal(t, http.StatusForbidden, s.get(t, "/v1/portfolios", bearer(ci)...).status)
	require.Equal(t, http.StatusForbidden, s.get(t, "/v1/keys", bearer(ci)...).status)

	// The list knows that it was used, and no secret.
	list := s.get(t, "/v1/keys?limit=1", bearer(boss)...)
	require.Equal(t, http.StatusOK, list.status)
	require.Contains(t, string(list.body), id)
	require.Contains(t, string(list.body), "last_used_at")
	require.NotContains(t, string(list.body), ci)
	var page struct {
		Items      []json.RawMessage
		NextCursor *string `json:"next_cursor"`
	}
	require.NoError(t, json.Unmarshal(list.body, &page))
	require.Len(t, page.Items, 1)
	require.NotNil(t, page.NextCursor)
	next := s.get(t, "/v1/keys?limit=1&cursor="+*page.NextCursor, bearer(boss)...)
	require.Contains(t, string(next.body), `"boss"`)

	// Rotation: both open for the overlap, the old one's end is set.
	answer = s.post(t, "/v1/keys/"+id+"/rotate", map[string]any{"overlap_seconds": 60}, bearer(boss)...)
	require.Equal(t, http.StatusCreated, answer.status, string(answer.body))
	require.NoError(t, json.Unmarshal(answer.body, &made))
	require.Equal(t, id, made.Details.RotatedFrom)
	require.Equal(t, []string{"patterns:read"}, made.Details.Scopes)
	require.Equal(t, http.StatusOK, s.get(t, "/v1/patterns", bearer(ci)...).status)
	require.Equal(t, http.StatusOK, s.get(t, "/v1/patterns", bearer(made.Key)...).status)

	require.NotNil(t, made.Details.ExpiresAt)
	require.WithinDuration(t, time.Now().Add(time.Hour), *made.Details.ExpiresAt, time.Minute, "as long as the first was to live")
	again := s.post(t, "/v1/keys/"+id+"/rotate", map[string]any{}, bearer(boss)...)
	require.Equal(t, http.StatusConflict, again.status)
	require.Contains(t, string(again.body), "was replaced by "+made.Details.ID)

	// Without overlap it is over at once, and can't be rotated again.
	second := made.Details.ID
	require.Equal(t, http.StatusCreated, s.post(t, "/v1/keys/"+second+"/rotate", map[string]any{"overlap_seconds": 0}, bearer(boss)...).status)
	refused := s.get(t, "/v1/patterns", bearer(made.Key)...)
	require.Equal(t, http.StatusUnauthorized, refused.status)
	require.Contains(t, string(refused.body), "expired")
	require.Contains(t, refused.header.Get("WWW-Authenticate"), "invalid_token")
	require.Equal(t, http.StatusConflict, s.post(t, "/v1/keys/"+second+"/rotate", map[string]any{}, bearer(boss)...).status)

	// Revocation, twice.
	for range 2 {
		require.Equal(t, http.StatusNoContent, s.do(t, http.MethodDelete, "/v1/keys/"+id, nil, append(bearer(boss), "X-Reason", "left")...).status)
	}
	require.Equal(t, http.StatusUnauthorized, s.get(t, "/v1/patterns", bearer(ci)...).status)
	audit := string(s.get(t, "/v1/audit?subject=key&limit=50", bearer(boss)...).body)
	require.Equal(t, 1, strings.Count(audit, `"key.revoke"`))
	require.Equal(t, 2, strings.Count(audit, `"key.rotate"`))
	require.NotContains(t, audit, ci)
	require.NotContains(t, s.log.String(), ci)

	require.Equal(t, http.StatusNotFound, s.get(t, "/v1/keys/000000000000", bearer(boss)...).status)
	require.Equal(t, http.StatusUnprocessableEntity, s.get(t, "/v1/keys/NO", bearer(boss)...).status)
	require.Equal(t, http.StatusUnprocessableEntity, s.post(t, "/v1/keys", map[string]any{"name": "x", "role": "root"}, bearer(boss)...).status)
	require.Equal(t, http.StatusUnprocessableEntity, s.post(t, "/v1/keys", map[string]any{"name": "x", "role": "admin", "scopes": []string{"all"}}, bearer(boss)...).status)
}

// A key that is for parts of the API makes no key for more, nor has one made again that is.
func TestKeysGrantNoMoreThanTheyHave(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	create := func(name string, scopes []string, by ...string) *answer {
		body := map[string]any{"name": name, "role": "admin"}
		if scopes != nil {
			body["scopes"] = scopes
		}
		return s.post(t, "/v1/keys", body, by...)
	}
	var boss, keeper struct {
		Key     string
		Details struct{ ID string }
	}
	require.NoError(t, json.Unmarshal(create("boss", nil).body, &boss))
	require.NoError(t, json.Unmarshal(create("keeper", []string{"access:write", "runs:read"}).body, &keeper))
	by := bearer(keeper.Key)
	for _, scopes := range [][]string{nil, {"patterns:read"}, {"runs:read", "runs:write"}} {
		require.Equal(t, http.StatusForbidden, create("more", scopes, by...).status, "%v", scopes)
	}
	require.Equal(t, http.StatusCreated, create("less", []string{"runs:read"}, by...).status)
	require.Equal(t, http.StatusForbidden, s.post(t, "/v1/keys/"+boss.Details.ID+"/rotate", map[string]any{}, by...).status)
	require.Equal(t, http.StatusOK, s.get(t, "/v1/me", bearer(boss.Key)...).status, "and nothing was ended")
	require.Equal(t, http.StatusCreated, s.post(t, "/v1/keys/"+keeper.Details.ID+"/rotate", map[string]any{}, by...).status)
}

// A key that was tampered with, is of another's id, or is none at all.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var made struct{ Key string }
	require.NoError(t, json.Unmarshal(s.post(t, "/v1/keys", map[string]any{"name": "a", "role": "admin"}).body, &made))
	other, _, _ := auth.NewKey()
	id, _ := auth.KeyID(made.Key)
	otherID, _ := auth.KeyID(other)
	flip := "0"
	if strings.HasSuffix(made.Key, "0") {
		flip = "1"
	}
	for name, header := range map[string]string{
		"unknown":         "Bearer " + other,
		"another's id":    "Bearer " + strings.Replace(other, otherID, id, 1),
		"one character":   "Bearer " + made.Key[:len(made.Key)-1] + flip,
		"cut":             "Bearer " + made.Key[:20],
		"empty":           "Bearer ",
		"no scheme":       made.Key,
		"basic":           "Basic " + made.Key,
		"a token":         "Bearer eyJhbGciOiJub25lIn0.e30.",
		"long":            "Bearer " + strings.Repeat("x", 5000),
		"with a NUL":      "Bearer daws_\x00",
		"upper case":      "Bearer " + strings.ToUpper(made.Key),
		"twice":           "Bearer " + made.Key + " " + made.Key,
		"in other scheme": "bearerx " + made.Key,
	} {
		answer := s.get(t, "/v1/me", "Authorization", header)
		require.Equal(t, http.StatusUnauthorized, answer.status, name)
		require.NotContains(t, string(answer.body), made.Key)
	}
	require.Equal(t, http.StatusOK, s.get(t, "/v1/me", "Authorization", "bearer  "+made.Key).status)
}

// Refusals are counted by what was shown.
func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := newFrontSite(t, func(o *httpapi.Options) {
		o.Auth = auth.New(auth.Options{Registerer: registry})
	})
	require.Equal(t, http.StatusUnauthorized, s.get(t, "/v1/me").status)
	require.Equal(t, http.StatusUnauthorized, s.get(t, "/v1/me", "Authorization", "Bearer x").status)
	counts := map[string]float64{}
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, m := range families[0].GetMetric() {
		counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	require.Equal(t, map[string]float64{"missing": 1, "token": 1, "key": 0}, counts)
}
