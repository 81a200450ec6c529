package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dawsos/dawsos/internal/patterns"
)

var at = time.Date(2026, 3, 2, 9, 30, 0, 0, time.FixedZone("CET", 3600))

// runID returns the id of the nth run of those that a test makes up.
func runID(n int) string { return fmt.Sprintf("01958a3c-7a1e-7bb0-9d3c-0000000000%02d", n) }

// engine is a stand-in for the orchestrator that does what a test wants, at the time that it wants.
type engine func(ctx context.Context, r patterns.Request) (*patterns.Answer, error)

func (e engine) Execute(ctx context.Context, r patterns.Request) (*patterns.Answer, error) {
	return e(ctx, r)
}

// wire is a ResponseWriter that tells what it has been given as it is flushed.
type wire struct {
	header  http.Header
	status  int
	flushed chan string

	mu      sync.Mutex
	pending strings.Builder
}

func newWire() *wire { return &wire{header: http.Header{}, flushed: make(chan string, 1000)} }

func (w *wire) Header() http.Header { return w.header }

func (w *wire) WriteHeader(status int) { w.status = status }

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending.Write(b)
}

func (w *wire) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushed <- w.pending.String()
	w.pending.Reset()
}
