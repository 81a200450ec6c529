package patterns

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// checkInputs returns the value of every declared input: the caller's in canonical form, else the
// default, else nil. Null counts as left out. The error is fault.Invalid with a field for each
// wrong input.
func checkInputs(declared map[string]pattern.Input, given map[string]any) (map[string]any, error) {
	var fields []fault.Field
	wrong := func(name, detail string) {
		fields = append(fields, fault.Field{Pointer: pattern.Pointer("inputs", name), Detail: detail})
	}

	names := slices.Sorted(maps.Keys(declared))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := declared[name]; !ok {
			wrong(name, "the pattern has no such input"+didYouMean(name, names))
		}
	}
	values := make(map[string]any, len(declared))
	for _, name := range names {
		in, v := declared[name], given[name]
		switch {
		case v != nil:
			checked, err := in.Value(v)
			if all, ok := errors.AsType[pattern.ValueErrors](err); ok {
				for _, e := range all {
					fields = append(fields, fault.Field{Pointer: pattern.Pointer("inputs", name) + e.Pointer, Detail: e.Msg})
				}
			}
			values[name] = checked
		case in.Required:
			wrong(name, "the input is required")
		default:
			values[name] = in.Default
		}
	}

	if len(fields) > 0 {
		return nil, invalidInputs(fields)
	}
	return values, nil
}

func invalidInputs(fields []fault.Field) error {
	const most = 50 // a caller gets the idea, and can't make us echo a whole body of wrong names
	dropped := max(len(fields)-most, 0)
	fields = fields[:len(fields)-dropped]

	details := make([]string, len(fields))
	for i, f := range fields {
		details[i] = f.Pointer + ": " + f.Detail
	}
	if dropped > 0 {
		details = append(details, fmt.Sprintf("and %d more", dropped))
	}
	return &fault.Error{Code: fault.Invalid, Detail: strings.Join(details, "; "), Fields: fields}
}
