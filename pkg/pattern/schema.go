package pattern

import _ "embed"

// Schema is the JSON Schema (2020-12) of pattern files, for editors and other tools. Parse accepts
// nothing that it refuses. It can't say everything that Parse checks: references between parts of
// a file, defaults within arrays and objects, the range of numbers and durations, the limits on a
// file as a whole.
//
//go:embed schema.json
var Schema []byte
