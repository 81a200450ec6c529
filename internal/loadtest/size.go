package loadtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// SizeOptions say how many events are measured, and for how long at most.
type SizeOptions struct {
	Events      int // of each kind
	Concurrency int
	Limit       time.Duration // of each kind, with its retries
}

// SizeReport is what events cost the database.
type SizeReport struct {
	Kinds       []SizeOfKind `json:"kinds"`
	Connections int          `json:"connections"` // of one API and one worker, the most that were seen
}

// SizeOfKind is what one kind of event costs.
type SizeOfKind struct {
	Kind      string  `json:"kind"`
	Events    int     `json:"events"`
	Accepted  float64 `json:"accepted_per_second"`
	Delivered float64 `json:"delivered_per_second"` // from the first request until nothing was open
	// Bytes for each event, of tables that were vacuumed before and not after: a little more than stays.
	WAL    float64      `json:"wal_bytes"`
	Disk   float64      `json:"disk_bytes"`
	Tables []TableBytes `json:"tables"`
}

// TableBytes is a table's share, with its indexes.
type TableBytes struct {
	Name  string  `json:"name"`
	Table float64 `json:"table_bytes"`
	Index float64 `json:"index_bytes"`
}

// Size measures what an event that is delivered at once costs the database in bytes on disk and in WAL,
// and what one costs that fails first and is delivered by its retry.
func Size(ctx context.Context, p Place, o SizeOptions) (*SizeReport, error) {
	pool, err := pgxpool.New(ctx, p.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	receiver, err := NewReceiver(Accepting)
	if err != nil {
		return nil, err
	}
	if err := receiver.Up(); err != nil {
		return nil, err
	}
	defer receiver.Down()
	// A breaker would have letters wait that one failure each is meant to measure.
	system, err := NewSystem(p, 1, 1, "RETRY_SCHEDULE=1s,1s,1s,1s,1s", "AUTH_ANONYMOUS=admin", "NIGHTLY_SCHEDULE=off", "BREAKER_AFTER=1h")
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := system.Start(ctx); err != nil {
		return nil, err
	}
	r := &SizeReport{}
	// The first events fill what is made once, such as a table's first pages.
	for _, kind := range []struct {
		name   string
		fails  int
		events int
	}{{"", 0, 500}, {"delivered at once", 0, o.Events}, {"failed, then delivered", 1, o.Events}} {
		receiver.Forget()
		receiver.Behave(FailingFirst(kind.fails))
		k, err := r.measure(ctx, p, pool, system, receiver, kind.name, kind.events, o)
		if err != nil {
			return nil, err
		}
		if kind.name != "" {
			r.Kinds = append(r.Kinds, *k)
		}
	}
	return r, system.Stop("")
}

func (r *SizeReport) measure(ctx context.Context, p Place, pool *pgxpool.Pool, system *System, receiver *Receiver, kind string, events int, o SizeOptions) (*SizeOfKind, error) {
	for _, statement := range []string{"VACUUM", "CHECKPOINT"} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	before, err := tableSizes(ctx, pool)
	if err != nil {
		return nil, err
	}
	var lsn string
	if err := pool.QueryRow(ctx, `SELECT pg_current_wal_lsn()::text`).Scan(&lsn); err != nil {
		return nil, fmt.Errorf("read the WAL's position: %w", err)
	}
	started := time.Now()
	sent := Load{
		Targets: system.URLs(deliveriesPath), Webhook: func(int) string { return receiver.URL() }, Run: fmt.Sprint("size-", kind),
		Events: events, Concurrency: o.Concurrency,
	}.Send(ctx)
	var connections int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('dawsos-api', 'dawsos-worker')`).Scan(&connections); err != nil {
		return nil, fmt.Errorf("count the connections: %w", err)
	}
	r.Connections = max(r.Connections, connections)
	empty, err := drained(ctx, pool, o.Limit, p.Say)
	if err != nil {
		return nil, err
	}
	if got := receiver.Distinct(); !empty || got != events || len(sent.Acknowledged) != events {
		return nil, fmt.Errorf("%d events, %d acknowledged, %d delivered after %s: %v", events, len(sent.Acknowledged), got, o.Limit, sent.Problems)
	}
	took := time.Since(started)
	k := &SizeOfKind{Kind: kind, Events: events, Accepted: sent.Rate(), Delivered: float64(events) / took.Seconds()}
	if err := pool.QueryRow(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1::pg_lsn)::float8 / $2`, lsn, float64(events)).Scan(&k.WAL); err != nil {
		return nil, fmt.Errorf("measure the WAL: %w", err)
	}
	after, err := tableSizes(ctx, pool)
	if err != nil {
		return nil, err
	}
	for name, size := range after {
		t := TableBytes{Name: name, Table: (size.Table - before[name].Table) / float64(events), Index: (size.Index - before[name].Index) / float64(events)}
		k.Disk += t.Table + t.Index
		if t.Table+t.Index >= 1 {
			k.Tables = append(k.Tables, t)
		}
	}
	slices.SortFunc(k.Tables, func(a, b TableBytes) int {
		return cmp.Or(cmp.Compare(b.Table+b.Index, a.Table+a.Index), cmp.Compare(a.Name, b.Name))
	})
	return k, nil
}

// tableSizes are the bytes of all tables and of their indexes.
func tableSizes(ctx context.Context, pool *pgxpool.Pool) (map[string]TableBytes, error) {
	rows, err := pool.Query(ctx, `SELECT relname::text, pg_table_size(relid)::float8, pg_indexes_size(relid)::float8 FROM pg_stat_user_tables`)
	if err != nil {
		return nil, fmt.Errorf("measure the tables: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TableBytes])
	if err != nil {
		return nil, fmt.Errorf("measure the tables: %w", err)
	}
	sizes := make(map[string]TableBytes, len(all))
	for _, t := range all {
		sizes[t.Name] = t
	}
	return sizes, nil
}

// String is the report for people.
func (r *SizeReport) String() string {
	var t table
	t.add("connections", "%d of one API and one worker together", r.Connections)
	for _, k := range r.Kinds {
		t.add(k.Kind, "%d events: %.0f accepted and %.0f delivered a second; for each %.0f bytes on disk and %.0f of WAL", k.Events, k.Accepted, k.Delivered, k.Disk, k.WAL)
		for _, size := range k.Tables {
			t.add("", "%s: %.0f bytes and %.0f of indexes", size.Name, size.Table, size.Index)
		}
	}
	return t.String()
}

// OK reports whether all is as it must be: what it measures is for the reader to judge.
func (r *SizeReport) OK() bool { return true }
