package periodic_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/periodic"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return v
}

func TestNext(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ schedule, after, next string }{
		{"30 22 * * *", "2026-05-01T22:29:59Z", "2026-05-01T22:30:00Z"},
		{"30 22 * * *", "2026-05-01T22:30:00Z", "2026-05-02T22:30:00Z"},
		{"30 22 * * *", "2026-05-01T23:29:00+01:00", "2026-05-01T22:30:00Z"}, // UTC, whatever zone is asked in
		{"22:30", "2026-05-01T22:29:59Z", "2026-05-01T22:30:00Z"},
		{"22:30", "2026-12-31T22:30:00Z", "2027-01-01T22:30:00Z"},
		{"00:00", "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z"},
		{"0 6 * * 1-5", "2026-05-01T06:00:00Z", "2026-05-04T06:00:00Z"}, // a Friday
		{"0 6 29 2 *", "2026-05-01T00:00:00Z", "2028-02-29T06:00:00Z"},
		{"15m", "2026-05-01T22:29:59Z", "2026-05-01T22:44:59Z"},
		{"1m30s", "2026-05-01T00:00:00Z", "2026-05-01T00:01:30Z"},
	} {
		s, err := periodic.ParseSchedule(test.schedule)
		require.NoError(t, err, test.schedule)
		require.Equal(t, test.schedule, s.String())
		require.False(t, s.Never())
		require.Equal(t, at(t, test.next), s.Next(at(t, test.after)), "%s after %s", test.schedule, test.after)
	}
}

func TestOff(t *testing.T) {
	t.Parallel()
	s, err := periodic.ParseSchedule("off")
	require.NoError(t, err)
	require.True(t, s.Never())
	require.Equal(t, periodic.Schedule{}, s)
	require.Equal(t, "off", s.String())
	require.True(t, s.Next(time.Now()).IsZero())
}

func TestParseScheduleRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "never", "25:00", "22:60", "@daily", "@every 1m", "* * * *", "* * * * * *", "60 * * * *", "0 0 31 2 *",
		"TZ=Europe/Zurich 0 6 * * *", "CRON_TZ=UTC 0 6 * * *", "-1m", "0s", "999ms", "0",
	} {
		_, err := periodic.ParseSchedule(text)
		require.Error(t, err, "%q", text)
	}
}

// FuzzParseSchedule: what is accepted is read the same from its own text, and what is due is in the future.
func FuzzParseSchedule(f *testing.F) {
	for _, text := range []string{"30 22 * * *", "22:30", "15m", "off", "*/5 0-6 1,15 * 1-5", "0 0 31 2 *"} {
		f.Add(text)
	}
	now := time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := periodic.ParseSchedule(text)
		if err != nil {
			return
		}
		again, err := periodic.ParseSchedule(s.String())
		require.NoError(t, err)
		require.Equal(t, s.Next(now), again.Next(now))
		if s.Never() {
			require.Equal(t, periodic.Off, text)
			return
		}
		require.True(t, s.Next(now).After(now) || s.Next(now).IsZero(), "%s", s.Next(now))
	})
}
