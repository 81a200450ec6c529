package macro_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/macro"
)

// files are the content of the shipped configuration.
func files(t testing.TB) (regimes, cycles, rest string) {
	t.Helper()
	var all [3]string
	for i, name := range []string{"regimes.yaml", "cycles.yaml", "macro.yaml"} {
		raw, err := os.ReadFile(filepath.Join(analyticsDir, name))
		require.NoError(t, err)
		all[i] = string(raw)
	}
	return all[0], all[1], all[2]
}

func TestShippedConfig(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	var regimes, phases, stages []string
	for _, s := range cfg.Regimes.States {
		regimes = append(regimes, s.Name)
	}
	for _, s := range cfg.ShortTerm.States {
		phases = append(phases, s.Name)
	}
	for _, s := range cfg.LongTerm.States {
		stages = append(stages, s.Name)
	}
	require.Equal(t, []string{"early_expansion", "mid_expansion", "late_expansion", "early_contraction", "deep_contraction"}, regimes)
	require.Equal(t, []string{"early_recovery", "mid_expansion", "late_expansion", "early_recession", "deep_recession"}, phases)
	require.Equal(t, []string{"deleveraging", "reflation", "expansion", "bubble", "top", "debt_crisis", "depression"}, stages)
	require.False(t, cfg.Regimes.Scored("unemployment"))
	require.True(t, cfg.Regimes.Scored("unemployment_change"))
	require.InDelta(t, 400_000, cfg.Settings.CreditGap.Lambda, 0)
	require.Regexp(t, `^config:regimes.yaml@[0-9a-f]{12}$`, cfg.RegimesSource)

	// Every series of the sample has a release of its own.
	for name := range sample(t) {
		require.Contains(t, cfg.Settings.Publication.BySeries, name)
	}
}

func TestConfigProblems(t *testing.T) {
	t.Parallel()
	regimes, cycles, rest := files(t)
	const (
		inRegimes = iota
		inCycles
		inRest
	)
	for name, tt := range map[string]struct {
		file     int
		old, new string
		says     string
	}{
		"unknown key":           {inRegimes, "min_inputs: 2", "min_input: 2", "field min_input not found"},
		"repeated key":          {inRegimes, "min_inputs: 2", "min_inputs: 2\nmin_inputs: 3", "already defined"},
		"second document":       {inRest, "z: {", "---\nz: {", "one YAML document is expected"},
		"too many needed":       {inRegimes, "min_inputs: 2", "min_inputs: 5", "regimes.yaml: min_inputs: 5 is not allowed; use 1 to 4"},
		"transform":             {inRegimes, "transform: growth_12m", "transform: yoy", `inputs[2].transform: "yoy" is not allowed`},
		"two kinds":             {inRegimes, "- series: BAA10Y", "- {series: BAA10Y, ratio: [A, B]}", "inputs[3].candidates[0]: give one of"},
		"three legs":            {inRegimes, "[US_TCM_10Y, US_TCM_1Y]", "[US_TCM_10Y, US_TCM_1Y, US_TCM_3Y]", "two series are needed"},
		"empty range":           {inRegimes, "above: 0, below: 1.5", "above: 2, below: 1.5", "above 2 leaves nothing below 1.5"},
		"no bound":              {inRegimes, "curve: {above: 0.5, weight: 2}", "curve: {weight: 2}", "above or below is required"},
		"no weight":             {inRegimes, "curve: {above: 0.5, weight: 2}", "curve: {above: 0.5}", "curve.weight: 0 is not allowed"},
		"not a number":          {inRegimes, "curve: {above: 0.5, weight: 2}", "curve: {above: .nan, weight: 2}", "curve.above: NaN is not allowed"},
		"rule left out":         {inRegimes, "      curve: {above: 0, below: 1.5, weight: 1.5}\n", "", "states[1].rules: must be about the same inputs"},
		"rule about nothing":    {inRegimes, "      curve: {above: 0.5, weight: 2}", "      curve: {above: 0.5, weight: 2}\n      gold: {above: 1, weight: 1}", "name an input that there is not"},
		"no such required":      {inCycles, "required: [debt_to_gdp,", "required: [debts,", `there is no input "debts"`},
		"uncited":               {inCycles, `"Ranges and weights: judgement."`, `""`, "say where the table comes from"},
		"lambda":                {inCycles, "lambda: 400000", "lambda: 0", "credit_gap.lambda: 0 is not allowed"},
		"history":               {inCycles, "history_years: 15", "history_years: 500", "history_years: 500 is not allowed; use 1 to 50"},
		"frequency left out":    {inRest, "weekly: 7, ", "", "by_frequency.weekly: is required"},
		"unknown frequency":     {inRest, "{daily: 14,", "{hourly: 1, daily: 14,", `"hourly" is not a frequency`},
		"negative lag":          {inRest, "UNRATE: {days: 10,", "UNRATE: {days: -1,", "by_series.UNRATE.days: -1 is not allowed"},
		"lag left out":          {inRest, "UNRATE: {days: 10,", "UNRATE: {", "by_series.UNRATE.days: is required"},
		"no date":               {inRest, "not_before: 1959-06-30", "not_before: soon", `"soon" is not a date`},
		"window":                {inRest, "years: 10, min_years: 5", "years: 10, min_years: 11", "z.min_years: 11 is not allowed; use 1 to 10"},
		"no probability":        {inRest, "min_confidence: 0.8", "min_confidence: 80", "min_confidence: 80 is not allowed"},
		"state with no name":    {inRegimes, "name: mid_expansion", "name: early_expansion", `states[1].name: "early_expansion" is not allowed`},
		"reason for no empires": {inCycles, `{missing: education, reason: "surveys are made every few years"}`, `{missing: education}`, "empire.unavailable[3]: missing and reason are required"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := [3]string{regimes, cycles, rest}
			require.Contains(t, given[tt.file], tt.old)
			given[tt.file] = strings.Replace(given[tt.file], tt.old, tt.new, 1)
			_, err := macro.ParseConfig([]byte(given[0]), []byte(given[1]), []byte(given[2]))
			require.ErrorContains(t, err, tt.says)
		})
	}
	_, err := macro.ParseConfig(nil, []byte(cycles), []byte(rest))
	require.ErrorContains(t, err, "regimes.yaml: the file is empty")
	_, err = macro.ParseConfig(make([]byte, 1<<20+1), []byte(cycles), []byte(rest))
	require.ErrorContains(t, err, "regimes.yaml: the file has more than 1048576 bytes")
	_, err = macro.LoadConfig(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A table that is accepted can be used: it tells a state with probabilities that sum to 1, or says why not.
func FuzzParseConfig(f *testing.F) {
	regimes, cycles, rest := files(f)
	f.Add(regimes)
	f.Add("sources: [x]\nmin_inputs: 1\ninputs: [{name: a, transform: level, candidates: [{series: US_UNRATE}]}]\n" +
		"states: [{name: a, label: A, rules: {a: {above: 0, weight: 1}}}, {name: b, label: B, rules: {a: {below: -100, weight: 100}}}]")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := macro.ParseConfig([]byte(text), []byte(cycles), []byte(rest))
		if err != nil {
			return
		}
		r := detector(t, cfg.Regimes, sample(t), cfg.Settings).At(day(t, "1998-05-08"))
		if r.State == nil {
			require.Error(t, r.Err)
			return
		}
		sum := 0.0
		for _, p := range r.Probabilities {
			sum += p
		}
		require.InDelta(t, 1, sum, 1e-9)
	})
}
