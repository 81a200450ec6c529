package capability

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
)

// maxPhases bounds the dated phases of one cycle: monthly ones of more than three centuries.
const maxPhases = 4_000

// Absent tells an argument that was left out.
func Absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// Cycle is what other capabilities read of an answer of cycles.compute_short_term or
// cycles.compute_long_term, which has more fields. Its phases are dated, oldest first: each holds from its
// date until the next one's.
type Cycle struct {
	Phase   *string      `json:"phase"` // that it is in; nil when it is not known
	Label   *string      `json:"label"`
	History []DatedPhase `json:"history"`

	dates []time.Time
}

// DatedPhase is the phase from a date on.
type DatedPhase struct {
	Date  string `json:"date"`
	Phase string `json:"phase"` // "" when it is not known
}

// ReadCycle reads the cycle in an argument; nil when it was left out. Errors name the place.
func ReadCycle(argument string, raw json.RawMessage) (*Cycle, error) {
	if Absent(raw) {
		return nil, nil //nolint:nilnil // there is nothing to read, which is no mistake
	}
	at := "/args/" + argument
	var c Cycle
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fault.InvalidField(at, "it is not what cycles.* answers: %v", err)
	}
	at += "/history"
	if n := len(c.History); n > maxPhases {
		return nil, fault.InvalidField(at, "it has %d entries, at most %d are allowed", n, maxPhases)
	}
	for i, h := range c.History {
		d, err := time.Parse(time.DateOnly, h.Date)
		if err != nil {
			return nil, fault.InvalidField(fmt.Sprintf("%s/%d/date", at, i), "%q is not a date such as 2007-04-30", h.Date)
		}
		if i > 0 && !d.After(c.dates[i-1]) {
			return nil, fault.InvalidField(at, "%s does not come after %s", h.Date, c.History[i-1].Date)
		}
		c.dates = append(c.dates, d)
	}
	if c.Phase != nil && *c.Phase == "" {
		c.Phase = nil
	}
	return &c, nil
}

// Since returns the first dated phase's date; ok is false when there is none.
func (c *Cycle) Since() (first time.Time, ok bool) {
	if c == nil || len(c.dates) == 0 {
		return time.Time{}, false
	}
	return c.dates[0], true
}

// At returns the phase that was in force on a day: the last one dated on or before it.
func (c *Cycle) At(day time.Time) (phase string, ok bool) {
	i, found := slices.BinarySearchFunc(c.dates, day, time.Time.Compare)
	if !found {
		i--
	}
	if i < 0 {
		return "", false
	}
	phase = c.History[i].Phase
	return phase, phase != "" // a phase that is not known is null
}
