package release

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// notice is a file that must go along with what it is of.
type notice struct {
	name string
	text []byte
}

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)(\.(md|txt))?$`)
	noticeFile  = regexp.MustCompile(`(?i)^(licen[cs]es?|copying|unlicense|notice|patents|third[_-]party[_-]licen[cs]es)(\.(md|txt))?$`)
	spaces      = regexp.MustCompile(`[\s*#>]+`)
)

// terms are sentences by which a licence is known, all of them, in small letters with single spaces.
var terms = []struct {
	id       string
	has, not []string
}{
	{id: "Apache-2.0", has: []string{"apache license"}, not: nil},
	{id: "MPL-2.0", has: []string{"mozilla public license", "2.0"}},
	{id: "MIT", has: []string{"permission is hereby granted, free of charge, to any person obtaining a copy"}},
	{id: "ISC", has: []string{"permission to use, copy, modify, and/or distribute this software for any purpose", "provided that the above copyright notice"}},
	{id: "BSD-3-Clause", has: []string{"redistributions in binary form must reproduce", "neither the name of"}},
	{id: "BSD-2-Clause", has: []string{"redistributions in binary form must reproduce"}, not: []string{"neither the name of"}},
	{id: "Unlicense", has: []string{"this is free and unencumbered software released into the public domain"}},
}

// recognise names the licences whose terms a text holds, as an SPDX expression; "" means none that is known.
func recognise(text []byte) string {
	words := strings.ToLower(string(spaces.ReplaceAll(text, []byte(" "))))
	var ids []string
	for _, t := range terms {
		all := !slices.ContainsFunc(t.has, func(s string) bool { return !strings.Contains(words, s) })
		if all && !slices.ContainsFunc(t.not, func(s string) bool { return strings.Contains(words, s) }) {
			ids = append(ids, t.id)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " AND ")
}

// readLicence reads a module's licence, and all that must go along with it. One that isn't known is an
// error: somebody has to read it.
func readLicence(dir string) (expression string, notices []notice, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, err
	}
	var texts [][]byte
	for _, e := range entries {
		if !noticeFile.MatchString(e.Name()) {
			continue
		}
		files := []string{e.Name()}
		if e.IsDir() {
			if files, err = within(dir, e.Name()); err != nil {
				return "", nil, err
			}
		}
		for _, file := range files {
			raw, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return "", nil, err
			}
			notices = append(notices, notice{filepath.ToSlash(file), raw})
			if licenceFile.MatchString(file) {
				texts = append(texts, raw)
			}
		}
	}
	if len(texts) == 0 {
		return "", nil, errors.New("there is no licence file")
	}
	if expression = recognise(bytes.Join(texts, []byte("\n"))); expression == "" {
		return "", nil, errors.New("not one that internal/release knows: read it, and add it")
	}
	return expression, notices, nil
}

// within are the files of a folder, its name before them.
func within(dir, folder string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, folder))
	var files []string
	for _, e := range entries {
		if !e.IsDir() {
			files = append(files, filepath.Join(folder, e.Name()))
		}
	}
	return files, err
}

// notices gathers what must be said of the programs of an archive.
type notices struct {
	modules map[string]module // by path and version
	npm     bool
	swagger string
}

func newNotices() *notices { return &notices{modules: map[string]module{}} }

func (n *notices) add(p program) {
	for _, m := range p.modules {
		n.modules[m.path+" "+m.version] = m
	}
	n.npm = n.npm || len(p.packages) > 0
	if p.swaggerUI != "" {
		n.swagger = p.swaggerUI
	}
}

const rule = "--------------------------------------------------------------------------------\n"

// text is the file Licences.
func (n *notices) text(npm npmPackages) []byte {
	var b bytes.Buffer
	b.WriteString("What api and worker contain besides DawsOS' own, and under which terms. Made at the release,\n" +
		"of the licence files of the modules that the programs name.\n\n")
	names := make([]string, 0, len(n.modules))
	for name := range n.modules {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		m := n.modules[name]
		fmt.Fprintf(&b, "%s%s (%s)\n", rule, name, m.licence)
		for _, file := range m.notices {
			fmt.Fprintf(&b, "\n%s:\n\n%s\n", file.name, bytes.TrimSpace(file.text))
		}
		b.WriteByte('\n')
	}
	if n.swagger != "" {
		fmt.Fprintf(&b, "%sSwagger UI %s (Apache-2.0), within github.com/swaggo/files/v2\n\n", rule, n.swagger)
	}
	if n.npm {
		fmt.Fprintf(&b, "%sOf the console:\n\n", rule)
		b.Write(npm.licences)
	}
	return b.Bytes()
}
