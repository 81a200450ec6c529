package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Limits on what a service may say. The protocol's document states them.
const (
	maxCapabilities = 1000
	maxVersion      = 100      // characters
	maxDescription  = 2000     // characters
	maxSchema       = 64 << 10 // bytes
	minTimeout      = 0.001    // seconds
	maxTimeout      = 600      // seconds
	maxSources      = 10_000
	maxSourceName   = 200 // characters
	maxWarnings     = 1000
	maxSentence     = 1000 // characters of a warning or detail; the rest is cut off
	maxFields       = 100  // of a problem; the rest is left out
	maxRetryAfter   = time.Hour
)

var (
	agentName      = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	capabilityName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,3}$`)
)

// listing is what is kept of a service's list.
type listing struct {
	version      string
	description  string
	capabilities []agent.Capability // without Run; schemas compact, defaults filled in
}

// parseListing reads and checks the list of the agent called name.
func parseListing(name string, body []byte) (*listing, error) {
	var l agent.Listing
	if err := decode(body, &l); err != nil {
		return nil, err
	}
	switch {
	case l.Protocol != agent.ProtocolVersion:
		return nil, fmt.Errorf("it speaks version %.20q of the protocol, this process version %q", l.Protocol, agent.ProtocolVersion)
	case l.Agent.Name != name:
		return nil, fmt.Errorf("it is named %.64q there, and %q here", l.Agent.Name, name)
	case utf8.RuneCountInString(l.Agent.Version) > maxVersion:
		return nil, fmt.Errorf("agent.version is longer than %d characters", maxVersion)
	case utf8.RuneCountInString(l.Agent.Description) > maxDescription:
		return nil, fmt.Errorf("agent.description is longer than %d characters", maxDescription)
	case l.Capabilities == nil:
		return nil, errors.New("capabilities is missing")
	case len(l.Capabilities) > maxCapabilities:
		return nil, fmt.Errorf("there are %d capabilities, more than %d", len(l.Capabilities), maxCapabilities)
	}
	parsed := &listing{
		version: sentence(l.Agent.Version), description: l.Agent.Description,
		capabilities: make([]agent.Capability, len(l.Capabilities)),
	}
	seen := make(map[string]bool, len(l.Capabilities))
	for i, listed := range l.Capabilities {
		if !capabilityName.MatchString(listed.Name) {
			return nil, fmt.Errorf("capabilities[%d]: %.100q is not a name such as sentiment.score", i, listed.Name)
		}
		if seen[listed.Name] {
			return nil, fmt.Errorf("%s is listed twice", listed.Name)
		}
		seen[listed.Name] = true
		c, err := parseCapability(listed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", listed.Name, err)
		}
		parsed.capabilities[i] = c
	}
	return parsed, nil
}

func parseCapability(listed agent.ListedCapability) (agent.Capability, error) {
	if utf8.RuneCountInString(listed.Description) > maxDescription {
		return agent.Capability{}, fmt.Errorf("its description is longer than %d characters", maxDescription)
	}
	if t := listed.TimeoutSeconds; t != 0 && (t < minTimeout || t > maxTimeout) {
		return agent.Capability{}, fmt.Errorf("timeout_seconds is %v, not between %v and %v", t, minTimeout, maxTimeout)
	}
	c := listed.Capability()
	switch c.Purity {
	case agent.Pure, agent.Reading, agent.Effectful:
	case "":
		c.Purity = agent.Reading
	default:
		return agent.Capability{}, fmt.Errorf("purity %.20q is none of pure, read, effect", c.Purity)
	}
	switch c.Cost {
	case agent.Low, agent.Medium, agent.High:
	case "":
		c.Cost = agent.Low
	default:
		return agent.Capability{}, fmt.Errorf("cost %.20q is none of low, medium, high", c.Cost)
	}
	var err error
	if c.Args, err = parseSchema(c.Args); err != nil {
		return agent.Capability{}, fmt.Errorf("args: %w", err)
	}
	if c.Result, err = parseSchema(c.Result); err != nil {
		return agent.Capability{}, fmt.Errorf("result: %w", err)
	}
	return c, nil
}

// parseSchema checks a schema and returns it without white space; null is none.
func parseSchema(raw json.RawMessage) (json.RawMessage, error) {
	if raw == nil || string(raw) == "null" {
		return nil, nil
	}
	if len(raw) > maxSchema {
		return nil, fmt.Errorf("the schema is larger than %d bytes", maxSchema)
	}
	if _, err := schema.Compile(raw); err != nil {
		return nil, err
	}
	return compact(raw)
}

// parseAnswer reads and checks the result of a call. Its value is a json.RawMessage: it is written
// into the run's answer as it came, with every digit, and decoded only by whoever looks into it.
func parseAnswer(body []byte) (agent.Result, error) {
	var a agent.Answer
	if err := decode(body, &a); err != nil {
		return agent.Result{}, err
	}
	if len(a.Sources) > maxSources {
		return agent.Result{}, fmt.Errorf("there are %d sources, more than %d", len(a.Sources), maxSources)
	}
	if len(a.Warnings) > maxWarnings {
		return agent.Result{}, fmt.Errorf("there are %d warnings, more than %d", len(a.Warnings), maxWarnings)
	}
	for i, s := range a.Sources {
		if utf8.RuneCountInString(s.Name) > maxSourceName || strings.ContainsFunc(s.Name, unicode.IsControl) {
			return agent.Result{}, fmt.Errorf("sources[%d].name is longer than %d characters, or holds control characters", i, maxSourceName)
		}
	}
	for i, w := range a.Warnings {
		a.Warnings[i] = sentence(w)
	}
	if a.Value != nil {
		var err error
		if a.Value, err = compact(a.Value); err != nil {
			return agent.Result{}, err
		}
	}
	return a.Result()
}

// decode reads one JSON document. encoding/json would let bytes through that are no UTF-8.
func decode(body []byte, dst any) error {
	if !utf8.Valid(body) {
		return errors.New("it is not UTF-8")
	}
	return json.Unmarshal(body, dst)
}

func compact(raw json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	b.Grow(len(raw))
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// sentence makes a text fit for traces, logs and the database: no control characters, not too long.
func sentence(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > maxSentence {
		s = string([]rune(s)[:maxSentence-1]) + "…"
	}
	return s
}

// failure says what an answer other than 200 means. A problem with a code of the protocol says it
// itself; otherwise the status tells what may pass from what won't.
func (a *Agent) failure(resp *http.Response, body []byte) error {
	status := fmt.Errorf("status %d", resp.StatusCode)
	if p, ok := parseProblem(resp, body); ok {
		return a.reported(resp, p, status)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fault.Wrap(status, fault.Internal, "agent %s refuses the token that it is called with", a.name)
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable:
		e := fault.Wrap(status, fault.Unavailable, "agent %s is unavailable (%d %s)", a.name, resp.StatusCode, http.StatusText(resp.StatusCode))
		e.RetryAfter = retryAfter(resp.Header, time.Now())
		return e
	case http.StatusGatewayTimeout:
		return fault.Wrap(status, fault.Timeout, "agent %s did not answer in time", a.name)
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return fault.Wrap(status, fault.Internal, "agent %s does not serve the protocol at its address", a.name)
	}
	if resp.StatusCode/100 == 3 {
		return fault.Wrap(status, fault.Internal, "agent %s sends elsewhere; redirects are not followed", a.name)
	}
	return fault.Wrap(status, fault.Internal, "agent %s answers with status %d and gives no reason", a.name, resp.StatusCode)
}

// parseProblem reads a problem document that carries a code of the protocol.
func parseProblem(resp *http.Response, body []byte) (agent.Problem, bool) {
	var p agent.Problem
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode/100 < 4 || err != nil || mediaType != "application/problem+json" || decode(body, &p) != nil {
		return agent.Problem{}, false
	}
	_, known := codes[p.Code]
	return p, known
}

var codes = map[agent.Code]fault.Code{
	agent.CodeInvalid:          fault.Invalid,
	agent.CodeNotFound:         fault.NotFound,
	agent.CodeInsufficientData: fault.InsufficientData,
	agent.CodeUnavailable:      fault.Unavailable,
	agent.CodeTimeout:          fault.Timeout,
	agent.CodeInternal:         fault.Internal,
	// The list is older than the service; the next one puts it right.
	agent.CodeUnknownCapability: fault.Unavailable,
}

// reported turns a problem into a fault. Its sentence is for the caller: the protocol says so.
func (a *Agent) reported(resp *http.Response, p agent.Problem, cause error) error {
	detail := sentence(p.Detail)
	if detail == "" {
		detail = "no reason given"
	}
	e := fault.Wrap(cause, codes[p.Code], "agent %s: %s", a.name, detail)
	if e.Code == fault.Unavailable {
		e.RetryAfter = retryAfter(resp.Header, time.Now())
	}
	if e.Code == fault.Invalid {
		for _, f := range p.Errors[:min(len(p.Errors), maxFields)] {
			e.Fields = append(e.Fields, fault.Field{Pointer: sentence(f.Pointer), Detail: sentence(f.Detail)})
		}
	}
	return e
}

// retryAfter reads the header, as seconds or as a date; 0 when there is none that makes sense. An
// hour is the most that is believed.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
