// Package pattern is the file format of patterns: what a pattern takes, which capabilities it asks,
// and which of their results it returns.
//
//	{
//	  "id": "portfolio_overview",
//	  "name": "Portfolio overview",
//	  "inputs": {
//	    "portfolio_id":  {"type": "uuid", "required": true},
//	    "lookback_days": {"type": "integer", "default": 252, "minimum": 1}
//	  },
//	  "steps": [
//	    {"capability": "ledger.positions", "args": {"portfolio_id": "{{inputs.portfolio_id}}"}, "as": "positions"}
//	  ],
//	  "outputs": ["positions"]
//	}
//
// The package knows the shape of a pattern and nothing of its meaning: templates and conditions are
// plain strings here, capabilities are names. [Parse] is strict and says where each mistake stands,
// [Schema] tells editors the same, and [Input.Value] checks what a caller gives.
package pattern

import (
	"encoding/json"
	"strings"
	"time"
)

// Limits on a definition.
const (
	MaxSize      = 1 << 20 // bytes of a file
	MaxSteps     = 1000    // steps of a pattern, and outputs
	MaxInputs    = 100     // inputs of a pattern, and properties of an object
	MaxNesting   = 32      // objects and arrays within each other, the definition itself included
	MaxCharts    = 50      // charts of a pattern
	MaxItems     = 1000    // items of a for_each
	MaxParallel  = 256     // items of a for_each that are worked on at the same time
	MaxValues    = 1000    // values of an enum
	MaxProperty  = 100     // characters of a property's name
	MaxCondition = 1000    // characters of a condition
	MaxNumber    = 1000    // characters of a number
	MaxExponent  = 1000    // of a number, either way
	MinTimeout   = time.Millisecond
	MaxTimeout   = 10 * time.Minute
)

// Names that no step's result may have, since templates use them as roots.
const (
	RootInputs = "inputs" // the pattern's inputs
	RootCtx    = "ctx"    // the circumstances of the run
	RootState  = "state"  // the results so far, by name
	RootItem   = "item"   // within for_each: the present item
	RootIndex  = "index"  // within for_each: its place, from 0
)

// Definition is a pattern. Numbers within it are json.Number, as written.
type Definition struct {
	Schema      string           `json:"$schema,omitempty"` // for editors; the engine does not read it
	ID          string           `json:"id"`                // ^[a-z][a-z0-9_]{0,63}$
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Category    string           `json:"category,omitempty"`
	Version     string           `json:"version,omitempty"`
	Inputs      map[string]Input `json:"inputs,omitempty"`
	Steps       []Step           `json:"steps"`
	// Outputs are what the answer holds, in this order.
	Outputs Outputs `json:"outputs"`
	// OutputSchemas are JSON Schemas (2020-12) that the outputs of these names must fit.
	OutputSchemas map[string]json.RawMessage `json:"output_schemas,omitempty"`
	// Charts are Vega-Lite specifications whose strings may hold templates, or strings that are one
	// template each and yield a specification or an array of them.
	Charts []any `json:"charts,omitempty"`
	// Display is an object of hints for whoever shows the answer; the engine hands it on unread.
	Display json.RawMessage `json:"display,omitempty"`

	root *node // what it was parsed from, or nil
}

// Input declares one input, an item of an array or a property of an object.
type Input struct {
	Type        Type   `json:"type"`
	Required    bool   `json:"required,omitempty"`
	Default     any    `json:"default,omitempty"` // in canonical form; nil: null when the caller leaves it out
	Description string `json:"description,omitempty"`
	// Minimum and Maximum bound integers and numbers, themselves included; "" means no bound.
	Minimum json.Number `json:"minimum,omitempty"`
	Maximum json.Number `json:"maximum,omitempty"`
	// MinLength and MaxLength bound strings, in characters; nil means no bound.
	MinLength *int `json:"min_length,omitempty"`
	MaxLength *int `json:"max_length,omitempty"`
	// Values are what an enum may be.
	Values []string `json:"values,omitempty"`
	// Items declares an array's items; nil takes any JSON. MinItems and MaxItems bound their number.
	Items    *Input `json:"items,omitempty"`
	MinItems *int   `json:"min_items,omitempty"`
	MaxItems *int   `json:"max_items,omitempty"`
	// Properties declare what an object may hold; nil takes any object. Names are any text, up to
	// MaxProperty characters.
	Properties map[string]Input `json:"properties,omitempty"`
}

// Step asks one capability and keeps its result under a name.
type Step struct {
	Capability  string         `json:"capability"` // "metrics.compute_twr"
	Description string         `json:"description,omitempty"`
	Args        map[string]any `json:"args,omitempty"` // JSON values; strings may hold templates
	As          string         `json:"as"`             // unique; none of the reserved names
	// Condition is an expression; when it is false the step is skipped and its result is null. "" is
	// always true.
	Condition string `json:"condition,omitempty"`
	// ForEach is a list, or a template that yields one. The capability is asked once for each item,
	// which templates in Args see as "item", its place as "index". The result is the list of results.
	ForEach any `json:"for_each,omitempty"`
	// Parallel bounds how many items are worked on at the same time; 0 means as many as a run may
	// have calls under way.
	Parallel int `json:"parallel,omitempty"`
	// Timeout bounds the step, a ForEach as a whole; 0 means what its agent allows.
	Timeout Duration `json:"timeout,omitzero"`
	OnError OnError  `json:"on_error,omitzero"`
	// Cache false keeps the step from using, and from leaving, a remembered result. Nil means true.
	Cache *bool `json:"cache,omitempty"`
}

// Output is one value of the answer's data.
type Output struct {
	Name string
	// Value is JSON whose strings may hold templates; nil means the result called Name.
	Value any
}

// Outputs are written as an array of results' names, or as an object of values by name.
type Outputs []Output

// Mode is what follows when a step fails.
type Mode string

// The modes.
const (
	Fail     Mode = "fail"     // the run fails
	Continue Mode = "continue" // the result is null, and a warning says why
	Fallback Mode = "fallback" // the result is the fallback, and a warning says why
)

// OnError says what follows when a step fails; in a ForEach, when an item does. The zero value is
// Fail. It is written as "fail", "continue" or {"fallback": value}.
type OnError struct {
	Mode     Mode
	Fallback any // JSON whose strings may hold templates
}

// Duration is written as Go's: "1.5s".
type Duration time.Duration

// Position is a place in a file, both counted from 1, columns in characters. The zero Position
// stands for an unknown place.
type Position struct {
	Line, Column int
}

// Position returns where the value that a JSON pointer ("/steps/0/capability") names stands in the
// file that the definition was parsed from. For a value that is not there it returns the place of
// the innermost one around it.
func (d *Definition) Position(pointer string) Position {
	if d.root == nil || (pointer != "" && pointer[0] != '/') {
		return Position{}
	}
	return d.root.find(pointer).at
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// Pointer returns the JSON pointer (RFC 6901) made of keys and indexes: Pointer("steps", "0") is
// "/steps/0".
func Pointer(tokens ...string) string {
	var b strings.Builder
	for _, token := range tokens {
		b.WriteByte('/')
		_, _ = pointerEscaper.WriteString(&b, token) // a Builder takes everything
	}
	return b.String()
}
