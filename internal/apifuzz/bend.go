package apifuzz

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// odd are texts that other systems have stumbled over.
var odd = []string{
	"", " ", "\t\n", "null", "undefined", "NaN", "-0", "1e309", "true", "[]", "{}", "%s%n%x", "%00", "..", "../../../../etc/passwd",
	"' OR '1'='1", "'; DROP TABLE alert_dlq; --", "1) UNION SELECT usename FROM pg_user--", `\'; SELECT pg_sleep(10)--`, "$1", "$$",
	"{{7*7}}", "{{inputs.portfolio_id}}", "{{.}}", "{{range $i, $e := .}}{{end}}", "${jndi:ldap://127.0.0.1:1/a}", "#{7*7}", "<%= 7*7 %>",
	"<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "=cmd|' /C calc'!A0", "@SUM(1+1)",
	"\u0000", "a\u0000b", "\u202e\u2066", "\ufeff", "\ufffd", "Ω≈ç√", "田中さん", "🏳️‍🌈", "e\u0301\u0301\u0301\u0301", "İstanbul", "ß", "\u2028", "\u007f", "\x1b[31m",
	"2006-13-45", "0000-00-00", "9999-12-31", "-0001-01-01", "2006-02-30", "9999-12-31T23:59:60Z", "1970-01-01T00:00:00+99:99",
	"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e8", "{9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81}",
	"urn:uuid:9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81", "99999999999999999999999999999999999999", "0.00000000000000000000000000000000000001", "1_000", "0x10", "١٢٣", "+1", "1,5",
	"slack://", "http://", "http://127.0.0.1:1/", "http://[::1]:1/", "http://169.254.169.254/", "file:///etc/passwd", "gopher://127.0.0.1:1/", "http://127.0.0.1:99999/", "//",
}

// numbers are as odd. They are JSON.
var numbers = []string{
	"0", "-0", "-1", "1.5", "1e400", "-1e400", "1e-400", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "2147483648",
	"18446744073709551616", "0.1e1", "1E+2", "9007199254740993", "99999999999999999999999999999999999999999999999999", "1e131073",
}

// bendTree changes a body in a place or two.
func (g *generator) bendTree(q *request, schema map[string]any, tree any) any {
	for range 1 + g.r.IntN(2) {
		var bend string
		tree, bend = g.bendOnce(schema, tree, 0)
		q.bends = append(q.bends, bend)
	}
	return tree
}

// bendOnce goes down to some place and changes what is there.
func (g *generator) bendOnce(schema map[string]any, v any, depth int) (any, string) {
	schema = g.d.resolve(schema)
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		properties := object(schema["properties"])
		if len(keys) > 0 && !g.chance(3) {
			key := pick(g.r, keys)
			changed, bend := g.bendOnce(object(properties[key]), v[key], depth+1)
			v[key] = changed
			return v, bend
		}
		switch g.r.IntN(6) {
		case 0, 1:
			if len(keys) > 0 {
				delete(v, pick(g.r, keys))
			}
			return v, "member left out"
		case 2:
			v[pick(g.r, []string{"extra", "__proto__", "constructor", "Id", "", "$where", "a.b", "\u0000", "tenant_id"})] = g.anything(0)
			return v, "member too many"
		case 3:
			if len(keys) > 0 {
				v[pick(g.r, keys)] = nil
			}
			return v, "member null"
		case 4:
			if len(keys) > 0 {
				key := pick(g.r, keys)
				return twice(v, key, g.anything(0)), "member twice"
			}
		}
		return g.otherwise(v), "other type"
	case []any:
		if len(v) > 0 && !g.chance(3) {
			i := g.r.IntN(len(v))
			changed, bend := g.bendOnce(object(schema["items"]), v[i], depth+1)
			v[i] = changed
			return v, bend
		}
		switch g.r.IntN(4) {
		case 0:
			return []any{}, "list empty"
		case 1:
			n := pick(g.r, []int{2, int(min(number(schema["maxItems"], 100), 1100)) + 1, 1001, 20})
			long := make([]any, 0, n)
			for i := range n {
				if len(v) > 0 {
					long = append(long, v[i%len(v)])
				} else {
					long = append(long, g.value(object(schema["items"]), "", deepest))
				}
			}
			return long, "list long"
		case 2:
			return append(v, nil), "list with null"
		}
		return g.otherwise(v), "other type"
	default:
		return g.bendLeaf(schema, v)
	}
}

func (g *generator) bendLeaf(schema map[string]any, v any) (any, string) {
	if g.chance(5) {
		return g.otherwise(v), "other type"
	}
	if _, isText := v.(string); isText {
		most := int(number(schema["maxLength"], 200))
		switch g.r.IntN(8) {
		case 0:
			return strings.Repeat("x", most), "text as long as may be"
		case 1:
			return strings.Repeat("é", most+1), "text too long"
		case 2:
			return strings.Repeat(pick(g.r, []string{"a", "0", "🙂", "{{", "("}), pick(g.r, []int{1000, 10_000, 200_000})), "text huge"
		case 3:
			return json.RawMessage(pick(g.r, []string{`"\ud800"`, `"\udc00\ud800"`, `"a\u0000b"`, `"\uFFFF"`, `"\/\b\f"`})), "escapes"
		default:
			return pick(g.r, odd), "text odd"
		}
	}
	switch g.r.IntN(4) {
	case 0:
		return json.Number(fmt.Sprint(number(schema["minimum"], 0) - 1)), "number below"
	case 1:
		return json.Number(fmt.Sprint(number(schema["maximum"], 1e9) + 1)), "number above"
	default:
		return json.RawMessage(pick(g.r, numbers)), "number odd"
	}
}

// otherwise is a value of another type.
func (g *generator) otherwise(v any) any {
	switch g.r.IntN(7) {
	case 0:
		return nil
	case 1:
		return json.RawMessage(pick(g.r, numbers))
	case 2:
		return pick(g.r, odd)
	case 3:
		return []any{v}
	case 4:
		return map[string]any{"a": v}
	case 5:
		n := pick(g.r, []int{20, 200, 9000}) // more is no JSON to the encoder; bendBytes sends it
		return json.RawMessage(nested(g.chance(2), n))
	default:
		return g.chance(2)
	}
}

// nested is JSON n levels deep. Decoders of Go refuse more than 10,000.
func nested(lists bool, n int) string {
	if lists {
		return strings.Repeat("[", n) + strings.Repeat("]", n)
	}
	return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n)
}

// twice is an object that has a member two times.
func twice(v map[string]any, key string, other any) any {
	raw := encode(v)
	return json.RawMessage(fmt.Sprintf("%s,%s:%s}", raw[:len(raw)-1], encode(key), encode(other)))
}

// bendRows changes cells.
func (g *generator) bendRows(q *request, rows []map[string]any) []map[string]any {
	row := pick(g.r, rows)
	for key, v := range row { // in any order: decimals and texts become what the table writes anyway
		if _, ok := v.(json.RawMessage); ok {
			delete(row, key)
		}
	}
	keys := slices.Sorted(maps.Keys(row))
	if len(keys) == 0 {
		return rows
	}
	key := pick(g.r, keys)
	switch g.r.IntN(5) {
	case 0:
		delete(row, key)
		q.bends = append(q.bends, "cell left out")
	case 1:
		row["extra"] = "x"
		q.bends = append(q.bends, "column too many")
	case 2:
		row[key] = strings.Repeat("9", pick(g.r, []int{30, 3000, 100_000}))
		q.bends = append(q.bends, "cell huge")
	case 3:
		row[key] = nil
		q.bends = append(q.bends, "cell empty")
	default:
		row[key] = pick(g.r, odd)
		q.bends = append(q.bends, "cell odd")
	}
	return rows
}

// bendWhole changes what stands around the body: bytes, content type, method, path, query, headers.
func (g *generator) bendWhole(q *request) {
	bend := func(name string) { q.bends = append(q.bends, name) }
	switch g.r.IntN(16) {
	case 0, 1:
		g.bendBytes(q)
	case 2:
		if len(q.body) > 0 {
			q.header.Set("Content-Type", pick(g.r, []string{
				"text/plain", "application/xml", "application/json; charset=utf-16", "multipart/form-data", "application/x-www-form-urlencoded",
				"APPLICATION/JSON", "application/json;;", "*/*", "application/vnd.api+json", "text/csv; header=absent", "application/json, text/csv", "é",
			}))
			bend("content type")
		}
	case 3:
		q.header.Del("Content-Type")
		bend("no content type")
	case 4, 5:
		q.method = pick(g.r, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"})
		q.refused = ""
		bend("method")
	case 6:
		steps := strings.Split(q.path, "/")
		at := 2 + g.r.IntN(max(len(steps)-2, 1))
		if at < len(steps) {
			steps[at] = pick(g.r, []string{
				"", ".", "..", "%2e%2e", "%00", "%ff", "%2F", "a%2Fb", url.PathEscape(pick(g.r, odd)), strings.Repeat("a", 3000), strings.ToUpper(steps[at]), steps[at] + "%20", "{id}", ":id", "*",
			})
		}
		q.path = strings.Join(steps, "/")
		q.refused = ""
		bend("path")
	case 7:
		q.path += pick(g.r, []string{"/", "//", "/x", ".json", ";a=b", "/%20"})
		q.refused = ""
		bend("path")
	case 8, 9, 10:
		g.bendQuery(q)
	case 11, 12, 13:
		names := []string{"X-Request-ID", "traceparent", "Accept", "Accept-Encoding", "X-Forwarded-For", "Range", "If-None-Match", "If-Match", "Idempotency-Key", "Prefer", "X-Client", "X-Reason", "Expect-CT", "Cookie", "Origin", "tracestate"}
		for _, p := range q.operation.parameters {
			if p.in == "header" {
				names = append(names, p.name, p.name, p.name)
			}
		}
		value := visible(pick(g.r, append(slices.Clone(odd), strings.Repeat("a", 300), strings.Repeat("b", 8000), "\xff\xfe", `W/"1"`, "*", `"`, "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01", "application/xml;q=0.1", "respond-async; wait=9999999999999999999")))
		q.header.Set(pick(g.r, names), value)
		bend("header")
	case 14:
		if len(q.body) > 0 {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, _ = w.Write(q.body) // into memory
			_ = w.Close()
			q.body = b.Bytes()
			q.header.Set("Content-Encoding", "gzip")
			bend("gzip")
		}
	default:
		if len(q.body) > 0 && g.chance(10) {
			q.body = append(q.body, bytes.Repeat([]byte(" "), 2<<20)...)
			bend("body of 2 MiB")
		}
	}
}

func (g *generator) bendBytes(q *request) {
	if len(q.body) == 0 {
		q.body = []byte(pick(g.r, []string{"{}", "[]", "null", "x", "\x00"}))
		q.bends = append(q.bends, "body where none is")
		return
	}
	q.body = slices.Clone(q.body)
	at := g.r.IntN(len(q.body))
	name := "bytes"
	switch g.r.IntN(10) {
	case 0:
		q.body = q.body[:at]
		name = "cut short"
	case 1:
		q.body = append(q.body, pick(g.r, []string{"x", "{}", "\x00", ",", "]", "}"})...)
		name = "more behind"
	case 2:
		q.body[at] = pick(g.r, []byte{0, 0xff, 0xc0, 0x80, '"', '\\', '{', '\n'})
	case 3:
		q.body = slices.Insert(q.body, at, []byte(pick(g.r, []string{"\x00", "\xff", "\xed\xa0\x80", "\"", "\\u", "\r", ",", "\ufeff"}))...)
	case 4:
		q.body = append([]byte("\ufeff"), q.body...)
		name = "byte order mark"
	case 5:
		q.body = []byte(pick(g.r, []string{"", "null", "[]", "{}", "0", `""`, "true", "<a/>", "NaN", "[", "\xff\xfe{\x00}\x00", `{"a":1}{"a":1}`, "'a'", "/*a*/{}"}))
		name = "another body"
	case 6:
		q.body = []byte(nested(g.chance(2), pick(g.r, []int{100, 9999, 10_001, 100_000})))
		name = "nested deeply"
	default:
		q.body[at] ^= 1 << g.r.IntN(8)
		name = "bit turned"
	}
	q.refused = "" // it may have become what is allowed
	q.bends = append(q.bends, name)
}

func (g *generator) bendQuery(q *request) {
	names := []string{"limit", "cursor", "unknown"}
	for _, p := range q.operation.parameters {
		if p.in == "query" {
			names = append(names, p.name, p.name)
		}
	}
	name := pick(g.r, names)
	var part string
	switch g.r.IntN(6) {
	case 0:
		part = pick(g.r, []string{"%zz", "%", "a=%u0041", "&&&", "=", ";a=b", "a[]=1", "a[b]=c", "%00=1", "\xff=1", "limit", "limit=1&limit=2", strings.Repeat("a", 4000) + "=1"})
	case 1:
		part = name + "=" + pick(g.r, []string{"%zz", "%ff", "%00", "%e2%28%a1", "%2500", "a%0d%0aX-Injected:%201"})
	case 2:
		part = name + "=" + url.QueryEscape(pick(g.r, numbers))
	default:
		part = name + "=" + url.QueryEscape(pick(g.r, append(slices.Clone(odd), strings.Repeat("x", 600))))
	}
	if q.query != "" && g.chance(2) {
		part = q.query + "&" + part
	}
	q.query = part
	q.refused = ""
	q.bends = append(q.bends, "query")
}
