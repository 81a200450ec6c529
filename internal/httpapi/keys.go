package httpapi

import (
	"context"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

// Keys makes and ends API keys.
type Keys interface {
	Create(ctx context.Context, d auth.Draft) (text string, k auth.Key, err error)
	Rotate(ctx context.Context, tenantID, id string, overlap, lifetime time.Duration, by, reason string) (text string, k auth.Key, err error)
	Revoke(ctx context.Context, tenantID, id, by, reason string) error
	Key(ctx context.Context, tenantID, id string) (auth.Key, error)
	Keys(ctx context.Context, tenantID string, before time.Time, beforeID string, limit int) ([]auth.Key, error)
}

// defaultKeyOverlap is the document's.
const defaultKeyOverlap = 24 * time.Hour

// GetMe says who the caller is taken for.
func (h *handlers) GetMe(ctx context.Context, _ api.GetMeRequestObject) (api.GetMeResponseObject, error) {
	p, _ := auth.From(ctx)
	return api.GetMe200JSONResponse{
		TenantId: p.TenantID, Subject: orNull(p.Subject), UserId: orNull(p.UserID), Role: api.Role(p.Role),
		Scopes: toScopes(p.Scopes), ExpiresAt: timeOrNull(p.Expires),
	}, nil
}

// keyPlace is a place in the list of keys.
type keyPlace struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

// ListKeys lists the tenant's keys.
func (h *handlers) ListKeys(ctx context.Context, r api.ListKeysRequestObject) (api.ListKeysResponseObject, error) {
	before := keyPlace{At: h.Now().Add(time.Hour)} // no clock is that far ahead of ours
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	found, err := h.Keys.Keys(ctx, auth.Tenant(ctx), before.At, before.ID, limit+1) // one more tells of a next page
	if err != nil {
		return nil, err
	}
	var page api.ListKeys200JSONResponse
	if len(found) > limit {
		found = found[:limit]
		page.NextCursor = encodeCursor(keyPlace{At: found[limit-1].CreatedAt, ID: found[limit-1].ID})
	}
	page.Items = make([]api.Key, len(found))
	for i, k := range found {
		page.Items[i] = h.toKey(k)
	}
	return page, nil
}

// CreateKey makes a key for the caller's tenant.
func (h *handlers) CreateKey(ctx context.Context, r api.CreateKeyRequestObject) (api.CreateKeyResponseObject, error) {
	b := r.Body
	d := auth.Draft{
		TenantID: auth.Tenant(ctx), Name: b.Name, Role: auth.Role(b.Role), UserID: value(b.UserId),
		Lifetime: seconds(float64(value(b.ExpiresInSeconds))), By: actor(ctx), Reason: value(r.Params.XReason),
	}
	if b.Scopes != nil {
		d.Scopes = make([]string, len(*b.Scopes))
		for i, s := range *b.Scopes {
			d.Scopes[i] = string(s)
		}
	}
	if err := mayGrant(ctx, d.Scopes); err != nil {
		return nil, err
	}
	text, k, err := h.Keys.Create(ctx, d)
	if err != nil {
		return nil, err
	}
	return api.CreateKey201JSONResponse{
		Body:    api.KeyWithSecret{Key: text, Details: h.toKey(k)},
		Headers: api.CreateKey201ResponseHeaders{Location: new("/v1/keys/" + k.ID)},
	}, nil
}

// GetKey shows one key.
func (h *handlers) GetKey(ctx context.Context, r api.GetKeyRequestObject) (api.GetKeyResponseObject, error) {
	k, err := h.Keys.Key(ctx, auth.Tenant(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	return api.GetKey200JSONResponse(h.toKey(k)), nil
}

// RotateKey replaces a key.
func (h *handlers) RotateKey(ctx context.Context, r api.RotateKeyRequestObject) (api.RotateKeyResponseObject, error) {
	overlap := defaultKeyOverlap
	if r.Body.OverlapSeconds != nil {
		overlap = time.Duration(*r.Body.OverlapSeconds) * time.Second
	}
	lifetime := seconds(float64(value(r.Body.ExpiresInSeconds)))
	present, err := h.Keys.Key(ctx, auth.Tenant(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	if err := mayGrant(ctx, present.Scopes); err != nil {
		return nil, err
	}
	text, k, err := h.Keys.Rotate(ctx, auth.Tenant(ctx), r.Id, overlap, lifetime, actor(ctx), value(r.Params.XReason))
	if err != nil {
		return nil, err
	}
	return api.RotateKey201JSONResponse{
		Body:    api.KeyWithSecret{Key: text, Details: h.toKey(k)},
		Headers: api.RotateKey201ResponseHeaders{Location: new("/v1/keys/" + k.ID)},
	}, nil
}

// RevokeKey ends a key.
func (h *handlers) RevokeKey(ctx context.Context, r api.RevokeKeyRequestObject) (api.RevokeKeyResponseObject, error) {
	if err := h.Keys.Revoke(ctx, auth.Tenant(ctx), r.Id, actor(ctx), value(r.Params.XReason)); err != nil {
		return nil, err
	}
	return api.RevokeKey204Response{}, nil
}

// mayGrant refuses a caller whose own key is for less than what the key would be for.
func mayGrant(ctx context.Context, scopes []string) error {
	if p, _ := auth.From(ctx); !p.MayGrant(scopes) {
		return fault.New(fault.Forbidden, "your key is for %s alone; it makes no key for more", strings.Join(p.Scopes, ", "))
	}
	return nil
}

func (h *handlers) toKey(k auth.Key) api.Key {
	return api.Key{
		Id: k.ID, Name: k.Name, Role: api.Role(k.Role), Scopes: toScopes(k.Scopes), UserId: orNull(k.UserID),
		State: api.KeyState(k.State(h.Now())), CreatedAt: k.CreatedAt, CreatedBy: k.CreatedBy, ExpiresAt: k.ExpiresAt,
		RevokedAt: k.RevokedAt, LastUsedAt: k.LastUsed, RotatedFrom: orNull(k.Rotated),
	}
}

func toScopes(scopes []string) *api.Scopes {
	if scopes == nil {
		return nil
	}
	list := make(api.Scopes, len(scopes))
	for i, s := range scopes {
		list[i] = api.Scope(s)
	}
	return &list
}
