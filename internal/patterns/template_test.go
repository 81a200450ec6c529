package patterns

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseTemplate(t *testing.T) {
	t.Parallel()
	ref := func(pos int, root string, parts ...part) segment {
		return segment{path: &path{root: root, parts: parts, pos: pos}}
	}
	for in, want := range map[string]template{
		"":                        nil,
		"plain } text }} { [0].x": {{text: "plain } text }} { [0].x"}},
		"{{x}}":                   {ref(3, "x")},
		"{{ \t x\n}}":             {ref(6, "x")},
		"{{state.x[0][12].y_1}}":  {ref(3, "state", part{field: "x"}, part{index: 0}, part{index: 12}, part{field: "y_1"})},
		"{{a}}{{b}}":              {ref(3, "a"), ref(8, "b")},
		"é {{a}}!":                {{text: "é "}, ref(5, "a"), {text: "!"}},
		`{{"{{"}}`:                {{text: "{{"}},
		`a{{ "}}\"\u00e9" }}b`:    {{text: `a}}"éb`}},
		`{{"{"}}{{a}}`:            {{text: "{"}, ref(10, "a")},
		`{{""}}{{a}}`:             {ref(9, "a")},
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			got, err := parseTemplate(in)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"{{":                `character 3: a name is expected, found the end`,
		"{{}}":              `character 3: a name is expected, found '}'`,
		"é{{ x":             `character 6: "}}" is expected, found the end`,
		"{{x}":              `character 4: "}}" is expected, found '}'`,
		"{{x y}}":           `character 5: "}}" is expected, found 'y'`,
		"{{x.}}":            `character 5: a name is expected, found '}'`,
		"{{x. y}}":          `character 5: a name is expected, found ' '`,
		"{{1x}}":            `character 3: a name is expected, found '1'`,
		"{{x.1}}":           `character 5: a name is expected, found '1'`,
		"{{x-y}}":           `character 4: "}}" is expected, found '-'`,
		"{{x[a]}}":          `character 5: "a" is no index`,
		"{{x[-1]}}":         `character 5: "-1" is no index`,
		"{{x[]}}":           `character 5: "" is no index`,
		"{{x[4294967296]}}": `is no index`,
		"{{x[0}}":           `character 5: "]" is missing`,
		"{{{x}}}":           `character 3: a name is expected, found '{'`,
		`{{"x}}`:            `character 3: the string has no end`,
		`{{"\q"}}`:          `character 3: "\q" is not a JSON string`,
		"{{é}}":             `character 3: a name is expected, found 'é'`,
		"{{x}} {{y + 1}}":   `character 11: "}}" is expected, found '+'`,
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			_, err := parseTemplate(in)
			require.ErrorContains(t, err, want)
		})
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{
		"", "text", "{{x}}", "{{ state.x[0].y }} and {{inputs.z}}", `{{"{{"}}{{"{"}}{{a}}`, "{{{", "}}{{x[99]}}", `{{"\ud800\\"}}{`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, err := parseTemplate(s)
		if err != nil {
			return
		}
		for i, segment := range first {
			if segment.path == nil && (segment.text == "" || i > 0 && first[i-1].path == nil) {
				t.Fatalf("%q: text %d is empty or follows text", s, i)
			}
		}
		printed := first.String()
		second, err := parseTemplate(printed)
		require.NoError(t, err, "%q printed as %q", s, printed)
		require.Equal(t, printed, second.String())
		require.Equal(t, withoutPositions(first), withoutPositions(second), "%q printed as %q", s, printed)
	})
}

// withoutPositions drops what printing may change.
func withoutPositions(t template) template {
	for _, s := range t {
		if s.path != nil {
			s.path.pos = 0
		}
	}
	return t
}

// A string of nothing but templates costs what its length does.
func BenchmarkTemplates(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			text := strings.Repeat("é{{a}}", n)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				t, err := parseTemplate(text)
				if err != nil || t[len(t)-1].path.pos != 6*n-2 {
					b.Fatal(err, t[len(t)-1].path.pos)
				}
			}
		})
	}
}
