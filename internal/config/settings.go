package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/periodic"
)

// setting is one row of the table: everything that is to say about one variable.
type setting struct {
	name     string // of the environment variable; the file's key is the same in lower case
	about    string // a sentence for the documentation
	allowed  string // completes "it must be ..."
	fallback func(Environment) string
	required func(Environment, Role) bool // nil: never
	set      func(*Config, string) error
	show     func(string) string // how an error quotes a wrong value
}

func (s setting) key() string { return strings.ToLower(s.name) }

// rule is a set of allowed values: how it is described, and how a text becomes one of them.
type rule[T any] struct {
	allowed string
	parse   func(string) (T, error)
}

// row makes a setting whose value goes into the field that at points to.
func row[T any](name string, at func(*Config) *T, r rule[T], fallback func(Environment) string, about string) setting {
	return setting{
		name: name, about: about, allowed: r.allowed, fallback: fallback, show: strconv.Quote,
		set: func(c *Config, text string) error {
			v, err := r.parse(text)
			if err != nil {
				return err
			}
			*at(c) = v
			return nil
		},
	}
}

func (s setting) requiredIf(required func(Environment, Role) bool) setting {
	s.required = required
	return s
}

func (s setting) shownAs(show func(string) string) setting {
	s.show = show
	return s
}

func always(v string) func(Environment) string { return func(Environment) string { return v } }

// either returns development's default, or the other one everywhere else: an environment that is
// unreadable counts as production.
func either(development, production string) func(Environment) string {
	return func(e Environment) string {
		if e == Development {
			return development
		}
		return production
	}
}

// settings is the table. ENVIRONMENT comes first, as the defaults of others depend on it.
var settings = []setting{
	row("ENVIRONMENT", func(c *Config) *Environment { return &c.Environment },
		oneOf(Development, Production), always(string(Development)),
		"Decides defaults and how strict the start is."),

	row("DATABASE_URL", func(c *Config) *Secret { return &c.DatabaseURL }, databaseURL(), always(""),
		"The PostgreSQL database that holds all state. Only `cmd/dev` starts one itself when it is unset.").
		requiredIf(func(_ Environment, r Role) bool { return r != Dev && r != Validate && r != Healthcheck }).shownAs(showDatabaseURL),
	row("DATABASE_POOL_MAX", func(c *Config) *int { return &c.DatabasePoolMax }, whole(4, 1000), always("25"),
		"Most connections that one process opens to the database. The sum over all processes must stay below PostgreSQL's `max_connections`."),

	row("DATABASE_POOLER", func(c *Config) *string { return &c.DatabasePooler }, oneOf(SessionPooler), always(""),
		"Says that a connection pooler stands before PostgreSQL, and that it pools sessions: each connection has one of PostgreSQL for as long as it lives. Pooling by transaction would mix up whose rows may be seen. Unset, a pooler is refused."),

	row("API_ADDR", func(c *Config) *string { return &c.APIAddr }, address(), always(":8000"),
		"Where the API listens; port 0 takes any free one."),
	row("WORKER_ADDR", func(c *Config) *string { return &c.WorkerAddr }, address(), always(":8001"),
		"Where the worker serves metrics and probes; port 0 takes any free one."),
	row("METRICS_ADDR", func(c *Config) *string { return &c.MetricsAddr }, address(), always(""),
		"Where the API serves metrics and probes, `/metrics`, `/healthz` and `/readyz`, which then are not at API_ADDR. They ask nobody who is there: an address that only Prometheus and the orchestrator of containers reach. Unset, they are at API_ADDR. The worker's are at WORKER_ADDR in any case."),
	row("TLS_CERT_FILE", func(c *Config) *string { return &c.TLSCertFile }, path(), always(""),
		"The certificate, with the chain up to its root, in PEM. With it and TLS_KEY_FILE API and worker speak TLS 1.2 or later alone, at all their addresses. A new one in the same file is taken within a second; nothing has to be restarted."),
	row("TLS_KEY_FILE", func(c *Config) *string { return &c.TLSKeyFile }, path(), always(""),
		"The certificate's private key, in PEM."),
	row("TLS_TERMINATED", func(c *Config) *bool { return &c.TLSTerminated }, boolean(), always("false"),
		"Says that a proxy in front of the API ends TLS. In production the API starts without TLS_CERT_FILE at an address that is not loopback only with it: keys and tokens would travel in the clear."),

	row("AUTH_METHODS", func(c *Config) *[]AuthMethod { return &c.AuthMethods }, authMethods(), either("keys", ""),
		"What callers may show: API keys, signed tokens (JWT), or either. Production has no default: it must be said.").
		requiredIf(func(e Environment, r Role) bool { return e != Development && r == API }),
	row("AUTH_JWKS_URL", func(c *Config) *string { return &c.AuthJWKSURL }, jwksURL(), always(""),
		"Where who issues tokens publishes the public keys (JSON Web Key Set) that verify them: RS256 or ES256. https in production, unless it is on this machine. Required with `jwt`, unless AUTH_JWT_SECRET is set."),
	row("AUTH_ISSUER", func(c *Config) *string { return &c.AuthIssuer }, line(500), always(""),
		"Who issues tokens, as their claim `iss` says it, to the letter. Required with AUTH_JWKS_URL."),
	row("AUTH_AUDIENCE", func(c *Config) *string { return &c.AuthAudience }, line(500), always(""),
		"What tokens must be for: one of their claim `aud`. Required with AUTH_JWKS_URL, as the same keys sign tokens for others too."),
	row("AUTH_JWT_SECRET", func(c *Config) *Secret { return &c.AuthJWTSecret }, longSecret(32, 1024), always(""),
		"Verifies tokens of HS256 in the place of AUTH_JWKS_URL. For development alone: who can verify them can make them. Production refuses to start with it.").
		shownAs(func(string) string { return redacted }),
	row("AUTH_CLOCK_SKEW", func(c *Config) *time.Duration { return &c.AuthClockSkew }, duration(0, 5*time.Minute), always("1m"),
		"How far the clock of who issues tokens may be from this one."),
	row("AUTH_TENANT_CLAIM", func(c *Config) *string { return &c.AuthTenantClaim }, line(200), always("tenant"),
		"The claim of a token that holds the tenant's id."),
	row("AUTH_ROLE_CLAIM", func(c *Config) *string { return &c.AuthRoleClaim }, line(200), always("role"),
		"The claim of a token that holds the role, or a list of which the mightiest known role counts."),
	row("AUTH_ANONYMOUS", func(c *Config) *string { return &c.AuthAnonymous },
		oneOf("admin", "operator", "analyst", "service", "read-only"), always(""),
		"The role, in the tenant `default`, of callers that show neither an API key nor a token. For development and tests alone: production refuses to start with it. Unset, such callers are refused."),
	row("REQUEST_TIMEOUT", func(c *Config) *time.Duration { return &c.RequestTimeout },
		duration(time.Second, 10*time.Minute), always("30s"),
		"How long one API request may take before it is answered with 504."),
	row("MAX_BODY_BYTES", func(c *Config) *int64 { return &c.MaxBodyBytes }, size(1<<10, 64<<20), always("1MiB"),
		"Largest request body; a larger one is answered with 413."),
	row("MAX_CONCURRENT_REQUESTS", func(c *Config) *int { return &c.MaxConcurrentRequests }, whole(0, 100_000), always("0"),
		"Requests that one API process works on at the same time. As many more wait for up to half a second; all others are answered with 503 at once. Pages, uploads and event streams have places of their own besides. `0` means four for each connection of DATABASE_POOL_MAX."),
	row("MAX_CONNECTIONS", func(c *Config) *int { return &c.MaxConnections }, whole(1, 1_000_000), always("2000"),
		"Connections of clients that one API process has open at the same time; one more is closed at once."),
	row("RATE_LIMIT", func(c *Config) *int { return &c.RateLimit }, whole(0, 1_000_000), either("0", "100"),
		"Requests a second that one caller, which is a key or a token's subject, may send to one API process; more are answered with 429. What shows neither is counted by its address. `0` sets no limit."),
	row("RATE_BURST", func(c *Config) *int { return &c.RateBurst }, whole(0, 1_000_000), always("0"),
		"Requests that a caller may send at once after it has been silent. `0` means twice RATE_LIMIT."),
	row("IMPORT_MAX_BYTES", func(c *Config) *int64 { return &c.ImportMaxBytes }, size(1<<20, 16<<30), always("256MiB"),
		"Largest file that `POST /v1/imports/{kind}` takes; a larger one is answered with 413. It stands for MAX_BODY_BYTES there."),
	row("IMPORT_TIMEOUT", func(c *Config) *time.Duration { return &c.ImportTimeout },
		duration(time.Second, 24*time.Hour), always("10m"),
		"How long one import may take, its upload included, before it is answered with 504. It stands for REQUEST_TIMEOUT there."),
	row("SHUTDOWN_GRACE", func(c *Config) *time.Duration { return &c.ShutdownGrace },
		duration(time.Second, 10*time.Minute), always("20s"),
		"How long running work may go on after SIGTERM or SIGINT."),

	row("LOG_LEVEL", func(c *Config) *slog.Level { return &c.LogLevel }, logLevel(), always("info"),
		"The least severe log line that is written."),
	row("LOG_FORMAT", func(c *Config) *string { return &c.LogFormat }, oneOf(LogText, LogJSON), either(LogText, LogJSON),
		"How log lines are written."),
	row("OTLP_ENDPOINT", func(c *Config) *string { return &c.OTLPEndpoint }, otlpEndpoint(), always(""),
		"The collector that receives traces over OTLP/gRPC. Unset, tracing is off.").shownAs(showEndpoint),

	row("JAEGER_URL", func(c *Config) *string { return &c.JaegerURL }, httpURL(), always(""),
		"Where operators' browsers reach Jaeger: the console links traces to it. Unset, it does not.").shownAs(showEndpoint),
	row("GRAFANA_URL", func(c *Config) *string { return &c.GrafanaURL }, httpURL(), always(""),
		"Where operators' browsers reach Grafana: the console links dashboards to it. Unset, it does not.").shownAs(showEndpoint),

	row("PATTERNS_DIR", func(c *Config) *string { return &c.PatternsDir }, path(), always("configs/patterns"),
		"The directory of pattern definitions."),
	row("AGENTS_FILE", func(c *Config) *string { return &c.AgentsFile }, path(), always("configs/agents.yaml"),
		"Timeouts and circuit breakers of the agents."),
	row("ANALYTICS_DIR", func(c *Config) *string { return &c.AnalyticsDir }, path(), always("configs/analytics"),
		"The directory of the tables that analytics work with: factors, scenarios, thresholds, policies. They are read and checked at start."),
	row("PATTERN_PARALLELISM", func(c *Config) *int { return &c.PatternParallelism }, whole(1, 256), always("16"),
		"Capability calls that one pattern run may have under way at the same time."),
	row("PATTERN_CACHE_SIZE", func(c *Config) *int64 { return &c.PatternCacheSize },
		orZero(size(1<<20, 4<<30)), always("64MiB"),
		"Memory for results of pure capabilities that later requests may use; `0` turns that off. Within a request results are shared in any case."),
	row("LLM_URL", func(c *Config) *string { return &c.LLMURL }, apiURL(), always(""),
		"The base address of an OpenAI-compatible API, such as `http://localhost:11434/v1`. Its model explains figures in words; unset, fixed sentences do, as they do whenever the model fails. The figures of a run are sent there.").shownAs(showEndpoint),
	row("LLM_MODEL", func(c *Config) *string { return &c.LLMModel }, line(200), always(""),
		"The model's name at that API. Required when LLM_URL is set."),
	row("LLM_API_KEY", func(c *Config) *Secret { return &c.LLMAPIKey }, token(), always(""),
		"The bearer token for that API. Servers on one's own machine often need none.").
		shownAs(func(string) string { return redacted }),
	row("LLM_TIMEOUT", func(c *Config) *time.Duration { return &c.LLMTimeout },
		duration(100*time.Millisecond, 5*time.Minute), always("20s"),
		"How long the model may take to answer. The timeouts of the agent `claude` and of a request end it earlier."),
	row("RUN_RETENTION", func(c *Config) *time.Duration { return &c.RunRetention },
		duration(time.Hour, 87600*time.Hour), always("720h"),
		"How long recorded pattern runs are kept. The worker deletes older ones every hour."),

	row("ALERT_EVALUATION_INTERVAL", func(c *Config) *time.Duration { return &c.AlertEvaluationInterval },
		duration(time.Second, 24*time.Hour), always("1m"),
		"How often the worker evaluates alert rules."),
	row("NIGHTLY_SCHEDULE", func(c *Config) *periodic.Schedule { return &c.NightlySchedule }, schedule(), always("30 22 * * *"),
		"When the nightly order begins: build_packs, then reconcile_packs, compute_metrics, prewarm, mark_fresh, evaluate_alerts and backup, each after the one before. Times are UTC."),
	row("RECONCILE_SCHEDULE", func(c *Config) *periodic.Schedule { return &c.ReconcileSchedule }, schedule(), always(periodic.Off),
		"When pricing packs are reconciled besides."),
	row("METRICS_SCHEDULE", func(c *Config) *periodic.Schedule { return &c.MetricsSchedule }, schedule(), always(periodic.Off),
		"When the figures of portfolios are computed besides."),
	row("PREWARM_SCHEDULE", func(c *Config) *periodic.Schedule { return &c.PrewarmSchedule }, schedule(), always(periodic.Off),
		"When the API's cache is filled besides, such as after it restarts at a fixed time."),
	row("MARK_FRESH_SCHEDULE", func(c *Config) *periodic.Schedule { return &c.MarkFreshSchedule }, schedule(), always(periodic.Off),
		"When reconciled pricing packs become fresh besides."),
	row("BACKUP_SCHEDULE", func(c *Config) *periodic.Schedule { return &c.BackupSchedule }, schedule(), always("0 4 * * *"),
		"When a backup is made besides, whatever became of the nightly order. It needs `BACKUP_DIR`."),
	row("BACKUP_DIR", func(c *Config) *string { return &c.BackupDir }, path(), always(""),
		"Where the worker keeps its dumps of the database. Unset, there are no backups. The worker needs `pg_dump` and `pg_restore`, not older than the server, and a database user that may create databases: each dump is restored into a scratch one to verify it."),
	row("BACKUP_KEEP", func(c *Config) *int { return &c.BackupKeep }, whole(1, 1000), always("14"),
		"How many of the newest dumps are kept."),
	row("BACKUP_DATABASE_URL", func(c *Config) *Secret { return &c.BackupDatabaseURL }, databaseURL(), always(""),
		"The same database, with the login that backups are made with: it must read all rows, which the worker's own login may not in production, and may create databases (docs/tenants.md). Unset, `DATABASE_URL`.").
		shownAs(showDatabaseURL),
	row("FETCH_SCHEDULE", func(c *Config) *periodic.Schedule { return &c.FetchSchedule }, schedule(), always("0 21 * * *"),
		"When the worker asks the data providers that have a key. What they are asked for stands in `providers.yaml` of `ANALYTICS_DIR`."),
	row("FRED_API_KEY", func(c *Config) *Secret { return &c.FREDAPIKey }, token(), always(""),
		"The key for FRED, which macro series are fetched from.").
		shownAs(func(string) string { return redacted }),
	row("FMP_API_KEY", func(c *Config) *Secret { return &c.FMPAPIKey }, token(), always(""),
		"The key for Financial Modeling Prep, which fundamentals are fetched from.").
		shownAs(func(string) string { return redacted }),
	row("NEWS_API_KEY", func(c *Config) *Secret { return &c.NewsAPIKey }, token(), always(""),
		"The key for Marketaux, which news are fetched from.").
		shownAs(func(string) string { return redacted }),
	row("PREWARM_PATTERNS", func(c *Config) *[]string { return &c.PrewarmPatterns }, names(), always("portfolio_overview"),
		"The patterns that the API is asked for over a new pricing pack, so that its cache holds them: ids parted by commas, of patterns that need no input but `portfolio_id`; `none` for none."),
	row("PREWARM_PORTFOLIOS", func(c *Config) *int { return &c.PrewarmPortfolios }, whole(0, 10000), always("20"),
		"For how many portfolios, in the order of `GET /v1/portfolios`."),
	row("API_URL", func(c *Config) *string { return &c.APIURL }, httpURL(), always(""),
		"Where the worker reaches the API, to prewarm it. Unset, on this machine at the port of `API_ADDR`.").shownAs(showEndpoint),
	row("API_KEY", func(c *Config) *Secret { return &c.APIKey }, token(), always(""),
		"The API key that the worker shows to the API, to prewarm it: of the tenant `default`, with the role `service`. Unset, it shows nothing, and an API that refuses such callers is not prewarmed.").
		shownAs(func(string) string { return redacted }),
	row("JOB_RUN_RETENTION", func(c *Config) *time.Duration { return &c.JobRunRetention },
		duration(time.Hour, 87600*time.Hour), always("720h"),
		"How long the record of a periodic job's run is kept. The last success of each job stays."),
	row("METRICS_RETENTION", func(c *Config) *time.Duration { return &c.MetricsRetention },
		duration(24*time.Hour, 87600*time.Hour), always("2160h"),
		"How long the figures of portfolios are kept that the nightly job computes."),
	row("RETRY_SCHEDULE", func(c *Config) *Schedule { return &c.RetrySchedule },
		rule[Schedule]{scheduleAllowed, ParseSchedule}, always("5m,30m,2h,12h,24h"),
		"Waits before the first, second, ... retry of a failed delivery. Its length is the number of retries."),
	row("RETRY_JITTER", func(c *Config) *float64 { return &c.RetryJitter }, fraction(), always("0.1"),
		"By which part of itself a wait is shortened or lengthened at random: 0.1 means within 10 %."),
	row("DEDUP_WINDOW", func(c *Config) *time.Duration { return &c.DedupWindow },
		duration(time.Second, 8760*time.Hour), always("24h"),
		"For how long a message with the same alert, title, text, data, user and channel as one that is delivered or on its way is a duplicate, and not sent."),
	row("ALERTMANAGER_DEDUP_WINDOW", func(c *Config) *time.Duration { return &c.AlertmanagerDedupWindow },
		duration(time.Second, 24*time.Hour), always("5m"),
		"For how long a notification of Alertmanager about the same state of the same group is a duplicate: longer than it retries, shorter than its `repeat_interval`."),
	row("DELIVERY_TIMEOUT", func(c *Config) *time.Duration { return &c.DeliveryTimeout },
		duration(100*time.Millisecond, 5*time.Minute), always("10s"),
		"How long one attempt on one channel may take."),
	row("DELIVERY_RETENTION", func(c *Config) *time.Duration { return &c.DeliveryRetention },
		duration(time.Hour, 87600*time.Hour), always("2160h"),
		"How long events are kept, with their attempts, deliveries and closed dead letters. Open dead letters, and their events, are kept until they are delivered or discarded. The worker deletes older ones every hour."),
	row("OPERATION_RETENTION", func(c *Config) *time.Duration { return &c.OperationRetention },
		duration(time.Hour, 87600*time.Hour), always("2160h"),
		"How long replays, discards and drains of dead letters are kept after their end. One that has released letters which are still open is kept with them. The worker deletes older ones every hour."),
	row("NOTIFICATION_RETENTION", func(c *Config) *time.Duration { return &c.NotificationRetention },
		duration(time.Hour, 87600*time.Hour), always("2160h"),
		"How long notifications stay in the inbox after they have been read. The worker deletes older ones every hour."),
	row("NOTIFICATION_UNREAD_RETENTION", func(c *Config) *time.Duration { return &c.NotificationUnreadRetention },
		duration(time.Hour, 87600*time.Hour), always("8760h"),
		"How long notifications stay in the inbox that nobody reads. No notification is kept for longer, read or not."),
	row("AUDIT_RETENTION", func(c *Config) *time.Duration { return &c.AuditRetention },
		duration(24*time.Hour, 87600*time.Hour), always("8760h"),
		"How long entries of the audit trail are kept. The worker deletes older ones every hour."),
	row("WORKER_CONCURRENCY", func(c *Config) *int { return &c.WorkerConcurrency }, whole(1, 10000), always("100"),
		"Retries that one worker makes at the same time."),
	row("BREAKER_FAILURES", func(c *Config) *int { return &c.BreakerFailures }, whole(1, 10000), always("5"),
		"Failed attempts in a row, at the least, before an endpoint's circuit breaker opens. The first of them must be `BREAKER_AFTER` ago."),
	row("BREAKER_AFTER", func(c *Config) *time.Duration { return &c.BreakerAfter },
		duration(0, time.Hour), always("10s"),
		"How long an endpoint must have done nothing but fail before its circuit breaker opens, so that a burst of failures which the next retry cures does not open it."),
	row("BREAKER_DELAY", func(c *Config) *time.Duration { return &c.BreakerDelay },
		duration(100*time.Millisecond, time.Hour), always("30s"),
		"How long an open circuit breaker waits before it lets one attempt probe the endpoint. Each failed probe doubles it, up to ten times its value."),
	row("SECRETS_KEY", func(c *Config) *Secret { return &c.SecretsKey }, secretsKey(), always(""),
		"Encrypts what is secret in stored destinations (AES-256-GCM). With several keys the first encrypts and all decrypt: put a new one in front, start the API once, then drop the old one. In development it may be unset: destinations are then refused.").
		requiredIf(func(e Environment, r Role) bool { return e != Development && (r == API || r == Worker) }).
		shownAs(func(string) string { return redacted }),
	row("WEBHOOK_SECRET", func(c *Config) *Secret { return &c.WebhookSecret }, webhookSecret(), always(""),
		"Signs webhooks given by address, after the Standard Webhooks specification. In development it may be unset: webhooks by address are then refused.").
		requiredIf(func(e Environment, r Role) bool { return e != Development && (r == API || r == Worker) }).
		shownAs(func(string) string { return redacted }),
	row("WEBHOOK_ALLOW", func(c *Config) *outbound.AllowList { return &c.WebhookAllow },
		rule[outbound.AllowList]{"hosts.example.org, *.example.org, 203.0.113.7 or 10.1.0.0/16, parted by commas", outbound.ParseAllowList}, always(""),
		"All that webhooks and chat services may be at: names, `*.` and a name for all below it, addresses and ranges. It only narrows: a private address in it needs WEBHOOK_ALLOW_PRIVATE too. Unset, they may be anywhere. See outbound.md."),
	row("WEBHOOK_ALLOW_PRIVATE", func(c *Config) *bool { return &c.WebhookAllowPrivate }, boolean(), either("true", "false"),
		"Whether webhooks and chat services may be at loopback and private addresses. Multicast and link-local addresses, cloud metadata among them, are refused in any case."),
	row("SMTP_URL", func(c *Config) *SMTPServer { return &c.SMTP }, smtpURL(), always(""),
		"The mail server. `smtp://` uses STARTTLS where the server offers it, and always with a user and password; `?starttls=required` insists on it, `?starttls=never` does without. `smtps://` is TLS from the first byte. Special characters in a password are percent-encoded. Unset, email is off.").
		shownAs(func(string) string { return redacted }),
	row("SMTP_FROM", func(c *Config) *mail.Address { return &c.SMTPFrom }, mailAddress(), always(""),
		"The sender of mail. Required when SMTP_URL is set."),
}

func oneOf[T ~string](values ...T) rule[T] {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return rule[T]{strings.Join(names, " or "), func(s string) (T, error) {
		if i := slices.Index(values, T(s)); i >= 0 {
			return values[i], nil
		}
		return "", errors.New("unknown value")
	}}
}

func boolean() rule[bool] {
	return rule[bool]{"true or false", func(s string) (bool, error) {
		if s != "true" && s != "false" {
			return false, errors.New("unknown value")
		}
		return s == "true", nil
	}}
}

func whole(least, most int) rule[int] {
	return rule[int]{fmt.Sprintf("a whole number from %d to %d", least, most), func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, errors.New("not a whole number")
		}
		return n, within(n, least, most)
	}}
}

func fraction() rule[float64] {
	return rule[float64]{"a number from 0 to 1", func(s string) (float64, error) {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) {
			return 0, errors.New("not a number")
		}
		return f, within(f, 0, 1)
	}}
}

func duration(least, most time.Duration) rule[time.Duration] {
	allowed := fmt.Sprintf("a duration such as 10s or 2m, from %s to %s", formatDuration(least), formatDuration(most))
	return rule[time.Duration]{allowed, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, errors.New("not a duration")
		}
		return d, within(d, least, most)
	}}
}

// sizeUnits are the units that a size may have, largest first.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// size reads a number of bytes, or one followed by KiB, MiB or GiB.
func size(least, most int64) rule[int64] {
	allowed := fmt.Sprintf("a size such as 65536, 512KiB or 1MiB, from %s to %s", formatSize(least), formatSize(most))
	return rule[int64]{allowed, func(s string) (int64, error) {
		digits, unit := s, int64(1)
		for _, u := range sizeUnits {
			if d, ok := strings.CutSuffix(s, u.suffix); ok {
				digits, unit = d, u.bytes
				break
			}
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, errors.New("not a size")
		}
		if n > most/unit {
			return 0, errors.New("out of range")
		}
		return n * unit, within(n*unit, least, most)
	}}
}

// formatSize writes a size in the largest unit that it is a whole number of.
func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// orZero lets a plain 0 through, which lies below what r allows and means "none".
func orZero(r rule[int64]) rule[int64] {
	return rule[int64]{"0, or " + r.allowed, func(s string) (int64, error) {
		if s == "0" {
			return 0, nil
		}
		return r.parse(s)
	}}
}

func within[T int | int64 | float64 | time.Duration](v, least, most T) error {
	if v < least || v > most {
		return errors.New("out of range")
	}
	return nil
}

func logLevel() rule[slog.Level] {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	return rule[slog.Level]{"debug, info, warn or error", func(s string) (slog.Level, error) {
		level, ok := levels[s]
		if !ok {
			return 0, errors.New("unknown value")
		}
		return level, nil
	}}
}

func path() rule[string] {
	return rule[string]{"a path", func(s string) (string, error) {
		if strings.ContainsRune(s, 0) {
			return "", errors.New("not a path")
		}
		return s, nil
	}}
}

func schedule() rule[periodic.Schedule] {
	return rule[periodic.Schedule]{periodic.ScheduleForms, periodic.ParseSchedule}
}

// names reads ids parted by commas.
func names() rule[[]string] {
	return rule[[]string]{"ids of lower-case letters, digits and _ parted by commas, or none", func(s string) ([]string, error) {
		if s == "none" {
			return nil, nil
		}
		list := strings.Split(s, ",")
		for i, name := range list {
			list[i] = strings.TrimSpace(name)
			if list[i] == "" || strings.Trim(list[i], "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				return nil, errors.New("not a list of ids")
			}
		}
		return list, within(len(list), 1, 100)
	}}
}

// authMethods reads ways to show who one is, parted by commas.
func authMethods() rule[[]AuthMethod] {
	return rule[[]AuthMethod]{"keys, jwt, or keys,jwt", func(s string) ([]AuthMethod, error) {
		var methods []AuthMethod
		for _, name := range strings.Split(s, ",") {
			m := AuthMethod(strings.TrimSpace(name))
			if m != AuthKeys && m != AuthJWT {
				return nil, errors.New("unknown value")
			}
			if slices.Contains(methods, m) {
				return nil, errors.New("a value stands twice")
			}
			methods = append(methods, m)
		}
		return methods, nil
	}}
}

// jwksURL reads an address that may have a query, as some providers' have.
func jwksURL() rule[string] {
	return rule[string]{"an https or http address without user and fragment", func(s string) (string, error) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			return "", errors.New("not such an address")
		}
		return s, nil
	}}
}

// longSecret reads a secret that is used as it stands.
func longSecret(least, most int) rule[Secret] {
	return rule[Secret]{fmt.Sprintf("%d to %d printable ASCII characters without spaces", least, most), func(s string) (Secret, error) {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "", errors.New("not such a secret")
		}
		return Secret(s), within(len(s), least, most)
	}}
}

// httpURL reads an address without user, query and fragment.
func httpURL() rule[string] {
	return rule[string]{"http://host:port or https://host:port", func(s string) (string, error) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return "", errors.New("not an address")
		}
		return strings.TrimRight(s, "/"), nil
	}}
}

func address() rule[string] {
	return rule[string]{"host:port or :port, with a port from 0 to 65535", func(s string) (string, error) {
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return "", errors.New("not an address")
		}
		return s, checkPort(port)
	}}
}

func checkPort(port string) error {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("not a port")
	}
	return nil
}

// otlpEndpoint accepts a bare host:port as http, and returns the endpoint as an address with its
// scheme, which is how the exporter learns whether to use TLS.
func otlpEndpoint() rule[string] {
	return rule[string]{"host:port, http://host:port or https://host:port", func(s string) (string, error) {
		scheme, hostport, found := strings.Cut(s, "://")
		if !found {
			scheme, hostport = "http", s
		}
		host, port, err := net.SplitHostPort(hostport)
		if (scheme != "http" && scheme != "https") || err != nil || host == "" || strings.ContainsAny(host, "/@?# ") {
			return "", errors.New("not an endpoint")
		}
		return scheme + "://" + hostport, checkPort(port)
	}}
}

// apiURL reads the base address of an HTTP API. The parser's own errors quote the whole address, so none
// is passed on.
func apiURL() rule[string] {
	return rule[string]{"an http or https address without user, query and fragment", func(s string) (string, error) {
		u, err := url.Parse(s)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return "", errors.New("not such an address")
		}
		return s, nil
	}}
}

// line reads a text of printable characters.
func line(most int) rule[string] {
	return rule[string]{fmt.Sprintf("1 to %d printable characters", most), func(s string) (string, error) {
		if utf8.RuneCountInString(s) > most || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return "", errors.New("not a name")
		}
		return s, nil
	}}
}

// token reads what stands in an Authorization header.
func token() rule[Secret] {
	return rule[Secret]{"printable ASCII without spaces", func(s string) (Secret, error) {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "", errors.New("not a token")
		}
		return Secret(s), nil
	}}
}

// showEndpoint leaves out what stands where an address would have a user and a password, or a query.
func showEndpoint(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i+1] + redacted
	}
	if i := strings.LastIndex(s, "@"); i >= 0 {
		s = redacted + s[i:]
	}
	return strconv.Quote(s)
}

// databaseURL checks only what makes the value recognizable; the driver reads the rest. The
// parser's own errors quote the whole address, so none is passed on.
func databaseURL() rule[Secret] {
	return rule[Secret]{"postgres://user:password@host:port/database?options", func(s string) (Secret, error) {
		if !strings.HasPrefix(s, "postgres://") && !strings.HasPrefix(s, "postgresql://") {
			return "", errors.New("not a PostgreSQL address")
		}
		// Several hosts, "a:5432,b:5432", are the driver's own extension and no valid URL.
		if _, err := url.Parse(s); err != nil && !strings.Contains(s, ",") {
			return "", errors.New("not a valid address (special characters in a password must be percent-encoded)")
		}
		return Secret(s), nil
	}}
}

// showDatabaseURL shows where a wrong address points, without user, password and options; where
// that can't be told apart, it shows nothing.
func showDatabaseURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return redacted
	}
	return strconv.Quote(u.Scheme + "://" + redacted + "@" + u.Host + u.EscapedPath())
}

const (
	webhookSecretPrefix = "whsec_"
	webhookSecretLeast  = 24 // bytes, as the Standard Webhooks specification demands
	webhookSecretMost   = 64
)

func webhookSecret() rule[Secret] {
	allowed := fmt.Sprintf("%s followed by the base64 of %d to %d random bytes",
		webhookSecretPrefix, webhookSecretLeast, webhookSecretMost)
	return rule[Secret]{allowed, func(s string) (Secret, error) {
		encoded, ok := strings.CutPrefix(s, webhookSecretPrefix)
		if !ok {
			return "", errors.New("the prefix is missing")
		}
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return "", errors.New("not base64")
		}
		return Secret(s), within(len(key), webhookSecretLeast, webhookSecretMost)
	}}
}

// The ports of mail servers that take messages from programs, RFC 6409 and 8314.
const (
	smtpPort  = 587
	smtpsPort = 465
)

// smtpURL reads the address of a mail server. The parser's own errors quote the whole address, so none
// is passed on.
func smtpURL() rule[SMTPServer] {
	const allowed = "smtp://user:password@host:port or smtps://..., the user, password and port optional, smtp:// with ?starttls=required or never"
	return rule[SMTPServer]{allowed, func(s string) (SMTPServer, error) {
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
			return SMTPServer{}, errors.New("not the address of a mail server (special characters in a password must be percent-encoded)")
		}
		m := SMTPServer{Host: u.Hostname(), User: u.User.Username()}
		password, _ := u.User.Password()
		m.Password = Secret(password)
		switch u.Scheme {
		case "smtp":
			m.Port = smtpPort
		case "smtps":
			m.Port, m.Security = smtpsPort, SMTPImplicitTLS
		default:
			return SMTPServer{}, errors.New("not the address of a mail server")
		}
		if port := u.Port(); port != "" {
			if m.Port, err = strconv.Atoi(port); err != nil || m.Port < 1 || m.Port > math.MaxUint16 {
				return SMTPServer{}, errors.New("not a port")
			}
		}
		for key, values := range u.Query() {
			if key != "starttls" || len(values) != 1 || u.Scheme != "smtp" {
				return SMTPServer{}, errors.New("an option that there is not")
			}
			switch values[0] {
			case "required":
				m.Security = SMTPStartTLS
			case "never":
				m.Security = SMTPPlain
			default:
				return SMTPServer{}, errors.New("an option that there is not")
			}
		}
		if m.Security == SMTPPlain && u.User != nil {
			return SMTPServer{}, errors.New("a password would be sent in the clear")
		}
		return m, nil
	}}
}

// mailAddress reads an address with or without a name.
func mailAddress() rule[mail.Address] {
	return rule[mail.Address]{"an address such as alerts@example.org or DawsOS <alerts@example.org>", func(s string) (mail.Address, error) {
		a, err := mail.ParseAddress(s)
		if err != nil || strings.ContainsFunc(a.Address, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return mail.Address{}, errors.New("not an address")
		}
		return *a, nil
	}}
}

const (
	secretsKeyBytes = 32 // of AES-256
	secretsKeysMost = 5
)

func secretsKey() rule[Secret] {
	allowed := fmt.Sprintf("the base64 of %d random bytes, or up to %d of those parted by commas", secretsKeyBytes, secretsKeysMost)
	return rule[Secret]{allowed, func(s string) (Secret, error) {
		keys := strings.Split(s, ",")
		for _, text := range keys {
			key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
			if err != nil {
				return "", errors.New("not base64")
			}
			if err := within(len(key), secretsKeyBytes, secretsKeyBytes); err != nil {
				return "", errors.New("not of the right length")
			}
		}
		return Secret(s), within(len(keys), 1, secretsKeysMost)
	}}
}
