package patterns

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// RunCapability is the capability that runs a pattern within a pattern.
const RunCapability = "pattern.run"

// MaxDepth is how deep patterns may run patterns; the one that a caller asks for is at depth 1.
const MaxDepth = 5

// Nesting is the agent "patterns": it runs a pattern as a step of another one, in the same
// circumstances, as part of the same request. Its result is the pattern's data; sources and warnings
// are handed on, and the trace of the step holds the steps within.
type Nesting struct {
	orchestrator atomic.Pointer[Orchestrator]
}

var _ agent.Agent = (*Nesting)(nil)

// NewNesting returns the agent. It can run patterns once New has been given it.
func NewNesting() *Nesting { return &Nesting{} }

// Name implements agent.Agent.
func (*Nesting) Name() string { return "patterns" }

// Capabilities implements agent.Agent.
func (n *Nesting) Capabilities() []agent.Capability {
	return []agent.Capability{{
		Name:        RunCapability,
		Description: "Runs a pattern in the same circumstances and returns its outputs by name.",
		Args: json.RawMessage(`{
			"type": "object",
			"required": ["pattern"],
			"additionalProperties": false,
			"properties": {
				"pattern": {"type": "string", "minLength": 1, "maxLength": 64, "description": "The id of the pattern."},
				"inputs": {"type": "object", "description": "Its inputs by name."}
			}
		}`),
		Result: json.RawMessage(`{"type": "object"}`),
		Purity: agent.Effectful, // since any of its steps may be; a step that names a pattern without effects has none
		// Its steps have times of their own, and agents whose breakers count their failures.
		Timeout:   pattern.MaxTimeout,
		Delegates: true,
		Run:       n.run,
	}}
}

// nestedCall is how a run that is under way reaches the patterns within it.
type nestedCall struct {
	run   *run
	ended []*run // the run of the pattern within, once it has ended
}

type nestedKey struct{}

func (n *Nesting) run(ctx context.Context, req agent.Request) (agent.Result, error) {
	call, ok := ctx.Value(nestedKey{}).(*nestedCall)
	if !ok {
		return agent.Result{}, fault.New(fault.Internal, "%s can be asked only as a step of a pattern", RunCapability)
	}
	var args struct {
		Pattern string         `json:"pattern"`
		Inputs  map[string]any `json:"inputs"`
	}
	if err := agent.DecodeArgs(req, &args); err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Invalid, "%s can't read its arguments", RunCapability)
	}
	return call.run.nested(ctx, call, args.Pattern, args.Inputs)
}

// nested runs a pattern as a part of r.
func (r *run) nested(ctx context.Context, call *nestedCall, id string, given map[string]any) (agent.Result, error) {
	if r.depth >= MaxDepth {
		return agent.Result{}, fault.New(fault.PatternError, "patterns run each other deeper than %d: %s is not run", MaxDepth, id)
	}
	p, ok := r.generation.programs[id]
	if !ok {
		_, err := r.generation.plan(id)
		return agent.Result{}, fault.Wrap(err, fault.PatternError, "%s", fault.Detail(err))
	}
	inputs, err := checkInputs(p.definition.Inputs, given)
	if err != nil {
		return agent.Result{}, asArguments(fault.Wrap(err, fault.Invalid, "pattern %s is run with wrong inputs: %s", id, fault.Detail(err)), err)
	}
	circumstances, err := r.contextOf(ctx, p, inputs)
	if err != nil {
		return agent.Result{}, err
	}
	within := newRun(r.orchestrator, r.generation, p, circumstances, inputs)
	within.request, within.depth = r.request, r.depth+1
	start := r.orchestrator.now()
	answer, err := within.execute(ctx, start)
	call.ended = []*run{within}
	if err != nil {
		p.metrics.failed.Inc()
		if run, ok := errors.AsType[*RunError](err); ok {
			err = run.Err // the outer run's error carries the trace
		}
		if e, ok := errors.AsType[*fault.Error](err); ok && len(e.Fields) > 0 {
			whole := *e
			whole.Err = err
			err = asArguments(&whole, e)
		}
		return agent.Result{}, err
	}
	p.metrics.succeeded.Inc()
	return agent.Result{Value: answer.Data, Sources: within.sources(), Warnings: answer.Warnings}, nil
}

// asArguments gives an error the fields of another one, which are about the inputs of a pattern within, as
// what they are to the step that runs it: parts of its argument "inputs". Whether these come from the
// caller is the step's to say.
func asArguments(err *fault.Error, inner error) *fault.Error {
	if e, ok := errors.AsType[*fault.Error](inner); ok {
		err.Fields = make([]fault.Field, len(e.Fields))
		for i, f := range e.Fields {
			err.Fields[i] = fault.Field{Pointer: "/args" + f.Pointer, Detail: f.Detail}
		}
	}
	return err
}

// contextOf returns the circumstances of a pattern within r: the same data, and its own portfolio when
// it is about another one.
func (r *run) contextOf(ctx context.Context, p *program, inputs map[string]any) (agent.Context, error) {
	c := r.context
	if !p.aboutPortfolio {
		return c, nil
	}
	id, _ := inputs[portfolioInput].(string)
	if id == "" || c.Portfolio != nil && strings.EqualFold(id, c.Portfolio.ID) {
		return c, nil
	}
	var err error
	c.Portfolio, err = r.request.portfolios.at(ctx, id, func(version string) (*agent.Portfolio, error) {
		own, err := r.orchestrator.contexts.Resolve(ctx, ContextQuery{
			TenantID: c.TenantID, RequestID: c.RequestID, PortfolioID: id, Asof: &c.Asof, PackID: c.PricingPack.ID, LedgerVersion: version,
		})
		return own.Portfolio, err
	})
	if err != nil {
		return agent.Context{}, err
	}
	return c, nil
}

// portfolios are those that a request has looked at, each at the version of its ledger at which it was first
// seen: what is booked while a run goes on is not for it, whichever of its patterns asks.
type portfolios struct {
	pinned map[string]string // versions by portfolio; those of all others are the newest

	mu   sync.Mutex
	seen map[string]*sight // by id in lower case
}

// sight is a portfolio that is looked up, or has been.
type sight struct {
	turn      chan struct{}    // holds a token while somebody looks it up
	portfolio *agent.Portfolio // nil until then; belongs to who has the turn
}

func (p *portfolios) of(id string) *sight {
	id = strings.ToLower(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.seen[id]
	if s == nil {
		s = &sight{turn: make(chan struct{}, 1)}
		if p.seen == nil {
			p.seen = make(map[string]*sight)
		}
		p.seen[id] = s
	}
	return s
}

// know puts down the portfolio that the request is about, nil for none. Nobody else looks at it yet.
func (p *portfolios) know(own *agent.Portfolio) {
	if own != nil {
		p.of(own.ID).portfolio = own
	}
}

// at returns a portfolio as it was first seen. It is looked up at a version, "" for the newest, by one at a time:
// a failure is that of who asked, whose time may have been up, and the next one tries again.
func (p *portfolios) at(ctx context.Context, id string, lookUp func(version string) (*agent.Portfolio, error)) (*agent.Portfolio, error) {
	s := p.of(id)
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.turn }()
	if s.portfolio == nil {
		found, err := lookUp(p.pinned[strings.ToLower(id)])
		if err != nil {
			return nil, err
		}
		s.portfolio = found
	}
	return s.portfolio, nil
}

// otherLedgers returns the versions of other portfolios' ledgers that patterns within a run have seen, nil for
// none. What steps behind the last one that counts have seen is not among them.
func (r *run) otherLedgers() map[string]string {
	var versions map[string]string
	walked := make(map[*run]bool) // steps may share a run
	var walk func(within *run)
	walk = func(within *run) {
		if walked[within] {
			return
		}
		walked[within] = true
		for i := range within.steps[:within.last+1] {
			for _, inner := range within.steps[i].within {
				p := inner.context.Portfolio
				if p != nil && (r.context.Portfolio == nil || p.ID != r.context.Portfolio.ID) {
					if versions == nil {
						versions = make(map[string]string)
					}
					versions[p.ID] = p.LedgerVersion
				}
				walk(inner)
			}
		}
	}
	walk(r)
	return versions
}

// nestedOf returns the pattern that a step runs, when its arguments say which.
func nestedOf(index int, args objectExpr) []nestedRun {
	n := nestedRun{step: index, known: true}
	for _, field := range args {
		switch field.key {
		case "pattern":
			constant, ok := field.value.(constExpr)
			if !ok {
				return nil
			}
			n.pattern, _ = constant.value.(string)
		case "inputs":
			switch v := field.value.(type) {
			case objectExpr:
				for _, input := range v {
					n.inputs = append(n.inputs, input.key)
				}
			case constExpr:
				if object, ok := v.value.(map[string]any); ok {
					for input := range object {
						n.inputs = append(n.inputs, input)
					}
					slices.Sort(n.inputs)
				}
			default:
				n.known = false
			}
		}
	}
	if n.pattern == "" {
		return nil
	}
	return []nestedRun{n}
}
