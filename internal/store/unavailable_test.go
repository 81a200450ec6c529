package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
)

func TestUnavailable(t *testing.T) {
	t.Parallel()
	_, refused := pgx.Connect(t.Context(), "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	require.Error(t, refused)
	conn, err := dbtest.New(t).Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(conn.Release)
	require.NoError(t, conn.Conn().Close(t.Context()))
	_, closed := conn.Exec(t.Context(), "SELECT 1")
	require.EqualError(t, closed, "conn closed")
	shut := dbtest.New(t)
	config := shut.Config().ConnConfig.Copy()
	name := pgx.Identifier{config.Database}.Sanitize()
	shut.Close()
	config.Database = "postgres"
	admin, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false")
	require.NoError(t, err)
	require.NoError(t, admin.Close(t.Context()))
	_, takesNone := pgx.ConnectConfig(t.Context(), shut.Config().ConnConfig)
	require.ErrorContains(t, takesNone, "SQLSTATE 55000")
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"connection refused", refused, true},
		{"lost before it was used", closed, true},
		{"takes no connections", takesNone, true},
		{"an object that is not ready for it", &pgconn.PgError{Code: "55000"}, false},
		{"shutting down", &pgconn.PgError{Code: "57P01"}, true},
		{"starting up", &pgconn.PgError{Code: "57P03"}, true},
		{"connection lost", &pgconn.PgError{Code: "08006"}, true},
		{"too many connections", &pgconn.PgError{Code: "53300"}, true},
		{"no room on its disk", &pgconn.PgError{Code: "53100"}, true},
		{"no memory", &pgconn.PgError{Code: "53200"}, true},
		{"more than a limit of the configuration", &pgconn.PgError{Code: "53400"}, false},
		{"cut off", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), true},
		{"query canceled by the caller", &pgconn.PgError{Code: "57014"}, false},
		{"unique violation", &pgconn.PgError{Code: "23505"}, false},
		{"a value it can't hold", &pgconn.PgError{Code: "22003"}, false},
		{"the caller's time was up", context.DeadlineExceeded, false},
		{"the caller went away", context.Canceled, false},
		{"no rows", pgx.ErrNoRows, false},
		{"a defect", errors.New("boom"), false},
		{"nothing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, Unavailable(c.err))
			if c.err != nil {
				require.Equal(t, c.want, Unavailable(fmt.Errorf("portfolio 7: %w", c.err)))
			}
		})
	}
}
