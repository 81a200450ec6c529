package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dawsos/dawsos/internal/loadtest"
	"github.com/dawsos/dawsos/internal/sample"
)

// loadSample loads the sample data into an experiment's database, so that there are portfolios to run
// patterns over.
func loadSample(ctx context.Context, p loadtest.Place) error {
	pool, err := pgxpool.New(ctx, p.DatabaseURL)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	p.Say("loading the sample data")
	_, err = sample.Load(ctx, pool, filepath.Join(p.Root, "configs", "sample"), func(string) {})
	return err
}

// executePath is the pattern that experiments run.
const executePath = "/v1/patterns/portfolio_overview/execute"

// executeBodies ask for the sample portfolio over different periods, so that not every run is served from what
// an earlier one has computed.
func executeBodies() [][]byte {
	bodies := make([][]byte, 200)
	for i := range bodies {
		bodies[i] = fmt.Appendf(nil, `{"inputs": {"portfolio_id": %q, "lookback_days": %d}, "require_fresh": false}`, sample.PortfolioID(), 60+2*i)
	}
	return bodies
}

// settingsFlag collects settings of the programs, NAME=value.
type settingsFlag []string

func (s *settingsFlag) String() string { return strings.Join(*s, " ") }

func (s *settingsFlag) Set(value string) error {
	if name, _, ok := strings.Cut(value, "="); !ok || name == "" {
		return errors.New("must be NAME=value")
	}
	*s = append(*s, value)
	return nil
}

// overloadFlags are those of load --scenario overload.
func overloadFlags(f *flag.FlagSet) *loadtest.OverloadOptions {
	o := &loadtest.OverloadOptions{Factors: []float64{2, 5}}
	f.Float64Var(&o.Usual, "usual", 0.7, "overload: the usual load before and after, as a part of the capacity")
	f.DurationVar(&o.Each, "each", 20*time.Second, "overload: how long each load is offered")
	f.DurationVar(&o.Measure, "measure", 10*time.Second, "overload: how long the capacity is measured")
	f.Func("memory", "overload: MiB that no process may exceed (default 1024)", func(s string) error {
		_, err := fmt.Sscan(s, &o.Memory)
		o.Memory <<= 20
		return err
	})
	f.Var((*settingsFlag)(&o.Settings), "set", "overload: a setting of the programs, `NAME=value`; may be repeated")
	o.Memory = 1 << 30
	return o
}

func overloadTrial(o *loadtest.OverloadOptions) (trial, error) {
	if o.Usual <= 0 || o.Usual > 1 || o.Each < time.Second || o.Measure < time.Second || o.Memory < 1 {
		return nil, errors.New("--usual must lie above 0 and be at most 1, --each and --measure at least 1s, --memory positive")
	}
	return func(ctx context.Context, p loadtest.Place) (report, error) {
		if err := loadSample(ctx, p); err != nil {
			return nil, err
		}
		o.Execute, o.ExecuteBodies = executePath, executeBodies()
		return reported(loadtest.Overload(ctx, p, *o))
	}, nil
}

// soakFlags are those of soak.
func soakFlags(f *flag.FlagSet) func() (trial, error) {
	var o loadtest.SoakOptions
	f.DurationVar(&o.Duration, "duration", 30*time.Minute, "how long; growth is judged from 10 minutes on")
	f.Float64Var(&o.Rate, "rate", 30, "events a second")
	f.Float64Var(&o.Reads, "reads", 8, "lists, pages and pattern runs a second")
	f.DurationVar(&o.Every, "every", 15*time.Second, "time between two samples")
	f.DurationVar(&o.Drain, "drain", 3*time.Minute, "how long what is open may take afterwards")
	f.Uint64Var(&o.Seed, "seed", 1, "decides which attempts fail")
	f.Var((*settingsFlag)(&o.Settings), "set", "a setting of the programs, `NAME=value`; may be repeated")
	return func() (trial, error) {
		switch {
		case o.Rate <= 0 || o.Reads <= 0 || o.Every < time.Second || o.Drain <= 0:
			return nil, errors.New("--rate, --reads and --drain must be positive, --every at least 1s")
		case o.Duration < 4*o.Every || o.Duration > time.Hour:
			return nil, errors.New("--duration: at least four times --every, at most 1h, as that is how far back retention reaches")
		}
		return func(ctx context.Context, p loadtest.Place) (report, error) {
			if err := loadSample(ctx, p); err != nil {
				return nil, err
			}
			o.Execute, o.ExecuteBodies = executePath, executeBodies()
			return reported(loadtest.Soak(ctx, p, o))
		}, nil
	}
}
