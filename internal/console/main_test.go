package console_test

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/app"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/sample"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// site is the whole API process over a database of its own, as it is wired for operators.
type site struct {
	t    testing.TB
	pool *pgxpool.Pool
	url  string
	http *http.Client
}

// newSite starts the API. env are settings besides the usual ones, as name and value.
func newSite(t testing.TB, env ...string) *site {
	t.Helper()
	databaseURL := dbtest.URL(t)
	return startSite(t, databaseURL, dbtest.Connect(t, databaseURL), env...)
}

// newSampleSite is a site with the sample's portfolio and market data.
func newSampleSite(t testing.TB, env ...string) *site {
	t.Helper()
	databaseURL := dbtest.URL(t)
	pool := dbtest.Connect(t, databaseURL)
	_, err := sample.Load(t.Context(), pool, filepath.Join("..", "..", "configs", "sample"), func(string) {})
	require.NoError(t, err)
	return startSite(t, databaseURL, pool, env...)
}

func startSite(t testing.TB, databaseURL string, pool *pgxpool.Pool, env ...string) *site {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	settings := map[string]string{
		"DATABASE_URL": databaseURL, "API_ADDR": addr, "LOG_LEVEL": "error", "AUTH_ANONYMOUS": "admin",
		"SECRETS_KEY":  base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"PATTERNS_DIR": filepath.Join("..", "..", "configs", "patterns"), "AGENTS_FILE": filepath.Join("..", "..", "configs", "agents.yaml"),
		"ANALYTICS_DIR": filepath.Join("..", "..", "configs", "analytics"),
	}
	for i := 0; i < len(env); i += 2 {
		settings[env[i]] = env[i+1]
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.RunAPI(ctx, nil, func(name string) string { return settings[name] }) }()
	s := &site{t: t, pool: pool, url: "http://" + addr, http: &http.Client{
		Transport: &http.Transport{}, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		cancel()
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", http.NoBody)
		require.NoError(t, err)
		answer, err := s.http.Do(r)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, time.Minute, 20*time.Millisecond)
	return s
}

// response is an answer with its page.
type response struct {
	*http.Response
	body string
	tree *html.Node
}

// get asks for a page; headers are pairs.
func (s *site) get(path string, headers ...string) response {
	return s.do(http.MethodGet, path, nil, headers...)
}

// post sends a form as a page of the console does.
func (s *site) post(path string, form url.Values, headers ...string) response {
	return s.do(http.MethodPost, path, strings.NewReader(form.Encode()),
		append([]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}, headers...)...)
}

// api calls the API with a JSON body and wants a status.
func (s *site) api(method, path, body string, status int) string {
	s.t.Helper()
	r := s.do(method, path, strings.NewReader(body), "Content-Type", "application/json")
	require.Equal(s.t, status, r.StatusCode, r.body)
	return r.body
}

func (s *site) do(method, path string, body io.Reader, headers ...string) response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.http.Do(r)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	tree, err := html.Parse(strings.NewReader(string(raw)))
	require.NoError(s.t, err)
	return response{answer, string(raw), tree}
}

// text is what a reader sees of a page, with single spaces.
func (r response) text() string {
	var b strings.Builder
	for n := range r.tree.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "script" && n.Parent.Data != "style" {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// links are the addresses that a page leads to.
func (r response) links() []string {
	var list []string
	for n := range r.tree.Descendants() {
		if n.Type == html.ElementNode && n.Data == "a" {
			for _, a := range n.Attr {
				if a.Key == "href" {
					list = append(list, a.Val)
				}
			}
		}
	}
	return list
}
