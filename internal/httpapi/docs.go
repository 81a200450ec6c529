package httpapi

import (
	_ "embed"
	"io/fs"
	"net/http"

	"github.com/labstack/echo/v4"
	swaggerui "github.com/swaggo/files/v2"

	"github.com/dawsos/dawsos/internal/fault"
)

// The page that renders the document. Swagger UI comes with the binary, nothing is fetched from
// elsewhere, and nothing is inline, so that the policy below holds.
var (
	//go:embed docs/index.html
	docsPage []byte
	//go:embed docs/init.js
	docsInit []byte
)

// docsAssets are the files of Swagger UI that the page uses, with their types.
var docsAssets = map[string]string{
	"swagger-ui.css":       "text/css; charset=utf-8",
	"swagger-ui-bundle.js": "text/javascript; charset=utf-8",
	"favicon-32x32.png":    "image/png",
}

// docsPolicy lets the page load its own files and call this server. Swagger UI sets styles and
// shows icons from data URLs.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"

func (s *server) serveDocs(e *echo.Echo) error {
	assets := map[string][]byte{"init.js": docsInit}
	types := map[string]string{"init.js": "text/javascript; charset=utf-8"}
	for name, contentType := range docsAssets {
		content, err := fs.ReadFile(swaggerui.FS, name)
		if err != nil {
			return err
		}
		assets[name], types[name] = content, contentType
	}
	e.GET("/openapi.json", func(c echo.Context) error {
		return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, s.contract.json)
	})
	e.GET("/docs", func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentSecurityPolicy, docsPolicy)
		return c.HTMLBlob(http.StatusOK, docsPage)
	})
	e.GET("/docs/:file", func(c echo.Context) error {
		content, ok := assets[c.Param("file")]
		if !ok {
			return fault.New(fault.NotFound, "there is no such file")
		}
		c.Response().Header().Set(echo.HeaderCacheControl, "public, max-age=3600")
		return c.Blob(http.StatusOK, types[c.Param("file")], content)
	})
	return nil
}
