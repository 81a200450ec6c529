package imports

import (
	"bytes"
	"encoding/csv"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

const demoBookings = "../../configs/sample/demo_transactions.csv"

func TestReadBookings(t *testing.T) {
	t.Parallel()
	b, err := ReadBookings(strings.NewReader("\uFEFFtype,date,amount,symbol,quantity,price\r\nBUY,2005-01-04,,SBI,2500,101.560\r\n\r\nDEPOSIT,2005-01-03,1e3,,,\r\n"))
	require.NoError(t, err)
	require.Equal(t, []portfolio.Transaction{
		{
			Type: portfolio.Buy, Date: time.Date(2005, 1, 4, 0, 0, 0, 0, time.UTC), Symbol: "SBI",
			Quantity: decimal.RequireFromString("2500"), Price: decimal.RequireFromString("101.560"),
		},
		{Type: portfolio.Deposit, Date: time.Date(2005, 1, 3, 0, 0, 0, 0, time.UTC), Amount: decimal.RequireFromString("1e3")},
	}, b.Transactions)
	require.Equal(t, []int64{2, 4}, b.lines)
}

func TestReadBookingsOfTheSample(t *testing.T) {
	t.Parallel()
	f, err := os.Open(demoBookings)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	b, err := ReadBookings(f)
	require.NoError(t, err)
	require.Len(t, b.Transactions, 23)
	require.Equal(t, "-94034.37", b.Transactions[8].Amount.String())
}

func TestReadBookingsThatEnd(t *testing.T) {
	t.Parallel()
	const head = "date,type\n"
	_, err := ReadBookings(strings.NewReader(head + strings.Repeat("2005-01-04,FEE\n", MostBookings)))
	require.NoError(t, err)
	_, err = ReadBookings(strings.NewReader(head + strings.Repeat("x,FEE\n", MostBookings+1)))
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "more than 1000 transactions")
	for _, text := range []string{"", head, head + "2005-01-04,FEE\n2005"} {
		_, err = ReadBookings(iotest.DataErrReader(struct{ *failing }{&failing{strings.NewReader(text)}}))
		require.Equal(t, fault.Malformed, fault.CodeOf(err), "%q", text)
	}
	var tail endless
	_, err = ReadBookings(&tail)
	require.Equal(t, fault.Malformed, fault.CodeOf(err))
	require.Less(t, tail.read, 4*mostRow)
}

// failing is a body that breaks off.
type failing struct{ *strings.Reader }

func (f *failing) Read(p []byte) (int, error) {
	if n, err := f.Reader.Read(p); err == nil {
		return n, nil
	}
	return 0, errors.New("reset")
}

// Errors of booking name lines; others stay what they are.
func TestBookingsRefused(t *testing.T) {
	t.Parallel()
	b, err := ReadBookings(strings.NewReader("date,type,amount,currency\n2005-01-03,DEPOSIT,1,CHF\n\n2005-01-03,DEPOSIT,-1,CHF\n2005-01-03,GIFT,1,\n"))
	require.NoError(t, err)
	_, err = portfolio.Book(b.Transactions, nil, nil)
	require.Error(t, err)
	refused := &RefusedError{}
	require.ErrorAs(t, b.Refused(err), &refused)
	require.Equal(t, []Problem{
		{4, "amount", "must be above zero for DEPOSIT"},
		{5, "type", `"GIFT" is none of DEPOSIT, WITHDRAWAL, BUY, SELL, FX, FEE, DIVIDEND, SPLIT`},
	}, refused.First)
	require.Equal(t, "nothing was booked: 2 problems in 2 rows", refused.Error())
	require.NoError(t, b.Refused(nil))
	for _, other := range []error{
		errors.New("x"), fault.New(fault.NotFound, "x"), fault.New(fault.Invalid, "x"), fault.InvalidField("", "x"),
		fault.InvalidField("/header/Idempotency-Key", "x"), fault.InvalidField("/3/date", "x"), fault.InvalidField("/-1/date", "x"),
	} {
		require.Equal(t, other, b.Refused(other))
	}
}

// FuzzReadBookings: what is read, written again in the same columns, is read as the same; what is
// refused is so with a code and in valid text.
func FuzzReadBookings(f *testing.F) {
	text, err := os.ReadFile(demoBookings)
	require.NoError(f, err)
	f.Add(text)
	header, _, _ := strings.Cut(string(text), "\n")
	f.Add([]byte(header + "\n2005-01-03,DEPOSIT,,,,CHF,1e3\n"))
	f.Add([]byte(header + "\n2005-01-03,\"a\nb\",\"x,y\",-0.5,,\"\"\"\",\n"))
	f.Add([]byte("\uFEFFtype,date,price\r\nFX,9999-12-31,1e-20\r\n\"\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := ReadBookings(bytes.NewReader(text))
		if err != nil {
			require.NotEqual(t, fault.Internal, fault.CodeOf(err))
			return
		}
		require.LessOrEqual(t, len(first.Transactions), MostBookings)
		require.Len(t, first.lines, len(first.Transactions))
		var again bytes.Buffer
		out := csv.NewWriter(&again)
		require.NoError(t, out.Write(strings.Split(header, ",")))
		for _, tx := range first.Transactions {
			require.NoError(t, out.Write([]string{
				tx.Date.Format(time.DateOnly), string(tx.Type), tx.Symbol, tx.Quantity.String(), tx.Price.String(),
				tx.Currency, tx.Amount.String(),
			}))
		}
		out.Flush()
		second, err := ReadBookings(&again)
		require.NoError(t, err)
		require.Len(t, second.Transactions, len(first.Transactions))
		for i := range first.Transactions {
			require.Equal(t, portfolio.Chain("", first.Transactions[i]), portfolio.Chain("", second.Transactions[i]))
		}
	})
}
