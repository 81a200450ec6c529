package dashboards

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query is what one panel, or one variable, asks a data source.
type Query struct {
	Dashboard  string // uid
	Panel      string // title; of a variable its name with a $ before it
	PanelID    int    // 0 for a variable
	RefID      string
	Datasource string // uid: prometheus or postgres
	// Text is PromQL or SQL with Grafana's variables in it.
	Text     string
	Instant  bool // asked for the end of the time range only
	Exemplar bool // asked for exemplars too

	minStep time.Duration
}

// Label is a dashboard's variable: the values that a label has in a metric's series.
type Label struct {
	Dashboard string // uid
	Name      string // of the variable, without the $
	Metric    string
	Label     string
}

// Values are what Grafana fills in.
type Values struct {
	Agents []string      // chosen for $agent; all there are stand for All
	Range  time.Duration // from the start of the time range to its end
	Step   time.Duration // between two points, as it follows from the panel's width
	Scrape time.Duration // the Prometheus data source's timeInterval
}

// Queries lists what all panels ask, in the order of the dashboards.
func Queries() []Query {
	var list []Query
	for _, d := range all() {
		for _, p := range d.model().Panels {
			for _, t := range p.Targets {
				q := Query{
					Dashboard: d.uid, Panel: p.Title, PanelID: p.ID, RefID: t.RefID, Datasource: t.Datasource.UID,
					Text: t.Expr + t.RawSQL, Instant: t.Instant, Exemplar: t.Exemplar,
				}
				if t.Interval != "" {
					q.minStep, _ = time.ParseDuration(t.Interval) // ours, and a test reads each
				}
				list = append(list, q)
			}
		}
	}
	return list
}

var labelValues = regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)

// Labels lists the dashboards' variables.
func Labels() []Label {
	var list []Label
	for _, d := range all() {
		for _, v := range d.variables {
			m := labelValues.FindStringSubmatch(v.Query.Query)
			list = append(list, Label{Dashboard: d.uid, Name: v.Name, Metric: m[1], Label: m[2]})
		}
	}
	return list
}

var rule = regexp.MustCompile(`[a-z_]+:[a-z_]+:[a-z0-9_]+`)

// Rules lists the recording rules that panels read, sorted.
func Rules() []string {
	var list []string
	for _, q := range Queries() {
		if q.Datasource == prometheus.UID {
			list = append(list, rule.FindAllString(q.Text, -1)...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

var reference = regexp.MustCompile(`\$\{?(\w+)\}?`)

// Interpolate returns the query with its variables filled in as Grafana does. It fails when one is not
// known, or when $agent stands in it and no agent is chosen.
func (q Query) Interpolate(v Values) (string, error) {
	// Grafana takes four scrapes at least, so that a rate has two samples even when one is missing.
	scrape := v.Scrape
	if q.minStep > 0 {
		scrape = q.minStep
	}
	step := max(v.Step, scrape)
	var errs []error
	text := reference.ReplaceAllStringFunc(q.Text, func(found string) string {
		switch name := reference.FindStringSubmatch(found)[1]; name {
		case "__rate_interval":
			return duration(max(step+scrape, 4*scrape))
		case "__interval":
			return duration(step)
		case "__range":
			return duration(v.Range)
		case "agent":
			if len(v.Agents) == 0 {
				errs = append(errs, errors.New("no agent is chosen"))
			}
			return alternatives(v.Agents)
		default:
			errs = append(errs, fmt.Errorf("there is no variable %s", found))
			return found
		}
	})
	if err := errors.Join(errs...); err != nil {
		return "", fmt.Errorf("query %s of panel %q in %s: %w", q.RefID, q.Panel, q.Dashboard, err)
	}
	return text, nil
}

// duration writes whole seconds, which every time that Grafana fills in is here.
func duration(d time.Duration) string {
	return strconv.FormatInt(int64(d.Seconds()), 10) + "s"
}

// special are the characters that mean something in a regular expression; within PromQL's quotes each
// needs two backslashes.
var special = regexp.MustCompile(`[\\^$*+?.()|[\]{}]`)

func alternatives(values []string) string {
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = special.ReplaceAllString(v, `\\$0`)
	}
	if len(escaped) == 1 {
		return escaped[0]
	}
	return "(" + strings.Join(escaped, "|") + ")"
}
