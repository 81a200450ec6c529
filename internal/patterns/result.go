package patterns

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"sync"

	"github.com/dawsos/dawsos/pkg/agent"
)

// result is what a call, or a step, has yielded: its JSON, written once, and what else is to be known
// about it. It never changes and may be shared by steps, runs and the cache.
type result struct {
	raw      json.RawMessage // compact JSON
	sources  []agent.Source
	warnings []string
	within   []*run // of patterns, which the call has run; ended
	// absent tells a step that yielded nothing, since it was skipped or failed, from one whose
	// answer was null.
	absent bool

	answer *Answer // of a whole run; nil for every other result
	size   int64   // what it weighs in the cache; 0: see weight

	keys *parts // for keys of calls that are given parts of it

	decoded  func() (any, error) // the JSON's value for templates: numbers are json.Number
	operands func() (any, error) // the same for conditions: numbers are int or float64
}

// nothing is the result of a step that was skipped.
var nothing = func() *result {
	r := rawResult(json.RawMessage("null"))
	r.absent = true
	return r
}()

func newResult(a agent.Result) (*result, error) {
	raw, err := json.Marshal(a.Value)
	if err != nil {
		return nil, err
	}
	r := rawResult(raw)
	r.sources, r.warnings = a.Sources, a.Warnings
	return r, nil
}

// rawResult returns the result with the given JSON, which is read only when something looks into it.
func rawResult(raw json.RawMessage) *result {
	r := &result{raw: raw, keys: new(parts)}
	r.decoded = sync.OnceValues(func() (any, error) {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var v any
		err := dec.Decode(&v)
		return v, err
	})
	r.operands = sync.OnceValues(func() (any, error) {
		v, err := r.decoded()
		return operand(v), err
	})
	return r
}

// with returns the result as that of a step within which patterns were run.
func (r *result) with(within []*run) *result {
	also := *r
	also.within = within
	return &also
}

func (r *result) value() (any, error) { return r.decoded() }

// operand turns a decoded JSON value into one that conditions compute with. Whole numbers become int
// where they fit, all others float64.
func operand(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case []any:
		items := make([]any, len(v))
		for i, item := range v {
			items[i] = operand(item)
		}
		return items
	case map[string]any:
		fields := make(map[string]any, len(v))
		for key, field := range v {
			fields[key] = operand(field)
		}
		return fields
	}
	return v
}

func number(n json.Number) any {
	if !strings.ContainsAny(string(n), ".eE") {
		if i, err := strconv.Atoi(string(n)); err == nil {
			return i
		}
	}
	f, _ := n.Float64() // out of range: an infinity, which compares as it should
	return f
}
