package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
	"github.com/dawsos/dawsos/pkg/api"
)

func TestPortfolioFromOpeningToItsLedger(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	for i := range 4 {
		a := s.post(t, "/v1/portfolios", map[string]any{"name": fmt.Sprint("Pension ", i), "base_currency": "CHF", "benchmark": "LP40"})
		require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
		require.Equal(t, a.object(), s.get(t, a.header.Get("Location")).object())
	}
	var names []string
	for next := ""; ; {
		var page struct {
			Items []api.Portfolio
			Next  *string `json:"next_cursor"`
		}
		s.get(t, "/v1/portfolios?limit=2"+next).into(&page)
		for _, p := range page.Items {
			names = append(names, p.Name)
		}
		if page.Next == nil {
			break
		}
		next = "&cursor=" + *page.Next
	}
	require.Equal(t, []string{"Sample CHF", "Pension 0", "Pension 1", "Pension 2", "Pension 3"}, names)

	var p api.Portfolio
	s.post(t, "/v1/portfolios", map[string]any{"name": "Ledger", "base_currency": "CHF"}).into(&p)
	ledger := "/v1/portfolios/" + p.Id.String() + "/transactions"
	deposit := map[string]any{"date": "2006-01-03", "type": "DEPOSIT", "currency": "CHF", "amount": "100000.10"}
	buy := map[string]any{"date": "2006-01-04", "type": "BUY", "symbol": "SBI", "quantity": "100", "price": "100.5"}
	var booked struct {
		Items   []api.Transaction
		Version string `json:"ledger_version"`
	}
	a := s.post(t, ledger, deposit)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	a.into(&booked)
	require.Equal(t, "100000.1", booked.Items[0].Amount, "decimals never pass through binary floating point")
	s.post(t, ledger, []any{buy}).into(&booked)
	require.Equal(t, "-10050", booked.Items[0].Amount)
	s.get(t, "/v1/portfolios/"+p.Id.String()).into(&p)
	require.Equal(t, booked.Version, p.LedgerVersion)
	require.EqualValues(t, 2, p.Transactions)

	bad := func(change map[string]any) map[string]any {
		m := maps.Clone(buy)
		maps.Copy(m, change)
		return m
	}
	tests := []struct {
		name    string
		body    any
		pointer string
	}{
		{"no date", bad(map[string]any{"date": "4.1.2006"}), "/date"},
		{"no such date", bad(map[string]any{"date": "2006-02-30"}), "/date"},
		{"no such type", bad(map[string]any{"type": "GIFT"}), "/type"},
		{"a number for a decimal", bad(map[string]any{"quantity": 100}), "/quantity"},
		{"an exponent", bad(map[string]any{"quantity": "1e9"}), "/quantity"},
		{"no number", bad(map[string]any{"price": "much"}), "/price"},
		{"in a list", []any{deposit, bad(map[string]any{"price": "much"})}, "/1/price"},
		{"an unknown field", bad(map[string]any{"fee": "1"}), "/fee"},
	}
	for _, tt := range tests {
		a := s.post(t, ledger, tt.body)
		a.invalid(tt.pointer)
	}
	require.Equal(t, 422, s.post(t, ledger, []any{}).status)
	s.post(t, ledger, bad(map[string]any{"symbol": "NOPE"})).invalid("/symbol")
	s.post(t, ledger, []any{buy, bad(map[string]any{"symbol": "NOPE"})}).invalid("/1/symbol")
	require.Equal(t, 422, s.post(t, ledger, bad(map[string]any{"type": "SELL", "quantity": "101"})).status, "nothing is sold that is not held")
	s.post(t, "/v1/portfolios/"+uuid.NewString()+"/transactions", deposit).problem(404, fault.NotFound)
	s.get(t, "/v1/portfolios/"+p.Id.String()).into(&p)
	require.EqualValues(t, 2, p.Transactions, "all or none")

	s.post(t, "/v1/portfolios", map[string]any{}).invalid("/base_currency", "/name")
	s.post(t, "/v1/portfolios", map[string]any{"name": "", "base_currency": "chf"}).invalid("/base_currency", "/name")
	s.post(t, "/v1/portfolios", map[string]any{"name": "x", "base_currency": "CHF", "benchmark": "NOPE"}).problem(422, fault.Invalid)
	s.post(t, "/v1/portfolios", map[string]any{"name": "a\x00b", "base_currency": "CHF"}).invalid("/name")
}

// receiver counts what it gets and answers with a status.
func receiver(t *testing.T, status int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, "words of the receiver")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	told := 0
	message := func(channels any) map[string]any {
		told++ // no two are duplicates
		return map[string]any{
			"alert_id": "nav-drop", "user_id": "ada", "title": "NAV fell", "message": fmt.Sprintf("By 3 %%, %d.", told), "severity": "warning",
			"data": json.RawMessage(`{"change": -0.030, "n": 12345678901234567890}`), "channels": channels,
		}
	}
	deliver := func(channels any) api.DeliveryReceipt {
		a := s.post(t, "/v1/deliveries", message(channels))
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		var r api.DeliveryReceipt
		a.into(&r)
		return r
	}
	hook := func(status int) map[string]any {
		return map[string]any{"url": receiver(t, status) + "/hook?token=t0ken#part"}
	}

	r := deliver(map[string]any{"inapp": true, "webhook": hook(204)})
	require.Equal(t, map[string]api.ChannelReceipt{"inapp": {Outcome: "delivered"}, "webhook": {Outcome: "delivered"}}, r.Channels)
	a := s.get(t, "/v1/deliveries/"+r.EventId.String())
	require.NotContains(t, string(a.body), "t0ken")
	var d api.Delivery
	a.into(&d)
	require.Equal(t, r.AcceptedAt, d.AcceptedAt)
	require.JSONEq(t, `{"change": -0.030, "n": 12345678901234567890}`, string(d.Data))
	require.Equal(t, api.ChannelHistoryStateDelivered, d.Channels["webhook"].State)
	require.Equal(t, 204, *d.Channels["webhook"].Attempts[0].StatusCode)

	queued := deliver(map[string]any{"webhook": hook(503)}).Channels["webhook"]
	require.Equal(t, api.ChannelReceiptOutcomeQueued, queued.Outcome)
	require.Equal(t, api.Cause("http_5xx"), *queued.Cause)
	require.NotNil(t, queued.NextRetryAt)
	a = s.get(t, "/v1/dlq/"+queued.DeadLetterId.String())
	require.NotContains(t, string(a.body), "t0ken")
	var l api.DeadLetterDetail
	a.into(&l)
	require.Equal(t, api.DeadLetterState("pending"), l.State)
	require.Equal(t, "words of the receiver", *l.Attempts[0].ResponseExcerpt)
	require.Zero(t, l.RetryCount)
	require.True(t, strings.HasSuffix(*l.Target, "/…"))

	exhausted := deliver(map[string]any{"webhook": hook(404)}).Channels["webhook"]
	require.Equal(t, api.ChannelReceiptOutcomeExhausted, exhausted.Outcome)
	require.Nil(t, exhausted.NextRetryAt)

	// Without channels a message goes to the inbox.
	whole := message(nil)
	delete(whole, "channels")
	for _, body := range []map[string]any{whole, {"alert_id": "a", "user_id": "u", "title": "t", "message": ""}} {
		a := s.post(t, "/v1/deliveries", body)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		var r api.DeliveryReceipt
		a.into(&r)
		require.Equal(t, map[string]api.ChannelReceipt{"inapp": {Outcome: "delivered"}}, r.Channels)
	}

	// The queue, in pages and by every filter.
	for range 5 {
		deliver(map[string]any{"webhook": hook(503)})
	}
	letters := func(query string) (ids []string) {
		for next := ""; ; {
			var page struct {
				Items []api.DeadLetter
				Next  *string `json:"next_cursor"`
			}
			s.get(t, "/v1/dlq?"+query+next).into(&page)
			for _, l := range page.Items {
				ids = append(ids, l.Id.String())
			}
			if page.Next == nil {
				return ids
			}
			next = "&cursor=" + *page.Next
		}
	}
	require.Len(t, letters(""), 7)
	require.Equal(t, letters("limit=200"), letters("limit=3"))
	require.Equal(t, []string{exhausted.DeadLetterId.String()}, letters("state=exhausted"))
	require.Len(t, letters("state=pending&channel=webhook&cause=http_5xx&alert_id=nav-drop"), 6)
	require.Empty(t, letters("channel=inapp"))
	require.Empty(t, letters("alert_id="+url.QueryEscape("' OR 1=1 --")))

	accepted := deliverytest.Count(t, s.pool).Events
	tests := []struct {
		name    string
		change  map[string]any
		pointer string
	}{
		{"no title", map[string]any{"title": ""}, "/title"},
		{"a title too long", map[string]any{"title": strings.Repeat("é", 501)}, "/title"},
		{"an alert's name too long", map[string]any{"alert_id": strings.Repeat("x", 201)}, "/alert_id"},
		{"no such severity", map[string]any{"severity": "fatal"}, "/severity"},
		{"data that is no object", map[string]any{"data": []int{1}}, "/data"},
		{"data that grows", map[string]any{"data": json.RawMessage(`{"a":[` + strings.Repeat("1e999,", 2000) + `1]}`)}, "/data"},
		{"NUL in data", map[string]any{"data": map[string]any{"a": "\x00"}}, "/data/a"},
		{"no channel on", map[string]any{"channels": map[string]any{}}, "/channels"},
		{"every channel off", map[string]any{"channels": map[string]any{"inapp": false}}, "/channels"},
		{"no such channel", map[string]any{"channels": map[string]any{"pigeon": true}}, "/channels/pigeon"},
		{"a webhook without an address", map[string]any{"channels": map[string]any{"webhook": map[string]any{}}}, "/channels/webhook/url"},
		{"a webhook that is no address", map[string]any{"channels": map[string]any{"webhook": map[string]any{"url": "ftp://x"}}}, "/channels/webhook/url"},
		{"a webhook that is just on", map[string]any{"channels": map[string]any{"webhook": true}}, "/channels/webhook"},
	}
	for _, tt := range tests {
		body := message(map[string]any{"inapp": true})
		maps.Copy(body, tt.change)
		a := s.post(t, "/v1/deliveries", body)
		a.invalid(tt.pointer)
	}
	s.post(t, "/v1/deliveries", map[string]any{}).invalid("/alert_id", "/message", "/title", "/user_id")
	for _, data := range []string{strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200), `{"a":1e131000}`, `{"a":1,"a":2}`} {
		body := message(map[string]any{"inapp": true})
		body["data"] = json.RawMessage(data)
		s.post(t, "/v1/deliveries", body).problem(http.StatusBadRequest, fault.Malformed)
	}
	require.Equal(t, accepted, deliverytest.Count(t, s.pool).Events, "what is refused leaves nothing behind")
}

// An address that is not allowed is told, not retried.
func TestDeliveryToAnAddressThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.post(t, "/v1/deliveries", map[string]any{
		"alert_id": "a", "user_id": "u", "title": "t", "message": "m",
		"channels": map[string]any{"webhook": map[string]any{"url": "http://169.254.169.254/latest/meta-data"}},
	})
	var r api.DeliveryReceipt
	a.into(&r)
	require.Equal(t, api.ChannelReceiptOutcomeExhausted, r.Channels["webhook"].Outcome)
	require.Equal(t, api.Cause("rejected"), *r.Channels["webhook"].Cause)
	deliverytest.RequireBalanced(t, s.pool)
}
