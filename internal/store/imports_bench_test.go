package store_test

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/store"
)

// priceFile is a file of prices that is made as it is read, so that nothing of it is in memory but
// what the reader of it keeps there. It watches the heap meanwhile.
type priceFile struct {
	format     imports.Format
	securities int
	days       int
	plus       int // of every close

	row     int
	rest    []byte
	sampled int
	heap    uint64 // the most that was seen
}

func (f *priceFile) Read(p []byte) (int, error) {
	for len(f.rest) < len(p) && f.row <= f.securities*f.days {
		f.rest = f.append(f.rest)
		f.row++
	}
	n := copy(p, f.rest)
	if n == 0 {
		return 0, io.EOF
	}
	f.rest = append(f.rest[:0], f.rest[n:]...)
	if f.sampled += n; f.sampled > 4<<20 {
		f.sampled = 0
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		f.heap = max(f.heap, m.HeapAlloc)
	}
	return n, nil
}

func (f *priceFile) append(b []byte) []byte {
	const closing = "]\n"
	if f.row == 0 {
		if f.format == imports.JSON {
			return append(b, '[')
		}
		return append(b, "symbol,date,close,currency\n"...)
	}
	i := f.row - 1
	symbol, day := i/f.days, i%f.days
	date := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day)
	price := 10000 + (i*7919)%90000 + f.plus
	if f.format == imports.JSON {
		if i > 0 {
			b = append(b, ",\n"...)
		}
		b = fmt.Appendf(b, `{"symbol":"S%d","date":"%s","close":"%d.%02d","currency":"CHF"}`, symbol, date.Format(time.DateOnly), price/100, price%100)
		if f.row == f.securities*f.days {
			b = append(b, closing...)
		}
		return b
	}
	b = strconv.AppendInt(append(b, 'S'), int64(symbol), 10)
	b = date.AppendFormat(append(b, ','), time.DateOnly)
	return fmt.Appendf(b, ",%d.%02d,CHF\n", price/100, price%100)
}

func securitiesFile(n int) string {
	var b strings.Builder
	b.WriteString("symbol,name,asset_class,sector,currency,role\n")
	for i := range n {
		fmt.Fprintf(&b, "S%d,Security %d,equity,Any,CHF,holding\n", i, i)
	}
	return b.String()
}

// BenchmarkImportMillionPrices imports a million prices: those of 400 securities on 2,500 days. It tells
// how long the import takes, how much processor time PostgreSQL's backend spends on it (which other work
// on the machine does not change), and how much was on the heap at most while its file was read.
func BenchmarkImportMillionPrices(b *testing.B) {
	for name, files := range map[string][]priceFile{
		"CSV/new":                         {{format: imports.CSV}},
		"CSV/same":                        {{format: imports.CSV}, {format: imports.CSV}},
		"CSV/new prices of the same days": {{format: imports.CSV}, {format: imports.CSV, plus: 1}},
		"JSON/new":                        {{format: imports.JSON}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				pool := connectOnce(b)
				to := store.NewImports(pool, store.ImportOptions{})
				importFile(b, to, imports.Securities, imports.CSV, strings.NewReader(securitiesFile(400)))
				var (
					took, cpu time.Duration
					heap      uint64
				)
				for _, file := range files { // the last one counts
					file.securities, file.days = 400, 2500
					runtime.GC()
					start, before := time.Now(), backendTime(b, pool)
					require.Equal(b, int64(1_000_000), importFile(b, to, imports.Prices, file.format, &file).Rows)
					took, cpu, heap = time.Since(start), backendTime(b, pool)-before, file.heap
				}
				b.ReportMetric(took.Seconds(), "s/import")
				b.ReportMetric(cpu.Seconds(), "s-backend")
				b.ReportMetric(float64(heap)/(1<<20), "MiB-heap")
				b.ReportMetric(0, "ns/op") // of all files and the database's making, which says nothing
			}
		})
	}
}

// connectOnce returns a pool of one connection, whose backend can be told apart.
func connectOnce(b *testing.B) *pgxpool.Pool {
	b.Helper()
	c, err := pgxpool.ParseConfig(dbtest.URL(b))
	require.NoError(b, err)
	c.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(b.Context(), c)
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	return pool
}

// backendTime returns the processor time that the pool's backend has had, as Linux tells it; 0 elsewhere,
// and when PostgreSQL is on another machine.
func backendTime(b *testing.B, pool *pgxpool.Pool) time.Duration {
	b.Helper()
	var pid int
	require.NoError(b, pool.QueryRow(b.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 15 || !strings.Contains(fields[1], "postgres") {
		return 0
	}
	var ticks time.Duration
	for _, field := range fields[13:15] { // in user mode and in the kernel, see proc(5)
		n, err := strconv.ParseInt(field, 10, 64)
		require.NoError(b, err)
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

func importFile(t testing.TB, to *store.Imports, kind imports.Kind, format imports.Format, body io.Reader) imports.Summary {
	t.Helper()
	r := imports.Request{TenantID: store.DefaultTenant, Kind: kind, Format: format, Body: body}
	if kind == imports.Prices {
		r.Calendar = "S0"
	}
	summary, err := to.Import(t.Context(), r)
	require.NoError(t, err)
	return summary
}
