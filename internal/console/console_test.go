package console_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/console"
	"github.com/dawsos/dawsos/internal/dbtest"
)

// The vendored files are those that vendor.sh took out of the packages.
func TestVendoredFilesAreAsPublished(t *testing.T) {
	t.Parallel()
	sums, err := os.ReadFile("npm/SHA256SUMS")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(sums)), "\n")
	require.Len(t, lines, 5)
	for _, line := range lines {
		want, name, ok := strings.Cut(line, "  ")
		require.True(t, ok, line)
		content, err := os.ReadFile(filepath.Join("npm", name))
		require.NoError(t, err)
		sum := sha256.Sum256(content)
		require.Equal(t, want, hex.EncodeToString(sum[:]), name)
	}
}

// Our scripts make no markup of text and reach nothing but this server.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("assets/*.js")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, name := range scripts {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NotContains(t, string(content), "innerHTML", name)
		require.NotContains(t, string(content), "://", name)
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range []string{"console.css", "console.js", "htmx.min.js", "vega.min.js", "icon.svg", "LICENSES.txt"} {
		r := s.get("/console/assets/" + name)
		require.Equal(t, http.StatusOK, r.StatusCode, name)
		require.NotEmpty(t, r.Header.Get("Content-Type"), name)
	}
	missing := s.get("/console/assets/nothing.js")
	require.Equal(t, http.StatusNotFound, missing.StatusCode)
	require.Contains(t, missing.Header.Get("Content-Type"), "text/html")
	require.Contains(t, missing.text(), "there is no such file")
}

// What another site makes a browser send is refused before anything is done, whichever of the two headers the
// browser has. Links from elsewhere work.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.send(`"alert_id": "a", "user_id": "ada", "title": "Unread"`)
	form := url.Values{"user": {"ada"}}
	post := func(headers ...string) response {
		return s.do(http.MethodPost, "/console/inbox/read", strings.NewReader(form.Encode()),
			append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
	}
	unread := func() int { return s.number("SELECT count(*) FROM notifications WHERE read_at IS NULL") }
	for name, headers := range map[string][]string{
		"by the browser's word":                    {"Sec-Fetch-Site", "cross-site"},
		"by the browser's word, with our origin":   {"Sec-Fetch-Site", "cross-site", "Origin", s.url},
		"from a sibling's site":                    {"Sec-Fetch-Site", "same-site"},
		"by its origin":                            {"Origin", "https://evil.example"},
		"by its origin, another port of this host": {"Origin", "http://127.0.0.1:1"},
		"from a sandbox":                           {"Origin", "null"},
	} {
		refused := post(headers...)
		require.Equal(t, http.StatusForbidden, refused.StatusCode, name)
		require.Contains(t, refused.Header.Get("Content-Type"), "text/html", name)
		require.Contains(t, refused.Header.Get("Content-Security-Policy"), "default-src 'none'", name)
		require.Contains(t, refused.text(), "the request comes from another site", name)
		require.Equal(t, 1, unread(), name)
	}
	for name, headers := range map[string][]string{
		"a link elsewhere": {"Sec-Fetch-Site", "cross-site"},
		"a bookmark":       {"Sec-Fetch-Site", "none"},
	} {
		require.Equal(t, http.StatusOK, s.get("/console/inbox?user=ada", headers...).StatusCode, name)
	}
	require.Equal(t, 1, unread())
	for name, headers := range map[string][]string{
		"our page":                        {"Sec-Fetch-Site", "same-origin"},
		"our page in an old browser":      {"Origin", s.url},
		"no browser, so no other's forms": nil,
	} {
		require.Equal(t, http.StatusSeeOther, post(headers...).StatusCode, name)
	}
	require.Zero(t, unread())
}

// pagesWithoutParameters are the addresses of the console's pages that need nothing to be asked for.
func pagesWithoutParameters(t *testing.T) []string {
	t.Helper()
	c, err := console.New(console.Options{}) // its routes need no services
	require.NoError(t, err)
	defer c.Stop()
	var paths []string
	for _, r := range c.Routes() {
		if r.Method == http.MethodGet && !strings.Contains(r.Path, "{") && r.Path != "/console/live" && r.Path != "/console/dlq/act" && r.Path != "/console/runs/compare" && !strings.HasPrefix(r.Path, "/console/queue") {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// Every page keeps to the policy: nothing inline, nothing from elsewhere. It has one heading, a title, and no
// id twice.
func TestPages(t *testing.T) {
	t.Parallel()
	paths := pagesWithoutParameters(t)
	require.NotEmpty(t, paths)
	for name, start := range map[string]func(testing.TB, ...string) *site{"empty": newSite, "sample": newSampleSite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			if name == "sample" {
				s.send(`"alert_id": "a", "user_id": "ada", "title": "<script>alert(1)</script>"`)
			}
			for _, path := range paths {
				requireOrderly(t, s.get(path), path)
			}
		})
	}
}

// wire leads to a database and can be cut.
type wire struct {
	mu    sync.Mutex
	whole bool
	open  map[net.Conn]bool
}

// newWire returns a wire to the database at a URL, and the URL of its other end.
func newWire(t *testing.T, databaseURL string) (w *wire, through string) {
	t.Helper()
	config, err := pgx.ParseConfig(databaseURL)
	require.NoError(t, err)
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w = &wire{whole: true, open: map[net.Conn]bool{}}
	var joined sync.WaitGroup
	joined.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(context.Background(), network, address)
			if err != nil {
				_ = near.Close()
				continue
			}
			if !w.keep(near, far) {
				continue
			}
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				joined.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
					_ = pair[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		w.cut()
		joined.Wait()
	})
	// Parameters of the URL win over its host, which may be a directory of sockets.
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	u.Host = listener.Addr().String()
	q := u.Query()
	q.Del("host")
	q.Del("port")
	u.RawQuery = q.Encode()
	return w, u.String()
}

func (w *wire) keep(ends ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range ends {
		if w.whole {
			w.open[c] = true
		} else {
			_ = c.Close()
		}
	}
	return w.whole
}

// cut ends all connections and lets none through until mend.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = false
	for c := range w.open {
		_ = c.Close()
	}
	clear(w.open)
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = true
}

// While the database is away a page says so in words, whole and with its navigation, and does nothing by
// halves; once it is back, so is the page.
func TestPagesWithoutDatabase(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	w, through := newWire(t, databaseURL)
	s := startSite(t, through, dbtest.Connect(t, databaseURL))
	s.send(`"alert_id": "a", "user_id": "ada", "title": "Unread"`)
	paths := pagesWithoutParameters(t)

	w.cut()
	away := map[string]bool{}
	for _, path := range paths {
		page := s.get(path)
		require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, page.StatusCode, "%s: %s", path, page.text())
		require.Contains(t, page.Header.Get("Content-Type"), "text/html", path)
		require.NotNil(t, page.byID("main"), "%s: the navigation still works", path)
		if page.StatusCode == http.StatusServiceUnavailable {
			away[path] = true
			require.Contains(t, page.text(), "database", path)
		}
	}
	for _, path := range []string{"/console/deliveries", "/console/deliveries/new", "/console/inbox", "/console/audit"} {
		require.True(t, away[path], "%s needs the database", path)
	}
	refused := s.post("/console/inbox/read", url.Values{"user": {"ada"}})
	require.Equal(t, http.StatusServiceUnavailable, refused.StatusCode)
	require.Contains(t, refused.text(), "database")

	w.mend()
	require.Equal(t, 1, s.number("SELECT count(*) FROM notifications WHERE read_at IS NULL"))
	for _, path := range paths {
		requireOrderly(t, s.get(path), path)
	}
}

// addresses are the attributes whose value a browser or htmx follows or loads.
var addresses = []string{
	"href", "src", "srcset", "action", "formaction", "poster", "data", "background", "ping", "manifest", "cite",
	"hx-get", "hx-post", "hx-put", "hx-patch", "hx-delete", "hx-push-url", "hx-replace-url",
}

var elsewhere = regexp.MustCompile(`^\s*(//|[a-zA-Z][a-zA-Z0-9+.-]*:)`)

func requireOrderly(t *testing.T, page response, path string) {
	t.Helper()
	require.Equal(t, http.StatusOK, page.StatusCode, "%s: %s", path, page.text())
	require.Contains(t, page.Header.Get("Content-Type"), "text/html", path)
	policy := page.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} {
		require.Contains(t, policy, part, path)
	}
	require.NotContains(t, policy, "unsafe", path)
	headings, titles := 0, 0
	ids := map[string]bool{}
	for n := range page.tree.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "h1":
			headings++
		case "title":
			if n.Namespace == "" { // not that of a drawing
				titles++
				require.NotEmpty(t, n.FirstChild, path)
			}
		case "script":
			require.Regexp(t, "^/console/assets/", attribute(n, "src"), "%s: an inline script", path)
			require.Nil(t, n.FirstChild, "%s: an inline script", path)
		case "style", "iframe", "object", "embed", "base":
			require.Fail(t, "an element that does not belong there", "%s: %s", path, n.Data)
		}
		for _, a := range n.Attr {
			require.NotEqual(t, "style", a.Key, "%s: an inline style at %s", path, n.Data)
			require.False(t, strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on"), "%s: an inline handler %s", path, a.Key)
			if a.Key == "id" {
				require.False(t, ids[a.Val], "%s: the id %s twice", path, a.Val)
				ids[a.Val] = true
			}
			if plain := map[string]string{"hx-get": "href", "hx-post": "action"}[a.Key]; plain != "" && hasAttribute(n, plain) {
				require.Equal(t, attribute(n, plain), a.Val, "%s: it leads elsewhere with scripts", path)
			}
			if slices.Contains(addresses, a.Key) {
				require.NotRegexp(t, elsewhere, a.Val, "%s: an address elsewhere", path)
			}
		}
	}
	require.Equal(t, 1, headings, "%s: h1", path)
	require.Equal(t, 1, titles, "%s: title", path)
}

// Every entry of the navigation leads to a page. What is behind the queue's is another program's.
func TestNavigation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var entries []string
	for n := range s.get("/console/audit").tree.Descendants() {
		if n.Type == html.ElementNode && n.Data == "nav" && attribute(n, "aria-label") == "Console" {
			for link := range n.Descendants() {
				if link.Type == html.ElementNode && link.Data == "a" {
					entries = append(entries, attribute(link, "href"))
				}
			}
		}
	}
	require.NotEmpty(t, entries)
	for _, entry := range entries {
		if entry == "/console/queue/" {
			continue
		}
		page := s.get(entry)
		requireOrderly(t, page, entry)
		current := 0
		for n := range page.tree.Descendants() {
			if n.Type == html.ElementNode && attribute(n, "aria-current") == "page" && attribute(n, "href") == entry {
				current++
			}
		}
		require.Equal(t, 1, current, "%s is marked as the reader's place", entry)
	}
}

// Who has signed in keeps the navigation while the database is away, which sessions are looked up in. Who has
// not is led to the page for signing in as always.
func TestSignedInWithoutDatabase(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	w, through := newWire(t, databaseURL)
	s := startSite(t, through, dbtest.Connect(t, databaseURL), "AUTH_ANONYMOUS", "")
	session := s.signIn(s.newKey("default", auth.ReadOnly, ""))
	require.NotContains(t, s.get("/console", session...).links(), "/console/jobs")

	w.cut()
	for _, path := range []string{"/console", "/console/dlq", "/console/patterns", "/console/agents"} {
		page := s.get(path, session...)
		require.Equal(t, http.StatusServiceUnavailable, page.StatusCode, path)
		require.Contains(t, page.text(), "the database can't be reached at the moment", path)
		for _, to := range []string{"/console", "/console/dlq", "/console/patterns", "/console/jobs"} {
			require.Contains(t, page.links(), to, path)
		}
		require.NotContains(t, page.body, "/console/logout", "who it is is not known")
	}
	require.Empty(t, s.get("/console/dlq", append([]string{"HX-Request", "true"}, session...)...).links(), "a part of a page has none")
	for _, nobody := range [][]string{nil, {"Cookie", "theme=dark"}} {
		page := s.get("/console/dlq", nobody...)
		require.Equal(t, http.StatusSeeOther, page.StatusCode)
	}

	w.mend()
	require.Eventually(t, func() bool {
		page := s.get("/console", session...)
		return page.StatusCode == http.StatusOK && !slices.Contains(page.links(), "/console/jobs")
	}, time.Minute, 50*time.Millisecond, "every page asks again what one may see")
}
