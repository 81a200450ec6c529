package optimizer

import "github.com/dawsos/dawsos/internal/agents/capability"

// The JSON Schemas (2020-12) of what the capabilities are asked and what they answer; see
// capability.Defs. What other capabilities answer is described no further than it takes to tell a wrong
// object from a right one: it is read strictly where it matters.

const subject = capability.PortfolioArg + `, ` + capability.PackArg

const holdings = `
		"positions": {
			"type": "array", "maxItems": 10000, "description": "As pricing.apply_pack answers them.",
			"items": {"type": "object", "required": ["symbol", "quantity", "price", "currency", "fx_rate"]}
		},
		"cash": {
			"type": "array", "description": "As pricing.apply_pack answers it; without it, the ledger's.",
			"items": {"type": "object", "required": ["currency", "amount"]}
		}`

const fraction = `{"type": "number", "minimum": 0, "maximum": 1}`

const proposeArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id", "positions"],
	"properties": {` + subject + `,` + holdings + `,
		"ratings": {"type": "object", "description": "As ratings.aggregate answers: positions with symbol and overall, 0 to 100."},
		"policies": {
			"type": "array", "maxItems": 500, "description": "Weights and the values of max_position and max_sector are fractions of the net asset value.",
			"items": {
				"type": "object", "additionalProperties": false, "required": ["type"],
				"properties": {
					"type": {"enum": ["target_weight", "band", "max_position", "max_sector", "min_rating", "minimum_variance"]},
					"symbol": {"type": "string", "description": "Of target_weight and band."},
					"weight": ` + fraction + `,
					"min": ` + fraction + `,
					"max": ` + fraction + `,
					"value": {"type": "number", "minimum": 0, "maximum": 100, "description": "Of max_position and max_sector a fraction, of min_rating 0 to 100."}
				}
			}
		},
		"constraints": {
			"type": "object", "additionalProperties": false, "description": "In place of configured limits; shares in percent.",
			"properties": {` + limits + `}
		}
	}
}`

const limits = `
				"max_position_pct": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
				"min_position_pct": {"type": "number", "minimum": 0, "maximum": 100},
				"max_sector_pct": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
				"max_te_pct": {"type": "number", "minimum": 0, "maximum": 1000, "description": "Tracking error a year."},
				"max_turnover_pct": {"type": "number", "minimum": 0, "maximum": 200, "description": "Bought and sold together."},
				"min_lot_value": {"type": "number", "minimum": 0, "maximum": 1e12, "description": "Base currency."},
				"lot_size": {"type": "number", "minimum": 1e-6, "maximum": 1e6},
				"cost_per_trade": {"type": "number", "minimum": 0, "maximum": 1e6, "description": "Base currency."},
				"cost_bps": {"type": "number", "minimum": 0, "maximum": 1000, "description": "Of a trade's value."}`

const limitNames = `["max_position_pct", "min_position_pct", "max_sector_pct", "max_te_pct", "max_turnover_pct", "min_lot_value",
				"lot_size", "cost_per_trade", "cost_bps"]`

const beforeAfterFigure = `{
			"type": "object", "additionalProperties": false, "required": ["before", "after"],
			"properties": {"before": {"$ref": "#/$defs/figure"}, "after": {"$ref": "#/$defs/figure"}}
		}`

const beforeAfterMoney = `{
			"type": "object", "additionalProperties": false, "required": ["before", "after"],
			"properties": {"before": {"$ref": "#/$defs/decimal_or_null"}, "after": {"$ref": "#/$defs/decimal_or_null"}}
		}`

const conversionList = `{"type": "array", "description": "What pays for trades in a currency that falls short.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["sell_currency", "sell_amount", "buy_currency", "buy_amount"],
			"properties": {
				"sell_currency": {"$ref": "#/$defs/currency"},
				"sell_amount": {"$ref": "#/$defs/decimal"},
				"buy_currency": {"$ref": "#/$defs/currency"},
				"buy_amount": {"$ref": "#/$defs/decimal"}
			}
		}}`

const noteList = `{"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["rule", "symbol", "reason"],
			"properties": {
				"rule": {"type": "string"},
				"symbol": {"type": "string", "description": "Empty: all. Of max_sector, the sector."},
				"reason": {"type": "string"}
			}
		}}`

const reasonList = `{"type": ["array", "null"], "items": {"type": "string"}}`

const reference = `{"type": "string", "description": "benchmark:<symbol>, or current_holdings when there is no benchmark."}`

const proposeResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["currency", "total_value", "trades", "conversions", "targets", "turnover", "cost", "scale", "cash_before", "cash_after",
		"tracking_error", "tracking_error_reference", "volatility", "limits", "binding", "not_applied", "unmet", "window", "insufficient_data"],
	"properties": {
		"currency": {"$ref": "#/$defs/currency"},
		"total_value": {"$ref": "#/$defs/decimal_or_null", "description": "Net asset value before."},
		"trades": {"type": "array", "description": "Sells before buys, each by symbol.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "side", "quantity", "price", "currency", "fx_rate", "value", "cost", "weight_before", "weight_after",
				"weight_target", "reasons"],
			"properties": {
				"symbol": {"type": "string"},
				"side": {"enum": ["SELL", "BUY"]},
				"quantity": {"$ref": "#/$defs/decimal"},
				"price": {"$ref": "#/$defs/decimal"},
				"currency": {"$ref": "#/$defs/currency"},
				"fx_rate": {"$ref": "#/$defs/decimal"},
				"value": {"$ref": "#/$defs/decimal", "description": "Base currency, positive."},
				"cost": {"$ref": "#/$defs/decimal", "description": "Base currency."},
				"weight_before": {"type": "number"},
				"weight_after": {"type": "number"},
				"weight_target": {"type": "number"},
				"reasons": ` + reasonList + `
			}
		}},
		"conversions": ` + conversionList + `,
		"targets": {"type": "array", "description": "Of the securities whose weight is to change.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "weight", "target", "reasons"],
			"properties": {
				"symbol": {"type": "string"},
				"weight": {"type": "number"},
				"target": {"type": "number"},
				"reasons": ` + reasonList + `
			}
		}},
		"turnover": {"$ref": "#/$defs/figure", "description": "Bought and sold together, of the net asset value before."},
		"cost": {"$ref": "#/$defs/decimal_or_null"},
		"scale": {"$ref": "#/$defs/figure", "description": "Share of the way to the targets that was asked for before rounding."},
		"cash_before": {"$ref": "#/$defs/decimal_or_null", "description": "All currencies, in base currency."},
		"cash_after": {"$ref": "#/$defs/decimal_or_null"},
		"tracking_error": ` + beforeAfterFigure + `,
		"tracking_error_reference": ` + reference + `,
		"volatility": ` + beforeAfterFigure + `,
		"limits": {
			"type": "object", "additionalProperties": false, "description": "Those that were kept.",
			"required": ` + limitNames + `,
			"properties": {` + limits + `}
		},
		"binding": {"type": "array", "description": "Limits that kept the trades from the targets.", "items": {"type": "string"}},
		"not_applied": ` + noteList + `,
		"unmet": ` + noteList + `,
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

const impactArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["pack_id", "positions"],
	"properties": {` + subject + `,` + holdings + `,
		"trades": {
			"type": "array", "maxItems": 10000, "description": "As optimizer.propose_trades answers them; left out, none.",
			"items": {"type": "object", "required": ["symbol", "side", "quantity"]}
		}
	}
}`

const impactResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["currency", "total_value", "cash", "turnover", "cost", "volatility", "tracking_error", "tracking_error_reference",
		"hhi_with_cash", "largest_weight", "weights", "sectors", "conversions", "window", "insufficient_data"],
	"properties": {
		"currency": {"$ref": "#/$defs/currency"},
		"total_value": ` + beforeAfterMoney + `,
		"cash": ` + beforeAfterMoney + `,
		"turnover": {"$ref": "#/$defs/figure", "description": "Bought and sold together, of the net asset value before."},
		"cost": {"$ref": "#/$defs/decimal_or_null"},
		"volatility": ` + beforeAfterFigure + `,
		"tracking_error": ` + beforeAfterFigure + `,
		"tracking_error_reference": ` + reference + `,
		"hhi_with_cash": ` + beforeAfterFigure + `,
		"largest_weight": ` + beforeAfterFigure + `,
		"weights": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "before", "after"],
			"properties": {
				"symbol": {"type": "string", "description": "CASH:USD for cash."},
				"before": {"type": "number"},
				"after": {"type": "number"}
			}
		}},
		"sectors": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["sector", "before", "after"],
			"properties": {"sector": {"type": "string"}, "before": {"type": "number"}, "after": {"type": "number"}}
		}},
		"conversions": ` + conversionList + `,
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`

const hedgeOptions = `
		"max_cost_bps": {"type": "number", "minimum": 0, "maximum": 10000, "default": 20, "description": "Of the net asset value."},
		"method": {"enum": ["realised_returns", "current_holdings"], "default": "realised_returns",
			"description": "What is hedged: what the portfolio earned, or what today's weights would have."}`

const hedgesArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id"],
	"properties": {` + subject + `,` + hedgeOptions + `,
		"scenario_result": {"type": "object", "required": ["shocks", "delta"], "description": "As macro.run_scenario answers."}
	}
}`

const deleveragingHedgesArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "scenarios"],
	"properties": {` + subject + `,` + hedgeOptions + `,
		"scenarios": {
			"type": "object", "minProperties": 1, "maxProperties": 10, "description": "Answers of scenarios.deleveraging_*, by name.",
			"additionalProperties": {"type": ["object", "null"], "required": ["shocks", "delta"]}
		},
		"ltdc_phase": {"type": "string", "maxLength": 200, "description": "Phase of the long-term debt cycle; repeated in the answer."}
	}
}`

const hedgeMembers = `
		"currency": {"$ref": "#/$defs/currency"},
		"scenario_id": {"type": ["string", "null"]},
		"method": {"enum": ["realised_returns", "current_holdings"]},
		"max_cost_bps": {"type": "number"},
		"delta": {"$ref": "#/$defs/decimal_or_null", "description": "Of the portfolio in the scenario."},
		"hedges": {"type": "array", "description": "The most effective first.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "security_id", "name", "asset_class", "currency", "held", "action", "hedge_ratio", "effectiveness",
				"notional", "cost", "cost_bps", "scenario_delta"],
			"properties": {
				"symbol": {"type": "string"},
				"security_id": {"type": "string"},
				"name": {"type": "string"},
				"asset_class": {"type": "string"},
				"currency": {"$ref": "#/$defs/currency"},
				"held": {"type": "boolean"},
				"action": {"enum": ["SELL", "BUY"]},
				"hedge_ratio": {"type": "number", "description": "cov(r_p, r_h) / var(r_h)."},
				"effectiveness": {"type": "number", "description": "R²: share of the variance that the hedge would have taken away."},
				"notional": {"$ref": "#/$defs/decimal", "description": "hedge_ratio x net asset value, to sell; negative: to buy. Base currency."},
				"cost": {"$ref": "#/$defs/decimal"},
				"cost_bps": {"type": "number", "description": "Of the net asset value."},
				"scenario_delta": {"$ref": "#/$defs/decimal", "description": "What the hedge gains in the scenario."}
			}
		}},
		"excluded": {"type": "array", "description": "Candidates that are not suggested.", "items": {
			"type": "object", "additionalProperties": false, "required": ["symbol", "reason"],
			"properties": {"symbol": {"type": "string"}, "reason": {"type": "string"}}
		}},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}`

const hedgesResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["currency", "scenario_id", "method", "max_cost_bps", "delta", "hedges", "excluded", "window", "insufficient_data"],
	"properties": {` + hedgeMembers + `},
	` + capability.Defs + `
}`

const deleveragingHedgesResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["ltdc_phase", "scenarios", "insufficient_data"],
	"properties": {
		"ltdc_phase": {"type": ["string", "null"]},
		"scenarios": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["scenario", "currency", "scenario_id", "method", "max_cost_bps", "delta", "hedges", "excluded", "window", "insufficient_data"],
			"properties": {"scenario": {"type": "string"},` + hedgeMembers + `}
		}},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`
