package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// faultCodes reads all codes of failures from their declarations.
func faultCodes(t *testing.T) (list []fault.Code) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../fault/fault.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			list = append(list, fault.Code(code))
		}
		return true
	})
	require.Greater(t, len(list), 10)
	return list
}

// The document lists every code that a problem may have, with its status, and no other.
func TestCodesAreDocumented(t *testing.T) {
	t.Parallel()
	s := readDocument(t)
	info := s.root["info"].(map[string]any)["description"].(string)
	_, words, ok := strings.Cut(info, "A problem's `code` is one of:")
	require.True(t, ok)
	documented := map[fault.Code]int{}
	var waiting []fault.Code
	for _, m := range regexp.MustCompile("`([a-z_]+)`|\\((\\d{3})").FindAllStringSubmatch(words, -1) {
		if m[1] != "" {
			waiting = append(waiting, fault.Code(m[1]))
			continue
		}
		status, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		for _, code := range waiting {
			documented[code] = status
		}
		waiting = nil
	}
	require.Empty(t, waiting)
	require.ElementsMatch(t, faultCodes(t), slices.Collect(maps.Keys(documented)))
	for code, status := range documented {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			s := newFrontSite(t, func(o *httpapi.Options) {
				o.Patterns = engine(func(context.Context, patterns.Request) (*patterns.Answer, error) { return nil, fault.New(code, "why") })
			})
			p := s.post(t, overview, "{}").problem(status, code)
			require.NotEmpty(t, p.Title)
		})
	}
	enum := s.root["components"].(map[string]any)["schemas"].(map[string]any)["ProblemCode"].(map[string]any)["enum"].([]any)
	var listed []fault.Code
	for _, code := range enum {
		listed = append(listed, fault.Code(code.(string)))
	}
	require.ElementsMatch(t, faultCodes(t), listed)
}

// The document's schemas of definitions know what the format's own schema knows.
func TestDefinitionsAreDocumented(t *testing.T) {
	t.Parallel()
	var format map[string]any
	require.NoError(t, json.Unmarshal(pattern.Schema, &format))
	defs := format["$defs"].(map[string]any)
	schemas := readDocument(t).root["components"].(map[string]any)["schemas"].(map[string]any)
	properties := func(schema any) map[string]any { return schema.(map[string]any)["properties"].(map[string]any) }

	input := maps.Clone(properties(defs["input"]))
	maps.Copy(input, properties(defs["declaration"]))
	for name, want := range map[string]struct {
		properties map[string]any
		required   any
	}{
		"Pattern": {properties(format), format["required"]},
		"Step":    {properties(defs["step"]), defs["step"].(map[string]any)["required"]},
		"Input":   {input, defs["declaration"].(map[string]any)["required"]},
	} {
		got := schemas[name].(map[string]any)
		require.ElementsMatch(t, slices.Collect(maps.Keys(want.properties)), slices.Collect(maps.Keys(properties(got))), name)
		require.ElementsMatch(t, want.required, got["required"], name)
		require.Equal(t, false, got["additionalProperties"], name)
		for key, property := range properties(got) {
			wanted := want.properties[key].(map[string]any)
			for _, bound := range []string{"enum", "minItems", "maxItems", "maxProperties", "minLength", "maxLength", "minimum", "maximum", "uniqueItems"} {
				if of, ok := property.(map[string]any)[bound]; ok {
					require.Equal(t, fmt.Sprint(wanted[bound]), fmt.Sprint(of), "%s.%s.%s", name, key, bound)
				}
			}
		}
	}
}

// Every form that a key may take is one that the document knows.
func TestFormsOfDefinitions(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	const head = `{"id": "p", "name": "P", "steps": [{"capability": "a.b", "as": "x"`
	for name, text := range map[string]string{
		"outputs as a list":        head + `}], "outputs": ["x"]}`,
		"outputs as an object":     head + `}], "outputs": {"a": "{{x}}", "b": {"c": [1, true, null]}, "d": 1.50, "e": false}}`,
		"output schemas":           head + `}], "outputs": ["x"], "output_schemas": {"x": {"type": "object"}}}`,
		"an output schema of true": head + `}], "outputs": ["x"], "output_schemas": {"x": true}}`,
		"charts":                   head + `}], "outputs": ["x"], "charts": [{"mark": "bar"}, "{{x.chart}}"]}`,
		"schema":                   head + `}], "outputs": ["x"], "$schema": "https://dawsos.dev/schemas/pattern.json"}`,
		"fail":                     head + `, "on_error": "fail"}], "outputs": ["x"]}`,
		"continue":                 head + `, "on_error": "continue"}], "outputs": ["x"]}`,
		"a fallback":               head + `, "on_error": {"fallback": [{"a": 1}]}}], "outputs": ["x"]}`,
		"a fallback to null":       head + `, "on_error": {"fallback": null}}], "outputs": ["x"]}`,
		"for_each over a list":     head + `, "for_each": [1, "a", null, {}]}], "outputs": ["x"]}`,
		"for_each over a template": head + `, "for_each": "{{inputs.words}}", "parallel": 3}], "outputs": ["x"]}`,
		"the rest of a step":       head + `, "description": "d", "args": {"a": {}}, "condition": "true", "timeout": "1.5s", "cache": false}], "outputs": ["x"]}`,
		"inputs": head + `}], "outputs": ["x"], "inputs": {
			"a": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "default": 2}}}, "min_items": 0, "max_items": 3, "default": []},
			"b": {"type": "enum", "values": ["x"], "required": true}, "c": {"type": "string", "min_length": 1, "max_length": 2}, "d": {"type": "date", "default": "2020-01-01"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d.requireFits(t, "/components/schemas/Pattern", []byte(text))
			definition, err := pattern.Parse([]byte(text))
			require.NoError(t, err)
			written, err := json.Marshal(definition)
			require.NoError(t, err)
			d.requireFits(t, "/components/schemas/Pattern", written)
			var read pattern.Definition
			require.NoError(t, json.Unmarshal(written, &read))
			again, err := json.Marshal(&read)
			require.NoError(t, err)
			require.Equal(t, string(written), string(again))
		})
	}
}

// What the page offers to try works on the sample data, and examples fit their schemas.
func testExamples(t *testing.T, s *site) {
	t.Helper()
	example := func(path, method string) any {
		operation := s.document.root["paths"].(map[string]any)[path].(map[string]any)[method].(map[string]any)
		content := operation["requestBody"].(map[string]any)["content"].(map[string]any)
		return content["application/json"].(map[string]any)["example"]
	}
	components := s.document.root["components"].(map[string]any)
	of := func(parameter string) string {
		return components["parameters"].(map[string]any)[parameter].(map[string]any)["example"].(string)
	}
	a := s.post(t, "/v1/patterns/"+of("PatternID")+"/execute", example("/v1/patterns/{id}/execute", "post"))
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, http.StatusOK, s.get(t, "/v1/portfolios/"+of("PortfolioID")).status)
	require.Equal(t, map[string]any{"valid": true, "problems": []any{}},
		s.post(t, "/v1/patterns/validate", example("/v1/patterns/validate", "post")).object())
	for name, schema := range components["schemas"].(map[string]any) {
		examples, _ := schema.(map[string]any)["examples"].([]any)
		for _, e := range examples {
			raw, err := json.Marshal(e)
			require.NoError(t, err)
			s.document.requireFits(t, "/components/schemas/"+name, raw)
		}
	}
}
