// Package pattern is the file format of patterns: what a pattern takes, which capabilities it asks
// one after the other, and which of their results it returns.
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
// The package knows the shape of a pattern and nothing of its meaning: templates in arguments are
// plain strings here, capabilities are names.
package pattern

import (
	"encoding/json"
	"strings"
)

// Limits on a definition.
const (
	MaxSize    = 1 << 20 // bytes of a file
	MaxSteps   = 1000    // steps of a pattern
	MaxInputs  = 100     // inputs of a pattern
	MaxNesting = 32      // objects and arrays within each other, the definition itself included
)

// Names that no step's result may have, since templates use them as roots.
const (
	RootInputs = "inputs" // the pattern's inputs
	RootCtx    = "ctx"    // the circumstances of the run
	RootState  = "state"  // the results so far, by name
)

// Definition is a pattern. Numbers within it are json.Number, as written.
type Definition struct {
	ID          string           `json:"id"` // ^[a-z][a-z0-9_]{0,63}$
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Category    string           `json:"category,omitempty"`
	Version     string           `json:"version,omitempty"`
	Inputs      map[string]Input `json:"inputs,omitempty"`
	Steps       []Step           `json:"steps"`
	// Outputs are names of results, in the order in which the answer holds them.
	Outputs []string `json:"outputs"`
	// Display is an object of hints for whoever shows the answer; the engine hands it on unread.
	Display json.RawMessage `json:"display,omitempty"`

	positions map[string]Position // by JSON pointer; nil unless parsed
}

// Input declares one input.
type Input struct {
	Type        Type   `json:"type"`
	Required    bool   `json:"required,omitempty"`
	Default     any    `json:"default,omitempty"` // nil: null when the caller leaves it out
	Description string `json:"description,omitempty"`
	// Minimum and Maximum bound integers and numbers, themselves included; "" means no bound.
	Minimum json.Number `json:"minimum,omitempty"`
	Maximum json.Number `json:"maximum,omitempty"`
}

// Step asks one capability and keeps its result under a name.
type Step struct {
	Capability string         `json:"capability"`     // "metrics.compute_twr"
	Args       map[string]any `json:"args,omitempty"` // JSON values; strings may hold templates
	As         string         `json:"as"`             // unique; not inputs, ctx or state
}

// Position is a place in a file, both counted from 1, columns in characters. The zero Position
// stands for an unknown place.
type Position struct {
	Line, Column int
}

// Position returns where the value that a JSON pointer ("/steps/0/capability") names stands in the
// file that the definition was parsed from. For a value that is not there it returns the place of
// the innermost one around it.
func (d *Definition) Position(pointer string) Position {
	for {
		if p, ok := d.positions[pointer]; ok {
			return p
		}
		parent, ok := parentPointer(pointer)
		if !ok {
			return Position{}
		}
		pointer = parent
	}
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
