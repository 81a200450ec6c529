package macrohound

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/macro"
)

// The JSON Schemas (2020-12) of what the capabilities are asked and what they answer; see
// capability.Defs. Names of regimes and phases are those of the config.

const asofArgs = `{
	"type": "object", "additionalProperties": false,
	"properties": {` + capability.AsofArg + `
	}
}`

const historyArgs = `{
	"type": "object", "additionalProperties": false,
	"properties": {` + capability.WeeksArg + `,
		` + capability.AsofArg + `
	}
}`

const shiftsArgs = `{
	"type": "object", "additionalProperties": false,
	"properties": {
		"regime_history": {"type": "object", "description": "As macro.get_regime_history answers it."},
		"factor_history": {"type": "object", "description": "As risk.get_factor_exposure_history answers it."},
		"min_confidence": {"type": "number", "exclusiveMinimum": 0, "maximum": 1,
			"description": "Of the new regime for a change to be a shift; macro.yaml has the default."}
	}
}`

const overviewArgs = `{
	"type": "object", "additionalProperties": false,
	"properties": {
		"stdc": {"type": "object", "description": "As cycles.compute_short_term answers it."},
		"ltdc": {"type": "object", "description": "As cycles.compute_long_term answers it."},
		"empire": {"type": "object", "description": "As cycles.compute_empire answers it."}
	}
}`

// schemas are those that depend on the config.
type schemas struct {
	regime, history, shortTerm, longTerm, empire json.RawMessage
}

func newSchemas(c macro.Config) schemas {
	return schemas{
		regime: json.RawMessage(`{
	"type": "object", "additionalProperties": false,
	"required": ["regime", "label", "confidence", "probabilities", "inputs", "asof", "insufficient_data"],
	"properties": {
		"regime": ` + names(c.Regimes) + `,` + state(c.Regimes) + `,
		"inputs": ` + inputsSchema + `,
		"asof": {"$ref": "#/$defs/day"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`),
		history: json.RawMessage(`{
	"type": "object", "additionalProperties": false,
	"required": ["history", "asof", "insufficient_data"],
	"properties": {
		"history": {"type": "array", "maxItems": 521, "description": "Every seventh day up to asof, ascending.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["date", "regime", "label", "confidence", "probabilities"],
			"properties": {
				"date": {"$ref": "#/$defs/day"},
				"regime": ` + names(c.Regimes) + `,` + state(c.Regimes) + `
			}
		}},
		"asof": {"$ref": "#/$defs/day"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`),
		shortTerm: cycleSchema(c.ShortTerm, `, "history"`, `
		"history": {"type": "array", "maxItems": 700, "description": "Ends of months, ascending.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["date", "phase"],
			"properties": {"date": {"$ref": "#/$defs/day"}, "phase": `+names(c.ShortTerm)+`}
		}},`),
		longTerm: cycleSchema(c.LongTerm, "", ""),
		empire:   cycleSchema(macro.Model{}, "", ""),
	}
}

func cycleSchema(m macro.Model, required, properties string) json.RawMessage {
	return json.RawMessage(`{
	"type": "object", "additionalProperties": false,
	"required": ["phase", "phase_label", "label", "confidence", "probabilities", "inputs", "asof", "insufficient_data"` + required + `],
	"properties": {
		"phase": ` + names(m) + `,
		"phase_label": {"type": ["string", "null"]},` + state(m) + `,` + properties + `
		"inputs": ` + inputsSchema + `,
		"asof": {"$ref": "#/$defs/day"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`)
}

// names is the schema of a state's name or null.
func names(m macro.Model) string {
	all := make([]string, 0, len(m.States)+1)
	for _, s := range m.States {
		all = append(all, fmt.Sprintf("%q", s.Name))
	}
	return `{"enum": [` + strings.Join(append(all, "null"), ", ") + `]}`
}

// state is the members of the schema of what is told of a state.
func state(m macro.Model) string {
	var required, properties []string
	for _, s := range m.States {
		required = append(required, fmt.Sprintf("%q", s.Name))
		properties = append(properties, fmt.Sprintf(`%q: {"type": "number", "minimum": 0, "maximum": 1}`, s.Name))
	}
	return `
		"label": {"type": ["string", "null"]},
		"confidence": {"$ref": "#/$defs/figure", "description": "Probability of the likeliest."},
		"probabilities": {
			"type": ["object", "null"], "additionalProperties": false, "description": "They sum to 1.",
			"required": [` + strings.Join(required, ", ") + `],
			"properties": {` + strings.Join(properties, ", ") + `}
		}`
}

const defs = capability.Defs

const inputsSchema = `{"type": "array", "items": {
		"type": "object", "additionalProperties": false,
		"required": ["name", "series", "transform", "value", "z", "date", "known_on", "proxy", "note", "scored"],
		"properties": {
			"name": {"type": "string"},
			"series": {"type": "string", "description": "One series, or two with what is made of them."},
			"transform": {"type": "string"},
			"value": {"type": "number", "description": "Growth as a fraction a year, else in the series' unit."},
			"z": {"type": "number", "description": "In standard deviations from the mean of ten years."},
			"date": {"$ref": "#/$defs/day", "description": "End of the observed period."},
			"known_on": {"$ref": "#/$defs/day", "description": "When it was published."},
			"proxy": {"type": "boolean"},
			"note": {"type": ["string", "null"], "description": "What a proxy stands in for."},
			"scored": {"type": "boolean", "description": "False of what is shown beside."}
		}
	}}`

const indicatorsResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["indicators", "omitted", "asof", "insufficient_data"],
	"properties": {
		"indicators": {"type": "array", "maxItems": 200, "items": {
			"type": "object", "additionalProperties": false,
			"required": ["series", "unit", "frequency", "value", "date", "known_on", "change_1y", "z"],
			"properties": {
				"series": {"type": "string"},
				"unit": {"type": "string"},
				"frequency": {"enum": ["daily", "weekly", "monthly", "quarterly", "annual"]},
				"value": {"type": "number", "description": "In the series' unit."},
				"date": {"$ref": "#/$defs/day", "description": "End of the observed period."},
				"known_on": {"$ref": "#/$defs/day", "description": "When it was published."},
				"change_1y": {"$ref": "#/$defs/figure", "description": "Less the value a year before, in the series' unit."},
				"z": {"$ref": "#/$defs/figure", "description": "In standard deviations from the mean of ten years."}
			}
		}},
		"omitted": {"type": "integer", "minimum": 0, "description": "Series that are not shown because there are more than 200."},
		"asof": {"$ref": "#/$defs/day"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const regimeShifts = `{"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["date", "from", "to", "confidence"],
			"properties": {
				"date": {"$ref": "#/$defs/day", "description": "First day of the new regime."},
				"from": {"type": "string"}, "to": {"type": "string"},
				"confidence": {"type": "number", "description": "Of the new regime on that day."}
			}
		}}`

const shiftsResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["regime_shifts", "regime_changes", "factor_shifts", "min_confidence", "min_std_errors", "insufficient_data"],
	"properties": {
		"regime_shifts": ` + regimeShifts + `,
		"regime_changes": ` + regimeShifts + `,
		"factor_shifts": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["factor", "from", "to", "beta", "change", "std_errors"],
			"properties": {
				"factor": {"type": "string"},
				"from": {"$ref": "#/$defs/day"}, "to": {"$ref": "#/$defs/day"},
				"beta": {"type": "number", "description": "On the last day."},
				"change": {"type": "number"},
				"std_errors": {"type": "number", "description": "The change in standard errors of the first beta."}
			}
		}},
		"min_confidence": {"type": "number", "description": "That a change is counted as a shift from."},
		"min_std_errors": {"type": "number"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const overviewResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["cycles", "told", "insufficient_data"],
	"properties": {
		"cycles": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["cycle", "phase", "label", "confidence", "asof"],
			"properties": {
				"cycle": {"enum": ["short_term", "long_term", "empire"]},
				"phase": {"type": ["string", "null"]},
				"label": {"type": ["string", "null"]},
				"confidence": {"$ref": "#/$defs/figure"},
				"asof": {"$ref": "#/$defs/day_or_null"}
			}
		}},
		"told": {"type": "integer", "minimum": 0, "description": "Cycles with a phase."},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`
