package rebalance

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// Line is a security that is held or may be bought.
type Line struct {
	Symbol   string
	Sector   string // "" when not known
	Currency string
	Quantity decimal.Decimal // negative for a short position
	Price    decimal.Decimal // in Currency; positive
	FX       decimal.Decimal // base currency for one of Currency; positive
}

// Value returns the market value in base currency.
func (l Line) Value() decimal.Decimal { return l.Quantity.Mul(l.Price).Mul(l.FX) }

// Cash is a balance.
type Cash struct {
	Symbol   string // that its returns are known by
	Currency string
	Amount   decimal.Decimal // in Currency; negative when overdrawn
	FX       decimal.Decimal
}

// Book is what a portfolio holds.
type Book struct {
	Base  string
	Lines []Line // by symbol
	Cash  []Cash // by currency
}

// Value returns the net asset value, and what of it is cash.
func (b Book) Value() (total, cash decimal.Decimal) {
	for _, c := range b.Cash {
		cash = cash.Add(c.Amount.Mul(c.FX))
	}
	total = cash
	for _, l := range b.Lines {
		total = total.Add(l.Value())
	}
	return total, cash
}

// The types of policies.
const (
	TargetWeight    = "target_weight"    // symbol, weight
	Band            = "band"             // symbol, min, max: outside, back to the nearer edge
	MaxPosition     = "max_position"     // value: in place of the limit
	MaxSector       = "max_sector"       // value: in place of the limit
	MinRating       = "min_rating"       // value: 0 to 100; what is rated lower is sold
	MinimumVariance = "minimum_variance" // the securities that are held, at the weights of least variance
)

// Policy is one rule. Weights and values of max_position and max_sector are fractions of the net asset
// value.
type Policy struct {
	Type   string   `json:"type"`
	Symbol string   `json:"symbol"`
	Weight *float64 `json:"weight"`
	Min    *float64 `json:"min"`
	Max    *float64 `json:"max"`
	Value  *float64 `json:"value"`
}

// CheckPolicies returns the first policy that makes no sense, by its pointer "/<index>/<member>".
func CheckPolicies(policies []Policy) error {
	seen := map[string]bool{}
	var targets float64
	for i, p := range policies {
		at := func(member string) string { return fmt.Sprintf("/%d/%s", i, member) }
		members := map[string]*float64{"weight": p.Weight, "min": p.Min, "max": p.Max, "value": p.Value}
		var needed []string
		high := 1.0
		symbol := false
		switch p.Type {
		case TargetWeight:
			needed, symbol = []string{"weight"}, true
		case Band:
			needed, symbol = []string{"min", "max"}, true
		case MaxPosition, MaxSector:
			needed = []string{"value"}
		case MinRating:
			needed, high = []string{"value"}, 100
		case MinimumVariance:
		default:
			return fault.InvalidField(at("type"), "%q is none of target_weight, band, max_position, max_sector, min_rating, minimum_variance", p.Type)
		}
		if symbol != (p.Symbol != "") {
			return fault.InvalidField(at("symbol"), "a %s is about %s", p.Type, map[bool]string{true: "one security", false: "all securities"}[symbol])
		}
		for _, member := range []string{"weight", "min", "max", "value"} {
			v := members[member]
			switch {
			case slices.Contains(needed, member) && v == nil:
				return fault.InvalidField(at(member), "a %s needs it", p.Type)
			case !slices.Contains(needed, member) && v != nil:
				return fault.InvalidField(at(member), "a %s has none", p.Type)
			case v != nil && !(*v >= 0 && *v <= high):
				return fault.InvalidField(at(member), "%v is outside 0 to %v", *v, high)
			}
		}
		if p.Type == Band && *p.Min > *p.Max {
			return fault.InvalidField(at("min"), "%v is above max, %v", *p.Min, *p.Max)
		}
		key := p.Type + " " + p.Symbol
		if seen[key] {
			return fault.InvalidField(at("type"), "there is a %s already", strings.TrimSpace(key))
		}
		seen[key] = true
		if p.Type == TargetWeight {
			if targets += *p.Weight; targets > 1+1e-9 {
				return fault.InvalidField(at("weight"), "the target weights up to here sum to %v, more than 1", targets)
			}
		}
	}
	return nil
}

// Problem is what a rebalance is asked for.
type Problem struct {
	Book     Book
	Policies []Policy // checked
	Limits   Limits   // checked
	Ratings  map[string]float64
	Unrated  string // why there are no ratings at all; "" when there are
	Risk     *Risk  // nil when RiskErr says why
	RiskErr  error  // Shortages
}

// Side is the direction of a trade.
type Side string

// The sides.
const (
	Sell Side = "SELL"
	Buy  Side = "BUY"
)

// Trade is an order. Sells stand before buys, each by symbol.
type Trade struct {
	Symbol   string
	Side     Side
	Quantity decimal.Decimal // positive
	Price    decimal.Decimal
	Currency string
	FX       decimal.Decimal
	Value    decimal.Decimal // base currency, positive
	Cost     decimal.Decimal // base currency
	Reasons  []string        // the policies and limits that ask for it
}

// Conversion pays for trades in one currency with another, at the rates of the book and without costs.
type Conversion struct {
	Sell, Buy             string // currencies
	SellAmount, BuyAmount decimal.Decimal
}

// Target is where policies and limits would have a security.
type Target struct {
	Symbol         string
	Weight, Target float64
	Reasons        []string
}

// Note says what was not done, and why.
type Note struct{ Rule, Symbol, Reason string }

// Plan is the proposal.
type Plan struct {
	Trades      []Trade
	Conversions []Conversion
	Targets     []Target // of the securities whose weight is to change
	After       Book
	Turnover    float64 // bought and sold, as a fraction of the net asset value before
	Cost        decimal.Decimal
	// Scale is the share of the way to the targets that was asked for before rounding, 0 to 1.
	Scale      float64
	Binding    []string // limits that kept the trades from the targets
	NotApplied []Note   // rules that could not be followed
	Unmet      []Note   // rules that the book breaks after the trades
}

// errNoCapital is the shortage of a book that can't be weighed.
var errNoCapital = portfolio.Short("capital", "the net asset value is not positive, weights need a positive one")

// Propose returns trades that bring the book towards the policies.
//
//   - Targets: target weights and bands set them; a minimum rating and the limits on positions and
//     sectors cut them; other securities stay where they are. When targets ask for more than there is,
//     the securities that no policy is about give way in proportion.
//   - All trades are scaled by one factor so that turnover and tracking error are kept, then rounded
//     toward zero; trades too small are left out. Buys are scaled again when cash falls short.
//   - Nothing is sold that is not held, and cash, all currencies together, never falls below zero, or
//     below what it was when it was negative before.
func Propose(p Problem) (Plan, error) {
	total, _ := p.Book.Value()
	if !total.IsPositive() {
		return Plan{}, errNoCapital
	}
	s := newSolver(p, total)
	if err := s.aim(); err != nil {
		return Plan{}, err
	}
	return s.solve()
}

type solver struct {
	Problem

	total   decimal.Decimal
	nav     float64
	weights []float64 // by line
	targets []float64
	fixed   []bool // a policy is about the line
	reasons [][]string
	plan    Plan
}

func newSolver(p Problem, total decimal.Decimal) *solver {
	n := len(p.Book.Lines)
	s := &solver{
		Problem: p, total: total, nav: total.InexactFloat64(),
		weights: make([]float64, n), fixed: make([]bool, n), reasons: make([][]string, n),
	}
	for i, l := range p.Book.Lines {
		s.weights[i] = l.Value().InexactFloat64() / s.nav
	}
	s.targets = slices.Clone(s.weights)
	return s
}

func (s *solver) line(symbol string) int {
	return slices.IndexFunc(s.Book.Lines, func(l Line) bool { return l.Symbol == symbol })
}

// set moves a target, and remembers why.
func (s *solver) set(i int, target float64, reason string) {
	if s.targets[i] == target {
		return
	}
	s.targets[i] = target
	s.reasons[i] = append(s.reasons[i], reason)
}

// limit returns the value of a policy that stands in a limit's place, as a fraction.
func (s *solver) limit(policy string, otherwise float64) float64 {
	for _, p := range s.Policies {
		if p.Type == policy {
			return *p.Value
		}
	}
	return share(otherwise)
}

func (s *solver) aim() error {
	maxPosition := s.limit(MaxPosition, s.Limits.MaxPositionPct)
	if err := s.aimAtPolicies(maxPosition); err != nil {
		return err
	}
	for i, w := range s.targets {
		if w > maxPosition {
			s.set(i, maxPosition, MaxPosition)
		}
	}
	maxSector := s.limit(MaxSector, s.Limits.MaxSectorPct)
	for sector, sum := range s.sectors(s.targets) {
		if sum <= maxSector {
			continue
		}
		for i, l := range s.Book.Lines {
			if l.Sector == sector && s.targets[i] > 0 {
				s.set(i, s.targets[i]*maxSector/sum, MaxSector)
			}
		}
	}
	s.giveWay()
	for i, w := range s.targets {
		if w > 0 && w < share(s.Limits.MinPositionPct) && w != s.weights[i] {
			s.set(i, 0, "min_position")
		}
	}
	for i, l := range s.Book.Lines {
		if s.targets[i] != s.weights[i] {
			s.plan.Targets = append(s.plan.Targets, Target{l.Symbol, s.weights[i], s.targets[i], s.reasons[i]})
		}
	}
	return nil
}

func (s *solver) aimAtPolicies(maxPosition float64) error {
	for _, p := range s.Policies {
		if p.Type == MinimumVariance {
			if err := s.aimAtMinimumVariance(maxPosition); err != nil {
				return err
			}
		}
	}
	for _, p := range s.Policies {
		if p.Type != TargetWeight && p.Type != Band {
			continue
		}
		i := s.line(p.Symbol)
		if i < 0 {
			s.plan.NotApplied = append(s.plan.NotApplied, Note{p.Type, p.Symbol, "it has no price in base currency"})
			continue
		}
		s.fixed[i] = true
		if p.Type == TargetWeight {
			s.set(i, *p.Weight, TargetWeight)
		} else {
			s.set(i, min(max(s.targets[i], *p.Min), *p.Max), Band)
		}
	}
	for _, p := range s.Policies {
		if p.Type == MinRating {
			s.applyRatings(*p.Value)
		}
	}
	return nil
}

func (s *solver) applyRatings(least float64) {
	if s.Unrated != "" {
		s.plan.NotApplied = append(s.plan.NotApplied, Note{Rule: MinRating, Reason: s.Unrated})
		return
	}
	for i, l := range s.Book.Lines {
		if s.targets[i] <= 0 && s.weights[i] <= 0 {
			continue
		}
		rating, ok := s.Ratings[l.Symbol]
		switch {
		case !ok:
			s.plan.NotApplied = append(s.plan.NotApplied, Note{MinRating, l.Symbol, "it has no rating"})
		case rating < least:
			s.fixed[i] = true
			s.set(i, 0, MinRating)
		}
	}
}

func (s *solver) sectors(weights []float64) map[string]float64 {
	sums := map[string]float64{}
	for i, l := range s.Book.Lines {
		if l.Sector != "" && weights[i] > 0 {
			sums[l.Sector] += weights[i]
		}
	}
	return sums
}

// giveWay shrinks the securities that no policy is about when the targets need more than there is.
func (s *solver) giveWay() {
	var now, then, loose float64
	for i, w := range s.targets {
		now += s.weights[i]
		then += w
		if !s.fixed[i] && w > 0 {
			loose += w
		}
	}
	over := then - max(1, now)
	if over <= 1e-12 || loose == 0 {
		return
	}
	keep := max(0, 1-over/loose)
	for i, w := range s.targets {
		if !s.fixed[i] && w > 0 {
			s.set(i, w*keep, "make_room")
		}
	}
}

func (s *solver) bind(limit string) {
	if !slices.Contains(s.plan.Binding, limit) {
		s.plan.Binding = append(s.plan.Binding, limit)
	}
}

// noise is a bound of what float64 arithmetic adds to or takes from a relative weight. Without it a move
// of exactly 100 shares that comes out as 99.99999999999999 would be one of 99.
const noise = 1e-12

// tries bounds how often trades are made smaller until the tracking error holds after rounding.
const tries = 40

func (s *solver) solve() (Plan, error) {
	var gross float64
	for i := range s.targets {
		gross += math.Abs(s.targets[i] - s.weights[i])
	}
	k := 1.0
	if most := share(s.Limits.MaxTurnoverPct); gross*(1+2*noise) > most {
		k = most / gross * (1 - 2*noise)
		s.bind("max_turnover_pct")
	}
	ceiling := math.Inf(1)
	if s.RiskErr != nil {
		if len(s.plan.Targets) > 0 {
			s.plan.NotApplied = append(s.plan.NotApplied, Note{Rule: "max_te_pct", Reason: s.RiskErr.Error()})
		}
	} else {
		before, err := s.Risk.TrackingError(s.Book)
		if err != nil {
			return Plan{}, err
		}
		ceiling = max(share(s.Limits.MaxTEPct), before) * (1 + 1e-9)
	}
	for try := 0; ; try++ {
		s.trade(k)
		if math.IsInf(ceiling, 1) {
			break
		}
		after, err := s.Risk.TrackingError(s.plan.After)
		if err != nil {
			return Plan{}, err
		}
		if after <= ceiling+1e-12 {
			break
		}
		s.bind("max_te_pct")
		if k *= 0.9; try == tries {
			k = 0
		}
	}
	s.plan.Scale = k
	s.judge()
	return s.plan, nil
}

// trade makes the trades of a share k of the way to the targets.
func (s *solver) trade(k float64) {
	lot := decimal.NewFromFloat(s.Limits.LotSize)
	whole := func(q decimal.Decimal) decimal.Decimal {
		lots, _ := q.QuoRem(lot, 0)
		return lots.Mul(lot)
	}
	least := decimal.NewFromFloat(s.Limits.MinLotValue)
	var sells, buys []Trade
	add := func(i int, side Side, quantity decimal.Decimal) {
		l := s.Book.Lines[i]
		t := Trade{
			Symbol: l.Symbol, Side: side, Quantity: quantity, Price: l.Price, Currency: l.Currency, FX: l.FX,
			Value: quantity.Mul(l.Price).Mul(l.FX), Reasons: s.reasons[i],
		}
		if !t.Quantity.IsPositive() || t.Value.LessThan(least) {
			return
		}
		t.Cost = s.Limits.Cost(t.Value)
		switch {
		case side == Buy:
			buys = append(buys, t)
		case t.Cost.LessThan(t.Value): // a sale that costs more than it brings would take cash
			sells = append(sells, t)
		}
	}
	want := map[string]decimal.Decimal{} // quantities to buy before cash is looked at
	for i, l := range s.Book.Lines {
		move := k * (s.targets[i] - s.weights[i])
		unit := l.Price.Mul(l.FX)
		quantity := decimal.NewFromFloat(math.Abs(move)*s.nav*(1+noise)).DivRound(unit, quantityPlaces)
		switch {
		case move < 0 && s.targets[i] == 0 && k == 1:
			add(i, Sell, l.Quantity)
		case move < 0:
			add(i, Sell, decimal.Min(whole(quantity), l.Quantity))
		case move > 0:
			want[l.Symbol] = whole(quantity)
			add(i, Buy, whole(quantity))
		}
	}
	if scale := s.affordable(sells, buys); scale.LessThan(decimal.NewFromInt(1)) {
		s.bind("cash")
		buys = nil
		for i, l := range s.Book.Lines {
			if q, ok := want[l.Symbol]; ok {
				add(i, Buy, whole(q.Mul(scale)))
			}
		}
	}
	s.plan.Trades = append(sells, buys...)
	s.plan.Cost = decimal.Zero
	gross := decimal.Zero
	for _, t := range s.plan.Trades {
		s.plan.Cost = s.plan.Cost.Add(t.Cost)
		gross = gross.Add(t.Value)
	}
	s.plan.Turnover = gross.DivRound(s.total, quantityPlaces).InexactFloat64()
	s.plan.After, s.plan.Conversions = s.Book.Apply(s.plan.Trades)
}

const (
	quantityPlaces = 18
	costPlaces     = 2
	cashPlaces     = 6
)

// Cost returns what a trade of a value costs, rounded up to cents.
func (l Limits) Cost(value decimal.Decimal) decimal.Decimal {
	rate := decimal.NewFromFloat(l.CostBps).Shift(-4)
	return decimal.NewFromFloat(l.CostPerTrade).Add(value.Mul(rate)).RoundUp(costPlaces)
}

// reserve is left in cash for what rounding takes, in units of base currency.
var reserve = decimal.New(5, -2)

// affordable returns the share of the buys that cash and the sells' proceeds pay for, costs included.
func (s *solver) affordable(sells, buys []Trade) decimal.Decimal {
	one := decimal.NewFromInt(1)
	if len(buys) == 0 {
		return one
	}
	_, cash := s.Book.Value()
	for _, t := range sells {
		cash = cash.Add(t.Value).Sub(t.Cost)
	}
	needed := decimal.Zero
	for _, t := range buys {
		needed = needed.Add(t.Value).Add(t.Cost)
	}
	if needed.Add(reserve).LessThanOrEqual(cash) {
		return one
	}
	// A smaller buy still costs what every trade costs.
	fixed := decimal.NewFromFloat(s.Limits.CostPerTrade).Add(decimal.New(1, -costPlaces)).Mul(decimal.NewFromInt(int64(len(buys))))
	free := cash.Sub(reserve).Sub(fixed)
	needed = needed.Sub(decimal.NewFromFloat(s.Limits.CostPerTrade).Mul(decimal.NewFromInt(int64(len(buys)))))
	if !free.IsPositive() || !needed.IsPositive() {
		return decimal.Zero
	}
	return decimal.Min(one, free.Div(needed)).RoundDown(12)
}

// Apply returns the book after trades. Trades settle in their security's currency and costs in base
// currency; a currency that this leaves overdrawn is paid for with those that are not, the largest
// first, as far as they go. A symbol that the book lacks is left out.
func (b Book) Apply(trades []Trade) (Book, []Conversion) {
	after := Book{Base: b.Base, Lines: slices.Clone(b.Lines), Cash: slices.Clone(b.Cash)}
	balance := func(currency string, fx decimal.Decimal) *Cash {
		i := slices.IndexFunc(after.Cash, func(c Cash) bool { return c.Currency == currency })
		if i < 0 {
			i, _ = slices.BinarySearchFunc(after.Cash, currency, func(c Cash, s string) int { return cmp.Compare(c.Currency, s) })
			after.Cash = slices.Insert(after.Cash, i, Cash{Symbol: cashSymbol(currency), Currency: currency, FX: fx})
		}
		return &after.Cash[i]
	}
	for _, t := range trades {
		i := slices.IndexFunc(after.Lines, func(l Line) bool { return l.Symbol == t.Symbol })
		if i < 0 {
			continue
		}
		l := &after.Lines[i]
		quantity := t.Quantity
		if t.Side == Sell {
			quantity = quantity.Neg()
		}
		l.Quantity = l.Quantity.Add(quantity)
		c := balance(l.Currency, l.FX)
		c.Amount = c.Amount.Sub(quantity.Mul(l.Price))
		c = balance(b.Base, decimal.NewFromInt(1))
		c.Amount = c.Amount.Sub(t.Cost)
	}
	if len(trades) == 0 {
		return after, nil
	}
	return after, after.convert()
}

func cashSymbol(currency string) string { return "CASH:" + currency }

// convert covers overdrawn currencies.
func (b Book) convert() []Conversion {
	var all []Conversion
	byValue := make([]*Cash, len(b.Cash))
	for i := range b.Cash {
		byValue[i] = &b.Cash[i]
	}
	slices.SortStableFunc(byValue, func(x, y *Cash) int { return y.Amount.Mul(y.FX).Cmp(x.Amount.Mul(x.FX)) })
	for i := range b.Cash {
		short := &b.Cash[i]
		for _, long := range byValue {
			if !short.Amount.IsNegative() {
				break
			}
			if !long.Amount.IsPositive() {
				continue
			}
			rate := short.FX.DivRound(long.FX, quantityPlaces) // of long for one of short
			c := Conversion{Sell: long.Currency, Buy: short.Currency, BuyAmount: short.Amount.Neg()}
			c.SellAmount = c.BuyAmount.Mul(rate).RoundUp(cashPlaces)
			if c.SellAmount.GreaterThan(long.Amount) {
				c.SellAmount = long.Amount
				c.BuyAmount = long.Amount.DivRound(rate, quantityPlaces).RoundDown(cashPlaces)
			}
			if !c.BuyAmount.IsPositive() {
				continue
			}
			long.Amount, short.Amount = long.Amount.Sub(c.SellAmount), short.Amount.Add(c.BuyAmount)
			all = append(all, c)
		}
	}
	return all
}

// judge says which rules the book still breaks.
func (s *solver) judge() {
	total, _ := s.plan.After.Value()
	nav := total.InexactFloat64()
	weights := make([]float64, len(s.plan.After.Lines))
	for i, l := range s.plan.After.Lines {
		weights[i] = l.Value().InexactFloat64() / nav
	}
	unmet := func(rule, symbol, format string, args ...any) {
		s.plan.Unmet = append(s.plan.Unmet, Note{rule, symbol, fmt.Sprintf(format, args...)})
	}
	maxPosition, maxSector := s.limit(MaxPosition, s.Limits.MaxPositionPct), s.limit(MaxSector, s.Limits.MaxSectorPct)
	for i, l := range s.plan.After.Lines {
		if weights[i] > maxPosition {
			unmet(MaxPosition, l.Symbol, "its weight is %.4f, the limit %.4f", weights[i], maxPosition)
		}
	}
	sums := s.sectors(weights)
	for _, sector := range sortedKeys(sums) {
		if sums[sector] > maxSector {
			unmet(MaxSector, sector, "its weight is %.4f, the limit %.4f", sums[sector], maxSector)
		}
	}
	for _, p := range s.Policies {
		i := s.line(p.Symbol)
		if i < 0 {
			continue
		}
		// One lot is as near as rounding gets.
		l := s.Book.Lines[i]
		lot := s.Limits.LotSize * l.Price.Mul(l.FX).InexactFloat64() / nav
		switch p.Type {
		case Band:
			if weights[i] < *p.Min-lot || weights[i] > *p.Max+lot {
				unmet(Band, p.Symbol, "its weight is %.4f, the band %.4f to %.4f", weights[i], *p.Min, *p.Max)
			}
		case TargetWeight:
			if math.Abs(weights[i]-*p.Weight) > lot {
				unmet(TargetWeight, p.Symbol, "its weight is %.4f, the target %.4f", weights[i], *p.Weight)
			}
		}
	}
	if s.RiskErr == nil {
		if te, err := s.Risk.TrackingError(s.plan.After); err == nil && te > share(s.Limits.MaxTEPct) {
			unmet("max_te_pct", "", "the tracking error is %.4f, the limit %.4f", te, share(s.Limits.MaxTEPct))
		}
	}
}

func sortedKeys(m map[string]float64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
