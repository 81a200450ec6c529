// Package patterns loads patterns and runs them: it checks a caller's inputs, asks the capabilities
// that the steps name, one after the other, and answers with the outputs and a trace of how they
// came about.
//
// # Templates
//
// Strings in a step's arguments, however deep, may hold templates:
//
//	{{inputs.lookback_days}}        an input, its default, or null
//	{{ctx.pricing_pack_id}}         the run's circumstances, see agent.Context
//	{{positions.lots[0].symbol}}    an earlier step's result, by the name it has under "as"
//	{{state.positions.lots}}        the same, with the root "state"
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
// Templates are parsed when a pattern is loaded. A root that does not exist, an input that is not
// declared, a result of a later step keep the pattern from loading.
package patterns
