// Package capability holds what the built-in agents share: reading what a capability was asked and
// checking it against its run, the portfolio that the run is about with its past, and saying which
// figures are missing and why.
package capability

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Subject returns the portfolio that the run is about. An argument that names another one is
// refused: access was decided, and the ledger version taken, for the run's.
func Subject(req agent.Request, id string) (agent.Portfolio, error) {
	p := req.Context.Portfolio
	if p == nil {
		return agent.Portfolio{}, fault.InvalidField("/args/portfolio_id", "%s needs a portfolio, the run names none", req.Capability)
	}
	if !strings.EqualFold(id, p.ID) {
		return agent.Portfolio{}, fault.InvalidField("/args/portfolio_id",
			"%s was asked about portfolio %q within a run about %s", req.Capability, id, p.ID)
	}
	return *p, nil
}

// SamePack refuses a pack other than the run's.
func SamePack(req agent.Request, id string) error {
	if pack := req.Context.PricingPack.ID; !strings.EqualFold(id, pack) {
		return fault.InvalidField("/args/pack_id", "%s was asked for pricing pack %q within a run that reads %s", req.Capability, id, pack)
	}
	return nil
}

// Decode reads arguments into dst. What does not fit is the definition's or the caller's
// mistake, not a failure of the agent.
func Decode(req agent.Request, dst any) error {
	err := agent.DecodeArgs(req, dst)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return fault.Wrap(err, fault.Invalid, "%s: argument %s can't be a JSON %s", req.Capability, e.Field, e.Value)
	}
	return fault.Wrap(err, fault.Invalid, "%s can't read its arguments", req.Capability)
}

// DecodeForPack is Decode for arguments of which one names the pricing pack: see SamePack.
func DecodeForPack(req agent.Request, dst any, packID *string) error {
	if err := Decode(req, dst); err != nil {
		return err
	}
	return SamePack(req, *packID)
}

// Day reads an optional date argument that may not lie after the run's as-of date. It is the
// zero time when absent.
func Day(req agent.Request, name string, value *string) (time.Time, error) {
	if value == nil {
		return time.Time{}, nil
	}
	d, err := time.Parse(time.DateOnly, *value)
	if err != nil {
		return time.Time{}, fault.InvalidField("/args/"+name, "%q is not a date such as 2007-05-08", *value)
	}
	if d.After(req.Context.Asof) {
		return time.Time{}, fault.InvalidField("/args/"+name, "%s is after the as-of date %s", *value, req.Context.Asof.Format(time.DateOnly))
	}
	return d, nil
}

// Cut returns the market data that the run may read: its pack's, and nothing after its as-of
// date.
func Cut(c agent.Context) portfolio.Cut {
	date := c.PricingPack.Date
	if c.Asof.Before(date) {
		date = c.Asof
	}
	return portfolio.Cut{TenantID: c.TenantID, Date: date, Revision: c.PricingPack.Revision}
}

const (
	// DefaultLookback is the number of daily returns that is measured over unless asked otherwise.
	DefaultLookback = portfolio.YearDays
	maxLookback     = 10_000
	// DefaultWeeks and maxWeeks bound how many weeks a history goes back.
	DefaultWeeks = 4
	maxWeeks     = 520
)

// Lookback returns the number of daily returns asked for.
func Lookback(days *int) (int, error) {
	if days == nil {
		return DefaultLookback, nil
	}
	if *days < 1 || *days > maxLookback {
		return 0, fault.InvalidField("/args/lookback_days", "%d is outside 1 to %d", *days, maxLookback)
	}
	return *days, nil
}

// Weeks returns the number of weeks asked for that a history goes back.
func Weeks(weeks *int) (int, error) {
	if weeks == nil {
		return DefaultWeeks, nil
	}
	if *weeks < 1 || *weeks > maxWeeks {
		return 0, fault.InvalidField("/args/lookback_weeks", "%d is outside 1 to %d", *weeks, maxWeeks)
	}
	return *weeks, nil
}

// CashSymbol names a cash line among securities.
func CashSymbol(currency string) string { return "CASH:" + currency }

// LedgerSource names a ledger. It has no date: a ledger without recent bookings is not out of date.
func LedgerSource(id string) agent.Source { return agent.Source{Name: "ledger:" + id} }
