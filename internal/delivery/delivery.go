package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Severity of an event.
type Severity string

// The severities, in rising order.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Source says who caused an event, and so how repetitions of it are told.
type Source string

// The sources.
const (
	Direct       Source = "direct"       // a caller's message
	Rule         Source = "rule"         // an alert rule that fired
	Alertmanager Source = "alertmanager" // a notification of Prometheus' Alertmanager
)

// Event is a message that was accepted for delivery.
type Event struct {
	ID          uuid.UUID // version 7: ordered by acceptance
	TenantID    string
	Source      Source // "" means Direct
	AlertID     string // free text of the caller, up to 200 characters
	UserID      string
	Title       string
	Message     string
	Severity    Severity
	Data        json.RawMessage // a JSON object, handed to the receiver as it is
	Targets     []Target        // no two with the same key
	Fallback    []Target        // tried once one of Targets has failed for good; not in Targets
	TraceParent string          // W3C trace context of the accepting request, "" without tracing
	AcceptedAt  time.Time

	// Subject is what the event is about where a later event can overtake it, such as a group of
	// Alertmanager's; "" where nothing can. An event that Resolves its subject supersedes those
	// accepted before it that have not been delivered.
	Subject  string
	Resolves bool
	Ended    bool  // a later event had resolved Subject when this one was read for an attempt; not stored
	Dedup    Dedup // not stored

	// ExpiresAt is when the message has lost its worth for Targets: what is undelivered by then is not
	// sent any more, but to Fallback. Zero means never.
	ExpiresAt time.Time
}

// Dedup says what makes another event a repetition of this one.
type Dedup struct {
	// Occasion identifies what the event tells of, for its source, alert and user; "" means that its
	// content does (ContentHash).
	Occasion string
	// KeepUntil is until when an event of the same occasion or content is a duplicate; zero means
	// DEDUP_WINDOW from acceptance.
	KeepUntil time.Time
	// Off takes every event for a new one.
	Off bool
}

// Target says where one channel sends to: to a stored destination, or to an address that came
// with the event.
type Target struct {
	Channel     string   `json:"channel,omitempty"`     // kind of transport: inapp, webhook, email, chat
	Destination string   `json:"destination,omitempty"` // name of a stored destination, "" for an address
	URL         string   `json:"url,omitempty"`         // webhook by address: absolute http or https
	To          []string `json:"to,omitempty"`          // email by address
	// Fallback says that it came into use because another target failed for good. The event's time to
	// live is none of its own: it may be what brought the fallback into use.
	Fallback bool `json:"fallback,omitempty"`
}

// destinationPrefix tells the keys of stored destinations from those of channels.
const destinationPrefix = "destination:"

// Key identifies the target within its event: "inapp", "webhook", "email", or "destination:NAME".
func (t Target) Key() string {
	if t.Destination != "" {
		return destinationPrefix + t.Destination
	}
	return t.Channel
}

// Endpoint is what a target leads to, found out right before the attempt: its own address, or what
// the stored destination says at that time.
type Endpoint struct {
	// ID is what shares one breaker, one rate limit and one recovery: "destination:NAME",
	// "webhook:" and a hash of the address, or the channel's name where all targets go one way.
	ID      string
	URL     string            // webhook: where to post; chat: the service's address, secret as a whole
	To      []string          // email: the recipients
	Headers map[string]string // webhook: sent along, besides the standard ones
	Secrets []string          // webhook: each signs, newest first; empty means the process's own secret
	Timeout time.Duration     // of one attempt; 0 means DELIVERY_TIMEOUT
	Limits  Limits
}

// Limits bound what one process sends to an endpoint.
type Limits struct {
	Rate        float64 // attempts a second; 0 means no limit
	Concurrency int     // attempts at the same time; 0 means no limit
}

// Delivery is one event bound for one target, on one attempt.
type Delivery struct {
	Event    Event
	Target   Target
	Endpoint Endpoint // set right before the attempt
	Attempt  int      // 1 is the first send

	hash string // ContentHash, where it is known
}

// MessageID is the same for every attempt of an event on a target, so that a receiver can tell
// a repetition from a new message.
func (d Delivery) MessageID() string {
	return fmt.Sprintf("msg_%s_%s", d.Event.ID, strings.ReplaceAll(d.Target.Key(), ":", "_"))
}

// ContentHash identifies what is said to whom on which channel: SHA-256 over canonical JSON
// (sorted keys, no insignificant space, numbers by value) of alert, title, message, data, user
// and channel, the last being the target's key.
func (d Delivery) ContentHash() (string, error) {
	if d.hash != "" {
		return d.hash, nil
	}
	data, err := canonicalData(d.Event.Data)
	if err != nil {
		return "", fmt.Errorf("hash event %s: data: %w", d.Event.ID, err)
	}
	canonical, err := json.Marshal(map[string]any{
		"alert_id": d.Event.AlertID,
		"channel":  d.Target.Key(),
		"data":     data,
		"message":  d.Event.Message,
		"title":    d.Event.Title,
		"user_id":  d.Event.UserID,
	})
	if err != nil {
		return "", fmt.Errorf("hash event %s: %w", d.Event.ID, err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

// Channel is one transport. It sends and classifies; what follows from a failure is decided here.
type Channel interface {
	// Name is the channel's key in requests, rows and metrics, such as "webhook".
	Name() string
	// Check reports what is wrong with a target given by address before its event is accepted, as
	// fault.Invalid with a pointer below /channels.
	Check(t Target) error
	// Endpoint returns what a target given by address leads to.
	Endpoint(t Target) Endpoint
	// CheckEndpoint reports what is wrong with a destination before it is stored, as fault.Invalid
	// with pointers below "" such as /url and /to. A channel without destinations refuses all.
	CheckEndpoint(e Endpoint) error
	// Send makes one attempt at d.Endpoint. It returns when ctx ends at the latest.
	Send(ctx context.Context, d Delivery) Outcome
}

// Outcome is what one attempt came to.
type Outcome struct {
	Cause      Cause         // why it failed; None when it did not
	Retry      bool          // whether the same attempt may succeed later
	RetryAfter time.Duration // what the receiver asked for, uncapped; 0 where it asked for nothing
	StatusCode int           // HTTP or SMTP status of the receiver, 0 when there was none
	Detail     string        // for operators: what failed; never a secret, never the address
	Excerpt    string        // the beginning of the receiver's answer
}

// Delivered reports whether the attempt succeeded.
func (o Outcome) Delivered() bool { return o.Cause == None }

// Attempt is one try at one target, as recorded.
type Attempt struct {
	Number    int // from 1
	StartedAt time.Time
	Duration  time.Duration
	Outcome   Outcome
	TraceID   string // "" without tracing
}

// State is where an event stands on a target.
type State string

// The states. All from Pending on are dead letters.
const (
	InFlight   State = "in_flight"
	Delivered  State = "delivered"
	Duplicate  State = "duplicate"  // not sent: an earlier event says the same
	Pending    State = "pending"    // being retried
	Exhausted  State = "exhausted"  // the schedule is spent, or it was refused for good
	Discarded  State = "discarded"  // an operator gave it up
	Expired    State = "expired"    // its time to live ended first
	Superseded State = "superseded" // a later event ended what it was about
)

// Verdict is what becomes of an event on a target after an attempt.
type Verdict struct {
	Delivery    Delivery
	Attempt     Attempt   // zero when none was made: see Hold
	State       State     // Delivered, Pending, Exhausted, Expired or Superseded; InFlight: cut short, nothing is known
	NextRetryAt time.Time // for Pending, and where there is a Hold; not after the event expires
	DecidedAt   time.Time
	Hold        *Hold // why no attempt was made though one was due
}

// Hold says why an endpoint is not tried now. Nothing is sent and no attempt is used up.
type Hold struct {
	Reason HoldReason
	Until  time.Time // when it is worth asking again
}

// HoldReason is why an endpoint is not tried now.
type HoldReason string

// The reasons.
const (
	HeldByBreaker     HoldReason = "breaker"     // it failed too long; a probe goes ahead
	HeldByRate        HoldReason = "rate_limit"  // its rate is used up
	HeldByConcurrency HoldReason = "concurrency" // as many attempts as it may have are under way
)

// DeadLetter is an event and target that failed and has not been delivered since.
type DeadLetter struct {
	ID            uuid.UUID
	Event         Event // with the one target that failed
	State         State // from Pending on
	Cause         Cause // of the latest failure
	Error         string
	Endpoint      string // Endpoint.ID at the latest attempt
	RetryCount    int    // retries made and failed; the first send does not count
	Attempts      int    // attempts recorded, the first send included; 0: held back before the first
	Interruptions int    // attempts whose process died before the outcome was recorded
	HeldBy        HoldReason
	OperationID   uuid.UUID // the replay or drain that it is under; zero for none
	CreatedAt     time.Time
	LastRetryAt   *time.Time
	NextRetryAt   *time.Time // for Pending
	ClosedAt      *time.Time // for Discarded, Expired and Superseded
	TraceID       string
}

// Target is where the letter is bound for.
func (l DeadLetter) Target() Target { return l.Event.Targets[0] }

// TargetHistory is where an event stands on one target, with how it came there.
type TargetHistory struct {
	Target      Target
	State       State
	Attempts    []Attempt
	DeliveredAt *time.Time  // for Delivered
	DuplicateOf uuid.UUID   // for Duplicate
	Letter      *DeadLetter // from Pending on
}

// LetterFilter selects dead letters; empty fields select all.
type LetterFilter struct {
	State         State
	Open          bool // those that are pending or exhausted, where State is ""
	Channel       string
	Destination   string
	AlertID       string
	UserID        string
	Cause         Cause
	Search        string // part of title, message or error, whatever the case
	CreatedAfter  time.Time
	CreatedBefore time.Time
	OperationID   uuid.UUID
}

// Destination is a named target. What is secret in it (a chat service's address, signing secrets,
// values of headers) is encrypted at rest and never shown.
type Destination struct {
	ID          uuid.UUID
	TenantID    string
	Name        string // 1 to 63 of a-z, 0-9, - and _; unique in its tenant
	Channel     string // webhook, email or chat
	Description string
	Enabled     bool
	Endpoint    Endpoint // whole, for sending; ID is "destination:NAME"
	Revision    int      // from 1, for If-Match
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// EventFilter selects events; empty fields select all.
type EventFilter struct {
	AlertID        string
	UserID         string
	Source         Source
	AcceptedAfter  time.Time
	AcceptedBefore time.Time
}
