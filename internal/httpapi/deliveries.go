package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

func (h *handlers) CreateDelivery(ctx context.Context, r api.CreateDeliveryRequestObject) (api.CreateDeliveryResponseObject, error) {
	e := delivery.Event{
		TenantID: h.TenantID, AlertID: r.Body.AlertId, UserID: r.Body.UserId, Title: r.Body.Title,
		Message: r.Body.Message, Severity: delivery.Info, Data: json.RawMessage("{}"),
	}
	var err error
	if e.Targets, err = h.targets(ctx, r.Body.Channels); err != nil {
		return nil, err
	}
	if r.Body.Severity != nil {
		e.Severity = delivery.Severity(*r.Body.Severity)
	}
	if r.Body.Data != nil {
		e.Data = *r.Body.Data
	}
	receipt, err := h.Deliverer.Deliver(ctx, e)
	if err != nil {
		return nil, err
	}
	answer := api.CreateDelivery200JSONResponse{
		EventId: receipt.EventID, AcceptedAt: receipt.AcceptedAt,
		Channels: make(map[string]api.ChannelReceipt, len(receipt.Targets)),
	}
	for _, t := range receipt.Targets {
		answer.Channels[t.Target.Key()] = api.ChannelReceipt{
			Outcome: outcomes[t.State], DeadLetterId: orNull(t.DeadLetterID), DuplicateOf: orNull(t.DuplicateOf),
			Cause: orNull(api.Cause(t.Cause)), NextRetryAt: timeOrNull(t.NextRetryAt),
		}
	}
	return answer, nil
}

// outcomes are the words for the caller who waits for a first attempt.
var outcomes = map[delivery.State]api.ChannelReceiptOutcome{
	delivery.Delivered: api.ChannelReceiptOutcomeDelivered,
	delivery.Duplicate: api.ChannelReceiptOutcomeDuplicate,
	delivery.Pending:   api.ChannelReceiptOutcomeQueued,
	delivery.Exhausted: api.ChannelReceiptOutcomeExhausted,
	delivery.Expired:   api.ChannelReceiptOutcomeExpired,
	delivery.InFlight:  api.ChannelReceiptOutcomeAccepted,
}

// targets reads a channels object; without one a message goes to the inbox.
func (h *handlers) targets(ctx context.Context, c *api.Channels) ([]delivery.Target, error) {
	if c == nil {
		return []delivery.Target{{Channel: "inapp"}}, nil
	}
	var list []delivery.Target
	if value(c.Inapp) {
		list = append(list, delivery.Target{Channel: "inapp"})
	}
	if c.Webhook != nil {
		list = append(list, delivery.Target{Channel: "webhook", URL: c.Webhook.Url})
	}
	if c.Email != nil {
		to, err := c.Email.To.AsEmailTargetTo1()
		if err != nil {
			one, err := c.Email.To.AsEmailTargetTo0()
			if err != nil {
				return nil, fault.InvalidField("/channels/email/to", "must be an address or a list of addresses")
			}
			to = []string{one}
		}
		list = append(list, delivery.Target{Channel: "email", To: to})
	}
	for i, name := range value(c.Destination) {
		d, err := h.Destinations.Destination(ctx, h.TenantID, name)
		if fault.CodeOf(err) == fault.NotFound {
			return nil, fault.InvalidField(fmt.Sprintf("/channels/destination/%d", i), "there is no destination %q", name)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, delivery.Target{Channel: d.Channel, Destination: name})
	}
	return list, nil
}

func (h *handlers) GetDelivery(ctx context.Context, r api.GetDeliveryRequestObject) (api.GetDeliveryResponseObject, error) {
	e, targets, err := h.Deliveries.History(ctx, h.TenantID, r.EventId)
	if err != nil {
		return nil, err
	}
	answer := api.GetDelivery200JSONResponse{
		EventId: e.ID, AlertId: e.AlertID, UserId: e.UserID, Title: e.Title, Message: e.Message,
		Severity: api.Severity(e.Severity), Data: e.Data, AcceptedAt: e.AcceptedAt,
		Channels: make(map[string]api.ChannelHistory, len(targets)),
	}
	for _, t := range targets {
		history := api.ChannelHistory{
			State: api.ChannelHistoryState(t.State), Channel: t.Target.Channel, Target: address(t.Target),
			Attempts: toAttempts(t.Attempts), DeliveredAt: t.DeliveredAt, DuplicateOf: orNull(t.DuplicateOf),
		}
		if t.Letter != nil {
			history.DeadLetterId, history.NextRetryAt = &t.Letter.ID, t.Letter.NextRetryAt
		}
		answer.Channels[t.Target.Key()] = history
	}
	return answer, nil
}

func (h *handlers) ListDeadLetters(ctx context.Context, r api.ListDeadLettersRequestObject) (api.ListDeadLettersResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	filter := delivery.LetterFilter{
		State: delivery.State(value(r.Params.State)), Channel: value(r.Params.Channel),
		AlertID: value(r.Params.AlertId), Cause: delivery.Cause(value(r.Params.Cause)),
	}
	letters, err := h.Deliveries.DeadLetters(ctx, h.TenantID, filter, before, limit+1) // one more tells of a next page
	if err != nil {
		return nil, err
	}
	var page api.ListDeadLetters200JSONResponse
	if len(letters) > limit {
		letters = letters[:limit]
		page.NextCursor = encodeCursor(letters[limit-1].ID)
	}
	page.Items = make([]api.DeadLetter, len(letters))
	for i, l := range letters {
		page.Items[i] = toDeadLetter(l)
	}
	return page, nil
}

func (h *handlers) GetDeadLetter(ctx context.Context, r api.GetDeadLetterRequestObject) (api.GetDeadLetterResponseObject, error) {
	l, attempts, err := h.Deliveries.DeadLetter(ctx, h.TenantID, r.Id)
	if err != nil {
		return nil, err
	}
	d := toDeadLetter(l)
	return api.GetDeadLetter200JSONResponse{
		Id: d.Id, EventId: d.EventId, AlertId: d.AlertId, UserId: d.UserId, Channel: d.Channel,
		Destination: d.Destination, Target: d.Target, Title: d.Title, Severity: d.Severity, State: d.State, Cause: d.Cause,
		ErrorMessage: d.ErrorMessage, RetryCount: d.RetryCount, CreatedAt: d.CreatedAt,
		LastRetryAt: d.LastRetryAt, NextRetryAt: d.NextRetryAt, TraceId: d.TraceId,
		Message: l.Event.Message, Data: l.Event.Data, Attempts: toAttempts(attempts),
	}, nil
}

func toDeadLetter(l delivery.DeadLetter) api.DeadLetter {
	return api.DeadLetter{
		Id: l.ID, EventId: l.Event.ID, AlertId: l.Event.AlertID, UserId: l.Event.UserID,
		Channel: l.Target().Channel, Destination: orNull(l.Target().Destination), Target: address(l.Target()), Title: l.Event.Title,
		Severity: api.Severity(l.Event.Severity), State: api.DeadLetterState(l.State), Cause: api.Cause(l.Cause),
		ErrorMessage: l.Error, RetryCount: l.RetryCount, CreatedAt: l.CreatedAt,
		LastRetryAt: l.LastRetryAt, NextRetryAt: l.NextRetryAt, TraceId: orNull(l.TraceID),
	}
}

func toAttempts(attempts []delivery.Attempt) []api.Attempt {
	list := make([]api.Attempt, len(attempts))
	for i, a := range attempts {
		list[i] = api.Attempt{
			Attempt: a.Number, StartedAt: a.StartedAt, DurationSeconds: a.Duration.Seconds(),
			Outcome: api.AttemptOutcomeFailed, Cause: orNull(api.Cause(a.Outcome.Cause)),
			StatusCode: orNull(a.Outcome.StatusCode), Error: orNull(a.Outcome.Detail),
			ResponseExcerpt: orNull(a.Outcome.Excerpt), TraceId: orNull(a.TraceID),
		}
		switch a.Outcome.Cause {
		case delivery.None:
			list[i].Outcome = api.AttemptOutcomeDelivered
		case delivery.Interrupted:
			list[i].Outcome = api.AttemptOutcomeInterrupted
		}
	}
	return list
}

// address shows where a target leads.
func address(t delivery.Target) *string { return shown(t.URL) }

// shown returns an address without the parts that often hold secrets, nil for none.
func shown(address string) *string {
	u, err := url.Parse(address)
	if err != nil || address == "" {
		return nil
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return orNull(u.String())
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
