package release

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
)

// program is one that was built, with what it contains.
type program struct {
	name    string
	content []byte
	info    *debug.BuildInfo
	// modules are the standard library, then the others in the order of their paths.
	modules []module
	// packages are those of npm whose files are in it.
	packages []npmPackage
	// swaggerUI is the version of the one that a module brings along; "" means none.
	swaggerUI string
}

// module is a Go module of a program.
type module struct {
	path, version string
	sum           string // as in go.sum; "" for the standard library
	licence       string // an SPDX expression
	notices       []notice
}

// standardLibrary is what vulnerability databases call it.
const standardLibrary = "std"

// readProgram reads a program and what it says of itself.
func readProgram(file, name string, env environment, npm npmPackages) (program, error) {
	p := program{name: name}
	var err error
	if p.content, err = os.ReadFile(file); err != nil {
		return p, fmt.Errorf("read what was built: %w", err)
	}
	if p.info, err = buildinfo.Read(bytes.NewReader(p.content)); err != nil {
		return p, fmt.Errorf("read what %s is made of: %w", name, err)
	}
	std := module{path: standardLibrary, version: strings.TrimPrefix(p.info.GoVersion, "go")}
	if std.licence, std.notices, err = readLicence(env.GOROOT); err != nil {
		return p, fmt.Errorf("licence of Go: %w", err)
	}
	p.modules = append(p.modules, std)
	for _, dep := range p.info.Deps {
		if dep.Replace != nil {
			return p, fmt.Errorf("%s is replaced: a release is made of what is published", dep.Path)
		}
		m := module{path: dep.Path, version: dep.Version, sum: dep.Sum}
		dir := filepath.Join(env.GOMODCACHE, filepath.FromSlash(escape(dep.Path)+"@"+escape(dep.Version)))
		if m.licence, m.notices, err = readLicence(dir); err != nil {
			return p, fmt.Errorf("licence of %s@%s: %w", dep.Path, dep.Version, err)
		}
		p.modules = append(p.modules, m)
	}
	p.packages = npm.within(p.content)
	if m := swaggerVersion.FindSubmatch(p.content); m != nil {
		p.swaggerUI = string(m[1])
	}
	return p, nil
}

// swaggerVersion is how the Swagger UI of github.com/swaggo/files names its version.
var swaggerVersion = regexp.MustCompile(`\bPACKAGE_VERSION:"(\d+\.\d+\.\d+)"`)

// escape is how the module cache writes capitals: file systems may not tell them apart.
func escape(path string) string {
	var b strings.Builder
	for _, r := range path {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// builtAs checks that the program was built as a release is. What the environment or "go env -w" may bring
// into a build stands in its build information.
func (p program) builtAs(o Options, platform Platform) error {
	want := map[string]string{
		"-buildmode": "exe", "-compiler": "gc", "-trimpath": "true", "CGO_ENABLED": "0",
		"GOOS": platform.OS, "GOARCH": platform.Arch,
	}
	switch platform.Arch { // what may stand there besides
	case "amd64":
		want["GOAMD64"] = "v1"
	case "arm64":
		want["GOARM64"] = "v8.0"
	}
	var errs []error
	for _, s := range p.info.Settings {
		if s.Key == "DefaultGODEBUG" { // of go.mod's version
			continue
		}
		if w, ok := want[s.Key]; !ok || w != s.Value {
			errs = append(errs, fmt.Errorf("%s was built with %s=%s, which a release is not", p.name, s.Key, s.Value))
		}
		delete(want, s.Key)
	}
	for key, value := range want {
		errs = append(errs, fmt.Errorf("%s was not built with %s=%s", p.name, key, value))
	}
	if p.info.GoVersion != o.Compiler {
		errs = append(errs, fmt.Errorf("%s was built by %s, not by %s", p.name, p.info.GoVersion, o.Compiler))
	}
	if p.info.Main.Path != Module || p.info.Path != Module+"/cmd/"+p.name {
		errs = append(errs, fmt.Errorf("%s is %s of %s", p.name, p.info.Path, p.info.Main.Path))
	}
	return errors.Join(errs...)
}
