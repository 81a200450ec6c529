package delivery

import "context"

// Retrier makes the attempts after the first.
type Retrier struct {
	*sender
}

// NewRetrier returns a Retrier.
func NewRetrier(o Options) *Retrier { return &Retrier{sender: newSender(o)} }

// Retry makes the letter's next attempt and says what becomes of it. Nothing is recorded: the
// caller does so. The verdict is InFlight when ctx was canceled in the middle of the attempt: then
// there is nothing to record, and it is to be made again. It is Superseded or Expired, without an
// attempt, when a later event has ended the subject or the event's time to live is over, and has a Hold
// when the endpoint is not to be tried now.
func (r *Retrier) Retry(ctx context.Context, l DeadLetter) Verdict {
	d := Delivery{Event: l.Event, Target: l.Target(), Attempt: l.Attempts + 1}
	if l.Event.Ended { // sent now, it would arrive behind what says that it is over
		return Verdict{Delivery: d, State: Superseded, DecidedAt: r.Now().UTC()}
	}
	if expired(l.Event, r.Now()) {
		return Verdict{Delivery: d, State: Expired, DecidedAt: r.Now().UTC()}
	}
	if l.NextRetryAt != nil {
		r.metrics.Queued(d.Target.Channel, r.Now().Sub(*l.NextRetryAt))
	}
	failures := l.RetryCount + 1
	if l.Attempts == 0 { // it was held back before its first attempt
		failures = 0
	}
	v := r.attempt(ctx, d, failures, 0, RetryAgent, RetryCapability)
	if l.HeldBy != HeldByBreaker {
		r.tellHold(ctx, v)
	}
	return v
}

// tellHold tells operators that an attempt which was due waits behind a breaker. It is called once a
// hold: a letter that goes on waiting is asked for often, and its row says so.
func (s *sender) tellHold(ctx context.Context, v Verdict) {
	if v.Hold == nil || v.Hold.Reason != HeldByBreaker {
		return
	}
	s.Log.InfoContext(ctx, "not sent, its endpoint is taken for broken", "event_id", v.Delivery.Event.ID,
		"alert_id", v.Delivery.Event.AlertID, "channel", v.Delivery.Target.Channel, "target", v.Delivery.Target.Key(),
		"endpoint", v.Delivery.Endpoint.ID, "until", v.NextRetryAt)
}
