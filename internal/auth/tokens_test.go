package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
)

const (
	testIssuer   = "https://login.example.org/"
	testAudience = "dawsos"
)

var testNow = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// signers are made once: RSA keys take their time.
var signers = sync.OnceValue(func() (s struct {
	rsa, otherRSA, weakRSA *rsa.PrivateKey
	ec, otherEC, ec384     *ecdsa.PrivateKey
},
) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	s.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	s.otherRSA, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	s.weakRSA, err = rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	s.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	s.otherEC, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	s.ec384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	return s
})

// tenants are those that exist; every question is counted.
type tenants struct {
	mu    sync.Mutex
	there map[string]bool
	asked int
	err   error
}

func (l *tenants) HasTenant(_ context.Context, id string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return l.there[id], l.err
}

// provider is who issues tokens: it serves the public keys that it has at the moment.
type provider struct {
	*httptest.Server
	mu     sync.Mutex
	body   []byte
	status int
	asked  int
}

func newProvider(t testing.TB, keys ...jose.JSONWebKey) *provider {
	t.Helper()
	p := &provider{status: http.StatusOK}
	p.serve(t, keys...)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		w.WriteHeader(p.status)
		_, _ = w.Write(p.body)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) serve(t testing.TB, keys ...jose.JSONWebKey) {
	t.Helper()
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	require.NoError(t, err)
	p.answer(http.StatusOK, body)
}

func (p *provider) answer(status int, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.body = status, body
}

func (p *provider) questions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// clock is a time that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func public(key any, id string) jose.JSONWebKey { return jose.JSONWebKey{Key: key, KeyID: id} }

// claims of a token that is good, with changes; nil takes a claim away.
func claims(changes map[string]any) map[string]any {
	all := map[string]any{
		"iss": testIssuer, "aud": testAudience, "sub": "ada", "tenant": "default", "role": "analyst",
		"iat": testNow.Add(-time.Minute).Unix(), "exp": testNow.Add(time.Hour).Unix(),
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

func part(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// sign makes a token by hand: no library stands between a test and what an attacker may write.
func sign(t testing.TB, key any, header, payload map[string]any) string {
	t.Helper()
	return signRaw(t, key, part(t, header)+"."+part(t, payload))
}

func signRaw(t testing.TB, key any, input string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	var signature []byte
	switch key := key.(type) {
	case *rsa.PrivateKey:
		var err error
		signature, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		require.NoError(t, err)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		require.NoError(t, err)
		size := (key.Curve.Params().BitSize + 7) / 8
		signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	case []byte:
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		signature = mac.Sum(nil)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func header(alg, kid string, changes ...any) map[string]any {
	h := map[string]any{"alg": alg, "typ": "JWT"}
	if kid != "" {
		h["kid"] = kid
	}
	for i := 0; i < len(changes); i += 2 {
		h[changes[i].(string)] = changes[i+1]
	}
	return h
}

type tokenBundle struct {
	clock    *clock
	provider *provider
	tenants  *tenants
	readings Readings
	keys     *KeySet
}

func setupTokens(t testing.TB, keys ...jose.JSONWebKey) (*SignedTokens, *tokenBundle) {
	t.Helper()
	b := &tokenBundle{clock: &clock{now: testNow}, provider: newProvider(t, keys...), tenants: &tenants{there: map[string]bool{"default": true, "other": true}}, readings: NewReadings(prometheus.NewRegistry())}
	b.keys = NewKeySet(b.provider.URL, b.provider.Client(), b.readings, quiet(), b.clock.Now)
	tokens, err := NewSignedTokens(TokenOptions{
		Keys: b.keys, Issuer: testIssuer, Audience: testAudience, Skew: time.Minute,
		TenantClaim: "tenant", RoleClaim: "role", Tenants: b.tenants, Now: b.clock.Now,
	})
	require.NoError(t, err)
	return tokens, b
}

func setupKeys(t testing.TB) (*SignedTokens, *tokenBundle) {
	t.Helper()
	s := signers()
	return setupTokens(t, public(&s.rsa.PublicKey, "rsa"), public(&s.ec.PublicKey, "ec"))
}

func TestTokensAreTaken(t *testing.T) {
	t.Parallel()
	tokens, _ := setupKeys(t)
	s := signers()
	want := Principal{TenantID: "default", Subject: "user:ada", UserID: "ada", Role: Analyst, Expires: testNow.Add(time.Hour)}
	admin := want
	admin.Role = Admin
	for name, c := range map[string]struct {
		token string
		want  Principal
	}{
		"RS256":                   {sign(t, s.rsa, header("RS256", "rsa"), claims(nil)), want},
		"ES256":                   {sign(t, s.ec, header("ES256", "ec"), claims(nil)), want},
		"without a key's id":      {sign(t, s.ec, header("ES256", ""), claims(nil)), want},
		"an access token":         {sign(t, s.ec, header("ES256", "ec", "typ", "application/at+JWT"), claims(nil)), want},
		"several audiences":       {sign(t, s.ec, header("ES256", "ec"), claims(map[string]any{"aud": []string{"a", testAudience, "b"}})), want},
		"the mightiest role":      {sign(t, s.ec, header("ES256", "ec"), claims(map[string]any{"role": []any{"staff", "read-only", 7, "admin", "analyst"}})), admin},
		"just within the skew":    {sign(t, s.ec, header("ES256", "ec"), claims(map[string]any{"nbf": testNow.Add(time.Minute).Unix(), "iat": testNow.Add(time.Minute).Unix()})), want},
		"claims that say nothing": {sign(t, s.ec, header("ES256", "ec"), claims(map[string]any{"jti": "1", "scope": "x", "realm": map[string]any{"tenant": "other"}})), want},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tokens.Principal(t.Context(), c.token)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}

	expired := claims(map[string]any{"exp": testNow.Add(-time.Minute + time.Second).Unix()})
	got, err := tokens.Principal(t.Context(), sign(t, s.rsa, header("RS256", "rsa"), expired))
	require.NoError(t, err, "expired, within the skew")
	require.Equal(t, testNow.Add(-time.Minute+time.Second), got.Expires)
}

// TestTokensAreRefused is a table of attacks, and of mistakes that the answer should explain.
func TestTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := signers()
	secret := []byte("a secret of a provider, 32 bytes")
	tokens, _ := setupTokens(t,
		public(&s.rsa.PublicKey, "rsa"), public(&s.ec.PublicKey, "ec"), public(&s.ec.PublicKey, "shared"),
		public(secret, "oct"), public(&s.weakRSA.PublicKey, "weak"), public(&s.ec384.PublicKey, "p384"),
		jose.JSONWebKey{Key: &s.rsa.PublicKey, KeyID: "encrypts", Use: "enc"}, jose.JSONWebKey{Key: &s.rsa.PublicKey, KeyID: "pss", Algorithm: "PS256"},
		public(s.otherRSA, "private"))
	der, err := x509.MarshalPKIXPublicKey(&s.rsa.PublicKey)
	require.NoError(t, err)
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	modulus := s.rsa.N.Bytes()
	good := sign(t, s.rsa, header("RS256", "rsa"), claims(nil))
	_, err = tokens.Principal(t.Context(), good)
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	es := func(changes map[string]any) string { return sign(t, s.ec, header("ES256", "ec"), claims(changes)) }
	encrypted, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: &s.rsa.PublicKey, KeyID: "rsa"},
		(&jose.EncrypterOptions{}).WithContentType("JWT"))
	require.NoError(t, err)
	box, err := encrypted.Encrypt([]byte(good))
	require.NoError(t, err)
	jwe, err := box.CompactSerialize()
	require.NoError(t, err)

	for name, c := range map[string]struct{ token, want string }{
		"nothing":                      {"", "neither an API key"},
		"no token":                     {"hello", "neither an API key"},
		"dots":                         {"..", "algorithm is not one of"},
		"no signature":                 {parts[0] + "." + parts[1] + ".", "signature is wrong"},
		"two parts":                    {parts[0] + "." + parts[1], "neither an API key"},
		"four parts":                   {good + ".x", "neither an API key"},
		"JSON serialization":           {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "neither an API key"},
		"too long":                     {good + strings.Repeat("A", mostTokenBytes), "longer than 8192 bytes"},
		"another's payload":            {parts[0] + "." + part(t, claims(map[string]any{"role": "admin"})) + "." + parts[2], "signature is wrong"},
		"another's header":             {part(t, header("RS256", "rsa", "x", 1)) + "." + parts[1] + "." + parts[2], "signature is wrong"},
		"signature of something else":  {parts[0] + "." + parts[1] + "." + strings.Split(es(nil), ".")[2], "signature is wrong"},
		"another's key":                {sign(t, s.otherRSA, header("RS256", "rsa"), claims(nil)), "signature is wrong"},
		"another's curve point":        {sign(t, s.otherEC, header("ES256", "ec"), claims(nil)), "signature is wrong"},
		"ECDSA of zeros":               {strings.Join([]string{part(t, header("ES256", "ec")), part(t, claims(nil)), base64.RawURLEncoding.EncodeToString(make([]byte, 64))}, "."), "signature is wrong"},
		"none":                         {part(t, header("none", "rsa")) + "." + part(t, claims(nil)) + ".", "algorithm is not one of RS256, ES256"},
		"None":                         {part(t, header("nOnE", "rsa")) + "." + part(t, claims(nil)) + ".", "algorithm is not one of"},
		"none, signed":                 {sign(t, s.rsa, header("none", "rsa"), claims(nil)), "algorithm is not one of"},
		"no algorithm":                 {sign(t, s.rsa, map[string]any{"kid": "rsa"}, claims(nil)), "algorithm is not one of"},
		"HS256 with the public PEM":    {sign(t, publicPEM, header("HS256", "rsa"), claims(nil)), "algorithm is not one of"},
		"HS256 with the public DER":    {sign(t, der, header("HS256", "rsa"), claims(nil)), "algorithm is not one of"},
		"HS256 with the modulus":       {sign(t, modulus, header("HS256", "rsa"), claims(nil)), "algorithm is not one of"},
		"HS256 with nothing":           {sign(t, []byte{}, header("HS256", "rsa"), claims(nil)), "algorithm is not one of"},
		"HS256 with a key of the set":  {sign(t, secret, header("HS256", "oct"), claims(nil)), "algorithm is not one of"},
		"RS256 by a symmetric key":     {sign(t, secret, header("RS256", "oct"), claims(nil)), "is not known"},
		"RS256 by HMAC of the PEM":     {sign(t, publicPEM, header("RS256", "rsa"), claims(nil)), "signature is wrong"},
		"RS512":                        {sign(t, s.rsa, header("RS512", "rsa"), claims(nil)), "algorithm is not one of"},
		"PS256":                        {sign(t, s.rsa, header("PS256", "rsa"), claims(nil)), "algorithm is not one of"},
		"ES256 by the RSA key":         {sign(t, s.rsa, header("ES256", "rsa"), claims(nil)), "is not known"},
		"RS256 by the EC key":          {sign(t, s.ec, header("RS256", "ec"), claims(nil)), "is not known"},
		"a weak RSA key":               {sign(t, s.weakRSA, header("RS256", "weak"), claims(nil)), "is not known"},
		"another curve":                {sign(t, s.ec384, header("ES256", "p384"), claims(nil)), "is not known"},
		"a key to encrypt":             {sign(t, s.rsa, header("RS256", "encrypts"), claims(nil)), "is not known"},
		"a key of another algorithm":   {sign(t, s.rsa, header("RS256", "pss"), claims(nil)), "is not known"},
		"a private key in the set":     {sign(t, s.otherRSA, header("RS256", "private"), claims(nil)), "is not known"},
		"an unknown key":               {sign(t, s.rsa, header("RS256", "../rsa"), claims(nil)), "is not known"},
		"no key's id among two":        {sign(t, s.ec, header("ES256", ""), claims(nil)), "is not known"},
		"a key of its own":             {sign(t, s.otherEC, header("ES256", "", "jwk", public(&s.otherEC.PublicKey, "mine")), claims(nil)), "is not known"},
		"a key of its own, a known id": {sign(t, s.otherEC, header("ES256", "ec", "jwk", public(&s.otherEC.PublicKey, "ec")), claims(nil)), "signature is wrong"},
		"keys of its own elsewhere":    {sign(t, s.otherEC, header("ES256", "mine", "jku", "http://attacker.example/keys"), claims(nil)), "is not known"},
		"crit":                         {sign(t, s.ec, header("ES256", "ec", "crit", []string{"exp"}), claims(nil)), "header crit"},
		"crit, b64":                    {sign(t, s.ec, header("ES256", "ec", "crit", []string{"b64"}, "b64", true), claims(nil)), "header"},
		"b64":                          {signRaw(t, s.ec, part(t, header("ES256", "ec", "b64", false))+"."+part(t, claims(nil))), "header b64"},
		"crit of nothing":              {sign(t, s.ec, header("ES256", "ec", "crit", []string{}), claims(nil)), "header crit"},
		"nested":                       {sign(t, s.ec, header("ES256", "ec", "cty", "JWT"), claims(nil)), "tokens within tokens"},
		"encrypted":                    {jwe, "the token is encrypted"},
		"another kind of token":        {sign(t, s.ec, header("ES256", "ec", "typ", "logout+jwt"), claims(nil)), "typ must be"},
		"a kind that is no text":       {sign(t, s.ec, header("ES256", "ec", "typ", 1), claims(nil)), "typ must be"},
		"claims twice":                 {signRaw(t, s.ec, part(t, header("ES256", "ec"))+"."+base64.RawURLEncoding.EncodeToString([]byte(`{"role":"analyst","role":"admin"}`))), "can't be read"},
		"claims that are a list":       {signRaw(t, s.ec, part(t, header("ES256", "ec"))+"."+part(t, []any{claims(nil)})), "can't be read"},
		"claims that are null":         {signRaw(t, s.ec, part(t, header("ES256", "ec"))+"."+part(t, nil)), "issuer"},
		"no issuer":                    {es(map[string]any{"iss": nil}), "issuer (claim iss)"},
		"another issuer":               {es(map[string]any{"iss": testIssuer + "x"}), "issuer (claim iss)"},
		"an issuer in other case":      {signRaw(t, s.ec, part(t, header("ES256", "ec"))+"."+part(t, claims(map[string]any{"iss": nil, "ISS": testIssuer}))), "issuer (claim iss)"},
		"no audience":                  {es(map[string]any{"aud": nil}), "claim aud"},
		"another audience":             {es(map[string]any{"aud": []string{"dawsos2"}}), "claim aud"},
		"no expiry":                    {es(map[string]any{"exp": nil}), "claim exp"},
		"an expiry that is a text":     {es(map[string]any{"exp": "tomorrow"}), "can't be read"},
		"expired":                      {es(map[string]any{"exp": testNow.Add(-time.Minute).Unix()}), "expired at 2026-03-02T11:59:00Z"},
		"before the epoch":             {es(map[string]any{"exp": -1e12}), "expired"},
		"not yet":                      {es(map[string]any{"nbf": testNow.Add(time.Minute + time.Second).Unix()}), "not valid before 2026-03-02T12:01:01Z"},
		"not for ages":                 {es(map[string]any{"nbf": 9e18}), "can't be read"},
		"issued in the future":         {es(map[string]any{"iat": testNow.Add(time.Minute + time.Second).Unix()}), "claim iat"},
		"for years":                    {es(map[string]any{"exp": testNow.AddDate(1, 0, 0).Unix()}), "more than 24 hours"},
		"for ever":                     {es(map[string]any{"exp": 4e18}), "more than 24 hours"},
		"the end of a long life":       {es(map[string]any{"iat": testNow.Add(-24 * time.Hour).Unix()}), "more than 24 hours"},
		"for years, without iat":       {es(map[string]any{"iat": nil, "exp": testNow.Add(25 * time.Hour).Unix()}), "more than 24 hours"},
		"no subject":                   {es(map[string]any{"sub": nil}), "claim sub"},
		"a subject of spaces":          {es(map[string]any{"sub": " "}), "claim sub"},
		"a long subject":               {es(map[string]any{"sub": strings.Repeat("ä", 201)}), "claim sub"},
		"a subject of two lines":       {es(map[string]any{"sub": "ada\nuser:eve"}), "claim sub"},
		"a subject that turns":         {es(map[string]any{"sub": "ada\u202eeve"}), "claim sub"},
		"no tenant":                    {es(map[string]any{"tenant": nil}), "claim tenant"},
		"two tenants":                  {es(map[string]any{"tenant": []string{"default", "other"}}), "claim tenant"},
		"an unknown tenant":            {es(map[string]any{"tenant": "nobody"}), "tenant (claim tenant) does not exist"},
		"no role":                      {es(map[string]any{"role": nil}), "claim role"},
		"an unknown role":              {es(map[string]any{"role": "root"}), "claim role"},
		"a role in capitals":           {es(map[string]any{"role": "Admin"}), "claim role"},
		"unknown roles":                {es(map[string]any{"role": []string{"root", "admin "}}), "claim role"},
		"a role within":                {es(map[string]any{"role": map[string]any{"admin": true}}), "claim role"},
		"nobody":                       {es(map[string]any{"role": []string{}}), "claim role"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := tokens.Principal(t.Context(), c.token)
			require.Equal(t, fault.Unauthenticated, fault.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, Principal{}, p)
			for _, piece := range strings.Split(c.token, ".") {
				if len(piece) > 8 {
					require.NotContains(t, err.Error(), piece, "no token is repeated")
				}
			}
		})
	}
}

// TestSharedSecret: with a secret HS256 alone is taken, and it is held against the secret alone.
func TestSharedSecret(t *testing.T) {
	t.Parallel()
	s := signers()
	secret := []byte("0123456789abcdef0123456789abcdef")
	o := TokenOptions{
		Secret: secret, Skew: time.Minute, TenantClaim: "https://dawsos/tenant", RoleClaim: "groups",
		Tenants: &tenants{there: map[string]bool{"other": true}}, Now: func() time.Time { return testNow },
	}
	tokens, err := NewSignedTokens(o)
	require.NoError(t, err)
	mine := claims(map[string]any{"iss": nil, "aud": nil, "https://dawsos/tenant": "other", "groups": "operator"})
	p, err := tokens.Principal(t.Context(), sign(t, secret, header("HS256", ""), mine))
	require.NoError(t, err)
	require.Equal(t, Principal{TenantID: "other", Subject: "user:ada", UserID: "ada", Role: Operator, Expires: testNow.Add(time.Hour)}, p)
	for name, c := range map[string]struct{ token, want string }{
		"another secret":     {sign(t, append([]byte("x"), secret...), header("HS256", ""), mine), "signature is wrong"},
		"no secret":          {sign(t, []byte{}, header("HS256", ""), mine), "signature is wrong"},
		"HS512":              {sign(t, secret, header("HS512", ""), mine), "not one of HS256"},
		"RS256":              {sign(t, s.rsa, header("RS256", ""), mine), "not one of HS256"},
		"none":               {part(t, header("none", "")) + "." + part(t, mine) + ".", "not one of HS256"},
		"the default claims": {sign(t, secret, header("HS256", ""), claims(map[string]any{"iss": nil})), "claim https://dawsos/tenant"},
	} {
		_, err := tokens.Principal(t.Context(), c.token)
		require.Equal(t, fault.Unauthenticated, fault.CodeOf(err), name)
		require.ErrorContains(t, err, c.want, name)
	}

	short := o
	short.Secret = secret[:31]
	_, err = NewSignedTokens(short)
	require.ErrorContains(t, err, "too short")
	both := o
	both.Keys = NewKeySet("http://127.0.0.1:1", http.DefaultClient, NewReadings(prometheus.NewRegistry()), quiet(), time.Now)
	_, err = NewSignedTokens(both)
	require.ErrorContains(t, err, "not both")
	both.Secret = nil
	_, err = NewSignedTokens(both)
	require.ErrorContains(t, err, "need an issuer and an audience")
	_, err = NewSignedTokens(TokenOptions{})
	require.ErrorContains(t, err, "need public keys or a secret")
}

// TestTenantsAreRemembered for a moment, those that are there longer than those that are not.
func TestTenantsAreRemembered(t *testing.T) {
	t.Parallel()
	tokens, b := setupKeys(t)
	s := signers()
	ask := func(tenant string) error {
		_, err := tokens.Principal(t.Context(), sign(t, s.ec, header("ES256", "ec"), claims(map[string]any{"tenant": tenant, "exp": b.clock.Now().Add(time.Hour).Unix(), "iat": nil})))
		return err
	}
	require.NoError(t, ask("default"))
	require.NoError(t, ask("default"))
	require.Equal(t, 1, b.tenants.asked)
	require.ErrorContains(t, ask("new"), "does not exist")
	b.tenants.there = map[string]bool{"new": true}
	require.ErrorContains(t, ask("new"), "does not exist")
	require.Equal(t, 2, b.tenants.asked)
	b.clock.add(absentMemory)
	require.NoError(t, ask("new"))
	require.NoError(t, ask("default"), "still remembered")
	b.clock.add(tenantMemory)
	require.ErrorContains(t, ask("default"), "does not exist")
	b.clock.add(absentMemory)
	b.tenants.err = errors.New("the database is away")
	require.ErrorIs(t, ask("default"), b.tenants.err, "not known is not refused")
}

// TestAuthenticatorTellsTokensFromKeys, and counts what it refuses.
func TestAuthenticatorTellsTokensFromKeys(t *testing.T) {
	t.Parallel()
	tokens, _ := setupKeys(t)
	reg := prometheus.NewRegistry()
	a := New(Options{Tokens: tokens, Registerer: reg})
	ask := func(credential string) (Principal, error) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.Header.Set("Authorization", credential)
		return a.Authenticate(r)
	}
	p, err := ask("bearer " + sign(t, signers().ec, header("ES256", "ec"), claims(nil)))
	require.NoError(t, err)
	require.Equal(t, "user:ada", p.Subject)
	key, _, _ := NewKey()
	_, err = ask("Bearer " + key)
	require.ErrorContains(t, err, "API keys are not taken here")
	require.Equal(t, fault.Unauthenticated, fault.CodeOf(err))
	_, err = ask("Bearer " + sign(t, signers().otherEC, header("ES256", "ec"), claims(nil)))
	require.ErrorContains(t, err, "signature is wrong")
	require.InDelta(t, 1, testutil.ToFloat64(a.refused.WithLabelValues(refusedKey)), 0)
	require.InDelta(t, 1, testutil.ToFloat64(a.refused.WithLabelValues(refusedToken)), 0)
}

// FuzzToken: whatever is sent, it never panics, and none comes in but the one that was signed.
func FuzzToken(f *testing.F) {
	tokens, _ := setupKeys(f)
	s := signers()
	good := []string{
		sign(f, s.rsa, header("RS256", "rsa"), claims(nil)),
		sign(f, s.ec, header("ES256", "ec"), claims(map[string]any{"role": []string{"admin"}})),
	}
	// What was signed is what header and payload say; base64 has more ways than one to write the last bits.
	said := func(t testing.TB, token string) string {
		parts := strings.Split(token, ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		return parts[0] + "." + string(payload)
	}
	signed := map[string]bool{}
	for _, token := range good {
		f.Add(token)
		signed[said(f, token)] = true
	}
	f.Add(part(f, header("none", "")) + "." + part(f, claims(nil)) + ".")
	f.Add(sign(f, []byte("x"), header("HS256", "rsa"), claims(nil)))
	f.Add(`{"payload":"e30","signatures":[]}`)
	f.Add("a.b.c.d.e")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := tokens.Principal(context.Background(), token)
		if err == nil {
			require.True(t, signed[said(t, token)], "nobody signed %q", token)
			require.Equal(t, "user:ada", p.Subject)
			return
		}
		require.Equal(t, fault.Unauthenticated, fault.CodeOf(err), "%v", err)
		require.Equal(t, Principal{}, p)
	})
}
