package pattern

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Type is the type of an input.
type Type string

// The types of inputs and the JSON values they take.
const (
	String  Type = "string"
	Integer Type = "integer" // a whole number of 64 bits; 252.0 counts as one
	Number  Type = "number"  // a number within the range of float64, its digits kept as written
	Boolean Type = "boolean"
	UUID    Type = "uuid"   // 36 characters, hexadecimal digits of either case
	Date    Type = "date"   // YYYY-MM-DD
	Enum    Type = "enum"   // one of the strings that Values lists
	Array   Type = "array"  // of what Items declares, or of any JSON
	Object  Type = "object" // of what Properties declare, or any object
)

var types = []Type{String, Integer, Number, Boolean, UUID, Date, Enum, Array, Object}

// typeNames returns the types as strings.
func typeNames() []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return names
}

// scalar returns the canonical form of a value of any type but Enum, Array and Object, which have
// been looked at. The error is a clause about the value.
func (in *Input) scalar(v any) (any, error) {
	switch in.Type {
	case Integer, Number:
		if n, ok := number(v); ok {
			return in.number(n)
		}
	case Boolean:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case String:
		if s, ok := v.(string); ok {
			return s, in.length(s)
		}
	case UUID:
		if s, ok := v.(string); ok {
			return canonicalUUID(s)
		}
	case Date:
		if s, ok := v.(string); ok {
			if _, err := time.Parse(time.DateOnly, s); err != nil {
				return nil, fmt.Errorf("%q is not a date; write it as YYYY-MM-DD", shorten(s))
			}
			return s, nil
		}
	}
	return nil, in.mismatch(v)
}

// mismatch says which JSON type is expected and which has come.
func (in *Input) mismatch(v any) error {
	switch n := v.(type) {
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return errors.New("is not a number")
		}
	case json.Number:
		if !isNumber(string(n)) {
			return fmt.Errorf("%q is not a number", shorten(string(n)))
		}
	}
	expected, ok := map[Type]string{
		String: "a string", Integer: "a whole number", Number: "a number", Boolean: "true or false",
		UUID: "a UUID", Date: "a date", Enum: "a string", Array: "an array", Object: "an object",
	}[in.Type]
	if !ok {
		return fmt.Errorf("can't be checked against the unknown type %q", in.Type)
	}
	return fmt.Errorf("%s is expected, not %s", expected, jsonType(v))
}

// length checks a string's length. The error is a clause about it.
func (in *Input) length(s string) error {
	if in.MinLength == nil && in.MaxLength == nil {
		return nil
	}
	n := length(s)
	if in.MinLength != nil && n < *in.MinLength {
		return fmt.Errorf("has %s, at least %d are needed", count(n, "character"), *in.MinLength)
	}
	if in.MaxLength != nil && n > *in.MaxLength {
		return fmt.Errorf("has %s, %d are allowed", count(n, "character"), *in.MaxLength)
	}
	return nil
}

func (in *Input) number(n json.Number) (any, error) {
	if in.Type == Integer {
		i, err := wholeNumber(string(n))
		if err != nil {
			return nil, err
		}
		n = json.Number(strconv.FormatInt(i, 10))
	} else if f, err := strconv.ParseFloat(string(n), 64); err != nil || (f == 0 && !sane(string(n))) {
		return nil, fmt.Errorf("%s is out of range", shorten(string(n)))
	}
	if in.Minimum != "" && compareNumbers(in.Type, n, in.Minimum) < 0 {
		return nil, fmt.Errorf("%s is below the minimum of %s", shorten(string(n)), in.Minimum)
	}
	if in.Maximum != "" && compareNumbers(in.Type, n, in.Maximum) > 0 {
		return nil, fmt.Errorf("%s is above the maximum of %s", shorten(string(n)), in.Maximum)
	}
	return n, nil
}

// sane reports whether a number's exponent is one that arithmetic on its digits can bear. To
// float64, 1e-999999999 is zero; to a decimal it is a billion digits.
func sane(s string) bool {
	_, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	if exponent == "" {
		return true
	}
	n, err := strconv.Atoi(exponent)
	return err == nil && -MaxExponent <= n && n <= MaxExponent
}

// compareNumbers compares two canonical values of type Integer or Number.
func compareNumbers(t Type, a, b json.Number) int {
	if t == Integer {
		x, _ := a.Int64() // canonical integers are whole numbers of 64 bits
		y, _ := b.Int64()
		return cmp.Compare(x, y)
	}
	x, _ := a.Float64() // and canonical numbers are within range
	y, _ := b.Float64()
	return cmp.Compare(x, y)
}

// wholeNumber reads a JSON number that has no fraction, in whatever notation: 252, 252.0, 2.52e2.
// It works on the digits, since a float64 would round 9007199254740993.
func wholeNumber(s string) (int64, error) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	digits, negative := strings.CutPrefix(s, "-")
	mantissa, exponentText, scientific := strings.Cut(strings.ToLower(digits), "e")
	exponent := 0
	if scientific {
		var err error
		if exponent, err = strconv.Atoi(exponentText); err != nil || exponent > MaxExponent || exponent < -MaxExponent {
			return 0, fmt.Errorf("%s is out of range", shorten(s))
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	all := whole + fraction
	point := len(whole) + exponent // where the decimal point stands in all
	switch {
	case strings.Trim(all, "0") == "":
		return 0, nil
	case point > len(all):
		all += strings.Repeat("0", point-len(all))
	case strings.Trim(all[max(point, 0):], "0") != "" || point <= 0:
		return 0, fmt.Errorf("%s is not a whole number", shorten(s))
	default:
		all = all[:point]
	}
	if negative {
		all = "-" + all
	}
	i, err := strconv.ParseInt(all, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is out of range", shorten(s))
	}
	return i, nil
}

// canonicalUUID checks a UUID's form and writes it in lower case, so that one thing has one name.
func canonicalUUID(s string) (any, error) {
	ok := len(s) == 36
	for i := 0; ok && i < len(s); i++ {
		if slices.Contains([]int{8, 13, 18, 23}, i) {
			ok = s[i] == '-'
		} else {
			ok = strings.IndexByte("0123456789abcdefABCDEF", s[i]) >= 0
		}
	}
	if !ok {
		return nil, fmt.Errorf("%q is not a UUID", shorten(s))
	}
	return strings.ToLower(s), nil
}

// shorten keeps a caller's value from filling an error.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
