package config

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// togetherness returns what is wrong with settings that go together.
func (c Config) togetherness(role Role) (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		wrong("TLS_CERT_FILE and TLS_KEY_FILE go together: set both, or none of them")
	}
	if role != API {
		return problems
	}
	jwks, secret := c.AuthJWKSURL != "", c.AuthJWTSecret != ""
	if !c.Takes(AuthJWT) {
		if jwks {
			wrong("AUTH_JWKS_URL is set, and AUTH_METHODS does not name jwt: it must, or AUTH_JWKS_URL must be unset")
		}
		if secret {
			wrong("AUTH_JWT_SECRET is set, and AUTH_METHODS does not name jwt: it must, or AUTH_JWT_SECRET must be unset")
		}
		return problems
	}
	switch {
	case jwks && secret:
		wrong("AUTH_JWKS_URL and AUTH_JWT_SECRET exclude each other: tokens are verified with public keys or with a secret")
	case !jwks && !secret:
		wrong("AUTH_JWKS_URL is not set; with AUTH_METHODS=jwt it must be %s", jwksURL().allowed)
	}
	if jwks && c.AuthIssuer == "" {
		wrong("AUTH_ISSUER is not set; with AUTH_JWKS_URL it must be who issues tokens, as their claim iss says it")
	}
	if jwks && c.AuthAudience == "" {
		wrong("AUTH_AUDIENCE is not set; with AUTH_JWKS_URL it must be what tokens are for, as their claim aud says it")
	}
	return problems
}

// unsafe returns why production does not start: what lets in who should not be, and secrets that are none.
func (c Config) unsafe(role Role) (problems []error) {
	if c.Environment != Production {
		return nil
	}
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.AuthAnonymous != "" {
		wrong("AUTH_ANONYMOUS=%q: callers that show nothing are let in by development alone; it must be unset", c.AuthAnonymous)
	}
	if role != API && role != Worker {
		return problems
	}
	if c.AuthJWTSecret != "" {
		wrong("AUTH_JWT_SECRET is set: who verifies with it can sign with it, which is for development alone; it must be unset, and AUTH_JWKS_URL set")
	}
	if u, err := url.Parse(c.AuthJWKSURL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		wrong("AUTH_JWKS_URL is plain http: who sits between could give keys of their own; it must be https")
	}
	for _, key := range strings.Split(string(c.SecretsKey), ",") {
		if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key)); err == nil && key != "" {
			if why := weakKey(strings.TrimSpace(key), raw); why != "" {
				wrong("SECRETS_KEY=%s: %s; it must be %s", redacted, why, secretsKey().allowed)
				break
			}
		}
	}
	if encoded, ok := strings.CutPrefix(string(c.WebhookSecret), webhookSecretPrefix); ok {
		if raw, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			if why := weakKey(encoded, raw); why != "" {
				wrong("WEBHOOK_SECRET=%s: %s; it must be %s", redacted, why, webhookSecret().allowed)
			}
		}
	}
	if user, password := databaseLogin(string(c.DatabaseURL)); password != "" {
		if why := weakPassword(user, password); why != "" {
			wrong("DATABASE_URL=%s: its password %s; it must be one that nobody guesses", showDatabaseURL(string(c.DatabaseURL)), why)
		}
	}
	if c.SMTP.Password != "" {
		if why := weakPassword(c.SMTP.User, string(c.SMTP.Password)); why != "" {
			wrong("SMTP_URL=%s: its password %s; it must be the mail server's own", redacted, why)
		}
	}
	if host, _, err := net.SplitHostPort(c.APIAddr); err == nil && role == API && c.TLSCertFile == "" && !c.TLSTerminated && !isLoopback(host) {
		wrong("API_ADDR=%q: other machines reach it, and keys and tokens would travel in the clear; set TLS_CERT_FILE and TLS_KEY_FILE, or TLS_TERMINATED=true where a proxy in front ends TLS", c.APIAddr)
	}
	return problems
}

// isLoopback reports whether only this machine reaches a host.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// published are secrets that stand where everybody reads them: in these files, and in the texts of Standard
// Webhooks.
var published = []string{
	"2jVFiwDKRc8kmFvosdO/2hyR1YWjnxSMFhp82Nz7PLU=",
	"c4OxxWzr4i0tuAzimG5w5lEQYV19CXJW9v0BywlQI1s=",
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
	"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	"C2FVsBQIhrscChlQIYrkDZuCVg3eqgJ2",
}

// placeholders are what examples have where a secret goes. In lower case, without - and _, and long enough
// for no random text to hold one.
var placeholders = []string{
	"changeme", "changeit", "changethis", "replaceme", "replacethis", "placeholder", "yourpassword", "yoursecret", "yourkey",
	"password", "passwort", "example", "default", "insecure", "notsecret", "letmein", "qwerty", "fillthisin", "123456",
}

func isPlaceholder(text string) bool {
	text = strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(text))
	return slices.ContainsFunc(placeholders, func(p string) bool { return strings.Contains(text, p) })
}

const (
	leastKeyBytes      = 8 // different ones; 24 random bytes have fewer once in 10^18
	leastPasswordRunes = 4 // different ones
)

// weakKey says what is wrong with bytes that should be random, "" for nothing.
func weakKey(encoded string, raw []byte) string {
	steps := map[byte]bool{}
	for i := 1; i < len(raw); i++ {
		steps[raw[i]-raw[i-1]] = true
	}
	different := 0
	for b := range 256 {
		if bytes.IndexByte(raw, byte(b)) >= 0 {
			different++
		}
	}
	switch {
	case slices.Contains(published, encoded):
		return "this one is published"
	case isPlaceholder(encoded), isPlaceholder(string(raw)):
		return "this is a placeholder"
	case different < leastKeyBytes, len(steps) == 1:
		return "these bytes are not random"
	}
	return ""
}

// obvious are passwords that are tried first.
var obvious = []string{"postgres", "dawsos", "secret", "admin", "root", "test", "demo", "dev", "user", "mail", "smtp"}

// weakPassword says what is wrong with a password, "" for nothing.
func weakPassword(user, password string) string {
	runes := map[rune]bool{}
	for _, r := range password {
		runes[r] = true
	}
	switch {
	case isPlaceholder(password):
		return "is a placeholder"
	case strings.EqualFold(password, user), slices.Contains(obvious, strings.ToLower(password)):
		return "is the first that is tried"
	case len(runes) < leastPasswordRunes:
		return "has too few different characters"
	}
	return ""
}

// databaseLogin returns user and password of a database's address, which may name several hosts and so be no
// valid URL.
func databaseLogin(address string) (user, password string) {
	_, rest, _ := strings.Cut(address, "://")
	rest, query, _ := strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user, password, _ = strings.Cut(rest[:i], ":")
		user, password = unescaped(user), unescaped(password)
	}
	if options, err := url.ParseQuery(query); err == nil && options.Get("password") != "" { // wins, as the driver has it
		password = options.Get("password")
	}
	return user, password
}

func unescaped(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}
