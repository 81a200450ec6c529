package apifuzz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAnswer bounds an answer: a page of 200 whole things is far below.
	maxAnswer = 64 << 20
	// keptFindings is how many findings are kept of each kind, the rest is counted.
	keptFindings = 2
	// keptRefusals is how many reasons are told apart for an operation.
	keptRefusals = 30
)

// Options say what is asked of whom.
type Options struct {
	// Document is the OpenAPI document, in YAML or JSON. Required.
	Document []byte
	// URL is the API's address without a path. Required.
	URL string
	// Header goes with every request, such as credentials.
	Header http.Header
	// Receiver is the address of a [Receiver]; webhooks go nowhere else. Required.
	Receiver string
	// Seed decides what is asked.
	Seed uint64
	// Requests is how many. Required.
	Requests uint64
	// Concurrency is how many requests are under way at the same time; 0 means 4.
	Concurrency int
	// Within bounds an answer's time; 0 means 20 seconds.
	Within time.Duration
	// Say is told, a line each, how far it is; nil is allowed.
	Say func(format string, args ...any)
}

// Finding is something wrong with an answer.
type Finding struct {
	Operation string `json:"operation"`
	Wrong     string `json:"wrong"`
	Count     int    `json:"count"`
	// Examples are requests that showed it, each as it can be sent again.
	Examples []string `json:"examples"`
}

// Report is what came of a run.
type Report struct {
	Seed     uint64             `json:"seed"`
	Requests uint64             `json:"requests"`
	Seconds  float64            `json:"seconds"`
	Asked    []Asked            `json:"operations"`
	Bends    map[string]int     `json:"bends"` // how often requests were bent, by how
	Findings []*Finding         `json:"findings"`
	Statuses map[int]int        `json:"statuses"`
	Slowest  map[string]float64 `json:"slowest_seconds"` // by operation
}

// Asked is what was asked of an operation.
type Asked struct {
	Operation string      `json:"operation"`
	Method    string      `json:"method"`
	Path      string      `json:"path"`
	Requests  int         `json:"requests"`
	Unbent    int         `json:"unbent"` // requests as the document wants them
	Statuses  map[int]int `json:"statuses"`
	// UnbentGood are requests as the document wants them that were answered below 400.
	UnbentGood int `json:"unbent_good"`
	// Refusals count why the others were refused. What nearly all requests of an operation are refused for,
	// the generator does not know.
	Refusals map[string]int `json:"refusals"`
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// Unreached lists the operations that never succeeded.
func (r *Report) Unreached() (ids []string) {
	for _, a := range r.Asked {
		good := 0
		for status, n := range a.Statuses {
			if status < 400 {
				good += n
			}
		}
		if good == 0 {
			ids = append(ids, a.Operation)
		}
	}
	return ids
}

// Found adds a finding from outside of the answers, such as from a log.
func (r *Report) Found(where, wrong string) {
	r.Findings = append(r.Findings, &Finding{Operation: where, Wrong: wrong, Count: 1})
}

// fuzzer is one run.
type fuzzer struct {
	o        Options
	document *document
	memory   *memory
	client   *http.Client

	mu       sync.Mutex
	report   *Report
	asked    map[string]*Asked
	findings map[string]*Finding
}

// Run asks. The error is of a run that could not be made; what is wrong with answers is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	d, err := readDocument(o.Document)
	if err != nil {
		return nil, err
	}
	if o.Concurrency == 0 {
		o.Concurrency = 4
	}
	if o.Within == 0 {
		o.Within = 20 * time.Second
	}
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	transport := &http.Transport{MaxIdleConnsPerHost: o.Concurrency, DisableCompression: true}
	defer transport.CloseIdleConnections()
	f := &fuzzer{
		o: o, document: d, memory: newMemory(),
		client: &http.Client{
			Transport: transport, Timeout: 2*o.Within + time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		report: &Report{Seed: o.Seed, Requests: o.Requests, Bends: map[string]int{}, Statuses: map[int]int{}, Slowest: map[string]float64{}},
		asked:  map[string]*Asked{}, findings: map[string]*Finding{},
	}
	for _, op := range d.operations {
		f.asked[op.id] = &Asked{Operation: op.id, Method: op.method, Path: op.path, Statuses: map[int]int{}, Refusals: map[string]int{}}
	}
	started := time.Now()
	if err := f.prepare(ctx); err != nil {
		return nil, err
	}
	turns := f.turns()
	var next atomic.Uint64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for range o.Concurrency {
		wg.Go(func() {
			for ctx.Err() == nil && failed.Load() == nil {
				n := next.Add(1)
				if n > o.Requests {
					return
				}
				if err := f.ask(ctx, n, turns); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
				if n%10_000 == 0 {
					o.Say("%d of %d requests, %s, %d findings", n, o.Requests, time.Since(started).Round(time.Second), f.found())
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.report.Seconds = time.Since(started).Seconds()
	for _, op := range d.operations {
		f.report.Asked = append(f.report.Asked, *f.asked[op.id])
	}
	return f.report, nil
}

func (f *fuzzer) found() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.report.Findings)
}

// turns lists the operations as often as they get a turn: what makes things, and what computes, more often
// than what reads.
func (f *fuzzer) turns() (turns []*operation) {
	for _, op := range f.document.operations {
		n := 2
		switch op.id {
		case "createAlert", "createDelivery", "bookTransactions", "receiveAlertmanager", "createDestination":
			n = 4
		case "executePattern":
			n = 6
		case "evaluateAlerts", "deleteAlert", "deleteDestination", "runJob", "discardDeadLetters", "importRows", "buildPricingPacks":
			n = 1
		}
		for range n {
			turns = append(turns, op)
		}
	}
	return turns
}

// prepare reads every list once, so that there is something to ask for.
func (f *fuzzer) prepare(ctx context.Context) error {
	for _, op := range f.document.operations {
		if op.method != http.MethodGet || strings.Contains(op.path, "{") {
			continue
		}
		q := &request{operation: op, method: op.method, path: op.path, header: http.Header{}, query: "limit=200"}
		if op.id == "listNotifications" {
			q.query += "&user_id=ada"
		}
		a, err := f.send(ctx, q)
		if err != nil {
			return fmt.Errorf("ask for %s: %w", op.path, err)
		}
		if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
			return fmt.Errorf("ask for %s: answered %d: the credentials do not do", op.path, a.status)
		}
		f.learn(q, a)
	}
	return nil
}

// ask makes the request of a number, sends it and judges the answer.
func (f *fuzzer) ask(ctx context.Context, n uint64, turns []*operation) error {
	g := &generator{r: rand.New(rand.NewPCG(f.o.Seed, n)), d: f.document, memory: f.memory, receiver: f.o.Receiver} //nolint:gosec // to be repeated, not to be secret
	q := g.make(n, pick(g.r, turns))
	if g.chance(3) {
		g.bendWhole(q)
	}
	a, err := f.send(ctx, q)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the run has been ended; Run says so
	}
	if err != nil {
		var refused *url.Error
		if errors.As(err, &refused) && strings.Contains(err.Error(), "connection refused") {
			return fmt.Errorf("the API is gone: %w; the last request was\n%s", err, f.describe(q, nil))
		}
		f.note(q, nil, []string{"no answer: " + plain(err.Error())})
		return nil
	}
	f.learn(q, a)
	f.note(q, a, f.document.check(q, a, f.o.Within))
	return nil
}

func (f *fuzzer) send(ctx context.Context, q *request) (*answer, error) {
	target, err := url.Parse(f.o.URL + q.path)
	if err != nil {
		return nil, fmt.Errorf("request %d: %w", q.number, err)
	}
	target.RawQuery = q.query
	r, err := http.NewRequestWithContext(ctx, q.method, target.String(), bytes.NewReader(q.body))
	if err != nil {
		return nil, fmt.Errorf("request %d: %w", q.number, err)
	}
	if len(q.body) == 0 {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	for name, values := range f.o.Header {
		r.Header[name] = values
	}
	for name, values := range q.header {
		r.Header[name] = values
	}
	started := time.Now()
	resp, err := f.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(raw) > maxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: raw, took: time.Since(started)}, nil
}

// learn remembers what a good answer tells.
func (f *fuzzer) learn(q *request, a *answer) {
	if a.status == http.StatusNotFound || a.status == http.StatusNoContent && q.method == http.MethodDelete {
		for kind, id := range q.ids {
			f.memory.forget(kind, id)
		}
	}
	if a.status >= 300 || q.method != q.operation.method {
		return
	}
	if tag := a.header.Get("Etag"); tag != "" {
		f.memory.add("etag "+q.path, tag)
	}
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	var v any
	if d.Decode(&v) == nil {
		f.memory.learn(q, v)
	}
}

// note counts a request and keeps what is wrong.
func (f *fuzzer) note(q *request, a *answer, wrong []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked[q.operation.id]
	asked.Requests++
	for _, bend := range q.bends {
		f.report.Bends[bend]++
	}
	if len(q.bends) == 0 {
		asked.Unbent++
		f.report.Bends["none"]++
		if a != nil && a.status < 400 {
			asked.UnbentGood++
		}
		if a != nil && a.status >= 400 {
			var p struct {
				Detail string
				Errors []struct{ Pointer, Detail string }
			}
			if json.Unmarshal(a.body, &p) == nil && len(asked.Refusals) < keptRefusals {
				why := p.Detail
				for _, e := range p.Errors[:min(len(p.Errors), 2)] {
					why += "; " + e.Pointer + ": " + e.Detail
				}
				asked.Refusals[fmt.Sprint(a.status, " ", excerpt(plain(why), 300))]++
			}
		}
	}
	if a != nil {
		asked.Statuses[a.status]++
		f.report.Statuses[a.status]++
		f.report.Slowest[q.operation.id] = max(f.report.Slowest[q.operation.id], a.took.Seconds())
	}
	for _, w := range wrong {
		key := q.operation.id + " " + plain(w)
		finding := f.findings[key]
		if finding == nil {
			finding = &Finding{Operation: q.operation.id, Wrong: w}
			f.findings[key] = finding
			f.report.Findings = append(f.report.Findings, finding)
		}
		finding.Count++
		if len(finding.Examples) < keptFindings {
			finding.Examples = append(finding.Examples, f.describe(q, a))
		}
	}
}

var variable = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|\d+|'[^']*'|"[^"]*"`)

// plain leaves out of a text what differs from one request to the next.
func plain(s string) string { return variable.ReplaceAllString(s, "_") }

// describe writes a request and its answer so that it can be repeated.
func (f *fuzzer) describe(q *request, a *answer) string {
	var b strings.Builder
	target := q.path
	if q.query != "" {
		target += "?" + q.query
	}
	bends := "as the document wants it"
	if len(q.bends) > 0 {
		bends = strings.Join(q.bends, ", ")
	}
	fmt.Fprintf(&b, "seed %d, request %d (%s)\n%s %s\n", f.o.Seed, q.number, bends, q.method, excerpt(target, 1000))
	for name, values := range q.header {
		fmt.Fprintf(&b, "%s: %s\n", name, excerpt(strings.Join(values, ", "), 300))
	}
	if len(q.body) > 0 {
		fmt.Fprintf(&b, "body of %d bytes: %q\n", len(q.body), excerpt(string(q.body), 3000))
	}
	if a != nil {
		fmt.Fprintf(&b, "answered %d %s after %s: %q", a.status, a.header.Get("Content-Type"), a.took.Round(time.Millisecond), excerpt(string(a.body), 1500))
	}
	return b.String()
}

func excerpt(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s...[%d bytes more]", s[:most], len(s)-most)
}
