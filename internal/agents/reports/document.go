package reports

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// document is a report before it is written in a format.
type document struct {
	Title    string
	Asof     string
	Created  time.Time // the pack's date
	Facts    table     // what it was computed from
	Sections []section
	Gaps     []gap
	Sources  table
}

// section is a chapter.
type section struct {
	ID, Title string
	Absent    string // why it is empty
	Tables    []table
}

// table is rows of cells under columns.
type table struct {
	ID      string // the items' kind in CSV: "position", "figure"
	Title   string
	Columns []column
	Rows    []row
}

type column struct {
	Field   string // in CSV
	Title   string
	Numeric bool // aligned right
	Width   float64
}

// row is one line. Item tells it apart in CSV.
type row struct {
	Item  string
	Cells []cell // one a column
	Total bool
}

// cell is a value: as people read it, and as it was in the answer.
type cell struct{ Text, Raw string }

// gap is a figure that is missing, with its section.
type gap struct {
	Section string
	capability.Insufficient
}

// Sentence says it in words.
func (g gap) Sentence() string {
	return fmt.Sprintf("%s: %s is not known, because %s is missing: %s.", g.Section, g.Field, g.Missing, strings.TrimSuffix(g.Reason, "."))
}

func (d document) ids() []string {
	ids := make([]string, 0, len(d.Sections))
	for _, s := range d.Sections {
		ids = append(ids, s.ID)
	}
	return ids
}

func (d document) missing() []capability.Insufficient {
	list := make([]capability.Insufficient, 0, len(d.Gaps))
	for _, g := range d.Gaps {
		list = append(list, g.Insufficient)
	}
	return list
}

func text(s string) cell { return cell{s, s} }

// composer puts a document together.
type composer struct {
	document

	sources map[string]string // date by name, "" when it has none
	err     error
}

func compose(c agent.Context, args asked) (document, error) {
	b := composer{sources: map[string]string{}}
	b.Title, b.Asof, b.Created = "Portfolio report", c.Asof.Format(time.DateOnly), c.PricingPack.Date
	if args.Title != nil && strings.TrimSpace(*args.Title) != "" {
		b.Title = *args.Title
	}
	b.facts(c)
	given := func(wanted *bool, inputs ...json.RawMessage) bool {
		if wanted != nil {
			return *wanted
		}
		return slices.ContainsFunc(inputs, present)
	}
	if given(args.Sections.Holdings, args.ValuedPositions) {
		b.holdings(args.ValuedPositions)
	}
	if given(args.Sections.Performance, args.PerfMetrics, args.CurrencyAttr) {
		b.performance(args.PerfMetrics, args.CurrencyAttr)
	}
	if given(args.Sections.Macro, args.Regime) {
		b.macro(args.Regime)
	}
	b.Sources = table{ID: "source", Columns: []column{{Field: "name", Title: "Source", Width: 3}, {Field: "asof", Title: "Newest value used", Width: 1}}}
	for _, name := range slices.Sorted(maps.Keys(b.sources)) {
		date := cell{"see the trace", ""} // the answers don't say
		if strings.HasPrefix(name, "ledger:") {
			date = cell{"up to the version above", ""}
		}
		if d := b.sources[name]; d != "" {
			date = text(d)
		}
		b.Sources.Rows = append(b.Sources.Rows, row{Item: name, Cells: []cell{text(name), date}})
	}
	return b.document, b.err
}

func (b *composer) facts(c agent.Context) {
	b.Facts = table{ID: "run", Columns: []column{{Field: "name", Title: "", Width: 1}, {Field: "value", Title: "", Width: 3}}}
	add := func(item, title, value string) {
		b.Facts.Rows = append(b.Facts.Rows, row{Item: item, Cells: []cell{text(title), text(value)}})
	}
	add("asof", "As of", b.Asof)
	if p := c.Portfolio; p != nil {
		add("portfolio_id", "Portfolio", p.ID)
		add("base_currency", "Base currency", p.BaseCurrency)
		add("ledger_version", "Ledger version", p.LedgerVersion)
		b.source("ledger:"+p.ID, "")
	}
	add("pricing_pack_id", "Pricing pack", c.PricingPack.ID)
	add("pricing_pack_date", "Date of the pack", c.PricingPack.Date.Format(time.DateOnly))
	add("pricing_pack_revision", "Revision of the pack", fmt.Sprint(c.PricingPack.Revision))
	if c.PricingPack.Hash != "" {
		add("pricing_pack_hash", "Hash of the pack", c.PricingPack.Hash)
	}
}

// source notes something that figures come from, under its newest date.
func (b *composer) source(name, date string) {
	if have, ok := b.sources[name]; !ok || date > have {
		b.sources[name] = date
	}
}

func (b *composer) lacks(sec string, list []capability.Insufficient) {
	for _, i := range list {
		b.Gaps = append(b.Gaps, gap{sec, i})
	}
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

// read fills dst from an argument; false when there is none, or it is not of its kind.
func (b *composer) read(argument string, raw json.RawMessage, dst any) bool {
	if !present(raw) {
		return false
	}
	err := json.Unmarshal(raw, dst)
	if err == nil {
		return true
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		err = fault.InvalidField("/args/"+argument+"/"+strings.ReplaceAll(e.Field, ".", "/"), "can't be a JSON %s", e.Value)
	} else {
		err = fault.InvalidField("/args/"+argument, "is not what it is said to be: %v", err)
	}
	b.err = errors.Join(b.err, err)
	return false
}

// bounded refuses lists that are too long for a document.
func (b *composer) bounded(pointer string, n int) bool {
	if n > maxLines {
		b.err = errors.Join(b.err, fault.InvalidField(pointer, "has %d lines; a report holds at most %d", n, maxLines))
	}
	return n <= maxLines
}

// line is a position or a cash balance of pricing.apply_pack.
type line struct {
	Symbol        string       `json:"symbol"`
	Name          string       `json:"name"`
	Quantity      *json.Number `json:"quantity"`
	Amount        *json.Number `json:"amount"` // of cash
	Price         *json.Number `json:"price"`
	PriceDate     string       `json:"price_date"`
	Currency      string       `json:"currency"`
	FXRate        *json.Number `json:"fx_rate"`
	FXDate        string       `json:"fx_date"`
	MarketValue   *json.Number `json:"market_value"`
	Weight        *json.Number `json:"weight"`
	CostBasis     *json.Number `json:"cost_basis"`
	UnrealizedPnL *json.Number `json:"unrealized_pnl"`
}

func (b *composer) holdings(raw json.RawMessage) {
	s := section{ID: "holdings", Title: "Holdings"}
	var v struct {
		TotalValue *json.Number `json:"total_value"`
		Currency   string       `json:"currency"`
		Positions  []line       `json:"positions"`
		Cash       []line       `json:"cash"`
		Unpriced   []struct {
			Symbol string `json:"symbol"`
			Reason string `json:"reason"`
		} `json:"unpriced"`
		Concentration map[string]*json.Number   `json:"concentration"`
		Insufficient  []capability.Insufficient `json:"insufficient_data"`
	}
	if !b.read("valued_positions", raw, &v) {
		s.Absent = "There is no valuation to show."
		b.Sections = append(b.Sections, s)
		return
	}
	if !b.bounded("/args/valued_positions/positions", len(v.Positions)) || !b.bounded("/args/valued_positions/cash", len(v.Cash)) {
		return
	}
	t := table{ID: "position", Columns: []column{
		{Field: "symbol", Title: "Symbol", Width: 1.1},
		{Field: "name", Title: "Name", Width: 2.2},
		{Field: "quantity", Title: "Quantity", Numeric: true, Width: 1.1},
		{Field: "price", Title: "Price", Numeric: true, Width: 1.1},
		{Field: "currency", Title: "Ccy", Width: 0.5},
		{Field: "market_value", Title: "Value, " + v.Currency, Numeric: true, Width: 1.4},
		{Field: "weight", Title: "Weight", Numeric: true, Width: 0.9},
		{Field: "unrealized_pnl", Title: "Unrealised, " + v.Currency, Numeric: true, Width: 1.4},
	}}
	for _, p := range v.Positions {
		t.Rows = append(t.Rows, row{Item: p.Symbol, Cells: []cell{
			text(p.Symbol), text(p.Name), plain(p.Quantity), plain(p.Price), text(p.Currency),
			money(p.MarketValue), percent(p.Weight), money(p.UnrealizedPnL),
		}})
		if p.Price != nil {
			b.source("prices:"+p.Symbol, p.PriceDate)
		}
		b.rate(p, v.Currency)
	}
	for _, c := range v.Cash {
		t.Rows = append(t.Rows, row{Item: capability.CashSymbol(c.Currency), Cells: []cell{
			text(capability.CashSymbol(c.Currency)), text("Cash in " + c.Currency), money(c.Amount),
			{},
			text(c.Currency),
			money(c.MarketValue), percent(c.Weight),
			{},
		}})
		b.rate(c, v.Currency)
	}
	t.Rows = append(t.Rows, row{Item: "total_value", Total: true, Cells: []cell{
		text("Total"), text("Net asset value"), {}, {}, text(v.Currency), money(v.TotalValue), {}, {},
	}})
	s.Tables = append(s.Tables, t)
	concentration := figures("concentration", "Concentration")
	for _, f := range []struct {
		field, title string
		format       func(*json.Number) cell
	}{
		{"hhi_with_cash", "Herfindahl index, cash included", ratio},
		{"hhi_securities", "Herfindahl index, securities alone", ratio},
		{"effective_n", "Effective number of holdings", ratio},
		{"top3_weight", "Weight of the three largest", percent},
	} {
		if n, ok := v.Concentration[f.field]; ok {
			concentration.add(f.field, f.title, f.format(n))
		}
	}
	if len(concentration.Rows) > 0 {
		s.Tables = append(s.Tables, concentration)
	}
	b.lacks(s.Title, v.Insufficient)
	for _, u := range v.Unpriced {
		// The valuation may say it twice: as unpriced, and as the reason for a null.
		// Cash is "CASH:SEK" in the one and cash.SEK in the other.
		field := "positions." + u.Symbol
		if currency, ok := strings.CutPrefix(u.Symbol, capability.CashSymbol("")); ok {
			field = "cash." + currency
		}
		if !slices.ContainsFunc(v.Insufficient, func(i capability.Insufficient) bool { return i.Field == field+".market_value" }) {
			b.lacks(s.Title, []capability.Insufficient{{Field: field + ".market_value", Missing: "prices:" + u.Symbol, Reason: u.Reason}})
		}
	}
	b.Sections = append(b.Sections, s)
}

// rate notes the exchange rate that a line was converted at. In the base currency there is none.
func (b *composer) rate(l line, base string) {
	if l.FXRate != nil && l.FXDate != "" && l.Currency != base {
		b.source("fx:"+l.Currency+"/"+base, l.FXDate)
	}
}

// figures is a table of named values.
func figures(id, title string) table {
	return table{ID: id, Title: title, Columns: []column{
		{Field: "name", Title: "Figure", Width: 3}, {Field: "value", Title: "Value", Numeric: true, Width: 1.5},
	}}
}

func (t *table) add(item, title string, value cell) {
	t.Rows = append(t.Rows, row{Item: item, Cells: []cell{text(title), value}})
}

type span struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

func (w *span) String() string {
	if w == nil {
		return ""
	}
	return ", " + w.Start + " to " + w.End
}

func (b *composer) performance(metrics, attribution json.RawMessage) {
	s := section{ID: "performance", Title: "Performance"}
	b.measures(&s, metrics)
	b.attribution(&s, attribution)
	if len(s.Tables) == 0 {
		s.Absent = "There are no measures to show."
	}
	b.Sections = append(b.Sections, s)
}

func (b *composer) measures(s *section, raw json.RawMessage) {
	var v struct {
		TWR               *json.Number `json:"twr"`
		TWRAnnualized     *json.Number `json:"twr_annualized"`
		TWRSinceInception *json.Number `json:"twr_since_inception"`
		MWRWindow         *json.Number `json:"mwr_window"`
		MWRSinceInception *json.Number `json:"mwr_since_inception"`
		Volatility        *json.Number `json:"volatility"`
		SharpeRatio       *json.Number `json:"sharpe_ratio"`
		SortinoRatio      *json.Number `json:"sortino_ratio"`
		MaxDrawdown       *json.Number `json:"max_drawdown"`
		MaxDrawdownTrough *string      `json:"max_drawdown_trough"`
		VaR95             *json.Number `json:"var_95"`
		ES95              *json.Number `json:"es_95"`
		RiskFree          struct {
			Source *string      `json:"source"`
			Annual *json.Number `json:"annual"`
		} `json:"risk_free"`
		Benchmark struct {
			Symbol           *string      `json:"symbol"`
			Return           *json.Number `json:"return"`
			Beta             *json.Number `json:"beta"`
			Alpha            *json.Number `json:"alpha"`
			Correlation      *json.Number `json:"correlation"`
			TrackingError    *json.Number `json:"tracking_error"`
			InformationRatio *json.Number `json:"information_ratio"`
		} `json:"benchmark"`
		Window       *span                     `json:"window"`
		Insufficient []capability.Insufficient `json:"insufficient_data"`
	}
	if !b.read("perf_metrics", raw, &v) {
		return
	}
	t := figures("measure", "Returns and risk"+v.Window.String())
	t.add("twr", "Time-weighted return", percent(v.TWR))
	t.add("twr_annualized", "Time-weighted return, a year", percent(v.TWRAnnualized))
	t.add("twr_since_inception", "Time-weighted return since inception", percent(v.TWRSinceInception))
	t.add("mwr_window", "Money-weighted return, a year", percent(v.MWRWindow))
	t.add("mwr_since_inception", "Money-weighted return since inception, a year", percent(v.MWRSinceInception))
	t.add("volatility", "Volatility, a year", percent(v.Volatility))
	t.add("sharpe_ratio", "Sharpe ratio", ratio(v.SharpeRatio))
	t.add("sortino_ratio", "Sortino ratio", ratio(v.SortinoRatio))
	t.add("risk_free.annual", "Risk-free rate, a year", percent(v.RiskFree.Annual))
	t.add("max_drawdown", "Maximum drawdown", percent(v.MaxDrawdown))
	trough := unknown
	if v.MaxDrawdownTrough != nil {
		trough = text(*v.MaxDrawdownTrough)
	}
	t.add("max_drawdown_trough", "Day of the maximum drawdown", trough)
	t.add("var_95", "Value at risk, one day, 95 %", percent(v.VaR95))
	t.add("es_95", "Expected shortfall, one day, 95 %", percent(v.ES95))
	s.Tables = append(s.Tables, t)
	if source := v.RiskFree.Source; source != nil && strings.HasPrefix(*source, "macro:") {
		b.source(*source, "")
	}
	if symbol := v.Benchmark.Symbol; symbol != nil {
		m := figures("benchmark", "Against the benchmark "+*symbol)
		m.add("return", "Return of the benchmark", percent(v.Benchmark.Return))
		m.add("beta", "Beta", ratio(v.Benchmark.Beta))
		m.add("alpha", "Alpha, a year", percent(v.Benchmark.Alpha))
		m.add("correlation", "Correlation", ratio(v.Benchmark.Correlation))
		m.add("tracking_error", "Tracking error, a year", percent(v.Benchmark.TrackingError))
		m.add("information_ratio", "Information ratio", ratio(v.Benchmark.InformationRatio))
		s.Tables = append(s.Tables, m)
		if v.Benchmark.Return != nil {
			end := ""
			if v.Window != nil {
				end = v.Window.End
			}
			b.source("prices:"+*symbol, end)
		}
	}
	b.lacks(s.Title, v.Insufficient)
}

func (b *composer) attribution(s *section, raw json.RawMessage) {
	var v struct {
		TotalReturn *json.Number `json:"total_return"`
		LocalReturn *json.Number `json:"local_return"`
		FXReturn    *json.Number `json:"fx_return"`
		Interaction *json.Number `json:"interaction"`
		Costs       *json.Number `json:"costs"`
		Positions   []struct {
			Symbol      string       `json:"symbol"`
			Currency    string       `json:"currency"`
			Weight      *json.Number `json:"weight"`
			Local       *json.Number `json:"local"`
			FX          *json.Number `json:"fx"`
			Interaction *json.Number `json:"interaction"`
		} `json:"positions"`
		Window       *span                     `json:"window"`
		Insufficient []capability.Insufficient `json:"insufficient_data"`
	}
	if !b.read("currency_attr", raw, &v) || !b.bounded("/args/currency_attr/positions", len(v.Positions)) {
		return
	}
	t := figures("currency_attribution", "Where the return came from"+v.Window.String())
	t.add("local_return", "Local markets", percent(v.LocalReturn))
	t.add("fx_return", "Currencies", percent(v.FXReturn))
	t.add("interaction", "Interaction", percent(v.Interaction))
	t.add("costs", "Costs", percent(v.Costs))
	t.add("total_return", "Total return", percent(v.TotalReturn))
	t.Rows[len(t.Rows)-1].Total = true
	s.Tables = append(s.Tables, t)
	if len(v.Positions) > 0 {
		lines := table{ID: "currency_attribution_line", Title: "By line", Columns: []column{
			{Field: "symbol", Title: "Symbol", Width: 1.4},
			{Field: "currency", Title: "Ccy", Width: 0.6},
			{Field: "weight", Title: "Start weight", Numeric: true, Width: 1},
			{Field: "local", Title: "Local", Numeric: true, Width: 1},
			{Field: "fx", Title: "Currency", Numeric: true, Width: 1},
			{Field: "interaction", Title: "Interaction", Numeric: true, Width: 1},
		}}
		for _, p := range v.Positions {
			lines.Rows = append(lines.Rows, row{Item: p.Symbol, Cells: []cell{
				text(p.Symbol), text(p.Currency), percent(p.Weight), percent(p.Local), percent(p.FX), percent(p.Interaction),
			}})
		}
		s.Tables = append(s.Tables, lines)
	}
	b.lacks(s.Title, v.Insufficient)
}

func (b *composer) macro(raw json.RawMessage) {
	s := section{ID: "macro", Title: "Macro regime"}
	var v struct {
		Regime        *string                 `json:"regime"`
		Label         string                  `json:"label"`
		Confidence    *json.Number            `json:"confidence"`
		Probabilities map[string]*json.Number `json:"probabilities"`
		Inputs        []struct {
			Name    string       `json:"name"`
			Series  *string      `json:"series"`
			Value   *json.Number `json:"value"`
			Z       *json.Number `json:"z"`
			Date    string       `json:"date"`
			KnownOn string       `json:"known_on"`
			Proxy   bool         `json:"proxy"`
		} `json:"inputs"`
		Insufficient []capability.Insufficient `json:"insufficient_data"`
	}
	if !b.read("regime", raw, &v) {
		s.Absent = "There is no regime to show."
		b.Sections = append(b.Sections, s)
		return
	}
	if !b.bounded("/args/regime/inputs", len(v.Inputs)) || !b.bounded("/args/regime/probabilities", len(v.Probabilities)) {
		return
	}
	t := figures("regime", "Regime")
	regime := unknown
	if v.Regime != nil {
		regime = cell{cmp.Or(v.Label, words(*v.Regime)), *v.Regime}
	}
	t.add("regime", "Likeliest regime", regime)
	t.add("confidence", "Its probability", percent(v.Confidence))
	s.Tables = append(s.Tables, t)
	if len(v.Probabilities) > 0 {
		p := figures("regime_probability", "Probabilities")
		// By falling probability; equal ones by name.
		names := slices.Sorted(maps.Keys(v.Probabilities))
		slices.SortStableFunc(names, func(a, c string) int {
			return cmp.Compare(number(v.Probabilities[c]), number(v.Probabilities[a]))
		})
		for _, name := range names {
			p.add(name, words(name), percent(v.Probabilities[name]))
		}
		s.Tables = append(s.Tables, p)
	}
	if len(v.Inputs) > 0 {
		in := table{ID: "regime_input", Title: "Inputs", Columns: []column{
			{Field: "name", Title: "Input", Width: 1.3},
			{Field: "series", Title: "Series", Width: 1.8},
			{Field: "value", Title: "Value", Numeric: true, Width: 1},
			{Field: "z", Title: "z-score", Numeric: true, Width: 0.9},
			{Field: "date", Title: "Period's end", Width: 1.1},
			{Field: "known_on", Title: "Known on", Width: 1.1},
		}}
		for _, i := range v.Inputs {
			series := unknown
			if i.Series != nil {
				series = text(*i.Series)
				if i.Proxy {
					series.Text += " (in place of the series that is meant)"
				}
				for one := range strings.SplitSeq(*i.Series, " - ") { // of a spread
					b.source("macro:"+one, i.Date)
				}
			}
			in.Rows = append(in.Rows, row{Item: i.Name, Cells: []cell{
				text(words(i.Name)), series, ratio(i.Value), ratio(i.Z), text(i.Date), text(i.KnownOn),
			}})
		}
		s.Tables = append(s.Tables, in)
	}
	b.lacks(s.Title, v.Insufficient)
	b.Sections = append(b.Sections, s)
}
