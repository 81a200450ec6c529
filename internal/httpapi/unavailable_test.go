package httpapi_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/store"
)

// A database that is away is not this program's defect, and passes: callers are told to come back.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close()) // nothing listens there now
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@"+listener.Addr().String()+"/nothing")
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	s := newSite(t, func(o *httpapi.Options) { o.Portfolios = store.New(pool, store.Options{}) })
	a := s.get(t, "/v1/portfolios")
	a.problem(http.StatusServiceUnavailable, fault.Unavailable)
	require.Equal(t, "2", a.header.Get("Retry-After"))
	require.NotContains(t, string(a.body), "nobody", "how the database is reached stays inside")
}
