// Package exchange turns what came of an exchange with a receiver into an outcome. It is what the
// channels that go over a network have in common.
package exchange

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/outbound"
)

const (
	// maxExcerpt is how much of the receiver's answer is kept, in bytes.
	maxExcerpt = 1024
	// maxBody is how much of an answer is read, in bytes: enough to understand what services answer,
	// and to use the connection again.
	maxBody = 64 << 10
)

// Do makes one exchange and judges it by its status. The answer's body is returned up to 64 KiB. Of
// hidden, and of the request's address and credentials, nothing shows in the outcome, however
// faithfully the receiver quotes them. A Retry-After that names a date counts from now.
func Do(client *http.Client, req *http.Request, now func() time.Time, hidden ...string) (delivery.Outcome, []byte) {
	resp, err := client.Do(req) //nolint:gosec // where it may go is for the guarded client to say
	if err != nil {
		return Failure(err), nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))

	o := classify(resp.StatusCode)
	o.StatusCode = resp.StatusCode
	o.Excerpt = Excerpt(body, append(secretsOf(req), hidden...))
	if o.Retry {
		o.RetryAfter = RetryAfter(resp.Header.Get("Retry-After"), now())
	}
	// A 2xx says that the receiver took it; it can't take that back by stumbling over its own answer.
	// Sending again would only repeat the message.
	if err != nil && !o.Delivered() {
		o.Detail += "; its answer broke off"
	}
	return o, body
}

// classify maps a receiver's status. 4xx means that the same request will be refused again, except
// where the status itself says "later".
func classify(status int) delivery.Outcome {
	detail := strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", status, http.StatusText(status)))
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

// Failure maps an exchange without an answer. All but our own refusal can pass.
func Failure(err error) delivery.Outcome {
	o := delivery.Outcome{Retry: true, Detail: outbound.Describe(err)}
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

// Excerpt returns the beginning of a receiver's answer without the secrets that stand in it.
func Excerpt(answer []byte, secrets []string) string {
	// Masked as a whole before it is cut: half a secret would not be recognized.
	s := outbound.Mask(string(answer[:min(len(answer), maxBody)]), secrets...)
	return strings.ToValidUTF8(s[:min(len(s), maxExcerpt)], "")
}

// public are the headers of a request that hold no secret.
var public = map[string]bool{
	"Content-Type": true, "User-Agent": true, "Accept": true, "Idempotency-Key": true,
	"Webhook-Id": true, "Webhook-Timestamp": true,
}

// secretsOf returns what of a request its receiver knows and nobody else should: where it goes below
// the host, and what authenticates it.
func secretsOf(req *http.Request) []string {
	secrets := SecretsOf(req.URL)
	for name, values := range req.Header {
		if public[name] {
			continue
		}
		for _, v := range values {
			secrets = append(secrets, secretsIn(v)...)
		}
	}
	return secrets
}

// secretsIn returns what of a header's value may be a secret: whole, between spaces ("Bearer TOKEN"), as the
// values of its parts ("session=TOKEN; theme=dark"), and of Basic credentials what they were made of.
func secretsIn(value string) []string {
	secrets := append([]string{value}, strings.Fields(value)...)
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t;,", r) }) {
		_, of, _ := strings.Cut(part, "=")
		secrets = append(secrets, part, strings.Trim(of, `"`))
	}
	if scheme, encoded, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "basic") {
		if credentials, err := base64.RawStdEncoding.DecodeString(strings.Trim(encoded, " =")); err == nil {
			user, password, _ := strings.Cut(string(credentials), ":")
			secrets = append(secrets, string(credentials), user, password)
		}
	}
	return secrets
}

// SecretsOf returns the parts of an address that may hold a token: whole and in pieces, as it is
// written and as it is meant.
func SecretsOf(u *url.URL) []string {
	secrets := []string{u.String(), u.RequestURI(), u.RawQuery, u.Fragment}
	for _, path := range []string{u.Path, u.EscapedPath()} {
		secrets = append(secrets, path)
		secrets = append(secrets, strings.Split(path, "/")...)
	}
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		_, value, _ := strings.Cut(pair, "=")
		secrets = append(secrets, value)
	}
	for _, values := range u.Query() {
		secrets = append(secrets, values...)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		secrets = append(secrets, u.User.Username(), password, u.User.String())
	}
	return secrets
}

// maxRetryAfter bounds what a receiver can ask for, in front of arithmetic that would overflow. What
// is done about it is decided elsewhere.
const maxRetryAfter = 365 * 24 * time.Hour

// RetryAfter reads the header of that name (RFC 9110): seconds, with a fraction as some services
// send them, or a date. It returns 0 for what is neither, and for what has passed.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	d, err := seconds(value)
	if err != nil {
		at, err := http.ParseTime(value)
		if err != nil {
			return 0
		}
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// seconds reads a decimal number of seconds and rounds it up to a whole one.
func seconds(s string) (time.Duration, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, errors.New("not a number of seconds")
	}
	whole = strings.TrimLeft(whole, "0")
	if len(whole) > 9 { // some thirty years
		return maxRetryAfter, nil
	}
	n := 0
	for _, digit := range whole {
		n = 10*n + int(digit-'0')
	}
	if strings.Trim(fraction, "0") != "" {
		n++
	}
	return time.Duration(n) * time.Second, nil
}
