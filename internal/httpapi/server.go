// Package httpapi serves the API of pkg/api over Echo: it checks requests against the OpenAPI
// document, hands them to the domain, and maps failures to problem documents.
//
// A request comes in through [server.observe], is held against the document by [operation.check],
// and reaches the method of [handlers] that carries its operation's name, or that of [byHand] for
// what the generated code can't serve.
package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/admission"
	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/pkg/api"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// Patterns runs patterns.
type Patterns interface {
	Execute(ctx context.Context, r patterns.Request) (*patterns.Answer, error)
}

// Catalog knows the definitions.
type Catalog interface {
	Definitions() []*pattern.Definition // in order of id
	Definition(id string) (*pattern.Definition, error)
}

// Validator checks what would be a definition.
type Validator interface {
	// Validate returns everything that is wrong with a definition's text, in the text's order.
	Validate(data []byte) []patterns.Problem
}

// Agents knows who answers the steps of patterns.
type Agents interface {
	States() []agents.State // in order of name
}

// Runs keeps what was run.
type Runs interface {
	Run(ctx context.Context, tenantID, id string) (patterns.Run, error)
	Runs(ctx context.Context, tenantID string, f runs.Filter, behind runs.Cursor, limit int) ([]patterns.Run, *runs.Cursor, error)
}

// Replayer runs again what was recorded.
type Replayer interface {
	Replay(ctx context.Context, tenantID, requestID, id string) (runs.Replay, error)
}

// Portfolios keeps ledgers.
type Portfolios interface {
	CreatePortfolio(ctx context.Context, tenantID string, p portfolio.Portfolio) (portfolio.Portfolio, error)
	Portfolio(ctx context.Context, tenantID, id string) (portfolio.Portfolio, error)
	Portfolios(ctx context.Context, tenantID string, after portfolio.Cursor, limit int) ([]portfolio.Portfolio, *portfolio.Cursor, error)
	BookTransactions(ctx context.Context, tenantID, portfolioID string, txs []portfolio.Transaction, once *portfolio.Once) (portfolio.Receipt, error)
	ReverseTransaction(ctx context.Context, tenantID, portfolioID, transactionID string, once *portfolio.Once) (portfolio.Receipt, error)
	TransactionsPage(ctx context.Context, tenantID, portfolioID string, after int64, limit int) ([]portfolio.Transaction, int64, error)
}

// Deliverer takes events on.
type Deliverer interface {
	Submit(ctx context.Context, s delivery.Submission) ([]delivery.Receipt, *delivery.Earlier, error)
	Earlier(ctx context.Context, idem delivery.Idempotency) (*delivery.Earlier, error)
	RecordAnswer(ctx context.Context, idem delivery.Idempotency, answer json.RawMessage)
}

// Deliveries knows what became of them.
type Deliveries interface {
	History(ctx context.Context, tenantID string, id uuid.UUID) (delivery.Event, []delivery.TargetHistory, error)
	Summaries(ctx context.Context, tenantID string, f delivery.EventFilter, before uuid.UUID, limit int) ([]delivery.Summary, error)
	SummariesOf(ctx context.Context, tenantID string, ids []uuid.UUID) ([]delivery.Summary, error)
	DeadLetters(ctx context.Context, tenantID string, f delivery.LetterFilter, before uuid.UUID, limit int) ([]delivery.DeadLetter, error)
	DeadLetter(ctx context.Context, tenantID string, id uuid.UUID) (delivery.DeadLetter, []delivery.Attempt, error)
}

// Destinations knows the named delivery targets.
type Destinations interface {
	Destination(ctx context.Context, tenantID, name string) (delivery.Destination, error)
}

// Options are what the server needs; all of them.
type Options struct {
	Patterns   Patterns
	Catalog    Catalog
	Validator  Validator
	Agents     Agents
	Runs       Runs
	Replayer   Replayer
	Portfolios Portfolios
	Deliverer  Deliverer
	Deliveries Deliveries
	Rules      Rules
	Evaluator  RuleEvaluator
	// Destinations are the targets that have names.
	Destinations Destinations
	Operations   Operations
	Released     *delivery.Releases // counts single dead letters that are replayed or discarded
	AuditLog     AuditLog
	Jobs         Jobs
	Importer     Importer
	Packs        Packs
	// DestinationManager changes them.
	DestinationManager DestinationManager
	// Notifications are the users' inboxes.
	Notifications Notifications

	// Keys are what most callers show.
	Keys Keys
	// Auth tells callers apart.
	Auth Authenticator

	// Console are the pages below /console; nil for none.
	Console Console

	// Unavailable reports whether a failure is the database being away, which passes.
	Unavailable func(error) bool

	// Gate bounds how many requests are under way, Rates how many a caller may send; nil does not.
	Gate  *admission.Gate
	Rates *admission.Rates
	// HTTPS tells that callers come by TLS alone, so that browsers are told to stay with it.
	HTTPS bool

	RequestTimeout time.Duration // a request's context ends after this
	MaxBodyBytes   int64
	// ImportTimeout and ImportMaxBytes stand for them where bodies are files of rows.
	ImportTimeout  time.Duration
	ImportMaxBytes int64
	// AlertmanagerDedupWindow is for how long the same state of a group of alerts is a duplicate.
	AlertmanagerDedupWindow time.Duration
	Heartbeat               time.Duration // a stream is never silent for longer; 0 means 15 s

	// Probes and metrics of the process, served beside the API; nil where they are served elsewhere.
	Healthz, Readyz, Metrics http.Handler

	Registerer prometheus.Registerer
	Log        *slog.Logger
	Tracer     trace.Tracer
	Now        func() time.Time
}

type server struct {
	contract *contract
	routes   map[string]*route // by Echo's path
	nowhere  *route            // of requests that no route is for
	metrics  *metrics
	log      *slog.Logger
	tracer   trace.Tracer
	now      func() time.Time
	timeout  time.Duration
	maxBody  int64

	importTimeout time.Duration
	importMax     int64

	auth  Authenticator
	gate  *admission.Gate
	rates *admission.Rates
	https bool

	console Console
	uploads map[string]bool // paths of the console that take files

	passing func(error) bool // whether a failure is the database being away
}

// New returns the API's handler.
func New(o Options) (http.Handler, error) {
	contract, err := newContract(api.Document)
	if err != nil {
		return nil, err
	}
	s := &server{
		contract: contract, routes: map[string]*route{}, metrics: newMetrics(o.Registerer), log: o.Log,
		tracer: o.Tracer, now: o.Now, timeout: o.RequestTimeout, maxBody: o.MaxBodyBytes,
		auth: o.Auth, gate: o.Gate, rates: o.Rates, https: o.HTTPS, console: o.Console, uploads: map[string]bool{},
		passing: o.Unavailable, importTimeout: o.ImportTimeout, importMax: o.ImportMaxBytes,
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	// The peer's address, not what X-Forwarded-For claims.
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = s.onError
	e.Use(s.observe)

	for path, h := range map[string]http.Handler{"/healthz": o.Healthz, "/readyz": o.Readyz, "/metrics": o.Metrics} {
		if h != nil {
			e.GET(path, echo.WrapHandler(h))
		}
	}
	if err := s.serveDocs(e); err != nil {
		return nil, err
	}
	s.serveConsole(e)
	h := &handlers{Options: o}
	api.RegisterHandlers(e, &byHand{
		ServerInterface: api.NewStrictHandler(h, nil), h: h, s: s, heartbeat: cmp.Or(o.Heartbeat, defaultHeartbeat),
	})

	s.nowhere = s.newRoute(unmatched)
	for _, r := range e.Routes() {
		template := braces(r.Path)
		if probes[template] {
			s.routes[r.Path] = &route{probe: true}
			continue
		}
		op, ok := contract.operations[r.Method+" "+template]
		if !ok && strings.HasPrefix(template, "/v1/") {
			return nil, fmt.Errorf("route %s %s is not in the OpenAPI document", r.Method, template)
		}
		if s.routes[r.Path] == nil {
			s.routes[r.Path] = s.newRoute(template)
		}
		endpoint := s.newEndpoint(template, r.Method, op)
		endpoint.streams = op.streams() || s.uploads[r.Method+" "+r.Path]
		endpoint.class = classOf(template, endpoint.streams)
		s.routes[r.Path].methods[r.Method] = endpoint
	}
	return e, nil
}

// handlers implements the generated server interface. Each operation's method is in the file of
// its resource.
type handlers struct {
	Options
	unbound
}

var _ api.StrictServerInterface = (*handlers)(nil)

// byHand is the generated server but for the operations that it would not serve well: those whose
// bodies must arrive as they were sent, whose answers are streams, or that must be fast. It gets
// their requests checked like all others.
type byHand struct {
	api.ServerInterface
	h         *handlers
	s         *server
	heartbeat time.Duration
}

// unbound stands where the generated code wants a method for what byHand serves.
type unbound struct{}

var errByHand = errors.New("served without the generated binding")

func (unbound) ExecutePattern(context.Context, api.ExecutePatternRequestObject) (api.ExecutePatternResponseObject, error) {
	return nil, errByHand
}

func (unbound) ValidatePattern(context.Context, api.ValidatePatternRequestObject) (api.ValidatePatternResponseObject, error) {
	return nil, errByHand
}

func (unbound) ReceiveAlertmanager(context.Context, api.ReceiveAlertmanagerRequestObject) (api.ReceiveAlertmanagerResponseObject, error) {
	return nil, errByHand
}

func (unbound) ImportRows(context.Context, api.ImportRowsRequestObject) (api.ImportRowsResponseObject, error) {
	return nil, errByHand
}
