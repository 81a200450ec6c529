package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/loadtest"
)

// campaign is what the flags of chaos say besides.
type campaign struct {
	wanted   bool
	plan     int
	document string
	only     string
	options  loadtest.CampaignOptions
}

func campaignFlags(f *flag.FlagSet) *campaign {
	c := &campaign{}
	f.BoolVar(&c.wanted, "campaign", false, "harm of every kind, not kills alone, to two APIs and two workers")
	f.IntVar(&c.plan, "plan", 0, "campaign: only print the first so many faults of the seed")
	f.StringVar(&c.document, "report", "", "campaign: write the report into this `file`, between its marks")
	f.StringVar(&c.only, "only", "", "campaign: these kinds of faults only, separated by commas; default: all")
	f.IntVar(&c.options.Faults, "faults", 0, "campaign: so many faults at most; 0 means as many as the duration has room for")
	f.DurationVar(&c.options.Shortest, "shortest", time.Second, "campaign: how long a fault lasts at least")
	f.DurationVar(&c.options.Longest, "longest", 6*time.Second, "campaign: how long a fault lasts at most")
	f.DurationVar(&c.options.Calm, "calm", time.Second, "campaign: the longest pause between recovery and the next fault")
	f.DurationVar(&c.options.Recovery, "recovery", 2*time.Minute, "campaign: how long recovery from one fault may take")
	return c
}

// campaignRate is what a campaign posts a second when nothing else is asked for: all of it runs on one
// machine, proxies included.
const campaignRate = 60

// trial makes a campaign of the flags.
func (c *campaign) trial(f *flag.FlagSet, chaos loadtest.ChaosOptions) (trial, error) {
	o := c.options
	o.Seed, o.Duration, o.Rate, o.Concurrency, o.Drain = chaos.Seed, chaos.Duration, campaignRate, chaos.Concurrency, chaos.Drain
	var given []string
	var wrong error
	f.Visit(func(set *flag.Flag) {
		switch set.Name {
		case "rate":
			o.Rate = chaos.Rate
		case "kills", "apis", "workers":
			wrong = fmt.Errorf("--%s is for chaos without --campaign", set.Name)
		}
		if set.Name != "report" && set.Name != "json" {
			given = append(given, "--"+set.Name+" "+set.Value.String())
		}
	})
	if c.only != "" {
		for name := range strings.SplitSeq(c.only, ",") {
			o.Only = append(o.Only, loadtest.Kind(strings.TrimSpace(name)))
		}
	}
	if err := errors.Join(wrong, o.Check()); err != nil {
		return nil, err
	}
	if c.plan > 0 {
		return nil, c.planned(o)
	}
	command := strings.ReplaceAll("go run ./cmd/dev chaos "+strings.Join(given, " "), "--campaign true", "--campaign")
	return func(ctx context.Context, p loadtest.Place) (_ report, err error) {
		if disk, why := newDisk(ctx, p); why == nil {
			p.Disk = disk
			defer func() { err = errors.Join(err, disk.remove(context.WithoutCancel(ctx))) }()
		} else {
			p.NoDisk = why.Error()
		}
		built := commit(ctx, p.Root) // what is edited while it runs is not what runs
		r, err := loadtest.Campaign(ctx, p, o)
		if err != nil {
			return nil, err
		}
		r.Command, r.Commit = command, built
		if c.document == "" {
			return r, nil
		}
		before, err := os.ReadFile(c.document)
		if err != nil {
			return nil, fmt.Errorf("read the document for the report: %w", err)
		}
		after, err := r.WriteInto(string(before))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.document, err)
		}
		if err := os.WriteFile(c.document, []byte(after), 0o644); err != nil {
			return nil, fmt.Errorf("write the report: %w", err)
		}
		return r, nil
	}, nil
}

// plannedError is what was asked for in place of a campaign: its first faults.
type plannedError struct{ text string }

func (e *plannedError) Error() string { return e.text }

// planned describes the first faults of a seed.
func (c *campaign) planned(o loadtest.CampaignOptions) error {
	var b strings.Builder
	for _, fault := range o.Plan(c.plan) {
		fmt.Fprintf(&b, "%s, then %.1f s of calm\n", o.Shape().Describe(fault), fault.Calm.Seconds())
	}
	return &plannedError{b.String()}
}

// commit tells which one runs; "" where that can't be known.
func commit(ctx context.Context, root string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}

// diskTablespace is what the disk is called in PostgreSQL.
const diskTablespace = "campaign"

// newDisk moves the database of a place to a file system of limited size, or says why it can't.
func newDisk(ctx context.Context, p loadtest.Place) (*disk, error) {
	server, ok := p.Server.(*postgres)
	if !ok {
		return nil, errors.New("the server is somebody else's")
	}
	d := &disk{dir: filepath.Join(p.Bin, "disk"), admin: func() string { return server.URL("postgres") }}
	if err := d.mount(server.server.Dir()); err != nil {
		return nil, err
	}
	err := d.admins(ctx,
		"CREATE TABLESPACE "+diskTablespace+" LOCATION '"+filepath.Join(d.dir, "tables")+"'",
		"ALTER DATABASE "+databaseName+" SET TABLESPACE "+diskTablespace)
	if err != nil {
		return nil, errors.Join(err, d.unmount())
	}
	return d, nil
}

// admins runs statements as the superuser of the server.
func (d *disk) admins(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, d.admin())
	if err != nil {
		return fmt.Errorf("connect to the private PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// remove moves the database back to where it was, for whoever wants to look at it, and unmounts.
func (d *disk) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := d.Free()
	err = errors.Join(err, d.admins(ctx,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+databaseName+"'",
		"ALTER DATABASE "+databaseName+" SET TABLESPACE pg_default",
		"DROP TABLESPACE "+diskTablespace,
		"CHECKPOINT"))
	return errors.Join(err, d.unmount())
}
