// Package reports is the agent reports: it writes other capabilities' answers as documents, in PDF,
// HTML and CSV.
//
// A document says what it was computed from (pricing pack, ledger version, as-of date, sources) and,
// in words, which figures are missing and why. It holds nothing that is not in the answers or in the
// run's circumstances: no clock and no random ids, so that the same run gives the same bytes.
package reports

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Name is the agent's name in traces, metrics and breaker settings.
const Name = "reports"

const (
	// maxLines is how many positions, or lines of an attribution, a document holds.
	maxLines = 5_000
	// maxBytes bounds a document.
	maxBytes = 8 << 20
)

// Reports writes documents. The zero value is ready.
type Reports struct{}

var _ agent.Agent = Reports{}

// New returns the agent.
func New() Reports { return Reports{} }

// Name implements agent.Agent.
func (Reports) Name() string { return Name }

// format is a way to write a document.
type format struct {
	capability, name, mediaType, extension string
	description                            string
	write                                  func(document) (content []byte, pages *int, err error)
}

var formats = []format{
	{
		"reports.render_pdf", "pdf", "application/pdf", ".pdf",
		"A report on a portfolio as PDF: holdings, performance and macro regime with what they were computed from, and what is missing in words; base64.",
		writePDF,
	},
	{
		"reports.render_html", "html", "text/html; charset=utf-8", ".html",
		"The report as one HTML file without scripts or references; base64.",
		writeHTML,
	},
	{
		"reports.export_csv", "csv", "text/csv; charset=utf-8", ".csv",
		"The report's figures as CSV with the columns section, item, field and value, unrounded; base64.",
		writeCSV,
	},
}

// Capabilities implements agent.Agent. All are pure: they see nothing but their arguments and the
// run's pack, as-of date, portfolio and ledger version.
func (Reports) Capabilities() []agent.Capability {
	capabilities := make([]agent.Capability, 0, len(formats))
	for _, f := range formats {
		capabilities = append(capabilities, agent.Capability{
			Name: f.capability, Description: f.description,
			Args: json.RawMessage(argsSchema), Result: json.RawMessage(resultSchema),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: func(_ context.Context, req agent.Request) (agent.Result, error) { return f.run(req) },
		})
	}
	return capabilities
}

// result is the answer: a file.
type result struct {
	Format       string                    `json:"format"`
	Filename     string                    `json:"filename"`
	MediaType    string                    `json:"media_type"`
	Bytes        int                       `json:"bytes"`
	SHA256       string                    `json:"sha256"`
	Content      []byte                    `json:"content_base64"`
	Pages        *int                      `json:"pages"` // of a PDF
	Sections     []string                  `json:"sections"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

// asked are the arguments.
type asked struct {
	PackID          *string         `json:"pack_id"`
	LedgerVersion   *string         `json:"ledger_version"`
	Title           *string         `json:"title"`
	ValuedPositions json.RawMessage `json:"valued_positions"`
	PerfMetrics     json.RawMessage `json:"perf_metrics"`
	CurrencyAttr    json.RawMessage `json:"currency_attr"`
	Regime          json.RawMessage `json:"regime"`
	Sections        struct {
		Holdings    *bool `json:"holdings"`
		Performance *bool `json:"performance"`
		Macro       *bool `json:"macro"`
	} `json:"sections"`
}

func (f format) run(req agent.Request) (agent.Result, error) {
	var args asked
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	if args.PackID != nil {
		if err := capability.SamePack(req, *args.PackID); err != nil {
			return agent.Result{}, err
		}
	}
	p := req.Context.Portfolio
	if v := args.LedgerVersion; v != nil && (p == nil || *v != p.LedgerVersion) {
		return agent.Result{}, fault.InvalidField("/args/ledger_version", "is not the version of the run's ledger")
	}
	d, err := compose(req.Context, args)
	if err != nil {
		return agent.Result{}, err
	}
	content, pages, err := f.write(d)
	if err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Internal, "the report can't be written as %s", f.name)
	}
	if len(content) > maxBytes {
		return agent.Result{}, fault.New(fault.TooLarge, "the report would have %d bytes, more than %d; leave a section out", len(content), maxBytes)
	}
	sum := sha256.Sum256(content)
	return agent.Result{Value: result{
		Format: f.name, Filename: "portfolio-report-" + d.Asof + f.extension, MediaType: f.mediaType,
		Bytes: len(content), SHA256: hex.EncodeToString(sum[:]), Content: content, Pages: pages,
		Sections: d.ids(), Insufficient: d.missing(),
	}}, nil
}
