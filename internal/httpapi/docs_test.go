package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAssetsAreCompressed(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t)
	plain := s.get(t, "/docs/swagger-ui-bundle.js")
	require.Empty(t, plain.header.Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", plain.header.Get("Vary"))
	for accept, want := range map[string]string{
		"gzip": "gzip", "br, GZIP;q=0.5, *": "gzip", "deflate, gzip": "gzip", "gzip;q=0": "", "gzip; q=0.000": "", "br": "", "": "", "gzipped": "",
	} {
		a := s.get(t, "/docs/swagger-ui-bundle.js", "Accept-Encoding", accept)
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
		again := s.get(t, "/docs/swagger-ui-bundle.js", "Accept-Encoding", accept, "If-None-Match", etag)
		require.Equal(t, http.StatusNotModified, again.status)
		require.Empty(t, again.body)
		require.Empty(t, again.header.Get("Content-Encoding"))
	}
	picture := s.get(t, "/docs/favicon-32x32.png", "Accept-Encoding", "gzip")
	require.Empty(t, picture.header.Get("Content-Encoding"))
	require.True(t, strings.HasPrefix(string(picture.body), "\x89PNG"))
}
