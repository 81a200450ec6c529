package alerting_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/alerting"
	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

var analyticsDir = agenttest.Configs("analytics")

const portfolioID = agenttest.PortfolioID

func presets(t *testing.T) alerting.Presets {
	t.Helper()
	p, err := alerting.LoadPresets(analyticsDir)
	require.NoError(t, err)
	return p
}

func run() agent.Context {
	day := time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC)
	return agent.Context{
		TenantID: store.DefaultTenant, UserID: "ada", Asof: day, PricingPack: agent.Pack{ID: "p", Date: day, Revision: 1},
		Portfolio: &agent.Portfolio{ID: portfolioID, BaseCurrency: "CHF"},
	}
}

// try asks as the runtime does, and decodes what comes into answer.
func try(t *testing.T, a *alerting.Agent, c agent.Context, name string, args string, answer any) error {
	t.Helper()
	r, err := agenttest.Call(t, a.Capabilities(), c, name, json.RawMessage(args))
	if err != nil {
		return err
	}
	require.Len(t, r.Sources, 1)
	require.Regexp(t, `^config:presets\.yaml@[0-9a-f]{12}$`, r.Sources[0].Name)
	require.NoError(t, json.Unmarshal(agenttest.Bytes(t, r.Value), answer))
	return nil
}

type suggested struct {
	Suggestions []struct {
		Preset, Reason string
		Rule           json.RawMessage
	}
	Skipped      []struct{ Preset, Reason string }
	Insufficient []struct{ Missing string } `json:"insufficient_data"`
}

func TestPresetsAreMadeOfWhatWasMeasured(t *testing.T) {
	t.Parallel()
	a := alerting.New(nil, presets(t))
	var got suggested
	require.NoError(t, try(t, a, run(), "alerts.suggest_presets", `{"portfolio_id": "`+portfolioID+`", "trend_analysis": {
		"regime_shifts": [
			{"date": "2007-04-13", "from": "early_expansion", "to": "mid_expansion", "confidence": 0.85},
			{"date": "2007-05-04", "from": "mid_expansion", "to": "late_expansion", "confidence": 0.92}],
		"factor_shifts": [
			{"factor": "SPI", "from": "2007-04-10", "to": "2007-05-08", "beta": 0.8, "change": 0.25, "std_errors": 2.6},
			{"factor": "SBI", "beta": -0.4, "change": -0.3},
			{"factor": "USMKT", "beta": 0.01},
			{"factor": "USDCHF", "beta": 0.3, "change": 0.1}],
		"insufficient_data": [{"field": "x", "missing": "factor_history", "reason": "r"}]}}`, &got))
	var rules []string
	for _, s := range got.Suggestions {
		r, err := alerts.ParseRule(s.Rule)
		require.NoError(t, err, "POST /v1/alerts takes it")
		require.Equal(t, "ada", r.UserID)
		require.Equal(t, alerts.Warning, r.Severity)
		rules = append(rules, s.Preset+": "+r.Name+": "+r.Condition.String())
	}
	require.Equal(t, []string{
		"regime_shift: The macro regime changes: regime shift_confidence >= 0.9",
		"factor_shift: SPI falls by 2.5 % in a day: SPI change_pct <= -2.5", // 0.8 x 2.5 % = 2 %
		"factor_shift: SBI rises by 5 % in a day: SBI change_pct >= 5",
		"factor_shift: The portfolio is down 10 % from its peak: portfolio " + portfolioID + " drawdown >= 0.1",
	}, rules)
	require.Equal(t, "On 2007-05-04 the macro regime changed from mid_expansion to late_expansion, with confidence 0.92.", got.Suggestions[0].Reason)
	require.Equal(t, "The beta to SPI is now 0.8, a change of 0.25: a day's move of 2.5 % costs 2 % of the portfolio.", got.Suggestions[1].Reason)
	require.Len(t, got.Skipped, 1)
	require.Contains(t, got.Skipped[0].Reason, "takes a move of USMKT by 200 %")
	require.Equal(t, "factor_history", got.Insufficient[0].Missing)
}

func TestWithoutShiftsNothingIsProposed(t *testing.T) {
	t.Parallel()
	a := alerting.New(nil, presets(t))
	var got suggested
	ask := func(trends string) error {
		return try(t, a, run(), "alerts.suggest_presets", `{"portfolio_id": "`+portfolioID+`", "trend_analysis": `+trends+`}`, &got)
	}
	require.NoError(t, ask(`{"regime_shifts": [], "factor_shifts": [], "insufficient_data": []}`))
	require.Empty(t, got.Suggestions)
	require.NoError(t, ask(`{"regime_shifts": null, "factor_shifts": [{"factor": "SPI", "beta": 0}, {"factor": "SPI", "beta": null}]}`))
	require.Empty(t, got.Suggestions)
	require.Len(t, got.Skipped, 2)
	require.Contains(t, got.Skipped[0].Reason, "more than 1000")

	c := run()
	c.UserID = ""
	require.NoError(t, try(t, a, c, "alerts.suggest_presets",
		`{"portfolio_id": "`+portfolioID+`", "trend_analysis": {"regime_shifts": [{"date": "d", "from": "a", "to": "b"}], "factor_shifts": []}}`, &got))
	require.Contains(t, string(got.Suggestions[0].Rule), `"user_id":"system"`)

	err := try(t, a, run(), "alerts.suggest_presets",
		`{"portfolio_id": "9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81", "trend_analysis": {"regime_shifts": [], "factor_shifts": []}}`, &got)
	require.Equal(t, fault.Invalid, fault.CodeOf(err), "another portfolio's")
}

type created struct {
	Outcome, Reason string
	RuleID          *string `json:"rule_id"`
	Name            *string
	Condition       *string
	UserID          *string                    `json:"user_id"`
	Insufficient    []struct{ Missing string } `json:"insufficient_data"`
}

const impact = `{"threshold": 0.7, "preset": "news_impact", "impact_analysis": {"total_impact": 0.9, "by_symbol": [
	{"symbol": "SBI", "weight": 0.5, "impact": 0.6}, {"symbol": "AA", "weight": -0.3, "impact": 0.3}, {"symbol": "F", "weight": 0.1, "impact": 0}]}}`

func setup(t *testing.T) (*alerting.Agent, *pgxpool.Pool) {
	t.Helper()
	pool := dbtest.New(t)
	return alerting.New(store.New(pool, store.Options{}), presets(t)), pool
}

func TestARuleIsStoredOnce(t *testing.T) {
	t.Parallel()
	a, pool := setup(t)
	var first, second created
	require.NoError(t, try(t, a, run(), "alerts.create_if_threshold", impact, &first))
	require.Equal(t, "created", first.Outcome)
	require.Equal(t, "The impact is 0.9, at least 0.7: the rule was stored.", first.Reason)
	require.Equal(t, "News weigh on SBI, AA", *first.Name)
	require.Equal(t, "any of (SBI sentiment <= -0.3; AA sentiment >= 0.3)", *first.Condition, "good news are bad for what is held short")
	require.Equal(t, "ada", *first.UserID)
	require.EqualValues(t, 5, uuid.MustParse(*first.RuleID).Version())

	later := run()
	later.RequestID, later.Asof = "another", later.Asof.AddDate(0, 0, 1)
	require.NoError(t, try(t, a, later, "alerts.create_if_threshold", impact, &second))
	require.Equal(t, "exists", second.Outcome)
	require.Equal(t, first.RuleID, second.RuleID)

	alertStore := store.NewAlerts(pool, nil, nil, nil, nil, nil)
	rule, err := alertStore.Rule(t.Context(), store.DefaultTenant, uuid.MustParse(*first.RuleID))
	require.NoError(t, err)
	require.True(t, rule.Active)
	require.True(t, rule.Channels.Inapp)

	// Another user's, another portfolio's and another tenant's are other rules.
	_, err = pool.Exec(t.Context(), `INSERT INTO tenants (id) VALUES ('other')`)
	require.NoError(t, err)
	ids := map[string]bool{*first.RuleID: true}
	for _, change := range []func(*agent.Context){
		func(c *agent.Context) { c.UserID = "" },
		func(c *agent.Context) { c.Portfolio = &agent.Portfolio{ID: uuid.NewString()} },
		func(c *agent.Context) { c.TenantID = "other" },
	} {
		c := run()
		change(&c)
		var other created
		require.NoError(t, try(t, a, c, "alerts.create_if_threshold", impact, &other))
		require.Equal(t, "created", other.Outcome)
		require.False(t, ids[*other.RuleID])
		ids[*other.RuleID] = true
	}
}

func TestNoRuleIsStored(t *testing.T) {
	t.Parallel()
	a, pool := setup(t)
	for name, tt := range map[string]struct{ args, outcome, reason string }{
		"below": {strings.Replace(impact, "0.9", "0.69", 1), "below_threshold", "The impact is 0.69, below 0.7"},
		"unknown": {
			`{"threshold": 0.7, "preset": "news_impact", "impact_analysis": {"total_impact": null, "by_symbol": [],
				"insufficient_data": [{"field": "total_impact", "missing": "news", "reason": "none"}]}}`, "unknown", "not known",
		},
		"nothing held": {
			`{"threshold": 0, "preset": "news_impact", "impact_analysis": {"total_impact": 0, "by_symbol": []}}`,
			"below_threshold", "No holding is touched",
		},
	} {
		var got created
		require.NoError(t, try(t, a, run(), "alerts.create_if_threshold", tt.args, &got), name)
		require.Equal(t, tt.outcome, got.Outcome, name)
		require.Contains(t, got.Reason, tt.reason)
		require.Nil(t, got.RuleID)
		if name == "unknown" {
			require.Equal(t, "news", got.Insufficient[0].Missing)
		}
	}
	c := run()
	c.Portfolio = nil
	var got created
	require.Equal(t, fault.Invalid, fault.CodeOf(try(t, a, c, "alerts.create_if_threshold", impact, &got)))
	var rules int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM alert_rules`).Scan(&rules))
	require.Zero(t, rules)
}

func TestALongNameIsCut(t *testing.T) {
	t.Parallel()
	a, _ := setup(t)
	long := strings.Repeat("x", 90)
	var got created
	require.NoError(t, try(t, a, run(), "alerts.create_if_threshold", `{"threshold": 0.7, "preset": "news_impact", "impact_analysis": {"total_impact": 0.9, "by_symbol": [
		{"symbol": "1`+long+`", "weight": 0.5, "impact": 0.6}, {"symbol": "2`+long+`", "weight": 0.3, "impact": 0.3}, {"symbol": "3`+long+`", "weight": 0.3, "impact": 0.3}]}}`, &got))
	require.Len(t, []rune(*got.Name), 200)
}

func TestPresetsAreReadStrictly(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(analyticsDir, alerting.PresetsFile))
	require.NoError(t, err)
	for name, tt := range map[string]struct{ old, changed, says string }{
		"unknown key":   {"loss: 0.02", "los: 0.02", "los"},
		"a loss of all": {"loss: 0.02", "loss: 1.5", "factor_shift.loss"},
		"moves":         {"max_move_pct: 15", "max_move_pct: 0.1", "max_move_pct"},
		"confidence":    {"confidence: 0.9", "confidence: 2", "0 to 1"},
		"severity":      {"severity: warning", "severity: loud", "/severity"},
		"no severity":   {"  severity: warning\n", "", "severity"},
		"cooldown":      {"cooldown_hours: 168", "cooldown_hours: -1", "/cooldown_hours"},
		"drawdown":      {"drawdown_limit: 0.1", "drawdown_limit: 0.9", "0.1 to 0.4"},
		"sentiment":     {"sentiment: 0.3", "sentiment: 0", "news_impact.sentiment"},
		"too many":      {"max_symbols: 5", "max_symbols: 33", "max_symbols"},
		"no symbol":     {"SPI: SPI,", `SPI: "",`, "factor_shift.prices.SPI"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, string(raw), tt.old)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, alerting.PresetsFile), []byte(strings.Replace(string(raw), tt.old, tt.changed, 1)), 0o600))
			_, err := alerting.LoadPresets(dir)
			require.ErrorContains(t, err, tt.says)
		})
	}
}
