package exchange

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/delivery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		value string
		want  time.Duration
	}{
		{"", 0},
		{"0", 0},
		{"1", time.Second},
		{" 120 ", 2 * time.Minute},
		{"007", 7 * time.Second},
		{"1.0", time.Second},
		{"1.001", 2 * time.Second},
		{"0.5", time.Second},
		{".5", 0},
		{"-1", 0},
		{"+1", 0},
		{"1e9", 0},
		{"1 2", 0},
		{"0x10", 0},
		{"soon", 0},
		{"99999999999999999999999999", maxRetryAfter},
		{"999999999", maxRetryAfter},
		{"Fri, 01 May 2026 12:01:30 GMT", 90 * time.Second},
		{"Friday, 01-May-26 12:01:30 GMT", 90 * time.Second},
		{"Fri May  1 12:01:30 2026", 90 * time.Second},
		{"Fri, 01 May 2026 11:59:59 GMT", 0},
		{"Fri, 01 May 9999 11:59:59 GMT", maxRetryAfter},
		{"2026-05-01T12:01:30Z", 0},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, RetryAfter(tt.value, now), "%q", tt.value)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "120", "1.5", "-3", "Fri, 01 May 2026 12:01:30 GMT", "99999999999999999999"} {
		f.Add(seed, uint32(7))
	}
	f.Fuzz(func(t *testing.T, value string, n uint32) {
		d := RetryAfter(value, now)
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, maxRetryAfter)

		// Both ways to say the same mean the same.
		want := min(time.Duration(n)*time.Second, maxRetryAfter)
		require.Equal(t, want, RetryAfter(strconv.FormatUint(uint64(n), 10), now))
		require.Equal(t, want, RetryAfter(now.Add(time.Duration(n)*time.Second).Format(http.TimeFormat), now))
	})
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	require.Equal(t, "no such hook: [hidden]", Excerpt([]byte("no such hook: t0ken-t0ken"), []string{"t0ken-t0ken"}))
	require.Equal(t, "at [hidden]!", Excerpt([]byte("at /a/t0ken-t0ken!"), []string{"t0ken-t0ken", "/a/t0ken-t0ken"}), "the longest first")
	require.Equal(t, "ok", Excerpt([]byte("ok"), []string{"", "o", "ok"}), "what is short is no secret")
	require.Len(t, Excerpt([]byte(strings.Repeat("x", 5000)), nil), maxExcerpt)

	// A secret that the cut goes through does not show its first half.
	cut := Excerpt([]byte(strings.Repeat("x", maxExcerpt-5)+"t0ken-t0ken"), []string{"t0ken-t0ken"})
	require.NotContains(t, cut, "t0")
	// Nor does one that masking others has moved in front of the cut.
	path, token := "/"+strings.Repeat("p", 600), strings.Repeat("t0ken", 200)
	quoted := path + " " + path + " authorization: " + token
	require.Equal(t, "[hidden] [hidden] authorization: [hidden]", Excerpt([]byte(quoted), []string{path, token}))
	require.True(t, utf8.ValidString(Excerpt([]byte(strings.Repeat("ä", maxExcerpt)), nil)))
	require.True(t, utf8.ValidString(Excerpt([]byte("x"+strings.Repeat("ä", maxExcerpt)), nil)))
}

func TestSecretsOf(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("https://ada:pa%20ssword@example.org/hooks/B0123%2F456/x?key=a%20query%20token#fragment")
	require.NoError(t, err)
	secrets := SecretsOf(u)
	for _, want := range []string{
		"ada", "pa ssword", "B0123%2F456", "/hooks/B0123/456/x", "a%20query%20token", "a query token", "fragment",
		"/hooks/B0123%2F456/x?key=a%20query%20token",
	} {
		require.Contains(t, secrets, want)
	}
}

// A receiver that quotes what authenticates a request in its own words, or a piece of it, gives nothing away.
func TestSecretsOfHeaders(t *testing.T) {
	t.Parallel()
	for header, pieces := range map[string][]string{
		"Authorization: Bearer t0ken-t0ken": {"t0ken-t0ken"},
		"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("somebody:pa:ss word+")):  {"somebody:pa:ss word+", "pa:ss word+", "somebody"},
		"proxy-authorization: basic " + base64.RawStdEncoding.EncodeToString([]byte("sk_live_abc:")): {"sk_live_abc"},
		"Cookie: session=S3SSI0NS3SSI0N; theme=dark; csrf=\"c5rfc5rf==\"":                            {"S3SSI0NS3SSI0N", "c5rfc5rf=="},
		"X-Signature: t=1,v1=0123456789abcdef;v0=fedcba9876543210":                                   {"0123456789abcdef", "fedcba9876543210"},
		`Authorization: Digest username="operator", response="6629fae49393"`:                         {"operator", "6629fae49393"},
	} {
		name, value, _ := strings.Cut(header, ": ")
		req := httptest.NewRequest(http.MethodPost, "https://example.org/", nil)
		req.Header.Set(name, value)
		for _, piece := range pieces {
			require.Equal(t, "got [hidden].", Excerpt([]byte("got "+piece+"."), secretsOf(req)), "of %s", header)
		}
	}
	req := httptest.NewRequest(http.MethodPost, "https://example.org/", nil)
	req.Header.Set("Cookie", "theme=dark; a=b")
	require.Equal(t, "the theme is dark, and a is b", Excerpt([]byte("the theme is dark, and a is b"), secretsOf(req)), "short pieces are no secrets")
}

func TestFailure(t *testing.T) {
	t.Parallel()
	o := Failure(&url.Error{Op: "Post", URL: "https://example.org/t0ken", Err: context.DeadlineExceeded})
	require.Equal(t, delivery.Outcome{Cause: delivery.Timeout, Retry: true, Detail: "no answer in time"}, o)
	o = Failure(&url.Error{Op: "Post", URL: "https://example.org/t0ken", Err: errors.New("something else")})
	require.Equal(t, delivery.Outcome{Cause: delivery.Connect, Retry: true, Detail: "something else"}, o)
}
