// Package httpapi serves the API of pkg/api over Echo: it checks requests against the OpenAPI
// document, hands them to the domain, and maps failures to problem documents.
//
// A request comes in through [server.observe], is held against the document by [server.enforce],
// and reaches the method of [handlers] that carries its operation's name.
package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
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

// Portfolios keeps ledgers.
type Portfolios interface {
	CreatePortfolio(ctx context.Context, tenantID string, p portfolio.Portfolio) (portfolio.Portfolio, error)
	Portfolio(ctx context.Context, tenantID, id string) (portfolio.Portfolio, error)
	Portfolios(ctx context.Context, tenantID string, after portfolio.Cursor, limit int) ([]portfolio.Portfolio, *portfolio.Cursor, error)
	AppendTransactions(ctx context.Context, tenantID, portfolioID string, txs []portfolio.Transaction) (portfolio.Portfolio, []portfolio.Transaction, error)
	TransactionsPage(ctx context.Context, tenantID, portfolioID string, after int64, limit int) ([]portfolio.Transaction, int64, error)
}

// Deliverer takes events on.
type Deliverer interface {
	Deliver(ctx context.Context, e delivery.Event) (delivery.Receipt, error)
}

// Deliveries knows what became of them.
type Deliveries interface {
	History(ctx context.Context, tenantID string, id uuid.UUID) (delivery.Event, []delivery.ChannelHistory, error)
	DeadLetters(ctx context.Context, tenantID string, f delivery.LetterFilter, before uuid.UUID, limit int) ([]delivery.DeadLetter, error)
	DeadLetter(ctx context.Context, tenantID string, id uuid.UUID) (delivery.DeadLetter, []delivery.Attempt, error)
}

// Options are what the server needs; all of them.
type Options struct {
	Patterns   Patterns
	Catalog    Catalog
	Portfolios Portfolios
	Deliverer  Deliverer
	Deliveries Deliveries

	// Unavailable reports whether a failure is the database being away, which passes.
	Unavailable func(error) bool

	TenantID       string        // owner of every request, until access control tells callers apart
	RequestTimeout time.Duration // a request's context ends after this
	MaxBodyBytes   int64

	// Probes and metrics of the process, served beside the API.
	Healthz, Readyz, Metrics http.Handler

	Registerer prometheus.Registerer
	Log        *slog.Logger
	Tracer     trace.Tracer
	Now        func() time.Time
}

type server struct {
	contract *contract
	routes   map[string]bool // templates that may be label values
	metrics  *metrics
	log      *slog.Logger
	tracer   trace.Tracer
	now      func() time.Time
	timeout  time.Duration
	maxBody  int64
	passing  func(error) bool // whether a failure is the database being away
}

// New returns the API's handler.
func New(o Options) (http.Handler, error) {
	contract, err := newContract(api.Document)
	if err != nil {
		return nil, err
	}
	s := &server{
		contract: contract, routes: map[string]bool{}, metrics: newMetrics(o.Registerer), log: o.Log,
		tracer: o.Tracer, now: o.Now, timeout: o.RequestTimeout, maxBody: o.MaxBodyBytes,
		passing: o.Unavailable,
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	// The peer's address, not what X-Forwarded-For claims.
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = s.onError
	e.Use(s.observe, s.limit, s.enforce)

	e.GET("/healthz", echo.WrapHandler(o.Healthz))
	e.GET("/readyz", echo.WrapHandler(o.Readyz))
	e.GET("/metrics", echo.WrapHandler(o.Metrics))
	if err := s.serveDocs(e); err != nil {
		return nil, err
	}
	api.RegisterHandlers(e, api.NewStrictHandler(&handlers{Options: o}, nil))

	for _, r := range e.Routes() {
		template := braces(r.Path)
		s.routes[template] = true
		if probes[template] {
			continue
		}
		statuses := []int{http.StatusOK}
		if op, ok := contract.operations[r.Method+" "+template]; ok {
			statuses = op.statuses
		} else if strings.HasPrefix(template, "/v1/") {
			return nil, fmt.Errorf("route %s %s is not in the OpenAPI document", r.Method, template)
		}
		s.metrics.init(template, r.Method, statuses)
	}
	return e, nil
}

// handlers implements the generated server interface. Each operation's method is in the file of
// its resource.
type handlers struct {
	Options
}

var _ api.StrictServerInterface = (*handlers)(nil)
