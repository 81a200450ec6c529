package alerts

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The words of a rule that has none of its own.
const (
	defaultTitle   = "{{name}}"
	defaultMessage = "{{condition}}. Observed: {{observed}}."
)

const (
	maxRenderedTitle   = 500 // characters, what a delivery may have
	maxRenderedMessage = 20_000
)

// Placeholder is a word of a template that a firing puts something in for.
type Placeholder struct {
	Name    string
	Meaning string
}

// Placeholders returns all there are. Those of one value tell of the leading observation: the first
// that is met.
func Placeholders() []Placeholder {
	return []Placeholder{
		{"name", "the rule's name"},
		{"user_id", "whom it is for"},
		{"severity", "info, warning or critical"},
		{"type", "the condition's type"},
		{"condition", "the condition in words"},
		{"observed", "every value that was seen, with its day"},
		{"symbol", "the security of the leading observation, or its series or portfolio"},
		{"entity", "the same"},
		{"portfolio_id", "the same"},
		{"metric", "its metric"},
		{"op", "its operator"},
		{"threshold", "what it was compared with"},
		{"value", "what it was"},
		{"asof", "the day that it is of"},
	}
}

var placeholder = regexp.MustCompile(`\{\{([^{}]*)\}\}`)

// template reads a text whose placeholders are all known.
func (p *problems) template(o object, name string, most int, allowed string) string {
	before := len(p.fields)
	s := p.lines(o, "", name, most, allowed)
	if len(p.fields) > before {
		return s
	}
	known := make([]string, 0, len(Placeholders()))
	for _, k := range Placeholders() {
		known = append(known, k.Name)
	}
	for _, m := range placeholder.FindAllStringSubmatch(s, -1) {
		if word := strings.TrimSpace(m[1]); !slices.Contains(known, word) {
			p.add("/"+name, "there is no placeholder {{%s}}%s; there are %s", escape(word), meant(word, known), strings.Join(known, ", "))
		}
	}
	if rest := placeholder.ReplaceAllString(s, ""); strings.Contains(rest, "{{") || strings.Contains(rest, "}}") {
		p.add("/"+name, "a placeholder is written {{value}}, with both pairs of braces")
	}
	return s
}

// unknownWord stands for what was not seen.
const unknownWord = "unknown"

// placeholders returns what stands for each placeholder.
func placeholders(r Rule, result Result) map[string]string {
	seen := make([]string, len(result.Observed))
	for i, o := range result.Observed {
		seen[i] = o.String()
	}
	words := map[string]string{
		"name": r.Name, "user_id": r.UserID, "severity": string(r.Severity), "type": string(r.Condition.Kind()),
		"condition": r.Condition.String(), "observed": cmp.Or(strings.Join(seen, "; "), unknownWord),
	}
	o, ok := result.Lead()
	if !ok {
		return words // render says unknown for the rest
	}
	for _, name := range []string{"symbol", "entity", "portfolio_id"} {
		words[name] = o.Subject
	}
	words["metric"], words["op"], words["threshold"] = o.Metric, string(o.Op), o.Threshold.String()
	words["value"], words["asof"] = o.Value.String(), o.Asof.Format(time.DateOnly)
	return words
}

// render fills in a template, cut at most characters. What is put in is never looked at again.
func render(template string, words map[string]string, most int) string {
	s := placeholder.ReplaceAllStringFunc(template, func(m string) string {
		return cmp.Or(words[strings.TrimSpace(strings.Trim(m, "{}"))], unknownWord)
	})
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most])
	}
	return s
}
