package apifuzz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// documentURL names the document for the validator; nothing is fetched.
const documentURL = "mem:///openapi.json"

// document is the API's description.
type document struct {
	root       map[string]any
	operations []*operation

	mu       sync.Mutex // the compiler's
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

// operation is one method of one path.
type operation struct {
	id, method, path string
	pointer          string // of the operation in the document
	parameters       []parameter
	bodies           []body // in order of content type
	needsBody        bool
	raw              bool // what the body holds is for the handler to judge
	responses        map[string]any
	// key is the member of a list's things by which the path below names one of them.
	key string
}

type parameter struct {
	name, in string
	required bool
	schema   map[string]any
}

type body struct {
	contentType string
	schema      map[string]any
	pointer     string
	example     any
}

var methods = []string{"get", "put", "post", "delete", "patch"}

func readDocument(text []byte) (*document, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	d := &document{root: value.(map[string]any), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(documentURL, value); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	paths := object(d.root["paths"])
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := object(paths[path])
		for _, method := range methods {
			if op, ok := item[method].(map[string]any); ok {
				d.operations = append(d.operations, d.operation(path, method, op, list(item["parameters"])))
			}
		}
	}
	for _, o := range d.operations {
		o.key = "id"
		for path := range paths {
			if rest, ok := strings.CutPrefix(path, o.path+"/{"); ok {
				o.key, _, _ = strings.Cut(rest, "}")
			}
		}
	}
	if len(d.operations) == 0 {
		return nil, fmt.Errorf("the document has no operations")
	}
	return d, nil
}

func (d *document) operation(path, method string, op map[string]any, shared []any) *operation {
	o := &operation{
		id: text(op["operationId"]), method: strings.ToUpper(method), path: path,
		pointer: "/paths/" + escape(path) + "/" + method, responses: object(op["responses"]),
	}
	for _, p := range append(slices.Clone(shared), list(op["parameters"])...) {
		p := d.resolve(object(p))
		o.parameters = append(o.parameters, parameter{
			name: text(p["name"]), in: text(p["in"]), required: p["required"] == true, schema: object(p["schema"]),
		})
	}
	if request, ok := op["requestBody"].(map[string]any); ok {
		o.needsBody, o.raw = request["required"] == true, request["x-raw-body"] == true
		content := object(request["content"])
		for _, media := range slices.Sorted(maps.Keys(content)) {
			b := object(content[media])
			o.bodies = append(o.bodies, body{
				contentType: media, schema: object(b["schema"]), example: b["example"],
				pointer: o.pointer + "/requestBody/content/" + escape(media) + "/schema",
			})
		}
		// What the document lists besides, as of two bodies that are no JSON the generator of code makes one.
		for _, media := range list(request["x-stream-body"]) {
			if _, ok := content[text(media)]; !ok {
				o.bodies = append(o.bodies, body{contentType: text(media), schema: map[string]any{"type": "string"}})
			}
		}
	}
	return o
}

// resolve follows a reference within the document.
func (d *document) resolve(value map[string]any) map[string]any {
	for range 20 { // references to references to ...; circles are the validator's to find
		ref, ok := value["$ref"].(string)
		if !ok {
			return value
		}
		var at any = d.root
		for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			at = object(at)[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
		}
		value = object(at)
	}
	return value
}

// response finds what the document promises for a status: the pointer of the response and its content.
func (d *document) response(o *operation, status int) (pointer string, content map[string]any, ok bool) {
	name := fmt.Sprint(status)
	if _, found := o.responses[name]; !found {
		name = "default"
	}
	r, found := o.responses[name].(map[string]any)
	if !found {
		return "", nil, false
	}
	pointer = o.pointer + "/responses/" + name
	if ref, isRef := r["$ref"].(string); isRef {
		pointer = strings.TrimPrefix(ref, "#")
	}
	return pointer, object(d.resolve(r)["content"]), true
}

// fits holds JSON against the schema at a place of the document.
func (d *document) fits(pointer string, raw []byte) error {
	schema, err := d.schema(pointer)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("no JSON: %w", err)
	}
	return schema.Validate(value)
}

func (d *document) schema(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.schemas[pointer]; ok {
		return s, nil
	}
	s, err := d.compiler.Compile(documentURL + "#" + pointer)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pointer, err)
	}
	d.schemas[pointer] = s
	return s, nil
}

func escape(step string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(step) }

// object, list and text return what a value of the document is, empty when it is something else.
func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any            { l, _ := v.([]any); return l }
func text(v any) string           { s, _ := v.(string); return s }
