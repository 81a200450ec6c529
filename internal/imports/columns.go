package imports

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"
)

// column is one field that the rows of a kind have.
type column struct {
	name string
	// optional columns need not be there; rows without one leave what is stored as it is, or have its
	// default.
	optional bool
	empty    bool // may be empty, or null in JSON
	list     bool // is an array in JSON, and separated by ";" in CSV
	number   bool // may be a number in JSON, and not only a string
	// check returns a text in the form in which it is stored, or what is wrong with it. Empty texts are
	// not asked about.
	check func(text string) (canonical, problem string)

	staged string // its name in the staging table: "" for its own, "-" when it is not there
	null   bool   // empty is NULL there, and not an empty text
	symbol bool   // a listed security's; staged as its id
}

// schema is what the rows of a kind are like.
type schema struct {
	columns []column
	ignored []string // columns that sample files have for their readers
	key     []string // columns that tell rows apart
	// given are boolean columns of the staging table: whether a row says anything on some columns, be it
	// that there is nothing.
	given []given
	// rows checks columns of a row, all of them fine by themselves, against each other.
	rows func(r *row) (column, problem string)
	date string // column of the row's date; "" when it has none
	past bool   // rows are of what has been: none is dated after [Reference.Latest]
	id   bool   // the staging table starts with the id that a security gets when it is new
}

type given struct {
	staged  string
	columns []string
}

// Limits of what rows may say.
const (
	mostText   = 200  // characters of names
	mostTitle  = 1000 // characters
	mostURL    = 2048 // bytes
	mostSymbol = 50   // bytes, as in bookings
	mostList   = 100  // symbols of a news item
	mostNumber = 64   // bytes
)

// Dates lie within these days: the first stock prices are younger, and what is later is a slip.
const (
	firstDate = "1800-01-01"
	lastDate  = "2199-12-31"
)

var schemas = map[Kind]*schema{
	Securities: {
		columns: []column{
			{name: "symbol", check: symbol},
			{name: "name", check: text(mostText)},
			{name: "asset_class", check: text(mostText)},
			{name: "sector", empty: true, check: text(mostText)},
			{name: "currency", check: currency},
			{name: "role", check: oneOf("holding", "benchmark")},
			{name: "duration", optional: true, empty: true, number: true, null: true, check: notNegative},
			{name: "convexity", optional: true, empty: true, number: true, null: true, check: anyDecimal},
		},
		ignored: []string{"first_date", "last_date"},
		key:     []string{"symbol"},
		given:   []given{{"duration_given", []string{"duration"}}, {"convexity_given", []string{"convexity"}}},
		id:      true,
	},
	Prices: {
		columns: []column{
			{name: "symbol", check: symbol, staged: "security_id", symbol: true},
			{name: "date", check: day},
			{name: "close", number: true, check: positive},
			{name: "currency", check: currency, staged: "-"},
			{name: "open", optional: true, empty: true, number: true, null: true, check: positive},
			{name: "high", optional: true, empty: true, number: true, null: true, check: positive},
			{name: "low", optional: true, empty: true, number: true, null: true, check: positive},
			{name: "volume", optional: true, empty: true, number: true, null: true, check: notNegative},
		},
		key:   []string{"symbol", "date"},
		given: []given{{"bar", []string{"open", "high", "low", "volume"}}},
		rows:  bar,
		date:  "date",
		past:  true,
	},
	FX: {
		columns: []column{
			{name: "date", check: day},
			{name: "base", check: currency},
			{name: "quote", check: currency},
			{name: "rate", number: true, check: positive},
		},
		key: []string{"date", "base", "quote"},
		rows: func(r *row) (column, problem string) {
			if r.text("base") == r.text("quote") {
				return "quote", "must be another currency than the base"
			}
			return "", ""
		},
		date: "date",
		past: true,
	},
	// Macro series may be of periods that are not over yet, and of projections: a run sees none before its date.
	Macro: {
		columns: []column{
			{name: "series", check: text(mostText)},
			{name: "date", check: day},
			{name: "value", number: true, check: float(math.Inf(-1), math.Inf(1))},
			{name: "unit", optional: true, empty: true, null: true, check: text(mostText)},
			{name: "frequency", optional: true, empty: true, null: true, check: oneOf("daily", "weekly", "monthly", "quarterly", "annual")},
			{name: "origin", optional: true, empty: true, null: true, check: text(mostText)},
		},
		key:  []string{"series", "date"},
		date: "date",
	},
	Ratings: {
		columns: []column{
			{name: "symbol", check: symbol, staged: "security_id", symbol: true},
			{name: "metric", check: oneOf("quality_score", "moat_score", "balance_sheet_score", "management_score",
				"valuation_score", "dividend_safety", "overall_rating")},
			{name: "date", check: day},
			{name: "score", number: true, check: score},
			{name: "source", empty: true, check: text(mostText)},
		},
		key:  []string{"symbol", "metric", "date"},
		date: "date",
	},
	Fundamentals: {
		columns: []column{
			{name: "symbol", check: symbol, staged: "security_id", symbol: true},
			{name: "provider", check: text(mostText)},
			{name: "metric", check: text(mostText)},
			{name: "date", check: day},
			{name: "period_end", empty: true, null: true, check: day},
			{name: "value", number: true, check: float(math.Inf(-1), math.Inf(1))},
		},
		key: []string{"symbol", "provider", "metric", "date"},
		rows: func(r *row) (column, problem string) {
			if r.text("period_end") > r.text("date") {
				return "period_end", "must not be later than date, the day from which the figure is known"
			}
			return "", ""
		},
		date: "date",
	},
	News: {
		columns: []column{
			{name: "id", check: text(mostText)},
			{name: "published_at", check: moment},
			{name: "title", check: text(mostTitle)},
			{name: "source", empty: true, check: text(mostText)},
			{name: "url", optional: true, empty: true, check: link},
			{name: "sentiment", optional: true, empty: true, number: true, null: true, check: float(-1, 1)},
			{name: "symbols", empty: true, list: true, check: symbols},
		},
		key:  []string{"id"},
		date: "published_at",
	},
}

func (s *schema) index(name string) int {
	return slices.IndexFunc(s.columns, func(c column) bool { return c.name == name })
}

func (s *schema) names() string {
	names := make([]string, len(s.columns))
	for i, c := range s.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// Columns returns the columns of a kind's staging table, in the order in which [Rows] writes them. The
// last is "line", the number of the row.
func Columns(k Kind) []string {
	s := schemas[k]
	var names []string
	if s.id {
		names = append(names, "id")
	}
	for _, c := range s.columns {
		if c.staged != "-" {
			names = append(names, c.column())
		}
	}
	for _, g := range s.given {
		names = append(names, g.staged)
	}
	return append(names, "line")
}

// Field is a column that files of a kind have.
type Field struct {
	Name     string
	Optional bool // it need not be there
	Empty    bool // it may be empty, or null in JSON
	Key      bool // one of those that tell rows apart
	List     bool // an array in JSON, and separated by ";" in CSV
}

// Fields returns the columns of files of a kind, nil of a kind that there is not.
func Fields(k Kind) []Field {
	s, ok := schemas[k]
	if !ok {
		return nil
	}
	return fieldsOf(s)
}

// BookingFields returns the columns of files of transactions.
func BookingFields() []Field { return fieldsOf(booking) }

func fieldsOf(s *schema) []Field {
	fields := make([]Field, len(s.columns))
	for i, c := range s.columns {
		fields[i] = Field{Name: c.name, Optional: c.optional, Empty: c.empty, Key: slices.Contains(s.key, c.name), List: c.list}
	}
	return fields
}

func (c column) column() string {
	if c.staged == "" {
		return c.name
	}
	return c.staged
}

// Key returns what tells the rows of a kind apart: columns of the file, and the columns of the staging
// table that stand for them.
func Key(k Kind) (columns, staged []string) {
	s := schemas[k]
	for _, name := range s.key {
		columns = append(columns, name)
		staged = append(staged, s.columns[s.index(name)].column())
	}
	return columns, staged
}

func oneOf(values ...string) func(string) (string, string) {
	allowed := "must be one of " + strings.Join(values, ", ")
	return func(s string) (string, string) {
		if !slices.Contains(values, s) {
			return "", allowed
		}
		return s, ""
	}
}

func text(most int) func(string) (string, string) {
	tooLong := "must have at most " + strconv.Itoa(most) + " characters"
	return func(s string) (string, string) {
		switch {
		case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
			return "", "must be valid UTF-8 without NUL characters"
		case len(s) > most && utf8.RuneCountInString(s) > most:
			return "", tooLong
		case strings.TrimSpace(s) != s:
			return "", "must not start or end with spaces"
		}
		return s, ""
	}
}

// symbol accepts visible ASCII but for what separates and quotes symbols.
func symbol(s string) (string, string) {
	if len(s) > mostSymbol {
		return "", "must have at most " + strconv.Itoa(mostSymbol) + " characters"
	}
	for i := range len(s) {
		if b := s[i]; b <= ' ' || b > '~' || b == ';' || b == ',' || b == '"' || b == '\\' {
			return "", "must be visible ASCII characters without spaces, commas, semicolons, quotes and backslashes"
		}
	}
	return s, ""
}

// symbols returns the symbols of a list in order, each once.
func symbols(s string) (string, string) {
	list := strings.Split(s, ";")
	if len(list) > mostList {
		return "", "must be at most " + strconv.Itoa(mostList) + " symbols"
	}
	for _, one := range list {
		if one == "" {
			return "", "must not hold an empty symbol"
		}
		if _, problem := symbol(one); problem != "" {
			return "", "each symbol " + problem
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ";"), ""
}

func currency(s string) (string, string) {
	if len(s) == 3 && 'A' <= s[0] && s[0] <= 'Z' && 'A' <= s[1] && s[1] <= 'Z' && 'A' <= s[2] && s[2] <= 'Z' {
		return s, ""
	}
	return "", "must be an ISO 4217 code such as CHF"
}

func link(s string) (string, string) {
	u, err := url.Parse(s)
	if err != nil || len(s) > mostURL || !utf8.ValidString(s) || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", "must be an http or https address of at most " + strconv.Itoa(mostURL) + " bytes"
	}
	return s, ""
}

func day(s string) (string, string) {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return "", "must be a day, YYYY-MM-DD"
	}
	if s < firstDate || s > lastDate {
		return "", "must lie between " + firstDate + " and " + lastDate
	}
	return s, ""
}

// moment returns a time in UTC, to the microsecond, which is what PostgreSQL keeps.
func moment(s string) (string, string) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return "", "must be a time with its offset, such as 2026-03-02T09:30:00Z (RFC 3339)"
	}
	t = t.UTC().Truncate(time.Microsecond)
	if d := t.Format(time.DateOnly); len(d) != len(firstDate) || d < firstDate || d > lastDate {
		return "", "must lie between " + firstDate + " and " + lastDate
	}
	return t.Format(time.RFC3339Nano), ""
}

// numeric reports whether s is made of what plain numbers are: it keeps out NaN, Infinity, hexadecimal
// and everything else that parsers are generous about.
func numeric(s string) bool {
	for i := range len(s) {
		if b := s[i]; (b < '0' || b > '9') && b != '.' && b != '-' && b != '+' && b != 'e' && b != 'E' {
			return false
		}
	}
	return len(s) <= mostNumber
}

// Digits that a decimal may have on each side of its point.
const mostDigits = 20

// plain reports whether s is digits, with more digits behind a point if there is one, and whether it
// is more than zero: what nearly every price is, which then needs no parsing.
func plain(s string) (ok, aboveZero bool) {
	digits := 0
	point := false
	for i := range len(s) {
		switch b := s[i]; {
		case b == '.' && !point && digits > 0:
			point, digits = true, 0
		case '0' <= b && b <= '9' && digits < mostDigits:
			digits++
			aboveZero = aboveZero || b != '0'
		default:
			return false, false
		}
	}
	return digits > 0, aboveZero
}

const (
	notDecimal = "must be a decimal number of at most 20 digits before and 20 behind the point"
	notMore    = "must be more than 0"
	notLess    = "must not be negative"
)

func parseDecimal(s string) (decimal.Decimal, bool) {
	if !numeric(s) {
		return decimal.Decimal{}, false
	}
	d, err := decimal.NewFromString(s)
	if err != nil || d.Exponent() < -mostDigits || d.NumDigits()+int(d.Exponent()) > mostDigits {
		return decimal.Decimal{}, false
	}
	return d, true
}

func positive(s string) (string, string) {
	if ok, aboveZero := plain(s); ok && aboveZero {
		return s, ""
	}
	d, ok := parseDecimal(s)
	switch {
	case !ok:
		return "", notDecimal
	case d.Sign() <= 0:
		return "", notMore
	}
	return d.String(), ""
}

func notNegative(s string) (string, string) {
	d, ok := parseDecimal(s)
	switch {
	case !ok:
		return "", notDecimal
	case d.Sign() < 0:
		return "", notLess
	}
	return d.String(), ""
}

func anyDecimal(s string) (string, string) {
	d, ok := parseDecimal(s)
	if !ok {
		return "", notDecimal
	}
	return d.String(), ""
}

var ten = decimal.New(10, 0)

func score(s string) (string, string) {
	d, ok := parseDecimal(s)
	if !ok || d.Sign() < 0 || d.GreaterThan(ten) {
		return "", "must be a decimal number from 0 to 10"
	}
	return d.String(), ""
}

func float(least, most float64) func(string) (string, string) {
	allowed := "must be a finite number"
	if !math.IsInf(least, 0) {
		allowed = "must be a number from " + strconv.FormatFloat(least, 'g', -1, 64) + " to " + strconv.FormatFloat(most, 'g', -1, 64)
	}
	return func(s string) (string, string) {
		if !numeric(s) {
			return "", allowed
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(v, 0) || v < least || v > most {
			return "", allowed
		}
		if v == 0 {
			v = 0 // not minus zero
		}
		return strconv.FormatFloat(v, 'g', -1, 64), ""
	}
}

// bar checks that the prices of a day fit together.
func bar(r *row) (column, problem string) {
	low, high := r.text("low"), r.text("high")
	if low == "" && high == "" {
		return "", ""
	}
	parse := func(name string) (decimal.Decimal, bool) {
		text := r.text(name)
		d, _ := parseDecimal(text)
		return d, text != ""
	}
	least, hasLeast := parse("low")
	most, hasMost := parse("high")
	if hasLeast && hasMost && least.GreaterThan(most) {
		return "low", "must not be above high"
	}
	for _, name := range []string{"open", "close"} {
		v, ok := parse(name)
		if ok && (hasLeast && v.LessThan(least) || hasMost && v.GreaterThan(most)) {
			return name, "must lie between low and high"
		}
	}
	return "", ""
}
