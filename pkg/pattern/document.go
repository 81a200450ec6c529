package pattern

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// node is one JSON value with its place. encoding/json alone tells neither places nor repeated
// keys. Its pointer is put together when it is asked for: within a long key, those of all nodes
// would be the square of the file.
type node struct {
	value      any // json.Number, string, bool or nil; nil for objects and arrays
	kind       kind
	members    []member       // of an object, in the file's order
	byKey      map[string]int // the last member of each key
	items      []*node        // of an array
	start, end int            // byte offsets in the file
	at         Position       // of start

	parent *node  // nil for the file's one value
	key    string // within an object
	index  int    // within an array
}

type member struct {
	key      string
	keyStart int
	value    *node
}

// kind is the JSON type of a node, in words fit for messages.
type kind string

const (
	kindObject kind = "an object"
	kindArray  kind = "an array"
	kindString kind = "a string"
	kindNumber kind = "a number"
	kindBool   kind = "a boolean"
	kindNull   kind = "null"
)

// document reads nodes from a file.
type document struct {
	data     []byte
	dec      *json.Decoder
	cursor   *cursor
	problems []problem
	dropped  int // problems beyond maxProblems
	hints    int // suggestions made
	budget   int // what defaults within defaults may still add, see valueCheck
}

// What a file can make of us. Each problem costs memory and a suggestion time, and whoever has a
// thousand problems needs no more.
const (
	maxProblems = 1000
	maxHints    = 25
	maxPointer  = 4096 // bytes, escapes not counted
)

func newDocument(data []byte) *document {
	return &document{data: data, cursor: newCursor(data), budget: MaxSize}
}

// problem is an Error whose place is still a byte offset.
type problem struct {
	offset     int
	pointer    string
	msg        string
	suggestion string
}

// fail records a problem at a byte offset; it is about n, or about the file as a whole if n is nil.
func (d *document) fail(offset int, n *node, format string, args ...any) {
	d.record(offset, n.pointer(), "", format, args...)
}

// failAt records a problem with a node.
func (d *document) failAt(n *node, format string, args ...any) {
	d.record(n.start, n.pointer(), "", format, args...)
}

// failUnknown records that a name, at a byte offset, is none of the known ones.
func (d *document) failUnknown(offset int, n *node, name string, known []string, format string, args ...any) {
	suggestion := ""
	if d.hints < maxHints {
		d.hints++
		suggestion = Closest(name, known)
	}
	d.record(offset, n.pointer(), suggestion, format, args...)
}

func (d *document) record(offset int, pointer, suggestion, format string, args ...any) {
	if len(d.problems) == maxProblems {
		d.dropped++
		return
	}
	d.problems = append(d.problems, problem{
		offset: offset, pointer: pointer, suggestion: suggestion, msg: fmt.Sprintf(format, args...),
	})
}

// failed counts the problems so far.
func (d *document) failed() int { return len(d.problems) + d.dropped }

// errors returns the problems in the file's order.
func (d *document) errors() Errors {
	slices.SortStableFunc(d.problems, func(a, b problem) int { return cmp.Compare(a.offset, b.offset) })
	c := newCursor(d.data)
	errs := make(Errors, 0, len(d.problems)+1)
	for _, p := range d.problems {
		at := c.position(p.offset)
		errs = append(errs, &Error{Line: at.Line, Column: at.Column, Path: p.pointer, Msg: p.msg, Suggestion: p.suggestion})
	}
	if d.dropped > 0 {
		at := c.position(len(d.data))
		errs = append(errs, &Error{Line: at.Line, Column: at.Column, Msg: fmt.Sprintf("%d more problems are not listed", d.dropped)})
	}
	return errs
}

// cursor translates byte offsets to positions. They must not decrease: it walks the file once,
// however many there are and however long its lines.
type cursor struct {
	data   []byte
	offset int
	at     Position
}

func newCursor(data []byte) *cursor {
	return &cursor{data: data, at: Position{Line: 1, Column: 1}}
}

func (c *cursor) position(offset int) Position {
	for c.offset < min(offset, len(c.data)) {
		r, size := utf8.DecodeRune(c.data[c.offset:])
		c.offset += size
		c.at.Column++
		if r == '\n' {
			c.at = Position{Line: c.at.Line + 1, Column: 1}
		}
	}
	return c.at
}

// errStop ends reading: the problem is recorded, and nothing behind it can be read.
var errStop = errors.New("stop")

// read returns the file's one value, or nil when it can't be read at all.
func (d *document) read() *node {
	if len(d.data) > MaxSize {
		d.fail(0, nil, "the file has %d bytes, %d are allowed", len(d.data), MaxSize)
		return nil
	}
	if i := invalidUTF8(d.data); i >= 0 {
		d.fail(i, nil, "the file is not UTF-8")
		return nil
	}
	d.dec = json.NewDecoder(bytes.NewReader(d.data))
	d.dec.UseNumber()
	root, err := d.value(&node{}, 1)
	if err != nil {
		return nil
	}
	end := d.next()
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		d.fail(end, nil, "only one value is expected, something follows it")
		return nil
	}
	return root
}

// next returns the offset of the next token: behind white space and the one comma or colon that may
// stand before it.
func (d *document) next() int {
	i := d.skipSpace(int(d.dec.InputOffset()))
	if i < len(d.data) && (d.data[i] == ',' || d.data[i] == ':') {
		i = d.skipSpace(i + 1)
	}
	return i
}

func (d *document) skipSpace(i int) int {
	for i < len(d.data) && strings.IndexByte(" \t\r\n", d.data[i]) >= 0 {
		i++
	}
	return i
}

// token returns the next token, which lies within n, and where it begins.
func (d *document) token(n *node) (json.Token, int, error) {
	start := d.next()
	t, err := d.dec.Token()
	switch {
	case err == nil:
		return t, start, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		d.fail(len(d.data), n, "the file ends too early")
	default:
		d.fail(start, n, "not JSON: %v", err)
	}
	return nil, 0, errStop
}

// value reads the next value into n, whose place among the others is set, and returns it.
func (d *document) value(n *node, depth int) (*node, error) {
	t, start, err := d.token(n)
	if err != nil {
		return nil, err
	}
	n.start, n.at = start, d.cursor.position(start)
	switch t := t.(type) {
	case json.Delim:
		if depth > MaxNesting {
			d.failAt(n, "objects and arrays are nested deeper than %d", MaxNesting)
			return nil, errStop
		}
		if t == '{' {
			n.kind = kindObject
			err = d.object(n, depth)
		} else {
			n.kind = kindArray
			err = d.array(n, depth)
		}
		if err != nil {
			return nil, err
		}
	case string:
		n.kind, n.value = kindString, t
	case json.Number:
		n.kind, n.value = kindNumber, t
		// Whoever works with all the digits that it stands for would be at it for long, see sane.
		if len(t) > MaxNumber || !sane(string(t)) {
			d.failAt(n, "the number has more than %d characters, or an exponent beyond %d", MaxNumber, MaxExponent)
		}
	case bool:
		n.kind, n.value = kindBool, t
	default:
		n.kind = kindNull
	}
	n.end = int(d.dec.InputOffset())
	return n, nil
}

func (d *document) object(n *node, depth int) error {
	n.byKey = make(map[string]int)
	for d.dec.More() {
		t, start, err := d.token(n)
		if err != nil {
			return err
		}
		key := t.(string) // the decoder lets nothing else stand here
		child := &node{parent: n, key: key}
		if _, repeated := n.byKey[key]; repeated {
			d.fail(start, child, "the key %q is repeated", shorten(key))
		}
		n.byKey[key] = len(n.members)
		v, err := d.value(child, depth+1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{key: key, keyStart: start, value: v})
	}
	_, _, err := d.token(n)
	return err
}

func (d *document) array(n *node, depth int) error {
	for d.dec.More() {
		v, err := d.value(&node{parent: n, index: len(n.items)}, depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	_, _, err := d.token(n)
	return err
}

// pointer returns the JSON pointer to n, or to the innermost value around it whose pointer is not
// unreasonably long. That to the file's one value, and of nil, is "".
func (n *node) pointer() string {
	var tokens []string
	for ; n != nil && n.parent != nil; n = n.parent {
		token := n.key
		if n.parent.kind == kindArray {
			token = strconv.Itoa(n.index)
		}
		tokens = append(tokens, token)
	}
	slices.Reverse(tokens)
	return shortPointer(tokens)
}

// shortPointer is Pointer without the tokens that would make it longer than maxPointer.
func shortPointer(tokens []string) string {
	size := 0
	for i, token := range tokens {
		if size += 1 + len(token); size > maxPointer {
			tokens = tokens[:i]
			break
		}
	}
	return Pointer(tokens...)
}

// find returns what a JSON pointer that starts at n names, or the innermost value around it that is
// there.
func (n *node) find(pointer string) *node {
	for pointer != "" {
		token, rest := pointer[1:], ""
		if i := strings.IndexByte(token, '/'); i >= 0 {
			token, rest = token[:i], token[i:]
		}
		child := n.child(pointerUnescaper.Replace(token))
		if child == nil {
			break
		}
		n, pointer = child, rest
	}
	return n
}

var pointerUnescaper = strings.NewReplacer("~1", "/", "~0", "~")

// child returns the value under a key or index of n, or nil.
func (n *node) child(token string) *node {
	switch n.kind {
	case kindObject:
		if i, ok := n.byKey[token]; ok && i < len(n.members) {
			return n.members[i].value
		}
	case kindArray:
		if i, err := strconv.Atoi(token); err == nil && 0 <= i && i < len(n.items) && strconv.Itoa(i) == token {
			return n.items[i]
		}
	}
	return nil
}

// plain returns a node as encoding/json would decode it into an any.
func (n *node) plain() any {
	switch n.kind {
	case kindObject:
		m := make(map[string]any, len(n.members))
		for _, member := range n.members {
			m[member.key] = member.value.plain()
		}
		return m
	case kindArray:
		a := make([]any, len(n.items))
		for i, item := range n.items {
			a[i] = item.plain()
		}
		return a
	}
	return n.value
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}
