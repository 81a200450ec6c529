package delivery

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzPlain: what is let through without being parsed would also have passed the parser.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"nav": -3.25, "why": "the 3e9 index"}`, `[1e5]`, `[1E+131000]`, `[0.00001, 2]`, `["[[[["]`,
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		if json.Valid([]byte(data)) && plain([]byte(data)) {
			require.NoError(t, bounded([]byte(data), "/data"))
		}
	})
}

// TestPlain holds that the bounds themselves are not plain.
func TestPlain(t *testing.T) {
	t.Parallel()
	require.True(t, plain([]byte(`{"nav": -3.25, "why": "fell"}`)))
	require.False(t, plain([]byte(`[1e9]`)))
	require.False(t, plain([]byte(`[1E9]`)))
	require.False(t, plain([]byte(strings.Repeat("[", maxDepth+1)+strings.Repeat("]", maxDepth+1))))
	require.False(t, plain(append([]byte(`[`), append([]byte(strings.Repeat("1", maxWrittenOut)), ']')...)))
}
