package research

import (
	"fmt"
	"math"
	"time"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Report is a company's figures as capabilities hand them to each other, in JSON.
type Report struct {
	SecurityID string           `json:"security_id"`
	Symbol     string           `json:"symbol"`
	Name       string           `json:"name"`
	AssetClass string           `json:"asset_class"`
	Sector     string           `json:"sector"`
	Currency   string           `json:"currency"` // of the price; amounts are in whatever the provider says
	Provider   *string          `json:"provider"` // null: all of them
	Asof       string           `json:"asof"`     // what was known on that day
	Figures    []ReportedFigure `json:"figures"`  // ordered by provider, then metric
}

// ReportedFigure is one figure of a report.
type ReportedFigure struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Provider  string  `json:"provider"`
	Date      string  `json:"date"`       // the day from which it is known
	PeriodEnd *string `json:"period_end"` // null when the provider did not say
}

// NewReport reports figures of a security.
func NewReport(security portfolio.Security, provider string, asof time.Time, figures []Fundamental) Report {
	r := Report{
		SecurityID: security.ID, Symbol: security.Symbol, Name: security.Name, AssetClass: security.AssetClass,
		Sector: security.Sector, Currency: security.Currency, Asof: asof.Format(time.DateOnly),
		Figures: make([]ReportedFigure, len(figures)),
	}
	if provider != "" {
		r.Provider = &provider
	}
	for i, f := range figures {
		r.Figures[i] = ReportedFigure{Metric: f.Metric, Value: f.Value, Provider: f.Provider, Date: f.Date.Format(time.DateOnly)}
		if !f.PeriodEnd.IsZero() {
			r.Figures[i].PeriodEnd = new(f.PeriodEnd.Format(time.DateOnly))
		}
	}
	return r
}

// Fundamentals returns the figures of a report that was handed in. The error names the first one that
// can't be read.
func (r Report) Fundamentals() ([]Fundamental, error) {
	list := make([]Fundamental, len(r.Figures))
	for i, f := range r.Figures {
		date, err := time.Parse(time.DateOnly, f.Date)
		if err != nil {
			return nil, fmt.Errorf("figures/%d/date: %q is not a date such as 2007-05-08", i, f.Date)
		}
		if math.IsNaN(f.Value) || math.IsInf(f.Value, 0) {
			return nil, fmt.Errorf("figures/%d/value: it must be finite", i)
		}
		list[i] = Fundamental{
			SecurityID: r.SecurityID, Symbol: r.Symbol, Provider: f.Provider, Metric: f.Metric, Date: date, Value: f.Value,
		}
	}
	return list, nil
}
