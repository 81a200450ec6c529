package httpapi

import (
	"context"
	"mime"
	"time"

	"github.com/labstack/echo/v4"

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
	summary, err := b.h.Importer.Import(r.Context(), imports.Request{
		TenantID: b.h.TenantID, Kind: imports.Kind(kind), Format: imports.Format(media), Body: r.Body,
		Source: value(params.Source), Calendar: value(params.Calendar),
		Actor: by(params.XClient, nil).Actor, Reason: value(params.XReason),
	})
	if err != nil {
		return err
	}
	return api.ImportRows200JSONResponse{
		Revision: summary.Revision, Source: summary.Source, Rows: summary.Rows, Inserted: summary.Inserted,
		Changed: summary.Changed, Unchanged: summary.Unchanged,
		FirstDate: dayOrNull(summary.FirstDate), LastDate: dayOrNull(summary.LastDate),
		Packs: api.ImportPacks{Made: summary.Packs.Made, Stale: summary.Packs.Stale},
	}.VisitImportRowsResponse(c.Response())
}

func dayOrNull(t *time.Time) *string {
	if t == nil {
		return nil
	}
	return new(t.Format(time.DateOnly))
}
