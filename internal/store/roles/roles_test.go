package roles_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/store/roles"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// connect makes the first connection of a pool, and says as whom it works.
func connect(t *testing.T, address string, o roles.Options) (as string, err error) {
	t.Helper()
	config, err := pgxpool.ParseConfig(address)
	require.NoError(t, err)
	roles.Configure(config, o)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	err = pool.QueryRow(t.Context(), "SELECT current_user").Scan(&as)
	return as, err
}

func refused(t *testing.T, err error, text string) {
	t.Helper()
	_, ok := errors.AsType[*roles.RefusedError](err)
	require.True(t, ok, "%v", err)
	require.ErrorContains(t, err, text)
}

func TestLogins(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	owner := dbtest.Connect(t, address)
	login := func(rights string) string {
		name, password := "login_"+strings.ToLower(rand.Text()[:10]), rand.Text()
		_, err := owner.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' %s", name, password, rights))
		require.NoError(t, err)
		t.Cleanup(func() {
			_, err := owner.Exec(context.Background(), "DROP ROLE "+name)
			require.NoError(t, err)
		})
		u, err := url.Parse(address)
		require.NoError(t, err)
		u.User = url.UserPassword(name, password)
		return u.String()
	}
	var us string
	require.NoError(t, owner.QueryRow(t.Context(), "SELECT current_user").Scan(&us))
	api, worker := roles.Options{Role: roles.API}, roles.Options{Role: roles.Worker}
	strict := func(o roles.Options) roles.Options { o.Strict = true; return o }

	for _, o := range []roles.Options{api, worker} {
		member := login("IN ROLE " + string(o.Role))
		for _, o := range []roles.Options{o, strict(o)} {
			as, err := connect(t, member, o)
			require.NoError(t, err)
			require.Equal(t, string(o.Role), as)
		}
		as, err := connect(t, address, o)
		require.NoError(t, err)
		require.Equal(t, string(o.Role), as, "a superuser's connection is bound, too, in development")

		_, err = connect(t, address, strict(o))
		refused(t, err, "is a superuser")
		_, err = connect(t, login("BYPASSRLS IN ROLE "+string(o.Role)), strict(o))
		refused(t, err, "bypasses row level security")
		_, err = connect(t, login("IN ROLE "+string(o.Role)+", "+us), strict(o))
		refused(t, err, "owns the tables")
		_, err = connect(t, login(""), o)
		refused(t, err, "is no member of "+string(o.Role))
	}
	_, err := connect(t, address, roles.Options{Role: "dawsos_nobody"})
	refused(t, err, "run `api migrate`")
}

// pooler passes connections on to a server as poolers do: under process ids that it makes up.
func pooler(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	server := u.Host
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			behind, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", server)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() {
				_, _ = io.Copy(behind, client)
				_ = behind.Close()
			}()
			go func() {
				_ = answers(client, behind)
				_ = client.Close()
			}()
		}
	}()
	u.Host = listener.Addr().String()
	u.RawQuery = "sslmode=disable"
	return u.String()
}

// answers copies what a server says, with another process id in its message BackendKeyData.
func answers(client io.Writer, server io.Reader) error {
	for {
		var head [5]byte
		if _, err := io.ReadFull(server, head[:]); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(server, body); err != nil {
			return err
		}
		if head[0] == 'K' {
			binary.BigEndian.PutUint32(body, 4_000_000)
		}
		if _, err := client.Write(append(head[:], body...)); err != nil {
			return err
		}
	}
}

func TestPoolersAreDeclared(t *testing.T) {
	t.Parallel()
	address := pooler(t, dbtest.URL(t))
	_, err := connect(t, address, roles.Options{Role: roles.API})
	refused(t, err, "DATABASE_POOLER=session")
	as, err := connect(t, address, roles.Options{Role: roles.API, SessionPooler: true})
	require.NoError(t, err)
	require.Equal(t, "dawsos_api", as)
}
