// Package release makes what is published: both programs for every platform, archives of them with
// licences and bills of materials, and the sums of all of it.
//
// Whoever has the same commit and the same compiler gets the same bytes: nothing of the folder, the machine
// or the hour goes in. Times are the commit's.
package release

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Module is the project's.
const Module = "github.com/dawsos/dawsos"

// Sums is the name of the file with the sums of all others.
const Sums = "SHA256SUMS"

// Licences is the name of the file, in every archive, with the licences of what the programs contain.
const Licences = "THIRD-PARTY-LICENCES.txt"

// Programs are what a release has, in this order.
var Programs = []string{"api", "worker"}

// Platform is an operating system and an architecture, in Go's words.
type Platform struct{ OS, Arch string }

// Platforms are those of a release.
var Platforms = []Platform{{"linux", "amd64"}, {"linux", "arm64"}}

func (p Platform) String() string { return p.OS + "/" + p.Arch }

// ParsePlatforms reads platforms such as "linux/amd64,linux/arm64".
func ParsePlatforms(text string) ([]Platform, error) {
	var platforms []Platform
	for part := range strings.SplitSeq(text, ",") {
		system, arch, ok := strings.Cut(part, "/")
		if !ok || system == "" || arch == "" {
			return nil, fmt.Errorf("platform %q: it must be as linux/amd64", part)
		}
		platforms = append(platforms, Platform{system, arch})
	}
	return platforms, nil
}

// Options are what a release is made of. All are needed.
type Options struct {
	// Source is the project's folder.
	Source string
	// Out is where the files go; it is made. Files of an earlier release there must be gone.
	Out string
	// Version as 1.2.3 or 1.2.3-rc.1, without a v.
	Version string
	// Commit is the whole hash.
	Commit string
	// Time is the commit's: the time of every file in the archives.
	Time time.Time
	// Compiler is the version of Go that builds, as go1.26.11.
	Compiler string
	// Platforms to build for.
	Platforms []Platform
	// Cache is the folder of the compiler's cache; "" means the one that is in use.
	Cache string
}

var (
	versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$`)
	commitForm  = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?(-dirty)?$`)
)

func (o Options) check() error {
	var errs []error
	if !versionForm.MatchString(o.Version) {
		errs = append(errs, fmt.Errorf("version %q: it must be as 1.2.3 or 1.2.3-rc.1", o.Version))
	}
	if !commitForm.MatchString(o.Commit) {
		errs = append(errs, fmt.Errorf("commit %q: it must be a whole hash", o.Commit))
	}
	if o.Time.Unix() <= 0 {
		errs = append(errs, errors.New("the commit's time is not known"))
	}
	if len(o.Platforms) == 0 {
		errs = append(errs, errors.New("there is no platform to build for"))
	}
	return errors.Join(errs...)
}

// configs is what the programs read at their start: what the images have in /app.
var configs = []string{"configs/agents.yaml", "configs/analytics", "configs/patterns"}

// Make makes the files of a release in Out and returns their names, Sums the last.
func Make(ctx context.Context, o Options, say func(format string, args ...any)) ([]string, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := empty(o.Out); err != nil {
		return nil, err
	}
	npm, err := readNPM(filepath.Join(o.Source, "internal", "console", "npm"))
	if err != nil {
		return nil, err
	}
	env, err := goEnv(ctx, o)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "dawsos-release-")
	if err != nil {
		return nil, fmt.Errorf("make a folder to build in: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	var names []string
	for _, platform := range o.Platforms {
		say("building for %s", platform)
		made, err := makePlatform(ctx, o, platform, env, npm, scratch)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", platform, err)
		}
		names = append(names, made...)
	}
	sums, err := sumsOf(o.Out, names)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(o.Out, Sums), sums, 0o644); err != nil {
		return nil, fmt.Errorf("write the sums: %w", err)
	}
	return append(names, Sums), nil
}

// makePlatform builds for one platform. It makes the archive, and each program's bill of materials besides.
func makePlatform(ctx context.Context, o Options, platform Platform, env environment, npm npmPackages, scratch string) ([]string, error) {
	bin := filepath.Join(scratch, platform.OS+"_"+platform.Arch)
	if err := build(ctx, o, platform, bin); err != nil {
		return nil, err
	}
	suffix := "_" + o.Version + "_" + platform.OS + "_" + platform.Arch
	folder := "dawsos" + suffix
	var (
		names   []string
		content []entry
		notices = newNotices()
	)
	for _, name := range Programs {
		program, err := readProgram(filepath.Join(bin, name), name, env, npm)
		if err != nil {
			return nil, err
		}
		if err := program.builtAs(o, platform); err != nil {
			return nil, err
		}
		bill, err := program.bill(o, platform)
		if err != nil {
			return nil, err
		}
		file := name + suffix + ".cdx.json"
		if err := os.WriteFile(filepath.Join(o.Out, file), bill, 0o644); err != nil {
			return nil, fmt.Errorf("write the bill of materials: %w", err)
		}
		names = append(names, file)
		content = append(content,
			entry{folder + "/" + name, 0o755, program.content},
			entry{folder + "/" + name + ".cdx.json", 0o644, bill})
		notices.add(program)
	}
	content = append(content, entry{folder + "/" + Licences, 0o644, notices.text(npm)})
	for _, path := range append([]string{"LICENSE", "SECURITY.md"}, configs...) {
		files, err := readFiles(o.Source, path, folder)
		if err != nil {
			return nil, err
		}
		content = append(content, files...)
	}
	packed, err := archive(content, o.Time)
	if err != nil {
		return nil, err
	}
	file := folder + ".tar.gz"
	if err := os.WriteFile(filepath.Join(o.Out, file), packed, 0o644); err != nil {
		return nil, fmt.Errorf("write the archive: %w", err)
	}
	return append([]string{file}, names...), nil
}

// empty makes a folder, and refuses one that holds something: sums would not be of all that lies there.
func empty(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the release: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the folder of the release: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: take away what is there", dir)
	}
	return nil
}

// readFiles reads a file, or every file of a folder, as entries below a folder of the archive.
func readFiles(source, path, folder string) ([]entry, error) {
	root, err := os.OpenRoot(source) // a link that leads out of it is none of the project's files
	if err != nil {
		return nil, fmt.Errorf("open the project: %w", err)
	}
	defer func() { _ = root.Close() }()
	var entries []entry
	err = fs.WalkDir(root.FS(), path, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(file, "_test.go") {
			return err
		}
		raw, err := fs.ReadFile(root.FS(), file)
		entries = append(entries, entry{folder + "/" + file, 0o644, raw})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return entries, nil
}

// sumsOf is what sha256sum would print of the files.
func sumsOf(dir string, names []string) ([]byte, error) {
	var text []byte
	for _, name := range slices.SortedFunc(slices.Values(names), cmp.Compare[string]) {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read for its sum: %w", err)
		}
		text = append(text, sum(raw)+"  "+name+"\n"...)
	}
	return text, nil
}

func sum(raw []byte) string {
	s := sha256.Sum256(raw)
	return hex.EncodeToString(s[:])
}
