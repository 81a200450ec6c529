// Package agent is where patterns and agents meet: what a capability is asked (Request), in
// which circumstances (Context), and what it answers (Result).
//
// An agent groups capabilities that share their dependencies and therefore their circuit
// breaker. A capability is a function from arguments and context to a value; it must be
// deterministic in both, so that the same request yields the same bytes.
package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Context is the circumstances of one pattern run. It is immutable: every step of a run sees
// the same data, because pack and ledger version name everything that may be read.
type Context struct {
	TenantID  string
	RequestID string
	TraceID   string // W3C trace id in hex, "" when tracing is off
	UserID    string // "" when the caller is not a person

	Asof        time.Time // valuation date, UTC midnight
	PricingPack Pack
	Portfolio   *Portfolio // nil when the pattern is not about one portfolio
}

// Pack is a pricing pack: a cut through market data that never changes. Rows dated after Date
// or of a revision above Revision do not exist for it.
type Pack struct {
	ID       string // UUID
	Date     time.Time
	Revision int64
	Hash     string
}

// Portfolio is the portfolio that a run is about, at one version of its ledger.
type Portfolio struct {
	ID            string // UUID
	BaseCurrency  string // ISO 4217
	LedgerVersion string // hash over what the portfolio holds
	LedgerSeq     int64  // the last transaction of that version
}

// Values returns the context as templates and conditions see it under "ctx". Ids that do not
// apply are null.
func (c Context) Values() map[string]any {
	v := map[string]any{
		"request_id":        c.RequestID,
		"trace_id":          c.TraceID,
		"user_id":           nil,
		"asof":              c.Asof.Format(time.DateOnly),
		"pricing_pack_id":   c.PricingPack.ID,
		"pricing_pack_date": c.PricingPack.Date.Format(time.DateOnly),
		"portfolio_id":      nil,
		"base_currency":     nil,
		"ledger_version":    nil,
	}
	if c.UserID != "" {
		v["user_id"] = c.UserID
	}
	if c.Portfolio != nil {
		v["portfolio_id"] = c.Portfolio.ID
		v["base_currency"] = c.Portfolio.BaseCurrency
		v["ledger_version"] = c.Portfolio.LedgerVersion
	}
	return v
}

// Request asks one capability.
type Request struct {
	Capability string // "ledger.positions"
	// Args are JSON values: nil, bool, string, json.Number, []any and map[string]any. They may be
	// shared with other calls and must not be changed. [DecodeArgs] reads them.
	Args    map[string]any
	Context Context
}

// Source is one thing a capability read, and how recent it was.
type Source struct {
	Name string    // "prices:SBI", "fx:USD/CHF", "macro:FF_RF", "ledger:<portfolio id>"
	Asof time.Time // date of the newest observation used; zero when it has no date
}

// Result is a capability's answer.
type Result struct {
	// Value is marshaled to JSON once; later steps' templates reach into it.
	Value    any
	Sources  []Source
	Warnings []string // sentences for the caller about a result that is still good
}

// Purity tells what a call does besides answering. It decides what may be cached, repeated and run
// out of order.
type Purity string

const (
	// Pure capabilities depend on nothing but their arguments and the context's tenant, as-of date,
	// pricing pack, portfolio and ledger version. Their results may serve later requests.
	Pure Purity = "pure"
	// Reading ones read what may change from one moment to the next. Within a run the first answer
	// holds. It is what a capability without a declaration counts as.
	Reading Purity = "read"
	// Effectful ones change something. They run after every earlier step of their pattern has
	// ended, and are called again after a failure only when they are Idempotent.
	Effectful Purity = "effect"
)

// Cost is roughly what a call takes, for whoever plans with it.
type Cost string

// The cost classes.
const (
	Low    Cost = "low"    // milliseconds, little memory
	Medium Cost = "medium" // tens of milliseconds: series over years
	High   Cost = "high"   // seconds, or money: models, simulations, paid providers
)

// Capability declares one function of an agent.
type Capability struct {
	Name        string // "<group>.<verb>", unique over all agents
	Description string // one sentence: what it computes, in which units
	// Args is the JSON Schema (2020-12) of the arguments, an object. Patterns are checked against
	// it when they are loaded, calls before they are made; an argument that is null counts as left
	// out. Nil takes anything.
	Args json.RawMessage
	// Result is the JSON Schema of the result's value; templates and conditions of patterns are
	// checked against it. Nil says nothing about it.
	Result json.RawMessage
	Purity Purity // "" means Reading
	// Idempotent says of an Effectful capability that calling it twice is the same as once. The
	// others are so by nature.
	Idempotent bool
	// Timeout bounds one call; 0 means the agent's.
	Timeout time.Duration
	Cost    Cost // "" means Low
	// Delegates says that it answers by asking other capabilities. Their failures are those of
	// their own agents and don't count against this one's circuit breaker.
	Delegates bool
	// Run computes the result. It must be safe for concurrent use and return soon after ctx is
	// done: timeouts work through ctx alone, nothing ends a call that ignores it.
	Run func(ctx context.Context, req Request) (Result, error)
}

// Repeatable reports whether a call may be made again after one that failed.
func (c Capability) Repeatable() bool { return c.Purity != Effectful || c.Idempotent }

// Agent is a named group of capabilities.
type Agent interface {
	Name() string
	Capabilities() []Capability
}

// DecodeArgs fills dst, a pointer to a struct with json tags, from a request's arguments.
// Arguments that dst does not declare are an error, so that a misspelt one is never ignored. An
// argument that is null or left out keeps dst's field as it is, or makes a pointer nil: defaults
// are set before, and what was not given is told by a pointer. Numbers in fields of type any
// arrive as json.Number.
func DecodeArgs(req Request, dst any) error {
	raw, err := json.Marshal(req.Args)
	if err != nil {
		return fmt.Errorf("arguments of %s: %w", req.Capability, err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(dst); err != nil {
		return fmt.Errorf("arguments of %s: %w", req.Capability, err)
	}
	return nil
}
