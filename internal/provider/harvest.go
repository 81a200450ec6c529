package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/tables"
)

// Config says what is fetched.
type Config struct {
	FRED struct {
		Series []string `yaml:"series"`
	} `yaml:"fred"`
	FMP struct {
		Symbols map[string]string `yaml:"symbols"` // ours, to the service's; "" when it is the same
	} `yaml:"fmp"`
	News struct {
		Symbols map[string]string `yaml:"symbols"`
		Days    int               `yaml:"days"`
	} `yaml:"news"`
}

const mostSubjects = 1000 // of one provider

// File is the name of the file that says what is fetched.
const File = "providers.yaml"

// LoadConfig reads providers.yaml in a folder. The error names everything that is wrong with it.
func LoadConfig(dir string) (Config, error) {
	var c Config
	if _, err := tables.Read(dir, File, &c); err != nil {
		return Config{}, err
	}
	var ps tables.Problems
	tables.Within(&ps, "news.days", c.News.Days, 1, 365)
	for name, n := range map[string]int{"fred.series": len(c.FRED.Series), "fmp.symbols": len(c.FMP.Symbols), "news.symbols": len(c.News.Symbols)} {
		if n > mostSubjects {
			ps.Add(name, "%d are more than %d", n, mostSubjects)
		}
	}
	for i, series := range c.FRED.Series {
		if slices.Index(c.FRED.Series, series) < i {
			ps.Add("fred.series", "%s stands twice", series)
		}
	}
	unambiguous(&ps, "fmp.symbols", c.FMP.Symbols)
	unambiguous(&ps, "news.symbols", c.News.Symbols)
	return c, ps.In(File)
}

// unambiguous notes symbols of ours that are one to the service: what it answers would be of either, and of
// another with every start.
func unambiguous(ps *tables.Problems, name string, symbols map[string]string) {
	ours := map[string]string{}
	for _, symbol := range slices.Sorted(maps.Keys(symbols)) {
		theirs := cmp.Or(symbols[symbol], symbol)
		if other, taken := ours[theirs]; taken {
			ps.Add(name, "%s and %s are both %q to the service", other, symbol, theirs)
			continue
		}
		ours[theirs] = symbol
	}
}

// Task is what one provider is asked for.
type Task struct {
	Provider Provider
	Subjects []string // as the service calls them
	Days     int      // how far back; 0 means all there is
	ours     map[string]string
}

// Keys are the services' secrets; a service without one is not asked.
type Keys struct{ FRED, FMP, News string }

// Tasks returns what there is to fetch, given the keys. o.Key is not used.
func (c Config) Tasks(keys Keys, o Options) []Task {
	var tasks []Task
	with := func(key string) Options {
		o.Key = key
		return o
	}
	if keys.FRED != "" && len(c.FRED.Series) > 0 {
		tasks = append(tasks, Task{Provider: NewFRED(with(keys.FRED)), Subjects: c.FRED.Series})
	}
	if keys.FMP != "" && len(c.FMP.Symbols) > 0 {
		subjects, ours := translate(c.FMP.Symbols)
		tasks = append(tasks, Task{Provider: NewFMP(with(keys.FMP)), Subjects: subjects, ours: ours})
	}
	if keys.News != "" && len(c.News.Symbols) > 0 {
		subjects, ours := translate(c.News.Symbols)
		tasks = append(tasks, Task{Provider: NewMarketaux(with(keys.News)), Subjects: subjects, Days: c.News.Days, ours: ours})
	}
	return tasks
}

// translate returns the service's symbols, sorted, and ours by them.
func translate(symbols map[string]string) (subjects []string, ours map[string]string) {
	ours = map[string]string{}
	for symbol, theirs := range symbols {
		ours[cmp.Or(theirs, symbol)] = symbol
	}
	return slices.Sorted(maps.Keys(ours)), ours
}

// Importer imports rows.
type Importer interface {
	Import(ctx context.Context, r imports.Request) (imports.Summary, error)
}

// Report says what came of one provider.
type Report struct {
	Provider  string `json:"provider"`
	Subjects  int    `json:"subjects"`
	Rows      int64  `json:"rows"`
	Inserted  int64  `json:"inserted"`
	Changed   int64  `json:"changed"`
	Unchanged int64  `json:"unchanged"`
	Error     string `json:"error,omitempty"`
}

// Harvest is all that there is to fetch.
type Harvest struct {
	tasks    []Task
	importer Importer
	tenantID string
	now      func() time.Time
}

// NewHarvest returns the tasks for a tenant.
func NewHarvest(tasks []Task, importer Importer, tenantID string, now func() time.Time) *Harvest {
	return &Harvest{tasks: tasks, importer: importer, tenantID: tenantID, now: now}
}

// Fetch asks one provider after the other. One that fails does not keep the others from it; the error is
// of all that did.
func (h *Harvest) Fetch(ctx context.Context) ([]Report, error) {
	reports := make([]Report, 0, len(h.tasks))
	var errs []error
	for _, t := range h.tasks {
		summary, err := t.Run(ctx, h.importer, h.tenantID, h.now())
		r := Report{
			Provider: t.Provider.Name(), Subjects: len(t.Subjects),
			Rows: summary.Rows, Inserted: summary.Inserted, Changed: summary.Changed, Unchanged: summary.Unchanged,
		}
		if err != nil {
			r.Error = err.Error()
			errs = append(errs, err)
		}
		reports = append(reports, r)
		if ctx.Err() != nil {
			break
		}
	}
	return reports, errors.Join(errs...)
}

// Run fetches and imports, all rows or none, but for macro series that are refused by the service or the import:
// those are left out, and the error is about them, while the summary is of the others. Rows go from one to the
// other as they come.
func (t Task) Run(ctx context.Context, importer Importer, tenantID string, now time.Time) (imports.Summary, error) {
	var since time.Time
	if t.Days > 0 {
		since = now.UTC().AddDate(0, 0, -t.Days)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader, writer := io.Pipe()
	var refused []error
	fetched := make(chan error, 1)
	go func() {
		encoder := json.NewEncoder(writer)
		var err error
		refused, err = t.fetch(ctx, since, func(r Row) error { return encoder.Encode(t.translated(r)) })
		// An import that reads this error instead of the end stores nothing.
		_ = writer.CloseWithError(err)
		fetched <- err
	}()
	summary, err := importer.Import(ctx, imports.Request{
		TenantID: tenantID, Kind: imports.Kind(t.Provider.Kind()), Format: imports.NDJSON, Body: reader,
		Source: t.Provider.Name(), Actor: "fetch_data", Fetched: true,
	})
	cancel()
	_ = reader.Close() // whoever still writes is told
	fetchErr := <-fetched
	if _, failed := errors.AsType[*Error](fetchErr); failed {
		return imports.Summary{}, fetchErr // the cause; the import's error follows from it
	}
	if err != nil {
		return imports.Summary{}, fmt.Errorf("import what %s answered: %w", t.Provider.Name(), err)
	}
	for _, why := range summary.LeftOut {
		refused = append(refused, fmt.Errorf("%s: %s", t.Provider.Name(), why))
	}
	return summary, errors.Join(refused...)
}

// fetch emits what the provider answers. It asks for one macro series at a time, so that one that is refused
// leaves none of its rows behind and the others are fetched: night after night it would keep all from coming in.
func (t Task) fetch(ctx context.Context, since time.Time, emit func(Row) error) (refused []error, err error) {
	if t.Provider.Kind() != Macro {
		return nil, t.Provider.Fetch(ctx, t.Subjects, since, emit)
	}
	for _, series := range t.Subjects {
		var rows []Row
		err := t.Provider.Fetch(ctx, []string{series}, since, func(r Row) error {
			rows = append(rows, r)
			return nil
		})
		if e, ok := errors.AsType[*Error](err); ok && e.refusal() {
			refused = append(refused, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if err := emit(r); err != nil {
				return nil, err
			}
		}
	}
	if len(refused) == len(t.Subjects) {
		return nil, errors.Join(refused...) // there is nothing to import
	}
	return refused, nil
}

// translated gives rows our symbols.
func (t Task) translated(r Row) Row {
	switch r := r.(type) {
	case FundamentalRow:
		r.Symbol = t.ours[r.Symbol]
		return r
	case NewsRow:
		symbols := make([]string, len(r.Symbols))
		for i, s := range r.Symbols {
			symbols[i] = t.ours[s]
		}
		slices.Sort(symbols)
		r.Symbols = symbols
		return r
	}
	return r
}
