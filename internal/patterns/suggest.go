package patterns

import "fmt"

// didYouMean returns the clause "; did you mean x?" for the known name closest to a wrong one, or
// "" when none is close enough to be meant.
func didYouMean(name string, known []string) string {
	if len(name) > 100 { // nobody's slip, and a caller could keep the comparison busy with it
		return ""
	}
	best, shortest := "", len(name)/3+2 // a third of the letters wrong is a different word
	for _, k := range known {
		if d := editDistance(name, k); d < shortest {
			best, shortest = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// editDistance is Levenshtein's: how many bytes must be inserted, removed or replaced to turn a
// into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
