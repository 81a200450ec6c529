package apifuzz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

// leaks are what an answer must never tell of the inside. What the request itself held is an echo, and
// no leak.
var leaks = []struct {
	name    string
	pattern *regexp.Regexp
}{
	{"a stack trace", regexp.MustCompile(`goroutine \d+ \[|runtime error|panic:|debug\.Stack|\.go:\d+`)},
	{"the database driver", regexp.MustCompile(`(?i)pgx|pgconn|sqlstate|lib/pq|postgres(ql)?://`)},
	{"SQL", regexp.MustCompile(`\b(SELECT\s[^"\\]{1,200}\sFROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b|violates .{0,40}constraint|(relation|column) "\w+"|syntax error at or near`)},
	{"a file's path", regexp.MustCompile(`/(root|home|tmp|work|usr|var|etc|build)/[\w.-]+`)},
	{"a package's path", regexp.MustCompile(`(github\.com|golang\.org|go\.yaml\.in)/\w+`)},
	{"a Go type", regexp.MustCompile(`Go (struct|value)|\bmap\[string\]|\binterface \{|\[\]uint8|\*?\b(httpapi|store|api|patterns|delivery|imports|alerts|portfolio|packs|runs|jobs|time|uuid|decimal|pgtype|json|strconv|reflect|errors|echo)\.[A-Z]\w+`)},
	{"a library's words", regexp.MustCompile(`^(json|strconv|xml|yaml|time|uuid|echo|csv): |\bjson: |strconv\.Parse|parsing time "|code=\d+, message=`)},
	{"an inner address", regexp.MustCompile(`dial tcp|lookup \w+|connection refused|\.sock\b`)},
}

// reasons that a failure of the server may have.
var excused = map[int][]string{
	http.StatusServiceUnavailable: {"unavailable", "breaker_open", "pricing_pack_warming"},
	http.StatusGatewayTimeout:     {"timeout"},
}

// check says what is wrong with an answer.
func (d *document) check(q *request, a *answer, within time.Duration) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if a.took > within {
		say("slow: the answer took longer than %s", within)
	}
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil && len(a.body) > 0 {
		say("content type: %q", a.header.Get("Content-Type"))
	}
	code := ""
	if media == "application/problem+json" && len(a.body) > 0 {
		var p struct {
			Code      string `json:"code"`
			Status    int    `json:"status"`
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal(a.body, &p); err != nil {
			say("problem: no JSON: %v", err)
		}
		if code = p.Code; p.Status != a.status {
			say("problem: says status %d, is answered with %d", p.Status, a.status)
		}
		if p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
			say("problem: request_id is not the header's")
		}
		if a.status < 400 {
			say("problem with status %d", a.status)
		}
	}
	if a.status >= 500 && !slices.Contains(excused[a.status], code) {
		say("answered %d %s", a.status, code)
	}
	if a.status < 300 && q.refused != "" && !d.lenient(q) {
		say("answered %d though %s", a.status, q.refused)
	}
	d.checkForm(q, a, media, say)
	// The router's own answers to OPTIONS and the like say nothing.
	if a.status >= 400 {
		sent := q.everything()
		for _, leak := range leaks {
			for _, found := range leak.pattern.FindAllString(string(a.body), 3) {
				if !strings.Contains(sent, found) {
					say("tells %s: %q", leak.name, found)
					break
				}
			}
		}
	}
	return wrong
}

// lenient tells where a body may be read more generously than its schema says.
func (d *document) lenient(q *request) bool {
	return q.operation.id == "receiveAlertmanager" // what Alertmanager sends is not ours to refuse
}

// checkForm holds status, content type and body against the document.
func (d *document) checkForm(q *request, a *answer, media string, say func(string, ...any)) {
	if q.method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		if len(a.body) > 0 {
			say("form: a body where there may be none")
		}
		return
	}
	if q.method != q.operation.method || slices.Contains(q.bends, "path") { // perhaps not this operation at all
		if a.status >= 400 {
			d.checkProblem(a, media, say)
		}
		return
	}
	if a.status >= 400 {
		d.checkProblem(a, media, say)
		return
	}
	pointer, content, ok := d.response(q.operation, a.status)
	if !ok || strings.HasSuffix(pointer, "/Problem") {
		say("form: status %d is not in the document", a.status)
		return
	}
	if _, ok := content[media]; !ok {
		say("form: content type %q is not in the document", media)
		return
	}
	switch media {
	case "application/json":
		if err := d.fits(pointer+"/content/"+escape(media)+"/schema", a.body); err != nil {
			say("form: the body does not fit the schema: %v", firstLines(err.Error(), 6))
		}
	case "text/event-stream":
		last := a.body[max(0, bytes.LastIndex(a.body, []byte("event: "))):]
		if !bytes.HasPrefix(last, []byte("event: answer\n")) && !bytes.HasPrefix(last, []byte("event: problem\n")) {
			say("form: the stream ends without answer or problem")
		}
	}
}

func (d *document) checkProblem(a *answer, media string, say func(string, ...any)) {
	if media != "application/problem+json" {
		say("form: a failure's content type is %q", media)
		return
	}
	if err := d.fits("/components/schemas/Problem", a.body); err != nil {
		say("form: the problem does not fit its schema: %v", firstLines(err.Error(), 6))
	}
}

func firstLines(s string, n int) string {
	lines := strings.SplitN(s, "\n", n+1)
	return strings.Join(lines[:min(len(lines), n)], "\n")
}

// everything is all that a request holds, escaped and not.
func (q *request) everything() string {
	var b strings.Builder
	write := func(s string) {
		b.WriteString(s)
		b.WriteByte('\n')
	}
	write(q.path)
	write(q.query)
	for _, s := range []string{q.path, q.query} {
		if plain, err := url.PathUnescape(s); err == nil {
			write(plain)
		}
	}
	for name, values := range q.header {
		write(name + ": " + strings.Join(values, " "))
	}
	write(string(q.body))
	return b.String()
}

// Trouble returns the lines of a process's log that must not be in it: panics, and failures that nobody
// expected.
func Trouble(log string) (lines []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "panic") || strings.Contains(line, "request failed") || strings.Contains(line, "DATA RACE") || strings.Contains(line, "fatal error") {
			lines = append(lines, strings.TrimSpace(line[:min(len(line), 2000)]))
		}
	}
	return lines
}
