package httpapi

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

func TestCursorsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	id, n, name := uuid.New(), int64(1<<62), `a "name" \u0000`
	place := portfolio.Cursor{CreatedAt: time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC), ID: id.String()}

	var gotID uuid.UUID
	require.NoError(t, decodeCursor(encodeCursor(id), &gotID))
	require.Equal(t, id, gotID)
	var gotN int64
	require.NoError(t, decodeCursor(encodeCursor(n), &gotN))
	require.Equal(t, n, gotN)
	var gotName string
	require.NoError(t, decodeCursor(encodeCursor(name), &gotName))
	require.Equal(t, name, gotName)
	var gotPlace portfolio.Cursor
	require.NoError(t, decodeCursor(encodeCursor(place), &gotPlace))
	require.Equal(t, place, gotPlace)

	start := uuid.Max
	for _, none := range []*string{nil, new("")} {
		require.NoError(t, decodeCursor(none, &start))
		require.Equal(t, uuid.Max, start, "without a cursor a list begins at its start")
	}
}

// What is taken for a cursor is what was handed out for that very place.
func FuzzCursor(f *testing.F) {
	f.Add(*encodeCursor(int64(5)))
	f.Add(*encodeCursor("portfolio_overview"))
	f.Add(*encodeCursor(uuid.Max))
	f.Add(*encodeCursor(portfolio.Cursor{ID: "x"}))
	f.Add(*encodeCursor("\x00"))
	f.Add("bnVsbA")
	f.Add("IiI=")
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" {
			return
		}
		for _, place := range []any{new(int64), new(string), &uuid.UUID{}, &portfolio.Cursor{}} {
			err := decodeCursor(&s, place)
			if err == nil && *encodeCursor(place) != s {
				t.Fatalf("%q is taken for %v, whose cursor is %q", s, place, *encodeCursor(place))
			}
			if text, ok := place.(*string); ok && err == nil && !storable(*text) {
				t.Fatalf("%q is taken for %q, which the database can't hold", s, *text)
			}
			if err != nil && fault.CodeOf(err) != fault.Invalid {
				t.Fatalf("%q: %v", s, err)
			}
		}
	})
}
