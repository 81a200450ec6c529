package pattern

import "strings"

// Closest returns the known name that a wrong one was probably meant to be, or "" when none is close:
// the one with the fewest letters off, at most a third of them and one more, but not all, else the first
// that the name abbreviates ("int" for "integer"). Of equally close names the first counts.
func Closest(name string, known []string) string {
	if len(name) > 100 { // nobody's slip, and a caller could keep the comparison busy with it
		return ""
	}
	best, within := "", len(name)/3+2 // more wrong than that is a different word
	for _, k := range known {
		if strings.EqualFold(name, k) {
			return k
		}
		if d := editDistance(name, k, within); d < within && d < max(len(name), len(k)) { // "c" is no slip of "a"
			best, within = k, d
		}
	}
	if best != "" || len(name) < 3 {
		return best
	}
	for _, k := range known {
		if strings.HasPrefix(k, name) {
			return k
		}
	}
	return ""
}

// editDistance is Levenshtein's: how many bytes must be inserted, removed or replaced to turn a
// into b. It stops where it is clear that it comes to within or more, and returns within then.
func editDistance(a, b string, within int) int {
	if max(len(a)-len(b), len(b)-len(a)) >= within {
		return within
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
			least = min(least, row[j+1])
		}
		if least >= within { // it never falls again
			return within
		}
	}
	return min(row[len(b)], within)
}
