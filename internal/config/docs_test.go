package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/configuration.md from the table of settings")

// TestDocumentation keeps docs/configuration.md equal to the table; -update writes it.
func TestDocumentation(t *testing.T) {
	t.Parallel()

	path := filepath.Join("..", "..", "docs", "configuration.md")
	want := documentation()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "run: go test ./internal/config -run TestDocumentation -update")
}

func documentation() string {
	var b strings.Builder
	b.WriteString(`# Settings

<!-- Written from the table in internal/config/settings.go by
     go test ./internal/config -run TestDocumentation -update -->

Every setting is an environment variable. It may also stand in ` + "`" + DefaultFile + "`" + `, or in the file that
` + "`" + FileVariable + "`" + ` names, under the variable's name in lower case:

` + "```yaml" + `
log_level: debug
retry_schedule: 1s,2s,4s,8s,16s
` + "```" + `

The variable wins over the file, the file over the default; an empty value counts as unset. Both
binaries check all settings at start: each problem is one line that names the setting, its value
(never a secret), and what is allowed, and the process ends. A key in the file that is no setting
is a problem too. A file that ` + "`" + FileVariable + "`" + ` names must exist.

| setting | default | allowed | what it does |
|---|---|---|---|
`)
	for _, s := range settings {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s%s |\n", s.name, defaults(s), s.allowed, s.about, required(s))
	}
	return b.String()
}

func defaults(s setting) string {
	development, production := s.fallback(Development), s.fallback(Production)
	switch {
	case development != production:
		return fmt.Sprintf("`%s` in development, `%s` in production", development, production)
	case development == "":
		return "none"
	}
	return "`" + development + "`"
}

func required(s setting) string {
	if s.required == nil {
		return ""
	}
	var roles []string
	for _, r := range []Role{API, Worker, Migrate, Validate} {
		if s.required(Development, r) {
			roles = append(roles, string(r))
		} else if s.required(Production, r) {
			roles = append(roles, string(r)+" in production")
		}
	}
	return " Required by: " + strings.Join(roles, ", ") + "."
}
