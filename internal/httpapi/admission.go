package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/admission"
	"github.com/dawsos/dawsos/internal/fault"
)

// classOf returns which of the server's places requests to an endpoint take. A run is one whoever asks for it
// and however it is told of. Pages may ask to be kept up to date: such requests are a class of their own.
func classOf(template string, streams bool) admission.Class {
	switch template {
	case "/v1/patterns/{id}/execute", "/v1/runs/{id}/replay", "/console/patterns/{id}/run", "/console/runs/{id}/replay":
		return admission.Runs
	}
	switch {
	case streams:
		return admission.Files
	case template == "/console" || strings.HasPrefix(template, "/console/"), template == "/openapi.json", template == "/docs", strings.HasPrefix(template, "/docs/"):
		// The document is a page, too: anybody gets it, and may take his time with it.
		return admission.Pages
	}
	return admission.Ordinary
}

// enter gives a request a place, before anything of it is read and before it is known whose it is. It
// refuses when there is none.
func (s *server) enter(c echo.Context, e *endpoint) (leave func(), err error) {
	if s.gate == nil {
		return func() {}, nil
	}
	class := e.class
	switch {
	case class == "": // no endpoint at all
		class = admission.Ordinary
	case class == admission.Pages && wantsEvents(c.Request().Header[echo.HeaderAccept]):
		class = admission.Streams
	}
	return s.gate.Enter(c.Request().Context(), class)
}

// shed answers a request that got no place. It costs next to nothing: no trace, no line in the log unless
// that is at its most talkative, and no latency, which would make the API seem faster the less it does.
func (s *server) shed(c echo.Context, route *route, e *endpoint, method, id string, err error) {
	ctx := context.WithValue(c.Request().Context(), requestIDKey{}, id)
	c.SetRequest(c.Request().WithContext(ctx))
	dontWait(c)
	p := s.refuse(err, c)
	s.count(ctx, route, e, method, p.Status, -1)
	s.log.LogAttrs(ctx, slog.LevelDebug, "request shed", slog.String("request_id", id), slog.String("endpoint", route.endpoint))
}

// dontWait has the answer sent without what is left of the body: net/http would read the most of it first,
// to use the connection again.
func dontWait(c echo.Context) {
	const arrived = 4 << 10 // what is no longer came along with the headers, or nearly
	if c.Request().ProtoMajor > 1 {
		return // streams of one connection do not wait for each other
	}
	if length := c.Request().ContentLength; length < 0 || length > arrived {
		c.Response().Header().Set(echo.HeaderConnection, "close")
	}
}

// spend counts a request, tells its caller what it may still send, and refuses it if that is nothing.
func (s *server) spend(c echo.Context, count func(r *admission.Rates, of string) admission.Quota, of string) error {
	if s.rates == nil {
		return nil
	}
	quota := count(s.rates, of)
	h := c.Response().Header()
	h.Set("RateLimit-Policy", quota.Policy)
	h.Set("RateLimit", quota.Limit)
	if err := quota.Err(); err != nil {
		dontWait(c)
		return err
	}
	return nil
}

// Header values that every answer has. A slice of them is shared by all, and never changed: whoever wants
// another value sets one.
var (
	nosniff    = []string{"nosniff"}
	sameOrigin = []string{"same-origin"}
	noStore    = []string{"no-store"}
	nothing    = []string{"default-src 'none'; frame-ancestors 'none'"}
	aYear      = []string{"max-age=31536000"}
)

// secure sets what keeps browsers from taking an answer for anything but what it is. Pages, which load
// and run things, set policies and caching of their own.
//
// There are no headers of CORS, ever: no other site's scripts read what is here. The referrer is not
// withheld from this very site, since browsers would withhold the origin with it, which the console checks.
func (s *server) secure(h http.Header) {
	h["X-Content-Type-Options"] = nosniff
	h["Referrer-Policy"] = sameOrigin
	h["Cross-Origin-Resource-Policy"] = sameOrigin
	h["Cache-Control"] = noStore
	h["Content-Security-Policy"] = nothing
	if s.https {
		h["Strict-Transport-Security"] = aYear
	}
}

// slowBody is the failure of a client that sends its body so slowly that its time is over.
func slowBody(err error) error {
	return fault.Wrap(err, fault.Malformed, "the body did not arrive in the time that a request has")
}
