package scenario

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Line is what a scenario looks at of a part of a portfolio.
type Line struct {
	Kind       portfolio.Kind
	Symbol     string
	AssetClass string // "" for cash
	Currency   string
	Value      decimal.NullDecimal // market value in base currency; negative for a short position
	Unpriced   portfolio.Shortages // why Value is missing

	Duration, Convexity *float64 // nil when not known
}

// Betas returns the slope of a security's daily returns on a factor's, both in the security's currency,
// or Shortages.
type Betas func(symbol, factor string) (float64, error)

// Effect is what one shock does to one line: Delta = Value x Size x Sensitivity.
type Effect struct {
	Shock       string
	Size        float64 // as a fraction
	Sensitivity float64
	Delta       decimal.Decimal // base currency
}

// Unmapped is an exposure that a shock may have an effect on which can't be computed. Shock is "" when
// none of the scenario's shocks is about it.
type Unmapped struct {
	Symbol   string
	Shock    string
	Value    decimal.NullDecimal
	Shortage portfolio.Shortage
}

// Position is a line under shock.
type Position struct {
	Line

	Effects []Effect
	Delta   decimal.NullDecimal // sum over the effects; invalid when there is none that can be computed
}

// Felt is a shock of the scenario, and what it does to the portfolio.
type Felt struct {
	Shock Shock
	Value float64 // in the shock's unit
	Size  float64 // as a fraction
	Delta decimal.NullDecimal
	// Why Delta is missing.
	Shortage portfolio.Shortage
}

// Outcome is a portfolio under shock.
type Outcome struct {
	Shocks    []Felt
	Positions []Position
	Unmapped  []Unmapped
	Delta     decimal.NullDecimal // sum over the positions
	Shortages portfolio.Shortages // why Delta is missing
	Warnings  []string
}

// deltaPlaces is the decimals of deltas.
const deltaPlaces = 6

// Run applies a scenario to lines: each moves by its value times the sum over the shocks of
// sensitivity times size. Effects are added and not compounded, so that a scenario is the sum of its
// shocks. An error is not about missing data.
func (l *Library) Run(s Scenario, base string, lines []Line, betas Betas) (Outcome, error) {
	var out Outcome
	for _, shock := range l.Shocks {
		if value, ok := s.Shocks[shock.Name]; ok {
			out.Shocks = append(out.Shocks, Felt{Shock: shock, Value: value, Size: value * shock.Unit.fraction()})
		}
	}
	for _, line := range lines {
		p := Position{Line: line}
		about, other := false, false
		for i := range out.Shocks {
			felt := &out.Shocks[i]
			if felt.Shock.Mapping != FX {
				other = true
			}
			sensitivity, applies, err := felt.sensitivity(base, line, betas)
			if !applies {
				continue
			}
			about = about || felt.Shock.Mapping != FX
			if err == nil && !line.Value.Valid {
				err = line.Unpriced
			}
			if err == nil && felt.Shock.Mapping == Duration && line.Convexity == nil {
				out.Warnings = append(out.Warnings, fmt.Sprintf(
					"The convexity of %s isn't known: %s is computed from its duration alone.", line.Symbol, felt.Shock.Name))
			}
			if err != nil {
				shortages, ok := errors.AsType[portfolio.Shortages](err)
				if !ok || len(shortages) == 0 {
					return Outcome{}, fmt.Errorf("%s under %s: %w", line.Symbol, felt.Shock.Name, err)
				}
				out.Unmapped = append(out.Unmapped, Unmapped{line.Symbol, felt.Shock.Name, line.Value, shortages[0]})
				continue
			}
			e := Effect{Shock: felt.Shock.Name, Size: felt.Size, Sensitivity: sensitivity}
			e.Delta = line.Value.Decimal.Mul(decimal.NewFromFloat(felt.Size * sensitivity)).Round(deltaPlaces)
			p.Effects = append(p.Effects, e)
			p.Delta = plus(p.Delta, e.Delta)
			felt.Delta = plus(felt.Delta, e.Delta)
		}
		if line.Kind == portfolio.KindSecurity && other && !about {
			out.Unmapped = append(out.Unmapped, Unmapped{line.Symbol, "", line.Value, portfolio.Shortage{
				Missing: "scenario:" + s.ID,
				Reason:  fmt.Sprintf("no shock of the scenario that can be mapped is about the asset class %q", line.AssetClass),
			}})
		}
		// Currencies are exact: what no shock of them moves, and no other shock is about, stays.
		if !p.Delta.Valid && line.Value.Valid && (line.Kind == portfolio.KindCash || !other) {
			p.Delta = decimal.NewNullDecimal(decimal.Zero)
		}
		if v := line.Value.Decimal; v.IsPositive() && p.Delta.Decimal.Neg().GreaterThan(v) {
			out.Warnings = append(out.Warnings, fmt.Sprintf(
				"The shocks add up to a loss of more than all of %s: the linear estimate has left its range.", line.Symbol))
		}
		out.Positions = append(out.Positions, p)
	}
	out.total(lines)
	return out, nil
}

func (o *Outcome) total(lines []Line) {
	if len(lines) == 0 {
		o.Shortages = append(o.Shortages, portfolio.Shortage{Missing: "holdings", Reason: "the portfolio holds nothing"})
	}
	for _, l := range lines {
		for _, s := range l.Unpriced {
			if !slices.Contains(o.Shortages, s) {
				o.Shortages = append(o.Shortages, s)
			}
		}
	}
	felt := false
	sum := decimal.Zero
	for i := range o.Shocks {
		s := &o.Shocks[i]
		if s.Delta.Valid {
			felt = true
			sum = sum.Add(s.Delta.Decimal)
			continue
		}
		s.Shortage = s.Shock.shortage()
	}
	switch {
	case len(o.Shortages) > 0:
	case !felt:
		for _, s := range o.Shocks {
			o.Shortages = append(o.Shortages, s.Shortage)
		}
	default:
		o.Delta = decimal.NewNullDecimal(sum)
	}
}

func plus(sum decimal.NullDecimal, d decimal.Decimal) decimal.NullDecimal {
	return decimal.NewNullDecimal(sum.Decimal.Add(d))
}

// shortage says why a shock that reached nothing did not.
func (s Shock) shortage() portfolio.Shortage {
	switch s.Mapping {
	case None:
		return portfolio.Shortage{Missing: s.Missing, Reason: s.Reason}
	case FX:
		if s.Against != "" {
			return portfolio.Shortage{
				Missing: "exposure:" + s.Currency + "/" + s.Against,
				Reason:  fmt.Sprintf("nothing that is held changes its value with %s/%s", s.Currency, s.Against),
			}
		}
		return portfolio.Shortage{Missing: "exposure:" + s.Currency, Reason: "nothing that is held changes its value with " + s.Currency}
	default:
		return portfolio.Shortage{
			Missing: "exposure:" + s.Name,
			Reason:  fmt.Sprintf("no holding of the asset classes %v could be mapped", s.AssetClasses),
		}
	}
}

// sensitivity returns by how much a line moves for each unit of the shock. It does not apply where the
// shock is not about the line.
func (f Felt) sensitivity(base string, l Line, betas Betas) (sensitivity float64, applies bool, err error) {
	s := f.Shock
	switch s.Mapping {
	case None:
		return 0, false, nil
	case FX:
		change := s.change(base, l.Currency, f.Size)
		return change / f.Size, change != 0, nil
	default:
		if l.Kind == portfolio.KindCash || !slices.Contains(s.AssetClasses, l.AssetClass) {
			return 0, false, nil
		}
	}
	switch s.Mapping {
	case Class:
		return 1, true, nil
	case Duration:
		if l.Duration == nil {
			return 0, true, portfolio.Short("securities:"+l.Symbol+".duration", "its modified duration is not known")
		}
		sensitivity = -*l.Duration
		if l.Convexity != nil {
			sensitivity += *l.Convexity * f.Size / 2
		}
		return sensitivity, true, nil
	default:
		factor, ok := s.Factors[l.Currency]
		if !ok {
			return 0, true, portfolio.Short("factor:"+s.Name+"."+l.Currency, "no factor is configured for securities in %s", l.Currency)
		}
		sensitivity, err = betas(l.Symbol, factor)
		if err == nil && (math.IsNaN(sensitivity) || math.IsInf(sensitivity, 0)) {
			err = portfolio.Short("range", "the estimate is too large to be a number")
		}
		return sensitivity, true, err
	}
}

// change returns by which fraction a currency's value in base currency changes.
func (s Shock) change(base, currency string, size float64) float64 {
	switch {
	case currency == base:
		return 0
	case s.Against == "":
		if base == s.Currency { // all others fall against it
			return 1/(1+size) - 1
		}
		if currency == s.Currency {
			return size
		}
	case base == s.Against:
		if currency == s.Currency {
			return size
		}
	case currency == s.Against: // the pair's other currency holds against base
		return 1/(1+size) - 1
	}
	return 0
}
