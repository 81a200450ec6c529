// Package chat delivers to chat and push services by their address in shoutrrr's notation, such as
// slack://hook:TOKEN@webhook or ntfy://ntfy.sh/topic.
//
// The library reads the address and writes the message. What goes out goes through our own client: one
// attempt is one request, it ends with the attempt's context, may only reach what the outbound policy
// allows, and is judged by its status. Services for which the library offers no way to do so are
// not supported.
//
// An address is secret as a whole, as most of them hold a token. It comes from a stored destination,
// never with an event.
package chat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/exchange"
	"github.com/dawsos/dawsos/internal/fault"
)

const (
	channelName = "chat"
	// maxURL bounds addresses, in characters.
	maxURL = 2048
	// maxTitle bounds titles, in characters: the shortest that a service takes.
	maxTitle = 250
)

// Channel implements delivery.Channel.
type Channel struct {
	client    *http.Client
	userAgent string
	now       func() time.Time
}

// New returns the channel. client must be guarded (package outbound) and must not follow redirects.
func New(client *http.Client, version string, now func() time.Time) *Channel {
	return &Channel{client: client, userAgent: "DawsOS/" + version, now: now}
}

// Name returns "chat".
func (*Channel) Name() string { return channelName }

// Check refuses every target by address: an address is secret, and an event is not.
func (*Channel) Check(delivery.Target) error {
	return fault.InvalidField("/channels/chat", "is reached only through a destination")
}

// Endpoint is never asked for: Check lets no address through.
func (*Channel) Endpoint(delivery.Target) delivery.Endpoint {
	return delivery.Endpoint{ID: channelName}
}

// CheckEndpoint wants the address of a supported service, complete enough to make a request from.
func (c *Channel) CheckEndpoint(e delivery.Endpoint) error {
	switch {
	case len(e.To) > 0:
		return fault.InvalidField("/to", "is for destinations of email")
	case len(e.Headers) > 0:
		return fault.InvalidField("/headers", "is for destinations of webhook")
	case len(e.Secrets) > 0:
		return fault.InvalidField("/secrets", "is for destinations of webhook; a chat service's secret is in its address")
	}
	s, _, err := open(e.URL)
	if err != nil {
		return fault.InvalidField("/url", "%s", err.Error())
	}
	// The library finds some mistakes only when it writes the request.
	var probe probe
	send(s, &http.Client{Transport: &probe}, message{title: "title", text: "text", severity: delivery.Info})
	if !probe.reachable {
		return fault.InvalidField("/url", "%s", errAddress.Error())
	}
	return nil
}

// Send makes one request.
func (c *Channel) Send(ctx context.Context, d delivery.Delivery) delivery.Outcome {
	s, address, err := open(d.Endpoint.URL)
	if err != nil { // checked when it was stored, by another release
		return delivery.Outcome{Cause: delivery.Rejected, Detail: "the destination's address: " + err.Error()}
	}
	a := &attempt{
		ctx: ctx, channel: c, messageID: d.MessageID(),
		hidden: append(exchange.SecretsOf(address), address.Host, address.Hostname()),
	}
	send(s, &http.Client{Transport: a, CheckRedirect: asTheAnswer}, messageOf(d.Event, s.limit()))
	switch {
	case a.outcome == nil && ctx.Err() != nil:
		return exchange.Failure(ctx.Err())
	case a.outcome == nil: // the library wrote no request
		return delivery.Outcome{Cause: delivery.Payload, Detail: "the message can't be written for the service"}
	}
	if j, ok := s.(judge); ok {
		j.judge(a.outcome, a.body)
	}
	return *a.outcome
}

// message is what is said, within a service's limits.
type message struct {
	title    string // "" where the text says it all
	text     string // never ""
	severity delivery.Severity
}

func messageOf(e delivery.Event, limit int) message {
	title := strings.Join(strings.Fields(printable(e.Title)), " ")
	m := message{title: cut(title, maxTitle), text: cut(printable(e.Message), limit-maxTitle), severity: e.Severity}
	if strings.TrimSpace(m.text) == "" {
		m.title, m.text = "", m.title
	}
	return m
}

// printable drops what no service shows and some refuse.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' && r != '\n' && r != '\t') || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// inOne puts the title above the text, for services that know no title.
func (m message) inOne() string {
	if m.title == "" {
		return m.text
	}
	return m.title + "\n\n" + m.text
}

// cut shortens s to at most n characters, with an ellipsis where something is missing.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// attempt carries the one request of an attempt, and keeps what came of it.
type attempt struct {
	ctx       context.Context // of one Send: the library has no room for it
	channel   *Channel
	messageID string
	hidden    []string

	outcome *delivery.Outcome // nil while nothing was sent
	body    []byte
}

var errNotAgain = errors.New("one attempt is one request")

// RoundTrip sends a request of the library's as one of ours. The library would go on after a failure
// (Discord's does, five times and with pauses): when to try again is not its to decide.
func (a *attempt) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.outcome != nil {
		return nil, errNotAgain
	}
	r = r.Clone(a.ctx)
	r.Header.Set("User-Agent", a.channel.userAgent)
	r.Header.Set("Idempotency-Key", a.messageID)
	o, body := exchange.Do(a.channel.client, r, a.channel.now, a.hidden...)
	a.outcome, a.body = &o, body
	if o.StatusCode == 0 {
		return nil, errors.New("no answer")
	}
	return answer(r, o.StatusCode, body), nil
}

func answer(r *http.Request, status int, body []byte) *http.Response {
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

func asTheAnswer(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// probe sees where a request would go, and sends nothing.
type probe struct{ reachable bool }

// RoundTrip looks at the address and fails.
func (p *probe) RoundTrip(r *http.Request) (*http.Response, error) {
	p.reachable = isAddress(r.URL)
	return nil, errNotAgain
}

func isAddress(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && !strings.ContainsAny(u.Host, " \t")
}
