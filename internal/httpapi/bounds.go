package httpapi

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/fault"
)

// Bounds of every JSON body, whatever the document says of it. They hold before anything is made of the
// text: what is decoded takes up to a hundred times the room of what was sent, and checking a number
// whose exponent has seven digits takes as long as checking a million others.
const (
	maxDepth    = 64      // objects and arrays within each other
	maxValues   = 100_000 // in all: a list of 1000 transactions has a tenth of them
	maxNumber   = 1000    // characters
	maxExponent = 1000
)

// measure walks over the text of a JSON value and holds it against the bounds. It makes nothing, and finds
// no mistakes but those that concern them: decoding does. members is how many members all objects have
// together. Of what is both, too large and something else, it says that it is too large.
func measure(text []byte) (members int, err error) {
	depth, values := 0, 1
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case b == '{' || b == '[':
			values++
			if depth++; depth > maxDepth && err == nil {
				err = fault.New(fault.Malformed, "the body has objects and arrays nested deeper than %d", maxDepth)
			}
		case b == '}' || b == ']':
			depth--
		case b == ',':
			values++
		case b == ':':
			members++
		case b == '-' || '0' <= b && b <= '9':
			length, fine := number(text[i:])
			if !fine && err == nil {
				err = fault.New(fault.Malformed, "the body has a number of more than %d characters, or with an exponent beyond %d", maxNumber, maxExponent)
			}
			i += length - 1
		}
		if values > maxValues {
			return 0, fault.New(fault.TooLarge, "the body has more than %d values", maxValues)
		}
	}
	return members, err
}

// number returns how long the number is that text begins with, and whether it is within bounds.
func number(text []byte) (length int, fine bool) {
	exponent := -1 // not there yet
	for length < len(text) {
		switch b := text[length]; {
		case '0' <= b && b <= '9':
			if exponent >= 0 {
				exponent = min(exponent*10+int(b-'0'), maxExponent+1)
			}
		case b == 'e' || b == 'E':
			exponent = 0
		case b != '-' && b != '+' && b != '.':
			return length, length <= maxNumber && exponent <= maxExponent
		}
		length++
	}
	return length, length <= maxNumber && exponent <= maxExponent
}

// membersOf counts the members of all objects of a decoded value. When there are fewer than in its text,
// a name stood twice, and which of the two is meant depends on who reads it.
func membersOf(value any) (n int) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			n += membersOf(element)
		}
	case map[string]any:
		n = len(v)
		for _, member := range v {
			n += membersOf(member)
		}
	}
	return n
}

// repeated returns the JSON pointer of a member that an object of valid JSON has twice.
func repeated(text []byte) (pointer string) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a float64 has no room for some that JSON allows
	var walk func(at string) bool
	walk = func(at string) bool {
		token, err := d.Token()
		if err != nil {
			return false
		}
		switch token {
		case json.Delim('{'):
			names := map[string]bool{}
			for d.More() {
				token, err := d.Token()
				name, ok := token.(string)
				if err != nil || !ok {
					return false
				}
				member := at + "/" + escape(name)
				if names[name] {
					pointer = member
					return false
				}
				names[name] = true
				if !walk(member) {
					return false
				}
			}
			_, err = d.Token()
		case json.Delim('['):
			for i := 0; d.More(); i++ {
				if !walk(at + "/" + strconv.Itoa(i)) {
					return false
				}
			}
			_, err = d.Token()
		}
		return err == nil
	}
	walk("")
	const most = 200 // of a pointer that may be as long as the body
	if len(pointer) > most {
		pointer = strings.ToValidUTF8(pointer[:most], "") + "…"
	}
	return pointer
}

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
