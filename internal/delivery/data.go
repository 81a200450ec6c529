package delivery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
)

const (
	// maxDepth bounds how deep an event's data may be nested. PostgreSQL's parser of JSON gives up
	// at some thousands, with an error that is not the caller's to understand.
	maxDepth = 100
	// maxWrittenOut bounds what the numbers in an event's data come to without exponents, in
	// bytes: "1e131000" is 131 kB once it has been through jsonb, and a letter full of them could
	// be stored but never be read again.
	maxWrittenOut = 1 << 20
)

// checkData refuses data that could be accepted but not be carried to its end.
func checkData(data json.RawMessage) error {
	const pointer = "/data"
	if !json.Valid(data) {
		return fault.InvalidField(pointer, "is not valid JSON")
	}
	if plain(data) {
		return nil
	}
	return bounded(data, pointer)
}

// bounded reads valid data token by token, and refuses what is beyond the bounds.
func bounded(data []byte, pointer string) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	depth, writtenOut := 0, 0
	for {
		token, err := dec.Token()
		if err != nil { // the end: the rest is valid
			return nil
		}
		switch t := token.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				depth++
			} else {
				depth--
			}
		case json.Number:
			digits, exponent, ok := decompose(t)
			if !ok {
				return fault.InvalidField(pointer, "holds a number that is too large or too small")
			}
			writtenOut += len(digits) + max(exponent, -exponent)
		}
		if depth > maxDepth {
			return fault.InvalidField(pointer, "is nested deeper than %d levels", maxDepth)
		}
		if writtenOut > maxWrittenOut {
			return fault.InvalidField(pointer, "holds numbers that take more than %d bytes when written out", maxWrittenOut)
		}
	}
}

// plain reports whether data can't offend against the bounds, without parsing it: too few brackets to be
// nested too deep, and no exponent. It may be wrong about data that holds such characters in its texts.
func plain(data []byte) bool {
	if len(data) > maxWrittenOut {
		return false
	}
	brackets := 0
	for i, c := range data {
		switch c {
		case '{', '[':
			brackets++
		case 'e', 'E':
			if i > 0 && '0' <= data[i-1] && data[i-1] <= '9' {
				return false
			}
		}
	}
	return brackets <= maxDepth
}

// canonicalData decodes data with its numbers in one spelling each.
func canonicalData(data json.RawMessage) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, err
	}
	return canonical(value), nil
}

// canonical rewrites the numbers in a decoded JSON value. 100, 1e2 and 100.0 are one number, and
// jsonb, through which data passes on its way to a retry, does not keep the spelling. It works on
// decimal digits, so that numbers which float64 can't tell apart stay apart.
func canonical(value any) any {
	switch v := value.(type) {
	case json.Number:
		digits, exponent, ok := decompose(v)
		if !ok || exponent == 0 {
			return json.Number(digits)
		}
		return json.Number(fmt.Sprintf("%se%d", digits, exponent))
	case []any:
		for i := range v {
			v[i] = canonical(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = canonical(v[key])
		}
	}
	return value
}

// decompose returns n as an integer without trailing zeros, in digits, times ten to the power of
// exponent. ok is false, and digits is n as it stands, when the exponent is beyond all use.
func decompose(n json.Number) (digits string, exponent int, ok bool) {
	const beyondUse = 1 << 24 // PostgreSQL's numeric ends at 131,072 digits
	mantissa, power, _ := strings.Cut(strings.ToLower(n.String()), "e")
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil || max(exponent, -exponent) > beyondUse {
			return n.String(), 0, false
		}
	}
	unsigned, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(unsigned, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	if significant == "" {
		return "0", 0, true
	}
	exponent += len(digits) - len(significant) - len(fraction)
	if negative {
		significant = "-" + significant
	}
	return significant, exponent, true
}
