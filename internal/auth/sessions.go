package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
)

// How long sessions last.
const (
	// SessionIdle ends a session that nobody uses, SessionLength every one.
	SessionIdle   = time.Hour
	SessionLength = 12 * time.Hour
	sessionBytes  = 32
)

// SessionStore keeps sessions by the hash of their cookie.
type SessionStore interface {
	AddSession(ctx context.Context, hash []byte, p Principal, until time.Time) error
	// UseSession fails with [fault.NotFound] for a session that there is not, or no longer.
	UseSession(ctx context.Context, hash []byte, idle time.Duration) (Principal, error)
	EndSession(ctx context.Context, hash []byte) error
}

// Sessions are those of people at the console: what they signed in with is shown once, and a cookie
// from then on.
type Sessions struct {
	store SessionStore
	auth  *Authenticator
	now   func() time.Time
}

// NewSessions returns the sessions in store.
func NewSessions(store SessionStore, a *Authenticator, now func() time.Time) *Sessions {
	return &Sessions{store: store, auth: a, now: now}
}

// Begin begins a session of who shows a key or a token, and returns its cookie. It ends with what was
// shown, or after [SessionLength].
func (s *Sessions) Begin(ctx context.Context, credential string) (cookie string, until time.Time, err error) {
	p, err := s.auth.Credential(ctx, credential)
	if err != nil {
		return "", time.Time{}, err
	}
	if err := Whole(p); err != nil {
		return "", time.Time{}, err
	}
	until = s.now().Add(SessionLength)
	if !p.Expires.IsZero() && p.Expires.Before(until) {
		until = p.Expires
	}
	var random [sessionBytes]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the process rather
	cookie = base64.RawURLEncoding.EncodeToString(random[:])
	return cookie, until, s.store.AddSession(With(ctx, p), hashCookie(cookie), p, until)
}

// Whole refuses with [fault.Forbidden] whose key is for parts of the API alone: the console's pages show and do
// what no single scope is about.
func Whole(p Principal) error {
	if p.Scopes != nil {
		return fault.New(fault.Forbidden, "the key is for parts of the API alone; the console needs one without scopes")
	}
	return nil
}

// Principal returns whose session a cookie is. It refuses with [fault.Unauthenticated].
func (s *Sessions) Principal(ctx context.Context, cookie string) (Principal, error) {
	p, err := s.store.UseSession(ctx, hashCookie(cookie), SessionIdle)
	if fault.CodeOf(err) == fault.NotFound {
		return Principal{}, fault.New(fault.Unauthenticated, "the session is over; sign in again")
	}
	return p, err
}

// End ends a session.
func (s *Sessions) End(ctx context.Context, cookie string) error {
	return s.store.EndSession(ctx, hashCookie(cookie))
}

func hashCookie(cookie string) []byte {
	hash := sha256.Sum256([]byte(cookie))
	return hash[:]
}
