package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/internal/store/migrate"
	"github.com/dawsos/dawsos/pkg/api"
)

// TestRetryUntilDelivered is the promise in short: a receiver that fails twice gets the message.
func TestRetryUntilDelivered(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t), "RETRY_SCHEDULE=1s,2s,4s,8s,16s")
	r := newReceiver(t, func(n int) int {
		if n <= 2 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	answer := s.deliver("nav", r.URL)
	first := answer.JSON200.Channels["webhook"]
	require.Equal(t, api.ChannelReceiptOutcomeQueued, first.Outcome)
	require.NotNil(t, first.DeadLetterId)

	letter, err := s.client.GetDeadLetterWithResponse(t.Context(), *first.DeadLetterId)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, letter.StatusCode(), string(letter.Body))
	require.Equal(t, api.DeadLetterStatePending, letter.JSON200.State)
	require.Equal(t, api.CauseHttp5xx, letter.JSON200.Cause)

	s.eventually("retry_count counts", func(ctx context.Context) error {
		letter, err := s.client.GetDeadLetterWithResponse(ctx, *first.DeadLetterId)
		if err == nil && (letter.JSON200 == nil || letter.JSON200.RetryCount != 1) {
			err = errors.New(string(letter.Body))
		}
		return err
	})
	h := s.becomes(answer.JSON200.EventId, api.ChannelHistoryStateDelivered)
	require.Len(t, h.Attempts, 3)

	gone, err := s.client.GetDeadLetterWithResponse(t.Context(), *first.DeadLetterId)
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, gone.StatusCode(), "the row has left")
	accepted, delivered, _, _ := s.requireAccounted()
	require.Equal(t, []int{1, 1}, []int{accepted, delivered})

	got := r.all()
	require.Len(t, got, 3)
	require.Equal(t, got[0].messageID, got[1].messageID)
	require.Equal(t, got[0].messageID, got[2].messageID)

	require.Equal(t, "1", s.metric(s.apiAddr, `agent_invocations_total{agent_name="alert_delivery",capability="deliver_webhook",status="error"}`))
	require.Equal(t, "1", s.metric(s.workerAddr, `agent_invocations_total{agent_name="alert_retry_worker",capability="retry_delivery",status="error"}`))
	require.Equal(t, "1", s.metric(s.workerAddr, `agent_invocations_total{agent_name="alert_retry_worker",capability="retry_delivery",status="success"}`))
}

// TestExhausted: a schedule that is spent leaves the letter in front of the operators.
func TestExhausted(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t), "RETRY_SCHEDULE=100ms,100ms")
	r := newReceiver(t, func(int) int { return http.StatusServiceUnavailable })
	answer := s.deliver("nav", r.URL)
	h := s.becomes(answer.JSON200.EventId, api.ChannelHistoryStateExhausted)
	require.Len(t, h.Attempts, 3)
	require.Nil(t, h.NextRetryAt)
	letter, err := s.client.GetDeadLetterWithResponse(t.Context(), *h.DeadLetterId)
	require.NoError(t, err)
	require.Equal(t, 2, letter.JSON200.RetryCount)
	s.requireAccounted()
}

// TestExpiredGoesToItsFallback: nobody answers at the webhook, so that the message is in the inbox once its
// time is over, once.
func TestExpiredGoesToItsFallback(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t), "RETRY_SCHEDULE=1h")
	body := api.NewDelivery{AlertId: "nav", UserId: "ada", Title: "NAV fell", Message: "by 3 %", TtlSeconds: new(2)}
	body.Channels = &api.Channels{Webhook: &api.WebhookTarget{Url: "http://" + freeAddr(t) + "/hook"}}
	body.Fallback = &api.Channels{Inapp: new(true)}
	answer, err := s.client.CreateDeliveryWithResponse(t.Context(), nil, body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode(), string(answer.Body))
	require.Equal(t, map[string]api.ChannelReceipt{"webhook": answer.JSON200.Channels["webhook"]}, answer.JSON200.Channels)
	require.Equal(t, api.ChannelReceiptOutcomeQueued, answer.JSON200.Channels["webhook"].Outcome)
	event := answer.JSON200.EventId

	h := s.becomes(event, api.ChannelHistoryStateExpired)
	require.Len(t, h.Attempts, 1, "what has expired is not sent")
	var d *api.Delivery
	s.eventually("the fallback is delivered", func(ctx context.Context) error {
		r, err := s.client.GetDeliveryWithResponse(ctx, event)
		if err != nil {
			return err
		}
		if d = r.JSON200; d == nil || d.Channels["inapp"].State != api.ChannelHistoryStateDelivered {
			return errors.New(string(r.Body))
		}
		return nil
	})
	require.Len(t, d.Channels["inapp"].Attempts, 1)
	require.Nil(t, d.Fallback, "it is used")
	inbox, err := s.client.ListNotificationsWithResponse(t.Context(), &api.ListNotificationsParams{UserId: "ada"})
	require.NoError(t, err)
	require.Len(t, inbox.JSON200.Items, 1)
	require.Equal(t, event, inbox.JSON200.Items[0].EventId)

	x, err := s.client.ExplainDeliveryWithResponse(t.Context(), event)
	require.NoError(t, err)
	var told []string
	for _, line := range x.JSON200.Timeline {
		told = append(told, line.Text)
	}
	require.Len(t, told, 4, string(x.Body))
	require.Equal(t, "accepted from a caller, for webhook (fallback inapp); it is worth sending for 2 s", told[0])
	require.Contains(t, told[1], "attempt 1, ")
	require.Contains(t, told[1], "failed (connect)")
	require.Equal(t, "expired: its time to live ended before it could be delivered", told[2])
	require.Contains(t, told[3], "delivered in ")
	for _, target := range x.JSON200.Targets {
		if target.Target == "inapp" {
			require.Contains(t, target.Why, "it is the fallback, in use because another target failed for good or expired")
		}
	}
	accepted, delivered, dead, _ := s.requireAccounted()
	require.Equal(t, []int{2, 1, 1}, []int{accepted, delivered, dead})
}

// TestKillWorkerInLastAttempt: River discards a job whose last attempt was killed without telling
// anybody. The letter must not be stuck.
func TestKillWorkerInLastAttempt(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t), "RETRY_SCHEDULE=100ms") // one retry: the last attempt
	inRetry, killed := make(chan struct{}), make(chan struct{})
	r := newReceiver(t, func(n int) int {
		switch n {
		case 1:
			return http.StatusInternalServerError
		case 2:
			close(inRetry)
			<-killed
			return http.StatusInternalServerError
		default:
			return http.StatusOK
		}
	})
	answer := s.deliver("nav", r.URL)
	wait(t, inRetry, "the retry")
	s.worker.kill()
	close(killed)
	s.startWorker()

	h := s.becomes(answer.JSON200.EventId, api.ChannelHistoryStateDelivered)
	require.Equal(t, []api.AttemptOutcome{
		api.AttemptOutcomeFailed, api.AttemptOutcomeInterrupted, api.AttemptOutcomeDelivered,
	}, outcomes(h))
	s.requireAccounted()
}

// TestKillAPIBetweenAcceptingAndSending: the event is durable, the attempt's outcome is not.
func TestKillAPIBetweenAcceptingAndSending(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t))
	sending, killed := make(chan struct{}), make(chan struct{})
	r := newReceiver(t, func(n int) int {
		if n == 1 {
			close(sending)
			<-killed
		}
		return http.StatusOK
	})
	answered := make(chan error, 1)
	go func() {
		_, err := s.tryDeliver(t.Context(), "nav", r.URL)
		answered <- err
	}()
	wait(t, sending, "the first attempt")
	s.api.kill()
	close(killed)
	require.Error(t, <-answered, "the caller's connection broke")
	s.startAPI()

	s.eventually("the interrupted event is delivered", func(context.Context) error {
		if _, delivered, dead, inflight := s.requireAccounted(); delivered != 1 {
			return fmt.Errorf("delivered %d, dead %d, in flight %d", delivered, dead, inflight)
		}
		return nil
	})
	got := r.all()
	require.Len(t, got, 2, "the receiver sees it twice")
	require.Equal(t, got[0].messageID, got[1].messageID, "under the same id")
}

// TestPostgresRestart: events go on being posted while the database goes away and comes back.
func TestPostgresRestart(t *testing.T) {
	t.Parallel()
	options := devpg.Options{Dir: t.TempDir()}
	server, err := devpg.Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, server.Stop(context.Background()))
		require.NoError(t, devpg.Remove(options.Dir)) // which may be elsewhere than asked for
	})
	databaseURL := server.URL("postgres")
	_, err = migrate.Up(t.Context(), databaseURL)
	require.NoError(t, err)
	s := newSystem(t, databaseURL, "RETRY_SCHEDULE=500ms,500ms,1s,1s,2s,2s,4s,4s")
	r := newReceiver(t, func(n int) int {
		if n%3 == 0 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})

	const posts, senders = 240, 4
	var (
		mu       sync.Mutex
		accepted []uuid.UUID
		wg       sync.WaitGroup
	)
	restart := make(chan struct{})
	for sender := range senders {
		wg.Go(func() {
			for n := range posts / senders {
				if sender == 0 && n == posts/senders/3 {
					close(restart)
				}
				answer, err := s.tryDeliver(t.Context(), fmt.Sprintf("alert-%d-%d", sender, n), r.URL)
				if err != nil {
					t.Errorf("no answer: %v", err)
					return
				}
				switch answer.StatusCode() {
				case http.StatusOK:
					mu.Lock()
					accepted = append(accepted, answer.JSON200.EventId)
					mu.Unlock()
				case http.StatusServiceUnavailable: // refused while it was away
				default:
					t.Errorf("%s: %s", answer.Status(), answer.Body)
				}
			}
		})
	}
	<-restart
	require.NoError(t, server.Stop(t.Context()))
	server, err = devpg.Start(t.Context(), options)
	require.NoError(t, err)
	require.Equal(t, databaseURL, server.URL("postgres"), "the same address again")
	wg.Wait()
	require.NotEmpty(t, accepted)

	s.eventually("every event is settled", func(context.Context) error {
		if _, delivered, dead, inflight := s.requireAccounted(); dead+inflight > 0 {
			return fmt.Errorf("delivered %d, dead %d, in flight %d", delivered, dead, inflight)
		}
		return nil
	})
	for _, id := range accepted {
		h, err := s.history(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, api.ChannelHistoryStateDelivered, h.State)
	}
	total, delivered, _, _ := s.requireAccounted()
	ids := map[string]int{}
	for _, one := range r.all() {
		if one.status == http.StatusOK {
			ids[one.messageID]++
		}
	}
	t.Logf("posted %d, answered 200: %d, accepted %d, delivered %d, receiver took %d messages", posts, len(accepted), total, delivered, len(ids))
	require.Len(t, ids, total, "the receiver has every accepted event")
}

// TestStopDuringDelivery: Ctrl-C lets running attempts finish, answers their callers and exits 0.
func TestStopDuringDelivery(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t), "RETRY_SCHEDULE=100ms,100ms", "DELIVERY_TIMEOUT=10s")
	entered, proceed := make(chan struct{}, 2), make(chan struct{})
	r := newReceiver(t, func(n int) int {
		if n == 1 {
			return http.StatusInternalServerError
		}
		entered <- struct{}{}
		<-proceed
		return http.StatusOK
	})
	queued := s.deliver("held by the worker", r.URL)
	<-entered // the worker is in a retry
	type result struct {
		answer *api.CreateDeliveryResponse
		err    error
	}
	answered := make(chan result, 1)
	go func() {
		answer, err := s.tryDeliver(t.Context(), "held by the API", r.URL)
		answered <- result{answer, err}
	}()
	<-entered // so is the API
	s.api.interrupt()
	s.worker.interrupt()
	s.eventually("both have heard", func(context.Context) error {
		for _, p := range []*proc{s.api, s.worker} {
			if !strings.Contains(p.log.String(), "stopping") {
				return fmt.Errorf("%s has not", p.name)
			}
		}
		return nil
	})
	close(proceed)

	got := <-answered
	require.NoError(t, got.err)
	require.Equal(t, api.ChannelReceiptOutcomeDelivered, got.answer.JSON200.Channels["webhook"].Outcome)
	require.Equal(t, 0, s.api.exitCode())
	require.Equal(t, 0, s.worker.exitCode())
	_, delivered, _, _ := s.requireAccounted()
	require.Equal(t, 2, delivered)

	s.startAPI()
	require.Equal(t, api.ChannelHistoryStateDelivered, s.becomes(queued.JSON200.EventId, api.ChannelHistoryStateDelivered).State)
	require.NoError(t, s.api.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 0, s.api.exitCode())
}

func outcomes(h api.ChannelHistory) []api.AttemptOutcome {
	list := make([]api.AttemptOutcome, len(h.Attempts))
	for i, a := range h.Attempts {
		list[i] = a.Outcome
	}
	return list
}

func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		require.FailNow(t, "waited in vain", what)
	}
}
