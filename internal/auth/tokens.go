package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/dawsos/dawsos/internal/fault"
)

const (
	// mostTokenBytes bounds what is parsed before anything of it is known to be signed.
	mostTokenBytes = 8 << 10
	// mostSubject is the longest name of a user, in characters; rows take no longer one.
	mostSubject = 200
	mostTenant  = 63 // characters of a tenant's id
	// mostTokenLife is how long a token may be good for. A token can't be taken back, so that one for
	// months would be a key that nobody can revoke.
	mostTokenLife = 24 * time.Hour
	// LeastTokenSecret is the fewest bytes of a secret that signs tokens: as many as SHA-256 gives.
	LeastTokenSecret = 32
)

// Tenants knows which tenants there are.
type Tenants interface {
	HasTenant(ctx context.Context, id string) (bool, error)
}

// TokenOptions say which tokens are taken.
type TokenOptions struct {
	// Keys are the public keys of who issues tokens: RS256 and ES256 are taken. Secret is shared with who
	// issues them: HS256 is taken, for development alone. One of both is set.
	Keys   *KeySet
	Secret []byte

	Issuer   string // claim iss; "" takes any, which is for Secret alone
	Audience string // among the claim aud; "" takes any, which is for Secret alone
	Skew     time.Duration

	TenantClaim, RoleClaim string

	Tenants Tenants
	Now     func() time.Time
}

// SignedTokens are JSON Web Tokens (RFC 7519), kept to the advice of RFC 8725: which algorithms are taken
// follows from how the process was configured and never from the token, and a token is held against keys
// of its algorithm's kind alone.
type SignedTokens struct {
	TokenOptions
	algorithms []jose.SignatureAlgorithm
	tenants    *knownTenants
}

var _ Tokens = (*SignedTokens)(nil)

// NewSignedTokens returns the tokens that options let in.
func NewSignedTokens(o TokenOptions) (*SignedTokens, error) {
	t := &SignedTokens{TokenOptions: o, tenants: &knownTenants{lookup: o.Tenants, now: o.Now, known: map[string]knownTenant{}}}
	switch {
	case (o.Keys == nil) == (len(o.Secret) == 0):
		return nil, errors.New("tokens need public keys or a secret, and not both")
	case o.Keys != nil && (o.Issuer == "" || o.Audience == ""):
		return nil, errors.New("tokens that public keys verify need an issuer and an audience")
	case o.Keys != nil:
		t.algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
	case len(o.Secret) < LeastTokenSecret:
		return nil, errors.New("the secret of tokens is too short")
	default:
		t.algorithms = []jose.SignatureAlgorithm{jose.HS256}
	}
	return t, nil
}

func badToken(format string, args ...any) error {
	return fault.New(fault.Unauthenticated, format, args...)
}

// tokenAlphabet is what a token in the compact form consists of: base64url and dots.
const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

var errNoToken = badToken("this is neither an API key, which begins with %s, nor a signed token", keyPrefix)

// Principal implements [Tokens].
func (t *SignedTokens) Principal(ctx context.Context, token string) (Principal, error) {
	if len(token) > mostTokenBytes {
		return Principal{}, badToken("the token is longer than %d bytes", mostTokenBytes)
	}
	if strings.Count(token, ".") == 4 {
		return Principal{}, badToken("the token is encrypted; it must be signed alone")
	}
	if strings.Trim(token, tokenAlphabet) != "" { // the decoder of the library is patient with new lines
		return Principal{}, errNoToken
	}
	signed, err := jose.ParseSignedCompact(token, t.algorithms)
	if _, alg := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); alg {
		return Principal{}, badToken("the token's algorithm is not one of %s", t.names())
	}
	if err != nil || len(signed.Signatures) != 1 {
		return Principal{}, errNoToken
	}
	header := signed.Signatures[0].Protected
	if err := checkHeader(header); err != nil {
		return Principal{}, err
	}
	key, err := t.key(ctx, header)
	if err != nil {
		return Principal{}, err
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return Principal{}, badToken("the token's signature is wrong")
	}
	var (
		standard jwt.Claims
		all      map[string]any
	)
	// The library's own reader of JSON: names count as they are written, and none may stand twice.
	if json.Unmarshal(payload, &standard) != nil || json.Unmarshal(payload, &all) != nil {
		return Principal{}, badToken("the token's claims can't be read")
	}
	if err := t.checkClaims(standard, t.Now()); err != nil {
		return Principal{}, err
	}
	return t.principal(ctx, standard, all)
}

// checkHeader refuses headers that change what the rest means. Those that bring or point to a key are not
// looked at: whose key it is says the configuration.
func checkHeader(h jose.Header) error {
	for _, name := range []jose.HeaderKey{"crit", "b64", "zip"} {
		if _, ok := h.ExtraHeaders[name]; ok {
			return badToken("the token has the header %s, which is not understood here", name)
		}
	}
	if _, nested := h.ExtraHeaders[jose.HeaderContentType]; nested {
		return badToken("the token has the header cty: tokens within tokens are not taken")
	}
	if typ, ok := h.ExtraHeaders[jose.HeaderType]; ok {
		text, _ := typ.(string)
		switch strings.TrimPrefix(strings.ToLower(text), "application/") {
		case "jwt", "at+jwt": // RFC 9068's
		default: // a logout token, say, which the same keys sign for another purpose
			return badToken("the token's header typ must be JWT or at+jwt")
		}
	}
	return nil
}

// key returns what verifies a token of a header.
func (t *SignedTokens) key(ctx context.Context, h jose.Header) (any, error) {
	if t.Keys == nil {
		return t.Secret, nil
	}
	return t.Keys.key(ctx, h.KeyID, jose.SignatureAlgorithm(h.Algorithm))
}

func (t *SignedTokens) names() string {
	names := make([]string, len(t.algorithms))
	for i, a := range t.algorithms {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}

// checkClaims holds what every token says against what it must say at a time.
func (t *SignedTokens) checkClaims(c jwt.Claims, now time.Time) error {
	switch {
	case t.Issuer != "" && c.Issuer != t.Issuer:
		return badToken("the token's issuer (claim iss) is not the one that is trusted here")
	case t.Audience != "" && !c.Audience.Contains(t.Audience):
		return badToken("the token is for somebody else: its audience (claim aud) does not name this API")
	case c.Expiry == nil:
		return badToken("the token has no expiry (claim exp)")
	case !now.Before(c.Expiry.Time().Add(t.Skew)):
		return badToken("the token expired at %s", c.Expiry.Time().UTC().Format(time.RFC3339))
	case c.NotBefore != nil && now.Add(t.Skew).Before(c.NotBefore.Time()):
		return badToken("the token is not valid before %s (claim nbf)", c.NotBefore.Time().UTC().Format(time.RFC3339))
	case c.IssuedAt != nil && now.Add(t.Skew).Before(c.IssuedAt.Time()):
		return badToken("the token was issued in the future (claim iat), at %s", c.IssuedAt.Time().UTC().Format(time.RFC3339))
	case c.Expiry.Time().After(now.Add(mostTokenLife + t.Skew)),
		c.IssuedAt != nil && c.Expiry.Time().After(c.IssuedAt.Time().Add(mostTokenLife)):
		return badToken("the token is good for more than %d hours (claim exp)", int(mostTokenLife.Hours()))
	}
	return nil
}

// principal makes a caller of a token's claims.
func (t *SignedTokens) principal(ctx context.Context, c jwt.Claims, all map[string]any) (Principal, error) {
	if !isName(c.Subject, mostSubject) {
		return Principal{}, badToken("the token's subject (claim sub) must be 1 to %d printable characters", mostSubject)
	}
	tenant, ok := all[t.TenantClaim].(string)
	if !ok || !isName(tenant, mostTenant) {
		return Principal{}, badToken("the token names no tenant: its claim %s must be the tenant's id", t.TenantClaim)
	}
	role, ok := mightiest(all[t.RoleClaim])
	if !ok {
		return Principal{}, badToken("the token names no role: its claim %s must be one of %s, or a list with one of them", t.RoleClaim, roleNames())
	}
	there, err := t.tenants.has(ctx, tenant)
	if err != nil {
		return Principal{}, err
	}
	if !there {
		return Principal{}, badToken("the token's tenant (claim %s) does not exist", t.TenantClaim)
	}
	return Principal{
		TenantID: tenant, Subject: "user:" + c.Subject, UserID: c.Subject, Role: role, Expires: c.Expiry.Time().UTC(),
	}, nil
}

// isName reports whether a text can stand in rows and in lines of a log.
func isName(s string, most int) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= most &&
		strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// mightiest returns the mightiest role that a claim names, as a text or as one of a list. Others are
// somebody else's roles, of which lists of groups are full.
func mightiest(claim any) (Role, bool) {
	named := map[Role]bool{}
	switch claim := claim.(type) {
	case string:
		named[Role(claim)] = true
	case []any:
		for _, one := range claim {
			if text, ok := one.(string); ok {
				named[Role(text)] = true
			}
		}
	}
	for _, r := range Roles {
		if named[r] {
			return r, true
		}
	}
	return "", false
}

func roleNames() string {
	names := make([]string, len(Roles))
	for i, r := range Roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

const (
	tenantMemory = time.Minute      // for how long it is known that a tenant is there
	absentMemory = 10 * time.Second // for how long that it is not: it may be about to be made
	mostTenants  = 10_000
)

// knownTenants are remembered for a moment, so that not every request asks.
type knownTenants struct {
	lookup Tenants
	now    func() time.Time

	mu    sync.Mutex
	known map[string]knownTenant
}

type knownTenant struct {
	there bool
	until time.Time
}

func (k *knownTenants) has(ctx context.Context, id string) (bool, error) {
	now := k.now()
	k.mu.Lock()
	t, ok := k.known[id]
	k.mu.Unlock()
	if ok && now.Before(t.until) {
		return t.there, nil
	}
	there, err := k.lookup.HasTenant(With(ctx, System(id)), id) // nobody calls yet, and who does not see a tenant finds none
	if err != nil {
		return false, err
	}
	memory := absentMemory
	if there {
		memory = tenantMemory
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= mostTenants { // all of them are asked for again soon anyway
		clear(k.known)
	}
	k.known[id] = knownTenant{there: there, until: now.Add(memory)}
	return there, nil
}

const (
	leastRSABits = 2048
	// mostRSABits bounds what verifying one token costs.
	mostRSABits = 8192
)

// algorithmOf returns the one algorithm that a public key verifies here; false for a key that is none
// of these or too weak.
func algorithmOf(key any) (jose.SignatureAlgorithm, bool) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return jose.RS256, bits >= leastRSABits && bits <= mostRSABits
	case *ecdsa.PublicKey:
		return jose.ES256, key.Curve.Params().Name == "P-256"
	}
	return "", false
}
