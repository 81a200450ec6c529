// Package console is the operator console: pages below /console that show what the system does and act on
// it through the same services as the API. Pages are rendered here, work without scripts as far as they can,
// and load nothing from elsewhere.
//
// A request comes in through a [Route], whose handler asks the services, and leaves through
// [Console.render]. What a page shows keeps up with the system because its script listens to
// [Console.live]. Failures go back to the server, which maps them once and has [Console.Problem] show them.
package console

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dawsos/dawsos/internal/assets"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

//go:embed assets/*.js assets/*.css assets/*.svg npm/*.js npm/LICENSES.txt
var files embed.FS

//go:embed templates/*.html templates/parts/*.html
var templates embed.FS

// actor is who acts in the audit log when nobody is known.
const actor = "console"

// policy lets pages load their own files and call this server, and nothing else. Vega interprets its
// expressions and htmx's eval is off, so that no 'unsafe-eval' is needed; charts are saved through the
// data and blob URLs of images.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Options are what the console needs.
type Options struct {
	// Auth tells who looks without a session.
	Auth     Authenticator
	Sessions Sessions
	// Refused counts a sign-in that was refused, by the address that it came from, and refuses when there were too
	// many; nil does not.
	Refused func(remote string) error
	// Secure marks the session's cookie for TLS alone, also where a proxy ends it.
	Secure bool
	// JaegerURL and GrafanaURL are where traces and dashboards are looked at, such as
	// http://localhost:16686; "" leaves the links out.
	JaegerURL, GrafanaURL string

	DeadLetters   DeadLetters
	Deliveries    Deliveries
	Deliverer     Deliverer
	Notifications Notifications
	AuditLog      AuditLog
	Rules         Rules
	Evaluator     RuleEvaluator
	Destinations  Destinations
	Patterns      Patterns
	Catalog       Catalog
	Agents        Agents
	Runs          Runs
	Replayer      Replayer
	Insights      Insights
	Portfolios    Portfolios
	Importer      Importer
	Packs         Packs
	Jobs          Jobs
	Health        Health
	Ledger        Ledger
	Breakers      Breakers
	Queue         http.Handler // River's own pages, below /console/queue/

	// Status is the HTTP status of a failure's code.
	Status func(fault.Code) int
	// Unavailable reports whether a failure is the database being away, which passes.
	Unavailable func(error) bool

	Released *delivery.Releases // counts single dead letters that are replayed or discarded

	// LiveEvery is how often what a page shows is looked at for changes; 0 means 2 s.
	LiveEvery time.Duration
	Now       func() time.Time
}

// Handler answers a request or fails with an error whose fault code tells the status.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Route is a page or an action.
type Route struct {
	Method  string
	Path    string // such as /console/dlq/{id}
	Handler Handler
	// Streams marks the upload of a file, whose size and time have limits of their own.
	Streams bool
}

// Console serves the pages.
type Console struct {
	Options
	pages   map[string]*template.Template // by the file's name without its ending
	files   map[string]*assets.File       // by name
	routes  []Route
	mux     *http.ServeMux // of the pages, for live
	origin  *http.CrossOriginProtection
	stopped context.Context //nolint:containedctx // ends the streams of pages when the process stops
	stop    context.CancelFunc
	streams atomic.Int64 // of live, at present
}

// New returns the console. It fails when a template is wrong.
func New(o Options) (*Console, error) {
	o.LiveEvery = cmp.Or(o.LiveEvery, 2*time.Second)
	c := &Console{Options: o, files: map[string]*assets.File{}, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection()}
	c.stopped, c.stop = context.WithCancel(context.Background())
	if err := c.readFiles(); err != nil {
		return nil, err
	}
	if err := c.readTemplates(); err != nil {
		return nil, err
	}
	c.routes = slices.Concat(
		c.overviewRoutes(), c.deadLetterRoutes(), c.deliveryRoutes(), c.inboxRoutes(), c.auditRoutes(), c.ruleRoutes(),
		c.destinationRoutes(), c.patternRoutes(), c.runRoutes(), c.insightRoutes(), c.portfolioRoutes(), c.importRoutes(),
		c.packRoutes(), c.jobRoutes(), c.agentRoutes(),
	)
	for i, r := range c.routes {
		c.routes[i].Handler = known(r)
	}
	for _, r := range c.routes {
		if r.Method == http.MethodGet {
			c.mux.Handle("GET "+r.Path, captured(r.Handler))
		}
	}
	for _, r := range c.queueRoutes() { // not the console's pages: live does not know them
		r.Handler = known(r)
		c.routes = append(c.routes, r)
	}
	c.routes = append(c.routes, Route{Method: http.MethodGet, Path: livePath, Handler: c.live})
	for i, r := range c.routes {
		c.routes[i].Handler = c.guard(c.identified(r.Handler))
	}
	for _, r := range append(c.accessRoutes(), Route{Method: http.MethodGet, Path: "/console/assets/{file}", Handler: c.asset}) {
		r.Handler = c.guard(r.Handler) // for everybody
		c.routes = append(c.routes, r)
	}
	return c, nil
}

// Routes returns all routes; the server leads requests to them.
func (c *Console) Routes() []Route { return c.routes }

// Stop ends the streams of pages, which would hold up the server's shutdown.
func (c *Console) Stop() { c.stop() }

// guard refuses what another site makes a browser send, and sets the headers that every answer has.
func (c *Console) guard(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := c.origin.Check(r); err != nil {
			return fault.Wrap(err, fault.Forbidden, "the request comes from another site; use the console's own pages")
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		return next(w, r)
	}
}

// identified lets in who is known; from then on the request is theirs.
func (c *Console) identified(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := c.identify(r)
		if fault.CodeOf(err) == fault.Unauthenticated && r.Header.Get("Authorization") != "" {
			if tooMany := c.countRefused(r); tooMany != nil {
				return tooMany
			}
		}
		if err != nil {
			return toLogin(w, r, err)
		}
		if err := next(w, r.WithContext(auth.With(r.Context(), p))); err != nil {
			return &failure{err, p}
		}
		return nil
	}
}

func (c *Console) readFiles() error {
	for _, dir := range []string{"assets", "npm"} {
		entries, err := files.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			f, err := assets.New(files, dir+"/"+e.Name())
			if err != nil {
				return err
			}
			c.files[e.Name()] = f
		}
	}
	return nil
}

func (c *Console) asset(w http.ResponseWriter, r *http.Request) error {
	f, ok := c.files[r.PathValue("file")]
	if !ok {
		return fault.New(fault.NotFound, "there is no such file")
	}
	if r.URL.Query().Has("v") { // another version has another address
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	f.ServeHTTP(w, r)
	return nil
}

func (c *Console) readTemplates() error {
	base, err := template.New("").Funcs(c.functions()).ParseFS(templates, "templates/layout.html", "templates/parts/*.html")
	if err != nil {
		return err
	}
	entries, err := templates.ReadDir("templates")
	if err != nil {
		return err
	}
	c.pages = map[string]*template.Template{}
	for _, e := range entries {
		name, isPage := strings.CutSuffix(e.Name(), ".html")
		if !isPage || name == "layout" {
			continue
		}
		t, err := base.Clone()
		if err == nil {
			_, err = t.ParseFS(templates, "templates/"+e.Name())
		}
		if err != nil {
			return fmt.Errorf("template %s: %w", name, err)
		}
		c.pages[name] = t
	}
	return nil
}

// by says who acts, and why.
func (c *Console) by(ctx context.Context, reason string) delivery.By {
	p, _ := auth.From(ctx)
	return delivery.By{Actor: cmp.Or(p.Subject, actor), Reason: reason}
}
