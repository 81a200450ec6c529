package compose_test

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/config"
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

// bases are the images that stages begin with, other stages left out.
func (d dockerfile) bases() []string {
	var images []string
	for _, s := range d {
		if !slices.ContainsFunc(d, func(other stage) bool { return other.name == s.image }) {
			images = append(images, s.image)
		}
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

// TestImageRights: what an image begins with is one release or one digest, nothing is fetched from an address,
// no stage takes a secret, and neither program's image runs as root, compose.yaml or not.
func TestImageRights(t *testing.T) {
	t.Parallel()
	d := parseDockerfile(t)
	require.Len(t, d.bases(), 3)
	for _, image := range d.bases() {
		require.Regexp(t, `^[a-z0-9./-]+:(\d+\.\d+(\.\d+)?-[a-z]+|[a-z]+@sha256:[0-9a-f]{64})$`, image)
	}
	allowed := []string{"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "RUN", "STOPSIGNAL", "USER", "WORKDIR"} // no ADD
	users := map[string]string{}
	for _, s := range d {
		for _, i := range s.instructions {
			require.Contains(t, allowed, i.name, i.args)
			require.NotRegexp(t, `https?://|\b(curl|wget|apt-get|npm)\b`, i.args)
			require.NotRegexp(t, `(?i)(password|secret|token|_key)=`, i.args)
			if i.name == "USER" {
				users[s.name] = i.args
			}
		}
	}
	require.Equal(t, map[string]string{"api": "65532:65532", "worker": "65532:65532"}, users)
	for name, s := range load(t, secrets()).Services {
		if s.Build != nil {
			require.Equal(t, users[s.Build.Target], s.User, name)
		}
	}
}

// built is a stage's content in a folder, and what its last instructions say.
type built struct {
	dir, workdir, command, user, entrypoint, stopSignal string
	env                                                 map[string]string
	exposed                                             []string
}

// certificates are in distroless' image and not in PostgreSQL's.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// owner matches what only root may do; a build always may.
var owner = regexp.MustCompile(`&& chown (\d+:\d+) (/\S+)`)

// TestDockerfile builds the images' content as the Dockerfile says, in folders instead of layers: every
// stage's COPY and RUN, from a context without what .dockerignore leaves out. The programs of the two last
// stages then run where they would run.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds both programs")
	}
	contextDir := t.TempDir()
	copyTree(t, root, contextDir, readDockerignore(t))

	stages := map[string]built{}
	var last string
	var given []string // folders that a RUN gives to the account that the image runs as
	for _, s := range parseDockerfile(t) {
		now := built{dir: t.TempDir(), workdir: "/", env: map[string]string{}}
		if before, ok := stages[s.image]; ok {
			copyTree(t, before.dir, now.dir, nil)
			now.workdir, now.command, now.env = before.workdir, before.command, maps.Clone(before.env)
		} else if strings.Contains(s.image, "/distroless/static") { // what is known of that image
			require.NoError(t, os.MkdirAll(filepath.Join(now.dir, filepath.Dir(certificates)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(now.dir, certificates), []byte("of distroless"), 0o600))
		}
		for _, i := range s.instructions {
			switch i.name {
			case "WORKDIR":
				now.workdir = i.args
				require.NoError(t, os.MkdirAll(filepath.Join(now.dir, now.workdir), 0o755))
			case "ARG", "ENV":
				name, value, _ := strings.Cut(i.args, "=")
				now.env[name] = strings.Trim(value, `"`)
			case "COPY":
				copyInstruction(t, i, stages, contextDir, now.dir, now.workdir)
			case "RUN":
				args := i.args
				if m := owner.FindStringSubmatch(args); m != nil {
					require.Equal(t, "65532:65532", m[1])
					args, given = owner.ReplaceAllString(args, ""), append(given, filepath.Join(now.dir, m[2]))
				}
				script := absolute.ReplaceAllStringFunc(args, func(m string) string {
					path := strings.TrimSpace(m)
					return strings.TrimSuffix(m, path) + now.dir + path
				})
				run := exec.CommandContext(t.Context(), "sh", "-ec", script)
				run.Dir, run.Env = filepath.Join(now.dir, now.workdir), os.Environ()
				for name, value := range now.env {
					run.Env = append(run.Env, name+"="+value)
				}
				out, err := run.CombinedOutput()
				require.NoError(t, err, "RUN %s\n%s", i.args, out)
			case "CMD":
				now.command = i.args
			case "ENTRYPOINT":
				now.entrypoint = i.args
			case "USER":
				now.user = i.args
			case "STOPSIGNAL":
				now.stopSignal = i.args
			case "EXPOSE":
				now.exposed = strings.Fields(i.args)
			default:
				require.Fail(t, "an instruction that is not checked", i.name)
			}
		}
		stages[s.name], last = now, s.name
	}
	require.Equal(t, "api", last, "a build without a target makes the API's image")
	for name, port := range map[string]string{"api": "8000", "worker": "8001"} {
		image := stages[name]
		require.Equal(t, `["`+name+`"]`, image.command)
		require.Equal(t, "/app", image.workdir)
		require.Equal(t, []string{port}, image.exposed)
		require.FileExists(t, filepath.Join(image.dir, certificates), name)
		entries, err := os.ReadDir(filepath.Join(image.dir, "usr/local/bin"))
		require.NoError(t, err)
		require.Len(t, entries, 2, name)
		requireRuns(t, image)
	}
	requireBacksUp(t, stages["worker"], given)

	// The commands of compose.yaml and its health checks are programs of their images.
	for name, s := range load(t, secrets()).Services {
		if s.Build == nil {
			continue
		}
		image := stages[s.Build.Target].dir
		require.FileExists(t, filepath.Join(image, "usr/local/bin", s.Command[0]), name)
		if s.HealthCheck != nil {
			require.FileExists(t, filepath.Join(image, "usr/local/bin", s.HealthCheck.Test[1]), name)
		}
		for _, v := range s.Volumes { // they lie over what the image has there
			_, err := os.Stat(filepath.Join(image, v.Target))
			require.NoError(t, err, name)
		}
	}
}

// requireRuns runs both programs of an image. Without any setting the files are found: what the defaults
// name is there.
func requireRuns(t *testing.T, image built) {
	t.Helper()
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(image.dir, "usr/local/bin", args[0]), args[1:]...)
		cmd.Dir, cmd.Env = filepath.Join(image.dir, image.workdir), []string{"ENVIRONMENT=production", "API_ADDR=127.0.0.1:1", "WORKER_ADDR=127.0.0.1:1"}
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
}

// requireBacksUp: the worker's image is PostgreSQL's own, of the server's version, without what that does at
// its start; backups go to a volume that the worker's account owns from the first moment.
func requireBacksUp(t *testing.T, image built, given []string) {
	t.Helper()
	p := load(t, secrets())
	server := p.Services["postgres"].Image
	var base string
	for _, s := range parseDockerfile(t) {
		if s.name == "worker" {
			base = s.image
		}
	}
	require.Equal(t, server, base, "pg_dump is the server's")
	major, _, _ := strings.Cut(strings.TrimPrefix(server, "postgres:"), ".")
	require.Equal(t, "/usr/lib/postgresql/"+major+"/bin", strings.Split(image.env["PATH"], ":")[0], "pg_dump is found first")
	require.Contains(t, strings.Split(image.env["PATH"], ":"), "/usr/local/bin", "the worker is found")
	require.Equal(t, []string{"[]", "SIGTERM", "65532:65532"}, []string{image.entrypoint, image.stopSignal, image.user})

	worker := p.Services["worker"]
	require.Equal(t, image.user, worker.User)
	cfg := settings(t, worker, config.Worker)
	require.Equal(t, []string{filepath.Join(image.dir, cfg.BackupDir)}, given)
	info, err := os.Stat(given[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	kept := false
	for _, v := range worker.Volumes {
		kept = kept || v.Type == types.VolumeTypeVolume && v.Source == "backups" && v.Target == cfg.BackupDir && !v.ReadOnly
	}
	require.True(t, kept, "backups outlast the container")
	require.Empty(t, settings(t, load(t, with("BACKUP_DIR", "")).Services["worker"], config.Worker).BackupDir, "they can be turned off")

	// PostgreSQL's image asks for an anonymous volume there, one more with each container.
	masked := slices.ContainsFunc(worker.Tmpfs, func(entry string) bool { return strings.HasPrefix(entry, "/var/lib/postgresql/data:") })
	require.True(t, masked)
}

// copyInstruction does what COPY says. All sources must exist.
func copyInstruction(t *testing.T, i instruction, stages map[string]built, contextDir, fsroot, workdir string) {
	t.Helper()
	from := contextDir
	for _, flag := range i.flags {
		name, ok := strings.CutPrefix(flag, "--from=")
		require.True(t, ok, flag)
		require.Contains(t, stages, name)
		from = stages[name].dir
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
