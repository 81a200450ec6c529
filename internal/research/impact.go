package research

import (
	"cmp"
	"math"
	"slices"
)

// Exposure is a holding as news are measured by it.
type Exposure struct {
	Symbol string
	Weight *float64 // of the net asset value, negative when short; nil when the position is unpriced
}

// Impact is what news items amount to for a portfolio.
type Impact struct {
	// Total is the sum over items of the absolute sentiment times the absolute weight of the holdings
	// that the item mentions. Nil when there were items about holdings, and none of them could be
	// measured.
	Total *float64
	// Net is the same with signs: good news of a holding, and bad news of what is held short, are
	// positive.
	Net     *float64
	Items   []ItemImpact   // the measured ones, greatest impact first
	Symbols []SymbolImpact // of holdings with news, greatest impact first
	// Unjudged and Unweighted are items about holdings that can't be measured: without sentiment, and
	// about unpriced positions alone.
	Unjudged, Unweighted []NewsItem
	Elsewhere            int // items about nothing that is held
}

// ItemImpact is one item's part.
type ItemImpact struct {
	NewsItem

	Held   []string // the holdings that it mentions, sorted
	Weight float64  // sum of their absolute weights
	Impact float64  // absolute sentiment times Weight
	Net    float64  // sentiment times the sum of their signed weights
}

// SymbolImpact is what the items about one holding come to.
type SymbolImpact struct {
	Symbol    string
	Weight    float64
	Items     int     // judged ones
	Sentiment float64 // their mean
	Impact    float64
	Net       float64
}

// MeasureImpact measures the items by the holdings that they mention. The impacts of an item's
// holdings add up, so that Total is also the sum over Symbols.
func MeasureImpact(items []NewsItem, holdings []Exposure) Impact {
	weights := make(map[string]*float64, len(holdings))
	for _, h := range holdings {
		weights[h.Symbol] = h.Weight
	}
	var m Impact
	bySymbol := map[string]*SymbolImpact{}
	var total, net float64
	for _, item := range items {
		held := slices.DeleteFunc(slices.Clone(item.Symbols), func(s string) bool { _, ok := weights[s]; return !ok })
		slices.Sort(held)
		held = slices.Compact(held)
		switch {
		case len(held) == 0:
			m.Elsewhere++
			continue
		case item.Sentiment == nil:
			m.Unjudged = append(m.Unjudged, item)
			continue
		}
		s := *item.Sentiment
		i := ItemImpact{NewsItem: item, Held: held}
		measured := false
		for _, symbol := range held {
			w := weights[symbol]
			if w == nil {
				continue
			}
			measured = true
			i.Weight += math.Abs(*w)
			i.Net += s * *w
			b := bySymbol[symbol]
			if b == nil {
				b = &SymbolImpact{Symbol: symbol, Weight: *w}
				bySymbol[symbol] = b
			}
			b.Items++
			b.Sentiment += s // the sum, until all are counted
			b.Impact += math.Abs(s) * math.Abs(*w)
			b.Net += s * *w
		}
		if !measured {
			m.Unweighted = append(m.Unweighted, item)
			continue
		}
		i.Impact = math.Abs(s) * i.Weight
		total += i.Impact
		net += i.Net
		m.Items = append(m.Items, i)
	}
	if len(m.Items) > 0 || len(m.Unjudged)+len(m.Unweighted) == 0 {
		m.Total, m.Net = &total, &net
	}
	slices.SortFunc(m.Items, func(a, b ItemImpact) int {
		return cmp.Or(cmp.Compare(b.Impact, a.Impact), b.PublishedAt.Compare(a.PublishedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, b := range bySymbol {
		b.Sentiment /= float64(b.Items)
		m.Symbols = append(m.Symbols, *b)
	}
	slices.SortFunc(m.Symbols, func(a, b SymbolImpact) int {
		return cmp.Or(cmp.Compare(b.Impact, a.Impact), cmp.Compare(a.Symbol, b.Symbol))
	})
	return m
}
