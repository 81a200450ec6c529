package app

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/dawsos/dawsos/internal/config"
)

// Version and Commit are set by the linker at release.
var (
	Version string
	Commit  string
)

// build returns version and commit: the linker's, else what the toolchain recorded.
func build() (version, commit string) {
	version, commit = Version, Commit
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if version == "" {
		version = "dev"
	}
	return version, commit
}

// asksForVersion reports whether the arguments ask a process what it is instead of starting it.
func asksForVersion(args []string) bool {
	return len(args) == 1 && (args[0] == "version" || args[0] == "--version")
}

// PrintVersion writes one line that names the program, its version, the commit, and what it was built
// with and for.
func PrintVersion(w io.Writer, role config.Role) error {
	version, commit := build()
	if commit == "" {
		commit = "unknown"
	}
	_, err := fmt.Fprintf(w, "%s %s, commit %s, %s %s/%s\n", role, version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
