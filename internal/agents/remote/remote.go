// Package remote makes an HTTP service an agent. The service speaks the protocol that pkg/agent
// describes: it lists its capabilities at one endpoint and runs them at another.
//
// An [Agent] is the client of one service. It begins without capabilities; [Agent.Discover] asks for
// them, and [Discovery] does so for all agents for as long as the process runs. Policies, metrics
// and spans of calls are the runtime's, as with any agent.
//
// Failures are told apart by what they say about the agent. What may pass by itself is
// fault.Unavailable: no connection, one that breaks off, an overloaded or restarting service. What
// will be the same next time is fault.Internal: an answer that is too large or does not follow the
// protocol, a token that is refused. Both count against the agent's circuit breaker. Codes that the
// agent itself gives (invalid, not_found, insufficient_data) reach the caller and don't.
package remote

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/outbound"
	"github.com/dawsos/dawsos/pkg/agent"
)

const (
	// DefaultMaxResponse bounds an answer's body, in bytes.
	DefaultMaxResponse = 16 << 20
	// DefaultRefresh is how often the capabilities are asked for.
	DefaultRefresh = 30 * time.Second

	// maxProblem is how much is read of an answer that reports a failure.
	maxProblem = 64 << 10
	// maxDrain is how much of an answer that is not used is read, so that the connection can be used
	// again.
	maxDrain = 64 << 10
)

// Options configure an Agent.
type Options struct {
	// Name is the agent's name; the service must list itself under the same.
	Name string
	// URL is where the service's endpoints lie: "https://agents.example.com/sentiment". A query is
	// sent along with every request and shown nowhere.
	URL string
	// Token is sent as a bearer token. "" sends none.
	Token string
	// Client makes the requests. Required. It should be a guarded and traced one, see package outbound,
	// with a timeout above the longest call's; redirects are not followed whatever it says.
	Client *http.Client
	// MaxResponse bounds an answer's body, in bytes; 0 means DefaultMaxResponse.
	MaxResponse int64
	// Refresh is how often Discovery asks for the capabilities; 0 means DefaultRefresh.
	Refresh time.Duration
	// Timeout is how long the runtime gives one call. It is told to the service, not enforced here;
	// 0 means that only the call's own deadline and the capability's timeout are told.
	Timeout time.Duration
	// UserAgent names the program to the service; "" means "DawsOS".
	UserAgent string
}

// Agent is an agent elsewhere. It is safe for concurrent use.
type Agent struct {
	name        string
	list, run   string // addresses, with query
	shownURL    string // of run, without query
	token       string
	client      *http.Client
	maxResponse int64
	refresh     time.Duration
	timeout     time.Duration
	userAgent   string

	mu      sync.RWMutex
	listing *listing // nil until the first that was good
}

var _ agent.Agent = (*Agent)(nil)

// New returns an agent that has not been asked anything yet.
func New(o Options) (*Agent, error) {
	if !agentName.MatchString(o.Name) {
		return nil, fmt.Errorf("%q can't be an agent's name", o.Name)
	}
	if o.Client == nil {
		return nil, fmt.Errorf("agent %s: an HTTP client is needed", o.Name)
	}
	base, err := url.Parse(o.URL)
	// The address itself may hold a secret and is left out.
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Hostname() == "" ||
		base.User != nil || base.Fragment != "" {
		return nil, fmt.Errorf("agent %s: the URL must be an absolute http or https address without user and fragment", o.Name)
	}
	for _, c := range o.Token {
		if c <= ' ' || c > '~' {
			return nil, fmt.Errorf("agent %s: the token must be printable ASCII without spaces", o.Name)
		}
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	shown := base.JoinPath("run")
	shown.RawQuery, shown.ForceQuery = "", false
	return &Agent{
		name: o.Name, list: base.JoinPath("capabilities").String(), run: base.JoinPath("run").String(),
		shownURL: shown.String(), token: o.Token, client: &client, timeout: o.Timeout,
		maxResponse: cmp.Or(o.MaxResponse, DefaultMaxResponse),
		refresh:     cmp.Or(o.Refresh, DefaultRefresh),
		userAgent:   cmp.Or(o.UserAgent, "DawsOS"),
	}, nil
}

// Name implements agent.Agent.
func (a *Agent) Name() string { return a.name }

// Remote reports that the agent is not part of this process: true.
func (*Agent) Remote() bool { return true }

// URL returns where calls go, without query.
func (a *Agent) URL() string { return a.shownURL }

// Version returns what the service last called its version, "" when it did not say.
func (a *Agent) Version() string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.listing == nil {
		return ""
	}
	return a.listing.version
}

// Description returns what the service last said that it does, "" when it did not.
func (a *Agent) Description() string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.listing == nil {
		return ""
	}
	return a.listing.description
}

// Capabilities implements agent.Agent: those of the last good listing, none before the first.
func (a *Agent) Capabilities() []agent.Capability {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.listing == nil {
		return nil
	}
	capabilities := make([]agent.Capability, len(a.listing.capabilities))
	for i, c := range a.listing.capabilities {
		c.Run = func(ctx context.Context, req agent.Request) (agent.Result, error) { return a.call(ctx, c, req) }
		capabilities[i] = c
	}
	return capabilities
}

// Discover asks the service for its capabilities and keeps them; changed reports whether they, or what it says
// of itself, are not those from before: whoever keeps them keeps both. A service that can't be asked, or whose list is wrong, is an error and
// leaves what is known as it is.
func (a *Agent) Discover(ctx context.Context) (changed bool, err error) {
	req, err := a.request(ctx, http.MethodGet, a.list, nil)
	if err != nil {
		return false, err
	}
	body, err := a.exchange(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return false, fault.Wrap(err, fault.Timeout, "agent %s did not list its capabilities in time", a.name)
	}
	if err != nil {
		return false, err
	}
	l, err := parseListing(a.name, body)
	if err != nil {
		return false, fault.New(fault.Internal, "the list of agent %s can't be used: %s", a.name, sentence(outbound.Mask(err.Error(), a.token)))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	changed = !reflect.DeepEqual(a.listing, l)
	a.listing = l
	return changed, nil
}

// call runs a capability over there.
func (a *Agent) call(ctx context.Context, c agent.Capability, req agent.Request) (agent.Result, error) {
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("dawsos.remote.url", a.shownURL))
	body, err := json.Marshal(agent.NewCall(req))
	if err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Internal, "the arguments of %s can't be written as JSON", c.Name)
	}
	httpReq, err := a.request(ctx, http.MethodPost, a.run, body)
	if err != nil {
		return agent.Result{}, err
	}
	if c.Repeatable() {
		// The transport tries again when a kept connection turns out to be closed. Nothing is sent
		// of an empty header.
		httpReq.Header["Idempotency-Key"] = []string{}
	}
	if isHeaderText(req.Context.RequestID) {
		httpReq.Header.Set(agent.RequestIDHeader, req.Context.RequestID)
	}
	if left := a.timeLeft(ctx, c); left > 0 {
		// Rounded up: zero would not be a limit.
		httpReq.Header.Set(agent.TimeoutHeader, strconv.FormatInt((left+time.Millisecond-1).Milliseconds(), 10))
	}
	answer, err := a.exchange(httpReq)
	if err != nil {
		return agent.Result{}, err
	}
	result, err := parseAnswer(answer)
	if err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Internal, "agent %s answers %s in a form that is not the protocol's", a.name, c.Name)
	}
	return result, nil
}

// timeLeft returns how long the service has for a call, 0 when nothing limits it.
func (a *Agent) timeLeft(ctx context.Context, c agent.Capability) time.Duration {
	left := cmp.Or(c.Timeout, a.timeout)
	if deadline, ok := ctx.Deadline(); ok {
		until := max(time.Until(deadline), time.Millisecond)
		if left == 0 || until < left {
			left = until
		}
	}
	return left
}

func (a *Agent) request(ctx context.Context, method, address string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Wrap(withoutURL(err), fault.Internal, "a request to agent %s can't be made", a.name)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	req.Header.Set("User-Agent", a.userAgent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	return req, nil
}

// exchange makes one request and returns the body of an answer of 200; everything else is an error.
func (a *Agent) exchange(req *http.Request) ([]byte, error) {
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, a.unreachable(req.Context(), err, "can't be reached")
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		// What can't be read of a failure is not needed: the status says enough.
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
		body = []byte(outbound.Mask(string(body), a.token)) // it ends up in logs and answers
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
		return nil, a.failure(resp, body)
	}
	if resp.ContentLength > a.maxResponse {
		return nil, a.tooLarge()
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, a.maxResponse+1))
	if err != nil {
		return nil, a.unreachable(req.Context(), err, "broke off its answer")
	}
	if int64(len(body)) > a.maxResponse {
		return nil, a.tooLarge()
	}
	return body, nil
}

func (a *Agent) tooLarge() error {
	return fault.New(fault.Internal, "the answer of agent %s is larger than %d bytes", a.name, a.maxResponse)
}

// unreachable is an exchange without a whole answer. When it was us who gave up, the error says so.
func (a *Agent) unreachable(ctx context.Context, err error, what string) error {
	err = withoutURL(err)
	if ctx.Err() != nil {
		return fmt.Errorf("ask agent %s: %w", a.name, ctx.Err())
	}
	if errors.Is(err, context.DeadlineExceeded) { // the client's own timeout
		return fault.Wrap(err, fault.Timeout, "agent %s did not answer in time", a.name)
	}
	return fault.Wrap(err, fault.Unavailable, "agent %s %s", a.name, what)
}

// withoutURL returns err without the address that net/http puts around it: a query may be secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func isHeaderText(s string) bool {
	for _, c := range s {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}
