package app

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/chat"
	"github.com/dawsos/dawsos/internal/delivery/email"
	"github.com/dawsos/dawsos/internal/delivery/inapp"
	"github.com/dawsos/dawsos/internal/delivery/webhook"
	"github.com/dawsos/dawsos/internal/outbound"
)

// longestAttempt bounds an exchange whatever its attempt's context says. That has DELIVERY_TIMEOUT, or
// what the destination asks for.
const longestAttempt = 10 * time.Minute

// channels builds every channel. They are the same for first attempts and retries.
func (p *process) channels(inbox inapp.Inbox) ([]delivery.Channel, error) {
	client := outbound.NewClient(outbound.Options{
		Policy: outbound.Policy{
			AllowPrivate: p.cfg.WebhookAllowPrivate, PrivateSetting: "WEBHOOK_ALLOW_PRIVATE",
			Allow: p.cfg.WebhookAllow, AllowSetting: "WEBHOOK_ALLOW",
		},
		Timeout: longestAttempt, TracerProvider: p.tel.TracerProvider, Propagator: p.tel.Propagator,
	})
	p.onStop("outbound connections", func(context.Context) error { client.CloseIdleConnections(); return nil })
	version, _ := build()
	hook, err := webhook.New(client, string(p.cfg.WebhookSecret), version, time.Now)
	if err != nil {
		return nil, err
	}
	mail, err := email.New(email.Options{
		Server: mailServer(p.cfg.SMTP), From: p.cfg.SMTPFrom, Version: version, Now: time.Now,
		// The operator chose this server. It is in our own network as often as not.
		Dialer: outbound.NewDialer(outbound.Options{Policy: outbound.Policy{AllowPrivate: true}}),
	})
	if err != nil {
		return nil, err
	}
	if s := p.cfg.SMTP; s.Host != "" {
		p.tel.Log.Info("email is on", "server", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), "from", p.cfg.SMTPFrom.Address)
	}
	return []delivery.Channel{inapp.New(inbox, p.tel.Log), hook, mail, chat.New(client, version, time.Now)}, nil
}

// mailServer is nil when email is off.
func mailServer(s config.SMTPServer) *email.Server {
	if s.Host == "" {
		return nil
	}
	return &email.Server{
		Host: s.Host, Port: s.Port, User: s.User, Password: string(s.Password),
		Security: map[config.SMTPSecurity]email.Security{
			config.SMTPOpportunistic: email.Opportunistic, config.SMTPStartTLS: email.StartTLS,
			config.SMTPImplicitTLS: email.ImplicitTLS, config.SMTPPlain: email.Plain,
		}[s.Security],
	}
}
