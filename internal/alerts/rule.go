package alerts

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
)

// Severity of what a rule says.
type Severity string

// The severities, in rising order.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Severities returns all.
func Severities() []Severity { return []Severity{Info, Warning, Critical} }

// State is where a rule stands.
type State string

// The states.
const (
	OK           State = "ok"
	Firing       State = "firing"       // its condition is met
	Snoozed      State = "snoozed"      // quiet until a time
	Acknowledged State = "acknowledged" // its condition is met, somebody knows; quiet until it was ok again
)

// States returns all.
func States() []State { return []State{OK, Firing, Snoozed, Acknowledged} }

// Channels says where a rule's messages go.
type Channels struct {
	Inapp       bool     `json:"inapp,omitempty"`
	Webhook     *Webhook `json:"webhook,omitempty"`
	Email       *Email   `json:"email,omitempty"`
	Destination []string `json:"destination,omitempty"` // names of stored destinations
}

// Webhook is an address that messages are posted to.
type Webhook struct {
	URL string `json:"url"`
}

// Email is whom messages are mailed to.
type Email struct {
	To []string `json:"to"`
}

// none reports whether nothing is on.
func (c Channels) none() bool {
	return !c.Inapp && c.Webhook == nil && c.Email == nil && len(c.Destination) == 0
}

// Rule is what somebody wants to be told of, and where it stands.
type Rule struct {
	ID       uuid.UUID // version 7
	TenantID string

	UserID    string
	Name      string
	Condition Condition
	Severity  Severity
	Title     string // templates, see Placeholders
	Message   string
	Cooldown  time.Duration // from the last firing; whole hours
	TTL       time.Duration // after which a message is not sent any more; 0 for never
	Channels  Channels
	Fallback  *Channels // used once one of Channels has failed for good
	Active    bool

	State           State
	SnoozedUntil    time.Time // for Snoozed
	LastFiredAt     time.Time // zero: never, as with those below
	LastEvaluatedAt time.Time
	LastValue       *decimal.Decimal // the leading observation at the last evaluation, nil when unknown
	LastError       string           // why the last firing could not be handed on; "" when it was
	// Revision counts what people changed, from 1. Evaluations leave it alone.
	Revision  int
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Reason is why a rule does, or does not, fire.
type Reason string

// The reasons.
const (
	Fires          Reason = "fires"
	IsNotMet       Reason = "not_met"
	IsUnknown      Reason = "unknown"
	IsInactive     Reason = "inactive"
	IsSnoozed      Reason = "snoozed"
	IsAcknowledged Reason = "acknowledged"
	IsCoolingDown  Reason = "cooldown"
)

// Decision is what follows from a result.
type Decision struct {
	Fire         bool
	Reason       Reason
	State        State     // the rule's from now on
	SnoozedUntil time.Time // for Snoozed
	CooldownLeft time.Duration
}

// Decide says what follows for a rule at a time. Whoever acts on it makes sure that the rule is still
// as it was.
func Decide(r Rule, result Result, now time.Time) Decision {
	d := Decision{State: r.State, SnoozedUntil: r.SnoozedUntil}
	if !r.LastFiredAt.IsZero() {
		d.CooldownLeft = max(0, r.LastFiredAt.Add(r.Cooldown).Sub(now))
	}
	if d.State == Snoozed && !now.Before(r.SnoozedUntil) {
		d.State, d.SnoozedUntil = OK, time.Time{}
	}
	switch {
	case !r.Active:
		d.Reason = IsInactive
	case result.Met == Unknown:
		d.Reason = IsUnknown
	case result.Met == NotMet:
		d.Reason = IsNotMet
		if d.State != Snoozed {
			d.State = OK
		}
	case d.State == Snoozed:
		d.Reason = IsSnoozed
	case d.State == Acknowledged:
		d.Reason = IsAcknowledged
	case d.CooldownLeft > 0:
		d.Reason, d.State = IsCoolingDown, Firing
	default:
		d.Fire, d.Reason, d.State = true, Fires, Firing
	}
	return d
}

// Signal is what a rule says when it fires.
type Signal struct {
	Rule    Rule
	At      time.Time
	Title   string
	Message string
	Data    json.RawMessage // an object: the condition and what was seen
}

// NewSignal puts into words what made a rule fire.
func NewSignal(r Rule, result Result, at time.Time) (Signal, error) {
	observed := result.Observed
	if observed == nil {
		observed = []Observation{}
	}
	data, err := plainJSON(struct {
		RuleID    uuid.UUID     `json:"rule_id"`
		Name      string        `json:"name"`
		Type      Type          `json:"type"`
		Condition Condition     `json:"condition"`
		Observed  []Observation `json:"observed"`
	}{r.ID, r.Name, r.Condition.Kind(), r.Condition, observed})
	if err != nil {
		return Signal{}, err
	}
	words := placeholders(r, result)
	return Signal{
		Rule: r, At: at, Data: bytes.Clone(data),
		Title: render(r.Title, words, maxRenderedTitle), Message: render(r.Message, words, maxRenderedMessage),
	}, nil
}

// Occasion is what a firing is told apart by where the cooldown is a day or more: its day in UTC, and
// the day's end. A user hears of a rule once a day then, whatever happens.
func (s Signal) Occasion() (day string, end time.Time, ok bool) {
	if s.Rule.Cooldown < occasionCooldown {
		return "", time.Time{}, false
	}
	at := s.At.UTC()
	return at.Format(time.DateOnly), time.Date(at.Year(), at.Month(), at.Day()+1, 0, 0, 0, 0, time.UTC), true
}

const occasionCooldown = 24 * time.Hour

func at(pointer string, i int) string { return pointer + "/" + strconv.Itoa(i) }

// Snooze keeps a rule quiet until a time, from any state.
func Snooze(r Rule, until time.Time) Rule {
	r.State, r.SnoozedUntil = Snoozed, until
	return r
}

// Wake ends a snooze before its time; the next evaluation finds out how things stand.
func Wake(r Rule) (Rule, error) {
	if r.State != Snoozed {
		return r, fault.New(fault.Conflict, "the rule is %s, not snoozed", r.State)
	}
	r.State, r.SnoozedUntil = OK, time.Time{}
	return r, nil
}

// Acknowledge keeps a firing rule quiet until its condition is no longer met. To do so again is no error.
func Acknowledge(r Rule) (Rule, error) {
	if r.State != Firing && r.State != Acknowledged {
		return r, fault.New(fault.Conflict, "the rule is %s: only what is firing can be acknowledged", r.State)
	}
	r.State = Acknowledged
	return r, nil
}

// Filter selects rules; empty fields select all.
type Filter struct {
	UserID string
	State  State
	Type   Type
	Active *bool
}

// Report is what an evaluation of many rules came to.
type Report struct {
	Evaluated int
	Results   map[Truth]int
	States    map[State]int // of the active ones, from now on
	Fired     []FiredRule
	Unknown   []UnknownRule // rules that could not be judged
	Refused   []RefusedRule // rules that should have fired and could not hand their message on
	// Overtaken counts rules that somebody changed, or another evaluation fired, at the same time.
	Overtaken int
	// Counts of all; the lists above hold the first MaxReported each.
	FiredCount, UnknownCount, RefusedCount int
}

// MaxReported bounds each list of a Report.
const MaxReported = 1000

// FiredRule is a rule that fired.
type FiredRule struct {
	RuleID  uuid.UUID
	EventID uuid.UUID // of the delivery
	Title   string
	// Duplicate says that the same was delivered on every channel before, so that nothing is sent.
	Duplicate bool
}

// UnknownRule is a rule whose condition hangs on what is not known.
type UnknownRule struct {
	RuleID  uuid.UUID
	Missing []Missing
}

// RefusedRule is a rule whose message can't be delivered.
type RefusedRule struct {
	RuleID uuid.UUID
	Reason string
}

// Trial is what an evaluation would come to.
type Trial struct {
	Rule     Rule
	Result   Result
	Decision Decision
	Signal   Signal // what would be said
	Problem  string // why it could not be delivered; "" when it could
}
