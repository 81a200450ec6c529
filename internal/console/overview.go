package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/health"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/runs"
)

// Health knows the processes, their database, and what they did in the last hour.
type Health interface {
	Processes(ctx context.Context) ([]health.Process, error)
	Database(ctx context.Context) (health.Database, error)
	LastHour(ctx context.Context, tenantID string) (health.Hour, error)
	OldestOpenLetter(ctx context.Context, tenantID string) (time.Time, error) // zero when none is open
}

// Ledger keeps the accounts of deliveries.
type Ledger interface {
	Balances(ctx context.Context) ([]delivery.Balance, error)
}

const overviewPath = "/console"

func (c *Console) overviewRoutes() []Route {
	return []Route{{Method: http.MethodGet, Path: overviewPath, Handler: c.overview}}
}

// overview is the page that an operator opens first.
type overview struct {
	System    bool // what is nobody's alone is shown: processes, the database and jobs
	Processes []health.Process
	APIs      roleCount
	Workers   roleCount
	Database  health.Database

	Queue, History bool // whether the dead letters, and the deliveries, are the caller's to see

	Hour      health.Hour
	ErrorRate *float64 // of attempts; nil when there were none, or more than are counted
	Chart     map[string]any
	Delivered string // addresses of what is counted
	Failed    string
	RunsAt    string
	ErrorsAt  string

	Causes    []causeCount
	AllCauses bool // false: there are more open letters than were looked at
	Pending   int64
	Exhausted int64
	Oldest    time.Time // when the oldest open letter first failed
	Accounts  []account

	Agents     []agents.State
	NotClosed  int // breakers of agents
	Endpoints  int // of deliveries, whose breaker is not closed in some process
	Jobs       []periodic.Job
	Operations []delivery.Operation
	PackStates []packCount
}

// roleCount is how many processes of a role there are.
type roleCount struct{ Running, Ready, Gone int }

// account is a channel's part of the invariant: accepted is the sum of all other places.
type account struct {
	Channel    string
	Accepted   int64
	Places     []place
	Difference int64
}

type place struct {
	Name, Address string
	Balance       int64
}

// Open is how many letters are open.
func (o overview) Open() int64 { return o.Pending + o.Exhausted }

// Unbalanced tells of a channel on which accepted is not the sum of all other places.
func (o overview) Unbalanced() bool {
	return slices.ContainsFunc(o.Accounts, func(a account) bool { return a.Difference != 0 })
}

// FailedJobs counts the jobs whose last run failed.
func (o overview) FailedJobs() int {
	n := 0
	for _, j := range o.Jobs {
		if j.State == periodic.Failed && j.Off == "" {
			n++
		}
	}
	return n
}

// causeCount is how many open letters failed for one cause.
type causeCount struct {
	Cause              delivery.Cause
	Pending, Exhausted int
	Oldest             time.Time // when the oldest of those that were looked at first failed
}

// packCount is how many packs are in a state that needs somebody.
type packCount struct {
	State packs.State
	Count int
	More  bool // there are at least so many
}

// shownRunning is how many operations that run are shown, the newest of them.
const shownRunning = 20

func (c *Console) overview(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p, _ := auth.From(ctx)
	o := overview{System: p.Operates(), Queue: mayLook(ctx, lettersPath), History: mayLook(ctx, deliveriesPath)}
	for _, read := range []func(context.Context, *overview) error{
		c.readHealth, c.readHour, c.readLetters, c.readAccounts, c.readSystem,
	} {
		if err := read(ctx, &o); err != nil {
			return err
		}
	}
	return c.render(w, r, http.StatusOK, "overview", overviewPath, "Overview", o)
}

func (c *Console) readHealth(ctx context.Context, o *overview) (err error) {
	if !o.System {
		return nil
	}
	if o.Processes, err = c.Health.Processes(ctx); err != nil {
		return err
	}
	for _, p := range o.Processes {
		role := &o.APIs
		if p.Role == "worker" {
			role = &o.Workers
		}
		switch p.State() {
		case "ready":
			role.Running++
			role.Ready++
		case "unready":
			role.Running++
		case "gone":
			role.Gone++
		}
	}
	o.Database, err = c.Health.Database(ctx)
	return err
}

func (c *Console) readHour(ctx context.Context, o *overview) (err error) {
	if o.Hour, err = c.Health.LastHour(ctx, auth.Tenant(ctx)); err != nil {
		return err
	}
	delivered, failed := o.Hour.Delivered, o.Hour.Failed
	if attempts := delivered.Number + failed.Number; attempts > 0 {
		if share := float64(failed.Number) / float64(attempts); !delivered.More && !failed.More {
			o.ErrorRate = &share
		}
		o.Chart = hourChart(o.Hour)
	}
	since := o.Hour.Since.Format(localTime)
	o.Delivered = address(deliveriesPath, url.Values{"accepted_after": {since}})
	o.Failed = address(lettersPath, url.Values{"state": {anyState}, "created_after": {since}})
	period := url.Values{"since": {since}, "until": {o.Hour.Until.Format(localTime)}}
	o.RunsAt = address(runsPath, period)
	o.ErrorsAt = address(runsPath, with(period, "outcome", string(runs.Error)))
	return nil
}

// hourChart draws deliveries and failed attempts by minute.
func hourChart(h health.Hour) map[string]any {
	var values []map[string]any
	for _, m := range h.Minutes {
		at := m.At.Format(time.RFC3339)
		values = append(values,
			map[string]any{"minute": at, "what": "delivered", "number": m.Delivered},
			map[string]any{"minute": at, "what": "failed", "number": m.Failed})
	}
	return map[string]any{
		"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "name": "last-hour",
		"description": "Bars by minute of the last hour: what was delivered, and attempts that failed.",
		"data":        map[string]any{"values": values}, "background": "transparent",
		"width": "container", "height": 140, "config": map[string]any{"view": map[string]any{"stroke": nil}},
		"mark": map[string]any{"type": "bar", "width": map[string]any{"band": 0.9}},
		"encoding": map[string]any{
			"x": map[string]any{
				"field": "minute", "type": "temporal", "timeUnit": "utcyearmonthdatehoursminutes", "title": "UTC",
				"axis":  map[string]any{"grid": false, "format": "%H:%M", "tickCount": 6},
				"scale": map[string]any{"type": "utc", "domain": []string{h.Since.Format(time.RFC3339), h.Until.Format(time.RFC3339)}},
			},
			"y": map[string]any{"field": "number", "type": "quantitative", "title": "a minute", "axis": map[string]any{"tickMinStep": 1}},
			"color": map[string]any{
				"field": "what", "type": "nominal", "title": nil,
				"scale": map[string]any{"domain": []string{"delivered", "failed"}, "range": []string{"#0072B2", "#D55E00"}},
			},
			"order": map[string]any{"field": "what"},
		},
	}
}

func (c *Console) readLetters(ctx context.Context, o *overview) (err error) {
	if !o.Queue {
		return nil
	}
	counts, all, err := c.DeadLetters.LetterCounts(ctx, auth.Tenant(ctx), delivery.LetterFilter{Open: true})
	if err != nil {
		return err
	}
	o.AllCauses = all
	for _, n := range counts { // those that most letters have first
		i := slices.IndexFunc(o.Causes, func(k causeCount) bool { return k.Cause == n.Cause })
		if i < 0 {
			i = len(o.Causes)
			o.Causes = append(o.Causes, causeCount{Cause: n.Cause, Oldest: n.Oldest})
		}
		k := &o.Causes[i]
		if n.State == delivery.Pending {
			k.Pending += n.Letters
		} else {
			k.Exhausted += n.Letters
		}
		if n.Oldest.Before(k.Oldest) {
			k.Oldest = n.Oldest
		}
	}
	if o.Oldest, err = c.Health.OldestOpenLetter(ctx, auth.Tenant(ctx)); err != nil {
		return err
	}
	o.Operations, err = c.DeadLetters.RunningOperations(ctx, auth.Tenant(ctx), shownRunning)
	return err
}

// readAccounts holds what was accepted against where it is. The accounts know how many letters are open, however
// many there are.
func (c *Console) readAccounts(ctx context.Context, o *overview) error {
	if !o.Queue || !o.History {
		return nil
	}
	balances, err := c.Ledger.Balances(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(balances, func(a, b delivery.Balance) int {
		if n := strings.Compare(a.Channel, b.Channel); n != 0 {
			return n
		}
		return strings.Compare(a.Account, b.Account)
	})
	for _, b := range balances {
		if b.TenantID != auth.Tenant(ctx) {
			continue
		}
		if n := len(o.Accounts); n == 0 || o.Accounts[n-1].Channel != b.Channel {
			o.Accounts = append(o.Accounts, account{Channel: b.Channel})
		}
		a := &o.Accounts[len(o.Accounts)-1]
		if b.Account == "accepted" {
			a.Accepted = b.Balance
			a.Difference += b.Balance
			continue
		}
		a.Difference -= b.Balance
		p := place{Name: b.Account, Balance: b.Balance}
		switch state := delivery.State(b.Account); state {
		case delivery.Pending, delivery.Exhausted, delivery.Discarded, delivery.Expired, delivery.Superseded:
			p.Address = address(lettersPath, url.Values{"state": {b.Account}, "channel": {b.Channel}})
			switch state {
			case delivery.Pending:
				o.Pending += b.Balance
			case delivery.Exhausted:
				o.Exhausted += b.Balance
			default: // closed
			}
		default:
			p.Address = deliveriesPath
		}
		a.Places = append(a.Places, p)
	}
	return nil
}

func (c *Console) readSystem(ctx context.Context, o *overview) (err error) {
	o.Agents = c.Agents.States()
	for _, a := range o.Agents {
		if a.Breaker.State != "CLOSED" {
			o.NotClosed++
		}
	}
	standings, err := c.Breakers.BreakerStates(ctx, auth.Tenant(ctx))
	if err != nil {
		return err
	}
	held := map[string]bool{}
	for _, b := range standings {
		if b.Kind == breakers.Endpoint && b.State != breakers.Closed {
			held[b.Name] = true
		}
	}
	o.Endpoints = len(held)
	if o.System {
		if o.Jobs, err = c.Jobs.PeriodicJobs(ctx); err != nil {
			return err
		}
	}
	for _, state := range []packs.State{packs.Warming, packs.Error, packs.Stale} {
		list, err := c.Packs.PricingPacks(ctx, auth.Tenant(ctx), packs.Filter{State: state}, packs.Cursor{}, pageSize+1)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			o.PackStates = append(o.PackStates, packCount{State: state, Count: min(len(list), pageSize), More: len(list) > pageSize})
		}
	}
	return nil
}
