package reports_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/reports"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

var formats = map[string]string{"pdf": "reports.render_pdf", "html": "reports.render_html", "csv": "reports.export_csv"}

func circumstances() agent.Context {
	day := time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC)
	return agent.Context{
		TenantID: "default", Asof: day,
		PricingPack: agent.Pack{ID: agenttest.PackID, Date: day, Revision: 3, Hash: "abcdef"},
		Portfolio:   &agent.Portfolio{ID: agenttest.PortfolioID, BaseCurrency: "CHF", LedgerVersion: "0112b09b", LedgerSeq: 23},
	}
}

// answersOf are the answers that a report is made of. Names are what a test wants them to be.
func answersOf(name string) map[string]any {
	var args map[string]any
	raw := `{
	"valued_positions": {"total_value": "1444808.19", "currency": "CHF", "asof": "2007-05-08",
		"positions": [
			{"symbol": "SBI", "name": "Swiss Bond Index", "quantity": "2700", "price": "96.97", "price_date": "2007-05-08", "currency": "CHF", "fx_rate": "1", "fx_date": null, "market_value": "261819.000000", "weight": 0.18121, "cost_basis": "1", "unrealized_pnl": "-12417.5"},
			{"symbol": "EMR", "name": %s, "quantity": "600", "price": "180.123456789", "price_date": "2007-05-07", "currency": "USD", "fx_rate": "1.2184", "fx_date": "2007-05-08", "market_value": "131678.2", "weight": 0.09113, "cost_basis": "2", "unrealized_pnl": "1234.5"},
			{"symbol": "XYZ", "name": "Nobody knows", "quantity": "1", "price": null, "price_date": null, "currency": "USD", "fx_rate": null, "fx_date": null, "market_value": null, "weight": null, "cost_basis": null, "unrealized_pnl": null}],
		"cash": [{"currency": "USD", "amount": "14838.56", "fx_rate": "1.2184", "fx_date": "2007-05-08", "market_value": "18079.30", "weight": 0.0125}],
		"unpriced": [{"symbol": "XYZ", "reason": "there is no price on or before 2007-05-08"}],
		"concentration": {"hhi_with_cash": 0.0975, "hhi_securities": 0.1014, "effective_n": 9.86, "top3_weight": 0.4},
		"insufficient_data": []},
	"perf_metrics": {"currency": "CHF", "twr": 0.136819, "twr_annualized": 0.136819, "twr_since_inception": 0.36, "mwr_window": 0.13, "mwr_since_inception": 0.14,
		"volatility": 0.083694, "sharpe_ratio": null, "sortino_ratio": null, "risk_free": {"source": "macro:FF_RF", "annual": 0.0487},
		"max_drawdown": 0.055959, "max_drawdown_trough": "2007-03-05", "var_95": 0.0081, "es_95": 0.0119,
		"benchmark": {"symbol": "LP40", "return": 0.0812, "beta": 1.6019, "alpha": 0.01, "correlation": 0.91, "tracking_error": 0.05, "information_ratio": 1.02},
		"window": {"start": "2006-05-19", "end": "2007-05-08", "returns": 252},
		"insufficient_data": [{"field": "sharpe_ratio", "missing": "macro:FF_RF", "reason": "the series ends in 2005"}]},
	"currency_attr": {"currency": "CHF", "total_return": 0.136819, "local_return": 0.139, "fx_return": -0.0008, "interaction": -0.0001, "costs": -0.0012,
		"positions": [{"symbol": "SBI", "kind": "security", "currency": "CHF", "weight": 0.19, "local": -0.0006, "fx": 0, "interaction": 0}],
		"window": {"start": "2006-05-19", "end": "2007-05-08", "returns": 252}, "insufficient_data": []},
	"regime": {"regime": "late_expansion", "label": "Late expansion", "confidence": 0.43, "probabilities": {"mid_expansion": 0.29, "late_expansion": 0.43, "early_contraction": 0.28},
		"inputs": [{"name": "curve", "series": "EA_LTN_10Y", "transform": "level", "value": 0.21, "z": -1.1, "date": "2007-03-31", "known_on": "2007-04-30", "proxy": true}],
		"asof": "2007-05-08", "insufficient_data": [{"field": "inputs.spread", "missing": "macro:BAA10Y", "reason": "there is no such series"}]},
	"pack_id": "7d1f0d1e-3c7b-4f0a-9a53-2f1f2c6c9b11", "ledger_version": "0112b09b"}`
	quoted, _ := json.Marshal(name)
	dec := json.NewDecoder(strings.NewReader(fmt.Sprintf(raw, quoted)))
	dec.UseNumber()
	if err := dec.Decode(&args); err != nil {
		panic(err)
	}
	return args
}

type file struct {
	Format       string              `json:"format"`
	Filename     string              `json:"filename"`
	MediaType    string              `json:"media_type"`
	Bytes        int                 `json:"bytes"`
	SHA256       string              `json:"sha256"`
	Content      []byte              `json:"content_base64"`
	Pages        *int                `json:"pages"`
	Sections     []string            `json:"sections"`
	Insufficient []map[string]string `json:"insufficient_data"`
}

func ask(t testing.TB, c agent.Context, format string, args map[string]any) (file, error) {
	t.Helper()
	result, err := agenttest.Call(t, reports.New().Capabilities(), c, formats[format], args)
	if err != nil {
		return file{}, err
	}
	raw := agenttest.Bytes(t, result.Value)
	var f file
	require.NoError(t, json.Unmarshal(raw, &f))
	require.Contains(t, string(raw), `"content_base64":"`+base64.StdEncoding.EncodeToString(f.Content)+`"`)
	return f, nil
}

func write(t testing.TB, format string, args map[string]any) file {
	t.Helper()
	f, err := ask(t, circumstances(), format, args)
	require.NoError(t, err)
	return f
}

// What every format must say, as text.
var said = []string{
	"Portfolio report", "2007-05-08", agenttest.PortfolioID, "0112b09b", agenttest.PackID,
	"Zürcher Kantonalbank & Söhne, Ærø Łódź", "prices:EMR", "fx:USD/CHF", "macro:FF_RF", "prices:LP40", "macro:EA_LTN_10Y",
	"the series ends in 2005", "there is no price on or before 2007-05-08", "there is no such series", "macro:BAA10Y",
}

// What the valuation has explained is not explained again, and what only looks like it is.
func TestUnpricedLines(t *testing.T) {
	t.Parallel()
	args := answersOf("Emerson")
	valued := args["valued_positions"].(map[string]any)
	valued["unpriced"] = []any{
		map[string]any{"symbol": "CASH:SEK", "reason": "no rate"},
		map[string]any{"symbol": "A", "reason": "no price"},
		map[string]any{"symbol": "AA", "reason": "no price"},
	}
	valued["insufficient_data"] = []any{
		map[string]any{"field": "cash.SEK.market_value", "missing": "fx:SEK/CHF", "reason": "no rate"},
		map[string]any{"field": "positions.AA.cost_basis", "missing": "fx:USD/CHF", "reason": "no rate"},
	}
	var gaps []string
	for _, i := range write(t, "csv", args).Insufficient {
		gaps = append(gaps, i["field"]+": "+i["missing"])
	}
	require.Equal(t, []string{
		"cash.SEK.market_value: fx:SEK/CHF", "positions.AA.cost_basis: fx:USD/CHF", "positions.A.market_value: prices:A",
		"positions.AA.market_value: prices:AA",
	}, gaps[:4])
}

func TestFormats(t *testing.T) {
	t.Parallel()
	args := answersOf("Zürcher Kantonalbank & Söhne, Ærø Łódź")
	for format, extension := range map[string]string{"pdf": ".pdf", "html": ".html", "csv": ".csv"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			f := write(t, format, args)
			require.Equal(t, format, f.Format)
			require.Equal(t, "portfolio-report-2007-05-08"+extension, f.Filename)
			require.Len(t, f.Content, f.Bytes)
			sum := sha256.Sum256(f.Content)
			require.Equal(t, hex.EncodeToString(sum[:]), f.SHA256)
			require.Equal(t, []string{"holdings", "performance", "macro"}, f.Sections)
			var gaps []string
			for _, i := range f.Insufficient {
				gaps = append(gaps, i["field"]+": "+i["missing"])
			}
			require.Equal(t, []string{"positions.XYZ.market_value: prices:XYZ", "sharpe_ratio: macro:FF_RF", "inputs.spread: macro:BAA10Y"}, gaps)

			var text string
			switch format {
			case "pdf":
				require.True(t, bytes.HasPrefix(f.Content, []byte("%PDF-")))
				require.Positive(t, *f.Pages)
				text = pdfText(t, f.Content)
			case "html":
				require.Nil(t, f.Pages)
				text = htmlText(t, f.Content)
			default:
				var all []string
				for _, r := range records(t, f.Content) {
					all = append(all, r...)
				}
				text = strings.Join(all, "\n")
			}
			for _, want := range said {
				require.Contains(t, text, want)
			}
			if format != "csv" {
				for _, want := range []string{
					"1,444,808.19", "261,819.00", "180.123457", "-12,417.50", "13.68 %", "not known", "1.6019", "Late expansion",
					"is not known, because prices:XYZ is missing",
				} {
					require.Contains(t, text, want)
				}
			}
		})
	}
}

// pdfText is the text that a reader other than ours finds, its lines joined.
func pdfText(t testing.TB, content []byte) string {
	t.Helper()
	reader, err := exec.LookPath("pdftotext")
	if err != nil {
		t.Skip("pdftotext (poppler-utils) is not installed")
	}
	cmd := exec.CommandContext(t.Context(), reader, "-raw", "-enc", "UTF-8", "-", "-")
	cmd.Stdin = bytes.NewReader(content)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	require.Empty(t, stderr.String(), "a reader has nothing to complain about")
	return strings.Join(strings.Fields(string(out)), " ")
}

// htmlText is the text of a page after a parse.
func htmlText(t testing.TB, content []byte) string {
	t.Helper()
	var b strings.Builder
	for n := range parse(t, content).Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
	}
	return b.String()
}

func parse(t testing.TB, content []byte) *html.Node {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(content))
	require.NoError(t, err)
	return root
}

func records(t testing.TB, content []byte) [][]string {
	t.Helper()
	all, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	require.NoError(t, err)
	return all
}

func TestCSVHoldsTheFiguresUnrounded(t *testing.T) {
	t.Parallel()
	all := records(t, write(t, "csv", answersOf("Emerson")).Content)
	require.Equal(t, []string{"section", "item", "field", "value"}, all[0])
	for _, want := range [][]string{
		{"report", "run:pricing_pack_revision", "value", "3"},
		{"holdings", "position:EMR", "price", "180.123456789"},
		{"holdings", "position:EMR", "name", "Emerson"},
		{"holdings", "position:XYZ", "market_value", ""},
		{"holdings", "position:SBI", "unrealized_pnl", "-12417.5"},
		{"holdings", "position:CASH:USD", "market_value", "18079.30"},
		{"holdings", "position:total_value", "market_value", "1444808.19"},
		{"performance", "measure:volatility", "value", "0.083694"},
		{"performance", "currency_attribution:fx_return", "value", "-0.0008"},
		{"macro", "regime:regime", "value", "late_expansion"},
		{"insufficient_data", "sharpe_ratio", "reason", "the series ends in 2005"},
		{"sources", "source:prices:SBI", "asof", "2007-05-08"},
	} {
		require.Contains(t, all, want)
	}
}

// The same run gives the same bytes, whatever the clock and the order of maps.
func TestSameInputSameBytes(t *testing.T) {
	t.Parallel()
	for format := range formats {
		first := write(t, format, answersOf("Emerson"))
		for range 20 {
			require.Equal(t, first, write(t, format, answersOf("Emerson")))
		}
	}
}

func TestSections(t *testing.T) {
	t.Parallel()
	all := answersOf("Emerson")
	for name, tt := range map[string]struct {
		args map[string]any
		want []string
		says string
	}{
		"what there is":      {map[string]any{"perf_metrics": all["perf_metrics"]}, []string{"performance"}, "Volatility"},
		"nothing":            {map[string]any{}, nil, "Nothing that the figures above need."},
		"chosen":             {map[string]any{"valued_positions": all["valued_positions"], "perf_metrics": all["perf_metrics"], "sections": map[string]any{"holdings": false, "performance": true}}, []string{"performance"}, "Sharpe ratio"},
		"chosen but absent":  {map[string]any{"sections": map[string]any{"holdings": true, "performance": true, "macro": true}}, []string{"holdings", "performance", "macro"}, "There is no regime to show."},
		"left to the caller": {map[string]any{"valued_positions": all["valued_positions"], "sections": map[string]any{"holdings": nil}}, []string{"holdings"}, "Net asset value"},
		"a title":            {map[string]any{"title": "Jahresbericht für Zoë"}, nil, "Jahresbericht für Zoë"},
	} {
		for _, format := range []string{"html", "pdf"} {
			t.Run(name+"/"+format, func(t *testing.T) {
				t.Parallel()
				f := write(t, format, tt.args)
				require.Equal(t, tt.want, slices.Clip(append([]string(nil), f.Sections...)))
				if format == "html" {
					require.Contains(t, htmlText(t, f.Content), tt.says)
				} else {
					require.Contains(t, pdfText(t, f.Content), tt.says)
				}
			})
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	lines := make([]any, 5001)
	for i := range lines {
		lines[i] = map[string]any{"symbol": fmt.Sprint(i), "currency": "CHF"}
	}
	for pointer, args := range map[string]map[string]any{
		"/args/ledger_version":             {"ledger_version": "another"},
		"":                                 {"pack_id": "9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81"},
		"/args/perf_metrics/twr":           {"perf_metrics": map[string]any{"twr": []any{}}},
		"/args/valued_positions/positions": {"valued_positions": map[string]any{"positions": lines}},
	} {
		for format := range formats {
			_, err := ask(t, circumstances(), format, args)
			require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
			if pointer != "" {
				var e *fault.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, pointer, e.Fields[0].Pointer)
			}
		}
	}
}

// A long list goes over many pages, each with the columns' titles and its number.
func TestLongReport(t *testing.T) {
	t.Parallel()
	var lines []any
	for i := range 700 {
		lines = append(lines, map[string]any{"symbol": fmt.Sprintf("SYM%03d", i), "name": "A name that is so long that it has to be set over several lines", "currency": "CHF", "quantity": "1", "price": "2", "market_value": "2", "weight": 0.001, "unrealized_pnl": "-1"})
	}
	f := write(t, "pdf", map[string]any{"valued_positions": map[string]any{"currency": "CHF", "total_value": "1400", "positions": lines, "cash": []any{}}})
	require.Greater(t, *f.Pages, 19)
	text := pdfText(t, f.Content)
	for i := range lines {
		require.Contains(t, text, fmt.Sprintf("SYM%03d", i))
	}
	for page := range *f.Pages {
		require.Contains(t, text, fmt.Sprintf("page %d of %d", page+1, *f.Pages))
	}
	require.Greater(t, strings.Count(text, "Unrealised, CHF"), 15)
}

// hostile texts, as names of securities may be.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</style><script>x</script>`, `{{.Title}}`, "a\x00b", "\xff\xfe", `javascript:alert(1)`,
	`=1+1`, `+1+1`, `-1+1`, `@SUM(A1)`, "\t=1", "\r\n=cmd|' /C calc'!A0", ` =1`, "\u200b=1", "\ufeff=1", `＝1+1`, `a;=1`, `a; @b`, `"=1"`, `a","=1`,
	"{nb}", "{pages}", "日本語", "👩‍👩‍👧", strings.Repeat("x", 5000), strings.Repeat("word ", 2000), "\u202egnp.exe", "(a) \\ (b", "%PDF-1.4 endobj",
}

// What is text in the answers is text in the page: nothing runs, nothing is loaded, nothing is hidden.
func checkHTML(t testing.TB, content []byte, name string) {
	t.Helper()
	tags := map[string]int{}
	for n := range parse(t, content).Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		tags[n.Data]++
		for _, a := range n.Attr {
			require.NotContains(t, []string{"src", "href", "style"}, a.Key)
			require.False(t, strings.HasPrefix(a.Key, "on"), "%s", a.Key)
		}
	}
	require.Zero(t, tags["script"]+tags["img"]+tags["iframe"]+tags["svg"]+tags["link"]+tags["a"])
	require.Equal(t, 1, tags["style"])
	require.Equal(t, 4, tags["meta"])
	if strings.ToValidUTF8(name, "") == name && !strings.ContainsAny(name, "\x00\r") {
		require.Contains(t, htmlText(t, content), name)
	}
}

// No cell is what a spreadsheet would calculate, whether it separates at commas or semicolons.
func checkCSV(t testing.TB, content []byte) {
	t.Helper()
	rows := records(t, content)
	for _, r := range rows {
		require.Len(t, r, 4)
		for _, c := range r {
			for _, part := range strings.Split(c, ";") {
				part = strings.TrimLeft(part, " \u200b\ufeff\"")
				if part == "" || !strings.ContainsRune("=+-@\t\r＝＋－＠", []rune(part)[0]) {
					continue
				}
				require.Regexp(t, `^-[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`, part)
			}
			require.NotContains(t, c, "\n")
			require.NotContains(t, c, "\x00")
		}
	}
}

func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, name := range hostile {
		args := answersOf(name)
		args["title"] = strings.ToValidUTF8(name[:min(len(name), 150)], "")
		checkHTML(t, write(t, "html", args).Content, name)
		checkCSV(t, write(t, "csv", args).Content)
		f := write(t, "pdf", args)
		require.Less(t, *f.Pages, 8, "%.20s", name)
		require.Contains(t, pdfText(t, f.Content), "Net asset value", "%.20s", name)
	}
}

func FuzzNames(f *testing.F) {
	for _, name := range hostile {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		args := answersOf(name)
		checkHTML(t, write(t, "html", args).Content, name)
		checkCSV(t, write(t, "csv", args).Content)
		pdf := write(t, "pdf", args)
		if !bytes.HasSuffix(bytes.TrimSpace(pdf.Content), []byte("%%EOF")) {
			t.Fatal("the PDF has no end")
		}
	})
}
