package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
	"github.com/dawsos/dawsos/pkg/api"
)

// work starts what a worker process does with deliveries.
func (s *site) work(t *testing.T) {
	t.Helper()
	workers := river.NewWorkers()
	river.AddWorker(workers, jobs.NewDeliverWorker(delivery.NewService(s.deliveries, s.sending), s.deliveries, s.sending.Timeout, time.Now))
	river.AddWorker(workers, jobs.NewRetryWorker(delivery.NewRetrier(s.sending), s.deliveries, s.sending.Timeout, time.Now))
	client, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{jobs.QueueDelivery: {MaxWorkers: 10}},
		FetchCooldown: 10 * time.Millisecond, FetchPollInterval: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	require.NoError(t, client.Start(context.WithoutCancel(t.Context())))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, client.Stop(ctx))
	})
}

// becomes waits until an event's target is in a state.
func (s *site) becomes(t *testing.T, event uuid.UUID, target string, state api.ChannelHistoryState) api.Delivery {
	t.Helper()
	var d api.Delivery
	require.Eventually(t, func() bool {
		d = api.Delivery{}
		s.get(t, "/v1/deliveries/"+event.String()).into(&d)
		return d.Channels[target].State == state
	}, 20*time.Second, 20*time.Millisecond, "%s on %s becomes %s", event, target, state)
	return d
}

// hook is a receiver whose answers a test decides and counts.
type hook struct {
	*httptest.Server
	status atomic.Int32
	got    atomic.Int32
	during func() // what happens while a request is under way
}

func newHook(t *testing.T, status int32) *hook {
	t.Helper()
	h := &hook{during: func() {}}
	h.status.Store(status)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h.got.Add(1)
		h.during()
		w.WriteHeader(int(h.status.Load()))
	}))
	t.Cleanup(h.Close)
	return h
}

// note returns a message; what tells it from others is its title.
func note(title string, changes ...map[string]any) map[string]any {
	body := map[string]any{"alert_id": "nav-drop", "user_id": "ada", "title": title, "message": "By 3 %."}
	for _, c := range changes {
		maps.Copy(body, c)
	}
	return body
}

func to(h *hook) map[string]any {
	return map[string]any{"channels": map[string]any{"webhook": map[string]any{"url": h.URL}}}
}

func receiptOf(a *answer) api.DeliveryReceipt {
	a.t.Helper()
	var r api.DeliveryReceipt
	a.into(&r)
	return r
}

func TestTheSameIdempotencyKey(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	h := newHook(t, 503)

	first := s.post(t, "/v1/deliveries", note("NAV fell", to(h)), "Idempotency-Key", "k-1")
	require.Equal(t, http.StatusOK, first.status, "%s", first.body)
	require.Empty(t, first.header.Get("Idempotency-Replayed"))
	require.Equal(t, api.ChannelReceiptOutcomeQueued, receiptOf(first).Channels["webhook"].Outcome)
	require.Equal(t, "/v1/deliveries/"+receiptOf(first).EventId.String(), first.header.Get("Location"))

	// The same in other words: the order of members and space are none of the request's.
	for _, body := range []any{
		note("NAV fell", to(h)),
		`{"title": "NAV fell",  "message": "By 3 %.", "user_id": "ada", "channels": {"webhook": {"url": "` + h.URL + `"}}, "alert_id": "nav-drop"}`,
	} {
		again := s.post(t, "/v1/deliveries", body, "Idempotency-Key", "k-1")
		require.Equal(t, http.StatusOK, again.status)
		require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
		require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
		require.JSONEq(t, string(first.body), string(again.body))
	}
	require.EqualValues(t, 1, h.got.Load(), "nothing is sent again")

	s.post(t, "/v1/deliveries", note("NAV rose", to(h)), "Idempotency-Key", "k-1").invalid("/header/Idempotency-Key")
	s.post(t, "/v1/deliveries/batch", map[string]any{"items": []any{note("NAV fell", to(h))}}, "Idempotency-Key", "k-1").invalid("/header/Idempotency-Key")
	for _, key := range []string{"a b", "é", strings.Repeat("k", 256)} {
		s.post(t, "/v1/deliveries", note("NAV fell"), "Idempotency-Key", key).invalid("/header/Idempotency-Key")
	}
	require.Equal(t, 1, deliverytest.Count(t, s.pool).Events)
	other := s.post(t, "/v1/deliveries", note("NAV rose"), "Idempotency-Key", "k-2")
	require.NotEqual(t, first.header.Get("Location"), other.header.Get("Location"))
}

// asking tells how often a key was looked up.
type asking struct {
	httpapi.Deliverer
	asked atomic.Int32
}

func (a *asking) Earlier(ctx context.Context, idem delivery.Idempotency) (*delivery.Earlier, error) {
	a.asked.Add(1)
	return a.Deliverer.Earlier(ctx, idem)
}

// A request that was taken on stays so: its key gives the first answer, though it would be refused now.
func TestTheSameKeyOnceItsDestinationIsGone(t *testing.T) {
	t.Parallel()
	d := &asking{}
	s := newSite(t, func(o *httpapi.Options) {
		d.Deliverer = o.Deliverer
		o.Deliverer = d
	})
	h := newHook(t, 204)
	a := s.post(t, "/v1/destinations", map[string]any{"name": "ops", "channel": "webhook", "url": h.URL})
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	ops := map[string]any{"channels": map[string]any{"destination": []any{"ops"}}}
	one, many := note("NAV fell", ops), map[string]any{"items": []any{note("FX jumped", ops), note("FX fell", ops)}}
	first := s.post(t, "/v1/deliveries", one, "Idempotency-Key", "one")
	require.Equal(t, http.StatusOK, first.status, "%s", first.body)
	list := s.post(t, "/v1/deliveries/batch", many, "Idempotency-Key", "many")
	require.Equal(t, http.StatusOK, list.status, "%s", list.body)
	require.EqualValues(t, 2, d.asked.Load())

	require.Equal(t, http.StatusNoContent, s.do(t, http.MethodDelete, "/v1/destinations/ops", nil).status)
	for _, c := range []struct {
		target, key string
		body        any
		first       *answer
	}{{"/v1/deliveries", "one", one, first}, {"/v1/deliveries/batch", "many", many, list}} {
		again := s.post(t, c.target, c.body, "Idempotency-Key", c.key)
		require.Equal(t, http.StatusOK, again.status, "%s", again.body)
		require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
		require.JSONEq(t, string(c.first.body), string(again.body))
	}
	s.post(t, "/v1/deliveries", note("NAV rose", ops), "Idempotency-Key", "one").invalid("/header/Idempotency-Key")
	s.post(t, "/v1/deliveries", one, "Idempotency-Key", "new").invalid("/channels/destination/0")
	require.EqualValues(t, 3, h.got.Load(), "nothing is sent again")

	before := d.asked.Load()
	s.post(t, "/v1/deliveries", one).invalid("/channels/destination/0")
	require.Equal(t, http.StatusOK, s.post(t, "/v1/deliveries", note("NAV rose")).status)
	require.Equal(t, before, d.asked.Load(), "who has no key waits for no look")
}

func TestTheSameIdempotencyKeyAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	h := newHook(t, 204)
	const callers = 32
	answers := make([]*answer, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { answers[i] = s.post(t, "/v1/deliveries", note("NAV fell", to(h)), "Idempotency-Key", "k") })
	}
	wg.Wait()
	firsts := 0
	events := map[uuid.UUID]bool{}
	for _, a := range answers {
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		r := receiptOf(a)
		events[r.EventId] = true
		if a.header.Get("Idempotency-Replayed") == "" {
			firsts++
			require.Equal(t, api.ChannelReceiptOutcomeDelivered, r.Channels["webhook"].Outcome)
		}
	}
	require.Equal(t, 1, firsts)
	require.Len(t, events, 1)
	require.Equal(t, 1, deliverytest.Count(t, s.pool).Events)
	require.EqualValues(t, 1, h.got.Load())
}

// Who comes while the first request is still under way is told how far it is.
func TestTheFirstAnswerIsNotThereYet(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := newHook(t, 503)
	sending, proceed := make(chan struct{}), make(chan struct{})
	h.during = func() { close(sending); <-proceed }
	body := note("NAV fell", to(h))
	var done *answer
	var first sync.WaitGroup
	first.Go(func() { done = s.post(t, "/v1/deliveries", body, "Idempotency-Key", "k") })
	<-sending
	early := s.post(t, "/v1/deliveries", body, "Idempotency-Key", "k")
	close(proceed)
	require.Equal(t, "true", early.header.Get("Idempotency-Replayed"))
	require.Equal(t, api.ChannelReceiptOutcomeAccepted, receiptOf(early).Channels["webhook"].Outcome)
	first.Wait()
	require.Equal(t, receiptOf(done).EventId, receiptOf(early).EventId)
	require.Equal(t, receiptOf(done).AcceptedAt, receiptOf(early).AcceptedAt)
	require.JSONEq(t, string(done.body), string(s.post(t, "/v1/deliveries", body, "Idempotency-Key", "k").body))

	// An answer that was lost on its way into the database is told from where the event stands, in the
	// same words.
	_, err := s.pool.Exec(t.Context(), `UPDATE idempotency_keys SET answer = NULL`)
	require.NoError(t, err)
	require.JSONEq(t, string(done.body), string(s.post(t, "/v1/deliveries", body, "Idempotency-Key", "k").body))
	_, err = s.pool.Exec(t.Context(), `UPDATE alert_dlq SET state = 'discarded', closed_at = now(), next_retry_at = NULL, job_id = NULL`)
	require.NoError(t, err)
	a := s.post(t, "/v1/deliveries", body, "Idempotency-Key", "k")
	require.Equal(t, api.ChannelReceiptOutcomeDiscarded, receiptOf(a).Channels["webhook"].Outcome)
}

func TestTheSameContentAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	h := newHook(t, 204)
	const callers = 32
	receipts := make([]api.DeliveryReceipt, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { receipts[i] = receiptOf(s.post(t, "/v1/deliveries", note("NAV fell", to(h)))) })
	}
	wg.Wait()
	outcomes := map[api.ChannelReceiptOutcome]int{}
	var sent uuid.UUID
	for _, r := range receipts {
		outcomes[r.Channels["webhook"].Outcome]++
		if r.Channels["webhook"].Outcome == api.ChannelReceiptOutcomeDelivered {
			sent = r.EventId
		}
	}
	require.Equal(t, map[api.ChannelReceiptOutcome]int{"delivered": 1, "duplicate": callers - 1}, outcomes)
	for _, r := range receipts {
		if r.EventId != sent {
			require.Equal(t, sent, *r.Channels["webhook"].DuplicateOf)
			var d api.Delivery
			s.get(t, "/v1/deliveries/"+r.EventId.String()).into(&d)
			require.Equal(t, api.ChannelHistoryStateDuplicate, d.Channels["webhook"].State)
			require.Equal(t, sent, *d.Channels["webhook"].DuplicateOf)
		}
	}
	require.EqualValues(t, 1, h.got.Load())
}

func TestRespondAsync(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := newHook(t, 204)
	body := note("NAV fell", map[string]any{"channels": map[string]any{"inapp": true, "webhook": map[string]any{"url": h.URL}}})
	a := s.post(t, "/v1/deliveries", body, "Prefer", "wait=10, Respond-Async", "Idempotency-Key", "k")
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.Equal(t, "respond-async", a.header.Get("Preference-Applied"))
	r := receiptOf(a)
	require.Equal(t, map[string]api.ChannelReceipt{"inapp": {Outcome: "accepted"}, "webhook": {Outcome: "accepted"}}, r.Channels)
	require.Zero(t, h.got.Load())

	twin := receiptOf(s.post(t, "/v1/deliveries", body, "Prefer", "respond-async"))
	require.Equal(t, api.ChannelReceiptOutcomeDuplicate, twin.Channels["inapp"].Outcome)

	s.work(t)
	s.becomes(t, r.EventId, "inapp", api.ChannelHistoryStateDelivered)
	s.becomes(t, r.EventId, "webhook", api.ChannelHistoryStateDelivered)
	again := s.post(t, "/v1/deliveries", body, "Idempotency-Key", "k")
	require.Equal(t, http.StatusAccepted, again.status, "the first answer")
	require.JSONEq(t, string(a.body), string(again.body))
	require.EqualValues(t, 1, h.got.Load())
	require.Equal(t, http.StatusOK, s.post(t, "/v1/deliveries", note("NAV rose"), "Prefer", "respond-asynchronously; respond-async").status)
}

func TestBatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	h := newHook(t, 503)
	batch := func(items ...any) map[string]any { return map[string]any{"items": items} }
	off := map[string]any{"channels": map[string]any{"inapp": false}}

	// All or nothing, and each bad item is named.
	s.post(t, "/v1/deliveries/batch", batch(note("a"), note("b"), note(""), note("d", map[string]any{"severity": "fatal"}))).
		invalid("/items/2/title", "/items/3/severity")
	s.post(t, "/v1/deliveries/batch", batch(note("a"), note("b", off), note("c"), note("d", off))).invalid("/items/1/channels", "/items/3/channels")
	s.post(t, "/v1/deliveries/batch", batch(note("a", off))).invalid("/items/0/channels")
	s.post(t, "/v1/deliveries/batch", batch(note("a"), note("b", map[string]any{"fallback": map[string]any{}}))).invalid("/items/1/fallback")
	s.post(t, "/v1/deliveries/batch", batch()).invalid("/items")
	s.post(t, "/v1/deliveries/batch", map[string]any{}).invalid("/items")
	many := make([]any, 101)
	for i := range many {
		many[i] = note(fmt.Sprint("n", i))
	}
	s.post(t, "/v1/deliveries/batch", batch(many...)).invalid("/items")
	require.Zero(t, deliverytest.Count(t, s.pool).Events)

	items := append(many[:98:98], note("n0"), note("failing", to(h)))
	a := s.post(t, "/v1/deliveries/batch", batch(items...), "Idempotency-Key", "k")
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	var receipts api.DeliveryReceipts
	a.into(&receipts)
	require.Len(t, receipts.Items, 100)
	for i, r := range receipts.Items[:98] {
		require.Equal(t, api.ChannelReceiptOutcomeDelivered, r.Channels["inapp"].Outcome, i)
	}
	require.Equal(t, api.ChannelReceiptOutcomeDuplicate, receipts.Items[98].Channels["inapp"].Outcome)
	require.Equal(t, receipts.Items[0].EventId, *receipts.Items[98].Channels["inapp"].DuplicateOf)
	require.Equal(t, api.ChannelReceiptOutcomeQueued, receipts.Items[99].Channels["webhook"].Outcome)
	var d api.Delivery
	s.get(t, "/v1/deliveries/"+receipts.Items[97].EventId.String()).into(&d)
	require.Equal(t, "n97", d.Title, "receipts are in the order of the items")

	again := s.post(t, "/v1/deliveries/batch", batch(items...), "Idempotency-Key", "k")
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.JSONEq(t, string(a.body), string(again.body))
	_, err := s.pool.Exec(t.Context(), `UPDATE idempotency_keys SET answer = NULL`)
	require.NoError(t, err)
	require.JSONEq(t, string(a.body), string(s.post(t, "/v1/deliveries/batch", batch(items...), "Idempotency-Key", "k").body))
	require.Equal(t, 100, deliverytest.Count(t, s.pool).Events)

	later := s.post(t, "/v1/deliveries/batch", batch(note("x"), note("y")), "Prefer", "respond-async")
	require.Equal(t, http.StatusAccepted, later.status)
	require.Equal(t, "respond-async", later.header.Get("Preference-Applied"))
	require.Equal(t, 2, deliverytest.Count(t, s.pool).InFlight)
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	h := newHook(t, 503)
	for _, ttl := range []any{0, -1, 2592001, 1.5, "1"} {
		s.post(t, "/v1/deliveries", note("NAV fell", map[string]any{"ttl_seconds": ttl})).invalid("/ttl_seconds")
	}
	// The first retry would be due in a minute.
	r := receiptOf(s.post(t, "/v1/deliveries", note("NAV fell", to(h), map[string]any{"ttl_seconds": 1})))
	require.Equal(t, api.ChannelReceiptOutcomeQueued, r.Channels["webhook"].Outcome)
	s.work(t)
	d := s.becomes(t, r.EventId, "webhook", api.ChannelHistoryStateExpired)
	require.WithinDuration(t, r.AcceptedAt.Add(time.Second), *d.ExpiresAt, 100*time.Millisecond)
	require.Len(t, d.Channels["webhook"].Attempts, 1)
	require.EqualValues(t, 1, h.got.Load(), "what has expired is not sent")
}

func TestFallback(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	refusing, working := newHook(t, 410), newHook(t, 204)
	inbox := map[string]any{"fallback": map[string]any{"inapp": true}}

	r := receiptOf(s.post(t, "/v1/deliveries", note("refused", to(refusing), inbox)))
	require.Equal(t, api.ChannelReceiptOutcomeExhausted, r.Channels["webhook"].Outcome)
	s.work(t)
	d := s.becomes(t, r.EventId, "inapp", api.ChannelHistoryStateDelivered)
	require.Equal(t, api.ChannelHistoryStateExhausted, d.Channels["webhook"].State, "it stays in front of the operators")
	require.Nil(t, d.Fallback)

	r = receiptOf(s.post(t, "/v1/deliveries", note("taken", to(working), inbox)))
	d = s.becomes(t, r.EventId, "webhook", api.ChannelHistoryStateDelivered)
	require.Equal(t, map[string]api.FallbackTarget{"inapp": {Channel: "inapp"}}, *d.Fallback)
	require.NotContains(t, d.Channels, "inapp")

	s.post(t, "/v1/deliveries", note("x", map[string]any{"fallback": map[string]any{"webhook": map[string]any{"url": "ftp://x"}}})).
		invalid("/fallback/webhook/url")
	s.post(t, "/v1/deliveries", note("x", map[string]any{"fallback": map[string]any{"inapp": false}})).invalid("/fallback")
	s.post(t, "/v1/deliveries", note("x", map[string]any{"channels": map[string]any{"inapp": true}}, inbox)).invalid("/channels")
}

func TestListDeliveries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	failing := newHook(t, 503)
	var ids []string
	for i := range 7 {
		change := map[string]any{"alert_id": fmt.Sprint("alert-", i%2), "user_id": fmt.Sprint("user-", i%3)}
		if i == 6 {
			change["channels"] = map[string]any{"inapp": true, "webhook": map[string]any{"url": failing.URL + "/?token=t0ken"}}
		}
		r := receiptOf(s.post(t, "/v1/deliveries", note(fmt.Sprint("n", i), change)))
		ids = append([]string{r.EventId.String()}, ids...)
	}
	foreign := delivery.Event{
		ID: uuid.Must(uuid.NewV7()), TenantID: "other", Source: delivery.Direct, AlertID: "alert-0", UserID: "user-0", Title: "t", Severity: delivery.Info,
		Data: json.RawMessage("{}"), Targets: []delivery.Target{{Channel: "inapp"}}, AcceptedAt: time.Now().UTC(),
	}
	_, _, err := s.deliveries.Accept(t.Context(), []delivery.Acceptance{{Event: foreign}}, nil)
	require.NoError(t, err)

	list := func(query string) (got []string, items []api.DeliverySummary) {
		for next := ""; ; {
			var page struct {
				Items []api.DeliverySummary
				Next  *string `json:"next_cursor"`
			}
			a := s.get(t, "/v1/deliveries?"+query+next)
			require.NotContains(t, string(a.body), "t0ken")
			a.into(&page)
			for _, item := range page.Items {
				got = append(got, item.EventId.String())
			}
			items = append(items, page.Items...)
			if page.Next == nil {
				return got, items
			}
			next = "&cursor=" + *page.Next
		}
	}
	all, items := list("")
	require.Equal(t, ids, all)
	paged, _ := list("limit=2")
	require.Equal(t, ids, paged)
	of, _ := list("alert_id=alert-1&user_id=user-0")
	require.Equal(t, []string{ids[3]}, of)
	of, _ = list("source=alertmanager")
	require.Empty(t, of)
	of, _ = list("source=direct")
	require.Len(t, of, 7)
	s.get(t, "/v1/deliveries?source=pigeon").invalid("/query/source")
	s.get(t, "/v1/deliveries?cursor=x").invalid("/query/cursor")
	s.get(t, "/v1/deliveries/"+foreign.ID.String()).problem(404, fault.NotFound)

	require.Equal(t, "n6", items[0].Title)
	require.Equal(t, api.TargetState("delivered"), items[0].Channels["inapp"].State)
	require.NotNil(t, items[0].Channels["inapp"].DeliveredAt)
	queued := items[0].Channels["webhook"]
	require.Equal(t, api.TargetState("pending"), queued.State)
	require.Equal(t, api.CauseHttp5xx, *queued.Cause)
	require.NotNil(t, queued.NextRetryAt)
	require.Equal(t, http.StatusOK, s.get(t, "/v1/dlq/"+queued.DeadLetterId.String()).status)
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 5 {
		for _, user := range []string{"ada", "grace"} {
			a := s.post(t, "/v1/deliveries", note(fmt.Sprint("n", i), map[string]any{"user_id": user}))
			require.Equal(t, api.ChannelReceiptOutcomeDelivered, receiptOf(a).Channels["inapp"].Outcome)
		}
	}
	foreign := delivery.Event{ID: uuid.New(), TenantID: "other", UserID: "ada", Title: "foreign", Severity: delivery.Info, Data: json.RawMessage("{}"), AcceptedAt: time.Now()}
	require.NoError(t, s.deliveries.AddNotification(t.Context(), foreign))

	inbox := func(query string) (list []api.Notification, unread int) {
		for next := ""; ; {
			var page struct {
				Items  []api.Notification
				Next   *string `json:"next_cursor"`
				Unread int     `json:"unread_count"`
			}
			s.get(t, "/v1/notifications?"+query+next).into(&page)
			list, unread = append(list, page.Items...), page.Unread
			if page.Next == nil {
				return list, unread
			}
			next = "&cursor=" + *page.Next
		}
	}
	list, unread := inbox("user_id=ada&limit=2")
	require.Equal(t, 5, unread)
	require.Len(t, list, 5)
	for i, n := range list {
		require.Equal(t, fmt.Sprint("n", 4-i), n.Title, "newest first")
		require.Equal(t, "ada", n.UserId)
		require.Nil(t, n.ReadAt)
		require.Equal(t, http.StatusOK, s.get(t, "/v1/deliveries/"+n.EventId.String()).status)
	}

	var read, again api.Notification
	path := "/v1/notifications/" + list[1].Id.String() + "/read"
	s.do(t, http.MethodPatch, path, nil).into(&read)
	require.WithinDuration(t, time.Now(), *read.ReadAt, time.Minute)
	s.do(t, http.MethodPatch, path, nil).into(&again)
	require.Equal(t, read, again, "it was read when it was read first")
	list, unread = inbox("user_id=ada&unread=true&limit=3")
	require.Equal(t, 4, unread)
	require.Len(t, list, 4)
	list, _ = inbox("user_id=ada")
	require.Len(t, list, 5)

	require.Equal(t, map[string]any{"read": 4.0}, s.post(t, "/v1/notifications/read", map[string]any{"user_id": "ada"}).object())
	require.Equal(t, map[string]any{"read": 0.0}, s.post(t, "/v1/notifications/read", map[string]any{"user_id": "ada"}).object())
	_, unread = inbox("user_id=ada&unread=true")
	require.Zero(t, unread)
	_, unread = inbox("user_id=grace")
	require.Equal(t, 5, unread)

	var theirs uuid.UUID
	require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT id FROM notifications WHERE tenant_id = 'other' AND read_at IS NULL`).Scan(&theirs))
	for _, id := range []uuid.UUID{theirs, uuid.New()} {
		s.do(t, http.MethodPatch, "/v1/notifications/"+id.String()+"/read", nil).problem(404, fault.NotFound)
	}
	s.get(t, "/v1/notifications").invalid("/query/user_id")
	s.get(t, "/v1/notifications?user_id=").invalid("/query/user_id")
	s.get(t, "/v1/notifications?user_id=a&limit=201").invalid("/query/limit")
	s.post(t, "/v1/notifications/read", map[string]any{}).invalid("/user_id")
}

// An inbox that nobody reads is neither counted whole nor marked in one statement.
func TestALargeInbox(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, err := s.pool.Exec(t.Context(), `
		INSERT INTO notifications (id, tenant_id, user_id, event_id, alert_id, title, message, severity, data, created_at)
		SELECT gen_random_uuid(), 'default', 'ada', gen_random_uuid(), 'a', 't', 'm', 'info', '{}', now() - interval '1 s' * n
		FROM generate_series(1, 12001) AS n`)
	require.NoError(t, err)
	require.EqualValues(t, 1000, s.get(t, "/v1/notifications?user_id=ada&limit=1").object()["unread_count"])
	require.EqualValues(t, 12001, s.post(t, "/v1/notifications/read", map[string]any{"user_id": "ada"}).object()["read"])
	require.EqualValues(t, 0, s.get(t, "/v1/notifications?user_id=ada&limit=1").object()["unread_count"])
}

// alerts is a payload of Alertmanager's.
func alerts(status string, changes ...map[string]any) map[string]any {
	payload := map[string]any{
		"version": "4", "groupKey": `{}:{alertname="FeedStale"}`, "status": status, "receiver": "dawsos", "truncatedAlerts": 0,
		"groupLabels": map[string]any{"alertname": "FeedStale"}, "commonLabels": map[string]any{"alertname": "FeedStale"},
		"commonAnnotations": map[string]any{"summary": "The feed has stopped"}, "externalURL": "http://alertmanager:9093",
		"alerts": []any{map[string]any{
			"status": status, "labels": map[string]any{"alertname": "FeedStale", "severity": "critical"},
			"annotations": map[string]any{}, "startsAt": "2026-03-02T09:30:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "c1b2a3d4e5f60718",
		}},
	}
	for _, c := range changes {
		maps.Copy(payload, c)
	}
	return payload
}

const receiverPath = "/v1/receivers/alertmanager"

func TestAlertmanager(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	h := newHook(t, 503)
	s.work(t)
	target := receiverPath + "?user_id=ops&webhook=" + h.URL

	a := s.post(t, target, alerts("firing"))
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	firing := receiptOf(a)
	require.Equal(t, map[string]api.ChannelReceipt{"webhook": {Outcome: "accepted"}}, firing.Channels)
	require.Equal(t, "/v1/deliveries/"+firing.EventId.String(), a.header.Get("Location"))
	d := s.becomes(t, firing.EventId, "webhook", api.ChannelHistoryStatePending)
	require.Equal(t, "FeedStale", d.AlertId)
	require.Equal(t, "ops", d.UserId)
	require.Equal(t, "[FIRING:1] FeedStale", d.Title)
	require.Equal(t, api.Severity("critical"), d.Severity)
	require.Equal(t, api.DeliverySource("alertmanager"), d.Source)
	require.Nil(t, d.Resolves)

	// A retry of Alertmanager's, and the copy of another member of its cluster.
	for _, payload := range []map[string]any{alerts("firing"), alerts("firing", map[string]any{"externalURL": "http://other:9093"})} {
		again := receiptOf(s.post(t, target, payload)).Channels["webhook"]
		require.Equal(t, api.ChannelReceiptOutcomeDuplicate, again.Outcome)
		require.Equal(t, firing.EventId, *again.DuplicateOf)
	}
	require.NoError(t, testutil.GatherAndCompare(s.registry, strings.NewReader(`
# HELP dawsos_delivery_duplicates_total Events and targets that were not sent because an earlier event says the same.
# TYPE dawsos_delivery_duplicates_total counter
dawsos_delivery_duplicates_total{channel="inapp"} 0
dawsos_delivery_duplicates_total{channel="webhook"} 2
`), "dawsos_delivery_duplicates_total"))
	// Elsewhere it is none.
	require.Equal(t, map[string]api.ChannelReceipt{"inapp": {Outcome: "accepted"}}, receiptOf(s.post(t, receiverPath, alerts("firing"))).Channels)

	// Its end is delivered, and takes what was not with it.
	h.status.Store(204)
	resolved := receiptOf(s.post(t, target, alerts("resolved")))
	end := s.becomes(t, resolved.EventId, "webhook", api.ChannelHistoryStateDelivered)
	require.Equal(t, d.Subject, end.Subject)
	require.True(t, *end.Resolves)
	d = s.becomes(t, firing.EventId, "webhook", api.ChannelHistoryStateSuperseded)
	require.Nil(t, d.Channels["webhook"].NextRetryAt)
	require.EqualValues(t, 2, h.got.Load(), "the firing one once, its end once")

	// Alertmanager's reminders come after the window.
	_, err := s.pool.Exec(t.Context(), `UPDATE alert_dedup SET expires_at = expires_at - interval '5 minutes'`)
	require.NoError(t, err)
	require.Equal(t, api.ChannelReceiptOutcomeAccepted, receiptOf(s.post(t, target, alerts("resolved"))).Channels["webhook"].Outcome)
	var page struct{ Items []api.DeliverySummary }
	s.get(t, "/v1/deliveries?source=alertmanager&user_id=ops").into(&page)
	require.Len(t, page.Items, 5)
	var inbox struct{ Items []api.Notification }
	require.Eventually(t, func() bool {
		s.get(t, "/v1/notifications?user_id=alertmanager").into(&inbox)
		return len(inbox.Items) == 1
	}, 20*time.Second, 20*time.Millisecond)
}

// What Alertmanager can send is taken, whatever it is; the rest is told apart from what may be sent
// again.
func TestAlertmanagerRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, s.pool) })
	odd := alerts("firing", map[string]any{"commonLabels": map[string]any{"a\x00": "\x00"}, "somethingNew": 1})
	require.Equal(t, http.StatusOK, s.post(t, receiverPath, odd).status)
	raw := strings.Replace(`{"version":"4","groupKey":"g","status":"firing","alerts":[{"status":"firing","labels":{"a":"?"}}]}`, "?", "\xff", 1)
	require.Equal(t, http.StatusOK, s.post(t, receiverPath, raw).status)

	s.post(t, receiverPath, alerts("firing", map[string]any{"version": "5"})).invalid("/version")
	s.post(t, receiverPath, alerts("pending")).invalid("/status")
	s.post(t, receiverPath, "{").problem(400, fault.Malformed)
	s.post(t, receiverPath, "").problem(400, fault.Malformed)
	s.post(t, receiverPath, alerts("firing"), "Content-Type", "text/plain").problem(415, fault.UnsupportedMedia)
	s.post(t, receiverPath, alerts("firing", map[string]any{"receiver": strings.Repeat("x", maxBody)})).problem(413, fault.TooLarge)
	for query, pointer := range map[string]string{
		"webhook=ftp://x":             "/query/webhook",
		"inapp=false":                 "/query",
		"inapp=maybe":                 "/query/inapp",
		"user_id=":                    "/query/user_id",
		"user_id=a&user_id=b":         "/query/user_id",
		"destination=a&destination=a": "/query/destination",
		"destination=%00":             "/query/destination",
		"email=x":                     "/query/email/0",
	} {
		s.post(t, receiverPath+"?"+query, alerts("firing")).invalid(pointer)
	}
	require.Equal(t, 2, deliverytest.Count(t, s.pool).Events)
}

// Alertmanager comes again with what is answered with 5xx.
func TestAlertmanagerWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close()) // nothing listens there now
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@"+listener.Addr().String()+"/nothing")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	inserter, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)

	back := newSite(t)
	away := newSite(t, func(o *httpapi.Options) {
		o.Deliverer = delivery.NewService(store.NewDeliveries(pool, inserter, o.Log, time.Now), back.sending)
	})
	a := away.post(t, receiverPath, alerts("firing"))
	a.problem(http.StatusServiceUnavailable, fault.Unavailable)
	require.Equal(t, "2", a.header.Get("Retry-After"))
}
