package store_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/seal"
	"github.com/dawsos/dawsos/internal/store"
)

// sealKey returns a key made of one byte.
func sealKey(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, seal.KeySize))
}

func sealer(t *testing.T, keys string) *seal.Box {
	t.Helper()
	box, err := seal.New(keys)
	require.NoError(t, err)
	return box
}

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

type destinationsBundle struct {
	*store.Destinations
	db    *store.Store
	pool  *pgxpool.Pool
	clock *clock
}

func setupDestinations(t *testing.T) destinationsBundle {
	t.Helper()
	db, pool := setup(t)
	c := newClock()
	return destinationsBundle{store.NewDestinations(pool, sealer(t, sealKey(1)), c.now), db, pool, c}
}

// Texts that must not be found in the database.
const (
	hiddenToken  = "t0ken-in-the-path"
	hiddenHeader = "value-of-a-header"
	hiddenSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func (b destinationsBundle) entry(name string) destinations.Entry {
	at := b.clock.now()
	return destinations.Entry{
		Destination: delivery.Destination{
			ID: uuid.Must(uuid.NewV7()), TenantID: store.DefaultTenant, Name: name, Channel: "webhook",
			Description: "The desk's pager", Enabled: true, Revision: 1, CreatedAt: at, UpdatedAt: at,
			Endpoint: delivery.Endpoint{
				ID: "destination:" + name, URL: "https://hooks.example.com/" + hiddenToken,
				Headers: map[string]string{"X-Key": hiddenHeader}, Secrets: []string{hiddenSecret},
				Timeout: 3 * time.Second, Limits: delivery.Limits{Rate: 2.5, Concurrency: 4},
			},
		},
		Shown:   "https://hooks.example.com/…",
		Secrets: []destinations.Secret{{Value: hiddenSecret}},
	}
}

func by(action, name string) audit.Entry {
	return audit.Entry{
		TenantID: store.DefaultTenant, At: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), Actor: "api", Action: action,
		Subject: "destination", SubjectID: name, Reason: "because", Detail: json.RawMessage(`{}`),
	}
}

func (b destinationsBundle) audited(t *testing.T) (actions []string) {
	t.Helper()
	entries, err := b.db.AuditLog(t.Context(), store.DefaultTenant, audit.Filter{Subject: "destination"}, uuid.Max, 100)
	require.NoError(t, err)
	for _, e := range entries {
		actions = append(actions, e.Action+" "+e.SubjectID)
	}
	return actions
}

func TestDestinationsAreKept(t *testing.T) {
	t.Parallel()
	b := setupDestinations(t)
	want := b.entry("ops")
	require.NoError(t, b.Create(t.Context(), want, by("destination.create", "ops")))

	got, err := b.Get(t.Context(), store.DefaultTenant, "ops")
	require.NoError(t, err)
	require.Equal(t, want, got)
	d, err := b.Destination(t.Context(), store.DefaultTenant, "ops")
	require.NoError(t, err)
	require.Equal(t, want.Destination, d)

	for _, of := range []struct{ tenant, name string }{
		{"other", "ops"}, {store.DefaultTenant, "op\x00s"}, {store.DefaultTenant, "ops "},
	} {
		_, err = b.Get(t.Context(), of.tenant, of.name)
		require.Equal(t, fault.NotFound, fault.CodeOf(err), "%q", of)
		_, err = b.Destination(t.Context(), of.tenant, of.name)
		require.Equal(t, fault.NotFound, fault.CodeOf(err), "%q", of)
		err = b.Delete(t.Context(), of.tenant, of.name, 0, by("destination.delete", "ops"))
		require.Equal(t, fault.NotFound, fault.CodeOf(err), "%q", of)
	}

	err = b.Create(t.Context(), b.entry("ops"), by("destination.create", "ops"))
	require.Equal(t, fault.Conflict, fault.CodeOf(err))

	want.Enabled, want.Revision, want.Description = false, 2, "Off"
	require.NoError(t, b.Update(t.Context(), want, by("destination.update", "ops")))
	err = b.Update(t.Context(), want, by("destination.update", "ops"))
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "of an old revision")
	got, err = b.Get(t.Context(), store.DefaultTenant, "ops")
	require.NoError(t, err)
	require.Equal(t, want, got)

	err = b.Delete(t.Context(), store.DefaultTenant, "ops", 1, by("destination.delete", "ops"))
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "of an old revision")
	require.NoError(t, b.Delete(t.Context(), store.DefaultTenant, "ops", 2, by("destination.delete", "ops")))
	_, err = b.Get(t.Context(), store.DefaultTenant, "ops")
	require.Equal(t, fault.NotFound, fault.CodeOf(err))

	require.Equal(t, []string{"destination.delete ops", "destination.update ops", "destination.create ops"}, b.audited(t),
		"what did not happen is not in the trail")
}

func TestSecretsOfDestinationsAreNotInTheDatabase(t *testing.T) {
	t.Parallel()
	b := setupDestinations(t)
	require.NoError(t, b.Create(t.Context(), b.entry("ops"), by("destination.create", "ops")))
	var row string
	err := b.pool.QueryRow(t.Context(), `SELECT d::text || encode(d.sealed, 'escape') FROM destinations AS d`).Scan(&row)
	require.NoError(t, err)
	require.Contains(t, row, "hooks.example.com", "what may be shown is")
	for _, hidden := range []string{hiddenToken, hiddenHeader, hiddenSecret} {
		require.NotContains(t, row, hidden)
	}

	// What is sealed for one name is of no use under another.
	require.NoError(t, b.Create(t.Context(), b.entry("mine"), by("destination.create", "mine")))
	exec(t, b.pool, `UPDATE destinations SET sealed = (SELECT sealed FROM destinations WHERE name = 'ops') WHERE name = 'mine'`)
	e, err := b.Get(t.Context(), store.DefaultTenant, "mine")
	require.NoError(t, err)
	require.True(t, e.Locked)
	require.Equal(t, delivery.Endpoint{ID: "destination:mine"}, e.Endpoint)
}

func TestDestinationsAreListedByName(t *testing.T) {
	t.Parallel()
	b := setupDestinations(t)
	for _, name := range []string{"c", "a", "b-2", "b_1"} {
		require.NoError(t, b.Create(t.Context(), b.entry(name), by("destination.create", name)))
	}
	list := func(tenant, after string, limit int) (names []string) {
		entries, err := b.List(t.Context(), tenant, after, limit)
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name)
		}
		return names
	}
	all := list(store.DefaultTenant, "", 100)
	require.ElementsMatch(t, []string{"a", "b-2", "b_1", "c"}, all)
	require.Equal(t, all[:2], list(store.DefaultTenant, "", 2))
	require.Equal(t, all[2:], list(store.DefaultTenant, all[1], 2))
	require.Empty(t, list(store.DefaultTenant, all[3], 2))
	require.Empty(t, list("other", "", 100))
}

func TestDestinationsWithoutTheirKey(t *testing.T) {
	t.Parallel()
	b := setupDestinations(t)
	require.NoError(t, b.Create(t.Context(), b.entry("ops"), by("destination.create", "ops")))

	for name, without := range map[string]*store.Destinations{
		"none":    store.NewDestinations(b.pool, nil, b.clock.now),
		"another": store.NewDestinations(b.pool, sealer(t, sealKey(2)), b.clock.now),
	} {
		t.Run(name, func(t *testing.T) {
			entries, err := without.List(t.Context(), store.DefaultTenant, "", 10)
			require.NoError(t, err)
			require.Len(t, entries, 1)
			require.True(t, entries[0].Locked)
			require.Equal(t, "https://hooks.example.com/…", entries[0].Shown)
			_, err = without.Destination(t.Context(), store.DefaultTenant, "ops")
			require.Equal(t, fault.Unavailable, fault.CodeOf(err), "its letters wait for the key")
		})
	}
	err := store.NewDestinations(b.pool, nil, b.clock.now).Create(t.Context(), b.entry("new"), by("destination.create", "new"))
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.Contains(t, fault.Detail(err), "SECRETS_KEY is not set")
}

func TestDestinationsAreResealed(t *testing.T) {
	t.Parallel()
	b := setupDestinations(t)
	want := b.entry("n0")
	require.NoError(t, b.Create(t.Context(), want, by("destination.create", "n0")))
	for i := range 250 { // more than two batches
		e := b.entry(fmt.Sprintf("n%d", i+1))
		require.NoError(t, b.Create(t.Context(), e, by("destination.create", e.Name)))
	}
	lost := store.NewDestinations(b.pool, sealer(t, sealKey(3)), b.clock.now)
	require.NoError(t, lost.Create(t.Context(), b.entry("lost"), by("destination.create", "lost")))

	both := store.NewDestinations(b.pool, sealer(t, sealKey(2)+","+sealKey(1)), b.clock.now)
	resealed, locked, err := both.Reseal(t.Context())
	require.NoError(t, err)
	require.Equal(t, 251, resealed)
	require.Equal(t, 1, locked)
	resealed, _, err = both.Reseal(t.Context())
	require.NoError(t, err)
	require.Zero(t, resealed, "a second time")

	got, err := store.NewDestinations(b.pool, sealer(t, sealKey(2)), b.clock.now).Get(t.Context(), store.DefaultTenant, "n0")
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestDestinationsForDeliveriesComeFromMemory(t *testing.T) {
	t.Parallel()
	b := setupDestinations(t)
	e := b.entry("ops")
	require.NoError(t, b.Create(t.Context(), e, by("destination.create", "ops")))
	enabled := func() bool {
		d, err := b.Destination(t.Context(), store.DefaultTenant, "ops")
		require.NoError(t, err)
		return d.Enabled
	}
	require.True(t, enabled())

	exec(t, b.pool, `UPDATE destinations SET enabled = false`) // another process
	require.True(t, enabled(), "read again at once")
	b.clock.advance(3 * time.Second)
	require.False(t, enabled(), "a change by others must be seen after a few seconds")

	e.Revision++
	require.NoError(t, b.Update(t.Context(), e, by("destination.update", "ops")))
	require.True(t, enabled(), "a change by this process must be seen at once")

	require.NoError(t, b.Delete(t.Context(), store.DefaultTenant, "ops", 0, by("destination.delete", "ops")))
	_, err := b.Destination(t.Context(), store.DefaultTenant, "ops")
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}

func TestRotatedSecretsStopSigningInTime(t *testing.T) {
	t.Parallel()
	b := setupDestinations(t)
	e := b.entry("ops")
	e.Secrets = []destinations.Secret{{Value: "new"}, {Value: hiddenSecret, Until: b.clock.now().Add(time.Second)}}
	require.NoError(t, b.Create(t.Context(), e, by("destination.create", "ops")))
	secrets := func() []string {
		d, err := b.Destination(t.Context(), store.DefaultTenant, "ops")
		require.NoError(t, err)
		return d.Endpoint.Secrets
	}
	require.Equal(t, []string{"new", hiddenSecret}, secrets())
	b.clock.advance(time.Second) // what is kept in memory must not sign for longer
	require.Equal(t, []string{"new"}, secrets())
}

// Readers and writers at once: once a change has returned, nobody gets what was before it.
func TestDestinationsAreNeverOlderThanTheLastChange(t *testing.T) {
	t.Parallel()
	b := setupDestinations(t)
	e := b.entry("ops")
	e.Endpoint.Limits.Concurrency = 1 // the revision, as deliveries see it
	require.NoError(t, b.Create(t.Context(), e, by("destination.create", "ops")))

	var written atomic.Int64
	written.Store(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				least := written.Load()
				d, err := b.Destination(ctx, store.DefaultTenant, "ops")
				if errors.Is(err, context.Canceled) {
					return
				}
				if err == nil && int64(d.Endpoint.Limits.Concurrency) < least {
					err = fmt.Errorf("got %d after %d was written", d.Endpoint.Limits.Concurrency, least)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for range 50 {
		e.Revision++
		e.Endpoint.Limits.Concurrency = e.Revision
		require.NoError(t, b.Update(t.Context(), e, by("destination.update", "ops")))
		written.Store(int64(e.Revision))
	}
	cancel()
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
}
