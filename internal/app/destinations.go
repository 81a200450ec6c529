package app

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/seal"
	"github.com/dawsos/dawsos/internal/store"
)

// newDestinations returns the stored ones. Without a key none can be made, and those that are there are
// locked.
func newDestinations(pool *pgxpool.Pool, key config.Secret) (*store.Destinations, error) {
	if key == "" {
		return store.NewDestinations(pool, nil, time.Now), nil
	}
	box, err := seal.New(string(key))
	if err != nil {
		return nil, fmt.Errorf("SECRETS_KEY: %w", err)
	}
	return store.NewDestinations(pool, box, time.Now), nil
}

// reseal encrypts destinations with the first of SECRETS_KEY, so that the others can go. That it fails
// keeps nothing from working: the next start tries again.
func (p *process) reseal(ctx context.Context) {
	resealed, locked, err := p.destinations.Reseal(ctx)
	switch {
	case err != nil:
		p.tel.Log.WarnContext(ctx, "destinations not encrypted with the first key of SECRETS_KEY; the next start tries again", "err", err)
	case locked > 0:
		p.tel.Log.WarnContext(ctx, "destinations are encrypted with a key that is not in SECRETS_KEY; nothing is sent to them",
			"resealed", resealed, "locked", locked)
	case resealed > 0:
		p.tel.Log.InfoContext(ctx, "destinations encrypted with the first key of SECRETS_KEY", "resealed", resealed)
	}
}
