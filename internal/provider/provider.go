// Package provider fetches macro series, fundamentals and news from services outside, in the form in
// which they are imported.
//
// A provider knows one service's documented answers and nothing of the database. What it fetches goes
// through the same import as a file that somebody sends, so that it is checked, has a revision and
// makes pricing packs.
package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/failsafe-go/failsafe-go/ratelimiter"

	"github.com/dawsos/dawsos/internal/outbound"
)

// Kind is the kind of import that a provider's rows are for.
type Kind string

// The kinds of what is fetched.
const (
	Macro        Kind = "macro"
	Fundamentals Kind = "fundamentals"
	News         Kind = "news"
)

// Provider fetches rows from one service.
type Provider interface {
	// Name is the provider's in settings, metrics and rows: "fred".
	Name() string
	Kind() Kind
	// Fetch calls emit with each row that is known about subjects (series or symbols) since a day. What it
	// can't understand or get is an *Error; rows emitted before it are good.
	Fetch(ctx context.Context, subjects []string, since time.Time, emit func(Row) error) error
}

// Row is a MacroRow, a FundamentalRow or a NewsRow; as JSON it is a row of an import.
type Row any

// MacroRow is one observation. Date is the last day of the observed period.
type MacroRow struct {
	Series    string      `json:"series"`
	Date      string      `json:"date"`
	Value     json.Number `json:"value"`
	Unit      string      `json:"unit"`
	Frequency string      `json:"frequency"`
	Origin    string      `json:"origin"`
}

// FundamentalRow is one figure of a company's accounts. Date is the day from which it is known.
type FundamentalRow struct {
	Symbol    string  `json:"symbol"`
	Provider  string  `json:"provider"`
	Metric    string  `json:"metric"`
	Date      string  `json:"date"`
	PeriodEnd string  `json:"period_end,omitempty"`
	Value     float64 `json:"value"`
}

// NewsRow is one article.
type NewsRow struct {
	ID          string   `json:"id"`
	PublishedAt string   `json:"published_at"` // RFC 3339
	Title       string   `json:"title"`
	Source      string   `json:"source"`
	URL         string   `json:"url,omitempty"`
	Sentiment   *float64 `json:"sentiment"` // -1 to 1; null when the service did not judge it
	Symbols     []string `json:"symbols"`
}

// Error says what a service did not do. Its text holds neither key nor address.
type Error struct {
	Provider string
	Subject  string // series or symbol; "" when it is about all
	Status   int    // of the answer; 0 when there was none
	Detail   string // what the service said, shortened, or why there was no answer
	err      error
}

func (e *Error) Error() string {
	text := e.Provider
	if e.Subject != "" {
		text += ", " + e.Subject
	}
	if e.Status != 0 {
		text += fmt.Sprintf(": answered %d", e.Status)
	}
	return text + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.err }

// refusal reports whether it is about the subject alone: the service does not have it, or describes it in a way
// that is not understood. Asking again does not help, and others are answered all the same. What else a
// service does not do may be over the next time.
func (e *Error) refusal() bool {
	switch e.Status {
	case http.StatusBadRequest, http.StatusNotFound: // FRED's for a series that there is not
		return e.Subject != ""
	case 0:
		return e.Subject != "" && e.err == nil
	}
	return false
}

// Options are what all providers are made with.
type Options struct {
	Client *http.Client // an outbound client
	Key    string
	// BaseURL is another server that speaks the same; "" means the service's own.
	BaseURL string
}

const (
	maxAnswer = 16 << 20 // bytes
	maxDetail = 200      // bytes of what a service said that an error quotes
)

// service asks one service, no faster than it allows.
type service struct {
	name   string
	base   string
	client *http.Client
	limit  ratelimiter.RateLimiter[any]
	key    string
	sign   func(*http.Request, string) // puts the key where the service expects it
}

func newService(name, base string, calls uint, per time.Duration, o Options, sign func(*http.Request, string)) service {
	if o.BaseURL != "" {
		base = o.BaseURL
	}
	return service{
		name: name, base: strings.TrimRight(base, "/"), client: o.Client, key: o.Key, sign: sign,
		limit: ratelimiter.NewSmooth[any](calls, per),
	}
}

func keyInQuery(name string) func(*http.Request, string) {
	return func(r *http.Request, key string) {
		q := r.URL.Query()
		q.Set(name, key)
		r.URL.RawQuery = q.Encode()
	}
}

func keyInHeader(name string) func(*http.Request, string) {
	return func(r *http.Request, key string) { r.Header.Set(name, key) }
}

// get reads the answer about a subject into v.
func (s service) get(ctx context.Context, subject, path string, query url.Values, v any) error {
	if err := s.limit.AcquirePermit(ctx); err != nil {
		return fmt.Errorf("%s: wait for a turn: %w", s.name, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return &Error{Provider: s.name, Subject: subject, Detail: "its address can't be understood"}
	}
	s.sign(request, s.key)
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return &Error{Provider: s.name, Subject: subject, Detail: outbound.Describe(err), err: outbound.WithoutURL(err)}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return &Error{Provider: s.name, Subject: subject, Detail: "the answer broke off: " + outbound.Describe(err), err: outbound.WithoutURL(err)}
	case len(body) > maxAnswer:
		return &Error{Provider: s.name, Subject: subject, Detail: fmt.Sprintf("the answer is larger than %d bytes", maxAnswer)}
	case response.StatusCode != http.StatusOK:
		return &Error{Provider: s.name, Subject: subject, Status: response.StatusCode, Detail: s.quote(body)}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(v); err != nil {
		return &Error{Provider: s.name, Subject: subject, Status: http.StatusOK, Detail: "not the documented JSON: " + s.quote(body), err: err}
	}
	return nil
}

// quote shortens what a service said, and takes out the key, which some of them repeat.
func (s service) quote(body []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "")), " ")
	text = outbound.Mask(text, s.key)
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "..."
	}
	if text == "" {
		return "an empty answer"
	}
	return text
}
