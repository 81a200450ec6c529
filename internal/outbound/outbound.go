// Package outbound is the one way out: the dialer and the HTTP client for every connection to an
// address that somebody typed.
//
// Addresses are checked after the name was resolved, on the very address that is dialed, so a
// name that resolves differently the second time gains nothing. Proxies of the environment are
// not used: they would dial for us, unchecked.
package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	defaultTimeout = 30 * time.Second
	connectTimeout = 5 * time.Second // of TCP and of TLS, each
	idleTimeout    = 60 * time.Second

	maxResponseHeader   = 64 << 10 // bytes
	maxIdlePerHost      = 128
	maxIdle             = 1024
	tlsSessionCacheSize = 256
)

// Options configures a dialer or a client.
type Options struct {
	Policy Policy

	// Timeout bounds one exchange from dialing to the last byte of the answer's body.
	// 0 means 30 s. A request's context may end it earlier.
	Timeout time.Duration

	// TLS is the configuration to start from; nil means the system's roots. Its minimum
	// version is raised to TLS 1.2.
	TLS *tls.Config

	TracerProvider trace.TracerProvider          // nil means the process's default
	Propagator     propagation.TextMapPropagator // nil means the process's default
}

// NewDialer returns a dialer that refuses what the policy refuses.
func NewDialer(o Options) *net.Dialer {
	return &net.Dialer{
		Timeout: connectTimeout,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			return checkAddress(o.Policy, network, address)
		},
	}
}

// checkAddress is called with the address about to be connected to, after resolution.
func checkAddress(p Policy, network, address string) error {
	if network != "tcp4" && network != "tcp6" {
		return &RefusedError{Network: NotIP}
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &RefusedError{Network: NotIP}
	}
	return p.Check(ap.Addr())
}

// NewClient returns a client that goes through a guarded dialer. It never follows a redirect, the
// 3xx is the answer: a receiver that sends us on would see to it that signatures and headers meant
// for one host reach another.
//
// Each exchange is a client span and carries its traceparent. Paths and queries, which hold
// tokens as often as not, stay out of the span; [WithoutURL] keeps them out of errors. Answers are not
// decompressed, so that reading n bytes costs n bytes; how many to read is the caller's to bound.
func NewClient(o Options) *http.Client {
	timeout := cmp.Or(o.Timeout, defaultTimeout)
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		tlsConfig = o.TLS.Clone()
		tlsConfig.MinVersion = max(tlsConfig.MinVersion, tls.VersionTLS12)
	}
	tlsConfig.ClientSessionCache = tls.NewLRUClientSessionCache(tlsSessionCacheSize)

	transport := &http.Transport{
		Proxy:                  nil,
		DialContext:            NewDialer(o).DialContext,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    connectTimeout,
		ForceAttemptHTTP2:      true, // a dialer of one's own turns it off otherwise
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
		ResponseHeaderTimeout:  timeout,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
	}
	tracerProvider, propagator := o.TracerProvider, o.Propagator
	if tracerProvider == nil {
		tracerProvider = otel.GetTracerProvider()
	}
	if propagator == nil {
		propagator = otel.GetTextMapPropagator()
	}
	return &http.Client{
		Transport: &traced{
			Transport: transport, tracer: tracerProvider.Tracer(tracerName), propagator: propagator,
		},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// WithoutURL returns err without what http.Client and the dialer put around it: neither the URL, which
// may hold a token, nor the address that a refused name resolved to. The text of the result can
// be stored and shown.
func WithoutURL(err error) error {
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
