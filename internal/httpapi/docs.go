package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"
	swaggerui "github.com/swaggo/files/v2"

	"github.com/dawsos/dawsos/internal/fault"
)

// The pages: one renders the document, one runs patterns and draws their charts. Swagger UI and Vega
// come with the binary, nothing is fetched from elsewhere, and nothing is inline, so that the
// policies below hold.
//
//go:embed docs/index.html docs/init.js docs/charts.html docs/charts.js docs/charts.css docs/vega/*.js docs/vega/LICENSES.txt
var docsFiles embed.FS

// Policies let a page load its own files and call this server.
const (
	// docsPolicy also allows inline styles and icons from data URLs, which Swagger UI has.
	docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
	// chartsPolicy also allows the data URLs that a chart is saved through. Vega interprets its
	// expressions, so that it needs no 'unsafe-eval'.
	chartsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// docsAssets are what the pages load, by name, with where they are.
var docsAssets = map[string]struct {
	from fs.FS
	path string
}{
	"init.js":              {docsFiles, "docs/init.js"},
	"charts.js":            {docsFiles, "docs/charts.js"},
	"charts.css":           {docsFiles, "docs/charts.css"},
	"vega.min.js":          {docsFiles, "docs/vega/vega.min.js"},
	"vega-lite.min.js":     {docsFiles, "docs/vega/vega-lite.min.js"},
	"vega-embed.min.js":    {docsFiles, "docs/vega/vega-embed.min.js"},
	"LICENSES.txt":         {docsFiles, "docs/vega/LICENSES.txt"},
	"swagger-ui.css":       {swaggerui.FS, "swagger-ui.css"},
	"swagger-ui-bundle.js": {swaggerui.FS, "swagger-ui-bundle.js"},
	"favicon-32x32.png":    {swaggerui.FS, "favicon-32x32.png"},
}

var docsTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".png":  "image/png",
	".txt":  "text/plain; charset=utf-8",
}

func (s *server) serveDocs(e *echo.Echo) error {
	assets := map[string]*asset{}
	for name, a := range docsAssets {
		var err error
		if assets[name], err = newAsset(a.from, a.path); err != nil {
			return err
		}
	}
	e.GET("/openapi.json", func(c echo.Context) error {
		return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, s.contract.json)
	})
	for route, page := range map[string]struct{ file, policy string }{
		"/docs": {"docs/index.html", docsPolicy}, "/docs/charts": {"docs/charts.html", chartsPolicy},
	} {
		a, err := newAsset(docsFiles, page.file)
		if err != nil {
			return err
		}
		e.GET(route, func(c echo.Context) error {
			c.Response().Header().Set(echo.HeaderContentSecurityPolicy, page.policy)
			c.Response().Header().Set(echo.HeaderCacheControl, "no-cache")
			return a.send(c)
		})
	}
	e.GET("/docs/:file", func(c echo.Context) error {
		a, ok := assets[c.Param("file")]
		if !ok {
			return fault.New(fault.NotFound, "there is no such file")
		}
		c.Response().Header().Set(echo.HeaderCacheControl, "public, max-age=3600")
		return a.send(c)
	})
	return nil
}

// asset is a file that comes with the binary.
type asset struct {
	content     []byte
	contentType string
	etag        string
	compressed  func() []byte // nil when it is compressed as it is
}

func newAsset(from fs.FS, name string) (*asset, error) {
	content, err := fs.ReadFile(from, name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	a := &asset{content: content, contentType: docsTypes[path.Ext(name)], etag: hex.EncodeToString(sum[:16])}
	if path.Ext(name) != ".png" {
		a.compressed = sync.OnceValue(func() []byte { return compress(content) }) // when it is first asked for
	}
	return a, nil
}

func compress(content []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(content) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

// send answers with the file, compressed for those who take that, or with 304 to those who have it.
func (a *asset) send(c echo.Context) error {
	h := c.Response().Header()
	h.Set("X-Content-Type-Options", "nosniff")
	content, etag := a.content, `"`+a.etag+`"`
	if a.compressed != nil {
		h.Set(echo.HeaderVary, echo.HeaderAcceptEncoding)
		if acceptsGzip(c.Request().Header.Get(echo.HeaderAcceptEncoding)) {
			h.Set(echo.HeaderContentEncoding, "gzip")
			content, etag = a.compressed(), `"`+a.etag+`-gzip"`
		}
	}
	h.Set("ETag", etag)
	if c.Request().Header.Get("If-None-Match") == etag {
		h.Del(echo.HeaderContentEncoding)
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, a.contentType, content)
}

// acceptsGzip reads an Accept-Encoding header (RFC 9110, 12.5.3). One that refuses gzip with a weight
// of zero is rare and heeded.
func acceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, weight, weighted := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			_, q, _ := strings.Cut(weight, "=")
			return !weighted || strings.Trim(strings.TrimSpace(q), "0.") != ""
		}
	}
	return false
}
