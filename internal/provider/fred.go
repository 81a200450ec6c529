package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// FRED is the Federal Reserve Bank of St. Louis' collection of macro series
// (https://fred.stlouisfed.org/docs/api/fred/). It dates an observation by the first day of its period,
// and answers with the latest revision of the past.
type FRED struct{ service }

// NewFRED returns the provider. FRED allows 120 requests a minute.
func NewFRED(o Options) *FRED {
	return &FRED{newService("fred", "https://api.stlouisfed.org", 100, time.Minute, o, keyInQuery("api_key"))}
}

// Name implements Provider.
func (*FRED) Name() string { return "fred" }

// Kind implements Provider.
func (*FRED) Kind() Kind { return Macro }

// pageOfObservations is the most that FRED answers at once.
const pageOfObservations = 100_000

// frequencies maps FRED's frequencies that an import knows to its words for them.
var frequencies = map[string]string{
	"D": "daily", "W": "weekly", "M": "monthly", "Q": "quarterly", "A": "annual",
}

// Fetch implements Provider.
func (f *FRED) Fetch(ctx context.Context, series []string, since time.Time, emit func(Row) error) error {
	for _, id := range series {
		if err := f.fetch(ctx, id, since, emit); err != nil {
			return err
		}
	}
	return nil
}

func (f *FRED) fetch(ctx context.Context, id string, since time.Time, emit func(Row) error) error {
	var about struct {
		Series []struct {
			Units     string `json:"units"`
			Frequency string `json:"frequency_short"`
		} `json:"seriess"` // as FRED spells it
	}
	if err := f.get(ctx, id, "/fred/series", url.Values{"series_id": {id}, "file_type": {"json"}}, &about); err != nil {
		return err
	}
	if len(about.Series) != 1 {
		return &Error{Provider: f.name, Subject: id, Detail: fmt.Sprintf("%d descriptions of the series instead of one", len(about.Series))}
	}
	frequency, known := frequencies[about.Series[0].Frequency]
	if !known {
		return &Error{Provider: f.name, Subject: id, Detail: fmt.Sprintf("its frequency %q is not one of daily to annual", about.Series[0].Frequency)}
	}
	for offset := 0; ; offset += pageOfObservations {
		var page struct {
			Count        int `json:"count"`
			Observations []struct {
				Date  string `json:"date"`
				Value string `json:"value"`
			} `json:"observations"`
		}
		query := url.Values{
			"series_id": {id}, "file_type": {"json"}, "sort_order": {"asc"},
			"limit": {strconv.Itoa(pageOfObservations)}, "offset": {strconv.Itoa(offset)},
		}
		if !since.IsZero() {
			query.Set("observation_start", since.Format(time.DateOnly))
		}
		if err := f.get(ctx, id, "/fred/series/observations", query, &page); err != nil {
			return err
		}
		for _, o := range page.Observations {
			if o.Value == "." { // a day without a value, a holiday for instance
				continue
			}
			if _, err := strconv.ParseFloat(o.Value, 64); err != nil {
				return &Error{Provider: f.name, Subject: id, Detail: fmt.Sprintf("the value %.40q of %.20q is no number", o.Value, o.Date)}
			}
			start, err := time.Parse(time.DateOnly, o.Date)
			if err != nil {
				return &Error{Provider: f.name, Subject: id, Detail: fmt.Sprintf("the date %.20q is none", o.Date)}
			}
			err = emit(MacroRow{
				Series: id, Date: periodEnd(start, frequency).Format(time.DateOnly), Value: json.Number(o.Value),
				Unit: about.Series[0].Units, Frequency: frequency, Origin: "FRED",
			})
			if err != nil {
				return err
			}
		}
		if len(page.Observations) < pageOfObservations || offset+pageOfObservations >= page.Count {
			return nil
		}
	}
}

// periodEnd returns the last day of the period that begins with a day. FRED dates weeks by their end.
func periodEnd(start time.Time, frequency string) time.Time {
	switch frequency {
	case "monthly":
		return start.AddDate(0, 1, -start.Day())
	case "quarterly":
		return time.Date(start.Year(), start.Month()+3, 0, 0, 0, 0, 0, time.UTC)
	case "annual":
		return time.Date(start.Year(), time.December, 31, 0, 0, 0, 0, time.UTC)
	}
	return start
}
