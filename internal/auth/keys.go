package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
)

// A key is "daws_", its id, "_" and its secret, such as daws_3f9k2mzq7x1c_ and 43 more characters. The
// id is no secret: it names the key in lists, logs and the audit trail.
const (
	keyPrefix   = "daws_"
	keyIDLength = 12
	// keySecretLength characters of 32 are 215 bits: there is nothing to guess, and so nothing that a
	// slow hash would add to SHA-256.
	keySecretLength = 43
	keyAlphabet     = "0123456789abcdefghjkmnpqrstvwxyz" // Crockford's base32: 5 bits each
)

// Key is an API key without its secret, which nobody knows but who was given it.
type Key struct {
	ID       string
	TenantID string
	Name     string // what it is for, in its maker's words
	Role     Role
	Scopes   []string // nil: all that its role may
	UserID   string   // the person whom it acts as; "" for a program

	CreatedAt time.Time
	CreatedBy string
	ExpiresAt *time.Time // nil: never
	RevokedAt *time.Time
	LastUsed  *time.Time // within a minute
	Rotated   string     // the id of the key that this one was made to replace; "" for none
}

// State of a key at a time.
type State string

// The states of a key.
const (
	Active  State = "active"
	Expired State = "expired"
	Revoked State = "revoked"
)

// State returns whether the key opens anything at a time.
func (k Key) State(now time.Time) State {
	switch {
	case k.RevokedAt != nil:
		return Revoked
	case k.ExpiresAt != nil && !now.Before(*k.ExpiresAt):
		return Expired
	}
	return Active
}

// Principal returns who comes with the key.
func (k Key) Principal() Principal {
	p := Principal{TenantID: k.TenantID, Subject: "key:" + k.ID, UserID: k.UserID, Role: k.Role, Scopes: k.Scopes, KeyID: k.ID}
	if k.ExpiresAt != nil {
		p.Expires = *k.ExpiresAt
	}
	return p
}

// NewKey makes a key: its text, to be shown once, its id, and the hash that is kept.
func NewKey() (text, id string, hash []byte) {
	var random [keyIDLength + keySecretLength]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the process rather
	for i, b := range random {
		random[i] = keyAlphabet[b%byte(len(keyAlphabet))] // 32 divides 256: no character is likelier
	}
	id = string(random[:keyIDLength])
	text = keyPrefix + id + "_" + string(random[keyIDLength:])
	return text, id, HashKey(text)
}

// HashKey returns what is kept of a key.
func HashKey(text string) []byte {
	hash := sha256.Sum256([]byte(text))
	return hash[:]
}

// IsKey reports whether a credential is written as keys are.
func IsKey(credential string) bool { return strings.HasPrefix(credential, keyPrefix) }

// KeyID returns the id of a key; false when it is not written as keys are.
func KeyID(text string) (string, bool) {
	id, secret, ok := strings.Cut(strings.TrimPrefix(text, keyPrefix), "_")
	if !ok || !IsKey(text) || len(id) != keyIDLength || len(secret) != keySecretLength ||
		strings.Trim(id, keyAlphabet) != "" || strings.Trim(secret, keyAlphabet) != "" {
		return "", false
	}
	return id, true
}

// KeyLookup finds the key of an id and the hash of its text. It fails with [fault.NotFound] for one that
// there is not, and notes that the key was used.
type KeyLookup interface {
	UseKey(ctx context.Context, id string, hash []byte) (Key, error)
}

const (
	// keyMemory is for how long a key is taken on trust, and so how long a revoked one may still open.
	keyMemory = 5 * time.Second
	mostKeys  = 10_000
)

// StoredKeys are the keys of the database, kept in memory for a moment so that not every request asks.
type StoredKeys struct {
	lookup KeyLookup
	now    func() time.Time

	mu     sync.Mutex
	known  map[[sha256.Size]byte]knownKey
	change uint64 // counts what was forgotten
}

type knownKey struct {
	key   Key
	until time.Time
}

// NewStoredKeys returns the keys that lookup finds.
func NewStoredKeys(lookup KeyLookup, now func() time.Time) *StoredKeys {
	return &StoredKeys{lookup: lookup, now: now, known: map[[sha256.Size]byte]knownKey{}}
}

// Principal implements [Keys].
func (s *StoredKeys) Principal(ctx context.Context, text string) (Principal, error) {
	id, ok := KeyID(text)
	if !ok {
		return Principal{}, fault.New(fault.Unauthenticated, "this is no API key: one is daws_, 12 characters, _ and 43 characters")
	}
	hash, now := sha256.Sum256([]byte(text)), s.now()
	k, change, ok := s.recall(hash, now)
	if !ok {
		var err error
		k, err = s.lookup.UseKey(ctx, id, hash[:])
		if fault.CodeOf(err) == fault.NotFound {
			return Principal{}, fault.New(fault.Unauthenticated, "the API key %s is not known", id)
		}
		if err != nil {
			return Principal{}, err
		}
		s.remember(hash, k, change, now)
	}
	switch k.State(now) {
	case Revoked:
		return Principal{}, fault.New(fault.Unauthenticated, "the API key %s was revoked", id)
	case Expired:
		return Principal{}, fault.New(fault.Unauthenticated, "the API key %s expired at %s", id, k.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return k.Principal(), nil
}

// recall returns the key, or at which change it is not there.
func (s *StoredKeys) recall(hash [sha256.Size]byte, now time.Time) (k Key, change uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.known[hash]
	return known.key, s.change, ok && now.Before(known.until)
}

// remember keeps a key that was asked for at a change, unless there was another one since: it may have been this
// key's.
func (s *StoredKeys) remember(hash [sha256.Size]byte, k Key, change uint64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if change != s.change {
		return
	}
	if len(s.known) >= mostKeys { // all of them are asked for again within seconds anyway
		clear(s.known)
	}
	s.known[hash] = knownKey{key: k, until: now.Add(keyMemory)}
}

// Forget makes a change to a key count at once in this process.
func (s *StoredKeys) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change++
	clear(s.known)
}
