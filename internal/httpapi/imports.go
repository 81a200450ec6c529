package httpapi

import (
	"context"
	"io"
	"mime"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/pkg/api"
)

// Importer takes files of rows in.
type Importer interface {
	Import(ctx context.Context, r imports.Request) (imports.Summary, error)
}

// ImportRows imports a file, which is the body, as it comes in.
func (b *byHand) ImportRows(c echo.Context, kind api.ImportKind, params api.ImportRowsParams) error {
	r := c.Request()
	media, _, _ := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType)) // was checked
	body := &stoppable{r: r.Body}
	summary, err := b.h.Importer.Import(r.Context(), imports.Request{
		TenantID: auth.Tenant(c.Request().Context()), Kind: imports.Kind(kind), Format: imports.Format(media), Body: body,
		Source: value(params.Source), Calendar: value(params.Calendar),
		Actor: by(r.Context(), params.XClient, nil).Actor, Reason: value(params.XReason),
	})
	if err != nil {
		if body.stop() {
			b.s.interrupt(c)
		}
		return err
	}
	return api.ImportRows200JSONResponse{
		Revision: summary.Revision, Source: summary.Source, Rows: summary.Rows, Inserted: summary.Inserted,
		Changed: summary.Changed, Unchanged: summary.Unchanged,
		FirstDate: dayOrNull(summary.FirstDate), LastDate: dayOrNull(summary.LastDate),
		Packs: api.ImportPacks{Made: summary.Packs.Made, Stale: summary.Packs.Stale},
	}.VisitImportRowsResponse(c.Response())
}

// stoppable is a body whose reading can be ended from outside.
type stoppable struct {
	r io.Reader

	mu               sync.Mutex
	reading, stopped bool
}

func (s *stoppable) Read(p []byte) (int, error) {
	if !s.begin() {
		return 0, io.ErrClosedPipe
	}
	n, err := s.r.Read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	return n, err
}

func (s *stoppable) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = !s.stopped
	return s.reading
}

// stop lets no Read begin from now on, and reports whether one is under way.
func (s *stoppable) stop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	return s.reading
}

func dayOrNull(t *time.Time) *string {
	if t == nil {
		return nil
	}
	return new(t.Format(time.DateOnly))
}
