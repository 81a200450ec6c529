package loadtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is a way in which a campaign does harm.
type Kind string

// The kinds of faults.
const (
	KillAPI     Kind = "kill_api"
	KillWorker  Kind = "kill_worker"
	PauseAPI    Kind = "pause_api"
	PauseWorker Kind = "pause_worker"
	ClockAhead  Kind = "clock_ahead"
	ClockBehind Kind = "clock_behind"

	DatabaseCrash     Kind = "database_crash"
	DiskFull          Kind = "disk_full"
	ConnectionsCut    Kind = "connections_cut"
	ConnectionsTaken  Kind = "connections_taken"
	TableLocked       Kind = "table_locked"
	DatabaseLatency   Kind = "database_latency"
	DatabaseBandwidth Kind = "database_bandwidth"
	DatabaseTimeout   Kind = "database_timeout"
	DatabaseReset     Kind = "database_reset"
	DatabaseSlicer    Kind = "database_slicer"
	DatabaseLimit     Kind = "database_limit"

	ReceiverLatency   Kind = "receiver_latency"
	ReceiverBandwidth Kind = "receiver_bandwidth"
	ReceiverTimeout   Kind = "receiver_timeout"
	ReceiverLinkReset Kind = "receiver_link_reset"
	ReceiverSlicer    Kind = "receiver_slicer"
	ReceiverLimit     Kind = "receiver_limit"

	ReceiverDown     Kind = "receiver_down"
	ReceiverHangs    Kind = "receiver_hangs"
	ReceiverDrops    Kind = "receiver_drops"
	ReceiverGarbage  Kind = "receiver_garbage"
	ReceiverOverlong Kind = "receiver_overlong"
	ReceiverRedirect Kind = "receiver_redirect"
	ReceiverTrickles Kind = "receiver_trickles"
	ReceiverResets   Kind = "receiver_resets"
	ReceiverBusy     Kind = "receiver_busy"
)

// victims says what a kind of fault hits one of, or all of.
type victims int

const (
	theDatabase victims = iota
	anAPI
	aWorker
	aProcess
	aReceiver
)

// kinds of faults, in the order of the report: what each hits, and what it is in words.
var kinds = []struct {
	kind  Kind
	hits  victims
	about string
}{
	{KillAPI, anAPI, "`kill -9` of an API, which is started again at the fault's end"},
	{KillWorker, aWorker, "`kill -9` of a worker, which is started again at the fault's end"},
	{PauseAPI, anAPI, "an API is stopped (`SIGSTOP`), then goes on (`SIGCONT`) as if no time had passed"},
	{PauseWorker, aWorker, "the same with a worker"},
	{ClockAhead, aProcess, "the wall clock of one process jumps 5 to 60 seconds ahead, then back"},
	{ClockBehind, aProcess, "the wall clock of one process jumps 5 to 60 seconds back, then ahead"},
	{DatabaseCrash, theDatabase, "PostgreSQL is stopped as by `pg_ctl -m immediate`, and recovers at its start"},
	{DiskFull, theDatabase, "no room is left on the file system of the tables"},
	{ConnectionsCut, theDatabase, "`pg_terminate_backend` for every connection, again and again"},
	{ConnectionsTaken, theDatabase, "all of `max_connections` is held by others, after the processes' were cut"},
	{TableLocked, theDatabase, "`alert_events` is locked by another transaction, so that all pooled connections come to wait"},
	{DatabaseLatency, aProcess, "the link of one process to PostgreSQL: 50 to 400 ms of latency each way, with jitter"},
	{DatabaseBandwidth, aProcess, "the same link: 20 to 100 KB/s"},
	{DatabaseTimeout, aProcess, "the same link: what is sent never arrives, connections stay open"},
	{DatabaseReset, aProcess, "the same link: connections are reset as soon as they are used"},
	{DatabaseSlicer, aProcess, "the same link: data comes in small pieces with pauses"},
	{DatabaseLimit, aProcess, "the same link: connections close after 4 to 40 KB"},
	{ReceiverLatency, aReceiver, "the link to one receiver: 100 to 1500 ms of latency"},
	{ReceiverBandwidth, aReceiver, "the same link: 1 to 5 KB/s"},
	{ReceiverTimeout, aReceiver, "the same link: what is answered never arrives"},
	{ReceiverLinkReset, aReceiver, "the same link: connections are reset when the answer comes"},
	{ReceiverSlicer, aReceiver, "the same link: data comes in small pieces with pauses"},
	{ReceiverLimit, aReceiver, "the same link: connections close after 20 to 100 bytes of answers"},
	{ReceiverDown, aReceiver, "one receiver refuses connections"},
	{ReceiverHangs, aReceiver, "one receiver never answers"},
	{ReceiverDrops, aReceiver, "one receiver answers 200 and closes the connection in the middle of the body"},
	{ReceiverGarbage, aReceiver, "one receiver answers 200 with a body that is neither the type nor the encoding that it claims"},
	{ReceiverOverlong, aReceiver, "one receiver answers 200 with more body than its `Content-Length`"},
	{ReceiverRedirect, aReceiver, "one receiver answers 307 with another address, which is not followed: its events become dead letters"},
	{ReceiverTrickles, aReceiver, "one receiver answers 200 byte by byte, slower than `DELIVERY_TIMEOUT`"},
	{ReceiverResets, aReceiver, "one receiver resets connections in place of an answer"},
	{ReceiverBusy, aReceiver, "one receiver answers 429 with `Retry-After: 2`"},
}

// Fault is one harm of a campaign.
type Fault struct {
	Number int // from 1
	Kind   Kind
	Victim int           // a process's number, a receiver's number; without meaning for the database
	Lasts  time.Duration // from its begin to its end
	Amount float64       // how bad it is, from 0 to 1
	Calm   time.Duration // the pause after recovery
}

// Shape is what a schedule has to know of what is harmed.
type Shape struct {
	APIs, Workers, Receivers int
	Shortest, Longest        time.Duration // a fault's length
	Calm                     time.Duration // the longest pause after recovery
	Only                     []Kind        // empty: all kinds
}

// Schedule returns the first n faults of a seed. It depends on nothing else. Kinds come in rounds, each
// of them once in a round, so that a campaign of any length has seen all kinds about equally often.
func Schedule(seed uint64, shape Shape, n int) []Fault {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // to be repeated by its seed, not to be secret
	among := kinds
	if len(shape.Only) > 0 {
		among = slices.DeleteFunc(slices.Clone(kinds), func(k struct {
			kind  Kind
			hits  victims
			about string
		},
		) bool {
			return !slices.Contains(shape.Only, k.kind)
		})
	}
	faults := make([]Fault, 0, n)
	for len(faults) < n && len(among) > 0 {
		for _, i := range random.Perm(len(among)) {
			f := Fault{
				Number: len(faults) + 1, Kind: among[i].kind,
				Lasts:  shape.Shortest + time.Duration(random.Float64()*float64(shape.Longest-shape.Shortest)),
				Amount: random.Float64(), Calm: time.Duration(random.Float64() * float64(shape.Calm)),
			}
			whom := random.Float64() // drawn for every kind, so that they all take as much of the sequence
			pick := func(count int) int { return int(whom * float64(count)) }
			switch among[i].hits {
			case anAPI:
				f.Victim = pick(shape.APIs)
			case aWorker:
				f.Victim = shape.APIs + pick(shape.Workers)
			case aProcess:
				f.Victim = pick(shape.APIs + shape.Workers)
			case aReceiver:
				f.Victim = pick(shape.Receivers)
			case theDatabase:
			}
			if faults = append(faults, f); len(faults) == n {
				break
			}
		}
	}
	return faults
}

// whom names the victim of a fault.
func (s Shape) whom(f Fault) string {
	for _, k := range kinds {
		if k.kind != f.Kind {
			continue
		}
		switch k.hits {
		case anAPI, aWorker, aProcess:
			if f.Victim < s.APIs {
				return fmt.Sprintf("api-%d", f.Victim+1)
			}
			return fmt.Sprintf("worker-%d", f.Victim-s.APIs+1)
		case aReceiver:
			return fmt.Sprintf("receiver-%d", f.Victim+1)
		case theDatabase:
		}
	}
	return "postgres"
}

// Describe is a line for people.
func (s Shape) Describe(f Fault) string {
	return fmt.Sprintf("fault %d: %s, %s, for %.1f s (%.2f)", f.Number, f.Kind, s.whom(f), f.Lasts.Seconds(), f.Amount)
}
