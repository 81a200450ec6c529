package patterns

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// requestScope is what a run shares with the runs within it.
type requestScope struct {
	slots      chan struct{} // one for each call that may be under way
	memo       flights
	portfolios portfolios
	recompute  bool
}

// run is one execution under way.
type run struct {
	orchestrator *Orchestrator
	generation   *generation
	program      *program
	request      *requestScope
	depth        int // 1 for the run that the caller asked for
	context      agent.Context
	keyPrefix    []byte // what a pure capability depends on besides its arguments
	scope        scope
	emit         func(Event) // nil: nobody listens
	steps        []stepState
	last         int // the last step that the trace tells of, once the run has ended
}

// stepState is one step of a run. It belongs to the goroutine that runs the step until that has ended.
type stepState struct {
	trace    StepTrace
	sources  []agent.Source
	warnings []string
	calls    []made // in the items' order
	within   []*run // of patterns, by the step; ended
	fatal    error  // why the run fails
	cancel   context.CancelFunc
}

// made is one call that a step has made.
type made struct {
	flight *flight // nil: one that is shared with nobody
	joined bool    // another step, or item, was making it already
}

func newRun(o *Orchestrator, g *generation, p *program, c agent.Context, inputs map[string]any) *run {
	return &run{
		orchestrator: o, generation: g, program: p, depth: 1, context: c, keyPrefix: keyPrefix(c),
		scope: scope{inputs: inputs, ctx: c.Values(), results: make([]*result, len(p.steps))},
		steps: make([]stepState, len(p.steps)),
	}
}

// keyPrefix names all data that a run sees.
func keyPrefix(c agent.Context) []byte {
	b := make([]byte, 0, 192)
	for _, part := range []string{c.TenantID, c.Asof.Format(time.DateOnly), c.PricingPack.ID, c.PricingPack.Date.Format(time.DateOnly), c.PricingPack.Hash} {
		b = append(append(b, part...), 0)
	}
	b = strconv.AppendInt(b, c.PricingPack.Revision, 10)
	b = append(b, 0)
	if c.Portfolio != nil {
		for _, part := range []string{c.Portfolio.ID, c.Portfolio.BaseCurrency, c.Portfolio.LedgerVersion} {
			b = append(append(b, part...), 0)
		}
		b = strconv.AppendInt(b, c.Portfolio.LedgerSeq, 10)
	}
	return append(b, 0)
}

// execute runs the steps and puts the answer together, or returns a *RunError.
func (r *run) execute(ctx context.Context, start time.Time) (*Answer, error) {
	fail := func(last int, err error) (*Answer, error) {
		r.last = last
		return nil, &RunError{Trace: r.trace(start), Err: err}
	}
	if failed := r.work(ctx); failed < len(r.steps) {
		return fail(failed, fmt.Errorf("pattern %s, step %d (%s): %w",
			r.program.definition.ID, failed, r.program.steps[failed].as, r.steps[failed].fatal))
	}
	r.last = len(r.steps) - 1
	data, err := r.data()
	if err != nil {
		return fail(r.last, fmt.Errorf("pattern %s: %w", r.program.definition.ID, err))
	}
	warnings := []string{}
	for i := range r.steps {
		warnings = append(warnings, r.steps[i].warnings...)
	}
	charts, missing := r.charts()
	sum := sha256.Sum256(data)
	return &Answer{
		PatternID: r.program.definition.ID,
		Data:      data,
		Charts:    charts,
		Warnings:  append(warnings, missing...),
		Trace:     r.trace(start),
		DataHash:  hex.EncodeToString(sum[:]),
	}, nil
}

// work runs the steps and returns the index of the one for which the run fails, or their number.
//
// Every step runs as soon as those it looks at have ended, all others beside it, and still it comes out
// as if they had run one after the other. When a step fails, those behind it are stopped and forgotten;
// those before it go on, since one of them may fail too, and then that is where the run ends.
func (r *run) work(ctx context.Context) int {
	p := r.program
	n := len(p.steps)
	waiting := make([]int, n) // for how many steps that have not ended
	ended := make([]bool, n)
	ready := make([]int, 0, n)
	for i := range p.steps {
		waiting[i] = len(p.waits[i])
		if waiting[i] == 0 && (!p.barriers[i] || i == 0) {
			ready = append(ready, i)
		}
	}
	failed, frontier, running := n, 0, 0 // frontier: all steps before it have ended
	finished := make(chan int, n)

	complete := func(i int) {
		if r.steps[i].fatal != nil {
			if i < failed {
				failed = i
				for later := i + 1; later < n; later++ {
					if cancel := r.steps[later].cancel; cancel != nil {
						cancel()
					}
				}
			}
			return
		}
		ended[i] = true
		for frontier < n && ended[frontier] {
			frontier++
			if frontier < n && p.barriers[frontier] {
				ready = append(ready, frontier)
			}
		}
		for _, d := range p.dependents[i] {
			if waiting[d]--; waiting[d] == 0 && !p.barriers[d] {
				ready = append(ready, d)
			}
		}
	}
	for next := 0; ; {
		for ; next < len(ready); next++ {
			i := ready[next]
			if i > failed {
				continue
			}
			call := r.begin(ctx, i)
			switch {
			case call == nil: // it is over already
				complete(i)
			case running == 0 && next == len(ready)-1: // nothing to run beside it
				call()
				complete(i)
			default:
				running++
				go func() {
					call()
					finished <- i
				}()
			}
		}
		if running == 0 {
			return failed
		}
		complete(<-finished)
		running--
	}
}

// begin starts a step: its condition, its arguments, and a look whether the result is there already. It
// returns what is left to do, or nil when the step has ended.
func (r *run) begin(parent context.Context, i int) func() {
	o, s, st := r.orchestrator, &r.program.steps[i], &r.steps[i]
	start := o.now()
	st.trace = StepTrace{Index: i, Capability: s.capability, Agent: s.agent, As: s.as, StartedAt: start.UTC()}
	if s.condition != nil {
		holds, err := s.condition.holds(&r.scope, r.program.results)
		if err != nil {
			r.started(st)
			r.end(parent, nil, i, start, nothing, fault.New(fault.PatternError,
				"the condition %q of step %s can't be evaluated: %v", s.condition.text, s.as, err))
			return nil
		}
		if !holds {
			st.trace.Status, st.trace.Reason = StatusSkipped, fmt.Sprintf("the condition %q is false", s.condition.text)
			r.scope.results[i] = nothing
			if r.emit != nil {
				r.emit(Event{Type: StepSkipped, Step: new(st.trace)})
			}
			return nil
		}
	}
	r.started(st)

	ctx := parent
	var span trace.Span
	if o.tracing {
		ctx, span = o.tracer.Start(ctx, r.program.spans[i].name, r.program.spans[i].attributes)
	}
	if s.forEach != nil {
		return r.within(ctx, s, st, func(ctx context.Context) {
			res, err := r.fanOut(ctx, s, st)
			r.end(parent, span, i, start, res, s.inTime(ctx, parent, err))
		}, func(err error) { r.end(parent, span, i, start, nothing, err) })
	}
	k, fl, err := r.lookUp(s, &r.scope)
	if fl != nil {
		st.calls = []made{{fl, true}}
		r.end(parent, span, i, start, fl.result, nil)
		return nil
	}
	var args map[string]any
	if err == nil {
		args, err = r.args(s, &r.scope)
	}
	if err != nil {
		r.end(parent, span, i, start, nothing, err)
		return nil
	}
	return r.within(ctx, s, st, func(ctx context.Context) {
		res, call, err := r.ask(ctx, s, k, args)
		st.calls = []made{call}
		r.end(parent, span, i, start, res, s.inTime(ctx, parent, err))
	}, func(err error) { r.end(parent, span, i, start, nothing, err) })
}

// within prepares work under a context of a step's own, which ends with its timeout or when a step
// before it fails. A step that makes one call gets its slot first: the time that it may take must not
// depend on how many others wait for one. refused is told why work could not begin, or broke down.
func (r *run) within(parent context.Context, s *step, st *stepState, work func(ctx context.Context), refused func(error)) func() {
	ctx, cancel := context.WithCancel(parent)
	st.cancel = cancel
	return func() {
		defer cancel()
		defer r.orchestrator.survive(ctx, func(err error) {
			// Whatever has been put down, the run can't go on with it; and nobody is told, since whoever
			// listens may be what has broken.
			st.trace.Status, st.trace.Error, st.fatal = StatusError, fault.Detail(err), err
		})
		if s.forEach == nil {
			free, err := r.slot(ctx, s)
			if err != nil {
				refused(err)
				return
			}
			defer free()
		}
		if s.timeout > 0 {
			var stop context.CancelFunc
			ctx, stop = context.WithTimeout(ctx, s.timeout)
			defer stop()
		}
		work(ctx)
	}
}

// slot waits until the run may have another call under way, and returns how to give the slot back.
//
// Who makes a call that others wait for has a slot already, so that those who hold one while they wait
// never keep it from being made.
func (r *run) slot(ctx context.Context, s *step) (free func(), err error) {
	if s.delegates { // it waits for other calls, which need the slots
		return func() {}, ctx.Err()
	}
	select {
	case r.request.slots <- struct{}{}:
		return func() { <-r.request.slots }, nil
	case <-ctx.Done():
		return func() {}, ctx.Err()
	}
}

// survive is deferred: it makes an error of a panic, which in one of a run's goroutines would end the
// process. Agents' panics are the runtime's; these are of results that can't be written, and ours.
func (o *Orchestrator) survive(ctx context.Context, failed func(error)) {
	p := recover()
	if p == nil {
		return
	}
	o.log.ErrorContext(ctx, "panic in a pattern's run", "panic", p, "stack", string(debug.Stack()))
	failed(fault.New(fault.Internal, "an internal error occurred; the request id leads to it in the log"))
}

// inTime names the step's own timeout as the reason of a failure that it has caused.
func (s *step) inTime(ctx, parent context.Context, err error) error {
	if err == nil || parent.Err() != nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return fault.Wrap(err, fault.Timeout, "step %s did not finish within its timeout of %v", s.as, s.timeout)
}

// callersView translates what is wrong with a step's arguments into what is wrong with the request: an
// argument that is an input, or a part of one, as it came is that input. All other fields mean nothing to
// the caller.
func (s *step) callersView(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || !slices.ContainsFunc(e.Fields, func(f fault.Field) bool { return strings.HasPrefix(f.Pointer, argsPointer) }) {
		return err
	}
	seen := *e
	seen.Fields = nil
	var pointers []string // as they were, and as they are told
	for _, f := range e.Fields {
		if pointer, ok := s.input(strings.TrimPrefix(f.Pointer, argsPointer)); ok {
			seen.Fields = append(seen.Fields, fault.Field{Pointer: pointer, Detail: f.Detail})
			pointers = append(pointers, f.Pointer+": ", pointer+": ")
		}
	}
	// In one walk over a text that may be as long as there are fields, and none of them in what another
	// one was turned into.
	seen.Detail = strings.NewReplacer(pointers...).Replace(seen.Detail)
	seen.Err = err
	return &seen
}

// argsPointer is what pointers to a step's arguments begin with.
const argsPointer = "/args/"

// input returns the pointer to the input that an argument, or a part of it, is.
func (s *step) input(at string) (string, bool) {
	var e expr = s.args
	for rest := at; ; {
		switch v := e.(type) {
		case *refExpr:
			if v.root != rootInputs || len(v.parts) == 0 {
				return "", false
			}
			pointer := "/inputs"
			for _, p := range v.parts {
				if p.field == "" {
					p.field = strconv.Itoa(p.index)
				}
				pointer += pattern.Pointer(p.field)
			}
			if rest != "" {
				pointer += "/" + rest
			}
			return pointer, true
		case objectExpr:
			var name string
			name, rest, _ = strings.Cut(rest, "/")
			i := slices.IndexFunc(v, func(f fieldExpr) bool { return pattern.Pointer(f.key) == "/"+name })
			if i < 0 {
				return "", false
			}
			e = v[i].value
		case listExpr:
			var place string
			place, rest, _ = strings.Cut(rest, "/")
			i, err := strconv.Atoi(place)
			if err != nil || i < 0 || i >= len(v) {
				return "", false
			}
			e = v[i]
		default:
			return "", false
		}
	}
}

func (r *run) started(st *stepState) {
	if r.emit != nil {
		r.emit(Event{Type: StepStarted, Step: new(st.trace)})
	}
}

// end puts down how a step went.
func (r *run) end(parent context.Context, span trace.Span, i int, start time.Time, res *result, err error) {
	o, s, st := r.orchestrator, &r.program.steps[i], &r.steps[i]
	d := o.now().Sub(start)
	st.trace.DurationSeconds = d.Seconds()
	if res != nil {
		st.within = res.within
		if r.emit != nil {
			st.trace.Steps = (&tally{}).within(st.within)
		}
	}
	if err != nil {
		err = s.callersView(err)
		st.trace.Status, st.trace.Error = StatusError, fault.Detail(err)
		if span != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, string(fault.CodeOf(err)))
		}
		res, st.fatal = r.passedOver(parent, s, &r.scope, err)
		if st.fatal == nil {
			st.warnings = append(st.warnings, fmt.Sprintf("step %s failed and was passed over: %s", s.as, fault.Detail(err)))
		}
	} else {
		st.trace.Status = StatusCached
		for _, call := range st.calls {
			if call.flight == nil || call.flight.called && !call.joined {
				st.trace.Status = StatusSuccess
			}
		}
		if len(st.calls) == 0 { // a for_each over nothing
			st.trace.Status = StatusSuccess
		}
	}
	if res != nil {
		st.sources = res.sources
		st.warnings = append(st.warnings, res.warnings...)
		r.scope.results[i] = res
	}
	observe(parent, r.program.metrics.steps[i], d)
	if span != nil {
		span.SetAttributes(statusAttribute(st.trace.Status))
		span.End()
	}
	if r.emit != nil {
		event := Event{Type: StepEnded, Step: new(st.trace)}
		if err != nil {
			event.Type = StepFailed
		}
		r.emit(event)
	}
}

// passedOver returns what stands in for the result of a step, or an item, that has failed, or the error
// for which the run fails. The end of the run's own time, or of its caller's patience, can't be passed
// over, and neither can a fallback that fails itself.
//
// With for_each the fallback is that of an item, which says nothing about a list that can't be made.
func (r *run) passedOver(parent context.Context, s *step, at *scope, err error) (*result, error) {
	_, twice := errors.AsType[*fallbackError](err)
	switch {
	case parent.Err() != nil || twice || s.mode == "" || s.mode == pattern.Fail:
		return nil, err
	case s.mode == pattern.Continue, s.forEach != nil && at == &r.scope:
		return nothing, nil
	}
	v, failed := s.fallback.eval(at)
	if failed != nil {
		return nil, &fallbackError{fault.Wrap(err, fault.PatternError, "the fallback of step %s can't be filled in: %v", s.as, failed)}
	}
	res, failed := newResult(agent.Result{Value: v})
	if failed != nil {
		return nil, &fallbackError{fault.Wrap(err, fault.PatternError, "the fallback of step %s can't be written as JSON: %v", s.as, failed)}
	}
	return res, nil
}

// fallbackError is the failure of what was to stand in for a failure.
type fallbackError struct{ error }

func (e *fallbackError) Unwrap() error { return e.error }

// args fills in a step's arguments.
func (r *run) args(s *step, at *scope) (map[string]any, error) {
	args, err := s.args.fields(at)
	if err != nil {
		return nil, s.unfilled(err)
	}
	return args, nil
}

// unfilled is the error of arguments that can't be filled in. The pattern does not fit what its
// capabilities return: its author's mistake, not the caller's, and told in words of the pattern.
func (s *step) unfilled(err error) error {
	return fault.New(fault.PatternError, "the arguments of step %s can't be filled in: %v", s.as, err)
}

// lookUp returns the key of a step's call, and the call itself when it need not be made any more.
func (r *run) lookUp(s *step, at *scope) (key, *flight, error) {
	if !s.cache {
		return key{}, nil, nil
	}
	k, err := r.key(s, at)
	if err != nil {
		return key{}, nil, err
	}
	return k, r.remembered(s, k), nil
}

// key names a call within everything that it may depend on.
func (r *run) key(s *step, at *scope) (key, error) {
	b := make([]byte, 0, 512)
	b = append(append(append(append(b, r.keyPrefix...), s.capability...), 0), s.declaration[:]...)
	if s.delegates {
		// A pattern that comes back to itself must not wait for the call that it is part of.
		b = strconv.AppendInt(b, int64(r.depth), 10)
		b = append(b, 0)
	}
	b, err := appendExpr(b, s.args, at)
	if err != nil {
		return key{}, s.unfilled(err)
	}
	return sha256.Sum256(b), nil
}

// remembered returns a call that need not be made, because the run has made it before or its result is
// in the cache; nil when it has to be.
func (r *run) remembered(s *step, k key) *flight {
	o := r.orchestrator
	if fl := r.request.memo.peek(k); fl != nil {
		o.metrics.memoHits.Inc()
		return fl
	}
	if !s.pure || o.cache == nil || r.request.recompute {
		return nil
	}
	res := o.cache.peek(k)
	if res == nil {
		return nil
	}
	o.metrics.memoMisses.Inc()
	fl := &flight{done: closed, result: res}
	r.request.memo.put(k, fl)
	return fl
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// once makes a call unless the run, or the cache, has its outcome or is about to.
func (r *run) once(ctx context.Context, s *step, k key, args map[string]any) (*result, made, error) {
	o := r.orchestrator
	fl, joined, err := r.request.memo.do(ctx, k, true, func() (*result, bool, error) {
		if s.pure && o.cache != nil && !r.request.recompute {
			return o.cache.get(ctx, k, func() (*result, error) { return r.call(ctx, s, args) })
		}
		res, err := r.call(ctx, s, args)
		return res, true, err
	})
	if joined {
		o.metrics.memoHits.Inc()
	} else {
		o.metrics.memoMisses.Inc()
	}
	res := nothing
	if fl != nil && fl.result != nil {
		res = fl.result
	}
	return res, made{fl, joined}, err
}

// ask makes a step's call, or shares in one.
func (r *run) ask(ctx context.Context, s *step, k key, args map[string]any) (*result, made, error) {
	if !s.cache {
		res, err := r.call(ctx, s, args)
		return res, made{}, err
	}
	return r.once(ctx, s, k, args)
}

// call asks the capability. Whoever calls has one of the run's slots.
func (r *run) call(ctx context.Context, s *step, args map[string]any) (res *result, err error) {
	// The call may be made for others as well: they must learn of its end.
	defer r.orchestrator.survive(ctx, func(broken error) { res, err = nothing, broken })
	if err := ctx.Err(); err != nil {
		return nothing, err
	}
	var within *nestedCall
	if s.capability == RunCapability {
		within = &nestedCall{run: r}
		ctx = context.WithValue(ctx, nestedKey{}, within)
	}
	answered, err := r.orchestrator.runner.Run(ctx, agent.Request{Capability: s.capability, Args: args, Context: r.context})
	if err != nil {
		if within != nil && within.ended != nil {
			return &result{within: within.ended}, err
		}
		return nothing, err
	}
	res, err = newResult(answered)
	if err != nil {
		return nothing, fault.Wrap(err, fault.Internal, "the result of %s can't be written as JSON", s.capability)
	}
	if within != nil {
		res.within = within.ended
	}
	return res, nil
}

// fanOut asks a step's capability once for each item of its list.
func (r *run) fanOut(ctx context.Context, s *step, st *stepState) (*result, error) {
	v, err := s.forEach.eval(&r.scope)
	if err != nil {
		return nothing, fault.New(fault.PatternError, "the list of step %s can't be filled in: %v", s.as, err)
	}
	if v == nil {
		v = []any{} // what was skipped, or left out, has no items
	}
	items, ok := v.([]any)
	switch {
	case !ok:
		return nothing, fault.New(fault.PatternError, "for_each of step %s needs an array, not %s", s.as, describe(v))
	case len(items) > pattern.MaxItems:
		return nothing, fault.New(fault.PatternError, "for_each of step %s has %d items, %d are allowed", s.as, len(items), pattern.MaxItems)
	}
	st.trace.Items = len(items)
	f := &fan{
		results: make([]*result, len(items)), calls: make([]made, len(items)), warnings: make([]string, len(items)),
		failed: len(items), cancels: make(map[int]context.CancelFunc),
	}
	most := min(len(items), r.orchestrator.parallelism)
	switch {
	case s.parallel > 0:
		most = min(most, s.parallel)
	case r.program.barriers[st.trace.Index]:
		most = min(most, 1) // the effect of an item must not happen when one before it fails
	}
	var workers sync.WaitGroup
	for range most {
		workers.Go(func() {
			for {
				i, itemCtx, ok := f.take(ctx)
				if !ok {
					return
				}
				err := r.item(itemCtx, s, f, i, items[i])
				f.ended(i, err)
			}
		})
	}
	workers.Wait()
	st.calls = f.calls[:min(f.failed+1, len(items))]
	if f.failed < len(items) {
		return nothing, f.err
	}
	return f.join(), nil
}

// item asks for one item.
func (r *run) item(ctx context.Context, s *step, f *fan, i int, item any) (err error) {
	defer r.orchestrator.survive(ctx, func(broken error) { err = broken })
	at := r.scope
	at.item, at.index = item, json.Number(strconv.Itoa(i))
	res, call, err := r.itemResult(ctx, s, &at)
	f.calls[i] = call
	if err != nil {
		failure := s.callersView(err)
		within := res.within
		if res, err = r.passedOver(ctx, s, &at, err); err != nil {
			return err
		}
		if within != nil {
			res = res.with(within)
		}
		f.warnings[i] = fmt.Sprintf("item %d of step %s failed and was passed over: %s", i, s.as, fault.Detail(failure))
	}
	f.results[i] = res
	return nil
}

func (r *run) itemResult(ctx context.Context, s *step, at *scope) (*result, made, error) {
	k, fl, err := r.lookUp(s, at)
	if fl != nil {
		return fl.result, made{fl, true}, nil
	}
	var args map[string]any
	if err == nil {
		args, err = r.args(s, at)
	}
	if err != nil {
		return nothing, made{}, err
	}
	free, err := r.slot(ctx, s)
	if err != nil {
		return nothing, made{}, err
	}
	defer free()
	return r.ask(ctx, s, k, args)
}

// fan is a for_each under way. Like the steps of a run, items come out as if they had been asked for one
// after the other: the first that fails, by its place, is the one that counts.
type fan struct {
	results  []*result
	calls    []made
	warnings []string

	mu      sync.Mutex
	next    int
	failed  int // place of the first item that has failed, else their number
	err     error
	cancels map[int]context.CancelFunc
}

// take returns the place of an item that is to be asked for next.
func (f *fan) take(ctx context.Context) (int, context.Context, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next >= f.failed {
		return 0, nil, false
	}
	i := f.next
	f.next++
	ctx, f.cancels[i] = context.WithCancel(ctx)
	return i, ctx, true
}

func (f *fan) ended(i int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancels[i]()
	delete(f.cancels, i)
	if err == nil || i >= f.failed {
		return
	}
	f.failed, f.err = i, fmt.Errorf("item %d: %w", i, err)
	for later, cancel := range f.cancels {
		if later > i {
			cancel()
		}
	}
}

// join makes one result of all.
func (f *fan) join() *result {
	size := 2
	for _, r := range f.results {
		size += len(r.raw) + 1
	}
	raw := append(make([]byte, 0, size), '[')
	var sources []agent.Source
	var warnings []string
	var within []*run
	for i, r := range f.results {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = append(raw, r.raw...)
		sources = append(sources, r.sources...)
		warnings = append(warnings, r.warnings...)
		if f.warnings[i] != "" {
			warnings = append(warnings, f.warnings[i])
		}
		within = append(within, r.within...)
	}
	res := rawResult(append(raw, ']'))
	res.sources, res.warnings, res.within = sources, warnings, within
	return res
}

// data puts the outputs together. Results are compact JSON already, so equal results give equal
// bytes.
func (r *run) data() (json.RawMessage, error) {
	values := make([]json.RawMessage, len(r.program.outputs))
	size := len("{}")
	for n, out := range r.program.outputs {
		raw, err := r.output(out)
		if err != nil {
			return nil, err
		}
		values[n] = raw
		size += len(`"":,`) + len(out.name) + len(raw)
	}
	data := append(make([]byte, 0, size), '{')
	for n, out := range r.program.outputs {
		if n > 0 {
			data = append(data, ',')
		}
		data = strconv.AppendQuote(data, out.name) // of ASCII letters, digits and _
		data = append(data, ':')
		data = append(data, values[n]...)
	}
	return append(data, '}'), nil
}

// output returns the JSON of one output, checked.
func (r *run) output(out output) (json.RawMessage, error) {
	var res *result
	if out.step >= 0 {
		res = r.scope.results[out.step]
	} else {
		v, err := out.value.eval(&r.scope)
		if err != nil {
			return nil, fault.New(fault.PatternError, "the output %s can't be filled in: %v", out.name, err)
		}
		if res, err = newResult(agent.Result{Value: v}); err != nil {
			return nil, fault.Wrap(err, fault.PatternError, "the output %s can't be written as JSON", out.name)
		}
	}
	if out.schema == nil {
		return res.raw, nil
	}
	v, err := res.value()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the output %s can't be read", out.name)
	}
	if wrong := schema.Violations(out.schema, "", v); len(wrong) > 0 {
		return nil, fault.New(fault.PatternError, "the output %s does not fit its schema: %s%s %s",
			out.name, out.name, wrong[0].Pointer, wrong[0].Detail)
	}
	return res.raw, nil
}

// charts draws what can be drawn. A chart about something that was skipped is left out; one that does
// not come out as a specification is left out with a warning, since the data are good without it.
func (r *run) charts() ([]json.RawMessage, []string) {
	charts := []json.RawMessage{}
	var warnings []string
	for i, c := range r.program.charts {
		if slices.ContainsFunc(c.needs, func(step int) bool { return r.scope.results[step].absent }) {
			continue
		}
		v, err := c.value.eval(&r.scope)
		if err == nil {
			charts, err = appendCharts(charts, v)
		}
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("chart %d is left out: %v", i, err))
		}
	}
	return charts, warnings
}

// appendCharts adds a specification, or an array of them. Null is none.
func appendCharts(charts []json.RawMessage, v any) ([]json.RawMessage, error) {
	switch v := v.(type) {
	case nil:
		return charts, nil
	case []any:
		for _, item := range v {
			if _, ok := item.(map[string]any); !ok {
				return charts, fmt.Errorf("a specification is an object, not %s", describe(item))
			}
		}
		var err error
		for _, item := range v {
			if charts, err = appendCharts(charts, item); err != nil {
				return charts, err
			}
		}
		return charts, nil
	case map[string]any:
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(v); err != nil {
			return charts, err
		}
		return append(charts, bytes.TrimSpace(b.Bytes())), nil
	}
	return charts, fmt.Errorf("a specification is an object, not %s", describe(v))
}

// trace returns the trace of the steps up to the last one that counts.
func (r *run) trace(start time.Time) Trace {
	b := newTraceBuilder(r.program.definition.ID, r.last+1, r.context)
	for i, st := range (&tally{}).steps(r) {
		b.step(st, r.steps[i].sources)
	}
	if r.depth == 1 { // the traces of runs within are parts of it
		b.trace.LedgerVersions = r.otherLedgers()
	}
	return b.finish(r.orchestrator.now().Sub(start))
}

// tally says which steps have made their calls and which have found them made, of a run and the runs
// within it. Of those that make the same call at the same time the first, by its place, is the one that
// has made it, whichever it was.
type tally struct {
	asked map[*flight]bool
	told  map[*run][]StepTrace
}

func (t *tally) steps(r *run) []StepTrace {
	if steps, ok := t.told[r]; ok { // two steps share it
		return steps
	}
	if t.asked == nil {
		t.asked, t.told = make(map[*flight]bool), make(map[*run][]StepTrace)
	}
	steps := make([]StepTrace, r.last+1)
	for i := range steps {
		st := &r.steps[i]
		steps[i] = st.trace
		asked := len(st.calls) == 0 // a for_each over nothing
		for _, call := range st.calls {
			asked = asked || call.flight == nil || call.flight.called && !t.asked[call.flight]
			t.asked[call.flight] = true
		}
		switch {
		case st.trace.Status != StatusSuccess && st.trace.Status != StatusCached:
		case asked:
			steps[i].Status = StatusSuccess
		default:
			steps[i].Status = StatusCached
		}
		steps[i].Steps = t.within(st.within)
	}
	t.told[r] = steps
	return steps
}

// within returns the steps of the patterns that a step has run.
func (t *tally) within(runs []*run) []StepTrace {
	var steps []StepTrace
	for _, inner := range runs {
		steps = append(steps, t.steps(inner)...)
	}
	return steps
}

// sources returns what the steps of a run that has ended have read.
func (r *run) sources() []agent.Source {
	var all []agent.Source
	for i := range r.steps {
		all = append(all, r.steps[i].sources...)
	}
	return all
}
