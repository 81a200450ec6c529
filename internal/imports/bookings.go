package imports

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// MostBookings is how many transactions are booked at once.
const MostBookings = 1000

// booking is the schema of transactions. What they may be is for [portfolio.Book] to say, here they are
// only read.
var booking = &schema{columns: []column{
	{name: "date", check: anyDay},
	{name: "type", check: text(mostText)},
	{name: "symbol", optional: true, empty: true, check: symbol},
	{name: "quantity", optional: true, empty: true, number: true, check: exact},
	{name: "price", optional: true, empty: true, number: true, check: exact},
	{name: "currency", optional: true, empty: true, check: currency},
	{name: "amount", optional: true, empty: true, number: true, check: exact},
}}

func anyDay(s string) (string, string) {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return "", "must be a day, YYYY-MM-DD"
	}
	return s, ""
}

// exact accepts a number as it is written.
func exact(s string) (string, string) {
	if _, ok := parseDecimal(s); !ok {
		return "", "must be a decimal number of at most 18 digits before and 12 behind the point"
	}
	return s, ""
}

// Bookings are transactions to be booked, as a CSV file has them.
type Bookings struct {
	Transactions []portfolio.Transaction // in the file's order; an empty field is a zero value
	lines        []int64                 // of the file, by transaction
}

// ReadBookings reads CSV with a header row that names the columns, in any order: date and type, and
// those of symbol, quantity, price, currency and amount that there is something in. It fails with a
// fault: a [RefusedError] that lists what is wrong with rows, or what is wrong with the file. Whether
// the transactions make sense is not looked at.
func ReadBookings(body io.Reader) (Bookings, error) {
	source, err := newSource(booking, CSV, body)
	if err != nil {
		return Bookings{}, bodyError(err)
	}
	rows := &Rows{schema: booking, source: source, row: row{schema: booking, cells: make([]cell, len(booking.columns))}}
	var b Bookings
	for {
		fine, err := rows.next()
		switch {
		case errors.Is(err, io.EOF):
			if rows.findings.Total > 0 {
				return Bookings{}, newRefused("booked", CSV, rows.findings)
			}
			return b, nil
		case err != nil:
			return Bookings{}, bodyError(err)
		case rows.count > MostBookings:
			return Bookings{}, fault.New(fault.Invalid, "nothing was booked: there are more than %d transactions in the body, send them in parts", MostBookings)
		case fine:
			b.Transactions, b.lines = append(b.Transactions, rows.row.booking()), append(b.lines, rows.row.number)
		}
	}
}

// booking returns a row that was checked as a transaction.
func (r *row) booking() portfolio.Transaction {
	date, _ := time.Parse(time.DateOnly, r.text("date"))
	t := portfolio.Transaction{
		Date: date, Type: portfolio.Type(r.text("type")), Symbol: r.text("symbol"), Currency: r.text("currency"),
	}
	t.Quantity, _ = decimal.NewFromString(r.text("quantity")) // an empty text is zero
	t.Price, _ = decimal.NewFromString(r.text("price"))
	t.Amount, _ = decimal.NewFromString(r.text("amount"))
	return t
}

// Refused turns an error of booking all the transactions into one that names the lines of the file: a
// [RefusedError], when it is about transactions. Other errors are returned as they are.
func (b Bookings) Refused(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Code != fault.Invalid || len(e.Fields) == 0 {
		return err
	}
	var findings Findings
	bad := map[int]bool{}
	for _, f := range e.Fields {
		index, name, _ := strings.Cut(strings.TrimPrefix(f.Pointer, "/"), "/")
		i, parseErr := strconv.Atoi(index)
		if parseErr != nil || i < 0 || i >= len(b.lines) {
			return err
		}
		bad[i] = true
		findings.add(Problem{Row: b.lines[i], Column: name, Detail: f.Detail})
	}
	findings.Rows = int64(len(bad))
	return newRefused("booked", CSV, findings)
}
