package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store/db"
)

// Sealer encrypts what is secret in a destination, bound to its tenant and name.
type Sealer interface {
	Seal(plain []byte, owner ...string) []byte
	Open(sealed []byte, owner ...string) ([]byte, error)
	// Current reports whether a text was sealed with the key that Seal uses.
	Current(sealed []byte) bool
}

const (
	// destinationsFresh is for how long a destination that was read is used for deliveries. It is how
	// long a change made by another process may go unnoticed; one made by this process counts at once.
	destinationsFresh = 3 * time.Second
	// destinationsKept bounds the destinations in memory.
	destinationsKept = 1000
	// resealBatch is how many destinations are read at once for a new key.
	resealBatch = 100
)

// Destinations keeps named delivery targets. It implements delivery.Destinations, from memory where it
// can, and destinations.Store.
type Destinations struct {
	db     DB
	sealer Sealer // nil without a key: then there are no destinations
	now    func() time.Time
	reads  singleflight.Group

	mu     sync.Mutex
	kept   map[destinationKey]keptDestination
	change uint64 // counts changes: what was read before the latest is not kept
}

type destinationKey struct{ tenantID, name string }

type keptDestination struct {
	entry destinations.Entry
	at    time.Time
}

var (
	_ delivery.Destinations = (*Destinations)(nil)
	_ destinations.Store    = (*Destinations)(nil)
)

// NewDestinations returns the destinations in d. Without a sealer none can be stored, and those that
// were are locked.
func NewDestinations(d DB, sealer Sealer, now func() time.Time) *Destinations {
	return &Destinations{db: d, sealer: sealer, now: now, kept: make(map[destinationKey]keptDestination)}
}

// Destination returns one by name, or fault.NotFound. It may be as old as a few seconds.
func (s *Destinations) Destination(ctx context.Context, tenantID, name string) (delivery.Destination, error) {
	key := destinationKey{tenantID, name}
	s.mu.Lock()
	kept, ok := s.kept[key]
	change := s.change
	s.mu.Unlock()
	if !ok || s.now().Sub(kept.at) >= destinationsFresh {
		// Once for all that ask at this time. A caller that goes away does not end it for the others.
		done := s.reads.DoChan(fmt.Sprintf("%d %s %s", change, tenantID, name), func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destinationsFresh)
			defer cancel()
			return s.read(ctx, key, change)
		})
		select {
		case r := <-done:
			if r.Err != nil {
				return delivery.Destination{}, r.Err
			}
			kept, _ = r.Val.(keptDestination)
		case <-ctx.Done():
			return delivery.Destination{}, ctx.Err()
		}
	}
	if kept.entry.Locked {
		return delivery.Destination{}, fault.New(fault.Unavailable, "destination %s is encrypted with a key that is not in SECRETS_KEY", name)
	}
	d := kept.entry.Destination
	d.Endpoint.Secrets = destinations.Signing(kept.entry.Secrets, s.now())
	return d, nil
}

// read reads one and keeps it, unless a destination has changed since.
func (s *Destinations) read(ctx context.Context, key destinationKey, change uint64) (keptDestination, error) {
	at := s.now()
	entry, err := s.Get(ctx, key.tenantID, key.name)
	if err != nil {
		return keptDestination{}, err
	}
	kept := keptDestination{entry, at}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change == change {
		if len(s.kept) >= destinationsKept {
			clear(s.kept)
		}
		s.kept[key] = kept
	}
	return kept, nil
}

// forget has the next delivery read a destination again.
func (s *Destinations) forget(tenantID, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change++
	delete(s.kept, destinationKey{tenantID, name})
}

// Create implements destinations.Store.
func (s *Destinations) Create(ctx context.Context, e destinations.Entry, a audit.Entry) error {
	sealed, err := s.seal(e)
	if err != nil {
		return err
	}
	return s.write(ctx, e, a, func(q *db.Queries) error {
		n, err := q.AddDestination(ctx, db.AddDestinationParams{
			ID: e.ID, TenantID: e.TenantID, Name: e.Name, Channel: e.Channel, Description: asStorable(e.Description),
			Enabled: e.Enabled, Shown: asStorable(e.Shown), Sealed: sealed,
			Revision: int32(e.Revision), CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, //nolint:gosec // counts changes
		})
		if err == nil && n == 0 {
			return fault.New(fault.Conflict, "there is a destination %s already", e.Name)
		}
		return err
	})
}

// Get implements destinations.Store.
func (s *Destinations) Get(ctx context.Context, tenantID, name string) (destinations.Entry, error) {
	row, err := db.New(s.db).Destination(ctx, tenantID, asStorable(name)) // a name that is not is nobody's
	if err != nil {
		return destinations.Entry{}, orNotFound(err, "there is no destination %q", name)
	}
	return s.entry(row)
}

// List implements destinations.Store.
func (s *Destinations) List(ctx context.Context, tenantID, after string, limit int) ([]destinations.Entry, error) {
	rows, err := db.New(s.db).Destinations(ctx, tenantID, after, int32(limit)) //nolint:gosec // bounded by the API
	if err != nil {
		return nil, fmt.Errorf("list destinations: %w", err)
	}
	list := make([]destinations.Entry, len(rows))
	for i, row := range rows {
		if list[i], err = s.entry(row); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Update implements destinations.Store.
func (s *Destinations) Update(ctx context.Context, e destinations.Entry, a audit.Entry) error {
	sealed, err := s.seal(e)
	if err != nil {
		return err
	}
	return s.write(ctx, e, a, func(q *db.Queries) error {
		n, err := q.UpdateDestination(ctx, db.UpdateDestinationParams{
			TenantID: e.TenantID, Name: e.Name, Description: asStorable(e.Description), Enabled: e.Enabled,
			Shown: asStorable(e.Shown), Sealed: sealed, FormerRevision: int32(e.Revision - 1), UpdatedAt: e.UpdatedAt, //nolint:gosec // counts changes
		})
		if err == nil && n == 0 {
			return fault.New(fault.Conflict, "destination %s has changed meanwhile", e.Name)
		}
		return err
	})
}

// Delete implements destinations.Store.
func (s *Destinations) Delete(ctx context.Context, tenantID, name string, revision int, a audit.Entry) error {
	e := destinations.Entry{Destination: delivery.Destination{TenantID: tenantID, Name: name}}
	return s.write(ctx, e, a, func(q *db.Queries) error {
		present, err := q.LockDestination(ctx, tenantID, asStorable(name))
		if err != nil {
			return orNotFound(err, "there is no destination %q", name)
		}
		if revision != 0 && int(present) != revision {
			return fault.New(fault.Conflict, "destination %s has changed: it is at revision %d", name, present)
		}
		_, err = q.DeleteDestination(ctx, tenantID, name, present)
		return err
	})
}

// write makes a change in one transaction with its audit entry.
func (s *Destinations) write(ctx context.Context, e destinations.Entry, a audit.Entry, change func(*db.Queries) error) error {
	// Also when it fails: whether a commit whose answer was lost went through is not known.
	defer s.forget(e.TenantID, e.Name)
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if err := change(db.New(tx)); err != nil {
			return err
		}
		return addAudit(ctx, tx, a)
	})
	if _, ok := errors.AsType[*fault.Error](err); ok || err == nil {
		return err
	}
	return fmt.Errorf("%s %s: %w", a.Action, e.Name, err)
}

// sealedDestination is what is encrypted: all that is needed to send.
type sealedDestination struct {
	URL         string            `json:"url,omitempty"`
	To          []string          `json:"to,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Secrets     []sealedSecret    `json:"secrets,omitempty"`
	Timeout     time.Duration     `json:"timeout_ns,omitempty"`
	Rate        float64           `json:"rate_per_second,omitempty"`
	Concurrency int               `json:"concurrency,omitempty"`
}

type sealedSecret struct {
	Value string    `json:"value"`
	Until time.Time `json:"until,omitzero"`
}

func (s *Destinations) seal(e destinations.Entry) ([]byte, error) {
	if s.sealer == nil {
		return nil, fault.New(fault.Unavailable, "destinations are off: SECRETS_KEY is not set, and without it their secrets can't be encrypted")
	}
	content := sealedDestination{
		URL: e.Endpoint.URL, To: e.Endpoint.To, Headers: e.Endpoint.Headers, Timeout: e.Endpoint.Timeout,
		Rate: e.Endpoint.Limits.Rate, Concurrency: e.Endpoint.Limits.Concurrency,
	}
	for _, secret := range e.Secrets {
		content.Secrets = append(content.Secrets, sealedSecret(secret))
	}
	plain, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("seal destination %s: %w", e.Name, err)
	}
	return s.sealer.Seal(plain, e.TenantID, e.Name), nil
}

// entry opens a row. One that can't be opened is still there, to be seen and deleted: it is locked.
func (s *Destinations) entry(row db.Destination) (destinations.Entry, error) {
	e := destinations.Entry{
		Destination: delivery.Destination{
			ID: row.ID, TenantID: row.TenantID, Name: row.Name, Channel: row.Channel, Description: row.Description,
			Enabled: row.Enabled, Revision: int(row.Revision), CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(),
			Endpoint: delivery.Endpoint{ID: delivery.Target{Destination: row.Name}.Key()},
		},
		Shown: row.Shown,
	}
	if s.sealer == nil {
		e.Locked = true
		return e, nil
	}
	plain, err := s.sealer.Open(row.Sealed, row.TenantID, row.Name)
	if err != nil {
		e.Locked = true
		return e, nil //nolint:nilerr // that is what Locked says
	}
	var content sealedDestination
	if err := json.Unmarshal(plain, &content); err != nil {
		// Not %w: its text may quote what was sealed.
		return destinations.Entry{}, fmt.Errorf("destination %s: what was sealed is no JSON of this release", row.Name)
	}
	e.Endpoint.URL, e.Endpoint.To, e.Endpoint.Headers = content.URL, content.To, content.Headers
	e.Endpoint.Timeout = content.Timeout
	e.Endpoint.Limits = delivery.Limits{Rate: content.Rate, Concurrency: content.Concurrency}
	for _, secret := range content.Secrets {
		e.Secrets = append(e.Secrets, destinations.Secret(secret))
	}
	e.Endpoint.Secrets = destinations.Signing(e.Secrets, s.now())
	return e, nil
}

// Reseal encrypts with the present key what was encrypted with an earlier one, of all tenants, so that
// the earlier one can go. It returns how many it changed, and how many no key opens.
func (s *Destinations) Reseal(ctx context.Context) (resealed, locked int, err error) {
	if s.sealer == nil {
		return 0, 0, nil
	}
	q := db.New(s.db)
	for after := uuid.Nil; ; {
		rows, err := q.SealedDestinations(ctx, after, resealBatch)
		if err != nil {
			return resealed, locked, fmt.Errorf("reseal destinations: %w", err)
		}
		for _, row := range rows {
			after = row.ID
			if s.sealer.Current(row.Sealed) {
				continue
			}
			plain, err := s.sealer.Open(row.Sealed, row.TenantID, row.Name)
			if err != nil {
				locked++
				continue
			}
			n, err := q.ResealDestination(ctx, s.sealer.Seal(plain, row.TenantID, row.Name), row.ID, row.Sealed)
			if err != nil {
				return resealed, locked, fmt.Errorf("reseal destination %s: %w", row.Name, err)
			}
			resealed += int(n)
		}
		if len(rows) < resealBatch {
			return resealed, locked, nil
		}
	}
}
