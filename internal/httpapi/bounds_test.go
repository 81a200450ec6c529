package httpapi_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// finite are the formats whose texts have a length of their own.
var finite = []string{"uuid", "date"}

// endless finds what makes a pattern match texts of any length, or allow more behind what it matches.
var endless = regexp.MustCompile(`[*+]|\{\d+,\}`)

// walker looks through what the document says of requests for what has no bound.
type walker struct {
	root  map[string]any
	seen  map[string]bool
	found []string
}

func (w *walker) complain(at, what string) { w.found = append(w.found, at+": "+what) }

func (w *walker) look(at string, schema map[string]any) {
	if ref, ok := schema["$ref"].(string); ok {
		if w.seen[ref] {
			return
		}
		w.seen[ref] = true
		node := any(w.root)
		for _, key := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			node = node.(map[string]any)[key]
		}
		w.look(ref, node.(map[string]any))
		return
	}
	types := []any{schema["type"]}
	if list, ok := schema["type"].([]any); ok {
		types = list
	}
	has := func(keys ...string) bool {
		for _, key := range keys {
			if _, ok := schema[key]; ok {
				return true
			}
		}
		return false
	}
	if schema["type"] == nil && !has("enum", "const", "oneOf", "anyOf", "allOf", "maxLength") {
		w.complain(at, "is anything")
	}
	for _, typ := range types {
		switch typ {
		case "array":
			if !has("maxItems") {
				w.complain(at, "array without maxItems")
			}
		case "string":
			format, _ := schema["format"].(string)
			pattern, _ := schema["pattern"].(string)
			whole := strings.HasPrefix(pattern, "^") && strings.HasSuffix(pattern, "$") && !endless.MatchString(pattern)
			if !has("maxLength", "enum", "const") && !slices.Contains(finite, format) && !whole {
				w.complain(at, "string without maxLength")
			}
		case "object":
			if schema["additionalProperties"] != false && !has("maxProperties") {
				w.complain(at, "object of any number of members")
			}
		case "integer":
			if !has("minimum", "exclusiveMinimum") || !has("maximum", "exclusiveMaximum") {
				w.complain(at, "integer without bounds")
			}
		}
	}
	for _, key := range []string{"items", "additionalProperties", "propertyNames", "not", "if", "then", "else", "contains"} {
		if sub, ok := schema[key].(map[string]any); ok {
			w.look(at+"/"+key, sub)
		}
	}
	for _, key := range []string{"oneOf", "anyOf", "allOf", "prefixItems"} {
		list, _ := schema[key].([]any)
		for i, sub := range list {
			w.look(fmt.Sprintf("%s/%s/%d", at, key, i), sub.(map[string]any))
		}
	}
	for _, key := range []string{"properties", "patternProperties"} {
		members, _ := schema[key].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(members)) {
			w.look(at+"/"+key+"/"+name, members[name].(map[string]any))
		}
	}
}

// Everything that the document lets a request hold has a bound. Bodies that are not checked against their
// schemas are left out: what is read as it comes in has bounds by row, and what is handed on as it was
// sent has the bounds of every body and its reader's own.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	root := readDocument(t).root
	w := &walker{root: root, seen: map[string]bool{}}
	unchecked := []string{}
	for path, methods := range root["paths"].(map[string]any) {
		for method, op := range methods.(map[string]any) {
			operation := op.(map[string]any)
			at := method + " " + path
			parameters, _ := operation["parameters"].([]any)
			for _, p := range parameters {
				parameter := p.(map[string]any)
				if ref, ok := parameter["$ref"].(string); ok {
					name := strings.TrimPrefix(ref, "#/components/parameters/")
					parameter = root["components"].(map[string]any)["parameters"].(map[string]any)[name].(map[string]any)
				}
				w.look(at+" "+parameter["name"].(string), parameter["schema"].(map[string]any))
			}
			body, ok := operation["requestBody"].(map[string]any)
			if !ok {
				continue
			}
			if body["x-raw-body"] == true || body["x-stream-body"] != nil {
				unchecked = append(unchecked, at)
				continue
			}
			w.look(at, body["content"].(map[string]any)["application/json"].(map[string]any)["schema"].(map[string]any))
		}
	}
	require.Empty(t, w.found)
	require.ElementsMatch(t, []string{"post /v1/imports/{kind}", "post /v1/patterns/validate", "post /v1/receivers/alertmanager"}, unchecked)
	require.Greater(t, len(w.seen), 20, "it has looked at something")

	for name, endless := range map[string]map[string]any{
		"a list": {"type": "array", "items": map[string]any{"type": "boolean"}}, "a text": {"type": []any{"string", "null"}},
		"a pattern": {"type": "string", "pattern": "^a+$"}, "an open pattern": {"type": "string", "pattern": "^a"},
		"an object": {"type": "object", "additionalProperties": true}, "a number": {"type": "integer", "minimum": 1}, "anything": {},
	} {
		bad := &walker{root: root, seen: map[string]bool{}}
		bad.look(name, map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{"x": endless}})
		require.Len(t, bad.found, 1, name)
	}
}
