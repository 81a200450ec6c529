// Package alertmanager reads what Prometheus Alertmanager posts to webhooks, payload version 4, and
// makes a delivery event of it. It is pure: bytes in, an event out.
//
// One notification, which is about one group of alerts, becomes one event. Nothing in a payload that
// Alertmanager can send makes it unusable: what is too long is cut, and says so, since Alertmanager
// drops what is refused.
package alertmanager

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// Version is the only version of the payload there is since 2017.
const Version = "4"

// The values of a status.
const (
	Firing   = "firing"
	Resolved = "resolved"
)

// Payload is what Alertmanager posts. Members that are not here are ignored.
type Payload struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   uint64            `json:"truncatedAlerts"` // left out by Alertmanager's max_alerts
	Status            string            `json:"status"`          // Resolved once every alert is
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []Alert           `json:"alerts"`
}

// Alert is one alert of the group.
type Alert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // zero while it is firing
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"` // of the labels
}

// Parse reads a payload. What it refuses can never be of use: it is no JSON (fault.Malformed), or no
// payload of version 4 (fault.Invalid with the pointer of what is wrong).
func Parse(body []byte) (Payload, error) {
	var p Payload
	if err := json.Unmarshal(body, &p); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Payload{}, fault.InvalidField(pointer(wrong.Field), "can't be a JSON %s", storable(wrong.Value, maxShown))
		}
		if wrong, ok := errors.AsType[*time.ParseError](err); ok {
			return Payload{}, fault.InvalidField("/alerts", "%q is no time", storable(wrong.Value, maxShown))
		}
		return Payload{}, fault.Wrap(err, fault.Malformed, "the body is not valid JSON: %s", err)
	}
	switch {
	case p.Version != Version:
		return Payload{}, fault.InvalidField("/version", "must be %q, the version of Alertmanager's webhook payload", Version)
	case p.GroupKey == "":
		return Payload{}, fault.InvalidField("/groupKey", "is required")
	case p.Status != Firing && p.Status != Resolved:
		return Payload{}, fault.InvalidField("/status", "must be %s or %s", Firing, Resolved)
	case p.TruncatedAlerts > math.MaxUint32:
		return Payload{}, fault.InvalidField("/truncatedAlerts", "must be at most %d", uint32(math.MaxUint32))
	case len(p.Alerts) == 0:
		return Payload{}, fault.InvalidField("/alerts", "must not be empty")
	}
	for i, a := range p.Alerts {
		at := fmt.Sprintf("/alerts/%d", i)
		switch {
		case a.Status != Firing && a.Status != Resolved:
			return Payload{}, fault.InvalidField(at+"/status", "must be %s or %s", Firing, Resolved)
		case !writable(a.StartsAt):
			return Payload{}, fault.InvalidField(at+"/startsAt", "must be a time of the years 0 to 9999 UTC")
		case !writable(a.EndsAt):
			return Payload{}, fault.InvalidField(at+"/endsAt", "must be a time of the years 0 to 9999 UTC")
		}
	}
	return p, nil
}

// writable reports whether RFC 3339 has a form for a time in UTC.
func writable(t time.Time) bool { return t.UTC().Year() >= 0 && t.UTC().Year() <= 9999 }

// pointer writes a path of encoding/json's as a JSON pointer.
func pointer(field string) string {
	if field == "" {
		return ""
	}
	return "/" + strings.ReplaceAll(field, ".", "/")
}

// Destination says where notifications go.
type Destination struct {
	TenantID string
	UserID   string
	Targets  []delivery.Target
}

// What an event holds at most. Together it stays far below what a request's body may have.
const (
	maxAlertID   = 200      // characters, as for all events
	maxTitle     = 500      // characters
	maxListed    = 20       // alerts told in the message
	maxLine      = 300      // characters of one alert there
	maxShown     = 100      // characters of what is quoted in an error
	maxValue     = 1024     // characters of a name, value or address in the data
	maxMapBytes  = 4 << 10  // of labels or annotations in the data, as JSON
	maxDataBytes = 64 << 10 // of all alerts in the data, as JSON
)

// elsewhere leaves out the destinations that alerts of the payload are about.
func (p Payload) elsewhere(targets []delivery.Target) []delivery.Target {
	left := slices.DeleteFunc(slices.Clone(targets), func(t delivery.Target) bool {
		return t.Destination != "" && slices.ContainsFunc(p.Alerts, func(a Alert) bool { return a.Labels["destination"] == t.Destination })
	})
	if len(left) == 0 && len(targets) > 0 {
		return []delivery.Target{{Channel: "inapp"}}
	}
	return left
}

// Event returns the event that tells of the payload. keepUntil is until when the same state of the
// group counts as the same notification.
//
// An alert about a destination, which its label "destination" says, does not go to that destination: it
// would wait behind what it is about. When nothing else is left it goes to the user's inbox.
func (p Payload) Event(to Destination, keepUntil time.Time) (delivery.Event, error) {
	to.Targets = p.elsewhere(to.Targets)
	data, err := p.data()
	if err != nil {
		return delivery.Event{}, err
	}
	occasion, err := p.occasion(to.Targets)
	if err != nil {
		return delivery.Event{}, err
	}
	return delivery.Event{
		TenantID: to.TenantID, Source: delivery.Alertmanager, UserID: to.UserID, Targets: to.Targets,
		AlertID: p.alertID(), Title: p.title(), Message: p.message(), Severity: p.severity(), Data: data,
		Subject: p.subject(to.UserID), Resolves: p.Status == Resolved,
		Dedup: delivery.Dedup{Occasion: occasion, KeepUntil: keepUntil},
	}, nil
}

// alertID is the name of the group's alert, or of the receiver and the group where it is grouped by
// something else.
func (p Payload) alertID() string {
	if name := p.GroupLabels["alertname"]; name != "" {
		return storable(name, maxAlertID)
	}
	id := p.Receiver
	if len(p.GroupLabels) > 0 {
		id += labels(p.GroupLabels)
	}
	return storable(cmp.Or(id, p.GroupKey), maxAlertID)
}

func (p Payload) title() string {
	name := cmp.Or(p.GroupLabels["alertname"], p.CommonLabels["alertname"], p.Receiver)
	rest := maps.Clone(p.GroupLabels)
	delete(rest, "alertname")
	title := "[RESOLVED] " + name
	if p.Status == Firing {
		title = fmt.Sprintf("[FIRING:%d] %s", p.firing(), name)
	}
	if len(rest) > 0 {
		title += " " + labels(rest)
	}
	return storable(strings.TrimSpace(title), maxTitle)
}

// firing counts the alerts that fire. Those that Alertmanager left out are counted in: it says how
// many they are, not in which state.
func (p Payload) firing() uint64 {
	n := p.TruncatedAlerts
	for _, a := range p.Alerts {
		if a.Status == Firing {
			n++
		}
	}
	return n
}

// message tells of the alerts, the firing ones first.
func (p Payload) message() string {
	var b strings.Builder
	if text := text(p.CommonAnnotations); text != "" {
		fmt.Fprintf(&b, "%s\n\n", storable(text, maxLine))
	}
	ordered := slices.Clone(p.Alerts)
	slices.SortStableFunc(ordered, func(a, b Alert) int { return cmp.Compare(a.Status, b.Status) })
	for _, a := range ordered[:min(len(ordered), maxListed)] {
		b.WriteString(storable(p.line(a), maxLine))
		b.WriteByte('\n')
	}
	if more := uint64(max(0, len(ordered)-maxListed)) + p.TruncatedAlerts; more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// line tells of one alert what is not common to all of them.
func (p Payload) line(a Alert) string {
	own := maps.Clone(a.Labels)
	maps.DeleteFunc(own, func(name, value string) bool {
		common, ok := p.CommonLabels[name]
		return ok && common == value
	})
	line := a.Status
	if name := own["alertname"]; name != "" {
		line += " " + name
		delete(own, "alertname")
	}
	if len(own) > 0 {
		line += " " + labels(own)
	}
	if a.Status == Resolved && !a.EndsAt.IsZero() {
		line += " until " + a.EndsAt.UTC().Format(time.RFC3339)
	} else {
		line += " since " + a.StartsAt.UTC().Format(time.RFC3339)
	}
	if told := text(a.Annotations); told != "" && told != text(p.CommonAnnotations) {
		line += ": " + told
	}
	return line
}

// text is what annotations say to people, by the names that are customary.
func text(annotations map[string]string) string {
	return strings.TrimSpace(cmp.Or(annotations["summary"], annotations["message"], annotations["description"]))
}

// severity is the gravest among the alerts that fire, or among all once none does.
func (p Payload) severity() delivery.Severity {
	severity := delivery.Info
	for _, a := range p.Alerts {
		if p.Status == Firing && a.Status == Resolved {
			continue
		}
		switch strings.ToLower(a.Labels["severity"]) {
		case "critical":
			return delivery.Critical
		case "warning":
			severity = delivery.Warning
		}
	}
	return severity
}

// subject is the group, for one user.
func (p Payload) subject(userID string) string {
	sum := sha256.Sum256([]byte(p.GroupKey + "\x00" + userID))
	return "alertmanager:" + hex.EncodeToString(sum[:])
}

// occasion is the state of the group that the notification tells of, and where it goes. The retries
// of Alertmanager and the copies that the members of its cluster send have the same; an alert that
// came, ended or started again makes another.
func (p Payload) occasion(targets []delivery.Target) (string, error) {
	states := make([]string, len(p.Alerts))
	for i, a := range p.Alerts {
		identity := a.Fingerprint
		if identity == "" {
			identity = labels(a.Labels)
		}
		states[i] = a.Status + " " + a.StartsAt.UTC().Format(time.RFC3339Nano) + " " + identity
	}
	slices.Sort(states)
	canonical, err := json.Marshal([]any{p.GroupKey, p.Receiver, p.Status, p.TruncatedAlerts, states, targets})
	if err != nil {
		return "", fmt.Errorf("encode the state of group %q: %w", p.GroupKey, err)
	}
	return string(canonical), nil
}

// labels writes labels as Prometheus does.
func labels(set map[string]string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(set)) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + "=" + strconv.Quote(set[name]))
	}
	b.WriteByte('}')
	return b.String()
}

// storable makes a text fit for the database, which takes no NUL and only UTF-8, and cuts it to a
// number of characters.
func storable(s string, most int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	n := 0
	for i := range s {
		if n == most {
			kept := []rune(s[:i])
			return string(kept[:most-1]) + "…"
		}
		n++
	}
	return s
}
