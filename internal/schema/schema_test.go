package schema_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/schema"
)

func decode(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v))
	return v
}

const beyond = "must be a number of at most 1000 characters, with an exponent of at most 1000"

// The validator works with every digit that a number stands for: 25 ms where the exponent has six, and an end
// by a nil pointer where it has seven.
func TestNumbersThatCanNotBeWorkedWith(t *testing.T) {
	t.Parallel()
	bounded, err := schema.Compile(json.RawMessage(`{"type": ["number", "array", "object"], "minimum": 1e-1000, "items": {"type": "integer"}}`))
	require.NoError(t, err)
	for name, tc := range map[string]struct{ value, at string }{
		"within bounds":       {`1e1000`, "-"},
		"digits within":       {`1` + strings.Repeat("0", 999), "-"},
		"an exponent":         {`1e1001`, ""},
		"a nil pointer":       {`1e1000001`, ""},
		"a negative one":      {`-1E-1000001`, ""},
		"more than fits":      {`1e+99999999999999999999`, ""},
		"digits":              {`1` + strings.Repeat("0", 1000), ""},
		"in an array":         {`[1, [2], 1e1000001]`, "/2"},
		"in an object":        {`{"b/": [0, {"a": 1e1000001}], "c": 1e1000001}`, "/b~1/1/a"},
		"where nobody looks":  {`{"free": 1e1000000}`, "/free"},
		"a zero is no better": {`0e1000001`, ""},
	} {
		got := schema.Violations(bounded, "/args", decode(t, tc.value))
		if tc.at == "-" {
			require.Empty(t, got, name)
			continue
		}
		require.Len(t, got, 1, name)
		require.Equal(t, "/args"+tc.at, got[0].Pointer, name)
		require.Equal(t, beyond, got[0].Detail, name)
	}
}

func TestSchemasWithSuchNumbersAreRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		`{"minimum": 1e1000001}`, `{"maxLength": 1e1000000}`, `{"enum": [1, 1e1000000]}`,
		`{"properties": {"a": {"const": {"b": 1e-1000001}}}}`, `{"x-anything": 1e1000001}`,
	} {
		_, err := schema.Compile(json.RawMessage(raw))
		require.ErrorContains(t, err, beyond, raw)
	}
	_, err := schema.Compile(json.RawMessage(`{"properties": {"a/": {"minimum": 1e1001}}}`))
	require.EqualError(t, err, "the schema can't be used: /properties/a~1/minimum "+beyond)
}

// A list of them is refused for the first, whatever the others cost.
func TestAListOfSuchNumbersCostsNothing(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile(json.RawMessage(`{"type": "array", "items": {"type": "integer", "maximum": 5}}`))
	require.NoError(t, err)
	list := decode(t, "["+strings.Repeat("1e1000000,", 100_000)+"1]") // 40 minutes
	require.Len(t, schema.Violations(s, "", list), 1)
}

// FuzzViolations holds any value against any schema: there is an answer, and it names places in the value.
func FuzzViolations(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"type": "integer", "minimum": 1}`, `1e1000001`},
		{`{"type": "array", "items": {"multipleOf": 0.1}, "uniqueItems": true}`, `[1, 1.0, 1e-1000]`},
		{`{"type": "object", "required": ["a"], "properties": {"a": {"enum": [1, "x", null]}}}`, `{"b": 1e1000}`},
		{`{"anyOf": [{"type": "string", "format": "date"}, {"exclusiveMaximum": 1e3}]}`, `1E+3`},
		{`{"$ref": "#/$defs/a", "$defs": {"a": {"const": -0.0}}}`, `0`},
		{`{"maxLength": 1e1000000}`, `"x"`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, rules, value string) {
		s, err := schema.Compile(json.RawMessage(rules))
		if err != nil {
			return
		}
		d := json.NewDecoder(strings.NewReader(value))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			return
		}
		for _, wrong := range schema.Violations(s, "/at", v) {
			require.True(t, strings.HasPrefix(wrong.Pointer, "/at"), wrong.Pointer)
			require.NotEmpty(t, wrong.Detail)
		}
	})
}
