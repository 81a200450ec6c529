package portfolio_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

var listed = map[string]portfolio.Security{
	"AAA": {ID: "id-aaa", Symbol: "AAA", Currency: "USD"},
	"BBB": {ID: "id-bbb", Symbol: "BBB", Currency: "CHF"},
}

func bookingDay(day int) time.Time { return time.Date(2005, time.January, day, 0, 0, 0, 0, time.UTC) }

func number(s string) decimal.Decimal {
	if s == "" {
		return decimal.Zero
	}
	return decimal.RequireFromString(s)
}

func booking(kind portfolio.Type, day int, symbol, quantity, price, currency, amount string) portfolio.Transaction {
	return portfolio.Transaction{
		Type: kind, Date: bookingDay(day), Symbol: symbol, Quantity: number(quantity),
		Price: number(price), Currency: currency, Amount: number(amount),
	}
}

func TestBookCompletes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given                        portfolio.Transaction
		currency, amount, securityID string
	}{
		"deposit":                {booking("DEPOSIT", 3, "", "", "", "CHF", "1000000"), "CHF", "1000000", ""},
		"withdrawal":             {booking("WITHDRAWAL", 3, "", "", "", "CHF", "-0.01"), "CHF", "-0.01", ""},
		"fee":                    {booking("FEE", 3, "", "", "", "EUR", "-1500"), "EUR", "-1500", ""},
		"buy, amount computed":   {booking("BUY", 3, "AAA", "600", "156.72395", "USD", ""), "USD", "-94034.37", "id-aaa"},
		"half a cent goes up":    {booking("BUY", 3, "AAA", "1", "0.125", "", ""), "USD", "-0.13", "id-aaa"},
		"below half goes down":   {booking("BUY", 3, "AAA", "1", "0.1249999", "", ""), "USD", "-0.12", "id-aaa"},
		"buy, with costs in it":  {booking("BUY", 3, "BBB", "10", "10", "", "-101.5"), "CHF", "-101.5", "id-bbb"},
		"currency pair":          {booking("FX", 3, "USD/CHF", "330000", "1.1674", "CHF", ""), "CHF", "-385242", ""},
		"pair, currency implied": {booking("FX", 3, "EUR/USD", "2", "1.5", "", ""), "USD", "-3", ""},
		"dividend":               {booking("DIVIDEND", 3, "AAA", "", "", "", "12.5"), "USD", "12.5", "id-aaa"},
		"dividend in another":    {booking("DIVIDEND", 3, "AAA", "", "", "CHF", "12.5"), "CHF", "12.5", "id-aaa"},
		"split":                  {booking("SPLIT", 3, "BBB", "0.333333333333", "", "", ""), "CHF", "0", "id-bbb"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := portfolio.Book([]portfolio.Transaction{tt.given}, nil, listed)
			require.NoError(t, err)
			require.Equal(t, tt.currency, got[0].Currency)
			require.Equal(t, tt.amount, got[0].Amount.String())
			require.Equal(t, tt.securityID, got[0].SecurityID)
			again, err := portfolio.Book(got, nil, listed)
			require.NoError(t, err)
			require.Equal(t, got, again, "a complete booking stays as it is")
		})
	}

	sale, err := portfolio.Book([]portfolio.Transaction{
		booking("BUY", 3, "AAA", "1", "1.005", "", ""), booking("SELL", 3, "AAA", "1", "1.005", "", ""),
	}, nil, listed)
	require.NoError(t, err)
	require.Equal(t, "1.01", sale[1].Amount.String())

	evening := booking("DEPOSIT", 3, "", "", "", "CHF", "1")
	evening.Date = time.Date(2005, 1, 3, 23, 30, 0, 0, time.FixedZone("", -5*3600))
	got, err := portfolio.Book([]portfolio.Transaction{evening}, nil, listed)
	require.NoError(t, err)
	require.Equal(t, bookingDay(3), got[0].Date, "the day as it was written")
}

func TestBookRefuses(t *testing.T) {
	t.Parallel()
	at := func(year int) portfolio.Transaction {
		b := booking("DEPOSIT", 3, "", "", "", "CHF", "1")
		b.Date = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		return b
	}
	tests := map[string]struct {
		given portfolio.Transaction
		want  []string // field: part of the detail
	}{
		"no type":                 {booking("", 3, "", "", "", "CHF", "1"), []string{"type: none of DEPOSIT"}},
		"unknown type":            {booking("buy", 3, "AAA", "1", "1", "USD", ""), []string{`type: "buy" is none of`}},
		"too early":               {at(1899), []string{"date: 1899-01-01 is outside 1900-01-01 to 2200-12-31"}},
		"too late":                {at(2201), []string{"date: 2201-01-01 is outside"}},
		"no date":                 {at(1), []string{"date: 0001-01-01 is outside"}},
		"deposit below zero":      {booking("DEPOSIT", 3, "", "", "", "CHF", "-1"), []string{"amount: must be above zero for DEPOSIT"}},
		"deposit of nothing":      {booking("DEPOSIT", 3, "", "", "", "CHF", ""), []string{"amount: must be above zero"}},
		"withdrawal above zero":   {booking("WITHDRAWAL", 3, "", "", "", "CHF", "1"), []string{"amount: must be below zero"}},
		"fee above zero":          {booking("FEE", 3, "", "", "", "CHF", "1"), []string{"amount: must be below zero"}},
		"fee of nothing":          {booking("FEE", 3, "", "", "", "CHF", ""), []string{"amount: must be below zero"}},
		"deposit of shares":       {booking("DEPOSIT", 3, "AAA", "1", "1", "USD", "1"), []string{"symbol: must be absent", "quantity: must be absent", "price: must be absent"}},
		"deposit, no currency":    {booking("DEPOSIT", 3, "", "", "", "", "1"), []string{`currency: "" is no currency code`}},
		"small letters":           {booking("DEPOSIT", 3, "", "", "", "chf", "1"), []string{`currency: "chf" is no currency code`}},
		"not three bytes":         {booking("DEPOSIT", 3, "", "", "", "É1", "1"), []string{`currency: "É1" is no currency code`}},
		"buy without symbol":      {booking("BUY", 3, "", "1", "1", "USD", ""), []string{"symbol: is required for BUY"}},
		"buy of nothing known":    {booking("BUY", 3, "ZZZ", "1", "1", "USD", ""), []string{`symbol: there is no security "ZZZ"`}},
		"other currency":          {booking("BUY", 3, "AAA", "1", "1", "CHF", ""), []string{`currency: is "CHF", but AAA trades in USD`}},
		"no quantity, no price":   {booking("BUY", 3, "AAA", "", "", "", ""), []string{"quantity: must be above zero", "price: must be above zero"}},
		"negative quantity":       {booking("SELL", 3, "AAA", "-1", "1", "", "1"), []string{"quantity: must be above zero"}},
		"negative price":          {booking("BUY", 3, "AAA", "1", "-1", "", "-1"), []string{"price: must be above zero"}},
		"buy brings cash":         {booking("BUY", 3, "AAA", "1", "1", "", "1"), []string{"amount: must be below zero for BUY"}},
		"sale costs cash":         {booking("SELL", 3, "AAA", "1", "1", "", "-1"), []string{"amount: must be above zero for SELL"}},
		"too small to compute":    {booking("BUY", 3, "AAA", "0.001", "1", "", ""), []string{"amount: is required"}},
		"too large to compute":    {booking("BUY", 3, "AAA", "1e17", "1e17", "", ""), []string{"amount: quantity times price has more than 18 digits"}},
		"19 digits":               {booking("DEPOSIT", 3, "", "", "", "CHF", "1234567890123456789"), []string{"amount: has too many digits"}},
		"13 decimals":             {booking("DEPOSIT", 3, "", "", "", "CHF", "0.1234567890123"), []string{"amount: has too many digits"}},
		"endless exponent":        {booking("BUY", 3, "AAA", "1e10000", "1", "", ""), []string{"quantity: has too many digits"}},
		"endless small exponent":  {booking("BUY", 3, "AAA", "1", "1e-10000", "", ""), []string{"price: has too many digits"}},
		"pair without quote":      {booking("FX", 3, "USD", "1", "1", "CHF", ""), []string{`symbol: "USD" is no currency pair`}},
		"pair of one":             {booking("FX", 3, "CHF/CHF", "1", "1", "CHF", ""), []string{`symbol: "CHF/CHF" is no currency pair`}},
		"pair of three":           {booking("FX", 3, "USD/CHF/EUR", "1", "1", "", ""), []string{"symbol: "}},
		"pair paid in the wrong":  {booking("FX", 3, "USD/CHF", "1", "1", "USD", ""), []string{`currency: is "USD", but USD/CHF is paid in CHF`}},
		"dividend of nothing":     {booking("DIVIDEND", 3, "", "", "", "CHF", "1"), []string{"symbol: is required for DIVIDEND"}},
		"unknown dividend":        {booking("DIVIDEND", 3, "ZZZ", "", "", "CHF", "1"), []string{`symbol: there is no security "ZZZ"`}},
		"dividend below zero":     {booking("DIVIDEND", 3, "AAA", "", "", "", "-1"), []string{"amount: must be above zero for DIVIDEND"}},
		"dividend a share":        {booking("DIVIDEND", 3, "AAA", "10", "0.1", "", "1"), []string{"quantity: must be absent", "price: must be absent"}},
		"dividend in a coin":      {booking("DIVIDEND", 3, "AAA", "", "", "usd", "1"), []string{`currency: "usd" is no currency code`}},
		"split without a symbol":  {booking("SPLIT", 3, "", "2", "", "", ""), []string{"symbol: is required for SPLIT"}},
		"split by nothing":        {booking("SPLIT", 3, "AAA", "", "", "", ""), []string{"quantity: must be the number of new shares for one old share, from 0.000001 to 1000000"}},
		"split below zero":        {booking("SPLIT", 3, "AAA", "-2", "", "", ""), []string{"quantity: must be the number"}},
		"split by too much":       {booking("SPLIT", 3, "AAA", "1000000.1", "", "", ""), []string{"quantity: must be the number"}},
		"split into itself":       {booking("SPLIT", 3, "AAA", "1", "", "", ""), []string{"quantity: a split of one share into one"}},
		"split for cash":          {booking("SPLIT", 3, "AAA", "2", "1", "", "5"), []string{"price: must be absent", "amount: must be absent"}},
		"split in another":        {booking("SPLIT", 3, "AAA", "2", "", "CHF", ""), []string{`currency: is "CHF", but AAA trades in USD`}},
		"reversal":                {booking("REVERSAL", 3, "AAA", "1", "1", "", "1"), []string{`type: "REVERSAL" is none of DEPOSIT`}},
		"sold without being held": {booking("SELL", 3, "AAA", "5", "1", "", ""), []string{"quantity: sells 5 AAA, but only 0 is held on 2005-01-03"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := booking("DEPOSIT", 3, "", "", "", "CHF", "1")
			got, err := portfolio.Book([]portfolio.Transaction{good, tt.given}, nil, listed)
			require.Nil(t, got)
			fields := complaintsOf(t, err)
			require.Len(t, fields, len(tt.want), "%v", fields)
			for i, want := range tt.want {
				field, detail, _ := strings.Cut(want, ": ")
				require.Equal(t, "/1/"+field, fields[i].Pointer)
				require.Contains(t, fields[i].Detail, detail)
			}
		})
	}

	_, err := portfolio.Book(nil, nil, listed)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}

func complaintsOf(t *testing.T, err error) []fault.Field {
	t.Helper()
	e, ok := errors.AsType[*fault.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, fault.Invalid, e.Code)
	require.Contains(t, e.Detail, e.Fields[0].Pointer)
	return e.Fields
}

func TestBookNamesEverythingWrong(t *testing.T) {
	t.Parallel()
	_, err := portfolio.Book([]portfolio.Transaction{
		booking("DEPOSIT", 3, "", "", "", "CHF", "-1"),
		booking("DEPOSIT", 3, "", "", "", "CHF", "1"),
		booking("BUY", 3, "AAA", "", "1", "", ""),
	}, nil, listed)
	fields := complaintsOf(t, err)
	require.Equal(t, "/0/amount", fields[0].Pointer)
	require.Equal(t, "/2/quantity", fields[1].Pointer)
	require.ErrorContains(t, err, "(and 1 more)")
}

func TestBookNeverSellsWhatIsNotHeld(t *testing.T) {
	t.Parallel()
	numbered := func(txs ...portfolio.Transaction) []portfolio.Transaction {
		for i := range txs {
			txs[i].Seq = int64(i + 1)
		}
		return txs
	}
	buy := func(day int, symbol, quantity string) portfolio.Transaction {
		return booking("BUY", day, symbol, quantity, "1", "", "-1")
	}
	sell := func(day int, symbol, quantity string) portfolio.Transaction {
		return booking("SELL", day, symbol, quantity, "1", "", "1")
	}
	split := func(day int, symbol, ratio string) portfolio.Transaction {
		return booking("SPLIT", day, symbol, ratio, "", "", "")
	}
	tests := map[string]struct {
		booked, batch []portfolio.Transaction
		pointer       string // "" when it is fine
		detail        string
	}{
		"all of it": {numbered(buy(3, "AAA", "10")), []portfolio.Transaction{sell(4, "AAA", "10")}, "", ""},
		"a trifle more": {
			numbered(buy(3, "AAA", "10")),
			[]portfolio.Transaction{sell(4, "AAA", "10.000000000001")},
			"/0/quantity", "only 10 is held on 2005-01-04",
		},
		"another security's": {
			numbered(buy(3, "AAA", "10"), buy(3, "BBB", "1")),
			[]portfolio.Transaction{sell(4, "BBB", "2")},
			"/0/quantity", "only 1 is held",
		},
		"bought in the same batch": {nil, []portfolio.Transaction{buy(3, "AAA", "1"), sell(3, "AAA", "1")}, "", ""},
		"sold first, bought later that day": {
			nil, []portfolio.Transaction{sell(3, "AAA", "1"), buy(3, "AAA", "1")}, "/0/quantity", "only 0 is held",
		},
		"batch in any order of dates": {nil, []portfolio.Transaction{sell(4, "AAA", "1"), buy(3, "AAA", "1")}, "", ""},
		"the second of two": {
			numbered(buy(3, "AAA", "10")),
			[]portfolio.Transaction{sell(5, "AAA", "6"), sell(4, "AAA", "6")},
			"/0/quantity", "only 4 is held on 2005-01-05", // the later in time, not in the batch
		},
		"a refused sale doesn't count": {
			numbered(buy(3, "AAA", "10")),
			[]portfolio.Transaction{sell(4, "AAA", "11"), sell(5, "AAA", "10")},
			"/0/quantity", "only 10",
		},
		"takes what a booked sale needed": {
			numbered(buy(3, "AAA", "10"), sell(6, "AAA", "10")),
			[]portfolio.Transaction{sell(4, "AAA", "3")},
			"/0/quantity", "leaves only 7 AAA for the sale of 10 that is booked on 2005-01-06",
		},
		"within a booked day too": {
			numbered(buy(3, "AAA", "10"), sell(6, "AAA", "10"), buy(6, "AAA", "10")),
			[]portfolio.Transaction{sell(4, "AAA", "3")},
			"/0/quantity", "leaves only 7 AAA",
		},
		"after the booked sale": {
			numbered(buy(3, "AAA", "10"), sell(6, "AAA", "7")), []portfolio.Transaction{sell(6, "AAA", "3")}, "", "",
		},
		"after a split": {
			numbered(buy(3, "AAA", "10"), split(4, "AAA", "2")), []portfolio.Transaction{sell(4, "AAA", "20")}, "", "",
		},
		"more than a split has made": {
			numbered(buy(3, "AAA", "10"), split(4, "AAA", "2")),
			[]portfolio.Transaction{sell(4, "AAA", "21")},
			"/0/quantity", "only 20 is held on 2005-01-04",
		},
		"the split comes first": {
			numbered(buy(3, "AAA", "10")), []portfolio.Transaction{sell(4, "AAA", "20"), split(4, "AAA", "2")}, "", "",
		},
		"one for three of 300 are 100": {
			numbered(buy(3, "AAA", "300")), []portfolio.Transaction{split(4, "AAA", "0.333333333333"), sell(4, "AAA", "100")}, "", "",
		},
		"a late split takes what a booked sale needed": {
			numbered(buy(3, "AAA", "10"), sell(6, "AAA", "6")),
			[]portfolio.Transaction{split(5, "AAA", "0.5")},
			"/0/quantity", "leaves only 5 AAA for the sale of 6 that is booked on 2005-01-06",
		},
		"a split of what is not held": {nil, []portfolio.Transaction{split(5, "AAA", "0.5")}, "", ""},
		"splits without end": {
			numbered(buy(3, "AAA", "1000000")),
			[]portfolio.Transaction{split(5, "AAA", "1000000"), split(6, "AAA", "1000000")},
			"/1/quantity", "makes the holding of AAA larger than 18 digits",
		},
		"a late purchase helps": {
			numbered(buy(3, "AAA", "10"), sell(6, "AAA", "10")),
			[]portfolio.Transaction{buy(5, "AAA", "3"), sell(5, "AAA", "3")},
			"", "",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := portfolio.Book(tt.batch, tt.booked, listed)
			if tt.pointer == "" {
				require.NoError(t, err)
				return
			}
			fields := complaintsOf(t, err)
			require.Len(t, fields, 1)
			require.Equal(t, tt.pointer, fields[0].Pointer)
			require.Contains(t, fields[0].Detail, tt.detail)
		})
	}
}

// TestBookAgainstModel books and reverses at random and checks after each that nobody ever held less
// than nothing, and that what was refused would have led there.
func TestBookAgainstModel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	short := func(txs []portfolio.Transaction) bool {
		txs = slices.Clone(txs)
		first := func(tx portfolio.Transaction) int {
			if tx.Type == portfolio.Split {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(txs, func(a, b portfolio.Transaction) int {
			if c := a.Date.Compare(b.Date); c != 0 {
				return c
			}
			return first(a) - first(b)
		})
		held := map[string]decimal.Decimal{}
		for _, tx := range txs {
			switch tx.Type {
			case portfolio.Buy:
				held[tx.Symbol] = held[tx.Symbol].Add(tx.Quantity)
			case portfolio.Sell:
				held[tx.Symbol] = held[tx.Symbol].Sub(tx.Quantity)
			default:
				held[tx.Symbol] = held[tx.Symbol].Mul(tx.Quantity)
			}
			if held[tx.Symbol].IsNegative() {
				return true
			}
		}
		return false
	}
	outcomes := map[string]int{}
	for range 50 {
		var booked []portfolio.Transaction
		for n := range 60 {
			if len(booked) > 0 && rng.IntN(4) == 0 {
				i := rng.IntN(len(booked))
				without := slices.Delete(slices.Clone(booked), i, i+1)
				_, err := portfolio.Reverse(booked[i], booked)
				require.Equal(t, short(without), err != nil)
				if outcomes[fmt.Sprintf("reversed: %t", err == nil)]++; err == nil {
					booked = without
				}
				continue
			}
			var batch []portfolio.Transaction
			for range 1 + rng.IntN(4) {
				kind := []portfolio.Type{portfolio.Buy, portfolio.Buy, portfolio.Sell, portfolio.Sell, portfolio.Split}[rng.IntN(5)]
				tx := booking(kind, 1+rng.IntN(20), []string{"AAA", "BBB"}[rng.IntN(2)], "", "1", "", "")
				tx.Quantity = decimal.New(1+rng.Int64N(100), -1)
				if kind == portfolio.Split { // powers of two stay exact
					tx.Quantity, tx.Price = number([]string{"2", "0.5"}[rng.IntN(2)]), decimal.Zero
				}
				batch = append(batch, tx)
			}
			done, err := portfolio.Book(batch, booked, listed)
			require.Equal(t, short(append(slices.Clone(booked), batch...)), err != nil)
			if outcomes[fmt.Sprintf("booked: %t", err == nil)]++; err != nil {
				continue
			}
			for i, tx := range done {
				tx.Seq, tx.ID = int64(10*n+i+1), fmt.Sprint(10*n+i+1)
				booked = append(booked, tx)
			}
		}
		h, err := portfolio.HoldingsAt(byDate(booked), listed, bookingDay(31))
		require.NoError(t, err)
		for _, p := range h.Positions {
			require.True(t, p.Quantity().IsPositive())
		}
	}
	require.Len(t, outcomes, 4, "%v", outcomes)
}

func byDate(txs []portfolio.Transaction) []portfolio.Transaction {
	txs = slices.Clone(txs)
	slices.SortStableFunc(txs, func(a, b portfolio.Transaction) int { return a.Date.Compare(b.Date) })
	return txs
}

func TestOpen(t *testing.T) {
	t.Parallel()
	good := portfolio.Portfolio{ID: "1", Name: "Mine", BaseCurrency: "CHF", Benchmark: "AAA"}
	tests := map[string]struct {
		change   func(*portfolio.Portfolio)
		calendar string
		pointers []string
	}{
		"default calendar": {func(*portfolio.Portfolio) {}, "BBB", nil},
		"average cost":     {func(p *portfolio.Portfolio) { p.CostMethod = "average" }, "BBB", nil},
		"no such method":   {func(p *portfolio.Portfolio) { p.CostMethod = "lifo" }, "BBB", []string{"/cost_method"}},
		"own calendar":     {func(p *portfolio.Portfolio) { p.Calendar = "AAA" }, "", nil},
		"no benchmark":     {func(p *portfolio.Portfolio) { p.Benchmark = "" }, "BBB", nil},
		"no calendar":      {func(*portfolio.Portfolio) {}, "", []string{"/calendar"}},
		"unknown default":  {func(*portfolio.Portfolio) {}, "ZZZ", []string{"/calendar"}},
		"long name":        {func(p *portfolio.Portfolio) { p.Name = strings.Repeat("ä", 201) }, "BBB", []string{"/name"}},
		"longest name":     {func(p *portfolio.Portfolio) { p.Name = strings.Repeat("ä", 200) }, "BBB", nil},
		"line break":       {func(p *portfolio.Portfolio) { p.Name = "a\nb" }, "BBB", []string{"/name"}},
		"no text":          {func(p *portfolio.Portfolio) { p.Name = "\xff" }, "BBB", []string{"/name"}},
		"all wrong": {
			func(p *portfolio.Portfolio) { *p = portfolio.Portfolio{Benchmark: "ZZZ"} }, "",
			[]string{"/name", "/base_currency", "/benchmark", "/calendar"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := good
			tt.change(&p)
			got, err := portfolio.Open(p, tt.calendar, listed)
			if tt.pointers == nil {
				require.NoError(t, err)
				require.Equal(t, portfolio.Genesis(got), got.LedgerVersion)
				require.NotEmpty(t, got.Calendar)
				require.NotEmpty(t, got.CostMethod)
				return
			}
			var pointers []string
			for _, f := range complaintsOf(t, err) {
				pointers = append(pointers, f.Pointer)
			}
			require.Equal(t, tt.pointers, pointers)
		})
	}
}
