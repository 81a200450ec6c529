package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestValidateCommand: "api validate" checks patterns without a database, says where each mistake is,
// and tells scripts by its exit code.
func TestValidateCommand(t *testing.T) {
	t.Parallel()
	settings := append(newDesk(t, echo("desk.echo")),
		"PATTERNS_DIR="+filepath.Join(root, "configs/patterns"), "ANALYTICS_DIR="+filepath.Join(root, "configs/analytics"))
	bad := map[string]string{
		"comma.json": "{\n  \"id\": \"comma\",\n  \"name\": \"Comma\",,\n}\n",
		"capability.json": `{
  "id": "capability", "name": "Capability", "inputs": {},
  "steps": [
    {"capability": "desk.ecko", "args": {}, "as": "said"}
  ],
  "outputs": ["said"]
}`,
		"reference.json": `{
  "id": "reference", "name": "Reference", "inputs": {},
  "steps": [
    {"capability": "desk.echo", "args": {"a": "{{secnd}}"}, "as": "first"},
    {"capability": "desk.echo", "args": {"a": "{{first}}"}, "as": "second"}
  ],
  "outputs": ["second"]
}`,
		"output.json": `{
  "id": "output", "name": "Output", "inputs": {},
  "steps": [{"capability": "desk.echo", "args": {}, "as": "first"}],
  "outputs": ["first", "frist"]
}`,
		"argument.json": `{
  "id": "argument", "name": "Argument", "inputs": {},
  "steps": [
    {"capability": "ledger.positions", "args": {"portfolio": "x"}, "as": "positions"}
  ],
  "outputs": ["positions"]
}`,
	}
	onlyBad := t.TempDir()
	writeFiles(t, onlyBad, bad)

	for _, c := range []struct {
		name  string
		args  []string
		code  int
		lines []string // how they begin
		says  []string
	}{
		{name: "the project's own", code: 0, lines: []string{"errors: 0, warnings: "}},
		{name: "the same by path", args: []string{filepath.Join(root, "configs/patterns")}, code: 0, lines: []string{"errors: 0, warnings: "}},
		{
			name: "one problem a line", args: []string{onlyBad}, code: 1,
			lines: []string{
				`argument.json:4:48: step positions: `, `argument.json:4:62: step positions: `, `capability.json:4:20: step said: `, `comma.json:3:19: `,
				`output.json:4:24: `, `reference.json:4:47: step first: `, "errors: 6, warnings: 0",
			},
			says: []string{`did you mean "desk.echo"?`, `"portfolio"`, `portfolio_id`},
		},
		{
			name: "one file", args: []string{filepath.Join(onlyBad, "capability.json")}, code: 1,
			lines: []string{`capability.json:4:20: `, "errors: 1, warnings: 0"},
		},
		{
			name: "good and bad", args: []string{filepath.Join(root, "configs/patterns"), filepath.Join(onlyBad, "comma.json")}, code: 1,
			lines: []string{`comma.json:3:19: `, "errors: 1, warnings: "},
		},
		{name: "nothing there", args: []string{"/nonexistent"}, code: 1, says: []string{"/nonexistent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, "api", settings, append([]string{"validate"}, c.args...)...)
			require.Equal(t, c.code, p.exitCode(), p.log.String())
			said := p.log.String()
			for _, text := range c.says {
				require.Contains(t, said, text)
			}
			if c.lines == nil {
				return
			}
			lines := strings.Split(strings.TrimSuffix(said, "\n"), "\n")
			if c.code != 0 {
				require.Equal(t, "api: not all patterns can be served", lines[len(lines)-1])
				lines = lines[:len(lines)-1]
			}
			require.Len(t, lines, len(c.lines), said)
			for i, begins := range c.lines {
				require.True(t, strings.HasPrefix(lines[i], begins), "%q begins with %q\n%s", lines[i], begins, said)
			}
		})
	}
}
