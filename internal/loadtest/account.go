package loadtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Evidence is what three witnesses say about the same events.
type Evidence struct {
	Sent      Sent                  // the caller: what was acknowledged
	Received  map[uuid.UUID]Message // the receiver: what arrived
	Positions map[uuid.UUID]Position
	Books     Books
	Audits    []string // what the database's own tables contradict each other in
}

// Account is what the evidence amounts to.
type Account struct {
	Acknowledged int `json:"acknowledged"`
	// Unacknowledged requests found the API dead or dying: their events may be delivered or not.
	Unacknowledged int `json:"unacknowledged"`
	Refused        int `json:"refused"`
	// Received are the distinct events that the receiver has accepted.
	Received int `json:"received"`
	// ReceivedUnacknowledged are those among them whose caller got no answer.
	ReceivedUnacknowledged int `json:"received_unacknowledged"`
	// Repeated are events that the receiver accepted more than once, Repetitions how often in all.
	Repeated    int `json:"repeated"`
	Repetitions int `json:"repetitions"`
	// Mixed are events that came under more than one message id, which is wrong.
	Mixed    int `json:"mixed"`
	Attempts int `json:"attempts"`
	// DeadLetters are given up, in front of the operators with their reason.
	DeadLetters int `json:"dead_letters"`
	// Open are acknowledged and still being delivered.
	Open  int   `json:"open"`
	Books Books `json:"books"`

	// Lost are acknowledged events that neither arrived nor stand where they are seen, or that the
	// database has for delivered although they did not arrive.
	Lost []string `json:"lost"`
	// Wrong is everything else that must not be, a sentence each.
	Wrong []string `json:"wrong"`
}

// Settle holds the witnesses' words against each other.
//
// An acknowledged event must have been accepted by the receiver, or stand in the database in flight,
// pending, or dead with a reason. All else is loss: no trace, a dead letter without a reason, a
// "delivered" or "duplicate" of what never arrived (Load never says the same thing twice).
func Settle(e Evidence) Account {
	a := Account{
		Acknowledged: len(e.Sent.Acknowledged), Unacknowledged: e.Sent.Unanswered, Refused: e.Sent.Refused,
		Books: e.Books, Wrong: slices.Clone(e.Audits), Lost: []string{},
	}
	acknowledged := make(map[uuid.UUID]bool, len(e.Sent.Acknowledged))
	for _, ack := range e.Sent.Acknowledged {
		if acknowledged[ack.EventID] {
			a.wrong("event %s was acknowledged to two callers", ack.EventID)
		}
		acknowledged[ack.EventID] = true
	}
	for _, event := range sorted(acknowledged) {
		position, known := e.Positions[event]
		arrived := e.Received[event].Accepted > 0
		if !known {
			// Even one that arrived: nobody could tell that it did.
			a.lost(event, "the database does not know it")
			continue
		}
		switch position.Place {
		case "in_flight", "pending":
			a.Open++
		case "delivered":
			if !arrived {
				a.lost(event, "the database has it for delivered, the receiver never accepted it")
			}
		case "duplicate":
			a.lost(event, "it was taken for a duplicate, and is none")
		default:
			a.DeadLetters++
			if strings.Trim(position.Reason, ": ") == "" {
				a.lost(event, position.Place+" without a reason")
			}
		}
	}
	for _, event := range sorted(e.Received) {
		m := e.Received[event]
		a.Attempts += m.Attempts
		if m.OtherID != "" {
			a.Mixed++
			a.wrong("event %s came as %s and as %s: the receiver can't tell a repetition", event, m.ID, m.OtherID)
		}
		if _, known := e.Positions[event]; !known {
			a.wrong("event %s was sent, and the database does not know it", event)
		}
		if m.Accepted == 0 {
			continue
		}
		a.Received++
		if !acknowledged[event] {
			a.ReceivedUnacknowledged++
		}
		if m.Accepted > 1 {
			a.Repeated++
			a.Repetitions += m.Accepted - 1
		}
	}
	if e.Sent.Unexpected > 0 {
		a.wrong("%d requests were answered as none should be: %s", e.Sent.Unexpected, strings.Join(e.Sent.Problems, "; "))
	}
	if drift := e.Books.Drift(); drift != 0 {
		a.wrong("the accounts do not balance: accepted %d, the others %d", e.Books[accepted], e.Books[accepted]-drift)
	}
	return a
}

func sorted[V any](events map[uuid.UUID]V) []uuid.UUID {
	return slices.SortedFunc(maps.Keys(events), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
}

func (a *Account) lost(event uuid.UUID, why string) {
	a.Lost = append(a.Lost, fmt.Sprintf("event %s: %s", event, why))
}

func (a *Account) wrong(format string, args ...any) {
	a.Wrong = append(a.Wrong, fmt.Sprintf(format, args...))
}

// OK reports whether nothing is lost or wrong.
func (a *Account) OK() bool { return len(a.Lost) == 0 && len(a.Wrong) == 0 }

// shown is how many of a list's entries are printed.
const shown = 20

// table is rows of a name and a value, for people.
type table struct{ rows [][2]string }

func (t *table) add(name, format string, args ...any) {
	t.rows = append(t.rows, [2]string{name, fmt.Sprintf(format, args...)})
}

func (t *table) list(name string, entries []string) {
	for i, entry := range entries {
		if i == shown {
			t.add("", "... and %d more", len(entries)-shown)
			break
		}
		t.add(name, "%s", entry)
		name = ""
	}
}

// String aligns the values.
func (t *table) String() string {
	width := 0
	for _, row := range t.rows {
		width = max(width, len(row[0]))
	}
	var b strings.Builder
	for _, row := range t.rows {
		fmt.Fprintf(&b, "%-*s  %s\n", width, row[0], row[1])
	}
	return b.String()
}

// write adds the account to a table.
func (a *Account) write(t *table) {
	t.add("acknowledged", "%d", a.Acknowledged)
	t.add("unacknowledged", "%d without an answer, %d refused", a.Unacknowledged, a.Refused)
	t.add("received", "%d distinct events in %d attempts, %d of them unacknowledged", a.Received, a.Attempts, a.ReceivedUnacknowledged)
	t.add("dead letters", "%d, each with its reason", a.DeadLetters)
	t.add("still open", "%d", a.Open)
	t.add("LOST", "%d", len(a.Lost))
	t.add("repeated", "%d events, %d repetitions; events that came under more than one message id: %d", a.Repeated, a.Repetitions, a.Mixed)
	var parts []string
	for _, account := range sortedNames(a.Books) {
		if account != accepted {
			parts = append(parts, fmt.Sprintf("%s %d", account, a.Books[account]))
		}
	}
	t.add("invariant", "accepted %d = %s (drift %d)", a.Books[accepted], strings.Join(parts, " + "), a.Books.Drift())
	t.list("lost", a.Lost)
	t.list("wrong", a.Wrong)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func sortedNames[V any](byName map[string]V) []string { return slices.Sorted(maps.Keys(byName)) }
