package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// Class is why an exchange brought no answer.
type Class string

// The closed set of classes.
const (
	DNS      Class = "dns"      // the name does not resolve, or not now
	Connect  Class = "connect"  // refused, reset, unreachable, cut off, or no HTTP on the other side
	TLS      Class = "tls"      // the handshake failed, or the certificate is not trusted
	Timeout  Class = "timeout"  // no answer in the time it had
	Rejected Class = "rejected" // the policy refuses the address; trying again won't help
	Canceled Class = "canceled" // we gave up ourselves: says nothing about the other side
)

// Classify returns the class of an error of a [NewClient] or [NewDialer]. It returns "" for nil.
func Classify(err error) Class {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrRefused):
		return Rejected
	case errors.Is(err, context.Canceled):
		return Canceled
	case isTLS(err):
		return TLS
	case isDNS(err):
		return DNS
	case isTimeout(err):
		return Timeout
	}
	return Connect
}

// Describe says what went wrong in words that can be stored and shown: neither the address that was
// asked for nor one that it resolved to is in them. It returns "" for nil.
func Describe(err error) string {
	switch Classify(err) {
	case "":
		return ""
	case Rejected:
		return WithoutURL(err).Error()
	case Canceled:
		return "given up before there was an answer"
	case DNS:
		if e, ok := errors.AsType[*net.DNSError](err); ok && (e.IsTimeout || e.IsTemporary) && !e.IsNotFound {
			return "the name could not be resolved for now"
		}
		return "the name does not resolve"
	case Timeout:
		return "no answer in time"
	case TLS:
		return describeTLS(err)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error() // "connection refused"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection was closed before there was an answer"
	}
	err = WithoutURL(err)
	for { // their texts begin with both addresses
		e, ok := errors.AsType[*net.OpError](err)
		if !ok {
			break
		}
		err = e.Err
	}
	switch text := err.Error(); {
	case strings.Contains(text, "malformed"): // it quotes what came instead
		return "the server does not speak HTTP here"
	case strings.Contains(text, " tcp "): // net/http hides some errors of the connection, addresses and all
		return "the connection broke before there was an answer"
	default:
		return text
	}
}

func describeTLS(err error) string {
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the server does not speak TLS here"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server does not speak TLS here"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok { // its text lists the names
		return "the server's certificate is for another name"
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the server's certificate is not trusted: " + e.Err.Error()
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return "the TLS handshake failed: " + e.Err.Error()
	}
	return WithoutURL(err).Error()
}

func isDNS(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func isTLS(err error) bool {
	if errors.Is(err, http.ErrSchemeMismatch) { // plain HTTP where TLS was expected
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	// An alert comes as a net.OpError with one of these two operations, and an unexported type.
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return true
	}
	// What else crypto/tls finds wrong has no type at all.
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.HasPrefix(err.Error(), "tls: ") {
			return true
		}
	}
	return false
}
