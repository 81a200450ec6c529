package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// EvaluateArgs asks for every active alert rule to be evaluated.
type EvaluateArgs struct{ Link }

// Kind implements river.JobArgs.
func (EvaluateArgs) Kind() string { return kindEvaluate }

// InsertOpts implements river.JobArgsWithInsertOpts. While one is waiting or running there is no
// second: an evaluation that takes longer than the interval is not overtaken by the next. One that
// fails is not repeated, the next does its work as well. That of a nightly order is a job of its own, so
// that the order goes on: two evaluations at once do no harm.
func (a EvaluateArgs) InsertOpts() river.InsertOpts {
	if a.Chain != "" {
		return nightlyOpts()
	}
	return river.InsertOpts{
		Queue: QueueUpkeep, MaxAttempts: 1,
		UniqueOpts: river.UniqueOpts{ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning,
			rivertype.JobStateRetryable, rivertype.JobStateScheduled,
		}},
	}
}

const (
	// evaluateTime bounds an evaluation of all rules of all tenants.
	evaluateTime = 5 * time.Minute
	// evaluateBatch is how many rules are evaluated together: what they watch is read at once, and what
	// they come to is written in one transaction.
	evaluateBatch = 500
)

// Evaluated is what an evaluation of one rule came to.
type Evaluated struct {
	Rule       alerts.Rule // as it was before
	Decision   alerts.Decision
	Value      *decimal.Decimal     // the leading observation, nil when nothing was seen
	Error      string               // why what fires can't be delivered, "" when it can
	Acceptance *delivery.Acceptance // for a rule that fires
}

// Recorded says that an Evaluated was written down.
type Recorded struct {
	Accepted delivery.Accepted // what became of its event, where it fired
}

// Rules is where alert rules stand.
type Rules interface {
	// RuleTenants returns the tenants that have rules.
	RuleTenants(ctx context.Context) ([]string, error)
	// ActiveRules returns up to limit active rules behind after, in order of id, and behind which one
	// to go on; uuid.Nil when there are no more.
	ActiveRules(ctx context.Context, tenantID string, after uuid.UUID, limit int) ([]alerts.Rule, uuid.UUID, error)
	// RulesByID returns those that there are.
	RulesByID(ctx context.Context, tenantID string, ids []uuid.UUID) ([]alerts.Rule, error)
	// Values returns what is known now under the keys, and may return more.
	Values(ctx context.Context, tenantID string, keys []alerts.Key) (alerts.Values, error)
	// RecordEvaluations moves rules to where their evaluations say and accepts the events of those that
	// fire, in one transaction. A rule that has been changed or fired since it was read is left as it
	// is, and absent from what is returned.
	RecordEvaluations(ctx context.Context, tenantID string, at time.Time, list []Evaluated) (map[uuid.UUID]Recorded, error)
}

// Preparer checks events and makes them ready to be accepted.
type Preparer interface {
	Prepare(ctx context.Context, e delivery.Event) (delivery.Acceptance, error)
	// CountDuplicates counts what was accepted and is not sent, once that is committed.
	CountDuplicates(as []delivery.Acceptance, accepted []delivery.Accepted)
}

// Evaluator evaluates alert rules, and hands on what they say.
type Evaluator struct {
	rules        Rules
	preparer     Preparer
	destinations delivery.Destinations
	metrics      *evaluationMetrics
	log          *slog.Logger
	now          func() time.Time
}

// NewEvaluator returns an Evaluator. Its metrics are registered with reg.
func NewEvaluator(
	r Rules, p Preparer, d delivery.Destinations, reg prometheus.Registerer, log *slog.Logger, now func() time.Time,
) *Evaluator {
	return &Evaluator{rules: r, preparer: p, destinations: d, metrics: newEvaluationMetrics(reg), log: log, now: now}
}

type evaluationMetrics struct {
	evaluations *prometheus.CounterVec // type, result
	signals     *prometheus.CounterVec // severity
	refused     prometheus.Counter
	overtaken   prometheus.Counter
	duration    prometheus.Histogram
	rules       *prometheus.GaugeVec // state
}

func newEvaluationMetrics(reg prometheus.Registerer) *evaluationMetrics {
	f := promauto.With(reg)
	m := &evaluationMetrics{
		evaluations: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_alert_evaluations_total",
			Help: "Evaluations of alert rules by the condition's type and by whether it was met, not met or unknown.",
		}, []string{"type", "result"}),
		signals: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_alert_signals_total", Help: "Firings of alert rules whose event was accepted for delivery, by severity.",
		}, []string{"severity"}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "dawsos_alert_signals_refused_total",
			Help: "Firings of alert rules that could not be handed on, such as to a destination that is gone. They are tried again at each evaluation.",
		}),
		overtaken: f.NewCounter(prometheus.CounterOpts{
			Name: "dawsos_alert_evaluations_overtaken_total",
			Help: "Evaluations of alert rules that were dropped because the rule was changed or fired by another one meanwhile.",
		}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "dawsos_alert_evaluation_duration_seconds",
			Help:    "Time that an evaluation of a tenant's active alert rules took.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 10), NativeHistogramBucketFactor: 1.1,
		}),
		rules: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dawsos_alert_rules", Help: "Active alert rules by state, as of this process's latest evaluation of all.",
		}, []string{"state"}),
	}
	for _, t := range alerts.Types() {
		for _, result := range alerts.Truths() {
			m.evaluations.WithLabelValues(string(t), string(result))
		}
	}
	for _, s := range alerts.Severities() {
		m.signals.WithLabelValues(string(s))
	}
	for _, s := range alerts.States() {
		m.rules.WithLabelValues(string(s))
	}
	return m
}

// EvaluateEverything evaluates the active rules of all tenants. One whose evaluation fails keeps none of the
// others from theirs.
func (e *Evaluator) EvaluateEverything(ctx context.Context) error {
	tenants, err := e.rules.RuleTenants(ctx)
	if err != nil {
		return err
	}
	states := map[alerts.State]int{}
	var failed []error
	for _, tenant := range tenants {
		report, err := e.EvaluateAll(ctx, tenant)
		if err != nil {
			failed = append(failed, fmt.Errorf("evaluate the rules of tenant %s: %w", tenant, err))
			if ctx.Err() != nil { // so would those of the others
				break
			}
			continue
		}
		for state, n := range report.States {
			states[state] += n
		}
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	for _, s := range alerts.States() {
		e.metrics.rules.WithLabelValues(string(s)).Set(float64(states[s]))
	}
	return nil
}

// EvaluateAll evaluates a tenant's active rules, in batches. What was evaluated when it fails stays so.
func (e *Evaluator) EvaluateAll(ctx context.Context, tenantID string) (alerts.Report, error) {
	begun := e.now()
	p := e.newPass(tenantID)
	for after := uuid.Nil; ; {
		rules, next, err := e.rules.ActiveRules(ctx, tenantID, after, evaluateBatch)
		if err != nil {
			return alerts.Report{}, err
		}
		if err := p.evaluate(ctx, rules); err != nil {
			return alerts.Report{}, err
		}
		if next == uuid.Nil {
			break
		}
		after = next
	}
	e.metrics.duration.Observe(e.now().Sub(begun).Seconds())
	return p.report, nil
}

// EvaluateSome evaluates the rules with the given ids, active or not: an inactive one never fires. One
// that there is not is fault.Invalid.
func (e *Evaluator) EvaluateSome(ctx context.Context, tenantID string, ids []uuid.UUID) (alerts.Report, error) {
	rules, err := e.rules.RulesByID(ctx, tenantID, ids)
	if err != nil {
		return alerts.Report{}, err
	}
	for i, id := range ids {
		if !slices.ContainsFunc(rules, func(r alerts.Rule) bool { return r.ID == id }) {
			return alerts.Report{}, fault.InvalidField(fmt.Sprintf("/ids/%d", i), "there is no alert rule %s", id)
		}
	}
	p := e.newPass(tenantID)
	for batch := range slices.Chunk(rules, evaluateBatch) {
		if err := p.evaluate(ctx, batch); err != nil {
			return alerts.Report{}, err
		}
	}
	return p.report, nil
}

// Try says what an evaluation of a rule would come to now. Nothing is changed or sent.
func (e *Evaluator) Try(ctx context.Context, r alerts.Rule) (alerts.Trial, error) {
	values, err := e.rules.Values(ctx, r.TenantID, alerts.Needs(r.Condition))
	if err != nil {
		return alerts.Trial{}, err
	}
	now := e.now().UTC()
	t := alerts.Trial{Rule: r, Result: alerts.Evaluate(r.Condition, values)}
	t.Decision = alerts.Decide(r, t.Result, now)
	if t.Signal, err = alerts.NewSignal(r, t.Result, now); err != nil {
		return alerts.Trial{}, err
	}
	_, err = e.prepare(ctx, t.Signal)
	if isRefusal(err) {
		t.Problem, err = fault.Detail(err), nil
	}
	return t, err
}

// Check reports what is wrong with a rule's channels before it is stored, as fault.Invalid with pointers
// into the rule.
func (e *Evaluator) Check(ctx context.Context, r alerts.Rule) error {
	s, err := alerts.NewSignal(r, alerts.Result{Met: alerts.Unknown}, e.now())
	if err != nil {
		return err
	}
	_, err = e.prepare(ctx, s)
	return err
}

// prepare makes an event of what a rule says.
func (e *Evaluator) prepare(ctx context.Context, s alerts.Signal) (delivery.Acceptance, error) {
	r := s.Rule
	ev := delivery.Event{
		TenantID: r.TenantID, Source: delivery.Rule, AlertID: r.ID.String(), UserID: r.UserID,
		Title: s.Title, Message: s.Message, Severity: delivery.Severity(r.Severity), Data: s.Data,
		Dedup: delivery.Dedup{Off: true},
	}
	if day, end, ok := s.Occasion(); ok {
		ev.Dedup = delivery.Dedup{Occasion: day, KeepUntil: end}
	}
	if r.TTL > 0 {
		ev.ExpiresAt = s.At.Add(r.TTL)
	}
	var err error
	if ev.Targets, err = e.targets(ctx, r.TenantID, r.Channels, "/channels"); err != nil {
		return delivery.Acceptance{}, err
	}
	if r.Fallback != nil {
		if ev.Fallback, err = e.targets(ctx, r.TenantID, *r.Fallback, "/fallback"); err != nil {
			return delivery.Acceptance{}, err
		}
	}
	a, err := e.preparer.Prepare(ctx, ev)
	a.Later = true // nobody waits: the worker makes the first attempts
	return a, err
}

// targets returns where channels lead. Destinations are looked up at each firing, as they may have
// become others.
func (e *Evaluator) targets(ctx context.Context, tenantID string, c alerts.Channels, pointer string) ([]delivery.Target, error) {
	var list []delivery.Target
	if c.Inapp {
		list = append(list, delivery.Target{Channel: "inapp"})
	}
	if c.Webhook != nil {
		list = append(list, delivery.Target{Channel: "webhook", URL: c.Webhook.URL})
	}
	if c.Email != nil {
		list = append(list, delivery.Target{Channel: "email", To: c.Email.To})
	}
	for i, name := range c.Destination {
		d, err := e.destinations.Destination(ctx, tenantID, name)
		if fault.CodeOf(err) == fault.NotFound {
			err = fault.InvalidField(fmt.Sprintf("%s/destination/%d", pointer, i), "there is no destination %q", name)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, delivery.Target{Channel: d.Channel, Destination: name})
	}
	return list, nil
}

// isRefusal tells an event that can't be delivered from a failure to find out. A destination that no key
// opens is unavailable, and may stay so: that is its rule's trouble, as one that is gone is. A database that
// does not answer has neither code.
func isRefusal(err error) bool {
	code := fault.CodeOf(err)
	return code == fault.Invalid || code == fault.Unavailable
}

// pass is one evaluation of a tenant's rules. What it has read once it keeps: rules that watch the same
// see the same.
type pass struct {
	*Evaluator
	tenantID string
	values   alerts.Values
	report   alerts.Report
}

func (e *Evaluator) newPass(tenantID string) *pass {
	return &pass{
		Evaluator: e, tenantID: tenantID, values: alerts.Values{},
		report: alerts.Report{Results: map[alerts.Truth]int{}, States: map[alerts.State]int{}},
	}
}

// evaluate evaluates a batch and writes down what it came to.
func (p *pass) evaluate(ctx context.Context, rules []alerts.Rule) error {
	if len(rules) == 0 {
		return nil
	}
	if err := p.read(ctx, rules); err != nil {
		return err
	}
	at := p.now().UTC().Truncate(time.Microsecond)
	list := make([]Evaluated, len(rules))
	for i, r := range rules {
		result := alerts.Evaluate(r.Condition, p.values)
		p.count(r, result)
		ev := Evaluated{Rule: r, Decision: alerts.Decide(r, result, at)}
		if lead, ok := result.Lead(); ok {
			ev.Value = &lead.Value
		}
		if ev.Decision.Fire {
			if err := p.fire(ctx, &ev, result, at); err != nil {
				return err
			}
		}
		list[i] = ev
	}
	return p.record(ctx, at, list)
}

// read fetches what the rules watch and is not known yet.
func (p *pass) read(ctx context.Context, rules []alerts.Rule) error {
	wanted := map[alerts.Key]bool{}
	var keys []alerts.Key
	for _, r := range rules {
		for _, k := range alerts.Needs(r.Condition) {
			if _, known := p.values[k]; !known && !wanted[k] {
				wanted[k] = true
				keys = append(keys, k)
			}
		}
	}
	if len(keys) == 0 {
		return nil
	}
	values, err := p.rules.Values(ctx, p.tenantID, keys)
	if err != nil {
		return fmt.Errorf("read what %d rules watch: %w", len(rules), err)
	}
	maps.Copy(p.values, values)
	return nil
}

func (p *pass) count(r alerts.Rule, result alerts.Result) {
	p.report.Evaluated++
	p.report.Results[result.Met]++
	p.metrics.evaluations.WithLabelValues(string(r.Condition.Kind()), string(result.Met)).Inc()
	if result.Met == alerts.Unknown {
		p.report.UnknownCount++
		if len(p.report.Unknown) < alerts.MaxReported {
			p.report.Unknown = append(p.report.Unknown, alerts.UnknownRule{RuleID: r.ID, Missing: result.Missing})
		}
	}
}

// fire makes the event of a rule that fires, or notes why there can be none.
func (p *pass) fire(ctx context.Context, ev *Evaluated, result alerts.Result, at time.Time) error {
	s, err := alerts.NewSignal(ev.Rule, result, at)
	if err != nil {
		return fmt.Errorf("rule %s: %w", ev.Rule.ID, err)
	}
	a, err := p.prepare(ctx, s)
	if isRefusal(err) {
		p.refuse(ctx, ev, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("rule %s: prepare its event: %w", ev.Rule.ID, err)
	}
	ev.Acceptance = &a
	return nil
}

// refuse leaves a rule firing without having fired: it is tried again at the next evaluation, and says
// meanwhile what keeps it from being heard.
func (p *pass) refuse(ctx context.Context, ev *Evaluated, err error) {
	ev.Acceptance, ev.Error = nil, fault.Detail(err)
	p.metrics.refused.Inc()
	p.report.RefusedCount++
	if len(p.report.Refused) < alerts.MaxReported {
		p.report.Refused = append(p.report.Refused, alerts.RefusedRule{RuleID: ev.Rule.ID, Reason: ev.Error})
	}
	p.log.ErrorContext(ctx, "alert rule fires, but its message can't be delivered", "rule_id", ev.Rule.ID, "err", err)
}

// record writes a batch down. An event that can't be stored must not keep the others from it: the batch
// is then written one by one.
func (p *pass) record(ctx context.Context, at time.Time, list []Evaluated) error {
	recorded, err := p.rules.RecordEvaluations(ctx, p.tenantID, at, list)
	if !isRefusal(err) {
		if err == nil {
			p.conclude(ctx, list, recorded)
		}
		return err
	}
	for i := range list {
		one := list[i : i+1]
		recorded, err := p.rules.RecordEvaluations(ctx, p.tenantID, at, one)
		if isRefusal(err) {
			p.refuse(ctx, &one[0], err)
			recorded, err = p.rules.RecordEvaluations(ctx, p.tenantID, at, one)
		}
		if err != nil {
			return err
		}
		p.conclude(ctx, one, recorded)
	}
	return nil
}

// conclude counts what was written down.
func (p *pass) conclude(ctx context.Context, list []Evaluated, recorded map[uuid.UUID]Recorded) {
	for _, ev := range list {
		how, ok := recorded[ev.Rule.ID]
		if !ok {
			p.metrics.overtaken.Inc()
			p.report.Overtaken++
			continue
		}
		if ev.Rule.Active {
			p.report.States[ev.Decision.State]++
		}
		if ev.Acceptance == nil {
			continue
		}
		event, duplicate := ev.Acceptance.Event, how.Accepted.Duplicate()
		p.preparer.CountDuplicates([]delivery.Acceptance{*ev.Acceptance}, []delivery.Accepted{how.Accepted})
		p.metrics.signals.WithLabelValues(string(ev.Rule.Severity)).Inc()
		p.report.FiredCount++
		if len(p.report.Fired) < alerts.MaxReported {
			p.report.Fired = append(p.report.Fired, alerts.FiredRule{
				RuleID: ev.Rule.ID, EventID: event.ID, Title: event.Title, Duplicate: duplicate,
			})
		}
		p.log.InfoContext(ctx, "alert rule fired", "rule_id", ev.Rule.ID, "event_id", event.ID,
			"severity", ev.Rule.Severity, "duplicate", duplicate)
	}
}

// EvaluateWorker works EvaluateArgs.
type EvaluateWorker struct {
	river.WorkerDefaults[EvaluateArgs]
	evaluator *Evaluator
}

// NewEvaluateWorker returns the worker.
func NewEvaluateWorker(e *Evaluator) *EvaluateWorker { return &EvaluateWorker{evaluator: e} }

// Timeout implements river.Worker.
func (*EvaluateWorker) Timeout(*river.Job[EvaluateArgs]) time.Duration { return evaluateTime }

// Work evaluates every active rule.
func (w *EvaluateWorker) Work(ctx context.Context, _ *river.Job[EvaluateArgs]) error {
	return w.evaluator.EvaluateEverything(ctx)
}
