// Package tables reads the tables of analytics: YAML files of scenarios, limits and thresholds, which
// are judgement and therefore configuration. Reading is strict, and every answer that uses a table
// names it by content.
package tables

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// maxBytes bounds a table's file.
const maxBytes = 1 << 20

// Read reads the table of a name in a folder into dst. Keys that dst does not know, keys that stand
// twice and a second document are errors. The source is what answers name the table by:
// "config:scenarios.yaml@" and the first 12 hex digits of the file's SHA-256.
func Read(dir, name string, dst any) (source string, err error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if err := Parse(raw, dst); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	sum := sha256.Sum256(raw)
	return "config:" + name + "@" + hex.EncodeToString(sum[:])[:12], nil
}

// Parse reads one YAML document strictly.
func Parse(raw []byte, dst any) error {
	if len(raw) > maxBytes {
		return fmt.Errorf("more than %d bytes", maxBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(dst); err != nil {
		return err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}
