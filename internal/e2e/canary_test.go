package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	collectorlogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/dawsos/dawsos/pkg/agent"
)

// TestSecretsStayInside plants a canary in every secret that there is, lets everything fail that can,
// against servers that repeat whatever they are told, and looks for the canaries in all that comes out:
// logs of the most talkative level, metrics, spans, answers, pages, and the rows of the database.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	a := &aviary{t: t, pieces: map[string]string{}}
	parrot := newParrot(t)
	mail := newMailParrot(t)
	telemetry := newDump(t)
	databaseURL, _ := loaded(t) // patterns need a pricing pack
	ownURL, err := url.Parse(databaseURL)
	require.NoError(t, err)
	if password, _ := ownURL.User.Password(); len(password) >= 8 {
		a.known("DATABASE_URL's password", password)
	}

	webhookSecret := a.bytes("WEBHOOK_SECRET", 32)
	settings := []string{
		"OTLP_ENDPOINT=" + telemetry.addr, "RETRY_SCHEDULE=100ms,100ms", "BREAKER_FAILURES=10000", "FETCH_SCHEDULE=off",
		"WEBHOOK_SECRET=whsec_" + webhookSecret, "SECRETS_KEY=" + a.bytes("SECRETS_KEY", 32) + "," + a.bytes("SECRETS_KEY, the old one", 32),
		"SMTP_URL=smtps://mailer:" + a.text("SMTP_URL's password") + "@" + mail.addr, "SMTP_FROM=alerts@example.org", "SSL_CERT_FILE=" + mail.roots,
		"LLM_URL=" + parrot.URL + "/model", "LLM_MODEL=tiny", "LLM_API_KEY=" + a.text("LLM_API_KEY"),
		"FRED_API_KEY=" + a.text("FRED_API_KEY"), "FMP_API_KEY=" + a.text("FMP_API_KEY"), "NEWS_API_KEY=" + a.text("NEWS_API_KEY"),
		"AGENT_TOKEN=" + a.text("the agent's token"), "AGENTS_FILE=" + agentsFile(t, fmt.Sprintf("  desk: {retry: {attempts: 1}, remote: {url: %q, token_env: AGENT_TOKEN, refresh: 1s}}", parrot.URL+"/agent")),
		"AUTH_ANONYMOUS=admin",
		"PATTERNS_DIR=" + patternsDir(t, map[string]string{"canary_agent.json": canaryPattern("canary_agent", "desk.fail"), "canary_model.json": canaryPattern("canary_model", "ai.explain")}),
	}
	s := newSystem(t, databaseURL, settings...)
	s.hasMetrics("the agent's capabilities are known", map[string]int{`dawsos_pattern_reloads_total{outcome="applied"}`: 2})

	// Destinations: each with what it has of secrets.
	special := func(name string) string { return a.text(name) + `"<&'>` } // looks different in JSON and HTML
	create := func(name string, d map[string]any) {
		d["name"] = name
		status, answer := a.call(s, http.MethodPost, "/v1/destinations", d)
		require.Equal(t, http.StatusCreated, status, "%s: %s", name, answer)
	}
	create("hook", map[string]any{
		"channel": "webhook", "secret": "whsec_" + a.bytes("a destination's secret", 32),
		"url":     parrot.URL + "/fail/" + a.text("a token in a path") + "/x?token=" + url.QueryEscape(special("a token in a query")) + "&" + a.text("a token that is a query's name"),
		"headers": map[string]string{"X-Api-Key": special("a header"), "Authorization": "Bearer " + a.text("a bearer token")},
	})
	create("denied", map[string]any{"channel": "webhook", "url": parrot.URL + "/deny/" + a.text("a token of a receiver that refuses")})
	create("moved", map[string]any{"channel": "webhook", "url": parrot.URL + "/moved/" + a.text("a token of a receiver that redirects")})
	create("taken", map[string]any{"channel": "webhook", "url": parrot.URL + "/ok/" + a.text("a token of a receiver that accepts")})
	create("closed", map[string]any{"channel": "webhook", "url": "http://" + freeAddr(t) + "/" + a.text("a token of a receiver that is away")})
	create("notls", map[string]any{"channel": "webhook", "url": strings.Replace(parrot.URL, "http:", "https:", 1) + "/" + a.text("a token of a receiver without TLS")})
	create("metadata", map[string]any{"channel": "webhook", "url": "http://169.254.169.254/" + a.text("a token of a receiver that is refused")})
	create("ntfy", map[string]any{"channel": "chat", "url": "ntfy://user:" + a.text("ntfy's password") + "@" + parrot.host + "/topic?scheme=http"})
	create("mattermost", map[string]any{"channel": "chat", "url": "mattermost://user@" + parrot.host + "/" + a.text("mattermost's token") + "?disabletls=yes"})
	create("generic", map[string]any{"channel": "chat", "url": "generic://" + parrot.host + "/fail/" + a.text("a generic service's token") + "?disabletls=yes&template=json"})
	create("mail", map[string]any{"channel": "email", "to": []string{"ada@example.org"}})
	names := []string{"hook", "denied", "moved", "taken", "closed", "notls", "metadata", "ntfy", "mattermost", "generic", "mail"}

	// A secret that was made is told once, on this answer, and is a canary from then on.
	var made struct {
		Secret string `json:"secret"`
	}
	status, answer := s.exchange(http.MethodPost, "/v1/destinations/hook/rotate-secret", map[string]any{"overlap_seconds": 3600}, nil)
	require.Equal(t, http.StatusOK, status, answer)
	require.NoError(t, json.Unmarshal([]byte(answer), &made))
	a.known("a secret that was made", strings.TrimPrefix(made.Secret, "whsec_"))

	// Requests that are wrong in the places where secrets stand.
	for name, d := range map[string]map[string]any{
		"an address that can't be read": {"name": "bad1", "channel": "webhook", "url": "http://[" + a.text("a bad address")},
		"credentials in it":             {"name": "bad2", "channel": "webhook", "url": "http://u:" + a.text("a password in an address") + "@example.org"},
		"a secret that is none":         {"name": "bad3", "channel": "webhook", "url": "http://example.org", "secret": a.text("no secret")},
		"a forbidden header":            {"name": "bad4", "channel": "webhook", "url": "http://example.org", "headers": map[string]string{"Host": a.text("a header that is refused")}},
		"a header of two lines":         {"name": "bad5", "channel": "webhook", "url": "http://example.org", "headers": map[string]string{"X-A": a.text("a header of two lines") + "\nX"}},
		"an unknown chat service":       {"name": "bad6", "channel": "chat", "url": "nosuch://" + a.text("a token of no service")},
		"a chat service's bad address":  {"name": "bad7", "channel": "chat", "url": "slack://" + a.text("a bad slack token")},
		"no such channel":               {"name": "bad8", "channel": "pigeon", "url": "http://example.org/" + a.text("a token on a pigeon")},
		"the wrong type":                {"name": "bad9", "channel": "webhook", "url": []string{a.text("a list")}},
	} {
		status, answer := a.call(s, http.MethodPost, "/v1/destinations", d)
		require.Equal(t, http.StatusUnprocessableEntity, status, "%s: %s", name, answer)
		a.call(s, http.MethodPatch, "/v1/destinations/hook", map[string]any{"url": d["url"], "headers": d["headers"]})
	}
	_, answer = s.exchange(http.MethodGet, "/v1/patterns", nil, http.Header{
		"Authorization": {"Bearer " + a.text("a caller's bearer token")}, "Cookie": {"session=" + a.text("a caller's cookie")},
	})
	a.keep("answer to a request with credentials", answer)

	// What is sent, and fails: stored destinations, an address that comes along, and test sends.
	var events []string
	for _, name := range names {
		var d struct {
			EventID string `json:"event_id"`
		}
		status, answer := a.call(s, http.MethodPost, "/v1/deliveries", map[string]any{
			"alert_id": "canary-" + name, "user_id": "ada", "title": "t", "message": "m", "channels": map[string]any{"destination": []string{name}},
		})
		require.Less(t, status, 300, answer)
		require.NoError(t, json.Unmarshal([]byte(answer), &d))
		events = append(events, d.EventID)
		a.call(s, http.MethodPost, "/v1/destinations/"+name+"/test", nil)
	}
	a.call(s, http.MethodPost, "/v1/deliveries", map[string]any{
		"alert_id": "canary-address", "user_id": "ada", "title": "t", "message": "m",
		"channels": map[string]any{"webhook": map[string]any{"url": parrot.URL + "/fail/" + a.text("a token in a webhook's address")}},
	})
	status, answer = a.call(s, http.MethodPost, "/v1/alerts", map[string]any{
		"user_id": "ada", "name": "SBI", "condition": map[string]any{"type": "price", "symbol": "SBI", "metric": "close", "op": "<", "value": 1000},
		"channels": map[string]any{"webhook": map[string]any{"url": parrot.URL + "/fail/" + a.text("a token in a rule's webhook")}},
	})
	require.Equal(t, http.StatusCreated, status, answer)
	a.call(s, http.MethodPost, "/v1/alerts/evaluate", map[string]any{})
	s.eventually("all have been tried to the end", func(ctx context.Context) error {
		for _, event := range events {
			page, err := get(ctx, "http://"+s.apiAddr+"/v1/deliveries/"+event)
			if err != nil {
				return err
			}
			if strings.Contains(page, `"state":"pending"`) || strings.Contains(page, `"state": "pending"`) || strings.Contains(page, "in_flight") {
				return fmt.Errorf("event %s is not at its end: %.300s", event, page)
			}
		}
		return nil
	})
	s.eventually("the rule has fired", func(context.Context) error {
		if a.find("a token in a rule's webhook", parrot.told()) == "" {
			return errors.New("its webhook was not called")
		}
		return nil
	})
	for _, pattern := range []string{"canary_agent", "canary_model"} {
		status, answer := a.call(s, http.MethodPost, "/v1/patterns/"+pattern+"/execute", map[string]any{"inputs": map[string]any{}, "require_fresh": false})
		require.Equal(t, map[string]int{"canary_agent": http.StatusServiceUnavailable, "canary_model": http.StatusOK}[pattern], status, answer)
	}

	// The canaries have been where they belong, and what looks for them finds them there.
	told := parrot.told() + mail.told()
	for _, c := range []string{
		"a token in a path", "a token in a query", "a header", "a bearer token", "a token of a receiver that redirects", "ntfy's password",
		"mattermost's token", "a generic service's token", "SMTP_URL's password", "LLM_API_KEY", "the agent's token", "a token in a webhook's address",
	} {
		require.NotEmpty(t, a.find(c, told), "%s was never sent: the test would prove nothing", c)
	}

	// All that can be seen.
	for _, addr := range []string{s.apiAddr, s.workerAddr} {
		for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
			page, _ := get(t.Context(), "http://"+addr+path)
			a.keep("http://"+addr+path, page)
		}
	}
	a.crawl(s)
	a.endpoints(s)
	for _, p := range []*proc{s.api, s.worker} {
		p.interrupt() // the last spans are sent
		require.Equal(t, 0, p.exitCode())
		a.keep("log of "+p.name, p.log.String())
	}
	a.wrongSettings(s)
	a.noDatabase(s)
	a.keep("spans and log records", telemetry.text())
	require.Contains(t, telemetry.text(), "HTTP POST", "spans of what went out")
	a.rows(databaseURL)

	require.Greater(t, len(a.pieces), 100)
	a.verdict(map[string][]string{
		// A webhook's address that comes with an event is part of the event: docs/outbound.md says so.
		"a token in a webhook's address": {"row of alert_events", "row of alert_dlq"},
		"a token in a rule's webhook":    {"row of alert_events", "row of alert_dlq", "row of alert_rules"},
	})
}

func canaryPattern(id, capability string) string {
	return fmt.Sprintf(`{"id": %q, "name": "Canary", "description": "Fails.", "category": "research", "version": "1.0.0", "inputs": {},
		"steps": [{"capability": %q, "args": {"prompt": "Why?", "nav": 1}, "as": "x"}], "outputs": ["x"]}`, id, capability)
}

// aviary keeps canaries, and all that may not hold them.
type aviary struct {
	t        *testing.T
	canaries []canary
	pieces   map[string]string // by where it was found
}

type canary struct {
	name    string
	needles []string
}

// text plants a canary of letters and digits.
func (a *aviary) text(name string) string {
	raw := make([]byte, 24)
	for i := range raw {
		raw[i] = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"[rand.IntN(56)]
	}
	a.known(name, string(raw))
	return string(raw)
}

// bytes plants one of n random bytes, and returns its base64.
func (a *aviary) bytes(name string, n int) string {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(rand.IntN(256))
	}
	a.known(name, string(raw))
	return base64.StdEncoding.EncodeToString(raw)
}

// known makes a secret that is there a canary.
func (a *aviary) known(name, secret string) {
	c := canary{name: name, needles: []string{secret, url.QueryEscape(secret), html.EscapeString(secret), hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}}
	for before := range 3 { // within the base64 of something longer
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := alphabet.EncodeToString(append(make([]byte, before), secret...))
			c.needles = append(c.needles, text[3:len(text)-1]) // both ends also hold bits of what is around it
		}
	}
	a.canaries = append(a.canaries, c)
}

func (a *aviary) keep(where, text string) { a.pieces[where] += text + "\n" }

// find returns what stands around a canary in a text, "" when it is not there.
func (a *aviary) find(name, text string) string {
	for _, c := range a.canaries {
		if c.name != name {
			continue
		}
		for _, needle := range c.needles {
			if i := strings.Index(text, needle); i >= 0 {
				return text[max(0, i-200):min(len(text), i+len(needle)+100)]
			}
		}
	}
	return ""
}

// verdict looks for every canary everywhere. allowed is where a canary may be, by beginnings.
func (a *aviary) verdict(allowed map[string][]string) {
	a.t.Helper()
	bytes := 0
	for where, text := range a.pieces {
		bytes += len(text)
		for _, c := range a.canaries {
			if slices.ContainsFunc(allowed[c.name], func(place string) bool { return strings.HasPrefix(where, place) }) {
				continue
			}
			if around := a.find(c.name, text); around != "" {
				a.t.Errorf("LEAK: %s stands in %s: ...%q...", c.name, where, around)
			}
		}
	}
	a.t.Logf("%d canaries, looked for in %d places, %d bytes", len(a.canaries), len(a.pieces), bytes)
}

// call sends JSON and keeps the answer.
func (a *aviary) call(s *system, method, path string, body any) (status int, answer string) {
	a.t.Helper()
	status, answer = s.exchange(method, path, body, nil)
	a.keep("answer to "+method+" "+path, answer)
	return status, answer
}

// exchange makes one request and returns the answer with its header.
func (s *system) exchange(method, path string, body any, header http.Header) (status int, answer string) {
	s.t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(s.t, err)
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.apiAddr+path, bytes.NewReader(raw))
	require.NoError(s.t, err)
	if header != nil {
		req.Header = header
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req) // a redirect is an answer
	require.NoError(s.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, string(text)
}

var link = regexp.MustCompile(`(?:href|action|hx-get|data-url|src)="(/console[^"]*)"`)

// crawl keeps every page that the console leads to.
func (a *aviary) crawl(s *system) {
	a.t.Helper()
	queue, seen := []string{
		"/console", "/console/queue/api/queues", "/console/queue/api/jobs?state=completed&limit=100", "/console/queue/api/jobs?state=discarded&limit=100",
	}, map[string]bool{}
	for len(queue) > 0 && len(seen) < 600 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] || strings.Contains(path, "/console/assets/") || strings.HasPrefix(path, "/console/live") {
			continue
		}
		seen[path] = true
		_, page := s.exchange(http.MethodGet, path, nil, nil)
		a.keep("page "+path, page)
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			next, _, _ := strings.Cut(html.UnescapeString(m[1]), "#")
			queue = append(queue, next)
		}
	}
	pages := 0
	for _, kind := range []string{"/console/dead-letters/", "/console/destinations/", "/console/deliveries/"} {
		for path := range seen {
			if strings.HasPrefix(path, kind) {
				pages++
			}
		}
	}
	require.Greater(a.t, pages, 15, "the crawl came to pages of single letters, destinations and deliveries: %v", len(seen))
}

// endpoints keeps what every GET of the API answers, for everything that its lists have.
func (a *aviary) endpoints(s *system) {
	a.t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "pkg/api/openapi.yaml"))
	require.NoError(a.t, err)
	var doc struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	require.NoError(a.t, yaml.Unmarshal(raw, &doc))
	asked := 0
	for path, methods := range doc.Paths {
		if methods["get"] == nil {
			continue
		}
		for _, p := range a.filled(s, path) {
			for _, query := range []string{"", "?user_id=ada"} {
				status, answer := s.exchange(http.MethodGet, p+query, nil, nil)
				require.Less(a.t, status, 500, "%s: %s", p, answer)
				a.keep("answer to GET "+p, answer)
				asked++
			}
		}
	}
	require.Greater(a.t, asked, 100)
}

// filled returns a path for each thing that the list above its parameter has.
func (a *aviary) filled(s *system, path string) []string {
	list, rest, ok := strings.Cut(path, "/{")
	if !ok {
		return []string{path}
	}
	parameter, rest, _ := strings.Cut(rest, "}")
	_, answer := s.exchange(http.MethodGet, list, nil, nil)
	var page struct {
		Items []map[string]any `json:"items"`
	}
	_ = json.Unmarshal([]byte(answer), &page)
	var paths []string
	for _, item := range page.Items {
		for _, key := range []string{parameter, "id", "event_id", "name"} {
			if id, ok := item[key].(string); ok {
				paths = append(paths, list+"/"+url.PathEscape(id)+rest)
				break
			}
		}
	}
	return paths
}

// wrongSettings keeps what processes say that are started with secrets in the wrong form.
func (a *aviary) wrongSettings(s *system) {
	a.t.Helper()
	var started []*proc
	for _, setting := range []string{
		"DATABASE_URL=mysql://u:%s@localhost/x", "DATABASE_URL=postgres://u:%s@local host/x", "DATABASE_URL=postgres://u:%s@localhost:port/x", "DATABASE_URL=%s",
		"WEBHOOK_SECRET=%s", "WEBHOOK_SECRET=whsec_%s!", "SECRETS_KEY=%s", "SMTP_URL=http://u:%s@localhost", "SMTP_URL=smtp://u:%s@localhost:port",
		"SMTP_URL=smtp://u:%s@localhost?starttls=never", "LLM_API_KEY=%s two", "LLM_URL=http://u:%s@localhost", "LLM_URL=http://localhost/v1?key=%s",
		"FRED_API_KEY=%s two", "FMP_API_KEY=%s two", "NEWS_API_KEY=%s two", "OTLP_ENDPOINT=http://u:%s@localhost", "API_URL=http://u:%s@localhost",
		"JAEGER_URL=http://u:%s@localhost", "GRAFANA_URL=http://u:%s@localhost",
	} {
		name, value, _ := strings.Cut(setting, "=")
		env := append(slices.Clone(s.env), name+"="+strings.Replace(value, "%s", a.text("a wrong "+setting), 1))
		started = append(started, start(a.t, "worker", env))
	}
	for _, p := range started {
		require.Equal(a.t, 1, p.exitCode(), p.log.String())
		a.keep("log of a start with wrong settings", p.log.String())
	}
}

// noDatabase keeps what processes say whose database is away.
func (a *aviary) noDatabase(s *system) {
	a.t.Helper()
	for _, name := range []string{"api", "worker"} {
		env := append(slices.Clone(s.env), "DATABASE_URL=postgres://dawsos:"+a.text("the password for a database that is away")+"@"+freeAddr(a.t)+"/x?sslmode=disable")
		p := start(a.t, name, env)
		addr := map[string]string{"api": s.apiAddr, "worker": s.workerAddr}[name]
		s.eventually(name+" says that the database is away", func(ctx context.Context) error {
			select {
			case <-p.done:
				return nil // it ended: its log is what it says
			default:
			}
			_, err := get(ctx, "http://"+addr+"/readyz")
			if err == nil || !strings.Contains(err.Error(), "503") {
				return fmt.Errorf("not yet unready: %w", err)
			}
			a.keep("/readyz without a database", err.Error())
			if name == "api" {
				_, err := get(ctx, "http://"+addr+"/v1/dlq")
				if err == nil || !strings.Contains(err.Error(), "503") { // it may have ended this moment
					return fmt.Errorf("not answered: %w", err)
				}
				a.keep("an answer without a database", err.Error())
			}
			return nil
		})
		p.interrupt()
		<-p.done
		require.NotEmpty(a.t, p.log.String())
		a.keep("log of "+name+" without a database", p.log.String())
	}
}

// rows keeps all rows of all tables as text.
func (a *aviary) rows(databaseURL string) {
	a.t.Helper()
	ctx := a.t.Context()
	conn, err := pgx.Connect(ctx, databaseURL)
	require.NoError(a.t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tables, err := conn.Query(ctx, `SELECT format('%I.%I', table_schema, table_name), table_name FROM information_schema.tables
		WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'`)
	require.NoError(a.t, err)
	all, err := pgx.CollectRows(tables, pgx.RowToStructByPos[struct{ Quoted, Name string }])
	require.NoError(a.t, err)
	filled := 0
	for _, table := range all {
		var text string
		// Market data was there before the processes were.
		if slices.Contains(marketData, table.Name) {
			continue
		}
		require.NoError(a.t, conn.QueryRow(ctx, `SELECT coalesce(string_agg(t::text, E'\n'), '') FROM `+table.Quoted+` t`).Scan(&text))
		if text != "" {
			filled++
		}
		a.keep("row of "+table.Name, text)
	}
	require.Greater(a.t, filled, 8)
}

// marketData are the tables that the sample fills and nothing of this test writes to.
var marketData = []string{"prices", "fx_rates", "macro_observations", "pricing_pack_prices", "pricing_pack_fx_rates"}

// parrot is a server that repeats all that it is told, in every way that servers have of doing so.
type parrot struct {
	*httptest.Server
	host string
	mu   sync.Mutex
	all  strings.Builder
}

func newParrot(t *testing.T) *parrot {
	t.Helper()
	p := &parrot{}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	p.host = p.Listener.Addr().String()
	t.Cleanup(p.Close)
	return p
}

func (p *parrot) told() string { p.mu.Lock(); defer p.mu.Unlock(); return p.all.String() }

func (p *parrot) serve(w http.ResponseWriter, r *http.Request) {
	dump, _ := httputil.DumpRequest(r, true)
	p.mu.Lock()
	p.all.Write(dump)
	p.mu.Unlock()
	if r.URL.Path == "/agent/capabilities" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"protocol": "`+agent.ProtocolVersion+`", "agent": {"name": "desk"}, "capabilities": [{"name": "desk.fail", "description": "Fails."}]}`)
		return
	}
	inJSON, _ := json.Marshal(r.Header)
	said := strings.Join([]string{
		r.Header.Get("Authorization"), r.Header.Get("X-Api-Key"), r.URL.String(), string(inJSON), string(dump), html.EscapeString(string(dump)),
		base64.StdEncoding.EncodeToString(dump), hex.EncodeToString([]byte(r.Header.Get("Authorization"))), url.QueryEscape(string(dump)),
	}, " ")
	for _, name := range []string{"Retry-After", "Server", "Www-Authenticate", "X-Request-Id", "Content-Language", "Location"} {
		w.Header().Set(name, strings.Map(func(c rune) rune {
			if c < ' ' || c > '~' {
				return ' '
			}
			return c
		}, r.Header.Get("Authorization")+r.URL.String()))
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	status := map[string]int{"fail": 500, "deny": 403, "moved": 307, "ok": 200, "model": 401, "agent": 503}[first]
	if status == 0 {
		status = http.StatusBadGateway
	}
	switch first {
	case "model":
		said2, _ := json.Marshal(map[string]any{"error": map[string]string{"type": "invalid_api_key", "message": "Incorrect API key: " + said}})
		said = string(said2)
	case "agent":
		w.Header().Set("Content-Type", "application/problem+json")
		said2, _ := json.Marshal(map[string]any{"code": "unavailable", "status": 503, "title": said, "detail": "no: " + said, "type": said})
		said = string(said2)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, said)
}

// mailParrot is a mail server that refuses every login, and repeats it.
type mailParrot struct {
	addr, roots string
	mu          sync.Mutex
	all         strings.Builder
}

func (m *mailParrot) told() string { m.mu.Lock(); defer m.mu.Unlock(); return m.all.String() }

func newMailParrot(t *testing.T) *mailParrot {
	t.Helper()
	certified := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	certificate, der := certified.TLS.Certificates[0], certified.Certificate().Raw
	certified.Close()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	m := &mailParrot{addr: l.Addr().String(), roots: filepath.Join(t.TempDir(), "roots.pem")}
	require.NoError(t, os.WriteFile(m.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { m.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return m
}

func (m *mailParrot) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(conn, format+"\r\n", args...) }
	say("220 parrot.example ESMTP")
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		line := lines.Text()
		m.mu.Lock()
		m.all.WriteString(line + "\n")
		m.mu.Unlock()
		switch verb, rest, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
		case "EHLO":
			say("250-parrot.example\r\n250 AUTH PLAIN")
		case "AUTH":
			_, credentials, _ := strings.Cut(rest, " ")
			plain, _ := base64.StdEncoding.DecodeString(credentials)
			say("535 5.7.8 no such login: %s %s", line, strings.ReplaceAll(string(plain), "\x00", " "))
		case "QUIT":
			say("221 bye")
			return
		default:
			say("550 5.7.1 not before a login: %s", line)
		}
	}
}

// dump keeps all telemetry as text.
type dump struct {
	collectorpb.UnimplementedTraceServiceServer
	addr string
	mu   sync.Mutex
	all  strings.Builder
}

type logDump struct {
	collectorlogspb.UnimplementedLogsServiceServer
	d *dump
}

func newDump(t *testing.T) *dump {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &dump{addr: l.Addr().String()}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, d)
	collectorlogspb.RegisterLogsServiceServer(server, logDump{d: d})
	served := make(chan struct{})
	go func() {
		_ = server.Serve(l)
		close(served)
	}()
	t.Cleanup(func() { server.Stop(); <-served })
	return d
}

func (d *dump) text() string { d.mu.Lock(); defer d.mu.Unlock(); return d.all.String() }

func (d *dump) Export(_ context.Context, req *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all.WriteString(prototext.Format(req))
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func (l logDump) Export(_ context.Context, req *collectorlogspb.ExportLogsServiceRequest) (*collectorlogspb.ExportLogsServiceResponse, error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.d.all.WriteString(prototext.Format(req))
	return &collectorlogspb.ExportLogsServiceResponse{}, nil
}
