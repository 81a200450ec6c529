package email

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/channeltest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user     = "mailer"
	password = "the-mail-server's-password"
)

// setup returns the channel behind the real dialer.
func setup(t *testing.T, s *Server, options ...func(*Options)) *Channel {
	t.Helper()
	o := Options{
		Server: s, From: mail.Address{Name: "DawsOS", Address: "alerts@example.org"}, Version: "1.2.3",
		Dialer: outbound.NewDialer(outbound.Options{Policy: outbound.Policy{AllowPrivate: true}}),
		Now:    func() time.Time { return time.Date(2026, 5, 1, 12, 5, 0, 0, time.UTC) },
	}
	for _, option := range options {
		option(&o)
	}
	c, err := New(o)
	require.NoError(t, err)
	return c
}

func serverAt(t *testing.T, addr string) *Server {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return &Server{Host: host, Port: n}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	channeltest.Run(t, channeltest.Harness{
		Wire: channeltest.SMTP, Hidden: []string{password},
		Open: func(t *testing.T, r channeltest.Receiver) (delivery.Channel, delivery.Target, delivery.Endpoint) {
			t.Helper()
			s := serverAt(t, r.Addr)
			if r.TLS {
				s.Security = ImplicitTLS
			}
			target := delivery.Target{Channel: "email", To: []string{"ada@example.org", "bob@example.org"}}
			c := setup(t, s)
			return c, target, c.Endpoint(target)
		},
	})
}

func deliveryTo(to ...string) delivery.Delivery {
	return delivery.Delivery{
		Event: channeltest.Event(), Target: delivery.Target{Channel: "email", To: to},
		Endpoint: delivery.Endpoint{ID: "email", To: to}, Attempt: 1,
	}
}

// dialogue is a mail server that says what it is told to, and keeps what it hears. It serves one
// connection.
func dialogue(t *testing.T, serve func(t *textproto.Conn, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(textproto.NewConn(conn), conn)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// respond answers each command with the first answer whose key it begins with, and returns the message.
func respond(c *textproto.Conn, answers map[string]string) (heard []string, message string) {
	_ = c.PrintfLine("220 mail.example.org ESMTP")
	for {
		line, err := c.ReadLine()
		if err != nil {
			return heard, message
		}
		heard = append(heard, line)
		verb, _, _ := strings.Cut(line, " ")
		answer, ok := answers[verb]
		if !ok {
			answer = map[string]string{"DATA": "354 go on", "QUIT": "221 bye"}[verb]
		}
		if answer == "" {
			answer = "250 ok"
		}
		_ = c.PrintfLine("%s", answer)
		if verb == "DATA" && strings.HasPrefix(answer, "354") {
			b, err := io.ReadAll(c.DotReader())
			if err != nil {
				return heard, message
			}
			message = string(b)
			_ = c.PrintfLine("250 queued")
		}
		if verb == "QUIT" || verb == "STARTTLS" {
			return heard, message
		}
	}
}

type conversation struct {
	heard   []string
	message string
}

// send makes an attempt at a server that gives these answers.
func send(t *testing.T, d delivery.Delivery, answers map[string]string, change func(*Server)) (delivery.Outcome, conversation) {
	t.Helper()
	had := make(chan conversation, 1)
	addr := dialogue(t, func(c *textproto.Conn, _ net.Conn) {
		heard, message := respond(c, answers)
		had <- conversation{heard, message}
	})
	s := serverAt(t, addr)
	if change != nil {
		change(s)
	}
	o := setup(t, s).Send(t.Context(), d)
	return o, <-had
}

func TestMessage(t *testing.T) {
	t.Parallel()
	d := deliveryTo("ada@example.org", "bob@example.com")
	o, had := send(t, d, nil, nil)
	require.Equal(t, delivery.Outcome{StatusCode: 250}, o)
	require.Contains(t, had.heard, "MAIL FROM:<alerts@example.org>")
	require.Contains(t, had.heard, "RCPT TO:<ada@example.org>")
	require.Contains(t, had.heard, "RCPT TO:<bob@example.com>")

	m := read(t, had.message)
	require.Equal(t, `"DawsOS" <alerts@example.org>`, m.header.Get("From"))
	require.Equal(t, "<ada@example.org>, <bob@example.com>", m.header.Get("To"))
	require.Equal(t, "NAV fell 3 %", m.header.Get("Subject"))
	require.Equal(t, "<"+d.MessageID()+"@example.org>", m.header.Get("Message-ID"))
	require.Equal(t, "<nav-drop.alerts.example.org>", m.header.Get("List-Id"))
	require.Equal(t, "auto-generated", m.header.Get("Auto-Submitted"))
	require.Equal(t, "warning", m.header.Get("X-DawsOS-Severity"))
	require.Equal(t, d.Event.ID.String(), m.header.Get("X-DawsOS-Event-Id"))
	require.Equal(t, "DawsOS/1.2.3", m.header.Get("User-Agent"))
	require.Empty(t, m.header.Get("Importance"))
	date, err := m.header.Date()
	require.NoError(t, err)
	require.True(t, date.Equal(time.Date(2026, 5, 1, 12, 5, 0, 0, time.UTC)), "of the attempt")

	require.True(t, strings.HasPrefix(m.text, "It fell <by> 3 %.\nSince Monday.\n"), m.text)
	require.Contains(t, m.text, "12345678901234567890", "digits are kept")
	require.Contains(t, m.text, "Alert:    nav-drop")
	require.Contains(t, m.html, "It fell &lt;by&gt; 3 %.\nSince Monday.")
	require.NotContains(t, m.html, "<by>")
	require.Contains(t, m.html, "12345678901234567890")
}

// Addresses are ASCII and headers are encoded, so that a message needs no server that speaks SMTPUTF8 on its way. One
// that was sent with the parameter could not be passed on to a server without it (RFC 6531, 3.4).
func TestSMTPUTF8IsNotAskedFor(t *testing.T) {
	t.Parallel()
	d := deliveryTo("ada@example.org")
	d.Event.Title = "Zürich fällt"
	o, had := send(t, d, map[string]string{"EHLO": "250-mail.example.org\r\n250-8BITMIME\r\n250 SMTPUTF8"}, nil)
	require.Equal(t, delivery.Outcome{StatusCode: 250}, o)
	require.Contains(t, had.heard, "MAIL FROM:<alerts@example.org> BODY=8BITMIME")
	for _, c := range []byte(had.message) {
		require.Less(t, c, byte(0x80))
	}
}

func TestMessageOfACriticalEventIsImportant(t *testing.T) {
	t.Parallel()
	d := deliveryTo("ada@example.org")
	d.Event.Severity = delivery.Critical
	_, had := send(t, d, nil, nil)
	require.Equal(t, "high", read(t, had.message).header.Get("Importance"))
}

// parsed is a message as a mail client sees it.
type parsed struct {
	header     mail.Header
	text, html string
}

func read(t *testing.T, raw string) parsed {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	require.NoError(t, err)
	p := parsed{header: m.Header}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/alternative", kind)
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := parts.NextPart() // undoes quoted-printable
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		body, err := io.ReadAll(part)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(body), "\r\n", "\n")
		switch kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); kind {
		case "text/plain":
			require.Empty(t, p.html, "the plainer part comes first")
			p.text = text
		case "text/html":
			p.html = text
		default:
			t.Fatalf("a part of type %q", kind)
		}
	}
	return p
}

// No text of an event's gets out of its place: not into the headers, not into the markup, not into the
// SMTP dialogue.
func FuzzMessage(f *testing.F) {
	f.Add("NAV fell", "3 %", "nav-drop")
	f.Add("a\r\nBcc: eve@example.org", "\r\n.\r\nMAIL FROM:<eve@example.org>\r\n", "x\r\nX-Injected: 1")
	f.Add("<script>", "</p><script>alert(1)</script>", "<b>")
	f.Add("=?utf-8?q?=0ABcc:_eve?=", "\xff\x00", strings.Repeat("ä", 200))
	c, err := New(Options{
		Server: &Server{Host: "localhost"}, From: mail.Address{Address: "alerts@example.org"}, Now: time.Now,
	})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, title, message, alertID string) {
		d := deliveryTo("ada@example.org")
		d.Event.Title, d.Event.Message, d.Event.AlertID, d.Event.Data = title, message, alertID, nil
		m, err := c.compose(d)
		require.NoError(t, err)
		var raw strings.Builder
		_, err = m.WriteTo(&raw)
		require.NoError(t, err)
		got := read(t, raw.String())

		for name := range got.header {
			require.Contains(t, []string{
				"Auto-Submitted", "Content-Type", "Date", "From", "Importance", "List-Id", "Message-Id", "Mime-Version", "Priority",
				"Subject", "To", "User-Agent", "X-Dawsos-Event-Id", "X-Dawsos-Severity", "X-Mailer", "X-Msmail-Priority", "X-Priority",
			}, name)
		}
		require.Equal(t, []string{"<ada@example.org>"}, got.header["To"])
		require.Equal(t, "<"+d.MessageID()+"@example.org>", got.header.Get("Message-Id"))
		require.Regexp(t, `^<[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.alerts\.example\.org>$`, got.header.Get("List-Id"))
		require.Zero(t, strings.Count(got.html, "<script"), "the template has none")
		require.Equal(t, 1, strings.Count(got.html, "<h1"))
	})
}

func TestListLabel(t *testing.T) {
	t.Parallel()
	require.Equal(t, "nav-drop", listLabel("nav-drop"))
	require.Equal(t, "none", listLabel(""))
	labels := map[string]bool{}
	ids := []string{"nav-drop", "NAV-drop", "nav drop", "nav/drop", "-nav-drop", "ä", "ö", "💥", strings.Repeat("a", 40), strings.Repeat("a", 41), strings.Repeat("a", 200)}
	for _, id := range ids {
		labels[listLabel(id)] = true
		require.LessOrEqual(t, len(listLabel(id)), 63)
	}
	require.Len(t, labels, len(ids), "different alerts have different lists")
}

// One recipient refused means that nobody gets it: served ones would get it again with the next attempt.
func TestRecipientRefused(t *testing.T) {
	t.Parallel()
	o, had := send(t, deliveryTo("ada@example.org", "bob@example.org"), map[string]string{"RCPT": "550 5.1.1 no such user"}, nil)
	require.Equal(t, delivery.Outcome{
		Cause: delivery.SMTP5xx, StatusCode: 550, Detail: "the mail server refused recipient 1 of 2 with 550", Excerpt: "5.1.1 no such user",
	}, o)
	require.Empty(t, had.message)
}

func TestSecurity(t *testing.T) {
	t.Parallel()
	certificate := httptest.NewUnstartedServer(http.NotFoundHandler())
	certificate.StartTLS()
	t.Cleanup(certificate.Close)
	trusted := certificate.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	config := &tls.Config{Certificates: certificate.TLS.Certificates, MinVersion: tls.VersionTLS12}

	const (
		plain    = "sent in the clear"
		secured  = "sent over TLS"
		withAuth = "sent over TLS, logged in"
	)
	tests := []struct {
		name     string
		security Security
		user     string
		offers   string // STARTTLS, or nothing
		implicit bool
		trust    bool
		want     string // or the cause of a failure
		cause    delivery.Cause
	}{
		{"STARTTLS where it is offered", Opportunistic, "", "STARTTLS", false, true, secured, ""},
		{"the clear where it is not", Opportunistic, "", "", false, true, plain, ""},
		{"the clear where it is not wanted", Plain, "", "STARTTLS", false, true, plain, ""},
		{"required and offered", StartTLS, "", "STARTTLS", false, true, secured, ""},
		{"required and not offered", StartTLS, "", "", false, true, "", delivery.TLS},
		{"of a stranger", Opportunistic, "", "STARTTLS", false, false, "", delivery.TLS},
		{"from the first byte", ImplicitTLS, "", "", true, true, secured, ""},
		{"from the first byte, of a stranger", ImplicitTLS, "", "", true, false, "", delivery.TLS},
		{"from the first byte, with a password", ImplicitTLS, user, "", true, true, withAuth, ""},
		{"with a password", Opportunistic, user, "STARTTLS", false, true, withAuth, ""},
		{"with a password, which the clear does not get", Opportunistic, user, "", false, true, "", delivery.TLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			had := make(chan string, 1)
			addr := dialogue(t, func(c *textproto.Conn, conn net.Conn) {
				ehlo := map[string]string{"EHLO": "250-mail.example.org\r\n250 8BITMIME"}
				if tt.offers != "" {
					ehlo["EHLO"] = "250-mail.example.org\r\n250 " + tt.offers
					ehlo["STARTTLS"] = "220 go on"
				}
				how := plain
				if !tt.implicit {
					heard, message := respond(c, ehlo)
					if len(heard) == 0 || heard[len(heard)-1] != "STARTTLS" {
						if message == "" {
							how = ""
						}
						had <- how
						return
					}
				}
				encrypted := tls.Server(conn, config)
				if encrypted.HandshakeContext(t.Context()) != nil {
					had <- ""
					return
				}
				how = secured
				answers := map[string]string{"EHLO": "250-mail.example.org\r\n250 AUTH PLAIN", "AUTH": "235 welcome"}
				var heard []string
				var message string
				if tt.implicit {
					heard, message = respond(textproto.NewConn(encrypted), answers)
				} else {
					heard, message = respond(textproto.NewConn(&greeted{Conn: encrypted}), answers)
				}
				for _, line := range heard {
					if strings.HasPrefix(line, "AUTH PLAIN ") {
						how = withAuth
					}
				}
				if message == "" {
					how = ""
				}
				had <- how
			})
			s := serverAt(t, addr)
			s.Security, s.User = tt.security, tt.user
			if tt.user != "" {
				s.Password = password
			}
			c := setup(t, s, func(o *Options) {
				if tt.trust {
					o.TLS = &tls.Config{RootCAs: trusted}
				}
			})
			o := c.Send(t.Context(), deliveryTo("ada@example.org"))
			require.Equal(t, tt.cause, o.Cause, "%+v", o)
			require.Equal(t, tt.want, <-had)
			require.Equal(t, !o.Delivered(), o.Retry)
		})
	}
}

// greeted drops the first line written, the greeting that follows no STARTTLS.
type greeted struct {
	net.Conn
	done bool
}

func (g *greeted) Write(b []byte) (int, error) {
	if !g.done {
		g.done = true
		return len(b), nil
	}
	return g.Conn.Write(b)
}

// A wrong password is the operators' to correct: the message waits.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	certificate := httptest.NewUnstartedServer(http.NotFoundHandler())
	certificate.StartTLS()
	t.Cleanup(certificate.Close)
	for answer, want := range map[string]delivery.Outcome{
		"535 wrong " + password: {
			Cause: delivery.SMTP5xx, Retry: true, StatusCode: 535, Detail: "the mail server refused the connection with 535", Excerpt: "wrong [hidden]",
		},
		"454 later": {Cause: delivery.SMTP4xx, Retry: true, StatusCode: 454, Detail: "the mail server refused the connection with 454", Excerpt: "later"},
	} {
		addr := dialogue(t, func(_ *textproto.Conn, conn net.Conn) {
			respond(textproto.NewConn(tls.Server(conn, &tls.Config{Certificates: certificate.TLS.Certificates, MinVersion: tls.VersionTLS12})),
				map[string]string{"EHLO": "250-mail.example.org\r\n250 AUTH PLAIN", "AUTH": answer, "*": "501 aborted"})
		})
		s := serverAt(t, addr)
		s.Security, s.User, s.Password = ImplicitTLS, user, password
		c := setup(t, s, func(o *Options) {
			o.TLS = &tls.Config{RootCAs: certificate.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
		})
		require.Equal(t, want, c.Send(t.Context(), deliveryTo("ada@example.org")))
	}
}

func TestServerThatOffersNoLogin(t *testing.T) {
	t.Parallel()
	certificate := httptest.NewUnstartedServer(http.NotFoundHandler())
	certificate.StartTLS()
	t.Cleanup(certificate.Close)
	for _, ehlo := range []string{"250 8BITMIME", "250 AUTH GSSAPI"} {
		addr := dialogue(t, func(_ *textproto.Conn, conn net.Conn) {
			respond(textproto.NewConn(tls.Server(conn, &tls.Config{Certificates: certificate.TLS.Certificates, MinVersion: tls.VersionTLS12})),
				map[string]string{"EHLO": "250-mail.example.org\r\n" + ehlo})
		})
		s := serverAt(t, addr)
		s.Security, s.User, s.Password = ImplicitTLS, user, password
		o := setup(t, s, func(o *Options) {
			o.TLS = &tls.Config{RootCAs: certificate.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
		}).Send(t.Context(), deliveryTo("ada@example.org"))
		require.Equal(t, delivery.Rejected, o.Cause, "%+v", o)
		require.True(t, o.Retry)
	}
}

func TestServerThatIsNone(t *testing.T) {
	t.Parallel()
	addr := dialogue(t, func(_ *textproto.Conn, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_, _ = bufio.NewReader(conn).ReadString('\n')
	})
	o := setup(t, serverAt(t, addr)).Send(t.Context(), deliveryTo("ada@example.org"))
	require.Equal(t, delivery.Outcome{Cause: delivery.Connect, Retry: true, Detail: "the server does not speak SMTP here"}, o)
}

// Every step can be the one at which the server falls silent.
func TestSilenceAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		t.Run("before the answer to "+step, func(t *testing.T) {
			t.Parallel()
			addr := dialogue(t, func(c *textproto.Conn, conn net.Conn) {
				if step != "" {
					_ = c.PrintfLine("220 mail.example.org ESMTP")
				}
				for step != "" {
					line, err := c.ReadLine()
					if err != nil {
						return
					}
					if strings.HasPrefix(line, step) {
						break
					}
					if line == "DATA" {
						_ = c.PrintfLine("354 go on")
						_, _ = io.Copy(io.Discard, c.DotReader())
						break
					}
					_ = c.PrintfLine("250 ok")
				}
				_, _ = io.Copy(io.Discard, conn)
			})
			c := setup(t, serverAt(t, addr))
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			o := c.Send(ctx, deliveryTo("ada@example.org"))
			require.Equal(t, delivery.Outcome{Cause: delivery.Timeout, Retry: true, Detail: "no answer in time"}, o)
		})
	}
}

// What was taken is taken, however long the server's goodbye is.
func TestServerThatDoesNotSayGoodbye(t *testing.T) {
	t.Parallel()
	addr := dialogue(t, func(c *textproto.Conn, conn net.Conn) {
		_ = c.PrintfLine("220 mail.example.org ESMTP")
		for {
			line, err := c.ReadLine()
			switch {
			case err != nil:
				return
			case line == "DATA":
				_ = c.PrintfLine("354 go on")
				_, _ = io.Copy(io.Discard, c.DotReader())
				_ = c.PrintfLine("250 queued")
			case line == "QUIT":
				_, _ = io.Copy(io.Discard, conn)
				return
			default:
				_ = c.PrintfLine("250 ok")
			}
		}
	})
	start := time.Now()
	require.True(t, setup(t, serverAt(t, addr)).Send(t.Context(), deliveryTo("ada@example.org")).Delivered())
	require.Less(t, time.Since(start), 30*time.Second)
}

func TestSendIsGuarded(t *testing.T) {
	t.Parallel()
	c := setup(t, &Server{Host: "169.254.169.254", Port: 25})
	o := c.Send(t.Context(), deliveryTo("ada@example.org"))
	require.Equal(t, delivery.Rejected, o.Cause)
	require.False(t, o.Retry)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprintf("ada%d@example.org", i)
	}
	tests := []struct {
		name    string
		to      []string
		pointer string // below /to; "-" when it is good
	}{
		{"one", []string{"ada@example.org"}, "-"},
		{"with a tag", []string{"ada+alerts@mail.example.org"}, "-"},
		{"in punycode", []string{"ada@xn--exmple-cua.org"}, "-"},
		{"as many as may be", many[:50], "-"},
		{"none", nil, ""},
		{"too many", many, ""},
		{"the second is none", []string{"ada@example.org", "bob"}, "/1"},
		{"twice", []string{"ada@example.org", "Ada@example.org"}, "/1"},
		{"empty", []string{""}, "/0"},
		{"with a name", []string{"Ada <ada@example.org>"}, "/0"},
		{"in brackets", []string{"<ada@example.org>"}, "/0"},
		{"two in one", []string{"ada@example.org,bob@example.org"}, "/0"},
		{"without a domain", []string{"ada@"}, "/0"},
		{"without a user", []string{"@example.org"}, "/0"},
		{"quoted", []string{`"ada b"@example.org`}, "/0"},
		{"at an IP address", []string{"ada@[127.0.0.1]"}, "/0"},
		{"with a comment", []string{"ada(x)@example.org"}, "/0"},
		{"with a line's end", []string{"ada@example.org\r\nRCPT TO:<eve@example.org>"}, "/0"},
		{"with a space", []string{" ada@example.org"}, "/0"},
		{"in another script", []string{"ädä@example.org"}, "/0"},
		{"too long", []string{strings.Repeat("a", 250) + "@example.org"}, "/0"},
	}
	c := setup(t, &Server{Host: "localhost", Port: 25})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			byAddress := c.Check(delivery.Target{Channel: "email", To: tt.to})
			stored := c.CheckEndpoint(delivery.Endpoint{To: tt.to})
			if tt.pointer == "-" {
				require.NoError(t, byAddress)
				require.NoError(t, stored)
				return
			}
			requireField(t, byAddress, "/channels/email/to"+tt.pointer)
			requireField(t, stored, "/to"+tt.pointer)
		})
	}
	to := []string{"ada@example.org"}
	requireField(t, c.CheckEndpoint(delivery.Endpoint{To: to, URL: "https://example.org"}), "/url")
	requireField(t, c.CheckEndpoint(delivery.Endpoint{To: to, Headers: map[string]string{"X-A": "1"}}), "/headers")
	requireField(t, c.CheckEndpoint(delivery.Endpoint{To: to, Secrets: []string{"x"}}), "/secrets")
}

func requireField(t *testing.T, err error, pointer string) {
	t.Helper()
	problem, ok := errors.AsType[*fault.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, fault.Invalid, problem.Code)
	require.Equal(t, pointer, problem.Fields[0].Pointer)
}

func TestWithoutAServer(t *testing.T) {
	t.Parallel()
	c, err := New(Options{})
	require.NoError(t, err)
	require.Equal(t, "email", c.Name())
	err = c.Check(delivery.Target{Channel: "email", To: []string{"ada@example.org"}})
	requireField(t, err, "/channels/email")
	require.ErrorContains(t, err, "email is off: SMTP_URL is not set")
	requireField(t, c.CheckEndpoint(delivery.Endpoint{To: []string{"ada@example.org"}}), "/channel")

	// A letter that another process accepted waits until this one is configured.
	o := c.Send(t.Context(), deliveryTo("ada@example.org"))
	require.Equal(t, delivery.Rejected, o.Cause)
	require.True(t, o.Retry)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	server := &Server{Host: "localhost", Port: 25}
	_, err := New(Options{Server: server})
	require.ErrorContains(t, err, "alerts@example.org", "without a sender")
	_, err = New(Options{Server: &Server{Host: "localhost", Port: 25, Security: Plain, Password: password}, From: mail.Address{Address: "a@example.org"}})
	require.ErrorContains(t, err, "in the clear")
	require.NotContains(t, err.Error(), password)
}
