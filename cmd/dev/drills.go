package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/loadtest"
)

func restoreFlags(f *flag.FlagSet) func() (trial, error) {
	var o loadtest.RestoreOptions
	f.IntVar(&o.Events, "events", 3_000, "events accepted before the backup")
	f.IntVar(&o.Concurrency, "concurrency", 16, "requests under way at most")
	f.DurationVar(&o.Limit, "limit", 3*time.Minute, "how long draining, and the backup, may take")
	return func() (trial, error) {
		if o.Events < 1 || o.Concurrency < 1 || o.Limit <= 0 {
			return nil, errors.New("--events, --concurrency and --limit must be positive")
		}
		return func(ctx context.Context, p loadtest.Place) (report, error) {
			if err := loadSample(ctx, p); err != nil {
				return nil, err
			}
			return reported(loadtest.Restore(ctx, p, o))
		}, nil
	}
}

func upgradeFlags(f *flag.FlagSet) func() (trial, error) {
	var o loadtest.UpgradeOptions
	from := f.String("from", "", "the `commit` or tag of the release before, which is built from git's history (the last tag before this commit; without tags, the commit before the newest migration)")
	f.Float64Var(&o.Rate, "rate", 100, "events a second")
	f.IntVar(&o.Concurrency, "concurrency", 32, "requests under way at most")
	f.DurationVar(&o.Phase, "phase", 15*time.Second, "how long the old run alone, both side by side, and the new alone")
	f.DurationVar(&o.Drain, "drain", 2*time.Minute, "how long what is open may take afterwards")
	return func() (trial, error) {
		if o.Rate <= 0 || o.Concurrency < 1 || o.Phase <= 0 || o.Drain <= 0 {
			return nil, errors.New("--rate, --concurrency, --phase and --drain must be positive")
		}
		return func(ctx context.Context, p loadtest.Place) (report, error) {
			o := o
			commit, err := *from, error(nil)
			if commit == "" {
				if commit, err = previousRelease(ctx, p.Root); err != nil {
					return nil, err
				}
			}
			if o.OldRoot, o.OldBin, err = buildRelease(ctx, p, commit); err != nil {
				return nil, err
			}
			return reported(loadtest.Upgrade(ctx, p, o))
		}, nil
	}
}

// previousRelease finds the release before in git's history.
func previousRelease(ctx context.Context, root string) (commit string, err error) {
	git := func(args ...string) string {
		command := exec.CommandContext(ctx, "git", args...)
		command.Dir = root
		out, err := command.Output()
		if err != nil { // no such thing, or no history at all
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	if tag := git("describe", "--tags", "--abbrev=0", "HEAD^"); tag != "" {
		return tag, nil
	}
	if newest := git("log", "-1", "--format=%H", "--", "sql/migrations"); newest != "" {
		if before := git("rev-parse", "--verify", "--quiet", newest+"^"); before != "" {
			return before, nil
		}
	}
	return "", errors.New("git's history has no release before this one: name one with --from")
}

// buildRelease takes a commit out of git's history, beside the place's logs, and builds its programs.
func buildRelease(ctx context.Context, p loadtest.Place, commit string) (root, bin string, err error) {
	root, bin = filepath.Join(p.Logs, "release"), filepath.Join(p.Logs, "release-bin")
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", "", err
	}
	p.Say("building %s", commit)
	// Not a worktree: that would be noted in the repository, and stay there when this is killed.
	archive := exec.CommandContext(ctx, "git", "archive", "--format=tar", commit)
	archive.Dir, archive.Stderr = p.Root, os.Stderr
	unpack := exec.CommandContext(ctx, "tar", "-x", "-C", root)
	unpack.Stderr = os.Stderr
	reader, writer := io.Pipe()
	archive.Stdout, unpack.Stdin = writer, reader
	if err := unpack.Start(); err != nil {
		return "", "", fmt.Errorf("unpack %s: %w", commit, err)
	}
	err = archive.Run()
	_ = writer.Close()
	if err := errors.Join(err, unpack.Wait()); err != nil {
		return "", "", fmt.Errorf("take %s out of git's history (a shallow clone has none): %w", commit, err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin+string(filepath.Separator), "./cmd/api", "./cmd/worker")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("build %s: %w\n%s", commit, err, out)
	}
	return root, bin, nil
}
