package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
)

// AuditLog tells who did what.
type AuditLog interface {
	AuditLog(ctx context.Context, tenantID string, f audit.Filter, before uuid.UUID, limit int) ([]audit.Entry, error)
}

const auditPath = "/console/audit"

func (c *Console) auditRoutes() []Route {
	return []Route{{Method: http.MethodGet, Path: auditPath, Handler: c.audit}}
}

// auditPages are the pages of what entries are about, each below its path; "" where a thing has none of its
// own.
var auditPages = map[string]string{
	"data_revision": "",
	"dead_letter":   "/console/dlq/",
	"destination":   "/console/destinations/",
	"job":           "/console/jobs/",
	"key":           "",
	"operation":     "/console/operations/",
	"pricing_pack":  "/console/packs/",
	"rule":          "/console/alerts/",
}

// auditList is the page of the trail.
type auditList struct {
	Given    map[string]string // the filters as they stand in the address
	Wrong    map[string]string
	Filtered bool
	Subjects []string
	Entries  []auditRow
	Pager    pager
}

type auditRow struct {
	audit.Entry
	Page   string // of its subject, "" when it has none (any more)
	Detail string // JSON, "" when there is none
	Long   bool   // the detail is too long for a line
}

// auditLine is how many bytes of JSON stand in a line of the trail.
const auditLine = 120

func (c *Console) audit(w http.ResponseWriter, r *http.Request) error {
	page := readAuditFilter(r.URL.Query())
	if len(page.Wrong) > 0 {
		return c.render(w, r, http.StatusUnprocessableEntity, "audit", auditPath, "Audit", page)
	}
	before := uuid.Max
	if err := cursor(r, &before); err != nil {
		return err
	}
	entries, err := c.AuditLog.AuditLog(r.Context(), auth.Tenant(r.Context()), audit.Filter{
		Subject: page.Given["subject"], SubjectID: page.Given["subject_id"], Action: page.Given["action"], Actor: page.Given["actor"],
	}, before, pageSize+1)
	if err != nil {
		return err
	}
	var next any
	if len(entries) > pageSize {
		entries = entries[:pageSize]
		next = entries[pageSize-1].ID
	}
	for _, e := range entries {
		row := auditRow{Entry: e, Page: auditPage(e)}
		if detail := string(e.Detail); detail != "{}" {
			row.Detail, row.Long = detail, len(detail) > auditLine
		}
		page.Entries = append(page.Entries, row)
	}
	if page.Pager, err = newPager(r, next); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "audit", auditPath, "Audit", page)
}

func readAuditFilter(q url.Values) auditList {
	p := auditList{Given: map[string]string{}, Wrong: map[string]string{}}
	for _, name := range []string{"subject", "subject_id", "action", "actor"} {
		p.Given[name] = q.Get(name)
		p.Filtered = p.Filtered || p.Given[name] != ""
		if problem := unstorable(p.Given[name], maxID); problem != "" {
			p.Wrong[name] = problem
		}
	}
	for s := range auditPages {
		p.Subjects = append(p.Subjects, s)
	}
	if s := p.Given["subject"]; s != "" && !slices.Contains(p.Subjects, s) { // what is filtered by can be seen
		p.Subjects = append(p.Subjects, s)
	}
	slices.Sort(p.Subjects)
	return p
}

// auditPage is the address of what an entry is about.
func auditPage(e audit.Entry) string {
	below := auditPages[e.Subject]
	if below == "" || strings.HasSuffix(e.Action, ".delete") {
		return ""
	}
	return below + url.PathEscape(e.SubjectID)
}
