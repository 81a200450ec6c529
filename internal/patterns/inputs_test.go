package patterns

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/pattern"
)

func TestCheckInputs(t *testing.T) {
	t.Parallel()
	declared := map[string]pattern.Input{
		"portfolio_id":  {Type: pattern.UUID, Required: true},
		"lookback_days": {Type: pattern.Integer, Default: json.Number("252"), Minimum: "1"},
		"note":          {Type: pattern.String},
	}
	id := "0b36fa50-66f0-4bf9-a7e2-43e2be4f5a7c"
	for name, tc := range map[string]struct {
		given  map[string]any
		want   map[string]any
		fields []fault.Field
	}{
		"defaults": {
			given: map[string]any{"portfolio_id": id},
			want:  map[string]any{"portfolio_id": id, "lookback_days": json.Number("252"), "note": nil},
		},
		"given": {
			given: map[string]any{"portfolio_id": id, "lookback_days": json.Number("5.0"), "note": ""},
			want:  map[string]any{"portfolio_id": id, "lookback_days": json.Number("5"), "note": ""},
		},
		"null is left out": {
			given: map[string]any{"portfolio_id": id, "lookback_days": nil, "note": nil},
			want:  map[string]any{"portfolio_id": id, "lookback_days": json.Number("252"), "note": nil},
		},
		"all that is wrong": {
			given: map[string]any{"lookback_day": json.Number("5"), "a/b": nil, "lookback_days": json.Number("0"), "note": true},
			fields: []fault.Field{
				{Pointer: "/inputs/a~1b", Detail: "the pattern has no such input"},
				{Pointer: "/inputs/lookback_day", Detail: `the pattern has no such input; did you mean "lookback_days"?`},
				{Pointer: "/inputs/lookback_days", Detail: "0 is below the minimum of 1"},
				{Pointer: "/inputs/note", Detail: "a string is expected, not a boolean"},
				{Pointer: "/inputs/portfolio_id", Detail: "the input is required"},
			},
		},
		"required is null": {
			given:  map[string]any{"portfolio_id": nil},
			fields: []fault.Field{{Pointer: "/inputs/portfolio_id", Detail: "the input is required"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := checkInputs(declared, tc.given)
			require.Equal(t, tc.want, got)
			if tc.fields == nil {
				require.NoError(t, err)
				return
			}
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			require.Equal(t, fault.Invalid, f.Code)
			require.Equal(t, tc.fields, f.Fields)
			for _, field := range tc.fields {
				require.Contains(t, f.Detail, field.Pointer+": "+field.Detail)
			}
		})
	}
}

func TestManyWrongInputsAreCutOff(t *testing.T) {
	t.Parallel()
	given := map[string]any{}
	for i := range 60 {
		given[fmt.Sprint("x", i)] = nil
	}
	_, err := checkInputs(nil, given)
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Len(t, f.Fields, 50)
	require.Contains(t, f.Detail, "; and 10 more")
}
