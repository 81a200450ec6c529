package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// build compiles the programs into a folder, as the Dockerfile does.
func build(ctx context.Context, o Options, platform Platform, bin string) error {
	args := []string{
		"build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X " + Module + "/internal/app.Version=" + o.Version + " -X " + Module + "/internal/app.Commit=" + o.Commit,
		"-o", bin + string(filepath.Separator),
	}
	for _, name := range Programs {
		args = append(args, "./cmd/"+name)
	}
	cmd := command(ctx, o, args...)
	cmd.Env = append(cmd.Env, "GOOS="+platform.OS, "GOARCH="+platform.Arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// command is the compiler's, with what would change its output set to what a release has. Where modules
// come from stays as it is: go.sum says what they are.
func command(ctx context.Context, o Options, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = o.Source
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly", "GOTOOLCHAIN="+o.Compiler,
		"GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off")
	if o.Cache != "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+o.Cache)
	}
	return cmd
}

// environment is where the compiler has its own files and the modules'.
type environment struct{ GOROOT, GOMODCACHE, GOVERSION string }

func goEnv(ctx context.Context, o Options) (environment, error) {
	var env environment
	out, err := command(ctx, o, "env", "-json", "GOROOT", "GOMODCACHE", "GOVERSION").Output()
	if err != nil {
		return env, fmt.Errorf("go env: %w", err)
	}
	if err := json.Unmarshal(out, &env); err != nil {
		return env, fmt.Errorf("read go env: %w", err)
	}
	if env.GOVERSION != o.Compiler {
		return env, fmt.Errorf("the compiler is %s, a release is built by %s", env.GOVERSION, o.Compiler)
	}
	return env, nil
}

var builder = regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+\.\d+)-\S+ AS build$`)

// Compiler is the version of Go that releases are built with: the image's, as go1.26.11.
func Compiler(source string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(source, "Dockerfile"))
	if err != nil {
		return "", fmt.Errorf("read which compiler builds: %w", err)
	}
	m := builder.FindSubmatch(raw)
	if m == nil {
		return "", errors.New("the Dockerfile has no stage build on a golang image with a whole version")
	}
	return "go" + string(m[1]), nil
}

// Head is the commit that is checked out and its time. A tree with changes is refused, or with dirty marked
// as such.
func Head(ctx context.Context, source string, dirty bool) (commit string, at time.Time, err error) {
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = source
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w", args[0], err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	changed, err := git("status", "--porcelain")
	if err != nil {
		return "", time.Time{}, err
	}
	if changed != "" && !dirty {
		return "", time.Time{}, fmt.Errorf("what is released must be committed, and these are not:\n%s", changed)
	}
	head, err := git("show", "--no-patch", "--format=%H %ct", "HEAD")
	if err != nil {
		return "", time.Time{}, err
	}
	commit, seconds, _ := strings.Cut(head, " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("the time of commit %s: %w", commit, err)
	}
	if changed != "" {
		commit += "-dirty"
	}
	return commit, time.Unix(n, 0).UTC(), nil
}
