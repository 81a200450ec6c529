package patterns

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// randomValue makes JSON values that are often equal, or nearly so.
func randomValue(rng *rand.Rand, depth int) any {
	switch n := rng.IntN(8); {
	case n == 0:
		return nil
	case n == 1:
		return rng.IntN(2) == 0
	case n == 2:
		return []any{"", "1", "s1:", "null", "h"}[rng.IntN(5)]
	case n < 5 || depth == 0:
		return json.Number([]string{"0", "1", "1.0", "12"}[rng.IntN(4)])
	case n == 5:
		object := make(map[string]any)
		for range rng.IntN(3) {
			object[[]string{"a", "b", ""}[rng.IntN(3)]] = randomValue(rng, depth-1)
		}
		return object
	}
	list := make([]any, rng.IntN(3))
	for i := range list {
		list[i] = randomValue(rng, depth-1)
	}
	return list
}

// Two values have the same form in keys when they are the same JSON, and only then.
func TestKeysTellValuesApart(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	byJSON, byKey := make(map[string]string), make(map[string]string)
	for range 50_000 {
		v := randomValue(rng, 3)
		text, err := json.Marshal(v)
		require.NoError(t, err)
		written := string(appendValue(nil, v))
		if before, ok := byJSON[string(text)]; ok {
			require.Equal(t, before, written, "%s", text)
		}
		if before, ok := byKey[written]; ok {
			require.Equal(t, before, string(text))
		}
		byJSON[string(text)], byKey[written] = written, string(text)
	}
	require.Greater(t, len(byJSON), 1000)
}

// How an argument comes about makes no difference: by a template, as an object around one, or written
// out.
func TestEqualArgumentsHaveEqualKeys(t *testing.T) {
	t.Parallel()
	o, b := setup(t, map[string]capabilityFunc{
		"a.rows": value(map[string]any{"rows": []any{map[string]any{"s": "SPI", "n": 1}}, "s": "SPI"}), "a.use": value(1),
	}, patternOf(`
		{"capability": "a.rows", "as": "x"},
		{"capability": "a.use", "as": "a", "args": {"rows": "{{x.rows}}"}},
		{"capability": "a.use", "as": "b", "args": {"rows": "{{state.x.rows}}"}},
		{"capability": "a.use", "as": "c", "args": {"rows": ["{{x.rows[0]}}"]}},
		{"capability": "a.use", "as": "d", "args": {"rows": [{"s": "{{x.s}}", "n": "{{x.rows[0].n}}"}]}},
		{"capability": "a.use", "as": "e", "args": {"rows": [{"s": "SPI", "n": 1}]}},
		{"capability": "a.use", "as": "f", "for_each": "{{x.rows}}", "args": {"rows": ["{{item}}"]}},
		{"capability": "a.use", "as": "g", "args": {"rows": [{"s": "SPI", "n": "1"}]}}`, `"outputs": ["a", "b", "c", "d", "e", "f", "g"]`))
	execute(t, o, nil)
	require.Equal(t, 2, b.runner.count("a.use"), "g alone is another call: its n is text")
}
