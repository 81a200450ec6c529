package patterns

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	openBraces  = "{{"
	closeBraces = "}}"
)

// template is a parsed string: texts, never two in a row, and references.
type template []segment

// segment is literal text or, when path is not nil, a reference.
type segment struct {
	text string
	path *path
}

// path is root(.field | [index])*.
type path struct {
	root  string
	parts []part
	pos   int // where it begins in its string, in characters from 1
}

// part is the name of a field or, when that is "", a place in an array.
type part struct {
	field string
	index int
}

func (p *path) String() string {
	var b strings.Builder
	b.WriteString(p.root)
	for _, part := range p.parts {
		b.WriteString(part.String())
	}
	return b.String()
}

func (p part) String() string {
	if p.field == "" {
		return "[" + strconv.Itoa(p.index) + "]"
	}
	return "." + p.field
}

// String writes the template so that parsing it gives the same template again.
func (t template) String() string {
	var b strings.Builder
	for i, s := range t {
		if s.path != nil {
			b.WriteString(openBraces + s.path.String() + closeBraces)
			continue
		}
		text := strings.ReplaceAll(s.text, openBraces, `{{"{{"}}`)
		if rest, single := strings.CutSuffix(text, "{"); single && i+1 < len(t) {
			text = rest + `{{"{"}}` // else it would join the braces of the reference behind it
		}
		b.WriteString(text)
	}
	return b.String()
}

// only returns the path of a template that is one reference and nothing else.
func (t template) only() (*path, bool) {
	if len(t) == 1 && t[0].path != nil {
		return t[0].path, true
	}
	return nil, false
}

// syntaxError is a mistake in a template's form.
type syntaxError struct {
	pos int // in characters from 1
	msg string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("character %d: %s", e.pos, e.msg) }

// parseTemplate reads a string of the grammar
//
//	template  = { text | "{{" [space] ( path | string ) [space] "}}" }
//	path      = name { "." name | "[" digits "]" }
//	name      = ( letter | "_" ) { letter | digit | "_" }
//
// where string is a JSON string, letters are ASCII, and text is anything without "{{".
func parseTemplate(s string) (template, error) {
	p := &templateParser{s: s}
	var t template
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t = append(t, segment{text: text.String()})
			text.Reset()
		}
	}
	for {
		before, _, found := strings.Cut(p.rest(), openBraces)
		text.WriteString(before)
		if !found {
			flush()
			return t, nil
		}
		p.i += len(before) + len(openBraces)
		p.space()
		if strings.HasPrefix(p.rest(), `"`) {
			literal, err := p.literal()
			if err != nil {
				return nil, err
			}
			text.WriteString(literal)
		} else {
			ref, err := p.path()
			if err != nil {
				return nil, err
			}
			flush()
			t = append(t, segment{path: ref})
		}
		p.space()
		if !p.accept(closeBraces) {
			return nil, p.fail("%q is expected, found %s", closeBraces, p.found())
		}
	}
}

type templateParser struct {
	s string
	i int // byte offset of what comes next

	counted, characters int // so many characters stand before the byte offset counted
}

func (p *templateParser) rest() string { return p.s[p.i:] }

// pos returns the place of what comes next, in characters from 1. It walks the string once, however
// often it is asked.
func (p *templateParser) pos() int {
	p.characters += utf8.RuneCountInString(p.s[p.counted:p.i])
	p.counted = p.i
	return p.characters + 1
}

func (p *templateParser) fail(format string, args ...any) error {
	return &syntaxError{pos: p.pos(), msg: fmt.Sprintf(format, args...)}
}

// found names what comes next.
func (p *templateParser) found() string {
	if p.rest() == "" {
		return "the end"
	}
	r, _ := utf8.DecodeRuneInString(p.rest())
	return strconv.QuoteRune(r)
}

func (p *templateParser) space() {
	p.i = len(p.s) - len(strings.TrimLeft(p.rest(), " \t\r\n"))
}

func (p *templateParser) accept(token string) bool {
	if !strings.HasPrefix(p.rest(), token) {
		return false
	}
	p.i += len(token)
	return true
}

func (p *templateParser) path() (*path, error) {
	ref := &path{pos: p.pos()}
	var err error
	if ref.root, err = p.name(); err != nil {
		return nil, err
	}
	for {
		switch {
		case p.accept("."):
			name, err := p.name()
			if err != nil {
				return nil, err
			}
			ref.parts = append(ref.parts, part{field: name})
		case p.accept("["):
			index, err := p.index()
			if err != nil {
				return nil, err
			}
			ref.parts = append(ref.parts, part{index: index})
		default:
			return ref, nil
		}
	}
}

func (p *templateParser) name() (string, error) {
	end := strings.IndexFunc(p.rest(), func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		end = len(p.rest())
	}
	name := p.rest()[:end]
	if name == "" || name[0] <= '9' {
		return "", p.fail("a name is expected, found %s", p.found())
	}
	p.i += end
	return name, nil
}

// index reads the digits and the bracket of an index.
func (p *templateParser) index() (int, error) {
	digits, _, found := strings.Cut(p.rest(), "]")
	if !found {
		return 0, p.fail("\"]\" is missing")
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return 0, p.fail("%q is no index; use whole numbers from 0", digits)
	}
	p.i += len(digits) + len("]")
	return int(n), nil
}

// literal reads a JSON string.
func (p *templateParser) literal() (string, error) {
	for end := 1; end < len(p.rest()); end++ {
		switch p.rest()[end] {
		case '\\':
			end++
		case '"':
			var s string
			if err := json.Unmarshal([]byte(p.rest()[:end+1]), &s); err != nil {
				return "", p.fail("%s is not a JSON string", p.rest()[:end+1])
			}
			p.i += end + 1
			return s, nil
		}
	}
	return "", p.fail("the string has no end")
}
