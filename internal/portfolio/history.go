package portfolio

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// History is a portfolio valued on every valuation day: the dates with a close of its calendar
// series from its first transaction to the as-of date. Prices and rates are carried forward from
// their last observation on or before the day; nothing of a later day is ever used.
//
// A History is built in time linear in transactions and observations. It is not safe for
// concurrent use.
type History struct {
	Days  []time.Time
	NAV   []float64 // base currency, at the end of the day; NaN where Missing says why
	Flows []float64 // external flows counted on the day, base currency, at the day's rates

	base    string
	first   time.Time // of the first transaction; zero when there is none
	asof    time.Time
	cal     string
	held    []*holding // securities by symbol, then cash by currency
	flows   []flow
	splits  map[string][]split // by symbol, in order of day
	returns []float64          // returns[t] is earned on Days[t]; NaN where undefined, [0] always

	market SeriesSet
	prices map[string]*column // by symbol
	rates  map[string]*column // by currency, into base
	macros map[string]*column // by series
}

// holding is a line of the portfolio through time.
type holding struct {
	kind     Kind
	symbol   string // for cash: its currency
	currency string
	steps    []step
	price    *column // in currency; a column of ones for cash
	rate     *column // of currency into base
	known    bool    // the security is listed

	splits    []split
	dividends []dividend // in order of day
}

// step says that quantity is held from the end of day on.
type step struct {
	day      int
	quantity float64
}

// flow is one external flow, counted on a valuation day.
type flow struct {
	day    int
	line   *holding // the cash that it changes
	amount float64  // in line's currency
}

// split multiplies what is held, and divides prices, from a day on.
type split struct {
	day    int // the first valuation day with new shares
	date   time.Time
	factor float64 // new shares for one old share
}

// dividend is cash that a security has paid.
type dividend struct {
	day    int
	line   *holding // the cash that it goes to
	amount float64  // in line's currency
}

// column is a series aligned to the valuation days.
type column struct {
	values []float64 // NaN before first
	first  int       // the first day with a value; len(values) when there is none
	used   []Observation
}

// Observation names a series and the date of its newest observation that was used.
type Observation struct {
	Name string // "prices:SBI", "fx:USD/CHF", "macro:FF_RF"
	Date time.Time
}

// Window is a stretch of a History: the returns of the days after Start up to End, both being
// indices of Days.
type Window struct{ Start, End int }

// Len returns the number of daily returns.
func (w Window) Len() int { return w.End - w.Start }

// NewHistory values p on its valuation days up to asof. The ledger must be in order of date,
// then number; market must reach back to the first transaction. Prices from the date of a split on
// are those of new shares; one that is carried over it is divided by its ratio.
//
// Missing market data is no error: NAV is NaN on the days concerned, and every measure over them
// returns Shortages. An error means that a transaction cannot be understood.
func NewHistory(p Portfolio, ledger []Transaction, securities map[string]Security, market SeriesSet, asof time.Time) (*History, error) {
	h := &History{
		base: p.BaseCurrency, asof: asof, cal: p.Calendar, market: market,
		prices: map[string]*column{}, rates: map[string]*column{}, macros: map[string]*column{},
		splits: map[string][]split{},
	}
	ledger, err := Effective(ledger)
	if err != nil {
		return nil, err
	}
	if len(ledger) == 0 || ledger[0].Date.After(asof) {
		return h, nil
	}
	h.first = ledger[0].Date
	for _, pt := range market.Prices[p.Calendar] {
		if !pt.Date.Before(h.first) && !pt.Date.After(asof) {
			h.Days = append(h.Days, pt.Date)
		}
	}
	if err := h.book(ledger, securities); err != nil {
		return nil, err
	}
	h.value()
	return h, nil
}

// book turns transactions into steps and flows. What is booked between two valuation days takes
// effect on the later one; what is booked after the last has none.
func (h *History) book(ledger []Transaction, securities map[string]Security) error {
	type key struct {
		kind   Kind
		symbol string
	}
	lines := map[key]*holding{}
	quantities := map[key]decimal.Decimal{}
	line := func(k key, t Transaction) *holding {
		if l := lines[k]; l != nil {
			return l
		}
		l := &holding{kind: k.kind, symbol: k.symbol, currency: k.symbol, known: true}
		if k.kind == KindSecurity {
			s, ok := securities[k.symbol]
			l.known, l.currency = ok, cmp.Or(s.Currency, t.Currency)
		}
		lines[k] = l
		h.held = append(h.held, l)
		return l
	}

	day := 0
	for _, t := range ledger {
		for day < len(h.Days) && h.Days[day].Before(t.Date) {
			day++
		}
		if day == len(h.Days) {
			break
		}
		changes, err := t.changes()
		if err != nil {
			return err
		}
		for _, c := range changes {
			k := key{c.kind, c.symbol}
			l := line(k, t)
			if t.Type == Split {
				h.splits[c.symbol] = append(h.splits[c.symbol], split{day, t.Date, c.ratio.float()})
				quantities[k] = c.ratio.of(quantities[k])
			} else {
				quantities[k] = quantities[k].Add(c.quantity)
			}
			q := quantities[k].InexactFloat64()
			if n := len(l.steps); n > 0 && l.steps[n-1].day == day {
				l.steps[n-1].quantity = q
			} else {
				l.steps = append(l.steps, step{day, q})
			}
			if t.external() {
				h.flows = append(h.flows, flow{day, l, t.Amount.InexactFloat64()})
			}
			if t.Type == Dividend {
				s := line(key{KindSecurity, t.Symbol}, t)
				s.dividends = append(s.dividends, dividend{day, l, t.Amount.InexactFloat64()})
			}
		}
	}
	// One order for all sums, so that equal ledgers give equal bits.
	slices.SortFunc(h.held, func(a, b *holding) int {
		return cmp.Or(-cmp.Compare(a.kind, b.kind), cmp.Compare(a.symbol, b.symbol))
	})
	return nil
}

// value computes NAV, Flows and returns.
func (h *History) value() {
	n := len(h.Days)
	h.NAV, h.Flows, h.returns = make([]float64, n), make([]float64, n), make([]float64, n)
	ones := h.ones()
	for _, l := range h.held {
		l.rate, l.price = h.rate(l.currency), ones
		if l.kind == KindSecurity {
			l.price, l.splits = h.price(l.symbol), h.splits[l.symbol]
		}
		l.spans(0, n, func(quantity float64, from, to int) {
			price, rate := l.price.values[from:to], l.rate.values[from:to]
			nav := h.NAV[from:to]
			for t := range nav {
				nav[t] += quantity * price[t] * rate[t]
			}
		})
	}
	for _, f := range h.flows {
		h.Flows[f.day] += f.amount * f.line.rate.values[f.day]
	}
	for t := range h.returns {
		h.returns[t] = math.NaN()
		if t > 0 && h.NAV[t-1]+h.Flows[t] > 0 {
			h.returns[t] = h.NAV[t]/(h.NAV[t-1]+h.Flows[t]) - 1
		}
	}
}

// spans calls f for every stretch of days [from, to) within which one non-zero quantity is held
// at the end of each day.
func (l *holding) spans(from, to int, f func(quantity float64, from, to int)) {
	for i, s := range l.steps {
		end := to
		if i+1 < len(l.steps) {
			end = min(to, l.steps[i+1].day)
		}
		if begin := max(from, s.day); begin < end && s.quantity != 0 {
			f(s.quantity, begin, end)
		}
	}
}

func (h *History) ones() *column {
	c := &column{values: make([]float64, len(h.Days))}
	for t := range c.values {
		c.values[t] = 1
	}
	return c
}

// align carries a series forward onto the valuation days.
func (h *History) align(name string, s Series) *column {
	c := &column{values: make([]float64, len(h.Days))}
	next, last := 0, math.NaN()
	for t, day := range h.Days {
		for next < len(s) && !s[next].Date.After(day) {
			last = s[next].Value
			next++
		}
		c.values[t] = last
		if next == 0 {
			c.first = t + 1
		}
	}
	if next > 0 {
		c.used = []Observation{{Name: name, Date: s[next-1].Date}}
	}
	return c
}

func (h *History) price(symbol string) *column {
	c, ok := h.prices[symbol]
	if !ok {
		series := h.market.Prices[symbol]
		c = h.align("prices:"+symbol, series)
		for _, s := range h.splits[symbol] {
			next, _ := slices.BinarySearchFunc(series, s.date, func(p Point, date time.Time) int { return p.Date.Compare(date) })
			for t := s.day; t < len(h.Days) && (next == len(series) || series[next].Date.After(h.Days[t])); t++ {
				c.values[t] /= s.factor
			}
		}
		h.prices[symbol] = c
	}
	return c
}

// SplitFactor returns how many shares at the end of the day with index to one share at the end of the
// day with index from has become; 1 without splits. A price return between the two is
// price[to] * SplitFactor / price[from] - 1.
func (h *History) SplitFactor(symbol string, from, to int) float64 {
	return splitFactor(h.splits[symbol], from, to)
}

func splitFactor(splits []split, from, to int) float64 {
	factor := 1.0
	for _, s := range splits {
		if s.day > from && s.day <= to {
			factor *= s.factor
		}
	}
	return factor
}

// rate returns the aligned rate of a currency into the base currency.
func (h *History) rate(currency string) *column {
	c, ok := h.rates[currency]
	if ok {
		return c
	}
	if currency == h.base {
		c = h.ones()
	} else {
		c = &column{values: make([]float64, len(h.Days)), first: len(h.Days)}
		for t := range c.values {
			c.values[t] = math.NaN()
		}
		for legs := range paths(h.market.FX, currency, h.base) {
			if c.first == 0 {
				break
			}
			earlier := h.along(legs, c.first)
			if earlier.first < c.first {
				copy(c.values[earlier.first:c.first], earlier.values[earlier.first:])
				c.first = earlier.first
				c.used = append(c.used, earlier.used...)
			}
		}
	}
	h.rates[currency] = c
	return c
}

// along aligns the rate of some legs to the valuation days before the one with index until.
func (h *History) along(legs []leg, until int) *column {
	c := h.ones()
	c.values = c.values[:until]
	for _, l := range legs {
		series := h.market.FX[l.pair]
		end, found := slices.BinarySearchFunc(series, h.Days[until-1], func(p Point, day time.Time) int { return p.Date.Compare(day) })
		if found {
			end++
		}
		pair := h.align("fx:"+l.pair, series[:end])
		for t := range c.values {
			if l.inverse {
				c.values[t] /= pair.values[t]
			} else {
				c.values[t] *= pair.values[t]
			}
		}
		c.first = max(c.first, min(pair.first, until))
		c.used = append(c.used, pair.used...)
	}
	return c
}

// Used returns every series that went into the history and into the returns read from it so
// far, by name.
func (h *History) Used() []Observation {
	newest := map[string]time.Time{}
	for _, columns := range []map[string]*column{h.prices, h.rates, h.macros} {
		for _, c := range columns {
			for _, o := range c.used {
				if o.Date.After(newest[o.Name]) {
					newest[o.Name] = o.Date
				}
			}
		}
	}
	if n := len(h.Days); n > 0 {
		newest["prices:"+h.cal] = h.Days[n-1]
	}
	used := make([]Observation, 0, len(newest))
	for name, date := range newest {
		used = append(used, Observation{Name: name, Date: date})
	}
	slices.SortFunc(used, func(a, b Observation) int { return cmp.Compare(a.Name, b.Name) })
	return used
}

// Last returns the window of the last n daily returns, or of all when there are fewer.
func (h *History) Last(n int) (Window, error) {
	end := len(h.Days) - 1
	switch {
	case h.first.IsZero():
		return Window{}, Short("transactions", "the portfolio has none on or before %s", h.asof.Format(time.DateOnly))
	case end < 0:
		return Window{}, Short("prices:"+h.cal, "the calendar series has no close from the first transaction on %s to %s",
			h.first.Format(time.DateOnly), h.asof.Format(time.DateOnly))
	case end == 0:
		return Window{}, Short("returns", "%s is the only valuation day since the first transaction, a return needs two",
			h.Days[0].Format(time.DateOnly))
	}
	return Window{Start: max(0, end-n), End: end}, nil
}

// All returns the window since inception: every daily return there is.
func (h *History) All() (Window, error) { return h.Last(len(h.Days)) }

// Since returns the window from the last valuation day on or before a date to the last one.
func (h *History) Since(date time.Time) (Window, error) {
	w, err := h.All()
	if err != nil {
		return Window{}, err
	}
	if date.Before(h.Days[0]) {
		return Window{}, Short("transactions", "the portfolio is first valued on %s, after %s",
			h.Days[0].Format(time.DateOnly), date.Format(time.DateOnly))
	}
	i, found := slices.BinarySearchFunc(h.Days, date, time.Time.Compare)
	if !found {
		i--
	}
	if i == w.End {
		return Window{}, Short("returns", "there is no valuation day after %s", h.Days[i].Format(time.DateOnly))
	}
	return Window{Start: i, End: w.End}, nil
}

// Missing returns what the valuations of w lack, Start included; nil when they are complete.
func (h *History) Missing(w Window) error {
	var missing Shortages
	report := func(name string, known bool, c *column, from int) {
		if from >= c.first || slices.ContainsFunc(missing, func(s Shortage) bool { return s.Missing == name }) {
			return
		}
		reason := "no observation on or before " + h.Days[from].Format(time.DateOnly)
		if !known {
			reason = "no such security is listed"
		}
		missing = append(missing, Shortage{Missing: name, Reason: reason})
	}
	for _, l := range h.held {
		l.spans(w.Start, w.End+1, func(_ float64, from, _ int) {
			if l.kind == KindSecurity {
				report("prices:"+l.symbol, l.known, l.price, from)
			}
			report("fx:"+l.currency+"/"+h.base, true, l.rate, from)
		})
	}
	for _, f := range h.flows {
		if f.day > w.Start && f.day <= w.End {
			report("fx:"+f.line.currency+"/"+h.base, true, f.line.rate, f.day)
		}
	}
	if missing != nil {
		return missing
	}
	return nil
}

// Returns returns the daily returns of w: V_t / (V_(t-1) + CF_t) - 1, external flows counting at
// the start of the day (CFA Institute, GIPS 2020; Bacon 2008, chapter 3).
func (h *History) Returns(w Window) ([]float64, error) {
	if err := h.Missing(w); err != nil {
		return nil, err
	}
	for t := w.Start + 1; t <= w.End; t++ {
		if start := h.NAV[t-1] + h.Flows[t]; start <= 0 {
			return nil, Short("capital", "the capital at the start of %s is %.2f, a return needs a positive one",
				h.Days[t].Format(time.DateOnly), start)
		}
	}
	return h.returns[w.Start+1 : w.End+1], nil
}

// Dividends returns what a security has paid on the day of each of w's returns, in base currency at
// the day's rates; nil when it has paid nothing.
func (h *History) Dividends(symbol string, w Window) ([]float64, error) {
	i := slices.IndexFunc(h.held, func(l *holding) bool { return l.kind == KindSecurity && l.symbol == symbol })
	if i < 0 {
		return nil, nil
	}
	return h.paid(h.held[i], w)
}

// paid returns a line's dividends on the days of w's returns; nil when there are none.
func (h *History) paid(l *holding, w Window) ([]float64, error) {
	var paid []float64
	err := h.income(l, w, func(day int, value float64) {
		if paid == nil {
			paid = make([]float64, w.Len())
		}
		paid[day-w.Start-1] += value
	})
	return paid, err
}

// income calls f for each dividend of a line within w, with its day and its value in base currency.
func (h *History) income(l *holding, w Window, f func(day int, value float64)) error {
	for _, d := range l.dividends {
		if d.day <= w.Start || d.day > w.End {
			continue
		}
		if d.day < d.line.rate.first {
			return Short("fx:"+d.line.currency+"/"+h.base, "no observation on or before %s, when %s paid a dividend",
				h.Days[d.day].Format(time.DateOnly), l.symbol)
		}
		f(d.day, d.amount*d.line.rate.values[d.day])
	}
	return nil
}

// SecurityReturns returns the daily returns in base currency of any security with a price,
// whether held or not: the benchmark's, say. They are those of the price, over splits; dividends are
// not in them.
func (h *History) SecurityReturns(s Security, w Window) ([]float64, error) {
	price, rate := h.price(s.Symbol), h.rate(s.Currency)
	start := h.Days[w.Start].Format(time.DateOnly)
	if price.first > w.Start {
		return nil, Short("prices:"+s.Symbol, "no observation on or before %s", start)
	}
	if rate.first > w.Start {
		return nil, Short("fx:"+s.Currency+"/"+h.base, "no observation on or before %s", start)
	}
	r := make([]float64, w.Len())
	for i := range r {
		t := w.Start + 1 + i
		r[i] = price.values[t]*h.SplitFactor(s.Symbol, t-1, t)/price.values[t-1]*(rate.values[t]/rate.values[t-1]) - 1
	}
	return r, nil
}

// cashReturns returns the daily returns in base currency of a balance: those of its currency.
func (h *History) cashReturns(currency string, w Window) ([]float64, error) {
	rate := h.rate(currency)
	if rate.first > w.Start {
		return nil, Short("fx:"+currency+"/"+h.base, "no observation on or before %s", h.Days[w.Start].Format(time.DateOnly))
	}
	return relativeChanges(rate.values[w.Start : w.End+1]), nil
}

// MacroValues returns a macro series carried forward onto the days of w's returns.
func (h *History) MacroValues(name string, w Window) ([]float64, error) {
	c, ok := h.macros[name]
	if !ok {
		c = h.align("macro:"+name, h.market.Macro[name])
		h.macros[name] = c
	}
	if first := w.Start + 1; c.first > first {
		return nil, Short("macro:"+name, "no observation on or before %s", h.Days[first].Format(time.DateOnly))
	}
	return c.values[w.Start+1 : w.End+1], nil
}

// MoneyWeighted returns the internal rate of return of w, a year: the value at its start is paid
// in, the one at its end out.
func (h *History) MoneyWeighted(w Window) (float64, error) {
	if err := h.Missing(w); err != nil {
		return 0, err
	}
	if start := h.NAV[w.Start]; start <= 0 {
		return 0, Short("capital", "the net asset value at the start of the window, %s, is %.2f, not positive",
			h.Days[w.Start].Format(time.DateOnly), start)
	}
	return XIRR(h.cashFlows([]CashFlow{{h.Days[w.Start], -h.NAV[w.Start]}}, w))
}

// MoneyWeightedSinceInception returns the internal rate of return of everything paid in and out,
// a year.
func (h *History) MoneyWeightedSinceInception() (float64, error) {
	w, err := h.All()
	if err != nil {
		return 0, err
	}
	w.Start = -1 // the flows of the first day count
	if err := h.Missing(w); err != nil {
		return 0, err
	}
	return XIRR(h.cashFlows(nil, w))
}

// cashFlows appends the flows after w.Start up to w.End and the final value, as the investor
// sees them: a deposit is paid out of his pocket.
func (h *History) cashFlows(flows []CashFlow, w Window) []CashFlow {
	for t := w.Start + 1; t <= w.End; t++ {
		if h.Flows[t] != 0 {
			flows = append(flows, CashFlow{h.Days[t], -h.Flows[t]})
		}
	}
	return append(flows, CashFlow{h.Days[w.End], h.NAV[w.End]})
}
