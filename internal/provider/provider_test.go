package provider

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/outbound"
)

const key = "s3cret/key+"

// serve answers like a service and returns what providers need to ask it.
func serve(t *testing.T, answer http.HandlerFunc) Options {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	client := outbound.NewClient(outbound.Options{Policy: outbound.Policy{AllowPrivate: true}, Timeout: 5 * time.Second})
	t.Cleanup(client.CloseIdleConnections)
	return Options{Client: client, Key: key, BaseURL: server.URL}
}

func recorded(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return raw
}

func fetch(t *testing.T, p Provider, since time.Time, subjects ...string) ([]Row, error) {
	t.Helper()
	var rows []Row
	err := p.Fetch(t.Context(), subjects, since, func(r Row) error {
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

func day(t *testing.T, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	require.NoError(t, err)
	return d
}

func TestFRED(t *testing.T) {
	t.Parallel()
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("api_key") != key || r.URL.Query().Get("series_id") != "UNRATE" || r.URL.Query().Get("file_type") != "json" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		switch r.URL.Path {
		case "/fred/series":
			_, _ = w.Write(recorded(t, "fred_series.json"))
		case "/fred/series/observations":
			if r.URL.Query().Get("observation_start") != "2008-01-01" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_, _ = w.Write(recorded(t, "fred_observations.json"))
		}
	})
	rows, err := fetch(t, NewFRED(o), day(t, "2008-01-01"), "UNRATE")
	require.NoError(t, err)
	// February's of a leap year ends on the 29th; the month without a value is left out.
	require.Equal(t, []Row{
		MacroRow{"UNRATE", "2008-01-31", "5.0", "Percent", "monthly", "FRED"},
		MacroRow{"UNRATE", "2008-02-29", "4.9", "Percent", "monthly", "FRED"},
	}, rows)
}

func TestPeriodEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ start, frequency, end string }{
		{"2026-11-27", "daily", "2026-11-27"},
		{"2026-11-27", "weekly", "2026-11-27"},
		{"2026-01-01", "monthly", "2026-01-31"},
		{"2026-12-01", "monthly", "2026-12-31"},
		{"2026-10-01", "quarterly", "2026-12-31"},
		{"2026-04-01", "quarterly", "2026-06-30"},
		{"2026-01-01", "annual", "2026-12-31"},
	} {
		require.Equal(t, tt.end, periodEnd(day(t, tt.start), tt.frequency).Format(time.DateOnly), "%v", tt)
	}
}

// fmpAnswers are three companies' statements in the shape of FMP's documentation: a dividend payer with five
// years, one with negative equity, and a fund, which has none.
func fmpAnswers(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("apikey") != key {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	symbol, path := r.URL.Query().Get("symbol"), r.URL.Path
	var list []map[string]any
	for i := range 5 {
		if symbol == "FUND" {
			break
		}
		year := 2025 - i
		row := map[string]any{
			"date": fmt.Sprintf("%d-09-30", year), "symbol": symbol, "reportedCurrency": "USD",
			"filingDate": fmt.Sprintf("%d-11-0%d", year, 1+i%2), "fiscalYear": fmt.Sprint(year), "period": "FY",
		}
		switch path {
		case "/stable/income-statement":
			row["revenue"], row["grossProfit"] = 1000, 450
			row["operatingIncome"], row["interestExpense"], row["netIncome"] = 100+10*i, 20, 80
		case "/stable/balance-sheet-statement":
			row["cashAndShortTermInvestments"], row["totalDebt"] = 300, 200
			row["totalCurrentAssets"], row["totalCurrentLiabilities"] = 600, 400
			row["goodwillAndIntangibleAssets"], row["totalAssets"], row["totalStockholdersEquity"] = 320, 1600, 400
			if symbol == "NEGATIVE" {
				row["totalStockholdersEquity"] = -50
			}
			row["filingDate"] = fmt.Sprintf("%d-11-05", year) // later than the income statement
		case "/stable/cash-flow-statement":
			row["freeCashFlow"], row["commonDividendsPaid"] = 120, -40
		}
		list = append(list, row)
	}
	switch path {
	case "/stable/dividends":
		list = []map[string]any{}
		for year := 2018; year <= 2025; year++ {
			perShare := 1 + 0.1*float64(year-2018)
			if year == 2020 {
				perShare = 0.5 // cut
			}
			for _, md := range []string{"02-10", "08-10"} {
				list = append(list, map[string]any{"symbol": symbol, "date": fmt.Sprintf("%d-%s", year, md), "adjDividend": perShare / 2, "dividend": perShare / 2})
			}
		}
	case "/stable/profile":
		list = []map[string]any{{"symbol": symbol, "marketCap": 3900351299800, "currency": "USD"}}
	case "/stable/market-capitalization":
		list = []map[string]any{{"symbol": symbol, "date": "2026-11-27", "marketCap": 3900351299800}}
	}
	if list == nil {
		list = []map[string]any{}
	}
	_ = json.NewEncoder(w).Encode(list)
}

func TestFMP(t *testing.T) {
	t.Parallel()
	rows, err := fetch(t, NewFMP(serve(t, fmpAnswers)), time.Time{}, "PAYER", "NEGATIVE", "FUND")
	require.NoError(t, err)
	got := map[string]FundamentalRow{}
	for _, r := range rows {
		f := r.(FundamentalRow)
		require.Equal(t, "fmp", f.Provider)
		got[f.Symbol+" "+f.Metric] = f
	}
	require.Len(t, got, len(rows), "each figure once")
	// By hand: 5 x 40 of 5 x 80 paid out; operating margins 0.10 ... 0.14, whose deviation is sqrt(0.001/4).
	for metric, want := range map[string]float64{
		"payout_ratio_5y": 0.5, "fcf_dividend_cover": 3, "net_cash": 100, "roe_5y": 0.2, "gross_margin": 0.45,
		"intangibles_share": 0.2, "total_equity": 400, "debt_to_equity": 0.5, "interest_coverage": 5,
		"current_ratio": 1.5, "operating_margin_sd": math.Sqrt(0.001 / 4), "dividend_growth_years": 4, "market_cap": 3900351299800,
	} {
		row, ok := got["PAYER "+metric]
		require.True(t, ok, metric)
		require.InDelta(t, want, row.Value, 1e-12*math.Max(1, want), metric)
		if metric != "market_cap" {
			require.Equal(t, "2025-11-05", row.Date, "known when the last of the statements was filed: %s", metric)
			require.Equal(t, "2025-09-30", row.PeriodEnd)
		}
	}
	require.InDelta(t, -50, got["NEGATIVE total_equity"].Value, 0)
	for _, metric := range []string{"roe_5y", "debt_to_equity"} {
		require.NotContains(t, got, "NEGATIVE "+metric, "says nothing without equity")
	}
	for name := range got {
		require.False(t, strings.HasPrefix(name, "FUND "), name)
	}
}

// Accounts are in the currency of the company, its market capitalisation in that of its listing: what is owed in
// yen is no share of a value in dollars.
func TestFMPNetCashOfAnotherCurrency(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reported, listed string
		netCash          bool
	}{
		{"USD", "USD", true}, {"JPY", "USD", false}, {"USD", "", false}, {"", "USD", false},
	} {
		o := serve(t, func(w http.ResponseWriter, r *http.Request) {
			recorder := httptest.NewRecorder()
			fmpAnswers(recorder, r)
			text := strings.ReplaceAll(recorder.Body.String(), `"reportedCurrency":"USD"`, `"reportedCurrency":"`+tt.reported+`"`)
			fmt.Fprint(w, strings.ReplaceAll(text, `"currency":"USD"`, `"currency":"`+tt.listed+`"`))
		})
		rows, err := fetch(t, NewFMP(o), time.Time{}, "PAYER")
		require.NoError(t, err)
		var metrics []string
		for _, r := range rows {
			metrics = append(metrics, r.(FundamentalRow).Metric)
		}
		require.Equal(t, tt.netCash, slices.Contains(metrics, "net_cash"), "%+v", tt)
		require.Contains(t, metrics, "market_cap")
		require.Contains(t, metrics, "debt_to_equity", "ratios within the accounts have no currency")
	}
}

// An article about companies of two requests is answered to both, to each with its own alone.
func TestMarketauxOverManySymbols(t *testing.T) {
	t.Parallel()
	var symbols []string
	for i := range symbolsAtOnce + 1 {
		symbols = append(symbols, fmt.Sprintf("S%02d", i))
	}
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		about := `{"symbol":"S00","sentiment_score":0.6},{"symbol":"S01","sentiment_score":null}`
		if r.URL.Query().Get("symbols") == "S20" {
			about = `{"symbol":"S20","sentiment_score":-0.2}`
		}
		fmt.Fprintf(w, `{"meta":{"found":1,"limit":3},"data":[{"uuid":"1","title":"t","published_at":"2026-11-27T14:05:00Z","entities":[%s]}]}`, about)
	})
	rows, err := fetch(t, NewMarketaux(o), day(t, "2026-11-27"), symbols...)
	require.NoError(t, err)
	require.Len(t, rows, 1, "once")
	got := rows[0].(NewsRow)
	require.Equal(t, []string{"S00", "S01", "S20"}, got.Symbols)
	require.InDelta(t, 0.2, *got.Sentiment, 1e-12, "the mean over those that were judged")
}

func TestMarketaux(t *testing.T) {
	t.Parallel()
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("api_token") != key || q.Get("symbols") != "EMR,AA" || q.Get("published_after") != "2026-11-27T00:00:00" || q.Get("page") != "1" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = w.Write(recorded(t, "marketaux.json"))
	})
	rows, err := fetch(t, NewMarketaux(o), day(t, "2026-11-27"), "EMR", "AA")
	require.NoError(t, err)
	mean := 0.2
	got := rows[0].(NewsRow)
	require.InDelta(t, mean, *got.Sentiment, 1e-12)
	got.Sentiment = nil
	require.Equal(t, NewsRow{
		ID: "marketaux:3d4a1c7e-0001", PublishedAt: "2026-11-27T14:05:00Z", Title: "Emerson raises its outlook",
		Source: "news.example", URL: "https://news.example/1", Symbols: []string{"AA", "EMR"},
	}, got)
	require.Len(t, rows, 2, "what is about none of the symbols is left out")
	require.Nil(t, rows[1].(NewsRow).Sentiment, "not judged is not neutral")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	answers := map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"wrong key": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error_code":400,"error_message":"Bad Request.  The value for variable api_key %s is not registered."}`, key)
		}, "answered 400"},
		"too many": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
		}, "answered 429: an empty answer"},
		"down":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "answered 502"},
		"a page":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Sign in</html>") }, "not the documented JSON: <html>"},
		"too big": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxAnswer+1)) }, "larger than"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "50")
			fmt.Fprint(w, "{")
		}, "broke off"},
		"no shape": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"seriess":[]}`) }, "0 descriptions"},
	}
	for name, tt := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows, err := fetch(t, NewFRED(serve(t, tt.answer)), time.Time{}, "UNRATE")
			require.Empty(t, rows)
			require.ErrorContains(t, err, "fred, UNRATE")
			require.ErrorContains(t, err, tt.says)
			for e := err; e != nil; {
				require.NotContains(t, e.Error(), key)
				require.NotContains(t, e.Error(), "s3cret")
				require.NotContains(t, e.Error(), "127.0.0.1")
				u, ok := e.(interface{ Unwrap() error })
				if !ok {
					break
				}
				e = u.Unwrap()
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		o := serve(t, nil)
		o.BaseURL = "http://127.0.0.1:1"
		_, err := fetch(t, NewFRED(o), time.Time{}, "UNRATE")
		require.Error(t, err)
		require.NotContains(t, err.Error(), "127.0.0.1")
	})
}

// A service that takes one request a second is asked no faster.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	p := NewFRED(serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }))
	p.service = newService("fred", p.base, 1, time.Hour, Options{Client: p.client, Key: key}, keyInQuery("api_key"))
	var v any
	require.NoError(t, p.get(t.Context(), "", "/x", nil, &v))
	require.False(t, p.limit.TryAcquirePermit(), "the next has to wait")
}

// Whatever a service answers, a provider neither panics nor emits a row that has no form as an import.
func FuzzProviders(f *testing.F) {
	for _, name := range []string{"fred_series.json", "fred_observations.json", "marketaux.json"} {
		raw, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(string(raw))
	}
	f.Add(`[{"date":"2025-09-30","filingDate":"2025-11-01","netIncome":1e308,"totalStockholdersEquity":1e-308}]`)
	f.Fuzz(func(t *testing.T, body string) {
		o := Options{Key: key, BaseURL: "http://service.example", Client: &http.Client{Transport: answering(body)}}
		fred, fmp, marketaux := NewFRED(o), NewFMP(o), NewMarketaux(o)
		for _, s := range []*service{&fred.service, &fmp.service, &marketaux.service} {
			s.limit = ratelimiter.NewSmooth[any](1_000_000, time.Second)
		}
		for _, p := range []Provider{fred, fmp, marketaux} {
			_ = p.Fetch(t.Context(), []string{"AA"}, time.Time{}, func(r Row) error {
				_, err := json.Marshal(r)
				require.NoError(t, err)
				return nil
			})
		}
	})
}

type answering string

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	recorder.WriteHeader(http.StatusOK)
	_, _ = recorder.WriteString(string(a))
	response := recorder.Result()
	response.Request = r
	return response, nil
}
