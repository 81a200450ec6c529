package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/sample"
)

// desk is a running API over the sample data.
type desk struct {
	url  string
	pool *pgxpool.Pool
}

func newDesk(t *testing.T, settings map[string]string) desk {
	t.Helper()
	url, addr := dbtest.URL(t), freeAddr(t)
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = sample.Load(t.Context(), pool, filepath.Join("..", "..", "configs", "sample"), func(string) {})
	require.NoError(t, err)
	getenv := func(name string) string {
		return map[string]string{
			"DATABASE_URL": url, "API_ADDR": addr, "LOG_LEVEL": "error", "AUTH_ANONYMOUS": "admin",
			"PATTERNS_DIR":  filepath.Join("..", "..", "configs", "patterns"),
			"AGENTS_FILE":   filepath.Join("..", "..", "configs", "agents.yaml"),
			"ANALYTICS_DIR": filepath.Join("..", "..", "configs", "analytics"),
			"LLM_URL":       settings["LLM_URL"], "LLM_MODEL": settings["LLM_MODEL"],
		}[name]
	}
	p, err := start(t.Context(), config.API, getenv)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.shutdown() })
	require.NoError(t, p.startAPI(t.Context(), getenv))
	return desk{url: "http://" + addr, pool: pool}
}

func (d desk) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := d.pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

func (d desk) securityID(t *testing.T, symbol string) string {
	t.Helper()
	var id string
	require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT id::text FROM securities WHERE symbol = $1`, symbol).Scan(&id))
	return id
}

// imports makes a revision of what insert stores, and a pack of the sample's last day that reads it. What
// is stored under an existing revision would be a pack that changes.
func (d desk) imports(t *testing.T, revision int, insert func()) {
	t.Helper()
	d.exec(t, `INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ('default', $1, 'test', 0, $2)`,
		revision, fmt.Sprint("content ", revision))
	insert()
	d.exec(t, `INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state)
		VALUES (gen_random_uuid(), 'default', '2007-05-08', $1, $2, 'fresh')`, revision, fmt.Sprint("hash ", revision))
}

type lack struct{ Field, Missing, Reason string }

// post runs a pattern once.
func (d desk) post(t *testing.T, pattern string, body map[string]any, status int) (data json.RawMessage, warnings []string) {
	t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/v1/patterns/"+pattern+"/execute", bytes.NewReader(raw))
	require.NoError(t, err)
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	raw, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, status, resp.StatusCode, "%s", raw)
	var answer struct {
		Data     json.RawMessage
		Warnings []string
	}
	require.NoError(t, json.Unmarshal(raw, &answer))
	return answer.Data, answer.Warnings
}

// execute runs a pattern twice and requires the same bytes both times.
func (d desk) execute(t *testing.T, pattern string, body map[string]any, data any) {
	t.Helper()
	first, _ := d.post(t, pattern, body, http.StatusOK)
	again, _ := d.post(t, pattern, body, http.StatusOK)
	require.Equal(t, string(first), string(again))
	require.NoError(t, json.Unmarshal(first, data))
}

type checklist struct {
	Fundamentals struct {
		Symbol  string
		Figures []struct {
			Metric string
			Value  float64
		}
		Insufficient []lack `json:"insufficient_data"`
	}
	Dividend rating `json:"dividend_safety"`
	Moat     rating `json:"moat_strength"`
	Resil    rating `json:"resilience"`
	Overall  struct {
		Overall      *float64
		Grade        *string
		Coverage     float64
		Insufficient []lack `json:"insufficient_data"`
	}
	Explanation struct {
		Text      string
		Engine    string
		Reason    *string `json:"fallback_reason"`
		Sentences []struct{ Text, Source string }
	}
}

type rating struct {
	Score        *float64
	Coverage     float64
	Insufficient []lack `json:"insufficient_data"`
}

// The pattern runs without any fundamentals and says what is missing; with imported rows it scores.
func TestBuffettChecklist(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.securityID(t, "EMR")
	body := map[string]any{"inputs": map[string]any{"security_id": id}}

	var c checklist
	d.execute(t, "buffett_checklist", body, &c)
	require.Equal(t, "EMR", c.Fundamentals.Symbol)
	require.Equal(t, []lack{{"figures", "fundamentals:EMR", "no fundamentals from fmp are stored that were known on 2007-05-08"}}, c.Fundamentals.Insufficient)
	for _, r := range []rating{c.Dividend, c.Moat, c.Resil} {
		require.Nil(t, r.Score)
		require.Len(t, r.Insufficient, 5, "every component, and the score")
	}
	require.Nil(t, c.Overall.Overall)
	require.Nil(t, c.Overall.Grade)
	require.Contains(t, c.Explanation.Text, "Missing: fundamentals:EMR")
	require.Equal(t, "sentences", c.Explanation.Engine)

	d.imports(t, 2, func() {
		for metric, v := range map[string]float64{
			"payout_ratio_5y": 0.4, "fcf_dividend_cover": 2.5, "dividend_growth_years": 12, "net_cash": -3e9, "market_cap": 1e11,
			"roe_5y": 0.22, "gross_margin": 0.45, "intangibles_share": 0.2, "switching_costs": 7,
			"debt_to_equity": 0.6, "interest_coverage": 12, "current_ratio": 1.2, "total_equity": 5e10,
		} {
			d.exec(t, `INSERT INTO fundamentals (tenant_id, security_id, provider, metric, date, revision, period_end, value)
				VALUES ('default', $1, 'fmp', $2, '2007-03-01', 2, '2006-12-31', $3)`, id, metric, v)
		}
		d.exec(t, `INSERT INTO fundamentals (tenant_id, security_id, provider, metric, date, revision, value)
			VALUES ('default', $1, 'fmp', 'roe_5y', '2007-06-01', 2, -1)`, id) // not known yet
	})
	c = checklist{}
	d.execute(t, "buffett_checklist", body, &c)
	resilience := (0.40*8 + 0.20*10 + 0.25*7) / 0.85 // worked by hand, without the margin's deviation
	require.InDelta(t, 6.95, *c.Dividend.Score, 1e-9)
	require.InDelta(t, 8.15, *c.Moat.Score, 1e-9)
	require.InDelta(t, resilience, *c.Resil.Score, 1e-8)
	require.InDelta(t, 0.85, c.Resil.Coverage, 1e-9)
	require.Equal(t, []lack{{"components.margin_stability.score", "fundamentals:EMR/operating_margin_sd", "no figure is stored"}}, c.Resil.Insufficient)
	require.InDelta(t, 10*(0.40*8.15+0.35*resilience+0.25*6.95), *c.Overall.Overall, 1e-6)
	require.Equal(t, "C", *c.Overall.Grade)
	require.Contains(t, c.Explanation.Text, "Ratings, overall: overall is 78.5926 (/ratings/overall/overall).")

	d.post(t, "buffett_checklist", map[string]any{"inputs": map[string]any{"security_id": "00000000-0000-4000-8000-000000000000"}}, http.StatusNotFound)
	early := map[string]any{"inputs": map[string]any{"security_id": id}, "asof": "2007-02-28"}
	c = checklist{}
	d.execute(t, "buffett_checklist", early, &c)
	require.Nil(t, c.Overall.Overall, "nothing was known then")
}

type news struct {
	Impact struct {
		Total    *float64 `json:"total_impact"`
		BySymbol []struct {
			Symbol string
			Weight float64
			Impact float64
		} `json:"by_symbol"`
		Items        []struct{ ID string }
		Unjudged     []struct{ ID string }
		Elsewhere    int
		Below        struct{ Items int } `json:"below_threshold"`
		Insufficient []lack              `json:"insufficient_data"`
	} `json:"impact_analysis"`
	Alert *struct {
		Outcome string
		RuleID  *string `json:"rule_id"`
		UserID  *string `json:"user_id"`
		Reason  string
	} `json:"alert_result"`
}

// The pattern runs without news and says so; with imported rows it measures them, and stores one rule.
func TestNewsImpactAnalysis(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	inputs := map[string]any{"portfolio_id": sample.PortfolioID(), "create_alert": true}
	body := map[string]any{"inputs": inputs}

	var n news
	d.execute(t, "news_impact_analysis", body, &n)
	require.Nil(t, n.Impact.Total, "no news is no good news")
	require.Equal(t, lack{"total_impact", "news", "no news are stored up to 2007-05-08"}, n.Impact.Insufficient[0])
	require.Equal(t, "unknown", n.Alert.Outcome)

	insert := func(revision int, id, at string, sentiment any, symbols ...string) {
		d.exec(t, `INSERT INTO news (tenant_id, id, revision, published_at, date, title, source, sentiment, symbols)
			VALUES ('default', $1, $2, $3::timestamptz, ($3::timestamptz AT TIME ZONE 'UTC')::date, $1, 'wire', $4, $5)`,
			id, revision, at, sentiment, symbols)
	}
	d.imports(t, 2, func() {
		insert(2, "old", "2007-05-07T23:59:59Z", -1.0, "SBI")
		insert(2, "bad", "2007-05-08T08:00:00Z", -0.8, "SBI", "USMKT")
		insert(2, "good", "2007-05-08T23:59:59Z", 0.5, "SPI")
		insert(2, "unjudged", "2007-05-08T09:00:00Z", nil, "SBI")
		insert(2, "later", "2007-05-09T00:00:00Z", -1.0, "SBI")
		insert(2, "elsewhere", "2007-05-08T09:00:00Z", -1.0, "NESN")
	})
	valued := struct {
		Valued struct {
			Positions []struct {
				Symbol string
				Weight float64
			}
		} `json:"valued_positions"`
	}{}
	d.execute(t, "portfolio_overview", map[string]any{"inputs": map[string]any{"portfolio_id": sample.PortfolioID()}}, &valued)
	weights := map[string]float64{}
	for _, p := range valued.Valued.Positions {
		weights[p.Symbol] = p.Weight
	}
	require.NotZero(t, weights["SBI"])

	n = news{}
	d.execute(t, "news_impact_analysis", body, &n)
	require.InDelta(t, 0.8*(weights["SBI"]+weights["USMKT"])+0.5*weights["SPI"], *n.Impact.Total, 1e-12)
	require.Len(t, n.Impact.Unjudged, 1)
	require.Equal(t, "below_threshold", n.Alert.Outcome)
	require.Nil(t, n.Alert.RuleID)

	inputs["lookback_hours"] = 48
	n = news{}
	d.execute(t, "news_impact_analysis", body, &n)
	require.InDelta(t, 1.8*weights["SBI"]+0.8*weights["USMKT"]+0.5*weights["SPI"], *n.Impact.Total, 1e-12)

	// Enough of it stores a rule, once for all runs about the same holdings.
	d.imports(t, 3, func() {
		for i := range 20 {
			insert(3, fmt.Sprint("worse ", i), "2007-05-08T10:00:00Z", -1.0, "SBI")
		}
	})
	raw, warnings := d.post(t, "news_impact_analysis", body, http.StatusOK)
	require.NoError(t, json.Unmarshal(raw, &n))
	require.Equal(t, "created", n.Alert.Outcome, n.Alert.Reason)
	require.Equal(t, "system", *n.Alert.UserID)
	require.Contains(t, warnings, "1 news about holdings have no sentiment and are not counted.")
	id := *n.Alert.RuleID
	d.execute(t, "news_impact_analysis", body, &n)
	require.Equal(t, "exists", n.Alert.Outcome)
	require.Equal(t, id, *n.Alert.RuleID)
	var name string
	require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT name FROM alert_rules WHERE id = $1`, id).Scan(&name))
	require.Contains(t, name, "News weigh on SBI")

	inputs["create_alert"] = false
	n = news{}
	d.execute(t, "news_impact_analysis", body, &n)
	require.Nil(t, n.Alert)
}
