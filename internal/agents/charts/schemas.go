package charts

import (
	"encoding/json"
	"fmt"
	"strings"
)

// described says where an argument comes from.
var described = map[string]string{
	"history":          "As metrics.history answers it.",
	"valued_positions": "As pricing.apply_pack answers it.",
	"currency_attr":    "As attribution.currency answers it.",
	"factor_exposures": "As risk.compute_factor_exposures answers it.",
	"regime_history":   "As macro.get_regime_history answers it.",
	"scenario_result":  "As macro.run_scenario answers it.",
	"regime":           "As macro.detect_regime answers it.",
	"indicators":       "As macro.get_indicators answers it.",
	"dar":              "As macro.compute_dar answers it.",
}

// arguments returns the JSON Schema of a call: answers of other capabilities, all of which may be
// left out. They are read when they are drawn.
func arguments(names []string) json.RawMessage {
	properties := make([]string, 0, len(names))
	for _, name := range names {
		properties = append(properties, fmt.Sprintf(`%q: {"type": "object", "description": %q}`, name, described[name]))
	}
	return json.RawMessage(`{"type": "object", "additionalProperties": false, "properties": {` + strings.Join(properties, ", ") + `}}`)
}

const resultSchema = `{
	"type": "object", "additionalProperties": false,
	"required": ["specs", "omitted"],
	"properties": {
		"specs": {"type": "array", "maxItems": 10, "items": {
			"type": "object", "additionalProperties": true,
			"description": "A Vega-Lite 6 specification with its data; name tells charts apart, description is the alternative text.",
			"required": ["$schema", "name", "title", "description", "data", "config"],
			"properties": {
				"$schema": {"const": "` + schemaURL + `"},
				"name": {"type": "string"},
				"description": {"type": "string"},
				"data": {"type": "object", "additionalProperties": false, "required": ["values"], "properties": {"values": {"type": "array", "maxItems": 10000}}}
			}
		}},
		"omitted": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["chart", "reason"],
			"properties": {
				"chart": {"type": "string", "description": "The name that the specification would have."},
				"reason": {"type": "string"}
			}
		}}
	}
}`
