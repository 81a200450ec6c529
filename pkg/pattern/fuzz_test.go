package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// accepted are definitions with each feature in some form.
var accepted = map[string]string{
	"overview":         overview,
	"everything":       everything,
	"minimal":          minimal,
	"display escaped":  `{"id":"p","name":"P","inputs":{},"steps":[{"capability":"c","args":{},"as":"x"}],"outputs":["x"],"display":{"a":"<\u2028>"}}`,
	"numbers":          `{"id":"p","name":"P","inputs":{"i":{"type":"number","default":1e2,"minimum":-0,"maximum":1E+2}},"steps":[{"capability":"c","as":"x"}],"outputs":["x"]}`,
	"required":         `{"id":"p","name":"P","inputs":{"i":{"type":"date","required":true,"default":null},"j":{"type":"uuid","required":false}},"steps":[{"capability":"c","as":"x"}],"outputs":["x"]}`,
	"date and UUID":    `{"id":"p","name":"P","inputs":{"i":{"type":"date","default":"2024-02-29"},"j":{"type":"uuid","default":"0B36FA50-66F0-4BF9-A7E2-43E2BE4F5A7C"}},"steps":[{"capability":"c","as":"x"}],"outputs":["x"]}`,
	"defaults filled":  `{"id":"p","name":"P","inputs":{"i":{"type":"object","properties":{"é/~":{"type":"array","items":{"type":"object","properties":{"n":{"type":"integer","default":2.0}}},"default":[{},{"n":null}]}},"default":{}}},"steps":[{"capability":"c","as":"x"}],"outputs":["x"]}`,
	"null in defaults": `{"id":"p","name":"P","inputs":{"i":{"type":"object","default":{"a":null,"b":[null,1e1000]}}},"steps":[{"capability":"c","as":"x"}],"outputs":["x"]}`,
	"durations":        `{"id":"p","name":"P","steps":[{"capability":"c","as":"x","timeout":"1ms"},{"capability":"c","as":"y","timeout":"+1.m0h.5s"},{"capability":"c","as":"z","timeout":"1000µs1μs5us7ns"}],"outputs":["x"]}`,
	"on_error":         `{"id":"p","name":"P","steps":[{"capability":"c","as":"x","on_error":"fail"},{"capability":"c","as":"y","on_error":"continue"},{"capability":"c","as":"z","on_error":{"fallback":"{{x}}"}}],"outputs":["x"]}`,
	"for_each":         `{"id":"p","name":"P","steps":[{"capability":"c","as":"x","for_each":[]},{"capability":"c","as":"y","for_each":"x","parallel":1.0}],"outputs":["y"]}`,
	"cache":            `{"id":"p","name":"P","steps":[{"capability":"c","as":"x","cache":true},{"capability":"c","as":"y","cache":false}],"outputs":["y"]}`,
	"mapping":          `{"id":"p","name":"P","steps":[{"capability":"c","as":"x"}],"outputs":{"b":{"<":null},"a":[],"inputs":0},"output_schemas":{"a":{},"b":false}}`,
	"charts":           `{"id":"p","name":"P","steps":[{"capability":"c","as":"x"}],"outputs":["x"],"charts":["{{x}}",{"mark":{"type":"<b>"}},""],"output_schemas":{}}`,
}

// FuzzParse checks that what Parse accepts is written as the same definition, fits the published
// schema, and has places for its values; and that what it says about the rest has a place.
func FuzzParse(f *testing.F) {
	for _, data := range accepted {
		f.Add([]byte(data))
	}
	for _, tc := range refused {
		if data := strings.Replace(minimal, tc.old, tc.new, 1); len(data) < 1000 {
			f.Add([]byte(data))
		}
	}
	file, err := os.ReadFile("../../configs/patterns/portfolio_overview.json")
	require.NoError(f, err)
	f.Add(file)

	f.Fuzz(func(t *testing.T, data []byte) {
		def, err := Parse(data)
		if err != nil {
			all, ok := errors.AsType[Errors](err)
			if !ok || len(all) == 0 {
				t.Fatalf("an error without problems: %v", err)
			}
			lines := bytes.Split(data, []byte("\n"))
			for i, e := range all {
				if e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Column > utf8.RuneCount(lines[e.Line-1])+1 {
					t.Fatalf("%v is outside the file", e)
				}
				if i > 0 && (e.Line < all[i-1].Line || e.Line == all[i-1].Line && e.Column < all[i-1].Column) {
					t.Fatalf("%v comes after %v", e, all[i-1])
				}
				if e.Path != "" && e.Path[0] != '/' {
					t.Fatalf("%q is no pointer", e.Path)
				}
			}
			return
		}
		requireRoundTrip(t, def)
		ok, said := fits(t, data)
		require.True(t, ok, said)
		for i := range def.Steps {
			pointer := Pointer("steps", strconv.Itoa(i), "capability")
			require.NotEqual(t, def.Position(Pointer("steps", strconv.Itoa(i))), def.Position(pointer))
		}
	})
}

// FuzzValue checks that a canonical value is a fixed point, and is what its declaration asks for.
func FuzzValue(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"type":"string","min_length":1,"max_length":3}`, `"äöü"`},
		{`{"type":"integer","minimum":-5,"maximum":9007199254740993}`, `2.50e1`},
		{`{"type":"number","minimum":0}`, `0.10`},
		{`{"type":"boolean"}`, `false`},
		{`{"type":"uuid"}`, `"0B36FA50-66F0-4BF9-A7E2-43E2BE4F5A7C"`},
		{`{"type":"date"}`, `"2026-02-28"`},
		{`{"type":"enum","values":["a","b"]}`, `"b"`},
		{`{"type":"array"}`, `[null,1e999999,{"a":[]}]`},
		{`{"type":"array","items":{"type":"integer"},"min_items":1,"max_items":2}`, `[1,2.0]`},
		{`{"type":"object"}`, `{"a":null}`},
		{`{"type":"object","properties":{"a":{"type":"integer","default":1.0},"b/":{"type":"date","required":true},"c":{"type":"array","default":[1]}}}`, `{"b/":"2026-01-01","c":null}`},
		{`{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"boolean","default":false}},"default":{}}}}`, `{}`},
		{`{"type":"array","items":{"type":"object","properties":{"a":{"type":"string"}}}}`, `[{"a":null},{},{"b":1},[],null]`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, declaration, value string) {
		def, err := Parse([]byte(strings.Replace(minimal, minimalInputs, `{"i":`+declaration+`}`, 1)))
		if err != nil {
			return
		}
		in := def.Inputs["i"]
		var v any
		if numberDecoder([]byte(value)).Decode(&v) != nil {
			return
		}
		if in.Default != nil {
			requireCanonical(t, in, in.Default)
		}

		first, err := in.Value(v)
		if err != nil {
			errs, ok := errors.AsType[ValueErrors](err)
			if !ok || len(errs) == 0 || len(errs) > MaxValueErrors {
				t.Fatalf("%d problems: %v", len(errs), err)
			}
			_, again := in.Value(v)
			require.Equal(t, err, again, "the same problems each time")
			for _, e := range errs {
				require.NotEmpty(t, e.Msg)
				require.True(t, e.Pointer == "" || e.Pointer[0] == '/', e.Pointer)
			}
			return
		}
		requireCanonical(t, in, first)
	})
}

// requireCanonical checks that v is a canonical value of an input.
func requireCanonical(t *testing.T, in Input, v any) {
	t.Helper()
	again, err := in.Value(v)
	require.NoError(t, err)
	require.Equal(t, v, again)
	require.True(t, conforms(in, v), "%#v is no %s", v, in.Type)

	written, err := json.Marshal(v)
	require.NoError(t, err)
	require.Equal(t, v, decode(t, string(written)))
}

// conforms says in its own words what a declaration asks of a canonical value.
func conforms(in Input, v any) bool {
	within := func(n int, least, most *int) bool {
		return (least == nil || *least <= n) && (most == nil || n <= *most)
	}
	switch v := v.(type) {
	case string:
		switch in.Type {
		case String:
			return within(len([]rune(v)), in.MinLength, in.MaxLength)
		case Enum:
			return slices.Contains(in.Values, v)
		case UUID:
			return len(v) == 36 && v == strings.ToLower(v) && strings.Count(v, "-") == 4
		case Date:
			day, err := time.Parse(time.DateOnly, v)
			return err == nil && day.Format(time.DateOnly) == v
		}
	case bool:
		return in.Type == Boolean
	case json.Number:
		f, err := v.Float64()
		if in.Type == Integer {
			i, err := strconv.ParseInt(string(v), 10, 64)
			return err == nil && strconv.FormatInt(i, 10) == string(v)
		}
		low, _ := in.Minimum.Float64()
		high, _ := in.Maximum.Float64()
		return in.Type == Number && err == nil && (in.Minimum == "" || low <= f) && (in.Maximum == "" || f <= high)
	case []any:
		if in.Type != Array || !within(len(v), in.MinItems, in.MaxItems) {
			return false
		}
		return in.Items == nil || !slices.ContainsFunc(v, func(item any) bool { return !conforms(*in.Items, item) })
	case map[string]any:
		if in.Type != Object {
			return false
		}
		if in.Properties == nil {
			return true
		}
		for name := range v {
			if _, ok := in.Properties[name]; !ok {
				return false
			}
		}
		for name, property := range in.Properties {
			value, given := v[name]
			if value == nil {
				if property.Required || property.Default != nil {
					return false
				}
				continue
			}
			if !given || !conforms(property, value) {
				return false
			}
		}
		return true
	}
	return false
}
