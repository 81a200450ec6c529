package outbound

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

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

// What is escaped, and how, each serializer decides for itself.
func TestMaskKnowsEscapesOfOthers(t *testing.T) {
	t.Parallel()
	const secret = `k/9+x=<é 'q"😀`
	for name, text := range map[string]string{
		"json_encode of PHP":              `{"a":"k\/9+x=<\u00e9 'q\"\ud83d\ude00"}`,
		"json_encode with JSON_HEX":       `{"a":"k\/9+x=\u003C\u00e9 \u0027q\u0022\ud83d\ude00"}`,
		"System.Text.Json":                `{"a":"k/9\u002Bx=\u003C\u00E9 \u0027q\u0022\uD83D\uDE00"}`,
		"Gson":                            `{"a":"k/9+x\u003d\u003cé \u0027q\"😀"}`,
		"in lower case":                   `{"a":"k/9\u002bx\u003d\u003cé \u0027q\"😀"}`,
		"a string of JavaScript":          `'k\/9+x=\x3Cé \'q"😀'`,
		"UrlEncode of .NET":               `k%2f9%2bx%3d%3c%c3%a9+'q%22%f0%9f%98%80`,
		"encodeURIComponent":              `k%2F9%2Bx%3D%3C%C3%A9%20'q%22%F0%9F%98%80`,
		"HtmlEncoder of ASP.NET Core":     `k/9&#x2B;x=&lt;&#xE9; &#x27;q&quot;&#x1F600;`,
		"names of HTML":                   `k/9&plus;x=&lt;&eacute; &apos;q&quot;😀`,
		"JSON within JSON":                `{"a":"{\"b\":\"k\\/9+x=<\\u00e9 'q\\\"\\ud83d\\ude00\"}"}`,
		"percent-encoded in JSON":         `{"a":"https:\/\/x\/?k=k%2F9%2Bx%3D%3C%C3%A9%20%27q%22%F0%9F%98%80"}`,
		"percent-encoded, in HTML, twice": `k%252F9%252Bx%253D&lt;%25C3%25A9%2520&#39;q%2522%25F0%259F%2598%2580`,
	} {
		got := Mask("before "+text+" after", secret)
		require.Contains(t, got, masked, name)
		for _, piece := range []string{"k/9", `k\/`, "k%", "9+", "x=", "q"} {
			require.NotContains(t, got, piece, name)
		}
		require.True(t, strings.HasPrefix(got, "before ") && strings.HasSuffix(got, " after"), "what stands around it stays: %s", got)
	}
	const credentials = "Zm9v/mJhcg+YmF6" // base64 itself, escaped
	require.Equal(t, `{"got":"Basic [hidden]=="}`, Mask(`{"got":"Basic Zm9v\/mJhcg\u002BYmF6=="}`, credentials))
	for _, text := range []string{`C:\new\`, `50 % & more; \u12 %zz &nothing; \`, `{"a":"\/\u002B\ud83d"}`} {
		require.Equal(t, text, Mask(text, secret), "escapes of anything else stay as they are")
	}
	require.Equal(t, `\u002B\u002B\u002B`, Mask(`\u002B\u002B\u002B`, "+++"), "short ones stay")
}

// FuzzMask: whatever stands around a secret, it is gone.
func FuzzMask(f *testing.F) {
	f.Add("before", "s3cr3t-token", "after")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if len(secret) < leastSecret || strings.Contains(masked, secret) || strings.Contains(secret, "[") || strings.Contains(secret, "]") {
			return
		}
		require.NotContains(t, Mask(before+secret+after, secret), secret)
		// However its characters are escaped, as long as nothing in front of it ends in half an escape.
		if utf8.ValidString(secret) && !strings.ContainsAny(before+after+secret, `\%&`) {
			var percent, unicode strings.Builder
			for _, b := range []byte(secret) {
				fmt.Fprintf(&percent, "%%%02x", b)
			}
			for _, unit := range utf16.Encode([]rune(secret)) {
				fmt.Fprintf(&unicode, `\u%04X`, unit)
			}
			for _, escaped := range []string{percent.String(), unicode.String(), strings.ReplaceAll(unicode.String(), `\`, `\\`)} {
				require.NotContains(t, Mask(before+escaped+after, secret), escaped)
			}
		}
	})
}
