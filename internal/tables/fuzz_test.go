package tables_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/tables"
)

// Whatever a table's file holds, it is refused, or what was read reads as the same again.
func FuzzParse(f *testing.F) {
	type row struct {
		Name    string             `yaml:"name"`
		Weights map[string]float64 `yaml:"weights"`
		Rows    []struct {
			At int  `yaml:"at"`
			On bool `yaml:"on"`
		} `yaml:"rows"`
	}
	for _, seed := range []string{
		"name: a\nweights: {x: 1.5, y: .5}\nrows: [{at: 1, on: true}]\n", "", "---\n---\n", "name: a\nname: b\n", "nam: a\n", "weights: {x: .inf}\n", "rows: [{at: 1e3}]\n",
		"name: &a x\nweights: {*a : 1}\n", "a: &a [*a, *a]\n", "rows:\n- at: 99999999999999999999\n", "<<: {name: a}\n", "name: \"\\u0000\"\n", "\xff", "name: !!int a\n", "null\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var first row
		if tables.Parse(raw, &first) != nil {
			return
		}
		for name, w := range first.Weights { // not a number is not itself
			if w != w {
				delete(first.Weights, name)
			}
		}
		written, err := yaml.Marshal(first)
		require.NoError(t, err)
		var second row
		require.NoError(t, tables.Parse(written, &second), "%s", written)
		again, err := yaml.Marshal(second)
		require.NoError(t, err)
		require.Equal(t, string(written), string(again))
	})
}
