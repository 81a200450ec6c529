package packs_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// onePortfolio is a source of nothing else.
type onePortfolio struct{ packs.Source }

func (onePortfolio) Portfolios(context.Context, string, portfolio.Cursor, int) ([]portfolio.Portfolio, *portfolio.Cursor, error) {
	return []portfolio.Portfolio{{ID: "p"}}, nil, nil
}

// The API wants a key of its callers: the worker shows its own, and without one says what is to be done.
func TestPrewarmShowsAKey(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer daws_worker" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(api.Close)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	prewarm := func(key string) (packs.PrewarmReport, string) {
		w := packs.NewPrewarmer(onePortfolio{}, packs.PrewarmOptions{
			APIURL: api.URL, Key: key, Patterns: []string{"portfolio_overview"}, Portfolios: 1, Client: client,
		})
		report, skipped, err := w.Prewarm(t.Context(), packs.Pack{TenantID: "default"})
		require.NoError(t, err)
		return report, skipped
	}
	report, skipped := prewarm("daws_worker")
	require.Empty(t, skipped)
	require.Equal(t, 1, report.Answered)
	report, skipped = prewarm("")
	require.Equal(t, map[int]int{http.StatusUnauthorized: 1}, report.Refused)
	require.Contains(t, skipped, "API_KEY")
}
