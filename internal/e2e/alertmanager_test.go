package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/pkg/api"
)

// alertmanager is a real Alertmanager that posts to the API.
type alertmanager struct {
	*proc
	s    *system
	addr string
}

// startAlertmanager starts one that groups alerts by name and posts to target. .ci/run installs it.
func startAlertmanager(t *testing.T, s *system, target string) *alertmanager {
	t.Helper()
	program, err := exec.LookPath("prometheus-alertmanager") // Debian's name
	if err != nil {
		if program, err = exec.LookPath("alertmanager"); err != nil {
			t.Skip("needs Alertmanager (Debian: prometheus-alertmanager)")
		}
	}
	dir := t.TempDir()
	config := fmt.Sprintf(`
route: {receiver: dawsos, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}
receivers:
  - name: dawsos
    webhook_configs:
      - {url: %q, send_resolved: true}
`, target)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "alertmanager.yml"), []byte(config), 0o600))
	a := &alertmanager{s: s, addr: freeAddr(t)}
	a.proc = launch(t, "alertmanager", exec.Command(program,
		"--config.file="+filepath.Join(dir, "alertmanager.yml"), "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+a.addr, "--cluster.listen-address="), nil)
	s.eventually("Alertmanager is ready", func(ctx context.Context) error {
		_, err := get(ctx, "http://"+a.addr+"/-/ready")
		return err
	})
	return a
}

// tell is what Prometheus posts of an alert. One that has ended is resolved.
func (a *alertmanager) tell(name string, starts, ends time.Time) {
	a.t.Helper()
	alert := map[string]any{
		"labels":      map[string]string{"alertname": name, "severity": "critical", "feed": "six"},
		"annotations": map[string]string{"summary": "No prices from six"}, "startsAt": starts,
	}
	if !ends.IsZero() {
		alert["endsAt"] = ends
	}
	body, err := json.Marshal([]any{alert})
	require.NoError(a.t, err)
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, "http://"+a.addr+"/api/v2/alerts", bytes.NewReader(body))
	require.NoError(a.t, err)
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(a.t, err)
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	require.Equal(a.t, http.StatusOK, resp.StatusCode, "%s", answer)
}

// events returns those that came from Alertmanager, newest first, once there are n.
func (a *alertmanager) events(n int) []api.DeliverySummary {
	a.t.Helper()
	var items []api.DeliverySummary
	a.s.eventually(fmt.Sprintf("%d events of Alertmanager's", n), func(ctx context.Context) error {
		source := api.DeliverySource("alertmanager")
		r, err := a.s.client.ListDeliveriesWithResponse(ctx, &api.ListDeliveriesParams{Source: &source})
		if err != nil {
			return err
		}
		if r.JSON200 == nil || len(r.JSON200.Items) < n {
			return fmt.Errorf("%s: %s", r.Status(), r.Body)
		}
		items = r.JSON200.Items
		return nil
	})
	require.Len(a.t, items, n)
	return items
}

// TestAlertmanager: a real Alertmanager posts while the API is down and goes on once it is up. What it
// tells arrives once; the end of an alert takes with it what could not be delivered.
func TestAlertmanager(t *testing.T) {
	t.Parallel()
	s := prepare(t, dbtest.URL(t), "RETRY_SCHEDULE=1h,1h")
	r := newReceiver(t, func(n int) int {
		if n == 2 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	s.startWorker()
	a := startAlertmanager(t, s, "http://"+s.apiAddr+"/v1/receivers/alertmanager?user_id=ops&webhook="+url.QueryEscape(r.URL))
	began := time.Now().UTC()

	a.tell("FeedStale", began, time.Time{})
	s.eventually("Alertmanager has tried in vain", func(ctx context.Context) error {
		page, err := get(ctx, "http://"+a.addr+"/metrics")
		if err == nil && !strings.Contains(page, `alertmanager_notification_requests_failed_total{integration="webhook"} `) {
			err = fmt.Errorf("no such metric")
		}
		if err == nil && strings.Contains(page, `alertmanager_notification_requests_failed_total{integration="webhook"} 0`) {
			err = fmt.Errorf("not yet")
		}
		return err
	})
	s.startAPI()
	first := a.events(1)[0]
	require.Equal(t, "[FIRING:1] FeedStale", first.Title)
	require.Equal(t, "FeedStale", first.AlertId)
	require.Equal(t, api.Severity("critical"), first.Severity)
	s.becomes(first.EventId, api.ChannelHistoryStateDelivered)

	// The receiver is broken when the second alert comes.
	a.tell("NAVLate", began, time.Time{})
	late := a.events(2)[0]
	require.Equal(t, "[FIRING:1] NAVLate", late.Title)
	s.becomes(late.EventId, api.ChannelHistoryStatePending)

	a.tell("NAVLate", began, time.Now().UTC())
	over := a.events(3)[0]
	require.Equal(t, "[RESOLVED] NAVLate", over.Title)
	s.becomes(over.EventId, api.ChannelHistoryStateDelivered)
	s.becomes(late.EventId, api.ChannelHistoryStateSuperseded)

	a.tell("FeedStale", began, time.Now().UTC())
	end := a.events(4)[0]
	require.Equal(t, "[RESOLVED] FeedStale", end.Title)
	s.becomes(end.EventId, api.ChannelHistoryStateDelivered)
	s.becomes(first.EventId, api.ChannelHistoryStateDelivered)

	var ids []string
	for _, one := range r.all() {
		ids = append(ids, one.messageID)
	}
	var want []string
	for _, e := range []api.DeliverySummary{first, late, over, end} {
		want = append(want, "msg_"+e.EventId.String()+"_webhook")
	}
	require.Equal(t, want, ids, "each came once, in order")
}
