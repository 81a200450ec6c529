package pattern

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInputValueScalar(t *testing.T) {
	t.Parallel()
	id := "0B36FA50-66F0-4BF9-A7E2-43E2BE4F5A7C"
	for _, tc := range []struct {
		in      Input
		v, want any
		err     string
	}{
		{in: Input{Type: Integer}, v: json.Number("252"), want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("252.0"), want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("2.52e2"), want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("25200E-2"), want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("-0"), want: json.Number("0")},
		{in: Input{Type: Integer}, v: json.Number("0.000e5"), want: json.Number("0")},
		{in: Input{Type: Integer}, v: json.Number("9007199254740993.0"), want: json.Number("9007199254740993")},
		{in: Input{Type: Integer}, v: json.Number("-9223372036854775808"), want: json.Number("-9223372036854775808")},
		{in: Input{Type: Integer}, v: 252, want: json.Number("252")},
		{in: Input{Type: Integer}, v: 252.0, want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("252.5"), err: "252.5 is not a whole number"},
		{in: Input{Type: Integer}, v: json.Number("252.0000000000000000001"), err: "is not a whole number"},
		{in: Input{Type: Integer}, v: json.Number("5e-1"), err: "is not a whole number"},
		{in: Input{Type: Integer}, v: json.Number("10e-2"), err: "is not a whole number"},
		{in: Input{Type: Integer}, v: json.Number("1e19"), err: "1e19 is out of range"},
		{in: Input{Type: Integer}, v: json.Number("1e999999999"), err: "is out of range"},
		{in: Input{Type: Integer}, v: json.Number("9223372036854775808"), err: "is out of range"},
		{in: Input{Type: Integer}, v: "252", err: "a whole number is expected, not a string"},
		{in: Input{Type: Integer}, v: true, err: "a whole number is expected, not a boolean"},
		{in: Input{Type: Integer, Minimum: "9007199254740993"}, v: json.Number("9007199254740992"), err: "below the minimum"},
		{in: Input{Type: Integer, Maximum: "10"}, v: json.Number("11"), err: "11 is above the maximum of 10"},
		{in: Input{Type: Integer, Minimum: "1", Maximum: "10"}, v: json.Number("10"), want: json.Number("10")},
		{in: Input{Type: Number}, v: json.Number("0.950"), want: json.Number("0.950")},
		{in: Input{Type: Number}, v: 0.95, want: json.Number("0.95")},
		{in: Input{Type: Number}, v: json.Number("1e400"), err: "1e400 is out of range"},
		{in: Input{Type: Number, Minimum: "0", Maximum: "1"}, v: json.Number("1.5"), err: "1.5 is above the maximum of 1"},
		{in: Input{Type: Number}, v: nil, err: "a number is expected, not null"},
		{in: Input{Type: Boolean}, v: false, want: false},
		{in: Input{Type: Boolean}, v: "false", err: "true or false is expected, not a string"},
		{in: Input{Type: String}, v: "", want: ""},
		{in: Input{Type: String}, v: json.Number("1"), err: "a string is expected, not a number"},
		{in: Input{Type: String}, v: []any{}, err: "a string is expected, not an array"},
		{in: Input{Type: String}, v: map[string]any{}, err: "a string is expected, not an object"},
		{in: Input{Type: UUID}, v: id, want: strings.ToLower(id)},
		{in: Input{Type: UUID}, v: "{" + id + "}", err: "is not a UUID"},
		{in: Input{Type: UUID}, v: strings.ReplaceAll(id, "-", "a"), err: "is not a UUID"},
		{in: Input{Type: UUID}, v: strings.Replace(id, "0", "g", 1), err: "is not a UUID"},
		{in: Input{Type: UUID}, v: json.Number("1"), err: "a UUID is expected, not a number"},
		{in: Input{Type: Date}, v: "2007-05-08", want: "2007-05-08"},
		{in: Input{Type: Date}, v: "2007-02-29", err: `"2007-02-29" is not a date; write it as YYYY-MM-DD`},
		{in: Input{Type: Date}, v: "2007-05-08T00:00:00Z", err: "is not a date"},
		{in: Input{Type: Date}, v: strings.Repeat("é", 1000), err: "é…\" is not a date"},
		{in: Input{Type: Number}, v: math.NaN(), err: "is not a number"},
		{in: Input{Type: Number}, v: json.Number("Inf"), err: `"Inf" is not a number`},
		{in: Input{Type: Number}, v: json.Number("0x10"), err: `"0x10" is not a number`},
		{in: Input{Type: Integer}, v: json.Number("007"), err: `"007" is not a number`},
		{in: Input{Type: Number}, v: json.Number("1e-999999999"), err: "1e-999999999 is out of range"},
		{in: Input{Type: Number}, v: json.Number("0e999999999"), err: "0e999999999 is out of range"},
		{in: Input{Type: Number}, v: json.Number("0e3"), want: json.Number("0e3")},
		{in: Input{Type: Number}, v: int64(1), err: "a number is expected, not int64"},
		{in: Input{Type: String}, v: 1.5, err: "a string is expected, not a number"},
		{in: Input{Type: String, MinLength: new(2)}, v: "é", err: "has 1 character, at least 2 are needed"},
		{in: Input{Type: String, MaxLength: new(2)}, v: "ééé", err: "has 3 characters, 2 are allowed"},
		{in: Input{Type: String, MinLength: new(2), MaxLength: new(2)}, v: "éé", want: "éé"},
		{in: Input{Type: Enum, Values: []string{"a", ""}}, v: "", want: ""},
		{in: Input{Type: Enum, Values: []string{"daily", "weekly"}}, v: "weakly", err: `"weakly" is not one of "daily", "weekly"; did you mean "weekly"?`},
		{in: Input{Type: Enum, Values: []string{"a"}}, v: 1, err: "a string is expected, not a number"},
		{in: Input{Type: "text"}, v: "a", err: `can't be checked against the unknown type "text"`},
	} {
		t.Run(fmt.Sprint(tc.in.Type, tc.v), func(t *testing.T) {
			t.Parallel()
			got, err := tc.in.Value(tc.v)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				errs, ok := errors.AsType[ValueErrors](err)
				require.True(t, ok)
				require.Equal(t, ValueErrors{{Msg: err.Error()}}, errs)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

// decode reads JSON as the engine does.
func decode(t *testing.T, text string) any {
	t.Helper()
	var v any
	require.NoError(t, numberDecoder([]byte(text)).Decode(&v))
	return v
}

func TestInputValueNested(t *testing.T) {
	t.Parallel()
	trade := &Input{Type: Object, Properties: map[string]Input{
		"symbol":   {Type: String, Required: true, MinLength: new(1)},
		"quantity": {Type: Integer, Default: json.Number("1"), Minimum: "0"},
		"id":       {Type: UUID},
		"tags":     {Type: Array, Default: []any{"new"}},
		"a/b":      {Type: Boolean},
	}}
	trades := Input{Type: Array, Items: trade, MaxItems: new(3)}
	free := Input{Type: Array}
	deep := strings.Repeat("[", MaxNesting) + strings.Repeat("]", MaxNesting)

	for name, tc := range map[string]struct {
		in      Input
		v, want string
		errs    ValueErrors
	}{
		"empty":         {in: trades, v: `[]`, want: `[]`},
		"defaults":      {in: trades, v: `[{"symbol":"A"}]`, want: `[{"symbol":"A","quantity":1,"tags":["new"]}]`},
		"null defaults": {in: trades, v: `[{"symbol":"A","quantity":null,"tags":null}]`, want: `[{"symbol":"A","quantity":1,"tags":["new"]}]`},
		"null stays":    {in: trades, v: `[{"symbol":"A","id":null}]`, want: `[{"symbol":"A","id":null,"quantity":1,"tags":["new"]}]`},
		"canonical": {
			in:   trades,
			v:    `[{"symbol":"A","quantity":2.50e1,"id":"0B36FA50-66F0-4BF9-A7E2-43E2BE4F5A7C","tags":[1.50,{"x":null}]}]`,
			want: `[{"symbol":"A","quantity":25,"id":"0b36fa50-66f0-4bf9-a7e2-43e2be4f5a7c","tags":[1.50,{"x":null}]}]`,
		},
		"free":         {in: free, v: `[1e999999,null,true,"",{"a":[0.10]}]`, want: `[1e999999,null,true,"",{"a":[0.10]}]`},
		"free object":  {in: Input{Type: Object}, v: `{"b":{"c":1.0},"a":null}`, want: `{"b":{"c":1.0},"a":null}`},
		"deep as may":  {in: free, v: deep, want: deep},
		"null at all":  {in: trades, v: `null`, errs: ValueErrors{{Msg: "an array is expected, not null"}}},
		"no array":     {in: trades, v: `{"0":1}`, errs: ValueErrors{{Msg: "an array is expected, not an object"}}},
		"no object":    {in: *trade, v: `[]`, errs: ValueErrors{{Msg: "an object is expected, not an array"}}},
		"null item":    {in: trades, v: `[null]`, errs: ValueErrors{{Pointer: "/0", Msg: "an object is expected, not null"}}},
		"null, needed": {in: *trade, v: `{"symbol":null}`, errs: ValueErrors{{Pointer: "/symbol", Msg: "is required"}}},
		"all problems": {
			in: trades,
			v:  `[{},{"symbol":"","simbol":"B","Q":1,"quantity":-1,"id":"x","a/b":0},7,{"symbol":"A"}]`,
			errs: ValueErrors{
				{Pointer: "", Msg: "has 4 items, 3 are allowed"},
				{Pointer: "/0/symbol", Msg: "is required"},
				{Pointer: "/1/Q", Msg: `the object has no such property`},
				{Pointer: "/1/simbol", Msg: `the object has no such property; did you mean "symbol"?`},
				{Pointer: "/1/a~1b", Msg: "true or false is expected, not a number"},
				{Pointer: "/1/id", Msg: `"x" is not a UUID`},
				{Pointer: "/1/quantity", Msg: "-1 is below the minimum of 0"},
				{Pointer: "/1/symbol", Msg: "has 0 characters, at least 1 are needed"},
				{Pointer: "/2", Msg: "an object is expected, not a number"},
			},
		},
		"too deep": {
			in: free, v: "[1,[" + deep + "]]",
			errs: ValueErrors{{Pointer: "/1" + strings.Repeat("/0", MaxNesting-1), Msg: "objects and arrays are nested deeper than 32"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tc.in.Value(decode(t, tc.v))
			if tc.errs != nil {
				errs, ok := errors.AsType[ValueErrors](err)
				require.True(t, ok)
				require.Equal(t, tc.errs, errs)
				require.Nil(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, decode(t, tc.want), got)
		})
	}
}

func TestInputValueOfGo(t *testing.T) {
	t.Parallel()
	given := map[string]any{"f": 0.5, "list": []any{3, math.MaxFloat64}}
	got, err := Input{Type: Object}.Value(given)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"f": json.Number("0.5"), "list": []any{json.Number("3"), json.Number("1.7976931348623157e+308")},
	}, got)
	require.Equal(t, map[string]any{"f": 0.5, "list": []any{3, math.MaxFloat64}}, given, "the caller's value is left alone")

	_, err = Input{Type: Object}.Value(map[string]any{
		"b": []string{"a"}, "a": math.NaN(), "c": json.Number("+1"), "d": []any{struct{}{}},
	})
	require.EqualError(t, err, `/a: a JSON value is expected, not NaN; /b: a JSON value is expected, not []string; `+
		`/c: "+1" is not a number; /d/0: a JSON value is expected, not struct {}`)
}

func TestInputValueSaysSoMuchAndNoMore(t *testing.T) {
	t.Parallel()
	wrong := make([]any, 1000)
	_, err := Input{Type: Array, Items: &Input{Type: String}}.Value(wrong)
	errs, ok := errors.AsType[ValueErrors](err)
	require.True(t, ok)
	require.Len(t, errs, MaxValueErrors)
	require.Equal(t, "/49", errs[49].Pointer)

	object := make(map[string]any)
	for i := range 1000 {
		object[fmt.Sprintf("daly%04d", i)] = 1
	}
	in := Input{Type: Object, Properties: map[string]Input{"daily0000": {Type: String}}}
	_, err = in.Value(object)
	errs, ok = errors.AsType[ValueErrors](err)
	require.True(t, ok)
	require.Len(t, errs, MaxValueErrors)
	for i, e := range errs {
		require.Equal(t, fmt.Sprintf("/daly%04d", i), e.Pointer)
		require.Equal(t, i < maxValueHints, strings.Contains(e.Msg, "did you mean"), e.Msg)
	}

	// A pointer doesn't repeat a long key for each problem under it, a message no long value.
	_, err = Input{Type: Object}.Value(map[string]any{"a": map[string]any{strings.Repeat("k", 5000): struct{}{}}})
	require.EqualError(t, err, "/a: a JSON value is expected, not struct {}")
	_, err = Input{Type: Enum, Values: []string{strings.Repeat("v", 5000)}}.Value(strings.Repeat("w", 5000))
	require.Less(t, len(err.Error()), 200)
}

func TestInputValueBoundsWhatDefaultsAdd(t *testing.T) {
	t.Parallel()
	in := Input{Type: Array, Items: &Input{Type: Object, Properties: map[string]Input{
		"p": {Type: String, Default: strings.Repeat("d", 1000)},
	}}}
	items := make([]any, MaxSize/1004)
	for i := range items {
		items[i] = map[string]any{}
	}
	_, err := in.Value(items)
	require.NoError(t, err)
	_, err = in.Value(append(items, map[string]any{}))
	require.EqualError(t, err, "/1044/p: must be given: there are more defaults than the value may take")
}

func TestIsNumber(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"0", "-0", "10", "0.10", "1e5", "1E+05", "-1.5e-7", "0e0"} {
		require.True(t, isNumber(s), s)
	}
	for _, s := range []string{"", "-", "+1", "01", "-01", ".5", "5.", "1e", "1e+", "1_0", "0x1", "inf", "NaN", "1 ", " 1", "1.e5", "--1"} {
		require.False(t, isNumber(s), s)
	}
}
