package devpg

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oldest is the oldest major version of PostgreSQL that the schema is for (UNIQUE NULLS NOT DISTINCT).
const oldest = 15

// systemGlobs are the folders where distributions and installers put the server's programs.
var systemGlobs = []string{
	"/usr/lib/postgresql/*/bin",       // Debian, Ubuntu
	"/usr/pgsql-*/bin",                // PostgreSQL's own packages for Red Hat and its kin
	"/usr/local/pgsql/bin",            // built from source
	"/opt/homebrew/opt/postgres*/bin", // Homebrew on Apple silicon
	"/usr/local/opt/postgres*/bin",    // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgres*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// errNoBinaries says that the machine has no server programs.
var errNoBinaries = errors.New("no PostgreSQL server programs found")

// VersionError says that a data folder was written by a major version of PostgreSQL that is not
// there. The server can't read data of another major version.
type VersionError struct {
	Dir   string
	Data  int   // major version that wrote the data
	Found []int // major versions found, newest first
}

func (e *VersionError) Error() string {
	found := make([]string, len(e.Found))
	for i, major := range e.Found {
		found[i] = strconv.Itoa(major)
	}
	return fmt.Sprintf("the data in %s was written by PostgreSQL %d, found is %s", e.Dir, e.Data, strings.Join(found, ", "))
}

// installation is a folder with the programs postgres and initdb.
type installation struct {
	dir   string
	major int
}

// find returns the installation to use for a data folder written by the major version want, or for a
// new one when want is 0: what is on PATH first, then the newest.
func find(ctx context.Context, p place, want int) (installation, error) {
	var all []installation
	if path, err := exec.LookPath("postgres"); err == nil {
		if found, ok := inspect(ctx, p, filepath.Dir(path)); ok {
			all = append(all, found)
		}
	}
	globs := slices.Clone(systemGlobs)
	if cache := cacheDir(p); p.owns(cache) {
		globs = append(globs, filepath.Join(cache, "*", "bin"))
	}
	var rest []installation
	for _, glob := range globs {
		dirs, err := filepath.Glob(glob)
		if err != nil {
			return installation{}, fmt.Errorf("look for PostgreSQL in %s: %w", glob, err)
		}
		for _, dir := range dirs {
			if found, ok := inspect(ctx, p, dir); ok {
				rest = append(rest, found)
			}
		}
	}
	slices.SortStableFunc(rest, func(a, b installation) int { return cmp.Compare(b.major, a.major) })
	return choose(append(all, rest...), p.dir, want)
}

// choose takes the first installation, in order of preference, that can read the data.
func choose(all []installation, dir string, want int) (installation, error) {
	if len(all) == 0 {
		return installation{}, errNoBinaries
	}
	if want == 0 {
		return all[0], nil
	}
	wrong := &VersionError{Dir: dir, Data: want}
	for _, found := range all {
		if found.major == want {
			return found, nil
		}
		if !slices.Contains(wrong.Found, found.major) {
			wrong.Found = append(wrong.Found, found.major)
		}
	}
	return installation{}, wrong
}

// inspect reports whether dir holds usable server programs, and of which major version.
func inspect(ctx context.Context, p place, dir string) (installation, bool) {
	for _, program := range []string{"postgres", "initdb"} {
		info, err := os.Stat(filepath.Join(dir, program))
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			return installation{}, false
		}
		if p.account != nil && (p.account.blockedAt(dir) != "" || !p.account.mayExecute(info)) {
			return installation{}, false
		}
	}
	// A program that does not even tell its version (another machine's, a library missing) would
	// not serve either.
	cmd := p.as(exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version"))
	cmd.Dir = "/" // the server's folder may not be there yet
	out, err := cmd.Output()
	if err != nil {
		return installation{}, false
	}
	major, ok := majorOf(string(bytes.TrimSpace(out)))
	if !ok || major < oldest {
		return installation{}, false
	}
	return installation{dir: dir, major: major}, true
}

var versionPattern = regexp.MustCompile(`^postgres \([^)]*\) (\d+)`)

// majorOf reads the answer of postgres --version, such as "postgres (PostgreSQL) 15.14 (Debian
// 15.14-0+deb12u1)", of a pre-release too ("18beta1").
func majorOf(version string) (int, bool) {
	match := versionPattern.FindStringSubmatch(version)
	if match == nil {
		return 0, false
	}
	major, err := strconv.Atoi(match[1])
	return major, err == nil
}

// dataVersion returns the major version that wrote the data folder; 0 when there is none.
func dataVersion(p place) (int, error) {
	raw, err := os.ReadFile(filepath.Join(p.data(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the data folder: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("%s is no data folder of a PostgreSQL that can be used: its version is %q", p.data(), raw)
	}
	return major, nil
}
