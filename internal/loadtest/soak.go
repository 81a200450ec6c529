package loadtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// SoakOptions say how long the system works, and how much.
type SoakOptions struct {
	Duration time.Duration
	Rate     float64       // events a second
	Reads    float64       // lists, pages and runs a second, in turn
	Every    time.Duration // between two samples
	Drain    time.Duration
	Seed     uint64 // decides which attempts fail
	// Execute runs a pattern: its path and bodies, taken in turn.
	Execute       string
	ExecuteBodies [][]byte
	Settings      []string // NAME=value, of the programs
}

// SoakReport is what came of it.
type SoakReport struct {
	Duration float64        `json:"duration_seconds"`
	Rate     float64        `json:"rate"`
	Statuses map[string]int `json:"statuses"` // of the reads, by what and status
	Series   []Series       `json:"series"`
	Pruned   int64          `json:"pruned_events"`
	Account  Account        `json:"account"`
	// Short says that the run was too short for slopes to be judged: they are only told.
	Short bool `json:"too_short_to_judge"`
}

// Series is a figure over the run.
type Series struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	At     []float64 `json:"at_seconds"`
	Values []float64 `json:"values"`
	// Slope is the growth an hour over the last two thirds, by least squares; Bound is the most it may be,
	// 0 where there is none.
	Slope float64 `json:"slope_per_hour"`
	Bound float64 `json:"bound_per_hour"`
}

// The bounds of growth. A leak of a page of memory for each of a hundred requests a second is 1.4 GiB an hour,
// that of a goroutine a minute 60.
const (
	maxMemorySlope     = 64 << 20 // bytes an hour, of live heap and of resident memory
	maxGoroutineSlope  = 60
	maxConnectionSlope = 20
	maxFileSlope       = 60
	// shortSoak is a run that says nothing about slopes an hour.
	shortSoak = 10 * time.Minute
	// maxDeadShare bounds the dead rows of the tables, autovacuum being at work: its default leaves a fifth.
	maxDeadShare = 0.5
	// fewRows are not worth vacuum's while.
	fewRows = 5000
)

// soakSchedule lets what fails three times in a row be exhausted within the run.
const soakSchedule = "2s,5s"

// soakReads are read in turn.
var soakReads = []string{
	"/v1/deliveries", "/v1/dlq?state=exhausted", "/v1/runs", "/v1/dlq/stats", "/console", "/v1/alerts", "/v1/agents", "/console/dlq",
	"/v1/notifications?user_id=user-1", "/console/deliveries", "/v1/jobs", "/v1/pricing-packs", "/console/insights", "/v1/audit",
}

// Soak runs the system at a moderate load and watches whether anything grows that must not.
//
// Settings bound retention to an hour from below. So that retention has as much to delete as comes in, events
// of between one hour and one hour less the run's duration ago are there before, and retention is started
// every minute.
func Soak(ctx context.Context, p Place, o SoakOptions) (*SoakReport, error) {
	receiver, err := NewReceiver(Unreliable(Unreliability{Seed: o.Seed, Fail: 0.25, Within: 20 * time.Millisecond}))
	if err != nil {
		return nil, err
	}
	if err := receiver.Up(); err != nil {
		return nil, err
	}
	defer receiver.Down()
	pool, err := pgxpool.New(ctx, p.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	system, err := NewSystem(p, 1, 1, append([]string{
		"AUTH_ANONYMOUS=admin", "RETRY_SCHEDULE=" + soakSchedule, "DELIVERY_RETENTION=1h", "RUN_RETENTION=1h", "JOB_RUN_RETENTION=1h",
		"NOTIFICATION_RETENTION=1h", "OPERATION_RETENTION=1h",
	}, o.Settings...)...)
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return nil, err
	}
	p.Say("making the events that retention is to delete")
	old, err := backdate(ctx, pool, o)
	if err != nil {
		return nil, err
	}
	p.Say("%g events and %g reads a second for %s", o.Rate, o.Reads, o.Duration)
	r := &SoakReport{Rate: o.Rate, Statuses: map[string]int{}, Short: o.Duration < shortSoak}
	started := time.Now()
	loadCtx, cancel := context.WithTimeout(ctx, o.Duration)
	defer cancel()
	result := make(chan Sent, 1)
	go func() {
		result <- Load{
			Targets: system.URLs(deliveriesPath), Webhook: func(int) string { return receiver.URL() }, Run: "soak", Concurrency: 32, Rate: o.Rate,
		}.Send(loadCtx)
	}()
	reads := make(chan map[string]int, 1)
	go func() { reads <- o.read(loadCtx, system) }()
	if err := r.watch(loadCtx, p, system, pool, o, started); err != nil {
		cancel()
		<-result
		<-reads
		return nil, err
	}
	sent := <-result
	r.Statuses = <-reads
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.Duration = time.Since(started).Seconds()
	p.Say("%d events acknowledged; waiting for the rest to drain", len(sent.Acknowledged))
	empty, err := drained(ctx, pool, o.Drain, p.Say)
	if err != nil {
		return nil, err
	}
	evidence, err := testify(ctx, pool, sent, receiver)
	if err != nil {
		return nil, err
	}
	// The tables hold less than the accounts once retention has deleted; both are right.
	evidence.Audits = slices.DeleteFunc(evidence.Audits, func(s string) bool { return strings.HasPrefix(s, "accounts that are not") })
	r.Account = Settle(evidence)
	if !empty {
		r.Account.wrong("not drained %s after the end of the load", o.Drain)
	}
	var left int64
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM alert_events WHERE alert_id = $1`, oldAlert).Scan(&left); err != nil {
		return nil, fmt.Errorf("count what retention left: %w", err)
	}
	r.Pruned = old - left
	r.judge()
	for _, crash := range system.Crashes() {
		r.Account.wrong("%s", crash)
	}
	if err := system.Stop(""); err != nil {
		r.Account.wrong("%v", err)
	}
	return r, nil
}

// oldAlert marks the events that were made to be deleted.
const oldAlert = "soak-old"

// backdate makes delivered events, as many a second as will come, that retention may delete one after the other
// while the soak runs. In flight first: so the accounts are kept as with real ones.
func backdate(ctx context.Context, pool *pgxpool.Pool, o SoakOptions) (int64, error) {
	n := int64(o.Rate * o.Duration.Seconds())
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// A statement that makes a table takes no parameters.
		made := fmt.Sprintf(`CREATE TEMPORARY TABLE soak_old ON COMMIT DROP AS
			SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000a' || lpad(to_hex(n), 15, '0'))::uuid AS id, at
			FROM (SELECT n, now() - interval '1 hour' + n / %g::float8 * interval '1 second' AS at FROM generate_series(1, %d::bigint) AS n) AS g`, o.Rate, n)
		for _, statement := range []string{
			made,
			`INSERT INTO alert_events (id, tenant_id, alert_id, user_id, title, message, severity, data, channels, accepted_at)
				SELECT id, (SELECT id FROM tenants ORDER BY id LIMIT 1), '` + oldAlert + `', 'ada', 'old ' || id, 'as long as messages are', 'info', '{}', '{"inapp": {}}', at
				FROM soak_old`,
			`INSERT INTO alert_inflight (event_id, target, channel, tenant_id, accepted_at)
				SELECT e.id, 'inapp', 'inapp', e.tenant_id, e.accepted_at FROM soak_old JOIN alert_events e USING (id)`,
			`INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome)
				SELECT e.id, 'inapp', 'inapp', 1, e.tenant_id, e.accepted_at, 0.01, 'delivered' FROM soak_old JOIN alert_events e USING (id)`,
			`INSERT INTO alert_deliveries (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at)
				SELECT e.id, e.tenant_id, e.id, 'inapp', 'inapp', e.alert_id, e.user_id, e.id::text, '{"inapp": {}}', 1, e.accepted_at, e.accepted_at
				FROM soak_old JOIN alert_events e USING (id)`,
			`DELETE FROM alert_inflight WHERE event_id IN (SELECT id FROM soak_old)`,
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return fmt.Errorf("make old events: %w", err)
			}
		}
		return nil
	})
	return n, err
}

// read asks for lists and pages and runs patterns until ctx ends, and starts retention every minute. It returns
// how often each was answered how.
func (o SoakOptions) read(ctx context.Context, system *System) map[string]int {
	client := &http.Client{Timeout: answerTimeout}
	defer client.CloseIdleConnections()
	base := system.URLs("")[0]
	var mu sync.Mutex
	statuses := map[string]int{}
	ask := func(method, path string, body []byte) {
		kind, _, _ := strings.Cut(path, "?")
		req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), method, base+path, strings.NewReader(string(body)))
		if err == nil {
			if len(body) > 0 {
				req.Header.Set("Content-Type", "application/json")
			}
			var resp *http.Response
			if resp, err = client.Do(req); err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				mu.Lock()
				statuses[fmt.Sprintf("%s %s %d", method, kind, resp.StatusCode)]++
				mu.Unlock()
			}
		}
		if err != nil {
			mu.Lock()
			statuses[fmt.Sprintf("%s %s no answer", method, kind)]++
			mu.Unlock()
		}
	}
	var wg sync.WaitGroup
	var n atomic.Int64
	started := time.Now()
	for range 8 {
		wg.Go(func() {
			for {
				i := n.Add(1)
				if pause(ctx, time.Until(started.Add(time.Duration(float64(i)/o.Reads*float64(time.Second))))) != nil {
					return
				}
				if o.Execute != "" && i%4 == 0 {
					ask(http.MethodPost, o.Execute, o.ExecuteBodies[int(i/4)%len(o.ExecuteBodies)])
					continue
				}
				ask(http.MethodGet, soakReads[int(i)%len(soakReads)], nil)
			}
		})
	}
	wg.Go(func() {
		for pause(ctx, time.Minute) == nil {
			for _, job := range []string{"prune_events", "prune_runs", "prune_records"} {
				ask(http.MethodPost, "/v1/jobs/"+job+"/run", []byte(`{"reason": "soak"}`))
			}
		}
	})
	wg.Wait()
	return statuses
}

// figures are read from each process's /metrics.
var figures = []struct {
	metric, name, unit string
	bound              float64
}{
	{"process_resident_memory_bytes", "resident memory", "MiB", maxMemorySlope},
	{"go_memstats_heap_alloc_bytes", "heap", "MiB", 0}, // goes up and down with the collector
	{"go_goroutines", "goroutines", "", maxGoroutineSlope},
	{"process_open_fds", "open files", "", maxFileSlope},
	{"dawsos_database_pool_connections", "pool's connections", "", maxConnectionSlope},
}

// soakTables are those that the load writes to.
var soakTables = []string{"alert_events", "alert_attempts", "alert_deliveries", "alert_dlq", "alert_inflight", "alert_dedup", "alert_account_changes", "pattern_runs", "river_job"}

// watch samples until ctx ends.
func (r *SoakReport) watch(ctx context.Context, p Place, system *System, pool *pgxpool.Pool, o SoakOptions, started time.Time) error {
	series := map[string]*Series{}
	var order []string
	note := func(name, unit string, bound, value float64) {
		s := series[name]
		if s == nil {
			s = &Series{Name: name, Unit: unit, Bound: bound}
			series[name] = s
			order = append(order, name)
		}
		s.At, s.Values = append(s.At, time.Since(started).Seconds()), append(s.Values, value)
	}
	told := time.Now()
	for {
		if err := pause(ctx, o.Every); err != nil {
			break
		}
		for i := range system.Size() {
			values, err := scrape(ctx, system.members[i].addr)
			if err != nil {
				if ctx.Err() != nil {
					break
				}
				return fmt.Errorf("%w%s", err, crashed(system.Crashes()))
			}
			for _, f := range figures {
				if v, ok := values[f.metric]; ok {
					note(system.Name(i)+", "+f.name, f.unit, f.bound, v)
				}
			}
		}
		if err := sampleDatabase(ctx, pool, note); err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		if time.Since(told) > time.Minute {
			told = time.Now()
			p.Say("%s of %s", time.Since(started).Round(time.Second), o.Duration)
		}
	}
	for _, name := range order {
		s := series[name]
		s.Slope = slope(s.At[len(s.At)/3:], s.Values[len(s.Values)/3:]) * 3600
		r.Series = append(r.Series, *s)
	}
	return nil
}

func sampleDatabase(ctx context.Context, pool *pgxpool.Pool, note func(name, unit string, bound, value float64)) error {
	var connections, size float64
	err := pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()), pg_database_size(current_database())`).
		Scan(&connections, &size)
	if err != nil {
		return fmt.Errorf("sample the database: %w", err)
	}
	note("database, connections", "", maxConnectionSlope, connections)
	note("database, size", "MiB", 0, size)
	rows, err := pool.Query(ctx, `
		SELECT relname, n_live_tup, n_dead_tup, pg_total_relation_size(relid) FROM pg_stat_user_tables
		WHERE relname = ANY($1) AND schemaname = 'public' ORDER BY relname`, soakTables)
	if err != nil {
		return fmt.Errorf("sample the tables: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var live, dead, size float64
		if err := rows.Scan(&name, &live, &dead, &size); err != nil {
			return fmt.Errorf("sample the tables: %w", err)
		}
		note(name+", rows", "", 0, live)
		note(name+", dead rows", "", 0, dead)
		note(name+", size", "MiB", 0, size)
	}
	return rows.Err()
}

// scrape reads a process's metrics; series of one name are added up.
func scrape(ctx context.Context, addr string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read the metrics: %s", resp.Status)
	}
	values := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if at := strings.IndexByte(line, '{'); at >= 0 {
			name, rest = line[:at], line[strings.LastIndexByte(line, '}')+1:]
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(fields[0], 64); err == nil {
			values[name] += v
		}
	}
	return values, lines.Err()
}

// slope is that of the line through points with the least squares; 0 with fewer than two.
func slope(x, y []float64) float64 {
	if len(x) < 2 {
		return 0
	}
	mean := func(v []float64) (m float64) {
		for _, f := range v {
			m += f / float64(len(v))
		}
		return m
	}
	mx, my := mean(x), mean(y)
	var over, under float64
	for i := range x {
		over += (x[i] - mx) * (y[i] - my)
		under += (x[i] - mx) * (x[i] - mx)
	}
	if under == 0 {
		return 0
	}
	return over / under
}

// judge says what must not be.
func (r *SoakReport) judge() {
	byName := map[string]Series{}
	for _, s := range r.Series {
		byName[s.Name] = s
		if s.Bound > 0 && s.Slope > s.Bound && !r.Short {
			r.Account.wrong("%s grew by %s an hour, %s is allowed", s.Name, s.format(s.Slope), s.format(s.Bound))
		}
	}
	for _, table := range soakTables {
		live, dead := byName[table+", rows"], byName[table+", dead rows"]
		if len(live.Values) == 0 || r.Short {
			continue
		}
		// Between two runs of autovacuum there may be many. What counts is that they come down again.
		least := math.Inf(1)
		for i := 2 * len(dead.Values) / 3; i < len(dead.Values); i++ {
			if dead.Values[i] < fewRows {
				least = 0
			} else if all := dead.Values[i] + live.Values[i]; all > 0 {
				least = min(least, dead.Values[i]/all)
			}
		}
		if least > maxDeadShare {
			r.Account.wrong("%s is never below %.0f %% dead rows in the last third", table, least*100)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Statuses)) {
		if !strings.HasSuffix(kind, " 200") && !strings.HasSuffix(kind, " 202") && !strings.HasSuffix(kind, " 409") {
			r.Account.wrong("%d times %s", r.Statuses[kind], kind)
		}
	}
}

func (s Series) format(v float64) string {
	if s.Unit == "MiB" {
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// curve draws the values with eight heights, forty places wide at most.
func (s Series) curve() string {
	const heights = "▁▂▃▄▅▆▇█"
	low, high := slices.Min(s.Values), slices.Max(s.Values)
	var b strings.Builder
	places := min(40, len(s.Values))
	for i := range places {
		v := s.Values[i*len(s.Values)/places]
		at := 0
		if high > low {
			at = int((v - low) / (high - low) * 7)
		}
		b.WriteString(string([]rune(heights)[at]))
	}
	return b.String()
}

// String is the report for people, its figures as Markdown.
func (r *SoakReport) String() string {
	var b strings.Builder
	b.WriteString("| what | begin | end | least | most | an hour | allowed | |\n|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Series {
		allowed := ""
		if s.Bound > 0 {
			allowed = s.format(s.Bound)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", s.Name, s.format(s.Values[0]), s.format(s.Values[len(s.Values)-1]),
			s.format(slices.Min(s.Values)), s.format(slices.Max(s.Values)), s.format(s.Slope), allowed, s.curve())
	}
	b.WriteString("\n")
	var t table
	t.add("duration", "%.0f s, %g events a second", r.Duration, r.Rate)
	if r.Short {
		t.add("judgement", "the run was too short for growth to be judged")
	}
	t.add("deleted by retention", "%d events", r.Pruned)
	for _, kind := range slices.Sorted(maps.Keys(r.Statuses)) {
		t.add(kind, "%d", r.Statuses[kind])
	}
	r.Account.write(&t)
	return b.String() + t.String()
}

// OK reports whether all is as it must be.
func (r *SoakReport) OK() bool { return r.Account.OK() }
