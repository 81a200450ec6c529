package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/packs"
)

// Packs keeps pricing packs.
type Packs interface {
	PricingPacks(ctx context.Context, tenantID string, f packs.Filter, behind packs.Cursor, limit int) ([]packs.Pack, error)
	PricingPack(ctx context.Context, tenantID string, id uuid.UUID) (packs.Pack, error)
	RequestPacks(ctx context.Context, tenantID string, day *time.Time, by delivery.By) (list []packs.Pack, made bool, err error)
}

const packsPath = "/console/packs"

func (c *Console) packRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: packsPath, Handler: c.packs},
		{Method: http.MethodGet, Path: packsPath + "/build", Handler: c.packForm},
		{Method: http.MethodPost, Path: packsPath + "/build", Handler: c.buildPacks},
		{Method: http.MethodGet, Path: packsPath + "/{id}", Handler: c.pack},
	}
}

// packChip is one choice of a filter.
type packChip struct {
	Name, Path string
	Current    bool
}

func (c *Console) packs(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := packs.Filter{State: packs.State(q.Get("state"))}
	if f.State != "" && !slices.Contains(packs.States(), f.State) {
		return fault.InvalidField("/query/state", "must be one of %v", packs.States())
	}
	var err error
	if f.From, err = dayInQuery(q, "from"); err != nil {
		return err
	}
	if f.To, err = dayInQuery(q, "to"); err != nil {
		return err
	}
	var behind packs.Cursor
	if err := cursor(r, &behind); err != nil {
		return err
	}
	list, err := c.Packs.PricingPacks(r.Context(), auth.Tenant(r.Context()), f, behind, pageSize+1)
	if err != nil {
		return err
	}
	var next any
	if len(list) > pageSize {
		list = list[:pageSize]
		next = packs.Cursor{Date: list[pageSize-1].Date, Revision: list[pageSize-1].Revision}
	}
	pages, err := newPager(r, next)
	if err != nil {
		return err
	}
	chips := []packChip{{"all", address(packsPath, with(q, "state", "")), f.State == ""}}
	for _, s := range packs.States() {
		chips = append(chips, packChip{string(s), address(packsPath, with(q, "state", string(s))), f.State == s})
	}
	return c.render(w, r, http.StatusOK, "packs", packsPath, "Pricing packs", map[string]any{
		"Done": q.Get("done"), "Chips": chips, "Packs": list, "Pager": pages,
		"State": f.State, "From": q.Get("from"), "To": q.Get("to"), "Filtered": f != packs.Filter{},
	})
}

// dayInQuery reads a day of the address, the zero time when it names none.
func dayInQuery(q url.Values, name string) (time.Time, error) {
	given := q.Get(name)
	if given == "" {
		return time.Time{}, nil
	}
	d, err := time.Parse(time.DateOnly, given)
	if err != nil {
		return time.Time{}, fault.InvalidField("/query/"+name, "%q is not a date such as 2007-05-08", given)
	}
	return d, nil
}

// packStage is a part of the nightly order that a pack goes through.
type packStage struct {
	Name string
	At   *time.Time
}

func (c *Console) pack(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	p, err := c.Packs.PricingPack(r.Context(), auth.Tenant(r.Context()), id)
	if err != nil {
		return err
	}
	day := p.Date.Format(time.DateOnly)
	return c.render(w, r, http.StatusOK, "pack", packsPath, "Pricing pack of "+day, map[string]any{
		"Done": r.URL.Query().Get("done"), "Pack": p, "Day": day,
		"SameDay": address(packsPath, url.Values{"from": {day}, "to": {day}}),
		"Retry":   address(packsPath+"/build", url.Values{"date": {day}}),
		"Stages": []packStage{
			{"Made", &p.CreatedAt},
			{"Built: its hash is that of the data that it cuts through", p.BuiltAt},
			{"Reconciled: every ledger was valued in two ways that agree", p.ReconciledAt},
			{"Prewarmed: the API has answers over it in its cache", p.PrewarmedAt},
			{"Fresh: runs use it", p.FreshAt},
		},
		// The sample's packs have never been through the nightly order.
		"BornFresh": p.State == packs.Fresh && p.FreshAt == nil,
	})
}

func (c *Console) packForm(w http.ResponseWriter, r *http.Request) error {
	return c.showPackForm(w, r, http.StatusOK, map[string]any{"Date": r.URL.Query().Get("date")})
}

func (c *Console) showPackForm(w http.ResponseWriter, r *http.Request, status int, data map[string]any) error {
	return c.render(w, r, status, "packs_build", packsPath, "Build pricing packs", data)
}

func (c *Console) buildPacks(w http.ResponseWriter, r *http.Request) error {
	given := r.PostFormValue("date")
	why, wrong := givenReason(r)
	data := map[string]any{"Date": given, "Reason": why, "WrongReason": wrong}
	var day *time.Time
	if given != "" {
		d, err := time.Parse(time.DateOnly, given)
		if err != nil {
			data["WrongDate"] = "This is not a date such as 2007-05-08."
			return c.showPackForm(w, r, http.StatusUnprocessableEntity, data)
		}
		day = &d
	}
	if wrong != "" {
		return c.showPackForm(w, r, http.StatusUnprocessableEntity, data)
	}
	list, made, err := c.Packs.RequestPacks(r.Context(), auth.Tenant(r.Context()), day, c.by(r.Context(), why))
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Code == fault.Invalid && len(e.Fields) > 0 {
		data["WrongDate"] = e.Fields[0].Detail
		return c.showPackForm(w, r, http.StatusUnprocessableEntity, data)
	}
	if err != nil {
		return err
	}
	switch {
	case day != nil && made:
		return done(w, r, packsPath+"/"+list[0].ID.String(), "The pack of %s is being built.", given)
	case day != nil:
		return done(w, r, packsPath+"/"+list[0].ID.String(), "The pack of %s is there already and is %s; nothing was built.", given, list[0].State)
	case made:
		return done(w, r, packsPath+"?state="+string(packs.Warming), "%s of %s to %s being built.", howMany(len(list), "pack", "packs"),
			list[0].Date.Format(time.DateOnly), list[len(list)-1].Date.Format(time.DateOnly))
	}
	return done(w, r, packsPath, "No pack is missing: every day with a close has one. Nothing was built; packs in error are built again by their days.")
}

// howMany counts things.
func howMany(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}
