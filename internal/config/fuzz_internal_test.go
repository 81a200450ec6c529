package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a settings file holds, it is refused with a reason of bounded length, or holds settings alone, each of
// which reads as the same again.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "# nothing\n", "api_addr: :8000\nlog_level: info\n", "api_addr: :8000\napi_addr: :8001\n", "retry_schedule: 5m,30m\n", "a: 1\n",
		"- api_addr\n", "api_addr: [a]\n", "api_addr: &a x\nlog_level: *a\n", "api_addr: !!binary aGk=\n", "--- \n...\n---\n", "? [a]\n: b\n",
		"api_addr: |\n  two\n  lines\n", "api_addr: \"\\x00\"\n", "\xff", "\ufeffapi_addr: x\n", "<<: {api_addr: x}\n", "api_addr:\n", "null", "%YAML 9.9\n---\na: b",
	} {
		f.Add([]byte(seed))
	}
	known := map[string]bool{}
	for _, s := range settings {
		known[s.key()] = true
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		values, err := parseFile(raw)
		if err != nil {
			require.LessOrEqual(t, len(err.Error()), 200+12*len(raw)+100*strings.Count(string(raw), "\n"))
			return
		}
		var b strings.Builder
		for key, v := range values {
			require.True(t, known[key], "%q", key)
			require.Positive(t, v.line)
			fmt.Fprintf(&b, "%s: %s\n", key, quoted(v.text))
		}
		again, err := parseFile([]byte(b.String()))
		require.NoError(t, err, "%s", b.String())
		require.Len(t, again, len(values))
		for key, v := range values {
			require.Equal(t, v.text, again[key].text, "%q", key)
		}
	})
}

// quoted writes a text as YAML, whatever is in it.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		fmt.Fprintf(&b, "\\U%08X", r)
	}
	b.WriteByte('"')
	return b.String()
}

// Whatever a variable holds, loading takes it or refuses it by its name; it never panics, and never shows a secret.
func FuzzVariable(f *testing.F) {
	for i := range settings {
		f.Add(uint16(i), "1")
		f.Add(uint16(i), "-1s")
	}
	for _, value := range []string{"", " ", "1e999", "99999999999h", "0x10", "postgres://u:hunter2@h/%zz", "http://[::1", "\x00", "\xff", "a,b,,c", ":99999", "whsec_!"} {
		f.Add(uint16(3), value)
	}
	f.Fuzz(func(t *testing.T, which uint16, value string) {
		s := settings[int(which)%len(settings)]
		name := strings.ToUpper(s.key())
		_, err := Load(func(asked string) string {
			switch asked {
			case name:
				return value
			case "DATABASE_URL":
				return "postgres://localhost/dawsos"
			}
			return ""
		}, API)
		if err != nil && name != FileVariable {
			require.Contains(t, err.Error(), name)
		}
	})
}
