package portfolio

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Genesis returns the ledger version of a portfolio without transactions. It covers what the
// portfolio's results depend on besides bookings.
func Genesis(p Portfolio) string {
	parts := []string{"dawsos-ledger-v1", p.ID, p.BaseCurrency, p.Benchmark, p.Calendar}
	if p.CostMethod != "" && p.CostMethod != FIFO { // the default came first, and keeps its versions
		parts = append(parts, string(p.CostMethod))
	}
	return digest(parts...)
}

// Chain returns the ledger version after booking t on top of version prev. Equal versions mean
// equal ledgers; numbers are hashed in shortest form, so 1.50 and 1.5 are the same booking.
func Chain(prev string, t Transaction) string {
	parts := []string{
		prev, strconv.FormatInt(t.Seq, 10), t.Date.Format(time.DateOnly), string(t.Type),
		t.Symbol, t.SecurityID, t.Quantity.String(), t.Price.String(), t.Currency, t.Amount.String(),
	}
	if t.Reverses != "" {
		parts = append(parts, t.Reverses)
	}
	return digest(parts...)
}

// digest hashes parts with their lengths, so that no two lists of parts collide by shifting
// characters from one to the next.
func digest(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(strconv.Itoa(len(p)))
		b.WriteByte(':')
		b.WriteString(p)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}
