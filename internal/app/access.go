package app

import (
	"context"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/store"
)

// tokenKeysTimeout bounds one reading of the public keys of who issues tokens.
const tokenKeysTimeout = 5 * time.Second

// access returns who tells callers apart, by what the settings let them show, and who makes and ends keys.
// Keys are kept in order where none is taken, too: what is revoked then stays so.
func (p *process) access(db *store.Store) (*auth.Authenticator, *auth.Manager, error) {
	keys := auth.NewStoredKeys(db, time.Now)
	o := auth.Options{Anonymous: auth.Role(p.cfg.AuthAnonymous), Registerer: p.tel.Registry}
	readings := auth.NewReadings(p.tel.Registry)
	if p.cfg.Takes(config.AuthKeys) {
		o.Keys = keys
	}
	if p.cfg.Takes(config.AuthJWT) {
		tokens, err := p.tokens(db, readings)
		if err != nil {
			return nil, nil, err
		}
		o.Tokens = tokens
	}
	return auth.New(o), auth.NewManager(db, keys, time.Now), nil
}

// tokens are the signed tokens that the settings let in. Whether who issues them can be reached is seen when
// the first one comes: the API starts without.
func (p *process) tokens(db *store.Store, readings auth.Readings) (*auth.SignedTokens, error) {
	o := auth.TokenOptions{
		Secret: []byte(p.cfg.AuthJWTSecret), Issuer: p.cfg.AuthIssuer, Audience: p.cfg.AuthAudience, Skew: p.cfg.AuthClockSkew,
		TenantClaim: p.cfg.AuthTenantClaim, RoleClaim: p.cfg.AuthRoleClaim, Tenants: db, Now: time.Now,
	}
	if p.cfg.AuthJWKSURL != "" {
		client := outbound.NewClient(outbound.Options{
			// The address is an operator's, who may have it in a private network.
			Policy: outbound.Policy{AllowPrivate: true}, Timeout: tokenKeysTimeout,
			TracerProvider: p.tel.TracerProvider, Propagator: p.tel.Propagator,
		})
		p.onStop("token keys", func(context.Context) error {
			client.CloseIdleConnections()
			return nil
		})
		o.Keys = auth.NewKeySet(p.cfg.AuthJWKSURL, client, readings, p.tel.Log, time.Now)
	}
	return auth.NewSignedTokens(o)
}
