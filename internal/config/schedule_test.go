package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScheduleString(t *testing.T) {
	t.Parallel()

	for _, text := range []string{
		"5m,30m,2h,12h,24h", "1s,2s,4s,8s,16s", "1ns", "1h0m1s", "1h1m", "1m1s", "10m", "720h", "1.5s", "100ms",
	} {
		s, err := ParseSchedule(text)
		require.NoError(t, err)
		require.Equal(t, text, s.String())
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, seed := range []string{"5m,30m,2h,12h,24h", "1s", " 1h30m , 1.5s", "", ",", "-1s", "721h", "1us,2µs", "9999999999h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSchedule(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, s)
		require.LessOrEqual(t, len(s), 20)
		for _, d := range s {
			require.Positive(t, d)
			require.LessOrEqual(t, d, 30*24*time.Hour)
		}

		again, err := ParseSchedule(s.String())
		require.NoError(t, err)
		require.Equal(t, s, again)
		require.Equal(t, s.String(), again.String())
	})
}
