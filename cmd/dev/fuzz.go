package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/dawsos/dawsos/internal/apifuzz"
	"github.com/dawsos/dawsos/internal/loadtest"
	"github.com/dawsos/dawsos/pkg/api"
)

// fuzzFlags are those of fuzz-api, which asks the API all that its document lets one ask.
func fuzzFlags(f *flag.FlagSet) func() (trial, error) {
	var o apifuzz.Options
	f.Uint64Var(&o.Requests, "requests", 100_000, "how many requests")
	f.Uint64Var(&o.Seed, "seed", 1, "decides what is asked")
	f.IntVar(&o.Concurrency, "concurrency", 4, "requests under way; with 1 a seed gives nearly the same run again")
	file := f.String("report", "", "also write the report to a `file`, as Markdown")
	return func() (trial, error) {
		if o.Requests < 1 || o.Concurrency < 1 {
			return nil, errors.New("--requests and --concurrency must be positive")
		}
		return func(ctx context.Context, p loadtest.Place) (report, error) { return fuzzAPI(ctx, p, o, *file) }, nil
	}
}

func fuzzAPI(ctx context.Context, p loadtest.Place, o apifuzz.Options, file string) (report, error) {
	if err := loadSample(ctx, p); err != nil {
		return nil, err
	}
	receiver := httptest.NewServer(apifuzz.Receiver())
	defer receiver.Close()
	system, err := loadtest.NewSystem(p, 1, 1, "AUTH_ANONYMOUS=admin", "SECRETS_KEY="+base64.StdEncoding.EncodeToString(make([]byte, 32)), "RETRY_SCHEDULE=1s,5s", "DELIVERY_TIMEOUT=2s")
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return nil, err
	}
	o.Document, o.Receiver, o.URL, o.Say = api.Document, receiver.URL, system.URLs("")[0], p.Say
	p.Say("%d requests of seed %d", o.Requests, o.Seed)
	r, err := apifuzz.Run(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, crash := range system.Crashes() {
		r.Found("processes", crash)
	}
	if err := system.Stop(""); err != nil {
		r.Found("processes", err.Error())
	}
	for _, name := range []string{"api-1", "worker-1"} {
		log, err := os.ReadFile(filepath.Join(p.Logs, name+".log"))
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		for i, line := range apifuzz.Trouble(string(log)) {
			if i == 20 {
				break
			}
			r.Found("log of "+name, line)
		}
	}
	if file != "" {
		head := fmt.Sprintf("# The API under fuzzing\n\nWritten by `go run ./cmd/dev fuzz-api --requests %d --seed %d --report %s`; what it does and what it checks is in [fuzzing](fuzzing.md).\n\n", o.Requests, o.Seed, file)
		if err := os.WriteFile(file, []byte(head+r.String()), 0o644); err != nil {
			return nil, fmt.Errorf("write the report: %w", err)
		}
	}
	return r, nil
}
