//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/store"
)

// newConsole starts the system over the sample and a tab that looks at it.
func newConsole(t *testing.T, env ...string) (*system, *browser, uuid.UUID) {
	t.Helper()
	databaseURL, portfolio := loaded(t)
	s := newSystem(t, databaseURL, append([]string{
		"SECRETS_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "RETRY_SCHEDULE=1h,2h", "BREAKER_FAILURES=1000",
	}, env...)...)
	b := newBrowser(t, "http://"+s.apiAddr)
	b.show(1440, 900, false)
	return s, b, portfolio
}

// ask calls the API with a JSON body and returns the answer, which must have the status.
func (s *system) ask(method, path, body string, status int) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.apiAddr+path, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, status, answer.StatusCode, "%s %s: %s", method, path, raw)
	return string(raw)
}

// hook is a receiver that can be broken and repaired.
type hook struct {
	*httptest.Server
	broken atomic.Bool
	got    atomic.Int64 // messages that it has taken
}

func newHook(t testing.TB) *hook {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if h.broken.Load() {
			http.Error(w, "the disk is full", http.StatusInternalServerError)
			return
		}
		h.got.Add(1)
	}))
	t.Cleanup(h.Close)
	return h
}

// An operator sees a receiver fail, understands why, repairs it, and sends again what has not arrived, without
// once loading a page again to see what has changed.
func TestConsoleOperator(t *testing.T) {
	s, b, _ := newConsole(t)
	receiver := newHook(t)
	s.ask(http.MethodPost, "/v1/destinations", fmt.Sprintf(`{"name": "desk", "channel": "webhook", "url": %q}`, receiver.URL), http.StatusCreated)

	b.open("/console/dlq")
	b.says("main", "There are no open dead letters")
	b.run("mark the page", evaluate("window.untouched = true"))
	b.until("the page is live", "document.querySelector('#live').classList.contains('on')")

	receiver.broken.Store(true)
	const letters = 3
	for i := range letters {
		s.ask(http.MethodPost, "/v1/deliveries", fmt.Sprintf(
			`{"alert_id": "nav", "user_id": "ada", "title": "NAV fell %d", "message": "by 3 %%", "severity": "critical", "channels": {"destination": ["desk"]}}`, i),
			http.StatusOK)
	}
	b.says("main table", "NAV fell 2")
	b.until("all letters are there", fmt.Sprintf("document.querySelectorAll('main input[data-select]').length === %d", letters))
	require.True(t, eval[bool](b, "window.untouched === true"), "they came without a reload")
	b.accessible("dead letters, live")

	b.follow("NAV fell 1")
	b.says("main", "the disk is full")
	b.says("main", "500")
	b.says("h1", "NAV fell 1")

	receiver.broken.Store(false)
	b.open("/console/dlq?cause=http_5xx&destination=desk")
	b.follow("Replay all")
	b.says("dialog[open]", "Replay 3 letters")
	b.fill("[name=reason]", "the receiver's disk has space again")
	b.click("dialog[open] button[type=submit]")
	b.says("main", "done")
	s.eventually("the receiver has all", func(context.Context) error {
		if n := receiver.got.Load(); n != letters {
			return fmt.Errorf("it has %d", n)
		}
		return nil
	})
	b.open("/console/dlq")
	b.says("main", "There are no open dead letters")
	b.open("/console/deliveries")
	b.says("main table", "delivered")
	b.follow("NAV fell 1")
	b.says("main", "delivered")
	b.says("main", "the disk is full")
	accepted, delivered, dead, inflight := s.requireAccounted()
	require.Equal(t, []int{letters, letters, 0, 0}, []int{accepted, delivered, dead, inflight})
}

// Who reads a list keeps his place in it while it is renewed: the focus stays on the same row's box or link, and the
// table where it was scrolled to.
func TestConsoleLiveKeepsPlace(t *testing.T) {
	s, b, _ := newConsole(t)
	s.ask(http.MethodPost, "/v1/destinations", `{"name": "away", "channel": "webhook", "url": "http://127.0.0.1:1"}`, http.StatusCreated)
	sent := 0
	send := func() {
		sent++
		s.ask(http.MethodPost, "/v1/deliveries", fmt.Sprintf(
			`{"alert_id": "nav", "user_id": "ada", "title": "NAV fell %d", "message": "", "severity": "critical", "channels": {"destination": ["away"]}}`, sent),
			http.StatusOK)
	}
	send()
	send()
	b.show(390, 844, false)
	first := gjson.Get(s.ask(http.MethodGet, "/v1/dlq", "", http.StatusOK), "items.1.id").String()
	require.NotEmpty(t, first)
	for path, places := range map[string][]string{
		"/console/dlq": {
			"main input[data-select][value='" + first + "']", "main input[data-select-all]", "main a[href^='/console/dlq/" + first + "']",
			"main tr:last-child .id a", "main .scroll", "#dlq-counts a[href*='state=exhausted']", "#dlq-replay-all",
		},
		"/console/dlq?group=cause": {"#replay-connect", "#dlq-groups tbody td a[href*='state=pending']"},
		"/console/deliveries":      {"main tr:last-child .wide a", "main tr:last-child .targets a", "main tr:last-child a[href*='user_id=']"},
		"/console":                 {"#letters tbody th a", "#letters tfoot td:last-of-type a, #letters tfoot a", "#invariant td a", "#state a[href='/console/dlq']"},
	} {
		b.open(path)
		b.until("the page is live", "document.querySelector('#live').classList.contains('on')")
		for _, place := range places {
			b.run("focus "+place, evaluate(fmt.Sprintf(`(() => {
				const e = document.querySelector(%s), region = e.closest("[data-live]");
				e.focus();
				const scroll = region.querySelector(".scroll");
				if (scroll) scroll.scrollLeft = 40;
				window.before = { region, id: region.id, scrolled: scroll?.scrollLeft };
				window.now = () => { const e = document.activeElement; return e === document.body ? "nowhere" : [e.tagName, e.getAttribute("href"), e.value, e.closest("tr")?.rowIndex === 0, e.closest("tr")?.querySelector("a")?.href].join(" "); };
				window.before.focused = window.now();
			})()`, quote(place))))
			send()
			b.until("the region of "+place+" is another", "document.getElementById(before.id) !== before.region")
			require.Equal(t, eval[string](b, "before.focused"), eval[string](b, "now()"), "%s: %s", path, place)
			require.True(t, eval[bool](b, "document.getElementById(before.id).querySelector('.scroll')?.scrollLeft === before.scrolled"), "%s: %s: it is scrolled elsewhere", path, place)
		}
	}
	b.open("/console/dlq")
	b.until("the page is live", "document.querySelector('#live').classList.contains('on')")
	b.click("main input[data-select][value='" + first + "']")
	send()
	b.says("main table", fmt.Sprintf("NAV fell %d", sent))
	require.Equal(t, first, eval[string](b, "document.activeElement.checked ? document.activeElement.value : ''"), "chosen and focused")
}

// countViews keeps the charts of a page that Vega has not been told to end, in window.views.
const countViews = `(() => {
	const embed = window.vegaEmbed;
	window.views = new Set();
	window.vegaEmbed = async (...given) => {
		const made = await embed(...given), finalize = made.view.finalize;
		views.add(made.view);
		made.view.finalize = function () { views.delete(this); return finalize.call(this); };
		return made;
	};
})()`

// The overview keeps up part by part: what has not changed stays, drawn charts among it. When the database goes
// away it says so and stays as it was.
func TestConsoleOverview(t *testing.T) {
	s, b, _ := newConsole(t)
	s.ask(http.MethodPost, "/v1/destinations", `{"name": "away", "channel": "webhook", "url": "http://127.0.0.1:1"}`, http.StatusCreated)
	send := func(title string) {
		s.ask(http.MethodPost, "/v1/deliveries", fmt.Sprintf(
			`{"alert_id": "nav", "user_id": "ada", "title": %q, "message": "", "severity": "critical", "channels": {"destination": ["away"]}}`, title),
			http.StatusOK)
	}
	send("one")
	b.open("/console")
	b.says("#letters table", "connect")
	b.says("#state", "1 ready")
	b.until("the chart is drawn", "document.querySelector('#hour figure')?.dataset.drawn === 'true'")
	b.until("the page is live", "document.querySelector('#live').classList.contains('on')")
	b.run("mark what will stay and what will go", evaluate("for (const id of ['letters', 'agents', 'packs']) document.getElementById(id).untouched = true"))
	send("two")
	b.until("the letter is counted", "document.querySelector('#letters tfoot a').innerText === '2'")
	require.Equal(t, "false true true", eval[string](b, "['letters', 'agents', 'packs'].map((id) => document.getElementById(id).untouched === true).join(' ')"))
	b.accessible("overview, live")

	// A chart that is replaced is ended.
	b.run("count charts", evaluate(countViews))
	for i := range 3 {
		b.run("mark the chart", evaluate("window.before = document.querySelector('#hour figure')"))
		send(fmt.Sprintf("three and %d", i))
		b.until("another chart is drawn", "(document.querySelector('#hour figure') ?? before) !== before && document.querySelector('#hour figure').dataset.drawn === 'true'")
		require.Equal(t, 1, eval[int](b, "views.size"), "charts that go on without being seen")
	}

	config, err := pgx.ParseConfig(s.databaseURL)
	require.NoError(t, err)
	name := pgx.Identifier{config.Database}.Sanitize()
	config.Database = "postgres"
	admin, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer admin.Close(context.WithoutCancel(t.Context()))
	_, err = admin.Exec(t.Context(), "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false")
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", strings.Trim(name, `"`))
	require.NoError(t, err)
	b.says("#live", "The database does not answer; this page waits for it.")
	b.until("the line is marked", "document.querySelector('#live').classList.contains('off')")
	b.says("#letters table", "connect") // what was known is still there
	b.accessible("overview without the database")
	_, err = admin.Exec(t.Context(), "ALTER DATABASE "+name+" ALLOW_CONNECTIONS true")
	require.NoError(t, err)
	b.until("the page is live again", "document.querySelector('#live').classList.contains('on')")
}

// An analyst runs a pattern, watches its steps, looks at charts, and compares with the run before.
func TestConsoleAnalyst(t *testing.T) {
	_, b, portfolio := newConsole(t)
	b.open("/console/patterns")
	b.follow("Portfolio overview")
	b.choose("[name=portfolio_id]", portfolio.String())
	b.fill("[name=lookback_days]", "126")
	b.follow("Run")
	b.until("the steps are drawn", "document.querySelectorAll('main .waterfall svg rect').length >= 6")
	b.until("the result is there", "document.querySelectorAll('main figure.chart svg').length >= 3")
	b.settle()
	b.shot("pattern-result-wide-light")
	b.accessible("a run's result")
	b.fits("a run's result")

	b.open("/console/patterns/portfolio_overview?lookback_days=63&portfolio_id=" + portfolio.String())
	require.Equal(t, "63", eval[string](b, "document.querySelector('[name=lookback_days]').value"))
	require.Zero(t, eval[int](b, "document.querySelectorAll('main figure.chart').length"), "a link runs nothing")
	b.follow("Run")
	b.until("the result is there", "document.querySelectorAll('main figure.chart svg').length >= 3")
	b.settle()
	b.run("count charts", evaluate(countViews))
	for range 2 {
		b.run("mark the result", evaluate("window.before = document.querySelector('#outcome')"))
		b.follow("Run")
		b.until("another result is there", "document.querySelector('#outcome') !== before && document.querySelectorAll('main figure.chart svg').length >= 3")
		b.settle()
		require.Equal(t, eval[int](b, "document.querySelectorAll('main figure.chart').length"), eval[int](b, "views.size"), "charts that go on without being seen")
	}
	durations, err := os.ReadFile(filepath.Join(root, "internal/console/testdata/durations.json"))
	require.NoError(t, err)
	require.Empty(t, eval[[]string](b, string(durations)+".filter((d) => dawsos.duration(d.seconds) !== d.text).map((d) => d.text + ' is told as ' + dawsos.duration(d.seconds))"))

	b.open("/console/runs")
	b.until("both runs are recorded", "document.querySelectorAll('main tbody tr').length >= 2")
	b.click("main tbody th a")
	b.says("main", "Compare")
	b.follow("Compare")
	b.says("h1", "Compare")
	b.says("main", "lookback days")
	b.accessible("a comparison")
}

// Who is not signed in comes to the page for it, from there to where they wanted to be, and out again; a page that
// stays open says when its session is over.
func TestConsoleSignIn(t *testing.T) {
	s, b, _ := newConsole(t, "AUTH_ANONYMOUS=")
	b.expect("status of 422")
	b.expect("status of 401")
	key := newKey(t, s.databaseURL, auth.Operator)
	id, _ := auth.KeyID(key)
	for _, v := range views {
		b.show(v.width, v.height, v.dark)
		b.open("/console/dlq?cause=timeout")
		b.says("h1", "Sign in")
		b.accessible("signing in, " + v.name)
		b.fits("signing in, " + v.name)
		b.shot("login-" + v.name)
	}
	b.show(1440, 900, false)
	b.open("/console/dlq?cause=timeout")
	b.fill("#credential", key[:len(key)-1]+"x")
	b.follow("Sign in")
	b.says("#credential-wrong", "You could not be signed in")
	b.accessible("signing in with a wrong key")
	b.fill("#credential", key)
	b.follow("Sign in")
	b.says("h1", "Dead letters")
	require.Equal(t, "/console/dlq?cause=timeout", eval[string](b, "location.pathname + location.search"))
	b.says("header .who", "key:"+id)
	require.NotContains(t, eval[string](b, "document.documentElement.outerHTML + document.cookie"), key, "the key is nowhere on the page")
	require.Empty(t, eval[string](b, "document.cookie"), "no script sees the session")
	b.until("the page is live", "document.querySelector('#live').classList.contains('on')")
	b.shot("signed-in-wide-light")

	// The key is revoked while the page is open.
	require.NoError(t, store.New(dbtest.Connect(t, s.databaseURL), store.Options{}).RevokeKey(t.Context(), auth.OperatingTenant, id, "test", ""))
	b.says("#live", "You are signed out")
	b.open("/console/dlq")
	b.says("h1", "Sign in")

	second := newKey(t, s.databaseURL, auth.ReadOnly)
	b.fill("#credential", second)
	b.follow("Sign in")
	b.says("h1", "Dead letters")
	b.run("sign out", evaluate("document.querySelector('header .who button').click()"))
	b.says("h1", "Sign in")
	b.open("/console")
	b.says("h1", "Sign in")
}

// furnish makes every page have something to show.
func (s *system) furnish(portfolio uuid.UUID) (pages map[string]string) {
	s.t.Helper()
	receiver := newHook(s.t)
	receiver.broken.Store(true)
	s.ask(http.MethodPost, "/v1/destinations", fmt.Sprintf(`{"name": "desk", "channel": "webhook", "url": %q, "description": "The trading desk's receiver"}`, receiver.URL), http.StatusCreated)
	var event string
	for i, title := range []string{"NAV fell by 3 %", "Volatility above 25 %", "Tracking error above its limit", "Regime changed"} {
		event = gjson.Get(s.ask(http.MethodPost, "/v1/deliveries", fmt.Sprintf(
			`{"alert_id": "desk-%d", "user_id": "ada", "title": %q, "message": "See the portfolio.", "severity": "warning", "data": {"portfolio_id": %q}, "channels": {"inapp": true, "destination": ["desk"]}}`,
			i, title, portfolio), http.StatusOK), "event_id").String()
	}
	letter := gjson.Get(s.ask(http.MethodGet, "/v1/dlq", "", http.StatusOK), "items.0.id").String()
	rule := gjson.Get(s.ask(http.MethodPost, "/v1/alerts", fmt.Sprintf(
		`{"name": "Volatility of the sample", "user_id": "ada", "condition": {"type": "metric", "portfolio_id": %q, "metric": "volatility_1y", "op": ">", "value": 0.05}, "channels": {"inapp": true}}`,
		portfolio), http.StatusCreated), "id").String()
	s.ask(http.MethodPost, "/v1/alerts/evaluate", "{}", http.StatusOK)
	operation := gjson.Get(s.ask(http.MethodPost, "/v1/dlq/discard", `{"filter": {"alert_id": "desk-0"}, "reason": "sent by hand"}`, http.StatusAccepted), "id").String()
	var runs []string
	for _, days := range []int{63, 126, 252} {
		s.ask(http.MethodPost, "/v1/patterns/portfolio_overview/execute", fmt.Sprintf(`{"inputs": {"portfolio_id": %q, "lookback_days": %d}}`, portfolio, days), http.StatusOK)
	}
	s.ask(http.MethodPost, "/v1/patterns/macro_cycles_overview/execute", `{"inputs": {}}`, http.StatusOK)
	s.eventually("the runs are recorded", func(context.Context) error {
		runs = nil
		for _, id := range gjson.Get(s.ask(http.MethodGet, "/v1/runs?pattern_id=portfolio_overview", "", http.StatusOK), "items.#.id").Array() {
			runs = append(runs, id.String())
		}
		if len(runs) < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	pack := gjson.Get(s.ask(http.MethodGet, "/v1/pricing-packs", "", http.StatusOK), "items.0.id").String()
	return map[string]string{
		"overview": "/console", "dlq": "/console/dlq", "dlq-by-cause": "/console/dlq?group=cause", "dlq-letter": "/console/dlq/" + letter,
		"dlq-replay": "/console/dlq/act?action=replay&cause=http_5xx", "operations": "/console/operations", "operation": "/console/operations/" + operation,
		"deliveries": "/console/deliveries", "delivery": "/console/deliveries/" + event, "inbox": "/console/inbox?user=ada",
		"alerts": "/console/alerts", "alert": "/console/alerts/" + rule, "alert-edit": "/console/alerts/" + rule + "/edit", "alert-new": "/console/alerts/new",
		"destinations": "/console/destinations", "destination": "/console/destinations/desk", "destination-new": "/console/destinations/new",
		"patterns": "/console/patterns", "pattern": "/console/patterns/portfolio_overview", "pattern-definition": "/console/patterns/portfolio_overview/definition",
		"runs": "/console/runs", "run": "/console/runs/" + runs[0], "compare": "/console/runs/compare?a=" + runs[1] + "&b=" + runs[0], "insights": "/console/insights",
		"portfolios": "/console/portfolios", "portfolio": "/console/portfolios/" + portfolio.String(), "transactions": "/console/portfolios/" + portfolio.String() + "/transactions",
		"imports": "/console/imports", "packs": "/console/packs", "pack": "/console/packs/" + pack, "jobs": "/console/jobs", "job": "/console/jobs/evaluate_alerts",
		"agents": "/console/agents", "agent": "/console/agents/financial_analyst", "audit": "/console/audit", "breakers": "/console/breakers",
		// What is asked before something is done, and forms.
		"dlq-discard": "/console/dlq/act?action=discard&cause=http_5xx", "delivery-new": "/console/deliveries/new", "inboxes": "/console/inbox",
		"alert-snooze": "/console/alerts/" + rule + "/act?act=snooze", "alert-delete": "/console/alerts/" + rule + "/act?act=delete", "alert-try": "/console/alerts/" + rule + "/try",
		"destination-edit": "/console/destinations/desk/edit", "destination-rotate": "/console/destinations/desk/rotate", "destination-delete": "/console/destinations/desk/act?act=delete",
		"import-news": "/console/imports?kind=news", "pack-build": "/console/packs/build", "job-run": "/console/jobs/evaluate_alerts/run",
		"compare-none": "/console/runs/compare",
	}
}

// views are the windows and preferences in which every page is looked at.
var views = []struct {
	name          string
	width, height int64
	dark          bool
}{
	{"wide-light", 1440, 900, false}, {"wide-dark", 1440, 900, true}, {"narrow-light", 390, 844, false}, {"narrow-dark", 390, 844, true},
}

// Every page, furnished and empty, in light and dark, wide and narrow and at 200 % zoom: accessible, not wider than
// the window, without a request to elsewhere or anything that the policy refuses. SCREENSHOTS=docs/images/console
// renews the pictures.
func TestConsolePages(t *testing.T) {
	s, b, portfolio := newConsole(t)
	pages := s.furnish(portfolio)
	for name, path := range pages {
		for _, v := range views {
			b.show(v.width, v.height, v.dark)
			b.open(path)
			b.settle()
			b.accessible(name + ", " + v.name)
			b.fits(name + ", " + v.name)
			b.shot(name + "-" + v.name)
		}
		b.show(720, 450, false) // 1440 x 900 at 200 %
		b.open(path)
		b.fits(name + " at 200 %")
	}
}

// Every list that has nothing to show says so, and what to do.
func TestConsoleEmpty(t *testing.T) {
	s := newSystem(t, dbtest.URL(t))
	b := newBrowser(t, "http://"+s.apiAddr)
	b.show(1440, 900, false)
	for path, list := range map[string]bool{
		"/console": true, "/console/dlq": true, "/console/dlq?group=cause": true, "/console/operations": true, "/console/deliveries": true,
		"/console/alerts": true, "/console/destinations": true, "/console/inbox": true, "/console/inbox?user=ada": true, "/console/runs": true,
		"/console/insights": true, "/console/portfolios": true, "/console/imports": true, "/console/packs": true, "/console/breakers": true,
		"/console/audit": true,
		// These are never empty: a form, and what every process has.
		"/console/patterns/portfolio_overview": false, "/console/jobs": false, "/console/agents": false,
	} {
		b.open(path)
		b.accessible(path + ", empty")
		b.fits(path + ", empty")
		if list {
			require.NotEmpty(t, b.text("main .empty .what"), path)
			require.NotEmpty(t, b.text("main .empty .what + p"), "%s says what to do", path)
		}
		b.shot("empty" + strings.NewReplacer("/", "-", "?", "-", "=", "-").Replace(path))
	}
}

// The keyboard reaches everything: from the top, tabbing comes to the skip link, the navigation and the content, and
// nothing holds it.
func TestConsoleKeyboard(t *testing.T) {
	s, b, portfolio := newConsole(t)
	pages := s.furnish(portfolio)
	b.open(pages["dlq"])
	want := eval[int](b, `[...document.querySelectorAll("a[href], button:not([disabled]), input:not([type=hidden]), select, textarea, summary, [tabindex='0']")].filter((e) => e.checkVisibility() && e.tabIndex >= 0 && !e.disabled).length`)
	seen := map[string]bool{}
	var order bytes.Buffer
	for range want + 20 {
		b.run("tab", keys("\t"))
		at := eval[string](b, `(() => { const e = document.activeElement; return e === document.body ? "" : [...document.querySelectorAll("*")].indexOf(e) + " " + e.outerHTML.slice(0, 80); })()`)
		if at == "" || (seen[at] && len(seen) >= want) {
			break
		}
		seen[at] = true
		fmt.Fprintln(&order, at)
	}
	require.GreaterOrEqual(t, len(seen), want, "reached by tabbing:\n%s", &order)
	require.Contains(t, strings.SplitN(order.String(), "\n", 2)[0], "skip", "the skip link comes first")
}
