package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/mattermost"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/rocketchat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/slack"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/teams"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/telegram"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/gotify"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/ntfy"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/pushover"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/specialized/generic"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/dawsos/dawsos/internal/delivery"
)

// service is one kind of receiver, opened for one address.
type service interface {
	types.Service
	// limit is how many characters one message may have, the title included.
	limit() int
	// check says what is wrong with the address beyond what the library refuses.
	check() error
	// post makes one request through client. Its error may hold the address.
	post(client *http.Client, m message) error
}

// judge is a service whose status alone does not tell what came of a request.
type judge interface {
	judge(o *delivery.Outcome, body []byte)
}

// services are those whose every request can be made to go through our client, by scheme. Which are
// left out, and why, stands in docs/channels.md.
var services = map[string]func() service{
	"discord":    func() service { return &discordService{} },
	"generic":    func() service { return &genericService{} },
	"gotify":     func() service { return &gotifyService{} },
	"mattermost": func() service { return &mattermostService{} },
	"ntfy":       func() service { return &ntfyService{} },
	"pushover":   func() service { return &pushoverService{} },
	"rocketchat": func() service { return &rocketchatService{} },
	"slack":      func() service { return &slackService{} },
	"teams":      func() service { return &teamsService{} },
	"telegram":   func() service { return &telegramService{} },
}

var (
	errAddress = errors.New("is not a complete address of that service; docs/channels.md shows one of each")
	errTLS     = errors.New("must not turn off the check of certificates")
)

// open reads an address. No error holds a part of it but the name of the service: the library's own
// quote it, so none is passed on.
func open(address string) (s service, u *url.URL, err error) {
	if len(address) > maxURL {
		return nil, nil, fmt.Errorf("longer than %d characters", maxURL)
	}
	if u, err = url.Parse(address); err != nil {
		return nil, nil, errAddress
	}
	scheme, transport, custom := strings.Cut(strings.ToLower(u.Scheme), "+")
	create, ok := services[scheme]
	if !ok || (custom && transport != "https" && transport != "http") {
		return nil, nil, fmt.Errorf("must begin with one of %s and ://", strings.Join(slices.Sorted(maps.Keys(services)), ", "))
	}
	// The library takes for granted that an address has all its parts.
	defer func() {
		if recover() != nil {
			s, u, err = nil, nil, errAddress
		}
	}()
	s = create()
	config := *u
	if custom { // "discord+https://discord.com/...": the address as the service shows it
		from, ok := s.(types.CustomURLService)
		if !ok {
			return nil, nil, errAddress
		}
		converted, err := from.GetConfigURLFromCustom(&config)
		if err != nil || converted == nil {
			return nil, nil, errAddress
		}
		config = *converted
	}
	if s.Initialize(&config, nil) != nil {
		return nil, nil, errAddress
	}
	if err := s.check(); err != nil {
		return nil, nil, err
	}
	return s, u, nil
}

// send posts m. What comes of it, the transport sees; the library's errors say less, and may hold the
// address. Nor does a panic of the library's hide what came of a request that it had made.
func send(s service, client *http.Client, m message) {
	defer func() { _ = recover() }()
	_ = s.post(client, m)
}

func titled(m message) *types.Params {
	params := types.Params{}
	if m.title != "" {
		params.SetTitle(m.title)
	}
	return &params
}

type discordService struct{ discord.Service }

func (*discordService) limit() int { return discord.ChunkSize }

func (s *discordService) check() error {
	if s.Config.JSON {
		return errors.New("must not ask for json: the message is text")
	}
	return nil
}

func (s *discordService) post(client *http.Client, m message) error {
	s.HTTPClient, s.Sleeper = client, awake{}
	level := types.Info
	switch m.severity {
	case delivery.Warning:
		level = types.Warning
	case delivery.Critical:
		level = types.Error
	}
	return s.SendItems([]types.MessageItem{{Text: m.text, Level: level}}, titled(m))
}

// awake does not sleep: the library waits before a second request, and there is none.
type awake struct{}

func (awake) Sleep(time.Duration) {}

type gotifyService struct{ gotify.Service }

func (*gotifyService) limit() int { return 20000 }

func (s *gotifyService) check() error {
	if s.Config.InsecureSkipVerify {
		return errTLS
	}
	return nil
}

func (s *gotifyService) post(client *http.Client, m message) error {
	*s.GetHTTPClient() = *client
	return s.Send(m.text, titled(m))
}

type mattermostService struct{ mattermost.Service }

func (*mattermostService) limit() int { return 16000 }

func (*mattermostService) check() error { return nil }

func (s *mattermostService) post(client *http.Client, m message) error {
	*s.GetHTTPClient() = *client
	return s.Send(m.inOne(), nil)
}

type ntfyService struct{ ntfy.Service }

// limit keeps within 4096 bytes in most scripts; ntfy makes an attachment of what is longer.
func (*ntfyService) limit() int { return 2000 }

func (s *ntfyService) check() error {
	if s.Config.DisableTLSVerification {
		return errTLS
	}
	return nil
}

func (s *ntfyService) post(client *http.Client, m message) error {
	s.SetHTTPClient(client)
	return s.Send(m.text, titled(m))
}

type pushoverService struct{ pushover.Service }

func (*pushoverService) limit() int { return 1024 + maxTitle } // it counts them apart

func (*pushoverService) check() error { return nil }

func (s *pushoverService) post(client *http.Client, m message) error {
	s.Client = client
	return s.Send(m.text, titled(m))
}

type rocketchatService struct{ rocketchat.Service }

func (*rocketchatService) limit() int { return 5000 }

func (*rocketchatService) check() error { return nil }

func (s *rocketchatService) post(client *http.Client, m message) error {
	s.Client = client
	return s.Send(m.inOne(), nil)
}

// The library sends for the services below with the process's default client. It writes the message,
// or knows the address; the request is ours.

type slackService struct{ slack.Service }

func (*slackService) limit() int { return 3000 }

func (*slackService) check() error { return nil }

// slackEscaper is all that Slack wants escaped. It keeps a message from calling everybody in.
var slackEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

const slackAPI = "https://slack.com/api/chat.postMessage"

func (s *slackService) post(client *http.Client, m message) error {
	config := *s.Config
	if m.title != "" {
		config.Title = slackEscaper.Replace(m.title)
	}
	payload := slack.CreateJSONPayload(&config, slackEscaper.Replace(m.text))
	if config.Token.IsAPIToken() {
		return postJSON(client, slackAPI, payload, config.Token.Authorization())
	}
	return postJSON(client, config.Token.WebhookURL(), payload, "")
}

var (
	// slackCode is what the name of an error of Slack's looks like.
	slackCode = regexp.MustCompile(`^[a-z_]{1,64}$`)
	// slackPasses are those that pass.
	slackPasses = map[string]bool{
		"fatal_error": true, "internal_error": true, "ratelimited": true, "rate_limited": true,
		"request_timeout": true, "service_unavailable": true, "team_added_to_org": true,
	}
)

// judge: Slack's API says no with a status of 200.
func (s *slackService) judge(o *delivery.Outcome, body []byte) {
	if !o.Delivered() || !s.Config.Token.IsAPIToken() {
		return
	}
	var answer slack.APIResponse
	if json.Unmarshal(body, &answer) != nil || answer.Ok {
		return
	}
	o.Cause, o.Detail = delivery.HTTP4xx, "Slack refused the message"
	if slackCode.MatchString(answer.Error) {
		o.Detail += ": " + answer.Error
	}
	if slackPasses[answer.Error] {
		o.Cause, o.Retry = delivery.HTTP5xx, true
	}
}

type teamsService struct{ teams.Service }

func (*teamsService) limit() int { return 20000 }

func (*teamsService) check() error { return nil }

// card is what Teams' connectors take.
type card struct {
	Type       string    `json:"@type"`
	Context    string    `json:"@context"`
	Summary    string    `json:"summary"`
	Title      string    `json:"title,omitempty"`
	ThemeColor string    `json:"themeColor,omitempty"`
	Sections   []section `json:"sections"`
}

type section struct {
	Text string `json:"text"`
}

func (s *teamsService) post(client *http.Client, m message) error {
	c := s.Config
	address := teams.BuildWebhookURL(c.Host, c.Group, c.Tenant, c.AltID, c.GroupOwner, c.ExtraID)
	if err := teams.ValidateWebhookURL(address); err != nil {
		return err
	}
	body := card{
		Type: "MessageCard", Context: "https://schema.org/extensions",
		Summary: m.title, Title: m.title, ThemeColor: c.Color,
	}
	if body.Summary == "" {
		body.Summary = cut(m.text, maxTitle)
	}
	for line := range strings.SplitSeq(m.text, "\n") {
		body.Sections = append(body.Sections, section{Text: line})
	}
	return postJSON(client, address, body, "")
}

type telegramService struct{ telegram.Service }

func (*telegramService) limit() int { return 4000 }

func (s *telegramService) check() error {
	if len(s.Config.Chats) != 1 {
		return errors.New("must name one chat: each has a destination of its own, or a failure in one would repeat the others")
	}
	return nil
}

func (s *telegramService) post(client *http.Client, m message) error {
	chat, thread, _ := strings.Cut(s.Config.Chats[0], ":")
	payload := telegram.SendMessagePayload{
		Text: html.EscapeString(m.text), ID: chat, ParseMode: "HTML",
		DisablePreview: !s.Config.Preview, DisableNotification: !s.Config.Notification,
	}
	if n, err := strconv.Atoi(thread); err == nil {
		payload.MessageThreadID = &n
	}
	if m.title != "" {
		payload.Text = "<b>" + html.EscapeString(m.title) + "</b>\n" + payload.Text
	}
	return postJSON(client, "https://api.telegram.org/bot"+s.Config.Token+"/sendMessage", payload, "")
}

// judge: Telegram says in the body how long to wait.
func (*telegramService) judge(o *delivery.Outcome, body []byte) {
	var answer struct {
		Parameters struct {
			RetryAfter int `json:"retry_after"` // seconds
		} `json:"parameters"`
	}
	if !o.Retry || o.RetryAfter > 0 || json.Unmarshal(body, &answer) != nil {
		return
	}
	const most = 24 * 60 * 60
	o.RetryAfter = time.Duration(min(max(answer.Parameters.RetryAfter, 0), most)) * time.Second
}

type genericService struct{ generic.Service }

func (*genericService) limit() int { return 20000 + maxTitle }

func (s *genericService) check() error {
	if t := s.Config.Template; t != "" && t != "json" && t != generic.JSONTemplate {
		return errors.New("must have the template json, or none")
	}
	if m := s.Config.RequestMethod; m != http.MethodPost && m != http.MethodPut {
		return errors.New("must have the method POST or PUT")
	}
	return nil
}

// Initialize refuses headers, which the library keeps to itself.
func (s *genericService) Initialize(u *url.URL, logger types.StdLogger) error {
	for key := range u.Query() {
		if strings.HasPrefix(key, string(generic.HeaderPrefixChar)) {
			return errors.New("headers are for destinations of webhook")
		}
	}
	return s.Service.Initialize(u, logger)
}

func (s *genericService) post(client *http.Client, m message) error {
	c := s.Config
	params, contentType := types.Params{c.TitleKey: m.title, c.MessageKey: m.text}, c.ContentType
	if c.Template == "" {
		params, contentType = types.Params{c.MessageKey: m.inOne()}, "text/plain; charset=utf-8"
	}
	payload, err := s.GetPayload(c, params)
	if err != nil {
		return err
	}
	return request(client, c.RequestMethod, c.WebhookURL().String(), contentType, payload, "")
}

func postJSON(client *http.Client, address string, payload any, authorization string) error {
	body, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	return request(client, http.MethodPost, address, "application/json", bytes.NewReader(body), authorization)
}

// request makes a request whose answer the client's transport keeps. The context comes from there, too.
func request(client *http.Client, method, address, contentType string, body io.Reader, authorization string) error {
	req, err := http.NewRequest(method, address, body) //nolint:noctx // the transport sets the attempt's
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
