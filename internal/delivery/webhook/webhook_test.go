package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/channeltest"
	"github.com/dawsos/dawsos/internal/delivery/webhook"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	// hidden stands in the path and query of every address: where receivers keep their tokens.
	hidden = "t0ken-of-the-receiver"
)

// bundle is a channel that goes through the real outbound client.
type bundle struct {
	channel *webhook.Channel
	spans   *tracetest.SpanRecorder
	tracing *sdktrace.TracerProvider
	now     time.Time // of the next attempt
}

type option func(*outbound.Options)

func setup(t *testing.T, options ...option) *bundle {
	t.Helper()
	b := &bundle{spans: tracetest.NewSpanRecorder(), now: time.Now()}
	b.tracing = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans))
	o := outbound.Options{
		Policy:  outbound.Policy{AllowPrivate: true},
		Timeout: 10 * time.Second, TracerProvider: b.tracing, Propagator: propagation.TraceContext{},
	}
	for _, option := range options {
		option(&o)
	}
	client := outbound.NewClient(o)
	t.Cleanup(client.CloseIdleConnections)
	var err error
	b.channel, err = webhook.New(client, secret, "1.2.3", func() time.Time { return b.now })
	require.NoError(t, err)
	return b
}

func deliveryTo(address string) delivery.Delivery {
	return delivery.Delivery{
		Event: delivery.Event{
			ID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), TenantID: "default",
			AlertID: "nav-drop", UserID: "ada", Title: "NAV fell 3 %", Message: "It fell <by> 3 %.",
			Severity: delivery.Warning, Data: json.RawMessage(`{"change":-0.030,"deep":{"n":12345678901234567890}}`),
			AcceptedAt: time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC),
		},
		Target:   delivery.Target{Channel: "webhook", URL: address},
		Endpoint: delivery.Endpoint{ID: "webhook:0123456789abcdef", URL: address},
		Attempt:  1,
	}
}

// received is one request as the receiver saw it.
type received struct {
	*http.Request
	body []byte
}

// receiver answers with handler and keeps what it was sent.
func receiver(t *testing.T, handler http.HandlerFunc) (address string, requests func() []received) {
	t.Helper()
	var mu sync.Mutex
	var all []received
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the webhook: %v", err)
		}
		mu.Lock()
		all = append(all, received{r, body})
		mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/" + hidden + "?key=" + hidden, func() []received {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// requireDiscreet makes sure that an outcome can be stored and shown.
func requireDiscreet(t *testing.T, o delivery.Outcome) {
	t.Helper()
	for _, s := range []string{hidden, strings.TrimPrefix(secret, "whsec_"), "key="} {
		require.NotContains(t, fmt.Sprintf("%+v", o), s)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	const apiKey = "an-api-key-of-the-receiver"
	channeltest.Run(t, channeltest.Harness{
		Wire:   channeltest.HTTP,
		Hidden: []string{hidden, apiKey, strings.TrimPrefix(secret, "whsec_")},
		Open: func(t *testing.T, r channeltest.Receiver) (delivery.Channel, delivery.Target, delivery.Endpoint) {
			t.Helper()
			scheme := "http"
			if r.TLS {
				scheme = "https"
			}
			return setup(t).channel, delivery.Target{Channel: "webhook", Destination: "ops"}, delivery.Endpoint{
				ID: "destination:ops", URL: scheme + "://" + r.Addr + "/" + hidden + "?key=" + hidden,
				Headers: map[string]string{"Authorization": "Bearer " + apiKey}, Secrets: []string{secret},
			}
		},
	})
}

func TestSendIsAStandardWebhook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	address, requests := receiver(t, status(http.StatusNoContent))
	d := deliveryTo(address)

	// Three attempts at their own times, as the retries of one letter are.
	start := time.Now().Truncate(time.Second)
	for attempt := 1; attempt <= 3; attempt++ {
		d.Attempt, b.now = attempt, start.Add(time.Duration(attempt)*time.Minute)
		require.Equal(t, delivery.Outcome{StatusCode: http.StatusNoContent}, b.channel.Send(t.Context(), d))
	}

	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	other, err := standardwebhooks.NewWebhook("whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
	require.NoError(t, err)
	require.Len(t, requests(), 3)
	for i, r := range requests() {
		require.NoError(t, verifier.Verify(r.body, r.Header))
		require.Error(t, other.Verify(r.body, r.Header))
		require.Error(t, verifier.Verify(append([]byte(" "), r.body...), r.Header), "the body is signed")

		require.Equal(t, http.MethodPost, r.Method)
		require.Equal(t, "/"+hidden+"?key="+hidden, r.RequestURI)
		require.Equal(t, "application/json", r.Header.Get("Content-Type"))
		require.Equal(t, "DawsOS/1.2.3", r.Header.Get("User-Agent"))
		require.Equal(t, int64(len(r.body)), r.ContentLength)
		require.Equal(t, d.MessageID(), r.Header.Get("webhook-id"), "constant over all attempts")
		require.Equal(t, strconv.FormatInt(start.Add(time.Duration(i+1)*time.Minute).Unix(), 10), r.Header.Get("webhook-timestamp"),
			"of the attempt: receivers refuse what is older than some minutes")
		require.Equal(t, requests()[0].body, r.body, "the message is the same on every attempt")
	}
	require.JSONEq(t, `{
		"type": "alert",
		"timestamp": "2026-05-01T12:00:00.123456Z",
		"data": {
			"event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
			"alert_id": "nav-drop",
			"title": "NAV fell 3 %",
			"message": "It fell <by> 3 %.",
			"severity": "warning",
			"data": {"change": -0.030, "deep": {"n": 12345678901234567890}}
		}
	}`, string(requests()[0].body))
	require.Contains(t, string(requests()[0].body), "12345678901234567890", "digits are kept")
}

func TestSendCarriesTheTrace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	address, requests := receiver(t, status(http.StatusOK))
	ctx, span := b.tracing.Tracer("test").Start(t.Context(), "deliver webhook")
	require.True(t, b.channel.Send(ctx, deliveryTo(address)).Delivered())
	span.End()

	ctx = propagation.TraceContext{}.Extract(t.Context(), propagation.HeaderCarrier(requests()[0].Header))
	_, child := b.tracing.Tracer("receiver").Start(ctx, "receive")
	require.Equal(t, span.SpanContext().TraceID(), child.SpanContext().TraceID())
	for _, s := range b.spans.Ended() {
		require.NotContains(t, fmt.Sprint(s.Name(), s.Attributes(), s.Events(), s.Status()), hidden)
	}
}

func TestSendClassifiesAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status int
		cause  delivery.Cause
		retry  bool
	}{
		{200, delivery.None, false},
		{201, delivery.None, false},
		{202, delivery.None, false},
		{204, delivery.None, false},
		{299, delivery.None, false},
		{300, delivery.Rejected, false},
		{301, delivery.Rejected, false},
		{302, delivery.Rejected, false},
		{304, delivery.Rejected, false},
		{307, delivery.Rejected, false},
		{308, delivery.Rejected, false},
		{400, delivery.HTTP4xx, false},
		{401, delivery.HTTP4xx, false},
		{403, delivery.HTTP4xx, false},
		{404, delivery.HTTP4xx, false},
		{408, delivery.HTTP4xx, true},
		{410, delivery.HTTP4xx, false},
		{413, delivery.HTTP4xx, false},
		{422, delivery.HTTP4xx, false},
		{425, delivery.HTTP4xx, true},
		{429, delivery.HTTP429, true},
		{499, delivery.HTTP4xx, false},
		{500, delivery.HTTP5xx, true},
		{501, delivery.HTTP5xx, true},
		{502, delivery.HTTP5xx, true},
		{503, delivery.HTTP5xx, true},
		{504, delivery.HTTP5xx, true},
		{599, delivery.HTTP5xx, true},
		{999, delivery.HTTP5xx, true},
	}
	for _, tt := range tests {
		t.Run(strconv.Itoa(tt.status), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var followed bool
			address, requests := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				followed = followed || r.URL.Path == "/elsewhere"
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
				if tt.status != 204 && tt.status != 304 {
					_, _ = io.WriteString(w, "words of the receiver")
				}
			})
			o := b.channel.Send(t.Context(), deliveryTo(address))
			require.Equal(t, tt.cause, o.Cause)
			require.Equal(t, tt.retry, o.Retry)
			require.Equal(t, tt.status, o.StatusCode)
			require.Len(t, requests(), 1, "one attempt is one request")
			require.False(t, followed, "the signature is not for whom a redirect names")
			if tt.status != 204 && tt.status != 304 {
				require.Equal(t, "words of the receiver", o.Excerpt)
			}
			if !o.Delivered() {
				require.Contains(t, o.Detail, strconv.Itoa(tt.status))
			}
			requireDiscreet(t, o)
		})
	}
}

// An informational answer is none: the one that follows counts.
func TestSendWaitsForTheFinalAnswer(t *testing.T) {
	t.Parallel()
	address, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	o := setup(t).channel.Send(t.Context(), deliveryTo(address))
	require.Equal(t, http.StatusServiceUnavailable, o.StatusCode)
}

// short is a timeout that a test waits out.
func short(o *outbound.Options) { o.Timeout = 100 * time.Millisecond }

// raw is a receiver below HTTP. It serves one connection, and ends with the test.
func raw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String() + "/" + hidden + "?key=" + hidden
}

func readRequest(conn net.Conn) { _, _ = conn.Read(make([]byte, 64<<10)) }

func TestSendWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	nobody := func(t *testing.T) string {
		t.Helper()
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		return "http://" + l.Addr().String() + "/" + hidden
	}
	strangers := func(t *testing.T) string {
		t.Helper()
		server := httptest.NewUnstartedServer(status(http.StatusOK))
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.URL + "/" + hidden
	}
	tests := []struct {
		name    string
		address func(t *testing.T) string
		option  option
		cause   delivery.Cause
		retry   bool
	}{
		{"refused", nobody, nil, delivery.Connect, true},
		{"closed at once", func(t *testing.T) string {
			return raw(t, func(net.Conn) {})
		}, nil, delivery.Connect, true},
		{"reset in the middle of the request", func(t *testing.T) string {
			return raw(t, func(c net.Conn) {
				readRequest(c)
				_ = c.(*net.TCPConn).SetLinger(0) // an RST, no FIN
			})
		}, nil, delivery.Connect, true},
		{"cut in the headers", func(t *testing.T) string {
			return raw(t, func(c net.Conn) { readRequest(c); _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le") })
		}, nil, delivery.Connect, true},
		{"no HTTP", func(t *testing.T) string {
			return raw(t, func(c net.Conn) { readRequest(c); _, _ = io.WriteString(c, "220 mail.example.org ESMTP\r\n") })
		}, nil, delivery.Connect, true},
		{"endless headers", func(t *testing.T) string {
			return raw(t, func(c net.Conn) {
				readRequest(c)
				_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
				for line := "X-More: " + strings.Repeat("x", 1000) + "\r\n"; err == nil; {
					_, err = io.WriteString(c, line)
				}
			})
		}, nil, delivery.Connect, true},
		{"no answer in time", func(t *testing.T) string {
			return raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		}, short, delivery.Timeout, true},
		{"headers too slow", func(t *testing.T) string {
			return raw(t, func(c net.Conn) {
				readRequest(c)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
				_, _ = io.Copy(io.Discard, c)
			})
		}, short, delivery.Timeout, true},
		{"a name that does not resolve", func(*testing.T) string { return "http://receiver.invalid/" + hidden }, nil, delivery.DNS, true},
		{"a certificate of nobody", strangers, nil, delivery.TLS, true},
		{"TLS where there is none", func(t *testing.T) string {
			address, _ := receiver(t, status(http.StatusOK))
			return strings.Replace(address, "http:", "https:", 1)
		}, nil, delivery.TLS, true},
		{"an address that is not allowed", func(t *testing.T) string {
			address, requests := receiver(t, status(http.StatusOK))
			t.Cleanup(func() { require.Empty(t, requests()) })
			return address
		}, func(o *outbound.Options) { o.Policy.AllowPrivate = false }, delivery.Rejected, false},
		{"a name of an address that is not allowed", func(t *testing.T) string {
			address, requests := receiver(t, status(http.StatusOK))
			t.Cleanup(func() { require.Empty(t, requests()) })
			return strings.Replace(address, "127.0.0.1", "localhost", 1)
		}, func(o *outbound.Options) { o.Policy.AllowPrivate = false }, delivery.Rejected, false},
		{"a cloud's metadata service, always", func(*testing.T) string {
			return "http://169.254.169.254/latest/" + hidden
		}, nil, delivery.Rejected, false},
		{"an address that became unreadable", func(*testing.T) string { return "http://[::1/" + hidden }, nil, delivery.Payload, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			options := []option{}
			if tt.option != nil {
				options = append(options, tt.option)
			}
			b := setup(t, options...)
			o := b.channel.Send(t.Context(), deliveryTo(tt.address(t)))
			require.Equal(t, tt.cause, o.Cause, o.Detail)
			require.Equal(t, tt.retry, o.Retry)
			require.Zero(t, o.StatusCode)
			require.NotEmpty(t, o.Detail)
			requireDiscreet(t, o)
		})
	}
}

func TestSendTrustsACertificateThatIsKnown(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(status(http.StatusOK))
	t.Cleanup(server.Close)
	b := setup(t, func(o *outbound.Options) {
		o.TLS = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	})
	require.True(t, b.channel.Send(t.Context(), deliveryTo(server.URL)).Delivered())
}

// The context of the attempt holds, whatever the client's own timeout is.
func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	address := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	o := setup(t).channel.Send(ctx, deliveryTo(address))
	require.Equal(t, delivery.Timeout, o.Cause)

	address = raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, stop)
	o = setup(t).channel.Send(ctx, deliveryTo(address))
	require.Equal(t, delivery.Interrupted, o.Cause)
	require.True(t, o.Retry)
}

// A status is an answer; what becomes of its body changes nothing. A 2xx whose body stalls has
// arrived, sending it again would only repeat it.
func TestSendWhenTheBodyOfTheAnswerBreaksOff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		head   string
		stall  bool
		option option
		cause  delivery.Cause
	}{
		{"200, then nothing more", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", true, short, delivery.None},
		{"200, then gone", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", false, nil, delivery.None},
		{"500, then nothing more", "HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\npart", true, short, delivery.HTTP5xx},
		{"404, then gone", "HTTP/1.1 404 Nope\r\nContent-Length: 100\r\n\r\npart", false, nil, delivery.HTTP4xx},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			options := []option{}
			if tt.option != nil {
				options = append(options, tt.option)
			}
			address := raw(t, func(c net.Conn) {
				readRequest(c)
				_, _ = io.WriteString(c, tt.head)
				if tt.stall {
					_, _ = io.Copy(io.Discard, c)
				}
			})
			o := setup(t, options...).channel.Send(t.Context(), deliveryTo(address))
			require.Equal(t, tt.cause, o.Cause)
			require.Equal(t, "part", o.Excerpt)
			requireDiscreet(t, o)
		})
	}
}

// A receiver can't make us read, or keep, more than a little.
func TestSendBoundsWhatItReads(t *testing.T) {
	t.Parallel()
	written := make(chan int, 1)
	address, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk, n := bytes.Repeat([]byte("x"), 64<<10), 0
		for range 1024 { // 64 MB
			m, err := w.Write(chunk)
			n += m
			if err != nil {
				break
			}
		}
		written <- n
	})
	o := setup(t).channel.Send(t.Context(), deliveryTo(address))
	require.True(t, o.Delivered())
	require.Len(t, o.Excerpt, 1024)
	require.Less(t, <-written, 32<<20, "the rest is not read")
}

// A compressed answer is not unpacked: a few bytes must not become many.
func TestSendDoesNotAskForCompression(t *testing.T) {
	t.Parallel()
	address, requests := receiver(t, status(http.StatusOK))
	require.True(t, setup(t).channel.Send(t.Context(), deliveryTo(address)).Delivered())
	require.Empty(t, requests()[0].Header.Get("Accept-Encoding"))
}

func TestSendUsesAConnectionAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	address, requests := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Repeat("busy ", 5000))
	})
	for range 3 {
		require.False(t, b.channel.Send(t.Context(), deliveryTo(address)).Delivered())
	}
	peers := map[string]bool{}
	for _, r := range requests() {
		peers[r.RemoteAddr] = true
	}
	require.Len(t, peers, 1)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		address string
		ok      bool
	}{
		{"https://example.org/hook", true},
		{"http://example.org", true},
		{"HTTPS://example.org/", true},
		{"http://localhost:9000/hook?token=abc#part", true},
		{"http://[::1]:9000/hook", true},
		{"https://exämple.org/", true},
		{"https://example.org/" + strings.Repeat("a", 2048-len("https://example.org/")), true},
		{"https://example.org/" + strings.Repeat("a", 2049-len("https://example.org/")), false},
		{"", false},
		{"example.org/hook", false},
		{"//example.org/hook", false},
		{"/hook", false},
		{"http://", false},
		{"http:///hook", false},
		{"http://:8080/hook", false},
		{"https:example.org", false},
		{"ftp://example.org/hook", false},
		{"file:///etc/passwd", false},
		{"javascript:alert(1)", false},
		{"unix:///var/run/docker.sock", false},
		{"http://ada@example.org/hook", false},
		{"http://ada:secret@example.org/hook", false},
		{"http://@example.org/hook", false},
		{"http://example.org:port/hook", false},
		{"http://example.org:65535/hook", true},
		{"http://example.org:65536/hook", false},
		{"http://example.org:0/hook", false},
		{"http://example.org:/hook", true},
		{"http://[::1/hook", false},
		{"http://exa mple.org/", false},
		{"http://example.org/\r\nX-Injected: yes", false},
		{"http://example.org/%zz", false},
		{" http://example.org/", false},
	}
	b := setup(t)
	for _, tt := range tests {
		err := b.channel.Check(delivery.Target{Channel: "webhook", URL: tt.address})
		if tt.ok {
			require.NoError(t, err, tt.address)
			continue
		}
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%q: %v", tt.address, err)
		problem, ok := errors.AsType[*fault.Error](err)
		require.True(t, ok)
		require.Equal(t, "/channels/webhook/url", problem.Fields[0].Pointer)
		require.NotContains(t, err.Error(), "secret")
	}
}

// While a secret is being replaced, receivers that know either take the message.
func TestSendSignsWithEverySecretOfTheDestination(t *testing.T) {
	t.Parallel()
	const newest, older = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_2pXr3YH4mSlmTBmUEXLK/g4pDBXJpJ7A"
	b := setup(t)
	address, requests := receiver(t, status(http.StatusNoContent))
	d := deliveryTo(address)
	d.Endpoint.Secrets = []string{newest, older}
	require.True(t, b.channel.Send(t.Context(), d).Delivered())

	r := requests()[0]
	signatures := strings.Fields(r.Header.Get("webhook-signature"))
	require.Len(t, signatures, 2)
	for i, known := range []string{newest, older} {
		verifier, err := standardwebhooks.NewWebhook(known)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(r.body, r.Header))
		alone := r.Header.Clone()
		alone.Set("webhook-signature", signatures[i])
		require.NoError(t, verifier.Verify(r.body, alone), "the newest first")
	}
	processes, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	require.Error(t, processes.Verify(r.body, r.Header), "the destination's own take its place")

	d.Endpoint.Secrets = []string{"whsec_not base64"}
	o := b.channel.Send(t.Context(), d)
	require.Equal(t, delivery.Rejected, o.Cause)
	require.Len(t, requests(), 1, "nothing goes out unsigned")
	require.NotContains(t, o.Detail, "base64")
}

func TestSendCarriesHeadersOfTheDestination(t *testing.T) {
	t.Parallel()
	b := setup(t)
	address, requests := receiver(t, status(http.StatusNoContent))
	d := deliveryTo(address)
	d.Endpoint.Headers = map[string]string{
		"X-Team": "ops", "authorization": "Bearer of-the-receiver", "webhook-id": "forged", "User-Agent": "forged",
	}
	require.True(t, b.channel.Send(t.Context(), d).Delivered())
	h := requests()[0].Header
	require.Equal(t, "ops", h.Get("X-Team"))
	require.Equal(t, "Bearer of-the-receiver", h.Get("Authorization"))
	require.Equal(t, d.MessageID(), h.Get("webhook-id"), "whatever was stored, the channel's own are its own")
	require.Equal(t, "DawsOS/1.2.3", h.Get("User-Agent"))
}

func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	const good = "https://example.org/hook"
	headers := func(name, value string) delivery.Endpoint {
		return delivery.Endpoint{URL: good, Headers: map[string]string{name: value}}
	}
	many := map[string]string{}
	for i := range 21 {
		many[fmt.Sprintf("X-%d", i)] = "x"
	}
	tests := []struct {
		name     string
		endpoint delivery.Endpoint
		pointer  string // "" when it is good
	}{
		{"an address", delivery.Endpoint{URL: good}, ""},
		{"no address", delivery.Endpoint{}, "/url"},
		{"an address with a password", delivery.Endpoint{URL: "https://a:b@example.org/"}, "/url"},
		{"recipients", delivery.Endpoint{URL: good, To: []string{"ada@example.org"}}, "/to"},
		{"secrets", delivery.Endpoint{URL: good, Secrets: []string{secret, secret}}, ""},
		{"a secret without its prefix", delivery.Endpoint{URL: good, Secrets: []string{strings.TrimPrefix(secret, "whsec_")}}, "/secrets/0"},
		{"a secret that is no base64", delivery.Endpoint{URL: good, Secrets: []string{secret, "whsec_%%%%"}}, "/secrets/1"},
		{"a secret that is short", delivery.Endpoint{URL: good, Secrets: []string{"whsec_c2hvcnQ="}}, "/secrets/0"},
		{"too many secrets", delivery.Endpoint{URL: good, Secrets: []string{secret, secret, secret, secret, secret, secret}}, "/secrets"},
		{"a header", headers("Authorization", "Bearer abc.def"), ""},
		{"a header of one character", headers("~", "~"), ""},
		{"too many headers", delivery.Endpoint{URL: good, Headers: many}, "/headers"},
		{"the signature", headers("webhook-signature", "v1,x"), "/headers/webhook-signature"},
		{"the id, in capitals", headers("WEBHOOK-ID", "x"), "/headers/WEBHOOK-ID"},
		{"the host", headers("Host", "example.com"), "/headers/Host"},
		{"the length", headers("Content-Length", "1"), "/headers/Content-Length"},
		{"the type", headers("content-type", "text/plain"), "/headers/content-type"},
		{"hop by hop", headers("Transfer-Encoding", "chunked"), "/headers/Transfer-Encoding"},
		{"hop by hop, to a proxy", headers("Proxy-Authorization", "x"), "/headers/Proxy-Authorization"},
		{"the trace", headers("traceparent", "x"), "/headers/traceparent"},
		{"no name", headers("", "x"), "/headers/"},
		{"a name with a space", headers("X Team", "x"), "/headers/X Team"},
		{"a name with a line's end", headers("X-A\r\nX-B", "x"), "/headers/X-A\r\nX-B"},
		{"a name that a pointer escapes", headers("x/~y", "x"), "/headers/x~1~0y"},
		{"a long name", headers(strings.Repeat("x", 101), "x"), "/headers/" + strings.Repeat("x", 101)},
		{"no value", headers("X-A", ""), "/headers/X-A"},
		{"a value with a line's end", headers("X-A", "a\r\nX-B: b"), "/headers/X-A"},
		{"a value with space around it", headers("X-A", " a"), "/headers/X-A"},
		{"a value in another script", headers("X-A", "ä"), "/headers/X-A"},
		{"the longest value", headers("X-A", strings.Repeat("x", 1024)), ""},
		{"a longer value", headers("X-A", strings.Repeat("x", 1025)), "/headers/X-A"},
		{"a name in two cases", delivery.Endpoint{URL: good, Headers: map[string]string{"X-A": "1", "x-a": "2"}}, "/headers/x-a"},
	}
	channel := setup(t).channel
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := channel.CheckEndpoint(tt.endpoint)
			if tt.pointer == "" {
				require.NoError(t, err)
				return
			}
			problem, ok := errors.AsType[*fault.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, fault.Invalid, problem.Code)
			require.Equal(t, tt.pointer, problem.Fields[0].Pointer)
		})
	}
}

// Headers that CheckEndpoint lets pass arrive as they are.
func FuzzHeaders(f *testing.F) {
	f.Add("X-Team", "ops")
	f.Add("host", "example.org")
	f.Add("x\r\ny", "a\x00b")
	channel, err := webhook.New(http.DefaultClient, secret, "test", time.Now)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, name, value string) {
		if channel.CheckEndpoint(delivery.Endpoint{URL: "https://example.org", Headers: map[string]string{name: value}}) != nil {
			return
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.org", http.NoBody)
		require.NoError(t, err)
		req.Header.Set(name, value)
		var wire bytes.Buffer
		require.NoError(t, req.Write(&wire))
		got, err := http.ReadRequest(bufio.NewReader(&wire))
		require.NoError(t, err)
		require.Equal(t, value, got.Header.Get(name))
		require.Equal(t, "example.org", got.Host)
	})
}

// What Check lets pass, Send can at least turn into a request.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"https://example.org/hook", "http://[::1]:1/", "http://a b/", "http://ä/%zz", "http://x:\x00/"} {
		f.Add(seed)
	}
	channel, err := webhook.New(&http.Client{Transport: nowhere{}}, secret, "test", time.Now)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, address string) {
		if channel.Check(delivery.Target{Channel: "webhook", URL: address}) != nil {
			return
		}
		o := channel.Send(t.Context(), deliveryTo(address))
		if o.Cause != delivery.Connect {
			t.Fatalf("%q was accepted, but: %+v", address, o)
		}
	})
}

type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("nowhere") }

func TestWithoutASecret(t *testing.T) {
	t.Parallel()
	channel, err := webhook.New(http.DefaultClient, "", "test", time.Now)
	require.NoError(t, err)

	err = channel.Check(delivery.Target{Channel: "webhook", URL: "https://example.org/hook"})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "WEBHOOK_SECRET")

	// A letter that another process accepted waits until this one is configured.
	address, requests := receiver(t, status(http.StatusOK))
	o := channel.Send(t.Context(), deliveryTo(address))
	require.False(t, o.Delivered())
	require.True(t, o.Retry)
	require.Empty(t, requests(), "nothing goes out unsigned")
}

func TestNewRefusesABadSecret(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"whsec_%%%%", "not base64!", "whsec_====="} {
		_, err := webhook.New(http.DefaultClient, bad, "test", time.Now)
		require.Error(t, err, bad)
		require.EqualError(t, err, "webhook secret: must be whsec_ and base64", "without a part of the secret")
	}
}
