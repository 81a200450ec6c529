package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

const samplePortfolio = "9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81"

// newPortfolio opens a portfolio and returns its id.
func (s *site) newPortfolio(body string) string {
	s.t.Helper()
	var p struct{ ID string }
	require.NoError(s.t, json.Unmarshal([]byte(s.api(http.MethodPost, "/v1/portfolios", body, http.StatusCreated)), &p))
	return p.ID
}

func TestPortfoliosAreListed(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	page := s.get("/console/portfolios")
	require.Contains(t, page.text(), "Sample CHF CHF LP40 SBI fifo 23")
	require.Contains(t, page.links(), "/console/portfolios/"+samplePortfolio)
	require.Contains(t, page.links(), "/console/portfolios/"+samplePortfolio+"/transactions")

	for i := range 55 {
		s.newPortfolio(fmt.Sprintf(`{"name": "<b>P%02d</b>", "base_currency": "EUR"}`, i))
	}
	page = s.get("/console/portfolios")
	require.Contains(t, page.text(), "<b>P48</b> EUR none")
	require.NotContains(t, page.text(), "P49")
	next := page.links()[slices.IndexFunc(page.links(), func(l string) bool { return strings.Contains(l, "cursor=") })]
	rest := s.get(next)
	require.Contains(t, rest.text(), "<b>P49</b>")
	require.Contains(t, rest.text(), "<b>P54</b>")
	require.NotContains(t, rest.text(), "P48")
	require.Contains(t, rest.links(), "/console/portfolios")

	require.Contains(t, newSite(t).get("/console/portfolios").text(), "There are no portfolios yet")
}

// The page says what the API says.
func TestPortfolioShowsWhatThePatternAnswers(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	var answer struct {
		DataHash string `json:"data_hash"`
		Data     struct {
			Metrics struct {
				TWR    float64 `json:"twr"`
				Sharpe float64 `json:"sharpe_ratio"`
				Beta   struct {
					Beta float64 `json:"beta"`
				} `json:"benchmark"`
			} `json:"perf_metrics"`
		} `json:"data"`
	}
	for _, c := range []struct{ query, body, total string }{
		{"", fmt.Sprintf(`{"inputs":{"portfolio_id":%q}}`, samplePortfolio), "1 444 808.19"},
		{"?asof=2006-06-30&window=63", fmt.Sprintf(`{"asof":"2006-06-30","inputs":{"portfolio_id":%q,"lookback_days":63}}`, samplePortfolio), ""},
	} {
		require.NoError(t, json.Unmarshal([]byte(s.api(http.MethodPost, "/v1/patterns/portfolio_overview/execute", c.body, http.StatusOK)), &answer))
		page := s.get("/console/portfolios/" + samplePortfolio + c.query)
		require.Equal(t, http.StatusOK, page.StatusCode)
		text := page.text()
		require.Contains(t, text, "Return "+strconv.FormatFloat(100*answer.Data.Metrics.TWR, 'f', 1, 64)+" % over the window")
		require.Contains(t, text, "Sharpe ratio "+strconv.FormatFloat(answer.Data.Metrics.Sharpe, 'f', 2, 64))
		require.Contains(t, text, "Beta , to the benchmark "+strconv.FormatFloat(answer.Data.Metrics.Beta.Beta, 'f', 2, 64))
		require.Contains(t, text, answer.DataHash)
		require.Contains(t, text, c.total)
		require.NotContains(t, text, "not known")
	}

	page := s.get("/console/portfolios/" + samplePortfolio)
	require.Contains(t, page.text(), "As of 2007-05-08")
	require.Contains(t, page.text(), "AA Alcoa (rebased) equity Materials 500 127.59924 USD of 2007-05-08 77 720.70 5.4 % 54 429.00 23 291.70")
	require.Contains(t, page.text(), "Cash USD cash 15 578.05 – 18 977.18 1.3 %")
	require.Contains(t, page.text(), "By sector Part Weight Bar Industrials 19.7 %")
	require.Contains(t, page.links(), "/console/patterns/portfolio_overview?portfolio_id="+samplePortfolio)
	require.NotContains(t, page.links(), "/console/patterns/macro_cycles_overview?portfolio_id="+samplePortfolio)
	var charts []string
	for n := range page.tree.Descendants() {
		for _, a := range n.Attr {
			if n.Type == html.ElementNode && a.Key == "data-spec" {
				var spec struct{ Name string }
				require.NoError(t, json.Unmarshal([]byte(a.Val), &spec))
				charts = append(charts, spec.Name)
			}
		}
	}
	require.Equal(t, []string{"nav", "growth", "drawdown", "attribution_waterfall"}, charts)
}

// Who goes on from a portfolio to its patterns asks for the same day and the same packs.
func TestPatternsAboutAPortfolioKeepItsDay(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	for query, holds := range map[string]struct {
		asof  string
		stale bool
	}{
		"":                            {},
		"?asof=2006-06-30":            {asof: "2006-06-30"},
		"?asof=2006-06-30&window=63":  {asof: "2006-06-30"},
		"?asof=2006-06-30&fresh=no":   {asof: "2006-06-30", stale: true},
		"?asof=2006-06-30&fresh=what": {asof: "2006-06-30"},
	} {
		list := s.get("/console/portfolios/" + samplePortfolio + query).links()
		i := slices.IndexFunc(list, func(l string) bool { return strings.HasPrefix(l, "/console/patterns/portfolio_overview?") })
		require.GreaterOrEqual(t, i, 0, query)
		form := s.get(list[i])
		require.Equal(t, http.StatusOK, form.StatusCode, form.body)
		require.Contains(t, form.body, `name="_asof" type="date" value="`+holds.asof+`"`, query)
		require.Equal(t, holds.stale, strings.Contains(form.body, `name="_stale" value="yes" checked`), query)
		require.Contains(t, form.body, `<option value="`+samplePortfolio+`" selected`, query)
	}
}

// Looking is no run: the records hold what somebody has run.
func TestPortfolioPageIsNotRecorded(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	require.Equal(t, http.StatusOK, s.get("/console/portfolios/"+samplePortfolio).StatusCode)
	// Runs are recorded in order: once this one is there, the page's would be.
	r := s.do(http.MethodPost, "/v1/patterns/portfolio_overview/execute?record=true", strings.NewReader(fmt.Sprintf(`{"inputs":{"portfolio_id":%q}}`, samplePortfolio)),
		"Content-Type", "application/json")
	require.Equal(t, http.StatusOK, r.StatusCode, r.body)
	var runs struct{ Items []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(s.api(http.MethodGet, "/v1/runs", "", http.StatusOK)), &runs))
	require.Len(t, runs.Items, 1)
}

func TestPortfolioSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	empty := s.newPortfolio(`{"name": "Empty", "base_currency": "EUR"}`)
	page := s.get("/console/portfolios/" + empty)
	require.Equal(t, http.StatusOK, page.StatusCode)
	require.Contains(t, page.text(), "Net asset value 0.00 EUR")
	require.Contains(t, page.text(), "Volatility not known transactions: the portfolio has none on or before 2007-05-08")
	require.Contains(t, page.text(), "It holds nothing on this day")
	require.Contains(t, page.text(), "There are no weights that could be summed: holdings: the portfolio holds nothing.")

	// A currency without a rate: what needs one is not known, what needs none is.
	s.api(http.MethodPost, "/v1/portfolios/"+empty+"/transactions", `[
		{"date":"2007-05-02","type":"DEPOSIT","currency":"SEK","amount":"1000"},
		{"date":"2007-05-02","type":"DEPOSIT","currency":"EUR","amount":"500"}]`, http.StatusCreated)
	page = s.get("/console/portfolios/" + empty)
	require.Equal(t, http.StatusOK, page.StatusCode)
	require.Regexp(t, `Net asset value not known fx:SEK/\w+: `, page.text())
	require.Regexp(t, `Cash SEK cash 1 000 – not known fx:SEK/\w+: `, page.text())
	require.Contains(t, page.text(), "Cash EUR cash 500 – 500.00 not known fx:SEK")
	require.NotContains(t, page.text(), "By currency")

	early := s.get("/console/portfolios/" + samplePortfolio + "?asof=1999-01-01")
	require.Equal(t, http.StatusUnprocessableEntity, early.StatusCode)
	require.Contains(t, early.text(), "No pricing pack on or before 1999-01-01; the first is 2000-01-03")
	require.Contains(t, early.body, `value="1999-01-01"`)
	wrong := s.get("/console/portfolios/" + samplePortfolio + "?asof=soon")
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Contains(t, wrong.text(), "This is not a date such as 2007-05-08.")
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/portfolios/"+samplePortfolio+"?window=1e9").StatusCode)
	require.Equal(t, http.StatusNotFound, s.get("/console/portfolios/nothing").StatusCode)
	require.Equal(t, http.StatusNotFound, s.get("/console/portfolios/"+strings.Repeat("0", 8)+"-0000-0000-0000-000000000000").StatusCode)
}

func TestPortfolioOverAPackThatIsNotReady(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	_, err := s.pool.Exec(t.Context(), `UPDATE pricing_packs SET state = 'error', reason = 'differs by 2 CHF' WHERE date = '2007-05-08'`)
	require.NoError(t, err)
	const path = "/console/portfolios/" + samplePortfolio + "?asof=2007-05-08"
	page := s.get(path)
	require.Equal(t, http.StatusServiceUnavailable, page.StatusCode)
	require.Contains(t, page.text(), "The prices of 2007-05-08 are not ready The pricing pack of this day is error: differs by 2 CHF. Waiting does not help.")
	require.NotContains(t, page.text(), "Net asset value")
	const anyway = "/console/portfolios/" + samplePortfolio + "?asof=2007-05-08&fresh=no"
	require.Contains(t, page.links(), anyway)
	all := s.get(anyway)
	require.Equal(t, http.StatusOK, all.StatusCode)
	require.Contains(t, all.text(), "These figures may be over a pricing pack that is not fresh.")
	require.Contains(t, all.text(), "Net asset value 1 444 808.19 CHF")

	require.Contains(t, s.get("/console/portfolios/"+samplePortfolio).text(), "As of 2007-05-07", "without a day, the newest fresh pack")
}

func TestTransactionsAreListedAndBooked(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	const path = "/console/portfolios/" + samplePortfolio + "/transactions"
	page := s.get(path)
	require.Contains(t, page.text(), "1 2005-01-03 DEPOSIT – – – 1 000 000 CHF")
	require.Contains(t, page.text(), "FX USD/CHF 330 000 1.1674 -385 242 CHF")

	id := s.newPortfolio(`{"name": "Booked <here>", "base_currency": "CHF"}`)
	ledger := "/console/portfolios/" + id + "/transactions"
	require.Contains(t, s.get(ledger).text(), "Nothing is booked here")

	require.Contains(t, s.sendFile(ledger, "", "").text(), "Choose a CSV file.")
	wrong := s.sendFile(ledger, "t.csv", "date,type,symbol,quantity,price\n2006-01-09,BUY,SBI,10,1oo.5\n2006-02-30,SELL,SII,11,\n")
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Contains(t, elementText(t, wrong, "result"), "Nothing was booked: 2 problems in 2 rows. Line Column What is wrong 2 price must be a decimal number")
	short := s.sendFile(ledger, "t.csv", "date,type,symbol,quantity,price\n2006-01-09,SELL,SBI,10,100\n")
	require.Equal(t, http.StatusUnprocessableEntity, short.StatusCode)
	require.Contains(t, elementText(t, short, "result"), "2 quantity")

	var file strings.Builder
	file.WriteString("date,type,currency,amount\n")
	for i := range 120 {
		fmt.Fprintf(&file, "2006-01-03,DEPOSIT,CHF,%d\n", 1000+i)
	}
	const key = "3f0f2f55-5b64-4d4c-8e5c-6a3a8b1d2c11"
	booked := s.sendFile(ledger, "t.csv", file.String(), "key", key)
	require.Equal(t, http.StatusSeeOther, booked.StatusCode, booked.text())
	first := s.get(booked.Header.Get("Location"))
	require.Contains(t, first.text(), "Booked 120 transactions.")
	require.Contains(t, first.text(), "Transactions 120")
	require.Contains(t, first.text(), "120 2006-01-03 DEPOSIT – – – 1 119 CHF")
	require.Contains(t, first.text(), "71 2006-01-03")
	require.NotContains(t, first.text(), "70 2006-01-03")

	twice := s.sendFile(ledger, "t.csv", file.String(), "key", key)
	require.Contains(t, s.get(twice.Header.Get("Location")).text(), "nothing was booked twice")
	other := s.sendFile(ledger, "t.csv", "date,type,currency,amount\n2006-01-03,DEPOSIT,CHF,1\n", "key", key)
	require.Equal(t, http.StatusUnprocessableEntity, other.StatusCode)
	require.Equal(t, http.StatusUnprocessableEntity, s.sendFile(ledger, "t.csv", "x", "key", "x").StatusCode)

	list := s.get(ledger)
	seen := 50
	for _, most := range []string{"70", "20"} {
		next := list.links()[slices.IndexFunc(list.links(), func(l string) bool { return strings.Contains(l, "cursor=") })]
		list = s.get(next)
		require.Contains(t, list.text(), most+" 2006-01-03")
		seen += strings.Count(list.text(), " DEPOSIT – ")
	}
	require.Equal(t, 120, seen)
	require.Contains(t, list.text(), " 1 2006-01-03 DEPOSIT")
	require.False(t, slices.ContainsFunc(list.links(), func(l string) bool { return strings.Contains(l, "cursor=") }), "the list ends here")
	require.Equal(t, http.StatusUnprocessableEntity, s.get(ledger+"?cursor=!").StatusCode)
}

// A form whose key was used, as of a page that one goes back to, books with the key that its refusal brings.
func TestARefusedBookingGetsANewKey(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	ledger := "/console/portfolios/" + s.newPortfolio(`{"name": "Booked", "base_currency": "CHF"}`) + "/transactions"
	key := func(r response) string {
		for n := range r.tree.Descendants() {
			if n.Type == html.ElementNode && n.Data == "input" && slices.Contains(n.Attr, html.Attribute{Key: "name", Val: "key"}) {
				return n.Attr[slices.IndexFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "value" })].Val
			}
		}
		require.Fail(t, "the page has no key")
		return ""
	}
	file := func(amount int) string {
		return fmt.Sprintf("date,type,currency,amount\n2006-01-03,DEPOSIT,CHF,%d\n", amount)
	}
	first := key(s.get(ledger))
	require.Equal(t, http.StatusSeeOther, s.sendFile(ledger, "t.csv", file(1), "key", first).StatusCode)

	refused := s.sendFile(ledger, "t.csv", file(2), "key", first)
	require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode)
	require.Contains(t, elementText(t, refused, "result"), "This form has booked another file already; nothing of this one was booked. Send it again to book it, too.")
	next := key(refused)
	require.NotEqual(t, first, next)
	require.Equal(t, http.StatusSeeOther, s.sendFile(ledger, "t.csv", file(2), "key", next).StatusCode)
	require.Contains(t, s.get(ledger).text(), "Transactions 2")

	// What was wrong in a file is mended under any key: nothing is stored of a refusal.
	wrong := s.sendFile(ledger, "t.csv", "date,type,currency,amount\n2006-01-03,DEPOSIT,CHF,x\n", "key", key(s.get(ledger)))
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Equal(t, http.StatusSeeOther, s.sendFile(ledger, "t.csv", file(3), "key", key(wrong)).StatusCode)
}
