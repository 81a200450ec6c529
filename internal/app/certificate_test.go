package app

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/dbtest"
)

// files are where a test's certificate and its key stand.
type files struct{ cert, key string }

func newFiles(t *testing.T) files {
	t.Helper()
	dir := t.TempDir()
	return files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
}

// issue writes a new certificate, for another machine's name, and returns it.
func (f files) issue(t *testing.T) *x509.Certificate {
	t.Helper()
	cert, key, leaf := newPair(t)
	require.NoError(t, os.WriteFile(f.key, key, 0o600))
	require.NoError(t, os.WriteFile(f.cert, cert, 0o600))
	return leaf
}

func newPair(t *testing.T) (cert, key []byte, leaf *x509.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: []string{"dawsos.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, &x509.Certificate{SerialNumber: serial}, &private.PublicKey, private)
	require.NoError(t, err)
	leaf, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), leaf
}

// handshake returns what a server shows.
func handshake(t *testing.T, addr string, config *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	config.InsecureSkipVerify = true
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState(), nil
}

// TestCertificateIsReadAgain: a new certificate is shown without a restart, and one that can't be used does
// not end the one before.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	first := f.issue(t)
	var (
		mu   sync.Mutex
		now  = time.Now()
		out  bytes.Buffer
		tick = func() {
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(certificateEvery)
		}
	)
	shown, err := loadCertificate(f.cert, f.key, slog.New(slog.NewTextHandler(&out, nil)), func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	})
	require.NoError(t, err)
	l := newLifecycle(quiet(), time.Minute)
	l.tls = shown.config()
	addr := freeAddr(t)
	require.NoError(t, l.serve(t.Context(), "api", addr, http.NotFoundHandler(), time.Minute, time.Minute))
	t.Cleanup(func() { require.NoError(t, l.shutdown()) })
	shows := func(want *x509.Certificate, why string) {
		t.Helper()
		state, err := handshake(t, addr, &tls.Config{NextProtos: []string{"h2", "http/1.1"}})
		require.NoError(t, err)
		require.True(t, state.PeerCertificates[0].Equal(want), why)
		require.Equal(t, "h2", state.NegotiatedProtocol)
	}
	shows(first, "")
	tick()
	shows(first, "nothing changed")

	second := f.issue(t)
	tick()
	shows(second, "the files changed")

	cert, key, third := newPair(t)
	require.NoError(t, os.WriteFile(f.cert, cert, 0o600)) // half of a change
	for range 3 {
		tick()
		shows(second, "the key does not fit")
	}
	require.NoError(t, os.Remove(f.cert))
	tick()
	shows(second, "a file is gone")
	require.NoError(t, os.WriteFile(f.cert, cert, 0o600))
	require.NoError(t, os.WriteFile(f.key, key, 0o600))
	tick()
	shows(third, "both fit again")
	require.Equal(t, 2, bytes.Count(out.Bytes(), []byte("level=WARN")), "said once each: %s", out.String())

	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		_, err = handshake(t, addr, &tls.Config{MinVersion: version, MaxVersion: version})
		require.ErrorContains(t, err, "protocol version")
	}
	_, err = handshake(t, addr, &tls.Config{MaxVersion: tls.VersionTLS12})
	require.NoError(t, err)

	_, err = loadCertificate(f.cert, filepath.Join(t.TempDir(), "none"), quiet(), time.Now)
	require.ErrorContains(t, err, "TLS_CERT_FILE="+f.cert)
	require.NoError(t, os.WriteFile(f.key, []byte("x"), 0o600))
	_, err = loadCertificate(f.cert, f.key, quiet(), time.Now)
	require.ErrorContains(t, err, "TLS_KEY_FILE="+f.key)
}

// newSigner returns who signs tokens, and where its public key is published.
func newSigner(t *testing.T) (signer jose.Signer, jwks string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	require.NoError(t, err)
	published, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "one"}}})
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(published) }))
	t.Cleanup(server.Close)
	return signer, server.URL
}

// TestAddressesOfAPI: with TLS and an address for metrics, the API is at the one and its probes at the other,
// and its health check finds them.
func TestAddressesOfAPI(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	own := f.issue(t)
	signer, jwks := newSigner(t)
	env := map[string]string{
		"DATABASE_URL": dbtest.URL(t), "API_ADDR": freeAddr(t), "METRICS_ADDR": freeAddr(t), "LOG_LEVEL": "error",
		"TLS_CERT_FILE": f.cert, "TLS_KEY_FILE": f.key,
		"AUTH_METHODS": "jwt", "AUTH_JWKS_URL": jwks, "AUTH_ISSUER": "https://login.example.org/", "AUTH_AUDIENCE": "dawsos",
		"PATTERNS_DIR": filepath.Join("..", "..", "configs", "patterns"), "AGENTS_FILE": filepath.Join("..", "..", "configs", "agents.yaml"),
		"ANALYTICS_DIR": filepath.Join("..", "..", "configs", "analytics"),
	}
	p, err := start(t.Context(), "api", from(env))
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.shutdown() })
	require.NoError(t, p.startAPI(t.Context(), from(env)))

	roots := x509.NewCertPool()
	roots.AddCert(own)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "dawsos.example.org", MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
	shown := ""
	get := func(addr, path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+path, http.NoBody)
		require.NoError(t, err)
		if shown != "" {
			req.Header.Set("Authorization", "Bearer "+shown)
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		status, _ := get(env["METRICS_ADDR"], path)
		require.Equal(t, http.StatusOK, status, path)
		status, _ = get(env["API_ADDR"], path)
		require.Equal(t, http.StatusNotFound, status, "%s is not where callers are", path)
	}
	status, _ := get(env["METRICS_ADDR"], "/v1/patterns")
	require.Equal(t, http.StatusNotFound, status)
	status, body := get(env["API_ADDR"], "/v1/patterns")
	require.Equal(t, http.StatusUnauthorized, status, body)
	token := func(tenant, role string) string {
		signed, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": "https://login.example.org/", "aud": "dawsos", "sub": "ada", "exp": time.Now().Add(time.Minute).Unix(), "tenant": tenant, "role": role,
		}).Serialize()
		require.NoError(t, err)
		return signed
	}
	shown = token("default", "read-only")
	status, body = get(env["API_ADDR"], "/v1/patterns")
	require.Equal(t, http.StatusOK, status, body)
	status, body = get(env["API_ADDR"], "/v1/audit")
	require.Equal(t, http.StatusForbidden, status, body)
	shown = token("nobody", "admin")
	status, body = get(env["API_ADDR"], "/v1/patterns")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, body, "the token's tenant (claim tenant) does not exist")
	shown, _, _ = auth.NewKey()
	status, body = get(env["API_ADDR"], "/v1/patterns")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, body, "API keys are not taken here")
	shown = ""
	_, metrics := get(env["METRICS_ADDR"], "/metrics")
	for _, what := range []string{"missing", "token", "key"} {
		require.Contains(t, metrics, `dawsos_auth_refused_total{shown="`+what+`"} 1`)
	}
	require.Contains(t, metrics, `dawsos_auth_key_set_readings_total{outcome="read"} 1`)

	check := func(changes ...string) error {
		asked := map[string]string{"ENVIRONMENT": "production"}
		for _, name := range []string{"API_ADDR", "METRICS_ADDR", "TLS_CERT_FILE", "TLS_KEY_FILE"} {
			asked[name] = env[name]
		}
		for i := 0; i < len(changes); i += 2 {
			asked[changes[i]] = changes[i+1]
		}
		return RunAPI(t.Context(), []string{"healthcheck"}, from(asked))
	}
	require.NoError(t, check())
	require.ErrorContains(t, check("METRICS_ADDR", ""), "/healthz answers 404", "it asks where the probes are")
	other := newFiles(t)
	other.issue(t)
	require.ErrorContains(t, check("TLS_CERT_FILE", other.cert, "TLS_KEY_FILE", other.key), "another certificate is shown")
	require.ErrorContains(t, check("TLS_CERT_FILE", "none"), "TLS_CERT_FILE=none")
	require.Error(t, check("TLS_CERT_FILE", "", "TLS_KEY_FILE", ""), "it does not speak HTTP in the clear")

	// The client of a plain connection gets nothing.
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", env["API_ADDR"])
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /openapi.json HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	answer, _ := io.ReadAll(conn)
	require.NotContains(t, string(answer), "openapi")
	require.NoError(t, p.stop(context.WithoutCancel(t.Context())))
}
