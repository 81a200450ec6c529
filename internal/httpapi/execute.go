package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/api"
)

// ExecutePattern runs a pattern. It is the operation that callers wait for most often, so its body
// is taken as the contract's check has decoded it, and its answer is written without reflection.
func (b *byHand) ExecutePattern(c echo.Context, id string, params api.ExecutePatternParams) error {
	ctx := c.Request().Context()
	caller, _ := auth.From(ctx)
	req := patterns.Request{
		TenantID: caller.TenantID, UserID: caller.UserID, RequestID: requestIDFrom(ctx), PatternID: id,
		RequireFresh: true, Recorded: value(params.Record),
	}
	// The document has seen to the types of the body's members.
	checked, _ := c.Request().Body.(checkedBody)
	members, _ := checked.value.(map[string]any)
	req.Inputs, _ = members["inputs"].(map[string]any)
	if fresh, ok := members["require_fresh"].(bool); ok {
		req.RequireFresh = fresh
	}
	if asof, ok := members["asof"].(string); ok {
		day, err := time.Parse(time.DateOnly, asof)
		if err != nil {
			return fault.InvalidField("/asof", "must be a day, YYYY-MM-DD")
		}
		req.Asof = &day
	}
	if wantsEvents(c.Request().Header[echo.HeaderAccept]) {
		return b.stream(c, req)
	}

	answer, err := b.h.Patterns.Execute(ctx, req)
	if err != nil {
		return err
	}
	buffer := buffers.Get().(*[]byte)
	defer putBuffer(buffer)
	*buffer = appendAnswer((*buffer)[:0], answer)
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	header.Set(echo.HeaderContentLength, strconv.Itoa(len(*buffer)))
	c.Response().WriteHeader(http.StatusOK)
	_, err = c.Response().Write(*buffer)
	return err
}

// buffers are what answers are written in.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// putBuffer gives a buffer back, unless keeping it would keep the memory of a rare, large answer.
func putBuffer(buffer *[]byte) {
	const most = 1 << 20
	if cap(*buffer) <= most {
		buffers.Put(buffer)
	}
}

const eventStream = "text/event-stream"

// wantsEvents reads Accept headers (RFC 9110, section 12.5.1). JSON is the default: events are for
// those who name them and don't want JSON as much or more. A wildcard beside them is no wish for
// JSON.
func wantsEvents(accept []string) bool {
	if len(accept) == 0 {
		return false
	}
	const (
		none = iota
		all
		application
		exact
	)
	var (
		events, json float64
		specific     = none // how closely JSON is meant
	)
	consider := func(rank int, q float64) {
		if rank > specific {
			specific, json = rank, q
		} else if rank == specific {
			json = max(json, q)
		}
	}
	for _, header := range accept {
		for element := range strings.SplitSeq(header, ",") {
			media, parameters, _ := strings.Cut(element, ";")
			q := quality(parameters)
			switch strings.ToLower(strings.TrimSpace(media)) {
			case eventStream:
				events = max(events, q)
			case echo.MIMEApplicationJSON:
				consider(exact, q)
			case "application/*":
				consider(application, q)
			case "*/*":
				consider(all, q)
			}
		}
	}
	return events > json || events > 0 && events == json && specific != exact
}

// quality returns the weight among a media range's parameters: 1 when there is none, 0 when it can't
// be read.
func quality(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, weight, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
		if err != nil || !(q >= 0 && q <= 1) { // NaN is neither
			return 0
		}
		return q
	}
	return 1
}
