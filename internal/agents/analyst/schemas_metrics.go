package analyst

import "github.com/dawsos/dawsos/internal/agents/capability"

import (
	"encoding/json"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// windowArgs are those of a capability about the portfolio's last returns.
const windowArgs = `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.PackArg + `,
		` + capability.LookbackArg + `
	}
}`

func computeArgs() string {
	names, err := json.Marshal(portfolio.FigureNames())
	if err != nil {
		panic(err) // strings always can be
	}
	return `{
	"type": "object", "additionalProperties": false,
	"required": ["portfolio_id", "pack_id", "metric"],
	"properties": {` + capability.PortfolioArg + `, ` + capability.PackArg + `,
		"metric": {"enum": ` + string(names) + `}
	}
}`
}

const computeResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["metric", "value", "currency", "asof", "insufficient_data"],
	"properties": {
		"metric": {"type": "string"},
		"value": {"$ref": "#/$defs/figure", "description": "A fraction or ratio; base currency for nav."},
		"currency": {"$ref": "#/$defs/currency"},
		"asof": {"$ref": "#/$defs/day_or_null", "description": "The last valuation day."},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const riskFreeSchema = `{
	"type": "object", "additionalProperties": false,
	"required": ["source", "annual"],
	"properties": {
		"source": {"type": ["string", "null"], "description": "macro:<series>, or input when the caller fixed the rate."},
		"annual": {"$ref": "#/$defs/figure"}
	}
}`

const computeSharpeResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["sharpe_ratio", "excess_return", "volatility", "risk_free", "window", "insufficient_data"],
	"properties": {
		"sharpe_ratio": {"$ref": "#/$defs/figure", "description": "A year."},
		"excess_return": {"$ref": "#/$defs/figure", "description": "Mean return above the risk-free rate, a year."},
		"volatility": {"$ref": "#/$defs/figure", "description": "Of the returns above the risk-free rate, a year."},
		"risk_free": ` + riskFreeSchema + `,
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`

const historyResult = `{
	"type": "object", "additionalProperties": false,
	"required": ["currency", "days", "nav", "returns", "index", "drawdown", "benchmark", "benchmark_symbol", "window", "insufficient_data"],
	"properties": {
		"currency": {"$ref": "#/$defs/currency"},
		"days": {"type": "array", "items": {"$ref": "#/$defs/day"}, "description": "Valuation days; the lists below are as long."},
		"nav": {"type": ["array", "null"], "items": {"type": "number"}, "description": "Net asset value in base currency."},
		"returns": {"type": ["array", "null"], "items": {"$ref": "#/$defs/figure"}, "description": "The first day has none."},
		"index": {"type": ["array", "null"], "items": {"type": "number"}, "description": "Compounded returns, 1 on the first day."},
		"drawdown": {"type": ["array", "null"], "items": {"type": "number"}, "description": "Below the running maximum since the first day; positive."},
		"benchmark": {"type": ["array", "null"], "items": {"type": "number"}, "description": "The benchmark's compounded returns in base currency, 1 on the first day."},
		"benchmark_symbol": {"type": ["string", "null"]},
		"window": {"$ref": "#/$defs/window"},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + defs + `
}`
