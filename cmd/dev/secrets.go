package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
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
	return kept(file, name, func() string {
		random := make([]byte, secretBytes)
		rand.Read(random) // never fails, see its documentation
		return prefix + base64.StdEncoding.EncodeToString(random)
	})
}

// kept returns the secret of a name kept in the file, which holds NAME=value lines, made and added when
// it is not there yet.
func kept(file, name string, create func() string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the kept secrets: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok && value != "" {
			return value, nil
		}
	}
	secret := create()
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		raw = append(raw, '\n')
	}
	// Through a second file: what is interrupted must not cost the secrets that are there.
	temp := file + ".new"
	if err := os.WriteFile(temp, append(raw, name+"="+secret+"\n"...), 0o600); err != nil {
		return "", fmt.Errorf("keep a new secret: %w", err)
	}
	if err := os.Rename(temp, file); err != nil {
		return "", fmt.Errorf("keep a new secret: %w", err)
	}
	return secret, nil
}
