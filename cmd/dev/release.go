package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/dawsos/dawsos/internal/release"
)

const releaseCommand = "release"

// makeRelease makes the files of a release from what is checked out. It returns the exit code.
func makeRelease(ctx context.Context, args []string, out io.Writer) int {
	flags := flag.NewFlagSet("dev "+releaseCommand, flag.ContinueOnError)
	version := flags.String("version", "", "`version` of the release, as 1.2.3 (needed)")
	folder := flags.String("out", "dist", "`folder` that the files go to; it must be empty")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "what to build for")
	dirty := flags.Bool("dirty", false, "build what is not committed too, and mark the commit as such: never to be published")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "dev: unexpected %q, see go run ./cmd/dev %s --help\n", flags.Arg(0), releaseCommand)
		return 2
	}
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	if err := releaseHere(ctx, *version, *folder, *platforms, *dirty, say); err != nil {
		fmt.Fprintf(os.Stderr, "dev: %v\n", err)
		return 1
	}
	return 0
}

func releaseHere(ctx context.Context, version, folder, platforms string, dirty bool, say func(string, ...any)) error {
	o := release.Options{Source: ".", Out: folder, Version: version}
	var err error
	if o.Platforms, err = release.ParsePlatforms(platforms); err != nil {
		return err
	}
	if o.Compiler, err = release.Compiler(o.Source); err != nil {
		return err
	}
	// This program packs the archives: what compresses them is part of what comes out.
	if running := runtime.Version(); running != o.Compiler {
		return fmt.Errorf("a release is made by %s, this is %s: set GOTOOLCHAIN=%s", o.Compiler, running, o.Compiler)
	}
	if o.Commit, o.Time, err = release.Head(ctx, o.Source, dirty); err != nil {
		return err
	}
	say("version %s, commit %s of %s, %s", o.Version, o.Commit, o.Time.Format("2006-01-02 15:04:05 MST"), o.Compiler)
	names, err := release.Make(ctx, o, say)
	if err != nil {
		return err
	}
	for _, name := range names {
		say("%s/%s", folder, name)
	}
	return nil
}
