package config

import (
	"fmt"
	"strings"
	"time"
)

// Schedule is the waits between attempts: Schedule[0] before the first retry, and so on.
type Schedule []time.Duration

const (
	maxRetries = 20
	maxWait    = 30 * 24 * time.Hour

	scheduleAllowed = "1 to 20 durations such as 5m,30m,2h, each above 0 and at most 720h"
)

// ParseSchedule reads durations separated by commas; spaces around them don't count.
func ParseSchedule(text string) (Schedule, error) {
	parts := strings.Split(text, ",")
	if len(parts) > maxRetries {
		return nil, fmt.Errorf("%d waits", len(parts))
	}
	s := make(Schedule, 0, len(parts))
	for i, part := range parts {
		d, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("wait %d is not a duration", i+1)
		}
		if d <= 0 || d > maxWait {
			return nil, fmt.Errorf("wait %d is out of range", i+1)
		}
		s = append(s, d)
	}
	return s, nil
}

// String returns the schedule as [ParseSchedule] reads it, as short as it goes: "5m,30m,2h".
func (s Schedule) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = formatDuration(d)
	}
	return strings.Join(parts, ",")
}

// formatDuration is [time.Duration.String] without trailing zero units: "2h" for "2h0m0s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
