package agenttest

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Capability returns the one of a name.
func Capability(t testing.TB, of []agent.Capability, name string) agent.Capability {
	t.Helper()
	i := slices.IndexFunc(of, func(k agent.Capability) bool { return k.Name == name })
	require.GreaterOrEqual(t, i, 0, "there is no capability %s", name)
	return of[i]
}

// Given returns arguments as the runtime hands them to a capability: what their JSON reads back as,
// without those that are null, which count as left out.
func Given(t testing.TB, args any) map[string]any {
	t.Helper()
	value := JSON(t, args)
	if value == nil {
		return map[string]any{}
	}
	given, ok := value.(map[string]any)
	require.True(t, ok, "arguments are an object")
	maps.DeleteFunc(given, func(_ string, v any) bool { return v == nil })
	return given
}

// Arguments returns the names of the arguments that a capability declares, sorted.
func Arguments(t testing.TB, k agent.Capability) []string {
	t.Helper()
	var declared struct{ Properties map[string]any }
	require.NoError(t, json.Unmarshal(k.Args, &declared))
	return slices.Sorted(maps.Keys(declared.Properties))
}

// Violations returns what a capability's schema says of arguments.
func Violations(t testing.TB, of []agent.Capability, capability string, args any) []fault.Field {
	t.Helper()
	return violations(t, Capability(t, of, capability).Args, "/args", Given(t, args))
}

var compiled sync.Map // schemas by their text

func violations(t testing.TB, declared json.RawMessage, at string, value any) []fault.Field {
	t.Helper()
	s, ok := compiled.Load(string(declared))
	if !ok {
		var err error
		s, err = schema.Compile(declared)
		require.NoError(t, err)
		compiled.Store(string(declared), s)
	}
	return schema.Violations(s.(*schema.Schema), at, value)
}

// Call asks a capability as the runtime does: arguments that don't fit what it declares are refused with
// their pointers. They may be anything with an object for its JSON, and must not be changed. An answer
// must fit what is declared.
func Call(t testing.TB, of []agent.Capability, c agent.Context, capability string, args any) (agent.Result, error) {
	t.Helper()
	if v := Violations(t, of, capability, args); len(v) > 0 {
		return agent.Result{}, &fault.Error{Code: fault.Invalid, Detail: v[0].Pointer + ": " + v[0].Detail, Fields: v}
	}
	k, given := Capability(t, of, capability), Given(t, args)
	result, err := k.Run(t.Context(), agent.Request{Capability: capability, Args: given, Context: c})
	require.Equal(t, Given(t, args), given, "arguments of %s were changed", capability)
	if err != nil {
		return agent.Result{}, err
	}
	require.Empty(t, violations(t, k.Result, "", JSON(t, result.Value)), "result of %s: %s", capability, Bytes(t, result.Value))
	return result, nil
}

// Ask is [Call] for an answer that must come, as its JSON. A pure capability is asked twice, and must
// answer with the same bytes.
func Ask(t testing.TB, of []agent.Capability, c agent.Context, capability string, args any) (map[string]any, agent.Result) {
	t.Helper()
	result, err := Call(t, of, c, capability, args)
	require.NoError(t, err)
	if Capability(t, of, capability).Purity == agent.Pure {
		again, err := Call(t, of, c, capability, args)
		require.NoError(t, err)
		require.Equal(t, string(Bytes(t, result)), string(Bytes(t, again)), "%s answers differently", capability)
	}
	return Answer(t, result), result
}

// Answer returns what a result's JSON reads back as.
func Answer(t testing.TB, r agent.Result) map[string]any {
	t.Helper()
	answer, ok := JSON(t, r.Value).(map[string]any)
	require.True(t, ok, "an answer is an object")
	return answer
}

// Bytes returns the JSON of v.
func Bytes(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return raw
}

// JSON returns what the JSON of v reads back as, numbers as [json.Number].
func JSON(t testing.TB, v any) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(Bytes(t, v)))
	dec.UseNumber()
	var value any
	require.NoError(t, dec.Decode(&value))
	return value
}

// Float reads a JSON number or decimal string.
func Float(t testing.TB, v any) float64 {
	t.Helper()
	var s string
	switch v := v.(type) {
	case float64:
		return v
	case json.Number:
		s = v.String()
	case string:
		s = v
	default:
		require.Failf(t, "not a number", "%v (%T)", v, v)
	}
	f, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return f
}

// Rows returns a list of objects.
func Rows(t testing.TB, v any) []map[string]any {
	t.Helper()
	list, ok := v.([]any)
	require.True(t, ok, "%v is no list", v)
	rows := make([]map[string]any, len(list))
	for i, x := range list {
		rows[i], ok = x.(map[string]any)
		require.True(t, ok)
	}
	return rows
}

// Lacking lists an answer's insufficient data as "field: missing".
func Lacking(t testing.TB, answer map[string]any) []string {
	t.Helper()
	all := []string{}
	for _, i := range Rows(t, answer["insufficient_data"]) {
		all = append(all, i["field"].(string)+": "+i["missing"].(string))
	}
	return all
}
