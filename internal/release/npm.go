package release

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// npmPackages is what the console has from npm: files that lie in the repository as they were published, the
// packages they are of, and those that their makers put into them.
type npmPackages struct {
	files    map[string][]byte // by name
	direct   []npmPackage      // whose files they are
	bundled  []npmPackage      // within them, in the order of their names
	licences []byte            // LICENSES.txt
}

// npmPackage is a package of npm.
type npmPackage struct {
	name, version, licence string
	// integrity is the sum of what npm has published, as package-lock.json writes it.
	integrity string
	file      string // what the repository has of it; "" means a part of another's file
	sum       string // the file's, SHA-256 in hex
}

var (
	packageOfFile = regexp.MustCompile(`^(.+?)\.min\.js$`)
	bundledForm   = regexp.MustCompile(`\b([a-z][a-z0-9.-]*) (\d+\.\d+\.\d+)\b`)
)

// readNPM reads the folder of what is vendored. Every package that LICENSES.txt names is one of
// package-lock.json, of the same version.
func readNPM(dir string) (npmPackages, error) {
	n := npmPackages{files: map[string][]byte{}}
	var lock struct {
		Packages map[string]struct {
			Version, License, Integrity string
			Dev                         bool
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return n, fmt.Errorf("read what is from npm: %w", err)
	}
	if err := json.Unmarshal(raw, &lock); err != nil {
		return n, fmt.Errorf("read package-lock.json: %w", err)
	}
	locked := func(name, version string) (npmPackage, error) {
		for key, p := range lock.Packages {
			if p.Version == version && (key == "node_modules/"+name || strings.HasSuffix(key, "/node_modules/"+name)) {
				return npmPackage{name: name, version: version, licence: p.License, integrity: p.Integrity}, nil
			}
		}
		return npmPackage{}, fmt.Errorf("package-lock.json has no %s %s", name, version)
	}
	if n.licences, err = os.ReadFile(filepath.Join(dir, "LICENSES.txt")); err != nil {
		return n, fmt.Errorf("read licences from npm: %w", err)
	}
	sums, err := os.ReadFile(filepath.Join(dir, Sums))
	if err != nil {
		return n, fmt.Errorf("read sums of what is from npm: %w", err)
	}
	for line := range strings.Lines(string(sums)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		name = strings.TrimPrefix(name, "./")
		m := packageOfFile.FindStringSubmatch(name)
		if m == nil || strings.Contains(name, "/") { // testdata, which no program has
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return n, fmt.Errorf("read what is from npm: %w", err)
		}
		if got := sum(content); got != want {
			return n, fmt.Errorf("%s is not what %s says", name, Sums)
		}
		n.files[name] = content
		packageName := m[1]
		if packageName == "htmx" {
			packageName = "htmx.org"
		}
		top, ok := lock.Packages["node_modules/"+packageName]
		if !ok || top.Dev {
			return n, fmt.Errorf("package-lock.json has no package %s, which %s is of", packageName, name)
		}
		p, err := locked(packageName, top.Version)
		if err != nil {
			return n, err
		}
		p.file, p.sum = name, want
		n.direct = append(n.direct, p)
	}
	for line := range strings.Lines(string(n.licences)) {
		if !bundledLine.MatchString(line) {
			continue
		}
		for _, m := range bundledForm.FindAllStringSubmatch(line, -1) {
			if slices.ContainsFunc(n.direct, func(p npmPackage) bool { return p.name == m[1] }) || m[1] == "htmx" {
				continue
			}
			p, err := locked(m[1], m[2])
			if err != nil {
				return n, fmt.Errorf("LICENSES.txt: %w", err)
			}
			n.bundled = append(n.bundled, p)
		}
	}
	slices.SortFunc(n.bundled, func(a, b npmPackage) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.version, b.version))
	})
	return n, nil
}

// bundledLine is a line of LICENSES.txt that names packages: nothing but names and versions.
var bundledLine = regexp.MustCompile(`^[a-z][a-z0-9.-]* \d+\.\d+\.\d+(, [a-z][a-z0-9.-]* \d+\.\d+\.\d+)*\s*$`)

// within are the packages whose files a program holds, and with any of Vega's what is bundled with them.
func (n npmPackages) within(content []byte) []npmPackage {
	var found []npmPackage
	vega := false
	for _, p := range n.direct {
		if bytes.Contains(content, n.files[p.file]) {
			found = append(found, p)
			vega = vega || strings.HasPrefix(p.name, "vega")
		}
	}
	if vega {
		found = append(found, n.bundled...)
	}
	return found
}
