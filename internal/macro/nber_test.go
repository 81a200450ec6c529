package macro_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/macro"
)

var update = flag.Bool("update", false, "write the figures into docs/analytics/regimes-against-nber.md")

const (
	nberDoc   = "../../docs/analytics/regimes-against-nber.md"
	nberBegin = "<!-- figures: go test ./internal/macro -run TestAgainstNBER -update -->\n"
	nberEnd   = "<!-- end of figures -->"
)

// recession is one of nber_recessions.csv: the months after the peak, up to the trough.
type recession struct {
	peak, trough time.Time // first days of the months
}

func recessions(t *testing.T) []recession {
	t.Helper()
	rows, err := records("nber_recessions.csv")
	require.NoError(t, err)
	var all []recession
	for _, r := range rows {
		all = append(all, recession{day(t, r[0]+"-01"), day(t, r[1]+"-01")})
	}
	return all
}

// months counts the months from a to b.
func months(a, b time.Time) int {
	return (b.Year()-a.Year())*12 + int(b.Month()) - int(a.Month())
}

// verdict is what a model said at the end of a month, with what was known then.
type verdict struct {
	month      time.Time // its first day
	state      *macro.State
	confidence float64
	inputs     int
}

func (v verdict) flagged() bool { return v.state != nil && v.state.Contraction }

// judge reads a model at each month's end.
func judge(d *macro.Detector, m macro.Model, from, to time.Time) []verdict {
	var all []verdict
	for _, end := range macro.MonthEnds(from, to) {
		r := d.At(end)
		v := verdict{month: time.Date(end.Year(), end.Month(), 1, 0, 0, 0, 0, time.UTC), state: r.State, confidence: r.Confidence()}
		for _, in := range r.Inputs {
			if m.Scored(in.Input) {
				v.inputs++
			}
		}
		all = append(all, v)
	}
	return all
}

// in reports whether a month is one of a recession.
func in(month time.Time, all []recession) bool {
	for _, r := range all {
		if month.After(r.peak) && !month.After(r.trough) {
			return true
		}
	}
	return false
}

// share is a count of a total, as text.
func share(part, of int) string {
	if of == 0 {
		return fmt.Sprintf("%d of 0", part)
	}
	return fmt.Sprintf("%d of %d (%.1f %%)", part, of, 100*float64(part)/float64(of))
}

// judged writes the figures of one model.
func judged(b *strings.Builder, title string, verdicts []verdict, all []recession) {
	var told, recessionMonths, hits, expansionMonths, false_ int
	first, last, highest := time.Time{}, time.Time{}, 0.0
	byInputs := map[int]int{}
	for _, v := range verdicts {
		if v.state == nil {
			continue
		}
		first, last = cmp.Or(first, v.month), v.month
		told++
		byInputs[v.inputs]++
		highest = max(highest, v.confidence)
		if in(v.month, all) {
			recessionMonths++
			if v.flagged() {
				hits++
			}
		} else {
			expansionMonths++
			if v.flagged() {
				false_++
			}
		}
	}
	fmt.Fprintf(b, "### %s\n\n", title)
	fmt.Fprintf(b, "| | |\n|---|---|\n")
	fmt.Fprintf(b, "| months judged | %d, %s to %s |\n", told, first.Format("2006-01"), last.Format("2006-01"))
	var inputs []string
	for n := range 10 {
		if c := byInputs[n]; c > 0 {
			inputs = append(inputs, fmt.Sprintf("%d inputs in %d", n, c))
		}
	}
	fmt.Fprintf(b, "| of them with | %s |\n", strings.Join(inputs, ", "))
	fmt.Fprintf(b, "| hit rate: recession months flagged | %s |\n", share(hits, recessionMonths))
	fmt.Fprintf(b, "| false alarms: other months flagged | %s |\n", share(false_, expansionMonths))
	fmt.Fprintf(b, "| precision: flagged months in recession | %s |\n", share(hits, hits+false_))
	fmt.Fprintf(b, "| flagging every month would be right in | %s |\n", share(recessionMonths, told))
	fmt.Fprintf(b, "| highest confidence of any month | %.3f |\n\n", highest)

	fmt.Fprintf(b, "| recession (peak, trough) | months judged | flagged | first flag after the peak | still flagged after the trough |\n|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(b, "| %s, %s | %s |\n", r.peak.Format("2006-01"), r.trough.Format("2006-01"), episode(verdicts, r))
	}
	b.WriteString("\n")
}

// episode says how one recession was met. The first flag is the start of the run of flagged months that
// goes on into the recession, or the first within it; negative numbers are a lead.
func episode(verdicts []verdict, r recession) string {
	told, flagged, firstAt, after := 0, 0, -1, 0
	for i, v := range verdicts {
		if v.state == nil || !v.month.After(r.peak) || v.month.After(r.trough) {
			continue
		}
		told++
		if v.flagged() {
			flagged++
			if firstAt < 0 {
				firstAt = i
			}
		}
	}
	if told == 0 {
		return "0 | | no data | "
	}
	if firstAt < 0 {
		return fmt.Sprintf("%d | 0 | never | ", told)
	}
	for firstAt > 0 && verdicts[firstAt-1].flagged() {
		firstAt--
	}
	for _, v := range verdicts {
		if v.month.After(r.trough) {
			if !v.flagged() {
				break
			}
			after++
		}
	}
	return fmt.Sprintf("%d | %d | %+d months | %d months", told, flagged, months(r.peak, verdicts[firstAt].month), after)
}

// TestAgainstNBER holds the models against recessions that were dated in hindsight. What it writes is the
// documentation: it fails when the figures there are no longer those of the data and the tables.
func TestAgainstNBER(t *testing.T) {
	t.Parallel()
	cfg, panel, all := config(t), sample(t), recessions(t)
	from, to := day(t, "1953-04-30"), day(t, "2017-12-31")

	var b strings.Builder
	judged(&b, "Regimes", judge(detector(t, cfg.Regimes, panel, cfg.Settings), cfg.Regimes, from, to), all)
	judged(&b, "Short-term debt cycle", judge(detector(t, cfg.ShortTerm, panel, cfg.Settings), cfg.ShortTerm, from, to), all)

	raw, err := os.ReadFile(nberDoc)
	require.NoError(t, err)
	head, rest, found := strings.Cut(string(raw), nberBegin)
	require.True(t, found)
	written, tail, found := strings.Cut(rest, nberEnd)
	require.True(t, found)
	if *update {
		require.NoError(t, os.WriteFile(nberDoc, []byte(head+nberBegin+"\n"+b.String()+nberEnd+tail), 0o644))
		return
	}
	require.Equal(t, "\n"+b.String(), written)
}
