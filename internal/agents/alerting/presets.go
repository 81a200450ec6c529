package alerting

import (
	"math"

	"github.com/dawsos/dawsos/internal/tables"
)

// PresetsFile is the name of the presets' file.
const PresetsFile = "presets.yaml"

// Presets are the rules that are proposed. See configs/analytics/presets.yaml.
type Presets struct {
	Source string `yaml:"-"` // names the file by its content

	RegimeShift RegimeShift `yaml:"regime_shift"`
	FactorShift FactorShift `yaml:"factor_shift"`
	NewsImpact  NewsImpact  `yaml:"news_impact"`
}

// Urgency is what every preset says of its rules.
type Urgency struct {
	Severity      string `yaml:"severity"`
	CooldownHours int    `yaml:"cooldown_hours"`
}

// RegimeShift is the preset for a macro regime that has changed.
type RegimeShift struct {
	Urgency `yaml:",inline"`

	Confidence float64 `yaml:"confidence"` // 0 to 1
}

// FactorShift is the preset for a beta that has changed.
type FactorShift struct {
	Urgency `yaml:",inline"`

	Loss          float64           `yaml:"loss"`         // fraction of the net asset value
	MinMovePct    float64           `yaml:"min_move_pct"` // percent
	MaxMovePct    float64           `yaml:"max_move_pct"` // percent
	Prices        map[string]string `yaml:"prices"`       // symbol by factor
	DrawdownLimit float64           `yaml:"drawdown_limit"`
}

// NewsImpact is the preset for news that weigh on a portfolio.
type NewsImpact struct {
	Urgency `yaml:",inline"`

	Sentiment  float64 `yaml:"sentiment"` // absolute, above 0 to 1
	MaxSymbols int     `yaml:"max_symbols"`
}

// LoadPresets reads presets.yaml in a folder. The error names everything that is wrong with it.
func LoadPresets(dir string) (Presets, error) {
	var p Presets
	source, err := tables.Read(dir, PresetsFile, &p)
	if err != nil {
		return Presets{}, err
	}
	p.Source = source
	return p, p.check()
}

// check finds what no rule would be refused for. What is left, severities, cooldowns and bounds of
// thresholds, is found by making a rule of every kind.
func (p Presets) check() error {
	var ps tables.Problems
	bad := func(ok bool, key, problem string) {
		if !ok {
			ps.Add(key, "%s", problem)
		}
	}
	f := p.FactorShift
	bad(f.Loss > 0 && f.Loss <= 1, "factor_shift.loss", "must be above 0 and up to 1")
	bad(f.MinMovePct >= 0 && f.MinMovePct < f.MaxMovePct && !math.IsInf(f.MaxMovePct, 0),
		"factor_shift.min_move_pct and max_move_pct", "must be 0 or more, and the second above the first")
	bad(p.NewsImpact.Sentiment > 0 && p.NewsImpact.Sentiment <= 1, "news_impact.sentiment", "must be above 0 and up to 1")
	bad(p.NewsImpact.MaxSymbols >= 1 && p.NewsImpact.MaxSymbols <= 32, "news_impact.max_symbols", "must be 1 to 32")
	for name, u := range map[string]Urgency{
		"factor_shift": f.Urgency, "news_impact": p.NewsImpact.Urgency, "regime_shift": p.RegimeShift.Urgency,
	} {
		bad(u.Severity != "", name+".severity", "is missing")
	}
	const someone, somewhere = "system", "00000000-0000-0000-0000-000000000000"
	for _, body := range []ruleBody{
		p.regimeRule(someone), p.drawdownRule(someone, somewhere),
		p.newsRule(someone, []watchedHolding{{Symbol: "A", Weight: 1}, {Symbol: "B", Weight: -1}}),
	} {
		if _, err := body.parse(); err != nil {
			ps = append(ps, err)
		}
	}
	for factor, symbol := range f.Prices {
		if _, err := p.priceRule(someone, factor, symbol, 1, f.MaxMovePct).parse(); err != nil {
			ps.Add("factor_shift.prices."+factor, "%w", err)
		}
	}
	return ps.In(PresetsFile)
}
