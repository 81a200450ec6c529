package httpapi

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/console"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

// Console are the pages below /console. They are observed and limited as the API is; what they refuse or
// fail at is mapped here and shown by them.
type Console interface {
	Routes() []console.Route
	Problem(w http.ResponseWriter, r *http.Request, p console.Problem)
}

var braced = regexp.MustCompile(`\{([a-z_]+)\}`)

func (s *server) serveConsole(e *echo.Echo) {
	if s.console == nil {
		return
	}
	for _, r := range s.console.Routes() {
		path := braced.ReplaceAllString(r.Path, ":$1")
		s.uploads[r.Method+" "+path] = r.Streams
		e.Add(r.Method, path, func(c echo.Context) error {
			for i, name := range c.ParamNames() {
				c.Request().SetPathValue(name, c.ParamValues()[i])
			}
			if r.Streams {
				return s.upload(c, r.Handler)
			}
			return r.Handler(c.Response(), c.Request())
		})
	}
}

// upload hands a file to the console as it comes in. A read that outlasts the handler is ended: the
// answer would wait for it.
func (s *server) upload(c echo.Context, next console.Handler) error {
	r := c.Request()
	body := &stoppable{r: r.Body}
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	err := next(c.Response(), r)
	if err != nil && body.stop() {
		s.interrupt(c)
	}
	return err
}

// isConsole tells whose failure it is: people at the console read pages.
func (s *server) isConsole(c echo.Context) bool {
	return s.console != nil && (c.Path() == "/console" || strings.HasPrefix(c.Path(), "/console/") || strings.HasPrefix(c.Request().URL.Path, "/console/"))
}

func consoleProblem(p api.Problem, retryAfter int, err error) console.Problem {
	page := console.Problem{
		Status: p.Status, Title: p.Title, Detail: p.Detail, Code: p.Code, RequestID: p.RequestId, RetryAfter: retryAfter,
	}
	page.Caller, _ = console.Caller(err)
	if f, ok := errors.AsType[*fault.Error](err); ok {
		page.Fields = f.Fields
	}
	return page
}
