package store_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

var runsStart = time.Date(2026, 3, 1, 9, 0, 0, 123456000, time.UTC)

// aRun returns a run as an engine hands it over, with a trace of some steps.
func aRun(change ...func(*patterns.Run)) patterns.Run {
	id := uuid.Must(uuid.NewV7()).String()
	c := agent.Context{
		TenantID: "default", RequestID: "req-1", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", UserID: "ada",
		Asof:        time.Date(2026, 2, 27, 0, 0, 0, 0, time.UTC),
		PricingPack: agent.Pack{ID: uuid.NewString(), Date: time.Date(2026, 2, 26, 0, 0, 0, 0, time.UTC), Revision: 7, Hash: "cafe"},
		Portfolio:   &agent.Portfolio{ID: uuid.NewString(), BaseCurrency: "CHF", LedgerVersion: "beef", LedgerSeq: 42},
	}
	r := patterns.Run{
		ID: id, TenantID: "default", RequestID: "req-1", UserID: "ada", PatternID: "portfolio_overview",
		DefinitionHash: "d00d", Context: c, StartedAt: runsStart, Duration: 1234567891 * time.Nanosecond,
		Inputs:   map[string]any{"portfolio_id": c.Portfolio.ID, "lookback_days": json.Number("252")},
		Warnings: []string{}, DataHash: strings.Repeat("ab", 32),
		Trace: patterns.Trace{
			RequestID: "req-1", TraceID: c.TraceID, PatternID: "portfolio_overview", PricingPackID: c.PricingPack.ID,
			LedgerVersion: "beef", Asof: "2026-02-27", DurationSeconds: 1.234567891,
			AgentsUsed: []string{"financial_analyst"}, CapabilitiesUsed: []string{"ledger.positions"},
			Sources: []string{"fx:USD/CHF", "prices:SBI"}, Staleness: []patterns.Staleness{},
			Steps: []patterns.StepTrace{{
				Capability: "ledger.positions", Agent: "financial_analyst", As: "positions", Status: patterns.StatusSuccess,
				StartedAt: runsStart, DurationSeconds: 0.1 + 0.2, // whose digits a rounding column would lose
			}},
		},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func failed(r *patterns.Run) {
	r.DataHash, r.ErrorCode, r.ErrorDetail = "", fault.InsufficientData, "no price of AAA"
}

func insertRuns(t *testing.T, s *store.Store, recorded ...patterns.Run) {
	t.Helper()
	require.NoError(t, s.InsertRuns(t.Context(), recorded))
}

func countRuns(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	var n int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pattern_runs`).Scan(&n))
	return n
}

func TestARunComesBackAsItWasRecorded(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	for name, r := range map[string]patterns.Run{
		"plain":  aRun(),
		"failed": aRun(failed),
		"no portfolio, no user, no tracing": aRun(func(r *patterns.Run) {
			r.Context.Portfolio, r.Context.UserID, r.UserID, r.Context.TraceID = nil, "", "", ""
		}),
		"numbers keep their digits": aRun(func(r *patterns.Run) {
			r.Inputs = map[string]any{
				"price": json.Number("1.50"), "large": json.Number("1e2"), "huge": json.Number("1e400"), "id": json.Number("9007199254740993"),
				"nested": []any{json.Number("0.10"), map[string]any{"z": nil, "a": true}},
			}
		}),
		"text that PostgreSQL's jsonb does not take": aRun(func(r *patterns.Run) {
			r.Inputs = map[string]any{"name": "a\x00b", "html": "<&>", "emoji": "🙂"}
			r.Warnings = []string{"the name \x00 is odd", "second"}
			r.Trace.Steps[0].Error = "nothing named \x00"
		}),
		"nested steps": aRun(func(r *patterns.Run) {
			r.Trace.Steps[0].Steps = slices.Clone(r.Trace.Steps)
			r.RequireFresh = true
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			insertRuns(t, s, r)
			got, err := s.Run(t.Context(), "default", r.ID)
			require.NoError(t, err)
			require.Equal(t, r, got)
			// Byte for byte, in the table too.
			var trace, inputs string
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT trace, inputs FROM pattern_runs WHERE id = $1`, r.ID).Scan(&trace, &inputs))
			want, err := json.Marshal(r.Trace)
			require.NoError(t, err)
			require.Equal(t, string(want), trace)
			want, err = json.Marshal(r.Inputs)
			require.NoError(t, err)
			require.Equal(t, string(want), inputs)
		})
	}
}

func TestARunWithTextThatNoColumnTakes(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	r := aRun(failed, func(r *patterns.Run) { r.ErrorDetail, r.UserID = "no \x00 and no \xff", "a\x00" })
	insertRuns(t, s, r)
	got, err := s.Run(t.Context(), "default", r.ID)
	require.NoError(t, err)
	require.Equal(t, "no \uFFFD and no \uFFFD", got.ErrorDetail)
	require.Equal(t, "a\uFFFD", got.UserID)
}

func TestInsertRunsIsAllOrNone(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*patterns.Run){
		"id":               func(r *patterns.Run) { r.ID = "7" },
		"pack":             func(r *patterns.Run) { r.Context.PricingPack.ID = "" },
		"portfolio":        func(r *patterns.Run) { r.Context.Portfolio.ID = "mine" },
		"inputs":           func(r *patterns.Run) { r.Inputs["f"] = func() {} },
		"text":             func(r *patterns.Run) { r.DefinitionHash = "\x00" },
		"neither good nor": func(r *patterns.Run) { r.DataHash = "" }, // a success without data
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, pool := setup(t)
			err := s.InsertRuns(t.Context(), []patterns.Run{aRun(), aRun(spoil), aRun()})
			require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
			require.Zero(t, countRuns(t, pool))
		})
	}
}

// A batch whose commit was not confirmed is sent again.
func TestInsertRunsAgain(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	first, second := aRun(), aRun()
	insertRuns(t, s, first)
	changed := first
	changed.PatternID = "other"
	insertRuns(t, s, changed, second)
	require.Equal(t, 2, countRuns(t, pool))
	got, err := s.Run(t.Context(), "default", first.ID)
	require.NoError(t, err)
	require.Equal(t, first, got)
}

func TestInsertRunsWithoutADatabase(t *testing.T) {
	t.Parallel()
	s := store.New(dbtest.Connect(t, "postgres://someone@127.0.0.1:1/nowhere"), store.Options{})
	err := s.InsertRuns(t.Context(), []patterns.Run{aRun()})
	require.True(t, store.Unavailable(err), "%v", err)
	require.NotEqual(t, fault.Invalid, fault.CodeOf(err), "it may be tried again")
}

func TestRunNotFound(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	theirs := aRun(func(r *patterns.Run) { r.TenantID = "other" })
	insertRuns(t, s, theirs)
	for name, id := range map[string]string{
		"unknown": uuid.NewString(), "no UUID": "latest", "empty": "", "of another tenant": theirs.ID,
	} {
		_, err := s.Run(t.Context(), "default", id)
		require.Equal(t, fault.NotFound, fault.CodeOf(err), name)
		require.Contains(t, fault.Detail(err), fmt.Sprintf("%q", id))
	}
	list, next, err := s.Runs(t.Context(), "default", runs.Filter{}, runs.Cursor{}, 10)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Nil(t, next)
}

// Whatever is asked for, pages of any size put together are what a plain filter and sort over all
// runs gives.
func TestRunsListsWhatTheFilterSelects(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	random := rand.New(rand.NewPCG(1, 2))
	portfolios := []string{uuid.NewString(), uuid.NewString()}
	all := make([]patterns.Run, 200)
	for i := range all {
		all[i] = aRun(func(r *patterns.Run) {
			r.PatternID = []string{"a", "b", "c"}[random.IntN(3)]
			r.TenantID = []string{"default", "default", "other"}[random.IntN(3)]
			r.Context.TenantID = r.TenantID
			r.StartedAt = runsStart.Add(time.Duration(random.IntN(20)) * time.Minute) // many at the same time
			if of := random.IntN(3); of < 2 {
				r.Context.Portfolio.ID = portfolios[of]
			} else {
				r.Context.Portfolio = nil
			}
			if random.IntN(4) == 0 {
				failed(r)
			}
		})
	}
	insertRuns(t, s, all...)

	bound := func(minutes int) time.Time { return runsStart.Add(time.Duration(minutes) * time.Minute) }
	for _, f := range []runs.Filter{
		{},
		{PatternID: "a"},
		{PatternID: "absent"},
		{PatternID: "\x00"},
		{Outcome: runs.Error},
		{Outcome: runs.Success},
		{PatternID: "b", Outcome: runs.Error},
		{PatternID: "b", Outcome: runs.Success},
		{Since: bound(5)},
		{Until: bound(5)},
		{Since: bound(5), Until: bound(15), PatternID: "c"},
		{Since: bound(5), Until: bound(15), Outcome: runs.Error},
		{Since: bound(15), Until: bound(5)},
		{PortfolioID: portfolios[0]},
		{PortfolioID: strings.ToUpper(portfolios[1]), PatternID: "a", Outcome: runs.Success},
		{PortfolioID: portfolios[1], Outcome: runs.Error, Since: bound(3), Until: bound(18)},
		{PortfolioID: uuid.NewString()},
		{PortfolioID: "mine"},
	} {
		t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
			t.Parallel()
			want := []string{}
			for _, r := range slices.SortedFunc(slices.Values(all), func(a, b patterns.Run) int {
				return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(b.ID, a.ID))
			}) {
				if r.TenantID == "default" && (f.PatternID == "" || r.PatternID == f.PatternID) &&
					(f.Outcome == "" || runs.OutcomeOf(r) == f.Outcome) &&
					(f.PortfolioID == "" || r.Context.Portfolio != nil && strings.EqualFold(r.Context.Portfolio.ID, f.PortfolioID)) &&
					!r.StartedAt.Before(f.Since) && (f.Until.IsZero() || r.StartedAt.Before(f.Until)) {
					want = append(want, r.ID)
				}
			}
			for _, limit := range []int{1, 7, 1000} {
				got, cursor := []string{}, runs.Cursor{}
				for more := true; more; {
					page, next, err := s.Runs(t.Context(), "default", f, cursor, limit)
					require.NoError(t, err)
					require.LessOrEqual(t, len(page), limit)
					for _, r := range page {
						got = append(got, r.ID)
					}
					if more = next != nil; more {
						require.Len(t, page, limit)
						cursor = *next
					}
				}
				require.Equal(t, want, got)
			}
		})
	}
}

func TestRunsLeavesOutWhatIsLarge(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	noise := make([]byte, 16<<10) // that does not compress to a few kilobytes
	for i := range noise {
		noise[i] = 'a' + byte(rand.IntN(26))
	}
	small := aRun()
	large := aRun(func(r *patterns.Run) {
		r.Inputs, r.StartedAt = map[string]any{"names": string(noise)}, runsStart.Add(-time.Second)
	})
	insertRuns(t, s, small, large)

	list, _, err := s.Runs(t.Context(), "default", runs.Filter{}, runs.Cursor{}, 10)
	require.NoError(t, err)
	small.Trace = patterns.Trace{}
	require.Equal(t, small, list[0], "all but the trace")
	require.Nil(t, list[1].Inputs)
	complete, err := s.Run(t.Context(), "default", large.ID)
	require.NoError(t, err)
	require.Equal(t, large, complete)
}

func TestRunsRefusesAStrangeCursor(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	_, _, err := s.Runs(t.Context(), "default", runs.Filter{}, runs.Cursor{ID: "7"}, 10)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}

// The statements keep their plans, made without looking at the values: each must still find its way
// through an index that holds what it looks for and no more.
func TestRunsAreFoundByIndex(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	exec(t, pool, `
		INSERT INTO pattern_runs (id, tenant_id, request_id, trace_id, pattern_id, definition_hash, inputs, asof, require_fresh,
			pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash, started_at, duration_seconds,
			outcome, error_code, data_hash, warnings, trace, portfolio_id, base_currency, ledger_version, ledger_seq)
		SELECT gen_random_uuid(), CASE n % 5 WHEN 0 THEN 'default' ELSE 't' || n % 5 END, '', '', 'p' || n % 50, '', '{}', '2026-01-01', false, gen_random_uuid(), '2026-01-01', 1, '',
			timestamptz '2026-01-01' + n * interval '1 second', 1,
			CASE WHEN n % 100 = 0 THEN 'error' ELSE 'success' END, CASE WHEN n % 100 = 0 THEN 'internal' END,
			CASE WHEN n % 100 <> 0 THEN 'x' END, '[]', '{}',
			('00000000-0000-0000-0000-' || lpad((n % 70)::text, 12, '0'))::uuid, 'CHF', '', 1
		FROM generate_series(1, 20000) AS n`)
	exec(t, pool, `ANALYZE pattern_runs`)
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), `SET plan_cache_mode = force_generic_plan`)
	require.NoError(t, err)
	recorder := &statements{}
	s := store.New(recording{conn, recorder}, store.Options{})
	for _, c := range []struct {
		filter runs.Filter
		index  string
	}{
		{runs.Filter{}, "pattern_runs_list"},
		{runs.Filter{Outcome: runs.Success}, "pattern_runs_list"},
		{runs.Filter{PatternID: "p7"}, "pattern_runs_of_pattern"},
		{runs.Filter{PatternID: "p7", Outcome: runs.Success}, "pattern_runs_of_pattern"},
		{runs.Filter{Outcome: runs.Error}, "pattern_runs_failed"},
		{runs.Filter{PatternID: "p7", Outcome: runs.Error}, "pattern_runs_failed"},
		{runs.Filter{PortfolioID: "00000000-0000-0000-0000-000000000007"}, "pattern_runs_of_portfolio"},
		{runs.Filter{PortfolioID: "00000000-0000-0000-0000-000000000007", Outcome: runs.Error}, "pattern_runs_of_portfolio"},
	} {
		recorder.sql = ""
		_, _, err := s.Runs(t.Context(), "default", c.filter, runs.Cursor{}, 50)
		require.NoError(t, err)
		require.NotEmpty(t, recorder.sql)
		_, err = conn.Exec(t.Context(), "PREPARE list AS "+recorder.sql, pgx.QueryExecModeExec)
		require.NoError(t, err)
		rows, err := conn.Query(t.Context(), "EXPLAIN EXECUTE list ("+literals(recorder.args)+")", pgx.QueryExecModeExec)
		require.NoError(t, err)
		var plan strings.Builder
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			plan.WriteString(line + "\n")
		}
		require.NoError(t, rows.Err())
		require.Regexp(t, `Index Scan (using|on) `+c.index+` `, plan.String(), "%+v", c.filter)
		_, err = conn.Exec(t.Context(), "DEALLOCATE list")
		require.NoError(t, err)
	}
}

// literals writes a statement's arguments as SQL.
func literals(args []any) string {
	list := make([]string, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case time.Time:
			list[i] = "'" + a.Format(time.RFC3339Nano) + "'"
		case *time.Time:
			list[i] = "NULL"
			if a != nil {
				list[i] = "'" + a.Format(time.RFC3339Nano) + "'"
			}
		case *string:
			list[i] = "NULL"
			if a != nil {
				list[i] = "'" + *a + "'"
			}
		default:
			list[i] = fmt.Sprintf("'%v'", a)
		}
	}
	return strings.Join(list, ", ")
}

func TestPruneRuns(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	for minute := range 10 {
		insertRuns(t, s, aRun(func(r *patterns.Run) {
			r.StartedAt = runsStart.Add(time.Duration(minute) * time.Minute)
			r.TenantID = []string{"default", "other"}[minute%2]
		}))
	}
	before := runsStart.Add(7 * time.Minute)
	for _, want := range []int{3, 3, 1, 0} {
		n, err := s.PruneRuns(t.Context(), before, 3)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	var oldest time.Time
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT min(started_at) FROM pattern_runs`).Scan(&oldest))
	require.True(t, oldest.Equal(before), "what started at the bound stays")
	require.Equal(t, 3, countRuns(t, pool))
}

func BenchmarkInsertRuns(b *testing.B) {
	pool := dbtest.New(b)
	s := store.New(pool, store.Options{})
	for _, size := range []int{1, 50, 500} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			batch := make([]patterns.Run, size)
			rows := 0
			for b.Loop() {
				for i := range batch {
					batch[i] = aRun(func(r *patterns.Run) {
						for range 9 { // ten steps
							r.Trace.Steps = append(r.Trace.Steps, r.Trace.Steps[0])
						}
					})
				}
				if err := s.InsertRuns(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				rows += size
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
