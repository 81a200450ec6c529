package outbound

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"sort"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	masked = "[hidden]"
	// leastSecret is the shortest text that is masked: shorter ones would be found in any, and protect
	// nothing.
	leastSecret = 8
	// escapesDeep is how many layers of escapes are undone: percent-encoding, in JSON, in the JSON of somebody
	// who passes it on.
	escapesDeep = 3
)

// Mask replaces secrets in what somebody else has said, before it is stored, logged or shown. Servers
// that fail like to repeat what they were asked: as it came, in JSON or HTML, percent-encoded, in base64
// (also as a part of something longer, such as credentials) and in hex. Secrets of less than 8 characters
// stay: they would be found everywhere.
//
// Which characters are escaped, and in what spelling, every serializer decides for itself: a slash in JSON
// is \/ to PHP, a plus \u002B to .NET. So it is the text whose escapes are undone, not the secret that is
// written in all of their ways.
func Mask(text string, secrets ...string) string {
	var forms []string
	for _, secret := range secrets {
		if len(secret) >= leastSecret {
			forms = appendForms(forms, secret)
		}
	}
	slices.Sort(forms)
	found := find(text, slices.Compact(forms), escapesDeep)
	if len(found) == 0 {
		return text
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out strings.Builder
	end := 0
	for _, s := range found {
		if s.from >= end { // a secret can be part of another
			out.WriteString(text[end:s.from])
			out.WriteString(masked)
		}
		end = max(end, s.to)
	}
	out.WriteString(text[end:])
	return out.String()
}

// span is a part of a text, from a byte up to another.
type span struct{ from, to int }

// find returns where forms stand in text, as it is and with up to so many layers of escapes undone.
func find(text string, forms []string, layers int) []span {
	var found []span
	for _, form := range forms {
		for from := 0; ; {
			i := strings.Index(text[from:], form)
			if i < 0 {
				break
			}
			from += i
			found = append(found, span{from, from + len(form)})
			from += len(form)
		}
	}
	if layers == 0 || len(forms) == 0 {
		return found
	}
	plain, escapes := unescape(text)
	if len(escapes) == 0 {
		return found
	}
	for _, s := range find(plain, forms, layers-1) {
		found = append(found, span{escapes.origin(s.from), escapes.origin(s.to)})
	}
	return found
}

// escapes are those that were undone in a text, in order: where what they stand for is in the plain text, and
// where they were in the one that it was made of.
type escapes []struct{ plain, origin span }

// origin returns where a position in the plain text was.
func (e escapes) origin(plain int) int {
	next := sort.Search(len(e), func(i int) bool { return e[i].plain.from > plain })
	if next == 0 {
		return plain
	}
	last := e[next-1]
	if plain < last.plain.to {
		return last.origin.from
	}
	return last.origin.to + plain - last.plain.to
}

// unescape undoes one layer of the escapes of JSON, HTML and percent-encoding, wherever one stands.
func unescape(text string) (string, escapes) {
	var (
		out    strings.Builder
		undone escapes
		at     int
	)
	for {
		i := strings.IndexAny(text[at:], `\%&`)
		if i < 0 {
			out.WriteString(text[at:])
			return out.String(), undone
		}
		out.WriteString(text[at : at+i])
		at += i
		meant, n := unescapeOne(text[at:])
		if n == 0 { // a character like any other
			out.WriteByte(text[at])
			at++
			continue
		}
		undone = append(undone, struct{ plain, origin span }{span{out.Len(), out.Len() + len(meant)}, span{at, at + n}})
		out.WriteString(meant)
		at += n
	}
}

// unescapeOne returns what the escape that text begins with stands for, and its length; 0 when it is none.
func unescapeOne(text string) (string, int) {
	switch {
	case len(text) < 2:
	case text[0] == '%':
		if b := unhex(text[1:], 1); b != nil {
			return string(b), 3
		}
	case text[0] == '&':
		const longest = 12 // among those of a character that a secret may have
		end := strings.IndexByte(text[:min(len(text), longest)], ';') + 1
		if meant := html.UnescapeString(text[:end]); meant != text[:end] {
			return meant, end
		}
	case text[1] == 'u':
		b := unhex(text[2:], 2)
		if b == nil {
			break
		}
		r := rune(binary.BigEndian.Uint16(b))
		if low, ok := strings.CutPrefix(text[6:], `\u`); ok {
			if b := unhex(low, 2); b != nil {
				if pair := utf16.DecodeRune(r, rune(binary.BigEndian.Uint16(b))); pair != utf8.RuneError {
					return string(pair), 12
				}
			}
		}
		return string(r), 6
	case text[1] == 'x':
		if b := unhex(text[2:], 1); b != nil {
			return string(b), 4
		}
	default:
		if i := strings.IndexByte(`"\/'bfnrt`, text[1]); i >= 0 {
			return "\"\\/'\b\f\n\r\t"[i : i+1], 2
		}
	}
	return "", 0
}

// unhex returns the n bytes whose hexadecimal digits text begins with, nil when it begins otherwise.
func unhex(text string, n int) []byte {
	if len(text) < 2*n {
		return nil
	}
	b, err := hex.DecodeString(text[:2*n])
	if err != nil {
		return nil
	}
	return b
}

// appendForms adds what a secret may be written as. Escapes are undone in the text; those of Go are here
// as well, for a secret that holds what looks like one.
func appendForms(forms []string, secret string) []string {
	forms = append(
		forms, secret, html.EscapeString(secret), url.QueryEscape(secret), url.PathEscape(secret),
		strings.ReplaceAll(secret, " ", "+"), // in a query, whose other escapes are undone
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
