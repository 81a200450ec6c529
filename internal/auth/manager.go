package auth

import (
	"context"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
)

// KeyStore keeps keys.
type KeyStore interface {
	AddKey(ctx context.Context, k Key, hash []byte, reason string) error
	Key(ctx context.Context, tenantID, id string) (Key, error)
	Keys(ctx context.Context, tenantID string, before time.Time, beforeID string, limit int) ([]Key, error)
	// RotateKey adds a key like the one that it names as Rotated, which ends at until unless it ends
	// earlier, and returns what was added.
	RotateKey(ctx context.Context, replacement Key, hash []byte, until time.Time, reason string) (Key, error)
	RevokeKey(ctx context.Context, tenantID, id, actor, reason string) error
}

// Draft is a key to be made.
type Draft struct {
	TenantID string
	Name     string
	Role     Role
	Scopes   []string      // nil: all that its role may
	UserID   string        // "": a program's
	Lifetime time.Duration // 0: until it is revoked
	By       string        // who makes it
	Reason   string
}

// Manager makes and ends keys. What it changes counts at once in its process.
type Manager struct {
	store KeyStore
	known *StoredKeys // nil where nobody comes in
	now   func() time.Time
}

// NewManager returns a manager of the keys in store.
func NewManager(store KeyStore, known *StoredKeys, now func() time.Time) *Manager {
	return &Manager{store: store, known: known, now: now}
}

// Create makes a key and returns its text, which is not kept.
func (m *Manager) Create(ctx context.Context, d Draft) (text string, k Key, err error) {
	if !d.Role.Known() {
		return "", Key{}, fault.InvalidField("/role", "is not one of %v", Roles)
	}
	text, id, hash := NewKey()
	now := m.now().UTC()
	k = Key{
		ID: id, TenantID: d.TenantID, Name: d.Name, Role: d.Role, Scopes: d.Scopes, UserID: d.UserID,
		CreatedAt: now, CreatedBy: d.By, ExpiresAt: after(now, d.Lifetime),
	}
	return text, k, m.store.AddKey(ctx, k, hash, d.Reason)
}

// Rotate makes a key in the place of another, which goes on for overlap. It returns the new key's text,
// which is not kept.
func (m *Manager) Rotate(ctx context.Context, tenantID, id string, overlap, lifetime time.Duration, by, reason string) (text string, k Key, err error) {
	text, newID, hash := NewKey()
	now := m.now().UTC()
	k, err = m.store.RotateKey(ctx, Key{
		ID: newID, TenantID: tenantID, CreatedAt: now, CreatedBy: by, ExpiresAt: after(now, lifetime), Rotated: id,
	}, hash, now.Add(overlap), reason)
	m.forget()
	return text, k, err
}

// Revoke ends a key at once.
func (m *Manager) Revoke(ctx context.Context, tenantID, id, by, reason string) error {
	defer m.forget()
	return m.store.RevokeKey(ctx, tenantID, id, by, reason)
}

// Key returns a key of the tenant.
func (m *Manager) Key(ctx context.Context, tenantID, id string) (Key, error) {
	return m.store.Key(ctx, tenantID, id)
}

// Keys returns up to limit keys that were made before a time, or at it with a lower id; newest first.
func (m *Manager) Keys(ctx context.Context, tenantID string, before time.Time, beforeID string, limit int) ([]Key, error) {
	return m.store.Keys(ctx, tenantID, before, beforeID, limit)
}

func (m *Manager) forget() {
	if m.known != nil {
		m.known.Forget()
	}
}

func after(now time.Time, d time.Duration) *time.Time {
	if d == 0 {
		return nil
	}
	t := now.Add(d)
	return &t
}
