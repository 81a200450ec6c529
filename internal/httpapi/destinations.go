package httpapi

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

// DestinationManager manages the named targets of deliveries.
type DestinationManager interface {
	Create(ctx context.Context, d destinations.Draft, by destinations.Author) (e destinations.Entry, made string, err error)
	Get(ctx context.Context, tenantID, name string) (destinations.Entry, error)
	List(ctx context.Context, tenantID, after string, limit int) ([]destinations.Entry, error)
	Update(ctx context.Context, tenantID, name string, revision int, p destinations.Patch, by destinations.Author) (destinations.Entry, error)
	Delete(ctx context.Context, tenantID, name string, revision int, by destinations.Author) error
	RotateSecret(ctx context.Context, tenantID, name, given string, overlap time.Duration, by destinations.Author) (e destinations.Entry, made string, err error)
	Test(ctx context.Context, tenantID, name string) (delivery.Attempt, error)
}

func (h *handlers) ListDestinations(ctx context.Context, r api.ListDestinationsRequestObject) (api.ListDestinationsResponseObject, error) {
	var after string
	if err := decodeCursor(r.Params.Cursor, &after); err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	found, err := h.DestinationManager.List(ctx, auth.Tenant(ctx), after, limit+1) // one more tells of a next page
	if err != nil {
		return nil, err
	}
	var page api.ListDestinations200JSONResponse
	if len(found) > limit {
		found = found[:limit]
		page.NextCursor = encodeCursor(found[limit-1].Name)
	}
	page.Items = make([]api.Destination, len(found))
	for i, e := range found {
		page.Items[i] = h.toDestination(e)
	}
	return page, nil
}

func (h *handlers) CreateDestination(ctx context.Context, r api.CreateDestinationRequestObject) (api.CreateDestinationResponseObject, error) {
	b := r.Body
	d := destinations.Draft{
		TenantID: auth.Tenant(ctx), Name: b.Name, Channel: string(b.Channel), Description: value(b.Description),
		Enabled: b.Enabled == nil || *b.Enabled,
		URL:     value(b.Url), To: value(b.To), Headers: value(b.Headers), Secret: value(b.Secret),
		Timeout: seconds(value(b.TimeoutSeconds)),
		Limits:  delivery.Limits{Rate: value(b.RatePerSecond), Concurrency: value(b.Concurrency)},
	}
	e, made, err := h.DestinationManager.Create(ctx, d, destinations.Author{Actor: actor(ctx), Reason: value(r.Params.XReason)})
	if err != nil {
		return nil, err
	}
	return api.CreateDestination201JSONResponse{
		Body: h.withSecret(e, made),
		Headers: api.CreateDestination201ResponseHeaders{
			ETag: new(revisionTag(e)), Location: new("/v1/destinations/" + e.Name),
		},
	}, nil
}

func (h *handlers) GetDestination(ctx context.Context, r api.GetDestinationRequestObject) (api.GetDestinationResponseObject, error) {
	e, err := h.DestinationManager.Get(ctx, auth.Tenant(ctx), r.Name)
	if err != nil {
		return nil, err
	}
	return api.GetDestination200JSONResponse{
		Body: h.toDestination(e), Headers: api.GetDestination200ResponseHeaders{ETag: new(revisionTag(e))},
	}, nil
}

func (h *handlers) UpdateDestination(ctx context.Context, r api.UpdateDestinationRequestObject) (api.UpdateDestinationResponseObject, error) {
	revision, err := revisionOf(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	b := r.Body
	p := destinations.Patch{
		Description: b.Description, Enabled: b.Enabled, URL: b.Url, To: b.To, Headers: (*map[string]string)(b.Headers),
		Secret: b.Secret, Rate: b.RatePerSecond, Concurrency: b.Concurrency,
	}
	if b.TimeoutSeconds != nil {
		p.Timeout = new(seconds(*b.TimeoutSeconds))
	}
	by := destinations.Author{Actor: actor(ctx), Reason: value(r.Params.XReason)}
	e, err := h.DestinationManager.Update(ctx, auth.Tenant(ctx), r.Name, revision, p, by)
	if err != nil {
		return nil, err
	}
	return api.UpdateDestination200JSONResponse{
		Body: h.toDestination(e), Headers: api.UpdateDestination200ResponseHeaders{ETag: new(revisionTag(e))},
	}, nil
}

func (h *handlers) DeleteDestination(ctx context.Context, r api.DeleteDestinationRequestObject) (api.DeleteDestinationResponseObject, error) {
	revision, err := revisionOf(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	by := destinations.Author{Actor: actor(ctx), Reason: value(r.Params.XReason)}
	if err := h.DestinationManager.Delete(ctx, auth.Tenant(ctx), r.Name, revision, by); err != nil {
		return nil, err
	}
	return api.DeleteDestination204Response{}, nil
}

func (h *handlers) RotateDestinationSecret(ctx context.Context, r api.RotateDestinationSecretRequestObject) (api.RotateDestinationSecretResponseObject, error) {
	overlap := destinations.DefaultOverlap
	if r.Body.OverlapSeconds != nil {
		overlap = time.Duration(*r.Body.OverlapSeconds) * time.Second
	}
	by := destinations.Author{Actor: actor(ctx), Reason: value(r.Params.XReason)}
	e, made, err := h.DestinationManager.RotateSecret(ctx, auth.Tenant(ctx), r.Name, value(r.Body.Secret), overlap, by)
	if err != nil {
		return nil, err
	}
	return api.RotateDestinationSecret200JSONResponse{
		Body: h.withSecret(e, made), Headers: api.RotateDestinationSecret200ResponseHeaders{ETag: new(revisionTag(e))},
	}, nil
}

func (h *handlers) TestDestination(ctx context.Context, r api.TestDestinationRequestObject) (api.TestDestinationResponseObject, error) {
	a, err := h.DestinationManager.Test(ctx, auth.Tenant(ctx), r.Name)
	if err != nil {
		return nil, err
	}
	o := a.Outcome
	answer := api.TestDestination200JSONResponse{
		Outcome: api.DestinationTestOutcomeDelivered, StartedAt: a.StartedAt, DurationSeconds: a.Duration.Seconds(),
		Cause: orNull(api.Cause(o.Cause)), StatusCode: orNull(o.StatusCode), Error: orNull(o.Detail), ResponseExcerpt: orNull(o.Excerpt),
	}
	if !o.Delivered() {
		answer.Outcome = api.DestinationTestOutcomeFailed
	}
	return answer, nil
}

// toDestination leaves out what is secret.
func (h *handlers) toDestination(e destinations.Entry) api.Destination {
	d := api.Destination{
		Id: e.ID, Name: e.Name, Channel: api.DestinationChannel(e.Channel), Description: e.Description, Enabled: e.Enabled,
		Address: e.Shown, HasSecret: len(e.Secrets) > 0, HeaderNames: notNull(slices.Sorted(maps.Keys(e.Endpoint.Headers))),
		TimeoutSeconds: e.Endpoint.Timeout.Seconds(), RatePerSecond: e.Endpoint.Limits.Rate, Concurrency: e.Endpoint.Limits.Concurrency,
		Locked: e.Locked, Revision: e.Revision, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
	}
	if len(e.Secrets) > 1 && h.Now().Before(e.Secrets[1].Until) {
		d.FormerSecretUntil = new(e.Secrets[1].Until.UTC())
	}
	return d
}

// withSecret adds the secret that was made for the caller, if one was.
func (h *handlers) withSecret(e destinations.Entry, made string) api.DestinationWithSecret {
	d := h.toDestination(e)
	return api.DestinationWithSecret{
		Id: d.Id, Name: d.Name, Channel: d.Channel, Description: d.Description, Enabled: d.Enabled, Address: d.Address,
		HasSecret: d.HasSecret, FormerSecretUntil: d.FormerSecretUntil, HeaderNames: d.HeaderNames,
		TimeoutSeconds: d.TimeoutSeconds, RatePerSecond: d.RatePerSecond, Concurrency: d.Concurrency,
		Locked: d.Locked, Revision: d.Revision, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt, Secret: orNull(made),
	}
}

// seconds returns a duration given as a number of seconds, to the millisecond.
func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}

func revisionTag(e destinations.Entry) string { return `"` + strconv.Itoa(e.Revision) + `"` }

// revisionOf reads an If-Match header (RFC 9110, section 13.1.1) with one tag of revisionTag's; 0 means
// any revision.
func revisionOf(header *string) (int, error) {
	tag := strings.TrimSpace(value(header))
	if tag == "" || tag == "*" {
		return 0, nil
	}
	inner, opened := strings.CutPrefix(tag, `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	revision, err := strconv.Atoi(inner)
	if !opened || !closed || err != nil || revision < 1 {
		return 0, fault.InvalidField("/header/If-Match", "must be an ETag as it came with the answer, or *")
	}
	return revision, nil
}
