package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// secretBytes is the length of a new secret. Standard Webhooks asks for 24 to 64; SECRETS_KEY is
// one of AES-256.
const secretBytes = 32

// webhookSecret returns the kept secret that signs webhooks.
func webhookSecret(file string) (string, error) { return keptSecret(file, "WEBHOOK_SECRET", "whsec_") }

// secretsKey returns the kept key of stored destinations.
func secretsKey(file string) (string, error) { return keptSecret(file, "SECRETS_KEY", "") }

// secretsFile holds what is kept, in the folder of private state.
const secretsFile = "secrets.env"

// keptSecret is [kept] for random bytes behind a prefix.
func keptSecret(file, name, prefix string) (string, error) {
	return kept(file, name, "", func() string {
		random := make([]byte, secretBytes)
		rand.Read(random) // never fails, see its documentation
		return prefix + base64.StdEncoding.EncodeToString(random)
	})
}

// kept returns the secret of a name kept in the file, which holds NAME=value lines. It is made and added when it is
// not there yet, and made and put in the place of a spent one, which is of no use any more.
func kept(file, name, spent string, create func() string) (string, error) {
	unlock, err := lock(file + ".lock")
	if err != nil {
		return "", fmt.Errorf("lock the kept secrets: %w", err)
	}
	defer unlock()
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the kept secrets: %w", err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(raw)) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"=")
		switch {
		case !ok || value == "":
			lines.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		case value != spent:
			return value, nil
		}
	}
	secret := create()
	lines.WriteString(name + "=" + secret + "\n")
	// Through a second file: what is interrupted must not cost the secrets that are there.
	temp := file + ".new"
	if err := os.WriteFile(temp, []byte(lines.String()), 0o600); err != nil {
		return "", fmt.Errorf("keep a new secret: %w", err)
	}
	if err := os.Rename(temp, file); err != nil {
		return "", fmt.Errorf("keep a new secret: %w", err)
	}
	return secret, nil
}

// lock waits until no other process, or caller in this one, has the lock of a file: two that start at the same time
// would each write the file without what the other has made. The kernel gives it back when the process ends.
func lock(name string) (unlock func(), err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}
