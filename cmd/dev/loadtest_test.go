package main

import (
	"context"
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExperimentFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		command, args string
		err           string
	}{
		{"chaos", "", ""},
		{"chaos", "--kills 0 --apis 2 --workers 2 --duration 5s --seed 7", ""},
		{"chaos", "--kills -1", "--kills must not be negative"},
		{"chaos", "--duration 0s", "--duration, --rate, --concurrency and --drain must be positive"},
		{"chaos", "--apis 0", "at least one of each and 20 together"},
		{"chaos", "--workers 20", "at least one of each and 20 together"},
		{"chaos", "--campaign --seed 7 --duration 20m --only kill_api,disk_full", ""},
		{"chaos", "--campaign --only rain", "no kind of fault is called rain"},
		{"chaos", "--campaign --kills 3", "--kills is for chaos without --campaign"},
		{"chaos", "--campaign --shortest 7s", "the longest fault not shorter than the shortest"},
		{"chaos", "--campaign --faults -1", "faults from 0 to 10000"},
		{"load", "", ""},
		{"load", "--scenario failures --fail 15", ""},
		{"load", "--scenario flood", `--scenario "flood": allowed are outage, failures, replay and overload`},
		{"load", "--scenario replay --events 5000", ""},
		{"load", "--scenario replay --events 4999", "--events: at least 5000"},
		{"load", "--scenario replay --per-second 1001", "--per-second from 1 to 1000"},
		{"load", "--scenario replay --stop-after 0", "--stop-after must be positive"},
		{"load", "--fail 16", "--fail from 0 to 15"},
		{"load", "--rate 0", "rates, --retry and --warm-up must be positive"},
		{"bench-delivery", "--rounds 3 --round 1s", ""},
		{"bench-size", "", ""},
		{"bench-size", "--events 0", "must be positive"},
		{"drill-restore", "--events 10", ""},
		{"drill-restore", "--events 0", "must be positive"},
		{"drill-upgrade", "--from HEAD~1 --phase 2s", ""},
		{"drill-upgrade", "", ""},
		{"drill-upgrade", "--phase 0s", "must be positive"},
		{"bench-delivery", "--letters 1", "--letters at least 2"},
	} {
		t.Run(c.command+" "+c.args, func(t *testing.T) {
			t.Parallel()
			flags := flag.NewFlagSet(c.command, flag.ContinueOnError)
			prepare := experiments[c.command].flags(flags)
			require.NoError(t, flags.Parse(strings.Fields(c.args)))
			start, err := prepare()
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.NotNil(t, start)
		})
	}
}

func TestConductRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	for args, code := range map[string]int{"--help": 0, "--nonsense": 2, "--kills -1": 2, "more": 2} {
		require.Equal(t, code, conduct(context.Background(), "chaos", strings.Fields(args), io.Discard), args)
	}
}
