package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/console"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
)

// sums are what is in each table of the tenant "default".
func (s *site) sums(t *testing.T) map[string]string {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), `SELECT c.relname::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname NOT IN ('api_keys', 'sessions', 'prices')`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Greater(t, len(names), 25)
	sums := map[string]string{}
	for _, name := range names {
		var sum string
		require.NoError(t, s.pool.QueryRow(t.Context(), fmt.Sprintf(
			`SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM %s AS t WHERE tenant_id = 'default'`, name)).Scan(&sum))
		sums[name] = sum
	}
	return sums
}

// TestAnotherTenantSeesNothing opens every page, and sends every form, with the ids of another tenant.
func TestAnotherTenantSeesNothing(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	keys := store.New(s.pool, store.Options{})
	_, err := keys.AddTenant(t.Context(), "other")
	require.NoError(t, err)
	text, id, hash := auth.NewKey()
	require.NoError(t, keys.AddKey(t.Context(), auth.Key{
		ID: id, TenantID: "other", Name: "test", Role: auth.Admin, CreatedAt: time.Now(), CreatedBy: "test",
	}, hash, ""))
	other := []string{"Authorization", "Bearer " + text}

	theirs := map[string]string{"portfolios": sample.PortfolioID(), "patterns": "portfolio_overview", "agents": "financial_analyst", "jobs": "backup"}
	s.api(http.MethodPost, "/v1/destinations", `{"name": "secretdesk", "channel": "webhook", "url": "http://127.0.0.1:1/hook"}`, http.StatusCreated)
	theirs["destinations"] = "secretdesk"
	sent := s.api(http.MethodPost, "/v1/deliveries",
		`{"alert_id": "a", "user_id": "ada", "title": "markedtitle", "message": "m", "channels": {"inapp": true, "destination": ["secretdesk"]}}`, http.StatusOK)
	theirs["deliveries"] = gjson.Get(sent, "event_id").String()
	theirs["dlq"] = gjson.Get(s.api(http.MethodGet, "/v1/dlq", "", http.StatusOK), "items.0.id").String()
	theirs["inbox"] = gjson.Get(s.api(http.MethodGet, "/v1/notifications?user_id=ada", "", http.StatusOK), "items.0.id").String()
	theirs["runs"] = gjson.Get(s.api(http.MethodPost, "/v1/patterns/portfolio_overview/execute?record=true",
		fmt.Sprintf(`{"inputs": {"portfolio_id": %q}}`, sample.PortfolioID()), http.StatusOK), "trace.run_id").String()
	if theirs["runs"] == "" {
		theirs["runs"] = gjson.Get(s.api(http.MethodGet, "/v1/runs", "", http.StatusOK), "items.0.id").String()
	}
	theirs["alerts"] = gjson.Get(s.api(http.MethodPost, "/v1/alerts",
		`{"user_id": "ada", "name": "markedrule", "condition": {"type": "price", "symbol": "SBI", "metric": "close", "op": "<", "value": 1}}`, http.StatusCreated), "id").String()
	theirs["packs"] = gjson.Get(s.api(http.MethodGet, "/v1/pricing-packs", "", http.StatusOK), "items.0.id").String()
	theirs["operations"] = gjson.Get(s.api(http.MethodPost, "/v1/dlq/discard", `{"filter": {"state": "exhausted"}}`, http.StatusAccepted), "id").String()
	everybodys := []string{"patterns", "agents", "jobs"} // they are nobody's; jobs are for operators
	for kind, id := range theirs {
		require.NotEmpty(t, id, kind)
	}
	before := s.sums(t)

	c, err := console.New(console.Options{})
	require.NoError(t, err)
	opened, posted := 0, 0
	for _, r := range c.Routes() {
		kind, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/console/"), "/")
		if kind == "assets" || kind == "live" || kind == "login" || kind == "logout" {
			continue
		}
		path := strings.NewReplacer("{id}", theirs[kind], "{event_id}", theirs[kind], "{name}", theirs[kind], "{kind}", "securities", "{act}", "cancel", "*", "").Replace(r.Path)
		byID := path != r.Path && kind != "imports" && kind != "queue" && !slices.Contains(everybodys, kind)
		switch r.Method {
		case http.MethodGet:
			if r.Path == "/console/runs/compare" {
				path += "?a=" + theirs["runs"] + "&b=" + theirs["runs"]
			}
			if r.Path == "/console/dlq/act" {
				path += "?act=discard&id=" + theirs["dlq"]
			}
			page := s.get(path, other...)
			opened++
			switch {
			case kind == "jobs" || kind == "queue":
				require.Equal(t, http.StatusForbidden, page.StatusCode, path)
			case byID:
				require.Equal(t, http.StatusNotFound, page.StatusCode, path)
			default:
				require.Less(t, page.StatusCode, http.StatusInternalServerError, "%s: %s", path, page.body)
			}
			for kind, id := range theirs {
				if !slices.Contains(everybodys, kind) && !strings.Contains(path, id) {
					require.NotContains(t, page.body, id, "%s shows another tenant's %s", path, kind)
				}
			}
			require.NotContains(t, page.body, "markedtitle", path)
			require.NotContains(t, page.body, "markedrule", path)
		case http.MethodPost:
			form := url.Values{
				"reason": {"x"}, "act": {"discard"}, "id": {theirs["dlq"]}, "user": {"ada"}, "user_id": {"ada"}, "portfolio_id": {theirs["portfolios"]},
				"destination": {"secretdesk"}, "key": {uuid.NewString()}, "title": {"t"}, "message": {"m"}, "name": {"n"},
			}
			answer := s.post(path, form, other...)
			posted++
			require.Less(t, answer.StatusCode, http.StatusInternalServerError, "%s: %s", path, answer.body)
			require.NotContains(t, answer.body, "markedtitle", path)
			require.NotContains(t, answer.body, "markedrule", path)
			if byID {
				require.GreaterOrEqual(t, answer.StatusCode, http.StatusBadRequest, path)
			}
		}
	}
	require.Greater(t, opened, 40)
	require.Greater(t, posted, 20)
	require.Equal(t, before, s.sums(t), "nothing of the tenant has changed")
}
