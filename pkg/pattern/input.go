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
	UUID    Type = "uuid" // 36 characters, hexadecimal digits of either case
	Date    Type = "date" // YYYY-MM-DD
)

var types = []Type{String, Integer, Number, Boolean, UUID, Date}

func joinTypes() string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}

// Value checks a JSON value against the input's type and bounds and returns its canonical form:
// json.Number for integers and numbers, else string or bool. Numbers may come as json.Number,
// which alone keeps all digits, as float64 or as int. The error is a clause about the value, fit to
// follow the input's name. Null is no value: whether an input may be left out is not asked here.
func (in Input) Value(v any) (any, error) {
	switch n := v.(type) {
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return nil, errors.New("is not a number")
		}
		v = json.Number(strconv.FormatFloat(n, 'g', -1, 64))
	case int:
		v = json.Number(strconv.Itoa(n))
	}

	switch in.Type {
	case Integer, Number:
		return in.number(v)
	case Boolean:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case String:
		if s, ok := v.(string); ok {
			return s, nil
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
func (in Input) mismatch(v any) error {
	expected := map[Type]string{
		String: "a string", Integer: "a whole number", Number: "a number", Boolean: "true or false",
		UUID: "a UUID", Date: "a date",
	}[in.Type]
	var found string
	switch v.(type) {
	case nil:
		found = "null"
	case string:
		found = "a string"
	case bool:
		found = "a boolean"
	case json.Number:
		found = "a number"
	case []any:
		found = "an array"
	case map[string]any:
		found = "an object"
	default:
		found = fmt.Sprintf("%T", v)
	}
	return fmt.Errorf("%s is expected, not %s", expected, found)
}

func (in Input) number(v any) (any, error) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, in.mismatch(v)
	}
	if in.Type == Integer {
		i, err := wholeNumber(string(n))
		if err != nil {
			return nil, err
		}
		n = json.Number(strconv.FormatInt(i, 10))
	} else if _, err := strconv.ParseFloat(string(n), 64); err != nil {
		return nil, fmt.Errorf("%s is out of range", shorten(string(n)))
	}
	if in.Minimum != "" && compareNumbers(in.Type, n, in.Minimum) < 0 {
		return nil, fmt.Errorf("%s is below the minimum of %s", n, in.Minimum)
	}
	if in.Maximum != "" && compareNumbers(in.Type, n, in.Maximum) > 0 {
		return nil, fmt.Errorf("%s is above the maximum of %s", n, in.Maximum)
	}
	return n, nil
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
		if exponent, err = strconv.Atoi(exponentText); err != nil || exponent > 1000 || exponent < -1000 {
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
