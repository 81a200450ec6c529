package schema

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
)

// Bounds of all JSON that comes in, whatever its schema says of it. They hold before anything is made of the
// text: what is decoded takes up to a hundred times the room of what was sent, and checking a number
// whose exponent has seven digits takes as long as checking a million others.
const (
	maxDepth    = 64      // objects and arrays within each other
	maxValues   = 100_000 // in all: a list of 1000 transactions has a tenth of them
	maxNumber   = 1000    // characters
	maxExponent = 1000
)

// Measure walks over the text of a JSON value and holds it against the bounds. It makes nothing, and finds
// no mistakes but those that concern them: decoding does. members is how many members all objects have
// together. Of what is both, too large and something else, it says that it is too large. what it is stands in
// the error, such as "the body".
func Measure(what string, text []byte) (members int, err error) {
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
				err = fault.New(fault.Malformed, "%s has objects and arrays nested deeper than %d", what, maxDepth)
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
				err = fault.New(fault.Malformed, "%s has a number of more than %d characters, or with an exponent beyond %d", what, maxNumber, maxExponent)
			}
			i += length - 1
		}
		if values > maxValues {
			return 0, fault.New(fault.TooLarge, "%s has more than %d values", what, maxValues)
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

// Members counts the members of all objects of a decoded value. When there are fewer than in its text,
// a name stood twice, and which of the two is meant depends on who reads it.
func Members(value any) (n int) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			n += Members(element)
		}
	case map[string]any:
		n = len(v)
		for _, member := range v {
			n += Members(member)
		}
	}
	return n
}

// Repeated returns the JSON pointer of a member that an object of valid JSON has twice.
func Repeated(text []byte) (pointer string) {
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
