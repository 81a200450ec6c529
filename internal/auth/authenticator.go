package auth

import (
	"context"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dawsos/dawsos/internal/fault"
)

// Keys knows API keys.
type Keys interface {
	// Principal returns whose key it is. It refuses with [fault.Unauthenticated].
	Principal(ctx context.Context, key string) (Principal, error)
}

// Tokens knows signed tokens.
type Tokens interface {
	// Principal returns whom a token is about. It refuses with [fault.Unauthenticated].
	Principal(ctx context.Context, token string) (Principal, error)
}

// Options configure an [Authenticator].
type Options struct {
	Keys   Keys   // nil: keys are refused
	Tokens Tokens // nil: tokens are refused
	// Anonymous is the role of callers that show nothing, in [OperatingTenant]; "" refuses them. It is for
	// development and tests.
	Anonymous  Role
	Registerer prometheus.Registerer
}

// Authenticator tells who calls.
type Authenticator struct {
	Options
	refused *prometheus.CounterVec
}

// Why callers are refused, as the metric's label says it.
const (
	refusedMissing = "missing" // nothing was shown
	refusedKey     = "key"     // the key is unknown, has expired or was revoked
	refusedToken   = "token"   // the token is not signed by whom it should be, has expired, or lacks something
)

// New returns an authenticator.
func New(o Options) *Authenticator {
	a := &Authenticator{Options: o, refused: promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_auth_refused_total",
		Help: "Requests refused because it is not known who calls, by what was shown: nothing (missing), a key, or a token.",
	}, []string{"shown"})}
	for _, shown := range []string{refusedMissing, refusedKey, refusedToken} {
		a.refused.WithLabelValues(shown)
	}
	return a
}

// Authenticate tells who calls by the header Authorization. It refuses with [fault.Unauthenticated], and
// fails otherwise when it can't find out.
func (a *Authenticator) Authenticate(r *http.Request) (Principal, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		if a.Anonymous != "" {
			return Principal{TenantID: OperatingTenant, Role: a.Anonymous}, nil
		}
		a.refused.WithLabelValues(refusedMissing).Inc()
		return Principal{}, fault.New(fault.Unauthenticated, "the request shows no API key and no token: send one as Authorization: Bearer ...")
	}
	scheme, credential, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		a.refused.WithLabelValues(refusedMissing).Inc()
		return Principal{}, fault.New(fault.Unauthenticated, "the header Authorization must be Bearer, and an API key or a token")
	}
	return a.Credential(r.Context(), strings.TrimSpace(credential))
}

// Credential tells whose an API key or a token is.
func (a *Authenticator) Credential(ctx context.Context, credential string) (Principal, error) {
	shown := refusedToken
	var (
		p   Principal
		err error
	)
	switch {
	case IsKey(credential):
		shown = refusedKey
		if a.Keys == nil {
			err = fault.New(fault.Unauthenticated, "API keys are not taken here: show a token")
			break
		}
		p, err = a.Keys.Principal(ctx, credential)
	case a.Tokens == nil:
		err = fault.New(fault.Unauthenticated, "this is no API key, and tokens are not taken here")
	default:
		p, err = a.Tokens.Principal(ctx, credential)
	}
	if fault.CodeOf(err) == fault.Unauthenticated {
		a.refused.WithLabelValues(shown).Inc()
	}
	return p, err
}
