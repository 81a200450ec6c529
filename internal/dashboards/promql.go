package dashboards

import (
	"fmt"
	"strings"
)

// window is what quantiles look back on, recorded or not.
const window = "5m"

// rated sums a counter's rates, by labels or over everything.
func rated(counter string, by ...string) string {
	return summed("rate("+counter+"[$__rate_interval])", by...)
}

// increased sums a counter's increase over the dashboard's time range.
func increased(counter string, by ...string) string {
	return summed("increase("+counter+"[$__range])", by...)
}

func summed(of string, by ...string) string {
	if len(by) == 0 {
		return "sum(" + of + ")"
	}
	return "sum by (" + strings.Join(by, ", ") + ") (" + of + ")"
}

// ratio divides the rates of two counters; of nothing it is 0.
func ratio(part, whole string) string {
	return fmt.Sprintf("%s / %s >= 0 or 0 * %[2]s", rated(part), rated(whole))
}

// p95 is what nineteen of twenty of a histogram's measurements of the latest minutes stay below; of
// none it is 0. selector holds the matchers with their braces.
func p95(histogram, selector string, by ...string) string {
	return fmt.Sprintf("histogram_quantile(0.95, %s) >= 0 or 0 * %s",
		summed("rate("+histogram+"_bucket"+selector+"["+window+"])", append([]string{"le"}, by...)...),
		summed("rate("+histogram+"_count"+selector+"["+window+"])", by...))
}

// sumRatio is the share that one counter has in the rates of two; of nothing it is 0.
func sumRatio(part, rest string) string {
	whole := "(" + rated(part) + " + " + rated(rest) + ")"
	return fmt.Sprintf("%s / %s >= 0 or 0 * %[2]s", rated(part), whole)
}
