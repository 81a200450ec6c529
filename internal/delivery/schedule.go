package delivery

import "time"

// Schedule is the backoff between a failure and the next retry.
type Schedule struct {
	Delays []time.Duration // Delays[0] is the wait after the first send
	Jitter float64         // fraction of a delay by which it may be shorter or longer, 0 to 1
}

// Wait returns the pause after the nth failure; false once the schedule is spent. u is a uniform
// random number in [0, 1): jitter keeps letters that failed together from retrying together.
func (s Schedule) Wait(failures int, u float64) (time.Duration, bool) {
	if failures < 1 || failures > len(s.Delays) {
		return 0, false
	}
	d := s.Delays[failures-1]
	return d + time.Duration((2*u-1)*s.Jitter*float64(d)), true
}

// maxRetryAfter caps how long a receiver may put us off.
const maxRetryAfter = 6 * time.Hour

// judge decides what follows from an attempt, the failures+1st to be made if it failed. It is
// pure: everything that varies is handed in. A receiver's Retry-After moves the next try back, never
// forth, so that it can't spend the schedule; nor does the schedule reach beyond the event's time to
// live, at whose end the letter expires.
func (s Schedule) judge(d Delivery, a Attempt, failures int, now time.Time, u float64) Verdict {
	v := Verdict{Delivery: d, Attempt: a, DecidedAt: now}
	if a.Outcome.Delivered() {
		v.State = Delivered
		return v
	}
	wait, more := s.Wait(failures+1, u)
	if !a.Outcome.Retry || !more {
		v.State = Exhausted
		return v
	}
	if expired(d.Event, now) {
		v.State = Expired
		return v
	}
	wait = max(wait, min(a.Outcome.RetryAfter, maxRetryAfter))
	v.State, v.NextRetryAt = Pending, notAfterExpiry(d.Event, now.Add(wait))
	return v
}

func expired(e Event, now time.Time) bool { return !e.ExpiresAt.IsZero() && !now.Before(e.ExpiresAt) }

func notAfterExpiry(e Event, t time.Time) time.Time {
	if !e.ExpiresAt.IsZero() && t.After(e.ExpiresAt) {
		return e.ExpiresAt
	}
	return t
}
