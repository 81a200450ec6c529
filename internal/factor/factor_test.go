package factor_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/factor"
)

const dir = "../../configs/analytics"

func TestShippedModel(t *testing.T) {
	t.Parallel()
	m, err := factor.Load(dir)
	require.NoError(t, err)
	require.Equal(t, 252, m.Window)
	var names []string
	for _, f := range m.Factors {
		names = append(names, f.Name+" "+string(f.Kind)+" "+f.Symbol)
	}
	require.Equal(t, []string{"SPI security SPI", "SBI security SBI", "USDCHF fx USD/CHF", "USMKT security USMKT"}, names)
	require.Len(t, m.Absent, 2)
	require.Equal(t, "inflation", m.Absent[0].Name)
	require.Equal(t, "credit", m.Absent[1].Name)
	require.Regexp(t, `^config:factors\.yaml@[0-9a-f]{12}$`, m.Source)
}

const good = `window: 252
phase_returns: 60
factors:
  - {name: A, kind: security, symbol: AAA, why: because}
  - {name: B, kind: fx, symbol: USD/CHF, why: because}
absent:
  - {name: C, missing: c, reason: it is not there}
`

func TestModelsThatAreRefused(t *testing.T) {
	t.Parallel()
	_, err := factor.Parse([]byte(good))
	require.NoError(t, err)
	for name, tt := range map[string]struct{ from, to, says string }{
		"unknown key":        {"window: 252", "window: 252\nwindows: 1", "windows"},
		"unknown factor key": {"why: because", "why: because, weight: 1", "weight"},
		"short window":       {"window: 252", "window: 19", "window: 19 is not allowed"},
		"no window":          {"window: 252\n", "", "window: 0"},
		"no phase":           {"phase_returns: 60\n", "", "phase_returns: 0"},
		"no kind":            {"kind: security, ", "", `factors[0].kind: ""`},
		"other kind":         {"kind: security", "kind: bond", `"bond" is not security, fx or macro`},
		"twice":              {"name: B", "name: A", `"A" is there twice`},
		"absent and there":   {"name: C", "name: A", `absent[0].name: "A" is there twice`},
		"no name":            {"name: A, ", "", "factors[0].name"},
		"no symbol":          {"symbol: AAA, ", "", "factors[0].symbol"},
		"no pair":            {"USD/CHF", "USDCHF", `"USDCHF" is no pair`},
		"no reason":          {", reason: it is not there", "", "absent[0].reason"},
		"long reason":        {"it is not there", strings.Repeat("x", 301), "absent[0].reason"},
		"two documents":      {"absent:", "---\nabsent:", "one YAML document is expected"},
		"text":               {"window: 252", "window: many", "many"},
		"too long":           {"window: 252", "window: 252 #" + strings.Repeat("x", 1<<20), "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, good, tt.from)
			_, err := factor.Parse([]byte(strings.Replace(good, tt.from, tt.to, 1)))
			require.ErrorContains(t, err, tt.says)
		})
	}
	_, err = factor.Parse(nil)
	require.ErrorContains(t, err, "the file is empty")
	_, err = factor.Load(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// What is accepted is within bounds, and means the same when it is written down again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("window: 1e3\nfactors: [{}]"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := factor.Parse(raw)
		if err != nil {
			return
		}
		again, err := yaml.Marshal(map[string]any{
			"window": m.Window, "phase_returns": m.PhaseReturns, "factors": m.Factors, "absent": m.Absent,
		})
		require.NoError(t, err)
		same, err := factor.Parse(again)
		require.NoError(t, err)
		require.Len(t, same.Absent, len(m.Absent))
		m.Absent, same.Absent = nil, nil
		require.Equal(t, m, same)
	})
}
