package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
)

const (
	// liveFor is how long a stream lasts: less than a request may take. The page opens the next at once.
	liveFor = 20 * time.Second
	// livePatience is how long a reader may take to make room for an event.
	livePatience = 5 * time.Second
	// liveShare bounds what one page costs: it is looked at for at most this share of the time.
	liveShare = 10
	// maxLive bounds the streams at the same time. A page that gets none asks again in a few seconds.
	maxLive = 200
)

var marks = regexp.MustCompile(`^[0-9a-f]{16}$`)

// live tells a page when what it shows has changed, and that it is still being looked at. It renders the
// page at the address that the parameter "of" names, again and again, and compares:
//
//	event: heard    data: {"at": "..."}      looked, nothing new since the mark the page has
//	event: changed  data: {"at": "...", "html": "...", "mark": "..."}
//	event: trouble  data: {"at": "...", "detail": "..."}
//
// The parameter "mark" is what the page has; a page that comes back after a stream's end misses nothing.
func (c *Console) live(w http.ResponseWriter, r *http.Request) error {
	of, err := url.ParseRequestURI(r.URL.Query().Get("of"))
	if err != nil || of.IsAbs() || of.Host != "" || !strings.HasPrefix(of.Path+"/", "/console/") {
		return fault.InvalidField("/query/of", "must be the address of a page, such as /console/dlq")
	}
	if _, pattern := c.mux.Handler(&http.Request{Method: http.MethodGet, URL: of}); pattern == "" {
		return fault.New(fault.NotFound, "there is no page %s", of.Path)
	}
	mark := r.URL.Query().Get("mark")
	if last := r.Header.Get("Last-Event-ID"); last != "" { // the browser comes back by itself
		mark = last
	}
	if !marks.MatchString(mark) {
		mark = "none"
	}
	defer c.streams.Add(-1)
	if c.streams.Add(1) > maxLive {
		return fault.New(fault.Unavailable, "%d pages are kept up to date already; this one stays as it is", maxLive)
	}
	ctx, cancel := context.WithTimeout(r.Context(), liveFor)
	defer cancel()
	defer context.AfterFunc(c.stopped, cancel)()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	control := http.NewResponseController(w)
	// Only an event's way out has a deadline. On HTTP/2 one that passes resets the stream, though nothing waits to
	// be written; the last one bounds what the server itself still sends.
	deadline := func(until time.Time) error {
		if err := control.SetWriteDeadline(until); !errors.Is(err, http.ErrNotSupported) { // recorders have none
			return err
		}
		return nil
	}
	defer func() { _ = deadline(time.Now().Add(livePatience)) }()
	for {
		began := time.Now()
		event, data := c.look(ctx, r, of, &mark)
		if ctx.Err() != nil {
			return nil
		}
		if err := deadline(time.Now().Add(livePatience)); err != nil {
			return nil //nolint:nilerr // the reader has gone
		}
		raw, err := json.Marshal(data)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "retry: 500\nid: %s\nevent: %s\ndata: %s\n\n", mark, event, raw); err != nil { //nolint:gosec // a checked mark and JSON
			return nil //nolint:nilerr // the reader has gone
		}
		if err := control.Flush(); err != nil {
			return nil //nolint:nilerr // the reader has gone
		}
		if err := deadline(time.Time{}); err != nil {
			return nil //nolint:nilerr // the reader has gone
		}
		pause := time.NewTimer(max(c.LiveEvery, liveShare*time.Since(began)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil
		}
	}
}

// look renders the page and compares it with what the reader has.
func (c *Console) look(ctx context.Context, r *http.Request, of *url.URL, mark *string) (event string, data map[string]any) {
	data = map[string]any{"at": c.Now().UTC().Format(time.RFC3339Nano)}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, of.RequestURI(), http.NoBody) //nolint:gosec // our own pages read it, nobody sends it
	if err != nil {                                                                           // it was parsed
		data["detail"] = err.Error()
		return "trouble", data
	}
	ask.Header = r.Header.Clone()
	ask.Header.Set("HX-Request", "true")
	got := &capture{header: http.Header{}}
	c.mux.ServeHTTP(got, ask)
	if got.err != nil || got.status != http.StatusOK {
		data["detail"] = "This page could not be brought up to date."
		if got.err != nil && (fault.CodeOf(got.err) != fault.Internal || c.Unavailable(got.err)) {
			data["detail"] = c.detail(got.err)
		}
		return "trouble", data
	}
	if now := got.header.Get(markHeader); now != *mark {
		*mark = now
		data["mark"], data["html"] = now, got.body.String()
		return "changed", data
	}
	return "heard", data
}

// detail is what a reader may know of a failure.
func (c *Console) detail(err error) string {
	if fault.CodeOf(err) == fault.Internal && c.Unavailable(err) {
		return "The database does not answer; this page waits for it."
	}
	return fault.Detail(err)
}

// capture takes a page instead of a connection.
type capture struct {
	header http.Header
	status int
	body   strings.Builder
	err    error
}

func (c *capture) Header() http.Header { return c.header }

func (c *capture) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.body.Write(p)
}

// captured lets a page's failure reach whoever captures it.
func captured(next Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := next(w, r); err != nil {
			if got, ok := w.(*capture); ok {
				got.err = err
			}
		}
	})
}
