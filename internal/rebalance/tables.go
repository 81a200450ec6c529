// Package rebalance proposes trades that bring a portfolio towards a policy within limits, and hedges
// for what it is exposed to. It is pure: no database, no clock, no randomness.
package rebalance

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dawsos/dawsos/internal/tables"
)

// The names of the tables' files.
const (
	LimitsFile = "rebalance.yaml"
	HedgesFile = "hedges.yaml"
)

// Limits bound what a rebalance does. Shares are in percent of the net asset value, amounts in base
// currency; the head of configs/analytics/rebalance.yaml says what each means.
type Limits struct {
	MaxPositionPct float64 `yaml:"max_position_pct" json:"max_position_pct"` // above 0 to 100
	MinPositionPct float64 `yaml:"min_position_pct" json:"min_position_pct"` // 0 to MaxPositionPct
	MaxSectorPct   float64 `yaml:"max_sector_pct" json:"max_sector_pct"`     // above 0 to 100
	MaxTEPct       float64 `yaml:"max_te_pct" json:"max_te_pct"`             // 0 to 1000
	MaxTurnoverPct float64 `yaml:"max_turnover_pct" json:"max_turnover_pct"` // 0 to 200
	MinLotValue    float64 `yaml:"min_lot_value" json:"min_lot_value"`       // 0 to 1e12
	LotSize        float64 `yaml:"lot_size" json:"lot_size"`                 // 1e-6 to 1e6
	CostPerTrade   float64 `yaml:"cost_per_trade" json:"cost_per_trade"`     // 0 to 1e6
	CostBps        float64 `yaml:"cost_bps" json:"cost_bps"`                 // 0 to 1000
}

// Check returns what is out of bounds, each with the limit's name.
func (l Limits) Check() map[string]string {
	wrong := map[string]string{}
	within := func(name string, v, low, high float64, open bool) {
		if !(v >= low && v <= high) || open && v == low {
			wrong[name] = fmt.Sprintf("%v is outside %v to %v", v, low, high)
		}
	}
	within("max_position_pct", l.MaxPositionPct, 0, 100, true)
	within("min_position_pct", l.MinPositionPct, 0, 100, false)
	within("max_sector_pct", l.MaxSectorPct, 0, 100, true)
	within("max_te_pct", l.MaxTEPct, 0, 1000, false)
	within("max_turnover_pct", l.MaxTurnoverPct, 0, 200, false)
	within("min_lot_value", l.MinLotValue, 0, 1e12, false)
	within("lot_size", l.LotSize, 1e-6, 1e6, false)
	within("cost_per_trade", l.CostPerTrade, 0, 1e6, false)
	within("cost_bps", l.CostBps, 0, 1000, false)
	if len(wrong) == 0 && l.MinPositionPct > l.MaxPositionPct {
		wrong["min_position_pct"] = fmt.Sprintf("%v is above max_position_pct, %v", l.MinPositionPct, l.MaxPositionPct)
	}
	return wrong
}

// Estimation says what risk is measured over.
type Estimation struct {
	Returns    int `yaml:"returns"`     // daily returns, 20 to 2520
	MinReturns int `yaml:"min_returns"` // 20 to Returns
}

func (e Estimation) check() error {
	if e.Returns < 20 || e.Returns > 2520 || e.MinReturns < 20 || e.MinReturns > e.Returns {
		return errors.New("returns must be 20 to 2520, min_returns 20 to returns")
	}
	return nil
}

// Rules is the table of limits.
type Rules struct {
	Source     string     `yaml:"-"` // names the file by its content
	Origin     string     `yaml:"source"`
	Limits     Limits     `yaml:"limits"`
	Estimation Estimation `yaml:"estimation"`
}

// LoadRules reads and checks the limits in a folder.
func LoadRules(dir string) (*Rules, error) {
	var r Rules
	source, err := tables.Read(dir, LimitsFile, &r)
	if err != nil {
		return nil, err
	}
	r.Source = source
	var ps tables.Problems
	ps.Cited("source", r.Origin)
	for name, problem := range r.Limits.Check() {
		ps.Add("limits."+name, "%s", problem)
	}
	if err := r.Estimation.check(); err != nil {
		ps.Add("estimation", "%w", err)
	}
	return &r, ps.In(LimitsFile)
}

// Hedges is the table of what may serve as a hedge.
type Hedges struct {
	Source           string   `yaml:"-"` // names the file by its content
	Origin           string   `yaml:"source"`
	Candidates       []string `yaml:"candidates"`        // 1 to 50 symbols
	MinEffectiveness float64  `yaml:"min_effectiveness"` // 0 to 1
	MaxSuggestions   int      `yaml:"max_suggestions"`   // 1 to 50
	Returns          int      `yaml:"returns"`
	MinReturns       int      `yaml:"min_returns"`
}

const maxCandidates = 50

// LoadHedges reads and checks the hedges in a folder.
func LoadHedges(dir string) (*Hedges, error) {
	var h Hedges
	source, err := tables.Read(dir, HedgesFile, &h)
	if err != nil {
		return nil, err
	}
	h.Source = source
	var ps tables.Problems
	ps.Cited("source", h.Origin)
	sorted := slices.Clone(h.Candidates)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(h.Candidates) || slices.Contains(sorted, "") ||
		len(h.Candidates) == 0 || len(h.Candidates) > maxCandidates {
		ps.Add("candidates", "there must be 1 to %d symbols, each once", maxCandidates)
	}
	tables.Within(&ps, "min_effectiveness", h.MinEffectiveness, 0, 1)
	tables.Within(&ps, "max_suggestions", h.MaxSuggestions, 1, maxCandidates)
	if err := (Estimation{h.Returns, h.MinReturns}).check(); err != nil {
		ps.Add("returns and min_returns", "%w", err)
	}
	return &h, ps.In(HedgesFile)
}

// share turns percent into a fraction.
func share(pct float64) float64 { return math.Min(pct/100, 1e6) }
