package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
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

// Event is a message that was accepted for delivery.
type Event struct {
	ID          uuid.UUID // version 7: ordered by acceptance
	TenantID    string
	AlertID     string // free text of the caller, up to 200 characters
	UserID      string
	Title       string
	Message     string
	Severity    Severity
	Data        json.RawMessage // a JSON object, handed to the receiver as it is
	Targets     []Target        // one for each channel
	TraceParent string          // W3C trace context of the accepting request, "" without tracing
	AcceptedAt  time.Time
}

// Target says where one channel sends to.
type Target struct {
	Channel string `json:"-"`
	URL     string `json:"url,omitempty"` // webhook: absolute http or https address
}

// Delivery is one event bound for one channel, on one attempt.
type Delivery struct {
	Event   Event
	Target  Target
	Attempt int // 1 is the first send
}

// MessageID is the same for every attempt of an event on a channel, so that a receiver can tell
// a repetition from a new message.
func (d Delivery) MessageID() string {
	return fmt.Sprintf("msg_%s_%s", d.Event.ID, d.Target.Channel)
}

// ContentHash identifies what is said to whom on which channel: SHA-256 over canonical JSON
// (sorted keys, no insignificant space, numbers by value) of alert, title, message, data, user
// and channel.
func (d Delivery) ContentHash() (string, error) {
	data, err := canonicalData(d.Event.Data)
	if err != nil {
		return "", fmt.Errorf("hash event %s: data: %w", d.Event.ID, err)
	}
	canonical, err := json.Marshal(map[string]any{
		"alert_id": d.Event.AlertID,
		"channel":  d.Target.Channel,
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
	// Check reports what is wrong with a target before its event is accepted, as fault.Invalid
	// with a pointer below /channels.
	Check(t Target) error
	// Send makes one attempt. It returns when ctx ends at the latest.
	Send(ctx context.Context, d Delivery) Outcome
}

// Outcome is what one attempt came to.
type Outcome struct {
	Cause      Cause  // why it failed; None when it did not
	Retry      bool   // whether the same attempt may succeed later
	StatusCode int    // HTTP status of the receiver, 0 when there was none
	Detail     string // for operators: what failed; never a secret, never the address
	Excerpt    string // the beginning of the receiver's answer
}

// Delivered reports whether the attempt succeeded.
func (o Outcome) Delivered() bool { return o.Cause == None }

// Attempt is one try on one channel, as recorded.
type Attempt struct {
	Number    int // from 1
	StartedAt time.Time
	Duration  time.Duration
	Outcome   Outcome
	TraceID   string // "" without tracing
}

// State is where an event stands on a channel.
type State string

// The states. Pending and Exhausted are dead letters.
const (
	InFlight  State = "in_flight"
	Delivered State = "delivered"
	Pending   State = "pending"
	Exhausted State = "exhausted"
)

// Verdict is what becomes of an event on a channel after an attempt.
type Verdict struct {
	Delivery    Delivery
	Attempt     Attempt
	State       State     // Delivered, Pending or Exhausted; InFlight: cut short, nothing is known
	NextRetryAt time.Time // for Pending
	DecidedAt   time.Time
}

// DeadLetter is an event and channel that failed and has not been delivered since.
type DeadLetter struct {
	ID            uuid.UUID
	Event         Event // with the one target that failed
	State         State // Pending or Exhausted
	Cause         Cause // of the latest failure
	Error         string
	RetryCount    int // retries made and failed; the first send does not count
	Attempts      int // attempts recorded, the first send included
	Interruptions int // attempts whose process died before the outcome was recorded
	CreatedAt     time.Time
	LastRetryAt   *time.Time
	NextRetryAt   *time.Time // nil once exhausted
	TraceID       string
}

// Target is where the letter is bound for.
func (l DeadLetter) Target() Target { return l.Event.Targets[0] }

// ChannelHistory is where an event stands on one channel, with how it came there.
type ChannelHistory struct {
	Channel     string
	State       State
	Attempts    []Attempt
	DeliveredAt *time.Time  // for Delivered
	Letter      *DeadLetter // for Pending and Exhausted
}

// LetterFilter selects dead letters; empty fields select all.
type LetterFilter struct {
	State   State
	Channel string
	AlertID string
	Cause   Cause
}
