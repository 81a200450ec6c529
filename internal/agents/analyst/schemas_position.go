package analyst

import "github.com/dawsos/dawsos/internal/agents/capability"

const (
	// lineNames and lineProperties are how results say which line of a portfolio a row is about.
	lineNames      = `"symbol", "kind", "currency"`
	lineProperties = `
				"symbol": {"type": "string", "description": "CASH:USD for cash."},
				"kind": {"enum": ["security", "cash"]},
				"currency": {"$ref": "#/$defs/currency"}`

	// aboutNames and aboutProperties are how results say which security they are about.
	aboutNames      = `"symbol", "security_id", "name", "asset_class", "sector", "currency"`
	aboutProperties = `
		"symbol": {"type": "string"},
		"security_id": {"type": "string"},
		"name": {"type": "string"},
		"asset_class": {"type": "string"},
		"sector": {"type": "string"},
		"currency": {"$ref": "#/$defs/currency", "description": "Of the price."}`
)

const positionArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "security_id", "pack_id"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.SecurityArg + `, ` + capability.PackArg + `}
}`

const positionWindowArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "security_id", "pack_id"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.SecurityArg + `, ` + capability.PackArg + `, ` + capability.LookbackArg + `}
}`

const positionReturnArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "security_id", "pack_id"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.SecurityArg + `, ` + capability.PackArg + `, ` + capability.LookbackArg + `,
		` + riskFreeArg + `
	}
}`

const positionDetailsResult = `{
	"type": "object", "additionalProperties": false,
	"required": [` + aboutNames + `, "base_currency", "asof", "quantity", "average_cost", "price", "price_date", "fx_rate", "fx_date",
		"market_value", "weight", "cost_basis", "unrealized_pnl", "unrealized_return", "market_value_local", "cost_basis_local",
		"unrealized_pnl_local", "lots", "insufficient_data"],
	"properties": {` + aboutProperties + `,
		"base_currency": {"$ref": "#/$defs/currency"},
		"asof": {"$ref": "#/$defs/day"},
		"quantity": {"$ref": "#/$defs/decimal", "description": "0 when nothing is held, negative of a short position."},
		"average_cost": {"$ref": "#/$defs/decimal_or_null", "description": "Cost of one unit of what is held, in the security's currency."},
		"price": {"$ref": "#/$defs/decimal_or_null"},
		"price_date": {"$ref": "#/$defs/day_or_null"},
		"fx_rate": {"$ref": "#/$defs/decimal_or_null"},
		"fx_date": {"$ref": "#/$defs/day_or_null", "description": "Null in the base currency."},
		"market_value": {"$ref": "#/$defs/decimal_or_null"},
		"weight": {"$ref": "#/$defs/figure", "description": "In the net asset value."},
		"cost_basis": {"$ref": "#/$defs/decimal_or_null"},
		"unrealized_pnl": {"$ref": "#/$defs/decimal_or_null"},
		"unrealized_return": {"$ref": "#/$defs/figure", "description": "Unrealised profit over cost, in base currency."},
		"market_value_local": {"$ref": "#/$defs/decimal_or_null", "description": "In the security's currency, as those below."},
		"cost_basis_local": {"$ref": "#/$defs/decimal_or_null"},
		"unrealized_pnl_local": {"$ref": "#/$defs/decimal_or_null"},
		"lots": {"$ref": "#/$defs/lots"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const positionReturnResult = `{
	"type": "object", "additionalProperties": false,
	"required": [` + aboutNames + `, "base_currency", "total_return", "total_return_annualized", "price_return", "local_return", "fx_return", "volatility",
		"sharpe_ratio", "risk_free", "max_drawdown", "max_drawdown_peak", "max_drawdown_trough", "recovered_on", "recovery_days",
		"held_days", "window", "insufficient_data"],
	"properties": {` + aboutProperties + `,
		"base_currency": {"$ref": "#/$defs/currency"},
		"total_return": {"$ref": "#/$defs/figure", "description": "In base currency, of holding it over the window, dividends reinvested."},
		"total_return_annualized": {"$ref": "#/$defs/figure"},
		"price_return": {"$ref": "#/$defs/figure", "description": "In base currency, without dividends."},
		"local_return": {"$ref": "#/$defs/figure", "description": "In the security's currency."},
		"fx_return": {"$ref": "#/$defs/figure", "description": "Of that currency in base currency."},
		"volatility": {"$ref": "#/$defs/figure"},
		"sharpe_ratio": {"$ref": "#/$defs/figure"},
		"risk_free": ` + riskFreeSchema + `,
		"max_drawdown": {"$ref": "#/$defs/figure", "description": "Positive."},
		"max_drawdown_peak": {"$ref": "#/$defs/day_or_null"},
		"max_drawdown_trough": {"$ref": "#/$defs/day_or_null"},
		"recovered_on": {"$ref": "#/$defs/day_or_null", "description": "The first day at or above the peak again."},
		"recovery_days": {"type": ["integer", "null"], "description": "Valuation days from the trough to the recovery."},
		"held_days": {"type": ["integer", "null"], "description": "Days of the window at whose start it was held."},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const contributionResult = `{
	"type": "object", "additionalProperties": false,
	"required": [` + aboutNames + `, "weight", "average_weight", "return", "contribution", "held_days", "total_return", "costs", "positions",
		"window", "insufficient_data"],
	"properties": {` + aboutProperties + `,
		"weight": {"$ref": "#/$defs/figure", "description": "Of the security at the window's start, as those below are the security's."},
		"average_weight": {"$ref": "#/$defs/figure"},
		"return": {"$ref": "#/$defs/figure", "description": "Over the days held, in base currency."},
		"contribution": {"$ref": "#/$defs/figure"},
		"held_days": {"type": ["integer", "null"]},
		"total_return": {"$ref": "#/$defs/figure", "description": "Of the portfolio: the sum of all contributions and costs."},
		"costs": {"$ref": "#/$defs/figure"},
		"positions": {"type": "array", "description": "All lines, cash included.", "items": {
			"type": "object", "additionalProperties": false,
			"required": [` + lineNames + `, "weight", "average_weight", "return", "contribution", "held_days"],
			"properties": {` + lineProperties + `,
				"weight": {"type": "number", "description": "At the window's start."},
				"average_weight": {"type": "number"},
				"return": {"type": "number"},
				"contribution": {"type": "number"},
				"held_days": {"type": "integer"}
			}
		}},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const positionCurrencyResult = `{
	"type": "object", "additionalProperties": false,
	"required": [` + aboutNames + `, "base_currency", "total_return", "local_return", "fx_return", "interaction", "contribution", "window",
		"insufficient_data"],
	"properties": {` + aboutProperties + `,
		"base_currency": {"$ref": "#/$defs/currency"},
		"total_return": {"$ref": "#/$defs/figure", "description": "Of holding the security over the window, dividends reinvested: local + fx + interaction."},
		"local_return": {"$ref": "#/$defs/figure"},
		"fx_return": {"$ref": "#/$defs/figure"},
		"interaction": {"$ref": "#/$defs/figure"},
		"contribution": {
			"type": "object", "additionalProperties": false,
			"description": "To the portfolio's return over the days held, linked (Carino): total = local + fx + interaction.",
			"required": ["weight", "average_weight", "total", "local", "fx", "interaction"],
			"properties": {
				"weight": {"$ref": "#/$defs/figure", "description": "At the window's start."},
				"average_weight": {"$ref": "#/$defs/figure"},
				"total": {"$ref": "#/$defs/figure"},
				"local": {"$ref": "#/$defs/figure"},
				"fx": {"$ref": "#/$defs/figure"},
				"interaction": {"$ref": "#/$defs/figure"}
			}
		},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const positionRiskResult = `{
	"type": "object", "additionalProperties": false,
	"required": [` + aboutNames + `, "volatility", "var_95", "es_95", "beta", "correlation", "benchmark", "current_holdings", "window",
		"insufficient_data"],
	"properties": {` + aboutProperties + `,
		"volatility": {"$ref": "#/$defs/figure"},
		"var_95": {"$ref": "#/$defs/figure", "description": "One day's loss as a fraction of the position, positive."},
		"es_95": {"$ref": "#/$defs/figure"},
		"beta": {"$ref": "#/$defs/figure", "description": "Against the portfolio's realised returns."},
		"correlation": {"$ref": "#/$defs/figure", "description": "With the portfolio's realised returns."},
		"benchmark": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "beta", "correlation"],
			"properties": {
				"symbol": {"type": ["string", "null"]},
				"beta": {"$ref": "#/$defs/figure"},
				"correlation": {"$ref": "#/$defs/figure"}
			}
		},
		"current_holdings": {
			"type": "object", "additionalProperties": false, "description": "The weights of the as-of date over the window's days, by prices and exchange rates; dividends are not in it.",
			"required": ["var_95", "es_95", "volatility", "weight", "beta", "correlation", "component_var_95", "share", "positions"],
			"properties": {
				"var_95": {"$ref": "#/$defs/figure", "description": "Of the portfolio: one day's loss as a fraction of the net asset value, positive."},
				"es_95": {"$ref": "#/$defs/figure"},
				"volatility": {"$ref": "#/$defs/figure"},
				"weight": {"$ref": "#/$defs/figure", "description": "Of the security, as those below."},
				"beta": {"$ref": "#/$defs/figure"},
				"correlation": {"$ref": "#/$defs/figure"},
				"component_var_95": {"$ref": "#/$defs/figure", "description": "weight x beta x var_95."},
				"share": {"$ref": "#/$defs/figure", "description": "Of var_95: weight x beta."},
				"positions": {"type": "array", "description": "All lines; their components sum to var_95.", "items": {
					"type": "object", "additionalProperties": false,
					"required": [` + lineNames + `, "weight", "beta", "correlation", "var_95", "component_var_95", "share"],
					"properties": {
						"symbol": {"type": "string", "description": "CASH:USD for cash."},
						"kind": {"enum": ["security", "cash"]},
						"currency": {"$ref": "#/$defs/currency"},
						"weight": {"type": "number"},
						"beta": {"type": "number"},
						"correlation": {"$ref": "#/$defs/figure"},
						"var_95": {"type": "number", "description": "Of the line's own value."},
						"component_var_95": {"type": "number"},
						"share": {"type": "number"}
					}
				}}
			}
		},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const transactionsArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "security_id"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.SecurityArg + `,
		"limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
	}
}`

const transactionsResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "security_id", "asof", "transactions", "total"],
	"properties": {
		"portfolio_id": {"type": "string", "format": "uuid"},
		"security_id": {"type": "string"},
		"asof": {"$ref": "#/$defs/day"},
		"transactions": {"type": "array", "description": "Newest first.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["id", "seq", "date", "type", "symbol", "quantity", "price", "currency", "amount", "reverses"],
			"properties": {
				"id": {"type": "string"},
				"seq": {"type": "integer", "description": "In order of booking within the portfolio."},
				"date": {"$ref": "#/$defs/day"},
				"type": {"type": "string"},
				"symbol": {"type": "string"},
				"quantity": {"$ref": "#/$defs/decimal_or_null", "description": "Null where the type has none."},
				"price": {"$ref": "#/$defs/decimal_or_null", "description": "Null where the type has none."},
				"currency": {"$ref": "#/$defs/currency"},
				"amount": {"$ref": "#/$defs/decimal", "description": "Change of cash."},
				"reverses": {"type": ["string", "null"], "description": "The booking that a REVERSAL undoes."}
			}
		}},
		"total": {"type": "integer", "description": "How many there are, those beyond the limit included."}
	},
	` + defs + `
}`

const fundamentalsArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id"],
	"properties": {` + capability.SecurityArg + `}
}`

const fundamentalsResult = `{
	"type": "object", "additionalProperties": false,
	"required": [` + aboutNames + `, "fundamentals", "insufficient_data"],
	"properties": {` + aboutProperties + `,
		"fundamentals": {"type": "array", "description": "The newest figures, by provider, then metric.", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["provider", "metric", "value", "date", "period_end"],
			"properties": {
				"provider": {"type": "string"},
				"metric": {"type": "string"},
				"value": {"type": "number"},
				"date": {"$ref": "#/$defs/day", "description": "From which it was known."},
				"period_end": {"$ref": "#/$defs/day_or_null", "description": "Null when the provider did not say."}
			}
		}},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const comparablesArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["security_id"],
	"properties": {` + capability.SecurityArg + `,
		"sector": {"type": "string", "maxLength": 200, "description": "The security's own by default."},
		"limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 5}
	}
}`

const comparablesResult = `{
	"type": "object", "additionalProperties": false,
	"required": [` + aboutNames + `, "base_currency", "return_1y", "comparables", "window", "insufficient_data"],
	"properties": {` + aboutProperties + `,
		"base_currency": {"$ref": "#/$defs/currency"},
		"return_1y": {"$ref": "#/$defs/figure", "description": "Of the security itself, in base currency."},
		"comparables": {"type": "array", "description": "Held ones first, then by symbol.", "items": {
			"type": "object", "additionalProperties": false,
			"required": [` + aboutNames + `, "held", "weight", "return_1y"],
			"properties": {` + aboutProperties + `,
				"held": {"type": "boolean"},
				"weight": {"$ref": "#/$defs/figure", "description": "In the net asset value; null when it is not held."},
				"return_1y": {"$ref": "#/$defs/figure", "description": "In base currency."}
			}
		}},
		"window": {
			"type": "object", "additionalProperties": false, "description": "Prices are the last ones on or before the two days.",
			"required": ["start", "end"],
			"properties": {"start": {"$ref": "#/$defs/day"}, "end": {"$ref": "#/$defs/day"}}
		},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`
