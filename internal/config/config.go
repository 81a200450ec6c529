// Package config reads the settings of both processes: environment variables, over the optional
// file configs/dawsos.yaml, over defaults that depend on the environment.
//
// [Load] returns a value and keeps no state. One table, [settings], drives names, defaults,
// parsing, error texts and docs/configuration.md.
package config

import (
	"bytes"
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/mail"
	"os"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/internal/periodic"
)

// FileVariable names the variable that holds the path of the settings file. When it is unset,
// [DefaultFile] is read if it exists; a file that is named must exist.
const FileVariable = "DAWSOS_CONFIG"

// DefaultFile is the settings file that is read when [FileVariable] is unset. It may be absent.
const DefaultFile = "configs/dawsos.yaml"

// Role is what a process is about to do. It decides which settings it can't start without.
type Role string

// The roles.
const (
	API     Role = "api"     // serve the HTTP API
	Worker  Role = "worker"  // retry deliveries
	Migrate Role = "migrate" // bring the schema up to date and end
	Dev     Role = "dev"     // start what is missing, a database included; requires nothing
	// Validate checks pattern files against the agents and ends. It needs no database.
	Validate Role = "validate"
	// Healthcheck asks the process of the same settings whether it lives, and ends.
	Healthcheck Role = "healthcheck"
)

// Environment decides defaults and how strict the start is.
type Environment string

// The environments. The zero value is none of them.
const (
	Development Environment = "development"
	Production  Environment = "production"
)

// The values of LogFormat.
const (
	LogText = "text"
	LogJSON = "json"
)

// AuthMethod is a way to show who one is.
type AuthMethod string

// The ways to show who one is.
const (
	AuthKeys AuthMethod = "keys" // API keys
	AuthJWT  AuthMethod = "jwt"  // signed tokens
)

// Takes reports whether callers may show what m is.
func (c Config) Takes(m AuthMethod) bool { return slices.Contains(c.AuthMethods, m) }

// SessionPooler is the value of DatabasePooler that there may be one.
const SessionPooler = "session"

// Secret is a setting that must not be seen. It prints as "[redacted]" with every verb, in text,
// JSON and logs; string(s) is the value.
type Secret string

var (
	_ fmt.Formatter          = Secret("")
	_ encoding.TextMarshaler = Secret("")
)

const redacted = "[redacted]"

// Format prints the placeholder whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns the placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Config is the settings of one process. Every field was checked; what each means, its default
// and its bounds stand in docs/configuration.md under the variable of the same name.
type Config struct {
	Environment Environment

	DatabaseURL     Secret // "" only for Dev, Validate and Healthcheck
	DatabasePoolMax int    // connections of this process at most
	DatabasePooler  string // SessionPooler, or "" for none

	// AuthAnonymous is the role of callers that show nothing; "" refuses them, as production always does.
	AuthAnonymous string

	AuthMethods []AuthMethod // what callers may show; none only where the API is not served

	AuthJWKSURL, AuthIssuer, AuthAudience string // of signed tokens; all of them or none
	AuthJWTSecret                         Secret // "" but in development
	AuthClockSkew                         time.Duration
	AuthTenantClaim, AuthRoleClaim        string

	APIAddr     string
	WorkerAddr  string
	MetricsAddr string // "" means: metrics and probes are at APIAddr

	TLSCertFile, TLSKeyFile string // "" means that HTTP is plain; both or none
	TLSTerminated           bool   // a proxy ends TLS

	RequestTimeout time.Duration
	MaxBodyBytes   int64

	MaxConcurrentRequests int // 0: four for each of DatabasePoolMax
	MaxConnections        int
	RateLimit             int // requests a second of one caller; 0 is no limit
	RateBurst             int // 0: twice RateLimit

	ImportMaxBytes int64
	ImportTimeout  time.Duration
	ShutdownGrace  time.Duration

	LogLevel              slog.Level
	LogFormat             string // LogText or LogJSON
	JaegerURL, GrafanaURL string // where browsers reach them; "" means that the console has no links

	OTLPEndpoint string // http://host:port or https://host:port; "" means that tracing is off

	PatternsDir  string
	AgentsFile   string
	AnalyticsDir string

	LLMURL     string        // "" means that there is no model
	LLMModel   string        // set when LLMURL is
	LLMAPIKey  Secret        // "" means that none is sent
	LLMTimeout time.Duration // of one answer

	PatternParallelism int           // capability calls of one run at the same time
	PatternCacheSize   int64         // bytes; 0 means that results are not kept for later requests
	RunRetention       time.Duration // how long recorded runs are kept

	AlertEvaluationInterval time.Duration

	NightlySchedule   periodic.Schedule // of the nightly order
	ReconcileSchedule periodic.Schedule // these besides, of single jobs
	MetricsSchedule   periodic.Schedule
	PrewarmSchedule   periodic.Schedule
	MarkFreshSchedule periodic.Schedule
	BackupSchedule    periodic.Schedule
	FetchSchedule     periodic.Schedule
	FREDAPIKey        Secret // "": not asked, as the following
	FMPAPIKey         Secret
	NewsAPIKey        Secret
	BackupDir         string // "" means that there are no backups
	BackupKeep        int
	BackupDatabaseURL Secret // "": DatabaseURL
	PrewarmPatterns   []string
	PrewarmPortfolios int
	APIKey            Secret // what this process shows to the API; "" means nothing
	APIURL            string // "" means: on this machine, at APIAddr's port
	JobRunRetention   time.Duration
	MetricsRetention  time.Duration

	RetrySchedule       Schedule
	RetryJitter         float64
	DedupWindow         time.Duration // for how long the same message is a duplicate
	DeliveryTimeout     time.Duration
	DeliveryRetention   time.Duration // how long events are kept of which nothing is open
	OperationRetention  time.Duration // from an operation's end
	WorkerConcurrency   int
	BreakerFailures     int                // in a row, before a breaker opens
	BreakerAfter        time.Duration      // since the first of them, before a breaker opens
	BreakerDelay        time.Duration      // before the first probe
	SecretsKey          Secret             // "" means that there are no stored destinations
	WebhookSecret       Secret             // "" means that webhooks given by address are refused
	WebhookAllow        outbound.AllowList // empty: anywhere that WebhookAllowPrivate leaves
	WebhookAllowPrivate bool

	SMTP     SMTPServer   // without a host when email is off
	SMTPFrom mail.Address // set when email is on

	NotificationRetention       time.Duration // from when it was read
	NotificationUnreadRetention time.Duration // from when it came
	AuditRetention              time.Duration

	AlertmanagerDedupWindow time.Duration // for how long the same state of a group of alerts is a duplicate
}

// SMTPServer is the mail server.
type SMTPServer struct {
	Host     string
	Port     int
	Security SMTPSecurity
	User     string
	Password Secret
}

// SMTPSecurity is how the connection to the mail server is encrypted.
type SMTPSecurity string

// The ways to encrypt.
const (
	SMTPOpportunistic SMTPSecurity = ""         // STARTTLS where the server offers it
	SMTPStartTLS      SMTPSecurity = "starttls" // STARTTLS, or nothing is sent
	SMTPImplicitTLS   SMTPSecurity = "tls"      // from the first byte
	SMTPPlain         SMTPSecurity = "plain"    // never
)

// Load returns the settings for a process in role. The error joins one line for every problem,
// naming the setting, its value unless that is secret, where it stands, and what is allowed.
func Load(getenv func(string) string, role Role) (Config, error) {
	file, err := readFile(getenv)
	if err != nil {
		// Without the file every setting in it would be reported as well, as missing.
		return Config{}, err
	}

	var (
		cfg      Config
		problems []error
	)
	// ENVIRONMENT stands first in the table: the other defaults depend on it.
	for _, s := range settings {
		value, origin := s.fallback(cfg.Environment), ""
		if v := file.values[s.key()]; v.text != "" { // empty counts as unset, as in the environment
			value, origin = v.text, fmt.Sprintf(" (%s line %d)", file.path, v.line)
		}
		if v := getenv(s.name); v != "" {
			value, origin = v, ""
		}
		if value == "" {
			if s.required != nil && s.required(cfg.Environment, role) {
				problems = append(problems, fmt.Errorf("%s is not set; it must be %s", s.name, s.allowed))
			}
			continue
		}
		if err := s.set(&cfg, value); err != nil {
			problems = append(problems, fmt.Errorf("%s=%s%s: %w; it must be %s",
				s.name, s.show(value), origin, err, s.allowed))
		}
	}
	if len(problems) == 0 && cfg.SMTP.Host != "" && cfg.SMTPFrom.Address == "" {
		problems = append(problems, errors.New("SMTP_FROM is not set; with SMTP_URL it must be the address that mail is from"))
	}
	if len(problems) == 0 && (cfg.LLMURL == "") != (cfg.LLMModel == "") {
		problems = append(problems, errors.New("LLM_URL and LLM_MODEL go together: set both, or none of them"))
	}
	if len(problems) == 0 {
		problems = append(cfg.togetherness(role), cfg.unsafe(role)...)
	}
	if len(problems) == 0 && cfg.LLMAPIKey != "" && outbound.InTheClear(cfg.LLMURL) {
		problems = append(problems, errors.New("LLM_URL is plain http, and LLM_API_KEY would cross a network in the clear; it must be https, or on this machine (localhost)"))
	}
	if err := errors.Join(problems...); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// settingsFile is a parsed settings file, its values by key.
type settingsFile struct {
	path   string
	values map[string]fileValue
}

type fileValue struct {
	text string
	line int
}

// readFile reads the settings file: a flat YAML mapping from a variable's name in lower case to
// a scalar. A key that is no setting or stands twice is an error, and so is a list or a mapping.
func readFile(getenv func(string) string) (settingsFile, error) {
	named := getenv(FileVariable)
	path := cmp.Or(named, DefaultFile)
	raw, err := os.ReadFile(path) //nolint:gosec // the file of settings, which the operator names
	if errors.Is(err, fs.ErrNotExist) && named == "" {
		return settingsFile{}, nil
	}
	if err != nil {
		return settingsFile{}, fmt.Errorf("%s=%q: %w", FileVariable, path, err)
	}
	values, err := parseFile(raw)
	if err != nil {
		return settingsFile{}, fmt.Errorf("settings file %s: %w", path, err)
	}
	return settingsFile{path: path, values: values}, nil
}

func parseFile(raw []byte) (map[string]fileValue, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil // empty, or comments only
	} else if err != nil {
		return nil, err // names the line, does not quote it
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("must hold one YAML document")
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, errors.New("must be a mapping of settings to values")
	}

	known := make(map[string]bool, len(settings))
	for _, s := range settings {
		known[s.key()] = true
	}
	var problems []error
	values := make(map[string]fileValue, len(root.Content)/2)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		_, twice := values[key.Value]
		switch {
		case !known[key.Value]:
			problems = append(problems, fmt.Errorf("line %d: %q is not a setting", key.Line, key.Value))
		case twice:
			problems = append(problems, fmt.Errorf("line %d: %s stands twice", key.Line, key.Value))
		case value.Kind != yaml.ScalarNode:
			problems = append(problems, fmt.Errorf("line %d: %s must be one plain value", key.Line, key.Value))
		default:
			values[key.Value] = fileValue{text: value.Value, line: value.Line}
		}
	}
	return values, errors.Join(problems...)
}
