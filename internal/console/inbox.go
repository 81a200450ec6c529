package console

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery/inapp"
	"github.com/dawsos/dawsos/internal/fault"
)

// Notifications are the users' inboxes.
type Notifications interface {
	Notifications(ctx context.Context, tenantID string, f inapp.Filter, before uuid.UUID, limit int) ([]inapp.Notification, error)
	// Inboxes returns the users who have notifications behind after, in order of their names, with up to
	// most of the unread ones counted.
	Inboxes(ctx context.Context, tenantID, after string, most, limit int) ([]inapp.Count, error)
	CountUnread(ctx context.Context, tenantID, userID string, most int) (int, error)
	ReadNotification(ctx context.Context, tenantID string, id uuid.UUID) (inapp.Notification, error)
	ReadNotifications(ctx context.Context, tenantID, userID string) (int64, error)
}

const (
	inboxPath = "/console/inbox"
	// inboxMost is how far the unread notifications of one user are counted, as in the API; inboxesMost is
	// the same where there are many users.
	inboxMost   = 1000
	inboxesMost = 100
	// inboxShown is how many characters of a message the list shows.
	inboxShown = 300
)

func (c *Console) inboxRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: inboxPath, Handler: c.inbox},
		{Method: http.MethodPost, Path: inboxPath + "/read", Handler: c.readInbox},
		{Method: http.MethodPost, Path: inboxPath + "/{id}/read", Handler: c.readNotification},
	}
}

// inboxPage is the inbox of a user, or the users who have one.
type inboxPage struct {
	Done, User, Wrong string
	OnlyUnread        bool
	Cursor            string // place in the list, to come back to
	Unread            int
	UnreadMore        bool // there may be more than Unread
	Notifications     []inboxRow
	Users             []inboxUser
	Pager             pager
}

type inboxRow struct {
	inapp.Notification
	Excerpt string
	Cut     bool // the message goes on
}

type inboxUser struct {
	inapp.Count
	More bool // there may be more than are counted
}

func (c *Console) inbox(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	page := inboxPage{Done: q.Get("done"), User: q.Get("user"), OnlyUnread: q.Get("unread") == "true", Cursor: q.Get("cursor")}
	if page.Wrong = unstorable(page.User, maxID); page.Wrong != "" {
		return c.render(w, r, http.StatusUnprocessableEntity, "inbox", inboxPath, "Inbox", page)
	}
	fill := c.fillInbox
	if page.User == "" {
		fill = c.fillInboxes
	}
	if err := fill(r, &page); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "inbox", inboxPath, "Inbox", page)
}

func (c *Console) fillInbox(r *http.Request, page *inboxPage) error {
	before := uuid.Max
	if err := cursor(r, &before); err != nil {
		return err
	}
	found, err := c.Notifications.Notifications(r.Context(), auth.Tenant(r.Context()), inapp.Filter{UserID: page.User, Unread: page.OnlyUnread}, before, pageSize+1)
	if err != nil {
		return err
	}
	if page.Unread, err = c.Notifications.CountUnread(r.Context(), auth.Tenant(r.Context()), page.User, inboxMost); err != nil {
		return err
	}
	page.UnreadMore = page.Unread == inboxMost
	var next any
	if len(found) > pageSize {
		found = found[:pageSize]
		next = found[pageSize-1].ID
	}
	for _, n := range found {
		row := inboxRow{Notification: n, Excerpt: n.Message}
		if all := []rune(n.Message); len(all) > inboxShown {
			row.Excerpt, row.Cut = string(all[:inboxShown])+"…", true
		}
		page.Notifications = append(page.Notifications, row)
	}
	page.Pager, err = newPager(r, next)
	return err
}

func (c *Console) fillInboxes(r *http.Request, page *inboxPage) error {
	var after string
	if err := cursor(r, &after); err != nil {
		return err
	}
	found, err := c.Notifications.Inboxes(r.Context(), auth.Tenant(r.Context()), after, inboxesMost, pageSize+1)
	if err != nil {
		return err
	}
	var next any
	if len(found) > pageSize {
		found = found[:pageSize]
		next = found[pageSize-1].UserID
	}
	for _, n := range found {
		page.Users = append(page.Users, inboxUser{n, n.Unread == inboxesMost})
	}
	page.Pager, err = newPager(r, next)
	return err
}

// inboxForm reads what a form of the inbox sent.
func inboxForm(r *http.Request) (url.Values, error) {
	if err := r.ParseForm(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the form can't be read")
	}
	return r.PostForm, nil
}

// inboxOf is the address of a user's inbox, as the reader had it before the form.
func inboxOf(user string, form url.Values) string {
	q := url.Values{"user": {user}}
	for _, name := range []string{"unread", "cursor"} {
		if v := form.Get(name); v != "" {
			q.Set(name, v)
		}
	}
	return address(inboxPath, q)
}

func (c *Console) readInbox(w http.ResponseWriter, r *http.Request) error {
	form, err := inboxForm(r)
	if err != nil {
		return err
	}
	user := form.Get("user")
	wrong := unstorable(user, maxID)
	if user == "" {
		wrong = "Say whose notifications have been read."
	}
	if wrong != "" {
		return c.render(w, r, http.StatusUnprocessableEntity, "inbox", inboxPath, "Inbox", inboxPage{User: user, Wrong: wrong})
	}
	n, err := c.Notifications.ReadNotifications(r.Context(), auth.Tenant(r.Context()), user)
	if err != nil {
		return err
	}
	to := inboxOf(user, url.Values{"unread": form["unread"]}) // from its start: the unread ones have left the list
	switch n {
	case 0:
		return done(w, r, to, "There was nothing unread.")
	case 1:
		return done(w, r, to, "1 notification is marked as read.")
	}
	return done(w, r, to, "%s notifications are marked as read.", count(n))
}

func (c *Console) readNotification(w http.ResponseWriter, r *http.Request) error {
	form, err := inboxForm(r)
	if err != nil {
		return err
	}
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	n, err := c.Notifications.ReadNotification(r.Context(), auth.Tenant(r.Context()), id)
	if err != nil {
		return err
	}
	return done(w, r, inboxOf(n.UserID, form), "“%s” is marked as read.", n.Title)
}
