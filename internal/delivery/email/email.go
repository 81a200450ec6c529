// Package email delivers over SMTP, through the one mail server of the process.
//
// A message has a text and an HTML part, a Message-ID that is the same on every attempt, and a List-Id
// that is the same for every message of an alert, so that mail clients can sort by it. It goes to all
// of its recipients or to none: were one refused and the others served, the next attempt would
// reach those again.
package email

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/exchange"
	"github.com/dawsos/dawsos/internal/fault"
)

const (
	channelName = "email"
	// maxRecipients bounds the recipients of one message.
	maxRecipients = 50
	// maxAddress is the longest address that SMTP carries, in characters.
	maxAddress = 254
	// longestAttempt bounds an attempt whose context has no deadline.
	longestAttempt = 10 * time.Minute
	// maxLeave is how long a server that has taken the message may take to say goodbye.
	maxLeave = time.Second
)

// Security says how the connection to the mail server is encrypted.
type Security string

// The ways to encrypt. With a user and a password a connection that stays in the clear is not used.
const (
	Opportunistic Security = ""         // STARTTLS where the server offers it
	StartTLS      Security = "starttls" // STARTTLS, or nothing is sent
	ImplicitTLS   Security = "tls"      // from the first byte
	Plain         Security = "plain"    // never
)

// Server is the mail server that messages are handed to.
type Server struct {
	Host           string
	Port           int
	Security       Security
	User, Password string // both "" where the server wants none
}

// Dialer makes connections. package outbound has one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Options configures the channel.
type Options struct {
	// Server may be nil: every target is refused then.
	Server *Server
	// From is the sender of all messages.
	From mail.Address
	// Dialer connects to the server. Which addresses it allows is for whoever chose the server.
	Dialer Dialer
	// TLS is the configuration to start from; nil means the system's roots. Its minimum version is
	// raised to TLS 1.2.
	TLS     *tls.Config
	Version string           // of this program
	Now     func() time.Time // when a message is dated
}

// Channel implements delivery.Channel.
type Channel struct {
	o Options
	// domain is the sender's, and that of all message and list ids.
	domain string
	tls    *tls.Config
}

// New returns the channel.
func New(o Options) (*Channel, error) {
	c := &Channel{o: o}
	if o.Server == nil {
		return c, nil
	}
	if checkAddress(o.From.Address) != nil {
		return nil, errors.New("the sender of mail must be an address such as alerts@example.org")
	}
	if s := o.Server; s.Security == Plain && (s.User != "" || s.Password != "") {
		return nil, errors.New("a password is not sent to a mail server in the clear: STARTTLS must not be off")
	}
	c.domain = o.From.Address[strings.LastIndexByte(o.From.Address, '@')+1:]
	c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		c.tls = o.TLS.Clone()
		c.tls.MinVersion = max(c.tls.MinVersion, tls.VersionTLS12)
	}
	c.tls.ServerName = o.Server.Host
	return c, nil
}

// Name returns "email".
func (*Channel) Name() string { return channelName }

// Check wants 1 to 50 addresses, and a mail server.
func (c *Channel) Check(t delivery.Target) error {
	if c.o.Server == nil {
		return fault.InvalidField("/channels/email", "%s", errOff.Error())
	}
	return checkRecipients("/channels/email/to", t.To)
}

// Endpoint is the same for all: they go through one mail server.
func (*Channel) Endpoint(t delivery.Target) delivery.Endpoint {
	return delivery.Endpoint{ID: channelName, To: t.To}
}

// CheckEndpoint wants the same of a destination's addresses.
func (c *Channel) CheckEndpoint(e delivery.Endpoint) error {
	switch {
	case c.o.Server == nil:
		return fault.InvalidField("/channel", "%s", errOff.Error())
	case e.URL != "":
		return fault.InvalidField("/url", "is for destinations of webhook and chat")
	case len(e.Headers) > 0:
		return fault.InvalidField("/headers", "is for destinations of webhook")
	case len(e.Secrets) > 0:
		return fault.InvalidField("/secrets", "is for destinations of webhook")
	}
	return checkRecipients("/to", e.To)
}

var errOff = errors.New("email is off: SMTP_URL is not set")

func checkRecipients(pointer string, to []string) error {
	if len(to) == 0 || len(to) > maxRecipients {
		return fault.InvalidField(pointer, "must hold 1 to %d addresses", maxRecipients)
	}
	seen := make(map[string]bool, len(to))
	for i, address := range to {
		at := fmt.Sprintf("%s/%d", pointer, i)
		if err := checkAddress(address); err != nil {
			return fault.InvalidField(at, "%s", err.Error())
		}
		if seen[strings.ToLower(address)] {
			return fault.InvalidField(at, "stands twice")
		}
		seen[strings.ToLower(address)] = true
	}
	return nil
}

// checkAddress wants an addr-spec of RFC 5322 as it is commonly used: unquoted and in ASCII. A
// domain in another script is written as its "xn--" form, which every mail server takes.
func checkAddress(address string) error {
	if len(address) > maxAddress {
		return fmt.Errorf("longer than %d characters", maxAddress)
	}
	for _, c := range []byte(address) {
		if c <= ' ' || c > '~' {
			return errors.New("must be an address in ASCII and without spaces")
		}
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Name != "" || parsed.Address != address || strings.ContainsAny(address, `"<>[]`) {
		return errors.New("must be an address such as ada@example.org")
	}
	return nil
}

// Send hands one message to the mail server.
func (c *Channel) Send(ctx context.Context, d delivery.Delivery) delivery.Outcome {
	if c.o.Server == nil {
		return delivery.Outcome{Cause: delivery.Rejected, Retry: true, Detail: "SMTP_URL is not set in this process"}
	}
	if len(d.Endpoint.To) == 0 {
		return delivery.Outcome{Cause: delivery.Rejected, Detail: "the destination has no addresses"}
	}
	msg, err := c.compose(d)
	if err != nil {
		return delivery.Outcome{Cause: delivery.Payload, Detail: "encode the message: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, longestAttempt)
	defer cancel()
	l := &line{dialer: c.o.Dialer}
	if c.o.Server.Security == ImplicitTLS {
		l.tls = c.tls
	}
	defer l.hangUp()
	// The library waits for the server without looking at the context. A closed connection ends that.
	stop := context.AfterFunc(ctx, l.hangUp)
	defer stop()

	server, err := c.dial(ctx, l)
	if err != nil {
		return c.failure(ctx, "the mail server refused the connection", err, true)
	}
	if step, err := transact(server, c.o.From.Address, d.Endpoint.To, msg); err != nil {
		return c.failure(ctx, step, err, false)
	}
	// It has the message. How it takes our leave changes nothing.
	leave := time.AfterFunc(maxLeave, l.hangUp)
	defer leave.Stop()
	_ = server.Quit()
	return delivery.Outcome{StatusCode: accepted}
}

// accepted is the status with which a mail server takes a message.
const accepted = 250

// dial connects, greets, encrypts and logs in.
func (c *Channel) dial(ctx context.Context, l *line) (*smtp.Client, error) {
	s := c.o.Server
	options := []gomail.Option{
		gomail.WithPort(s.Port), gomail.WithTimeout(longestAttempt), gomail.WithTLSConfig(c.tls),
		gomail.WithDialContextFunc(l.dial),
		// Addresses are ASCII and headers encoded. A message that asks for the extension can't be passed on by a
		// server that has it to one that has not (RFC 6531, 3.4).
		gomail.WithoutSMTPUTF8(),
	}
	// Also for TLS from the first byte: such a server offers no STARTTLS, and the library then sees that
	// the connection is encrypted, which it does not with its own option and a dialer of ours.
	policy := gomail.TLSOpportunistic
	switch {
	case s.Security == ImplicitTLS:
	case s.Security == Plain:
		policy = gomail.NoTLS
	case s.Security == StartTLS, s.User != "", s.Password != "":
		policy = gomail.TLSMandatory
	}
	options = append(options, gomail.WithTLSPolicy(policy))
	if s.User != "" || s.Password != "" {
		options = append(options,
			gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.User), gomail.WithPassword(s.Password))
	}
	client, err := gomail.NewClient(s.Host, options...)
	if err != nil {
		return nil, err
	}
	return client.DialToSMTPClientWithContext(ctx)
}

// transact passes one message on. It returns the step that failed.
func transact(server *smtp.Client, from string, to []string, msg *gomail.Msg) (step string, err error) {
	if err := server.Mail("<" + from + ">"); err != nil {
		return "the mail server refused the sender", err
	}
	for i, recipient := range to {
		if err := server.Rcpt("<" + recipient + ">"); err != nil {
			return fmt.Sprintf("the mail server refused recipient %d of %d", i+1, len(to)), err
		}
	}
	const refused = "the mail server refused the message"
	w, err := server.Data()
	if err != nil {
		return refused, err
	}
	if _, err := msg.WriteTo(w); err != nil { // without its end the server drops it
		return refused, err
	}
	return refused, w.Close()
}

// failure classifies. What a server refuses for good before it knows the message is about us, such as
// a wrong password, and passes once an operator has seen to it.
func (c *Channel) failure(ctx context.Context, step string, err error, beforeMessage bool) delivery.Outcome {
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		o := delivery.Outcome{
			Cause: delivery.SMTP5xx, Retry: beforeMessage, StatusCode: answer.Code,
			Detail:  step + " with " + strconv.Itoa(answer.Code),
			Excerpt: exchange.Excerpt([]byte(answer.Msg), []string{c.o.Server.Password, c.o.Server.User}),
		}
		if answer.Code < 500 {
			o.Cause, o.Retry = delivery.SMTP4xx, true
		}
		return o
	}
	// A line that was hung up on because the time was over looks like a broken one.
	if ctx.Err() != nil {
		return exchange.Failure(ctx.Err())
	}
	_, garbled := errors.AsType[textproto.ProtocolError](err) // its text quotes what came instead
	switch text := err.Error(); {
	case garbled:
		return delivery.Outcome{Cause: delivery.Connect, Retry: true, Detail: "the server does not speak SMTP here"}
	case strings.Contains(text, "does not support STARTTLS"):
		return delivery.Outcome{Cause: delivery.TLS, Retry: true, Detail: "the mail server offers no STARTTLS, which is required"}
	case strings.Contains(text, "does not support SMTP AUTH"), errors.Is(err, gomail.ErrNoSupportedAuthDiscovered):
		return delivery.Outcome{Cause: delivery.Rejected, Retry: true, Detail: "the mail server offers no way to log in that we know"}
	}
	return exchange.Failure(err)
}
