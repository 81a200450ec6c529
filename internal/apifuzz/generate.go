package apifuzz

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// generator makes values that fit schemas. It is one request's.
type generator struct {
	r        *rand.Rand
	d        *document
	memory   *memory
	receiver string // where webhooks go: nowhere else
}

// deepest is how deep generated values nest.
const deepest = 6

// chance is true once in n times.
func (g *generator) chance(n int) bool { return g.r.IntN(n) == 0 }

func pick[T any](r *rand.Rand, values []T) T { return values[r.IntN(len(values))] }

// value makes a value for the schema of the member name.
func (g *generator) value(schema map[string]any, name string, depth int) any {
	schema = g.d.resolve(schema)
	if all := list(schema["allOf"]); len(all) > 0 {
		return g.value(g.merged(schema, all), name, depth)
	}
	for _, key := range []string{"oneOf", "anyOf"} {
		if options := list(schema[key]); len(options) > 0 {
			return g.value(object(pick(g.r, options)), name, depth)
		}
	}
	if c, ok := schema["const"]; ok {
		return c
	}
	if values := list(schema["enum"]); len(values) > 0 {
		return pick(g.r, values)
	}
	if v, ok := g.known(name); ok {
		return v
	}
	kind := text(schema["type"])
	if kinds := list(schema["type"]); len(kinds) > 0 {
		kind = text(pick(g.r, kinds))
	}
	switch kind {
	case "object":
		return g.object(schema, name, depth)
	case "array":
		return g.array(schema, name, depth)
	case "string":
		return g.text(schema, name)
	case "integer", "number":
		return g.number(schema, kind == "integer")
	case "boolean":
		return g.chance(2)
	case "null":
		return nil
	default:
		return g.anything(depth)
	}
}

// merged is one schema of all parts.
func (g *generator) merged(schema map[string]any, parts []any) map[string]any {
	properties, required := maps.Clone(object(schema["properties"])), slices.Clone(list(schema["required"]))
	if properties == nil {
		properties = map[string]any{}
	}
	for _, part := range parts {
		part := g.d.resolve(object(part))
		if all := list(part["allOf"]); len(all) > 0 {
			part = g.merged(part, all)
		}
		maps.Copy(properties, object(part["properties"]))
		required = append(required, list(part["required"])...)
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

// known makes values of members that mean something: what is there rather than any text. Addresses lead to
// our own receiver, or nowhere.
func (g *generator) known(name string) (any, bool) {
	switch name {
	case "url", "webhook":
		if name == "webhook" && g.chance(2) { // in bodies it is an object
			return nil, false
		}
		return g.receiver + pick(g.r, []string{"/ok", "/ok", "/ok", "/fail", "/gone", "/slow", "/redirect", "/large", "/reset"}), true
	case "symbol", "calendar", "benchmark":
		if g.chance(4) {
			return nil, false
		}
		return pick(g.r, []string{"SBI", "SPI", "SII", "LP25", "LP40", "GOLD", "SBI", "NONE", "USD/CHF"}), true
	case "condition":
		return g.condition(0), true
	case "currency", "base_currency", "base", "quote":
		return pick(g.r, []string{"CHF", "USD", "EUR", "CHF", "XXX"}), true
	case "portfolio_id", "event_id", "run_id", "operation_id", "alert_id", "user_id":
		if v := g.memory.any(g.r, belongs[name]); v != nil && !g.chance(5) {
			return v, true
		}
	case "destination":
		if v := g.memory.any(g.r, "/v1/destinations"); v != nil && g.chance(2) {
			return v, true
		}
	case "cursor":
		return nil, false
	}
	return nil, false
}

func (g *generator) object(schema map[string]any, name string, depth int) any {
	properties := object(schema["properties"])
	made := map[string]any{}
	required := list(schema["required"])
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		needed := slices.Contains(required, any(key))
		if !needed && (depth >= deepest || !g.chance(2)) {
			continue
		}
		made[key] = g.member(object(properties[key]), key, depth)
	}
	if len(made) == 0 && len(properties) > 0 && number(schema["minProperties"], 0) > 0 {
		key := pick(g.r, slices.Sorted(maps.Keys(properties)))
		made[key] = g.member(object(properties[key]), key, depth)
	}
	if more, ok := schema["additionalProperties"]; ok && more != false && depth < deepest && len(properties) == 0 {
		for range g.r.IntN(4) {
			key := g.word(12)
			if name == "headers" {
				key = "X-" + key
			}
			if of := object(more); len(of) > 0 {
				made[key] = g.value(of, key, depth+1)
			} else {
				made[key] = g.anything(depth + 1)
			}
		}
	}
	return made
}

// member makes an object's member. Where a list or an object is wanted, a known value goes into it.
func (g *generator) member(schema map[string]any, key string, depth int) any {
	of := g.d.resolve(schema)
	if of["type"] == "object" && key != "condition" {
		return g.object(of, key, depth+1)
	}
	return g.value(schema, key, depth+1)
}

func (g *generator) array(schema map[string]any, name string, depth int) any {
	least, most := int(number(schema["minItems"], 0)), int(number(schema["maxItems"], 5))
	n := least
	if depth < deepest {
		n += g.r.IntN(min(most, least+3) - least + 1)
	}
	made := []any{}
	for range n {
		v := g.value(object(schema["items"]), name, depth+1)
		if schema["uniqueItems"] == true && slices.ContainsFunc(made, func(other any) bool { return fmt.Sprint(other) == fmt.Sprint(v) }) {
			continue
		}
		made = append(made, v)
	}
	return made
}

// words are what texts are made of.
var words = []string{"nav", "drop", "risk", "Ω", "desk", "CHF", "3 %", "été", "數據", "🙂", "a", "b", "c", "rate", "limit"}

func (g *generator) word(most int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, 1+g.r.IntN(max(most, 1)))
	for i := range b {
		b[i] = letters[g.r.IntN(len(letters))]
	}
	return string(b)
}

func (g *generator) text(schema map[string]any, name string) any {
	switch text(schema["format"]) {
	case "uuid":
		return g.uuid()
	case "date":
		return g.date()
	case "date-time":
		return g.date() + pick(g.r, []string{"T09:30:00Z", "T00:00:00Z", "T23:59:59.999999Z", "T09:30:00+02:00"})
	}
	if p := text(schema["pattern"]); p != "" {
		if p == `^-?[0-9]+(\.[0-9]+)?$` {
			return pick(g.r, []string{"1", "100", "0", "-1", "0.01", "12.5", "1000000", strconv.Itoa(g.r.IntN(10000))})
		}
		return matching(g.r, p)
	}
	if name == "to" || name == "email" {
		return g.word(5) + "@example.com"
	}
	least, most := int(number(schema["minLength"], 0)), int(number(schema["maxLength"], 40))
	s := ""
	for range 1 + g.r.IntN(3) {
		if next := s + pick(g.r, words) + " "; len([]rune(next)) <= most {
			s = next
		}
	}
	s = strings.TrimSpace(s)
	for len([]rune(s)) < least {
		s += "x"
	}
	return s
}

func (g *generator) uuid() string {
	hi, lo := g.r.Uint64(), g.r.Uint64()
	return fmt.Sprintf("%08x-%04x-7%03x-a%03x-%012x", hi>>32, hi>>16&0xffff, hi&0xfff, lo>>48&0xfff, lo&0xffffffffffff)
}

func (g *generator) date() string {
	if v, ok := g.memory.any(g.r, "dates").(string); ok && g.chance(2) && len(v) == len("2006-01-02") {
		return v
	}
	return fmt.Sprintf("%d-%02d-%02d", 2004+g.r.IntN(4), 1+g.r.IntN(12), 1+g.r.IntN(28))
}

func (g *generator) number(schema map[string]any, whole bool) any {
	least, most := number(schema["minimum"], -1000), number(schema["maximum"], 1000)
	if least > most {
		most = least + 1000
	}
	switch g.r.IntN(6) {
	case 0:
		return json.Number(strconv.FormatFloat(least, 'f', -1, 64))
	case 1:
		return json.Number(strconv.FormatFloat(most, 'f', -1, 64))
	}
	v := least + g.r.Float64()*math.Min(most-least, 1000)
	if whole {
		return json.Number(strconv.FormatFloat(math.Trunc(v), 'f', -1, 64))
	}
	return json.Number(strconv.FormatFloat(v, 'f', 3, 64))
}

func (g *generator) anything(depth int) any {
	if depth >= deepest {
		return nil
	}
	switch g.r.IntN(7) {
	case 0:
		return nil
	case 1:
		return g.chance(2)
	case 2:
		return g.r.IntN(1000)
	case 3:
		return map[string]any{g.word(5): g.anything(depth + 1)}
	case 4:
		return []any{g.anything(depth + 1)}
	case 5:
		return json.Number("1.50")
	default:
		return pick(g.r, words)
	}
}

// condition makes a rule's condition, whose forms stand in the document in words.
func (g *generator) condition(depth int) any {
	if depth < 3 && g.chance(4) {
		switch g.r.IntN(3) {
		case 0:
			return map[string]any{"all": []any{g.condition(depth + 1), g.condition(depth + 1)}}
		case 1:
			return map[string]any{"any": []any{g.condition(depth + 1)}}
		default:
			return map[string]any{"not": g.condition(depth + 1)}
		}
	}
	op := pick(g.r, []string{"<", "<=", ">", ">=", "==", "!="})
	symbol := pick(g.r, []string{"SBI", "SPI", "GOLD", "NONE"})
	portfolio := g.memory.any(g.r, "/v1/portfolios")
	if portfolio == nil {
		portfolio = g.uuid()
	}
	level := json.Number(strconv.FormatFloat(math.Round(g.r.Float64()*1000)/1000, 'f', -1, 64))
	switch g.r.IntN(8) {
	case 0:
		return map[string]any{"type": "macro", "entity": pick(g.r, []string{"US_UNRATE", "US_TBILL3M", "NONE"}), "op": op, "value": level}
	case 1:
		return map[string]any{"type": "metric", "portfolio_id": portfolio, "metric": pick(g.r, []string{"twr_1y", "nav", "volatility"}), "op": op, "value": level}
	case 2:
		return map[string]any{"type": "rating", "symbol": symbol, "metric": "moat_score", "op": op, "value": g.r.IntN(11)}
	case 3:
		return map[string]any{"type": "news_sentiment", "symbol": symbol, "op": op, "value": level}
	case 4:
		return map[string]any{"type": "drawdown_limit", "portfolio_id": portfolio, "limit": json.Number("0.25")}
	case 5:
		return map[string]any{"type": "dar_breach", "portfolio_id": portfolio, "level": json.Number("0.15")}
	case 6:
		return map[string]any{"type": "regime_shift", "confidence": level}
	default:
		return map[string]any{"type": "price", "symbol": symbol, "metric": pick(g.r, []string{"close", "change_pct", "volume"}), "op": op, "value": g.r.IntN(200)}
	}
}

// input makes a value for a pattern's declared input.
func (g *generator) input(declared map[string]any, name string, depth int) any {
	if name == "portfolio_id" {
		if v := g.memory.any(g.r, "/v1/portfolios"); v != nil {
			return v
		}
	}
	switch text(declared["type"]) {
	case "integer", "number":
		return g.number(declared, declared["type"] == "integer")
	case "boolean":
		return g.chance(2)
	case "uuid":
		return g.uuid()
	case "date":
		return g.date()
	case "enum":
		if values := list(declared["values"]); len(values) > 0 {
			return pick(g.r, values)
		}
	case "array":
		made := []any{}
		for range int(number(declared["min_items"], 0)) + g.r.IntN(2) {
			made = append(made, g.input(object(declared["items"]), "", depth+1))
		}
		return made
	case "object":
		made := map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(object(declared["properties"]))) {
			of := object(object(declared["properties"])[key])
			if of["required"] == true || g.chance(2) {
				made[key] = g.input(of, key, depth+1)
			}
		}
		return made
	}
	if v, ok := g.known(name); ok {
		return v
	}
	return g.text(map[string]any{"maxLength": declared["max_length"], "minLength": declared["min_length"]}, name)
}

// inputs are what a pattern declares; what has a default is mostly left out.
func (g *generator) inputs(definition map[string]any) map[string]any {
	made := map[string]any{}
	declared := object(definition["inputs"])
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		of := object(declared[name])
		if of["required"] == true || g.chance(4) {
			made[name] = g.input(of, name, 0)
		}
	}
	return made
}

// number reads a bound of a schema.
func number(v any, otherwise float64) float64 {
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	case float64:
		return v
	}
	return otherwise
}

// matching makes a text that a pattern matches. Repetitions without a bound stop at eight.
func matching(r *rand.Rand, pattern string) string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return pattern
	}
	var b strings.Builder
	write(r, &b, re.Simplify(), 0)
	return b.String()
}

func write(r *rand.Rand, b *strings.Builder, re *syntax.Regexp, depth int) {
	times := func(least, most int) {
		for range least + r.IntN(most-least+1) {
			write(r, b, re.Sub[0], depth+1)
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		at := 2 * r.IntN(len(re.Rune)/2)
		b.WriteRune(re.Rune[at] + r.Int32N(re.Rune[at+1]-re.Rune[at]+1))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpCapture:
		write(r, b, re.Sub[0], depth+1)
	case syntax.OpStar:
		times(0, 8)
	case syntax.OpPlus:
		times(1, 8)
	case syntax.OpQuest:
		times(0, 1)
	case syntax.OpRepeat:
		times(re.Min, max(re.Max, re.Min))
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			write(r, b, sub, depth+1)
		}
	case syntax.OpAlternate:
		write(r, b, pick(r, re.Sub), depth+1)
	default: // the ends of the text, and what matches nothing
	}
}
