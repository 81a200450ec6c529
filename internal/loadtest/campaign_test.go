package loadtest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/internal/store/migrate"
)

// privateServer is a server of the test's own, which may be crashed.
type privateServer struct {
	dir    string
	server *devpg.Server
}

func (p *privateServer) Start(ctx context.Context) (err error) {
	p.server, err = devpg.Start(ctx, devpg.Options{Dir: p.dir, Settings: map[string]string{"max_connections": "120"}})
	return err
}

func (p *privateServer) Crash(ctx context.Context) error { return p.server.Crash(ctx) }

// harshPlace is a place whose server may be crashed.
func harshPlace(t *testing.T) Place {
	t.Helper()
	parent, err := os.MkdirTemp("", "dawsos-campaign-") //nolint:usetesting // PostgreSQL's account can't enter t.TempDir when root tests
	require.NoError(t, err)
	require.NoError(t, os.Chmod(parent, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
	server := &privateServer{dir: filepath.Join(parent, "pg")}
	require.NoError(t, server.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, server.server.Stop(context.Background())) })
	conn, err := pgx.Connect(t.Context(), server.server.URL("postgres"))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE DATABASE campaign")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	p := place(t)
	p.DatabaseURL, p.Server, p.NoDisk = server.server.URL("campaign"), server, "not in this test"
	_, err = migrate.Up(t.Context(), p.DatabaseURL)
	require.NoError(t, err)
	return p
}

func smallCampaign() CampaignOptions {
	return CampaignOptions{
		Seed: 3, Duration: 3 * time.Minute, Shortest: 200 * time.Millisecond, Longest: 300 * time.Millisecond,
		Rate: 40, Concurrency: 16, Drain: 2 * patience, Recovery: patience,
	}
}

// TestCampaignSmall does harm of every kind but the longest ones, once. Nothing is lost.
func TestCampaignSmall(t *testing.T) {
	t.Parallel()
	o := smallCampaign()
	o.Only = slices.DeleteFunc(Kinds(), func(k Kind) bool { return k == ConnectionsTaken || k == DatabaseTimeout })
	o.Faults = len(o.Only)
	r, err := Campaign(t.Context(), harshPlace(t), o)
	require.NoError(t, err)
	require.Empty(t, r.Account.Lost)
	require.Empty(t, r.Account.Wrong)
	require.True(t, r.OK(), r.String())
	require.Equal(t, "not in this test", r.NotRun[DiskFull])
	require.Len(t, r.Faults, o.Faults-len(r.NotRun))
	for _, f := range r.Faults {
		require.Positive(t, f.Recovery, f.Fault)
	}
	a := r.Account
	require.Greater(t, a.Acknowledged, 100)
	require.Zero(t, a.Open)
	require.EqualValues(t, a.Acknowledged, a.Books[accepted], "an event posted again under its key is one event")
	require.Positive(t, a.Refused+a.Unacknowledged, "callers felt it")
	require.Regexp(t, `(?m)^LOST +0$`, r.String())
}

// TestCampaignDetectsLoss: an event that is deleted from the database, and one that its receiver denies, are lost,
// and the campaign has failed.
func TestCampaignDetectsLoss(t *testing.T) {
	t.Parallel()
	o := smallCampaign()
	o.Only, o.Faults = []Kind{ReceiverResets, KillAPI}, 2
	o.sabotage = func(ctx context.Context, f *field) error {
		if _, err := f.pool.Exec(ctx, `DELETE FROM alert_deliveries WHERE event_id = (SELECT min(event_id::text)::uuid FROM alert_deliveries)`); err != nil {
			return err
		}
		r := f.receivers[0]
		r.mu.Lock()
		defer r.mu.Unlock()
		for event, m := range r.messages {
			if m.Accepted > 0 {
				delete(r.messages, event)
				return nil
			}
		}
		return nil
	}
	r, err := Campaign(t.Context(), harshPlace(t), o)
	require.NoError(t, err)
	require.False(t, r.OK())
	require.Len(t, r.Faults, 2)
	require.Len(t, r.Account.Lost, 2, "%v", r.Account.Lost)
	require.Contains(t, r.Account.Lost[0]+r.Account.Lost[1], "the database does not know it")
	require.Contains(t, r.Account.Lost[0]+r.Account.Lost[1], "the receiver never accepted it")
	require.EqualValues(t, 0, r.Account.Books.Drift(), "the accounts alone would not have told")
	require.Contains(t, r.Markdown(), "| **lost** | **2** |")
}
