package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/store/db"
)

// planned has each statement planned for the arguments that it comes with. The plan that PostgreSQL keeps
// for a prepared statement holds for any arguments: where filters are optional, it can't use the index of
// the one that is given. It is for lists that people look at; planning takes about a millisecond.
type planned struct{ db.DBTX }

// Query implements db.DBTX.
func (p planned) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return p.DBTX.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

// QueryRow implements db.DBTX.
func (p planned) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return p.DBTX.QueryRow(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}
