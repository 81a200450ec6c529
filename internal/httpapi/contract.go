package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/schema"
)

// contract is the OpenAPI document as the server uses it: the JSON that /openapi.json serves, and
// for each operation what its requests are checked against.
//
// The schemas are compiled by a JSON Schema 2020-12 validator, the dialect of OpenAPI 3.1, straight
// from the document; nothing is stated twice.
type contract struct {
	json       []byte
	operations map[string]*operation // by "METHOD /v1/patterns/{id}"
}

// operation is one method on one path.
type operation struct {
	roles      []auth.Role // x-roles: whom it is for
	scope      string      // x-scope: which part of the API it is, for keys that are for some
	operating  bool        // x-operating-tenant: it is about no single tenant
	parameters []parameter
	body       *body // nil without a request body
	statuses   []int // the ones named in the document
}

// body is what the document says of a request's body.
type body struct {
	schema   *jsonschema.Schema
	required bool
	// raw, the document's x-raw-body, hands the body on as it was sent: it need not be JSON.
	raw bool
	// media, the document's x-stream-body, are the types of a body that its handler reads as it comes
	// in: as long as an import may be and for as long as one may take. Nothing of it is checked.
	media []string
	// also are the types that the document takes besides JSON where bodies are no streams. What is of one
	// of them is handed on as it was sent.
	also []string
	// most, the document's x-max-bytes, bounds its size besides what bounds every body's; 0 does not.
	most int64
}

type parameter struct {
	name, in string // in: path, query or header
	required bool
	types    []string // of the schema, to turn text into a value
	schema   *jsonschema.Schema
	most     int // characters, when that is all that the schema says of a text; -1 when it says more
}

const documentURL = "mem:///openapi.json" // names the document within the validator only

// newContract reads an OpenAPI document in YAML.
func newContract(document []byte) (*contract, error) {
	var tree yaml.Node
	if err := yaml.Unmarshal(document, &tree); err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	asJSON, err := appendJSON(nil, &tree)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource(documentURL, root); err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}

	var parsed struct {
		Paths map[string]map[string]struct {
			Roles      []auth.Role `json:"x-roles"`
			Scope      string      `json:"x-scope"`
			Operating  bool        `json:"x-operating-tenant"`
			Parameters []struct {
				Ref string `json:"$ref"`
			} `json:"parameters"`
			RequestBody *struct {
				Required bool           `json:"required"`
				Raw      bool           `json:"x-raw-body"`
				Most     int64          `json:"x-max-bytes"`
				Media    []string       `json:"x-stream-body"`
				Content  map[string]any `json:"content"`
			} `json:"requestBody"`
			Responses map[string]any `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(asJSON, &parsed); err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	c := &contract{json: asJSON, operations: make(map[string]*operation)}
	for path, methods := range parsed.Paths {
		for method, o := range methods {
			at := "#/paths/" + escape(path) + "/" + method
			op := &operation{roles: o.Roles, scope: o.Scope, operating: o.Operating}
			if err := op.checkAccess(); err != nil {
				return nil, fmt.Errorf("OpenAPI document: %s: %w", at, err)
			}
			for i, p := range o.Parameters {
				where := fmt.Sprintf("%s/parameters/%d", at, i)
				if p.Ref != "" {
					where = p.Ref
				}
				param, err := newParameter(compiler, root, where)
				if err != nil {
					return nil, fmt.Errorf("OpenAPI document: %s: %w", where, err)
				}
				op.parameters = append(op.parameters, param)
			}
			if b := o.RequestBody; b != nil {
				op.body = &body{required: b.Required, raw: b.Raw, most: b.Most, media: b.Media}
				for media := range b.Content {
					if media != echo.MIMEApplicationJSON && b.Media == nil {
						op.body.also = append(op.body.also, media)
					}
				}
				slices.Sort(op.body.also)
				where := at + "/requestBody/content/application~1json/schema"
				if op.body.schema, err = compiler.Compile(documentURL + where); err != nil {
					return nil, fmt.Errorf("OpenAPI document: %s: %w", where, err)
				}
			}
			for code := range o.Responses {
				if status, err := strconv.Atoi(code); err == nil {
					op.statuses = append(op.statuses, status)
				}
			}
			c.operations[strings.ToUpper(method)+" "+path] = op
		}
	}
	return c, nil
}

// appendJSON writes YAML as JSON with all members in their order, so that whoever reads the document
// sees an id before its description.
func appendJSON(b []byte, n *yaml.Node) ([]byte, error) {
	var err error
	switch n.Kind {
	case yaml.DocumentNode:
		return appendJSON(b, n.Content[0])
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i < len(n.Content); i += 2 {
			b = append(appendString(comma(b, i), n.Content[i].Value), ':')
			if b, err = appendJSON(b, n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, item := range n.Content {
			if b, err = appendJSON(comma(b, i), item); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case yaml.ScalarNode:
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, err
		}
		scalar, err := json.Marshal(v)
		return append(b, scalar...), err
	default:
		return nil, fmt.Errorf("line %d: neither a value, a list nor an object", n.Line)
	}
}

func newParameter(compiler *jsonschema.Compiler, root any, at string) (parameter, error) {
	node := root
	for _, key := range strings.Split(strings.TrimPrefix(at, "#/"), "/") {
		switch n := node.(type) {
		case map[string]any:
			node = n[unescape(key)]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(n) {
				return parameter{}, fmt.Errorf("no such element %q", key)
			}
			node = n[i]
		}
	}
	object, ok := node.(map[string]any)
	if !ok {
		return parameter{}, errors.New("not an object")
	}
	p := parameter{}
	p.name, _ = object["name"].(string)
	p.in, _ = object["in"].(string)
	p.required, _ = object["required"].(bool)
	var err error
	if p.schema, err = compiler.Compile(documentURL + at + "/schema"); err != nil {
		return parameter{}, err
	}
	resolved := p.schema
	for resolved.Ref != nil {
		resolved = resolved.Ref
	}
	if resolved.Types != nil {
		p.types = resolved.Types.ToStrings()
	}
	p.most = bound(object["schema"])
	return p, nil
}

// bound returns how many characters a schema allows a text that may otherwise be any, and -1 for
// every other schema.
func bound(schema any) int {
	members, _ := schema.(map[string]any)
	most, ok := members["maxLength"].(json.Number)
	if !ok || members["type"] != "string" || len(members) != 2 {
		return -1
	}
	n, err := strconv.Atoi(most.String())
	if err != nil {
		return -1
	}
	return n
}

// check holds a request against its operation. The body, when there is one, is read, decoded and
// put back in decoded form, so that what the handler binds is what was checked.
func (o *operation) check(c echo.Context) error {
	var (
		fields []fault.Field
		query  url.Values
	)
	if c.Request().URL.RawQuery != "" {
		query = c.QueryParams()
	}
	for _, p := range o.parameters {
		fields = append(fields, p.check(c, query)...)
	}
	if o.body != nil {
		more, err := o.body.check(c)
		if err != nil {
			return err
		}
		fields = append(fields, more...)
	}
	return invalid(fields)
}

func (p parameter) check(c echo.Context, query url.Values) []fault.Field {
	var (
		text  string
		given bool
	)
	switch p.in {
	case "path":
		text, given = c.Param(p.name), true
	case "query":
		given = query.Has(p.name)
		text = query.Get(p.name)
		if given && slices.Contains(p.types, "array") {
			return p.checkList(query[p.name])
		}
		if len(query[p.name]) > 1 {
			return []fault.Field{{Pointer: p.pointer(), Detail: "is given more than once"}}
		}
	case "header":
		given = c.Request().Header.Get(p.name) != ""
		text = c.Request().Header.Get(p.name)
	}
	if given && !storable(text) {
		return []fault.Field{{Pointer: p.pointer(), Detail: unstorable}}
	}
	if !given {
		if p.required {
			return []fault.Field{{Pointer: p.pointer(), Detail: "is required"}}
		}
		return nil
	}
	if len(text) <= p.most { // has no more characters than bytes
		return nil
	}
	return schema.Violations(p.schema, p.pointer(), p.value(text))
}

// checkList is check for a parameter that may be repeated: its schema is about the list of its texts.
func (p parameter) checkList(texts []string) []fault.Field {
	list := make([]any, len(texts))
	for i, text := range texts {
		if !storable(text) {
			return []fault.Field{{Pointer: p.pointer(), Detail: unstorable}}
		}
		list[i] = text
	}
	return schema.Violations(p.schema, p.pointer(), list)
}

// pointer is how an error names the parameter.
func (p parameter) pointer() string { return "/" + p.in + "/" + escape(p.name) }

// value turns a parameter's text into the JSON value that its schema is about. Text that is no
// number stays text, which the schema then refuses. What the generated code could not bind is
// no number here either: it would answer without saying which parameter is wrong.
func (p parameter) value(text string) any {
	number := slices.Contains(p.types, "integer") || slices.Contains(p.types, "number")
	if number && json.Valid([]byte(text)) {
		_, notInt := strconv.ParseInt(text, 10, 64)
		_, notFloat := strconv.ParseFloat(text, 64)
		if slices.Contains(p.types, "integer") && notInt == nil || slices.Contains(p.types, "number") && notFloat == nil {
			return json.Number(text)
		}
	}
	if slices.Contains(p.types, "boolean") && (text == "true" || text == "false") {
		return text == "true"
	}
	return text
}

func (b *body) check(c echo.Context) ([]fault.Field, error) {
	r := c.Request()
	if b.media != nil {
		if !slices.Contains(b.media, mediaType(r.Header)) {
			return nil, fault.New(fault.UnsupportedMedia, "the Content-Type must be one of %s, in UTF-8", strings.Join(b.media, ", "))
		}
		return nil, nil
	}
	media := mediaType(r.Header)
	json, other := media == echo.MIMEApplicationJSON, false
	if b.also != nil {
		other = slices.Contains(b.also, media)
		r.Header.Set(echo.HeaderContentType, media) // the generated code compares the text
	}
	var raw []byte
	if json || other || !b.required { // what is refused for its type is not read
		var err error
		if raw, err = readAll(r.Body, r.ContentLength); err != nil {
			if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
				return nil, fault.Wrap(err, fault.TooLarge, "the body is larger than %d bytes", tooLarge.Limit)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, slowBody(err)
			}
			return nil, fault.Wrap(err, fault.Malformed, "the body broke off")
		}
	}
	empty := len(bytes.TrimSpace(raw)) == 0
	switch {
	case empty && !b.required:
		r.Body, r.ContentLength = http.NoBody, 0
		return nil, nil
	case !json && !other && b.also != nil:
		return nil, fault.New(fault.UnsupportedMedia, "the Content-Type must be one of %s, %s, in UTF-8", echo.MIMEApplicationJSON, strings.Join(b.also, ", "))
	case other:
		r.Body = rawBody{Reader: bytes.NewReader(raw), text: raw}
		return nil, nil
	case !json:
		return nil, fault.New(fault.UnsupportedMedia, "the body must be JSON in UTF-8: send it with Content-Type: application/json")
	case empty:
		return nil, fault.New(fault.Malformed, "a JSON body is required")
	}
	members, err := schema.Measure("the body", raw)
	if err != nil && (!b.raw || fault.CodeOf(err) == fault.TooLarge) { // who gets it raw says itself what is wrong with it
		return nil, err
	}
	if b.raw {
		r.Body = rawBody{Reader: bytes.NewReader(raw), text: raw}
		return nil, nil
	}
	if !utf8.Valid(raw) { // the decoder would put replacement characters in their place
		return nil, fault.New(fault.Malformed, "the body is not valid JSON: it is not UTF-8")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fault.Wrap(err, fault.Malformed, "the body is not valid JSON: %s", err)
	}
	if schema.Members(value) != members {
		return nil, fault.New(fault.Malformed, "%s stands twice in the body", schema.Repeated(raw))
	}
	r.Body = checkedBody{Reader: bytes.NewReader(raw), value: value}
	if fields := schema.Violations(b.schema, "", value); len(fields) > 0 {
		return fields, nil
	}
	if !bytes.Contains(raw, []byte(`\u0000`)) { // NUL can't be written otherwise, and the rest is UTF-8
		return nil, nil
	}
	return unstorables(value, "", nil), nil
}

// readAll reads to the end, which tells net/http to watch for the client's leaving. length is what
// the client says there is, below 0 when it does not.
func readAll(r io.Reader, length int64) ([]byte, error) {
	var b bytes.Buffer
	const trusted = 64 << 10 // the most that a mere claim makes room for
	if length > 0 {
		b.Grow(int(min(length, trusted)) + bytes.MinRead)
	}
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

const unstorable = "must be valid text without NUL characters"

// storable reports whether text can go into the database: PostgreSQL has no NUL, and knows UTF-8
// only. JSON Schema can't say so.
func storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// unstorables finds such text in a decoded body.
func unstorables(value any, pointer string, fields []fault.Field) []fault.Field {
	switch v := value.(type) {
	case string:
		if !storable(v) {
			fields = append(fields, fault.Field{Pointer: pointer, Detail: unstorable})
		}
	case []any:
		for i, element := range v {
			fields = unstorables(element, pointer+"/"+strconv.Itoa(i), fields)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if !storable(key) {
				fields = append(fields, fault.Field{Pointer: pointer, Detail: "its keys " + unstorable})
				continue
			}
			fields = unstorables(v[key], pointer+"/"+escape(key), fields)
		}
	}
	return fields
}

// streams reports whether requests have bodies that are read as they come in.
func (o *operation) streams() bool { return o != nil && o.body != nil && o.body.media != nil }

// checkedBody hands generated handlers the value that was checked, so that it is decoded once and
// members are matched exactly.
type checkedBody struct {
	*bytes.Reader
	value any
}

func (checkedBody) Close() error          { return nil }
func (b checkedBody) ValidatedValue() any { return b.value }

// rawBody is a body that was checked for nothing but its size and type.
type rawBody struct {
	*bytes.Reader
	text []byte
}

func (rawBody) Close() error { return nil }

// invalid returns the error for wrong fields, nil when there are none.
func invalid(fields []fault.Field) error {
	switch len(fields) {
	case 0:
		return nil
	case 1:
		return fault.InvalidField(fields[0].Pointer, "%s", fields[0].Detail)
	}
	const most = 20
	detail := fmt.Sprintf("%d parts of the request are wrong", len(fields))
	if len(fields) > most {
		fields = fields[:most]
		detail += fmt.Sprintf("; the first %d are listed", most)
	}
	return &fault.Error{Code: fault.Invalid, Detail: detail, Fields: fields}
}

// escape and unescape write a key as a segment of a JSON pointer and back (RFC 6901).
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

func unescape(segment string) string {
	return strings.ReplaceAll(strings.ReplaceAll(segment, "~1", "/"), "~0", "~")
}
