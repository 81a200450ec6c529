package packs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/portfolio"
)

const (
	// toleranceBP is by how many basis points of the net asset value two valuations of the same holdings at
	// the same prices may differ: one is exact, the other is in binary floating point and over the whole
	// past, and what is more than rounding is a defect or damaged data.
	toleranceBP = 1
	// maxNamed bounds how many portfolios a pack's reason names.
	maxNamed = 5
)

// leastTolerance is the difference below which amounts are equal, in units of the base currency: a
// portfolio that is worth nothing has no basis points.
var leastTolerance = decimal.New(1, -2)

// Verdict is what a reconciliation came to for one pack.
type Verdict struct {
	Pack   Pack
	Reason string // why it must not be used; "" when every portfolio reconciles
}

// Reconciled is what a reconciliation came to.
type Reconciled struct {
	Verdicts []Verdict `json:"-"` // in the order of the packs

	Portfolios int `json:"portfolios"`
	Packs      int `json:"packs"`
	Valuations int `json:"valuations"` // pairs of a portfolio and a pack that were valued in both ways
	Failed     int `json:"failed"`     // packs
	// Unvalued are pairs in which a price or a rate is missing. That is reported, and no error: the
	// portfolio's own answers say so too.
	Unvalued int      `json:"unvalued"`
	Examples []string `json:"examples,omitempty"` // of those
}

// Reconcile values every portfolio of a tenant at each of the packs in two ways that share nothing but the
// rows they start from: lots and cash booked from the ledger, in decimals, at the quotes of the pack; and
// the net asset value of the portfolio's History, in floating point, booked and priced day by day. A pack
// at which they differ by more than a basis point of the value (and a hundredth of the base currency) fails,
// and so do all when the hash chain of a ledger does not lead to the version it claims.
//
// The packs must be of one tenant and of one revision, in order of date; the tenant's calendar, whose
// days they are of, is the one that portfolios are valued by here. One History a portfolio serves all
// packs: at the newest pack's cut it holds on each day what the pack of that day holds.
func Reconcile(ctx context.Context, source Source, calendar string, packs []Pack) (Reconciled, error) {
	r := Reconciled{Packs: len(packs)}
	if len(packs) == 0 {
		return r, nil
	}
	newest := packs[len(packs)-1]
	for i, p := range packs {
		if p.TenantID != newest.TenantID || p.Revision != newest.Revision || i > 0 && !packs[i-1].Date.Before(p.Date) {
			return r, errors.New("the packs of a reconciliation must be of one revision and in order of date")
		}
	}
	l, err := open(ctx, source, newest.Cut(), nil, calendar)
	if err != nil {
		return r, err
	}
	problems := make([]reasons, len(packs))
	var broken reasons
	err = l.batches(ctx, nil, func(list []portfolio.Portfolio, ledgers map[string][]portfolio.Transaction) error {
		r.Portfolios += len(list)
		b := newBatch(l, calendar, packs, list, ledgers)
		broken.add(b.broken...)
		for i, pack := range packs {
			if err := b.compare(ctx, pack, i, &problems[i], &r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return r, fmt.Errorf("reconcile %d packs up to %s: %w", len(packs), newest.Date.Format(time.DateOnly), err)
	}
	for i, pack := range packs {
		all := broken
		all.add(problems[i].named...)
		all.count += problems[i].count - len(problems[i].named)
		v := Verdict{Pack: pack, Reason: all.String()}
		if v.Reason != "" {
			r.Failed++
		}
		r.Verdicts = append(r.Verdicts, v)
	}
	return r, nil
}

// reasons is a list of which the first are kept.
type reasons struct {
	named []string
	count int
}

func (r *reasons) add(list ...string) {
	for _, s := range list {
		if len(r.named) < maxNamed {
			r.named = append(slices.Clip(r.named), s)
		}
		r.count++
	}
}

func (r *reasons) String() string {
	text := strings.Join(r.named, "; ")
	if more := r.count - len(r.named); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// batch is some portfolios on their way through the packs, date by date.
type batch struct {
	library    *library
	subjects   []*subject
	broken     []string
	symbols    []string
	currencies []string
}

// subject is a portfolio with what is kept of its History: the value at each pack.
type subject struct {
	portfolio portfolio.Portfolio
	ledger    []portfolio.Transaction
	refused   error     // why the ledger can't be booked
	nav       []float64 // by pack
	known     []bool    // whether nav is there
	begins    time.Time // the History's first day; zero when it has none
	booked    int       // transactions that holdings are made of
	holdings  portfolio.Holdings
}

func newBatch(l *library, calendar string, packs []Pack, list []portfolio.Portfolio, ledgers map[string][]portfolio.Transaction) *batch {
	b := &batch{library: l}
	for _, p := range list {
		ledger := ledgers[p.ID]
		if err := checkChain(p, ledger); err != nil {
			b.broken = append(b.broken, err.Error())
			continue
		}
		s := &subject{portfolio: p, ledger: ledger, nav: make([]float64, len(packs)), known: make([]bool, len(packs))}
		b.subjects = append(b.subjects, s)
		b.symbols = append(b.symbols, capability.Traded(ledger)...)
		b.currencies = append(b.currencies, capability.Currencies(p.BaseCurrency, ledger, l.securitiesOf(p, ledger))...)
		h, err := l.history(p, calendar, ledger)
		if err != nil {
			s.refused = err
			continue
		}
		if len(h.Days) > 0 {
			s.begins = h.Days[0]
		}
		for i, pack := range packs {
			if day, found := slices.BinarySearchFunc(h.Days, pack.Date, time.Time.Compare); found {
				s.nav[i] = h.NAV[day]
				s.known[i] = h.Missing(portfolio.Window{Start: day, End: day}) == nil && !math.IsInf(s.nav[i], 0) && !math.IsNaN(s.nav[i])
			}
		}
	}
	slices.Sort(b.symbols)
	b.symbols = slices.Compact(b.symbols)
	slices.Sort(b.currencies)
	b.currencies = slices.Compact(b.currencies)
	return b
}

// compare holds the two values of each portfolio at a pack against each other. Packs come in order of date.
func (b *batch) compare(ctx context.Context, pack Pack, i int, found *reasons, r *Reconciled) error {
	quotes, err := b.library.source.Quotes(ctx, pack.Cut(), b.symbols, b.currencies)
	if err != nil {
		return err
	}
	for _, s := range b.subjects {
		if s.refused != nil {
			found.add(s.refused.Error())
			continue
		}
		n := until(s.ledger, pack.Date)
		if n == 0 {
			continue // nothing was booked by then
		}
		if n != s.booked {
			if s.holdings, err = portfolio.HoldingsAt(s.ledger[:n], b.library.securities, pack.Date); err != nil {
				return err // NewHistory has booked the same
			}
			s.booked = n
		}
		v := portfolio.Value(s.portfolio.BaseCurrency, s.holdings, quotes, portfolio.SeriesSet{})
		switch {
		case !v.Total.Valid && !s.known[i]:
			r.Unvalued++
			if len(r.Examples) < maxExamples {
				r.Examples = append(r.Examples, fmt.Sprintf("portfolio %s at the pack of %s: %s",
					s.portfolio.ID, pack.Date.Format(time.DateOnly), v.Unpriced))
			}
		case !v.Total.Valid:
			found.add(fmt.Sprintf("portfolio %s has a value of %.2f by its history, and none by its lots: %s", s.portfolio.ID, s.nav[i], v.Unpriced))
		case !s.known[i] && v.Total.Decimal.IsZero() && (s.begins.IsZero() || pack.Date.Before(s.begins)):
			// All that was booked by then has been undone, and a history begins with what has not.
		case !s.known[i]:
			found.add(fmt.Sprintf("portfolio %s is worth %s by its lots, and its history has no value of the day",
				s.portfolio.ID, v.Total.Decimal.StringFixed(2)))
		default:
			r.Valuations++
			if reason, ok := agree(s.portfolio, v.Total.Decimal, s.nav[i]); !ok {
				found.add(reason)
			}
		}
	}
	return nil
}

// agree reports whether two values of a portfolio are the same but for rounding, and else what they are.
func agree(p portfolio.Portfolio, lots decimal.Decimal, history float64) (string, bool) {
	difference := lots.Sub(decimal.NewFromFloat(history)).Abs()
	allowed := decimal.Max(lots.Abs().Mul(decimal.New(toleranceBP, -4)), leastTolerance)
	if difference.LessThanOrEqual(allowed) {
		return "", true
	}
	return fmt.Sprintf("portfolio %s is worth %s %s by its lots and %s by its history, a difference of %s; %s is allowed",
		p.ID, p.BaseCurrency, lots.StringFixed(2), decimal.NewFromFloat(history).StringFixed(2), difference.StringFixed(2), allowed.StringFixed(2)), false
}

// checkChain computes a ledger's version from its bookings.
func checkChain(p portfolio.Portfolio, ledger []portfolio.Transaction) error {
	bySeq := slices.Clone(ledger)
	slices.SortFunc(bySeq, func(a, b portfolio.Transaction) int { return cmp.Compare(a.Seq, b.Seq) })
	version := portfolio.Genesis(p)
	for i, t := range bySeq {
		if t.Seq != int64(i+1) {
			return fmt.Errorf("the ledger of portfolio %s lacks transaction %d", p.ID, i+1)
		}
		version = portfolio.Chain(version, t)
	}
	if int64(len(bySeq)) != p.LedgerSeq || version != p.LedgerVersion {
		return fmt.Errorf("the ledger of portfolio %s, %d transactions, does not lead to its version %s: a booking was changed",
			p.ID, len(bySeq), p.LedgerVersion)
	}
	return nil
}

// until returns how many transactions are dated on or before a day.
func until(ledger []portfolio.Transaction, day time.Time) int {
	n, _ := slices.BinarySearchFunc(ledger, day, func(t portfolio.Transaction, day time.Time) int {
		if t.Date.After(day) {
			return 1
		}
		return -1
	})
	return n
}

// ByRevision parts packs into those that can be reconciled together, keeping their order.
func ByRevision(packs []Pack) [][]Pack {
	var groups [][]Pack
	for _, p := range packs {
		if n := len(groups); n > 0 && groups[n-1][0].Revision == p.Revision {
			groups[n-1] = append(groups[n-1], p)
			continue
		}
		groups = append(groups, []Pack{p})
	}
	return groups
}
