package httpapi

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/alertmanager"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

// alertmanagerUser has the notifications that are for nobody by name.
const alertmanagerUser = "alertmanager"

// ReceiveAlertmanager takes a notification of Alertmanager's on. Its body is taken as it was sent:
// whatever Alertmanager can send must be taken, text that the document's check refuses included, since
// it drops what is answered with 4xx. It waits for no attempt, for it has no patience either.
func (b *byHand) ReceiveAlertmanager(c echo.Context, params api.ReceiveAlertmanagerParams) error {
	ctx := c.Request().Context()
	sent, _ := c.Request().Body.(rawBody)
	payload, err := alertmanager.Parse(sent.text)
	if err != nil {
		return err
	}
	channels, err := queryChannels(params)
	if err != nil {
		return err
	}
	to := alertmanager.Destination{TenantID: auth.Tenant(c.Request().Context()), UserID: cmp.Or(value(params.UserId), alertmanagerUser)}
	if to.Targets, err = b.h.targets(ctx, "/channels", channels); err != nil {
		return inQuery(err)
	}
	e, err := payload.Event(to, b.h.Now().UTC().Add(b.h.AlertmanagerDedupWindow))
	if err != nil {
		return err
	}
	receipts, _, err := b.h.Deliverer.Submit(ctx, delivery.Submission{Events: []delivery.Event{e}, Later: true})
	if err != nil {
		return inQuery(err)
	}
	location := deliveryPath(receipts[0].EventID)
	return api.ReceiveAlertmanager200JSONResponse{
		Body: toReceipt(receipts[0]), Headers: api.ReceiveAlertmanager200ResponseHeaders{Location: &location},
	}.VisitReceiveAlertmanagerResponse(c.Response())
}

// queryChannels reads the query as the channels object that it stands for; nil when it names none.
func queryChannels(p api.ReceiveAlertmanagerParams) (*api.Channels, error) {
	if p.Inapp == nil && p.Webhook == nil && p.Email == nil && p.Destination == nil {
		return nil, nil
	}
	channels := &api.Channels{Inapp: p.Inapp, Destination: p.Destination}
	if p.Webhook != nil {
		channels.Webhook = &api.WebhookTarget{Url: *p.Webhook}
	}
	if p.Email != nil {
		channels.Email = &api.EmailTarget{}
		if err := channels.Email.To.FromEmailTargetTo1(*p.Email); err != nil {
			return nil, fmt.Errorf("encode recipients: %w", err)
		}
	}
	return channels, nil
}

// inQuery has what is wrong with a member of a channels object be wrong with the parameter that it came
// from.
func inQuery(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != fault.Invalid {
		return err
	}
	fields := make([]fault.Field, len(f.Fields))
	for i, field := range f.Fields {
		fields[i] = field
		if rest, ok := strings.CutPrefix(field.Pointer, "/channels"); ok {
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
			fields[i].Pointer = strings.TrimSuffix("/query/"+name, "/")
		}
	}
	if len(fields) == 0 {
		return err
	}
	return invalid(fields)
}
