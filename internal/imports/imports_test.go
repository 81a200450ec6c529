package imports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
)

// anything lists every symbol but those with an X, in the currency that its first letters are, if they
// are one's.
var anything = Reference{
	Listing: func(symbol string) (Listing, bool) {
		code := "CHF"
		if len(symbol) > 3 {
			if _, problem := currency(symbol[:3]); problem == "" {
				code = symbol[:3]
			}
		}
		return Listing{ID: "id-of-" + symbol, Currency: code}, !strings.Contains(symbol, "X")
	},
	NewID: func(symbol string) string { return "new-" + symbol },
}

func read(t testing.TB, kind Kind, format Format, body io.Reader) (string, *Rows) {
	t.Helper()
	rows, err := Open(kind, format, body, anything)
	require.NoError(t, err)
	text, err := io.ReadAll(rows)
	require.NoError(t, err)
	require.NoError(t, rows.Err())
	return string(text), rows
}

// The staged text is COPY's: what separates and escapes there is escaped.
func TestRows(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind   Kind
		format Format
		body   string
		want   string
	}{
		"securities":      {Securities, CSV, "\uFEFFrole,currency,sector,name,asset_class,symbol,duration,last_date\r\nholding,CHF,,\"a \"\"b\"\"\nc\\\",bond,SBI,\"\",2007-05-08\r\n", "new-SBI\tSBI\ta \"b\"\\nc\\\\\tbond\t\tCHF\tholding\t\\N\t\\N\tt\tf\t2\n"},
		"security":        {Securities, JSON, `[{"role":"holding","currency":"CHF","sector":null,"name":"\u00e4\ud83d\ude00","asset_class":"b","symbol":"S","convexity":-1.50}]`, "new-S\tS\tä😀\tb\t\tCHF\tholding\t\\N\t-1.5\tf\tt\t1\n"},
		"prices":          {Prices, CSV, "symbol,date,close,currency\nSBI,2000-02-29,1.50,CHF\n\nSBI,1999-12-31,1.5e2,CHF\n", "id-of-SBI\t2000-02-29\t1.50\t\\N\t\\N\t\\N\t\\N\tf\t2\nid-of-SBI\t1999-12-31\t150\t\\N\t\\N\t\\N\t\\N\tf\t4\n"},
		"prices with bar": {Prices, NDJSON, "\n{\"symbol\":\"SBI\",\"date\":\"2000-02-29\",\"close\":1,\"currency\":\"CHF\",\"volume\":null}\r\n", "id-of-SBI\t2000-02-29\t1\t\\N\t\\N\t\\N\t\\N\tt\t2\n"},
		"macro":           {Macro, CSV, "series,date,value\na b,2000-01-01,-0\n", "a b\t2000-01-01\t0\t\\N\t\\N\t\\N\t2\n"},
		"news":            {News, JSON, `[{"id":1,"title":"x","published_at":"x","source":"","symbols":[]},{"id":"1","title":"x","published_at":"2000-01-01T00:30:00.1234567+01:00","source":null,"symbols":["B","A","B"]}]`, "1\t1999-12-31T23:30:00.123456Z\tx\t\t\t\\N\tA;B\t2\n"},
		"empty array":     {News, JSON, ` [ ] `, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, _ := read(t, tt.kind, tt.format, strings.NewReader(tt.body))
			require.Equal(t, tt.want, text)
			text, _ = read(t, tt.kind, tt.format, iotest.OneByteReader(strings.NewReader(tt.body)))
			require.Equal(t, tt.want, text)
			require.Equal(t, strings.Count(tt.want, "\t"), max(strings.Count(tt.want, "\n"), 0)*(len(Columns(tt.kind))-1))
		})
	}
}

// The sample's own files are imports.
func TestRowsOfTheSample(t *testing.T) {
	t.Parallel()
	securities := map[string]Listing{}
	for _, file := range []struct {
		kind Kind
		rows int64
	}{{Securities, 27}, {Prices, 58809}, {FX, 11435}, {Macro, 12349}} {
		f, err := os.Open(filepath.Join("../../configs/sample", string(file.kind)+".csv"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		rows, err := Open(file.kind, CSV, f, Reference{
			Listing: func(symbol string) (Listing, bool) { l, ok := securities[symbol]; return l, ok },
			NewID:   func(symbol string) string { return symbol },
		})
		require.NoError(t, err)
		text, err := io.ReadAll(rows)
		require.NoError(t, err)
		require.Empty(t, rows.Findings().First)
		require.Equal(t, file.rows, rows.Count())
		if file.kind == Securities {
			for line := range strings.Lines(string(text)) {
				fields := strings.Split(line, "\t")
				securities[fields[1]] = Listing{ID: fields[0], Currency: fields[5]}
			}
		}
	}
}

func TestBodiesThatEnd(t *testing.T) {
	t.Parallel()
	const head = "date,base,quote,rate\n"
	for name, format := range map[string]Format{head: CSV, "[": JSON, "": NDJSON} {
		rows, err := Open(FX, format, io.MultiReader(strings.NewReader(name), iotest.ErrReader(errors.New("reset"))), anything)
		if err == nil {
			_, _ = io.ReadAll(rows)
			err = rows.Err()
		}
		require.Equal(t, fault.Malformed, fault.CodeOf(err), "%s", format)

		rows, err = Open(FX, format, io.MultiReader(strings.NewReader(name), iotest.ErrReader(os.ErrDeadlineExceeded)), anything)
		if err == nil {
			_, _ = io.ReadAll(rows)
			err = rows.Err()
		}
		require.Equal(t, fault.Timeout, fault.CodeOf(err), "%s", format)
	}
}

// endless is a row that never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	e.read += len(p)
	return len(p), nil
}

// A row is read up to a bound, whatever it is made of.
func TestRowsThatAreTooLong(t *testing.T) {
	t.Parallel()
	for start, format := range map[string]Format{"date,base,quote,rate\n\"": CSV, `[{"date":"`: JSON, "{": NDJSON, "[[": JSON} {
		var tail endless
		_, rows := read(t, FX, format, io.MultiReader(strings.NewReader(start), &tail))
		require.Len(t, rows.Findings().First, 1, start)
		require.Less(t, tail.read, 4*mostRow)
	}
	for _, format := range []Format{CSV, JSON} {
		var tail endless
		_, err := Open(FX, format, &tail, anything)
		require.Equal(t, fault.Malformed, fault.CodeOf(err))
		require.Less(t, tail.read, 4*mostRow)
	}
}

// repeated is a file of many rows that is never in memory as a whole; it watches the heap.
type repeated struct {
	head, row string
	rows      int
	rest      []byte
	served    int
	heap      uint64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.served == 0 {
		r.rest = append(r.rest, r.head...)
	}
	for len(r.rest) < len(p) && r.served < r.rows {
		r.rest = append(r.rest, r.row...)
		if r.served++; r.served%(r.rows/10) == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			r.heap = max(r.heap, m.HeapAlloc)
		}
	}
	n := copy(p, r.rest)
	if n == 0 {
		return 0, io.EOF
	}
	r.rest = append(r.rest[:0], r.rest[n:]...)
	return n, nil
}

// Nothing is kept of rows, be they fine or not. The test runs alone: it measures the heap.
func TestMemoryIsFlat(t *testing.T) { //nolint:paralleltest // see above
	const rows = 300_000
	for name, file := range map[string]*repeated{
		"CSV":    {head: "symbol,date,close,currency\n", row: "SBI,2000-01-03,100.25,CHF\n"},
		"bad":    {head: "symbol,date,close,currency\n", row: "SBX,2000-01-03,NaN,CHF\n"},
		"broken": {head: "symbol,date,close,currency\n", row: "SBX,\"a\"b,NaN,CHF\n"},
		"NDJSON": {row: `{"symbol":"SBI","date":"2000-01-03","close":"100.25","currency":"CHF"}` + "\n"},
		"JSON":   {head: `[{"symbol":"SBI"}`, row: `,{"symbol":"SBI","date":"2000-01-03","close":"100.25","currency":"CHF"}` + "\n"},
	} {
		file.rows = rows
		format := CSV
		if strings.HasSuffix(name, "JSON") {
			format = map[string]Format{"JSON": JSON, "NDJSON": NDJSON}[name]
		}
		var before runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r, err := Open(Prices, format, file, anything)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, r)
		require.NoError(t, err)
		require.GreaterOrEqual(t, r.Count(), int64(rows))
		require.Less(t, int64(file.heap)-int64(before.HeapAlloc), int64(16<<20), "%s: of some 10 MiB at the least in the file", name)
	}
}

func BenchmarkRows(b *testing.B) {
	for name, file := range map[string]repeated{
		"CSV":    {head: "symbol,date,close,currency\n", row: "SBI,2000-01-03,100.25,CHF\n"},
		"NDJSON": {row: `{"symbol":"SBI","date":"2000-01-03","close":"100.25","currency":"CHF"}` + "\n"},
		"JSON":   {head: `[{"symbol":"SBI"}`, row: `,{"symbol":"SBI","date":"2000-01-03","close":"100.25","currency":"CHF"}` + "\n"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			file := file // it is read once
			file.rows = max(b.N, 10)
			r, err := Open(Prices, map[string]Format{"CSV": CSV, "JSON": JSON, "NDJSON": NDJSON}[name], &file, anything)
			require.NoError(b, err)
			_, err = io.Copy(io.Discard, r)
			require.NoError(b, err)
		})
	}
}

// encode writes the rows that are fine as a file again, in the form in which they are stored. given says
// what a row says something on.
func encode(t *testing.T, kind Kind, format Format, body []byte) (file []byte, given []string) {
	t.Helper()
	rows, err := Open(kind, format, bytes.NewReader(body), anything)
	if err != nil {
		require.NotEqual(t, fault.Internal, fault.CodeOf(err))
		return nil, nil
	}
	var (
		out     bytes.Buffer
		w       = csv.NewWriter(&out)
		names   []string
		objects = []map[string]any{}
	)
	for _, c := range rows.schema.columns {
		names = append(names, c.name)
	}
	require.NoError(t, w.Write(names))
	for {
		fine, err := rows.next()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		if !fine {
			continue
		}
		said, object, record := "", map[string]any{}, []string{}
		for i, c := range rows.schema.columns {
			of := rows.row.cells[i]
			record = append(record, of.text)
			said += fmt.Sprint(of.given, " ")
			switch {
			case !of.given:
			case c.list:
				object[c.name] = slices.DeleteFunc(strings.Split(of.text, ";"), func(s string) bool { return s == "" })
			default:
				object[c.name] = of.text
			}
		}
		given = append(given, said)
		objects = append(objects, object)
		require.NoError(t, w.Write(record))
		line := rows.appendCopy(nil)
		require.Equal(t, len(Columns(kind))-1, bytes.Count(line, []byte("\t")), "%q", line)
		require.Equal(t, 1, bytes.Count(line, []byte("\n")), "%q", line)
	}
	require.LessOrEqual(t, rows.findings.Rows, rows.findings.Total)
	require.Equal(t, rows.count-rows.findings.Rows, int64(len(given)), "a row is fine or has a problem")
	require.LessOrEqual(t, len(rows.findings.First), MostProblems)
	for _, f := range NewRefusedError(format, rows.findings).fault.Fields {
		require.True(t, utf8.ValidString(f.Pointer+f.Detail), "%q", f)
	}
	if format == CSV {
		w.Flush()
		return out.Bytes(), given
	}
	file, err = json.Marshal(objects)
	require.NoError(t, err)
	return file, given
}

// What is read, written again in the form that is stored, is read as the same.
func requireSame(t *testing.T, n uint8, format Format, body []byte) {
	t.Helper()
	kind := Kinds()[int(n)%len(Kinds())]
	once, given := encode(t, kind, format, body)
	if once == nil {
		return
	}
	if format == NDJSON {
		format = JSON
	}
	twice, again := encode(t, kind, format, once)
	require.Equal(t, string(once), string(twice))
	require.Len(t, again, len(given), "all rows are fine again")
	if format == JSON { // in CSV each row says something on every column
		require.Equal(t, given, again)
	}
}

func seeds() []string {
	return []string{
		`{"symbol":"A","name":"n","asset_class":"c","sector":"","currency":"CHF","role":"holding","duration":1.5e1,"convexity":null}`,
		`{"symbol":"A","date":"2000-01-03","close":"1.50","currency":"CHF","open":1,"high":"2","low":1,"volume":0}`,
		`{"date":"2000-01-03","base":"USD","quote":"CHF","rate":1e-3}`,
		`{"series":"s","date":"2000-01-03","value":-0.0,"unit":"u","frequency":"daily","origin":"o"}`,
		`{"symbol":"A","metric":"moat_score","date":"2000-01-03","score":"10.0","source":"s"}`,
		`{"symbol":"A","provider":"p","metric":"m","date":"2000-01-03","period_end":"1999-12-31","value":1e308}`,
		`{"id":"1","published_at":"2000-01-03T10:00:00.5+02:00","title":"t\\u00e4\r\n,\"","source":"s","url":"https://a.example/","sentiment":0.5,"symbols":["B","A"]}`,
	}
}

func FuzzJSON(f *testing.F) {
	for i, row := range seeds() {
		f.Add(uint8(i), []byte("["+row+", "+row+"]"))
		f.Add(uint8(i), []byte("["+row+", {}, [1], \"a\"] 1"))
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) { requireSame(t, n, JSON, body) })
}

func FuzzNDJSON(f *testing.F) {
	for i, row := range seeds() {
		f.Add(uint8(i), []byte(row+"\n\n"+row+"\n{\n"))
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) { requireSame(t, n, NDJSON, body) })
}

func FuzzCSV(f *testing.F) {
	for i, text := range []string{
		"symbol,name,asset_class,sector,currency,role,first_date\nA,\"a \"\"b\"\"\r\nc\",b,,CHF,holding,x\nA,b\n",
		"\uFEFFclose,currency,symbol,date,volume\r\n1e2,CHF,A,2000-01-03,\r\n.5,CHF,A,2000-01-03,1\r\n",
		"rate,date,base,quote\n007,2000-01-03,USD,CHF\n\"",
		"value,date,series\n1_0,2000-01-03,s\n-1E-400,2000-01-03,s\n",
		"symbol,metric,date,score,source\nA,moat_score,2000-01-03,+3.10,\n",
		"symbol,provider,metric,date,period_end,value\nA,p,m,2000-01-03,,Inf\nA,p,m,2000-01-03,,0x1\n",
		"id,published_at,title,source,symbols\n1,2000-01-03T10:00:00Z,t,s,B;A;B\n2,2000-01-03T10:00:00Z,t,s,;\n",
	} {
		f.Add(uint8(i), []byte(text))
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) { requireSame(t, n, CSV, body) })
}
