package harvester

import "github.com/dawsos/dawsos/internal/agents/capability"

// The JSON Schemas (2020-12) of what the capabilities are asked and what they answer. Result objects
// are closed. Of a figure that is null, insufficient_data says why.

const fundamentalsArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id"],
	"properties": {
		"security_id": {"type": "string", "format": "uuid"},
		"provider": {"type": "string", "description": "Whose figures, such as fmp; those of all providers when left out."},
		` + capability.AsofArg + `
	}
}`

const providerFundamentalsArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id", "provider"],
	"properties": {
		"security_id": {"type": "string", "format": "uuid"},
		"provider": {"type": "string", "minLength": 1},
		` + capability.AsofArg + `
	}
}`

const fundamentalsResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id", "symbol", "name", "asset_class", "sector", "currency", "provider", "asof", "figures", "insufficient_data"],
	"properties": {
		"security_id": {"type": "string"},
		"symbol": {"type": "string"},
		"name": {"type": "string"},
		"asset_class": {"type": "string"},
		"sector": {"type": "string"},
		"currency": {"$ref": "#/$defs/currency", "description": "Of the security's price."},
		"provider": {"type": ["string", "null"], "description": "Null for all."},
		"asof": {"$ref": "#/$defs/day", "description": "The figures were known on that day."},
		"figures": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["metric", "value", "provider", "date", "period_end"],
			"properties": {
				"metric": {"type": "string"},
				"value": {"type": "number"},
				"provider": {"type": "string"},
				"date": {"$ref": "#/$defs/day", "description": "The day from which it is known."},
				"period_end": {"$ref": "#/$defs/day_or_null"}
			}
		}},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

const providerRatingsArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id"],
	"properties": {
		"security_id": {"type": "string", "format": "uuid"},
		` + capability.AsofArg + `
	}
}`

const providerRatingsResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id", "symbol", "asof", "ratings", "insufficient_data"],
	"properties": {
		"security_id": {"type": "string"},
		"symbol": {"type": "string"},
		"asof": {"$ref": "#/$defs/day"},
		"ratings": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["metric", "score", "date", "source"],
			"properties": {
				"metric": {"type": "string"},
				"score": {"$ref": "#/$defs/decimal"},
				"date": {"$ref": "#/$defs/day"},
				"source": {"type": "string"}
			}
		}},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

const searchArgs = `{
	"type": "object", "additionalProperties": false,
	"properties": {
		"symbols": {"type": "array", "maxItems": 10000, "items": {"type": "string"}},
		"positions": {
			"type": "array", "maxItems": 10000, "description": "Instead of symbols: positions as pricing.apply_pack answers them.",
			"items": {"type": "object", "required": ["symbol"], "properties": {"symbol": {"type": "string"}}}
		},
		"lookback_hours": {"type": "integer", "minimum": 1, "description": "Before the end of the as-of day, or of the pack's where that is earlier."}
	}
}`

const moment = `{"type": "string", "format": "date-time"}`

const searchResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["items", "window", "truncated", "insufficient_data"],
	"properties": {
		"items": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["id", "published_at", "title", "source", "url", "sentiment", "symbols"],
			"properties": {
				"id": {"type": "string"},
				"published_at": ` + moment + `,
				"title": {"type": "string"},
				"source": {"type": "string"},
				"url": {"type": ["string", "null"]},
				"sentiment": {"type": ["number", "null"], "minimum": -1, "maximum": 1, "description": "Null: not judged."},
				"symbols": {"type": "array", "items": {"type": "string"}}
			}
		}},
		"window": {
			"type": "object", "additionalProperties": false,
			"required": ["start", "end", "hours"],
			"properties": {"start": ` + moment + `, "end": ` + moment + `, "hours": {"type": "integer"}}
		},
		"truncated": {"type": "boolean", "description": "There are more in the window."},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

const impactArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["news_items", "valued_positions"],
	"properties": {
		"news_items": {
			"type": "object", "required": ["items", "truncated", "insufficient_data"],
			"description": "What news.search answers.",
			"properties": {
				"items": {"type": "array", "maxItems": 1000, "items": {"type": "object", "required": ["id", "published_at", "title", "sentiment", "symbols"]}},
				"truncated": {"type": "boolean"},
				"insufficient_data": {"type": "array"}
			}
		},
		"valued_positions": {
			"type": "object", "required": ["positions"],
			"description": "What pricing.apply_pack answers.",
			"properties": {"positions": {"type": "array", "maxItems": 10000, "items": {
				"type": "object", "required": ["symbol", "weight"],
				"properties": {"symbol": {"type": "string"}, "weight": {"type": ["number", "null"]}}
			}}}
		},
		"min_threshold": {"type": "number", "minimum": 0, "description": "Impact from which an item is listed; all count."}
	}
}`

const namedItems = `{"type": "array", "items": {
	"type": "object", "additionalProperties": false,
	"required": ["id", "title", "symbols"],
	"properties": {"id": {"type": "string"}, "title": {"type": "string"}, "symbols": {"type": "array", "items": {"type": "string"}}}
}}`

const impactResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["total_impact", "net_impact", "min_threshold", "items", "below_threshold", "by_symbol", "unjudged", "unweighted",
		"elsewhere", "insufficient_data"],
	"properties": {
		"total_impact": {"type": ["number", "null"], "minimum": 0, "description": "Over all items with a sentiment, listed or not."},
		"net_impact": {"type": ["number", "null"], "description": "With signs: good news of a holding are positive."},
		"min_threshold": {"type": "number"},
		"items": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["id", "published_at", "title", "sentiment", "symbols", "weight", "impact", "net_impact"],
			"properties": {
				"id": {"type": "string"},
				"published_at": ` + moment + `,
				"title": {"type": "string"},
				"sentiment": {"type": "number"},
				"symbols": {"type": "array", "items": {"type": "string"}, "description": "The holdings that it mentions."},
				"weight": {"type": "number", "description": "Sum of their absolute weights."},
				"impact": {"type": "number"},
				"net_impact": {"type": "number"}
			}
		}},
		"below_threshold": {
			"type": "object", "additionalProperties": false, "required": ["items", "impact"],
			"properties": {"items": {"type": "integer"}, "impact": {"type": "number"}}
		},
		"by_symbol": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "weight", "items", "mean_sentiment", "impact", "net_impact"],
			"properties": {
				"symbol": {"type": "string"},
				"weight": {"type": "number"},
				"items": {"type": "integer"},
				"mean_sentiment": {"type": "number"},
				"impact": {"type": "number"},
				"net_impact": {"type": "number"}
			}
		}},
		"unjudged": ` + namedItems + `,
		"unweighted": ` + namedItems + `,
		"elsewhere": {"type": "integer", "description": "Items about nothing that is held."},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`
