package backup

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// folders are where distributions and installers put PostgreSQL's programs, besides PATH.
var folders = []string{
	"/usr/lib/postgresql/*/bin",       // Debian, Ubuntu
	"/usr/pgsql-*/bin",                // PostgreSQL's own packages for Red Hat and its kin
	"/usr/local/pgsql/bin",            // built from source
	"/opt/homebrew/opt/postgres*/bin", // Homebrew on Apple silicon
	"/usr/local/opt/postgres*/bin",    // Homebrew on Intel
}

// tools are pg_dump and pg_restore of one version.
type tools struct {
	dump, restore string // paths
	major         int
	version       string // as pg_dump says it
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// find returns the programs to use with a server: those of its own version if they are there, else the
// oldest that are newer. pg_dump can't read a server that is newer than itself.
func find(ctx context.Context, server int) (tools, error) {
	var dirs []string
	if path, err := exec.LookPath("pg_dump"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, pattern := range folders {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return tools{}, err
		}
		dirs = append(dirs, found...)
	}
	var all []tools
	for _, dir := range dirs {
		if t, ok := inspect(ctx, dir); ok {
			all = append(all, t)
		}
	}
	return choose(all, server)
}

func choose(all []tools, server int) (tools, error) {
	slices.SortStableFunc(all, func(a, b tools) int { return cmp.Compare(a.major, b.major) })
	for _, t := range all {
		if t.major >= server {
			return t, nil
		}
	}
	if len(all) == 0 {
		return tools{}, fmt.Errorf("pg_dump and pg_restore are not there: install PostgreSQL's client programs, version %d or newer (Debian: postgresql-client)", server)
	}
	return tools{}, fmt.Errorf("pg_dump %s is older than the server, which is PostgreSQL %d: install client programs of version %d or newer",
		all[len(all)-1].version, server, server)
}

// inspect reports whether dir holds both programs, and of which version.
func inspect(ctx context.Context, dir string) (tools, bool) {
	t := tools{dump: filepath.Join(dir, "pg_dump"), restore: filepath.Join(dir, "pg_restore")}
	for _, program := range []string{t.restore, t.dump} {
		out, err := exec.CommandContext(ctx, program, "--version").Output() //nolint:gosec // in a folder for programs
		if err != nil {
			return tools{}, false
		}
		m := versionPattern.FindStringSubmatch(strings.TrimSpace(string(out)))
		if m == nil {
			return tools{}, false
		}
		t.version = m[1]
		if t.major, err = strconv.Atoi(m[2]); err != nil {
			return tools{}, false
		}
	}
	return t, true
}
