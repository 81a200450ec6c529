package apifuzz

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// request is one request as it is sent, and what is known of it.
type request struct {
	number    uint64
	operation *operation
	method    string
	path      string // escaped
	query     string // escaped, or bent so that it isn't
	header    http.Header
	body      []byte
	bends     []string // what was done to it; none: it is as the document wants it
	// refused says why the document does not allow it, when that is certain; it must not succeed.
	refused string
	ids     map[string]string // what the path names, by where it belongs
}

// make builds the request of a number.
func (g *generator) make(number uint64, o *operation) *request {
	q := &request{number: number, operation: o, method: o.method, header: http.Header{}, ids: map[string]string{}}
	query := url.Values{}
	path := o.path
	for _, p := range o.parameters {
		if p.in == "path" {
			id, kind := "", owner(path, p.name)
			if v, ok := g.memory.any(g.r, kind).(string); ok && !g.chance(12) { // mostly something that is there
				id = v
				q.ids[kind] = v
			} else {
				id = fmt.Sprint(g.value(p.schema, p.name, 0))
			}
			path = strings.ReplaceAll(path, "{"+p.name+"}", url.PathEscape(id))
		}
	}
	q.path = path
	for _, p := range o.parameters {
		switch p.in {
		case "query":
			if !p.required && !g.chance(4) {
				continue
			}
			var v any
			if p.name == "calendar" && !strings.HasSuffix(q.path, "/prices") {
				continue
			}
			if p.name == "cursor" {
				if v = g.memory.any(g.r, "cursor "+o.id); v == nil {
					continue
				}
			} else {
				v = g.value(p.schema, p.name, 0)
			}
			for _, one := range many(v) {
				query.Add(p.name, one)
			}
		case "header":
			if p.required || g.chance(4) {
				q.header.Set(p.name, visible(fmt.Sprint(g.headerValue(q, p))))
			}
		}
	}
	q.query = query.Encode()
	if len(o.bodies) > 0 && (o.needsBody || !g.chance(3)) {
		g.fill(q)
	}
	if o.id == "executePattern" && g.chance(5) {
		q.header.Set("Accept", "text/event-stream")
	}
	return q
}

func (g *generator) headerValue(q *request, p parameter) any {
	switch p.name {
	case "If-None-Match", "If-Match":
		if v := g.memory.any(g.r, "etag "+q.path); v != nil && !g.chance(4) {
			return v
		}
		return `"` + g.word(8) + `"`
	case "Prefer":
		return "respond-async"
	}
	return g.value(p.schema, p.name, 0)
}

// many are the values of a parameter as texts.
func many(v any) []string {
	values, ok := v.([]any)
	if !ok {
		return []string{fmt.Sprint(v)}
	}
	made := make([]string, len(values))
	for i, one := range values {
		made[i] = fmt.Sprint(one)
	}
	return made
}

// visible keeps of a text what a header may hold.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// fill gives a request a body that fits its schema, bent or not.
func (g *generator) fill(q *request) {
	o := q.operation
	b := pick(g.r, o.bodies)
	q.header.Set("Content-Type", b.contentType)
	kind := strings.TrimPrefix(q.path, "/v1/imports/")
	if b.contentType == "text/csv" || b.contentType == "application/x-ndjson" || o.id == "importRows" {
		rows := g.rows(o, kind)
		if g.chance(2) {
			rows = g.bendRows(q, rows)
		}
		q.body = g.table(b.contentType, rows)
		return
	}
	tree := g.tree(q, b)
	if g.chance(2) {
		tree = g.bendTree(q, b.schema, tree)
	}
	q.body = encode(tree)
	if len(q.bends) > 0 && !o.raw {
		if err := g.d.fits(b.pointer, q.body); err != nil {
			q.refused = "the body does not fit the schema"
		}
	}
}

// tree is a body that fits: the example, one from what is known of the operation, or one of the schema.
func (g *generator) tree(q *request, b body) any {
	o := q.operation
	switch o.id {
	case "executePattern":
		definition := g.memory.definition(g.r, q.ids["/v1/patterns"])
		made := map[string]any{"inputs": g.inputs(definition)}
		if g.chance(2) {
			made["require_fresh"] = false
		}
		if g.chance(3) {
			made["asof"] = g.date()
		}
		return made
	case "validatePattern":
		if d := g.memory.any(g.r, "definitions"); d != nil && g.chance(2) {
			return clone(d)
		}
	case "bookTransactions":
		if g.chance(2) {
			return g.transaction()
		}
	case "snoozeAlert":
		if g.chance(2) {
			return map[string]any{"until": time.Now().Add(time.Duration(1+g.r.IntN(60)) * time.Hour).UTC().Format(time.RFC3339)}
		}
		return map[string]any{"duration_seconds": g.r.IntN(4000), "reason": pick(g.r, words)}
	case "replayDeadLetters", "discardDeadLetters":
		if g.chance(3) {
			return map[string]any{"filter": map[string]any{"all": true}, "per_second": 1}
		}
	case "updateAlert":
		made := map[string]any{}
		of := object(object(object(g.d.root["components"])["schemas"])["NewAlertRule"])
		properties := object(of["properties"])
		for range 1 + g.r.IntN(3) {
			key := pick(g.r, slices.Sorted(maps.Keys(properties)))
			made[key] = g.member(object(properties[key]), key, 0)
		}
		return made
	}
	if b.example != nil && g.chance(3) {
		return g.local(clone(b.example))
	}
	made := g.value(b.schema, "", 0)
	if o.id == "createAlert" || o.id == "createDelivery" {
		m := object(made)
		if fallback, ok := m["fallback"]; ok && len(object(fallback)) == 0 {
			delete(m, "fallback")
		}
		if channels, ok := m["channels"]; ok && len(object(channels)) == 0 {
			m["channels"] = map[string]any{"inapp": true}
		}
		delete(m, "type") // a rule's type is its condition's
	}
	if o.id == "createDestination" || o.id == "updateDestination" {
		g.settle(object(made), o.id == "createDestination")
	}
	return made
}

// settle leaves a destination what its channel has. A chat's address would lead out of here, so there are
// only such as are none.
func (g *generator) settle(m map[string]any, whole bool) {
	if whole {
		m["channel"] = pick(g.r, []string{"webhook", "webhook", "webhook", "email", "chat"})
	}
	if m["channel"] == "email" {
		m["to"] = []any{g.word(5) + "@example.com"}
		for _, key := range []string{"url", "headers", "secret"} {
			delete(m, key)
		}
		return
	}
	delete(m, "to")
	if v, ok := g.known("url"); ok && whole && m["channel"] == "webhook" {
		m["url"] = v
	}
	if _, ok := m["secret"]; ok && !g.chance(4) {
		m["secret"] = "whsec_" + strings.Repeat("QUJD", 8)
	}
	if _, ok := m["headers"]; ok && g.chance(2) {
		m["headers"] = map[string]any{"X-Desk": pick(g.r, words)}
	}
}

// transaction is a booking that holds together.
func (g *generator) transaction() any {
	m := map[string]any{"date": g.date(), "currency": "CHF"}
	n := 1 + g.r.IntN(1000)
	switch g.r.IntN(6) {
	case 0, 1:
		m["type"], m["amount"] = "DEPOSIT", strconv.Itoa(n)
	case 2:
		m["type"], m["symbol"], m["quantity"], m["price"] = "BUY", "SBI", strconv.Itoa(n), "100.5"
	case 3:
		m["type"], m["symbol"], m["quantity"], m["price"] = "SELL", "SBI", "1", "101"
	case 4:
		m["type"], m["amount"] = "FEE", "-0.5"
	default:
		m["type"], m["symbol"], m["amount"] = "DIVIDEND", "SBI", "12.34"
	}
	return m
}

// local lets the addresses of an example lead to our receiver.
func (g *generator) local(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			if key == "url" {
				v[key] = g.receiver + "/ok"
			} else {
				v[key] = g.local(v[key])
			}
		}
	case []any:
		for i := range v {
			v[i] = g.local(v[i])
		}
	}
	return v
}

// rows are what is imported, or transactions: an object a row.
func (g *generator) rows(o *operation, kind string) []map[string]any {
	name := map[string]string{
		"securities": "ImportSecurity", "prices": "ImportPrice", "fx": "ImportRate", "macro": "ImportMacroValue",
		"ratings": "ImportRating", "fundamentals": "ImportFundamental", "news": "ImportNewsItem",
	}[kind]
	if o.id != "importRows" {
		name = "NewTransaction"
	}
	schema := object(object(object(g.d.root["components"])["schemas"])[name])
	rows := []map[string]any{}
	for range 1 + g.r.IntN(4) {
		row := object(g.value(schema, "", 0))
		if row == nil { // a kind that there is not
			row = map[string]any{"a": g.anything(0)}
		}
		if o.id != "importRows" && g.chance(2) {
			row = object(g.transaction())
		} else {
			g.coherent(row)
		}
		if _, ok := row["date"]; ok && o.id == "importRows" && !g.chance(20) {
			// One of the last days: from an earlier one on, all pricing packs would have to be made anew.
			row["date"] = fmt.Sprintf("2007-05-0%d", 7+g.r.IntN(2))
		}
		rows = append(rows, row)
	}
	return rows
}

// coherent keeps a row from contradicting itself, mostly.
func (g *generator) coherent(row map[string]any) {
	if g.chance(4) {
		return
	}
	for _, key := range []string{"open", "high", "low", "duration", "convexity", "sentiment", "frequency", "url", "period_end"} {
		delete(row, key)
	}
	for key, value := range map[string]any{
		"symbol": "SBI", "currency": "CHF", "base": "EUR", "quote": "CHF", "close": "101.5", "rate": "1.25", "score": "5", "volume": "10",
		"asset_class": "equity", "symbols": []any{"SBI"}, "quantity": "1", "price": "1", "amount": "100",
	} {
		if _, ok := row[key]; ok {
			row[key] = value
		}
	}
}

// table writes rows in a content type.
func (g *generator) table(contentType string, rows []map[string]any) []byte {
	var b bytes.Buffer
	switch contentType {
	case "text/csv":
		columns := map[string]bool{}
		for _, row := range rows {
			for key := range row {
				columns[key] = true
			}
		}
		names := slices.Sorted(maps.Keys(columns))
		w := csv.NewWriter(&b)
		_ = w.Write(names) // into memory
		for _, row := range rows {
			cells := make([]string, len(names))
			for i, name := range names {
				if v, ok := row[name]; ok && v != nil {
					cells[i] = strings.Trim(string(encode(v)), `"`)
				}
			}
			_ = w.Write(cells)
		}
		w.Flush()
	case "application/x-ndjson":
		for _, row := range rows {
			b.Write(encode(row))
			b.WriteByte('\n')
		}
	default:
		list := make([]any, len(rows))
		for i, row := range rows {
			list[i] = row
		}
		b.Write(encode(list))
	}
	return b.Bytes()
}

// encode writes JSON without HTML's escapes. A value of ours that is no JSON is a mistake of ours.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %#v: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func clone(v any) any {
	d := json.NewDecoder(bytes.NewReader(encode(v)))
	d.UseNumber()
	var c any
	if err := d.Decode(&c); err != nil {
		panic(fmt.Sprintf("clone: %v", err))
	}
	return c
}
