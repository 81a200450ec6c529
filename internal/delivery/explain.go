package delivery

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Explanation tells in words what happened to an event, and what happens next.
type Explanation struct {
	Timeline []Line     // in order of time
	Targets  []Standing // in the event's order
}

// Line is one thing that happened.
type Line struct {
	At     time.Time
	Target string // "" where it is about the event as a whole
	Text   string
}

// Standing says why an event stands where it does on a target, and what comes next.
type Standing struct {
	Target   string
	State    State
	Why      string
	Next     string
	NextAt   *time.Time // when something is due
	LetterID uuid.UUID  // zero when there is none
}

// Explain tells an event's whole story as it is known at now. It is pure. Without a now (the zero time),
// it says when something is due but not how long that is from now: such a text stays true.
func Explain(e Event, targets []TargetHistory, now time.Time) Explanation {
	var keys, fallback []string
	for _, t := range targets {
		if t.Target.Fallback {
			fallback = append(fallback, t.Target.Key())
		} else {
			keys = append(keys, t.Target.Key())
		}
	}
	for _, t := range e.Fallback {
		fallback = append(fallback, t.Key())
	}
	x := Explanation{Timeline: []Line{{At: e.AcceptedAt, Text: accepted(e, keys, fallback)}}}
	for _, t := range targets {
		x.Timeline = append(x.Timeline, targetLines(e, t)...)
		s := standing(e, t, now)
		if t.Target.Fallback {
			s.Why += "; it is the fallback, in use because another target failed for good or expired"
		}
		x.Targets = append(x.Targets, s)
	}
	slices.SortStableFunc(x.Timeline, func(a, b Line) int { return a.At.Compare(b.At) })
	return x
}

func accepted(e Event, keys, fallback []string) string {
	from := map[Source]string{Rule: "a rule that fired", Alertmanager: "Alertmanager"}[e.Source]
	if from == "" {
		from = "a caller"
	}
	text := fmt.Sprintf("accepted from %s, for %s", from, strings.Join(keys, ", "))
	if len(fallback) > 0 {
		text += fmt.Sprintf(" (fallback %s)", strings.Join(fallback, ", "))
	}
	if e.Resolves {
		text += "; it ends what earlier events told of " + e.Subject
	}
	if !e.ExpiresAt.IsZero() {
		text += fmt.Sprintf("; it is worth sending for %s", span(e.ExpiresAt.Sub(e.AcceptedAt)))
	}
	return text
}

func targetLines(e Event, t TargetHistory) []Line {
	key := t.Target.Key()
	var lines []Line
	add := func(at time.Time, format string, args ...any) {
		lines = append(lines, Line{At: at, Target: key, Text: fmt.Sprintf(format, args...)})
	}
	if t.State == Duplicate {
		add(e.AcceptedAt, "not sent: %s", duplicateOf(t))
	}
	before := e.AcceptedAt
	for _, a := range t.Attempts {
		add(a.StartedAt, "%s", attempted(a, a.StartedAt.Sub(before)))
		before = a.StartedAt
	}
	if t.State == Delivered && t.DeliveredAt != nil && len(t.Attempts) > 1 {
		add(*t.DeliveredAt, "delivered after %d attempts, %s after it was accepted", len(t.Attempts), span(t.DeliveredAt.Sub(e.AcceptedAt)))
	}
	if l := t.Letter; l != nil {
		switch {
		case l.Attempts == 0:
			add(l.CreatedAt, "not attempted: %s", l.Error)
		case l.State == Exhausted && len(t.Attempts) > 0:
			last := t.Attempts[len(t.Attempts)-1]
			add(last.StartedAt.Add(last.Duration).Truncate(time.Microsecond), "given up: %s", exhausted(*l))
		}
		if l.ClosedAt != nil {
			add(*l.ClosedAt, "%s", closed(*l))
		}
	}
	return lines
}

// attempted tells of one attempt, that much after the one before, or after acceptance.
func attempted(a Attempt, after time.Duration) string {
	text := fmt.Sprintf("attempt %d, %s after ", a.Number, span(after))
	if a.Number == 1 {
		text += "acceptance: "
	} else {
		text += "the one before: "
	}
	took := span(a.Duration)
	switch {
	case a.Outcome.Delivered() && a.Outcome.StatusCode != 0:
		return text + fmt.Sprintf("delivered, the receiver answered %d after %s", a.Outcome.StatusCode, took)
	case a.Outcome.Delivered():
		return text + "delivered in " + took
	case a.Outcome.Cause == Interrupted:
		return text + "interrupted; " + a.Outcome.Detail
	default:
		return text + fmt.Sprintf("failed (%s) after %s; %s", a.Outcome.Cause, took, a.Outcome.Detail)
	}
}

func duplicateOf(t TargetHistory) string {
	if t.DuplicateOf == uuid.Nil {
		return "another event says the same"
	}
	return fmt.Sprintf("event %s says the same", t.DuplicateOf)
}

// forGood are the causes that no retry helps against.
var forGood = map[Cause]bool{HTTP4xx: true, SMTP5xx: true, Rejected: true, Payload: true}

func exhausted(l DeadLetter) string {
	switch {
	case forGood[l.Cause]:
		return fmt.Sprintf("%s is a refusal that a retry does not help against", l.Cause)
	case l.Cause == Interrupted:
		return fmt.Sprintf("its attempts were interrupted %s", times(l.Interruptions))
	default:
		return fmt.Sprintf("the retry schedule is spent after %s", counted(l.Attempts, "attempt"))
	}
}

func closed(l DeadLetter) string {
	switch l.State {
	case Discarded:
		return "discarded by an operator"
	case Expired:
		return "expired: its time to live ended before it could be delivered"
	default:
		return "superseded: a later event ended what it was about"
	}
}

// standing says where a target stands.
func standing(e Event, t TargetHistory, now time.Time) Standing {
	s := Standing{Target: t.Target.Key(), State: t.State}
	switch {
	case t.Letter != nil:
		l := ExplainLetter(*t.Letter, now)
		l.Target = s.Target
		return l
	case t.State == Delivered:
		s.Why, s.Next = "the receiver has taken it", "nothing"
		if t.DeliveredAt != nil {
			s.Why = fmt.Sprintf("the receiver has taken it, %s after it was accepted", span(t.DeliveredAt.Sub(e.AcceptedAt)))
		}
	case t.State == Duplicate:
		s.Why, s.Next = duplicateOf(t), "nothing"
	default:
		s.Why = "its first attempt is being made, or waits for its endpoint's turn"
		s.Next = "the outcome of the first attempt; had its process died, it would be attempted again within a minute"
	}
	return s
}

// ExplainLetter says why a dead letter is not delivered, and what comes next. now is as for Explain.
func ExplainLetter(l DeadLetter, now time.Time) Standing {
	s := Standing{Target: l.Target().Key(), State: l.State, LetterID: l.ID}
	latest := fmt.Sprintf("%s: %s", l.Cause, l.Error)
	switch l.State {
	case Pending:
		s.Why, s.Next, s.NextAt = latest, next(l, now), l.NextRetryAt
	case Exhausted:
		s.Why = fmt.Sprintf("%s; %s", latest, exhausted(l))
		s.Next = "nothing by itself: mend the cause and replay it, or discard it"
	case Discarded:
		s.Why, s.Next = fmt.Sprintf("discarded by an operator; before that, %s", latest), "nothing, unless it is replayed"
	default:
		s.Why, s.Next = fmt.Sprintf("%s; before that, %s", closed(l), latest), "nothing: it is not sent any more"
	}
	return s
}

func next(l DeadLetter, now time.Time) string {
	when := "now"
	if l.NextRetryAt != nil && now.IsZero() {
		when = "at " + l.NextRetryAt.UTC().Format(time.RFC3339)
	} else if l.NextRetryAt != nil {
		if wait := l.NextRetryAt.Sub(now); wait > 0 {
			when = fmt.Sprintf("at %s, in %s", l.NextRetryAt.UTC().Format(time.RFC3339), span(wait))
		}
	}
	text := fmt.Sprintf("attempt %d %s", l.Attempts+1, when)
	switch l.HeldBy {
	case HeldByBreaker:
		text += "; until then its endpoint is taken for broken, waiting uses up no retry, and once the endpoint works its letters are drained"
	case HeldByRate, HeldByConcurrency:
		text += "; it waits for its turn at the endpoint, which uses up no retry"
	}
	if !l.Event.ExpiresAt.IsZero() {
		text += fmt.Sprintf("; it expires at %s", l.Event.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return text
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func times(n int) string { return counted(n, "time") }

// span writes a duration for people, with its two largest units.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	d = d.Round(time.Second)
	var parts []string
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.size; n > 0 && len(parts) < 2 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			d -= n * u.size
		} else if len(parts) > 0 {
			break
		}
	}
	return strings.Join(parts, " ")
}
