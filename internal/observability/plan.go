package observability

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// plan says how each server is started, in the order in which they need each other, and writes the
// files that are made of configs/.
func plan(o Options, a Addresses) ([]launch, error) {
	known := pairs(o, a)
	prometheus, err := o.localise(filepath.Join("prometheus", "prometheus.yml"), known)
	if err != nil {
		return nil, err
	}
	alertmanager, err := o.localise(filepath.Join("alertmanager", "alertmanager.yml"), known)
	if err != nil {
		return nil, err
	}
	key := filepath.Join(filepath.Dir(alertmanager), "dawsos.key") // where its configuration looks for it
	if err := os.WriteFile(key, []byte(o.APIKey), 0o600); err != nil {
		return nil, fmt.Errorf("write Alertmanager's API key: %w", err)
	}
	data := func(name string) string { return filepath.Join(o.Dir, "data", name) }
	for _, folder := range []string{"keys", "values"} { // Badger makes the last folder only
		if err := os.MkdirAll(filepath.Join(data("jaeger"), folder), 0o755); err != nil {
			return nil, fmt.Errorf("make Jaeger's folders: %w", err)
		}
	}
	metrics := func(addr string) (host, port string) {
		host, port, _ = net.SplitHostPort(addr) // claimed, so it is one
		return host, port
	}
	jaegerHost, jaegerPort := metrics(a.JaegerMetrics)
	collectorHost, collectorPort := metrics(a.CollectorMetrics)
	verbosity := "basic"
	if o.LogRecords {
		verbosity = "detailed"
	}
	return []launch{
		{
			name: "jaeger", program: o.Programs.Jaeger,
			args: []string{"--config", filepath.Join(o.Root, "configs", "jaeger", "jaeger.yaml")},
			env: []string{
				"JAEGER_HEALTH_ADDR=" + a.JaegerHealth, "JAEGER_DATA_DIR=" + data("jaeger"),
				"JAEGER_QUERY_ADDR=" + a.JaegerUI, "JAEGER_QUERY_GRPC_ADDR=" + a.JaegerQuery,
				"JAEGER_OTLP_GRPC_ADDR=" + a.JaegerGRPC, "JAEGER_OTLP_HTTP_ADDR=" + a.JaegerHTTP,
				"JAEGER_METRICS_HOST=" + jaegerHost, "JAEGER_METRICS_PORT=" + jaegerPort,
			},
			health: "http://" + a.JaegerHealth + "/status",
		},
		{
			name: "otel-collector", program: o.Programs.Collector,
			args: []string{"--config", filepath.Join(o.Root, "configs", "otel", "collector.yaml")},
			env: []string{
				"OTELCOL_HEALTH_ADDR=" + a.CollectorHealth, "OTELCOL_PPROF_ADDR=" + a.CollectorPprof,
				"OTELCOL_ZPAGES_ADDR=" + a.CollectorZpages, "OTELCOL_OTLP_GRPC_ADDR=" + a.CollectorGRPC,
				"OTELCOL_OTLP_HTTP_ADDR=" + a.CollectorHTTP, "OTELCOL_EXPORTER_ADDR=" + a.CollectorExporter,
				"OTELCOL_METRICS_HOST=" + collectorHost, "OTELCOL_METRICS_PORT=" + collectorPort,
				"OTELCOL_DEBUG_VERBOSITY=" + verbosity,
				"JAEGER_OTLP_ADDR=" + a.JaegerGRPC, "JAEGER_METRICS_ADDR=" + a.JaegerMetrics,
				"ENVIRONMENT=" + o.Environment,
			},
			health: "http://" + a.CollectorHealth + "/",
		},
		{
			name: "alertmanager", program: o.Programs.Alertmanager,
			args: []string{
				"--config.file=" + alertmanager, "--storage.path=" + data("alertmanager"),
				"--web.listen-address=" + a.Alertmanager,
				"--cluster.listen-address=", // alone
			},
			health: "http://" + a.Alertmanager + "/-/ready",
		},
		{
			name: "postgres-exporter", program: o.Programs.PostgresExporter,
			args:   []string{"--web.listen-address=" + a.PostgresExporter},
			env:    []string{"DATA_SOURCE_NAME=" + o.DatabaseURL}, // not among the arguments, which everybody can list
			health: "http://" + a.PostgresExporter + "/metrics",
		},
		{
			name: "prometheus", program: o.Programs.Prometheus,
			args: []string{
				"--config.file=" + prometheus, "--storage.tsdb.path=" + data("prometheus"),
				"--storage.tsdb.retention.time=30d", "--web.listen-address=" + a.Prometheus,
				"--enable-feature=exemplar-storage",
			},
			health: "http://" + a.Prometheus + "/-/ready",
		},
	}, nil
}

// pairs are the addresses in configs/prometheus and configs/alertmanager, and what they are here.
func pairs(o Options, a Addresses) map[string]string {
	return map[string]string{
		"backend:8000":           o.API,
		"worker:8001":            o.Worker,
		"localhost:9090":         a.Prometheus, // itself
		"prometheus:9090":        a.Prometheus,
		"alertmanager:9093":      a.Alertmanager,
		"otel-collector:8888":    a.CollectorMetrics,
		"otel-collector:8889":    a.CollectorExporter,
		"postgres-exporter:9187": a.PostgresExporter,
	}
}
