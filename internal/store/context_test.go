package store_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

// packID returns the id of a pack that addPack has made.
func packID(t *testing.T, pool *pgxpool.Pool, tenant, day string, revision int) string {
	t.Helper()
	var id uuid.UUID
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT id FROM pricing_packs WHERE tenant_id = $1 AND date = $2::text::date AND revision = $3`,
		tenant, day, revision).Scan(&id))
	return id.String()
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addPack(t, pool, "default", "2005-01-03", 1, store.PackStale)
	addPack(t, pool, "default", "2005-01-03", 2, store.PackFresh)
	addPack(t, pool, "default", "2005-01-05", 2, store.PackFresh)
	addPack(t, pool, "default", "2005-01-06", 2, store.PackWarming)
	addPack(t, pool, "other", "2005-01-07", 1, store.PackFresh)
	at := func(day string, revision int) string { return packID(t, pool, "default", day, revision) }
	on := func(day string) *time.Time { d := date(t, day); return &d }

	p, err := s.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{Name: "P", BaseCurrency: "CHF"})
	require.NoError(t, err)
	genesis := p.LedgerVersion
	versions := []string{genesis}
	for _, amounts := range [][]string{{"100"}, {"20", "3"}} {
		var txs []portfolio.Transaction
		for _, a := range amounts {
			txs = append(txs, deposit(t, "2005-01-03", a))
		}
		if p, _, err = s.AppendTransactions(t.Context(), "default", p.ID, txs); err != nil {
			require.NoError(t, err)
		}
		versions = append(versions, p.LedgerVersion)
	}
	var second string // in the middle of an append
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT ledger_version FROM transactions WHERE seq = 2`).Scan(&second))
	twin, err := s.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{Name: "Twin", BaseCurrency: "USD"})
	require.NoError(t, err)
	theirs := uuid.NewString()
	exec(t, pool, `INSERT INTO portfolios (id, tenant_id, name, base_currency, calendar, ledger_version) VALUES ($1, 'other', 'T', 'CHF', 'CAL', 'v')`, theirs)

	type want struct {
		pack, asof, version string
		seq                 int64
		code                fault.Code
		text                string
	}
	for name, c := range map[string]struct {
		query patterns.ContextQuery
		want  want
	}{
		"newest fresh":               {patterns.ContextQuery{}, want{pack: at("2005-01-05", 2), asof: "2005-01-05"}},
		"newest fresh, required":     {patterns.ContextQuery{RequireFresh: true}, want{pack: at("2005-01-05", 2), asof: "2005-01-05"}},
		"as of a day":                {patterns.ContextQuery{Asof: on("2005-01-03")}, want{pack: at("2005-01-03", 2), asof: "2005-01-03"}},
		"as of a day without":        {patterns.ContextQuery{Asof: on("2005-01-04")}, want{pack: at("2005-01-03", 2), asof: "2005-01-04"}},
		"as of one that is not":      {patterns.ContextQuery{Asof: on("2005-01-06")}, want{pack: at("2005-01-06", 2), asof: "2005-01-06"}},
		"as of one that must be":     {patterns.ContextQuery{Asof: on("2005-01-06"), RequireFresh: true}, want{code: fault.PackNotFresh, text: "is warming"}},
		"before the first":           {patterns.ContextQuery{Asof: on("2005-01-02")}, want{code: fault.InsufficientData, text: "the first is 2005-01-03"}},
		"no packs at all":            {patterns.ContextQuery{TenantID: "nobody"}, want{code: fault.InsufficientData, text: "import prices first"}},
		"a portfolio":                {patterns.ContextQuery{PortfolioID: p.ID}, want{pack: at("2005-01-05", 2), asof: "2005-01-05", version: p.LedgerVersion, seq: 3}},
		"a portfolio in capitals":    {patterns.ContextQuery{PortfolioID: strings.ToUpper(p.ID)}, want{pack: at("2005-01-05", 2), asof: "2005-01-05", version: p.LedgerVersion, seq: 3}},
		"an empty portfolio":         {patterns.ContextQuery{PortfolioID: twin.ID}, want{pack: at("2005-01-05", 2), asof: "2005-01-05", version: twin.LedgerVersion}},
		"an unknown portfolio":       {patterns.ContextQuery{PortfolioID: uuid.NewString()}, want{code: fault.NotFound, text: "there is no portfolio"}},
		"the zero portfolio":         {patterns.ContextQuery{PortfolioID: uuid.Nil.String()}, want{code: fault.NotFound, text: "there is no portfolio"}},
		"another tenant's portfolio": {patterns.ContextQuery{PortfolioID: theirs}, want{code: fault.NotFound, text: "there is no portfolio"}},
		"no portfolio's id":          {patterns.ContextQuery{PortfolioID: "mine"}, want{code: fault.NotFound, text: `there is no portfolio "mine"`}},

		"pinned pack":                      {patterns.ContextQuery{PackID: at("2005-01-03", 1)}, want{pack: at("2005-01-03", 1), asof: "2005-01-03"}},
		"pinned pack in whatever state":    {patterns.ContextQuery{PackID: at("2005-01-06", 2), RequireFresh: true}, want{pack: at("2005-01-06", 2), asof: "2005-01-06"}},
		"pinned pack as of later":          {patterns.ContextQuery{PackID: at("2005-01-03", 1), Asof: on("2005-01-09")}, want{pack: at("2005-01-03", 1), asof: "2005-01-09"}},
		"pinned pack as of before":         {patterns.ContextQuery{PackID: at("2005-01-05", 2), Asof: on("2005-01-04")}, want{code: fault.Invalid, text: "was not known then"}},
		"unknown pack":                     {patterns.ContextQuery{PackID: uuid.NewString()}, want{code: fault.NotFound, text: "there is no pricing pack"}},
		"another tenant's pack":            {patterns.ContextQuery{PackID: packID(t, pool, "other", "2005-01-07", 1)}, want{code: fault.NotFound, text: "there is no pricing pack"}},
		"no pack's id":                     {patterns.ContextQuery{PackID: "latest"}, want{code: fault.NotFound, text: `there is no pricing pack "latest"`}},
		"pinned pack, newest ledger":       {patterns.ContextQuery{PackID: at("2005-01-03", 1), PortfolioID: p.ID}, want{pack: at("2005-01-03", 1), asof: "2005-01-03", version: p.LedgerVersion, seq: 3}},
		"pinned pack, unknown portfolio":   {patterns.ContextQuery{PackID: at("2005-01-03", 1), PortfolioID: theirs}, want{code: fault.NotFound, text: "there is no portfolio"}},
		"pinned ledger":                    {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: versions[1]}, want{pack: at("2005-01-05", 2), asof: "2005-01-05", version: versions[1], seq: 1}},
		"pinned ledger as of":              {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: versions[1], Asof: on("2005-01-04")}, want{pack: at("2005-01-03", 2), asof: "2005-01-04", version: versions[1], seq: 1}},
		"pinned to what is newest":         {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: versions[2]}, want{pack: at("2005-01-05", 2), asof: "2005-01-05", version: versions[2], seq: 3}},
		"pinned to before all bookings":    {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: genesis}, want{pack: at("2005-01-05", 2), asof: "2005-01-05", version: genesis}},
		"pinned between":                   {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: second}, want{pack: at("2005-01-05", 2), asof: "2005-01-05", version: second, seq: 2}},
		"pinned ledger and pack":           {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: genesis, PackID: at("2005-01-03", 1)}, want{pack: at("2005-01-03", 1), asof: "2005-01-03", version: genesis}},
		"unknown version":                  {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: "dead"}, want{code: fault.NotFound, text: `the version "dead"`}},
		"another portfolio's version":      {patterns.ContextQuery{PortfolioID: twin.ID, LedgerVersion: versions[1]}, want{code: fault.NotFound, text: "has never had the version"}},
		"another portfolio's first":        {patterns.ContextQuery{PortfolioID: twin.ID, LedgerVersion: genesis}, want{code: fault.NotFound, text: "has never had the version"}},
		"version that is no text":          {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: "\x00"}, want{code: fault.NotFound, text: "has never had the version"}},
		"version of no portfolio":          {patterns.ContextQuery{LedgerVersion: "dead"}, want{code: fault.Invalid, text: "no portfolio"}},
		"pinned ledger, pack not fresh":    {patterns.ContextQuery{PortfolioID: p.ID, LedgerVersion: genesis, Asof: on("2005-01-06"), RequireFresh: true}, want{code: fault.PackNotFresh, text: "is warming"}},
		"pinned ledger, unknown portfolio": {patterns.ContextQuery{PortfolioID: theirs, LedgerVersion: "v"}, want{code: fault.NotFound, text: "there is no portfolio"}},
	} {
		if c.query.TenantID == "" {
			c.query.TenantID = "default"
		}
		for source, contexts := range map[string]patterns.ContextSource{"store": s, "shared": store.NewContexts(s)} {
			t.Run(name+", "+source, func(t *testing.T) {
				t.Parallel()
				got, err := contexts.Resolve(t.Context(), c.query)
				if c.want.code != "" {
					require.Equal(t, c.want.code, fault.CodeOf(err), "%v", err)
					require.Contains(t, fault.Detail(err), c.want.text)
					return
				}
				require.NoError(t, err)
				require.Equal(t, c.want.pack, got.PricingPack.ID)
				require.Equal(t, "hash", got.PricingPack.Hash)
				require.Equal(t, date(t, c.want.asof), got.Asof)
				require.False(t, got.PricingPack.Date.After(got.Asof))
				if c.query.PortfolioID == "" {
					require.Nil(t, got.Portfolio)
					return
				}
				require.Equal(t, strings.ToLower(c.query.PortfolioID), got.Portfolio.ID)
				require.Equal(t, c.want.version, got.Portfolio.LedgerVersion)
				require.Equal(t, c.want.seq, got.Portfolio.LedgerSeq)
				require.NotEmpty(t, got.Portfolio.BaseCurrency)
			})
		}
	}
}

func TestNoPackIsFresh(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addPack(t, pool, "default", "2005-01-03", 1, store.PackWarming)
	for _, contexts := range []patterns.ContextSource{s, store.NewContexts(s)} {
		_, err := contexts.Resolve(t.Context(), patterns.ContextQuery{TenantID: "default", RequireFresh: true})
		require.Equal(t, fault.PackNotFresh, fault.CodeOf(err))
		got, err := contexts.Resolve(t.Context(), patterns.ContextQuery{TenantID: "default"})
		require.NoError(t, err, "whoever takes any pack gets the newest")
		require.Equal(t, date(t, "2005-01-03"), got.Asof)
	}
}

// What was committed before a request came is in its answer, however many share a lookup.
func TestSharedContextsAreNeverStale(t *testing.T) {
	t.Parallel()
	const (
		portfolios = 4
		bookings   = 150
		readers    = 16
	)
	s, pool := setup(t)
	addPack(t, pool, "default", "2005-01-03", 1, store.PackFresh)
	contexts := store.NewContexts(s)
	ids := make([]string, portfolios)
	committed := make([]atomic.Int64, portfolios) // at least so many bookings
	for i := range ids {
		p, err := s.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{Name: "P", BaseCurrency: "CHF"})
		require.NoError(t, err)
		ids[i] = p.ID
	}
	stop, failures := make(chan struct{}), make(chan error, readers+1)
	var reading, writing sync.WaitGroup
	writing.Go(func() {
		for n := range int64(bookings) {
			i := rand.IntN(portfolios)
			p, _, err := s.AppendTransactions(t.Context(), "default", ids[i], []portfolio.Transaction{deposit(t, "2005-01-03", "1")})
			if err != nil {
				failures <- fmt.Errorf("booking %d: %w", n, err)
				return
			}
			committed[i].Store(p.LedgerSeq)
		}
	})
	for range readers {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(portfolios)
				least := committed[i].Load()
				c, err := contexts.Resolve(t.Context(), patterns.ContextQuery{TenantID: "default", PortfolioID: ids[i]})
				if err == nil && c.Portfolio.LedgerSeq < least {
					err = fmt.Errorf("the ledger stood at %d, seen was %d", least, c.Portfolio.LedgerSeq)
				}
				if err == nil && c.Portfolio.ID != ids[i] {
					err = fmt.Errorf("asked for %s, got %s", ids[i], c.Portfolio.ID)
				}
				if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	close(failures)
	require.NoError(t, <-failures)
}

// BenchmarkResolve has 32 requests at a time ask for the context of one of ten portfolios.
func BenchmarkResolve(b *testing.B) {
	config, err := pgxpool.ParseConfig(dbtest.URL(b))
	require.NoError(b, err)
	counter := &countingTracer{}
	config.ConnConfig.Tracer, config.MaxConns = counter, 25
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	require.NoError(b, err)
	defer pool.Close()
	s := store.New(pool, store.Options{})
	for _, sql := range []string{
		`INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
			VALUES (gen_random_uuid(), 'default', 'CAL', 'C', 'equity', 'Tech', 'CHF', 'holding')`,
		`UPDATE tenants SET calendar = 'CAL'`,
		`INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ('default', 1, 'test', 0, 'h')`,
		`INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state)
			SELECT gen_random_uuid(), 'default', date '2000-01-01' + n, 1, 'h', 'fresh' FROM generate_series(1, 5000) AS n`,
		`ANALYZE`,
	} {
		_, err := pool.Exec(b.Context(), sql)
		require.NoError(b, err)
	}
	var ids []string
	for range 10 {
		p, err := s.CreatePortfolio(b.Context(), "default", portfolio.Portfolio{Name: "P", BaseCurrency: "CHF"})
		require.NoError(b, err)
		ids = append(ids, p.ID)
	}
	asof := time.Date(2005, 1, 3, 0, 0, 0, 0, time.UTC)
	for _, source := range []struct {
		name     string
		contexts patterns.ContextSource
	}{{"each", s}, {"shared", store.NewContexts(s)}} {
		for _, concurrent := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/concurrent=%d", source.name, concurrent), func(b *testing.B) {
				before := counter.statements.Load()
				b.SetParallelism(max(concurrent/2, 1)) // times two processors
				if concurrent == 1 {
					for n := 0; b.Loop(); n++ {
						resolve(b, source.contexts, ids[n%len(ids)], asof)
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for n := rand.IntN(len(ids)); pb.Next(); n++ {
							resolve(b, source.contexts, ids[n%len(ids)], asof)
						}
					})
				}
				b.ReportMetric(float64(counter.statements.Load()-before)/float64(b.N), "queries/op")
			})
		}
	}
}

func resolve(b *testing.B, contexts patterns.ContextSource, id string, asof time.Time) {
	_, err := contexts.Resolve(b.Context(), patterns.ContextQuery{TenantID: "default", PortfolioID: id, Asof: &asof})
	if err != nil {
		b.Error(err)
	}
}
