package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
)

// baselineTables are what the bare program writes to. The last three are copies of the system's own,
// indexes and checks included, for the comparison of the same rows; triggers are not copied.
const baselineTables = `
	CREATE SCHEMA IF NOT EXISTS baseline;
	CREATE TABLE IF NOT EXISTS baseline.events (
		id uuid PRIMARY KEY, alert_id text NOT NULL, user_id text NOT NULL, title text NOT NULL, message text NOT NULL,
		severity text NOT NULL, data jsonb NOT NULL, url text NOT NULL, accepted_at timestamptz NOT NULL);
	CREATE TABLE IF NOT EXISTS baseline.results (
		event_id uuid PRIMARY KEY, status integer NOT NULL, started_at timestamptz NOT NULL, duration_seconds double precision NOT NULL);
	CREATE TABLE IF NOT EXISTS baseline.touched (id bigint PRIMARY KEY, touched_at timestamptz);
	CREATE TABLE IF NOT EXISTS baseline.alert_events (LIKE public.alert_events INCLUDING ALL);
	CREATE TABLE IF NOT EXISTS baseline.alert_attempts (LIKE public.alert_attempts INCLUDING ALL);
	CREATE TABLE IF NOT EXISTS baseline.alert_dlq (LIKE public.alert_dlq INCLUDING ALL);`

// Paths of the bare program.
const (
	barePathAccept  = "/accept"  // insert the event
	barePathDeliver = "/deliver" // insert the event, post it, insert the result
	barePathFail    = "/fail"    // insert the event, post it, insert attempt and dead letter together
)

// bareConnections is the bare program's pool, the API's default.
const bareConnections = 25

// bare is what the API is measured against: handlers that do the same work by hand, one statement
// after the other, without deduplication, signatures, accounts, metrics, traces or checks.
type bare struct {
	pool   *pgxpool.Pool
	client *http.Client
}

// ServeBaseline runs the bare program at an address until ctx ends.
func ServeBaseline(ctx context.Context, addr, databaseURL string) error {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("read the database address: %w", err)
	}
	config.MaxConns = bareConnections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	b := &bare{pool: pool, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: 10 * time.Second,
	}}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.GET("/readyz", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	e.POST(barePathAccept, b.accept)
	e.POST(barePathDeliver, b.deliver)
	e.POST(barePathFail, b.fail)
	stopped := context.AfterFunc(ctx, func() { _ = e.Close() })
	defer stopped()
	if err := e.Start(addr); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the baseline: %w", err)
	}
	return nil
}

// receipt is the answer, of which Load reads the id.
type receipt struct {
	EventID uuid.UUID `json:"event_id"`
}

func decode(c echo.Context) (newDelivery, uuid.UUID, []byte, error) {
	var d newDelivery
	if err := json.NewDecoder(c.Request().Body).Decode(&d); err != nil {
		return d, uuid.Nil, nil, echo.NewHTTPError(http.StatusBadRequest, err.Error())
	}
	id, err := uuid.NewV7()
	if err != nil {
		return d, uuid.Nil, nil, err
	}
	data, err := json.Marshal(d.Data)
	return d, id, data, err
}

func (b *bare) insert(ctx context.Context, d newDelivery, id uuid.UUID, data []byte) error {
	_, err := b.pool.Exec(ctx, `
		INSERT INTO baseline.events (id, alert_id, user_id, title, message, severity, data, url, accepted_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		id, d.AlertID, d.UserID, d.Title, d.Message, d.Severity, data, d.Channels.Webhook.URL, time.Now())
	return err
}

// post sends the event as a webhook and returns the status of the answer.
func (b *bare) post(ctx context.Context, d newDelivery, id uuid.UUID) (int, error) {
	body, err := json.Marshal(map[string]any{
		"type": "alert", "timestamp": time.Now().UTC(),
		"data": map[string]any{
			"event_id": id, "alert_id": d.AlertID, "title": d.Title, "message": d.Message, "severity": d.Severity, "data": d.Data,
		},
	})
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Channels.Webhook.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("webhook-id", "msg_"+id.String())
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, err
}

func (b *bare) accept(c echo.Context) error {
	d, id, data, err := decode(c)
	if err != nil {
		return err
	}
	if err := b.insert(c.Request().Context(), d, id, data); err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, receipt{id})
}

func (b *bare) deliver(c echo.Context) error {
	ctx := c.Request().Context()
	d, id, data, err := decode(c)
	if err != nil {
		return err
	}
	if err := b.insert(ctx, d, id, data); err != nil {
		return err
	}
	started := time.Now()
	status, err := b.post(ctx, d, id)
	if err != nil {
		return err
	}
	if _, err := b.pool.Exec(ctx, `INSERT INTO baseline.results (event_id, status, started_at, duration_seconds) VALUES ($1, $2, $3, $4)`,
		id, status, started, time.Since(started).Seconds()); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, receipt{id})
}

func (b *bare) fail(c echo.Context) error {
	ctx := c.Request().Context()
	d, id, data, err := decode(c)
	if err != nil {
		return err
	}
	accepted := time.Now()
	channels, err := json.Marshal(d.Channels)
	if err != nil {
		return err
	}
	if _, err := b.pool.Exec(ctx, `
		INSERT INTO baseline.alert_events (id, tenant_id, alert_id, user_id, title, message, severity, data, channels, accepted_at)
		VALUES ($1, 'default', $2, $3, $4, $5, $6, $7, $8, $9)`,
		id, d.AlertID, d.UserID, d.Title, d.Message, d.Severity, data, channels, accepted); err != nil {
		return err
	}
	started := time.Now()
	_, failure := b.post(ctx, d, id)
	if failure == nil {
		return errors.New("the receiver was to be away")
	}
	letter, err := uuid.NewV7()
	if err != nil {
		return err
	}
	alert, err := json.Marshal(d)
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(`
			INSERT INTO baseline.alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome, cause, error)
			VALUES ($1, 'webhook', 'webhook', 1, 'default', $2, $3, 'failed', 'connect', $4)`,
			id, started, time.Since(started).Seconds(), failure.Error())
		batch.Queue(`
			INSERT INTO baseline.alert_dlq (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, alert_data, state,
			                                cause, error_message, attempts, accepted_at, created_at, next_retry_at)
			VALUES ($1, 'default', $2, 'webhook', 'webhook', $3, $4, '', $5, 'pending', 'connect', $6, 1, $7, $8, $9)`,
			letter, id, d.AlertID, d.UserID, alert, failure.Error(), accepted, time.Now(), time.Now().Add(5*time.Minute))
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, receipt{id})
}
