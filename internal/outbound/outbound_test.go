package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const secretPath = "/services/s3cr3t?token=s3cr3t"

// open allows what the tests' servers on loopback need.
var open = Options{Policy: Policy{AllowPrivate: true}, Timeout: 10 * time.Second}

// discardLog takes the servers' complaints about handshakes that are meant to fail.
var discardLog = log.New(io.Discard, "", 0)

func client(t *testing.T, o Options) *http.Client {
	t.Helper()
	c := NewClient(o)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// post makes one exchange and reads the whole answer. Status is 0 beside an error.
func post(ctx context.Context, t *testing.T, c *http.Client, url string) (status int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	require.NoError(t, err)
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { require.NoError(t, resp.Body.Close()) }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

// listen serves each connection with handle.
func listen(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			handle(conn)
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		<-done
	})
	return l.Addr().String()
}

func TestClassify(t *testing.T) {
	t.Parallel()

	// A port that was free a moment ago.
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := l.Addr().String()
	require.NoError(t, l.Close())

	reset := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	})
	eof := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_ = c.Close()
	})
	garbage := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("220 mail.example ESMTP\r\n"))
		_ = c.Close()
	})
	hugeHeader := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxResponseHeader) + "\r\n\r\n"))
		_ = c.Close()
	})
	silentTLS := listen(t, func(c net.Conn) { t.Cleanup(func() { _ = c.Close() }) })

	stop := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	slowBody := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	plain := httptest.NewServer(http.NotFoundHandler())
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = discardLog
	secure.StartTLS()
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = discardLog
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	picky := httptest.NewUnstartedServer(http.NotFoundHandler())
	picky.Config.ErrorLog = discardLog
	picky.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}
	picky.StartTLS()
	t.Cleanup(func() {
		close(stop)
		for _, s := range []*httptest.Server{slow, slowBody, plain, secure, old, picky} {
			s.Close()
		}
	})
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	trusting, hasty := open, open
	trusting.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	hasty.Timeout = 100 * time.Millisecond

	tests := []struct {
		name string
		o    Options
		url  string
		want Class
	}{
		{"no problem", open, plain.URL, ""},
		{"no problem with TLS", trusting, secure.URL, ""},
		{"connection refused", open, "http://" + closed, Connect},
		{"connection reset", open, "http://" + reset, Connect},
		{"connection closed", open, "http://" + eof, Connect},
		{"no HTTP", open, "http://" + garbage, Connect},
		{"endless header", open, "http://" + hugeHeader, Connect},
		{"slow header", hasty, slow.URL, Timeout},
		{"slow body", hasty, slowBody.URL, Timeout},
		{"slow handshake", hasty, "https://" + silentTLS, Timeout},
		{"unknown authority", open, secure.URL, TLS},
		{"plain HTTP behind https", open, "https" + strings.TrimPrefix(plain.URL, "http"), TLS},
		{"wrong name", trusting, strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), TLS},
		{"old version", trusting, old.URL, TLS},
		{"certificate demanded", trusting, picky.URL, TLS},
		{"unknown name", open, "http://dawsos.invalid", DNS},
		{"refused by policy", Options{Timeout: open.Timeout}, plain.URL, Rejected},
		{"refused by policy after resolution", Options{Timeout: open.Timeout}, strings.Replace(plain.URL, "127.0.0.1", "localhost", 1), Rejected},
		{"metadata service", open, "http://169.254.169.254", Rejected},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, err := post(t.Context(), t, client(t, test.o), test.url+secretPath)
			require.Equal(t, test.want, Classify(err), "%v", err)
			if test.want == "" {
				require.NoError(t, err)
				require.Equal(t, http.StatusNotFound, status)
				return
			}
			require.Error(t, err)
			require.NotEmpty(t, Describe(err))
			for _, secret := range []string{"s3cr3t", "127.0.0.1", "[::1]", "localhost", ".invalid", "example.com"} {
				require.NotContains(t, Describe(err), secret)
			}
			stripped := WithoutURL(err)
			require.NotContains(t, stripped.Error(), "s3cr3t")
			require.Equal(t, test.want, Classify(stripped))
			if test.want == Rejected {
				require.ErrorIs(t, stripped, ErrRefused)
				require.NotContains(t, stripped.Error(), "127.0.0.1")
			}
		})
	}

	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := post(ctx, t, client(t, open), slow.URL)
		require.Equal(t, Canceled, Classify(err))
	})
	t.Run("the caller's deadline", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := post(ctx, t, client(t, open), slow.URL)
		require.Equal(t, Timeout, Classify(err))
	})
}

func TestClassifyWithoutANetwork(t *testing.T) {
	t.Parallel()

	require.Equal(t, Class(""), Classify(nil))
	require.Equal(t, Connect, Classify(errors.New("something else")))
	require.Equal(t, Timeout, Classify(fmt.Errorf("send: %w", context.DeadlineExceeded)))
	require.Equal(t, TLS, Classify(fmt.Errorf("send: %w", errors.New("tls: handshake failure"))))
	require.Equal(t, DNS, Classify(&net.DNSError{IsTimeout: true}))
	require.Empty(t, Describe(nil))
	require.Equal(t, "given up before there was an answer", Describe(context.Canceled))
	require.Equal(t, "the name could not be resolved for now", Describe(&net.DNSError{IsTimeout: true, Name: "example.org"}))
	require.Equal(t, "the name does not resolve", Describe(&net.DNSError{IsNotFound: true, Name: "example.org"}))
	require.Equal(t, "connection refused", Describe(&url.Error{Op: "Post", URL: "http://example.org/", Err: &net.OpError{
		Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED),
	}}))
	require.Equal(t, "the connection was closed before there was an answer", Describe(fmt.Errorf("read: %w", io.ErrUnexpectedEOF)))
	require.Equal(t, "the server does not speak HTTP here", Describe(errors.New(`malformed HTTP response "s3cr3t"`)))
	require.NoError(t, WithoutURL(nil))
	require.EqualError(t, WithoutURL(errors.New("as it is")), "as it is")
}

func TestRedirectIsTheAnswer(t *testing.T) {
	t.Parallel()

	followed := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)

	status, err := post(t.Context(), t, client(t, open), server.URL)
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, status)
	require.False(t, followed)
}

// TestProxyOfTheEnvironmentIsNotUsed looks at the field: loopback is never proxied, so a test over
// the network would pass in any case.
func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Parallel()

	require.Nil(t, client(t, open).Transport.(*traced).Proxy)
}

func TestTraceHasParentButNoSecrets(t *testing.T) {
	t.Parallel()

	var traceparent, path string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		traceparent, path = r.Header.Get("Traceparent"), r.URL.String()
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(server.Close)

	spans := tracetest.NewSpanRecorder()
	o := open
	o.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	o.Propagator = propagation.TraceContext{}
	ctx, parent := o.TracerProvider.Tracer("test").Start(t.Context(), "deliver")
	status, err := post(ctx, t, client(t, o), server.URL+secretPath)
	require.NoError(t, err)
	parent.End()

	require.Equal(t, http.StatusTeapot, status)
	require.Equal(t, secretPath, path, "the receiver sees the whole address")
	ended := spans.Ended()
	require.Len(t, ended, 2)
	exchange := ended[0]
	require.Equal(t, parent.SpanContext().SpanID(), exchange.Parent().SpanID())
	require.Equal(t, fmt.Sprintf("00-%s-%s-01", parent.SpanContext().TraceID(), exchange.SpanContext().SpanID()), traceparent)
	for _, a := range exchange.Attributes() {
		require.NotContains(t, a.Value.String(), "s3cr3t", string(a.Key))
	}
}

func TestAnswerIsNotDecompressed(t *testing.T) {
	t.Parallel()

	var accepted string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		accepted = r.Header.Get("Accept-Encoding")
	}))
	t.Cleanup(server.Close)
	_, err := post(t.Context(), t, client(t, open), server.URL)
	require.NoError(t, err)
	require.Empty(t, accepted)
}
