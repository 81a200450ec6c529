package httpapi_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/pkg/api"
)

const csvHeader = "date,type,symbol,quantity,price,currency,amount\n"

// What is booked from a file is what the same transactions in JSON are booked as.
func TestBookCSV(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	_, inCSV := s.books(t, nil)
	_, inJSON := s.books(t, nil)
	file, err := os.ReadFile("../../configs/sample/demo_transactions.csv")
	require.NoError(t, err)
	a := s.post(t, inCSV, file, "Content-Type", "Text/CSV; charset=utf-8")
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)

	var list []map[string]any
	names := strings.Split(strings.TrimSpace(csvHeader), ",")
	for i, line := range strings.Split(strings.TrimSpace(string(file)), "\n") {
		if i == 0 {
			continue
		}
		transaction := map[string]any{}
		for j, field := range strings.Split(line, ",") {
			if field != "" {
				transaction[names[j]] = field
			}
		}
		list = append(list, transaction)
	}
	require.Equal(t, http.StatusCreated, s.post(t, inJSON, list).status)
	ledger := func(path string) []api.Transaction {
		var page struct{ Items []api.Transaction }
		s.get(t, path).into(&page)
		for i := range page.Items {
			page.Items[i].Id = [16]byte{}
		}
		return page.Items
	}
	require.Len(t, ledger(inCSV), 23)
	require.Equal(t, ledger(inJSON), ledger(inCSV))
	require.Equal(t, ledger("/v1/portfolios/"+sample.PortfolioID()+"/transactions"), ledger(inCSV), "and as the sample's loader books it")
}

func TestBookCSVIsRefused(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	_, ledger := s.books(t, nil)
	post := func(body string, header ...string) *answer {
		return s.post(t, ledger, body, append([]string{"Content-Type", "text/csv"}, header...)...)
	}
	// What can't be read is named before anything is looked at that was read.
	a := post(csvHeader + "2006-01-03,DEPOSIT,,,,CHF,1000\n2006-02-30,BUY,SBI,1o,NaN,chf,\n2006-01-03,SELL,SBI,1,1,CHF,1\n2006-01-03,BUY\n")
	a.invalid("/3/date", "/3/quantity", "/3/price", "/3/currency", "/5")
	require.Equal(t, "nothing was booked: 5 problems in 2 rows", a.object()["detail"])
	a = post(csvHeader + "2006-01-03,DEPOSIT,,,,CHF,1000\n\n2006-01-03,BUY,NOPE,1,1,CHF,-1\n2006-01-04,BUY,SBI,1,,USD,\n2006-01-04,GIFT,,,,,\n")
	a.invalid("/4/symbol", "/5/currency", "/5/price", "/6/type")
	require.Equal(t, "nothing was booked: 4 problems in 3 rows", a.object()["detail"])
	a = post(csvHeader + "2006-01-03,BUY,SBI,10,100,,\n\"2006-01-03\",\"SELL\",\"SBI\",\"11\",100,,\n")
	a.invalid("/3/quantity")
	require.Contains(t, string(a.body), "line 3, quantity: sells 11 SBI, but only 10 is held on 2006-01-03")
	post("date,kind,date\n").invalid("/1/kind", "/1/date", "/1/type")
	post("").problem(http.StatusBadRequest, fault.Malformed)
	post(csvHeader).problem(http.StatusUnprocessableEntity, fault.Invalid)
	post(csvHeader+strings.Repeat("2006-01-03,DEPOSIT,,,,CHF,1\n", imports.MostBookings+1)).problem(http.StatusUnprocessableEntity, fault.Invalid)
	post(strings.Repeat("x", maxBody+1)).problem(http.StatusRequestEntityTooLarge, fault.TooLarge)
	s.post(t, ledger, csvHeader, "Content-Type", "text/plain").problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
	s.post(t, ledger, `{"date": "2006-01-03", "type": "DEPOSIT"`, "Content-Type", "Application/JSON").problem(http.StatusBadRequest, fault.Malformed)
	s.post(t, "/v1/portfolios", csvHeader, "Content-Type", "text/csv").problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
	var page struct{ Items []api.Transaction }
	s.get(t, ledger).into(&page)
	require.Empty(t, page.Items)
}

func TestBookCSVOnce(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t, func(o *httpapi.Options) { o.MaxBodyBytes = 1 << 20 })
	_, ledger := s.books(t, nil)
	post := func(body string) *answer {
		return s.post(t, ledger, body, "Content-Type", "text/csv", "Idempotency-Key", "k")
	}
	refused := post("date,type,currency,amount\n2006-01-03,DEPOSIT,CHF,-1\n")
	refused.invalid("/2/amount") // has not used its key
	const file = "amount,currency,type,date\n100.50,CHF,DEPOSIT,2006-01-03\n"
	first := post(file)
	require.Equal(t, http.StatusCreated, first.status, "%s", first.body)
	again := post(file)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, string(first.body), string(again.body))
	post(file + "1,CHF,DEPOSIT,2006-01-03\n").invalid("/header/Idempotency-Key")
	s.post(t, ledger, flow("2006-01-03", "DEPOSIT", "CHF", "100.50"), "Idempotency-Key", "k").invalid("/header/Idempotency-Key")

	many := s.post(t, ledger, "date,type,currency,amount\n"+strings.Repeat("2006-01-03,DEPOSIT,CHF,1\n", imports.MostBookings), "Content-Type", "text/csv")
	require.Equal(t, http.StatusCreated, many.status, "%s", many.body)
}
