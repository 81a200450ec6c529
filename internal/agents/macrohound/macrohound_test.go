package macrohound_test

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/macrohound"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

func names(sources []agent.Source) map[string]string {
	all := map[string]string{}
	for _, s := range sources {
		name, _, _ := strings.Cut(s.Name, "@")
		all[name] = s.Asof.Format(time.DateOnly)
	}
	return all
}

func total(t *testing.T, probabilities any) float64 {
	t.Helper()
	sum := 0.0
	all, ok := probabilities.(map[string]any)
	require.True(t, ok)
	for _, p := range all {
		sum += p.(float64)
	}
	return sum
}

// Over PostgreSQL with the sample data, for all that only reads.
func TestOnTheSample(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	asof := at(day(t, "2007-05-08"))

	t.Run("regime", func(t *testing.T) {
		t.Parallel()
		answer, result := ask(t, d.agent, asof, "macro.detect_regime", map[string]any{"asof": "2007-05-08"})
		require.InDelta(t, 1, total(t, answer["probabilities"]), 1e-12)
		require.Equal(t, answer["confidence"], answer["probabilities"].(map[string]any)[answer["regime"].(string)])
		require.Equal(t, []string{"macro:BAA10Y"}, lacking(t, answer, "inputs.credit_spread"))
		require.Empty(t, lacking(t, answer, "regime"))
		inputs := answer["inputs"].([]any)
		require.Len(t, inputs, 4)
		curve := inputs[0].(map[string]any)
		require.Equal(t, "EA_LTN_10Y - EA_STN_3M", curve["series"])
		require.Equal(t, true, curve["proxy"])
		require.Equal(t, "2007-03-31", curve["date"])
		require.Equal(t, "2007-04-07", curve["known_on"])
		require.Equal(t, []string{"The input curve is EA_LTN_10Y - EA_STN_3M: term spread of the euro area in place of the US one."}, result.Warnings)
		require.Equal(t, map[string]string{
			"config:macro.yaml": "0001-01-01", "config:regimes.yaml": "0001-01-01",
			"macro:EA_LTN_10Y": "2007-03-31", "macro:EA_STN_3M": "2007-03-31", "macro:US_CPI_Q": "2007-03-31", "macro:US_UNRATE": "2007-03-31",
		}, names(result.Sources))

		// The as-of date is the default, and a later one is refused.
		same, _ := ask(t, d.agent, asof, "macro.detect_regime", nil)
		require.Equal(t, answer, same)
		_, err := run(t, d.agent, asof, "macro.detect_regime", map[string]any{"asof": "2007-05-09"})
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
		require.ErrorContains(t, err, "/args/asof")
	})

	t.Run("no regime before the data", func(t *testing.T) {
		t.Parallel()
		answer, _ := ask(t, d.agent, asof, "macro.detect_regime", map[string]any{"asof": "1950-01-01"})
		for _, field := range []string{"regime", "label", "confidence", "probabilities"} {
			require.Nil(t, answer[field])
			require.NotEmpty(t, lacking(t, answer, field))
		}
		require.Empty(t, answer["inputs"])
	})

	t.Run("history", func(t *testing.T) {
		t.Parallel()
		answer, _ := ask(t, d.agent, asof, "macro.get_regime_history", map[string]any{"lookback_weeks": 52})
		history := answer["history"].([]any)
		require.Len(t, history, 53)
		require.Equal(t, "2006-05-09", history[0].(map[string]any)["date"])
		for _, i := range []int{0, 20, 52} { // each as it was told then
			entry := history[i].(map[string]any)
			then, _ := ask(t, d.agent, asof, "macro.detect_regime", map[string]any{"asof": entry["date"]})
			require.Equal(t, then["regime"], entry["regime"])
			require.Equal(t, then["probabilities"], entry["probabilities"])
			// A run of that day, through that day's pack, says the same.
			run, _ := ask(t, d.agent, at(day(t, entry["date"].(string))), "macro.detect_regime", nil)
			require.Equal(t, then, run)
		}
		require.Equal(t, []string{"macro:BAA10Y"}, lacking(t, answer, "history.inputs.credit_spread"))

		short, _ := ask(t, d.agent, asof, "macro.get_regime_history", nil)
		require.Len(t, short["history"], 5)
		_, err := run(t, d.agent, asof, "macro.get_regime_history", map[string]any{"lookback_weeks": 521})
		require.ErrorContains(t, err, "/args/lookback_weeks")

		early, _ := ask(t, d.agent, asof, "macro.get_regime_history", map[string]any{"lookback_weeks": 8, "asof": "1958-04-20"})
		require.Nil(t, early["history"].([]any)[0].(map[string]any)["regime"])
		require.NotEmpty(t, lacking(t, early, "history[0].regime"))
	})

	t.Run("indicators", func(t *testing.T) {
		t.Parallel()
		answer, result := ask(t, d.agent, asof, "macro.get_indicators", nil)
		all := answer["indicators"].([]any)
		require.Len(t, all, 36, "32 series and four of factors.csv")
		require.Zero(t, answer["omitted"])
		byName := map[string]map[string]any{}
		for _, i := range all {
			byName[i.(map[string]any)["series"].(string)] = i.(map[string]any)
		}
		unemployment := byName["US_UNEMPLOY"]
		require.Equal(t, "1999-09-30", byName["US_TCM_10Y"]["date"])
		require.Equal(t, "2007-03-31", unemployment["date"], "April's came out on 2007-05-10")
		require.Equal(t, "2007-04-10", unemployment["known_on"])
		require.Equal(t, "thousand persons", unemployment["unit"])
		require.Equal(t, "2007-05-07", byName["FF_RF"]["date"])
		require.Contains(t, names(result.Sources), "macro:FF_RF")

		none, _ := ask(t, d.agent, asof, "macro.get_indicators", map[string]any{"asof": "1940-01-01"})
		require.Empty(t, none["indicators"])
		require.Equal(t, []string{"macro"}, lacking(t, none, "indicators"))
	})

	t.Run("short-term cycle", func(t *testing.T) {
		t.Parallel()
		answer, _ := ask(t, d.agent, asof, "cycles.compute_short_term", nil)
		require.Equal(t, answer["label"], answer["phase_label"])
		require.InDelta(t, 1, total(t, answer["probabilities"]), 1e-12)
		require.Equal(t, []string{"macro:TOTLL"}, lacking(t, answer, "inputs.credit"))
		history := answer["history"].([]any)
		require.Len(t, history, 180)
		require.Equal(t, "1992-05-31", history[0].(map[string]any)["date"])
		last := history[179].(map[string]any)
		require.Equal(t, "2007-04-30", last["date"])
		then, _ := ask(t, d.agent, at(day(t, "2007-04-30")), "cycles.compute_short_term", nil)
		require.Equal(t, then["phase"], last["phase"])
		require.Empty(t, lacking(t, answer, "history"))

		// In the recession of 2001 it said so.
		require.Contains(t, phaseOn(t, history, "2001-10-31"), "recession")
		none, _ := ask(t, d.agent, asof, "cycles.compute_short_term", map[string]any{"asof": "1945-01-01"})
		require.Nil(t, none["phase"])
		require.Equal(t, []any{}, none["history"])
		require.NotEmpty(t, lacking(t, none, "history"))
	})

	t.Run("long-term cycle without debt", func(t *testing.T) {
		t.Parallel()
		answer, _ := ask(t, d.agent, asof, "cycles.compute_long_term", nil)
		require.Nil(t, answer["phase"])
		require.Nil(t, answer["phase_label"])
		require.NotContains(t, answer, "history")
		missing := lacking(t, answer, "phase")
		require.Contains(t, missing, "macro:QUSPAM770A")
		require.Contains(t, missing, "macro:TDSP")
		require.Len(t, answer["inputs"], 2, "real rate and money")
	})

	t.Run("overview", func(t *testing.T) {
		t.Parallel()
		args := map[string]any{}
		for name, capability := range map[string]string{"stdc": "short_term", "ltdc": "long_term", "empire": "empire"} {
			args[name], _ = ask(t, d.agent, asof, "cycles.compute_"+capability, nil)
		}
		answer, _ := ask(t, d.agent, asof, "cycles.aggregate_overview", args)
		require.InDelta(t, 1, answer["told"], 0)
		lines := answer["cycles"].([]any)
		require.Len(t, lines, 3)
		require.Equal(t, args["stdc"].(map[string]any)["phase"], lines[0].(map[string]any)["phase"])
		require.Nil(t, lines[1].(map[string]any)["phase"])
		require.Contains(t, lacking(t, answer, "long_term.phase"), "macro:TDSP")
		require.Equal(t, []string{"reserve_currency_share", "military_strength", "innovation", "education", "debt"}, lacking(t, answer, "empire.phase"))
	})

	t.Run("a pack of a tenant without data", func(t *testing.T) {
		t.Parallel()
		c := asof
		c.TenantID = "nobody"
		for _, capability := range []string{"macro.detect_regime", "macro.get_indicators", "macro.get_regime_history", "cycles.compute_short_term", "cycles.compute_long_term"} {
			answer, _ := ask(t, d.agent, c, capability, nil)
			require.NotEmpty(t, answer["insufficient_data"], capability)
		}
	})
}

func phaseOn(t *testing.T, history []any, date string) string {
	t.Helper()
	for _, h := range history {
		if h := h.(map[string]any); h["date"] == date {
			return h["phase"].(string)
		}
	}
	require.Fail(t, "no "+date)
	return ""
}

// Debt series that are imported later tell the long-term cycle through packs of their revision, and change
// nothing for older ones.
func TestLongTermCycleOnceDebtIsImported(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	asof := at(day(t, "2007-05-08"))
	before, _ := ask(t, d.agent, asof, "cycles.compute_long_term", nil)

	exec := func(sql string, args ...any) {
		_, err := d.pool.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
	exec(`INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ($1, 2, 'test', 0, 'x')`, store.DefaultTenant)
	for name, value := range map[string]func(i int) float64{
		"QUSPAM770A": func(i int) float64 { return 100 + 0.3*float64(i) + math.Max(0, float64(i-100))*1.5 },
		"TDSP":       func(i int) float64 { return 10 + math.Sin(float64(i)/7)/5 + math.Max(0, float64(i-105))*0.2 },
	} {
		exec(`INSERT INTO macro_series (tenant_id, series, unit, frequency, origin) VALUES ($1, $2, 'percent', 'quarterly', 'test')`, store.DefaultTenant, name)
		for i := range 120 {
			end := time.Date(2007, time.Month(4-3*(119-i)), 0, 0, 0, 0, 0, time.UTC)
			exec(`INSERT INTO macro_values (tenant_id, series, date, revision, value) VALUES ($1, $2, $3, 2, $4)`, store.DefaultTenant, name, end, value(i))
		}
	}
	after, _ := ask(t, d.agent, asof, "cycles.compute_long_term", nil)
	require.Equal(t, before, after, "the pack of revision 1 knows nothing of it")

	asof.PricingPack.Revision = 2
	answer, result := ask(t, d.agent, asof, "cycles.compute_long_term", nil)
	require.NotNil(t, answer["phase"])
	require.NotEmpty(t, answer["phase_label"])
	require.InDelta(t, 1, total(t, answer["probabilities"]), 1e-12)
	require.Len(t, answer["inputs"], 5)
	require.Equal(t, []string{"macro:BAA10Y"}, lacking(t, answer, "inputs.credit_spread"))
	require.Equal(t, "2006-09-30", names(result.Sources)["macro:QUSPAM770A"], "the fourth quarter came out on 2007-06-19")
	require.Equal(t, "2006-12-31", names(result.Sources)["macro:TDSP"])
}

// A value that a later revision corrects, or that is dated after the pack, is not seen.
func TestPacksDoNotLookAhead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	asof := at(day(t, "2007-05-08"))
	before, _ := ask(t, d.agent, asof, "macro.detect_regime", nil)
	_, err := d.pool.Exec(t.Context(), `INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ($1, 2, 'test', 0, 'x')`, store.DefaultTenant)
	require.NoError(t, err)
	_, err = d.pool.Exec(t.Context(), `INSERT INTO macro_values (tenant_id, series, date, revision, value) VALUES ($1, 'US_UNRATE', '2007-03-31', 2, 9)`, store.DefaultTenant)
	require.NoError(t, err)
	after, _ := ask(t, d.agent, asof, "macro.detect_regime", nil)
	require.Equal(t, before, after)
	asof.PricingPack.Revision = 2
	corrected, _ := ask(t, d.agent, asof, "macro.detect_regime", nil)
	require.NotEqual(t, before["probabilities"], corrected["probabilities"])

	// On a Saturday after the pack's day, what was published until then counts, of rows that the pack has.
	weekend := at(day(t, "2007-04-14"))
	weekend.PricingPack.Date = day(t, "2007-04-05")
	answer, _ := ask(t, d.agent, weekend, "macro.detect_regime", nil)
	require.Equal(t, "2007-04-14", answer["asof"])
	require.Equal(t, "2007-03-31", answer["inputs"].([]any)[1].(map[string]any)["date"])
}

func TestTrendShifts(t *testing.T) {
	t.Parallel()
	a := macrohound.New(nil, config(t))
	c := at(day(t, "2007-05-08"))
	regimes := map[string]any{"asof": "2007-05-08", "history": []any{
		map[string]any{"date": "2007-04-24", "regime": "mid_expansion", "confidence": 0.5, "probabilities": map[string]any{}},
		map[string]any{"date": "2007-05-01", "regime": "late_expansion", "confidence": 0.79},
		map[string]any{"date": "2007-05-08", "regime": "early_contraction", "confidence": 0.8},
	}}
	factors := map[string]any{"history": []any{
		map[string]any{"date": "2007-04-10", "factors": []any{map[string]any{"name": "SPI", "beta": 1, "std_error": 0.1}, map[string]any{"name": "SBI", "beta": 1, "std_error": 0.1}}},
		map[string]any{"date": "2007-05-08", "factors": []any{map[string]any{"name": "SPI", "beta": 1.21, "std_error": 0.1, "t_stat": 12}, map[string]any{"name": "SBI", "beta": 0.81, "std_error": 0.1}}},
	}}
	answer, result := ask(t, a, c, "macro.detect_trend_shifts", map[string]any{"regime_history": regimes, "factor_history": factors})
	last := map[string]any{"date": "2007-05-08", "from": "late_expansion", "to": "early_contraction", "confidence": 0.8}
	require.Equal(t, []any{last}, answer["regime_shifts"])
	require.Equal(t, []any{
		map[string]any{"date": "2007-05-01", "from": "mid_expansion", "to": "late_expansion", "confidence": 0.79}, last,
	}, answer["regime_changes"])
	moved := answer["factor_shifts"].([]any)
	require.Len(t, moved, 1)
	require.Equal(t, "SPI", moved[0].(map[string]any)["factor"])
	require.InDelta(t, 2.1, moved[0].(map[string]any)["std_errors"], 1e-12)
	require.Empty(t, answer["insufficient_data"])
	require.Contains(t, names(result.Sources), "config:macro.yaml")

	sure, _ := ask(t, a, c, "macro.detect_trend_shifts", map[string]any{"regime_history": regimes, "factor_history": factors, "min_confidence": 0.75})
	require.Len(t, sure["regime_shifts"], 2)

	none, _ := ask(t, a, c, "macro.detect_trend_shifts", nil)
	require.Equal(t, []string{"regime_history"}, lacking(t, none, "regime_shifts"))
	require.Equal(t, []string{"factor_history"}, lacking(t, none, "factor_shifts"))

	many := make([]any, 1001)
	for name, tt := range map[string]struct {
		args    map[string]any
		pointer string
	}{
		"no object":    {map[string]any{"regime_history": "x"}, "/args/regime_history"},
		"no date":      {map[string]any{"regime_history": map[string]any{"history": []any{map[string]any{"date": "May"}}}}, "/args/regime_history/history/0/date"},
		"out of order": {map[string]any{"factor_history": map[string]any{"history": []any{factors["history"].([]any)[1], factors["history"].([]any)[0]}}}, "/args/factor_history/history"},
		"too many":     {map[string]any{"regime_history": map[string]any{"history": many}}, "/args/regime_history/history"},
		"percent":      {map[string]any{"min_confidence": 80}, "/args/min_confidence"},
	} {
		_, err := run(t, a, c, "macro.detect_trend_shifts", tt.args)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), name)
		require.ErrorContains(t, err, tt.pointer+":", name)
	}
}

func TestOverviewOfNothing(t *testing.T) {
	t.Parallel()
	a := macrohound.New(nil, config(t))
	answer, _ := ask(t, a, at(day(t, "2007-05-08")), "cycles.aggregate_overview", nil)
	require.Zero(t, answer["told"])
	require.Equal(t, []string{"ltdc"}, lacking(t, answer, "long_term"))
	_, err := run(t, a, at(day(t, "2007-05-08")), "cycles.aggregate_overview", map[string]any{"stdc": []any{}})
	require.ErrorContains(t, err, "/args/stdc")
}

// Other capabilities of the agent are written elsewhere.
func TestExtraCapabilities(t *testing.T) {
	t.Parallel()
	a := macrohound.New(nil, macro.Config{}, agent.Capability{Name: "macro.other"})
	all := a.Capabilities()
	require.Equal(t, "macro_hound", a.Name())
	require.Equal(t, "macro.other", all[len(all)-1].Name)
}

// The pattern that needs this agent alone asks for what is declared, with its input given and left out.
func TestCyclesOverviewFitsTheArguments(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../configs/patterns/macro_cycles_overview.json")
	require.NoError(t, err)
	var definition struct {
		Steps []struct {
			Capability string            `json:"capability"`
			Args       map[string]string `json:"args"`
			As         string            `json:"as"`
		} `json:"steps"`
	}
	require.NoError(t, json.Unmarshal(raw, &definition))
	require.Len(t, definition.Steps, 4)
	d := newDesk(t)
	for _, asof := range []any{nil, "2001-10-31"} {
		values := map[string]any{"{{inputs.asof_date}}": asof}
		var answer map[string]any
		for _, step := range definition.Steps {
			args := map[string]any{}
			for name, template := range step.Args {
				require.Contains(t, values, template, "step %s", step.As)
				if values[template] != nil {
					args[name] = values[template]
				}
			}
			answer, _ = ask(t, d.agent, at(day(t, "2007-05-08")), step.Capability, args)
			values["{{"+step.As+"}}"] = answer
		}
		require.InDelta(t, 1, answer["told"], 0)
	}
}

// What rules watch is what the history says: the last regime's confidence where it is not the first's.
func TestShiftConfidence(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	shifted := 0
	for asof := day(t, "2000-06-30"); asof.Before(day(t, "2007-05-08")); asof = asof.AddDate(0, 0, 28) {
		answer, _ := ask(t, d.agent, at(asof), "macro.get_regime_history", map[string]any{"lookback_weeks": 4})
		history := answer["history"].([]any)
		first, last := history[0].(map[string]any), history[4].(map[string]any)
		want := 0.0
		if first["regime"] != last["regime"] {
			want = last["confidence"].(float64)
			shifted++
		}
		f, err := d.agent.ShiftConfidence(t.Context(), at(asof))
		require.NoError(t, err)
		require.NoError(t, f.Err)
		require.Equal(t, asof, f.Asof)
		require.InDelta(t, want, f.Value, 0, "%v", asof)
	}
	require.Greater(t, shifted, 3)

	f, err := d.agent.ShiftConfidence(t.Context(), at(day(t, "1946-01-01")))
	require.NoError(t, err)
	require.ErrorContains(t, f.Err, "macro:")
}
