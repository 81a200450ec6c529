package sample

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

const bookingsFile = "demo_transactions.csv"

var bookingColumns = []string{"date", "type", "symbol", "quantity", "price", "currency", "amount"}

// bookings are the transactions of a file, and the line of each.
type bookings struct {
	txs   []portfolio.Transaction
	lines []int
}

// readBookings reads the demo ledger from dir.
func readBookings(dir string) (bookings, error) {
	f, err := os.Open(filepath.Join(dir, bookingsFile))
	if err != nil {
		return bookings{}, err
	}
	defer f.Close() // read only: nothing can be lost
	b, err := parseBookings(f)
	if err != nil {
		return bookings{}, fmt.Errorf("%s, %w", bookingsFile, err)
	}
	return b, nil
}

// refused says which line the booking code did not like, and why.
func (b bookings) refused(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || len(e.Fields) == 0 {
		return fmt.Errorf("%s: %w", bookingsFile, err)
	}
	var index int
	if _, scanErr := fmt.Sscanf(e.Fields[0].Pointer, "/%d/", &index); scanErr != nil || index >= len(b.lines) {
		return fmt.Errorf("%s: %w", bookingsFile, err)
	}
	return fmt.Errorf("%s, line %d: %w", bookingsFile, b.lines[index], err)
}

// parseBookings reads bookings as CSV. Whether they make sense is for the booking code to say; an
// empty field is a number or a text that the booking does not have. Errors name the line.
func parseBookings(r io.Reader) (bookings, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = len(bookingColumns)
	var b bookings
	for header := true; ; header = false {
		record, err := in.Read()
		if errors.Is(err, io.EOF) && !header {
			return b, nil
		}
		if e, ok := errors.AsType[*csv.ParseError](err); ok {
			return bookings{}, fmt.Errorf("line %d: %w", e.Line, e.Err)
		}
		if err != nil {
			return bookings{}, err
		}
		line, _ := in.FieldPos(0)
		if header {
			if !slices.Equal(record, bookingColumns) {
				return bookings{}, fmt.Errorf("line %d: the columns are %q, not %q", line, record, bookingColumns)
			}
			continue
		}
		t, err := parseBooking(record)
		if err != nil {
			return bookings{}, fmt.Errorf("line %d, %w", line, err)
		}
		t.ID = stableID("transaction", portfolioName+"/"+strconv.Itoa(len(b.txs)+1)).String()
		b.txs, b.lines = append(b.txs, t), append(b.lines, line)
	}
}

func parseBooking(record []string) (portfolio.Transaction, error) {
	t := portfolio.Transaction{
		Type: portfolio.Type(record[1]), Symbol: record[2], Currency: record[5],
	}
	var err error
	if t.Date, err = time.Parse(time.DateOnly, record[0]); err != nil {
		return t, fmt.Errorf("column date: %q is no date such as 2005-01-31", record[0])
	}
	for _, n := range []struct {
		column int
		number *decimal.Decimal
	}{{3, &t.Quantity}, {4, &t.Price}, {6, &t.Amount}} {
		if record[n.column] == "" {
			continue
		}
		if *n.number, err = decimal.NewFromString(record[n.column]); err != nil {
			return t, fmt.Errorf("column %s: %q is no number", bookingColumns[n.column], record[n.column])
		}
	}
	return t, nil
}
