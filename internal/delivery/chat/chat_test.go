package chat_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/channeltest"
	"github.com/dawsos/dawsos/internal/delivery/chat"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The parts of the addresses that are secret.
const (
	slackHook     = "WNA3PBYV6-F20DUQND3RQ-Webc4MAvoacrpPakR8phF0zi"
	slackBot      = "123456789012-1234567890123-4mt0t4l1gem4l1r3jsl1bAbc"
	telegramToken = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
	teamsIDs      = "/webhookb2/11111111-4444-4444-8444-cccccccccccc@22222222-4444-4444-8444-cccccccccccc/IncomingWebhook/33333333012222222222333333333344/44444444-4444-4444-8444-cccccccccccc/V2ESyij_gAljSoUQHvZoZYzlpAoAXExyOl26dlf1xHEx05"
	gotifyToken   = "Aaa.bbb.ccc.ddd"
	plainToken    = "t0ken-of-the-receiver"
)

var secrets = []string{
	"Webc4MAvoacrpPakR8phF0zi", "4mt0t4l1gem4l1r3jsl1b", "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
	"V2ESyij_gAljSoUQHvZoZYzlpAoAXExyOl26dlf1xHEx05", gotifyToken, plainToken,
}

// setup returns the channel behind the real outbound client.
func setup(t *testing.T, o outbound.Options) *chat.Channel {
	t.Helper()
	o.Policy.AllowPrivate = true
	client := outbound.NewClient(o)
	t.Cleanup(client.CloseIdleConnections)
	return chat.New(client, "1.2.3", time.Now)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	// Those of the services whose address names a server of one's own.
	addresses := map[string]func(addr string, plain bool) string{
		"ntfy": func(addr string, plain bool) string {
			return "ntfy://ada:" + plainToken + "@" + addr + "/topic-" + plainToken + "?scheme=" + map[bool]string{true: "http", false: "https"}[plain]
		},
		"gotify": func(addr string, plain bool) string {
			return fmt.Sprintf("gotify://%s/%s?disabletls=%t", addr, gotifyToken, plain)
		},
		"mattermost": func(addr string, plain bool) string {
			return fmt.Sprintf("mattermost://%s/%s?disabletls=%t", addr, plainToken, plain)
		},
		"generic": func(addr string, plain bool) string {
			return fmt.Sprintf("generic://%s/%s?disabletls=%t&template=json&key=%s", addr, plainToken, plain, plainToken)
		},
	}
	for name, address := range addresses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			channeltest.Run(t, channeltest.Harness{
				Wire: channeltest.HTTP, Hidden: secrets,
				Open: func(t *testing.T, r channeltest.Receiver) (delivery.Channel, delivery.Target, delivery.Endpoint) {
					t.Helper()
					return setup(t, outbound.Options{}), delivery.Target{Channel: "chat", Destination: "team"},
						delivery.Endpoint{ID: "destination:team", URL: address(r.Addr, !r.TLS)}
				},
			})
		})
	}
}

// received is one request as the service saw it.
type received struct {
	*http.Request
	body []byte
}

// internet answers for every host, in place of the services that have one address for all.
func internet(t *testing.T, handler http.HandlerFunc) (*chat.Channel, func() []received) {
	t.Helper()
	var (
		mu  sync.Mutex
		all []received
	)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the message: %v", err)
		}
		mu.Lock()
		all = append(all, received{r, body})
		mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{
			RootCAs:    server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
			ServerName: "example.com", MinVersion: tls.VersionTLS12,
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return chat.New(client, "1.2.3", time.Now), func() []received {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func to(address string) delivery.Delivery {
	return delivery.Delivery{
		Event: channeltest.Event(), Target: delivery.Target{Channel: "chat", Destination: "team"},
		Endpoint: delivery.Endpoint{ID: "destination:team", URL: address}, Attempt: 1,
	}
}

// Every service gets the message where and as its documentation wants it.
func TestSend(t *testing.T) {
	t.Parallel()
	const title, text = "NAV fell 3 %", "It fell <by> 3 %.\nSince Monday."
	tests := []struct {
		name    string
		address string
		url     string
		body    string // JSON, or as it is
		header  map[string]string
	}{
		{
			"a Slack webhook", "slack://hook:" + slackHook + "@webhook",
			"https://hooks.slack.com/services/" + strings.ReplaceAll(slackHook, "-", "/"),
			`{"text":"NAV fell 3 %","attachments":[{"text":"It fell &lt;by&gt; 3 %."},{"text":"Since Monday."}]}`, nil,
		},
		{
			"Slack's API", "slack://xoxb:" + slackBot + "@C001CHANNEL", "https://slack.com/api/chat.postMessage",
			`{"text":"NAV fell 3 %","channel":"C001CHANNEL","attachments":[{"text":"It fell &lt;by&gt; 3 %."},{"text":"Since Monday."}]}`,
			map[string]string{"Authorization": "Bearer xoxb-" + slackBot},
		},
		{
			"Telegram", "telegram://" + telegramToken + "@telegram?chats=@ops:7",
			"https://api.telegram.org/bot" + telegramToken + "/sendMessage",
			`{"chat_id":"@ops","message_thread_id":7,"parse_mode":"HTML","text":"<b>NAV fell 3 %</b>\nIt fell &lt;by&gt; 3 %.\nSince Monday.",
			 "disable_web_page_preview":false,"disable_notification":false,"reply_to_message_id":0}`, nil,
		},
		{
			"Teams", "teams+https://example.webhook.office.com" + teamsIDs, "https://example.webhook.office.com" + teamsIDs,
			`{"@type":"MessageCard","@context":"https://schema.org/extensions","summary":"NAV fell 3 %","title":"NAV fell 3 %",
			 "sections":[{"text":"It fell <by> 3 %."},{"text":"Since Monday."}]}`, nil,
		},
		{
			"Discord", "discord://" + plainToken + "@123456789012345678", "https://discord.com/api/webhooks/123456789012345678/" + plainToken,
			`{"embeds":[{"title":"NAV fell 3 %","description":"It fell <by> 3 %.\nSince Monday.","color":16761921,"footer":{"text":"Warning"}}]}`, nil,
		},
		{
			"ntfy", "ntfy://ada:" + plainToken + "@ntfy.example.org/topic?tags=warning", "https://ntfy.example.org/topic", text,
			map[string]string{"Title": title, "Tags": "warning", "Authorization": "Basic YWRhOnQwa2VuLW9mLXRoZS1yZWNlaXZlcg=="},
		},
		{
			"Gotify", "gotify://push.example.org/" + gotifyToken + "?priority=5", "https://push.example.org/message?token=" + gotifyToken,
			`{"title":"NAV fell 3 %","message":"It fell <by> 3 %.\nSince Monday.","priority":5,"extras":null}`, nil,
		},
		{
			"Mattermost", "mattermost://bot@chat.example.org/" + plainToken + "/town-square", "https://chat.example.org/hooks/" + plainToken,
			`{"text":"NAV fell 3 %\n\nIt fell <by> 3 %.\nSince Monday.","username":"bot","channel":"town-square"}`, nil,
		},
		{
			"Rocket.Chat", "rocketchat://bot@chat.example.org:3000/tokenAtokenA/" + plainToken + "/ops", "https://chat.example.org:3000/hooks/tokenAtokenA/" + plainToken,
			`{"text":"NAV fell 3 %\n\nIt fell <by> 3 %.\nSince Monday.","username":"bot","channel":"#ops"}`, nil,
		},
		{
			"Pushover", "pushover://shoutrrr:" + plainToken + "@userkey/?devices=phone", "https://api.pushover.net/1/messages.json",
			url.Values{
				"token": {plainToken}, "user": {"userkey"}, "device": {"phone"}, "title": {title}, "message": {text}, "priority": {"0"},
			}.Encode(), nil,
		},
		{
			"generic, as text", "generic://example.org/hook", "https://example.org/hook", title + "\n\n" + text,
			map[string]string{"Content-Type": "text/plain; charset=utf-8"},
		},
		{
			"generic, as JSON", "generic+https://example.org/hook?template=json&messagekey=text&$team=ops&method=PUT&kept=1", "https://example.org/hook?kept=1",
			`{"title":"NAV fell 3 %","text":"It fell <by> 3 %.\nSince Monday.","team":"ops"}`,
			map[string]string{"Content-Type": "application/json"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			channel, requests := internet(t, answering(http.StatusOK, `{"ok":true}`))
			require.NoError(t, channel.CheckEndpoint(delivery.Endpoint{URL: tt.address}))
			require.Empty(t, requests(), "checking sends nothing")
			d := to(tt.address)
			o := channel.Send(t.Context(), d)
			require.True(t, o.Delivered(), "%+v", o)
			require.Equal(t, http.StatusOK, o.StatusCode)

			require.Len(t, requests(), 1)
			r := requests()[0]
			require.Equal(t, tt.url, "https://"+r.Host+r.RequestURI)
			require.Equal(t, "DawsOS/1.2.3", r.Header.Get("User-Agent"))
			require.Equal(t, d.MessageID(), r.Header.Get("Idempotency-Key"))
			for name, value := range tt.header {
				require.Equal(t, value, r.Header.Get(name))
			}
			if strings.HasPrefix(tt.body, "{") {
				require.JSONEq(t, tt.body, string(r.body))
			} else {
				require.Equal(t, tt.body, string(r.body))
			}
		})
	}
}

// Every service's refusals are judged alike, and hold no part of the address.
func TestRefusalsOfEveryService(t *testing.T) {
	t.Parallel()
	addresses := []string{
		"slack://hook:" + slackHook + "@webhook", "slack://xoxb:" + slackBot + "@C001CHANNEL",
		"telegram://" + telegramToken + "@telegram?chats=@ops", "teams+https://example.webhook.office.com" + teamsIDs,
		"discord://" + plainToken + "@123456789012345678", "ntfy://ada:" + plainToken + "@ntfy.example.org/topic",
		"gotify://push.example.org/" + gotifyToken, "mattermost://chat.example.org/" + plainToken,
		"rocketchat://chat.example.org/tokenAtokenA/" + plainToken, "pushover://shoutrrr:" + plainToken + "@userkey",
		"generic://example.org/" + plainToken,
	}
	for _, address := range addresses {
		for status, want := range map[int]delivery.Outcome{
			http.StatusForbidden:          {Cause: delivery.HTTP4xx},
			http.StatusTooManyRequests:    {Cause: delivery.HTTP429, Retry: true, RetryAfter: 30 * time.Second},
			http.StatusServiceUnavailable: {Cause: delivery.HTTP5xx, Retry: true, RetryAfter: 30 * time.Second},
			http.StatusFound:              {Cause: delivery.Rejected},
		} {
			t.Run(fmt.Sprintf("%s %d", address[:5], status), func(t *testing.T) {
				t.Parallel()
				channel, requests := internet(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Retry-After", "30")
					w.Header().Set("Location", "https://elsewhere.example.org/")
					w.WriteHeader(status)
					body, _ := json.Marshal(map[string]any{"error": fmt.Sprint(r.RequestURI, r.Header), "token": r.FormValue("token")})
					_, _ = w.Write(body)
				})
				o := channel.Send(t.Context(), to(address))
				require.Equal(t, want.Cause, o.Cause, "%+v", o)
				require.Equal(t, want.Retry, o.Retry)
				require.Equal(t, want.RetryAfter, o.RetryAfter)
				require.Equal(t, status, o.StatusCode)
				require.NotEmpty(t, o.Excerpt)
				for _, secret := range secrets {
					require.NotContains(t, fmt.Sprintf("%+v", o), secret)
				}
				require.Len(t, requests(), 1, "one attempt is one request, whatever the library would do")
			})
		}
	}
}

func TestSlackSaysNoWithAStatusOf200(t *testing.T) {
	t.Parallel()
	tests := []struct {
		body   string
		cause  delivery.Cause
		retry  bool
		detail string
	}{
		{`{"ok":true}`, delivery.None, false, ""},
		{`{"ok":false,"error":"channel_not_found"}`, delivery.HTTP4xx, false, "Slack refused the message: channel_not_found"},
		{`{"ok":false,"error":"service_unavailable"}`, delivery.HTTP5xx, true, "Slack refused the message: service_unavailable"},
		{`{"ok":false,"error":"<script>"}`, delivery.HTTP4xx, false, "Slack refused the message"},
		{`{"ok":false}`, delivery.HTTP4xx, false, "Slack refused the message"},
		{`busy`, delivery.None, false, ""},
	}
	for _, tt := range tests {
		channel, _ := internet(t, answering(http.StatusOK, tt.body))
		o := channel.Send(t.Context(), to("slack://xoxb:"+slackBot+"@C001CHANNEL"))
		require.Equal(t, tt.cause, o.Cause, tt.body)
		require.Equal(t, tt.retry, o.Retry, tt.body)
		require.Equal(t, tt.detail, o.Detail)

		channel, _ = internet(t, answering(http.StatusOK, tt.body))
		o = channel.Send(t.Context(), to("slack://hook:"+slackHook+"@webhook"))
		require.True(t, o.Delivered(), "a webhook's status is its answer")
	}
}

func TestTelegramSaysInTheBodyHowLongToWait(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]time.Duration{
		`{"ok":false,"error_code":429,"parameters":{"retry_after":35}}`:      35 * time.Second,
		`{"ok":false,"error_code":429,"parameters":{"retry_after":-35}}`:     0,
		`{"ok":false,"error_code":429,"parameters":{"retry_after":9999999}}`: 24 * time.Hour,
		`{"ok":false}`: 0,
		`busy`:         0,
	} {
		channel, _ := internet(t, answering(http.StatusTooManyRequests, body))
		o := channel.Send(t.Context(), to("telegram://"+telegramToken+"@telegram?chats=@ops"))
		require.Equal(t, delivery.HTTP429, o.Cause)
		require.Equal(t, want, o.RetryAfter, body)
	}
}

// What is longer than a service takes arrives shortened, not never.
func TestLongMessagesAreShortened(t *testing.T) {
	t.Parallel()
	for address, limit := range map[string]int{
		"discord://" + plainToken + "@123456789012345678":      2000,
		"telegram://" + telegramToken + "@telegram?chats=@ops": 4096,
		"ntfy://ntfy.example.org/topic":                        4096,
		"rocketchat://chat.example.org/tokenAtokenA/tokenB":    5000,
		"generic://example.org/hook":                           25000,
	} {
		channel, requests := internet(t, answering(http.StatusOK, "{}"))
		d := to(address)
		d.Event.Title, d.Event.Message = strings.Repeat("ü", 500), strings.Repeat("ä", 20000)
		o := channel.Send(t.Context(), d)
		require.True(t, o.Delivered(), "%s: %+v", address, o)
		require.Len(t, requests(), 1, address)
		body := string(requests()[0].body)
		require.True(t, utf8.ValidString(body))
		require.LessOrEqual(t, strings.Count(body, "ä"), limit)
		require.LessOrEqual(t, strings.Count(body, "ü"), 250)
		if limit < 20000 {
			require.Contains(t, body, "…")
		}
	}
}

func TestMessagesOfAllKinds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, title, message, want string
	}{
		{"no message", "NAV fell", "", "NAV fell"},
		{"a blank message", "NAV fell", " \n ", "NAV fell"},
		{"a title with a line's end", "NAV\r\nfell", "3 %", "NAV fell\n\n3 %"},
		{"control characters", "NAV\x00 fell", "3\x07 %\x7f", "NAV fell\n\n3 %"},
		{"no UTF-8", "NAV \xff fell", "3 %", "NAV \uFFFD fell\n\n3 %"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			channel, requests := internet(t, answering(http.StatusOK, "{}"))
			d := to("generic://example.org/hook")
			d.Event.Title, d.Event.Message = tt.title, tt.message
			require.True(t, channel.Send(t.Context(), d).Delivered())
			require.Equal(t, tt.want, string(requests()[0].body))

			d.Endpoint.URL = "ntfy://ntfy.example.org/topic"
			require.True(t, channel.Send(t.Context(), d).Delivered(), "its title is a header")
		})
	}
}

// The guard is the outbound client's: an address that it refuses is not reached by way of a chat
// service either.
func TestSendIsGuarded(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }))
	t.Cleanup(server.Close)
	client := outbound.NewClient(outbound.Options{})
	t.Cleanup(client.CloseIdleConnections)
	channel := chat.New(client, "1.2.3", time.Now)
	addr := server.Listener.Addr().String()
	for _, address := range []string{
		"ntfy://" + addr + "/topic?scheme=http", "gotify://" + addr + "/" + gotifyToken + "?disabletls=yes",
		"mattermost://" + addr + "/token?disabletls=yes", "generic://" + addr + "/?disabletls=yes", "rocketchat://" + addr + "/a/b",
		"generic://169.254.169.254/latest?disabletls=yes",
	} {
		o := channel.Send(t.Context(), to(address))
		require.Equal(t, delivery.Rejected, o.Cause, "%s: %+v", address, o)
		require.False(t, o.Retry)
	}
	require.Empty(t, reached)
}

func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		e       delivery.Endpoint
		pointer string
	}{
		{"nothing", delivery.Endpoint{}, "/url"},
		{"a web address", delivery.Endpoint{URL: "https://hooks.slack.com/services/x"}, "/url"},
		{"no service that we know", delivery.Endpoint{URL: "smtp://mail.example.org"}, "/url"},
		{"one that writes to the log", delivery.Endpoint{URL: "logger://"}, "/url"},
		{"one that we can't guard", delivery.Endpoint{URL: "matrix://user:pass@matrix.example.org"}, "/url"},
		{"another scheme behind the plus", delivery.Endpoint{URL: "generic+file:///etc/passwd"}, "/url"},
		{"no URL", delivery.Endpoint{URL: "slack://%zz"}, "/url"},
		{"nothing behind the scheme", delivery.Endpoint{URL: "slack://"}, "/url"},
		{"a host alone", delivery.Endpoint{URL: "slack://webhook"}, "/url"},
		{"a token that is none", delivery.Endpoint{URL: "slack://hook:x@webhook"}, "/url"},
		{"no topic", delivery.Endpoint{URL: "ntfy://ntfy.sh"}, "/url"},
		{"no host", delivery.Endpoint{URL: "ntfy:///topic"}, "/url"},
		{"a scheme that is no HTTP", delivery.Endpoint{URL: "ntfy://ntfy.sh/topic?scheme=ftp"}, "/url"},
		{"certificates unchecked", delivery.Endpoint{URL: "ntfy://ntfy.sh/topic?disabletlsverification=yes"}, "/url"},
		{"certificates unchecked by Gotify", delivery.Endpoint{URL: "gotify://example.org/" + gotifyToken + "?insecureskipverify=yes"}, "/url"},
		{"a token that Gotify does not give", delivery.Endpoint{URL: "gotify://example.org/short"}, "/url"},
		{"an option that it does not have", delivery.Endpoint{URL: "ntfy://ntfy.sh/topic?nonsense=1"}, "/url"},
		{"no chat", delivery.Endpoint{URL: "telegram://" + telegramToken + "@telegram"}, "/url"},
		{"two chats", delivery.Endpoint{URL: "telegram://" + telegramToken + "@telegram?chats=@a,@b"}, "/url"},
		{"a host that is not Microsoft's", delivery.Endpoint{URL: "teams+https://example.org" + teamsIDs}, "/url"},
		{"JSON of one's own", delivery.Endpoint{URL: "discord://" + plainToken + "@123?json=yes"}, "/url"},
		{"a template of one's own", delivery.Endpoint{URL: "generic://example.org?template=x"}, "/url"},
		{"another method", delivery.Endpoint{URL: "generic://example.org?method=DELETE"}, "/url"},
		{"headers in the address", delivery.Endpoint{URL: "generic://example.org?@authorization=x"}, "/url"},
		{"too long", delivery.Endpoint{URL: "generic://example.org/" + strings.Repeat("x", 2048)}, "/url"},
		{"recipients", delivery.Endpoint{URL: "ntfy://ntfy.sh/topic", To: []string{"ada@example.org"}}, "/to"},
		{"headers", delivery.Endpoint{URL: "ntfy://ntfy.sh/topic", Headers: map[string]string{"X-A": "1"}}, "/headers"},
		{"secrets", delivery.Endpoint{URL: "ntfy://ntfy.sh/topic", Secrets: []string{"whsec_"}}, "/secrets"},
		{"good", delivery.Endpoint{URL: "ntfy://ntfy.sh/topic"}, ""},
	}
	channel := setup(t, outbound.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := channel.CheckEndpoint(tt.e)
			if tt.pointer == "" {
				require.NoError(t, err)
				return
			}
			problem, ok := errors.AsType[*fault.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, fault.Invalid, problem.Code)
			require.Equal(t, tt.pointer, problem.Fields[0].Pointer)
			for _, secret := range append(secrets, "example.org", "ntfy.sh") {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
}

func TestOnlyThroughADestination(t *testing.T) {
	t.Parallel()
	channel := setup(t, outbound.Options{})
	require.Equal(t, "chat", channel.Name())
	require.Equal(t, "chat", channel.Endpoint(delivery.Target{}).ID)
	err := channel.Check(delivery.Target{Channel: "chat", URL: "ntfy://ntfy.sh/topic"})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "only through a destination")
}

// What was stored by another release may not be readable by this one.
func TestSendToAnAddressThatIsNone(t *testing.T) {
	t.Parallel()
	o := setup(t, outbound.Options{}).Send(t.Context(), to("matrix://user:"+plainToken+"@matrix.example.org"))
	require.Equal(t, delivery.Rejected, o.Cause)
	require.False(t, o.Retry)
	require.NotContains(t, o.Detail, plainToken)
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What CheckEndpoint lets pass becomes one request over HTTP, and no address brings the library down.
func FuzzCheckEndpoint(f *testing.F) {
	for _, seed := range []string{
		"slack://hook:" + slackHook + "@webhook", "slack://webhook", "telegram://" + telegramToken + "@telegram?chats=@ops",
		"teams+https://example.webhook.office.com" + teamsIDs, "discord://t@1", "ntfy://ntfy.sh/topic?scheme=http", "gotify://h/" + gotifyToken,
		"mattermost://h/t", "rocketchat://h/a/b", "pushover://x:t@u", "generic+http://h/p?template=json&$a=b", "generic://[::1]:99999/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		requests := 0
		channel := chat.New(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			requests++
			require.Contains(t, []string{"http", "https"}, r.URL.Scheme)
			require.NotEmpty(t, r.URL.Hostname())
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(nil)), Request: r}, nil
		})}, "test", time.Now)
		if channel.CheckEndpoint(delivery.Endpoint{URL: address}) != nil {
			return
		}
		require.Zero(t, requests, "checking sends nothing")
		o := channel.Send(t.Context(), to(address))
		require.True(t, o.Delivered(), "%q: %+v", address, o)
		require.Equal(t, 1, requests)
	})
}
