// Package patterns loads patterns and runs them. A pattern is a JSON file, see package pattern: inputs,
// steps that ask capabilities of agents, outputs and charts. Its answer holds the outputs, a trace of how
// they came about, and a hash of the data.
//
//	file ──pattern.Parse──▶ definition ──library.compile──▶ plan ──Orchestrator.prepare──▶ program ──run──▶ Answer
//
// A plan has been checked against what the agents declare: names, references, arguments, conditions. What
// the declarations leave open is open; what passes runs without an internal error. A problem names file,
// line, step and, where it can, what was meant. An error keeps a pattern from being served, a warning does
// not. Checking costs time and memory in proportion to the file, however wrong it is.
//
// # Templates
//
// Strings in arguments, lists, fallbacks, outputs and charts, however deep, may hold templates:
//
//	{{inputs.lookback_days}}        an input, its default, or null
//	{{ctx.pricing_pack_id}}         the run's circumstances, see agent.Context
//	{{positions.lots[0].symbol}}    an earlier step's result, by the name it has under "as"
//	{{state.positions.lots}}        the same, with the root "state"
//	{{item.symbol}} {{index}}       within a for_each: the item, and its place from 0
//	{{"{{"}}                        a JSON string, here to write two braces
//
// A string that is one template and nothing else becomes the value itself, of whatever type, null
// included. Within other text strings are inserted as they are, numbers and booleans as in JSON,
// null as nothing; objects and arrays have no place in text and are an error.
//
// Looking into null gives null, so that an optional part may be missing as a whole. Looking for a
// field that an object does not have, or behind the end of an array, is an error: more likely than
// not the name is misspelt.
//
// # Conditions
//
// Conditions are expressions of expr-lang with a small set of functions; see conditionBuiltins. They see
// inputs, ctx and earlier results, treat null as templates do, know no clock and reach nothing else. What
// one costs is linear in what it looks at: its length is bounded, predicates don't nest and see only
// their element and short inputs, regular expressions are written out and bounded.
//
// # The order of steps
//
// A step begins once the steps that it looks at have ended; all others run beside it, as many calls at a
// time as Options.Parallelism allows. What comes out is what running them one after the other would give:
// data, warnings, trace and error, times apart. For this
//
//   - a step that changes something begins only when all before it have ended well, and its items come one
//     at a time, unless it says "parallel";
//   - a step that reads what may change waits for the last such step before it; a pure one need not;
//   - when a step fails for good, those behind it are stopped and forgotten, and those before it go on,
//     since the first failure by place is the one that counts;
//   - of steps that make the same call, the first by place has made it and the others show as cached.
//
// Only timeouts can tell: they go by the clock. That of a step begins when it has one of the run's slots;
// with for_each it is for the whole list, and counts its waits.
//
// A step that fails may be passed over (on_error): by null, or by a fallback, which with for_each stands
// for an item. A fallback that fails, and the end of the request's own time, can't be passed over. A panic
// becomes an internal error of its run.
//
// # One call for equal ones
//
// Within a request, patterns within patterns included, a call with the same capability, arguments and
// circumstances is made once, also when several ask at the same time (flights). Who makes it may leave; one
// of those who wait makes it anew. "cache": false opts out.
//
// Results of pure capabilities serve later requests (cache). Nothing is ever invalidated, since the key
// names everything: tenant, as-of date, pricing pack, portfolio and ledger version, capability, arguments,
// and what the agent declares about it. The size is bounded by what results take in memory, looked into.
//
// Nobody waits in a circle. Calls that wait for a slot hold none, calls that others wait for have theirs,
// and a step that runs a pattern takes none. It waits only for what is deeper than itself, since the depth
// is part of its key.
//
// # Patterns within patterns
//
// The capability pattern.run, see Nesting, runs a pattern in the same request: same data, same slots and
// memory, its steps in the trace of the step, its warnings and sources handed on. Which patterns run which
// is checked when they are loaded, as far as the names are written out; at run time MaxDepth ends what is
// left. To the order of steps it is what its own steps are: one with effects when any of them may have some.
//
// # Reloads
//
// Reload reads the directory anew and replaces everything at once, or nothing: a file that is changed and
// wrong, or a change that takes away a pattern which others run, leaves all as it was. At the start a bad
// file never stops the others. What panics while it is checked is wrong, too: nothing ends the process. A run
// ends with the patterns that it began with. Degraded says for readiness checks what is not served as it
// stands in the directory.
package patterns
