package pattern

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClosest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		known []string
		want  string
	}{
		{"positons", []string{"prices", "positions"}, "positions"},
		{"capabilty", []string{"as", "capability"}, "capability"},
		{"ledger.position", []string{"ledger.positions", "ledger.transactions"}, "ledger.positions"},
		{"ab", []string{"ac"}, "ac"},
		{"ab", []string{"cd"}, ""},
		{"UUID", []string{"date", "uuid"}, "uuid"},
		{"int", []string{"string", "integer"}, "integer"},
		{"bool", []string{"string", "boolean"}, "boolean"},
		{"b", []string{"boolean"}, ""}, // too little to say
		{"x", []string{"y", "z"}, ""},  // nothing in common
		{"c", []string{"a", "bc"}, "bc"},
		{"ax", []string{"ay", "az"}, "ay"}, // the first of equals
		{"perf", []string{"positions", "currencies"}, ""},
		{"perf", nil, ""},
		{"", []string{"a", ""}, ""},
		{strings.Repeat("a", 101), []string{strings.Repeat("a", 101)}, ""},
		{"short", []string{strings.Repeat("short", 1000)}, strings.Repeat("short", 1000)},
	} {
		require.Equal(t, tc.want, Closest(tc.name, tc.known), tc.name)
	}
}

func TestEditDistance(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"kitten", "sitting", 3},
		{"flaw", "lawn", 2},
		{"abcdef", "abcdef", 0},
		{"abcdef", "uvwxyz", 6},
	} {
		for within := range 10 {
			require.Equal(t, min(tc.want, within), editDistance(tc.a, tc.b, within), "%s, %s within %d", tc.a, tc.b, within)
		}
	}
}
