package delivery

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", maxText)
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"words", "connection refused", "connection refused"},
		{"other scripts", "удалённый узел", "удалённый узел"},
		{"NUL", "a\x00b", "a\uFFFDb"},
		{"not UTF-8", "a\xff\xfeb", "a\uFFFDb"},
		{"as long as may be", long, long},
		{"too long", long + "tail", long},
		{"cut inside of a character", strings.Repeat("a", maxText-1) + "é", strings.Repeat("a", maxText-1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, text(tt.in))
		})
	}
}

func FuzzText(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\xff" + strings.Repeat("é", maxText))
	f.Fuzz(func(t *testing.T, s string) {
		got := text(s)
		if !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > maxText {
			t.Fatalf("%q is not fit for a text column", got)
		}
		if text(got) != got {
			t.Fatalf("%q changes when it is cleaned again", got)
		}
	})
}
