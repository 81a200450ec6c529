package httpapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/pkg/api"
)

// Packs keeps pricing packs.
type Packs interface {
	PricingPacks(ctx context.Context, tenantID string, f packs.Filter, behind packs.Cursor, limit int) ([]packs.Pack, error)
	PricingPack(ctx context.Context, tenantID string, id uuid.UUID) (packs.Pack, error)
	// RequestPacks makes what packs are missing, or the one of a day. made tells whether anything is to be
	// built.
	RequestPacks(ctx context.Context, tenantID string, day *time.Time, by delivery.By) (list []packs.Pack, made bool, err error)
}

func (h *handlers) ListPricingPacks(ctx context.Context, r api.ListPricingPacksRequestObject) (api.ListPricingPacksResponseObject, error) {
	var behind packs.Cursor
	if err := decodeCursor(r.Params.Cursor, &behind); err != nil {
		return nil, err
	}
	f := packs.Filter{State: packs.State(value(r.Params.State))}
	var err error
	if f.From, err = dayOf("/query/from", r.Params.From); err != nil {
		return nil, err
	}
	if f.To, err = dayOf("/query/to", r.Params.To); err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	list, err := h.Packs.PricingPacks(ctx, auth.Tenant(ctx), f, behind, limit+1)
	if err != nil {
		return nil, err
	}
	var page api.ListPricingPacks200JSONResponse
	if len(list) > limit {
		list = list[:limit]
		page.NextCursor = encodeCursor(packs.Cursor{Date: list[limit-1].Date, Revision: list[limit-1].Revision})
	}
	page.Items = make([]api.PricingPack, len(list))
	for i, p := range list {
		page.Items[i] = toPricingPack(p)
	}
	return page, nil
}

func (h *handlers) GetPricingPack(ctx context.Context, r api.GetPricingPackRequestObject) (api.GetPricingPackResponseObject, error) {
	p, err := h.Packs.PricingPack(ctx, auth.Tenant(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	return api.GetPricingPack200JSONResponse(toPricingPack(p)), nil
}

func (h *handlers) BuildPricingPacks(ctx context.Context, r api.BuildPricingPacksRequestObject) (api.BuildPricingPacksResponseObject, error) {
	who := by(ctx, r.Params.XClient, nil)
	var day *time.Time
	if r.Body != nil {
		who.Reason = value(r.Body.Reason)
		if r.Body.Date != nil {
			d, err := dayOf("/date", r.Body.Date)
			if err != nil {
				return nil, err
			}
			day = &d
		}
	}
	list, made, err := h.Packs.RequestPacks(ctx, auth.Tenant(ctx), day, who)
	if err != nil {
		return nil, err
	}
	var answer api.PackBuild
	location := "/v1/pricing-packs?state=warming"
	if day != nil {
		pack := toPricingPack(list[0])
		answer.Pack = &pack
		location = "/v1/pricing-packs/" + list[0].ID.String()
	}
	if !made {
		return api.BuildPricingPacks200JSONResponse(answer), nil
	}
	first, last := list[0].Date.Format(time.DateOnly), list[len(list)-1].Date.Format(time.DateOnly)
	answer.Made, answer.FirstDate, answer.LastDate = len(list), &first, &last
	return api.BuildPricingPacks202JSONResponse{
		Body: answer, Headers: api.BuildPricingPacks202ResponseHeaders{Location: &location},
	}, nil
}

// dayOf reads a date that the document has checked the form of; the zero time when there is none.
func dayOf(pointer string, text *api.Date) (time.Time, error) {
	if text == nil {
		return time.Time{}, nil
	}
	d, err := time.Parse(time.DateOnly, *text)
	if err != nil {
		return time.Time{}, fault.InvalidField(pointer, "%q is not a date such as 2007-05-08", *text)
	}
	return d, nil
}

func toPricingPack(p packs.Pack) api.PricingPack {
	return api.PricingPack{
		Id: p.ID, Date: p.Date.Format(time.DateOnly), Revision: p.Revision, Hash: p.Hash, State: string(p.State), Reason: orNull(p.Reason),
		CreatedAt: p.CreatedAt, BuiltAt: p.BuiltAt, ReconciledAt: p.ReconciledAt, PrewarmedAt: p.PrewarmedAt, FreshAt: p.FreshAt,
	}
}
