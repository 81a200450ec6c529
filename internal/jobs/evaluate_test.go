package jobs_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/destinations"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/seal"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

// named is the destinations that there are; all lead to the channel of these tests.
type named struct {
	mu    sync.Mutex
	names map[string]bool
}

func (n *named) Destination(_ context.Context, _, name string) (delivery.Destination, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.names[name] {
		return delivery.Destination{}, fault.New(fault.NotFound, "there is no destination %q", name)
	}
	return delivery.Destination{Name: name, Channel: "hook", Enabled: true, Endpoint: delivery.Endpoint{ID: "destination:" + name}}, nil
}

func (n *named) set(name string, there bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[name] = there
}

// unmeasured has no figures.
type unmeasured struct{}

func (unmeasured) Figures(context.Context, agent.Context) (map[string]portfolio.Figure, error) {
	return nil, fault.New(fault.InsufficientData, "nothing is booked")
}

func (unmeasured) ShiftConfidence(context.Context, agent.Context) (portfolio.Figure, error) {
	return portfolio.Figure{}, fault.New(fault.InsufficientData, "no macro series is stored")
}

// watch is the alert rules of a bundle, with a clock of their own.
type watch struct {
	*bundle

	rules        *store.Alerts
	destinations *named
	registry     *prometheus.Registry
	now          atomic.Pointer[time.Time]
}

func newWatch(t *testing.T, b *bundle) *watch {
	t.Helper()
	w := &watch{bundle: b, destinations: &named{names: map[string]bool{"ops": true}}, registry: prometheus.NewRegistry()}
	w.at(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	b.store = store.NewDeliveries(b.pool, b.client(&river.Config{}), b.quiet, w.clock) // which tells what is a duplicate by the time
	b.options.Destinations, b.options.Now = w.destinations, w.clock
	b.service = delivery.NewService(b.store, b.options)
	w.rules = store.NewAlerts(b.pool, b.store, unmeasured{}, unmeasured{}, b.quiet, w.clock)
	return w
}

func (w *watch) clock() time.Time { return *w.now.Load() }

func (w *watch) at(now time.Time) { w.now.Store(&now) }

func (w *watch) evaluator(reg prometheus.Registerer) *jobs.Evaluator {
	return jobs.NewEvaluator(w.rules, w.service, w.destinations, reg, w.quiet, w.clock)
}

func (w *watch) rule(fields string) alerts.Rule {
	w.t.Helper()
	r, err := alerts.ParseRule([]byte(`{"user_id":"ada","name":"n","channels":{"destination":["ops"]},` + fields + `}`))
	require.NoError(w.t, err)
	r.TenantID = store.DefaultTenant
	r, err = w.rules.CreateRule(w.t.Context(), r, "test")
	require.NoError(w.t, err)
	return r
}

func (w *watch) read(id uuid.UUID) alerts.Rule {
	w.t.Helper()
	r, err := w.rules.Rule(w.t.Context(), store.DefaultTenant, id)
	require.NoError(w.t, err)
	return r
}

// vix stores a newer observation.
func (w *watch) vix(value float64) {
	w.t.Helper()
	for _, sql := range []string{
		`INSERT INTO macro_series (tenant_id, series, unit, frequency, origin) VALUES ('default', 'VIX', 'index', 'daily', 'test') ON CONFLICT DO NOTHING`,
		`INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash)
			SELECT 'default', coalesce(max(revision), 0) + 1, 'test', 1, 'h' FROM data_revisions WHERE tenant_id = 'default'`,
	} {
		_, err := w.pool.Exec(w.t.Context(), sql)
		require.NoError(w.t, err)
	}
	_, err := w.pool.Exec(w.t.Context(), `INSERT INTO macro_values (tenant_id, series, date, revision, value)
		SELECT 'default', 'VIX', '2026-04-30', max(revision), $1 FROM data_revisions`, value)
	require.NoError(w.t, err)
}

func (w *watch) count(sql string, args ...any) int {
	w.t.Helper()
	var n int
	require.NoError(w.t, w.pool.QueryRow(w.t.Context(), sql, args...).Scan(&n))
	return n
}

const (
	vixAbove30 = `"condition":{"type":"macro","entity":"VIX","op":">","value":30}`
	events     = `SELECT count(*) FROM alert_events`
)

func TestARuleFromFiringToItsEnd(t *testing.T) {
	t.Parallel()
	w := newWatch(t, setup(t, answers(arrived)))
	e := w.evaluator(w.registry)
	r := w.rule(vixAbove30 + `,"cooldown_hours":2`)
	ctx := t.Context()
	evaluate := func() alerts.Report {
		t.Helper()
		report, err := e.EvaluateAll(ctx, store.DefaultTenant)
		require.NoError(t, err)
		require.Equal(t, 1, report.Evaluated)
		return report
	}

	report := evaluate()
	require.Equal(t, 1, report.UnknownCount)
	require.Equal(t, "no observation of the series VIX is stored", report.Unknown[0].Missing[0].Reason)
	require.Zero(t, w.count(events), "the unknown never fires")

	w.vix(31.25)
	begun := w.clock()
	report = evaluate()
	require.Len(t, report.Fired, 1)
	event, _, err := w.store.History(ctx, store.DefaultTenant, report.Fired[0].EventID)
	require.NoError(t, err)
	require.Equal(t, r.ID.String(), event.AlertID)
	require.Equal(t, "VIX > 30. Observed: VIX was 31.25 on 2026-04-30.", event.Message)
	require.Equal(t, delivery.Rule, event.Source)
	require.Equal(t, 1, w.count(`SELECT count(*) FROM river_job WHERE kind = 'deliver'`), "the worker makes the first attempt")

	w.at(begun.Add(2*time.Hour - time.Second))
	require.Zero(t, evaluate().FiredCount, "it cools down")
	require.Equal(t, alerts.Firing, w.read(r.ID).State)
	w.at(begun.Add(2 * time.Hour))
	require.Equal(t, 1, evaluate().FiredCount)

	_, err = w.rules.ChangeRule(ctx, store.DefaultTenant, r.ID, 0, audit.Entry{}, alerts.Acknowledge)
	require.NoError(t, err)
	w.at(begun.Add(10 * time.Hour))
	require.Zero(t, evaluate().FiredCount, "somebody knows")
	w.vix(20)
	evaluate()
	require.Equal(t, alerts.OK, w.read(r.ID).State)
	require.Equal(t, "20", w.read(r.ID).LastValue.String())

	_, err = w.rules.ChangeRule(ctx, store.DefaultTenant, r.ID, 0, audit.Entry{}, func(r alerts.Rule) (alerts.Rule, error) {
		return alerts.Snooze(r, begun.Add(12*time.Hour)), nil
	})
	require.NoError(t, err)
	w.vix(40)
	require.Zero(t, evaluate().FiredCount, "it is snoozed")
	require.Equal(t, alerts.Snoozed, w.read(r.ID).State)
	w.at(begun.Add(12 * time.Hour))
	require.Equal(t, 1, evaluate().FiredCount)
	require.Equal(t, 3, w.count(events))

	require.NoError(t, e.EvaluateEverything(ctx))
	require.NoError(t, testutil.GatherAndCompare(w.registry, strings.NewReader(`
# HELP dawsos_alert_rules Active alert rules by state, as of this process's latest evaluation of all.
# TYPE dawsos_alert_rules gauge
dawsos_alert_rules{state="acknowledged"} 0
dawsos_alert_rules{state="firing"} 1
dawsos_alert_rules{state="ok"} 0
dawsos_alert_rules{state="snoozed"} 0
# HELP dawsos_alert_signals_total Firings of alert rules whose event was accepted for delivery, by severity.
# TYPE dawsos_alert_signals_total counter
dawsos_alert_signals_total{severity="critical"} 0
dawsos_alert_signals_total{severity="info"} 0
dawsos_alert_signals_total{severity="warning"} 3
`), "dawsos_alert_rules", "dawsos_alert_signals_total"))
	n, err := testutil.GatherAndCount(w.registry, "dawsos_alert_evaluations_total")
	require.NoError(t, err)
	require.Equal(t, 27, n, "nine types and three results, from the start")
}

// Two workers and a request at once: whoever records first has fired.
func TestEvaluationsAtOnceFireOnce(t *testing.T) {
	t.Parallel()
	w := newWatch(t, setup(t, answers(arrived)))
	w.vix(31)
	const rules = 40
	for range rules {
		w.rule(vixAbove30 + `,"cooldown_hours":1`)
	}
	var wg sync.WaitGroup
	var fired atomic.Int64
	for range 4 {
		e := w.evaluator(prometheus.NewRegistry())
		wg.Go(func() {
			report, err := e.EvaluateAll(t.Context(), store.DefaultTenant)
			if err != nil {
				t.Errorf("evaluate: %v", err)
			}
			fired.Add(int64(report.FiredCount))
		})
	}
	wg.Wait()
	require.EqualValues(t, rules, fired.Load())
	require.Equal(t, rules, w.count(events))
	require.Equal(t, rules, w.count(`SELECT count(DISTINCT alert_id) FROM alert_events`))
}

// With a cooldown of a day a user hears of a rule once a day in UTC, even if the rule has forgotten.
func TestOnceAUserRuleAndDay(t *testing.T) {
	t.Parallel()
	b, reg := setup(t, answers(arrived)), prometheus.NewRegistry()
	b.options.Metrics = delivery.NewMetrics(reg)
	w := newWatch(t, b)
	w.vix(31)
	daily, hourly := w.rule(vixAbove30), w.rule(vixAbove30+`,"cooldown_hours":1`)
	e := w.evaluator(w.registry)
	for i, when := range []struct {
		at         time.Time
		duplicates int // of the daily rule
	}{
		{time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), 0},
		{time.Date(2026, 5, 1, 23, 59, 59, 0, time.UTC), 1},
		{time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC), 0},
	} {
		w.at(when.at)
		_, err := w.pool.Exec(t.Context(), `UPDATE alert_rules SET last_fired_at = NULL`)
		require.NoError(t, err)
		report, err := e.EvaluateSome(t.Context(), store.DefaultTenant, []uuid.UUID{daily.ID, hourly.ID})
		require.NoError(t, err)
		require.Len(t, report.Fired, 2)
		for _, f := range report.Fired {
			require.Equal(t, f.RuleID == daily.ID && when.duplicates == 1, f.Duplicate, "evaluation %d", i)
		}
	}
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP dawsos_delivery_duplicates_total Events and targets that were not sent because an earlier event says the same.
# TYPE dawsos_delivery_duplicates_total counter
dawsos_delivery_duplicates_total{channel="hook"} 1
`), "dawsos_delivery_duplicates_total"))
}

func TestWhatCanNotBeHandedOnIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWatch(t, setup(t, answers(arrived)))
	w.vix(31)
	lost, sound := w.rule(vixAbove30), w.rule(vixAbove30)
	_, err := w.rules.ChangeRule(t.Context(), store.DefaultTenant, lost.ID, 0, audit.Entry{}, func(r alerts.Rule) (alerts.Rule, error) {
		return alerts.Merge(r, []byte(`{"channels":{"destination":["gone"]}}`))
	})
	require.NoError(t, err)
	e := w.evaluator(w.registry)
	trial, err := e.Try(t.Context(), w.read(lost.ID))
	require.NoError(t, err)
	require.Contains(t, trial.Problem, `no destination "gone"`)
	require.True(t, trial.Decision.Fire)
	require.Equal(t, fault.Invalid, fault.CodeOf(e.Check(t.Context(), w.read(lost.ID))))
	require.NoError(t, e.Check(t.Context(), sound))

	report, err := e.EvaluateAll(t.Context(), store.DefaultTenant)
	require.NoError(t, err)
	require.Equal(t, 1, report.FiredCount, "the other is heard")
	require.Equal(t, lost.ID, report.Refused[0].RuleID)
	r := w.read(lost.ID)
	require.Contains(t, r.LastError, `no destination "gone"`)
	require.Equal(t, alerts.Firing, r.State)
	require.True(t, r.LastFiredAt.IsZero())

	w.destinations.set("gone", true)
	report, err = e.EvaluateAll(t.Context(), store.DefaultTenant)
	require.NoError(t, err)
	require.Equal(t, 1, report.FiredCount)
	require.Empty(t, w.read(lost.ID).LastError)
	require.Equal(t, 2, w.count(events))
}

// locked is a store's destinations without the key that one of them was encrypted with.
func (w *watch) locked(name string) delivery.Destinations {
	w.t.Helper()
	box := func(b byte) *seal.Box {
		box, err := seal.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, seal.KeySize)))
		require.NoError(w.t, err)
		return box
	}
	at := w.clock()
	require.NoError(w.t, store.NewDestinations(w.pool, box(1), w.clock).Create(w.t.Context(), destinations.Entry{
		Destination: delivery.Destination{
			ID: uuid.Must(uuid.NewV7()), TenantID: store.DefaultTenant, Name: name, Channel: "webhook", Enabled: true, Revision: 1,
			CreatedAt: at, UpdatedAt: at,
		},
	}, audit.Entry{TenantID: store.DefaultTenant, At: at, Actor: "test", Action: "destination.create", Subject: "destination", SubjectID: name, Detail: []byte(`{}`)}))
	return store.NewDestinations(w.pool, box(2), w.clock)
}

// either asks the one for its names, and the other for the rest.
type either struct {
	*named
	other delivery.Destinations
}

func (e either) Destination(ctx context.Context, tenantID, name string) (delivery.Destination, error) {
	d, err := e.named.Destination(ctx, tenantID, name)
	if fault.CodeOf(err) == fault.NotFound {
		return e.other.Destination(ctx, tenantID, name)
	}
	return d, err
}

// A destination that no key opens is a state that may last. It must not silence the rules that stand beside
// its own.
func TestALockedDestinationSilencesItsOwnRuleAlone(t *testing.T) {
	t.Parallel()
	for name, channels := range map[string]string{
		"channels": `{"channels":{"destination":["sealed"]}}`,
		"fallback": `{"fallback":{"destination":["sealed"]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch(t, setup(t, answers(arrived)))
			w.vix(31)
			both := either{w.destinations, w.locked("sealed")}
			w.options.Destinations = both
			w.service = delivery.NewService(w.store, w.options)
			e := jobs.NewEvaluator(w.rules, w.service, both, w.registry, w.quiet, w.clock)
			r, sound := w.rule(vixAbove30), w.rule(vixAbove30)
			_, err := w.rules.ChangeRule(t.Context(), store.DefaultTenant, r.ID, 0, audit.Entry{}, func(r alerts.Rule) (alerts.Rule, error) {
				return alerts.Merge(r, []byte(channels))
			})
			require.NoError(t, err)

			const why = "destination sealed is encrypted with a key that is not in SECRETS_KEY"
			trial, err := e.Try(t.Context(), w.read(r.ID))
			require.NoError(t, err)
			require.Equal(t, why, trial.Problem)
			report, err := e.EvaluateAll(t.Context(), store.DefaultTenant)
			require.NoError(t, err)
			require.Equal(t, 1, report.FiredCount)
			require.Equal(t, sound.ID, report.Fired[0].RuleID, "the other is heard")
			require.Equal(t, []alerts.RefusedRule{{RuleID: r.ID, Reason: why}}, report.Refused)
			r = w.read(r.ID)
			require.Equal(t, why, r.LastError)
			require.Equal(t, alerts.Firing, r.State)
			require.True(t, r.LastFiredAt.IsZero())

			w.destinations.set("sealed", true) // the key is back
			report, err = e.EvaluateAll(t.Context(), store.DefaultTenant)
			require.NoError(t, err)
			require.Equal(t, 1, report.FiredCount)
			require.Empty(t, w.read(r.ID).LastError)
		})
	}
}

// unreadable is destinations in a database that does not answer, for some tenants.
type unreadable struct {
	delivery.Destinations
	tenants []string
}

var errAway = errors.New("the database is away")

func (u unreadable) Destination(ctx context.Context, tenantID, name string) (delivery.Destination, error) {
	if slices.Contains(u.tenants, tenantID) {
		return delivery.Destination{}, errAway
	}
	return u.Destinations.Destination(ctx, tenantID, name)
}

// stopping is destinations that the process's stop comes between.
type stopping struct {
	delivery.Destinations
	stop func()
}

func (s stopping) Destination(ctx context.Context, _, _ string) (delivery.Destination, error) {
	s.stop()
	return delivery.Destination{}, ctx.Err()
}

// What can't be found out is no refusal: nothing is written, and the next evaluation begins where this one
// did. It is no reason to leave out the tenants behind.
func TestATenantWhoseEvaluationFailsKeepsNoOtherFromTheirs(t *testing.T) {
	t.Parallel()
	w := newWatch(t, setup(t, answers(arrived)))
	w.vix(31)
	rules := map[string]alerts.Rule{store.DefaultTenant: w.rule(vixAbove30)}
	for _, tenant := range []string{"a", "z"} { // in front of the default one and behind it
		w.exec(`INSERT INTO tenants (id) VALUES ($1)`, tenant)
		for _, sql := range []string{
			`INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ($1, 1, 'test', 1, 'h')`,
			`INSERT INTO macro_series (tenant_id, series, unit, frequency, origin) VALUES ($1, 'VIX', 'index', 'daily', 'test')`,
			`INSERT INTO macro_values (tenant_id, series, date, revision, value) VALUES ($1, 'VIX', '2026-04-30', 1, 31)`,
		} {
			w.exec(sql, tenant)
		}
		r := rules[store.DefaultTenant]
		r.ID, r.TenantID = uuid.Must(uuid.NewV7()), tenant
		r, err := w.rules.CreateRule(t.Context(), r, "test")
		require.NoError(t, err)
		rules[tenant] = r
	}
	e := jobs.NewEvaluator(w.rules, w.service, unreadable{w.destinations, []string{"a", store.DefaultTenant}}, w.registry, w.quiet, w.clock)
	err := e.EvaluateEverything(t.Context())
	require.ErrorIs(t, err, errAway)
	require.ErrorContains(t, err, "evaluate the rules of tenant a:")
	require.ErrorContains(t, err, "evaluate the rules of tenant default:")
	require.NotContains(t, err.Error(), "tenant z")
	require.Equal(t, 1, w.count(`SELECT count(*) FROM alert_events WHERE tenant_id = 'z'`), "the last tenant is heard")
	require.Equal(t, 1, w.count(events))
	require.Equal(t, alerts.OK, w.read(rules[store.DefaultTenant].ID).State, "nothing is written of what could not be found out")
	require.Empty(t, w.read(rules[store.DefaultTenant].ID).LastError)

	// Once there is no time left, no other tenant is tried.
	ctx, cancel := context.WithCancel(t.Context())
	e = jobs.NewEvaluator(w.rules, w.service, stopping{w.destinations, cancel}, prometheus.NewRegistry(), w.quiet, w.clock)
	err = e.EvaluateEverything(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "tenant a:")
	require.NotContains(t, err.Error(), "tenant default")
}

func TestATrialChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWatch(t, setup(t, answers(arrived)))
	w.vix(31)
	r := w.rule(`"condition":{"all":[{"type":"macro","entity":"VIX","op":">","value":30},
		{"not":{"type":"drawdown_limit","portfolio_id":"9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81"}}]}`)
	trial, err := w.evaluator(w.registry).Try(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, alerts.IsUnknown, trial.Decision.Reason)
	require.Equal(t, "/condition/all/1/not", trial.Result.Missing[0].Pointer)
	require.Equal(t, "VIX", trial.Result.Observed[0].Subject)
	require.Equal(t, r.LastEvaluatedAt, w.read(r.ID).LastEvaluatedAt)
	require.Zero(t, w.count(events))

	_, err = w.evaluator(prometheus.NewRegistry()).EvaluateSome(t.Context(), store.DefaultTenant, []uuid.UUID{r.ID, uuid.New()})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "/ids/1")
}

// statements counts them.
type statements struct{ n atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.n.Add(1)
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// 10,000 rules are not 10,000 statements.
func TestManyRulesTakeFewStatements(t *testing.T) {
	t.Parallel()
	b := &bundle{t: t}
	config, err := pgxpool.ParseConfig(dbtest.URL(t))
	require.NoError(t, err)
	counter := &statements{}
	config.ConnConfig.Tracer = counter
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	*b = *setup(t, answers(arrived))
	b.pool = pool
	w := newWatch(t, b)
	w.vix(29)
	const rules = 10_000
	for i := range 10 {
		w.rule(fmt.Sprintf(`"condition":{"any":[{"type":"macro","entity":"VIX","op":">","value":%d},
			{"type":"price","symbol":"S%d","metric":"close","op":">","value":1}]}`, 30+i, i))
	}
	_, err = pool.Exec(t.Context(), `INSERT INTO alert_rules (id, tenant_id, user_id, name, type, condition, severity, title, message,
			cooldown_hours, channels, active, state, created_at, updated_at)
		SELECT gen_random_uuid(), tenant_id, user_id, name, type, condition, severity, title, message,
			cooldown_hours, channels, active, state, created_at, updated_at
		FROM alert_rules CROSS JOIN generate_series(1, 999)`)
	require.NoError(t, err)

	counter.n.Store(0)
	report, err := w.evaluator(w.registry).EvaluateAll(t.Context(), store.DefaultTenant)
	require.NoError(t, err)
	require.Equal(t, rules, report.Evaluated)
	require.Equal(t, rules, report.UnknownCount)
	require.Len(t, report.Unknown, alerts.MaxReported)
	// Each of 20 batches: rules, begin, record, commit. Once: two kinds of values, an empty last page, and
	// what a connection does at first.
	require.LessOrEqual(t, counter.n.Load(), int64(20*4+12))
	require.Equal(t, rules, w.count(`SELECT count(*) FROM alert_rules WHERE last_evaluated_at IS NOT NULL`))
}

func TestTheWorkerEvaluatesOneAtATime(t *testing.T) {
	t.Parallel()
	w := newWatch(t, setup(t, answers(arrived)))
	w.vix(31)
	w.rule(vixAbove30)
	inserter := w.client(&river.Config{})
	first, err := inserter.Insert(t.Context(), jobs.EvaluateArgs{}, nil)
	require.NoError(t, err)
	second, err := inserter.Insert(t.Context(), jobs.EvaluateArgs{}, nil)
	require.NoError(t, err)
	require.True(t, second.UniqueSkippedAsDuplicate, "one is waiting already")

	worker := jobs.NewEvaluateWorker(w.evaluator(w.registry))
	require.NoError(t, worker.Work(t.Context(), &river.Job[jobs.EvaluateArgs]{JobRow: first.Job}))
	require.Equal(t, 1, w.count(events))
	require.Positive(t, worker.Timeout(nil))

	_, err = w.pool.Exec(t.Context(), `UPDATE river_job SET state = 'completed', finalized_at = now() WHERE kind = 'evaluate_alerts'`)
	require.NoError(t, err)
	next, err := inserter.Insert(t.Context(), jobs.EvaluateArgs{}, nil)
	require.NoError(t, err)
	require.False(t, next.UniqueSkippedAsDuplicate, "a finished one is no reason to wait")
}
