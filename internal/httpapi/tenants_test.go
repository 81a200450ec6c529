package httpapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/api"
)

// newSharedSite is the sample's site with keys. Who shows none is an admin of the tenant "default".
func newSharedSite(t *testing.T) *site {
	t.Helper()
	return newSampleSite(t, func(o *httpapi.Options) {
		o.Auth = auth.New(auth.Options{
			Keys: auth.NewStoredKeys(o.Runs.(*store.Store), time.Now), Anonymous: auth.Admin, Registerer: prometheus.NewRegistry(),
		})
	})
}

// key makes a key and returns the header that shows it.
func (s *site) key(t *testing.T, k auth.Key) []string {
	t.Helper()
	_, err := s.db.AddTenant(t.Context(), k.TenantID)
	require.NoError(t, err)
	text, id, hash := auth.NewKey()
	k.ID, k.Name, k.CreatedAt, k.CreatedBy = id, "test", time.Now(), "test"
	require.NoError(t, s.db.AddKey(t.Context(), k, hash, "test"))
	return []string{"Authorization", "Bearer " + text}
}

// belongings are the ids of one row of each kind that the tenant "default" has.
func (s *site) belongings(t *testing.T, userHeader ...string) map[string]string {
	t.Helper()
	id := func(a *answer, name string) string {
		t.Helper()
		require.Less(t, a.status, 300, "%s", a.body)
		value, ok := a.object()[name].(string)
		require.True(t, ok, "%s", a.body)
		return value
	}
	first := func(target, name string) string {
		t.Helper()
		items := s.get(t, target, userHeader...).object()["items"].([]any)
		require.NotEmpty(t, items, target)
		return items[0].(map[string]any)[name].(string)
	}
	mine := map[string]string{"portfolio": sample.PortfolioID()}
	mine["transaction"] = first("/v1/portfolios/"+mine["portfolio"]+"/transactions", "id")
	mine["pack"] = first("/v1/pricing-packs", "id")
	mine["run"] = id(s.post(t, "/v1/patterns/test_ledger/execute?record=true", map[string]any{"inputs": map[string]any{"portfolio_id": mine["portfolio"]}}), "run_id")
	mine["event"], mine["letter"] = s.fail(t, 404, "for one tenant")
	require.Less(t, s.post(t, "/v1/deliveries", map[string]any{"alert_id": "a", "user_id": "ada", "title": "t", "message": "m"}).status, 300)
	mine["notification"] = first("/v1/notifications?user_id=ada", "id")
	rule, _ := newRule(t, s, lowSBI)
	mine["rule"] = rule.Id.String()
	mine["destination"] = id(s.post(t, "/v1/destinations", map[string]any{"name": "ops", "channel": "webhook", "url": "https://example.com"}), "name")
	key := s.post(t, "/v1/keys", map[string]any{"name": "for one tenant", "role": "service"})
	require.Equal(t, http.StatusCreated, key.status, "%s", key.body)
	mine["key"] = key.object()["details"].(map[string]any)["id"].(string)
	mine["operation"] = id(s.post(t, "/v1/dlq/replay", map[string]any{"filter": map[string]any{"state": "exhausted"}}), "id")
	return mine
}

// sums are what is in each table of the tenant "default".
func (s *site) sums(t *testing.T) map[string]string {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), `SELECT c.relname::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname NOT IN ('api_keys', 'prices')`)
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

// TestAnotherTenantFindsNothing asks every operation of the document for what another tenant has.
func TestAnotherTenantFindsNothing(t *testing.T) {
	t.Parallel()
	s := newSharedSite(t)
	other := s.key(t, auth.Key{TenantID: "other", Role: auth.Admin})
	theirs := s.belongings(t)
	before := s.sums(t)

	// Whose id stands in a path, by its beginning.
	ids := map[string]string{
		"/v1/runs/": "run", "/v1/portfolios/": "portfolio", "/v1/deliveries/": "event", "/v1/dlq/operations/": "operation", "/v1/dlq/": "letter",
		"/v1/alerts/": "rule", "/v1/destinations/": "destination", "/v1/pricing-packs/": "pack", "/v1/notifications/": "notification", "/v1/keys/": "key",
	}
	bodies := map[string]string{
		"executePattern":   `{"inputs":{"portfolio_id":"` + theirs["portfolio"] + `"}}`,
		"bookTransactions": `{"date":"2026-01-05","type":"DEPOSIT","currency":"USD","amount":"1"}`,
		"updateAlert":      `{"name":"mine now"}`, "snoozeAlert": `{"duration_seconds":60}`,
		"updateDestination": `{"description":"mine now"}`, "rotateDestinationSecret": `{}`,
		"createDelivery":    `{"alert_id":"a","user_id":"ada","title":"t","message":"m","channels":{"destination":["ops"]}}`,
		"createDeliveries":  `{"items":[{"alert_id":"a","user_id":"ada","title":"t","message":"m","channels":{"destination":["ops"]}}]}`,
		"createAlert":       `{"user_id":"ada","name":"n",` + lowSBI + `,"channels":{"destination":["ops"]}}`,
		"evaluateAlerts":    `{"ids":["` + theirs["rule"] + `"]}`,
		"replayDeadLetters": `{"filter":{"state":"exhausted"},"dry_run":true}`, "discardDeadLetters": `{"filter":{"state":"exhausted"},"dry_run":true}`,
		"readNotifications": `{"user_id":"ada"}`, "rotateKey": `{}`,
	}
	// What is not asked for by an id: what the other tenant gets. Everything else must be 404.
	empty := func(a *answer) {
		require.Equal(a.t, http.StatusOK, a.status, "%s", a.body)
		require.Empty(a.t, a.object()["items"])
	}
	nothing := func(fields ...string) func(a *answer) {
		return func(a *answer) {
			require.Equal(a.t, http.StatusOK, a.status, "%s", a.body)
			for _, field := range fields {
				require.Zero(a.t, a.object()[field], "%s", a.body)
			}
		}
	}
	refused := func(status int, code fault.Code) func(a *answer) {
		return func(a *answer) { a.problem(status, code) }
	}
	everybodys := func(*answer) {}
	expected := map[string]func(*answer){
		"listPatterns": everybodys, "getPattern": everybodys, "validatePattern": everybodys, "listAgents": everybodys,
		"getMe":    everybodys,
		"listKeys": func(a *answer) { require.NotContains(a.t, string(a.body), theirs["key"]) },
		"listRuns": empty, "listPortfolios": empty, "listDeliveries": empty, "listDeadLetters": empty, "listAlerts": empty,
		"listDestinations": empty, "listOperations": empty, "listPricingPacks": empty, "listNotifications": empty,
		"listAudit": func(a *answer) { // that its key was made
			var page struct{ Items []api.AuditEntry }
			a.into(&page)
			require.Len(a.t, page.Items, 1)
			require.Equal(a.t, "key.create", page.Items[0].Action)
		},
		"getDeadLetterStats": func(a *answer) { require.NotContains(a.t, string(a.body), "webhook") },
		"listJobs":           refused(http.StatusForbidden, fault.Forbidden), "runJob": refused(http.StatusForbidden, fault.Forbidden),
		"listJobRuns":    refused(http.StatusForbidden, fault.Forbidden),
		"createDelivery": refused(http.StatusUnprocessableEntity, fault.Invalid), "createDeliveries": refused(http.StatusUnprocessableEntity, fault.Invalid),
		"createAlert":       refused(http.StatusUnprocessableEntity, fault.Invalid),
		"evaluateAlerts":    refused(http.StatusUnprocessableEntity, fault.Invalid),
		"replayDeadLetters": nothing("total"), "discardDeadLetters": nothing("total"), "readNotifications": nothing("read"),
		// These make what is new, of the tenant that asks: there is nothing of another's to name.
		"createPortfolio": nil, "createKey": nil, "importRows": nil, "createDestination": nil, "buildPricingPacks": nil, "receiveAlertmanager": nil,
	}
	paths := s.document.root["paths"].(map[string]any)
	asked := 0
	for _, template := range slices.Sorted(maps.Keys(paths)) {
		for method, op := range paths[template].(map[string]any) {
			if !slices.Contains([]string{"get", "post", "put", "patch", "delete"}, method) {
				continue
			}
			name := op.(map[string]any)["operationId"].(string)
			want, ok := expected[name]
			if ok && want == nil {
				continue
			}
			target := strings.NewReplacer("/v1/patterns/{id}", "/v1/patterns/test_ledger", "{transaction_id}", theirs["transaction"]).Replace(template)
			if method == "get" && template == "/v1/notifications" {
				target += "?user_id=ada"
			}
			target = strings.ReplaceAll(target, "/v1/jobs/{name}", "/v1/jobs/backup")
			for _, beginning := range slices.Backward(slices.Sorted(maps.Keys(ids))) { // the longest first
				if rest, ok := strings.CutPrefix(target, beginning+"{"); ok {
					_, rest, _ = strings.Cut(rest, "}")
					target = beginning + theirs[ids[beginning]] + rest
				}
			}
			require.NotContains(t, target, "{", "%s: say whose id stands there", name)
			if !ok {
				require.Contains(t, template, "{", "%s: say what another tenant gets", name)
				want = refused(http.StatusNotFound, fault.NotFound)
			}
			var body any
			if text, ok := bodies[name]; ok {
				body = text
			}
			t.Run(name, func(t *testing.T) { want(s.do(t, strings.ToUpper(method), target, body, other...)) })
			asked++
		}
	}
	require.Greater(t, asked, 45)
	require.Equal(t, before, s.sums(t), "nothing of the tenant has changed")
}

// TestAnotherUserFindsNothing: what is a person's is nobody else's who works for himself.
func TestAnotherUserFindsNothing(t *testing.T) {
	t.Parallel()
	s := newSharedSite(t)
	ada := s.key(t, auth.Key{TenantID: "default", Role: auth.Analyst, UserID: "ada"})
	bob := s.key(t, auth.Key{TenantID: "default", Role: auth.Analyst, UserID: "bob"})
	look := s.key(t, auth.Key{TenantID: "default", Role: auth.ReadOnly, UserID: "bob"})
	mine := s.belongings(t)
	run := func(header []string) string {
		a := s.post(t, "/v1/patterns/test_ledger/execute?record=true", map[string]any{"inputs": map[string]any{"portfolio_id": mine["portfolio"]}}, header...)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		return a.object()["run_id"].(string)
	}
	adas, bobs := run(ada), run(bob)
	before := s.sums(t)

	size := func(target string, header []string) int {
		a := s.get(t, target, header...)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		return len(a.object()["items"].([]any))
	}
	missing := func(a *answer) { a.problem(http.StatusNotFound, fault.NotFound) }
	require.Equal(t, 1, size("/v1/alerts", ada))
	require.Equal(t, 0, size("/v1/alerts", bob))
	require.Equal(t, 1, size("/v1/notifications?user_id=ada", ada))
	require.Equal(t, 0, size("/v1/notifications?user_id=bob", bob))
	require.Equal(t, 2, size("/v1/runs", ada), "one of a program and her own")
	require.Equal(t, 2, size("/v1/runs", bob))
	require.Equal(t, 0, size("/v1/deliveries", look))
	require.Equal(t, 0, size("/v1/dlq", look))
	require.Positive(t, size("/v1/portfolios", bob), "portfolios are nobody's own")

	for _, target := range []string{"/v1/alerts?user_id=ada", "/v1/notifications?user_id=ada"} {
		s.get(t, target, bob...).invalid("/query/user_id")
	}
	for _, target := range []string{"/v1/deliveries?user_id=ada", "/v1/dlq?user_id=ada"} {
		s.get(t, target, look...).invalid("/query/user_id")
	}
	s.post(t, "/v1/notifications/read", `{"user_id":"ada"}`, bob...).invalid("/user_id")
	s.post(t, "/v1/alerts", `{"user_id":"ada","name":"n",`+lowSBI+`}`, bob...).invalid("/user_id")

	rule := "/v1/alerts/" + mine["rule"]
	missing(s.get(t, rule, bob...))
	missing(s.do(t, http.MethodPatch, rule, `{"name":"x"}`, bob...))
	missing(s.do(t, http.MethodDelete, rule, nil, bob...))
	missing(s.post(t, rule+"/snooze", `{"duration_seconds":60}`, bob...))
	missing(s.post(t, rule+"/ack", `{}`, bob...))
	missing(s.post(t, rule+"/test", nil, bob...))
	missing(s.do(t, http.MethodPatch, "/v1/notifications/"+mine["notification"]+"/read", nil, bob...))
	missing(s.get(t, "/v1/runs/"+adas, bob...))
	missing(s.get(t, "/v1/runs/"+bobs, ada...))
	missing(s.post(t, "/v1/runs/"+adas+"/replay", nil, bob...))
	missing(s.get(t, "/v1/deliveries/"+mine["event"], look...))
	missing(s.get(t, "/v1/deliveries/"+mine["event"]+"/explain", look...))
	missing(s.get(t, "/v1/dlq/"+mine["letter"], look...))
	require.Equal(t, before, s.sums(t), "nothing has changed")

	// Her own she may do all of it with, but for giving it away.
	require.Equal(t, http.StatusOK, s.get(t, rule, ada...).status)
	s.do(t, http.MethodPatch, rule, `{"user_id":"bob"}`, ada...).invalid("/user_id")
	require.Equal(t, http.StatusOK, s.do(t, http.MethodPatch, rule, `{"name":"hers"}`, ada...).status)
	require.Equal(t, http.StatusOK, s.do(t, http.MethodPatch, "/v1/notifications/"+mine["notification"]+"/read", nil, ada...).status)
	a := s.post(t, "/v1/alerts", `{"user_id":"bob","name":"n",`+lowSBI+`}`, bob...)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	missing(s.get(t, a.header.Get("Location"), ada...))
	require.Equal(t, uuid.Version(7), uuid.MustParse(a.object()["id"].(string)).Version())
}
