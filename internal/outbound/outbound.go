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
	defaultAnswer  = 80 << 20        // bytes
	connectTimeout = 5 * time.Second // of TCP and of TLS, each
	idleTimeout    = 60 * time.Second

	maxResponseHeader   = 64 << 10 // bytes
	maxIdlePerHost      = 128
	maxIdle             = 1024
	tlsSessionCacheSize = 256
)

// ErrTooLarge is what reading an answer ends with that has more bytes than it may.
var ErrTooLarge = errors.New("the answer is too large")

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

	// MaxAnswer bounds the body of an answer, in bytes: reading on is [ErrTooLarge]. It stands behind
	// what callers bound themselves. 0 means 80 MiB, which is above all of those.
	MaxAnswer int64

	resolver *net.Resolver // of tests; nil means the system's
}

// Dialer is a dialer that refuses what its policy refuses.
type Dialer struct {
	dialer net.Dialer
	policy Policy
}

// NewDialer returns a dialer that goes by o's policy.
func NewDialer(o Options) *Dialer {
	d := &Dialer{policy: o.Policy}
	d.dialer = net.Dialer{Timeout: connectTimeout, Resolver: o.resolver, ControlContext: d.control}
	return d
}

// byRange marks the context of a dial whose host is not in the allow-list by name: the address that it
// comes to must be.
type byRange struct{}

// DialContext connects to address. The name is matched against the allow-list before it is resolved, so
// that one that can't be allowed is not even looked up; each address that it resolves to is checked on
// its way to connect(2), so that nothing comes between the check and the use.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if allow := d.policy.Allow; !allow.Empty() {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, &RefusedError{Network: NotIP}
		}
		if !allow.names(host) {
			if len(allow.prefixes) == 0 {
				return nil, d.policy.unlisted(netip.Addr{})
			}
			ctx = context.WithValue(ctx, byRange{}, true)
		}
	}
	return d.dialer.DialContext(ctx, network, address)
}

// control is called with the address about to be connected to, after resolution.
func (d *Dialer) control(ctx context.Context, network, address string, _ syscall.RawConn) error {
	return d.policy.checkAddress(network, address, ctx.Value(byRange{}) != nil)
}

func (p Policy) checkAddress(network, address string, listed bool) error {
	if network != "tcp4" && network != "tcp6" {
		return &RefusedError{Network: NotIP}
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &RefusedError{Network: NotIP}
	}
	if err := p.Check(ap.Addr()); err != nil {
		return err
	}
	if listed && !p.Allow.contains(ap.Addr()) {
		return p.unlisted(ap.Addr())
	}
	return nil
}

func (p Policy) unlisted(addr netip.Addr) error {
	return &RefusedError{Addr: addr, Unlisted: true, Setting: p.AllowSetting}
}

// NewClient returns a client that goes through a guarded dialer. It never follows a redirect, the
// 3xx is the answer: a receiver that sends us on would see to it that signatures and headers meant
// for one host reach another.
//
// Each exchange is a client span and carries its traceparent. Paths and queries, which hold
// tokens as often as not, stay out of the span; [WithoutURL] keeps them out of errors. Answers are not
// decompressed, so that reading n bytes costs n bytes. Callers bound how many they read by what they
// expect; MaxAnswer bounds those that forget to.
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
			maxAnswer: cmp.Or(o.MaxAnswer, defaultAnswer),
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
