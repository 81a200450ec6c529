package delivery

import "context"

// Retrier makes the attempts after the first.
type Retrier struct {
	*sender
}

// NewRetrier returns a Retrier.
func NewRetrier(o Options) *Retrier { return &Retrier{sender: newSender(o)} }

// Retry makes the letter's next attempt and says what becomes of it. Nothing is recorded: the
// caller does so together with the job that carried the retry. The verdict is InFlight when ctx was
// canceled in the middle of the attempt: then there is nothing to record, and it is to be made
// again.
func (r *Retrier) Retry(ctx context.Context, l DeadLetter) Verdict {
	d := Delivery{Event: l.Event, Target: l.Target(), Attempt: l.Attempts + 1}
	return r.attempt(ctx, d, l.RetryCount+1, RetryAgent, RetryCapability)
}
