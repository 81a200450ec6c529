package analyst

import "github.com/dawsos/dawsos/internal/agents/capability"

const exposuresArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.PackArg + `,
		"lookback_days": {"type": "integer", "minimum": 1, "maximum": 10000, "description": "Number of daily returns; as configured by default."}
	}
}`

const exposuresResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["alpha", "alpha_std_error", "alpha_t_stat", "factors", "r_squared", "adj_r_squared", "residual_volatility",
		"residual_std_error", "window", "insufficient_data"],
	"properties": {
		"alpha": {"$ref": "#/$defs/figure", "description": "The intercept, a day."},
		"alpha_std_error": {"$ref": "#/$defs/figure"},
		"alpha_t_stat": {"$ref": "#/$defs/figure"},
		"factors": {"type": "array", "description": "As configured.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["name", "kind", "symbol", "beta", "std_error", "t_stat", "variance_share"],
			"properties": {
				"name": {"type": "string"},
				"kind": {"enum": ["security", "fx", "macro"]},
				"symbol": {"type": "string"},
				"beta": {"$ref": "#/$defs/figure"},
				"std_error": {"$ref": "#/$defs/figure"},
				"t_stat": {"$ref": "#/$defs/figure"},
				"variance_share": {"$ref": "#/$defs/figure", "description": "beta x cov(factor, return) / var(return); they sum to r_squared."}
			}
		}},
		"r_squared": {"$ref": "#/$defs/figure"},
		"adj_r_squared": {"$ref": "#/$defs/figure"},
		"residual_volatility": {"$ref": "#/$defs/figure", "description": "Sample standard deviation of the residuals, a year."},
		"residual_std_error": {"$ref": "#/$defs/figure", "description": "Standard error of the regression, a day."},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const exposureHistoryArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id"],
	"properties": {` + capability.PortfolioArg + `,
		` + capability.WeeksArg + `
	}
}`

const exposureHistoryResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["history", "lookback_weeks", "window_returns", "insufficient_data"],
	"properties": {
		"history": {"type": "array", "description": "One regression a week, oldest first.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["date", "returns", "r_squared", "factors"],
			"properties": {
				"date": {"$ref": "#/$defs/day", "description": "The last day of the regression's returns."},
				"returns": {"type": "integer"},
				"r_squared": {"type": "number"},
				"factors": {"type": "array", "items": {
					"type": "object", "additionalProperties": false,
					"required": ["name", "beta", "std_error"],
					"properties": {
						"name": {"type": "string"},
						"beta": {"type": "number"},
						"std_error": {"type": "number"}
					}
				}}
			}
		}},
		"lookback_weeks": {"type": "integer"},
		"window_returns": {"type": "integer", "description": "Daily returns of a regression, unless there are fewer."},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const overlayArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["factor_exposures"],
	"properties": {
		"factor_exposures": {
			"type": "object", "description": "As risk.compute_factor_exposures answers.", "required": ["factors"],
			"properties": {"factors": {"type": "array", "maxItems": 100}}
		},
		"stdc": {"type": "object", "description": "As cycles.compute_short_term answers."},
		"ltdc": {"type": "object", "description": "As cycles.compute_long_term answers."}
	}
}`

const cycleRiskSchema = `{
	"type": ["object", "null"], "additionalProperties": false,
	"required": ["phase", "label", "start", "end", "factors"],
	"properties": {
		"phase": {"type": "string", "description": "That the cycle is in."},
		"label": {"type": ["string", "null"]},
		"start": {"$ref": "#/$defs/day", "description": "The first dated phase: the sample begins there."},
		"end": {"$ref": "#/$defs/day", "description": "The last dated phase."},
		"factors": {"type": "array", "description": "Most amplified first.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["rank", "name", "beta", "amplification", "volatility_in_phase", "volatility", "risk_in_phase", "phase_returns", "returns"],
			"properties": {
				"rank": {"type": ["integer", "null"]},
				"name": {"type": "string"},
				"beta": {"$ref": "#/$defs/figure"},
				"amplification": {"$ref": "#/$defs/figure", "description": "volatility_in_phase / volatility."},
				"volatility_in_phase": {"$ref": "#/$defs/figure", "description": "Of the factor, a year, over the days of the phase."},
				"volatility": {"$ref": "#/$defs/figure", "description": "Of the factor, a year, over all days since the first dated phase."},
				"risk_in_phase": {"$ref": "#/$defs/figure", "description": "|beta| x volatility_in_phase."},
				"phase_returns": {"type": "integer"},
				"returns": {"type": "integer"}
			}
		}}
	}
}`

const overlayResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["short_term", "long_term", "insufficient_data"],
	"properties": {
		"short_term": ` + cycleRiskSchema + `,
		"long_term": ` + cycleRiskSchema + `,
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`
