package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store/db"
)

// claimKey takes an idempotency key within q's transaction, or returns the row of the request that
// has it. Of two requests at the same time the second waits here until the first is durable.
func claimKey(ctx context.Context, q *db.Queries, p db.ClaimIdempotencyKeyParams) (*db.IdempotencyKey, error) {
	claimed, err := q.ClaimIdempotencyKey(ctx, p)
	if err != nil || claimed == 1 {
		return nil, err
	}
	row, err := usedKey(ctx, q, p.TenantID, p.Key, p.Request, p.Now)
	if err == nil && row == nil { // done now, the request would be without its key
		err = errors.New("an idempotency key was deleted while it was looked up")
	}
	return row, err
}

// usedKey returns the row of a key that is kept, nil when there is none. That it was used for another
// request is [fault.Invalid].
func usedKey(ctx context.Context, q *db.Queries, tenantID, key string, request []byte, now time.Time) (*db.IdempotencyKey, error) {
	row, err := q.IdempotencyKey(ctx, tenantID, key, now)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up an idempotency key: %w", err)
	}
	if !bytes.Equal(row.Request, request) {
		return nil, fault.InvalidField("/header/Idempotency-Key", "was used for another request %s ago; use a new key for a new request",
			now.Sub(row.CreatedAt).Round(time.Second))
	}
	return &row, nil
}
