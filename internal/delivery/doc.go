// Package delivery gets events to their targets, or says why not.
//
// The unit is one event on one target: a channel with an address that came with the event, or a
// stored destination. Nothing that happens to it on one target touches the others. It is always in
// exactly one place, and every arrow is one database transaction:
//
//	   accepted ── an earlier event holds its key ──▶ duplicate
//	      │ event and one in-flight row for each target commit together, before
//	      │ anything is sent and before the caller gets an answer
//	      ▼
//	 ┌─────────┐  first attempt succeeds                      ┌───────────┐
//	 │in flight│ ───────────────────────────────────────────▶ │ delivered │
//	 └─────────┘                                              └───────────┘
//	   │  │ first attempt fails and a retry can help,               ▲
//	   │  ▼ or the breaker is open (row and River job together)     │ a retry succeeds:
//	   │ ┌─────────┐ ───────────────────────────────────────────────┘ the dead letter leaves
//	   │ │ pending │ ◀─┐ a retry fails and the schedule goes on; or the endpoint is
//	   │ └─────────┘ ──┘ not to be tried now, which uses up nothing
//	   │  │   │ ▲ └────── its time to live is over ──────▶ expired
//	   │  │   │ └───────────────────────┐
//	   │  │   └ a later event ends ──┐  │ an operator replays it
//	   │  │     its subject          │  │
//	   │  ▼ the schedule is spent,   │  │
//	   ▼    or the cause is permanent▼  │
//	┌───────────┐             superseded│
//	│ exhausted │ ──────────────────────┤
//	└───────────┘                       │
//	   │ an operator gives it up        │
//	   └────────▶ discarded ────────────┘
//
// All from pending on are states of a dead letter. pending and exhausted are open: they are in front
// of the operators until they end. An event that fails for good or expires on a target puts its fallback
// targets in flight, if it has any, the first time that it does; no time to live holds for those.
//
// What is still in flight when a later event ends its subject is superseded as its first attempt comes up,
// or fails. What became pending in that very moment is as its retry comes up.
//
// The accounts say how many stand where: accepted is always the sum of all other places.
//
// Interruptions (a process killed between sending and recording) are found by the reconciler: an
// in-flight row that is too old becomes pending, a pending row without a live job gets a new one.
// Since the outcome of an interrupted attempt is unknown, a receiver can see a message twice; it then
// carries the same message id. Whoever was given up too early and comes back with a success closes
// the dead letter, wherever its path has led it in the meantime.
//
// What an attempt goes to is an [Endpoint], found out right before it. A [Gate] keeps each endpoint's
// breaker, rate and concurrency in this process; an endpoint that recovers has its pending letters
// drained instead of waiting out their schedule.
//
// This package decides; channels (internal/delivery/...) only send and classify, internal/jobs
// carries retries through River, internal/store moves the rows.
package delivery
