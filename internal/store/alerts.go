package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store/db"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Figures measures a portfolio.
type Figures interface {
	// Figures returns every figure of the context's portfolio by name.
	Figures(ctx context.Context, run agent.Context) (map[string]portfolio.Figure, error)
}

// Regimes tells the macro regime.
type Regimes interface {
	// ShiftConfidence returns how sure it is that the regime has changed as of a run: 0 when it has not.
	ShiftConfidence(ctx context.Context, run agent.Context) (portfolio.Figure, error)
}

// Accepter takes events on in a transaction of the caller's.
type Accepter interface {
	AcceptTx(ctx context.Context, tx pgx.Tx, as []delivery.Acceptance) ([]delivery.Accepted, error)
}

// Alerts keeps alert rules, and reads what they watch.
type Alerts struct {
	*Store
	accepter Accepter
	figures  Figures
	regimes  Regimes
	log      *slog.Logger
}

// NewAlerts returns the store. What fires is handed to accepter, portfolios are measured by figures, and
// regimes told by regimes.
func NewAlerts(
	pool *pgxpool.Pool, accepter Accepter, figures Figures, regimes Regimes, log *slog.Logger, now func() time.Time,
) *Alerts {
	return &Alerts{Store: New(pool, Options{Now: now}), accepter: accepter, figures: figures, regimes: regimes, log: log}
}

// maxRules is how many rules a tenant may have.
const maxRules = 20_000

// ruleSubject is what the audit trail calls a rule.
const ruleSubject = "rule"

// CreateRule adds a rule of a tenant, giving it id, state and revision. actor is who wants it.
func (s *Alerts) CreateRule(ctx context.Context, r alerts.Rule, actor string) (alerts.Rule, error) {
	r.ID = s.newID()
	created, inserted, err := s.insertRule(ctx, r, actor)
	if err == nil && !inserted {
		err = tooManyRules()
	}
	return created, err
}

// AddRule adds a rule of a tenant under the id that it brings, giving it state and revision. A rule with
// that id is returned as it is, and added is false. actor is who wants it where the context has no caller: a
// pattern's step knows a user alone.
func (s *Store) AddRule(ctx context.Context, r alerts.Rule, actor string) (stored alerts.Rule, added bool, err error) {
	if p, _ := auth.From(ctx); p.Subject != "" {
		actor = p.Subject
	}
	stored, added, err = s.insertRule(ctx, r, actor)
	if err != nil || added {
		return stored, added, err
	}
	row, err := s.q.Rule(ctx, r.TenantID, r.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return alerts.Rule{}, false, tooManyRules()
	}
	if err != nil {
		return alerts.Rule{}, false, fmt.Errorf("rule %s: %w", r.ID, err)
	}
	stored, err = rule(row)
	return stored, false, err
}

func tooManyRules() error {
	return fault.New(fault.Conflict, "there are %d rules, no more are taken: delete some first", maxRules)
}

// insertRule reports whether the rule was inserted: not when its id is taken or there are too many.
func (s *Store) insertRule(ctx context.Context, r alerts.Rule, actor string) (alerts.Rule, bool, error) {
	now := s.now().UTC().Truncate(time.Microsecond)
	r.State, r.Revision, r.CreatedAt, r.UpdatedAt = alerts.OK, 1, now, now
	row, err := ruleRow(r)
	if err != nil {
		return alerts.Rule{}, false, err
	}
	var inserted int64
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		inserted, err = s.q.WithTx(tx).InsertRule(ctx, db.InsertRuleParams{
			ID: row.ID, TenantID: row.TenantID, UserID: row.UserID, Name: row.Name, Type: row.Type, Condition: row.Condition,
			Severity: row.Severity, Title: row.Title, Message: row.Message, CooldownHours: row.CooldownHours,
			TtlSeconds: row.TtlSeconds, Channels: row.Channels, Fallback: row.Fallback, Active: row.Active,
			CreatedAt: now, Most: maxRules,
		})
		if err != nil {
			return fmt.Errorf("insert rule: %w", orForbidden(err))
		}
		if inserted == 0 {
			return nil
		}
		detail, err := json.Marshal(map[string]string{"name": r.Name, "type": row.Type, "user_id": r.UserID})
		if err != nil {
			return err
		}
		return addAudit(ctx, tx, audit.Entry{
			TenantID: r.TenantID, At: now, Actor: actor, Action: "rule.create",
			Subject: ruleSubject, SubjectID: r.ID.String(), Detail: detail,
		})
	})
	return r, inserted > 0, err
}

// Rule returns one, or fault.NotFound.
func (s *Alerts) Rule(ctx context.Context, tenantID string, id uuid.UUID) (alerts.Rule, error) {
	row, err := s.q.Rule(ctx, tenantID, id)
	if err != nil {
		return alerts.Rule{}, fmt.Errorf("rule %s: %w", id, orNotFound(err, "there is no alert rule %s", id))
	}
	return rule(row)
}

// Rules returns up to limit rules that precede before (newest first); uuid.Max starts.
func (s *Alerts) Rules(ctx context.Context, tenantID string, f alerts.Filter, before uuid.UUID, limit int) ([]alerts.Rule, error) {
	if !storable(f.UserID) {
		return nil, nil // nobody has such an id
	}
	rows, err := s.q.Rules(ctx, db.RulesParams{
		TenantID: tenantID, Before: before, UserID: nilIfZero(f.UserID), State: nilIfZero(string(f.State)),
		Type: nilIfZero(string(f.Type)), Active: f.Active, RowLimit: int32(limit), //nolint:gosec // bounded by the API
	})
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	return rulesOf(rows)
}

// ChangeRule changes a rule as change says, which sees it as it is now and must not take long. revision
// is what the caller believes it to be at, 0 for any; another one is fault.Conflict. entry says who does
// what and why.
func (s *Alerts) ChangeRule(
	ctx context.Context, tenantID string, id uuid.UUID, revision int, entry audit.Entry, change func(alerts.Rule) (alerts.Rule, error),
) (alerts.Rule, error) {
	var changed alerts.Rule
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		r, err := s.lockRule(ctx, tx, tenantID, id, revision)
		if err != nil {
			return err
		}
		if changed, err = change(r); err != nil {
			return err
		}
		changed.Revision, changed.UpdatedAt = r.Revision+1, s.now().UTC().Truncate(time.Microsecond)
		row, err := ruleRow(changed)
		if err != nil {
			return err
		}
		err = s.q.WithTx(tx).UpdateRule(ctx, db.UpdateRuleParams{
			TenantID: tenantID, ID: id, UserID: row.UserID, Name: row.Name, Type: row.Type, Condition: row.Condition,
			Severity: row.Severity, Title: row.Title, Message: row.Message, CooldownHours: row.CooldownHours,
			TtlSeconds: row.TtlSeconds, Channels: row.Channels, Fallback: row.Fallback, Active: row.Active,
			State: row.State, SnoozedUntil: row.SnoozedUntil, LastEvaluatedAt: row.LastEvaluatedAt,
			LastValue: row.LastValue, LastError: row.LastError, Revision: row.Revision, UpdatedAt: row.UpdatedAt,
		})
		if err != nil {
			return fmt.Errorf("update rule %s: %w", id, orForbidden(err))
		}
		return s.auditRule(ctx, tx, tenantID, id, entry)
	})
	return changed, err
}

// DeleteRule deletes a rule, at a revision as with ChangeRule. What it has sent stays.
func (s *Alerts) DeleteRule(ctx context.Context, tenantID string, id uuid.UUID, revision int, entry audit.Entry) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := s.lockRule(ctx, tx, tenantID, id, revision); err != nil {
			return err
		}
		if err := s.q.WithTx(tx).DeleteRule(ctx, tenantID, id); err != nil {
			return fmt.Errorf("delete rule %s: %w", id, err)
		}
		return s.auditRule(ctx, tx, tenantID, id, entry)
	})
}

func (s *Alerts) lockRule(ctx context.Context, tx pgx.Tx, tenantID string, id uuid.UUID, revision int) (alerts.Rule, error) {
	row, err := s.q.WithTx(tx).LockRule(ctx, tenantID, id)
	if err != nil {
		return alerts.Rule{}, fmt.Errorf("rule %s: %w", id, orNotFound(err, "there is no alert rule %s", id))
	}
	if revision != 0 && int(row.Revision) != revision {
		return alerts.Rule{}, fault.New(fault.Conflict, "the rule has been changed: it is at revision %d, not %d", row.Revision, revision)
	}
	return rule(row)
}

func (s *Alerts) auditRule(ctx context.Context, tx pgx.Tx, tenantID string, id uuid.UUID, entry audit.Entry) error {
	entry.TenantID, entry.At, entry.Subject, entry.SubjectID = tenantID, s.now().UTC(), ruleSubject, id.String()
	return addAudit(ctx, tx, entry)
}

// RuleTenants implements jobs.Rules.
func (s *Alerts) RuleTenants(ctx context.Context) ([]string, error) {
	tenants, err := s.q.TenantsWithRules(ctx)
	if err != nil {
		return nil, fmt.Errorf("tenants with rules: %w", err)
	}
	return tenants, nil
}

// ActiveRules implements jobs.Rules.
func (s *Alerts) ActiveRules(ctx context.Context, tenantID string, after uuid.UUID, limit int) ([]alerts.Rule, uuid.UUID, error) {
	rows, err := s.q.ActiveRules(ctx, tenantID, after, int32(limit)) //nolint:gosec // a small constant
	if err != nil {
		return nil, uuid.Nil, fmt.Errorf("active rules: %w", err)
	}
	next := uuid.Nil
	if len(rows) == limit {
		next = rows[len(rows)-1].ID
	}
	rules := make([]alerts.Rule, 0, len(rows))
	for _, row := range rows {
		r, err := rule(row)
		if err != nil { // of a newer release, during a rollback; the others are not kept from theirs
			s.log.ErrorContext(ctx, "rule can't be evaluated by this release", "rule_id", row.ID, "err", err)
			continue
		}
		rules = append(rules, r)
	}
	return rules, next, nil
}

// RulesByID implements jobs.Rules.
func (s *Alerts) RulesByID(ctx context.Context, tenantID string, ids []uuid.UUID) ([]alerts.Rule, error) {
	rows, err := s.q.RulesByID(ctx, tenantID, ids)
	if err != nil {
		return nil, fmt.Errorf("rules by id: %w", err)
	}
	return rulesOf(rows)
}

// RecordEvaluations implements jobs.Rules.
func (s *Alerts) RecordEvaluations(ctx context.Context, tenantID string, at time.Time, list []jobs.Evaluated) (map[uuid.UUID]jobs.Recorded, error) {
	p := db.RecordEvaluationsParams{TenantID: tenantID, EvaluatedAt: at}
	for _, e := range list {
		value := ""
		if e.Value != nil {
			value = e.Value.String()
		}
		p.Ids = append(p.Ids, e.Rule.ID)
		p.Revisions = append(p.Revisions, int32(e.Rule.Revision)) //nolint:gosec // as it was read
		p.FiredBefore = append(p.FiredBefore, e.Rule.LastFiredAt)
		p.States = append(p.States, string(e.Decision.State))
		p.Snoozed = append(p.Snoozed, e.Decision.SnoozedUntil)
		p.Values = append(p.Values, value)
		p.Errors = append(p.Errors, e.Error)
		p.Fired = append(p.Fired, e.Acceptance != nil)
	}
	recorded := make(map[uuid.UUID]jobs.Recorded, len(list))
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		ids, err := s.q.WithTx(tx).RecordEvaluations(ctx, p)
		if err != nil {
			return fmt.Errorf("record evaluations: %w", err)
		}
		for _, id := range ids {
			recorded[id] = jobs.Recorded{}
		}
		var fired []uuid.UUID
		var as []delivery.Acceptance
		for _, e := range list {
			if _, ok := recorded[e.Rule.ID]; ok && e.Acceptance != nil {
				fired, as = append(fired, e.Rule.ID), append(as, *e.Acceptance)
			}
		}
		if len(as) == 0 {
			return nil
		}
		accepted, err := s.accepter.AcceptTx(ctx, tx, as)
		if err != nil {
			return fmt.Errorf("accept what %d rules say: %w", len(as), unstorable(err))
		}
		for i, a := range accepted {
			recorded[fired[i]] = jobs.Recorded{Accepted: a}
		}
		return nil
	})
	return recorded, err
}

// Values implements jobs.Rules: it reads what the database holds now. Macro observations, prices, ratings
// and news take one statement each; portfolios one together, and what measuring takes each.
func (s *Alerts) Values(ctx context.Context, tenantID string, keys []alerts.Key) (alerts.Values, error) {
	subjects := map[alerts.Source][]string{}
	for _, k := range keys {
		if !slices.Contains(subjects[k.Source], k.Subject) {
			subjects[k.Source] = append(subjects[k.Source], k.Subject)
		}
	}
	values := alerts.Values{}
	for _, read := range []struct {
		source alerts.Source
		read   func(context.Context, string, []string, alerts.Values) error
	}{
		{alerts.MacroSeries, s.macroLevels},
		{alerts.Prices, s.bars},
		{alerts.Ratings, s.scores},
		{alerts.News, s.sentiment},
		{alerts.PortfolioFigures, s.portfolioFigures},
		{alerts.Regimes, s.regimeShift},
	} {
		if len(subjects[read.source]) == 0 {
			continue
		}
		if err := read.read(ctx, tenantID, subjects[read.source], values); err != nil {
			return nil, err
		}
	}
	for _, k := range keys {
		if _, ok := values[k]; !ok {
			values[k] = alerts.Value{Unknown: absent(k)}
		}
	}
	return values, nil
}

// absent says why nothing was found under a key.
func absent(k alerts.Key) string {
	switch k.Source {
	case alerts.MacroSeries:
		return "no observation of the series " + k.Subject + " is stored"
	case alerts.Prices:
		switch k.Metric {
		case alerts.MetricClose:
			return "no price of " + k.Subject + " is stored"
		case alerts.MetricChangePct, alerts.MetricChangeAbs:
			return "two closes of " + k.Subject + " are needed, fewer are stored"
		}
		return "no " + k.Metric + " of " + k.Subject + " is stored"
	case alerts.Ratings:
		return "no " + k.Metric + " of " + k.Subject + " is stored"
	case alerts.News:
		return "no news about " + k.Subject + " are stored of the seven days before the newest news"
	}
	return "there is no figure " + k.Metric + " of a portfolio"
}

// regimeShift asks how sure it is, over the newest fresh pack, that the macro regime has changed.
func (s *Alerts) regimeShift(ctx context.Context, tenantID string, _ []string, values alerts.Values) error {
	key := alerts.Key{Source: alerts.Regimes, Metric: alerts.MetricShiftConfidence}
	run, err := s.Resolve(ctx, patterns.ContextQuery{TenantID: tenantID, RequireFresh: true})
	var f portfolio.Figure
	if err == nil {
		if reason, err := s.rebuilding(ctx, tenantID, run.PricingPack.Date); err != nil {
			return err
		} else if reason != "" {
			values[key] = alerts.Value{Unknown: reason}
			return nil
		}
		f, err = s.regimes.ShiftConfidence(ctx, run)
	}
	switch {
	case err == nil:
		values[key] = figureValue(f)
	case ctx.Err() != nil || Unavailable(err):
		return err
	case fault.CodeOf(err) == fault.Internal:
		s.log.ErrorContext(ctx, "the macro regime could not be told for alert rules", "err", err)
		values[key] = alerts.Value{Unknown: "the macro regime could not be told; the log says why"}
	default:
		values[key] = alerts.Value{Unknown: fault.Detail(err)}
	}
	return nil
}

// rebuilding says why the newest fresh pack, of a day and a revision, is not what rules are to be judged by;
// "" when it is. An import of rows of the past takes the place of every pack from its first day on, and until
// the new ones are fresh the newest is one of before that day: years old, maybe. A new day's pack that is not
// fresh yet takes nothing's place.
//
// Asked after the pack was read, it can't miss a rebuild that the pack was read in: stale packs stay.
func (s *Alerts) rebuilding(ctx context.Context, tenantID string, fresh time.Time) (string, error) {
	rebuilt, err := s.q.PacksRebuilt(ctx, tenantID, fresh)
	if err != nil {
		return "", fmt.Errorf("packs that are rebuilt: %w", err)
	}
	if !rebuilt {
		return "", nil
	}
	return "packs after " + fresh.Format(time.DateOnly) + " are being rebuilt", nil
}

func (s *Alerts) macroLevels(ctx context.Context, tenantID string, series []string, values alerts.Values) error {
	rows, err := s.q.NewestMacro(ctx, day(s.now()), tenantID, series)
	if err != nil {
		return fmt.Errorf("newest macro observations: %w", err)
	}
	for _, r := range rows {
		v := alerts.Value{Asof: r.Date}
		if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
			v.Unknown = "the observation of " + r.Date.Format(time.DateOnly) + " is not a number"
		} else {
			v.Value = decimal.NewFromFloat(r.Value)
		}
		values[alerts.Key{Source: alerts.MacroSeries, Subject: r.Series, Metric: alerts.MetricLevel}] = v
	}
	return nil
}

// bars reads closes and what else is stored of the newest day, and the change from the close before.
func (s *Alerts) bars(ctx context.Context, tenantID string, symbols []string, values alerts.Values) error {
	rows, err := s.q.NewestCloses(ctx, day(s.now()), tenantID, symbols)
	if err != nil {
		return fmt.Errorf("newest prices: %w", err)
	}
	key := func(symbol, metric string) alerts.Key {
		return alerts.Key{Source: alerts.Prices, Subject: symbol, Metric: metric}
	}
	hundred := decimal.NewFromInt(100)
	for i, r := range rows {
		if i > 0 && rows[i-1].Symbol == r.Symbol { // the close before the newest
			newest := rows[i-1]
			change := newest.Close.Sub(r.Close)
			values[key(r.Symbol, alerts.MetricChangeAbs)] = alerts.Value{Value: change, Asof: newest.Date}
			values[key(r.Symbol, alerts.MetricChangePct)] = alerts.Value{Value: change.Mul(hundred).Div(r.Close), Asof: newest.Date}
			continue
		}
		for metric, v := range map[string]struct {
			value  decimal.Decimal
			stored bool
		}{
			alerts.MetricClose:  {r.Close, true},
			alerts.MetricOpen:   {r.Open, r.Open.IsPositive()},
			alerts.MetricHigh:   {r.High, r.High.IsPositive()},
			alerts.MetricLow:    {r.Low, r.Low.IsPositive()},
			alerts.MetricVolume: {r.Volume, !r.Volume.IsNegative()},
		} {
			value := alerts.Value{Value: v.value, Asof: r.Date}
			if !v.stored { // of an earlier day there may be one: it is not what the price is now
				value = alerts.Value{Unknown: "the newest price of " + r.Symbol + ", of " + r.Date.Format(time.DateOnly) + ", has no " + metric}
			}
			values[key(r.Symbol, metric)] = value
		}
	}
	return nil
}

func (s *Alerts) scores(ctx context.Context, tenantID string, symbols []string, values alerts.Values) error {
	rows, err := s.q.NewestScores(ctx, tenantID, symbols, day(s.now()))
	if err != nil {
		return fmt.Errorf("newest ratings: %w", err)
	}
	for _, r := range rows {
		values[alerts.Key{Source: alerts.Ratings, Subject: r.Symbol, Metric: r.Metric}] = alerts.Value{Value: r.Score, Asof: r.Date}
	}
	return nil
}

// sentimentWindow is the time whose news make a security's sentiment. It ends with the newest news about
// anything, so that a security of which nothing is heard has no sentiment, while a feed that stops leaves
// every value where it was, as it does with prices.
const sentimentWindow = 7 * 24 * time.Hour

// sentimentPlaces are the decimals of a mean sentiment: more would be noise of its binary sum.
const sentimentPlaces = 9

func (s *Alerts) sentiment(ctx context.Context, tenantID string, symbols []string, values alerts.Values) error {
	now := s.now().UTC()
	rows, err := s.q.RecentSentiment(ctx, db.RecentSentimentParams{
		TenantID: tenantID, Symbols: symbols, WindowSeconds: sentimentWindow.Seconds(), Today: day(now), Now: now,
	})
	if err != nil {
		return fmt.Errorf("recent sentiment: %w", err)
	}
	for _, r := range rows {
		v := alerts.Value{Value: decimal.NewFromFloat(r.Mean).Round(sentimentPlaces), Asof: r.PublishedAt.UTC()}
		if r.Judged == 0 {
			v = alerts.Value{Unknown: fmt.Sprintf("none of the %d news about %s in the last seven days has a sentiment", r.Items, r.Symbol)}
		}
		values[alerts.Key{Source: alerts.News, Subject: r.Symbol, Metric: alerts.MetricSentiment}] = v
	}
	return nil
}

// day returns the UTC midnight that a time's day begins with.
func day(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

// portfolioFigures measures portfolios over the newest fresh pack. Figures that the nightly job has computed
// over that pack and the ledger as it is are read, the others computed. What keeps one from being measured
// makes its figures unknown and leaves the others alone. While newer packs are rebuilt, all are unknown.
func (s *Alerts) portfolioFigures(ctx context.Context, tenantID string, ids []string, values alerts.Values) error {
	keys := make([]contextKey, len(ids))
	for i, id := range ids {
		parsed, err := uuid.Parse(id)
		if err != nil {
			return fmt.Errorf("portfolio %q of a rule: %w", id, err)
		}
		keys[i] = contextKey{tenantID: tenantID, portfolioID: parsed, asof: endOfTime, freshOnly: true}
	}
	found, err := s.circumstances(ctx, keys)
	if err != nil {
		return err
	}
	reason := "" // the pack is the same for all, as is what follows from it
	if at := slices.IndexFunc(found, func(f db.CircumstancesRow) bool { return f.PackID != nil }); at >= 0 {
		if reason, err = s.rebuilding(ctx, tenantID, deref(found[at].PackDate)); err != nil {
			return err
		}
	}
	stored, err := s.storedFigures(ctx, tenantID, metricKeys(keys, found))
	if err != nil {
		return err
	}
	var noPack error
	for i, id := range ids {
		if reason != "" && found[i].LedgerVersion != nil {
			unknownFigures(values, id, reason)
			continue
		}
		if figures, ok := stored[keys[i].portfolioID.String()]; ok {
			for name, f := range figures {
				values[figureKey(id, name)] = figureValue(f)
			}
			continue
		}
		if found[i].PackID == nil && noPack != nil && found[i].LedgerVersion != nil {
			unknownFigures(values, id, fault.Detail(noPack))
			continue
		}
		figures, err := s.measure(ctx, patterns.ContextQuery{TenantID: tenantID, PortfolioID: id, RequireFresh: true}, found[i])
		switch {
		case err == nil:
			for name, f := range figures {
				values[figureKey(id, name)] = figureValue(f)
			}
		case ctx.Err() != nil || Unavailable(err):
			return err
		case fault.CodeOf(err) == fault.Internal:
			s.log.ErrorContext(ctx, "portfolio could not be measured for its alert rules", "portfolio_id", id, "err", err)
			unknownFigures(values, id, "the portfolio could not be measured; the log says why")
		default:
			if found[i].PackID == nil && found[i].LedgerVersion != nil {
				noPack = err
			}
			unknownFigures(values, id, fault.Detail(err))
		}
	}
	return nil
}

// metricKeys names the figures that would serve contexts.
func metricKeys(keys []contextKey, found []db.CircumstancesRow) []metricKey {
	var list []metricKey
	for i, f := range found {
		if f.PackID != nil && f.LedgerVersion != nil {
			list = append(list, metricKey{portfolioID: keys[i].portfolioID, packID: *f.PackID, ledgerVersion: *f.LedgerVersion})
		}
	}
	return list
}

func (s *Alerts) measure(ctx context.Context, q patterns.ContextQuery, found db.CircumstancesRow) (map[string]portfolio.Figure, error) {
	run, err := s.contextOf(ctx, q, found)
	if err != nil {
		return nil, err
	}
	return s.figures.Figures(ctx, run)
}

func figureKey(portfolioID, name string) alerts.Key {
	return alerts.Key{Source: alerts.PortfolioFigures, Subject: portfolioID, Metric: name}
}

func figureValue(f portfolio.Figure) alerts.Value {
	if f.Err == nil {
		return alerts.Value{Value: decimal.NewFromFloat(f.Value), Asof: f.Asof}
	}
	return alerts.Value{Unknown: f.Err.Error()}
}

func unknownFigures(values alerts.Values, portfolioID, reason string) {
	for _, name := range portfolio.FigureNames() {
		values[figureKey(portfolioID, name)] = alerts.Value{Unknown: reason}
	}
}

// ruleRow is a rule as its table holds it.
func ruleRow(r alerts.Rule) (db.AlertRule, error) {
	condition, err := r.Condition.MarshalJSON()
	if err != nil {
		return db.AlertRule{}, fmt.Errorf("encode condition: %w", err)
	}
	channels, err := json.Marshal(r.Channels)
	if err != nil {
		return db.AlertRule{}, fmt.Errorf("encode channels: %w", err)
	}
	row := db.AlertRule{
		ID: r.ID, TenantID: r.TenantID, UserID: r.UserID, Name: r.Name, Type: string(r.Condition.Kind()), Condition: condition,
		Severity: string(r.Severity), Title: r.Title, Message: r.Message,
		CooldownHours: int32(r.Cooldown / time.Hour),         //nolint:gosec // bounded by the rule's check
		TtlSeconds:    nilIfZero(int32(r.TTL / time.Second)), //nolint:gosec // bounded by the rule's check
		Channels:      channels, Active: r.Active, State: string(r.State), SnoozedUntil: nilIfZero(r.SnoozedUntil),
		LastEvaluatedAt: nilIfZero(r.LastEvaluatedAt), LastValue: r.LastValue, LastError: nilIfZero(r.LastError),
		Revision: int32(r.Revision), CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, //nolint:gosec // one more than was read
	}
	if r.Fallback != nil {
		if row.Fallback, err = json.Marshal(r.Fallback); err != nil {
			return db.AlertRule{}, fmt.Errorf("encode fallback: %w", err)
		}
	}
	return row, nil
}

func rule(row db.AlertRule) (alerts.Rule, error) {
	condition, err := alerts.ParseCondition(row.Condition, "/condition")
	if err != nil {
		// Not what the caller sent: a code of ours would blame the request.
		return alerts.Rule{}, errors.New("stored condition of rule " + row.ID.String() + ": " + err.Error())
	}
	r := alerts.Rule{
		ID: row.ID, TenantID: row.TenantID, UserID: row.UserID, Name: row.Name, Condition: condition,
		Severity: alerts.Severity(row.Severity), Title: row.Title, Message: row.Message,
		Cooldown: time.Duration(row.CooldownHours) * time.Hour, TTL: time.Duration(zeroIfNil(row.TtlSeconds)) * time.Second,
		Active: row.Active, State: alerts.State(row.State), SnoozedUntil: zeroIfNil(utc(row.SnoozedUntil)),
		LastFiredAt: zeroIfNil(utc(row.LastFiredAt)), LastEvaluatedAt: zeroIfNil(utc(row.LastEvaluatedAt)),
		LastValue: row.LastValue, LastError: zeroIfNil(row.LastError), Revision: int(row.Revision),
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(),
	}
	if err := json.Unmarshal(row.Channels, &r.Channels); err != nil {
		return alerts.Rule{}, fmt.Errorf("stored channels of rule %s: %w", row.ID, err)
	}
	if row.Fallback != nil {
		r.Fallback = &alerts.Channels{}
		if err := json.Unmarshal(row.Fallback, r.Fallback); err != nil {
			return alerts.Rule{}, fmt.Errorf("stored fallback of rule %s: %w", row.ID, err)
		}
	}
	return r, nil
}

func rulesOf(rows []db.AlertRule) ([]alerts.Rule, error) {
	rules := make([]alerts.Rule, len(rows))
	for i, row := range rows {
		var err error
		if rules[i], err = rule(row); err != nil {
			return nil, err
		}
	}
	return rules, nil
}
