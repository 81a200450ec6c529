package release_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/release"
)

const root = "../.."

const (
	version = "9.8.7-rc.1"
	commit  = "0123456789abcdef0123456789abcdef01234567"
)

var committed = time.Date(2026, 11, 30, 12, 0, 1, 0, time.UTC)

// here is the platform of the test, whose programs it can start.
var here = release.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}

func options(source, out string) release.Options {
	return release.Options{
		Source: source, Out: out, Version: version, Commit: commit, Time: committed,
		Compiler: runtime.Version(), Platforms: []release.Platform{here},
	}
}

// copyProject copies what a build reads.
func copyProject(t *testing.T, to string) {
	t.Helper()
	for _, part := range []string{"cmd", "configs", "internal", "pkg", "sql", "go.mod", "go.sum", "LICENSE", "SECURITY.md", "Dockerfile"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, part), func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if d.IsDir() || !d.Type().IsRegular() || strings.HasSuffix(file, "_test.go") {
				return nil
			}
			below, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			target := filepath.Join(to, below)
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			return os.WriteFile(target, raw, 0o600)
		}))
	}
}

// TestRelease makes a release twice, in two folders, at two times, with other rights on the files, and holds
// the second against the first: every byte is the same. What is in it is looked at besides. REPRODUCE=shared
// asks for it; fresh has each compiled anew, where otherwise the second only links.
func TestRelease(t *testing.T) {
	t.Parallel()
	if os.Getenv("REPRODUCE") == "" {
		t.Skip("builds both programs for each platform twice: REPRODUCE=shared, or fresh without the cache; .ci/run release does")
	}
	other := filepath.Join(t.TempDir(), "another", "place")
	copyProject(t, other)
	var outs []string
	for _, source := range []string{root, other} {
		o := options(source, t.TempDir())
		if os.Getenv("REPRODUCE") == "fresh" {
			o.Cache = t.TempDir()
		}
		names, err := release.Make(t.Context(), o, t.Logf)
		require.NoError(t, err)
		there, err := os.ReadDir(o.Out)
		require.NoError(t, err)
		var found []string
		for _, e := range there {
			found = append(found, e.Name())
		}
		require.ElementsMatch(t, names, found)
		outs = append(outs, o.Out)
	}
	suffix := "_" + version + "_" + here.OS + "_" + here.Arch
	want := []string{"SHA256SUMS", "api" + suffix + ".cdx.json", "dawsos" + suffix + ".tar.gz", "worker" + suffix + ".cdx.json"}
	for _, name := range want {
		one, two := read(t, outs[0], name), read(t, outs[1], name)
		require.True(t, bytes.Equal(one, two), "%s differs", name)
		t.Logf("%s  %s", sum(one), name)
	}

	// Sums are those that sha256sum takes, and of all other files.
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = outs[0]
	out, err := check.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, len(want)-1, strings.Count(string(out), ": OK\n"), string(out))

	files := unpack(t, read(t, outs[0], "dawsos"+suffix+".tar.gz"), "dawsos"+suffix+"/")
	for _, name := range []string{"LICENSE", "SECURITY.md", "configs/agents.yaml", "configs/patterns/portfolio_overview.json"} {
		require.NotEmpty(t, files[name], name)
	}
	dir := t.TempDir()
	for _, name := range release.Programs {
		require.True(t, bytes.Equal(files[name+".cdx.json"], read(t, outs[0], name+suffix+".cdx.json")), name)
		program := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(program, files[name], 0o700))
		for _, asked := range []string{"version", "--version"} {
			said, err := exec.CommandContext(t.Context(), program, asked).CombinedOutput()
			require.NoError(t, err, string(said))
			require.Equal(t, name+" "+version+", commit "+commit+", "+runtime.Version()+" "+here.String()+"\n", string(said))
		}
		for _, trace := range []string{other, wd(t), os.Getenv("HOME") + "/go/pkg"} {
			require.False(t, bytes.Contains(files[name], []byte(trace)), "%s tells where it was built: %s", name, trace)
		}
		requireBill(t, name, program, files[name+".cdx.json"], string(files[release.Licences]))
	}
}

func wd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	return filepath.Dir(filepath.Dir(dir))
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return raw
}

func sum(raw []byte) string {
	s := sha256.Sum256(raw)
	return hex.EncodeToString(s[:])
}

// unpack reads an archive whose files are all below a folder, root's, of the commit's time, and writable by
// the owner alone.
func unpack(t *testing.T, packed []byte, folder string) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	require.Empty(t, z.Name)
	require.True(t, z.ModTime.IsZero())
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF { //nolint:errorlint // it is never wrapped
			return files
		}
		require.NoError(t, err)
		require.True(t, h.ModTime.Equal(committed), h.Name)
		require.Zero(t, h.Uid+h.Gid, h.Name)
		name, ok := strings.CutPrefix(h.Name, folder)
		require.True(t, ok, h.Name)
		want := int64(0o644)
		if slices.Contains(release.Programs, name) {
			want = 0o755
		}
		require.Equal(t, want, h.Mode, h.Name)
		files[name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
}

// requireBill: a bill is CycloneDX by its own schema, and says what "go version -m" says of the program, and
// which files of npm are in it.
func requireBill(t *testing.T, name, program string, raw []byte, notices string) {
	t.Helper()
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	require.NoError(t, schema(t).Validate(instance))

	var bom cdx.BOM
	require.NoError(t, cdx.NewBOMDecoder(bytes.NewReader(raw), cdx.BOMFileFormatJSON).Decode(&bom))
	require.Equal(t, cdx.SpecVersion1_6, bom.SpecVersion)
	require.Equal(t, "2026-11-30T12:00:01Z", bom.Metadata.Timestamp)
	main := bom.Metadata.Component
	require.Equal(t, "dawsos-"+name, main.Name)
	require.Equal(t, version, main.Version)
	content, err := os.ReadFile(program)
	require.NoError(t, err)
	require.Equal(t, []cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum(content)}}, *main.Hashes)
	require.Contains(t, *main.Properties, cdx.Property{Name: "dawsos:commit", Value: commit})

	// Of the compiler's own report, not of the library that the bill was made with.
	said, err := exec.CommandContext(t.Context(), "go", "version", "-m", program).Output()
	require.NoError(t, err)
	want := map[string]string{"std": strings.TrimPrefix(runtime.Version(), "go")}
	for line := range strings.Lines(string(said)) {
		if f := strings.Fields(line); f[0] == "dep" {
			want[f[1]] = f[2]
		}
	}
	require.Greater(t, len(want), 40)
	got, refs, npm := map[string]string{}, []string{}, map[string]cdx.Component{}
	for _, c := range *bom.Components {
		refs = append(refs, c.BOMRef)
		require.NotNil(t, c.Licenses, c.Name)
		require.Len(t, *c.Licenses, 1, c.Name)
		if strings.HasPrefix(c.PackageURL, "pkg:npm/") {
			npm[c.Name] = c
			continue
		}
		require.True(t, strings.HasPrefix(c.PackageURL, "pkg:golang/"+strings.ToLower(c.Name)+"@"), c.PackageURL)
		got[c.Name] = c.Version
		require.Contains(t, notices, "\n"+c.Name+" "+c.Version+" (", "its licence goes along")
	}
	require.Equal(t, want, got)
	require.Len(t, refs, len(slices.Compact(slices.Sorted(slices.Values(refs)))), "no two are of one name")
	require.ElementsMatch(t, refs, *(*bom.Dependencies)[0].Dependencies)

	requireNPM(t, content, npm, notices)
}

// requireNPM: a program whose bytes have a file of npm's has its package in the bill, and one that has not,
// has not.
func requireNPM(t *testing.T, program []byte, npm map[string]cdx.Component, notices string) {
	t.Helper()
	dir := filepath.Join(root, "internal", "console", "npm")
	var manifest struct{ Dependencies map[string]string }
	require.NoError(t, json.Unmarshal(read(t, dir, "package.json"), &manifest))
	require.NotEmpty(t, manifest.Dependencies)
	holds := false
	for name, version := range manifest.Dependencies {
		file := strings.TrimSuffix(name, ".org") + ".min.js"
		content := read(t, dir, file)
		c, listed := npm[name]
		require.Equal(t, bytes.Contains(program, content), listed, name)
		if !listed {
			continue
		}
		holds = true
		require.Equal(t, version, c.Version, name)
		require.Equal(t, sum(content), (*(*c.Components)[0].Hashes)[0].Value, name)
	}
	require.NotContains(t, npm, "axe-core", "the tests' alone")
	if holds {
		require.Contains(t, npm, "d3-array", "what is bundled is listed too")
		require.Contains(t, npm, "vega-scenegraph")
		require.Contains(t, notices, "Mike Bostock")
	}
	require.Equal(t, bytes.Contains(program, []byte("SwaggerUIBundle")), npm["swagger-ui-dist"].Version != "")
}

// schema is CycloneDX' own for JSON of version 1.6, which comes with the library.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	for name, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		f, err := os.Open(filepath.Join(strings.TrimSpace(string(out)), "schema", file))
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, compiler.AddResource("http://cyclonedx.org/schema/"+name, doc))
	}
	s, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	require.NoError(t, err)
	require.Error(t, s.Validate(map[string]any{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []any{map[string]any{}}}), "it refuses")
	return s
}

// TestRefused: what would make a release that nobody can make again.
func TestRefused(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(o *release.Options){
		`version "v1.2.3"`: func(o *release.Options) { o.Version = "v1.2.3" },
		`version "1.2"`:    func(o *release.Options) { o.Version = "1.2" },
		// It goes into a command line of the linker.
		`version "1.2.3 -X a=b"`: func(o *release.Options) { o.Version = "1.2.3 -X a=b" },
		`commit "abc"`:           func(o *release.Options) { o.Commit = "abc" },
		"time is not known":      func(o *release.Options) { o.Time = time.Time{} },
		"no platform":            func(o *release.Options) { o.Platforms = nil },
		"is not empty":           func(o *release.Options) { o.Out = "." },
	} {
		o := options(root, t.TempDir())
		change(&o)
		_, err := release.Make(t.Context(), o, t.Logf)
		require.ErrorContains(t, err, want)
	}
	_, err := release.ParsePlatforms("linux")
	require.ErrorContains(t, err, "as linux/amd64")
	platforms, err := release.ParsePlatforms("linux/amd64,linux/arm64")
	require.NoError(t, err)
	require.Equal(t, release.Platforms, platforms)
}

// TestCompiler: the image and the archives are made by one compiler, with one command line.
func TestCompiler(t *testing.T) {
	t.Parallel()
	got, err := release.Compiler(root)
	require.NoError(t, err)
	require.Regexp(t, `^go1\.\d+\.\d+$`, got)
	require.Contains(t, string(read(t, root, "go.mod")), "\ntoolchain "+got+"\n", "developers and CI use the same")
	_, err = release.Compiler(t.TempDir())
	require.Error(t, err)
	dockerfile := string(read(t, root, "Dockerfile"))
	require.Contains(t, dockerfile, "CGO_ENABLED=0 go build -trimpath -buildvcs=false")
	require.Contains(t, dockerfile,
		`-ldflags "-s -w -X github.com/dawsos/dawsos/internal/app.Version=${VERSION} -X github.com/dawsos/dawsos/internal/app.Commit=${COMMIT}"`)
}

// TestHead: commit and time are git's, and a tree with changes is refused.
func TestHead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-11-30T12:00:01Z", "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(string(out))
	}
	git("init", "--quiet")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o600))
	git("add", "a")
	git("commit", "--quiet", "--message", "first")
	hash, at, err := release.Head(t.Context(), dir, false)
	require.NoError(t, err)
	require.Equal(t, git("rev-parse", "HEAD"), hash)
	require.Equal(t, committed, at)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "b"), nil, 0o600))
	_, _, err = release.Head(t.Context(), dir, false)
	require.ErrorContains(t, err, "?? b")
	marked, _, err := release.Head(t.Context(), dir, true)
	require.NoError(t, err)
	require.Equal(t, hash+"-dirty", marked)
}
