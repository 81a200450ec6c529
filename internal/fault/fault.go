// Package fault gives every failure a code from a closed set, so that the HTTP layer maps
// errors to answers in one place and breakers tell a caller's mistake from a broken dependency.
//
// Wrap causes with %w and say what was attempted; the code travels along. An error without a
// code is [Internal]: its text is logged, never shown.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code names a class of failure. Codes are part of the API: problem documents carry them.
type Code string

// The closed set of codes, with the HTTP status that each is answered with.
const (
	Internal         Code = "internal"          // 500: a defect or a failed dependency of ours
	Malformed        Code = "malformed"         // 400: the request can't be read at all
	Invalid          Code = "invalid"           // 422: it can be read, a field is wrong
	Unauthenticated  Code = "unauthenticated"   // 401: who calls is not known
	Forbidden        Code = "forbidden"         // 403: who calls may not, or it comes from where it must not come from
	NotFound         Code = "not_found"         // 404
	Conflict         Code = "conflict"          // 409
	TooLarge         Code = "too_large"         // 413
	UnsupportedMedia Code = "unsupported_media" // 415
	TooManyRequests  Code = "too_many_requests" // 429: the caller sends more than it may, see RetryAfter
	MethodNotAllowed Code = "method_not_allowed"
	InsufficientData Code = "insufficient_data"    // 422: data that the answer needs is not there
	Unavailable      Code = "unavailable"          // 503: try later, see RetryAfter
	BreakerOpen      Code = "breaker_open"         // 503: the agent's circuit breaker refuses calls
	PackNotFresh     Code = "pricing_pack_warming" // 503: the pricing pack is not ready: warming, in error or stale
	Timeout          Code = "timeout"              // 504
	Canceled         Code = "canceled"             // 499: the caller went away
	PatternError     Code = "pattern_error"        // 500: a pattern does not fit what its capabilities return
)

// Field names one wrong part of a request.
type Field struct {
	Pointer string // JSON pointer into the request: "/inputs/portfolio_id", "/query/limit"
	Detail  string // what is wrong and what is allowed
}

// Error is a failure with a code and a text fit to be shown to the caller.
type Error struct {
	Code       Code
	Detail     string        // one sentence for the caller; no secrets, no internals
	Fields     []Field       // for Invalid: which parts of the request
	RetryAfter time.Duration // for Unavailable, BreakerOpen, PackNotFresh and TooManyRequests: 0 means unknown
	Err        error         // the cause, for logs; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Detail
	}
	return e.Detail + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// New returns an error with a code and a text for the caller.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap gives err a code and a text for the caller, keeping err for the log.
func Wrap(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), Err: err}
}

// InvalidField reports one wrong field.
func InvalidField(pointer, format string, args ...any) *Error {
	detail := fmt.Sprintf(format, args...)
	return &Error{
		Code: Invalid, Detail: pointer + ": " + detail,
		Fields: []Field{{Pointer: pointer, Detail: detail}},
	}
}

// CodeOf returns the code of the outermost coded error in err's chain. A context's end counts
// as Timeout or Canceled, everything unmarked as Internal, nil as "".
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Internal
}

// Detail returns the text for the caller. An error without a code has none that is fit to show.
func Detail(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Detail
	}
	switch CodeOf(err) {
	case Timeout:
		return "the work did not finish in the time it had"
	case Canceled:
		return "the request was canceled"
	}
	return "an internal error occurred; the request id leads to it in the log"
}
