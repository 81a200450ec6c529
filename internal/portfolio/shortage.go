package portfolio

import (
	"fmt"
	"strings"
)

// Shortage says why a measure cannot be computed.
type Shortage struct {
	Missing string // the input: "prices:SBI", "fx:EUR/CHF", "macro:FF_RF", "transactions", "returns", ...
	Reason  string // one clause for the reader, with the dates or numbers concerned
}

// Shortages is the error of a measure that cannot be computed from what is there. It is a fact
// about the data, not a failure: the measure is reported as null beside its shortages.
type Shortages []Shortage

func (s Shortages) Error() string {
	parts := make([]string, len(s))
	for i, x := range s {
		parts[i] = x.Missing + ": " + x.Reason
	}
	return "insufficient data: " + strings.Join(parts, "; ")
}

// Short returns the error of a measure that lacks one thing; format and args make the reason.
func Short(missing, format string, args ...any) Shortages {
	return Shortages{{Missing: missing, Reason: fmt.Sprintf(format, args...)}}
}
