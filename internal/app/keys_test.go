package app

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/store"
)

// TestManageKeys: the first key comes from the command; what it writes to out is the key and nothing else.
func TestManageKeys(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	run := func(args ...string) (out, notes string, err error) {
		var o, n bytes.Buffer
		err = ManageKeys(t.Context(), args, from(map[string]string{"DATABASE_URL": databaseURL}), &o, &n)
		return o.String(), n.String(), err
	}
	db := store.New(dbtest.Connect(t, databaseURL), store.Options{})
	who := func(key string) (auth.Principal, error) { // asks anew, as another process would
		a := auth.New(auth.Options{Keys: auth.NewStoredKeys(db, time.Now), Registerer: prometheus.NewRegistry()})
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(key))
		return a.Authenticate(r)
	}

	out, notes, err := run("create", "--name", "ci", "--role", "service", "--scopes", "runs:read,patterns:write", "--expires", "1h")
	require.NoError(t, err)
	p, err := who(out)
	require.NoError(t, err)
	require.Equal(t, auth.Service, p.Role)
	require.Equal(t, "default", p.TenantID)
	require.Equal(t, []string{"runs:read", "patterns:write"}, p.Scopes)
	require.NotContains(t, notes, strings.TrimSpace(out))
	first := p.KeyID

	_, _, err = run("create", "--tenant", "acme", "--name", "a", "--role", "admin")
	require.ErrorContains(t, err, `there is no tenant "acme"`)
	_, _, err = run("create", "--tenant", "typo", "--new-tenant", "--name", "a", "--role", "amdin")
	require.Error(t, err)
	_, _, err = run("create", "--tenant", "typo", "--name", "a", "--role", "admin")
	require.ErrorContains(t, err, `there is no tenant "typo"`, "what fails leaves no tenant")
	acme, _, err := run("create", "--tenant", "acme", "--new-tenant", "--name", "a", "--role", "admin")
	require.NoError(t, err)
	p, err = who(acme)
	require.NoError(t, err)
	require.Equal(t, "acme", p.TenantID)

	out, _, err = run("list")
	require.NoError(t, err)
	require.Contains(t, out, first)
	require.NotContains(t, out, p.KeyID, "that is another tenant's")
	_, _, err = run("revoke", p.KeyID)
	require.ErrorContains(t, err, "there is no API key", "without --tenant")

	second, _, err := run("rotate", "--overlap", "0s", first)
	require.NoError(t, err)
	p, err = who(second)
	require.NoError(t, err)
	_, _, err = run("rotate", first)
	require.ErrorContains(t, err, "is expired")
	_, _, err = run("revoke", p.KeyID)
	require.NoError(t, err)
	_, err = who(second)
	require.ErrorContains(t, err, "was revoked")

	for _, args := range [][]string{
		nil,
		{"create"},
		{"create", "--name", "x", "--role", "root"},
		{"create", "--name", "x", "--role", "admin", "--scopes", "all"},
		{"create", "--name", "x", "--role", "admin", "more"},
		{"create", "--nme", "x"},
		{"rotate"},
		{"revoke", "a", "b"},
		{"list", "--expires", "-1h"},
		{"burn"},
	} {
		out, _, err := run(args...)
		require.Error(t, err, "%v", args)
		require.Empty(t, out, "%v", args)
	}
}
