package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/pkg/api"
)

// respondAsync is the preference (RFC 7240) for an answer before the first attempts.
const respondAsync = "respond-async"

// asked is what a request says besides its events.
type asked struct {
	operation   string
	body        any // as it was read from JSON; the text of what is no JSON
	key, prefer *string
}

// submission is what a submission is answered with. It is also the form in which the first answer to
// an idempotent request is kept.
type submission struct {
	Later    bool                  `json:"later"`
	Receipts []api.DeliveryReceipt `json:"receipts"`
	repeated bool
}

// replayed is the header that tells a repetition, nil for a first answer.
func (s submission) replayed() *string {
	if !s.repeated {
		return nil
	}
	return new("true")
}

// submit takes on the events that read finds in a request. A request whose key was used before gets the
// first answer again, whatever would be wrong with it by now; while there is none, because the first
// request is still under way or was cut short, it is told where its events stand now.
func (h *handlers) submit(ctx context.Context, by asked, read func() (delivery.Submission, error)) (submission, error) {
	later := prefersAsync(value(by.prefer))
	var idem *delivery.Idempotency
	if by.key != nil {
		request, err := by.hash()
		if err != nil {
			return submission{}, err
		}
		idem = &delivery.Idempotency{TenantID: auth.Tenant(ctx), Key: *by.key, Request: request}
		earlier, err := h.Deliverer.Earlier(ctx, *idem)
		if err != nil {
			return submission{}, err
		}
		if earlier != nil {
			return h.earlier(ctx, later, *earlier)
		}
	}
	sub, err := read()
	if err != nil {
		return submission{}, err
	}
	sub.Later, sub.Idempotency = later, idem
	receipts, earlier, err := h.Deliverer.Submit(ctx, sub)
	if err != nil {
		return submission{}, err
	}
	if earlier != nil { // another request with the key was faster
		return h.earlier(ctx, later, *earlier)
	}
	answer := submission{Later: sub.Later, Receipts: make([]api.DeliveryReceipt, len(receipts))}
	for i, r := range receipts {
		answer.Receipts[i] = toReceipt(r)
	}
	if sub.Idempotency != nil {
		kept, err := json.Marshal(answer)
		if err != nil {
			return submission{}, fmt.Errorf("encode the answer to keep: %w", err)
		}
		h.Deliverer.RecordAnswer(ctx, *sub.Idempotency, kept)
	}
	return answer, nil
}

func (h *handlers) earlier(ctx context.Context, later bool, e delivery.Earlier) (submission, error) {
	answer := submission{Later: later, repeated: true}
	if e.Answer != nil {
		if err := json.Unmarshal(e.Answer, &answer); err != nil {
			return submission{}, fmt.Errorf("decode the first answer: %w", err)
		}
		return answer, nil
	}
	standing, err := h.Deliveries.SummariesOf(ctx, auth.Tenant(ctx), e.EventIDs)
	if err != nil {
		return submission{}, err
	}
	for _, s := range standing {
		receipt := delivery.Receipt{EventID: s.Event.ID, AcceptedAt: s.Event.AcceptedAt}
		for _, t := range s.Targets {
			r := delivery.TargetReceipt{Target: t.Target, State: t.State, DuplicateOf: t.DuplicateOf}
			if l := t.Letter; l != nil {
				r.DeadLetterID, r.Cause = l.ID, l.Cause
				r.NextRetryAt = value(l.NextRetryAt)
			}
			receipt.Targets = append(receipt.Targets, r)
		}
		answer.Receipts = append(answer.Receipts, toReceipt(receipt))
	}
	return answer, nil
}

// hash is the same for two requests for the same: the members of the body have one order by now, and
// its space is gone.
func (a asked) hash() ([]byte, error) {
	body, err := json.Marshal(a.body)
	if err != nil {
		return nil, fmt.Errorf("hash the request: %w", err)
	}
	sum := sha256.Sum256(append([]byte(a.operation+"\n"), body...))
	return sum[:], nil
}

// prefersAsync reads a Prefer header (RFC 7240): preferences, each with a value and parameters, which
// this one has not.
func prefersAsync(prefer string) bool {
	for preference := range strings.SplitSeq(prefer, ",") {
		name, _, _ := strings.Cut(preference, ";")
		if strings.EqualFold(strings.TrimSpace(name), respondAsync) {
			return true
		}
	}
	return false
}

func toReceipt(r delivery.Receipt) api.DeliveryReceipt {
	receipt := api.DeliveryReceipt{
		EventId: r.EventID, AcceptedAt: r.AcceptedAt, Channels: make(map[string]api.ChannelReceipt, len(r.Targets)),
	}
	for _, t := range r.Targets {
		if t.DuplicateOf == uuid.Max { // accepted in the same instant, and not found out
			t.DuplicateOf = uuid.Nil
		}
		receipt.Channels[t.Target.Key()] = api.ChannelReceipt{
			Outcome: outcomes[t.State], DeadLetterId: orNull(t.DeadLetterID), DuplicateOf: orNull(t.DuplicateOf),
			Cause: orNull(api.Cause(t.Cause)), NextRetryAt: timeOrNull(t.NextRetryAt.Truncate(time.Microsecond)), // as it is stored
		}
	}
	return receipt
}

// outcomes are the words for the caller who waits for a first attempt. Discarded and superseded it
// can be only by the time that the caller asks again.
var outcomes = map[delivery.State]api.ChannelReceiptOutcome{
	delivery.Delivered:  api.ChannelReceiptOutcomeDelivered,
	delivery.Duplicate:  api.ChannelReceiptOutcomeDuplicate,
	delivery.Pending:    api.ChannelReceiptOutcomeQueued,
	delivery.Exhausted:  api.ChannelReceiptOutcomeExhausted,
	delivery.Discarded:  api.ChannelReceiptOutcomeDiscarded,
	delivery.Expired:    api.ChannelReceiptOutcomeExpired,
	delivery.Superseded: api.ChannelReceiptOutcomeSuperseded,
	delivery.InFlight:   api.ChannelReceiptOutcomeAccepted,
}
