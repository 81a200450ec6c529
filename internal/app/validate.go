package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/telemetry"
)

// Validate checks pattern files, or directories of them, against the agents that AGENTS_FILE configures,
// and prints a line for each problem. Without paths it checks PATTERNS_DIR. It needs no database. Remote
// agents are asked for what they can do; one that does not answer is told, and its capabilities are
// unknown then. The error says how many errors there were; warnings are none.
func Validate(ctx context.Context, paths []string, getenv func(string) string, out io.Writer) error {
	cfg, err := config.Load(getenv, config.Validate)
	if err != nil {
		return err
	}
	m, err := loadModels(cfg.AnalyticsDir)
	if err != nil {
		return err
	}
	tel, err := telemetry.New(ctx, telemetry.Options{
		Process: string(config.Validate), Environment: string(cfg.Environment), LogOutput: out, LogLevel: slog.LevelWarn,
	})
	if err != nil {
		return err
	}
	// The agents are made to be asked what they declare; none of them is called.
	crew, err := newCrew(ctx, cfg, m, getenv, tel, store.New(nil, store.Options{}), agents.Options{
		Registerer: prometheus.NewRegistry(), Metrics: agents.NewMetrics(prometheus.NewRegistry()), Logger: tel.Log,
	})
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		paths = []string{cfg.PatternsDir}
	}
	count := map[patterns.Severity]int{}
	for _, path := range paths {
		problems, err := patterns.Validate(path, crew.runtime)
		if err != nil {
			return err
		}
		for _, p := range problems {
			count[p.Severity]++
			fmt.Fprintln(out, p.Error())
		}
	}
	fmt.Fprintf(out, "errors: %d, warnings: %d\n", count[patterns.Error], count[patterns.Warning])
	if count[patterns.Error] > 0 {
		return errors.New("not all patterns can be served")
	}
	return nil
}
