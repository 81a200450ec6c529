package prometheus_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// selector is a metric as an expression reads it.
type selector struct {
	name   string
	labels []string // that it is matched by
}

// selectors returns the metrics that a PromQL expression reads, in order. It knows the language's tokens
// and no more: a name is a metric's unless it is a function's, a keyword or a label's in a list. The parser
// of Prometheus would bring all of it into go.mod. Grafana's variables are taken for what they stand for,
// durations and regular expressions, and label_values(metric, label) for a function.
func selectors(expr string) []selector {
	var (
		found    []selector
		list     bool // in the labels of by (...) and its like
		last     string
		inValues bool // in label_values(...)
	)
	for i := 0; i < len(expr); {
		c := expr[i]
		switch {
		case c == '#':
			i = skip(expr, i, func(c byte) bool { return c != '\n' })
		case c == '"' || c == '\'' || c == '`':
			i = quoted(expr, i)
		case c == '$':
			i = skip(expr, i+1, func(c byte) bool { return word(c) || c == '{' || c == '}' })
		case digit(c): // 1e5, 5m, 0x1f
			i = skip(expr, i, func(c byte) bool { return word(c) || c == '.' })
		case c == '[':
			i = skip(expr, i, func(c byte) bool { return c != ']' }) + 1
		case c == '{':
			end, labels := matchers(expr, i)
			if n := len(found); n > 0 && last == found[n-1].name {
				found[n-1].labels = labels
			}
			i, last = end, ""
		case c == '(':
			list = listed[last]
			inValues = last == "label_values"
			i, last = i+1, ""
		case c == ')':
			i, list, inValues, last = i+1, false, false, ""
		case c == ',' && inValues:
			list = true // what follows is a label
			i++
		case word(c) || c == ':':
			end := skip(expr, i, func(c byte) bool { return word(c) || c == ':' })
			last = expr[i:end]
			after := skip(expr, end, space)
			called := after < len(expr) && expr[after] == '('
			if !list && !keywords[last] && !listed[last] && !called {
				// by stands before the parentheses or behind them: sum by (a) (m), sum(m) by (a).
				found = append(found, selector{name: last})
			}
			i = end
		default:
			i++
		}
	}
	var metrics []selector
	for _, s := range found {
		if !aggregations[s.name] {
			metrics = append(metrics, s)
		}
	}
	return metrics
}

var (
	listed       = set("by", "without", "on", "ignoring", "group_left", "group_right")
	keywords     = set("and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "Inf", "NaN")
	aggregations = set("sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values")
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }
func word(c byte) bool {
	return c == '_' || digit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func skip(s string, i int, while func(byte) bool) int {
	for i < len(s) && while(s[i]) {
		i++
	}
	return i
}

// quoted returns where a quoted string that begins at i is over.
func quoted(s string, i int) int {
	quote := s[i]
	for i++; i < len(s) && s[i] != quote; i++ {
		if s[i] == '\\' && quote != '`' {
			i++
		}
	}
	return i + 1
}

// matchers reads {a="b", c=~"d"} that begins at i.
func matchers(s string, i int) (end int, labels []string) {
	for i++; i < len(s) && s[i] != '}'; {
		switch c := s[i]; {
		case c == '"' || c == '\'' || c == '`':
			i = quoted(s, i)
		case word(c) && !digit(c):
			end := skip(s, i, word)
			labels = append(labels, s[i:end])
			i = end
		default:
			i++
		}
	}
	return i + 1, labels
}

func TestSelectors(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string][]selector{
		"up": {{name: "up"}},
		`sum by (le, a) (rate(m_bucket{a="x{y}", b=~"c|d"}[5m])) / on (a) group_left (c) n`: {{"m_bucket", []string{"a", "b"}}, {name: "n"}},
		`sum(m) by (le) > bool 1e3 or 0 * a:b:c offset 5m`:                                  {{name: "m"}, {name: "a:b:c"}},
		"topk(5, m) # and more\nunless absent(n{})":                                         {{name: "m"}, {name: "n"}},
		`rate(m{agent_name=~"$agent"}[$__rate_interval]) > ${limit} * 2`:                    {{"m", []string{"agent_name"}}},
		`label_values(m{x="y"}, agent_name)`:                                                {{"m", []string{"x"}}},
		`max_over_time(rate(m[5m])[1h:30s]) == Inf`:                                         {{name: "m"}},
		"sum without (instance) (m) + vector(1)":                                            {{name: "m"}},
	} {
		require.Equal(t, want, selectors(expr), "%s", expr)
	}
}
