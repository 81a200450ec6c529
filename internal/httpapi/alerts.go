package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/alerts"
	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

// Rules keeps alert rules.
type Rules interface {
	CreateRule(ctx context.Context, r alerts.Rule, actor string) (alerts.Rule, error)
	Rule(ctx context.Context, tenantID string, id uuid.UUID) (alerts.Rule, error)
	Rules(ctx context.Context, tenantID string, f alerts.Filter, before uuid.UUID, limit int) ([]alerts.Rule, error)
	// ChangeRule changes a rule that is at a revision, 0 for any.
	ChangeRule(ctx context.Context, tenantID string, id uuid.UUID, revision int, entry audit.Entry,
		change func(alerts.Rule) (alerts.Rule, error)) (alerts.Rule, error)
	DeleteRule(ctx context.Context, tenantID string, id uuid.UUID, revision int, entry audit.Entry) error
}

// RuleEvaluator evaluates alert rules.
type RuleEvaluator interface {
	EvaluateAll(ctx context.Context, tenantID string) (alerts.Report, error)
	EvaluateSome(ctx context.Context, tenantID string, ids []uuid.UUID) (alerts.Report, error)
	// Try says what an evaluation would come to, without one.
	Try(ctx context.Context, r alerts.Rule) (alerts.Trial, error)
	// Check reports what is wrong with a rule's channels.
	Check(ctx context.Context, r alerts.Rule) error
}

func (h *handlers) ListAlerts(ctx context.Context, r api.ListAlertsRequestObject) (api.ListAlertsResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	user, err := ownUser(ctx, r.Params.UserId)
	if err != nil {
		return nil, err
	}
	filter := alerts.Filter{
		UserID: user, State: alerts.State(value(r.Params.State)),
		Type: alerts.Type(value(r.Params.Type)), Active: r.Params.Active,
	}
	rules, err := h.Rules.Rules(ctx, auth.Tenant(ctx), filter, before, limit+1) // one more tells of a next page
	if err != nil {
		return nil, err
	}
	var page api.ListAlerts200JSONResponse
	if len(rules) > limit {
		rules = rules[:limit]
		page.NextCursor = encodeCursor(rules[limit-1].ID)
	}
	page.Items = make([]api.AlertRule, len(rules))
	for i, rule := range rules {
		if page.Items[i], err = toRule(rule); err != nil {
			return nil, err
		}
	}
	return page, nil
}

func (h *handlers) CreateAlert(ctx context.Context, r api.CreateAlertRequestObject) (api.CreateAlertResponseObject, error) {
	rule, err := alerts.ParseRule(*r.Body)
	if err != nil {
		return nil, err
	}
	rule.TenantID = auth.Tenant(ctx)
	if err := forOneself(ctx, "/user_id", rule.UserID); err != nil {
		return nil, err
	}
	if err := h.Evaluator.Check(ctx, rule); err != nil {
		return nil, err
	}
	if rule, err = h.Rules.CreateRule(ctx, rule, actor(ctx)); err != nil {
		return nil, err
	}
	body, err := toRule(rule)
	return api.CreateAlert201JSONResponse{Body: body, Headers: api.CreateAlert201ResponseHeaders{
		Location: new("/v1/alerts/" + rule.ID.String()), ETag: new(ruleTag(rule)),
	}}, err
}

func (h *handlers) GetAlert(ctx context.Context, r api.GetAlertRequestObject) (api.GetAlertResponseObject, error) {
	rule, err := h.Rules.Rule(ctx, auth.Tenant(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	body, err := toRule(rule)
	return api.GetAlert200JSONResponse{Body: body, Headers: api.GetAlert200ResponseHeaders{ETag: new(ruleTag(rule))}}, err
}

// patchTries is how often a change is tried that others get ahead of, where the caller does not mind.
const patchTries = 3

func (h *handlers) UpdateAlert(ctx context.Context, r api.UpdateAlertRequestObject) (api.UpdateAlertResponseObject, error) {
	revision, err := revisionOf(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	entry, err := changed(*r.Body, actor(ctx), value(r.Params.XReason))
	if err != nil {
		return nil, err
	}
	var rule alerts.Rule
	for range patchTries {
		if rule, err = h.patch(ctx, r.Id, revision, *r.Body, entry); revision != 0 || fault.CodeOf(err) != fault.Conflict {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	body, err := toRule(rule)
	return api.UpdateAlert200JSONResponse{Body: body, Headers: api.UpdateAlert200ResponseHeaders{ETag: new(ruleTag(rule))}}, err
}

// patch changes a rule. Its channels are checked before the rule is locked: no request holds a
// connection while it waits for another.
func (h *handlers) patch(ctx context.Context, id uuid.UUID, revision int, patch []byte, entry audit.Entry) (alerts.Rule, error) {
	rule, err := h.Rules.Rule(ctx, auth.Tenant(ctx), id)
	if err != nil {
		return alerts.Rule{}, err
	}
	merged, err := alerts.Merge(rule, patch)
	if err != nil {
		return alerts.Rule{}, err
	}
	if err := forOneself(ctx, "/user_id", merged.UserID); err != nil {
		return alerts.Rule{}, err
	}
	if err := h.Evaluator.Check(ctx, merged); err != nil {
		return alerts.Rule{}, err
	}
	if revision == 0 {
		revision = rule.Revision
	}
	return h.Rules.ChangeRule(ctx, auth.Tenant(ctx), id, revision, entry, func(r alerts.Rule) (alerts.Rule, error) {
		return alerts.Merge(r, patch)
	})
}

// changed is what the audit trail says of a change: which fields, not what is in them.
func changed(patch json.RawMessage, by, reason string) (audit.Entry, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(patch, &fields); err != nil {
		return audit.Entry{}, fault.InvalidField("", "must be a JSON object")
	}
	detail, err := json.Marshal(map[string][]string{"fields": slices.Sorted(maps.Keys(fields))})
	return audit.Entry{Actor: by, Action: "rule.update", Reason: reason, Detail: detail}, err
}

func (h *handlers) DeleteAlert(ctx context.Context, r api.DeleteAlertRequestObject) (api.DeleteAlertResponseObject, error) {
	revision, err := revisionOf(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	entry := audit.Entry{Actor: actor(ctx), Action: "rule.delete", Reason: value(r.Params.XReason)}
	if err := h.Rules.DeleteRule(ctx, auth.Tenant(ctx), r.Id, revision, entry); err != nil {
		return nil, err
	}
	return api.DeleteAlert204Response{}, nil
}

// maxSnooze bounds how long a rule is kept quiet.
const maxSnooze = 365 * 24 * time.Hour

func (h *handlers) SnoozeAlert(ctx context.Context, r api.SnoozeAlertRequestObject) (api.SnoozeAlertResponseObject, error) {
	entry := audit.Entry{Actor: actor(ctx), Action: "rule.snooze", Reason: value(r.Body.Reason)}
	change := alerts.Wake
	switch b, now := r.Body, h.Now().UTC(); {
	case (b.Until == nil) == (b.DurationSeconds == nil):
		return nil, fault.InvalidField("/until", "either until or duration_seconds must be given")
	case b.Until != nil && (!b.Until.After(now) || b.Until.After(now.Add(maxSnooze))):
		return nil, fault.InvalidField("/until", "must lie in the future, within a year")
	case b.Until == nil && *b.DurationSeconds == 0:
		entry.Action = "rule.wake"
	default:
		until := now.Add(time.Duration(value(b.DurationSeconds)) * time.Second)
		if b.Until != nil {
			until = b.Until.UTC()
		}
		until = until.Truncate(time.Microsecond)
		detail, err := json.Marshal(map[string]time.Time{"until": until})
		if err != nil {
			return nil, err
		}
		entry.Detail = detail
		change = func(rule alerts.Rule) (alerts.Rule, error) { return alerts.Snooze(rule, until), nil }
	}
	rule, err := h.Rules.ChangeRule(ctx, auth.Tenant(ctx), r.Id, 0, entry, change)
	if err != nil {
		return nil, err
	}
	body, err := toRule(rule)
	return api.SnoozeAlert200JSONResponse(body), err
}

func (h *handlers) AcknowledgeAlert(ctx context.Context, r api.AcknowledgeAlertRequestObject) (api.AcknowledgeAlertResponseObject, error) {
	entry := audit.Entry{Actor: actor(ctx), Action: "rule.acknowledge"}
	if r.Body != nil {
		entry.Reason = value(r.Body.Reason)
	}
	rule, err := h.Rules.ChangeRule(ctx, auth.Tenant(ctx), r.Id, 0, entry, alerts.Acknowledge)
	if err != nil {
		return nil, err
	}
	body, err := toRule(rule)
	return api.AcknowledgeAlert200JSONResponse(body), err
}

func (h *handlers) TestAlert(ctx context.Context, r api.TestAlertRequestObject) (api.TestAlertResponseObject, error) {
	rule, err := h.Rules.Rule(ctx, auth.Tenant(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	t, err := h.Evaluator.Try(ctx, rule)
	if err != nil {
		return nil, err
	}
	d := t.Decision
	answer := api.TestAlert200JSONResponse{
		WouldFire: d.Fire && t.Problem == "", Reason: string(d.Reason), Explanation: explain(t), Result: string(t.Result.Met),
		State: string(d.State), CooldownLeftSeconds: d.CooldownLeft.Seconds(),
		Observed: make([]api.AlertObservation, len(t.Result.Observed)), Unknown: toUnknown(t.Result.Missing),
		Title: t.Signal.Title, Message: t.Signal.Message, Data: t.Signal.Data,
		Channels: toChannels(rule.Channels), Problem: orNull(t.Problem),
	}
	if rule.Fallback != nil {
		answer.Fallback = new(toChannels(*rule.Fallback))
	}
	for i, o := range t.Result.Observed {
		answer.Observed[i] = api.AlertObservation{
			Pointer: o.Pointer, Type: string(o.Type), Subject: orNull(o.Subject), Metric: o.Metric, Op: string(o.Op),
			Threshold: numberOf(o.Threshold), Value: numberOf(o.Value), Asof: o.Asof.Format(time.DateOnly), Met: o.Met,
		}
	}
	return answer, nil
}

// explain says a decision's reason in a sentence.
func explain(t alerts.Trial) string {
	d := t.Decision
	switch {
	case d.Fire && t.Problem != "":
		return "The condition is met, but the message could not be delivered: " + t.Problem + "."
	case d.Fire:
		return "The condition is met and nothing holds the rule back."
	}
	switch d.Reason {
	case alerts.IsInactive:
		return "The rule is switched off."
	case alerts.IsNotMet:
		return "The condition is not met."
	case alerts.IsUnknown:
		var missing []string
		for _, m := range t.Result.Missing {
			missing = append(missing, m.Reason)
		}
		return "It is not known whether the condition is met: " + strings.Join(missing, "; ") + "."
	case alerts.IsSnoozed:
		return "The condition is met; the rule is snoozed until " + d.SnoozedUntil.Format(time.RFC3339) + "."
	case alerts.IsAcknowledged:
		return "The condition is met; it was acknowledged, and the rule is quiet until it was no longer met."
	default:
		return "The condition is met; the rule has fired and may not again for " + d.CooldownLeft.Round(time.Second).String() + "."
	}
}

func (h *handlers) EvaluateAlerts(ctx context.Context, r api.EvaluateAlertsRequestObject) (api.EvaluateAlertsResponseObject, error) {
	var report alerts.Report
	var err error
	if r.Body == nil || r.Body.Ids == nil {
		report, err = h.Evaluator.EvaluateAll(ctx, auth.Tenant(ctx))
	} else {
		report, err = h.Evaluator.EvaluateSome(ctx, auth.Tenant(ctx), *r.Body.Ids)
	}
	if err != nil {
		return nil, err
	}
	answer := api.EvaluateAlerts200JSONResponse{
		Evaluated: report.Evaluated, Met: report.Results[alerts.Met], NotMet: report.Results[alerts.NotMet],
		Unknown: report.UnknownCount, Fired: report.FiredCount, Refused: report.RefusedCount, Overtaken: report.Overtaken,
		FiredRules:   make([]api.AlertFired, len(report.Fired)),
		UnknownRules: make([]api.AlertUndecided, len(report.Unknown)),
		RefusedRules: make([]api.AlertRefused, len(report.Refused)),
	}
	for i, f := range report.Fired {
		answer.FiredRules[i] = api.AlertFired{Id: f.RuleID, EventId: f.EventID, Title: f.Title, Duplicate: f.Duplicate}
	}
	for i, u := range report.Unknown {
		answer.UnknownRules[i] = api.AlertUndecided{Id: u.RuleID, Unknown: toUnknown(u.Missing)}
	}
	for i, f := range report.Refused {
		answer.RefusedRules[i] = api.AlertRefused{Id: f.RuleID, Reason: f.Reason}
	}
	return answer, nil
}

func toRule(r alerts.Rule) (api.AlertRule, error) {
	condition, err := r.Condition.MarshalJSON()
	if err != nil {
		return api.AlertRule{}, fmt.Errorf("write the condition of rule %s: %w", r.ID, err)
	}
	rule := api.AlertRule{
		Id: r.ID, UserId: r.UserID, Name: r.Name, Type: string(r.Condition.Kind()), Condition: condition,
		Severity: api.Severity(r.Severity), Title: r.Title, Message: r.Message, CooldownHours: int(r.Cooldown / time.Hour),
		TtlSeconds: orNull(int(r.TTL / time.Second)), Channels: toChannels(r.Channels), Active: r.Active, State: string(r.State),
		SnoozedUntil: timeOrNull(r.SnoozedUntil), LastFiredAt: timeOrNull(r.LastFiredAt), LastEvaluatedAt: timeOrNull(r.LastEvaluatedAt),
		LastError: orNull(r.LastError), Revision: r.Revision, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if r.Fallback != nil {
		rule.Fallback = new(toChannels(*r.Fallback))
	}
	if r.LastValue != nil {
		rule.LastValue = new(numberOf(*r.LastValue))
	}
	return rule, nil
}

func toChannels(c alerts.Channels) api.AlertChannels {
	out := api.AlertChannels{}
	if c.Inapp {
		out.Inapp = &c.Inapp
	}
	if c.Webhook != nil {
		out.Webhook = &api.AlertWebhook{Url: delivery.ShownURL(c.Webhook.URL)}
	}
	if c.Email != nil {
		out.Email = &api.AlertEmail{To: c.Email.To}
	}
	if len(c.Destination) > 0 {
		out.Destination = &c.Destination
	}
	return out
}

func toUnknown(missing []alerts.Missing) []api.AlertUnknown {
	list := make([]api.AlertUnknown, len(missing))
	for i, m := range missing {
		list[i] = api.AlertUnknown{
			Pointer: m.Pointer, Type: string(m.Type), Subject: orNull(m.Subject), Metric: m.Metric, Reason: m.Reason,
		}
	}
	return list
}

// numberOf writes a number with all its digits.
func numberOf(d decimal.Decimal) json.Number { return json.Number(d.String()) }

// ruleTag names what people have made of a rule: evaluations don't change it.
func ruleTag(r alerts.Rule) string { return `"` + strconv.Itoa(r.Revision) + `"` }
