// Package tables reads the tables of analytics: YAML files of scenarios, limits and thresholds, which
// are judgement and therefore configuration. Reading is strict, all that is wrong with a table is told at
// once, and every answer that uses a table names it by content.
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
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxBytes bounds a table's file.
const maxBytes = 1 << 20

// Read reads the table of a name in a folder into dst. Keys that dst does not know, keys that stand
// twice and a second document are errors. The source is what answers name the table by:
// "config:scenarios.yaml@" and the first 12 hex digits of the file's SHA-256.
func Read(dir, name string, dst any) (source string, err error) {
	f, err := os.Open(filepath.Join(dir, name)) //nolint:gosec // in ANALYTICS_DIR, its name a constant
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
		return fmt.Errorf("the file has more than %d bytes", maxBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(dst); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the file is empty")
		}
		return err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("one YAML document is expected, something follows it")
	}
	return nil
}

// Problems collects what is wrong with a table.
type Problems []error

// Add adds a problem with the value at a key: "regimes.yaml: min_inputs". The format may wrap an error.
func (ps *Problems) Add(key, format string, args ...any) {
	*ps = append(*ps, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
}

// Err returns the problems in the order of their texts, which is the same each time, and nil when there
// are none.
func (ps Problems) Err() error {
	sorted := slices.Clone(ps)
	slices.SortFunc(sorted, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(sorted...)
}

// In is Err for the table of a name.
func (ps Problems) In(name string) error {
	if err := ps.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Within adds a problem unless lowest <= v <= highest, and returns v.
func Within[T int | float64](ps *Problems, key string, v, lowest, highest T) T {
	if allowed := v >= lowest && v <= highest; !allowed { // NaN is not either
		ps.Add(key, "%v is not allowed; use %v to %v", v, lowest, highest)
	}
	return v
}

// Cited adds a problem unless a table says where it comes from.
func (ps *Problems) Cited(key string, sources ...string) {
	for _, s := range sources {
		if strings.TrimSpace(s) == "" {
			sources = nil
		}
	}
	if len(sources) == 0 {
		ps.Add(key, "is missing: say where the table comes from")
	}
}
