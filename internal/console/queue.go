package console

import "net/http"

// queuePolicy is that of River's pages, which are not ours: their scripts put in style elements, and their
// styles hold small pictures. Nothing comes from elsewhere, nothing is evaluated, no script is inline.
const queuePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-elem 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// queueRoutes show River's queues and jobs for reading. What its pages would do to them is refused.
func (c *Console) queueRoutes() []Route {
	routes := []Route{{Method: http.MethodGet, Path: "/console/queue", Handler: func(w http.ResponseWriter, r *http.Request) error {
		http.Redirect(w, r, "/console/queue/", http.StatusSeeOther)
		return nil
	}}}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		routes = append(routes, Route{Method: method, Path: "/console/queue/*", Handler: c.queue})
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		routes = append(routes, Route{Method: method, Path: "/console/queue/*", Handler: refuseQueue})
	}
	return routes
}

func (c *Console) queue(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Security-Policy", queuePolicy)
	h.Set("Cache-Control", "no-store")
	c.Queue.ServeHTTP(w, r)
	return nil
}

// refuseQueue answers in plain text, not with a page: River's pages show the answer's body as it is.
func refuseQueue(w http.ResponseWriter, _ *http.Request) error {
	http.Error(w, "The queue is shown for reading only; nothing was changed. "+
		"Dead letters and jobs are acted on at their own pages of the console.", http.StatusForbidden)
	return nil
}
