package devpg

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// place is where a server lives: its folder, the account that runs it, and the lock that says whose
// it is.
type place struct {
	dir      string
	lockFile string
	account  *account // nil: the present user
}

// account is whom the server runs as when root starts it.
type account struct {
	name     string
	uid, gid uint32
}

func (p place) data() string         { return filepath.Join(p.dir, "data") }
func (p place) passwordFile() string { return filepath.Join(p.dir, "password") }
func (p place) portFile() string     { return filepath.Join(p.dir, "port") }

// newPlace resolves where the server of a wished folder lives, and makes that folder's parents.
func newPlace(wished string, progress func(string)) (place, error) {
	if wished == "" {
		return place{}, errors.New("no folder given for PostgreSQL's data")
	}
	dir, err := filepath.Abs(wished)
	if err != nil {
		return place{}, fmt.Errorf("resolve the data folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return place{}, fmt.Errorf("make the data folder's parents: %w", err)
	}
	p := place{dir: dir, lockFile: dir + ".lock"}
	if os.Geteuid() != 0 {
		return p, nil
	}
	if p.account, err = unprivileged(); err != nil {
		return place{}, err
	}
	if blocked := p.account.blockedAt(filepath.Dir(dir)); blocked != "" {
		sum := sha256.Sum256([]byte(dir))
		p.dir = filepath.Join("/var/tmp", "dawsos-"+hex.EncodeToString(sum[:6]))
		progress(fmt.Sprintf("root can't run PostgreSQL, and the account %s can't enter %s: its data is kept in %s", p.account.name, blocked, p.dir))
	}
	return p, nil
}

// unprivileged returns the account that runs PostgreSQL for root.
func unprivileged() (*account, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return nil, fmt.Errorf("read the account %s: %w", name, err)
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL can't run as root, and there is neither an account postgres nor nobody: add one, or start as another user")
}

// blockedAt returns the first folder on the way to path, itself included, that the account can't
// enter; "" when it can.
func (a *account) blockedAt(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	walked := "/"
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		info, err := os.Stat(walked)
		if err != nil || !a.mayExecute(info) {
			return walked
		}
		walked = filepath.Join(walked, part)
	}
	info, err := os.Stat(walked)
	if err != nil || !a.mayExecute(info) {
		return walked
	}
	return ""
}

// mayExecute reports whether the account may enter a folder or run a file.
func (a *account) mayExecute(info fs.FileInfo) bool {
	mode := info.Mode().Perm()
	switch stat := info.Sys().(*syscall.Stat_t); {
	case stat.Uid == a.uid:
		return mode&0o100 != 0
	case stat.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

// privateDir makes a folder that is private to whom the server runs as. A folder of somebody else is
// refused: its owner could read the data and change what runs.
func (p place) privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the folder for PostgreSQL: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("inspect the folder for PostgreSQL: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if owner := ownerOf(info); owner != p.uid() {
		if p.account == nil || owner != 0 {
			return fmt.Errorf("%s belongs to the user with id %d, but PostgreSQL would run as the one with id %d: start as that user, or remove the folder", dir, owner, p.uid())
		}
		if err := p.give(dir); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("make %s private: %w", dir, err)
	}
	return nil
}

// owns reports whether path is a folder of the user that the server runs as.
func (p place) owns(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir() && ownerOf(info) == p.uid()
}

// uid is the id of the user that the server runs as.
func (p place) uid() int {
	if p.account != nil {
		return int(p.account.uid)
	}
	return os.Geteuid()
}

func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// give hands a file or folder to the account that runs the server.
func (p place) give(path string) error {
	if p.account == nil {
		return nil
	}
	if err := os.Lchown(path, int(p.account.uid), int(p.account.gid)); err != nil {
		return fmt.Errorf("give %s to the account %s: %w", path, p.account.name, err)
	}
	return nil
}

// as makes cmd run as the server's account, in its folder and with an environment of its own: PG*
// variables of the caller would change what the programs do.
func (p place) as(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C", "TZ=UTC"}
	if p.account != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: p.account.uid, Gid: p.account.gid},
		}
	}
	return cmd
}

// password returns the superuser's password, made when there is none yet.
func (p place) password() (string, error) {
	raw, err := os.ReadFile(p.passwordFile())
	if err == nil {
		return strings.TrimSpace(string(raw)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the password of the private PostgreSQL: %w", err)
	}
	password := rand.Text()
	if err := p.write(p.passwordFile(), password+"\n"); err != nil {
		return "", err
	}
	return password, nil
}

// write writes a file that only the server's account (and root) can read.
func (p place) write(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return p.give(path)
}

// ownership is held by the process whose server it is, for as long as the server runs. The kernel
// gives it back when that process ends.
type ownership struct{ file *os.File }

func (o ownership) release() { _ = o.file.Close() }

// own takes the ownership of the place unless another process, or another caller in this one, has
// it.
func (p place) own() (lock ownership, free bool, err error) {
	file, err := os.OpenFile(p.lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return ownership{}, false, fmt.Errorf("open the lock of the private PostgreSQL (another user's?): %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return ownership{}, false, nil
		}
		return ownership{}, false, fmt.Errorf("lock %s: %w", p.lockFile, err)
	}
	return ownership{file: file}, true, nil
}
