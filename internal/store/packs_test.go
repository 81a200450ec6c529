package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/store"
)

// An import makes packs stale while jobs of the nightly order move them on: all lock them in the order of
// their dates, so that none waits for another that waits for it. What is asked here of each: one that has to
// wait for the first pack has not locked the last one yet.
func TestPacksAreLockedInOrder(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(s *importSite, shelf *store.Packs, list []packs.Pack) error{
		"import": func(s *importSite, _ *store.Packs, _ []packs.Pack) error {
			_, err := s.try(imports.FX, "date,base,quote,rate\n2020-01-02,USD,CHF,1\n")
			return err
		},
		"retire": func(s *importSite, shelf *store.Packs, _ []packs.Pack) error {
			_, err := shelf.RetirePacks(s.t.Context(), store.DefaultTenant)
			return err
		},
		"build": func(s *importSite, shelf *store.Packs, _ []packs.Pack) error {
			_, _, err := shelf.CheckPacks(s.t.Context(), store.DefaultTenant, 10)
			return err
		},
		"reconcile": func(s *importSite, shelf *store.Packs, list []packs.Pack) error {
			verdicts := []packs.Verdict{{Pack: list[0]}, {Pack: list[1]}, {Pack: list[2], Reason: "x"}}
			return shelf.RecordVerdicts(s.t.Context(), store.DefaultTenant, verdicts)
		},
		"fresh": func(s *importSite, shelf *store.Packs, _ []packs.Pack) error {
			_, err := shelf.MarkFresh(s.t.Context(), store.DefaultTenant)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newImportSite(t)
			ctx := t.Context()
			s.do(imports.Securities, listed)
			s.do(imports.Prices, closes, calendar("IDX"))
			client, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{})
			require.NoError(t, err)
			shelf := store.NewPacks(s.pool, client, time.Now)
			switch name {
			case "retire": // what they are retired for
				exec(t, s.pool, `INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ('default', 3, 'test', 0, 'h')`)
				exec(t, s.pool, `INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state)
					SELECT gen_random_uuid(), tenant_id, date, 3, 'h', 'fresh' FROM pricing_packs`)
			case "fresh":
				exec(t, s.pool, `UPDATE pricing_packs SET built_at = now(), reconciled_at = now()`)
			}
			// In the table the first pack stands last.
			exec(t, s.pool, `UPDATE pricing_packs SET reason = NULL WHERE date = '2020-01-02' AND revision = 2`)
			list, err := shelf.PricingPacks(ctx, store.DefaultTenant, packs.Filter{}, packs.Cursor{}, 10)
			require.NoError(t, err)
			list = list[len(list)-3:]
			first, last := list[2], list[0]
			if name == "retire" {
				rows, err := s.pool.Query(ctx, `SELECT id FROM pricing_packs WHERE revision = 2 ORDER BY date`)
				require.NoError(t, err)
				ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
				require.NoError(t, err)
				first.ID, last.ID = ids[0], ids[2]
			}

			tx, err := s.pool.Begin(ctx)
			require.NoError(t, err)
			defer tx.Rollback(ctx) //nolint:errcheck // ends what is under way when the test fails
			_, err = tx.Exec(ctx, `SELECT FROM pricing_packs WHERE id = $1 FOR UPDATE`, first.ID)
			require.NoError(t, err)
			done := make(chan error, 1)
			go func() { done <- do(s, shelf, list) }()
			require.Eventually(t, func() bool {
				return importValue[bool](s, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`)
			}, 10*time.Second, 10*time.Millisecond)
			_, err = tx.Exec(ctx, `SELECT FROM pricing_packs WHERE id = $1 FOR UPDATE NOWAIT`, last.ID)
			require.NoError(t, err)
			require.NoError(t, tx.Rollback(ctx))
			require.NoError(t, <-done)
		})
	}
}
