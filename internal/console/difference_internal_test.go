package console

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompareJSON(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b  string
		want  []difference
		equal int
	}{
		"same": {a: `{"x":1,"y":[1,2,{"z":null}]}`, b: `{"y":[1,2,{"z":null}],"x":1}`, equal: 4},
		"a number": {
			a: `{"x":{"twr":0.1},"y":true}`, b: `{"x":{"twr":0.125},"y":true}`,
			want: []difference{{Path: "x.twr", Change: changed, A: "0.1", B: "0.125", Absolute: "+0.025", Relative: "+25\u202f%"}}, equal: 1,
		},
		"money, which is text": {
			a: `{"value":"1444808.19"}`, b: `{"value":"1444708.19"}`,
			want: []difference{{Path: "value", Change: changed, A: `"1444808.19"`, B: `"1444708.19"`, Absolute: "-100", Relative: "-0.00692\u202f%"}},
		},
		"just below twice as much":   {a: `10000`, b: `19997`, want: []difference{{Change: changed, A: "10000", B: "19997", Absolute: "+9997", Relative: "+100\u202f%"}}},
		"hardly anything is left":    {a: `10000`, b: `3`, want: []difference{{Change: changed, A: "10000", B: "3", Absolute: "-9997", Relative: "-100\u202f%"}}},
		"many times as much, in all": {a: `1`, b: `12345.67`, want: []difference{{Change: changed, A: "1", B: "12345.67", Absolute: "+12344.67", Relative: "+1234467\u202f%"}}},
		"from zero":                  {a: `[0]`, b: `[2]`, want: []difference{{Path: "[0]", Change: changed, A: "0", B: "2", Absolute: "+2"}}},
		"a negative base":            {a: `{"x":-4}`, b: `{"x":-2}`, want: []difference{{Path: "x", Change: changed, A: "-4", B: "-2", Absolute: "+2", Relative: "+50\u202f%"}}},
		"text":                       {a: `{"x":"up"}`, b: `{"x":"down"}`, want: []difference{{Path: "x", Change: changed, A: `"up"`, B: `"down"`}}},
		"missing now": {
			a: `{"x":1.5,"y":0}`, b: `{"x":null,"y":0}`, equal: 1,
			want: []difference{{Path: "x", Change: changed, A: "1.5", B: "null"}},
		},
		"null is not absent": {a: `{"x":null}`, b: `{}`, want: []difference{{Path: "x", Change: removed, A: "null"}}},
		"another kind":       {a: `{"x":[]}`, b: `{"x":{}}`, want: []difference{{Path: "x", Change: changed, A: "[]", B: "{}"}}},
		"empty and full":     {a: `{"x":[]}`, b: `{"x":[7]}`, want: []difference{{Path: "x[0]", Change: added, B: "7"}}},
		"empty":              {a: `{"x":[],"y":{}}`, b: `{"x":[],"y":{}}`, equal: 2},
		"rows by symbol, in another order": {
			a: `{"positions":[{"symbol":"AAA","w":1},{"symbol":"B B","w":2},{"symbol":"C","w":3}]}`,
			b: `{"positions":[{"symbol":"C","w":3},{"symbol":"AAA","w":4},{"symbol":"D","w":5}]}`,
			want: []difference{
				{Path: `positions[symbol="B B"]`, Change: removed, A: `{"symbol":"B B","w":2}`},
				{Path: `positions[symbol=AAA].w`, Change: changed, A: "1", B: "4", Absolute: "+3", Relative: "+300\u202f%"},
				{Path: `positions[symbol=D]`, Change: added, B: `{"symbol":"D","w":5}`},
			}, equal: 3,
		},
		"rows by day": {
			a: `[{"date":"2007-05-08","v":1},{"date":"2007-05-09","v":1}]`, b: `[{"date":"2007-05-09","v":1}]`, equal: 2,
			want: []difference{{Path: `[date=2007-05-08]`, Change: removed, A: `{"date":"2007-05-08","v":1}`}},
		},
		"a name that two rows have is none": {
			a: `[{"symbol":"A","date":"2007-05-08"},{"symbol":"A","date":"2007-05-09"}]`,
			b: `[{"symbol":"A","date":"2007-05-09"}]`, equal: 2,
			want: []difference{{Path: `[date=2007-05-08]`, Change: removed, A: `{"date":"2007-05-08","symbol":"A"}`}},
		},
		"rows without a name, by their place": {
			a: `[{"v":1},{"v":2}]`, b: `[{"v":1},{"v":3},{"v":4}]`, equal: 1,
			want: []difference{
				{Path: "[1].v", Change: changed, A: "2", B: "3", Absolute: "+1", Relative: "+50\u202f%"},
				{Path: "[2]", Change: added, B: `{"v":4}`},
			},
		},
		"the number 1 does not name what the text does": {
			a: `[{"id":1}]`, b: `[{"id":"1"}]`,
			want: []difference{{Path: `[id="1"]`, Change: added, B: `{"id":"1"}`}, {Path: `[id=1]`, Change: removed, A: `{"id":1}`}},
		},
		"odd names": {a: `{"a.b":{"":1}}`, b: `{"a.b":{"":2}}`, want: []difference{
			{Path: `["a.b"][""]`, Change: changed, A: "1", B: "2", Absolute: "+1", Relative: "+100\u202f%"},
		}},
		"the whole": {a: `1`, b: `"x"`, want: []difference{{Change: changed, A: "1", B: `"x"`}}},
		"digits beyond what is shown": {a: `0.13681919848504287`, b: `0.13681919848504290`, want: []difference{
			{Change: changed, A: "0.13681919848504287", B: "0.13681919848504290", Absolute: "+0.00000000000000003", Relative: "+0.0000000000000219\u202f%"},
		}},
		"numbers as large as nobody computes with": {a: `1e999999999`, b: `2`, want: []difference{{Change: changed, A: "1e999999999", B: "2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := compareJSON([]byte(c.a), []byte(c.b))
			require.NoError(t, err)
			require.Equal(t, comparison{Differences: c.want, Equal: c.equal}, got)
		})
	}
	_, err := compareJSON([]byte(`{`), []byte(`{}`))
	require.ErrorContains(t, err, "first document")
	_, err = compareJSON([]byte(`{}`), []byte(`{} {}`))
	require.ErrorContains(t, err, "second document: more than one value")
}

func TestCompareJSONIsBounded(t *testing.T) {
	t.Parallel()
	list := make([]int, 3*maxDifferences)
	a, err := json.Marshal(list)
	require.NoError(t, err)
	for i := range list {
		list[i] = i % 3
	}
	b, err := json.Marshal(list)
	require.NoError(t, err)
	got, err := compareJSON(a, b)
	require.NoError(t, err)
	require.Len(t, got.Differences, maxDifferences)
	require.Equal(t, maxDifferences, got.More)
	require.Equal(t, maxDifferences, got.Equal)
	require.Equal(t, 2*maxDifferences, got.All())

	got, err = compareJSON([]byte(`1`), fmt.Appendf(nil, "%q", strings.Repeat("ä", maxValueText)))
	require.NoError(t, err)
	require.LessOrEqual(t, len(got.Differences[0].B), maxValueText+len("…"))
	require.True(t, strings.HasSuffix(got.Differences[0].B, "ä…"))
}

// A document does not differ from itself, and differs from another as that does from it.
func FuzzCompareJSON(f *testing.F) {
	for _, pair := range [][2]string{
		{`{"a":1}`, `{"a":2}`},
		{`[{"symbol":"A","w":"1.5"},{"symbol":"B"}]`, `[{"symbol":"B"},{"symbol":"C","w":[]}]`},
		{`[{"id":1},{"id":"1"}]`, `[{"id":"1","x":null}]`},
		{`{"":{"a.b":[1e400,-0,0.10]}}`, `{"":{"a.b":[1e40,0,0.1,{}]}}`},
		{`[[],{},"",null,true]`, `[{},[],null,"",false]`},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		forth, err := compareJSON(a, b)
		if err != nil {
			t.Skip()
		}
		same, err := compareJSON(a, a)
		if err != nil || same.All() != 0 {
			t.Fatalf("%s differs from itself: %+v %v", a, same, err)
		}
		back, err := compareJSON(b, a)
		if err != nil || back.More != forth.More || back.Equal != forth.Equal || len(back.Differences) != len(forth.Differences) {
			t.Fatalf("there %+v, back %+v, %v", forth, back, err)
		}
		mirror := map[change]change{changed: changed, added: removed, removed: added}
		paths := map[string]bool{}
		for i, d := range forth.Differences {
			m := back.Differences[i]
			if paths[d.Path] {
				t.Fatalf("two differences at %q", d.Path)
			}
			paths[d.Path] = true
			if d.Path != m.Path || d.A != m.B || d.B != m.A || d.Change != mirror[m.Change] || negated(d.Absolute) != m.Absolute {
				t.Fatalf("there %+v, back %+v", d, m)
			}
		}
	})
}

func negated(s string) string {
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		return "+" + rest
	}
	if rest, ok := strings.CutPrefix(s, "+"); ok {
		return "-" + rest
	}
	return s
}
