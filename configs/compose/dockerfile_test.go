package compose_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dockerfile is the stages of the Dockerfile, in order.
type dockerfile []stage

// stage is one FROM and what follows it.
type stage struct {
	image, name  string
	instructions []instruction
}

// instruction is a line of a Dockerfile, put together where it goes over several, without its flags.
type instruction struct {
	name, args string
	flags      []string
}

// parseDockerfile reads what our Dockerfile is made of. It has neither here-documents nor variables in
// what is read here.
func parseDockerfile(t *testing.T) dockerfile {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	require.NoError(t, err)
	text := strings.ReplaceAll(uncommented(string(raw)), "\\\n", " ")
	var d dockerfile
	for line := range strings.Lines(text) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		i := instruction{name: name}
		for args = strings.TrimSpace(args); strings.HasPrefix(args, "--"); args = strings.TrimSpace(args) {
			var flag string
			flag, args, _ = strings.Cut(args, " ")
			i.flags = append(i.flags, flag)
		}
		i.args = args
		if name == "FROM" {
			image, alias, _ := strings.Cut(args, " AS ")
			d = append(d, stage{image: image, name: alias})
			continue
		}
		require.NotEmpty(t, d, "%s comes before FROM", name)
		last := &d[len(d)-1]
		last.instructions = append(last.instructions, i)
	}
	return d
}

// bases are the images that stages begin with.
func (d dockerfile) bases() []string {
	var images []string
	for _, s := range d {
		images = append(images, s.image)
	}
	return images
}

// dockerignore is the patterns of .dockerignore.
type dockerignore []string

func readDockerignore(t *testing.T) dockerignore {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	require.NoError(t, err)
	var patterns dockerignore
	for line := range strings.Lines(uncommented(string(raw))) {
		if line = strings.TrimSpace(line); line != "" {
			require.NotContains(t, line, "!", "exceptions are not understood here")
			patterns = append(patterns, line)
		}
	}
	return patterns
}

// matches reports whether a file or folder, by its path below the context, is left out. A pattern is a
// path from the context's root, or **/ and the last part of one.
func (patterns dockerignore) matches(file string) bool {
	for _, p := range patterns {
		against := file
		if last, anywhere := strings.CutPrefix(p, "**/"); anywhere {
			p, against = last, path.Base(file)
		}
		if ok, _ := path.Match(p, against); ok {
			return true
		}
	}
	return false
}

// copyTree copies a file, or a folder without what is ignored.
func copyTree(t *testing.T, from, to string, ignored dockerignore) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		if ignored.matches(filepath.ToSlash(below)) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, below), 0o755)
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
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
		return os.WriteFile(target, raw, info.Mode().Perm())
	}))
}

// absolute matches the absolute paths that a command line of ours names.
var absolute = regexp.MustCompile(`(^|\s)/[\w./-]*`)

// TestDockerfile builds the image's content as the Dockerfile says, in folders instead of layers: every
// stage's COPY and RUN, from a context without what .dockerignore leaves out. The programs of the last
// stage then run where they would run.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds both programs")
	}
	contextDir := t.TempDir()
	copyTree(t, root, contextDir, readDockerignore(t))

	stages := make(map[string]string) // the folder of each stage by its name
	var last, workdir string
	var command string
	for _, s := range parseDockerfile(t) {
		fsroot := t.TempDir()
		stages[s.name] = fsroot
		last, workdir = fsroot, "/"
		env := map[string]string{}
		for _, i := range s.instructions {
			switch i.name {
			case "WORKDIR":
				workdir = i.args
				require.NoError(t, os.MkdirAll(filepath.Join(fsroot, workdir), 0o755))
			case "ARG", "ENV":
				name, value, _ := strings.Cut(i.args, "=")
				env[name] = strings.Trim(value, `"`)
			case "COPY":
				copyInstruction(t, i, stages, contextDir, fsroot, workdir)
			case "RUN":
				script := absolute.ReplaceAllStringFunc(i.args, func(m string) string {
					path := strings.TrimSpace(m)
					return strings.TrimSuffix(m, path) + fsroot + path
				})
				run := exec.CommandContext(t.Context(), "sh", "-ec", script)
				run.Dir, run.Env = filepath.Join(fsroot, workdir), os.Environ()
				for name, value := range env {
					run.Env = append(run.Env, name+"="+value)
				}
				out, err := run.CombinedOutput()
				require.NoError(t, err, "RUN %s\n%s", i.args, out)
			case "CMD":
				command = i.args
			case "EXPOSE":
				require.Equal(t, "8000 8001", i.args)
			default:
				require.Fail(t, "an instruction that is not checked", i.name)
			}
		}
	}
	require.Equal(t, `["api"]`, command)
	require.Equal(t, "/app", workdir)
	entries, err := os.ReadDir(filepath.Join(last, "usr/local/bin"))
	require.NoError(t, err)
	require.Len(t, entries, 2)

	// Without any setting the files are found: what the defaults name is there.
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(last, "usr/local/bin", args[0]), args[1:]...)
		cmd.Dir, cmd.Env = filepath.Join(last, workdir), []string{"ENVIRONMENT=production", "API_ADDR=127.0.0.1:1", "WORKER_ADDR=127.0.0.1:1"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("api", "validate")
	require.NoError(t, err, out)
	for _, program := range []string{"api", "worker"} {
		out, err = run(program, "healthcheck")
		require.Error(t, err)
		require.Contains(t, out, "connection refused", program)
		out, err = run(program)
		require.Error(t, err)
		require.Contains(t, out, "DATABASE_URL is not set", program)
	}

	// The commands of compose.yaml and its health checks are programs of the image.
	for name, s := range load(t, secrets()).Services {
		if s.Build == nil {
			continue
		}
		require.FileExists(t, filepath.Join(last, "usr/local/bin", s.Command[0]), name)
		if s.HealthCheck != nil {
			require.FileExists(t, filepath.Join(last, "usr/local/bin", s.HealthCheck.Test[1]), name)
		}
		for _, v := range s.Volumes { // they lie over what the image has there
			_, err := os.Stat(filepath.Join(last, v.Target))
			require.NoError(t, err, name)
		}
	}
}

// copyInstruction does what COPY says. All sources must exist.
func copyInstruction(t *testing.T, i instruction, stages map[string]string, contextDir, fsroot, workdir string) {
	t.Helper()
	from := contextDir
	for _, flag := range i.flags {
		name, ok := strings.CutPrefix(flag, "--from=")
		require.True(t, ok, flag)
		require.Contains(t, stages, name)
		from = stages[name]
	}
	args := strings.Fields(i.args)
	sources, target := args[:len(args)-1], args[len(args)-1]
	require.NotEmpty(t, sources)
	into := strings.HasSuffix(target, "/")
	if !path.IsAbs(target) {
		target = path.Join(workdir, target)
	}
	for _, source := range slices.Clone(sources) {
		info, err := os.Stat(filepath.Join(from, source))
		require.NoError(t, err, "COPY %s", i.args)
		to := filepath.Join(fsroot, target)
		if into && !info.IsDir() {
			to = filepath.Join(to, path.Base(source))
		}
		copyTree(t, filepath.Join(from, source), to, nil)
	}
}
