package packs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// maxAnswer is how many bytes of an answer are waited for: the API has cached its parts by then.
const maxAnswer = 64 << 20

// PrewarmReport is what a prewarming came to.
type PrewarmReport struct {
	Requests int `json:"requests"`
	Answered int `json:"answered"` // with 200
	// Refused counts the statuses of the others: a portfolio without bookings has no overview.
	Refused map[int]int `json:"refused,omitempty"`
}

// PrewarmOptions set what is asked, and where.
type PrewarmOptions struct {
	APIURL     string   // such as http://127.0.0.1:8000
	Patterns   []string // ids of patterns whose only required input is portfolio_id
	Portfolios int      // the first so many, in the order of GET /v1/portfolios
	Key        string   // the API key that is shown; "" for none
	Client     *http.Client
}

// Prewarmer has the API answer patterns, so that its cache of results holds them before users ask.
type Prewarmer struct {
	source Source
	opts   PrewarmOptions
}

// NewPrewarmer returns a Prewarmer that takes portfolios from source.
func NewPrewarmer(source Source, opts PrewarmOptions) *Prewarmer {
	return &Prewarmer{source: source, opts: opts}
}

// Prewarm asks for each pattern and portfolio once, as of the pack's date and whatever the pack's state.
// skipped says why nothing was asked, or not everything: the API can't be reached. A pattern that is
// refused is counted, and goes on failing for users as it does here.
func (w *Prewarmer) Prewarm(ctx context.Context, pack Pack) (report PrewarmReport, skipped string, err error) {
	if len(w.opts.Patterns) == 0 || w.opts.Portfolios == 0 {
		return report, "", nil // an empty list is warm
	}
	list, _, err := w.source.Portfolios(ctx, pack.TenantID, portfolio.Cursor{}, w.opts.Portfolios)
	if err != nil {
		return report, "", err
	}
	for _, p := range list {
		for _, id := range w.opts.Patterns {
			status, err := w.execute(ctx, id, p.ID, pack.Date)
			if ctx.Err() != nil {
				return report, "", ctx.Err()
			}
			if err != nil {
				return report, fmt.Sprintf("the API at %s can't be reached: %s", w.opts.APIURL, reason(err)), nil
			}
			report.Requests++
			if status == http.StatusOK {
				report.Answered++
				continue
			}
			if report.Refused == nil {
				report.Refused = map[int]int{}
			}
			report.Refused[status]++
		}
	}
	if report.Requests > 0 && report.Answered == 0 {
		skipped = fmt.Sprintf("the API at %s answered none of %d requests", w.opts.APIURL, report.Requests)
		if report.Refused[http.StatusUnauthorized]+report.Refused[http.StatusForbidden] > 0 {
			skipped += ": it does not let the worker in; API_KEY must be a key of the role service"
		}
	}
	return report, skipped, nil
}

// execute asks for one pattern and returns the status.
func (w *Prewarmer) execute(ctx context.Context, pattern, portfolioID string, asof time.Time) (int, error) {
	body, err := json.Marshal(map[string]any{
		"inputs": map[string]string{"portfolio_id": portfolioID}, "asof": asof.Format(time.DateOnly), "require_fresh": false,
	})
	if err != nil {
		return 0, err
	}
	target, err := url.JoinPath(w.opts.APIURL, "v1", "patterns", url.PathEscape(pattern), "execute")
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "dawsos-prewarm")
	if w.opts.Key != "" {
		req.Header.Set("Authorization", "Bearer "+w.opts.Key)
	}
	resp, err := w.opts.Client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, err
}

// reason is a failed request's, without the address that url.Error repeats.
func reason(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
