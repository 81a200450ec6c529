package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dashboards"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/pkg/api"
)

// TestDashboardsReadDeliveries asks PostgreSQL what the panels do, as the login that Grafana has, after
// real deliveries: one that succeeded, one that is being retried, one that was refused for good.
func TestDashboardsReadDeliveries(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	s := newSystem(t, address, "RETRY_SCHEDULE=1s,1h,1h,1h,1h")
	answering := func(status int) string {
		return newReceiver(t, func(int) int { return status }).URL
	}
	delivered := s.deliver("delivered", answering(http.StatusOK))
	retried := s.deliver("retried", answering(http.StatusInternalServerError))
	refused := s.deliver("refused", answering(http.StatusGone))
	s.becomes(delivered.JSON200.EventId, api.ChannelHistoryStateDelivered)
	s.becomes(refused.JSON200.EventId, api.ChannelHistoryStateExhausted)
	s.eventually("a retry fails", func(ctx context.Context) error {
		h, err := s.history(ctx, retried.JSON200.EventId)
		if err == nil && len(h.Attempts) != 2 {
			err = fmt.Errorf("%d attempts", len(h.Attempts))
		}
		return err
	})

	owner := dbtest.Connect(t, address)
	login, password := "grafana_"+strings.ToLower(rand.Text()[:10]), rand.Text()
	_, err := owner.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE dawsos_reader", login, password))
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := owner.Exec(context.Background(), "DROP ROLE "+login)
		require.NoError(t, err)
	})
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.User = url.UserPassword(login, password)
	reader := dbtest.Connect(t, u.String())

	shown := map[string][]map[string]any{}
	for _, q := range dashboards.Queries() {
		if q.Datasource != "postgres" {
			continue
		}
		sql, err := q.Interpolate(dashboards.Values{})
		require.NoError(t, err)
		rows, err := reader.Query(t.Context(), sql)
		require.NoError(t, err, q.Panel)
		shown[q.Panel], err = pgx.CollectRows(rows, pgx.RowToMap)
		require.NoError(t, err, q.Panel)
		require.NotEmpty(t, shown[q.Panel], q.Panel)
	}

	require.Equal(t, "delivered", shown["Recent Successful Deliveries"][0]["alert_id"])
	failed := shown["Failed Alerts"]
	require.Len(t, failed, 2)
	require.Equal(t, []any{"retried", int32(1), "pending"}, []any{failed[0]["alert_id"], failed[0]["retry_count"], failed[0]["state"]})
	require.Equal(t, []any{"refused", int32(0), "exhausted"}, []any{failed[1]["alert_id"], failed[1]["retry_count"], failed[1]["state"]})
	require.Contains(t, failed[0]["error_message"], "500")
	require.Equal(t, []map[string]any{{"retries": 1.0}}, shown["Average Retry Count"])
	require.Equal(t, int64(1), shown["Backlog by Destination"][0]["waiting"])
	require.Positive(t, shown["Time to Exhaustion"][0]["seconds"])
	s.eventually("the retry's job is scheduled", func(ctx context.Context) error { // it is right after the attempt that was seen
		var jobs int
		err := reader.QueryRow(ctx, "SELECT jobs FROM queue_depth() WHERE queue = 'delivery' AND state = 'scheduled'").Scan(&jobs)
		if err == nil && jobs != 1 {
			err = fmt.Errorf("%d jobs", jobs)
		}
		return err
	})
}
