//go:build e2e

package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
)

// mailpit is the path of a real mail server: MAILPIT, or one that is built from tools-e2e.mod into bin.
var mailpit = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("MAILPIT"); path != "" {
		return path, nil
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "mailpit")
	build := exec.Command("go", "build", "-modfile=tools-e2e.mod", "-o", path, "github.com/axllent/mailpit")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build mailpit: %w\n%s", err, out)
	}
	return path, nil
})

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// start runs mailpit until the test ends, and returns where it takes mail and where it shows it.
func start(t *testing.T, args ...string) (smtpAddr, api string) {
	t.Helper()
	path, err := mailpit()
	require.NoError(t, err)
	smtpAddr = freeAddr(t)
	httpAddr := freeAddr(t)
	cmd := exec.CommandContext(t.Context(), path, append([]string{
		"--smtp", smtpAddr, "--listen", httpAddr, "--database", filepath.Join(t.TempDir(), "mail.db"),
		"--disable-version-check", "--smtp-disable-rdns", "--smtp-strict-rfc-headers", "--quiet",
	}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })
	api = "http://" + httpAddr
	require.Eventually(t, func() bool { return get(t.Context(), api+"/readyz", nil) == nil }, time.Minute, 50*time.Millisecond)
	return smtpAddr, api
}

// get reads JSON into v, unless that is nil.
func get(ctx context.Context, address string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no goroutines left behind
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// certificate writes one that is for 127.0.0.1, and returns its files and who trusts it.
func certificate(t *testing.T) (cert, key string, trusted *x509.CertPool) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.StartTLS()
	defer server.Close()
	pair := server.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return cert, key, server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

func TestMailpit(t *testing.T) {
	t.Parallel()
	cert, key, trusted := certificate(t)
	passwords := filepath.Join(t.TempDir(), "passwords")
	require.NoError(t, os.WriteFile(passwords, []byte(user+":"+password+"\n"), 0o600))
	withTLS := []string{"--smtp-tls-cert", cert, "--smtp-tls-key", key}
	login := append([]string{"--smtp-auth-file", passwords}, withTLS...)
	tests := []struct {
		name     string
		args     []string
		security Security
		password string
		want     delivery.Outcome
	}{
		{"in the clear", nil, Opportunistic, "", delivery.Outcome{StatusCode: 250}},
		{"STARTTLS and a password", append([]string{"--smtp-require-starttls"}, login...), StartTLS, password, delivery.Outcome{StatusCode: 250}},
		{"TLS from the first byte and a password", append([]string{"--smtp-require-tls"}, login...), ImplicitTLS, password, delivery.Outcome{StatusCode: 250}},
		{"STARTTLS required, and not offered", nil, StartTLS, "", delivery.Outcome{
			Cause: delivery.TLS, Retry: true, Detail: "the mail server offers no STARTTLS, which is required",
		}},
		{"a wrong password", append([]string{"--smtp-require-starttls"}, login...), StartTLS, "wrong", delivery.Outcome{
			Cause: delivery.SMTP5xx, Retry: true, StatusCode: 535, Detail: "the mail server refused the connection with 535",
		}},
		{"a recipient who is not allowed", []string{"--smtp-allowed-recipients", "@example\\.com$"}, Opportunistic, "", delivery.Outcome{
			Cause: delivery.SMTP5xx, StatusCode: 550, Detail: "the mail server refused recipient 1 of 2 with 550",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr, api := start(t, tt.args...)
			s := serverAt(t, addr)
			s.Security, s.Password = tt.security, tt.password
			if tt.password != "" {
				s.User = user
			}
			c := setup(t, s, func(o *Options) { o.TLS = &tls.Config{RootCAs: trusted} })
			d := deliveryTo("ada@example.org", "bob@example.org")
			d.Event.Title = "NAV fell 3 % – über Nacht"
			o := c.Send(t.Context(), d)
			o.Excerpt = "" // the server's own words
			require.Equal(t, tt.want, o)

			var list struct {
				Messages []struct{ ID, MessageID, Subject string }
			}
			require.NoError(t, get(t.Context(), api+"/api/v1/messages", &list))
			if !o.Delivered() {
				require.Empty(t, list.Messages)
				return
			}
			require.Len(t, list.Messages, 1)
			require.Equal(t, d.Event.Title, list.Messages[0].Subject)
			require.Equal(t, d.MessageID()+"@example.org", list.Messages[0].MessageID)

			var message struct {
				Text, HTML string
				To         []struct{ Address string }
			}
			require.NoError(t, get(t.Context(), api+"/api/v1/message/"+list.Messages[0].ID, &message))
			require.Contains(t, message.Text, d.Event.Message[:16])
			require.Contains(t, message.HTML, "It fell &lt;by&gt; 3 %.")
			require.Len(t, message.To, 2)
			var headers map[string][]string
			require.NoError(t, get(t.Context(), api+"/api/v1/message/"+list.Messages[0].ID+"/headers", &headers))
			require.Equal(t, []string{"<nav-drop.alerts.example.org>"}, headers["List-Id"])
			require.Equal(t, []string{"auto-generated"}, headers["Auto-Submitted"])

			// Another attempt of the same message can be told from a new one.
			require.True(t, c.Send(t.Context(), d).Delivered())
			require.NoError(t, get(t.Context(), api+"/api/v1/messages", &list))
			require.Len(t, list.Messages, 2)
			require.Equal(t, list.Messages[0].MessageID, list.Messages[1].MessageID)
		})
	}
}
