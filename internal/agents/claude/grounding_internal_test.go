package claude

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumbersOfAnAnswerOccurInTheInput(t *testing.T) {
	t.Parallel()
	const input = `{"twr": 0.1368192, "total_value": "1444808.19", "beta": 1.6019, "drawdown": -0.0559, "spread": 0.0025,
		"asof": "2007-05-08", "window": 252, "zero": 0, "id": "7d1f0d1e-3c7b-4f0a-9a53-2f1f2c6c9b11", "small": 0.6}`
	for answer, stranger := range map[string]string{
		"No number at all.": "",
		"The return was 0.1368192 over 252 days up to 2007-05-08.": "",
		"The return was 13.68192 %, or 13.68 % in short.":          "",
		"13.7 percent":        "",
		"13.7":                "13.7", // not in percent: it is another number
		"14 %":                "14 %", // two digits are found by chance
		"0.137":               "",
		"0.138":               "0.138",
		"0.14":                "0.14",
		"CHF 1,444,808.19":    "",
		"1.44 million":        "",
		"1.44 Million francs": "",
		"1.45 million":        "1.45 million",
		"1444.808k":           "",
		"1.44 billion":        "1.44 billion",
		"a fall of 5.59 %":    "",
		"a fall of 0.0559":    "",
		"25 basis points":     "",
		"25 bps":              "",
		"25":                  "25",
		"0 of 252":            "",
		"1":                   "1", // though 0.6 would round to it
		"7":                   "7", // though an id begins with it
		"1.6019":              "",
		"1.60":                "",
		"1.6":                 "1.6",
		"1.61":                "1.61",
		"252.0":               "",
		"2.52e2":              "",
		"1e999":               "1e999",
		".6":                  "",
		".7":                  ".7",
		"half, ½":             "½",
		"٢٥٢":                 "٢",
		"10²":                 "²",
		"0.6 thousand":        "0.6 thousand",
		"point 3 of 252":      "3",
		"252, 253":            "253",
	} {
		require.Equal(t, stranger, ungrounded(answer, input), answer)
	}
}

// What stands in the input as it is, is grounded in it; what lies away from all of it is not.
func FuzzGrounding(f *testing.F) {
	f.Add(0.1368192, 3.0, "in words")
	f.Add(-1e20, 1e-20, `"a": 1,`)
	f.Add(252.0, 251.0, "250 %")
	f.Fuzz(func(t *testing.T, x, other float64, noise string) {
		if math.IsNaN(x) || math.IsInf(x, 0) || len(noise) > 1000 {
			t.Skip()
		}
		literal := strconv.FormatFloat(x, 'g', -1, 64)
		require.Empty(t, ungrounded("It is "+literal+".", literal))
		for _, s := range numbersIn(noise, proseNumber) {
			require.NotEmpty(t, s.text)
		}
		if math.IsNaN(other) || math.IsInf(other, 0) {
			return
		}
		shown := strconv.FormatFloat(math.Abs(other), 'f', -1, 64)
		if distance := math.Abs(math.Abs(other) - math.Abs(x)); distance > 1+1e-9*math.Abs(x) {
			require.NotEmpty(t, ungrounded(shown, literal), "%s is not %s", shown, literal)
		}
	})
}

// The numbers of sentences are those of the data, and the same data make the same sentences.
func FuzzSentences(f *testing.F) {
	f.Add(`{"a": {"b": [1.23456789, {"symbol": "X", "w": "12.50"}]}, "insufficient_data": [{"missing": "m", "reason": "r", "field": "f"}]}`)
	f.Add(`{"a": [1,10000000]}`)
	f.Add(`{"a~/b": -1e-9, "c": [[1, 2], [3]], "": null, "big": 1e300, "n": 123456789012345678}`)
	f.Fuzz(func(t *testing.T, raw string) {
		d := json.NewDecoder(strings.NewReader(raw))
		d.UseNumber()
		var data map[string]any
		if d.Decode(&data) != nil {
			t.Skip()
		}
		c := read(data)
		for _, sentences := range []func(int) ([]Sentence, int){c.explain, c.analyze} {
			list, _ := sentences(50)
			again, _ := read(data).explain(50)
			first, _ := c.explain(50)
			require.Equal(t, first, again, "the same data make the same sentences")
			for _, s := range list {
				require.True(t, strings.HasPrefix(s.Source, "/"), s.Source)
				require.Contains(t, s.Text, s.Source)
				require.NotContains(t, s.Text, "\n")
			}
		}
		for _, f := range c.figures {
			said, err := strconv.ParseFloat(f.number, 64)
			require.NoError(t, err)
			require.InDelta(t, f.value, said, 1e-5*math.Abs(f.value), "six digits of it")
		}
	})
}
