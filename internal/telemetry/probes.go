package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Check is one thing that must work before a process is ready.
type Check struct {
	Name string // "database", "schema"
	// Run returns why it does not work. The text is shown to whoever asks: no secrets in it.
	Run func(ctx context.Context) error
}

// Note is something that an operator should know although the process is ready.
type Note struct {
	Name string // "patterns"
	// Run returns what is to be known, "" when there is nothing. The text is shown to whoever asks.
	Run func() string
}

// Probes answers /healthz and /readyz.
type Probes struct {
	timeout  time.Duration
	checks   []Check
	notes    []Note
	stopping atomic.Bool
}

// NewProbes returns probes over checks, which run side by side and have timeout together.
func NewProbes(timeout time.Duration, checks ...Check) *Probes {
	return &Probes{timeout: timeout, checks: checks}
}

// Note adds a note to /readyz. It must be called before the probes are served.
func (p *Probes) Note(n Note) { p.notes = append(p.notes, n) }

// Stop makes the process unready for good, so that no new work is sent to it.
func (p *Probes) Stop() { p.stopping.Store(true) }

// Report is the body of both probes.
type Report struct {
	Status  string   `json:"status"`            // ok, ready, not_ready or stopping
	Reasons []Reason `json:"reasons,omitempty"` // why it is not ready
	// Warnings are what is not as it should be in a process that is ready all the same.
	Warnings []Reason `json:"warnings,omitempty"`
}

// Reason is a check that failed.
type Reason struct {
	Check string `json:"check"`
	Error string `json:"error"`
}

// Healthz answers 200 as long as the process can answer at all.
func (p *Probes) Healthz(w http.ResponseWriter, _ *http.Request) {
	writeReport(w, http.StatusOK, Report{Status: "ok"})
}

// Readyz answers 200 when every check passes and the process is not stopping, else 503 with the
// reasons in the order of the checks.
func (p *Probes) Readyz(w http.ResponseWriter, r *http.Request) {
	if p.stopping.Load() {
		writeReport(w, http.StatusServiceUnavailable, Report{Status: "stopping"})
		return
	}
	if reasons := p.run(r.Context()); len(reasons) > 0 {
		writeReport(w, http.StatusServiceUnavailable, Report{Status: "not_ready", Reasons: reasons})
		return
	}
	var warnings []Reason
	for _, n := range p.notes {
		if text := n.Run(); text != "" {
			warnings = append(warnings, Reason{Check: n.Name, Error: text})
		}
	}
	writeReport(w, http.StatusOK, Report{Status: "ready", Warnings: warnings})
}

// Unready says in a sentence why Readyz would not answer 200, "" when it would.
func (p *Probes) Unready(ctx context.Context) string {
	if p.stopping.Load() {
		return "stopping"
	}
	var all []string
	for _, r := range p.run(ctx) {
		all = append(all, r.Check+" "+r.Error)
	}
	return strings.Join(all, "; ")
}

func (p *Probes) run(ctx context.Context) []Reason {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()

	results := make([]chan error, len(p.checks))
	for i, check := range p.checks {
		// Buffered: a check that outlives the timeout ends on its own, with nobody listening.
		results[i] = make(chan error, 1)
		go func() { results[i] <- check.Run(ctx) }()
	}
	var reasons []Reason
	for i, check := range p.checks {
		var err error
		select {
		case err = <-results[i]:
		case <-ctx.Done():
			select {
			case err = <-results[i]: // it made it after all
			default:
				err = ctx.Err()
			}
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer within " + p.timeout.String())
		}
		if err != nil {
			reasons = append(reasons, Reason{Check: check.Name, Error: err.Error()})
		}
	}
	return reasons
}

func writeReport(w http.ResponseWriter, status int, report Report) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error here means that the prober went away.
	_ = json.NewEncoder(w).Encode(report)
}
