package schema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
)

func TestMeasure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text    string
		members int
		code    fault.Code
	}{
		"a number":               {`-1.5e+1000`, 0, ""},
		"an object":              {`{"a": {"b": [1, {"c": null}]}, "d": "x"}`, 4, ""},
		"signs in texts":         {`{"{[:,\"\\": "a\"{[:,1e9999"}`, 1, ""},
		"as deep as may be":      {strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), 0, ""},
		"as many as may be":      {"[0" + strings.Repeat(",0", maxValues-2) + "]", 0, ""},
		"too deep":               {strings.Repeat("[", maxDepth+1), 0, fault.Malformed},
		"objects too deep":       {strings.Repeat(`{"a":`, maxDepth+1), 0, fault.Malformed},
		"too many numbers":       {"[0" + strings.Repeat(",0", maxValues) + "]", 0, fault.TooLarge},
		"too many empty lists":   {"[[]" + strings.Repeat(",[]", maxValues) + "]", 0, fault.TooLarge},
		"too many members":       {`{"a":0` + strings.Repeat(`,"a":0`, maxValues) + "}", 0, fault.TooLarge},
		"an exponent":            {`[1e1001]`, 0, fault.Malformed},
		"a small exponent":       {`[1E-1000000]`, 0, fault.Malformed},
		"an exponent, overflown": {`1e` + strings.Repeat("9", 500), 0, fault.Malformed},
		"digits":                 {strings.Repeat("9", maxNumber+1), 0, fault.Malformed},
		"digits in a text":       {`"` + strings.Repeat("9", maxNumber+1) + `"`, 0, ""},
		"too deep, too many":     {strings.Repeat("[", maxDepth+1) + "1e9999" + strings.Repeat(",0", maxValues), 0, fault.TooLarge},
		"no JSON":                {`}}]"\`, 0, ""},
		"nothing":                {``, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, err := Measure("the body", []byte(c.text))
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			if err == nil {
				require.Equal(t, c.members, members)
			}
		})
	}
}

// A bomb is refused without anything being made of it but the refusal, however large it is.
func TestMeasureMakesNothing(t *testing.T) {
	for name, bomb := range map[string]string{
		"deep":    strings.Repeat(`[`, 1<<20),
		"wide":    "[" + strings.Repeat("{},", 1<<20) + "{}]",
		"numbers": "[" + strings.Repeat("1e1000000,", 100_000) + "1]",
	} {
		text := []byte(bomb)
		allocations := testing.AllocsPerRun(10, func() {
			_, err := Measure("the body", text)
			require.Error(t, err)
		})
		require.Less(t, allocations, 20.0, name)
	}
}

// What is measured of valid JSON is what decoding finds, so that fewer members are members that stood twice.
func FuzzMeasure(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":[1,{"a":2}]}}`, `{"a":1,"a":{"b":2}}`, `[1e5,"\"{:",{}]`, `{"\u0061":1,"a":2}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		members, err := Measure("the body", []byte(text))
		var value any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err != nil || !json.Valid([]byte(text)) || d.Decode(&value) != nil {
			return
		}
		require.GreaterOrEqual(t, members, Members(value))
		require.Equal(t, members > Members(value), twice(text), "%q: %d members", text, members)
	})
}

// twice tells by another way whether an object has a member twice.
func twice(text string) bool {
	type frame struct {
		names map[string]bool
		key   bool // the next token is a name
	}
	var stack []*frame
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		var top *frame
		if len(stack) > 0 {
			top = stack[len(stack)-1]
		}
		if name, ok := token.(string); ok && top != nil && top.names != nil && top.key {
			if top.names[name] {
				return true
			}
			top.names[name], top.key = true, false
			continue
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, &frame{names: map[string]bool{}, key: true})
			continue
		case json.Delim('['):
			stack = append(stack, &frame{})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) > 0 {
			stack[len(stack)-1].key = true
		}
	}
}

func TestRepeated(t *testing.T) {
	t.Parallel()
	require.Equal(t, "/a", Repeated([]byte(`{"a":1,"\u0061":2}`)))
	require.Equal(t, "/a/1/b~1c", Repeated([]byte(`{"a":[{"b":1},{"b/c":1e999,"x":{},"b/c":2}]}`)))
	require.Empty(t, Repeated([]byte(`{"a":{"a":1},"b":[{"a":1},{"a":1}]}`)))
	require.Less(t, len(Repeated([]byte(`{"`+strings.Repeat("é", 10_000)+`":1,"`+strings.Repeat("é", 10_000)+`":1}`))), 300)
}
