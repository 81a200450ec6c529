package scenarios

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/scenario"
)

// The JSON Schemas (2020-12) of what the capabilities are asked and what they answer; see
// capability.Defs.

const subject = capability.PortfolioArg + `, ` + capability.PackArg

const darArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id"],
	"properties": {` + subject + `,
		"confidence_level": {"type": "number", "minimum": 0.5, "exclusiveMaximum": 1, "default": 0.95},
		"method": {"enum": ["realised_returns", "current_holdings"], "default": "realised_returns",
			"description": "What the drawdowns are of: what the portfolio earned, or what today's weights would have."},
		` + capability.LookbackArg + `,
		"cycle_adjusted": {"type": "boolean", "default": false, "description": "Scale the returns to the volatility of the present phase of stdc."},
		"stdc": {"type": "object", "description": "As cycles.compute_short_term answers: phase, and history by date."}
	}
}`

const darResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["confidence", "method", "dar", "cdar", "max_drawdown", "drawdown", "window", "insufficient_data"],
	"properties": {
		"confidence": {"type": "number"},
		"method": {"enum": ["realised_returns", "current_holdings"]},
		"dar": {"$ref": "#/$defs/figure", "description": "Quantile of the window's drawdowns, positive."},
		"cdar": {"$ref": "#/$defs/figure", "description": "Mean of the drawdowns at or beyond dar."},
		"max_drawdown": {"$ref": "#/$defs/figure", "description": "Of the window, unadjusted."},
		"drawdown": {"$ref": "#/$defs/figure", "description": "At the window's end, unadjusted."},
		"cycle_adjustment": {
			"type": "object", "additionalProperties": false, "description": "There when cycle_adjusted was asked for.",
			"required": ["applied", "phase", "scale", "returns", "unadjusted_dar", "unadjusted_cdar"],
			"properties": {
				"applied": {"type": "boolean"},
				"phase": {"type": ["string", "null"]},
				"scale": {"$ref": "#/$defs/figure", "description": "What the window's returns were multiplied with."},
				"returns": {"type": "integer", "minimum": 0, "description": "Daily returns of the portfolio within the phase."},
				"unadjusted_dar": {"$ref": "#/$defs/figure"},
				"unadjusted_cdar": {"$ref": "#/$defs/figure"}
			}
		},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

// runArgs names the library's shocks, so that a misspelt one is found before anything is computed. Which
// scenarios there are is left to the capability: its refusal names them.
func runArgs(l *scenario.Library) json.RawMessage {
	shocks := make([]string, len(l.Shocks))
	for i, s := range l.Shocks {
		description, err := json.Marshal(fmt.Sprintf("%s In %s.", s.Description, s.Unit))
		if err != nil {
			description = []byte(`""`) // a string is always JSON
		}
		shocks[i] = fmt.Sprintf(`"%s": {"type": "number", "minimum": %g, "maximum": %g, "description": %s}`, s.Name, s.Min, s.Max, description)
	}
	return json.RawMessage(`{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id"],
	"properties": {` + subject + `,
		"scenario_id": {"type": "string", "description": "A scenario of the library."},
		"custom_shocks": {
			"type": "object", "additionalProperties": false,
			"description": "Shocks of one's own, alone or in place of the scenario's of the same name.",
			"properties": {` + strings.Join(shocks, ",\n") + `}
		}
	}
}`)
}

const deleverageArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id"],
	"properties": {` + subject + `,
		"ltdc_phase": {"type": "string", "maxLength": 200, "description": "Phase of the long-term debt cycle; repeated in the answer."}
	}
}`

const byShock = `{"type": "array", "description": "delta = base_value x size x sensitivity.", "items": {
					"type": "object", "additionalProperties": false,
					"required": ["shock", "size", "sensitivity", "delta"],
					"properties": {
						"shock": {"type": "string"},
						"size": {"type": "number"},
						"sensitivity": {"type": "number"},
						"delta": {"$ref": "#/$defs/decimal"}
					}
				}}`

const runResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["scenario_id", "name", "source", "currency", "shocks", "base_value", "shocked_value", "delta", "delta_pct",
		"positions", "cash", "unmapped", "unmapped_value", "insufficient_data"],
	"properties": {
		"scenario_id": {"type": "string", "description": "custom: shocks of the caller's own."},
		"name": {"type": "string"},
		"source": {"type": "string", "description": "Where the sizes come from."},
		"currency": {"$ref": "#/$defs/currency"},
		"ltdc_phase": {"type": "string"},
		"shocks": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["shock", "value", "unit", "size", "delta"],
			"properties": {
				"shock": {"type": "string"},
				"value": {"type": "number", "description": "In its unit."},
				"unit": {"enum": ["bps", "pct"]},
				"size": {"type": "number", "description": "As a fraction."},
				"delta": {"$ref": "#/$defs/decimal_or_null", "description": "Null when it reaches nothing that is held."}
			}
		}},
		"base_value": {"$ref": "#/$defs/decimal_or_null", "description": "Net asset value."},
		"shocked_value": {"$ref": "#/$defs/decimal_or_null"},
		"delta": {"$ref": "#/$defs/decimal_or_null", "description": "Without what is unmapped."},
		"delta_pct": {"$ref": "#/$defs/figure", "description": "A fraction of base_value."},
		"positions": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "asset_class", "currency", "base_value", "delta", "delta_pct", "by_shock"],
			"properties": {
				"symbol": {"type": "string"},
				"asset_class": {"type": "string"},
				"currency": {"$ref": "#/$defs/currency"},
				"base_value": {"$ref": "#/$defs/decimal_or_null"},
				"delta": {"$ref": "#/$defs/decimal_or_null"},
				"delta_pct": {"$ref": "#/$defs/figure"},
				"by_shock": ` + byShock + `
			}
		}},
		"cash": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["currency", "base_value", "delta", "delta_pct", "by_shock"],
			"properties": {
				"currency": {"$ref": "#/$defs/currency"},
				"base_value": {"$ref": "#/$defs/decimal_or_null"},
				"delta": {"$ref": "#/$defs/decimal_or_null"},
				"delta_pct": {"$ref": "#/$defs/figure"},
				"by_shock": ` + byShock + `
			}
		}},
		"unmapped": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "market_value", "shock", "missing", "reason"],
			"properties": {
				"symbol": {"type": "string"},
				"market_value": {"$ref": "#/$defs/decimal_or_null"},
				"shock": {"type": ["string", "null"], "description": "Null: none of the scenario's shocks is about it."},
				"missing": {"type": "string"},
				"reason": {"type": "string"}
			}
		}},
		"unmapped_value": {"$ref": "#/$defs/decimal_or_null", "description": "Gross market value of the positions in unmapped."},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`
