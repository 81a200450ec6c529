package httpapi

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/pkg/api"
)

// StatusOf is the one place where failures become HTTP statuses.
func StatusOf(code fault.Code) int {
	switch code {
	case fault.Malformed:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case fault.Conflict:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.UnsupportedMedia:
		return http.StatusUnsupportedMediaType
	case fault.TooManyRequests:
		return http.StatusTooManyRequests
	case fault.Invalid, fault.InsufficientData:
		return http.StatusUnprocessableEntity
	case fault.Canceled:
		return 499 // the client closed the request; nobody reads this answer, the log does
	case fault.Unavailable, fault.BreakerOpen, fault.PackNotFresh:
		return http.StatusServiceUnavailable
	case fault.Timeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// titles name the class of a problem; its detail says the rest.
var titles = map[fault.Code]string{
	fault.Malformed:        "The request can't be read",
	fault.Unauthenticated:  "Who calls is not known",
	fault.Forbidden:        "Forbidden",
	fault.NotFound:         "Not found",
	fault.MethodNotAllowed: "Method not allowed",
	fault.Conflict:         "Conflict",
	fault.TooLarge:         "The body is too large",
	fault.UnsupportedMedia: "Unsupported content type",
	fault.TooManyRequests:  "Too many requests",
	fault.Invalid:          "The request is wrong",
	fault.InsufficientData: "The data for this is not there",
	fault.Canceled:         "Canceled by the client",
	fault.Unavailable:      "Not available at the moment",
	fault.BreakerOpen:      "An agent is resting after failures",
	fault.PackNotFresh:     "The pricing pack is not ready",
	fault.Timeout:          "Out of time",
	fault.Internal:         "Internal error",
	fault.PatternError:     "The pattern is wrong",
}

// databaseRetryAfter is about as long as a restart of PostgreSQL takes.
const databaseRetryAfter = 2 * time.Second

// onError answers a failed request. It is Echo's error handler.
func (s *server) onError(err error, c echo.Context) { s.refuse(err, c) }

// refuse answers with the document of a failure, and returns it.
func (s *server) refuse(err error, c echo.Context) api.Problem {
	p, retryAfter := s.problem(err, c)
	if c.Response().Committed { // the answer is on its way; all that is left is the log
		return p
	}
	if retryAfter > 0 {
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		c.Response().Header().Set(echo.HeaderWWWAuthenticate, challenge(c.Request()))
	}
	if s.isConsole(c) {
		s.console.Problem(c.Response(), c.Request(), consoleProblem(p, retryAfter, err))
		return p
	}
	if err := c.Blob(p.Status, "application/problem+json", s.encode(p, c)); err != nil {
		s.log.DebugContext(c.Request().Context(), "problem not sent", "request_id", requestID(c), "err", err)
	}
	return p
}

// problem returns the document of a failure, and logs what its reader must not see. retryAfter is in
// seconds, 0 when there is nothing to say.
func (s *server) problem(err error, c echo.Context) (p api.Problem, retryAfter int) {
	ctx := c.Request().Context()
	err = fromEcho(err)
	code := fault.CodeOf(err)
	if code == fault.Internal && s.passing(err) {
		away := fault.Wrap(err, fault.Unavailable, "the database can't be reached at the moment; whether the request had an effect is not known")
		away.RetryAfter = databaseRetryAfter
		s.log.WarnContext(ctx, "database not available", "request_id", requestID(c), "err", err)
		err, code = away, fault.Unavailable
	}
	if code == fault.Internal || code == fault.PatternError {
		s.log.ErrorContext(ctx, "request failed", "request_id", requestID(c), "err", err)
	}
	p = api.Problem{
		Type: "urn:dawsos:problem:" + string(code), Title: titles[code],
		Status: StatusOf(code), Detail: fault.Detail(err), Code: string(code),
		Instance: c.Request().URL.Path, RequestId: requestID(c),
	}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		if len(e.Fields) > 0 {
			list := make([]struct {
				Detail  string `json:"detail"`
				Pointer string `json:"pointer"`
			}, len(e.Fields))
			for i, f := range e.Fields {
				list[i].Pointer, list[i].Detail = f.Pointer, f.Detail
			}
			p.Errors = &list
		}
		if e.RetryAfter > 0 {
			retryAfter = int(math.Ceil(e.RetryAfter.Seconds()))
			p.RetryAfterSeconds = &retryAfter
		}
	}
	if e, ok := errors.AsType[*packs.NotFreshError](err); ok {
		p.PricingPack = &api.UnreadyPack{
			Id: e.Pack.ID, Date: e.Pack.Date.Format(time.DateOnly), State: string(e.Pack.State),
			Reason: orNull(e.Pack.Reason), EstimatedReady: e.EstimatedReady,
		}
	}
	p.Trace = partialTrace(err)
	return p, retryAfter
}

func (s *server) encode(p api.Problem, c echo.Context) []byte {
	body, err := json.Marshal(p)
	if err != nil { // a problem holds nothing that can't be marshaled
		s.log.ErrorContext(c.Request().Context(), "problem not encoded", "request_id", requestID(c), "err", err)
		return []byte("{}")
	}
	return body
}

// fromEcho gives the router's and the generated code's own errors a code.
func fromEcho(err error) error {
	if fault.CodeOf(err) != fault.Internal {
		return err
	}
	e, ok := errors.AsType[*echo.HTTPError](err)
	if !ok {
		return err
	}
	switch e.Code {
	case http.StatusNotFound:
		return fault.New(fault.NotFound, "there is no such endpoint; /docs lists them")
	case http.StatusMethodNotAllowed:
		return fault.New(fault.MethodNotAllowed, "the endpoint does not know this method; the Allow header lists the ones it knows")
	case http.StatusRequestEntityTooLarge:
		return fault.New(fault.TooLarge, "the body is too large")
	case http.StatusUnsupportedMediaType:
		return fault.New(fault.UnsupportedMedia, "the body must be JSON: send it with Content-Type: application/json")
	}
	if e.Code >= 400 && e.Code < 500 { // a parameter or body that the generated code can't bind
		return fault.Wrap(err, fault.Malformed, "%v", e.Message)
	}
	return err
}
