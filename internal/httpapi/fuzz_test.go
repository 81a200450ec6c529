package httpapi_test

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"

	"github.com/dawsos/dawsos/internal/sample"
)

// Whatever is sent, it is never our fault.
func FuzzRequests(f *testing.F) {
	s := newSampleSite(f)
	targets := []struct{ method, path string }{
		{http.MethodPost, overview},
		{http.MethodPost, "/v1/portfolios"},
		{http.MethodPost, "/v1/portfolios/" + sample.PortfolioID() + "/transactions"},
		{http.MethodPost, "/v1/deliveries"},
		{http.MethodGet, "/v1/patterns"},
		{http.MethodGet, "/v1/portfolios"},
		{http.MethodGet, "/v1/portfolios/" + sample.PortfolioID() + "/transactions"},
		{http.MethodGet, "/v1/dlq"},
		{http.MethodGet, "/v1/patterns/"},
		{http.MethodGet, "/v1/portfolios/"},
		{http.MethodGet, "/v1/deliveries/"},
		{http.MethodGet, "/v1/dlq/"},
		{http.MethodPost, "/v1/patterns/validate"},
		{http.MethodPost, "/v1/runs/" + runID(0) + "/replay"},
		{http.MethodGet, "/v1/agents"},
		{http.MethodGet, "/v1/runs"},
		{http.MethodGet, "/v1/runs/"},
		{http.MethodPost, "/v1/deliveries/batch"},
		{http.MethodGet, "/v1/deliveries"},
		{http.MethodPost, "/v1/receivers/alertmanager"},
		{http.MethodPost, "/v1/notifications/read"},
		{http.MethodPost, "/v1/portfolios/" + sample.PortfolioID() + "/transactions"},
	}
	csv := len(targets) - 1 // is sent as CSV
	seeds := []struct {
		target uint8
		value  string
		body   string
	}{
		{0, "", `{"inputs": {"portfolio_id": "` + sample.PortfolioID() + `", "lookback_days": 1e99}, "asof": "0000-01-01"}`},
		{0, "", `{"inputs": {"portfolio_id": "` + sample.PortfolioID() + `", "from": "9999-12-31"}, "asof": "9999-12-31", "require_fresh": true}`},
		{0, "", `{"inputs": {"portfolio_id": "` + sample.PortfolioID() + `", "risk_free_annual": 1e308}}`},
		{1, "", `{"name": "x", "base_currency": "XXX", "benchmark": "'"}`},
		{2, "", `{"date": "0001-01-01", "type": "DEPOSIT", "currency": "CHF", "amount": "99999999999999999999999999999999999999"}`},
		{2, "", `[{"date": "9999-12-31", "type": "BUY", "symbol": "SBI", "quantity": "0.00000000000000000000000000000000000001", "price": "1"}]`},
		{2, "", `[{"date": "2006-01-03", "type": "FX", "symbol": "USD/CHF", "quantity": "-1", "price": "-0"}]`},
		{3, "", `{"alert_id": "\ud800", "user_id": "u", "title": "t", "message": "m", "data": {"a": 1e131073, "\u0000": {}}}`},
		{3, "", `{"alert_id": "a", "user_id": "u", "title": "t", "message": "m", "channels": {"inapp": true}}`},
		{4, encode(`"zzz"`), ""},
		{5, encode(`{"CreatedAt":"0000-01-01T00:00:00Z","ID":""}`), ""},
		{6, encode(`-9223372036854775808`), ""},
		{7, encode(`"ffffffff-ffff-ffff-ffff-ffffffffffff"`), ""},
		{8, "%00", ""},
		{9, "\xff", ""},
		{10, "..", ""},
		{11, "\x00", ""},
		{8, "a/b", ""},
		{9, "/", ""},
		{12, "", `{"id": "p", "steps": [{]`},
		{12, "", "\xff{\x00"},
		{13, "", `{"x": 1}`},
		{14, encode(`"zzz"`), ""},
		{15, encode(`"00000000-0000-0000-0000-000000000000"`), ""},
		{16, "%00", ""},
		{17, "", `{"items": [{"alert_id": "a", "user_id": "u", "title": "t", "message": "m", "ttl_seconds": 2592000, "fallback": {"inapp": true}}]}`},
		{18, encode(`"00000000-0000-0000-0000-000000000000"`), ""},
		{19, "", `{"version": "4", "groupKey": "\u0000", "status": "firing", "alerts": [{"status": "firing", "labels": {"\ud800": "\u0000"}}]}`},
		{20, "", `{"user_id": "\ud800"}`},
		{21, "", "date,type,symbol,quantity,price\n0001-01-01,BUY,SBI,1e9999,1e-9999\n2006-01-03,SELL,\"a\x00\",-0,+1\n\""},
		{21, "", "amount,currency,type,date\n1,CHF,DEPOSIT,2006-01-03\n"},
	}
	for _, seed := range seeds {
		f.Add(seed.target, seed.value, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, target uint8, value string, body []byte) {
		if bytes.Contains(body, []byte("webhook")) { // would be sent to wherever the fuzzer thinks of
			return
		}
		request := targets[int(target)%len(targets)]
		path := request.path
		if path[len(path)-1] == '/' {
			path += url.PathEscape(value)
		} else {
			path += "?limit=" + url.QueryEscape(value) + "&cursor=" + url.QueryEscape(value)
			if len(value) > 3 { // then it can be no limit, only a cursor
				path = request.path + "?cursor=" + url.QueryEscape(value)
			}
		}
		var sent any
		header := []string{}
		if int(target)%len(targets) == csv {
			header = []string{"Content-Type", "text/csv"}
		}
		if request.method == http.MethodPost {
			sent = body
		}
		if a := s.do(t, request.method, path, sent, header...); a.status >= http.StatusInternalServerError {
			t.Fatalf("%s %s\n%s\nis answered %d: %s", request.method, path, body, a.status, a.body)
		}
	})
}
