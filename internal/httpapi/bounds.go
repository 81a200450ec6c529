package httpapi

import (
	"mime"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/fault"
)

// coded refuses bodies that were compressed: a few bytes of them may be gigabytes of text.
func coded(c echo.Context) error {
	r := c.Request()
	for _, coding := range r.Header.Values(echo.HeaderContentEncoding) {
		if coding != "" && !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			c.Response().Header().Set(echo.HeaderAcceptEncoding, "identity")
			return fault.New(fault.UnsupportedMedia, "the body must not be compressed: send it without Content-Encoding")
		}
	}
	return nil
}

// mediaType returns the type that a Content-Type names, in lower case; "" when it can't be read or says that
// the text is in anything but UTF-8.
func mediaType(h http.Header) string {
	given := h.Get(echo.HeaderContentType)
	if given == echo.MIMEApplicationJSON { // as nearly everyone writes it
		return given
	}
	name, parameters, err := mime.ParseMediaType(given)
	if err != nil {
		return ""
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return ""
	}
	return name
}
