package patterns

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
)

// key names a call and everything that its answer may depend on. A pure capability says that besides its
// arguments this is tenant, as-of date, pricing pack and portfolio with its ledger's version; and it is
// another function once its agent declares it in other words, as a remote one may at any time.
type key [sha256.Size]byte

// Arguments go into keys in a form in which equal values are equal and others are not: scalars with
// their type and length, arrays and objects as the hash of the same form of their members. So a part of
// a result that is handed on as an argument is hashed once, and every later key that holds it, in this
// run or, when the result is cached, in another one, costs a copy of the hash.

// appendScalar writes null, a boolean, a string or a number.
func appendScalar(b []byte, v any) ([]byte, bool) {
	text := func(tag byte, s string) []byte {
		b = append(b, tag)
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, ':')
		return append(b, s...)
	}
	switch v := v.(type) {
	case nil:
		return append(b, 'n'), true
	case bool:
		if v {
			return append(b, 't'), true
		}
		return append(b, 'f'), true
	case string:
		return text('s', v), true
	case json.Number:
		return text('#', string(v)), true
	}
	return b, false
}

// appendValue writes a JSON value.
func appendValue(b []byte, v any) []byte {
	if b, ok := appendScalar(b, v); ok {
		return b
	}
	var members []byte
	switch v := v.(type) {
	case []any:
		members = append(make([]byte, 0, 64+16*len(v)), '[')
		for _, item := range v {
			members = appendValue(members, item)
		}
	case map[string]any:
		members = append(make([]byte, 0, 64+32*len(v)), '{')
		for _, name := range slices.Sorted(maps.Keys(v)) {
			members, _ = appendScalar(members, name)
			members = appendValue(members, v[name])
		}
	}
	return appendHash(b, members)
}

func appendHash(b, members []byte) []byte {
	sum := sha256.Sum256(members)
	return append(append(b, 'h'), sum[:]...)
}

// appendExpr writes what an expression evaluates to. The error is eval's.
func appendExpr(b []byte, e expr, s *scope) ([]byte, error) {
	switch e := e.(type) {
	case constExpr:
		return appendValue(b, e.value), nil
	case *refExpr:
		if e.root >= 0 {
			return s.results[e.root].appendPart(b, e, s)
		}
	case listExpr:
		members := []byte{'['}
		for _, item := range e {
			var err error
			if members, err = appendExpr(members, item, s); err != nil {
				return nil, err
			}
		}
		return appendHash(b, members), nil
	case objectExpr:
		members := []byte{'{'}
		for _, field := range e { // sorted by key
			members, _ = appendScalar(members, field.key)
			var err error
			if members, err = appendExpr(members, field.value, s); err != nil {
				return nil, err
			}
		}
		return appendHash(b, members), nil
	}
	v, err := e.eval(s)
	if err != nil {
		return nil, err
	}
	return appendValue(b, v), nil
}

// parts are the written forms of parts of a result, by the template that leads to them.
type parts struct {
	mu sync.Mutex
	m  map[string][]byte
}

// appendPart writes the part of a result that a reference leads to.
func (r *result) appendPart(b []byte, e *refExpr, s *scope) ([]byte, error) {
	r.keys.mu.Lock()
	written, ok := r.keys.m[e.below]
	r.keys.mu.Unlock()
	if ok {
		return append(b, written...), nil
	}
	v, err := e.eval(s)
	if err != nil {
		return nil, err
	}
	written = appendValue(nil, v)
	r.keys.mu.Lock()
	defer r.keys.mu.Unlock()
	if r.keys.m == nil {
		r.keys.m = make(map[string][]byte)
	}
	// A result in the cache may meet any number of patterns; their templates are not for ever.
	const most, longest = 16, 64
	if len(r.keys.m) < most && len(written) <= longest {
		r.keys.m[e.below] = written
	}
	return append(b, written...), nil
}
