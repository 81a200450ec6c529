package imports

import (
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

// A decimal that is taken has the digits that the database has room for, and is written as what it is.
func FuzzDecimal(f *testing.F) {
	for _, seed := range []string{"1", "-1.50", "+1", "0", "-0", "1e3", "1E-20", "1e2147483647", "1e-2147483648", "00001", ".5", "5.", "99999999999999999999.99999999999999999999", "1_000", "NaN", "١", "", "1e", "--1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, ok := parseDecimal(text)
		if !ok {
			return
		}
		written := d.String()
		require.LessOrEqual(t, len(written), 2*mostDigits+2, "%q", text)
		whole, fraction, _ := strings.Cut(strings.TrimPrefix(written, "-"), ".")
		require.LessOrEqual(t, len(whole), mostDigits, "%q", text)
		require.LessOrEqual(t, len(fraction), mostDigits, "%q", text)
		again, err := decimal.NewFromString(written)
		require.NoError(t, err)
		require.True(t, d.Equal(again), "%q: %s", text, written)
		for name, check := range map[string]func(string) (string, string){"positive": positive, "not negative": notNegative} {
			if taken, problem := check(text); problem == "" {
				v, err := decimal.NewFromString(taken)
				require.NoError(t, err)
				require.True(t, v.Equal(d), "%s: %q became %q", name, text, taken)
			}
		}
	})
}
