package httpapi

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/dawsos/dawsos/internal/patterns"
)

// What stands here writes the JSON of api.ExecuteAnswer and of a stream's events straight from the
// engine's values. encoding/json would look through every byte of data and charts again, which are
// compact JSON already, and whose bytes data_hash is about. A test holds it against encoding/json.

// appendAnswer writes an api.ExecuteAnswer.
func appendAnswer(b []byte, a *patterns.Answer) []byte {
	b = appendString(append(b, `{"run_id":`...), a.RunID)
	b = appendString(append(b, `,"pattern_id":`...), a.PatternID)
	b = append(append(b, `,"data":`...), a.Data...)
	b = append(b, `,"charts":[`...)
	for i, chart := range a.Charts {
		b = append(comma(b, i), chart...)
	}
	b = appendStrings(append(b, `],"warnings":`...), a.Warnings)
	b = appendTrace(append(b, `,"trace":`...), &a.Trace)
	b = appendString(append(b, `,"data_hash":`...), a.DataHash)
	return append(b, '}')
}

// appendTrace writes an api.Trace.
func appendTrace(b []byte, t *patterns.Trace) []byte {
	b = appendString(append(b, `{"request_id":`...), t.RequestID)
	b = appendString(append(b, `,"trace_id":`...), t.TraceID)
	b = appendString(append(b, `,"pattern_id":`...), t.PatternID)
	b = appendString(append(b, `,"pricing_pack_id":`...), t.PricingPackID)
	b = append(b, `,"ledger_version":`...)
	if t.LedgerVersion == "" {
		b = append(b, "null"...)
	} else {
		b = appendString(b, t.LedgerVersion)
	}
	b = appendString(append(b, `,"asof":`...), t.Asof)
	b = appendFloat(append(b, `,"duration_seconds":`...), t.DurationSeconds)
	b = appendSteps(append(b, `,"steps":`...), t.Steps)
	b = appendStrings(append(b, `,"agents_used":`...), t.AgentsUsed)
	b = appendStrings(append(b, `,"capabilities_used":`...), t.CapabilitiesUsed)
	b = appendStrings(append(b, `,"sources":`...), t.Sources)
	b = append(b, `,"staleness":[`...)
	for i := range t.Staleness {
		s := &t.Staleness[i]
		b = appendString(append(comma(b, i), `{"as":`...), s.As)
		b = appendString(append(b, `,"capability":`...), s.Capability)
		b = appendString(append(b, `,"asof":`...), s.Asof)
		b = appendString(append(b, `,"oldest_source":`...), s.OldestSource)
		b = appendString(append(b, `,"oldest_asof":`...), s.OldestAsof)
		b = strconv.AppendInt(append(b, `,"age_days":`...), int64(s.AgeDays), 10)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

func appendSteps(b []byte, steps []patterns.StepTrace) []byte {
	b = append(b, '[')
	for i := range steps {
		b = appendStep(comma(b, i), &steps[i])
	}
	return append(b, ']')
}

// appendStep writes an api.TraceStep, or for a step without a status, which has only started, an
// api.StepStarted.
func appendStep(b []byte, s *patterns.StepTrace) []byte {
	b = strconv.AppendInt(append(b, `{"index":`...), int64(s.Index), 10)
	b = appendString(append(b, `,"capability":`...), s.Capability)
	b = appendString(append(b, `,"agent":`...), s.Agent)
	b = appendString(append(b, `,"as":`...), s.As)
	ended := s.Status != ""
	if ended {
		b = appendString(append(b, `,"status":`...), string(s.Status))
	}
	if ended || !s.StartedAt.IsZero() {
		b = s.StartedAt.AppendFormat(append(b, `,"started_at":"`...), time.RFC3339Nano)
		b = append(b, '"')
	}
	if ended {
		b = appendFloat(append(b, `,"duration_seconds":`...), s.DurationSeconds)
	}
	if s.Reason != "" {
		b = appendString(append(b, `,"reason":`...), s.Reason)
	}
	if s.Error != "" {
		b = appendString(append(b, `,"error":`...), s.Error)
	}
	if s.Items != 0 {
		b = strconv.AppendInt(append(b, `,"items":`...), int64(s.Items), 10)
	}
	if s.Steps != nil {
		b = appendSteps(append(b, `,"steps":`...), s.Steps)
	}
	return append(b, '}')
}

// appendStarted writes an api.RunStarted.
func appendStarted(b []byte, runID string, t *patterns.Trace) []byte {
	b = appendString(append(b, `{"run_id":`...), runID)
	b = appendString(append(b, `,"pattern_id":`...), t.PatternID)
	b = appendString(append(b, `,"request_id":`...), t.RequestID)
	b = appendString(append(b, `,"trace_id":`...), t.TraceID)
	b = appendString(append(b, `,"asof":`...), t.Asof)
	b = appendString(append(b, `,"pricing_pack_id":`...), t.PricingPackID)
	return append(b, '}')
}

// comma separates the ith element of a list from the one before.
func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

// appendStrings writes a list, which is never null.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		b = appendString(comma(b, i), s)
	}
	return append(b, ']')
}

// appendString writes what encoding/json does. What needs escaping is rare, and its.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf {
			escaped, _ := json.Marshal(s) // a string can be marshaled
			return append(b, escaped...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendFloat writes a duration. Infinity and NaN, which JSON does not know, are none.
func appendFloat(b []byte, f float64) []byte {
	if math.Abs(f) < 1e-6 && f != 0 || math.Abs(f) >= 1e21 {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}
