// Package webhook delivers over HTTP, signed after the Standard Webhooks specification
// (https://www.standardwebhooks.com): headers webhook-id, webhook-timestamp and
// webhook-signature, the id constant over all attempts, the timestamp that of the attempt.
package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/exchange"
	"github.com/dawsos/dawsos/internal/fault"
)

const (
	// maxURL bounds addresses; longer ones are refused by many servers anyway.
	maxURL = 2048
	// eventType is the body's "type": what kind of event this is.
	eventType = "alert"
)

// Channel implements delivery.Channel.
type Channel struct {
	client    *http.Client
	signer    *standardwebhooks.Webhook // the process's own; nil without a secret
	userAgent string
	now       func() time.Time
}

// New returns the channel. client must be guarded (package outbound) and must not follow
// redirects. secret ("whsec_...") signs what goes to addresses, and to destinations without secrets of
// their own; without one those are refused, because an unsigned webhook can't be told from a forged one.
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

// CheckEndpoint wants the same of a destination's address, secrets that can sign, and headers that a
// request may carry besides its own.
func (c *Channel) CheckEndpoint(e delivery.Endpoint) error {
	if err := checkURL("/url", e.URL); err != nil {
		return err
	}
	if len(e.To) > 0 {
		return fault.InvalidField("/to", "is for destinations of email")
	}
	if len(e.Secrets) == 0 && c.signer == nil {
		return fault.InvalidField("/secrets", "must hold a secret to sign with: WEBHOOK_SECRET is not set")
	}
	if len(e.Secrets) > maxSecrets {
		return fault.InvalidField("/secrets", "at most %d: a new one and those it takes over from", maxSecrets)
	}
	for i, secret := range e.Secrets {
		if err := checkSecret(fmt.Sprintf("/secrets/%d", i), secret); err != nil {
			return err
		}
	}
	return checkHeaders(e.Headers)
}

const (
	// maxSecrets bounds how many secrets sign at the same time.
	maxSecrets   = 5
	secretPrefix = "whsec_"
	// The length of a secret in bytes, as the specification demands.
	leastSecret, mostSecret = 24, 64
)

func checkSecret(pointer, secret string) error {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < leastSecret || len(key) > mostSecret {
		return fault.InvalidField(pointer, "must be %s followed by the base64 of %d to %d random bytes",
			secretPrefix, leastSecret, mostSecret)
	}
	return nil
}

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
	signers, err := c.signers(d.Endpoint)
	if err != nil {
		return delivery.Outcome{Cause: delivery.Rejected, Retry: true, Detail: err.Error()}
	}
	req, err := c.request(ctx, d, signers)
	if err != nil {
		return delivery.Outcome{Cause: delivery.Payload, Detail: "encode the message: " + err.Error()}
	}
	o, _ := exchange.Do(c.client, req, c.now)
	return o
}

// signers returns what signs for an endpoint, its newest secret first.
func (c *Channel) signers(e delivery.Endpoint) ([]*standardwebhooks.Webhook, error) {
	if len(e.Secrets) == 0 {
		if c.signer == nil {
			return nil, errors.New("WEBHOOK_SECRET is not set in this process")
		}
		return []*standardwebhooks.Webhook{c.signer}, nil
	}
	signers := make([]*standardwebhooks.Webhook, len(e.Secrets))
	for i, secret := range e.Secrets {
		signer, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, fmt.Errorf("the destination's secret %d can't sign", i+1)
		}
		signers[i] = signer
	}
	return signers, nil
}

func (c *Channel) request(ctx context.Context, d delivery.Delivery, signers []*standardwebhooks.Webhook) (*http.Request, error) {
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
	// While a secret is being replaced both sign, and a receiver takes whichever it knows.
	signatures := make([]string, len(signers))
	for i, signer := range signers {
		if signatures[i], err = signer.Sign(id, at, payload); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Endpoint.URL, bytes.NewReader(payload))
	if err != nil { // its text quotes the address
		return nil, errors.New("the address can't be read")
	}
	for name, value := range d.Endpoint.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return req, nil
}
