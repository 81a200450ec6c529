package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

func (h *handlers) CreateDelivery(ctx context.Context, r api.CreateDeliveryRequestObject) (api.CreateDeliveryResponseObject, error) {
	by := asked{operation: "createDelivery", body: r.Body, key: r.Params.IdempotencyKey, prefer: r.Params.Prefer}
	a, err := h.submit(ctx, by, func() (delivery.Submission, error) {
		e, err := h.event(ctx, *r.Body)
		return delivery.Submission{Events: []delivery.Event{e}}, err
	})
	if err != nil {
		return nil, err
	}
	receipt := a.Receipts[0]
	location := deliveryPath(receipt.EventId)
	if a.Later {
		return api.CreateDelivery202JSONResponse{Body: receipt, Headers: api.CreateDelivery202ResponseHeaders{
			Location: &location, IdempotencyReplayed: a.replayed(), PreferenceApplied: new(respondAsync),
		}}, nil
	}
	return api.CreateDelivery200JSONResponse{Body: receipt, Headers: api.CreateDelivery200ResponseHeaders{
		Location: &location, IdempotencyReplayed: a.replayed(),
	}}, nil
}

func (h *handlers) CreateDeliveries(ctx context.Context, r api.CreateDeliveriesRequestObject) (api.CreateDeliveriesResponseObject, error) {
	by := asked{operation: "createDeliveries", body: r.Body, key: r.Params.IdempotencyKey, prefer: r.Params.Prefer}
	a, err := h.submit(ctx, by, func() (delivery.Submission, error) { return h.list(ctx, r.Body.Items) })
	if err != nil {
		return nil, err
	}
	if a.Later {
		return api.CreateDeliveries202JSONResponse{
			Body: api.DeliveryReceipts{Items: a.Receipts},
			Headers: api.CreateDeliveries202ResponseHeaders{
				IdempotencyReplayed: a.replayed(), PreferenceApplied: new(respondAsync),
			},
		}, nil
	}
	return api.CreateDeliveries200JSONResponse{
		Body:    api.DeliveryReceipts{Items: a.Receipts},
		Headers: api.CreateDeliveries200ResponseHeaders{IdempotencyReplayed: a.replayed()},
	}, nil
}

// list reads a list of what is to be delivered, and tells all that is wrong in it.
func (h *handlers) list(ctx context.Context, items []api.NewDelivery) (delivery.Submission, error) {
	sub := delivery.Submission{Events: make([]delivery.Event, len(items)), List: true}
	var wrong []fault.Field
	for i, item := range items {
		var err error
		if sub.Events[i], err = h.event(ctx, item); err != nil {
			f, ok := errors.AsType[*fault.Error](delivery.InList(err, i))
			if !ok || f.Code != fault.Invalid {
				return delivery.Submission{}, err
			}
			wrong = append(wrong, f.Fields...)
		}
	}
	return sub, invalid(wrong)
}

// event reads what is to be delivered.
func (h *handlers) event(ctx context.Context, d api.NewDelivery) (delivery.Event, error) {
	e := delivery.Event{
		TenantID: auth.Tenant(ctx), AlertID: d.AlertId, UserID: d.UserId, Title: d.Title,
		Message: d.Message, Severity: delivery.Info, Data: json.RawMessage("{}"),
	}
	err := forOneself(ctx, "/user_id", d.UserId)
	if err != nil {
		return delivery.Event{}, err
	}
	if e.Targets, err = h.targets(ctx, "/channels", d.Channels); err != nil {
		return delivery.Event{}, err
	}
	if d.Fallback != nil {
		if e.Fallback, err = h.targets(ctx, "/fallback", d.Fallback); err != nil {
			return delivery.Event{}, err
		}
		if len(e.Fallback) == 0 {
			return delivery.Event{}, fault.InvalidField("/fallback", "at least one channel must be on")
		}
	}
	if d.Severity != nil {
		e.Severity = delivery.Severity(*d.Severity)
	}
	if d.Data != nil {
		e.Data = *d.Data
	}
	if d.TtlSeconds != nil {
		e.ExpiresAt = h.Now().UTC().Add(time.Duration(*d.TtlSeconds) * time.Second)
	}
	return e, nil
}

func deliveryPath(id uuid.UUID) string { return "/v1/deliveries/" + id.String() }

// targets reads a channels object, which stands at a pointer; without one a message goes to the inbox.
func (h *handlers) targets(ctx context.Context, pointer string, c *api.Channels) ([]delivery.Target, error) {
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
				return nil, fault.InvalidField(pointer+"/email/to", "must be an address or a list of addresses")
			}
			to = []string{one}
		}
		list = append(list, delivery.Target{Channel: "email", To: to})
	}
	for i, name := range value(c.Destination) {
		d, err := h.Destinations.Destination(ctx, auth.Tenant(ctx), name)
		if fault.CodeOf(err) == fault.NotFound {
			return nil, fault.InvalidField(fmt.Sprintf("%s/destination/%d", pointer, i), "there is no destination %q", name)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, delivery.Target{Channel: d.Channel, Destination: name})
	}
	return list, nil
}

func (h *handlers) GetDelivery(ctx context.Context, r api.GetDeliveryRequestObject) (api.GetDeliveryResponseObject, error) {
	e, targets, err := h.Deliveries.History(ctx, auth.Tenant(ctx), r.EventId)
	if err != nil {
		return nil, err
	}
	answer := api.GetDelivery200JSONResponse{
		EventId: e.ID, Source: api.DeliverySource(e.Source), Subject: orNull(e.Subject), Resolves: orNull(e.Resolves),
		ExpiresAt: timeOrNull(e.ExpiresAt), AlertId: e.AlertID, UserId: e.UserID, Title: e.Title, Message: e.Message,
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
	if len(e.Fallback) > 0 {
		fallback := make(map[string]api.FallbackTarget, len(e.Fallback))
		for _, t := range e.Fallback {
			fallback[t.Key()] = api.FallbackTarget{Channel: t.Channel, Target: address(t)}
		}
		answer.Fallback = &fallback
	}
	return answer, nil
}

func (h *handlers) ListDeliveries(ctx context.Context, r api.ListDeliveriesRequestObject) (api.ListDeliveriesResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	user, err := ownUser(ctx, r.Params.UserId)
	if err != nil {
		return nil, err
	}
	filter := delivery.EventFilter{
		AlertID: value(r.Params.AlertId), UserID: user, Source: delivery.Source(value(r.Params.Source)),
	}
	found, err := h.Deliveries.Summaries(ctx, auth.Tenant(ctx), filter, before, limit+1) // one more tells of a next page
	if err != nil {
		return nil, err
	}
	var page api.ListDeliveries200JSONResponse
	if len(found) > limit {
		found = found[:limit]
		page.NextCursor = encodeCursor(found[limit-1].Event.ID)
	}
	page.Items = make([]api.DeliverySummary, len(found))
	for i, s := range found {
		page.Items[i] = toSummary(s)
	}
	return page, nil
}

func toSummary(s delivery.Summary) api.DeliverySummary {
	e := s.Event
	item := api.DeliverySummary{
		EventId: e.ID, Source: api.DeliverySource(e.Source), AlertId: e.AlertID, UserId: e.UserID, Title: e.Title,
		Severity: api.Severity(e.Severity), AcceptedAt: e.AcceptedAt, ExpiresAt: timeOrNull(e.ExpiresAt),
		Channels: make(map[string]api.TargetSummary, len(s.Targets)),
	}
	for _, t := range s.Targets {
		summary := api.TargetSummary{
			State: api.TargetState(t.State), Channel: t.Target.Channel,
			DuplicateOf: orNull(t.DuplicateOf), DeliveredAt: t.DeliveredAt,
		}
		if l := t.Letter; l != nil {
			summary.DeadLetterId, summary.Cause, summary.NextRetryAt = &l.ID, orNull(api.Cause(l.Cause)), l.NextRetryAt
		}
		item.Channels[t.Target.Key()] = summary
	}
	return item
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
func address(t delivery.Target) *string { return orNull(delivery.ShownURL(t.URL)) }

// shown returns an operator's address without the parts that often hold secrets, nil for none.
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
