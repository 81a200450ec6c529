package loadtest

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Position is where the database has an event.
type Position struct {
	Place  string // in_flight, delivered, duplicate, or the state of a dead letter
	Reason string // of a dead letter: cause and error
}

// places lists where every event and target stands.
const places = `
	SELECT event_id, target, 'in_flight' AS place, '' AS reason FROM alert_inflight
	UNION ALL SELECT event_id, target, 'delivered', '' FROM alert_deliveries
	UNION ALL SELECT event_id, target, 'duplicate', '' FROM alert_duplicates
	UNION ALL SELECT event_id, target, state, cause || ': ' || error_message FROM alert_dlq`

// positions returns where the database has each event. The events of Load have one target each.
func positions(ctx context.Context, q querier) (map[uuid.UUID]Position, error) {
	rows, err := q.Query(ctx, `SELECT event_id, place, reason FROM (`+places+`) AS p`)
	if err != nil {
		return nil, fmt.Errorf("read where events stand: %w", err)
	}
	found := make(map[uuid.UUID]Position)
	var event uuid.UUID
	var p Position
	if _, err := pgx.ForEachRow(rows, []any{&event, &p.Place, &p.Reason}, func() error {
		found[event] = p
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read where events stand: %w", err)
	}
	return found, nil
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// open counts what is neither delivered nor given up.
func open(ctx context.Context, q querier) (inFlight, pending int, err error) {
	err = q.QueryRow(ctx, `SELECT (SELECT count(*) FROM alert_inflight),
		(SELECT count(*) FROM alert_dlq WHERE state = 'pending')`).Scan(&inFlight, &pending)
	if err != nil {
		return 0, 0, fmt.Errorf("count what is open: %w", err)
	}
	return inFlight, pending, nil
}

// audits find what must not be; each yields descriptions.
var audits = []struct{ name, query string }{
	{"accepted, but not in exactly one place", `
		SELECT e.id || ' on ' || t.target || ' stands in ' || count(p.place) || ' places: ' || coalesce(string_agg(p.place, ', '), '')
		FROM alert_events e
		CROSS JOIN jsonb_object_keys(e.channels) AS t (target)
		LEFT JOIN (` + places + `) AS p ON p.event_id = e.id AND p.target = t.target
		GROUP BY e.id, t.target HAVING count(p.place) <> 1 LIMIT 20`},
	{"in a place without having been accepted", `
		SELECT p.event_id || ' on ' || p.target || ': ' || p.place
		FROM (` + places + `) AS p
		LEFT JOIN alert_events e ON e.id = p.event_id AND e.channels ? p.target
		WHERE e.id IS NULL LIMIT 20`},
	{"attempts that are not numbered 1, 2, 3", `
		SELECT event_id || ' on ' || target || ': ' || string_agg(attempt::text, ', ' ORDER BY attempt)
		FROM alert_attempts GROUP BY event_id, target HAVING max(attempt) <> count(*) LIMIT 20`},
	{"pending without a job", `
		SELECT l.id::text FROM alert_dlq l WHERE l.state = 'pending' AND l.job_id IS NULL LIMIT 20`},
	{"accounts that are not what the tables hold", `
		SELECT account || ': ' || coalesce(b.balance, 0) || ' by the accounts, ' || coalesce(c.rows, 0) || ' by the tables'
		FROM (SELECT account, sum(balance) AS balance FROM (
		          SELECT account, balance FROM alert_accounts UNION ALL SELECT account, change FROM alert_account_changes) AS a
		      GROUP BY account) AS b
		FULL JOIN (SELECT place AS account, count(*) AS rows FROM (` + places + `) AS p GROUP BY place
		           UNION ALL SELECT 'accepted', count(*) FROM alert_events e, jsonb_object_keys(e.channels)) AS c USING (account)
		WHERE coalesce(b.balance, 0) <> coalesce(c.rows, 0)`},
}

// audit returns a sentence for everything that must not be.
func audit(ctx context.Context, q querier) ([]string, error) {
	var found []string
	for _, a := range audits {
		rows, err := q.Query(ctx, a.query)
		if err != nil {
			return nil, fmt.Errorf("look for what is %s: %w", a.name, err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("look for what is %s: %w", a.name, err)
		}
		for _, line := range lines {
			found = append(found, a.name+": "+line)
		}
	}
	return found, nil
}

// Books are the accounts that the system itself keeps: how many events and targets were accepted,
// and how many stand where.
type Books map[string]int64

// books reads them. The balance is what has been folded and what has not.
func books(ctx context.Context, q querier) (Books, error) {
	rows, err := q.Query(ctx, `
		SELECT account, sum(balance)::bigint FROM (
			SELECT account, balance FROM alert_accounts UNION ALL SELECT account, change FROM alert_account_changes) AS a
		GROUP BY account`)
	if err != nil {
		return nil, fmt.Errorf("read the accounts: %w", err)
	}
	b := Books{}
	var account string
	var balance int64
	if _, err := pgx.ForEachRow(rows, []any{&account, &balance}, func() error {
		b[account] = balance
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read the accounts: %w", err)
	}
	return b, nil
}

// accepted is the account of what was taken on; all other accounts say what became of it.
const accepted = "accepted"

// Drift is what was accepted less what the other accounts hold; 0 when nothing is in between unseen.
func (b Books) Drift() int64 {
	drift := b[accepted]
	for account, balance := range b {
		if account != accepted {
			drift -= balance
		}
	}
	return drift
}

// testify completes what the caller and the receiver say with what the database says, all of it at one
// moment. The receiver is asked last: what the database has for delivered must have arrived by then.
func testify(ctx context.Context, pool *pgxpool.Pool, sent Sent, receivers ...*Receiver) (Evidence, error) {
	e := Evidence{Sent: sent}
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		if e.Positions, err = positions(ctx, tx); err != nil {
			return err
		}
		if e.Books, err = books(ctx, tx); err != nil {
			return err
		}
		e.Audits, err = audit(ctx, tx)
		return err
	})
	if err != nil {
		return Evidence{}, err
	}
	e.Received = make(map[uuid.UUID]Message)
	for _, r := range receivers {
		if err := r.full(); err != nil {
			return Evidence{}, err
		}
		maps.Copy(e.Received, r.Messages())
	}
	return e, nil
}

// drainPoll is how often drained counts.
const drainPoll = 250 * time.Millisecond

// drained waits until nothing is open any more, for limit at most, and reports whether that came.
func drained(ctx context.Context, pool *pgxpool.Pool, limit time.Duration, say func(string, ...any)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	told := time.Now()
	for {
		inFlight, pending, err := open(ctx, pool)
		if err == nil && inFlight+pending == 0 {
			return true, nil
		}
		if err == nil && time.Since(told) > sayEvery {
			told = time.Now()
			say("draining: %d in flight, %d pending", inFlight, pending)
		}
		if ctx.Err() != nil || pause(ctx, drainPoll) != nil {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// sayEvery is how often a wait says how far it is.
const sayEvery = 10 * time.Second
