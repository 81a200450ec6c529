package patterns

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
)

// Whoever may validate must not be able to keep a processor busy with a few digits, nor end the process.
func TestDefinitionsWithNumbersThatCanNotBeWorkedWith(t *testing.T) {
	t.Parallel()
	r := &runner{
		funcs:    map[string]capabilityFunc{"a.sum": value(1)},
		declared: map[string]agent.Capability{"a.sum": {Args: json.RawMessage(`{"properties": {"of": {"type": "array", "items": {"type": "number", "minimum": 0}}}}`)}},
	}
	o, dir := reloadable(t, r, map[string]string{"a.json": one("a", "a.sum")})
	const why = "the number has more than 1000 characters, or an exponent beyond 1000"
	for name, tc := range map[string]struct{ args, schemas, at string }{
		"expensive":           {`"of": [` + strings.Repeat("1e1000000,", 50_000) + `1]`, ``, "/steps/0/args/of/0"},
		"a nil pointer":       {`"of": [1e1000001]`, ``, "/steps/0/args/of/0"},
		"within a schema":     {``, `"x": {"enum": [1e1000000]}`, "/output_schemas/x/enum/0"},
		"a schema's own size": {``, `"x": {"minimum": 1e1000001}`, "/output_schemas/x/minimum"},
	} {
		text := `{"id": "b", "name": "P", "steps": [{"capability": "a.sum", "as": "x", "args": {` + tc.args + `}}], "outputs": ["x"], "output_schemas": {` + tc.schemas + `}}`
		problems := o.Validate([]byte(text))
		require.NotEmpty(t, problems, name)
		require.Equal(t, tc.at, problems[0].Pointer, name)
		require.Equal(t, tc.at+": "+why, problems[0].Msg, name)
		require.Positive(t, problems[0].Column, name)

		write(t, dir, "b.json", text)
		require.ErrorContains(t, o.Reload(t.Context()), "b.json can't be served", name)
		require.Equal(t, []string{"a"}, ids(o), name)
	}
}
