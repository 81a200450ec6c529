// Package research holds what others have said of securities: figures from companies' accounts,
// ratings and news. It computes scores of its own from the figures (see [Model]) and what news
// amount to for a portfolio (see [Impact]). It is pure: no database, no clock, no randomness.
package research

import (
	"time"

	"github.com/shopspring/decimal"
)

// Fundamental is one figure of a company's accounts, as a provider gave it.
type Fundamental struct {
	SecurityID string // UUID
	Symbol     string
	Provider   string    // "fmp"
	Metric     string    // "roe_5y", see Metrics
	Date       time.Time // UTC midnight of the day from which it is known
	PeriodEnd  time.Time // last day of the period that it is of; zero when the provider did not say
	Value      float64   // in the metric's unit; finite
}

// Rating is one score of a security, as somebody gave it.
type Rating struct {
	SecurityID string // UUID
	Symbol     string
	Metric     string          // "moat_score"; the metrics are those of alert rules of type rating
	Date       time.Time       // UTC midnight of the day from which it is known
	Score      decimal.Decimal // 0 to 10
	Source     string          // who gave it; may be ""
}

// NewsItem is one news item about securities.
type NewsItem struct {
	ID          string    // the source's
	PublishedAt time.Time // UTC
	Title       string
	Source      string
	URL         string   // "" when there is none
	Sentiment   *float64 // -1 to 1; nil when nobody judged it
	Symbols     []string // of the securities that it is about
}
