package console

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
)

// pairRow is a line of a comparison.
type pairRow struct {
	Name, A, B string
	Differs    bool
}

// stepPair is a step that one of two runs has, or both.
type stepPair struct {
	As, Capability string
	A, B           *patterns.StepTrace
	Took           string // B's duration against A's; "" unless both did work
}

// compareRuns shows two runs side by side. The address has them as a and b, or twice as run, as the list's form
// sends them; the older one then is a.
func (c *Console) compareRuns(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if chosen := q["run"]; len(chosen) == 2 {
		return c.inOrder(w, r, chosen[0], chosen[1])
	} else if len(chosen) > 0 {
		return c.render(w, r, http.StatusUnprocessableEntity, "compare", runsPath, "Compare two runs", map[string]any{"Chosen": len(chosen)})
	}
	if q.Get("a") == "" || q.Get("b") == "" {
		return c.render(w, r, http.StatusOK, "compare", runsPath, "Compare two runs", map[string]any{})
	}
	a, b, err := c.twoRuns(r.Context(), q.Get("a"), q.Get("b"))
	if err != nil {
		return err
	}
	data := map[string]any{
		"A": a, "B": b, "NameA": c.patternName(a.PatternID), "NameB": c.patternName(b.PatternID),
		"Facts": factPairs(a, b), "Inputs": inputPairs(a, b), "Steps": stepPairs(a.Trace.Steps, b.Trace.Steps),
		"Swapped": address(runsPath+"/compare", url.Values{"a": {b.ID}, "b": {a.ID}}),
	}
	if err := c.compareResults(r, a, b, data); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "compare", runsPath, "Compare two runs", data)
}

// inOrder leads to the comparison of two runs, the older one first.
func (c *Console) inOrder(w http.ResponseWriter, r *http.Request, a, b string) error {
	first, second, err := c.twoRuns(r.Context(), a, b)
	if err != nil {
		return err
	}
	if second.StartedAt.Before(first.StartedAt) {
		first, second = second, first
	}
	http.Redirect(w, r, address(runsPath+"/compare", url.Values{"a": {first.ID}, "b": {second.ID}}), http.StatusSeeOther)
	return nil
}

func (c *Console) twoRuns(ctx context.Context, first, second string) (a, b patterns.Run, err error) {
	if a, err = c.Runs.Run(ctx, auth.Tenant(ctx), first); err != nil {
		return a, b, err
	}
	b, err = c.Runs.Run(ctx, auth.Tenant(ctx), second)
	return a, b, err
}

// compareResults puts what the results differ in into data, or why that can't be told.
func (c *Console) compareResults(r *http.Request, a, b patterns.Run, data map[string]any) error {
	bothSucceeded := runs.OutcomeOf(a) == runs.Success && runs.OutcomeOf(b) == runs.Success
	if bothSucceeded && a.DataHash == b.DataHash {
		data["Identical"] = true
		return nil
	}
	first, err := c.again(r.Context(), a)
	if err != nil {
		return err
	}
	second, err := c.again(r.Context(), b)
	if err != nil {
		return err
	}
	data["AgainA"], data["AgainB"] = first, second
	if first.Result == nil || second.Result == nil {
		return nil
	}
	found, err := compareJSON(first.Result.Data, second.Result.Data)
	if err != nil {
		return err
	}
	data["Comparison"] = found
	return nil
}

func factPairs(a, b patterns.Run) []pairRow {
	var rows []pairRow
	add := func(name string, of func(patterns.Run) string) {
		first, second := of(a), of(b)
		rows = append(rows, pairRow{name, cmp.Or(first, "–"), cmp.Or(second, "–"), first != second})
	}
	portfolio := func(of func(*patterns.Run) string) func(patterns.Run) string {
		return func(r patterns.Run) string {
			if r.Context.Portfolio == nil {
				return ""
			}
			return of(&r)
		}
	}
	add("Pattern", func(r patterns.Run) string { return r.PatternID })
	add("Definition", func(r patterns.Run) string { return hashText(r.DefinitionHash) })
	add("Started, UTC", func(r patterns.Run) string { return r.StartedAt.UTC().Format("2006-01-02 15:04:05.000") })
	add("Outcome", func(r patterns.Run) string { return string(runs.OutcomeOf(r)) })
	add("Error", func(r patterns.Run) string {
		if r.ErrorCode == "" {
			return ""
		}
		return string(r.ErrorCode) + ": " + r.ErrorDetail
	})
	add("Duration", func(r patterns.Run) string { return duration(r.Duration) })
	add("As of", func(r patterns.Run) string { return r.Context.Asof.Format(time.DateOnly) })
	add("Pricing pack", func(r patterns.Run) string {
		p := r.Context.PricingPack
		return p.Date.Format(time.DateOnly) + ", revision " + strconv.FormatInt(p.Revision, 10) + ", " + short(p.ID)
	})
	add("Prices", func(r patterns.Run) string { return hashText(r.Context.PricingPack.Hash) })
	add("Portfolio", portfolio(func(r *patterns.Run) string { return r.Context.Portfolio.ID }))
	add("Ledger version", portfolio(func(r *patterns.Run) string { return hashText(r.Context.Portfolio.LedgerVersion) }))
	add("User", func(r patterns.Run) string { return r.UserID })
	add("Result", func(r patterns.Run) string { return hashText(r.DataHash) })
	return rows
}

// hashText shows as much of a hash as tells two apart.
func hashText(hash string) string {
	if len(hash) > 16 {
		return hash[:16] + "…"
	}
	return hash
}

func inputPairs(a, b patterns.Run) []pairRow {
	first, second := map[string]string{}, map[string]string{}
	var names []string
	for _, in := range inputRows(a.Inputs) {
		first[in.Name] = in.Value
		names = append(names, in.Name)
	}
	for _, in := range inputRows(b.Inputs) {
		second[in.Name] = in.Value
		names = append(names, in.Name)
	}
	slices.Sort(names)
	var rows []pairRow
	for _, name := range slices.Compact(names) {
		x, y := cmp.Or(first[name], notGiven), cmp.Or(second[name], notGiven)
		rows = append(rows, pairRow{name, shortened(x), shortened(y), x != y})
	}
	return rows
}

// stepPairs matches steps by name, in the order of the first run; what only the second has comes last.
func stepPairs(a, b []patterns.StepTrace) []stepPair {
	var pairs []stepPair
	at := map[string]int{}
	for i, s := range a {
		at[s.As] = len(pairs)
		pairs = append(pairs, stepPair{As: s.As, Capability: s.Capability, A: &a[i]})
	}
	for i, s := range b {
		if n, ok := at[s.As]; ok {
			pairs[n].B = &b[i]
			pairs[n].Took = ratio(*pairs[n].A, s)
			if s.Capability != pairs[n].Capability {
				pairs[n].Capability += ", then " + s.Capability
			}
			continue
		}
		pairs = append(pairs, stepPair{As: s.As, Capability: s.Capability, B: &b[i]})
	}
	return pairs
}

// ratio says how much longer the second of two calls took that both did work.
func ratio(a, b patterns.StepTrace) string {
	worked := func(s patterns.StepTrace) bool {
		return (s.Status == patterns.StatusSuccess || s.Status == patterns.StatusError) && s.DurationSeconds > 0
	}
	if !worked(a) || !worked(b) {
		return ""
	}
	return inThreeDigits(b.DurationSeconds/a.DurationSeconds) + " ×"
}
