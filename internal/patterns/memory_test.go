package patterns

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// resultShapes are results of all forms that JSON has, of about 200 kB each.
func resultShapes() map[string]json.RawMessage {
	list := func(n int, item func(i int) string) json.RawMessage {
		items := make([]string, n)
		for i := range items {
			items[i] = item(i)
		}
		return json.RawMessage("[" + strings.Join(items, ",") + "]")
	}
	wide := func(fields int) func(i int) string {
		return func(i int) string {
			parts := make([]string, fields)
			for k := range parts {
				parts[k] = fmt.Sprintf(`"field%d":%d.5`, k, i)
			}
			return "{" + strings.Join(parts, ",") + "}"
		}
	}
	return map[string]json.RawMessage{
		"rows":          list(4000, func(i int) string { return fmt.Sprintf(`{"symbol":"S%d","weight":0.%07d,"name":"x"}`, i, i) }),
		"rows of five":  list(2500, wide(5)),
		"rows of nine":  list(1500, wide(9)),
		"rows of forty": list(350, wide(40)),
		"small objects": list(25_000, func(int) string { return `{"a":1}` }),
		"empty objects": list(66_000, func(int) string { return `{}` }),
		"empty arrays":  list(66_000, func(int) string { return `[]` }),
		"digits":        list(100_000, func(int) string { return `1` }),
		"numbers":       list(15_000, func(i int) string { return fmt.Sprintf(`%d.%07d`, i, i) }),
		"words":         list(30_000, func(i int) string { return fmt.Sprintf(`"w%d"`, i) }),
		"nulls":         list(40_000, func(int) string { return `null` }),
		"series":        list(8000, func(i int) string { return fmt.Sprintf(`["2007-05-08",%d.25]`, i) }),
		"by name":       json.RawMessage(wide(12_000)(1)),
		"a text":        json.RawMessage(`"` + strings.Repeat("text ", 40_000) + `"`),
		"quotes":        json.RawMessage(`"` + strings.Repeat(`\"{[,`, 40_000) + `"`),
		"deep":          json.RawMessage(strings.Repeat(`{"a":[`, 4000) + strings.Repeat(`]}`, 4000)),
	}
}

// memoryOf returns the bytes that one of n equal results holds, looked into by templates and conditions.
func memoryOf(tb testing.TB, raw json.RawMessage, n int) float64 {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	results := make([]*result, n)
	for i := range results {
		results[i] = rawResult(slices.Clone(raw))
		_, err := results[i].value()
		require.NoError(tb, err)
		_, err = results[i].operands()
		require.NoError(tb, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(results)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n)
}

// The cache is bounded by an estimate, which must not be below what results take, nor far above. It
// runs alone, since what it measures is what the process holds.
func TestResultMemory(t *testing.T) {
	shapes := resultShapes()
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		raw := shapes[name]
		real, estimate := memoryOf(t, raw, 4), float64(weight(rawResult(raw)))
		t.Logf("%-14s %7d bytes of JSON take %5.1f bytes for each, estimated %5.1f", name, len(raw), real/float64(len(raw)), estimate/float64(len(raw)))
		require.Less(t, real, estimate*1.1, name)
		require.Greater(t, real, estimate/3, name)
	}
}

// BenchmarkResultMemory reports the same as bytes for each byte of JSON.
func BenchmarkResultMemory(b *testing.B) {
	shapes := resultShapes()
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		b.Run(name, func(b *testing.B) {
			raw := shapes[name]
			var real float64
			for b.Loop() {
				real = memoryOf(b, raw, 1)
			}
			b.ReportMetric(real/float64(len(raw)), "bytes/byte")
			b.ReportMetric(float64(weight(rawResult(raw)))/float64(len(raw)), "estimated/byte")
		})
	}
}
