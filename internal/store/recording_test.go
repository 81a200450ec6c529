package store_test

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// statements is what was last asked of a connection.
type statements struct {
	sql  string
	args []any
}

// recording is a store's connection that tells what it is asked.
type recording struct {
	*pgxpool.Conn
	last *statements
}

func (r recording) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.last.sql, r.last.args = sql, args
	return r.Conn.Query(ctx, sql, args...)
}
