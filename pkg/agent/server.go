package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

const (
	// TimeoutHeader tells an agent how many milliseconds are left for a call.
	TimeoutHeader = "X-Timeout-Ms"
	// RequestIDHeader carries the id that leads to the call in DawsOS' logs.
	RequestIDHeader = "X-Request-Id"

	// DefaultMaxBody bounds the body of a call, in bytes.
	DefaultMaxBody = 8 << 20
	// maxTimeout is the longest that TimeoutHeader may ask for.
	maxTimeout = 10 * time.Minute
)

// New returns an agent of the given capabilities, for those that need no type of their own.
func New(name string, capabilities ...Capability) Agent {
	return functions{name: name, capabilities: capabilities}
}

type functions struct {
	name         string
	capabilities []Capability
}

func (f functions) Name() string               { return f.name }
func (f functions) Capabilities() []Capability { return f.capabilities }

// HandlerOptions sets how an agent is served.
type HandlerOptions struct {
	// Token is what callers must send as "Authorization: Bearer <token>". "" lets everybody in, fit
	// for loopback alone.
	Token string
	// MaxBody bounds the body of a call, in bytes; 0 means DefaultMaxBody.
	MaxBody int64
	// Version and Description of the agent's program are listed for people; "" leaves them out.
	Version, Description string
	// Logger receives panics and internal errors, which callers are not told. Nil means
	// slog.Default().
	Logger *slog.Logger
}

// Handler serves an agent to DawsOS over HTTP, as Protocol describes: GET /capabilities and POST
// /run. Mount it below another path with http.StripPrefix.
//
// A call's context ends when the caller goes away, when the time is up that the caller gave in
// TimeoutHeader, or with the capability's own timeout. A panic of a capability is answered as an
// internal error and logged. Arguments are not checked against the capability's schema: DawsOS does
// so before it calls.
//
// The capabilities are read once. Handler panics when two have the same name, or one has no Run.
func Handler(a Agent, opts HandlerOptions) http.Handler {
	s := &server{
		capabilities: make(map[string]Capability),
		token:        sha256.Sum256([]byte(opts.Token)),
		open:         opts.Token == "",
		maxBody:      cmp.Or(opts.MaxBody, DefaultMaxBody),
		log:          cmp.Or(opts.Logger, slog.Default()),
	}
	for _, c := range a.Capabilities() {
		if _, twice := s.capabilities[c.Name]; twice || c.Run == nil {
			panic(fmt.Sprintf("agent %s: capability %q is declared twice, or without Run", a.Name(), c.Name))
		}
		s.capabilities[c.Name] = c
	}
	listing := NewListing(a)
	listing.Agent.Version, listing.Agent.Description = opts.Version, opts.Description
	var err error
	if s.listing, err = json.Marshal(listing); err != nil {
		panic(fmt.Sprintf("agent %s: a schema is not JSON: %v", a.Name(), err))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /capabilities", s.list)
	mux.HandleFunc("POST /run", s.run)
	return mux
}

type server struct {
	capabilities map[string]Capability
	listing      []byte
	token        [sha256.Size]byte
	open         bool
	maxBody      int64
	log          *slog.Logger
}

func (s *server) list(w http.ResponseWriter, r *http.Request) {
	if s.admit(w, r) {
		write(w, http.StatusOK, "application/json", s.listing)
	}
}

func (s *server) run(w http.ResponseWriter, r *http.Request) {
	if !s.admit(w, r) {
		return
	}
	req, problem := s.read(w, r)
	if problem != nil {
		refuse(w, *problem)
		return
	}
	c, ok := s.capabilities[req.Capability]
	if !ok {
		fail(w, NewError(CodeUnknownCapability, "this agent has no capability %q", req.Capability))
		return
	}
	timeout, err := timeoutOf(r.Header, c.Timeout)
	if err != nil {
		refuse(w, Problem{Status: http.StatusBadRequest, Detail: err.Error()})
		return
	}
	ctx, cancel := r.Context(), context.CancelFunc(func() {})
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()

	answer, err := s.call(ctx, c, req)
	if err == nil {
		write(w, http.StatusOK, "application/json", answer)
		return
	}
	if r.Context().Err() != nil { // nobody is there to read it
		return
	}
	fail(w, s.failure(ctx, req, err))
}

// admit checks the token. Hashes are compared, so that not even the token's length shows in the
// time it takes.
func (s *server) admit(w http.ResponseWriter, r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given := sha256.Sum256([]byte(strings.TrimSpace(token)))
	if s.open || strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(given[:], s.token[:]) == 1 {
		return true
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	refuse(w, Problem{Status: http.StatusUnauthorized, Detail: "the bearer token is missing or wrong"})
	return false
}

// read decodes a call. Numbers in arguments are json.Number.
func (s *server) read(w http.ResponseWriter, r *http.Request) (Request, *Problem) {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return Request{}, &Problem{Status: http.StatusUnsupportedMediaType, Detail: "the body must be application/json"}
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, s.maxBody))
	dec.UseNumber()
	var call Call
	err := dec.Decode(&call)
	if err == nil {
		// The rest is read too: only then does the server notice that the caller has gone.
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = cmp.Or(more, errors.New("something follows the call"))
		}
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return Request{}, &Problem{
			Status: http.StatusRequestEntityTooLarge, Code: CodeInvalid,
			Detail: fmt.Sprintf("the call is larger than %d bytes", s.maxBody),
		}
	}
	var req Request
	if err == nil {
		req, err = call.Request()
	}
	if err != nil {
		return Request{}, &Problem{Status: http.StatusBadRequest, Detail: "the body is no call: " + err.Error()}
	}
	return req, nil
}

// timeoutOf returns the shorter of what the caller gives and what the capability allows itself; 0
// means no limit.
func timeoutOf(h http.Header, own time.Duration) (time.Duration, error) {
	text := h.Get(TimeoutHeader)
	if text == "" {
		return own, nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 1 {
		return 0, fmt.Errorf("%s: %q is not a number of milliseconds", TimeoutHeader, text)
	}
	given := time.Duration(min(ms, maxTimeout.Milliseconds())) * time.Millisecond
	if own > 0 {
		given = min(given, own)
	}
	return given, nil
}

// call runs the capability and writes its answer down. A panic becomes an error: it must not end
// more than this call.
func (s *server) call(ctx context.Context, c Capability, req Request) (answer []byte, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.log.ErrorContext(ctx, "capability panicked", "capability", c.Name, "request_id", req.Context.RequestID,
			"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		answer, err = nil, NewError(CodeInternal, "%s broke off", c.Name)
	}()
	result, err := c.Run(ctx, req)
	if err != nil {
		return nil, err
	}
	a, err := NewAnswer(result)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// failure says what a caller is told of err.
func (s *server) failure(ctx context.Context, req Request, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		if _, known := statuses[e.Code]; known {
			if e.Code == CodeInternal {
				s.log.ErrorContext(ctx, "call failed", "capability", req.Capability,
					"request_id", req.Context.RequestID, "err", err)
			}
			return e
		}
	}
	if ctx.Err() != nil { // the caller's own end has been seen to
		return WrapError(err, CodeTimeout, "%s did not finish in the time it had", req.Capability)
	}
	s.log.ErrorContext(ctx, "call failed", "capability", req.Capability, "request_id", req.Context.RequestID, "err", err)
	return WrapError(err, CodeInternal, "%s failed; the agent's log says why", req.Capability)
}

var statuses = map[Code]int{
	CodeInvalid:           http.StatusUnprocessableEntity,
	CodeNotFound:          http.StatusNotFound,
	CodeInsufficientData:  http.StatusUnprocessableEntity,
	CodeUnavailable:       http.StatusServiceUnavailable,
	CodeTimeout:           http.StatusGatewayTimeout,
	CodeInternal:          http.StatusInternalServerError,
	CodeUnknownCapability: http.StatusNotFound,
}

func fail(w http.ResponseWriter, e *Error) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64(math.Ceil(e.RetryAfter.Seconds())), 10))
	}
	p := Problem{Status: statuses[e.Code], Code: e.Code, Detail: e.Detail}
	for _, f := range e.Fields {
		p.Errors = append(p.Errors, ProblemField(f))
	}
	refuse(w, p)
}

func refuse(w http.ResponseWriter, p Problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	body, err := json.Marshal(p)
	if err != nil { // strings and a number are always JSON
		http.Error(w, p.Title, p.Status)
		return
	}
	write(w, p.Status, "application/problem+json", body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that has gone needs no answer
}
