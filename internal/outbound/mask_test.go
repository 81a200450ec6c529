package outbound

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMask(t *testing.T) {
	t.Parallel()
	const secret, core = `s3cr3t-token"<&>'`, "s3cr3t-token"
	inJSON, err := json.Marshal(map[string]string{"authorization": "Bearer " + secret})
	require.NoError(t, err)
	for name, text := range map[string]string{
		"as it is": "got " + secret, "twice": secret + secret, "JSON": string(inJSON), "HTML": html.EscapeString(secret),
		"JSON without HTML": `{"a":"s3cr3t-token\"<&>'"}`, "query": url.QueryEscape(secret), "path": url.PathEscape(secret),
		"hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
	} {
		got := Mask(text, secret)
		require.Contains(t, got, "[hidden]", name)
		require.NotContains(t, got, core, name)
	}
	for _, user := range []string{"", "a", "ab", "abc", "somebody"} {
		for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
			text := alphabet.EncodeToString([]byte(user + ":" + secret + ":rest"))
			got := Mask("Basic "+text, secret)
			require.Contains(t, got, "[hidden]", user)
			require.Less(t, len(strings.ReplaceAll(got, "[hidden]", "")), len("Basic ")+len(text)-len(secret), "no more than what is around it stays: %s", got)
		}
	}

	require.Equal(t, "a [hidden] b", Mask("a 0123456789 b", "01234567", "0123456789"), "the longest first")
	require.Equal(t, "short stays", Mask("short stays", "short", ""))
	require.Empty(t, Mask("", secret))
	require.Equal(t, "as it is", Mask("as it is"))
}

// FuzzMask: whatever stands around a secret, it is gone.
func FuzzMask(f *testing.F) {
	f.Add("before", "s3cr3t-token", "after")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if len(secret) < leastSecret || strings.Contains(masked, secret) || strings.Contains(secret, "[") || strings.Contains(secret, "]") {
			return
		}
		require.NotContains(t, Mask(before+secret+after, secret), secret)
	})
}
