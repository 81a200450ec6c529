package capability

// Defs are the definitions that result schemas share, a member "$defs" to concatenate. Objects are
// closed: what is not listed does not come. Fractions are numbers; amounts, prices and quantities are
// decimal strings. Of a figure that is null, insufficient_data says why.
const Defs = `"$defs": {
	"decimal": {"type": "string", "pattern": "^-?[0-9]+([.][0-9]+)?$"},
	"decimal_or_null": {"type": ["string", "null"], "pattern": "^-?[0-9]+([.][0-9]+)?$"},
	"figure": {"type": ["number", "null"]},
	"currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
	"day": {"type": "string", "format": "date"},
	"day_or_null": {"type": ["string", "null"], "format": "date"},
	"window": {
		"type": ["object", "null"], "additionalProperties": false,
		"required": ["start", "end", "returns"],
		"properties": {
			"start": {"$ref": "#/$defs/day", "description": "Day of the first valuation."},
			"end": {"$ref": "#/$defs/day"},
			"returns": {"type": "integer", "minimum": 1, "description": "Number of daily returns."}
		}
	},
	"insufficient_data": {
		"type": "array",
		"items": {
			"type": "object", "additionalProperties": false,
			"required": ["field", "missing", "reason"],
			"properties": {
				"field": {"type": "string", "description": "Path of the figure that is null."},
				"missing": {"type": "string", "description": "What it takes, such as prices:SBI."},
				"reason": {"type": "string"}
			}
		}
	},
	"lots": {"type": "array", "description": "Oldest first.", "items": {
		"type": "object", "additionalProperties": false,
		"required": ["date", "quantity", "cost", "currency"],
		"properties": {
			"date": {"$ref": "#/$defs/day"},
			"quantity": {"$ref": "#/$defs/decimal"},
			"cost": {"$ref": "#/$defs/decimal"},
			"currency": {"$ref": "#/$defs/currency"}
		}
	}},
	"held_position": {
		"type": "object", "additionalProperties": false,
		"required": ["symbol", "security_id", "name", "asset_class", "sector", "currency", "quantity", "cost", "cost_currency", "lots"],
		"properties": {
			"symbol": {"type": "string"},
			"security_id": {"type": "string"},
			"name": {"type": "string"},
			"asset_class": {"type": "string"},
			"sector": {"type": "string"},
			"currency": {"$ref": "#/$defs/currency", "description": "Of the price."},
			"quantity": {"$ref": "#/$defs/decimal"},
			"cost": {"$ref": "#/$defs/decimal_or_null", "description": "Of the open lots; null when they were paid in several currencies."},
			"cost_currency": {"type": ["string", "null"]},
			"lots": {"$ref": "#/$defs/lots"},
			"splits": {
				"type": "array", "description": "Up to the day; a price from before one is in old shares. Absent when there was none.",
				"items": {
					"type": "object", "additionalProperties": false,
					"required": ["date", "ratio"],
					"properties": {
						"date": {"$ref": "#/$defs/day"},
						"ratio": {"$ref": "#/$defs/decimal", "description": "New shares for one old share."}
					}
				}
			}
		}
	},
	"held_cash": {
		"type": "object", "additionalProperties": false,
		"required": ["currency", "amount"],
		"properties": {"currency": {"$ref": "#/$defs/currency"}, "amount": {"$ref": "#/$defs/decimal"}}
	}
}`

// Arguments that many capabilities take: members of the "properties" of what they are asked, to
// concatenate.
const (
	PortfolioArg = `"portfolio_id": {"type": "string", "format": "uuid", "description": "The run's portfolio."}`
	PackArg      = `"pack_id": {"type": "string", "format": "uuid", "description": "The run's pricing pack."}`
	SecurityArg  = `"security_id": {"type": "string", "format": "uuid"}`
	LookbackArg  = `"lookback_days": {"type": "integer", "minimum": 1, "maximum": 10000, "default": 252, "description": "Number of daily returns."}`
	WeeksArg     = `"lookback_weeks": {"type": "integer", "minimum": 1, "maximum": 520, "default": 4}`
	AsofArg      = `"asof": {"type": "string", "format": "date", "description": "Not after the run's as-of date, which is the default."}`
)
