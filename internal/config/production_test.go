package config

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// inProduction are settings that production starts with, and changes to them.
func inProduction(pairs ...string) func(string) string {
	return env(append([]string{
		"ENVIRONMENT", "production", "DATABASE_URL", testDatabase, "SECRETS_KEY", testKey, "WEBHOOK_SECRET", testSecret,
		"AUTH_METHODS", "keys", "API_ADDR", "127.0.0.1:8000",
	}, pairs...)...)
}

func TestProductionStarts(t *testing.T) {
	t.Parallel()
	jwt := []string{"AUTH_METHODS", "jwt", "AUTH_JWKS_URL", "https://login.example.org/keys", "AUTH_ISSUER", "i", "AUTH_AUDIENCE", "a"}
	for name, pairs := range map[string][]string{
		"keys":             nil,
		"tokens":           jwt,
		"both":             append(jwt, "AUTH_METHODS", "keys,jwt"),
		"tokens made here": append(jwt, "AUTH_JWKS_URL", "http://localhost:8080/keys"),
		"[::1]":            {"API_ADDR", "[::1]:8000"},
		"localhost":        {"API_ADDR", "localhost:8000"},
		"TLS":              {"API_ADDR", ":8000", "TLS_CERT_FILE", "a", "TLS_KEY_FILE", "b"},
		"TLS ended before": {"API_ADDR", "0.0.0.0:8000", "TLS_TERMINATED", "true"},
		"no password":      {"DATABASE_URL", "postgres://dawsos@db.example/dawsos"},
		"several hosts":    {"DATABASE_URL", "postgres://dawsos:h%2Aw7Rz@a:5432,b:5432/dawsos?sslmode=verify-full"},
		"mail":             {"SMTP_URL", "smtp://mailer:h*w7Rz@mail.example.org", "SMTP_FROM", "a@example.org"},
		"mail of anybody":  {"SMTP_URL", "smtp://mail.example.org", "SMTP_FROM", "a@example.org"},
	} {
		_, err := Load(inProduction(pairs...), API)
		require.NoError(t, err, name)
	}
	// The worker lets nobody in, and what it shows at WORKER_ADDR needs no secret.
	_, err := Load(inProduction("AUTH_METHODS", "", "API_ADDR", ":8000"), Worker)
	require.NoError(t, err)
}

// TestProductionRefuses what lets in who should not be, each with one line that names the setting and no
// secret.
func TestProductionRefuses(t *testing.T) {
	t.Parallel()
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	count := make([]byte, 32)
	for i := range count {
		count[i] = byte(7 - 3*i)
	}
	for name, c := range map[string]struct {
		pairs []string
		want  string
	}{
		"no methods":         {[]string{"AUTH_METHODS", ""}, "AUTH_METHODS is not set; it must be keys, jwt, or keys,jwt"},
		"anybody":            {[]string{"AUTH_ANONYMOUS", "read-only"}, "AUTH_ANONYMOUS="},
		"a shared secret":    {[]string{"AUTH_METHODS", "jwt", "AUTH_JWT_SECRET", strings.Repeat("hw7Rz*", 6)}, "AUTH_JWT_SECRET is set"},
		"plain keys":         {[]string{"AUTH_METHODS", "jwt", "AUTH_JWKS_URL", "http://login.example.org/keys", "AUTH_ISSUER", "i", "AUTH_AUDIENCE", "a"}, "AUTH_JWKS_URL is plain http"},
		"everywhere":         {[]string{"API_ADDR", ":8000"}, `API_ADDR=":8000": other machines reach it`},
		"everywhere, IPv4":   {[]string{"API_ADDR", "0.0.0.0:8000"}, "API_ADDR="},
		"everywhere, IPv6":   {[]string{"API_ADDR", "[::]:8000"}, "API_ADDR="},
		"a private address":  {[]string{"API_ADDR", "10.0.0.1:8000"}, "API_ADDR="},
		"a name":             {[]string{"API_ADDR", "api.example.org:8000"}, "API_ADDR="},
		"zeros":              {[]string{"SECRETS_KEY", base64.StdEncoding.EncodeToString(make([]byte, 32))}, "SECRETS_KEY=[redacted]: these bytes are not random"},
		"a word again":       {[]string{"SECRETS_KEY", encoded("keykeykeykeykeykeykeykeykeykeyke")}, "SECRETS_KEY=[redacted]: these bytes are not random"},
		"counted":            {[]string{"SECRETS_KEY", base64.StdEncoding.EncodeToString(count)}, "SECRETS_KEY=[redacted]: these bytes are not random"},
		"an old one":         {[]string{"SECRETS_KEY", testKey + ", " + encoded("keykeykeykeykeykeykeykeykeykeyke")}, "SECRETS_KEY=[redacted]"},
		"change me":          {[]string{"SECRETS_KEY", encoded("please-change-me-before-you-start"[:32])}, "SECRETS_KEY=[redacted]: this is a placeholder"},
		"changeme in base64": {[]string{"WEBHOOK_SECRET", "whsec_changeme" + testKey[:28]}, "WEBHOOK_SECRET=[redacted]: this is a placeholder"},
		"published":          {[]string{"WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "WEBHOOK_SECRET=[redacted]: this one is published"},
		"the example's":      {[]string{"DATABASE_URL", "postgres://user:password@host:5432/database"}, `DATABASE_URL="postgres://[redacted]@host:5432/database": its password is a placeholder`},
		"change-me":          {[]string{"DATABASE_URL", "postgres://dawsos:Change-Me-1@db:5432/dawsos"}, "DATABASE_URL="},
		"the user's name":    {[]string{"DATABASE_URL", "postgres://carol:carol@db:5432/dawsos"}, "DATABASE_URL="},
		"the first guess":    {[]string{"DATABASE_URL", "postgres://dawsos:postgres@a:5432,b:5432/dawsos"}, "DATABASE_URL="},
		"few characters":     {[]string{"DATABASE_URL", "postgres://dawsos:abababab@db:5432/dawsos"}, "DATABASE_URL="},
		"in the options":     {[]string{"DATABASE_URL", "postgres://dawsos@db:5432/dawsos?password=secret"}, "DATABASE_URL="},
		"mail":               {[]string{"SMTP_URL", "smtp://user:password@mail.example.org", "SMTP_FROM", "a@example.org"}, "SMTP_URL=[redacted]"},
		"half of TLS":        {[]string{"TLS_CERT_FILE", "a"}, "TLS_CERT_FILE and TLS_KEY_FILE go together"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(inProduction(c.pairs...), API)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n", "one problem, one line")
			for _, secret := range []string{"hw7Rz", "keykey", "Change-Me-1", "carol:", "abab", "MfKQ", testKey} {
				require.NotContains(t, err.Error(), secret)
			}
			if c.pairs[0] != "AUTH_METHODS" && c.pairs[0] != "TLS_CERT_FILE" {
				_, err = Load(over(inProduction(c.pairs...), "ENVIRONMENT", "development"), API)
				require.NoError(t, err, "development takes it")
			}
		})
	}

	_, err := Load(inProduction("AUTH_ANONYMOUS", "admin", "API_ADDR", ":8000", "SECRETS_KEY", encoded(strings.Repeat("k", 32))), API)
	require.Len(t, strings.Split(err.Error(), "\n"), 3, "all of them are told at once")
}

// over puts one variable over others.
func over(getenv func(string) string, name, value string) func(string) string {
	return func(n string) string {
		if n == name {
			return value
		}
		return getenv(n)
	}
}

func TestTokensGoTogether(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("0123456789abcdef", 2)
	for name, c := range map[string]struct {
		pairs []string
		want  []string
	}{
		"a secret":         {[]string{"AUTH_METHODS", "jwt", "AUTH_JWT_SECRET", secret}, nil},
		"nothing":          {[]string{"AUTH_METHODS", "keys,jwt"}, []string{"AUTH_JWKS_URL is not set"}},
		"both":             {[]string{"AUTH_METHODS", "jwt", "AUTH_JWT_SECRET", secret, "AUTH_JWKS_URL", "https://a/k", "AUTH_ISSUER", "i", "AUTH_AUDIENCE", "a"}, []string{"exclude each other"}},
		"keys of anybody":  {[]string{"AUTH_METHODS", "jwt", "AUTH_JWKS_URL", "https://a/k"}, []string{"AUTH_ISSUER is not set", "AUTH_AUDIENCE is not set"}},
		"not asked for":    {[]string{"AUTH_JWKS_URL", "https://a/k"}, []string{"AUTH_JWKS_URL is set, and AUTH_METHODS does not name jwt"}},
		"not asked for, 2": {[]string{"AUTH_JWT_SECRET", secret}, []string{"AUTH_JWT_SECRET is set, and AUTH_METHODS does not name jwt"}},
	} {
		_, err := Load(env(append(c.pairs, "DATABASE_URL", testDatabase)...), API)
		if c.want == nil {
			require.NoError(t, err, name)
			continue
		}
		require.Error(t, err, name)
		lines := strings.Split(err.Error(), "\n")
		require.Len(t, lines, len(c.want), name)
		for i, want := range c.want {
			require.Contains(t, lines[i], want, name)
			require.NotContains(t, lines[i], secret, name)
		}
	}
}

// exampleSecret is what looks like a secret in files that people copy from.
var exampleSecret = regexp.MustCompile(`whsec_[A-Za-z0-9+/]{32,}=*|SECRETS_KEY[=:]\s*[A-Za-z0-9+/]{43}=|postgres(?:ql)?://[^\s:@/"'<>]+:[^\s:@/"'<>$]+@[^\s"'\x60<>),]+|smtps?://[^\s:@/"'<>]+:[^\s:@/"'<>$]+@[^\s"'\x60<>),]+`)

// TestExamplesAreRefused: what anybody can read in the files of this project opens nothing in production.
func TestExamplesAreRefused(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	tried := map[string]int{}
	for _, top := range []string{"README.md", ".env.example", "compose.yaml", "docs", "configs", filepath.Join("pkg", "api", "openapi.yaml")} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".png") {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, secret := range exampleSecret.FindAllString(string(raw), -1) {
				var name string
				switch {
				case strings.HasPrefix(secret, "whsec_"):
					name = "WEBHOOK_SECRET"
				case strings.HasPrefix(secret, "postgres"):
					name = "DATABASE_URL"
				case strings.HasPrefix(secret, "smtp"):
					name, secret = "SMTP_URL", strings.Replace(secret, ":port", "", 1)
				default:
					name, secret = "SECRETS_KEY", secret[len(secret)-44:]
				}
				tried[name]++
				_, err := Load(inProduction(name, strings.Replace(secret, ":port", ":5432", 1), "SMTP_FROM", "a@example.org"), API)
				require.ErrorContains(t, err, name+"=", "%s has %s", path, secret)
			}
			return nil
		}))
	}
	require.Positive(t, tried["WEBHOOK_SECRET"])
	require.Positive(t, tried["DATABASE_URL"])
	require.Positive(t, tried["SMTP_URL"])
}
