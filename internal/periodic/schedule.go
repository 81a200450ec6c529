package periodic

import (
	"errors"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule says when a job is due, in UTC. The zero Schedule is never.
type Schedule struct {
	text  string
	every time.Duration // 0 unless it is an interval
	cron  cron.Schedule // nil when it is an interval, or never
}

// ScheduleForms completes "it must be ...".
const ScheduleForms = `a cron expression of five fields such as "30 22 * * *", a time of day such as 22:30, an interval from 1s such as 15m, all in UTC, or off`

// Off is the text of the schedule that is never.
const Off = "off"

const leastInterval = time.Second

// Every returns the schedule of an interval.
func Every(d time.Duration) Schedule { return Schedule{text: d.String(), every: d} }

// ParseSchedule reads a cron expression of five fields (minute, hour, day of the month, month, day of the
// week, as Vixie's cron has them), a time of day "15:04", an interval as time.ParseDuration reads it, or
// "off". Days begin at midnight UTC.
func ParseSchedule(text string) (Schedule, error) {
	if text == Off {
		return Schedule{}, nil
	}
	if at, err := time.Parse("15:04", text); err == nil {
		return Schedule{text: text, cron: &cron.SpecSchedule{
			Second: 1, Minute: 1 << at.Minute(), Hour: 1 << at.Hour(),
			Dom: wildcard | 0xfffffffe, Month: wildcard | 0x1ffe, Dow: wildcard | 0x7f, Location: time.UTC,
		}}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d < leastInterval {
			return Schedule{}, errors.New("less than a second")
		}
		return Schedule{text: text, every: d}, nil
	}
	// Neither descriptors such as @daily nor time zones: what is not cron's own is not portable.
	spec, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(text)
	if err != nil || text[0] == 'T' || text[0] == 'C' {
		return Schedule{}, errors.New("not a schedule")
	}
	if spec.Next(time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, errors.New("a day that does not come")
	}
	return Schedule{text: text, cron: spec}, nil
}

// wildcard is the bit by which cron tells a star from all values.
const wildcard = 1 << 63

// String is how the schedule was written; "off" when it is never.
func (s Schedule) String() string {
	if s.text == "" {
		return Off
	}
	return s.text
}

// Never reports whether the job is never due.
func (s Schedule) Never() bool { return s.every == 0 && s.cron == nil }

// Interval is the time between two runs where that is always the same, else 0.
func (s Schedule) Interval() time.Duration { return s.every }

// Next returns the first time after t that the job is due, in UTC; the zero time when it never is.
func (s Schedule) Next(t time.Time) time.Time {
	switch {
	case s.every > 0:
		return t.UTC().Add(s.every)
	case s.cron != nil:
		return s.cron.Next(t.UTC())
	}
	return time.Time{}
}
