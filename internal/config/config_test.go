package config

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/periodic"
)

const testDatabase = "postgres://dawsos:hunter2@db.example:5432/dawsos?sslmode=require"

const testSecret = "whsec_yqtU+sRn/vjU1N0Q6gloHJy3GVhQktlO"

// testKey is a key of the right form.
const testKey = "43hL770pQw35smsdmzFPO0GACpEuKFVH1qW+oN3bwY0="

// env returns a getenv over pairs of name and value.
func env(pairs ...string) func(string) string {
	m := make(map[string]string, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

// file writes a settings file and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dawsos.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func allowed(t *testing.T, text string) outbound.AllowList {
	t.Helper()
	l, err := outbound.ParseAllowList(text)
	require.NoError(t, err)
	return l
}

func parsed(t *testing.T, text string) periodic.Schedule {
	t.Helper()
	s, err := periodic.ParseSchedule(text)
	require.NoError(t, err)
	return s
}

func TestLoadDefaults(t *testing.T) {
	t.Parallel()

	development := Config{
		Environment:        Development,
		DatabaseURL:        testDatabase,
		DatabasePoolMax:    25,
		AuthMethods:        []AuthMethod{AuthKeys},
		AuthClockSkew:      time.Minute,
		AuthTenantClaim:    "tenant",
		AuthRoleClaim:      "role",
		APIAddr:            ":8000",
		WorkerAddr:         ":8001",
		RequestTimeout:     30 * time.Second,
		MaxBodyBytes:       1048576,
		MaxConnections:     2000,
		ImportMaxBytes:     256 << 20,
		ImportTimeout:      10 * time.Minute,
		ShutdownGrace:      20 * time.Second,
		LogLevel:           slog.LevelInfo,
		LogFormat:          LogText,
		PatternsDir:        "configs/patterns",
		AgentsFile:         "configs/agents.yaml",
		AnalyticsDir:       "configs/analytics",
		LLMTimeout:         20 * time.Second,
		PatternParallelism: 16,
		PatternCacheSize:   64 << 20,
		RunRetention:       30 * 24 * time.Hour,
		RetrySchedule:      Schedule{5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 12 * time.Hour, 24 * time.Hour},
		RetryJitter:        0.1,
		DedupWindow:        24 * time.Hour,
		DeliveryTimeout:    10 * time.Second,
		DeliveryRetention:  90 * 24 * time.Hour,
		OperationRetention: 90 * 24 * time.Hour,

		NotificationRetention: 90 * 24 * time.Hour, NotificationUnreadRetention: 365 * 24 * time.Hour, AuditRetention: 365 * 24 * time.Hour,

		WorkerConcurrency:   100,
		BreakerFailures:     5,
		BreakerAfter:        10 * time.Second,
		BreakerDelay:        30 * time.Second,
		WebhookAllowPrivate: true,

		AlertmanagerDedupWindow: 5 * time.Minute,
		AlertEvaluationInterval: time.Minute,

		NightlySchedule: parsed(t, "30 22 * * *"), BackupSchedule: parsed(t, "0 4 * * *"), BackupKeep: 14,
		FetchSchedule:   parsed(t, "0 21 * * *"),
		PrewarmPatterns: []string{"portfolio_overview"}, PrewarmPortfolios: 20,
		JobRunRetention: 30 * 24 * time.Hour, MetricsRetention: 90 * 24 * time.Hour,
	}
	production := development
	production.Environment = Production
	production.LogFormat = LogJSON
	production.SecretsKey = Secret(testKey)
	production.WebhookSecret = Secret(testSecret)
	production.WebhookAllowPrivate = false
	production.AuthMethods = nil // the API must be told, the worker lets nobody in
	production.RateLimit = 100

	got, err := Load(env("DATABASE_URL", testDatabase), API)
	require.NoError(t, err)
	require.Equal(t, development, got)

	got, err = Load(env("DATABASE_URL", testDatabase, "ENVIRONMENT", "production", "SECRETS_KEY", testKey, "WEBHOOK_SECRET", testSecret), Worker)
	require.NoError(t, err)
	require.Equal(t, production, got)
}

func TestLoadReadsEverySetting(t *testing.T) {
	t.Parallel()

	got, err := Load(env(
		"ENVIRONMENT", "production",
		"DATABASE_URL", "postgresql://a:5432,b:5432/dawsos",
		"DATABASE_POOL_MAX", "4",
		"AUTH_METHODS", "keys, jwt",
		"AUTH_JWKS_URL", "https://login.example.org/keys?p=1",
		"AUTH_ISSUER", "https://login.example.org/",
		"AUTH_AUDIENCE", "dawsos",
		"AUTH_CLOCK_SKEW", "0s",
		"AUTH_TENANT_CLAIM", "https://dawsos/tenant",
		"AUTH_ROLE_CLAIM", "roles",
		"API_ADDR", "127.0.0.1:0",
		"WORKER_ADDR", "[::1]:65535",
		"METRICS_ADDR", "127.0.0.1:9000",
		"TLS_CERT_FILE", "/run/tls/tls.crt",
		"TLS_KEY_FILE", "/run/tls/tls.key",
		"TLS_TERMINATED", "true",
		"REQUEST_TIMEOUT", "1m30s",
		"MAX_BODY_BYTES", "512KiB",
		"MAX_CONCURRENT_REQUESTS", "64",
		"MAX_CONNECTIONS", "500",
		"RATE_LIMIT", "50",
		"RATE_BURST", "75",
		"IMPORT_MAX_BYTES", "1GiB",
		"IMPORT_TIMEOUT", "1h",
		"SHUTDOWN_GRACE", "5s",
		"LOG_LEVEL", "debug",
		"LOG_FORMAT", "text",
		"OTLP_ENDPOINT", "collector:4317",
		"PATTERNS_DIR", "/etc/dawsos/patterns",
		"AGENTS_FILE", "/etc/dawsos/agents.yaml",
		"ANALYTICS_DIR", "/etc/dawsos/analytics",
		"LLM_URL", "http://localhost:11434/v1",
		"LLM_MODEL", "tiny:1b",
		"LLM_API_KEY", "sk-1",
		"LLM_TIMEOUT", "5s",
		"PATTERN_PARALLELISM", "256",
		"PATTERN_CACHE_SIZE", "4GiB",
		"RUN_RETENTION", "87600h",
		"RETRY_SCHEDULE", "1s, 2s,4s",
		"RETRY_JITTER", "0",
		"DEDUP_WINDOW", "8760h",
		"ALERTMANAGER_DEDUP_WINDOW", "1s",
		"ALERT_EVALUATION_INTERVAL", "10s",
		"NIGHTLY_SCHEDULE", "off",
		"RECONCILE_SCHEDULE", "15m",
		"METRICS_SCHEDULE", "06:30",
		"PREWARM_SCHEDULE", "0 7 * * 1-5",
		"MARK_FRESH_SCHEDULE", "1h",
		"BACKUP_SCHEDULE", "3:15",
		"FETCH_SCHEDULE", "6h",
		"FRED_API_KEY", "fred-1",
		"FMP_API_KEY", "fmp-1",
		"NEWS_API_KEY", "news-1",
		"BACKUP_DIR", "/var/backups/dawsos",
		"BACKUP_KEEP", "1",
		"PREWARM_PATTERNS", "portfolio_overview, holding_deep_dive",
		"PREWARM_PORTFOLIOS", "0",
		"API_URL", "https://api.example.org/",
		"JOB_RUN_RETENTION", "1h",
		"METRICS_RETENTION", "24h",
		"DELIVERY_TIMEOUT", "100ms",
		"DELIVERY_RETENTION", "24h",
		"OPERATION_RETENTION", "48h",
		"NOTIFICATION_RETENTION", "72h",
		"NOTIFICATION_UNREAD_RETENTION", "96h",
		"AUDIT_RETENTION", "120h",
		"WORKER_CONCURRENCY", "10000",
		"BREAKER_FAILURES", "1",
		"BREAKER_AFTER", "0s",
		"BREAKER_DELAY", "100ms",
		"SECRETS_KEY", testKey+", "+testKey,
		"WEBHOOK_SECRET", testSecret,
		"WEBHOOK_ALLOW", "hooks.example.org, *.example.com,10.1.0.0/16",
		"WEBHOOK_ALLOW_PRIVATE", "true",
		"SMTP_URL", "smtps://mailer:pa%3Ass@mail.example.org",
		"SMTP_FROM", "DawsOS <alerts@example.org>",
	), Worker)
	require.NoError(t, err)
	require.Equal(t, Config{
		Environment:           Production,
		DatabaseURL:           "postgresql://a:5432,b:5432/dawsos",
		DatabasePoolMax:       4,
		AuthMethods:           []AuthMethod{AuthKeys, AuthJWT},
		AuthJWKSURL:           "https://login.example.org/keys?p=1",
		AuthIssuer:            "https://login.example.org/",
		AuthAudience:          "dawsos",
		AuthTenantClaim:       "https://dawsos/tenant",
		AuthRoleClaim:         "roles",
		APIAddr:               "127.0.0.1:0",
		WorkerAddr:            "[::1]:65535",
		MetricsAddr:           "127.0.0.1:9000",
		TLSCertFile:           "/run/tls/tls.crt",
		TLSKeyFile:            "/run/tls/tls.key",
		TLSTerminated:         true,
		RequestTimeout:        90 * time.Second,
		MaxBodyBytes:          512 << 10,
		MaxConcurrentRequests: 64, MaxConnections: 500, RateLimit: 50, RateBurst: 75,

		ImportMaxBytes:     1 << 30,
		ImportTimeout:      time.Hour,
		ShutdownGrace:      5 * time.Second,
		LogLevel:           slog.LevelDebug,
		LogFormat:          LogText,
		OTLPEndpoint:       "http://collector:4317",
		PatternsDir:        "/etc/dawsos/patterns",
		AgentsFile:         "/etc/dawsos/agents.yaml",
		AnalyticsDir:       "/etc/dawsos/analytics",
		LLMURL:             "http://localhost:11434/v1",
		LLMModel:           "tiny:1b",
		LLMAPIKey:          "sk-1",
		LLMTimeout:         5 * time.Second,
		PatternParallelism: 256,
		PatternCacheSize:   4 << 30,
		RunRetention:       87600 * time.Hour,
		RetrySchedule:      Schedule{time.Second, 2 * time.Second, 4 * time.Second},
		RetryJitter:        0,
		DedupWindow:        8760 * time.Hour,
		DeliveryTimeout:    100 * time.Millisecond,
		DeliveryRetention:  24 * time.Hour,
		OperationRetention: 48 * time.Hour,

		NotificationRetention: 72 * time.Hour, NotificationUnreadRetention: 96 * time.Hour, AuditRetention: 120 * time.Hour,

		WorkerConcurrency:   10000,
		BreakerFailures:     1,
		BreakerAfter:        0,
		BreakerDelay:        100 * time.Millisecond,
		SecretsKey:          testKey + ", " + testKey,
		WebhookSecret:       Secret(testSecret),
		WebhookAllow:        allowed(t, "hooks.example.org,*.example.com,10.1.0.0/16"),
		WebhookAllowPrivate: true,
		SMTP:                SMTPServer{Host: "mail.example.org", Port: 465, Security: SMTPImplicitTLS, User: "mailer", Password: "pa:ss"},
		SMTPFrom:            mail.Address{Name: "DawsOS", Address: "alerts@example.org"},

		AlertmanagerDedupWindow: time.Second,
		AlertEvaluationInterval: 10 * time.Second,

		ReconcileSchedule: parsed(t, "15m"), MetricsSchedule: parsed(t, "06:30"), PrewarmSchedule: parsed(t, "0 7 * * 1-5"),
		MarkFreshSchedule: parsed(t, "1h"), BackupSchedule: parsed(t, "3:15"), BackupDir: "/var/backups/dawsos", BackupKeep: 1,
		FetchSchedule: parsed(t, "6h"), FREDAPIKey: "fred-1", FMPAPIKey: "fmp-1", NewsAPIKey: "news-1",
		PrewarmPatterns: []string{"portfolio_overview", "holding_deep_dive"}, APIURL: "https://api.example.org",
		JobRunRetention: time.Hour, MetricsRetention: 24 * time.Hour,
	}, got)
}

func TestLoadRequires(t *testing.T) {
	t.Parallel()

	tests := []struct {
		role        Role
		environment string
		want        []string // settings named in the error
	}{
		{API, "development", []string{"DATABASE_URL"}},
		{Worker, "development", []string{"DATABASE_URL"}},
		{Migrate, "development", []string{"DATABASE_URL"}},
		{Dev, "development", nil},
		{Validate, "development", nil},
		{API, "production", []string{"DATABASE_URL", "AUTH_METHODS", "SECRETS_KEY", "WEBHOOK_SECRET"}},
		{Worker, "production", []string{"DATABASE_URL", "SECRETS_KEY", "WEBHOOK_SECRET"}},
		{Migrate, "production", []string{"DATABASE_URL"}},
		{Dev, "production", nil},
		{Validate, "production", nil},
		{Healthcheck, "production", nil},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s in %s", test.role, test.environment), func(t *testing.T) {
			t.Parallel()
			_, err := Load(env("ENVIRONMENT", test.environment), test.role)
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			lines := strings.Split(err.Error(), "\n")
			require.Len(t, lines, len(test.want))
			for i, name := range test.want {
				require.Contains(t, lines[i], name+" is not set; it must be ")
			}
		})
	}
}

func TestLoadTakesNoCache(t *testing.T) {
	t.Parallel()

	got, err := Load(env("PATTERN_CACHE_SIZE", "0"), Validate)
	require.NoError(t, err)
	require.Zero(t, got.PatternCacheSize)
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()

	long := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))
	tests := []struct{ name, value string }{
		{"ENVIRONMENT", "prod"},
		{"DATABASE_URL", "mysql://u:hunter2@db/x"},
		{"DATABASE_URL", "host=db password=hunter2"},
		{"DATABASE_URL", "postgres://u:hunter2@db:port/x"},
		{"DATABASE_POOL_MAX", "3"},
		{"DATABASE_POOL_MAX", "many"},
		{"API_ADDR", "8000"},
		{"API_ADDR", ":65536"},
		{"WORKER_ADDR", ":http"},
		{"METRICS_ADDR", "9000"},
		{"TLS_TERMINATED", "yes"},
		{"AUTH_METHODS", "key"},
		{"AUTH_METHODS", "keys,keys"},
		{"AUTH_METHODS", "keys,"},
		{"AUTH_JWKS_URL", "login.example.org/keys"},
		{"AUTH_JWKS_URL", "file:///etc/keys"},
		{"AUTH_JWKS_URL", "https://me@login.example.org/keys"},
		{"AUTH_JWKS_URL", "https://login.example.org/keys#1"},
		{"AUTH_ISSUER", "a\nb"},
		{"AUTH_JWT_SECRET", "hunter2"},
		{"AUTH_JWT_SECRET", "hunter2 hunter2 hunter2 hunter2 hunter2"},
		{"AUTH_CLOCK_SKEW", "6m"},
		{"AUTH_CLOCK_SKEW", "-1s"},
		{"REQUEST_TIMEOUT", "30"},
		{"REQUEST_TIMEOUT", "-1s"},
		{"IMPORT_MAX_BYTES", "512KiB"},
		{"IMPORT_TIMEOUT", "25h"},
		{"MAX_BODY_BYTES", "1MB"},
		{"MAX_BODY_BYTES", "65MiB"},
		{"MAX_BODY_BYTES", "9223372036854775807KiB"},
		{"MAX_BODY_BYTES", "0"},
		{"MAX_CONCURRENT_REQUESTS", "-1"},
		{"MAX_CONNECTIONS", "0"},
		{"RATE_LIMIT", "many"},
		{"RATE_BURST", "1000001"},
		{"SHUTDOWN_GRACE", "11m"},
		{"LOG_LEVEL", "INFO"},
		{"LOG_FORMAT", "xml"},
		{"OTLP_ENDPOINT", "collector"},
		{"OTLP_ENDPOINT", "grpc://collector:4317"},
		{"OTLP_ENDPOINT", "http://collector:4317/v1/traces"},
		{"OTLP_ENDPOINT", "http://me:hunter2@collector:4317"},
		{"OTLP_ENDPOINT", ":4317"},
		{"PATTERNS_DIR", "a\x00b"},
		{"PATTERN_PARALLELISM", "0"},
		{"PATTERN_PARALLELISM", "257"},
		{"PATTERN_CACHE_SIZE", "1MB"},
		{"PATTERN_CACHE_SIZE", "1023KiB"},
		{"PATTERN_CACHE_SIZE", "5GiB"},
		{"PATTERN_CACHE_SIZE", "-0"},
		{"RUN_RETENTION", "59m"},
		{"RUN_RETENTION", "87601h"},
		{"NIGHTLY_SCHEDULE", "at night"},
		{"BACKUP_SCHEDULE", "@daily"},
		{"BACKUP_KEEP", "0"},
		{"PREWARM_PATTERNS", "a,,b"},
		{"PREWARM_PATTERNS", "../a"},
		{"PREWARM_PORTFOLIOS", "-1"},
		{"API_URL", "localhost:8000"},
		{"API_URL", "http://me:hunter2@api:8000"},
		{"JOB_RUN_RETENTION", "59m"},
		{"METRICS_RETENTION", "23h"},
		{"RETRY_SCHEDULE", "5m,,30m"},
		{"RETRY_SCHEDULE", "0s"},
		{"RETRY_SCHEDULE", "721h"},
		{"RETRY_SCHEDULE", strings.Repeat("1s,", 20) + "1s"},
		{"RETRY_JITTER", "1.1"},
		{"RETRY_JITTER", "-0.1"},
		{"RETRY_JITTER", "NaN"},
		{"DELIVERY_TIMEOUT", "99ms"},
		{"WORKER_CONCURRENCY", "0"},
		{"WORKER_CONCURRENCY", "1\n2"},
		{"BREAKER_FAILURES", "0"},
		{"BREAKER_AFTER", "-1s"},
		{"BREAKER_DELAY", "99ms"},
		{"SECRETS_KEY", "hunter2!"},
		{"SECRETS_KEY", "aHVudGVyMg=="},
		{"SECRETS_KEY", testKey + ",hunter2!"},
		{"SECRETS_KEY", testKey + ","},
		{"SECRETS_KEY", strings.Repeat(testKey+",", 5) + testKey},
		{"WEBHOOK_SECRET", "hunter2"},
		{"WEBHOOK_SECRET", "whsec_hunter2!"},
		{"WEBHOOK_SECRET", "whsec_aHVudGVyMg=="},
		{"WEBHOOK_SECRET", long},
		{"WEBHOOK_ALLOW", "https://hooks.example.org/x"},
		{"WEBHOOK_ALLOW", "10.1.2.3/16"},
		{"WEBHOOK_ALLOW", "127.1"},
		{"WEBHOOK_ALLOW_PRIVATE", "1"},
		{"SMTP_URL", "mail.example.org"},
		{"SMTP_URL", "http://mail.example.org"},
		{"SMTP_URL", "smtp://"},
		{"SMTP_URL", "smtp:u:hunter2@mail.example.org"},
		{"SMTP_URL", "smtp://u:hunter2@mail.example.org:smtp"},
		{"SMTP_URL", "smtp://u:hunter2@mail.example.org:0"},
		{"SMTP_URL", "smtp://u:hunter2@mail.example.org:65536"},
		{"SMTP_URL", "smtp://u/hunter2@mail.example.org"},
		{"SMTP_URL", "smtp://mail.example.org/hunter2"},
		{"SMTP_URL", "smtp://mail.example.org?starttls=maybe"},
		{"SMTP_URL", "smtp://mail.example.org?starttls=never&starttls=required"},
		{"SMTP_URL", "smtp://mail.example.org?tls=hunter2"},
		{"SMTP_URL", "smtps://mail.example.org?starttls=required"},
		{"SMTP_URL", "smtp://u:hunter2@mail.example.org?starttls=never"},
		{"SMTP_FROM", "DawsOS"},
		{"SMTP_FROM", "a@example.org, b@example.org"},
		{"SMTP_FROM", "älerts@example.org"},
	}
	for _, test := range tests {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			t.Parallel()
			_, err := Load(env(test.name, test.value), Dev)
			require.Error(t, err)
			text := err.Error()
			require.NotContains(t, text, "\n", "one problem, one line")
			require.Contains(t, text, test.name+"=")
			require.Contains(t, text, "; it must be ")
			for _, secret := range []string{"hunter2", "aHVudGVyMg", long, testKey} {
				require.NotContains(t, text, secret)
			}
		})
	}
}

func TestLoadReadsMailServers(t *testing.T) {
	t.Parallel()

	for value, want := range map[string]SMTPServer{
		"smtp://localhost":                                     {Host: "localhost", Port: 587},
		"smtp://localhost:1025/":                               {Host: "localhost", Port: 1025},
		"smtp://[::1]:25?starttls=never":                       {Host: "::1", Port: 25, Security: SMTPPlain},
		"smtp://u:p%40ss@mail.example.org?starttls=required":   {Host: "mail.example.org", Port: 587, Security: SMTPStartTLS, User: "u", Password: "p@ss"},
		"smtp://u@mail.example.org":                            {Host: "mail.example.org", Port: 587, User: "u"},
		"smtps://alerts%40example.org:p@mail.example.org:4650": {Host: "mail.example.org", Port: 4650, Security: SMTPImplicitTLS, User: "alerts@example.org", Password: "p"},
	} {
		got, err := Load(env("SMTP_URL", value, "SMTP_FROM", "alerts@example.org"), Dev)
		require.NoError(t, err, value)
		require.Equal(t, want, got.SMTP)
		require.Equal(t, mail.Address{Address: "alerts@example.org"}, got.SMTPFrom)
	}

	_, err := Load(env("SMTP_URL", "smtp://u:hunter2@localhost"), Dev)
	require.EqualError(t, err, "SMTP_FROM is not set; with SMTP_URL it must be the address that mail is from")
}

func TestLoadReportsEveryProblem(t *testing.T) {
	t.Parallel()

	path := file(t, "retry_jitter: 2\nlog_level: loud\n")
	_, err := Load(env(FileVariable, path, "DATABASE_URL", testDatabase, "RETRY_SCHEDULE", "5m,soon", "LOG_LEVEL", "quiet"), API)
	require.EqualError(t, err, strings.Join([]string{
		`LOG_LEVEL="quiet": unknown value; it must be debug, info, warn or error`,
		`RETRY_SCHEDULE="5m,soon": wait 2 is not a duration; it must be 1 to 20 durations such as 5m,30m,2h, each above 0 and at most 720h`,
		`RETRY_JITTER="2" (` + path + ` line 1): out of range; it must be a number from 0 to 1`,
	}, "\n"))
}

func TestLoadShowsWhereADatabaseURLPoints(t *testing.T) {
	t.Parallel()

	_, err := Load(env("DATABASE_URL", "mysql://me:hunter2@db.example:3306/dawsos?password=hunter2"), API)
	require.ErrorContains(t, err, `DATABASE_URL="mysql://[redacted]@db.example:3306/dawsos": not a PostgreSQL address`)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestLoadFile(t *testing.T) {
	t.Parallel()

	tests := []struct {
		name, text string
		want       string // part of the error, "" for none
	}{
		{"values of any scalar kind", "database_url: " + testDatabase + "\nretry_jitter: 0.5\nlog_level: warn\nworker_concurrency: 7\nwebhook_allow_private: false\n", ""},
		{"empty", "", "DATABASE_URL is not set"},
		{"comments only", "# nothing\n", "DATABASE_URL is not set"},
		{"empty value", "database_url:\n", "DATABASE_URL is not set"},
		{"unknown key", "database_uri: x\n", `line 1: "database_uri" is not a setting`},
		{"key in capitals", "LOG_LEVEL: info\n", `line 1: "LOG_LEVEL" is not a setting`},
		{"twice", "log_level: info\nlog_level: warn\n", "line 2: log_level stands twice"},
		{"list", "retry_schedule: [5m, 30m]\n", "line 1: retry_schedule must be one plain value"},
		{"no mapping", "- log_level\n", "must be a mapping"},
		{"two documents", "log_level: info\n---\nlog_level: warn\n", "one YAML document"},
		{"no YAML", "log_level: 'x\n", "yaml: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := Load(env(FileVariable, file(t, test.text)), API)
			if test.want != "" {
				require.ErrorContains(t, err, test.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, Secret(testDatabase), got.DatabaseURL)
			require.InDelta(t, 0.5, got.RetryJitter, 0)
			require.Equal(t, slog.LevelWarn, got.LogLevel)
			require.Equal(t, 7, got.WorkerConcurrency)
			require.False(t, got.WebhookAllowPrivate)
		})
	}
}

func TestLoadVariableWinsOverFile(t *testing.T) {
	t.Parallel()

	path := file(t, "log_level: warn\nlog_format: json\n")
	got, err := Load(env(FileVariable, path, "LOG_LEVEL", "error"), Dev)
	require.NoError(t, err)
	require.Equal(t, slog.LevelError, got.LogLevel)
	require.Equal(t, LogJSON, got.LogFormat)
}

func TestLoadNamedFileMustExist(t *testing.T) {
	t.Parallel()

	_, err := Load(env(FileVariable, filepath.Join(t.TempDir(), "absent.yaml")), Dev)
	require.ErrorContains(t, err, FileVariable)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()

	cfg := Config{DatabaseURL: "hunter2", WebhookSecret: "hunter2"}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+" "+verb+"\n", cfg, cfg.WebhookSecret)
	}
	raw, err := json.Marshal(cfg)
	require.NoError(t, err)
	b.Write(raw)
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("settings", "config", cfg, "secret", cfg.WebhookSecret)
	}

	require.NotContains(t, b.String(), "hunter2")
	require.NotContains(t, b.String(), "68756e74657232", "hexadecimal")
	require.Contains(t, b.String(), redacted)
	require.Equal(t, "hunter2", string(cfg.WebhookSecret))
}
