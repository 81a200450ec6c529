package migrate

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivermigrate"
)

// For the tests, which stand outside because dbtest imports this package.
const (
	LockKey  = lockKey
	LockPoll = lockPoll
)

// Latest returns the versions of our schema and of River's that this binary carries.
func Latest() (schema, river int64, err error) {
	newest, err := latest()
	return newest.schema, newest.river, err
}

// Down takes everything back, as only tests do.
func Down(ctx context.Context, databaseURL string) error {
	return locked(ctx, databaseURL, func(pool *pgxpool.Pool) error {
		river, err := newRiver(pool)
		if err != nil {
			return err
		}
		if _, err := river.Migrate(ctx, rivermigrate.DirectionDown, &rivermigrate.MigrateOpts{TargetVersion: -1}); err != nil {
			return err
		}
		ours, err := newProvider(pool)
		if err != nil {
			return err
		}
		defer ours.Close()
		_, err = ours.DownTo(ctx, 0)
		return err
	})
}

// DownTo takes our schema back to a version.
func DownTo(ctx context.Context, databaseURL string, version int64) error {
	return locked(ctx, databaseURL, func(pool *pgxpool.Pool) error {
		ours, err := newProvider(pool)
		if err != nil {
			return err
		}
		defer ours.Close()
		_, err = ours.DownTo(ctx, version)
		return err
	})
}
