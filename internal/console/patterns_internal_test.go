package console

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// engine has a step and then does what it is told to.
type engine struct{ end func() error }

func (e engine) Execute(_ context.Context, r patterns.Request) (*patterns.Answer, error) {
	r.OnEvent(patterns.Event{Type: patterns.StepStarted, Step: &patterns.StepTrace{As: "positions", StartedAt: time.Now()}})
	return nil, e.end()
}

func streamOf(t *testing.T, end func() error) (body string, err error) {
	t.Helper()
	c := &Console{Options: Options{Patterns: engine{end}, Unavailable: func(err error) bool { return errors.Is(err, errGone) }}}
	d, err := pattern.Parse([]byte(`{"id": "x", "name": "X", "steps": [{"capability": "a.b", "as": "positions"}], "outputs": ["positions"]}`))
	require.NoError(t, err)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/console/patterns/x/run", http.NoBody)
	r.PostForm = url.Values{}
	err = c.streamRun(w, r, d, patterns.Request{})
	return w.Body.String(), err
}

var errGone = errors.New("connection refused to 10.0.0.7")

// A failure of ours that comes when the stream has begun is told without what is inside, and reaches the
// server, whose log is all that an operator has of it.
func TestStreamedFailuresReachTheLog(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end       func() error
		told, log string
	}{
		"defect":        {func() error { return errors.New("index out of range") }, "internal", "index out of range"},
		"panic":         {func() error { panic("no such thing") }, "internal", "patterns_internal_test.go"}, // where it happened
		"database away": {func() error { return errGone }, "The database does not answer", "10.0.0.7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := streamOf(t, c.end)
			require.ErrorContains(t, err, c.log)
			require.Contains(t, body, "event: step\n")
			require.Contains(t, body, "event: failed\n")
			require.Contains(t, body, c.told)
			require.NotContains(t, body, c.log)
		})
	}
}

// JSON in a form's field has the bounds of JSON in a body: whoever reads it on takes a hundred times its room,
// or a second for a number of ten characters.
func TestFormsHaveTheBoundsOfBodies(t *testing.T) {
	t.Parallel()
	d, err := pattern.Parse([]byte(`{"id": "x", "name": "X", "steps": [{"capability": "a.b", "as": "y"}], "outputs": ["y"], "inputs": {
		"list": {"type": "array"}, "tree": {"type": "object"}, "whole": {"type": "integer"}, "part": {"type": "number"}}}`))
	require.NoError(t, err)
	for name, c := range map[string]struct{ field, text, wrong string }{
		"deep":            {"list", strings.Repeat("[", 65) + strings.Repeat("]", 65), "the value has objects and arrays nested deeper than 64"},
		"deep objects":    {"tree", strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), "the value has objects and arrays nested deeper than 64"},
		"wide":            {"list", "[0" + strings.Repeat(",0", 100_000) + "]", "the value has more than 100000 values"},
		"exponent":        {"whole", "1e1000000", "the value has a number of more than 1000 characters, or with an exponent beyond 1000"},
		"exponent within": {"list", "[1e-1001]", "the value has a number of more than 1000 characters, or with an exponent beyond 1000"},
		"digits":          {"part", strings.Repeat("9", 1001), "the value has a number of more than 1000 characters, or with an exponent beyond 1000"},
		"twice":           {"tree", `{"b": {"a": 1, "\u0061": 2}}`, "/b/a stands twice in the value"},
		"no JSON":         {"list", "[1,", "is no array in JSON"},
		"two":             {"list", "[] []", "is no array in JSON"},
		"fine":            {"list", `[[1e-1000, {"a": ` + strings.Repeat("9", 1000) + `}]]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, wrong := (&Console{}).request(t.Context(), d, url.Values{c.field: {c.text}})
			require.Equal(t, c.wrong, wrong[c.field])
			require.Equal(t, c.wrong == "", req.Inputs[c.field] != nil)
		})
	}
}

// There are only so many streams at a time, and one that ends makes room.
func TestLiveStreamsAreBounded(t *testing.T) {
	t.Parallel()
	c, err := New(Options{})
	require.NoError(t, err)
	c.Stop() // streams end as they begin
	ask := func() error {
		return c.live(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/console/live?of=/console/patterns", http.NoBody))
	}
	c.Now, c.Catalog = time.Now, none{}
	require.NoError(t, ask())
	c.streams.Store(maxLive)
	require.Equal(t, fault.Unavailable, fault.CodeOf(ask()))
	require.Equal(t, int64(maxLive), c.streams.Load(), "who is refused takes no room")
	c.streams.Store(maxLive - 1)
	require.NoError(t, ask())
}

// none knows no patterns.
type none struct{ Catalog }

func (none) Definitions() []*pattern.Definition { return nil }

// What a step calls a file is one only when it reads as one: agents may be anybody's.
func TestFilesOfResults(t *testing.T) {
	t.Parallel()
	of := func(media, content string) *file {
		return newSection("Report", "report", 3, object{{"media_type", media}, {"content_base64", content}, {"filename", "x"}}, hint{}).File
	}
	require.NotNil(t, of("application/pdf", "JVBERi0="))
	require.Nil(t, of("text/html,<script>", "JVBERi0="))
	require.Nil(t, of("application/pdf", "<script>"))
}

// The header of a waterfall names the span that its bars are drawn over: that of the steps, which a run is longer
// than, since its context is resolved first.
func TestWaterfallNamesTheSpanOfItsBars(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	step := func(as string, after time.Duration, took float64) patterns.StepTrace {
		return patterns.StepTrace{As: as, Status: patterns.StatusSuccess, StartedAt: began.Add(after), DurationSeconds: took}
	}
	outer := step("outer", 2*time.Second, 2)
	outer.Steps = []patterns.StepTrace{step("inner", 3*time.Second, 1)}
	c, err := New(Options{})
	require.NoError(t, err)
	for name, k := range map[string]struct {
		trace patterns.Trace
		says  string
		bars  [][2]float64 // where each begins, and its length
	}{
		"resolving took half of the time": {
			patterns.Trace{DurationSeconds: 8, Steps: []patterns.StepTrace{step("a", 0, 2), outer}},
			"When, over the steps' 4 s of the run's 8 s",
			[][2]float64{{0, 500}, {500, 500}, {750, 250}},
		},
		"skipped": {
			patterns.Trace{DurationSeconds: 8, Steps: []patterns.StepTrace{{As: "a", Status: patterns.StatusSkipped}}},
			"When, over the steps' 0 of the run's 8 s",
			[][2]float64{{0, 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			require.NoError(t, c.pages["pattern"].ExecuteTemplate(&b, "waterfall", k.trace))
			require.Contains(t, html.UnescapeString(b.String()), k.says)
			for _, bar := range k.bars {
				require.Contains(t, b.String(), fmt.Sprintf(`<rect x="%v" y="2" width="%v"`, bar[0], bar[1]))
			}
		})
	}
}
