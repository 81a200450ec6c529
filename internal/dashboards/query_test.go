package dashboards_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dashboards"
)

func TestInterpolate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		v    dashboards.Values
		want string
		err  string
	}{
		"four scrapes when points are close": {
			text: "rate(x[$__rate_interval])", v: dashboards.Values{Scrape: 30 * time.Second, Step: 15 * time.Second}, want: "rate(x[120s])",
		},
		"a step and a scrape when they are not": {
			text: "rate(x[$__rate_interval])", v: dashboards.Values{Scrape: 30 * time.Second, Step: 5 * time.Minute}, want: "rate(x[330s])",
		},
		"range and interval": {
			text: "increase(x[$__range]) + rate(x[${__interval}])", v: dashboards.Values{Scrape: 30 * time.Second, Range: time.Hour}, want: "increase(x[3600s]) + rate(x[30s])",
		},
		"one agent":     {text: `x{a=~"$agent"}`, v: dashboards.Values{Agents: []string{"patterns"}}, want: `x{a=~"patterns"}`},
		"all agents":    {text: `x{a=~"$agent"}`, v: dashboards.Values{Agents: []string{"a", "b"}}, want: `x{a=~"(a|b)"}`},
		"odd agents":    {text: `x{a=~"$agent"}`, v: dashboards.Values{Agents: []string{"a.b"}}, want: `x{a=~"a\\.b"}`},
		"no agent":      {text: `x{a=~"$agent"}`, err: "no agent is chosen"},
		"what is wrong": {text: `SELECT $__timeFilter(x)`, err: "there is no variable $__timeFilter"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := dashboards.Query{Text: test.text}.Interpolate(test.v)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestQueries(t *testing.T) {
	t.Parallel()
	targets := 0
	for _, f := range files(t) {
		for _, p := range f.Panels {
			targets += len(p.Targets)
		}
	}
	queries := dashboards.Queries()
	require.Len(t, queries, targets)
	for _, q := range queries {
		text, err := q.Interpolate(dashboards.Values{Agents: []string{"a", "b"}, Range: time.Hour, Step: 15 * time.Second, Scrape: 30 * time.Second})
		require.NoError(t, err)
		require.NotEmpty(t, text)
		require.NotContains(t, text, "$")
	}
	require.Equal(t, []dashboards.Label{{
		Dashboard: "agent-performance", Name: "agent", Metric: "agent_invocations_total", Label: "agent_name",
	}}, dashboards.Labels())
}

func TestRules(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"agent:agent_invocations:rate5m",
		"channel:delivery_attempts:rate5m",
		"dawsos:api_errors:ratio_rate5m",
		"dawsos:api_latency:p50_5m",
		"dawsos:api_latency:p95_5m",
		"dawsos:api_latency:p99_5m",
		"dawsos:delivery_failures:ratio_rate5m",
		"dawsos:delivery_latency:p50_5m",
		"dawsos:delivery_latency:p99_5m",
		"pattern_step:pattern_step_duration:p95_5m",
		"slo:api_errors:ratio_rate1h",
		"slo:api_errors:ratio_rate30d",
		"slo:api_errors:ratio_rate30m",
		"slo:api_errors:ratio_rate3d",
		"slo:api_errors:ratio_rate5m",
		"slo:api_errors:ratio_rate6h",
		"slo:api_slow:ratio_rate1h",
		"slo:api_slow:ratio_rate30d",
		"slo:api_slow:ratio_rate30m",
		"slo:api_slow:ratio_rate3d",
		"slo:api_slow:ratio_rate5m",
		"slo:api_slow:ratio_rate6h",
		"slo:delivery_failures:ratio_rate1h",
		"slo:delivery_failures:ratio_rate30d",
		"slo:delivery_failures:ratio_rate30m",
		"slo:delivery_failures:ratio_rate3d",
		"slo:delivery_failures:ratio_rate5m",
		"slo:delivery_failures:ratio_rate6h",
		"status:api_requests:rate5m",
	}, dashboards.Rules())
}
