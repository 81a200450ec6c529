package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/store"
)

func TestBreakerHistory(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	api, worker := breakers.Process{Role: "api", Host: "one", PID: 1}, breakers.Process{Role: "worker", Host: "one", PID: 2}
	start := time.Now().UTC().Truncate(time.Microsecond)
	minute := 0
	change := func(p breakers.Process, tenant string, k breakers.Kind, name string, from, to breakers.State) breakers.Change {
		minute++
		at := start.Add(time.Duration(minute) * time.Minute)
		return breakers.Change{
			ID: idOf(at), TenantID: tenant, Process: p, Kind: k, Name: name, From: from, To: to, At: at, Reason: "why",
		}
	}
	all := []breakers.Change{
		change(api, "", breakers.Agent, "claude", breakers.Closed, breakers.Open),
		change(api, "default", breakers.Endpoint, "destination:ops", breakers.Closed, breakers.Open),
		change(worker, "default", breakers.Endpoint, "destination:ops", breakers.Closed, breakers.Open),
		change(worker, "other", breakers.Endpoint, "destination:ops", breakers.Closed, breakers.Open),
		change(worker, "default", breakers.Endpoint, "destination:ops", breakers.Open, breakers.HalfOpen),
		change(api, "", breakers.Agent, "claude", breakers.Open, breakers.HalfOpen),
		change(api, "", breakers.Agent, "claude", breakers.HalfOpen, breakers.Closed),
		change(worker, "default", breakers.Endpoint, "email", breakers.Closed, breakers.Open),
		change(worker, "default", breakers.Endpoint, "email", breakers.Open, breakers.Gone),
	}
	require.NoError(t, s.RecordBreakerChanges(t.Context(), all))
	require.NoError(t, s.RecordBreakerChanges(t.Context(), all), "a commit that was not confirmed is sent again")
	require.NoError(t, s.RecordBreakerChanges(t.Context(), nil))

	states, err := s.BreakerStates(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, []breakers.Standing{
		{Process: api, Kind: breakers.Agent, Name: "claude", State: breakers.Closed, Since: all[6].At},
		{TenantID: "default", Process: api, Kind: breakers.Endpoint, Name: "destination:ops", State: breakers.Open, Since: all[1].At},
		{TenantID: "default", Process: worker, Kind: breakers.Endpoint, Name: "destination:ops", State: breakers.HalfOpen, Since: all[4].At},
	}, states, "what is gone has no state, and another tenant's is not seen")
	on, err := s.BreakersOn(t.Context(), "worker", "one")
	require.NoError(t, err)
	require.Len(t, on, 2, "of all tenants")
	on, err = s.BreakersOn(t.Context(), "worker", "two")
	require.NoError(t, err)
	require.Empty(t, on)

	list := func(f breakers.Filter, before uuid.UUID, limit int, want ...int) {
		t.Helper()
		got, err := s.BreakerChanges(t.Context(), "default", f, before, limit)
		require.NoError(t, err)
		expected := make([]breakers.Change, len(want))
		for i, n := range want {
			expected[i] = all[n]
		}
		require.Equal(t, expected, got)
	}
	list(breakers.Filter{}, uuid.Max, 3, 8, 7, 6)
	list(breakers.Filter{}, all[6].ID, 50, 5, 4, 2, 1, 0)
	list(breakers.Filter{Kind: breakers.Agent}, uuid.Max, 50, 6, 5, 0)
	list(breakers.Filter{To: breakers.HalfOpen}, uuid.Max, 50, 5, 4)
	list(breakers.Filter{Kind: breakers.Endpoint, Name: "destination:ops"}, uuid.Max, 50, 4, 2, 1)
	list(breakers.Filter{Kind: breakers.Endpoint, Name: "destination:ops"}, all[4].ID, 1, 2)
	list(breakers.Filter{Kind: breakers.Endpoint, Name: "destination:ops", To: breakers.Open}, uuid.Max, 50, 2, 1)
	list(breakers.Filter{Kind: breakers.Agent, Name: "destination:ops"}, uuid.Max, 50)

	// The next process of a host may have the same id, and a breaker of the same name.
	later := []breakers.Change{
		change(worker, "default", breakers.Endpoint, "destination:ops", breakers.HalfOpen, breakers.Gone),
		change(worker, "default", breakers.Endpoint, "destination:ops", breakers.Closed, breakers.Open),
	}
	require.NoError(t, s.RecordBreakerChanges(t.Context(), later))
	states, err = s.BreakerStates(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, breakers.Open, states[2].State)
	require.Equal(t, later[1].At, states[2].Since)

	wrong := []breakers.Change{
		change(api, "", breakers.Agent, "claude", breakers.Closed, breakers.Open), change(api, "", breakers.Agent, "claude", breakers.Open, "BROKEN"),
	}
	require.Error(t, s.RecordBreakerChanges(t.Context(), wrong))
	list(breakers.Filter{Kind: breakers.Agent}, uuid.Max, 50, 6, 5, 0)

	exec(t, pool, `UPDATE breaker_states SET since = now() - interval '31 d' WHERE kind = 'agent'`)
	prunes(t, s.PruneBreakerChanges, start.Add(4*time.Minute+time.Second), 3, 3, 1, 0)
	states, err = s.BreakerStates(t.Context(), "default")
	require.NoError(t, err)
	require.Len(t, states, 1, "of the others nobody has heard")
}

// A list must not read all that others have.
func TestBreakerHistoryPlans(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	exec(t, pool, `INSERT INTO breaker_changes (id, tenant_id, role, host, pid, kind, name, from_state, to_state, at, reason)
		SELECT ('019b0000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'default', 'worker', 'one', 1, 'endpoint',
			'destination:' || n % 50, 'CLOSED', 'OPEN', now(), ''
		FROM generate_series(1, 100000) AS n`)
	exec(t, pool, `ANALYZE breaker_changes`)
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	var asked statements
	s := store.New(recording{conn, &asked}, store.Options{})
	for _, c := range []struct {
		filter breakers.Filter
		found  int
		index  string
	}{
		{breakers.Filter{}, 50, "breaker_changes_list"},
		{breakers.Filter{Kind: breakers.Agent}, 0, "breaker_changes_list"},
		{breakers.Filter{To: breakers.Closed}, 0, "breaker_changes_list"},
		{breakers.Filter{Kind: breakers.Endpoint, To: breakers.Open}, 50, "breaker_changes_list"},
		{breakers.Filter{Kind: breakers.Endpoint, Name: "destination:7"}, 50, "breaker_changes_of_name"},
	} {
		found, err := s.BreakerChanges(t.Context(), "default", c.filter, uuid.Max, 50)
		require.NoError(t, err)
		require.Len(t, found, c.found)
		rows, err := conn.Query(t.Context(), "EXPLAIN "+asked.sql, asked.args...)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		how := strings.Join(lines, "\n")
		require.Regexp(t, `Index (Only )?Scan using `+c.index+` `, how)
		require.NotContains(t, how, "Seq Scan")
	}
}
