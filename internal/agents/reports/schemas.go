package reports

import "github.com/dawsos/dawsos/internal/agents/capability"

const argsSchema = `{
	"type": "object", "additionalProperties": false,
	"properties": {` + capability.PackArg + `,
		"ledger_version": {"type": "string", "maxLength": 200, "description": "The run's."},
		"title": {"type": "string", "maxLength": 200, "description": "Heading; default is Portfolio report."},
		"valued_positions": {"type": "object", "description": "As pricing.apply_pack answers it."},
		"perf_metrics": {"type": "object", "description": "As metrics.compute_twr answers it."},
		"currency_attr": {"type": "object", "description": "As attribution.currency answers it."},
		"regime": {"type": "object", "description": "As macro.detect_regime answers it."},
		"sections": {
			"type": "object", "additionalProperties": false,
			"description": "Which sections there are. Without it, those that there is an argument for.",
			"properties": {
				"holdings": {"type": ["boolean", "null"]},
				"performance": {"type": ["boolean", "null"]},
				"macro": {"type": ["boolean", "null"]}
			}
		}
	}
}`

const resultSchema = `{
	"type": "object", "additionalProperties": false,
	"required": ["format", "filename", "media_type", "bytes", "sha256", "content_base64", "pages", "sections", "insufficient_data"],
	"properties": {
		"format": {"enum": ["pdf", "html", "csv"]},
		"filename": {"type": "string"},
		"media_type": {"type": "string"},
		"bytes": {"type": "integer", "minimum": 1, "description": "Length of the file."},
		"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Of the file."},
		"content_base64": {"type": "string", "description": "The file."},
		"pages": {"type": ["integer", "null"], "minimum": 1, "description": "Of a PDF."},
		"sections": {"type": "array", "items": {"enum": ["holdings", "performance", "macro"]}},
		"insufficient_data": {"$ref": "#/$defs/insufficient_data"}
	},
	` + capability.Defs + `
}`
