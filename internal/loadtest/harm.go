package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// field is what a campaign harms.
type field struct {
	place     Place
	shape     Shape
	system    *System
	pool      *pgxpool.Pool // past the links
	databases []*link       // of each process, to PostgreSQL
	hooks     []*link       // to each receiver
	receivers []*Receiver
	behaviour Behaviour // of the receivers when nothing is wrong with them
}

// notRunError says why a kind of fault can't be done here.
type notRunError struct{ why string }

func (e *notRunError) Error() string { return e.why }

// harm begins a fault and returns what ends it. A *notRunError says that it can't be done here.
func (f *field) harm(ctx context.Context, fault Fault) (end func(context.Context) error, err error) {
	switch fault.Kind {
	case KillAPI, KillWorker:
		f.system.Down(fault.Victim)
		return func(context.Context) error { return f.system.Up(fault.Victim) }, nil
	case PauseAPI, PauseWorker:
		resume := f.system.Pause(fault.Victim)
		return func(context.Context) error { resume(); return nil }, nil
	case ClockAhead, ClockBehind:
		jump := time.Duration(5+55*fault.Amount) * time.Second
		if fault.Kind == ClockBehind {
			jump = -jump
		}
		back, err := jumpClock(f.system.PID(fault.Victim), jump)
		if err != nil {
			return nil, &notRunError{err.Error()}
		}
		return func(context.Context) error { return back() }, nil

	case DatabaseCrash:
		if f.place.Server == nil {
			return nil, &notRunError{"the server is somebody else's"}
		}
		return func(ctx context.Context) error {
			err := f.place.Server.Start(ctx)
			f.pool.Reset() // its connections are dead, and nobody is to be surprised by that
			return err
		}, f.place.Server.Crash(ctx)
	case DiskFull:
		if f.place.Disk == nil {
			return nil, &notRunError{f.place.NoDisk}
		}
		return func(context.Context) error { return f.place.Disk.Free() }, f.place.Disk.Fill()
	case ConnectionsCut:
		return f.repeat(ctx, 250*time.Millisecond, f.cut), nil
	case ConnectionsTaken:
		return f.take(ctx)
	case TableLocked:
		return f.lock(ctx)
	}
	if t, ok := databaseToxic(fault); ok {
		return spoiled(f.databases[fault.Victim], t)
	}
	if t, ok := receiverToxic(fault); ok {
		return spoiled(f.hooks[fault.Victim], t)
	}
	return f.misbehave(fault)
}

// spoiled spoils a link until its end.
func spoiled(l *link, t toxic) (func(context.Context) error, error) {
	return func(context.Context) error { return l.mend() }, l.spoil(t)
}

// between returns the whole number that lies at the part amount of the way from least to most.
func between(least, most int, amount float64) int {
	return least + int(math.Round(amount*float64(most-least)))
}

// databaseToxic returns what is wrong with a process's link to PostgreSQL.
func databaseToxic(f Fault) (toxic, bool) {
	t := toxic{Stream: "downstream", Toxicity: 1}
	switch f.Kind {
	case DatabaseLatency:
		ms := between(50, 400, f.Amount)
		t.Type, t.Attributes = "latency", map[string]any{"latency": ms, "jitter": ms / 2}
	case DatabaseBandwidth:
		t.Type, t.Attributes = "bandwidth", map[string]any{"rate": between(100, 20, f.Amount)} // KB/s
	case DatabaseTimeout:
		t.Type, t.Stream, t.Attributes = "timeout", "upstream", map[string]any{"timeout": 0}
	case DatabaseReset:
		t.Type, t.Attributes = "reset_peer", map[string]any{"timeout": 0}
	case DatabaseSlicer:
		t.Type, t.Attributes = "slicer", map[string]any{"average_size": 64, "size_variation": 32, "delay": between(500, 3000, f.Amount)} // µs
	case DatabaseLimit:
		t.Type, t.Attributes = "limit_data", map[string]any{"bytes": between(40_000, 4_000, f.Amount)}
	default:
		return toxic{}, false
	}
	return t, true
}

// receiverToxic returns what is wrong with the link to a receiver.
func receiverToxic(f Fault) (toxic, bool) {
	t := toxic{Stream: "downstream", Toxicity: 1}
	switch f.Kind {
	case ReceiverLatency:
		ms := between(100, 1500, f.Amount)
		t.Type, t.Attributes = "latency", map[string]any{"latency": ms, "jitter": ms / 2}
	case ReceiverBandwidth:
		t.Type, t.Stream, t.Attributes = "bandwidth", "upstream", map[string]any{"rate": between(5, 1, f.Amount)}
	case ReceiverTimeout:
		t.Type, t.Attributes = "timeout", map[string]any{"timeout": 0}
	case ReceiverLinkReset:
		t.Type, t.Attributes = "reset_peer", map[string]any{"timeout": 0}
	case ReceiverSlicer:
		t.Type, t.Attributes = "slicer", map[string]any{"average_size": 16, "size_variation": 8, "delay": between(1000, 20_000, f.Amount)}
	case ReceiverLimit:
		t.Type, t.Attributes = "limit_data", map[string]any{"bytes": between(100, 20, f.Amount)}
	default:
		return toxic{}, false
	}
	return t, true
}

// misbehave has a receiver do what it should not.
func (f *field) misbehave(fault Fault) (func(context.Context) error, error) {
	r := f.receivers[fault.Victim]
	var wrong Answer
	switch fault.Kind {
	case ReceiverDown:
		r.Down()
		return func(context.Context) error { return r.Up() }, nil
	case ReceiverHangs:
		wrong = Answer{Never: true}
	case ReceiverDrops:
		wrong = Answer{Status: http.StatusOK, Manner: Dropped}
	case ReceiverGarbage:
		wrong = Answer{Status: http.StatusOK, Manner: Garbage}
	case ReceiverOverlong:
		wrong = Answer{Status: http.StatusOK, Manner: Overlong}
	case ReceiverTrickles:
		wrong = Answer{Status: http.StatusOK, Manner: Trickled}
	case ReceiverResets:
		wrong = Answer{Manner: Reset}
	case ReceiverRedirect:
		wrong = Answer{Status: http.StatusTemporaryRedirect, Location: "http://192.0.2.1/elsewhere"}
	case ReceiverBusy:
		wrong = Answer{Status: http.StatusTooManyRequests, RetryAfter: "2"}
	default:
		return nil, fmt.Errorf("no fault is called %s", fault.Kind)
	}
	r.Behave(func(string, int) Answer { return wrong })
	return func(context.Context) error { r.Behave(f.behaviour); return nil }, nil
}

// repeat does something every so often until its end.
func (f *field) repeat(ctx context.Context, every time.Duration, do func(context.Context) error) func(context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
			if pause(ctx, every) != nil {
				done <- nil
				return
			}
		}
	}()
	return func(context.Context) error {
		cancel()
		return <-done
	}
}

// campaignName is what a campaign's own connections call themselves.
const campaignName = "campaign"

// cut ends all connections to the database but the campaign's own.
func (f *field) cut(ctx context.Context) error {
	_, err := f.pool.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name <> $1`, campaignName)
	if err != nil {
		return fmt.Errorf("cut the connections: %w", err)
	}
	return nil
}

// take cuts the processes' connections and holds all that the server gives, until its end.
func (f *field) take(ctx context.Context) (func(context.Context) error, error) {
	var held []*pgx.Conn
	fill := func(ctx context.Context) error {
		for {
			conn, err := pgx.ConnectConfig(ctx, f.pool.Config().ConnConfig)
			if err != nil {
				return nil //nolint:nilerr // there are no more: that is the point
			}
			held = append(held, conn)
		}
	}
	if err := f.cut(ctx); err != nil {
		return nil, err
	}
	end := f.repeat(ctx, 100*time.Millisecond, fill)
	return func(ctx context.Context) error {
		err := end(ctx)
		for _, conn := range held {
			_ = conn.Close(ctx)
		}
		if len(held) == 0 {
			return errors.Join(err, errors.New("there was not one connection to take"))
		}
		return err
	}, nil
}

// lock holds a lock that every acceptance needs, until its end.
func (f *field) lock(ctx context.Context) (func(context.Context) error, error) {
	tx, err := f.pool.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin to lock: %w", err)
	}
	// Behind what runs now everything queues up, so this may wait a moment itself.
	if _, err := tx.Exec(ctx, `LOCK TABLE alert_events IN ACCESS EXCLUSIVE MODE`); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the events: %w", err), tx.Rollback(context.WithoutCancel(ctx)))
	}
	return func(ctx context.Context) error {
		if err := tx.Rollback(ctx); err != nil {
			return fmt.Errorf("unlock the events: %w", err)
		}
		return nil
	}, nil
}
