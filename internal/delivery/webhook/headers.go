package webhook

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
)

const (
	maxHeaders     = 20
	maxHeaderName  = 100  // characters
	maxHeaderValue = 1024 // bytes
)

// reserved are the headers that the channel or the connection sets: a destination that replaced them
// would break the signature or the framing, or reach another host than the one that was checked.
var reserved = map[string]bool{
	"Host": true, "User-Agent": true, "Accept-Encoding": true, "Expect": true, "Date": true,
	"Traceparent": true, "Tracestate": true, "Baggage": true,
	// Hop by hop, RFC 9110 and those before it.
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true,
}

// reservedPrefixes begin the names of families of such headers.
var reservedPrefixes = []string{"Webhook-", "Content-", "Proxy-"}

func checkHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return fault.InvalidField("/headers", "at most %d", maxHeaders)
	}
	seen := make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name]
		pointer := "/headers/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			return fault.InvalidField(pointer, "must be named with letters, digits and any of !#$%%&'*+-.^_`|~")
		case len(name) > maxHeaderName:
			return fault.InvalidField(pointer, "its name is longer than %d characters", maxHeaderName)
		case isReserved(canonical):
			return fault.InvalidField(pointer, "is set by DawsOS or the connection itself")
		case seen[canonical]:
			return fault.InvalidField(pointer, "stands twice: names are the same whatever the case")
		case len(value) > maxHeaderValue:
			return fault.InvalidField(pointer, "longer than %d bytes", maxHeaderValue)
		case !isFieldValue(value):
			return fault.InvalidField(pointer, "must be printable ASCII, without space around it")
		}
		seen[canonical] = true
	}
	return nil
}

func isReserved(canonical string) bool {
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(canonical, prefix) {
			return true
		}
	}
	return reserved[canonical]
}

// isToken reports whether s is a token of RFC 9110, which names of headers are.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s reaches every receiver as it is.
func isFieldValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return s != "" && strings.TrimSpace(s) == s
}
