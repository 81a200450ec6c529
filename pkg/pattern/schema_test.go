package pattern

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/schema"
)

// published compiles Schema once.
var published = sync.OnceValues(func() (*schema.Schema, error) { return schema.Compile(Schema) })

// fits reports whether the published schema accepts a file, and what it says if it does not.
func fits(t *testing.T, data []byte) (bool, string) {
	t.Helper()
	s, err := published()
	require.NoError(t, err)
	var v any
	require.NoError(t, numberDecoder(data).Decode(&v))
	wrong := schema.Violations(s, "", v)
	said := make([]string, len(wrong))
	for i, w := range wrong {
		said[i] = w.Pointer + ": " + w.Detail
	}
	return len(wrong) == 0, strings.Join(said, "; ")
}

// beyond are the cases of refused that a JSON Schema can't refuse, and why.
var beyond = map[string]string{
	"trailing data":               "it sees the first value only",
	"trailing rubbish":            "it sees the first value only",
	"not UTF-8":                   "it sees values, not bytes",
	"duplicate key":               "it sees the last of two members",
	"duplicate arg":               "it sees the last of two members",
	"too deep":                    "it does not count how deep values are",
	"too big":                     "it does not see the file's size",
	"as repeated":                 "uniqueness by one of the keys",
	"missing output":              "a reference",
	"schema of what":              "a reference",
	"bounds crossed":              "two values compared",
	"lengths crossed":             "two values compared",
	"min_items crossed":           "two values compared",
	"default out of bound":        "two values compared",
	"default too long":            "two values compared",
	"default too short":           "two values compared",
	"enum's default":              "two values compared",
	"array's default's item":      "a value checked against another",
	"array's default too short":   "two values compared",
	"object's default incomplete": "a value checked against another",
	"bound out of range":          "the ranges of numbers",
	"timeout too short":           "a duration's size",
	"timeout too long":            "a duration's size",
}

func TestSchemaAgreesWithParse(t *testing.T) {
	t.Parallel()
	for name, tc := range refused {
		t.Run("refused/"+name, func(t *testing.T) {
			t.Parallel()
			data := []byte(strings.Replace(minimal, tc.old, tc.new, 1))
			if v := any(nil); numberDecoder(data).Decode(&v) != nil {
				return // there is nothing that a schema could look at
			}
			ok, said := fits(t, data)
			require.Equal(t, beyond[name] != "", ok, said)
		})
	}
	for name := range beyond {
		require.Contains(t, refused, name)
	}

	for name, data := range accepted {
		t.Run("accepted/"+name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]byte(data))
			require.NoError(t, err)
			ok, said := fits(t, []byte(data))
			require.True(t, ok, said)
		})
	}
}

func TestSchemaFitsThePatternsThatWeShip(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../configs/patterns/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		_, err = Parse(data)
		require.NoError(t, err, file)
		ok, said := fits(t, data)
		require.True(t, ok, "%s: %s", file, said)
	}
}

// What editors show: every key has a title and a description of its own, and examples fit.
func TestSchemaExplainsEveryKey(t *testing.T) {
	t.Parallel()
	var root map[string]any
	require.NoError(t, json.Unmarshal(Schema, &root))
	require.Equal(t, "https://dawsos.dev/schemas/pattern.json", root["$id"])
	require.Equal(t, "https://json-schema.org/draft/2020-12/schema", root["$schema"])

	defs := root["$defs"].(map[string]any)
	for name, keys := range map[string]any{
		"pattern":     root["properties"],
		"step":        defs["step"].(map[string]any)["properties"],
		"input":       defs["input"].(map[string]any)["properties"],
		"declaration": defs["declaration"].(map[string]any)["properties"],
	} {
		require.NotEmpty(t, keys, name)
		for key, v := range keys.(map[string]any) {
			described := v.(map[string]any)
			if ref, ok := described["$ref"].(string); ok && described["title"] == nil {
				described = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
			}
			require.NotEmpty(t, described["title"], "%s.%s", name, key)
			require.NotEmpty(t, described["description"], "%s.%s", name, key)
			examples, _ := described["examples"].([]any)
			if name == "pattern" && key != "outputs" && key != "output_schemas" {
				for _, example := range examples {
					def := decode(t, minimal).(map[string]any)
					def[key] = example
					data, err := json.Marshal(def)
					require.NoError(t, err)
					_, err = Parse(data)
					require.NoError(t, err)
				}
			}
		}
	}
}

// A type or a key of a declaration that the code gains is missed here.
func TestSchemaKeys(t *testing.T) {
	t.Parallel()
	var root struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Enum []Type
			}
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(Schema, &root))
	require.Equal(t, types, root.Defs["declaration"].Properties["type"].Enum)
	for _, key := range itemKeys {
		require.Contains(t, root.Defs["declaration"].Properties, key)
	}
	require.Len(t, root.Defs["declaration"].Properties, len(itemKeys)+1)
	require.Len(t, root.Defs["input"].Properties, len(inputKeys)-len(itemKeys))
}
