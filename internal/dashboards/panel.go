package dashboards

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// The data sources, by the uids under which configs/grafana/provisioning knows them.
var (
	prometheus = datasource{Type: "prometheus", UID: "prometheus"}
	jaeger     = datasource{Type: "jaeger", UID: "jaeger"}
	postgres   = datasource{Type: "grafana-postgresql-datasource", UID: "postgres"}
	grafana    = datasource{Type: "grafana", UID: "-- Grafana --"} // built in: its own annotations
)

const (
	// version is what Grafana shows as the dashboards' own; it goes up when a panel changes its meaning.
	version = 1
	// schemaVersion is the one of Grafana's model that the files are written in. Grafana brings older
	// ones up to its own when it loads them, so that this need not follow it.
	schemaVersion = 39

	columns = 24 // of Grafana's grid

	runbooks = "https://github.com/dawsos/dawsos/blob/main/docs/runbooks/"
)

// kind is a type of panel.
type kind string

const (
	stat       kind = "stat"
	timeSeries kind = "timeseries"
	table      kind = "table"
)

// Units, by Grafana's names.
const (
	count    = "short"
	share    = "percentunit" // 0 to 1
	seconds  = "s"
	binary   = "bytes" // in steps of 1024
	perSec   = "ops"
	requests = "reqps"
	times    = "none"
)

// dashboard is a file.
type dashboard struct {
	file        string
	uid         string
	title       string
	description string
	refresh     string
	from        string // start of the time range, until now
	variables   []variable
	next        []string // uids of the dashboards that it leads to, the likeliest first
	panels      []panel
}

// panel is what its dashboard alone knows of it; place and id follow from the order.
type panel struct {
	kind  kind
	title string
	// description says what the panel shows, what is normal, and what to do when it isn't.
	description string
	unit        string
	decimals    *int
	width       int // in columns; 0: as many as usual for the kind
	height      int // in rows of the grid; 0: as many as usual for the kind
	steps       []step
	stacked     bool
	max         *float64
	queries     []query
	links       []dataLink
	runbooks    []string // alerts whose pages tell what to do
	columns     []column // of a table, in their order
	mappings    []mapping
}

// query is what a panel asks Prometheus, or PostgreSQL where it has SQL.
type query struct {
	expr    string
	sql     string
	legend  string
	minStep string // scrape interval of what it reads where that is shorter than the data source's
	// instant asks for the end of the time range alone.
	instant bool
	// exemplars asks for traces of the measurements too; only queries of histograms have any.
	exemplars bool
}

// column is a field of a table's query and how it shows.
type column struct {
	field string
	title string
	unit  string
	// colored fills the cell with the colour of its mapping or threshold.
	colored bool
	link    *dataLink
}

// dropped are fields that Prometheus adds to tables and that tell nobody anything.
var dropped = []string{"Time", "__name__", "job", "instance", "cluster", "environment"}

// backend is the scrape interval of the API process.
const backend = "10s"

// green, amber and red are from where on a value is fine, needs a look, needs somebody now.
func green() []step { return []step{{Color: "green"}} }

func rising(amber, red float64) []step {
	return []step{{Color: "green"}, {Color: "orange", Value: &amber}, {Color: "red", Value: &red}}
}

func falling(amber, green float64) []step {
	return []step{{Color: "red"}, {Color: "orange", Value: &amber}, {Color: "green", Value: &green}}
}

func plain() []step { return []step{{Color: "blue"}} }

// size returns how many columns and rows the panel takes.
func (p panel) size() (width, height int) {
	switch p.kind {
	case stat:
		width, height = 6, 4
	case timeSeries:
		width, height = 12, 8
	case table:
		width, height = 12, 9
	}
	return cmp.Or(p.width, width), cmp.Or(p.height, height)
}

// model lays the panels out in lines from left to right, each line as high as its highest panel.
func (d dashboard) model() model {
	m := model{
		UID: d.uid, Title: d.title, Description: d.description, Tags: []string{"dawsos"},
		Version: version, SchemaVersion: schemaVersion,
		Editable: true, GraphTooltip: 1, Refresh: d.refresh, Timezone: "browser", Time: timeRange{From: d.from, To: "now"},
		Templating: templating{List: append([]variable{}, d.variables...)},
		Annotations: annotations{List: []annotation{{
			BuiltIn: 1, Datasource: grafana, Enable: true, Hide: true, IconColor: "rgba(0, 211, 255, 1)", Name: "Annotations & Alerts", Type: "dashboard",
		}}},
		Links: []link{},
	}
	for _, uid := range d.next {
		m.Links = append(m.Links, link{
			Title: titles[uid], Type: "link", Icon: "dashboard", URL: "/d/" + uid, Tags: []string{}, KeepTime: true,
		})
	}
	x, y, line := 0, 0, 0
	for i, p := range d.panels {
		width, height := p.size()
		if x+width > columns {
			x, y, line = 0, y+line, 0
		}
		mp := p.model()
		mp.ID, mp.GridPos = i+1, gridPos{H: height, W: width, X: x, Y: y}
		m.Panels = append(m.Panels, mp)
		x, line = x+width, max(line, height)
	}
	return m
}

func (p panel) model() modelPanel {
	m := modelPanel{
		Type: p.kind, Title: p.title, Description: p.description, Datasource: prometheus,
		FieldConfig: fieldConfig{
			Defaults: fieldDefaults{
				Unit: p.unit, Decimals: p.decimals, Max: p.max, Color: color{Mode: "thresholds"},
				Thresholds: thresholds{Mode: "absolute", Steps: p.steps},
				Mappings:   append([]mapping{}, p.mappings...), Links: p.links,
			},
			Overrides: []override{},
		},
	}
	for _, alert := range p.runbooks {
		m.Links = append(m.Links, link{
			Title: "Runbook: " + alert, Type: "link", Icon: "doc", URL: runbooks + alert + ".md", Tags: []string{}, TargetBlank: true,
		})
	}
	for i, q := range p.queries {
		t := target{RefID: string(rune('A' + i)), Datasource: prometheus, EditorMode: "code", Format: "time_series"}
		if q.sql != "" {
			m.Datasource, t.Datasource = postgres, postgres
			t.RawQuery, t.RawSQL, t.Format = true, q.sql, "table"
		} else {
			t.Expr, t.LegendFormat, t.Interval = q.expr, cmp.Or(q.legend, p.title), q.minStep
			t.Instant, t.Range, t.Exemplar = q.instant, !q.instant, q.exemplars
			if p.kind == table {
				t.Format = "table"
			}
		}
		m.Targets = append(m.Targets, t)
	}
	zero := 0.0
	switch p.kind {
	case stat:
		graph := "area"
		if p.queries[0].instant || p.queries[0].sql != "" {
			graph = "none"
		}
		m.Options = statOptions{
			ColorMode: "value", GraphMode: graph, JustifyMode: "auto", Orientation: "auto", PercentChangeColorMode: "standard",
			ReduceOptions: reduceOptions{Calcs: []string{"lastNotNull"}}, TextMode: "value", WideLayout: true,
		}
	case timeSeries:
		lines := timeSeriesField{
			DrawStyle: "line", LineInterpolation: "linear", LineWidth: 1, FillOpacity: 10, ShowPoints: "never",
			Stacking: stacking{Group: "A", Mode: "none"}, ThresholdsStyle: thresholdsStyle{Mode: "off"},
		}
		if p.stacked {
			lines.FillOpacity, lines.Stacking.Mode = 30, "normal"
		}
		if len(p.steps) > 1 {
			lines.ThresholdsStyle.Mode = "dashed"
		}
		m.FieldConfig.Defaults.Color.Mode, m.FieldConfig.Defaults.Min, m.FieldConfig.Defaults.Custom = "palette-classic", &zero, lines
		m.Options = timeSeriesOptions{
			Legend:  legendOptions{Calcs: []string{"mean", "max", "lastNotNull"}, DisplayMode: "table", Placement: "bottom", ShowLegend: true},
			Tooltip: tooltipOptions{Mode: "multi", Sort: "desc"},
		}
	case table:
		m.FieldConfig.Defaults.Custom = tableField{Align: "auto", CellOptions: cellOptions{Type: "auto"}, Inspect: true}
		m.Options = tableOptions{CellHeight: "sm", ShowHeader: true}
		m.Transformations = []transformation{{ID: "organize", Options: p.organize()}}
		for _, c := range p.columns {
			if properties := c.properties(); len(properties) > 0 {
				m.FieldConfig.Overrides = append(m.FieldConfig.Overrides, override{
					Matcher: matcher{ID: "byName", Options: c.title}, Properties: properties,
				})
			}
		}
	}
	return m
}

// organize names and orders a table's columns. What has no column is dropped.
func (p panel) organize() organize {
	o := organize{ExcludeByName: map[string]bool{}, IndexByName: map[string]int{}, RenameByName: map[string]string{}}
	for _, field := range dropped {
		o.ExcludeByName[field] = true
	}
	for i, c := range p.columns {
		delete(o.ExcludeByName, c.field)
		o.IndexByName[c.field] = i
		o.RenameByName[c.field] = c.title
	}
	return o
}

func (c column) properties() []property {
	var all []property
	if c.unit != "" {
		all = append(all, property{ID: "unit", Value: c.unit})
	}
	if c.colored {
		all = append(all, property{ID: "custom.cellOptions", Value: cellOptions{Type: "color-background", Mode: "basic"}})
	}
	if c.link != nil {
		all = append(all, property{ID: "links", Value: []dataLink{*c.link}})
	}
	return all
}

// to leads to another dashboard with the time range; variables follow as &var-NAME=VALUE.
func to(uid string, variables ...string) dataLink {
	return dataLink{Title: titles[uid], URL: strings.Join(append([]string{"/d/" + uid + "?${__url_time_range}"}, variables...), "&")}
}

// traces leads to Jaeger's traces of a service, or of one operation of it, within the time range.
// operation may hold Grafana's variables, which it fills in when somebody follows the link.
func traces(service, operation string) dataLink {
	q := map[string]any{"queryType": "search", "service": service}
	if operation != "" {
		q["operation"] = operation
	}
	return explore("Traces", q)
}

// trace leads to the one trace whose id the value is.
func trace() *dataLink {
	l := explore("Trace", map[string]any{"query": "${__value.raw}"})
	return &l
}

func explore(title string, q map[string]any) dataLink {
	q["refId"], q["datasource"] = "A", jaeger
	panes, err := json.Marshal(map[string]any{"dawsos": map[string]any{
		"datasource": jaeger.UID, "queries": []any{q}, "range": timeRange{From: "${__from}", To: "${__to}"},
	}})
	if err != nil {
		panic(fmt.Sprintf("dashboards: a link to Jaeger is no JSON: %v", err)) // made of nothing but maps and texts
	}
	// Grafana finds its variables as they are written, and not once they are escaped.
	escaped := strings.NewReplacer("%24%7B", "${", "%7D", "}", "+", "%20").Replace(url.QueryEscape(string(panes)))
	return dataLink{Title: title, URL: "/explore?schemaVersion=1&panes=" + escaped, TargetBlank: true}
}

// cents shows n digits behind the point.
func cents(n int) *int { return &n }
