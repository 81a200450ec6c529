package agent_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
)

func TestContextValues(t *testing.T) {
	t.Parallel()
	day := time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC)
	c := agent.Context{
		RequestID:   "r",
		Asof:        day,
		PricingPack: agent.Pack{ID: "pack", Date: day.AddDate(0, 0, -1)},
	}
	require.Equal(t, map[string]any{
		"request_id": "r", "trace_id": "", "user_id": nil, "asof": "2007-05-08",
		"pricing_pack_id": "pack", "pricing_pack_date": "2007-05-07",
		"portfolio_id": nil, "base_currency": nil, "ledger_version": nil,
	}, c.Values())

	c.UserID = "u"
	c.Portfolio = &agent.Portfolio{ID: "p", BaseCurrency: "CHF", LedgerVersion: "v"}
	v := c.Values()
	require.Equal(t, "u", v["user_id"])
	require.Equal(t, "p", v["portfolio_id"])
	require.Equal(t, "CHF", v["base_currency"])
	require.Equal(t, "v", v["ledger_version"])
}

func TestDecodeArgs(t *testing.T) {
	t.Parallel()
	type args struct {
		Days  int      `json:"days"`
		Rate  *float64 `json:"rate"`
		Other any      `json:"other"`
	}
	for name, tc := range map[string]struct {
		args map[string]any
		want args
		err  string
	}{
		"all": {
			args: map[string]any{"days": json.Number("5"), "rate": json.Number("0.5"), "other": json.Number("9007199254740993")},
			want: args{Days: 5, Rate: new(0.5), Other: json.Number("9007199254740993")},
		},
		"nulls keep defaults": {args: map[string]any{"days": nil, "rate": nil}, want: args{Days: 252}},
		"none":                {want: args{Days: 252}},
		"misspelt":            {args: map[string]any{"day": nil}, err: `arguments of a.b: json: unknown field "day"`},
		"wrong type":          {args: map[string]any{"days": "5"}, err: "arguments of a.b: json: cannot unmarshal string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := args{Days: 252}
			err := agent.DecodeArgs(agent.Request{Capability: "a.b", Args: tc.args}, &got)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}
