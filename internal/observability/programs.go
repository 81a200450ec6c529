package observability

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// buildTimeout bounds the build of one program, downloads included: minutes on two cores, the first
// time.
const buildTimeout = 30 * time.Minute

// Programs are the paths of the servers' programs; "" is one that can't be had.
type Programs struct {
	Prometheus, Alertmanager, PostgresExporter, Collector, Jaeger string

	// Missing says of each that can't be had why not, and what would help.
	Missing []error
}

// installed is a program that is looked for on PATH, under Debian's name and its own.
type installed struct {
	field  *string
	names  []string
	debian string
}

// Locate finds the programs of the stack in the module's folder root, and builds those that are built.
// progress is told of steps that may take time, in a sentence each. The error is ctx's: a program
// that can't be had is listed in Missing.
func Locate(ctx context.Context, root string, progress func(string)) (Programs, error) {
	var p Programs
	for _, i := range []installed{
		{&p.Prometheus, []string{"prometheus"}, "prometheus"},
		{&p.Alertmanager, []string{"prometheus-alertmanager", "alertmanager"}, "prometheus-alertmanager"},
		{&p.PostgresExporter, []string{"prometheus-postgres-exporter", "postgres_exporter"}, "prometheus-postgres-exporter"},
	} {
		if err := i.find(); err != nil {
			p.Missing = append(p.Missing, err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		p.Missing = append(p.Missing, fmt.Errorf("otel-collector and jaeger: no folder to keep them in: %w", err))
		return p, ctx.Err()
	}
	// One after the other: either keeps all cores busy.
	for _, b := range []struct {
		field *string
		built
	}{
		{&p.Jaeger, built{
			name: "jaeger", module: filepath.Join(root, "internal", "observability", "servers", "jaeger"),
			pkg: "github.com/jaegertracing/jaeger/cmd/jaeger",
		}},
		{&p.Collector, built{
			name: "otelcol", module: filepath.Join(root, "internal", "observability", "servers", "otelcol"), pkg: ".",
			// Of the ways in which the Prometheus receiver finds targets, those of clouds are most of
			// what there would be to compile.
			tags: "remove_all_sd,enable_dns_sd",
		}},
	} {
		path, err := b.build(ctx, filepath.Join(cache, "dawsos", "tools"), progress)
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		if err != nil {
			p.Missing = append(p.Missing, err)
			continue
		}
		*b.field = path
	}
	return p, nil
}

// find looks for the program on PATH.
func (i installed) find() error {
	for _, name := range i.names {
		if path, err := exec.LookPath(name); err == nil {
			*i.field = path
			return nil
		}
	}
	help := "install it"
	if _, err := exec.LookPath("apt-get"); err == nil {
		help = "apt-get install " + i.debian
		if os.Geteuid() == 0 {
			help += ", and stop the service that it starts"
		}
	}
	return fmt.Errorf("%s is not on PATH: %s", i.names[0], help)
}

// built is a program that is built from a module of its own, whose versions are pinned there.
type built struct {
	name   string
	module string // folder
	pkg    string // within it or what it requires
	tags   string
}

// building lets one build go on in a process at a time: two tests that need the same program would build
// it twice, on cores that one of them can use.
var building sync.Mutex

// build returns the program from the cache, where it is put the first time. Whatever changes the
// module changes the program's name.
func (b built) build(ctx context.Context, cache string, progress func(string)) (string, error) {
	sum, err := b.sum()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, b.name+"-"+sum)
	building.Lock()
	defer building.Unlock()
	switch _, err := os.Stat(path); {
	case err == nil:
		return path, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("look for %s in the cache: %w", b.name, err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for built programs: %w", err)
	}
	progress(fmt.Sprintf("building %s from %s: some minutes, this once", b.name, b.module))
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	// A name of this process's own: another may build the same, and the last to be done wins.
	unfinished := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(unfinished)
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"-tags="+b.tags, "-o", unfinished, b.pkg)
	cmd.Dir = b.module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s in %s: %w\n%s", b.name, b.module, err, strings.TrimSpace(string(out)))
	}
	if err := os.Rename(unfinished, path); err != nil {
		return "", fmt.Errorf("keep %s: %w", b.name, err)
	}
	progress(fmt.Sprintf("built %s in %.0f s", b.name, time.Since(started).Seconds()))
	return path, nil
}

// sum is over everything that decides what is built.
func (b built) sum() (string, error) {
	files, err := filepath.Glob(filepath.Join(b.module, "*.go"))
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, runtime.GOOS, runtime.GOARCH, b.pkg, b.tags)
	for _, file := range append(files, filepath.Join(b.module, "go.mod"), filepath.Join(b.module, "go.sum")) {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read the module of %s: %w", b.name, err)
		}
		fmt.Fprintln(h, filepath.Base(file), len(content))
		h.Write(content)
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), nil
}
