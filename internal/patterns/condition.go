package patterns

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"

	exprlang "github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// maxConditionNodes bounds how much a condition may hold. Together with the rule that a predicate
// sees nothing but its element and scalars, it keeps the work linear in the size of what a condition
// looks at: at most so many walks over it.
const maxConditionNodes = 200

// maxRegexpSize bounds the instructions of a regular expression, each of which may be looked at for
// every character of a text. Repetitions make many out of a few letters.
const maxRegexpSize = 1000

// maxShortText is how long an input may be, at most, to count as cheap for every element of a list.
const maxShortText = 200

// conditionBuiltins are the functions of conditions. None of them knows a clock, makes large values
// of small ones, or reaches out of the expression.
var conditionBuiltins = []string{
	"abs", "all", "any", "ceil", "count", "filter", "first", "float", "floor", "int", "last", "len",
	"lower", "max", "min", "none", "one", "round", "sum", "trim", "upper",
}

// condition is a compiled condition of a step.
type condition struct {
	text    string
	program *vm.Program
	roots   []string // the names it uses: inputs, ctx, state or results
	inputs  map[string]pattern.Input
	// constant is the outcome of a condition that depends on nothing; nil for every other one.
	constant *bool
}

// conditionError is what is wrong with a condition.
type conditionError struct {
	msg        string
	suggestion string
}

func (e *conditionError) Error() string { return e.msg }

// conditionEnv says which names a condition may use, and what is known of their types.
type conditionEnv struct {
	inputs  map[string]pattern.Input
	results map[string]types.Type // by name; those that are there when the condition is evaluated
	// hint finds the known name that a wrong one was probably meant to be.
	hint func(name string, known func() []string) string
}

// ctxTypes are those of agent.Context.Values. A text that may be null has no type, since comparing
// typed text with null is an error at run time and not a false.
var ctxTypes = func() types.Map {
	m := make(types.Map)
	for name := range (agent.Context{}).Values() {
		m[name] = types.Any
	}
	return m
}()

// types returns the types of the roots that a condition uses; of all the others it need not know.
func (e conditionEnv) types(roots map[string]struct{}) types.Map {
	state := make(types.Map)
	env := types.Map{pattern.RootState: state}
	for root := range roots {
		switch root {
		case pattern.RootInputs:
			inputs := make(types.Map, len(e.inputs))
			for name, in := range e.inputs {
				inputs[name] = inputType(in)
			}
			env[root] = inputs
		case pattern.RootCtx:
			env[root] = ctxTypes
		default:
			state[root], env[root] = e.results[root], e.results[root]
		}
	}
	return env
}

// inputType is an input's type in conditions. An input that may be null has none.
func inputType(in pattern.Input) types.Type {
	if !in.Required && in.Default == nil {
		return types.Any
	}
	switch in.Type {
	case pattern.Integer:
		return types.Int
	case pattern.Number:
		return types.Float64
	case pattern.Boolean:
		return types.Bool
	case pattern.String, pattern.UUID, pattern.Date, pattern.Enum:
		return types.String
	}
	return types.Any
}

// scalarInput reports whether an input holds one value, so that comparing it costs next to nothing.
func scalarInput(in pattern.Input) bool { return in.Type != pattern.Array && in.Type != pattern.Object }

// longText reports whether an input may hold a text that takes its time to read. Comparing it with
// another costs no more than that one's length.
func longText(in pattern.Input) bool {
	return in.Type == pattern.String && (in.MaxLength == nil || *in.MaxLength > maxShortText)
}

// compileCondition parses a condition, checks what it uses and compiles it. The error is a
// *conditionError.
func compileCondition(text string, env conditionEnv) (*condition, error) {
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, fromExpr(err)
	}
	s := survey{env: env, roots: make(map[string]struct{})}
	if err := s.look(tree.Node, nil, false); err != nil {
		return nil, err
	}
	options := []exprlang.Option{
		exprlang.Env(env.types(s.roots)), exprlang.AsBool(), exprlang.MaxNodes(maxConditionNodes),
		exprlang.DisableAllBuiltins(), exprlang.Patch(lenient{}),
	}
	for _, name := range conditionBuiltins {
		options = append(options, exprlang.EnableBuiltin(name))
	}
	program, err := exprlang.Compile(text, options...)
	if err != nil {
		return nil, fromExpr(err)
	}
	c := &condition{text: text, program: program, roots: slices.Sorted(maps.Keys(s.roots)), inputs: env.inputs}
	if len(c.roots) == 0 {
		outcome, err := c.holds(&scope{}, nil)
		if err != nil {
			return nil, &conditionError{msg: err.Error()}
		}
		c.constant = &outcome
	}
	return c, nil
}

// fromExpr puts an error of the library into one line. Its messages repeat parts of the condition as
// they stand, or were escaped, there.
func fromExpr(err error) error {
	msg := err.Error()
	if e, ok := errors.AsType[*file.Error](err); ok {
		msg = fmt.Sprintf("character %d: %s", e.Column+1, e.Message)
	}
	return &conditionError{msg: strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, msg)}
}

// survey walks a condition's syntax tree before it is compiled: it finds the names that are used, and
// refuses what would make its cost depend on more than the size of what it looks at.
type survey struct {
	env   conditionEnv
	roots map[string]struct{}
	nodes int
	reads bool // what is looked at is read from end to end, and not only compared
}

func (s *survey) fail(n ast.Node, format string, args ...any) error {
	return &conditionError{msg: fmt.Sprintf("character %d: %s", n.Location().From+1, fmt.Sprintf(format, args...))}
}

// look checks a node. member is the property that is taken of it, nil when there is none; within
// tells that it stands in a predicate.
func (s *survey) look(n ast.Node, member ast.Node, within bool) error {
	if s.nodes++; s.nodes > maxConditionNodes {
		return s.fail(n, "the condition is too long: it has more than %d parts", maxConditionNodes)
	}
	all := func(nodes ...ast.Node) error {
		for _, child := range nodes {
			if child == nil {
				continue
			}
			if err := s.look(child, nil, within); err != nil {
				return err
			}
		}
		return nil
	}
	switch n := n.(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.ConstantNode:
		return nil
	case *ast.PointerNode:
		if n.Name != "" {
			return s.fail(n, "#%s is not known here", n.Name)
		}
		return nil
	case *ast.IdentifierNode:
		return s.name(n, member, within)
	case *ast.MemberNode:
		if err := s.look(n.Node, n.Property, within); err != nil {
			return err
		}
		return all(n.Property)
	case *ast.ChainNode:
		return s.look(n.Node, member, within)
	case *ast.UnaryNode:
		return all(n.Node)
	case *ast.BinaryNode:
		return s.binary(n, within)
	case *ast.ConditionalNode:
		return all(n.Cond, n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		return all(n.Nodes...)
	case *ast.BuiltinNode:
		return s.builtin(n, within)
	case *ast.CallNode:
		return s.fail(n, "there is no function %s; there are %s", n.Callee, strings.Join(conditionBuiltins, ", "))
	}
	return s.fail(n, "this is not known in conditions")
}

// binary checks an operator and its operands.
func (s *survey) binary(n *ast.BinaryNode, within bool) error {
	if n.Operator == ".." {
		return s.fail(n, "ranges are not known here")
	}
	before := s.reads
	defer func() { s.reads = before }()
	switch n.Operator {
	case "==", "!=", "<", "<=", ">", ">=", "in", "startsWith", "endsWith":
		s.reads = false
	case "contains", "matches", "+":
		s.reads = true
	}
	if err := s.look(n.Left, nil, within); err != nil {
		return err
	}
	switch n.Operator {
	case "contains":
		s.reads = false // what is looked for is no longer read than what it is looked for in
	case "matches":
		text, ok := n.Right.(*ast.StringNode)
		if !ok {
			return s.fail(n.Right, "a regular expression is written out, as a string; data don't make one")
		}
		if size := regexpSize(text.Value); size > maxRegexpSize {
			return s.fail(n.Right, "the regular expression is too big: it comes to %d instructions, %d are allowed", size, maxRegexpSize)
		}
	}
	return s.look(n.Right, nil, within)
}

// regexpSize returns how many instructions a regular expression comes to, 0 for one that is wrong: the
// compiler says so in better words.
func regexpSize(text string) int {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}

func (s *survey) builtin(n *ast.BuiltinNode, within bool) error {
	if !slices.Contains(conditionBuiltins, n.Name) {
		return &conditionError{
			msg: fmt.Sprintf("character %d: there is no function %q; there are %s",
				n.Location().From+1, n.Name, strings.Join(conditionBuiltins, ", ")),
			suggestion: s.env.hint(n.Name, func() []string { return conditionBuiltins }),
		}
	}
	before := s.reads
	defer func() { s.reads = before }()
	for _, argument := range n.Arguments {
		s.reads = true
		predicate, ok := argument.(*ast.PredicateNode)
		if !ok {
			if err := s.look(argument, nil, within); err != nil {
				return err
			}
			continue
		}
		if within {
			return s.fail(n, "a predicate can't hold another one")
		}
		s.reads = false
		if err := s.look(predicate.Node, nil, true); err != nil {
			return err
		}
	}
	return nil
}

// name checks a name that stands by itself, which is a root.
func (s *survey) name(n *ast.IdentifierNode, member ast.Node, within bool) error {
	root := n.Value
	if root == "null" {
		return nil
	}
	field, named := member.(*ast.StringNode)
	switch root {
	case pattern.RootInputs:
		if within && (!named || !scalarInput(s.env.inputs[field.Value])) {
			return s.fail(n, "a predicate sees its element, ctx and inputs that are no array or object, one at a time")
		}
		if within && s.reads && longText(s.env.inputs[field.Value]) {
			return s.fail(n, "a predicate only compares the input %q, since it may be long; give it a max_length of at most %d to do more", field.Value, maxShortText)
		}
		if named {
			if _, ok := s.env.inputs[field.Value]; !ok {
				return s.unknown(n, fmt.Sprintf("the pattern declares no input %q", field.Value), field.Value, func() []string { return slices.Sorted(maps.Keys(s.env.inputs)) })
			}
		}
	case pattern.RootCtx:
		if named && ctxTypes[field.Value] == nil {
			return s.unknown(n, fmt.Sprintf("ctx has no %q", field.Value), field.Value, func() []string { return slices.Sorted(maps.Keys(ctxTypes)) })
		}
	default:
		if root == pattern.RootState {
			if !named {
				return s.fail(n, "a name is expected behind %q", root)
			}
			root = field.Value
		}
		if within {
			return s.fail(n, "a predicate sees its element, ctx and inputs that are no array or object, not the result %q", root)
		}
		if _, ok := s.env.results[root]; !ok {
			return s.unknown(n, fmt.Sprintf("there is no earlier result %q", root), root, func() []string {
				return append([]string{pattern.RootInputs, pattern.RootCtx, pattern.RootState}, slices.Sorted(maps.Keys(s.env.results))...)
			})
		}
	}
	s.roots[root] = struct{}{}
	return nil
}

func (s *survey) unknown(n ast.Node, msg, name string, known func() []string) error {
	return &conditionError{
		msg:        fmt.Sprintf("character %d: %s", n.Location().From+1, msg),
		suggestion: s.env.hint(name, known),
	}
}

// lenient makes conditions treat null as templates do: a part of null is null, as every access becomes
// optional. It also knows null by the name that JSON has for it.
type lenient struct{}

func (lenient) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if n.Value == "null" {
			ast.Patch(node, &ast.NilNode{})
		}
	case *ast.MemberNode:
		if !n.Optional {
			n.Optional = true
			ast.Patch(node, &ast.ChainNode{Node: n})
		}
	}
}

// holds evaluates the condition. results are the steps by name. An error is the text of what does not
// fit: numbers compared with null, an index behind the end.
func (c *condition) holds(s *scope, results map[string]int) (bool, error) {
	if c.constant != nil {
		return *c.constant, nil
	}
	env := make(map[string]any, len(c.roots)+1)
	state := make(map[string]any, len(c.roots))
	env[pattern.RootState] = state
	for _, root := range c.roots {
		switch root {
		case pattern.RootInputs:
			env[root] = c.inputOperands(s.inputs)
		case pattern.RootCtx:
			env[root] = s.ctx
		default:
			v, err := s.results[results[root]].operands()
			if err != nil {
				return false, err
			}
			env[root], state[root] = v, v
		}
	}
	v, err := vm.Run(c.program, env)
	if err != nil {
		return false, fromExpr(err)
	}
	b, ok := v.(bool)
	if !ok {
		return false, errors.New("true or false is expected")
	}
	return b, nil
}

// inputOperands returns the inputs in the types that the condition was compiled for.
func (c *condition) inputOperands(values map[string]any) map[string]any {
	operands := make(map[string]any, len(values))
	for name, v := range values {
		if n, ok := v.(json.Number); ok && c.inputs[name].Type == pattern.Number {
			operands[name], _ = n.Float64() // within range, or it would not be an input
			continue
		}
		operands[name] = operand(v)
	}
	return operands
}
