package httpapi_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/pkg/api"
)

const overview = "/v1/patterns/portfolio_overview/execute"

// asSpecified asks for what the domain reference gives figures of.
func asSpecified() map[string]any {
	return map[string]any{
		"inputs": map[string]any{"portfolio_id": sample.PortfolioID(), "lookback_days": 252}, "asof": "2007-05-08",
	}
}

// The tests that only read share a database, and in its metrics the traces of all their requests.
func TestReading(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	known := append(s.labels(t), "endpoint=unmatched")
	keepRuns(t, s)
	t.Run("execute first", func(t *testing.T) { testExecute(t, s) }) //nolint:paralleltest // nothing is cached yet
	t.Run("group", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *site){
			"patterns":             testPatterns,
			"pattern":              testPattern,
			"execute twice":        testExecuteTwice,
			"execute over HTTP":    testExecuteOverHTTP,
			"execute wrong inputs": testExecuteWrongInputs,
			"execute failures":     testExecuteFailures,
			"portfolios":           testPortfolios,
			"transactions":         testTransactions,
			"bad requests":         testBadRequests,
			"bad text":             testBadText,
			"bad parameters":       testBadParameters,
			"routes":               testRoutes,
			"request ids":          testRequestIDs,
			"execute as a stream":  testExecuteAsAStream,
			"the same as a stream": testTheSameAsAStream,
			"a client that leaves": testAClientLeavesARun,
			"pointers to inputs":   testPointersToInputs,
			"everything":           testEverything,
			"validate":             testValidate,
			"agents":               testAgents,
			"runs":                 testRuns,
			"run":                  testRun,
			"recorded":             testRecorded,
			"replay":               testReplay,
			"replay and bookings":  testReplayAfterABooking,
			"docs":                 testDocs,
			"examples":             testExamples,
			"probes":               testProbes,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
			})
		}
	})
	require.Subset(t, known, s.labels(t), "whatever is sent, no label value is new")
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "request_id=bad ") {
			require.NotContains(t, line, "level=ERROR", "callers' mistakes are no errors of ours")
		}
	}
}

func testPatterns(t *testing.T, s *site) {
	t.Helper()
	var all, paged []string
	for target, list := range map[string]*[]string{"/v1/patterns?limit=200": &all, "/v1/patterns?limit=2": &paged} {
		for next := ""; ; {
			var page struct {
				Items []struct{ ID, Name string }
				Next  *string `json:"next_cursor"`
			}
			s.get(t, target+next).into(&page)
			for _, p := range page.Items {
				*list = append(*list, p.ID)
			}
			if page.Next == nil {
				break
			}
			next = "&cursor=" + *page.Next
		}
	}
	require.Equal(t, []string{
		"portfolio_overview", "test_everything", "test_fail", "test_lack", "test_ledger", "test_ok", "test_panic", "test_pointed", "test_wait",
	}, all)
	require.Equal(t, all, paged)
	last := base64.RawURLEncoding.EncodeToString([]byte(`"test_wait"`))
	require.Empty(t, s.get(t, "/v1/patterns?cursor="+last).object()["items"], "an empty page is a list")
}

func testPattern(t *testing.T, s *site) {
	t.Helper()
	a := s.get(t, "/v1/patterns/portfolio_overview")
	require.Equal(t, http.StatusOK, a.status)
	p := a.object()
	require.Equal(t, "portfolio_overview", p["id"])
	require.Len(t, p["steps"], 6)
	require.Equal(t, []any{"perf_metrics", "currency_attr", "valued_positions"}, p["outputs"])

	etag := a.header.Get("ETag")
	require.Regexp(t, `^"[0-9a-f]{32}"$`, etag)
	require.Equal(t, etag, s.get(t, "/v1/patterns/portfolio_overview").header.Get("ETag"))
	require.NotEqual(t, etag, s.get(t, "/v1/patterns/test_ok").header.Get("ETag"))
	for header, status := range map[string]int{
		etag: 304, "W/" + etag: 304, "*": 304, `"other", ` + etag: 304,
		`"other"`: 200, "": 200, strings.Trim(etag, `"`): 200,
	} {
		a := s.get(t, "/v1/patterns/portfolio_overview", "If-None-Match", header)
		require.Equal(t, status, a.status, header)
		if status == http.StatusNotModified {
			require.Empty(t, a.body)
			require.Equal(t, etag, a.header.Get("ETag"), "RFC 9110 wants it on a 304 too")
		}
	}
	require.Contains(t, s.get(t, "/v1/patterns/portfolio_overviev").problem(404, fault.NotFound).Detail, "portfolio_overview",
		"a misspelt id is told the right one")
	s.get(t, "/v1/patterns/portfolio_overview", "If-None-Match", strings.Repeat("x", 201)).invalid("/header/If-None-Match")
}

// The figures of the domain reference, to their digits.
func testExecute(t *testing.T, s *site) {
	t.Helper()
	a := s.post(t, overview, asSpecified())
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	var got struct {
		Data struct {
			Valued struct {
				TotalValue string `json:"total_value"`
				Currency   string
				Asof       string
				Positions  []struct{ Weight float64 }
				Cash       []struct{ Weight float64 }
			} `json:"valued_positions"`
			Perf struct {
				TWR         float64 `json:"twr"`
				Volatility  float64
				MaxDrawdown float64 `json:"max_drawdown"`
				Benchmark   struct {
					Symbol string
					Beta   float64
				}
				Window struct{ Returns int }
			} `json:"perf_metrics"`
			Attr struct {
				Total       float64 `json:"total_return"`
				Local       float64 `json:"local_return"`
				FX          float64 `json:"fx_return"`
				Interaction float64
				Costs       float64
			} `json:"currency_attr"`
		}
		Warnings []string
		Trace    api.Trace
	}
	a.into(&got)
	valued, perf, attr := got.Data.Valued, got.Data.Perf, got.Data.Attr
	require.Equal(t, "1444808.19", valued.TotalValue)
	require.Equal(t, "CHF", valued.Currency)
	require.Equal(t, "2007-05-08", valued.Asof)
	require.InDelta(t, 0.136819, perf.TWR, 5e-7)
	require.InDelta(t, 0.083694, perf.Volatility, 5e-7)
	require.InDelta(t, 0.055959, perf.MaxDrawdown, 5e-7)
	require.Equal(t, "LP40", perf.Benchmark.Symbol)
	require.InDelta(t, 1.6019, perf.Benchmark.Beta, 5e-5)
	require.Equal(t, 252, perf.Window.Returns)

	weights := 0.0
	for _, p := range valued.Positions {
		weights += p.Weight
	}
	for _, c := range valued.Cash {
		weights += c.Weight
	}
	require.InDelta(t, 1, weights, 1e-9)
	require.InDelta(t, perf.TWR, attr.Total, 1e-12)
	require.InDelta(t, attr.Total, attr.Local+attr.FX+attr.Interaction+attr.Costs, 1e-12)

	require.Equal(t, "portfolio_overview", got.Trace.PatternId)
	require.Equal(t, a.header.Get("X-Request-Id"), got.Trace.RequestId)
	require.Equal(t, "2007-05-08", got.Trace.Asof)
	require.NotNil(t, got.Trace.LedgerVersion)
	require.Equal(t, []string{"charts", "financial_analyst"}, got.Trace.AgentsUsed)
	require.Len(t, got.Trace.Steps, 6)
	for i, step := range got.Trace.Steps {
		require.Equal(t, i, step.Index)
		require.Contains(t, got.Trace.AgentsUsed, step.Agent)
		require.Equal(t, api.TraceStepStatusSuccess, step.Status)
		require.Positive(t, step.DurationSeconds)
	}
	require.NotEmpty(t, got.Trace.Sources)
	require.NotEmpty(t, got.Trace.Staleness)
}

func testExecuteTwice(t *testing.T, s *site) {
	t.Helper()
	var first, second struct {
		Data  json.RawMessage
		Hash  string `json:"data_hash"`
		Trace api.Trace
	}
	s.post(t, overview, asSpecified()).into(&first)
	s.post(t, overview, asSpecified()).into(&second)
	require.Equal(t, string(first.Data), string(second.Data), "byte for byte")
	require.Len(t, second.Trace.Steps, 6)
	for _, step := range second.Trace.Steps {
		require.Equal(t, api.TraceStepStatusCached, step.Status)
	}
	sum := sha256.Sum256(first.Data)
	require.Equal(t, hex.EncodeToString(sum[:]), first.Hash, "of the bytes as the client receives them")

	// The default is the newest fresh pack, and what else can be left out.
	for _, body := range []any{
		map[string]any{"inputs": map[string]any{"portfolio_id": sample.PortfolioID()}},
		map[string]any{"inputs": map[string]any{"portfolio_id": sample.PortfolioID(), "risk_free_annual": nil}, "asof": nil, "require_fresh": false},
	} {
		require.Equal(t, http.StatusOK, s.post(t, overview, body).status)
	}
}

// Through a real connection and the generated client.
func testExecuteOverHTTP(t *testing.T, s *site) {
	t.Helper()
	server := httptest.NewServer(s.handler)
	t.Cleanup(server.Close)
	client, err := api.NewClientWithResponses(server.URL, api.WithHTTPClient(server.Client()))
	require.NoError(t, err)
	inputs, asof := json.RawMessage(`{"portfolio_id":"`+sample.PortfolioID()+`"}`), "2007-05-08"
	answer, err := client.ExecutePatternWithResponse(t.Context(), "portfolio_overview", nil, api.ExecutePatternJSONRequestBody{Inputs: &inputs, Asof: &asof})
	require.NoError(t, err)
	require.NotNil(t, answer.JSON200, "%s", answer.Body)
	sum := sha256.Sum256(answer.JSON200.Data)
	require.Equal(t, hex.EncodeToString(sum[:]), answer.JSON200.DataHash)
}

func testExecuteWrongInputs(t *testing.T, s *site) {
	t.Helper()
	inputs := func(more map[string]any) map[string]any {
		m := map[string]any{"portfolio_id": sample.PortfolioID()}
		for k, v := range more {
			m[k] = v
		}
		return map[string]any{"inputs": m}
	}
	tests := []struct {
		name    string
		body    any
		pointer string
	}{
		{"missing", map[string]any{"inputs": map[string]any{}}, "/inputs/portfolio_id"},
		{"no inputs at all", map[string]any{}, "/inputs/portfolio_id"},
		{"null for a required one", inputs(map[string]any{"portfolio_id": nil}), "/inputs/portfolio_id"},
		{"no UUID", inputs(map[string]any{"portfolio_id": "sample"}), "/inputs/portfolio_id"},
		{"a number for a UUID", inputs(map[string]any{"portfolio_id": 7}), "/inputs/portfolio_id"},
		{"text for a number", inputs(map[string]any{"lookback_days": "252"}), "/inputs/lookback_days"},
		{"a fraction for an integer", inputs(map[string]any{"lookback_days": 1.5}), "/inputs/lookback_days"},
		{"too small", inputs(map[string]any{"lookback_days": 0}), "/inputs/lookback_days"},
		{"too large", inputs(map[string]any{"lookback_days": 10001}), "/inputs/lookback_days"},
		{"beyond all", inputs(map[string]any{"lookback_days": json.Number("1e999")}), "/inputs/lookback_days"},
		{"a number beyond all", inputs(map[string]any{"risk_free_annual": json.Number("1e999")}), "/inputs/risk_free_annual"},
		{"no date", inputs(map[string]any{"from": "yesterday"}), "/inputs/from"},
		{"no such date", inputs(map[string]any{"from": "2007-02-30"}), "/inputs/from"},
		{"unknown", inputs(map[string]any{"lookback": 252}), "/inputs/lookback"},
		{"inputs that are no object", map[string]any{"inputs": []int{1}}, "/inputs"},
		{"asof that is no date", map[string]any{"asof": "8.5.2007"}, "/asof"},
		{"asof that is no such date", map[string]any{"asof": "2007-02-30"}, "/asof"},
		{"asof of another type", map[string]any{"asof": 20070508}, "/asof"},
		{"require_fresh of another type", map[string]any{"require_fresh": "yes"}, "/require_fresh"},
		{"require_fresh null", map[string]any{"require_fresh": nil}, "/require_fresh"},
		{"an unknown field", map[string]any{"input": map[string]any{}}, "/input"},
		{"a field in capitals", map[string]any{"INPUTS": map[string]any{}}, "/INPUTS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s.post(t, overview, tt.body).invalid(tt.pointer)
		})
	}
	s.post(t, "/v1/patterns/nope/execute", map[string]any{}).problem(404, fault.NotFound)
	unknown := s.post(t, overview, inputs(map[string]any{"portfolio_id": uuid.NewString()})).problem(404, fault.NotFound)
	require.Contains(t, unknown.Detail, "portfolio")

	// Before the first pack there is nothing to compute from.
	body := asSpecified()
	body["asof"] = "1901-01-01"
	s.post(t, overview, body).problem(422, fault.InsufficientData)
}

func testExecuteFailures(t *testing.T, s *site) {
	t.Helper()
	t.Run("missing data", func(t *testing.T) {
		t.Parallel()
		p := s.post(t, "/v1/patterns/test_lack/execute", map[string]any{}).problem(422, fault.InsufficientData)
		require.Contains(t, p.Detail, "XYZ")
		requirePartialTrace(t, p)
	})
	t.Run("panic", func(t *testing.T) {
		t.Parallel()
		a := s.post(t, "/v1/patterns/test_panic/execute", map[string]any{})
		requirePartialTrace(t, a.problem(500, fault.Internal))
		require.NotContains(t, string(a.body), "secret")
		require.Contains(t, s.log.String(), "secret of the agent")
	})
	t.Run("open breaker", func(t *testing.T) {
		t.Parallel()
		for range 2 {
			a := s.post(t, "/v1/patterns/test_fail/execute", map[string]any{})
			requirePartialTrace(t, a.problem(500, fault.Internal))
			require.NotContains(t, string(a.body), "10.1.2.3")
		}
		a := s.post(t, "/v1/patterns/test_fail/execute", map[string]any{})
		p := a.problem(503, fault.BreakerOpen)
		require.Regexp(t, `level=ERROR msg=request request_id=`+p.RequestId+` .*status=503 .*code=breaker_open err=".+"`, s.log.String())
		requirePartialTrace(t, p)
		require.Contains(t, p.Detail, "broken", "which agent rests")
		require.Regexp(t, `^(60|5[0-9])$`, a.header.Get("Retry-After"))
	})
}

// requirePartialTrace wants the step that succeeded, and the one that did not.
func requirePartialTrace(t *testing.T, p api.Problem) {
	t.Helper()
	require.NotNil(t, p.Trace)
	require.Len(t, p.Trace.Steps, 2)
	require.Equal(t, api.TraceStepStatusSuccess, p.Trace.Steps[0].Status)
	require.Equal(t, api.TraceStepStatusError, p.Trace.Steps[1].Status)
	require.NotNil(t, p.Trace.Steps[1].Error)
	require.Equal(t, p.RequestId, p.Trace.RequestId)
}

func testPortfolios(t *testing.T, s *site) {
	t.Helper()
	var page struct{ Items []api.Portfolio }
	s.get(t, "/v1/portfolios").into(&page)
	require.Equal(t, "Sample CHF", page.Items[0].Name, "the sample comes first")
	require.Equal(t, sample.PortfolioID(), page.Items[0].Id.String())

	var one api.Portfolio
	s.get(t, "/v1/portfolios/"+sample.PortfolioID()).into(&one)
	require.Equal(t, page.Items[0], one)
	require.Equal(t, time.UTC, one.CreatedAt.Location())
	s.get(t, "/v1/portfolios/"+uuid.NewString()).problem(404, fault.NotFound)
	s.get(t, "/v1/portfolios/sample").invalid("/path/id")
}

func testTransactions(t *testing.T, s *site) {
	t.Helper()
	list := "/v1/portfolios/" + sample.PortfolioID() + "/transactions"
	all, _ := transactions(t, s, list+"?limit=200")
	paged, pages := transactions(t, s, list+"?limit=5")
	require.Equal(t, all, paged)
	require.Len(t, all, 23, "as many as the sample's file has")
	require.Equal(t, 5, pages)
	for i, tx := range all {
		require.Equal(t, int64(i+1), tx.Seq)
	}
	s.get(t, "/v1/portfolios/"+uuid.NewString()+"/transactions").problem(404, fault.NotFound)
}

func transactions(t *testing.T, s *site, target string) (all []api.Transaction, pages int) {
	t.Helper()
	for next := ""; ; {
		var page struct {
			Items []api.Transaction
			Next  *string `json:"next_cursor"`
		}
		s.get(t, target+next).into(&page)
		all = append(all, page.Items...)
		pages++
		if page.Next == nil {
			return all, pages
		}
		next = "&cursor=" + *page.Next
	}
}

func testBadRequests(t *testing.T, s *site) {
	t.Helper()
	large := `{"inputs": {"word": "` + strings.Repeat("x", maxBody) + `"}}`
	tests := []struct {
		name   string
		body   any
		header []string
		status int
		code   fault.Code
	}{
		{"no JSON", `{"inputs": `, nil, 400, fault.Malformed},
		{"not JSON at all", `inputs=1`, nil, 400, fault.Malformed},
		{"two documents", `{} {}`, nil, 400, fault.Malformed},
		{"something behind it", `{}x`, nil, 400, fault.Malformed},
		{"a comma too many", `{"inputs": {},}`, nil, 400, fault.Malformed},
		{"NaN", `{"inputs": {"n": NaN}}`, nil, 400, fault.Malformed},
		{"deeper than JSON goes", strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001), nil, 400, fault.Malformed},
		{"empty", "", nil, 400, fault.Malformed},
		{"only space", " \n", nil, 400, fault.Malformed},
		{"a list", "[]", nil, 422, fault.Invalid},
		{"null", "null", nil, 422, fault.Invalid},
		{"too large", large, nil, 413, fault.TooLarge},
		{"too large, its length not told", io.MultiReader(strings.NewReader(large)), nil, 413, fault.TooLarge},
		{"breaks off", io.MultiReader(strings.NewReader(`{"inp`), failing{}), nil, 400, fault.Malformed},
		{"text", "{}", []string{"Content-Type", "text/plain"}, 415, fault.UnsupportedMedia},
		{"a form", "inputs=1", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, fault.UnsupportedMedia},
		{"no type", "{}", []string{"Content-Type", ""}, 415, fault.UnsupportedMedia},
		{"a type that is none", "{}", []string{"Content-Type", ";;;"}, 415, fault.UnsupportedMedia},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			header := append([]string{"X-Request-Id", "bad"}, tt.header...)
			p := s.post(t, "/v1/patterns/test_ok/execute", tt.body, header...).problem(tt.status, tt.code)
			require.Equal(t, "/v1/patterns/test_ok/execute", p.Instance)
		})
	}
	a := s.post(t, "/v1/patterns/test_ok/execute", "{}", "Content-Type", "Application/JSON; charset=utf-8")
	require.Equal(t, http.StatusOK, a.status)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func testBadText(t *testing.T, s *site) {
	t.Helper()
	run := "/v1/patterns/test_ok/execute"
	s.post(t, run, `{"inputs": {"word": "a\u0000b"}}`).invalid("/inputs/word")
	s.post(t, run, `{"inputs": {"a\u0000b": 1}}`).invalid("/inputs")
	for name, body := range map[string]string{
		"in a value":     "{\"inputs\": {\"word\": \"a\xffb\"}}",
		"in a key":       "{\"inputs\": {\"a\xffb\": 1}}",
		"half of a rune": "{\"inputs\": {\"word\": \"\xc3\"}}",
		"a surrogate":    "{\"inputs\": {\"word\": \"\xed\xa0\x80\"}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := s.post(t, run, body).problem(400, fault.Malformed)
			require.Contains(t, p.Detail, "UTF-8")
		})
	}
	// NUL and bytes that are no text, wherever a request has text. (A raw NUL or newline never gets
	// past net/http.)
	s.get(t, "/v1/patterns/a%00b").invalid("/path/id")
	s.get(t, "/v1/patterns/a%FFb").invalid("/path/id")
	s.get(t, "/v1/portfolios/%00").invalid("/path/id")
	s.get(t, "/v1/dlq/%FF").invalid("/path/id")
	s.get(t, "/v1/deliveries/%00").invalid("/path/event_id")
	for _, name := range []string{"cursor", "state", "channel", "alert_id", "cause", "limit"} {
		s.get(t, "/v1/dlq?"+name+"=%00").invalid("/query/" + name)
		s.get(t, "/v1/dlq?"+name+"=a%ff").invalid("/query/" + name)
	}
	s.get(t, "/v1/patterns/test_ok", "If-None-Match", "\xff").invalid("/header/If-None-Match")
	s.get(t, "/v1/patterns/a%2500b").problem(404, fault.NotFound)
	s.get(t, "/v1/patterns/a%25zz").problem(404, fault.NotFound)
	s.get(t, "/v1/patterns/100%25").problem(404, fault.NotFound)
}

func testBadParameters(t *testing.T, s *site) {
	t.Helper()
	for _, list := range []string{"/v1/patterns", "/v1/agents", "/v1/runs", "/v1/portfolios", "/v1/portfolios/" + sample.PortfolioID() + "/transactions", "/v1/dlq"} {
		for _, limit := range []string{
			"0", "-1", "201", "1.5", "1.0", "1e1", "ten", "", "%2B5", "%205", "5%20", "0x5", "007", "%225%22", "99999999999999999999", "1e99999999", "null", "true",
			"5&limit=6",
		} {
			t.Run(list+"?limit="+limit, func(t *testing.T) {
				t.Parallel()
				s.get(t, list+"?limit="+limit, "X-Request-Id", "bad").invalid("/query/limit")
			})
		}
		for name, cursor := range map[string]string{
			"not base64":   "!!!",
			"padded":       "IiI=",
			"not JSON":     encode("}{"),
			"another type": encode(`[[]]`),
			"null":         encode(`null`),
			"twice":        encode(`1`) + "&cursor=" + encode(`1`),
		} {
			t.Run(list+" cursor "+name, func(t *testing.T) {
				t.Parallel()
				s.get(t, list+"?cursor="+cursor, "X-Request-Id", "bad").invalid("/query/cursor")
			})
		}
		s.get(t, list+"?cursor="+strings.Repeat("a", 501)).invalid("/query/cursor")
		require.Equal(t, http.StatusOK, s.get(t, list+"?limit=1&cursor=").status, "an empty cursor is the start")
		require.Equal(t, http.StatusOK, s.get(t, list+"?limit=200&unknown=1").status)
	}
	// A cursor of one list is none of another.
	s.get(t, "/v1/dlq?cursor="+encode(`"portfolio_overview"`)).invalid("/query/cursor")
	s.get(t, "/v1/portfolios?cursor="+encode(`{"CreatedAt":"2026-01-01T00:00:00Z","ID":"x"}`)).invalid("/query/cursor")
	// Text that the database can't hold is no place in a list.
	for _, list := range []string{"/v1/destinations", "/v1/patterns", "/v1/agents"} {
		s.get(t, list+"?cursor="+encode(`"\u0000"`)).invalid("/query/cursor")
	}
	s.get(t, "/v1/keys?cursor="+encode(`{"at":"2026-01-01T00:00:00Z","id":"a\u0000"}`)).invalid("/query/cursor")
	s.get(t, "/v1/portfolios?cursor="+encode(`{"CreatedAt":"2026-01-01T00:00:00Z","ID":"\u0000"}`)).invalid("/query/cursor")
	s.get(t, "/v1/dlq?state=lost").invalid("/query/state")
	s.get(t, "/v1/dlq?cause=bad_luck").invalid("/query/cause")
	s.get(t, "/v1/dlq?channel="+strings.Repeat("x", 51)).invalid("/query/channel")
	s.get(t, "/v1/dlq?alert_id="+strings.Repeat("x", 201)).invalid("/query/alert_id")
	s.get(t, "/v1/dlq?state=lost&limit=0").invalid("/query/limit", "/query/state")
	s.get(t, "/v1/dlq/1").invalid("/path/id")
	s.get(t, "/v1/runs/1").invalid("/path/id")
	s.get(t, "/v1/runs?outcome=luck").invalid("/query/outcome")
	s.get(t, "/v1/runs?pattern_id="+strings.Repeat("x", 201)).invalid("/query/pattern_id")
	for _, record := range []string{"", "1", "yes", "TRUE", "null", "%00", "true&record=true"} {
		s.post(t, overview+"?record="+record, asSpecified()).invalid("/query/record")
	}
	s.get(t, "/v1/deliveries/%7B"+uuid.NewString()+"%7D").invalid("/path/event_id")
	s.get(t, "/v1/dlq/"+uuid.NewString()).problem(404, fault.NotFound)
	s.get(t, "/v1/deliveries/"+uuid.NewString()).problem(404, fault.NotFound)
	s.get(t, "/v1/patterns/"+strings.Repeat("x", 201)).invalid("/path/id")
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func testRoutes(t *testing.T, s *site) {
	t.Helper()
	for _, path := range []string{"/", "/v1", "/v1/", "/v2/patterns", "/v1/patternz", "/v1/patterns/a/b", "/v1/patterns/a/execute/b", "/favicon.ico", "/docs/nope.js", "/docs/../openapi.yaml", "/docs/%2e%2e%2finit.js"} {
		s.get(t, path).problem(404, fault.NotFound)
	}
	for target, allowed := range map[string]string{
		"DELETE /v1/patterns":                       "GET",
		"GET " + overview:                           "POST",
		"PUT /v1/deliveries":                        "POST",
		"PATCH /v1/dlq/" + uuid.NewString():         "GET",
		"BREW /v1/dlq":                              "GET",
		"POST /docs":                                "GET",
		"PUT /v1/patterns/validate":                 "POST",
		"GET /v1/runs/" + runID(0) + "/replay":      "POST",
		"DELETE /v1/portfolios/" + uuid.NewString(): "GET",
	} {
		method, path, _ := strings.Cut(target, " ")
		a := s.do(t, method, path, nil)
		a.problem(405, fault.MethodNotAllowed)
		require.Contains(t, a.header.Get("Allow"), allowed)
	}
	for _, id := range []string{"a", "b", "c"} {
		s.post(t, "/v1/patterns/"+id+"/execute", "{}").problem(404, fault.NotFound)
	}
}

func testRequestIDs(t *testing.T, s *site) {
	t.Helper()
	require.Equal(t, "job-7.retry_2", s.get(t, "/v1/patterns", "X-Request-Id", "job-7.retry_2").header.Get("X-Request-Id"))
	for _, bad := range []string{"", "a b", "a\tb", "é", strings.Repeat("x", 65), `"`, "a=b level=ERROR"} {
		id := s.get(t, "/v1/patterns", "X-Request-Id", bad).header.Get("X-Request-Id")
		require.Regexp(t, `^[0-9a-f]{32}$`, id)
		require.Contains(t, s.log.String(), "request_id="+id)
	}
}

func testDocs(t *testing.T, s *site) {
	t.Helper()
	page := s.get(t, "/docs")
	require.Equal(t, http.StatusOK, page.status)
	policy := page.header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.Contains(t, policy, "script-src 'self'")
	require.NotContains(t, string(page.body), "http://", "the page works offline")
	require.NotContains(t, string(page.body), "https://")
	for name, contentType := range map[string]string{
		"init.js": "text/javascript; charset=utf-8", "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
		"swagger-ui.css": "text/css; charset=utf-8", "favicon-32x32.png": "image/png",
	} {
		require.Contains(t, string(page.body), `"/docs/`+name+`"`)
		a := s.get(t, "/docs/"+name)
		require.Equal(t, http.StatusOK, a.status)
		require.Equal(t, contentType, a.header.Get("Content-Type"))
		require.NotEmpty(t, a.body)
	}
	a := s.get(t, "/openapi.json")
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.Equal(t, "3.1.0", a.object()["openapi"])
	var tree map[string]any
	require.NoError(t, yaml.Unmarshal(api.Document, &tree))
	want, err := json.Marshal(tree)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(a.body))
	var order []int // of a schema's members
	for _, name := range []string{`"RunPack"`, `"id"`, `"date"`, `"revision"`, `"hash"`} {
		_, rest, ok := strings.Cut(string(a.body), `"RunPack":`)
		require.True(t, ok)
		order = append(order, strings.Index(`"RunPack":`+rest, name))
	}
	require.IsIncreasing(t, order, "members stand as they do in the document")
}

func testProbes(t *testing.T, s *site) {
	t.Helper()
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		require.Equal(t, http.StatusOK, s.get(t, path).status)
	}
	metrics := string(s.get(t, "/metrics").body)
	require.Contains(t, metrics, `api_requests_total{endpoint="/v1/patterns/{id}/execute",method="POST",status="200"}`)
	require.NotContains(t, metrics, `endpoint="/metrics"`, "probes and scrapes are not counted")
}

func TestADefectInAHandler(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *httpapi.Options) {
		o.Patterns = engine(func(context.Context, patterns.Request) (*patterns.Answer, error) { panic("secret of the handler") })
	})
	a := s.post(t, overview, asSpecified(), "X-Request-Id", "id-of-the-panic")
	p := a.problem(500, fault.Internal)
	require.Nil(t, p.Trace)
	require.NotContains(t, string(a.body), "secret")
	log := s.log.String()
	require.Contains(t, log, "secret of the handler")
	require.Contains(t, log, "read_test.go", "the log has the stack")
	require.Contains(t, log, "id-of-the-panic")
	require.Equal(t, http.StatusOK, s.get(t, "/v1/patterns").status, "and life goes on")
}

func TestARequestHasItsTime(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t, func(o *httpapi.Options) { o.RequestTimeout = 100 * time.Millisecond })
	p := s.post(t, "/v1/patterns/test_wait/execute", map[string]any{}).problem(504, fault.Timeout)
	requirePartialTrace(t, p)
}
