package httpapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

// Operations acts on dead letters: on one, or on many at a pace.
type Operations interface {
	ReplayDeadLetter(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.DeadLetter, error)
	DiscardDeadLetter(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.DeadLetter, error)
	PreviewOperation(ctx context.Context, tenantID string, kind delivery.OperationKind, f delivery.LetterFilter) (delivery.Preview, error)
	StartOperation(ctx context.Context, o delivery.Operation) (delivery.Operation, error)
	Operation(ctx context.Context, tenantID string, id uuid.UUID) (delivery.Operation, error)
	Operations(ctx context.Context, tenantID string, before uuid.UUID, limit int) ([]delivery.Operation, error)
	ContinueOperation(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.Operation, error)
	CancelOperation(ctx context.Context, tenantID string, id uuid.UUID, by delivery.By) (delivery.Operation, error)
	DeadLetterStats(ctx context.Context, tenantID string) (delivery.Stats, error)
}

func (h *handlers) ListDeadLetters(ctx context.Context, r api.ListDeadLettersRequestObject) (api.ListDeadLettersResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	user, err := ownUser(ctx, r.Params.UserId)
	if err != nil {
		return nil, err
	}
	filter := delivery.LetterFilter{
		State: delivery.State(value(r.Params.State)), Channel: value(r.Params.Channel), Destination: value(r.Params.Destination),
		AlertID: value(r.Params.AlertId), UserID: user, Cause: delivery.Cause(value(r.Params.Cause)),
		Search: value(r.Params.Q), CreatedAfter: value(r.Params.CreatedAfter), CreatedBefore: value(r.Params.CreatedBefore),
		OperationID: value(r.Params.OperationId),
	}
	letters, err := h.Deliveries.DeadLetters(ctx, auth.Tenant(ctx), filter, before, limit+1) // one more tells of a next page
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
	l, attempts, err := h.Deliveries.DeadLetter(ctx, auth.Tenant(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	d, words := toDeadLetter(l), delivery.ExplainLetter(l, h.Now())
	return api.GetDeadLetter200JSONResponse{
		Id: d.Id, EventId: d.EventId, AlertId: d.AlertId, UserId: d.UserId, Channel: d.Channel,
		Destination: d.Destination, Target: d.Target, Title: d.Title, Severity: d.Severity, State: d.State, Cause: d.Cause,
		ErrorMessage: d.ErrorMessage, RetryCount: d.RetryCount, CreatedAt: d.CreatedAt,
		LastRetryAt: d.LastRetryAt, NextRetryAt: d.NextRetryAt, TraceId: d.TraceId, AttemptsMade: d.AttemptsMade, HeldBy: d.HeldBy,
		OperationId: d.OperationId, ExpiresAt: d.ExpiresAt, ClosedAt: d.ClosedAt,
		Message: l.Event.Message, Data: l.Event.Data, Attempts: toAttempts(attempts), Why: words.Why, Next: words.Next,
	}, nil
}

func toDeadLetter(l delivery.DeadLetter) api.DeadLetter {
	return api.DeadLetter{
		Id: l.ID, EventId: l.Event.ID, AlertId: l.Event.AlertID, UserId: l.Event.UserID,
		Channel: l.Target().Channel, Destination: orNull(l.Target().Destination), Target: address(l.Target()), Title: l.Event.Title,
		Severity: api.Severity(l.Event.Severity), State: api.DeadLetterState(l.State), Cause: api.Cause(l.Cause),
		ErrorMessage: l.Error, RetryCount: l.RetryCount, CreatedAt: l.CreatedAt,
		LastRetryAt: l.LastRetryAt, NextRetryAt: l.NextRetryAt, TraceId: orNull(l.TraceID), AttemptsMade: l.Attempts,
		HeldBy: orNull(api.HoldReason(l.HeldBy)), OperationId: orNull(l.OperationID), ExpiresAt: timeOrNull(l.Event.ExpiresAt),
		ClosedAt: l.ClosedAt,
	}
}

func (h *handlers) ReplayDeadLetter(ctx context.Context, r api.ReplayDeadLetterRequestObject) (api.ReplayDeadLetterResponseObject, error) {
	l, err := h.Operations.ReplayDeadLetter(ctx, auth.Tenant(ctx), r.Id, by(ctx, r.Params.XClient, r.Body))
	if err != nil {
		return nil, err
	}
	h.Released.Add(delivery.Replay, 1)
	return api.ReplayDeadLetter202JSONResponse(toDeadLetter(l)), nil
}

func (h *handlers) DiscardDeadLetter(ctx context.Context, r api.DiscardDeadLetterRequestObject) (api.DiscardDeadLetterResponseObject, error) {
	l, err := h.Operations.DiscardDeadLetter(ctx, auth.Tenant(ctx), r.Id, by(ctx, r.Params.XClient, r.Body))
	if err != nil {
		return nil, err
	}
	h.Released.Add(delivery.Discard, 1)
	return api.DiscardDeadLetter200JSONResponse(toDeadLetter(l)), nil
}

func (h *handlers) ReplayDeadLetters(ctx context.Context, r api.ReplayDeadLettersRequestObject) (api.ReplayDeadLettersResponseObject, error) {
	preview, o, err := h.operate(ctx, delivery.Replay, *r.Body, r.Params.XClient)
	if err != nil {
		return nil, err
	}
	if preview != nil {
		return api.ReplayDeadLetters200JSONResponse(*preview), nil
	}
	return api.ReplayDeadLetters202JSONResponse(*o), nil
}

func (h *handlers) DiscardDeadLetters(ctx context.Context, r api.DiscardDeadLettersRequestObject) (api.DiscardDeadLettersResponseObject, error) {
	preview, o, err := h.operate(ctx, delivery.Discard, *r.Body, r.Params.XClient)
	if err != nil {
		return nil, err
	}
	if preview != nil {
		return api.DiscardDeadLetters200JSONResponse(*preview), nil
	}
	return api.DiscardDeadLetters202JSONResponse(*o), nil
}

// operate starts an operation, or says what it would work on.
func (h *handlers) operate(ctx context.Context, kind delivery.OperationKind, n api.NewOperation, client *api.ActingClient) (*api.OperationPreview, *api.Operation, error) {
	filter, err := toFilter(n.Filter)
	if err != nil {
		return nil, nil, err
	}
	if value(n.DryRun) {
		p, err := h.Operations.PreviewOperation(ctx, auth.Tenant(ctx), kind, filter)
		if err != nil {
			return nil, nil, err
		}
		return &api.OperationPreview{
			Total: min(p.Total, delivery.MaxCounted), More: p.Total > delivery.MaxCounted, Sample: notNull(p.Sample),
		}, nil, nil
	}
	wanted := delivery.Operation{
		TenantID: auth.Tenant(ctx), Kind: kind, Filter: filter, By: by(ctx, client, &api.GivenReason{Reason: n.Reason}),
		PerSecond: delivery.DefaultPerSecond, StopAfterFailures: delivery.DefaultStopAfterFailures,
	}
	if n.PerSecond != nil {
		wanted.PerSecond = *n.PerSecond
	}
	if n.StopAfterFailures != nil {
		wanted.StopAfterFailures = *n.StopAfterFailures
	}
	started, err := h.Operations.StartOperation(ctx, wanted)
	if err != nil {
		return nil, nil, err
	}
	return nil, new(toOperation(started)), nil
}

func toFilter(f api.LetterFilter) (delivery.LetterFilter, error) {
	filter := delivery.LetterFilter{
		State: delivery.State(value(f.State)), Channel: value(f.Channel), Destination: value(f.Destination), AlertID: value(f.AlertId),
		UserID: value(f.UserId), Cause: delivery.Cause(value(f.Cause)), Search: value(f.Search),
		CreatedAfter: value(f.CreatedAfter), CreatedBefore: value(f.CreatedBefore), OperationID: value(f.OperationId),
	}
	everything := filter == (delivery.LetterFilter{})
	if everything && !value(f.All) {
		return delivery.LetterFilter{}, fault.InvalidField("/filter", "selects nothing in particular; {\"all\": true} says that everything is meant")
	}
	if !everything && f.All != nil {
		return delivery.LetterFilter{}, fault.InvalidField("/filter/all", "stands alone: with other parts, it would not be all")
	}
	return filter, nil
}

func fromFilter(f delivery.LetterFilter) *api.LetterFilter {
	filter := &api.LetterFilter{
		State: orNull(api.DeadLetterState(f.State)), Channel: orNull(f.Channel), Destination: orNull(f.Destination), AlertId: orNull(f.AlertID),
		UserId: orNull(f.UserID), Cause: orNull(api.Cause(f.Cause)), Search: orNull(f.Search),
		CreatedAfter: timeOrNull(f.CreatedAfter), CreatedBefore: timeOrNull(f.CreatedBefore),
		OperationId: orNull(f.OperationID),
	}
	if f == (delivery.LetterFilter{}) {
		filter.All = new(true)
	}
	return filter
}

func toOperation(o delivery.Operation) api.Operation {
	op := api.Operation{
		Id: o.ID, Kind: api.OperationKind(o.Kind), Endpoint: orNull(o.Endpoint), Actor: o.By.Actor, Reason: orNull(o.By.Reason),
		PerSecond: o.PerSecond, StopAfterFailures: o.StopAfterFailures, State: api.OperationState(o.State), StopReason: orNull(o.StopReason),
		Total: min(o.Total, delivery.MaxCounted), More: o.Total > delivery.MaxCounted, Released: o.Released, Delivered: o.Delivered,
		Failed: o.Failed, Waiting: o.Waiting, Closed: o.Closed, Elsewhere: o.Elsewhere(), Remaining: o.Remaining(), StartedAt: o.StartedAt, EndedAt: o.EndedAt,
	}
	if o.Kind != delivery.Drain {
		op.Filter = fromFilter(o.Filter)
	}
	return op
}

func (h *handlers) ListOperations(ctx context.Context, r api.ListOperationsRequestObject) (api.ListOperationsResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	list, err := h.Operations.Operations(ctx, auth.Tenant(ctx), before, limit+1)
	if err != nil {
		return nil, err
	}
	var page api.ListOperations200JSONResponse
	if len(list) > limit {
		list = list[:limit]
		page.NextCursor = encodeCursor(list[limit-1].ID)
	}
	page.Items = make([]api.Operation, len(list))
	for i, o := range list {
		page.Items[i] = toOperation(o)
	}
	return page, nil
}

func (h *handlers) GetOperation(ctx context.Context, r api.GetOperationRequestObject) (api.GetOperationResponseObject, error) {
	o, err := h.Operations.Operation(ctx, auth.Tenant(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	return api.GetOperation200JSONResponse(toOperation(o)), nil
}

func (h *handlers) ContinueOperation(ctx context.Context, r api.ContinueOperationRequestObject) (api.ContinueOperationResponseObject, error) {
	o, err := h.Operations.ContinueOperation(ctx, auth.Tenant(ctx), r.Id, by(ctx, r.Params.XClient, r.Body))
	if err != nil {
		return nil, err
	}
	return api.ContinueOperation202JSONResponse(toOperation(o)), nil
}

func (h *handlers) CancelOperation(ctx context.Context, r api.CancelOperationRequestObject) (api.CancelOperationResponseObject, error) {
	o, err := h.Operations.CancelOperation(ctx, auth.Tenant(ctx), r.Id, by(ctx, r.Params.XClient, r.Body))
	if err != nil {
		return nil, err
	}
	return api.CancelOperation200JSONResponse(toOperation(o)), nil
}

func (h *handlers) GetDeadLetterStats(ctx context.Context, _ api.GetDeadLetterStatsRequestObject) (api.GetDeadLetterStatsResponseObject, error) {
	s, err := h.Operations.DeadLetterStats(ctx, auth.Tenant(ctx))
	if err != nil {
		return nil, err
	}
	now := h.Now()
	groups := func(list []delivery.LetterGroup) []api.LetterGroup {
		out := make([]api.LetterGroup, len(list))
		for i, g := range list {
			out[i] = api.LetterGroup{Name: g.Name, Letters: g.Letters, OldestAt: g.Oldest, OldestAgeSeconds: age(g.Oldest, now)}
		}
		return out
	}
	answer := api.GetDeadLetterStats200JSONResponse{
		States: make([]api.LetterBalance, len(s.Balances)), Channels: groups(s.Channels), Causes: groups(s.Causes), Destinations: make([]api.TargetGroup, len(s.Destinations)), Complete: s.Complete,
	}
	for i, b := range s.Balances {
		answer.States[i] = api.LetterBalance{Channel: b.Channel, State: api.DeadLetterState(b.State), Letters: b.Letters}
	}
	for i, t := range s.Destinations {
		answer.Destinations[i] = api.TargetGroup{
			Target: t.Target, Channel: t.Channel, Cause: api.Cause(t.Cause), Letters: t.Letters, OldestAt: t.Oldest, OldestAgeSeconds: age(t.Oldest, now),
		}
	}
	return answer, nil
}

// age is how long ago something was, in seconds.
func age(at, now time.Time) float64 { return max(0, now.Sub(at).Seconds()) }

func (h *handlers) ExplainDelivery(ctx context.Context, r api.ExplainDeliveryRequestObject) (api.ExplainDeliveryResponseObject, error) {
	e, targets, err := h.Deliveries.History(ctx, auth.Tenant(ctx), r.EventId)
	if err != nil {
		return nil, err
	}
	x := delivery.Explain(e, targets, h.Now())
	answer := api.ExplainDelivery200JSONResponse{
		EventId: e.ID, Timeline: make([]api.ExplanationLine, len(x.Timeline)), Targets: make([]api.Standing, len(x.Targets)),
	}
	for i, l := range x.Timeline {
		answer.Timeline[i] = api.ExplanationLine{At: l.At, Target: orNull(l.Target), Text: l.Text}
	}
	for i, s := range x.Targets {
		answer.Targets[i] = api.Standing{
			Target: s.Target, State: api.StandingState(s.State), Why: s.Why, Next: s.Next, NextAt: s.NextAt, DeadLetterId: orNull(s.LetterID),
		}
	}
	return answer, nil
}
