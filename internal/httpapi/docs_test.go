package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The page of charts loads nothing but what this server has, and its policy forbids eval and inline
// code.
func TestChartsPage(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t)
	page := s.get(t, "/docs/charts")
	require.Equal(t, http.StatusOK, page.status)
	require.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
	policy := page.header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "unsafe")
	require.NotContains(t, string(page.body), "://", "the page works offline")
	require.NotContains(t, string(page.body), "style=")
	loaded := regexp.MustCompile(`(?:src|href)="(/docs/[^"]+)"`).FindAllStringSubmatch(string(page.body), -1)
	require.Len(t, loaded, 7)
	for _, l := range loaded {
		a := s.get(t, l[1])
		require.Equal(t, http.StatusOK, a.status, l[1])
		require.NotEmpty(t, a.body, l[1])
		require.NotEmpty(t, a.header.Get("Content-Type"), l[1])
		require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"), l[1])
	}
	script := string(s.get(t, "/docs/charts.js").body)
	require.NotContains(t, script, "://")
	require.NotContains(t, script, "innerHTML", "what the API answers is text, never markup")
	require.Contains(t, script, "ast: true")
	require.Contains(t, string(s.get(t, "/docs").body), `href="/docs/charts"`)
}

// Vega's files are those of the table beside them.
func TestVegaIsAsPublished(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("docs/vega/README.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.*`([0-9a-f]{64})` \\|$").FindAllStringSubmatch(string(readme), -1)
	require.Len(t, rows, 3)
	total := 0
	for _, r := range rows {
		content, err := os.ReadFile("docs/vega/" + r[1])
		require.NoError(t, err)
		sum := sha256.Sum256(content)
		require.Equal(t, r[2], hex.EncodeToString(sum[:]), r[1])
		total += len(content)
	}
	require.Less(t, total, 1_000_000)
}

func TestAssetsAreCompressed(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t)
	plain := s.get(t, "/docs/vega.min.js")
	require.Empty(t, plain.header.Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", plain.header.Get("Vary"))
	for accept, want := range map[string]string{
		"gzip": "gzip", "br, GZIP;q=0.5, *": "gzip", "deflate, gzip": "gzip", "gzip;q=0": "", "gzip; q=0.000": "", "br": "", "": "", "gzipped": "",
	} {
		a := s.get(t, "/docs/vega.min.js", "Accept-Encoding", accept)
		require.Equal(t, want, a.header.Get("Content-Encoding"), accept)
		if want == "" {
			require.Equal(t, plain.body, a.body)
			continue
		}
		require.Less(t, len(a.body), len(plain.body)/2)
		z, err := gzip.NewReader(bytes.NewReader(a.body))
		require.NoError(t, err)
		content, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, plain.body, content)

		etag := a.header.Get("ETag")
		require.NotEqual(t, plain.header.Get("ETag"), etag, "other bytes, other name")
		again := s.get(t, "/docs/vega.min.js", "Accept-Encoding", accept, "If-None-Match", etag)
		require.Equal(t, http.StatusNotModified, again.status)
		require.Empty(t, again.body)
		require.Empty(t, again.header.Get("Content-Encoding"))
	}
	picture := s.get(t, "/docs/favicon-32x32.png", "Accept-Encoding", "gzip")
	require.Empty(t, picture.header.Get("Content-Encoding"))
	require.True(t, strings.HasPrefix(string(picture.body), "\x89PNG"))
}
