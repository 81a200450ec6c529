package apifuzz

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String is the report for people, as Markdown.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests of seed %d in %.0f s (%.0f a second) to %d operations: ", r.Requests, r.Seed, r.Seconds, float64(r.Requests)/r.Seconds, len(r.Asked))
	if r.OK() {
		b.WriteString("**nothing found**.\n")
	} else {
		fmt.Fprintf(&b, "**%d findings**.\n", len(r.Findings))
	}
	if unreached := r.Unreached(); len(unreached) > 0 {
		fmt.Fprintf(&b, "\nNever answered below 400: %s.\n", strings.Join(unreached, ", "))
	}
	b.WriteString("\n| status | answers |\n|---|---|\n")
	for _, status := range slices.Sorted(maps.Keys(r.Statuses)) {
		fmt.Fprintf(&b, "| %d | %d |\n", status, r.Statuses[status])
	}
	b.WriteString("\n| operation | requests | as documented, below 400 | statuses | slowest |\n|---|---|---|---|---|\n")
	for _, a := range r.Asked {
		var statuses []string
		for _, status := range slices.Sorted(maps.Keys(a.Statuses)) {
			statuses = append(statuses, fmt.Sprintf("%d: %d", status, a.Statuses[status]))
		}
		fmt.Fprintf(&b, "| `%s %s` | %d | %d of %d | %s | %.2f s |\n", a.Method, a.Path, a.Requests, a.UnbentGood, a.Unbent, strings.Join(statuses, ", "), r.Slowest[a.Operation])
	}
	b.WriteString("\n| bent how | requests |\n|---|---|\n")
	for _, bend := range slices.Sorted(maps.Keys(r.Bends)) {
		fmt.Fprintf(&b, "| %s | %d |\n", bend, r.Bends[bend])
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "\n### %s: %s\n\n%d times.\n", f.Operation, strings.ReplaceAll(f.Wrong, "\n", " "), f.Count)
		for _, example := range f.Examples {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", example)
		}
	}
	return b.String()
}
