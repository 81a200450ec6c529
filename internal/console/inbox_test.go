package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestInbox(t *testing.T) {
	t.Parallel()
	s := newSite(t)

	require.Contains(t, s.get("/console/inbox").text(), "Nobody has a notification yet.")
	require.Contains(t, s.get("/console/inbox?user=ada").text(), "This inbox is empty.")

	first := s.send(`"alert_id": "a", "user_id": "ada", "title": "First & foremost"`)
	s.send(`"alert_id": "a", "user_id": "ada", "title": "Second", "severity": "critical"`)
	s.api(http.MethodPost, "/v1/deliveries", `{"alert_id": "a", "user_id": "ada", "title": "Third", "message": "`+strings.Repeat("é", 400)+`"}`, http.StatusOK)
	s.send(`"alert_id": "a", "user_id": "grace/2", "title": "Hers"`)

	users := s.get("/console/inbox")
	require.Contains(t, users.text(), "ada 3 grace/2 1")
	require.Contains(t, users.links(), "/console/inbox?user=grace%2f2")
	require.Contains(t, users.links(), "/console/inbox?user=ada&unread=true")

	page := s.get("/console/inbox?user=ada")
	text := page.text()
	require.Contains(t, text, "ada: 3 unread")
	require.Less(t, strings.Index(text, "Third"), strings.Index(text, "First & foremost"), "newest first")
	require.NotContains(t, text, "Hers")
	require.Contains(t, text, strings.Repeat("é", 300)+"…")
	require.NotContains(t, text, strings.Repeat("é", 301))
	require.Contains(t, page.links(), "/console/deliveries/"+first)

	var id string
	require.NoError(t, s.pool.QueryRow(t.Context(), "SELECT id::text FROM notifications WHERE title LIKE 'First%'").Scan(&id))
	require.NotNil(t, page.byID("read-"+id))
	read := s.post("/console/inbox/"+id+"/read", url.Values{"unread": {"true"}})
	require.Equal(t, http.StatusSeeOther, read.StatusCode)
	page = s.get(read.Header.Get("Location"))
	require.Contains(t, page.text(), "“First & foremost” is marked as read.")
	require.Contains(t, page.text(), "ada: 2 unread")
	require.Nil(t, page.byID("read-"+id), "only unread ones are asked for")
	require.NotContains(t, page.links(), "/console/deliveries/"+first)
	require.Contains(t, s.get("/console/inbox?user=ada").links(), "/console/deliveries/"+first)

	all := s.post("/console/inbox/read", url.Values{"user": {"ada"}, "unread": {"true"}})
	require.Equal(t, http.StatusSeeOther, all.StatusCode)
	page = s.get(all.Header.Get("Location"))
	require.Contains(t, page.text(), "2 notifications are marked as read.")
	require.Contains(t, page.text(), "Nothing is unread.")
	require.Equal(t, 1, s.number("SELECT count(*) FROM notifications WHERE read_at IS NULL"), "hers stays unread")
	again := s.get(s.post("/console/inbox/read", url.Values{"user": {"ada"}}).Header.Get("Location"))
	require.Contains(t, again.text(), "There was nothing unread.")
	require.NotNil(t, s.get("/console/inbox?user=grace%2f2").byID("read-all"))
	require.Nil(t, again.byID("read-all"))

	wrong := s.post("/console/inbox/read", url.Values{})
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Equal(t, []string{"user"}, wrong.invalidFields(t))
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/inbox?user=%00").StatusCode)
	require.Equal(t, http.StatusNotFound, s.post("/console/inbox/"+uuid.NewString()+"/read", url.Values{}).StatusCode)
	require.Equal(t, http.StatusNotFound, s.post("/console/inbox/x/read", url.Values{}).StatusCode)
}

func TestInboxIsPaged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, err := s.pool.Exec(t.Context(), `
		INSERT INTO notifications (id, tenant_id, user_id, event_id, alert_id, title, message, severity, data, created_at)
		SELECT gen_random_uuid(), 'default', 'user ' || lpad((n % 60)::text, 2, '0'), gen_random_uuid(), 'a', 'one of many', '', 'info', '{}'::jsonb, now() FROM generate_series(1, 120) AS n
		UNION ALL
		SELECT gen_random_uuid(), 'default', 'zoe', gen_random_uuid(), 'a', 'one of many', '', 'info', '{}'::jsonb, now() FROM generate_series(1, 1101)`)
	require.NoError(t, err)

	page := s.get("/console/inbox")
	require.Contains(t, page.text(), "user 49 2")
	require.NotContains(t, page.text(), "user 50")
	next := page.byRel("next")
	require.NotEmpty(t, next)
	page = s.get(next)
	require.NotContains(t, page.text(), "user 49")
	require.Contains(t, page.text(), "user 50 2")
	require.Contains(t, page.text(), "zoe 100 or more")
	require.Empty(t, page.byRel("next"))

	page = s.get("/console/inbox?user=zoe&unread=true")
	require.Contains(t, page.text(), "zoe: at least 1 000 unread")
	seen := 0
	for address := "/console/inbox?user=zoe&unread=true"; address != ""; {
		page = s.get(address)
		seen += strings.Count(page.text(), "one of many")
		address = page.byRel("next")
	}
	require.Equal(t, 1101, seen)

	// Who marks one as read comes back to the same part of the list.
	page = s.get(s.get("/console/inbox?user=zoe").byRel("next"))
	form := page.fields()
	require.NotEmpty(t, form.Get("cursor"))
	var id string
	require.NoError(t, s.pool.QueryRow(t.Context(), "SELECT id::text FROM notifications WHERE user_id = 'zoe' LIMIT 1").Scan(&id))
	back := s.post("/console/inbox/"+id+"/read", form).Header.Get("Location")
	require.Contains(t, back, "cursor="+form.Get("cursor"))
}

// byRel is the address of the link that leads to the next page.
func (r response) byRel(rel string) string {
	for n := range r.tree.Descendants() {
		if attribute(n, "rel") == rel {
			return attribute(n, "href")
		}
	}
	return ""
}
