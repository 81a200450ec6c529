package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/pkg/api"
)

// authority signs certificates. Its own is in file.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	a := authority{key: key, file: filepath.Join(t.TempDir(), "ca.crt")}
	a.cert, err = x509.ParseCertificate(raw)
	require.NoError(t, err)
	writePEM(t, a.file, "CERTIFICATE", raw)
	return a
}

// sign writes a key and a certificate for a host into a folder.
func (a authority) sign(t *testing.T, host net.IP, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "postgres"}, IPAddresses: []net.IP{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, &private.PublicKey, a.key)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	writePEM(t, cert, "CERTIFICATE", raw)
	writePEM(t, key, "PRIVATE KEY", encoded)
	return cert, key
}

func writePEM(t *testing.T, file, kind string, raw []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600))
}

// newTLSServer starts a PostgreSQL that speaks TLS with a certificate of the authority, for 127.0.0.1, and
// takes nothing else. It returns the address of a database with other options.
func newTLSServer(t *testing.T, ca authority) func(database, options string) string {
	t.Helper()
	ctx := t.Context()
	dir := passable(t)
	server, err := devpg.Start(ctx, devpg.Options{Dir: filepath.Join(dir, "pg"), Ephemeral: true})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, server.Stop(ctx))
		require.NoError(t, devpg.Remove(filepath.Join(dir, "pg")))
	})

	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	var data, hba string
	require.NoError(t, conn.QueryRow(ctx, `SELECT current_setting('data_directory'), current_setting('hba_file')`).Scan(&data, &hba))
	cert, key := ca.sign(t, net.IPv4(127, 0, 0, 1), data)
	info, err := os.Stat(data)
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	for _, file := range []string{cert, key} { // PostgreSQL refuses a key that others may read, or own
		require.NoError(t, os.Chown(file, int(owner.Uid), int(owner.Gid)))
	}
	require.NoError(t, os.WriteFile(hba, []byte("hostssl all all 127.0.0.1/32 scram-sha-256\n"), 0o600))
	for _, statement := range []string{
		"CREATE DATABASE dawsos",
		"ALTER SYSTEM SET ssl_cert_file = 'server.crt'", "ALTER SYSTEM SET ssl_key_file = 'server.key'",
		"ALTER SYSTEM SET ssl_min_protocol_version = 'TLSv1.3'", "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()",
	} {
		_, err := conn.Exec(ctx, statement)
		require.NoError(t, err, statement)
	}
	address := func(database, options string) string {
		u, err := url.Parse(server.URL(database))
		require.NoError(t, err)
		u.RawQuery = options
		return u.String()
	}
	// The reload takes a moment.
	s := &system{t: t}
	s.eventually("the server speaks TLS and nothing else", func(ctx context.Context) error {
		if err := connect(ctx, address("postgres", "sslmode=disable")); err == nil {
			return fmt.Errorf("still takes plain connections")
		}
		return connect(ctx, address("postgres", "sslmode=require"))
	})
	return address
}

// passable returns a folder of the test's own that other accounts can enter: neither PostgreSQL nor pgbouncer
// runs as root.
func passable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // the outer one is the test's too
		require.NoError(t, os.Chmod(d, 0o755))
	}
	return dir
}

// connect tries an address once.
func connect(ctx context.Context, address string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// TestDatabaseOverTLS: both processes and the migration over verified connections, and what is refused.
func TestDatabaseOverTLS(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "ours"), newAuthority(t, "another's")
	address := newTLSServer(t, ca)
	verified := address("dawsos", "sslmode=verify-full&sslrootcert="+url.QueryEscape(ca.file))

	migration := start(t, "api", []string{"DATABASE_URL=" + verified, "PATH=" + os.Getenv("PATH")}, "migrate")
	require.Zero(t, migration.exitCode(), migration.log.String())
	s := newSystem(t, verified, "RETRY_SCHEDULE=500ms,1s", "AUTH_ANONYMOUS=admin")
	r := newReceiver(t, func(n int) int { return map[bool]int{true: 503, false: 200}[n == 1] })
	s.becomes(s.deliver("nav", r.URL).JSON200.EventId, api.ChannelHistoryStateDelivered)

	conn, err := pgx.Connect(t.Context(), verified)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	var encrypted, plain int
	require.NoError(t, conn.QueryRow(t.Context(), `
		SELECT count(*) FILTER (WHERE ssl AND version = 'TLSv1.3'), count(*) FILTER (WHERE NOT ssl)
		FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name IN ('dawsos-api', 'dawsos-worker')`,
	).Scan(&encrypted, &plain))
	require.GreaterOrEqual(t, encrypted, 2, "of the API and of the worker one each, at the least")
	require.Zero(t, plain)

	for name, refused := range map[string]struct{ url, says string }{
		"another authority": {address("dawsos", "sslmode=verify-full&sslrootcert="+url.QueryEscape(other.file)), "certificate"},
		"no authority":      {address("dawsos", "sslmode=verify-full"), "certificate"},
		"no TLS":            {address("dawsos", "sslmode=disable"), "no encryption"},
	} {
		require.ErrorContains(t, connect(t.Context(), refused.url), refused.says, name)
		migration := start(t, "api", []string{"DATABASE_URL=" + refused.url, "PATH=" + os.Getenv("PATH")}, "migrate")
		require.NotZero(t, migration.exitCode(), name)
	}
	// The certificate is for 127.0.0.1: verify-full asks for the name too, verify-ca does not.
	named, err := url.Parse(verified)
	require.NoError(t, err)
	named.Host = "localhost:" + named.Port()
	require.ErrorContains(t, connect(t.Context(), named.String()), "certificate")
	named.RawQuery = "sslmode=verify-ca&sslrootcert=" + url.QueryEscape(ca.file)
	require.NoError(t, connect(t.Context(), named.String()))
}
