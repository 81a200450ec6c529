// Package webhook delivers over HTTP, signed after the Standard Webhooks specification
// (https://www.standardwebhooks.com): headers webhook-id, webhook-timestamp and
// webhook-signature, the id constant over all attempts, the timestamp that of the attempt.
package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/outbound"
)

const (
	// maxURL bounds addresses; longer ones are refused by many servers anyway.
	maxURL = 2048
	// maxExcerpt is how much of the receiver's answer is kept, in bytes.
	maxExcerpt = 1024
	// maxDrain is how much of the rest is read, so that the connection can be used again.
	maxDrain = 64 << 10
	// eventType is the body's "type": what kind of event this is.
	eventType = "alert"
)

// Channel implements delivery.Channel.
type Channel struct {
	client    *http.Client
	signer    *standardwebhooks.Webhook // nil without a secret
	userAgent string
	now       func() time.Time
}

// New returns the channel. client must be guarded (package outbound) and must not follow
// redirects. secret ("whsec_...") signs; without one every target is refused, because an unsigned
// webhook can't be told from a forged one.
func New(client *http.Client, secret, version string, now func() time.Time) (*Channel, error) {
	c := &Channel{client: client, userAgent: "DawsOS/" + version, now: now}
	if secret == "" {
		return c, nil
	}
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil { // the library's error holds no part of the secret, but nothing else useful either
		return nil, errors.New("webhook secret: must be whsec_ and base64")
	}
	c.signer = signer
	return c, nil
}

// Name returns "webhook".
func (*Channel) Name() string { return "webhook" }

// Check wants an absolute http or https address without credentials in it, and a secret to sign with.
func (c *Channel) Check(t delivery.Target) error {
	if c.signer == nil {
		return fault.InvalidField("/channels/webhook", "webhooks by address are off: WEBHOOK_SECRET is not set")
	}
	return checkURL("/channels/webhook/url", t.URL)
}

// Endpoint is one for each address.
func (c *Channel) Endpoint(t delivery.Target) delivery.Endpoint {
	sum := sha256.Sum256([]byte(t.URL))
	return delivery.Endpoint{ID: fmt.Sprintf("webhook:%x", sum[:8]), URL: t.URL}
}

// CheckEndpoint wants the same of a destination's address.
func (c *Channel) CheckEndpoint(e delivery.Endpoint) error { return checkURL("/url", e.URL) }

func checkURL(pointer, address string) error {
	if len(address) > maxURL {
		return fault.InvalidField(pointer, "longer than %d characters", maxURL)
	}
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return fault.InvalidField(pointer, "must be an absolute http or https address")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fault.InvalidField(pointer, "must have a port from 1 to 65535, or none")
		}
	}
	if u.User != nil {
		return fault.InvalidField(pointer, "must not hold a user or password")
	}
	return nil
}

// body is what a receiver gets.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // of acceptance, the same on every attempt
	Data      bodyData  `json:"data"`
}

type bodyData struct {
	EventID  string            `json:"event_id"`
	AlertID  string            `json:"alert_id"`
	Title    string            `json:"title"`
	Message  string            `json:"message"`
	Severity delivery.Severity `json:"severity"`
	Data     json.RawMessage   `json:"data"`
}

// Send posts once.
func (c *Channel) Send(ctx context.Context, d delivery.Delivery) delivery.Outcome {
	if c.signer == nil {
		return delivery.Outcome{Cause: delivery.Rejected, Retry: true, Detail: "WEBHOOK_SECRET is not set in this process"}
	}
	req, err := c.request(ctx, d)
	if err != nil {
		return delivery.Outcome{Cause: delivery.Payload, Detail: "encode the message: " + err.Error()}
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return transportFailure(err)
	}
	defer func() { _ = resp.Body.Close() }()
	excerpt, err := readExcerpt(resp.Body)
	if err != nil && resp.StatusCode/100 == 2 {
		// A 2xx says that the receiver took it; it can't take that back by stumbling over its own
		// answer. Sending again would only repeat the message.
		err = nil
	}
	o := classify(resp.StatusCode)
	o.StatusCode, o.Excerpt = resp.StatusCode, excerpt
	if err != nil {
		o.Detail += "; its answer broke off"
	}
	return o
}

func (c *Channel) request(ctx context.Context, d delivery.Delivery) (*http.Request, error) {
	payload, err := json.Marshal(body{
		Type: eventType, Timestamp: d.Event.AcceptedAt,
		Data: bodyData{
			EventID: d.Event.ID.String(), AlertID: d.Event.AlertID, Title: d.Event.Title,
			Message: d.Event.Message, Severity: d.Event.Severity, Data: d.Event.Data,
		},
	})
	if err != nil {
		return nil, err
	}
	at, id := c.now(), d.MessageID()
	signature, err := c.signer.Sign(id, at, payload)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Endpoint.URL, bytes.NewReader(payload))
	if err != nil {
		return nil, outbound.WithoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return req, nil
}

// classify maps a receiver's status. 4xx means that the same request will be refused again,
// except where the status itself says "later".
func classify(status int) delivery.Outcome {
	detail := fmt.Sprintf("the receiver answered %d %s", status, http.StatusText(status))
	switch {
	case status >= 200 && status < 300:
		return delivery.Outcome{}
	case status == http.StatusTooManyRequests:
		return delivery.Outcome{Cause: delivery.HTTP429, Retry: true, Detail: detail}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return delivery.Outcome{Cause: delivery.HTTP4xx, Retry: true, Detail: detail}
	case status >= 400 && status < 500:
		return delivery.Outcome{Cause: delivery.HTTP4xx, Detail: detail}
	case status >= 500:
		return delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true, Detail: detail}
	default: // 1xx and 3xx
		return delivery.Outcome{Cause: delivery.Rejected, Detail: detail + "; redirects are not followed"}
	}
}

// transportFailure maps an exchange without an answer. All but our own refusal can pass.
func transportFailure(err error) delivery.Outcome {
	o := delivery.Outcome{Retry: true, Detail: outbound.WithoutURL(err).Error()}
	switch outbound.Classify(err) {
	case outbound.DNS:
		o.Cause = delivery.DNS
	case outbound.TLS:
		o.Cause = delivery.TLS
	case outbound.Timeout:
		o.Cause = delivery.Timeout
	case outbound.Rejected:
		o.Cause, o.Retry = delivery.Rejected, false
	case outbound.Canceled: // we are being stopped
		o.Cause = delivery.Interrupted
	default:
		o.Cause = delivery.Connect
	}
	return o
}

// readExcerpt returns the beginning of an answer and drains a bounded rest.
func readExcerpt(r io.Reader) (string, error) {
	head, err := io.ReadAll(io.LimitReader(r, maxExcerpt))
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(r, maxDrain))
	}
	return string(head), err
}
