package httpapi_test

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/pkg/api"
)

// books opens a portfolio and returns the path of its ledger.
func (s *site) books(t *testing.T, portfolio map[string]any, ledger ...map[string]any) (id, path string) {
	t.Helper()
	full := map[string]any{"name": t.Name(), "base_currency": "CHF"}
	maps.Copy(full, portfolio)
	a := s.post(t, "/v1/portfolios", full)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	var p api.Portfolio
	a.into(&p)
	path = "/v1/portfolios/" + p.Id.String() + "/transactions"
	if len(ledger) > 0 {
		a := s.post(t, path, ledger)
		require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	}
	return p.Id.String(), path
}

func flow(date, kind, currency, amount string) map[string]any {
	return map[string]any{"date": date, "type": kind, "currency": currency, "amount": amount}
}

func order(date, kind, symbol, quantity, price string) map[string]any {
	return map[string]any{"date": date, "type": kind, "symbol": symbol, "quantity": quantity, "price": price}
}

func splitOf(date, symbol, ratio string) map[string]any {
	return map[string]any{"date": date, "type": "SPLIT", "symbol": symbol, "quantity": ratio}
}

func TestCorrectionsOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	_, ledger := s.books(t, map[string]any{"cost_method": "average"})
	var booked api.Booked
	a := s.post(t, ledger, []any{
		flow("2006-01-03", "DEPOSIT", "CHF", "100000"),
		order("2006-01-04", "BUY", "SBI", "100", "100.5"),
		map[string]any{"date": "2006-01-05", "type": "DIVIDEND", "symbol": "SBI", "amount": "12.50"},
		splitOf("2006-01-06", "SBI", "2"),
		order("2006-01-06", "SELL", "SBI", "150", "50.25"),
	})
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	a.into(&booked)
	require.Equal(t, "CHF", booked.Items[2].Currency)
	require.Equal(t, "2", *booked.Items[3].Quantity)
	require.Equal(t, "0", booked.Items[3].Amount)
	reversal := func(i int) string { return ledger + "/" + booked.Items[i].Id.String() + "/reversal" }

	p := s.post(t, reversal(3), nil).problem(422, fault.Invalid)
	require.Contains(t, p.Detail, "only 100 would be held for the sale of 150 on 2006-01-06, transaction 5: reverse that first")
	var undone api.Booked
	a = s.post(t, reversal(4), nil)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	a.into(&undone)
	require.Len(t, undone.Items, 1)
	require.Equal(t, "REVERSAL", undone.Items[0].Type)
	require.Equal(t, booked.Items[4].Id, *undone.Items[0].Reverses)
	require.Equal(t, booked.Items[4].Date, undone.Items[0].Date)
	require.Equal(t, "-7537.5", undone.Items[0].Amount)
	s.post(t, reversal(4), nil).problem(409, fault.Conflict)
	s.post(t, ledger+"/"+undone.Items[0].Id.String()+"/reversal", nil).problem(422, fault.Invalid)
	s.post(t, ledger+"/"+uuid.NewString()+"/reversal", nil).problem(404, fault.NotFound)
	s.post(t, ledger+"/1/reversal", nil).problem(422, fault.Invalid)
	s.post(t, "/v1/portfolios/"+uuid.NewString()+"/transactions/"+booked.Items[0].Id.String()+"/reversal", nil).problem(404, fault.NotFound)

	a = s.post(t, reversal(3), nil, "Idempotency-Key", "undo")
	require.Equal(t, http.StatusCreated, a.status)
	require.Empty(t, a.header.Get("Idempotency-Replayed"))
	again := s.post(t, reversal(3), nil, "Idempotency-Key", "undo")
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, string(a.body), string(again.body))
	s.post(t, reversal(2), nil, "Idempotency-Key", "undo").invalid("/header/Idempotency-Key")

	s.post(t, "/v1/portfolios", map[string]any{"name": "x", "base_currency": "CHF", "cost_method": "lifo"}).invalid("/cost_method")
	s.post(t, ledger, splitOf("2006-01-06", "SBI", "1")).invalid("/quantity")
	s.post(t, ledger, map[string]any{"date": "2006-01-06", "type": "REVERSAL"}).invalid("/type")
}

func TestBookingOnceOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t, func(o *httpapi.Options) { o.MaxBodyBytes = 1 << 20 })
	_, ledger := s.books(t, nil)
	deposit := flow("2006-01-03", "DEPOSIT", "CHF", "1")
	first := s.post(t, ledger, deposit, "Idempotency-Key", "k")
	require.Equal(t, http.StatusCreated, first.status)
	require.Empty(t, first.header.Get("Idempotency-Replayed"))
	s.post(t, ledger, deposit) // without a key it is booked again
	// The order of members and white space don't make another body.
	again := s.post(t, ledger, `[ {"amount": "1", "type": "DEPOSIT", "currency": "CHF", "date": "2006-01-03"} ]`, "Idempotency-Key", "k")
	require.Equal(t, http.StatusCreated, again.status, "%s", again.body)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, string(first.body), string(again.body))
	s.post(t, ledger, flow("2006-01-03", "DEPOSIT", "CHF", "2"), "Idempotency-Key", "k").invalid("/header/Idempotency-Key")
	_, other := s.books(t, nil)
	s.post(t, other, deposit, "Idempotency-Key", "k").invalid("/header/Idempotency-Key")
	s.post(t, "/v1/deliveries", map[string]any{"alert_id": "a", "user_id": "u", "title": "t", "message": "m"}, "Idempotency-Key", "k").
		invalid("/header/Idempotency-Key")

	var page struct{ Items []api.Transaction }
	s.get(t, ledger).into(&page)
	require.Len(t, page.Items, 2)

	many := make([]any, 1000)
	for i := range many {
		many[i] = deposit
	}
	s.post(t, ledger, append(many, deposit)).invalid("")
	a := s.post(t, ledger, many)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
}

// overviewAnswer is an answer of the real pattern over a real database.
type overviewAnswer struct {
	t    *testing.T
	data map[string]any
}

func (s *site) look(t *testing.T, id, asof string) overviewAnswer {
	t.Helper()
	a := s.post(t, "/v1/patterns/portfolio_overview/execute", map[string]any{"inputs": map[string]any{"portfolio_id": id}, "asof": asof})
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	var answer struct{ Data map[string]any }
	a.into(&answer)
	again := s.post(t, "/v1/patterns/portfolio_overview/execute", map[string]any{"inputs": map[string]any{"portfolio_id": id}, "asof": asof})
	var second struct{ Data map[string]any }
	again.into(&second)
	require.Equal(t, answer, second)
	return overviewAnswer{t, answer.Data}
}

// at walks to a part of the answer: a name of an object, or a number of a list.
func (o overviewAnswer) at(path ...any) any {
	o.t.Helper()
	var v any = o.data
	for _, p := range path {
		switch p := p.(type) {
		case string:
			require.Contains(o.t, v, p)
			v = v.(map[string]any)[p]
		case int:
			require.Greater(o.t, len(v.([]any)), p)
			v = v.([]any)[p]
		}
	}
	return v
}

// lacks requires that a part is null, and says for lack of what.
func (o overviewAnswer) lacks(part, field, missing string) {
	o.t.Helper()
	for _, i := range o.at(part, "insufficient_data").([]any) {
		i := i.(map[string]any)
		if i["field"] == field && i["missing"] == missing {
			require.NotEmpty(o.t, i["reason"])
			return
		}
	}
	require.Failf(o.t, "a silent gap", "%s.%s does not lack %s: %v", part, field, missing, o.at(part, "insufficient_data"))
}

func TestOverviewAtTheEdges(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	// AAA is never priced; BBB is split two for one on Friday 6 January 2006 and has no price between
	// the 4th and the 9th; CCC is in a currency without a rate.
	_, err := s.pool.Exec(t.Context(), `
		INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
		SELECT gen_random_uuid(), 'default', symbol, symbol, 'equity', 'Tech', currency, 'holding'
		FROM (VALUES ('AAA', 'CHF'), ('BBB', 'CHF'), ('CCC', 'SEK')) AS v (symbol, currency)`)
	require.NoError(t, err)
	_, err = s.pool.Exec(t.Context(), `
		INSERT INTO prices (tenant_id, security_id, date, revision, close)
		SELECT 'default', s.id, v.date::date, (SELECT max(revision) FROM data_revisions), v.close
		FROM (VALUES ('BBB', '2006-01-03', 40), ('BBB', '2006-01-04', 40), ('BBB', '2006-01-09', 20), ('BBB', '2006-01-10', 22),
			('CCC', '2006-01-03', 7)) AS v (symbol, date, close)
		JOIN securities AS s ON s.symbol = v.symbol`)
	require.NoError(t, err)
	funded := flow("2006-01-03", "DEPOSIT", "CHF", "10000")
	check := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t)
		})
	}

	check("an empty portfolio", func(t *testing.T) {
		id, _ := s.books(t, nil)
		o := s.look(t, id, "2006-01-10")
		require.Equal(t, "0.00", o.at("valued_positions", "total_value"))
		require.Nil(t, o.at("perf_metrics", "twr"))
		o.lacks("perf_metrics", "twr", "transactions")
		o.lacks("currency_attr", "total_return", "transactions")
		o.lacks("valued_positions", "concentration", "holdings")
	})
	check("before the first transaction", func(t *testing.T) {
		id, _ := s.books(t, nil, funded)
		o := s.look(t, id, "2006-01-02")
		require.Equal(t, "0.00", o.at("valued_positions", "total_value"))
		o.lacks("perf_metrics", "twr", "transactions")
	})
	check("before the first pack", func(t *testing.T) {
		id, _ := s.books(t, nil, funded)
		s.post(t, "/v1/patterns/portfolio_overview/execute", map[string]any{"inputs": map[string]any{"portfolio_id": id}, "asof": "1990-01-02"}).
			problem(422, fault.InsufficientData)
	})
	check("one day of history", func(t *testing.T) {
		id, _ := s.books(t, nil, funded)
		o := s.look(t, id, "2006-01-03")
		require.Equal(t, "10000.00", o.at("valued_positions", "total_value"))
		require.InDelta(t, 1, o.at("valued_positions", "cash", 0, "weight"), 0)
		require.Nil(t, o.at("perf_metrics", "volatility"))
		o.lacks("perf_metrics", "volatility", "returns")
		o.lacks("currency_attr", "total_return", "returns")
		o = s.look(t, id, "2006-01-04")
		require.InDelta(t, 0, o.at("perf_metrics", "twr"), 0, "one return")
		o.lacks("perf_metrics", "volatility", "returns")
	})
	check("a security without a price", func(t *testing.T) {
		id, _ := s.books(t, nil, funded, order("2006-01-04", "BUY", "AAA", "10", "5"), order("2006-01-04", "BUY", "BBB", "10", "40"))
		o := s.look(t, id, "2006-01-05")
		require.Nil(t, o.at("valued_positions", "total_value"), "a total that leaves something out is none")
		require.Equal(t, "AAA", o.at("valued_positions", "unpriced", 0, "symbol"))
		require.Equal(t, "400", o.at("valued_positions", "positions", 1, "market_value"))
		require.Equal(t, "50", o.at("valued_positions", "positions", 0, "cost_basis"))
		o.lacks("valued_positions", "total_value", "prices:AAA")
		o.lacks("perf_metrics", "twr", "prices:AAA")
		o.lacks("currency_attr", "local_return", "prices:AAA")
	})
	check("a currency without a rate", func(t *testing.T) {
		id, _ := s.books(t, nil, funded,
			map[string]any{"date": "2006-01-04", "type": "FX", "symbol": "SEK/CHF", "quantity": "100", "price": "0.17"},
			order("2006-01-04", "BUY", "CCC", "10", "7"))
		o := s.look(t, id, "2006-01-05")
		require.Nil(t, o.at("valued_positions", "total_value"))
		o.lacks("valued_positions", "total_value", "fx:SEK/CHF")
		o.lacks("valued_positions", "cash.SEK.market_value", "fx:SEK/CHF")
		o.lacks("valued_positions", "positions.CCC.cost_basis", "fx:SEK/CHF")
		o.lacks("perf_metrics", "twr", "fx:SEK/CHF")
	})
	check("a split", func(t *testing.T) {
		id, ledger := s.books(t, nil, funded, order("2006-01-03", "BUY", "BBB", "10", "40"))
		a := s.post(t, ledger, splitOf("2006-01-06", "BBB", "2"))
		require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
		for asof, want := range map[string]struct {
			quantity, price, total string
			twr                    float64
		}{
			"2006-01-05": {"10", "40", "10000.00", 0},
			"2006-01-06": {"20", "20", "10000.00", 0}, // no price since: the old one, in new shares
			"2006-01-09": {"20", "20", "10000.00", 0},
			"2006-01-10": {"20", "22", "10040.00", 0.004},
		} {
			o := s.look(t, id, asof)
			require.Equal(t, want.quantity, o.at("valued_positions", "positions", 0, "quantity"), asof)
			require.Equal(t, want.price, o.at("valued_positions", "positions", 0, "price"), asof)
			require.Equal(t, want.total, o.at("valued_positions", "total_value"), asof)
			require.Equal(t, "400", o.at("valued_positions", "positions", 0, "cost_basis"))
			require.InDelta(t, want.twr, o.at("perf_metrics", "twr"), 1e-12, asof)
			require.InDelta(t, want.twr, o.at("currency_attr", "local_return"), 1e-12, asof)
			require.InDelta(t, 0, o.at("currency_attr", "costs"), 1e-12, asof)
		}
	})
	check("a dividend", func(t *testing.T) {
		id, _ := s.books(t, nil, funded, order("2006-01-03", "BUY", "BBB", "10", "40"),
			map[string]any{"date": "2006-01-04", "type": "DIVIDEND", "symbol": "BBB", "amount": "50"})
		o := s.look(t, id, "2006-01-05")
		require.InDelta(t, 0.005, o.at("perf_metrics", "twr"), 1e-12, "not paid in")
		require.InDelta(t, 0.005, o.at("currency_attr", "local_return"), 1e-12)
	})
	check("a short position", func(t *testing.T) {
		_, ledger := s.books(t, nil, funded)
		a := s.post(t, ledger, order("2006-01-04", "SELL", "BBB", "10", "40"))
		a.invalid("/quantity")
		require.Contains(t, string(a.body), "sells 10 BBB, but only 0 is held on 2006-01-04")
	})
	check("overdrawn cash", func(t *testing.T) {
		id, _ := s.books(t, nil, flow("2006-01-03", "DEPOSIT", "CHF", "100"), order("2006-01-03", "BUY", "BBB", "10", "40"))
		o := s.look(t, id, "2006-01-04")
		require.Equal(t, "100.00", o.at("valued_positions", "total_value"))
		require.InDelta(t, -3, o.at("valued_positions", "cash", 0, "weight"), 1e-12)
		require.InDelta(t, 4, o.at("valued_positions", "positions", 0, "weight"), 1e-12)
	})
	check("on a weekend", func(t *testing.T) {
		id, _ := s.books(t, nil, funded, order("2006-01-03", "BUY", "BBB", "10", "40"), flow("2006-01-07", "DEPOSIT", "CHF", "5000"))
		o := s.look(t, id, "2006-01-07")
		require.Equal(t, "15000.00", o.at("valued_positions", "total_value"), "what was booked on Saturday is held")
		require.Equal(t, "2006-01-07", o.at("valued_positions", "asof"))
		require.Equal(t, "2006-01-06", o.at("perf_metrics", "window", "end"), "but counts on the next valuation day")
		require.InDelta(t, 0, o.at("perf_metrics", "twr"), 1e-12)
		o = s.look(t, id, "2006-01-10")
		require.InDelta(t, 14820.0/15000-1, o.at("perf_metrics", "twr"), 1e-12, "10 BBB fell from 40 to 22, the deposit is at the start of Monday")
	})
	check("undone", func(t *testing.T) {
		plain, _ := s.books(t, nil, funded, order("2006-01-03", "BUY", "BBB", "10", "40"))
		id, ledger := s.books(t, nil, funded, order("2006-01-03", "BUY", "BBB", "10", "40"))
		var slip api.Booked
		s.post(t, ledger, []any{flow("2006-01-04", "DEPOSIT", "SEK", "1"), order("2006-01-04", "BUY", "AAA", "1", "1")}).into(&slip)
		require.Nil(t, s.look(t, id, "2006-01-05").at("valued_positions", "total_value"))
		for _, item := range slip.Items {
			require.Equal(t, http.StatusCreated, s.post(t, ledger+"/"+item.Id.String()+"/reversal", nil).status)
		}
		require.Equal(t, s.look(t, plain, "2006-01-05").data, s.look(t, id, "2006-01-05").data)
	})
	check("average cost in two currencies", func(t *testing.T) {
		bookings := []map[string]any{
			flow("2005-01-03", "DEPOSIT", "USD", "100000"),
			order("2005-01-04", "BUY", "EMR", "100", "150"), order("2005-07-05", "BUY", "EMR", "300", "140"),
			order("2005-10-04", "SELL", "EMR", "200", "160"),
		}
		fifo, _ := s.books(t, nil, bookings...)
		average, _ := s.books(t, map[string]any{"cost_method": "average"}, bookings...)
		rate := func(date string) float64 {
			var r float64
			require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT rate::float8 FROM fx_rates
				WHERE base = 'USD' AND quote = 'CHF' AND date = $1`, date).Scan(&r))
			return r
		}
		basis := func(id string) float64 {
			v, err := strconv.ParseFloat(fmt.Sprint(s.look(t, id, "2005-12-30").at("valued_positions", "positions", 0, "cost_basis")), 64)
			require.NoError(t, err)
			return v
		}
		require.InDelta(t, 200*140*rate("2005-07-05"), basis(fifo), 1e-5)
		require.InDelta(t, (100*150*rate("2005-01-04")+300*140*rate("2005-07-05"))/2, basis(average), 1e-5)
		require.Greater(t, math.Abs(basis(fifo)-basis(average)), 1.0)
	})
}
