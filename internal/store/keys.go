package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store/db"
)

var _ auth.KeyLookup = (*Store)(nil)

// UseKey implements [auth.KeyLookup].
func (s *Store) UseKey(ctx context.Context, id string, hash []byte) (auth.Key, error) {
	row, err := s.q.UseAPIKey(ctx, id, hash, s.now())
	if err != nil {
		return auth.Key{}, orNotFound(err, "there is no API key %s", id)
	}
	return toKey(row), nil
}

// AddKey keeps a new key by the hash of its text. The tenant must exist.
func (s *Store) AddKey(ctx context.Context, k auth.Key, hash []byte, reason string) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error { return s.addKey(ctx, tx, k, hash, "key.create", reason) })
}

func (s *Store) addKey(ctx context.Context, tx pgx.Tx, k auth.Key, hash []byte, action, reason string) error {
	err := s.q.WithTx(tx).AddAPIKey(ctx, db.AddAPIKeyParams{
		ID: k.ID, TenantID: k.TenantID, Name: k.Name, Role: string(k.Role), Scopes: k.Scopes, UserID: nilIfZero(k.UserID),
		Hash: hash, CreatedAt: k.CreatedAt, CreatedBy: k.CreatedBy, ExpiresAt: k.ExpiresAt, RotatedFrom: nilIfZero(k.Rotated),
	})
	if err != nil {
		return fmt.Errorf("add API key %s: %w", k.ID, err)
	}
	return s.auditKey(ctx, tx, k, k.CreatedBy, action, reason)
}

func (s *Store) auditKey(ctx context.Context, tx pgx.Tx, k auth.Key, actor, action, reason string) error {
	return addAudit(ctx, tx, audit.Entry{
		TenantID: k.TenantID, At: s.now(), Actor: actor, Action: action, Subject: "key", SubjectID: k.ID, Reason: reason,
	})
}

// Key returns a key of the tenant.
func (s *Store) Key(ctx context.Context, tenantID, id string) (auth.Key, error) {
	row, err := s.q.APIKey(ctx, tenantID, id)
	if err != nil {
		return auth.Key{}, orNotFound(err, "there is no API key %s", id)
	}
	return toKey(row), nil
}

// Keys returns up to limit keys of the tenant that were made before a time, or at it with a lower id;
// newest first.
func (s *Store) Keys(ctx context.Context, tenantID string, before time.Time, beforeID string, limit int) ([]auth.Key, error) {
	rows, err := s.q.APIKeys(ctx, db.APIKeysParams{TenantID: tenantID, Before: before, BeforeID: beforeID, RowLimit: int32(limit)}) //nolint:gosec // bounded by the API
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	keys := make([]auth.Key, len(rows))
	for i, row := range rows {
		keys[i] = toKey(row)
	}
	return keys, nil
}

// RotateKey adds a key in the place of another, which ends at until unless it ends earlier. Without an end of
// its own the new one lives as long as the other was to. It refuses one that no longer opens anything, or
// that was replaced before, with [fault.Conflict].
func (s *Store) RotateKey(ctx context.Context, replacement auth.Key, hash []byte, until time.Time, reason string) (auth.Key, error) {
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		old, err := lockKey(ctx, q, replacement.TenantID, replacement.Rotated)
		if err != nil {
			return err
		}
		if state := old.State(s.now()); state != auth.Active {
			return fault.New(fault.Conflict, "the API key %s is %s; make a new one", old.ID, state)
		}
		by, err := q.ReplacementOfAPIKey(ctx, old.TenantID, &old.ID)
		if err == nil {
			return fault.New(fault.Conflict, "the API key %s was replaced by %s already; rotate that one, or make a new one", old.ID, by)
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("find what replaced API key %s: %w", old.ID, err)
		}
		if replacement.ExpiresAt == nil && old.ExpiresAt != nil {
			end := replacement.CreatedAt.Add(old.ExpiresAt.Sub(old.CreatedAt))
			replacement.ExpiresAt = &end
		}
		replacement.Name, replacement.Role, replacement.Scopes, replacement.UserID = old.Name, old.Role, old.Scopes, old.UserID
		if err := s.addKey(ctx, tx, replacement, hash, "key.rotate", reason); err != nil {
			return err
		}
		if old.ExpiresAt != nil && old.ExpiresAt.Before(until) {
			return nil
		}
		return q.EndAPIKey(ctx, &until, old.TenantID, old.ID)
	})
	return replacement, err
}

// RevokeKey ends a key at once. Doing it again changes nothing.
func (s *Store) RevokeKey(ctx context.Context, tenantID, id, actor, reason string) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		k, err := lockKey(ctx, q, tenantID, id)
		if err != nil || k.RevokedAt != nil {
			return err
		}
		now := s.now()
		if err := q.RevokeAPIKey(ctx, &now, tenantID, id); err != nil {
			return fmt.Errorf("revoke API key %s: %w", id, err)
		}
		return s.auditKey(ctx, tx, k, actor, "key.revoke", reason)
	})
}

func lockKey(ctx context.Context, q *db.Queries, tenantID, id string) (auth.Key, error) {
	row, err := q.LockAPIKey(ctx, tenantID, id)
	if err != nil {
		return auth.Key{}, orNotFound(err, "there is no API key %s", id)
	}
	return toKey(row), nil
}

// AddTenant makes a tenant, and reports whether it was not there yet.
func (s *Store) AddTenant(ctx context.Context, id string) (bool, error) {
	n, err := s.q.AddTenant(ctx, id, s.now())
	if err != nil {
		return false, fmt.Errorf("add tenant %s: %w", id, err)
	}
	return n == 1, nil
}

// HasTenant reports whether there is a tenant.
func (s *Store) HasTenant(ctx context.Context, id string) (bool, error) {
	return s.q.HasTenant(ctx, id)
}

func toKey(r db.ApiKey) auth.Key {
	return auth.Key{
		ID: r.ID, TenantID: r.TenantID, Name: r.Name, Role: auth.Role(r.Role), Scopes: r.Scopes, UserID: zeroIfNil(r.UserID),
		CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt,
		LastUsed: r.LastUsedAt, Rotated: zeroIfNil(r.RotatedFrom),
	}
}

// AddSession keeps a new session of the console by the hash of its cookie.
func (s *Store) AddSession(ctx context.Context, hash []byte, p auth.Principal, until time.Time) error {
	ctx = auth.With(ctx, p) // who logs in is not known before
	err := s.q.AddSession(ctx, db.AddSessionParams{
		Hash: hash, TenantID: p.TenantID, KeyID: nilIfZero(p.KeyID), Subject: p.Subject, UserID: nilIfZero(p.UserID),
		Role: string(p.Role), At: s.now(), ExpiresAt: until,
	})
	if err != nil {
		return fmt.Errorf("add session: %w", err)
	}
	return nil
}

// UseSession returns who began a session that was in use within idle, and notes that it is. It fails with
// [fault.NotFound] when there is none, when its time is over, or when its key no longer opens anything.
func (s *Store) UseSession(ctx context.Context, hash []byte, idle time.Duration) (auth.Principal, error) {
	r, err := s.q.UseSession(ctx, hash, s.now(), s.now().Add(-idle))
	if errors.Is(err, pgx.ErrNoRows) {
		return auth.Principal{}, fault.New(fault.NotFound, "there is no such session")
	}
	if err != nil {
		return auth.Principal{}, fmt.Errorf("find session: %w", err)
	}
	return auth.Principal{
		TenantID: r.TenantID, Subject: r.Subject, UserID: zeroIfNil(r.UserID), Role: auth.Role(r.Role),
		KeyID: zeroIfNil(r.KeyID), Expires: r.ExpiresAt,
	}, nil
}

// EndSession forgets a session.
func (s *Store) EndSession(ctx context.Context, hash []byte) error { return s.q.EndSession(ctx, hash) }

// PruneSessions forgets up to limit sessions that were over before a time, and returns how many.
func (s *Store) PruneSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := s.q.PruneSessions(ctx, before, int32(limit)) //nolint:gosec // a small constant
	return int(n), err
}
