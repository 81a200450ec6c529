package patterns

import (
	"fmt"

	"github.com/dawsos/dawsos/pkg/pattern"
)

// didYouMean returns the clause `; did you mean "x"?` for the known name closest to a wrong one, or
// "" when none is close enough to be meant.
func didYouMean(name string, known []string) string {
	if best := pattern.Closest(name, known); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return ""
}
