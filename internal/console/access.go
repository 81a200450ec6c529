package console

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
)

// Authenticator knows who looks by what a request shows. It refuses with [fault.Unauthenticated].
type Authenticator interface {
	Authenticate(r *http.Request) (auth.Principal, error)
}

// Sessions are those of people who have signed in.
type Sessions interface {
	Begin(ctx context.Context, credential string) (cookie string, until time.Time, err error)
	Principal(ctx context.Context, cookie string) (auth.Principal, error)
	End(ctx context.Context, cookie string) error
}

const (
	loginPath   = "/console/login"
	logoutPath  = "/console/logout"
	livePath    = "/console/live"
	sessionName = "dawsos_session"
	// signInTime is how long the form for signing in may take to come in.
	signInTime = 5 * time.Second
	// credentialMost bounds what one signs in with: tokens are long.
	credentialMost = 8 << 10
)

var (
	everybody = auth.Roles
	lookers   = []auth.Role{auth.Admin, auth.Operator, auth.ReadOnly}
	operators = []auth.Role{auth.Admin, auth.Operator}
	users     = []auth.Role{auth.Admin, auth.Operator, auth.Analyst, auth.Service}
	bookers   = []auth.Role{auth.Admin, auth.Analyst, auth.Service}
	programs  = []auth.Role{auth.Admin, auth.Operator, auth.Service}
)

// access says whom an area's pages and actions are for: those whom the API lets do the same.
type access struct {
	prefix    string
	look, act []auth.Role
	operating bool // it is about no single tenant
}

// areas are in the order in which they are looked for.
var areas = []access{
	{prefix: "/console/queue", look: operators, act: operators, operating: true},
	{prefix: "/console/jobs", look: operators, act: operators, operating: true},
	{prefix: "/console/audit", look: operators, act: operators},
	{prefix: "/console/imports", look: programs, act: programs},
	{prefix: "/console/dlq", look: lookers, act: operators},
	{prefix: "/console/operations", look: lookers, act: operators},
	{prefix: "/console/destinations", look: lookers, act: operators},
	{prefix: "/console/deliveries", look: []auth.Role{auth.Admin, auth.Operator, auth.Service, auth.ReadOnly}, act: programs},
	{prefix: "/console/alerts/evaluate", look: everybody, act: programs}, // it may fire any rule
	{prefix: "/console/alerts", look: everybody, act: users},
	{prefix: "/console/inbox", look: everybody, act: users},
	{prefix: "/console/patterns", look: everybody, act: users},
	{prefix: "/console/runs", look: everybody, act: users},
	{prefix: "/console/portfolios", look: everybody, act: bookers},
	{prefix: "/console/packs", look: everybody, act: programs},
	{prefix: "/console", look: everybody, act: operators},
}

// areaOf returns the area that a path is in.
func areaOf(path string) access {
	for _, a := range areas {
		if path == a.prefix || strings.HasPrefix(path, a.prefix+"/") {
			return a
		}
	}
	return access{} // nobody's
}

// admits refuses who may not see, or do, what is at a path.
func (a access) admits(p auth.Principal, method string) error {
	roles := a.look
	if method != http.MethodGet && method != http.MethodHead {
		roles = a.act
	}
	switch {
	case !slices.Contains(roles, p.Role):
		return fault.New(fault.Forbidden, "your role, %s, may not do this here", p.Role)
	case a.operating && !p.Operates():
		return fault.New(fault.Forbidden, "this concerns the whole system: it is for admins and operators of the tenant %s", auth.OperatingTenant)
	}
	return nil
}

// known lets a route be for those whom its area is for. It stands around each page itself, so that live
// asks no less than a browser does.
func known(rt Route) Handler {
	area := areaOf(rt.Path)
	return func(w http.ResponseWriter, r *http.Request) error {
		p, ok := auth.From(r.Context())
		if !ok {
			return fault.New(fault.Unauthenticated, "sign in first")
		}
		if err := area.admits(p, rt.Method); err != nil {
			return err
		}
		return rt.Handler(w, r)
	}
}

// identify finds out who looks: by the session's cookie, else by what the API takes, too.
func (c *Console) identify(r *http.Request) (auth.Principal, error) {
	if k, err := r.Cookie(sessionName); err == nil {
		p, err := c.Sessions.Principal(r.Context(), k.Value)
		if fault.CodeOf(err) != fault.Unauthenticated {
			return p, err
		}
		// A session that is over is as none.
	}
	p, err := c.Auth.Authenticate(r)
	if err == nil {
		err = auth.Whole(p)
	}
	return p, err
}

// mayLook reports whether the caller may see the page at a path.
func mayLook(ctx context.Context, path string) bool {
	p, _ := auth.From(ctx)
	return areaOf(path).admits(p, http.MethodGet) == nil
}

// mayAct reports whether the caller may do what is posted to a path.
func mayAct(ctx context.Context, path string) bool {
	p, _ := auth.From(ctx)
	return areaOf(path).admits(p, http.MethodPost) == nil
}

// toLogin leads who is not known to the page for signing in, and from there to where they wanted to be.
func toLogin(w http.ResponseWriter, r *http.Request, refused error) error {
	if fault.CodeOf(refused) != fault.Unauthenticated || r.Header.Get("Authorization") != "" {
		return refused
	}
	to := loginPath
	if r.Method == http.MethodGet && r.URL.Path != livePath && r.Header.Get("HX-Request") == "" {
		to += "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	}
	if r.Header.Get("HX-Request") != "" {
		w.Header().Set("HX-Redirect", to)
	}
	return refused
}

func (c *Console) accessRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: loginPath, Handler: c.login},
		{Method: http.MethodPost, Path: loginPath, Handler: c.signIn},
		{Method: http.MethodPost, Path: logoutPath, Handler: c.signOut},
	}
}

type loginPage struct {
	Next  string
	Wrong string
}

func (c *Console) login(w http.ResponseWriter, r *http.Request) error {
	return c.render(w, r, http.StatusOK, "login", loginPath, "Sign in", loginPage{Next: next(r.URL.Query().Get("next"))})
}

// next lets nobody be led away from the console.
func next(given string) string {
	u, err := url.ParseRequestURI(given)
	if err != nil || u.IsAbs() || u.Host != "" || strings.ContainsAny(given, "\\\r\n") || given != "/console" && !strings.HasPrefix(given, "/console/") && !strings.HasPrefix(given, "/console?") {
		return "/console"
	}
	return given
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) error {
	// It is not known yet who sends, and the request has a place among the console's pages. The next request of the
	// connection has a time of its own again.
	_ = http.NewResponseController(w).SetReadDeadline(c.Now().Add(signInTime))
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(err, fault.Malformed, "the form can't be read")
	}
	page := loginPage{Next: next(r.PostForm.Get("next"))}
	credential := strings.TrimSpace(r.PostForm.Get("credential"))
	switch {
	case credential == "":
		page.Wrong = "Enter an API key or a token."
	case len(credential) > credentialMost:
		page.Wrong = "This is too long for an API key or a token."
	}
	if page.Wrong == "" {
		cookie, until, err := c.Sessions.Begin(r.Context(), credential)
		if err == nil {
			http.SetCookie(w, c.sessionCookie(r, cookie, until))
			http.Redirect(w, r, page.Next, http.StatusSeeOther)
			return nil
		}
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != fault.Unauthenticated && f.Code != fault.Forbidden {
			return err
		}
		if err := c.countRefused(r); err != nil {
			return err
		}
		page.Wrong = "You could not be signed in: " + fault.Detail(err) + "."
	}
	return c.render(w, r, http.StatusUnprocessableEntity, "login", loginPath, "Sign in", page)
}

// countRefused counts credentials that were refused as the API counts them.
func (c *Console) countRefused(r *http.Request) error {
	if c.Refused == nil {
		return nil
	}
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	return c.Refused(remote)
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) error {
	if k, err := r.Cookie(sessionName); err == nil {
		p, err := c.Sessions.Principal(r.Context(), k.Value)
		if err == nil {
			err = c.Sessions.End(auth.With(r.Context(), p), k.Value)
		}
		if err != nil && fault.CodeOf(err) != fault.Unauthenticated { // else it was over before
			return err
		}
	}
	http.SetCookie(w, c.sessionCookie(r, "", time.Unix(1, 0)))
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
	return nil
}

// sessionCookie is no script's, goes nowhere but to the console, and comes along from no other site's form.
func (c *Console) sessionCookie(r *http.Request, value string, until time.Time) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure depends: plain HTTP on one's own machine
		Name: sessionName, Value: value, Path: "/console", Expires: until, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: c.Secure || r.TLS != nil,
	}
}

// visible are the parts of the navigation that somebody may see.
func visible(p auth.Principal) []navGroup {
	var groups []navGroup
	for _, g := range navigation {
		var entries []navEntry
		for _, e := range g.Entries {
			if areaOf(strings.TrimSuffix(e.Path, "/")).admits(p, http.MethodGet) == nil {
				entries = append(entries, e)
			}
		}
		if len(entries) > 0 {
			groups = append(groups, navGroup{g.Name, entries})
		}
	}
	return groups
}

// failure is an error of a request whose caller is known: the page that tells of it is the caller's.
type failure struct {
	error
	caller auth.Principal
}

func (f *failure) Unwrap() error { return f.error }

// Caller returns whose request failed; false when that is not known.
func Caller(err error) (auth.Principal, bool) {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.caller, true
	}
	return auth.Principal{}, false
}
