package console_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

var signingSecret = regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`)

// echo is a webhook endpoint that remembers the last request's headers.
func echo(t *testing.T, status int, text string) (address string, headers chan http.Header) {
	t.Helper()
	headers = make(chan http.Header, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header.Clone()
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(server.Close)
	return server.URL, headers
}

func newDestinationSite(t *testing.T) *site {
	t.Helper()
	return newSite(t, "WEBHOOK_ALLOW_PRIVATE", "true", "SMTP_URL", "smtp://127.0.0.1:9", "SMTP_FROM", "dawsos@example.com")
}

// A cursor whose text holds NUL is no place in any list.
func TestCursorsWithNUL(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/destinations?cursor=Ilx1MDAwMCI").StatusCode)
}

func TestDestinationsEmpty(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	page := s.get("/console/destinations")
	require.Contains(t, page.text(), "There are no destinations yet")
	require.Contains(t, page.links(), "/console/destinations/new")
	for _, path := range []string{"", "/edit", "/rotate", "/act?act=delete"} {
		require.Equal(t, http.StatusNotFound, s.get("/console/destinations/pager"+path).StatusCode, path)
	}
	require.Equal(t, http.StatusNotFound, s.post("/console/destinations/pager/test", nil).StatusCode)
}

// A secret that was made is shown on the answer that made it, and nowhere after; what is secret in a
// destination is on no page.
func TestDestinationSecrets(t *testing.T) {
	t.Parallel()
	s := newDestinationSite(t)
	address, headers := echo(t, http.StatusNoContent, "")
	form := url.Values{
		"name": {"desk"}, "channel": {"webhook"}, "url": {address + "/hook?token=geheim"}, "headers": {"X-Key: hunter3\r\nX-Desk: risk"}, "description": {"The desk's pager"},
		"enabled": {"yes"}, "rate_per_second": {"10"}, "concurrency": {"4"}, "timeout_seconds": {"1.5"}, "reason": {"the desk moves"},
	}
	made := s.post("/console/destinations", form)
	requireOrderly(t, made, "made")
	require.Equal(t, "no-store", made.Header.Get("Cache-Control"))
	secrets := []string{signingSecret.FindString(made.text())}
	require.NotEmpty(t, secrets[0])
	require.Nil(t, made.byID("destination"), "nothing live replaces it")

	page := s.get("/console/destinations/desk")
	requireOrderly(t, page, "desk")
	for _, text := range []string{"The desk's pager", "X-Desk, X-Key", "10 attempts a second, 4 at the same time", "takes up to 1.5 s", address + "/…", "revision 1", "its breaker has not opened"} {
		require.Contains(t, strings.ReplaceAll(page.text(), " ,", ","), text)
	}
	for _, link := range []string{"/console/dlq?destination=desk", "/console/audit?subject=destination&subject_id=desk", "/console/destinations/desk/rotate"} {
		require.Contains(t, page.links(), link)
	}

	own := "whsec_" + strings.Repeat("QUJD", 8)
	for name, c := range map[string]struct {
		form  url.Values
		wrong string
	}{
		"too long an overlap": {url.Values{"make": {"made"}, "overlap_hours": {"721"}}, "r-overlap"},
		"no overlap":          {url.Values{"make": {"made"}, "overlap_hours": {""}}, "r-overlap"},
		"not a number":        {url.Values{"make": {"made"}, "overlap_hours": {"NaN"}}, "r-overlap"},
		"no secret":           {url.Values{"make": {"own"}, "overlap_hours": {"1"}}, "r-secret"},
		"a weak secret":       {url.Values{"make": {"own"}, "overlap_hours": {"1"}, "secret": {"whsec_hunter2"}}, "r-secret"},
		"a long reason":       {url.Values{"make": {"made"}, "overlap_hours": {"1"}, "reason": {strings.Repeat("a", 501)}}, "r-reason"},
	} {
		refused := s.post("/console/destinations/desk/rotate", c.form)
		require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode, name)
		require.Equal(t, []string{c.wrong}, refused.invalidFields(t), name)
		require.NotContains(t, refused.body, "hunter2", name)
		require.Empty(t, signingSecret.FindString(strings.ReplaceAll(refused.text(), "whsec_ and", "")), name)
	}
	ask := s.get("/console/destinations/desk/rotate")
	requireOrderly(t, ask, "rotate")
	require.Equal(t, "24", ask.fields().Get("overlap_hours"))
	rotated := s.post("/console/destinations/desk/rotate", url.Values{"make": {"made"}, "overlap_hours": {"1"}, "reason": {"once a year"}})
	requireOrderly(t, rotated, "rotated")
	require.Equal(t, "no-store", rotated.Header.Get("Cache-Control"))
	secrets = append(secrets, signingSecret.FindString(rotated.text()))
	require.NotEqual(t, secrets[0], secrets[1])
	require.Contains(t, rotated.text(), "signature by the former secret, too")
	page = s.get("/console/destinations/desk")
	require.Contains(t, page.text(), "The former one signs, too, until")
	require.Contains(t, s.post("/console/destinations/desk/test", nil).text(), "The receiver has taken the test message.")
	require.Len(t, strings.Fields((<-headers).Get("Webhook-Signature")), 2, "both sign")

	given := s.post("/console/destinations/desk/rotate", url.Values{"make": {"own"}, "overlap_hours": {"0"}, "secret": {own}, "reason": {"it leaked"}})
	require.NotContains(t, s.follow(given).body, own)
	require.NotContains(t, s.get("/console/destinations/desk").text(), "The former one signs")
	s.post("/console/destinations/desk/test", nil)
	sent := <-headers
	require.Len(t, strings.Fields(sent.Get("Webhook-Signature")), 1)
	require.Equal(t, "hunter3", sent.Get("X-Key"))

	for _, path := range []string{"", "/desk", "/desk/edit", "/desk/rotate", "/desk/act?act=disable", "/desk/act?act=delete"} {
		body := s.get("/console/destinations" + path).body
		for _, secret := range append(secrets, own, "hunter3", "geheim") {
			require.NotContains(t, body, secret, path)
		}
	}
	trail := s.api(http.MethodGet, "/v1/audit", "", http.StatusOK)
	for _, secret := range append(secrets, own, "hunter3", "geheim") {
		require.NotContains(t, trail, secret)
	}
	require.Equal(t, []string{
		`console destination.create "the desk moves"`, `console destination.rotate_secret "once a year"`, `console destination.rotate_secret "it leaked"`,
	}, s.actions())
}

func TestDestinationFormWithWrongInput(t *testing.T) {
	t.Parallel()
	s := newDestinationSite(t)
	s.api(http.MethodPost, "/v1/destinations", `{"name": "taken", "channel": "webhook", "url": "http://127.0.0.1:9/x"}`, http.StatusCreated)
	new := s.get("/console/destinations/new")
	requireOrderly(t, new, "new")
	form := func(fields ...string) url.Values {
		f := url.Values{"name": {"desk"}, "channel": {"webhook"}, "url": {"http://127.0.0.1:9/geheim"}, "description": {"The desk"}, "enabled": {"yes"}, "reason": {"why not"}}
		for i := 0; i < len(fields); i += 2 {
			f.Set(fields[i], fields[i+1])
		}
		return f
	}
	for name, c := range map[string]struct {
		fields []string
		wrong  []string
		says   string
	}{
		"a name with capitals": {[]string{"name", "Desk"}, []string{"d-name"}, "Must be 1 to 63"},
		"a name that is taken": {[]string{"name", "taken"}, []string{"d-name"}, "There is a destination taken already."},
		"the console's name":   {[]string{"name", "new"}, []string{"d-name"}, "choose another"},
		"another channel":      {[]string{"channel", "pigeon"}, []string{"d-channel"}, "Must be one of webhook, email, chat."},
		"no address":           {[]string{"url", ""}, []string{"d-url"}, "Is required for channel webhook."},
		"another scheme":       {[]string{"url", "ftp://geheim"}, []string{"d-url"}, "http"},
		"an address for mail":  {[]string{"channel", "email", "to", "ada@example.com"}, []string{"d-url"}, "Is not for channel email."},
		"a header":             {[]string{"headers", "X-A: geheim\nX-B"}, []string{"d-headers"}, "Line 2 must be"},
		"a weak secret":        {[]string{"secret", "geheim"}, []string{"d-secret"}, "Must be whsec_"},
		"several at once":      {[]string{"rate_per_second", "fast", "concurrency", "1.5", "timeout_seconds", "-1"}, []string{"d-timeout_seconds", "d-rate_per_second", "d-concurrency"}, "A number from 0"},
		"too slow":             {[]string{"timeout_seconds", "3000"}, []string{"d-timeout_seconds"}, "DELIVERY_TIMEOUT"},
		"a long description":   {[]string{"description", strings.Repeat("a", 501)}, []string{"d-description"}, "At most 500\u202f"},
		"a long reason":        {[]string{"reason", strings.Repeat("a", 501)}, []string{"d-reason"}, "At most 500"},
	} {
		typed := form(c.fields...)
		refused := s.post("/console/destinations", typed)
		require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode, name)
		require.ElementsMatch(t, c.wrong, refused.invalidFields(t), name)
		if !strings.Contains(c.says, "\u202f") {
			require.Contains(t, refused.text(), c.says, name)
		}
		require.NotContains(t, refused.body, "geheim", name)
		require.Contains(t, refused.text(), "It is not saved.", name)
		kept := refused.form("destination-form")
		for _, field := range []string{"name", "description", "reason", "rate_per_second", "concurrency", "timeout_seconds", "to"} {
			require.Equal(t, typed.Get(field), kept.Get(field), "%s: %s", name, field)
		}
	}
	require.Equal(t, 1, s.number("SELECT count(*) FROM destinations"))
	mail := s.follow(s.post("/console/destinations", form("channel", "email", "url", "", "to", "ada@example.com; bob@example.com")))
	require.Contains(t, mail.text(), "ada@example.com, bob@example.com")
	require.NotContains(t, mail.text(), "Rotate")
	require.Contains(t, s.get("/console/destinations/desk/rotate").text(), "only webhooks are signed")
}

func TestChangeDestination(t *testing.T) {
	t.Parallel()
	s := newDestinationSite(t)
	address, headers := echo(t, http.StatusNoContent, "")
	s.api(http.MethodPost, "/v1/destinations", fmt.Sprintf(`{"name": "desk", "channel": "webhook", "url": "%s/a", "headers": {"X-One": "1", "X-Two": "2"}, "rate_per_second": 2.5}`, address), http.StatusCreated)
	const path = "/console/destinations/desk"
	edit := s.get(path + "/edit")
	requireOrderly(t, edit, "edit")
	require.Contains(t, edit.text(), "empty: as it is, "+address+"/…")
	form := edit.form("destination-form")
	require.Equal(t, []string{"2.5", "", "1"}, []string{form.Get("rate_per_second"), form.Get("url"), form.Get("revision")})
	require.NotContains(t, form, "header_remove")

	changed := maps.Clone(form)
	changed.Set("description", "The new desk")
	changed.Set("rate_per_second", "")
	changed.Set("header_remove", "X-One")
	changed.Set("headers", "x-two: zwei\nX-Three: 3")
	changed.Set("reason", "the desk moves")
	after := s.follow(s.post(path, changed))
	require.Contains(t, after.text(), "The destination is changed.")
	require.Contains(t, after.text(), "no limit a second")
	s.post(path+"/test", nil)
	sent := <-headers
	require.Equal(t, []string{"", "zwei", "3"}, []string{sent.Get("X-One"), sent.Get("X-Two"), sent.Get("X-Three")}, "its address has stayed")

	late := s.post(path, form)
	require.Equal(t, http.StatusUnprocessableEntity, late.StatusCode)
	require.Contains(t, late.text(), "you began with revision 1, it is at revision 2 now")
	require.Contains(t, s.get(path).text(), "The new desk")
	over := late.form("destination-form")
	require.NotContains(t, over, "revision", "the button says over which one")
	over.Set("revision", "2")
	over.Set("description", "The old desk")
	require.Contains(t, s.follow(s.post(path, over)).text(), "The old desk")
	require.Equal(t, http.StatusUnprocessableEntity, s.post(path, url.Values{"description": {"x"}}).StatusCode, "no revision")
	wrong := maps.Clone(form)
	wrong.Set("revision", "3")
	wrong.Set("url", "ftp://geheim")
	refused := s.post(path, wrong)
	require.Equal(t, []string{"d-url"}, refused.invalidFields(t))
	require.NotContains(t, refused.body, "geheim")

	require.Contains(t, s.get(path+"/act?act=disable").text(), "exhausted dead letters")
	require.Contains(t, s.follow(s.post(path+"/act", url.Values{"act": {"disable"}, "reason": {"it rests"}})).text(), "The destination is disabled.")
	require.Contains(t, s.get("/console/destinations").cells()[0][1], "disabled")
	require.Contains(t, s.follow(s.post(path+"/act", url.Values{"act": {"enable"}})).text(), "The destination is enabled.")
	require.Equal(t, http.StatusUnprocessableEntity, s.post(path+"/act", url.Values{"act": {"explode"}}).StatusCode)
	nameless := s.post(path+"/act", url.Values{"act": {"delete"}})
	require.Equal(t, []string{"act-reason"}, nameless.invalidFields(t))
	require.Contains(t, s.follow(s.post(path+"/act", url.Values{"act": {"delete"}, "reason": {"closed"}})).text(), "The destination desk is deleted.")
	require.Equal(t, http.StatusNotFound, s.get(path).StatusCode)
	require.Equal(t, []string{
		`api destination.create`, `console destination.update "the desk moves"`, `console destination.update`,
		`console destination.update "it rests"`, `console destination.update`, `console destination.delete "closed"`,
	}, s.actions())
	require.Equal(t, 1, s.number(`SELECT count(*) FROM audit_log WHERE reason = 'the desk moves' AND detail -> 'changed' ? 'headers' AND NOT detail -> 'changed' ? 'url'`))
}

func TestTestDestination(t *testing.T) {
	t.Parallel()
	s := newDestinationSite(t)
	for name, c := range map[string]struct {
		status int
		answer string
		says   []string
	}{
		"fine":    {http.StatusOK, "thanks", []string{"delivered", "The receiver has taken the test message.", "Status 200"}},
		"broken":  {http.StatusInsufficientStorage, "the disk is <full>", []string{"failed", "The test message was not delivered: the receiver is broken.", "http_5xx", "Status 507", "the disk is <full>"}},
		"refuses": {http.StatusForbidden, "who are you", []string{"the receiver refuses the message", "http_4xx", "Status 403", "who are you"}},
	} {
		address, _ := echo(t, c.status, c.answer)
		s.api(http.MethodPost, "/v1/destinations", fmt.Sprintf(`{"name": %q, "channel": "webhook", "url": %q}`, name, address), http.StatusCreated)
		test := s.post("/console/destinations/"+name+"/test", nil)
		requireOrderly(t, test, name)
		for _, text := range c.says {
			require.Contains(t, test.text(), text, name)
		}
	}
	s.api(http.MethodPost, "/v1/destinations", `{"name": "away", "channel": "webhook", "url": "http://127.0.0.1:9/x", "enabled": false}`, http.StatusCreated)
	away := s.post("/console/destinations/away/test", nil)
	require.Contains(t, away.text(), "the receiver can't be reached")
	require.Contains(t, away.text(), "none: the receiver gave no answer")
	require.Zero(t, s.number("SELECT count(*) FROM alert_events"), "a test is no event")
}

func TestDestinationsArePaged(t *testing.T) {
	t.Parallel()
	s := newDestinationSite(t)
	s.api(http.MethodPost, "/v1/destinations", `{"name": "aaa", "channel": "webhook", "url": "http://127.0.0.1:9/x"}`, http.StatusCreated)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO destinations SELECT (jsonb_populate_record(d, jsonb_build_object('id', gen_random_uuid(), 'name', 'd' || lpad(i::text, 3, '0')))).* FROM destinations AS d, generate_series(1, 60) AS i`)
	require.NoError(t, err)
	first := s.get("/console/destinations")
	require.Len(t, first.cells(), 50)
	second := s.get(first.byRel("next"))
	require.Len(t, second.cells(), 11)
	require.Empty(t, second.byRel("next"))
	require.Contains(t, second.cells()[10][0], "d060")

	// A copy is sealed for another name: it can't be read, which the pages say.
	require.Contains(t, second.cells()[10][1], "locked")
	locked := s.get("/console/destinations/d060")
	requireOrderly(t, locked, "locked")
	require.Contains(t, locked.text(), "a key that is not in SECRETS_KEY")
	require.NotContains(t, locked.text(), "Send a test")
	require.Contains(t, locked.text(), "Delete …")
	require.Equal(t, http.StatusServiceUnavailable, s.post("/console/destinations/d060/test", nil).StatusCode)
	require.Contains(t, s.follow(s.post("/console/destinations/d060/act", url.Values{"act": {"delete"}, "reason": {"its key is gone"}})).text(), "deleted")
}

// The breakers of all processes are on a destination's page.
func TestDestinationBreakers(t *testing.T) {
	t.Parallel()
	s := newSite(t, "WEBHOOK_ALLOW_PRIVATE", "true", "BREAKER_FAILURES", "1", "BREAKER_AFTER", "0s")
	address, _ := echo(t, http.StatusInternalServerError, "")
	s.api(http.MethodPost, "/v1/destinations", fmt.Sprintf(`{"name": "desk", "channel": "webhook", "url": %q}`, address), http.StatusCreated)
	s.send(`"alert_id": "a", "user_id": "ada", "title": "T", "channels": {"destination": ["desk"]}`)
	page := s.becomes("/console/destinations/desk", "OPEN api on")
	require.Contains(t, page.text(), "Latest changes")
	require.Contains(t, page.links(), "/console/breakers?kind=endpoint&name=destination%3Adesk")
	list := s.get("/console/destinations")
	require.Contains(t, list.cells()[0][2], "OPEN in 1 process")
	require.Contains(t, s.get(list.link(t, "OPEN")).text(), "destination:desk")
	require.Equal(t, "1", gjson.Get(s.api(http.MethodGet, "/v1/dlq?destination=desk", "", http.StatusOK), "items.#").String())
}
