package analyst

import "github.com/dawsos/dawsos/internal/agents/capability"

// The JSON Schemas (2020-12) of what the capabilities are asked and what they answer. Objects are
// closed: what is not listed does not come, and templates that reach for it are found out before
// they run. Fractions are numbers; amounts, prices and quantities are decimal strings. Of a figure
// that is null, insufficient_data says why.

const defs = capability.Defs

const riskFreeArg = `"risk_free_annual": {"type": "number", "exclusiveMinimum": -1, "exclusiveMaximum": 1, "description": "Yearly rate as a fraction; without it, the configured series."}`

const positionsArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id"],
	"properties": {` + capability.PortfolioArg + `,
		` + capability.AsofArg + `
	}
}`

const positionsResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "ledger_version", "asof", "base_currency", "cost_method", "positions", "cash"],
	"properties": {
		"portfolio_id": {"type": "string", "format": "uuid"},
		"ledger_version": {"type": "string"},
		"asof": {"$ref": "#/$defs/day"},
		"base_currency": {"$ref": "#/$defs/currency"},
		"cost_method": {"enum": ["fifo", "average"], "description": "How sales consume lots."},
		"positions": {"type": "array", "items": {"$ref": "#/$defs/held_position"}},
		"cash": {"type": "array", "items": {"$ref": "#/$defs/held_cash"}}
	},
	` + defs + `
}`

// The lines are described no further than it takes to tell a wrong list from a right one: there may
// be thousands, they come from ledger.positions, and the capability reads each of them strictly.
const applyPackArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["positions", "cash", "pack_id"],
	"properties": {
		"positions": {
			"type": "array", "description": "As ledger.positions answers them.",
			"items": {"type": "object", "required": ["symbol", "currency", "quantity", "lots"]}
		},
		"cash": {
			"type": "array", "description": "As ledger.positions answers it.",
			"items": {"type": "object", "required": ["currency", "amount"]}
		},
		` + capability.PackArg + `
	}
}`

const applyPackResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["total_value", "currency", "asof", "positions", "cash", "unpriced", "concentration", "insufficient_data"],
	"properties": {
		"total_value": {"$ref": "#/$defs/decimal_or_null", "description": "Net asset value."},
		"currency": {"$ref": "#/$defs/currency"},
		"asof": {"$ref": "#/$defs/day"},
		"positions": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "security_id", "name", "asset_class", "sector", "quantity", "price", "price_date", "currency",
				"fx_rate", "fx_date", "market_value", "weight", "cost_basis", "unrealized_pnl",
				"market_value_local", "cost_basis_local", "unrealized_pnl_local"],
			"properties": {
				"symbol": {"type": "string"},
				"security_id": {"type": "string"},
				"name": {"type": "string"},
				"asset_class": {"type": "string"},
				"sector": {"type": "string"},
				"quantity": {"$ref": "#/$defs/decimal"},
				"price": {"$ref": "#/$defs/decimal_or_null"},
				"price_date": {"$ref": "#/$defs/day_or_null"},
				"currency": {"$ref": "#/$defs/currency"},
				"fx_rate": {"$ref": "#/$defs/decimal_or_null"},
				"fx_date": {"$ref": "#/$defs/day_or_null", "description": "Null in the base currency."},
				"market_value": {"$ref": "#/$defs/decimal_or_null"},
				"weight": {"$ref": "#/$defs/figure"},
				"cost_basis": {"$ref": "#/$defs/decimal_or_null"},
				"unrealized_pnl": {"$ref": "#/$defs/decimal_or_null"},
				"market_value_local": {"$ref": "#/$defs/decimal_or_null", "description": "In the security's currency, as those below."},
				"cost_basis_local": {"$ref": "#/$defs/decimal_or_null"},
				"unrealized_pnl_local": {"$ref": "#/$defs/decimal_or_null"}
			}
		}},
		"cash": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["currency", "amount", "fx_rate", "fx_date", "market_value", "weight"],
			"properties": {
				"currency": {"$ref": "#/$defs/currency"},
				"amount": {"$ref": "#/$defs/decimal"},
				"fx_rate": {"$ref": "#/$defs/decimal_or_null"},
				"fx_date": {"$ref": "#/$defs/day_or_null"},
				"market_value": {"$ref": "#/$defs/decimal_or_null"},
				"weight": {"$ref": "#/$defs/figure"}
			}
		}},
		"unpriced": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "reason"],
			"properties": {"symbol": {"type": "string"}, "reason": {"type": "string"}}
		}},
		"concentration": {
			"type": "object", "additionalProperties": false,
			"required": ["hhi_with_cash", "hhi_securities", "effective_n", "top3_weight"],
			"properties": {
				"hhi_with_cash": {"$ref": "#/$defs/figure", "description": "Sum of squared weights."},
				"hhi_securities": {"$ref": "#/$defs/figure"},
				"effective_n": {"$ref": "#/$defs/figure"},
				"top3_weight": {"$ref": "#/$defs/figure"}
			}
		},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const computeTWRArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.PackArg + `,
		` + capability.LookbackArg + `,
		` + riskFreeArg + `
	}
}`

const computeTWRResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["currency", "twr", "twr_annualized", "twr_since_inception", "mwr_window", "mwr_since_inception", "volatility",
		"sharpe_ratio", "sortino_ratio", "risk_free", "max_drawdown", "max_drawdown_trough", "var_95", "es_95", "benchmark",
		"window", "insufficient_data"],
	"properties": {
		"currency": {"$ref": "#/$defs/currency"},
		"twr": {"$ref": "#/$defs/figure", "description": "Time-weighted return of the window."},
		"twr_annualized": {"$ref": "#/$defs/figure"},
		"twr_since_inception": {"$ref": "#/$defs/figure"},
		"mwr_window": {"$ref": "#/$defs/figure", "description": "Money-weighted, a year."},
		"mwr_since_inception": {"$ref": "#/$defs/figure", "description": "Money-weighted, a year."},
		"volatility": {"$ref": "#/$defs/figure"},
		"sharpe_ratio": {"$ref": "#/$defs/figure"},
		"sortino_ratio": {"$ref": "#/$defs/figure"},
		"risk_free": ` + riskFreeSchema + `,
		"max_drawdown": {"$ref": "#/$defs/figure", "description": "Positive."},
		"max_drawdown_trough": {"$ref": "#/$defs/day_or_null"},
		"var_95": {"$ref": "#/$defs/figure", "description": "One day's loss, positive."},
		"es_95": {"$ref": "#/$defs/figure", "description": "One day's loss, positive."},
		"benchmark": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "return", "beta", "alpha", "correlation", "tracking_error", "information_ratio"],
			"properties": {
				"symbol": {"type": ["string", "null"]},
				"return": {"$ref": "#/$defs/figure"},
				"beta": {"$ref": "#/$defs/figure"},
				"alpha": {"$ref": "#/$defs/figure", "description": "A year."},
				"correlation": {"$ref": "#/$defs/figure"},
				"tracking_error": {"$ref": "#/$defs/figure"},
				"information_ratio": {"$ref": "#/$defs/figure"}
			}
		},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const currencyArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.PackArg + `,
		` + capability.LookbackArg + `,
		"from": {"type": "string", "format": "date", "description": "One period from this day over its holdings, instead of linked days."}
	}
}`

const currencyResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["currency", "method", "total_return", "local_return", "fx_return", "interaction", "costs", "positions", "window",
		"insufficient_data"],
	"properties": {
		"currency": {"$ref": "#/$defs/currency"},
		"method": {"enum": ["daily_linked", "start_holdings"]},
		"total_return": {"$ref": "#/$defs/figure"},
		"local_return": {"$ref": "#/$defs/figure"},
		"fx_return": {"$ref": "#/$defs/figure"},
		"interaction": {"$ref": "#/$defs/figure"},
		"costs": {"$ref": "#/$defs/figure"},
		"positions": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["symbol", "kind", "currency", "weight", "average_weight", "local", "fx", "interaction"],
			"properties": {
				"symbol": {"type": "string", "description": "CASH:USD for cash."},
				"kind": {"enum": ["security", "cash"]},
				"currency": {"$ref": "#/$defs/currency"},
				"weight": {"type": "number", "description": "At the window's start."},
				"average_weight": {"type": "number"},
				"local": {"type": "number"},
				"fx": {"type": "number"},
				"interaction": {"type": "number"}
			}
		}},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`
