package ratings

import "github.com/dawsos/dawsos/internal/agents/capability"

// The JSON Schemas (2020-12) of what the capabilities are asked and what they answer. Result objects
// are closed. Of a figure that is null, insufficient_data says why.

const ratingArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id", "fundamentals"],
	"properties": {
		"security_id": {"type": "string", "format": "uuid"},
		"fundamentals": {
			"type": "object", "required": ["security_id", "figures"],
			"description": "What fundamentals.load answers about the same security.",
			"properties": {
				"security_id": {"type": "string"},
				"figures": {"type": "array", "maxItems": 100000, "items": {
					"type": "object", "required": ["metric", "value", "provider", "date"],
					"properties": {
						"metric": {"type": "string"},
						"value": {"type": "number"},
						"provider": {"type": "string"},
						"date": {"type": "string", "format": "date"}
					}
				}}
			}
		}
	}
}`

const score = `{"type": ["number", "null"], "minimum": 0, "maximum": 10}`

const ratingResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id", "symbol", "rating", "score", "coverage", "components", "method", "insufficient_data"],
	"properties": {
		"security_id": {"type": "string"},
		"symbol": {"type": "string"},
		"rating": {"enum": ["dividend_safety", "moat_strength", "resilience"]},
		"score": ` + score + `,
		"coverage": {"type": "number", "minimum": 0, "maximum": 1, "description": "Share of the rating's weight whose figures are there."},
		"components": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["name", "metric", "per", "why", "value", "asof", "score", "step", "weight", "applied_weight", "note"],
			"properties": {
				"name": {"type": "string"},
				"metric": {"type": "string", "description": "The fundamental that is scored."},
				"per": {"type": ["string", "null"], "description": "The fundamental that it is divided by."},
				"why": {"type": "string"},
				"value": {"$ref": "#/$defs/figure"},
				"asof": {"$ref": "#/$defs/day_or_null", "description": "Since when the figure is known."},
				"score": ` + score + `,
				"step": {"type": ["string", "null"], "description": "The step that the figure passes: below 0.3, otherwise, judged."},
				"weight": {"type": "number"},
				"applied_weight": {"type": "number", "description": "After the weights of missing components were spread over the others."},
				"note": {"type": ["string", "null"]}
			}
		}},
		"method": {"type": "array", "items": {"type": "string"}, "description": "What the choice of figures goes back to."},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

const overallScore = `{"type": ["number", "null"], "minimum": 0, "maximum": 100}`

const threeScores = `
	"dividend_safety": ` + score + `,
	"moat_strength": ` + score + `,
	"resilience": ` + score

const overallResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id", "symbol", "overall", "grade", "dividend_safety", "moat_strength", "resilience", "coverage", "insufficient_data"],
	"properties": {
		"security_id": {"type": "string"},
		"symbol": {"type": "string"},
		"overall": ` + overallScore + `,
		"grade": {"type": ["string", "null"]},
		` + threeScores + `,
		"coverage": {"type": "number", "minimum": 0, "maximum": 1, "description": "Share of all weight whose figures are there."},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

const aggregateArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["positions"],
	"properties": {
		"positions": {
			"type": "array", "maxItems": 10000, "description": "As pricing.apply_pack answers them.",
			"items": {
				"type": "object", "required": ["symbol", "security_id", "weight"],
				"properties": {
					"symbol": {"type": "string"},
					"security_id": {"type": "string"},
					"weight": {"type": ["number", "null"]}
				}
			}
		},
		"provider": {"type": "string", "description": "Whose fundamentals; the newest of any provider when left out."}
	}
}`

const aggregateResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["overall", "grade", "dividend_safety", "moat_strength", "resilience", "rated_weight", "positions", "insufficient_data"],
	"properties": {
		"overall": ` + overallScore + `,
		"grade": {"type": ["string", "null"]},
		` + threeScores + `,
		"rated_weight": {"type": "number", "description": "Weight of the positions that count in the overall score."},
		"positions": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "security_id", "weight", "overall", "grade", "dividend_safety", "moat_strength", "resilience", "coverage", "excluded"],
			"properties": {
				"symbol": {"type": "string"},
				"security_id": {"type": "string"},
				"weight": {"$ref": "#/$defs/figure"},
				"overall": ` + overallScore + `,
				"grade": {"type": ["string", "null"]},
				` + threeScores + `,
				"coverage": {"type": "number", "minimum": 0, "maximum": 1},
				"excluded": {"type": ["string", "null"], "description": "Why it does not count in the portfolio's scores."}
			}
		}},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`
