package httpapi

import (
	"embed"
	"io/fs"
	"net/http"

	"github.com/labstack/echo/v4"
	swaggerui "github.com/swaggo/files/v2"

	"github.com/dawsos/dawsos/internal/assets"
	"github.com/dawsos/dawsos/internal/fault"
)

// The page renders the document. Swagger UI comes with the binary, nothing is fetched from elsewhere,
// and no script is inline, so that the policy below holds.
//
//go:embed docs/index.html docs/init.js
var docsFiles embed.FS

// docsPolicy lets the page load its own files and call this server. It also allows inline styles and
// icons from data URLs, which Swagger UI has.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"

// docsAssets are what the page loads, by name, with where they are.
var docsAssets = map[string]struct {
	from fs.FS
	path string
}{
	"init.js":              {docsFiles, "docs/init.js"},
	"swagger-ui.css":       {swaggerui.FS, "swagger-ui.css"},
	"swagger-ui-bundle.js": {swaggerui.FS, "swagger-ui-bundle.js"},
	"favicon-32x32.png":    {swaggerui.FS, "favicon-32x32.png"},
}

func (s *server) serveDocs(e *echo.Echo) error {
	files := map[string]*assets.File{}
	for name, a := range docsAssets {
		var err error
		if files[name], err = assets.New(a.from, a.path); err != nil {
			return err
		}
	}
	page, err := assets.New(docsFiles, "docs/index.html")
	if err != nil {
		return err
	}
	e.GET("/openapi.json", func(c echo.Context) error {
		return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, s.contract.json)
	})
	e.GET("/docs", func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentSecurityPolicy, docsPolicy)
		c.Response().Header().Set(echo.HeaderCacheControl, "no-cache")
		page.ServeHTTP(c.Response(), c.Request())
		return nil
	})
	e.GET("/docs/:file", func(c echo.Context) error {
		f, ok := files[c.Param("file")]
		if !ok {
			return fault.New(fault.NotFound, "there is no such file")
		}
		c.Response().Header().Set(echo.HeaderCacheControl, "public, max-age=3600")
		f.ServeHTTP(c.Response(), c.Request())
		return nil
	})
	return nil
}
