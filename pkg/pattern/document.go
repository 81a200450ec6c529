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
// keys.
type node struct {
	value   any // json.Number, string, bool or nil; nil for objects and arrays
	kind    kind
	members []member // of an object, in the file's order
	items   []*node  // of an array
	start   int      // byte offsets in the file
	end     int
	pointer string
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
	problems []problem
}

// problem is an Error whose place is still a byte offset.
type problem struct {
	offset  int
	pointer string
	msg     string
}

// fail records a problem at a byte offset.
func (d *document) fail(offset int, pointer, format string, args ...any) {
	d.problems = append(d.problems, problem{offset: offset, pointer: pointer, msg: fmt.Sprintf(format, args...)})
}

// errors returns the problems in the file's order.
func (d *document) errors() Errors {
	slices.SortStableFunc(d.problems, func(a, b problem) int { return cmp.Compare(a.offset, b.offset) })
	c := newCursor(d.data)
	errs := make(Errors, len(d.problems))
	for i, p := range d.problems {
		at := c.position(p.offset)
		errs[i] = &Error{Line: at.Line, Column: at.Column, Path: p.pointer, Msg: p.msg}
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

// failAt records a problem with a node.
func (d *document) failAt(n *node, format string, args ...any) {
	d.fail(n.start, n.pointer, format, args...)
}

// errStop ends reading: the problem is recorded, and nothing behind it can be read.
var errStop = errors.New("stop")

// read returns the file's one value, or nil when it can't be read at all.
func (d *document) read() *node {
	if len(d.data) > MaxSize {
		d.fail(0, "", "the file has %d bytes, %d are allowed", len(d.data), MaxSize)
		return nil
	}
	if i := invalidUTF8(d.data); i >= 0 {
		d.fail(i, "", "the file is not UTF-8")
		return nil
	}
	d.dec = json.NewDecoder(bytes.NewReader(d.data))
	d.dec.UseNumber()
	root, err := d.value("", 1)
	if err != nil {
		return nil
	}
	end := d.next()
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		d.fail(end, "", "only one value is expected, something follows it")
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

// token returns the next token and where it begins.
func (d *document) token(pointer string) (json.Token, int, error) {
	start := d.next()
	t, err := d.dec.Token()
	switch {
	case err == nil:
		return t, start, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		d.fail(len(d.data), pointer, "the file ends too early")
	default:
		d.fail(start, pointer, "not JSON: %v", err)
	}
	return nil, 0, errStop
}

func (d *document) value(pointer string, depth int) (*node, error) {
	t, start, err := d.token(pointer)
	if err != nil {
		return nil, err
	}
	n := &node{start: start, pointer: pointer}
	switch t := t.(type) {
	case json.Delim:
		if depth > MaxNesting {
			d.fail(start, pointer, "objects and arrays are nested deeper than %d", MaxNesting)
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
	case bool:
		n.kind, n.value = kindBool, t
	default:
		n.kind = kindNull
	}
	n.end = int(d.dec.InputOffset())
	return n, nil
}

func (d *document) object(n *node, depth int) error {
	seen := make(map[string]struct{})
	for d.dec.More() {
		t, start, err := d.token(n.pointer)
		if err != nil {
			return err
		}
		key := t.(string) // the decoder lets nothing else stand here
		pointer := n.pointer + Pointer(key)
		if _, repeated := seen[key]; repeated {
			d.fail(start, pointer, "the key %q is repeated", key)
		}
		seen[key] = struct{}{}
		v, err := d.value(pointer, depth+1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{key: key, keyStart: start, value: v})
	}
	_, _, err := d.token(n.pointer)
	return err
}

func (d *document) array(n *node, depth int) error {
	for d.dec.More() {
		v, err := d.value(n.pointer+Pointer(strconv.Itoa(len(n.items))), depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	_, _, err := d.token(n.pointer)
	return err
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

// walk calls f for n and everything within it.
func (n *node) walk(f func(*node)) {
	f(n)
	for _, m := range n.members {
		m.value.walk(f)
	}
	for _, item := range n.items {
		item.walk(f)
	}
}

// parentPointer drops the last part of a JSON pointer; the whole document has no parent.
func parentPointer(pointer string) (string, bool) {
	i := strings.LastIndexByte(pointer, '/')
	if i < 0 {
		return "", false
	}
	return pointer[:i], true
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
