package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/periodic"
)

// Jobs are the periodic jobs.
type Jobs interface {
	PeriodicJobs(ctx context.Context) ([]periodic.Job, error)
	RunPeriodicJob(ctx context.Context, tenantID, name string, by delivery.By) error
	JobRuns(ctx context.Context, name string, before uuid.UUID, limit int) ([]periodic.Run, error)
}

const jobsPath = "/console/jobs"

func (c *Console) jobRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: jobsPath, Handler: c.jobs},
		{Method: http.MethodGet, Path: jobsPath + "/{name}", Handler: c.job},
		{Method: http.MethodGet, Path: jobsPath + "/{name}/run", Handler: c.jobForm},
		{Method: http.MethodPost, Path: jobsPath + "/{name}/run", Handler: c.runJob},
	}
}

// periodicJob is a periodic job as pages show it.
type periodicJob struct {
	periodic.Job

	Path string
	Due  bool // its time has come; a worker that is there takes it at once
}

// Busy reports whether it can't be started because it waits or runs.
func (j periodicJob) Busy() bool { return j.State == periodic.Waiting || j.State == periodic.Running }

// Last is the newest recorded run, nil when there is none.
func (j periodicJob) Last() *periodicRun {
	if len(j.Runs) == 0 {
		return nil
	}
	return &periodicRun{j.Runs[0]}
}

type periodicRun struct{ periodic.Run }

// Took is how long an ended run lasted.
func (r periodicRun) Took() time.Duration {
	if r.EndedAt == nil {
		return 0
	}
	return r.EndedAt.Sub(r.StartedAt)
}

// HasDetail reports whether the run left word of what it came to.
func (r periodicRun) HasDetail() bool {
	text := strings.TrimSpace(string(r.Detail))
	return text != "" && text != "{}" && text != "null"
}

func (c *Console) allJobs(ctx context.Context) ([]periodicJob, error) {
	list, err := c.Jobs.PeriodicJobs(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]periodicJob, len(list))
	for i, j := range list {
		all[i] = periodicJob{Job: j, Path: jobsPath + "/" + url.PathEscape(j.Name)}
		all[i].Due = j.NextAt != nil && !j.NextAt.After(c.Now())
	}
	return all, nil
}

func (c *Console) findJob(ctx context.Context, name string) (periodicJob, error) {
	all, err := c.allJobs(ctx)
	if err != nil {
		return periodicJob{}, err
	}
	i := slices.IndexFunc(all, func(j periodicJob) bool { return j.Name == name })
	if i < 0 {
		return periodicJob{}, fault.New(fault.NotFound, "there is no periodic job %q", name)
	}
	return all[i], nil
}

// nightly puts the jobs of the nightly order into that order, and the others behind.
func nightly(all []periodicJob) (order, others []periodicJob) {
	follows := map[string][]periodicJob{}
	for _, j := range all {
		follows[j.After] = append(follows[j.After], j)
	}
	var add func(j periodicJob)
	add = func(j periodicJob) {
		order = append(order, j)
		for _, next := range follows[j.Name] {
			add(next)
		}
	}
	for _, j := range follows[""] {
		if len(follows[j.Name]) > 0 {
			add(j)
		} else {
			others = append(others, j)
		}
	}
	return order, others
}

type jobGroup struct {
	ID, Title, About string
	Jobs             []periodicJob
}

func (c *Console) jobs(w http.ResponseWriter, r *http.Request) error {
	all, err := c.allJobs(r.Context())
	if err != nil {
		return err
	}
	order, others := nightly(all)
	return c.render(w, r, http.StatusOK, "jobs", jobsPath, "Jobs", map[string]any{
		"Done": r.URL.Query().Get("done"),
		"Groups": []jobGroup{
			{"nightly", "The nightly order", "Each job is started by the end of the one before it. An import begins the order, too.", order},
			{"others", "Beside the order", "These run by their own schedules.", others},
		},
	})
}

func (c *Console) job(w http.ResponseWriter, r *http.Request) error {
	j, err := c.findJob(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	before := uuid.Max
	if err := cursor(r, &before); err != nil {
		return err
	}
	list, err := c.Jobs.JobRuns(r.Context(), j.Name, before, pageSize+1)
	if err != nil {
		return err
	}
	var next any
	if len(list) > pageSize {
		list = list[:pageSize]
		next = list[pageSize-1].ID
	}
	pages, err := newPager(r, next)
	if err != nil {
		return err
	}
	runs := make([]periodicRun, len(list))
	for i := range list {
		runs[i] = periodicRun{list[i]}
	}
	return c.render(w, r, http.StatusOK, "job", jobsPath, "Job "+words(j.Name), map[string]any{
		"Done": r.URL.Query().Get("done"), "Job": j, "Runs": runs, "Pager": pages,
	})
}

// mostReasonRunes bounds what is kept of why somebody acted.
const mostReasonRunes = 500

// givenReason is why somebody acts, and what is wrong with it.
func givenReason(r *http.Request) (text, wrong string) {
	text = strings.TrimSpace(r.PostFormValue("reason"))
	if !writable(text) || utf8.RuneCountInString(text) > mostReasonRunes {
		return text, fmt.Sprintf("This must be text of at most %d characters.", mostReasonRunes)
	}
	return text, ""
}

func (c *Console) jobForm(w http.ResponseWriter, r *http.Request) error {
	return c.showJobForm(w, r, http.StatusOK, "", "")
}

func (c *Console) showJobForm(w http.ResponseWriter, r *http.Request, status int, given, wrong string) error {
	j, err := c.findJob(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return c.render(w, r, status, "job_run", jobsPath, "Run "+words(j.Name), map[string]any{"Job": j, "Reason": given, "Wrong": wrong})
}

func (c *Console) runJob(w http.ResponseWriter, r *http.Request) error {
	j, err := c.findJob(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	why, wrong := givenReason(r)
	if wrong != "" {
		return c.showJobForm(w, r, http.StatusUnprocessableEntity, why, wrong)
	}
	if err := c.Jobs.RunPeriodicJob(r.Context(), auth.Tenant(r.Context()), j.Name, c.by(r.Context(), why)); err != nil {
		return err
	}
	return done(w, r, j.Path, "The job %s is queued; the worker takes it up at once.", words(j.Name))
}
