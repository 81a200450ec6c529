// Package delivery gets events to their channels, or says why not.
//
// The unit is one event on one channel. It is always in exactly one place, and every arrow is
// one database transaction:
//
//	   accepted
//	      │ event and one in-flight row for each channel commit together,
//	      ▼ before anything is sent and before the caller gets an answer
//	 ┌─────────┐  first attempt succeeds           ┌───────────┐
//	 │in flight│ ────────────────────────────────▶ │ delivered │
//	 └─────────┘                                   └───────────┘
//	   │  │ first attempt fails, a retry can help        ▲
//	   │  ▼ (row and River job together)                 │ a retry succeeds:
//	   │ ┌─────────┐ ────────────────────────────────────┘ the dead letter leaves
//	   │ │ pending │ ◀─┐ a retry fails, the schedule goes on
//	   │ └─────────┘ ──┘
//	   │  │ the schedule is spent, or the cause is permanent
//	   ▼  ▼
//	┌───────────┐
//	│ exhausted │  stays in front of the operators with its cause
//	└───────────┘
//
// pending and exhausted are the states of a dead letter. Interruptions (a process killed between
// sending and recording) are found by the reconciler: an in-flight row that is too old becomes
// pending, a pending row without a live job gets a new one. Since the outcome of an interrupted
// attempt is unknown, a receiver can see a message twice; it then carries the same message id.
// Whoever was given up too early and comes back with a success closes the dead letter, wherever
// its path has led it in the meantime.
//
// This package decides; channels (internal/delivery/...) only send and classify, internal/jobs
// carries retries through River, internal/store moves the rows.
package delivery
