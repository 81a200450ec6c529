package agent

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// ProtocolVersion is the version of the protocol that remote agents speak. Members may be added to
// its documents within a version, and readers ignore those that they don't know; anything else
// makes a new version.
const ProtocolVersion = "1"

// Protocol is the protocol of remote agents as an OpenAPI 3.1 document.
//
//go:embed openapi.yaml
var Protocol []byte

// Listing is what an agent answers to GET /capabilities.
type Listing struct {
	Protocol     string             `json:"protocol"` // ProtocolVersion
	Agent        ListedAgent        `json:"agent"`
	Capabilities []ListedCapability `json:"capabilities"`
}

// ListedAgent says which agent it is.
type ListedAgent struct {
	Name        string `json:"name"`
	Version     string `json:"version,omitempty"` // of the agent's program, for people
	Description string `json:"description,omitempty"`
}

// ListedCapability is a Capability without its function.
type ListedCapability struct {
	Name           string          `json:"name"`
	Description    string          `json:"description,omitempty"`
	Args           json.RawMessage `json:"args,omitempty"`
	Result         json.RawMessage `json:"result,omitempty"`
	Purity         Purity          `json:"purity,omitempty"`
	Idempotent     bool            `json:"idempotent,omitempty"`
	TimeoutSeconds float64         `json:"timeout_seconds,omitempty"` // 0 means what DawsOS sets for the agent
	Cost           Cost            `json:"cost,omitempty"`
}

// NewListing lists an agent's capabilities. It leaves version and description to the caller.
func NewListing(a Agent) Listing {
	capabilities := a.Capabilities()
	l := Listing{
		Protocol: ProtocolVersion, Agent: ListedAgent{Name: a.Name()},
		Capabilities: make([]ListedCapability, len(capabilities)),
	}
	for i, c := range capabilities {
		l.Capabilities[i] = ListedCapability{
			Name: c.Name, Description: c.Description, Args: c.Args, Result: c.Result, Purity: c.Purity,
			Idempotent: c.Idempotent, TimeoutSeconds: c.Timeout.Seconds(), Cost: c.Cost,
		}
	}
	return l
}

// Capability returns the declaration, without a function to run.
func (l ListedCapability) Capability() Capability {
	return Capability{
		Name: l.Name, Description: l.Description, Args: l.Args, Result: l.Result, Purity: l.Purity,
		Idempotent: l.Idempotent, Cost: l.Cost,
		// Seconds as written, not what is left of them in binary.
		Timeout: time.Duration(math.Round(l.TimeoutSeconds * float64(time.Second))),
	}
}

// Call is the body of POST /run.
type Call struct {
	Capability string         `json:"capability"`
	Args       map[string]any `json:"args"`
	Context    *CallContext   `json:"context"`
}

// CallContext is a Context as it is written. Dates are YYYY-MM-DD.
type CallContext struct {
	RequestID   string         `json:"request_id"`
	TraceID     string         `json:"trace_id"`
	TenantID    string         `json:"tenant_id"`
	UserID      string         `json:"user_id"`
	Asof        string         `json:"asof"`
	PricingPack CallPack       `json:"pricing_pack"`
	Portfolio   *CallPortfolio `json:"portfolio"` // null when the run is about no portfolio
}

// CallPack is a Pack as it is written.
type CallPack struct {
	ID       string `json:"id"`
	Date     string `json:"date"`
	Revision int64  `json:"revision"`
	Hash     string `json:"hash"`
}

// CallPortfolio is a Portfolio as it is written.
type CallPortfolio struct {
	ID            string `json:"id"`
	BaseCurrency  string `json:"base_currency"`
	LedgerVersion string `json:"ledger_version"`
	LedgerSeq     int64  `json:"ledger_seq"`
}

// NewCall writes a request down.
func NewCall(req Request) Call {
	c := req.Context
	call := Call{
		Capability: req.Capability, Args: req.Args,
		Context: &CallContext{
			RequestID: c.RequestID, TraceID: c.TraceID, TenantID: c.TenantID, UserID: c.UserID,
			Asof: c.Asof.Format(time.DateOnly),
			PricingPack: CallPack{
				ID: c.PricingPack.ID, Date: c.PricingPack.Date.Format(time.DateOnly),
				Revision: c.PricingPack.Revision, Hash: c.PricingPack.Hash,
			},
		},
	}
	if call.Args == nil {
		call.Args = map[string]any{}
	}
	if c.Portfolio != nil {
		call.Context.Portfolio = new(CallPortfolio(*c.Portfolio))
	}
	return call
}

// Request reads a call. The error names the member that is missing or no date.
func (c Call) Request() (Request, error) {
	switch {
	case c.Capability == "":
		return Request{}, errors.New("capability is missing")
	case c.Args == nil:
		return Request{}, errors.New("args is missing")
	case c.Context == nil:
		return Request{}, errors.New("context is missing")
	}
	asof, err := time.Parse(time.DateOnly, c.Context.Asof)
	if err != nil {
		return Request{}, fmt.Errorf("context.asof: %q is not a date such as 2007-05-08", c.Context.Asof)
	}
	pack := c.Context.PricingPack
	date, err := time.Parse(time.DateOnly, pack.Date)
	if err != nil {
		return Request{}, fmt.Errorf("context.pricing_pack.date: %q is not a date such as 2007-05-08", pack.Date)
	}
	req := Request{
		Capability: c.Capability, Args: c.Args,
		Context: Context{
			RequestID: c.Context.RequestID, TraceID: c.Context.TraceID,
			TenantID: c.Context.TenantID, UserID: c.Context.UserID,
			Asof:        asof,
			PricingPack: Pack{ID: pack.ID, Date: date, Revision: pack.Revision, Hash: pack.Hash},
		},
	}
	if c.Context.Portfolio != nil {
		req.Context.Portfolio = new(Portfolio(*c.Context.Portfolio))
	}
	return req, nil
}

// Answer is what POST /run is answered with.
type Answer struct {
	Value    json.RawMessage `json:"value"`
	Sources  []AnswerSource  `json:"sources,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
}

// AnswerSource is a Source as it is written.
type AnswerSource struct {
	Name string `json:"name"`
	Asof string `json:"asof,omitempty"` // YYYY-MM-DD; "" when it has no date
}

// NewAnswer writes a result down. It fails when the value has no form in JSON.
func NewAnswer(r Result) (Answer, error) {
	value, err := json.Marshal(r.Value)
	if err != nil {
		return Answer{}, fmt.Errorf("the value can't be written as JSON: %w", err)
	}
	a := Answer{Value: value, Warnings: r.Warnings}
	for _, s := range r.Sources {
		source := AnswerSource{Name: s.Name}
		if !s.Asof.IsZero() {
			source.Asof = s.Asof.Format(time.DateOnly)
		}
		a.Sources = append(a.Sources, source)
	}
	return a, nil
}

// Result reads an answer; its value stays JSON. The error names the member that is missing or no
// date.
func (a Answer) Result() (Result, error) {
	if a.Value == nil {
		return Result{}, errors.New("value is missing")
	}
	r := Result{Value: a.Value, Warnings: a.Warnings}
	for i, s := range a.Sources {
		if s.Name == "" {
			return Result{}, fmt.Errorf("sources[%d].name is missing", i)
		}
		source := Source{Name: s.Name}
		if s.Asof != "" {
			asof, err := time.Parse(time.DateOnly, s.Asof)
			if err != nil {
				return Result{}, fmt.Errorf("sources[%d].asof: %q is not a date such as 2007-05-08", i, s.Asof)
			}
			source.Asof = asof
		}
		r.Sources = append(r.Sources, source)
	}
	return r, nil
}

// Code says what kind of failure a capability reports.
type Code string

// The closed set of codes, with the HTTP status that each is answered with.
const (
	CodeInvalid          Code = "invalid"           // 422: the arguments are wrong; asking again is pointless
	CodeNotFound         Code = "not_found"         // 404: what the arguments name does not exist
	CodeInsufficientData Code = "insufficient_data" // 422: data that the answer needs is not there
	CodeUnavailable      Code = "unavailable"       // 503: it passes, see RetryAfter
	CodeTimeout          Code = "timeout"           // 504: the call's time was up
	CodeInternal         Code = "internal"          // 500: a defect of the agent
	// CodeUnknownCapability, 404, is the server's own: the agent has no such capability, unlike
	// what its last listing said.
	CodeUnknownCapability Code = "unknown_capability"
)

// Problem is the application/problem+json (RFC 9457) of a failed call.
type Problem struct {
	Type   string         `json:"type,omitempty"`
	Title  string         `json:"title,omitempty"`
	Status int            `json:"status,omitempty"`
	Detail string         `json:"detail,omitempty"`
	Code   Code           `json:"code,omitempty"` // "" when the status says it all: 400, 401
	Errors []ProblemField `json:"errors,omitempty"`
}

// ProblemField is a Field as it is written.
type ProblemField struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// Field names one wrong argument.
type Field struct {
	Pointer string // JSON pointer into the call: "/args/headlines/0"
	Detail  string // what is wrong and what is allowed
}

// Error is how the capabilities of a remote agent report a failure. Any other error counts as
// internal: its text is logged, never sent.
type Error struct {
	Code       Code
	Detail     string        // one sentence for the caller; no secrets, no internals
	Fields     []Field       // of CodeInvalid: which arguments
	RetryAfter time.Duration // of CodeUnavailable: when to come back; 0 means unknown
	Err        error         // the cause, for the agent's log; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Detail
	}
	return e.Detail + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// NewError returns a failure with a code and a text for the caller.
func NewError(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// WrapError gives err a code and a text for the caller, keeping err for the log.
func WrapError(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), Err: err}
}

// InvalidArg reports one wrong argument by its JSON pointer below the arguments: "/headlines/0".
func InvalidArg(pointer, format string, args ...any) *Error {
	detail := fmt.Sprintf(format, args...)
	return &Error{
		Code: CodeInvalid, Detail: pointer + ": " + detail,
		Fields: []Field{{Pointer: "/args" + pointer, Detail: detail}},
	}
}

// InvalidArgs reports that DecodeArgs did not understand the arguments; err is what it returned.
func InvalidArgs(err error) *Error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return InvalidArg("/"+pointerOf(e.Field), "can't be a JSON %s", e.Value)
	}
	return &Error{Code: CodeInvalid, Detail: err.Error()}
}

// pointerOf turns a path of encoding/json, "a.b", into a JSON pointer. Keys that hold dots come out
// as several, which encoding/json can't tell apart either.
func pointerOf(field string) string {
	pointer := make([]byte, 0, len(field))
	for i := range len(field) {
		switch c := field[i]; c {
		case '.':
			pointer = append(pointer, '/')
		case '~':
			pointer = append(pointer, "~0"...)
		case '/':
			pointer = append(pointer, "~1"...)
		default:
			pointer = append(pointer, c)
		}
	}
	return string(pointer)
}
