package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
)

// page is what the layout shows around a page's own content.
type page struct {
	Title   string
	Section string // the entry of the navigation that it belongs to: its path
	Theme   string // light, dark or "" for the system's
	Mark    string // identifies its content, so that live knows what the reader has seen
	Address string // that it was asked for, with its query
	Groups  []navGroup
	Who     string // who looks; "" when nobody is known
	Main    template.HTML
}

type navGroup struct {
	Name    string
	Entries []navEntry
}

type navEntry struct{ Name, Path string }

var navigation = []navGroup{
	{"Operate", []navEntry{
		{"Overview", "/console"},
		{"Dead letters", "/console/dlq"},
		{"Deliveries", "/console/deliveries"},
		{"Alerts", "/console/alerts"},
		{"Destinations", "/console/destinations"},
		{"Inbox", "/console/inbox"},
	}},
	{"Analyse", []navEntry{
		{"Portfolios", "/console/portfolios"},
		{"Patterns", "/console/patterns"},
		{"Runs", "/console/runs"},
		{"Insights", "/console/insights"},
	}},
	{"System", []navEntry{
		{"Imports", "/console/imports"},
		{"Pricing packs", "/console/packs"},
		{"Jobs", "/console/jobs"},
		{"Agents", "/console/agents"},
		{"Queue", "/console/queue/"},
		{"Audit", "/console/audit"},
	}},
}

// render answers with the page that the template file name makes of data: all of it, or what is inside of
// the layout for htmx and live.
func (c *Console) render(w http.ResponseWriter, r *http.Request, status int, name, section, title string, data any) error {
	t, ok := c.pages[name]
	if !ok {
		return fmt.Errorf("there is no page %q", name)
	}
	var main bytes.Buffer
	if err := t.ExecuteTemplate(&main, "main", data); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	sum := sha256.Sum256(main.Bytes())
	mark := hex.EncodeToString(sum[:8])
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "HX-Request")
	h.Set(markHeader, mark)
	body := main.Bytes()
	if r.Header.Get("HX-Request") == "" {
		var whole bytes.Buffer
		who, _ := auth.From(r.Context())
		groups := visible(who)
		if r.Context().Value(wholeMenu{}) != nil {
			groups = navigation
		}
		p := page{
			Title: title, Section: section, Theme: theme(r), Mark: mark, Address: r.URL.RequestURI(),
			Groups: groups, Who: who.Subject, Main: template.HTML(main.String()), //nolint:gosec // html/template made it
		}
		if err := t.ExecuteTemplate(&whole, "layout", p); err != nil {
			return fmt.Errorf("page %s: %w", name, err)
		}
		body = whole.Bytes()
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever has gone needs no answer
	return nil
}

// markHeader carries the mark of a page's content.
const markHeader = "Dawsos-Mark"

// theme is what the reader has chosen; the page's script keeps it in a cookie.
func theme(r *http.Request) string {
	if k, err := r.Cookie("theme"); err == nil && (k.Value == "light" || k.Value == "dark") {
		return k.Value
	}
	return ""
}

// Problem is a failure as the server tells it.
type Problem struct {
	Status     int
	Title      string
	Detail     string
	Code       string
	RequestID  string
	Caller     auth.Principal // whose request it was; zero when that is not known
	RetryAfter int            // seconds, 0 for none
	Fields     []fault.Field
}

// wholeMenu marks the request of somebody who has signed in and whose session can't be looked up, since the
// database is away: what they may see is not known, so that the navigation leads everywhere. Links give no
// rights; each page asks again.
type wholeMenu struct{}

// Problem answers with a failure in words. It comes where the page's content would be, so that navigation
// still works; htmx puts it into the notice of the page that asked.
func (c *Console) Problem(w http.ResponseWriter, r *http.Request, p Problem) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	_, err := r.Cookie(sessionName)
	signedIn := err == nil
	switch {
	case p.Caller.Role != "":
		r = r.WithContext(auth.With(r.Context(), p.Caller))
	case signedIn && p.Code == string(fault.Unavailable):
		r = r.WithContext(context.WithValue(r.Context(), wholeMenu{}, true))
	}
	if err := c.render(w, r, p.Status, "problem", r.URL.Path, p.Title, p); err != nil { // its template is tested
		http.Error(w, p.Detail, p.Status)
	}
}

// done leads on to a page after an action, which says what was done.
func done(w http.ResponseWriter, r *http.Request, to, format string, args ...any) error {
	message := url.Values{"done": {fmt.Sprintf(format, args...)}}
	separator := "?"
	if strings.Contains(to, "?") {
		separator = "&"
	}
	to += separator + message.Encode()
	if r.Header.Get("HX-Request") != "" {
		w.Header().Set("HX-Redirect", to) // a whole page: HX-Location would put its main part in place of the body
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // one of our own pages
	return nil
}

// pathID reads the UUID in a route's path.
func pathID(r *http.Request, name string) (uuid.UUID, error) {
	id, err := uuid.Parse(r.PathValue(name))
	if err != nil {
		return uuid.UUID{}, fault.New(fault.NotFound, "there is nothing with the id %q", r.PathValue(name))
	}
	return id, nil
}

// pageSize is how many rows a list shows.
const pageSize = 50

// pager leads from one part of a list to the next; lists are read in one direction.
type pager struct {
	First string // address of the list's start, "" when this is it
	Next  string // address of the next part, "" at the end
}

// newPager makes the addresses of a list's parts: this one's without a cursor, and with next as the cursor
// when there is more.
func newPager(r *http.Request, next any) (pager, error) {
	var p pager
	q := r.URL.Query()
	q.Del("done")
	if q.Has("cursor") {
		q.Del("cursor")
		p.First = address(r.URL.Path, q)
	}
	if next != nil {
		raw, err := json.Marshal(next)
		if err != nil {
			return pager{}, err
		}
		q.Set("cursor", base64.RawURLEncoding.EncodeToString(raw))
		p.Next = address(r.URL.Path, q)
	}
	return p, nil
}

// cursor reads what newPager wrote; place stays as it is at the list's start.
func cursor(r *http.Request, place any) error {
	given := r.URL.Query().Get("cursor")
	if given == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(given)
	if err == nil {
		err = json.Unmarshal(raw, place)
	}
	var read any
	if err == nil {
		err = json.Unmarshal(raw, &read)
	}
	if err != nil || strings.ContainsRune(fmt.Sprint(read), 0) { // NUL, which no text in the database has
		return fault.InvalidField("/query/cursor", "is not a place in this list; start at its beginning")
	}
	return nil
}

func address(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// addressOf is for templates: only of href and the like do they know that a value is part of an address, not of
// hx-get.
func addressOf(path string, pairs ...string) (string, error) {
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("address: %d values are no pairs", len(pairs))
	}
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return address(path, q), nil
}

// with returns the query with a value set, or left out when it is empty, and from the list's start: filters
// live in the address.
func with(q url.Values, name, value string) url.Values {
	out := url.Values{}
	for k, v := range q {
		if k != "cursor" && k != "done" && k != name {
			out[k] = v
		}
	}
	if value != "" {
		out.Set(name, value)
	}
	return out
}

// functions are what templates call.
func (c *Console) functions() template.FuncMap {
	return template.FuncMap{
		"at":         at,
		"ago":        ago,
		"count":      count,
		"percent":    percent,
		"duration":   duration,
		"pretty":     pretty,
		"json":       asJSON,
		"short":      short,
		"title":      words,
		"dict":       dict,
		"address":    addressOf,
		"clock":      func(t time.Time) string { return t.UTC().Format("15:04") },
		"bytes":      byteSize,
		"asset":      func(name string) string { return "/console/assets/" + name + "?v=" + c.files[name].Version()[:8] },
		"trace":      c.traceURL,
		"bars":       waterfall,
		"dashboard":  c.dashboardURL,
		"pathescape": url.PathEscape,
		"money":      money,
		"exactly":    exactly,
		"receiver":   receiver,
		"letter":     letterOf,
		"sentence":   sentence,
		"capital":    capital,
	}
}

// at shows a time, which the page's script completes with how long ago it was.
func at(t any) template.HTML {
	v, ok := asTime(t)
	if !ok {
		return "–"
	}
	v = v.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, v.Format(time.RFC3339Nano), v.Format("2006-01-02 15:04:05"))) //nolint:gosec // digits
}

// ago shows how long ago a time was, or how long it is until then. The page's script writes and renews it,
// so that a page's content does not change because time passes.
func ago(t any) template.HTML {
	v, ok := asTime(t)
	if !ok {
		return "–"
	}
	v = v.UTC()
	return template.HTML(fmt.Sprintf(`<time class="ago" datetime="%s">%s</time>`, v.Format(time.RFC3339Nano), v.Format("2006-01-02 15:04:05"))) //nolint:gosec // digits
}

func asTime(t any) (time.Time, bool) {
	switch v := t.(type) {
	case time.Time:
		return v, !v.IsZero()
	case *time.Time:
		if v != nil {
			return *v, true
		}
	}
	return time.Time{}, false
}

// count shows a whole number with its thousands apart.
func count(n any) string {
	s := fmt.Sprint(n)
	digits, negative := strings.CutPrefix(s, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	if negative {
		return "-" + digits
	}
	return digits
}

// percent shows a fraction.
func percent(x float64) string { return strconv.FormatFloat(100*x, 'f', 1, 64) + "\u202f%" }

// duration shows a span with three digits, in the unit that suits it. A float64 is in seconds. The page's script
// has the same in JavaScript.
func duration(d any) string {
	var s float64
	switch v := d.(type) {
	case time.Duration:
		s = v.Seconds()
	case float64:
		s = v
	default:
		return fmt.Sprint(d)
	}
	s = threeDigits(s) // before the unit is chosen: 999.9 ms are 1 s
	minutes, hours := math.Round(s/60), math.Round(s/360)/10
	switch {
	case s == 0:
		return "0"
	case s < 1e-3:
		return strconv.FormatFloat(s*1e6, 'f', 0, 64) + " µs"
	case s < 1:
		return inThreeDigits(s*1e3) + " ms"
	case s < 120:
		return inThreeDigits(s) + " s"
	case minutes < 120:
		return strconv.FormatFloat(minutes, 'f', 0, 64) + " min"
	case hours < 48:
		return strconv.FormatFloat(hours, 'f', 1, 64) + " h"
	default:
		return strconv.FormatFloat(math.Round(s/86400), 'f', 0, 64) + " days"
	}
}

// inThreeDigits writes a number with three digits that count, and never with an exponent.
func inThreeDigits(x float64) string { return strconv.FormatFloat(threeDigits(x), 'f', -1, 64) }

func threeDigits(x float64) float64 {
	x, _ = strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64) // what it has written
	return x
}

// pretty shows a JSON text with its structure.
func pretty(raw any) string {
	var text []byte
	switch v := raw.(type) {
	case json.RawMessage:
		text = v
	case []byte:
		text = v
	case string:
		text = []byte(v)
	default:
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(b)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return string(text)
	}
	return b.String()
}

// asJSON writes a value for the page's script, for a data attribute.
func asJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// short shows the end of an id, where version 7 UUIDs differ.
func short(id any) string {
	s := fmt.Sprint(id)
	if len(s) > 8 {
		return "…" + s[len(s)-8:]
	}
	return s
}

// words turns a name such as breaker_open into words.
func words(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") }

// byteSize shows a number of bytes in the unit that suits it.
func byteSize(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	x, i := float64(n), 0
	for x >= 1000 && i < len(units)-1 {
		x, i = x/1000, i+1
	}
	return strconv.FormatFloat(x, 'f', min(i, 1), 64) + " " + units[i]
}

// localTime and formTime are how fields of the browser for a time have it, to the minute and to the second.
const (
	localTime = "2006-01-02T15:04"
	formTime  = "2006-01-02T15:04:05"
)

// timeOfField reads a moment as a field of the browser or an address has it, in UTC where it does not say
// otherwise.
func timeOfField(text string) (time.Time, bool) {
	for _, layout := range []string{localTime, formTime, time.RFC3339Nano, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// capitalized makes the beginning of a sentence of a text.
func capitalized(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(first)) + s[n:]
}

// dict hands several values to a part of a template.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict: %d values are no pairs", len(pairs))
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		k, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		m[k] = pairs[i+1]
	}
	return m, nil
}

// traceURL is where Jaeger shows a trace, "" without a Jaeger or a trace.
func (c *Console) traceURL(traceID string) string {
	if c.JaegerURL == "" || traceID == "" {
		return ""
	}
	return c.JaegerURL + "/trace/" + url.PathEscape(traceID)
}

// dashboardURL is where Grafana shows a dashboard, "" without a Grafana.
func (c *Console) dashboardURL(uid string) string {
	if c.GrafanaURL == "" {
		return ""
	}
	return c.GrafanaURL + "/d/" + url.PathEscape(uid)
}
