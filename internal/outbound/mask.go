package outbound

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"
)

const (
	masked = "[hidden]"
	// leastSecret is the shortest text that is masked: shorter ones would be found in any, and protect
	// nothing.
	leastSecret = 8
)

// Mask replaces secrets in what somebody else has said, before it is stored, logged or shown. Servers
// that fail like to repeat what they were asked: as it came, in JSON or HTML, percent-encoded, in base64
// (also as a part of something longer, such as credentials) and in hex. Secrets of less than 8 characters
// stay: they would be found everywhere.
func Mask(text string, secrets ...string) string {
	if text == "" {
		return text
	}
	var forms []string
	for _, secret := range secrets {
		if len(secret) >= leastSecret {
			forms = appendForms(forms, secret)
		}
	}
	// The longest first: a secret can be part of another.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	for _, form := range slices.Compact(forms) {
		text = strings.ReplaceAll(text, form, masked)
	}
	return text
}

// appendForms adds what a secret may be written as.
func appendForms(forms []string, secret string) []string {
	forms = append(
		forms, secret, html.EscapeString(secret), url.QueryEscape(secret), url.PathEscape(secret),
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
	)
	for _, escapeHTML := range []bool{true, false} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escapeHTML)
		if e.Encode(secret) == nil {
			forms = append(forms, strings.Trim(strings.TrimSuffix(b.String(), "\n"), `"`))
		}
	}
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // what stands in front of it decides how it falls into groups of three
			// The characters at both ends also hold bits of what stands around it.
			text := alphabet.EncodeToString(append(make([]byte, before), secret...))
			text = text[(before*8+5)/6:]
			if (before+len(secret))%3 != 0 {
				text = text[:len(text)-1]
			}
			if len(text) >= leastSecret {
				forms = append(forms, text)
			}
		}
	}
	return forms
}
