package dashboards_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/dashboards"
)

const root = "../.."

// file is what the tests read of a dashboard, from the file as Grafana gets it.
type file struct {
	UID, Title, Description, Refresh string
	Version, SchemaVersion           int
	Time                             struct{ From, To string }
	Templating                       struct {
		List []struct {
			Name, Type        string
			Multi, IncludeAll bool
			Datasource        struct{ UID string }
			Query             struct{ Query string }
		}
	}
	Links  []struct{ URL string }
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Links                    []struct{ URL string }
	Targets                  []struct {
		RefID      string
		Datasource struct{ Type, UID string }
		Expr       string
		RawSQL     string `json:"rawSql"`
		Interval   string
		Exemplar   bool
	}
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []struct{ Value *float64 } }
			Links      []struct{ URL string }
			Custom     map[string]any
			Mappings   []struct {
				Options map[string]struct{ Text, Color string }
			}
		}
		Overrides []struct {
			Properties []struct {
				ID    string
				Value any
			}
		}
	}
	Options map[string]any
}

// files are the dashboards as they stand in the repository, by file name.
func files(t *testing.T) map[string]file {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "dashboards", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	all := map[string]file{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		var f file
		require.NoError(t, json.Unmarshal(content, &f), path)
		all[filepath.Base(path)] = f
	}
	return all
}

func TestFilesAreCurrent(t *testing.T) {
	t.Parallel()
	want, err := dashboards.Files()
	require.NoError(t, err)
	got, err := os.ReadDir(filepath.Join(root, "dashboards"))
	require.NoError(t, err)
	require.Len(t, got, len(want), "a file that is not generated")
	for name, content := range want {
		is, err := os.ReadFile(filepath.Join(root, "dashboards", name))
		require.NoError(t, err)
		require.Equal(t, string(content), string(is), "%s: go generate ./internal/dashboards", name)
	}
}

// TestSpecification holds the files against the list of the specification: what stands in them, of
// which kind, in which order. Whatever goes beyond it comes after.
func TestSpecification(t *testing.T) {
	t.Parallel()
	type listed struct{ kind, title string }
	for name, want := range map[string]struct {
		uid, title, refresh string
		variables           []string
		panels              []listed
		beyond              []string // titles that have to be there, wherever
	}{
		"api_overview.json": {
			uid: "api-overview", title: "API Overview", refresh: "5s",
			panels: []listed{
				{"stat", "Request Rate"},
				{"stat", "Error Rate"},
				{"stat", "P95 Latency"},
				{"stat", "Total Pattern Executions"},
				{"timeseries", "Request Rate by Status"},
				{"timeseries", "API Latency Percentiles"},
				{"timeseries", "Pattern Execution Rate"},
				{"timeseries", "Pattern Step Duration"},
			},
		},
		"agent_performance.json": {
			uid: "agent-performance", title: "Agent Performance", refresh: "5s", variables: []string{"agent"},
			panels: []listed{
				{"stat", "Total Agent Invocations"},
				{"stat", "Agent Error Rate"},
				{"stat", "Agent P95 Latency"},
				{"timeseries", "Agent Invocation Rate by Agent"},
				{"timeseries", "Agent Latency by Agent & Capability (P95)"},
				{"table", "Circuit Breaker Status"},
				{"timeseries", "Agent Invocation Rate by Capability"},
			},
		},
		"alert_delivery.json": {
			uid: "alert-delivery", title: "Alert Delivery & DLQ", refresh: "10s",
			panels: []listed{
				{"stat", "Alert Deliveries (5m)"},
				{"stat", "Alert Delivery Failure Rate"},
				{"stat", "DLQ Size (Pending)"},
				{"stat", "Average Retry Count"},
				{"timeseries", "Alert Delivery Rate"},
				{"timeseries", "Alert Delivery Latency"},
				{"table", "Failed Alerts"},
				{"table", "Recent Successful Deliveries"},
			},
			beyond: []string{
				"Oldest Dead Letter", "Failure Causes", "Backlog by Destination", "Time to Exhaustion", "Ledger Invariant", "Replays",
			},
		},
		"slo.json":     {uid: "slo", title: "Service Level Objectives", refresh: "1m", beyond: []string{"Availability Error Budget Left (30d)", "Availability Burn Rate"}},
		"runtime.json": {uid: "runtime", title: "Runtime", refresh: "30s", beyond: []string{"Goroutines", "Queue Depth", "Queue Lag", "Database Pools", "PostgreSQL Connections", "Telemetry Losses"}},
		"jobs_data.json": {
			uid: "jobs-data", title: "Jobs & Data", refresh: "30s",
			beyond: []string{"Late Jobs", "Last Success", "Job Runs", "Pricing Packs Not Fresh", "Pricing Packs by State", "Imported Rows", "Import Duration (P95)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, ok := files(t)[name]
			require.True(t, ok)
			require.Equal(t, []any{want.uid, want.title, want.refresh}, []any{f.UID, f.Title, f.Refresh})
			require.Positive(t, f.Version)
			require.Equal(t, "now", f.Time.To)
			var variables []string
			for _, v := range f.Templating.List {
				require.True(t, v.Multi && v.IncludeAll)
				require.Equal(t, "label_values(agent_invocations_total, agent_name)", v.Query.Query)
				variables = append(variables, v.Name)
			}
			require.Equal(t, want.variables, variables)
			var all []listed
			var titles []string
			for _, p := range f.Panels {
				all = append(all, listed{p.Type, p.Title})
				titles = append(titles, p.Title)
			}
			require.Equal(t, want.panels, append([]listed(nil), all[:len(want.panels)]...))
			require.Subset(t, titles, want.beyond)
		})
	}
	require.Equal(t, "now-1h", files(t)["api_overview.json"].Time.From)
}

func TestPanels(t *testing.T) {
	t.Parallel()
	provisioned := datasources(t)
	for name, f := range files(t) {
		ids := map[int]bool{}
		cells := map[[2]int]string{}
		require.NotEmpty(t, f.Description, name)
		for _, p := range f.Panels {
			where := name + ": " + p.Title
			require.Positive(t, p.ID, where)
			require.False(t, ids[p.ID], "%s: its id stands twice", where)
			ids[p.ID] = true
			require.Greater(t, len(p.Description), 60, "%s: what it says, what is normal, what to do", where)
			require.NotEmpty(t, p.FieldConfig.Defaults.Unit, where)
			require.NotEmpty(t, p.FieldConfig.Defaults.Thresholds.Steps, where)
			require.Nil(t, p.FieldConfig.Defaults.Thresholds.Steps[0].Value, "%s: the first step has no start", where)
			require.NotEmpty(t, append(p.FieldConfig.Defaults.Links, append(p.Links, f.Links...)...), where)
			g := p.GridPos
			require.True(t, g.X >= 0 && g.Y >= 0 && g.W > 0 && g.H > 0 && g.X+g.W <= 24, "%s: %+v", where, g)
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					require.Empty(t, cells[[2]int{x, y}], "%s lies over it", where)
					cells[[2]int{x, y}] = where
				}
			}
			require.NotEmpty(t, p.Targets, where)
			refs := map[string]bool{}
			for _, target := range p.Targets {
				require.Equal(t, target.Datasource.Type, provisioned[target.Datasource.UID], "%s: data source %s", where, target.Datasource.UID)
				require.False(t, refs[target.RefID], where)
				refs[target.RefID] = true
				require.NotEqual(t, target.Expr == "", target.RawSQL == "", "%s: PromQL or SQL", where)
				require.NotContains(t, target.Expr, "\n", where)
				if target.Interval != "" {
					_, err := time.ParseDuration(target.Interval)
					require.NoError(t, err, where)
				}
				if target.Exemplar {
					require.Contains(t, target.Expr, "_bucket", "%s: only histograms have exemplars", where)
				}
			}
		}
	}
}

// datasources returns the types of the provisioned data sources by uid.
func datasources(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "configs/grafana/provisioning/datasources/dawsos.yaml"))
	require.NoError(t, err)
	var provisioning struct {
		Datasources []struct {
			UID, Type      string
			JSONData       map[string]any `yaml:"jsonData"`
			SecureJSONData map[string]any `yaml:"secureJsonData"`
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &provisioning))
	types := map[string]string{}
	for _, d := range provisioning.Datasources {
		types[d.UID] = d.Type
		for _, secret := range d.SecureJSONData {
			require.Regexp(t, `^\$[A-Z_]+$`, secret, "secrets come from the environment")
		}
		if d.UID == "prometheus" {
			require.Equal(t, "30s", d.JSONData["timeInterval"])
			require.Equal(t, []any{map[string]any{"name": "trace_id", "datasourceUid": "jaeger", "urlDisplayLabel": "Trace"}}, d.JSONData["exemplarTraceIdDestinations"])
		}
	}
	return types
}

func TestProvisioning(t *testing.T) {
	t.Parallel()
	require.Equal(t, map[string]string{
		"prometheus": "prometheus", "jaeger": "jaeger", "postgres": "grafana-postgresql-datasource", "alertmanager": "alertmanager",
	}, datasources(t))

	content, err := os.ReadFile(filepath.Join(root, "configs/grafana/provisioning/dashboards/dawsos.yaml"))
	require.NoError(t, err)
	var provisioning struct {
		Providers []struct {
			Folder                string
			Type                  string
			UpdateIntervalSeconds int  `yaml:"updateIntervalSeconds"`
			AllowUIUpdates        bool `yaml:"allowUiUpdates"`
			Options               struct{ Path string }
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &provisioning))
	require.Len(t, provisioning.Providers, 1)
	p := provisioning.Providers[0]
	require.Equal(t, []any{"DawsOS", "file", 30, true, "/var/lib/grafana/dashboards"},
		[]any{p.Folder, p.Type, p.UpdateIntervalSeconds, p.AllowUIUpdates, p.Options.Path})
}

var runbook = regexp.MustCompile(`^https://github\.com/dawsos/dawsos/blob/main/(docs/runbooks/\w+\.md)$`)

// TestLinks follows every link: to a dashboard that there is, to a page that there is, or to Jaeger
// with a query that it understands.
func TestLinks(t *testing.T) {
	t.Parallel()
	all := files(t)
	uids := map[string]bool{}
	for _, f := range all {
		uids[f.UID] = true
	}
	pages := true
	if _, err := os.Stat(filepath.Join(root, "docs/runbooks")); os.IsNotExist(err) {
		pages = false
		t.Log("docs/runbooks is not there: links to it are not followed")
	}
	follow := func(where, address string) {
		u, err := url.Parse(address)
		require.NoError(t, err, where)
		switch {
		case strings.HasPrefix(address, "/d/"):
			require.True(t, uids[strings.TrimPrefix(u.Path, "/d/")], "%s leads to %s", where, address)
		case u.Path == "/explore":
			var panes map[string]struct {
				Datasource string
				Queries    []struct {
					RefID, QueryType, Service, Operation, Query string
					Datasource                                  struct{ UID string }
				}
			}
			require.NoError(t, json.Unmarshal([]byte(u.Query().Get("panes")), &panes), "%s leads to %s", where, address)
			require.Equal(t, "jaeger", panes["dawsos"].Datasource, where)
			require.Len(t, panes["dawsos"].Queries, 1, where)
			q := panes["dawsos"].Queries[0]
			require.Equal(t, "jaeger", q.Datasource.UID, where)
			if q.QueryType == "search" {
				require.Contains(t, []string{"dawsos-api", "dawsos-worker"}, q.Service, where)
			} else {
				require.Equal(t, "${__value.raw}", q.Query, where)
			}
		default:
			m := runbook.FindStringSubmatch(address)
			require.NotNil(t, m, "%s leads to %s", where, address)
			if pages {
				require.FileExists(t, filepath.Join(root, m[1]), where)
			}
		}
	}
	for name, f := range all {
		for _, l := range f.Links {
			follow(name, l.URL)
		}
		for _, p := range f.Panels {
			for _, l := range append(p.Links, p.FieldConfig.Defaults.Links...) {
				follow(name+": "+p.Title, l.URL)
			}
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					if property.ID == "links" {
						for _, l := range property.Value.([]any) {
							follow(name+": "+p.Title, l.(map[string]any)["url"].(string))
						}
					}
				}
			}
		}
	}
}

// TestGrafanaSchema holds the files against Grafana's own types (testdata/grafana/README.md), each
// panel's options and fields against those of its kind.
func TestGrafanaSchema(t *testing.T) {
	t.Parallel()
	compile := func(name string) *jsonschema.Schema {
		schema, err := jsonschema.NewCompiler().Compile(filepath.Join("testdata/grafana", name+".json"))
		require.NoError(t, err)
		return schema
	}
	whole := compile("dashboard")
	options := map[string]*jsonschema.Schema{
		"stat": compile("stat-options"), "timeseries": compile("timeseries-options"), "table": compile("table-options"),
	}
	fields := map[string]*jsonschema.Schema{"timeseries": compile("timeseries-field"), "table": compile("table-field")}

	for name, f := range files(t) {
		content, err := os.Open(filepath.Join(root, "dashboards", name))
		require.NoError(t, err)
		value, err := jsonschema.UnmarshalJSON(content)
		require.NoError(t, err)
		require.NoError(t, content.Close())
		require.NoError(t, whole.Validate(value), name)
		for _, p := range f.Panels {
			require.NoError(t, options[p.Type].Validate(p.Options), "%s: %s", name, p.Title)
			if p.Type == "stat" {
				require.Empty(t, p.FieldConfig.Defaults.Custom, "%s: %s", name, p.Title)
				continue
			}
			require.NoError(t, fields[p.Type].Validate(p.FieldConfig.Defaults.Custom), "%s: %s", name, p.Title)
		}
	}

	// The schemas have teeth.
	require.Error(t, whole.Validate(map[string]any{"schemaVersion": "39"}))
	require.Error(t, options["stat"].Validate(map[string]any{"colorMode": "glow"}))
	require.Error(t, fields["timeseries"].Validate(map[string]any{"lineWidht": 1.0}))
}

func TestBreakerStatesAreNamedAndColored(t *testing.T) {
	t.Parallel()
	for _, p := range files(t)["agent_performance.json"].Panels {
		if p.Title != "Circuit Breaker Status" {
			continue
		}
		got := map[string]string{}
		for value, result := range p.FieldConfig.Defaults.Mappings[0].Options {
			got[value] = result.Text + " " + result.Color
		}
		require.Equal(t, map[string]string{"0": "CLOSED green", "1": "OPEN red", "2": "HALF_OPEN orange"}, got)
		return
	}
	t.Fatal("the panel is not there")
}
