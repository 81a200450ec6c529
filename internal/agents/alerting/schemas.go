package alerting

import "github.com/dawsos/dawsos/internal/agents/capability"

// The JSON Schemas (2020-12) of what the capabilities are asked and what they answer. Result objects
// are closed; the bodies of rules are those of POST /v1/alerts.

const suggestArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["trend_analysis", "portfolio_id"],
	"properties": {
		"trend_analysis": {
			"type": "object", "required": ["regime_shifts", "factor_shifts"],
			"description": "What macro.detect_trend_shifts answers.",
			"properties": {
				"regime_shifts": {"type": ["array", "null"], "maxItems": 10000, "items": {"type": "object", "required": ["date", "from", "to"]}},
				"factor_shifts": {"type": ["array", "null"], "maxItems": 100, "items": {"type": "object", "required": ["factor", "beta"]}}
			}
		},
		` + capability.PortfolioArg + `
	}
}`

const suggestResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["suggestions", "skipped", "insufficient_data"],
	"properties": {
		"suggestions": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["preset", "reason", "rule"],
			"properties": {
				"preset": {"enum": ["regime_shift", "factor_shift"]},
				"reason": {"type": "string", "description": "What was measured, in a sentence."},
				"rule": {"type": "object", "description": "A body for POST /v1/alerts."}
			}
		}},
		"skipped": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["preset", "reason"],
			"properties": {"preset": {"type": "string"}, "reason": {"type": "string"}}
		}},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

const createArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["impact_analysis", "threshold", "preset"],
	"properties": {
		"impact_analysis": {
			"type": "object", "required": ["total_impact", "by_symbol"],
			"description": "What news.compute_portfolio_impact answers.",
			"properties": {
				"total_impact": {"type": ["number", "null"]},
				"by_symbol": {"type": "array", "maxItems": 10000, "items": {"type": "object", "required": ["symbol", "weight", "impact"]}}
			}
		},
		"threshold": {"type": "number", "minimum": 0, "description": "Impact from which the rule is stored."},
		"preset": {"enum": ["news_impact"]}
	}
}`

const createResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["outcome", "reason", "rule_id", "name", "condition", "user_id", "impact", "threshold", "insufficient_data"],
	"properties": {
		"outcome": {"enum": ["created", "exists", "below_threshold", "unknown"]},
		"reason": {"type": "string"},
		"rule_id": {"type": ["string", "null"]},
		"name": {"type": ["string", "null"]},
		"condition": {"type": ["string", "null"], "description": "The rule's condition in words."},
		"user_id": {"type": ["string", "null"], "description": "Whose rule it is; system when the run has no user."},
		"impact": {"$ref": "#/$defs/figure"},
		"threshold": {"type": "number"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`
