package pattern

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMarshal(t *testing.T) {
	t.Parallel()
	for name, data := range accepted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, err := Parse([]byte(data))
			require.NoError(t, err)
			requireRoundTrip(t, first)
		})
	}
}

// requireRoundTrip checks that a definition is the same once written and read, by us and by a
// client, and is written the same then.
func requireRoundTrip(t *testing.T, first *Definition) {
	t.Helper()
	written, err := json.Marshal(first)
	require.NoError(t, err)
	if len(written) > MaxSize {
		return // escapes or defaults have made it longer than a file may be
	}
	second, err := Parse(written)
	require.NoError(t, err, "written as %s", written)
	var read Definition
	require.NoError(t, json.Unmarshal(written, &read), "written as %s", written)

	same := *first
	same.root, second.root = nil, nil
	require.Equal(t, &same, second)
	require.Equal(t, same, read)
	again, err := json.Marshal(second)
	require.NoError(t, err)
	require.Equal(t, string(written), string(again))
}

func TestMarshalForms(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]any{
		`["b","a"]`:                      Outputs{{Name: "b"}, {Name: "a"}},
		`{"b":1,"a":{"x":"{{a}}"}}`:      Outputs{{Name: "b", Value: json.Number("1")}, {Name: "a", Value: map[string]any{"x": "{{a}}"}}},
		`{"b":false}`:                    Outputs{{Name: "b", Value: false}},
		`"fail"`:                         OnError{},
		`"continue"`:                     OnError{Mode: Continue},
		`{"fallback":null}`:              OnError{Mode: Fallback},
		`{"fallback":{"a":[]}}`:          OnError{Mode: Fallback, Fallback: map[string]any{"a": []any{}}},
		`"1.5s"`:                         Duration(1500 * time.Millisecond),
		`{"capability":"c","as":"x"}`:    Step{Capability: "c", As: "x", OnError: OnError{Mode: Fail}},
		`{"type":"array"}`:               Input{Type: Array},
		`{"type":"string","default":""}`: Input{Type: String, Default: ""},
		`{"capability":"c","as":"x","for_each":[],"on_error":{"fallback":false},"cache":false}`: Step{
			Capability: "c", As: "x", ForEach: []any{}, OnError: OnError{Mode: Fallback, Fallback: false}, Cache: new(false),
		},
		`{"type":"boolean","default":false,"min_length":0}`: Input{Type: Boolean, Default: false, MinLength: new(0)},
	} {
		written, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, want, string(written))
	}
	require.Equal(t, []string{"b", "a"}, Outputs{{Name: "b"}, {Name: "a"}}.Names())
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	var d Definition
	require.NoError(t, json.Unmarshal([]byte(`{"id":"p","new_key":1,"steps":[{"args":{"n":9007199254740993},"timeout":"2m","on_error":"fail"}],"outputs":{"z":1.0,"a":null}}`), &d))
	require.Equal(t, Definition{
		ID:      "p",
		Steps:   []Step{{Args: map[string]any{"n": json.Number("9007199254740993")}, Timeout: Duration(2 * time.Minute)}},
		Outputs: Outputs{{Name: "z", Value: json.Number("1.0")}, {Name: "a"}},
	}, d)

	for _, wrong := range []string{
		`{"outputs":"x"}`, `{"outputs":[1]}`, `{"outputs":1}`, `{"steps":[{"on_error":"never"}]}`, `{"steps":[{"on_error":1}]}`,
		`{"steps":[{"timeout":"5"}]}`, `{"steps":[{"timeout":5}]}`, `[]`,
	} {
		require.Error(t, json.Unmarshal([]byte(wrong), new(Definition)), wrong)
	}
}
